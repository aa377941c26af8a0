package nvm

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	bolt "go.etcd.io/bbolt"
)

func filled(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	s, err := Open(dir, Options{})
	require.NoError(t, err)
	s.db.NoSync = true
	for _, id := range []string{"a", "b"} {
		p, err := s.Partition(id, 0)
		require.NoError(t, err)
		for i := range 100 {
			require.NoError(t, p.Put(fmt.Appendf(nil, "file %d", i), bytes.Repeat([]byte(id), i)))
		}
		require.NoError(t, p.Commit())
	}
	require.NoError(t, s.Registry().Put([]byte("active"), []byte("a")))
	require.NoError(t, s.Registry().Commit())
	require.NoError(t, s.Close())
	return dir
}

func TestReopen(t *testing.T) {
	dir := filled(t)
	s, err := Open(dir, Options{})
	require.NoError(t, err)
	v, ok := s.Registry().Get([]byte("active"))
	require.True(t, ok)
	require.Equal(t, "a", string(v))
	a, err := s.Partition("a", 0)
	require.NoError(t, err)
	again, err := s.Partition("a", 0)
	require.NoError(t, err)
	require.Same(t, a, again)
	require.NoError(t, s.Drop("a"))
	require.NoError(t, s.Drop("never there"))
	a, err = s.Partition("a", 0)
	require.NoError(t, err)
	require.Zero(t, a.Used())
	b, err := s.Partition("b", 0)
	require.NoError(t, err)
	require.Equal(t, 100*99/2+10*6+90*7, b.Used())
	require.NoError(t, s.Close())
	require.NoFileExists(t, filepath.Join(dir, holderFile))
}

func TestInUse(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(dir, Options{})
	require.NoError(t, err)
	_, err = Open(dir, Options{})
	require.ErrorIs(t, err, ErrInUse)
	require.ErrorContains(t, err, fmt.Sprintf("process %d (%s", os.Getpid(), os.Args[0]))
	require.ErrorContains(t, err, dir)
	require.NoError(t, os.Remove(filepath.Join(dir, holderFile)))
	_, err = Open(dir, Options{})
	require.ErrorContains(t, err, "in use by another process (stop it, or choose another directory with --state)")
	require.NoError(t, s.Close())
	s, err = Open(dir, Options{})
	require.NoError(t, err)
	require.NoError(t, s.Close())
}

func TestFormat(t *testing.T) {
	for _, tt := range []struct {
		format string
		is     error
		says   string
	}{
		{"2", ErrNewer, "it has format 2, this one knows formats up to 1 (use the newer sspemu"},
		{"0", ErrDamaged, "its format is unknown"},
		{"x", ErrDamaged, "restore it from a backup"},
	} {
		t.Run(tt.format, func(t *testing.T) {
			dir := filled(t)
			db, err := bolt.Open(filepath.Join(dir, stateFile), 0o600, nil)
			require.NoError(t, err)
			require.NoError(t, db.Update(func(tx *bolt.Tx) error {
				return tx.Bucket([]byte(metaBucket)).Put([]byte(formatKey), []byte(tt.format))
			}))
			require.NoError(t, db.Close())
			_, err = Open(dir, Options{})
			require.ErrorIs(t, err, tt.is)
			require.ErrorContains(t, err, tt.says)
		})
	}
	t.Run("of another program", func(t *testing.T) {
		dir := t.TempDir()
		db, err := bolt.Open(filepath.Join(dir, stateFile), 0o600, nil)
		require.NoError(t, err)
		require.NoError(t, db.Close())
		_, err = Open(dir, Options{})
		require.ErrorContains(t, err, "is not a state of sspemu")
	})
}

func TestUnusableDirectory(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	_, err := Open(file, Options{})
	require.ErrorContains(t, err, "state directory "+file)
}

// TestDamaged: whatever stands in the file, Open and what follows give an error
// or the values that were stored, and never panic.
func TestDamaged(t *testing.T) {
	good := readFile(t, filepath.Join(filled(t), stateFile))
	r := rand.New(rand.NewPCG(3, 4))
	type damage struct {
		name string
		b    []byte
	}
	list := []damage{
		{"text", []byte(strings.Repeat("this is not a database\n", 1000))},
		{"short", []byte("x")},
		{"zeros", make([]byte, len(good))},
		{"truncated", good[:len(good)/2]},
		{"truncated in the meta pages", good[:5000]},
		{"no data pages", good[:8192]},
	}
	for i := range 300 {
		b := bytes.Clone(good)
		for range 1 + r.IntN(8) {
			b[r.IntN(len(b))] = byte(r.Uint32())
		}
		list = append(list, damage{fmt.Sprintf("bytes %d", i), b})
	}
	for i := range 60 { // a page full of noise
		b := bytes.Clone(good)
		off := r.IntN(len(b)/4096) * 4096
		for j := range 4096 {
			b[off+j] = byte(r.Uint32())
		}
		list = append(list, damage{fmt.Sprintf("page %d", i), b})
	}
	refused := 0
	for _, d := range list {
		dir := t.TempDir()
		path := filepath.Join(dir, stateFile)
		require.NoError(t, os.WriteFile(path, d.b, 0o600))
		err := func() error {
			s, err := Open(dir, Options{})
			if err != nil {
				return err
			}
			defer func() { _ = s.Close() }()
			for _, id := range []string{"a", "b"} {
				p, err := s.Partition(id, 0)
				if err != nil {
					return err
				}
				for i := range 100 {
					if v, ok := p.Get(fmt.Appendf(nil, "file %d", i)); ok {
						require.Equal(t, strings.Repeat(id, i), string(v), d.name)
					}
				}
				if err := errors.Join(p.Put([]byte("new"), make([]byte, 5000)), p.Commit()); err != nil {
					return err
				}
			}
			return nil
		}()
		if err != nil {
			refused++
			require.NotContains(t, err.Error(), "\n", d.name)
			if strings.Contains(err.Error(), "not a state of sspemu") {
				continue
			}
			require.ErrorIs(t, err, ErrDamaged, d.name)
			require.ErrorContains(t, err, path, d.name)
			require.ErrorContains(t, err, "restore it from a backup", d.name)
		} else if d.name[:5] != "bytes" && d.name[:5] != "page " {
			require.Fail(t, "accepted", d.name)
		}
	}
	require.Greater(t, refused, 100)
}

