package nvm

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"github.com/sspemu/sspemu/internal/vpp"
)

// DefaultQuota is what a bundle may hold unless it is told otherwise, in bytes of
// keys and values.
const DefaultQuota = 1 << 20

// MaxKey is the longest key in bytes; the shortest has one.
const MaxKey = 255

// ErrFull: the disk took no more; nothing of the transaction is stored.
var ErrFull = errors.New("the disk is full")

// Partition is the memory of one bundle, with a transaction that is open from
// the first change to Commit or Rollback. It is used by one goroutine at a time,
// but for Used.
//
// Errors of changes are vpp.Errno, those of Commit are of the disk.
type Partition struct {
	s      *Store
	bucket string
	quota  int

	live  map[string][]byte // with the changes of the transaction
	keys  []string          // of live, sorted
	undo  map[string][]byte // what the changed keys held at the last commit; nil: they were not there
	stale map[string]bool   // keys that a failed commit may have left on disk otherwise than in memory
	used  atomic.Int64
}

// Get gives the value of a key; valid until the next change.
func (p *Partition) Get(key []byte) (val []byte, ok bool) {
	val, ok = p.live[string(key)]
	return val, ok
}

// Put sets a key. It fails with EIllegalParameter for a key of a length that no
// key has, with ENoSpace beyond the quota.
func (p *Partition) Put(key, val []byte) error {
	if len(key) == 0 || len(key) > MaxKey {
		return vpp.EIllegalParameter
	}
	old, ok := p.live[string(key)]
	more := len(val) - len(old)
	if !ok {
		more += len(key)
	}
	if p.quota > 0 && more > 0 && p.Used()+more > p.quota {
		return vpp.ENoSpace
	}
	k := p.touch(key, old, ok)
	if !ok {
		i, _ := slices.BinarySearch(p.keys, k)
		p.keys = slices.Insert(p.keys, i, k)
	}
	p.live[k] = append(make([]byte, 0, len(val)), val...)
	p.used.Add(int64(more))
	return nil
}

// WriteAt changes a part of a value, which does not grow: EIllegalParameter when
// off and len(b) lead beyond its end, EUnknownID when there is no such key.
func (p *Partition) WriteAt(key []byte, off int, b []byte) error {
	old, ok := p.live[string(key)]
	switch {
	case !ok:
		return vpp.EUnknownID
	case off < 0 || off > len(old) || len(b) > len(old)-off:
		return vpp.EIllegalParameter
	}
	if _, changed := p.undo[string(key)]; changed {
		copy(old[off:], b) // a value of this transaction only
		return nil
	}
	val := append(make([]byte, 0, len(old)), old...)
	copy(val[off:], b)
	p.live[p.touch(key, old, true)] = val
	return nil
}

// Delete takes a key away; EUnknownID when there is none.
func (p *Partition) Delete(key []byte) error {
	old, ok := p.live[string(key)]
	if !ok {
		return vpp.EUnknownID
	}
	p.remove(p.touch(key, old, true), old)
	return nil
}

// Wipe takes every key away, as part of the transaction.
func (p *Partition) Wipe() {
	for _, k := range slices.Clone(p.keys) {
		_ = p.Delete([]byte(k))
	}
}

// Next is the key that follows in the order of bytes, whether or not key is
// there; of an empty key it is the first.
func (p *Partition) Next(key []byte) (next []byte, ok bool) {
	i, found := slices.BinarySearchFunc(p.keys, key, func(k string, key []byte) int { return strings.Compare(k, string(key)) })
	if found {
		i++
	}
	if i == len(p.keys) {
		return nil, false
	}
	return []byte(p.keys[i]), true
}

// Used is the number of bytes of keys and values, those of an open transaction
// included. Any goroutine may ask.
func (p *Partition) Used() int { return int(p.used.Load()) }

// Dirty tells whether a transaction is open.
func (p *Partition) Dirty() bool { return len(p.undo) > 0 }

// Commit stores the changes; they are on disk when it returns. When it fails,
// none of them is, and the transaction stays open.
func (p *Partition) Commit() error {
	if len(p.undo) == 0 {
		return nil
	}
	var changed []string
	for k, old := range p.undo {
		val, ok := p.live[k]
		if was := old != nil; ok != was || !bytes.Equal(val, old) {
			changed = append(changed, k)
		}
	}
	for k := range p.stale {
		changed = append(changed, k)
	}
	if len(changed) > 0 {
		slices.Sort(changed) // the same changes make the same file
		if err := p.s.update(func(tx *bolt.Tx) error { return p.store(tx, changed) }); err != nil {
			if p.stale == nil {
				p.stale = map[string]bool{}
			}
			for _, k := range changed {
				p.stale[k] = true
			}
			return full(err)
		}
		p.stale = nil
	}
	clear(p.undo)
	return nil
}

// full adds what to do when the disk is full.
func full(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EFBIG) || errors.Is(err, bolterrors.ErrMaxSizeReached) {
		return fmt.Errorf("%w: %w (nothing of this transaction is stored; make room)", ErrFull, err)
	}
	return err
}

// Rollback takes every change since the last commit back.
func (p *Partition) Rollback() {
	for k, old := range p.undo {
		val, ok := p.live[k]
		switch {
		case old == nil && ok:
			p.remove(k, val)
		case old != nil:
			if !ok {
				i, _ := slices.BinarySearch(p.keys, k)
				p.keys = slices.Insert(p.keys, i, k)
				p.used.Add(int64(len(k)))
			}
			p.live[k] = old
			p.used.Add(int64(len(old) - len(val)))
		}
	}
	clear(p.undo)
}

// touch remembers what a key held before its first change.
func (p *Partition) touch(key, old []byte, ok bool) string {
	k := string(key)
	if _, changed := p.undo[k]; !changed {
		if !ok {
			old = nil
		}
		p.undo[k] = old
	}
	return k
}

func (p *Partition) remove(k string, val []byte) {
	delete(p.live, k)
	i, _ := slices.BinarySearch(p.keys, k)
	p.keys = slices.Delete(p.keys, i, i+1)
	p.used.Add(-int64(len(k) + len(val)))
}

// On disk a value follows the checksum of key and value, four bytes, big endian.
const sumSize = 4

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func sum(key string, val []byte) uint32 {
	return crc32.Update(crc32.Checksum([]byte(key), castagnoli), castagnoli, val)
}

func (p *Partition) store(tx *bolt.Tx, keys []string) error {
	b, err := tx.CreateBucketIfNotExists([]byte(p.bucket))
	if err != nil {
		return err
	}
	for _, k := range keys {
		val, ok := p.live[k]
		if !ok {
			err = b.Delete([]byte(k))
		} else {
			v := binary.BigEndian.AppendUint32(make([]byte, 0, sumSize+len(val)), sum(k, val))
			err = b.Put([]byte(k), append(v, val...))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (p *Partition) load(tx *bolt.Tx) error {
	b := tx.Bucket([]byte(p.bucket))
	if b == nil {
		return nil
	}
	var used int
	err := b.ForEach(func(key, v []byte) error {
		k := string(key)
		if len(v) < sumSize || sum(k, v[sumSize:]) != binary.BigEndian.Uint32(v) || len(p.keys) > 0 && p.keys[len(p.keys)-1] >= k {
			return damaged(p.s.path(), fmt.Sprintf("the value of key %q of %s has a wrong checksum", k, p.bucket))
		}
		val := append(make([]byte, 0, len(v)-sumSize), v[sumSize:]...)
		p.live[k] = val
		p.keys = append(p.keys, k)
		used += len(k) + len(val)
		return nil
	})
	p.used.Store(int64(used))
	return err
}
