package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"github.com/sspemu/sspemu/bundles/iot/ca"
	device "github.com/sspemu/sspemu/bundles/iot/host"
	"github.com/sspemu/sspemu/bundles/iot/iotsafe"
	"github.com/sspemu/sspemu/bundles/iot/ota"
	"github.com/sspemu/sspemu/bundles/iot/profile"
	"github.com/sspemu/sspemu/cmd/sspemu/console"
	"github.com/sspemu/sspemu/internal/scp80"
)

func newDemo() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Play a story with everything in this process, and explain it",
	}
	group(cmd, newDemoIoT())
	return cmd
}

func newDemoIoT() *cobra.Command {
	var x either
	var mosquitto, all bool
	cmd := &cobra.Command{
		Use:   "iot",
		Short: "The life of a device's identities: keys in the applet, clouds, remote administration",
		Long: `Starts a card with the IoT SAFE applet, two clouds, each with an authority and an endpoint
for devices, and the server of remote administration; then takes a device from issuance
to another provider: TLS with keys of the applet, a key made on board, enrolment, renewal,
revocation. Certificates reach the applet over the air, a channel apart from the
application. The exit code is 1 when anything does not go as it is told.

With --mosquitto the endpoints are brokers, MQTT over TLS.`,
		Example: `  sspemu demo iot
  sspemu demo iot --packets --trace trace.txt`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			persona := ""
			for _, s := range x.settings.personas {
				if file, ok := strings.CutPrefix(s, "iot="); ok {
					persona = file
				}
			}
			if x.settings.active != "" && x.settings.active != "iot" {
				return usage(errors.New("--active: the demo is about the bundle iot"))
			}
			x.settings.active, x.api = "iot", off
			p, err := iotProfile(persona)
			if err != nil {
				return err
			}
			d := &demo{ctx: cmd.Context(), out: cmd.OutOrStdout(), p: p, packets: all, began: time.Now()}
			defer func() { err = errors.Join(err, d.close()) }()
			if mosquitto {
				if d.dir, err = os.MkdirTemp("", "sspemu-demo"); err != nil {
					return err
				}
				d.closers = append(d.closers, func() error { return os.RemoveAll(d.dir) })
			}
			if err := d.start(cmd, &x); err != nil {
				return err
			}
			return d.play()
		},
	}
	cmd.Flags().BoolVar(&mosquitto, "mosquitto", false, "the endpoints of the clouds are brokers: mosquitto, which has to be installed")
	cmd.Flags().BoolVar(&all, "packets", false, "print each step of remote administration")
	x.settings.add(cmd.Flags())
	return cmd
}

// demo is the stage:
//
//	device ── logical channel ──┐
//	                            ├── the card ── IoT SAFE applet, security domains
//	server of the network ──────┘   ENVELOPE
//	clouds A and B: EST, and an endpoint for devices
type demo struct {
	ctx     context.Context
	out     io.Writer
	p       *profile.Profile
	packets bool
	dir     string // for mosquitto; "": none
	began   time.Time
	step    int
	closers []func() error

	card     counted
	applet   *device.Applet
	a, b     *cloud
	provider *ota.Server // of the domain that has the identity 51
	last     []byte      // the packet that was sent last
}

// cloud is a provider.
type cloud struct {
	*ca.Cloud
	broker *mosquitto // nil: the endpoint of Cloud
}

// counted is the card, and how many commands it has had.
type counted struct {
	talker
	commands, envelopes, signatures atomic.Int64
}

func (c *counted) Transmit(ctx context.Context, capdu, dst []byte) ([]byte, error) {
	c.commands.Add(1)
	switch {
	case len(capdu) > 1 && capdu[1] == 0xC2:
		c.envelopes.Add(1)
	case len(capdu) > 1 && capdu[1] == iotsafe.ComputeSignatureUpdate:
		c.signatures.Add(1)
	}
	return c.talker.Transmit(ctx, capdu, dst)
}

func (d *demo) close() (err error) {
	for _, c := range slices.Backward(d.closers) {
		err = errors.Join(err, c())
	}
	return err
}

