package spectests

import (
	"bytes"
	"context"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/sspemu/sspemu/bundles"
	"github.com/sspemu/sspemu/scl"
	"github.com/sspemu/sspemu/transport"
)

// packetFaults are ways to break what comes from the SSP over a link: the octets of
// packets, changed in their place. testdata/broken_services.yaml says which cases each
// of them must make fail, and only those.
var packetFaults = map[string]func(p *scl.Profile, packet []byte){
	"404 is 200":                       instead("HTTP/1.1 404", "HTTP/1.1 200"),
	"405 is 200":                       instead("HTTP/1.1 405", "HTTP/1.1 200"),
	"400 is 200":                       instead("HTTP/1.1 400", "HTTP/1.1 200"),
	"431 is 200":                       instead("HTTP/1.1 431", "HTTP/1.1 200"),
	"responses have no Date":           instead("\r\nDate:", "\r\nDatx:"),
	"405 has no Allow":                 instead("\r\nAllow:", "\r\nAllox:"),
	"responses have no Vary":           instead("\r\nVary:", "\r\nVarx:"),
	"the JSON is none":                 instead("{\"", "{!"),
	"problems are plain text":          instead("application/problem+json", "application/another+json"),
	"Connection: close is not told":    instead("\r\nConnection: close", "\r\nConnectiox: close"),
	"HTTP/1.1 is HTTP/1.0":             instead("HTTP/1.1 ", "HTTP/1.0 "),
	"CoAP 4.04 is 2.05":                coapCode(0x84, 0x45),
	"CoAP 4.05 is 2.05":                coapCode(0x85, 0x45),
	"CoAP 4.06 is 2.05":                coapCode(0x86, 0x45),
	"CoAP 4.02 is 2.05":                coapCode(0x82, 0x45),
	"CoAP 5.05 is 5.00":                coapCode(0xA5, 0xA0),
	"CoAP tokens are changed":          coapMessage(func(m []byte) { changeToken(m) }),
	"CoAP acknowledgements are NON":    coapMessage(func(m []byte) { changeType(m, 0x60, 0x50) }),
	"CoAP Resets are acknowledgements": coapMessage(func(m []byte) { changeType(m, 0x70, 0x60) }),
	"/.well-known/core has no obs":     instead(";obs", ";obx"),
	"ANY_E_CMD_NOT_SUPPORTED is ANY_OK": response(func(p *scl.Profile) (byte, byte) {
		return p.Response.AnyECmdNotSupported, p.Response.AnyOK
	}),
	"ANY_E_PIPE_ACCESS_DENIED is ANY_E_NOK": response(func(p *scl.Profile) (byte, byte) {
		return p.Response.AnyEPipeAccessDenied, p.Response.AnyENOK
	}),
	"ANY_E_INHIBITED is ANY_E_NOK": response(func(p *scl.Profile) (byte, byte) {
		return p.Response.AnyEInhibited, p.Response.AnyENOK
	}),
	"ANY_E_AUTHENTICATION is ANY_OK": response(func(p *scl.Profile) (byte, byte) {
		return p.Response.AnyEAuthentication, p.Response.AnyOK
	}),
	"ANY_E_CMD_PAR_UNKNOWN is ANY_OK": response(func(p *scl.Profile) (byte, byte) {
		return p.Response.AnyECmdParUnknown, p.Response.AnyOK
	}),
	"ANY_E_REG_ACCESS_DENIED is ANY_E_REG_PAR_UNKNOWN": response(func(p *scl.Profile) (byte, byte) {
		return p.Response.AnyERegAccessDenied, p.Response.AnyERegParUnknown
	}),
}

// instead puts one text in the place of another of the same length.
func instead(old, with string) func(*scl.Profile, []byte) {
	return func(_ *scl.Profile, packet []byte) {
		copy(packet, bytes.ReplaceAll(packet, []byte(old), []byte(with)))
	}
}

// response changes the code of a response that says no, which has an octet of data at
// most. The header of a packet has one octet (scl-profile-0).
func response(codes func(*scl.Profile) (old, with byte)) func(*scl.Profile, []byte) {
	return func(p *scl.Profile, packet []byte) {
		if old, with := codes(p); (len(packet) == 2 || len(packet) == 3) && packet[1] == 0x80|old {
			packet[1] = 0x80 | with
		}
	}
}

// coapMessage changes a CoAP message that a datagram has: behind the headers of packet
// and message, and the address of its peer in the documentation prefix of RFC 5737.
func coapMessage(change func(m []byte)) func(*scl.Profile, []byte) {
	peer := append(make([]byte, 10), 0xFF, 0xFF, 192, 0, 2)
	return func(_ *scl.Profile, packet []byte) {
		if len(packet) >= 2+18+4 && bytes.HasPrefix(packet[2:], peer) {
			change(packet[20:])
		}
	}
}

func coapCode(old, with byte) func(*scl.Profile, []byte) {
	return coapMessage(func(m []byte) {
		if m[1] == old {
			m[1] = with
		}
	})
}

func changeToken(m []byte) {
	if m[0]&0x0F > 0 {
		m[4] ^= 0xFF
	}
}

func changeType(m []byte, old, with byte) {
	if m[0]&0xF0 == old {
		m[0] = m[0]&0x0F | with
	}
}

// brokenLink changes what comes.
type brokenLink struct {
	transport.Link
	change func(packet []byte)
}

func (l brokenLink) PacketMTU() int { return l.Link.(transport.PacketCarrier).PacketMTU() }

func (l brokenLink) Open(ctx context.Context, r transport.Receiver) error {
	return l.Link.Open(ctx, receiver(func(k transport.Kind, p []byte) {
		if k == transport.Packet {
			p = bytes.Clone(p)
			l.change(p)
		}
		r.Frame(k, p)
	}))
}

type receiver func(k transport.Kind, p []byte)

func (r receiver) Frame(k transport.Kind, p []byte) { r(k, p) }

// TestBrokenServices: each fault makes exactly the cases fail that are about it.
func TestBrokenServices(t *testing.T) {
	const file = "testdata/broken_services.yaml"
	spb, err := bundles.Open("telecom")
	require.NoError(t, err)
	suites, err := Suites()
	require.NoError(t, err)
	suites, err = Select(suites, []string{"scl", "http", "coap"})
	require.NoError(t, err)
	want := map[string][]string{}
	if b, err := os.ReadFile(file); err == nil {
		require.NoError(t, yaml.Unmarshal(b, &want))
	}
	got := map[string][]string{}
	for name, change := range packetFaults {
		target, stop, err := InProcess{Engine: engine, Package: spb}.Target(context.Background())
		require.NoError(t, err, name)
		dial := target.Dial
		target.Dial = func(ctx context.Context) (transport.Link, func() error, error) {
			l, gone, err := dial(ctx)
			return brokenLink{l, func(p []byte) { change(target.Network.Profile(), p) }}, gone, err
		}
		rep, err := Run(context.Background(), target, suites, nil)
		require.NoError(t, err)
		require.NoError(t, stop(), name)
		require.False(t, rep.OK(), name)
		for _, s := range rep.Suites {
			for _, r := range s.Results {
				if r.Outcome == Fail {
					got[name] = append(got[name], s.Name+"/"+r.Case)
				}
			}
		}
	}
	if *update {
		b, err := yaml.Marshal(got)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(file, append([]byte("# Which cases each fault of broken_services_test.go makes fail; go test ./spec-tests -run BrokenServices -update\n"), b...), 0o644))
		return
	}
	require.Equal(t, want, got)
}
