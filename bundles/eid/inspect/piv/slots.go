package piv

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/sspemu/sspemu/bundles/eid/piv"
	"github.com/sspemu/sspemu/bundles/eid/pki"
	"github.com/sspemu/sspemu/internal/tlv"
)

// slot is a key with its certificate.
type slot struct {
	ref  byte
	name string
	cert *pki.Certificate
}

// slotNames are the keys that a card may have (part 1 table 4); retired ones follow.
var slotNames = []struct {
	ref  byte
	name string
}{{0x9A, "PIV authentication (9A)"}, {0x9E, "Card authentication (9E)"}, {0x9C, "Digital signature (9C)"}, {0x9D, "Key management (9D)"}}

// certificates reads and verifies those of all slots.
func (s *inspection) certificates(ctx context.Context) error {
	list := slices.Clone(slotNames)
	for i := range byte(s.retired) {
		list = append(list, struct {
			ref  byte
			name string
		}{0x82 + i, fmt.Sprintf("Retired key %d (%02X)", i+1, 0x82+i)})
	}
	for _, k := range list {
		t := piv.CertificateOf(k.ref)
		if err := s.read(ctx, t, k.name, false); err != nil {
			return err
		}
		v, ok := s.objects[t]
		if !ok {
			if k.ref < 0x96 {
				s.r.Fail(k.name, "SP 800-73-4 part 1 3.3.3", "the key history object promises a certificate that is not there")
			}
			continue
		}
		c, err := parseContainer(v)
		if !s.r.Is(err, k.name+": certificate", "SP 800-73-4 part 1 table 10", "it is there, for %s, issued by %s", subjectOf(c), issuerOf(c)) {
			continue
		}
		s.slots = append(s.slots, slot{k.ref, k.name, c})
		section := s.r.Section(k.name)
		section.Add("Subject", c.Subject.String())
		section.Add("Issuer", c.Issuer.String())
		section.Add("Key", c.Key.String())
		section.Add("Valid", c.NotBefore.Format("2006-01-02")+" to "+c.NotAfter.Format("2006-01-02"))
		s.chain(k.name, c)
		s.names(k.ref, k.name, c)
		s.usage(k.ref, k.name, c)
	}
	if len(s.slots) == 0 {
		s.r.Warn("Certificates", "SP 800-73-4 part 1 3.1.3", "the card has none: it is not personalised yet")
	}
	return nil
}

func subjectOf(c *pki.Certificate) string {
	if c == nil {
		return ""
	}
	return c.Subject.String()
}

func issuerOf(c *pki.Certificate) string {
	if c == nil {
		return ""
	}
	return c.Issuer.String()
}

// longestCertificate bounds what a compressed certificate becomes.
const longestCertificate = 1 << 16

// parseContainer reads a certificate object: 70 certificate, 71 whether it is compressed
// (gzip), FE.
func parseContainer(v []byte) (*pki.Certificate, error) {
	der, err := tlv.Find(v, 0x70)
	if err != nil {
		return nil, errors.New("it has no certificate (70)")
	}
	info, err := tlv.Find(v, 0x71)
	if err == nil && len(info) == 1 && info[0]&1 == 1 {
		z, err := gzip.NewReader(bytes.NewReader(der))
		if err != nil {
			return nil, fmt.Errorf("it says that it is compressed (71), and is not: %w", err)
		}
		if der, err = io.ReadAll(io.LimitReader(z, longestCertificate)); err != nil {
			return nil, fmt.Errorf("it cannot be decompressed: %w", err)
		}
	}
	c, err := pki.ParseCertificate(der)
	if err != nil {
		return nil, errors.New(why(err))
	}
	if c.KeyErr != nil {
		return nil, errors.New(why(c.KeyErr))
	}
	return c, nil
}

// names: the certificates of 9A and 9E name the card (FIPS 201-2 4.2.2): FASC-N and UUID
// of the CHUID.
func (s *inspection) names(ref byte, who string, c *pki.Certificate) {
	const clause = "SP 800-73-4 part 1 3.1.3, 3.2.1"
	if ref != 0x9A && ref != 0x9E {
		return
	}
	found := false
	for _, n := range c.SubjectAlt {
		for _, known := range []struct{ prefix, want, what string }{
			{"otherName:" + piv.OIDFASCN + "=", hex.EncodeToString(s.fascn), "FASC-N"},
			{"URI:urn:uuid:", piv.UUID(s.guid), "card UUID"},
		} {
			if len(n) < len(known.prefix) || n[:len(known.prefix)] != known.prefix {
				continue
			}
			found = true
			if n[len(known.prefix):] != known.want {
				s.r.Fail(who+": "+known.what, clause, "the certificate is for the card %s, the CHUID says %s", n[len(known.prefix):], known.want)
			} else {
				s.r.Pass(who+": "+known.what, clause, "it is that of the CHUID")
			}
		}
	}
	if !found {
		s.r.Warn(who+": names", clause, "the certificate names no card: neither FASC-N nor UUID")
	}
}

// usage: what the certificate says that the key is for (FIPS 201-2 4.2.2).
func (s *inspection) usage(ref byte, who string, c *pki.Certificate) {
	const clause = "SP 800-73-4 part 1 3.1.3, 3.2"
	want := pki.DigitalSignature
	if ref == 0x9D || ref < 0x96 {
		want = pki.KeyEncipherment
		if c.Key.Curve != nil {
			want = pki.KeyAgreement
		}
	}
	switch {
	case !c.HasUsage:
		s.r.Warn(who+": key usage", clause, "the certificate does not say what the key is for")
	case c.Usage&want == 0:
		s.r.Warn(who+": key usage", clause, "the certificate is not for what the slot is for")
	default:
		s.r.Pass(who+": key usage", clause, "it is what the slot is for")
	}
	if ref == 0x9E && !c.HasPurpose(piv.OIDCardAuth) {
		s.r.Warn(who+": purpose", clause, "the certificate has not the extended key usage id-PIV-cardAuth")
	}
}
