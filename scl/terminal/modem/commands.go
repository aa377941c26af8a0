package modem

import (
	"encoding/hex"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/sspemu/sspemu/internal/apdu"
)

func decimal(n int) string { return strconv.Itoa(n) }

// entry is a command of the modem.
type entry struct {
	clause string // of TS 27.007; V.250; or vendor, where there is no standard
	forms  string
	args   int    // at most
	values string // what +NAME=? tells, if anything
	do     func(p *port, c command) error
}

// table is every command of the modem. Of TS 27.007 the clauses of chapters 8 and 9 were
// read (Release 18); 5.x, 8.1 to 8.3 and V.250 are unverified: as manuals of modems have
// them. init fills it, as +CLAC prints it.
var table map[string]entry

func init() {
	table = map[string]entry{
		"E": {"V.250 6.2.4", "x", 1, "", flag(func(p *port) *bool { return &p.echo })},
		"Q": {"V.250 6.2.5", "x", 1, "", func(p *port, c command) error {
			on := !p.quiet
			err := flag(func(p *port) *bool { return &on })(p, c)
			p.quiet = on
			return err
		}},
		"V":  {"V.250 6.2.6", "x", 1, "", flag(func(p *port) *bool { return &p.verbose })},
		"X":  {"V.250 6.2.7", "x", 1, "", ignore(4)},
		"&C": {"V.250 6.2.8", "x", 1, "", ignore(1)},
		"&D": {"V.250 6.2.9", "x", 1, "", ignore(2)},
		"&F": {"V.250 6.1.2", "x", 1, "", func(p *port, c command) error { p.reset(); return nil }},
		"Z":  {"V.250 6.1.1", "x", 1, "", func(p *port, c command) error { p.reset(); return nil }},
		"H":  {"V.250 6.3.6", "x", 1, "", ignore(0)},
		"S3": {"V.250 6.2.1", "?=", 1, "", character(func(p *port) *byte { return &p.s3 })},
		"S4": {"V.250 6.2.2", "?=", 1, "", character(func(p *port) *byte { return &p.s4 })},
		"S5": {"V.250 6.2.3", "?=", 1, "", character(func(p *port) *byte { return &p.s5 })},
		"I": {"V.250 6.1.3", "x", 1, "", func(p *port, c command) error {
			p.info(manufacturer)
			p.info(model)
			p.info("Revision: " + p.m.o.Revision)
			return nil
		}},

		"+CGMI": {"5.1", "xt", 0, "", tell(manufacturer)},
		"+CGMM": {"5.2", "xt", 0, "", tell(model)},
		"+CGMR": {"5.3", "xt", 0, "", func(p *port, c command) error { p.info(p.m.o.Revision); return nil }},
		"+CGSN": {"5.4", "xt", 0, "", tell(serialNumber)},
		"+CIMI": {"5.6", "xt", 0, "", imsi},
		"+GMI":  {"V.250 6.1.4", "xt", 0, "", tell(manufacturer)},
		"+GMM":  {"V.250 6.1.5", "xt", 0, "", tell(model)},
		"+GMR":  {"V.250 6.1.6", "xt", 0, "", func(p *port, c command) error { p.info(p.m.o.Revision); return nil }},
		"+GSN":  {"V.250 6.1.7", "xt", 0, "", tell(serialNumber)},
		"+CCID": {"vendor", "xt?", 0, "", iccid}, "+ICCID": {"vendor", "xt?", 0, "", iccid},

		"+CFUN": {"8.2", "?=t", 2, "(0,1,4),(0,1)", functionality},
		"+CPIN": {"8.3", "?=t", 1, "", pin},
		"+CLAC": {"8.37", "xt", 0, "", list},

		"+CSIM": {"8.17", "=t", 2, "", csim},
		"+CRSM": {"8.18", "=t", 7, "", crsm},
		"+CGLA": {"8.43", "=t", 3, "", cgla},
		"+CCHO": {"8.45", "=t", 1, "", ccho},
		"+CCHC": {"8.46", "=t", 1, "", cchc},
		"+CUAD": {"8.49", "x=t", 1, "(0)", cuad},

		"+CMEE": {"9.1", "?=t", 1, "(0-2)", func(p *port, c command) error {
			if c.form == read {
				p.info("+CMEE: " + decimal(p.cmee))
				return nil
			}
			n, ok := c.arg(0).number(0, 2)
			if !ok && c.arg(0).given {
				return syntaxError{}
			}
			p.cmee = n
			return nil
		}},
	}
}

