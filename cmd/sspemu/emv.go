package main

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sspemu/sspemu/bundles/payment/emv"
	"github.com/sspemu/sspemu/bundles/payment/issuer"
	"github.com/sspemu/sspemu/bundles/payment/oda"
	"github.com/sspemu/sspemu/bundles/payment/profile"
	"github.com/sspemu/sspemu/bundles/payment/terminal"
	"github.com/sspemu/sspemu/cmd/sspemu/console"
	"github.com/sspemu/sspemu/internal/apdu"
	"github.com/sspemu/sspemu/internal/rsakey"
	"github.com/sspemu/sspemu/internal/tlv"
	"github.com/sspemu/sspemu/transport"
)

// emvFlags are the flags of emv.
type emvFlags struct {
	x                                  either
	link, aid, amount, cashback        string
	currency, country, pin, issuer, ca string
	date, kind, floor                  string
	contactless, online, read, asJSON  bool
	quiet, bypass, goOn, confirm       bool
	kernel, target                     int
	cvmLimit                           string
	tac                                map[string]string
	timeout                            time.Duration
	aids                               []string
	random                             int64
}

func newEMV() *cobra.Command {
	var o emvFlags
	cmd := &cobra.Command{
		Use:   "emv",
		Short: "Be an EMV terminal: make a transaction and check everything",
		Long: `Walks a whole EMV transaction on a card, prints each step with its data elements in
words, and checks certificates, signatures and, with --issuer, the cryptogram. It stops
at the first thing that is wrong, with the clause that says so; the exit code is 1 then.
With --go-on it does what a terminal in a shop does: what is wrong with signatures sets
bits of the TVR, and the action codes of card and terminal decide.

Without --link the card is the active bundle of the serve that is running, or, when none
is, the payment bundle in this process. --read only reads; use that on real cards, with
--ca for the keys of their schemes. PANs are masked, records are shown by element.`,
		Example: `  sspemu emv --amount 12.34 --pin 1234
  sspemu emv --contactless --aid F0535350450201 --issuer http://127.0.0.1:8583
  sspemu emv --tac denial=0400000000 --go-on --persona payment=FILE
  sspemu emv --link 'pcsc:My Reader' --read --aids A000000004,A000000003`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd) },
	}
	f := cmd.Flags()
	f.StringVar(&o.link, "link", "", "link to a card, a `URL`: "+toCards)
	f.StringVar(&o.aid, "aid", "", "select this application, an `AID` in hexadecimal (default: the best one)")
	f.StringSliceVar(&o.aids, "aids", []string{"F053535045", "F053535046"}, "`AIDS` that the terminal knows, or how they begin (default: the test ones, and all of a directory)")
	f.BoolVar(&o.confirm, "confirm", false, "the cardholder confirms applications that want it; --aid is a choice anyway")
	f.StringVar(&o.amount, "amount", "10.00", "`AMOUNT` of the transaction")
	f.StringVar(&o.cashback, "cashback", "0", "`AMOUNT` of cashback")
	f.StringVar(&o.currency, "currency", "978", "currency, an ISO 4217 `NUMBER`")
	f.StringVar(&o.country, "country", "276", "country of the terminal, an ISO 3166 `NUMBER`")
	f.StringVar(&o.kind, "type", "purchase", "`TYPE` of the transaction: purchase, cash or cashback")
	f.StringVar(&o.floor, "floor", "0", "floor limit: below `AMOUNT` the terminal does not want to go online")
	f.StringVar(&o.pin, "pin", "", "`PIN` that the cardholder enters (default: there is no PIN pad)")
	f.BoolVar(&o.bypass, "bypass", false, "there is a PIN pad, and the cardholder enters no PIN")
	f.StringVar(&o.issuer, "issuer", "", "issuer host, a `URL` (sspemu issuer); builtin: one in this process; without: unable to go online")
	f.StringVar(&o.ca, "ca", "", "public keys of certification authorities, a `FILE` of sspemu persona payment (default: those of the built-in persona)")
	f.StringVar(&o.date, "date", "", "date of the transaction, `YYYY-MM-DD` (default: today)")
	f.BoolVar(&o.contactless, "contactless", false, "be a contactless reader")
	f.IntVar(&o.kernel, "kernel", 0, "contactless in the style of kernel 2 or 3 (default: as the card says)")
	f.StringVar(&o.cvmLimit, "cvm-limit", "", "contactless: above `AMOUNT` the cardholder is verified (default: never)")
	f.BoolVar(&o.online, "online", false, "the merchant wants to go online")
	f.IntVar(&o.target, "target", 0, "`PERCENT` of the transactions below the floor limit that go online at random")
	f.StringToStringVar(&o.tac, "tac", nil, "terminal action codes, `KIND=HEX`,... of five bytes; KIND is denial, online or default (default: zeros)")
	f.BoolVar(&o.goOn, "go-on", false, "what is wrong with signatures sets bits of the TVR instead of ending the transaction")
	f.BoolVar(&o.read, "read", false, "read the card, make no transaction")
	f.Int64Var(&o.random, "unpredictable", 0, "unpredictable numbers follow from this `NUMBER` (default: from the system)")
	f.BoolVar(&o.quiet, "quiet", false, "print the result only")
	f.BoolVar(&o.asJSON, "json", false, "print JSON")
	f.DurationVar(&o.timeout, "timeout", 10*time.Second, "how long to wait for a card on --link")
	o.x.add(f)
	return cmd
}

