package spectests_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
	"github.com/plgd-dev/go-coap/v3/mux"
	coapnet "github.com/plgd-dev/go-coap/v3/net"
	"github.com/plgd-dev/go-coap/v3/options"
	"github.com/plgd-dev/go-coap/v3/udp"
	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/primary/vm"
	"github.com/sspemu/sspemu/spec-tests/testdata/services"
)

// Load of the benchmarks.
const (
	clients = 16              // at a time
	rounds  = 3               // of each server, in turns; the median counts
	took    = 2 * time.Second // a round
)

// load is what one round gave.
type load struct {
	rate     float64 // requests a second
	p50, p99 time.Duration
}

// compare loads a native server and the bundle in turns and reports the medians and
// the ratio of their rates.
func compare(b *testing.B, native, bundle string, round func(addr string) load) {
	sides := []struct {
		name, addr string
		loads      []load
	}{{name: "native", addr: native}, {name: "sspemu", addr: bundle}}
	for b.Loop() {
		for range rounds {
			for i := range sides {
				sides[i].loads = append(sides[i].loads, round(sides[i].addr))
			}
		}
	}
	var rates []float64
	for _, s := range sides {
		slices.SortFunc(s.loads, func(a, b load) int { return int(a.rate - b.rate) })
		m := s.loads[len(s.loads)/2]
		rates = append(rates, m.rate)
		b.ReportMetric(m.rate, s.name+"-req/s")
		b.ReportMetric(float64(m.p50.Microseconds()), s.name+"-p50-us")
		b.ReportMetric(float64(m.p99.Microseconds()), s.name+"-p99-us")
	}
	b.ReportMetric(rates[1]/rates[0], "sspemu/native")
	b.ReportMetric(0, "ns/op") // a round is none
}

