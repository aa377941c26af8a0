package clients

import (
	"bytes"
	"crypto/x509"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/internal/pcscdtest"
)

// bench is a device with an IoT SAFE applet and an authority for it:
//
//	curl ──────── HTTP ──> bin/sspemu serve --active iot        the request of an identity
//	coap-client ─ CoAP ──>
//	curl ──────── HTTPS ─> bin/sspemu ca                        EST, EST-coaps
//	coap-client ─ CoAP ──>
type bench struct {
	*served
	est, estCoAP, estCoAPS string // HOST:PORT
	dir                    string // has anchor.pem, the trust anchor
}

func newBench(t *testing.T) *bench {
	b := &bench{serving(t), pcscdtest.FreeAddr(t), pcscdtest.FreeAddr(t), pcscdtest.FreeAddr(t), t.TempDir()}
	b.activate(t, "iot")
	cmd := exec.Command(sspemu(t), "ca", "--listen", b.est, "--coap", b.estCoAP, "--coaps", b.estCoAPS)
	cmd.Stderr = os.Stderr
	ready(t, cmd)
	t.Cleanup(func() { stop(t, cmd) })
	anchor, err := exec.Command(sspemu(t), "ca", "--print").Output()
	require.NoError(t, err)
	b.write(t, "anchor.pem", anchor)
	return b
}

func (b *bench) write(t *testing.T, name string, content []byte) {
	require.NoError(t, os.WriteFile(filepath.Join(b.dir, name), content, 0o600))
}

// sh runs a line of a shell in the directory of the bench.
func (b *bench) sh(t *testing.T, line string) string {
	t.Helper()
	line = strings.NewReplacer("$CARD", "http://"+b.http, "$EST", "https://"+b.est+"/.well-known/est").Replace(line)
	out, notes, code := run(t, nil, "bash", "-o", "pipefail", "-c", "cd '"+b.dir+"'; "+line)
	require.Zero(t, code, "%s: %s%s", line, out, notes)
	return out + notes
}

// generate has the key 51 of the applet made by the device of another process.
func (b *bench) generate(t *testing.T) {
	out, err := exec.Command(sspemu(t), "iot", "csr", "51", "--generate", "--api", b.api).CombinedOutput()
	require.NoError(t, err, string(out))
}

// TestCurlEST: with curl and openssl alone an identity of the applet gets a certificate, and
// another key of openssl's has its own renewed.
func TestCurlEST(t *testing.T) {
	if tool(t, "curl", "curl") == "" {
		return
	}
	b := newBench(t)
	b.sh(t, `curl -sSf --cacert anchor.pem $EST/cacerts | base64 -d | openssl pkcs7 -inform DER -print_certs -out cas.pem; openssl verify -CAfile anchor.pem cas.pem`)
	for _, id := range []string{"01", "21", "31"} {
		require.Contains(t, b.sh(t, `curl -sSf -H 'Accept: application/x-pem-file' $CARD/identities/`+id+`/csr | openssl req -verify -noout`), "verify OK")
		b.sh(t, `curl -sSf $CARD/identities/`+id+`/csr | base64 | curl -sSf --cacert anchor.pem -H 'Content-Type: application/pkcs10' --data-binary @- $EST/simpleenroll |
			base64 -d | openssl pkcs7 -inform DER -print_certs -out new.pem; openssl verify -purpose sslclient -x509_strict -CAfile anchor.pem new.pem`)
		require.Equal(t, b.sh(t, `openssl x509 -in new.pem -noout -pubkey`), b.sh(t, `curl -sSf $CARD/identities/`+id+`/public-key`))
		require.Equal(t, b.sh(t, `openssl x509 -in new.pem -noout -subject`), b.sh(t, `curl -sSf $CARD/identities/`+id+`/certificate | openssl x509 -noout -subject`))
	}
	// PEM as openssl writes it, and renewal with the certificate of the client.
	b.sh(t, `openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout key.pem -subj /CN=device-8 -out req.pem 2>/dev/null
		curl -sSf --cacert anchor.pem -H 'Content-Type: application/pkcs10' --data-binary @req.pem $EST/simpleenroll | base64 -d | openssl pkcs7 -inform DER -print_certs | openssl x509 -out cert.pem
		curl -sSf --cacert anchor.pem --cert cert.pem --key key.pem -H 'Content-Type: application/pkcs10' --data-binary @req.pem $EST/simplereenroll | base64 -d | openssl pkcs7 -inform DER -print_certs | openssl x509 -out renewed.pem
		openssl verify -CAfile anchor.pem renewed.pem`)
	require.Equal(t, "403", b.sh(t, `curl -sS -o /dev/null -w '%{http_code}' --cacert anchor.pem -H 'Content-Type: application/pkcs10' --data-binary @req.pem $EST/simplereenroll`))
	require.Equal(t, "400", b.sh(t, `sed 's/^MI/MJ/' req.pem | curl -sS -o /dev/null -w '%{http_code}' --cacert anchor.pem -H 'Content-Type: application/pkcs10' --data-binary @- $EST/simpleenroll`))
	require.Equal(t, "415", b.sh(t, `curl -sS -o /dev/null -w '%{http_code}' --cacert anchor.pem -H 'Content-Type: text/plain' --data-binary @req.pem $EST/simpleenroll`))
}

