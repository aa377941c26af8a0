// Package terminal is an EMV terminal for tests and demonstrations: it walks a whole
// transaction on a card and checks all that a terminal can check.
//
//	Card (any link) <── APDU ── Terminal ──> Issuer host (authorise)
//	                               │
//	                               ├─> Step: what was sent and received, in words
//	                               └─> Result, or the first thing that is wrong
//
//	contact:      select, options, records, offline data authentication, processing
//	              restrictions, cardholder verification, risk management, action
//	              analysis, GENERATE AC, online, scripts, completion
//	contactless:  PPSE, options; then kernel 3 style: the cryptogram is there already,
//	              kernel 2 style: relay resistance, records, one GENERATE AC
//
// It is a terminal for cards on the bench, not one that was type-approved: it stops at
// the first thing that is wrong, and says which clause that is.
//
// Sources: EMV 4.4 Book 1 clause 12, Book 3 clause 10, Book 4 clause 6; EMV Contactless
// Books B, C-2, C-3 (the last two recalled, unverified).
package terminal

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/sspemu/sspemu/bundles/payment/emv"
	"github.com/sspemu/sspemu/bundles/payment/oda"
	"github.com/sspemu/sspemu/internal/apdu"
	"github.com/sspemu/sspemu/internal/tlv"
)

// Card is the card at the other end of a link.
type Card interface {
	// Transmit sends a C-APDU and gives the R-APDU in dst[:0], grown where needed.
	Transmit(ctx context.Context, capdu, dst []byte) (rapdu []byte, err error)
}

// Authority finds the public key of a certification authority; ok is false when the
// terminal does not hold it.
type Authority func(rid [5]byte, index byte) (key oda.PublicKey, ok bool)

// Issuer is the other end of the acquirer's line.
type Issuer interface {
	Authorise(ctx context.Context, r Request) (Response, error)
}

// Request asks an issuer for a decision: PAN and sequence number, and the data elements
// that its cryptogram is about.
type Request struct {
	PAN  string
	PSN  byte
	Data map[emv.Tag][]byte
	CDOL []byte // the data of the GENERATE AC command
}

// Response is the issuer's decision.
type Response struct {
	ARC     string // authorisation response code, 8A: "00" approves
	Auth    []byte // issuer authentication data, 91; nil: none
	Scripts []byte // templates 71 and 72, joined
}

// Config is a terminal and the transaction it makes. The zero value of most members has
// a default: see New.
type Config struct {
	AID         []byte // this application; nil: the best one
	AIDs        [][]byte
	Amount      uint64 // in minor units
	Other       uint64 // cashback
	Currency    [2]byte
	Country     [2]byte
	Type        byte
	Date        time.Time
	PIN         string // "": the cardholder enters none
	Authority   Authority
	Issuer      Issuer // nil: unable to go online
	Contactless bool
	Kernel      byte // of contactless: 2, 3; 0: that which the card names
	ForceOnline bool
	Floor       uint64    // floor limit in minor units
	Random      io.Reader // unpredictable numbers; nil: crypto/rand
	ReadOnly    bool      // no transaction: select, options, records
	Report      func(Step)
}

// Step is one thing that the terminal did.
type Step struct {
	Title    string
	Command  []byte   // nil: none was sent
	Response []byte   // with its status word
	Notes    []string // what the terminal found
}

// Result is how a transaction ended.
type Result struct {
	AID     []byte
	Label   string
	PAN     string // masked
	Outcome string
	CID     byte
	AC      []byte
	ATC     uint16
	TVR     [5]byte
	TSI     [2]byte
	ODA     string // "SDA", "DDA", "CDA", "fDDA", "" when none was performed
	CVM     string // what the cardholder did
	Online  bool
	Scripts int // commands of the issuer that the card carried out
}

// Outcomes of a transaction.
const (
	ApprovedOffline = "approved offline"
	ApprovedOnline  = "approved online"
	DeclinedOffline = "declined offline"
	DeclinedOnline  = "declined online"
	OnlineRequest   = "online request" // contactless: the issuer decides after the card has left
	OnlyRead        = "read"
)

// Error is the first thing that was wrong, with the clause that says so.
type Error struct{ Clause, What string }

func (e *Error) Error() string { return e.What + " (" + e.Clause + ")" }

func wrong(clause, format string, a ...any) error {
	return &Error{clause, fmt.Sprintf(format, a...)}
}

