// Package modem is a modem with the card behind it, and the device in front of it: most
// IoT SAFE clients reach their SIM with AT commands.
//
//	device ── TE ── AT+CSIM, AT+CGLA ── PTY, TCP ── Modem ── APDU ──> Card (any link)
//
// A Modem answers on any number of ports. It has a card and no radio: the commands are
// those that are about the card, and what clients send before them. TE is the other end:
// a card that is behind any modem.
//
// Sources: 3GPP TS 27.007, clauses as in the table of commands; ITU-T V.250 for lines and
// result codes; ETSI TS 102 221 for what the modem itself asks of a card. How modems differ
// where the text leaves room is what Options is for.
package modem

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/sspemu/sspemu/internal/apdu"
)

// Card is the card behind the modem.
type Card interface {
	// Transmit sends a C-APDU and gives the R-APDU in dst[:0], grown where needed.
	Transmit(ctx context.Context, capdu, dst []byte) (rapdu []byte, err error)
	// Reset takes the power away and gives it back.
	Reset(ctx context.Context) error
}

// ErrNoCard is what a Card wraps when none is there: SIM not inserted. Any other error is
// SIM failure.
var ErrNoCard = errors.New("no card")

// Options of a Modem. The zero value passes 61XX and 6CXX on to the device, and answers
// AT+CCHO as most modems do.
type Options struct {
	Fetch    bool // the modem itself fetches what waits after 61XX and repeats after 6CXX
	Bare     bool // AT+CCHO answers the number alone, as the table in TS 27.007 8.45 has it, not +CCHO: and the number
	Revision string
	Log      func(error) // hears why a card failed; nil: nobody does
}

// Modem has a card. Its methods may be called by several goroutines.
type Modem struct {
	card Card
	o    Options

	mu       sync.Mutex // one command at a time
	off      bool       // AT+CFUN=0
	verified bool       // PIN 1, since the reset: an empty VERIFY does not tell
	channels [20]channel
	buf      []byte
}

// channel is a logical channel that the modem has opened.
type channel struct {
	owner *port // nil: it is not open
	usim  bool  // with a USIM
}

// New makes a modem.
func New(card Card, o Options) *Modem {
	if o.Log == nil {
		o.Log = func(error) {}
	}
	return &Modem{card: card, o: o}
}

// cardTime bounds how long a card may take for one command.
const cardTime = 30 * time.Second

// port is one connection with terminal equipment.
type port struct {
	m   *Modem
	ctx context.Context

	echo, quiet, verbose bool
	cmee                 int
	s3, s4, s5           byte
	out                  []byte
}

// reset sets what ATZ sets.
func (p *port) reset() {
	p.echo, p.quiet, p.verbose, p.cmee = true, false, true, 0
	p.s3, p.s4, p.s5 = '\r', '\n', '\b'
}

// Serve answers on one port until it ends or ctx does; then the logical channels that were
// opened there are closed. If rw is an io.Closer, Serve closes it.
func (m *Modem) Serve(ctx context.Context, rw io.ReadWriter) error {
	p := &port{m: m, ctx: ctx}
	p.reset()
	if c, ok := rw.(io.Closer); ok {
		stop := context.AfterFunc(ctx, func() { _ = c.Close() })
		defer func() {
			if stop() {
				_ = c.Close()
			}
		}()
	}
	defer m.hangUp(p)
	var d decoder
	in := make([]byte, 1024)
	for {
		n, err := rw.Read(in)
		for _, c := range in[:n] {
			if p.echo {
				p.out = append(p.out, c)
			}
			d.end, d.erase = p.s3, p.s5
			body, tooLong, ok := d.feed(c)
			if !ok {
				continue
			}
			if tooLong {
				p.final(syntaxError{})
			} else {
				p.line(body)
			}
			if err := p.flush(rw); err != nil {
				return end(ctx, err)
			}
		}
		if ferr := p.flush(rw); ferr != nil {
			return end(ctx, ferr)
		}
		if err != nil {
			return end(ctx, err)
		}
	}
}

// end is how Serve ends: the end of the port and that of ctx are no errors.
func end(ctx context.Context, err error) error {
	if errors.Is(err, io.EOF) || ctx.Err() != nil {
		return nil
	}
	return err
}

func (p *port) flush(w io.Writer) error {
	if len(p.out) == 0 {
		return nil
	}
	_, err := w.Write(p.out)
	p.out = p.out[:0]
	return err
}

// line carries out the commands of a line, until one fails; there is one result code for
// all of them.
func (p *port) line(b []byte) {
	for {
		for len(b) > 0 && b[0] == ' ' {
			b = b[1:]
		}
		if len(b) == 0 {
			p.final(nil)
			return
		}
		c, rest, err := next(b)
		if err == nil {
			err = p.run(c)
		}
		if err != nil {
			p.final(err)
			return
		}
		b = rest
	}
}

func (p *port) run(c command) error {
	t, ok := table[c.name]
	if !ok {
		return syntaxError{}
	}
	for i := range len(t.forms) {
		if t.forms[i] == c.form {
			if len(c.args) > t.args {
				return syntaxError{}
			}
			if c.form == test {
				if t.values != "" {
					p.info(c.name + ": " + t.values)
				}
				return nil
			}
			p.m.mu.Lock()
			defer p.m.mu.Unlock()
			return t.do(p, c)
		}
	}
	return syntaxError{}
}

// info is an information text response.
func (p *port) info(s string) {
	if p.verbose {
		p.out = append(p.out, p.s3, p.s4)
	}
	p.out = append(append(p.out, s...), p.s3, p.s4)
}