// What the modem says of itself. The number is made up: type allocation code 00101000.
const (
	manufacturer = "sspemu"
	model        = "sspemu modem"
	serialNumber = "001010000000016"
)

func tell(s string) func(*port, command) error {
	return func(p *port, _ command) error { p.info(s); return nil }
}

// ignore takes a number and does nothing: there is no line.
func ignore(most int) func(*port, command) error {
	return func(_ *port, c command) error {
		if _, ok := c.arg(0).number(0, most); !ok && c.arg(0).given {
			return syntaxError{}
		}
		return nil
	}
}

func flag(of func(*port) *bool) func(*port, command) error {
	return func(p *port, c command) error {
		n, ok := c.arg(0).number(0, 1)
		if !ok && c.arg(0).given {
			return syntaxError{}
		}
		*of(p) = n == 1
		return nil
	}
}

func character(of func(*port) *byte) func(*port, command) error {
	return func(p *port, c command) error {
		if c.form == read {
			n := decimal(int(*of(p)))
			p.info("000"[len(n):] + n)
			return nil
		}
		n, ok := c.arg(0).number(0, 127)
		if !ok {
			return syntaxError{}
		}
		*of(p) = byte(n)
		return nil
	}
}

func list(p *port, _ command) error {
	for _, n := range slices.Sorted(maps.Keys(table)) {
		p.info("AT" + n)
	}
	return nil
}

// functionality: with 0 the card has no power, and commands about it are not allowed; 1
// and 4 give it power. There is no radio.
func functionality(p *port, c command) error {
	if c.form == read {
		n := 1
		if p.m.off {
			n = 0
		}
		p.info("+CFUN: " + decimal(n))
		return nil
	}
	n, ok := 1, true
	if c.arg(0).given {
		n, ok = c.arg(0).number(0, 4)
	}
	again := 0
	if ok && c.arg(1).given {
		again, ok = c.arg(1).number(0, 1)
	}
	if !ok || n == 2 || n == 3 {
		return IncorrectParameters
	}
	on := n != 0
	if on && (p.m.off || again == 1) || !on {
		clear(p.m.channels[:])
	}
	if on && (p.m.off || again == 1) {
		p.m.verified = false
		if err := p.m.card.Reset(p.ctx); err != nil {
			return p.m.failed(err)
		}
	}
	if again == 1 {
		p.reset()
	}
	p.m.off = !on
	return nil
}

// pin asks an empty VERIFY how it stands with PIN 1 (TS 102 221 11.1.9), or gives the PIN.
// A card that knows no such PIN is ready.
func pin(p *port, c command) error {
	v := []byte{0, verify, 0, pin1}
	if c.form == set {
		s := c.arg(0).text
		if len(s) < 4 || len(s) > 8 || strings.Trim(s, "0123456789") != "" {
			return IncorrectParameters
		}
		v = append(append(v, 8), (s + "\xFF\xFF\xFF\xFF")[:8]...)
	}
	_, sw, err := p.m.exchange(p.ctx, v)
	if err != nil {
		return err
	}
	blocked := sw == apdu.AuthBlocked || sw == apdu.Counter
	wrong := sw&0xFFF0 == apdu.Counter
	if c.form == set {
		switch {
		case sw == apdu.OK:
			return nil
		case blocked:
			return SIMPUKRequired
		case wrong:
			return IncorrectPassword
		}
		return NotAllowed // TS 27.007 8.3: no PIN is wanted
	}
	switch {
	case blocked:
		p.info("+CPIN: SIM PUK")
	case wrong && !p.m.verified:
		p.info("+CPIN: SIM PIN")
	default:
		p.info("+CPIN: READY")
	}
	return nil
}

// apduArgs reads <length>,<command>: the length counts the characters of the command.
func apduArgs(length, text arg) ([]byte, error) {
	n, ok := length.number(0, maxLine)
	b, err := hex.DecodeString(text.text)
	if !ok || err != nil || n != len(text.text) || len(b) < 4 {
		return nil, IncorrectParameters
	}
	return b, nil
}

