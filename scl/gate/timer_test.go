package gate_test

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/scl"
	"github.com/sspemu/sspemu/scl/gate"
)

// profile is shared by tests: it is read only.
var profile = scl.DefaultProfile()

// handClock is a clock that a test moves.
type handClock struct {
	now   time.Duration
	calls []*handCall
}

type handCall struct {
	at      time.Duration
	f       func()
	stopped bool
}

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func (c *handClock) Now() time.Duration { return c.now }
func (c *handClock) Wall() time.Time    { return epoch.Add(c.now) }
func (c *handClock) AfterFunc(d time.Duration, f func()) func() {
	h := &handCall{at: c.now + d, f: f}
	c.calls = append(c.calls, h)
	return func() { h.stopped = true }
}

// pending is how many calls will come.
func (c *handClock) pending() (n int) {
	for _, h := range c.calls {
		if !h.stopped {
			n++
		}
	}
	return n
}

// due takes the call that is next until then out.
func (c *handClock) due(end time.Duration) (next *handCall) {
	for _, h := range c.calls {
		if !h.stopped && h.at <= end && (next == nil || h.at < next.at) {
			next = h
		}
	}
	if next != nil {
		next.stopped = true
		c.now = max(c.now, next.at)
	}
	return next
}

// advance moves the clock; the network must not be locked.
func (c *handClock) advance(d time.Duration) {
	end := c.now + d
	for h := c.due(end); h != nil; h = c.due(end) {
		h.f()
	}
	c.now = end
}

// timerBench is a network whose controller has the timer gate, and a host with a
// pipe to it. Its network is not locked.
type timerBench struct {
	t     *testing.T
	n     *scl.Network
	host  *scl.Host
	clock *handClock
	pipe  *scl.Pipe
	got   *recorder
}

func newTimerBench(t *testing.T) *timerBench {
	b := &timerBench{t: t, n: scl.NewNetwork(profile, nil), clock: &handClock{}, got: &recorder{}}
	b.n.Exclusive(func() {
		id := b.n.Profile().Gate.Timer
		require.NoError(t, b.n.Controller().Publish(id, gate.NewTimers(b.n, b.clock)))
		var err error
		b.host, err = b.n.Register("terminal", [16]byte{1}, 0)
		require.NoError(t, err)
		b.pipe, err = b.host.Bind(b.n.Controller().ID(), id, b.got)
		require.NoError(t, err)
	})
	return b
}

func (b *timerBench) call(command byte, data ...byte) (resp []byte, err error) {
	b.n.Exclusive(func() {
		code, r, e := b.pipe.Call(command, data)
		require.NoError(b.t, e)
		resp, err = append([]byte{}, r...), b.n.Profile().Err(code)
	})
	return resp, err
}

// request asks for a timer that has to be given.
func (b *timerBench) request(flags byte, ms uint32) byte {
	r, err := b.call(b.n.Profile().Command.TimerRequest, binary.BigEndian.AppendUint32([]byte{flags}, ms)...)
	require.NoError(b.t, err)
	require.Len(b.t, r, 1)
	return r[0]
}

// elapsed are the timers of the events that came since the last time.
func (b *timerBench) elapsed() []byte {
	ids := []byte{}
	for _, m := range b.got.got {
		require.Equal(b.t, scl.Event, m.Type)
		require.Equal(b.t, b.n.Profile().Event.TimerElapsed, m.Instruction)
		require.Len(b.t, m.Data, 1)
		ids = append(ids, m.Data[0])
	}
	b.got.got = nil
	return ids
}

func TestTimerOnce(t *testing.T) {
	b := newTimerBench(t)
	first, second := b.request(0, 200), b.request(0, 100)
	require.NotEqual(t, first, second)
	b.clock.advance(99 * time.Millisecond)
	require.Empty(t, b.elapsed())
	b.clock.advance(time.Millisecond)
	require.Equal(t, []byte{second}, b.elapsed())
	b.clock.advance(time.Hour)
	require.Equal(t, []byte{first}, b.elapsed())
	require.Zero(t, b.clock.pending())
	third := b.request(0, 1)
	require.NotContains(t, []byte{first, second}, third, "not soon given again")
	_, err := b.call(b.n.Profile().Command.TimerKill, first)
	require.ErrorIs(t, err, scl.ErrCmdParUnknown, "it elapsed")
}

