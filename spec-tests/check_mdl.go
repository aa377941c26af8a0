package spectests

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sspemu/sspemu/bundles/eid/inspect"
	mdlreader "github.com/sspemu/sspemu/bundles/eid/inspect/mdl"
	"github.com/sspemu/sspemu/bundles/eid/mdl"
	"github.com/sspemu/sspemu/bundles/eid/mdl/mdoc"
	"github.com/sspemu/sspemu/bundles/sdk"
	"github.com/sspemu/sspemu/internal/persona"
	"github.com/sspemu/sspemu/internal/tlv"
)

// mdlChecks are a reader of mobile documents: it makes session messages and looks at the
// answers. The steps between them are plain APDUs:
//
//	00B00002FF                    mdl_engage
//	00A40400 07 A0000002480400 00 mdl_ask org.iso.18013.5.1.mDL family_name
//	{envelope}                    mdl_answer, mdl_shown org.iso.18013.5.1.mDL family_name
var mdlChecks = map[string]check{
	"mdl_engage":    {doc: "the data is a Handover Select message with a DeviceEngagement, and perhaps octets behind it; the reader makes a session of it", sets: []string{"ndef"}, run: mdlEngage},
	"mdl_ask":       {doc: "{envelope} is ENVELOPE with a request for ELEMENTS (with commas; NAMESPACE/NAME) of a document of TYPE; {first} and {rest} are the same as a chain", args: 2, sets: mdlVars, run: func(d *Dialogue, a []string) error { return d.mdlAsk(a[0], a[1], "") }},
	"mdl_ask_as":    {doc: "mdl_ask by the reader WHO: known (of the persona's authority), replay (with a signature of another session), stranger (of nobody's authority)", args: 3, sets: mdlVars, needs: []string{"mdl_reader", "mdl_reader_key"}, run: func(d *Dialogue, a []string) error { return d.mdlAsk(a[1], a[2], a[0]) }},
	"mdl_ask_raw":   {doc: "{envelope} is ENVELOPE with OCTETS, encrypted", args: 1, sets: mdlVars, run: func(d *Dialogue, a []string) error { return d.mdlSend(unhex(a[0])) }},
	"mdl_spoil":     {doc: "the message in {envelope} is spoilt: data (a bit of what is encrypted), key (the reader's is none), point (beside the curve), cut", args: 1, sets: mdlVars, run: mdlSpoil},
	"mdl_end":       {doc: "{envelope} is ENVELOPE with status STATUS", args: 1, sets: mdlVars, run: mdlEnd},
	"mdl_status":    {doc: "the data is data object 53 with status STATUS and nothing encrypted", args: 1, run: mdlStatus},
	"mdl_answer":    {doc: "the data is data object 53 with an answer that can be decrypted", run: mdlAnswer},
	"mdl_result":    {doc: "the last answer is a DeviceResponse with status STATUS", args: 1, run: mdlResult},
	"mdl_shown":     {doc: "the last answer shows ELEMENTS of a document of TYPE, and no others; - for none", args: 2, run: mdlShown},
	"mdl_not_shown": {doc: "the last answer tells for ELEMENTS of a document of TYPE that they are not returned", args: 2, run: mdlNotShown},
	"mdl_refused":   {doc: "the last answer tells that a document of TYPE is not returned", args: 1, run: mdlRefused},
	"mdl_verify":    {doc: "a reader that trusts the persona's authority finds WHAT of a document of TYPE in order on 23 November 2026: chain, profile, dates, signature, doctype, validity, digests, country, device, disclosure", args: 2, needs: []string{"mdl_iaca"}, run: mdlVerify},
	"mdl_salts":     {doc: "the elements of the last answer have random octets, at least 16, and no two the same", run: mdlSalts},
	"mdl_tag_again": {doc: "the Handover Select message is another than the one before", run: mdlTagAgain},
}

var mdlVars = []string{"envelope", "first", "rest"}

// mdlState is the reader.
type mdlState struct {
	session *mdlreader.Session
	queries []mdoc.Query
	message mdoc.Message // that envelope holds
	plain   []byte       // the last answer
	ndef    []byte
}

func (d *Dialogue) mdlNow() (*mdlState, error) {
	if d.mdl == nil || d.mdl.session == nil {
		return nil, errors.New("no mdl_engage before")
	}
	return d.mdl, nil
}

func mdlEngage(d *Dialogue, _ []string) error {
	if d.mdl == nil {
		d.mdl = &mdlState{}
	}
	b := bytes.Clone(d.data)
	device, handover, message, err := mdlreader.ParseHandover(b)
	if err != nil {
		return err
	}
	s, err := mdlreader.Begin(device, handover, nil)
	if err != nil {
		return err
	}
	*d.mdl = mdlState{session: s, ndef: message}
	d.vars["ndef"] = upper(message)
	return nil
}

func mdlTagAgain(d *Dialogue, _ []string) error {
	s, err := d.mdlNow()
	if err != nil {
		return err
	}
	if bytes.HasPrefix(d.data, s.ndef) {
		return errors.New("it is the same message: the ephemeral key served a session")
	}
	return nil
}

