package spectests_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/internal/apdu"
	"github.com/sspemu/sspemu/primary/vm"
	"github.com/sspemu/sspemu/scl"
	"github.com/sspemu/sspemu/scl/terminal"
	"github.com/sspemu/sspemu/transport"
	"github.com/sspemu/sspemu/transport/i2c"
	"github.com/sspemu/sspemu/transport/iso7816"
	"github.com/sspemu/sspemu/transport/spi"
)

// wire is a link of the matrix.
type wire struct {
	name string
	// both makes its two ends; faulty: with errors that the link has to mend.
	both func(tb testing.TB, faulty bool) (controller, target transport.Link)
	most int // octets of data of a command APDU
}

var wires = []wire{
	{"mem", memPair, 32 << 10},
	{"vpcd", vpcdPair, 32 << 10},
	{"SPI T=1'", simulated("simspi", "t1prime", spi.Schemes), 32 << 10},
	{"SPI SHDLC", simulated("simspi", "shdlc", spi.Schemes), 32 << 10},
	{"I2C T=1'", simulated("simi2c", "t1prime", i2c.Schemes), 32 << 10},
	{"I2C SHDLC", simulated("simi2c", "shdlc", i2c.Schemes), 32 << 10},
	{"serial T=1", pseudoTerminal("t1"), 32 << 10},
	{"serial T=0", pseudoTerminal("t0"), 255},
}

// memPair has no line; its fault is a terminal that is slow.
func memPair(_ testing.TB, faulty bool) (controller, target transport.Link) {
	controller, target = transport.Mem()
	if faulty {
		controller = transport.Delay(controller, transport.Controller, slow)
	}
	return controller, target
}

// simulated is a bus of its own for each cell; its faults are errors of bits.
func simulated(scheme, protocol string, table transport.Schemes) func(testing.TB, bool) (controller, target transport.Link) {
	return func(tb testing.TB, faulty bool) (controller, target transport.Link) {
		url := scheme + ":" + uuid.NewString() + "?protocol=" + protocol
		if faulty {
			url += "&ber=1e-5&seed=7"
		}
		return openBoth(tb, url, table)
	}
}

// vpcdPair is a virtual reader and the card that connects to it. Nothing is below that
// could mend an error: the fault is a terminal that is slow.
func vpcdPair(tb testing.TB, faulty bool) (controller, target transport.Link) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(tb, err)
	url := "vpcd://" + ln.Addr().String()
	require.NoError(tb, ln.Close())
	controller, target = openBoth(tb, url, iso7816.Schemes)
	if faulty {
		controller = transport.Delay(controller, transport.Controller, slow)
	}
	return controller, target
}

// slow is a terminal, and a card, with something else to do.
var slow = transport.Delays{Seed: 7, Command: transport.Span{Most: 200 * time.Microsecond}, Answer: transport.Span{Most: 200 * time.Microsecond}}

// pseudoTerminal is a serial line. Its faults are a slow terminal on T=0, whose parity
// no pseudo-terminal has, and errors of bits on T=1, by a line over TCP.
func pseudoTerminal(protocol string) func(testing.TB, bool) (controller, target transport.Link) {
	return func(tb testing.TB, faulty bool) (controller, target transport.Link) {
		if faulty && protocol == "t1" {
			return noisyLine(tb)
		}
		name := filepath.Join(tb.TempDir(), "tty")
		controller, err := transport.Open("serial:"+name+"?protocol="+protocol, transport.Controller, iso7816.Schemes)
		require.NoError(tb, err)
		target, err = transport.Open("serial:pty:"+name+"?protocol="+protocol, transport.Target, iso7816.Schemes)
		require.NoError(tb, err)
		if faulty {
			controller = transport.Delay(controller, transport.Controller, slow)
		}
		return controller, target
	}
}

