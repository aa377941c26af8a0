package iot

import (
	"bufio"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/bundles/iot/iotsafe"
	"github.com/sspemu/sspemu/bundles/iot/profile"
	"github.com/sspemu/sspemu/bundles/sdk/sdktest"
	"github.com/sspemu/sspemu/internal/ec"
	"github.com/sspemu/sspemu/internal/tlv"
)

// tv is a data object in hexadecimal, of a value up to 127 bytes.
func tv(tag byte, value string) string {
	value = strings.ToUpper(strings.ReplaceAll(value, " ", ""))
	if len(value)/2 > 127 {
		return fmt.Sprintf("%02X81%02X%s", tag, len(value)/2, value)
	}
	return fmt.Sprintf("%02X%02X%s", tag, len(value)/2, value)
}

// command is a command with data and an answer.
func command(ins, p1, p2 byte, data ...string) string {
	d := strings.Join(data, "")
	return fmt.Sprintf("80%02X%02X%02X%02X%s00", ins, p1, p2, len(d)/2, d)
}

// TestHKDF: COMPUTE HKDF gives the PRK of RFC 5869 annex A.
func TestHKDF(t *testing.T) {
	card := newCard(t)
	for _, v := range []struct{ ikm, salt, prk string }{
		{strings.Repeat("0b", 22), "000102030405060708090a0b0c", "077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5"}, // A.1
		{sequence(0x00, 80), sequence(0x60, 80), "06a6b88c5853361a06104c9ceb35b45cef760014904671014a193f40c15fc244"},                 // A.2
		{strings.Repeat("0b", 22), "", "19ef24a32c717b167f33a91d6f648bdf96596776afdb6377ac434c1c293ccb04"},                           // A.3
	} {
		salts := []string{tv(iotsafe.TagSalt, v.salt)}
		if v.salt == "" {
			salts = append(salts, "") // left out
		}
		for _, salt := range salts {
			got := must(t, card, command(iotsafe.ComputeHKDF, 0, 0, tv(iotsafe.TagSecret, v.ikm), salt, tv(iotsafe.TagHash, "0001")))
			require.Equal(t, strings.ToUpper(v.prk), got)
		}
	}
}

// sequence is n bytes that count up from first.
func sequence(first byte, n int) string {
	var s strings.Builder
	for i := range n {
		fmt.Fprintf(&s, "%02x", int(first)+i)
	}
	return s.String()
}

// TestKeySchedule: the secrets of the handshake of RFC 8448 clause 3, each Extract in the
// applet, each Derive-Secret outside as a device does it.
func TestKeySchedule(t *testing.T) {
	card := newCard(t)
	extract := func(salt, ikm string) string {
		return must(t, card, command(iotsafe.ComputeHKDF, 0, 0, tv(iotsafe.TagSecret, ikm), tv(iotsafe.TagSalt, salt), tv(iotsafe.TagHash, "0001")))
	}
	derive := func(secret, label, context string) string {
		l := "tls13 " + label
		info := append([]byte{0, 32, byte(len(l))}, l...)
		info = append(append(info, byte(len(context)/2)), unhex(t, context)...)
		b, err := hkdf.Expand(sha256.New, unhex(t, secret), string(info), 32)
		require.NoError(t, err)
		return upper(b)
	}
	zeros := strings.Repeat("00", 32)
	empty := "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	same := func(want, got string) { t.Helper(); require.Equal(t, strings.ToUpper(want), got) }

	early := extract("", zeros)
	same("33ad0a1c607ec03b09e6cd9893680ce210adf300aa1f2660e1b22e10f170f92a", early)
	derived := derive(early, "derived", empty)
	same("6f2615a108c702c5678f54fc9dbab69716c076189c48250cebeac3576c3611ba", derived)
	handshake := extract(derived, "8bd4054fb55b9d63fdfbacf9f04b9f0d35e6d63f537563efd46272900f89492d")
	same("1dc826e93606aa6fdc0aadc12f741b01046aa6b99f691ed221a9f0ca043fbeac", handshake)
	hello := "860c06edc07858ee8e78f0e7428c58edd6b43f2ca3e6e95f02ed063cf0e1cad8"
	same("b3eddb126e067f35a780b3abf45e2d8f3b1a950738f52e9600746a0e27a55a21", derive(handshake, "c hs traffic", hello))
	same("b67b7d690cc16c4e75e54213cb2d37b4e9c912bcded9105d42befd59d391ad38", derive(handshake, "s hs traffic", hello))
	derived = derive(handshake, "derived", empty)
	same("43de77e0c77713859a944db9db2590b53190a65b3ee2e4f12dd7a0bb7ce254b4", derived)
	same("18df06843d13a08bf2a449844c5f8a478001bc4d4c627984d5a41da8d0402919", extract(derived, zeros))
}

