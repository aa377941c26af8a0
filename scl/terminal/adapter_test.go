package terminal_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/internal/trace"
	"github.com/sspemu/sspemu/scl/terminal"
	"github.com/sspemu/sspemu/transport"
)

func TestExchange(t *testing.T) {
	p := newPlatform(nil)
	spb := &card{name: 1}
	p.Activate(t, spb)
	_, c := join(t, p)
	ctx := t.Context()

	atr, err := c.ATR(ctx)
	require.NoError(t, err)
	require.Equal(t, []byte{0x3B, 0x01, 1}, atr, "a driver polls it before it powers on")
	atr, err = c.PowerOn(ctx)
	require.NoError(t, err)
	require.Equal(t, []byte{0x3B, 0x01, 1}, atr)
	for _, capdu := range [][]byte{{0, 0xA4, 0, 0}, nil, {1}, make([]byte, 261), make([]byte, 65544), make([]byte, transport.MaxFrame-2)} {
		r, err := c.Transmit(ctx, capdu, nil)
		require.NoError(t, err)
		require.Equal(t, append(bytes.Clone(capdu), 0x90, 0x00), r)
	}
	_, err = c.Reset(ctx)
	require.NoError(t, err)
	require.NoError(t, c.PowerOff(ctx))
	require.NoError(t, c.PowerOff(ctx))
	r, err := c.Transmit(ctx, []byte{0, 0, 0, 0}, nil)
	require.NoError(t, err)
	require.Equal(t, []byte{0x6F, 0x00}, r, "no power")
	atr, err = c.ATR(ctx)
	require.NoError(t, err)
	require.Equal(t, []byte{0x3B, 0x01, 1}, atr)
	_, err = c.Reset(ctx) // without power: as power on
	require.NoError(t, err)
	require.Equal(t, 3, spb.colds)
	require.Equal(t, 1, spb.warms)
	_, err = c.Transmit(ctx, make([]byte, transport.MaxFrame+1), nil)
	require.ErrorIs(t, err, transport.ErrTooLong)
}

// TestServiceMisbehaves: whatever a service answers, the terminal gets a status word.
func TestServiceMisbehaves(t *testing.T) {
	for name, answer := range map[string][]byte{
		"nothing":             nil,
		"one octet":           {0x90},
		"longer than a frame": make([]byte, transport.MaxFrame+1),
		"longer than allowed": make([]byte, 300000),
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlatform(nil)
			p.Activate(t, &card{name: 1, do: func([]byte) []byte { return answer }})
			_, c := join(t, p)
			_, err := c.PowerOn(t.Context())
			require.NoError(t, err)
			r, err := c.Transmit(t.Context(), []byte{0, 0, 0, 0}, nil)
			require.NoError(t, err)
			require.Equal(t, []byte{0x6F, 0x00}, r)
		})
	}
	t.Run("no ATR", func(t *testing.T) {
		p := newPlatform(nil)
		p.Activate(t, &card{name: 1, noATR: true})
		_, c := join(t, p)
		_, err := c.PowerOn(t.Context())
		require.ErrorIs(t, err, terminal.ErrNoCard)
	})
}

func TestNoCard(t *testing.T) {
	p := newPlatform(nil)
	_, c := join(t, p)
	ctx := t.Context()
	s := &seen{}
	c.Notify(func(k transport.Kind) { s.Frame(k, nil) })
	for range 2 {
		_, err := c.PowerOn(ctx)
		require.ErrorIs(t, err, terminal.ErrNoCard)
		_, err = c.ATR(ctx)
		require.ErrorIs(t, err, terminal.ErrNoCard)
	}
	p.Activate(t, &card{name: 2})
	require.Equal(t, []transport.Kind{transport.Inserted}, s.take())
	atr, err := c.PowerOn(ctx)
	require.NoError(t, err)
	require.Equal(t, []byte{0x3B, 0x01, 2}, atr)
	p.Activate(t, nil)
	require.Equal(t, []transport.Kind{transport.Removed}, s.take())
	_, err = c.Transmit(ctx, []byte{0, 0, 0, 0}, nil)
	require.ErrorIs(t, err, terminal.ErrRemoved)
	_, err = c.PowerOn(ctx)
	require.ErrorIs(t, err, terminal.ErrNoCard)
}

