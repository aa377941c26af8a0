package telecom

import (
	"github.com/sspemu/sspemu/bundles/sdk"
	"github.com/sspemu/sspemu/bundles/telecom/milenage"
)

// Keys of NVM. akaKey is written once, at personalisation; akaSQN is the array
// of sequence numbers, six bytes an entry.
const (
	akaKey = "aka/key"
	akaSQN = "aka/sqn"
)

// Status words of AUTHENTICATE (3GPP TS 31.102 7.3).
const swContextNotSupported sdk.SW = 0x9864

// Security contexts, P2 of AUTHENTICATE (TS 31.102 7.1.2). The others (VGCS/VBS
// 82, GBA 84, MBMS 85, local key 86) are not supported.
const (
	contextGSM = 0x80
	context3G  = 0x81
)

// akaState is the security status that AUTHENTICATE depends on (TS 31.102 7.1.1).
type akaState struct {
	usim       bool // ADF.USIM is active on the channel, the current directory is in it
	verified   bool // the application PIN is verified or disabled
	gsmAccess  bool // service 27: Kc goes with the answer in the 3G context
	gsmContext bool // service 38: the GSM context is there
}

// aka is the subscriber's secret and what AUTHENTICATE does with it (TS 31.102
// 7.1, TS 33.102 6.3). The zero value waits for load.
type aka struct {
	m   *milenage.Milenage
	seq milenage.Sequence
	sqn [6]byte // of the command under way
}

// akaRecord is the layout of akaKey.
const (
	offK     = 0
	offOPc   = 16
	offC     = 32
	offR     = offC + 5*16
	offINDs  = offR + 5
	offDelta = offINDs + 1
	offL     = offDelta + 8
	akaLen   = offL + 8
)

// personaliseAKA writes the section "authentication" of the persona to NVM.
func personaliseAKA(d *sdk.Doc) error {
	if a := d.Get("algorithm"); a.Exists() && a.Text() != "milenage" {
		return a.Refuse("is not an algorithm this bundle has; milenage is")
	}
	rec := make([]byte, akaLen)
	k := octets(d.Get("k"), 16)
	var opc []byte
	switch op := d.Get("op"); {
	case op.Exists() && d.Has("opc"):
		return op.Refuse("and opc exclude each other: opc follows from op and k")
	case op.Exists():
		v := milenage.OPc((*[16]byte)(k), (*[16]byte)(octets(op, 16)))
		opc = v[:]
	default:
		opc = octets(d.Get("opc"), 16)
	}
	copy(rec[offK:], k)
	copy(rec[offOPc:], opc)
	con := milenage.Default
	if c := d.Get("c"); c.Exists() {
		if c.Len() != 5 {
			return c.Refuse("has not five constants c1 to c5")
		}
		for i, v := range c.Items() {
			con.C[i] = [16]byte(octets(v, 16))
		}
	}
	if r := d.Get("r"); r.Exists() {
		if r.Len() != 5 {
			return r.Refuse("has not five rotations r1 to r5")
		}
		for i, v := range r.Items() {
			con.R[i] = uint8(v.Int(0, 127))
		}
	}
	for i := range con.C {
		copy(rec[offC+16*i:], con.C[i][:])
	}
	copy(rec[offR:], con.R[:])

	if amf := d.Get("amf"); amf.Exists() {
		octets(amf, 2) // the network's; kept in the persona for whoever plays the network
	}
	rule, initial := milenage.DefaultRule, milenage.SQN(0)
	if s := d.Get("sqn"); s.Exists() {
		if v := s.Get("ind_bits"); v.Exists() {
			rule.INDBits = uint8(v.Int(0, milenage.MaxINDBits))
		}
		if v := s.Get("delta"); v.Exists() {
			rule.Delta = uint64(v.Int(0, int64(milenage.MaxSQN)))
		}
		if v := s.Get("l"); v.Exists() {
			rule.L = uint64(v.Int(0, int64(milenage.MaxSQN)))
		}
		if v := s.Get("initial"); v.Exists() {
			initial = milenage.ParseSQN([6]byte(octets(v, 6)))
		}
	}
	rec[offINDs] = rule.INDBits
	putUint64(rec[offDelta:], rule.Delta)
	putUint64(rec[offL:], rule.L)
	if err := d.Err(); err != nil {
		return err
	}
	array := make([]byte, 6*rule.Entries())
	b := initial.Bytes()
	copy(array[6*rule.Index(initial):], b[:])
	if err := sdk.NVM.Put(akaKey, rec); err != nil {
		return err
	}
	return sdk.NVM.Put(akaSQN, array)
}

