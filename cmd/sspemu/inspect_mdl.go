package main

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sspemu/sspemu/bundles/eid/inspect"
	reader "github.com/sspemu/sspemu/bundles/eid/inspect/mdl"
	"github.com/sspemu/sspemu/bundles/eid/mdl"
	"github.com/sspemu/sspemu/bundles/eid/mdl/mdoc"
	"github.com/sspemu/sspemu/scl/terminal"
	"github.com/sspemu/sspemu/transport"
)

// inspectMDLFlags are the flags of inspect mdl.
type inspectMDLFlags struct {
	inspectFlags
	http                  bool
	docType               string
	elements              []string
	anchors               []string
	readerKey, readerCert string
}

func newInspectMDLCmd() *cobra.Command {
	var o inspectMDLFlags
	cmd := &cobra.Command{
		Use:   "mdl",
		Short: "Inspect a mobile driving licence or another mobile document (ISO/IEC 18013-5)",
		Long: `Reads the engagement of a mobile document from its NDEF tag, begins an encrypted session,
asks for elements, and verifies what is shown: the certificates up to the issuing
authority, the signature of the mobile security object, the hash value of every element,
dates, document type, and the signature or MAC of the device. Every check is explained in
a sentence with its clause; it exits with 1 when one fails.

--anchors are files or directories with certificates of issuing authorities, PEM or DER;
sspemu persona eid --anchors DIR writes such a directory. With --reader-key and
--reader-cert the reader authenticates itself; some elements are only for such readers.

Of a card in this process, or of one with --persona eid=FILE, the trust anchors are those
of the persona when none are given. --http reads the text of the QR code and sends the
session over HTTP instead, which is a way of our own (provisional).`,
		Example: `  sspemu inspect mdl --html report.html
  sspemu inspect mdl --elements family_name,portrait,age_over_18
  sspemu inspect mdl --doctype eu.europa.ec.eudi.pid.1 --http
  sspemu inspect mdl --link 'pcsc:Virtual PCD' --anchors trust --reader-key trust/mdl/reader-key.pem --reader-cert trust/mdl/reader.pem`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := o.config()
			if err != nil {
				return err
			}
			if o.http {
				return o.overHTTP(cmd, c)
			}
			return o.run(cmd, func(ctx context.Context, card inspect.Card, r *inspect.Report) error {
				return reader.Inspect(ctx, reader.NFC(card), c, r)
			})
		},
	}
	o.add(cmd)
	f := cmd.Flags()
	f.BoolVar(&o.http, "http", false, "engage and retrieve over HTTP (provisional)")
	f.StringVar(&o.docType, "doctype", "", "document `TYPE` (default: driving licence, and what else is known)")
	f.StringSliceVar(&o.elements, "elements", nil, "`NAMES` of elements to ask for, or NAMESPACE/NAME (default: what is mandatory)")
	f.StringSliceVar(&o.anchors, "anchors", nil, "certificates of issuing authorities: `FILES` or directories")
	f.StringVar(&o.readerKey, "reader-key", "", "private key of the reader, PKCS #8, a `FILE`")
	f.StringVar(&o.readerCert, "reader-cert", "", "certificate of the reader, a `FILE`")
	return cmd
}

// config makes the reader of the flags.
func (o *inspectMDLFlags) config() (c reader.Config, err error) {
	switch {
	case o.docType != "" && len(o.elements) == 0 && reader.Defaults[o.docType] == nil:
		return c, usage(fmt.Errorf("--doctype %s: say which --elements to ask for", o.docType))
	case o.docType != "":
		c.Queries = []mdoc.Query{reader.Query(o.docType, o.elements...)}
	case len(o.elements) > 0:
		c.Queries = []mdoc.Query{reader.Query(reader.TypeMDL, o.elements...)}
	}
	if (o.readerKey == "") != (o.readerCert == "") {
		return c, usage(errors.New("--reader-key and --reader-cert are needed together"))
	}
	if o.readerKey != "" {
		if err := o.authenticate(&c); err != nil {
			return c, err
		}
	}
	for _, path := range o.anchors {
		if err := addCertificates(&c, path); err != nil {
			return c, fmt.Errorf("trust anchors: %w", err)
		}
	}
	if len(o.anchors) > 0 && len(c.Anchors) == 0 {
		return c, fmt.Errorf("trust anchors: %s: there is no certificate of an authority", strings.Join(o.anchors, ", "))
	}
	return c, o.ofPersona(&c)
}

