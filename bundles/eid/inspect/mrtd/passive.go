package mrtd

import (
	"bytes"
	"crypto"
	"errors"
	"slices"

	"github.com/sspemu/sspemu/bundles/eid/lds"
	"github.com/sspemu/sspemu/bundles/eid/pki"
)

const clausePA = "Doc 9303-11 5.1"

// signedObject is the LDS security object in EF.SOD with the message around it.
func (s *inspection) signedObject() (*lds.SecurityObject, *pki.SignedData, error) {
	if s.files["EF.SOD"] == nil {
		return nil, nil, errors.New("EF.SOD could not be read")
	}
	cms, err := lds.ParseSOD(s.files["EF.SOD"])
	if err != nil {
		return nil, nil, err
	}
	m, err := pki.ParseSignedData(cms)
	if err != nil {
		return nil, nil, errors.New(why(err))
	}
	o, err := lds.ParseSecurityObject(m.Content)
	return o, m, err
}

// passive is passive authentication (Doc 9303-11 5.1), and whether the files that nobody
// signed agree with those that somebody did.
func (s *inspection) passive() {
	s.masterLists()
	s.cardSecurity()
	o, m, err := s.signedObject()
	if m != nil && m.Content != nil && !bytes.Equal(m.ContentType, lds.OIDSecurityObject) {
		s.r.Fail("EF.SOD", "Doc 9303-10 4.6.2", "what is signed is no LDS security object")
	}
	if err != nil {
		s.r.Fail("EF.SOD", "Doc 9303-10 4.6.2", "%s", err)
		return
	}
	s.signature("EF.SOD", "Document signer", m)
	s.hashes(o)
	s.common(o)
	s.downgrade()
}

// hashes compares every data group that was read with its hash in EF.SOD.
func (s *inspection) hashes(o *lds.SecurityObject) {
	h, ok := pki.HashByOID(o.Hash)
	if !ok || !h.Available() {
		s.r.Fail("Hash function of EF.SOD", clausePA, "the object identifier %X names none that documents may have", o.Hash)
		return
	}
	if h == crypto.SHA1 {
		s.r.Warn("Hash function of EF.SOD", "Doc 9303-12 4.4", "SHA-1, for which collisions can be made")
	}
	var missing []int
	for n := 1; n <= lds.Groups; n++ {
		name := groupName(n)
		i := slices.IndexFunc(o.Groups, func(g lds.GroupHash) bool { return g.Group == n })
		b := s.files[name]
		switch {
		case b == nil && i >= 0:
			missing = append(missing, n)
		case b == nil:
		case i < 0:
			s.r.Fail("Hash of "+name, clausePA, "EF.SOD has none: the data group is not protected by any signature")
		default:
			d := h.New()
			d.Write(b)
			if bytes.Equal(d.Sum(nil), o.Groups[i].Hash) {
				s.r.Pass("Hash of "+name, clausePA, "it is the one in EF.SOD (%s)", h)
			} else {
				s.r.Fail("Hash of "+name, clausePA, "it is another one than in EF.SOD: the data group was changed after it was signed")
			}
		}
	}
	var absent []int
	for _, n := range missing {
		if n == 3 || n == 4 {
			s.r.NotDone("Hash of "+groupName(n), clausePA, "the data group could not be read")
		} else {
			absent = append(absent, n)
		}
	}
	if len(absent) > 0 {
		s.r.Fail("Data groups of EF.SOD", clausePA, "%s: signed, but not to be read", names(absent))
	}
}

