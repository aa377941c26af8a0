package iot

import (
	"bufio"
	"bytes"
	"crypto"
	"crypto/rsa"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/bundles/iot/iotsafe"
	"github.com/sspemu/sspemu/bundles/iot/profile"
	"github.com/sspemu/sspemu/bundles/sdk"
	"github.com/sspemu/sspemu/bundles/sdk/sdktest"
	"github.com/sspemu/sspemu/internal/apdu"
	"github.com/sspemu/sspemu/internal/rsakey"
	"github.com/sspemu/sspemu/internal/tlv"
)

const (
	signInit = "802A00010D" + "840101A101039102000192010400"
	hash32   = "000102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F"
	goodSign = "802B800122" + "9E20" + hash32 + "00"
)

// TestStatusWords: what is wrong with a command, and the exact answer.
func TestStatusWords(t *testing.T) {
	init := func(parts ...string) string { return command(iotsafe.ComputeSignatureInit, 0, 1, parts...) }
	for _, c := range []struct {
		name     string
		commands []string // only the last one's answer counts
		want     string
	}{
		// Classes, instructions, parameters.
		{"class 84", []string{"84CB000000"}, "6E00"},
		{"class 90", []string{"90CB000000"}, "6E00"},
		{"class 0C", []string{"0CCB000000"}, "6E00"},
		{"instruction", []string{"80CA000000"}, "6D00"},
		{"closed channel", []string{"82CB000000"}, "6881"},
		{"interindustry class", []string{"0084000008"}, "<8>9000"},
		{"GET DATA P1", []string{"80CB020000"}, "6A86"},
		{"GET DATA P2 of the applet", []string{"80CB000100"}, "6A86"},
		{"GET DATA P2 of an object", []string{"80CBC1010384010100"}, "6A86"},
		{"GET DATA next without a list", []string{"80CB010100"}, "6985"},
		{"GET DATA next after something else", []string{"80CB010000", "80CB000000", "80CB010100"}, "6985"},
		{"GET DATA applet with data", []string{"80CB000001AA00"}, "6700"},
		{"GET DATA object without data", []string{"80CBC10000"}, "6700"},
		{"GET RANDOM P1", []string{"8084010008"}, "6A86"},
		{"GET RANDOM without Le", []string{"80840000"}, "6700"},
		{"GET RANDOM with data", []string{"808400000100"}, "6700"},
		{"GET RANDOM 256", []string{"8084000000"}, "<256>9000"},
		{"GET RANDOM 257", []string{"80840000000101"}, "6700"},
		{"READ PUBLIC KEY P1", []string{"80CD01000385010100"}, "6A86"},
		{"GENERATE KEY PAIR P2", []string{"80B900010384010400"}, "6A86"},
		{"COMPUTE DH P1", []string{"804601000684010485010500"}, "6A86"},
		{"COMPUTE PRF P1", []string{command(iotsafe.ComputePRF, 3, 0, tv(0xD1, "00"), tv(0xD2, "00"), tv(0xD3, "01"))}, "6A86"},
		{"COMPUTE HKDF P2", []string{command(iotsafe.ComputeHKDF, 0, 1, tv(0xD1, "00"), tv(0x91, "0001"))}, "6A86"},
		{"INIT P1", []string{"802A02010D" + signInit[10:]}, "6A86"},
		{"UPDATE P1", []string{signInit, "802B010122" + goodSign[10:]}, "6A86"},

		// References.
		{"no such private key", []string{"80B900000384019900"}, "6A82"},
		{"no such label", []string{"80B900000574036162" + "6300"}, "6A82"},
		{"no such file", []string{"80B00000038301FF00"}, "6A82"},
		{"no such public key", []string{"80CD00000385019900"}, "6A82"},
		{"no such secret", []string{command(iotsafe.ComputeHKDF, 0, 0, tv(0x86, "42"), tv(0x91, "0001"))}, "6A82"},
		{"empty identifier", []string{"80CD000002850000"}, "6A80"},
		{"identifier too long", []string{command(iotsafe.ReadPublicKey, 0, 0, tv(0x85, strings.Repeat("01", 21)))}, "6A80"},
		{"label too long", []string{command(iotsafe.ReadPublicKey, 0, 0, tv(0x75, strings.Repeat("41", 61)))}, "6A80"},
		{"identifier and label", []string{command(iotsafe.ReadPublicKey, 0, 0, tv(0x85, "05"), tv(0x75, upper([]byte("peer"))))}, "6A80"},
		{"wrong kind of object", []string{"80CD00000384010100"}, "6A80"},
		{"twice", []string{"80CD0000068501018501010000"[:24]}, "6A80"},
		{"not TLV", []string{"80CD0000028505" + "00"}, "6A80"},
		{"cut off", []string{"80CD000003850201" + "00"}, "6A80"},
		{"no data", []string{"80CD000000"}, "6700"},

		// States and access conditions.
		{"sign with an empty container", []string{init(tv(0x84, "51"), "A10103"+"91020001"+"920104")}, "6985"},
		{"read an empty container", []string{"80CD00000385010400"}, "6985"},
		{"read an empty file", []string{"80B00000038301" + "5200"}, "6985"},
		{"DH with an empty container", []string{"804600000684010485010500"}, "6985"},
		{"generate without update access", []string{"80B900000384010100"}, "6985"},
		{"put a key without update access", []string{command(iotsafe.PutPublicKeyInit, 0, 1, tv(0x85, "07"))}, "6985"},
		{"beyond the end of a file", []string{"80B0FFFF0383010200"}, "6A86"},

		// What an object cannot do.
		{"DH with a signature key", []string{command(iotsafe.ComputeDH, 0, 0, tv(0x84, "01"), tv(0x85, "05"))}, "6981"},
		{"DH with RSA", []string{command(iotsafe.ComputeDH, 0, 0, tv(0x84, "31"), tv(0x85, "31"))}, "6981"},
		{"DH on two curves", []string{command(iotsafe.ComputeDH, 0, 0, tv(0x84, "04"), tv(0x85, "08"))}, "6981"},
		{"RSA signature with a curve", []string{init(tv(0x84, "01"), "A10103 91020001 920101")}, "6981"},
		{"ECDSA with RSA", []string{init(tv(0x84, "31"), "A10103"+"91020001"+"920104")}, "6981"},
		{"sign with a key for DH", []string{init(tv(0x84, "04"), "A10103"+"91020001"+"920104")}, "6981"},

		// Parameters of signatures.
		{"unknown mode", []string{init(tv(0x84, "01"), "A10104 91020001 920104")}, "6A80"},
		{"no mode", []string{init(tv(0x84, "01"), "91020001 920104")}, "6A80"},
		{"unknown hash", []string{init(tv(0x84, "01"), "A10103 91020008 920104")}, "6A80"},
		{"two hashes", []string{init(tv(0x84, "01"), "A10103 91020003 920104")}, "6A80"},
		{"hash of one byte", []string{init(tv(0x84, "01"), "A10103 910101 920104")}, "6A80"},
		{"hash with a high byte", []string{init(tv(0x84, "01"), "A10103 91020101 920104")}, "6A80"},
		{"unknown signature", []string{init(tv(0x84, "01"), "A10103 91020001 920108")}, "6A80"},
		{"another tag", []string{init(tv(0x84, "01"), "A10103 91020001 920104 930100")}, "6A80"},

		// Sessions.
		{"UPDATE without INIT", []string{goodSign}, "6985"},
		{"verify UPDATE without INIT", []string{"802D800122" + goodSign[10:]}, "6985"},
		{"put UPDATE without INIT", []string{"80D8800103340100"}, "6985"},
		{"UPDATE of another operation", []string{signInit, "802D800122" + goodSign[10:]}, "6985"},
		{"UPDATE of another number", []string{signInit, "802B800222" + goodSign[10:]}, "6985"},
		{"INIT of an open session", []string{signInit, signInit}, "6985"},
		{"INIT of an open session for something else", []string{signInit, command(iotsafe.PutPublicKeyInit, 0, 1, tv(0x85, "05"))}, "6985"},
		{"close what is not open", []string{"802A0101"}, "6985"},
		{"close as another operation", []string{signInit, "802C0101"}, "6985"},
		{"close with data", []string{signInit, "802A010101AA"}, "6700"},
		{"UPDATE after the last", []string{signInit, goodSign, goodSign}, "6985"},
		{"INIT after the last", []string{signInit, goodSign, signInit}, "9000"},
		{"close, INIT", []string{signInit, "802A0101", signInit}, "9000"},
		{"UPDATE without data", []string{signInit, "802B800100"}, "6700"},
		{"exhausted", []string{at(signInit, 1), at(signInit, 2), at(signInit, 3), at(signInit, 4), at(signInit, 5)}, "6989"},
		{"exhausted for others", []string{at(signInit, 1), at(signInit, 2), at(signInit, 3), at(signInit, 4), command(iotsafe.PutPublicKeyInit, 0, 9, tv(0x85, "05"))}, "6989"},
		{"not exhausted any more", []string{at(signInit, 1), at(signInit, 2), at(signInit, 3), at(signInit, 4), "802A0103", at(signInit, 5)}, "9000"},
		{"selection closes", []string{signInit, selectApplet, goodSign}, "6985"},

		// Data of UPDATE.
		{"digest too short", []string{signInit, "802B800121" + "9E1F" + hash32[:62] + "00"}, "6A80"},
		{"digest too long", []string{signInit, command(iotsafe.ComputeSignatureUpdate, 0x80, 1, tv(0x9E, strings.Repeat("00", 65)))}, "6A80"},
		{"text in the wrong mode", []string{signInit, command(iotsafe.ComputeSignatureUpdate, 0x80, 1, tv(0x9B, hash32))}, "6A80"},
		{"digest twice", []string{signInit, command(iotsafe.ComputeSignatureUpdate, 0x80, 1, tv(0x9E, hash32), tv(0x9E, hash32))}, "6A80"},
		{"cut off at the end", []string{signInit, "802B800103" + "9E2000" + "00"}, "6A80"},
		{"a length of five bytes", []string{signInit, "802B800106" + "9E8400000001" + "00"}, "6A80"},
		{"afterwards the session is done", []string{signInit, "802B800103" + "9E2000" + "00", goodSign}, "6985"},
		{"a signature where it is computed", []string{signInit, command(iotsafe.ComputeSignatureUpdate, 0x80, 1, tv(0x33, hash32))}, "6A80"},
		{"hashed bytes that are no block", []string{init(tv(0x84, "01"), "A10102"+"91020001"+"920104"), command(iotsafe.ComputeSignatureUpdate, 0x80, 1, tv(0x9A, "00"), tv(0x9C, hash32), tv(0x9D, "0000003F"))}, "6A80"},
		{"no intermediate hash", []string{init(tv(0x84, "01"), "A10102"+"91020001"+"920104"), command(iotsafe.ComputeSignatureUpdate, 0x80, 1, tv(0x9A, "00"), tv(0x9D, "00000040"))}, "6A80"},
		{"block longer than one", []string{init(tv(0x84, "01"), "A10102"+"91020001"+"920104"), command(iotsafe.ComputeSignatureUpdate, 0x80, 1, tv(0x9A, strings.Repeat("00", 65)))}, "6A80"},
		{"verify without signature", []string{command(iotsafe.VerifySignatureInit, 0, 1, tv(0x85, "07"), "A10103"+"91020001"+"920104"), command(iotsafe.VerifySignatureUpdate, 0x80, 1, tv(0x9E, hash32))}, "6A80"},
		{"verify, signature too short", []string{command(iotsafe.VerifySignatureInit, 0, 1, tv(0x85, "07"), "A10103"+"91020001"+"920104"), command(iotsafe.VerifySignatureUpdate, 0x80, 1, tv(0x9E, hash32), tv(0x33, hash32))}, "6A80"},
		{"verify, signature of zeros", []string{command(iotsafe.VerifySignatureInit, 0, 1, tv(0x85, "07"), "A10103"+"91020001"+"920104"), command(iotsafe.VerifySignatureUpdate, 0x80, 1, tv(0x9E, hash32), tv(0x33, strings.Repeat("00", 64)))}, "6D01"},

		// Derivation.
		{"PRF without length", []string{command(iotsafe.ComputePRF, 0, 0, tv(0xD1, "00"), tv(0xD2, "00"))}, "6A80"},
		{"PRF of no length", []string{command(iotsafe.ComputePRF, 0, 0, tv(0xD1, "00"), tv(0xD2, "00"), tv(0xD3, "00"))}, "6A80"},
		{"PRF, two secrets", []string{command(iotsafe.ComputePRF, 0, 0, tv(0xD1, "00"), tv(0x86, "41"), tv(0xD2, "00"), tv(0xD3, "10"))}, "6A80"},
		{"PRF, no secret", []string{command(iotsafe.ComputePRF, 1, 0, tv(0xD2, "00"), tv(0xD3, "10"))}, "6A80"},
		{"PRF, no result of ECDH", []string{command(iotsafe.ComputePRF, 2, 0, tv(0x86, "41"), tv(0xD2, "00"), tv(0xD3, "10"))}, "6A80"},
		{"HKDF, unknown hash", []string{command(iotsafe.ComputeHKDF, 0, 0, tv(0xD1, "00"), tv(0x91, "0010"))}, "6A80"},
		{"HKDF, no secret", []string{command(iotsafe.ComputeHKDF, 0, 0, tv(0xD5, "00"), tv(0x91, "0001"))}, "6A80"},
		{"HKDF, two secrets", []string{command(iotsafe.ComputeHKDF, 0, 0, tv(0xD1, "00"), tv(0x86, "41"), tv(0x91, "0001"))}, "6A80"},
	} {
		card := newCard(t)
		var got string
		for _, x := range c.commands {
			got = card.Transmit(x)
		}
		if n := 0; strings.HasPrefix(c.want, "<") {
			_, err := fmt.Sscanf(c.want, "<%d>9000", &n)
			require.NoError(t, err)
			require.Len(t, got, 2*n+4, c.name)
			continue
		}
		require.Equal(t, c.want, got, "%s: %s", c.name, c.commands)
	}
}

