// Package issuer is the issuer host of test cards: it verifies what a card asks online
// and answers with what the card checks.
//
//	terminal ── ARQC and its data ──> Host ── decision, ARPC, scripts ──> terminal
//	  POST /authorise                   │
//	                             profile: master keys   (persona.yaml)
//
// Its rules are few and readable: a cryptogram that is wrong or was seen is declined;
// then the limit; then the PIN. It keeps no money and no state beyond its process.
//
// Sources: EMV 4.4 Book 2 clauses 8 and 9, Book 3 10.9 and 10.10, Book 4 annex A6
// (authorisation response codes). The HTTP interface is ours.
package issuer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/sspemu/sspemu/bundles/payment/cryptogram"
	"github.com/sspemu/sspemu/bundles/payment/emv"
	"github.com/sspemu/sspemu/bundles/payment/oda"
	"github.com/sspemu/sspemu/bundles/payment/profile"
	"github.com/sspemu/sspemu/bundles/payment/terminal"
	"github.com/sspemu/sspemu/internal/tlv"
)

// Host is the issuer of the applications of one persona.
type Host struct {
	profile *profile.Profile
	limit   uint64 // amounts above are declined; 0: none is

	mu    sync.Mutex
	cards map[string]*card // by the name of the application
}

// card is what the issuer remembers of an application.
type card struct {
	app     *profile.Application
	keys    profile.CardKeys
	seen    map[uint16]bool // ATCs of cryptograms that were right
	queue   []Script
	counts  [3]int // approved, declined, wrong
	lastATC uint16
}

// New gives the issuer of the cards of p. limit is the highest amount, in minor units,
// that it approves; 0 approves all.
func New(p *profile.Profile, limit uint64) (*Host, error) {
	h := &Host{profile: p, limit: limit, cards: map[string]*card{}}
	for i := range p.Applications {
		a := &p.Applications[i]
		k, err := p.Keys(a)
		if err != nil {
			return nil, fmt.Errorf("application %s: %w", a.Name, err)
		}
		h.cards[a.Name] = &card{app: a, keys: k, seen: map[uint16]bool{}}
	}
	return h, nil
}

// Decision is the answer to a request.
type Decision struct {
	Approved bool
	ARC      string // authorisation response code
	Reason   string // in words
	Auth     []byte // issuer authentication data, 91; nil when the cryptogram was wrong
	Scripts  []byte // templates 71 and 72
	Wrong    bool   // the cryptogram is not right, as Reason says
}

// Errors of a request that is none.
var (
	ErrUnknownCard = errors.New("no card of this issuer has that PAN and sequence number")
	ErrIncomplete  = errors.New("the request lacks a data element")
)

// Authorise makes Host a terminal.Issuer in the same process.
func (h *Host) Authorise(_ context.Context, r terminal.Request) (terminal.Response, error) {
	d, err := h.Decide(r)
	return terminal.Response{ARC: d.ARC, Reason: d.Reason, Auth: d.Auth, Scripts: d.Scripts, Wrong: d.Wrong}, err
}

// Decide verifies the cryptogram of a request and decides.
func (h *Host) Decide(r terminal.Request) (d Decision, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	c := h.find(r)
	if c == nil {
		return d, ErrUnknownCard
	}
	a := c.app
	in, err := input(r)
	if err != nil {
		return d, err
	}
	d.ARC, d.Reason = "05", ""
	v, cvr, _, err := cryptogram.ParseIAD(in.IAD)
	switch {
	case err != nil:
		d.Reason = err.Error()
	case v.Name != a.Version.Name:
		d.Reason = "the issuer application data are of cryptogram version " + v.Name + ", the card has " + a.Version.Name
	case len(r.Data[0x9F27]) == 1 && r.Data[0x9F27][0]&0xC0 != 0x80:
		d.Reason = "the cryptogram is no ARQC"
	}
	ac := [8]byte{}
	copy(ac[:], r.Data[0x9F26])
	if want := a.Version.Cryptogram(c.keys.AC, in); d.Reason == "" && want != ac {
		d.Reason = "the cryptogram is wrong"
	}
	if d.Reason == "" && c.seen[in.ATC] {
		d.Reason = fmt.Sprintf("a cryptogram with ATC %d was seen before", in.ATC)
	}
	if d.Wrong = d.Reason != ""; d.Wrong {
		c.counts[2]++
		return d, nil
	}
	c.seen[in.ATC], c.lastATC = true, in.ATC
	switch {
	case h.limit > 0 && decimal(in.Amount[:]) > h.limit:
		d.ARC, d.Reason = "51", "the amount is above the limit"
	case cvr.PINTryLimitExceeded:
		d.ARC, d.Reason = "75", "too many wrong PINs"
	default:
		d.ARC, d.Approved, d.Reason = "00", true, "approved"
	}
	c.counts[1-truth(d.Approved)]++
	if a.ARPC == 2 {
		csu := cryptogram.CSU{Approve: d.Approved, Counters: 2}.Bytes()
		arpc := a.Version.ARPC2(c.keys.AC, in.ATC, ac, csu, nil)
		d.Auth = append(arpc[:], csu[:]...)
	} else {
		arpc := a.Version.ARPC1(c.keys.AC, in.ATC, ac, [2]byte([]byte(d.ARC)))
		d.Auth = append(arpc[:], d.ARC...)
	}
	d.Scripts = c.scripts(in.ATC, ac)
	return d, nil
}

func truth(b bool) int {
	if b {
		return 1
	}
	return 0
}

