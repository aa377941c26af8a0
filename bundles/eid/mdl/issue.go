package mdl

import (
	"crypto"
	"strconv"
	"time"

	"github.com/sspemu/sspemu/bundles/eid/mdl/mdoc"
	"github.com/sspemu/sspemu/bundles/eid/pki"
	"github.com/sspemu/sspemu/bundles/eid/portrait"
	"github.com/sspemu/sspemu/bundles/sdk"
)

// Defect is what can be wrong with a document on purpose.
type Defect string

// The defects of a document, as personas name them.
const (
	DefectDigest      Defect = "wrong-digest"      // the MSO has another hash value of family_name
	DefectAuthority   Defect = "unknown-iaca"      // another authority of the same name signed the document signer's certificate
	DefectSignature   Defect = "wrong-signature"   // the signature of the MSO is that of other octets
	DefectDocType     Defect = "wrong-doctype"     // the MSO is about another document type
	DefectDeviceKey   Defect = "other-device-key"  // the device has another key than the MSO says: a copy
	DefectDeviceAuth  Defect = "wrong-device-auth" // the MAC or signature of the device is wrong
	DefectDigestThere Defect = "digest-missing"    // the MSO has no hash value of family_name
)

// settings are what NVM holds beside documents.
type settings struct {
	count             int
	session           mdoc.Kind // of ephemeral keys
	command, response int
	consent           consent
	consented         []string
	authorities       [][]byte // of readers
}

type consent byte

const (
	consentAlways consent = iota
	consentNever
	consentListed
)

const settingsName = "d/s"

func (s *settings) consents(name string) bool {
	switch s.consent {
	case consentAlways:
		return true
	case consentListed:
		for _, n := range s.consented {
			if n == name {
				return true
			}
		}
	}
	return false
}

func (s *settings) encode() []byte {
	b := mdoc.AppendInt(mdoc.AppendArray(nil, 7), int64(s.count))
	b = mdoc.AppendText(b, s.session.Name)
	b = mdoc.AppendInt(mdoc.AppendInt(b, int64(s.command)), int64(s.response))
	b = appendTexts(mdoc.AppendInt(b, int64(s.consent)), s.consented)
	b = mdoc.AppendArray(b, len(s.authorities))
	for _, a := range s.authorities {
		b = mdoc.AppendBytes(b, a)
	}
	return b
}

// load reads the settings; a card without mobile documents has none.
func (s *settings) load() error {
	*s = settings{}
	b, ok := sdk.NVM.Get(settingsName)
	if !ok {
		return nil
	}
	v, err := mdoc.Decode(b)
	if err != nil {
		return err
	}
	a, _ := v.Array()
	if len(a) != 7 {
		return mdoc.ErrType
	}
	name, _ := a[1].Text()
	if s.session, ok = mdoc.KindByName(name); !ok {
		return mdoc.ErrType
	}
	s.count, _ = a[0].Int()
	s.command, _ = a[2].Int()
	s.response, _ = a[3].Int()
	n, _ := a[4].Int()
	s.consent = consent(n)
	s.consented = texts(a[5])
	all, _ := a[6].Array()
	for _, x := range all {
		der, _ := x.Bytes()
		s.authorities = append(s.authorities, der)
	}
	return nil
}

// Anchors are what readers of a persona have to know, and the reader that the persona
// trusts.
type Anchors struct {
	IACA     *pki.Certificate // issuing authority
	Signer   *pki.Certificate // document signer
	ReaderCA *pki.Certificate // authority of readers
	Reader   *pki.Certificate
	// ReaderKey is the reader's private key.
	ReaderKey *pki.Key
}

// issuer makes everything that follows from a persona.
type issuer struct {
	doc     *sdk.Doc // mdl
	make    pki.Maker
	country string
}

