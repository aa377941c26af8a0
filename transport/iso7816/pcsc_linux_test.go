package iso7816_test

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/sspemu/sspemu/internal/pcscdtest"
	"github.com/sspemu/sspemu/transport"
)

// bareCard is the least that a card on the virtual reader can be: it answers
// ATR requests and gives every command back. It is what the link is measured
// against.
func bareCard(t testing.TB, addr string) {
	conn, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	raw, err := conn.(*net.TCPConn).SyscallConn()
	require.NoError(t, err)
	quickACK := func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_QUICKACK, 1)
	}
	go func() {
		buf := make([]byte, 2+0xFFFF)
		for {
			_ = raw.Control(quickACK)
			if _, err := io.ReadFull(conn, buf[:2]); err != nil {
				return
			}
			n := int(binary.BigEndian.Uint16(buf))
			_ = raw.Control(quickACK)
			if _, err := io.ReadFull(conn, buf[2:2+n]); err != nil {
				return
			}
			switch {
			case n == 1 && buf[2] == 4:
				n = copy(buf[2:], testATR)
				binary.BigEndian.PutUint16(buf, uint16(n))
			case n == 1:
				continue
			}
			if _, err := conn.Write(buf[:2+n]); err != nil {
				return
			}
		}
	}()
}

// BenchmarkPCSC exchanges APDUs through the real pcscd with a bare card in one
// slot of the reader and a vpcd: link that echoes in the other, in turns, and
// reports both rates (of the median exchange) and their ratio.
func BenchmarkPCSC(b *testing.B) {
	d := pcscdtest.Start(b)
	if d == nil {
		return
	}
	addr := strings.TrimPrefix(d.URL, "vpcd://")
	host, port, err := net.SplitHostPort(addr)
	require.NoError(b, err)
	n, err := strconv.Atoi(port)
	require.NoError(b, err)
	bareCard(b, addr)
	card := open(b, "vpcd://"+net.JoinHostPort(host, strconv.Itoa(n+1)), transport.Target)
	require.NoError(b, card.Open(context.Background(), receiver(func(k transport.Kind, p []byte) {
		switch k {
		case transport.PowerOn, transport.Reset, transport.GetATR:
			_ = card.Send(transport.ATR, testATR)
		case transport.Block:
			_ = card.Send(transport.Block, p)
		}
	})))
	var took [2][]time.Duration
	var terms [2]transport.Link
	for i, url := range []string{"pcsc:Test PCD 00 00?protocol=t1", "pcsc:Test PCD 00 01?protocol=t1"} {
		terms[i] = open(b, url, transport.Controller)
		openEventually(b, terms[i], receiver(func(transport.Kind, []byte) {}))
	}
	cmd := []byte{0x00, 0xB0, 0x00, 0x00, 0x0A}
	exchange := func(i int) {
		start := time.Now()
		if err := terms[i].Send(transport.Block, cmd); err != nil {
			b.Fatal(err)
		}
		took[i] = append(took[i], time.Since(start))
	}
	for first := 0; b.Loop(); first = 1 - first {
		exchange(first)
		exchange(1 - first)
	}
	// Medians: on a busy machine a few exchanges take a hundred times as long.
	bare, link := median(took[0]).Seconds(), median(took[1]).Seconds()
	b.ReportMetric(1/bare, "bare-APDU/s")
	b.ReportMetric(1/link, "link-APDU/s")
	b.ReportMetric(bare/link, "link/bare")
}

func median(d []time.Duration) time.Duration {
	slices.Sort(d)
	return d[len(d)/2]
}
