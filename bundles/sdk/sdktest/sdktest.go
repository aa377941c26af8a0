// Package sdktest runs a bundle natively under go test, on a platform that is
// kept in memory: NVM with transactions, a clock that moves when told to, random
// bytes by seed, and records of what the bundle logged and told as events.
//
//	test ──hex──> Card ──> sdk.Bundle ──> App
//	                 └──────── Host <──────┘
package sdktest

import (
	"bytes"
	"encoding/hex"
	"io"
	"math/rand"
	"os"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/sspemu/sspemu/bundles/sdk"
	"github.com/sspemu/sspemu/internal/persona"
)

// Card is an App on a platform in memory. It does not need to be closed.
type Card struct {
	t      testing.TB
	make   func() sdk.App
	bundle *sdk.Bundle
	host   memory

	Class int // SSPClass of the platform

	pipes map[uint64]*Pipe

	Logs   []string // lines that the bundle logged, oldest first
	Events []Event  // events that the bundle told, oldest first
}

// Event is what a bundle told with sdk.Event.
type Event struct {
	Name string
	Data []byte
}

// New makes a card of the App that make gives; make is called again for every
// power cycle and must give a fresh value each time. Call Personalise or
// PowerOn next.
func New(t testing.TB, make func() sdk.App) *Card {
	c := &Card{t: t, make: make}
	c.host = memory{card: c, committed: map[string][]byte{}, random: rand.New(rand.NewSource(1))}
	c.fresh()
	return c
}

// Bundle is the instance under the card, for tests of the entry points
// themselves. What it writes is not committed.
func (c *Card) Bundle() *sdk.Bundle { return c.bundle }

// Personalise wipes the NVM, hands doc (CBOR, see package persona) to the App
// and powers the card on. The error is the *sdk.PersonaError or sdk.Error that
// refused it; NVM is empty then.
func (c *Card) Personalise(doc []byte) error {
	c.t.Helper()
	c.host.committed = map[string][]byte{}
	c.fresh()
	if err := c.bundle.Personalise(doc); err != nil {
		c.host.drop()
		return err
	}
	c.host.Commit()
	c.PowerOn()
	return nil
}

// PersonaliseYAML is Personalise with a persona as people write it, checked
// against the JSON Schema (nil: none) as the platform does.
func (c *Card) PersonaliseYAML(yaml, schema []byte) error {
	c.t.Helper()
	doc, err := persona.Convert(yaml, "persona", schema)
	if err != nil {
		return err
	}
	return c.Personalise(doc)
}

// PersonaliseFiles is PersonaliseYAML with the files of a bundle directory.
func (c *Card) PersonaliseFiles(yamlFile, schemaFile string) error {
	c.t.Helper()
	yaml, err := os.ReadFile(yamlFile)
	if err != nil {
		return err
	}
	schema, err := os.ReadFile(schemaFile)
	if err != nil {
		return err
	}
	return c.PersonaliseYAML(yaml, schema)
}

// PowerOn starts a new instance on what is committed in NVM. It fails the test
// when the App refuses to start.
func (c *Card) PowerOn() {
	c.t.Helper()
	c.fresh()
	if r := c.bundle.Init(sdk.ReasonStart); r != 0 {
		c.t.Fatalf("sdktest: Init: %v; log: %q", sdk.Error(-r), c.Logs)
	}
	c.host.Commit()
}

func (c *Card) fresh() {
	c.host.drop()
	c.host.alarm = 0
	c.pipes = map[uint64]*Pipe{}
	c.bundle = sdk.NewBundle(c.make(), &c.host)
}

// Reset tells the App that the terminal reset the card (SignalReset).
func (c *Card) Reset() { c.Signal(sdk.SignalReset) }

// Signal hands s to the App and commits.
func (c *Card) Signal(s sdk.Signal) {
	c.bundle.Signal(s)
	c.host.Commit()
}

// Send answers one command APDU with data and status word and commits. The
// answer is the caller's to keep.
func (c *Card) Send(capdu []byte) []byte {
	c.t.Helper()
	out, err := c.bundle.Message(sdk.GateAPDU, 0, 0x10, capdu)
	if err != nil {
		c.t.Fatalf("sdktest: APDU %X: %v; log: %q", capdu, err, c.Logs)
	}
	c.host.Commit()
	return bytes.Clone(out)
}

// Transmit sends a command APDU written in hexadecimal (spaces do not matter)
// and gives the response in upper case without spaces.
func (c *Card) Transmit(capdu string) string {
	c.t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(capdu, " ", ""))
	if err != nil {
		c.t.Fatalf("sdktest: APDU %q: %v", capdu, err)
	}
	return strings.ToUpper(hex.EncodeToString(c.Send(b)))
}

// CutPowerDuring sends a command APDU during which the power goes off: only what
// the App committed itself is kept. Then the card is powered on again.
func (c *Card) CutPowerDuring(capdu []byte) {
	c.t.Helper()
	_, _ = c.bundle.Message(sdk.GateAPDU, 0, 0x10, capdu)
	c.PowerOn()
}

