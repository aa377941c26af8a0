package scl

import (
	"fmt"
	"time"
)

// Pipe is one end of a logical channel between two gates of different hosts.
type Pipe struct {
	n            *Network
	host, remote *Host
	id           PipeID
	gate, far    GateID // of this end, of the other
	application  bool   // this end asked for the pipe
	state        State
	recv         PipeReceiver
	registry     Registry
	mtu          int // longest packet, header included

	credited bool // flow control (credit.go)
	ender    byte // the event that ends a connection, and costs nothing
	credit   int  // octets that this end may send
	granted  int  // octets that the other end may send
	small    [4]byte

	// Each end has its own buffers, and takes them away from itself while they
	// are in use: a send or a chain that nests in another one makes a new one.
	// So what a receiver was given stays as it is until the receiver returns.
	tx []byte
	rx Reassembler

	calling  bool // a command of this end waits for its response
	opening  bool // and it is ANY_OPEN_PIPE
	answered bool
	code     byte
	resp     []byte
	kept     []byte                       // where resp is when it has to outlive its packet
	then     func(code byte, resp []byte) // instead of a caller that waits
	at       func(code byte, resp []byte) // of callWith
	stale    int                          // responses that come too late for their caller
}

func (n *Network) newPipe(host, remote *Host, id PipeID, gate, far GateID) *Pipe {
	p := &Pipe{n: n, host: host, remote: remote, id: id, gate: gate, far: far, mtu: min(host.mtu, remote.mtu)}
	p.credited = n.p.credited(gate) || n.p.credited(far)
	p.ender = n.p.Event.TCPClosed
	if gate == n.p.Gate.UDP || far == n.p.Gate.UDP {
		p.ender = n.p.Event.UDPClosed
	}
	return p
}

// ID is the identifier of the pipe.
func (p *Pipe) ID() PipeID { return p.id }

// Host is the host of this end.
func (p *Pipe) Host() *Host { return p.host }

// Remote is the host of the other end.
func (p *Pipe) Remote() *Host { return p.remote }

// Gate is the gate of this end.
func (p *Pipe) Gate() GateID { return p.gate }

// State is the state of this end.
func (p *Pipe) State() State { return p.state }

// Open opens the pipe (ANY_OPEN_PIPE); what arrives goes to r. Only the end that
// created the pipe can open it. A pipe that was closed can be opened again: a new
// session of the gate.
func (p *Pipe) Open(r PipeReceiver) error {
	switch {
	case p.state == Deleted:
		return p.fail("open", ErrPipeDeleted)
	case p.state == Open:
		return nil
	case !p.application:
		return p.fail("open", ErrPipeAccessDenied)
	}
	p.recv, p.opening = r, true
	code, _, err := p.call(p.n.p.Command.AnyOpenPipe, nil)
	p.opening = false
	return p.openedFar(code, err)
}

// OpenThen is Open of a pipe to a host behind a link that answers when it likes:
// then is called, inside the network, with what came of it.
func (p *Pipe) OpenThen(r PipeReceiver, then func(error)) error {
	switch {
	case p.state != Closed:
		return p.fail("open", pipeMachine[p.state][open].err)
	case !p.application:
		return p.fail("open", ErrPipeAccessDenied)
	case p.calling || p.then != nil:
		return p.fail("open", ErrBusy)
	}
	p.recv, p.opening = r, true
	p.then = func(code byte, _ []byte) {
		p.opening = false
		then(p.openedFar(code, nil))
	}
	return p.send(Message{Type: Command, Instruction: p.n.p.Command.AnyOpenPipe})
}

func (p *Pipe) openedFar(code byte, err error) error {
	if err == nil {
		err = p.n.p.Err(code)
	}
	if err != nil {
		p.recv = nil
		return p.fail("open", err)
	}
	return nil
}

// Close closes the pipe (ANY_CLOSE_PIPE): the session ends, the pipe stays.
func (p *Pipe) Close() error {
	switch p.state {
	case Deleted:
		return p.fail("close", ErrPipeDeleted)
	case Closed:
		return nil
	}
	code, _, err := p.call(p.n.p.Command.AnyClosePipe, nil)
	_ = p.become(shut)
	if err == nil {
		err = p.n.p.Err(code)
	}
	if err != nil {
		return p.fail("close", err)
	}
	return nil
}

// Delete deletes the pipe (ADM_DELETE_PIPE); a second Delete does nothing.
func (p *Pipe) Delete() error {
	if p.state == Deleted {
		return nil
	}
	admin := p.host.Admin()
	if admin == nil {
		return p.fail("delete", ErrNotRegistered)
	}
	code, _, err := admin.Call(p.n.p.Command.AdmDeletePipe, appendUint(nil, uint16(p.id), p.n.p.Width.Pipe))
	if err == nil {
		err = p.n.p.Err(code)
	}
	if p.state == Deleted { // by the other side, while this end waited
		return nil
	}
	if err != nil {
		return p.fail("delete", err)
	}
	p.host.pipes[p.id] = nil
	return p.become(remove)
}

