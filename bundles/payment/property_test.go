package payment

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"maps"
	"math/rand"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/bundles/payment/emv"
	"github.com/sspemu/sspemu/bundles/payment/oda"
	"github.com/sspemu/sspemu/bundles/payment/profile"
	"github.com/sspemu/sspemu/bundles/sdk"
	"github.com/sspemu/sspemu/bundles/sdk/sdktest"
	"github.com/sspemu/sspemu/internal/persona"
	"github.com/sspemu/sspemu/internal/tlv"
)

// medium is the platform under a card: an NVM with transactions, from which the power
// can be taken before any of its writes and commits. What happens after that changes
// nothing.
type medium struct {
	sdktest.Cryptography
	stored, open map[string][]byte // open: nil is no transaction, a nil value is deleted
	cut          int               // writes and commits until the power goes; below 0: it stays
	dead         bool
	full         int  // writes until the memory is full; below 0: it never is
	refused      bool // a write was refused
	events       int  // writes and commits so far
	random       *rand.Rand
}

// event tells whether the power is still there.
func (m *medium) event() bool {
	m.events++
	if m.cut == 0 {
		m.dead = true
	}
	m.cut--
	return !m.dead
}

func (m *medium) get(key string) ([]byte, bool) {
	if v, ok := m.open[key]; ok {
		return v, v != nil
	}
	v, ok := m.stored[key]
	return v, ok
}

func (m *medium) set(key string, v []byte) {
	if !m.event() {
		return
	}
	if m.open == nil {
		m.open = map[string][]byte{}
	}
	m.open[key] = v
}

func (m *medium) Commit() int32 {
	if m.event() {
		m.stored = maps.Clone(m.stored)
		maps.Copy(m.stored, m.open)
		maps.DeleteFunc(m.stored, func(_ string, v []byte) bool { return v == nil })
		m.open = nil
	}
	return 0
}

func (m *medium) Rollback() int32 { m.open = nil; return 0 }

func (m *medium) NVMGet(key string, off int, buf []byte) int32 {
	v, ok := m.get(key)
	if !ok {
		return -int32(sdk.ErrUnknownID)
	}
	copy(buf, v[min(off, len(v)):])
	return int32(len(v))
}

func (m *medium) NVMPut(key string, val []byte) int32 {
	if m.full--; m.full == -1 {
		m.full, m.refused = 0, true
		return -int32(sdk.ErrNoSpace)
	}
	m.set(key, append([]byte{}, val...))
	return 0
}

func (m *medium) NVMWrite(key string, off int, val []byte) int32 {
	v, ok := m.get(key)
	if !ok || off < 0 || off+len(val) > len(v) {
		return -int32(sdk.ErrIllegalParameter)
	}
	v = bytes.Clone(v)
	copy(v[off:], val)
	m.set(key, v)
	return 0
}

func (m *medium) NVMDelete(key string) int32 { m.set(key, nil); return 0 }

func (m *medium) NVMNext(key string, buf []byte) int32 {
	for _, k := range slices.Sorted(maps.Keys(m.stored)) {
		if k > key {
			return int32(copy(buf, k))
		}
	}
	return 0
}

func (m *medium) Random(p []byte) { m.random.Read(p) }

func (m *medium) Time() int64                             { return 0 }
func (m *medium) WaitSignal(int64)                        {}
func (m *medium) Log(int32, string)                       {}
func (m *medium) Event(string, []byte)                    {}
func (m *medium) Send(uint32, uint32, byte, []byte) int32 { return 0 }
func (m *medium) Class() int32                            { return 0 }

// terminal is a terminal that looks over the shoulder of the card: it knows its keys
// and where it is, so that it can do right and wrong.
type terminal struct {
	t    testing.TB
	m    *medium
	new  map[string][]byte // what is stored in a new card
	card *Card
	b    *sdk.Bundle
	r    *rand.Rand

	given map[string][]byte // by application and ATC: types of the cryptograms that were seen
	last  map[int]int       // by application: the highest ATC that was seen
	wrong map[int]int       // by application: wrong PINs since the tries were all there
	bad   bool              // the issuer authentication of this transaction is wrong
	saw   map[string]int    // status words and kinds, to know that the test tests something
	trace []string
}

