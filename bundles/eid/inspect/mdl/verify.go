package mdl

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/fxamacker/cbor/v2"
	"github.com/veraison/go-cose"

	"github.com/sspemu/sspemu/bundles/eid/inspect"
	"github.com/sspemu/sspemu/bundles/eid/mdl/mdoc"
	"github.com/sspemu/sspemu/bundles/eid/pki"
)

// The structures of ISO/IEC 18013-5 8.3.2.1.2.2 and 9.1.2.4 as fxamacker/cbor reads them.
type response struct {
	Version        string           `cbor:"version"`
	Documents      []doc            `cbor:"documents"`
	DocumentErrors []map[string]int `cbor:"documentErrors"`
	Status         *uint            `cbor:"status"`
}

type doc struct {
	DocType      string `cbor:"docType"`
	IssuerSigned struct {
		NameSpaces map[string][]cbor.RawMessage `cbor:"nameSpaces"`
		IssuerAuth cbor.RawMessage              `cbor:"issuerAuth"`
	} `cbor:"issuerSigned"`
	DeviceSigned struct {
		NameSpaces cbor.RawMessage `cbor:"nameSpaces"`
		DeviceAuth struct {
			Signature cbor.RawMessage `cbor:"deviceSignature"`
			MAC       cbor.RawMessage `cbor:"deviceMac"`
		} `cbor:"deviceAuth"`
	} `cbor:"deviceSigned"`
	Errors map[string]map[string]int `cbor:"errors"`
}

type item struct {
	DigestID uint            `cbor:"digestID"`
	Random   []byte          `cbor:"random"`
	Name     string          `cbor:"elementIdentifier"`
	Value    cbor.RawMessage `cbor:"elementValue"`
}

type mso struct {
	Version string                     `cbor:"version"`
	Digest  string                     `cbor:"digestAlgorithm"`
	Digests map[string]map[uint][]byte `cbor:"valueDigests"`
	Device  struct {
		Key cbor.RawMessage `cbor:"deviceKey"`
	} `cbor:"deviceKeyInfo"`
	DocType  string `cbor:"docType"`
	Validity struct {
		Signed time.Time `cbor:"signed"`
		From   time.Time `cbor:"validFrom"`
		Until  time.Time `cbor:"validUntil"`
	} `cbor:"validityInfo"`
}

// strict refuses keys that are there twice, and bounds what is decoded.
var strict = func() cbor.DecMode {
	m, err := cbor.DecOptions{DupMapKey: cbor.DupMapKeyEnforcedAPF, MaxNestedLevels: 24, MaxArrayElements: 4096, MaxMapPairs: 4096, IndefLength: cbor.IndefLengthAllowed, TimeTag: cbor.DecTagOptional}.DecMode()
	if err != nil {
		panic(err)
	}
	return m
}()

// encoded gives the content of tag 24.
func encoded(raw cbor.RawMessage) ([]byte, error) {
	var t cbor.RawTag
	if err := strict.Unmarshal(raw, &t); err != nil {
		return nil, err
	}
	if t.Number != 24 {
		return nil, fmt.Errorf("tag %d where tag 24 has to be", t.Number)
	}
	var b []byte
	err := strict.Unmarshal(t.Content, &b)
	return b, err
}

// Names of checks; those of a document have its type before them.
const (
	CheckResponse   = "Response"
	CheckAsked      = "Document that was asked for"
	CheckChain      = "Issuer: certificates"
	CheckProfile    = "Issuer: profile of the certificate"
	CheckDates      = "Issuer: validity of the certificate"
	CheckSignature  = "Issuer: signature of the MSO"
	CheckDocType    = "Document type in the MSO"
	CheckValidity   = "Validity of the MSO"
	CheckDigests    = "Hash values of the elements"
	CheckCountry    = "Issuing country"
	CheckDevice     = "Device: authentication"
	CheckDisclosure = "Selective disclosure"
)

