package profile

import (
	"github.com/sspemu/sspemu/bundles/sdk"
	"github.com/sspemu/sspemu/internal/scp80"
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
