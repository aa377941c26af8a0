package main

import (
	"context"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/sspemu/sspemu/bundles/iot/iotsafe"
	"github.com/sspemu/sspemu/bundles/iot/ota"
	"github.com/sspemu/sspemu/bundles/iot/profile"
	"github.com/sspemu/sspemu/cmd/sspemu/console"
	"github.com/sspemu/sspemu/internal/apdu"
	"github.com/sspemu/sspemu/internal/scp80"
	"github.com/sspemu/sspemu/internal/tlspsk"
	"github.com/sspemu/sspemu/internal/tlv"
	"github.com/sspemu/sspemu/transport"
)

func newOTA() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "ota",
		Short: "Administer a security domain of the IoT bundle over the air",
		Long: `Is the server of a security domain: makes secured packets (TS 102 225), sends them in short
messages or over HTTP, checks the proof of receipt and says what happened. Keys come from
the persona. The counter of each domain is kept in a file, but for a card of this process.`,
	}
	group(cmd, newOTAList(), newOTAGenerate(), newOTAPut("put-certificate", "Put a certificate (PEM or DER) into a file of the applet", profile.File),
		newOTATrust(), newOTADelete(), newOTASend(), newOTATrigger(), newOTAServe(), newOTADecode())
	return cmd
}

// otaFlags are those of every subcommand that sends.
type otaFlags struct {
	x        either
	link     string
	url      string
	https    bool
	persona  string
	domain   string
	counter  uint64
	counters string
	find     bool
	form     string
	submit   bool
	noProof  bool
	asJSON   bool
	timeout  time.Duration

	trigger bool           // a packet that the card answers with a wish of its own (ota_https.go)
	print   func(e []byte) // hears the short messages in place of a card; nil: there is one
}

func (o *otaFlags) add(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&o.link, "link", "", "link to a card, a `URL`: "+toCards)
	f.StringVar(&o.url, "http", "", "send over HTTP to the face of the bundle at this `URL`, as http://127.0.0.1:8080")
	f.BoolVar(&o.https, "https", false, "have the card visit this server: a packet triggers it, the script goes by HTTPS with a pre-shared key")
	f.StringVar(&o.persona, "persona-file", "", "take keys and domains from this persona `FILE` (default: that of the bundle)")
	f.StringVar(&o.domain, "domain", "public cloud A", "`NAME` of the security domain")
	f.Uint64Var(&o.counter, "counter", 0, "`COUNTER` of the packet (default: the next one)")
	f.BoolVar(&o.find, "find-counter", false, "look for the counter of the card first, with empty packets")
	f.StringVar(&o.counters, "counters", "", "`FILE` with the counters (default: sspemu-ota.json beside the state of serve)")
	f.StringVar(&o.form, "form", "definite", "form of the script: definite, indefinite or compact")
	f.BoolVar(&o.submit, "submit", false, "have the proof of receipt come by SMS-SUBMIT, which takes longer answers")
	f.BoolVar(&o.noProof, "no-proof", false, "want no proof of receipt")
	f.BoolVar(&o.asJSON, "json", false, "print JSON")
	f.DurationVar(&o.timeout, "timeout", 10*time.Second, "how long to wait for a card on --link, or for --http")
	o.x.add(f)
}

// otaRun is what --json prints.
type otaRun struct {
	Schema   int      `json:"schema"`
	Domain   string   `json:"domain"`
	Counter  uint64   `json:"counter"`
	Steps    []string `json:"steps"`
	Answer   string   `json:"answer,omitempty"` // of the last command
	Objects  any      `json:"objects,omitempty"`
	PEM      string   `json:"pem,omitempty"`
	Error    string   `json:"error,omitempty"`
	Executed int      `json:"executed"`
}