// Verify verifies a DeviceResponse (9.3.1). The error says why there is nothing to verify.
func Verify(r *inspect.Report, anchors []*x509.Certificate, queries []mdoc.Query, plain []byte, s *Session) error {
	var a response
	err := strict.Unmarshal(plain, &a)
	switch {
	case err != nil:
	case !strings.HasPrefix(a.Version, "1."):
		err = fmt.Errorf("version %q is not known", a.Version)
	case a.Status == nil:
		err = errors.New("there is no status")
	case *a.Status != 0:
		err = fmt.Errorf("status %d: %s", *a.Status, responseWords[*a.Status])
	}
	if !r.Is(err, CheckResponse, "ISO/IEC 18013-5 8.3.2.1.2.2", "a DeviceResponse of version %s with status 0 (OK)", a.Version) {
		return err
	}
	for i := range queries {
		q := &queries[i]
		at := slices.IndexFunc(a.Documents, func(d doc) bool { return d.DocType == q.DocType })
		if at < 0 {
			if len(queries) > 1 {
				r.NotDone(q.DocType+": "+CheckAsked, "ISO/IEC 18013-5 8.3.2.1.2.2", "the holder does not show it, or has none")
			} else {
				r.Fail(q.DocType+": "+CheckAsked, "ISO/IEC 18013-5 8.3.2.1.2.2", "the holder does not show it, or has none")
			}
			continue
		}
		(&document{r, &a.Documents[at], q, s}).verify(anchors)
	}
	for _, d := range a.Documents {
		if !slices.ContainsFunc(queries, func(q mdoc.Query) bool { return q.DocType == d.DocType }) {
			r.Fail(CheckDisclosure, "ISO/IEC 18013-5 8.3.2.1.2.2", "the document %q is shown, and nobody asked for it", d.DocType)
		}
	}
	return nil
}

var responseWords = map[uint]string{10: "general error", 11: "CBOR decoding error", 12: "CBOR validation error"}

// document is one that is verified.
type document struct {
	r *inspect.Report
	*doc
	q *mdoc.Query
	s *Session
}

func (d *document) is(err error, name, clause, why string, a ...any) bool {
	return d.r.Is(err, d.DocType+": "+name, "ISO/IEC 18013-5 "+clause, why, a...)
}

func (d *document) verify(anchors []*x509.Certificate) {
	var sign cose.UntaggedSign1Message
	err := sign.UnmarshalCBOR(d.IssuerSigned.IssuerAuth)
	var chain []*x509.Certificate
	if err == nil {
		chain, err = x5chain(sign.Headers.Unprotected[int64(33)])
	}
	if err != nil {
		d.is(err, CheckChain, "9.1.2.4", "")
		return
	}
	signer := chain[0]
	d.chain(chain, anchors)
	err = verifySign1(&sign, signer.PublicKey, nil)
	d.is(err, CheckSignature, "9.1.2.4", "the key of the document signer signed the mobile security object (COSE_Sign1, %s)", algorithm(&sign))

	var m mso
	raw, err := encoded(sign.Payload)
	if err == nil {
		err = strict.Unmarshal(raw, &m)
	}
	if err != nil {
		d.is(fmt.Errorf("the mobile security object cannot be read: %w", err), CheckDocType, "9.3.1", "")
		return
	}
	err = nil
	if m.DocType != d.DocType {
		err = fmt.Errorf("the MSO is of a document %q", m.DocType)
	}
	d.is(err, CheckDocType, "9.3.1", "the MSO, version %s, is about a document of this type", m.Version)
	d.validity(&m, signer)
	elements := d.digests(&m)
	d.country(elements, signer)
	d.device(&m)
	d.disclosure(elements)
	d.tell(&m, elements, signer)
}

// x5chain are the certificates of the header (RFC 9360).
func x5chain(v any) (all []*x509.Certificate, err error) {
	var ders [][]byte
	switch v := v.(type) {
	case []byte:
		ders = [][]byte{v}
	case []any:
		for _, x := range v {
			if b, ok := x.([]byte); ok {
				ders = append(ders, b)
			}
		}
	}
	if len(ders) == 0 {
		return nil, errors.New("issuerAuth has no certificate in its header x5chain")
	}
	for _, der := range ders {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, fmt.Errorf("the certificate of the document signer: %w", err)
		}
		all = append(all, c)
	}
	return all, nil
}