// chapter begins a part of the story.
func (d *demo) chapter(title, text string) {
	d.step++
	fmt.Fprintf(d.out, "\n%d. %s\n", d.step, title)
	for line := range strings.Lines(text) {
		fmt.Fprintf(d.out, "   %s\n", strings.TrimSpace(line))
	}
}

// tell says what has happened.
func (d *demo) tell(who, format string, args ...any) {
	fmt.Fprintf(d.out, "   %-8s %s\n", who, fmt.Sprintf(format, args...))
}

// start puts everything in its place.
func (d *demo) start(cmd *cobra.Command, x *either) error {
	e, _, err := x.start(cmd)
	if err != nil {
		return err
	}
	d.closers = append(d.closers, e.Close)
	d.card.talker = func(ctx context.Context, r console.APDURequest) (console.APDUResponse, error) {
		r.Raw = true
		return e.APDU(ctx, r)
	}
	if d.applet, err = device.Select(d.ctx, &d.card, device.Options{Channel: true}); err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	d.closers = append(d.closers, d.applet.Close)
	domain := d.p.Domain("service provider")
	if domain == nil {
		return errors.New("demo: the persona has no domain \"service provider\"")
	}
	send := ota.Envelopes(func(ctx context.Context, c []byte) ([]byte, error) { return d.card.Transmit(ctx, c, nil) }, d.steps)
	d.provider = ota.New(d.p, domain, func(ctx context.Context, packet []byte) ([]byte, error) {
		d.last = bytes.Clone(packet)
		return send(ctx, packet)
	})
	d.provider.Tell = d.steps
	for i, to := range []**cloud{&d.a, &d.b} {
		if i >= len(d.p.Authorities) {
			return errors.New("demo: the persona has fewer than two authorities")
		}
		if *to, err = d.open(d.p.Authorities[i].Name); err != nil {
			return fmt.Errorf("demo: %w", err)
		}
	}
	return nil
}

// maxStep is how much of a step is printed.
const maxStep = 100

// steps hears of each step of remote administration.
func (d *demo) steps(format string, args ...any) {
	if !d.packets {
		return
	}
	line := fmt.Sprintf(format, args...)
	if len(line) > maxStep {
		line = fmt.Sprintf("%s... (%d characters)", line[:maxStep], len(line))
	}
	d.tell("", "%s", line)
}

func (d *demo) open(name string) (*cloud, error) {
	a, err := ca.New(d.p, ca.Options{Name: name})
	if err != nil {
		return nil, err
	}
	c, err := a.Open()
	if err != nil {
		return nil, err
	}
	d.closers = append(d.closers, c.Close)
	cl := &cloud{Cloud: c}
	if d.dir != "" {
		cl.broker = &mosquitto{authority: a, dir: d.dir}
		d.closers = append(d.closers, cl.broker.close)
		if err := cl.broker.restart(d.ctx); err != nil {
			return nil, err
		}
	}
	return cl, nil
}

// endpoint is where devices connect to.
func (c *cloud) endpoint() string {
	if c.broker != nil {
		return "mosquitto at " + c.broker.address
	}
	return c.Endpoint
}

// identity is a key of the applet with the certificate in one of its files.
func (d *demo) identity(key, file byte) (tls.Certificate, error) {
	k, err := d.applet.Key(device.ByID(key), device.ByID(key))
	if err != nil {
		return tls.Certificate{}, err
	}
	return d.applet.Certificate(k, device.ByID(file))
}

// connect opens a session with a cloud; the trust anchor comes from a file of the applet.
func (d *demo) connect(c *cloud, id tls.Certificate, anchor byte, line string) error {
	root, err := d.applet.X509(device.ByID(anchor))
	if err != nil {
		return err
	}
	pool := x509.NewCertPool()
	pool.AddCert(root)
	// Whatever authorities the cloud names, the device shows this certificate.
	conf := &tls.Config{RootCAs: pool, ServerName: "localhost", Rand: d.applet,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &id, nil }}
	var s tls.ConnectionState
	var lines []string
	before := d.card.signatures.Load()
	if c.broker != nil {
		s, lines, err = c.broker.talk(conf, id.Leaf.Subject.CommonName, line)
	} else {
		s, lines, err = c.Connect(conf, line)
	}
	if err != nil {
		return err
	}
	d.tell("device", "%s to %s, %s", tls.VersionName(s.Version), c.endpoint(), signatures(d.card.signatures.Load()-before))
	for _, l := range lines {
		d.tell("cloud", "%s", l)
	}
	return nil
}

