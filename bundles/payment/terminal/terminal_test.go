package terminal_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/bundles/payment"
	"github.com/sspemu/sspemu/bundles/payment/emv"
	"github.com/sspemu/sspemu/bundles/payment/issuer"
	"github.com/sspemu/sspemu/bundles/payment/oda"
	"github.com/sspemu/sspemu/bundles/payment/profile"
	"github.com/sspemu/sspemu/bundles/payment/terminal"
	"github.com/sspemu/sspemu/bundles/sdk"
	"github.com/sspemu/sspemu/bundles/sdk/sdktest"
	"github.com/sspemu/sspemu/internal/rsakey"
	"github.com/sspemu/sspemu/internal/tlv"
)

// scripted is a card that is data: an application without keys whose records, and whose
// answers where a test wants others, are given.
type scripted struct {
	order   []emv.Tag
	record  map[emv.Tag][]byte
	fci     map[emv.Tag][]byte
	aip     []byte
	answers []*answers
	sent    []string
}

// answers are what commands that begin with prefix get, one after the other; the last
// one again and again.
type answers struct {
	prefix string
	rapdus [][]byte
}

const scriptedAID = "F0535350459901"

func newScripted() *scripted {
	c := &scripted{record: map[emv.Tag][]byte{}, fci: map[emv.Tag][]byte{}, aip: []byte{0x18, 0x00}}
	for _, e := range []string{
		"5A 9999990000000014", "5F24 351231", "5F25 250101", "5F28 0276", "5F34 01", "9F07 FFC0", "9F08 0002", "9F42 0978",
		"8C 9F0206 9505 9F3403 9A03 9C01 9F3704", "8D 8A02 9505", "8E 00000000 00000000 1F00", "9F0E 0000000000", "9F0F 0000000000", "9F0D 0000000000",
	} {
		tag, v, _ := strings.Cut(e, " ")
		c.put(tag, v)
	}
	c.fci[0x50] = []byte("SCRIPTED")
	return c
}

func (c *scripted) put(tag, v string) {
	t := tagOf(tag)
	if v == "-" {
		delete(c.record, t)
		return
	}
	if c.record[t] == nil {
		c.order = append(c.order, t)
	}
	c.record[t] = unhex(v)
}

func (c *scripted) Transmit(_ context.Context, capdu, dst []byte) ([]byte, error) {
	x := fmt.Sprintf("%X", capdu)
	c.sent = append(c.sent, x)
	for _, a := range c.answers {
		if strings.HasPrefix(x, a.prefix) {
			r := a.rapdus[0]
			if len(a.rapdus) > 1 {
				a.rapdus = a.rapdus[1:]
			}
			return append(dst[:0], r...), nil
		}
	}
	return append(dst[:0], c.answer(capdu)...), nil
}

func (c *scripted) answer(capdu []byte) []byte {
	ok := func(b []byte) []byte { return append(b, 0x90, 0x00) }
	aid := unhex(scriptedAID)
	switch capdu[1] {
	case 0xA4:
		if capdu[3] == 0 && bytes.HasPrefix(aid, capdu[5:5+capdu[4]]) {
			var own []byte
			for t, v := range c.fci {
				own = tlv.Append(own, t, v...)
			}
			return ok(tlv.Append(nil, 0x6F, tlv.Append(tlv.Append(nil, 0x84, aid...), 0xA5, own...)...))
		}
		return []byte{0x6A, 0x82}
	case 0xA8:
		return ok(tlv.Append(nil, 0x80, append(bytes.Clone(c.aip), 0x08, 0x01, 0x01, 0x00)...))
	case 0xB2:
		var rec []byte
		for _, t := range c.order {
			if v, there := c.record[t]; there {
				rec = tlv.Append(rec, t, v...)
			}
		}
		return ok(tlv.Append(nil, 0x70, rec...))
	case 0xCA:
		if v := map[byte][]byte{0x17: {3}, 0x36: {0, 5}, 0x13: {0, 3}}[capdu[3]]; v != nil {
			return ok(tlv.Append(nil, 0x9F00|emv.Tag(capdu[3]), v...))
		}
		return []byte{0x6A, 0x88}
	case 0x20, 0x82, 0x1E:
		return []byte{0x90, 0x00}
	case 0xAE:
		return ok([]byte{0x80, 0x0B, capdu[2] & 0xC0, 0, 5, 1, 2, 3, 4, 5, 6, 7, 8})
	}
	return []byte{0x6D, 0x00}
}

