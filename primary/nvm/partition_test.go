package nvm

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	bolt "go.etcd.io/bbolt"

	"github.com/sspemu/sspemu/internal/vpp"
)

func TestPartition(t *testing.T) {
	p, err := OpenMemory(Options{}).Partition("a", 20)
	require.NoError(t, err)
	k := func(s string) []byte { return []byte(s) }

	require.ErrorIs(t, p.Put(nil, nil), vpp.EIllegalParameter)
	require.ErrorIs(t, p.Put(make([]byte, 256), nil), vpp.EIllegalParameter)
	require.ErrorIs(t, p.Delete(k("x")), vpp.EUnknownID)
	require.ErrorIs(t, p.WriteAt(k("x"), 0, nil), vpp.EUnknownID)
	require.False(t, p.Dirty())

	val := []byte("0123456789")
	require.NoError(t, p.Put(k("b"), val))
	val[0] = 'X'
	require.NoError(t, p.Put(k("a"), nil))
	require.Equal(t, 12, p.Used())
	got, ok := p.Get(k("b"))
	require.True(t, ok)
	require.Equal(t, "0123456789", string(got), "a copy")
	got, ok = p.Get(k("a"))
	require.True(t, ok)
	require.Empty(t, got)
	require.NoError(t, p.Commit())
	require.False(t, p.Dirty())

	for _, off := range []int{-1, 9, 11, 1 << 40} {
		require.ErrorIs(t, p.WriteAt(k("b"), off, k("##")), vpp.EIllegalParameter)
	}
	require.NoError(t, p.WriteAt(k("b"), 8, k("##")))
	require.NoError(t, p.WriteAt(k("b"), 10, nil))
	require.NoError(t, p.WriteAt(k("b"), 0, k("##")))
	got, _ = p.Get(k("b"))
	require.Equal(t, "##234567##", string(got))
	p.Rollback()
	got, _ = p.Get(k("b"))
	require.Equal(t, "0123456789", string(got))

	require.ErrorIs(t, p.Put(k("c"), make([]byte, 8)), vpp.ENoSpace)
	require.NoError(t, p.Put(k("c"), make([]byte, 7)))
	require.Equal(t, 20, p.Used())
	require.ErrorIs(t, p.Put(k("b"), make([]byte, 11)), vpp.ENoSpace)
	require.NoError(t, p.Put(k("b"), make([]byte, 9)), "shorter always fits")
	p.Wipe()
	require.Zero(t, p.Used())
	_, ok = p.Next(nil)
	require.False(t, ok)
	p.Rollback()
	require.Equal(t, 12, p.Used())

	var keys []string
	for k, ok := p.Next(nil); ok; k, ok = p.Next(k) {
		keys = append(keys, string(k))
	}
	require.Equal(t, []string{"a", "b"}, keys)
	next, _ := p.Next(k("aa"))
	require.Equal(t, "b", string(next), "of a key that is not there")
}

// model is what a Partition should be: two maps.
type model struct{ committed, live map[string]string }

// TestModel plays random operations on a Store on disk and on the model, with
// rollback, reopening, full disks and power cuts, and compares all there is.
func TestModel(t *testing.T) {
	for seed := range uint64(8) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			playModel(t, rand.New(rand.NewPCG(seed, 0)), 4000)
		})
	}
}

