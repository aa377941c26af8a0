package scl

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestDefaultProfile(t *testing.T) {
	p := DefaultProfile()
	require.Equal(t, "scl-profile-0", p.Name)
	require.True(t, p.Provisional)
	require.Len(t, p.Entries(), len(p.slots()))
	require.Equal(t, GateID(0x30), p.Gate.UICCAPDU)
	for _, e := range p.Entries() {
		require.NotEmpty(t, e.Source, e.Name)
		require.Equal(t, e.Confidence == Chosen, e.Source == "-", "%s: what is chosen has no source, all else has one", e.Name)
		require.Positive(t, e.Line)
	}
}

func TestLoadProfile(t *testing.T) {
	f := filepath.Join(t.TempDir(), "mine.yaml")
	require.NoError(t, os.WriteFile(f, edit(t, "gate.uicc_apdu", 0x71), 0o600))
	p, err := LoadProfile(f)
	require.NoError(t, err)
	require.Equal(t, GateID(0x71), p.Gate.UICCAPDU)

	_, err = LoadProfile(f + ".not")
	require.ErrorIs(t, err, os.ErrNotExist)
	require.NoError(t, os.WriteFile(f, edit(t, "gate.uicc_apdu", 1<<20), 0o600))
	_, err = LoadProfile(f)
	require.ErrorContains(t, err, f+":")
}

// edit is profile 0 with other values: pairs of an entry's name and its value.
func edit(tb testing.TB, pairs ...any) []byte {
	b := profile0
	for i := 0; i < len(pairs); i += 2 {
		re := regexp.MustCompile(`(name: ` + regexp.QuoteMeta(pairs[i].(string)) + `, value: )\w+`)
		require.Len(tb, re.FindAll(b, -1), 1, pairs[i])
		b = re.ReplaceAll(b, fmt.Appendf(nil, "${1}%d", pairs[i+1]))
	}
	return b
}

func lineOf(s, part string) int {
	i := strings.Index(s, part)
	if i < 0 {
		return -1
	}
	return 1 + strings.Count(s[:i], "\n")
}