// at is an INIT command for another session.
func at(init string, session int) string { return init[:6] + fmt.Sprintf("%02X", session) + init[8:] }

// TestPoints: what is no point of the curve is refused, and what was there stays.
func TestPoints(t *testing.T) {
	card := newCard(t)
	p := profileOf(t)
	k, err := p.AuthorityKey(&p.Authorities[0])
	require.NoError(t, err)
	point, err := k.PublicKey.Bytes()
	require.NoError(t, err)
	require.Equal(t, "9000", putKey(t, card, "05", upper(point)))
	before := must(t, card, "80CD00000385010500")
	off := bytes.Clone(point)
	off[64] ^= 1
	order, zero := strings.Repeat("FF", 32), strings.Repeat("00", 32)
	for name, bad := range map[string]string{
		"not on the curve":    upper(off),
		"infinity":            "00",
		"the origin":          "04" + zero + zero,
		"coordinates above p": "04" + order + order,
		"compressed":          "02" + upper(point[1:33]),
		"too short":           upper(point[:64]),
		"too long":            upper(point) + "00",
		"another curve":       "04" + strings.Repeat("00", 96),
		"nothing":             "",
		"04 and nothing":      "04",
	} {
		require.Equal(t, "6A80", putKey(t, card, "05", bad), name)
		require.Equal(t, before, must(t, card, "80CD00000385010500"), name)
	}
}