// bank answers what a test says.
type bank struct {
	answer terminal.Response
	err    error
	asked  *terminal.Request
}

func (b *bank) Authorise(_ context.Context, r terminal.Request) (terminal.Response, error) {
	b.asked = &r
	return b.answer, b.err
}

func tagOf(s string) emv.Tag {
	n, err := strconv.ParseUint(s, 16, 24)
	if err != nil {
		panic("tag " + s)
	}
	return emv.Tag(n)
}

func unhex(s string) []byte {
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		panic(s + ": " + err.Error())
	}
	return b
}

// build reads hexadecimal where TAG[ ... ] is a data object.
func build(s string) []byte {
	b, rest := items(s)
	if rest != "" {
		panic("a ] too much in " + s)
	}
	return b
}

func items(s string) (b []byte, rest string) {
	for s = strings.TrimSpace(s); s != ""; s = strings.TrimSpace(s) {
		i := strings.IndexAny(s, "[] ")
		switch {
		case i < 0:
			return append(b, unhex(s)...), ""
		case s[i] == '[':
			v, after := items(s[i+1:])
			if !strings.HasPrefix(after, "]") {
				panic("a ] is missing in " + s)
			}
			b, s = tlv.Append(b, tagOf(s[:i]), v...), after[1:]
		case s[i] == ']':
			return append(b, unhex(s[:i])...), s[i:]
		default:
			b, s = append(b, unhex(s[:i])...), s[i:]
		}
	}
	return b, ""
}

// scenario is one paragraph of testdata/*.txt:
//
//	== title
//	card TAG HEX         another data element of the record; - for none
//	fci TAG HEX          of the FCI
//	aip HEX
//	answer PREFIX HEX    commands that begin so get this answer; again: the next one;
//	                     TAG[HEX ...] is a data object with its length
//	terminal KEY VALUE
//	issuer ARC [AUTH [SCRIPTS]]  or: issuer down, issuer wrong
//	sent PREFIX          such a command was sent, behind the one of the line before
//	never PREFIX
//	want KEY VALUE       of the result
type scenario struct {
	title string
	lines []string
}

func scenarios(t *testing.T, file string) (list []scenario) {
	f, err := os.Open(file)
	require.NoError(t, err)
	defer func() { _ = f.Close() }()
	for s := bufio.NewScanner(f); s.Scan(); {
		line := strings.TrimSpace(s.Text())
		switch {
		case line == "" || strings.HasPrefix(line, "#"):
		case strings.HasPrefix(line, "== "):
			list = append(list, scenario{title: line[3:]})
		default:
			list[len(list)-1].lines = append(list[len(list)-1].lines, line)
		}
	}
	return list
}

