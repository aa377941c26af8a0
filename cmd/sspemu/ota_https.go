package main

import (
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"

	"github.com/spf13/cobra"

	"github.com/sspemu/sspemu/bundles/iot/ota"
	"github.com/sspemu/sspemu/internal/apdu"
	"github.com/sspemu/sspemu/internal/tlspsk"
)

// newOTATrigger has a card visit a server: the packet alone.
func newOTATrigger() *cobra.Command {
	var o otaFlags
	var server string
	var text bool
	cmd := &cobra.Command{
		Use:   "trigger",
		Short: "Have the card visit its server (HTTPS with a pre-shared key); or print the command that does it",
		Long: `Sends the secured packet that has a domain visit its server: where the persona says, or at
--server. Then the card wants its terminal to open a channel: sspemu iot administrate is
one. With --print nothing is sent, and the ENVELOPE is printed for another terminal.`,
		Example: `  sspemu ota trigger --server 127.0.0.1:8444
  sspemu iot administrate $(sspemu ota trigger --print) --link 'pcsc:My Reader'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var address *net.TCPAddr
			if server != "" {
				a, err := net.ResolveTCPAddr("tcp4", server)
				if err != nil || a.IP == nil || a.Port == 0 {
					return usage(fmt.Errorf("--server: %q is not of the form HOST:PORT", server))
				}
				address = a
			}
			var envelopes strings.Builder
			o.trigger = true
			if text {
				if o.link != "" || o.url != "" {
					return usage(errors.New("--print: without --link and --http"))
				}
				o.noProof = true
				o.print = func(e []byte) { fmt.Fprintf(&envelopes, "%X\n", e) }
			}
			if o.https || o.submit {
				return usage(errors.New("ota trigger: without --https and --submit"))
			}
			return o.with(cmd, func(s *ota.Server, _ *otaRun) (string, error) {
				if s.Domain.HTTPS == nil {
					return "", fmt.Errorf("ota trigger: the domain %s has no word https in the persona", s.Domain.Name)
				}
				if err := s.Trigger(cmd.Context(), address); err != nil || text {
					return envelopes.String(), err
				}
				return "triggered: sspemu iot administrate carries the visit\n", nil
			})
		},
	}
	o.add(cmd)
	cmd.Flags().StringVar(&server, "server", "", "the server to visit, `HOST:PORT` (default: where the persona says)")
	cmd.Flags().BoolVar(&text, "print", false, "print the ENVELOPE command and send nothing")
	return cmd
}

// newOTAServe is the server that a card visits.
func newOTAServe() *cobra.Command {
	var persona, domain, listen string
	var script, asJSON bool
	cmd := &cobra.Command{
		Use:   "serve [HEX...]",
		Short: "Be the server that cards visit: hand scripts to one, print what comes of them",
		Long: `Listens for cards, with the pre-shared keys of the domains of the persona, and hands the
domain a script with the command APDUs that are given, or scripts with --script, one a
request. Prints the responses, and ends when the card has left with everything: with 1 when
a script did not run or a command failed.`,
		Example: `  sspemu ota serve 80CB010000 &
  sspemu ota trigger && sspemu iot administrate`,
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := iotProfile(persona)
			if err != nil {
				return err
			}
			d := p.Domain(domain)
			if d == nil || d.HTTPS == nil {
				return usage(fmt.Errorf("--domain: %q is no domain with the word https in the persona", domain))
			}
			commands := [][]byte{}
			for _, a := range args {
				b, err := hex.DecodeString(strings.ReplaceAll(a, " ", ""))
				if err != nil || len(b) < 4 {
					return usage(fmt.Errorf("%q is no command in hexadecimal", a))
				}
				commands = append(commands, b)
			}
			if listen == "" {
				listen = fmt.Sprintf("%s:%d", net.IP(d.HTTPS.Address[:]), d.HTTPS.Port)
			}
			l, err := net.Listen("tcp", listen)
			if err != nil {
				return fmt.Errorf("ota serve: %w", err)
			}
			r := &otaRun{Schema: 1, Domain: d.Name, Steps: []string{}}
			left := make(chan struct{}, 1)
			var mu sync.Mutex
			tell := func(format string, args ...any) {
				mu.Lock()
				defer mu.Unlock()
				line := fmt.Sprintf(format, args...)
				if r.Steps = append(r.Steps, line); !asJSON {
					fmt.Fprintln(cmd.ErrOrStderr(), line)
				}
			}
			v := &ota.Visits{
				Profile: p, Suites: []uint16{tlspsk.AES128GCM, tlspsk.AES128CBC, tlspsk.Null},
				Tell: tell,
				Left: func(name string) {
					if name == d.Name {
						select {
						case left <- struct{}{}:
						default: // it is known
						}
					}
				},
			}
			n := 0
			switch {
			case script:
				for _, c := range commands {
					v.AddScript(d.Name, c)
					n++
				}
			case len(commands) > 0:
				v.Add(d.Name, commands...)
				n++
			}
			served := make(chan error, 1)
			go func() { served <- v.Serve(l) }()
			tell("listening on %s", l.Addr())
			for gone := false; !gone; {
				select {
				case <-left:
					gone = v.Waiting(d.Name) == 0
				case err := <-served:
					return fmt.Errorf("ota serve: %w", err)
				case <-cmd.Context().Done():
					return errors.Join(fmt.Errorf("ota serve: %d scripts wait for %s, which did not come for them", v.Waiting(d.Name), d.Name), l.Close())
				}
			}
			err = l.Close()
			mu.Lock()
			defer mu.Unlock()
			results := v.Results(d.Name)
			if len(results) < n && err == nil {
				err = errors.New("ota serve: the card left without the result of a script")
			}
			for i, x := range results {
				if x.Err != nil {
					err = errors.Join(err, x.Err)
					continue
				}
				r.Executed += x.Result.Executed
				r.Answer = strings.ToUpper(hex.EncodeToString(ota.Answer(x.Result)))
				for j, b := range x.Result.Responses {
					if !asJSON {
						fmt.Fprintf(cmd.OutOrStdout(), "%X\n", b)
					}
					if _, sw, ok := apdu.Status(b); !ok || ota.Failed(sw) {
						err = errors.Join(err, fmt.Errorf("script %d: %w", i+1, &ota.CommandError{Number: j + 1, SW: sw}))
					}
				}
			}
			if asJSON {
				if err != nil {
					r.Error = err.Error()
				}
				return errors.Join(err, printJSON(cmd.OutOrStdout(), r))
			}
			return err
		},
	}
	f := cmd.Flags()
	f.StringVar(&persona, "persona-file", "", "take keys and domains from this persona `FILE` (default: that of the bundle)")
	f.StringVar(&domain, "domain", "public cloud A", "`NAME` of the security domain")
	f.StringVar(&listen, "listen", "", "listen here, `HOST:PORT` (default: where the persona says that the server is)")
	f.BoolVar(&script, "script", false, "each HEX is a script")
	f.BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}