// minorUnits reads an amount like 12.34 or 12.
func minorUnits(s string) (uint64, error) {
	whole, cents, ok := strings.Cut(s, ".")
	if !ok {
		cents = "00"
	}
	n, err := strconv.ParseUint(whole+cents, 10, 64)
	if err != nil || len(cents) != 2 || whole == "" || n > 999999999999 {
		return 0, fmt.Errorf("%q is not an amount like 12.34, up to 9999999999.99", s)
	}
	return n, nil
}

// isoNumber reads a country or currency number as data elements have it.
func isoNumber(s string) (b [2]byte, err error) {
	n, err := strconv.ParseUint(s, 16, 16)
	if err != nil || len(s) > 4 || strings.Trim(s, "0123456789") != "" || len(strings.TrimLeft(s, "0")) > 3 {
		return b, fmt.Errorf("%q is not a number of three digits", s)
	}
	return [2]byte{byte(n >> 8), byte(n)}, nil
}

// actionCodes reads --tac.
func actionCodes(m map[string]string) (t terminal.ActionCodes, err error) {
	for kind, v := range m {
		b, err := hex.DecodeString(v)
		if err != nil || len(b) != 5 {
			return t, fmt.Errorf("%s: %q is not five bytes in hexadecimal", kind, v)
		}
		switch kind {
		case "denial":
			t.Denial = [5]byte(b)
		case "online":
			t.Online = [5]byte(b)
		case "default":
			t.Default = [5]byte(b)
		default:
			return t, fmt.Errorf("%q: there are denial, online and default", kind)
		}
	}
	return t, nil
}

// config makes the terminal of the flags; mistakes are usage errors.
func (o *emvFlags) config() (c terminal.Config, err error) {
	wrong := func(flag string, err error) error { return usage(fmt.Errorf("--%s: %w", flag, err)) }
	if c.AID, err = hex.DecodeString(strings.ReplaceAll(o.aid, " ", "")); err != nil || o.aid != "" && (len(c.AID) < 5 || len(c.AID) > 16) {
		return c, wrong("aid", fmt.Errorf("%q is not 5 to 16 bytes in hexadecimal", o.aid))
	}
	if o.aid == "" {
		c.AID = nil
	}
	for _, a := range o.aids {
		b, err := hex.DecodeString(a)
		if err != nil || len(b) < 5 || len(b) > 16 {
			return c, wrong("aids", fmt.Errorf("%q is not 5 to 16 bytes in hexadecimal", a))
		}
		c.AIDs = append(c.AIDs, b)
	}
	if c.Amount, err = minorUnits(o.amount); err != nil {
		return c, wrong("amount", err)
	}
	if c.Other, err = minorUnits(o.cashback); err != nil {
		return c, wrong("cashback", err)
	}
	if c.Floor, err = minorUnits(o.floor); err != nil {
		return c, wrong("floor", err)
	}
	if o.cvmLimit != "" {
		if c.CVMLimit, err = minorUnits(o.cvmLimit); err != nil {
			return c, wrong("cvm-limit", err)
		}
	}
	if o.target < 0 || o.target > 99 {
		return c, wrong("target", fmt.Errorf("%d is not a percentage from 0 to 99", o.target))
	}
	c.Selection = terminal.Selection{Target: o.target, MaxTarget: o.target}
	if c.TAC, err = actionCodes(o.tac); err != nil {
		return c, wrong("tac", err)
	}
	if c.Currency, err = isoNumber(o.currency); err != nil {
		return c, wrong("currency", err)
	}
	if c.Country, err = isoNumber(o.country); err != nil {
		return c, wrong("country", err)
	}
	kinds := map[string]byte{"purchase": 0x00, "cash": 0x01, "cashback": 0x09}
	k, ok := kinds[o.kind]
	if !ok {
		return c, wrong("type", fmt.Errorf("%q: there are purchase, cash and cashback", o.kind))
	}
	if c.Type = k; c.Other > 0 && k == 0x00 {
		c.Type = kinds["cashback"]
	}
	if o.pin != "" {
		if _, err := oda.PINBlock(o.pin); err != nil {
			return c, wrong("pin", errors.New("a PIN has 4 to 12 digits"))
		}
	}
	if o.bypass && o.pin != "" {
		return c, wrong("bypass", errors.New("a cardholder who enters a PIN does not bypass it (--pin)"))
	}
	c.PIN, c.Bypass, c.GoOn, c.Confirmed = o.pin, o.bypass, o.goOn, o.confirm
	if o.date != "" {
		if c.Date, err = time.Parse("2006-01-02", o.date); err != nil {
			return c, wrong("date", fmt.Errorf("%q is not of the form YYYY-MM-DD", o.date))
		}
	}
	if o.kernel != 0 && o.kernel != 2 && o.kernel != 3 {
		return c, wrong("kernel", fmt.Errorf("there are 2 and 3, not %d", o.kernel))
	}
	c.Contactless, c.Kernel, c.ForceOnline, c.ReadOnly = o.contactless, byte(o.kernel), o.online, o.read
	if o.random != 0 {
		c.Random = rand.New(rand.NewSource(o.random))
	}
	return c, nil
}