func signatures(n int64) string {
	if n == 1 {
		return "one signature by the applet"
	}
	return fmt.Sprintf("%d signatures by the applet", n)
}

// refused makes sure that a cloud does not take an identity.
func (d *demo) refused(c *cloud, id tls.Certificate, anchor byte) error {
	err := d.connect(c, id, anchor, "")
	if err == nil {
		return fmt.Errorf("%s took a certificate that it should refuse", c.Name())
	}
	if !strings.Contains(err.Error(), "tls: ") {
		return err
	}
	d.tell("cloud", "refuses %s: %v", id.Leaf.Subject.CommonName, err)
	return nil
}

// revoke has a cloud revoke a certificate.
func (d *demo) revoke(c *cloud, x *x509.Certificate, reason string) error {
	if _, no := c.Revoke(fmt.Sprintf("%X", x.SerialNumber), reason); no != nil {
		return no
	}
	d.tell("cloud", "revokes %s, serial number %X: %s", x.Subject.CommonName, x.SerialNumber, reason)
	if c.broker != nil {
		return c.broker.restart(d.ctx)
	}
	return nil
}

// enroll has a cloud certify the key 51.
func (d *demo) enroll(c *cloud, e enrolment) (*x509.Certificate, error) {
	e.key, e.url, e.timeout = "51", c.URL, 10*time.Second
	x, err := e.run(d.ctx, d.applet)
	if err != nil {
		return nil, err
	}
	d.tell("cloud", "%s certifies %s, serial number %X", x.Issuer.CommonName, x.Subject.CommonName, x.SerialNumber)
	return x, nil
}

// put has remote administration put a certificate into the file 52.
func (d *demo) put(x *x509.Certificate) error {
	before := d.card.envelopes.Load()
	if _, err := d.provider.Run(d.ctx, d.provider.Put(ota.Ref{Kind: profile.File, ID: []byte{0x52}}, x.Raw)...); err != nil {
		return err
	}
	d.tell("network", "packet %d of %q: %d bytes of certificate for file 52, in %d short messages; proof of receipt: done",
		d.provider.Counter, d.provider.Domain.Name, len(x.Raw), d.card.envelopes.Load()-before)
	return nil
}

// keyOf names a public key.
func keyOf(x *x509.Certificate) string {
	sum := sha256.Sum256(x.RawSubjectPublicKeyInfo)
	return fmt.Sprintf("%X...", sum[:8])
}