// TestFormsOfUpdate: an object may come in several commands, or in several objects, and
// the length of a signature as clients write it.
func TestFormsOfUpdate(t *testing.T) {
	card := newCard(t)
	text := strings.Repeat(hash32, 20) // 640 bytes
	want := sign(t, card, "01", iotsafe.FullText, iotsafe.SHA256, iotsafe.ECDSA, "9B820280"+text)
	var parts string
	for i := 0; i < len(text); i += 200 {
		parts += tv(0x9B, text[i:min(i+200, len(text))])
	}
	require.Equal(t, want, sign(t, card, "01", iotsafe.FullText, iotsafe.SHA256, iotsafe.ECDSA, parts))
	for _, length := range []string{"40", "8140", "820040", "0040"} {
		must(t, card, command(iotsafe.VerifySignatureInit, 0, 1, tv(0x85, "01"), "A10101"+"91020001"+"920104"))
		require.Equal(t, "9000", long(card, iotsafe.VerifySignatureUpdate, 1, parts+"33"+length+want), length)
		must(t, card, "802C0101")
	}
}

// TestSignatureLength: the persona chooses how the length of a signature is written.
func TestSignatureLength(t *testing.T) {
	for replace, want := range map[string][2]string{"sessions: 4": {"3340", "33820100"}, "sessions: 4\nsignature_length: two-bytes": {"330040", "330100"}} {
		card := newCard(t, "sessions: 4", replace)
		must(t, card, signInit)
		require.True(t, strings.HasPrefix(must(t, card, goodSign), want[0]))
		must(t, card, command(iotsafe.ComputeSignatureInit, 0, 2, tv(0x84, "31"), "A10103 91020001 920101"))
		require.True(t, strings.HasPrefix(must(t, card, at(goodSign, 2)), want[1]))
	}
}

