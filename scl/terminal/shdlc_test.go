package terminal_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/scl"
	"github.com/sspemu/sspemu/scl/gate"
	"github.com/sspemu/sspemu/scl/terminal"
	"github.com/sspemu/sspemu/transport"
	"github.com/sspemu/sspemu/transport/bus"
	"github.com/sspemu/sspemu/transport/shdlc"
)

// newSSPOnBus is newSSP whose link is SHDLC on a simulated bus. The SPB answers HTTP
// requests with their bodies.
func newSSPOnBus(t *testing.T, o bus.Options) (s *ssp, controller transport.Link) {
	w, err := bus.NewWire(o)
	require.NoError(t, err)
	controller, err = shdlc.NewController(w.Controller, shdlc.Default(), w.String())
	require.NoError(t, err)
	target, err := shdlc.NewTarget(w.Socket(), shdlc.Default(), w.String())
	require.NoError(t, err)

	s = &ssp{n: scl.NewNetwork(scl.DefaultProfile(), nil)}
	s.n.Exclusive(func() { require.NoError(t, gate.Standard(s.n.Controller(), gate.Info{VendorName: "controller"})) })
	s.join(t)
	requests := map[*scl.Pipe][]byte{}
	s.tcp.on = func(p *scl.Pipe, data []byte) bool {
		_ = p.Grant(len(data) + 1)
		requests[p] = append(requests[p], data...)
		r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(requests[p])))
		if err != nil {
			return true // there is more to come
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return true
		}
		delete(requests, p)
		s.tcp.held[p] = append(fmt.Appendf(s.tcp.held[p], "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", len(body)), body...)
		s.tcp.Credit(p, 0)
		return true
	}
	s.adapter, err = terminal.NewAdapter(s.n, target)
	require.NoError(t, err)
	require.NoError(t, s.adapter.Open(context.Background()))
	s.t, err = terminal.Open(context.Background(), controller, nil)
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, s.t.Close())
		require.NoError(t, s.adapter.Close())
	})
	return s, controller
}

// TestHTTPOverSHDLC: requests and responses of all sizes cross a bus, clean and noisy.
func TestHTTPOverSHDLC(t *testing.T) {
	for _, tt := range []struct {
		name string
		o    bus.Options
	}{
		{"SPI", bus.Options{}},
		{"I2C", bus.Options{Physical: bus.I2C}},
		{"SPI, no interrupt line", bus.Options{NoIRQ: true}},
		{"SPI, noise", bus.Options{Faults: bus.Faults{Seed: 1, BER: 1e-5}}},
		{"I2C, noise", bus.Options{Physical: bus.I2C, Faults: bus.Faults{Seed: 2, BER: 1e-5, NACK: 0.01}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, _ := newSSPOnBus(t, tt.o)
			h := terminal.NewHTTP(s.t.DialTCP)
			defer h.CloseIdleConnections()
			for _, n := range []int{0, 1, 100, 1000, 1024, 5000, 32768} {
				for range 3 {
					body := bytes.Repeat([]byte{byte(n), 'x', 0xFF, 0}, n/4+1)[:n]
					_, got := fetch(t, h, newRequest(t, http.MethodPost, bytes.NewReader(body)))
					require.Equal(t, string(body), got)
				}
			}
		})
	}
}

// TestSHDLCLinkEnds: a terminal whose link begins anew learns it at once, and a new
// one finds the SSP as it was.
func TestSHDLCLinkEnds(t *testing.T) {
	s, controller := newSSPOnBus(t, bus.Options{})
	require.NoError(t, controller.Send(transport.Reset, nil))
	select {
	case <-s.t.Done():
	case <-time.After(10 * time.Second):
		require.Fail(t, "nobody told the terminal")
	}
	_, err := s.t.DialTCP(context.Background())
	require.Error(t, err)
	require.NoError(t, s.t.Close())
	s.t, err = terminal.Open(context.Background(), controller, nil)
	require.NoError(t, err)
	_, got := fetch(t, terminal.NewHTTP(s.t.DialTCP), newRequest(t, http.MethodPost, bytes.NewReader([]byte("again"))))
	require.Equal(t, "again", got)
}
