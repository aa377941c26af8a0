package gate_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/internal/trace"
	"github.com/sspemu/sspemu/scl"
	"github.com/sspemu/sspemu/scl/gate"
)

// everything keeps the octets and words of all events.
type everything struct{ b bytes.Buffer }

func (s *everything) Emit(e *trace.Event) {
	s.b.Write(e.Data)
	fmt.Fprintln(&s.b, e.Name, e.Where, e.Note)
}

// TestSecretsAreNotTraced: a PIN that is said to the accessor gate is in no event,
// also when it comes in pieces.
func TestSecretsAreNotTraced(t *testing.T) {
	for _, mtu := range []int{1024, 10, 12} {
		tr := trace.New(nil)
		seen := &everything{}
		tr.Add(seen)
		p := scl.DefaultProfile()
		n := scl.NewNetwork(p, tr)
		pin := "correct horse battery staple"
		g, err := gate.NewAccessors(n, []gate.Accessor{
			{Name: "anonymous"}, {ID: 1, Name: "operator", Kind: gate.PIN, Secret: gate.Secret(pin), Tries: 3, Every: true},
		}, nil, nil)
		require.NoError(t, err)
		n.Exclusive(func() { require.NoError(t, n.Controller().Publish(p.Gate.Accessor, g)) })

		var d *scl.Domain
		port := n.Attach("link", mtu, func(b []byte) { d.Packet(b) })
		d = scl.NewDomain(p, "terminal", [16]byte{1}, mtu, func(b []byte) { port.Packet(b) })
		d.Lock()
		require.NoError(t, d.Register())
		pipe, err := d.Host().Bind(p.Host.NetworkController, p.Gate.Accessor, nil)
		require.NoError(t, err)
		code, _, err := pipe.Call(p.Command.AccessorAuthenticate, append([]byte{1}, pin...))
		require.NoError(t, err)
		require.Equal(t, p.Response.AnyOK, code)
		d.Unlock()
		all := seen.b.String()
		require.Contains(t, all, "AUTHENTICATE, its parameters are not shown")
		for i := 0; i+4 <= len(pin); i++ {
			require.False(t, strings.Contains(all, pin[i:i+4]), "MTU %d: %q is in the trace", mtu, pin[i:i+4])
		}
	}
}
