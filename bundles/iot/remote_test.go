package iot

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/bundles/iot/iotsafe"
	"github.com/sspemu/sspemu/bundles/iot/ota"
	"github.com/sspemu/sspemu/bundles/iot/profile"
	"github.com/sspemu/sspemu/bundles/sdk"
	"github.com/sspemu/sspemu/bundles/sdk/sdktest"
	"github.com/sspemu/sspemu/internal/apdu"
	"github.com/sspemu/sspemu/internal/scp80"
	"github.com/sspemu/sspemu/internal/tlv"
)

// administrator is the server of a domain; its packets come as short messages.
func administrator(t testing.TB, card *sdktest.Card, name string, replace ...string) *ota.Server {
	p := profileOf(t, replace...)
	d := p.Domain(name)
	require.NotNil(t, d, name)
	return ota.New(p, d, ota.Envelopes(func(_ context.Context, c []byte) ([]byte, error) { return card.Send(c), nil }, nil))
}

func ref(k profile.Kind, id byte) ota.Ref { return ota.Ref{Kind: k, ID: []byte{id}} }

// run has an administrator run commands that have to succeed.
func runScript(t testing.TB, s *ota.Server, commands ...[][]byte) scp80.Result {
	t.Helper()
	var all [][]byte
	for _, c := range commands {
		all = append(all, c...)
	}
	res, err := s.Run(context.Background(), all...)
	require.NoError(t, err)
	if s.Form != scp80.Compact {
		require.Equal(t, len(all), res.Executed)
	}
	return res
}

// post sends a packet to the HTTP face.
func post(t testing.TB, card *sdktest.Card, method, media string, body []byte) (*http.Response, []byte) {
	p, err := card.Open(sdk.GateTCP, 1, 1<<20)
	require.NoError(t, err)
	p.Send(append([]byte(fmt.Sprintf("%s /ota HTTP/1.1\r\nHost: a\r\nContent-Type: %s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n", method, media, len(body))), body...))
	res, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(p.Bytes())), &http.Request{Method: method})
	require.NoError(t, err)
	b, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	return res, b
}

// overHTTP is a sender.
func overHTTP(t testing.TB, card *sdktest.Card) ota.Sender {
	return func(_ context.Context, packet []byte) ([]byte, error) {
		res, b := post(t, card, "POST", "application/octet-stream", packet)
		if res.StatusCode == http.StatusNoContent {
			return nil, nil
		}
		require.Equal(t, 200, res.StatusCode, string(b))
		return b, nil
	}
}

func readFile(t testing.TB, card *sdktest.Card, id byte) []byte {
	var b []byte
	for {
		part := unhex(t, must(t, card, fmt.Sprintf("80B0%04X038301%02X00", len(b), id)))
		if b = append(b, part...); len(part) < 256 {
			return b
		}
	}
}

// TestAdministration: every domain does with its containers what an administrator does,
// with scripts of each form and by each bearer.
func TestAdministration(t *testing.T) {
	for _, form := range []scp80.Form{scp80.Compact, scp80.Definite, scp80.Indefinite} {
		for _, bearer := range []string{"report", "submit", "http"} {
			t.Run(fmt.Sprintf("%d/%s", form, bearer), func(t *testing.T) {
				card := newCard(t)
				p := profileOf(t)
				for i := range p.Domains {
					s := administrator(t, card, p.Domains[i].Name)
					s.Form = form
					switch bearer {
					case "submit":
						s.Header.SPI[1] |= 0x20
					case "http":
						s.Send = overHTTP(t, card)
					}
					l, err := s.List(context.Background())
					require.NoError(t, err)
					n := 0
					for r := tlv.Read(l); r.Next(); n++ {
					}
					require.Equal(t, len(p.Domains[i].Containers), n)
					for _, j := range p.Domains[i].Containers {
						c := &p.Containers[j]
						at := ota.Ref{Kind: c.Kind, ID: c.ID}
						switch c.Kind {
						case profile.Private:
							if bearer == "report" && c.Type != iotsafe.P256 { // it does not fit, but it is done
								_, err := s.Run(context.Background(), s.Generate(at)...)
								require.ErrorIs(t, err, &ota.CommandError{SW: scp80.SWTruncated})
								continue
							}
							answer := ota.Answer(runScript(t, s, s.Generate(at)))
							public := must(t, card, command(iotsafe.ReadPublicKey, 0, 0, tv(0x85, upper(p.Containers[c.Pair].ID))))
							require.True(t, strings.HasSuffix(upper(answer), public), "the key that was reported is the key that is there")
							runScript(t, s, s.Delete(at))
							require.Equal(t, "6985", card.Transmit(command(iotsafe.ReadPublicKey, 0, 0, tv(0x85, upper(p.Containers[c.Pair].ID)))))
							runScript(t, s, s.Generate(at))
						case profile.Public:
							if c.Anchor == nil {
								continue
							}
							other, err := p.AuthorityKey(&p.Authorities[1])
							require.NoError(t, err)
							runScript(t, s, s.Put(at, profile.EncodePublic(&other.PublicKey)))
							require.Equal(t, "34"+fmt.Sprintf("%02X", 69)+upper(profile.EncodePublic(&other.PublicKey)), must(t, card, command(iotsafe.ReadPublicKey, 0, 0, tv(0x85, upper(c.ID)))))
						case profile.Secret:
							runScript(t, s, s.Put(at, []byte("a new pre-shared key")))
							runScript(t, s, s.Delete(at))
						case profile.File:
							content := bytes.Repeat([]byte("content "), 90)[:700]
							if form == scp80.Compact {
								content = content[:100]
							}
							runScript(t, s, s.Put(at, content))
							require.Equal(t, content, readFile(t, card, c.ID[0]))
							runScript(t, s, s.Delete(at))
							require.Equal(t, "6985", card.Transmit(fmt.Sprintf("80B00000038301%02X00", c.ID[0])))
						}
					}
					require.Equal(t, s.Counter, counterOf(t, card, i), "the counter of the card is that of the server")
				}
				card.PowerOn()
				require.Equal(t, "9000", card.Transmit(selectApplet))
				require.Equal(t, "6985", card.Transmit("80B000000383010200"), "it stays after a power cycle")
			})
		}
	}
}