// TestPRF: COMPUTE PRF gives the published vector of the TLS working group (mail archive
// of the list, msg03416), and with pre-shared keys what RFC 4279 and RFC 5489 make of
// them.
func TestPRF(t *testing.T) {
	const (
		secret = "9bbe436ba940f017b17652849a71db35"
		seed   = "a0ba9f936cda311827a6f796ffd5198c"
		want   = "E3F229BA727BE17B8D122620557CD453C2AAB21D07C3D495329B52D4E61EDB5A6B301791E90D35C9C9A46B4E14BAF9AF0FA022F7077DEF17ABFD3797C0564BAB4FBC91666E9DEF9B97FCE34F796789BAA48082D122EE42C5A72E5A5110FFF70187347B66"
	)
	label := tv(iotsafe.TagLabelSeed, upper([]byte("test label"))+seed)
	length := tv(iotsafe.TagLength, "64")
	card := newCard(t, `type: hmac, key: seed`, `type: hmac, key: "00010203"`)
	require.Equal(t, want, must(t, card, command(iotsafe.ComputePRF, iotsafe.PRFGeneral, 0, tv(iotsafe.TagSecret, secret), label, length)))
	require.Equal(t, want[:10], must(t, card, command(iotsafe.ComputePRF, iotsafe.PRFGeneral, 0, tv(iotsafe.TagSecret, secret), label, tv(iotsafe.TagLength, "05"))))

	general := func(premaster string) string {
		return must(t, card, command(iotsafe.ComputePRF, iotsafe.PRFGeneral, 0, tv(iotsafe.TagSecret, premaster), label, length))
	}
	psk := must(t, card, command(iotsafe.ComputePRF, iotsafe.PRFPSK, 0, tv(iotsafe.TagSecretID, "41"), label, length))
	require.Equal(t, general("0004 00000000 0004 00010203"), psk)
	require.Equal(t, psk, must(t, card, command(iotsafe.ComputePRF, iotsafe.PRFPSK, 0, tv(iotsafe.TagSecretLabel, upper([]byte("pre-shared key"))), label, length)))
	ecdhe := must(t, card, command(iotsafe.ComputePRF, iotsafe.PRFPSKECDHE, 0, tv(iotsafe.TagSecretID, "41"), tv(iotsafe.TagPremaster, "AABBCC"), label, length))
	require.Equal(t, general("0003 AABBCC 0004 00010203"), ecdhe)
}

// putKey stores a point in a public key container of the card.
func putKey(t testing.TB, card *sdktest.Card, id, point string) string {
	must(t, card, command(iotsafe.PutPublicKeyInit, iotsafe.SessionOpen, 2, tv(iotsafe.TagPublicID, id)))
	r := card.Transmit(command(iotsafe.PutPublicKeyUpdate, iotsafe.LastBlock, 2, tv(iotsafe.TagPublicKey, tv(iotsafe.TagECKey, tv(iotsafe.TagECPoint, point)))))
	must(t, card, "80240102")
	return r
}

// bothWays runs a test with the platform's cryptography and with the bundle's own.
func bothWays(t *testing.T, f func(t *testing.T, persona ...string)) {
	for _, who := range []string{"platform", "bundle"} {
		t.Run(who, func(t *testing.T) { f(t, "sessions: 4", "sessions: 4\ncryptography: "+who) })
	}
}

// TestECDH: COMPUTE DH gives the shared secrets of NIST CAVP (KAS ECC CDH primitive,
// COUNT 0 of P-256 and P-384) and of RFC 7027 A.1.
func TestECDH(t *testing.T) { bothWays(t, testECDH) }

