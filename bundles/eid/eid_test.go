package eid_test

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/des" //nolint:gosec // the standard's
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"encoding/hex"
	"fmt"
	"math/big"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/bundles/eid"
	"github.com/sspemu/sspemu/bundles/sdk"
	"github.com/sspemu/sspemu/bundles/sdk/sdktest"
	"github.com/sspemu/sspemu/internal/tlv"
)

const (
	selectPIV = "00A404000BA000000308000010000100"
	verify    = "0020008008313233343536FFFF"
	factory   = "010203040506070801020304050607080102030405060708"
)

func newCard(t testing.TB) *sdktest.Card {
	c := sdktest.New(t, func() sdk.App { return eid.New() })
	require.NoError(t, c.PersonaliseFiles("persona.yaml", "persona.schema.json"))
	return c
}

// send expects a status word and gives the data.
func send(t testing.TB, c *sdktest.Card, command, sw string) []byte {
	t.Helper()
	r := c.Transmit(strings.ReplaceAll(command, " ", ""))
	require.True(t, strings.HasSuffix(r, sw), "%s: %s, not %s", command, r, sw)
	return unhex(t, strings.TrimSuffix(r, sw))
}

func unhex(t testing.TB, s string) []byte {
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	require.NoError(t, err)
	return b
}

// command is an APDU with data of any length.
func command(head string, data []byte) string {
	if len(data) > 255 {
		return fmt.Sprintf("%s00%04X%X0000", head, len(data), data)
	}
	return fmt.Sprintf("%s%02X%X00", head, len(data), data)
}

// administrate authenticates with the management key: the card's challenge.
func administrate(t testing.TB, c *sdktest.Card, k cipher.Block, alg string) {
	t.Helper()
	b := send(t, c, "0087"+alg+"9B047C02810000", "9000")
	response := make([]byte, k.BlockSize())
	k.Encrypt(response, b[4:])
	send(t, c, command("0087"+alg+"9B", tlv.Append(nil, 0x7C, tlv.Append(nil, 0x82, response...)...)), "9000")
}

func factoryKey(t testing.TB) cipher.Block {
	k, err := des.NewTripleDESCipher(unhex(t, factory))
	require.NoError(t, err)
	return k
}

// ready is a card with an administrator and a verified PIN.
func ready(t testing.TB) *sdktest.Card {
	c := newCard(t)
	send(t, c, selectPIV, "9000")
	administrate(t, c, factoryKey(t), "03")
	send(t, c, verify, "9000")
	return c
}

// template is 7C of GENERAL AUTHENTICATE with an empty response asked for.
func template(tag tlv.Tag, v []byte) []byte {
	return tlv.Append(nil, 0x7C, tlv.Append(append([]byte{}, 0x82, 0x00), tag, v...)...)
}

func response(t testing.TB, b []byte) []byte {
	v, err := tlv.Path(b, 0x7C, 0x82)
	require.NoError(t, err)
	return v
}

// TestKeys: what the card makes and signs with, somebody else verifies.
func TestKeys(t *testing.T) {
	hash := []byte(strings.Repeat("h", 32))
	for _, alg := range []string{"06", "07"} {
		c := ready(t)
		public := send(t, c, "0047009A05AC038001"+alg+"00", "9000")
		n, err := tlv.Path(public, 0x7F49, 0x81)
		require.NoError(t, err)
		block := append([]byte{0x00, 0x01}, make([]byte, len(n)-2)...)
		s := response(t, send(t, c, command("0087"+alg+"9A", template(0x81, block)), "9000"))
		got := new(big.Int).Exp(new(big.Int).SetBytes(s), big.NewInt(65537), new(big.Int).SetBytes(n))
		require.Zero(t, got.Cmp(new(big.Int).SetBytes(block)))
		send(t, c, command("0087"+alg+"9A", template(0x81, block[1:])), "6A80")
	}
	for alg, curve := range map[string]elliptic.Curve{"11": elliptic.P256(), "14": elliptic.P384()} {
		c := ready(t)
		point, err := tlv.Path(send(t, c, "0047009D05AC038001"+alg+"00", "9000"), 0x7F49, 0x86)
		require.NoError(t, err)
		pub, err := ecdsa.ParseUncompressedPublicKey(curve, point)
		require.NoError(t, err)
		s := response(t, send(t, c, command("0087"+alg+"9D", template(0x81, hash)), "9000"))
		require.True(t, ecdsa.VerifyASN1(pub, hash, s))
		peer, err := map[string]ecdh.Curve{"11": ecdh.P256(), "14": ecdh.P384()}[alg].GenerateKey(nil)
		require.NoError(t, err)
		own, err := pub.ECDH()
		require.NoError(t, err)
		want, err := peer.ECDH(own)
		require.NoError(t, err)
		require.Equal(t, want, response(t, send(t, c, command("0087"+alg+"9D", template(0x85, peer.PublicKey().Bytes())), "9000")))
		send(t, c, command("0087"+alg+"9D", template(0x85, make([]byte, 65))), "6A80")
	}
	c := ready(t)
	point, err := tlv.Path(send(t, c, "0047008205AC038001E000", "9000"), 0x7F49, 0x86)
	require.NoError(t, err)
	require.True(t, ed25519.Verify(point, hash, response(t, send(t, c, command("0087E082", template(0x81, hash)), "9000"))))
}

