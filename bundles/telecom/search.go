package telecom

import (
	"bytes"

	"github.com/sspemu/sspemu/bundles/sdk"
	"github.com/sspemu/sspemu/internal/apdu"
)

// search is one SEARCH RECORD under way: from which record, in which direction,
// where in the record and for what.
type search struct {
	from, step int
	byValue    bool // begin behind the first byte at, else at offset at
	at         byte
	pattern    []byte
}

// searchRecord is SEARCH RECORD (ETSI TS 102 221 11.1.7): the numbers of the
// records that hold a string, in the order of the search. The first of them
// becomes the current record.
func (c *Card) searchRecord(ch *channel, cmd *sdk.Command, r *sdk.Response) sdk.SW {
	mode := cmd.P2 & recordModeMask
	if mode < searchForward || mode == searchProprietary {
		return apdu.WrongP1P2
	}
	f, sw := c.recordFile(ch, cmd, amRead)
	if sw != apdu.OK {
		return sw
	}
	s, sw := ch.search(f, cmd, mode)
	if sw != apdu.OK {
		return sw
	}
	if len(s.pattern) == 0 || len(s.pattern) > f.recordLen {
		return apdu.WrongLength
	}
	first := 0
	for n := s.from; n >= 1 && n <= f.records; n += s.step {
		if s.matches(f.record(n)) {
			r.Byte(byte(n))
			if first == 0 {
				first = n
			}
		}
	}
	if first == 0 {
		return apdu.EndOfFile
	}
	ch.record = first
	return apdu.OK
}

func (ch *channel) search(f *file, cmd *sdk.Command, mode byte) (s search, sw sdk.SW) {
	s = search{from: int(cmd.P1), step: 1, pattern: cmd.Data}
	if mode == searchEnhanced {
		if len(cmd.Data) < 3 {
			return s, apdu.WrongLength
		}
		if cmd.Data[0]&enhancedRFU != 0 {
			return s, apdu.WrongData
		}
		s.byValue, s.at, s.pattern = cmd.Data[0]&enhancedByValue != 0, cmd.Data[1], cmd.Data[2:]
		mode = cmd.Data[0] & enhancedMode
	} else if mode == searchBackward {
		s.step = -1
	}
	switch mode {
	case enhancedForward:
	case enhancedBackward:
		s.step = -1
	case enhancedNext, enhancedPrevious:
		if cmd.P1 != 0 {
			return s, apdu.WrongP1P2
		}
		if mode == enhancedPrevious {
			s.step = -1
		}
		// Without a current record the search begins at the first or the last;
		// behind the end there is nothing to find.
		s.from = ch.record + s.step
		if ch.record == 0 {
			s.from = ch.neighbour(f, s.step)
		}
		return s, apdu.OK
	default:
		return s, apdu.WrongData
	}
	if s.from == 0 {
		s.from = ch.record
	}
	if s.from < 1 || s.from > f.records {
		return s, apdu.RecordNotFound
	}
	return s, apdu.OK
}

// matches tells whether the record holds the pattern, at or behind the place.
func (s *search) matches(record []byte) bool {
	at := int(s.at)
	if s.byValue {
		at = bytes.IndexByte(record, s.at)
		if at < 0 {
			return false
		}
		at++
	}
	return at <= len(record) && bytes.Contains(record[at:], s.pattern)
}