// chain verifies the way up to an issuing authority (9.3.3, annex B).
func (d *document) chain(chain, anchors []*x509.Certificate) {
	signer := chain[0]
	if len(anchors) == 0 {
		d.r.NotDone(d.DocType+": "+CheckChain, "ISO/IEC 18013-5 9.3.3", "no certificate of an issuing authority was given: nobody knows who signed")
	} else {
		var err error = errors.New("no issuing authority that is trusted signed the certificate of " + signer.Subject.String())
		who := ""
		for _, a := range anchors {
			if !bytes.Equal(a.RawSubject, signer.RawIssuer) {
				continue
			}
			if err = signer.CheckSignatureFrom(a); err != nil {
				err = fmt.Errorf("the key of %s does not verify the certificate of the document signer: %w", a.Subject, err)
				continue
			}
			if err = at(a, d.r.Date); err == nil {
				who = a.Subject.String()
				break
			}
		}
		d.is(err, CheckChain, "9.3.3", "%s, which is trusted, signed the certificate of %s", who, signer.Subject)
	}
	d.is(at(signer, d.r.Date), CheckDates, "9.3.3", "valid from %s to %s", signer.NotBefore.Format(time.DateOnly), signer.NotAfter.Format(time.DateOnly))
	p, err := pki.ParseCertificate(signer.Raw)
	if err == nil {
		err = p.Profile(pki.MdocSigner).Err()
	}
	d.is(err, CheckProfile, "B.1.4", "the certificate is one for signers of mobile documents")
}

func at(c *x509.Certificate, date time.Time) error {
	switch {
	case date.Before(c.NotBefore):
		return fmt.Errorf("the certificate of %s is valid from %s", c.Subject, c.NotBefore.Format(time.DateOnly))
	case date.After(c.NotAfter):
		return fmt.Errorf("the certificate of %s was valid until %s", c.Subject, c.NotAfter.Format(time.DateOnly))
	}
	return nil
}

// algorithm is the one of the protected header.
func algorithm(m *cose.UntaggedSign1Message) cose.Algorithm {
	a, _ := m.Headers.Protected.Algorithm()
	return a
}

// verifySign1 verifies with go-cose; payload is for a detached one.
func verifySign1(m *cose.UntaggedSign1Message, key any, payload []byte) error {
	alg, err := m.Headers.Protected.Algorithm()
	if err != nil {
		return err
	}
	if payload != nil {
		m.Payload = payload
	}
	v, err := cose.NewVerifier(alg, key)
	if err != nil {
		return err
	}
	return m.Verify(nil, v)
}

// validity: the MSO at the date, and signed while the certificate was valid (9.3.1).
func (d *document) validity(m *mso, signer *x509.Certificate) {
	v := &m.Validity
	var err error
	switch {
	case v.Signed.IsZero() || v.From.IsZero() || v.Until.IsZero():
		err = errors.New("validityInfo is not complete")
	case v.Signed.Before(signer.NotBefore) || v.Signed.After(signer.NotAfter):
		err = fmt.Errorf("it was signed on %s, when the certificate of the document signer was not valid", v.Signed.Format(time.DateOnly))
	case v.From.Before(v.Signed):
		err = fmt.Errorf("it is valid from %s, before it was signed", v.From.Format(time.DateOnly))
	case d.r.Date.Before(v.From):
		err = fmt.Errorf("the MSO is valid from %s", v.From.Format(time.DateOnly))
	case d.r.Date.After(v.Until):
		err = fmt.Errorf("the MSO was valid until %s", v.Until.Format(time.DateOnly))
	}
	d.is(err, CheckValidity, "9.3.1", "signed on %s, valid from %s until %s", v.Signed.Format(time.DateOnly), v.From.Format(time.DateOnly), v.Until.Format(time.DateOnly))
}

// element is one that is shown.
type element struct {
	space, name string
	value       cbor.RawMessage
}

// digests compares the hash values of what is shown with those of the MSO.
func (d *document) digests(m *mso) (all []element) {
	hash := map[string]func([]byte) []byte{
		"SHA-256": func(b []byte) []byte { h := sha256.Sum256(b); return h[:] },
		"SHA-384": func(b []byte) []byte { h := sha512.Sum384(b); return h[:] },
		"SHA-512": func(b []byte) []byte { h := sha512.Sum512(b); return h[:] },
	}[m.Digest]
	var wrong []string
	for ns, items := range d.IssuerSigned.NameSpaces {
		for _, raw := range items {
			var i item
			b, err := encoded(raw)
			if err == nil {
				err = strict.Unmarshal(b, &i)
			}
			if err != nil {
				wrong = append(wrong, "an element of "+ns+" cannot be read: "+err.Error())
				continue
			}
			all = append(all, element{ns, i.Name, i.Value})
			want, there := m.Digests[ns][i.DigestID]
			switch {
			case hash == nil:
			case !there:
				wrong = append(wrong, i.Name+": the MSO has no hash value "+fmt.Sprint(i.DigestID)+" of "+ns)
			case len(i.Random) < 16:
				wrong = append(wrong, i.Name+": less than 16 random octets")
			case !bytes.Equal(hash(raw), want):
				wrong = append(wrong, i.Name+": the hash value is another: it was changed after signing")
			}
		}
	}
	sort.Slice(all, func(i, j int) bool { return all[i].space+all[i].name < all[j].space+all[j].name })
	sort.Strings(wrong)
	var err error
	if hash == nil {
		err = fmt.Errorf("the digest algorithm %q is none of the standard's", m.Digest)
	} else if wrong != nil {
		err = errors.New(strings.Join(wrong, "; "))
	}
	d.is(err, CheckDigests, "9.1.2.3", "all %d elements have the %s value that the MSO says", len(all), m.Digest)
	return all
}

