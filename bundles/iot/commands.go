package iot

import (
	"github.com/sspemu/sspemu/bundles/iot/iotsafe"
	"github.com/sspemu/sspemu/bundles/iot/profile"
	"github.com/sspemu/sspemu/bundles/sdk"
	"github.com/sspemu/sspemu/internal/tlv"
)

// run carries out a command for channel ch.
type run func(c *Card, ch int, cmd *sdk.Command, r *sdk.Response) sdk.SW

// commands are the instructions of the applet.
var commands = map[byte]run{
	iotsafe.GetData:                (*Card).getData,
	iotsafe.ReadFile:               (*Card).readFile,
	iotsafe.ReadPublicKey:          (*Card).readPublicKey,
	iotsafe.GenerateKeyPair:        (*Card).generateKeyPair,
	iotsafe.PutPublicKeyInit:       (*Card).putPublicKeyInit,
	iotsafe.PutPublicKeyUpdate:     (*Card).putPublicKeyUpdate,
	iotsafe.ComputeSignatureInit:   (*Card).computeSignatureInit,
	iotsafe.ComputeSignatureUpdate: (*Card).computeSignatureUpdate,
	iotsafe.VerifySignatureInit:    (*Card).verifySignatureInit,
	iotsafe.VerifySignatureUpdate:  (*Card).verifySignatureUpdate,
	iotsafe.ComputeDH:              (*Card).computeDH,
	iotsafe.ComputePRF:             (*Card).computePRF,
	iotsafe.ComputeHKDF:            (*Card).computeHKDF,
	iotsafe.GetRandom:              (*Card).getRandom,
}

// APDU answers a command on channel ch. Class 80 is that of the standard; clients use
// 00 as well (package iotsafe).
func (a applet) APDU(ch int, cmd *sdk.Command, r *sdk.Response) sdk.SW {
	if cla := sdk.Class(cmd.CLA); cla != 0x80 && cla != 0x00 {
		return sdk.ClaNotSupported
	}
	f := commands[cmd.INS]
	if f == nil {
		return sdk.InsNotSupported
	}
	sw := f(a.Card, ch, cmd, r)
	if sw != sdk.OK && sw != iotsafe.SWMoreData && sw != iotsafe.SWAdministered {
		r.Reset()
	}
	return sw
}

// fields are the data objects of a command by tag.
type fields map[tlv.Tag][]byte

// parse reads the data objects of a command: each tag of those allowed, once.
func parse(data []byte, allowed ...tlv.Tag) (fields, sdk.SW) {
	if len(data) == 0 {
		return nil, sdk.WrongLength
	}
	f := fields{}
	for r := tlv.Read(data); ; {
		if !r.Next() {
			if r.Err() != nil {
				return nil, sdk.WrongData
			}
			return f, sdk.OK
		}
		known := false
		for _, t := range allowed {
			known = known || t == r.Tag
		}
		if _, twice := f[r.Tag]; twice || !known {
			return nil, sdk.WrongData
		}
		f[r.Tag] = r.Value
	}
}

// has tells whether a tag is there.
func (f fields) has(t tlv.Tag) bool { _, ok := f[t]; return ok }

// number is the value of a tag of exactly n bytes, 0 when it is not there or longer or
// shorter.
func (f fields) number(t tlv.Tag, n int) int {
	v := f[t]
	if len(v) != n {
		return 0
	}
	x := 0
	for _, b := range v {
		x = x<<8 | int(b)
	}
	return x
}

// find is the object of a kind that a command names, by identifier or by label.
func (c *Card) find(f fields, k profile.Kind) (*object, sdk.SW) {
	idTag, labelTag := tlv.Tag(k.IDTag()), tlv.Tag(k.LabelTag())
	id, label := f[idTag], f[labelTag]
	if f.has(idTag) == f.has(labelTag) || len(id) > iotsafe.MaxID || len(label) > iotsafe.MaxLabel || len(id)+len(label) == 0 {
		return nil, sdk.WrongData
	}
	for i := range c.objects {
		o := &c.objects[i]
		if o.Kind == k && (len(id) > 0 && string(o.ID) == string(id) || len(label) > 0 && string(o.Label) == string(label)) {
			return o, sdk.OK
		}
	}
	return nil, sdk.FileNotFound
}

// reference reads a command that names one object of a kind and nothing else.
func (c *Card) reference(cmd *sdk.Command, k profile.Kind) (*object, sdk.SW) {
	f, sw := parse(cmd.Data, tlv.Tag(k.IDTag()), tlv.Tag(k.LabelTag()))
	if sw != sdk.OK {
		return nil, sw
	}
	return c.find(f, k)
}