// Send sends one message, in as many packets as the MTU asks for, and returns
// when the other end has taken it, or the link has it. m.Data is not kept. It
// does not allocate. ErrNoCredit: the other end of a pipe with flow control has to
// read first; nothing was sent.
func (p *Pipe) Send(m Message) error {
	if p.state != Open {
		return p.fail("send on", p.notOpen())
	}
	if cost := p.cost(m); cost > 0 {
		if cost > p.credit {
			return ErrNoCredit
		}
		p.credit -= cost
	}
	return p.send(m)
}

// Respond answers a command.
func (p *Pipe) Respond(code byte, data []byte) error {
	return p.send(Message{Type: Response, Instruction: code, Data: data})
}

// maxSmall is the longest chain on a pipe with flow control that needs no credit:
// a command or a response.
const maxSmall = 1024

// Call sends a command and returns its response: the code and the data, which is
// valid until the next message on this pipe. ErrNoResponse tells that the other
// end answers later or never.
func (p *Pipe) Call(command byte, data []byte) (code byte, resp []byte, err error) {
	if p.state != Open {
		return 0, nil, p.fail("call on", p.notOpen())
	}
	return p.call(command, data)
}

// Get reads a parameter of the other gate's registry (ANY_GET_PARAMETER).
func (p *Pipe) Get(index byte) ([]byte, error) {
	code, v, err := p.Call(p.n.p.Command.AnyGetParameter, []byte{index})
	if err == nil {
		err = p.n.p.Err(code)
	}
	if err != nil {
		return nil, fmt.Errorf("get parameter %02X on %s: %w", index, p, err)
	}
	return v, nil
}

// Set writes a parameter of the other gate's registry (ANY_SET_PARAMETER).
func (p *Pipe) Set(index byte, value []byte) error {
	code, _, err := p.Call(p.n.p.Command.AnySetParameter, append([]byte{index}, value...))
	if err == nil {
		err = p.n.p.Err(code)
	}
	if err != nil {
		return fmt.Errorf("set parameter %02X on %s: %w", index, p, err)
	}
	return nil
}

// String says where the pipe goes.
func (p *Pipe) String() string {
	return fmt.Sprintf("pipe %02X %s > %s", uint16(p.id), p.host, p.remote)
}

func (p *Pipe) fail(what string, err error) error { return fmt.Errorf("%s %s: %w", what, p, err) }

func (p *Pipe) notOpen() error {
	if p.state == Deleted {
		return ErrPipeDeleted
	}
	return ErrPipeNotOpened
}

func (p *Pipe) call(command byte, data []byte) (byte, []byte, error) {
	return p.callWith(command, data, nil)
}

// callWith is call; at, if it is not nil, gets the response at the moment it comes,
// before anything that comes after it.
func (p *Pipe) callWith(command byte, data []byte, at func(code byte, resp []byte)) (byte, []byte, error) {
	if p.calling && p.n.up != nil {
		p.n.await(func() bool { return !p.calling })
	}
	if p.calling || p.then != nil {
		return 0, nil, p.fail("call on", ErrBusy)
	}
	p.calling, p.answered, p.at = true, false, at
	err := p.send(Message{Type: Command, Instruction: command, Data: data})
	if err == nil && !p.answered && p.n.up != nil {
		p.n.await(func() bool { return p.answered || p.state == Deleted })
	}
	resp := p.resp
	p.calling, p.resp, p.at = false, nil, nil
	if p.n.up != nil {
		p.n.wake.Broadcast() // another caller may wait for this pipe, and have seen the response come
	}
	switch {
	case err != nil:
		return 0, nil, err
	case p.answered:
		return p.code, resp, nil
	case p.state == Deleted:
		return 0, nil, p.fail("call on", ErrPipeDeleted)
	}
	if p.n.up != nil {
		p.stale++
	}
	return 0, nil, p.fail("call on", ErrNoResponse)
}

// ResponseTime bounds the wait for the response of a host behind a link.
const ResponseTime = 10 * time.Second

// send encodes and routes m, whatever the state of the pipe is.
func (p *Pipe) send(m Message) error {
	c := &p.n.p.codec
	switch {
	case len(m.Data) > c.max:
		return p.fail("send on", ErrMessageTooLong)
	case m.Instruction > c.instrMask || int(m.Type) >= len(c.wire):
		return p.fail("send on", ErrMessageType)
	}
	mtu := p.mtu
	buf := p.tx
	p.tx = nil
	if buf == nil {
		buf = make([]byte, 0, mtu)
	}
	room := mtu - c.octets - 1
	rest := m.Data
	last := len(rest) <= room
	b := append(c.appendPacketHeader(buf, p.id, last), c.messageHeader(m.Type, m.Instruction))
	var err error
	for {
		k := min(room, len(rest))
		b, rest = append(b, rest[:k]...), rest[k:]
		if err = p.n.route(p.host, p.remote, b); err != nil || last {
			break
		}
		room = mtu - c.octets
		last = len(rest) <= room
		b = c.appendPacketHeader(buf, p.id, last)
	}
	p.tx = buf
	return err
}