func TestTimerPeriodic(t *testing.T) {
	b := newTimerBench(t)
	id := b.request(1, 100)
	b.clock.advance(350 * time.Millisecond)
	require.Equal(t, []byte{id, id, id}, b.elapsed())
	b.clock.advance(50 * time.Millisecond)
	require.Equal(t, []byte{id}, b.elapsed(), "it keeps its beat")

	b.clock.now += 250 * time.Millisecond // jumps over two beats; the call is late
	b.clock.advance(0)
	require.Equal(t, []byte{id}, b.elapsed(), "those are left out")
	b.clock.advance(50 * time.Millisecond)
	require.Equal(t, []byte{id}, b.elapsed())

	_, err := b.call(b.n.Profile().Command.TimerKill, id)
	require.NoError(t, err)
	require.Zero(t, b.clock.pending())
	b.clock.advance(time.Hour)
	require.Empty(t, b.elapsed())
	_, err = b.call(b.n.Profile().Command.TimerKill, id)
	require.ErrorIs(t, err, scl.ErrCmdParUnknown)
}

// TestTimerKilledTooLate: the clock called already when the timer was killed, and
// waits for the network.
func TestTimerKilledTooLate(t *testing.T) {
	b := newTimerBench(t)
	id := b.request(0, 10)
	call := b.clock.due(10 * time.Millisecond)
	_, err := b.call(b.n.Profile().Command.TimerKill, id)
	require.NoError(t, err)
	call.f()
	require.Empty(t, b.elapsed())
}

func TestTimersAreBounded(t *testing.T) {
	b := newTimerBench(t)
	ids := map[byte]bool{}
	for range gate.MaxTimers {
		ids[b.request(1, 1000)] = true
	}
	require.Len(t, ids, gate.MaxTimers)
	_, err := b.call(b.n.Profile().Command.TimerRequest, 0, 0, 0, 0, 10)
	require.ErrorIs(t, err, scl.ErrInhibited)
	require.Equal(t, gate.MaxTimers, b.clock.pending())
	for id := range ids {
		_, err = b.call(b.n.Profile().Command.TimerKill, id)
		require.NoError(t, err)
		delete(ids, id)
		break
	}
	for range 300 { // identifiers come round, past those that live
		id := b.request(0, 1000)
		require.NotContains(t, ids, id)
		_, err = b.call(b.n.Profile().Command.TimerKill, id)
		require.NoError(t, err)
	}
	require.Equal(t, gate.MaxTimers-1, b.clock.pending())
}

// TestTimersEnd: however the session ends, its timers end with it.
func TestTimersEnd(t *testing.T) {
	for name, end := range map[string]func(b *timerBench) error{
		"close":      func(b *timerBench) error { return b.pipe.Close() },
		"delete":     func(b *timerBench) error { return b.pipe.Delete() },
		"deregister": func(b *timerBench) error { return b.n.Deregister(b.host) },
		"clear all": func(b *timerBench) error {
			_, _, err := b.host.Admin().Call(b.n.Profile().Command.AdmClearAllPipe, nil)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := newTimerBench(t)
			b.request(1, 100)
			b.request(0, 100)
			late := b.clock.due(100 * time.Millisecond)
			b.n.Exclusive(func() { require.NoError(t, end(b)) })
			require.Zero(t, b.clock.pending())
			late.f()
			b.clock.advance(time.Hour)
			require.Empty(t, b.elapsed())
		})
	}
}

// TestTimersArePrivate: a session has its own timers.
func TestTimersArePrivate(t *testing.T) {
	b := newTimerBench(t)
	id := b.request(0, 100)
	mine, other := b.pipe, &recorder{}
	b.n.Exclusive(func() {
		h, err := b.n.Register("another", [16]byte{2}, 0)
		require.NoError(t, err)
		b.pipe, err = h.Bind(b.n.Controller().ID(), b.n.Profile().Gate.Timer, other)
		require.NoError(t, err)
	})
	_, err := b.call(b.n.Profile().Command.TimerKill, id)
	require.ErrorIs(t, err, scl.ErrCmdParUnknown)
	b.clock.advance(time.Second)
	require.Equal(t, []byte{id}, b.elapsed())
	require.Empty(t, other.got)

	b.pipe = mine
	b.n.Exclusive(func() {
		require.NoError(t, b.pipe.Close())
		require.NoError(t, b.pipe.Open(b.got))
	})
	b.request(0, 10)
	b.clock.advance(10 * time.Millisecond)
	require.Len(t, b.elapsed(), 1, "a new session on the same pipe")
}

func TestTimerDateTime(t *testing.T) {
	b := newTimerBench(t)
	b.clock.advance(1500 * time.Millisecond)
	r, err := b.call(b.n.Profile().Command.TimerReadDateTime)
	require.NoError(t, err)
	require.Equal(t, binary.BigEndian.AppendUint64(nil, uint64(epoch.UnixMilli())+1500), r)
}