func playModel(t *testing.T, r *rand.Rand, steps int) {
	dir, tear := t.TempDir(), NoTear
	open := func() (*Store, *Partition) {
		s, err := Open(dir, Options{Tear: func() Tear { return tear }})
		require.NoError(t, err)
		p, err := s.Partition("bundle", 3000)
		require.NoError(t, err)
		return s, p
	}
	s, p := open()
	// Reopening would wait for the disk otherwise; power cuts are of our making here.
	s.db.NoSync = true
	m := model{map[string]string{}, map[string]string{}}
	check := func() {
		t.Helper()
		var got []string
		used := 0
		for k, ok := p.Next(nil); ok; k, ok = p.Next(k) {
			got = append(got, string(k))
		}
		require.Equal(t, slices.Sorted(maps.Keys(m.live)), got)
		for k, v := range m.live {
			val, ok := p.Get([]byte(k))
			require.True(t, ok)
			require.Equal(t, v, string(val))
			used += len(k) + len(v)
		}
		require.Equal(t, used, p.Used())
	}
	for range steps {
		k := strings.Repeat(string(rune('a'+r.IntN(8))), 1+r.IntN(4))
		v := strings.Repeat(string(rune('A'+r.IntN(26))), r.IntN(200))
		old, ok := m.live[k]
		switch n := r.IntN(100); {
		case n < 40:
			used := p.Used() + len(v) - len(old)
			if !ok {
				used += len(k)
			}
			err := p.Put([]byte(k), []byte(v))
			if used > 3000 && len(v) > len(old) {
				require.ErrorIs(t, err, vpp.ENoSpace)
			} else {
				require.NoError(t, err)
				m.live[k] = v
			}
		case n < 60 && ok && len(old) > 0:
			off := r.IntN(len(old))
			part := v[:min(len(v), len(old)-off)]
			require.NoError(t, p.WriteAt([]byte(k), off, []byte(part)))
			m.live[k] = old[:off] + part + old[off+len(part):]
		case n < 75:
			err := p.Delete([]byte(k))
			if ok {
				require.NoError(t, err)
			} else {
				require.ErrorIs(t, err, vpp.EUnknownID)
			}
			delete(m.live, k)
		case n < 76:
			p.Wipe()
			clear(m.live)
		case n < 90:
			require.NoError(t, p.Commit())
			m.committed = maps.Clone(m.live)
		case n < 94:
			p.Rollback()
			m.live = maps.Clone(m.committed)
		case n < 96: // the end, without commit
			require.NoError(t, s.Close())
			s, p = open()
			s.db.NoSync = true
			m.live = maps.Clone(m.committed)
		case n < 98: // power cut
			tear = TearBefore + Tear(r.IntN(2))
			err := p.Commit()
			if err != nil {
				require.ErrorIs(t, err, ErrTorn)
				require.ErrorIs(t, p.s.Drop("other"), ErrTorn)
				if tear == TearAfter {
					m.committed = maps.Clone(m.live)
				}
			} else {
				require.Equal(t, m.committed, m.live, "nothing to store")
			}
			tear = NoTear
			require.NoError(t, s.Close())
			s, p = open()
			s.db.NoSync = true
			m.live = maps.Clone(m.committed)
		default: // the disk takes no more
			s.db.MaxSize = 1
			big := make([]byte, 1000)
			if p.Put([]byte("full"), big) == nil {
				err := p.Commit()
				if err != nil {
					require.ErrorIs(t, err, ErrFull)
					p.Rollback()
					m.live = maps.Clone(m.committed)
				} else { // there was a free page
					m.live["full"] = string(big)
					m.committed = maps.Clone(m.live)
				}
			}
			s.db.MaxSize = 0
		}
		check()
	}
	require.NoError(t, s.Close())
}