// play plays the story.
func (d *demo) play() (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("demo: step %d: %w", d.step, err)
		}
	}()
	d.chapter("A device with a secure element", `The card has an IoT SAFE applet (GSMA IoT.05). Private keys are made in it and never leave
		it: the device asks for signatures. At issuance it has an identity for a first cloud.`)
	app, err := d.applet.Application()
	if err != nil {
		return err
	}
	first, err := d.identity(0x01, 0x02)
	if err != nil {
		return err
	}
	d.tell("card", "%s, %d private keys, %d files", app.ID, app.Private, app.Files)
	d.tell("card", "key 01, certificate in file 02: %s, by %s", first.Leaf.Subject.CommonName, first.Leaf.Issuer.CommonName)

	d.chapter("A session with the cloud", `Mutually authenticated TLS. The trust anchor is in the applet, and so is the
		key whose signature proves who the device is.`)
	if err := d.connect(d.a, first, 0x03, "21.5 degrees"); err != nil {
		return err
	}

	d.chapter("Another identity: a key made on board", `The applet makes a key pair in the empty container 51 and signs a certificate request.
		The authority of the cloud certifies it (EST, RFC 7030).`)
	before := d.card.signatures.Load()
	mine, err := d.enroll(d.a, enrolment{generate: true, name: "device-2", anchor: "03"})
	if err != nil {
		return err
	}
	d.tell("card", "key 51: public key %s, %s", keyOf(mine), signatures(d.card.signatures.Load()-before))

	d.chapter("The certificate comes over the air", `The service provider puts the certificate into file 52 with secured packets (TS 102 225)
		in short messages. The application of the device has no part in it, and cannot do it.`)
	if err := d.put(mine); err != nil {
		return err
	}
	second, err := d.identity(0x51, 0x52)
	if err != nil {
		return err
	}
	if !bytes.Equal(second.Leaf.Raw, mine.Raw) {
		return errors.New("file 52 has another certificate than was sent")
	}
	if err := d.connect(d.a, second, 0x03, "21.6 degrees"); err != nil {
		return err
	}
	var status *ota.StatusError
	reply, err := d.provider.Send(d.ctx, bytes.Clone(d.last))
	if err == nil {
		_, err = d.provider.Check(reply)
	}
	if !errors.As(err, &status) || status.Status != scp80.CounterLow {
		return fmt.Errorf("a packet that is sent again should be refused because of its counter, not: %w", err)
	}
	d.tell("network", "the same packet once more is refused: %s", status.Status)

	d.chapter("Renewal", `The device shows its certificate, and gets a new one for the same key. It comes over the air
		as well. The old one is revoked as superseded.`)
	renewed, err := d.enroll(d.a, enrolment{renew: "52", anchor: "03"})
	if err != nil {
		return err
	}
	if err := d.put(renewed); err != nil {
		return err
	}
	if err := d.revoke(d.a, second.Leaf, "superseded"); err != nil {
		return err
	}
	if err := d.refused(d.a, second, 0x03); err != nil {
		return err
	}
	if second, err = d.identity(0x51, 0x52); err != nil {
		return err
	}
	if err := d.connect(d.a, second, 0x03, "21.7 degrees"); err != nil {
		return err
	}

	d.chapter("Revocation", `The first identity is no longer trusted. The cloud refuses its sessions and renews it no more.`)
	if err := d.revoke(d.a, first.Leaf, "keyCompromise"); err != nil {
		return err
	}
	if err := d.refused(d.a, first, 0x03); err != nil {
		return err
	}
	e := enrolment{key: "01", url: d.a.URL, renew: "02", anchor: "03", timeout: 10 * time.Second}
	if _, err := e.run(d.ctx, d.applet); err == nil || !strings.Contains(err.Error(), "403 Forbidden") {
		return fmt.Errorf("a revoked certificate should not be renewed: %w", err)
	} else {
		d.tell("cloud", "does not renew it: %v", err)
	}

	d.chapter("Another provider", `The service provider has the applet make a new key, over the air; the second cloud certifies
		it. The old key is gone, and the first cloud does not know the new one.`)
	if _, err := d.provider.Run(d.ctx, d.provider.Generate(ota.Ref{Kind: profile.Private, ID: []byte{0x51}})...); err != nil {
		return err
	}
	d.tell("network", "packet %d of %q: GENERATE KEY PAIR in container 51; proof of receipt: done", d.provider.Counter, d.provider.Domain.Name)
	moved, err := d.enroll(d.b, enrolment{name: "device-2.cloud-b.example", anchor: "13"})
	if err != nil {
		return err
	}
	if bytes.Equal(moved.RawSubjectPublicKeyInfo, mine.RawSubjectPublicKeyInfo) {
		return errors.New("the key in container 51 is still the old one")
	}
	d.tell("card", "key 51: public key %s, not %s", keyOf(moved), keyOf(mine))
	if err := d.put(moved); err != nil {
		return err
	}
	third, err := d.identity(0x51, 0x52)
	if err != nil {
		return err
	}
	if err := d.connect(d.b, third, 0x13, "21.8 degrees"); err != nil {
		return err
	}
	if err := d.refused(d.a, third, 0x03); err != nil {
		return err
	}
	fmt.Fprintf(d.out, "\n%d commands to the card, %d signatures, %d short messages, %s. Private keys stayed in the applet: no command reads them.\n",
		d.card.commands.Load(), d.card.signatures.Load(), d.card.envelopes.Load(), time.Since(d.began).Round(100*time.Millisecond))
	fmt.Fprint(d.out, "docs/iot.md, docs/ca.md and docs/ota.md tell how to do each step by hand.\n")
	return nil
}
