package scl_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/scl"
	"github.com/sspemu/sspemu/scl/gate"
)

// sink is a gate.StreamService that keeps what comes and grants what it is told to.
type sink struct {
	grant  int
	pipes  map[*scl.Pipe]int // octets that came
	ends   []byte            // reasons
	credit int
}

func (s *sink) Opened(p *scl.Pipe) error {
	s.pipes[p] = 0
	if s.grant == 0 {
		return nil
	}
	return p.Grant(s.grant)
}
func (s *sink) Data(p *scl.Pipe, data []byte) { s.pipes[p] += len(data) }
func (s *sink) Credit(_ *scl.Pipe, n int)     { s.credit += n }
func (s *sink) Closed(p *scl.Pipe, reason byte) {
	delete(s.pipes, p)
	s.ends = append(s.ends, reason)
}

// far is a network with an SPB, and a domain at the other end of a link of two
// function calls.
type far struct {
	p    *scl.Profile
	n    *scl.Network
	spb  *scl.Host
	sink *sink
	tcp  *gate.Stream
	port *scl.Port
	d    *scl.Domain
	raw  func([]byte) // instead of the domain, when it is set
}

func join(tb testing.TB, mtu int) *far {
	f := &far{p: scl.DefaultProfile()}
	f.n = scl.NewNetwork(f.p, nil)
	f.n.Exclusive(func() {
		require.NoError(tb, gate.Standard(f.n.Controller(), gate.Info{VendorName: "controller"}))
		var err error
		f.spb, err = f.n.Register("SPB", [16]byte{2}, f.p.Host.UICC)
		require.NoError(tb, err)
		require.NoError(tb, gate.Standard(f.spb, gate.Info{VendorName: "SPB"}))
		f.sink = &sink{grant: 1000, pipes: map[*scl.Pipe]int{}}
		f.tcp = gate.NewTCP(f.n, f.sink)
		require.NoError(tb, f.spb.Publish(f.p.Gate.TCP, f.tcp))
	})
	f.port = f.n.Attach("link", mtu, func(b []byte) {
		if f.raw != nil {
			f.raw(bytes.Clone(b))
			return
		}
		f.d.Packet(b)
	})
	f.d = scl.NewDomain(f.p, "terminal", [16]byte{9}, mtu, func(b []byte) { f.port.Packet(b) })
	return f
}

// do runs f with the domain locked.
func (f *far) do(do func()) {
	f.d.Lock()
	defer f.d.Unlock()
	do()
}

// TestDomain: what a host in this process can, one behind a link can as well.
func TestDomain(t *testing.T) {
	f := join(t, 64)
	h := f.d.Host()
	f.do(func() {
		_, err := h.Create(f.p.Host.UICC, f.p.Gate.Loopback)
		require.ErrorIs(t, err, scl.ErrNotRegistered)
		require.ErrorIs(t, f.d.Deregister(), scl.ErrNotRegistered)
		require.NoError(t, f.d.Register())
		require.ErrorIs(t, f.d.Register(), scl.ErrTaken)
		require.Equal(t, f.p.Host.Terminal, h.ID())
		require.Equal(t, scl.HostRegistered, h.State())

		v, err := h.Admin().Get(f.p.Registry.HostList)
		require.NoError(t, err)
		require.Equal(t, []byte{0, 1, 2}, v)
		v, err = h.Link().Get(f.p.Registry.MTU)
		require.NoError(t, err)
		require.Equal(t, []byte{0, 64}, v)

		r := &recorder{}
		p, err := h.Bind(f.p.Host.UICC, f.p.Gate.Loopback, r)
		require.NoError(t, err)
		long := bytes.Repeat([]byte("0123456789"), 5000)
		require.NoError(t, p.Send(scl.Message{Type: scl.Event, Instruction: f.p.Event.PostData, Data: long}))
		f.d.Unlock()
		f.d.Lock()
		require.Len(t, r.got, 1)
		require.Equal(t, long, r.got[0].Data, "cut to the MTU of the link, both ways")
		require.NoError(t, p.Close())
		require.NoError(t, p.Open(r))
		require.NoError(t, p.Delete())
		_, err = h.Bind(0x55, f.p.Gate.Loopback, r)
		require.ErrorIs(t, err, scl.ErrNotConnected)
		_, err = h.Bind(f.p.Host.UICC, 0x66, r)
		require.ErrorIs(t, err, scl.ErrNOK)
	})
	f.n.Exclusive(func() {
		require.Len(t, f.n.Hosts(), 2)
		require.Equal(t, "terminal (01)", f.port.Host().String())
	})
	f.do(func() {
		require.NoError(t, f.d.Deregister())
		require.NoError(t, f.d.Register(), "and again")
	})
	f.port.Close()
	f.n.Exclusive(func() { require.Len(t, f.n.Hosts(), 1) })
	f.do(func() {
		f.d.Lost()
		_, err := h.Create(f.p.Host.UICC, f.p.Gate.Loopback)
		require.ErrorIs(t, err, scl.ErrNotRegistered)
		require.False(t, f.d.Wait(scl.Never))
	})
}