// find is the card of a request: by PAN, sequence number and, when given, AID.
func (h *Host) find(r terminal.Request) *card {
	for _, c := range h.cards {
		if aid := r.Data[0x9F06]; c.app.PAN == r.PAN && c.app.PSN == r.PSN && (len(aid) == 0 || bytes.Equal(aid, c.app.AID)) {
			return c
		}
	}
	return nil
}

// input is the data of the cryptogram.
func input(r terminal.Request) (*cryptogram.Input, error) {
	in := &cryptogram.Input{IAD: r.Data[0x9F10], CDOL: r.CDOL}
	var atc [2]byte
	var kind [1]byte
	for _, f := range []struct {
		tag  emv.Tag
		to   []byte
		must bool
	}{
		{0x9F36, atc[:], true}, {0x82, in.AIP[:], true}, {0x9F37, in.UN[:], true}, {0x9F02, in.Amount[:], false}, {0x9F03, in.Other[:], false},
		{0x9F1A, in.Country[:], false}, {0x95, in.TVR[:], false}, {0x5F2A, in.Currency[:], false}, {0x9A, in.Date[:], false}, {0x9C, kind[:], false},
	} {
		switch v := r.Data[f.tag]; {
		case len(v) == len(f.to):
			copy(f.to, v)
		case len(v) > 0 || f.must:
			return nil, fmt.Errorf("%w: %s (%X) of %d bytes", ErrIncomplete, emv.Name(f.tag), uint32(f.tag), len(f.to))
		}
	}
	if len(r.Data[0x9F26]) != 8 || len(in.IAD) == 0 {
		return nil, fmt.Errorf("%w: the cryptogram (9F26, 8 bytes) and issuer application data (9F10)", ErrIncomplete)
	}
	in.ATC, in.Type = uint16(atc[0])<<8|uint16(atc[1]), kind[0]
	return in, nil
}

func decimal(b []byte) (v uint64) {
	for _, c := range b {
		v = v*100 + uint64(c>>4)*10 + uint64(c&15)
	}
	return v
}

// Script is a command for a card, sent with its next authorisation.
type Script struct {
	Command string // one of Commands
	Before  bool   // before the second GENERATE AC (template 71); else after it (72)
	PIN     string // of change-pin
	SFI     byte   // of update-record
	Record  byte
	Tag     emv.Tag // of put-data
	Data    []byte  // of update-record and put-data
}

// commands are the script commands by word (Book 3 6.5).
var commands = map[string]struct{ ins, p1, p2 byte }{
	"block-application":   {0x1E, 0, 0},
	"unblock-application": {0x18, 0, 0},
	"block-card":          {0x16, 0, 0},
	"change-pin":          {0x24, 0, 2},
	"unblock-pin":         {0x24, 0, 0},
	"update-record":       {0xDC, 0, 0},
	"put-data":            {0xDA, 0, 0},
}

// Commands are the words that Script.Command can be.
var Commands = []string{"block-application", "unblock-application", "block-card", "change-pin", "unblock-pin", "update-record", "put-data"}

// What is wrong with a script.
var (
	ErrNoCard    = errors.New("no application of that name")
	ErrNoCommand = errors.New("not a script command")
)

// Queue keeps a script command for the next authorisation of the application name.
func (h *Host) Queue(name string, s Script) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	c := h.cards[name]
	if c == nil {
		return ErrNoCard
	}
	if _, ok := commands[s.Command]; !ok {
		return fmt.Errorf("%w: %q; there are %v", ErrNoCommand, s.Command, Commands)
	}
	if s.Command == "change-pin" {
		if _, err := oda.PINBlock(s.PIN); err != nil {
			return err
		}
	}
	if len(s.Data) > 240 {
		return errors.New("a script command has 240 bytes of data at most")
	}
	if s.Command == "update-record" && (s.SFI == 0 || s.SFI > 30 || s.Record == 0) {
		return errors.New("update-record needs sfi (1 to 30) and record")
	}
	if s.Command == "put-data" && (s.Tag < 0x81 || s.Tag > 0xFFFF) {
		return errors.New("put-data needs a tag of one or two bytes")
	}
	c.queue = append(c.queue, s)
	return nil
}

// macSize is that of the cards (package payment).
const macSize = 8

// scripts are the templates for what is queued, which is then gone.
func (c *card) scripts(atc uint16, ac [8]byte) (out []byte) {
	v := c.app.Version
	integrity, secrecy := v.ScriptKey(c.keys.SMI, atc, ac), v.ScriptKey(c.keys.SMC, atc, ac)
	chain := ac
	for _, before := range []bool{true, false} { // in the order in which the card sees them
		var body []byte
		for _, s := range c.queue {
			if s.Before != before {
				continue
			}
			d := commands[s.Command]
			data := s.Data
			switch s.Command {
			case "change-pin":
				block, _ := oda.PINBlock(s.PIN)
				data = v.EncipherPIN(c.keys.AC, secrecy, block, "")
			case "update-record":
				d.p1, d.p2 = s.Record, s.SFI<<3|4
			case "put-data":
				d.p1, d.p2 = byte(s.Tag>>8), byte(s.Tag)
			}
			header := [4]byte{0x84, d.ins, d.p1, d.p2}
			var mac []byte
			mac, chain = v.ScriptMAC(integrity, chain, atc, header, data, macSize)
			apdu := append(header[:], byte(len(data)+len(mac)))
			apdu = append(append(apdu, data...), mac...)
			body = tlv.Append(body, 0x86, apdu...)
		}
		if body != nil {
			t := emv.Tag(0x72)
			if before {
				t = 0x71
			}
			out = tlv.Append(out, t, body...)
		}
	}
	c.queue = nil
	return out
}