// authenticate reads key and certificate of the reader.
func (o *inspectMDLFlags) authenticate(c *reader.Config) error {
	b, err := os.ReadFile(o.readerKey)
	if err != nil {
		return fmt.Errorf("--reader-key: %w", err)
	}
	if c.ReaderKind, c.ReaderKey, err = reader.ParseKey(firstDER(b)); err != nil {
		return fmt.Errorf("--reader-key: %s: %w", o.readerKey, err)
	}
	if b, err = os.ReadFile(o.readerCert); err != nil {
		return fmt.Errorf("--reader-cert: %w", err)
	}
	cert, err := x509.ParseCertificate(firstDER(b))
	if err != nil {
		return fmt.Errorf("--reader-cert: %s: %w", o.readerCert, err)
	}
	c.ReaderChain = [][]byte{cert.Raw}
	return nil
}

// firstDER is the first block of a PEM file, or the file itself.
func firstDER(b []byte) []byte {
	if p, _ := pem.Decode(b); p != nil {
		return p.Bytes
	}
	return b
}

// addCertificates adds the authorities of a file, or of a directory and its directory mdl.
func addCertificates(c *reader.Config, path string) error {
	st, err := os.Stat(path)
	if err != nil {
		return err
	}
	files := []string{path}
	if st.IsDir() {
		files = nil
		for _, p := range []string{"*.pem", "*.cer", "*.crt", "*.der", "mdl/*.pem"} {
			m, err := filepath.Glob(filepath.Join(path, p))
			if err != nil {
				return err
			}
			files = append(files, m...)
		}
	}
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		ders := [][]byte{b}
		if p, rest := pem.Decode(b); p != nil {
			ders = nil
			for ; p != nil; p, rest = pem.Decode(rest) {
				if p.Type == "CERTIFICATE" {
					ders = append(ders, p.Bytes)
				}
			}
		}
		for _, der := range ders {
			cert, err := x509.ParseCertificate(der)
			if err != nil && !st.IsDir() {
				return fmt.Errorf("%s: %w", name, err)
			}
			if err == nil && cert.IsCA {
				c.Anchors = append(c.Anchors, cert)
			}
		}
	}
	return nil
}

// ofPersona takes the trust anchors from the persona, where none were given.
func (o *inspectMDLFlags) ofPersona(c *reader.Config) error {
	file, named := o.persona()
	if len(c.Anchors) > 0 || o.link != "" && !transport.Inside(o.link) && !named {
		return nil
	}
	doc, err := eidPersona(file)
	if err != nil {
		return err
	}
	if !doc.Has("mdl") {
		return nil
	}
	a, err := mdl.Trust(doc)
	if err != nil {
		return fmt.Errorf("persona: trust anchors: %w", err)
	}
	iaca, err := x509.ParseCertificate(a.IACA.Raw)
	c.Anchors = append(c.Anchors, iaca)
	return err
}

// overHTTP inspects over the HTTP service of the bundle.
func (o *inspectMDLFlags) overHTTP(cmd *cobra.Command, c reader.Config) (err error) {
	if o.asJSON && o.html == "-" {
		return usage(errors.New("--json and --html -: give one of them"))
	}
	date, err := o.date()
	if err != nil {
		return err
	}
	if o.x.settings.active == "" && (o.link == "" || transport.Inside(o.link)) {
		o.x.settings.active = "eid"
	}
	h, err := o.x.reach(cmd, o.link, o.timeout)
	if err != nil {
		return err
	}
	defer func() {
		if cerr := h.close(); err == nil {
			err = cerr
		}
	}()
	dial, host, err := h.http()
	if err != nil {
		return fmt.Errorf("mdl: %w", err)
	}
	web := terminal.NewHTTP(dial)
	do := func(ctx context.Context, method, path, media string, body []byte) ([]byte, error) {
		ctx, cancel := context.WithTimeout(ctx, o.timeout)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, method, "http://"+host+path, bytes.NewReader(body))
		if err != nil {
			return nil, err
		}
		if media != "" {
			req.Header.Set("Content-Type", media)
		}
		resp, err := web.RoundTrip(req)
		if err != nil {
			return nil, err
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
		if err == nil && resp.StatusCode/100 != 2 {
			err = fmt.Errorf("%s %s: %s", method, path, resp.Status)
		}
		return b, err
	}
	r := &inspect.Report{Target: h.where + ", HTTP", Date: date}
	err = reader.Inspect(cmd.Context(), reader.HTTP(do), c, r)
	r.Note("data retrieval over HTTP is provisional: it is of our own making")
	if err == nil {
		err = r.Failed()
	}
	if perr := o.print(cmd, r); perr != nil {
		return perr
	}
	if err != nil {
		return fmt.Errorf("%s: %w", cmd.Name(), err)
	}
	return nil
}
