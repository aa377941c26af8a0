package eid_test

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"fmt"
	"os"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/bundles/eid/issue"
	"github.com/sspemu/sspemu/bundles/eid/pki"
	"github.com/sspemu/sspemu/bundles/eid/sm"
	"github.com/sspemu/sspemu/bundles/sdk/sdktest"
	"github.com/sspemu/sspemu/internal/apdu"
	"github.com/sspemu/sspemu/internal/ec"
	"github.com/sspemu/sspemu/internal/tlv"
)

// extended is the terminal of extended access: chip authentication was done.
type extended struct {
	t    *testing.T
	c    *sdktest.Card
	s    *sm.Session
	x    []byte // of its ephemeral key
	root *pki.CVIssuer
	key  *pki.Key // of everybody below
}

var cvAlgorithm = pki.Algorithm{Scheme: pki.ECDSA, Hash: crypto.SHA256}

// extend does BAC and chip authentication.
func extend(t *testing.T, c *sdktest.Card) *extended {
	e := &extended{t: t, c: c, s: bac(t, c)}
	chip, err := issue.New(persona(t))
	require.NoError(t, err)
	k := chip.CA[0]
	curve, _ := ec.ByID(k.Parameters)
	private := curve.Scalar([]byte("the ephemeral key of chip authentication"))
	own, err := curve.Base(private)
	require.NoError(t, err)
	e.x = own.X()
	e.send(0, 0x22, 0x41, 0xA4, slices.Concat(tlv.Append(nil, 0x80, k.Protocols[0].OID...), tlv.Append(nil, 0x84, byte(k.ID))), "9000")
	e.send(0, 0x86, 0, 0, tlv.Append(nil, 0x7C, tlv.Append(nil, 0x80, own.Bytes()...)...), "9000")
	public, err := curve.Parse(k.Public)
	require.NoError(t, err)
	shared, err := curve.SharedSecret(private, public)
	require.NoError(t, err)
	e.s = sm.New(sm.AES128, sm.KDF(sm.AES128, shared, 1, nil), sm.KDF(sm.AES128, shared, 2, nil), nil)

	// The authority's key follows from the seed; what is below is the test's own.
	h := []byte{}
	for i := byte(0); len(h) < ec.BrainpoolP256r1.Size+16; i++ {
		b := sha256.Sum256([]byte("sspemu eID test\x00cv/cvca/brainpoolP256r1\x00" + string(rune(i))))
		h = append(h, b[:]...)
	}
	root, err := pki.ECKey(ec.BrainpoolP256r1, ec.BrainpoolP256r1.Scalar(h[:ec.BrainpoolP256r1.Size+16]))
	require.NoError(t, err)
	e.root = &pki.CVIssuer{Key: root, Algorithm: cvAlgorithm, Reference: "UTCVCA00001"}
	e.key, err = pki.ECKey(ec.BrainpoolP256r1, ec.BrainpoolP256r1.Scalar([]byte("the key of everybody below the authority")))
	require.NoError(t, err)
	return e
}

func (e *extended) send(cla, ins, p1, p2 byte, data []byte, sw string) []byte {
	e.t.Helper()
	c := apdu.Command{CLA: cla, INS: ins, P1: p1, P2: p2, Data: data, Ne: 256, Extended: len(data) > 255}
	if c.Extended {
		c.Ne = 65536
	}
	p, err := e.s.Protect(c.Append(nil))
	require.NoError(e.t, err)
	r, err := e.s.Unprotect(e.c.Send(p))
	require.NoError(e.t, err)
	require.Equal(e.t, sw, fmt.Sprintf("%X", r[len(r)-2:]))
	return r[:len(r)-2]
}