func (o *emvFlags) run(cmd *cobra.Command) (err error) {
	c, err := o.config()
	if err != nil {
		return err
	}
	c.Listed = cmd.Flags().Changed("aids")
	if c.Authority, err = o.authorities(); err != nil {
		return err
	}
	if c.Issuer, err = o.host(); err != nil {
		return err
	}
	if o.x.settings.active == "" && (o.link == "" || transport.Inside(o.link)) {
		o.x.settings.active = "payment"
	}
	converse, where, end, err := o.x.terminal(cmd, o.link, o.timeout)
	if err != nil {
		return err
	}
	defer func() {
		if cerr := end(); err == nil {
			err = cerr
		}
	}()
	out := cmd.OutOrStdout()
	var steps []emvStep
	c.Report = func(s terminal.Step) {
		e := stepOf(s)
		steps = append(steps, e)
		if !o.quiet && !o.asJSON {
			e.print(out)
		}
	}
	if _, err := converse(cmd.Context(), console.APDURequest{Reset: "cold"}); err != nil {
		return err
	}
	res, err := terminal.Run(cmd.Context(), talker(converse), c)
	if o.asJSON {
		if perr := printJSON(out, emvReport{Schema: 1, Target: where, Steps: steps, Result: resultOf(res), Error: text(err)}); perr != nil {
			return perr
		}
	} else if err == nil {
		printResult(out, res)
	}
	if err == nil && len(res.Wrong) > 0 {
		err = errors.New(res.Wrong[0])
	}
	if err != nil {
		return fmt.Errorf("emv: %w", err)
	}
	return nil
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// authorities are the keys of --ca, or those of the built-in persona and of --persona.
func (o *emvFlags) authorities() (terminal.Authority, error) {
	keys := map[string]oda.PublicKey{}
	if o.ca != "" {
		b, err := os.ReadFile(o.ca)
		if err != nil {
			return nil, fmt.Errorf("--ca: %w", err)
		}
		var list authorityList
		if err := json.Unmarshal(b, &list); err != nil {
			return nil, fmt.Errorf("--ca: %s: %w (sspemu persona payment makes such a file)", o.ca, err)
		}
		for i, a := range list.Authorities {
			var k oda.PublicKey
			var err1, err2 error
			k.Modulus, err1 = hex.DecodeString(a.Modulus)
			k.Exponent, err2 = hex.DecodeString(a.Exponent)
			if err := errors.Join(err1, err2); err != nil || len(k.Modulus) == 0 || len(k.Exponent) == 0 {
				return nil, fmt.Errorf("--ca: %s: authority %d has no modulus or exponent in hexadecimal", o.ca, i+1)
			}
			keys[strings.ToUpper(a.RID+a.Index)] = k
		}
		if len(keys) == 0 {
			return nil, fmt.Errorf("--ca: %s: %w", o.ca, errNoAuthority)
		}
	} else {
		p, err := paymentProfile(o.personaFile())
		if err != nil {
			return nil, err
		}
		for i := range p.Authorities {
			a := &p.Authorities[i]
			k, err := p.AuthorityKey(rsakey.Generate, a)
			if err != nil {
				return nil, err
			}
			keys[profile.Hex(a.RID[:])+profile.Hex([]byte{a.Index})] = k.PublicKey
		}
	}
	return func(rid [5]byte, index byte) (oda.PublicKey, bool) {
		k, ok := keys[profile.Hex(rid[:])+profile.Hex([]byte{index})]
		return k, ok
	}, nil
}

// personaFile is that of --persona payment=FILE, "" when there is none.
func (o *emvFlags) personaFile() (file string) {
	for _, p := range o.x.settings.personas {
		if f, ok := strings.CutPrefix(p, "payment="); ok {
			file = f
		}
	}
	return file
}

// host is the issuer of --issuer.
func (o *emvFlags) host() (terminal.Issuer, error) {
	switch {
	case o.issuer == "":
		return nil, nil
	case o.issuer == "builtin":
		p, err := paymentProfile(o.personaFile())
		if err != nil {
			return nil, err
		}
		return issuer.New(p, 0)
	case !strings.HasPrefix(o.issuer, "http://") && !strings.HasPrefix(o.issuer, "https://"):
		return nil, usage(fmt.Errorf("--issuer: %q is not a URL that begins with http:// or https://, nor builtin", o.issuer))
	}
	return issuer.Client{URL: o.issuer}, nil
}

// talker makes a terminal.Card of what apdu sends with.
type talker func(context.Context, console.APDURequest) (console.APDUResponse, error)

func (t talker) Transmit(ctx context.Context, capdu, dst []byte) ([]byte, error) {
	a, err := t(ctx, console.APDURequest{APDUs: []string{hex.EncodeToString(capdu)}})
	if err != nil {
		return nil, err
	}
	if len(a.Exchanges) == 0 {
		return nil, errors.New("no answer came")
	}
	b, err := hex.DecodeString(strings.ReplaceAll(a.Exchanges[len(a.Exchanges)-1].Response, " ", ""))
	return append(dst[:0], b...), err
}

// emvStep is a step as it is printed: the answer by element, so that no PAN is shown.
type emvStep struct {
	Title    string       `json:"title"`
	Command  string       `json:"command,omitempty"`
	Sent     []emvElement `json:"sent,omitempty"`
	SW       string       `json:"sw,omitempty"`
	Words    string       `json:"words,omitempty"`
	Elements []emvElement `json:"elements,omitempty"`
	Notes    []string     `json:"notes,omitempty"`
}

type emvElement struct {
	Depth int      `json:"depth"`
	Tag   string   `json:"tag"`
	Name  string   `json:"name"`
	Value string   `json:"value,omitempty"`
	Words []string `json:"words,omitempty"`
}

func stepOf(s terminal.Step) emvStep {
	e := emvStep{Title: s.Title, Notes: s.Notes}
	if s.Command == nil {
		return e
	}
	e.Command = fmt.Sprintf("%X", s.Command)
	if len(s.Command) > 5 && s.Command[1] == 0x20 { // a PIN, plain or enciphered
		e.Command = fmt.Sprintf("%X", s.Command[:5]) + strings.Repeat("**", min(8, len(s.Command)-5))
		if len(s.Command) > 5+8 {
			e.Command += "..."
		}
	}
	for _, d := range s.Sent {
		e.Sent = append(e.Sent, emvElement{0, fmt.Sprintf("%X", uint32(d.Tag)), emv.Name(d.Tag), emv.Shown(d.Tag, d.Value), emv.Words(d.Tag, d.Value)})
	}
	data, sw, ok := apdu.Status(s.Response)
	if !ok {
		return e
	}
	e.SW, e.Words = fmt.Sprintf("%04X", uint16(sw)), sw.Words()
	if len(data) > 0 && s.Command[1] == 0x84 {
		e.Elements = []emvElement{{Name: "challenge", Value: fmt.Sprintf("%X", data)}}
		return e
	}
	lines, rest := emv.Lines(data)
	if len(rest) > 0 { // not shown: it may hold what is to be masked
		e.Elements = []emvElement{{Name: fmt.Sprintf("%d bytes that are no data objects", len(data))}}
		return e
	}
	if v, err := tlv.Find(data, 0x80); err == nil && len(lines) == 1 {
		if within, _ := emv.Lines(emv.Format1(s.Command[1], v)); within != nil {
			lines[0].Value = ""
			for _, l := range within {
				l.Depth++
				lines = append(lines, l)
			}
		}
	}
	for _, l := range lines {
		e.Elements = append(e.Elements, emvElement{l.Depth, fmt.Sprintf("%X", uint32(l.Tag)), l.Name, l.Value, l.Words})
	}
	return e
}

func (e emvStep) print(w io.Writer) {
	fmt.Fprintf(w, "%s\n", e.Title)
	if e.Command != "" {
		fmt.Fprintf(w, "  > %s\n", e.Command)
		for _, l := range e.Sent {
			l.print(w)
		}
		fmt.Fprintf(w, "  < %s  %s\n", e.SW, e.Words)
	}
	said := map[string]bool{}
	for _, l := range e.Elements {
		l.print(w)
		for _, s := range l.Words {
			said[s] = true
		}
	}
	for _, n := range e.Notes {
		if !said[n] {
			fmt.Fprintf(w, "  = %s\n", n)
		}
	}
}

func (l emvElement) print(w io.Writer) {
	indent := strings.Repeat("  ", l.Depth+2)
	if l.Tag == "" {
		fmt.Fprintf(w, "%s%s", indent, l.Name)
	} else {
		fmt.Fprintf(w, "%s%-6s %s", indent, l.Tag, l.Name)
	}
	if l.Value != "" {
		fmt.Fprintf(w, ": %s", short(l.Value))
	}
	if len(l.Words) == 1 && l.Words[0] != l.Value {
		fmt.Fprintf(w, "  (%s)", l.Words[0])
	}
	fmt.Fprintln(w)
	if len(l.Words) > 1 {
		for _, s := range l.Words {
			fmt.Fprintf(w, "%s         %s\n", indent, s)
		}
	}
}

// short keeps certificates from filling the screen.
func short(v string) string {
	const most = 64
	if len(v) <= most {
		return v
	}
	return fmt.Sprintf("%s... %d bytes", v[:most], len(v)/2)
}

// emvReport is what --json prints.
type emvReport struct {
	Schema int       `json:"schema"`
	Target string    `json:"target"`
	Steps  []emvStep `json:"steps"`
	Result emvResult `json:"result"`
	Error  string    `json:"error,omitempty"`
}

type emvResult struct {
	AID        string `json:"aid"`
	Label      string `json:"label"`
	PAN        string `json:"pan"`
	Outcome    string `json:"outcome"`
	Cryptogram string `json:"cryptogram"`
	AC         string `json:"ac"`
	ATC        uint16 `json:"atc"`
	TVR        string `json:"tvr"`
	TSI        string `json:"tsi"`
	ODA        string `json:"offline_data_authentication,omitempty"`
	CVM        string `json:"cardholder_verification,omitempty"`
	CVMResults string `json:"cvm_results"`
	Online     bool   `json:"online"`
	ARC        string `json:"authorisation_response_code,omitempty"`
	Scripts    int    `json:"scripts"`
	Results    string `json:"issuer_script_results,omitempty"`

	Wrong []string `json:"wrong,omitempty"`
}

func resultOf(r *terminal.Result) emvResult {
	return emvResult{
		AID: fmt.Sprintf("%X", r.AID), Label: r.Label, PAN: r.PAN, Outcome: r.Outcome, Cryptogram: emv.CryptogramName(r.CID), AC: fmt.Sprintf("%X", r.AC),
		ATC: r.ATC, TVR: fmt.Sprintf("%X", r.TVR), TSI: fmt.Sprintf("%X", r.TSI), ODA: r.ODA, CVM: r.CVM, CVMResults: fmt.Sprintf("%X", r.CVMResults),
		Online: r.Online, ARC: r.ARC, Scripts: r.Scripts, Results: fmt.Sprintf("%X", r.Results), Wrong: r.Wrong,
	}
}

func printResult(w io.Writer, r *terminal.Result) {
	fmt.Fprintf(w, "\n%s %s: %s\n", r.Label, r.PAN, r.Outcome)
	if r.AC == nil {
		return
	}
	fmt.Fprintf(w, "  cryptogram %X (%s), ATC %d, TVR %X, TSI %X\n", r.AC, emv.CryptogramName(r.CID), r.ATC, r.TVR, r.TSI)
	if r.ODA != "" {
		fmt.Fprintf(w, "  offline data authentication: %s\n", r.ODA)
	}
	if r.CVM != "" {
		fmt.Fprintf(w, "  cardholder verification: %s\n", r.CVM)
	}
	if r.ARC != "" {
		fmt.Fprintf(w, "  response code: %s\n", emv.ResponseCode(r.ARC))
	}
	if r.Scripts > 0 {
		fmt.Fprintf(w, "  issuer scripts: %d commands carried out\n", r.Scripts)
	}
	for _, s := range emv.Words(0x9F5B, r.Results) {
		fmt.Fprintf(w, "  %s\n", s)
	}
	for _, s := range r.Wrong {
		fmt.Fprintf(w, "  WRONG: %s\n", s)
	}
}