// TestImport: RFC 8032 7.1 test 2 and RFC 7748 6.1 as known answers for imported keys.
func TestImport(t *testing.T) {
	c := ready(t)
	send(t, c, command("00FEE082", tlv.Append(nil, 0x07, unhex(t, "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb")...)), "9000")
	s := response(t, send(t, c, command("0087E082", template(0x81, []byte{0x72})), "9000"))
	require.Equal(t, "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00", hex.EncodeToString(s))
	send(t, c, command("00FEE183", tlv.Append(nil, 0x08, unhex(t, "77076d0a7318a57d3c16c17251b26645d4c3f39ac0d9e6b9a3e8d7fa5f8e1c10")...)), "9000")
	send(t, c, command("00FEE183", tlv.Append(nil, 0x08, unhex(t, "77076d0a7318a57d3c16c17251b26645df4c62f5c5e8a2f6bb3c3c0b1ef0fcd8")...)), "9000")
	for _, bad := range []string{"00FE07820401010201", "00FE0682 02 0100", "00FE1182 03 060100", "00FE9982 03 060101"} {
		r := c.Transmit(strings.ReplaceAll(bad, " ", ""))
		require.Contains(t, []string{"6A80", "6A86", "6700"}, r, bad)
	}
}

// TestPolicies: when a key needs the PIN (SP 800-73-4 part 1 table 4).
func TestPolicies(t *testing.T) {
	c := newCard(t)
	send(t, c, selectPIV, "9000")
	administrate(t, c, factoryKey(t), "03")
	for _, slot := range []string{"9A", "9C", "9D", "9E"} {
		send(t, c, "004700"+slot+"05AC0380011100", "9000")
	}
	use := func(slot, sw string) {
		t.Helper()
		send(t, c, command("008711"+slot, template(0x81, make([]byte, 32))), sw)
	}
	use("9E", "9000") // never
	use("9A", "6982")
	use("9C", "6982")
	send(t, c, verify, "9000")
	use("9A", "9000") // once
	use("9A", "9000")
	use("9C", "9000") // always
	use("9C", "6982")
	use("9D", "9000")
	c.Reset()
	send(t, c, selectPIV, "9000")
	use("9A", "6982")
	send(t, c, command("0087149A", template(0x81, make([]byte, 32))), "6A86") // another algorithm
	send(t, c, command("00871182", template(0x81, make([]byte, 32))), "6A88") // no key
}

// TestPINs: tries, PUK, and what a power cut leaves.
func TestPINs(t *testing.T) {
	c := newCard(t)
	send(t, c, selectPIV, "9000")
	send(t, c, "00200080", "63C3")
	send(t, c, "0020008008313233343500FFFF", "6A80") // malformed costs no try
	send(t, c, "0020008006313233343536", "6A80")
	send(t, c, "0020000008313233343536FFFF", "6A88")
	send(t, c, "0020008008303030303030FFFF", "63C2")
	c.CutPowerDuring(unhex(t, "0020008008303030303030FFFF"))
	send(t, c, selectPIV, "9000")
	send(t, c, "00200080", "63C1")
	send(t, c, verify, "9000")
	send(t, c, "00200080", "9000")
	send(t, c, "0020FF80", "9000")
	send(t, c, "00200080", "63C3")
	send(t, c, "0024008010313233343536FFFF363534333231FFFF", "9000")
	send(t, c, verify, "63C2")
	for _, sw := range []string{"63C1", "63C0", "6983", "6983"} {
		send(t, c, verify, sw)
	}
	send(t, c, "002C0080103030303030303030313233343536FFFF", "63C2")
	send(t, c, "002C0080103132333435363738313233343536FFFF", "9000")
	send(t, c, verify, "9000")
	send(t, c, "00FB0000", "6985") // not blocked
}

