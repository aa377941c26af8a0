package trace_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/internal/tlv"
	"github.com/sspemu/sspemu/internal/trace"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	require.NoError(t, err)
	return b
}

// template is a data object around the data objects given in hexadecimal.
func template(tag tlv.Tag, objects string) string {
	value, err := hex.DecodeString(strings.ReplaceAll(objects, " ", ""))
	if err != nil {
		panic(err)
	}
	return hex.EncodeToString(tlv.Append(nil, tag, value...))
}

const selectMF = "00 A4 00 04 02 3F 00 00"

var (
	fcpMF = template(0x62, "82 02 78 21 83 02 3F 00"+template(0xA5, "80 01 71 83 04 00 00 28 00")+"8A 01 05 8B 03 2F 06 01"+
		template(0xC6, "90 01 60 83 01 01 83 01 81 83 01 0A 83 01 8A 83 01 11")+"81 02 01 00")
	fcpRecord = template(0x62, "82 05 42 21 00 1C 02 83 02 2F 00 A5 00 8A 01 05 8B 03 2F 06 05 80 02 00 38 88 01 F0")
	fciEMV    = template(0x6F, "84 07 A0 00 00 00 03 10 10"+template(0xA5, "50 04 54 45 53 54 5F 2D 02 65 6E"+template(0xBF0C, "9F 4D 02 0B 0A")))
	fetched   = template(0xD0, "81 03 01 21 80 82 02 81 02 8D 0F 04 48 65 6C 6C 6F 20 66 72 6F 6D 20 53 50 42")
	termCap   = "80 AA 00 00 0A" + template(0xA9, "81 00 82 01 01 83 01 07")
)

// exchanges are what one sees of a session; the golden file shows how it reads.
func exchanges(t testing.TB) []trace.Event {
	const vpcd, pipe = "vpcd://127.0.0.1:35963", "terminal:3 -> spb:9"
	var list []trace.Event
	now := 120 * time.Millisecond
	id := uint64(0)
	add := func(l trace.Layer, d trace.Direction, name, where, data, note string) {
		now += 11 * time.Microsecond
		list = append(list, trace.Event{ID: id, Time: now, Layer: l, Dir: d, Name: name, Where: where, Data: unhex(t, data), Note: note})
	}
	apdu := func(c, r string) {
		id++
		add(trace.Link, trace.In, "block", vpcd, c, "")
		add(trace.Gate, trace.In, "C-APDU", "spb", c, "")
		add(trace.Gate, trace.Out, "R-APDU", "spb", r, "")
	}
	add(trace.Platform, trace.None, "activate", "telecom", "", "bundle is active")
	id = 1
	add(trace.Link, trace.In, "power on", vpcd, "", "")
	add(trace.Gate, trace.Out, "ATR", "spb", "3B 80 80 01 01", "")
	add(trace.Link, trace.Out, "ATR", vpcd, "3B 80 80 01 01", "")
	id = 2
	add(trace.Link, trace.In, "block", vpcd, selectMF, "")
	add(trace.SCL, trace.In, "packet", pipe, "89 50 "+selectMF, "EVT_TRANSMIT_DATA")
	add(trace.Gate, trace.In, "C-APDU", "spb", selectMF, "case 4, channel 0, Nc 2, Ne 256")
	add(trace.Bundle, trace.In, "on_message", "telecom", "", "")
	add(trace.Host, trace.None, "nvm_get", "telecom", "", "= 12")
	add(trace.Gate, trace.Out, "R-APDU", "spb", fcpMF+" 90 00", "")
	add(trace.SCL, trace.Out, "packet", pipe, "89 50 "+fcpMF+" 90 00", "EVT_TRANSMIT_DATA")
	add(trace.Link, trace.Out, "block", vpcd, fcpMF+" 90 00", "")

	apdu("00 A4 00 04 02 2F 00", "61 1C")
	apdu("00 C0 00 00 1C", fcpRecord+" 90 00")
	apdu("00 20 00 01 08 31 32 33 34 FF FF FF FF", "63 C2")
	apdu(termCap, "90 00")
	apdu("00 B0 00 00 00", strings.Repeat("A5 ", 256)+"90 00")
	apdu("00 A4 04 00 07 A0 00 00 00 03 10 10 00", fciEMV+" 90 00")
	apdu("80 12 00 00 1C", fetched+" 91 0B")
	apdu("FF CA 01 00 00", "6E 00")
	apdu("00 B2 01 04 26", "61 02 4F 09 90 00") // ends too early for a template
	apdu("00", "67 00")
	apdu("00 A4 00 00", "90")
	id = 0
	add(trace.Platform, trace.None, "fault", "telecom", "", "unreachable; bundle was reset")
	return list
}

