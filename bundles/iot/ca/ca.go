// Package ca is a certification authority for tests, outside of the card: one of those of
// a persona, so that what it issues chains to the trust anchors in the applet. Devices
// enrol with EST.
//
//	curl, sspemu iot enroll ── HTTPS ──> ServeHTTP (http.go) ──┐
//	coap-client ── CoAP, DTLS ──> CoAP (coap.go) ──────────────┴─> Authority: Issue, Renew, Revoke
//	                                                                  │ records: the registry of the cloud
//	persona ──> profile: key and certificate of the authority ────────┘
//
// What it has issued it knows as long as it runs. The key of the authority and every
// signature come from the seed of the persona: the same requests in the same order at the
// same time get the same certificates.
//
// Sources: RFC 7030 and RFC 8951 (EST), RFC 9148 (EST-coaps), RFC 5272 (certs-only), RFC
// 5280 (certificates, CRL), RFC 2986 (requests).
package ca

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sspemu/sspemu/bundles/iot/profile"
	"github.com/sspemu/sspemu/internal/rsakey"
)

// MaxRequest is the longest certificate request, in octets of DER.
const MaxRequest = 8 << 10

// Options of an authority. The zero value is usable.
type Options struct {
	Name  string           // of the authority in the persona; "": the first one
	Days  int              // how long certificates hold; 0: 365
	Basic string           // USER:PASSWORD that enrolment wants of who has no certificate; "": nothing
	Now   func() time.Time // nil: time.Now
}

// Authority is a certification authority. It may be used by several goroutines.
type Authority struct {
	o       Options
	profile *profile.Profile
	from    *profile.Authority
	cert    *x509.Certificate
	key     *ecdsa.PrivateKey

	mu      sync.Mutex
	records []*Record
	crls    int64
	known   bool // the certificates of the persona are among records
}

// Record is what the authority knows of a certificate.
type Record struct {
	Serial    string    `json:"serial"`
	Subject   string    `json:"subject"`
	KeySHA256 string    `json:"key_sha256"`
	NotBefore time.Time `json:"not_before"`
	NotAfter  time.Time `json:"not_after"`
	Revoked   string    `json:"revoked,omitempty"` // the reason

	cert    *x509.Certificate
	revoked time.Time
	reason  int
}

// Refusal is why a request is not granted, with the HTTP status that says so.
type Refusal struct {
	Status int
	Why    string
}

func (r *Refusal) Error() string { return r.Why }

func refuse(status int, format string, args ...any) *Refusal {
	return &Refusal{status, fmt.Sprintf(format, args...)}
}

// New makes the authority of a persona.
func New(p *profile.Profile, o Options) (*Authority, error) {
	if o.Days == 0 {
		o.Days = 365
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if len(p.Authorities) == 0 {
		return nil, errors.New("the persona has no authorities")
	}
	a := &Authority{o: o, profile: p}
	var names []string
	for i := range p.Authorities {
		x := &p.Authorities[i]
		names = append(names, fmt.Sprintf("%q", x.Name))
		if x.Name == o.Name || o.Name == "" && i == 0 {
			a.from = x
		}
	}
	if a.from == nil {
		return nil, fmt.Errorf("the persona has no authority %q; it has %s", o.Name, strings.Join(names, ", "))
	}
	der, err := p.AuthorityCertificate(a.from)
	if err != nil {
		return nil, err
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		return nil, err
	}
	a.key, err = p.AuthorityKey(a.from)
	return a, err
}

// Name is the name of the authority.
func (a *Authority) Name() string { return a.from.Name }

// Certificate is the trust anchor: the authority's own certificate.
func (a *Authority) Certificate() *x509.Certificate { return a.cert }

// Pool has the trust anchor alone.
func (a *Authority) Pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.cert)
	return p
}

// now is the time in certificates: whole seconds.
func (a *Authority) now() time.Time { return a.o.Now().UTC().Truncate(time.Second) }

// skew is how much earlier than now a certificate begins to hold: clocks differ (chosen).
const skew = time.Minute

// algorithms with which a request may be signed.
var algorithms = []x509.SignatureAlgorithm{
	x509.ECDSAWithSHA256, x509.ECDSAWithSHA384, x509.ECDSAWithSHA512,
	x509.SHA256WithRSA, x509.SHA384WithRSA, x509.SHA512WithRSA,
	x509.SHA256WithRSAPSS, x509.SHA384WithRSAPSS, x509.SHA512WithRSAPSS,
}

