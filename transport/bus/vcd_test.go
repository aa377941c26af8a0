package bus_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/transport/bus"
)

// record makes a dump of what talk does.
func record(t *testing.T, o bus.Options, c *chip, talk func(w *bus.Wire, ctl bus.Controller)) string {
	t.Helper()
	w, ctl := wire(t, o, c)
	var b bytes.Buffer
	v := bus.NewVCD(&b, w)
	w.Clock().Sleep(2 * time.Microsecond)
	talk(w, ctl)
	w.Clock().Sleep(2 * time.Microsecond)
	w.Watch(nil)
	require.NoError(t, v.Close(w.Clock().Now()))
	return b.String()
}

func TestVCD(t *testing.T) {
	c := &chip{say: []byte{0xFE}}
	got := record(t, bus.Options{Hz: 1e6, Name: "a b", NoReset: true}, c, func(_ *bus.Wire, ctl bus.Controller) {
		c.lines.SetIRQ(true)
		require.NoError(t, ctl.Tx([]byte{0x81}, make([]byte, 1)))
	})
	want, err := os.ReadFile("testdata/spi.vcd")
	require.NoError(t, err)
	require.Equal(t, string(want), got)
}

// sigrok lets sigrok-cli decode a dump and gives its annotations, one a line.
func sigrok(t *testing.T, dump, decoder, annotations string) []string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "x.vcd")
	require.NoError(t, os.WriteFile(file, []byte(dump), 0o600))
	cmd := exec.Command("sigrok-cli", "-I", "vcd", "-i", file, "-P", decoder, "-A", annotations)
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.Output()
	require.NoError(t, err, "sigrok-cli (Debian: apt-get install sigrok-cli): %s", errs.String())
	return strings.Split(strings.TrimSpace(string(out)), "\n")
}

var octet = regexp.MustCompile(`([0-9A-F]{2})$`)

// octets are the bytes of annotations.
func octets(t *testing.T, annotations []string) (p []byte) {
	t.Helper()
	for _, a := range annotations {
		m := octet.FindStringSubmatch(a)
		require.NotNil(t, m, "%q", a)
		var b byte
		_, err := fmt.Sscanf(m[1], "%X", &b)
		require.NoError(t, err)
		p = append(p, b)
	}
	return p
}

func noise(n int) []byte {
	p := make([]byte, n)
	r := rand.New(rand.NewPCG(uint64(n), 7))
	for i := range p {
		p[i] = byte(r.Uint32())
	}
	return p
}

// TestSigrokSPI: an independent decoder reads what was sent, in every mode and at
// several speeds.
func TestSigrokSPI(t *testing.T) {
	for mode := range uint8(4) {
		for _, hz := range []int64{1_000_000, 3_000_000, 10_000_000} {
			t.Run(fmt.Sprintf("mode %d %d Hz", mode, hz), func(t *testing.T) {
				out, in := noise(50), noise(51)[:50]
				c := &chip{say: in}
				dump := record(t, bus.Options{Mode: mode, Hz: hz}, c, func(_ *bus.Wire, ctl bus.Controller) {
					for i := 0; i < 50; i += 10 {
						require.NoError(t, ctl.Tx(out[i:i+10], make([]byte, 10)))
					}
				})
				decoder := fmt.Sprintf("spi:clk=SCK:mosi=MOSI:miso=MISO:cs=CS:cpol=%d:cpha=%d", mode>>1, mode&1)
				require.Equal(t, out, octets(t, sigrok(t, dump, decoder, "spi=mosi-data")))
				require.Equal(t, in, octets(t, sigrok(t, dump, decoder, "spi=miso-data")))
			})
		}
	}
}