func (d *Dialogue) mdlAsk(docType, elements, who string) error {
	s, err := d.mdlNow()
	if err != nil {
		return err
	}
	q := mdlreader.Query(docType, strings.Split(elements, ",")...)
	if who != "" {
		kind, key, err := mdlreader.ParseKey(unhex(d.vars["mdl_reader_key"]))
		if err != nil {
			return err
		}
		chain, transcript := [][]byte{unhex(d.vars["mdl_reader"])}, s.session.Transcript
		switch who {
		case "known":
		case "replay":
			transcript = append(bytes.Clone(transcript[:len(transcript)-1]), 0xF5)
		case "stranger":
			chain = [][]byte{unhex(d.vars["mdl_iaca"])}
		default:
			return fmt.Errorf("%q is no reader", who)
		}
		if err := q.Sign(kind, key, chain, transcript); err != nil {
			return err
		}
	}
	s.queries = []mdoc.Query{q}
	return d.mdlSend(mdoc.Request{Documents: s.queries}.Encode())
}

func (d *Dialogue) mdlSend(plain []byte) error {
	s, err := d.mdlNow()
	if err != nil {
		return err
	}
	s.message = s.session.Message(plain)
	d.mdlEnvelope(s.message.Encode())
	return nil
}

// mdlEnvelope makes the commands of a message.
func (d *Dialogue) mdlEnvelope(message []byte) {
	b := tlv.Append(nil, 0x53, message...)
	d.vars["envelope"] = fmt.Sprintf("00C3000000%04X%s0000", len(b), upper(b))
	n := min(len(b)/2, 200)
	rest := b[n:]
	d.vars["first"] = fmt.Sprintf("10C30000%02X%s", n, upper(b[:n]))
	d.vars["rest"] = fmt.Sprintf("00C3000000%04X%s0000", len(rest), upper(rest))
}

func mdlSpoil(d *Dialogue, a []string) error {
	s, err := d.mdlNow()
	if err != nil {
		return err
	}
	m := s.message
	b := []byte(nil)
	switch a[0] {
	case "data":
		m.Data = bytes.Clone(m.Data)
		m.Data[len(m.Data)-1] ^= 1
	case "key":
		m.ReaderKey = []byte{0xA0}
	case "point":
		m.ReaderKey = bytes.Clone(m.ReaderKey)
		m.ReaderKey[len(m.ReaderKey)-1] ^= 1
	case "cut":
		b = m.Encode()
		b = b[:len(b)-1]
	default:
		return fmt.Errorf("nothing is spoilt like %q", a[0])
	}
	if b == nil {
		b = m.Encode()
	}
	d.mdlEnvelope(b)
	return nil
}

func mdlEnd(d *Dialogue, a []string) error {
	n, err := strconv.Atoi(a[0])
	if err != nil {
		return err
	}
	d.mdlEnvelope(mdoc.Message{Status: n}.Encode())
	return nil
}

// mdlMessage is the message of the data.
func (d *Dialogue) mdlMessage() ([]byte, error) {
	tag, v, rest, err := tlv.Next(d.data)
	if err != nil || tag != 0x53 || len(rest) > 0 {
		return nil, errors.New("it is not one data object 53")
	}
	return v, nil
}

func mdlStatus(d *Dialogue, a []string) error {
	b, err := d.mdlMessage()
	if err != nil {
		return err
	}
	m, err := mdoc.ParseMessage(b)
	if err != nil {
		return err
	}
	if strconv.Itoa(m.Status) != a[0] || m.Data != nil {
		return fmt.Errorf("status %d and %d octets of data", m.Status, len(m.Data))
	}
	return nil
}

func mdlAnswer(d *Dialogue, _ []string) error {
	s, err := d.mdlNow()
	if err != nil {
		return err
	}
	b, err := d.mdlMessage()
	if err != nil {
		return err
	}
	s.plain, err = s.session.Answer(bytes.Clone(b))
	return err
}

// mdlResponse is the last answer.
func (d *Dialogue) mdlResponse() (mdoc.Value, error) {
	s, err := d.mdlNow()
	if err != nil {
		return mdoc.Value{}, err
	}
	if s.plain == nil {
		return mdoc.Value{}, errors.New("no mdl_answer before")
	}
	return mdoc.Decode(s.plain)
}

func mdlResult(d *Dialogue, a []string) error {
	v, err := d.mdlResponse()
	if err != nil {
		return err
	}
	if n, ok := v.Get("status").Int(); !ok || strconv.Itoa(n) != a[0] {
		return fmt.Errorf("status %d", n)
	}
	return nil
}

// mdlDocument is a document of the last answer.
func (d *Dialogue) mdlDocument(docType string) (mdoc.Value, bool, error) {
	v, err := d.mdlResponse()
	if err != nil {
		return v, false, err
	}
	docs, _ := v.Get("documents").Array()
	for _, x := range docs {
		if t, _ := x.Get("docType").Text(); t == docType {
			return x, true, nil
		}
	}
	return mdoc.Value{}, false, nil
}

