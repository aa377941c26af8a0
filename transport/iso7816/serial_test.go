package iso7816_test

import (
	"context"
	"io"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/internal/pcscdtest"
	"github.com/sspemu/sspemu/transport"
	"github.com/sspemu/sspemu/transport/iso7816"
	"github.com/sspemu/sspemu/transport/linktest"
)

// cable joins two new pseudo-terminals, as socat does, and gives their names.
func cable(t *testing.T) (a, b string) {
	p, a, err := iso7816.PTY()
	require.NoError(t, err)
	q, b, err := iso7816.PTY()
	require.NoError(t, err)
	var both sync.WaitGroup
	both.Go(func() { io.Copy(p, q) })
	both.Go(func() { io.Copy(q, p) })
	t.Cleanup(func() {
		p.Close()
		q.Close()
		both.Wait()
	})
	return a, b
}

func TestSerial(t *testing.T) {
	linktest.Run(t, func(t *testing.T) (controller, target transport.Link) {
		a, b := cable(t)
		return open(t, "serial:"+a+"?protocol=t1", transport.Controller), open(t, "serial:"+b, transport.Target)
	})
}

func TestSerialT0(t *testing.T) {
	linktest.Run(t, func(t *testing.T) (controller, target transport.Link) {
		a, b := cable(t)
		return &echoT0{Link: open(t, "serial:"+a+"?protocol=t0", transport.Controller)}, open0(t, "serial:"+b+"?protocol=t1")
	})
}

func TestTCP(t *testing.T) {
	linktest.Run(t, func(t *testing.T) (controller, target transport.Link) {
		url := "tcp://" + pcscdtest.FreeAddr(t)
		return open(t, url+"?protocol=t1", transport.Controller), open(t, url, transport.Target)
	})
}

func TestTCPT0(t *testing.T) {
	linktest.Run(t, func(t *testing.T) (controller, target transport.Link) {
		url := "tcp://" + pcscdtest.FreeAddr(t)
		return &echoT0{Link: open(t, url+"?protocol=t0", transport.Controller)}, open0(t, url)
	})
}

// echoT0 puts what linktest sends into the data of a command, and gets the answer with
// GET RESPONSE: T=0 carries nothing else.
type echoT0 struct {
	transport.Link
	busy   sync.Mutex
	answer chan []byte
	inbox  transport.Inbox
}

func (*echoT0) Limits() (min, max int) { return 1, 255 }

func (e *echoT0) Open(ctx context.Context, r transport.Receiver) error {
	e.inbox.Receive(r)
	e.answer = make(chan []byte, 1)
	return e.Link.Open(ctx, receiver(func(k transport.Kind, p []byte) {
		switch {
		case k != transport.Block:
			e.inbox.Deliver(k, p)
		case len(p) == 2 && p[0] == 0x61:
			_ = e.Link.Send(k, []byte{0, 0xC0, 0, 0, p[1]})
		default:
			e.answer <- append([]byte{}, p[:len(p)-2]...)
		}
	}))
}

func (e *echoT0) Send(k transport.Kind, p []byte) error {
	if k != transport.Block {
		return e.Link.Send(k, p)
	}
	if err := transport.Check(transport.Controller, k, len(p), 1, 255); err != nil {
		return err
	}
	e.busy.Lock()
	if err := e.Link.Send(k, append([]byte{0x80, 0xEC, 0, 0, byte(len(p))}, p...)); err != nil {
		e.busy.Unlock()
		return err
	}
	answer := <-e.answer
	e.busy.Unlock()
	e.inbox.Deliver(k, answer)
	return nil
}

// open0 opens a card whose answers are the data of the commands.
func open0(t *testing.T, url string) transport.Link {
	return &cardT0{open(t, url, transport.Target)}
}

type cardT0 struct{ transport.Link }

func (*cardT0) Limits() (min, max int) { return 1, 255 }

func (c *cardT0) Open(ctx context.Context, r transport.Receiver) error {
	return c.Link.Open(ctx, receiver(func(k transport.Kind, p []byte) {
		if k == transport.Block {
			p = p[5:]
		}
		r.Frame(k, p)
	}))
}

func (c *cardT0) Send(k transport.Kind, p []byte) error {
	if err := transport.Check(transport.Target, k, len(p), 1, 255); err != nil {
		return err
	}
	if k == transport.Block {
		p = append(append([]byte{}, p...), 0x90, 0x00)
	}
	return c.Link.Send(k, p)
}

