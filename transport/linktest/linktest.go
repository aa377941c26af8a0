// Package linktest is the conformance test that every transport.Link passes: a
// link's own test makes connected pairs and hands them to Run.
//
//	func TestMem(t *testing.T) {
//		linktest.Run(t, func(t *testing.T) (controller, target transport.Link) {
//			return transport.Mem()
//		})
//	}
//
// It holds what is common to all links of the ISO/IEC 7816-3 kind: the target
// answers one Block with one Block. It is about the contract of transport.Link,
// not about APDUs: the card of the tests echoes.
package linktest

import (
	"context"
	"encoding/binary"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/transport"
)

// patience is how long a test waits for something that must happen.
const patience = 10 * time.Second

// coldATR is what the card of the tests answers to a reset: T=0 and T=1 offered.
var coldATR = []byte{0x3B, 0x80, 0x80, 0x01, 0x01}

// Run runs the conformance test on pairs of ends that pair makes: connected to
// each other, not open, and fresh for each call.
func Run(t *testing.T, pair func(t *testing.T) (controller, target transport.Link)) {
	run(t, transport.Block, pair, []test{
		{"power on gives the ATR", powerOn},
		{"resets are answered each time", resets},
		{"power off is not answered", powerOff},
		{"blocks of every length arrive whole", sizes},
		{"a block of a wrong length is refused and harms nothing", wrongSizes},
		{"many exchanges stay in order", order},
		{"a receiver may send", pingPong},
		{"the sender's buffer is free after Send", reuse},
		{"concurrent senders get all their answers", concurrent},
		{"a kind goes one way only", direction},
		{"removed and inserted", removed},
		{"the target end closes and opens", targetLeaves},
		{"the controller end closes and opens", controllerLeaves},
		{"a closed end refuses", closed},
		{"the context closes", contextCloses},
		{"packets pass beside blocks", packets},
	})
}

// RunPackets is Run for links that carry packets and nothing else: the target
// answers one Packet with one Packet.
func RunPackets(t *testing.T, pair func(t *testing.T) (controller, target transport.Link)) {
	run(t, transport.Packet, pair, []test{
		{"packets of every length arrive whole", sizes},
		{"a packet of a wrong length is refused and harms nothing", wrongSizes},
		{"many exchanges stay in order", order},
		{"a receiver may send", pingPong},
		{"the sender's buffer is free after Send", reuse},
		{"concurrent senders get all their answers", concurrent},
		{"a kind goes one way only, a block none", noBlocks},
		{"the target end closes and opens", targetLeaves},
		{"the controller end closes and opens", controllerLeaves},
		{"a closed end refuses", closed},
		{"the context closes", contextCloses},
	})
}

type test struct {
	name string
	run  func(t *testing.T, b *bench)
}

func run(t *testing.T, kind transport.Kind, pair func(t *testing.T) (controller, target transport.Link), tests []test) {
	for _, c := range tests {
		t.Run(c.name, func(t *testing.T) {
			b := &bench{t: t, kind: kind, term: newTerminal()}
			b.controller, b.target = pair(t)
			b.card = &card{t: t, link: b.target}
			t.Cleanup(func() { b.controller.Close(); b.target.Close() })
			c.run(t, b)
		})
	}
}

// bench is one pair under test.
type bench struct {
	t                  *testing.T
	kind               transport.Kind // of exchanges: Block or Packet
	controller, target transport.Link
	term               *terminal
	card               *card
}

// open opens both ends and waits until the terminal has seen the card.
func (b *bench) open() {
	b.t.Helper()
	require.NoError(b.t, b.controller.Open(context.Background(), b.term))
	require.NoError(b.t, b.target.Open(context.Background(), b.card))
	b.term.expect(b.t, transport.Inserted)
}

// echo sends one block and demands it back.
func (b *bench) echo(p []byte) {
	b.t.Helper()
	require.NoError(b.t, b.controller.Send(b.kind, p))
	require.Equal(b.t, p, b.term.expect(b.t, b.kind))
}

