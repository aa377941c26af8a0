package scl_test

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/internal/trace"
	"github.com/sspemu/sspemu/scl"
	"github.com/sspemu/sspemu/scl/gate"
)

var update = flag.Bool("update", false, "write the golden files anew")

// recorder is a PipeReceiver that keeps what arrives.
type recorder struct {
	got    []scl.Message
	closed int
	onMsg  func(p *scl.Pipe, m scl.Message)
}

func (r *recorder) Message(p *scl.Pipe, m scl.Message) {
	r.got = append(r.got, scl.Message{Type: m.Type, Instruction: m.Instruction, Data: bytes.Clone(m.Data)})
	if r.onMsg != nil {
		r.onMsg(p, m)
	}
}
func (r *recorder) Closed(*scl.Pipe) { r.closed++ }

// service is a Gate that hands out r, or refuses.
type service struct {
	r   scl.PipeReceiver
	err error
}

func (s service) Opened(*scl.Pipe) (scl.PipeReceiver, error) { return s.r, s.err }

// network has two hosts, a and b, with the standard gates.
func network(tb testing.TB, p *scl.Profile, tr *trace.Tracer) (n *scl.Network, a, b *scl.Host) {
	n = scl.NewNetwork(p, tr)
	n.Lock()
	tb.Cleanup(n.Unlock)
	require.NoError(tb, gate.Standard(n.Controller(), gate.Info{VendorName: "sspemu"}))
	var err error
	a, err = n.Register("terminal", [16]byte{1}, 0)
	require.NoError(tb, err)
	b, err = n.Register("SPB", [16]byte{2}, p.Host.UICC)
	require.NoError(tb, err)
	for _, h := range []*scl.Host{a, b} {
		require.NoError(tb, gate.Standard(h, gate.Info{VendorName: h.Name(), ModelID: 7, VersionSW: [3]byte{1, 2, 3}, VersionHW: [3]byte{4, 5, 6}}))
	}
	return n, a, b
}

func TestRegistration(t *testing.T) {
	p := scl.DefaultProfile()
	n, a, b := network(t, p, nil)
	require.Equal(t, p.Host.DynamicFirst, a.ID())
	require.Equal(t, p.Host.UICC, b.ID())
	require.Equal(t, []*scl.Host{b, a}, n.Hosts())
	require.Equal(t, [16]byte{2}, b.UUID())
	require.Equal(t, "SPB (02)", b.String())
	require.Same(t, n, b.Network())
	require.Same(t, a, n.Host(a.ID()))
	require.Same(t, n.Controller(), n.Host(p.Host.NetworkController))
	require.Nil(t, n.Host(0x77))
	require.Same(t, b, n.Find(p.Gate.Identity))
	require.Nil(t, n.Find(p.Gate.UICCAPDU))

	_, err := n.Register("again", [16]byte{3}, p.Host.UICC)
	require.ErrorIs(t, err, scl.ErrTaken)
	_, err = n.Register("twin", [16]byte{2}, 0)
	require.ErrorIs(t, err, scl.ErrTaken)

	require.ErrorIs(t, b.Publish(p.Gate.Identity, scl.Registry{}), scl.ErrTaken)
	require.NoError(t, n.Deregister(b))
	require.ErrorIs(t, n.Deregister(b), scl.ErrNotRegistered)
	require.ErrorIs(t, b.Publish(p.Gate.UICCAPDU, scl.Registry{}), scl.ErrNotRegistered)
	_, err = b.Create(a.ID(), p.Gate.Identity)
	require.ErrorIs(t, err, scl.ErrNotRegistered)
	_, err = b.Admin().Get(p.Registry.HostList)
	require.ErrorIs(t, err, scl.ErrPipeDeleted)
	_, err = n.Controller().Create(a.ID(), p.Gate.Identity)
	require.ErrorIs(t, err, scl.ErrNotRegistered)
}

