package spectests

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/des" //nolint:gosec // the standard's
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/sspemu/sspemu/bundles/eid/inspect"
	pivreader "github.com/sspemu/sspemu/bundles/eid/inspect/piv"
	"github.com/sspemu/sspemu/bundles/eid/piv"
	"github.com/sspemu/sspemu/bundles/eid/pki"
	"github.com/sspemu/sspemu/bundles/sdk"
	"github.com/sspemu/sspemu/internal/ec"
	"github.com/sspemu/sspemu/internal/persona"
	"github.com/sspemu/sspemu/internal/tlv"
)

// pivChecks are the administrator of a PIV card, and those who verify what its keys make.
// The steps between them are plain APDUs:
//
//	0087 {piv_alg} 9B 04 7C028100 00     piv_response
//	0087 {piv_alg} 9B {response:lv}
//	0047009A 05 AC03800111 00            piv_key 11
//	0087119A {challenge:lv} 00           after piv_challenge; piv_signed
var pivChecks = map[string]check{
	"piv_response":  {doc: "the data is a challenge of the card; {response} is the template with what the administration key makes of it, {wrong} another", sets: []string{"response", "wrong"}, needs: []string{"piv_key"}, run: pivResponse},
	"piv_witness":   {doc: "the data is a witness of the card; {response} is the template that proves the administration key and has a challenge", sets: []string{"response"}, needs: []string{"piv_key"}, run: pivWitness},
	"piv_mutual":    {doc: "the data is what the administration key makes of the challenge of piv_witness", needs: []string{"piv_key"}, run: pivMutual},
	"piv_key":       {doc: "the data is a public key of ALG (07, 11, 14) in 7F49 that the card made", args: 1, run: pivKey},
	"piv_challenge": {doc: "{challenge} is the template with something to be signed by the key of piv_key", sets: []string{"challenge"}, run: pivChallenge},
	"piv_signed":    {doc: "the data is the signature over the last challenge by the key of piv_key", run: pivSigned},
	"piv_peer":      {doc: "{peer} is the template with a public key of a peer on the curve of piv_key, {off} one beside the curve", sets: []string{"peer", "off"}, run: pivPeer},
	"piv_inspect":   {doc: "an inspection on 23 November 2026 with the PIN, which trusts the persona's authority, finds CHECK in order (underscores are spaces; a * at the end: all that begin so, at least one)", args: 1, needs: []string{"piv_digits", "piv_ca"}, run: pivInspect},
	"piv_agreed":    {doc: "the data is the secret shared with the peer of piv_peer", run: pivAgreed},
}

// pivState is what the administrator and others know.
type pivState struct {
	challenge, public []byte
	alg               byte
	peer              []byte // private key
}

// pivVars are the variables of the PIV card in a persona: AID, PIN and PUK as VERIFY has
// them, a wrong PIN, algorithm and value of the administration key.
func pivVars(persona []byte) (map[string]string, error) {
	type secret struct{ Value string }
	var doc struct {
		PIV *struct {
			PIN, PUK   secret
			Management struct{ Algorithm, Value string } `yaml:"management_key"`
		}
	}
	if err := yaml.Unmarshal(persona, &doc); err != nil || doc.PIV == nil {
		return nil, err
	}
	fill := func(s string) string {
		b := []byte(s)
		for len(b) < 8 {
			b = append(b, 0xFF)
		}
		return upper(b)
	}
	p := doc.PIV
	ca, err := pivAuthority(persona)
	if err != nil {
		return nil, err
	}
	return map[string]string{
		"piv_digits": p.PIN.Value, "piv_ca": upper(ca),
		"piv_aid": "A000000308000010000100", "piv_pin": fill(p.PIN.Value), "piv_puk": fill(p.PUK.Value),
		"piv_pin_wrong": fill(strings.Repeat("0", 5) + "7"), "piv_puk_wrong": fill("wrong"),
		"piv_alg": map[string]string{"3des": "03", "aes128": "08", "aes192": "0A", "aes256": "0C"}[p.Management.Algorithm],
		"piv_key": strings.ToUpper(strings.ReplaceAll(p.Management.Value, " ", "")),
	}, nil
}

// pivAuthority is the certificate of the authority of a persona.
func pivAuthority(yaml []byte) ([]byte, error) {
	cbor, err := persona.Convert(yaml, "persona", nil)
	if err != nil {
		return nil, err
	}
	doc, err := sdk.ParseDoc(cbor)
	if err != nil {
		return nil, err
	}
	return piv.Anchor(doc.Get("piv"), doc.Get("seed").Text())
}

func pivInspect(d *Dialogue, a []string) error {
	ca, err := pki.ParseCertificate(unhex(d.vars["piv_ca"]))
	if err != nil {
		return err
	}
	r := &inspect.Report{Date: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)}
	c := pivreader.Config{PIN: d.vars["piv_digits"], Anchors: &pki.Store{Anchors: []*pki.Certificate{ca}}}
	if err := pivreader.Inspect(d.ctx, seen{d}, c, r); err != nil {
		return err
	}
	return inOrder(r, strings.ReplaceAll(a[0], "_", " "))
}

// administration is the block cipher of the administration key.
func (d *Dialogue) administration() (cipher.Block, error) {
	k, err := hex.DecodeString(d.vars["piv_key"])
	if err != nil {
		return nil, err
	}
	if d.vars["piv_alg"] == "03" {
		return des.NewTripleDESCipher(k)
	}
	return aes.NewCipher(k)
}

func (d *Dialogue) pivPart(tag tlv.Tag) ([]byte, error) {
	v, err := tlv.Path(d.data, 0x7C, tag)
	if err != nil {
		return nil, fmt.Errorf("the data is no template 7C with %02X", uint32(tag))
	}
	return v, nil
}