// pass sends a command of the device and answers what the card does.
func (p *port) pass(name string, c []byte) (err error) {
	var data []byte
	var sw apdu.SW
	if p.m.o.Fetch {
		data, sw, err = p.m.whole(p.ctx, c)
	} else {
		data, sw, err = p.m.exchange(p.ctx, c)
	}
	if err != nil {
		return err
	}
	s := upperHex(sw.Append(data))
	p.info(name + ": " + decimal(len(s)) + `,"` + s + `"`)
	return nil
}

func upperHex(b []byte) string { return strings.ToUpper(hex.EncodeToString(b)) }

func csim(p *port, c command) error {
	b, err := apduArgs(c.arg(0), c.arg(1))
	if err != nil {
		return err
	}
	return p.pass(c.name, b)
}

// session is the logical channel of a <sessionid>, one that was opened on this port. The
// number is that of the channel, which the standard leaves open.
func (p *port) session(a arg) (byte, error) {
	n, ok := a.number(0, 1<<31-1)
	switch {
	case !ok:
		return 0, IncorrectParameters
	case n == 0 || n >= len(p.m.channels) || p.m.channels[n].owner != p:
		return 0, InvalidIndex
	}
	return byte(n), nil
}

func cgla(p *port, c command) error {
	ch, err := p.session(c.arg(0))
	if err != nil {
		return err
	}
	b, err := apduArgs(c.arg(1), c.arg(2))
	if err != nil {
		return err
	}
	// TS 27.007 8.43: neither RUN GSM ALGORITHM, nor AUTHENTICATE of a USIM in the GSM context
	// (TS 31.102 7.1.2.1: P2).
	if gsm := b[0]&0xF0 == 0xA0; b[1] == authenticate && (gsm || p.m.channels[ch].usim && b[3]&0x07 == 0) {
		return NotAllowed
	}
	b[0] = onChannel(b[0], ch)
	return p.pass(c.name, b)
}

func ccho(p *port, c command) error {
	aid, err := hex.DecodeString(c.arg(0).text)
	if err != nil || len(aid) == 0 || len(aid) > 16 {
		return IncorrectParameters
	}
	ch, err := p.open(aid)
	if err != nil {
		return err
	}
	s := decimal(int(ch))
	if !p.m.o.Bare {
		s = "+CCHO: " + s
	}
	p.info(s)
	return nil
}

func cchc(p *port, c command) error {
	ch, err := p.session(c.arg(0))
	if err != nil {
		return err
	}
	if err := p.m.close(p.ctx, ch); err != nil {
		return err
	}
	p.info("+CCHC")
	return nil
}

// usim is the application in which the modem looks for files of a subscriber (TS 31.102;
// its registered part, which every USIM's AID begins with).
var usim = []byte{0xA0, 0, 0, 0, 0x87, 0x10, 0x02}

// selects a file as a modem does it by itself, on the basic channel: by its path from the
// master file, or where files of that number are (TS 102 221 8.6: 2F under the MF, 6F in an
// application or a directory). fcp is what the card tells of it.
func (p *port) selects(file int, path []byte) (fcp []byte, sw apdu.SW, err error) {
	id := []byte{byte(file >> 8), byte(file)}
	one := func(p1 byte, data []byte) error {
		if err == nil {
			fcp, sw, err = p.m.whole(p.ctx, append(append([]byte{0, selectFile, p1, 4, byte(len(data))}, data...), 0))
		}
		return err
	}
	mf := []byte{0x3F, 0}
	switch {
	case len(path) > 0:
		path = append(append([]byte{}, path...), id...)
		if path[0] == 0x3F && path[1] == 0 {
			path = path[2:]
		}
		if path[0] == 0x7F && path[1] == 0xFF {
			_ = one(4, usim)
		}
		_ = one(8, path)
	case id[0] == 0x3F || id[0] == 0x2F:
		_ = one(0, mf)
		if id[0] == 0x2F {
			_ = one(0, id)
		}
	default:
		if one(4, usim) == nil && sw == apdu.OK {
			_ = one(0, id)
		}
		for _, df := range [][]byte{{0x7F, 0x20}, {0x7F, 0x10}} {
			if err != nil || sw == apdu.OK {
				break
			}
			_ = one(8, append(df, id...))
		}
	}
	return fcp, sw, err
}