// TestPowerCut builds every state that a power cut during a commit can leave on
// the disk (bbolt writes the data pages in any order, syncs, writes one meta page,
// syncs) and opens each.
func TestPowerCut(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	dir := t.TempDir()
	s, err := Open(dir, Options{})
	require.NoError(t, err)
	s.db.NoSync = true
	p, err := s.Partition("b", 0)
	require.NoError(t, err)
	page := s.db.Info().PageSize
	contents := func(p *Partition) string {
		var b strings.Builder
		for k, ok := p.Next(nil); ok; k, ok = p.Next(k) {
			v, _ := p.Get(k)
			fmt.Fprintf(&b, "%s=%s ", k, v)
		}
		return b.String()
	}
	cuts := 0
	for range 40 {
		before, old := readFile(t, s.path()), contents(p)
		for range 1 + r.IntN(5) {
			key := fmt.Appendf(nil, "key %d", r.IntN(20))
			if r.IntN(4) == 0 {
				_ = p.Delete(key)
			} else {
				require.NoError(t, p.Put(key, fmt.Appendf(nil, "%x", r.Uint64N(1<<r.IntN(64))+1)))
			}
		}
		require.NoError(t, p.Commit())
		after, now := readFile(t, s.path()), contents(p)

		var data, meta []int // pages that changed
		for off := 0; off < len(after); off += page {
			if off >= len(before) || string(before[off:off+page]) != string(after[off:off+page]) {
				if off < 2*page {
					meta = append(meta, off)
				} else {
					data = append(data, off)
				}
			}
		}
		grown := append(slices.Clone(before), make([]byte, len(after)-len(before))...)
		try := func(image []byte, want string) {
			t.Helper()
			cuts++
			d := t.TempDir()
			require.NoError(t, os.MkdirAll(d+"/packages", 0o700))
			require.NoError(t, os.WriteFile(d+"/state.db", image, 0o600))
			s, err := Open(d, Options{})
			require.NoError(t, err)
			p, err := s.Partition("b", 0)
			require.NoError(t, err)
			require.Equal(t, want, contents(p))
			require.NoError(t, s.Close())
		}
		for range 5 {
			image := slices.Clone(grown)
			for _, off := range data {
				switch r.IntN(3) {
				case 0:
					copy(image[off:], after[off:off+page])
				case 1: // torn within the page
					copy(image[off:], after[off:off+r.IntN(page)])
				}
			}
			try(image, old)
		}
		if len(meta) == 1 { // one transaction
			image := slices.Clone(after)
			copy(image[meta[0]:], before[meta[0]:meta[0]+page])
			try(image, old)
			copy(image[meta[0]:], after[meta[0]:meta[0]+16+r.IntN(48)]) // torn before the checksum
			image[meta[0]+16+48] ^= 1
			try(image, old)
			try(after, now)
		}
	}
	require.Greater(t, cuts, 200)
	require.NoError(t, s.Close())
}

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	return b
}

func TestUnchangedIsNotWritten(t *testing.T) {
	commits := 0
	s := OpenMemory(Options{Tear: func() Tear { commits++; return NoTear }})
	p, err := s.Partition("a", 0)
	require.NoError(t, err)
	require.NoError(t, p.Put([]byte("k"), []byte("v")))
	require.NoError(t, p.Commit())
	require.NoError(t, p.Put([]byte("k"), []byte("v")))
	require.NoError(t, p.Put([]byte("l"), nil))
	require.NoError(t, p.Delete([]byte("l")))
	require.True(t, p.Dirty())
	require.NoError(t, p.Commit())
	require.Equal(t, 1, commits)
}

// TestFailedCommitIsRepaired: when a commit failed although it reached the disk,
// the next one writes what memory holds.
func TestFailedCommitIsRepaired(t *testing.T) {
	s, err := Open(t.TempDir(), Options{})
	require.NoError(t, err)
	defer s.Close()
	p, err := s.Partition("a", 0)
	require.NoError(t, err)
	require.NoError(t, p.Put([]byte("k"), []byte("old")))
	require.NoError(t, p.Commit())
	require.NoError(t, p.Put([]byte("k"), []byte("new")))
	s.tear = func() Tear { return TearAfter }
	require.Error(t, p.Commit())
	s.tear, s.torn = nil, false
	p.Rollback()
	require.NoError(t, p.Put([]byte("other"), nil))
	require.NoError(t, p.Commit())
	require.NoError(t, s.view(func(tx *bolt.Tx) error {
		require.Equal(t, "old", string(tx.Bucket([]byte("bundle:a")).Get([]byte("k"))[sumSize:]))
		return nil
	}))
}

func BenchmarkGet(b *testing.B) {
	p, err := OpenMemory(Options{}).Partition("a", 0)
	require.NoError(b, err)
	key := []byte("3F00/2FE2")
	require.NoError(b, p.Put(key, make([]byte, 10)))
	require.NoError(b, p.Commit())
	b.ReportAllocs()
	for b.Loop() {
		_, _ = p.Get(key)
	}
}

func BenchmarkCommit(b *testing.B) {
	s, err := Open(b.TempDir(), Options{})
	require.NoError(b, err)
	defer s.Close()
	p, err := s.Partition("a", 0)
	require.NoError(b, err)
	key := []byte("3F00/2FE2")
	var val [10]byte
	for b.Loop() {
		val[0]++
		require.NoError(b, p.Put(key, val[:]))
		require.NoError(b, p.Commit())
	}
}