func TestDynamicHostsRunOut(t *testing.T) {
	p := scl.DefaultProfile()
	n, _, _ := network(t, p, nil)
	for i := 3; i < 3+int(p.Host.DynamicLast-p.Host.DynamicFirst); i++ {
		_, err := n.Register("x", [16]byte{byte(i)}, 0)
		require.NoError(t, err)
	}
	_, err := n.Register("x", [16]byte{0xFF}, 0)
	require.ErrorIs(t, err, scl.ErrTaken)
}

func TestAdministrationRegistry(t *testing.T) {
	p := scl.DefaultProfile()
	n, a, b := network(t, p, nil)
	r := p.Registry
	get := func(h *scl.Host, index byte) []byte {
		v, err := h.Admin().Get(index)
		require.NoError(t, err)
		return bytes.Clone(v)
	}
	require.Equal(t, []byte{0x00, 0x02, 0x80}, get(a, r.HostList))
	require.Equal(t, []byte{0x80}, get(a, r.HostID))
	require.Equal(t, []byte{0x02}, get(b, r.HostID))
	require.Equal(t, []byte{0x6E}, get(a, r.MaxPipe))
	require.Equal(t, make([]byte, 8), get(a, r.SessionIdentity))
	require.NoError(t, a.Admin().Set(r.SessionIdentity, []byte("12345678")))
	require.Equal(t, []byte("12345678"), get(a, r.SessionIdentity))
	require.Equal(t, make([]byte, 8), get(b, r.SessionIdentity), "each host has its own")
	require.ErrorIs(t, a.Admin().Set(r.SessionIdentity, []byte("short")), scl.ErrCmdParUnknown)
	require.ErrorIs(t, a.Admin().Set(r.HostList, []byte{1}), scl.ErrRegAccessDenied)
	require.ErrorIs(t, a.Admin().Set(0x33, []byte{1}), scl.ErrRegParUnknown)
	_, err := a.Admin().Get(0x33)
	require.ErrorIs(t, err, scl.ErrRegParUnknown)

	v, err := a.Link().Get(r.RecError)
	require.NoError(t, err)
	require.Equal(t, []byte{0, 0}, v)
	require.NoError(t, n.Deregister(b))
	require.Equal(t, []byte{0x00, 0x80}, get(a, r.HostList))
}

// TestBadCommands sends commands with wrong parameters; each gets its response.
func TestBadCommands(t *testing.T) {
	p := scl.DefaultProfile()
	n, a, b := network(t, p, nil)
	c, r := p.Command, p.Response
	echo, err := a.Bind(b.ID(), p.Gate.Loopback, &recorder{})
	require.NoError(t, err)
	other, err := n.Register("other", [16]byte{9}, 0)
	require.NoError(t, err)
	identity, err := a.Bind(b.ID(), p.Gate.Identity, nil)
	require.NoError(t, err)
	require.ErrorIs(t, identity.Set(p.Registry.ModelID, []byte{1}), scl.ErrRegAccessDenied)

	for _, tt := range []struct {
		name    string
		pipe    *scl.Pipe
		command byte
		par     []byte
		want    byte
	}{
		{"create, nothing", a.Admin(), c.AdmCreatePipe, nil, r.AnyECmdParUnknown},
		{"create, short", a.Admin(), c.AdmCreatePipe, []byte{0x20, 0x02}, r.AnyECmdParUnknown},
		{"create, long", a.Admin(), c.AdmCreatePipe, []byte{0x20, 0x02, 0x04, 0x00}, r.AnyECmdParUnknown},
		{"create to nobody", a.Admin(), c.AdmCreatePipe, []byte{0x20, 0x55, 0x04}, r.AnyENotConnected},
		{"create to itself", a.Admin(), c.AdmCreatePipe, []byte{0x20, 0x80, 0x04}, r.AnyEPipeAccessDenied},
		{"create to no gate", a.Admin(), c.AdmCreatePipe, []byte{0x20, 0x02, 0x77}, r.AnyENOK},
		{"create to no gate of the controller", a.Admin(), c.AdmCreatePipe, []byte{0x20, 0x00, 0x77}, r.AnyENOK},
		{"delete, nothing", a.Admin(), c.AdmDeletePipe, nil, r.AnyECmdParUnknown},
		{"delete no pipe", a.Admin(), c.AdmDeletePipe, []byte{0x50}, r.AnyENOK},
		{"delete no pipe at all", a.Admin(), c.AdmDeletePipe, []byte{0xFF}, r.AnyENOK},
		{"delete another's", other.Admin(), c.AdmDeletePipe, []byte{byte(echo.ID())}, r.AnyEPipeAccessDenied},
		{"unknown at administration", a.Admin(), 0x3F, nil, r.AnyECmdNotSupported},
		{"notification to the controller", a.Admin(), c.AdmNotifyPipeCreated, nil, r.AnyECmdNotSupported},
		{"unknown at loopback", echo, 0x3F, nil, r.AnyECmdNotSupported},
		{"registry at loopback", echo, c.AnyGetParameter, []byte{1}, r.AnyECmdNotSupported},
		{"unknown at identity", identity, 0x3F, nil, r.AnyECmdNotSupported},
		{"get without index", identity, c.AnyGetParameter, nil, r.AnyECmdParUnknown},
		{"get with more", identity, c.AnyGetParameter, []byte{1, 2}, r.AnyECmdParUnknown},
		{"set without index", identity, c.AnySetParameter, nil, r.AnyECmdParUnknown},
		{"unknown at link", a.Link(), 0x3F, nil, r.AnyECmdNotSupported},
		{"open again", echo, c.AnyOpenPipe, nil, r.AnyENOK},
	} {
		code, _, err := tt.pipe.Call(tt.command, tt.par)
		require.NoError(t, err, tt.name)
		require.Equal(t, tt.want, code, tt.name)
	}
}