// TestRSA: signatures with PKCS#1 v1.5 and PSS are those that the standard library
// takes, and the applet verifies them.
func TestRSA(t *testing.T) {
	card := newCard(t)
	pub, err := profile.ParsePublic(iotsafe.RSA2048, tlvValue(t, unhex(t, must(t, card, "80CD00000385013100"))))
	require.NoError(t, err)
	key := pub.(*rsa.PublicKey)
	for hash, h := range map[byte]crypto.Hash{iotsafe.SHA256: crypto.SHA256, iotsafe.SHA384: crypto.SHA384, iotsafe.SHA512: crypto.SHA512} {
		digest := bytes.Repeat([]byte{0xA5}, h.Size())
		data := tv(0x9E, upper(digest))
		sig := sign(t, card, "31", iotsafe.PadAndSign, hash, iotsafe.RSAPKCS1, data)
		require.NoError(t, rsa.VerifyPKCS1v15(key, h, digest, unhex(t, sig)))
		other := sign(t, card, "31", iotsafe.PadAndSign, hash, iotsafe.RSAPSS, data)
		require.NoError(t, rsa.VerifyPSS(key, h, digest, unhex(t, other), &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}))
		require.NotEqual(t, other, sign(t, card, "31", iotsafe.PadAndSign, hash, iotsafe.RSAPSS, data), "salt")
		for alg, s := range map[string]string{"01": sig, "02": other} {
			for _, change := range []byte{0, 1} {
				b := unhex(t, s)
				b[255] ^= change
				must(t, card, command(iotsafe.VerifySignatureInit, 0, 1, tv(0x85, "31"), "A10103", tv(0x91, fmt.Sprintf("00%02X", hash)), "9201"+alg))
				require.Equal(t, map[byte]string{0: "9000", 1: "6D01"}[change], long(card, iotsafe.VerifySignatureUpdate, 1, data+"33820100"+upper(b)))
				must(t, card, "802C0101")
			}
		}
	}
}

func tlvValue(t testing.TB, b []byte) []byte {
	_, v, rest, err := tlv.Next(b)
	require.NoError(t, err)
	require.Empty(t, rest)
	return v
}

// TestObjectList: all parts together are every object once, and each part holds whole
// ones and fits in a short answer.
func TestObjectList(t *testing.T) {
	p := profileOf(t)
	for _, le := range []string{"00", "80", "20"} {
		card := newCard(t)
		r := card.Transmit("80CB0100" + le)
		var list []byte
		for strings.HasSuffix(r, "6300") {
			list = append(list, unhex(t, strings.TrimSuffix(r, "6300"))...)
			r = card.Transmit("80CB0101" + le)
		}
		require.True(t, strings.HasSuffix(r, "9000"))
		list = append(list, unhex(t, strings.TrimSuffix(r, "9000"))...)
		n := 0
		for r := tlv.Read(list); r.Next(); n++ {
			o := p.Containers[n]
			require.Equal(t, tlv.Tag(o.Kind.InfoTag()), r.Tag)
			id, err := tlv.Find(r.Value, tlv.Tag(o.Kind.IDTag()))
			require.NoError(t, err)
			require.Equal(t, o.ID, id)
			single := must(t, card, command(iotsafe.GetData, o.Kind.InfoTag(), 0, tv(o.Kind.LabelTag(), upper(o.Label))))
			require.Equal(t, upper(tlv.Append(nil, r.Tag, r.Value...)), single)
		}
		require.Equal(t, len(p.Containers), n)
	}
}

// TestApplication: 68 bytes, in the order that clients expect.
func TestApplication(t *testing.T) {
	b := unhex(t, must(t, newCard(t), "80CB000000"))
	require.Len(t, b, 0x44)
	var tags string
	for r := tlv.Read(b); r.Next(); {
		tags += fmt.Sprintf("%02X ", uint32(r.Tag))
	}
	require.Equal(t, "10 11 B1 B2 B3 B4 90 91 92 93 94 B7 ", tags)
}

