package cryptogram

import (
	"bufio"
	"crypto/des" //nolint:gosec // the standard's
	"encoding/hex"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/bundles/payment/oda"
)

// vector is a line of testdata/vectors.txt.
type vector struct {
	t testing.TB
	m map[string]string
}

func (v vector) b(name string) []byte {
	s, ok := v.m[name]
	require.True(v.t, ok, "%s is missing", name)
	b, err := hex.DecodeString(s)
	require.NoError(v.t, err)
	return b
}

func (v vector) has(name string) bool { _, ok := v.m[name]; return ok }

func (v vector) psn() byte {
	n := byte(0)
	for _, c := range v.m["psn"] {
		n = n*10 + byte(c-'0')
	}
	return n
}

func TestVectors(t *testing.T) {
	f, err := os.Open("testdata/vectors.txt")
	require.NoError(t, err)
	defer func() { _ = f.Close() }()
	count := 0
	for s := bufio.NewScanner(f); s.Scan(); {
		line := s.Text()
		what, rest, _ := strings.Cut(line, " ")
		if line == "" || what == "#" || strings.HasPrefix(line, "#") {
			continue
		}
		v := vector{t, map[string]string{}}
		for _, p := range strings.Fields(rest) {
			k, val, ok := strings.Cut(p, "=")
			require.True(t, ok, p)
			v.m[k] = val
		}
		require.Contains(t, vectorTests, what)
		t.Run(what+"/"+v.m["version"], func(t *testing.T) { v.t = t; vectorTests[what](v) })
		count++
	}
	require.Equal(t, 19, count)
}

// tdesVersion is a version whose session key is its master key, so that a key of the
// vectors can be used as it is.
var tdesVersion = Version{Cipher: TDES, style: styleMaster}

var vectorTests = map[string]func(v vector){
	"mk": func(v vector) {
		k, err := MasterKey(TDES, v.b("imk"), v.m["pan"], v.psn())
		require.NoError(v.t, err)
		if v.has("key") {
			require.Equal(v.t, v.b("key"), k)
			return
		}
		c, err := des.NewTripleDESCipher(append(append([]byte{}, k...), k[:8]...))
		require.NoError(v.t, err)
		zero := make([]byte, 8)
		c.Encrypt(zero, zero)
		require.Equal(v.t, v.b("check"), zero[:len(v.b("check"))])
	},
	"session": func(v vector) {
		got := session(TDES, v.b("mk"), v.b("r"))
		want := v.b("key")
		oddParity(got) // the vector's keys have odd parity, which DES does not look at
		require.Equal(v.t, want, got)
	},
	"mac": func(v vector) {
		require.Equal(v.t, v.b("mac"), MAC(TDES, v.b("key"), v.b("data"), 8, Method2))
	},
	"arpc1": func(v vector) {
		got := tdesVersion.ARPC1(v.b("key"), 0, [8]byte(v.b("ac")), [2]byte(v.b("arc")))
		require.Equal(v.t, v.b("arpc"), got[:])
	},
	"arpc2": func(v vector) {
		got := tdesVersion.ARPC2(v.b("key"), 0, [8]byte(v.b("ac")), [4]byte(v.b("csu")), v.b("more"))
		require.Equal(v.t, v.b("arpc"), got[:])
	},
	"encipher": func(v vector) {
		require.Equal(v.t, v.b("data"), Encipher(TDES, v.b("key"), v.b("plain")))
		plain, err := Decipher(TDES, v.b("key"), v.b("data"))
		require.NoError(v.t, err)
		require.Equal(v.t, v.b("plain"), plain)
	},
	"card": func(v vector) {
		version, ok := ByName(v.m["version"])
		require.True(v.t, ok)
		key := func(name string) []byte {
			k, err := MasterKey(TDES, v.b(name), v.m["pan"], v.psn())
			require.NoError(v.t, err)
			return k
		}
		ac, smi, smc := key("ac"), key("smi"), key("smc")
		atc := uint16(v.b("atc")[0])<<8 | uint16(v.b("atc")[1])
		in := &Input{
			Amount: [6]byte(v.b("amount")), Country: [2]byte(v.b("country")), TVR: [5]byte(v.b("tvr")), Currency: [2]byte(v.b("currency")),
			Date: [3]byte(v.b("date")), Type: v.b("type")[0], UN: [4]byte(v.b("un")), AIP: [2]byte(v.b("aip")), ATC: atc, IAD: v.b("iad"),
		}
		arqc := version.Cryptogram(ac, in)
		require.Equal(v.t, v.b("arqc"), arqc[:])
		if v.has("arc") {
			got := version.ARPC1(ac, atc, arqc, [2]byte(v.b("arc")))
			require.Equal(v.t, v.b("arpc"), got[:])
		} else {
			got := version.ARPC2(ac, atc, arqc, [4]byte(v.b("csu")), nil)
			require.Equal(v.t, v.b("arpc"), got[:])
		}
		integrity, secrecy := version.ScriptKey(smi, atc, arqc), version.ScriptKey(smc, atc, arqc)
		mac, _ := version.ScriptMAC(integrity, arqc, atc, [4]byte{0x84, 0x18}, nil, 8)
		require.Equal(v.t, v.b("unblock"), mac)
		block, err := oda.PINBlock("9999")
		require.NoError(v.t, err)
		data := version.EncipherPIN(ac, secrecy, block, "")
		require.Equal(v.t, v.b("pin"), data)
		mac, _ = version.ScriptMAC(integrity, arqc, atc, [4]byte{0x84, 0x24, 0x00, 0x02}, data, 8)
		require.Equal(v.t, v.b("pinmac"), mac)
		back, err := version.DecipherPIN(ac, secrecy, data, "")
		require.NoError(v.t, err)
		require.Equal(v.t, block, back)
		if v.has("current") {
			data = version.EncipherPIN(ac, secrecy, block, v.m["current"])
			require.Equal(v.t, v.b("pin01"), data)
			back, err = version.DecipherPIN(ac, secrecy, data, v.m["current"])
			require.NoError(v.t, err)
			require.Equal(v.t, block, back)
		}
	},
	"cvc3": func(v vector) {
		k, err := MasterKey(TDES, v.b("imk"), v.m["pan"], v.psn())
		require.NoError(v.t, err)
		atc := uint16(v.b("atc")[0])<<8 | uint16(v.b("atc")[1])
		got := Checksum(k, v.b("track"), [4]byte(v.b("un")), atc)
		require.Equal(v.t, v.b("cvc"), got[:])
	},
	"cmac": func(v vector) {
		require.Equal(v.t, v.b("mac"), MAC(AES, v.b("key"), v.b("data"), 16, Method2))
	},
}