func TestPipeLife(t *testing.T) {
	p := scl.DefaultProfile()
	n, a, b := network(t, p, nil)
	at := &recorder{}
	far := &recorder{}
	require.NoError(t, b.Publish(p.Gate.UICCAPDU, service{r: far}))

	pipe, err := a.Create(b.ID(), p.Gate.UICCAPDU)
	require.NoError(t, err)
	require.Equal(t, scl.Closed, pipe.State())
	require.Equal(t, p.Pipe.DynamicFirst, pipe.ID())
	require.Equal(t, p.Gate.DynamicLast, pipe.Gate())
	require.Same(t, a, pipe.Host())
	require.Same(t, b, pipe.Remote())
	require.ErrorIs(t, pipe.Send(scl.Message{Type: scl.Event}), scl.ErrPipeNotOpened)
	_, _, err = pipe.Call(1, nil)
	require.ErrorIs(t, err, scl.ErrPipeNotOpened)
	require.NoError(t, pipe.Close(), "closed is closed")

	require.NoError(t, pipe.Open(at))
	require.NoError(t, pipe.Open(at), "open is open")
	require.Equal(t, scl.Open, pipe.State())
	require.NoError(t, pipe.Send(scl.Message{Type: scl.Event, Instruction: 5, Data: []byte("x")}))
	require.Equal(t, []scl.Message{{Type: scl.Event, Instruction: 5, Data: []byte("x")}}, far.got)

	require.NoError(t, pipe.Close())
	require.Equal(t, 1, far.closed)
	require.Zero(t, at.closed, "its own doing")
	require.NoError(t, pipe.Open(at), "a second session")
	require.NoError(t, pipe.Delete())
	require.NoError(t, pipe.Delete())
	require.Equal(t, scl.Deleted, pipe.State())
	require.Equal(t, 2, far.closed)
	require.ErrorIs(t, pipe.Open(at), scl.ErrPipeDeleted)
	require.ErrorIs(t, pipe.Close(), scl.ErrPipeDeleted)
	require.ErrorIs(t, pipe.Send(scl.Message{Type: scl.Event}), scl.ErrPipeDeleted)
	table, ends := scl.Pipes(n, a, b)
	require.Zero(t, table)
	require.Zero(t, ends)
}

