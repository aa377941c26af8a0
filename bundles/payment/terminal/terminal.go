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
// the first thing that is wrong, and says which clause that is. With GoOn it does what a
// terminal in a shop does: it sets the bit of the TVR and goes on, and action codes of
// issuer and terminal decide.
//
// What is the terminal's or the issuer's a card cannot change: such a data element is not
// taken from the card (Book 3 7.5).
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
	"maps"
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
	Reason  string // in words, if it tells
	Auth    []byte // issuer authentication data, 91; nil: none
	Scripts []byte // templates 71 and 72, joined
	Wrong   bool   // the cryptogram is not right, as Reason says
}

// ActionCodes are bits of the TVR for which the terminal declines, goes online, or
// declines when it cannot go online (Book 3 10.7). Those of the issuer count as well.
type ActionCodes struct{ Denial, Online, Default [5]byte }

// Selection is what random transaction selection needs (Book 3 10.6.2): below Threshold
// Target per cent go online, between it and the floor limit more and more, up to
// MaxTarget per cent. The zero value selects none.
type Selection struct {
	Threshold         uint64
	Target, MaxTarget int
}

// Config is a terminal and the transaction it makes. The zero value of most members has
// a default: see New.
type Config struct {
	AID         []byte   // this application, or those whose AID begins so; nil: the best one
	AIDs        [][]byte // that the terminal knows, or how they begin
	Listed      bool     // an application of a directory counts only when AIDs names it (Book 1 12.3.2)
	Confirmed   bool     // the cardholder confirms applications that want it (Book 1 12.4); AID is a choice anyway
	Amount      uint64   // in minor units
	Other       uint64   // cashback
	Currency    [2]byte
	Country     [2]byte
	Type        byte
	Date        time.Time
	PIN         string // "": there is no PIN pad
	Bypass      bool   // there is a PIN pad, and no PIN is entered (Book 4 6.3.4.3)
	Authority   Authority
	Issuer      Issuer // nil: unable to go online
	Contactless bool
	Kernel      byte // of contactless: 2, 3; 0: that which the card names
	ForceOnline bool
	Floor       uint64 // floor limit in minor units
	CVMLimit    uint64 // of contactless: above it the cardholder is verified; 0: never
	Selection   Selection
	TAC         ActionCodes
	Exception   func(pan string, psn byte) bool // the exception file; nil: there is none
	GoOn        bool                            // what is wrong with offline data authentication sets bits of the TVR
	Random      io.Reader                       // unpredictable numbers; nil: crypto/rand
	ReadOnly    bool                            // no transaction: select, options, records, what GET DATA gives
	Report      func(Step)
}

// Step is one thing that the terminal did.
type Step struct {
	Title    string
	Command  []byte   // nil: none was sent
	Sent     []Datum  // what the command holds, when a list of the card asked for it
	Response []byte   // with its status word, as it came: it may hold the PAN
	Notes    []string // what the terminal found
}