// noisyLine is a line over TCP with a relay that changes a bit now and then. It
// leaves the escapes of the line alone, which on a real one are wires.
func noisyLine(tb testing.TB) (controller, target transport.Link) {
	near, err := net.Listen("tcp", "127.0.0.1:0") // a free port for the controller
	require.NoError(tb, err)
	at := near.Addr().String()
	require.NoError(tb, near.Close())
	relay, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(tb, err)
	tb.Cleanup(func() { _ = relay.Close() })
	var wrong atomic.Int64
	go func() {
		for seed := uint64(0); ; seed += 2 {
			card, err := relay.Accept()
			if err != nil {
				return
			}
			terminal, err := net.Dial("tcp", at)
			if err != nil {
				_ = card.Close()
				continue
			}
			go noise(terminal, card, seed, &wrong)
			go noise(card, terminal, seed+1, &wrong)
		}
	}()
	tb.Cleanup(func() { require.Positive(tb, wrong.Load(), "bits that were changed") })
	controller, err = transport.Open("tcp://"+at+"?protocol=t1", transport.Controller, iso7816.Schemes)
	require.NoError(tb, err)
	target, err = transport.Open("tcp://"+relay.Addr().String()+"?protocol=t1", transport.Target, iso7816.Schemes)
	require.NoError(tb, err)
	return controller, target
}

// noise copies, and changes one bit now and then: never two in a block, which the LRC
// of T=1 may not see.
func noise(to, from net.Conn, seed uint64, wrong *atomic.Int64) {
	defer to.Close()
	defer from.Close()
	r := rand.New(rand.NewPCG(7, seed))
	b, escaped := make([]byte, 4096), false
	gap := func() int { return 40_000 + r.IntN(40_000) }
	left := gap()
	for {
		n, err := from.Read(b)
		for i, c := range b[:n] {
			left--
			changed := c ^ 1<<(left&7)
			if left < 0 && !escaped && c != 0xFF && changed != 0xFF {
				b[i], left = changed, gap()
				wrong.Add(1)
			}
			escaped = c == 0xFF && !escaped
		}
		if err == nil {
			_, err = to.Write(b[:n])
		}
		if err != nil {
			return
		}
	}
}

func openBoth(tb testing.TB, url string, tables ...transport.Schemes) (controller, target transport.Link) {
	controller, err := transport.Open(url, transport.Controller, tables...)
	require.NoError(tb, err)
	target, err = transport.Open(url, transport.Target, tables...)
	require.NoError(tb, err)
	return controller, target
}

// carriesAPDUs tells whether commands are frames of the link; else they go through
// the SCL.
func carriesAPDUs(l transport.Link) bool {
	_, only := l.(transport.PacketCarrier)
	return !only || l.String() == "mem:"
}

// protocols are what a terminal speaks: each gives a function that has the bundle
// echo what it is given.
var protocols = []struct {
	name string
	echo func(tb testing.TB, w wire, l transport.Link) func(b []byte) ([]byte, error)
}{
	{"APDU", echoAPDU},
	{"HTTP", echoHTTP},
	{"CoAP", echoCoAP},
}

func echoAPDU(tb testing.TB, w wire, l transport.Link) func(b []byte) ([]byte, error) {
	transmit := channel
	if carriesAPDUs(l) {
		transmit = reader
	}
	exchange := transmit(tb, l)
	return func(b []byte) (out []byte, err error) {
		for first := true; first || len(b) > 0; first = false {
			n := min(len(b), w.most)
			command := apdu.Command{CLA: 0x80, INS: 0xEC, Data: b[:n], Ne: n, Extended: n > 255}
			r, err := exchange(context.Background(), command.Append(nil), nil)
			if err != nil {
				return nil, err
			}
			if k := len(r) - 2; k < 0 || !bytes.Equal(r[k:], []byte{0x90, 0}) {
				return nil, fmt.Errorf("%d octets were answered by % X", n, r[max(0, k):])
			}
			out = append(out, r[:len(r)-2]...)
			b = b[n:]
		}
		return out, nil
	}
}

type transmit = func(ctx context.Context, capdu, dst []byte) ([]byte, error)

// channel is an APDU channel through the SCL.
func channel(tb testing.TB, l transport.Link) transmit {
	c, err := openTerminal(tb, l).APDU(context.Background())
	require.NoError(tb, err)
	tb.Cleanup(func() { require.NoError(tb, c.Close()) })
	return c.Transmit
}