func TestGateClosesAndRefuses(t *testing.T) {
	p := scl.DefaultProfile()
	_, a, b := network(t, p, nil)
	at := &recorder{}
	far := &recorder{onMsg: func(p *scl.Pipe, m scl.Message) {
		_ = p.Close()
		_ = p.Open(nil) // only the end that created it can
	}}
	require.NoError(t, b.Publish(p.Gate.UICCAPDU, service{r: far}))
	pipe, err := a.Bind(b.ID(), p.Gate.UICCAPDU, at)
	require.NoError(t, err)
	require.NoError(t, pipe.Send(scl.Message{Type: scl.Event, Instruction: 5}))
	require.Equal(t, scl.Closed, pipe.State())
	require.Equal(t, 1, at.closed)
	require.Zero(t, far.closed)

	require.NoError(t, b.Publish(0x71, service{err: fmt.Errorf("not now: %w", scl.ErrInhibited)}))
	_, err = a.Bind(b.ID(), 0x71, at)
	require.ErrorIs(t, err, scl.ErrInhibited)
	require.ErrorContains(t, err, "open pipe 03 terminal (80) > SPB (02)")
}

func TestSendRefuses(t *testing.T) {
	p := scl.DefaultProfile()
	_, a, b := network(t, p, nil)
	r := &recorder{}
	pipe, err := a.Bind(b.ID(), p.Gate.Loopback, r)
	require.NoError(t, err)
	post := func(k int) error {
		return pipe.Send(scl.Message{Type: scl.Event, Instruction: p.Event.PostData, Data: make([]byte, k)})
	}
	require.NoError(t, post(p.Message.MaxLength))
	require.Len(t, r.got[0].Data, p.Message.MaxLength)
	require.ErrorIs(t, post(p.Message.MaxLength+1), scl.ErrMessageTooLong)
	require.ErrorIs(t, pipe.Send(scl.Message{Type: 3}), scl.ErrMessageType)
	require.ErrorIs(t, pipe.Send(scl.Message{Instruction: 0x40}), scl.ErrMessageType)
	require.NoError(t, post(0))
	require.Len(t, r.got, 2)
}

func TestLoopbackEveryLength(t *testing.T) {
	p := scl.Edit(t, "packet.mtu", 16)
	_, a, b := network(t, p, nil)
	r := &recorder{}
	pipe, err := a.Bind(b.ID(), p.Gate.Loopback, r)
	require.NoError(t, err)
	for k := range 100 {
		data := make([]byte, k)
		for i := range data {
			data[i] = byte(k + i)
		}
		r.got = nil
		require.NoError(t, pipe.Send(scl.Message{Type: scl.Event, Instruction: p.Event.PostData, Data: data}))
		require.Equal(t, []scl.Message{{Type: scl.Event, Instruction: p.Event.PostData, Data: data}}, r.got)
	}
}

// TestNested has both ends answer each message with two shorter ones from inside
// the call that brings it, on the same pipe, whole and in fragments. What a
// receiver was given must be the same before and after it answered.
func TestNested(t *testing.T) {
	p := scl.Edit(t, "packet.mtu", 16)
	for _, size := range []int{8, 100} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			_, a, b := network(t, p, nil)
			messages := 0
			var bounce func(p *scl.Pipe, m scl.Message)
			r := &recorder{}
			bounce = func(p *scl.Pipe, m scl.Message) {
				messages++
				before := bytes.Clone(m.Data)
				if m.Instruction > 0 {
					for i := range 2 {
						data := bytes.Repeat([]byte{m.Data[0]*2 + byte(i)}, len(m.Data))
						require.NoError(t, p.Send(scl.Message{Type: scl.Event, Instruction: m.Instruction - 1, Data: data}))
					}
				}
				require.Equal(t, before, m.Data)
			}
			r.onMsg = bounce
			require.NoError(t, b.Publish(p.Gate.UICCAPDU, service{r: r}))
			pipe, err := a.Bind(b.ID(), p.Gate.UICCAPDU, r)
			require.NoError(t, err)
			require.NoError(t, pipe.Send(scl.Message{Type: scl.Event, Instruction: 6, Data: bytes.Repeat([]byte{1}, size)}))
			require.Equal(t, 1<<7-1, messages)
		})
	}
}

