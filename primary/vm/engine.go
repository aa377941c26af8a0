package vm

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"
)

// Config of an Engine.
type Config struct {
	// CacheDir keeps compiled code between runs; "" keeps it in memory only.
	CacheDir string
	// Interpreter runs bundles without compiling them: slow, and the other
	// opinion in differential tests.
	Interpreter bool
}

// Limits of one bundle. The zero value of a field stands for its default.
type Limits struct {
	Memory uint32        // linear memory in bytes, rounded up to 64 KiB; 16 MiB
	Call   time.Duration // wall time of one call; 5 s
	Log    int           // bytes of log in one call; 4 KiB
}

// Defaults of Limits.
const (
	DefaultMemory = 16 << 20
	DefaultCall   = 5 * time.Second
	DefaultLog    = 4 << 10
)

func (l Limits) orDefaults() Limits {
	if l.Memory == 0 {
		l.Memory = DefaultMemory
	}
	if l.Call == 0 {
		l.Call = DefaultCall
	}
	if l.Log == 0 {
		l.Log = DefaultLog
	}
	return l
}

// Engine compiles bundles. It is safe for use by several goroutines.
type Engine struct {
	config      wazero.RuntimeConfig
	interpreted bool
	cache       wazero.CompilationCache
	cacheDir    string

	mu      sync.Mutex
	flights map[flightKey]*flight
}

type flightKey struct {
	sum    [sha256.Size]byte
	limits Limits
}

// flight is a compilation under way or done: done is closed when m and err are
// there.
type flight struct {
	done  chan struct{}
	m     *Module
	err   error
	users int // that Compile gave m to, or will
}

// New makes an Engine.
func New(c Config) (*Engine, error) {
	cache := wazero.NewCompilationCache()
	if c.CacheDir != "" {
		var err error
		if cache, err = wazero.NewCompilationCacheWithDir(c.CacheDir); err != nil {
			return nil, fmt.Errorf("cache of compiled bundles in %s: %w", c.CacheDir, err)
		}
	}
	config := wazero.NewRuntimeConfigCompiler()
	if c.Interpreter {
		config = wazero.NewRuntimeConfigInterpreter().WithCloseOnContextDone(true)
	}
	return &Engine{
		config: config.WithCompilationCache(cache), interpreted: c.Interpreter,
		cache: cache, cacheDir: c.CacheDir, flights: map[flightKey]*flight{},
	}, nil
}

// Close frees the compiled code. Close the instances first; what is compiling is
// waited for.
func (e *Engine) Close() error {
	e.mu.Lock()
	flights := e.flights
	e.flights = map[flightKey]*flight{}
	e.mu.Unlock()
	var errs []error
	for _, f := range flights {
		<-f.done
		if f.m != nil {
			errs = append(errs, f.m.runtime.Close(context.Background()))
		}
	}
	return errors.Join(append(errs, e.cache.Close(context.Background()))...)
}

// Compile makes a bundle ready to be instantiated: it checks that the module is
// one, that it has the exports of the ABI and asks for nothing else than the ABI
// offers. The same bytes with the same limits are compiled once, whoever asks and
// however often, and are there until each has closed the Module; a caller whose ctx
// ends leaves, the compilation goes on, and wasm must not change. name is for errors.
func (e *Engine) Compile(ctx context.Context, name string, wasm []byte, l Limits) (*Module, error) {
	key := flightKey{sha256.Sum256(wasm), l.orDefaults()}
	e.mu.Lock()
	f := e.flights[key]
	if f == nil {
		f = &flight{done: make(chan struct{})}
		e.flights[key] = f
		go func() {
			defer close(f.done)
			if f.m, f.err = e.compile(name, wasm, key.limits); f.err != nil {
				e.forget(f)
			} else {
				f.m.left = func() bool { return e.left(f) }
			}
		}()
	}
	f.users++
	e.mu.Unlock()
	select {
	case <-f.done:
		return f.m, f.err
	case <-ctx.Done():
		e.mu.Lock()
		f.users-- // its code waits for the next who asks
		e.mu.Unlock()
		return nil, fmt.Errorf("compile bundle %s: %w", name, ctx.Err())
	}
}

// left counts a user less. When it was the last one nobody will be given f again.
func (e *Engine) left(f *flight) (last bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if f.users--; f.users > 0 {
		return false
	}
	maps.DeleteFunc(e.flights, func(_ flightKey, g *flight) bool { return f == g })
	return true
}

func (e *Engine) forget(f *flight) {
	e.mu.Lock()
	defer e.mu.Unlock()
	maps.DeleteFunc(e.flights, func(_ flightKey, g *flight) bool { return f == g })
}

func (e *Engine) compile(name string, wasm []byte, l Limits) (_ *Module, err error) {
	ctx := context.Background()
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("%w: the compiler gave up: %v", errWasm, v)
		}
		if err != nil {
			err = fmt.Errorf("compile bundle %s: %w", name, err)
		}
	}()
	code, err := instrument(wasm, e.interpreted)
	if err != nil {
		return nil, err
	}
	// A runtime of its own for each bundle: the memory limit is the runtime's.
	const page = 64 << 10
	r := wazero.NewRuntimeWithConfig(ctx, e.config.WithMemoryLimitPages((l.Memory-1)/page+1))
	defer func() {
		if err != nil {
			_ = r.Close(ctx)
		}
	}()
	if _, err = wasi_snapshot_preview1.Instantiate(ctx, r); err != nil {
		return nil, err
	}
	if err = instantiateHost(ctx, r); err != nil {
		return nil, err
	}
	compiled, err := e.compileCached(ctx, r, code)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errWasm, err)
	}
	if err = checkInterface(compiled); err != nil {
		return nil, err
	}
	return &Module{name: name, limits: l, interpreted: e.interpreted, runtime: r, compiled: compiled}, nil
}

