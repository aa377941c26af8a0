package iso7816_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"net"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/internal/pcscdtest"
	"github.com/sspemu/sspemu/transport"
	"github.com/sspemu/sspemu/transport/iso7816"
)

// testATR offers T=0 and T=1.
var testATR = []byte{0x3B, 0x80, 0x80, 0x01, 0x01}

// insertCard puts a card into the daemon's reader: it answers a command with
// the command's bytes and 9000 and counts the resets.
func insertCard(t *testing.T, d *pcscdtest.Daemon) (card transport.Link, resets *[256]atomic.Int32) {
	t.Helper()
	resets = new([256]atomic.Int32)
	card = open(t, d.URL, transport.Target)
	var answer []byte
	require.NoError(t, card.Open(context.Background(), receiver(func(k transport.Kind, p []byte) {
		resets[k].Add(1)
		switch k {
		case transport.PowerOn, transport.Reset, transport.GetATR:
			_ = card.Send(transport.ATR, testATR) // pcscd may be gone
		case transport.Block:
			answer = append(append(answer[:0], p...), 0x90, 0x00)
			_ = card.Send(transport.Block, answer)
		}
	})))
	return card, resets
}

type frame struct {
	k transport.Kind
	p []byte
}

// collect is a Receiver that keeps what arrives.
func collect() (transport.Receiver, chan frame) {
	ch := make(chan frame, 100)
	return receiver(func(k transport.Kind, p []byte) { ch <- frame{k, append([]byte{}, p...)} }), ch
}

// arrives demands that these frames, and no others, have arrived.
func arrives(t *testing.T, ch chan frame, want ...frame) {
	t.Helper()
	for _, w := range want {
		select {
		case f := <-ch:
			require.Equal(t, w.k.String(), f.k.String())
			require.Equal(t, append([]byte{}, w.p...), f.p)
		default:
			require.FailNow(t, "nothing arrived", "expected: %s", w.k)
		}
	}
	require.Empty(t, ch)
}

// openEventually opens the terminal's end as soon as pcscd has seen the card.
func openEventually(t testing.TB, l transport.Link, r transport.Receiver) {
	t.Helper()
	var err error
	if !pollUntil(func() bool { err = l.Open(context.Background(), r); return err == nil }) {
		require.NoError(t, err)
	}
}

// pollUntil asks until the answer is yes, for ten seconds at most. (Unlike
// require.Eventually it asks in the test's own goroutine, one at a time.)
func pollUntil(ok func() bool) bool {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); <-tick.C {
		if ok() {
			return true
		}
	}
	return false
}

