package archtest

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// files are the names of the files below the root of the repository that end so.
func files(t *testing.T, suffix string) (names []string) {
	t.Helper()
	const root = "../.."
	require.NoError(t, filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && (d.Name() == ".git" || d.Name() == "bin") {
			return filepath.SkipDir
		}
		if err == nil && strings.HasSuffix(path, suffix) {
			names = append(names, path)
		}
		return err
	}))
	return names
}

// TestLinksOfDocs: what a document points to is there.
func TestLinksOfDocs(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)#]+)[^)]*\)`)
	docs := files(t, ".md")
	require.NotEmpty(t, docs)
	for _, doc := range docs {
		text, err := os.ReadFile(doc)
		require.NoError(t, err)
		for _, m := range link.FindAllStringSubmatch(string(text), -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			if _, err := os.Stat(filepath.Join(filepath.Dir(doc), m[1])); err != nil {
				t.Errorf("%s points to %s, which is not there", doc, m[1])
			}
		}
	}
}

// TestNothingIsLeftOver: no test is skipped and nothing waits to be written.
func TestNothingIsLeftOver(t *testing.T) {
	bad := regexp.MustCompile(`\b[tbf]\.Skip(f|Now)?\(|\b(TO` + `DO|FIX` + `ME)\b`)
	for _, name := range files(t, ".go") {
		text, err := os.ReadFile(name)
		require.NoError(t, err)
		for i, line := range strings.Split(string(text), "\n") {
			if bad.MatchString(line) {
				t.Errorf("%s:%d: %s", name, i+1, strings.TrimSpace(line))
			}
		}
	}
}
