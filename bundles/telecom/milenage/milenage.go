// Package milenage is the MILENAGE algorithm set of 3GPP TS 35.206: the
// functions f1, f1*, f2, f3, f4, f5 and f5* around AES-128, and what a USIM puts
// around them: the conversion to GSM and the management of sequence numbers.
//
//	RAND, AUTN ──> Milenage ──> RES, CK, IK, AK, MAC-A ──> AUTHENTICATE of the USIM
//	               Sequence ──> fresh or not, SQNMS ──> AUTS
//
// It is safe inside a guest and does not allocate: AES is its own (aes.go),
// because crypto/aes makes a WebAssembly guest half a megabyte larger.
//
// Sources: 3GPP TS 35.206 (algorithms), TS 33.102 6.3, 6.8.1.2 and annex C
// (authentication, GSM, sequence numbers). The numbers of TS 35.207, TS 35.208
// and TS 55.205 that prove it are data, see package vectors.
package milenage

// Constants are the parameters c1 to c5 and r1 to r5 that an operator may choose
// (TS 35.206 5.3). The rotations are counted in bits towards the most
// significant bit and are 0 to 127.
type Constants struct {
	C [5][16]byte
	R [5]uint8
}

// Default are the constants of TS 35.206 4.1.
var Default = Constants{
	C: [5][16]byte{{}, {15: 1}, {15: 2}, {15: 4}, {15: 8}},
	R: [5]uint8{64, 0, 32, 64, 96},
}

// Milenage computes for one subscriber. It keeps the key schedule and working
// memory: use it from one goroutine at a time.
type Milenage struct {
	aes  aes128
	opc  [16]byte
	con  Constants
	temp [16]byte // E[RAND xor OPc]K
	out  [16]byte
}

// New makes the functions for the subscriber key k and the operator variant opc
// (OPc, see OPc) with the constants con.
func New(k, opc *[16]byte, con Constants) *Milenage {
	m := &Milenage{opc: *opc, con: con}
	m.aes.expand(k)
	return m
}

// OPc derives the operator variant of one subscriber from the operator's op:
// OP xor E[OP]K (TS 35.206 4.1).
func OPc(k, op *[16]byte) (opc [16]byte) {
	var a aes128
	a.expand(k)
	opc = *op
	a.encrypt(&opc)
	xor(&opc, op)
	return opc
}

func xor(dst, b *[16]byte) {
	for i := range dst {
		dst[i] ^= b[i]
	}
}

// start computes TEMP, which all functions begin with.
func (m *Milenage) start(rand *[16]byte) {
	m.temp = *rand
	xor(&m.temp, &m.opc)
	m.aes.encrypt(&m.temp)
}

// block computes OUTn, n from 1, of in: E[in xor rot(x xor OPc, r) xor c]K xor
// OPc. For OUT1 in is TEMP and x is IN1; for the others in is zero and x TEMP
// (TS 35.206 4.1).
func (m *Milenage) block(n int, in, x *[16]byte) *[16]byte {
	t := *x
	xor(&t, &m.opc)
	rotate(&m.out, &t, m.con.R[n-1])
	xor(&m.out, &m.con.C[n-1])
	if in != nil {
		xor(&m.out, in)
	}
	m.aes.encrypt(&m.out)
	xor(&m.out, &m.opc)
	return &m.out
}

// rotate puts src, turned by r bits towards the most significant bit, into dst.
func rotate(dst, src *[16]byte, r uint8) {
	by, bit := int(r>>3), r&7
	for i := range dst {
		hi, lo := src[(i+by)&15], src[(i+by+1)&15]
		dst[i] = hi<<bit | lo>>(8-bit)
	}
}

// F1 computes the network authentication code MAC-A (f1) and the
// resynchronisation code MAC-S (f1*) of the sequence number and AMF.
func (m *Milenage) F1(rand *[16]byte, sqn SQN, amf [2]byte) (macA, macS [8]byte) {
	var in1 [16]byte
	s := sqn.Bytes()
	copy(in1[0:], s[:])
	copy(in1[6:], amf[:])
	copy(in1[8:], in1[:8])
	m.start(rand)
	out := m.block(1, &m.temp, &in1)
	return [8]byte(out[:8]), [8]byte(out[8:])
}

// F2345 computes the response RES (f2), the keys CK (f3) and IK (f4) and the
// anonymity key AK (f5).
func (m *Milenage) F2345(rand *[16]byte) (res [8]byte, ck, ik [16]byte, ak [6]byte) {
	m.start(rand)
	out := m.block(2, nil, &m.temp)
	res, ak = [8]byte(out[8:]), [6]byte(out[:6])
	ck = *m.block(3, nil, &m.temp)
	ik = *m.block(4, nil, &m.temp)
	return res, ck, ik, ak
}

// F5Star computes the anonymity key of a resynchronisation (f5*).
func (m *Milenage) F5Star(rand *[16]byte) (ak [6]byte) {
	m.start(rand)
	return [6]byte(m.block(5, nil, &m.temp)[:6])
}

// AUTS is what a USIM answers to a sequence number that is not fresh: SQNMS xor
// f5*, then f1* over it with an AMF of zero (TS 33.102 6.3.3).
func (m *Milenage) AUTS(rand *[16]byte, sqnMS SQN) (auts [14]byte) {
	_, macS := m.F1(rand, sqnMS, [2]byte{})
	ak := m.F5Star(rand)
	s := sqnMS.Bytes()
	for i := range ak {
		auts[i] = s[i] ^ ak[i]
	}
	copy(auts[6:], macS[:])
	return auts
}

// GSM converts a quintet's part to the GSM context: SRES by c2 and Kc by c3 (TS
// 33.102 6.8.1.2).
func GSM(res *[8]byte, ck, ik *[16]byte) (sres [4]byte, kc [8]byte) {
	for i := range sres {
		sres[i] = res[i] ^ res[i+4]
	}
	for i := range kc {
		kc[i] = ck[i] ^ ck[i+8] ^ ik[i] ^ ik[i+8]
	}
	return sres, kc
}
