package mrtd

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/sspemu/sspemu/bundles/eid/inspect"
	"github.com/sspemu/sspemu/bundles/eid/sm"
	"github.com/sspemu/sspemu/internal/apdu"
	"github.com/sspemu/sspemu/internal/tlv"
)

// Limits of what a card can make the inspection system do.
const (
	mostCommands = 20000
	mostFile     = 4 << 20
)

// errProtected: the secure messaging of an answer is wrong; the session is over.
var errProtected = errors.New("secure messaging")

// statusError is a status word that was not expected.
type statusError struct {
	what string
	sw   apdu.SW
}

func (e *statusError) Error() string {
	return fmt.Sprintf("%s: status %04X, %s", e.what, uint16(e.sw), e.sw.Words())
}

// channel is the terminal's end of the conversation, protected or not.
type channel struct {
	card     inspect.Card
	sm       *sm.Session // nil: in plain
	alg      sm.Alg
	extended int // octets that an answer may have; 0: short lengths only
	sent     int
	bytes    int
	short    bool // the card gave less than was asked for, in the middle of a file
}

// secure begins secure messaging with new keys.
func (c *channel) secure(alg sm.Alg, kenc, kmac, ssc []byte) {
	c.alg, c.sm = alg, sm.New(alg, kenc, kmac, ssc)
}

// send exchanges a command, protected when there is a session.
func (c *channel) send(ctx context.Context, capdu []byte) (data []byte, sw apdu.SW, err error) {
	if c.sent++; c.sent > mostCommands {
		return nil, 0, fmt.Errorf("the card wants more than %d commands", mostCommands)
	}
	if c.sm == nil {
		data, sw, err = inspect.Exchange(ctx, c.card, capdu)
		c.bytes += len(data)
		return data, sw, err
	}
	protected, err := c.sm.Protect(capdu)
	if err != nil {
		return nil, 0, err
	}
	raw, sw, err := inspect.Exchange(ctx, c.card, protected)
	if err != nil {
		return nil, 0, err
	}
	plain, err := c.sm.Unprotect(sw.Append(raw))
	if err != nil {
		c.sm = nil
		if len(raw) == 0 {
			return nil, sw, fmt.Errorf("%w: the card ends the session with %04X, %s", errProtected, uint16(sw), sw.Words())
		}
		return nil, 0, fmt.Errorf("%w: %w", errProtected, err)
	}
	data, sw, _ = apdu.Status(plain)
	c.bytes += len(data)
	return data, sw, nil
}

// must is send that accepts 9000 only.
func (c *channel) must(ctx context.Context, what string, capdu []byte) ([]byte, error) {
	data, sw, err := c.send(ctx, capdu)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s: %w", what, err)
	case sw != 0x9000:
		return nil, &statusError{what, sw}
	}
	return data, nil
}

// command makes a C-APDU; le -1: no answer is expected, 0: as long as a short one can be.
func command(cla, ins, p1, p2 byte, data []byte, le int) []byte {
	out := []byte{cla, ins, p1, p2}
	long := len(data) > 255 || le > 256
	if len(data) > 0 {
		if long {
			out = append(out, 0, byte(len(data)>>8))
		}
		out = append(append(out, byte(len(data))), data...)
	}
	switch {
	case le < 0:
	case long:
		if len(data) == 0 {
			out = append(out, 0)
		}
		if le == 0 || le > 65535 {
			le = 65536
		}
		out = append(out, byte(le>>8), byte(le))
	default:
		out = append(out, byte(le))
	}
	return out
}

// block is how many octets one READ BINARY fetches (Doc 9303-11 9.8: what an answer
// carries beside the data).
func (c *channel) block() int {
	if c.extended > 0 {
		n := min(c.extended, 65536)
		if c.sm != nil {
			n -= 5 + 32 + 4 + 10 // DO'87' with its padding, DO'99', DO'8E'
		}
		return max(n-8, 128)
	}
	switch {
	case c.sm == nil:
		return 256
	case c.alg == sm.TDES:
		return 231
	}
	return 223
}

