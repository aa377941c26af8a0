package iot

import (
	"crypto"
	"crypto/sha256"
	"errors"
	"strconv"

	"github.com/sspemu/sspemu/bundles/iot/iotsafe"
	"github.com/sspemu/sspemu/bundles/iot/profile"
	"github.com/sspemu/sspemu/bundles/sdk"
)

// Keys of NVM. A container is named by its index in the persona.
//
//	persona    the persona, CBOR
//	d/I        counter of security domain I: 5 bytes
//	o/I        what is in container I: the content, then 4 bytes of check; nothing: empty
//
// The content of a private key is its scalar, or both primes; of a public key the data
// object of tag 34; of a secret key and a file the bytes. The check is the beginning of
// SHA-256 over the name of the key and the content.
const keyPersona = "persona"

const checkLen = 4

// object is a container with what is in it.
type object struct {
	*profile.Container
	name   string
	filled bool
	broken bool // the content in NVM is not what was stored
	size   int

	// What was read from NVM once, and the only place of a volatile key.
	pair    profile.Pair
	public  crypto.PublicKey
	content []byte // of a public or secret key
}

func objectName(i int) string { return "o/" + strconv.Itoa(i) }

// load reads the card from NVM.
func (c *Card) load() error {
	cbor, ok := sdk.NVM.Get(keyPersona)
	if !ok {
		return sdk.ErrInternal
	}
	doc, err := sdk.ParseDoc(cbor)
	if err != nil {
		return err
	}
	if c.profile, err = profile.Read(doc); err != nil {
		return err
	}
	c.use()
	for i := range c.objects {
		o := &c.objects[i]
		if b, ok := sdk.NVM.Get(o.name); ok {
			content, good := o.check(b)
			o.filled, o.broken, o.size = true, !good, len(content)
		}
	}
	return nil
}

// use makes the objects and sessions of the profile.
func (c *Card) use() {
	c.sessions = make([]session, c.profile.Sessions)
	c.objects = make([]object, len(c.profile.Containers))
	for i := range c.objects {
		c.objects[i] = object{Container: &c.profile.Containers[i], name: objectName(i)}
	}
	c.useDomains()
}

func (o *object) sum(content []byte) [sha256.Size]byte {
	return sha256.Sum256(append([]byte(o.name), content...))
}

// check splits what is stored; good tells whether it is what was stored.
func (o *object) check(stored []byte) (content []byte, good bool) {
	n := len(stored) - checkLen
	if n < 0 {
		return nil, false
	}
	sum := o.sum(stored[:n])
	return stored[:n], string(sum[:checkLen]) == string(stored[n:])
}

// put stores the content; it becomes the object's with keep.
func (o *object) put(content []byte) error {
	if o.volatile() {
		return nil
	}
	sum := o.sum(content)
	check := sum[:checkLen]
	if o.Damaged {
		check = []byte{^check[0], check[1], check[2], check[3]}
	}
	return sdk.NVM.Put(o.name, append(append([]byte(nil), content...), check...))
}

func (o *object) volatile() bool { return o.Kind != profile.File && iotsafe.Volatile(o.Type) }

// forget drops a volatile key.
func (o *object) forget() {
	if o.volatile() {
		o.drop()
	}
}

// drop empties the container, but for NVM.
func (o *object) drop() {
	o.filled, o.broken, o.size, o.pair, o.public, o.content = false, false, 0, profile.Pair{}, nil, nil
}

// state is that of the object list.
func (o *object) state() byte {
	if o.filled {
		return iotsafe.Activated
	}
	return iotsafe.Deactivated
}

// may tells whether the object has content that can be used: else 6400, or 6985.
func (o *object) may() sdk.SW {
	switch {
	case o.broken:
		return iotsafe.SWIntegrity
	case !o.filled:
		return sdk.ConditionsNotSatisfied
	}
	return sdk.OK
}

// stored is the content in NVM.
func (o *object) stored() ([]byte, sdk.SW) {
	b, ok := sdk.NVM.Get(o.name)
	if !ok {
		return nil, iotsafe.SWIntegrity
	}
	content, good := o.check(b)
	if !good {
		return nil, iotsafe.SWIntegrity
	}
	return content, sdk.OK
}