// certificate is one that i issues.
func (e *extended) certificate(i *pki.CVIssuer, holder string, rights byte, from, to string) *pki.CVC {
	date := func(s string) (d pki.CVDate) {
		for n := range d {
			d[n] = s[n] - '0'
		}
		return d
	}
	c, err := i.Issue(pki.CVRequest{Holder: holder, Key: e.key.PublicKey, Algorithm: cvAlgorithm, Role: pki.RoleIS, Rights: []byte{rights}, From: date(from), To: date(to)})
	require.NoError(e.t, err)
	return c
}

func (e *extended) below(name string) *pki.CVIssuer {
	return &pki.CVIssuer{Key: e.key, Algorithm: cvAlgorithm, Reference: name}
}

// show is MSE:Set DST and PSO:VERIFY CERTIFICATE.
func (e *extended) show(c *pki.CVC, sw string) {
	e.t.Helper()
	e.send(0, 0x22, 0x81, 0xB6, tlv.Append(nil, 0x83, []byte(c.Authority)...), "9000")
	e.send(0, 0x2A, 0x00, 0xBE, contents(c), sw)
}

func contents(c *pki.CVC) []byte {
	return append(bytes.Clone(c.Body), tlv.Append(nil, 0x5F37, c.Signature...)...)
}

// prove is MSE:Set AT, GET CHALLENGE, EXTERNAL AUTHENTICATE.
func (e *extended) prove(holder, sw string) {
	e.t.Helper()
	e.send(0, 0x22, 0x81, 0xA4, tlv.Append(nil, 0x83, []byte(holder)...), "9000")
	challenge := e.send(0, 0x84, 0, 0, nil, "9000")
	a := cvAlgorithm
	a.Plain = true
	sig, err := e.key.Sign(a, slices.Concat([]byte("L898902C36"), challenge, e.x))
	require.NoError(e.t, err)
	e.send(0, 0x82, 0, 0, sig, sw)
}

// read tries data groups 3 and 4; the default document has the third.
func (e *extended) read(sw string) {
	e.t.Helper()
	e.send(0, 0xA4, 0x02, 0x0C, []byte{0x01, 0x03}, sw)
}

// TestTerminalAuthentication: rights are those that every certificate has; wrong orders.
func TestTerminalAuthentication(t *testing.T) {
	e := extend(t, newCard(t))
	dv := e.certificate(e.root, "UTDV00009", 0x83, "260101", "351231")
	is := e.certificate(e.below("UTDV00009"), "UTIS00009", 0x01, "260102", "351231")
	e.read("6982")
	e.send(0, 0x2A, 0x00, 0xBE, contents(dv), "6985")                                    // nobody has said by whom
	e.send(0, 0x22, 0x81, 0xB6, tlv.Append(nil, 0x83, []byte("UTCVCA00002")...), "6A88") // nobody knows
	e.send(0, 0x22, 0x81, 0xA4, tlv.Append(nil, 0x83, []byte("UTIS00009")...), "6A88")   // not shown yet
	e.send(0, 0x22, 0x81, 0xB6, nil, "6A80")
	e.send(0, 0x82, 0, 0, make([]byte, 64), "6985") // no challenge
	e.send(0, 0x84, 0, 0, nil, "9000")
	e.send(0, 0x82, 0, 0, make([]byte, 64), "6985") // no certificate
	e.send(0, 0x22, 0x81, 0xB6, tlv.Append(nil, 0x83, []byte("UTCVCA00001")...), "9000")
	e.send(0, 0x2A, 0x00, 0xBE, contents(is), "6300") // not by that authority
	e.send(0, 0x2A, 0x00, 0xBE, contents(dv), "6985") // from the beginning
	forged := contents(dv)
	forged[len(forged)-1] ^= 1
	e.send(0, 0x22, 0x81, 0xB6, tlv.Append(nil, 0x83, []byte("UTCVCA00001")...), "9000")
	e.send(0, 0x2A, 0x00, 0xBE, forged, "6300")
	e.show(dv, "9000")
	e.send(0, 0x22, 0x81, 0xA4, tlv.Append(nil, 0x83, []byte("UTDV00009")...), "6A88") // no terminal
	e.show(is, "9000")
	e.prove("UTIS00009", "9000")
	e.read("9000")
	e.send(0, 0xB0, 0x83, 0x00, nil, "9000")
	e.send(0, 0x22, 0x81, 0xB6, tlv.Append(nil, 0x83, []byte("UTCVCA00001")...), "9000")
	e.read("6982") // a new beginning

	no := e.certificate(e.below("UTDV00009"), "UTIS00008", 0x02, "260102", "351231")
	e.show(dv, "9000")
	e.show(no, "9000")
	e.prove("UTIS00008", "9000")
	e.read("6982") // data group 4 only
	e.show(dv, "9000")
	e.show(is, "9000")
	e.key, _ = pki.ECKey(ec.BrainpoolP256r1, ec.BrainpoolP256r1.Scalar(bytes.Repeat([]byte{9}, 40)))
	e.prove("UTIS00009", "6300") // another key
	e.read("6982")
}

