package transport_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"math/bits"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/internal/trace"
	"github.com/sspemu/sspemu/transport"
	"github.com/sspemu/sspemu/transport/linktest"
)

// TestWrappersAreLinks: a wrapper that does nothing bad is as good as its link, at
// either end and around others.
func TestWrappersAreLinks(t *testing.T) {
	const c, d = transport.Controller, transport.Target
	soon := transport.Delays{Command: transport.Span{Most: 20 * time.Microsecond}}
	for name, wrap := range map[string]func(controller, target transport.Link) (transport.Link, transport.Link){
		"fault": func(l, m transport.Link) (transport.Link, transport.Link) {
			return transport.Fault(l, c, transport.Faults{}), transport.Fault(m, d, transport.Faults{Seed: 1})
		},
		"delay": func(l, m transport.Link) (transport.Link, transport.Link) {
			return transport.Delay(l, c, soon), transport.Delay(m, d, transport.Delays{})
		},
		"trace(fault(delay(link)))": func(l, m transport.Link) (transport.Link, transport.Link) {
			tr := trace.New(nil)
			tr.Add(trace.NewText(new(bytes.Buffer)))
			return transport.Trace(transport.Fault(transport.Delay(l, c, soon), c, transport.Faults{}), c, tr), transport.Trace(m, d, tr)
		},
	} {
		t.Run(name, func(t *testing.T) {
			linktest.Run(t, func(*testing.T) (controller, target transport.Link) { return wrap(transport.Mem()) })
		})
	}
}

// limited is a link for APDUs with bounds, whose terminal gets whole answers.
type limited struct{ transport.Link }

func (limited) Limits() (min, max int) { return 2, 100 }
func (limited) WholeAnswers() bool     { return true }
func (limited) Trouble() error         { return context.Canceled }

func TestWrappersKeepAbilities(t *testing.T) {
	for _, wrap := range []func(transport.Link) transport.Link{
		func(l transport.Link) transport.Link {
			return transport.Fault(l, transport.Controller, transport.Faults{})
		},
		func(l transport.Link) transport.Link {
			return transport.Delay(l, transport.Controller, transport.Delays{})
		},
		func(l transport.Link) transport.Link { return transport.Trace(l, transport.Controller, nil) },
	} {
		m, _ := transport.Mem()
		require.Equal(t, transport.MaxFrame, wrap(m).(transport.PacketCarrier).PacketMTU())
		l := wrap(limited{m})
		_, carries := l.(transport.PacketCarrier)
		require.False(t, carries)
		lo, hi := transport.Limits(l)
		require.Equal(t, []int{2, 100}, []int{lo, hi})
		require.True(t, l.(transport.WholeAnswers).WholeAnswers())
		require.Equal(t, context.Canceled, transport.Trouble(l))
	}
}

// sink keeps what arrives.
type sink struct {
	mu     sync.Mutex // packets that are late come in a goroutine of their own
	kinds  []transport.Kind
	frames [][]byte
	on     func(k transport.Kind, p []byte)
}

func (s *sink) Frame(k transport.Kind, p []byte) {
	s.mu.Lock()
	s.kinds = append(s.kinds, k)
	s.frames = append(s.frames, bytes.Clone(p))
	s.mu.Unlock()
	if s.on != nil {
		s.on(k, p)
	}
}

// through sends numbered frames through faults and gives what arrives.
func through(t *testing.T, f transport.Faults, k transport.Kind, n, size int, role transport.Role) [][]byte {
	c, d := transport.Mem()
	ends := []transport.Link{c, d}
	ends[role] = transport.Fault(ends[role], role, f)
	got := &sink{}
	require.NoError(t, ends[1].Open(t.Context(), got))
	require.NoError(t, ends[0].Open(t.Context(), &sink{}))
	for i := range n {
		require.NoError(t, ends[0].Send(k, binary.BigEndian.AppendUint32(make([]byte, size-4), uint32(i))))
	}
	require.NoError(t, ends[0].Close())
	got.mu.Lock()
	defer got.mu.Unlock()
	for i, k := range got.kinds {
		if k == transport.PowerOff {
			return got.frames[:i]
		}
	}
	return got.frames
}

func TestFaultsAreReplayed(t *testing.T) {
	f := transport.Faults{Seed: 7, Drop: 0.1, Duplicate: 0.1, BitErrors: 1e-3}
	first := through(t, f, transport.Block, 1000, 20, transport.Controller)
	require.Equal(t, first, through(t, f, transport.Block, 1000, 20, transport.Controller), "the same seed")
	require.Equal(t, first, through(t, f, transport.Block, 1000, 20, transport.Target), "the same at the other end")
	f.Seed++
	require.NotEqual(t, first, through(t, f, transport.Block, 1000, 20, transport.Controller))
}