// read is READ BINARY of the current file: from 32 KiB on with the odd instruction
// (Doc 9303-10 3.6.3.2; ISO/IEC 7816-4 11.3.3).
func (c *channel) read(ctx context.Context, offset, n int) ([]byte, apdu.SW, error) {
	if offset < 0x8000 {
		le := n
		if le == 256 {
			le = 0
		}
		return c.send(ctx, command(0, 0xB0, byte(offset>>8), byte(offset), nil, le))
	}
	pos := []byte{byte(offset >> 16), byte(offset >> 8), byte(offset)}
	for len(pos) > 2 && pos[0] == 0 {
		pos = pos[1:]
	}
	header := 2
	if n > 127 {
		header = 3
	}
	if n > 255 {
		header = 4
	}
	if c.extended == 0 {
		n = min(n, c.block()-header)
	}
	le := n + header
	if le == 256 && c.extended == 0 {
		le = 0
	}
	data, sw, err := c.send(ctx, command(0, 0xB1, 0, 0, tlv.Append(nil, 0x54, pos...), le))
	if err != nil || len(data) == 0 {
		return nil, sw, err
	}
	for _, t := range []tlv.Tag{0x53, 0x73} {
		if v, err := tlv.Find(data, t); err == nil {
			return v, sw, nil
		}
	}
	return nil, sw, errors.New("READ BINARY with the odd instruction: the answer is no data object 53 (Doc 9303-10 3.6.3.2)")
}

// Errors of files.
var (
	errAbsent   = errors.New("there is no such file")
	errRefused  = errors.New("the chip does not give it")
	errTooLarge = errors.New("says that it is larger than any file can be")
	errCut      = errors.New("ends before its length")
)

// file selects and reads a whole file, whose length is that of its first data object;
// whole is for files that are more than one (EF.ATR/INFO, EF.DIR, EF.CVCA): to the end.
func (c *channel) file(ctx context.Context, fid uint16, whole bool) ([]byte, error) {
	_, sw, err := c.send(ctx, command(0, 0xA4, 0x02, 0x0C, []byte{byte(fid >> 8), byte(fid)}, -1))
	switch {
	case err != nil:
		return nil, err
	case sw == 0x6A82:
		return nil, errAbsent
	case sw == 0x6982 || sw == 0x6985:
		return nil, errRefused
	case sw != 0x9000:
		return nil, &statusError{"SELECT", sw}
	}
	var out []byte
	size := -1
	for size < 0 || len(out) < size {
		n := c.block()
		if size >= 0 {
			n = min(n, size-len(out))
		} else if !whole && c.extended > 0 {
			n = min(n, 1024) // the length is not known
		}
		part, sw, err := c.read(ctx, len(out), n)
		switch {
		case err != nil:
			return out, err
		case (sw == 0x6982 || sw == 0x6985) && len(out) == 0:
			return nil, errRefused
		case (sw == 0x6B00 || sw == 0x6282 && len(part) == 0) && len(out) > 0:
			if whole {
				return out, nil
			}
			return out, fmt.Errorf("%w: it says %d octets and has %d", errCut, size, len(out))
		case sw != 0x9000 && sw != 0x6282:
			return out, &statusError{fmt.Sprintf("READ BINARY at %d", len(out)), sw}
		case len(part) == 0:
			if whole {
				return out, nil
			}
			return out, fmt.Errorf("%w: it says %d octets and has %d", errCut, size, len(out))
		case len(part) > n+8:
			return out, fmt.Errorf("READ BINARY gives %d octets where %d were asked for", len(part), n)
		}
		if size >= 0 && len(part) < n && sw == 0x9000 && len(out)+len(part) < size {
			c.short = true
		}
		out = append(out, part...)
		if whole {
			if sw == 0x6282 || len(part) < n {
				return out, nil
			}
			if len(out) > mostFile {
				return out, errTooLarge
			}
			continue
		}
		if size < 0 {
			if size, err = fileSize(out); err != nil {
				return out, err
			}
		}
	}
	return out[:size], nil
}

// fileSize is how long a file is, from its first octets.
func fileSize(head []byte) (int, error) {
	if len(head) < 2 {
		return 0, fmt.Errorf("%w: no tag and length", errCut)
	}
	at := 1
	if head[0]&0x1F == 0x1F {
		at = 2
	}
	if len(head) <= at {
		return 0, fmt.Errorf("%w: no tag and length", errCut)
	}
	l := int(head[at])
	if l < 0x80 {
		return at + 1 + l, nil
	}
	k := l & 0x7F
	if k == 0 || k > 4 || len(head) < at+1+k {
		return 0, errors.New("begins with a length that is not one of BER")
	}
	n := 0
	for _, b := range head[at+1 : at+1+k] {
		n = n<<8 | int(b)
	}
	if n > mostFile {
		return 0, fmt.Errorf("%w: %d octets", errTooLarge, n)
	}
	return at + 1 + k + n, nil
}

// constant tells whether two challenges are the same.
func constant(a, b []byte) bool { return len(a) > 0 && bytes.Equal(a, b) }
