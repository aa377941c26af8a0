package iso7816_test

import (
	"bytes"
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/transport"
	"github.com/sspemu/sspemu/transport/iso7816"
)

// A character of 12 etu at 115,200 baud.
const character = 12 * time.Second / 115200

// paced copies characters at the pace of a line: none of them leaves before the one
// before it has had its time.
func paced(to io.Writer, from io.Reader) {
	buf := make([]byte, 4096)
	free := time.Now() // when the line is free again
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		if now := time.Now(); free.Before(now) {
			free = now
		}
		for b := buf[:n]; len(b) > 0; {
			// As many as should have arrived by now, one at least.
			free = free.Add(character)
			time.Sleep(time.Until(free))
			k := 1
			for k < len(b) && time.Until(free.Add(character)) <= 0 {
				free = free.Add(character)
				k++
			}
			if _, err := to.Write(b[:k]); err != nil {
				return
			}
			b = b[k:]
		}
	}
}

// BenchmarkPTY is T=1 on pseudo-terminals that are joined by a line of 115,200 baud, in
// real time: the share of the line that is payload, both ways.
func BenchmarkPTY(b *testing.B) {
	p, first, err := iso7816.PTY()
	require.NoError(b, err)
	q, second, err := iso7816.PTY()
	require.NoError(b, err)
	go paced(p, q)
	go paced(q, p)
	b.Cleanup(func() { p.Close(); q.Close() })
	target, err := transport.Open("serial:"+second+"?baud=115200", transport.Target, iso7816.Schemes)
	require.NoError(b, err)
	atr := []byte{0x3B, 0x80, 0x81, 0x31, 0xFE, 0x45, 0x8B} // T=1, IFSC 254, BWI 4, CWI 5
	atr[len(atr)-1] = 0x80 ^ 0x81 ^ 0x31 ^ 0xFE ^ 0x45
	require.NoError(b, target.Open(b.Context(), receiver(func(k transport.Kind, p []byte) {
		switch k {
		case transport.PowerOn, transport.Reset:
			_ = target.Send(transport.ATR, atr)
		case transport.Block:
			_ = target.Send(transport.Block, p)
		}
	})))
	b.Cleanup(func() { _ = target.Close() })
	controller, err := transport.Open("serial:"+first+"?protocol=t1&baud=115200", transport.Controller, iso7816.Schemes)
	require.NoError(b, err)
	answers := make(chan []byte, 1)
	require.NoError(b, controller.Open(b.Context(), receiver(func(k transport.Kind, p []byte) {
		if k == transport.ATR || k == transport.Block {
			answers <- bytes.Clone(p)
		}
	})))
	b.Cleanup(func() { _ = controller.Close() })
	wait := func() []byte {
		select {
		case a := <-answers:
			return a
		case <-time.After(20 * time.Second):
			b.Fatal("no answer")
			return nil
		}
	}
	require.Eventually(b, func() bool { return controller.Send(transport.PowerOn, nil) == nil }, 5*time.Second, 10*time.Millisecond)
	require.Equal(b, atr, wait())
	command := bytes.Repeat([]byte("payload "), 256) // 2 KiB
	n := 0
	for b.Loop() {
		require.NoError(b, controller.Send(transport.Block, command))
		require.Equal(b, command, wait())
		n++
	}
	b.ReportMetric(float64(2*n*len(command))*character.Seconds()/b.Elapsed().Seconds(), "payload/line")
}