func newTerminal(t testing.TB, seed int64) *terminal {
	yaml, err := os.ReadFile("persona.yaml")
	require.NoError(t, err)
	schema, err := os.ReadFile("persona.schema.json")
	require.NoError(t, err)
	doc, err := persona.Convert(yaml, "persona.yaml", schema)
	require.NoError(t, err)
	x := &terminal{t: t, m: &medium{stored: map[string][]byte{}, cut: -1, full: -1, random: rand.New(rand.NewSource(seed))}, r: rand.New(rand.NewSource(seed)), saw: map[string]int{}}
	require.NoError(t, sdk.NewBundle(New(), x.m).Personalise(doc))
	x.m.Commit()
	x.new = x.m.stored
	x.another()
	return x
}

// another puts another new card in.
func (x *terminal) another() {
	x.m.stored = x.new
	x.given, x.last, x.wrong = map[string][]byte{}, map[int]int{}, map[int]int{}
	x.power()
}

// power takes the power away and gives it back.
func (x *terminal) power() {
	x.m.open, x.m.dead, x.m.cut = nil, false, -1
	x.card = New()
	x.b = sdk.NewBundle(x.card, x.m)
	require.Zero(x.t, x.b.Init(sdk.ReasonStart))
	x.m.Commit()
	x.bad = false
}

// state is what is stored of an application.
func (x *terminal) state(i int) (s state) {
	s.parse((*[stateSize]byte)(x.m.stored[strconv.Itoa(i)+"/state"]))
	return s
}

// hard says what is wrong, with all that was sent to this card.
func (x *terminal) hard(ok bool, format string, a ...any) {
	x.t.Helper()
	if !ok {
		x.t.Fatalf("%s\n%s", fmt.Sprintf(format, a...), strings.Join(x.trace[max(0, len(x.trace)-30):], "\n"))
	}
}

// noSpace and more as a cut: the memory is full from that write on.
const noSpace = 1000

// send sends a command, with a power cut before the n-th write or commit if n is not
// below 0, and looks whether all that must hold does. The answer is nil when the power
// went.
func (x *terminal) send(cmd []byte, cut int) []byte {
	before := x.m.stored
	var was []state
	for i := range x.card.apps {
		was = append(was, x.state(i))
	}
	app, side := -1, profile.Side(0)
	if a := x.card.now.app; a != nil {
		app, side = a.index, x.card.now.side
	}
	second := x.card.now.state == online
	x.m.cut, x.m.events, x.m.full, x.m.refused = cut, 0, -1, false
	if cut >= noSpace {
		x.m.cut, x.m.full = -1, cut-noSpace
	}
	answer, err := x.b.Message(sdk.GateAPDU, 0, 0x10, cmd)
	require.NoError(x.t, err)
	answer = bytes.Clone(answer)
	x.m.Commit() // the platform stores, then the answer leaves
	line := hex.EncodeToString(cmd) + " -> " + hex.EncodeToString(answer)
	if x.m.dead {
		line = hex.EncodeToString(cmd) + " power cut at " + strconv.Itoa(cut)
		answer = nil
	}
	x.trace = append(x.trace, line)
	x.m.cut, x.m.full = -1, -1
	x.kept(was)
	if x.m.dead {
		x.power()
		return nil
	}
	sw := int(answer[len(answer)-2])<<8 | int(answer[len(answer)-1])
	for i := range x.card.apps {
		x.hard(x.card.apps[i].state == x.state(i), "application %d: %+v is not what is stored, %+v", i, x.card.apps[i].state, x.state(i))
	}
	if x.m.refused {
		x.saw["refused"]++
		x.hard(sw == 0x6581, "the memory was full, and the answer is %04X", sw)
	}
	x.saw[fmt.Sprintf("%02X %04X", cmd[min(1, len(cmd)-1)], sw)]++
	if sw >= 0x6400 && sw < 0x9000 && (len(cmd) < 2 || cmd[0] != 0x84) && !x.m.refused {
		x.hard(maps.EqualFunc(before, x.m.stored, bytes.Equal), "a command that was refused changed what is stored")
	}
	if sw == 0x9000 && app >= 0 && len(cmd) > 1 {
		x.cryptogram(app, side, second, cmd, answer[:len(answer)-2])
	}
	if app >= 0 && len(cmd) > 1 && cmd[1] == insVerify {
		x.verified(app, was[app], sw)
	}
	return answer
}

