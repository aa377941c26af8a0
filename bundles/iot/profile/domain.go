package profile

import (
	"github.com/sspemu/sspemu/bundles/sdk"
	"github.com/sspemu/sspemu/internal/scp80"
	"github.com/sspemu/sspemu/internal/tlspsk"
)

// Domain is a security domain: its administrator reaches some of the containers over the
// air, with keys that nobody else has.
type Domain struct {
	Name       string
	Kind       string // operator, sam or asp: whose it is
	TAR        scp80.TAR
	Minimum    byte // the least SPI1 that it takes
	KIc, KID   DomainKey
	Counter    uint64 // of the last packet, at the beginning
	Containers []int  // indices in Profile.Containers
	HTTPS      *HTTPS // nil: it is not administered over HTTP
}

// HTTPS is where the server of a domain is, and how the card proves who it is.
type HTTPS struct {
	Identity string // of the pre-shared key
	Key      []byte // nil: from the seed
	Suites   []uint16
	Host     string
	Address  [4]byte
	Port     uint16
	URI      string // of the first request
	Agent    string // X-Admin-From
}

// AdministrationKey is what a domain and its server share. The label of the seed is
// domain/NAME/psk.
func (p *Profile) AdministrationKey(d *Domain) (identity, key []byte) {
	if key = d.HTTPS.Key; key == nil {
		key = p.stream("domain/"+d.Name+"/psk", 0, 16)
	}
	return []byte(d.HTTPS.Identity), key
}

// DomainKey is a key of a domain.
type DomainKey struct {
	Index     byte // 1 to 15
	Algorithm scp80.Algorithm
	Size      int
	Value     []byte // nil: from the seed
}

// Byte is KIc or KID of packets for the key.
func (k *DomainKey) Byte() byte { return k.Index<<4 | byte(k.Algorithm) }

// Matches tells whether KIc or KID of a packet is for the key.
func (k *DomainKey) Matches(b byte) bool {
	a := scp80.Algorithm(b & 0x0F)
	return b>>4 == k.Index && (a == scp80.Implicit || a == k.Algorithm)
}

// maxDomains of a persona.
const maxDomains = 16

// Words of domains.
var (
	domainAlgorithms = map[string]DomainKey{
		"3des2": {Algorithm: scp80.TripleDES2, Size: 16}, "3des3": {Algorithm: scp80.TripleDES3, Size: 24},
		"aes128": {Algorithm: scp80.AES, Size: 16}, "aes192": {Algorithm: scp80.AES, Size: 24}, "aes256": {Algorithm: scp80.AES, Size: 32},
	}
	// security are bits of SPI1 (TS 102 225 5.1.1).
	securityWords = map[string]byte{"redundancy": 0x01, "checksum": 0x02, "ciphering": 0x04, "counter": 0x08, "counter-higher": 0x10, "counter-next": 0x18}
)

// DefaultSecurity is checksum, ciphering and a counter that rises.
const DefaultSecurity = 0x16

// DomainKeys are the keys of a domain. Labels of the seed are domain/NAME/kic and
// domain/NAME/kid.
func (p *Profile) DomainKeys(d *Domain) scp80.Keys {
	value := func(k *DomainKey, name string) []byte {
		if k.Value != nil {
			return k.Value
		}
		return p.stream("domain/"+d.Name+"/"+name, 0, k.Size)
	}
	return scp80.Keys{KIc: value(&d.KIc, "kic"), KID: value(&d.KID, "kid"), Cipher: d.KIc.Algorithm, Digest: d.KID.Algorithm}
}

// Domain finds a domain by its name; nil: there is none.
func (p *Profile) Domain(name string) *Domain {
	for i := range p.Domains {
		if d := &p.Domains[i]; d.Name == name {
			return d
		}
	}
	return nil
}

// Holds tells whether a container is the domain's.
func (d *Domain) Holds(container int) bool {
	for _, i := range d.Containers {
		if i == container {
			return true
		}
	}
	return false
}

// pskSuites are the words of cipher suites.
var pskSuites = map[string]uint16{"aes128-gcm": tlspsk.AES128GCM, "aes128-cbc": tlspsk.AES128CBC, "null-sha256": tlspsk.Null}

