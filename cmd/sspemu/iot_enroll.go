package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sspemu/sspemu/bundles/iot/ca"
	device "github.com/sspemu/sspemu/bundles/iot/host"
)

// trusted are the authorities in a PEM file, or the trust anchor in a file of the applet.
func trusted(a *device.Applet, file, anchor string) (*x509.CertPool, error) {
	roots := x509.NewCertPool()
	if file != "" {
		b, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("--trust: %w", err)
		}
		if !roots.AppendCertsFromPEM(b) {
			return nil, fmt.Errorf("--trust: %s has no certificate in PEM", file)
		}
		return roots, nil
	}
	x, err := a.X509(reference(anchor))
	if err != nil {
		return nil, fmt.Errorf("iot: trust anchor: %w", err)
	}
	roots.AddCert(x)
	return roots, nil
}

// sanOID is subjectAltName.
const sanOID = "2.5.29.17"

// wanted is the request for an identity: a name and alternative names, or those of the
// certificate that is to be renewed.
func wanted(name string, dns []string, old *x509.Certificate) *x509.CertificateRequest {
	if old == nil {
		return &x509.CertificateRequest{Subject: pkix.Name{CommonName: name}, DNSNames: dns}
	}
	r := &x509.CertificateRequest{RawSubject: old.RawSubject}
	for _, e := range old.Extensions {
		if e.Id.String() == sanOID {
			r.ExtraExtensions = append(r.ExtraExtensions, pkix.Extension{Id: e.Id, Value: e.Value})
		}
	}
	return r
}

// enrolment is what sspemu iot enroll is asked to do.
type enrolment struct {
	key, url        string // container of the key; of the authority
	name            string
	dns             []string
	generate        bool
	renew, renewKey string // file with the certificate, container of its key
	anchor, trust   string
	basic           string
	timeout         time.Duration
}

// run enrols a key of an applet.
func (e enrolment) run(ctx context.Context, a *device.Applet) (*x509.Certificate, error) {
	roots, err := trusted(a, e.trust, e.anchor)
	if err != nil {
		return nil, err
	}
	conf := &tls.Config{RootCAs: roots, Rand: a}
	var old *x509.Certificate
	if e.renew != "" {
		if e.renewKey == "" {
			e.renewKey = e.key
		}
		k, err := a.Key(reference(e.renewKey), reference(e.renewKey))
		if err != nil {
			return nil, fmt.Errorf("iot: %w", err)
		}
		id, err := a.Certificate(k, reference(e.renew))
		if err != nil {
			return nil, fmt.Errorf("iot: %w", err)
		}
		conf.Certificates, old = []tls.Certificate{id}, id.Leaf
	}
	ref := reference(e.key)
	if e.generate {
		if _, err := a.GenerateKeyPair(ref); err != nil {
			return nil, fmt.Errorf("iot: %w", err)
		}
	}
	k, err := a.Key(ref, ref)
	if err != nil {
		return nil, fmt.Errorf("iot: %w", err)
	}
	request, err := x509.CreateCertificateRequest(nil, wanted(e.name, e.dns, old), k)
	if err != nil {
		return nil, fmt.Errorf("iot: %w", err)
	}
	transport := &http.Transport{TLSClientConfig: conf}
	defer transport.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(ctx, e.timeout)
	defer cancel()
	c := ca.Client{URL: e.url, Basic: e.basic, HTTP: &http.Client{Transport: transport}}
	enroll := c.Enroll
	if old != nil {
		enroll = c.Reenroll
	}
	x, err := enroll(ctx, request)
	if err != nil {
		return nil, fmt.Errorf("iot: %w", err)
	}
	if _, err := x.Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}); err != nil {
		return nil, fmt.Errorf("iot: the certificate that came is not that of a trusted authority: %w", err)
	}
	return x, nil
}

func newIoTEnroll() *cobra.Command {
	var o iotFlags
	e := enrolment{}
	var out string
	cmd := &cobra.Command{
		Use:   "enroll KEY --ca URL",
		Short: "Have an authority certify a key of the applet, with EST (RFC 7030)",
		Long: `Signs a certificate request with the key in the container KEY, an identifier in hexadecimal
or a label, has the authority at --ca certify it, and prints the certificate (PEM).

With --renew FILE the names are those of the certificate in that file of the applet, and
the applet authenticates itself with it: the key in --renew-key, which is KEY unless a new
key takes its place.

The server is trusted by the trust anchor in the applet, or by --trust.`,
		Example: `  sspemu ca &
  sspemu iot enroll 51 --generate --name device-2 --ca https://127.0.0.1:8443 --out device.pem
  sspemu iot enroll 01 --renew 02 --ca https://127.0.0.1:8443
  sspemu iot enroll 51 --renew 02 --renew-key 01 --ca https://127.0.0.1:8443`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			e.key = args[0]
			if !strings.HasPrefix(e.url, "https://") {
				return usage(fmt.Errorf("--ca: %q is not a URL that begins with https:// (sspemu ca serves at https://%s)", e.url, defaultCA))
			}
			if e.renew == "" && e.renewKey != "" {
				return usage(errors.New("--renew-key belongs to --renew FILE"))
			}
			a, end, err := o.open(cmd)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, end()) }()
			x, err := e.run(cmd.Context(), a)
			if err != nil {
				return err
			}
			var b bytes.Buffer
			if err := pem.Encode(&b, &pem.Block{Type: "CERTIFICATE", Bytes: x.Raw}); err != nil {
				return err
			}
			fmt.Fprintf(cmd.ErrOrStderr(), "%s certifies %s until %s, serial number %X\n", x.Issuer.CommonName, x.Subject.CommonName, x.NotAfter.Format(time.DateOnly), x.SerialNumber)
			if out == "" {
				_, err = cmd.OutOrStdout().Write(b.Bytes())
				return err
			}
			return os.WriteFile(out, b.Bytes(), 0o644)
		},
	}
	f := cmd.Flags()
	f.StringVar(&e.url, "ca", "", "`URL` of the authority, https://HOST:PORT or with a path that ends in /.well-known/est/LABEL")
	f.BoolVar(&e.generate, "generate", false, "the applet makes a new key pair first")
	f.StringVar(&e.name, "name", "device", "common `NAME` of the subject")
	f.StringSliceVar(&e.dns, "dns", nil, "alternative `NAME`, a host; may be repeated")
	f.StringVar(&e.renew, "renew", "", "renew the certificate in this `FILE` of the applet")
	f.StringVar(&e.renewKey, "renew-key", "", "container of the key of that certificate, `KEY` (default: the key that is enrolled)")
	f.StringVar(&e.anchor, "anchor", "03", "`FILE` of the applet with the trust anchor: identifier or label")
	f.StringVar(&e.trust, "trust", "", "trust the authorities in this `FILE` (PEM) instead")
	f.StringVar(&e.basic, "basic", "", "name and password for the authority, `USER:PASSWORD`")
	f.StringVarP(&out, "out", "o", "", "write the certificate to this `FILE` instead of standard output")
	f.DurationVar(&e.timeout, "wait", 30*time.Second, "how long the authority may take")
	o.add(cmd)
	return cmd
}
