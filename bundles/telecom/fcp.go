package telecom

import "github.com/sspemu/sspemu/bundles/sdk"

// characteristics is what a directory tells of the card (ETSI TS 102 221
// 11.1.1.4.6).
type characteristics struct {
	uicc   byte    // 11.1.1.4.6.1: clock stop and supply voltage
	power  [3]byte // 11.1.1.4.6.2: voltage class, milliampere, 100 kHz; of applications
	clock  byte    // 11.1.1.4.6.3: minimum clock frequency of applications, 100 kHz; 0: not told
	memory uint32  // 11.1.1.4.6.4: bytes available
}

// fcp adds the file control parameters template of f (TS 102 221 11.1.1.3).
func (c *Card) fcp(f *file, r *sdk.Response) {
	t := r.Begin(tagFCP)
	c.descriptor(f, r)
	if f.kind != kindADF {
		short(r, tagFileID, uint32(f.fid), 2)
	} else {
		r.TLV(tagDFName, f.aid)
	}
	if f.directory() {
		c.proprietary(f, r)
	}
	short(r, tagLifeCycle, uint32(c.life[f.index]), 1)
	short(r, tagSecurityByRef, uint32(f.ruleFID)<<8|uint32(f.ruleRecord), 3)
	if f.directory() {
		c.pinStatus(f, r)
		short(r, tagTotalFileSize, uint32(f.total), 4)
	} else {
		short(r, tagFileSize, uint32(len(f.body)), 2)
		if f.sfi > 0 {
			short(r, tagSFI, uint32(f.sfi)<<3, 1)
		} else {
			r.Begin(tagSFI) // empty: no SFI, not the low bits of the FID
		}
	}
	r.End(t)
}

// short adds a data object with n bytes of v.
func short(r *sdk.Response, tag byte, v uint32, n int) {
	r.Byte(tag)
	r.Byte(byte(n))
	for n--; n >= 0; n-- {
		r.Byte(byte(v >> (8 * n)))
	}
}

func (c *Card) descriptor(f *file, r *sdk.Response) {
	d := r.Begin(tagFileDescriptor)
	switch f.kind {
	case kindTransparent:
		r.Byte(descriptorBinary)
	case kindLinear:
		r.Byte(descriptorLinear)
	case kindCyclic:
		r.Byte(descriptorCyclic)
	default:
		r.Byte(descriptorDF)
	}
	r.Byte(dataCoding)
	if f.recordBased() {
		r.Uint16(uint16(f.recordLen))
		r.Byte(byte(f.records))
	}
	r.End(d)
}

func (c *Card) proprietary(f *file, r *sdk.Response) {
	p := r.Begin(tagProprietary)
	short(r, tagUICCCharacter, uint32(c.chars.uicc), 1)
	if f.kind == kindADF {
		r.TLV(tagPower, c.chars.power[:])
		if c.chars.clock != 0 {
			short(r, tagMinClock, uint32(c.chars.clock), 1)
		}
	}
	short(r, tagAvailableMemory, c.chars.memory, 4)
	if f.kind == kindMF {
		short(r, tagSystemCommands, systemTerminalCapability, 1)
	}
	r.End(p)
}

// pinStatus adds the PIN status template (TS 102 221 9.5.2): the global PINs and
// those of the application, a bit for each that is enabled, high bit first.
func (c *Card) pinStatus(f *file, r *sdk.Response) {
	t := r.Begin(tagPINStatus)
	n := 0
	for i := range c.pins {
		if c.pins[i].valid(f.app) {
			n++
		}
	}
	bits := r.Begin(tagPINStatusBits)
	b, at := byte(0), 0
	for i := range c.pins {
		p := &c.pins[i]
		if !p.valid(f.app) {
			continue
		}
		if p.enabled() {
			b |= 0x80 >> (at % 8)
		}
		if at++; at%8 == 0 || at == n {
			r.Byte(b)
			b = 0
		}
	}
	r.End(bits)
	for i := range c.pins {
		p := &c.pins[i]
		if !p.valid(f.app) {
			continue
		}
		if p.ref == refUniversal {
			use := uint32(usageNone)
			if c.universalInUse() {
				use = usageVerify
			}
			short(r, tagUsageQualifier, use, 1)
		}
		short(r, tagKeyReference, uint32(p.ref), 1)
	}
	r.End(t)
}
