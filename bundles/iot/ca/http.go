package ca

import (
	"bytes"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"mime"
	"net/http"
	"strings"
)

// Paths of EST (RFC 7030 3.2.2, RFC 9148 4.1).
const wellKnown = "/.well-known/est/"

// Media types of RFC 7030 3.2.4, 4.5.2 and RFC 5280 (CRL: RFC 2585 4.2).
const (
	typeCerts   = "application/pkcs7-mime"
	typeRequest = "application/pkcs10"
	typeAttrs   = "application/csrattrs"
	typeCRL     = "application/pkix-crl"
)

// csrAttributes are what a request should have (RFC 7030 4.5.2): a key on P-256, signed by
// ECDSA with SHA-256; in DER.
var csrAttributes = []byte{
	0x30, 0x21,
	0x30, 0x15, 0x06, 0x07, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x02, 0x01, 0x31, 0x0A, 0x06, 0x08, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x03, 0x01, 0x07, // id-ecPublicKey { prime256v1 }
	0x06, 0x08, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x04, 0x03, 0x02, // ecdsa-with-SHA256
}

// TLS is the configuration of a server whose clients may show a certificate; who needs one
// is decided request by request.
func TLS(identity tls.Certificate) *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{identity}, ClientAuth: tls.RequestClientCert}
}

// ServeHTTP serves
//
//	GET  /.well-known/est/cacerts         the trust anchor
//	POST /.well-known/est/simpleenroll    a request becomes a certificate
//	POST /.well-known/est/simplereenroll  the same for who shows a certificate
//	GET  /.well-known/est/csrattrs
//	GET  /crl                             the list of revoked certificates, DER
//	GET  /certificates                    the registry, JSON
//	POST /revoke                          {"serial": HEX, "reason": WORD}
//
// Errors are application/problem+json (RFC 9457).
func (a *Authority) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	for _, x := range []struct {
		method, path string
		serve        http.HandlerFunc
	}{
		{http.MethodGet, wellKnown + "cacerts", a.cacerts},
		{http.MethodPost, wellKnown + "simpleenroll", a.enroll},
		{http.MethodPost, wellKnown + "simplereenroll", a.reenroll},
		{http.MethodGet, wellKnown + "csrattrs", a.csrattrs},
		{http.MethodGet, "/crl", a.crl},
		{http.MethodGet, "/certificates", a.certificates},
		{http.MethodPost, "/revoke", a.revoke},
	} {
		if r.URL.Path != x.path {
			continue
		}
		if r.Method != x.method && !(x.method == http.MethodGet && r.Method == http.MethodHead) {
			w.Header().Set("Allow", strings.Replace(x.method, "GET", "GET, HEAD", 1))
			problem(w, refuse(http.StatusMethodNotAllowed, "%s takes %s", x.path, x.method))
			return
		}
		x.serve(w, r)
		return
	}
	problem(w, refuse(http.StatusNotFound, "there are %s with cacerts, simpleenroll, simplereenroll and csrattrs, /crl, /certificates and /revoke", wellKnown))
}

// problem answers with a refusal.
func problem(w http.ResponseWriter, no *Refusal) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(no.Status)
	_ = json.NewEncoder(w).Encode(map[string]any{"title": http.StatusText(no.Status), "status": no.Status, "detail": no.Why})
}

// inBase64 answers with DER as EST has it (RFC 8951 3.1, 3.2), in lines that every tool reads.
func inBase64(w http.ResponseWriter, media string, der []byte) {
	var b bytes.Buffer
	for s := base64.StdEncoding.EncodeToString(der); s != ""; {
		n := min(len(s), 76)
		b.WriteString(s[:n] + "\n")
		s = s[n:]
	}
	w.Header().Set("Content-Type", media)
	w.Header().Set("Content-Transfer-Encoding", "base64")
	_, _ = w.Write(b.Bytes())
}

func (a *Authority) cacerts(w http.ResponseWriter, _ *http.Request) {
	inBase64(w, typeCerts, CertsOnly(a.cert))
}

func (a *Authority) csrattrs(w http.ResponseWriter, _ *http.Request) {
	inBase64(w, typeAttrs, csrAttributes)
}

