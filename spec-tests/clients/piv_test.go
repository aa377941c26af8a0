package clients

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/internal/pcscdtest"
)

// TestPIV: the tools that people use with PIV cards set one up and use it.
//
//	yubico-piv-tool, piv-tool, pkcs15-tool, pkcs11-tool, ssh-keygen, openssl s_client
//	      └────────── pcscd ── libifdvpcd.so ── bin/sspemu serve --active eid
//
// Debian 12's yubico-piv-tool cannot sign certificates with OpenSSL 3
// (Yubico/yubico-piv-tool issue 388), so openssl makes them; its piv-tool has a like
// trouble with the public key that it has the card make, and with the one-sided
// authentication of the administrator.
func TestPIV(t *testing.T) {
	d := pcscdtest.Start(t)
	if d == nil {
		return
	}
	e := &emulator{t, sspemu(t), pcscdtest.FreeAddr(t)}
	serve := exec.Command(e.binary, "serve", "--state", t.TempDir(), "--active", "eid", "--link", d.URL, "--api", e.api, "--http", "off", "--coap", "off")
	serve.Stderr = os.Stderr
	ready(t, serve)
	t.Cleanup(func() { stop(t, serve) })
	require.Eventually(t, func() bool {
		b, _ := exec.Command("opensc-tool", "-r", "0", "--atr").CombinedOutput()
		return regexp.MustCompile(`^3b:8a:80:01:`).Match(b)
	}, 20*time.Second, 100*time.Millisecond, "a card should be in the reader")

	dir := t.TempDir()
	shell := func(t *testing.T, script string) string {
		t.Helper()
		file := filepath.Join(t.TempDir(), "script")
		require.NoError(t, os.WriteFile(file, []byte("set -eu\ncd "+dir+`
Y="yubico-piv-tool -r Test"
P11=$(ls /usr/lib/*/opensc-pkcs11.so)
M="pkcs11-tool --module $P11 --login --pin 123456"
cert() { openssl x509 -req -in dummy.csr -CA ca.pem -CAkey ca.key -CAcreateserial -force_pubkey $1 -out $2 -days 30 2>/dev/null; }
`+script), 0o600))
		return e.run(t, "bash", file)
	}
	shell(t, `openssl req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -subj /CN=TestCA -days 30 2>/dev/null
openssl req -new -key ca.key -out dummy.csr -subj "/CN=PIV holder"; echo hello > data`)

	t.Run("keys and certificates", func(t *testing.T) {
		out := shell(t, `for k in 9a:RSA2048 9c:ECCP256 9d:ECCP384 9e:RSA1024; do
  s=${k%:*}; $Y -a generate -s $s -A ${k#*:} -o pub$s.pem; cert pub$s.pem cert$s.pem; $Y -a import-certificate -s $s -i cert$s.pem
done
$Y -a set-chuid; $Y -a set-ccc; $Y -a status`)
		require.Regexp(t, `(?s)Slot 9a:.*RSA2048.*Slot 9c:.*ECCP256.*Slot 9d:.*ECCP384.*Slot 9e:.*RSA1024.*PIN tries left:\s+3`, out)
		require.Contains(t, out, "CN=PIV holder")
	})
	t.Run("attestation", func(t *testing.T) {
		out := shell(t, `$Y -a read-certificate -s f9 -o f9.pem
for s in 9a 9c 9d; do $Y -a attest -s $s -o att$s.pem; openssl verify -partial_chain -trusted f9.pem att$s.pem
  openssl x509 -in att$s.pem -noout -pubkey | cmp - pub$s.pem; done
openssl x509 -in att9c.pem -noout -text`)
		require.Contains(t, out, "att9d.pem: OK")
		require.Contains(t, out, "1.3.6.1.4.1.41482.3.8")
	})
	t.Run("signatures and decryption", func(t *testing.T) {
		out := shell(t, `$Y -a verify-pin -P 123456 -a test-signature -s 9a -i cert9a.pem
$Y -a verify-pin -P 123456 -a test-signature -s 9c -i cert9c.pem
$Y -a verify-pin -P 123456 -a test-decipher -s 9a -i cert9a.pem
$Y -a verify-pin -P 123456 -a test-decipher -s 9d -i cert9d.pem`)
		for _, want := range []string{"Successful RSA verification", "Successful ECDSA verification", "Successfully performed RSA decryption", "Successfully performed ECDH exchange"} {
			require.Contains(t, out, want)
		}
	})
	t.Run("PIN and PUK", func(t *testing.T) {
		out := shell(t, `$Y -a change-pin -P 123456 -N 654321; $Y -a change-puk -P 12345678 -N 87654321; $Y -a unblock-pin -P 87654321 -N 123456
$Y -a verify-pin -P 111111 || true; $Y -a verify-pin -P 123456; $Y -a verify-pin -P 123456 -a pin-retries --pin-retries 5 --puk-retries 6; $Y -a status`)
		require.Contains(t, out, "2 tries left before pin is blocked")
		require.Regexp(t, `PIN tries left:\s+5`, out)
	})
	t.Run("import and management key", func(t *testing.T) {
		out := shell(t, `openssl genrsa -traditional -out imported.key 2048 2>/dev/null; openssl rsa -in imported.key -pubout -out imported.pem 2>/dev/null
$Y -a import-key -s 82 -i imported.key; cert imported.pem cert82.pem; $Y -a import-certificate -s 82 -i cert82.pem
$Y -a verify-pin -P 123456 -a test-signature -s 82 -i cert82.pem
openssl ecparam -name secp384r1 -genkey -noout -out ec.key; openssl ec -in ec.key -pubout -out ec.pem 2>/dev/null
$Y -a import-key -s 83 -i ec.key; cert ec.pem cert83.pem; $Y -a verify-pin -P 123456 -a test-signature -s 83 -i cert83.pem
new=112233445566778811223344556677881122334455667788
$Y -a set-mgm-key -n $new; ! $Y -a set-chuid; $Y -k$new -a set-mgm-key -n 010203040506070801020304050607080102030405060708`)
		require.Contains(t, out, "Successful RSA verification")
		require.Contains(t, out, "Successful ECDSA verification")
		require.Contains(t, out, "Failed authentication with the application")
	})
	t.Run("OpenSC", func(t *testing.T) {
		out := shell(t, `pkcs15-tool -r 0 --list-keys; piv-tool -r 0 --serial
$M -O
$M --sign --id 01 -m SHA256-RSA-PKCS -i data -o sig1; openssl dgst -sha256 -verify pub9a.pem -signature sig1 data
$M --sign --id 02 -m ECDSA-SHA256 --signature-format openssl -i data -o sig2; openssl dgst -sha256 -verify pub9c.pem -signature sig2 data
openssl pkeyutl -encrypt -pubin -inkey pub9a.pem -in data -out secret; $M --decrypt --id 01 -m RSA-PKCS -i secret -o plain; cmp data plain
openssl ecparam -name secp384r1 -genkey -noout -out peer.key; openssl ec -in peer.key -pubout -outform DER -out peer.der 2>/dev/null
$M --derive --id 03 -m ECDH1-DERIVE -i peer.der -o shared1 >/dev/null; openssl pkeyutl -derive -inkey peer.key -peerkey pub9d.pem -out shared2; cmp shared1 shared2
printf 01:02:03:04:05:06:07:08:01:02:03:04:05:06:07:08:01:02:03:04:05:06:07:08 > admin; export PIV_EXT_AUTH_KEY=$PWD/admin
piv-tool -r 0 -A M:9B:03 --serial`)
		require.Regexp(t, `(?s)PIV AUTH key.*SIGN key.*KEY MAN key`, out)
		require.Regexp(t, `(?s)Verified OK.*Verified OK`, out)
	})
	t.Run("ssh and TLS", func(t *testing.T) {
		out := shell(t, `$Y -a import-key -s 9a -i imported.key; $Y -a import-certificate -s 9a -i cert82.pem
ssh-keygen -D $P11
openssl req -x509 -newkey rsa:2048 -nodes -keyout server.key -out server.pem -subj /CN=localhost -days 30 2>/dev/null
openssl s_server -accept 127.0.0.1:24433 -cert server.pem -key server.key -CAfile ca.pem -Verify 1 -verify_return_error -www -quiet >server.log 2>&1 &
server=$!; trap "kill $server" EXIT
for i in $(seq 50); do (exec 3<>/dev/tcp/127.0.0.1/24433) 2>/dev/null && break; sleep 0.1; done
printf 'GET / HTTP/1.0\r\n\r\n' | timeout 30 openssl s_client -connect 127.0.0.1:24433 -CAfile server.pem -engine pkcs11 -keyform engine -key 'pkcs11:id=%01;type=private;pin-value=123456' -cert cert82.pem -quiet 2>client.log`)
		require.Contains(t, out, "ssh-rsa ")
		require.Contains(t, out, "Verify return code: 0 (ok)", "the server wants a certificate and has verified it")
	})
	t.Run("reset", func(t *testing.T) {
		out := shell(t, `for i in 1 2 3 4 5; do $Y -a verify-pin -P 000000 || true; done
for i in 1 2 3 4 5 6; do $Y -a unblock-pin -P 00000000 -N 123456 || true; done
$Y -a reset; $Y -a verify-pin -P 123456; $Y -a status`)
		require.Contains(t, out, "Successfully reset the application")
		require.NotContains(t, out, "Slot 9a")
	})
}