// Datum is a data element with the value that was sent.
type Datum struct {
	Tag   emv.Tag
	Value []byte
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
	ARC     string   // authorisation response code, of the issuer or the terminal's own
	Scripts int      // commands of the issuer that the card carried out
	Results []byte   // issuer script results, 9F5B
	Wrong   []string // with GoOn: what was wrong

	CVMResults [3]byte // 9F34
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
type Error struct {
	Clause, What string
	fatal        bool // ends a transaction in a shop as well
}

func (e *Error) Error() string { return e.What + " (" + e.Clause + ")" }

func wrong(clause, format string, a ...any) error {
	return &Error{Clause: clause, What: fmt.Sprintf(format, a...)}
}

// fatal is an Error that GoOn does not pass over.
func fatal(err error) error {
	var e *Error
	if errors.As(err, &e) {
		e.fatal = true
	}
	return err
}

// ErrConfirmation: what there is wants the cardholder's confirmation.
var ErrConfirmation = errors.New("every application in common wants the cardholder's confirmation (--confirm, or --aid to choose one) (EMV Book 1 12.4)")

// ErrNoApplication: the card has no application that the terminal knows.
var ErrNoApplication = errors.New("no application in common: the card has none, or the terminal's list of AIDs names none of them (EMV Book 1 12.4)")

// run is one transaction.
type run struct {
	Config
	card Card
	buf  []byte

	data    map[emv.Tag][]byte // what card and terminal know
	own     map[emv.Tag][]byte // what is the terminal's, before an application is selected
	shared  map[emv.Tag][]byte // what the card gives under a tag that is not its own
	fromPDO []byte             // values of the PDOL, as sent
	cdol1   []byte
	cdol2   []byte
	static  []byte // signed records and AIP
	foreign error  // why the signed records cannot be put together
	aip     [2]byte
	tvr     [5]byte
	tsi     [2]byte
	aid     []byte
	icc     *oda.PublicKey
	pinKey  *oda.PublicKey
	res     Result
	combine bool // CDA is to be asked for
	broken  bool // CDA failed
	sending []Datum
	relay   []byte
}

// skip is an error after which another application may do (Book 1 12.4, Book 3 10.1).
type skip struct{ error }

func (s skip) Unwrap() error { return s.error }

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
	r := &run{Config: c, card: card}
	err := r.transaction(ctx)
	r.res.TVR, r.res.TSI, r.res.ARC = r.tvr, r.tsi, string(r.data[0x8A])
	copy(r.res.CVMResults[:], r.data[0x9F34])
	return &r.res, err
}

func (r *run) transaction(ctx context.Context) error {
	if err := r.terminalData(); err != nil {
		return err
	}
	list, err := r.candidates(ctx)
	if err != nil {
		return err
	}
	for n, c := range list {
		r.begin()
		if err = r.finalSelect(ctx, c); err == nil {
			err = r.application(ctx, c)
		}
		var next skip
		if !errors.As(err, &next) {
			return err
		}
		err = next.error
		if n+1 < len(list) {
			r.note("Application selection", "this one will not do, the next one may")
		}
	}
	return err
}

// begin forgets an application that would not do.
func (r *run) begin() {
	r.data, r.shared = maps.Clone(r.own), map[emv.Tag][]byte{}
	r.tvr, r.tsi, r.res, r.static, r.foreign = [5]byte{}, [2]byte{}, Result{Wrong: r.res.Wrong}, nil, nil
}