// read is the request in the body: base64 (RFC 8951 3.2), or PEM as openssl writes it.
func read(w http.ResponseWriter, r *http.Request) ([]byte, *Refusal) {
	if t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || t != typeRequest {
		return nil, refuse(http.StatusUnsupportedMediaType, "a certificate request is %s (Content-Type)", typeRequest)
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 2*MaxRequest))
	var long *http.MaxBytesError
	switch {
	case errors.As(err, &long):
		return nil, refuse(http.StatusRequestEntityTooLarge, "a certificate request has %d octets at most", MaxRequest)
	case err != nil:
		return nil, refuse(http.StatusBadRequest, "the body: %v", err)
	}
	if p, _ := pem.Decode(body); p != nil && (p.Type == "CERTIFICATE REQUEST" || p.Type == "NEW CERTIFICATE REQUEST") {
		return p.Bytes, nil
	}
	der, err := base64.StdEncoding.DecodeString(string(bytes.Join(bytes.Fields(body), nil)))
	if err != nil {
		return nil, refuse(http.StatusBadRequest, "the body is not base64 of a certificate request (RFC 8951): %v", err)
	}
	return der, nil
}

// peer is the certificate that the client has shown; nil: none.
func peer(r *http.Request) *x509.Certificate {
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return nil
	}
	return r.TLS.PeerCertificates[0]
}

// admitted tells whether somebody may enrol: by a certificate that the authority takes, or
// by name and password, if these are asked for.
func (a *Authority) admitted(r *http.Request) bool {
	if a.o.Basic == "" {
		return true
	}
	user, password, _ := r.BasicAuth()
	if subtle.ConstantTimeCompare([]byte(user+":"+password), []byte(a.o.Basic)) == 1 {
		return true
	}
	return peer(r) != nil && a.Check(peer(r)) == nil
}

func (a *Authority) enroll(w http.ResponseWriter, r *http.Request) {
	if !a.admitted(r) {
		w.Header().Set("WWW-Authenticate", `Basic realm="estrealm", charset="UTF-8"`)
		problem(w, refuse(http.StatusUnauthorized, "enrolment wants a name with its password, or a certificate of this authority"))
		return
	}
	der, no := read(w, r)
	if no == nil {
		var c *x509.Certificate
		if c, no = a.Issue(der); no == nil {
			inBase64(w, typeCerts+"; smime-type=certs-only", CertsOnly(c))
			return
		}
	}
	problem(w, no)
}

func (a *Authority) reenroll(w http.ResponseWriter, r *http.Request) {
	if no := a.Check(peer(r)); no != nil { // before the body is looked at
		problem(w, no)
		return
	}
	der, no := read(w, r)
	if no == nil {
		var c *x509.Certificate
		if c, no = a.Renew(der, peer(r)); no == nil {
			inBase64(w, typeCerts+"; smime-type=certs-only", CertsOnly(c))
			return
		}
	}
	problem(w, no)
}

func (a *Authority) crl(w http.ResponseWriter, _ *http.Request) {
	der, err := a.CRL()
	if err != nil {
		problem(w, refuse(http.StatusInternalServerError, "%v", err))
		return
	}
	w.Header().Set("Content-Type", typeCRL)
	_, _ = w.Write(der)
}

func (a *Authority) certificates(w http.ResponseWriter, _ *http.Request) {
	l, err := a.Records()
	if err != nil {
		problem(w, refuse(http.StatusInternalServerError, "%v", err))
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{"authority": a.from.Name, "certificates": l})
}

// revocation is the JSON of POST /revoke.
type revocation struct {
	Serial string `json:"serial"`
	Reason string `json:"reason"`
}

func (a *Authority) revoke(w http.ResponseWriter, r *http.Request) {
	if t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || t != "application/json" {
		problem(w, refuse(http.StatusUnsupportedMediaType, "the body is application/json (Content-Type)"))
		return
	}
	q := revocation{Reason: "unspecified"}
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, MaxRequest))
	d.DisallowUnknownFields()
	if err := d.Decode(&q); err != nil {
		problem(w, refuse(http.StatusBadRequest, "the body: %v", err))
		return
	}
	record, no := a.Revoke(q.Serial, q.Reason)
	if no != nil {
		problem(w, no)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(record)
}