// ErrNoApplication: the card has no application that the terminal knows.
var ErrNoApplication = errors.New("no application in common: the card has none, or the terminal's list of AIDs names none of them (EMV Book 1 12.4)")

// run is one transaction.
type run struct {
	Config
	card Card
	buf  []byte

	data    map[emv.Tag][]byte // what card and terminal know
	fromPDO []byte             // values of the PDOL, as sent
	cdol1   []byte
	cdol2   []byte
	static  []byte // signed records and AIP
	aip     [2]byte
	tvr     [5]byte
	tsi     [2]byte
	aid     []byte
	icc     *oda.PublicKey
	pinKey  *oda.PublicKey
	res     Result
	combine bool // CDA is to be asked for
	relay   []byte
}

// Run makes one transaction. The error is the first thing that was wrong; the Result is
// as far as it came.
func Run(ctx context.Context, card Card, c Config) (*Result, error) {
	if c.Random == nil {
		c.Random = rand.Reader
	}
	if c.Date.IsZero() {
		c.Date = time.Now()
	}
	if c.Currency == [2]byte{} {
		c.Currency = [2]byte{0x09, 0x78}
	}
	if c.Country == [2]byte{} {
		c.Country = [2]byte{0x02, 0x76}
	}
	if c.Authority == nil {
		c.Authority = func([5]byte, byte) (oda.PublicKey, bool) { return oda.PublicKey{}, false }
	}
	if c.Report == nil {
		c.Report = func(Step) {}
	}
	r := &run{Config: c, card: card, data: map[emv.Tag][]byte{}}
	err := r.transaction(ctx)
	r.res.TVR, r.res.TSI = r.tvr, r.tsi
	return &r.res, err
}

