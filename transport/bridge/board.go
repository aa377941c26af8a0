package bridge

import (
	"encoding/binary"
	"errors"
	"io"
	"sync"

	"github.com/sspemu/sspemu/transport/bus"
)

// maxAccess is the longest access of a board in Go.
const maxAccess = maxPayload - 8

// ServeController is a board that is the controller of the bus c, for the host at the
// other end of rw. It returns when that has gone.
func ServeController(rw io.ReadWriteCloser, c bus.Controller, name string) error {
	s := &session{rw: rw}
	have := hello{
		version: version, role: roleController, physical: c.Physical(), lines: lineIRQ | lineReset, max: maxAccess, name: name,
	}
	if _, err := c.WaitIRQ(0); errors.Is(err, bus.ErrNoLine) {
		have.lines = 0
	}
	done := make(chan struct{})
	defer close(done)
	greeted := false
	return s.read(func(t message, p []byte) error {
		switch {
		case t == msgHello:
			if err := s.send(msgHello, have.bytes()); err != nil || greeted || have.lines == 0 {
				return err
			}
			greeted = true
			go watch(s, c, done)
			return nil
		case t == msgTx && len(p) >= 3:
			r := make([]byte, min(int(binary.BigEndian.Uint16(p[1:])), maxAccess))
			return finish(s, p[0], c.Tx(none(p[3:]), none(r)), r)
		case t == msgSpeed && len(p) == 5:
			return finish(s, p[0], c.SetSpeed(int64(binary.BigEndian.Uint32(p[1:]))), nil)
		case t == msgPulse && len(p) == 1:
			return finish(s, p[0], c.Reset(), nil)
		}
		return nil
	})
}

// none is nil for nothing.
func none(p []byte) []byte {
	if len(p) == 0 {
		return nil
	}
	return p
}

func finish(s *session, n byte, err error, r []byte) error {
	result := byte(resultOK)
	switch {
	case errors.Is(err, bus.ErrNACK):
		result, r = resultNACK, nil
	case errors.Is(err, bus.ErrStuck):
		result, r = resultStuck, nil
	case errors.Is(err, bus.ErrNoLine):
		result, r = resultNoLine, nil
	case err != nil:
		result, r = resultFailed, []byte(err.Error())
		r = r[:min(len(r), 200)]
	}
	return s.send(msgDone, []byte{n, result}, r)
}

// watch tells the host of the interrupt line until done.
func watch(s *session, c bus.Controller, done <-chan struct{}) {
	clock, last := c.Clock(), byte(0)
	for {
		select {
		case <-done:
			return
		default:
		}
		timeout := refresh
		if last == 1 {
			timeout = 0
		}
		active, err := c.WaitIRQ(timeout)
		if err != nil {
			return
		}
		now := byte(0)
		if active {
			now = 1
		}
		if now != last {
			last = now
			if s.send(msgLine, []byte{now}) != nil {
				return
			}
		}
		if now == 1 {
			clock.Sleep(poll / 4)
		}
	}
}

// ServeSocket is a board that is the target at the place b, for the host at the other
// end of rw. It returns when that has gone.
func ServeSocket(rw io.ReadWriteCloser, b bus.Socket, name string) error {
	t := &boardTarget{s: &session{rw: rw}}
	lines, err := b.Attach(t)
	if err != nil {
		return err
	}
	defer b.Close()
	have := hello{
		version: version, role: roleTarget, physical: b.Physical(), lines: lineIRQ | lineReset, max: maxAccess, name: name,
	}
	return t.s.read(func(m message, p []byte) error {
		switch {
		case m == msgHello:
			t.forget() // the host may be another one
			lines.SetIRQ(false)
			return t.s.send(msgHello, have.bytes())
		case m == msgReady && len(p) >= 1:
			return t.set(p[0], p[1:])
		case m == msgIRQ && len(p) == 1:
			lines.SetIRQ(p[0] != 0)
		}
		return nil
	})
}

// boardTarget is the host as the bus sees it. What cannot be sent is lost with the
// connection.
type boardTarget struct {
	s     *session
	mu    sync.Mutex
	gen   byte
	known bool // there is a generation
	ready []byte
	taken int
}

// forget has nothing ready.
func (t *boardTarget) forget() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.known, t.ready, t.taken = false, nil, 0
}

// set takes a generation, which may be the one that is there.
func (t *boardTarget) set(gen byte, p []byte) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.known || gen != t.gen {
		t.known, t.gen, t.ready, t.taken = true, gen, append([]byte(nil), p...), 0
		return nil
	}
	return t.told()
}

// told says how much was read; mu is held.
func (t *boardTarget) told() error {
	return t.s.send(msgTaken, binary.BigEndian.AppendUint16([]byte{t.gen}, uint16(t.taken)))
}

func (t *boardTarget) Written(p []byte) {
	if len(p) <= maxAccess {
		_ = t.s.send(msgWritten, p)
	}
}

func (t *boardTarget) Pending() []byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.ready[t.taken:]
}

func (t *boardTarget) Taken(n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.taken = min(t.taken+n, len(t.ready))
	_ = t.told()
}

func (t *boardTarget) Reset()    { _ = t.s.send(msgReset) }
func (t *boardTarget) PowerOff() { _ = t.s.send(msgPowerOff) }
