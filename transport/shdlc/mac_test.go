package shdlc

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestMACFrame(t *testing.T) {
	require.EqualValues(t, 0x906E, crc([]byte("123456789")), "the check value of CRC-16/X-25")
	for _, tt := range []struct {
		length int
		lpdu   []byte
		want   []byte
	}{
		{2, []byte{0xC0}, []byte{0x00, 0x01, 0xFE, 0xC0}},
		{1, []byte{0xF9, 4, 1}, []byte{0x03, 0xFC, 0xF9, 4, 1}},
		{2, make([]byte, 0x0401), append([]byte{0x04, 0x01, 0xFA}, make([]byte, 0x0401)...)},
	} {
		m := mac{tt.length, 1025}
		f := m.append([]byte{1, 2}, tt.lpdu)[2:]
		require.Equal(t, tt.want, f[:len(f)-2])
		require.Equal(t, []byte{byte(crc(tt.want)), byte(crc(tt.want) >> 8)}, f[len(f)-2:])
		require.Len(t, f, m.frame(len(tt.lpdu)))
	}
}

// decodeAll hands pieces to a decoder and collects what it finds: LPDUs, nil for
// what is garbled.
func decodeAll(d *decoder, pieces ...[]byte) (all [][]byte) {
	for _, p := range pieces {
		for len(p) > 0 {
			n, lpdu, f := d.next(p)
			p = p[n:]
			switch f {
			case whole:
				all = append(all, bytes.Clone(lpdu))
			case garbled:
				all = append(all, nil)
			}
		}
	}
	return all
}

func TestMACDecoder(t *testing.T) {
	m := mac{2, 64}
	rr, ua := []byte{0xC0}, []byte{0xE6}
	long := bytes.Repeat([]byte{0x80}, 64)
	frame := func(lpdu []byte) []byte { return m.append(nil, lpdu) }
	damaged := func(lpdu []byte, at int) []byte {
		f := frame(lpdu)
		f[at] ^= 0x10
		return f
	}
	split := func(b []byte, at int) [][]byte { return [][]byte{b[:at], b[at:]} }
	join := func(b ...[]byte) []byte { return bytes.Join(b, nil) }
	for _, tt := range []struct {
		name   string
		pieces [][]byte
		want   [][]byte
		lost   bool // something is lost when the bus falls idle now
	}{
		{"one", [][]byte{frame(rr)}, [][]byte{rr}, false},
		{"two in an access", [][]byte{join(frame(rr), frame(long))}, [][]byte{rr, long}, false},
		{"idle octets behind", [][]byte{join(frame(rr), []byte{0xFF, 0xFF, 0xFF, 0}), frame(ua)}, [][]byte{rr, ua}, false},
		{"a line that idles low", [][]byte{make([]byte, 6), frame(ua)}, [][]byte{ua}, false},
		{"in parts", split(frame(long), 6), [][]byte{long}, false},
		{"in parts within the header", split(frame(long), 2), [][]byte{long}, false},
		{"a CRC is wrong: the next is found", [][]byte{join(damaged(long, 20), frame(rr))}, [][]byte{nil, rr}, false},
		{"a length is wrong: all is lost", [][]byte{join(damaged(long, 0), frame(rr))}, [][]byte{nil}, false},
		{"a check is wrong", [][]byte{damaged(long, 2), frame(rr)}, [][]byte{nil}, false},
		{"too long", [][]byte{frame(make([]byte, 65))}, [][]byte{nil}, false},
		{"no LPDU in it", [][]byte{frame(nil)}, [][]byte{nil}, false},
		{"cut off", [][]byte{frame(long)[:40]}, nil, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := newDecoder(m)
			require.Equal(t, tt.want, decodeAll(&d, tt.pieces...))
			require.Equal(t, tt.lost, d.idle())
			require.Equal(t, [][]byte{ua}, decodeAll(&d, frame(ua)), "after it")
		})
	}
}

// TestMACDamage: with up to three wrong bits no frame of the usual lengths passes for
// another one (the CRC has a Hamming distance of 4 up to 4 KiB).
func TestMACDamage(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	m := mac{2, 1025}
	d := newDecoder(m)
	lpdu := make([]byte, 300)
	for range 20000 {
		lpdu[0] = byte(rng.Uint32())
		f := m.append(nil, lpdu)
		for range 1 + rng.IntN(3) {
			bit := rng.IntN(8 * len(f))
			f[bit/8] ^= 1 << (bit % 8)
		}
		for _, got := range decodeAll(&d, f) {
			require.True(t, got == nil || bytes.Equal(got, lpdu))
		}
		d.idle()
	}
}

func FuzzMAC(f *testing.F) {
	m := mac{2, 32}
	f.Add(m.append(m.append(nil, []byte{0xC1}), []byte{0x80, 1, 2, 3}), uint8(3))
	f.Add([]byte{0x00, 0x20, 0xDF, 0xFF, 0, 0, 0, 0, 0}, uint8(1))
	f.Fuzz(func(t *testing.T, b []byte, step uint8) {
		d := newDecoder(m)
		for len(b) > 0 {
			p := b[:min(len(b), int(step)+1)]
			b = b[len(p):]
			for len(p) > 0 {
				n, lpdu, found := d.next(p)
				if n < 1 || n > len(p) || len(lpdu) > m.max || found == whole && len(lpdu) == 0 {
					t.Fatalf("n %d, LPDU % X, found %d", n, lpdu, found)
				}
				p = p[n:]
			}
			if d.missing() < 1 || len(d.buf) > m.frame(m.max) {
				t.Fatalf("%d octets missing behind %d", d.missing(), len(d.buf))
			}
		}
	})
}

func FuzzLPDU(f *testing.F) {
	for _, b := range [][]byte{{0xF9, 4, 1}, {0xE6}, {0xC0}, {0x80, 1}, {0xD8, 1}} {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if l, ok := decode(b); ok && (l.ns > 7 || l.nr > 7 || len(l.info) >= len(b)) {
			t.Fatalf("%+v", l)
		}
	})
}