// kept: counters move in one direction, whatever happened.
func (x *terminal) kept(was []state) {
	for i, w := range was {
		s := x.state(i)
		a := x.card.apps[i]
		x.hard(s.atc == w.atc || s.atc == w.atc+1, "application %d: ATC %d after %d", i, s.atc, w.atc)
		x.hard(s.lastOnline >= w.lastOnline && s.lastOnline <= s.atc, "application %d: last online ATC %d after %d", i, s.lastOnline, w.lastOnline)
		x.hard(s.tries <= a.PINTries, "application %d: %d tries", i, s.tries)
		x.hard(s.tries >= w.tries || s.tries == w.tries-1, "application %d: %d tries after %d", i, s.tries, w.tries)
		if s.tries > w.tries || s.tries == a.PINTries {
			x.wrong[i] = 0
		}
	}
}

// cryptogram: one first and one second cryptogram for an ATC, the second after an ARQC;
// ATCs of first ones go up; the ATC is stored when the cryptogram leaves.
func (x *terminal) cryptogram(app int, side profile.Side, second bool, cmd, data []byte) {
	a := &x.card.apps[app]
	var kind byte
	var atc []byte
	template, v, _, err := tlv.Next(data)
	switch {
	case cmd[1] == insGenerateAC && template == tagFormat1:
		kind, atc = v[0], v[1:3]
	case cmd[1] == insGenerateAC, cmd[1] == insGetOptions && a.On(side).Kernel == 3:
		k, err := tlv.Find(v, tagCID)
		require.NoError(x.t, err)
		kind = k[0]
		atc, err = tlv.Find(v, tagATC)
		require.NoError(x.t, err)
	case cmd[1] == insChecksum:
		kind = cidARQC | 0x3F
		atc, err = tlv.Find(v, tagATC)
		require.NoError(x.t, err)
	default:
		return
	}
	require.NoError(x.t, err)
	n := int(atc[0])<<8 | int(atc[1])
	x.hard(n == int(x.state(app).atc), "a cryptogram of ATC %d, stored is %d", n, x.state(app).atc)
	key := fmt.Sprintf("%d/%d", app, n)
	had := x.given[key]
	x.given[key] = append(had, kind)
	x.saw[fmt.Sprintf("cryptogram %02X, second %v", kind&cidType, second)]++
	if !second {
		x.hard(len(had) == 0 && n > x.last[app], "a first cryptogram of ATC %d, which had %X; the last was %d", n, had, x.last[app])
		x.last[app] = n
		x.bad = false
		return
	}
	x.hard(len(had) == 1 && had[0]&cidType == cidARQC && kind&cidType != cidARQC, "a second cryptogram %02X of ATC %d, which had %X", kind, n, had)
	x.hard(!x.bad || kind&cidType != cidTC, "a TC after wrong issuer authentication")
}

// verified: a PIN is told to be wrong as often as there are tries, and no more.
func (x *terminal) verified(app int, was state, sw int) {
	s := x.state(app)
	switch {
	case sw == 0x9000:
		x.hard(was.tries > 0 && s.tries == x.card.apps[app].PINTries, "a PIN was accepted with %d tries left, %d then", was.tries, s.tries)
	case sw&0xFFF0 == 0x63C0:
		x.hard(sw&15 == int(s.tries) && s.tries == was.tries-1, "a wrong PIN: %04X, %d tries after %d", sw, s.tries, was.tries)
		x.wrong[app]++
		x.hard(x.wrong[app] <= int(x.card.apps[app].PINTries), "a wrong PIN was compared %d times", x.wrong[app])
	}
}