// deaf is the target end of a link that delivers whatever it is told to, also
// what a well-behaved link would hold back.
type deaf struct {
	r    transport.Receiver
	sent seen
}

func (d *deaf) Open(_ context.Context, r transport.Receiver) error { d.r = r; return nil }
func (d *deaf) Send(k transport.Kind, p []byte) error              { d.sent.Frame(k, p); return nil }
func (d *deaf) Close() error                                       { return nil }
func (d *deaf) String() string                                     { return "deaf:" }

func TestFramesWithoutCard(t *testing.T) {
	p := newPlatform(nil)
	d := &deaf{}
	a, err := terminal.NewAdapter(p.n, d)
	require.NoError(t, err)
	require.NoError(t, a.Open(t.Context()))
	require.Equal(t, []transport.Kind{transport.Removed}, d.sent.take())
	for _, tt := range []struct {
		in   transport.Kind
		data []byte
		want []transport.Kind
	}{
		{transport.PowerOn, nil, []transport.Kind{transport.Removed}},
		{transport.Reset, nil, []transport.Kind{transport.Removed}},
		{transport.GetATR, nil, []transport.Kind{transport.Removed}},
		{transport.PowerOff, nil, nil},
		{transport.ATR, []byte{1}, nil},
		{transport.Removed, nil, nil},
		{transport.Inserted, nil, nil},
		{transport.Kind(99), []byte{1, 2}, nil},
	} {
		d.r.Frame(tt.in, tt.data)
		require.Equal(t, tt.want, d.sent.take(), tt.in)
	}
	d.r.Frame(transport.Block, nil)
	require.Equal(t, [][]byte{{0x6F, 0x00}}, d.sent.frames)
	d.sent.take()
	d.r.Frame(transport.Block, make([]byte, transport.MaxFrame+1))
	require.Equal(t, [][]byte{{0x67, 0x00}}, d.sent.frames)
	d.sent.take()

	require.NoError(t, a.Close())
	require.NoError(t, a.Close())
	p.Activate(t, &card{name: 1})
	require.Empty(t, d.sent.take(), "closed: told nothing any more")
	d.r.Frame(transport.PowerOn, nil)
	require.Equal(t, []transport.Kind{transport.Removed}, d.sent.take())
}

func TestSwitch(t *testing.T) {
	p := newPlatform(nil)
	first, second := &card{name: 1}, &card{name: 2}
	p.Activate(t, first)
	_, c := join(t, p)
	s := &seen{}
	c.Notify(func(k transport.Kind) { s.Frame(k, nil) })
	ctx := t.Context()
	_, err := c.PowerOn(ctx)
	require.NoError(t, err)
	for i, next := range []*card{second, first, second} {
		p.Activate(t, next)
		require.Equal(t, []transport.Kind{transport.Removed, transport.Inserted}, s.take())
		_, err = c.Transmit(ctx, []byte{0, 0, 0, 0}, nil)
		require.ErrorIs(t, err, terminal.ErrRemoved, i)
		atr, err := c.PowerOn(ctx)
		require.NoError(t, err)
		require.Equal(t, []byte{0x3B, 0x01, next.name}, atr)
		_, err = c.Transmit(ctx, []byte{0, 0, 0, 0}, nil)
		require.NoError(t, err)
	}
	p.Activate(t, nil)
	p.Activate(t, first)
	require.Equal(t, []transport.Kind{transport.Removed, transport.Inserted}, s.take())
}

