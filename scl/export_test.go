package scl

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/internal/trace"
)

// sniffer keeps the packets that one pipe end sends.
type sniffer struct {
	where   string
	packets [][]byte
}

func (s *sniffer) Emit(e *trace.Event) {
	if e.Name == "packet" && e.Where == s.where {
		s.packets = append(s.packets, append([]byte(nil), e.Data...))
	}
}

// sniff has the end of a pipe between two bare hosts send m, and returns the
// packets.
func sniff(p *Profile, id PipeID, m Message) [][]byte {
	tr := trace.New(nil)
	n := NewNetwork(p, tr)
	a, b := n.newHost("a", [16]byte{1}, p.Host.Terminal), n.newHost("b", [16]byte{2}, p.Host.UICC)
	from, to := n.newPipe(a, b, id, 0, 0), n.newPipe(b, a, id, 0, 0)
	n.joints[id] = joint{a, b}
	a.pipes[id], b.pipes[id] = from, to
	s := &sniffer{where: from.String()}
	tr.Add(s)
	_ = from.send(m)
	return s.packets
}

// Route feeds one packet to the router as if h had sent it.
func Route(h *Host, b []byte) error { return h.n.route(h, nil, b) }

// Pipes counts the pipes in the table and the ends at the given hosts.
func Pipes(n *Network, hosts ...*Host) (table, ends int) {
	for _, j := range n.joints {
		if j != (joint{}) {
			table++
		}
	}
	for _, h := range hosts {
		for _, p := range h.pipes {
			if p != nil {
				ends++
			}
		}
	}
	return table, ends
}

// Edit is profile 0 with other values: pairs of an entry's name and its value.
func Edit(tb testing.TB, pairs ...any) *Profile {
	p, err := ParseProfile("edited", edit(tb, pairs...))
	require.NoError(tb, err)
	return p
}
