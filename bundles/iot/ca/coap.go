package ca

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/pion/dtls/v3"
	coapdtls "github.com/plgd-dev/go-coap/v3/dtls"
	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
	"github.com/plgd-dev/go-coap/v3/mux"
	coapnet "github.com/plgd-dev/go-coap/v3/net"
	"github.com/plgd-dev/go-coap/v3/net/blockwise"
	"github.com/plgd-dev/go-coap/v3/options"
	"github.com/plgd-dev/go-coap/v3/udp"
)

// Content-Formats of RFC 9148 9.1 and of RFC 7252.
const (
	formatLinks   message.MediaType = 40
	formatCerts   message.MediaType = 281 // application/pkcs7-mime; smime-type=certs-only
	formatAttrs   message.MediaType = 285 // application/csrattrs
	formatRequest message.MediaType = 286 // application/pkcs10
	formatCert    message.MediaType = 287 // application/pkix-cert
)

// things are the resources of EST-coaps (RFC 9148 4.1, 4.2), with their attributes for
// discovery.
var things = []struct {
	path, rt string
	method   codes.Code
	formats  []message.MediaType // the preferred one first
}{
	{"crts", "ace.est.crts", codes.GET, []message.MediaType{formatCerts, formatCert}},
	{"sen", "ace.est.sen", codes.POST, []message.MediaType{formatCerts, formatCert}},
	{"sren", "ace.est.sren", codes.POST, []message.MediaType{formatCerts, formatCert}},
	{"att", "ace.est.att", codes.GET, []message.MediaType{formatAttrs}},
}

// links lists the resources for /.well-known/core (RFC 6690), those whose rt fits: a word
// of ?rt=, which may end in *.
func links(queries []string) string {
	var l []string
	for _, x := range things {
		ok := true
		for _, q := range queries {
			name, v, _ := strings.Cut(q, "=")
			prefix, star := strings.CutSuffix(v, "*")
			ok = ok && name == "rt" && (x.rt == v || star && strings.HasPrefix(x.rt, prefix))
		}
		if !ok {
			continue
		}
		var ct []string
		for _, f := range x.formats {
			ct = append(ct, strconv.Itoa(int(f)))
		}
		if len(ct) > 1 {
			ct = []string{`"` + strings.Join(ct, " ") + `"`}
		}
		l = append(l, fmt.Sprintf(`<%s%s>;rt="%s";ct=%s`, wellKnown, x.path, x.rt, ct[0]))
	}
	return strings.Join(l, ",")
}

// coapCode is the code for a status (RFC 9148 4.5 has them side by side).
func coapCode(status int) codes.Code {
	return map[int]codes.Code{
		http.StatusBadRequest: codes.BadRequest, http.StatusUnauthorized: codes.Unauthorized, http.StatusForbidden: codes.Forbidden,
		http.StatusRequestEntityTooLarge: codes.RequestEntityTooLarge, http.StatusInternalServerError: codes.InternalServerError,
	}[status]
}

// serveCoAP answers one request of somebody who has shown a certificate, or nil.
func (a *Authority) serveCoAP(w mux.ResponseWriter, r *mux.Message) {
	fail := func(c codes.Code, why string) {
		_ = w.SetResponse(c, message.TextPlain, strings.NewReader(why))
	}
	path, err := r.Path()
	if err != nil {
		path = ""
	}
	path = "/" + strings.TrimPrefix(path, "/")
	if path == "/.well-known/core" && r.Code() == codes.GET {
		queries, _ := r.Queries()
		_ = w.SetResponse(codes.Content, formatLinks, strings.NewReader(links(queries)))
		return
	}
	for _, x := range things {
		if path != wellKnown+x.path {
			continue
		}
		if r.Code() != x.method {
			fail(codes.MethodNotAllowed, x.path+" takes "+x.method.String())
			return
		}
		format := x.formats[0]
		if accept, err := r.Options().Accept(); err == nil {
			ok := false
			for _, f := range x.formats {
				ok = ok || f == accept
			}
			if !ok {
				fail(codes.NotAcceptable, "there is no such Content-Format")
				return
			}
			format = accept
		}
		switch x.path {
		case "crts":
			_ = w.SetResponse(codes.Content, format, bytes.NewReader(inFormat(format, a.cert)))
		case "att":
			_ = w.SetResponse(codes.Content, format, bytes.NewReader(csrAttributes))
		default:
			a.enrollCoAP(w, r, format, x.path == "sren", fail)
		}
		return
	}
	fail(codes.NotFound, "there is "+wellKnown+" with crts, sen, sren and att")
}