// TestCertificates: the files of the default persona are the identities of three clouds,
// for the keys of the card, and verify under their trust anchors.
func TestCertificates(t *testing.T) {
	card := newCard(t)
	for _, c := range []struct{ key, cert, ca, name string }{
		{"01", "02", "03", "device-0001.cloud-a.example"}, {"11", "12", "13", "device-0001.cloud-b.example"},
		{"21", "22", "23", "device-0001.private.example"}, {"31", "32", "23", "localhost"},
	} {
		roots := x509.NewCertPool()
		roots.AddCert(certificate(t, card, c.ca))
		cert := certificate(t, card, c.cert)
		_, err := cert.Verify(x509.VerifyOptions{Roots: roots, DNSName: c.name, CurrentTime: time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
		require.NoError(t, err)
		pub := tlvValue(t, unhex(t, must(t, card, command(iotsafe.ReadPublicKey, 0, 0, tv(0x85, c.key)))))
		require.Equal(t, profile.EncodePublic(cert.PublicKey), pub)
	}
	first := card.NVM()
	require.Equal(t, first, newCard(t).NVM(), "the same persona is the same card")
	require.NotEqual(t, first, newCard(t, "device 1", "device 2").NVM())
}

func certificate(t testing.TB, card *sdktest.Card, id string) *x509.Certificate {
	x, err := x509.ParseCertificate(file(t, card, id))
	require.NoError(t, err)
	return x
}

// file reads a whole file in short answers.
func file(t testing.TB, card *sdktest.Card, id string) []byte {
	var b []byte
	for {
		part := unhex(t, must(t, card, fmt.Sprintf("80B0%04X038301%s40", len(b), id)))
		if len(part) == 0 {
			return b
		}
		b = append(b, part...)
	}
}

// TestGenerate: a new pair replaces the old one in both containers, survives a power
// cycle, and is not there after a power cut before the answer. A volatile one is lost.
func TestGenerate(t *testing.T) {
	card := newCard(t)
	generate := "80B900000384015100"
	require.Equal(t, "6985", card.Transmit("80CD00000385015100"))
	card.CutPowerDuring(unhex(t, generate))
	must(t, card, selectApplet)
	require.Equal(t, "6985", card.Transmit("80CD00000385015100"), "nothing was stored")
	first := must(t, card, generate)
	require.True(t, strings.HasPrefix(first, "840151850151344549438641"+"04"))
	pub := func() string { return must(t, card, "80CD00000385015100") }
	require.Equal(t, first[12:], pub())
	sig := sign(t, card, "51", iotsafe.PadAndSign, iotsafe.SHA256, iotsafe.ECDSA, tv(0x9E, hash32))

	card.CutPowerDuring(unhex(t, generate))
	must(t, card, selectApplet)
	require.Equal(t, first[12:], pub(), "the old pair")
	require.Equal(t, sig, sign(t, card, "51", iotsafe.PadAndSign, iotsafe.SHA256, iotsafe.ECDSA, tv(0x9E, hash32)))
	second := must(t, card, generate)
	require.NotEqual(t, first, second)
	card.PowerOn()
	must(t, card, selectApplet)
	require.Equal(t, second[12:], pub())

	volatile := must(t, card, "80B900000384010400")
	require.Equal(t, volatile[12:], must(t, card, "80CD00000385010400"))
	require.Contains(t, must(t, card, command(iotsafe.GetData, iotsafe.InfoPrivateKey, 0, tv(0x84, "04"))), "4A0101")
	for k := range card.NVM() {
		require.NotEqual(t, objectName(profileOf(t).Find(profile.Private, []byte{4})), k)
	}
	card.Reset()
	must(t, card, selectApplet)
	require.Equal(t, "6985", card.Transmit("80CD00000385010400"))
	require.Contains(t, must(t, card, command(iotsafe.GetData, iotsafe.InfoPrivateKey, 0, tv(0x84, "04"))), "4A0100")
}

// TestGenerateEndsSessions: a session with a key that changes is done.
func TestGenerateEndsSessions(t *testing.T) {
	card := newCard(t)
	must(t, card, "80B900000384015100")
	must(t, card, command(iotsafe.ComputeSignatureInit, 0, 1, tv(0x84, "51"), "A10103"+"91020001"+"920104"))
	must(t, card, "80B900000384015100")
	require.Equal(t, "6985", card.Transmit(goodSign))
}

// TestMemoryFull: 6A84, and the old pair is there.
func TestMemoryFull(t *testing.T) {
	card := newCard(t)
	must(t, card, "80B900000384015100")
	before := card.NVM()
	pub := must(t, card, "80CD00000385015100")
	card.Quota(10)
	require.Equal(t, "6A84", card.Transmit("80B900000384015100"))
	require.Equal(t, "6A84", func() string {
		must(t, card, command(iotsafe.PutPublicKeyInit, 0, 1, tv(0x85, "06")))
		return card.Transmit(command(iotsafe.PutPublicKeyUpdate, 0x80, 1, pub))
	}())
	require.Equal(t, before, card.NVM())
	require.Equal(t, pub, must(t, card, "80CD00000385015100"))
	require.Equal(t, "6985", card.Transmit("80CD00000385010600"))
}

// TestIntegrity: an object that is damaged answers 6400, others work.
func TestIntegrity(t *testing.T) {
	card := newCard(t, `label: public cloud A, type: p256, public: "01", key: seed`, `label: public cloud A, type: p256, public: "01", key: seed, damaged: true`,
		`{id: "61", label: configuration,`, `{id: "61", label: configuration, damaged: true,`)
	require.Equal(t, "6400", card.Transmit(signInit))
	require.Equal(t, "6400", card.Transmit("80B0000003830161"+"00"))
	must(t, card, "80B0000003830102"+"00")
	must(t, card, "80CD00000385010100")
}

// TestChannels: the applet is the same under both AIDs and on several channels; sessions
// belong to their channel.
func TestChannels(t *testing.T) {
	card := newCard(t)
	require.Equal(t, "019000", card.Transmit("0070000001"))
	require.Equal(t, "6A82", card.Transmit("01A4040007A0000005590011"))
	must(t, card, "01A404000FA00000003053F12401770101495341")
	must(t, card, signInit)
	require.Equal(t, "6985", card.Transmit("81"+goodSign[2:]))
	must(t, card, "81"+signInit[2:])
	must(t, card, "81"+goodSign[2:])
	must(t, card, goodSign)
	must(t, card, "0070800100")
	for i := 2; i < 5; i++ { // that of channel 1 is closed
		must(t, card, at(signInit, i))
	}
	require.Equal(t, "6989", card.Transmit(at(signInit, 5)))
}

// secrets are all private and secret keys of the default persona, as bytes and as text.
func secrets(t testing.TB) (l [][]byte) {
	p := profileOf(t)
	for i := range p.Containers {
		if k := p.Containers[i].Kind; k != profile.Private && k != profile.Secret {
			continue
		}
		b, err := p.Stored(rsakey.Generate, i)
		require.NoError(t, err)
		if p.Containers[i].Type == iotsafe.RSA2048 {
			l = append(l, b[:128], b[128:])
		} else if b != nil {
			l = append(l, b)
		}
	}
	for i := range p.Authorities {
		k, err := p.AuthorityKey(&p.Authorities[i])
		require.NoError(t, err)
		b, err := k.Bytes()
		require.NoError(t, err)
		l = append(l, b)
	}
	require.Len(t, l, 9)
	return l
}

// TestNoSecrets: private keys are in no answer, log, event or face, whatever is asked.
func TestNoSecrets(t *testing.T) {
	card := newCard(t)
	var all bytes.Buffer
	say := func(c string) { all.Write(card.Send(unhex(t, c))) }
	p := profileOf(t)
	for ins := 0; ins < 256; ins++ {
		if ins == 0x70 || ins == 0xA4 {
			continue
		}
		for _, p1 := range []byte{0, 1, 2, 0x80, iotsafe.InfoPrivateKey, iotsafe.InfoPublicKey, iotsafe.InfoFile, iotsafe.InfoSecretKey} {
			say(fmt.Sprintf("80%02X%02X0000", ins, p1))
			for _, tag := range []byte{0x83, 0x84, 0x85, 0x86} {
				for i := range p.Containers {
					if c := &p.Containers[i]; c.Kind.IDTag() == tag && !(ins == iotsafe.GenerateKeyPair && tag == 0x84) {
						say(command(byte(ins), p1, 0, tv(tag, upper(c.ID))))
					}
				}
			}
		}
	}
	must(t, card, selectApplet)
	all.WriteString(sign(t, card, "01", iotsafe.PadAndSign, iotsafe.SHA256, iotsafe.ECDSA, tv(0x9E, hash32)))
	generated := must(t, card, "80B900000384015100")
	all.Write(unhex(t, generated))
	for _, l := range card.Logs {
		all.WriteString(l)
	}
	for _, e := range card.Events {
		all.WriteString(e.Name)
		all.Write(e.Data)
	}
	for _, accept := range []string{"text/html", "application/json", "application/cbor"} {
		_, body := ask(t, card, accept)
		all.WriteString(body)
	}
	udp, err := card.Open(sdk.GateUDP, 2, 1<<20)
	require.NoError(t, err)
	pages := &Card{profile: p}
	pages.use()
	pages.publish()
	require.Greater(t, len(pages.pages), 20)
	for path, page := range pages.pages {
		for i, f := range page.formats {
			_, body := get(t, card, "GET", "/"+path, f.media)
			all.Write(body)
			_, body = thing(t, udp, byte(i), path, int(f.coap), false)
			all.Write(body)
		}
	}
	stored, _ := card.NVM()[objectName(p.Find(profile.Private, []byte{0x51}))], 0
	for _, s := range append(secrets(t), stored[:32]) {
		require.NotContains(t, all.String(), string(s))
		require.NotContains(t, strings.ToUpper(all.String()), strings.ToUpper(hex.EncodeToString(s)))
	}
}

// ask asks the TCP gate for the face.
func ask(t testing.TB, card *sdktest.Card, accept string) (*http.Response, string) {
	p, err := card.Open(sdk.GateTCP, 1, 1<<20)
	require.NoError(t, err)
	p.Send([]byte("GET / HTTP/1.1\r\nHost: a\r\nAccept: " + accept + "\r\nConnection: close\r\n\r\n"))
	res, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(p.Bytes())), nil)
	require.NoError(t, err)
	b, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	return res, string(b)
}