// TestCoAPClientEST: EST-coaps with libcoap, and an observer of an identity.
func TestCoAPClientEST(t *testing.T) {
	program := tool(t, "libcoap3-bin", coapClients...)
	if program == "" {
		return
	}
	b := newBench(t)
	client := func(args ...string) string {
		t.Helper()
		out, notes, code := run(t, nil, program, append([]string{"-B", "20"}, args...)...)
		require.Zero(t, code, "%v: %s", args, notes)
		return out + notes
	}
	file := func(name string) string { return filepath.Join(b.dir, name) }

	// An observer sees the key that is generated.
	seen, err := os.Create(file("seen"))
	require.NoError(t, err)
	defer seen.Close()
	observer := exec.Command(program, "-s", "6", "-A", "50", "coap://"+b.coap+"/identities/51")
	observer.Stdout = seen
	require.NoError(t, observer.Start())
	wait := func(text string) {
		t.Helper()
		require.Eventually(t, func() bool {
			x, err := os.ReadFile(file("seen"))
			return err == nil && bytes.Contains(x, []byte(text))
		}, 5*time.Second, 10*time.Millisecond, text)
	}
	wait(`"state":"deactivated"`)
	b.generate(t)
	wait(`"state":"activated"`)

	// Request and certificate.
	core := client("coap://" + b.estCoAP + "/.well-known/core?rt=ace.est*")
	require.Contains(t, core, `</.well-known/est/sen>;rt="ace.est.sen";ct="281 287"`)
	client("-A", "286", "-o", file("device.p10"), "coap://"+b.coap+"/identities/51/csr?name=device-9")
	require.Contains(t, b.sh(t, `openssl req -inform DER -in device.p10 -verify -noout`), "verify OK")
	client("-m", "post", "-t", "286", "-A", "287", "-f", file("device.p10"), "-o", file("device.der"), "coap://"+b.estCoAP+"/.well-known/est/sen")
	b.sh(t, `openssl x509 -inform DER -in device.der -out device.pem; openssl verify -purpose sslclient -CAfile anchor.pem device.pem`)
	der, err := os.ReadFile(file("device.der"))
	require.NoError(t, err)
	x, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	require.Equal(t, "device-9", x.Subject.CommonName)
	client("-o", file("crts"), "coap://"+b.estCoAP+"/.well-known/est/crts")
	b.sh(t, `openssl pkcs7 -inform DER -in crts -print_certs -out cas.pem; openssl verify -CAfile anchor.pem cas.pem`)
	require.Contains(t, client("-m", "post", "-t", "286", "-f", file("device.p10"), "coap://"+b.estCoAP+"/.well-known/est/sren"), "4.03")
	require.Contains(t, client("-m", "post", "-t", "60", "-f", file("device.p10"), "coap://"+b.estCoAP+"/.well-known/est/sen"), "4.15")
	require.NoError(t, os.WriteFile(file("no.p10"), []byte("no request"), 0o600))
	require.Contains(t, client("-m", "post", "-t", "286", "-f", file("no.p10"), "coap://"+b.estCoAP+"/.well-known/est/sen"), "4.00")
	require.NoError(t, observer.Wait())
}

// TestCoAPSClientEST: enrolment and renewal over DTLS, the client with a certificate.
func TestCoAPSClientEST(t *testing.T) {
	program := tool(t, "libcoap3-bin", coapClients[1:3]...)
	if program == "" {
		return
	}
	b := newBench(t)
	b.sh(t, `openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout key.pem -subj /CN=device-10 -outform DER -out req.der 2>/dev/null
		base64 req.der | curl -sSf --cacert anchor.pem -H 'Content-Type: application/pkcs10' --data-binary @- $EST/simpleenroll | base64 -d | openssl pkcs7 -inform DER -print_certs | openssl x509 -out cert.pem`)
	url := "coaps://" + strings.Replace(b.estCoAPS, "127.0.0.1", "localhost", 1) + "/.well-known/est/"
	out, notes, code := run(t, nil, program, "-B", "20", "-C", b.dir+"/anchor.pem", "-c", b.dir+"/cert.pem", "-j", b.dir+"/key.pem",
		"-m", "post", "-t", "286", "-A", "287", "-f", b.dir+"/req.der", "-o", b.dir+"/renewed.der", url+"sren")
	require.Zero(t, code, out+notes)
	b.sh(t, `openssl x509 -inform DER -in renewed.der -out renewed.pem; openssl verify -CAfile anchor.pem renewed.pem`)
}
