package main

import (
	"net"
	"os"
	"strconv"
	"strings"

	"github.com/sspemu/sspemu/transport"
)

// portOpen tells whether somebody listens on a TCP port of this machine; known is
// false for other machines and where the system does not say. It does not connect.
func portOpen(name string, port int) (open, known bool) { return host{root: "/"}.portOpen(name, port) }

func (h host) portOpen(name string, port int) (open, known bool) {
	if ip := net.ParseIP(name); name != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return false, false
	}
	for _, f := range []string{"proc/net/tcp", "proc/net/tcp6"} {
		b, err := os.ReadFile(h.file(f))
		if err != nil {
			continue
		}
		known = true
		if listens(string(b), port) {
			return true, true
		}
	}
	return false, known
}

// listens looks for a socket that listens on the port in a table of proc(5):
//
//	sl  local_address rem_address   st ...
//	 0: 0100007F:8C7B 00000000:0000 0A ...
func listens(table string, port int) bool {
	const listen = "0A"
	for line := range strings.Lines(table) {
		f := strings.Fields(line)
		if len(f) < 4 || f[3] != listen {
			continue
		}
		_, hex, _ := strings.Cut(f[1], ":")
		if n, err := strconv.ParseUint(hex, 16, 16); err == nil && int(n) == port {
			return true
		}
	}
	return false
}

// portOf is the port of a vpcd: link.
func portOf(u transport.URL) int {
	if u.Port < 0 {
		return 35963
	}
	return u.Port
}
