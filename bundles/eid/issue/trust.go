//go:build !wasip1

package issue

import (
	"encoding/pem"

	"github.com/sspemu/sspemu/bundles/eid/pki"
	"github.com/sspemu/sspemu/bundles/sdk"
)

// Anchors are what an inspection system has to know.
type Anchors struct {
	CSCA       *pki.Certificate
	Signer     *pki.Certificate
	MasterList []byte // CMS
	CRL        *pki.CRL

	// Of terminal authentication; nil: the document has none.
	CVCA, DV, IS *pki.CVC
	Key          *pki.Key // of IS
}

// Trust makes the trust anchors of a persona, the whole document with seed and mrtd.
func Trust(doc *sdk.Doc) (*Anchors, error) {
	w := Native
	p, err := read(doc)
	if err != nil {
		return nil, err
	}
	s, err := p.keys(w)
	if err != nil {
		return nil, err
	}
	csca, err := p.authority(w, "csca")
	if err != nil {
		return nil, err
	}
	subject := csca.Certificate.Subject
	csca.Certificate = nil // it signs its own now
	from, to := day(p.csca.from, false), day(p.csca.to, true)
	a := &Anchors{Signer: s.certificate}
	if a.CSCA, err = csca.Issue(pki.Request{
		Profile: pki.CSCA, Subject: subject, Key: csca.Key.PublicKey, From: from, To: to, State: p.mrz.State, Contact: contact, CRL: crl,
	}); err != nil {
		return nil, err
	}

	// The master list, signed by one below the CSCA.
	key, err := w.key(p.seed, "masterlist", p.signer.algorithm)
	if err != nil {
		return nil, err
	}
	signer, err := csca.Issue(pki.Request{
		Profile: pki.MasterSigner, Subject: p.name(p.country, "Master List Signer "+p.mrz.State+" 1"), Key: key.PublicKey,
		From: from, To: to, State: p.mrz.State, Contact: contact, CRL: crl,
	})
	if err != nil {
		return nil, err
	}
	a.MasterList, err = pki.SignData(pki.Sign{
		Key: key, Algorithm: p.signer.pki(), Certificate: signer, Certificates: []*pki.Certificate{a.CSCA}, Time: day(p.issued, false),
	}, pki.OIDMasterList, pki.BuildMasterList(a.CSCA))
	if err != nil {
		return nil, err
	}

	// The CRL names somebody else, so that there is an entry, and the signer if it is to.
	since := day(p.issued, false)
	revoked := []pki.Revoked{{Serial: append([]byte{0x41}, derive(p.seed, "revoked", 15)...), Date: since}}
	if p.has(DefectRevoked) {
		revoked = append(revoked, pki.Revoked{Serial: s.certificate.Serial, Date: since, Reason: 1})
	}
	if a.CRL, err = csca.Revoke(1, since, day(years(p.expires, 2), true), revoked...); err != nil {
		return nil, err
	}

	if p.ta != nil {
		c, err := p.chain(w, true)
		if err != nil {
			return nil, err
		}
		a.CVCA, a.DV, a.IS, a.Key = c.cvca, c.dv, c.is, c.key
	}
	return a, nil
}

// Content is one file of the trust anchors.
type Content struct {
	Name   string
	Data   []byte
	Secret bool
}

// Files are the trust anchors as files; docs/eid.md says what is in each.
func (a *Anchors) Files() []Content {
	files := []Content{
		{Name: "csca.pem", Data: PEM("CERTIFICATE", a.CSCA.Raw)}, {Name: "csca.der", Data: a.CSCA.Raw},
		{Name: "ds.pem", Data: PEM("CERTIFICATE", a.Signer.Raw)}, {Name: "masterlist.ml", Data: a.MasterList}, {Name: "csca.crl", Data: a.CRL.Raw},
	}
	if a.CVCA != nil {
		files = append(files, Content{Name: "cvca.cvcert", Data: a.CVCA.Raw}, Content{Name: "dv.cvcert", Data: a.DV.Raw}, Content{Name: "is.cvcert", Data: a.IS.Raw},
			Content{Name: "is.pem", Data: PEM("PRIVATE KEY", a.Key.PKCS8()), Secret: true})
	}
	return files
}

// PEM is DER as a text (RFC 7468).
func PEM(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}