func TestCall(t *testing.T) {
	p := scl.DefaultProfile()
	_, a, b := network(t, p, nil)
	var late *scl.Pipe
	far := &recorder{onMsg: func(p *scl.Pipe, m scl.Message) {
		switch m.Instruction {
		case 0x20:
			late = p // answers later
		case 0x21:
			_ = p.Respond(0, m.Data)
		case 0x22: // asks back first
			_ = p.Send(scl.Message{Type: scl.Event, Instruction: 1})
			_ = p.Respond(0, []byte("after"))
		}
	}}
	at := &recorder{}
	require.NoError(t, b.Publish(p.Gate.UICCAPDU, service{r: far}))
	pipe, err := a.Bind(b.ID(), p.Gate.UICCAPDU, at)
	require.NoError(t, err)

	_, resp, err := pipe.Call(0x21, []byte("hello"))
	require.NoError(t, err)
	require.Equal(t, "hello", string(resp))
	_, _, err = pipe.Call(0x20, nil)
	require.ErrorIs(t, err, scl.ErrNoResponse)
	require.NoError(t, late.Respond(3, nil))
	require.Equal(t, scl.Response, at.got[0].Type, "a late response goes to the receiver")
	_, resp, err = pipe.Call(0x21, bytes.Repeat([]byte("long "), 1000))
	require.NoError(t, err)
	require.Len(t, resp, 5000)

	at.onMsg = func(p *scl.Pipe, m scl.Message) {
		_, _, err := p.Call(0x21, nil)
		require.ErrorIs(t, err, scl.ErrBusy)
	}
	_, resp, err = pipe.Call(0x22, nil)
	require.NoError(t, err)
	require.Equal(t, "after", string(resp))
}

func TestPipesRunOut(t *testing.T) {
	p := scl.DefaultProfile()
	n, a, b := network(t, p, nil)
	var pipes []*scl.Pipe
	for range int(p.Pipe.DynamicLast-p.Pipe.DynamicFirst) + 1 {
		pipe, err := a.Create(b.ID(), p.Gate.Loopback)
		require.NoError(t, err)
		pipes = append(pipes, pipe)
	}
	_, err := a.Create(b.ID(), p.Gate.Loopback)
	require.ErrorIs(t, err, scl.ErrNoPipesAvailable)
	require.NoError(t, pipes[50].Delete())
	again, err := a.Create(b.ID(), p.Gate.Loopback)
	require.NoError(t, err)
	require.Equal(t, pipes[50].ID(), again.ID())

	code, _, err := a.Admin().Call(p.Command.AdmClearAllPipe, nil)
	require.NoError(t, err)
	require.Equal(t, p.Response.AnyOK, code)
	table, ends := scl.Pipes(n, a, b)
	require.Zero(t, table)
	require.Zero(t, ends)
}

func TestApplicationGatesRunOut(t *testing.T) {
	p := scl.Edit(t, "gate.dynamic_first", 0xEE)
	_, a, b := network(t, p, nil)
	for range 2 {
		_, err := a.Create(b.ID(), p.Gate.Loopback)
		require.NoError(t, err)
	}
	_, err := a.Create(b.ID(), p.Gate.Loopback)
	require.ErrorIs(t, err, scl.ErrTaken)
}

