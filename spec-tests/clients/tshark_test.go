package clients

import (
	"bufio"
	"net"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestTshark: Wireshark reads what goes over the loopback as HTTP and CoAP, and finds
// nothing malformed.
func TestTshark(t *testing.T) {
	program := tool(t, "tshark", "tshark")
	if program == "" {
		return
	}
	curl, coap := tool(t, "curl", "curl"), tool(t, "libcoap3-bin", coapClients...)
	if curl == "" || coap == "" {
		return
	}
	s := serving(t)
	_, http, err := net.SplitHostPort(s.http)
	require.NoError(t, err)
	_, udp, err := net.SplitHostPort(s.coap)
	require.NoError(t, err)
	args := []string{program, "-i", "lo", "-l", "-f", "tcp port " + http + " or udp port " + udp,
		"-d", "tcp.port==" + http + ",http", "-d", "udp.port==" + udp + ",coap", "-T", "fields", "-E", "separator=|"}
	for _, field := range []string{"frame.protocols", "http.request.method", "http.request.uri", "http.response.code", "http.content_type",
		"coap.type", "coap.code", "coap.opt.uri_path_recon", "coap.opt.ctype", "_ws.malformed"} {
		args = append(args, "-e", field)
	}
	if os.Getuid() != 0 { // capturing is not for everybody
		args = append([]string{"sudo", "-n"}, args...)
	}
	cmd := exec.Command(args[0], args[1:]...)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	var notes strings.Builder
	cmd.Stderr = &notes
	require.NoError(t, cmd.Start())
	var mu sync.Mutex
	var seen []string
	done := make(chan struct{})
	go func() {
		defer close(done)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			mu.Lock()
			seen = append(seen, lines.Text())
			mu.Unlock()
		}
	}()
	defer func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		<-done
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("%s%s", strings.Join(seen, "\n"), notes.String())
		}
	}()
	// The capture begins when it begins.
	want := []string{
		`tcp:http\|GET\|/counter\|`, `tcp:http:data-text-lines\|{3}200\|text/plain\|`,
		`tcp:http:\S+\|POST\|/echo\|`, `tcp:http:data\|{3}200\|application/octet-stream\|`,
		`udp:coap\|{5}0\|1\|\S*/counter\|`, `udp:coap:data-text-lines\|{5}2\|69\|\S*/counter\|text/plain`,
		`udp:coap:data-text-lines\|{5}0\|3\|\S*/note\|text/plain`, `udp:coap\|{5}2\|68\|\S*/note\|`,
	}
	require.Eventually(t, func() bool {
		run(t, nil, curl, "-sS", "http://"+s.http+"/counter")
		run(t, nil, curl, "-sS", "-d", "hello", "http://"+s.http+"/echo")
		run(t, nil, coap, "-B", "5", "coap://"+s.coap+"/counter")
		run(t, nil, coap, "-B", "5", "-m", "put", "-t", "text/plain", "-e", "hello", "coap://"+s.coap+"/note")
		mu.Lock()
		defer mu.Unlock()
		for _, w := range want {
			if !slices.ContainsFunc(seen, regexp.MustCompile(w).MatchString) {
				return false
			}
		}
		return true
	}, 30*time.Second, 200*time.Millisecond, "%v", want)
	mu.Lock()
	defer mu.Unlock()
	for _, line := range seen {
		require.True(t, strings.HasSuffix(line, "|"), "malformed: %s", line)
	}
}
