// Package iot is the IoT bundle: the IoT SAFE applet of GSMA IoT.05, with which a device
// opens (D)TLS sessions whose keys never leave the secure element.
//
//	device ─ APDU ─> PLATFORM ─> sdk.Applets ─> applet.APDU
//	                                              │ class, instruction (commands.go)
//	      ┌──────────┬───────────┬────────────┬───┴────────┬──────────────┐
//	  GET DATA    READ FILE  GENERATE KEY  SIGNATURES   PUT PUBLIC     DH, PRF, HKDF
//	  (data.go)              (keys.go)     (sign.go)    KEY (keys.go)  (derive.go)
//	      └──────────┴───────────┴─────┬──────┴──── sessions (session.go) ─┘
//	  over the air (domain.go) ────────┤
//	                      containers (store.go): objects in NVM, volatile keys in memory
//
// The persona says which containers there are. Personalise makes their keys from its
// seed and has the certificates issued. What a key pair command writes is one
// transaction: after a power cut the old pair is there or the new one. Sessions,
// volatile keys and what was not finished are lost with a reset.
//
// Randomness comes from the platform. Signatures with ECDSA are deterministic (RFC
// 6979); RSA is the platform's work.
//
// Sources: GSMA IoT.05 v1 as package iotsafe tells; RFC 5246 clause 5 (PRF), RFC 5869
// (HKDF), RFC 8017 (RSA), RFC 6979 (ECDSA). docs/iot.md says what is supported, and which
// status words are chosen (unverified).
package iot

import (
	"github.com/sspemu/sspemu/bundles/iot/profile"
	"github.com/sspemu/sspemu/bundles/sdk"
	"github.com/sspemu/sspemu/bundles/sdk/coap"
	"github.com/sspemu/sspemu/internal/scp80"
)

// Card is the bundle, an sdk.App. The zero value is not usable: see New.
type Card struct {
	profile  *profile.Profile
	applets  sdk.Applets
	objects  []object // of profile.Containers
	sessions []session
	lists    [sdk.Channels]int // by channel: the object with which an object list goes on, 0: there is none
	pages    map[string]*page  // by path (pages.go)
	things   *coap.Server      // they are there as well

	// Remote administration (domain.go, remote.go, toolkit.go).
	domains   []domain
	assembler scp80.Assembler
	proactive []proactive // commands for FETCH
	fetched   bool        // the first of them
	work      work
	admin     *administration    // a session with a server, nil: there is none
	news      [sdk.Channels]bool // by channel: it has not been told yet
}

// New gives a card that is not started yet.
func New() *Card { return &Card{} }

// Init loads the card from NVM.
func (c *Card) Init(sdk.Reason) error {
	if err := c.load(); err != nil {
		return err
	}
	c.publish()
	c.applets = sdk.Applets{}
	for _, aid := range c.profile.AIDs {
		c.applets.Register(aid, applet{c})
	}
	return nil
}

// Signal drops what is volatile when the terminal resets the card.
func (c *Card) Signal(s sdk.Signal) {
	if !s.Has(sdk.SignalReset) {
		return
	}
	c.applets.Reset()
	clear(c.sessions)
	c.forgetRemote()
	for i := range c.objects {
		c.objects[i].forget()
	}
}

// APDU answers one command.
func (c *Card) APDU(cmd *sdk.Command, r *sdk.Response) sdk.SW {
	if sw, ok := c.toolkit(cmd, r); ok {
		return sw
	}
	return c.applets.APDU(cmd, r)
}

// applet is the IoT SAFE applet under each of its AIDs: they share the store.
type applet struct{ *Card }

// Select begins anew on its channel. The answer has no data: no client reads any.
func (a applet) Select(ch int, _ *sdk.Command, _ *sdk.Response) sdk.SW {
	a.Deselect(ch)
	return sdk.OK
}

// Deselect closes the sessions of the channel.
func (a applet) Deselect(ch int) {
	a.lists[ch], a.news[ch] = 0, false
	for i := range a.sessions {
		if s := &a.sessions[i]; s.open && s.channel == ch {
			*s = session{}
		}
	}
}