func authTemplate(parts ...[]byte) string {
	return upper(tlv.Append(nil, 0x7C, bytes.Join(parts, nil)...))
}

func pivResponse(d *Dialogue, _ []string) error {
	k, err := d.administration()
	if err != nil {
		return err
	}
	c, err := d.pivPart(0x81)
	if err != nil || len(c) != k.BlockSize() {
		return errors.Join(err, fmt.Errorf("the challenge has %d octets", len(c)))
	}
	r := make([]byte, len(c))
	k.Encrypt(r, c)
	d.vars["response"] = authTemplate(tlv.Append(nil, 0x82, r...))
	r[0] ^= 1
	d.vars["wrong"] = authTemplate(tlv.Append(nil, 0x82, r...))
	return nil
}

func pivWitness(d *Dialogue, _ []string) error {
	k, err := d.administration()
	if err != nil {
		return err
	}
	w, err := d.pivPart(0x80)
	if err != nil || len(w) != k.BlockSize() {
		return errors.Join(err, fmt.Errorf("the witness has %d octets", len(w)))
	}
	r := make([]byte, len(w))
	k.Decrypt(r, w)
	d.piv.challenge = bytes.Repeat([]byte{0xC5}, len(w))
	d.vars["response"] = authTemplate(tlv.Append(nil, 0x80, r...), tlv.Append(nil, 0x81, d.piv.challenge...))
	return nil
}

func pivMutual(d *Dialogue, _ []string) error {
	k, err := d.administration()
	if err != nil {
		return err
	}
	r, err := d.pivPart(0x82)
	if err != nil {
		return err
	}
	want := make([]byte, k.BlockSize())
	k.Encrypt(want, d.piv.challenge)
	if !bytes.Equal(r, want) {
		return fmt.Errorf("the response is %X, %X is right", r, want)
	}
	return nil
}

func pivKey(d *Dialogue, a []string) error {
	b, err := hex.DecodeString(a[0])
	if err != nil || len(b) != 1 {
		return fmt.Errorf("%q is no algorithm", a[0])
	}
	tag := tlv.Tag(0x86)
	if b[0] == 0x07 {
		tag = 0x81
	}
	v, err := tlv.Path(d.data, 0x7F49, tag)
	if err != nil {
		return fmt.Errorf("the data is no template 7F49 with %02X", uint32(tag))
	}
	d.piv.alg, d.piv.public = b[0], bytes.Clone(v)
	if c := pivCurve(b[0]); c != nil {
		_, err = c.Parse(v)
		return err
	}
	if len(v) != 256 || v[0]&0x80 == 0 {
		return fmt.Errorf("a modulus of %d octets", len(v))
	}
	return nil
}

func pivCurve(alg byte) *ec.Curve { return map[byte]*ec.Curve{0x11: ec.P256, 0x14: ec.P384}[alg] }

func pivChallenge(d *Dialogue, _ []string) error {
	c := pivCurve(d.piv.alg)
	if c != nil {
		d.piv.challenge = bytes.Repeat([]byte{0x3C}, c.Size)
	} else {
		d.piv.challenge = append([]byte{0, 1}, bytes.Repeat([]byte{0xFF}, 254)...)
	}
	d.vars["challenge"] = authTemplate([]byte{0x82, 0}, tlv.Append(nil, 0x81, d.piv.challenge...))
	return nil
}

func pivSigned(d *Dialogue, _ []string) error {
	sig, err := d.pivPart(0x82)
	if err != nil {
		return err
	}
	c := pivCurve(d.piv.alg)
	if c == nil {
		m := new(big.Int).Exp(new(big.Int).SetBytes(sig), big.NewInt(65537), new(big.Int).SetBytes(d.piv.public))
		if !bytes.Equal(m.FillBytes(make([]byte, 256)), d.piv.challenge) {
			return errors.New("the signature is not that of the challenge")
		}
		return nil
	}
	q, err := c.Parse(d.piv.public)
	if err != nil {
		return err
	}
	in, err := tlv.Find(sig, 0x30)
	if err != nil {
		return errors.New("the signature is no SEQUENCE")
	}
	r := tlv.Read(in)
	var parts [][]byte
	for r.Next() && r.Tag == 0x02 {
		parts = append(parts, bytes.Clone(r.Value))
	}
	if len(parts) != 2 || !c.Verify(q, d.piv.challenge, parts[0], parts[1]) {
		return errors.New("the signature is not that of the challenge")
	}
	return nil
}

func pivPeer(d *Dialogue, _ []string) error {
	c := pivCurve(d.piv.alg)
	if c == nil {
		return errors.New("no piv_key on a curve before")
	}
	d.piv.peer = c.Scalar(bytes.Repeat([]byte{0x77}, 72))
	p, err := c.Base(d.piv.peer)
	if err != nil {
		return err
	}
	b := p.Bytes()
	d.vars["peer"] = authTemplate([]byte{0x82, 0}, tlv.Append(nil, 0x85, b...))
	b[len(b)-1] ^= 1
	d.vars["off"] = authTemplate([]byte{0x82, 0}, tlv.Append(nil, 0x85, b...))
	return nil
}

func pivAgreed(d *Dialogue, _ []string) error {
	z, err := d.pivPart(0x82)
	if err != nil {
		return err
	}
	c := pivCurve(d.piv.alg)
	q, err := c.Parse(d.piv.public)
	if err != nil {
		return err
	}
	want, err := c.SharedSecret(d.piv.peer, q)
	if err != nil {
		return err
	}
	if !bytes.Equal(z, want) {
		return fmt.Errorf("the secret is %X, %X is right", z, want)
	}
	return nil
}
