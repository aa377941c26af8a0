package gate_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/internal/trace"
	"github.com/sspemu/sspemu/scl"
	"github.com/sspemu/sspemu/scl/gate"
)

// card is an APDUService that writes down what it is asked.
type card struct {
	calls []string
	atr   []byte
	do    func(in []byte) []byte
}

func (c *card) APDU(in []byte) []byte {
	c.calls = append(c.calls, "APDU")
	return c.do(in)
}

func (c *card) Reset(cold bool) {
	if cold {
		c.calls = append(c.calls, "cold")
	} else {
		c.calls = append(c.calls, "warm")
	}
}

func (c *card) ATR() []byte { return c.atr }

type recorder struct{ got []scl.Message }

func (r *recorder) Message(_ *scl.Pipe, m scl.Message) {
	r.got = append(r.got, scl.Message{Type: m.Type, Instruction: m.Instruction, Data: bytes.Clone(m.Data)})
}
func (*recorder) Closed(*scl.Pipe) {}

func hosts(t *testing.T, tr *trace.Tracer) (n *scl.Network, terminal, spb *scl.Host) {
	n = scl.NewNetwork(scl.DefaultProfile(), tr)
	n.Lock()
	t.Cleanup(n.Unlock)
	var err error
	terminal, err = n.Register("terminal", [16]byte{1}, 0)
	require.NoError(t, err)
	spb, err = n.Register("SPB", [16]byte{2}, n.Profile().Host.UICC)
	require.NoError(t, err)
	return n, terminal, spb
}

func TestIdentity(t *testing.T) {
	n, a, spb := hosts(t, nil)
	info := gate.Info{VersionSW: [3]byte{1, 2, 3}, VersionHW: [3]byte{4, 5, 6}, Version: 9, VendorName: strings.Repeat("x", 30), ModelID: 7}
	require.NoError(t, gate.Standard(spb, info))
	require.ErrorIs(t, gate.Standard(spb, info), scl.ErrTaken)
	r := n.Profile().Registry
	p, err := a.Bind(spb.ID(), n.Profile().Gate.Identity, nil)
	require.NoError(t, err)
	for _, tt := range []struct {
		index byte
		want  []byte
	}{
		{r.VersionSW, []byte{1, 2, 3}},
		{r.HCIVersion, []byte{9}},
		{r.VersionHW, []byte{4, 5, 6}},
		{r.VendorName, []byte(strings.Repeat("x", 20))},
		{r.ModelID, []byte{7}},
		{r.GatesList, []byte{0x04, 0x05}},
	} {
		v, err := p.Get(tt.index)
		require.NoError(t, err)
		require.Equal(t, tt.want, v)
	}
	require.NoError(t, spb.Publish(n.Profile().Gate.UICCAPDU, gate.NewAPDU(n, &card{})))
	v, err := p.Get(r.GatesList)
	require.NoError(t, err)
	require.Equal(t, []byte{0x04, 0x05, 0x30}, v, "up to date")
	_, err = p.Get(0x77)
	require.ErrorIs(t, err, scl.ErrRegParUnknown)
}

func TestLoopback(t *testing.T) {
	n, a, spb := hosts(t, nil)
	require.NoError(t, gate.Standard(spb, gate.Info{}))
	e := n.Profile().Event
	r := &recorder{}
	p, err := a.Bind(spb.ID(), n.Profile().Gate.Loopback, r)
	require.NoError(t, err)
	post := scl.Message{Type: scl.Event, Instruction: e.PostData, Data: []byte("again")}
	require.NoError(t, p.Send(post))
	require.NoError(t, p.Send(scl.Message{Type: scl.Event, Instruction: e.PostData + 1, Data: []byte("not this")}))
	require.NoError(t, p.Send(scl.Message{Type: scl.Response}))
	require.Equal(t, []scl.Message{post}, r.got)
	code, _, err := p.Call(0x20, nil)
	require.NoError(t, err)
	require.Equal(t, n.Profile().Response.AnyECmdNotSupported, code)
	require.NoError(t, p.Close())
}