// with has f use the server of the domain; f may fill in the report and gives text to
// print.
func (o *otaFlags) with(cmd *cobra.Command, f func(s *ota.Server, r *otaRun) (string, error)) (err error) {
	for _, x := range o.x.settings.personas {
		if file, ok := strings.CutPrefix(x, "iot="); ok && o.persona == "" {
			o.persona = file
		}
	}
	if o.persona != "" && o.x.settings.personas == nil { // of a card in this process, too
		o.x.settings.personas = []string{"iot=" + o.persona}
	}
	p, err := iotProfile(o.persona)
	if err != nil {
		return err
	}
	d := p.Domain(o.domain)
	if d == nil {
		var names []string
		for i := range p.Domains {
			names = append(names, p.Domains[i].Name)
		}
		return usage(fmt.Errorf("--domain: %q is not in the persona (there are %s)", o.domain, strings.Join(names, ", ")))
	}
	forms := map[string]scp80.Form{"definite": scp80.Definite, "indefinite": scp80.Indefinite, "compact": scp80.Compact}
	form, ok := forms[o.form]
	if !ok {
		return usage(fmt.Errorf("--form: %q is neither definite nor indefinite nor compact", o.form))
	}
	if o.counter > scp80.MaxCounter {
		return usage(fmt.Errorf("--counter: %d has more than five bytes", o.counter))
	}
	r := &otaRun{Schema: 1, Domain: d.Name, Steps: []string{}}
	var mu sync.Mutex // terminal and server talk at the same time
	tell := func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		line := fmt.Sprintf(format, args...)
		if r.Steps = append(r.Steps, line); !o.asJSON {
			fmt.Fprintln(cmd.ErrOrStderr(), line)
		}
	}
	switch {
	case o.https && o.url != "":
		return usage(errors.New("--https and --http: give one of them"))
	case o.https && form == scp80.Compact:
		return usage(errors.New("--https: scripts of visits are expanded, --form definite or indefinite"))
	case o.https && (o.submit || o.noProof):
		return usage(errors.New("--https: the answer comes in the visit; without --submit and --no-proof"))
	case o.find && (o.counter > 0 || o.https || o.print != nil):
		return usage(errors.New("--find-counter: without --counter, --https and --print, there is nothing to look for"))
	case o.https && d.HTTPS == nil:
		return fmt.Errorf("--https: the domain %s has no word https in the persona", d.Name)
	}
	send, visits, fresh, end, err := o.sender(cmd, tell)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, end()) }()
	s := ota.New(p, d, send)
	s.Form, s.Tell = form, tell
	if o.https {
		stop, err := visited(s, p, visits)
		if err != nil {
			return err
		}
		defer func() { _ = stop() }()
	}
	if o.submit {
		s.Header.SPI[1] |= 0x20
	}
	if o.noProof {
		s.Header.SPI[1] = 0
	}
	file := o.counters
	if file == "" && !fresh {
		dir, err := defaultState()
		if err != nil {
			return err
		}
		file = filepath.Join(filepath.Dir(dir), "sspemu-ota.json")
	}
	counters, err := readCounters(file)
	if err != nil {
		return err
	}
	if n, ok := counters[d.Name]; ok && n > s.Counter {
		s.Counter = n
	}
	if o.counter > 0 {
		s.Counter = o.counter - 1
	}
	kept := func(ctx context.Context, packet []byte) ([]byte, error) { // a counter is used once, whatever comes of it
		if counters[d.Name] = max(s.Counter, counters[d.Name]); file != "" {
			if err := writeCounters(file, counters); err != nil {
				return nil, err
			}
		}
		return send(ctx, packet)
	}
	s.Send = kept
	if o.find {
		s.Send = send // what is tried is not used
		if err = s.FindCounter(cmd.Context()); err == nil {
			counters[d.Name], s.Send = s.Counter, kept
		}
	}
	var text string
	if err == nil {
		text, err = f(s, r)
	}
	r.Counter = s.Counter
	if err != nil {
		err = otaAdvice(err, s)
	}
	if o.asJSON {
		if err != nil {
			r.Error = err.Error()
		}
		return errors.Join(err, printJSON(cmd.OutOrStdout(), r))
	}
	if err == nil && text != "" {
		fmt.Fprint(cmd.OutOrStdout(), text)
	}
	return err
}

// otaAdvice adds what to do.
func otaAdvice(err error, s *ota.Server) error {
	switch {
	case errors.Is(err, &ota.StatusError{Status: scp80.CounterLow}):
		return fmt.Errorf("%w (%d was used before; --counter gives a higher one, --find-counter looks for it)", err, s.Counter)
	case errors.Is(err, &ota.StatusError{Status: scp80.CounterHigh}):
		return fmt.Errorf("%w (the card wants the next one; --counter gives it, --find-counter looks for it)", err)
	case errors.Is(err, &ota.CommandError{SW: scp80.SWTruncated}):
		return fmt.Errorf("%w (the answer is too long for a report: --submit or --http; what was commanded is done)", err)
	case errors.Is(err, &ota.CommandError{SW: apdu.FileNotFound}):
		return fmt.Errorf("%w (among those of the domain %s: sspemu ota list)", err, s.Domain.Name)
	}
	return err
}