// counterOf is the counter of a domain as it is stored.
func counterOf(t testing.TB, card *sdktest.Card, i int) (n uint64) {
	b := card.NVM()[domainName(i)]
	require.Len(t, b, counterSize)
	for _, x := range b {
		n = n<<8 | uint64(x)
	}
	return n
}

// TestRefusedPackets: what is wrong with a packet, the status in the proof of receipt, and
// that nothing else has happened.
func TestRefusedPackets(t *testing.T) {
	const first = 9 // the counter of the packet before
	type change func(s *ota.Server)
	for _, c := range []struct {
		name   string
		change change              // before the packet is made
		tamper func(packet []byte) // after
		want   string              // status; silent
		plain  bool                // in clear
		domain string
	}{
		{name: "replay", change: func(s *ota.Server) { s.Counter-- }, want: "02"},
		{name: "low counter", change: func(s *ota.Server) { s.Counter = 3 }, want: "02"},
		{name: "counter that is not the next", domain: "private cloud", change: func(s *ota.Server) { s.Counter += 2 }, want: "03"},
		{name: "wrong key for the checksum", change: func(s *ota.Server) { s.Keys.KID = make([]byte, 16) }, want: "01", plain: true},
		{name: "wrong key for ciphering", change: func(s *ota.Server) { s.Keys.KIc = make([]byte, 16) }, want: "01", plain: true},
		{name: "a bit", tamper: func(p []byte) { p[len(p)-1] ^= 1 }, want: "01", plain: true},
		{name: "unknown TAR", change: func(s *ota.Server) { s.Header.TAR[2]++; s.Header.TAR[0]++ }, want: "09", plain: true},
		{name: "without ciphering", change: func(s *ota.Server) { s.Header.SPI[0] &^= 0x04 }, want: "0A", plain: true},
		{name: "without checksum", change: func(s *ota.Server) { s.Header.SPI[0] &^= 0x02 }, want: "0A", plain: true},
		{name: "redundancy check instead", change: func(s *ota.Server) { s.Header.SPI[0] = s.Header.SPI[0]&^3 | 1; s.Header.KID = 0x15 }, want: "0A", plain: true},
		{name: "without counter", change: func(s *ota.Server) { s.Header.SPI[0] &^= 0x18 }, want: "0A", plain: true},
		{name: "another key number", change: func(s *ota.Server) { s.Header.KIc ^= 0x30 }, want: "06", plain: true},
		{name: "another algorithm", change: func(s *ota.Server) { s.Header.KID = s.Header.KID&0xF0 | 5 }, want: "06", plain: true},
		{name: "a response with a check that KID does not have", change: func(s *ota.Server) { s.Header.SPI[1] = 0x05 }, want: "06", plain: true},
		{name: "cut off behind the header", tamper: func(p []byte) { p[0], p[1] = 0, 1 }, want: "6A80"},
		{name: "header length", tamper: func(p []byte) { p[2]-- }, want: "06", plain: true},
		{name: "no proof wanted", change: func(s *ota.Server) { s.Header.SPI[1] = 0; s.Keys.KID = make([]byte, 16) }, want: "silent"},
		{name: "proof on error wanted", change: func(s *ota.Server) { s.Header.SPI[1] = s.Header.SPI[1]&^3 | 2; s.Counter = 0 }, want: "02"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.domain == "" {
				c.domain = "public cloud A"
			}
			card := newCard(t, "  - name: "+c.domain+"\n", "  - name: "+c.domain+"\n    counter: 8\n")
			s := administrator(t, card, c.domain)
			s.Counter = first - 1
			l := s.Put(ref(profile.File, map[bool]byte{true: 0x22, false: 0x02}[c.domain == "private cloud"]), []byte("content"))
			runScript(t, s, l)
			before := card.NVM()
			if c.change != nil {
				c.change(s)
			}
			packet, err := s.Packet(scp80.Script(s.Form, l...))
			if err != nil { // the server itself has no way to do that
				require.NoError(t, err)
			}
			if c.tamper != nil {
				c.tamper(packet)
			}
			got := envelope(t, card, packet)
			switch {
			case c.want == "silent":
				require.Equal(t, "9000", got)
			case len(c.want) == 4:
				require.Equal(t, c.want, got)
			default:
				b := unhex(t, strings.TrimSuffix(got, "9000"))
				require.Equal(t, "027100", upper(b[:3]))
				r, plain, err := scp80.OpenResponse(b[3:], s.Header, s.Keys)
				require.NoError(t, err)
				require.Equal(t, c.want, fmt.Sprintf("%02X", byte(r.Status)))
				require.Equal(t, c.plain, plain)
				require.Empty(t, r.Data)
			}
			require.Equal(t, before, card.NVM(), "nothing is stored")

			// The packet cut off anywhere: never more than that.
			for n := range packet {
				got := envelope(t, card, packet[:n])
				require.Contains(t, []string{"6A80", "6985"}, got)
			}
			require.Equal(t, before, card.NVM())
		})
	}
}

