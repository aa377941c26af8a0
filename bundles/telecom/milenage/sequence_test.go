package milenage_test

import (
	"math/rand"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/bundles/telecom/milenage"
)

// at makes a sequence number of SEQ and IND of 5 bits.
func at(seq, ind uint64) milenage.SQN { return milenage.SQN(seq<<5 | ind) }

// TestFresh plays sequence numbers in order; each line says whether the USIM
// takes it.
func TestFresh(t *testing.T) {
	type step struct {
		sqn   milenage.SQN
		fresh bool
	}
	for _, c := range []struct {
		name  string
		rule  milenage.Rule
		steps []step
		ms    milenage.SQN
	}{
		{"rising in one entry", milenage.DefaultRule, []step{{at(1, 0), true}, {at(2, 0), true}, {at(2, 0), false}, {at(1, 0), false}, {at(3, 0), true}}, at(3, 0)},
		{"SEQ zero is what a new USIM has", milenage.DefaultRule, []step{{at(0, 0), false}, {at(0, 7), false}}, 0},
		{"entries are independent", milenage.DefaultRule, []step{{at(10, 1), true}, {at(9, 2), true}, {at(9, 3), true}, {at(10, 2), true}, {at(9, 1), false}, {at(10, 4), true}}, at(10, 4)},
		{"same SEQ in another entry is fresh there", milenage.DefaultRule, []step{{at(5, 31), true}, {at(5, 30), true}, {at(5, 31), false}}, at(5, 31)},
		{"leap of Delta", milenage.Rule{INDBits: 5, Delta: 100}, []step{{at(100, 0), true}, {at(201, 1), false}, {at(200, 1), true}}, at(200, 1)},
		{"no Delta", milenage.Rule{INDBits: 5}, []step{{milenage.MaxSQN, true}, {milenage.MaxSQN, false}, {milenage.MaxSQN - 1, true}}, milenage.MaxSQN},
		{"age of L", milenage.Rule{INDBits: 5, L: 10}, []step{{at(100, 0), true}, {at(90, 1), false}, {at(91, 1), true}}, at(100, 0)},
		{"IND of 0 bits", milenage.Rule{INDBits: 0}, []step{{1, true}, {3, true}, {2, false}}, 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := milenage.Sequence{Rule: c.rule, Array: make([]milenage.SQN, c.rule.Entries())}
			for i, st := range c.steps {
				require.Equal(t, st.fresh, s.Fresh(st.sqn), "step %d: %012X", i, uint64(st.sqn))
				if st.fresh {
					require.Equal(t, c.rule.Index(st.sqn), s.Accept(st.sqn))
				}
			}
			require.Equal(t, c.ms, s.Highest())
		})
	}
}

// TestNeverTwice: no sequence number is fresh after it was accepted, in any
// order of arrival, and the highest never falls.
func TestNeverTwice(t *testing.T) {
	rnd := rand.New(rand.NewSource(1))
	s := milenage.Sequence{Rule: milenage.Rule{INDBits: 5, Delta: 1 << 10, L: 64}, Array: make([]milenage.SQN, 32)}
	used := map[milenage.SQN]bool{}
	var highest milenage.SQN
	for range 20000 {
		sqn := s.Highest() + milenage.SQN(rnd.Intn(1<<12)-1<<10)
		if sqn > milenage.MaxSQN || !s.Fresh(sqn) {
			continue
		}
		require.False(t, used[sqn])
		used[sqn] = true
		s.Accept(sqn)
		require.GreaterOrEqual(t, s.Highest(), highest)
		highest = s.Highest()
	}
	require.Greater(t, len(used), 1000)
}

func TestBytes(t *testing.T) {
	const s milenage.SQN = 0xFF9BB4D0B607
	require.Equal(t, [6]byte{0xFF, 0x9B, 0xB4, 0xD0, 0xB6, 0x07}, s.Bytes())
	require.Equal(t, s, milenage.ParseSQN(s.Bytes()))
}
