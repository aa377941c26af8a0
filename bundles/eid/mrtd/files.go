package mrtd

import (
	"strconv"

	"github.com/sspemu/sspemu/bundles/eid/issue"
	"github.com/sspemu/sspemu/bundles/sdk"
	"github.com/sspemu/sspemu/internal/apdu"
	"github.com/sspemu/sspemu/internal/tlv"
)

// fileKey is where a file is in NVM. One value holds it; READ BINARY takes a part.
func fileKey(i int) string { return "m/f/" + strconv.Itoa(i) }

// may tells whether the terminal may read a file (Doc 9303-10 3.9).
func (c *Card) may(f *issue.File) bool {
	switch {
	case f.Access == issue.Always, c.has(issue.DefectNoBAC) && f.Access == issue.AfterAccess:
		return true
	case f.Access == issue.AfterPACE:
		return c.pace
	case f.Access == issue.AfterAccess:
		return c.access || !c.chip.BAC && len(c.chip.PACE) == 0
	}
	return c.access && c.terminal.rights&f.Right != 0
}

func (c *Card) find(is func(*issue.File) bool) int {
	for i := range c.chip.Files {
		if f := &c.chip.Files[i]; byte(f.DF) == c.df && is(f) {
			return 1 + i
		}
	}
	return 0
}

// selectFile is SELECT by file identifier: the master file, or a file of the current
// directory (Doc 9303-10 3.6.3.1).
func (c *Card) selectFile(cmd *sdk.Command, r *sdk.Response) sdk.SW {
	if cmd.P2&^0x0C != 0 {
		return apdu.WrongP1P2
	}
	fid := uint16(0x3F00) // 00A4000C without data is what some readers begin with
	switch {
	case len(cmd.Data) == 2:
		fid = uint16(cmd.Data[0])<<8 | uint16(cmd.Data[1])
	case len(cmd.Data) > 0 || cmd.P1 == 0x02:
		return apdu.WrongLength
	}
	switch cmd.P1 {
	case 0x00:
		if fid == 0x3F00 {
			c.df, c.file = byte(issue.MF), 0
			return apdu.OK
		}
	case 0x02:
	default:
		return apdu.WrongP1P2
	}
	n := c.find(func(f *issue.File) bool { return f.FID == fid })
	if n == 0 {
		return apdu.FileNotFound
	}
	if !c.may(&c.chip.Files[n-1]) {
		return apdu.SecurityNotSatisfied
	}
	c.file = n
	c.control(n-1, cmd.P2, r)
	return apdu.OK
}

// control is the file control information that P2 asks for (ISO/IEC 7816-4 table 10).
func (c *Card) control(i int, p2 byte, r *sdk.Response) {
	tag, ok := map[byte]uint32{0x00: 0x6F, 0x04: 0x62}[p2]
	if !ok {
		return
	}
	f := &c.chip.Files[i]
	m := r.Begin(tag)
	n := min(c.size[i], 0xFFFF)
	r.TLV(0x80, []byte{byte(n >> 8), byte(n)})
	r.TLV(0x82, []byte{0x01})
	r.TLV(0x83, []byte{byte(f.FID >> 8), byte(f.FID)})
	r.TLV(0x88, []byte{f.SFI << 3})
	r.End(m)
}

// current is the file that a command is about: the current one, or by short identifier,
// which becomes the current one.
func (c *Card) current(sfi byte) (int, sdk.SW) {
	n := c.file
	if sfi > 0 {
		if n = c.find(func(f *issue.File) bool { return f.SFI == sfi }); n == 0 {
			return 0, apdu.FileNotFound
		}
	}
	switch {
	case n == 0:
		return 0, apdu.NoCurrentEF
	case !c.may(&c.chip.Files[n-1]):
		return 0, apdu.SecurityNotSatisfied
	}
	c.file = n
	return n - 1, apdu.OK
}

// whole tells whether Ne is that of a Le of zeros: as much as there is.
func whole(cmd *sdk.Command) bool {
	return cmd.Ne == apdu.MaxShortNe && !cmd.Extended || cmd.Ne == apdu.MaxExtendedNe
}

// part gives n octets of file i from at on, or what there is of them.
func (c *Card) part(i, at, n int, r *sdk.Response) sdk.SW {
	if c.has(issue.DefectShortRead) {
		n = (n + 1) / 2
	}
	left := c.size[i] - at
	if c.has(issue.DefectEndless) && left < n {
		if b := r.Extend(n); b != nil {
			clear(b)
			_, _ = sdk.NVM.Read(fileKey(i), at, b[:max(min(left, n), 0)])
		}
		return apdu.OK
	}
	b := r.Extend(min(n, left))
	if b == nil && left > 0 {
		return apdu.NoPreciseDiagnosis
	}
	if got, err := sdk.NVM.Read(fileKey(i), at, b); err != nil || got != len(b) {
		return apdu.MemoryProblem
	}
	return apdu.OK
}

// room is what an answer holds beside what secure messaging adds to it.
const room = 65536 - 64

// readBinary is READ BINARY with the offset in P1 and P2, up to 32767 (ISO/IEC 7816-4
// 11.3.3).
func (c *Card) readBinary(cmd *sdk.Command, r *sdk.Response) sdk.SW {
	sfi, at := byte(0), int(cmd.P1)<<8|int(cmd.P2)
	if cmd.P1&0x80 != 0 {
		if cmd.P1&0x60 != 0 {
			return apdu.WrongP1P2
		}
		sfi, at = cmd.P1&0x1F, int(cmd.P2)
	}
	if len(cmd.Data) > 0 || cmd.Ne == 0 {
		return apdu.WrongLength
	}
	i, sw := c.current(sfi)
	if sw != apdu.OK {
		return sw
	}
	if at >= c.size[i] && !c.has(issue.DefectEndless) {
		return apdu.WrongP1P2NoInfo
	}
	n := min(cmd.Ne, room)
	if sw = c.part(i, at, n, r); sw == apdu.OK && r.Len() < n && !whole(cmd) && !c.has(issue.DefectShortRead) {
		return apdu.EndOfFile
	}
	return sw
}

// readBinaryOdd is READ BINARY with the offset in a data object 54; the answer is one 53
// (ISO/IEC 7816-4 11.3.3; Doc 9303-10 3.6.3.2).
func (c *Card) readBinaryOdd(cmd *sdk.Command, r *sdk.Response) sdk.SW {
	p := uint16(cmd.P1)<<8 | uint16(cmd.P2)
	if p > 0x1E {
		return apdu.WrongP1P2 // files by identifier: SELECT
	}
	offset, err := tlv.Find(cmd.Data, 0x54)
	switch {
	case err != nil || len(offset) == 0 || len(offset) > 4:
		return apdu.WrongData
	case cmd.Ne < 3:
		return apdu.WrongLength
	}
	at := 0
	for _, b := range offset {
		at = at<<8 | int(b)
	}
	i, sw := c.current(byte(p))
	if sw != apdu.OK {
		return sw
	}
	if at >= c.size[i] {
		return apdu.WrongP1P2NoInfo
	}
	n := min(cmd.Ne, room) - 2 // what Ne leaves beside tag and length
	for l := 0x80; l <= 0x100 && n >= l; l <<= 1 {
		n--
	}
	m := r.Begin(0x53)
	before := r.Len()
	sw = c.part(i, at, n, r)
	short := r.Len()-before < n
	r.End(m)
	if sw == apdu.OK && short && !whole(cmd) && !c.has(issue.DefectShortRead) {
		return apdu.EndOfFile
	}
	return sw
}
