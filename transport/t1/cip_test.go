package t1_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/transport/bus"
	"github.com/sspemu/sspemu/transport/t1"
)

func TestCIP(t *testing.T) {
	for _, c := range []struct{ hex, want string }{
		{"01 03 000000 01 0C 00 00 0000 00 00 0000 0000 0000 04 0080 0080 00",
			"T=1' version 1, issuer 00 00 00, SPI, PWT 0s, MCF 0 kHz, PST 0s, MPOT 0s, SEGT 0s, SEAL 0, WUT 0s, BWT 128ms, IFSC 128, historical bytes "},
		{"01 04 63070000 02 08 00 19 0190 64 0A 000A 04 012C 0FF9 03 534550",
			"T=1' version 1, issuer 63 07 00 00, I2C, PWT 25ms, MCF 400 kHz, PST 100ms, MPOT 1ms, RWGT 10µs, BWT 300ms, IFSC 4089, historical bytes 53 45 50"},
	} {
		b := unhex(t, c.hex)
		cip, err := t1.ParseCIP(b)
		require.NoError(t, err)
		require.Equal(t, c.want, cip.String())
		again, err := cip.Bytes()
		require.NoError(t, err)
		require.Equal(t, b, again)
	}
	for _, p := range []bus.Physical{bus.SPI, bus.I2C} {
		for _, cip := range []t1.CIP{t1.DefaultCIP(p), t1.OurCIP(p)} {
			cip.HB = []byte("HB")
			b, err := cip.Bytes()
			require.NoError(t, err)
			again, err := t1.ParseCIP(b)
			require.NoError(t, err)
			require.Equal(t, cip, again)
		}
	}
}

func TestWrongCIP(t *testing.T) {
	for _, c := range []struct{ hex, want string }{
		{"", "t1: CIP: it ends before its lengths say"},
		{"01 03 0000", "t1: CIP: it ends before its lengths say"},
		{"02 03 000000 02 08 0000000000000000 04 00800080 00", "t1: CIP: version 2, only 1 is known"},
		{"01 02 0000 02 08 0000000000000000 04 00800080 00", "t1: CIP: an issuer identification number of 2 bytes (3 or 4)"},
		{"01 03 000000 03 08 0000000000000000 04 00800080 00", "t1: CIP: physical layer 3 is neither SPI (1) nor I2C (2)"},
		{"01 03 000000 01 08 0000000000000000 04 00800080 00", "t1: CIP: physical layer parameters of 8 bytes (SPI has 12)"},
		{"01 03 000000 02 08 0000000000000000 02 0080 00", "t1: CIP: data link parameters of 2 bytes (4)"},
		{"01 03 000000 02 08 0000000000000000 04 00800000 00", "t1: CIP: IFSC 0 (1 to 4089)"},
		{"01 03 000000 02 08 0000000000000000 04 00800080 00 00", "t1: CIP: 1 bytes more than its lengths say"},
	} {
		_, err := t1.ParseCIP(unhex(t, c.hex))
		require.EqualError(t, err, c.want)
	}
	cip := t1.OurCIP(bus.SPI)
	cip.BWT = 66 * time.Second
	_, err := cip.Bytes()
	require.EqualError(t, err, "t1: CIP: BWT 66000 does not fit 2 bytes")
}

func FuzzCIP(f *testing.F) {
	for _, p := range []bus.Physical{bus.SPI, bus.I2C} {
		b, _ := t1.OurCIP(p).Bytes()
		f.Add(b)
		f.Add(b[:len(b)-1])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		cip, err := t1.ParseCIP(b)
		if err != nil {
			require.ErrorIs(t, err, t1.ErrCIP)
			return
		}
		again, err := cip.Bytes()
		require.NoError(t, err)
		back, err := t1.ParseCIP(again)
		require.NoError(t, err)
		require.Equal(t, cip, back)
		require.NotEmpty(t, cip.String())
	})
}