// country: issuing_country is the country of the signer's certificate (9.3.1).
func (d *document) country(all []element, signer *x509.Certificate) {
	for _, e := range all {
		if e.name != "issuing_country" {
			continue
		}
		var s string
		err := strict.Unmarshal(e.value, &s)
		if err == nil && !slices.Contains(signer.Subject.Country, s) {
			err = fmt.Errorf("it is %q, the document signer is of %s", s, strings.Join(signer.Subject.Country, ", "))
		}
		d.is(err, CheckCountry, "9.3.1", "%s is the country of the document signer", s)
	}
}

// device verifies that the device has the key of the MSO (9.1.3).
func (d *document) device(m *mso) {
	const clause = "9.1.3"
	key, brainpool, err := deviceKey(m.Device.Key)
	if err != nil {
		d.is(fmt.Errorf("the key of the device in the MSO: %w", err), CheckDevice, clause, "")
		return
	}
	payload, err := deviceAuthentication(d.s.Transcript, d.DocType, d.DeviceSigned.NameSpaces)
	if err != nil {
		d.is(err, CheckDevice, clause, "")
		return
	}
	auth := &d.DeviceSigned.DeviceAuth
	switch {
	case (len(auth.Signature) > 0) == (len(auth.MAC) > 0):
		d.is(errors.New("there has to be one of a signature and a MAC"), CheckDevice, clause, "")
	case len(auth.Signature) > 0 && key == nil:
		v, err := mdoc.Decode(auth.Signature)
		var c mdoc.Cose
		if err == nil {
			c, err = mdoc.ParseCose(v)
		}
		if err == nil && !c.VerifySign1(brainpool, payload) {
			err = errDevice
		}
		d.is(err, CheckDevice, "9.1.3.6", "the device signed this session with the key of the MSO (%s)", brainpool.Name)
	case len(auth.Signature) > 0:
		var s cose.UntaggedSign1Message
		err := s.UnmarshalCBOR(auth.Signature)
		if err == nil && verifySign1(&s, key, payload) != nil {
			err = errDevice
		}
		d.is(err, CheckDevice, "9.1.3.6", "the device signed this session with the key of the MSO (%s)", algorithm(&s))
	default:
		d.is(d.mac(auth.MAC, brainpool, payload), CheckDevice, "9.1.3.5", "the device made a MAC over this session with the key of the MSO")
	}
}

var errDevice = errors.New("the device does not have the key of the MSO, or authenticated another session: it is a copy")

// mac verifies a COSE_Mac0 (RFC 9052 6.2), for which go-cose has nothing.
func (d *document) mac(raw cbor.RawMessage, device mdoc.PublicKey, payload []byte) error {
	var m []cbor.RawMessage
	if err := strict.Unmarshal(raw, &m); err != nil || len(m) != 4 {
		return errors.New("deviceMac is no COSE_Mac0")
	}
	var protected, tag []byte
	var header map[int]any
	if err := errors.Join(strict.Unmarshal(m[0], &protected), strict.Unmarshal(m[3], &tag)); err != nil {
		return err
	}
	if err := strict.Unmarshal(protected, &header); err != nil || header[1] != uint64(5) {
		return errors.New("the algorithm of deviceMac is not HMAC 256/256")
	}
	z, err := mdoc.Agree(device.Curve, d.s.Private, device)
	if err != nil {
		return fmt.Errorf("the keys of device and reader do not agree: %w", err)
	}
	key, err := mdoc.SessionKey(z, d.s.Transcript, "EMacKey")
	if err != nil {
		return err
	}
	input, err := cbor.Marshal([]any{"MAC0", protected, []byte{}, payload})
	if err != nil {
		return err
	}
	h := hmac.New(sha256.New, key)
	h.Write(input)
	if !hmac.Equal(h.Sum(nil), tag) {
		return errDevice
	}
	return nil
}