// TestFromTheSSP: a host of the SSP binds to a gate of the terminal, and unbinds.
func TestFromTheSSP(t *testing.T) {
	f := join(t, 256)
	f.do(func() {
		require.NoError(t, f.d.Register())
		require.NoError(t, gate.Standard(f.d.Host(), gate.Info{VendorName: "terminal"}))
	})
	r := &recorder{}
	var p *scl.Pipe
	opened := make(chan error, 1)
	f.n.Exclusive(func() {
		var err error
		p, err = f.spb.Create(f.p.Host.Terminal, f.p.Gate.Loopback)
		require.NoError(t, err)
		require.NoError(t, p.OpenThen(r, func(err error) { opened <- err }))
		require.ErrorIs(t, p.OpenThen(r, nil), scl.ErrBusy)
	})
	require.NoError(t, <-opened)
	f.n.Exclusive(func() {
		require.Equal(t, scl.Open, p.State())
		require.NoError(t, p.Send(scl.Message{Type: scl.Event, Instruction: f.p.Event.PostData, Data: []byte("hello")}))
	})
	require.Len(t, r.got, 1)
	f.n.Exclusive(func() {
		require.NoError(t, p.Delete())
		q, err := f.spb.Create(f.p.Host.Terminal, 0x66)
		require.NoError(t, err, "the network cannot know")
		require.NoError(t, q.OpenThen(r, func(err error) { opened <- err }))
	})
	require.Error(t, <-opened, "a gate that the terminal does not have")
	f.do(func() { require.NoError(t, f.d.Deregister()) })
}