// TestPCSC drives the card end of vpcd: through the real pcscd and driver with
// the terminal end of pcsc:.
func TestPCSC(t *testing.T) {
	d := pcscdtest.Start(t)
	if d == nil {
		return
	}
	term := open(t, "pcsc:Test PCD", transport.Controller)
	r, got := collect()
	t.Run("no card", func(t *testing.T) {
		require.EqualError(t, term.Open(context.Background(), r),
			`link "pcsc:Test PCD": reader "Test PCD 00 00": pcscd: there is no card in the reader (0x8010000C)`)
	})
	t.Run("no such reader", func(t *testing.T) {
		require.EqualError(t, open(t, "pcsc:Omnikey", transport.Controller).Open(context.Background(), r),
			`link "pcsc:Omnikey": no reader has "Omnikey" in its name (there are: Test PCD 00 00, Test PCD 00 01)`)
	})

	card, resets := insertCard(t, d)
	openEventually(t, term, r)
	arrives(t, got, frame{k: transport.Inserted})
	require.ErrorIs(t, term.Open(context.Background(), r), transport.ErrOpen)

	atr, hello := frame{transport.ATR, testATR}, []byte{0x00, 0xA4, 0x00, 0x04, 0x02, 0x3F, 0x00}
	echo := frame{transport.Block, append(append([]byte{}, hello...), 0x90, 0x00)}

	t.Run("resets and ATR", func(t *testing.T) {
		for i, c := range []struct {
			send transport.Kind
			seen transport.Kind
		}{
			{transport.PowerOn, transport.PowerOn},
			{transport.Reset, transport.Reset},
			{transport.GetATR, transport.GetATR},
			{transport.PowerOn, transport.PowerOn},
		} {
			before := resets[c.seen].Load()
			require.NoError(t, term.Send(c.send, nil), i)
			arrives(t, got, atr)
			if c.send != transport.GetATR {
				require.Greater(t, resets[c.seen].Load(), before, "the card should see %s", c.seen)
			}
		}
	})
	t.Run("power off and on", func(t *testing.T) {
		require.NoError(t, term.Send(transport.PowerOff, nil))
		require.True(t, pollUntil(func() bool { return resets[transport.PowerOff].Load() > 0 }))
		require.ErrorContains(t, term.Send(transport.Block, hello), "the card has no power (PowerOn comes first)")
		require.NoError(t, term.Send(transport.PowerOn, nil))
		arrives(t, got, atr)
	})
	t.Run("blocks", func(t *testing.T) {
		for _, n := range []int{2, 5, 255, 261, 4096, 65533} {
			p := bytes.Repeat([]byte{0x80}, n)
			require.NoError(t, term.Send(transport.Block, p))
			arrives(t, got, frame{transport.Block, append(p, 0x90, 0x00)})
		}
	})
	t.Run("no allocation", func(t *testing.T) {
		quiet := open(t, "pcsc:Test PCD?protocol=t1", transport.Controller)
		require.NoError(t, quiet.Open(context.Background(), receiver(func(transport.Kind, []byte) {})))
		require.NoError(t, quiet.Send(transport.Block, hello))
		require.Zero(t, testing.AllocsPerRun(100, func() { _ = quiet.Send(transport.Block, hello) }), "at either end")
		require.NoError(t, quiet.Close())
	})
	t.Run("another program resets", func(t *testing.T) {
		other := open(t, "pcsc:Test PCD 00 00", transport.Controller)
		r, seen := collect()
		require.NoError(t, other.Open(context.Background(), r))
		require.NoError(t, other.Send(transport.Reset, nil))
		arrives(t, seen, frame{k: transport.Inserted}, atr)
		require.ErrorContains(t, term.Send(transport.Block, hello), "another program has reset the card")
		require.NoError(t, term.Send(transport.Reset, nil))
		arrives(t, got, atr)
		require.NoError(t, term.Send(transport.Block, hello))
		arrives(t, got, echo)
		require.NoError(t, other.Close())
		require.ErrorIs(t, other.Send(transport.Block, hello), transport.ErrClosed)
	})
	t.Run("removed and inserted at once is seen", func(t *testing.T) {
		require.NoError(t, card.Send(transport.Removed, nil))
		require.NoError(t, card.Send(transport.Inserted, nil))
		require.True(t, pollUntil(func() bool { return term.Send(transport.Block, hello) != nil }),
			"the terminal should learn that it is another card")
		require.True(t, pollUntil(func() bool { return term.Send(transport.PowerOn, nil) == nil }))
		require.NoError(t, term.Send(transport.Block, hello))
		var last frame
		for len(got) > 0 {
			last = <-got
		}
		require.Equal(t, echo, last)
	})
	t.Run("the card goes and comes", func(t *testing.T) {
		require.NoError(t, card.Send(transport.Removed, nil))
		require.True(t, pollUntil(func() bool { return term.Send(transport.GetATR, nil) != nil }))
		for len(got) > 1 {
			<-got
		}
		arrives(t, got, frame{k: transport.Removed})
		require.ErrorIs(t, term.Send(transport.Block, hello), transport.ErrNoPeer)
		require.NoError(t, card.Send(transport.Inserted, nil))
		require.True(t, pollUntil(func() bool { return term.Send(transport.PowerOn, nil) == nil }))
		arrives(t, got, frame{k: transport.Inserted}, atr)
	})
	t.Run("pcscd goes and comes", func(t *testing.T) {
		d.Stop(t)
		require.ErrorIs(t, term.Send(transport.Block, hello), transport.ErrNoPeer)
		arrives(t, got, frame{k: transport.Removed})
		require.ErrorIs(t, term.Send(transport.PowerOn, nil), transport.ErrNoPeer)
		d.Run(t)
		require.True(t, pollUntil(func() bool { return term.Send(transport.PowerOn, nil) == nil }))
		require.NoError(t, term.Send(transport.Block, hello))
		arrives(t, got, frame{k: transport.Inserted}, atr, echo)
	})
	t.Run("close", func(t *testing.T) {
		require.NoError(t, term.Close())
		require.NoError(t, term.Close())
		require.ErrorIs(t, term.Send(transport.Block, hello), transport.ErrClosed)
		ctx, cancel := context.WithCancel(context.Background())
		require.NoError(t, term.Open(ctx, r))
		cancel()
		require.True(t, pollUntil(func() bool { return term.Send(transport.GetATR, nil) == transport.ErrClosed }))
	})
}

