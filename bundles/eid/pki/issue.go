package pki

import (
	"crypto/sha256"
	"errors"
	mathbits "math/bits"
	"time"

	"github.com/sspemu/sspemu/internal/tlv"
)

// Profile says what a certificate is for, and so which extensions it has.
type Profile byte

// The profiles: Doc 9303-12 7.1 table 6 and ISO/IEC 18013-5 annex B. The latter is
// unverified: recalled, with the examples of annex D and what public verifiers ask for.
const (
	CSCA         Profile = iota + 1 // country signing certification authority
	DocSigner                       // document signer
	MasterSigner                    // master list signer
	IACA                            // issuing authority of driving licences
	MdocSigner                      // document signer of driving licences
	ReaderCA                        // authority of mdoc readers
	Reader                          // mdoc reader
	Plain                           // anything that signs: a PIV card's keys; Extensions say the rest
)

// Request is what a certificate is to say.
type Request struct {
	Profile  Profile
	Subject  Name
	Key      PublicKey
	Serial   []byte // positive, 20 octets at most; nil: it follows from the rest
	From, To time.Time
	// UseFrom and UseTo are when the private key signs; zero: From and To. Of the
	// profiles of Doc 9303 only.
	UseFrom, UseTo time.Time
	State          string      // issuing state as in the machine readable zone: UTO. Of the profiles of Doc 9303 only
	Contact        string      // e-mail address or URI for the alternative names
	CRL            string      // URI of the CRL, "": no distribution point
	DocumentTypes  []string    // of DocSigner: P, ID
	NameChange     bool        // of a link certificate with a new name
	Authority      bool        // of Plain: it signs certificates
	Usage          KeyUsage    // of Plain; 0: DigitalSignature, or that of an authority
	Extensions     []Extension // more of them, at the end
}

// Issuer signs certificates and CRLs.
type Issuer struct {
	Key         *Key
	Algorithm   Algorithm
	Form        Form         // of the keys in certificates; Explicit for travel documents
	Certificate *Certificate // nil: it signs its own first
	Contact     string       // e-mail address or URI for the alternative names
	State       string
}

// Issue makes a certificate. Without Certificate it is the issuer's own, self-signed,
// and kept as such; with it and the profile CSCA, a link certificate.
func (i *Issuer) Issue(r Request) (*Certificate, error) {
	if !r.From.Before(r.To) {
		return nil, errors.New("pki: the certificate is to expire before it begins")
	}
	alg, err := i.Algorithm.identifier()
	if err != nil {
		return nil, err
	}
	issuer, aki := r.Subject, r.Key.ID()
	state, contact := r.State, r.Contact
	if i.Certificate != nil {
		issuer, aki = i.Certificate.Subject, i.Certificate.SKI
		state, contact = i.State, i.Contact
	} else if !r.Key.Equal(i.Key.PublicKey) {
		return nil, errors.New("pki: the first certificate of an issuer is for its own key")
	} else {
		i.State, i.Contact = r.State, r.Contact
	}
	body := [][]byte{
		alg, issuer.Raw, seq(moment(r.From), moment(r.To)), r.Subject.Raw, r.Key.Info(i.Form),
		wrap(0xA3, seq(i.extensions(r, aki, state, contact)...)),
	}
	serial := r.Serial
	if serial == nil {
		h := sha256.Sum256(seq(body...))
		serial = h[:16]
		serial[0] = serial[0]&0x7F | 0x40
	}
	tbs := seq(append([][]byte{wrap(0xA0, number(2)), integer(serial)}, body...)...)
	sig, err := i.Key.Sign(i.Algorithm, tbs)
	if err != nil {
		return nil, err
	}
	c, err := ParseCertificate(seq(tbs, alg, bits(sig)))
	if err == nil && i.Certificate == nil {
		i.Certificate = c
	}
	return c, err
}

func extension(oid []byte, critical bool, value []byte) []byte {
	if critical {
		return seq(object(oid), yes, octets(value))
	}
	return seq(object(oid), octets(value))
}

func (i *Issuer) extensions(r Request, aki []byte, state, contact string) (x [][]byte) {
	add := func(oid []byte, critical bool, value []byte) { x = append(x, extension(oid, critical, value)) }
	travel := r.Profile == CSCA || r.Profile == DocSigner || r.Profile == MasterSigner
	authority := r.Profile == CSCA || r.Profile == IACA || r.Profile == ReaderCA || r.Authority
	own := i.Certificate == nil
	if !own || travel {
		add(oidAKI, false, seq(tlv.Append(nil, 0x80, aki...)))
	}
	add(oidSKI, false, octets(r.Key.ID()))
	usage := []byte{7, 0x80} // digitalSignature
	if authority {
		usage = []byte{1, 0x06} // keyCertSign, cRLSign
	}
	if r.Usage != 0 {
		b := mathbits.Reverse8(uint8(r.Usage))
		usage = []byte{byte(mathbits.TrailingZeros8(b)), b}
	}
	add(oidKeyUsage, true, tlv.Append(nil, tagBits, usage...))
	if travel {
		from, to := r.UseFrom, r.UseTo
		if from.IsZero() {
			from = r.From
		}
		if to.IsZero() {
			to = r.To
		}
		period := tlv.Append(nil, 0x80, []byte(from.UTC().Format(general))...)
		add(oidPrivateKeyUsage, false, seq(tlv.Append(period, 0x81, []byte(to.UTC().Format(general))...)))
		if n := generalNames(r.State, r.Contact); n != nil {
			add(oidSubjectAltName, false, n)
		}
	}
	if !travel {
		state = ""
	}
	if n := generalNames(state, contact); n != nil {
		add(oidIssuerAltName, false, n)
	}
	if authority {
		add(oidBasicConstraints, true, seq(yes, number(0)))
	}
	switch r.Profile {
	case MasterSigner:
		add(oidExtKeyUsage, true, seq(object(PurposeMasterList)))
	case MdocSigner:
		add(oidExtKeyUsage, true, seq(object(PurposeMdocDS)))
	case Reader:
		add(oidExtKeyUsage, true, seq(object(PurposeReader)))
	case DocSigner:
		if len(r.DocumentTypes) > 0 {
			var types [][]byte
			for _, t := range r.DocumentTypes {
				types = append(types, tlv.Append(nil, tagPrintable, []byte(t)...))
			}
			add(oidDocumentTypes, false, seq(number(0), set(types...)))
		}
	}
	if r.CRL != "" {
		add(oidCRLPoints, false, seq(seq(wrap(0xA0, wrap(0xA0, tlv.Append(nil, 0x86, []byte(r.CRL)...))))))
	}
	if r.NameChange {
		add(oidNameChange, false, null)
	}
	for _, e := range r.Extensions {
		add(e.OID, e.Critical, e.Value)
	}
	return x
}

// generalNames are a contact and the issuing state as locality (Doc 9303-12 7.1.1.2).
func generalNames(state, contact string) []byte {
	var names [][]byte
	if contact != "" {
		t := tlv.Tag(0x86)
		for i := range contact {
			if contact[i] == '@' {
				t = 0x81
			}
		}
		names = append(names, tlv.Append(nil, t, []byte(contact)...))
	}
	if state != "" {
		names = append(names, wrap(0xA4, MakeName(map[string]string{"L": state}).Raw))
	}
	if names == nil {
		return nil
	}
	return seq(names...)
}
