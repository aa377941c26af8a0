package pigpio

import (
	"bytes"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"github.com/sspemu/sspemu/transport/bus"
)

// socket is the bus.Socket. One goroutine keeps the target's queues and the FIFOs of
// the peripheral in step: after each event of the daemon, when the target moves its
// interrupt line, and after the time poll. Another one waits for the events.
type socket struct {
	url, addr  string
	control    uint32
	irq, reset int // GPIO, -1: not there
	irqLow     bool
	poll       time.Duration

	bus.Remote
}

// line is one attachment.
type line struct {
	bus.Outlet
	s      *socket
	resets atomic.Int32 // pulses of the reset line that the target was not told of

	// of the goroutine only
	have   bool   // the interrupt line as it is
	known  bool   // have is known
	queued []byte // what of Pending is in the transmit FIFO
	in     []byte // what came of an access
}

// maxIn bounds what is taken for one access.
const maxIn = 64 * 1024

func (s *socket) Physical() bus.Physical { return bus.I2C }
func (s *socket) String() string         { return s.url }

// Attach implements bus.Socket. The daemon must be there; when it is lost later, it is
// tried again until Close.
func (s *socket) Attach(t bus.Target) (bus.Lines, error) {
	l := &line{s: s}
	return s.Remote.Attach(s.url, t, &l.Outlet, func() (func() bool, error) {
		d, err := l.connect()
		return func() bool { return l.serve(d) }, err
	})
}

// daemon is what a line has while pigpiod is there: a connection for commands and one
// for notifications.
type daemon struct {
	cmd, notes *client
	handle     uint32
}

func (d *daemon) close() {
	_ = d.cmd.c.Close() // nothing to learn from it
	_ = d.notes.c.Close()
}

// connect reaches the daemon and sets the lines and the peripheral up.
func (l *line) connect() (d *daemon, err error) {
	s := l.s
	fail := func(err error) (*daemon, error) {
		if d != nil {
			d.close()
		}
		return nil, fmt.Errorf("%s: %w", s.addr, err)
	}
	dial := net.Dialer{Timeout: wait, KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 10 * time.Second, Interval: 5 * time.Second, Count: 2}}
	var c [2]net.Conn
	for i := range c {
		if c[i], err = dial.Dial("tcp", s.addr); err != nil {
			if i > 0 {
				_ = c[0].Close()
			}
			return fail(fmt.Errorf("%w (on the Raspberry Pi: sudo pigpiod; it listens to other hosts unless it was given -l)", err))
		}
	}
	d = &daemon{cmd: &client{c: c[0]}, notes: &client{c: c[1]}}
	do := func(c *client, cmd command, p1, p2 uint32) (res int32) {
		if err == nil {
			res, _, err = c.do(cmd, p1, p2, nil)
		}
		return res
	}
	do(d.cmd, cmdPIGPV, 0, 0)
	d.handle = uint32(do(d.notes, cmdNOIB, 0, 0))
	if s.reset >= 0 {
		do(d.cmd, cmdModes, uint32(s.reset), modeInput)
		do(d.cmd, cmdPUD, uint32(s.reset), pullUp)
		do(d.cmd, cmdNB, d.handle, 1<<s.reset)
	}
	if s.irq >= 0 {
		do(d.cmd, cmdWrite, uint32(s.irq), l.level(false))
		do(d.cmd, cmdModes, uint32(s.irq), modeOutput)
	}
	do(d.cmd, cmdEVM, d.handle, 1<<eventBSC)
	if err == nil {
		_, _, err = d.cmd.transfer(s.control|controlBK, nil)
	}
	if err == nil {
		_, _, err = d.cmd.transfer(s.control, nil)
	}
	if err != nil {
		return fail(err)
	}
	_ = d.notes.c.SetDeadline(time.Time{}) // fails on a closed connection only, as Read will
	l.have, l.known = false, true
	l.queued, l.in = l.queued[:0], l.in[:0]
	return d, nil
}

// level is the level of the interrupt line.
func (l *line) level(active bool) uint32 {
	if active != l.s.irqLow {
		return 1
	}
	return 0
}