func TestPCSCURL(t *testing.T) {
	for _, c := range []struct {
		url  string
		role transport.Role
		want string
	}{
		{"pcsc:x", transport.Target, `link "pcsc:x": pcsc: is the terminal's end (the card's end is vpcd://HOST:PORT)`},
		{"pcsc://x", transport.Controller, `link "pcsc://x": write pcsc:READER, with a part of the reader's name`},
		{"pcsc:x?protocol=t9", transport.Controller, `link "pcsc:x?protocol=t9": protocol=t9 is not known (use one of any, t0, t1)`},
		{"pcsc:x?speed=1", transport.Controller, `link "pcsc:x?speed=1": unknown parameter "speed" (pcsc: takes protocol)`},
	} {
		_, err := transport.Open(c.url, c.role, iso7816.Schemes)
		require.EqualError(t, err, c.want)
	}
}

// answer is a daemon that answers the version request with these numbers.
func answer(fields ...uint32) func(net.Conn) {
	return func(c net.Conn) {
		var b []byte
		for _, f := range fields {
			b = binary.NativeEndian.AppendUint32(b, f)
		}
		_, _ = c.Write(b) // the client may have gone
	}
}

func TestPCSCDaemonTroubles(t *testing.T) {
	r := receiver(func(transport.Kind, []byte) {})
	for _, c := range []struct {
		name   string
		serve  func(c net.Conn) // nil: nobody listens
		expect string
	}{
		{"absent", nil, "pcscd cannot be reached: dial unix SOCKET: connect: no such file or directory (is the package pcscd installed and running?)"},
		{"hangs up", func(net.Conn) {}, "pcscd: it hung up: EOF"},
		{"too new", answer(5, 0, 0x8010001E), "pcscd speaks protocol 5.0 (known: 4.3 to 4.5)"},
		{"refuses its own version", answer(4, 4, 0x8010001E), "pcscd speaks protocol 4.4 (known: 4.3 to 4.5)"},
		{"another error", answer(4, 4, 0x8010006A), "pcscd: access was refused (0x8010006A)"},
		{"an error without a name", answer(4, 4, 0x80101234), "pcscd: error 0x80101234"},
	} {
		t.Run(c.name, func(t *testing.T) {
			sock := filepath.Join(t.TempDir(), "s")
			t.Setenv("PCSCLITE_CSOCK_NAME", sock)
			if c.serve != nil {
				ln, err := net.Listen("unix", sock)
				require.NoError(t, err)
				defer ln.Close()
				go func() {
					for {
						conn, err := ln.Accept()
						if err != nil {
							return
						}
						_, _ = conn.Read(make([]byte, 20))
						c.serve(conn)
						conn.Close()
					}
				}()
			}
			err := open(t, "pcsc:", transport.Controller).Open(context.Background(), r)
			require.EqualError(t, err, `link "pcsc:": `+string(bytes.ReplaceAll([]byte(c.expect), []byte("SOCKET"), []byte(sock))))
		})
	}
}