func testECDH(t *testing.T, persona ...string) {
	for _, v := range []struct{ keyType, peer, key, point, want string }{
		{"p256", "05", "7d7dc5f71eb29ddaf80d6214632eeae03d9058af1fb6d22ed80badb62bc1a534",
			"04700c48f77f56584c5cc632ca65640db91b6bacce3a4df6b42ce7cc838833d287db71e509e3fd9b060ddb20ba5c51dcc5948d46fbf640dfe0441782cab85fa4ac",
			"46fc62106420ff012e54a434fbdd2d25ccc5852060561e68040dd7778997bd7b"},
		{"p384", "08", "3cc3122a68f0d95027ad38c067916ba0eb8c38894d22e1b15618b6818a661774ad463b205da88cf699ab4d43c9cf98a1",
			"04a7c76b970c3b5fe8b05d2838ae04ab47697b9eaf52e764592efda27fe7513272734466b400091adbf2d68c58e0c50066ac68f19f2e1cb879aed43a9969b91a0839c4c38a49749b661efedf243451915ed0905a32b060992b468c64766fc8437a",
			"5f9d29dc5e31a163060356213669c8ce132e22f57c9a04f40ba7fcead493b457e5621e766c40a2e3d4d6a04b25e533f1"},
		{"brainpoolP256r1", "05", "81DB1EE100150FF2EA338D708271BE38300CB54241D79950F77B063039804F1D",
			"048D2D688C6CF93E1160AD04CC4429117DC2C41825E1E9FCA0ADDD34E6F1B39F7B990C57520812BE512641E47034832106BC7D3E8DD0E4C7F1136D7006547CEC6A",
			"89AFC39D41D3B327814B80940B042590F96556EC91E6AE7939BCE31F3A18BF2B"},
	} {
		persona := persona
		if v.peer == "05" && v.keyType != "p256" {
			persona = append(slices.Clone(persona), `label: peer, type: p256-volatile`, `label: peer, type: `+v.keyType+`-volatile`)
		}
		card := newCard(t, append(slices.Clone(persona),
			`label: next identity, type: p256, public: "51", access: [update], functions: [signature, generation, agreement]`,
			`label: next identity, type: `+v.keyType+`, public: "51", functions: [agreement], key: "`+v.key+`"`,
			`label: next identity, type: p256, functions`, `label: next identity, type: `+v.keyType+`, functions`)...)
		require.Equal(t, "9000", putKey(t, card, v.peer, v.point))
		require.Equal(t, strings.ToUpper(v.want), must(t, card, command(iotsafe.ComputeDH, 0, 0, tv(iotsafe.TagPrivateID, "51"), tv(iotsafe.TagPublicID, v.peer))))
	}
}