func capdu(cla, ins, p1, p2 byte, data []byte, le ...byte) []byte {
	b := []byte{cla, ins, p1, p2}
	if len(data) > 0 {
		b = append(append(b, byte(len(data))), data...)
	}
	return append(b, le...)
}

func (x *terminal) bytes(n int) []byte {
	b := make([]byte, n)
	x.r.Read(b)
	return b
}

// list is random data by a list; now and then too long or too short.
func (x *terminal) list(dol []byte) []byte {
	entries, _ := emv.ParseDOL(dol)
	b := emv.Fill(entries, func(t tlv.Tag) []byte {
		for _, e := range entries {
			if e.Tag != t {
				continue
			}
			switch {
			case t == tagARC && x.r.Intn(4) > 0:
				return []byte([]string{"00", "05", "Y3", "Z3"}[x.r.Intn(4)])
			case t == tagAmount:
				return []byte{0, 0, 0, byte(x.r.Intn(2)), byte(x.r.Intn(10)), 0}
			case t == tagTVR && x.r.Intn(4) > 0:
				return make([]byte, 5)
			case t == tagCurrency && x.r.Intn(8) > 0:
				return []byte{0x09, 0x78}
			case t == tagIssuerAuth:
				return x.arpc()
			case t == tagTTQ:
				return []byte{[]byte{0x26, 0x27, 0x2E}[x.r.Intn(3)], []byte{0, 0x80, 0x40}[x.r.Intn(3)], 0, 0}
			}
			return x.bytes(e.Len)
		}
		return nil
	})
	switch x.r.Intn(20) {
	case 0:
		return b[:x.r.Intn(len(b)+1)]
	case 1:
		return append(b, x.bytes(1)...)
	}
	return b
}

// arpc is issuer authentication data, wrong in one of four.
func (x *terminal) arpc() []byte {
	c := x.card
	a := c.now.app
	if a == nil {
		return x.bytes(8)
	}
	var b []byte
	if a.ARPC == 2 {
		csu := [4]byte{0, 0x80}
		mac := a.Version.ARPC2(a.keys.AC, a.state.atc, c.now.ac, csu, nil)
		b = append(mac[:], csu[:]...)
	} else {
		arpc := a.Version.ARPC1(a.keys.AC, a.state.atc, c.now.ac, [2]byte{'0', '0'})
		b = append(arpc[:], '0', '0')
	}
	if x.r.Intn(4) == 0 {
		b[x.r.Intn(4)] ^= byte(1 + x.r.Intn(255))
	}
	return b
}

// authentic tells whether b is the issuer authentication data of this transaction.
func (x *terminal) authentic(b []byte) bool {
	c := x.card
	a := c.now.app
	if a.ARPC == 2 {
		mac := a.Version.ARPC2(a.keys.AC, a.state.atc, c.now.ac, [4]byte(b[4:8]), nil)
		return bytes.Equal(mac[:], b[:4])
	}
	arpc := a.Version.ARPC1(a.keys.AC, a.state.atc, c.now.ac, [2]byte(b[8:10]))
	return bytes.Equal(arpc[:], b[:8])
}