// request reads a certificate request and has proof that the key is its sender's.
func request(der []byte) (*x509.CertificateRequest, *Refusal) {
	if len(der) > MaxRequest {
		return nil, refuse(http.StatusRequestEntityTooLarge, "the request has %d octets; %d are taken", len(der), MaxRequest)
	}
	r, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return nil, refuse(http.StatusBadRequest, "that is no certificate request (PKCS #10): %v", err)
	}
	switch k := r.PublicKey.(type) {
	case *ecdsa.PublicKey:
		if k.Curve != elliptic.P256() && k.Curve != elliptic.P384() {
			return nil, refuse(http.StatusBadRequest, "the key is on %s; keys on P-256 and P-384 are certified", k.Curve.Params().Name)
		}
	case *rsa.PublicKey:
		if n := k.N.BitLen(); n < 2048 || n > 4096 {
			return nil, refuse(http.StatusBadRequest, "the RSA key has %d bits; 2048 to 4096 are certified", n)
		}
	default:
		return nil, refuse(http.StatusBadRequest, "keys of that kind are not certified: P-256, P-384 and RSA are")
	}
	if !slices.Contains(algorithms, r.SignatureAlgorithm) {
		return nil, refuse(http.StatusBadRequest, "the request is signed with %v; ECDSA and RSA with SHA-256, 384 or 512 are taken", r.SignatureAlgorithm)
	}
	if r.CheckSignature() != nil {
		return nil, refuse(http.StatusBadRequest, "the signature of the request is wrong: nothing proves that its sender has the key")
	}
	if r.Subject.CommonName == "" {
		return nil, refuse(http.StatusBadRequest, "the subject of the request has no common name")
	}
	return r, nil
}

// Issue certifies the key of a request, DER.
func (a *Authority) Issue(der []byte) (*x509.Certificate, *Refusal) {
	r, no := request(der)
	if no != nil {
		return nil, no
	}
	return a.issue(r)
}

// Renew certifies the key of a request of somebody who has a certificate: a new key or the
// same one, with the same names (RFC 7030 4.2.2).
func (a *Authority) Renew(der []byte, old *x509.Certificate) (*x509.Certificate, *Refusal) {
	if no := a.Check(old); no != nil {
		return nil, no
	}
	r, no := request(der)
	if no != nil {
		return nil, no
	}
	if !bytes.Equal(r.RawSubject, old.RawSubject) || !bytes.Equal(alternative(r.Extensions), alternative(old.Extensions)) {
		return nil, refuse(http.StatusBadRequest, "the names in the request are not those of the certificate that is to be renewed (RFC 7030 4.2.2)")
	}
	return a.issue(r)
}

// alternative is the value of subjectAltName; nil: there is none.
func alternative(l []pkix.Extension) []byte {
	for _, e := range l {
		if e.Id.String() == "2.5.29.17" {
			return e.Value
		}
	}
	return nil
}

