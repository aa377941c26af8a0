package coap_test

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/udp/coder"

	"github.com/sspemu/sspemu/bundles/sdk"
	"github.com/sspemu/sspemu/bundles/sdk/coap"
)

// clock is a server with an observable resource that change counts up.
type clock struct {
	*stage
	s      *coap.Server
	ticks  int
	format coap.Format
	asked  int    // how often Get was called
	inGet  func() // called by Get
	pad    int    // octets behind the number
}

func newClock(t testing.TB, confirm, credit int) *clock {
	c := &clock{s: coap.New()}
	c.s.Handle("t", coap.Resource{
		Get: func(r *coap.Request, w *coap.Response) {
			c.asked++
			if c.inGet != nil {
				c.inGet()
			}
			q, _ := r.Query("q")
			w.Send(c.format, []byte(strconv.Itoa(c.ticks)+q+strings.Repeat(".", c.pad)))
		},
		Observable: true, Confirm: confirm,
	})
	c.stage = newStage(t, c.s, credit)
	return c
}

// change makes n changes, with a notification each, from an APDU.
func (c *clock) change(n int) {
	c.during(func() {
		for range n {
			c.ticks++
			c.s.Notify("/t")
		}
	})
}

func TestNotifications(t *testing.T) {
	for _, tc := range []struct {
		name    string
		confirm int
		play    func(c *clock)
	}{
		{"every 16th is confirmable", 0, func(c *clock) {
			for n := 1; n <= 40; n++ {
				c.change(1)
				if n%16 == 0 {
					c.play(fmt.Sprintf("< CON 2.05 token=01 observe ct=0 '%d'\n> ACK last EMPTY", n))
				} else {
					c.play(fmt.Sprintf("< NON 2.05 token=01 observe ct=0 '%d'", n))
				}
			}
		}},
		{"one a day is confirmable", 1000, func(c *clock) {
			c.change(1)
			c.Advance(24 * time.Hour)
			c.play("< NON 2.05 token=01 observe ct=0 '1'")
			c.change(2)
			c.play(`
				< CON 2.05 token=01 observe ct=0 '2'
				< NON 2.05 token=01 observe ct=0 '3'
				> ACK last-1 EMPTY
				| 100s`)
		}},
		{"Reset of one that is not confirmable, also some later", 1000, func(c *clock) {
			c.change(4)
			c.play(`
				< NON 2.05 token=01 observe ct=0 '1'
				< NON 2.05 token=01 observe ct=0 '2'
				< NON 2.05 token=01 observe ct=0 '3'
				< NON 2.05 token=01 observe ct=0 '4'
				> RST last-9 EMPTY
				> 3: RST last EMPTY
				> ACK last EMPTY`)
			c.change(1)
			c.play("< NON 2.05 token=01 observe ct=0 '5'\n> RST last-3 EMPTY")
			c.change(1)
		}},
		{"Reset of a confirmable one", 1, func(c *clock) {
			c.change(1)
			c.play("< CON 2.05 token=01 observe ct=0 '1'\n> RST last EMPTY")
			c.change(1)
		}},
		{"given up: the state of now is sent again, then the client is forgotten", 1, func(c *clock) {
			c.change(1)
			c.play("< CON 2.05 token=01 observe ct=0 '1'")
			c.ticks = 7
			c.play(`
				| 3s
				< CON 2.05 token=01 observe ct=0 '7'
				| 6s
				< CON 2.05 token=01 observe ct=0 '7'
				| 12s
				< CON 2.05 token=01 observe ct=0 '7'
				| 24s
				< CON 2.05 token=01 observe ct=0 '7'
				| 48s`)
			c.change(1)
		}},
		{"changes while one is under way are told at once and confirmed afterwards", 1, func(c *clock) {
			c.change(3)
			c.play(`
				< CON 2.05 token=01 observe ct=0 '1'
				< NON 2.05 token=01 observe ct=0 '2'
				< NON 2.05 token=01 observe ct=0 '3'
				> ACK last-2 EMPTY
				< CON 2.05 token=01 observe ct=0 '3'
				> ACK last EMPTY
				| 100s`)
		}},
		{"another format is an error and the end", 0, func(c *clock) {
			c.format = coap.JSON
			c.change(1)
			c.play("< NON 4.06 token=01 'the format changed'")
			c.change(1)
		}},
		{"the query of the request is asked again", 0, func(c *clock) {
			c.play("> CON 2 GET token=02 observe=0 path=t query=q=x\n< ACK 0x0002 2.05 token=02 observe ct=0 '0x'")
			c.change(1)
			c.play("< NON 2.05 token=01 observe ct=0 '1'\n< NON 2.05 token=02 observe ct=0 '1x'")
		}},
		{"a long notification: the client fetches the rest", 0, func(c *clock) {
			c.pad = 1500
			c.change(1)
			c.play(`
				< NON 2.05 token=01 etag observe ct=0 block2=0/1/1024 size2=1501 (1024)
				> CON 2 GET token=02 path=t block2=1/0/1024
				< ACK 0x0002 2.05 token=02 etag ct=0 block2=1/0/1024 (477)`)
		}},
		{"a handler that changes what it is asked about", 0, func(c *clock) {
			c.inGet = func() { c.inGet = nil; c.ticks = 50; c.s.Notify("t") }
			c.change(1)
			c.play("< NON 2.05 token=01 observe ct=0 '50'\n< NON 2.05 token=01 observe ct=0 '50'")
			c.inGet = func() { c.s.Notify("t") } // for ever
			c.change(1)
			c.play("< NON 2.05 token=01 observe ct=0 '51'\n< NON 2.05 token=01 observe ct=0 '51'")
		}},
		{"a handler that takes its time, once for ever", 0, func(c *clock) {
			var open []*coap.Response
			c.s.Handle("t", coap.Resource{Observable: true, Get: func(_ *coap.Request, w *coap.Response) { open = append(open, w.Later()) }})
			c.change(2)
			c.play("")
			c.during(func() { open[1].Text("at last"); open[1].Answer() })
			c.play("< NON 2.05 token=01 observe ct=0 'at last'\n> RST last EMPTY")
			c.during(func() { open[0].Text("too late"); open[0].Answer() })
		}},
		{"the resource is moved, below another one, then nowhere", 0, func(c *clock) {
			below := func(v string) coap.Resource {
				return coap.Resource{Observable: true, Get: func(r *coap.Request, w *coap.Response) { w.Text(v + r.Path) }}
			}
			c.s.Handle("u/", below("below "))
			c.play("> CON 2 GET token=02 observe=0 path=u path=v\n< ACK 0x0002 2.05 token=02 observe ct=0 'below u/v'")
			c.during(func() { c.s.Handle("u/v", below("at ")); c.s.Notify("u/v") })
			c.play("< NON 2.05 token=02 observe ct=0 'at u/v'")
			c.during(func() { c.s.Remove("u/v"); c.s.Notify("u/v"); c.s.Notify("u/") })
			c.play("< NON 2.05 token=02 observe ct=0 'below u/v'")
			c.during(func() { c.s.Remove("u/") })
			c.play("< NON 4.04 token=02 'the resource was removed'")
			c.during(func() { c.s.Handle("t", coap.Resource{}) })
			c.play("< NON 4.04 token=01 'the resource was removed'")
		}},
		{"begun with 2.03", 0, func(c *clock) {
			c.s.Handle("e", coap.Resource{Observable: true, Get: func(_ *coap.Request, w *coap.Response) {
				w.ETag = []byte{byte(c.ticks)}
				w.Text("e")
			}})
			c.play("> CON 2 GET token=02 etag=00 observe=0 path=e\n< ACK 0x0002 2.03 token=02 etag=00 observe")
			c.during(func() { c.ticks++; c.s.Notify("e") })
			c.play("< NON 2.05 token=02 etag=01 observe ct=0 'e'")
		}},
		{"the resource is handled anew", 0, func(c *clock) {
			c.s.Handle("t", coap.Resource{Observable: true, Get: func(_ *coap.Request, w *coap.Response) { w.Text("new") }})
			c.change(1)
			c.play("< NON 2.05 token=01 observe ct=0 'new'")
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := newClock(t, tc.confirm, 1<<20)
			c.play("> CON 1 GET token=01 observe=0 path=t\n< ACK 0x0001 2.05 token=01 observe ct=0 '0'")
			tc.play(c)
			c.play("")
		})
	}
}