func TestRefuses(t *testing.T) {
	_, err := MasterKey(TDES, make([]byte, 8), "1234567890123456", 0)
	require.ErrorIs(t, err, ErrKey)
	for _, pan := range []string{"", "12345678901234567890", "12345678901234A6"} {
		_, err = MasterKey(TDES, make([]byte, 16), pan, 0)
		require.ErrorIs(t, err, ErrPAN)
	}
	_, err = MasterKey(TDES, make([]byte, 16), "1234567890123456", 100)
	require.ErrorIs(t, err, ErrPAN)
	for _, data := range []string{"", "00", "0102030405060708"} {
		b, _ := hex.DecodeString(data)
		_, err := Decipher(TDES, make([]byte, 16), b)
		require.ErrorIs(t, err, ErrData)
	}
	for _, name := range []string{"10", "ccd", "ccd-aes"} {
		v, ok := ByName(name)
		require.True(t, ok)
		for _, n := range []int{0, 8, 15, 16, 17, 24, 32} {
			_, err := v.DecipherPIN(make([]byte, 16), make([]byte, 16), make([]byte, n), "")
			require.ErrorIs(t, err, ErrPINData, "%s %d", name, n)
		}
	}
	_, ok := ByName("11")
	require.False(t, ok)
}

// TestIAD: what a card tells, the issuer reads, as far as the form has a place for it.
func TestIAD(t *testing.T) {
	ccd := CVR{
		First: 0x80, Second: NotRequested, CDA: true, PINVerified: true, PINTries: 3, LowerConsecutive: true, UpperCumulative: true,
		ScriptReceived: true, Scripts: 5, LastOnlineNotCompleted: true,
	}
	for _, name := range []string{"ccd", "ccd-aes"} {
		v, _ := ByName(name)
		b := v.AppendIAD(nil, ccd, 7, []byte{1, 2, 3, 4, 5, 6, 7, 8, 9})
		require.Len(t, b, 32)
		got, c, dki, err := ParseIAD(b)
		require.NoError(t, err)
		require.Equal(t, v, got)
		require.Equal(t, byte(7), dki)
		require.Equal(t, ccd, c)
		require.Equal(t, []byte{1, 2, 3, 4, 5, 6, 7, 8}, b[8:16])
		require.Equal(t, byte(9), b[17])
	}
	v, _ := ByName("ccd")
	b := v.AppendIAD(nil, CVR{First: 0x80, Second: 0x40, PINFailed: true, PINTryLimitExceeded: true, UnableOnline: true}, 1, nil)
	require.Equal(t, "0fa501600e00010000", hex.EncodeToString(b[:9]), "Book 3 annex C7.3: TC after ARQC, PIN wrong and blocked, unable to go online")

	vis := CVR{First: 0x80, Second: 0x40, DDA: true, PINFailed: true, NewCard: true, IssuerAuthFailed: true, Scripts: 1, ScriptReceived: true}
	for _, name := range []string{"10", "17", "18"} {
		v, _ := ByName(name)
		got, c, dki, err := ParseIAD(v.AppendIAD(nil, vis, 2, nil))
		require.NoError(t, err)
		require.Equal(t, v, got)
		require.Equal(t, byte(2), dki)
		require.Equal(t, vis, c)
	}
	for _, bad := range []string{"", "06", "06010A03A060", "0601FF03A06010", "06010A04A06010", "0fa501"} {
		b, _ := hex.DecodeString(bad)
		_, _, _, err := ParseIAD(b)
		require.ErrorIs(t, err, ErrIAD, bad)
	}
}

func TestCSU(t *testing.T) {
	for i := range 1 << 8 {
		c := ParseCSU([4]byte{byte(i) & 0x8F, byte(i)})
		require.Equal(t, [4]byte{byte(i) & 0x8F, byte(i)}, c.Bytes())
	}
	require.Equal(t, CSU{Approve: true, UpdatePINTries: true, PINTries: 3, Counters: 2}, ParseCSU([4]byte{0x03, 0x92}))
}

func FuzzParseIAD(f *testing.F) {
	f.Add([]byte{6, 1, 10, 3, 0xA0, 0x60, 0x10})
	f.Add(append([]byte{0x0F, 0xA5}, append(make([]byte, 14), append([]byte{0x0F}, make([]byte, 15)...)...)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		v, _, _, err := ParseIAD(b)
		if err == nil {
			_, ok := ByName(v.Name)
			require.True(t, ok)
		}
	})
}

func FuzzDecipherPIN(f *testing.F) {
	f.Add(make([]byte, 16), "1234", "10")
	f.Fuzz(func(_ *testing.T, data []byte, current, name string) {
		if v, ok := ByName(name); ok {
			_, _ = v.DecipherPIN(make([]byte, 16), make([]byte, 16), data, current)
		}
	})
}
