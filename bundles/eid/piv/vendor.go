package piv

import (
	"github.com/sspemu/sspemu/bundles/sdk"
	"github.com/sspemu/sspemu/internal/apdu"
	"github.com/sspemu/sspemu/internal/tlv"
)

// Commands of vendors, as public tools for YubiKeys use them (recalled, unverified).

// metadata is GET METADATA: 01 algorithm, 02 policies, 03 origin, 04 public key, 05 value
// is the factory's, 06 tries.
func (c *Card) metadata(cmd *sdk.Command, r *sdk.Response) sdk.SW {
	if cmd.P1 != 0 {
		return apdu.WrongP1P2
	}
	factory := byte(0)
	if v, ok := sdk.NVM.Get("factory/" + pinName(cmd.P2)); ok {
		now, _ := sdk.NVM.Get(pinName(cmd.P2))
		if len(now) >= len(v) && string(now[:len(v)]) == string(v) {
			factory = 1
		}
	}
	switch {
	case cmd.P2 == refPIN || cmd.P2 == refPUK:
		left, most, _ := tries(cmd.P2)
		r.TLV(0x01, []byte{0xFF})
		r.TLV(0x05, []byte{factory})
		r.TLV(0x06, []byte{byte(most), byte(left)})
		return apdu.OK
	case cmd.P2 == slotManagement:
		alg, _ := management()
		r.TLV(0x01, []byte{alg})
		r.TLV(0x02, []byte{0x00, touchNever})
		r.TLV(0x05, []byte{factory})
		return apdu.OK
	case !isSlot(cmd.P2):
		return apdu.WrongP1P2
	}
	k, ok := loadKey(cmd.P2)
	if !ok {
		return apdu.ReferencedDataNotFound
	}
	public, err := k.public()
	if err != nil {
		return apdu.NoPreciseDiagnosis
	}
	r.TLV(0x01, []byte{k.alg})
	r.TLV(0x02, []byte{k.pin, k.touch})
	r.TLV(0x03, []byte{k.origin})
	r.TLV(0x04, public)
	return apdu.OK
}

// pinName is the NVM key of a PIN or the administration key.
func pinName(ref byte) string {
	if ref == slotManagement {
		return "mgm"
	}
	return pinKey(ref)
}

func (c *Card) serial(cmd *sdk.Command, r *sdk.Response) sdk.SW {
	v, _ := sdk.NVM.Get("serial")
	r.Append(v)
	return apdu.OK
}

func (c *Card) version(cmd *sdk.Command, r *sdk.Response) sdk.SW {
	v, _ := sdk.NVM.Get("version")
	r.Append(v)
	return apdu.OK
}

// setTries is SET PIN RETRIES: P1 those of the PIN, P2 of the PUK; both values are the
// factory's afterwards.
func (c *Card) setTries(cmd *sdk.Command, _ *sdk.Response) sdk.SW {
	switch {
	case len(cmd.Data) > 0:
		return apdu.WrongLength
	case cmd.P1 == 0 || cmd.P2 == 0 || cmd.P1 > 15 || cmd.P2 > 15:
		return apdu.WrongP1P2
	case !c.admin || !c.verified:
		return apdu.SecurityNotSatisfied
	}
	for ref, n := range map[byte]byte{refPIN: cmd.P1, refPUK: cmd.P2} {
		v, ok := sdk.NVM.Get("factory/" + pinKey(ref))
		if !ok || storePIN(ref, v, int(n), int(n)) != nil {
			return apdu.MemoryProblem
		}
	}
	return apdu.OK
}