func TestSerialURL(t *testing.T) {
	for _, c := range []struct {
		url  string
		role transport.Role
		want string
	}{
		{"serial:", transport.Target, `link "serial:": write serial:DEVICE, such as serial:/dev/ttyUSB0, or serial:pty for the card's end of a new pseudo-terminal`},
		{"serial:pty", transport.Controller, `link "serial:pty": the card's end makes the pseudo-terminal (write serial:/dev/pts/N, which it tells, or serial:LINK)`},
		{"serial:/dev/x?protocol=t2", transport.Target, `link "serial:/dev/x?protocol=t2": protocol=t2 is not known (use one of any, t1, t0)`},
		{"serial:/dev/x?baud=0", transport.Target, `link "serial:/dev/x?baud=0": baud=0 is not a number from 50 to 4000000`},
		{"serial:/dev/x?ifs=255", transport.Target, `link "serial:/dev/x?ifs=255": ifs=255 is not a number from 1 to 254`},
		{"serial:/dev/x?reset=cts", transport.Target, `link "serial:/dev/x?reset=cts": reset=cts is not known (use one of , rts, dtr, none, inband)`},
		{"serial:/dev/x?outgoing=X", transport.Target, `link "serial:/dev/x?outgoing=X": outgoing=X: write instructions in hexadecimal, such as outgoing=B1,CB`},
		{"tcp://h:1?baud=9600", transport.Target, `link "tcp://h:1?baud=9600": unknown parameter "baud" (tcp: takes protocol, ifs, outgoing)`},
		{"tcp:x", transport.Target, `link "tcp:x": write tcp://HOST:PORT; the controller listens there and the target connects`},
		{"tcp://h:0", transport.Target, `link "tcp://h:0": write tcp://HOST:PORT; the controller listens there and the target connects`},
	} {
		_, err := transport.Open(c.url, c.role, iso7816.Schemes)
		require.EqualError(t, err, c.want)
	}
}

func TestSerialDevices(t *testing.T) {
	_, name := cable(t)
	for url, want := range map[string]string{
		"serial:/dev/ttyNONE":           `link "serial:/dev/ttyNONE": open /dev/ttyNONE: no such file or directory (is the device plugged in? a PTY is there as long as its other end is open)`,
		"serial:/dev/null":              `/dev/null is no serial device`,
		"serial:" + name + "?reset=dtr": `has no modem lines, so reset=dtr cannot be (leave it out)`,
	} {
		err := open(t, url, transport.Controller).Open(context.Background(), receiver(func(transport.Kind, []byte) {}))
		require.ErrorContains(t, err, want)
	}
}

// A pseudo-terminal of the card's own: it tells its name, and the link to it.
func TestSerialPTY(t *testing.T) {
	link := filepath.Join(t.TempDir(), "card")
	card := open(t, "serial:pty:"+link, transport.Target)
	echo := receiver(func(k transport.Kind, p []byte) {
		switch k {
		case transport.PowerOn:
			_ = card.Send(transport.ATR, []byte{0x3B, 0x80, 0x80, 0x01, 0x01})
		case transport.Block:
			_ = card.Send(k, p)
		}
	})
	require.NoError(t, card.Open(context.Background(), echo))
	require.Regexp(t, `^serial:/dev/pts/\d+$`, card.String())
	terminal := open(t, "serial:"+link+"?protocol=t1", transport.Controller)
	got := make(inbox, 100)
	require.NoError(t, terminal.Open(context.Background(), got))
	for range 2 {
		got.next(t, transport.Inserted)
		require.NoError(t, terminal.Send(transport.Block, []byte("hello")))
		require.Equal(t, "hello", got.next(t, transport.Block))
		require.NoError(t, card.Close())
		got.next(t, transport.Removed)
		require.NoFileExists(t, link)
		require.NoError(t, card.Open(context.Background(), echo))
	}
}

// inbox keeps what a Receiver got.
type inbox chan arrived

type arrived struct {
	k transport.Kind
	p string
}

func (f inbox) Frame(k transport.Kind, p []byte) { f <- arrived{k, string(p)} }

func (f inbox) next(tb testing.TB, k transport.Kind) string {
	tb.Helper()
	select {
	case got := <-f:
		require.Equal(tb, k.String(), got.k.String())
		return got.p
	case <-time.After(10 * time.Second):
		require.FailNow(tb, "nothing arrived", "expected: %s", k)
		return ""
	}
}