// limits are the bounds of what Send of l takes.
func (b *bench) limits(l transport.Link) (lo, hi int) {
	if b.kind == transport.Packet {
		return 1, l.(transport.PacketCarrier).PacketMTU()
	}
	return transport.Limits(l)
}

// frame is one frame that arrived.
type frame struct {
	k transport.Kind
	p []byte
}

// terminal is the controller's Receiver: it keeps what arrives.
type terminal struct {
	frames chan frame
	busy   atomic.Bool
	hook   func(k transport.Kind, p []byte) // instead of keeping
}

func newTerminal() *terminal { return &terminal{frames: make(chan frame, 8192)} }

func (r *terminal) Frame(k transport.Kind, p []byte) {
	if !r.busy.CompareAndSwap(false, true) {
		panic("linktest: the controller's Receiver was called by two goroutines at once")
	}
	defer r.busy.Store(false)
	if k == transport.Packet && len(p) == 0 {
		return // the other end is another one; Removed says so, too
	}
	if r.hook != nil {
		r.hook(k, p)
		return
	}
	r.frames <- frame{k, append([]byte{}, p...)}
}

// expect waits for the next frame, which must be of kind k.
func (r *terminal) expect(t *testing.T, k transport.Kind) []byte {
	t.Helper()
	select {
	case f := <-r.frames:
		require.Equal(t, k.String(), f.k.String(), "kind of the frame that arrived")
		return f.p
	case <-time.After(patience):
		require.FailNow(t, "nothing arrived", "expected: %s", k)
		return nil
	}
}

// nothing demands that no frame has arrived.
func (r *terminal) nothing(t *testing.T) {
	t.Helper()
	select {
	case f := <-r.frames:
		require.FailNow(t, "unexpected frame", "%s % X", f.k, f.p)
	default:
	}
}

// card is the target's Receiver: it answers resets with an ATR and echoes.
type card struct {
	t    *testing.T
	link transport.Link
	busy atomic.Bool

	mu   sync.Mutex
	seen map[transport.Kind]int
}

func (c *card) Frame(k transport.Kind, p []byte) {
	if !c.busy.CompareAndSwap(false, true) {
		panic("linktest: the target's Receiver was called by two goroutines at once")
	}
	defer c.busy.Store(false)
	c.mu.Lock()
	if c.seen == nil {
		c.seen = map[transport.Kind]int{}
	}
	c.seen[k]++
	c.mu.Unlock()
	// What cannot be delivered (a peer that has just left) is not the card's
	// business; the tests look at what arrives.
	switch k {
	case transport.PowerOn, transport.Reset, transport.GetATR:
		_ = c.link.Send(transport.ATR, coldATR)
	case transport.Block:
		_ = c.link.Send(transport.Block, p)
	case transport.Packet:
		if len(p) > 0 {
			_ = c.link.Send(transport.Packet, p)
		}
	}
}

func (c *card) count(k transport.Kind) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.seen[k]
}

func (c *card) eventually(k transport.Kind, n int) {
	c.t.Helper()
	require.Eventually(c.t, func() bool { return c.count(k) >= n }, patience, time.Millisecond,
		"the card should see %q %d times", k, n)
}

func powerOn(t *testing.T, b *bench) {
	b.open()
	require.NoError(t, b.controller.Send(transport.PowerOn, nil))
	require.Equal(t, coldATR, b.term.expect(t, transport.ATR))
	b.card.eventually(transport.PowerOn, 1)
	require.NoError(t, b.controller.Send(transport.GetATR, nil))
	require.Equal(t, coldATR, b.term.expect(t, transport.ATR))
	b.echo([]byte{0x00, 0xA4, 0x00, 0x04, 0x02, 0x3F, 0x00})
}

func resets(t *testing.T, b *bench) {
	b.open()
	for i := range 5 {
		require.NoError(t, b.controller.Send(transport.PowerOn, nil))
		require.Equal(t, coldATR, b.term.expect(t, transport.ATR))
		for range 3 {
			require.NoError(t, b.controller.Send(transport.Reset, nil))
			require.Equal(t, coldATR, b.term.expect(t, transport.ATR))
		}
		b.card.eventually(transport.PowerOn, i+1)
		b.card.eventually(transport.Reset, 3*(i+1))
	}
}

