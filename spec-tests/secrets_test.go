package spectests_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/bundles"
	"github.com/sspemu/sspemu/bundles/eid"
	"github.com/sspemu/sspemu/bundles/eid/issue"
	"github.com/sspemu/sspemu/bundles/iot"
	iotprofile "github.com/sspemu/sspemu/bundles/iot/profile"
	"github.com/sspemu/sspemu/bundles/sdk"
	"github.com/sspemu/sspemu/bundles/sdk/sdktest"
	"github.com/sspemu/sspemu/internal/trace"
	"github.com/sspemu/sspemu/primary/loader"
	"github.com/sspemu/sspemu/primary/vm"
	spectests "github.com/sspemu/sspemu/spec-tests"
)

// listener keeps the octets of every event of a trace, from the link down to the calls
// that a bundle makes.
type listener struct {
	mu  sync.Mutex
	all bytes.Buffer
}

func (l *listener) Emit(e *trace.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all.Write(e.Data)
	l.all.WriteString(e.Note)
	l.all.WriteByte('\n')
}

func (l *listener) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.Write(p)
}

// TestKeysStay: while every suite about a card is played, no private key of the persona is
// in anything that crosses a link, the SCL or the ABI, or in the log. What is written to
// NVM is personalisation, which is before the trace.
func TestKeysStay(t *testing.T) {
	t.Run("eid", func(t *testing.T) {
		pkg := bundle(t, "eid")
		doc, err := issue.FromYAML(pkg.DefaultPersona, "persona", pkg.Schema)
		require.NoError(t, err)
		chip, err := issue.New(doc)
		require.NoError(t, err)
		secrets := map[string][]byte{"active authentication": chip.AA.Private}
		for _, k := range chip.CA {
			secrets["chip authentication"] = k.Private
		}
		for _, w := range chip.PACE {
			if w.Static != nil {
				secrets["chip authentication mapping"] = w.Static
			}
		}
		for name, v := range personalised(t, pkg, func() sdk.App { return eid.New() }) {
			switch {
			case strings.HasPrefix(name, "k/"): // slots of PIV: algorithm, policies, origin
				secrets["PIV "+name] = v[4:]
			case strings.HasPrefix(name, "d/k"): // devices of mobile documents: kind
				secrets["mobile document "+name] = v[1:]
			case name == "sm/cs2" || name == "sm/cs7":
				secrets["PIV "+name] = v
			}
		}
		require.GreaterOrEqual(t, len(secrets), 9)
		keysStay(t, "eid", secrets)
	})
	t.Run("iot", func(t *testing.T) {
		pkg := bundle(t, "iot")
		p, err := iotprofile.FromYAML(pkg.DefaultPersona, "persona", pkg.Schema)
		require.NoError(t, err)
		stored := personalised(t, pkg, func() sdk.App { return iot.New() })
		secrets := map[string][]byte{}
		for i, c := range p.Containers {
			v, filled := stored["o/"+strconv.Itoa(i)]
			if filled && (c.Kind == iotprofile.Private || c.Kind == iotprofile.Secret) {
				secrets[c.Kind.String()+" "+string(c.Label)] = v[:len(v)-4] // a check follows
			}
		}
		for i := range p.Domains {
			d := &p.Domains[i]
			k := p.DomainKeys(d)
			secrets[d.Name+" KIc"], secrets[d.Name+" KID"] = k.KIc, k.KID
			if d.HTTPS != nil {
				_, secrets[d.Name+" pre-shared key"] = p.AdministrationKey(d)
			}
		}
		require.GreaterOrEqual(t, len(secrets), 17)
		keysStay(t, "iot", secrets)
	})
}

func bundle(t *testing.T, name string) *loader.Package {
	spb, err := bundles.Open(name)
	require.NoError(t, err)
	pkg, err := loader.Parse(spb)
	require.NoError(t, err)
	return pkg
}

// personalised is what the card of the default persona holds.
func personalised(t *testing.T, pkg *loader.Package, app func() sdk.App) map[string][]byte {
	native := sdktest.New(t, app)
	require.NoError(t, native.PersonaliseYAML(pkg.DefaultPersona, pkg.Schema))
	return native.NVM()
}

func keysStay(t *testing.T, name string, secrets map[string][]byte) {
	for name, k := range secrets {
		require.GreaterOrEqual(t, len(k), 16, name)
	}
	spb, err := bundles.Open(name)
	require.NoError(t, err)
	ctx := context.Background()
	engine, err := vm.New(vm.Config{CacheDir: cacheDir(t)})
	require.NoError(t, err)
	t.Cleanup(func() { _ = engine.Close() })
	heard, tracer := &listener{}, trace.New(nil)
	target, end, err := spectests.InProcess{Engine: engine, Package: spb, Tracer: tracer, Log: slog.New(slog.NewTextHandler(heard, nil))}.Target(ctx)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, end()) })
	tracer.Add(heard)
	all, err := spectests.Suites()
	require.NoError(t, err)
	var about []*spectests.Suite
	for _, s := range all {
		if s.Bundle == name {
			about = append(about, s)
		}
	}
	require.NotEmpty(t, about)
	_, err = spectests.Run(ctx, target, about, nil)
	require.NoError(t, err)
	heard.mu.Lock()
	defer heard.mu.Unlock()
	require.Greater(t, heard.all.Len(), 100_000)
	text := heard.all.String()
	for name, k := range secrets {
		part := k[len(k)-16:]
		for _, form := range []string{string(part), hex.EncodeToString(part), strings.ToUpper(hex.EncodeToString(part))} {
			require.NotContains(t, text, form, name)
		}
	}
}