// next is what the terminal does next: mostly something that makes sense where the
// card is.
func (x *terminal) next() []byte {
	c := x.card
	a := c.now.app
	if a == nil || x.r.Intn(12) == 0 {
		switch n := x.r.Intn(12); {
		case n == 0:
			return capdu(0, insSelect, 4, 0, []byte(namePSE), 0)
		case n < 4:
			return capdu(0, insSelect, 4, 0, []byte(namePPSE), 0)
		default:
			aid := c.apps[x.r.Intn(len(c.apps))].AID
			return capdu(0, insSelect, 4, byte(x.r.Intn(2))*2*byte(x.r.Intn(2)), aid[:5+x.r.Intn(len(aid)-4)], 0)
		}
	}
	if x.r.Intn(8) == 0 {
		return x.anything()
	}
	kinds := []byte{cidAAC, cidTC, cidARQC, cidARQC, cidTC | p1CDA, cidARQC | p1CDA}
	switch c.now.state {
	case selected:
		if x.r.Intn(3) == 0 {
			return capdu(0, insSelect, 4, 0, a.AID, 0)
		}
		return capdu(0x80, insGetOptions, 0, 0, tlv.Append(nil, tagCommand, x.list(c.now.here().PDOL)...), 0)
	case initiated:
		if c.now.here().Stripe && x.r.Intn(6) == 0 {
			return capdu(0x80, insChecksum, 0x8E, 0x80, x.bytes(4), 0)
		}
		if c.now.here().Relay != nil && x.r.Intn(6) == 0 {
			return capdu(0x80, insRelayResistance, 0, 0, x.bytes(4), 0)
		}
		switch x.r.Intn(7) {
		case 0:
			return capdu(0, insGetChallenge, 0, 0, nil, 0)
		case 1, 2:
			return x.pin()
		case 3:
			return capdu(0, insInternalAuth, 0, 0, x.list(a.DDOL), 0)
		default:
			return capdu(0x80, insGenerateAC, kinds[x.r.Intn(len(kinds))], 0, x.list(a.CDOL1), 0)
		}
	case online:
		switch x.r.Intn(4) {
		case 0:
			return capdu(0, insExternalAuth, 0, 0, x.arpc())
		case 1:
			return x.issuerScript()
		default:
			return capdu(0x80, insGenerateAC, kinds[x.r.Intn(len(kinds))], 0, x.list(a.CDOL2), 0)
		}
	case script:
		if x.r.Intn(2) == 0 {
			return x.issuerScript()
		}
	}
	return capdu(0, insSelect, 4, 0, c.apps[x.r.Intn(len(c.apps))].AID, 0)
}

// anything is a command out of order, or noise.
func (x *terminal) anything() []byte {
	d := commands[x.r.Intn(len(commands))]
	p := x.bytes(4) // few bits set
	b := capdu(d.class, d.ins, p[0]&p[1], p[2]&p[3], x.bytes(x.r.Intn(20)), 0)
	if x.r.Intn(4) == 0 {
		return x.bytes(1 + x.r.Intn(30))
	}
	return b
}

func (x *terminal) pin() []byte {
	c := x.card
	a := c.now.app
	block, err := oda.PINBlock(string(x.m.stored[a.key("pin")]))
	require.NoError(x.t, err)
	switch x.r.Intn(4) {
	case 0:
		block = [8]byte(x.bytes(8))
	case 1:
		block[1] ^= 0x01
	}
	if a.pin == nil || x.r.Intn(3) > 0 {
		return capdu(0, insVerify, 0, 0x80, block[:])
	}
	data, err := oda.EncipherPIN(oda.Soft, a.pin.PublicKey, block, c.now.challenge, x.r)
	require.NoError(x.t, err)
	return capdu(0, insVerify, 0, 0x88, data)
}

// issuerScript is a script command, in one of three with a wrong MAC.
func (x *terminal) issuerScript() []byte {
	c := x.card
	a := c.now.app
	header := [4]byte{0x84, []byte{insApplicationBlock, insApplicationUnblock, insApplicationUnblock, insPINChange, insPINChange, insUpdateRecord, insPutData}[x.r.Intn(7)], 0, 0}
	if x.r.Intn(200) == 0 {
		header[1] = insCardBlock
	}
	var data []byte
	switch header[1] {
	case insPINChange:
		if x.r.Intn(2) == 0 {
			header[3] = 0x02
			block, _ := oda.PINBlock([]string{"1234", "98765", "000000000000"}[x.r.Intn(3)])
			if x.r.Intn(6) == 0 {
				block = [8]byte(x.bytes(8))
			}
			data = a.Version.EncipherPIN(a.keys.AC, a.Version.ScriptKey(a.keys.SMC, a.state.atc, c.now.base), block, "")
		}
	case insUpdateRecord:
		header[2], header[3] = 1, 1<<3|4
		data = []byte{0x70, 0x02, 0x5F, 0x20}
		copy(data[2:], x.bytes(2))
	case insPutData:
		header[2], header[3] = 0x9F, 0x36
		data = []byte{0, 0}
	}
	mac, _ := a.Version.ScriptMAC(a.Version.ScriptKey(a.keys.SMI, a.state.atc, c.now.base), c.now.chain, a.state.atc, header, data, macSize)
	b := append(data, mac...)
	if x.r.Intn(3) == 0 {
		b[len(b)-1-x.r.Intn(macSize)] ^= byte(1 + x.r.Intn(255))
	}
	return capdu(header[0], header[1], header[2], header[3], b)
}

