package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sspemu/sspemu/bundles"
	"github.com/sspemu/sspemu/bundles/iot/ca"
	iot "github.com/sspemu/sspemu/bundles/iot/profile"
	"github.com/sspemu/sspemu/primary/loader"
)

// defaultCA is where the certification authority listens.
const defaultCA = "127.0.0.1:8443"

// iotProfile reads a persona of the IoT bundle; "" is that of the built-in bundle.
func iotProfile(file string) (*iot.Profile, error) {
	spb, err := bundles.Open("iot")
	if err != nil {
		return nil, err
	}
	pkg, err := loader.Parse(spb)
	if err != nil {
		return nil, err
	}
	yaml, name := pkg.DefaultPersona, "iot default persona"
	if file != "" {
		name = file
		if yaml, err = os.ReadFile(file); err != nil {
			return nil, fmt.Errorf("persona: %w", err)
		}
	}
	p, err := iot.FromYAML(yaml, name, pkg.Schema)
	if err != nil {
		return nil, fmt.Errorf("persona: %w", err)
	}
	return p, nil
}

// loopback refuses an address that others can reach.
func loopback(flag, address, why string) error {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return usage(fmt.Errorf("--%s: %q: not of the form HOST:PORT", flag, address))
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return usage(fmt.Errorf("--%s: %s is not a loopback address (%s)", flag, address, why))
	}
	return nil
}

func newCA() *cobra.Command {
	var persona, listen, coaps, coap string
	var o ca.Options
	var show bool
	cmd := &cobra.Command{
		Use:   "ca",
		Short: "Be a certification authority for IoT devices: EST over HTTPS and CoAP",
		Long: `Serves one of the authorities of a persona of the IoT bundle. What it issues chains to the
trust anchor that is in the applet, and so does its own server's certificate.

  /.well-known/est/   cacerts, simpleenroll, simplereenroll, csrattrs (RFC 7030);
                      over CoAP crts, sen, sren, att (RFC 9148)
  /crl                the list of revoked certificates
  /certificates       what it has issued, JSON
  /revoke             POST: sspemu ca revoke SERIAL

It is for tests: whoever reaches it gets a certificate, unless --basic is given, and may
revoke any. It listens on loopback addresses only.`,
		Example: `  sspemu ca --print > anchor.pem
  sspemu ca --coap 127.0.0.1:5693
  curl --cacert anchor.pem https://127.0.0.1:8443/.well-known/est/cacerts | base64 -d | openssl pkcs7 -inform DER -print_certs
  sspemu iot enroll 51 --generate --name device-2 --ca https://127.0.0.1:8443`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			p, err := iotProfile(persona)
			if err != nil {
				return err
			}
			if o.Basic != "" && !strings.Contains(o.Basic, ":") {
				return usage(errors.New("--basic: is not of the form USER:PASSWORD"))
			}
			if o.Days < 1 {
				return usage(fmt.Errorf("--days: %d is not a number of days", o.Days))
			}
			a, err := ca.New(p, o)
			if err != nil {
				return usage(fmt.Errorf("--authority: %w", err))
			}
			if show {
				return pem.Encode(cmd.OutOrStdout(), &pem.Block{Type: "CERTIFICATE", Bytes: a.Certificate().Raw})
			}
			const why = "the authority certifies and revokes for whoever asks"
			for flag, address := range map[string]string{"listen": listen, "coaps": coaps, "coap": coap} {
				if address != off {
					if err := loopback(flag, address, why); err != nil {
						return err
					}
				}
			}
			return serveCA(cmd, a, listen, coaps, coap)
		},
	}
	f := cmd.Flags()
	f.StringVar(&listen, "listen", defaultCA, "where to listen for HTTPS, `HOST:PORT` or off; port 0 takes a free one")
	f.StringVar(&coaps, "coaps", off, "EST over CoAP with DTLS, `HOST:PORT` or off")
	f.StringVar(&coap, "coap", off, "EST over CoAP without DTLS, `HOST:PORT` or off")
	f.StringVar(&persona, "persona", "", "persona of the applet, a `FILE` (default: that of the built-in bundle)")
	f.StringVar(&o.Name, "authority", "", "`NAME` of the authority in the persona (default: the first one)")
	f.IntVar(&o.Days, "days", 365, "how many days certificates hold, `N`")
	f.StringVar(&o.Basic, "basic", "", "enrolment wants this `USER:PASSWORD`, or a certificate")
	f.BoolVar(&show, "print", false, "print the trust anchor (PEM) and end")
	cmd.AddCommand(newCARevoke())
	return cmd
}