// common compares EF.COM, which is not signed, with EF.SOD.
func (s *inspection) common(o *lds.SecurityObject) {
	const name, clause = "EF.COM", "Doc 9303-10 4.6.1"
	b := s.files["EF.COM"]
	if b == nil {
		s.r.Warn(name, clause, "the file is not there")
		return
	}
	c, err := lds.ParseCOM(b)
	if err != nil {
		s.r.Fail(name, clause, "%s", err)
		return
	}
	signed := []int{}
	for _, g := range o.Groups {
		signed = append(signed, g.Group)
	}
	var more, less []int
	for _, g := range c.Groups {
		if !slices.Contains(signed, g) {
			more = append(more, g)
		}
	}
	for _, g := range signed {
		if !slices.Contains(c.Groups, g) {
			less = append(less, g)
		}
	}
	switch {
	case len(more) > 0:
		s.r.Fail(name, clause, "it lists %s, which EF.SOD does not have", names(more))
	case len(less) > 0:
		s.r.Fail(name, clause, "it leaves out %s, which EF.SOD has: somebody wants that they are not read", names(less))
	case o.LDS != "" && (o.LDS != c.LDS || o.Unicode != c.Unicode):
		s.r.Fail(name, "Doc 9303-10 4.6.2.3", "it tells LDS version %s and Unicode version %s, EF.SOD %s and %s", c.LDS, c.Unicode, o.LDS, o.Unicode)
	default:
		s.r.Pass(name, clause, "it lists the data groups of EF.SOD: %s", names(c.Groups))
	}
}

// cardSecurity verifies EF.CardSecurity and uses it for chip authentication mapping.
func (s *inspection) cardSecurity() {
	var infos []lds.SecurityInfo
	err := errors.New("could not be read")
	if b := s.files["EF.CardSecurity"]; b != nil {
		var m *pki.SignedData
		if m, err = pki.ParseSignedData(b); err == nil {
			s.signature("EF.CardSecurity", "Signer of EF.CardSecurity", m)
			infos, err = lds.ParseSecurityInfos("EF.CardSecurity", m.Content)
		}
		if err != nil {
			s.r.Fail("EF.CardSecurity", "Doc 9303-11 9.2.11", "%s", err)
		} else {
			s.sameAccess("EF.CardSecurity", infos)
		}
	}
	s.camCheck(infos, err)
}

// securityInfos are those of EF.CardSecurity.
func securityInfos(file []byte) ([]lds.SecurityInfo, error) {
	m, err := pki.ParseSignedData(file)
	if err != nil {
		return nil, err
	}
	return lds.ParseSecurityInfos("EF.CardSecurity", m.Content)
}

// downgrade compares EF.CardAccess, which is not signed, with data group 14: somebody
// in between may have taken the strong protocols away (Doc 9303-11 9.2.9, 9.2.10).
func (s *inspection) downgrade() {
	infos, err := s.infos14()
	if err != nil || s.files["DG14"] == nil {
		if len(s.access) > 0 && s.files["EF.CardSecurity"] == nil {
			s.r.Fail("EF.CardAccess against DG14", "Doc 9303-11 9.2.9", "the chip offers PACE and has no DG14 that would sign it")
		}
		return
	}
	s.sameAccess("DG14", infos)
}

// sameAccess compares EF.CardAccess with a file that is signed: every PACEInfo of one is
// in the other.
func (s *inspection) sameAccess(file string, infos []lds.SecurityInfo) {
	const clause = "Doc 9303-11 9.2.9"
	name := "EF.CardAccess against " + file
	pace := func(all []lds.SecurityInfo) (out [][]byte) {
		for _, i := range all {
			if i.Protocol != nil && i.Protocol.Kind == lds.KindPACE {
				out = append(out, i.Raw)
			}
		}
		return out
	}
	here, there := pace(s.access), pace(infos)
	if len(here) == 0 && len(there) == 0 {
		return
	}
	in := func(all [][]byte, b []byte) bool {
		return slices.ContainsFunc(all, func(x []byte) bool { return bytes.Equal(x, b) })
	}
	for _, b := range here {
		if !in(there, b) {
			s.r.Fail(name, clause, "EF.CardAccess offers a PACE that %s does not have: it was changed", file)
			return
		}
	}
	for _, b := range there {
		if !in(here, b) {
			s.r.Fail(name, clause, "%s has a PACE that EF.CardAccess does not offer: somebody took it away, so that a weaker one is used", file)
			return
		}
	}
	s.r.Pass(name, clause, "both offer the same ways of PACE")
}
