// Package profile is the persona of the IoT bundle as a Go value, with the keys and
// certificates that follow from it. The card reads it when it is personalised; a test
// or a cloud on the bench to know the same certification authorities.
//
//	persona.yaml ── CBOR ──> Read ──> Profile ─┬─> applet: containers and what is in them
//	                                           └─> cloud: authorities, their certificates
//
// Every key that the persona does not give comes from its seed, and certificates are
// signed deterministically (RFC 6979): the same persona is the same card for ever.
//
// Sources: GSMA IoT.05 for containers (package iotsafe), RFC 5280 for certificates.
// The words of the persona are ours.
package profile

import (
	"time"

	"github.com/sspemu/sspemu/bundles/iot/iotsafe"
)

// Profile is one applet with its store.
type Profile struct {
	Seed     string // keys come from it
	AIDs     [][]byte
	ID       []byte // proprietary identifier of the applet, 32 bytes
	Version  byte
	Sessions int  // open at the same time
	Alone    bool // the applet computes with curves itself, without the platform
	TwoByte  bool // the length of a computed signature has two bytes, as some clients want

	Authorities []Authority
	Containers  []Container // private keys, public keys, secret keys, files: in this order
	Domains     []Domain    // those who administer containers over the air
}

// Authority certifies identities. It is outside of the card; only its certificate may
// be in it.
type Authority struct {
	Name        string // common name
	Type        byte   // of its key: iotsafe.P256 or iotsafe.P384
	From, Until time.Time
}

// Kind of a container.
type Kind byte

// Kinds of containers, in the order of the object list.
const (
	Private Kind = iota
	Public
	Secret
	File
)

// tags of a kind: information object, identifier, label.
var tags = [...][3]byte{
	Private: {iotsafe.InfoPrivateKey, iotsafe.TagPrivateID, iotsafe.TagPrivateLabel},
	Public:  {iotsafe.InfoPublicKey, iotsafe.TagPublicID, iotsafe.TagPublicLabel},
	Secret:  {iotsafe.InfoSecretKey, iotsafe.TagSecretID, iotsafe.TagSecretLabel},
	File:    {iotsafe.InfoFile, iotsafe.TagFileID, iotsafe.TagFileLabel},
}

// InfoTag is the tag of the information object of a container of this kind.
func (k Kind) InfoTag() byte { return tags[k][0] }

// IDTag is the tag of the identifier of a container of this kind.
func (k Kind) IDTag() byte { return tags[k][1] }

// LabelTag is the tag of the label of a container of this kind.
func (k Kind) LabelTag() byte { return tags[k][2] }

func (k Kind) String() string {
	return [...]string{"private key", "public key", "secret key", "file"}[k]
}

// Container holds one object, or will.
type Container struct {
	Kind  Kind
	ID    []byte // 1 to 20 bytes, unique among its kind
	Label []byte // up to 60 bytes, unique among its kind; none: it has no label

	Access     byte // iotsafe.AccessRead and AccessUpdate
	Type       byte // of a key
	Usage      byte // of a key or a file
	Functions  byte // of a key
	Signatures byte // algorithms, of a private or public key
	Hashes     byte
	Agreement  byte
	Derivation byte // of a secret key

	Pair int // of a private key: index of the container of its public key

	// What is in it at the beginning; at most one of them.
	Value       []byte       // a key or the content of a file
	Seeded      bool         // a private or secret key from the seed
	Anchor      *Authority   // a public key or a file: that of an authority
	Certificate *Certificate // a file

	Damaged bool // the store has lost its integrity here
}

// Certificate is what to certify.
type Certificate struct {
	Authority   *Authority
	Key         int // index of the container of the private key
	Name        string
	DNS         []string
	From, Until time.Time
	Defect      Defect
}

// Defect is what is wrong with a certificate, for tests of those who check it.
type Defect string

// Defects.
const (
	None           Defect = ""
	WrongSignature Defect = "signature" // one bit of it
	OtherKey       Defect = "other-key" // the certificate is for a key that is not in the card
	OtherIssuer    Defect = "issuer"    // signed by an authority that nobody trusts, with the right name
)

// Of lists the containers of a kind by their index.
func (p *Profile) Of(k Kind) (l []int) {
	for i := range p.Containers {
		if p.Containers[i].Kind == k {
			l = append(l, i)
		}
	}
	return l
}

// Find is the index of the container of kind k with this identifier, -1: none.
func (p *Profile) Find(k Kind, id []byte) int {
	for i := range p.Containers {
		if c := &p.Containers[i]; c.Kind == k && string(c.ID) == string(id) {
			return i
		}
	}
	return -1
}