func TestDeregisterTellsPeers(t *testing.T) {
	p := scl.DefaultProfile()
	n, a, b := network(t, p, nil)
	c, err := n.Register("third", [16]byte{3}, 0)
	require.NoError(t, err)
	ra, rb, rc := &recorder{}, &recorder{}, &recorder{}
	require.NoError(t, b.Publish(p.Gate.UICCAPDU, service{r: rb}))
	for range 2 {
		_, err = a.Bind(b.ID(), p.Gate.UICCAPDU, ra)
		require.NoError(t, err)
	}
	_, err = c.Bind(b.ID(), p.Gate.UICCAPDU, rc)
	require.NoError(t, err)
	_, err = b.Bind(a.ID(), p.Gate.Identity, rb)
	require.NoError(t, err)
	_, err = b.Bind(p.Host.NetworkController, p.Gate.Loopback, rb)
	require.NoError(t, err)
	keep, err := c.Bind(a.ID(), p.Gate.Loopback, rc)
	require.NoError(t, err)

	require.NoError(t, n.Deregister(b))
	require.Equal(t, 2, ra.closed)
	require.Equal(t, 1, rc.closed)
	require.Equal(t, 5, rb.closed)
	table, ends := scl.Pipes(n, a, b, c, n.Controller())
	require.Equal(t, 1, table)
	require.Equal(t, 2, ends)
	require.NoError(t, keep.Send(scl.Message{Type: scl.Event, Instruction: p.Event.PostData, Data: []byte("still")}))
	require.Len(t, rc.got, 1)
}

func TestWatch(t *testing.T) {
	p := scl.DefaultProfile()
	n, _, b := network(t, p, nil)
	var got []string
	cancel := n.Watch(func(e scl.HostEvent) { got = append(got, fmt.Sprintf("%s %s %02X", e.Host.Name(), e.Kind, e.Gate)) })
	c, err := n.Register("c", [16]byte{3}, 0)
	require.NoError(t, err)
	require.NoError(t, c.Publish(p.Gate.UICCAPDU, scl.Registry{}))
	require.NoError(t, n.Deregister(b))
	cancel()
	require.NoError(t, n.Deregister(c))
	require.Equal(t, []string{"c registered 00", "c published 30", "SPB deregistered 00"}, got)
}

func TestAfter(t *testing.T) {
	n := scl.NewNetwork(scl.DefaultProfile(), nil)
	var order []string
	n.Exclusive(func() {
		n.After(func() {
			n.Exclusive(func() { order = append(order, "after") }) // the lock is free
		})
		order = append(order, "inside")
	})
	require.Equal(t, []string{"inside", "after"}, order)
}

// lines is a sink: one line an event.
type lines struct{ b strings.Builder }

func (l *lines) Emit(e *trace.Event) {
	fmt.Fprintf(&l.b, "%-8s %-6s %-40s % X", e.Layer, e.Name, e.Where, e.Data)
	if e.Note != "" {
		fmt.Fprintf(&l.b, "  (%s)", e.Note)
	}
	l.b.WriteByte('\n')
}

// TestSession plays a whole session and compares every packet on the wire with
// testdata/session.golden (go test -update writes it).
func TestSession(t *testing.T) {
	tr := trace.New(nil)
	l := &lines{}
	tr.Add(l)
	session(t, scl.DefaultProfile(), tr)
	const file = "testdata/session.golden"
	if *update {
		require.NoError(t, os.WriteFile(file, []byte(l.b.String()), 0o644))
	}
	want, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, string(want), l.b.String())
}

// TestOtherNumbers plays the same session with a profile in which every number
// is another one: what the code does must hang on the profile alone.
func TestOtherNumbers(t *testing.T) {
	pairs := []any{
		"packet.header_octets", 2, "packet.chaining_bit", 0, "packet.chaining_last", 0, "packet.pipe_shift", 3, "packet.pipe_bits", 11, "packet.mtu", 40,
		"message.type_shift", 0, "message.instruction_shift", 2, "type.command", 3, "type.event", 0, "type.response", 1,
		"width.host", 2, "width.gate", 2, "width.pipe", 2,
		"pipe.link", 0x600, "pipe.administration", 0x700, "pipe.dynamic_first", 0x10, "pipe.dynamic_last", 0x500,
		"host.network_controller", 0x4444, "host.terminal", 0x102, "host.uicc", 0x103, "host.dynamic_first", 0x1000, "host.dynamic_last", 0x2000,
		"gate.dynamic_first", 0x300, "gate.dynamic_last", 0x400,
	}
	for _, e := range scl.DefaultProfile().Entries() {
		switch ns, _, _ := strings.Cut(e.Name, "."); {
		case ns == "gate" && !strings.Contains(e.Name, "dynamic"):
			pairs = append(pairs, e.Name, 0x1111+e.Value)
		case ns == "command", ns == "response", ns == "event":
			pairs = append(pairs, e.Name, 0x3F-e.Value)
		case ns == "registry":
			pairs = append(pairs, e.Name, 0xF0-e.Value)
		}
	}
	session(t, scl.Edit(t, pairs...), nil)
}

