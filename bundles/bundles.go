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
	"crypto/sha256"
	"embed"
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
// is no such bundle. It does not unpack anything.
func Fingerprint(name string) string {
	packed, err := fs.ReadFile(dist, "dist/"+name+suffix)
	if err != nil {
		return ""
	}
	sum := sha256.Sum256(packed)
	return hex.EncodeToString(sum[:16])
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
	packed, err := fs.ReadFile(f, "dist/"+name+suffix)
	if err != nil {
		return nil, fmt.Errorf("bundle %q is not built in; there are %s", name, strings.Join(list, ", "))
	}
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, fmt.Errorf("bundle %s: %w", name, err)
	}
	spb, err := io.ReadAll(z)
	if err != nil {
		return nil, fmt.Errorf("bundle %s: %w", name, err)
	}
	return spb, nil
}
