package bundles

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"encoding/hex"
	"hash/crc32"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"
)

func gz(t *testing.T, s string) []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, err := z.Write([]byte(s))
	require.NoError(t, err)
	require.NoError(t, z.Close())
	return b.Bytes()
}

func TestOpen(t *testing.T) {
	f := fstest.MapFS{
		"dist/README":       {Data: []byte("x")},
		"dist/b.spb.gz":     {Data: gz(t, "bundle b")},
		"dist/a.spb.gz":     {Data: gz(t, "bundle a")},
		"dist/cut.spb.gz":   {Data: gz(t, "bundle")[:20]},
		"dist/other.spb.gz": {Data: []byte("not gzip")},
	}
	require.Equal(t, []string{"a", "b", "cut", "other"}, names(f))
	b, err := open(f, "b")
	require.NoError(t, err)
	require.Equal(t, "bundle b", string(b))
	_, err = open(f, "c")
	require.EqualError(t, err, `bundle "c" is not built in; there are a, b, cut, other`)
	_, err = open(f, "cut")
	require.EqualError(t, err, "bundle cut: unexpected EOF")
	_, err = open(f, "other")
	require.EqualError(t, err, "bundle other: unexpected EOF")
}

func TestNoBundles(t *testing.T) {
	_, err := open(fstest.MapFS{"dist/README": {}}, "telecom")
	require.EqualError(t, err, "no bundles are built: run `make bundles`")
	require.Empty(t, names(fstest.MapFS{}))
}

// TestEmbed: the package compiles with and without built bundles, and those
// that are built can be opened.
func TestEmbed(t *testing.T) {
	seen := map[string]bool{}
	for _, name := range Names() {
		b, err := Open(name)
		require.NoError(t, err)
		require.Equal(t, "\x00asm", string(b[:4]))
		print := binary.LittleEndian.AppendUint32(nil, crc32.ChecksumIEEE(b))
		print = binary.LittleEndian.AppendUint32(print, uint32(len(b)))
		require.Equal(t, hex.EncodeToString(print), Fingerprint(name))
		require.False(t, seen[Fingerprint(name)])
		seen[Fingerprint(name)] = true
		require.Contains(t, string(Manifest(name)), `"name": "`+name+`"`)
	}
	require.Empty(t, Fingerprint("nobody"))
	require.Nil(t, Manifest("nobody"))
}