// compileCached compiles code; a cache that is damaged or cannot be written costs
// time, nothing else. Damaged files are removed; what could not be written is in
// memory when it is asked for again.
func (e *Engine) compileCached(ctx context.Context, r wazero.Runtime, code []byte) (c wazero.CompiledModule, err error) {
	ctx = experimental.WithCompilationWorkers(ctx, runtime.NumCPU())
	for range 3 {
		c, err = r.CompileModule(ctx, code)
		if err == nil || e.cacheDir == "" {
			break
		}
		if strings.Contains(err.Error(), "compilationcache:") { // wazero's word for a damaged file
			files, _ := filepath.Glob(filepath.Join(e.cacheDir, "wazero-*", "*"))
			for _, f := range files {
				_ = os.Remove(f)
			}
		}
	}
	return c, err
}

// Module is a compiled bundle.
type Module struct {
	name        string
	limits      Limits
	interpreted bool
	runtime     wazero.Runtime
	compiled    wazero.CompiledModule
	left        func() (last bool) // a user less
}

// Close is for a user of a bundle that needs it no more, once for each Compile. The last
// one frees the compiled code, which ends every instance; the cache on disk keeps its part.
func (m *Module) Close() error {
	if !m.left() {
		return nil
	}
	ctx := context.Background()
	err := m.runtime.Close(ctx)
	return errors.Join(err, m.compiled.Close(ctx)) // the code is the cache's, not the runtime's
}

// ErrInterface: the module is WebAssembly, but not a bundle of this ABI.
var ErrInterface = errors.New("not a bundle of ABI 1.3")

// Exports of the ABI (docs/abi.md).
const (
	exportInitialize  = "_initialize"
	exportMemory      = "memory"
	exportABI         = "vpp_abi"
	exportComMain     = "ipc_com_main"
	exportMainCom     = "ipc_main_com"
	exportInit        = "on_init"
	exportPersonalise = "on_personalise"
	exportMessage     = "on_message"
	exportSignal      = "on_signal"
	exportGates       = "scl_gates" // optional
)

const (
	i32 = api.ValueTypeI32
	i64 = api.ValueTypeI64
)

type signature struct{ params, results []api.ValueType }

func (s signature) String() string {
	word := func(ts []api.ValueType) string {
		var names []string
		for _, t := range ts {
			names = append(names, api.ValueTypeName(t))
		}
		return "(" + strings.Join(names, ", ") + ")"
	}
	return word(s.params) + " -> " + word(s.results)
}

// exports are the functions every bundle has.
var exports = []struct {
	name string
	signature
}{
	{exportABI, signature{nil, []api.ValueType{i32}}},
	{exportComMain, signature{nil, []api.ValueType{i64}}},
	{exportMainCom, signature{nil, []api.ValueType{i64}}},
	{exportInit, signature{[]api.ValueType{i32}, []api.ValueType{i32}}},
	{exportPersonalise, signature{[]api.ValueType{i32}, []api.ValueType{i32}}},
	{exportMessage, signature{[]api.ValueType{i32, i32, i32, i32}, []api.ValueType{i32}}},
	{exportSignal, signature{[]api.ValueType{i32}, []api.ValueType{i32}}},
}

// checkInterface names everything that keeps c from being a bundle in one error.
func checkInterface(c wazero.CompiledModule) error {
	var bad []string
	have := c.ExportedFunctions()
	for _, e := range exports {
		f := have[e.name]
		switch {
		case f == nil:
			bad = append(bad, fmt.Sprintf("it lacks the export %s %s", e.name, e.signature))
		case !slices.Equal(f.ParamTypes(), e.params) || !slices.Equal(f.ResultTypes(), e.results):
			bad = append(bad, fmt.Sprintf("its export %s is %s, not %s", e.name, signature{f.ParamTypes(), f.ResultTypes()}, e.signature))
		}
	}
	if f := have[exportInitialize]; f != nil && len(f.ParamTypes())+len(f.ResultTypes()) > 0 {
		bad = append(bad, "its export _initialize has parameters or results")
	}
	if f := have[exportGates]; f != nil && (len(f.ParamTypes()) > 0 || !slices.Equal(f.ResultTypes(), []api.ValueType{i32})) {
		bad = append(bad, fmt.Sprintf("its export %s is %s, not () -> (i32)", exportGates, signature{f.ParamTypes(), f.ResultTypes()}))
	}
	if c.ExportedMemories()[exportMemory] == nil {
		bad = append(bad, "it lacks the exported memory")
	}
	for _, f := range c.ImportedFunctions() {
		switch mod, name, _ := f.Import(); mod {
		case wasi_snapshot_preview1.ModuleName:
		case hostModule:
			h := hostFunctions[name]
			if h == nil || !slices.Equal(f.ParamTypes(), h.params) || !slices.Equal(f.ResultTypes(), h.results) {
				bad = append(bad, fmt.Sprintf("it asks for %s.%s %s, which the ABI does not have", mod, name, signature{f.ParamTypes(), f.ResultTypes()}))
			}
		default:
			bad = append(bad, fmt.Sprintf("it asks for %s.%s; a bundle may import %s and %s", mod, name, hostModule, wasi_snapshot_preview1.ModuleName))
		}
	}
	if bad != nil {
		return fmt.Errorf("%w: %s", ErrInterface, strings.Join(bad, "; "))
	}
	return nil
}
