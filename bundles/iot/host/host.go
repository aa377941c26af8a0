// Package host is the device's side of an IoT SAFE applet: keys that stay in a secure
// element, as Go's TLS and cryptography take them.
//
//	crypto/tls, crypto/x509 ──> Key (crypto.Signer) ─┐
//	ECDH, random, PRF, HKDF ─────────────────────────┴─> Applet ── APDU ──> Card (any link)
//
// An Applet may be used by several goroutines: it sends one command after the other, and
// what belongs together goes together. To a second device on the same card it gives a
// logical channel of its own (Options.Channel), as a modem would.
//
// Sources: GSMA IoT.05 v1 as package iotsafe tells; ISO/IEC 7816-4 for channels and GET
// RESPONSE.
package host

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/sspemu/sspemu/bundles/iot/iotsafe"
	"github.com/sspemu/sspemu/bundles/iot/profile"
	"github.com/sspemu/sspemu/internal/apdu"
	"github.com/sspemu/sspemu/internal/tlv"
)

// Card is the card at the other end of a link.
type Card interface {
	// Transmit sends a C-APDU and gives the R-APDU in dst[:0], grown where needed.
	Transmit(ctx context.Context, capdu, dst []byte) (rapdu []byte, err error)
}

// Options of Select. The zero value selects the applet of IoT.05 on the basic channel.
type Options struct {
	AIDs    [][]byte // to try, in this order; nil: those that the public applets have
	Channel bool     // on a logical channel of its own

	// Wait is how long to wait while other devices on the same card have all sessions, or
	// remote administration is about to change the object (6989); 0: 5 s, below 0: not at all.
	Wait time.Duration
}

// How long to wait, and how often to ask (chosen).
const (
	defaultWait = 5 * time.Second
	firstPause  = time.Millisecond
	maxPause    = 50 * time.Millisecond
)

// Applet is an applet that is selected.
type Applet struct {
	ctx  context.Context
	card Card
	wait time.Duration
	cla  byte
	ch   byte

	mu   sync.Mutex
	buf  []byte
	next byte // number of a session
}

// StatusError is a status word that is not 9000.
type StatusError struct {
	Command string // "READ FILE"
	SW      apdu.SW
}

func (e *StatusError) Error() string {
	return fmt.Sprintf("%s: status %04X, %s", e.Command, uint16(e.SW), iotsafe.Words(e.SW))
}

// Is makes errors.Is(err, &StatusError{SW: sw}) hold for any command.
func (e *StatusError) Is(target error) bool {
	t, ok := target.(*StatusError)
	return ok && t.SW == e.SW
}

// ErrNoApplet: the card has none of the applets.
var ErrNoApplet = errors.New("the card has no IoT SAFE applet: is the bundle iot active?")

var defaultAIDs = [][]byte{{0xA0, 0, 0, 0x05, 0x59, 0, 0x10}, {0xA0, 0, 0, 0, 0x30, 0x53, 0xF1, 0x24, 0x01, 0x77, 0x01, 0x01, 0x49, 0x53, 0x41}}

// Select selects the applet. ctx is that of all commands that follow, as crypto.Signer
// brings none.
func Select(ctx context.Context, card Card, o Options) (*Applet, error) {
	a := &Applet{ctx: ctx, card: card, wait: o.Wait, cla: 0x80}
	if o.Wait == 0 {
		a.wait = defaultWait
	}
	if o.AIDs == nil {
		o.AIDs = defaultAIDs
	}
	if o.Channel {
		b, err := a.exchange("MANAGE CHANNEL", apdu.Command{INS: 0x70, Ne: 1})
		if err != nil {
			return nil, err
		}
		if len(b) != 1 || b[0] == 0 || b[0] > 19 {
			return nil, fmt.Errorf("MANAGE CHANNEL: the card opened no channel: %X", b)
		}
		if a.ch, a.cla = b[0], 0x80|b[0]; b[0] > 3 { // ISO/IEC 7816-4 5.4.1
			a.cla = 0xC0 | (b[0] - 4)
		}
	}
	for _, aid := range o.AIDs {
		_, err := a.exchange("SELECT", apdu.Command{CLA: a.cla &^ 0x80, INS: 0xA4, P1: 0x04, Data: aid, Ne: apdu.MaxShortNe})
		if err == nil {
			return a, nil
		}
		if !errors.Is(err, &StatusError{SW: apdu.FileNotFound}) {
			return nil, errors.Join(err, a.Close())
		}
	}
	return nil, errors.Join(ErrNoApplet, a.Close())
}