func TestTimerBadInput(t *testing.T) {
	b := newTimerBench(t)
	c := b.n.Profile().Command
	for _, tt := range []struct {
		name    string
		command byte
		data    []byte
		want    error
	}{
		{"request without parameters", c.TimerRequest, nil, scl.ErrCmdParUnknown},
		{"request cut", c.TimerRequest, []byte{0, 0, 0, 1}, scl.ErrCmdParUnknown},
		{"request with more", c.TimerRequest, []byte{0, 0, 0, 0, 1, 0}, scl.ErrCmdParUnknown},
		{"unknown flag", c.TimerRequest, []byte{2, 0, 0, 1, 0}, scl.ErrCmdParUnknown},
		{"no time", c.TimerRequest, []byte{0, 0, 0, 0, 0}, scl.ErrCmdParUnknown},
		{"period 0", c.TimerRequest, []byte{1, 0, 0, 0, 0}, scl.ErrCmdParUnknown},
		{"period too short", c.TimerRequest, []byte{1, 0, 0, 0, 9}, scl.ErrCmdParUnknown},
		{"kill without parameters", c.TimerKill, nil, scl.ErrCmdParUnknown},
		{"kill what is not there", c.TimerKill, []byte{7}, scl.ErrCmdParUnknown},
		{"kill two", c.TimerKill, []byte{1, 2}, scl.ErrCmdParUnknown},
		{"date with parameters", c.TimerReadDateTime, []byte{0}, scl.ErrCmdParUnknown},
		{"unknown command", 0x3D, nil, scl.ErrCmdNotSupported},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, err := b.call(tt.command, tt.data...)
			require.ErrorIs(t, err, tt.want)
			require.Empty(t, r)
			require.Zero(t, b.clock.pending())
		})
	}
	b.n.Exclusive(func() {
		require.NoError(t, b.pipe.Send(scl.Message{Type: scl.Event, Instruction: c.TimerRequest, Data: []byte{0, 0, 0, 0, 1}}))
		require.NoError(t, b.pipe.Send(scl.Message{Type: scl.Response}))
	})
	require.Zero(t, b.clock.pending(), "neither event nor response does anything")
}

// TestTimerLongest: four octets of milliseconds are 49 days.
func TestTimerLongest(t *testing.T) {
	b := newTimerBench(t)
	id := b.request(1, 1<<32-1)
	b.clock.advance((1<<32 - 2) * time.Millisecond)
	require.Empty(t, b.elapsed())
	b.clock.advance(time.Millisecond)
	require.Equal(t, []byte{id}, b.elapsed())
}

// FuzzTimers sends commands to the gate, each with its length in front: there is
// always an answer, and never are there more timers than allowed.
func FuzzTimers(f *testing.F) {
	f.Add([]byte("\x06\x10\x00\x00\x00\x00\x0A\x02\x11\x01\x01\x12"))
	f.Add([]byte("\x06\x10\x01\x00\x00\x00\x0A\x06\x10\x01\xFF\xFF\xFF\xFF\x01\x12\x02\x11\x02"))
	f.Add([]byte("\x05\x10\x02\x00\x00\x00\x03\x11\x01\x02\x02\x12\x00\x01\x3D"))
	f.Fuzz(func(t *testing.T, b []byte) {
		n, clock := scl.NewNetwork(profile, nil), &handClock{}
		var p *scl.Pipe
		n.Exclusive(func() {
			require.NoError(t, n.Controller().Publish(n.Profile().Gate.Timer, gate.NewTimers(n, clock)))
			h, err := n.Register("terminal", [16]byte{1}, 0)
			require.NoError(t, err)
			p, err = h.Bind(n.Controller().ID(), n.Profile().Gate.Timer, &recorder{})
			require.NoError(t, err)
		})
		for len(b) > 1 {
			k := min(int(b[0]), len(b)-1)
			m := b[1 : 1+k]
			b = b[1+k:]
			if k == 0 || m[0] > 0x3F || m[0] <= 0x04 { // what every gate has
				continue
			}
			n.Exclusive(func() {
				_, _, err := p.Call(m[0], m[1:])
				require.NoError(t, err)
			})
			clock.advance(time.Millisecond)
			require.LessOrEqual(t, clock.pending(), gate.MaxTimers)
		}
		n.Exclusive(func() { require.NoError(t, p.Close()) })
		require.Zero(t, clock.pending())
	})
}
