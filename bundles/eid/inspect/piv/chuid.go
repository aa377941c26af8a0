package piv

import (
	"bytes"
	"crypto"
	"fmt"
	"math/bits"
	"strings"
	"time"

	"github.com/sspemu/sspemu/bundles/eid/lds"
	"github.com/sspemu/sspemu/bundles/eid/piv"
	"github.com/sspemu/sspemu/bundles/eid/pki"
	"github.com/sspemu/sspemu/internal/tlv"
)

// chuid looks at the card holder unique identifier (part 1 3.1.2, table 9).
func (s *inspection) chuid() {
	const name, clause = "Card holder unique identifier", "SP 800-73-4 part 1 3.1.2"
	v, ok := s.objects[0x5FC102]
	if !ok {
		return
	}
	var signature []byte
	var expires string
	signed := []byte{}
	rd := tlv.Read(v)
	for rest := v; rd.Next(); {
		_, _, after, _ := tlv.Next(rest)
		whole := rest[:len(rest)-len(after)]
		rest = after
		switch rd.Tag {
		case 0x30:
			s.fascn = rd.Value
		case 0x34:
			s.guid = rd.Value
		case 0x35:
			expires = string(rd.Value)
		case 0x3E:
			signature = rd.Value
			continue
		case 0xEE: // buffer length, deprecated
			continue
		}
		signed = append(signed, whole...)
	}
	if rd.Err() != nil {
		s.r.Fail(name, clause, "it ends too early, or says a length that is none")
		return
	}
	section := s.r.Section("Card")
	if len(s.guid) == 16 {
		s.r.Title = piv.UUID(s.guid)
		section.Add("Card UUID (GUID)", piv.UUID(s.guid))
	}
	section.Add("FASC-N", fmt.Sprintf("%X", s.fascn))
	switch {
	case len(s.fascn) != 25:
		s.r.Fail(name+": FASC-N", clause, "it has %d octets, 25 are wanted", len(s.fascn))
	case len(s.guid) != 16:
		s.r.Fail(name+": GUID", clause, "it has %d octets, 16 are wanted", len(s.guid))
	default:
		s.r.Pass(name, clause, "FASC-N and GUID are there")
	}
	if len(s.fascn) == 25 {
		number, err := decodeFASCN(s.fascn)
		if s.r.Is(err, name+": FASC-N", "TIG SCEPACS 6.1 (recalled)", "separators, parity and the check over all are right") {
			section.Add("FASC-N in words", number)
		}
	}
	until, err := time.Parse("20060102", expires)
	switch {
	case err != nil:
		s.r.Fail(name+": expiration date", clause, "%q is no date", expires)
	case until.AddDate(0, 0, 1).Before(s.r.Date) || until.AddDate(0, 0, 1).Equal(s.r.Date):
		s.r.Fail(name+": expiration date", clause, "the card expired on %s", until.Format(time.DateOnly))
	default:
		s.r.Pass(name+": expiration date", clause, "the card is valid until %s", until.Format(time.DateOnly))
	}
	if len(signature) == 0 {
		s.r.Warn(name+": signature", clause, "there is none: anybody may have written it")
		return
	}
	s.signature(signature, signed)
}

// signature of the CHUID: a CMS SignedData without its content, with the certificate of
// the signer, who may sign such things and leads to an anchor.
func (s *inspection) signature(cms, signed []byte) {
	const name, clause = "CHUID signature", "SP 800-73-4 part 1 3.1.2, FIPS 201-2 4.2.1"
	m, err := pki.ParseSignedData(cms)
	if err != nil {
		s.r.Fail(name, clause, "%s", why(err))
		return
	}
	if m.Content != nil {
		s.r.Warn(name, clause, "the content is inside of it; it should be detached")
	}
	m.Content = signed
	if !bytes.Equal(m.ContentType, piv.OIDCHUID) {
		s.r.Fail(name, clause, "it is about %s, not a CHUID", pki.Dotted(m.ContentType))
		return
	}
	signer, checks := m.Verify()
	if err := checks.Err(); err != nil {
		s.r.Fail(name, clause, "%s", why(err))
		return
	}
	s.signer = signer
	s.r.Pass(name, clause, "%s signed FASC-N, GUID and expiration date", signer.Subject)
	if signer.HasPurpose(piv.OIDContentSigning) {
		s.r.Pass("Content signer: purpose", clause, "it may sign contents of PIV cards")
	} else {
		s.r.Fail("Content signer: purpose", clause, "the certificate has not the extended key usage id-PIV-content-signing")
	}
	s.chain("Content signer", signer)
}

// why is the reason of an error of package pki without its prefix.
func why(err error) string { return strings.TrimPrefix(err.Error(), "pki: ") }

// chain verifies a certificate up to an anchor, if there are any, and its dates.
func (s *inspection) chain(who string, c *pki.Certificate) {
	const clause = "RFC 5280 6.1"
	if err := c.ValidAt(s.r.Date); err != nil {
		s.r.Fail(who+": validity", clause, "%s", why(err))
	} else {
		s.r.Pass(who+": validity", clause, "the certificate is valid until %s", c.NotAfter.Format(time.DateOnly))
	}
	if s.Anchors == nil || len(s.Anchors.Anchors) == 0 {
		s.r.NotDone(who+": chain", clause, "there are no trust anchors: --anchors")
		return
	}
	chain, checks := s.Anchors.Verify(c, s.r.Date)
	for _, x := range checks {
		if x.Err != nil && !strings.HasSuffix(x.Name, c.Subject.String()+": validity") {
			s.r.Fail(who+": chain", clause, "%s: %s", x.Name, why(x.Err))
			return
		}
	}
	s.r.Pass(who+": chain", clause, "it leads to %s", chain[len(chain)-1].Subject)
}