// envelope sends a packet, or what is like one, in short messages.
func envelope(t testing.TB, card *sdktest.Card, packet []byte) string {
	parts, err := scp80.Split(packet, 7)
	require.NoError(t, err)
	got := ""
	for _, p := range parts {
		require.Contains(t, []string{"", "9000"}, got)
		got = card.Transmit(enveloped(p))
	}
	return got
}

func enveloped(userData []byte) string {
	m := scp80.Deliver{From: []byte{4, 0x81, 0x21, 0x43}, PID: scp80.PIDDownload, DCS: scp80.DCSDownload, UserData: userData}
	e := scp80.Envelope{TPDU: m.Append(nil)}
	c := apdu.Command{CLA: 0x80, INS: insEnvelope, Data: e.Append(nil), Ne: 256}
	return upper(c.Append(nil))
}

// TestBlockedCounter: after the last counter there is no other.
func TestBlockedCounter(t *testing.T) {
	change := []string{"  - name: operator\n", "  - name: operator\n    counter: 1099511627774\n"}
	card := newCard(t, change...)
	s := administrator(t, card, "operator", change...)
	runScript(t, s, s.Put(ref(profile.File, 0x61), []byte("last")))
	s.Counter--
	_, err := s.Run(context.Background(), s.Delete(ref(profile.File, 0x61))...)
	require.ErrorIs(t, err, &ota.StatusError{Status: scp80.CounterBlocked})
	require.Equal(t, "last", string(readFile(t, card, 0x61)))
}

// TestFindCounter: a server that does not know the counter of a card finds it, whichever
// the domain wants; other refusals end the search.
func TestFindCounter(t *testing.T) {
	ctx := context.Background()
	for _, domain := range []string{"public cloud A", "private cloud"} { // counter higher, exactly the next
		for _, at := range []uint64{0, 1, 2, 3, 1000, 123_456_789, scp80.MaxCounter - 2} {
			t.Run(fmt.Sprintf("%s/%d", domain, at), func(t *testing.T) {
				card := newCard(t, "  - name: "+domain+"\n", fmt.Sprintf("  - name: %s\n    counter: %d\n", domain, at))
				s := administrator(t, card, domain)
				spi, send, packets := s.Header.SPI, s.Send, 0
				s.Send = func(ctx context.Context, packet []byte) ([]byte, error) {
					packets++
					return send(ctx, packet)
				}
				require.NoError(t, s.FindCounter(ctx))
				require.Equal(t, spi, s.Header.SPI)
				require.Less(t, packets, 85)
				require.Greater(t, s.Counter, at)
				if domain == "private cloud" {
					require.Equal(t, at+1, s.Counter)
				}
				if s.Counter < scp80.MaxCounter-8 {
					_, err := s.List(ctx)
					require.NoError(t, err)
				}
			})
		}
	}
	t.Run("without proof", func(t *testing.T) {
		s := administrator(t, newCard(t, "  - name: private cloud\n", "  - name: private cloud\n    counter: 70\n"), "private cloud")
		s.Header.SPI[1] = 0
		require.NoError(t, s.FindCounter(ctx))
		require.Equal(t, uint64(71), s.Counter)
		require.Zero(t, s.Header.SPI[1])
	})
	t.Run("blocked", func(t *testing.T) {
		s := administrator(t, newCard(t, "  - name: operator\n", "  - name: operator\n    counter: 1099511627775\n"), "operator")
		err := s.FindCounter(ctx)
		require.Error(t, err)
		require.ErrorIs(t, err, &ota.StatusError{Status: scp80.CounterBlocked})
	})
	t.Run("keys", func(t *testing.T) {
		s := administrator(t, newCard(t), "operator")
		s.Keys.KID = append([]byte{^s.Keys.KID[0]}, s.Keys.KID[1:]...)
		require.ErrorIs(t, s.FindCounter(ctx), &ota.StatusError{Status: scp80.CheckFailed, Plain: true})
	})
	t.Run("a liar", func(t *testing.T) {
		for _, st := range []scp80.Status{scp80.CounterLow, scp80.CounterHigh} {
			s := administrator(t, newCard(t), "operator")
			packets := 0
			s.Send = func(context.Context, []byte) ([]byte, error) {
				packets++
				return (&scp80.Response{TAR: s.Header.TAR, Counter: s.Counter, Status: st}).AppendPlain(nil), nil
			}
			require.ErrorIs(t, s.FindCounter(ctx), ota.ErrCounter)
			require.Less(t, packets, 85)
		}
	})
}

