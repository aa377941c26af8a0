// Package acl is the link between a test tool and a secure element of GlobalPlatform's
// SE Abstract Communication Layer over TCP/IP.
//
//	test tool ── Test Tool Agent ──TCP── SE Agent ── SSP
//	             server            acl://          ours: transport.Target
//	             ours: transport.Controller
//
// The server only sends commands and the SE Agent only responses, one at a time. A
// connection is for one interface of the secure element, which its first message names.
//
//	COLD_RESET  -> PowerOn   answered by the ATR      COMMAND     -> Block     by a Block
//	WARM_RESET  -> Reset     answered by the ATR      DEACTIVATE  -> PowerOff  when it is done
//
//	code.go     request identifiers, error codes, keys
//	frame.go    framing, and the JSON of commands and responses
//	agent.go    the SE Agent: CONTACT and EVENTS
//	tool.go     the Test Tool Agent: CONTACT, for APDUs to any SE Agent
//
// Where the specification, its README and its reference programs disagree, both ends
// of ours take either and send what the specification has:
//
//   - a response without data: empty here, "OK" in the programs, "KO" after an error;
//   - ECHO: gives back what it got; an empty response is a sign of life as well;
//   - DISCONNECT: an empty response, then the end; who reads may get the end alone;
//   - spaces and small letters in hexadecimal data and in ATRs;
//   - keys that are not known, in any order; a command without data or time-out;
//   - a COMMAND before any COLD_RESET goes to the card, which knows what it makes of it.
//
// Source: GlobalPlatform GPC_TEN_214 v1.1 (July 2024).
package acl

import (
	"time"

	"github.com/sspemu/sspemu/transport"
)

// Schemes are the links of this package, for transport.Open:
//
//	acl://HOST[:PORT][?interface=contact|events][&reader=NAME]   target: the SE Agent, which connects
//	acl://HOST[:PORT][?timeout=30s]                              controller: the Test Tool Agent, which listens
var Schemes = transport.Schemes{"acl": open}

// port is that of the reference programs.
const port = 62111

// How the link behaves when the other end is slow, silent or away.
const (
	// retryFirst and retryMost bound the wait between two attempts to reach the
	// server; it doubles from one to the other.
	retryFirst = 50 * time.Millisecond
	retryMost  = 500 * time.Millisecond
	// stall is how long a message that has begun may take to arrive or to leave.
	stall = 10 * time.Second
	// lost is how long a peer may leave bytes or probes unacknowledged.
	lost = 20 * time.Second
	// usual is the time that a command without a time-out has, which is that of the
	// reference programs, and longest what is taken for the longest.
	usual   = 2 * time.Second
	longest = time.Hour
	// margin is how much longer than a command the server waits for its response.
	margin = 2 * time.Second
)

func open(u transport.URL, role transport.Role) (transport.Link, error) {
	if u.Host == "" || u.Path != "" {
		return nil, u.Errorf("write acl://HOST:PORT, such as acl://127.0.0.1:%d", port)
	}
	if role == transport.Controller {
		return openTool(u)
	}
	if err := u.Only("interface", "reader"); err != nil {
		return nil, err
	}
	if u.Port == 0 {
		return nil, u.Errorf("port 0 cannot be connected to (a Test Tool Agent listens on %d)", port)
	}
	iface, err := u.OneOf("interface", contact, events)
	if err != nil {
		return nil, err
	}
	name, ok := u.Params["reader"]
	if !ok {
		name = "sspemu"
	}
	if name == "" || len(name) > maxName {
		return nil, u.Errorf("reader= is a name of 1 to %d bytes", maxName)
	}
	return &agent{url: u.String(), addr: u.Addr(port), iface: iface, name: name}, nil
}

// maxName bounds the reader's name; a handshake is no longer than maxHello.
const (
	maxName  = 200
	maxHello = 1024
)

func openTool(u transport.URL) (transport.Link, error) {
	if err := u.Only("timeout"); err != nil {
		return nil, err
	}
	wait := 30 * time.Second
	if v, ok := u.Params["timeout"]; ok {
		d, err := time.ParseDuration(v)
		if err != nil || d < time.Millisecond || d > longest {
			return nil, u.Errorf("timeout=%s is not a time from 1ms to 1h, such as 30s", v)
		}
		wait = d
	}
	return &tool{url: u.String(), addr: u.Addr(port), timeout: wait}, nil
}