func configure(t *testing.T, c *terminal.Config, key, v string) {
	number := func() uint64 {
		n, err := strconv.ParseUint(v, 10, 64)
		require.NoError(t, err)
		return n
	}
	switch key {
	case "amount":
		c.Amount = number()
	case "cashback":
		c.Other = number()
	case "floor":
		c.Floor = number()
	case "cvm-limit":
		c.CVMLimit = number()
	case "threshold":
		c.Selection.Threshold = number()
	case "target":
		c.Selection.Target = int(number())
	case "max-target":
		c.Selection.MaxTarget = int(number())
	case "pin":
		c.PIN = v
	case "bypass":
		c.Bypass = true
	case "online":
		c.ForceOnline = true
	case "read":
		c.ReadOnly = true
	case "go-on":
		c.GoOn = true
	case "type":
		c.Type = unhex(v)[0]
	case "currency":
		c.Currency = [2]byte(unhex(v))
	case "country":
		c.Country = [2]byte(unhex(v))
	case "tac-denial":
		c.TAC.Denial = [5]byte(unhex(v))
	case "tac-online":
		c.TAC.Online = [5]byte(unhex(v))
	case "tac-default":
		c.TAC.Default = [5]byte(unhex(v))
	case "exception":
		c.Exception = func(pan string, psn byte) bool { return fmt.Sprintf("%s-%d", pan, psn) == v }
	case "random":
		c.Random = io.MultiReader(bytes.NewReader(unhex(v)), rand.New(rand.NewSource(1)))
	case "date":
		d, err := time.Parse("2006-01-02", v)
		require.NoError(t, err)
		c.Date = d
	case "aid":
		c.AID = unhex(v)
	case "aids":
		c.AIDs = nil
		for _, a := range strings.Fields(v) {
			c.AIDs = append(c.AIDs, unhex(a))
		}
	case "confirmed":
		c.Confirmed = true
	case "listed":
		c.Listed = true
	case "contactless":
		c.Contactless = true
	case "kernel":
		c.Kernel = byte(number())
	default:
		t.Fatalf("terminal %s", key)
	}
}

// TestScenarios: what a terminal does with cards of all kinds, by clause. No card here
// has keys: TestCard is about those.
func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			for _, s := range scenarios(t, file) {
				t.Run(s.title, func(t *testing.T) { s.play(t) })
			}
		})
	}
}

func (s scenario) play(t *testing.T) {
	card := newScripted()
	c := terminal.Config{
		AIDs: [][]byte{unhex("F053535045")}, Amount: 1000, Date: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC), Random: rand.New(rand.NewSource(1)),
	}
	var said []string
	c.Report = func(s terminal.Step) {
		said = append(said, s.Notes...)
		t.Logf("%s\n> %X\n< %X\n  %s", s.Title, s.Command, s.Response, strings.Join(s.Notes, "\n  "))
		require.NotContains(t, fmt.Sprintf("%X", s.Command), "9999990000000014", "a PAN is not shown")
		require.NotContains(t, fmt.Sprintf("%X", s.Command), "241234FF", "a PIN is not shown")
	}
	var host *bank
	type wish struct{ what, key, value string }
	var wishes []wish
	for _, line := range s.lines {
		what, rest, _ := strings.Cut(line, " ")
		key, value, _ := strings.Cut(rest, " ")
		switch what {
		case "card":
			card.put(key, value)
		case "fci":
			card.fci[tagOf(key)] = unhex(value)
		case "aip":
			card.aip = unhex(key)
		case "answer":
			a := &answers{prefix: key}
			for _, o := range card.answers {
				if o.prefix == key {
					a = o
				}
			}
			if len(a.rapdus) == 0 {
				card.answers = append(card.answers, a)
			}
			a.rapdus = append(a.rapdus, build(value))
		case "terminal":
			configure(t, &c, key, value)
		case "issuer":
			switch host = new(bank); key {
			case "down":
				host.err = errors.New("no line")
			case "wrong":
				host.answer = terminal.Response{ARC: "05", Reason: "the cryptogram is wrong", Wrong: true}
			default:
				auth, scripts, _ := strings.Cut(value, " ")
				host.answer = terminal.Response{ARC: key, Scripts: unhex(scripts)}
				if auth != "" && auth != "-" {
					host.answer.Auth = unhex(auth)
				}
			}
			c.Issuer = host
		case "sent", "never", "want":
			wishes = append(wishes, wish{what, key, value})
		default:
			t.Fatal(line)
		}
	}
	res, err := terminal.Run(context.Background(), card, c)
	got := map[string]string{
		"outcome": res.Outcome, "tvr": fmt.Sprintf("%X", res.TVR), "tsi": fmt.Sprintf("%X", res.TSI), "cvm": fmt.Sprintf("%X", res.CVMResults), "arc": res.ARC,
		"results": fmt.Sprintf("%X", res.Results), "scripts": strconv.Itoa(res.Scripts), "pan": res.PAN, "wrong": "", "said": strings.Join(said, "\n"), "method": res.CVM,
	}
	if err != nil {
		got["wrong"] = err.Error()
	}
	wrong, place := false, 0
	for _, w := range wishes {
		switch w.what {
		case "want":
			wrong = wrong || w.key == "wrong"
			if w.key == "said" {
				require.Contains(t, got["said"], w.value)
				continue
			}
			require.Contains(t, got, w.key)
			require.Equal(t, w.value, got[w.key], w.key)
		case "sent":
			for place < len(card.sent) && !strings.HasPrefix(card.sent[place], w.key) {
				place++
			}
			require.Less(t, place, len(card.sent), "%s was not sent, or not then:\n%s", w.key, strings.Join(card.sent, "\n"))
			place++
		case "never":
			for _, x := range card.sent {
				require.False(t, strings.HasPrefix(x, w.key), x)
			}
		}
	}
	if !wrong {
		require.NoError(t, err)
	}
}