// Advance moves the clock and gives SignalTimeOut when the alarm of the bundle
// is due on the way.
func (c *Card) Advance(d time.Duration) {
	end := c.host.now + d.Milliseconds()
	for c.host.alarm != 0 && c.host.alarm <= end {
		c.host.now, c.host.alarm = max(c.host.now, c.host.alarm), 0
		c.Signal(sdk.SignalTimeOut)
	}
	c.host.now = end
}

// Quota limits keys and values together to n bytes; 0 is no limit.
func (c *Card) Quota(n int) { c.host.quota = n }

// UseRandom makes r the source of random bytes, in place of one with a fixed
// seed.
func (c *Card) UseRandom(r io.Reader) { c.host.random = r }

// NVM is a copy of what is committed, for a test to look at.
func (c *Card) NVM() map[string][]byte {
	m := make(map[string][]byte, len(c.host.committed))
	for k, v := range c.host.committed {
		m[k] = bytes.Clone(v)
	}
	return m
}

// memory is the sdk.Host of a Card.
type memory struct {
	Cryptography
	card      *Card
	committed map[string][]byte
	open      map[string][]byte // what the transaction changed; nil value: deleted
	random    io.Reader
	now       int64
	alarm     int64 // tick of the next TIME_OUT, 0: none
	quota     int
}

func (h *memory) drop() { h.open = nil }

func (h *memory) Time() int64 { return h.now }

func (h *memory) Commit() int32 {
	for k, v := range h.open {
		if v == nil {
			delete(h.committed, k)
		} else {
			h.committed[k] = v
		}
	}
	h.open = nil
	return 0
}

func (h *memory) Rollback() int32 { h.drop(); return 0 }

func (h *memory) WaitSignal(ticks int64) {
	h.alarm = 0
	if ticks > 0 {
		h.alarm = h.now + ticks
	}
}

func (h *memory) get(key string) ([]byte, bool) {
	if v, ok := h.open[key]; ok {
		return v, v != nil
	}
	v, ok := h.committed[key]
	return v, ok
}

func (h *memory) set(key string, val []byte) {
	if h.open == nil {
		h.open = map[string][]byte{}
	}
	h.open[key] = val
}

func fail(e sdk.Error) int32 { return -int32(e) }

func (h *memory) NVMGet(key string, off int, buf []byte) int32 {
	v, ok := h.get(key)
	if !ok {
		return fail(sdk.ErrUnknownID)
	}
	if off < 0 {
		return fail(sdk.ErrIllegalParameter)
	}
	copy(buf, v[min(off, len(v)):])
	return int32(len(v))
}

func (h *memory) NVMPut(key string, val []byte) int32 {
	if len(key) == 0 || len(key) > 255 {
		return fail(sdk.ErrIllegalParameter)
	}
	if h.quota > 0 && h.used(key)+len(key)+len(val) > h.quota {
		return fail(sdk.ErrNoSpace)
	}
	h.set(key, append([]byte{}, val...))
	return 0
}

// used counts keys and values but those of key.
func (h *memory) used(key string) (n int) {
	for _, k := range h.keys() {
		if k != key {
			v, _ := h.get(k)
			n += len(k) + len(v)
		}
	}
	return n
}

func (h *memory) keys() []string {
	var l []string
	for k := range h.committed {
		if _, ok := h.get(k); ok {
			l = append(l, k)
		}
	}
	for k, v := range h.open {
		if _, was := h.committed[k]; !was && v != nil {
			l = append(l, k)
		}
	}
	sort.Strings(l)
	return l
}

func (h *memory) NVMWrite(key string, off int, val []byte) int32 {
	v, ok := h.get(key)
	if !ok {
		return fail(sdk.ErrUnknownID)
	}
	if off < 0 || off+len(val) > len(v) {
		return fail(sdk.ErrIllegalParameter)
	}
	v = append([]byte{}, v...)
	copy(v[off:], val)
	h.set(key, v)
	return 0
}

func (h *memory) NVMDelete(key string) int32 {
	if _, ok := h.get(key); !ok {
		return fail(sdk.ErrUnknownID)
	}
	h.set(key, nil)
	return 0
}

func (h *memory) NVMNext(key string, buf []byte) int32 {
	for _, k := range h.keys() {
		if k > key {
			return int32(copy(buf, k))
		}
	}
	return 0
}

func (h *memory) Random(p []byte) {
	if _, err := io.ReadFull(h.random, p); err != nil {
		h.card.t.Fatalf("sdktest: random bytes: %v", err)
	}
}

func (h *memory) GenerateRSA(seed []byte, bits int, e uint32, dst []byte) int32 {
	if len(seed) == 0 {
		seed = make([]byte, 32)
		h.Random(seed)
	}
	return h.Cryptography.GenerateRSA(seed, bits, e, dst)
}

func (h *memory) Log(_ int32, msg string) { h.card.Logs = append(h.card.Logs, msg) }

func (h *memory) Event(name string, data []byte) {
	h.card.Events = append(h.card.Events, Event{name, bytes.Clone(data)})
}

func (h *memory) Class() int32 { return int32(h.card.Class) }
