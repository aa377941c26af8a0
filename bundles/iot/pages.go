package iot

import (
	"bytes"
	"crypto/sha256"
	"encoding/pem"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/sspemu/sspemu/bundles/iot/iotsafe"
	"github.com/sspemu/sspemu/bundles/iot/profile"
	"github.com/sspemu/sspemu/bundles/sdk"
	"github.com/sspemu/sspemu/bundles/sdk/coap"
	"github.com/sspemu/sspemu/bundles/sdk/face"
	"github.com/sspemu/sspemu/bundles/sdk/web"
)

// What a device, or the service that provisions it, asks for over HTTP and CoAP: the same
// resources with both.
//
//	/identities                 the private keys that sign, with their states; observable
//	/identities/ID              one of them; observable
//	/identities/ID/certificate  the certificate that is for its public key
//	/identities/ID/public-key
//	/identities/ID/csr          a certificate request, signed by the key; ?name= the subject
//	/status
//	/random?n=                  random bytes of the platform
//	/ota                        POST: a command packet for a security domain (HTTP only)

// format is a representation: its media type and its Content-Format.
type format struct {
	media string
	coap  coap.Format
}

// Formats; the numbers are those of RFC 7252 12.3, RFC 8949, RFC 9052 11.3.3 and RFC 9148
// 9.1. PEM has none: it is text with CoAP.
var (
	inJSON   = format{"application/json", coap.JSON}
	inCBOR   = format{"application/cbor", coap.CBOR}
	inPEM    = format{"application/x-pem-file", coap.Text}
	inDER    = format{"application/pkix-cert", 287}
	inPKCS10 = format{"application/pkcs10", 286}
	inCOSE   = format{"application/cose-key", 101}
	inOctets = format{"application/octet-stream", coap.OctetStream}
)

// page is a resource.
type page struct {
	title, rt string
	formats   []format // the preferred one of HTTP first
	watched   bool     // can be observed
	get       func(q url.Values, f format) ([]byte, *refusal)
}

// refusal is why a page cannot be had.
type refusal struct {
	status int
	code   coap.Code
	why    string
}

func notThere(why string) *refusal { return &refusal{http.StatusNotFound, coap.NotFound, why} }
func wrong(why string) *refusal    { return &refusal{http.StatusBadRequest, coap.BadRequest, why} }
func broken(why string) *refusal {
	return &refusal{http.StatusInternalServerError, coap.InternalServerError, why}
}

// publish makes the pages of the objects that there are.
func (c *Card) publish() {
	c.pages = map[string]*page{}
	add := func(path string, p *page) {
		c.pages[path] = p
		if c.things != nil {
			c.things.Handle(path, p.resource())
		}
	}
	data := func(v func() face.Value) func(url.Values, format) ([]byte, *refusal) {
		return func(_ url.Values, f format) ([]byte, *refusal) {
			if f == inJSON {
				return v().JSON(), nil
			}
			return v().CBOR(), nil
		}
	}
	add("identities", &page{"identities", "iot.identities", []format{inJSON, inCBOR}, true, data(c.identities)})
	for i := range c.objects {
		o := &c.objects[i]
		if !o.identity() {
			continue
		}
		path := "identities/" + profile.Hex(o.ID)
		add(path, &page{o.title(), "iot.identity", []format{inJSON, inCBOR}, true, data(func() face.Value { return c.identity(o) })})
		add(path+"/certificate", &page{"certificate", "iot.certificate", []format{inPEM, inDER, inCBOR}, false,
			func(_ url.Values, f format) ([]byte, *refusal) { return c.certificatePage(o, f) }})
		add(path+"/public-key", &page{"public key", "iot.public-key", []format{inPEM, inOctets, inCOSE}, false,
			func(_ url.Values, f format) ([]byte, *refusal) { return c.publicPage(o, f) }})
		add(path+"/csr", &page{"certificate request", "iot.csr", []format{inPKCS10, inPEM}, false,
			func(q url.Values, f format) ([]byte, *refusal) { return c.requestPage(o, q, f) }})
	}
	add("status", &page{"status", "iot.status", []format{inJSON, inCBOR}, false, data(c.status)})
	add("random", &page{"random bytes", "iot.random", []format{inOctets}, false, randomPage})
}

