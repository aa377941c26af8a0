// Command example opens a TLS session with a key that stays in an IoT SAFE applet, and
// needs no PKCS #11 for it: the card is behind a modem, its certificates are in its files.
//
//	sspemu modem --listen pty:/tmp/modem --active iot
//	example /tmp/modem localhost:8883
package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"io"
	"log"
	"os"
	"strings"

	"github.com/sspemu/sspemu/bundles/iot/host"
)

// sim is the card behind a modem: anything that transmits APDUs is one.
type sim struct{ *bufio.ReadWriter }

func (s sim) Transmit(_ context.Context, capdu, _ []byte) ([]byte, error) {
	fmt.Fprintf(s, "AT+CSIM=%d,\"%X\"\r", 2*len(capdu), capdu)
	for err := s.Flush(); err == nil; {
		var line string
		if line, err = s.ReadString('\n'); strings.HasPrefix(line, "+CSIM:") {
			return hex.DecodeString(strings.Trim(line[strings.Index(line, ",")+1:], "\" \r\n"))
		} else if strings.Contains(line, "ERROR") {
			return nil, fmt.Errorf("modem: %s", strings.TrimSpace(line))
		}
	}
	return nil, io.ErrUnexpectedEOF
}

func must[T any](v T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return v
}

func main() {
	port := must(os.OpenFile(os.Args[1], os.O_RDWR, 0))
	applet := must(host.Select(context.Background(), sim{bufio.NewReadWriter(bufio.NewReader(port), bufio.NewWriter(port))}, host.Options{}))
	key := must(applet.Key(host.ByLabel("public cloud A"), host.ByLabel("public cloud A")))
	identity := must(applet.Certificate(key, host.ByID(0x02)))
	roots := x509.NewCertPool()
	roots.AddCert(must(applet.X509(host.ByID(0x03))))
	cloud := must(tls.Dial("tcp", os.Args[2], &tls.Config{Certificates: []tls.Certificate{identity}, RootCAs: roots, ServerName: "localhost", Rand: applet}))
	fmt.Fprintln(cloud, "hello")
	must(0, cloud.CloseWrite())
	must(io.Copy(os.Stdout, cloud))
}