func (d *Domain) https(x *sdk.Doc) error {
	h := &HTTPS{Identity: x.Get("identity").Text(), Host: "admin.example", Address: [4]byte{127, 0, 0, 1}, Port: 8444, URI: "/administration", Agent: "//se-id/" + d.Name}
	if k := x.Get("key"); k.Exists() && k.Text() != "seed" {
		if h.Key = k.Hex(); len(h.Key) < 16 {
			return k.Refuse("has less than 16 bytes")
		}
	}
	for _, s := range x.Get("suites").Items() {
		h.Suites = append(h.Suites, pskSuites[s.Text()])
	}
	for name, to := range map[string]*string{"host": &h.Host, "uri": &h.URI, "agent": &h.Agent} {
		if v := x.Get(name); v.Exists() {
			*to = v.Text()
		}
	}
	if v := x.Get("address"); v.Exists() {
		b, ok := dotted(v.Text())
		if !ok {
			return v.Refuse("is no IPv4 address")
		}
		h.Address = b
	}
	if v := x.Get("port"); v.Exists() {
		h.Port = uint16(v.Int(1, 65535))
	}
	d.HTTPS = h
	return nil
}

// dotted is an IPv4 address.
func dotted(s string) (a [4]byte, ok bool) {
	part, n := 0, 0
	for i := 0; i <= len(s); i++ {
		switch {
		case i == len(s) || s[i] == '.':
			if n == len(a) || i == 0 || s[i-1] == '.' {
				return a, false
			}
			a[n], part, n = byte(part), 0, n+1
		case s[i] < '0' || s[i] > '9':
			return a, false
		default:
			if part = part*10 + int(s[i]-'0'); part > 255 {
				return a, false
			}
		}
	}
	return a, n == len(a)
}

func (r *reader) domain(x *sdk.Doc) error {
	d := Domain{Name: x.Get("name").Text(), Kind: "asp", Minimum: DefaultSecurity}
	if r.p.Domain(d.Name) != nil {
		return x.Get("name").Refuse("is that of another domain")
	}
	if k := x.Get("kind"); k.Exists() {
		d.Kind = k.Text()
	}
	tar := x.Get("tar").Hex()
	if len(tar) != len(d.TAR) {
		return x.Get("tar").Refuse("has not three bytes")
	}
	copy(d.TAR[:], tar)
	for i := range r.p.Domains {
		if r.p.Domains[i].TAR == d.TAR {
			return x.Get("tar").Refuse("is that of another domain")
		}
	}
	d.Minimum = bits(x, "security", securityWords, d.Minimum)
	if d.Minimum&3 == 3 {
		return x.Get("security").Refuse("has two kinds of check")
	}
	if c := x.Get("counter"); c.Exists() {
		d.Counter = uint64(c.Int(0, scp80.MaxCounter))
	}
	for name, k := range map[string]*DomainKey{"kic": &d.KIc, "kid": &d.KID} {
		y := x.Get(name)
		*k = domainAlgorithms[y.Get("algorithm").Text()]
		k.Index = byte(y.Get("index").Int(1, 15))
		if v := y.Get("key"); v.Exists() && v.Text() != "seed" {
			if k.Value = v.Hex(); len(k.Value) != k.Size {
				return v.Refuse("has another length than its algorithm wants")
			}
		}
	}
	if h := x.Get("https"); h.Exists() {
		if err := d.https(h); err != nil {
			return err
		}
	}
	for kind, list := range lists {
		for _, id := range x.Get("containers").Get(list).Items() {
			i := r.p.Find(Kind(kind), id.Hex())
			if i < 0 {
				return id.Refuse("is not the identifier of a " + Kind(kind).String())
			}
			for j := range r.p.Domains {
				if r.p.Domains[j].Holds(i) {
					return id.Refuse("belongs to another domain")
				}
			}
			if d.Holds(i) {
				return id.Refuse("is there twice")
			}
			d.Containers = append(d.Containers, i)
		}
	}
	for _, i := range d.Containers {
		if c := &r.p.Containers[i]; c.Kind == Private && !d.Holds(c.Pair) {
			return x.Get("containers").Refuse("has a private key without its public key")
		}
	}
	r.p.Domains = append(r.p.Domains, d)
	return nil
}
