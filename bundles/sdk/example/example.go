// Package example is a first bundle, small enough to be read in one go: one
// applet with a counter that survives, and a PIN that guards setting it back.
//
//	SELECT   00 A4 04 00 08 F053535045 4D5501   FCI with AID and label
//	COUNT    80 10 00 00          04            adds 1, gives the counter
//	READ     80 12 00 00          04            gives the counter
//	CLEAR    80 14 00 00                        sets it to 0; wants the PIN; event counter.cleared
//	VERIFY   00 20 00 01 Lc PIN                 63Cx when wrong, 6983 when blocked
//	                                            without data: 63Cx, x tries are left
//	RANDOM   00 84 00 00          Le            GET CHALLENGE
//	LATER    80 16 hi lo                        counts by itself after hi lo seconds; event counter.later
//	HTTP     GET /, GET and POST /counter       what the bundle is; the counter, and counting (face.go)
//
// All of its state is in NVM, so that a power cut, a fault or another bundle
// becoming active loses nothing: only "PIN verified" is volatile, as it must be.
//
// Sources: ISO/IEC 7816-4 11.2.2 (SELECT), 11.5.6 (VERIFY), 11.5.3 (GET
// CHALLENGE).
package example

import "github.com/sspemu/sspemu/bundles/sdk"

// AID is the application identifier: a proprietary one (first digit F) that
// spells SSPEMU.
var AID = []byte{0xF0, 'S', 'S', 'P', 'E', 'M', 'U', 0x01}

// Keys of the NVM.
const (
	keyLabel   = "label"
	keyCounter = "counter"   // 4 bytes, high one first
	keyPIN     = "pin.value" // the digits
	keyTries   = "pin.tries" // 2 bytes: left, most
)

// App is the bundle. It has the methods of sdk.App; APDU comes from Applets.
type App struct {
	sdk.Applets
	verified [sdk.Channels]bool
	later    *sdk.Timer
}

// New gives a bundle that is not started yet.
func New() *App {
	a := &App{}
	a.Register(AID, a.applet())
	a.later = sdk.NewTimer(func() {
		if a.count(1) == sdk.OK {
			sdk.Event("counter.later", nil)
		}
	})
	return a
}

// Personalise writes the persona into NVM. Types and ranges are checked by
// persona.schema.json; bytes instead of characters are what it cannot say.
func (a *App) Personalise(doc *sdk.Doc) error {
	label := doc.Get("label").Text()
	if len(label) > 32 {
		return doc.Get("label").Refuse("is longer than 32 bytes")
	}
	start := int64(0)
	if c := doc.Get("counter"); c.Exists() {
		start = c.Int(0, 1<<32-1)
	}
	pin := doc.Get("pin")
	tries := byte(pin.Get("tries").Int(1, 15))
	for _, item := range []struct {
		key string
		val []byte
	}{
		{keyLabel, []byte(label)},
		{keyCounter, appendUint32(nil, uint32(start))},
		{keyPIN, []byte(pin.Get("value").Text())},
		{keyTries, []byte{tries, tries}},
	} {
		if err := sdk.NVM.Put(item.key, item.val); err != nil {
			return err
		}
	}
	return nil
}

// Init has nothing to load: every command reads the little it needs.
func (a *App) Init(sdk.Reason) error { return nil }

// Signal drops what does not survive a reset of the card.
func (a *App) Signal(s sdk.Signal) {
	if s.Has(sdk.SignalReset) {
		a.Reset()
		a.later.Stop()
	}
}

// applet is what Applets calls once the AID is selected.
func (a *App) applet() sdk.Applet { return applet{a} }

type applet struct{ *App }

// Select answers with a file control information template.
func (a applet) Select(ch int, _ *sdk.Command, r *sdk.Response) sdk.SW {
	fci := r.Begin(0x6F)
	r.TLV(0x84, AID)
	label := r.Begin(0x50)
	if n, ok := sdk.NVM.Size(keyLabel); ok {
		_, _ = sdk.NVM.Read(keyLabel, 0, r.Extend(n))
	}
	r.End(label)
	r.End(fci)
	a.verified[ch] = false
	return sdk.OK
}

// Deselect forgets the PIN of the channel.
func (a applet) Deselect(ch int) { a.verified[ch] = false }