// TestVerifyVectors: VERIFY SIGNATURE answers as NIST CAVP says, in each mode.
func TestVerifyVectors(t *testing.T) {
	f, err := os.Open("testdata/SigVer.rsp")
	require.NoError(t, err)
	defer f.Close()
	card := newCard(t, `label: peer certificate, type: p256, access: [read, update]`, `label: peer certificate, type: p256, access: [read, update], functions: [signature, agreement]`)
	var id, hash string
	v := map[string]string{}
	count := map[string]int{}
	for s := bufio.NewScanner(f); s.Scan(); {
		line := s.Text()
		if strings.HasPrefix(line, "[") {
			id = map[string]string{"P-256": "05", "P-384": "08"}[line[1:6]]
			hash = map[string]string{"SHA-256]": "0001", "SHA-384]": "0002", "SHA-512]": "0004"}[line[7:]]
			require.NotEmpty(t, id)
			require.NotEmpty(t, hash)
			continue
		}
		name, value, _ := strings.Cut(line, " = ")
		v[name] = value
		if name != "Result" {
			continue
		}
		n := map[string]int{"05": 64, "08": 96}[id]
		pad := func(s string) string { return strings.Repeat("0", n-len(s)) + s }
		point := "04" + pad(v["Qx"]) + pad(v["Qy"])
		r := putKey(t, card, id, point)
		if r == "6A80" { // some of the changed points are not on the curve
			require.Contains(t, value, "Q changed")
			count["6A80"]++
			continue
		}
		require.Equal(t, "9000", r)
		want := map[byte]string{'P': "9000", 'F': "6D01"}[value[0]]
		sig := tv(iotsafe.TagSignature, pad(v["R"])+pad(v["S"]))
		modes := []string{tv(iotsafe.TagText, v["Msg"]) + sig}
		h := newHash(byte(hash[3] - '0'))
		h.Write(unhex(t, v["Msg"]))
		modes = append(modes, lastBlock(t, byte(hash[3]-'0'), v["Msg"])+sig, tv(iotsafe.TagDigest, upper(h.Sum(nil)))+sig)
		for i, data := range modes {
			must(t, card, command(iotsafe.VerifySignatureInit, 0, 1, tv(iotsafe.TagPublicID, id), tv(iotsafe.TagMode, fmt.Sprintf("%02X", i+1)), tv(iotsafe.TagHash, hash), tv(iotsafe.TagSignatureAlg, "04")))
			require.Equal(t, want, long(card, iotsafe.VerifySignatureUpdate, 1, data), "%s %s", line, v["Msg"])
			must(t, card, "802C0101")
		}
		count[want]++
	}
	require.Equal(t, 90, count["9000"]+count["6D01"]+count["6A80"])
	require.Greater(t, count["9000"], 15)
	require.Greater(t, count["6D01"], 15)
}

// lastBlock is the data of the mode in which all but the last block was hashed outside.
func lastBlock(t testing.TB, hash byte, text string) string {
	h := newHash(hash)
	b := unhex(t, text)
	n := len(b) / h.BlockSize() * h.BlockSize()
	if n == len(b) {
		n -= h.BlockSize()
	}
	h.Write(b[:n])
	state, err := h.(encoding.BinaryMarshaler).MarshalBinary()
	require.NoError(t, err)
	size := 64
	if hash == iotsafe.SHA256 {
		size = 32
	}
	return tv(iotsafe.TagLastBlock, upper(b[n:])) + tv(iotsafe.TagIntermediate, upper(state[4:4+size])) + tv(iotsafe.TagHashed, fmt.Sprintf("%08X", n))
}

// long sends an UPDATE of any length in commands of 100 bytes and gives the last answer.
func long(card *sdktest.Card, ins, session byte, data string) string {
	for len(data) > 200 {
		if r := card.Transmit(fmt.Sprintf("80%02X00%02X64%s", ins, session, data[:200])); r != "9000" {
			return r
		}
		data = data[200:]
	}
	return card.Transmit(command(ins, iotsafe.LastBlock, session, data))
}

// sign computes a signature in a mode: r and s, or that of RSA.
func sign(t testing.TB, card *sdktest.Card, id string, mode, hash, alg byte, data string) string {
	t.Helper()
	must(t, card, command(iotsafe.ComputeSignatureInit, 0, 1, tv(iotsafe.TagPrivateID, id), tv(iotsafe.TagMode, fmt.Sprintf("%02X", mode)), tv(iotsafe.TagHash, fmt.Sprintf("00%02X", hash)), tv(iotsafe.TagSignatureAlg, fmt.Sprintf("%02X", alg))))
	r := long(card, iotsafe.ComputeSignatureUpdate, 1, data)
	require.True(t, strings.HasSuffix(r, "9000"), r)
	must(t, card, "802A0101")
	r = strings.TrimSuffix(r, "9000")
	switch r[2:4] {
	case "82":
		return r[8:]
	case "81":
		return r[6:]
	}
	return r[4:]
}

// TestDeterministicECDSA: COMPUTE SIGNATURE gives the signatures of RFC 6979 annex A.2.5
// and A.2.6.
func TestDeterministicECDSA(t *testing.T) { bothWays(t, testDeterministicECDSA) }

