package primary

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"io"
	mathrand "math/rand/v2"

	"github.com/sspemu/sspemu/primary/loader"
)

// randomness gives each bundle its random bytes: of the system, or, with a seed,
// a ChaCha8 stream of its own, so that what one bundle takes does not change what
// another one gets.
type randomness struct {
	seed    *uint64
	streams map[loader.UUID]io.Reader
}

// of is the stream of a bundle; it goes on where it stopped.
func (r *randomness) of(id loader.UUID) io.Reader {
	if r.seed == nil {
		return rand.Reader
	}
	s := r.streams[id]
	if s == nil {
		b := binary.BigEndian.AppendUint64([]byte("sspemu random "), *r.seed)
		s = mathrand.NewChaCha8(sha256.Sum256(append(b, id[:]...)))
		if r.streams == nil {
			r.streams = map[loader.UUID]io.Reader{}
		}
		r.streams[id] = s
	}
	return s
}