// TestStrangers: a host that is not registered may register, and nothing else;
// whatever it sends, the others do not notice.
func TestStrangers(t *testing.T) {
	f := join(t, 1024)
	var got [][]byte
	f.raw = func(b []byte) { got = append(got, b) }
	admin := func(instr byte, data ...byte) []byte {
		b, err := f.p.AppendMessage(nil, scl.Message{Type: scl.Command, Instruction: instr, Data: data})
		require.NoError(t, err)
		return f.p.AppendPacket(nil, scl.Packet{Pipe: f.p.Pipe.Administration, Last: true, Fragment: b})
	}
	uuid := make([]byte, 16)
	for _, tt := range []struct {
		name string
		send []byte
		want int // response code; -1: none
	}{
		{"create", admin(f.p.Command.AdmCreatePipe, 0x80, 2, 4), int(f.p.Response.AnyEInhibited)},
		{"deregister", admin(f.p.Command.AdmDeregisterHost), int(f.p.Response.AnyEInhibited)},
		{"nothing", admin(f.p.Command.AdmRegisterHost), int(f.p.Response.AnyECmdParUnknown)},
		{"short", admin(f.p.Command.AdmRegisterHost, append(uuid, 0)...), int(f.p.Response.AnyECmdParUnknown)},
		{"MTU of zero", admin(f.p.Command.AdmRegisterHost, append(uuid, 0, 0)...), int(f.p.Response.AnyECmdParUnknown)},
		{"name too long", admin(f.p.Command.AdmRegisterHost, append(append(uuid, 4, 0), bytes.Repeat([]byte("x"), 65)...)...), int(f.p.Response.AnyECmdParUnknown)},
		{"name not UTF-8", admin(f.p.Command.AdmRegisterHost, append(uuid, 4, 0, 0xFF)...), int(f.p.Response.AnyECmdParUnknown)},
		{"UUID of another", admin(f.p.Command.AdmRegisterHost, append(append([]byte{2}, uuid[1:]...), 4, 0)...), int(f.p.Response.AnyENOK)},
		{"empty packet", nil, -1},
		{"header only", []byte{0x81}, -1},
		{"pipe of nobody", []byte{0xC2, 0x03}, -1},
		{"a response nobody waits for", []byte{0x81, 0x80}, -1},
		{"registers", admin(f.p.Command.AdmRegisterHost, append(append(uuid, 4, 0), "a\x00b"...)...), int(f.p.Response.AnyOK)},
		{"twice", admin(f.p.Command.AdmRegisterHost, append(uuid, 4, 0)...), int(f.p.Response.AnyEInhibited)},
		{"white list cut short", admin(f.p.Command.AnySetParameter, f.p.Registry.Whitelist), int(f.p.Response.AnyOK)},
	} {
		got = nil
		f.port.Packet(tt.send)
		var codes []int
		for _, b := range got {
			k, err := f.p.DecodePacket(b)
			require.NoError(t, err)
			if m, err := f.p.DecodeMessage(k.Fragment); err == nil && m.Type == scl.Response {
				codes = append(codes, int(m.Instruction))
			}
		}
		if tt.want < 0 {
			require.Empty(t, codes, tt.name)
		} else {
			require.Equal(t, []int{tt.want}, codes, tt.name)
		}
	}
	f.n.Exclusive(func() {
		require.Equal(t, "ab", f.port.Host().Name())
		_, err := f.spb.Create(f.p.Host.Terminal, f.p.Gate.Loopback)
		require.ErrorIs(t, err, scl.ErrPipeAccessDenied, "its white list is empty now")
	})
}

// TestCredit: a sender that does not keep to its credit loses the pipe, and only
// that.
func TestCredit(t *testing.T) {
	f := join(t, 1024)
	e := scl.Message{Type: scl.Event, Instruction: f.p.Event.TCPData}
	var p, other *scl.Pipe
	r := &recorder{}
	f.do(func() {
		require.NoError(t, f.d.Register())
		var err error
		p, err = f.d.Host().Bind(f.p.Host.UICC, f.p.Gate.TCP, r)
		require.NoError(t, err)
		other, err = f.d.Host().Bind(f.p.Host.UICC, f.p.Gate.TCP, &recorder{})
		require.NoError(t, err)
		f.d.Unlock()
		f.d.Lock()
		require.Equal(t, 1000, p.Credit())
		e.Data = make([]byte, 999)
		require.NoError(t, p.Send(e))
		require.Zero(t, p.Credit())
		e.Data = nil
		require.ErrorIs(t, p.Send(e), scl.ErrNoCredit)
		require.Error(t, p.Grant(0))
		require.NoError(t, p.Grant(1<<31-1))
		require.Error(t, p.Grant(1))
	})
	f.n.Exclusive(func() { require.Equal(t, 1<<31-1, f.sink.credit) })

	// A terminal that sends all the same.
	for _, data := range [][]byte{{}, make([]byte, 100)} {
		f.do(func() {
			var err error
			p, err = f.d.Host().Bind(f.p.Host.UICC, f.p.Gate.TCP, r)
			require.NoError(t, err)
			f.d.Unlock()
			f.d.Lock()
			e.Data = make([]byte, 999)
			require.NoError(t, p.Send(e))
		})
		b, err := f.p.AppendMessage(nil, scl.Message{Type: scl.Event, Instruction: f.p.Event.TCPData, Data: data})
		require.NoError(t, err)
		f.port.Packet(f.p.AppendPacket(nil, scl.Packet{Pipe: p.ID(), Last: true, Fragment: b}))
		f.do(func() {
			require.Equal(t, scl.Deleted, p.State())
			require.Equal(t, scl.Open, other.State())
		})
	}
	require.Equal(t, 2, r.closed)

	// A chain that never ends is given up as soon as it has no credit.
	f.do(func() {
		var err error
		p, err = f.d.Host().Bind(f.p.Host.UICC, f.p.Gate.TCP, r)
		require.NoError(t, err)
	})
	part := f.p.AppendPacket(nil, scl.Packet{Pipe: p.ID(), Fragment: make([]byte, 1000)})
	for range 3 {
		f.port.Packet(part)
	}
	f.do(func() { require.Equal(t, scl.Deleted, p.State()) })
	f.do(func() {
		v, err := f.d.Host().Link().Get(f.p.Registry.RecError)
		require.NoError(t, err)
		require.NotZero(t, binary.BigEndian.Uint16(v))
		require.NoError(t, f.d.Host().Link().Set(f.p.Registry.RecError, []byte{0, 0}))
		require.ErrorIs(t, f.d.Host().Link().Set(f.p.Registry.RecError, []byte{0}), scl.ErrCmdParUnknown)
		require.Equal(t, 1000, other.Credit(), "nobody else noticed")
	})
}

