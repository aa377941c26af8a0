package profile

import (
	"time"

	"github.com/sspemu/sspemu/bundles/iot/iotsafe"
	"github.com/sspemu/sspemu/bundles/sdk"
)

// Most of each kind: the applet reports the number in one byte, and each costs memory.
const maxContainers = 32

// MaxFile is the longest file: its length is told in two bytes.
const MaxFile = 0xFFFF

// Read reads a persona that fits the schema. What follows from several values
// together is checked here; the error is an *sdk.PersonaError.
func Read(doc *sdk.Doc) (*Profile, error) {
	p := &Profile{Seed: doc.Get("seed").Text(), Version: 1, Sessions: 4}
	for i, a := range doc.Get("aids").Items() {
		aid := a.Hex()
		if len(aid) < 5 || len(aid) > 16 {
			return nil, a.Refuse("has not 5 to 16 bytes (ISO/IEC 7816-4 12.2.3)")
		}
		for _, b := range p.AIDs[:i] {
			if string(b) == string(aid) {
				return nil, a.Refuse("is there twice")
			}
		}
		p.AIDs = append(p.AIDs, aid)
	}
	id := ""
	if d := doc.Get("applet_id"); d.Exists() {
		id = d.Text()
	}
	if len(id) > iotsafe.AppletIDLen {
		return nil, doc.Get("applet_id").Refuse("is longer than 32 bytes")
	}
	p.ID = append(append(p.ID, id...), make([]byte, iotsafe.AppletIDLen-len(id))...)
	if s := doc.Get("sessions"); s.Exists() {
		p.Sessions = int(s.Int(1, 16))
	}
	if v := doc.Get("version"); v.Exists() {
		p.Version = byte(v.Int(0, 255))
	}
	if o := doc.Get("cryptography"); o.Exists() {
		p.Alone = o.Text() == "bundle"
	}
	if l := doc.Get("signature_length"); l.Exists() {
		p.TwoByte = l.Text() == "two-bytes"
	}
	r := &reader{p: p}
	for i, d := range doc.Get("authorities").Items() {
		if err := r.authority(d); err != nil {
			return nil, err
		}
		if i >= maxContainers {
			return nil, d.Refuse("is one authority too many")
		}
	}
	for kind, list := range lists {
		for i, d := range doc.Get(list).Items() {
			if i >= maxContainers {
				return nil, d.Refuse("is one container too many")
			}
			if err := r.container(Kind(kind), d); err != nil {
				return nil, err
			}
		}
	}
	if err := r.references(); err != nil {
		return nil, err
	}
	for i, d := range doc.Get("domains").Items() {
		if i >= maxDomains {
			return nil, d.Refuse("is one domain too many")
		}
		if err := r.domain(d); err != nil {
			return nil, err
		}
	}
	if err := doc.Err(); err != nil {
		return nil, err
	}
	return p, nil
}

// lists are the words for the kinds of containers.
var lists = [...]string{Private: "private_keys", Public: "public_keys", Secret: "secret_keys", File: "files"}

// reader reads a Profile; references to what comes later wait until the end.
type reader struct {
	p    *Profile
	docs []*sdk.Doc // of the containers
}

var keyTypes = map[string]byte{
	"rsa2048": iotsafe.RSA2048, "p256": iotsafe.P256, "p256-volatile": iotsafe.P256Volatile,
	"p384": iotsafe.P384, "p384-volatile": iotsafe.P384Volatile,
	"brainpoolP256r1": iotsafe.BrainpoolP256, "brainpoolP256r1-volatile": iotsafe.BrainpoolP256Volatile, "hmac": iotsafe.HMAC,
}

// Words for the bits of attributes.
var (
	accessWords     = map[string]byte{"read": iotsafe.AccessRead, "update": iotsafe.AccessUpdate}
	functionWords   = map[string]byte{"signature": iotsafe.FuncSignature, "generation": iotsafe.FuncGeneration, "agreement": iotsafe.FuncAgreement, "derivation": iotsafe.FuncDerivation}
	signatureWords  = map[string]byte{"rsa-pkcs1": iotsafe.RSAPKCS1, "rsa-pss": iotsafe.RSAPSS, "ecdsa": iotsafe.ECDSA}
	hashWords       = map[string]byte{"sha256": iotsafe.SHA256, "sha384": iotsafe.SHA384, "sha512": iotsafe.SHA512}
	derivationWords = map[string]byte{"prf": iotsafe.PRFSHA256, "hkdf": iotsafe.HKDF}
	usageWords      = map[string]byte{"general": iotsafe.UsageGeneral, "tls12": iotsafe.UsageTLS12, "tls13": iotsafe.UsageTLS13, "certificate": iotsafe.FileCertificate}
)