func begin(doc *sdk.Doc) *issuer {
	seed := "sspemu"
	if s := doc.Get("seed"); s.Exists() {
		seed = s.Text()
	}
	i := &issuer{doc: doc.Get("mdl"), make: pki.Maker{Seed: []byte(seed)}, country: "UT"}
	if c := i.doc.Get("country"); c.Exists() {
		i.country = c.Text()
	}
	return i
}

// day is a date of the persona.
func day(d *sdk.Doc, name, otherwise string) time.Time {
	s := otherwise
	if f := d.Get(name); f.Exists() {
		s = f.Text()
	}
	t, err := time.Parse("20060102", s)
	if err != nil {
		d.Get(name).Fail("is no date")
	}
	return t
}

// signature is ECDSA on P-256 with SHA-256, of all certificates here.
var signature = pki.Algorithm{Scheme: pki.ECDSA, Hash: crypto.SHA256}

// chain is an authority and a certificate below it.
func (i *issuer) chain(label string, top, below pki.Profile, names [2]string, from, to [2]time.Time) (ca, leaf *pki.Certificate, key *pki.Key, err error) {
	caKey, err := i.make.EC("mdl/"+label+"/ca", mdoc.Kinds[0].Curve)
	if err != nil {
		return nil, nil, nil, err
	}
	if key, err = i.make.EC("mdl/"+label+"/leaf", mdoc.Kinds[0].Curve); err != nil {
		return nil, nil, nil, err
	}
	name := func(cn string) pki.Name {
		return pki.MakeName(map[string]string{"C": i.country, "O": "Utopia", "CN": cn})
	}
	const contact = "https://utopia.example"
	is := &pki.Issuer{Key: caKey, Algorithm: signature, Contact: contact}
	if ca, err = is.Issue(pki.Request{Profile: top, Subject: name(names[0]), Key: caKey.PublicKey, From: from[0], To: to[0],
		Contact: contact, CRL: contact + "/" + label + ".crl"}); err != nil {
		return nil, nil, nil, err
	}
	leaf, err = is.Issue(pki.Request{Profile: below, Subject: name(names[1]), Key: key.PublicKey, From: from[1], To: to[1],
		Contact: contact, CRL: contact + "/" + label + ".crl"})
	return ca, leaf, key, err
}

// issuing is the chain of the document signer. An unknown one has the same names.
func (i *issuer) issuing(unknown bool) (ca, signer *pki.Certificate, key *pki.Key, err error) {
	label := "iaca"
	if unknown {
		label = "iaca/unknown"
	}
	a, s := i.doc.Get("authority"), i.doc.Get("signer")
	return i.chain(label, pki.IACA, pki.MdocSigner, [2]string{"Utopia IACA", "Utopia mdoc signer"},
		[2]time.Time{day(a, "from", "20260101"), day(s, "from", "20260101")},
		[2]time.Time{day(a, "to", "20351231"), day(s, "to", "20270331")})
}

func (i *issuer) readers() (ca, reader *pki.Certificate, key *pki.Key, err error) {
	a := i.doc.Get("readers")
	from, to := day(a, "from", "20260101"), day(a, "to", "20351231")
	leafTo := to
	if limit := from.AddDate(3, 0, 0); leafTo.After(limit) {
		leafTo = limit
	}
	return i.chain("reader", pki.ReaderCA, pki.Reader, [2]string{"Utopia reader CA", "Utopia reader"},
		[2]time.Time{from, from}, [2]time.Time{to, leafTo})
}

// Trust makes what readers have to know, of the whole persona.
func Trust(doc *sdk.Doc) (a *Anchors, err error) {
	i := begin(doc)
	if !i.doc.Exists() {
		return nil, i.doc.Refuse("lacks: the persona has no mobile documents")
	}
	a = &Anchors{}
	if a.IACA, a.Signer, _, err = i.issuing(false); err != nil {
		return nil, err
	}
	if a.ReaderCA, a.Reader, a.ReaderKey, err = i.readers(); err != nil {
		return nil, err
	}
	return a, doc.Err()
}

