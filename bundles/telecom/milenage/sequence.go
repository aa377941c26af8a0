package milenage

// SQN is a sequence number of 48 bits: SEQ and, in the lowest bits, IND (TS
// 33.102 C.1.1.1).
type SQN uint64

// MaxSQN is the highest sequence number.
const MaxSQN SQN = 1<<48 - 1

// Bytes is the sequence number as it is sent, most significant byte first.
func (s SQN) Bytes() [6]byte {
	return [6]byte{byte(s >> 40), byte(s >> 32), byte(s >> 24), byte(s >> 16), byte(s >> 8), byte(s)}
}

// ParseSQN reads what Bytes writes.
func ParseSQN(b [6]byte) SQN {
	return SQN(b[0])<<40 | SQN(b[1])<<32 | SQN(b[2])<<24 | SQN(b[3])<<16 | SQN(b[4])<<8 | SQN(b[5])
}

// MaxINDBits bounds Rule.INDBits and with it the size of the array.
const MaxINDBits = 8

// Rule decides which sequence numbers are fresh (TS 33.102 C.2).
type Rule struct {
	INDBits uint8  // bits of IND: the array has 2^INDBits entries (C.1.1.1); 5 is the profiles' value (C.3)
	Delta   uint64 // greatest leap of SEQ over the highest one accepted, against wrap around (C.2.1); 0: no limit
	L       uint64 // greatest age of SEQ under the highest one accepted (C.2.2); 0: no limit
}

// DefaultRule is the profile of TS 33.102 C.3: IND of 5 bits, a leap of at most
// 2^28, no limit of age.
var DefaultRule = Rule{INDBits: 5, Delta: 1 << 28}

// Entries is the size of the array of sequence numbers.
func (r Rule) Entries() int { return 1 << r.INDBits }

// Index is the entry of the array that sqn belongs to: its IND.
func (r Rule) Index(sqn SQN) int { return int(sqn) & (1<<r.INDBits - 1) }

// Sequence is the array of the highest sequence numbers accepted, one for each
// IND, as a USIM keeps it (TS 33.102 C.1.2).
type Sequence struct {
	Rule  Rule
	Array []SQN // Rule.Entries() of them
}

// Highest is SQNMS: the highest sequence number accepted so far, with the IND it
// came with.
func (s *Sequence) Highest() (ms SQN) {
	for _, v := range s.Array {
		ms = max(ms, v)
	}
	return ms
}

// Fresh tells whether sqn may be accepted (TS 33.102 C.2.1, C.2.2).
func (s *Sequence) Fresh(sqn SQN) bool {
	b := s.Rule.INDBits
	seq, ms := uint64(sqn>>b), uint64(s.Highest()>>b)
	switch {
	case s.Rule.Delta > 0 && seq > ms && seq-ms > s.Rule.Delta:
		return false
	case s.Rule.L > 0 && ms > seq && ms-seq >= s.Rule.L:
		return false
	}
	return seq > uint64(s.Array[s.Rule.Index(sqn)]>>b)
}

// Accept enters a fresh sqn into the array and says where.
func (s *Sequence) Accept(sqn SQN) (index int) {
	index = s.Rule.Index(sqn)
	s.Array[index] = sqn
	return index
}