// deviceAuthentication is DeviceAuthenticationBytes (9.1.3.4).
func deviceAuthentication(transcript []byte, docType string, nameSpaces cbor.RawMessage) ([]byte, error) {
	if len(nameSpaces) == 0 {
		return nil, errors.New("deviceSigned has no name spaces")
	}
	in, err := cbor.Marshal([]any{"DeviceAuthentication", cbor.RawMessage(transcript), docType, nameSpaces})
	if err != nil {
		return nil, err
	}
	return cbor.Marshal(cbor.Tag{Number: 24, Content: in})
}

// deviceKey reads a COSE_Key: as Go's library has it, nil for a curve that it has not, and
// as ours.
func deviceKey(raw cbor.RawMessage) (any, mdoc.PublicKey, error) {
	v, err := mdoc.Decode(raw)
	if err != nil {
		return nil, mdoc.PublicKey{}, err
	}
	own, err := mdoc.ParseCoseKey(v)
	if err != nil {
		return nil, own, err
	}
	if own.Curve == nil {
		return ed25519.PublicKey(own.Bytes), own, nil
	}
	curve := map[string]elliptic.Curve{"P-256": elliptic.P256(), "P-384": elliptic.P384(), "P-521": elliptic.P521()}[own.Name]
	if curve == nil {
		return nil, own, nil
	}
	key, err := ecdsa.ParseUncompressedPublicKey(curve, own.Bytes)
	return key, own, err
}

// disclosure: nothing is shown that was not asked for; an age may answer for another
// (7.2.5).
func (d *document) disclosure(all []element) {
	var more []string
	for _, e := range all {
		asked := slices.ContainsFunc(d.q.Elements, func(q mdoc.Element) bool {
			return q.NameSpace == e.space && (q.Name == e.name || strings.HasPrefix(q.Name, "age_over_") && strings.HasPrefix(e.name, "age_over_"))
		})
		if !asked {
			more = append(more, e.name)
		}
	}
	var err error
	if more != nil {
		err = fmt.Errorf("shown, and not asked for: %s", strings.Join(more, ", "))
	}
	d.is(err, CheckDisclosure, "8.3.2.1.2.2", "%d of %d elements that were asked for are shown, and nothing else", len(all), len(d.q.Elements))
}

// tell puts what was read into the report.
func (d *document) tell(m *mso, all []element, signer *x509.Certificate) {
	var family, given string
	s := d.r.Section(d.DocType)
	for _, e := range all {
		var v any
		if err := strict.Unmarshal(e.value, &v); err != nil {
			continue
		}
		if b, ok := v.([]byte); ok {
			if typ := http.DetectContentType(b); strings.HasPrefix(typ, "image/") {
				s.Pictures = append(s.Pictures, inspect.Picture{Name: e.name, Type: typ, Data: b})
				continue
			}
		}
		s.Add(e.name, words(v))
		switch e.name {
		case "family_name":
			family = words(v)
		case "given_name":
			given = words(v)
		}
	}
	for ns, errs := range d.Errors {
		for name := range errs {
			s.Add(name, "not shown ("+ns+")")
		}
	}
	s.Add("MSO: digest algorithm", m.Digest)
	s.Add("document signer", signer.Subject.String())
	s.Add("issuing authority", signer.Issuer.String())
	if d.r.Title == "" {
		d.r.Title = strings.TrimSpace(given + " " + family)
	}
}

// words is a value for people.
func words(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case time.Time:
		return v.UTC().Format(time.RFC3339)
	case []byte:
		if len(v) > 64 {
			return base64.StdEncoding.EncodeToString(v[:48]) + fmt.Sprintf("... (%d octets)", len(v))
		}
		return hex.EncodeToString(v)
	case cbor.Tag:
		return words(v.Content)
	case []any:
		var s []string
		for _, x := range v {
			s = append(s, words(x))
		}
		return strings.Join(s, "; ")
	case map[any]any:
		var s []string
		for k, x := range v {
			s = append(s, fmt.Sprint(k)+": "+words(x))
		}
		sort.Strings(s)
		return strings.Join(s, ", ")
	}
	return fmt.Sprint(v)
}
