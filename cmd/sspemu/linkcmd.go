package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sspemu/sspemu/cmd/sspemu/console"
	"github.com/sspemu/sspemu/scl"
	"github.com/sspemu/sspemu/scl/capability"
	"github.com/sspemu/sspemu/scl/terminal"
	"github.com/sspemu/sspemu/transport"
	"github.com/sspemu/sspemu/transport/iso7816"
)

func newLink() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "link",
		Short: "Look at a link and measure it",
	}
	group(cmd, newLinkProbe(), newLinkBench())
	return cmd
}

// linkFlags are those of both.
type linkFlags struct {
	either
	timeout time.Duration
	json    bool
}

func (f *linkFlags) add(cmd *cobra.Command) {
	cmd.Flags().DurationVar(&f.timeout, "timeout", 10*time.Second, "how long to wait for a card and for its answers")
	cmd.Flags().BoolVar(&f.json, "json", false, "print JSON")
	f.settings.add(cmd.Flags())
}

// probed is what is on a link.
type probed struct {
	Schema     int          `json:"schema"`
	Link       string       `json:"link"`
	ATR        string       `json:"atr,omitempty"`
	Fields     []atrField   `json:"atr_fields,omitempty"`
	Protocols  []string     `json:"protocols,omitempty"` // that the ATR offers
	MinAPDU    int          `json:"min_apdu,omitempty"`  // bytes that this end takes
	MaxAPDU    int          `json:"max_apdu,omitempty"`  // 0: no APDUs
	Packets    string       `json:"packets"`             // native, TRANSACT DATA, none
	Trouble    string       `json:"trouble,omitempty"`   // why none
	MTU        int          `json:"mtu,omitempty"`
	Capability string       `json:"capability,omitempty"` // SSPCapability in words
	DER        string       `json:"capability_der,omitempty"`
	Hosts      []probedHost `json:"hosts,omitempty"`
}

type atrField struct {
	Name  string `json:"name"`
	Value string `json:"value"`
	Text  string `json:"text"`
}

type probedHost struct {
	ID     int      `json:"id"`
	UUID   string   `json:"uuid"`
	Vendor string   `json:"vendor,omitempty"`
	Gates  []string `json:"gates"`
}

func newLinkProbe() *cobra.Command {
	var f linkFlags
	cmd := &cobra.Command{
		Use:   "probe [flags] URL",
		Short: "Tell what is at the other end of a link",
		Long: `Tells what is at the other end of a link: the ATR explained, the protocols it
offers, whether SCL packets pass, and the capabilities, hosts and gates of the SSP.
The card gets a cold reset.`,
		Example: `  sspemu link probe 'pcsc:Virtual PCD'
  sspemu link probe --json vpcd://127.0.0.1:35963`,
		Args: exactly(1, "URL"),
		RunE: func(cmd *cobra.Command, args []string) error {
			l, err := f.link(cmd, args[0])
			if err != nil {
				return err
			}
			r, err := probe(cmd.Context(), l, f.timeout)
			if err = errors.Join(err, l.end()); err != nil {
				return err
			}
			if f.json {
				return printJSON(cmd.OutOrStdout(), r)
			}
			return r.print(cmd.OutOrStdout())
		},
	}
	f.add(cmd)
	return cmd
}

func probe(ctx context.Context, l *someLink, timeout time.Duration) (r probed, err error) {
	r = probed{Schema: console.SchemaVersion, Link: l.String(), Packets: "none"}
	if !packetsOnly(l.Link) {
		r.MinAPDU, r.MaxAPDU = transport.Limits(l.Link)
		atr, err := coldATR(ctx, l.Link, timeout)
		if err != nil {
			return r, err
		}
		r.explain(atr)
	}
	carried, how := terminal.AsController(l.Link, l.profile, timeout), "native"
	if _, native := l.Link.(transport.PacketCarrier); !native {
		how = "TRANSACT DATA"
	}
	t, err := terminal.Open(ctx, carried, l.profile)
	if err != nil {
		if r.MaxAPDU == 0 { // nothing at all
			return r, err
		}
		r.Trouble = err.Error()
		return r, nil
	}
	defer t.Close()
	r.Packets, r.MTU = how, carried.(transport.PacketCarrier).PacketMTU()
	return r, r.ask(ctx, t, l.profile)
}

// coldATR powers the card on and gives its ATR.
func coldATR(ctx context.Context, l transport.Link, timeout time.Duration) ([]byte, error) {
	p, err := dial(ctx, l, timeout)
	if err != nil {
		return nil, err
	}
	defer p.Close()
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	return p.reset(ctx, "cold")
}

