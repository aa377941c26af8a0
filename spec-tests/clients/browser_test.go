package clients

import (
	"image/png"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestBrowser opens the pages of the bundles in a browser.
func TestBrowser(t *testing.T) {
	program := tool(t, "chromium", "chromium", "chromium-browser", "google-chrome")
	if program == "" {
		return
	}
	s := serving(t)
	browse := func(t *testing.T, args ...string) string {
		args = append([]string{"--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
			"--user-data-dir=" + t.TempDir(), "--window-size=900,1200"}, args...)
		out, notes, code := run(t, nil, program, append(args, "http://"+s.http+"/")...)
		require.Zero(t, code, notes)
		return out
	}
	for _, tt := range []struct{ bundle, title string }{{"example", "First bundle"}, {"telecom", "USIM"}} {
		t.Run(tt.bundle, func(t *testing.T) {
			s.activate(t, tt.bundle)
			dom := browse(t, "--dump-dom")
			require.Regexp(t, "<title>[^<]*"+tt.title, dom)
			require.Regexp(t, "<h1>[^<]*"+tt.title, dom)

			path := filepath.Join(t.TempDir(), "page.png")
			browse(t, "--screenshot="+path)
			f, err := os.Open(path)
			require.NoError(t, err)
			defer f.Close()
			picture, err := png.Decode(f)
			require.NoError(t, err)
			colours := map[[3]uint32]bool{}
			for y := range picture.Bounds().Dy() {
				for x := range picture.Bounds().Dx() {
					r, g, b, _ := picture.At(x, y).RGBA()
					colours[[3]uint32{r, g, b}] = true
				}
			}
			require.Greater(t, len(colours), 20, "there is something to be seen")
		})
	}
}