// reset is RESET: everything as it came from the factory, when PIN and PUK are blocked.
func (c *Card) reset(cmd *sdk.Command, _ *sdk.Response) sdk.SW {
	pin, _, _ := tries(refPIN)
	puk, _, _ := tries(refPUK)
	if pin > 0 || puk > 0 {
		return apdu.ConditionsNotSatisfied
	}
	var gone []string
	for name, ok := sdk.NVM.Next(""); ok; name, ok = sdk.NVM.Next(name) {
		if len(name) > 2 && (name[:2] == "k/" || name[:2] == "o/") && !issuers(name) {
			gone = append(gone, name)
		}
	}
	for _, name := range gone {
		if sdk.NVM.Delete(name) != nil {
			return apdu.MemoryProblem
		}
	}
	for _, ref := range []byte{refPIN, refPUK} {
		v, _ := sdk.NVM.Get("factory/" + pinKey(ref))
		_, most, _ := tries(ref)
		if storePIN(ref, v, most, most) != nil {
			return apdu.MemoryProblem
		}
	}
	v, _ := sdk.NVM.Get("factory/mgm")
	if sdk.NVM.Put("mgm", v) != nil {
		return apdu.MemoryProblem
	}
	c.Forget()
	sdk.Event("piv.reset", nil)
	return apdu.OK
}

// issuers tells what stays for ever: attestation, and secure messaging.
func issuers(name string) bool {
	return name == keyName(slotAttestation) || name == objectKey(tagAttestation) || name == objectKey(tagSigner) || name == objectKey(tagPairing)
}

// importKey is IMPORT ASYMMETRIC KEY: P1 algorithm, P2 slot; 01 and 02 the primes of an
// RSA key, 06, 07, 08 the number of a curve.
func (c *Card) importKey(cmd *sdk.Command, _ *sdk.Response) sdk.SW {
	switch {
	case !isSlot(cmd.P2):
		return apdu.WrongP1P2
	case !c.admin:
		return apdu.SecurityNotSatisfied
	}
	k := key{alg: cmd.P1, origin: originImported}
	var ok bool
	if k.pin, k.touch, ok = policies(cmd.P2, tlv.Read(cmd.Data)); !ok {
		return apdu.WrongData
	}
	if bits := rsaBits(k.alg); bits > 0 {
		p, err1 := tlv.Find(cmd.Data, 0x01)
		q, err2 := tlv.Find(cmd.Data, 0x02)
		if err1 != nil || err2 != nil {
			return apdu.WrongData
		}
		n := bits / 16
		if p, q = fixed(p, n), fixed(q, n); p == nil || q == nil {
			return apdu.WrongData
		}
		if string(p) < string(q) {
			p, q = q, p
		}
		k.secret = append(append([]byte{}, p...), q...)
		if r, err := k.rsa(); err != nil || len(r.Modulus) != bits/8 {
			return apdu.WrongData
		}
	} else if n := curveSize(k.alg); n > 0 {
		tag := map[byte]tlv.Tag{algEd25519: 0x07, algX25519: 0x08}[k.alg]
		if tag == 0 {
			tag = 0x06
		}
		v, err := tlv.Find(cmd.Data, tag)
		if err != nil {
			return apdu.WrongData
		}
		if k.secret = fixed(v, n); k.secret == nil {
			return apdu.WrongData
		}
		if _, err := k.public(); err != nil {
			return apdu.WrongData
		}
	} else {
		return apdu.WrongP1P2
	}
	if k.store(cmd.P2) != nil {
		return apdu.NotEnoughMemory
	}
	return apdu.OK
}

// setManagementKey is SET MANAGEMENT KEY: P1 FF, P2 FF (FE: with touch); algorithm, 9B,
// length, value.
func (c *Card) setManagementKey(cmd *sdk.Command, _ *sdk.Response) sdk.SW {
	switch d := cmd.Data; {
	case cmd.P1 != 0xFF || cmd.P2 != 0xFF:
		return apdu.WrongP1P2
	case !c.admin:
		return apdu.SecurityNotSatisfied
	case len(d) < 3 || d[1] != slotManagement || int(d[2]) != len(d)-3 || managementSize(d[0]) != len(d)-3:
		return apdu.WrongData
	default:
		if sdk.NVM.Put("mgm", append([]byte{d[0]}, d[3:]...)) != nil {
			return apdu.MemoryProblem
		}
	}
	return apdu.OK
}