// step does one thing, and looks at what a wrong MAC does.
func (x *terminal) step() {
	if x.r.Intn(60) == 0 {
		x.trace = append(x.trace, "power")
		x.power()
		return
	}
	c := x.next()
	cut := -1
	if x.r.Intn(10) == 0 {
		cut = x.r.Intn(6) + x.r.Intn(2)*noSpace
	}
	before, now := x.m.stored, x.card.now
	app := now.app
	forged, wrongIssuer := false, false
	if app != nil && len(c) > 5 && c[0] == 0x84 && len(c) == 5+int(c[4]) && c[4] >= macSize {
		d := c[5:]
		want, _ := app.Version.ScriptMAC(app.Version.ScriptKey(app.keys.SMI, app.state.atc, now.base), now.chain, app.state.atc, [4]byte(c), d[:len(d)-macSize], macSize)
		forged = !bytes.Equal(want, d[len(d)-macSize:])
	}
	if app != nil && now.state == online && len(c) > 5 && c[1] == insExternalAuth && len(c) == 5+int(c[4]) && c[4] >= 8 {
		wrongIssuer = (app.ARPC == 2 || c[4] >= 10) && !x.authentic(c[5:])
	}
	answer := x.send(c, cut)
	if forged {
		x.saw["forged"]++
		x.hard(!bytes.HasSuffix(answer, []byte{0x90, 0x00}), "a wrong MAC was accepted")
		for k, v := range before {
			x.hard(strings.HasSuffix(k, "/state") || bytes.Equal(v, x.m.stored[k]), "a command with a wrong MAC changed %s", k)
		}
		var was state
		was.parse((*[stateSize]byte)(before[app.key("state")]))
		s := x.state(app.index)
		s.flags, was.flags = s.flags&isBlocked, was.flags&isBlocked
		x.hard(s == was, "a command with a wrong MAC changed the state from %+v to %+v", was, s)
	}
	if wrongIssuer && answer != nil {
		x.saw["wrong ARPC"]++
		x.hard(!bytes.HasSuffix(answer, []byte{0x90, 0x00}), "a wrong ARPC was accepted")
		x.bad = x.bad || bytes.Equal(answer, []byte{0x63, 0x00})
	}
	if x.card.blocked && x.r.Intn(5) == 0 {
		x.another()
	}
}

// TestProperties: random terminals with random data, in any order, with power cuts at
// any write. What must hold stands at kept, cryptogram, verified and step.
func TestProperties(t *testing.T) {
	saw := map[string]int{}
	for seed := range int64(6) {
		x := newTerminal(t, seed)
		for range 3000 {
			x.step()
		}
		for k, n := range x.saw {
			saw[k] += n
		}
	}
	for _, k := range []string{
		"cryptogram 00, second false", "cryptogram 40, second false", "cryptogram 80, second false", "cryptogram 00, second true", "cryptogram 40, second true",
		"20 9000", "20 63C0", "20 6983", "82 9000", "82 6300", "24 9000", "1E 9000", "18 9000", "DC 9000", "A4 6283", "2A 9000", "EA 9000", "forged", "wrong ARPC", "refused",
	} {
		require.NotZero(t, saw[k], "%s never happened: %v", k, saw)
	}
}