// visited has s run its scripts in visits of the card, and listens for them.
func visited(s *ota.Server, p *profile.Profile, t *ota.Terminal) (stop func() error, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	v := &ota.Visits{Profile: p, Tell: s.Tell, Suites: []uint16{tlspsk.AES128GCM, tlspsk.AES128CBC, tlspsk.Null}}
	go func() { _ = v.Serve(l) }()
	t.Visits(s, v, l.Addr().(*net.TCPAddr))
	return l.Close, nil
}

// sender sends packets to a card; fresh is one that is made in this process. The terminal
// is there with --https.
func (o *otaFlags) sender(cmd *cobra.Command, tell func(string, ...any)) (send ota.Sender, t *ota.Terminal, fresh bool, end func() error, err error) {
	if o.print != nil {
		return ota.Envelopes(func(_ context.Context, capdu []byte) ([]byte, error) {
			o.print(capdu)
			return []byte{0x90, 0x00}, nil
		}, nil), nil, false, func() error { return nil }, nil
	}
	if o.url != "" {
		if o.link != "" {
			return nil, nil, false, nil, usage(errors.New("--http and --link: give one of them"))
		}
		if !strings.HasPrefix(o.url, "http://") && !strings.HasPrefix(o.url, "https://") {
			return nil, nil, false, nil, usage(fmt.Errorf("--http: %q is no URL like http://127.0.0.1:8080", o.url))
		}
		client := &http.Client{Timeout: o.timeout}
		return ota.HTTP(client, strings.TrimRight(o.url, "/")+"/ota", tell), nil, false, func() error { return nil }, nil
	}
	if o.x.settings.active == "" && (o.link == "" || transport.Inside(o.link)) {
		o.x.settings.active = "iot"
	}
	converse, where, end, err := o.x.terminal(cmd, o.link, o.timeout)
	if err != nil {
		return nil, nil, false, nil, err
	}
	transmit := func(ctx context.Context, capdu []byte) ([]byte, error) {
		return talker(func(ctx context.Context, r console.APDURequest) (console.APDUResponse, error) {
			r.Raw = true
			return converse(ctx, r)
		}).Transmit(ctx, capdu, nil)
	}
	fresh = where == "an ephemeral platform" || transport.Inside(o.link)
	if o.https || o.trigger {
		t = ota.NewTerminal(transmit, tell)
		return t.Send, t, fresh, end, nil
	}
	return ota.Envelopes(transmit, tell), nil, fresh, end, nil
}

func readCounters(file string) (map[string]uint64, error) {
	m := map[string]uint64{}
	b, err := os.ReadFile(file)
	if file == "" || errors.Is(err, fs.ErrNotExist) {
		return m, nil
	}
	if err == nil {
		err = json.Unmarshal(b, &m)
	}
	if err != nil {
		return nil, fmt.Errorf("--counters: %s: %w", file, err)
	}
	return m, nil
}

func writeCounters(file string, m map[string]uint64) error {
	b, err := json.Marshal(m)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return err
	}
	temp := file + ".new"
	if err := os.WriteFile(temp, append(b, '\n'), 0o600); err != nil {
		return err
	}
	return os.Rename(temp, file)
}

// otaRef reads a container: an identifier in hexadecimal, else a label.
func otaRef(k profile.Kind, s string) ota.Ref {
	if b, err := hex.DecodeString(s); err == nil && len(b) > 0 && len(b) <= iotsafe.MaxID {
		return ota.Ref{Kind: k, ID: b}
	}
	return ota.Ref{Kind: k, Label: s}
}

// fromPEM is what a file holds, PEM of one of the kinds or DER.
func fromPEM(file string, kinds ...string) ([]byte, string, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, "", err
	}
	block, _ := pem.Decode(b)
	if block == nil {
		return b, kinds[0], nil
	}
	for _, k := range kinds {
		if block.Type == k {
			return block.Bytes, k, nil
		}
	}
	return nil, "", fmt.Errorf("%s: is %s, not %s", file, block.Type, strings.Join(kinds, " or "))
}

func newOTAPut(name, short string, k profile.Kind) *cobra.Command {
	var o otaFlags
	cmd := &cobra.Command{
		Use:   name + " FILE CERTIFICATE",
		Short: short,
		Example: `  sspemu ota put-certificate 02 renewed.pem
  sspemu ota put-certificate 52 device.pem --domain 'service provider' --http http://127.0.0.1:8080`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			der, _, err := fromPEM(args[1], "CERTIFICATE")
			if err != nil {
				return err
			}
			x, err := x509.ParseCertificate(der)
			if err != nil {
				return fmt.Errorf("%s: %w", args[1], err)
			}
			return o.with(cmd, func(s *ota.Server, r *otaRun) (string, error) {
				return o.run(cmd, s, r, fmt.Sprintf("%s is in file %s\n", x.Subject, args[0]), s.Put(otaRef(k, args[0]), der))
			})
		},
	}
	o.add(cmd)
	return cmd
}

