// Package bundles holds the Secondary Platform Bundles that come with sspemu,
// inside the binary.
//
//	bundles/telecom, bundles/sdk/example, ... ── make bundles ──> dist/NAME.spb.gz, NAME.json
//	                                                                  │ embed
//	cmd/sspemu ── Names, Manifest, Open ──────────────────────────────┘
//
// The packages are built from source and never committed: on a fresh clone there
// are none, everything still compiles, and Open says what to run.
package bundles

import (
	"bytes"
	"compress/gzip"
	"embed"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
)

//go:embed dist
var dist embed.FS

// In dist a bundle is its package, and its manifest once more, which can be read without
// unpacking.
const (
	suffix         = ".spb.gz"
	manifestSuffix = ".json"
)

// ErrNone says that the binary was compiled without bundles.
var ErrNone = errors.New("no bundles are built: run `make bundles`")

// Names lists the bundles in alphabetic order; none when they are not built.
func Names() []string { return names(dist) }

// Open gives the package (.spb) of a bundle. ErrNone when there are no bundles
// at all; else the error lists those that are there.
func Open(name string) ([]byte, error) { return open(dist, name) }

// Manifest is the bundle.json of a bundle; nil when there is no such bundle.
func Manifest(name string) []byte {
	b, err := fs.ReadFile(dist, "dist/"+name+manifestSuffix)
	if err != nil {
		return nil
	}
	return b
}

// Fingerprint changes whenever the package of a bundle does; it is "" when there
// is no such bundle. It does not unpack anything: it is what gzip writes at the end
// (RFC 1952 2.3.1), CRC-32 and length of the package.
func Fingerprint(name string) string {
	f, err := dist.Open("dist/" + name + suffix)
	if err != nil {
		return ""
	}
	end, err := trailer(f)
	if err != nil {
		return ""
	}
	return hex.EncodeToString(end)
}

// trailer gives the last eight octets of a file, which is read from its beginning
// afterwards.
func trailer(f fs.File) ([]byte, error) {
	s, ok := f.(io.ReadSeeker)
	if !ok {
		return nil, errors.ErrUnsupported
	}
	if _, err := s.Seek(-8, io.SeekEnd); err != nil {
		return nil, err
	}
	end := make([]byte, 8)
	_, err := io.ReadFull(s, end)
	if err == nil {
		_, err = s.Seek(0, io.SeekStart)
	}
	return end, err
}

func names(f fs.FS) (list []string) {
	entries, err := fs.ReadDir(f, "dist")
	if err != nil {
		return nil
	}
	for _, e := range entries {
		if n, ok := strings.CutSuffix(e.Name(), suffix); ok {
			list = append(list, n)
		}
	}
	return list
}

func open(f fs.FS, name string) ([]byte, error) {
	list := names(f)
	if len(list) == 0 {
		return nil, ErrNone
	}
	packed, err := f.Open("dist/" + name + suffix)
	if err != nil {
		return nil, fmt.Errorf("bundle %q is not built in; there are %s", name, strings.Join(list, ", "))
	}
	spb, err := unpack(packed)
	if err != nil {
		return nil, fmt.Errorf("bundle %s: %w", name, err)
	}
	return spb, nil
}

// maxSize is the longest package (primary/loader).
const maxSize = 32 << 20

// unpack makes room for the length that the file says: growing to it takes as long as
// unpacking does.
func unpack(packed fs.File) ([]byte, error) {
	end, err := trailer(packed)
	if err != nil {
		return nil, err
	}
	z, err := gzip.NewReader(packed)
	if err != nil {
		return nil, err
	}
	var spb bytes.Buffer
	spb.Grow(min(int(binary.LittleEndian.Uint32(end[4:])), maxSize) + bytes.MinRead)
	_, err = spb.ReadFrom(z)
	return spb.Bytes(), err
}