// TestLink: a link certificate makes a new trust point, and moves the date on; the second
// one drops the first. All of it outlives a reset, or none when the power goes off.
func TestLink(t *testing.T) {
	c := newCard(t)
	e := extend(t, c)
	link := e.certificate(e.root, "UTCVCA00002", 0xC3, "300101", "351231")
	late := e.certificate(e.root, "UTDV00009", 0x83, "260101", "291231")

	e.send(0, 0x22, 0x81, 0xB6, tlv.Append(nil, 0x83, []byte(link.Authority)...), "9000")
	before := c.NVM()
	cmd := apdu.Command{INS: 0x2A, P2: 0xBE, Data: contents(link), Ne: 65536, Extended: true}
	p, err := e.s.Protect(cmd.Append(nil))
	require.NoError(t, err)
	c.CutPowerDuring(p)
	require.Equal(t, before, c.NVM())

	e = extend(t, c)
	e.show(late, "9000")
	e.show(link, "9000")
	e.send(0, 0x22, 0x81, 0xB6, tlv.Append(nil, 0x83, []byte("UTCVCA00001")...), "9000") // still there
	e.send(0, 0x2A, 0x00, 0xBE, contents(late), "6300")                                  // expired in 2029, and it is 2030
	c.PowerOn()
	e = extend(t, c)
	e.show(late, "6300")
	second := e.below("UTCVCA00002")
	e.show(e.certificate(second, "UTDV00010", 0x83, "300101", "351231"), "9000")
	e.show(e.certificate(e.below("UTDV00010"), "UTIS00010", 0x03, "300101", "351231"), "9000")
	e.prove("UTIS00010", "9000")
	e.read("9000")
	e.show(e.certificate(second, "UTCVCA00003", 0xC3, "310101", "351231"), "9000")
	e.send(0, 0x22, 0x81, 0xB6, tlv.Append(nil, 0x83, []byte("UTCVCA00001")...), "6A88")
	e.send(0, 0x22, 0x81, 0xB6, tlv.Append(nil, 0x83, []byte("UTCVCA00003")...), "9000")
}

// TestPlainAfterSM is the defect: an error in a session leaves it standing.
func TestPlainAfterSM(t *testing.T) {
	yaml, err := os.ReadFile("persona.yaml")
	require.NoError(t, err)
	schema, err := os.ReadFile("persona.schema.json")
	require.NoError(t, err)
	c := newCard(t)
	require.NoError(t, c.PersonaliseYAML(bytes.Replace(yaml, []byte("  bac: true\n"), []byte("  bac: true\n  defects: [plain-after-sm]\n"), 1), schema))
	s := bac(t, c)
	send(t, c, "00B09E0004", "9000")
	require.Equal(t, []byte{0x69, 0x87}, c.Send(unhex(t, "0CB09E0003970104")))
	s.Skew()
	require.Equal(t, "601C5F0104303130389000", exchange(t, c, s, "00B09E0009"))
}
