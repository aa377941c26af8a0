package clients

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// wrk loads a page for a time and gives the rate in requests a second.
func (s *served) wrk(tb testing.TB, program, path, seconds, connections string) float64 {
	out, notes, code := run(tb, nil, program, "-t1", "-c"+connections, "-d"+seconds, "--timeout", "10s", "--latency", "http://"+s.http+path)
	require.Zero(tb, code, notes)
	require.NotContains(tb, out, "Socket errors")
	require.NotContains(tb, out, "Non-2xx")
	m := regexp.MustCompile(`Requests/sec:\s*([0-9.]+)`).FindStringSubmatch(out)
	require.Len(tb, m, 2, out)
	rate, err := strconv.ParseFloat(m[1], 64)
	require.NoError(tb, err)
	p99 := regexp.MustCompile(`99%\s*(\S+)`).FindStringSubmatch(out)
	require.Len(tb, p99, 2, out)
	tb.Logf("%s, %s connections: %.0f requests/s, 99%% within %s", path, connections, rate, p99[1])
	return rate
}

// TestLoad: every one of many requests at once gets its answer, and none costs
// memory that stays.
func TestLoad(t *testing.T) {
	program := tool(t, "wrk", "wrk")
	if program == "" {
		return
	}
	s := serving(t)
	for _, x := range []struct{ path, connections string }{{"/counter", "16"}, {"/", "16"}, {"/counter", "300"}, {"/bytes?n=100000", "64"}} {
		require.Positive(t, s.wrk(t, program, x.path, "2s", x.connections))
	}
	before := s.resident(t)
	s.wrk(t, program, "/counter", "2s", "300")
	s.wrk(t, program, "/bytes?n=100000", "2s", "64")
	require.Less(t, s.resident(t), before+64, "MiB")
}

// resident is the memory of the process in MiB.
func (s *served) resident(tb testing.TB) int {
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(s.cmd.Process.Pid), "status"))
	require.NoError(tb, err)
	for line := range strings.Lines(string(b)) {
		if kb, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			n, err := strconv.Atoi(strings.Fields(kb)[0])
			require.NoError(tb, err)
			return n / 1024
		}
	}
	tb.Fatal("no VmRSS")
	return 0
}

// BenchmarkHTTP loads pages with wrk, 16 connections at once.
func BenchmarkHTTP(b *testing.B) {
	program := tool(b, "wrk", "wrk")
	if program == "" {
		return
	}
	for _, bundle := range []string{"example", "telecom"} {
		for _, path := range []string{"/counter", "/"} {
			if bundle == "telecom" && path != "/" {
				continue
			}
			b.Run(bundle+" "+path, func(b *testing.B) {
				s := serving(b)
				s.activate(b, bundle)
				for b.Loop() {
					b.ReportMetric(s.wrk(b, program, path, "3s", "16"), "GET/s")
				}
			})
		}
	}
}
