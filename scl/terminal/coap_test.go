package terminal_test

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
	"github.com/plgd-dev/go-coap/v3/message/pool"
	"github.com/plgd-dev/go-coap/v3/udp/client"

	"github.com/sspemu/sspemu/bundles/sdk"
	"github.com/sspemu/sspemu/bundles/sdk/coap"
	"github.com/sspemu/sspemu/bundles/sdk/sdktest"
	"github.com/sspemu/sspemu/scl"
	"github.com/sspemu/sspemu/scl/terminal"
)

// bundle is an App that serves CoAP.
type bundle struct {
	*coap.Server
	do func()
}

func (*bundle) Personalise(*sdk.Doc) error                     { return nil }
func (*bundle) Init(sdk.Reason) error                          { return nil }
func (*bundle) Signal(sdk.Signal)                              {}
func (b *bundle) Gates() sdk.Gates                             { return sdk.Gates{UDP: b.Server} }
func (b *bundle) APDU(*sdk.Command, *sdk.Response) (sw sdk.SW) { b.do(); return sdk.OK }

// coapSPB is an SPB whose UDP gate leads to a bundle.
type coapSPB struct {
	*ssp
	t    testing.TB
	b    *bundle
	card *sdktest.Card
	pipe *sdktest.Pipe
	p    *scl.Pipe // of the latest client
	lose int       // so many datagrams to the bundle get lost
}

func newCoAPSPB(t testing.TB, s *coap.Server) *coapSPB {
	c := &coapSPB{ssp: newSSP(t), t: t, b: &bundle{Server: s}}
	c.card = sdktest.New(t, func() sdk.App { return c.b })
	c.card.PowerOn()
	c.udp.on = func(p *scl.Pipe, data []byte) bool {
		if c.lose > 0 {
			c.lose--
			return true
		}
		if c.p != p {
			c.p = p
			var err error
			c.pipe, err = c.card.Open(sdk.GateUDP, 1, 1<<40)
			require.NoError(t, err)
		}
		c.pipe.Send(data)
		c.pass()
		return true
	}
	return c
}

// pass takes what the bundle sent to the network.
func (c *coapSPB) pass() {
	for _, out := range c.pipe.Out {
		require.NoError(c.t, c.udp.g.Send(c.p, out))
	}
	c.pipe.Out = nil
}

// during runs f in a call into the bundle.
func (c *coapSPB) during(f func()) {
	c.n.Exclusive(func() {
		c.b.do = f
		require.Equal(c.t, "9000", c.card.Transmit("00000000"))
		c.pass()
	})
}

func (c *coapSPB) dialCoAP() *client.Conn {
	cc, err := c.ssp.t.CoAP(c.t.Context())
	require.NoError(c.t, err)
	return cc
}

func payload(t testing.TB, m *pool.Message, err error) string {
	require.NoError(t, err)
	b, err := m.ReadBody()
	require.NoError(t, err)
	return string(b)
}

func TestCoAP(t *testing.T) {
	s := coap.New()
	stored := strings.Repeat("as it was ", 1000)
	s.Handle("store", coap.Resource{
		Get: func(_ *coap.Request, w *coap.Response) { w.Text(stored) },
		Put: func(r *coap.Request, _ *coap.Response) {
			stored = string(r.Payload)
			s.Notify("store")
		},
		Observable: true,
	})
	asked := make(chan *coap.Response, 1)
	s.Handle("never", coap.Resource{Get: func(_ *coap.Request, w *coap.Response) { asked <- w.Later() }})
	spb := newCoAPSPB(t, s)
	cc := spb.dialCoAP()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()

	// Both directions in blocks, and notifications.
	m, err := cc.Get(ctx, "/store")
	require.Equal(t, stored, payload(t, m, err))
	changes := make(chan string, 10)
	o, err := cc.Observe(ctx, "/store", func(m *pool.Message) { changes <- payload(t, m, nil) })
	require.NoError(t, err)
	require.Equal(t, stored, <-changes)
	long := bytes.Repeat([]byte("0123456789abcdef"), 1<<14)
	m, err = cc.Put(ctx, "/store", message.TextPlain, bytes.NewReader(long))
	require.NoError(t, err)
	require.Equal(t, codes.Changed, m.Code())
	require.Equal(t, string(long), stored)
	require.Equal(t, string(long), <-changes)
	spb.during(func() { stored = "short"; s.Notify("store") })
	require.Equal(t, "short", <-changes)
	require.NoError(t, o.Cancel(ctx))
	require.NoError(t, cc.Ping(ctx))
	m, err = cc.Get(ctx, "/nothing")
	require.NoError(t, err)
	require.Equal(t, codes.NotFound, m.Code())

	// A separate response; a request that gets lost is sent again.
	var slow *pool.Message
	under := make(chan error)
	go func() {
		var err error
		slow, err = cc.Get(ctx, "/never")
		under <- err
	}()
	open := <-asked
	spb.during(func() { open.Text("at last"); open.Answer() })
	err = <-under
	require.Equal(t, "at last", payload(t, slow, err))
	spb.n.Exclusive(func() { spb.lose = 1 })
	m, err = cc.Get(ctx, "/store")
	require.Equal(t, "short", payload(t, m, err))

	// The end, by Close and by the bundle.
	require.NoError(t, cc.Close())
	<-cc.Done()
	_, err = cc.Get(ctx, "/store")
	require.Error(t, err)
	cc = spb.dialCoAP()
	closed := make(chan bool)
	cc.AddOnClose(func() { close(closed) })
	go func() {
		_, err := cc.Get(ctx, "/never")
		under <- err
	}()
	<-asked
	spb.leave(t)
	require.ErrorIs(t, <-under, terminal.ErrRemoved)
	<-closed
	_, err = spb.ssp.t.CoAP(ctx)
	require.ErrorIs(t, err, terminal.ErrNoCard)
}