// TestIsolation: what is another domain's, or nobody's, does not exist for a domain; its
// keys open nothing of another.
func TestIsolation(t *testing.T) {
	card := newCard(t)
	p := profileOf(t)
	ctx := context.Background()
	for i := range p.Domains {
		s := administrator(t, card, p.Domains[i].Name)
		for j := range p.Containers {
			if p.Domains[i].Holds(j) {
				continue
			}
			c := &p.Containers[j]
			for _, at := range []ota.Ref{{Kind: c.Kind, ID: c.ID}, {Kind: c.Kind, Label: string(c.Label)}} {
				content := []byte("content")
				commands := [][][]byte{s.Delete(at), s.Put(at, content), {named(c, iotsafe.GetData, c.Kind.InfoTag(), at)}}
				switch c.Kind {
				case profile.Private:
					commands = append(commands, s.Generate(at))
				case profile.Public:
					commands = append(commands, [][]byte{named(c, iotsafe.ReadPublicKey, 0, at)})
				case profile.File:
					commands = append(commands, [][]byte{named(c, iotsafe.ReadFile, 0, at)})
				}
				before := card.NVM()
				for _, l := range commands {
					_, err := s.Run(ctx, l...)
					require.ErrorIs(t, err, &ota.CommandError{SW: sdk.FileNotFound}, "%s, %s %X", p.Domains[i].Name, c.Kind, c.ID)
				}
				after := card.NVM()
				delete(before, domainName(i))
				delete(after, domainName(i))
				require.Equal(t, before, after)
			}
		}
		for j := range p.Domains {
			if i == j {
				continue
			}
			other := administrator(t, card, p.Domains[j].Name)
			other.Counter = 1000
			other.Keys = p.DomainKeys(&p.Domains[i]) // of the right length or not
			before := card.NVM()
			if packet, err := other.Packet(nil); err == nil {
				got := envelope(t, card, packet)
				require.Contains(t, []byte{byte(scp80.CheckFailed), byte(scp80.CipheringError), byte(scp80.SecurityError)}, unhex(t, got)[3+12], got)
			}
			require.Equal(t, before, card.NVM())
		}
	}
}

func named(c *profile.Container, ins, p1 byte, at ota.Ref) []byte {
	data := tlv.Append(nil, tlv.Tag(c.Kind.IDTag()), at.ID...)
	if at.Label != "" {
		data = tlv.Append(nil, tlv.Tag(c.Kind.LabelTag()), []byte(at.Label)...)
	}
	cmd := apdu.Command{CLA: 0x80, INS: ins, P1: p1, Data: data, Ne: 256}
	return cmd.Append(nil)
}

