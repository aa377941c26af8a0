package bridge

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"time"
)

// How long things may take.
const (
	helloEvery = 200 * time.Millisecond // between two HELLO that are not answered
	helloWait  = 3 * time.Second
	answerWait = time.Second            // for DONE
	refresh    = 500 * time.Millisecond // between two READY of the same generation
)

// session is one end of one connection.
type session struct {
	rw io.ReadWriteCloser

	wmu  sync.Mutex // guards what follows
	n    byte
	wbuf []byte
	room []byte

	dec decoder
}

// send sends one message.
func (s *session) send(t message, payload ...[]byte) error {
	s.wmu.Lock()
	defer s.wmu.Unlock()
	s.wbuf, s.room = appendFrame(s.wbuf[:0], s.room, t, s.n, payload...)
	s.n++
	_, err := s.rw.Write(s.wbuf)
	return err
}

// read hands over messages until the connection ends or each says so.
func (s *session) read(each func(t message, payload []byte) error) error {
	buf := make([]byte, 4096)
	for {
		n, err := s.rw.Read(buf)
		var failed error
		s.dec.feed(buf[:n], func(t message, _ byte, payload []byte) {
			if failed == nil {
				failed = each(t, payload)
			}
		})
		if err = errors.Join(failed, err); err != nil {
			return err
		}
	}
}

// greet opens a connection and shakes hands with the board: HELLO, until it answers.
// What comes after its answer goes to each, in a goroutine that ends with the
// connection; then ended is closed.
func (p *place) greet(role byte, each func(t message, payload []byte) error) (s *session, have hello, ended <-chan struct{}, err error) {
	want := p.want
	want.version, want.role, want.name, want.max = version, role, "sspemu", maxPayload-8
	rw, err := p.open()
	if err != nil {
		return nil, have, nil, err
	}
	s = &session{rw: rw}
	type answer struct {
		h   hello
		err error
	}
	answers := make(chan answer, 1)
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		greeted := false
		err := s.read(func(t message, payload []byte) error {
			switch {
			case greeted && t == msgHello:
				return nil // to a HELLO that was said again
			case greeted:
				return each(t, payload)
			case t == msgHello:
				h, err := parseHello(payload)
				if err == nil {
					err = h.suits(want)
				}
				answers <- answer{h, err}
				greeted = err == nil
				return err
			case t == msgError:
				err := boardError(payload)
				answers <- answer{err: err}
				return err
			}
			return nil // of the time before
		})
		if !greeted {
			select {
			case answers <- answer{err: err}:
			default:
			}
		}
	}()
	again := time.NewTicker(helloEvery)
	defer again.Stop()
	limit := time.NewTimer(helloWait)
	defer limit.Stop()
	for {
		if err = s.send(msgHello, want.bytes()); err == nil {
			select {
			case a := <-answers:
				if err = a.err; err == nil {
					return s, a.h, gone, nil
				}
			case <-again.C:
				continue
			case <-limit.C:
				err = fmt.Errorf("bridge: no HELLO from the board within %s (is its program running? docs/bridge.md)", helloWait)
			}
		}
		_ = rw.Close() // err tells more
		<-gone
		return nil, have, nil, err
	}
}

func boardError(text []byte) error { return fmt.Errorf("bridge: the board says: %q", text) }
