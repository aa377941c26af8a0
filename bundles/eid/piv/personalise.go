package piv

import (
	"strconv"
	"strings"

	"github.com/sspemu/sspemu/bundles/sdk"
	"github.com/sspemu/sspemu/internal/tlv"
)

// Personalise writes the section "piv" of a persona to NVM. Keys that the issuer puts on
// the card follow from the seed.
func (c *Card) Personalise(d *sdk.Doc, seed string) error {
	var err error
	put := func(name string, v []byte) {
		if err == nil {
			err = sdk.NVM.Put(name, v)
		}
	}
	for ref, name := range map[byte]string{refPIN: "pin", refPUK: "puk", refGlobal: "global_pin"} {
		p := d.Get(name)
		if !p.Exists() {
			continue // only that of the card may not be there
		}
		v := []byte(p.Get("value").Text())
		n := int(p.Get("tries").Int(1, 15))
		for len(v) < pinSize {
			v = append(v, 0xFF)
		}
		if !valid(ref, v) {
			return p.Get("value").Refuse("is not 6 to 8 digits")
		}
		put("factory/"+pinKey(ref), v)
		put(pinKey(ref), append(v, byte(n), byte(n)))
		if first := p.Get("primary"); first.Exists() && first.Bool() {
			put("global/primary", []byte{1})
		}
	}
	k := d.Get("management_key")
	alg := map[string]byte{"3des": alg3DES, "aes128": algAES128, "aes192": algAES192, "aes256": algAES256}[k.Get("algorithm").Text()]
	v := k.Get("value").Hex()
	if managementSize(alg) != len(v) {
		return k.Get("value").Refuse("is not " + strconv.Itoa(managementSize(alg)) + " bytes")
	}
	put("factory/mgm", append([]byte{alg}, v...))
	put("mgm", append([]byte{alg}, v...))

	guid := d.Get("guid").Hex()
	if len(guid) != 16 {
		return d.Get("guid").Refuse("is not 16 bytes")
	}
	m, merr := newMaker(seed, d.Get("expires").Text())
	if merr != nil {
		return d.Get("expires").Refuse("is no date")
	}
	if merr := m.issued(d, guid, put); merr != nil {
		return merr
	}
	f9, cert, merr := m.attester()
	if merr != nil {
		return d.Refuse("attestation key: " + merr.Error())
	}
	put(keyName(slotAttestation), append([]byte{algP256, pinNever, touchNever, originImported}, f9...))
	put(objectKey(tagAttestation), container(cert))
	if s := d.Get("secure_messaging"); s.Exists() {
		for _, name := range s.Get("suites").Items() {
			for i := range suites {
				if suites[i].name != name.Text() {
					continue
				}
				key, cvc, signer, serr := m.secureMessaging(&suites[i], guid)
				if serr != nil {
					return name.Refuse(serr.Error())
				}
				put("sm/"+suites[i].name, key)
				put("sm/"+suites[i].name+"/cvc", cvc)
				put(objectKey(tagSigner), container(signer)) // with two suites that of the last
			}
		}
		if p := s.Get("pairing_code"); p.Exists() {
			put("pairing", []byte(p.Text()))
			put(objectKey(tagPairing), append(tlv.Append(nil, 0x99, []byte(p.Text())...), 0xFE, 0))
		}
	}
	if o := d.Get("cryptography"); o.Exists() && o.Text() == "bundle" {
		put("own", []byte{1})
	}
	if i := d.Get("interface"); i.Exists() && i.Text() == "contactless" {
		put("contactless", []byte{1})
	}
	serial := uint32(0)
	if s := d.Get("serial"); s.Exists() {
		serial = uint32(s.Int(0, 1<<32-1))
	}
	put("serial", []byte{byte(serial >> 24), byte(serial >> 16), byte(serial >> 8), byte(serial)})
	version := []byte{5, 4, 3}
	if s := d.Get("version"); s.Exists() {
		version = version[:0]
		for _, part := range strings.Split(s.Text(), ".") {
			n, perr := strconv.ParseUint(part, 10, 8)
			if perr != nil {
				return s.Refuse("has a number above 255")
			}
			version = append(version, byte(n))
		}
	}
	put("version", version)
	for name, o := range d.Get("objects").Members() {
		t, perr := strconv.ParseUint(name, 16, 24)
		if perr != nil || t&0xFFFF00 != 0x5FC100 && t&0xFFFF00 != 0x5FFF00 {
			return o.Refuse("is not under the tag of a data object (5FC1xx)")
		}
		put(objectKey(tlv.Tag(t)), o.Hex())
	}
	return err
}

// fascn is the FASC-N of nobody.
var fascn = []byte{0xD4, 0xE7, 0x39, 0xDA, 0x73, 0x9C, 0xED, 0x39, 0xCE, 0x73, 0x9D, 0x83, 0x68, 0x58, 0x21, 0x08, 0x42, 0x10, 0x84, 0x21, 0xC8, 0x42, 0x10, 0xC3, 0xEB}

// chuid is the card holder unique identifier without signature (part 1 table 9): FASC-N
// of nobody, GUID, expiration date.
func chuid(guid []byte, expires string) []byte {
	b := tlv.Append(nil, 0x30, fascn...)
	b = tlv.Append(b, 0x34, guid...)
	b = tlv.Append(b, 0x35, []byte(expires)...)
	return append(b, 0x3E, 0x00, 0xFE, 0x00)
}

// ccc is the card capability container (part 1 table 8); its identifier comes from the
// GUID.
func ccc(guid []byte) []byte {
	id := append([]byte{0xA0, 0x00, 0x00, 0x01, 0x16, 0xFF, 0x02}, guid[:14]...)
	b := tlv.Append(nil, 0xF0, id...)
	b = tlv.Append(tlv.Append(b, 0xF1, 0x21), 0xF2, 0x21)
	b = append(b, 0xF3, 0x00)
	b = tlv.Append(tlv.Append(b, 0xF4, 0x00), 0xF5, 0x10)
	return append(b, 0xF6, 0, 0xF7, 0, 0xFA, 0, 0xFB, 0, 0xFC, 0, 0xFD, 0, 0xFE, 0)
}