// TestRace: a device is in the middle of something with an object that remote
// administration changes.
func TestRace(t *testing.T) {
	card := newCard(t)
	s := administrator(t, card, "public cloud A")
	b := administrator(t, card, "public cloud B")
	key := profile.EncodePublic(publicOf(t))

	// A signature is half done; another domain's administrator is not in the way.
	must(t, card, command(iotsafe.ComputeSignatureInit, 0, 1, "840101A10101 91020001 920104"))
	must(t, card, "802B000104"+"9B02"+"6162")
	runScript(t, b, b.Generate(ref(profile.Private, 0x11)))
	require.Equal(t, "63CF", card.Transmit("80CB000000")[136:], "objects have changed")
	must(t, card, "80CB000000")
	must(t, card, "802B000104"+"9B02"+"6162")
	runScript(t, s, s.Generate(ref(profile.Private, 0x01)))
	require.Equal(t, "6984", card.Transmit("802B800104"+"9B02"+"616200"))
	require.Equal(t, "6984", card.Transmit("802B800104"+"9B02"+"616200"), "until the session is closed")
	must(t, card, "802A0101")
	require.Equal(t, "6985", card.Transmit("802B800104"+"9B02"+"616200"))
	require.Len(t, sign(t, card, "01", iotsafe.PadAndSign, iotsafe.SHA256, iotsafe.ECDSA, tv(0x9E, hash32)), 128, "the new key signs")

	// A key pair is deleted: 6984 in its sessions, 6985 for new ones.
	must(t, card, signInit)
	runScript(t, s, s.Delete(ref(profile.Private, 0x01)))
	require.Equal(t, "6984", card.Transmit(goodSign))
	require.Equal(t, "6985", card.Transmit(signInit))
	runScript(t, s, s.Generate(ref(profile.Private, 0x01)))
	must(t, card, signInit)
	require.Len(t, must(t, card, goodSign), 2*66)

	// A trust anchor comes in blocks: what was under way goes on, nothing new begins.
	verifyInit := command(iotsafe.VerifySignatureInit, 0, 2, "850107A10103 91020001 920104")
	must(t, card, verifyInit)
	must(t, card, at(verifyInit, 4))
	whole := s.Put(ref(profile.Public, 0x07), key)[0][5:]
	block := func(p1, p2 byte, data []byte) []byte {
		c := apdu.Command{CLA: 0x80, INS: iotsafe.StoreData, P1: p1, P2: p2, Data: data}
		return c.Append(nil)
	}
	runScript(t, s, [][]byte{block(0, 0, whole[:20])})
	require.Equal(t, "6989", card.Transmit(at(verifyInit, 3)))
	require.Equal(t, "6D01", card.Transmit("802D8002"+"64"+tv(0x33, strings.Repeat("01", 64))+tv(0x9E, hash32)), "the session of before")
	must(t, card, "802C0102")
	runScript(t, s, [][]byte{block(0x80, 1, whole[20:])})
	require.Equal(t, "6984", card.Transmit("802D8004"+"64"+tv(0x33, strings.Repeat("01", 64))+tv(0x9E, hash32)))
	must(t, card, at(verifyInit, 3))

	// 63CF is for who had the applet selected, once, with every answer to GET DATA.
	runScript(t, s, s.Put(ref(profile.File, 0x02), []byte("x")))
	require.Equal(t, "9000", card.Transmit(selectApplet))
	must(t, card, "80CB000000")
	runScript(t, s, s.Put(ref(profile.File, 0x02), []byte("y")))
	got := card.Transmit("80CB010000")
	for strings.HasSuffix(got, "6300") {
		got = card.Transmit("80CB010100")
	}
	require.Equal(t, "63CF", got[len(got)-4:])
	must(t, card, "80CBC1000384010100")

	// A packet that changes nothing is not told.
	_, err := s.List(context.Background())
	require.NoError(t, err)
	must(t, card, "80CB000000")
}

// publicOf is the key of an authority.
func publicOf(t testing.TB) any {
	p := profileOf(t)
	k, err := p.AuthorityKey(&p.Authorities[1])
	require.NoError(t, err)
	return &k.PublicKey
}