// TestObjects: GET DATA and PUT DATA, and who may.
func TestObjects(t *testing.T) {
	c := newCard(t)
	send(t, c, selectPIV, "9000")
	send(t, c, "00CB3FFF055C035FC10500", "6A82")
	send(t, c, "00CB3FFF055C035FC10900", "6982")
	send(t, c, "00CB3FFF035C017E00", "9000")
	send(t, c, "00CB3FFE055C035FC10500", "6A86")
	send(t, c, "00CB3FFF055D035FC10500", "6A80")
	put := command("00DB3FFF", append(unhex(t, "5C035FC105"), tlv.Append(nil, 0x53, make([]byte, 2000)...)...))
	send(t, c, put, "6982")
	administrate(t, c, factoryKey(t), "03")
	send(t, c, put, "9000")
	require.Len(t, send(t, c, "00CB3FFF0000055C035FC1050000", "9000"), 2004)
	send(t, c, "00DB3FFF085C035FC105530200FF", "6A80") // 53 is longer than Lc
	send(t, c, "00DB3FFF075C035FC1055300", "9000")
	send(t, c, "00CB3FFF055C035FC10500", "6A82")
	send(t, c, "00DB3FFF075C035FAA055300", "6A80")
	c.Quota(3000)
	send(t, c, command("00DB3FFF", append(unhex(t, "5C035FC106"), tlv.Append(nil, 0x53, make([]byte, 2900)...)...)), "6A84")
}

// TestAdministrator: both ways of SP 800-73-4 part 2 appendix A.1, and what does not go.
func TestAdministrator(t *testing.T) {
	c := newCard(t)
	send(t, c, selectPIV, "9000")
	k := factoryKey(t)
	generate := "0047009A05AC0380011100"
	send(t, c, generate, "6982")
	send(t, c, "0087039B0C7C0A82080000000000000000", "6985") // nothing was asked
	b := send(t, c, "0087039B047C02810000", "9000")
	send(t, c, "0087039B0C7C0A82080000000000000000", "6982")
	response1 := make([]byte, 8)
	k.Encrypt(response1, b[4:])
	send(t, c, command("0087039B", tlv.Append(nil, 0x7C, tlv.Append(nil, 0x82, response1...)...)), "6985") // the challenge is gone
	send(t, c, generate, "6982")

	b = send(t, c, "0087039B047C02800000", "9000") // mutual: a witness
	witness, challenge := make([]byte, 8), []byte("terminal")
	k.Decrypt(witness, b[4:])
	b = send(t, c, command("0087039B", tlv.Append(nil, 0x7C, tlv.Append(tlv.Append(nil, 0x80, witness...), 0x81, challenge...)...)), "9000")
	want := make([]byte, 8)
	k.Encrypt(want, challenge)
	require.Equal(t, want, response(t, b))
	send(t, c, generate, "9000")

	// Another key: AES with 256 bits.
	secret := []byte("0123456789abcdef0123456789abcdef")
	send(t, c, command("00FFFFFF", append([]byte{0x0C, 0x9B, 32}, secret...))[:len("00FFFFFF23")+70], "9000")
	send(t, c, selectPIV, "9000")
	send(t, c, "0087039B047C02810000", "6A86")
	a, err := aes.NewCipher(secret)
	require.NoError(t, err)
	administrate(t, c, a, "0C")
	send(t, c, generate, "9000")
}

// TestNoSecrets: no answer holds a private key or a PIN, whatever is asked.
func TestNoSecrets(t *testing.T) {
	c := ready(t)
	send(t, c, "0047009A05AC0380011100", "9000")
	var secret []byte
	for name, v := range c.NVM() {
		if name == "k/9a" {
			secret = v[4:]
		}
	}
	require.Len(t, secret, 32)
	for ins := range 256 {
		for _, tail := range []string{"009A", "3FFF055C036B2F3900", "009B", "0080"} {
			r := c.Transmit(fmt.Sprintf("00%02X%s", ins, tail))
			require.NotContains(t, r, strings.ToUpper(hex.EncodeToString(secret)))
		}
	}
	for _, l := range c.Logs {
		require.NotContains(t, l, hex.EncodeToString(secret))
	}
}

func FuzzAPDU(f *testing.F) {
	for _, s := range []string{selectPIV, verify, "0047009A05AC0380011100", "0087039B047C02810000", "00CB3FFF055C035FC10200", "00DB3FFF085C035FC1055301AA", "00FE0682050100020100", "00F7009A"} {
		f.Add(unhex(f, s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 3 && b[1] == 0x47 {
			return // makes a key, which takes its time
		}
		if r := ready(t).Send(b); len(r) < 2 {
			t.Fatalf("%X: %X", b, r)
		}
	})
}