// application is the transaction with the application that is selected.
func (r *run) application(ctx context.Context, c candidate) error {
	if r.Contactless {
		return r.contactless(ctx, c)
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
		return r.history(ctx)
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
	r.own = map[emv.Tag][]byte{}
	r.data, r.shared = r.own, map[emv.Tag][]byte{}
	set := func(t emv.Tag, v ...byte) { r.own[t] = v }
	set(0x9F37, un...)
	set(0x9F6A, digits(un, 8)...)
	set(0x9F02, amountBytes(r.total())...)
	set(0x9F03, amountBytes(r.Other)...)
	set(0x81, binary32(r.total())...)
	set(0x9F04, binary32(r.Other)...)
	set(0x9F1B, binary32(r.Floor)...)
	set(0x5F2A, r.Currency[:]...)
	set(0x5F36, 2)
	set(0x9F1A, r.Country[:]...)
	set(0x9C, r.Type)
	today := r.today()
	set(0x9A, today[:]...)
	set(0x9F21, bcd2(r.Date.Hour()), bcd2(r.Date.Minute()), bcd2(r.Date.Second()))
	set(0x9F35, 0x22)                // attended, offline with online capability
	caps := []byte{0x60, 0xF8, 0xC8} // chip; all offline and online methods; SDA, DDA, CDA
	if r.PIN == "" && !r.Bypass {
		caps[1] = 0x28 // no PIN pad: signature, no CVM
	}
	if r.Contactless { // Book C-2: by the amount
		if caps[1] &= 0x60; r.CVMLimit == 0 || r.total() <= r.CVMLimit {
			caps[1] = 0x08
		}
	}
	set(0x9F33, caps...)
	set(0x9F40, 0x60, 0x00, 0xF0, 0xA0, 0x01)
	set(0x9F1E, []byte("SSPEMU01")...)
	set(0x9F1C, []byte("SSPEMU01")...)
	set(0x9F16, []byte("SSPEMU TERMINAL")...)
	set(0x9F15, 0x59, 0x99)
	set(0x9F41, 0, 0, 0, 1)
	set(0x9F39, 0x05)
	if r.Contactless {
		set(0x9F39, 0x07)
	}
	set(0x9F34, 0x3F, 0x00, 0x00)
	set(0x9F09, 0x00, 0x02)
	ttq := []byte{0x26, 0x00, 0x00, 0x00} // EMV mode, online PIN, signature
	if r.ForceOnline || r.total() > r.Floor && r.Floor > 0 {
		ttq[1] |= 0x80
	}
	if r.CVMLimit > 0 && r.total() > r.CVMLimit {
		ttq[1] |= 0x40
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

// total is the amount authorised: cashback is part of it.
func (r *run) total() uint64 { return r.Amount + r.Other }

func (r *run) cashback() bool { return r.Type == typeCashback || r.Other > 0 }

// binary32 is the binary form of an amount; what is too large is the largest.
func binary32(n uint64) []byte {
	n = min(n, 0xFFFFFFFF)
	return []byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}
}

// digits are n decimal digits of random bytes, as eight of them.
func digits(random []byte, n int) []byte {
	out := make([]byte, 4)
	for i := 8 - n; i < 8; i++ {
		d := random[i/2] >> (4 * (1 - i%2)) & 0xF % 10
		out[i/2] |= d << (4 * (1 - i%2))
	}
	return out
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
	r.Report(Step{Title: title, Command: r.shown(cmd), Sent: r.sending, Response: bytes.Clone(rapdu), Notes: notes})
	r.sending = nil
	return err
}

// fill makes what a list asks for, to be sent with the next command.
func (r *run) fill(dol []emv.Entry) []byte {
	data := emv.Fill(dol, r.value)
	at := 0
	for _, e := range dol {
		r.sending = append(r.sending, Datum{e.Tag, data[at : at+e.Len]})
		at += e.Len
	}
	return data
}

// shown is a command as it may be printed: stars for the PIN of VERIFY, and for PAN and
// track data that a list of the card asked for.
func (r *run) shown(cmd apdu.Command) []byte {
	stars := func(n int) []byte { return bytes.Repeat([]byte{'*'}, n) }
	if cmd.INS == 0x20 {
		cmd.Data = stars(len(cmd.Data))
	}
	for t, v := range r.data {
		if len(v) > 3 && emv.Secret(t) {
			cmd.Data = bytes.ReplaceAll(cmd.Data, v, stars(len(v)))
		}
	}
	return cmd.Append(nil)
}

// note reports something that the terminal did by itself.
func (r *run) note(title string, notes ...string) { r.Report(Step{Title: title, Notes: notes}) }

func unexpected(clause, what string, sw apdu.SW) error {
	return wrong(clause, "%s: status %04X, %s", what, uint16(sw), sw.Words())
}

// keep stores the primitive data elements of b. once has those of the records that were
// read so far, nil elsewhere: a data element must not be there twice (Book 3 10.2).
func (r *run) keep(b []byte, once map[emv.Tag]bool, clause string) error {
	for rd := tlv.Read(b); ; {
		if !rd.Next() {
			if err := rd.Err(); err != nil {
				return wrong(clause, "%v", err)
			}
			return nil
		}
		if rd.Tag.Constructed() {
			if err := r.keep(rd.Value, once, clause); err != nil {
				return err
			}
			continue
		}
		if once != nil {
			if once[rd.Tag] {
				return wrong("EMV Book 3 10.2", "%s (%X) is there twice", emv.Name(rd.Tag), uint32(rd.Tag))
			}
			once[rd.Tag] = true
		}
		if e, known := emv.Lookup(rd.Tag); known && e.Source != "ICC" {
			r.shared[rd.Tag] = bytes.Clone(rd.Value)
			continue
		}
		r.data[rd.Tag] = bytes.Clone(rd.Value)
	}
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