// TestScripts: status words of commands, and where scripts end.
func TestScripts(t *testing.T) {
	const head = "AB" // of a response
	for _, c := range []struct{ name, script, want string }{
		{"class", "AA062204 84E20000", head + "07 800101 2302 6E00"},
		{"instruction", "AA062204 80200000", head + "07 800101 2302 6D00"},
		{"no command", "AA022200", head + "07 800101 2302 6700"},
		{"empty", "AA00", head + "03 800100"},
		{"wrong tag", "AA033301 80", head + "06 800100 900101"},
		{"cut off", "AA042204 80CB", head + "06 800100 900102"},
		{"ends with an error", "AA0C 2204 80200000 2204 80CB0000", head + "07 800101 2302 6D00"},
		{"indefinite", "AE80 2204 80200000 0000", "AF80 2302 6D00 0000"},
		{"indefinite without end", "AE80 2204 80E20000", "AF80 2302 6700 0000"},
		{"compact, no command", "", "00"},
		{"compact, cut off", "80E2", "01 6700"},
		{"compact, short data", "80E4000003 8301", "01 6700"},
		{"compact, GET RESPONSE first", "00C0000000", "01 6985"},
		{"compact, an error ends it", "80E4000003 830199 80E4000003 830102", "01 6A82"},
		{"compact, an instruction like the tag of a trigger", "0081038000 00", "01 6D00"},
		{"GET DATA P1", "AA062204 80CB0200", head + "07 800101 2302 6A86"},
		{"GET DATA next without a list", "AA072205 80CB010100", head + "07 800101 2302 6985"},
		{"GET DATA of another kind", "AA0A2208 80CBC10003 830102", head + "07 800101 2302 6A80"},
		{"READ FILE beyond", "AA0A2208 80B0FFFF03 830102", head + "07 800101 2302 6A86"},
		{"READ PUBLIC KEY of a file", "AA0A2208 80CD000003 830102", head + "07 800101 2302 6A80"},
		{"GENERATE P1", "AA0A2208 80B9010003 840101", head + "07 800101 2302 6A86"},
		{"GENERATE a file", "AA0A2208 80B9000003 830102", head + "07 800101 2302 6A80"},
		{"DELETE P2", "AA0A2208 80E4000103 830102", head + "07 800101 2302 6A86"},
		{"DELETE two", "AA0D220B 80E4000006 830102 830103", head + "07 800101 2302 6A80"},
		{"DELETE two kinds", "AA0D220B 80E4000006 830102 840101", head + "07 800101 2302 6A80"},
		{"DELETE half of a pair", "AA0A2208 80E4000003 850101", head + "07 800101 2302 6985"},
		{"DELETE twice", "AA14 2208 80E4000003 830102 2208 80E4000003 830102", head + "0B 800102 2302 9000 2302 6985"},
		{"STORE DATA P1", "AA0D220B 80E2400006 830102 530141", head + "07 800101 2302 6A86"},
		{"STORE DATA without data", "AA062204 80E28000", head + "07 800101 2302 6700"},
		{"STORE DATA second block first", "AA0D220B 80E2800106 830102 530141", head + "07 800101 2302 6985"},
		{"STORE DATA without content", "AA0A2208 80E2800003 830102", head + "07 800101 2302 6A80"},
		{"STORE DATA empty", "AA0C220A 80E2800005 830102 5300", head + "07 800101 2302 6A80"},
		{"STORE DATA no reference", "AA0A2208 80E2800003 530141", head + "07 800101 2302 6A80"},
		{"STORE DATA only filling", "AA082206 80E2800001 00", head + "07 800101 2302 6A80"},
		{"STORE DATA only filling, more to come", "AA082206 80E2000001 00", head + "07 800101 2302 6A80"},
		{"STORE DATA a reference cut off", "AA092207 80E2000002 8301", head + "07 800101 2302 6A80"},
		{"STORE DATA filling before", "AA0E220C 80E2800007 00830102 530141", head + "07 800101 2302 9000"},
		{"STORE DATA a length of two octets", "AA0E220C 80E2800007 83810102 530141", head + "07 800101 2302 9000"},
		{"STORE DATA into a private key", "AA0D220B 80E2800006 840101 530141", head + "07 800101 2302 6981"},
		{"STORE DATA over half of a pair", "AA0D220B 80E2800006 850101 340141", head + "07 800101 2302 6985"},
		{"STORE DATA no key", "AA0D220B 80E2800006 850107 340141", head + "07 800101 2302 6A80"},
		{"STORE DATA a file as key", "AA0D220B 80E2800006 830102 340141", head + "07 800101 2302 6A80"},
		{"STORE DATA", "AA0D220B 80E2800006 830102 530141", head + "07 800101 2302 9000"},
	} {
		card := newCard(t)
		s := administrator(t, card, "public cloud A")
		packet, err := s.Packet(unhex(t, c.script))
		require.NoError(t, err)
		b := unhex(t, strings.TrimSuffix(envelope(t, card, packet), "9000"))
		r, err := s.Check(b[3:])
		require.NoError(t, err, c.name)
		require.Equal(t, strings.ReplaceAll(c.want, " ", ""), upper(r.Data), c.name)
	}
}

// TestLongAnswers: what does not fit into a report is cut off, and 62F1 says so; over HTTP
// it fits.
func TestLongAnswers(t *testing.T) {
	read := unhex(t, "80B0000003830102 00")
	for _, form := range []scp80.Form{scp80.Definite, scp80.Indefinite, scp80.Compact} {
		card := newCard(t)
		s := administrator(t, card, "public cloud A")
		s.Form = form
		commands := [][]byte{read, read}
		if form == scp80.Compact {
			commands = [][]byte{read[:len(read)-1], unhex(t, "00C0000000"), read[:len(read)-1]}
		}
		res, err := s.Run(context.Background(), commands...)
		require.ErrorIs(t, err, &ota.CommandError{SW: scp80.SWTruncated})
		require.Equal(t, 1, res.Executed)
		require.True(t, bytes.HasPrefix(readFile(t, card, 0x02), ota.Answer(res)))
		require.Greater(t, len(ota.Answer(res)), 50)
		s.Send = overHTTP(t, card)
		res, err = s.Run(context.Background(), commands[0])
		require.NoError(t, err)
		if form != scp80.Compact {
			require.Len(t, ota.Answer(res), 256)
		}
	}
}

// TestFullMemory: nothing of a script stays when the memory is full, but the counter.
func TestFullMemory(t *testing.T) {
	card := newCard(t)
	s := administrator(t, card, "public cloud A")
	used := 0
	for k, v := range card.NVM() {
		used += len(k) + len(v)
	}
	card.Quota(used + 100)
	before := card.NVM()
	_, err := s.Run(context.Background(), append(s.Generate(ref(profile.Private, 0x01)), s.Put(ref(profile.File, 0x03), make([]byte, 1000))...)...)
	require.ErrorIs(t, err, &ota.StatusError{Status: scp80.NoMemory})
	after := card.NVM()
	require.Equal(t, uint64(1), counterOf(t, card, 0))
	delete(before, domainName(0))
	delete(after, domainName(0))
	require.Equal(t, before, after)
	must(t, card, "80B000000383010200")
	require.Equal(t, must(t, card, "80CD00000385010100"), must(t, newCard(t), "80CD00000385010100"), "the key is the one of before")
	runScript(t, s, s.Put(ref(profile.File, 0x02), []byte("short")))
}