// identity tells whether the object is a key that can have a certificate.
func (o *object) identity() bool {
	return o.Kind == profile.Private && o.Functions&iotsafe.FuncSignature != 0 && requestHash(o) != 0
}

// certificate finds the certificate of an identity: a file that holds one for its public
// key.
func (c *Card) certificate(o *object) (file *object, der []byte, x certified) {
	public, sw := c.objects[o.Pair].bytes()
	if sw != sdk.OK || o.may() != sdk.OK {
		return nil, nil, x
	}
	info := publicInfo(o.Type, public)
	for i := range c.objects {
		f := &c.objects[i]
		if f.Kind != profile.File || f.Usage != iotsafe.FileCertificate || f.may() != sdk.OK || f.Access&iotsafe.AccessRead == 0 {
			continue
		}
		der, sw := f.stored()
		if sw != sdk.OK {
			continue
		}
		if x, err := parseCertificate(der); err == nil && bytes.Equal(x.info, info) {
			return f, der, x
		}
	}
	return nil, nil, x
}

func (c *Card) identities() face.Value {
	var l []face.Value
	for i := range c.objects {
		if o := &c.objects[i]; o.identity() {
			l = append(l, c.identity(o))
		}
	}
	v := face.Object()
	v.Set("identities", face.List(l...))
	return v
}

// identity is what everybody may know of a key.
func (c *Card) identity(o *object) face.Value {
	v := face.Object()
	v.Set("id", face.Text(profile.Hex(o.ID)))
	v.Set("label", face.Text(string(o.Label)))
	v.Set("type", face.Text(iotsafe.TypeName(o.Type)))
	v.Set("state", face.Text(o.stateWord()))
	v.Set("path", face.Text("/identities/"+profile.Hex(o.ID)))
	if public, sw := c.objects[o.Pair].bytes(); sw == sdk.OK && o.may() == sdk.OK {
		sum := sha256.Sum256(publicInfo(o.Type, public))
		v.Set("key_sha256", face.Octets(sum[:]))
	}
	if file, der, x := c.certificate(o); file != nil {
		sum := sha256.Sum256(der)
		w := face.Object()
		w.Set("file", face.Text(profile.Hex(file.ID)))
		w.Set("label", face.Text(string(file.Label)))
		w.Set("serial", face.Octets(x.serial))
		w.Set("sha256", face.Octets(sum[:]))
		v.Set("certificate", w)
	}
	return v
}