func TestFaults(t *testing.T) {
	const n = 10_000
	count := func(frames [][]byte) map[uint32]int {
		m := map[uint32]int{}
		for _, p := range frames {
			m[binary.BigEndian.Uint32(p[len(p)-4:])]++
		}
		return m
	}
	got := count(through(t, transport.Faults{Drop: 0.1}, transport.Block, n, 8, transport.Controller))
	require.InDelta(t, 0.9*n, len(got), 100)
	double := 0
	for _, times := range count(through(t, transport.Faults{Duplicate: 0.1}, transport.Packet, n, 8, transport.Target)) {
		if times == 2 {
			double++
		}
	}
	require.InDelta(t, 0.1*n, double, 100)
	wrong := 0
	for i, p := range through(t, transport.Faults{BitErrors: 1e-3}, transport.Block, n, 104, transport.Controller) {
		for j, b := range append(make([]byte, 100), binary.BigEndian.AppendUint32(nil, uint32(i))...) {
			wrong += bits.OnesCount8(b ^ p[j])
		}
	}
	require.InDelta(t, 1e-3*8*104*n, wrong, 300)
	every := through(t, transport.Faults{BitErrors: 1}, transport.Block, 1, 4, transport.Controller)
	require.Equal(t, [][]byte{{0xFF, 0xFF, 0xFF, 0xFF}}, every)
	require.Len(t, through(t, transport.Faults{Cut: 81}, transport.Block, n, 8, transport.Controller), 10)
}

// TestReorder: packets change places with their neighbours; nothing is late in real
// time here.
func TestReorder(t *testing.T) {
	const n = 10_000
	synctest.Test(t, func(t *testing.T) {
		late := through(t, transport.Faults{Reorder: 0.1}, transport.Block, n, 8, transport.Controller)
		for i, p := range late {
			require.Equal(t, uint32(i), binary.BigEndian.Uint32(p[4:]), "blocks stay in order")
		}
		late = through(t, transport.Faults{Reorder: 0.1}, transport.Packet, n, 8, transport.Controller)
		swapped := 0
		for i, p := range late {
			switch binary.BigEndian.Uint32(p[4:]) {
			case uint32(i):
			case uint32(i - 1), uint32(i + 1):
				swapped++
			default:
				t.Fatalf("packet %X at place %d", p, i)
			}
		}
		require.Greater(t, swapped, n/10)
	})
}

// TestReorderLast: a packet that none comes after arrives all the same.
func TestReorderLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, d := transport.Mem()
		l := transport.Fault(c, transport.Controller, transport.Faults{Reorder: 1})
		got := &sink{}
		require.NoError(t, d.Open(t.Context(), got))
		require.NoError(t, l.Open(t.Context(), &sink{}))
		require.NoError(t, l.Send(transport.Packet, []byte{1}))
		got.mu.Lock()
		require.Empty(t, got.frames)
		got.mu.Unlock()
		time.Sleep(time.Second)
		synctest.Wait()
		got.mu.Lock()
		require.Equal(t, [][]byte{{1}}, got.frames)
		got.mu.Unlock()
		require.NoError(t, l.Close())
	})
}

// TestPowerCut: in the middle of a command, and of an answer, at either end.
func TestPowerCut(t *testing.T) {
	for _, role := range []transport.Role{transport.Controller, transport.Target} {
		for _, cut := range []int64{17, 25} { // of ten octets each: the second command, the answer to it
			t.Run(fmt.Sprintf("%s %d", role, cut), func(t *testing.T) {
				c, d := transport.Mem()
				ends := []transport.Link{c, d}
				ends[role] = transport.Fault(ends[role], role, transport.Faults{Cut: cut})
				terminal := &sink{}
				card := &sink{}
				card.on = func(k transport.Kind, p []byte) {
					switch k {
					case transport.Block:
						_ = ends[1].Send(k, p[:5])
					case transport.PowerOn:
						_ = ends[1].Send(transport.ATR, []byte{0x3B, 0})
					}
				}
				require.NoError(t, ends[1].Open(t.Context(), card))
				require.NoError(t, ends[0].Open(t.Context(), terminal))
				for range 3 {
					_ = ends[0].Send(transport.Block, make([]byte, 10))
				}
				require.Equal(t, []transport.Kind{transport.Inserted, transport.Block, transport.Removed, transport.Inserted}, terminal.kinds)
				require.Contains(t, card.kinds, transport.PowerOff)
				require.NoError(t, ends[0].Send(transport.PowerOn, nil))
				require.NoError(t, ends[0].Send(transport.Block, make([]byte, 10)))
				require.Equal(t, []transport.Kind{transport.ATR, transport.Block}, terminal.kinds[4:])
			})
		}
	}
}

func TestDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, d := transport.Mem()
		delays, err := transport.ParseDelays("command:50ms,answer:1ms..3ms,seed:3")
		require.NoError(t, err)
		l := transport.Delay(c, transport.Controller, delays)
		card := &sink{}
		card.on = func(k transport.Kind, p []byte) { _ = d.Send(k, p) }
		terminal := &sink{}
		require.NoError(t, d.Open(t.Context(), card))
		require.NoError(t, l.Open(t.Context(), terminal))
		start := time.Now()
		for range 10 {
			require.NoError(t, l.Send(transport.Block, []byte{1}))
		}
		require.InDelta(t, 520, time.Since(start).Milliseconds(), 10)
		require.Len(t, terminal.frames, 11)
		// Close does not wait.
		long := transport.Delay(c, transport.Controller, transport.Delays{Command: transport.Span{Least: time.Hour, Most: time.Hour}})
		require.NoError(t, l.Close())
		require.NoError(t, long.Open(t.Context(), terminal))
		start = time.Now()
		go func() {
			time.Sleep(time.Second)
			_ = long.Close()
		}()
		_ = long.Send(transport.Block, []byte{1})
		require.Equal(t, time.Second, time.Since(start))
	})
}

