package gate

import (
	"encoding/binary"
	"time"

	"github.com/sspemu/sspemu/scl"
)

// Clock is the time that the timer gate goes by; that of a platform is one.
type Clock interface {
	Now() time.Duration // since the start, never backwards
	Wall() time.Time
	// AfterFunc calls f once, d from now, outside the network and not in the
	// goroutine of the caller; stop ends that, if it is not too late.
	AfterFunc(d time.Duration, f func()) (stop func())
}

// Bounds of the timer gate, chosen.
const (
	MaxTimers = 16                    // of one pipe session
	MinPeriod = 10 * time.Millisecond // of a periodic timer
)

// periodic is the bit of the flags in REQUEST_TIMER; the others are 0.
const periodic = 1

// Timers is the timer gate, the CRON service of a host: any host may have timers,
// which live as long as their pipe session.
//
//	host                              gate
//	REQUEST_TIMER flags, ms ────────────>│
//	<──────────────────── ANY_OK timer ──│
//	<─────── EVT_TIMER_ELAPSED timer ────│ once, or every ms
//	KILL_TIMER timer ───────────────────>│
//	READ_DATE_TIME ─────────────────────>│
//	<─────────────── ANY_OK date, time ──│
//
//	flags   1 octet: bit 1 periodic
//	ms      4 octets, not 0; of a periodic timer at least MinPeriod
//	timer   1 octet, chosen by the gate; not soon given again
//	date    8 octets, milliseconds since 1970-01-01 UTC
//
// Wrong parameters, and a timer that is not there (it may just have elapsed):
// ANY_E_CMD_PAR_UNKNOWN. MaxTimers are there already: ANY_E_INHIBITED. A periodic
// timer keeps its beat; beats that the clock jumped over are left out.
//
// TS 103 666-1 clause 10 has a CRON service; everything here is chosen.
type Timers struct {
	n     *scl.Network
	clock Clock
}

// NewTimers makes the timer gate of a host of n.
func NewTimers(n *scl.Network, clock Clock) *Timers { return &Timers{n, clock} }

// Opened takes every pipe.
func (g *Timers) Opened(p *scl.Pipe) (scl.PipeReceiver, error) {
	return &timerSession{Timers: g, p: p, live: map[byte]*timer{}}, nil
}

// timerSession is one pipe session with its timers.
type timerSession struct {
	*Timers
	p    *scl.Pipe
	live map[byte]*timer
	last byte // identifier given last
}

type timer struct {
	at, period time.Duration // period 0: once
	stop       func()
}

// Closed kills the timers of the session.
func (s *timerSession) Closed(*scl.Pipe) {
	for _, t := range s.live {
		t.stop()
	}
	clear(s.live)
}

// Message takes the commands of the gate.
func (s *timerSession) Message(p *scl.Pipe, m scl.Message) {
	if m.Type != scl.Command {
		return
	}
	pr := s.n.Profile()
	var data []byte
	err := scl.ErrCmdNotSupported
	switch m.Instruction {
	case pr.Command.TimerRequest:
		data, err = s.request(m.Data)
	case pr.Command.TimerKill:
		err = s.kill(m.Data)
	case pr.Command.TimerReadDateTime:
		data, err = without(m.Data, s.dateTime)
	}
	_ = p.Respond(pr.Code(err), data)
}

func (s *timerSession) request(b []byte) ([]byte, error) {
	if len(b) != 5 || b[0]&^periodic != 0 {
		return nil, scl.ErrCmdParUnknown
	}
	d := time.Duration(binary.BigEndian.Uint32(b[1:])) * time.Millisecond
	t := &timer{at: s.clock.Now() + d}
	if b[0]&periodic != 0 {
		t.period = d
	}
	switch {
	case d == 0, t.period > 0 && d < MinPeriod:
		return nil, scl.ErrCmdParUnknown
	case len(s.live) == MaxTimers:
		return nil, scl.ErrInhibited
	}
	for s.last++; s.live[s.last] != nil; s.last++ {
	}
	id := s.last
	s.live[id] = t
	t.stop = s.clock.AfterFunc(d, func() { s.elapsed(id, t) })
	return []byte{id}, nil
}

func (s *timerSession) kill(b []byte) error {
	if len(b) != 1 || s.live[b[0]] == nil {
		return scl.ErrCmdParUnknown
	}
	s.live[b[0]].stop()
	delete(s.live, b[0])
	return nil
}

func (s *timerSession) dateTime() ([]byte, error) {
	return binary.BigEndian.AppendUint64(nil, uint64(s.clock.Wall().UnixMilli())), nil
}

// elapsed comes from the clock.
func (s *timerSession) elapsed(id byte, t *timer) {
	s.n.Exclusive(func() {
		if s.live[id] != t { // killed, or the session is over, while this waited
			return
		}
		if now := s.clock.Now(); t.period == 0 {
			delete(s.live, id)
		} else {
			t.at += t.period * max(1, (now-t.at)/t.period+1)
			t.stop = s.clock.AfterFunc(t.at-now, func() { s.elapsed(id, t) })
		}
		// A link that takes nothing more has lost the event; the next one may go.
		_ = s.p.Send(scl.Message{Type: scl.Event, Instruction: s.n.Profile().Event.TimerElapsed, Data: []byte{id}})
	})
}