// receive takes a packet from the router.
func (p *Pipe) receive(k Packet) error {
	whole := k.Last && !p.rx.chaining && !p.rx.dropping
	if p.credited && !whole && len(p.rx.buf)+len(k.Fragment) > max(p.granted, maxSmall) {
		p.overrun()
		return ErrNoCredit
	}
	msg, done, err := p.rx.Add(p.n.p, k.Fragment, k.Last)
	if err != nil || !done {
		return err
	}
	m, err := p.n.p.codec.message(msg)
	if err != nil {
		return err
	}
	if whole {
		p.dispatch(m)
		return nil
	}
	buf := p.rx.buf
	p.rx.buf = nil
	p.dispatch(m)
	if p.rx.buf == nil && p.state == Open {
		p.rx.buf = buf
	}
	return nil
}

func (p *Pipe) dispatch(m Message) {
	if cost := p.cost(m); cost > 0 && p.state == Open {
		if p.granted -= cost; p.granted < 0 {
			p.overrun()
			return
		}
	}
	if m.Type == Response && p.stale > 0 {
		p.stale--
		return
	}
	switch {
	case m.Type == Response && (p.calling && !p.answered || p.then != nil):
		if p.opening && m.Instruction == p.n.p.Response.AnyOK {
			_ = p.become(open)
		}
		if then := p.then; then != nil {
			p.then = nil
			then(m.Instruction, m.Data)
			return
		}
		if p.at != nil {
			p.at(m.Instruction, m.Data)
		}
		p.answered, p.code, p.resp = true, m.Instruction, m.Data
		if p.n.up != nil { // the packet is gone when the caller wakes
			p.kept = append(p.kept[:0], m.Data...)
			p.resp = p.kept
		}
	case m.Type == Event && m.Instruction == p.n.p.Event.Credit && p.credited:
		if p.state == Open {
			p.more(m)
		}
	case m.Type == Command:
		p.command(m)
	case p.state == Open && p.recv != nil:
		p.recv.Message(p, m)
	}
}

// command takes what every gate has, and hands the rest to the receiver.
func (p *Pipe) command(m Message) {
	pr := p.n.p
	c, ok := &pr.Command, pr.Response.AnyOK
	switch {
	case m.Instruction == c.AnyOpenPipe:
		p.opened()
	case p.state != Open:
		_ = p.Respond(pr.Response.AnyEPipeNotOpened, nil)
	case m.Instruction == c.AnyClosePipe:
		_ = p.Respond(ok, nil)
		r := p.recv
		_ = p.become(shut)
		if r != nil {
			r.Closed(p)
		}
	case m.Instruction == c.AnyGetParameter && p.registry != nil:
		v, err := p.registry.get(m.Data)
		_ = p.Respond(pr.Code(err), v)
	case m.Instruction == c.AnySetParameter && p.registry != nil:
		_ = p.Respond(pr.Code(p.registry.set(m.Data)), nil)
	case p.recv != nil:
		p.recv.Message(p, m)
	default:
		_ = p.Respond(pr.Response.AnyECmdNotSupported, nil)
	}
}

// opened carries out ANY_OPEN_PIPE at the end of the gate.
func (p *Pipe) opened() {
	pr := p.n.p
	g := p.host.gates[p.gate]
	if p.application || g == nil || p.state != Closed {
		_ = p.Respond(pr.Response.AnyENOK, nil)
		return
	}
	already := byte(0) // pipes of this gate that are open
	for _, o := range p.host.pipes {
		if o != nil && o.gate == p.gate && o.state == Open {
			already++
		}
	}
	r, err := g.Opened(p)
	if err != nil {
		_ = p.Respond(pr.Code(err), nil)
		return
	}
	p.recv = r
	_ = p.become(open)
	_ = p.Respond(pr.Response.AnyOK, []byte{already})
	if w, ok := r.(WithReady); ok && p.state == Open {
		w.Ready(p)
	}
}

// gone deletes this end because the other end, or the network, says so.
func (p *Pipe) gone() {
	r, was := p.recv, p.state
	p.host.pipes[p.id] = nil
	_ = p.become(remove)
	if then := p.then; then != nil {
		p.then = nil
		then(p.n.p.Response.AnyENotConnected, nil)
	}
	if r != nil && was == Open {
		r.Closed(p)
	}
}