// TestSwitchWhileUnpowered: the card also changes when it has no power.
func TestSwitchWhileUnpowered(t *testing.T) {
	p := newPlatform(nil)
	p.Activate(t, &card{name: 1})
	l, s := bare(t, p)
	p.Activate(t, &card{name: 2})
	require.Equal(t, []transport.Kind{transport.Removed, transport.Inserted}, s.take())
	require.NoError(t, l.Send(transport.GetATR, nil))
	require.Equal(t, [][]byte{{0x3B, 0x01, 2}}, s.frames)
}

// TestSwitchDuringCommand: the answer comes first, then the card leaves.
func TestSwitchDuringCommand(t *testing.T) {
	p := newPlatform(nil)
	second := &card{name: 2}
	p.Activate(t, &card{name: 1, do: func([]byte) []byte {
		p.activate(t, second) // inside the network: no lock
		return []byte{0x90, 0x00}
	}})
	l, s := bare(t, p)
	require.NoError(t, l.Send(transport.PowerOn, nil))
	s.take()
	require.NoError(t, l.Send(transport.Block, []byte{0, 0, 0, 0}))
	require.Equal(t, []byte{0x6F, 0x00}, s.frames[0])
	require.Equal(t, []transport.Kind{transport.Block, transport.Removed, transport.Inserted}, s.take())
}

// TestTwoTerminals: two links share the card; each has its own pipe session.
func TestTwoTerminals(t *testing.T) {
	p := newPlatform(nil)
	spb := &card{name: 1}
	p.Activate(t, spb)
	a, c := join(t, p)
	b, d := join(t, p)
	require.NotEqual(t, a.Host().UUID(), b.Host().UUID())
	require.Equal(t, "terminal mem: #2", b.Host().Name())
	for _, x := range []*terminal.Client{c, d} {
		_, err := x.PowerOn(t.Context())
		require.NoError(t, err)
	}
	require.NoError(t, d.PowerOff(t.Context()))
	r, err := c.Transmit(t.Context(), []byte{0, 0, 0, 0}, nil)
	require.NoError(t, err)
	require.Equal(t, []byte{0, 0, 0, 0, 0x90, 0}, r)
}

// TestManyTerminals drives several links from several goroutines while the
// active SPB changes; the race detector listens.
func TestManyTerminals(t *testing.T) {
	p := newPlatform(nil)
	cards := []*card{{name: 1}, {name: 2}}
	p.Activate(t, cards[0])
	var work sync.WaitGroup
	for i := range 4 {
		_, c := join(t, p)
		for j := range 2 {
			work.Go(func() {
				capdu, dst := []byte{0, 0xA4, byte(i), byte(j)}, make([]byte, 0, 16)
				want := append(bytes.Clone(capdu), 0x90, 0x00)
				answered := 0
				// On a busy machine the cards may change all through the first 300.
				for n := 0; n < 300 || answered == 0 && n < 100_000; n++ {
					r, err := c.Transmit(t.Context(), capdu, dst)
					switch {
					case err == nil && bytes.Equal(r, want):
						answered++
					case err == nil && bytes.Equal(r, []byte{0x6F, 0x00}),
						errors.Is(err, terminal.ErrRemoved), errors.Is(err, terminal.ErrNoCard):
						_, err = c.PowerOn(t.Context())
						if err != nil && !errors.Is(err, terminal.ErrNoCard) {
							t.Errorf("power on: %v", err)
						}
					default:
						t.Errorf("transmit: % X, %v", r, err)
					}
				}
				if answered == 0 {
					t.Error("no command was answered")
				}
			})
		}
	}
	work.Go(func() {
		for i := range 60 {
			p.Activate(t, cards[i%2])
		}
	})
	work.Wait()
}