// Close closes the logical channel, if there is one.
func (a *Applet) Close() error {
	if a.ch == 0 {
		return nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	_, err := a.exchange("MANAGE CHANNEL", apdu.Command{INS: 0x70, P1: 0x80, P2: a.ch})
	a.ch = 0
	return err
}

// exchange sends a command and fetches the whole answer. The answer is the caller's. A
// status of 6300 comes with the data of the answer.
func (a *Applet) exchange(name string, c apdu.Command) ([]byte, error) {
	var all []byte
	for {
		r, err := a.card.Transmit(a.ctx, c.Append(nil), a.buf[:0])
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		a.buf = r
		data, sw, ok := apdu.Status(r)
		if !ok {
			return nil, fmt.Errorf("%s: the answer has no status word: %X", name, r)
		}
		all = append(all, data...)
		switch {
		case sw == apdu.OK, sw == iotsafe.SWAdministered, sw&0xFF00 == apdu.ProactivePending: // a SIM may want something as well
			return all, nil
		case sw&0xFF00 == apdu.MoreData:
			c = apdu.Command{CLA: c.CLA, INS: 0xC0, Ne: full(sw)}
		case sw&0xFF00 == apdu.WrongLe && c.Ne != full(sw):
			c.Ne = full(sw)
		default:
			return all, &StatusError{name, sw}
		}
		if len(all) > maxAnswer {
			return nil, fmt.Errorf("%s: the answer does not end after %d bytes", name, len(all))
		}
	}
}

// maxAnswer is more than any answer of an applet has.
const maxAnswer = 1 << 17

func full(sw apdu.SW) int {
	if n := int(sw & 0xFF); n > 0 {
		return n
	}
	return apdu.MaxShortNe
}

// command sends one command of the applet that stands for itself.
func (a *Applet) command(name string, ins, p1, p2 byte, data []byte) ([]byte, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.locked(name, ins, p1, p2, data)
}

func (a *Applet) locked(name string, ins, p1, p2 byte, data []byte) ([]byte, error) {
	return a.exchange(name, apdu.Command{CLA: a.cla, INS: ins, P1: p1, P2: p2, Data: data, Ne: apdu.MaxShortNe})
}

// session runs INIT, then UPDATE with data in as many commands as it needs, then closes
// the session, whatever came before.
func (a *Applet) session(name string, init, update byte, params, data []byte) (answer []byte, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	number := a.next
	a.next = (a.next + 1) & 0x0F
	if err := a.open(name, apdu.Command{CLA: a.cla, INS: init, P1: iotsafe.SessionOpen, P2: number, Data: params}); err != nil {
		return nil, err
	}
	defer func() {
		_, end := a.exchange(name+" INIT", apdu.Command{CLA: a.cla, INS: init, P1: iotsafe.SessionClose, P2: number})
		err = errors.Join(err, end)
	}()
	const most = apdu.MaxShortNc
	for len(data) > most {
		if _, err := a.exchange(name+" UPDATE", apdu.Command{CLA: a.cla, INS: update, P1: iotsafe.MoreBlocks, P2: number, Data: data[:most]}); err != nil {
			return nil, err
		}
		data = data[most:]
	}
	return a.locked(name+" UPDATE", update, iotsafe.LastBlock, number, data)
}

// open sends INIT, and again as long as there is no session for it.
func (a *Applet) open(name string, c apdu.Command) error {
	for end, pause := time.Now().Add(a.wait), firstPause; ; pause = min(2*pause, maxPause) {
		_, err := a.exchange(name+" INIT", c)
		if !errors.Is(err, &StatusError{SW: iotsafe.SWCapacity}) || time.Now().Add(pause).After(end) {
			return err
		}
		select {
		case <-time.After(pause):
		case <-a.ctx.Done():
			return err
		}
	}
}

// Ref names a container, by identifier or by label.
type Ref struct{ ID, Label string }

// ByID names a container by its identifier.
func ByID(id ...byte) Ref { return Ref{ID: string(id)} }

// ByLabel names a container by its label.
func ByLabel(label string) Ref { return Ref{Label: label} }

func (r Ref) String() string {
	if r.ID != "" {
		return fmt.Sprintf("%X", r.ID)
	}
	return fmt.Sprintf("%q", r.Label)
}

// add is the reference as a data object.
func (r Ref) add(dst []byte, k profile.Kind) []byte {
	if r.ID != "" {
		return tlv.Append(dst, tlv.Tag(k.IDTag()), []byte(r.ID)...)
	}
	return tlv.Append(dst, tlv.Tag(k.LabelTag()), []byte(r.Label)...)
}

// Application is what an applet can do.
type Application struct {
	Version                         byte
	ID                              string
	Files, Private, Public, Secrets int // containers
	Functions, Hashes, Signatures   byte
	Agreement, Derivation           byte
	Sessions                        int
}

// Application asks what the applet can do.
func (a *Applet) Application() (x Application, err error) {
	b, err := a.command("GET DATA", iotsafe.GetData, iotsafe.DataApplication, iotsafe.DataFirst, nil)
	if err != nil {
		return x, err
	}
	one := func(tag tlv.Tag) byte {
		v, _ := tlv.Find(b, tag)
		if len(v) == 0 {
			return 0
		}
		return v[len(v)-1]
	}
	id, _ := tlv.Find(b, iotsafe.TagAppletID)
	for len(id) > 0 && id[len(id)-1] == 0 {
		id = id[:len(id)-1]
	}
	return Application{
		Version: one(iotsafe.TagVersion), ID: string(id),
		Files: int(one(iotsafe.TagMaxFiles)), Private: int(one(iotsafe.TagMaxPrivate)), Public: int(one(iotsafe.TagMaxPublic)), Secrets: int(one(iotsafe.TagMaxSecret)),
		Functions: one(iotsafe.TagFunctionsAll), Hashes: one(iotsafe.TagHash), Signatures: one(iotsafe.TagSignatureAlg),
		Agreement: one(iotsafe.TagAgreementAll), Derivation: one(iotsafe.TagDerivation), Sessions: int(one(iotsafe.TagMaxSessions)),
	}, nil
}

// Object is an object of the applet store with its attributes; those that its kind does
// not have are 0.
type Object struct {
	Kind                          profile.Kind
	ID                            []byte
	Label                         string
	Access, State                 byte
	Type, Usage, Functions        byte
	Signatures, Hashes, Agreement byte
	Derivation                    byte
	Size                          int
}

// Active tells whether there is something in the container.
func (o Object) Active() bool { return o.State == iotsafe.Activated }

// Objects lists the objects of the store.
func (a *Applet) Objects() ([]Object, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	var all []byte
	for p2 := byte(iotsafe.DataFirst); ; p2 = iotsafe.DataNext {
		b, err := a.locked("GET DATA", iotsafe.GetData, iotsafe.DataObjectList, p2, nil)
		all = append(all, b...)
		if err == nil {
			break
		}
		if !errors.Is(err, &StatusError{SW: iotsafe.SWMoreData}) || len(b) == 0 || len(all) > maxAnswer {
			return nil, err
		}
	}
	var l []Object
	r := tlv.Read(all)
	for r.Next() {
		o, err := parseObject(r.Tag, r.Value)
		if err != nil {
			return nil, err
		}
		l = append(l, o)
	}
	return l, r.Err()
}

// Object asks for one object.
func (a *Applet) Object(k profile.Kind, ref Ref) (o Object, err error) {
	b, err := a.command("GET DATA", iotsafe.GetData, k.InfoTag(), iotsafe.DataFirst, ref.add(nil, k))
	if err != nil {
		return o, fmt.Errorf("%s %v: %w", k, ref, err)
	}
	t, v, _, err := tlv.Next(b)
	if err != nil {
		return o, err
	}
	return parseObject(t, v)
}

// parseObject reads an information object. Unknown data objects in it are passed over.
func parseObject(t tlv.Tag, b []byte) (o Object, err error) {
	for o.Kind = profile.Private; o.Kind.InfoTag() != byte(t) || t > 0xFF; o.Kind++ {
		if o.Kind == profile.File {
			return o, fmt.Errorf("GET DATA: %X is no object", uint32(t))
		}
	}
	r := tlv.Read(b)
	for r.Next() {
		last := byte(0)
		if n := len(r.Value); n > 0 {
			last = r.Value[n-1]
		}
		switch byte(r.Tag) {
		case o.Kind.IDTag():
			o.ID = append([]byte(nil), r.Value...)
		case o.Kind.LabelTag():
			o.Label = string(r.Value)
		case iotsafe.TagAccess:
			o.Access = last
		case iotsafe.TagState:
			o.State = last
		case iotsafe.TagKeyType:
			o.Type = last
		case iotsafe.TagKeyUsage, iotsafe.TagFileUsage:
			o.Usage = last
		case iotsafe.TagFunctions:
			o.Functions = last
		case iotsafe.TagSignatureAlg:
			o.Signatures = last
		case iotsafe.TagHash:
			o.Hashes = last
		case iotsafe.TagAgreement:
			o.Agreement = last
		case iotsafe.TagDerivation:
			o.Derivation = last
		case iotsafe.TagFileSize:
			for _, c := range r.Value {
				o.Size = o.Size<<8&0xFFFF | int(c)
			}
		}
	}
	return o, r.Err()
}

// ReadFile reads a whole file.
func (a *Applet) ReadFile(ref Ref) ([]byte, error) {
	o, err := a.Object(profile.File, ref)
	if err != nil {
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	var b []byte
	for len(b) < o.Size {
		part, err := a.locked("READ FILE", iotsafe.ReadFile, byte(len(b)>>8), byte(len(b)), ref.add(nil, profile.File))
		if err != nil {
			return nil, fmt.Errorf("file %v: %w", ref, err)
		}
		if len(part) == 0 {
			return nil, fmt.Errorf("file %v ends after %d bytes; it has %d", ref, len(b), o.Size)
		}
		b = append(b, part...)
	}
	return b[:o.Size], nil
}

// Read fills p with random bytes of the applet: an Applet is an io.Reader like
// crypto/rand.Reader.
func (a *Applet) Read(p []byte) (int, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	n := 0
	for n < len(p) {
		b, err := a.exchange("GET RANDOM", apdu.Command{CLA: a.cla, INS: iotsafe.GetRandom, Ne: min(len(p)-n, apdu.MaxShortNe)})
		if err != nil {
			return n, err
		}
		if len(b) == 0 {
			return n, errors.New("GET RANDOM: the applet gave no bytes")
		}
		n += copy(p[n:], b)
	}
	return n, nil
}
