package trace

import (
	"fmt"
	"io"
	"strings"

	"github.com/sspemu/sspemu/internal/apdu"
)

// Text writes events for people: one exchange reads as a dialogue, indented by
// layer, with instructions, status words and tags in words.
//
//	0.120000 #7     > link block 00 A4 00 04 02 3F 00 [vpcd://127.0.0.1:35963]
//	0.120011 #7       > scl packet ...
//	0.120020 #7         > gate C-APDU SELECT 00 A4 00 04 02 3F 00 (case 3)
//	0.120031 #7           > bundle on_message [telecom]
//	0.120040 #7             - host nvm_get [telecom] (= 12)
//	0.120052 #7         < gate R-APDU 9000 ok: 62 ...
//	                       62 FCP
//	                         83 file identifier 3F 00 (MF)
//
// '>' goes towards the SSP, '<' towards the terminal. Exchanges are apart by an
// empty line.
type Text struct {
	w    io.Writer
	buf  []byte
	last uint64
}

// NewText makes a sink that writes each event to w in one piece.
func NewText(w io.Writer) *Text { return &Text{w: w} }

// maxHex is how many bytes of data a line shows.
const maxHex = 64

// valueColumn is where the tags below a line begin.
const valueColumn = 25

// Emit implements Sink.
func (t *Text) Emit(e *Event) {
	b := t.buf[:0]
	if e.ID != t.last && e.ID != 0 {
		if t.last != 0 {
			b = append(b, '\n')
		}
		t.last = e.ID
	}
	id := "-"
	if e.ID != 0 {
		id = fmt.Sprintf("#%d", e.ID)
	}
	b = fmt.Appendf(b, "%10.6f %-6s%*s%c %s %s", e.Time.Seconds(), id, 2*indent(e.Layer), "", arrow(e.Dir), e.Layer, e.Name)
	data := e.Data
	note := e.Note
	switch apduAt(e) {
	case command:
		if len(data) >= 2 {
			if name := apdu.INSName(data[0], data[1]); name != "" {
				b = append(b, ' ')
				b = append(b, name...)
			}
		}
		b = appendHex(b, data)
	case response:
		body, sw, ok := apdu.Status(data)
		if !ok {
			b = appendHex(b, data)
			break
		}
		b = fmt.Appendf(b, " %04X %s", uint16(sw), sw.Words())
		if len(body) > 0 {
			b = append(b, ':')
			b = appendHex(b, body)
		}
	default:
		b = appendHex(b, data)
	}
	if e.Where != "" {
		b = fmt.Appendf(b, " [%s]", e.Where)
	}
	if note != "" {
		b = fmt.Appendf(b, " (%s)", note)
	}
	b = append(b, '\n')
	if e.Layer == Gate {
		switch apduAt(e) {
		case command:
			if c, err := apdu.Parse(data); err == nil {
				b = appendTags(b, c.Data)
			}
		case response:
			if body, _, ok := apdu.Status(data); ok {
				b = appendTags(b, body)
			}
		}
	}
	t.buf = b
	_, _ = t.w.Write(b) // a trace that cannot be written must not stop what it looks at
}

type apduKind uint8

const (
	other apduKind = iota
	command
	response
)

// apduAt tells whether the data of e is an APDU: at the gate, which names it, or
// as a block of a link.
func apduAt(e *Event) apduKind {
	switch {
	case e.Layer == Gate && e.Name == "C-APDU", e.Layer == Link && e.Name == "block" && e.Dir == In:
		return command
	case e.Layer == Gate && e.Name == "R-APDU", e.Layer == Link && e.Name == "block" && e.Dir == Out:
		return response
	}
	return other
}

func indent(l Layer) int {
	if l == Platform {
		return 0
	}
	return int(l)
}

func arrow(d Direction) byte {
	switch d {
	case In:
		return '>'
	case Out:
		return '<'
	}
	return '-'
}

// appendHex adds " XX XX", cut when long.
func appendHex(b, data []byte) []byte {
	if len(data) <= maxHex {
		for _, c := range data {
			b = fmt.Appendf(b, " %02X", c)
		}
		return b
	}
	b = appendHex(b, data[:maxHex])
	return fmt.Appendf(b, " ... %d bytes", len(data))
}

// appendTags adds one line for each data object, when data is a template that is
// known and well formed.
func appendTags(b, data []byte) []byte {
	if len(data) == 0 || !templates(data) {
		return b
	}
	return appendObjects(b, data, 0, 0)
}

func pad(n int) string { return strings.Repeat(" ", n) }
