package iot

import (
	"github.com/sspemu/sspemu/bundles/iot/iotsafe"
	"github.com/sspemu/sspemu/bundles/iot/profile"
	"github.com/sspemu/sspemu/bundles/sdk"
)

// part is how much of a list goes into one answer at most.
const part = 256

// getData is GET DATA: the applet, the object list, one object.
func (c *Card) getData(ch int, cmd *sdk.Command, r *sdk.Response) sdk.SW {
	return c.told(ch, c.data(ch, cmd, r))
}

func (c *Card) data(ch int, cmd *sdk.Command, r *sdk.Response) sdk.SW {
	next := c.lists[ch]
	c.lists[ch] = 0
	switch cmd.P1 {
	case iotsafe.DataApplication, iotsafe.DataObjectList:
		if len(cmd.Data) > 0 {
			return sdk.WrongLength
		}
		switch {
		case cmd.P1 == iotsafe.DataApplication && cmd.P2 == iotsafe.DataFirst:
			c.application(r)
			return sdk.OK
		case cmd.P1 == iotsafe.DataObjectList && cmd.P2 == iotsafe.DataFirst:
			return c.list(ch, 0, cmd, r)
		case cmd.P1 == iotsafe.DataObjectList && cmd.P2 == iotsafe.DataNext:
			if next == 0 {
				return sdk.ConditionsNotSatisfied
			}
			return c.list(ch, next, cmd, r)
		}
		return sdk.WrongP1P2
	}
	for k := profile.Private; k <= profile.File; k++ {
		if cmd.P1 != k.InfoTag() {
			continue
		}
		if cmd.P2 != iotsafe.DataFirst {
			return sdk.WrongP1P2
		}
		o, sw := c.reference(cmd, k)
		if sw == sdk.OK {
			o.describe(r)
		}
		return sw
	}
	return sdk.WrongP1P2
}

// application is what the applet can do: 68 bytes without an outer tag.
func (c *Card) application(r *sdk.Response) {
	one := func(tag uint32, v int) { r.TLV(tag, []byte{byte(v)}) }
	one(iotsafe.TagVersion, int(c.profile.Version))
	r.TLV(iotsafe.TagAppletID, c.profile.ID)
	one(iotsafe.TagMaxFiles, len(c.profile.Of(profile.File)))
	one(iotsafe.TagMaxPrivate, len(c.profile.Of(profile.Private)))
	one(iotsafe.TagMaxPublic, len(c.profile.Of(profile.Public)))
	one(iotsafe.TagMaxSecret, len(c.profile.Of(profile.Secret)))
	one(iotsafe.TagFunctionsAll, iotsafe.FuncSignature|iotsafe.FuncGeneration|iotsafe.FuncAgreement|iotsafe.FuncDerivation)
	r.TLV(iotsafe.TagHash, []byte{0, iotsafe.SHA256 | iotsafe.SHA384 | iotsafe.SHA512})
	one(iotsafe.TagSignatureAlg, iotsafe.RSAPKCS1|iotsafe.RSAPSS|iotsafe.ECDSA)
	one(iotsafe.TagAgreementAll, iotsafe.ECKA)
	one(iotsafe.TagDerivation, iotsafe.PRFSHA256|iotsafe.HKDF)
	one(iotsafe.TagMaxSessions, len(c.sessions))
}

// list is the object list from object i on: whole information objects, in the order of
// their kinds; 6300 tells that there are more.
func (c *Card) list(ch, i int, cmd *sdk.Command, r *sdk.Response) sdk.SW {
	most := part
	if cmd.Ne > 0 && cmd.Ne < most {
		most = cmd.Ne
	}
	for begin := i; i < len(c.objects); i++ {
		before := r.Len()
		c.objects[i].describe(r)
		if r.Len() > most && i > begin {
			r.Set(r.Bytes()[:before])
			c.lists[ch] = i
			return iotsafe.SWMoreData
		}
	}
	return sdk.OK
}

// describe adds the information object of an object.
func (o *object) describe(r *sdk.Response) {
	one := func(tag uint32, v byte) { r.TLV(tag, []byte{v}) }
	m := r.Begin(uint32(o.Kind.InfoTag()))
	if len(o.Label) > 0 {
		r.TLV(uint32(o.Kind.LabelTag()), o.Label)
	}
	r.TLV(uint32(o.Kind.IDTag()), o.ID)
	one(iotsafe.TagAccess, o.Access)
	one(iotsafe.TagState, o.state())
	switch o.Kind {
	case profile.File:
		r.TLV(iotsafe.TagFileSize, []byte{byte(o.size >> 8), byte(o.size)})
		one(iotsafe.TagFileUsage, o.Usage)
	case profile.Secret:
		one(iotsafe.TagKeyType, o.Type)
		one(iotsafe.TagFunctions, o.Functions)
		one(iotsafe.TagDerivation, o.Derivation)
	default:
		one(iotsafe.TagKeyType, o.Type)
		one(iotsafe.TagKeyUsage, o.Usage)
		one(iotsafe.TagFunctions, o.Functions)
		if o.Signatures != 0 {
			one(iotsafe.TagSignatureAlg, o.Signatures)
			r.TLV(iotsafe.TagHash, []byte{0, o.Hashes})
		}
		if o.Agreement != 0 {
			one(iotsafe.TagAgreement, o.Agreement)
		}
	}
	r.End(m)
}

// readFile is READ FILE from the offset in P1 P2 on, as much as Le asks for. At the end
// of the file there is nothing; beyond it 6A86.
func (c *Card) readFile(_ int, cmd *sdk.Command, r *sdk.Response) sdk.SW {
	o, sw := c.reference(cmd, profile.File)
	if sw != sdk.OK {
		return sw
	}
	if sw := o.may(); sw != sdk.OK {
		return sw
	}
	if o.Access&iotsafe.AccessRead == 0 {
		return sdk.ConditionsNotSatisfied
	}
	return o.read(cmd, r)
}

// read is the part of a file that P1, P2 and Le ask for.
func (o *object) read(cmd *sdk.Command, r *sdk.Response) sdk.SW {
	off := int(cmd.P1)<<8 | int(cmd.P2)
	if off > o.size {
		return sdk.WrongP1P2
	}
	n := cmd.Ne
	if n == 0 { // some clients give no Le, and fetch the answer
		n = part
	}
	b := r.Extend(min(n, o.size-off))
	if _, err := sdk.NVM.Read(o.name, off, b); err != nil {
		return iotsafe.SWIntegrity
	}
	return sdk.OK
}

// getRandom is GET RANDOM: 1 to 256 bytes.
func (c *Card) getRandom(_ int, cmd *sdk.Command, r *sdk.Response) sdk.SW {
	switch {
	case cmd.P1 != 0 || cmd.P2 != 0:
		return sdk.WrongP1P2
	case len(cmd.Data) > 0 || cmd.Ne == 0 || cmd.Ne > part:
		return sdk.WrongLength
	}
	sdk.Random(r.Extend(cmd.Ne))
	return sdk.OK
}
