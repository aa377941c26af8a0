package bus

import (
	"bufio"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// VCD is a Watcher that writes a value change dump, which GTKWave and PulseView open:
// every edge of every line, to the nanosecond.
//
// Source: IEEE 1364 18.2 (four-state value change dump).
type VCD struct {
	b     *bufio.Writer
	lines []Line
	head  int           // how many lines have their first level
	at    time.Duration // of the last time that was written
	err   error
}

// NewVCD watches w and writes what happens to out until Close.
func NewVCD(out io.Writer, w *Wire) *VCD {
	v := &VCD{b: bufio.NewWriter(out), lines: w.Lines(), at: -1}
	name := strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) || r == ':' {
			return '_'
		}
		return r
	}, w.String())
	v.put("$version sspemu $end\n$timescale 1 ns $end\n$scope module ", name, " $end\n")
	for i, l := range v.lines {
		v.put("$var wire 1 ", id(i), " ", l.String(), " $end\n")
	}
	v.put("$upscope $end\n$enddefinitions $end\n")
	w.Watch(v)
	return v
}

// id is the short name of the line i.
func id(i int) string { return string(rune('!' + i)) }

func (v *VCD) put(parts ...string) {
	for _, s := range parts {
		if _, err := v.b.WriteString(s); err != nil && v.err == nil {
			v.err = err
		}
	}
}

// Edge implements Watcher.
func (v *VCD) Edge(at time.Duration, l Line, high bool) {
	if at != v.at {
		v.at = at
		v.put("#", strconv.FormatInt(int64(at), 10), "\n")
	}
	if v.head == 0 {
		v.put("$dumpvars\n")
	}
	for i, k := range v.lines {
		if k == l {
			v.put(strconv.Itoa(bit(high)), id(i), "\n")
		}
	}
	if v.head < len(v.lines) {
		if v.head++; v.head == len(v.lines) {
			v.put("$end\n")
		}
	}
}

// Close ends the dump at the time now; the Wire must not be watched by it any more.
// It gives the first error that there was.
func (v *VCD) Close(now time.Duration) error {
	if now > v.at {
		v.put("#", strconv.FormatInt(int64(now), 10), "\n")
	}
	if err := v.b.Flush(); v.err == nil {
		v.err = err
	}
	return v.err
}
