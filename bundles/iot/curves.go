package iot

import (
	"github.com/sspemu/sspemu/bundles/sdk"
	"github.com/sspemu/sspemu/internal/ec"
	"github.com/sspemu/sspemu/internal/ec/std"
)

// curves computes with keys on elliptic curves: by the platform's cryptography service
// (vre_ec_… of the ABI), or alone. Both give the same bytes.
type curves struct{ alone bool }

func (c *Card) curves() curves { return curves{c.profile.Alone} }

// prepare computes the public key of a new pair.
func (c curves) prepare(k *std.Key) error {
	if c.alone {
		_, err := k.Public()
		return err
	}
	point := make([]byte, 1+2*k.Curve().Size)
	if err := sdk.ECPublic(k.Curve().ID, point, k.Bytes()); err != nil {
		return err
	}
	k.SetPublic(point)
	return nil
}

// sign is a deterministic signature (RFC 6979): r and s.
func (c curves) sign(k *std.Key, digest []byte) ([]byte, error) {
	if c.alone {
		return k.Sign(digest)
	}
	sig := make([]byte, 2*k.Curve().OrderSize())
	return sig, sdk.ECSign(k.Curve().ID, sig, k.Bytes(), digest)
}

func (c curves) verify(curve *ec.Curve, point, digest, sig []byte) (bool, error) {
	if c.alone {
		return std.Verify(curve.ID, point, digest, sig)
	}
	return sdk.ECVerify(curve.ID, point, digest, sig)
}

// dh is the x coordinate of a key times a point.
func (c curves) dh(k *std.Key, point []byte) ([]byte, error) {
	if c.alone {
		return k.ECDH(point)
	}
	x := make([]byte, k.Curve().Size)
	return x, sdk.ECDH(k.Curve().ID, x, k.Bytes(), point)
}
