package iot

import (
	"strconv"

	"github.com/sspemu/sspemu/bundles/iot/iotsafe"
	"github.com/sspemu/sspemu/bundles/iot/profile"
	"github.com/sspemu/sspemu/bundles/sdk"
	"github.com/sspemu/sspemu/internal/scp80"
)

// Remote administration.
//
//	short messages ── ENVELOPE (toolkit.go) ──┐
//	POST /ota (pages.go) ─────────────────────┴─> receive: TAR, security, counter ── trigger ──> a server
//	                                                │                                   (administration.go)
//	                              domain ── script (remote.go) ──> its containers
//	                                                │
//	               proof of receipt <───────────────┘ one transaction: counter and effects

// domain is a security domain while the card runs. Its counter is d/I in NVM.
type domain struct {
	*profile.Domain
	name string // of the counter
	keys scp80.Keys
	list int    // the container with which its object list goes on
	held staged // what STORE DATA has so far
}

// staged is new content of a container that comes in several blocks. It is lost with a
// reset; what is in the container stays until the last one.
type staged struct {
	next byte // number of the block
	open bool
	o    *object // as soon as it is known
	data []byte
}

// maxStaged bounds new content: as much as a packet of short messages brings.
const maxStaged = 4096

func domainName(i int) string { return "d/" + strconv.Itoa(i) }

// useDomains makes the domains of the profile.
func (c *Card) useDomains() {
	c.domains = make([]domain, len(c.profile.Domains))
	for i := range c.domains {
		d := &c.profile.Domains[i]
		c.domains[i] = domain{Domain: d, name: domainName(i), keys: c.profile.DomainKeys(d)}
	}
}

// forgetRemote drops what of remote administration is under way.
func (c *Card) forgetRemote() {
	c.assembler = scp80.Assembler{}
	c.proactive, c.fetched, c.admin = nil, false, nil
	clear(c.news[:])
	for i := range c.domains {
		c.domains[i].list, c.domains[i].held = 0, staged{}
	}
}

const counterSize = 5

// counter is that of the last packet which was accepted.
func (d *domain) counter() (n uint64, ok bool) {
	b, ok := sdk.NVM.Get(d.name)
	if !ok || len(b) != counterSize {
		return 0, false
	}
	for _, x := range b {
		n = n<<8 | uint64(x)
	}
	return n, true
}

func (d *domain) setCounter(n uint64) error {
	return sdk.NVM.Put(d.name, []byte{byte(n >> 32), byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)})
}

// holds tells whether an object is the domain's. What is not does not exist for it.
func (c *Card) holds(d *domain, o *object) bool {
	for _, i := range d.Containers {
		if &c.objects[i] == o {
			return true
		}
	}
	return false
}

// bearer is how a packet came, and what of a response it takes.
type bearer struct {
	most   int  // bytes of a response packet with its header 02 71 00
	secret bool // nobody else read the script
}

// Bearers.
var (
	byReport = bearer{most: scp80.MaxUserData} // unverified: a report takes as much as a message
	bySubmit = bearer{most: scp80.MaxUserData + 3*(scp80.MaxUserData-8)}
	byHTTP   = bearer{most: 8192}
)

// proof is what a command packet comes to.
type proof struct {
	packet []byte // the response packet, nil: none is wanted
	submit bool   // by SMS-SUBMIT
	d      *domain
	status scp80.Status
}