// serve is for one connection; true when the line is to end.
func (l *line) serve(d *daemon) bool {
	lost := make(chan struct{})
	go func() {
		defer close(lost)
		l.listen(d.notes)
	}()
	defer func() {
		d.close()
		<-lost
	}()
	tick := time.NewTicker(l.s.poll)
	defer tick.Stop()
	for {
		for l.resets.Load() > 0 {
			l.resets.Store(0)
			l.in = l.in[:0]
			l.Target.Reset()
		}
		more, err := l.step(d.cmd)
		if err != nil {
			return false
		}
		if !more {
			select {
			case <-l.Kick:
			case <-tick.C:
			case <-lost:
				return false
			case <-l.Done:
				l.leave(d)
				return true
			}
			continue
		}
		select { // a busy bus does not keep anybody from closing
		case <-l.Done:
			l.leave(d)
			return true
		default:
		}
	}
}

// leave takes the target off the bus: the lines are inputs again.
func (l *line) leave(d *daemon) {
	_, _, _ = d.cmd.transfer(0, nil) // an error is the end, too
	if l.s.irq >= 0 {
		_, _, _ = d.cmd.do(cmdModes, uint32(l.s.irq), modeInput, nil)
	}
	_, _, _ = d.cmd.do(cmdNC, d.handle, 0, nil)
}

// listen waits for notifications until the connection ends.
func (l *line) listen(c *client) {
	low := false
	for {
		r, err := c.report()
		if err != nil {
			return
		}
		if n, ok := r.event(); ok && n == eventBSC {
			l.Wake()
		}
		if l.s.reset >= 0 && r.edge() {
			was := low
			low = r.level>>l.s.reset&1 == 0
			if low && !was {
				l.resets.Add(1)
				l.Wake()
			}
		}
	}
}

// step brings FIFOs and queues in step once; more tells that it moved something.
func (l *line) step(c *client) (more bool, err error) {
	want := l.IRQ() // before Pending: the line never says what is not ready
	p := l.Target.Pending()
	if !bytes.HasPrefix(p, l.queued) {
		if err := l.recall(c); err != nil {
			return false, err
		}
		p = l.Target.Pending()
	}
	tx := p[len(l.queued):]
	st, rx, err := c.transfer(l.s.control, tx[:min(len(tx), fifo)])
	if err != nil {
		return false, err
	}
	n := min(st.copied(), len(tx), fifo)
	l.queued = append(l.queued, tx[:n]...)
	l.came(rx)
	taken := max(len(l.queued)-st.transmitting(), 0)
	if taken > 0 {
		// What was read counts if it is still what the target means; else the next step
		// takes back the rest.
		if same := bytes.HasPrefix(l.Target.Pending(), l.queued); same {
			l.Target.Taken(taken)
		}
		l.queued = l.queued[:copy(l.queued, l.queued[taken:])]
	}
	if len(l.in) > 0 && (len(rx) == 0 && !st.receiveBusy() || len(l.in) >= maxIn) {
		l.Target.Written(l.in)
		l.in = l.in[:0]
		more = true
	}
	if l.s.irq >= 0 && (want != l.have || !l.known) {
		if _, _, err := c.do(cmdWrite, uint32(l.s.irq), l.level(want), nil); err != nil {
			return false, err
		}
		l.have, l.known = want, true
	}
	return more || taken > 0 || len(rx) > 0, nil
}

func (l *line) came(rx []byte) { l.in = append(l.in, rx...) }

// recall takes back what is in the transmit FIFO and is not wanted any more. What the
// controller writes at this very moment may be lost with it.
func (l *line) recall(c *client) error {
	_, rx, err := c.transfer(l.s.control, nil)
	if err != nil {
		return err
	}
	l.came(rx)
	l.queued = l.queued[:0]
	_, rx, err = c.transfer(l.s.control|controlBK, nil)
	if err == nil {
		l.came(rx)
		_, rx, err = c.transfer(l.s.control, nil)
		l.came(rx)
	}
	return err
}