// crsm does what a command of its list needs: the file is selected, an answer fetched.
func crsm(p *port, c command) error {
	ins, ok := c.arg(0).number(0, 255)
	if !ok {
		return IncorrectParameters
	}
	file, p1, p2, p3 := 0, 0, 0, 0
	for i, to := range []*int{&file, &p1, &p2, &p3} {
		if a := c.arg(1 + i); a.given {
			most := 255
			if i == 0 {
				most = 0xFFFF
			}
			if *to, ok = a.number(0, most); !ok {
				return IncorrectParameters
			}
		}
	}
	data, err := hex.DecodeString(c.arg(5).text)
	path, perr := hex.DecodeString(c.arg(6).text)
	if err != nil || perr != nil || len(path)%2 != 0 || len(path) > 10 || len(data) > 255 || !c.arg(1).given && ins != status {
		return IncorrectParameters
	}
	b := []byte{0, byte(ins), byte(p1), byte(p2), byte(p3)}
	switch ins {
	case updateBinary, updateRecord, setData:
		if len(data) != p3 {
			return IncorrectParameters
		}
		b = append(b, data...)
	case readBinary, readRecord, getResponse, retrieveData, status:
	default:
		return IncorrectParameters
	}
	if ins == retrieveData || ins == setData || ins == status {
		b[0] = 0x80
	}
	var answer []byte
	var sw apdu.SW
	if c.arg(1).given {
		if answer, sw, err = p.selects(file, path); err != nil {
			return err
		}
		if sw != apdu.OK && sw&0xFF00 != apdu.ProactivePending {
			return p.restricted(nil, sw)
		}
	}
	if ins == getResponse { // what SELECT told
		return p.restricted(answer, sw)
	}
	if answer, sw, err = p.m.whole(p.ctx, b); err != nil {
		return err
	}
	return p.restricted(answer, sw)
}

func (p *port) restricted(answer []byte, sw apdu.SW) error {
	s := "+CRSM: " + decimal(int(sw>>8)) + "," + decimal(int(sw&0xFF))
	if len(answer) > 0 {
		s += `,"` + upperHex(answer) + `"`
	}
	p.info(s)
	return nil
}

// file reads a whole transparent file of at most 256 bytes.
func (p *port) file(id int) ([]byte, error) {
	_, sw, err := p.selects(id, nil)
	if err != nil {
		return nil, err
	}
	if sw != apdu.OK {
		return nil, SIMWrong
	}
	b, sw, err := p.m.whole(p.ctx, []byte{0, readBinary, 0, 0, 0})
	switch {
	case err != nil:
		return nil, err
	case sw == apdu.SecurityNotSatisfied:
		return nil, SIMPINRequired
	case sw != apdu.OK:
		return nil, SIMWrong
	}
	return b, nil
}

// swapped are the digits of a number whose halves of bytes are swapped.
func swapped(b []byte) string {
	var d []byte
	for _, x := range b {
		d = append(d, x&0x0F, x>>4)
	}
	s := ""
	for _, x := range d {
		if x > 9 {
			break
		}
		s += decimal(int(x))
	}
	return s
}

// imsi reads EF IMSI (TS 31.102 4.2.2). A card without it is the wrong one.
func imsi(p *port, _ command) error {
	b, err := p.file(0x6F07)
	if err != nil {
		return err
	}
	if len(b) < 2 || int(b[0]) < 1 || int(b[0]) >= len(b) {
		return SIMWrong
	}
	digits := swapped(b[1 : 1+b[0]])
	if len(digits) < 6 { // country, network and more
		return SIMWrong
	}
	p.info(digits[1:]) // the first half of a byte is the parity
	return nil
}

// iccid reads EF ICCID (TS 102 221 13.2).
func iccid(p *port, c command) error {
	b, err := p.file(0x2FE2)
	if err != nil {
		return err
	}
	p.info(c.name + ": " + swapped(b))
	return nil
}

// cuad reads EF DIR (TS 102 221 13.1).
func cuad(p *port, c command) error {
	if n, ok := c.arg(0).number(0, 0); c.arg(0).given && (!ok || n != 0) {
		return IncorrectParameters
	}
	var all []byte
	_, sw, err := p.selects(0x2F00, nil)
	if err != nil {
		return err
	}
	if sw != apdu.OK {
		return NotFound
	}
	for n := byte(1); n < 255; n++ {
		b, sw, err := p.m.whole(p.ctx, []byte{0, readRecord, n, 4, 0})
		if err != nil {
			return err
		}
		if sw != apdu.OK {
			break
		}
		all = append(all, b...)
	}
	p.info(`+CUAD: "` + upperHex(all) + `"`)
	return nil
}
