package portrait_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"flag"
	"image"
	_ "image/jpeg" // to look at them
	"image/png"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/bundles/eid/portrait"
)

var update = flag.Bool("update", false, "make specimen.jp2 anew, with opj_compress of Debian's libopenjp2-tools")

func decode(t testing.TB, b []byte) image.Image {
	m, format, err := image.Decode(bytes.NewReader(b))
	require.NoError(t, err)
	require.Equal(t, "jpeg", format)
	require.Equal(t, "JFIF", string(b[6:10]))
	return m
}

// TestReproducible: the same octets for ever. Whoever means to change the drawing
// changes these sums.
func TestReproducible(t *testing.T) {
	for _, c := range []struct{ name, sum string }{
		{"F", "d74c41c16e2af1ba"}, {"M", "2398b220b0e336af"}, {"", "2398b220b0e336af"},
	} {
		p := portrait.New([]byte("seed"), c.name)
		b := p.JPEG(portrait.Quality)
		require.Equal(t, b, portrait.New([]byte("seed"), c.name).JPEG(portrait.Quality))
		require.Equal(t, image.Rect(0, 0, portrait.Width, portrait.Height), decode(t, b).Bounds())
		require.InDelta(t, 13000, len(b), 2000)
		sum := sha256.Sum256(p.Draw().Pix)
		require.Equal(t, c.sum, hex.EncodeToString(sum[:8]), c.name)
	}
	require.NotEqual(t, portrait.New([]byte("a"), "F").JPEG(60), portrait.New([]byte("b"), "F").JPEG(60))
}

// TestEyes: the feature points are where the pupils are.
func TestEyes(t *testing.T) {
	for seed := range 12 {
		m := portrait.New([]byte{byte(seed)}, "").Draw()
		for _, p := range [][2]int{{portrait.RightEyeX, portrait.RightEyeY}, {portrait.LeftEyeX, portrait.LeftEyeY}} {
			r, g, b, _ := m.At(p[0]+2, p[1]).RGBA()
			require.Less(t, r+g+b, uint32(0x8000), "dark")
		}
	}
}

func TestSignatureAndFinger(t *testing.T) {
	s := portrait.Signature([]byte("seed"))
	require.Equal(t, 320, decode(t, s).Bounds().Dx())
	require.NotEqual(t, s, portrait.Signature([]byte("other")))
	f := portrait.Finger([]byte("seed"))
	require.Equal(t, image.Rect(0, 0, portrait.FingerWidth, portrait.FingerHeight), decode(t, f).Bounds())
	require.NotEqual(t, f, portrait.Finger([]byte("other")))
}

func TestJPEG2000(t *testing.T) {
	p, b := portrait.JPEG2000()
	if *update {
		dir := t.TempDir()
		f, err := os.Create(filepath.Join(dir, "specimen.png"))
		require.NoError(t, err)
		require.NoError(t, png.Encode(f, p.Draw()))
		require.NoError(t, f.Close())
		out, err := exec.Command("opj_compress", "-i", f.Name(), "-o", "specimen.jp2", "-r", "55").CombinedOutput()
		require.NoError(t, err, "%s", out)
		return
	}
	require.Equal(t, "\x00\x00\x00\x0CjP  \r\n\x87\n", string(b[:12]), "signature of ISO/IEC 15444-1 annex I")
	i := bytes.Index(b, []byte("ihdr"))
	require.Positive(t, i)
	require.Equal(t, []byte{0, 0, portrait.Height >> 8, portrait.Height & 0xFF, 0, 0, portrait.Width >> 8, portrait.Width & 0xFF, 0, 3}, b[i+4:i+14])
	require.Less(t, len(b), 15<<10)
}

func BenchmarkJPEG(b *testing.B) {
	for b.Loop() {
		portrait.New([]byte("x"), "F").JPEG(portrait.Quality)
	}
}