// serveCA serves until the context ends.
func serveCA(cmd *cobra.Command, a *ca.Authority, listen, coaps, coap string) error {
	id, err := a.Server()
	if err != nil {
		return fmt.Errorf("ca: %w", err)
	}
	out := cmd.OutOrStdout()
	fmt.Fprintf(out, "authority  %s\n", a.Name())
	failed := make(chan error, 3)
	var closers []func() error
	defer func() {
		for _, c := range closers {
			_ = c()
		}
	}()
	if listen != off {
		l, err := net.Listen("tcp", listen)
		if err != nil {
			return fmt.Errorf("ca: %w (--listen HOST:PORT names another place)", err)
		}
		s := &http.Server{Handler: a, ReadHeaderTimeout: 10 * time.Second, ErrorLog: log.New(io.Discard, "", 0)}
		closers = append(closers, s.Close)
		go func() { failed <- s.Serve(tls.NewListener(l, ca.TLS(id))) }()
		fmt.Fprintf(out, "EST        https://%s\n", l.Addr())
	}
	serve := func(name string, s *ca.CoAP, err error) error {
		if err != nil {
			return fmt.Errorf("ca: --%s: %w", name, err)
		}
		closers = append(closers, s.Close)
		go func() {
			if err := s.Serve(); err != nil {
				failed <- err
			}
		}()
		fmt.Fprintf(out, "EST        %s://%s\n", name, s.Addr)
		return nil
	}
	if coaps != off {
		s, err := a.ListenCoAPS(coaps, id)
		if err := serve("coaps", s, err); err != nil {
			return err
		}
	}
	if coap != off {
		s, err := a.ListenCoAP(coap)
		if err := serve("coap", s, err); err != nil {
			return err
		}
	}
	if len(closers) == 0 {
		return usage(errors.New("ca: --listen, --coaps and --coap are all off: nobody could ask it"))
	}
	fmt.Fprint(out, "\nready\n")
	select {
	case err := <-failed:
		return fmt.Errorf("ca: %w", err)
	case <-cmd.Context().Done():
		return nil
	}
}

func newCARevoke() *cobra.Command {
	var url, persona, reason string
	cmd := &cobra.Command{
		Use:     "revoke SERIAL",
		Short:   "Have a running authority revoke a certificate",
		Example: `  sspemu ca revoke 4F2A... --reason keyCompromise`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := iotProfile(persona)
			if err != nil {
				return err
			}
			roots := x509.NewCertPool()
			for i := range p.Authorities {
				der, err := p.AuthorityCertificate(&p.Authorities[i])
				if err != nil {
					return fmt.Errorf("ca: %w", err)
				}
				x, err := x509.ParseCertificate(der)
				if err != nil {
					return fmt.Errorf("ca: %w", err)
				}
				roots.AddCert(x)
			}
			body, err := json.Marshal(map[string]string{"serial": args[0], "reason": reason})
			if err != nil {
				return fmt.Errorf("ca: %w", err)
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), 10*time.Second)
			defer cancel()
			r, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimRight(url, "/")+"/revoke", bytes.NewReader(body))
			if err != nil {
				return usage(fmt.Errorf("--ca: %w", err))
			}
			r.Header.Set("Content-Type", "application/json")
			client := http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}}
			resp, err := client.Do(r)
			if err != nil {
				return fmt.Errorf("ca: %w (is sspemu ca running there?)", err)
			}
			defer resp.Body.Close()
			var a struct{ Detail, Subject, Revoked string }
			if err := json.NewDecoder(io.LimitReader(resp.Body, 1<<16)).Decode(&a); err != nil {
				return fmt.Errorf("ca: %s: the answer: %w", resp.Status, err)
			}
			if resp.StatusCode != http.StatusOK {
				return fmt.Errorf("ca: %s: %s", resp.Status, a.Detail)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "revoked: %s (%s)\n", a.Subject, a.Revoked)
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVar(&url, "ca", "https://"+defaultCA, "`URL` of the authority")
	f.StringVar(&persona, "persona", "", "persona of the applet, a `FILE`, whose authorities are trusted (default: that of the built-in bundle)")
	f.StringVar(&reason, "reason", "unspecified", "`WORD` of RFC 5280: unspecified, keyCompromise, affiliationChanged, superseded, cessationOfOperation")
	return cmd
}
