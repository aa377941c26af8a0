package loader

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const exampleDir = "../../bundles/sdk/example"

// tree writes files (name, content, ...) into a new directory.
func tree(t *testing.T, files ...string) string {
	dir := t.TempDir()
	for i := 0; i < len(files); i += 2 {
		path := filepath.Join(dir, files[i])
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
		require.NoError(t, os.WriteFile(path, []byte(files[i+1]), 0o600))
	}
	return dir
}

func TestBuildGo(t *testing.T) {
	a, err := Build(exampleDir)
	require.NoError(t, err)
	p, err := Parse(a)
	require.NoError(t, err)
	require.Equal(t, "example", p.Name)
	require.NotEmpty(t, p.DefaultPersona)
	require.NotEmpty(t, p.Schema)
	require.Less(t, len(a), 6_600_000, "a guest with net/http stays about 6 MB, without it 2 MB: what does it link?")

	b, err := Build(exampleDir)
	require.NoError(t, err)
	require.True(t, string(a) == string(b), "the same sources give the same bytes")
}

// guide is the n-th block of code of a language in docs/bundles.md.
func guide(t *testing.T, language string, n int) string {
	b, err := os.ReadFile("../../docs/bundles.md")
	require.NoError(t, err)
	parts := strings.Split(string(b), "```"+language+"\n")
	require.Greater(t, len(parts), n)
	code, _, _ := strings.Cut(parts[n], "```")
	return code
}

// TestBuildGuide builds the bundle that docs/bundles.md leads to, in a module of
// its own.
func TestBuildGuide(t *testing.T) {
	repo, err := filepath.Abs("../..")
	require.NoError(t, err)
	dir := tree(t, "bundle.json", guide(t, "json", 1), "hello.go", guide(t, "go", 1), "spb/main.go", guide(t, "go", 2),
		"persona.yaml", guide(t, "yaml", 1),
		"go.mod", "module example.org/hello\n\ngo 1.26.0\n\nrequire github.com/sspemu/sspemu v0.0.0\n\nreplace github.com/sspemu/sspemu => "+repo+"\n")
	b, err := Build(dir)
	require.NoError(t, err)
	p, err := Parse(b)
	require.NoError(t, err)
	require.Equal(t, "hello", p.Name)
}

// TestBuildC builds the C bundle of the guide.
func TestBuildC(t *testing.T) {
	header, err := os.ReadFile("../../bundles/sdk/c/ssp.h")
	require.NoError(t, err)
	files := []string{"bundle.json", manifest, "tiny.c", guide(t, "c", 1), "ssp.h", string(header)}
	a, err := Build(tree(t, files...))
	if _, lacks := exec.LookPath("wasm-ld"); lacks != nil {
		require.ErrorContains(t, err, "wasm-ld is not installed (Debian: apt-get install clang lld)")
		return
	}
	require.NoError(t, err)
	b, err := Build(tree(t, files...))
	require.NoError(t, err)
	require.Equal(t, a, b, "the same sources give the same bytes in another directory")
}

func TestBuildRefuses(t *testing.T) {
	for name, tc := range map[string]struct {
		files []string
		want  string // DIR stands for the directory
	}{
		"no manifest":    {nil, "bundle directory DIR: open DIR/bundle.json: no such file or directory"},
		"wrong manifest": {[]string{"bundle.json", `{}`}, "bundle directory DIR: bundle.json: manifest: lacks abi"},
		"no sources":     {[]string{"bundle.json", manifest}, "bundle directory DIR: no sources: neither spb/main.go (Go) nor *.c (C)"},
		"persona does not fit": {[]string{"bundle.json", manifest, "persona.yaml", "# x\na: 1\n", "persona.schema.json", `{"required":["b"]}`},
			"DIR/persona.yaml:2: lacks b"},
		"schema":    {[]string{"bundle.json", manifest, "persona.schema.json", `[]`}, "persona.schema.json: schema:"},
		"Go errors": {[]string{"bundle.json", manifest, "go.mod", "module x\n", "spb/main.go", "package main\nfunc main() { nope() }\n"}, "undefined: nope"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := tree(t, tc.files...)
			_, err := Build(dir)
			require.ErrorContains(t, err, strings.ReplaceAll(tc.want, "DIR", dir))
		})
	}
}

func TestBuildLacksTools(t *testing.T) {
	inGo := tree(t, "bundle.json", manifest, "spb/main.go", "package main")
	inC := tree(t, "bundle.json", manifest, "x.c", "")
	t.Setenv("PATH", t.TempDir())
	_, err := Build(inGo)
	require.ErrorContains(t, err, "go is not installed (install Go 1.26 or later")
	_, err = Build(inC)
	require.ErrorContains(t, err, "wasm-ld is not installed (Debian: apt-get install clang lld)")
}