// mdlItems are the items that a document shows.
func mdlItems(doc mdoc.Value) (items []mdoc.Item, names []string, err error) {
	p := doc.Get("issuerSigned").Get("nameSpaces").Pairs()
	for i := 0; i < len(p); i += 2 {
		all, _ := p[i+1].Array()
		for _, x := range all {
			b, ok := x.Encoded()
			if !ok {
				return nil, nil, errors.New("an item is not in tag 24")
			}
			item, err := mdoc.ParseItem(b)
			if err != nil {
				return nil, nil, err
			}
			items, names = append(items, item), append(names, item.Name)
		}
	}
	return items, names, nil
}

func mdlShown(d *Dialogue, a []string) error {
	doc, there, err := d.mdlDocument(a[0])
	if err != nil {
		return err
	}
	if a[1] == "-" {
		if there {
			return errors.New("it is shown")
		}
		return nil
	}
	if !there {
		return errors.New("it is not shown")
	}
	_, names, err := mdlItems(doc)
	if err != nil {
		return err
	}
	want := strings.Split(a[1], ",")
	slices.Sort(names)
	slices.Sort(want)
	if !slices.Equal(names, want) {
		return fmt.Errorf("shown are %s", strings.Join(names, ", "))
	}
	return nil
}

func mdlNotShown(d *Dialogue, a []string) error {
	doc, there, err := d.mdlDocument(a[0])
	if err != nil || !there {
		return errors.Join(err, fmt.Errorf("%s is not shown", a[0]))
	}
	for _, name := range strings.Split(a[1], ",") {
		if n, ok := doc.Get("errors").Get(mdlreader.Space(a[0])).Get(name).Int(); !ok || n != mdoc.NotReturned {
			return fmt.Errorf("errors has not %s: 0", name)
		}
	}
	return nil
}

func mdlRefused(d *Dialogue, a []string) error {
	v, err := d.mdlResponse()
	if err != nil {
		return err
	}
	all, _ := v.Get("documentErrors").Array()
	for _, x := range all {
		if n, ok := x.Get(a[0]).Int(); ok && n == mdoc.NotReturned {
			return nil
		}
	}
	return errors.New("documentErrors does not have it")
}

func mdlSalts(d *Dialogue, _ []string) error {
	s, err := d.mdlNow()
	if err != nil {
		return err
	}
	seen := map[string]bool{}
	for _, q := range s.queries {
		doc, _, err := d.mdlDocument(q.DocType)
		if err != nil {
			return err
		}
		items, _, err := mdlItems(doc)
		if err != nil {
			return err
		}
		for _, i := range items {
			if len(i.Random) < 16 || seen[string(i.Random)] {
				return fmt.Errorf("%s: %d random octets, or the same as another's", i.Name, len(i.Random))
			}
			seen[string(i.Random)] = true
		}
	}
	if len(seen) < 2 {
		return errors.New("there are less than two elements")
	}
	return nil
}

// mdlAspects are the words of mdl_verify.
var mdlAspects = map[string]string{
	"chain": mdlreader.CheckChain, "profile": mdlreader.CheckProfile, "dates": mdlreader.CheckDates, "signature": mdlreader.CheckSignature,
	"doctype": mdlreader.CheckDocType, "validity": mdlreader.CheckValidity, "digests": mdlreader.CheckDigests, "country": mdlreader.CheckCountry,
	"device": mdlreader.CheckDevice, "disclosure": mdlreader.CheckDisclosure,
}

func mdlVerify(d *Dialogue, a []string) error {
	s, err := d.mdlNow()
	if err != nil {
		return err
	}
	name, ok := mdlAspects[a[0]]
	if !ok {
		return fmt.Errorf("%q is none of what is verified", a[0])
	}
	iaca, err := x509.ParseCertificate(unhex(d.vars["mdl_iaca"]))
	if err != nil {
		return err
	}
	r := &inspect.Report{Date: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)}
	if err := mdlreader.Verify(r, []*x509.Certificate{iaca}, s.queries, s.plain, s.session); err != nil {
		return err
	}
	c, ok := r.Find(a[1] + ": " + name)
	switch {
	case !ok:
		return fmt.Errorf("it could not be looked at: %s", r.Verdict())
	case c.Result != inspect.Pass:
		return errors.New(c.Why)
	}
	return nil
}

// eidVars reads the variables of a Target off a persona of the eID bundle: of mobile
// documents, the certificates of the issuing authority and of a reader, with its key.
func eidVars(yaml []byte) (map[string]string, error) {
	vars := map[string]string{}
	b, err := persona.Convert(yaml, "persona", nil)
	if err != nil {
		return nil, err
	}
	doc, err := sdk.ParseDoc(b)
	if err != nil || !doc.Has("mdl") {
		return vars, err
	}
	a, err := mdl.Trust(doc)
	if err != nil {
		return nil, err
	}
	vars["mdl_iaca"], vars["mdl_reader"], vars["mdl_reader_key"] = upper(a.IACA.Raw), upper(a.Reader.Raw), upper(a.ReaderKey.PKCS8())
	return vars, nil
}