// APDU looks at the class, without the channel, and the instruction.
func (a applet) APDU(ch int, c *sdk.Command, r *sdk.Response) sdk.SW {
	switch sdk.Class(c.CLA) {
	case 0x00:
		switch c.INS {
		case 0x20:
			return a.verify(ch, c)
		case 0x84:
			return a.random(c, r)
		}
	case 0x80:
		switch c.INS {
		case 0x10:
			return a.read(a.count(1), r)
		case 0x12:
			return a.read(sdk.OK, r)
		case 0x14:
			return a.clear(ch)
		case 0x16:
			a.later.Start(1000 * (int64(c.P1)<<8 | int64(c.P2)))
			return sdk.OK
		}
	default:
		return sdk.ClaNotSupported
	}
	return sdk.InsNotSupported
}

// count adds n to the counter.
func (a *App) count(n uint32) sdk.SW {
	var v [4]byte
	if _, err := sdk.NVM.Read(keyCounter, 0, v[:]); err != nil {
		return sdk.MemoryProblem
	}
	was := uint32(v[0])<<24 | uint32(v[1])<<16 | uint32(v[2])<<8 | uint32(v[3])
	if was+n < was {
		return sdk.ConditionsNotSatisfied // it would begin again at 0
	}
	return write(keyCounter, appendUint32(v[:0], was+n))
}

// appendUint32 does what encoding/binary does, which would bring reflection into
// the module.
func appendUint32(b []byte, v uint32) []byte {
	return append(b, byte(v>>24), byte(v>>16), byte(v>>8), byte(v))
}

func write(key string, p []byte) sdk.SW {
	if sdk.NVM.Write(key, 0, p) != nil {
		return sdk.MemoryProblem
	}
	return sdk.OK
}

// read answers with the counter when sw says that all is well so far.
func (a *App) read(sw sdk.SW, r *sdk.Response) sdk.SW {
	if sw != sdk.OK {
		return sw
	}
	if _, err := sdk.NVM.Read(keyCounter, 0, r.Extend(4)); err != nil {
		r.Reset()
		return sdk.MemoryProblem
	}
	return sdk.OK
}

func (a *App) clear(ch int) sdk.SW {
	if !a.verified[ch] {
		return sdk.SecurityNotSatisfied
	}
	var zero [4]byte
	if sw := write(keyCounter, zero[:]); sw != sdk.OK {
		return sw
	}
	sdk.Event("counter.cleared", nil)
	return sdk.OK
}

// verify compares a PIN. The try is counted, and is on the medium, before the
// comparison: cutting the power cannot give a try back.
func (a *App) verify(ch int, c *sdk.Command) sdk.SW {
	if c.P1 != 0 || c.P2 != 1 {
		return sdk.ReferencedDataNotFound
	}
	var tries [2]byte
	if _, err := sdk.NVM.Read(keyTries, 0, tries[:]); err != nil {
		return sdk.MemoryProblem
	}
	left, most := tries[0], tries[1]
	switch {
	case left == 0:
		return sdk.AuthBlocked
	case len(c.Data) == 0 && a.verified[ch]:
		return sdk.OK
	case len(c.Data) == 0:
		return sdk.Counter | sdk.SW(left)
	}
	a.verified[ch] = false
	tries[0] = left - 1
	if sw := write(keyTries, tries[:1]); sw != sdk.OK {
		return sw
	}
	if sdk.NVM.Commit() != nil {
		return sdk.MemoryProblem
	}
	var pin [8]byte
	n, err := sdk.NVM.Read(keyPIN, 0, pin[:])
	if err != nil {
		return sdk.MemoryProblem
	}
	if !same(pin[:n], c.Data) {
		if left == 1 {
			sdk.Event("pin.blocked", nil)
		}
		return sdk.Counter | sdk.SW(left-1)
	}
	tries[0] = most
	if sw := write(keyTries, tries[:1]); sw != sdk.OK {
		return sw
	}
	a.verified[ch] = true
	return sdk.OK
}

// same compares in a time that does not depend on where a differs from b.
func same(a, b []byte) bool {
	if len(a) != len(b) {
		return false
	}
	var diff byte
	for i := range a {
		diff |= a[i] ^ b[i]
	}
	return diff == 0
}

func (a *App) random(c *sdk.Command, r *sdk.Response) sdk.SW {
	if c.Ne == 0 {
		return sdk.WrongLength
	}
	sdk.Random(r.Extend(min(c.Ne, 256)))
	return sdk.OK
}