// TestClosedPipe: a session takes with it all that its peers had.
func TestClosedPipe(t *testing.T) {
	s := house()
	st := newStage(t, s, 1<<20)
	st.play(`
		> CON 1 GET token=01 observe=0 path=temperature
		< ACK 0x0001 2.05 token=01 observe '22.3 C'
		> CON 2 GET path=slow
		< ACK 0x0002 EMPTY
		> CON 3 GET path=slow
		< ACK 0x0003 EMPTY
		> CON 4 POST path=count
		< ACK 0x0004 2.04 ct=0 '1'
		> CON 5 PUT path=store block1=0/1/16 '0123456789012345'
		< ACK 0x0005 2.31 block1=0/1/16
		| 1s
		< CON 2.05 ct=0 'done'
		< CON 2.05 ct=0 'done'
		> CON 6 GET path=slow
		< ACK 0x0006 EMPTY`)
	require.NoError(t, st.pipe.Close(0))
	var err error
	st.pipe, err = st.Open(sdk.GateUDP, 1, 1<<20) // the same number again
	require.NoError(t, err)
	st.play(`
		| 100s
		> CON 4 POST path=count
		< ACK 0x0004 2.04 ct=0 '2'
		> CON 7 PUT path=store block1=1/0/16 '!'
		< ACK 0x0007 4.08 block1=1/0/16 'the blocks before are missing'
		> CON 8 PUT path=temperature '1'
		< ACK 0x0008 2.04`)
	require.NoError(t, st.pipe.Message(9, nil))
	require.NoError(t, st.pipe.Message(sdk.Data, make([]byte, 17)))
	require.Len(t, st.Logs, 2, "both are logged")
}