// explain fills in what an ATR says.
func (r *probed) explain(b []byte) {
	r.ATR = upperHex(b)
	a, err := iso7816.ParseATR(b)
	if err != nil {
		r.Fields = []atrField{{"ATR", r.ATR, err.Error()}}
		return
	}
	for _, f := range a.Explain() {
		r.Fields = append(r.Fields, atrField{f.Name, upperHex(f.Value), f.Text})
	}
	for i, g := range a.Groups {
		if name := fmt.Sprintf("T=%d", g.T); i > 0 && g.T != 15 && !slices.Contains(r.Protocols, name) {
			r.Protocols = append(r.Protocols, name)
		}
	}
	if len(r.Protocols) == 0 {
		r.Protocols = []string{"T=0"} // ISO/IEC 7816-3 8.2.3: no TD1
	}
}

// ask fills in what the SSP says over the SCL.
func (r *probed) ask(ctx context.Context, t *terminal.Terminal, p *scl.Profile) error {
	mine, err := capability.TerminalCapability{Release: release, VendorName: "sspemu"}.Encode()
	if err != nil {
		return err
	}
	switch der, err := t.Capabilities(ctx, mine); {
	case err != nil:
		r.Capability = "not told: " + err.Error()
	default:
		r.DER = upperHex(der)
		if c, err := capability.ParseSSP(der); err != nil {
			r.Capability = err.Error()
		} else {
			r.Capability = c.String()
		}
	}
	hosts, err := t.Hosts(ctx)
	for _, h := range hosts {
		ph := probedHost{ID: int(h.ID), UUID: h.UUID.String(), Vendor: h.Vendor, Gates: []string{}}
		for _, g := range h.Gates {
			ph.Gates = append(ph.Gates, gateName(p, g))
		}
		r.Hosts = append(r.Hosts, ph)
	}
	return err
}

// gateName is the name that the profile has for a gate, or its number.
func gateName(p *scl.Profile, id scl.GateID) string {
	for _, e := range p.Entries() {
		if name, ok := strings.CutPrefix(e.Name, "gate."); ok && e.Value == int(id) && !strings.HasPrefix(name, "dynamic_") {
			return name
		}
	}
	return fmt.Sprintf("%02X", uint16(id))
}

func (r *probed) print(w io.Writer) error {
	rows := [][]string{{"link", r.Link}}
	for i, f := range r.Fields {
		rows = append(rows, []string{once(i, "ATR"), strings.TrimSpace(fmt.Sprintf("%-4s %s", f.Name, spaced(f.Value))), f.Text})
	}
	if len(r.Protocols) > 0 {
		rows = append(rows, []string{"protocols", strings.Join(r.Protocols, ", ")})
	}
	switch {
	case r.MaxAPDU > 0:
		rows = append(rows, []string{"APDUs", fmt.Sprintf("%d to %d bytes", r.MinAPDU, r.MaxAPDU)})
	default:
		rows = append(rows, []string{"APDUs", "through the UICC APDU gate only"})
	}
	switch {
	case r.Trouble != "":
		rows = append(rows, []string{"packets", "none", r.Trouble})
	case r.Packets == "native":
		rows = append(rows, []string{"packets", fmt.Sprintf("yes, up to %d octets", r.MTU)})
	default:
		rows = append(rows, []string{"packets", fmt.Sprintf("in %s, up to %d octets", r.Packets, r.MTU)})
	}
	if r.Capability != "" {
		rows = append(rows, []string{"SSP", r.Capability})
	}
	for i, h := range r.Hosts {
		rows = append(rows, []string{once(i, "hosts"), fmt.Sprintf("%02X %s", h.ID, h.Vendor), strings.Join(h.Gates, ", ")})
	}
	var b bytes.Buffer
	if err := table(&b, rows...); err != nil {
		return err
	}
	_, err := w.Write(b.Bytes())
	return err
}

// measured is what link bench found.
type measured struct {
	Schema int            `json:"schema"`
	Link   string         `json:"link"`
	Rows   []measuredLine `json:"rows"`
}

type measuredLine struct {
	What   string  `json:"what"`     // APDU, packets
	Octets int     `json:"octets"`   // of the command, or of the data that goes and comes back
	Answer int     `json:"answer"`   // octets of the answer
	Count  int     `json:"count"`    // exchanges
	Rate   float64 `json:"per_s"`    // exchanges a second
	P50    float64 `json:"p50_us"`   // microseconds
	P99    float64 `json:"p99_us"`   // microseconds
	Speed  float64 `json:"octets_s"` // octets a second, both ways
}