// BenchmarkHTTP is GET of wrk, 16 connections in one thread, on the bundle through
// everything and on the same http.Handler under net/http.
func BenchmarkHTTP(b *testing.B) {
	if _, err := exec.LookPath("wrk"); err != nil {
		b.Fatal("wrk is not installed (Debian: apt-get install wrk)")
	}
	s := serveServices(b, vm.Limits{})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(b, err)
	native := &http.Server{Handler: services.New().Handler()}
	run(b, func(ctx context.Context) error {
		defer context.AfterFunc(ctx, func() { _ = native.Close() })()
		if err := native.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	for _, x := range []struct{ name, path string }{{"a line of text", "/hello"}, {"the face of a bundle", "/"}} {
		b.Run(x.name, func(b *testing.B) {
			compare(b, ln.Addr().String(), s.http, func(addr string) load { return wrk(b, "http://"+addr+x.path) })
		})
	}
}

var (
	wrkRate = regexp.MustCompile(`Requests/sec:\s+([0-9.]+)`)
	wrkTime = map[string]*regexp.Regexp{"50": regexp.MustCompile(`50%\s+([0-9.]+[a-z]+)`), "99": regexp.MustCompile(`99%\s+([0-9.]+[a-z]+)`)}
)

// wrk is one round of wrk.
func wrk(b *testing.B, url string) (l load) {
	out, err := exec.Command("wrk", "-t1", "-c"+strconv.Itoa(clients), "-d"+took.String(), "--latency", url).CombinedOutput()
	require.NoError(b, err, "%s", out)
	for _, bad := range []string{"Non-2xx", "Socket errors"} {
		require.NotContains(b, string(out), bad)
	}
	rate := wrkRate.FindSubmatch(out)
	require.NotNil(b, rate, "%s", out)
	l.rate, err = strconv.ParseFloat(string(rate[1]), 64)
	require.NoError(b, err)
	require.Positive(b, l.rate, "nothing is answered any more: %s", out)
	for p, at := range map[string]*time.Duration{"50": &l.p50, "99": &l.p99} {
		m := wrkTime[p].FindSubmatch(out)
		require.NotNil(b, m, "%s", out)
		*at, err = time.ParseDuration(string(m[1]))
		require.NoError(b, err)
	}
	return l
}

// BenchmarkCoAP is a confirmable GET of 16 clients on the bundle through everything,
// and on the same resource served by go-coap.
func BenchmarkCoAP(b *testing.B) {
	s := serveServices(b, vm.Limits{})
	router := mux.NewRouter()
	require.NoError(b, router.Handle("/hello", mux.HandlerFunc(func(w mux.ResponseWriter, _ *mux.Message) {
		_ = w.SetResponse(codes.Content, message.TextPlain, bytes.NewReader([]byte(services.Hello)))
	})))
	conn, err := coapnet.NewListenUDP("udp4", "127.0.0.1:0")
	require.NoError(b, err)
	native := udp.NewServer(options.WithMux(router))
	run(b, func(ctx context.Context) error {
		defer context.AfterFunc(ctx, native.Stop)()
		defer conn.Close()
		return native.Serve(conn)
	})
	b.Run("a line of text", func(b *testing.B) {
		compare(b, conn.LocalAddr().String(), s.coap, func(addr string) load {
			l, lost := askCoAP(b, addr, took)
			if lost > 0 {
				b.Logf("%d datagrams were lost", lost)
			}
			return l
		})
	})
}

// coapLost is when a datagram is given up.
const coapLost = 500 * time.Millisecond

// askCoAP is one round: every client has a socket of its own and one request under
// way.
func askCoAP(tb testing.TB, addr string, d time.Duration) (l load, lost int) {
	var mu sync.Mutex
	var all []time.Duration
	var running sync.WaitGroup
	began := time.Now()
	end := began.Add(d)
	for range clients {
		conn, err := net.Dial("udp", addr)
		require.NoError(tb, err)
		running.Go(func() {
			defer conn.Close()
			times, gone, err := askOne(conn.(*net.UDPConn), end)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				tb.Error(err)
			}
			all, lost = append(all, times...), lost+gone
		})
	}
	running.Wait()
	require.NotEmpty(tb, all)
	l.rate = float64(len(all)) / time.Since(began).Seconds()
	slices.Sort(all)
	l.p50, l.p99 = all[len(all)/2], all[len(all)*99/100]
	return l, lost
}

// askOne sends GET /hello after GET /hello until end. Only the message ID of the datagram
// changes.
func askOne(conn *net.UDPConn, end time.Time) (times []time.Duration, lost int, err error) {
	request := []byte("\x42\x01\x00\x00\xC0\xA9\xB5hello") // version 1, CON, token of 2 octets, GET, Uri-Path
	in := make([]byte, 1500)
	times = make([]time.Duration, 0, 1<<16)
	for id := uint16(0); ; id++ {
		binary.BigEndian.PutUint16(request[2:], id)
		sent := time.Now()
		if !sent.Before(end) {
			return times, lost, nil
		}
		if id%256 == 0 {
			_ = conn.SetReadDeadline(sent.Add(coapLost))
		}
		if _, err := conn.Write(request); err != nil {
			return nil, 0, err
		}
		switch err := answered(conn, in, request, sent); {
		case err == nil:
			times = append(times, time.Since(sent))
		case errors.Is(err, os.ErrDeadlineExceeded):
			lost++
		default:
			return nil, 0, err
		}
	}
}

// answered waits for the answer to request. os.ErrDeadlineExceeded: it is lost.
func answered(conn *net.UDPConn, in, request []byte, sent time.Time) error {
	for {
		n, err := conn.Read(in)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded) && time.Since(sent) < coapLost: // that of a request before
			_ = conn.SetReadDeadline(sent.Add(coapLost))
		case err != nil:
			_ = conn.SetReadDeadline(time.Now().Add(coapLost))
			return err
		case n < 6 || in[0] != 0x62 || in[1] != byte(codes.Content) || !bytes.HasSuffix(in[:n], []byte(services.Hello)):
			return fmt.Errorf("the answer to %X is %X", request, in[:n])
		case bytes.Equal(in[2:6], request[2:6]):
			return nil
		} // else one that was given up
	}
}

// BenchmarkObservers is a change of a resource that a thousand clients observe, from
// the POST until the last of them was told.
func BenchmarkObservers(b *testing.B) {
	const n = 1000
	s := serveServices(b, vm.Limits{})
	before := resident(b)
	told := s.observeCount(b, n)
	changes := 0
	for b.Loop() {
		s.change(b, told, n)
		changes++
	}
	b.ReportMetric(float64(changes*n)/b.Elapsed().Seconds(), "notifications/s")
	b.ReportMetric(n, "observers")
	b.ReportMetric(resident(b)-before, "MiB-more-resident")
	b.ReportMetric(resident(b), "MiB-resident")
}
