package profile

import (
	"crypto/sha256"
	"math/bits"

	"github.com/sspemu/sspemu/bundles/payment/cryptogram"
	"github.com/sspemu/sspemu/bundles/payment/oda"
)

// Generator makes primes from a seed: sdk.GenerateRSA or rsakey.Generate.
type Generator func(seed []byte, bits int, e uint32) (p, q []byte, err error)

// seed is SHA-256 of the persona's seed, a zero byte and a label.
func (p *Profile) seed(label string) []byte {
	sum := sha256.Sum256([]byte(p.Seed + "\x00" + label))
	return sum[:]
}

func (p *Profile) key(g Generator, label string, r RSA) (*oda.PrivateKey, error) {
	x, y, err := g(p.seed(label), r.Bits, r.Exponent)
	if err != nil {
		return nil, err
	}
	return oda.NewPrivateKey(x, y, r.Exponent)
}

// AuthorityKey is the key pair of a certification authority: label ca/RID/INDEX.
func (p *Profile) AuthorityKey(g Generator, a *Authority) (*oda.PrivateKey, error) {
	return p.key(g, "ca/"+Hex(a.RID[:])+"/"+Hex([]byte{a.Index}), a.RSA)
}

// IssuerKey is the key pair of an issuer: label issuer/NAME.
func (p *Profile) IssuerKey(g Generator, i *Issuer) (*oda.PrivateKey, error) {
	return p.key(g, "issuer/"+i.Name, i.RSA)
}

// ICCKey is the key pair of the card for an application: label icc/AID.
func (p *Profile) ICCKey(g Generator, a *Application) (*oda.PrivateKey, error) {
	return p.key(g, "icc/"+Hex(a.AID), a.ICC.RSA)
}

// PINKey is the key pair for enciphered PINs: label pin/AID, or that of the ICC.
func (p *Profile) PINKey(g Generator, a *Application) (*oda.PrivateKey, error) {
	if a.PINKey == nil {
		return p.ICCKey(g, a)
	}
	return p.key(g, "pin/"+Hex(a.AID), *a.PINKey)
}

// CardKeys are the ICC master keys of an application: for application cryptograms,
// for the integrity and for the confidentiality of scripts (Book 2 annex A1.4).
type CardKeys struct{ AC, SMI, SMC []byte }

// Keys derives the ICC master keys from the issuer's.
func (p *Profile) Keys(a *Application) (k CardKeys, err error) {
	for _, m := range []struct {
		label string
		given []byte
		to    *[]byte
	}{{"imk-ac/", a.Master.AC, &k.AC}, {"imk-smi/", a.Master.SMI, &k.SMI}, {"imk-smc/", a.Master.SMC, &k.SMC}} {
		imk := m.given
		if imk == nil {
			imk = p.seed(m.label + Hex(a.AID))[:16]
			if a.Version.Cipher == cryptogram.TDES {
				oddParity(imk)
			}
		}
		if *m.to, err = cryptogram.MasterKey(a.Version.Cipher, imk, a.PAN, a.PSN); err != nil {
			return k, err
		}
	}
	return k, nil
}

// oddParity makes every byte have an odd number of ones, as DES keys do.
func oddParity(key []byte) {
	for i, b := range key {
		if bits.OnesCount8(b)%2 == 0 {
			key[i] = b ^ 1
		}
	}
}

const upper = "0123456789ABCDEF"

// Hex is b in upper-case hexadecimal.
func Hex(b []byte) string {
	s := make([]byte, 0, 2*len(b))
	for _, c := range b {
		s = append(s, upper[c>>4], upper[c&15])
	}
	return string(s)
}

// Masked is a PAN as it may be shown: the first six and the last four digits.
func Masked(pan string) string {
	if len(pan) <= 10 {
		return pan
	}
	s := []byte(pan)
	for i := 6; i < len(s)-4; i++ {
		s[i] = '*'
	}
	return string(s)
}