func TestFiles(t *testing.T) {
	for _, s := range []*Store{OpenMemory(Options{}), openDir(t, t.TempDir())} {
		sum, err := s.AddFile([]byte("package"))
		require.NoError(t, err)
		again, err := s.AddFile([]byte("package"))
		require.NoError(t, err)
		require.Equal(t, sum, again)
		b, err := s.File(sum)
		require.NoError(t, err)
		require.Equal(t, "package", string(b))
		require.NoError(t, s.KeepFiles(func(x string) bool { return x == sum }))
		if s.Dir() != "" {
			require.NoError(t, os.WriteFile(s.filePath(sum), []byte("damaged"), 0o600))
			_, err = s.File(sum)
			require.ErrorIs(t, err, ErrDamaged)
			_, err = s.AddFile([]byte("package"))
			require.NoError(t, err, "mended")
			_, err = s.File(sum)
			require.NoError(t, err)
		}
		require.NoError(t, s.KeepFiles(func(string) bool { return false }))
		_, err = s.File(sum)
		require.ErrorIs(t, err, os.ErrNotExist)
		require.NoError(t, s.Close())
	}
}

func openDir(t *testing.T, dir string) *Store {
	t.Helper()
	s, err := Open(dir, Options{})
	require.NoError(t, err)
	return s
}

func TestBackup(t *testing.T) {
	dir := filled(t)
	s := openDir(t, dir)
	sum, err := s.AddFile([]byte("package"))
	require.NoError(t, err)
	p, err := s.Partition("a", 0)
	require.NoError(t, err)
	p.Wipe() // not committed
	var b bytes.Buffer
	require.NoError(t, s.Backup(&b))
	require.NoError(t, s.Close())

	restored := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(restored, packageDir), 0o700))
	for r := tar.NewReader(&b); ; {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		require.NoError(t, err)
		content, err := io.ReadAll(r)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(restored, h.Name), content, 0o600))
	}
	s = openDir(t, restored)
	defer s.Close()
	p, err = s.Partition("a", 0)
	require.NoError(t, err)
	require.NotZero(t, p.Used())
	_, err = s.File(sum)
	require.NoError(t, err)

	require.ErrorContains(t, OpenMemory(Options{}).Backup(io.Discard), "ephemeral")
}

// TestKilled: a process that is killed while it commits leaves whole commits, the
// last one it told about included, and no lock.
func TestKilled(t *testing.T) {
	if dir := os.Getenv("NVM_TEST_DIR"); dir != "" {
		s := openDir(t, dir)
		p, err := s.Partition("a", 0)
		require.NoError(t, err)
		for i := 1; ; i++ {
			for _, k := range []string{"x", "y", "z"} {
				require.NoError(t, p.Put([]byte(k), fmt.Append(nil, i)))
			}
			require.NoError(t, p.Commit())
			fmt.Println("stored", i)
		}
	}
	dir := t.TempDir()
	for round := range 8 {
		cmd := exec.Command(os.Args[0], "-test.run=^TestKilled$")
		cmd.Env = append(os.Environ(), "NVM_TEST_DIR="+dir)
		out, err := cmd.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		var told int
		for range 1 + round*3 {
			_, err = fmt.Fscanf(out, "stored %d\n", &told)
			require.NoError(t, err)
		}
		require.NoError(t, cmd.Process.Kill())
		_ = cmd.Wait()
		s := openDir(t, dir)
		p, err := s.Partition("a", 0)
		require.NoError(t, err)
		var got [3]int
		for i, k := range []string{"x", "y", "z"} {
			v, _ := p.Get([]byte(k))
			_, err := fmt.Sscan(string(v), &got[i])
			require.NoError(t, err)
		}
		require.Equal(t, got[0], got[1])
		require.Equal(t, got[0], got[2])
		require.GreaterOrEqual(t, got[0], told)
		require.NoError(t, s.Close())
	}
}
