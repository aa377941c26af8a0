package nvm

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	bolt "go.etcd.io/bbolt"
)

// AddFile stores a whole file that never changes, under its SHA-256 in
// hexadecimal, which it returns. It is on disk when AddFile returns.
func (s *Store) AddFile(b []byte) (sum string, err error) {
	h := sha256.Sum256(b)
	sum = hex.EncodeToString(h[:])
	if s.db == nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.files[sum] = slices.Clone(b)
		return sum, nil
	}
	if _, err := s.File(sum); err == nil {
		return sum, nil
	}
	if err := writeFile(s.filePath(sum), b); err != nil {
		return "", fmt.Errorf("store a package in %s: %w", s.dir, full(err))
	}
	return sum, nil
}

// writeFile makes the file appear whole: written beside, synced, renamed.
func writeFile(path string, b []byte) error {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, "new-*")
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
		return err
	}
	return syncDir(dir)
}

// syncDir brings the names in a directory to disk.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func (s *Store) filePath(sum string) string { return filepath.Join(s.dir, packageDir, sum) }

// File gives a stored file. ErrDamaged: it is not what was stored.
func (s *Store) File(sum string) ([]byte, error) {
	if s.db == nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		b, ok := s.files[sum]
		if !ok {
			return nil, fmt.Errorf("package %s: %w", sum, os.ErrNotExist)
		}
		return b, nil
	}
	b, err := os.ReadFile(s.filePath(sum))
	if err != nil {
		return nil, err
	}
	if h := sha256.Sum256(b); hex.EncodeToString(h[:]) != sum {
		return nil, fmt.Errorf("%s is %w (delete the bundle and install it again)", s.filePath(sum), ErrDamaged)
	}
	return b, nil
}

// KeepFiles removes the stored files that keep does not want.
func (s *Store) KeepFiles(keep func(sum string) bool) error {
	if s.db == nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		for sum := range s.files {
			if !keep(sum) {
				delete(s.files, sum)
			}
		}
		return nil
	}
	list, err := os.ReadDir(filepath.Join(s.dir, packageDir))
	for _, f := range list {
		if !keep(f.Name()) {
			err = errors.Join(err, os.Remove(s.filePath(f.Name())))
		}
	}
	return err
}

// Backup writes the whole state, as it was last committed, as a tar archive of
// the directory. Unpacked into an empty directory it is that state again.
func (s *Store) Backup(w io.Writer) error {
	if s.db == nil {
		return errors.New("backup: an ephemeral state has none (start with --state DIR)")
	}
	t := tar.NewWriter(w)
	err := s.view(func(tx *bolt.Tx) error {
		if err := t.WriteHeader(&tar.Header{Name: stateFile, Mode: 0o600, Size: tx.Size()}); err != nil {
			return err
		}
		_, err := tx.WriteTo(t)
		return err
	})
	list, err2 := os.ReadDir(filepath.Join(s.dir, packageDir))
	err = errors.Join(err, err2)
	for _, f := range list {
		if err != nil {
			break
		}
		var b []byte
		if b, err = s.File(f.Name()); errors.Is(err, os.ErrNotExist) {
			err = nil // deleted meanwhile, together with the record that named it
			continue
		} else if err == nil {
			if err = t.WriteHeader(&tar.Header{Name: packageDir + "/" + f.Name(), Mode: 0o600, Size: int64(len(b))}); err == nil {
				_, err = t.Write(b)
			}
		}
	}
	if err = errors.Join(err, t.Close()); err != nil {
		return fmt.Errorf("backup of %s: %w", s.dir, err)
	}
	return nil
}
