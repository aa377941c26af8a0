// Package eid is the identity bundle. Its first application is a PIV card; a travel
// document and a driving licence are to come beside it.
//
//	terminal ─ APDU ─> PLATFORM ─> sdk ─> Applets ── AID ──> piv
//
// Sources: NIST SP 800-73-4. docs/eid.md says what is supported.
package eid

import (
	"github.com/sspemu/sspemu/bundles/eid/piv"
	"github.com/sspemu/sspemu/bundles/sdk"
	"github.com/sspemu/sspemu/bundles/sdk/coap"
	"github.com/sspemu/sspemu/bundles/sdk/face"
	"github.com/sspemu/sspemu/bundles/sdk/web"
)

// App is the bundle, an sdk.App.
type App struct {
	sdk.Applets
	piv *piv.Card
}

// New gives a bundle that is not started yet.
func New() *App {
	a := &App{piv: piv.New()}
	a.Register(piv.AID, a.piv)
	return a
}

// Personalise writes the persona to NVM.
func (a *App) Personalise(doc *sdk.Doc) error { return a.piv.Personalise(doc.Get("piv")) }

// Init loads the state from NVM.
func (a *App) Init(sdk.Reason) error { return a.piv.Load() }

// Signal drops what does not survive a reset of the card.
func (a *App) Signal(s sdk.Signal) {
	if s.Has(sdk.SignalReset) {
		a.Reset()
		a.piv.Forget()
	}
}

// Gates are the services beside UICC APDU: the description of the card.
func (a *App) Gates() sdk.Gates {
	things := coap.New()
	things.Face(a.describe)
	return sdk.Gates{TCP: web.New(web.Face(a.describe)), UDP: things}
}

func (a *App) describe() face.Description {
	d := face.Description{Name: "eid", Title: "PIV card", Standards: []string{"NIST SP 800-73-4"}}
	a.piv.Describe(&d)
	return d
}
