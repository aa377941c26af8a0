package scl

import (
	"encoding/binary"
	"fmt"
	"math"
)

// Flow control by credit, on pipes to the TCP and UDP gates: so that a slow
// reader cannot make anybody hold what it does not read.
//
//	receiver                          sender
//	Grant(n) ──── EVT_CREDIT n ─────> credit += n, WithCredit.Credit
//	<──────── event, k octets ─────── credit -= k+1; ErrNoCredit when it is not enough
//	granted -= k+1; below zero: credit overrun, the receiver deletes the pipe
//
// Both directions begin a session with none. Commands, responses, EVT_CREDIT and
// the events that end a connection are free.

// WithCredit is a PipeReceiver that wants to know when it may send again, and
// how much more: n octets.
type WithCredit interface{ Credit(p *Pipe, n int) }

// credited tells whether pipes to that gate are under flow control.
func (p *Profile) credited(gate GateID) bool { return gate == p.Gate.TCP || gate == p.Gate.UDP }

// cost is what a message takes from the credit of its sender.
func (p *Pipe) cost(m Message) int {
	e := &p.n.p.Event
	if !p.credited || m.Type != Event || m.Instruction == e.Credit || m.Instruction == p.ender {
		return 0
	}
	return len(m.Data) + 1
}

// Credit is how many octets this end may send, an event of k octets taking k+1.
func (p *Pipe) Credit() int { return p.credit }

// Grant lets the other end send n octets more.
func (p *Pipe) Grant(n int) error {
	if n <= 0 || n > math.MaxInt32-p.granted {
		return p.fail("grant on", fmt.Errorf("credit of %d octets: %w", n, ErrCmdParUnknown))
	}
	p.granted += n
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], uint32(n))
	return p.Send(Message{Type: Event, Instruction: p.n.p.Event.Credit, Data: append(p.small[:0], b[:]...)})
}

// more takes EVT_CREDIT.
func (p *Pipe) more(m Message) {
	if len(m.Data) != 4 {
		p.n.count(p.remote)
		return
	}
	n := int(min(int64(math.MaxInt32-p.credit), int64(binary.BigEndian.Uint32(m.Data))))
	p.credit += n
	if w, ok := p.recv.(WithCredit); ok && n > 0 {
		w.Credit(p, n)
	}
}

// overrun ends the session of a sender that did not keep to its credit.
func (p *Pipe) overrun() {
	p.n.count(p.remote)
	r := p.recv
	if p.n.up != nil { // Delete waits for its answer, which this goroutine may have to bring
		_ = p.become(shut)
		go p.n.Exclusive(func() { _ = p.Delete() })
	} else if p.Delete() != nil {
		return
	}
	if r != nil {
		r.Closed(p)
	}
}
