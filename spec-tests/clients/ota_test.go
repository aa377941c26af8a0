package clients

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/internal/pcscdtest"
)

// TestAdministrationBehindReader: the server of a security domain reaches a card behind a
// PC/SC reader, on T=0, where answers wait for GET RESPONSE, and T=1. The device finds what
// was changed.
//
//	sspemu ota ── pcscd ── libifdvpcd.so ── bin/sspemu serve --active iot
func TestAdministrationBehindReader(t *testing.T) {
	for _, protocol := range []string{"t0", "t1"} {
		t.Run(protocol, func(t *testing.T) {
			e := start(t, "?protocol="+protocol, "--active", "iot")
			if e == nil {
				return
			}
			link := "pcsc:" + pcscdtest.Reader + " 00 00"
			counters := filepath.Join(t.TempDir(), "counters.json")
			sends := func(args ...string) string {
				return e.run(t, e.binary, append(append([]string{"ota"}, args...), "--link", link, "--counters", counters)...)
			}
			anchor := filepath.Join(t.TempDir(), "anchor.pem")
			require.NoError(t, os.WriteFile(anchor, []byte(e.run(t, e.binary, "ca", "--authority", "Public Cloud B test CA", "--print")), 0o600))
			require.Contains(t, sends("list"), "public cloud A certificate")
			require.Contains(t, sends("trust", "03", anchor), "file 03 has the new anchor")
			require.Contains(t, sends("generate", "51", "--domain", "service provider"), "BEGIN PUBLIC KEY")
			require.Contains(t, sends("generate", "31", "--domain", "private cloud", "--submit"), "BEGIN PUBLIC KEY")
			require.Contains(t, sends("put-certificate", "52", anchor, "--domain", "service provider"), "is in file 52")
			require.Regexp(t, `private key +51 +p256 +activated`, e.run(t, e.binary, "iot", "list", "--link", link))
		})
	}
}

// TestPacketByOpenSSL: a secured packet that openssl enciphers and protects, and curl
// brings to the card; the proof of receipt is deciphered and checked by openssl again.
//
//	openssl mac, openssl enc ── packet ── curl ── HTTP ──> bin/sspemu serve --active iot
func TestPacketByOpenSSL(t *testing.T) {
	const kic, kid = "00112233445566778899AABBCCDDEEFF", "0F1E2D3C4B5A69788796A5B4C3D2E1F0"
	dir := t.TempDir()
	persona := filepath.Join(dir, "persona.yaml")
	require.NoError(t, os.WriteFile(persona, []byte(`seed: a device
aids: [A0000005590010]
files:
  - {id: "02", text: before}
domains:
  - name: a domain
    tar: "010203"
    kic: {index: 1, algorithm: aes128, key: `+kic+`}
    kid: {index: 1, algorithm: aes128, key: `+kid+`}
    containers: {files: ["02"]}
`), 0o600))
	http := pcscdtest.FreeAddr(t)
	serve := exec.Command(sspemu(t), "serve", "--ephemeral", "--active", "iot", "--persona", "iot="+persona, "--link", "off", "--http", http, "--coap", "off", "--api", "off")
	serve.Stderr = os.Stderr
	ready(t, serve)
	t.Cleanup(func() { stop(t, serve) })
	openssl := func(in []byte, args ...string) []byte {
		cmd := exec.Command("openssl", args...)
		cmd.Stdin = bytes.NewReader(in)
		out, err := cmd.Output()
		require.NoError(t, err, args)
		return out
	}
	cmac := func(b []byte) []byte {
		out := openssl(b, "mac", "-cipher", "AES-128-CBC", "-macopt", "hexkey:"+kid, "-binary", "CMAC")
		require.Len(t, out, 16)
		return out[:8]
	}
	cbc := func(way string, b []byte) []byte {
		return openssl(b, "enc", way, "-aes-128-cbc", "-K", kic, "-iv", strings.Repeat("00", 16), "-nopad")
	}

	// STORE DATA of "new" into file 02, counter 1; the proof is ciphered, with a checksum.
	script := "\xAA\x0F\x22\x0D\x80\xE2\x80\x00\x08\x83\x01\x02\x53\x03new"
	padding := make([]byte, 16-(6+8+len(script))%16)
	counted := append([]byte{0, 0, 0, 0, 1}, byte(len(padding)))
	n := 8 + 6 + 8 + len(script) + len(padding)
	head := []byte{0, byte(n), 21, 0x16, 0x19, 0x12, 0x12, 1, 2, 3}
	data := append([]byte(script), padding...)
	sum := cmac(slices.Concat(head, counted, data))
	packet := append(head, cbc("-e", slices.Concat(counted, sum, data))...)
	out, notes, code := run(t, bytes.NewReader(packet), "curl", "-sS", "--fail-with-body", "-H", "Content-Type: application/octet-stream", "--data-binary", "@-", "http://"+http+"/ota")
	require.Zero(t, code, out+notes)
	answer := []byte(out)
	require.Equal(t, []byte{0, byte(len(answer) - 2), 18, 1, 2, 3}, answer[:6])
	plain := cbc("-d", answer[6:])
	require.Equal(t, []byte{0, 0, 0, 0, 1}, plain[:5], "the counter")
	require.Zero(t, plain[6], "the status")
	result := plain[15 : len(plain)-int(plain[5])]
	require.Equal(t, "\xAB\x07\x80\x01\x01\x23\x02\x90\x00", string(result))
	require.Equal(t, cmac(slices.Concat([]byte{2, 0x71, 0}, answer[:6], plain[:7], plain[15:])), plain[7:15], "the checksum of the proof")

	// The same packet again: nothing but the report of its counter.
	out, _, _ = run(t, bytes.NewReader(packet), "curl", "-sS", "-H", "Content-Type: application/octet-stream", "--data-binary", "@-", "http://"+http+"/ota")
	plain = cbc("-d", []byte(out)[6:])
	require.Equal(t, byte(2), plain[6])
	out, notes, code = run(t, nil, "curl", "-sS", "-o", "/dev/null", "-w", "%{http_code} %{content_type}", "-H", "Content-Type: application/octet-stream", "--data-binary", "nonsense", "http://"+http+"/ota")
	require.Zero(t, code, notes)
	require.Equal(t, "400 application/problem+json", out)
}
