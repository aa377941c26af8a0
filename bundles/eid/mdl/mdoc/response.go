package mdoc

import (
	"crypto/sha256"
	"crypto/sha512"

	"github.com/sspemu/sspemu/internal/ec"
)

// Status codes of a DeviceResponse (ISO/IEC 18013-5 8.3.2.1.2.3, table 8).
const (
	OK              = 0
	GeneralError    = 10
	DecodingError   = 11
	ValidationError = 12
)

// NotReturned is the error code of documents and elements that are not given (table 9).
const NotReturned = 0

// Item is an IssuerSignedItem (8.3.2.1.2.2).
type Item struct {
	Digest int // digestID
	Random []byte
	Name   string
	Value  []byte // encoded
}

// Encode is the IssuerSignedItem.
func (i Item) Encode() []byte {
	b := AppendInt(AppendText(AppendMap(nil, 4), "digestID"), int64(i.Digest))
	b = AppendBytes(AppendText(b, "random"), i.Random)
	b = AppendText(AppendText(b, "elementIdentifier"), i.Name)
	return append(AppendText(b, "elementValue"), i.Value...)
}

// ParseItem reads an IssuerSignedItem.
func ParseItem(b []byte) (i Item, err error) {
	v, err := Decode(b)
	if err != nil {
		return i, err
	}
	var ok [3]bool
	i.Digest, ok[0] = v.Get("digestID").Int()
	i.Random, ok[1] = v.Get("random").Bytes()
	i.Name, ok[2] = v.Get("elementIdentifier").Text()
	i.Value = v.Get("elementValue").Raw
	if !ok[0] || !ok[1] || !ok[2] || i.Value == nil || i.Digest < 0 {
		return i, ErrType
	}
	return i, nil
}

// DigestValue is the hash value of an item in tag 24.
type DigestValue struct {
	ID    int
	Value []byte
}

// Digests are those of a name space.
type Digests struct {
	Name   string
	Values []DigestValue
}

// Hash is the hash value of an IssuerSignedItemBytes: SHA-256, SHA-384 or SHA-512.
func Hash(algorithm string, b []byte) []byte {
	switch algorithm {
	case "SHA-384":
		h := sha512.Sum384(b)
		return h[:]
	case "SHA-512":
		h := sha512.Sum512(b)
		return h[:]
	}
	h := sha256.Sum256(b)
	return h[:]
}

// MSO is the mobile security object (9.1.2.4).
type MSO struct {
	Digest              string // digestAlgorithm
	Digests             []Digests
	Device              PublicKey
	DocType             string
	Signed, From, Until string // moments: 2026-11-23T00:00:00Z
}

// Encode is the MobileSecurityObject.
func (m MSO) Encode() []byte {
	b := AppendText(AppendText(AppendMap(nil, 6), "version"), Version)
	b = AppendText(AppendText(b, "digestAlgorithm"), m.Digest)
	b = AppendMap(AppendText(b, "valueDigests"), len(m.Digests))
	for _, ns := range m.Digests {
		b = AppendMap(AppendText(b, ns.Name), len(ns.Values))
		for _, v := range ns.Values {
			b = AppendBytes(AppendInt(b, int64(v.ID)), v.Value)
		}
	}
	b = AppendMap(AppendText(b, "deviceKeyInfo"), 1)
	b = append(AppendText(b, "deviceKey"), m.Device.CoseKey()...)
	b = AppendText(AppendText(b, "docType"), m.DocType)
	b = AppendMap(AppendText(b, "validityInfo"), 3)
	b = AppendDateTime(AppendText(b, "signed"), m.Signed)
	b = AppendDateTime(AppendText(b, "validFrom"), m.From)
	return AppendDateTime(AppendText(b, "validUntil"), m.Until)
}

// SecureArea holds the private key of a document. It signs and agrees; the key does not
// come out. A wallet that keeps its keys in hardware implements it, and nothing else of
// this package sees a key of a device.
type SecureArea interface {
	// Key is what kind of key it is.
	Key() Kind
	// Sign signs octets: r || s, or a signature of Ed25519.
	Sign(message []byte) ([]byte, error)
	// Agree is the shared secret with a point of the same curve (ECKA, RFC 9053 6.3.1).
	Agree(peer PublicKey) ([]byte, error)
}

// Soft is a SecureArea with the key in memory.
type Soft struct {
	Kind    Kind
	Private []byte
}

// Key implements SecureArea.
func (s Soft) Key() Kind { return s.Kind }

// Sign implements SecureArea.
func (s Soft) Sign(message []byte) ([]byte, error) { return Sign(s.Kind, s.Private, message) }

// Agree implements SecureArea.
func (s Soft) Agree(peer PublicKey) ([]byte, error) { return Agree(s.Kind.Curve, s.Private, peer) }

