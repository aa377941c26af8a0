package piv

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/bundles/eid/pki"
	"github.com/sspemu/sspemu/bundles/sdk"
	"github.com/sspemu/sspemu/bundles/sdk/sdktest"
	"github.com/sspemu/sspemu/internal/apdu"
	"github.com/sspemu/sspemu/internal/tlv"
)

// card is a bundle with nothing but PIV.
type card struct {
	sdk.Applets
	piv *Card
}

func (a *card) Personalise(d *sdk.Doc) error {
	return a.piv.Personalise(d.Get("piv"), d.Get("seed").Text())
}
func (a *card) Init(sdk.Reason) error { return a.piv.Load() }
func (a *card) Signal(s sdk.Signal) {
	if s.Has(sdk.SignalReset) {
		a.Reset()
		a.piv.Forget()
	}
}

var last *Card // the one that newCard made

func newCard(t testing.TB, change ...string) *sdktest.Card {
	c := sdktest.New(t, func() sdk.App {
		a := &card{piv: New()}
		last = a.piv
		a.Register(AID, a.piv)
		return a
	})
	yaml, err := os.ReadFile("../persona.yaml")
	require.NoError(t, err)
	for i := 0; i < len(change); i += 2 {
		require.Contains(t, string(yaml), change[i])
		yaml = bytes.Replace(yaml, []byte(change[i]), []byte(change[i+1]), 1)
	}
	schema, err := os.ReadFile("../persona.schema.json")
	require.NoError(t, err)
	require.NoError(t, c.PersonaliseYAML(yaml, schema))
	require.Regexp(t, "9000$", c.Transmit("00A404000BA000000308000010000100"))
	return c
}

// terminal is the other end of secure messaging.
type terminal struct {
	t *testing.T
	c *sdktest.Card
	s *session
}

func connect(t *testing.T, c *sdktest.Card, alg byte) *terminal {
	s := suiteOf(alg)
	d := s.curve.Scalar(bytes.Repeat([]byte{0x5A}, 80))
	q, err := s.curve.Base(d)
	require.NoError(t, err)
	host := []byte("terminal")
	challenge := append(append([]byte{0}, host...), q.Bytes()...)
	body := tlv.Append(tlv.Append(nil, 0x81, challenge...), 0x82)
	cmd := apdu.Command{INS: 0x87, P1: alg, P2: slotSecure, Data: tlv.Append(nil, 0x7C, body...), Ne: 256}
	answer, sw, _ := apdu.Status(c.Send(cmd.Append(nil)))
	require.Equal(t, apdu.OK, sw)
	v, err := tlv.Path(answer, 0x7C, 0x82)
	require.NoError(t, err)
	require.Zero(t, v[0])
	nonce, cryptogram, cvc := v[1:1+s.nonce], v[1+s.nonce:17+s.nonce], v[17+s.nonce:]

	// The certificate is signed by the one in 5FC122 (of the suite that came last).
	public, err := tlv.Path(cvc, 0x7F21, 0x7F49, 0x86)
	require.NoError(t, err)
	if alg == 0x2E {
		object, sw, _ := apdu.Status(c.Send(unhex("00CB3FFF055C035FC12200")))
		require.Equal(t, apdu.OK, sw)
		raw, err := tlv.Path(object, 0x53, 0x70)
		require.NoError(t, err)
		signer, err := pki.ParseCertificate(raw)
		require.NoError(t, err)
		body, err := tlv.Find(cvc, 0x7F21)
		require.NoError(t, err)
		signed := body[:bytes.Index(body, []byte{0x5F, 0x37})]
		value, err := tlv.Path(body, 0x5F37, 0x30, 0x03)
		require.NoError(t, err)
		require.NoError(t, signer.Key.Verify(signer.Algorithm, signed, value[1:]))
	}
	p, err := s.curve.Parse(public)
	require.NoError(t, err)
	z, err := s.curve.SharedSecret(d, p)
	require.NoError(t, err)
	id := sha256.Sum256(cvc)
	k := s.derive(z, host, q.Bytes(), id[:8], nonce)
	require.Equal(t, confirmation(k.confirm, id[:8], host, q.Bytes()), cryptogram)
	return &terminal{t, c, newSession(k)}
}

func (x *terminal) protect(cmd string) []byte {
	c, err := apdu.Parse(unhex(cmd))
	require.NoError(x.t, err)
	var le []byte
	if c.Ne > 0 {
		le = []byte{0x97, 1, 0}
	}
	p := apdu.Command{CLA: 0x0C, INS: c.INS, P1: c.P1, P2: c.P2, Data: x.s.seal(c.Data, le, x.s.mac, header(c.INS, c.P1, c.P2), &x.s.mcv, 0), Ne: 256}
	return p.Append(nil)
}

func (x *terminal) send(cmd, sw string) []byte {
	x.t.Helper()
	data, outer, _ := apdu.Status(x.c.Send(x.protect(cmd)))
	plain, status, ok := x.s.open(data, x.s.rmac, nil, &x.s.rmcv, 0x80, 0x99)
	require.Equal(x.t, apdu.OK, ok, "%s: %X", cmd, data)
	require.Equal(x.t, sw, hex.EncodeToString(status), cmd)
	require.Equal(x.t, sw, hex.EncodeToString(outer.Append(nil)))
	return plain
}

func unhex(s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil {
		panic(err)
	}
	return b
}

const wantPIN = "0020008008313233343536ffff"

