package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	device "github.com/sspemu/sspemu/bundles/iot/host"
	"github.com/sspemu/sspemu/bundles/iot/iotsafe"
	"github.com/sspemu/sspemu/bundles/iot/profile"
	"github.com/sspemu/sspemu/cmd/sspemu/console"
	"github.com/sspemu/sspemu/transport"
)

func newIoT() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "iot",
		Short: "Be the device of an IoT SAFE applet: list its objects, open TLS sessions",
	}
	group(cmd, newIoTList(), newIoTCSR(), newIoTEnroll(), newIoTConnect(), newIoTAdministrate())
	return cmd
}

// iotFlags are those of every subcommand.
type iotFlags struct {
	x       either
	link    string
	aid     string
	channel bool
	modem   string
	access  string
	timeout time.Duration
}

func (o *iotFlags) add(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&o.link, "link", "", "link to a card, a `URL`: "+toCards)
	f.StringVar(&o.aid, "aid", "", "select this `AID`, in hexadecimal (default: those of public applets)")
	f.BoolVar(&o.channel, "channel", false, "on a logical channel of its own, as a modem does it")
	f.StringVar(&o.modem, "modem", "", "the card behind a modem, a serial `DEVICE` or tcp:HOST:PORT")
	f.StringVar(&o.access, "access", "csim", "how the modem is asked: csim, or cgla for AT+CCHO and AT+CGLA")
	f.DurationVar(&o.timeout, "timeout", 10*time.Second, "how long to wait for a card on --link")
	o.x.add(f)
}

// open selects the applet of the active bundle of a serve, of the bundle iot in this
// process, or of the card on --link.
func (o *iotFlags) open(cmd *cobra.Command) (a *device.Applet, end func() error, err error) {
	options := device.Options{Channel: o.channel}
	if o.aid != "" {
		b, err := hex.DecodeString(o.aid)
		if err != nil || len(b) < 5 || len(b) > 16 {
			return nil, nil, usage(fmt.Errorf("--aid: %q is not 5 to 16 bytes in hexadecimal", o.aid))
		}
		options.AIDs = [][]byte{b}
	}
	if o.access != "csim" && o.access != "cgla" {
		return nil, nil, usage(fmt.Errorf("--access: %q is neither csim nor cgla", o.access))
	}
	if o.modem != "" {
		return o.openModem(cmd, options)
	}
	if o.x.settings.active == "" && (o.link == "" || transport.Inside(o.link)) {
		o.x.settings.active = "iot"
	}
	converse, _, close, err := o.x.terminal(cmd, o.link, o.timeout)
	if err != nil {
		return nil, nil, err
	}
	if _, err = converse(cmd.Context(), console.APDURequest{Reset: "cold"}); err == nil {
		raw := func(ctx context.Context, r console.APDURequest) (console.APDUResponse, error) {
			r.Raw = true // the device fetches long answers itself
			return converse(ctx, r)
		}
		a, err = device.Select(cmd.Context(), talker(raw), options)
	}
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("iot: %w", err), close())
	}
	return a, func() error { return errors.Join(a.Close(), close()) }, nil
}

// openModem selects the applet of the card behind a modem.
func (o *iotFlags) openModem(cmd *cobra.Command, options device.Options) (*device.Applet, func() error, error) {
	switch {
	case o.link != "":
		return nil, nil, usage(errors.New("--modem and --link: give one of them"))
	case o.channel && o.access == "cgla":
		return nil, nil, usage(errors.New("--channel: with --access cgla the modem opens one anyway"))
	}
	if err := o.x.settings.foreign(cmd.Flags(), o.modem); err != nil {
		return nil, nil, err
	}
	card, err := dialModem(cmd.Context(), o.modem, o.access)
	if err != nil {
		return nil, nil, fmt.Errorf("iot: %w", err)
	}
	a, err := device.Select(cmd.Context(), card, options)
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("iot: %w", err), card.Close())
	}
	return a, func() error { return errors.Join(a.Close(), card.Close()) }, nil
}