// octets reads n bytes in hexadecimal; when they are not there, the document
// keeps the error and the bytes are zero.
func octets(d *sdk.Doc, n int) []byte {
	b := d.Hex()
	if len(b) == n {
		return b
	}
	d.Fail("is not " + plain(n) + " bytes")
	return make([]byte, n)
}

// plain writes a small number.
func plain(n int) string {
	if n < 10 {
		return string(rune('0' + n))
	}
	return plain(n/10) + plain(n%10)
}

func putUint64(b []byte, v uint64) {
	for i := 7; i >= 0; i-- {
		b[i] = byte(v)
		v >>= 8
	}
}

func getUint64(b []byte) (v uint64) {
	for _, c := range b[:8] {
		v = v<<8 | uint64(c)
	}
	return v
}

// load reads what personaliseAKA wrote and the sequence numbers since.
func (a *aka) load() error {
	rec, ok := sdk.NVM.Get(akaKey)
	if !ok || len(rec) != akaLen || rec[offINDs] > milenage.MaxINDBits {
		return sdk.ErrInternal
	}
	con := milenage.Constants{R: [5]uint8(rec[offR:])}
	for i := range con.C {
		con.C[i] = [16]byte(rec[offC+16*i:])
	}
	a.m = milenage.New((*[16]byte)(rec[offK:]), (*[16]byte)(rec[offOPc:]), con)
	a.seq.Rule = milenage.Rule{INDBits: rec[offINDs], Delta: getUint64(rec[offDelta:]), L: getUint64(rec[offL:])}
	array, ok := sdk.NVM.Get(akaSQN)
	if !ok || len(array) != 6*a.seq.Rule.Entries() {
		return sdk.ErrInternal
	}
	a.seq.Array = make([]milenage.SQN, a.seq.Rule.Entries())
	for i := range a.seq.Array {
		a.seq.Array[i] = milenage.ParseSQN([6]byte(array[6*i:]))
	}
	return nil
}

// authenticate is AUTHENTICATE with the even instruction code (TS 31.102 7.1).
// The sequence number is in the transaction of the command: it is stored before
// the answer leaves.
func (a *aka) authenticate(c *sdk.Command, r *sdk.Response, s akaState) sdk.SW {
	var want int
	switch {
	case c.P1 != 0:
		return sdk.WrongP1P2
	case c.P2 == contextGSM:
		want = 1 + 16
	case c.P2 == context3G:
		want = 1 + 16 + 1 + 16
	default:
		return sdk.WrongP1P2
	}
	switch {
	case len(c.Data) != want, c.Data[0] != 16, want == 34 && c.Data[17] != 16:
		return sdk.WrongLength
	case !s.usim:
		return sdk.ConditionsNotSatisfied
	case !s.verified:
		return sdk.SecurityNotSatisfied
	case c.P2 == contextGSM && !s.gsmContext:
		return swContextNotSupported
	}
	rand := (*[16]byte)(c.Data[1:])
	res, ck, ik, ak := a.m.F2345(rand)
	if c.P2 == contextGSM {
		sres, kc := milenage.GSM(&res, &ck, &ik)
		r.Byte(4)
		r.Append(sres[:])
		r.Byte(8)
		r.Append(kc[:])
		return sdk.OK
	}
	autn := c.Data[18:]
	for i := range a.sqn {
		a.sqn[i] = autn[i] ^ ak[i]
	}
	sqn := milenage.ParseSQN(a.sqn)
	if macA, _ := a.m.F1(rand, sqn, [2]byte(autn[6:])); macA != [8]byte(autn[8:]) {
		return sdk.AuthIncorrectMAC
	}
	if !a.seq.Fresh(sqn) {
		auts := a.m.AUTS(rand, a.seq.Highest())
		r.TLV(0xDC, auts[:])
		return sdk.OK
	}
	// NVM first: a fault here leaves the array as it was.
	if err := sdk.NVM.Write(akaSQN, 6*a.seq.Rule.Index(sqn), a.sqn[:]); err != nil {
		return sdk.MemoryProblem
	}
	a.seq.Accept(sqn)
	// Tag DB is followed by its values with a length each, not by one length (TS
	// 31.102 7.1.2.1).
	r.Byte(0xDB)
	r.Byte(8)
	r.Append(res[:])
	r.Byte(16)
	r.Append(ck[:])
	r.Byte(16)
	r.Append(ik[:])
	if s.gsmAccess {
		_, kc := milenage.GSM(&res, &ck, &ik)
		r.Byte(8)
		r.Append(kc[:])
	}
	return sdk.OK
}