// final is the result code of a line.
func (p *port) final(err error) {
	var cme CME
	switch {
	case p.quiet:
	case err == nil:
		p.result(resultOK)
	case errors.As(err, &cme) && p.cmee > 0:
		s := "+CME ERROR: " + cme.Error()
		if p.cmee == 1 {
			s = "+CME ERROR: " + decimal(int(cme))
		}
		p.out = append(p.out, p.s3, p.s4) // V0 does not change it: TS 27.007 9.2
		p.out = append(append(p.out, s...), p.s3, p.s4)
	default:
		p.result(resultError)
	}
}

func (p *port) result(r [2]string) {
	if !p.verbose {
		p.out = append(append(p.out, r[0]...), p.s3)
		return
	}
	p.info(r[1])
}

// exchange sends one command to the card. The answer holds until the next one.
func (m *Modem) exchange(ctx context.Context, c []byte) (data []byte, sw apdu.SW, err error) {
	if m.off {
		return nil, 0, NotAllowed
	}
	ctx, cancel := context.WithTimeout(ctx, cardTime)
	defer cancel()
	r, err := m.card.Transmit(ctx, c, m.buf[:0])
	if err != nil {
		return nil, 0, m.failed(err)
	}
	m.buf = r
	data, sw, ok := apdu.Status(r)
	if !ok {
		return nil, 0, m.failed(errors.New("the answer of the card has no status word"))
	}
	if len(c) > 5 && c[1] == verify && c[3] == pin1 {
		m.verified = sw == apdu.OK
	}
	return data, sw, nil
}

// failed is what the device hears of an error of the card.
func (m *Modem) failed(err error) error {
	m.o.Log(err)
	if errors.Is(err, ErrNoCard) {
		return SIMNotInserted
	}
	return SIMFailure
}

// maxAnswer is more than any answer has; it bounds what is fetched.
const maxAnswer = 1 << 16

// whole sends a command and fetches all of its answer.
func (m *Modem) whole(ctx context.Context, c []byte) (all []byte, sw apdu.SW, err error) {
	for {
		data, sw, err := m.exchange(ctx, c)
		if err != nil {
			return nil, 0, err
		}
		all = append(all, data...)
		switch {
		case sw&0xFF00 == apdu.MoreData && len(all) < maxAnswer:
			cla := c[0] & 0x03 // GET RESPONSE is in the interindustry class (TS 102 221 12.1.1)
			if c[0]&0x40 != 0 {
				cla = c[0] & 0x4F
			}
			c = []byte{cla, getResponse, 0, 0, byte(sw)}
		case sw&0xFF00 == apdu.WrongLe && len(c) == 5 && c[4] != byte(sw):
			c = []byte{c[0], c[1], c[2], c[3], byte(sw)}
		default:
			return all, sw, nil
		}
	}
}

// Commands of TS 102 221 (table 10.5) that the modem sends by itself.
const (
	verify        = 0x20
	manageChannel = 0x70
	authenticate  = 0x88
	selectFile    = 0xA4
	readBinary    = 0xB0
	readRecord    = 0xB2
	getResponse   = 0xC0
	retrieveData  = 0xCB
	updateBinary  = 0xD6
	setData       = 0xDB
	updateRecord  = 0xDC
	status        = 0xF2

	pin1 = 0x01 // key reference of the PIN (TS 102 221 table 9.3)
)

// open opens a logical channel and selects an application there.
func (p *port) open(aid []byte) (byte, error) {
	data, sw, err := p.m.whole(p.ctx, []byte{0, manageChannel, 0, 0, 1})
	switch {
	case err != nil:
		return 0, err
	case sw == apdu.OK && len(data) == 1 && data[0] > 0 && int(data[0]) < len(p.m.channels):
	case sw == apdu.InsNotSupported, sw == apdu.ClaNotSupported, sw == apdu.ChannelNotSupported:
		return 0, NotSupported
	default: // all are open
		return 0, MemoryFull
	}
	ch := data[0]
	p.m.channels[ch] = channel{p, bytes.HasPrefix(aid, usim)}
	c := append([]byte{onChannel(0, ch), selectFile, 4, 0, byte(len(aid))}, aid...)
	_, sw, err = p.m.exchange(p.ctx, append(c, 0))
	if err == nil {
		switch {
		case sw == apdu.OK, sw&0xFF00 == apdu.MoreData, sw&0xFF00 == apdu.ProactivePending, sw>>8 == 0x62, sw>>8 == 0x63:
			return ch, nil
		case sw == apdu.FileNotFound:
			err = NotFound
		default:
			err = NotAllowed
		}
	}
	if cerr := p.m.close(p.ctx, ch); cerr != nil {
		p.m.o.Log(cerr)
	}
	return 0, err
}

// close closes a logical channel.
func (m *Modem) close(ctx context.Context, ch byte) error {
	m.channels[ch] = channel{}
	_, sw, err := m.exchange(ctx, []byte{0, manageChannel, 0x80, ch})
	if err == nil && sw != apdu.OK {
		err = SIMFailure // it is closed already: the card was reset
	}
	return err
}

// hangUp closes the channels of a port.
func (m *Modem) hangUp(p *port) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for ch, c := range m.channels {
		if c.owner == p {
			_ = m.close(context.WithoutCancel(p.ctx), byte(ch)) // nobody is there who could be told
		}
	}
}

// onChannel puts a logical channel into a class byte (ISO/IEC 7816-4 5.4.1), whatever the
// device had there: TS 27.007 8.45 leaves the channel to the modem.
func onChannel(cla, ch byte) byte {
	if ch < 4 {
		if cla&0x40 != 0 { // further interindustry: chaining stays
			cla &= 0x90
		}
		return cla&^0x03 | ch
	}
	return cla&0x90 | 0x40 | (ch - 4)
}