// card is a gate.APDUService that answers with the command and 9000.
type card struct{}

func (card) APDU(in []byte) []byte { return append(bytes.Clone(in), 0x90, 0x00) }
func (card) Reset(bool)            {}
func (card) ATR() []byte           { return []byte{0x3B, 0x00} }

func session(t *testing.T, p *scl.Profile, tr *trace.Tracer) {
	n, a, b := network(t, p, tr)
	require.NoError(t, b.Publish(p.Gate.UICCAPDU, gate.NewAPDU(n, card{})))

	identity, err := a.Bind(b.ID(), p.Gate.Identity, nil)
	require.NoError(t, err)
	v, err := identity.Get(p.Registry.VendorName)
	require.NoError(t, err)
	require.Equal(t, "SPB", string(v))
	v, err = identity.Get(p.Registry.GatesList)
	require.NoError(t, err)
	var gates []byte
	for _, g := range b.Gates() {
		gates = p.AppendGateID(gates, g)
	}
	require.Equal(t, gates, v)
	require.NoError(t, identity.Delete())

	loop, err := a.Bind(p.Host.NetworkController, p.Gate.Loopback, &recorder{})
	require.NoError(t, err)
	require.NoError(t, loop.Send(scl.Message{Type: scl.Event, Instruction: p.Event.PostData, Data: []byte("echo")}))

	r := &recorder{}
	apdu, err := a.Bind(b.ID(), p.Gate.UICCAPDU, r)
	require.NoError(t, err)
	long := bytes.Repeat([]byte{0xAA}, 1100)
	require.NoError(t, apdu.Send(scl.Message{Type: scl.Event, Instruction: p.Event.CAPDU, Data: []byte{0x00, 0xA4, 0x00, 0x0C, 0x02, 0x3F, 0x00}}))
	require.NoError(t, apdu.Send(scl.Message{Type: scl.Event, Instruction: p.Event.CAPDU, Data: long}))
	require.NoError(t, apdu.Send(scl.Message{Type: scl.Event, Instruction: p.Event.Abort}))
	require.NoError(t, apdu.Send(scl.Message{Type: scl.Event, Instruction: p.Event.EndOfAPDUTransfer}))
	require.Equal(t, []scl.Message{
		{Type: scl.Event, Instruction: p.Event.ATR, Data: []byte{0x3B, 0x00}},
		{Type: scl.Event, Instruction: p.Event.RAPDU, Data: []byte{0x00, 0xA4, 0x00, 0x0C, 0x02, 0x3F, 0x00, 0x90, 0x00}},
		{Type: scl.Event, Instruction: p.Event.RAPDU, Data: append(long, 0x90, 0x00)},
		{Type: scl.Event, Instruction: p.Event.ATR, Data: []byte{0x3B, 0x00}},
	}, r.got)
	hosts, err := a.Admin().Get(p.Registry.HostList)
	require.NoError(t, err)
	require.Equal(t, p.AppendHostID(p.AppendHostID(p.AppendHostID(nil, p.Host.NetworkController), b.ID()), a.ID()), hosts)
	require.NoError(t, n.Deregister(b))
	require.Equal(t, 1, r.closed)
	require.Equal(t, scl.Deleted, apdu.State())
	_, err = a.Bind(p.Host.UICC, p.Gate.UICCAPDU, r)
	require.ErrorIs(t, err, scl.ErrNotConnected)
}

