package mrtd

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/sspemu/sspemu/bundles/eid/ec"
	"github.com/sspemu/sspemu/bundles/eid/lds"
	"github.com/sspemu/sspemu/internal/tlv"
)

const nameTA = "Terminal authentication"

// Terminal is what this inspection system proves its rights with: card verifiable
// certificates in any order, and the private key of the last one.
type Terminal struct {
	Certificates []Card
	Key          any // *rsa.PrivateKey or ECKey
}

// ECKey is a private key on a curve.
type ECKey struct {
	Curve   *ec.Curve
	Private []byte
}

// Card is a card verifiable certificate (TR-03110-3 C).
type Card struct {
	Authority, Holder string
	OID               []byte // of the signature: contents octets
	Role              byte   // authorization
	From, To          string // YYMMDD
	body, signature   []byte // with their tags
}

// ParseCards reads certificates 7F21, one after the other.
func ParseCards(b []byte) (all []Card, err error) {
	for r := tlv.Read(b); ; {
		if !r.Next() {
			if r.Err() != nil || len(all) == 0 {
				return nil, errors.New("no card verifiable certificate (7F21)")
			}
			return all, nil
		}
		if r.Tag != 0x7F21 {
			return nil, fmt.Errorf("data object %X is no card verifiable certificate", uint32(r.Tag))
		}
		var c Card
		get := func(path ...tlv.Tag) []byte {
			v, perr := tlv.Path(r.Value, path...)
			if perr != nil && err == nil {
				err = fmt.Errorf("the certificate has no %X", uint32(path[len(path)-1]))
			}
			return v
		}
		date := func(t tlv.Tag) string {
			var s strings.Builder
			for _, d := range get(0x7F4E, t) {
				s.WriteByte('0' + d%10)
			}
			return s.String()
		}
		c.Authority, c.Holder = string(get(0x7F4E, 0x42)), string(get(0x7F4E, 0x5F20))
		c.OID = get(0x7F4E, 0x7F49, 0x06)
		if v := get(0x7F4E, 0x7F4C, 0x53); len(v) > 0 {
			c.Role = v[len(v)-1]
		}
		c.From, c.To = date(0x5F25), date(0x5F24)
		c.body, c.signature = tlv.Append(nil, 0x7F4E, get(0x7F4E)...), tlv.Append(nil, 0x5F37, get(0x5F37)...)
		if err != nil {
			return nil, err
		}
		all = append(all, c)
	}
}

// chain is the certificates from a trust point of the chip down to the terminal's.
func (t *Terminal) chain(cars []string) ([]Card, error) {
	leaf := slices.IndexFunc(t.Certificates, func(c Card) bool { return c.Role>>6 == 0 }) // TR-03110-3 C.4.1: 00 inspection system
	if leaf < 0 {
		return nil, errors.New("none of the certificates is that of an inspection system")
	}
	path := []Card{t.Certificates[leaf]}
	for !slices.Contains(cars, path[0].Authority) {
		up := slices.IndexFunc(t.Certificates, func(c Card) bool { return c.Holder == path[0].Authority && c.Authority != c.Holder })
		if up < 0 || len(path) > 16 {
			return nil, fmt.Errorf("no certificates lead from %s, which the chip trusts, to %s", strings.Join(cars, ", "), path[len(path)-1].Holder)
		}
		path = append([]Card{t.Certificates[up]}, path...)
	}
	return path, nil
}

// taHash is the hash of a signature of terminal authentication, pss whether it is PSS
// (TR-03110-3 A.1.1.3).
func taHash(oid []byte) (h crypto.Hash, pss, rsaKey bool) {
	const base = "\x04\x00\x7F\x00\x07\x02\x02\x02"
	if len(oid) != len(base)+2 || string(oid[:len(base)]) != base {
		return 0, false, false
	}
	kind, n := oid[len(base)], oid[len(base)+1]
	switch {
	case kind == 2 && n >= 1 && n <= 5:
		return []crypto.Hash{crypto.SHA1, crypto.SHA224, crypto.SHA256, crypto.SHA384, crypto.SHA512}[n-1], false, false
	case kind == 1 && n >= 1 && n <= 6:
		return []crypto.Hash{crypto.SHA1, crypto.SHA256, crypto.SHA1, crypto.SHA256, crypto.SHA512, crypto.SHA512}[n-1], n == 3 || n == 4 || n == 6, true
	}
	return 0, false, false
}

// sign signs the challenge of the chip.
func (t *Terminal) sign(oid, message []byte) ([]byte, error) {
	h, pss, wantsRSA := taHash(oid)
	if h == 0 {
		return nil, fmt.Errorf("the terminal's certificate has the unknown signature %X", oid)
	}
	d := h.New()
	d.Write(message)
	digest := d.Sum(nil)
	switch k := t.Key.(type) {
	case ECKey:
		if wantsRSA {
			break
		}
		r, s, err := k.Curve.Sign(k.Private, digest)
		return append(r, s...), err
	case *rsa.PrivateKey:
		if !wantsRSA {
			break
		}
		if pss {
			return rsa.SignPSS(rand.Reader, k, h, digest, &rsa.PSSOptions{SaltLength: h.Size()})
		}
		return rsa.SignPKCS1v15(nil, k, h, digest)
	}
	return nil, errors.New("the terminal's key is not of the kind that its certificate says")
}