// decodeFASCN reads the 40 characters of a FASC-N: four bits, lowest first, and odd
// parity; the last is the exclusive or of all others.
func decodeFASCN(b []byte) (string, error) {
	var digits [40]byte
	lrc := byte(0)
	for i := range digits {
		var c byte
		for j := range 5 {
			at := 5*i + j
			c |= b[at/8] >> (7 - at%8) & 1 << j
		}
		if bits.OnesCount8(c)%2 == 0 {
			return "", fmt.Errorf("character %d has the wrong parity", i+1)
		}
		digits[i] = c & 15
		if i < 39 {
			lrc ^= c & 15
		} else if c&15 != lrc {
			return "", fmt.Errorf("the check over all characters is %X, it has to be %X", c&15, lrc)
		}
	}
	const start, separator, end = 0x0B, 0x0D, 0x0F
	if digits[0] != start || digits[38] != end {
		return "", fmt.Errorf("it begins with %X and ends with %X, not with start and end sentinel", digits[0], digits[38])
	}
	for _, i := range []int{5, 10, 17, 19, 21} {
		if digits[i] != separator {
			return "", fmt.Errorf("character %d is no field separator", i+1)
		}
	}
	text := func(from, to int) string {
		var t strings.Builder
		for _, d := range digits[from:to] {
			fmt.Fprintf(&t, "%X", d)
		}
		return t.String()
	}
	return fmt.Sprintf("agency %s, system %s, credential %s, series %s, issue %s, person %s", text(1, 5), text(6, 10), text(11, 17), text(18, 19), text(20, 21), text(22, 32)), nil
}

// securityObject verifies the hash values that the issuer signed (part 1 3.1.7).
func (s *inspection) securityObject() {
	const name, clause = "Security object", "SP 800-73-4 part 1 3.1.7"
	v, ok := s.objects[0x5FC106]
	if !ok {
		return
	}
	mapping, err1 := tlv.Find(v, 0xBA)
	cms, err2 := tlv.Find(v, 0xBB)
	if err1 != nil || err2 != nil || len(mapping)%3 != 0 {
		s.r.Fail(name, clause, "it has no mapping (BA, three octets each) or no signed object (BB)")
		return
	}
	m, err := pki.ParseSignedData(cms)
	if err != nil {
		s.r.Fail(name, clause, "%s", why(err))
		return
	}
	var others []*pki.Certificate
	if s.signer != nil {
		others = append(others, s.signer)
	}
	signer, checks := m.Verify(others...)
	if err := checks.Err(); err != nil {
		s.r.Fail(name, clause, "%s", why(err))
		return
	}
	o, err := lds.ParseSecurityObject(m.Content)
	if err != nil {
		s.r.Fail(name, clause, "%s", err)
		return
	}
	h, ok := pki.HashByOID(o.Hash)
	if !ok {
		s.r.Fail(name, clause, "the hash function %s is not known", pki.Dotted(o.Hash))
		return
	}
	s.r.Pass(name, clause, "%s signed %d hash values", signer.Subject, len(o.Groups))
	containers := map[int]tlv.Tag{}
	for ; len(mapping) >= 3; mapping = mapping[3:] {
		for t, id := range piv.Containers {
			if id == uint16(mapping[1])<<8|uint16(mapping[2]) {
				containers[int(mapping[0])] = t
			}
		}
	}
	for _, g := range o.Groups {
		t, ok := containers[g.Group]
		what := objectName(t)
		if !ok {
			s.r.Fail(name+": mapping", clause, "hash value %d belongs to no data object that is known", g.Group)
			continue
		}
		content, read := s.objects[t]
		switch {
		case !read && s.mustBeVerified(t):
			s.r.NotDone(name+": "+what, clause, "it needs the PIN")
		case !read:
			s.r.Fail(name+": "+what, clause, "the issuer signed its hash value, and it is not there")
		case !bytes.Equal(sum(h, content), g.Hash):
			s.r.Fail(name+": "+what, clause, "it is not what the issuer signed")
		default:
			s.r.Pass(name+": "+what, clause, "it is what the issuer signed")
		}
	}
}

func (s *inspection) mustBeVerified(t tlv.Tag) bool {
	for _, o := range objects {
		if o.tag == t {
			return o.pin && !s.verified
		}
	}
	return false
}

func objectName(t tlv.Tag) string {
	for _, o := range objects {
		if o.tag == t {
			return o.name
		}
	}
	for _, k := range slotNames {
		if piv.CertificateOf(k.ref) == t {
			return "certificate of " + k.name
		}
	}
	return fmt.Sprintf("object %X", uint32(t))
}

func sum(h crypto.Hash, b []byte) []byte {
	x := h.New()
	x.Write(b)
	return x.Sum(nil)
}
