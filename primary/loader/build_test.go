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
	require.Less(t, len(a), 2_300_000, "a guest stays about 2 MB: what does it link?")

	b, err := Build(exampleDir)
	require.NoError(t, err)
	require.True(t, string(a) == string(b), "the same sources give the same bytes")
}

// TestBuildGuide builds the bundle that docs/bundles.md leads to, in a module of
// its own.
func TestBuildGuide(t *testing.T) {
	repo, err := filepath.Abs("../..")
	require.NoError(t, err)
	guide, err := os.ReadFile(filepath.Join(repo, "docs/bundles.md"))
	require.NoError(t, err)
	block := func(language string, n int) string {
		parts := strings.Split(string(guide), "```"+language+"\n")
		require.Greater(t, len(parts), n)
		code, _, _ := strings.Cut(parts[n], "```")
		return code
	}
	dir := tree(t, "bundle.json", block("json", 1), "hello.go", block("go", 1), "spb/main.go", block("go", 2),
		"persona.yaml", block("yaml", 1),
		"go.mod", "module example.org/hello\n\ngo 1.26.0\n\nrequire github.com/sspemu/sspemu v0.0.0\n\nreplace github.com/sspemu/sspemu => "+repo+"\n")
	b, err := Build(dir)
	require.NoError(t, err)
	p, err := Parse(b)
	require.NoError(t, err)
	require.Equal(t, "hello", p.Name)
}

// tinyC is a bundle that answers 9000 to everything.
const tinyC = `
static unsigned char in[65544], out[65538];
#define EXPORT(n) __attribute__((export_name(n)))
EXPORT("vpp_abi") int vpp_abi(void) { return 0x0100; }
EXPORT("ipc_com_main") long long com(void) { return (long long)(unsigned long)in << 32 | sizeof in; }
EXPORT("ipc_main_com") long long mainc(void) { return (long long)(unsigned long)out << 32 | sizeof out; }
EXPORT("on_init") int on_init(int r) { (void)r; return 0; }
EXPORT("on_personalise") int on_personalise(int n) { (void)n; return 0; }
EXPORT("on_signal") int on_signal(int s) { (void)s; return 0; }
EXPORT("on_message") int on_message(int g, int p, int i, int n) { (void)g, (void)p, (void)i, (void)n; out[0] = 0x90; out[1] = 0; return 2; }
`

func TestBuildC(t *testing.T) {
	dir := tree(t, "bundle.json", manifest, "tiny.c", tinyC)
	a, err := Build(dir)
	if _, lacks := exec.LookPath("wasm-ld"); lacks != nil {
		require.ErrorContains(t, err, "wasm-ld is not installed (Debian: apt-get install clang lld)")
		return
	}
	require.NoError(t, err)
	b, err := Build(tree(t, "bundle.json", manifest, "tiny.c", tinyC))
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