// TestFace: identities with their states.
func TestFace(t *testing.T) {
	card := newCard(t)
	res, body := ask(t, card, "application/json")
	require.Equal(t, 200, res.StatusCode)
	require.Contains(t, body, `"identity 01":"public cloud A, p256, activated"`)
	require.Contains(t, body, `"identity 51":"next identity, p256, deactivated"`)
	require.Contains(t, body, `"file 02":"public cloud A certificate, certificate, 444 bytes, activated"`)
	require.Contains(t, body, `"sessions open":0`)
	require.Contains(t, body, `"aid":"A0000005590010"`)
	must(t, card, "80B900000384015100")
	must(t, card, signInit)
	_, body = ask(t, card, "application/json")
	require.Contains(t, body, `"identity 51":"next identity, p256, activated"`)
	require.Contains(t, body, `"sessions open":1`)
}

// TestPersonaErrors: what a persona says is checked, and the place is named.
func TestPersonaErrors(t *testing.T) {
	for _, c := range []struct{ from, to, want string }{
		{"name: public cloud B\n", "name: public cloud A\n", "/domains/1/name: is that of another domain"},
		{"tar: 494F42", "tar: 494F41", "/domains/1/tar: is that of another domain"},
		{"tar: 494F42", "tar: 494F", "/domains/1/tar: \"494F\" does not match ^([0-9A-Fa-f]{2} ?){3}$"},
		{"security: [checksum, counter-higher]", "security: [checksum, redundancy]", "/domains/4/security: has two kinds of check"},
		{"kic: {index: 2, algorithm: 3des2}", "kic: {index: 2, algorithm: 3des2, key: \"0102\"}", "/domains/1/kic/key: has another length than its algorithm wants"},
		{`containers: {files: ["61"]}`, `containers: {files: ["62"]}`, "/domains/4/containers/files/0: is not the identifier of a file"},
		{`containers: {files: ["61"]}`, `containers: {files: ["02"]}`, "/domains/4/containers/files/0: belongs to another domain"},
		{`containers: {files: ["61"]}`, `containers: {files: ["61", "61"]}`, "/domains/4/containers/files/1: is there twice"},
		{`containers: {files: ["61"]}`, `containers: {private_keys: ["04"]}`, "/domains/4/containers: has a private key without its public key"},
		{"- A0000005590010 ", "- A000000559001", "/aids/0: \"A000000559001\" does not match ^([0-9A-Fa-f]{2} ?)+$"},
		{"A00000003053F12401770101495341 ", "A0000005590010 ", "/aids/1: is there twice"},
		{"A0000005590010 ", "A0000005 ", "/aids/0: has not 5 to 16 bytes (ISO/IEC 7816-4 12.2.3)"},
		{`{id: "04", label: ephemeral, type: p256-volatile, public: "04"}`, `{id: "01", label: ephemeral, type: p256-volatile, public: "04"}`, "/private_keys/1/id: is that of another private key"},
		{`{id: "04", label: ephemeral, type: p256-volatile, public: "04"}`, `{id: "04", label: public cloud A, type: p256-volatile, public: "04"}`, "/private_keys/1/label: is that of another private key"},
		{`type: p256-volatile, public: "04"`, `type: p256-volatile, public: "99"`, "/private_keys/1/public: is not the identifier of a public key"},
		{`type: p256-volatile, public: "04"`, `type: p256-volatile, public: "01"`, "/private_keys/1/public: has another key type"},
		{`type: p256-volatile, public: "04"`, `type: p256-volatile, public: "04", key: seed`, "/private_keys/1/key: belongs to a volatile key, which begins empty"},
		{`type: p256, public: "11", key: seed`, `type: p256, public: "01", key: seed`, "/private_keys/2/public: belongs to another private key"},
		{`type: p256, public: "11", key: seed`, `type: p256, public: "07", key: seed`, "/private_keys/2/public: has a key of its own"},
		{`type: p256, public: "11", key: seed`, `type: p256, public: "11", key: "0102"`, "/private_keys/2/key: is not a private key of that type"},
		{`type: p256, authority: Public Cloud A test CA`, `type: p384, authority: Public Cloud A test CA`, "/public_keys/4/authority: has another key type"},
		{`type: p256, authority: Public Cloud A test CA`, `type: p256, authority: nobody`, "/public_keys/4/authority: is not the name of an authority"},
		{`- {name: Public Cloud B test CA}`, `- {name: Public Cloud A test CA}`, "/authorities/1/name: is that of another authority"},
		{`- {name: Public Cloud B test CA}`, `- {name: Public Cloud B test CA, from: "20261332"}`, "/authorities/1/from: is not a day like 20261231"},
		{`- {name: Public Cloud B test CA}`, `- {name: Public Cloud B test CA, until: "20200101"}`, "/authorities/1: ends before it begins"},
		{`certificate: {authority: Public Cloud A test CA, key: "01"`, `certificate: {authority: Public Cloud A test CA, key: "51"`, "/files/0/certificate/key: is a container that is empty"},
		{`certificate: {authority: Public Cloud A test CA, key: "01"`, `certificate: {authority: Public Cloud A test CA, key: "99"`, "/files/0/certificate/key: is not the identifier of a private key"},
		{`{id: "52", label: next identity certificate, usage: certificate}`, `{id: "52", text: a, content: "00"}`, "/files/7: has more than one content"},
		{`{id: "52", label: next identity certificate, usage: certificate}`, `{id: "` + strings.Repeat("01", 21) + `"}`, "does not match"},
	} {
		err := personalise(t, sdktest.New(t, func() sdk.App { return New() }), c.from, c.to)
		require.ErrorContains(t, err, c.want)
	}
}