func TestProfileRefuses(t *testing.T) {
	whole := string(profile0)
	cut := func(from string) string { // the file without the line that has from
		lines := strings.Split(whole, "\n")
		i := lineOf(whole, from) - 1
		return strings.Join(append(lines[:i:i], lines[i+1:]...), "\n")
	}
	line := func(name string) int { return lineOf(whole, "name: "+name+",") }
	text := func(name string) string { return strings.Split(whole, "\n")[line(name)-1] }
	swap := func(old, new string) string {
		require.Equal(t, 1, strings.Count(whole, old), old)
		return strings.Replace(whole, old, new, 1)
	}
	edited := func(pairs ...any) string { return string(edit(t, pairs...)) }
	list := lineOf(whole, "entries:") + 3 // where the list itself starts: behind the comment

	for _, tt := range []struct {
		name, file string
		line       int
		reason     string
	}{
		{"empty file", "", 1, "not a mapping"},
		{"a list", "- 1", 1, "not a mapping"},
		{"no name", swap("profile: scl-profile-0\n", "profile: \"\"\n"), lineOf(whole, "profile: scl"), "a name is wanted"},
		{"provisional is a number", swap("provisional: true", "provisional: 3"), lineOf(whole, "provisional: true"), "true or false is wanted"},
		{"key missing at the top", cut("provisional: true"), lineOf(whole, "profile: scl"), `key "provisional" is missing`},
		{"key unknown at the top", whole + "more: 1\n", strings.Count(whole, "\n") + 1, `unknown key "more"`},
		{"entries is a text", "profile: x\nprovisional: true\nentries: all", 3, "a list is wanted"},
		{"entry is a text", "profile: x\nprovisional: true\nentries:\n- all", 4, "a mapping with the keys"},
		{"entry missing", cut("name: gate.link,"), list, "entry gate.link is missing"},
		{"entry unknown", swap("name: gate.link,", "name: gate.lonk,"), line("gate.link"), `unknown entry "gate.lonk"`},
		{"entry double", whole + text("gate.link") + "\n", strings.Count(whole, "\n") + 1, "gate.link is there twice, first in line"},
		{"key missing", swap(`source: linux, confidence: verified, note: "HCI: link management"`, `confidence: verified, note: ""`), line("gate.link"), `key "source" is missing`},
		{"key unknown", swap(`note: "HCI: link management"`, `note: "", no: 1`), line("gate.link"), `unknown key "no"`},
		{"key double", swap(`note: "HCI: link management"`, `note: "", note: ""`), line("gate.link"), `key "note" is there twice`},
		{"source empty", swap(`source: linux, confidence: verified, note: "HCI: link management"`, `source: "", confidence: verified, note: ""`), line("gate.link"), "no source"},
		{"source is a list", swap(`source: linux, confidence: verified, note: "HCI: link management"`, `source: [a], confidence: verified, note: ""`), line("gate.link"), "are texts"},
		{"confidence unknown", swap(`confidence: verified, note: "HCI: link management"`, `confidence: sure, note: ""`), line("gate.link"), `confidence "sure" is none of`},
		{"value is a text", swap("name: gate.link, value: 0x06", "name: gate.link, value: six"), line("gate.link"), `value "six" is not a whole number`},
		{"value is a fraction", swap("name: gate.link, value: 0x06", "name: gate.link, value: 6.5"), line("gate.link"), `value "6.5" is not a whole number`},
		{"value below range", edited("packet.mtu", 7), line("packet.mtu"), "7 is outside 8 to 65536"},
		{"value above range", edited("type.event", 200), line("type.event"), "200 is outside 0 to 127"},
		{"two gates alike", edited("gate.link", 5), line("gate.link"), "gate.link has the value 0x05 of gate.identity in line"},
		{"two commands alike", edited("command.ADM_CREATE_PIPE", 4), line("command.ADM_CREATE_PIPE"), "of command.ANY_CLOSE_PIPE"},
		{"two events alike", edited("event.uicc_apdu.EVT_ABORT", 0x10), line("event.uicc_apdu.EVT_ABORT"), "of event.uicc_apdu.EVT_C_APDU"},
		{"chaining bit outside", edited("packet.chaining_bit", 8), line("packet.chaining_bit"), "does not fit into packet.header_octets"},
		{"pipe id outside", edited("packet.pipe_bits", 9), line("packet.pipe_bits"), "does not fit into packet.header_octets"},
		{"chaining bit in pipe id", edited("packet.chaining_bit", 6), line("packet.chaining_bit"), "lies within the pipe identifier"},
		{"type outside", edited("message.type_bits", 3), line("message.type_bits"), "does not fit into one octet"},
		{"instruction outside", edited("message.instruction_shift", 3), line("message.instruction_bits"), "does not fit into one octet"},
		{"type in instruction", edited("message.type_shift", 5), line("message.type_shift"), "the type overlaps the instruction"},
		{"type too wide", edited("type.event", 4), line("type.event"), "4 does not fit into 2 bits"},
		{"instruction too wide", edited("command.ADM_CREATE_PIPE", 0x40), line("command.ADM_CREATE_PIPE"), "0x40 does not fit into 6 bits"},
		{"pipe too wide", edited("pipe.dynamic_last", 0x80), line("pipe.dynamic_last"), "0x80 does not fit into 7 bits"},
		{"host too wide", edited("host.uicc", 0x100), line("host.uicc"), "0x100 does not fit into 8 bits"},
		{"dynamic range empty", edited("pipe.dynamic_first", 0x70), line("pipe.dynamic_last"), "lies before dynamic_first"},
		{"tunnel: bits shared", edited("tunnel.p1_abort", 6), line("tunnel.p1_abort"), "shares a bit with tunnel.p1_data"},
		{"tunnel: status words alike", edited("tunnel.sw2_ongoing", 1), line("tunnel.sw2_ongoing"), "is tunnel.sw2_pending"},
		{"tunnel: long tag", edited("tunnel.tag", 0x9F), line("tunnel.tag"), "is not a tag of one octet"},
		{"tunnel: packet too long", edited("tunnel.command_octets", 4), line("tunnel.mtu"), "does not fit into 256 blocks"},
		{"LPDU too long", edited("mac.length_octets", 1), line("llc.max_lpdu"), "does not fit into mac.length_octets"},
		{"static pipe in dynamic range", edited("pipe.link", 0x20), line("pipe.link"), "lies within the dynamic range"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := ParseProfile("p.yaml", []byte(tt.file))
			require.ErrorContains(t, err, tt.reason)
			require.ErrorContains(t, err, "scl profile: p.yaml:"+strconv.Itoa(tt.line)+": ")
		})
	}
	_, err := ParseProfile("p.yaml", []byte("a: [\n"))
	require.ErrorContains(t, err, "scl profile: p.yaml: line ")
}

func TestResponseCodes(t *testing.T) {
	p := DefaultProfile()
	for _, r := range p.responses() {
		require.Equal(t, r.err, p.Err(*r.code))
		require.Equal(t, *r.code, p.Code(r.err))
	}
	require.Equal(t, p.Response.AnyENOK, p.Code(os.ErrClosed))
	require.Equal(t, p.Response.AnyERegParUnknown, p.Code(fmt.Errorf("wrapped: %w", ErrRegParUnknown)))
	require.Error(t, p.Err(0x3F))
}

// FuzzProfile: a file is refused, or it is a profile a network can be made of.
func FuzzProfile(f *testing.F) {
	f.Add(profile0)
	f.Add(edit(f, "packet.pipe_bits", 3, "pipe.dynamic_last", 7))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := ParseProfile("p.yaml", b)
		if err != nil {
			require.ErrorContains(t, err, "scl profile: p.yaml:")
			return
		}
		n := NewNetwork(p, nil)
		h, err := n.Register("h", [16]byte{1}, 0)
		require.NoError(t, err)
		id, err := h.Admin().Get(p.Registry.HostID)
		require.NoError(t, err)
		require.Equal(t, p.AppendHostID(nil, h.ID()), id)
	})
}