// Personalise writes the mobile documents of a persona, the whole of it, to NVM.
func (c *Card) Personalise(doc *sdk.Doc) error {
	i := begin(doc)
	if !i.doc.Exists() {
		return nil
	}
	s := settings{session: mdoc.Kinds[0], command: 65535, response: 65536}
	if f := i.doc.Get("session_key"); f.Exists() {
		s.session, _ = mdoc.KindByName(f.Text())
	}
	if f := i.doc.Get("max_command"); f.Exists() {
		s.command = int(f.Int(255, 65535))
	}
	if f := i.doc.Get("max_response"); f.Exists() {
		s.response = int(f.Int(256, 65536))
	}
	switch f := i.doc.Get("consent"); f.Kind() {
	case sdk.List:
		s.consent = consentListed
		for _, e := range f.Items() {
			s.consented = append(s.consented, e.Text())
		}
	case sdk.Text:
		if f.Text() == "never" {
			s.consent = consentNever
		}
	}
	ca, _, _, err := i.readers()
	if err != nil {
		return i.doc.Refuse(err.Error())
	}
	s.authorities = [][]byte{ca.Raw}
	for n, d := range i.doc.Get("documents").Items() {
		made, kind, private, err := i.issue(n, d, s.session)
		if err != nil {
			return err
		}
		if err := doc.Err(); err != nil {
			return err
		}
		if err := sdk.NVM.Put(docName(n), made.encode()); err != nil {
			return err
		}
		if err := storeKey(n, kind, private); err != nil {
			return err
		}
		s.count = n + 1
	}
	return sdk.NVM.Put(settingsName, s.encode())
}

// issue makes a document, and the key of its device.
func (i *issuer) issue(n int, d *sdk.Doc, session mdoc.Kind) (*document, mdoc.Kind, []byte, error) {
	refuse := func(at *sdk.Doc, err error) (*document, mdoc.Kind, []byte, error) {
		return nil, mdoc.Kind{}, nil, at.Refuse(err.Error())
	}
	label := "mdl/document/" + strconv.Itoa(n)
	wrong := map[Defect]bool{}
	for _, x := range d.Get("defects").Items() {
		wrong[Defect(x.Text())] = true
	}
	out := &document{docType: d.Get("doctype").Text(), mac: true, wrong: wrong[DefectDeviceAuth]}
	if f := d.Get("device_auth"); f.Exists() {
		out.mac = f.Text() == "mac"
	}
	for _, e := range d.Get("reader_auth").Items() {
		out.authReader = append(out.authReader, e.Text())
	}
	kind := mdoc.Kinds[0]
	if f := d.Get("device_key"); f.Exists() {
		kind, _ = mdoc.KindByName(f.Text())
	}
	if out.mac && kind.Name != session.Name {
		return nil, kind, nil, d.Get("device_key").Refuse("is of another curve than session_key: a MAC needs the same one; use device_auth: signature")
	}
	private := i.private(label+"/device", kind)
	public, err := mdoc.Public(kind, private)
	if err != nil {
		return refuse(d, err)
	}
	if wrong[DefectDeviceKey] {
		private = i.private(label+"/other", kind)
	}
	m := mdoc.MSO{Digest: "SHA-256", DocType: out.docType, Device: public}
	if f := d.Get("digest"); f.Exists() {
		m.Digest = f.Text()
	}
	if wrong[DefectDocType] {
		m.DocType += ".other"
	}
	const moment = "2006-01-02T15:04:05Z"
	from := day(d, "from", "20260105")
	m.From, m.Until = from.Format(moment), day(d, "until", "20270331").Format(moment)
	m.Signed = day(d, "signed", from.Format("20060102")).Format(moment)

	id := 0
	const broken = "family_name" // of which the hash value is wrong on purpose
	for space_, elements := range d.Get("namespaces").Members() {
		s := space{name: space_}
		digests := mdoc.Digests{Name: space_}
		for name, e := range elements.Members() {
			item := mdoc.Item{Digest: id, Name: name, Random: i.make.Secret(label+"/salt/"+strconv.Itoa(id), 32)}
			if item.Value, err = i.value(nil, e); err != nil {
				return nil, kind, nil, err
			}
			raw := item.Encode()
			h := mdoc.Hash(m.Digest, mdoc.Encoded24(raw))
			if name == broken && wrong[DefectDigest] {
				h[0] ^= 1
			}
			if name != broken || !wrong[DefectDigestThere] {
				digests.Values = append(digests.Values, mdoc.DigestValue{ID: id, Value: h})
			}
			if t := d.Get("tamper").Get(name); t.Exists() {
				if item.Value, err = i.value(nil, t); err != nil {
					return nil, kind, nil, err
				}
				raw = item.Encode()
			}
			s.items, s.raw = append(s.items, item), append(s.raw, raw)
			id++
		}
		out.spaces = append(out.spaces, s)
		m.Digests = append(m.Digests, digests)
	}
	_, signer, key, err := i.issuing(wrong[DefectAuthority])
	if err != nil {
		return refuse(i.doc, err)
	}
	if out.issuerAuth, err = signMSO(m, key, signer); err != nil {
		return refuse(d, err)
	}
	if wrong[DefectSignature] {
		out.issuerAuth[len(out.issuerAuth)-1] ^= 1
	}
	return out, kind, private, nil
}