func powerOff(t *testing.T, b *bench) {
	b.open()
	require.NoError(t, b.controller.Send(transport.PowerOff, nil))
	b.card.eventually(transport.PowerOff, 1)
	b.term.nothing(t)
	require.NoError(t, b.controller.Send(transport.PowerOn, nil))
	require.Equal(t, coldATR, b.term.expect(t, transport.ATR))
}

func sizes(t *testing.T, b *bench) {
	b.open()
	lo, hi := b.limits(b.controller)
	_, answer := b.limits(b.target)
	hi = min(hi, answer)
	for _, n := range []int{lo, 1, 2, 3, 4, 5, 127, 128, 254, 255, 256, 257, 258, 1023, 1024, 4095, 4096, 4097, 32767, 32768, 65534, 65535, 65536, hi - 1, hi} {
		if n < lo || n > hi {
			continue
		}
		p := make([]byte, n)
		for i := range p {
			p[i] = byte(i*7 + i>>8 + n)
		}
		b.echo(p)
	}
}

func wrongSizes(t *testing.T, b *bench) {
	b.open()
	lo, hi := b.limits(b.controller)
	require.LessOrEqual(t, hi, transport.MaxFrame)
	require.ErrorIs(t, b.controller.Send(b.kind, make([]byte, hi+1)), transport.ErrTooLong)
	require.ErrorIs(t, b.controller.Send(b.kind, make([]byte, 1<<20)), transport.ErrTooLong)
	if lo > 0 {
		require.ErrorIs(t, b.controller.Send(b.kind, make([]byte, lo-1)), transport.ErrTooShort)
	}
	_, hi = b.limits(b.target)
	require.ErrorIs(t, b.target.Send(b.kind, make([]byte, hi+1)), transport.ErrTooLong)
	b.echo([]byte("still here"))
	require.Equal(t, 1, b.card.count(b.kind))
}

func order(_ *testing.T, b *bench) {
	b.open()
	p := make([]byte, 8)
	for i := range 1000 {
		binary.BigEndian.PutUint64(p, uint64(i))
		b.echo(p)
	}
}

func pingPong(t *testing.T, b *bench) {
	const rounds = 100
	done := make(chan struct{})
	inserted := make(chan struct{}, 1)
	n := 0
	b.term.hook = func(k transport.Kind, p []byte) {
		switch k {
		case transport.Inserted:
			inserted <- struct{}{}
		case b.kind:
			if n++; n == rounds {
				close(done)
				return
			}
			if err := b.controller.Send(b.kind, p); err != nil {
				t.Errorf("Send from within Frame: %v", err)
			}
		}
	}
	require.NoError(t, b.controller.Open(context.Background(), b.term))
	require.NoError(t, b.target.Open(context.Background(), b.card))
	wait(t, inserted, "the card to be seen")
	require.NoError(t, b.controller.Send(b.kind, []byte("ping")))
	wait(t, done, "the last round")
	b.card.eventually(b.kind, rounds)
}

func wait(t *testing.T, ch <-chan struct{}, what string) {
	t.Helper()
	select {
	case <-ch:
	case <-time.After(patience):
		require.FailNow(t, "waited in vain for "+what)
	}
}

func reuse(t *testing.T, b *bench) {
	b.open()
	p := []byte("original")
	require.NoError(t, b.controller.Send(b.kind, p))
	copy(p, "trampled")
	require.Equal(t, "original", string(b.term.expect(t, b.kind)))
}

func concurrent(t *testing.T, b *bench) {
	const senders, each = 8, 100
	b.open()
	var wg sync.WaitGroup
	for s := range senders {
		wg.Go(func() {
			p := make([]byte, 4)
			for i := range each {
				binary.BigEndian.PutUint16(p, uint16(s))
				binary.BigEndian.PutUint16(p[2:], uint16(i))
				if err := b.controller.Send(b.kind, p); err != nil {
					t.Errorf("sender %d: %v", s, err)
				}
			}
		})
	}
	wg.Wait()
	next := map[uint16]uint16{}
	for range senders * each {
		p := b.term.expect(t, b.kind)
		require.Len(t, p, 4)
		s, i := binary.BigEndian.Uint16(p), binary.BigEndian.Uint16(p[2:])
		require.Equal(t, next[s], i, "answers of sender %d in order", s)
		next[s]++
	}
	b.term.nothing(t)
}

