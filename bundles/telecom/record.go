package telecom

import (
	"github.com/sspemu/sspemu/bundles/sdk"
	"github.com/sspemu/sspemu/internal/apdu"
)

// recordFile is the record EF that P2 of READ, UPDATE and SEARCH RECORD names:
// the current one, or one by SFI, which becomes current (ETSI TS 102 221
// 11.1.5).
func (c *Card) recordFile(ch *channel, cmd *sdk.Command, mode byte) (*file, sdk.SW) {
	f := ch.ef
	if sfi := cmd.P2 >> 3; sfi != 0 {
		if f = c.bySFI(ch.df, sfi); f == nil {
			return nil, apdu.FileNotFound
		}
		ch.makeCurrent(f)
	}
	switch {
	case f == nil:
		return nil, apdu.NoCurrentEF
	case !f.recordBased():
		return nil, apdu.CommandIncompatible
	}
	return f, c.access(ch, f, mode, cmd)
}

// neighbour is the record after (step 1) or before (-1) the current one, 0 when
// there is none: a cyclic EF goes round, and without a current record it is the
// first or the last.
func (ch *channel) neighbour(f *file, step int) int {
	n := ch.record + step
	switch {
	case ch.record == 0 && step < 0:
		return f.records
	case n >= 1 && n <= f.records:
		return n
	case f.kind == kindCyclic && n < 1:
		return f.records
	case f.kind == kindCyclic:
		return 1
	}
	return 0
}

// target is the record that P1 and the mode in P2 mean, and whether the current
// record moves to it; the record number is 0 when there is no such record.
func (ch *channel) target(f *file, cmd *sdk.Command) (n int, moves bool, sw sdk.SW) {
	mode := cmd.P2 & recordModeMask
	switch {
	case mode == recordAbsolute && cmd.P1 == 0:
		n = ch.record
	case mode == recordAbsolute:
		n = int(cmd.P1)
	case cmd.P1 != 0:
		return 0, false, apdu.WrongP1P2
	case mode == recordNext:
		n, moves = ch.neighbour(f, 1), true
	case mode == recordPrevious:
		n, moves = ch.neighbour(f, -1), true
	}
	if n < 1 || n > f.records {
		return 0, false, apdu.RecordNotFound
	}
	return n, moves, apdu.OK
}

// recordMode tells whether P2 holds a mode of READ and UPDATE RECORD.
func recordMode(p2 byte) bool {
	m := p2 & recordModeMask
	return m >= recordNext && m <= recordAbsolute
}

// readRecord is READ RECORD (TS 102 221 11.1.5).
func (c *Card) readRecord(ch *channel, cmd *sdk.Command, r *sdk.Response) sdk.SW {
	if !recordMode(cmd.P2) {
		return apdu.WrongP1P2
	}
	f, sw := c.recordFile(ch, cmd, amRead)
	if sw != apdu.OK {
		return sw
	}
	n, moves, sw := ch.target(f, cmd)
	if sw != apdu.OK {
		return sw
	}
	switch cmd.Ne {
	case 0, apdu.MaxShortNe, apdu.MaxExtendedNe, f.recordLen:
	default:
		return wrongLe(f.recordLen)
	}
	r.Append(f.record(n))
	if moves {
		ch.record = n
	}
	return apdu.OK
}

// updateRecord is UPDATE RECORD (TS 102 221 11.1.6). Of a cyclic EF only the
// previous record can be updated: that is the oldest, which becomes record 1.
func (c *Card) updateRecord(ch *channel, cmd *sdk.Command, _ *sdk.Response) sdk.SW {
	if !recordMode(cmd.P2) {
		return apdu.WrongP1P2
	}
	f, sw := c.recordFile(ch, cmd, amUpdate)
	if sw != apdu.OK {
		return sw
	}
	if f.kind == kindCyclic {
		switch {
		case cmd.P2&recordModeMask != recordPrevious:
			return apdu.CommandIncompatible
		case cmd.P1 != 0:
			return apdu.WrongP1P2
		case len(cmd.Data) != f.recordLen:
			return apdu.WrongLength
		}
		return c.push(ch, f, cmd.Data)
	}
	n, moves, sw := ch.target(f, cmd)
	if sw != apdu.OK {
		return sw
	}
	if len(cmd.Data) != f.recordLen {
		return apdu.WrongLength
	}
	if sw = c.write(f, (n-1)*f.recordLen, cmd.Data); sw == apdu.OK && moves {
		ch.record = n
	}
	return sw
}

// push makes data record 1 of cyclic EF f, in place of the oldest record, and
// the current record of the channel.
func (c *Card) push(ch *channel, f *file, data []byte) sdk.SW {
	shifted := f.body[:len(f.body)-f.recordLen]
	if len(shifted) > 0 && sdk.NVM.Write(f.key, f.recordLen, shifted) != nil || sdk.NVM.Write(f.key, 0, data) != nil {
		sdk.NVM.Rollback()
		return apdu.MemoryProblem
	}
	copy(f.body[f.recordLen:], shifted)
	copy(f.body, data)
	ch.record = 1
	return apdu.OK
}

// increase is INCREASE (TS 102 221 11.1.8): the newest record of a cyclic EF plus
// a value becomes a new record; the answer is both.
func (c *Card) increase(ch *channel, cmd *sdk.Command, r *sdk.Response) sdk.SW {
	f := ch.ef
	switch {
	case cmd.P1&p1SFI != 0:
		if cmd.P1&p1SFIRFU != 0 {
			return apdu.WrongP1P2
		}
		if f = c.bySFI(ch.df, cmd.P1&p1SFIMask); f == nil {
			return apdu.FileNotFound
		}
		ch.makeCurrent(f)
	case cmd.P1 != 0:
		return apdu.WrongP1P2
	case f == nil:
		return apdu.NoCurrentEF
	}
	if f.kind != kindCyclic {
		return apdu.CommandIncompatible
	}
	if sw := c.access(ch, f, 0, cmd); sw != apdu.OK {
		return sw
	}
	if len(cmd.Data) > f.recordLen {
		return apdu.WrongLength
	}
	r.Append(f.record(1))
	sum := r.Bytes()[r.Len()-f.recordLen:]
	if !add(sum, cmd.Data) {
		r.Reset()
		return apdu.IncreaseMaxReached
	}
	if sw := c.push(ch, f, sum); sw != apdu.OK {
		r.Reset()
		return sw
	}
	r.Append(cmd.Data)
	return apdu.OK
}

// add adds v to sum, both with the high byte first; false when it does not fit.
func add(sum, v []byte) bool {
	carry := 0
	for i := 1; i <= len(sum); i++ {
		x := int(sum[len(sum)-i]) + carry
		if i <= len(v) {
			x += int(v[len(v)-i])
		}
		sum[len(sum)-i] = byte(x)
		carry = x >> 8
	}
	return carry == 0
}
