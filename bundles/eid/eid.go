// Package eid is the identity bundle: a travel document, a PIV card and a mobile driving
// licence on one chip.
//
//	terminal ─ APDU ─> PLATFORM ─> sdk ─> App ─> secure messaging ─> chain ─┬─> master file ─> mrtd
//	                                                                        └─> AID ─────────> mrtd, piv, mdl
//
// Secure messaging of the travel document is around everything, the choice of the
// application included (ICAO Doc 9303-11 9.8); that of PIV is the application's own. The
// bundle joins chained commands itself, because each part of the chain of PACE has an
// answer of its own (9303-11 4.4.4).
//
// Sources: ICAO Doc 9303-10, -11; NIST SP 800-73-4; ISO/IEC 18013-5. docs/eid.md says what is supported.
package eid

import (
	"errors"
	"net/http"

	"github.com/sspemu/sspemu/bundles/eid/issue"
	"github.com/sspemu/sspemu/bundles/eid/mdl"
	"github.com/sspemu/sspemu/bundles/eid/mrtd"
	"github.com/sspemu/sspemu/bundles/eid/piv"
	"github.com/sspemu/sspemu/bundles/eid/sm"
	"github.com/sspemu/sspemu/bundles/sdk"
	"github.com/sspemu/sspemu/bundles/sdk/coap"
	"github.com/sspemu/sspemu/bundles/sdk/face"
	"github.com/sspemu/sspemu/bundles/sdk/web"
	"github.com/sspemu/sspemu/internal/apdu"
)

// App is the bundle, an sdk.App.
type App struct {
	applets sdk.Applets
	mrtd    *mrtd.Card
	piv     *piv.Card
	mdl     *mdl.Card

	chain   chain
	wrapped []byte
}

// chain is a command that comes in parts (ISO/IEC 7816-4 5.3.3).
type chain struct {
	open bool
	head [4]byte // class without the bit of chaining, INS, P1, P2
	data []byte
}

// New gives a bundle that is not started yet.
func New() *App {
	a := &App{mrtd: mrtd.New(), piv: piv.New(), mdl: mdl.New()}
	a.applets.Register(mrtd.AID, a.mrtd)
	a.applets.Register(piv.AID, a.piv)
	a.applets.Register(mdl.AID, a.mdl)
	a.applets.Register(mdl.TagAID, a.mdl.Tag())
	return a
}

// Personalise writes the persona to NVM.
func (a *App) Personalise(doc *sdk.Doc) error {
	if err := a.mrtd.Personalise(doc); err != nil {
		return err
	}
	if err := a.mdl.Personalise(doc); err != nil {
		return err
	}
	if !doc.Has("piv") {
		return nil
	}
	seed := ""
	if doc.Has("seed") {
		seed = doc.Get("seed").Text()
	}
	return a.piv.Personalise(doc.Get("piv"), seed)
}

// Init loads the state from NVM.
func (a *App) Init(sdk.Reason) error {
	if err := a.mrtd.Load(); err != nil {
		return err
	}
	if err := a.mdl.Load(); err != nil {
		return err
	}
	return a.piv.Load()
}

// Signal drops what does not survive a reset of the card.
func (a *App) Signal(s sdk.Signal) {
	if s.Has(sdk.SignalReset) {
		a.applets.Reset()
		a.chain.open = false
		a.mrtd.Forget()
		a.piv.Forget()
		a.mdl.Forget()
	}
}

// protected tells whether a class byte of the first interindustry class says that the
// command is protected with its header (ISO/IEC 7816-4 table 2).
func protected(cla byte) bool { return cla&0xE0 == 0 && cla&0x0C == 0x0C }