// receive takes a command packet. When it is none, sw tells so.
//
// The order is TAR, minimum security, keys, checksum, counter. An error before the
// checksum was right is told without any security and without data, since nobody knows
// to whom: signed reports of errors are what broke keys of SIM cards in 2013. unverified:
// the order, and that such reports are plain.
func (c *Card) receive(packet []byte, by bearer) (p proof, sw sdk.SW) {
	h, err := scp80.ParseHeader(packet)
	if err != nil {
		return p, sdk.WrongData
	}
	r := scp80.Response{TAR: h.TAR}
	plain := func(s scp80.Status) (proof, sdk.SW) {
		r.Status = s
		p.status = s
		if h.SPI.PoR() == scp80.PoRAlways || h.SPI.PoR() == scp80.PoROnError {
			p.packet, p.submit = r.AppendPlain(nil), h.SPI.PoRSubmit()
		}
		c.report(&p, 0)
		return p, sdk.OK
	}
	for i := range c.domains {
		if c.domains[i].TAR == h.TAR {
			p.d = &c.domains[i]
		}
	}
	d := p.d
	switch {
	case d == nil:
		return plain(scp80.UnknownTAR)
	case !h.SPI.Enough(d.Minimum):
		return plain(scp80.InsufficientSecurity)
	case (h.SPI.Ciphered() || h.SPI.PoRCiphered()) && !d.KIc.Matches(h.KIc),
		(h.SPI.Check() == scp80.CC || h.SPI.PoRCheck() == scp80.CC) && !d.KID.Matches(h.KID):
		return plain(scp80.SecurityError)
	}
	empty, err := r.Append(nil, h, d.keys)
	if err != nil {
		return plain(scp80.SecurityError)
	}
	cmd, s := scp80.Open(packet, d.keys)
	if s != scp80.OK {
		return plain(s)
	}
	r.Counter = cmd.Counter
	if by == byReport && h.SPI.PoRSubmit() {
		by = bySubmit
	}
	by.secret = h.SPI.Ciphered()
	answer := func(s scp80.Status) (proof, sdk.SW) {
		r.Status = s
		p.status = s
		if h.SPI.PoR() == scp80.PoRAlways || s != scp80.OK && h.SPI.PoR() == scp80.PoROnError {
			p.packet, _ = r.Append(nil, h, d.keys) // it did before
			p.submit = h.SPI.PoRSubmit()
		}
		c.report(&p, cmd.Counter)
		return p, sdk.OK
	}
	if mode := h.SPI.Counter(); mode >= scp80.CounterHigher {
		last, ok := d.counter()
		switch {
		case !ok:
			return answer(scp80.SecurityError)
		case last == scp80.MaxCounter:
			return answer(scp80.CounterBlocked)
		case cmd.Counter <= last:
			return answer(scp80.CounterLow)
		case mode == scp80.CounterNext && cmd.Counter > last+1:
			return answer(scp80.CounterHigh)
		}
		if err := d.setCounter(cmd.Counter); err != nil {
			sdk.NVM.Rollback()
			return answer(scp80.NoMemory)
		}
	}
	if connection, ok := trigger(cmd.Data); ok {
		return answer(c.triggered(d, connection))
	}
	room := by.most - len(scp80.ResponseHeader) - len(empty)
	if h.SPI.PoRCiphered() {
		room -= 15 // padding
	}
	data, ok := c.script(d, cmd.Data, bearer{room, by.secret})
	if !ok {
		if h.SPI.Counter() >= scp80.CounterHigher {
			if err := d.setCounter(cmd.Counter); err != nil {
				sdk.NVM.Rollback()
			}
		}
		return answer(scp80.NoMemory)
	}
	r.Data = data
	return answer(scp80.OK)
}

// report tells the platform what came of a packet.
func (c *Card) report(p *proof, counter uint64) {
	name := "unknown"
	if p.d != nil {
		name = p.d.Name
	}
	sdk.Event("ota", []byte(name+", counter "+strconv.FormatUint(counter, 10)+": "+p.status.String()))
}

// administered notes that remote administration has changed objects: what sessions do
// with them is over, and devices learn of it.
func (c *Card) administered(changed []*object) {
	if len(changed) == 0 {
		return
	}
	for _, o := range changed {
		for i := range c.sessions {
			if s := &c.sessions[i]; s.open && s.o == o {
				s.done, s.changed = true, true
			}
		}
	}
	for ch := range c.news {
		c.news[ch] = c.applets.Selected(ch) != nil
	}
}

// pending tells whether new content of an object is on its way: blocks came, the last one
// did not.
func (c *Card) pending(o *object) bool {
	for i := range c.domains {
		if c.domains[i].held.open && c.domains[i].held.o == o {
			return true
		}
	}
	return false
}

// told is the answer to GET DATA: the first one after remote administration says so.
func (c *Card) told(ch int, sw sdk.SW) sdk.SW {
	if sw == sdk.OK && c.news[ch] {
		c.news[ch] = false
		return iotsafe.SWAdministered
	}
	return sw
}