func TestSigrokI2C(t *testing.T) {
	for _, stretch := range []time.Duration{0, 50 * time.Microsecond} {
		out, in := noise(20), noise(21)[:20]
		c := &chip{}
		dump := record(t, bus.Options{Physical: bus.I2C, Faults: bus.Faults{Stretch: stretch, StretchChance: 1}}, c, func(_ *bus.Wire, ctl bus.Controller) {
			require.ErrorIs(t, ctl.Tx(nil, make([]byte, 1)), bus.ErrNACK)
			require.NoError(t, ctl.Tx(out[:10], nil))
			c.say = in
			require.NoError(t, ctl.Tx(out[10:], make([]byte, 5)))
			require.NoError(t, ctl.Tx(nil, make([]byte, 15)))
		})
		const decoder = "i2c:scl=SCL:sda=SDA"
		require.Equal(t, out, octets(t, sigrok(t, dump, decoder, "i2c=data-write")))
		require.Equal(t, in, octets(t, sigrok(t, dump, decoder, "i2c=data-read")))
		var kinds []string
		for _, a := range sigrok(t, dump, decoder, "i2c=start:repeat-start:stop:address-read:address-write:nack") {
			if a = strings.TrimPrefix(a, "i2c-1: "); a != "Read" && a != "Write" { // the bit after the address, once more
				kinds = append(kinds, a)
			}
		}
		require.Equal(t, []string{
			"Start", "Address read: 48", "NACK", "Stop",
			"Start", "Address write: 48", "Stop",
			"Start", "Address write: 48", "Start repeat", "Address read: 48", "NACK", "Stop",
			"Start", "Address read: 48", "NACK", "Stop",
		}, kinds)
	}
}

// TestWatchedAndNot: who looks changes nothing.
func TestWatchedAndNot(t *testing.T) {
	var w2 *bus.Wire
	run := func(watch bool) (time.Duration, bus.Ledger) {
		c := &chip{echo: true, slow: true}
		w, ctl := wire(t, bus.Options{Physical: bus.I2C, Faults: bus.Faults{BER: 1e-3, Seed: 3}}, c)
		if watch {
			bus.NewVCD(&bytes.Buffer{}, w)
		}
		for range 50 {
			_ = ctl.Tx(noise(30), nil)
			_ = ctl.Tx(nil, make([]byte, 30))
		}
		w2 = w
		return w.Clock().Now(), w.Ledger()
	}
	at, ledger := run(false)
	atWatched, ledgerWatched := run(true)
	require.Equal(t, at, atWatched)
	require.Equal(t, ledger, ledgerWatched)
	require.Equal(t, []bus.Line{bus.SCL, bus.SDA, bus.IRQ, bus.RST}, w2.Lines())
}

// TestStuckLinesAreSeen: a line that does not move has no edges, and one that is held
// low is low.
func TestStuckLinesAreSeen(t *testing.T) {
	stuck := bus.Faults{Stuck: bus.SCK, StuckFor: 1}
	dump := record(t, bus.Options{NoIRQ: true, NoReset: true, Faults: stuck}, &chip{}, func(_ *bus.Wire, ctl bus.Controller) {
		require.NoError(t, ctl.Tx([]byte{0x55}, nil))
	})
	require.NotContains(t, dump, "1!", "SCK")
	require.Contains(t, dump, `1"`, "MOSI")
	stuck = bus.Faults{Stuck: bus.SDA, StuckFor: 1}
	dump = record(t, bus.Options{Physical: bus.I2C, NoIRQ: true, NoReset: true, Faults: stuck}, &chip{}, func(_ *bus.Wire, ctl bus.Controller) {
		require.ErrorIs(t, ctl.Tx([]byte{0x55}, nil), bus.ErrStuck)
	})
	require.Contains(t, dump, "$end\n#2000\n0\"\n#35002000\n1\"\n")
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, os.ErrClosed }

func TestVCDTellsThatItCouldNotWrite(t *testing.T) {
	w, _ := wire(t, bus.Options{}, nil)
	require.ErrorIs(t, bus.NewVCD(broken{}, w).Close(0), os.ErrClosed)
}
