package sdktest

import (
	"bytes"
	"encoding/binary"

	"github.com/sspemu/sspemu/bundles/sdk"
)

// Pipe is the terminal's end of a pipe to the TCP or UDP gate of the bundle. What
// the bundle sends is kept in Out.
type Pipe struct {
	Out    [][]byte // Data messages, oldest first; those to a UDP gate with their peer
	Credit int      // octets that the bundle granted and Send has not used
	Closed bool     // the bundle ended the session
	Reason byte     // and why

	card   *Card
	gate   uint32
	id     uint32
	credit int // octets that the bundle may send
}

// Open opens a pipe to a gate (sdk.GateTCP, sdk.GateUDP) and lets the bundle send
// credit octets. The error is the bundle's refusal.
func (c *Card) Open(gate, id uint32, credit int) (*Pipe, error) {
	p := &Pipe{card: c, gate: gate, id: id}
	c.pipes[uint64(gate)<<32|uint64(id)] = p
	if err := p.Message(sdk.Opened, nil); err != nil {
		delete(c.pipes, uint64(gate)<<32|uint64(id))
		return nil, err
	}
	if credit > 0 {
		return p, p.Grant(credit)
	}
	return p, nil
}

// Send brings the bundle data. It fails the test when that is more than the bundle
// granted; at the UDP gate the platform grants.
func (p *Pipe) Send(data []byte) {
	p.card.t.Helper()
	if p.gate == sdk.GateTCP {
		if p.Credit -= len(data) + 1; p.Credit < 0 {
			p.card.t.Fatalf("sdktest: %d octets more than the bundle granted", -p.Credit)
		}
	}
	if err := p.Message(sdk.Data, data); err != nil {
		p.card.t.Fatalf("sdktest: data: %v; log: %q", err, p.card.Logs)
	}
}

// Grant lets the bundle send n octets more.
func (p *Pipe) Grant(n int) error {
	p.credit += n
	return p.Message(sdk.Credit, binary.BigEndian.AppendUint32(nil, uint32(n)))
}

// Close ends the session from the terminal's side.
func (p *Pipe) Close(reason byte) error {
	delete(p.card.pipes, uint64(p.gate)<<32|uint64(p.id))
	return p.Message(sdk.Closed, []byte{reason})
}

// Message hands any message of the pipe to the bundle and commits.
func (p *Pipe) Message(instruction byte, data []byte) error {
	_, err := p.card.bundle.Message(p.gate, p.id, instruction, data)
	if err == nil {
		p.card.host.Commit()
	}
	return err
}

// Bytes is all that came in Data, joined; Out is empty afterwards.
func (p *Pipe) Bytes() []byte {
	b := bytes.Join(p.Out, nil)
	p.Out = nil
	return b
}

// Send is scl_send of docs/abi.md.
func (h *memory) Send(gate, pipe uint32, instruction byte, data []byte) int32 {
	p := h.card.pipes[uint64(gate)<<32|uint64(pipe)]
	switch {
	case gate != sdk.GateTCP && gate != sdk.GateUDP, len(data) > sdk.MaxSend:
		return fail(sdk.ErrIllegalParameter)
	case p == nil:
		return fail(sdk.ErrUnknownHandle)
	}
	switch instruction {
	case sdk.Data:
		if len(data)+1 > p.credit {
			return fail(sdk.ErrNoCredit)
		}
		p.credit -= len(data) + 1
		p.Out = append(p.Out, bytes.Clone(data))
	case sdk.Credit:
		if len(data) != 4 {
			return fail(sdk.ErrIllegalParameter)
		}
		p.Credit += int(binary.BigEndian.Uint32(data))
	case sdk.Closed:
		p.Closed = true
		if len(data) > 0 {
			p.Reason = data[0]
		}
		delete(h.card.pipes, uint64(gate)<<32|uint64(pipe))
	default:
		return fail(sdk.ErrIllegalParameter)
	}
	return 0
}