// TestNextHostWithTheGate: two hosts with a UICC APDU gate; when the first leaves the
// adapter goes on with the other.
func TestNextHostWithTheGate(t *testing.T) {
	p := newPlatform(nil)
	p.Activate(t, &card{name: 1})
	first := p.spb
	p.n.Exclusive(func() {
		p.spb = nil
		h, err := p.n.Register("other", [16]byte{9}, 0)
		require.NoError(t, err)
		require.NoError(t, h.Publish(p.n.Profile().Gate.UICCAPDU, newGate(p, &card{name: 9})))
	})
	_, c := join(t, p)
	atr, err := c.PowerOn(t.Context())
	require.NoError(t, err)
	require.Equal(t, []byte{0x3B, 0x01, 1}, atr)
	p.n.Exclusive(func() { require.NoError(t, p.n.Deregister(first)) })
	atr, err = c.PowerOn(t.Context())
	require.NoError(t, err)
	require.Equal(t, []byte{0x3B, 0x01, 9}, atr)
}

type dialogue struct{ got []string }

func (d *dialogue) Emit(e *trace.Event) {
	d.got = append(d.got, fmt.Sprintf("%d %s %s % X %s", e.ID, e.Layer, e.Name, e.Data, e.Note))
}

// TestDialogue: one exchange, one correlation id, from the link to the gate and back.
func TestDialogue(t *testing.T) {
	tr := trace.New(nil)
	p := newPlatform(tr)
	p.Activate(t, &card{name: 1})
	_, c := join(t, p)
	_, err := c.PowerOn(t.Context())
	require.NoError(t, err)
	d := &dialogue{}
	remove := tr.Add(d)
	_, err = c.Transmit(t.Context(), []byte{0, 0xB0, 0, 0, 2}, nil)
	require.NoError(t, err)
	require.NoError(t, c.PowerOff(t.Context()))
	p.Activate(t, nil)
	remove()
	_, err = c.ATR(t.Context())
	require.ErrorIs(t, err, terminal.ErrNoCard)
	require.Equal(t, []string{
		"1 link block 00 B0 00 00 02 ",
		"1 scl packet 82 50 00 B0 00 00 02 EVT_C_APDU",
		"1 gate C-APDU 00 B0 00 00 02 case 2, channel 0, Nc 0, Ne 2",
		"1 gate R-APDU 00 B0 00 00 02 90 00 5 bytes, SW 9000",
		"1 scl packet 82 50 00 B0 00 00 02 90 00 EVT_R_APDU",
		"1 link block 00 B0 00 00 02 90 00 ",
		"2 link power off  ",
		"2 scl packet 82 61 EVT_END_OF_APDU_TRANSFER",
		"2 scl packet 82 04 ANY_CLOSE_PIPE",
		"2 scl packet 82 80 ANY_OK",
		"0 scl packet 81 15 02 ADM_NOTIFY_ALL_PIPE_CLEARED",
		"0 scl packet 81 80 ANY_OK",
		"0 scl packet 81 43 EVT_HOT_PLUG",
		"0 scl host  deregistered",
		"0 link removed  ",
	}, d.got)
}

func TestTransmitDoesNotAllocate(t *testing.T) {
	p := newPlatform(nil)
	p.Activate(t, &card{name: 1})
	_, c := join(t, p)
	ctx := t.Context()
	_, err := c.PowerOn(ctx)
	require.NoError(t, err)
	for _, size := range []int{5, 261, 65544} {
		capdu, dst := make([]byte, size), make([]byte, 0, size+2)
		require.Zero(t, testing.AllocsPerRun(20, func() { _, err = c.Transmit(ctx, capdu, dst) }), "%d octets", size)
		require.NoError(t, err)
	}
}

