package primary

import (
	"bytes"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/internal/trace"
	"github.com/sspemu/sspemu/primary/nvm"
	"github.com/sspemu/sspemu/scl"
)

// TestAlarm: TIME_OUT comes when time is up, between commands or before the next
// one, once.
func TestAlarm(t *testing.T) {
	clock := NewVirtualClock()
	w := start(t, Config{Builtins: builtins(t, 2), Active: "one", Clock: clock})
	c := w.terminal()
	rings := "00CA000005 " + hexText("rings") + " 00"

	require.Equal(t, "9000", c.send("000A03E8")) // in 1000 ms
	clock.Advance(999 * time.Millisecond)
	require.Equal(t, "6A88", c.send(rings))
	clock.Advance(time.Millisecond)
	require.Equal(t, []byte{1}, w.waitFor(Told, "one").Data)
	require.Equal(t, "019000", c.send(rings))
	clock.Advance(time.Hour)
	require.Equal(t, "019000", c.send(rings), "once")

	require.Equal(t, "9000", c.send("000A0064"))
	clock.Sleep(time.Second) // as a bundle sleeps: nobody is called
	require.Equal(t, "029000", c.send(rings), "before the next command")

	require.Equal(t, "9000", c.send("000A0064"))
	require.Equal(t, "9000", c.send("000A0000"))
	clock.Advance(time.Second)
	require.Equal(t, "029000", c.send(rings), "taken back")

	require.Equal(t, "9000", c.send("000A0064"))
	require.NoError(t, w.Activate(t.Context(), "two"))
	clock.Advance(time.Second)
	require.NoError(t, w.Activate(t.Context(), "one"))
	require.Equal(t, "029000", c.send(rings), "gone with the instance")
	require.Equal(t, "6F00", c.send("00F70000"), "and with a fault")
	clock.Advance(time.Second)
	require.Equal(t, "029000", c.send(rings))
}

func TestAlarmInRealTime(t *testing.T) {
	w := start(t, Config{Builtins: builtins(t, 1), Active: "one"})
	require.Equal(t, "9000", w.terminal().send("000A000A"))
	require.Equal(t, "ring", w.waitFor(Told, "one").Name)
}

func TestVirtualClock(t *testing.T) {
	c := NewVirtualClock()
	require.Equal(t, Epoch, c.Wall())
	var got []string
	c.AfterFunc(2*time.Second, func() { got = append(got, "second "+c.Now().String()) })
	c.AfterFunc(time.Second, func() {
		got = append(got, "first "+c.Now().String())
		c.AfterFunc(500*time.Millisecond, func() { got = append(got, "nested "+c.Now().String()) })
	})
	c.AfterFunc(time.Second, func() { got = append(got, "also "+c.Now().String()) })
	c.AfterFunc(time.Second, func() { got = append(got, "never") })()
	c.Advance(10 * time.Second)
	require.Equal(t, []string{"first 1s", "also 1s", "nested 1.5s", "second 2s"}, got)
	require.Equal(t, 10*time.Second, c.Now())
	c.Sleep(-time.Second)
	c.Sleep(time.Second)
	require.Equal(t, Epoch.Add(11*time.Second), c.Wall())
}

func TestRealClock(t *testing.T) {
	c := RealClock()
	c.Sleep(time.Microsecond)
	require.Positive(t, c.Now())
	require.WithinDuration(t, time.Now(), c.Wall(), time.Minute)
}

// TestSameSeedSameBytes: with seed and virtual clock two runs are the same, down
// to the trace.
func TestSameSeedSameBytes(t *testing.T) {
	run := func(seed uint64, first string) (string, []byte) {
		clock := NewVirtualClock()
		tr := trace.New(clock.Now)
		var text bytes.Buffer
		tr.Add(sink{&text})
		state, err := nvm.Open(t.TempDir(), nvm.Options{})
		require.NoError(t, err)
		defer state.Close()
		w := start(t, Config{State: state, Builtins: builtins(t, 2), Active: "one", Clock: clock, Seed: &seed, Tracer: tr, Network: scl.NewNetwork(scl.DefaultProfile(), tr)})
		defer w.Close()
		terminals = 100
		c := w.terminal()
		all := ""
		for range 3 {
			all += c.send("0084000008") + " "
			clock.Advance(time.Second)
			all += c.send("0008000008") + " "
			all += c.send("000A0010") + " "
			require.NoError(t, w.Activate(t.Context(), first))
			all += c.send("0084000008") + " "
			all += c.send("00F00000") + " "
			require.NoError(t, w.Activate(t.Context(), "one"))
		}
		return all, text.Bytes()
	}
	a, aTrace := run(1, "two")
	b, bTrace := run(1, "two")
	require.Equal(t, a, b)
	require.Equal(t, string(aTrace), string(bTrace))
	require.NotEmpty(t, aTrace)
	other, _ := run(2, "two")
	require.NotEqual(t, a, other)
	alone, _ := run(1, "one")
	require.Equal(t, a[:20], alone[:20], "a bundle's randomness is its own")
}

type sink struct{ b *bytes.Buffer }

func (s sink) Emit(e *trace.Event) {
	s.b.WriteString(e.Time.String() + " " + e.Layer.String() + " " + e.Name + " " + e.Where + " " + hexOf(e.Data) + " " + e.Note + "\n")
}