// TestPowerCuts: a packet is worked off whole or not at all.
func TestPowerCuts(t *testing.T) {
	card := newCard(t)
	s := administrator(t, card, "public cloud A")
	packet, err := s.Packet(scp80.Script(s.Form, append(s.Generate(ref(profile.Private, 0x01)), s.Delete(ref(profile.File, 0x03))...)...))
	require.NoError(t, err)
	parts, err := scp80.Split(packet, 1)
	require.NoError(t, err)
	require.Len(t, parts, 1)
	before := card.NVM()
	card.CutPowerDuring(unhex(t, enveloped(parts[0])))
	require.Equal(t, before, card.NVM())
	require.Contains(t, card.Transmit(enveloped(parts[0])), "027100", "the same packet is good again: it has not been accepted yet")
	require.NotEqual(t, before, card.NVM())

	// Parts of a message, and blocks of new content, are lost with power.
	long, err := s.Packet(scp80.Script(s.Form, s.Put(ref(profile.File, 0x02), make([]byte, 400))...))
	require.NoError(t, err)
	if parts, err = scp80.Split(long, 2); err != nil || len(parts) < 3 {
		t.Fatal(err, len(parts))
	}
	must(t, card, enveloped(parts[0]))
	card.Reset()
	for _, p := range parts[1:] {
		require.Equal(t, "9000", card.Transmit(enveloped(p)))
	}
	require.Contains(t, card.Transmit(enveloped(parts[0])), "027100", "now it is whole")
	blocks := s.Put(ref(profile.File, 0x02), make([]byte, 400))
	runScript(t, s, blocks[:1])
	card.PowerOn()
	_, err = s.Run(context.Background(), blocks[1])
	require.ErrorIs(t, err, &ota.CommandError{SW: sdk.ConditionsNotSatisfied})
}

// TestToolkit: ENVELOPE and its friends, with classes, channels and wrong data.
func TestToolkit(t *testing.T) {
	card := newCard(t)
	s := administrator(t, card, "operator")
	packet := func() []byte {
		p, err := s.Packet(nil)
		require.NoError(t, err)
		parts, err := scp80.Split(p, 1)
		require.NoError(t, err)
		return parts[0]
	}
	card.Reset() // no applet is selected
	for _, cla := range []string{"80", "00", "A0"} {
		require.Contains(t, card.Transmit(cla+enveloped(packet())[2:]), "027100", cla)
	}
	require.Equal(t, "6881", card.Transmit("81"+enveloped(packet())[2:]))
	must(t, card, "0070000001")
	require.Contains(t, card.Transmit("81"+enveloped(packet())[2:]), "027100")
	for _, c := range []struct{ name, command, want string }{
		{"class", "84C20000028000", "6985"},
		{"P1", "80C20100028000", "6A86"},
		{"without data", "80C20000", "6700"},
		{"not TLV", "80C2000001D1", "6A80"},
		{"another envelope", "80C2000002D200", "6A80"},
		{"no packet", enveloped([]byte{2, 1, 0, 65}), "6985"},
		{"a response packet", enveloped([]byte{2, 0x71, 0, 65}), "6985"},
		{"broken header", enveloped([]byte{9, 0x70, 0}), "6A80"},
		{"wrong part", enveloped([]byte{5, 0, 3, 1, 2, 3, 65}), "6A80"},
		{"profile", "801000000BFFFFFFFFFFFFFFFFFFFFFF", "9000"},
		{"FETCH of nothing", "8012000000", "6985"},
		{"TERMINAL RESPONSE to nothing", "801400000C810301130082028281830100", "6985"},
	} {
		require.Equal(t, c.want, card.Transmit(c.command), c.name)
	}

	s.Header.SPI[1] |= 0x20
	got := card.Transmit(enveloped(packet()))
	require.Regexp(t, "^91..$", got)
	require.Equal(t, got, card.Transmit("801000000100"), "until it is fetched")
	require.Equal(t, "6C"+got[2:], card.Transmit("8012000001"))
	command := must(t, card, "80120000"+got[2:])
	require.Regexp(t, "^D0..8103011300820281830500", command)
	require.Equal(t, "6A80", card.Transmit("801400000C810301210082028281830100"))
	must(t, card, "801400000C810301130082028281830100")
	for range maxProactive {
		require.Regexp(t, "^91..$", card.Transmit(enveloped(packet())))
	}
	require.Equal(t, "9300", card.Transmit(enveloped(packet())))
	card.Reset()
	require.Equal(t, "6985", card.Transmit("8012000000"))
}

