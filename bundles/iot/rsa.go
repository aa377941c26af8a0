package iot

import (
	"encoding/hex"

	"github.com/sspemu/sspemu/bundles/iot/iotsafe"
	"github.com/sspemu/sspemu/bundles/sdk"
	"github.com/sspemu/sspemu/internal/rsakey"
)

// digestInfo is what stands before a digest (RFC 8017 9.2 note 1), by hash algorithm.
var digestInfo = map[byte]string{
	iotsafe.SHA256: "3031300d060960864801650304020105000420",
	iotsafe.SHA384: "3041300d060960864801650304020205000430",
	iotsafe.SHA512: "3051300d060960864801650304020305000440",
}

// signRSA is a signature with RSA, the platform's work; nil when that fails.
func signRSA(k *rsakey.PrivateKey, alg byte, digest []byte, hash byte) []byte {
	em := make([]byte, len(k.Modulus))
	if alg == iotsafe.RSAPSS {
		pss(em, digest, hash)
	} else {
		pkcs1(em, digest, hash)
	}
	sig, err := k.Apply(sdk.ModExp, em)
	if err != nil {
		return nil
	}
	return sig
}

// pkcs1 is EMSA-PKCS1-v1_5 (RFC 8017 9.2).
func pkcs1(em, digest []byte, hash byte) {
	t, _ := hex.DecodeString(digestInfo[hash])
	t = append(t, digest...)
	for i := range em {
		em[i] = 0xFF
	}
	em[0], em[1], em[len(em)-len(t)-1] = 0, 1, 0
	copy(em[len(em)-len(t):], t)
}

// pss is EMSA-PSS (RFC 8017 9.1.1) for a modulus of a multiple of 8 bits, with a salt as
// long as the hash, and MGF1 with the same hash.
func pss(em, digest []byte, hash byte) {
	n := len(digest)
	salt := make([]byte, n)
	sdk.Random(salt)
	h := newHash(hash)
	h.Write(make([]byte, 8))
	h.Write(digest)
	h.Write(salt)
	sum := h.Sum(nil)
	db := em[:len(em)-n-1]
	clear(db)
	db[len(db)-n-1] = 1
	copy(db[len(db)-n:], salt)
	mask := make([]byte, 0, len(db)+n)
	for counter := byte(0); len(mask) < len(db); counter++ {
		h.Reset()
		h.Write(sum)
		h.Write([]byte{0, 0, 0, counter})
		mask = h.Sum(mask)
	}
	for i := range db {
		db[i] ^= mask[i]
	}
	db[0] &= 0x7F
	copy(em[len(db):], sum)
	em[len(em)-1] = 0xBC
}