// TestStoredFirst takes the power at the last moment, when the card has computed its
// answer and the platform is about to store: the ATC and the try are stored already.
func TestStoredFirst(t *testing.T) {
	x := newTerminal(t, 1)
	wrong, _ := oda.PINBlock("1111")
	right, _ := oda.PINBlock("1234")
	options := capdu(0x80, insGetOptions, 0, 0, []byte{0x83, 4, 0x02, 0x76, 0x09, 0x78}, 0)
	for _, c := range []struct {
		name string
		flow [][]byte // the power goes in the last command
		want state    // what is stored then, of ATC and tries
	}{
		{"GET PROCESSING OPTIONS", [][]byte{options}, state{atc: 1, tries: 3}},
		{"VERIFY, wrong", [][]byte{options, capdu(0, insVerify, 0, 0x80, wrong[:])}, state{atc: 1, tries: 2}},
		{"VERIFY, right", [][]byte{options, capdu(0, insVerify, 0, 0x80, right[:])}, state{atc: 1, tries: 2}},
	} {
		t.Run(c.name, func(t *testing.T) {
			x.t = t
			last := 0
			for _, cut := range []bool{false, true} {
				x.another()
				x.send(capdu(0, insSelect, 4, 0, x.card.apps[0].AID, 0), -1)
				for i, cmd := range c.flow {
					if cut && i == len(c.flow)-1 {
						x.send(cmd, last)
						break
					}
					x.send(cmd, -1)
					last = x.m.events - 1
				}
			}
			s := x.state(0)
			require.Equal(t, c.want, state{atc: s.atc, tries: s.tries})
		})
	}
}

// TestTearing takes the power at every write and commit of every command of whole
// transactions. Afterwards the command has happened, or it has not, or the part that
// the card stored first; the next transaction has an ATC that nobody has seen.
func TestTearing(t *testing.T) {
	x := newTerminal(t, 1)
	pin := func(p string) []byte { b, _ := oda.PINBlock(p); return b[:] }
	signed := func(header [4]byte, data []byte) []byte {
		a := x.card.now.app
		mac, _ := a.Version.ScriptMAC(a.Version.ScriptKey(a.keys.SMI, a.state.atc, x.card.now.base), x.card.now.chain, a.state.atc, header, data, macSize)
		return capdu(header[0], header[1], header[2], header[3], append(bytes.Clone(data), mac...))
	}
	newPIN := func() []byte {
		a := x.card.now.app
		return a.Version.EncipherPIN(a.keys.AC, a.Version.ScriptKey(a.keys.SMC, a.state.atc, x.card.now.base), [8]byte(pin("98765")), "")
	}
	fill := func(dol []byte) []byte {
		entries, _ := emv.ParseDOL(dol)
		return emv.Fill(entries, func(t tlv.Tag) []byte {
			switch t {
			case tagIssuerAuth:
				a := x.card.now.app
				mac := a.Version.ARPC2(a.keys.AC, a.state.atc, x.card.now.ac, [4]byte{0, 0x80}, nil)
				return append(mac[:], 0, 0x80, 0, 0)
			case tagARC:
				return []byte("00")
			case tagCurrency:
				return []byte{0x09, 0x78}
			case tagTTQ:
				return []byte{0x26, 0x80, 0, 0}
			}
			return nil
		})
	}
	sel := func(i int) func() []byte {
		return func() []byte { return capdu(0, insSelect, 4, 0, x.card.apps[i].AID, 0) }
	}
	ppse := func() []byte { return capdu(0, insSelect, 4, 0, []byte(namePPSE), 0) }
	gpo := func() []byte {
		return capdu(0x80, insGetOptions, 0, 0, tlv.Append(nil, tagCommand, fill(x.card.now.here().PDOL)...), 0)
	}
	ac := func(kind byte) func() []byte {
		return func() []byte {
			dol := x.card.now.app.CDOL1
			if x.card.now.state == online {
				dol = x.card.now.app.CDOL2
			}
			return capdu(0x80, insGenerateAC, kind, 0, fill(dol), 0)
		}
	}
	verify := func(p string) func() []byte {
		return func() []byte { return capdu(0, insVerify, 0, 0x80, pin(p)) }
	}
	issuer := func(ins, p1, p2 byte, data func() []byte) func() []byte {
		return func() []byte {
			var d []byte
			if data != nil {
				d = data()
			}
			return signed([4]byte{0x84, ins, p1, p2}, d)
		}
	}
	record := func() []byte { return []byte{0x70, 0x05, 0x5F, 0x20, 0x02, 'A', '/'} }
	flows := map[string][]func() []byte{
		"debit":          {sel(0), gpo, verify("1111"), verify("1234"), ac(cidARQC | p1CDA), issuer(insPINChange, 0, 0, nil), ac(cidTC | p1CDA), issuer(insPINChange, 0, 2, newPIN)},
		"block":          {sel(0), gpo, ac(cidARQC), issuer(insApplicationBlock, 0, 0, nil), ac(cidTC), sel(0), gpo, ac(cidARQC), issuer(insApplicationUnblock, 0, 0, nil), sel(0)},
		"record":         {sel(0), gpo, ac(cidARQC), issuer(insUpdateRecord, 1, 1<<3|4, record), ac(cidTC)},
		"card block":     {sel(0), gpo, ac(cidARQC), issuer(insCardBlock, 0, 0, nil), sel(1)},
		"PIN blocked":    {sel(1), gpo, verify("1111"), verify("1111"), verify("1111"), verify("1234"), ac(cidTC)},
		"offline":        {sel(0), gpo, ac(cidARQC), ac(cidTC), sel(0), gpo, ac(cidTC | p1CDA), sel(0), gpo, ac(cidAAC)},
		"kernel 2 style": {ppse, sel(0), gpo, ac(cidARQC | p1CDA)},
		"kernel 3 style": {ppse, sel(1), gpo, sel(1), gpo},
	}
	cuts := 0
	for name, flow := range flows {
		t.Run(name, func(t *testing.T) {
			x.t = t
			for at := range flow {
				for cut := 0; ; cut++ {
					x.another()
					for _, f := range flow[:at] {
						x.send(f(), -1)
					}
					if x.send(flow[at](), cut) != nil {
						break // the power lasted until the answer
					}
					cuts++
					if x.card.blocked {
						continue
					}
					for _, f := range []func() []byte{sel(0), gpo, ac(cidARQC)} {
						x.send(f(), -1)
					}
					x.hard(x.card.now.ac != [8]byte{}, "there is no cryptogram after the power cut")
				}
			}
		})
	}
	require.Greater(t, cuts, 100)
	t.Logf("%d power cuts", cuts)
}