// reader is a terminal with a card.
func reader(tb testing.TB, l transport.Link) transmit {
	c := terminal.NewClient(l)
	inserted := make(chan struct{}, 1)
	c.Notify(func(k transport.Kind) {
		if k == transport.Inserted {
			inserted <- struct{}{}
		}
	})
	require.NoError(tb, c.Open(context.Background()))
	tb.Cleanup(func() { require.NoError(tb, c.Close()) })
	<-inserted
	_, err := c.PowerOn(context.Background())
	require.NoError(tb, err)
	return func(ctx context.Context, capdu, dst []byte) ([]byte, error) {
		r, err := c.Transmit(ctx, capdu, dst)
		if n := len(r); err == nil && n == 2 && r[0] == 0x61 { // T=0
			return c.Transmit(ctx, []byte{0x00, 0xC0, 0x00, 0x00, r[1]}, dst)
		}
		return r, err
	}
}

func openTerminal(tb testing.TB, l transport.Link) *terminal.Terminal {
	t, err := terminal.Open(context.Background(), terminal.AsController(l, scl.DefaultProfile(), 0), nil)
	require.NoError(tb, err)
	tb.Cleanup(func() { require.NoError(tb, t.Close()) })
	return t
}

func echoHTTP(tb testing.TB, _ wire, l transport.Link) func(b []byte) ([]byte, error) {
	c := &http.Client{Transport: openTerminal(tb, l).HTTP()}
	return func(b []byte) ([]byte, error) {
		resp, err := c.Post("http://ssp/echo", "application/octet-stream", bytes.NewReader(b))
		if err != nil {
			return nil, err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return nil, fmt.Errorf("%d octets were answered by %s", len(b), resp.Status)
		}
		return io.ReadAll(resp.Body)
	}
}

func echoCoAP(tb testing.TB, _ wire, l transport.Link) func(b []byte) ([]byte, error) {
	c, err := openTerminal(tb, l).CoAP(context.Background())
	require.NoError(tb, err)
	tb.Cleanup(func() { require.NoError(tb, c.Close()) })
	return func(b []byte) ([]byte, error) {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		resp, err := c.Post(ctx, "/echo", message.AppOctets, bytes.NewReader(b))
		if err != nil {
			return nil, err
		}
		if resp.Code() != codes.Content {
			return nil, fmt.Errorf("%d octets were answered by %v", len(b), resp.Code())
		}
		return resp.ReadBody()
	}
}

// conversation is 200 messages of 0 to 32 KiB: the lengths at which something
// changes in one of the layers, and others.
func conversation() (all [][]byte) {
	r := rand.New(rand.NewPCG(4, 4))
	lengths := []int{0, 1, 2, 253, 254, 255, 256, 257, 1023, 1024, 1025, 4087, 4088, 4089, 4090, 8192, 32<<10 - 1, 32 << 10}
	for len(lengths) < 200 {
		lengths = append(lengths, r.IntN(1<<r.IntN(12)))
	}
	r.Shuffle(len(lengths), func(i, j int) { lengths[i], lengths[j] = lengths[j], lengths[i] })
	for _, n := range lengths {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		all = append(all, b)
	}
	return all
}

// TestMatrix: APDU, HTTP and CoAP over every link, clean and with faults. What the
// bundle was sent is what comes back.
func TestMatrix(t *testing.T) {
	all := conversation()
	octets := 0
	for _, b := range all {
		octets += 2 * len(b)
	}
	for _, w := range wires {
		for _, p := range protocols {
			for _, faulty := range []bool{false, true} {
				name := fmt.Sprintf("%s over %s", p.name, w.name)
				if faulty {
					name += " with faults"
				}
				t.Run(name, func(t *testing.T) {
					s := serveServices(t, vm.Limits{})
					controller, target := w.both(t, faulty)
					s.attach(t, terminal.AsTarget(target, scl.DefaultProfile()))
					echo := p.echo(t, w, controller)
					began := time.Now()
					for i, b := range all {
						got, err := echo(b)
						require.NoError(t, err, "exchange %d of %d octets", i, len(b))
						if !bytes.Equal(b, got) {
							at := 0
							for at < len(b) && at < len(got) && b[at] == got[at] {
								at++
							}
							t.Fatalf("exchange %d: %d octets came back as %d, from octet %d on others: %X, not %X", i, len(b), len(got), at, got[at:min(at+16, len(got))], b[at:min(at+16, len(b))])
						}
					}
					took := time.Since(began)
					t.Logf("%d exchanges, %d octets in %v: %.0f kB/s", len(all), octets, took.Round(time.Millisecond), float64(octets)/1e3/took.Seconds())
				})
			}
		}
	}
}
