package nvm

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// Format is the version of the state on disk. A state of a later format is
// refused.
const Format = 1

// What Open refuses, one for each decision its caller can take.
var (
	ErrInUse   = errors.New("in use")
	ErrDamaged = errors.New("damaged")
	ErrNewer   = errors.New("written by a newer sspemu")
	// ErrTorn: Options.Tear cut the power; only reopening helps.
	ErrTorn = errors.New("the power was cut")
)

// Names in the directory.
const (
	stateFile  = "state.db"
	holderFile = "holder.json"
	packageDir = "packages"
)

// Names of buckets.
const (
	metaBucket      = "sspemu"
	registryBucket  = "platform"
	partitionPrefix = "bundle:"
)

const formatKey = "format"

// Tear says where a power cut hits a commit.
type Tear uint8

// Where a power cut hits a commit.
const (
	NoTear     Tear = iota
	TearBefore      // nothing of it is on disk
	TearAfter       // all of it is on disk, but nobody learns that
)

// Options of Open and OpenMemory.
type Options struct {
	// Tear is asked at each commit, for tests of tearing; nil: never.
	Tear func() Tear
	// MaxSize bounds state.db in bytes, as a full disk does; 0: no bound.
	MaxSize int
}

// Store is the non-volatile memory of one platform. It is safe for use by
// several goroutines; its partitions are not.
type Store struct {
	dir    string   // "" in memory
	db     *bolt.DB // nil in memory
	file   *os.File // of db
	tear   func() Tear
	broken atomic.Bool // the file is damaged: bbolt may still hold its locks

	mu       sync.Mutex
	torn     bool
	parts    map[string]*Partition // by bucket
	files    map[string][]byte     // in memory: packages by sum
	registry *Partition
}

// OpenMemory makes a Store that ends with the process.
func OpenMemory(o Options) *Store {
	s := &Store{tear: o.Tear, parts: map[string]*Partition{}, files: map[string][]byte{}}
	s.registry, _ = s.open(registryBucket, 0) // nothing to read, so nothing that fails
	return s
}

// Open opens the state in dir, which is made if it is not there. ErrInUse: a
// process has it open, and the error says which; ErrDamaged and ErrNewer say what
// to do.
func Open(dir string, o Options) (*Store, error) {
	fail := func(err error) (*Store, error) { return nil, fmt.Errorf("state directory %s: %w", dir, err) }
	if err := os.MkdirAll(filepath.Join(dir, packageDir), 0o700); err != nil {
		return fail(err)
	}
	path := filepath.Join(dir, stateFile)
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		if err := create(dir, path); err != nil {
			return fail(err)
		}
	}
	s := &Store{dir: dir, tear: o.Tear, parts: map[string]*Partition{}}
	var err error
	if s.db, s.file, err = openBolt(path, o.MaxSize); err != nil {
		if errors.Is(err, bolterrors.ErrTimeout) {
			err = fmt.Errorf("%w by %s (stop it, or choose another directory with --state)", ErrInUse, s.holder())
		}
		return fail(err)
	}
	if err = s.checkFormat(); err == nil {
		s.registry, err = s.open(registryBucket, 0)
	}
	if err == nil {
		err = s.hold()
	}
	if err != nil {
		_ = s.closeBolt()
		return fail(err)
	}
	return s, nil
}

// create makes an empty state.db so that it is there whole or not at all.
func create(dir, path string) error {
	f, err := os.CreateTemp(dir, "new-*")
	if err != nil {
		return err
	}
	_ = f.Close()
	defer os.Remove(f.Name())
	db, _, err := openBolt(f.Name(), 0)
	if err != nil {
		return err
	}
	err = db.Update(func(tx *bolt.Tx) error {
		b, err := tx.CreateBucket([]byte(metaBucket))
		if err != nil {
			return err
		}
		return b.Put([]byte(formatKey), []byte(strconv.Itoa(Format)))
	})
	if err = errors.Join(err, db.Close()); err != nil {
		return err
	}
	// A link does not replace what another process made meanwhile.
	if err := os.Link(f.Name(), path); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	return syncDir(dir)
}

// openBolt opens a file of bbolt; what bbolt makes of a damaged one is an error.
func openBolt(path string, maxSize int) (db *bolt.DB, file *os.File, err error) {
	err = guard(path, func() (err error) {
		db, err = bolt.Open(path, 0o600, &bolt.Options{
			Timeout:      100 * time.Millisecond, // a process that was just killed may still hold it
			FreelistType: bolt.FreelistMapType,
			MaxSize:      maxSize,
			NoStatistics: true,
			OpenFile: func(name string, flag int, mode os.FileMode) (*os.File, error) {
				f, err := os.OpenFile(name, flag, mode)
				file = f
				return f, err
			},
		})
		return err
	})
	if err != nil && db == nil && file != nil {
		_ = file.Close() // bbolt left it open, with its lock, if it panicked
	}
	for _, bad := range []error{bolterrors.ErrInvalid, bolterrors.ErrVersionMismatch, bolterrors.ErrChecksum, bolterrors.ErrInvalidMapping} {
		if errors.Is(err, bad) {
			err = damaged(path, err.Error())
		}
	}
	if err != nil && strings.Contains(err.Error(), "file size too small") {
		err = damaged(path, err.Error())
	}
	return db, file, err
}