// TestLostPipe: a pipe that ended without a word is noticed by the next message.
func TestLostPipe(t *testing.T) {
	c := newClock(t, 1, 1<<20)
	c.play("> CON 1 GET token=01 observe=0 path=t\n< ACK 0x0001 2.05 token=01 observe ct=0 '0'")
	var slow *coap.Response
	c.s.Handle("slow", coap.Resource{Get: func(_ *coap.Request, w *coap.Response) { slow = w.Later() }})
	c.play("> CON 2 GET path=slow\n< ACK 0x0002 EMPTY")
	c.during(func() {
		require.NoError(t, sdk.Send(sdk.GateUDP, 1, sdk.Closed, []byte{0}))
		c.s.Notify("t")
		c.s.Notify("t")
		slow.Answer()
	})
	require.Equal(t, 2, c.asked, "at the registration and once in vain")
	c.play("| 100s")
}

// TestWithoutCredit: a notification that cannot be sent is not lost, the latest
// state comes when there is credit again, in the order of who waits longest.
func TestWithoutCredit(t *testing.T) {
	c := newClock(t, 0, 0)
	for n := 1; n <= 5; n++ {
		c.tell(n, "NON 1 GET token=01 observe=0 path=t")
	}
	require.Empty(t, c.heard(), "the answers are lost, but the relations are there")
	other, err := c.Open(sdk.GateUDP, 2, 1<<20)
	require.NoError(t, err)
	other.Send(append(peerAddr(9), encode(t, "NON 1 GET token=01 observe=0 path=t")...))
	require.Len(t, other.Out, 1)
	told := func(n, ticks int) string {
		return strings.TrimPrefix(fmt.Sprintf("%d: NON 2.05 token=01 observe ct=0 '%d'", n, ticks), "1: ")
	}

	c.change(2)
	require.Empty(t, c.heard())
	require.Len(t, other.Out, 3, "the other pipe does not suffer")
	size := 0
	for ; len(c.pipe.Out) == 0; size++ {
		require.NoError(t, c.pipe.Grant(1))
	}
	require.Equal(t, len(c.pipe.Out[0])+1, size)
	require.Equal(t, []string{told(1, 2)}, c.heard())
	c.change(1)
	require.NoError(t, c.pipe.Grant(2*size+3))
	require.Equal(t, []string{told(2, 3), told(3, 3)}, c.heard())
	require.NoError(t, c.pipe.Grant(1<<20))
	require.Equal(t, []string{told(4, 3), told(5, 3), told(1, 3)}, c.heard())
	c.change(1)
	require.Equal(t, []string{told(1, 4), told(2, 4), told(3, 4), told(4, 4), told(5, 4)}, c.heard())

	// A client that leaves while it waits gets nothing.
	require.NoError(t, other.Close(0))
	require.Len(t, other.Out, 5)
}