func inArmour(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

// usable says why nothing can be told of an identity; nil: it can.
func (c *Card) usable(o *object) *refusal {
	id := profile.Hex(o.ID)
	switch sw := o.may(); {
	case sw == iotsafe.SWIntegrity:
		return broken("identity " + id + " is damaged: what is stored is not what was stored there")
	case !o.filled:
		return notThere("identity " + id + " has no key yet: GENERATE KEY PAIR makes one")
	case sw != sdk.OK:
		return notThere("identity " + id + " is " + o.stateWord())
	}
	return nil
}

func (c *Card) certificatePage(o *object, f format) ([]byte, *refusal) {
	if r := c.usable(o); r != nil {
		return nil, r
	}
	file, der, _ := c.certificate(o)
	switch {
	case file == nil:
		return nil, notThere("no file holds a certificate for the key of identity " + profile.Hex(o.ID))
	case f == inPEM:
		return inArmour("CERTIFICATE", der), nil
	case f == inDER:
		return der, nil
	}
	v := face.Object()
	v.Set("file", face.Text(profile.Hex(file.ID)))
	v.Set("certificate", face.Octets(der))
	return v.CBOR(), nil
}

func (c *Card) publicPage(o *object, f format) ([]byte, *refusal) {
	if r := c.usable(o); r != nil {
		return nil, r
	}
	public, sw := c.objects[o.Pair].bytes()
	if sw != sdk.OK {
		return nil, broken("the public key of identity " + profile.Hex(o.ID) + " cannot be read")
	}
	switch f {
	case inPEM:
		return inArmour("PUBLIC KEY", publicInfo(o.Type, public)), nil
	case inOctets:
		return publicInfo(o.Type, public), nil
	}
	return coseKey(o.Type, public), nil
}

// requestPage is a certificate request. Without ?name= it asks for what the certificate of
// the identity says already, subject and alternative names (RFC 7030 4.2.2), or else for
// the label of the key.
func (c *Card) requestPage(o *object, q url.Values, f format) ([]byte, *refusal) {
	if r := c.usable(o); r != nil {
		return nil, r
	}
	for k := range q {
		if k != "name" {
			return nil, wrong("the query may have name, the common name of the subject")
		}
	}
	var subject, alternative []byte
	if names, ok := q["name"]; ok {
		name := names[0]
		if n := utf8.RuneCountInString(name); len(names) > 1 || n == 0 || n > maxCommonName || !utf8.ValidString(name) || strings.ContainsFunc(name, control) {
			return nil, wrong("name is the common name of the subject: 1 to 64 characters, once")
		}
		subject = commonName(name)
	} else if file, _, x := c.certificate(o); file != nil {
		subject, alternative = x.subject, x.alternative
	} else {
		name := string(o.Label)
		if name == "" {
			name = profile.Hex(o.ID)
		}
		subject = commonName(name)
	}
	der, err := c.request(o, subject, alternative)
	switch {
	case err != nil:
		return nil, broken("identity " + profile.Hex(o.ID) + " cannot sign")
	case f == inPEM:
		return inArmour("CERTIFICATE REQUEST", der), nil
	}
	return der, nil
}

func control(r rune) bool { return r < 0x20 || r >= 0x7F && r < 0xA0 }

func (c *Card) status() face.Value {
	v := face.Object()
	v.Set("applet", face.Text(strings.TrimRight(string(c.profile.ID), "\x00")))
	v.Set("version", face.Number(int64(c.profile.Version)))
	open := 0
	for _, s := range c.sessions {
		if s.open {
			open++
		}
	}
	sessions := face.Object()
	sessions.Set("open", face.Number(int64(open)))
	sessions.Set("most", face.Number(int64(len(c.sessions))))
	v.Set("sessions", sessions)
	var domains []face.Value
	for i := range c.domains {
		d := &c.domains[i]
		n, _ := d.counter()
		w := face.Object()
		w.Set("name", face.Text(d.Name))
		w.Set("kind", face.Text(d.Kind))
		w.Set("tar", face.Text(profile.Hex(d.TAR[:])))
		w.Set("counter", face.Number(int64(n)))
		w.Set("containers", face.Number(int64(len(d.Containers))))
		domains = append(domains, w)
	}
	v.Set("domains", face.List(domains...))
	for kind, name := range [...]string{profile.Private: "private_keys", profile.Public: "public_keys", profile.Secret: "secret_keys", profile.File: "files"} {
		var containers, filled, damaged int64
		for i := range c.objects {
			if o := &c.objects[i]; o.Kind == profile.Kind(kind) {
				containers++
				switch {
				case o.broken:
					damaged++
				case o.filled:
					filled++
				}
			}
		}
		w := face.Object()
		w.Set("containers", face.Number(containers))
		w.Set("filled", face.Number(filled))
		w.Set("damaged", face.Number(damaged))
		v.Set(name, w)
	}
	return v
}

// maxRandom bounds what one request gets.
const maxRandom = 1024

func randomPage(q url.Values, _ format) ([]byte, *refusal) {
	n := 32
	if q.Has("n") {
		var err error
		if n, err = strconv.Atoi(q.Get("n")); err != nil || n < 1 || n > maxRandom {
			return nil, wrong("n is how many bytes are wanted: 1 to 1024")
		}
	}
	b := make([]byte, n)
	sdk.Random(b)
	return b, nil
}

// site answers for all pages, and root for /.
func (c *Card) site(root http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p := c.pages[strings.TrimPrefix(r.URL.Path, "/")]
		switch {
		case r.URL.Path == "/":
			root.ServeHTTP(w, r)
			return
		case r.URL.Path == "/ota":
			c.otaPage(w, r)
			return
		case p == nil:
			web.Problem(w, http.StatusNotFound, "there are /, /identities, /identities/ID with /certificate, /public-key and /csr, /status, /random and /ota")
			return
		case r.Method != http.MethodGet && r.Method != http.MethodHead:
			w.Header().Set("Allow", "GET, HEAD")
			web.Problem(w, http.StatusMethodNotAllowed, "it can be read; commands and remote administration change it")
			return
		}
		h := w.Header()
		h.Set("Vary", "Accept")
		media := make([]string, len(p.formats))
		for i, f := range p.formats {
			media[i] = f.media
		}
		best := web.Prefer(r, media...)
		if best < 0 {
			web.Problem(w, http.StatusNotAcceptable, "there is "+strings.Join(media, ", "))
			return
		}
		q, err := url.ParseQuery(r.URL.RawQuery)
		if err != nil {
			web.Problem(w, http.StatusBadRequest, "the query is malformed")
			return
		}
		body, no := p.get(q, p.formats[best])
		if no != nil {
			web.Problem(w, no.status, no.why)
			return
		}
		h.Set("Content-Type", media[best])
		h.Set("Content-Length", strconv.Itoa(len(body)))
		h.Set("Cache-Control", "no-store")
		h.Set("X-Content-Type-Options", "nosniff")
		_, _ = w.Write(body)
	})
}

