package bridge

import (
	"encoding/binary"
	"fmt"
	"sync"
	"time"

	"github.com/sspemu/sspemu/transport/bus"
)

// controller is the bus.Controller of a board that is a controller.
type controller struct {
	*place
	s     *session
	have  hello
	ended <-chan struct{}
	clock bus.Clock
	n     byte
	done  chan event
	stop  chan struct{} // closed by Close

	once sync.Once
	mu   sync.Mutex
	irq  bool
	wake bool
	told chan struct{} // closed when irq or wake has changed
}

// dial opens the controller's end.
func (p *place) dial() (bus.Controller, error) {
	c := &controller{
		place: p, clock: bus.Real(), done: make(chan event, 4), stop: make(chan struct{}), told: make(chan struct{}),
	}
	var err error
	if c.s, c.have, c.ended, err = p.greet(roleController, c.event); err != nil {
		return nil, err
	}
	if p.want.hz > 0 {
		if err := c.SetSpeed(int64(p.want.hz)); err != nil {
			_ = c.Close()
			return nil, err
		}
	}
	return c, nil
}

// event is one message of the board.
func (c *controller) event(t message, p []byte) error {
	switch {
	case t == msgError:
		return boardError(p)
	case t == msgLine && len(p) == 1:
		c.tell(func() { c.irq = p[0] != 0 })
	case t == msgDone && len(p) >= 2:
		select {
		case c.done <- event{t, append([]byte(nil), p...)}:
		default: // answers to what nobody asked
		}
	}
	return nil
}

// tell changes what a WaitIRQ looks at.
func (c *controller) tell(change func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change()
	close(c.told)
	c.told = make(chan struct{})
}

func (c *controller) Physical() bus.Physical { return c.want.physical }
func (c *controller) Clock() bus.Clock       { return c.clock }
func (c *controller) String() string         { return c.url }

// do asks for something and waits for the answer.
func (c *controller) do(t message, payload ...[]byte) (p []byte, err error) {
	for len(c.done) > 0 {
		<-c.done // too late
	}
	c.n++
	payload = append([][]byte{{c.n}}, payload...)
	if err := c.s.send(t, payload...); err != nil {
		return nil, fmt.Errorf("%w: %w", bus.ErrClosed, err)
	}
	limit := time.NewTimer(answerWait)
	defer limit.Stop()
	for {
		select {
		case e := <-c.done:
			if e.p[0] != c.n {
				continue
			}
			p = e.p[2:]
			switch e.p[1] {
			case resultOK:
				return p, nil
			case resultNACK:
				return nil, bus.ErrNACK
			case resultStuck:
				return nil, bus.ErrStuck
			case resultNoLine:
				return nil, bus.ErrNoLine
			}
			return nil, boardError(p)
		case <-c.stop:
			return nil, bus.ErrClosed
		case <-c.ended:
			return nil, fmt.Errorf("%w: the board has gone", bus.ErrClosed)
		case <-limit.C:
			return nil, fmt.Errorf("bridge: no answer from the board within %s", answerWait)
		}
	}
}

// Tx implements bus.Controller.
func (c *controller) Tx(w, r []byte) error {
	if most := int(c.have.max); len(w) > most || len(r) > most {
		return fmt.Errorf("bridge: an access of %d bytes, the board can do %d", max(len(w), len(r)), most)
	}
	p, err := c.do(msgTx, binary.BigEndian.AppendUint16(nil, uint16(len(r))), w)
	if err == nil && copy(r, p) < len(r) {
		err = fmt.Errorf("bridge: the board read %d bytes of %d", len(p), len(r))
	}
	return err
}

// SetSpeed implements bus.Controller.
func (c *controller) SetSpeed(hz int64) error {
	_, err := c.do(msgSpeed, binary.BigEndian.AppendUint32(nil, uint32(min(max(hz, 0), 1<<32-1))))
	return err
}

// Reset implements bus.Controller.
func (c *controller) Reset() error {
	if c.have.lines&lineReset == 0 {
		return bus.ErrNoLine
	}
	_, err := c.do(msgPulse)
	return err
}

// WaitIRQ implements bus.Controller.
func (c *controller) WaitIRQ(timeout time.Duration) (bool, error) {
	if c.have.lines&lineIRQ == 0 {
		return false, bus.ErrNoLine
	}
	var limit <-chan time.Time
	if timeout >= 0 {
		t := time.NewTimer(timeout)
		defer t.Stop()
		limit = t.C
	}
	for {
		c.mu.Lock()
		irq, wake, told := c.irq, c.wake, c.told
		c.wake = c.wake && irq
		c.mu.Unlock()
		if irq || wake {
			return irq, nil
		}
		select {
		case <-told:
		case <-limit:
			return false, nil
		case <-c.stop:
			return false, bus.ErrClosed
		case <-c.ended:
			return false, fmt.Errorf("%w: the board has gone", bus.ErrClosed)
		}
	}
}

// Wake implements bus.Waker.
func (c *controller) Wake() { c.tell(func() { c.wake = true }) }

// Close implements bus.Controller.
func (c *controller) Close() error {
	c.once.Do(func() {
		close(c.stop)
		_ = c.s.rw.Close() // nothing to learn from it
	})
	return nil
}