func BenchmarkTransmit(b *testing.B) {
	p := newPlatform(nil)
	p.Activate(b, &card{name: 1})
	_, c := join(b, p)
	ctx := context.Background()
	_, err := c.PowerOn(ctx)
	require.NoError(b, err)
	for _, size := range []int{5, 65544} {
		b.Run(fmt.Sprintf("%dB", size), func(b *testing.B) {
			capdu, dst := make([]byte, size), make([]byte, 0, size+2)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := c.Transmit(ctx, capdu, dst); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// FuzzFrames feeds an adapter with any frames; each Block gets an answer of a
// status word at least, and nothing panics.
func FuzzFrames(f *testing.F) {
	f.Add([]byte{1, 0, 0, 5, 0, 0xB0, 0, 0, 2})
	f.Fuzz(func(t *testing.T, b []byte) {
		p := newPlatform(nil)
		p.Activate(t, &card{name: 1})
		d := &deaf{}
		a, err := terminal.NewAdapter(p.n, d)
		require.NoError(t, err)
		require.NoError(t, a.Open(t.Context()))
		for len(b) >= 2 { // kind, length, data
			k, l := transport.Kind(b[0]), min(int(b[1]), len(b)-2)
			d.r.Frame(k, b[2:2+l])
			if k == transport.Block {
				require.Equal(t, transport.Block, d.sent.kinds[0])
				require.GreaterOrEqual(t, len(d.sent.frames[0]), 2)
			}
			d.sent.take()
			b = b[2+l:]
		}
		require.NoError(t, a.Close())
	})
}

// readsAnswers is a link whose terminal does not ask for the rest of an answer.
type readsAnswers struct{ transport.Link }

func (readsAnswers) WholeAnswers() bool { return true }

// TestWholeAnswers: on such a link 61xx does not reach the terminal, unless it asked
// for less than there is.
func TestWholeAnswers(t *testing.T) {
	long := bytes.Repeat([]byte{0xAB}, 600)
	p := newPlatform(nil)
	var asked []string
	left := 0
	p.Activate(t, &card{name: 1, do: func(in []byte) []byte {
		asked = append(asked, fmt.Sprintf("%X", in))
		more := func() []byte { // SW for what is left
			if left == 0 {
				return []byte{0x90, 0x00}
			}
			return []byte{0x61, byte(min(left, 256))}
		}
		switch in[1] {
		case 0xA4:
			if left = 600; len(in) == 5 { // with Le
				left -= 16
				return append(bytes.Clone(long[:16]), more()...)
			}
			return more()
		case 0xC0:
			n := min(left, 256)
			if in[4] != 0 {
				n = min(left, int(in[4]))
			}
			left -= n
			return append(bytes.Clone(long[:n]), more()...)
		}
		return []byte{0x69, 0x85}
	}})
	controller, target := transport.Mem()
	a, err := terminal.NewAdapter(p.n, readsAnswers{target})
	require.NoError(t, err)
	require.NoError(t, a.Open(t.Context()))
	c := terminal.NewClient(controller)
	require.NoError(t, c.Open(t.Context()))
	_, err = c.PowerOn(t.Context())
	require.NoError(t, err)

	r, err := c.Transmit(t.Context(), []byte{0x02, 0xA4, 0, 0}, nil)
	require.NoError(t, err)
	require.Equal(t, append(bytes.Clone(long[:256]), 0x61, 0x00), r, "a short command has short answers")
	require.Equal(t, []string{"02A40000", "02C0000000"}, asked)

	asked = nil
	extended := []byte{0x02, 0xA4, 0, 0, 0, 0, 1, 0xFF}
	r, err = c.Transmit(t.Context(), extended, nil)
	require.NoError(t, err)
	require.Equal(t, append(bytes.Clone(long), 0x90, 0x00), r)
	require.Equal(t, []string{"02C0000000", "02C0000000", "02C0000058"}, asked[1:])

	asked = nil
	_, err = c.Transmit(t.Context(), []byte{0xC1, 0xA4, 0, 0}, nil)
	require.NoError(t, err)
	require.Equal(t, "41C0000000", asked[1], "the same channel, in the class of GET RESPONSE")

	r, err = c.Transmit(t.Context(), []byte{0x00, 0xA4, 0, 0, 0x10}, nil) // with Le
	require.NoError(t, err)
	require.Equal(t, []byte{0x61, 0x00}, r[16:], "it asked for 16 bytes")
	r, err = c.Transmit(t.Context(), []byte{0x00, 0x12, 0, 0}, nil)
	require.NoError(t, err)
	require.Equal(t, []byte{0x69, 0x85}, r)
}