// TestSecureMessaging: both suites, commands of all cases, errors inside.
func TestSecureMessaging(t *testing.T) {
	for _, alg := range []byte{0x27, 0x2E} {
		c := newCard(t)
		x := connect(t, c, alg)
		require.Equal(t, byte(0x53), x.send("00CB3FFF055C035FC10200", "9000")[0])
		x.send("00200080", "63c3")
		x.send("0020008008303030303030ffff", "63c2")
		x.send(wantPIN, "9000")
		x.send("00CB3FFF055C035FC10500", "6a82")
		x.send("00FF000000", "6a86")
		x.send("0020009808"+hex.EncodeToString([]byte("00000000")), "6300")
		x.send("0020009808"+hex.EncodeToString([]byte("44332211")), "9000")
		require.Contains(t, string(x.send("00CB3FFF055C035FC12300", "9000")), "44332211")

		p := x.protect(wantPIN)
		require.Len(t, c.Send(p), 16)
		require.Equal(t, []byte{0x69, 0x88}, c.Send(p), "played again")
		require.Equal(t, []byte{0x69, 0x82}, c.Send(x.protect(wantPIN)), "the session is over")
	}
}

// TestSecureRefused: what is wrong with the exchange, and with protected commands.
func TestSecureRefused(t *testing.T) {
	c := newCard(t)
	require.Equal(t, "6982", c.Transmit("0C2000800A8E080000000000000000"))
	require.Equal(t, "6A80", c.Transmit("00872704047C02810000"))
	require.Equal(t, "6A86", c.Transmit("00871104047C02810000"))
	infinity := tlv.Append(nil, 0x7C, tlv.Append(nil, 0x81, append(make([]byte, 9), append([]byte{4}, make([]byte, 64)...)...)...)...)
	require.Equal(t, "6A80", c.Transmit(fmt.Sprintf("00872704%02X%X00", len(infinity), infinity)))
	good := func() *terminal { return connect(t, c, 0x27) }
	for name, change := range map[string]func(b []byte) []byte{
		"6988": func(b []byte) []byte { b[8] ^= 1; return b },
		"6987": func(b []byte) []byte { b[4] = byte(len(b) - 6 - 10); return append(b[:len(b)-11], 0) },
	} {
		x := good()
		require.Equal(t, name, hex.EncodeToString(c.Send(change(x.protect(wantPIN)))))
		require.Equal(t, []byte{0x69, 0x82}, c.Send(x.protect(wantPIN)))
	}
	off := newCard(t, "  secure_messaging: {suites: [cs2, cs7], pairing_code: \"44332211\"}\n", "")
	require.Equal(t, "6882", off.Transmit("0C2000800A8E080000000000000000"))
	require.Equal(t, "6A86", off.Transmit("00872704047C02810000"))
	require.Equal(t, "6A88", off.Transmit("00200098"))
}

// TestContactless: without contacts only what is for everybody, until the pairing code
// was shown in secure messaging (part 1 tables 2 and 4).
func TestContactless(t *testing.T) {
	c := newCard(t, "  guid:", "  interface: contactless\n  guid:")
	for _, v := range []struct{ cmd, sw string }{
		{"00CB3FFF055C035FC10200", "9000"}, {"00CB3FFF035C017E00", "9000"}, {"00CB3FFF055C035FC12200", "9000"},
		{"00CB3FFF055C035FC10700", "6982"}, {"00CB3FFF055C035FC10500", "6982"},
		{wantPIN, "6982"}, {"0087119A047C02810000", "6982"}, {"0020009808" + hex.EncodeToString([]byte("44332211")), "6982"},
		{"002C0080103132333435363738313233343536FFFF", "6982"},
	} {
		r := c.Transmit(v.cmd)
		require.Equal(t, v.sw, r[len(r)-4:], v.cmd)
	}
	x := connect(t, c, 0x27)
	x.send("00CB3FFF055C035FC10700", "6982")
	x.send("0020009808"+hex.EncodeToString([]byte("44332211")), "9000")
	x.send("00CB3FFF055C035FC10700", "9000")
	x.send(wantPIN, "9000")
	x.send("002C0080103132333435363738313233343536FFFF", "6982")
	require.Equal(t, "6982", c.Transmit("00CB3FFF055C035FC10700"), "not outside")
}

// TestAttestation: the certificate of a key that was made on the card is signed by F9,
// whose certificate is 5FFF01; imported keys have none.
func TestAttestation(t *testing.T) {
	c := newCard(t)
	require.Equal(t, "6A88", c.Transmit("00F99A0000"))
	for _, alg := range []byte{algP256, algP384} {
		last.admin = true
		require.Regexp(t, "9000$", c.Transmit(fmt.Sprintf("0047009A05AC038001%02X00", alg)))
		data, sw, _ := apdu.Status(c.Send(unhex("00F99A0000")))
		require.Equal(t, apdu.OK, sw)
		cert, err := pki.ParseCertificate(data)
		require.NoError(t, err)
		object, _, _ := apdu.Status(c.Send(unhex("00CB3FFF055C035FFF0100")))
		raw, err := tlv.Path(object, 0x53, 0x70)
		require.NoError(t, err)
		above, err := pki.ParseCertificate(raw)
		require.NoError(t, err)
		require.NoError(t, above.Key.Verify(cert.Algorithm, cert.TBS, cert.Signature))
		require.Len(t, cert.Extensions, 6)
	}
}
