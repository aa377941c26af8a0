package sdktest

import (
	"github.com/sspemu/sspemu/bundles/sdk"
	"github.com/sspemu/sspemu/internal/ec/std"
	"github.com/sspemu/sspemu/internal/rsakey"
)

// Cryptography is the cryptography service of a platform, a part of any sdk.Host that
// embeds it. It has no random bytes: a key of RSA needs a seed.
type Cryptography struct{}

func computed(dst, out []byte, err error) int32 {
	if err != nil || len(out) != len(dst) {
		return fail(sdk.ErrIllegalParameter)
	}
	copy(dst, out)
	return 0
}

// ModExp is vre_mod_exp.
func (Cryptography) ModExp(dst, base, exp, m []byte) int32 {
	return computed(nil, nil, rsakey.ModExp(dst, base, exp, m))
}

// GenerateRSA is vre_rsa_generate.
func (Cryptography) GenerateRSA(seed []byte, bits int, e uint32, dst []byte) int32 {
	p, q, err := rsakey.Generate(seed, bits, e)
	return computed(dst, append(p, q...), err)
}

// ECPublic is vre_ec_public.
func (Cryptography) ECPublic(curve int, key, dst []byte) int32 {
	out, err := std.Public(curve, key)
	return computed(dst, out, err)
}

// ECDH is vre_ec_dh.
func (Cryptography) ECDH(curve int, key, point, dst []byte) int32 {
	out, err := std.ECDH(curve, key, point)
	return computed(dst, out, err)
}

// ECSign is vre_ec_sign.
func (Cryptography) ECSign(curve int, key, digest, dst []byte) int32 {
	out, err := std.Sign(curve, key, digest)
	return computed(dst, out, err)
}

// ECVerify is vre_ec_verify.
func (Cryptography) ECVerify(curve int, point, digest, sig []byte) int32 {
	good, err := std.Verify(curve, point, digest, sig)
	if good {
		return 1
	}
	return computed(nil, nil, err)
}