// TestUnbindMidMessage: the pipe goes while a chain is under way; what comes of it
// afterwards is nobody's.
func TestUnbindMidMessage(t *testing.T) {
	f := join(t, 1024)
	var p *scl.Pipe
	f.do(func() {
		require.NoError(t, f.d.Register())
		var err error
		p, err = f.d.Host().Bind(f.p.Host.UICC, f.p.Gate.Loopback, &recorder{})
		require.NoError(t, err)
	})
	f.port.Packet(f.p.AppendPacket(nil, scl.Packet{Pipe: p.ID(), Fragment: []byte{0x42, 1, 2, 3}}))
	f.do(func() { require.NoError(t, p.Delete()) })
	f.port.Packet(f.p.AppendPacket(nil, scl.Packet{Pipe: p.ID(), Last: true, Fragment: []byte{4}}))
	f.do(func() {
		q, err := f.d.Host().Bind(f.p.Host.UICC, f.p.Gate.Loopback, &recorder{})
		require.NoError(t, err)
		require.Equal(t, p.ID(), q.ID(), "the identifier is used again")
		v, err := f.d.Host().Link().Get(f.p.Registry.RecError)
		require.NoError(t, err)
		require.Equal(t, []byte{0, 1}, v)
	})
}

// TestAccess: rules decide who may create pipes to what.
func TestAccess(t *testing.T) {
	f := join(t, 1024)
	f.do(func() { require.NoError(t, f.d.Register()) })
	f.n.Exclusive(func() {
		f.n.SetAccess(func(from, to *scl.Host, gate scl.GateID) error {
			if from == f.port.Host() && gate == f.p.Gate.TCP {
				return scl.ErrPipeAccessDenied
			}
			return nil
		})
	})
	f.do(func() {
		_, err := f.d.Host().Bind(f.p.Host.UICC, f.p.Gate.TCP, nil)
		require.ErrorIs(t, err, scl.ErrPipeAccessDenied)
		_, err = f.d.Host().Bind(f.p.Host.UICC, f.p.Gate.Loopback, nil)
		require.NoError(t, err)
	})
	f.n.Exclusive(func() {
		require.NoError(t, f.spb.Admin().Set(f.p.Registry.Whitelist, []byte{0x33}))
		v, err := f.spb.Admin().Get(f.p.Registry.Whitelist)
		require.NoError(t, err)
		require.Empty(t, v, "33 is not there")
	})
	f.do(func() {
		_, err := f.d.Host().Bind(f.p.Host.UICC, f.p.Gate.Loopback, nil)
		require.ErrorIs(t, err, scl.ErrPipeAccessDenied)
	})
	f.n.Exclusive(func() {
		require.NoError(t, f.spb.Admin().Set(f.p.Registry.Whitelist, []byte{0x33, byte(f.p.Host.Terminal)}))
		f.n.SetAccess(nil)
	})
	f.do(func() {
		_, err := f.d.Host().Bind(f.p.Host.UICC, f.p.Gate.TCP, nil)
		require.NoError(t, err)
	})
}

