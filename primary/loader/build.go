package loader

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Names of the files of a bundle directory.
const (
	fileManifest = "bundle.json"
	filePersona  = "persona.yaml"
	fileSchema   = "persona.schema.json"
	dirGo        = "spb" // package main of a bundle in Go
)

// Build compiles the bundle in dir and packs it. dir holds bundle.json, and
// persona.yaml and persona.schema.json if the bundle has a persona; the code is a
// Go package main in dir/spb, or C files (*.c) in dir itself. The same sources
// and the same compiler give the same bytes, wherever dir is. What the compiler
// complains about is in the error.
func Build(dir string) (spb []byte, err error) {
	fail := func(err error) ([]byte, error) {
		return nil, fmt.Errorf("bundle directory %s: %w", dir, err)
	}
	manifest, err := os.ReadFile(filepath.Join(dir, fileManifest))
	if err != nil {
		return fail(err)
	}
	m, err := ParseManifest(manifest)
	if err != nil {
		return fail(fmt.Errorf("%s: %w", fileManifest, err))
	}
	yaml, err := readOptional(filepath.Join(dir, filePersona))
	if err != nil {
		return fail(err)
	}
	schema, err := readOptional(filepath.Join(dir, fileSchema))
	if err != nil {
		return fail(err)
	}
	if err := checkPersona(yaml, filepath.Join(dir, filePersona), schema); err != nil {
		return nil, err // before the compiler: it names the file already
	}
	wasm, err := compile(dir)
	if err != nil {
		return fail(err)
	}
	return Pack(wasm, m, yaml, schema)
}

func readOptional(path string) ([]byte, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return b, err
}

// compile makes the module of the sources in dir.
func compile(dir string) ([]byte, error) {
	tmp, err := os.MkdirTemp("", "sspemu-pack-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(tmp)
	out := filepath.Join(tmp, "bundle.wasm")

	if _, err := os.Stat(filepath.Join(dir, dirGo)); err == nil {
		if err := compileGo(dir, out); err != nil {
			return nil, err
		}
		return os.ReadFile(out)
	}
	sources, err := filepath.Glob(filepath.Join(dir, "*.c"))
	if err != nil {
		return nil, err
	}
	if len(sources) == 0 {
		return nil, fmt.Errorf("no sources: neither %s/main.go (Go) nor *.c (C)", dirGo)
	}
	for i, s := range sources {
		sources[i] = filepath.Base(s)
	}
	if err := compileC(dir, out, sources); err != nil {
		return nil, err
	}
	return os.ReadFile(out)
}

// compileGo builds a reactor: a module whose exports are called, without main.
func compileGo(dir, out string) error {
	cmd, err := tool("go", "install Go 1.26 or later: https://go.dev/dl, Debian: apt-get install golang-go")
	if err != nil {
		return err
	}
	cmd.Args = append(cmd.Args, "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w -buildid=",
		"-buildmode=c-shared", "-o", out, "./"+dirGo)
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "GOWASM=", "CGO_ENABLED=0")
	return run(cmd, dir)
}

// compileC needs no C library: clang for wasm32 and its linker.
func compileC(dir, out string, sources []string) error {
	const hint = "Debian: apt-get install clang lld"
	if _, err := tool("wasm-ld", hint); err != nil {
		return err
	}
	cmd, err := tool("clang", hint)
	if err != nil {
		return err
	}
	cmd.Args = append(cmd.Args, "--target=wasm32", "-std=c17", "-O2", "-Wall", "-Wextra",
		"-ffreestanding", "-nostdlib", "-Wl,--no-entry", "-Wl,--strip-all", "-Wl,-z,stack-size=65536",
		"-o", out)
	cmd.Args = append(cmd.Args, sources...)
	return run(cmd, dir)
}

// tool finds a program; hint says how to get it.
func tool(name, hint string) (*exec.Cmd, error) {
	path, err := exec.LookPath(name)
	if err != nil {
		return nil, fmt.Errorf("%s is not installed (%s)", name, hint)
	}
	return exec.Command(path), nil
}

// run runs a compiler in dir; what it wrote is the error when it fails.
func run(cmd *exec.Cmd, dir string) error {
	var said bytes.Buffer
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &said, &said
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w:\n%s", filepath.Base(cmd.Path), err, strings.TrimSpace(said.String()))
	}
	return nil
}