// hides is a card in front of another that a test changes.
type hides struct {
	terminal.Card
	change func(capdu, rapdu []byte) []byte
}

func (h hides) Transmit(ctx context.Context, capdu, dst []byte) ([]byte, error) {
	r, err := h.Card.Transmit(ctx, capdu, dst)
	return h.change(capdu, r), err
}

type native struct{ *sdktest.Card }

func (n native) Transmit(_ context.Context, capdu, _ []byte) ([]byte, error) {
	return n.Send(capdu), nil
}

// TestCard: what is wrong with keys ends a transaction, or sets the bits of the TVR when
// the terminal goes on; issuer and card decide then.
func TestCard(t *testing.T) {
	yaml, err := os.ReadFile("../persona.yaml")
	require.NoError(t, err)
	schema, err := os.ReadFile("../persona.schema.json")
	require.NoError(t, err)
	flip := func(ins byte, tag string) func(capdu, rapdu []byte) []byte {
		return func(capdu, rapdu []byte) []byte {
			if i := bytes.Index(rapdu, unhex(tag)); capdu[1] == ins && i >= 0 {
				rapdu = bytes.Clone(rapdu)
				rapdu[i+len(tag)/2+20] ^= 1
			}
			return rapdu
		}
	}
	rename := func(from, to string) func(capdu, rapdu []byte) []byte {
		return func(capdu, rapdu []byte) []byte {
			if capdu[1] == 0xB2 {
				return bytes.Replace(rapdu, unhex(from), unhex(to), 1)
			}
			return rapdu
		}
	}
	whole := func(_, rapdu []byte) []byte { return rapdu }
	for _, c := range []struct {
		name, aid, replace string
		change             func(capdu, rapdu []byte) []byte
		offline            bool
		wrong              string // beginning
		outcome, tvr, tsi  string // of a terminal that goes on
	}{
		{"CDA is right", "F0535350450101", "", whole, false, "", terminal.ApprovedOnline, "0000008000", "E800"},
		{"CDA: certificate", "F0535350450101", "", flip(0xB2, "9F4681B0"), false, "EMV Book 2 6.4 step ", terminal.ApprovedOnline, "0400008000", "E800"},
		{"CDA: signature of an ARQC", "F0535350450101", "", flip(0xAE, "9F4B81B0"), false, "EMV Book 2 6.5.2 step ", terminal.DeclinedOffline, "0400008000", "E800"},
		{"CDA: signature of a TC", "F0535350450101", "new-card, then: online}=last-script-failed, then: online}", flip(0xAE, "9F4B81B0"), true, "EMV Book 2 6.5.2 step ", terminal.DeclinedOffline, "0400000000", "E800"},
		{"CDA: remainder", "F0535350450101", "", rename("9F482A", "DF482A"), false, "ICC Public Key Remainder (9F48) is missing (EMV Book 3 7.5)", terminal.ApprovedOnline, "2400008000", "E800"},
		{"CDA: no exponent", "F0535350450101", "", rename("9F470103", "DF470103"), false, "ICC Public Key Exponent (9F47) is missing (EMV Book 3 7.5)", terminal.ApprovedOnline, "2400008000", "E800"},
		{"SDA: no signature", "F0535350460101", "", rename("9381", "9681"), false, "Signed Static Application Data (93) is missing (EMV Book 3 7.5)", terminal.ApprovedOnline, "6200008000", "F800"},
		{"DDA: signature", "F0535350450201", "", flip(0x88, "8081"), false, "EMV Book 2 6.5.2 step ", terminal.ApprovedOnline, "0800008000", "F800"},
		{"SDA: signature", "F0535350460101", "", flip(0xB2, "9381"), false, "EMV Book 2 5.4 step ", terminal.ApprovedOnline, "4200008000", "F800"},
	} {
		t.Run(c.name, func(t *testing.T) {
			text := string(yaml)
			if from, to, ok := strings.Cut(c.replace, "="); ok {
				require.Contains(t, text, from)
				text = strings.ReplaceAll(text, from, to)
			}
			for _, goOn := range []bool{false, true} {
				card := sdktest.New(t, func() sdk.App { return payment.New() })
				require.NoError(t, card.PersonaliseYAML([]byte(text), schema))
				p, err := profile.FromYAML([]byte(text), "persona.yaml", schema)
				require.NoError(t, err)
				host, err := issuer.New(p, 0)
				require.NoError(t, err)
				cfg := terminal.Config{
					AID: unhex(c.aid), Amount: 1234, PIN: "1234", Date: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC), Random: rand.New(rand.NewSource(1)), Issuer: host, GoOn: goOn,
					Authority: func(rid [5]byte, index byte) (oda.PublicKey, bool) {
						for i := range p.Authorities {
							if a := &p.Authorities[i]; a.RID == rid && a.Index == index {
								k, err := p.AuthorityKey(rsakey.Generate, a)
								return k.PublicKey, err == nil
							}
						}
						return oda.PublicKey{}, false
					},
				}
				if c.offline {
					cfg.Floor = 100000
				}
				res, err := terminal.Run(context.Background(), hides{native{card}, c.change}, cfg)
				switch {
				case c.wrong == "":
					require.NoError(t, err)
					require.Empty(t, res.Wrong)
				case !goOn:
					require.ErrorContains(t, err, c.wrong)
					continue
				default:
					require.NoError(t, err)
					require.NotEmpty(t, res.Wrong)
					require.Contains(t, res.Wrong[0], c.wrong)
				}
				require.Equal(t, []string{c.outcome, c.tvr, c.tsi}, []string{res.Outcome, fmt.Sprintf("%X", res.TVR), fmt.Sprintf("%X", res.TSI)})
			}
		})
	}
}