func newLinkBench() *cobra.Command {
	var (
		f       linkFlags
		each    time.Duration
		sizes   []int
		command string
	)
	cmd := &cobra.Command{
		Use:   "bench [flags] URL",
		Short: "Measure a link",
		Long: `Measures a link: exchanges a second, their latency (median and 99th percentile) and
octets a second in both directions together. APDUs are one command over and over;
packets go to the loopback gate of the network controller host and come back, as large
as the sizes say. What the link does not carry is left out.`,
		Example: `  sspemu link bench mem:
  sspemu link bench --duration 5s --size 1024 'pcsc:Virtual PCD'`,
		Args: exactly(1, "URL"),
		RunE: func(cmd *cobra.Command, args []string) error {
			commands, err := parseCommands([]string{command})
			if err != nil {
				return err
			}
			for _, n := range sizes {
				if n < 0 || n > maxBench {
					return usage(fmt.Errorf("--size %d: not from 0 to %d", n, maxBench))
				}
			}
			if each <= 0 {
				return usage(fmt.Errorf("--duration %s: nothing can be measured in it", each))
			}
			l, err := f.link(cmd, args[0])
			if err != nil {
				return err
			}
			b := bench{l, f.timeout, each, measured{Schema: console.SchemaVersion, Link: l.String(), Rows: []measuredLine{}}}
			err = b.run(cmd.Context(), commands[0], sizes)
			if err = errors.Join(err, l.end()); err != nil {
				return err
			}
			if f.json {
				return printJSON(cmd.OutOrStdout(), b.m)
			}
			return b.m.print(cmd.OutOrStdout())
		},
	}
	cmd.Flags().DurationVar(&each, "duration", time.Second, "how long to measure each line")
	cmd.Flags().IntSliceVar(&sizes, "size", []int{1, 256, 1024, 4096, 32768}, "`OCTETS` that go and come back in packets; may be repeated")
	cmd.Flags().StringVar(&command, "apdu", "00A4000C023F00", "the command to repeat, `HEX`")
	f.add(cmd)
	return cmd
}

// maxBench keeps a message, in packets, well below message.max_length of any profile.
const maxBench = 100_000

type bench struct {
	l             *someLink
	timeout, each time.Duration
	m             measured
}

func (b *bench) run(ctx context.Context, command []byte, sizes []int) error {
	apdus := !packetsOnly(b.l.Link)
	if apdus {
		if err := b.apdus(ctx, command); err != nil {
			return err
		}
	}
	t, err := terminal.Open(ctx, terminal.AsController(b.l.Link, b.l.profile, b.timeout), b.l.profile)
	if err != nil {
		if apdus {
			return nil // the link carries APDUs only
		}
		return err
	}
	defer t.Close()
	loop, err := t.Loopback(ctx)
	if err != nil {
		return err
	}
	defer loop.Close()
	for _, n := range sizes {
		data := bytes.Repeat([]byte{0xA5}, n)
		err := b.repeat(ctx, measuredLine{What: "packets", Octets: n}, func(ctx context.Context) (int, error) {
			back, err := loop.Echo(ctx, data)
			if err == nil && !bytes.Equal(back, data) {
				err = fmt.Errorf("%d octets went, %d others came back", n, len(back))
			}
			return len(back), err
		})
		if err != nil {
			return fmt.Errorf("link bench: %d octets: %w", n, err)
		}
	}
	return nil
}

func (b *bench) apdus(ctx context.Context, command []byte) error {
	p, err := dial(ctx, b.l.Link, b.timeout)
	if err != nil {
		return err
	}
	defer p.Close()
	var buf []byte
	err = b.repeat(ctx, measuredLine{What: "APDU", Octets: len(command)}, func(ctx context.Context) (n int, err error) {
		buf, err = p.client.Transmit(ctx, command, buf[:0])
		return len(buf), err
	})
	if err != nil {
		return fmt.Errorf("link bench: APDU %X: %w", command, err)
	}
	return nil
}

// repeat measures one line.
func (b *bench) repeat(ctx context.Context, line measuredLine, exchange func(context.Context) (int, error)) error {
	var took []time.Duration
	for warm, start := true, time.Now(); ; {
		before := time.Now()
		one, cancel := context.WithTimeout(ctx, b.timeout)
		n, err := exchange(one)
		cancel()
		if err != nil {
			return err
		}
		now := time.Now()
		if warm { // the first one opens things
			warm, start = false, now
			continue
		}
		took = append(took, now.Sub(before))
		line.Answer = n
		if total := now.Sub(start); total >= b.each {
			slices.Sort(took)
			us := func(i int) float64 { return float64(took[min(i, len(took)-1)].Nanoseconds()) / 1000 }
			line.Count = len(took)
			line.Rate = float64(line.Count) / total.Seconds()
			line.P50, line.P99 = us(len(took)/2), us(len(took)*99/100)
			line.Speed = line.Rate * float64(line.Octets+line.Answer)
			b.m.Rows = append(b.m.Rows, line)
			return nil
		}
	}
}

func (m *measured) print(w io.Writer) error {
	rows := [][]string{{"WHAT", "OCTETS", "EXCHANGES/S", "P50", "P99", "OCTETS/S"}}
	for _, l := range m.Rows {
		octets := strconv.Itoa(l.Octets)
		if l.Answer != l.Octets {
			octets += "+" + strconv.Itoa(l.Answer)
		}
		us := func(t float64) string { return time.Duration(t * 1000).Round(100 * time.Nanosecond).String() }
		rows = append(rows, []string{l.What, octets, fmt.Sprintf("%.0f", l.Rate), us(l.P50), us(l.P99), fmt.Sprintf("%.0f", l.Speed)})
	}
	return table(w, rows...)
}