// private is the key pair of a container that may be used.
func (o *object) private() (profile.Pair, sdk.SW) {
	if sw := o.may(); sw != sdk.OK {
		return profile.Pair{}, sw
	}
	if o.pair == (profile.Pair{}) {
		b, sw := o.stored()
		if sw != sdk.OK {
			return profile.Pair{}, sw
		}
		k, err := profile.ParsePair(o.Type, b)
		if err != nil {
			return profile.Pair{}, iotsafe.SWIntegrity
		}
		o.pair = k
	}
	return o.pair, sdk.OK
}

// bytes is the content of a public or secret key that may be used.
func (o *object) bytes() ([]byte, sdk.SW) {
	if sw := o.may(); sw != sdk.OK {
		return nil, sw
	}
	if o.content == nil {
		b, sw := o.stored()
		if sw != sdk.OK {
			return nil, sw
		}
		o.content = b
	}
	return o.content, sdk.OK
}

// publicKey is the public key of a container that may be used.
func (o *object) publicKey() (crypto.PublicKey, sdk.SW) {
	b, sw := o.bytes()
	if sw != sdk.OK {
		return nil, sw
	}
	if o.public == nil {
		k, err := profile.ParsePublic(o.Type, b)
		if err != nil {
			return nil, iotsafe.SWIntegrity
		}
		o.public = k
	}
	return o.public, sdk.OK
}

// keepPublic makes a public key the content, after it was stored.
func (o *object) keepPublic(encoded []byte, k crypto.PublicKey) {
	o.filled, o.broken, o.size, o.content, o.public = true, false, len(encoded), encoded, k
}

// keepPrivate makes a key pair the content, after it was stored.
func (o *object) keepPrivate(k profile.Pair) { o.filled, o.broken, o.pair = true, false, k }

// memory is the answer to an error of NVM: nothing of the command is stored.
func memory(err error) sdk.SW {
	sdk.NVM.Rollback()
	if errors.Is(err, sdk.ErrNoSpace) {
		return sdk.NotEnoughMemory
	}
	return sdk.NoPreciseDiagnosis
}

// Personalise makes the store of a persona: keys from the seed, certificates, files.
func (c *Card) Personalise(doc *sdk.Doc) error {
	p, err := profile.Read(doc)
	if err != nil {
		return err
	}
	c.profile = p
	c.use()
	if err := sdk.NVM.Put(keyPersona, doc.CBOR()); err != nil {
		return err
	}
	for i := range c.domains {
		if err := c.domains[i].setCounter(c.domains[i].Counter); err != nil {
			return err
		}
	}
	pairs := map[int]profile.Pair{}
	for _, i := range p.Of(profile.Private) {
		b, err := p.Stored(sdk.GenerateRSA, i)
		if err != nil {
			return err
		}
		if b == nil {
			continue
		}
		o := &c.objects[i]
		if pairs[i], err = profile.ParsePair(o.Type, b); err != nil {
			return err
		}
		if err := o.put(b); err != nil {
			return err
		}
		if k := pairs[i].EC; k != nil {
			if err := c.curves().prepare(k); err != nil {
				return err
			}
		}
		pub, err := pairs[i].Public()
		if err != nil {
			return err
		}
		if err := c.objects[o.Pair].put(profile.EncodePublic(pub)); err != nil {
			return err
		}
	}
	for _, k := range []profile.Kind{profile.Public, profile.Secret, profile.File} {
		for _, i := range p.Of(k) {
			b, err := c.content(i, pairs)
			if err != nil {
				return err
			}
			if b != nil {
				err = c.objects[i].put(b)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// content is what is in container i, no private key, at the beginning; nil: nothing.
func (c *Card) content(i int, pairs map[int]profile.Pair) ([]byte, error) {
	o := &c.profile.Containers[i]
	switch {
	case o.Kind == profile.Secret:
		return c.profile.Stored(nil, i)
	case o.Kind == profile.Public && o.Anchor != nil:
		k, err := c.profile.AuthorityKey(o.Anchor)
		if err != nil {
			return nil, err
		}
		return profile.EncodePublic(&k.PublicKey), nil
	case o.Kind == profile.Public:
		return o.Value, nil
	}
	return c.profile.Content(i, func(key int) (profile.Pair, error) { return pairs[key], nil })
}