// TestText compares with testdata/session.golden; UPDATE=1 writes it.
func TestText(t *testing.T) {
	var out bytes.Buffer
	s := trace.NewText(&out)
	for _, e := range exchanges(t) {
		s.Emit(&e)
	}
	const golden = "testdata/session.golden"
	if os.Getenv("UPDATE") != "" {
		require.NoError(t, os.WriteFile(golden, out.Bytes(), 0o644))
	}
	want, err := os.ReadFile(golden)
	require.NoError(t, err)
	require.Equal(t, string(want), out.String())
}

type broken struct{ writes int }

func (b *broken) Write([]byte) (int, error) { b.writes++; return 0, errors.New("disk full") }

func TestTextSurvivesItsWriter(t *testing.T) {
	w := &broken{}
	s := trace.NewText(w)
	list := exchanges(t)
	for _, e := range list {
		s.Emit(&e)
	}
	require.Equal(t, len(list), w.writes, "one write an event")
}

// sink keeps events.
type sink struct{ list []trace.Event }

func (s *sink) Emit(e *trace.Event) { s.list = append(s.list, *e) }

func TestTracer(t *testing.T) {
	var none *trace.Tracer
	require.False(t, none.On())
	id, outer := none.Begin()
	require.Zero(t, id)
	require.False(t, outer)
	none.End()
	none.Emit(trace.Event{})

	now := time.Second
	tr := trace.New(func() time.Duration { return now })
	require.False(t, tr.On())
	tr.Emit(trace.Event{Name: "unheard"})
	a, b := &sink{}, &sink{}
	removeA := tr.Add(a)
	removeB := tr.Add(b)
	require.True(t, tr.On())

	id, outer = tr.Begin()
	require.Equal(t, uint64(1), id)
	require.True(t, outer)
	inner, outer := tr.Begin()
	require.Equal(t, id, inner)
	require.False(t, outer)
	tr.Emit(trace.Event{Name: "x"})
	tr.End()
	tr.Emit(trace.Event{Name: "y"})
	removeA()
	tr.Emit(trace.Event{Name: "z", ID: 9})
	removeB()
	require.False(t, tr.On())
	require.Equal(t, []trace.Event{{Name: "x", ID: 1, Time: now}, {Name: "y", Time: now}}, a.list)
	require.Equal(t, trace.Event{Name: "z", ID: 9, Time: now}, b.list[2])
}

func TestSilentTracerDoesNotAllocate(t *testing.T) {
	tr := trace.New(nil)
	data := []byte{1, 2, 3}
	require.Zero(t, testing.AllocsPerRun(100, func() {
		tr.Begin()
		if tr.On() {
			tr.Emit(trace.Event{Name: "x", Data: data})
		}
		tr.End()
	}))
}

// Whatever moves, the text is printable and ends every event with a newline.
func FuzzText(f *testing.F) {
	f.Add(unhex(f, selectMF))
	f.Add(unhex(f, fcpMF+"9000"))
	f.Add(unhex(f, fciEMV+"9000"))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, name := range []string{"C-APDU", "R-APDU"} {
			var out bytes.Buffer
			trace.NewText(&out).Emit(&trace.Event{Layer: trace.Gate, Name: name, Data: data})
			require.True(t, strings.HasSuffix(out.String(), "\n"))
			for _, c := range out.String() {
				require.True(t, c == '\n' || c >= ' ' && c != 0x7F, "%q", c)
			}
		}
	})
}
