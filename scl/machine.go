package scl

import "fmt"

// The two state machines of the SCL, as tables; the package comment draws them.

// HostState is what a host is to the network.
type HostState uint8

// The states of a host.
const (
	HostUnregistered HostState = iota // it reaches the network, and may ask for registration only
	HostRegistered                    // it has an identifier, gates and pipes
	HostGone                          // for good: taken out, or its link was lost
)

func (s HostState) String() string { return [...]string{"unregistered", "registered", "gone"}[s] }

// hostInput is what happens to a host.
type hostInput uint8

const (
	register   hostInput = iota // ADM_REGISTER_HOST, Network.Register
	deregister                  // ADM_DEREGISTER_HOST
	lose                        // Network.Deregister, the link is gone
)

// hostMachine is state and input to the next state; an error refuses the input.
var hostMachine = [...][3]struct {
	to  HostState
	err error
}{
	HostUnregistered: {register: {to: HostRegistered}, deregister: {err: ErrNotRegistered}, lose: {to: HostGone}},
	HostRegistered:   {register: {err: ErrTaken}, deregister: {to: HostUnregistered}, lose: {to: HostGone}},
	HostGone:         {register: {err: ErrNotRegistered}, deregister: {err: ErrNotRegistered}, lose: {err: ErrNotRegistered}},
}

// become takes the host to its next state.
func (h *Host) become(in hostInput) error {
	s := hostMachine[h.state][in]
	if s.err != nil {
		return fmt.Errorf("host %s is %s: %w", h, h.state, s.err)
	}
	h.state = s.to
	return nil
}

// State of one end of a pipe.
type State uint8

// The states of a pipe end.
const (
	Closed  State = iota // made, takes only ANY_OPEN_PIPE
	Open                 // carries messages: a pipe session
	Deleted              // for good
)

func (s State) String() string { return [...]string{"closed", "open", "deleted"}[s] }

// pipeInput is what happens to a pipe end.
type pipeInput uint8

const (
	open   pipeInput = iota // ANY_OPEN_PIPE was answered with ANY_OK
	shut                    // ANY_CLOSE_PIPE
	remove                  // ADM_DELETE_PIPE, ADM_NOTIFY_PIPE_DELETED, a host left
)

// pipeMachine is state and input to the next state; an error refuses the input.
var pipeMachine = [...][3]struct {
	to  State
	err error
}{
	Closed:  {open: {to: Open}, shut: {to: Closed}, remove: {to: Deleted}},
	Open:    {open: {err: ErrPipeOpen}, shut: {to: Closed}, remove: {to: Deleted}},
	Deleted: {open: {err: ErrPipeDeleted}, shut: {err: ErrPipeDeleted}, remove: {to: Deleted}},
}

// become takes the pipe end to its next state. Leaving a session forgets what
// belongs to it: receiver, credit, a chain under way.
func (p *Pipe) become(in pipeInput) error {
	s := pipeMachine[p.state][in]
	if s.err != nil {
		return s.err
	}
	p.state = s.to
	if s.to != Open {
		p.recv, p.credit, p.granted = nil, 0, 0
		p.rx.Reset()
	}
	return nil
}