func TestAPDU(t *testing.T) {
	n, a, spb := hosts(t, nil)
	pr := n.Profile()
	c := &card{atr: []byte{0x3B, 0x80}, do: func(in []byte) []byte { return append(bytes.Clone(in), 0x90, 0) }}
	require.NoError(t, spb.Publish(pr.Gate.UICCAPDU, gate.NewAPDU(n, c)))
	r := &recorder{}
	p, err := a.Create(spb.ID(), pr.Gate.UICCAPDU)
	require.NoError(t, err)
	require.Empty(t, c.calls, "a pipe that is not open gives no power")

	require.NoError(t, p.Open(r))
	event := func(e byte, data ...byte) scl.Message {
		return scl.Message{Type: scl.Event, Instruction: e, Data: data}
	}
	require.NoError(t, p.Send(event(pr.Event.CAPDU, 0, 1, 2, 3)))
	require.NoError(t, p.Send(event(pr.Event.CAPDU)))
	require.NoError(t, p.Send(event(pr.Event.Abort)))
	require.NoError(t, p.Send(event(pr.Event.EndOfAPDUTransfer)))
	require.NoError(t, p.Send(event(0x3F)))
	require.NoError(t, p.Send(scl.Message{Type: scl.Response}))
	require.NoError(t, p.Close())
	require.NoError(t, p.Open(r))

	require.Equal(t, []string{"cold", "APDU", "APDU", "warm", "cold"}, c.calls)
	atr := event(pr.Event.ATR, 0x3B, 0x80)
	require.Equal(t, []scl.Message{atr, event(pr.Event.RAPDU, 0, 1, 2, 3, 0x90, 0), event(pr.Event.RAPDU, 0x90, 0), atr, atr}, r.got)

	v, err := p.Get(pr.Registry.MaxCAPDUSize)
	require.NoError(t, err)
	require.Equal(t, []byte{0xFF, 0xFF}, v)
	v, err = p.Get(pr.Registry.MaxWaitTime)
	require.NoError(t, err)
	require.Equal(t, []byte{0x13, 0x88}, v)
	code, _, err := p.Call(0x20, nil)
	require.NoError(t, err)
	require.Equal(t, pr.Response.AnyECmdNotSupported, code)
}

// TestSwitchDuringAPDU: a command that makes its own SPB inactive is not answered.
func TestSwitchDuringAPDU(t *testing.T) {
	n, a, spb := hosts(t, nil)
	pr := n.Profile()
	c := &card{atr: []byte{0x3B, 0x80}, do: func([]byte) []byte {
		require.NoError(t, n.Deregister(spb))
		return []byte{0x90, 0}
	}}
	require.NoError(t, spb.Publish(pr.Gate.UICCAPDU, gate.NewAPDU(n, c)))
	r := &recorder{}
	p, err := a.Bind(spb.ID(), pr.Gate.UICCAPDU, r)
	require.NoError(t, err)
	require.NoError(t, p.Send(scl.Message{Type: scl.Event, Instruction: pr.Event.CAPDU, Data: []byte{0, 0, 0, 0}}))
	require.Len(t, r.got, 1, "the ATR only")
	require.Equal(t, scl.Deleted, p.State())
}

type notes struct{ got []string }

func (s *notes) Emit(e *trace.Event) {
	if e.Layer == trace.Gate {
		s.got = append(s.got, e.Name+": "+e.Note)
	}
}

func TestTrace(t *testing.T) {
	tr := trace.New(nil)
	s := &notes{}
	tr.Add(s)
	n, a, spb := hosts(t, tr)
	pr := n.Profile()
	answers := [][]byte{{0x61, 0x10}, {0x6A}, {1, 2, 0x90, 0}}
	c := &card{do: func([]byte) []byte {
		out := answers[0]
		answers = answers[1:]
		return out
	}}
	require.NoError(t, spb.Publish(pr.Gate.UICCAPDU, gate.NewAPDU(n, c)))
	p, err := a.Bind(spb.ID(), pr.Gate.UICCAPDU, &recorder{})
	require.NoError(t, err)
	for _, in := range [][]byte{{0, 0xA4, 0, 4, 2, 0x3F, 0}, {0, 0xA4}, {1, 0xB0, 0, 0, 2}} {
		require.NoError(t, p.Send(scl.Message{Type: scl.Event, Instruction: pr.Event.CAPDU, Data: in}))
	}
	require.Equal(t, []string{
		"ATR: ",
		"C-APDU: case 3, channel 0, Nc 2, Ne 0", "R-APDU: 0 bytes, SW 6110",
		"C-APDU: apdu: shorter than the four bytes CLA INS P1 P2", "R-APDU: shorter than a status word",
		"C-APDU: case 2, channel 1, Nc 0, Ne 2", "R-APDU: 2 bytes, SW 9000",
	}, s.got)
}