func TestTrace(t *testing.T) {
	var out bytes.Buffer
	tr := trace.New(nil)
	tr.Add(trace.NewText(&out))
	c, d := transport.Mem()
	l := transport.Trace(c, transport.Controller, tr)
	require.NoError(t, d.Open(t.Context(), &sink{on: func(k transport.Kind, p []byte) { _ = d.Send(k, []byte{0x90, 0}) }}))
	require.NoError(t, l.Open(t.Context(), &sink{}))
	require.NoError(t, l.Send(transport.Block, []byte{0, 0xA4, 0, 0}))
	require.Contains(t, out.String(), "> link block SELECT 00 A4 00 00 [mem:]")
	require.Contains(t, out.String(), "< link block 9000")
}

// TestWrapURL: wrappers by URL, which the scheme does not see.
func TestWrapURL(t *testing.T) {
	seen := ""
	table := transport.Schemes{"echo": func(u transport.URL, _ transport.Role) (transport.Link, error) {
		if err := u.Only("way"); err != nil {
			return nil, err
		}
		seen = u.String()
		c, _ := transport.Mem()
		return c, nil
	}}
	l, err := transport.Open("echo:x?delay=1ms..2ms&way=in&fault=drop:0.01,dup:0.5,seed:7", transport.Controller, table)
	require.NoError(t, err)
	require.Equal(t, "echo:x?way=in", seen)
	require.Equal(t, "mem:?delay=command:1ms..2ms,answer:1ms..2ms,seed:0&fault=drop:0.01,dup:0.5,seed:7", l.String())
	_, err = transport.Open("echo:x?fault=drop:0.1", transport.Target, table)
	require.NoError(t, err)
	require.Equal(t, "echo:x", seen)

	controller, target, err := transport.Pair("mem:?fault=ber:1e-3")
	require.NoError(t, err)
	require.Equal(t, "mem:?fault=ber:0.001,seed:0", controller.String())
	require.Equal(t, "mem:", target.String())
	require.True(t, transport.Inside("mem:?fault=ber:1e-3"))
	require.False(t, transport.Inside("echo:"))

	for url, want := range map[string]string{
		"echo:?fault=drop:2":           `link "echo:?fault=drop:2": fault=drop:2: "drop:2": not a probability from 0 to 1`,
		"echo:?fault=drop":             `fault=drop: "drop": not a probability from 0 to 1`,
		"echo:?fault=":                 `fault=: "": unknown (there are drop, dup, reorder, ber, cut, seed)`,
		"echo:?fault=ber:x":            `not a probability from 0 to 1`,
		"echo:?fault=ber:NaN":          `not a probability from 0 to 1`,
		"echo:?fault=cut:0":            `"cut:0": not the number of a byte, from 1`,
		"echo:?fault=drop:0.1,seed:-1": `"seed:-1": not a whole number`,
		"echo:?fault=lose:1":           `"lose:1": unknown (there are drop, dup, reorder, ber, cut, seed)`,
		"echo:?delay=5":                `delay=5: not a time such as 5ms, nor a span such as 1ms..20ms`,
		"echo:?delay=5ms..1ms":         `not a time such as 5ms`,
		"echo:?delay=-5ms":             `not a time such as 5ms`,
		"echo:?delay=answer:1ms,x:1":   `"x:1": unknown (there are command, answer, seed)`,
		"echo:?delay=seed:x":           `"seed:x": not a whole number`,
		"echo:?fault=drop:1&speed=3":   `unknown parameter "speed" (echo: takes way)`,
	} {
		_, err := transport.Open(url, transport.Controller, table)
		require.ErrorContains(t, err, want, url)
	}
	for url, want := range map[string]string{
		"mem:x":            "write mem:, there is one only",
		"mem:?speed=1":     `unknown parameter "speed"`,
		"mem:?fault=x:1":   "unknown (there are drop",
		"simspi:a":         "scheme simspi: is not available in this version",
		"simi2c:a?delay=x": "not a time",
	} {
		_, _, err := transport.Pair(url, table)
		require.ErrorContains(t, err, want, url)
	}
	for _, s := range []string{"seed:0", "drop:0.01,dup:1,reorder:0.5,ber:1e-06,cut:5000,seed:7"} {
		f, err := transport.ParseFaults(s)
		require.NoError(t, err)
		require.Equal(t, s, f.String())
	}
	d, err := transport.ParseDelays("command:50ms,answer:1ms..2ms,seed:3")
	require.NoError(t, err)
	require.Equal(t, "command:50ms,answer:1ms..2ms,seed:3", d.String())
	require.True(t, strings.HasPrefix(d.String(), "command"))
}