// TestOverHTTP: POST /ota, and what is wrong with it.
func TestOverHTTP(t *testing.T) {
	card := newCard(t)
	s := administrator(t, card, "operator")
	for _, c := range []struct {
		method, media string
		body          []byte
		status        int
	}{
		{"GET", "application/octet-stream", nil, 405}, {"PUT", "application/octet-stream", nil, 405}, {"POST", "text/plain", []byte("x"), 415}, {"POST", "application/octet-stream", nil, 400},
		{"POST", "application/octet-stream", make([]byte, 30), 400}, {"POST", "application/octet-stream", make([]byte, maxPacket+1), 413},
	} {
		res, b := post(t, card, c.method, c.media, c.body)
		require.Equal(t, c.status, res.StatusCode, string(b))
		require.Equal(t, "application/problem+json", res.Header.Get("Content-Type"))
	}
	s.Header.SPI[1] = 0
	packet, err := s.Packet(nil)
	require.NoError(t, err)
	res, b := post(t, card, "POST", "application/octet-stream; x=y", packet)
	require.Equal(t, 204, res.StatusCode)
	require.Empty(t, b)
	require.Equal(t, uint64(1), counterOf(t, card, 4))
	require.Equal(t, "operator, counter 1: done", string(card.Events[len(card.Events)-1].Data))
}

// TestSecretNeedsCiphering: a secret key is not taken when others can read it.
func TestSecretNeedsCiphering(t *testing.T) {
	change := []string{"    tar: 494F53\n", "    tar: 494F53\n    security: [checksum, counter-higher]\n"}
	card := newCard(t, change...)
	s := administrator(t, card, "service provider", change...)
	_, err := s.Run(context.Background(), s.Put(ref(profile.Secret, 0x41), []byte("key"))...)
	require.ErrorIs(t, err, &ota.CommandError{SW: apdu.SecurityNotSatisfied})
	s.Header.SPI[0] |= 4
	runScript(t, s, s.Put(ref(profile.Secret, 0x41), []byte("key")))
}

// TestDomainKeys: keys of domains differ, and none shows.
func TestDomainKeys(t *testing.T) {
	p := profileOf(t)
	seen := map[string]bool{}
	for i := range p.Domains {
		k := p.DomainKeys(&p.Domains[i])
		for _, b := range [][]byte{k.KIc, k.KID} {
			require.False(t, seen[string(b)])
			seen[string(b)] = true
		}
	}
	card := newCard(t)
	var all []byte
	for _, f := range []string{"application/json", "text/html"} {
		for _, path := range []string{"/", "/status"} {
			_, b := get(t, card, "GET", path, f)
			all = append(all, b...)
		}
	}
	for _, e := range card.Events {
		all = append(all, e.Data...)
	}
	for _, v := range card.NVM() {
		all = append(all, v...)
	}
	for k := range maps.Keys(seen) {
		require.False(t, bytes.Contains(all, []byte(k)))
		require.NotContains(t, strings.ToUpper(string(all)), upper([]byte(k)))
	}
}

// FuzzRemote: whatever comes as short message, packet or script, the card answers, and
// what is not the domain's stays as it was.
func FuzzRemote(f *testing.F) {
	card := newCard(f)
	s := administrator(f, card, "public cloud A")
	for _, l := range [][][]byte{s.Generate(ref(profile.Private, 1)), s.Put(ref(profile.File, 2), []byte("abc")), s.Delete(ref(profile.File, 3)), s.Put(ref(profile.Public, 7), profile.EncodePublic(publicOf(f)))} {
		for _, form := range []scp80.Form{scp80.Compact, scp80.Definite, scp80.Indefinite} {
			f.Add(scp80.Script(form, l...))
		}
	}
	f.Add([]byte{0x80, 0xCB, 1, 0, 0, 0, 0xC0, 0, 0, 0})
	f.Add([]byte{0x80, 0xE2, 0x80, 0, 1, 0}) // filling for a reference
	f.Add([]byte{0x81, 3, 0x80, 0, 0x30})    // a trigger without an identity
	card = nil
	mine := map[string]bool{domainName(0): true}
	for _, i := range profileOf(f).Domains[0].Containers {
		mine[objectName(i)] = true
	}
	others := func() map[string][]byte {
		m := card.NVM()
		for k := range mine {
			delete(m, k)
		}
		return m
	}
	var before map[string][]byte
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 600 {
			return
		}
		if card == nil {
			card = newCard(t)
			before = others()
			s.Counter = 0
		}
		card.Reset() // what waits for the terminal is gone, and so is a visit
		packet, err := s.Packet(b)
		require.NoError(t, err)
		parts, err := scp80.Split(packet, 1)
		require.NoError(t, err)
		var out []byte
		for _, p := range parts {
			out = card.Send(unhex(t, enveloped(p)))
		}
		require.Greater(t, len(out), 20)
		_, err = s.Check(out[3 : len(out)-2])
		if len(b) > 0 && b[0] == 0x81 && err != nil { // a trigger that leads nowhere
			require.ErrorIs(t, err, &ota.StatusError{Status: scp80.SecurityError})
		} else {
			require.NoError(t, err)
		}
		card.Transmit(enveloped(append([]byte{2, 0x70, 0}, b[:min(len(b), 130)]...)))
		require.Equal(t, before, others())
	})
}