func inFormat(f message.MediaType, c *x509.Certificate) []byte {
	if f == formatCert {
		return c.Raw
	}
	return CertsOnly(c)
}

func (a *Authority) enrollCoAP(w mux.ResponseWriter, r *mux.Message, format message.MediaType, renew bool, fail func(codes.Code, string)) {
	shown := shownBy(w.Conn().NetConn())
	if renew {
		if no := a.Check(shown); no != nil {
			fail(coapCode(no.Status), no.Why)
			return
		}
	} else if a.o.Basic != "" && (shown == nil || a.Check(shown) != nil) {
		fail(codes.Unauthorized, "enrolment wants a certificate of this authority")
		return
	}
	if f, err := r.Options().ContentFormat(); err != nil || f != formatRequest {
		fail(codes.UnsupportedMediaType, "a certificate request has Content-Format 286")
		return
	}
	var der []byte
	if b := r.Body(); b != nil {
		var err error
		if der, err = io.ReadAll(io.LimitReader(b, MaxRequest+1)); err != nil {
			fail(codes.BadRequest, "the payload: "+err.Error())
			return
		}
	}
	var c *x509.Certificate
	var no *Refusal
	if renew {
		c, no = a.Renew(der, shown)
	} else {
		c, no = a.Issue(der)
	}
	if no != nil {
		fail(coapCode(no.Status), no.Why)
		return
	}
	_ = w.SetResponse(codes.Changed, format, bytes.NewReader(inFormat(format, c)))
}

// shownBy is the certificate that the client of a DTLS session has shown; nil: none.
func shownBy(c net.Conn) *x509.Certificate {
	d, ok := c.(*dtls.Conn)
	if !ok {
		return nil
	}
	s, ok := d.ConnectionState()
	if !ok || len(s.PeerCertificates) == 0 {
		return nil
	}
	x, err := x509.ParseCertificate(s.PeerCertificates[0])
	if err != nil {
		return nil
	}
	return x
}

// suites of DTLS: those of RFC 7925 4.4 first.
var suites = []dtls.CipherSuiteID{
	dtls.TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8, dtls.TLS_ECDHE_ECDSA_WITH_AES_128_CCM,
	dtls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, dtls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
}

// blocks of block-wise transfer, which certificates need (RFC 9148 4.6).
var blocks = options.WithBlockwise(true, blockwise.SZX1024, 10*time.Second)

// maxMessage bounds what a client sends in blocks.
var maxMessage = options.WithMaxMessageSize(2 * MaxRequest)

// quiet: what clients do wrong is not the server's error.
var quiet = options.WithErrors(func(error) {})

// ListenCoAPS opens EST-coaps at an address. Serve runs it, until Close.
func (a *Authority) ListenCoAPS(address string, identity tls.Certificate) (*CoAP, error) {
	l, err := coapnet.NewDTLSListener("udp", address, coapnet.NewDTLSServerOptions(
		dtls.WithCertificates(identity), dtls.WithCipherSuites(suites...), dtls.WithClientAuth(dtls.RequestClientCert)))
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := coapdtls.NewServer(options.WithMux(mux.HandlerFunc(a.serveCoAP)), options.WithContext(ctx), blocks, maxMessage, quiet)
	return &CoAP{l.Addr(), func() error { return s.Serve(l) }, func() error { cancel(); s.Stop(); return l.Close() }}, nil
}

// ListenCoAP opens the same without DTLS: for tests, everybody may read along.
func (a *Authority) ListenCoAP(address string) (*CoAP, error) {
	l, err := coapnet.NewListenUDP("udp", address)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := udp.NewServer(options.WithMux(mux.HandlerFunc(a.serveCoAP)), options.WithContext(ctx), blocks, maxMessage, quiet)
	return &CoAP{l.LocalAddr(), func() error { return s.Serve(l) }, func() error { cancel(); s.Stop(); return l.Close() }}, nil
}

// CoAP is an open server of EST-coaps.
type CoAP struct {
	Addr         net.Addr
	serve, close func() error
}

// Serve serves until Close.
func (c *CoAP) Serve() error {
	if err := c.serve(); err != nil && !errors.Is(err, net.ErrClosed) && !errors.Is(err, coapnet.ErrListenerIsClosed) && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// Close ends the server.
func (c *CoAP) Close() error { return c.close() }