// TestWords: every status word of the applet has words, and those of ISO keep theirs.
func TestWords(t *testing.T) {
	seen := map[string]bool{}
	for _, sw := range []apdu.SW{0x6300, 0x63CF, 0x6400, 0x6700, 0x6981, 0x6984, 0x6985, 0x6989, 0x6A80, 0x6A82, 0x6A84, 0x6A86, 0x6D00, 0x6D01, 0x6E00, 0x6F00, 0x9000} {
		w := iotsafe.Words(sw)
		require.NotEmpty(t, w)
		require.False(t, seen[w], w)
		seen[w] = true
	}
}

// FuzzAPDU: whatever is sent, the card answers with a status word, no answer holds a
// private key, and the card goes on.
func FuzzAPDU(f *testing.F) {
	for _, flow := range []string{
		"80CB000000 80CB010000 80CB010100 80CBC10003840101 80B0000003830102 80CD000003850101",
		signInit + " " + goodSign + " 802A0101",
		"80B9000003840104 8024000203850105 80D8800247344549438641" + "04" + strings.Repeat("11", 64) + " 8024010200",
		"8046000006840104850105 8084000020",
		command(iotsafe.VerifySignatureInit, 0, 1, tv(0x85, "07"), "A10101"+"91020001"+"920104") + " " + command(iotsafe.VerifySignatureUpdate, 0, 1, tv(0x9B, "00")) + " " + command(iotsafe.VerifySignatureUpdate, 0x80, 1, tv(0x33, strings.Repeat("01", 64))),
		command(iotsafe.ComputePRF, 1, 0, tv(0x86, "41"), tv(0xD2, "00"), tv(0xD3, "10")) + " " + command(iotsafe.ComputeHKDF, 0, 0, tv(0xD1, "00"), tv(0xD5, ""), tv(0x91, "0004")),
		command(iotsafe.ComputeSignatureInit, 0, 1, tv(0x84, "11"), "A10102"+"91020001"+"920104") + " " + command(iotsafe.ComputeSignatureUpdate, 0x80, 1, tv(0x9A, "00"), tv(0x9C, hash32), tv(0x9D, "00000040")),
		"0070000001 01A404000FA00000003053F12401770101495341 81CB000000 0070800100",
	} {
		var in []byte
		for _, c := range strings.Fields(flow) {
			b := unhex(f, c)
			in = append(append(in, byte(len(b))), b...)
		}
		f.Add(in)
	}
	hidden := secrets(f)
	var card *sdktest.Card
	f.Fuzz(func(t *testing.T, in []byte) {
		if card == nil {
			card = newCard(t)
		}
		card.Reset()
		card.Logs = nil
		card.Send(unhex(t, selectApplet))
		for n := 0; len(in) > 0 && n < 50; n++ {
			size := min(int(in[0]), len(in)-1)
			c := in[1 : 1+size]
			in = in[1+size:]
			if size > 1 && c[1] == iotsafe.GenerateKeyPair && bytes.Contains(c, []byte{0x84, 1, 0x31}) {
				continue // an RSA key takes its time
			}
			r := card.Send(c)
			require.GreaterOrEqual(t, len(r), 2)
			for _, s := range hidden {
				require.NotContains(t, string(r), string(s))
			}
		}
		require.Empty(t, card.Logs)
		require.Len(t, card.Send(unhex(t, "8084000010")), 18)
	})
}

