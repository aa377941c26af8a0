// Package archtest holds the rules of the house that a compiler does not know:
// which room may know which, and what the binary may depend on.
//
//	cmd, spec-tests ──> everything
//	scl/terminal ─────> scl, transport
//	primary ──────────> scl, never transport or a bundle
//	scl, transport ───> nothing but leaves
//	bundles/* ────────> bundles/sdk, bundles/internal and leaves
package archtest

import (
	"encoding/json"
	"io"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const module = "github.com/sspemu/sspemu"

type pkg struct {
	ImportPath string
	Imports    []string
	Deps       []string
}

// list asks the go command for packages of this module.
func list(t *testing.T, env []string, args ...string) []pkg {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list", "-json=ImportPath,Imports,Deps"}, args...)...)
	cmd.Dir = "../.."
	cmd.Env = append(cmd.Environ(), env...)
	out, err := cmd.Output()
	require.NoError(t, err, "go list %v", args)
	var all []pkg
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		if err := d.Decode(&p); err == io.EOF {
			return all
		} else {
			require.NoError(t, err)
		}
		all = append(all, p)
	}
}

// room is the part of an import path below the module, "" for foreign ones.
func room(importPath string) string {
	r, ok := strings.CutPrefix(importPath, module+"/")
	if !ok {
		return ""
	}
	return r
}

func within(room string, tops ...string) bool {
	for _, t := range tops {
		if room == t || strings.HasPrefix(room, t+"/") {
			return true
		}
	}
	return false
}

// bundle is the bundle that a room is part of: bundles/NAME.
func bundle(room string) string {
	parts := strings.SplitN(room, "/", 3)
	return strings.Join(parts[:min(2, len(parts))], "/")
}

// rules: a room in from may not import a room in never, but for except.
var rules = []struct {
	from, never, except []string
	why                 string
}{
	{[]string{"transport"}, []string{"scl", "primary", "bundles", "cmd", "spec-tests"}, nil, "transport moves frames and knows nothing of what they mean"},
	{[]string{"scl"}, []string{"primary", "bundles", "cmd", "spec-tests"}, nil, "scl routes messages and knows neither platform nor bundles"},
	{[]string{"scl"}, []string{"transport"}, []string{"scl/terminal"}, "only scl/terminal joins a link to the network"},
	{[]string{"primary"}, []string{"transport", "scl/terminal", "bundles", "cmd", "spec-tests"}, nil, "primary knows scl, never a link or a particular bundle"},
	{[]string{"bundles"}, []string{"scl", "primary", "transport", "cmd", "spec-tests"}, nil, "a bundle knows the platform only by its ABI"},
	{[]string{"internal"}, []string{"scl", "primary", "transport", "bundles", "cmd", "spec-tests"}, nil, "internal holds leaves"},
	{[]string{"spec-tests"}, []string{"cmd"}, nil, "nothing imports cmd"},
}

func TestRooms(t *testing.T) {
	all := list(t, nil, "./...")
	require.Greater(t, len(all), 10)
	for _, p := range all {
		from := room(p.ImportPath)
		for _, i := range p.Imports {
			to := room(i)
			for _, r := range rules {
				if within(from, r.from...) && !within(from, r.except...) && within(to, r.never...) {
					t.Errorf("%s imports %s: %s (docs: CONTRIBUTING.md, the rooms)", from, to, r.why)
				}
			}
			// A bundle may import no other bundle.
			if within(from, "bundles") && within(to, "bundles") && !within(to, "bundles/sdk", "bundles/internal", bundle(from)) {
				t.Errorf("%s imports %s: a bundle imports bundles/sdk and bundles/internal only", from, to)
			}
		}
	}
}

// TestGuestsAreSmall: what is compiled into a bundle decides how long a cold start
// takes. net/http is the price of an ordinary http.Handler; these are not.
func TestGuestsAreSmall(t *testing.T) {
	for _, p := range list(t, []string{"GOOS=wasip1", "GOARCH=wasm"}, "./bundles/sdk/example/spb", "./bundles/telecom/spb", "./bundles/payment/spb", "./bundles/eid/spb", "./bundles/iot/spb") {
		for _, d := range p.Deps {
			switch d {
			case "encoding/json", "regexp", "text/template", "html/template", "net/http/httputil",
				"github.com/plgd-dev/go-coap/v3/message/pool", "github.com/plgd-dev/go-coap/v3/mux", "github.com/pion/dtls/v3":
				t.Errorf("%s depends on %s, which makes the module much larger", room(p.ImportPath), d)
			}
		}
	}
}

// allowed are the modules the binary may depend on directly; RATIONALE.md says
// why each of them is there.
var allowed = []string{
	"github.com/fxamacker/cbor/v2",
	"github.com/google/uuid",
	"github.com/pion/dtls/v3",
	"github.com/plgd-dev/go-coap/v3",
	"github.com/santhosh-tekuri/jsonschema/v6",
	"github.com/spf13/cobra",
	"github.com/spf13/pflag", // cobra's flags
	"github.com/tetratelabs/wazero",
	"github.com/veraison/go-cose",
	"go.etcd.io/bbolt",
	"go.yaml.in/yaml/v3",
	"golang.org/x/net", // httpguts: what may stand in a header
	"golang.org/x/sys",
	"golang.org/x/text", // messages of jsonschema
	"periph.io/x/conn/v3",
	"periph.io/x/host/v3",
}

func TestDependencies(t *testing.T) {
	for _, p := range list(t, nil, "./...") {
		for _, i := range p.Imports {
			if room(i) != "" || !strings.Contains(strings.SplitN(i, "/", 2)[0], ".") {
				continue // of this module or the standard library
			}
			ok := within(i, "github.com/stretchr/testify") && strings.HasSuffix(p.ImportPath, "test")
			for _, a := range allowed {
				ok = ok || within(i, a)
			}
			if !ok {
				t.Errorf("%s imports %s, which is not on the list of dependencies", room(p.ImportPath), i)
			}
		}
	}
}