func direction(t *testing.T, b *bench) {
	b.open()
	for _, k := range []transport.Kind{transport.ATR, transport.Removed, transport.Inserted, transport.Kind(200)} {
		require.ErrorIs(t, b.controller.Send(k, nil), transport.ErrDirection, k.String())
	}
	for _, k := range []transport.Kind{transport.PowerOn, transport.PowerOff, transport.Reset, transport.GetATR, transport.Kind(200)} {
		require.ErrorIs(t, b.target.Send(k, nil), transport.ErrDirection, k.String())
	}
	b.echo([]byte("still here"))
}

func noBlocks(t *testing.T, b *bench) {
	b.open()
	for _, k := range []transport.Kind{transport.Block, transport.ATR, transport.Removed, transport.Inserted, transport.Kind(200)} {
		require.ErrorIs(t, b.controller.Send(k, []byte{1}), transport.ErrDirection, k.String())
	}
	for _, k := range []transport.Kind{transport.Block, transport.PowerOn, transport.PowerOff, transport.Reset, transport.GetATR, transport.Kind(200)} {
		require.ErrorIs(t, b.target.Send(k, []byte{1}), transport.ErrDirection, k.String())
	}
	b.echo([]byte("still here"))
}

func removed(t *testing.T, b *bench) {
	b.open()
	for i := range 3 {
		require.NoError(t, b.target.Send(transport.Removed, nil))
		require.NoError(t, b.target.Send(transport.Removed, nil), "a second time does nothing")
		b.term.expect(t, transport.Removed)
		require.ErrorIs(t, b.controller.Send(transport.Block, []byte{1, 2}), transport.ErrNoPeer)
		require.ErrorIs(t, b.controller.Send(transport.PowerOn, nil), transport.ErrNoPeer)
		require.ErrorIs(t, b.target.Send(transport.Block, []byte{1, 2}), transport.ErrNoPeer)
		require.NoError(t, b.target.Send(transport.Inserted, nil))
		require.NoError(t, b.target.Send(transport.Inserted, nil), "a second time does nothing")
		b.term.expect(t, transport.Inserted)
		require.NoError(t, b.controller.Send(transport.PowerOn, nil))
		require.Equal(t, coldATR, b.term.expect(t, transport.ATR))
		b.echo(fmt.Append(nil, "round ", i))
	}
	b.term.nothing(t)
}

func targetLeaves(t *testing.T, b *bench) {
	b.open()
	for i := range 3 {
		b.echo(fmt.Append(nil, "round ", i))
		require.NoError(t, b.target.Close())
		b.term.expect(t, transport.Removed)
		require.ErrorIs(t, b.controller.Send(b.kind, []byte{1, 2}), transport.ErrNoPeer)
		require.NoError(t, b.target.Open(context.Background(), b.card))
		b.term.expect(t, transport.Inserted)
	}
	b.echo([]byte("again"))
}

func controllerLeaves(t *testing.T, b *bench) {
	b.open()
	for i := range 3 {
		b.echo(fmt.Append(nil, "round ", i))
		require.NoError(t, b.controller.Close())
		b.card.eventually(transport.PowerOff, i+1)
		require.ErrorIs(t, b.target.Send(b.kind, []byte{1, 2}), transport.ErrNoPeer)
		require.NoError(t, b.controller.Open(context.Background(), b.term))
		b.term.expect(t, transport.Inserted)
	}
	b.echo([]byte("again"))
}

