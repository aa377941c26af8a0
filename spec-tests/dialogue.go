package spectests

import (
	"context"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/sspemu/sspemu/internal/apdu"
)

// Line is one line of the dialogue of a case.
type Line struct {
	// Kind is "send", "receive", "reset", "note" or "problem".
	Kind  string `json:"kind"`
	Bytes string `json:"bytes,omitempty"` // in hexadecimal
	Words string `json:"words,omitempty"`
	Where string `json:"where,omitempty"` // file:line of the step
}

// String is the line as the table prints it.
func (l Line) String() string {
	mark := map[string]string{"send": ">", "receive": "<", "reset": "<", "note": " ", "problem": "!"}[l.Kind]
	s := mark + " " + l.Bytes
	if l.Bytes != "" && l.Words != "" {
		s += "  "
	}
	s += l.Words
	if l.Kind == "problem" && l.Where != "" {
		s += " (" + l.Where + ")"
	}
	return s
}

// varSW2 is the variable that holds the second byte of the last status word: the
// count of 61xx, 6Cxx and 91xx.
const varSW2 = "sw2"

// Dialogue is one case under way; the checks work on it.
type Dialogue struct {
	ctx    context.Context
	target *Target
	vars   map[string]string // of the target, and what was saved
	lines  []Line
	where  string

	figure string // what a check measured

	atr  []byte
	data []byte // of the last response
	sw   apdu.SW
	buf  []byte
	sent []byte // the last command

	emv *emvState // of the emv_ checks
	iot *iotState // of the iot_ checks
	ota *otaState // of the ota_ checks
	mdl *mdlState // of the mdl_ checks

	mrtd *mrtdState // of the mrtd_ checks
	piv  pivState   // of the piv_ checks
}

func (d *Dialogue) add(l Line) {
	l.Where = d.where
	d.lines = append(d.lines, l)
}

// note adds words to the dialogue.
func (d *Dialogue) note(format string, a ...any) {
	d.add(Line{Kind: "note", Words: fmt.Sprintf(format, a...)})
}

func upper(b []byte) string { return strings.ToUpper(hex.EncodeToString(b)) }

func (d *Dialogue) reset(cold bool) error {
	atr, err := d.target.Terminal.Reset(d.ctx, cold)
	what := "warm"
	if cold {
		what = "cold"
	}
	if err != nil {
		return fmt.Errorf("%s reset: %w", what, err)
	}
	d.atr = atr
	d.data, d.sw = nil, 0
	d.add(Line{Kind: "reset", Bytes: upper(atr), Words: what + " reset"})
	return nil
}

// transmit sends one command; data and sw are its response.
func (d *Dialogue) transmit(capdu []byte) error {
	words := ""
	if len(capdu) >= 2 {
		words = apdu.INSName(capdu[0], capdu[1])
	}
	d.sent = append(d.sent[:0], capdu...)
	d.add(Line{Kind: "send", Bytes: upper(capdu), Words: words})
	r, err := d.target.Terminal.Transmit(d.ctx, capdu, d.buf[:0])
	if err != nil {
		return fmt.Errorf("transmit: %w", err)
	}
	d.buf = r
	data, sw, ok := apdu.Status(r)
	if !ok {
		d.add(Line{Kind: "receive", Bytes: upper(r)})
		return fmt.Errorf("the response has %d bytes, no status word", len(r))
	}
	d.data, d.sw = data, sw
	d.vars[varSW2] = fmt.Sprintf("%02X", byte(sw))
	d.add(Line{Kind: "receive", Bytes: upper(r), Words: sw.Words()})
	return nil
}

// step plays one step.
func (d *Dialogue) step(s *Step) error {
	d.where = s.Where
	switch {
	case s.Reset != "":
		if err := d.reset(s.Reset == "cold"); err != nil {
			return err
		}
	case len(s.Send.parts) > 0:
		capdu, err := s.Send.bytes(d.vars)
		if err != nil {
			return err
		}
		if err := d.transmit(capdu); err != nil {
			return err
		}
		if !s.SW.match(uint16(d.sw)) {
			return fmt.Errorf("status %04X (%s), expected %s", uint16(d.sw), d.sw.Words(), s.SW)
		}
		if s.Expect != nil {
			if err := s.Expect.match(d.data, d.vars); err != nil {
				return err
			}
		}
	}
	for _, c := range s.Checks {
		args := make([]string, len(c.args))
		for i, a := range c.args {
			var err error
			if args[i], err = a.text(d.vars); err != nil {
				return err
			}
		}
		if err := checks[c.name].run(d, args); err != nil {
			return fmt.Errorf("check %s: %w", strings.Join(append([]string{c.name}, args...), " "), err)
		}
	}
	for _, v := range s.Save {
		if err := d.save(v); err != nil {
			return fmt.Errorf("save %s: %w", v.name, err)
		}
	}
	return nil
}

func (d *Dialogue) save(v save) error {
	b := d.data
	if v.tag != "" {
		var err error
		if b, err = find(b, v.tag); err != nil {
			return err
		}
	}
	end := len(b)
	if v.n >= 0 {
		end = v.from + v.n
	}
	if v.from > end || end > len(b) {
		return fmt.Errorf("there are %d bytes", len(b))
	}
	d.vars[v.name] = upper(b[v.from:end])
	return nil
}