func testDeterministicECDSA(t *testing.T, persona ...string) {
	const p256, p384 = "C9AFA9D845BA75166B5C215767B1D6934E50C3DB36E89B127B8A622B120F6721", "6B9D3DAD2E1B8C1C05B19875B6659F4DE23C3B667BF297BA9AA47740787137D896D5724E4C70A825F872C9EA60D2EDF5"
	card := newCard(t, append(persona, `label: public cloud B, type: p256, public: "11", key: seed`, `label: public cloud B, type: p256, public: "11", key: "`+p256+`"`,
		`label: private cloud, type: p384, public: "21", key: seed`, `label: private cloud, type: p384, public: "21", key: "`+p384+`"`)...)
	for _, v := range []struct {
		id         string
		hash       byte
		text, r, s string
	}{
		{"11", iotsafe.SHA256, "sample", "EFD48B2AACB6A8FD1140DD9CD45E81D69D2C877B56AAF991C34D0EA84EAF3716", "F7CB1C942D657C41D436C7A1B6E29F65F3E900DBB9AFF4064DC4AB2F843ACDA8"},
		{"11", iotsafe.SHA256, "test", "F1ABB023518351CD71D881567B1EA663ED3EFCF6C5132B354F28D3B0B7D38367", "019F4113742A2B14BD25926B49C649155F267E60D3814B4C0CC84250E46F0083"},
		{"21", iotsafe.SHA384, "sample", "94EDBB92A5ECB8AAD4736E56C691916B3F88140666CE9FA73D64C4EA95AD133C81A648152E44ACF96E36DD1E80FABE46", "99EF4AEB15F178CEA1FE40DB2603138F130E740A19624526203B6351D0A3A94FA329C145786E679E7B82C71A38628AC8"},
	} {
		text := upper([]byte(v.text))
		require.Equal(t, v.r+v.s, sign(t, card, v.id, iotsafe.FullText, v.hash, iotsafe.ECDSA, tv(iotsafe.TagText, text)))
		require.Equal(t, v.r+v.s, sign(t, card, v.id, iotsafe.LastOfText, v.hash, iotsafe.ECDSA, lastBlock(t, v.hash, text)))
		h := newHash(v.hash)
		h.Write([]byte(v.text))
		require.Equal(t, v.r+v.s, sign(t, card, v.id, iotsafe.PadAndSign, v.hash, iotsafe.ECDSA, tv(iotsafe.TagDigest, upper(h.Sum(nil)))))
	}
}

// TestBrainpool: a pair that the applet makes on brainpoolP256r1 signs and verifies, as
// package ec, which is checked with OpenSSL, says.
func TestBrainpool(t *testing.T) {
	bothWays(t, func(t *testing.T, persona ...string) {
		card := newCard(t, append(persona,
			`label: next identity, type: p256, public`, `label: next identity, type: brainpoolP256r1, public`,
			`label: next identity, type: p256, functions`, `label: next identity, type: brainpoolP256r1, functions`)...)
		require.Contains(t, must(t, card, "80CBC20003 850151 00"), "4B0123")
		b := unhex(t, must(t, card, "80B9000003 840151 00"))
		v, err := tlv.Find(b, iotsafe.TagPublicKey)
		require.NoError(t, err)
		pub, err := profile.ParsePublic(iotsafe.BrainpoolP256, v)
		require.NoError(t, err)
		curve, point := profile.Point(pub)
		require.Equal(t, ec.BrainpoolP256r1, curve)
		p, err := curve.Parse(point)
		require.NoError(t, err)
		digest := sha256.Sum256([]byte("sample"))
		sig := sign(t, card, "51", iotsafe.PadAndSign, iotsafe.SHA256, iotsafe.ECDSA, tv(iotsafe.TagDigest, upper(digest[:])))
		raw := unhex(t, sig)
		require.True(t, curve.Verify(p, digest[:], raw[:32], raw[32:]))
		for want, s := range map[string]string{"9000": sig, "6D01": strings.Repeat("01", 64)} {
			must(t, card, command(iotsafe.VerifySignatureInit, 0, 1, tv(0x85, "51"), "A10103", "91020001", "920104"))
			require.Equal(t, want, long(card, iotsafe.VerifySignatureUpdate, 1, tv(iotsafe.TagDigest, upper(digest[:]))+tv(0x33, s)))
			must(t, card, "802C0101")
		}
	})
}
