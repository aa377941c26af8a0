package mdoc

import (
	"strconv"
	"strings"

	"github.com/sspemu/sspemu/bundles/eid/pki"
)

// Limits of a request.
const (
	MaxDocuments = 8
	MaxElements  = 256
)

// Request is a DeviceRequest (ISO/IEC 18013-5 8.3.2.1.2.1).
type Request struct{ Documents []Query }

// Query is a DocRequest.
type Query struct {
	DocType    string
	Elements   []Element
	Items      []byte // ItemsRequest as it was sent: what a reader signs
	ReaderAuth *Cose
	auth       []byte // as it was sent
}

// Element is a data element that is asked for.
type Element struct {
	NameSpace, Name string
	Retain          bool // intentToRetain
}

// ParseRequest reads a DeviceRequest. ErrCBOR and ErrLimit are errors of decoding, ErrType
// one of validation.
func ParseRequest(b []byte) (r Request, err error) {
	v, err := Decode(b)
	if err != nil {
		return r, err
	}
	version, ok := v.Get("version").Text()
	if !ok || !strings.HasPrefix(version, "1.") {
		return r, ErrType
	}
	docs, ok := v.Get("docRequests").Array()
	if !ok || len(docs) == 0 || len(docs) > MaxDocuments {
		return r, ErrType
	}
	for _, d := range docs {
		q := Query{}
		if q.Items, ok = d.Get("itemsRequest").Encoded(); !ok {
			return r, ErrType
		}
		if err := q.read(); err != nil {
			return r, err
		}
		if a := d.Get("readerAuth"); a.Exists() {
			c, err := ParseCose(a)
			if err != nil {
				return r, err
			}
			q.ReaderAuth, q.auth = &c, a.Raw
		}
		r.Documents = append(r.Documents, q)
	}
	return r, nil
}

// read reads the ItemsRequest.
func (q *Query) read() error {
	v, err := Decode(q.Items)
	if err != nil {
		return err
	}
	ok := false
	if q.DocType, ok = v.Get("docType").Text(); !ok || q.DocType == "" || len(q.DocType) > 255 {
		return ErrType
	}
	spaces := v.Get("nameSpaces")
	if !spaces.IsMap() {
		return ErrType
	}
	p := spaces.Pairs()
	for i := 0; i < len(p); i += 2 {
		ns, ok := p[i].Text()
		if !ok || !p[i+1].IsMap() {
			return ErrType
		}
		e := p[i+1].Pairs()
		for j := 0; j < len(e); j += 2 {
			name, ok1 := e[j].Text()
			retain, ok2 := e[j+1].Bool()
			if !ok1 || !ok2 || len(q.Elements) == MaxElements {
				return ErrType
			}
			q.Elements = append(q.Elements, Element{ns, name, retain})
		}
	}
	if len(q.Elements) == 0 {
		return ErrType
	}
	return nil
}

// NewQuery is a DocRequest of a reader that asks for elements, those of one name space
// together.
func NewQuery(docType string, elements ...Element) Query {
	q := Query{DocType: docType, Elements: elements}
	var spaces []string
	for _, e := range elements {
		if len(spaces) == 0 || spaces[len(spaces)-1] != e.NameSpace {
			spaces = append(spaces, e.NameSpace)
		}
	}
	b := AppendText(AppendText(AppendMap(nil, 2), "docType"), docType)
	b = AppendMap(AppendText(b, "nameSpaces"), len(spaces))
	for _, ns := range spaces {
		n := 0
		for _, e := range elements {
			if e.NameSpace == ns {
				n++
			}
		}
		b = AppendMap(AppendText(b, ns), n)
		for _, e := range elements {
			if e.NameSpace == ns {
				b = AppendBool(AppendText(b, e.Name), e.Retain)
			}
		}
	}
	q.Items = b
	return q
}

// readerAuthentication is ReaderAuthenticationBytes (9.1.4.4).
func (q *Query) readerAuthentication(transcript []byte) []byte {
	b := AppendText(AppendArray(nil, 3), "ReaderAuthentication")
	b = append(b, transcript...)
	return Encoded24(append(b, Encoded24(q.Items)...))
}

// Sign is the reader's authentication.
func (q *Query) Sign(k Kind, private []byte, chain [][]byte, transcript []byte) (err error) {
	if q.auth, err = Sign1(k, private, q.readerAuthentication(transcript), chain, true); err != nil {
		return err
	}
	v, err := Decode(q.auth)
	if err != nil {
		return err
	}
	c, err := ParseCose(v)
	q.ReaderAuth = &c
	return err
}

// VerifyReader tells whether the reader with a key signed the request for this session.
func (q *Query) VerifyReader(key PublicKey, transcript []byte) bool {
	return q.ReaderAuth != nil && q.ReaderAuth.VerifySign1(key, q.readerAuthentication(transcript))
}

// Encode is the DeviceRequest.
func (r Request) Encode() []byte {
	b := AppendText(AppendText(AppendMap(nil, 2), "version"), Version)
	b = AppendArray(AppendText(b, "docRequests"), len(r.Documents))
	for _, q := range r.Documents {
		n := 1
		if q.auth != nil {
			n = 2
		}
		b = append(AppendText(AppendMap(b, n), "itemsRequest"), Encoded24(q.Items)...)
		if q.auth != nil {
			b = append(AppendText(b, "readerAuth"), q.auth...)
		}
	}
	return b
}

// FromCertificate is the key of a certificate.
func FromCertificate(c *pki.Certificate) (PublicKey, error) {
	if c.KeyErr != nil {
		return PublicKey{}, c.KeyErr
	}
	for _, k := range Kinds {
		if k.Curve != nil && k.Curve == c.Key.Curve {
			return PublicKey{k, c.Key.Point.Bytes()}, nil
		}
	}
	return PublicKey{}, ErrKey
}

const agePrefix = "age_over_"

// age is the NN of age_over_NN.
func age(name string) (int, bool) {
	nn, ok := strings.CutPrefix(name, agePrefix)
	if !ok || len(nn) != 2 {
		return 0, false
	}
	n, err := strconv.Atoi(nn)
	return n, err == nil && n >= 0
}

// Nearest is the element that answers a request for age_over_NN, by what a document has
// (7.2.5): the one asked for; else the smallest nn above NN that is true; else the largest
// nn below NN that is false. ok is false when nothing answers.
func Nearest(name string, have map[string]bool) (answer string, ok bool) {
	if _, there := have[name]; there {
		return name, true
	}
	want, is := age(name)
	if !is {
		return "", false
	}
	above, below := 100, -1
	for other, is := range have {
		n, ok := age(other)
		switch {
		case !ok:
		case is && n >= want && n < above:
			above = n
		case !is && n <= want && n > below:
			below = n
		}
	}
	n := above
	if above == 100 {
		n = below
	}
	if n < 0 {
		return "", false
	}
	return agePrefix + string([]byte{byte('0' + n/10), byte('0' + n%10)}), true
}