// Check says why the authority does not take a certificate that somebody shows; nil: it
// does.
func (a *Authority) Check(c *x509.Certificate) *Refusal {
	if c == nil {
		return refuse(http.StatusForbidden, "renewal is for those who show the certificate that they have")
	}
	if _, err := c.Verify(x509.VerifyOptions{Roots: a.Pool(), CurrentTime: a.now(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
		return refuse(http.StatusForbidden, "the certificate of the client is not taken: %v", err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if r := a.find(serial(c)); r != nil && r.Revoked != "" {
		return refuse(http.StatusForbidden, "the certificate of the client has been revoked (%s)", r.Revoked)
	}
	return nil
}

func serial(c *x509.Certificate) string {
	return strings.ToUpper(hex.EncodeToString(c.SerialNumber.Bytes()))
}

func (a *Authority) issue(r *x509.CertificateRequest) (*x509.Certificate, *Refusal) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.now()
	h := sha256.New()
	h.Write([]byte(fmt.Sprintf("%s\x00%d\x00", a.from.Name, len(a.records))))
	h.Write(r.RawTBSCertificateRequest)
	number := h.Sum(nil)[:16]
	number[0] = number[0]&0x3F | 0x40
	t := &x509.Certificate{
		SerialNumber: new(big.Int).SetBytes(number), RawSubject: r.RawSubject,
		NotBefore: now.Add(-skew), NotAfter: now.AddDate(0, 0, a.o.Days),
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	if san := alternative(r.Extensions); san != nil {
		t.ExtraExtensions = []pkix.Extension{{Id: []int{2, 5, 29, 17}, Value: san}}
	}
	return a.sign(t, r.PublicKey)
}

// sign makes a certificate and remembers it.
func (a *Authority) sign(t *x509.Certificate, pub crypto.PublicKey) (*x509.Certificate, *Refusal) {
	if t.NotAfter.After(a.cert.NotAfter) {
		t.NotAfter = a.cert.NotAfter
	}
	if !t.NotBefore.Before(t.NotAfter) {
		return nil, refuse(http.StatusInternalServerError, "the certificate of the authority has expired")
	}
	der, err := x509.CreateCertificate(nil, t, a.cert, pub, a.key)
	if err != nil {
		return nil, refuse(http.StatusInternalServerError, "no certificate: %v", err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, refuse(http.StatusBadRequest, "the names in the request cannot be certified: %v", err)
	}
	a.remember(c)
	return c, nil
}

func (a *Authority) remember(c *x509.Certificate) {
	sum := sha256.Sum256(c.RawSubjectPublicKeyInfo)
	a.records = append(a.records, &Record{
		Serial: serial(c), Subject: c.Subject.String(), KeySHA256: strings.ToUpper(hex.EncodeToString(sum[:])),
		NotBefore: c.NotBefore, NotAfter: c.NotAfter, cert: c,
	})
}

// learn adds the certificates that the persona has of this authority: the keys of the
// device are made from its seed for that, once.
func (a *Authority) learn() error {
	if a.known {
		return nil
	}
	var learnt []*x509.Certificate
	for _, i := range a.profile.Of(profile.File) {
		c := a.profile.Containers[i].Certificate
		if c == nil || c.Authority != a.from {
			continue
		}
		der, err := a.profile.Content(i, func(key int) (profile.Pair, error) {
			b, err := a.profile.Stored(rsakey.Generate, key)
			if err != nil {
				return profile.Pair{}, err
			}
			return profile.ParsePair(a.profile.Containers[key].Type, b)
		})
		if err != nil {
			return err
		}
		x, err := x509.ParseCertificate(der)
		if err != nil {
			return err
		}
		learnt = append(learnt, x)
	}
	for _, x := range learnt {
		a.remember(x)
	}
	a.known = true
	return nil
}

func (a *Authority) find(serial string) *Record {
	for _, r := range a.records {
		if r.Serial == serial {
			return r
		}
	}
	return nil
}

// Records are all certificates: those that the persona begins with and those issued.
func (a *Authority) Records() ([]Record, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.learn(); err != nil {
		return nil, err
	}
	l := make([]Record, 0, len(a.records))
	for _, r := range a.records {
		l = append(l, *r)
	}
	return l, nil
}

// Reasons are those of RFC 5280 5.3.1 for which a certificate can be revoked here.
var Reasons = map[string]int{
	"unspecified": 0, "keyCompromise": 1, "affiliationChanged": 3, "superseded": 4, "cessationOfOperation": 5,
}

// Revoke revokes a certificate: its serial number is in hexadecimal.
func (a *Authority) Revoke(serial, reason string) (Record, *Refusal) {
	code, ok := Reasons[reason]
	if !ok {
		return Record{}, refuse(http.StatusBadRequest, "there is no reason %q; there are unspecified, keyCompromise, affiliationChanged, superseded, cessationOfOperation", reason)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.learn(); err != nil {
		return Record{}, refuse(http.StatusInternalServerError, "the certificates of the persona: %v", err)
	}
	r := a.find(strings.ToUpper(strings.ReplaceAll(serial, ":", "")))
	switch {
	case r == nil:
		return Record{}, refuse(http.StatusNotFound, "%s has issued no certificate with the serial number %q", a.from.Name, serial)
	case r.Revoked != "":
		return Record{}, refuse(http.StatusConflict, "the certificate has been revoked already (%s)", r.Revoked)
	}
	r.Revoked, r.reason, r.revoked = reason, code, a.now()
	return *r, nil
}

// CRL is the list of revoked certificates as of now, DER.
func (a *Authority) CRL() ([]byte, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.crls++
	now := a.now()
	t := &x509.RevocationList{Number: big.NewInt(a.crls), ThisUpdate: now.Add(-skew), NextUpdate: now.AddDate(0, 0, 7)}
	for _, r := range a.records {
		if r.Revoked != "" {
			t.RevokedCertificateEntries = append(t.RevokedCertificateEntries,
				x509.RevocationListEntry{SerialNumber: r.cert.SerialNumber, RevocationTime: r.revoked, ReasonCode: r.reason})
		}
	}
	return x509.CreateRevocationList(nil, t, a.cert, a.key)
}

// Server makes an identity for a server of this authority: for localhost, the loopback
// addresses and the names given. Its key is random.
func (a *Authority) Server(names ...string) (c tls.Certificate, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return c, err
	}
	number := make([]byte, 16)
	if _, err := rand.Read(number); err != nil {
		return c, err
	}
	number[0] = number[0]&0x3F | 0x40
	now := a.now()
	t := &x509.Certificate{
		SerialNumber: new(big.Int).SetBytes(number), Subject: pkix.Name{CommonName: "localhost"},
		NotBefore: now.Add(-skew), NotAfter: now.AddDate(0, 0, 90), BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
	}
	for _, n := range names {
		if ip := net.ParseIP(n); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
		} else {
			t.DNSNames = append(t.DNSNames, n)
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	x, no := a.sign(t, &key.PublicKey)
	if no != nil {
		return c, no
	}
	return tls.Certificate{Certificate: [][]byte{x.Raw}, PrivateKey: key, Leaf: x}, nil
}