// FuzzRoute feeds packets from outside to the router, as a host on a link could:
// nothing panics, and when the hosts have left no pipe is left.
func FuzzRoute(f *testing.F) {
	p := scl.Edit(f, "message.max_length", 400)
	f.Add([]byte("\x05\x81\x10\xEF\x02\x30\x02\x82\x03\x03\x82\x50\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		n, a, c := network(t, p, nil)
		require.NoError(t, c.Publish(p.Gate.UICCAPDU, gate.NewAPDU(n, card{})))
		_, err := a.Bind(c.ID(), p.Gate.Loopback, &recorder{})
		require.NoError(t, err)
		for len(b) > 0 { // length, packet
			k := min(int(b[0]), len(b)-1)
			_ = scl.Route(a, b[1:1+k])
			b = b[1+k:]
		}
		require.NoError(t, n.Deregister(a))
		require.NoError(t, n.Deregister(c))
		table, ends := scl.Pipes(n, a, c, n.Controller())
		require.Zero(t, table)
		require.Zero(t, ends)
	})
}

func TestRouteUnknownPipe(t *testing.T) {
	p := scl.DefaultProfile()
	_, a, b := network(t, p, nil)
	require.ErrorIs(t, scl.Route(a, []byte{0xD0, 0x40}), scl.ErrNoPipe)
	require.ErrorIs(t, scl.Route(a, []byte{0x80}), scl.ErrPacket)
	require.ErrorIs(t, scl.Route(a, []byte{0x81, 0xC0}), scl.ErrMessageType)
	// A pipe of others: the loopback pipe between a and b is not the third's.
	n := a.Network()
	c, err := n.Register("third", [16]byte{3}, 0)
	require.NoError(t, err)
	pipe, err := a.Bind(b.ID(), p.Gate.Loopback, &recorder{})
	require.NoError(t, err)
	require.ErrorIs(t, scl.Route(c, p.AppendPacket(nil, scl.Packet{Pipe: pipe.ID(), Last: true, Fragment: []byte{0x42}})), scl.ErrNoPipe)
	// A closed pipe takes no command but ANY_OPEN_PIPE.
	require.NoError(t, pipe.Close())
	require.NoError(t, scl.Route(a, p.AppendPacket(nil, scl.Packet{Pipe: pipe.ID(), Last: true, Fragment: []byte{0x3F}})))
	require.True(t, errors.Is(pipe.Send(scl.Message{Type: scl.Event}), scl.ErrPipeNotOpened))
}

func BenchmarkLoopback64(b *testing.B)   { benchmarkLoopback(b, 64) }
func BenchmarkLoopback256K(b *testing.B) { benchmarkLoopback(b, 256<<10) }

func benchmarkLoopback(b *testing.B, size int) {
	p := scl.DefaultProfile()
	_, h, far := network(b, p, nil)
	got := 0
	pipe, err := h.Bind(far.ID(), p.Gate.Loopback, &counter{&got})
	require.NoError(b, err)
	m := scl.Message{Type: scl.Event, Instruction: p.Event.PostData, Data: make([]byte, size)}
	require.NoError(b, pipe.Send(m))
	b.SetBytes(int64(size))
	b.ReportAllocs()
	for b.Loop() {
		if err := pipe.Send(m); err != nil {
			b.Fatal(err)
		}
	}
	require.Positive(b, got)
}

type counter struct{ n *int }

func (c *counter) Message(_ *scl.Pipe, m scl.Message) { *c.n += len(m.Data) }
func (*counter) Closed(*scl.Pipe)                     {}

func TestSendDoesNotAllocate(t *testing.T) {
	p := scl.DefaultProfile()
	_, a, b := network(t, p, nil)
	got := 0
	pipe, err := a.Bind(b.ID(), p.Gate.Loopback, &counter{&got})
	require.NoError(t, err)
	for _, size := range []int{0, 64, 5000, 65536} {
		m := scl.Message{Type: scl.Event, Instruction: p.Event.PostData, Data: make([]byte, size)}
		require.Zero(t, testing.AllocsPerRun(10, func() { _ = pipe.Send(m) }), "%d octets", size)
	}
}
