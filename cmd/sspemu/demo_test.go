package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestDemoFails: a demo that cannot go as it is told says at which step, and why.
func TestDemoFails(t *testing.T) {
	if noBundles(t) {
		return
	}
	persona, err := os.ReadFile("../../bundles/iot/persona.yaml")
	require.NoError(t, err)
	for _, c := range []struct{ name, old, text, says string }{
		{"another authority", "certificate: {authority: Public Cloud A", "certificate: {authority: Public Cloud B", `sspemu: demo: step 2: remote error: tls: unknown certificate authority`},
		{"another anchor", `{id: "13", label: public cloud B CA, authority: Public Cloud B`, `{id: "13", label: public cloud B CA, authority: Public Cloud A`, `sspemu: demo: step 7: iot: simpleenroll: .*certificate signed by unknown authority`},
		{"no domain", "name: service provider", "name: somebody", `sspemu: demo: the persona has no domain "service provider"`},
		{"a file that is not the domain's", `files: ["52"]}`, `files: []}`, `sspemu: demo: step 4: ota: command 1 of the script: status 6A82`},
	} {
		t.Run(c.name, func(t *testing.T) {
			require.Contains(t, string(persona), c.old)
			file := filepath.Join(t.TempDir(), "persona.yaml")
			require.NoError(t, os.WriteFile(file, bytes.Replace(persona, []byte(c.old), []byte(c.text), 1), 0o600))
			var out, notes bytes.Buffer
			require.Equal(t, exitFailed, run(t.Context(), []string{"demo", "iot", "--persona", "iot=" + file}, &out, &notes))
			require.Regexp(t, `(?m)^`+c.says, notes.String())
		})
	}
}

// TestMQTTPackets: what a broker sends is read as it is, and no further.
func TestMQTTPackets(t *testing.T) {
	for _, c := range []struct {
		in   string
		kind byte
		body string
		says string
	}{
		{"\x20\x02\x00\x00", mqttConnAck, "\x00\x00", ""},
		{"\x30\x80\x01" + string(make([]byte, 128)), mqttPublish, string(make([]byte, 128)), ""},
		{"\x30", 0, "", "EOF"},
		{"\x30\x02a", 0, "", "unexpected EOF"},
		{"\x30\xFF\xFF\x7F", 0, "", "a packet of 2097151 bytes"},
		{"\x30\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF", 0, "", "overflow"},
	} {
		kind, body, err := mqttRead(bytes.NewReader([]byte(c.in)))
		if c.says != "" {
			require.ErrorContains(t, err, c.says, "%X", c.in)
			continue
		}
		require.NoError(t, err, "%X", c.in)
		require.Equal(t, c.kind, kind)
		require.Equal(t, c.body, string(body))
	}
	require.Equal(t, []byte{0x30, 0xAC, 0x02}, mqttHeader(mqttPublish, 300))
}