// terminalAuthentication proves to the chip that this terminal may read fingerprints and
// irises (TR-03110-1 3.5, TR-03110-3 B.3). It says whether the chip gave the rights.
func (s *inspection) terminalAuthentication(ctx context.Context) bool {
	const clause = "Doc 9303-11 7.1; TR-03110-1 3.5"
	t := s.Terminal
	switch {
	case t == nil || t.Key == nil || len(t.Certificates) == 0:
		s.r.NotDone(nameTA, clause, "this inspection system has no certificates for it (--anchors, or --terminal-key and --terminal-certs)")
		return false
	case s.ephemeral == nil:
		s.r.NotDone(nameTA, clause, "it needs chip authentication before it")
		return false
	case len(s.cars) == 0:
		s.r.NotDone(nameTA, clause, "the chip names no trust point")
		return false
	}
	path, err := t.chain(s.cars)
	if err != nil {
		s.r.NotDone(nameTA, clause, "%s", err)
		return false
	}
	fail := func(err error) bool { s.r.Fail(nameTA, clause, "%s", err); return false }
	for _, c := range path {
		if _, err := s.ch.must(ctx, "MSE:Set DST for "+c.Holder, command(0, 0x22, 0x81, 0xB6, tlv.Append(nil, 0x83, []byte(c.Authority)...), -1)); err != nil {
			return fail(err)
		}
		data := append(slices.Clone(c.body), c.signature...)
		if len(data) > 200 && s.ch.extended == 0 {
			err = s.chained(ctx, "PSO:Verify Certificate of "+c.Holder, 0x2A, 0x00, 0xBE, data)
		} else {
			_, err = s.ch.must(ctx, "PSO:Verify Certificate of "+c.Holder, command(0, 0x2A, 0x00, 0xBE, data, -1))
		}
		if err != nil {
			return fail(err)
		}
	}
	leaf := path[len(path)-1]
	set := tlv.Append(nil, 0x83, []byte(leaf.Holder)...)
	if _, err := s.ch.must(ctx, "MSE:Set AT of terminal authentication", command(0, 0x22, 0x81, 0xA4, set, -1)); err != nil {
		return fail(err)
	}
	challenge, err := s.ch.must(ctx, "GET CHALLENGE", command(0, 0x84, 0, 0, nil, 8))
	if err != nil {
		return fail(err)
	}
	signature, err := t.sign(leaf.OID, slices.Concat(s.id, challenge, s.ephemeral))
	if err != nil {
		return fail(err)
	}
	if len(signature) > 200 && s.ch.extended == 0 {
		err = s.chained(ctx, "EXTERNAL AUTHENTICATE", 0x82, 0, 0, signature)
	} else {
		_, err = s.ch.must(ctx, "EXTERNAL AUTHENTICATE", command(0, 0x82, 0, 0, signature, -1))
	}
	if err != nil {
		return fail(err)
	}
	role := s.rights(path)
	s.r.Pass(nameTA, clause, "the chip accepted the chain %s: it may read %s", holders(path), role)
	return true
}

func holders(path []Card) string {
	names := []string{path[0].Authority}
	for _, c := range path {
		names = append(names, c.Holder)
	}
	return strings.Join(names, " > ")
}

// rights are the effective ones, in words.
func (s *inspection) rights(path []Card) string {
	all := byte(0x03)
	for _, c := range path {
		all &= c.Role
	}
	switch all {
	case 1:
		return "DG3"
	case 2:
		return "DG4"
	case 3:
		return "DG3 and DG4"
	}
	return "neither DG3 nor DG4"
}

// chained sends data in pieces, with command chaining.
func (s *inspection) chained(ctx context.Context, what string, ins, p1, p2 byte, data []byte) error {
	const piece = 200
	for len(data) > 0 {
		n, cla := min(piece, len(data)), byte(0x10)
		if n == len(data) {
			cla = 0
		}
		if _, err := s.ch.must(ctx, what, command(cla, ins, p1, p2, data[:n], -1)); err != nil {
			return err
		}
		data = data[n:]
	}
	return nil
}

// trustPoints reads EF.CVCA, which names what the chip trusts (TR-03110-3 A.3).
func (s *inspection) trustPoints(ctx context.Context, infos []lds.SecurityInfo) {
	fid := lds.FIDCVCA
	for i := range infos {
		if p := infos[i].Protocol; p != nil && p.Kind == lds.KindTA && infos[i].FID > 0 {
			fid = uint16(infos[i].FID)
		}
	}
	b, err := s.ch.file(ctx, fid, true)
	if err != nil {
		return
	}
	if names, err := lds.ParseCVCA(b); err == nil {
		for _, n := range names {
			if !slices.Contains(s.cars, n) {
				s.cars = append(s.cars, n)
			}
		}
	}
}