// TestRSAKeys: an RSA pair made on the card signs, and an RSA key of a peer comes in
// several commands.
func TestRSAKeys(t *testing.T) {
	card := newCard(t, `label: private cloud RSA, type: rsa2048, public: "31", key: seed}`, `label: private cloud RSA, type: rsa2048, public: "31", key: seed, access: [update]}`,
		`label: peer certificate, type: p256,`, `label: peer certificate, type: rsa2048,`)
	old := must(t, card, "80CD00000385013100")
	r := must(t, card, "80B900000384013100")
	require.Equal(t, "840131850131", r[:12])
	pub := r[12:]
	require.NotEqual(t, old, pub)
	must(t, card, "80240002"+"03850106")
	require.Equal(t, "9000", long(card, iotsafe.PutPublicKeyUpdate, 2, pub))
	must(t, card, "80240102")
	require.Equal(t, pub, must(t, card, "80CD00000385010600"))
	data := tv(0x9E, hash32)
	sig := sign(t, card, "31", iotsafe.PadAndSign, iotsafe.SHA256, iotsafe.RSAPSS, data)
	must(t, card, command(iotsafe.VerifySignatureInit, 0, 1, tv(0x85, "06"), "A10103"+"91020001"+"920102"))
	require.Equal(t, "9000", long(card, iotsafe.VerifySignatureUpdate, 1, data+"33820100"+sig))
	must(t, card, "802C0101")

	// Another block with an object of its own each; and what is no RSA key.
	must(t, card, "80240002"+"03850106")
	inner := pub[8:]
	require.Equal(t, "9000", card.Transmit(fmt.Sprintf("80D80002%02X%s", 103, "3481"+"64"+inner[:200])))
	require.Equal(t, "9000", long(card, iotsafe.PutPublicKeyUpdate, 2, fmt.Sprintf("3481%02X", len(inner)/2-100)+inner[200:]))
	must(t, card, "80240102")
	require.Equal(t, pub, must(t, card, "80CD00000385010600"))
	for name, bad := range map[string]string{
		"an even modulus":  pub[:len(pub)-12] + "00" + pub[len(pub)-10:],
		"exponent 1":       strings.Replace(pub, "8203010001", "8203000001", 1),
		"a point":          "34454943864104" + strings.Repeat("11", 64),
		"a short modulus":  "3408" + "4906" + "810103" + "820103",
		"nothing after it": "3402" + "4900",
	} {
		must(t, card, "80240002"+"03850106")
		require.Equal(t, "6A80", long(card, iotsafe.PutPublicKeyUpdate, 2, bad), name)
		must(t, card, "80240102")
	}
	require.Equal(t, pub, must(t, card, "80CD00000385010600"))
}