// run runs commands and fills in the report.
func (o *otaFlags) run(cmd *cobra.Command, s *ota.Server, r *otaRun, text string, commands [][]byte) (string, error) {
	res, err := s.Run(cmd.Context(), commands...)
	r.Executed, r.Answer = res.Executed, profile.Hex(ota.Answer(res))
	if o.noProof && err == nil {
		text = "sent; nothing is known of what came of it\n"
	}
	return text, err
}

func newOTATrust() *cobra.Command {
	var o otaFlags
	cmd := &cobra.Command{
		Use:   "trust CONTAINER ANCHOR",
		Short: "Replace a trust anchor: the certificate in a file, or a public key",
		Long: `ANCHOR is a certificate (PEM or DER), which goes into the file CONTAINER, or a public key
(PEM), which goes into the public key container CONTAINER.`,
		Example: `  sspemu ca --authority 'Public Cloud B test CA' --print > anchor.pem
  sspemu ota trust 03 anchor.pem
  openssl x509 -in anchor.pem -pubkey -noout > anchor.key && sspemu ota trust 07 anchor.key`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			der, kind, err := fromPEM(args[1], "CERTIFICATE", "PUBLIC KEY")
			if err != nil {
				return err
			}
			ref, content := otaRef(profile.File, args[0]), der
			if kind == "PUBLIC KEY" {
				k, err := x509.ParsePKIXPublicKey(der)
				if err != nil {
					return fmt.Errorf("%s: %w", args[1], err)
				}
				ref.Kind = profile.Public
				if content = profile.EncodePublic(k); content == nil {
					return fmt.Errorf("%s: the applet has no such keys", args[1])
				}
			} else if _, err := x509.ParseCertificate(der); err != nil {
				return fmt.Errorf("%s: %w", args[1], err)
			}
			return o.with(cmd, func(s *ota.Server, r *otaRun) (string, error) {
				return o.run(cmd, s, r, fmt.Sprintf("%s %s has the new anchor\n", ref.Kind, args[0]), s.Put(ref, content))
			})
		},
	}
	o.add(cmd)
	return cmd
}

func newOTAGenerate() *cobra.Command {
	var o otaFlags
	cmd := &cobra.Command{
		Use:   "generate KEY",
		Short: "Have the applet make a new key pair; print its public key (PEM)",
		Example: `  sspemu ota generate 51 --domain 'service provider'
  sspemu ota generate 31 --domain 'private cloud' --submit`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.with(cmd, func(s *ota.Server, r *otaRun) (string, error) {
				if _, err := o.run(cmd, s, r, "", s.Generate(otaRef(profile.Private, args[0]))); err != nil || o.noProof {
					return "", err
				}
				answer, err := hex.DecodeString(r.Answer)
				if err != nil {
					return "", err
				}
				b, err := tlv.Find(answer, iotsafe.TagPublicKey)
				if err != nil {
					return "", fmt.Errorf("ota: the answer has no public key: %w", err)
				}
				r.PEM, err = publicPEM(b)
				return r.PEM, err
			})
		},
	}
	o.add(cmd)
	return cmd
}

// publicPEM is a public key as the applet gives it.
func publicPEM(b []byte) (string, error) {
	for _, keyType := range []byte{iotsafe.P256, iotsafe.P384, iotsafe.RSA2048} {
		k, err := profile.ParsePublic(keyType, b)
		if err != nil {
			continue
		}
		der, err := x509.MarshalPKIXPublicKey(k)
		if err != nil {
			return "", err
		}
		return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})), nil
	}
	return "", fmt.Errorf("ota: a public key of a type that has no PEM here: %X", b)
}

var otaKinds = map[string]profile.Kind{"identity": profile.Private, "public-key": profile.Public, "secret-key": profile.Secret, "file": profile.File}