func (r *run) transaction(ctx context.Context) error {
	if err := r.terminalData(); err != nil {
		return err
	}
	if err := r.selectApplication(ctx); err != nil {
		return err
	}
	if r.Contactless {
		return r.contactless(ctx)
	}
	if err := r.options(ctx); err != nil {
		return err
	}
	if err := r.records(ctx); err != nil {
		return err
	}
	if r.ReadOnly {
		r.authenticateQuietly(ctx)
		r.res.Outcome = OnlyRead
		return nil
	}
	for _, step := range []func(context.Context) error{r.authenticate, r.restrictions, r.verify, r.risk, r.decide} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// terminalData fills in what the terminal knows by itself (Book 4 annex A).
func (r *run) terminalData() error {
	un := make([]byte, 4)
	if _, err := io.ReadFull(r.Random, un); err != nil {
		return fmt.Errorf("unpredictable number: %w", err)
	}
	set := func(t emv.Tag, v ...byte) { r.data[t] = v }
	set(0x9F37, un...)
	set(0x9F6A, 0, 0, un[2]%0x10*0x10>>4, un[3]&0x09)
	set(0x9F02, amountBytes(r.Amount+r.Other)...)
	set(0x9F03, amountBytes(r.Other)...)
	set(0x5F2A, r.Currency[:]...)
	set(0x5F36, 2)
	set(0x9F1A, r.Country[:]...)
	set(0x9C, r.Type)
	today := r.today()
	set(0x9A, today[:]...)
	set(0x9F21, bcd2(r.Date.Hour()), bcd2(r.Date.Minute()), bcd2(r.Date.Second()))
	set(0x9F35, 0x22)                // attended, offline with online capability
	caps := []byte{0x60, 0xF8, 0xC8} // chip; all offline and online methods; SDA, DDA, CDA
	if r.PIN == "" {
		caps[1] = 0x28 // no PIN pad: signature, no CVM
	}
	set(0x9F33, caps...)
	set(0x9F40, 0x60, 0x00, 0xF0, 0xA0, 0x01)
	set(0x9F1E, []byte("SSPEMU01")...)
	set(0x9F1C, []byte("SSPEMU01")...)
	set(0x9F16, []byte("SSPEMU TERMINAL")...)
	set(0x9F15, 0x59, 0x99)
	set(0x9F41, 0, 0, 0, 1)
	set(0x9F45, 0, 0)
	set(0x9F4C, 0, 0, 0, 0, 0, 0, 0, 0)
	set(0x9F34, 0x3F, 0x00, 0x00)
	set(0x9F09, 0x00, 0x02)
	ttq := []byte{0x26, 0x00, 0x00, 0x00} // EMV mode, online PIN, signature
	if r.ForceOnline || r.Amount > r.Floor && r.Floor > 0 {
		ttq[1] |= 0x80
	}
	if r.Issuer == nil && !r.ForceOnline {
		ttq[0] |= 0x01 // offline data authentication for online as well
	}
	set(0x9F66, ttq...)
	return nil
}

func (r *run) today() [3]byte {
	return [3]byte{bcd2(r.Date.Year() % 100), bcd2(int(r.Date.Month())), bcd2(r.Date.Day())}
}

func bcd2(n int) byte { return byte(n/10<<4 | n%10) }

func amountBytes(n uint64) []byte {
	b := make([]byte, 6)
	for i := 5; i >= 0; i-- {
		b[i] = bcd2(int(n % 100))
		n /= 100
	}
	return b
}

// value is what a DOL gets for t.
func (r *run) value(t emv.Tag) []byte {
	switch t {
	case 0x95:
		return r.tvr[:]
	case 0x9B:
		return r.tsi[:]
	}
	return r.data[t]
}

// send exchanges one command; notes of the step are what f makes of the answer.
func (r *run) send(ctx context.Context, title string, cmd apdu.Command, f func(data []byte, sw apdu.SW) ([]string, error)) error {
	capdu := cmd.Append(nil)
	rapdu, err := r.card.Transmit(ctx, capdu, r.buf)
	if err != nil {
		return fmt.Errorf("%s: %w", title, err)
	}
	r.buf = rapdu
	data, sw, ok := apdu.Status(rapdu)
	if !ok {
		return fmt.Errorf("%s: an answer of %d bytes has no status word", title, len(rapdu))
	}
	data = bytes.Clone(data)
	notes, err := f(data, sw)
	if err != nil {
		notes = append(notes, "WRONG: "+err.Error())
	}
	r.Report(Step{Title: title, Command: shown(cmd), Response: bytes.Clone(rapdu), Notes: notes})
	return err
}

// shown is a command as it may be printed: without the PIN of VERIFY.
func shown(cmd apdu.Command) []byte {
	if cmd.INS == 0x20 {
		cmd.Data = bytes.Repeat([]byte{'*'}, len(cmd.Data))
	}
	return cmd.Append(nil)
}

// note reports something that the terminal did by itself.
func (r *run) note(title string, notes ...string) { r.Report(Step{Title: title, Notes: notes}) }

func unexpected(clause, what string, sw apdu.SW) error {
	return wrong(clause, "%s: status %04X, %s", what, uint16(sw), sw.Words())
}

// keep stores the primitive data elements of b, and refuses one that is there already
// with another value when strict is set (Book 3 7.3: redundant data).
func (r *run) keep(b []byte, strict bool, clause string) error {
	for rd := tlv.Read(b); ; {
		if !rd.Next() {
			if err := rd.Err(); err != nil {
				return wrong(clause, "%v", err)
			}
			return nil
		}
		if rd.Tag.Constructed() {
			if err := r.keep(rd.Value, strict, clause); err != nil {
				return err
			}
			continue
		}
		if strict {
			if _, there := r.data[rd.Tag]; there && fromCard[rd.Tag] {
				return wrong("EMV Book 3 7.3", "%s (%X) is there twice", emv.Name(rd.Tag), uint32(rd.Tag))
			}
		}
		r.data[rd.Tag] = bytes.Clone(rd.Value)
	}
}

// fromCard are elements that a card must not give twice.
var fromCard = map[emv.Tag]bool{
	0x57: true, 0x5A: true, 0x5F24: true, 0x5F34: true, 0x8C: true, 0x8D: true, 0x8E: true, 0x8F: true, 0x90: true, 0x92: true, 0x93: true,
	0x9F32: true, 0x9F46: true, 0x9F47: true, 0x9F48: true, 0x9F07: true, 0x9F0D: true, 0x9F0E: true, 0x9F0F: true, 0x9F49: true,
}

// pan is the digits of the PAN.
func (r *run) pan() string {
	s := fmt.Sprintf("%X", r.data[0x5A])
	if s == "" { // contactless: of track 2
		s, _, _ = bytesCut(fmt.Sprintf("%X", r.data[0x57]), 'D')
	}
	for len(s) > 0 && s[len(s)-1] == 'F' {
		s = s[:len(s)-1]
	}
	return s
}

func bytesCut(s string, c byte) (before, after string, ok bool) {
	for i := range len(s) {
		if s[i] == c {
			return s[:i], s[i+1:], true
		}
	}
	return s, "", false
}