// Agree is the shared secret of a private key with the public one of a peer.
func Agree(curve *ec.Curve, private []byte, peer PublicKey) ([]byte, error) {
	if curve == nil || peer.Curve != curve {
		return nil, ErrKey
	}
	p, err := curve.Parse(peer.Bytes)
	if err != nil {
		return nil, err
	}
	return curve.SharedSecret(private, p)
}

// noNameSpaces are DeviceNameSpacesBytes without device signed elements.
var noNameSpaces = Encoded24(AppendMap(nil, 0))

// DeviceAuthentication is DeviceAuthenticationBytes (9.1.3.4).
func DeviceAuthentication(transcript []byte, docType string, nameSpaces []byte) []byte {
	b := AppendText(AppendArray(nil, 4), "DeviceAuthentication")
	b = append(b, transcript...)
	b = AppendText(b, docType)
	return Encoded24(append(b, nameSpaces...))
}

func deviceSigned(how string, cose []byte) []byte {
	b := append(AppendText(AppendMap(nil, 2), "nameSpaces"), noNameSpaces...)
	b = AppendMap(AppendText(b, "deviceAuth"), 1)
	return append(AppendText(b, how), cose...)
}

// DeviceSignature is DeviceSigned with a signature (9.1.3.6).
func DeviceSignature(a SecureArea, transcript []byte, docType string) ([]byte, error) {
	h := protected(a.Key().Alg)
	sig, err := a.Sign(toBeSigned(contextSign1, h, DeviceAuthentication(transcript, docType, noNameSpaces)))
	if err != nil {
		return nil, err
	}
	return deviceSigned("deviceSignature", message(h, AppendMap(nil, 0), nil, sig)), nil
}

// DeviceMAC is DeviceSigned with a MAC, whose key comes from the key of the device and the
// ephemeral one of the reader (9.1.3.5).
func DeviceMAC(a SecureArea, reader PublicKey, transcript []byte, docType string) ([]byte, error) {
	z, err := a.Agree(reader)
	if err != nil {
		return nil, err
	}
	key, err := SessionKey(z, transcript, "EMacKey")
	if err != nil {
		return nil, err
	}
	return deviceSigned("deviceMac", mac0(key, DeviceAuthentication(transcript, docType, noNameSpaces))), nil
}

// NameSpace are the items that are shown of a name space, encoded without their tag.
type NameSpace struct {
	Name  string
	Items [][]byte
}

// Shown is a Document of a DeviceResponse.
type Shown struct {
	DocType      string
	NameSpaces   []NameSpace
	IssuerAuth   []byte
	DeviceSigned []byte
	Missing      []Element // that are asked for and not given
}

// Response is a DeviceResponse (8.3.2.1.2.2).
type Response struct {
	Documents []Shown
	Refused   []string // document types that are not given
	Status    int
}

// Encode is the DeviceResponse.
func (r Response) Encode() []byte {
	n := 2
	if len(r.Documents) > 0 {
		n++
	}
	if len(r.Refused) > 0 {
		n++
	}
	b := AppendText(AppendText(AppendMap(nil, n), "version"), Version)
	if len(r.Documents) > 0 {
		b = AppendArray(AppendText(b, "documents"), len(r.Documents))
		for _, d := range r.Documents {
			b = d.append(b)
		}
	}
	if len(r.Refused) > 0 {
		b = AppendArray(AppendText(b, "documentErrors"), len(r.Refused))
		for _, t := range r.Refused {
			b = AppendInt(AppendText(AppendMap(b, 1), t), NotReturned)
		}
	}
	return AppendInt(AppendText(b, "status"), int64(r.Status))
}

func (d Shown) append(b []byte) []byte {
	n := 3
	if len(d.Missing) > 0 {
		n = 4
	}
	b = AppendText(AppendText(AppendMap(b, n), "docType"), d.DocType)
	b = AppendText(b, "issuerSigned")
	if len(d.NameSpaces) > 0 {
		b = AppendMap(AppendText(AppendMap(b, 2), "nameSpaces"), len(d.NameSpaces))
		for _, ns := range d.NameSpaces {
			b = AppendArray(AppendText(b, ns.Name), len(ns.Items))
			for _, i := range ns.Items {
				b = append(b, Encoded24(i)...)
			}
		}
	} else {
		b = AppendMap(b, 1)
	}
	b = append(AppendText(b, "issuerAuth"), d.IssuerAuth...)
	b = append(AppendText(b, "deviceSigned"), d.DeviceSigned...)
	if len(d.Missing) == 0 {
		return b
	}
	var spaces []string
	count := map[string]int{}
	for _, e := range d.Missing {
		if count[e.NameSpace] == 0 {
			spaces = append(spaces, e.NameSpace)
		}
		count[e.NameSpace]++
	}
	b = AppendMap(AppendText(b, "errors"), len(spaces))
	for _, ns := range spaces {
		b = AppendMap(AppendText(b, ns), count[ns])
		for _, e := range d.Missing {
			if e.NameSpace == ns {
				b = AppendInt(AppendText(b, e.Name), NotReturned)
			}
		}
	}
	return b
}