// bits is the sum of the words of a list, otherwise when there is none.
func bits(d *sdk.Doc, name string, words map[string]byte, otherwise byte) byte {
	l := d.Get(name)
	if !l.Exists() {
		return otherwise
	}
	var b byte
	for _, w := range l.Items() {
		bit, ok := words[w.Text()]
		if !ok {
			w.Fail("is not known here")
		}
		b |= bit
	}
	return b
}

// dates of a certificate: YYYYMMDD.
func dates(d *sdk.Doc) (from, until time.Time, err error) {
	from = time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)
	until = time.Date(2049, 12, 31, 0, 0, 0, 0, time.UTC)
	for name, to := range map[string]*time.Time{"from": &from, "until": &until} {
		if t := d.Get(name); t.Exists() {
			if *to, err = time.Parse("20060102", t.Text()); err != nil {
				return from, until, t.Refuse("is not a day like 20261231")
			}
		}
	}
	if until.Before(from) {
		return from, until, d.Refuse("ends before it begins")
	}
	return from, until, nil
}

func (r *reader) authority(d *sdk.Doc) (err error) {
	a := Authority{Name: d.Get("name").Text(), Type: iotsafe.P256}
	if t := d.Get("type"); t.Exists() {
		a.Type = keyTypes[t.Text()]
	}
	if a.From, a.Until, err = dates(d); err != nil {
		return err
	}
	if r.find(a.Name) != nil {
		return d.Get("name").Refuse("is that of another authority")
	}
	r.p.Authorities = append(r.p.Authorities, a)
	return nil
}

func (r *reader) find(name string) *Authority {
	for i := range r.p.Authorities {
		if a := &r.p.Authorities[i]; a.Name == name {
			return a
		}
	}
	return nil
}

func (r *reader) container(kind Kind, d *sdk.Doc) error {
	c := Container{Kind: kind, ID: d.Get("id").Hex(), Pair: -1, Usage: iotsafe.UsageGeneral, Access: iotsafe.AccessRead}
	if len(c.ID) == 0 || len(c.ID) > iotsafe.MaxID {
		return d.Get("id").Refuse("has not 1 to 20 bytes")
	}
	if l := d.Get("label"); l.Exists() {
		c.Label = []byte(l.Text())
		if len(c.Label) == 0 || len(c.Label) > iotsafe.MaxLabel {
			return l.Refuse("has not 1 to 60 bytes")
		}
	}
	for i := range r.p.Containers {
		o := &r.p.Containers[i]
		if o.Kind != kind {
			continue
		}
		if string(o.ID) == string(c.ID) {
			return d.Get("id").Refuse("is that of another " + kind.String())
		}
		if len(c.Label) > 0 && string(o.Label) == string(c.Label) {
			return d.Get("label").Refuse("is that of another " + kind.String())
		}
	}
	if kind != File {
		c.Type = keyTypes[d.Get("type").Text()]
		if (c.Type == iotsafe.HMAC) != (kind == Secret) {
			return d.Get("type").Refuse("is not for a " + kind.String())
		}
		r.attributes(&c)
	}
	c.Access = bits(d, "access", accessWords, c.Access)
	if u := d.Get("usage"); u.Exists() {
		c.Usage = usageWords[u.Text()]
	}
	c.Functions = bits(d, "functions", functionWords, c.Functions)
	c.Signatures = bits(d, "signatures", signatureWords, c.Signatures)
	c.Hashes = bits(d, "hashes", hashWords, c.Hashes)
	c.Derivation = bits(d, "derivation", derivationWords, c.Derivation)
	if x := d.Get("damaged"); x.Exists() {
		c.Damaged = x.Bool()
	}
	r.p.Containers = append(r.p.Containers, c)
	r.docs = append(r.docs, d)
	return nil
}