// APDU answers a command: out of secure messaging, joined, carried out, back into it.
func (a *App) APDU(c *sdk.Command, r *sdk.Response) sdk.SW {
	s := a.mrtd.Session()
	if s == nil {
		sw := a.joined(c, r)
		a.mrtd.Turn()
		return sw
	}
	stays := a.mrtd.Has(issue.DefectPlain)
	if !protected(c.CLA) {
		if stays {
			return a.joined(c, r)
		}
		a.mrtd.End() // a command in plain ends the session, and is carried out (9303-11 9.8.3)
		a.chain.open = false
		return a.joined(c, r)
	}
	plain, err := s.Unwrap(c)
	if err != nil {
		if !stays {
			a.mrtd.End()
		}
		a.chain.open = false
		if errors.Is(err, sm.ErrMissing) {
			return swObjectsMissing
		}
		return swObjectsIncorrect
	}
	sw := a.joined(&plain, r)
	if sw >= apdu.ExecutionError && sw <= 0x6FFF {
		r.Reset()
	}
	sw = a.protect(s, r, sw)
	a.mrtd.Turn()
	return sw
}

// Status words of secure messaging (ISO/IEC 7816-4 table 6).
const (
	swObjectsMissing   sdk.SW = 0x6987
	swObjectsIncorrect sdk.SW = 0x6988
)

// protect puts the answer into secure messaging, or what a chip with a defect makes of it.
func (a *App) protect(s *sm.Session, r *sdk.Response, sw sdk.SW) sdk.SW {
	if a.mrtd.Has(issue.DefectSSC) {
		s.Skew()
	}
	said := sw
	if a.mrtd.Has(issue.DefectSMStatus) {
		said ^= 0x0100
	}
	a.wrapped = s.Wrap(a.wrapped[:0], r.Bytes(), said)
	if a.mrtd.Has(issue.DefectMAC) {
		a.wrapped[len(a.wrapped)-1] ^= 1
	}
	r.Set(a.wrapped)
	return sw
}

// joined collects the parts of a chain, but those of GENERAL AUTHENTICATE of a travel
// document, and carries out what is whole.
func (a *App) joined(c *sdk.Command, r *sdk.Response) sdk.SW {
	more := c.CLA&0xF0 == 0x10
	if !a.chain.open && (!more || c.INS == 0x86) {
		return a.whole(c, r)
	}
	head := [4]byte{c.CLA &^ 0x10, c.INS, c.P1, c.P2}
	switch ch := &a.chain; {
	case ch.open && ch.head != head:
		ch.open = false
		return apdu.LastCommandExpected
	case !ch.open:
		ch.head, ch.data = head, ch.data[:0]
		fallthrough
	default:
		if len(ch.data)+len(c.Data) > apdu.MaxExtendedNc {
			ch.open = false
			return apdu.WrongLength
		}
		ch.data = append(ch.data, c.Data...)
		if ch.open = more; more {
			return apdu.OK
		}
		return a.whole(&sdk.Command{CLA: head[0], INS: head[1], P1: head[2], P2: head[3], Data: ch.data, Ne: c.Ne, Extended: c.Extended}, r)
	}
}

// whole carries out a command. The master file answers what is for no application.
func (a *App) whole(c *sdk.Command, r *sdk.Response) sdk.SW {
	others := c.CLA&0x80 == 0 && (c.INS == 0x70 || c.INS == 0xA4 && c.P1 == 0x04)
	if a.mrtd.There() && a.applets.Selected(0) == nil && sdk.Channel(c.CLA) == 0 && !others {
		return a.mrtd.APDU(0, c, r)
	}
	return a.applets.APDU(c, r)
}

// Gates are the services beside UICC APDU: the description of the card, and data retrieval
// of mobile documents.
func (a *App) Gates() sdk.Gates {
	pages := http.NewServeMux()
	pages.Handle("/", web.Face(a.describe))
	a.mdl.HTTP(pages)
	things := coap.New()
	things.Face(a.describe)
	a.mdl.CoAP(things)
	return sdk.Gates{TCP: web.New(pages), UDP: things}
}

func (a *App) describe() face.Description {
	d := face.Description{Name: "eid", Title: "Travel document, PIV card, driving licence", Standards: []string{"ICAO Doc 9303", "BSI TR-03110", "NIST SP 800-73-4", "ISO/IEC 18013-5"}}
	a.mrtd.Describe(&d)
	a.piv.Describe(&d)
	a.mdl.Describe(&d)
	return d
}