// maxPacket bounds a command packet that comes over HTTP.
const maxPacket = 8192

// otaPage takes a command packet of TS 102 225, without the header of a short message, and
// answers with the response packet; 204 when none is wanted.
func (c *Card) otaPage(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", "POST")
		web.Problem(w, http.StatusMethodNotAllowed, "it takes a secured packet (TS 102 225) with POST")
		return
	}
	if media, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";"); strings.TrimSpace(media) != inOctets.media {
		web.Problem(w, http.StatusUnsupportedMediaType, "a secured packet is application/octet-stream")
		return
	}
	packet, err := io.ReadAll(io.LimitReader(r.Body, maxPacket+1))
	switch {
	case err != nil:
		web.Problem(w, http.StatusBadRequest, "the packet ends too early")
		return
	case len(packet) > maxPacket:
		web.Problem(w, http.StatusRequestEntityTooLarge, "a packet has at most 8192 bytes")
		return
	}
	p, sw := c.receive(packet, byHTTP)
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	switch {
	case sw != sdk.OK:
		web.Problem(w, http.StatusBadRequest, "that is no command packet: its lengths do not fit (TS 102 225 5.1)")
	case p.packet == nil:
		w.WriteHeader(http.StatusNoContent)
	default:
		w.Header().Set("Content-Type", inOctets.media)
		w.Header().Set("Content-Length", strconv.Itoa(len(p.packet)))
		_, _ = w.Write(p.packet)
	}
}

// resource is a page for CoAP, where the smallest format is the preferred one.
func (p *page) resource() coap.Resource {
	r := coap.Resource{Title: p.title, RT: p.rt}
	preferred := p.formats[0]
	for _, f := range p.formats {
		r.Formats = append(r.Formats, f.coap)
		if preferred.coap == coap.JSON || preferred.coap == coap.Text {
			preferred = f
		}
	}
	r.Get = func(q *coap.Request, w *coap.Response) {
		f := preferred
		for _, x := range p.formats {
			if q.Accept == x.coap {
				f = x
			}
		}
		values := url.Values{}
		for _, s := range q.Queries() {
			k, v, _ := strings.Cut(s, "=")
			values.Add(k, v)
		}
		body, no := p.get(values, f)
		if no != nil {
			w.Fail(no.code, no.why)
			return
		}
		if !p.watched {
			w.MaxAge = 0
		}
		w.Send(f.coap, body)
	}
	if p.watched {
		r.Watch = func() []byte { b, _ := p.get(nil, inCBOR); return b }
	}
	return r
}
