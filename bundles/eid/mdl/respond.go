package mdl

import (
	"slices"
	"strconv"

	"github.com/sspemu/sspemu/bundles/eid/mdl/mdoc"
	"github.com/sspemu/sspemu/bundles/eid/pki"
	"github.com/sspemu/sspemu/bundles/sdk"
)

// document is what NVM holds of a mobile document, beside its key.
type document struct {
	docType    string
	mac        bool
	wrong      bool // its device authentication is wrong on purpose
	authReader []string
	issuerAuth []byte
	spaces     []space
}

type space struct {
	name  string
	items []mdoc.Item
	raw   [][]byte // IssuerSignedItem
}

func docName(doc int) string { return "d/d" + strconv.Itoa(doc) }

// encode is the document for NVM.
func (d *document) encode() []byte {
	b := mdoc.AppendText(mdoc.AppendArray(nil, 6), d.docType)
	b = mdoc.AppendBool(mdoc.AppendBool(b, d.mac), d.wrong)
	b = appendTexts(b, d.authReader)
	b = mdoc.AppendBytes(b, d.issuerAuth)
	b = mdoc.AppendArray(b, 2*len(d.spaces))
	for _, s := range d.spaces {
		b = mdoc.AppendArray(mdoc.AppendText(b, s.name), len(s.raw))
		for _, i := range s.raw {
			b = mdoc.AppendBytes(b, i)
		}
	}
	return b
}

func appendTexts(b []byte, all []string) []byte {
	b = mdoc.AppendArray(b, len(all))
	for _, s := range all {
		b = mdoc.AppendText(b, s)
	}
	return b
}

func texts(v mdoc.Value) (all []string) {
	a, _ := v.Array()
	for _, x := range a {
		s, _ := x.Text()
		all = append(all, s)
	}
	return all
}

// readDocument reads what encode wrote.
func readDocument(b []byte) (*document, error) {
	v, err := mdoc.Decode(b)
	if err != nil {
		return nil, err
	}
	a, _ := v.Array()
	if len(a) != 6 {
		return nil, mdoc.ErrType
	}
	d := &document{authReader: texts(a[3])}
	d.docType, _ = a[0].Text()
	d.mac, _ = a[1].Bool()
	d.wrong, _ = a[2].Bool()
	d.issuerAuth, _ = a[4].Bytes()
	spaces, _ := a[5].Array()
	for i := 0; i+1 < len(spaces); i += 2 {
		s := space{}
		s.name, _ = spaces[i].Text()
		items, _ := spaces[i+1].Array()
		for _, x := range items {
			raw, _ := x.Bytes()
			item, err := mdoc.ParseItem(raw)
			if err != nil {
				return nil, err
			}
			s.items, s.raw = append(s.items, item), append(s.raw, raw)
		}
		d.spaces = append(d.spaces, s)
	}
	return d, nil
}

// respond answers a DeviceRequest.
func (c *Card) respond(l *line, plain []byte) (r mdoc.Response) {
	q, err := mdoc.ParseRequest(plain)
	switch err {
	case nil:
	case mdoc.ErrCBOR, mdoc.ErrLimit:
		return mdoc.Response{Status: mdoc.DecodingError}
	default:
		return mdoc.Response{Status: mdoc.ValidationError}
	}
	for i := range q.Documents {
		shown, ok, err := c.show(l, &q.Documents[i])
		switch {
		case err != nil:
			return mdoc.Response{Status: mdoc.GeneralError}
		case ok:
			r.Documents = append(r.Documents, shown)
		case !slices.Contains(r.Refused, q.Documents[i].DocType):
			r.Refused = append(r.Refused, q.Documents[i].DocType)
		}
	}
	return r
}

