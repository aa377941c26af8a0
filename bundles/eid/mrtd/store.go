package mrtd

import (
	"errors"

	"github.com/sspemu/sspemu/bundles/eid/issue"
	"github.com/sspemu/sspemu/bundles/eid/lds"
	"github.com/sspemu/sspemu/bundles/sdk"
	"github.com/sspemu/sspemu/internal/tlv"
)

// In NVM:
//
//	m/chip       what the chip is, data objects as below
//	m/f/N        file N
//	m/tries      tries that the PIN has left
//	m/cvca/N     trust points, 0 the newest
//	m/date       current date, YYMMDD
//
// Data objects of m/chip.
const (
	tagFile    = 0x81 // DF, FID, SFI, access, right
	tagMRZ     = 0x82
	tagCAN     = 0x83
	tagPIN     = 0x84 // tries, PIN
	tagBAC     = 0x85
	tagPACE    = 0xA6 // OID, parameters, static key
	tagCA      = 0xA7 // parameters, identifier, private and public key, OIDs
	tagAA      = 0xA8
	tagTA      = 0x89
	tagDefect  = 0x8A
	tagFirst   = 0x90 // parts of A6 to A8, in order
	tagSecond  = 0x91
	tagThird   = 0x92
	tagFourth  = 0x93
	tagFifth   = 0x94
	tagAnother = 0x95 // OIDs of a key
)

// Personalise writes the chip of the persona to NVM. Without a travel document in it
// there is none.
func (c *Card) Personalise(doc *sdk.Doc) error {
	if !doc.Has("mrtd") {
		return nil
	}
	chip, err := issue.New(doc)
	if err != nil {
		return err
	}
	put := func(key string, v []byte) {
		if e := sdk.NVM.Put(key, v); e != nil && err == nil {
			err = e
		}
	}
	for i := range chip.Files {
		put(fileKey(i), chip.Files[i].Data)
	}
	if chip.Passwords.PIN != "" {
		put("m/tries", []byte{chip.Passwords.PINTries})
	}
	if chip.TA != nil {
		for i, p := range chip.TA.TrustPoints[:min(len(chip.TA.TrustPoints), trustPoints)] {
			put(trustKey(i), p)
		}
		put("m/date", chip.TA.Date[:])
	}
	put("m/chip", encode(chip))
	return err
}

// encode writes everything but the contents of files.
func encode(c *issue.Chip) (b []byte) {
	for i := range c.Files {
		f := &c.Files[i]
		b = tlv.Append(b, tagFile, byte(f.DF), byte(f.FID>>8), byte(f.FID), f.SFI, byte(f.Access), f.Right)
	}
	b = tlv.Append(b, tagMRZ, []byte(c.Passwords.MRZ)...)
	b = tlv.Append(b, tagCAN, []byte(c.Passwords.CAN)...)
	b = tlv.Append(b, tagPIN, append([]byte{c.Passwords.PINTries}, c.Passwords.PIN...)...)
	if c.BAC {
		b = tlv.Append(b, tagBAC)
	}
	parts := func(tag tlv.Tag, more []byte, values ...[]byte) {
		var in []byte
		for i, v := range values {
			in = tlv.Append(in, tlv.Tag(tagFirst+i), v...)
		}
		b = tlv.Append(b, tag, append(in, more...)...)
	}
	for i := range c.PACE {
		w := &c.PACE[i]
		parts(tagPACE, nil, w.OID, []byte{byte(w.Parameters)}, w.Static)
	}
	for i := range c.CA {
		k := &c.CA[i]
		var oids []byte
		for _, p := range k.Protocols {
			oids = tlv.Append(oids, tagAnother, p.OID...)
		}
		id := []byte{}
		if k.ID >= 0 {
			id = []byte{byte(k.ID >> 8), byte(k.ID)}
		}
		parts(tagCA, oids, []byte{byte(k.Parameters)}, id, k.Private, k.Public)
	}
	if k := c.AA; k != nil {
		e := k.Exponent
		parts(tagAA, nil, []byte{byte(k.Hash >> 8), byte(k.Hash), byte(k.Parameters)}, k.P, k.Q, []byte{byte(e >> 24), byte(e >> 16), byte(e >> 8), byte(e)}, k.Private)
	}
	if c.TA != nil {
		b = tlv.Append(b, tagTA)
	}
	for _, d := range c.Defects {
		b = tlv.Append(b, tagDefect, []byte(d)...)
	}
	return b
}

var errStored = errors.New("mrtd: what is stored of the chip cannot be read")

// decode reads what encode wrote.
func decode(b []byte) (*issue.Chip, error) {
	c := &issue.Chip{}
	r := tlv.Read(b)
	for r.Next() {
		v := r.Value
		part := func(t tlv.Tag) []byte { p, _ := tlv.Find(v, t); return p }
		switch r.Tag {
		case tagFile:
			if len(v) != 6 {
				return nil, errStored
			}
			c.Files = append(c.Files, issue.File{DF: issue.DF(v[0]), FID: uint16(v[1])<<8 | uint16(v[2]), SFI: v[3], Access: issue.Access(v[4]), Right: v[5]})
		case tagMRZ:
			c.Passwords.MRZ = string(v)
		case tagCAN:
			c.Passwords.CAN = string(v)
		case tagPIN:
			c.Passwords.PINTries, c.Passwords.PIN = v[0], string(v[1:])
		case tagBAC:
			c.BAC = true
		case tagPACE:
			p, ok := lds.ProtocolByOID(part(tagFirst))
			if !ok {
				return nil, errStored
			}
			c.PACE = append(c.PACE, issue.PACE{Protocol: p, Parameters: int(part(tagSecond)[0]), Static: part(tagThird)})
		case tagCA:
			k := issue.CAKey{Parameters: int(part(tagFirst)[0]), ID: -1, Private: part(tagThird), Public: part(tagFourth)}
			if id := part(tagSecond); len(id) == 2 {
				k.ID = int(id[0])<<8 | int(id[1])
			}
			for o := tlv.Read(v); o.Next(); {
				if p, ok := lds.ProtocolByOID(o.Value); o.Tag == tagAnother && ok {
					k.Protocols = append(k.Protocols, p)
				}
			}
			c.CA = append(c.CA, k)
		case tagAA:
			h, e := part(tagFirst), part(tagFourth)
			c.AA = &issue.AAKey{
				Hash: issue.Hash(int(h[0])<<8 | int(h[1])), Parameters: int(h[2]), P: part(tagSecond), Q: part(tagThird),
				Exponent: uint32(e[0])<<24 | uint32(e[1])<<16 | uint32(e[2])<<8 | uint32(e[3]), Private: part(tagFifth),
			}
		case tagTA:
			c.TA = &issue.TA{}
		case tagDefect:
			c.Defects = append(c.Defects, issue.Defect(v))
		}
	}
	return c, r.Err()
}

// Load reads the chip from NVM.
func (c *Card) Load() error {
	b, ok := sdk.NVM.Get("m/chip")
	if !ok {
		c.chip = nil
		return nil
	}
	chip, err := decode(b)
	if err != nil {
		return err
	}
	c.chip, c.size = chip, make([]int, len(chip.Files))
	for i := range c.size {
		c.size[i], _ = sdk.NVM.Size(fileKey(i))
	}
	return nil
}