func damaged(path string, why any) error {
	return fmt.Errorf("%s is %w: %v (restore it from a backup, or move it away to start with an empty state)", path, ErrDamaged, why)
}

// guard runs f, which reads a file that may be damaged: bbolt panics on what it
// does not expect, and reads beyond the end of a mapped file are memory faults.
func guard(path string, f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			err = damaged(path, r)
		}
	}()
	return f()
}

func (s *Store) path() string { return filepath.Join(s.dir, stateFile) }

// view and update are transactions of bbolt that survive a damaged file.
func (s *Store) view(f func(tx *bolt.Tx) error) error {
	return s.guard(func() error { return s.db.View(f) })
}

// guard lets nobody touch a file again that turned out to be damaged.
func (s *Store) guard(f func() error) error {
	if s.broken.Load() {
		return damaged(s.path(), "as was found before")
	}
	err := guard(s.path(), f)
	if errors.Is(err, ErrDamaged) {
		s.broken.Store(true)
	}
	return err
}

func (s *Store) closeBolt() error {
	if s.broken.Load() {
		return s.file.Close() // and with it the lock
	}
	return s.db.Close()
}

func (s *Store) update(f func(tx *bolt.Tx) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.torn {
		return ErrTorn
	}
	var t Tear
	if s.tear != nil {
		t = s.tear()
	}
	s.torn = t != NoTear
	if s.db != nil && t != TearBefore {
		if err := s.guard(func() error { return s.db.Update(f) }); err != nil {
			return fmt.Errorf("store in %s: %w", s.path(), err)
		}
	}
	if s.torn {
		return ErrTorn
	}
	return nil
}

func (s *Store) checkFormat() error {
	return s.view(func(tx *bolt.Tx) error {
		b := tx.Bucket([]byte(metaBucket))
		if b == nil {
			return fmt.Errorf("%s is not a state of sspemu (choose another directory with --state)", s.path())
		}
		f, err := strconv.Atoi(string(b.Get([]byte(formatKey))))
		switch {
		case err != nil || f < 1:
			return damaged(s.path(), "its format is unknown")
		case f > Format:
			return fmt.Errorf("%w: it has format %d, this one knows formats up to %d (use the newer sspemu, or another directory with --state)", ErrNewer, f, Format)
		}
		return nil
	})
}

// holder is what holder.json holds.
type holder struct {
	PID     int       `json:"pid"`
	Command string    `json:"command"`
	Since   time.Time `json:"since"`
}

func (s *Store) hold() error {
	b, err := json.Marshal(holder{os.Getpid(), strings.Join(os.Args, " "), time.Now().Round(time.Second)})
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(s.dir, holderFile), b, 0o600)
}

// holder says in words who has the directory open.
func (s *Store) holder() string {
	var h holder
	b, err := os.ReadFile(filepath.Join(s.dir, holderFile))
	if err != nil || json.Unmarshal(b, &h) != nil || h.PID == 0 {
		return "another process"
	}
	return fmt.Sprintf("process %d (%s) since %s", h.PID, h.Command, h.Since.Format(time.DateTime))
}

// Dir is the directory, "" for a Store in memory.
func (s *Store) Dir() string { return s.dir }

// Close ends the use of the state. What was not committed is lost.
func (s *Store) Close() error {
	if s.db == nil {
		return nil
	}
	_ = os.Remove(filepath.Join(s.dir, holderFile))
	if err := s.closeBolt(); err != nil {
		return fmt.Errorf("close %s: %w", s.path(), err)
	}
	return nil
}

// Registry is a partition for the records of the platform itself. It has no
// quota.
func (s *Store) Registry() *Partition { return s.registry }

// Partition is the memory of the bundle with that identifier, empty at first.
// quota bounds what it holds, in bytes of keys and values; 0: no bound. A second
// call gives the same Partition.
func (s *Store) Partition(id string, quota int) (*Partition, error) {
	return s.open(partitionPrefix+id, quota)
}

func (s *Store) open(bucket string, quota int) (*Partition, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.parts[bucket]; p != nil {
		p.quota = quota
		return p, nil
	}
	p := &Partition{s: s, bucket: bucket, quota: quota, live: map[string][]byte{}, undo: map[string][]byte{}}
	if s.db != nil {
		if err := s.view(p.load); err != nil {
			return nil, err
		}
	}
	s.parts[bucket] = p
	return p, nil
}

// Drop deletes a partition with all it holds. Partition then makes a new one.
func (s *Store) Drop(id string) error {
	bucket := partitionPrefix + id
	err := s.update(func(tx *bolt.Tx) error {
		if err := tx.DeleteBucket([]byte(bucket)); !errors.Is(err, bolterrors.ErrBucketNotFound) {
			return err
		}
		return nil
	})
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.parts, bucket)
	return nil
}
