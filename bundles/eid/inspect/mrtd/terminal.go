package mrtd

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/sspemu/sspemu/bundles/eid/lds"
	"github.com/sspemu/sspemu/bundles/eid/pki"
	"github.com/sspemu/sspemu/internal/tlv"
)

const nameTA = "Terminal authentication"

// Terminal is what this inspection system proves its rights with: card verifiable
// certificates in any order, and the private key of the last one.
type Terminal struct {
	Certificates []*pki.CVC
	Key          *pki.Key
}

// chain is the certificates from a trust point of the chip down to the terminal's.
func (t *Terminal) chain(cars []string) ([]*pki.CVC, error) {
	leaf := slices.IndexFunc(t.Certificates, func(c *pki.CVC) bool { return c.Level() == pki.Terminal })
	if leaf < 0 {
		return nil, errors.New("none of the certificates is that of an inspection system")
	}
	path := []*pki.CVC{t.Certificates[leaf]}
	for !slices.Contains(cars, path[0].Authority) {
		up := slices.IndexFunc(t.Certificates, func(c *pki.CVC) bool { return c.Holder == path[0].Authority && c.Authority != c.Holder })
		if up < 0 || len(path) > 16 {
			return nil, fmt.Errorf("no certificates lead from %s, which the chip trusts, to %s", strings.Join(cars, ", "), path[len(path)-1].Holder)
		}
		path = append([]*pki.CVC{t.Certificates[up]}, path...)
	}
	return path, nil
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
		data := append(slices.Clone(c.Body), tlv.Append(nil, 0x5F37, c.Signature...)...)
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
	signature, err := t.Key.Sign(leaf.Key.Algorithm, slices.Concat(s.id, challenge, s.ephemeral))
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

func holders(path []*pki.CVC) string {
	names := []string{path[0].Authority}
	for _, c := range path {
		names = append(names, c.Holder)
	}
	return strings.Join(names, " > ")
}

// rights are the effective ones, in words.
func (s *inspection) rights(path []*pki.CVC) string {
	all := byte(0x03)
	for _, c := range path {
		all &= c.Rights[len(c.Rights)-1]
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