func newOTADelete() *cobra.Command {
	var o otaFlags
	cmd := &cobra.Command{
		Use:     "delete identity|public-key|secret-key|file CONTAINER",
		Short:   "Empty a container; of an identity both keys",
		Example: `  sspemu ota delete identity 01 && sspemu ota delete file 02`,
		Args:    cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			k, ok := otaKinds[args[0]]
			if !ok {
				return usage(fmt.Errorf("%q is neither identity nor public-key nor secret-key nor file", args[0]))
			}
			return o.with(cmd, func(s *ota.Server, r *otaRun) (string, error) {
				return o.run(cmd, s, r, fmt.Sprintf("%s %s is empty\n", args[0], args[1]), s.Delete(otaRef(k, args[1])))
			})
		},
	}
	o.add(cmd)
	return cmd
}

func newOTAList() *cobra.Command {
	var o otaFlags
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List the containers of the domain with their states",
		Example: `  sspemu ota list --domain 'private cloud'`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.noProof {
				return usage(errors.New("--no-proof: a list comes in the proof of receipt"))
			}
			return o.with(cmd, func(s *ota.Server, r *otaRun) (string, error) {
				b, err := s.List(cmd.Context())
				if err != nil {
					return "", err
				}
				type object struct {
					Kind  string `json:"kind"`
					ID    string `json:"id"`
					Label string `json:"label,omitempty"`
					State string `json:"state"`
				}
				objects := []object{}
				rows := [][]string{{"KIND", "ID", "STATE", "LABEL"}}
				for w := tlv.Read(b); w.Next(); {
					for k := profile.Private; k <= profile.File; k++ {
						if w.Tag != tlv.Tag(k.InfoTag()) {
							continue
						}
						id, _ := tlv.Find(w.Value, tlv.Tag(k.IDTag()))
						label, _ := tlv.Find(w.Value, tlv.Tag(k.LabelTag()))
						state, _ := tlv.Find(w.Value, iotsafe.TagState)
						x := object{k.String(), profile.Hex(id), string(label), "deactivated"}
						if len(state) == 1 && state[0] == iotsafe.Activated {
							x.State = "activated"
						}
						objects = append(objects, x)
						rows = append(rows, []string{x.Kind, x.ID, x.State, x.Label})
					}
				}
				r.Objects = objects
				var text strings.Builder
				err = table(&text, rows...)
				return text.String(), err
			})
		},
	}
	o.add(cmd)
	return cmd
}

func newOTASend() *cobra.Command {
	var o otaFlags
	var script bool
	cmd := &cobra.Command{
		Use:   "send HEX...",
		Short: "Send command APDUs, or a script that is there already",
		Example: `  sspemu ota send 80E4000003830103
  sspemu ota send --script AA062204 80CB0100`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var l [][]byte
			for _, a := range args {
				b, err := hex.DecodeString(strings.ReplaceAll(a, " ", ""))
				if err != nil {
					return usage(fmt.Errorf("%q is not hexadecimal", a))
				}
				l = append(l, b)
			}
			return o.with(cmd, func(s *ota.Server, r *otaRun) (string, error) {
				text := scp80.Script(s.Form, l...)
				if script {
					text = scp80.Script(scp80.Compact, l...)
				}
				res, err := s.Script(cmd.Context(), text)
				r.Executed, r.Answer = res.Executed, profile.Hex(ota.Answer(res))
				var out strings.Builder
				for _, x := range res.Responses {
					fmt.Fprintf(&out, "%X\n", x)
				}
				return out.String(), err
			})
		},
	}
	cmd.Flags().BoolVar(&script, "script", false, "HEX together is a script")
	o.add(cmd)
	return cmd
}

func newOTADecode() *cobra.Command {
	var persona string
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "decode HEX...",
		Short:   "Explain a packet, a short message or an ENVELOPE",
		Long:    "Explains what the bytes are. Packets of domains of the persona are opened with their keys.",
		Example: `  sspemu ota decode 02 71 00 00 0B 0A 49 4F 41 00 00 00 00 01 00 02`,
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			b, err := hex.DecodeString(strings.ReplaceAll(strings.Join(args, ""), " ", ""))
			if err != nil {
				return usage(fmt.Errorf("%q is not hexadecimal", strings.Join(args, " ")))
			}
			p, err := iotProfile(persona)
			if err != nil {
				return err
			}
			lines, err := ota.Explain(b, p)
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(cmd.OutOrStdout(), struct {
					Schema int      `json:"schema"`
					Lines  []string `json:"lines"`
				}{1, lines})
			}
			fmt.Fprintln(cmd.OutOrStdout(), strings.Join(lines, "\n"))
			return nil
		},
	}
	cmd.Flags().StringVar(&persona, "persona-file", "", "take keys and domains from this persona `FILE` (default: that of the bundle)")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}