// show is a document with what may be shown of it. ok is false when there is none, or
// nothing of it may be shown.
func (c *Card) show(l *line, q *mdoc.Query) (s mdoc.Shown, ok bool, err error) {
	for n := range c.set.count {
		b, there := sdk.NVM.Get(docName(n))
		if !there {
			continue
		}
		d, err := readDocument(b)
		if err != nil {
			return s, false, err
		}
		if d.docType != q.DocType {
			continue
		}
		trusted := c.trusts(l, q)
		s = mdoc.Shown{DocType: d.docType, IssuerAuth: d.issuerAuth}
		count := c.choose(d, q, trusted, &s)
		sdk.Event("mdl.request", mdoc.AppendBool(mdoc.AppendInt(mdoc.AppendArray(nil, 2), int64(count)), trusted))
		if count == 0 {
			return s, false, nil
		}
		key, ok := openKey(n)
		if !ok {
			return s, false, mdoc.ErrKey
		}
		if d.mac {
			s.DeviceSigned, err = mdoc.DeviceMAC(key, l.reader, l.session.Transcript, d.docType)
		} else {
			s.DeviceSigned, err = mdoc.DeviceSignature(key, l.session.Transcript, d.docType)
		}
		if d.wrong && err == nil {
			s.DeviceSigned[len(s.DeviceSigned)-1] ^= 1
		}
		return s, err == nil, err
	}
	return s, false, nil
}

// choose puts into s what was asked for and may be shown, and says how many items that is.
func (c *Card) choose(d *document, q *mdoc.Query, trusted bool, s *mdoc.Shown) (count int) {
	given := map[string]bool{} // by name space and name: an age may answer two requests
	for _, e := range q.Elements {
		raw := d.find(e, func(name string) bool {
			return c.set.consents(name) && (trusted || !slices.Contains(d.authReader, name))
		})
		if raw == nil {
			s.Missing = append(s.Missing, e)
			continue
		}
		id := e.NameSpace + "\x00" + string(raw)
		if given[id] {
			continue
		}
		given[id] = true
		at := slices.IndexFunc(s.NameSpaces, func(n mdoc.NameSpace) bool { return n.Name == e.NameSpace })
		if at < 0 {
			at = len(s.NameSpaces)
			s.NameSpaces = append(s.NameSpaces, mdoc.NameSpace{Name: e.NameSpace})
		}
		s.NameSpaces[at].Items = append(s.NameSpaces[at].Items, raw)
		count++
	}
	return count
}

// find is the item that answers a request for an element, nil when there is none or it may
// not be shown.
func (d *document) find(e mdoc.Element, may func(name string) bool) []byte {
	for _, s := range d.spaces {
		if s.name != e.NameSpace {
			continue
		}
		name := e.Name
		ages := map[string]bool{}
		for _, i := range s.items {
			if v, err := mdoc.Decode(i.Value); err == nil {
				if is, ok := v.Bool(); ok && may(i.Name) {
					ages[i.Name] = is
				}
			}
		}
		if near, ok := mdoc.Nearest(name, ages); ok {
			name = near
		}
		for n, i := range s.items {
			if i.Name == name && may(name) {
				return s.raw[n]
			}
		}
	}
	return nil
}

// trusts tells whether the reader authenticated itself (9.1.4): a certificate of an
// authority that the persona trusts, for readers, whose key signed the request. A card has
// no calendar: when certificates expire, it cannot tell.
func (c *Card) trusts(l *line, q *mdoc.Query) bool {
	if q.ReaderAuth == nil || len(q.ReaderAuth.Chain) == 0 {
		return false
	}
	cert, err := pki.ParseCertificate(q.ReaderAuth.Chain[0])
	if err != nil || !cert.HasPurpose(pki.PurposeReader) {
		return false
	}
	key, err := mdoc.FromCertificate(cert)
	if err != nil || !q.VerifyReader(key, l.session.Transcript) {
		return false
	}
	for _, der := range c.set.authorities {
		ca, err := pki.ParseCertificate(der)
		if err == nil && cert.Issuer.Equal(ca.Subject) && cert.SignedBy(ca) == nil {
			return true
		}
	}
	return false
}