// FuzzPort plays a terminal that sends anything, in several packets. The network
// holds, and another host's loopback works.
func FuzzPort(f *testing.F) {
	reg := append([]byte{0x81, 0x16}, make([]byte, 18)...)
	reg[18] = 4
	f.Add(append([]byte{20}, reg...))
	f.Add(append(append([]byte{20}, reg...), 5, 0x81, 0x10, 0x80, 2, 0x31, 2, 0x82, 0x03, 6, 0x82, 0x7E, 0, 0, 1, 0, 3, 0x82, 0x50, 7))
	f.Add(append(append([]byte{20}, reg...), 5, 0x81, 0x10, 0x80, 2, 0x04, 2, 0x82, 0x03, 3, 0x02, 0x42, 7, 2, 0x82, 0x01, 2, 0x81, 0x14))
	f.Fuzz(func(t *testing.T, script []byte) {
		x := join(t, 256)
		sent := 0
		x.raw = func(b []byte) { sent += len(b) }
		for i := 0; i < 200 && len(script) > 0; i++ {
			k := min(int(script[0]), len(script)-1)
			x.port.Packet(script[1 : 1+k])
			script = script[1+k:]
		}
		x.n.Exclusive(func() {
			h, err := x.n.Register("other", [16]byte{0xEE}, 0)
			require.NoError(t, err)
			r := &recorder{}
			p, err := h.Bind(x.p.Host.UICC, x.p.Gate.Loopback, r)
			if err == nil { // the fuzzer may have used up the pipes
				require.NoError(t, p.Send(scl.Message{Type: scl.Event, Instruction: x.p.Event.PostData, Data: []byte("x")}))
				require.Len(t, r.got, 1)
			}
		})
		x.port.Close()
		x.n.Exclusive(func() { require.NoError(t, x.n.Deregister(x.spb)) })
		table, _ := scl.Pipes(x.n)
		require.LessOrEqual(t, table, 1)
	})
}

// TestStress: terminals that come, go and misbehave at the same time, while the SPB
// comes and goes as well. It is for the race detector; at the end all is gone.
func TestStress(t *testing.T) {
	f := join(t, 256)
	f.raw = func([]byte) {}
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for round := range 20 {
				var d *scl.Domain
				port := f.n.Attach(fmt.Sprint("link ", i), 128, func(b []byte) { d.Packet(b) })
				d = scl.NewDomain(f.p, "t", [16]byte{1, byte(i), byte(round)}, 128, func(b []byte) { port.Packet(b) })
				d.Lock()
				if d.Register() == nil {
					for range 5 {
						r := &recorder{}
						if p, err := d.Host().Bind(f.p.Host.UICC, f.p.Gate.Loopback, r); err == nil {
							_ = p.Send(scl.Message{Type: scl.Event, Instruction: f.p.Event.PostData, Data: make([]byte, 1000)})
							if round%2 == 0 {
								_ = p.Delete()
							}
						}
					}
				}
				d.Unlock()
				for k := range 50 { // noise
					port.Packet([]byte{byte(k * 7), byte(k), byte(round)})
				}
				port.Close()
				d.Lock()
				d.Lost()
				d.Unlock()
			}
		})
	}
	wg.Go(func() {
		for range 50 {
			f.n.Exclusive(func() {
				if f.n.Deregister(f.spb) != nil {
					t.Error("deregister")
				}
				var err error
				if f.spb, err = f.n.Register("SPB", [16]byte{2}, f.p.Host.UICC); err != nil {
					t.Error(err)
				}
				_ = gate.Standard(f.spb, gate.Info{})
			})
		}
	})
	wg.Wait()
	f.n.Exclusive(func() { require.Len(t, f.n.Hosts(), 1) })
	table, ends := scl.Pipes(f.n, f.spb, f.n.Controller())
	require.Zero(t, table)
	require.Zero(t, ends)
}