// FuzzCard: no card makes the terminal panic or go on for ever.
func FuzzCard(f *testing.F) {
	f.Add(byte(0), []byte{})
	f.Fuzz(func(t *testing.T, mode byte, answers []byte) {
		c := terminal.Config{
			AIDs: [][]byte{unhex("F053535045")}, Amount: 1000, PIN: "1234", Date: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC), Random: rand.New(rand.NewSource(1)),
			Issuer: &bank{answer: terminal.Response{ARC: "00", Auth: make([]byte, 8)}}, Contactless: mode&1 != 0, Kernel: mode >> 1 & 3, ReadOnly: mode&8 != 0, GoOn: mode&16 != 0,
			Selection: terminal.Selection{Target: 50}, Floor: 5000,
		}
		sent := 0
		res, err := terminal.Run(context.Background(), cardFunc(func(capdu []byte) []byte {
			if sent++; sent > 2000 {
				t.Fatal("it goes on for ever")
			}
			if len(answers) == 0 {
				return newScripted().answer(capdu)
			}
			n := min(int(answers[0]), len(answers)-1)
			r := answers[1 : 1+n]
			answers = answers[1+n:]
			if n >= 2 && r[n-2] == 0xFF { // else it would hardly ever be one
				return append(bytes.Clone(r[:n-2]), 0x90, 0x00)
			}
			return r
		}), c)
		if err == nil && res.Outcome == "" {
			t.Fatal("neither an outcome nor an error")
		}
	})
}

type cardFunc func(capdu []byte) []byte

func (f cardFunc) Transmit(_ context.Context, capdu, _ []byte) ([]byte, error) { return f(capdu), nil }