// reference reads a container: an identifier in hexadecimal, else a label.
func reference(s string) device.Ref {
	if b, err := hex.DecodeString(s); err == nil && len(b) > 0 && len(b) <= iotsafe.MaxID {
		return device.ByID(b...)
	}
	return device.ByLabel(s)
}

// iotObject is an object for --json.
type iotObject struct {
	Kind   string `json:"kind"`
	ID     string `json:"id"`
	Label  string `json:"label,omitempty"`
	Type   string `json:"type,omitempty"`
	State  string `json:"state"`
	Access string `json:"access"`
	Size   int    `json:"size,omitempty"`
}

func iotObjectOf(o device.Object) iotObject {
	r := iotObject{Kind: o.Kind.String(), ID: profile.Hex(o.ID), Label: o.Label, Type: iotsafe.TypeName(o.Type), State: "deactivated", Size: o.Size}
	if o.Active() {
		r.State = "activated"
	}
	if o.Kind == profile.File && o.Usage == iotsafe.FileCertificate {
		r.Type = "certificate"
	}
	r.Access = map[byte]string{0: "none", iotsafe.AccessRead: "read", iotsafe.AccessUpdate: "update", iotsafe.AccessRead | iotsafe.AccessUpdate: "read, update"}[o.Access&3]
	return r
}