// attributes are those that a key of its type has if the persona does not say.
func (r *reader) attributes(c *Container) {
	const all = iotsafe.SHA256 | iotsafe.SHA384 | iotsafe.SHA512
	switch c.Type {
	case iotsafe.RSA2048:
		c.Functions, c.Signatures, c.Hashes = iotsafe.FuncSignature, iotsafe.RSAPKCS1|iotsafe.RSAPSS, all
	case iotsafe.P256, iotsafe.P384, iotsafe.BrainpoolP256:
		c.Functions, c.Signatures, c.Hashes = iotsafe.FuncSignature, iotsafe.ECDSA, all
	case iotsafe.P256Volatile, iotsafe.P384Volatile, iotsafe.BrainpoolP256Volatile:
		c.Functions, c.Agreement = iotsafe.FuncAgreement, iotsafe.ECKA
		if c.Kind == Private {
			c.Access |= iotsafe.AccessUpdate
		}
	case iotsafe.HMAC:
		c.Functions, c.Derivation, c.Access = iotsafe.FuncDerivation, iotsafe.PRFSHA256|iotsafe.HKDF, 0
	}
	if c.Kind == Private {
		c.Functions |= iotsafe.FuncGeneration
		c.Access &^= iotsafe.AccessRead // there is no way to read it
	}
}

// references resolves what names another container or an authority, and reads values.
func (r *reader) references() error {
	for i, d := range r.docs {
		c := &r.p.Containers[i]
		if c.Functions&iotsafe.FuncAgreement != 0 && c.Type != iotsafe.RSA2048 {
			c.Agreement = iotsafe.ECKA
		}
		if err := r.value(c, d); err != nil {
			return err
		}
	}
	for i, d := range r.docs {
		c := &r.p.Containers[i]
		if c.Kind != Private {
			continue
		}
		pub := d.Get("public")
		c.Pair = r.p.Find(Public, pub.Hex())
		if c.Pair < 0 {
			return pub.Refuse("is not the identifier of a public key")
		}
		o := &r.p.Containers[c.Pair]
		if o.Type != c.Type {
			return pub.Refuse("has another key type")
		}
		for j := range r.p.Containers[:i] {
			if b := &r.p.Containers[j]; b.Kind == Private && b.Pair == c.Pair {
				return pub.Refuse("belongs to another private key")
			}
		}
		if o.Value != nil || o.Anchor != nil {
			return pub.Refuse("has a key of its own")
		}
	}
	return nil
}

// value reads what is in a container at the beginning.
func (r *reader) value(c *Container, d *sdk.Doc) error {
	n := 0
	if k := d.Get("key"); k.Exists() {
		n++
		if k.Text() == "seed" {
			c.Seeded = true
			if c.Kind == Public {
				return k.Refuse("of a public key is a point, or of its private key")
			}
		} else if c.Value = k.Hex(); !c.wellFormed() {
			return k.Refuse("is not a " + c.Kind.String() + " of that type")
		}
		if iotsafe.Volatile(c.Type) && c.Kind == Private {
			return k.Refuse("belongs to a volatile key, which begins empty")
		}
	}
	if t := d.Get("text"); t.Exists() {
		n++
		c.Value = []byte(t.Text())
	}
	if h := d.Get("content"); h.Exists() {
		n++
		c.Value = h.Hex()
	}
	if a := d.Get("authority"); a.Exists() {
		n++
		if c.Anchor = r.find(a.Text()); c.Anchor == nil {
			return a.Refuse("is not the name of an authority")
		}
		if c.Kind == Public && c.Anchor.Type != c.Type {
			return a.Refuse("has another key type")
		}
	}
	if x := d.Get("certificate"); x.Exists() {
		n++
		if err := r.certificate(c, x); err != nil {
			return err
		}
	}
	if n > 1 {
		return d.Refuse("has more than one content")
	}
	if len(c.Value) > MaxFile {
		return d.Refuse("has more than 65535 bytes")
	}
	return nil
}

func (r *reader) certificate(c *Container, d *sdk.Doc) (err error) {
	x := &Certificate{Authority: r.find(d.Get("authority").Text()), Name: d.Get("name").Text()}
	if x.Authority == nil {
		return d.Get("authority").Refuse("is not the name of an authority")
	}
	x.Key = r.p.Find(Private, d.Get("key").Hex())
	if x.Key < 0 {
		return d.Get("key").Refuse("is not the identifier of a private key")
	}
	if k := &r.p.Containers[x.Key]; !k.Seeded && k.Value == nil {
		return d.Get("key").Refuse("is a container that is empty")
	}
	if k := &r.p.Containers[x.Key]; k.Type == iotsafe.BrainpoolP256 {
		return d.Get("key").Refuse("is on a curve for which the authorities here make no certificates")
	}
	for _, n := range d.Get("dns").Items() {
		x.DNS = append(x.DNS, n.Text())
	}
	if e := d.Get("defect"); e.Exists() {
		x.Defect = Defect(e.Text())
	}
	if x.From, x.Until, err = dates(d); err != nil {
		return err
	}
	c.Certificate, c.Usage = x, iotsafe.FileCertificate
	return nil
}