func closed(t *testing.T, b *bench) {
	require.ErrorIs(t, b.controller.Send(transport.PowerOn, nil), transport.ErrClosed, "before Open")
	require.ErrorIs(t, b.target.Send(b.kind, coldATR), transport.ErrClosed, "before Open")
	require.NoError(t, b.controller.Close(), "before Open")
	b.open()
	require.ErrorIs(t, b.controller.Open(context.Background(), b.term), transport.ErrOpen)
	require.ErrorIs(t, b.target.Open(context.Background(), b.card), transport.ErrOpen)
	b.echo([]byte("still here"))
	for range 2 {
		require.NoError(t, b.controller.Close())
		require.NoError(t, b.target.Close())
	}
	require.ErrorIs(t, b.controller.Send(transport.PowerOn, nil), transport.ErrClosed)
	require.ErrorIs(t, b.controller.Send(b.kind, []byte{1, 2}), transport.ErrClosed)
	require.ErrorIs(t, b.target.Send(b.kind, []byte{1, 2}), transport.ErrClosed)
	if b.kind == transport.Block {
		require.ErrorIs(t, b.target.Send(transport.Removed, nil), transport.ErrClosed)
	}
	require.NotEmpty(t, b.controller.String())
	require.NotEmpty(t, b.target.String())
}

func contextCloses(t *testing.T, b *bench) {
	ctx, cancel := context.WithCancel(context.Background())
	require.NoError(t, b.controller.Open(context.Background(), b.term))
	require.NoError(t, b.target.Open(ctx, b.card))
	b.term.expect(t, transport.Inserted)
	cancel()
	b.term.expect(t, transport.Removed)
	require.ErrorIs(t, b.target.Send(b.kind, coldATR), transport.ErrClosed)
	require.NoError(t, b.target.Open(context.Background(), b.card))
	b.term.expect(t, transport.Inserted)
	b.echo([]byte("again"))
}

// packets is for links that are PacketCarriers; others refuse packets.
func packets(t *testing.T, b *bench) {
	b.open()
	carrier, ok := b.controller.(transport.PacketCarrier)
	if !ok {
		require.ErrorIs(t, b.controller.Send(transport.Packet, []byte{1}), transport.ErrDirection)
		require.ErrorIs(t, b.target.Send(transport.Packet, []byte{1}), transport.ErrDirection)
		return
	}
	require.Implements(t, (*transport.PacketCarrier)(nil), b.target)
	hi := min(carrier.PacketMTU(), b.target.(transport.PacketCarrier).PacketMTU())
	require.ErrorIs(t, b.controller.Send(transport.Packet, nil), transport.ErrTooShort)
	require.ErrorIs(t, b.controller.Send(transport.Packet, make([]byte, hi+1)), transport.ErrTooLong)
	for _, n := range []int{1, 2, 3, 127, 128, 253, 254, 255, 256, 257, 300, 1024, hi - 1, hi} {
		if n < 1 || n > hi {
			continue
		}
		p := make([]byte, n)
		for i := range p {
			p[i] = byte(i*5 + n)
		}
		require.NoError(t, b.controller.Send(transport.Packet, p))
		require.Equal(t, p, b.term.expect(t, transport.Packet))
		b.echo([]byte{0x00, 0xB0, byte(n >> 8), byte(n), 0x00})
	}
	// Many at once arrive in order, with commands among them.
	const many = 200
	for i := range many {
		require.NoError(t, b.controller.Send(transport.Packet, binary.BigEndian.AppendUint32(make([]byte, i%min(hi-4, 90)), uint32(i))))
		if i%10 == 0 {
			require.NoError(t, b.controller.Send(transport.Block, []byte{0x00, 0xB2, byte(i), 0x04, 0x00}))
		}
	}
	blocks := 0
	for i := 0; i < many; {
		select {
		case f := <-b.term.frames:
			if f.k == transport.Block {
				require.Equal(t, []byte{0x00, 0xB2, byte(10 * blocks), 0x04, 0x00}, f.p)
				blocks++
				continue
			}
			require.Equal(t, transport.Packet.String(), f.k.String())
			require.Equal(t, uint32(i), binary.BigEndian.Uint32(f.p[len(f.p)-4:]))
			i++
		case <-time.After(patience):
			require.FailNow(t, "not all packets arrived", "%d of %d", i, many)
		}
	}
	for ; blocks < many/10; blocks++ {
		require.Equal(t, []byte{0x00, 0xB2, byte(10 * blocks), 0x04, 0x00}, b.term.expect(t, transport.Block))
	}
}