func newIoTList() *cobra.Command {
	var o iotFlags
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the objects of the applet: keys, files, their states",
		Example: `  sspemu iot list
  sspemu iot list --link 'pcsc:My Reader' --json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			a, end, err := o.open(cmd)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, end()) }()
			app, err := a.Application()
			if err != nil {
				return fmt.Errorf("iot: %w", err)
			}
			l, err := a.Objects()
			if err != nil {
				return fmt.Errorf("iot: %w", err)
			}
			out := cmd.OutOrStdout()
			report := struct {
				Schema   int         `json:"schema"`
				Applet   string      `json:"applet"`
				Sessions int         `json:"sessions"`
				Objects  []iotObject `json:"objects"`
			}{1, app.ID, app.Sessions, []iotObject{}}
			rows := [][]string{{"KIND", "ID", "TYPE", "STATE", "ACCESS", "LABEL"}}
			for _, x := range l {
				r := iotObjectOf(x)
				report.Objects = append(report.Objects, r)
				rows = append(rows, []string{r.Kind, r.ID, r.Type, r.State, r.Access, r.Label})
			}
			if asJSON {
				return printJSON(out, report)
			}
			fmt.Fprintf(out, "%s, %d sessions\n\n", app.ID, app.Sessions)
			return table(out, rows...)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	o.add(cmd)
	return cmd
}

func newIoTCSR() *cobra.Command {
	var o iotFlags
	var name string
	var generate bool
	cmd := &cobra.Command{
		Use:   "csr KEY",
		Short: "Print a certificate request (PEM) that a key of the applet has signed",
		Long: `Prints a PKCS #10 request for the key in the container KEY, an identifier in hexadecimal
or a label. With --generate the applet makes a new pair there first. Without a serve the
card is one of this process, and its new key ends with it.`,
		Example: `  sspemu iot csr 51 --generate --name device-0001 > device.csr`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			a, end, err := o.open(cmd)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, end()) }()
			ref := reference(args[0])
			if generate {
				if _, err := a.GenerateKeyPair(ref); err != nil {
					return fmt.Errorf("iot: %w", err)
				}
			}
			k, err := a.Key(ref, ref)
			if err != nil {
				return fmt.Errorf("iot: %w", err)
			}
			der, err := x509.CreateCertificateRequest(nil, &x509.CertificateRequest{Subject: pkix.Name{CommonName: name}}, k)
			if err != nil {
				return fmt.Errorf("iot: %w", err)
			}
			return pem.Encode(cmd.OutOrStdout(), &pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})
		},
	}
	cmd.Flags().StringVar(&name, "name", "device", "common `NAME` of the subject")
	cmd.Flags().BoolVar(&generate, "generate", false, "the applet makes a new key pair first")
	o.add(cmd)
	return cmd
}

// closed tells whether the peer has gone without a word.
func closed(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET)
}

func newIoTConnect() *cobra.Command {
	var o iotFlags
	var key, cert, anchor, ca, server string
	cmd := &cobra.Command{
		Use:   "connect HOST:PORT",
		Short: "Open a TLS session with a key of the applet; input and output are its data",
		Long: `Opens a mutually authenticated TLS session: the key and the certificate of the device are
in the applet, and so is the trust anchor, if --ca FILE does not name others. Prints what
was agreed, sends standard input until it ends, and prints what comes until the peer
closes the session.`,
		Example: `  sspemu iot connect localhost:8883 --key 01 --cert 02 --anchor 03
  echo hello | sspemu iot connect 127.0.0.1:4433 --key 'public cloud B' --cert 12 --ca ca.pem --server localhost`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			name, _, err := net.SplitHostPort(args[0])
			if err != nil {
				return usage(fmt.Errorf("%q: not of the form HOST:PORT", args[0]))
			}
			if server == "" {
				server = name
			}
			a, end, err := o.open(cmd)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, end()) }()
			roots := x509.NewCertPool()
			if ca != "" {
				b, err := os.ReadFile(ca)
				if err != nil {
					return fmt.Errorf("--ca: %w", err)
				}
				if !roots.AppendCertsFromPEM(b) {
					return fmt.Errorf("--ca: %s has no certificate in PEM", ca)
				}
			} else {
				x, err := a.X509(reference(anchor))
				if err != nil {
					return fmt.Errorf("iot: trust anchor: %w", err)
				}
				roots.AddCert(x)
			}
			k, err := a.Key(reference(key), reference(key))
			if err != nil {
				return fmt.Errorf("iot: %w", err)
			}
			id, err := a.Certificate(k, reference(cert))
			if err != nil {
				return fmt.Errorf("iot: %w", err)
			}
			d := tls.Dialer{Config: &tls.Config{Certificates: []tls.Certificate{id}, RootCAs: roots, ServerName: server, Rand: a}}
			c, err := d.DialContext(cmd.Context(), "tcp", args[0])
			if closed(err) {
				err = fmt.Errorf("the peer ended the connection before there was a TLS session: %w", err)
			}
			if err != nil {
				return fmt.Errorf("iot: %s: %w", args[0], err)
			}
			defer c.Close()
			s := c.(*tls.Conn).ConnectionState()
			fmt.Fprintf(cmd.ErrOrStderr(), "%s, %s: %s at %s\n", tls.VersionName(s.Version), tls.CipherSuiteName(s.CipherSuite), id.Leaf.Subject.CommonName, s.PeerCertificates[0].Subject.CommonName)
			go func() {
				_, _ = io.Copy(c, cmd.InOrStdin())
				_ = c.(*tls.Conn).CloseWrite()
			}()
			_, err = io.Copy(cmd.OutOrStdout(), c)
			if closed(err) {
				err = fmt.Errorf("the peer ended the connection without closing the TLS session: %w", err)
			}
			if err != nil {
				return fmt.Errorf("iot: %s: %w", args[0], err)
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVar(&key, "key", "01", "container of the private key, and of its public key: `ID` in hexadecimal, or label")
	f.StringVar(&cert, "cert", "02", "`FILE` of the applet with the certificate: identifier or label")
	f.StringVar(&anchor, "anchor", "03", "`FILE` of the applet with the trust anchor: identifier or label")
	f.StringVar(&ca, "ca", "", "trust the authorities in this `FILE` (PEM) instead")
	f.StringVar(&server, "server", "", "`NAME` in the certificate of the server (default: HOST)")
	o.add(cmd)
	return cmd
}