// FuzzAPDU sends any commands in any order: [length, command]... What must hold of the
// card holds; spec-tests fuzzes the same through WebAssembly.
func FuzzAPDU(f *testing.F) {
	x := newTerminal(f, 1)
	for _, flow := range []string{
		"00A404000E315041592E5359532E444446303100 00B2010C00 00B2040C00 00A404000E325041592E5359532E444446303100 00A4040005F05353504500 00A4040205F05353504500",
		"00A4040007F053535045010100 80A800000683040276097800 00B2011400 80CA9F3600 0084000000 0020008008241234FFFFFFFFFF 00880000041122334400",
		"00A4040007F053535045010100 80A800000683040276097800 80AE90002B000000001000000000000000027600000000000978261123001122334422" + "1F0000000000000000000000" + "00",
		"00A4040007F053535046010100 80A8000002830000 80AE00001D000000001000000000000000027600000000000978261123001122334400 8424000008000000000000000000",
		"00A404000E325041592E5359532E444446303100 00A4040007F053535045010100 80A800001283102600000000000000100002761122334400 80EA0000041122334400 802A8E80040000004200",
	} {
		var in []byte
		for _, c := range strings.Fields(flow) {
			b, err := hex.DecodeString(c)
			require.NoError(f, err)
			in = append(append(in, byte(len(b))), b...)
		}
		f.Add(in)
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		x.t = t
		x.another()
		x.trace = nil
		for n := 0; len(in) > 0 && n < 50; n++ {
			size := min(int(in[0]), len(in)-1)
			if c := in[1 : 1+size]; size > 0 {
				x.send(c, -1)
			}
			in = in[1+size:]
		}
	})
}