// signMSO is the IssuerAuth with a key of P-256.
func signMSO(m mdoc.MSO, key *pki.Key, signer *pki.Certificate) ([]byte, error) {
	payload := mdoc.Encoded24(m.Encode())
	return mdoc.Sign1With(mdoc.Kinds[0], func(b []byte) ([]byte, error) {
		plain := signature
		plain.Plain = true
		return key.Sign(plain, b)
	}, payload, [][]byte{signer.Raw})
}

// private is a private key that follows from the seed.
func (i *issuer) private(label string, k mdoc.Kind) []byte {
	if k.Curve == nil {
		return i.make.Secret(label+"/"+k.Name, 32)
	}
	return k.Curve.Scalar(i.make.Secret(label+"/"+k.Name, k.Curve.OrderSize()+16))
}

// value adds the value of an element: texts, numbers, truth values, lists and maps as they
// are; 2026-11-23 is a full-date, 2026-11-23T00:00:00Z a tdate; {hex: ...} is octets,
// {portrait: F} the drawing.
func (i *issuer) value(b []byte, e *sdk.Doc) ([]byte, error) {
	var err error
	switch e.Kind() {
	case sdk.Text:
		s := e.Text()
		switch {
		case isTime(s, "2006-01-02"):
			return mdoc.AppendFullDate(b, s), nil
		case isTime(s, "2006-01-02T15:04:05Z"):
			return mdoc.AppendDateTime(b, s), nil
		}
		return mdoc.AppendText(b, s), nil
	case sdk.Int:
		return mdoc.AppendInt(b, e.Int(-1<<53, 1<<53)), nil
	case sdk.Bool:
		return mdoc.AppendBool(b, e.Bool()), nil
	case sdk.List:
		b = mdoc.AppendArray(b, e.Len())
		for _, x := range e.Items() {
			if b, err = i.value(b, x); err != nil {
				return nil, err
			}
		}
		return b, nil
	case sdk.Map:
		if h := e.Get("hex"); h.Exists() && e.Len() == 1 {
			return mdoc.AppendBytes(b, h.Hex()), nil
		}
		if p := e.Get("portrait"); p.Exists() && e.Len() == 1 {
			return mdoc.AppendBytes(b, portrait.New(i.make.Seed, p.Text()).JPEG(portrait.Quality)), nil
		}
		b = mdoc.AppendMap(b, e.Len())
		for name, x := range e.Members() {
			if b, err = i.value(mdoc.AppendText(b, name), x); err != nil {
				return nil, err
			}
		}
		return b, nil
	}
	return nil, e.Refuse("is nothing that an element can be")
}

func isTime(s, layout string) bool {
	_, err := time.Parse(layout, s)
	return err == nil
}