// TestThousandObservers: each of them gets each change, with growing numbers.
func TestThousandObservers(t *testing.T) {
	c := newClock(t, 0, 1<<30)
	const clients, changes = 1000, 40
	seen := make(map[string]uint32)
	for n := range clients {
		c.tell(n, fmt.Sprintf("CON %d GET token=%04x observe=0 path=t", n, n))
	}
	require.Len(t, c.heard(), clients)
	for change := 1; change <= changes; change++ {
		if change == changes/2 {
			c.Advance(time.Hour)
		}
		c.change(1)
		require.Len(t, c.pipe.Out, clients)
		out := c.pipe.Out
		c.pipe.Out = nil
		for _, b := range out {
			addr := b[:sdk.PeerLength]
			m := message.Message{Options: make(message.Options, 0, 8)}
			_, err := coder.DefaultCoder.Decode(b[sdk.PeerLength:], &m)
			require.NoError(t, err)
			require.Equal(t, []byte{addr[14], addr[15]}, []byte(m.Token))
			require.Equal(t, strconv.Itoa(change), string(m.Payload))
			seq, err := m.Options.Observe()
			require.NoError(t, err)
			key := string(addr)
			require.True(t, newer(seen[key], seq), "%d after %d", seq, seen[key])
			seen[key] = seq
			if m.Type == message.Confirmable {
				c.pipe.Send(append(bytes.Clone(addr), 0x60, 0, byte(m.MessageID>>8), byte(m.MessageID)))
			}
		}
	}
	require.Len(t, seen, clients)
	c.Advance(time.Hour)
	require.Empty(t, c.heard(), "all is acknowledged")
}

// newer is the comparison of RFC 7641 3.4.
func newer(a, b uint32) bool {
	return a < b && b-a < 1<<23 || a > b && a-b > 1<<23
}

// TestTooManyObservers: who comes too late is answered as if not asked to observe.
func TestTooManyObservers(t *testing.T) {
	c := newClock(t, 0, 1<<30)
	for n := range coap.MaxObservers {
		c.tell(n, "NON 1 GET token=01 observe=0 path=t")
	}
	c.heard()
	c.play("> 5000: CON 1 GET token=01 observe=0 path=t\n< 5000: ACK 0x0001 2.05 token=01 ct=0 '0'")
	c.play("> 7: CON 2 GET token=01 observe=1 path=t\n< 7: ACK 0x0002 2.05 token=01 ct=0 '0'")
	c.play("> 5000: CON 2 GET token=01 observe=0 path=t\n< 5000: ACK 0x0002 2.05 token=01 observe ct=0 '0'")
}
