package iot

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/bundles/iot/host"
	"github.com/sspemu/sspemu/bundles/iot/iotsafe"
	"github.com/sspemu/sspemu/bundles/iot/ota"
	"github.com/sspemu/sspemu/bundles/iot/profile"
	"github.com/sspemu/sspemu/bundles/sdk/sdktest"
	"github.com/sspemu/sspemu/internal/apdu"
	"github.com/sspemu/sspemu/internal/cat"
	"github.com/sspemu/sspemu/internal/scp80"
	"github.com/sspemu/sspemu/internal/tlspsk"
)

// triggered is the terminal of a card whose domain was triggered; sw is what the trigger
// was answered with.
func triggered(t testing.TB, card *sdktest.Card, domain string, address *net.TCPAddr, replace ...string) (b *host.Bearer, sw apdu.SW) {
	b, sw, err := trying(t, card, domain, address, replace...)
	require.NoError(t, err)
	return b, sw
}

func trying(t testing.TB, card *sdktest.Card, domain string, address *net.TCPAddr, replace ...string) (b *host.Bearer, sw apdu.SW, err error) {
	p := profileOf(t, replace...)
	b = &host.Bearer{Transmit: func(_ context.Context, c []byte) ([]byte, error) { return card.Send(c), nil }, Tell: t.Logf}
	s := ota.New(p, p.Domain(domain), func(ctx context.Context, packet []byte) ([]byte, error) {
		parts, err := scp80.Split(packet, 1)
		require.NoError(t, err)
		require.Len(t, parts, 1)
		m := scp80.Deliver{From: []byte{4, 0x81, 0x21, 0x43}, PID: scp80.PIDDownload, DCS: scp80.DCSDownload, UserData: parts[0]}
		e := scp80.Envelope{TPDU: m.Append(nil)}
		var data []byte
		data, sw, err = b.Send(ctx, apdu.Command{CLA: 0x80, INS: 0xC2, Data: e.Append(nil), Ne: 256})
		require.NoError(t, err)
		return data[3:], nil
	})
	n, _ := counterOfDomain(card, p, domain)
	s.Counter = n
	err = s.Trigger(context.Background(), address)
	return b, sw, err
}

func counterOfDomain(card *sdktest.Card, p *profile.Profile, domain string) (n uint64, ok bool) {
	for i := range p.Domains {
		if p.Domains[i].Name == domain {
			for _, x := range card.NVM()[domainName(i)] {
				n = n<<8 | uint64(x)
			}
			return n, true
		}
	}
	return 0, false
}

// listening is a server for visits.
func listening(t testing.TB, v *ota.Visits) *net.TCPAddr {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	done := make(chan error, 1)
	go func() { done <- v.Serve(l) }()
	t.Cleanup(func() {
		_ = l.Close()
		require.NoError(t, <-done)
	})
	return l.Addr().(*net.TCPAddr)
}

// TestVisit: a trigger has the card visit its server, which puts a certificate, makes a key
// and asks for the list; with each cipher suite.
func TestVisit(t *testing.T) {
	for suite, word := range map[uint16]string{tlspsk.AES128GCM: "aes128-gcm", tlspsk.AES128CBC: "aes128-cbc", tlspsk.Null: "null-sha256"} {
		t.Run(word, func(t *testing.T) {
			replace := []string{"https: {identity: device-0001.cloud-a.example}", "https: {identity: device-0001.cloud-a.example, suites: [" + word + "]}"}
			card := newCard(t, replace...)
			p := profileOf(t, replace...)
			v := &ota.Visits{Profile: p, Suites: []uint16{suite}, Tell: t.Logf}
			address := listening(t, v)
			s := ota.New(p, p.Domain("public cloud A"), nil)
			content := bytes.Repeat([]byte("certificate "), 130)
			v.Add("public cloud A", s.Put(ref(profile.File, 0x02), content)...)
			v.Add("public cloud A", s.Generate(ref(profile.Private, 0x01))...)
			v.Add("public cloud A", []byte{0x80, 0xCB, 0x01, 0x00, 0x00})
			v.Add("public cloud A", s.Delete(ref(profile.File, 0x12))...) // another domain's
			b, sw := triggered(t, card, "public cloud A", address, replace...)
			require.Equal(t, apdu.ProactivePending, sw&0xFF00)
			require.NoError(t, b.Run(context.Background(), sw))
			r := v.Results("public cloud A")
			require.Len(t, r, 4)
			for i, x := range r {
				require.NoError(t, x.Err)
				last := x.Result.Responses[len(x.Result.Responses)-1]
				_, sw, _ := apdu.Status(last)
				if i == 3 {
					require.Equal(t, apdu.FileNotFound, sw)
				} else {
					require.Contains(t, []apdu.SW{apdu.OK, iotsafe.SWMoreData}, sw)
				}
			}
			require.Equal(t, "9000", card.Transmit(selectApplet))
			require.Equal(t, content, readFile(t, card, 2))
			require.NotEqual(t, p.Containers[p.Find(profile.Private, []byte{1})].Value, ota.Answer(r[1].Result))
			b, sw = triggered(t, card, "public cloud A", address, replace...) // and once more
			require.NoError(t, b.Run(context.Background(), sw))
			require.Equal(t, "public cloud A, HTTPS: done, 0 scripts", lastEvent(card))
		})
	}
}

// lastEvent is the end of the last visit.
func lastEvent(card *sdktest.Card) string {
	for i := len(card.Events) - 1; i >= 0; i-- {
		if s := string(card.Events[i].Data); strings.Contains(s, "HTTPS") {
			return s
		}
	}
	return ""
}

// TestVisitOpenSSL: openssl s_server is the server, and a person types what it says.
func TestVisitOpenSSL(t *testing.T) {
	p := profileOf(t)
	d := p.Domain("service provider")
	identity, key := p.AdministrationKey(d)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := l.Addr().(*net.TCPAddr)
	require.NoError(t, l.Close())
	cmd := exec.Command("openssl", "s_server", "-accept", address.String(), "-nocert", "-quiet", "-tls1_2", "-cipher", "PSK-AES128-CBC-SHA256", "-psk", hex.EncodeToString(key), "-psk_identity", string(identity))
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start(), "apt-get install openssl")
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	heard := bufio.NewReader(out)
	request := func() (lines []string) {
		for {
			s, err := heard.ReadString('\n')
			require.NoError(t, err)
			if s = strings.TrimSpace(s); s == "" {
				return lines
			}
			lines = append(lines, s)
		}
	}
	card := newCard(t)
	b, sw := triggered(t, card, "service provider", address)
	b.Dial = func(_ context.Context, a string) (c net.Conn, err error) {
		require.Eventually(t, func() bool { c, err = net.Dial("tcp", a); return err == nil }, 10*time.Second, 20*time.Millisecond)
		return c, err
	}
	done := make(chan error, 1)
	go func() { done <- b.Run(context.Background(), sw) }()
	lines := request()
	require.Equal(t, "POST /sam HTTP/1.1", lines[0])
	require.Contains(t, lines, "X-Admin-Protocol: globalplatform-remote-admin/1.0")
	require.Contains(t, lines, "X-Admin-From: //se-id/service provider")
	script := scp80.Script(scp80.Definite, ota.New(p, d, nil).Generate(ref(profile.Private, 0x51))[0])
	fmt.Fprintf(in, "HTTP/1.1 200 OK\r\nX-Admin-Protocol: globalplatform-remote-admin/1.0\r\nX-Admin-Next-URI: /next\r\nContent-Type: application/vnd.globalplatform.card-content-mgt;version=1.0\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(script), script)
	lines = request()
	require.Equal(t, "POST /next HTTP/1.1", lines[0])
	require.Contains(t, lines, "X-Admin-Script-Status: ok")
	first, err := heard.Peek(1)
	require.NoError(t, err)
	require.Equal(t, byte(0xAB), first[0], "a response scripting template")
	_, err = io.WriteString(in, "HTTP/1.1 204 No Content\r\n\r\n")
	require.NoError(t, err)
	require.NoError(t, <-done)
	require.Equal(t, "service provider, HTTPS: done, 1 scripts", lastEvent(card))
	require.NotEqual(t, "6985", card.Transmit("80CD0000038501 51 00"))
}

// saying is a server that gives answers one after another, and then leaves; "" closes the
// session. It hands out what it was asked.
func saying(t *testing.T, p *profile.Profile, answers ...string) (*net.TCPAddr, func() []string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	requests := make(chan []string, 1)
	go func() {
		var heard []string
		defer func() { requests <- heard }()
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		identity, key := p.AdministrationKey(p.Domain("public cloud A"))
		s := tlspsk.Server(tlspsk.Config{Random: func(b []byte) { clear(b) }, Lookup: func(id []byte) []byte {
			if !bytes.Equal(id, identity) {
				return nil
			}
			return key
		}})
		buf := make([]byte, 4096)
		for {
			n, err := c.Read(buf)
			if err != nil || s.Feed(buf[:n]) != nil {
				return
			}
			if b := s.Read(); len(b) > 0 {
				heard = append(heard, string(b))
				if len(answers) == 0 {
					return
				}
				_ = s.Write([]byte(answers[0]))
				if answers[0] == "" {
					s.Close()
				}
				answers = answers[1:]
			}
			if _, err := c.Write(s.Output()); err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() { _ = l.Close() })
	return l.Addr().(*net.TCPAddr), func() []string { return <-requests }
}

// TestVisitTalk: what a server asks for with its headers, and what the card says then.
func TestVisitTalk(t *testing.T) {
	p := profileOf(t)
	const (
		script = "HTTP/1.1 200 OK\r\nX-Admin-Protocol: globalplatform-remote-admin/1.0\r\nContent-Type: application/vnd.globalplatform.card-content-mgt;version=1.0\r\nContent-Length: 9\r\n"
		list   = "\r\n\xAA\x07\x22\x05\x80\xCB\x01\x00\x00"
		end    = "HTTP/1.1 204 No Content\r\nX-Admin-Protocol: globalplatform-remote-admin/1.0\r\n\r\n"
		result = "Content-Type: application/vnd.globalplatform.card-content-mgt-response;version=1.0\r\n"
	)
	for _, v := range []struct {
		name    string
		answers []string
		want    [][2]string // of each request behind the first: what it begins with, what it holds
		why     string
	}{
		{"the applet by name", []string{script + "X-Admin-Targeted-Application: //aid/A000000559/0010\r\nX-Admin-Next-URI: /s?apdu=2\r\n" + list, end},
			[][2]string{{"POST /s?apdu=2 HTTP/1.1\r\n", "X-Admin-Script-Status: ok\r\n" + result}}, "done, 1 scripts"},
		{"another application", []string{script + "X-Admin-Targeted-Application: //aid/A000000151/000000\r\nX-Admin-Next-URI: /next\r\n" + list, end},
			[][2]string{{"POST /next HTTP/1.1\r\n", "X-Admin-Script-Status: unknown-application\r\nContent-Length: 0\r\n\r\n"}}, "done, 1 scripts"},
		{"nothing yet", []string{strings.Replace(end, "\r\n\r\n", "\r\nX-Admin-Next-URI: /later\r\n\r\n", 1), end},
			[][2]string{{"POST /later HTTP/1.1\r\n", "device-0001\r\nContent-Length: 0\r\n\r\n"}}, "done, 0 scripts"},
		{"result not wanted", []string{script + list}, nil, "done, 1 scripts"},
		{"next URI in two words", []string{script + "X-Admin-Next-URI: /a b\r\n" + list}, nil, errHTTP.Error()},
		{"next URI of elsewhere", []string{script + "X-Admin-Next-URI: http://elsewhere/\r\n" + list}, nil, errHTTP.Error()},
	} {
		t.Run(v.name, func(t *testing.T) {
			replace := []string{"https: {identity: device-0001.cloud-a.example}", "https: {identity: device-0001.cloud-a.example, agent: //se-id/eid/device-0001}"}
			card := newCard(t, replace...)
			address, requests := saying(t, p, v.answers...)
			b, sw := triggered(t, card, "public cloud A", address, replace...)
			require.NoError(t, b.Run(context.Background(), sw))
			require.Equal(t, "public cloud A, HTTPS: "+v.why, lastEvent(card))
			heard := requests()
			require.Len(t, heard, 1+len(v.want))
			require.Equal(t, "POST /administration HTTP/1.1\r\nHost: admin.example\r\nX-Admin-Protocol: globalplatform-remote-admin/1.0\r\nX-Admin-From: //se-id/eid/device-0001\r\nContent-Length: 0\r\n\r\n", heard[0])
			for i, w := range v.want {
				require.True(t, strings.HasPrefix(heard[i+1], w[0]), heard[i+1])
				require.Contains(t, heard[i+1], w[1])
			}
		})
	}
}

// TestTrigger: triggers octet by octet, as servers and cards in the field have them
// (Amendment B 4.7, tables 4-3 to 4-10); the retry policy is one that was read from a card.
func TestTrigger(t *testing.T) {
	for _, v := range []struct {
		data string
		want parameters
		ok   bool
	}{
		{data: "8100", ok: true},
		{"8102 8300", parameters{}, true},
		{"8110 830E 840C BC03021FBC BE05217F000001", parameters{connection: unhex(t, "BC03021FBCBE05217F000001")}, true},
		{"8132 8330 8508 04 69636331 02 4001 8607 0001 2503001000 891B 8A09 6C6F63616C686F7374 8B06 2F2F73652F31 8C06 2F613F623D63",
			parameters{identity: []byte("icc1"), host: []byte("localhost"), agent: []byte("//se/1"), uri: []byte("/a?b=c")}, true},
		{"8105 8303 850105", parameters{bad: true}, true},
		{"8107 8305 8903 8C0161", parameters{uri: []byte("a"), bad: true}, true},
		{"8107 8305 8903 8A010A", parameters{host: []byte("\n"), bad: true}, true},
		{"8103 8305 84", parameters{bad: true}, true},
		{data: "8100 00"}, {data: "80CB010000"}, {data: "AA00"}, {data: "81"}, {data: ""},
	} {
		p, ok := trigger(unhex(t, strings.ReplaceAll(v.data, " ", "")))
		require.Equal(t, v.ok, ok, v.data)
		if v.ok {
			require.Equal(t, v.want, p, v.data)
		}
	}
}

// TestVisitChannel: the card speaks on the channel that the terminal gives it, and minds
// the events of no other one; the hello is a client's of TLS 1.2.
func TestVisitChannel(t *testing.T) {
	card := newCard(t)
	_, sw := triggered(t, card, "public cloud A", nil)
	fetch := func(sw apdu.SW) (b []byte) {
		t.Helper()
		require.Equal(t, apdu.ProactivePending, sw&0xFF00)
		b, sw, _ = apdu.Status(unhex(t, card.Transmit(fmt.Sprintf("80120000%02X", byte(sw)))))
		require.Equal(t, apdu.OK, sw)
		return b
	}
	send := func(ins string, data []byte) apdu.SW {
		_, sw, _ := apdu.Status(unhex(t, card.Transmit(fmt.Sprintf("80%s0000%02X%X", ins, len(data), data))))
		return sw
	}
	require.Equal(t, unhex(t, "D00D8103010500820281829902090A"), fetch(sw))
	sw = send("14", cat.Response(cat.SetUpEventList, 0, []byte{cat.Done}, nil))
	require.Equal(t, unhex(t, "D01C810301400182028182B50103B9020400BC030220FCBE05217F000001"), fetch(sw))
	sw = send("14", cat.Response(cat.OpenChannel, cat.Immediately, []byte{cat.Done}, cat.Object(nil, cat.TagChannel, cat.Established|2, 0)))
	hello := fetch(sw)
	typ, _, to, objects, ok := cat.Parse(hello)
	require.True(t, ok)
	require.Equal(t, []byte{cat.SendData, 0x22}, []byte{typ, to})
	require.Equal(t, []byte{0x16, 3, 3}, cat.Find(objects, cat.TagChannelData)[:3])
	require.Equal(t, apdu.OK, send("14", cat.Response(cat.SendData, cat.Immediately, []byte{cat.Done}, nil)))
	// A report by short message comes between; what the server sent meanwhile is not forgotten.
	p := profileOf(t)
	s := ota.New(p, p.Domain("operator"), nil)
	s.Header.SPI[1] |= 0x20
	packet, err := s.Packet(scp80.Script(scp80.Definite, unhex(t, "80CB010000")))
	require.NoError(t, err)
	parts, err := scp80.Split(packet, 1)
	require.NoError(t, err)
	e := scp80.Envelope{TPDU: (&scp80.Deliver{From: []byte{4, 0x81, 0x21, 0x43}, PID: scp80.PIDDownload, DCS: scp80.DCSDownload, UserData: parts[0]}).Append(nil)}
	sw = send("C2", e.Append(nil))
	available := cat.Event(cat.DataAvailable, cat.Object(cat.Object(nil, cat.TagChannel, cat.Established|2, 0), cat.TagDataLength, 5))
	require.Equal(t, sw, send("C2", available))
	fetch(sw)
	require.Equal(t, unhex(t, "D00C810301420082028122B70105"), fetch(send("14", cat.Response(typeSendShortMessage, 0, []byte{cat.Done}, nil))))
	require.Equal(t, apdu.OK, send("14", cat.Response(cat.ReceiveData, 0, []byte{cat.Done}, cat.Object(cat.Object(nil, cat.TagChannelData, 0x16, 3, 3, 0, 0x31), cat.TagDataLength, 0))))
	require.Equal(t, apdu.OK, send("C2", cat.Event(cat.ChannelStatus, cat.Object(nil, cat.TagChannel, 1, cat.LinkDropped))), "another channel")
	require.Equal(t, unhex(t, "D009810301410082028122"), fetch(send("C2", cat.Event(cat.ChannelStatus, cat.Object(nil, cat.TagChannel, 2, cat.LinkDropped)))))
	require.Equal(t, apdu.OK, send("14", cat.Response(cat.CloseChannel, 0, []byte{cat.Done}, nil)))
	require.Equal(t, "public cloud A, HTTPS: the server has gone", lastEvent(card))
}

// TestVisitRefused: servers, terminals and triggers that are wrong. What the card had
// stays as it was, and it can be triggered again.
func TestVisitRefused(t *testing.T) {
	p := profileOf(t)
	card := newCard(t)
	before := card.NVM()
	whole := func(t *testing.T) {
		t.Helper()
		now := card.NVM()
		for i := range p.Domains {
			delete(now, domainName(i))
			delete(before, domainName(i))
		}
		require.Equal(t, before, now)
	}
	answers := func(t *testing.T, answer string) {
		address, _ := saying(t, p, answer)
		b, sw := triggered(t, card, "public cloud A", address)
		require.NoError(t, b.Run(context.Background(), sw))
	}
	const ok = "HTTP/1.1 200 OK\r\nX-Admin-Protocol: globalplatform-remote-admin/1.0\r\nContent-Type: application/vnd.globalplatform.card-content-mgt;version=1.0\r\n"
	for _, v := range []struct{ name, answer, why string }{
		{"no HTTP", "hello, who is there?\r\n\r\n", errHTTP.Error()},
		{"not found", "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", errHTTP.Error()},
		{"no protocol", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", errHTTP.Error()},
		{"no length", ok + "\r\n", errHTTP.Error()},
		{"long", ok + "Content-Length: 9000\r\n\r\n" + strings.Repeat("x", 9000), errLong.Error()},
		{"endless head", "HTTP/1.1 200 OK\r\n" + strings.Repeat("X: y\r\n", 3000), errLong.Error()},
		{"ends in the middle", "", "the server ended the session in the middle"},
	} {
		t.Run(v.name, func(t *testing.T) {
			answers(t, v.answer)
			require.Equal(t, "public cloud A, HTTPS: "+v.why, lastEvent(card))
			whole(t)
		})
	}
	t.Run("script that is none", func(t *testing.T) {
		answers(t, ok+"Content-Length: 2\r\n\r\n\xAA\x05")
		whole(t)
	})
	t.Run("wrong key", func(t *testing.T) {
		other := profileOf(t, "https: {identity: device-0001.cloud-a.example}", "https: {identity: device-0001.cloud-a.example, key: 00112233445566778899AABBCCDDEEFF}")
		b, sw := triggered(t, card, "public cloud A", listening(t, &ota.Visits{Profile: other}))
		require.NoError(t, b.Run(context.Background(), sw))
		require.Equal(t, "public cloud A, HTTPS: tlspsk: the peer ended the session: bad_record_mac", lastEvent(card))
		whole(t)
	})
	t.Run("unknown identity", func(t *testing.T) {
		other := profileOf(t, "identity: device-0001.cloud-a.example", "identity: somebody")
		b, sw := triggered(t, card, "public cloud A", listening(t, &ota.Visits{Profile: other}))
		require.NoError(t, b.Run(context.Background(), sw))
		require.Equal(t, "public cloud A, HTTPS: tlspsk: the peer ended the session: unknown_psk_identity", lastEvent(card))
	})
	t.Run("nobody there", func(t *testing.T) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		a := l.Addr().(*net.TCPAddr)
		require.NoError(t, l.Close())
		b, sw := triggered(t, card, "public cloud A", a)
		require.NoError(t, b.Run(context.Background(), sw))
		require.Equal(t, "public cloud A, HTTPS: the terminal opens no channel", lastEvent(card))
	})
	t.Run("twice", func(t *testing.T) {
		triggered(t, card, "public cloud A", nil)
		_, _, err := trying(t, card, "service provider", nil)
		require.ErrorIs(t, err, &ota.StatusError{Status: scp80.MoreTime})
		card.Reset() // with it the session is gone
		require.Equal(t, "6985", card.Transmit("8012000000"))
	})
	t.Run("no server", func(t *testing.T) {
		s := administrator(t, card, "private cloud")
		require.ErrorIs(t, s.Trigger(context.Background(), nil), &ota.StatusError{Status: scp80.SecurityError})
	})
	t.Run("another identity", func(t *testing.T) {
		s := administrator(t, card, "public cloud A")
		s.Counter, _ = counterOfDomain(card, p, "public cloud A")
		for _, data := range []string{"8109 8307 8505 04 69636331", "8107 8305 8903 8C0161"} {
			packet, err := s.Packet(unhex(t, strings.ReplaceAll(data, " ", "")))
			require.NoError(t, err)
			answer, err := s.Send(context.Background(), packet)
			require.NoError(t, err)
			_, err = s.Check(answer)
			require.ErrorIs(t, err, &ota.StatusError{Status: scp80.SecurityError})
		}
	})
	t.Run("events of nobody", func(t *testing.T) {
		for _, data := range [][]byte{cat.Event(cat.DataAvailable, nil), cat.Event(cat.ChannelStatus, nil), cat.Event(0x04, nil)} {
			require.Equal(t, "9000", card.Transmit(fmt.Sprintf("80C20000%02X%X", len(data), data)))
		}
		require.Equal(t, "6A80", card.Transmit("80C2000003D60199"))
		require.Equal(t, "6A80", card.Transmit("80C2000002D600"))
	})
}

// FuzzAnswer gives a visiting card anything as the answer of its server: the visit ends,
// the card goes on, and other domains have what they had.
func FuzzAnswer(f *testing.F) {
	const head = "HTTP/1.1 200 OK\r\nX-Admin-Protocol: globalplatform-remote-admin/1.0\r\nContent-Type: application/vnd.globalplatform.card-content-mgt;version=1.0\r\n"
	f.Add([]byte("HTTP/1.1 204 No Content\r\n\r\n"))
	f.Add([]byte(head + "Content-Length: 9\r\n\r\n\xAA\x07\x22\x05\x80\xCB\x01\x00\x00"))
	f.Add([]byte(head + "Transfer-Encoding: chunked\r\nX-Admin-Next-URI: /\r\n\r\n3\r\n\xAE\x80\x00\r\n1\r\n\x00\r\n0\r\n\r\n"))
	f.Add([]byte("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.0 404 Not Found\r\nContent-Length: -1\r\n\r\n"))
	p := profileOf(f)
	d := p.Domain("public cloud A")
	_, key := p.AdministrationKey(d)
	other := fmt.Sprintf("o/%d", p.Find(profile.File, []byte{0x12}))
	f.Fuzz(func(t *testing.T, answer []byte) {
		card := newCard(t)
		before := card.NVM()[other]
		b, sw := triggered(quiet{t}, card, d.Name, nil)
		b.Idle = time.Second
		b.Dial = func(context.Context, string) (net.Conn, error) {
			here, there := net.Pipe()
			go func() {
				defer there.Close()
				s := tlspsk.Server(tlspsk.Config{Random: func(b []byte) { clear(b) }, Lookup: func([]byte) []byte { return key }})
				buf := make([]byte, 4096)
				for requests := 0; requests < 3; {
					n, err := there.Read(buf)
					if err != nil || s.Feed(buf[:n]) != nil {
						return
					}
					if len(s.Read()) > 0 {
						requests++
						_ = s.Write(answer)
					}
					if _, err := there.Write(s.Output()); err != nil {
						return
					}
				}
			}()
			return here, nil
		}
		if err := b.Run(context.Background(), sw); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(before, card.NVM()[other]) {
			t.Fatal("another domain's file has changed")
		}
		if s := card.Transmit(selectApplet); s != "9000" {
			t.Fatal(s)
		}
	})
}

// FuzzTrigger: whatever a packet holds is a trigger or none, and what it says can stand in a
// request.
func FuzzTrigger(f *testing.F) {
	f.Add(unhex(f, "8100"))
	f.Add(unhex(f, "81128310840CBC03021FBCBE05217F0000018600"))
	f.Add(unhex(f, "813283308508046963633102400186070001250300100089"+"1B8A096C6F63616C686F73748B062F2F73652F318C062F613F623D63"))
	f.Fuzz(func(t *testing.T, in []byte) {
		p, ok := trigger(in)
		if !ok || p.bad {
			return
		}
		for _, b := range [][]byte{p.host, p.agent, p.uri} {
			if bytes.ContainsAny(b, "\r\n\x00") {
				t.Fatalf("%q", b)
			}
		}
	})
}

// FuzzTerminal: whatever a terminal answers and reports in the middle of a visit, the card
// goes on.
func FuzzTerminal(f *testing.F) {
	opened := cat.Response(cat.OpenChannel, cat.Immediately, []byte{cat.Done}, cat.Object(nil, cat.TagChannel, cat.Established|1, 0))
	f.Add(opened, cat.Response(cat.SendData, cat.Immediately, []byte{cat.Done}, nil), cat.Event(cat.DataAvailable, cat.Object(nil, cat.TagDataLength, 7)), cat.Response(cat.ReceiveData, 0, []byte{cat.Done}, cat.Object(nil, cat.TagChannelData, 0x15, 3, 3, 0, 2, 2, 40)))
	f.Add(opened, cat.Response(cat.SendData, cat.Immediately, []byte{cat.ChannelError}, nil), cat.Event(cat.ChannelStatus, cat.Object(nil, cat.TagChannel, 1, 5)), cat.Response(cat.CloseChannel, 0, []byte{cat.Done}, nil))
	f.Add(cat.Response(cat.OpenChannel, cat.Immediately, []byte{cat.ChannelError, 5}, nil), []byte{0xD6}, []byte{0x81, 3}, []byte{0})
	var card *sdktest.Card
	f.Fuzz(func(t *testing.T, a, b, c, d []byte) {
		if card == nil {
			card = newCard(t)
		}
		card.Reset()
		triggered(quiet{t}, card, "public cloud A", nil)
		send := func(ins byte, data []byte) {
			if len(data) > 255 {
				data = data[:255]
			}
			card.Send(append([]byte{0x80, ins, 0, 0, byte(len(data))}, data...))
		}
		fetch := func() { card.Send([]byte{0x80, 0x12, 0, 0, 0}) }
		fetch()
		send(0x14, cat.Response(cat.SetUpEventList, 0, []byte{cat.Done}, nil))
		for range 2 {
			for _, x := range [][]byte{a, b, c, d} {
				fetch()
				send(0x14, x)
				send(0xC2, x)
			}
		}
		if s := card.Transmit(selectApplet); s != "9000" {
			t.Fatal(s)
		}
	})
}

// quiet is a test whose log nobody wants.
type quiet struct{ *testing.T }

func (quiet) Logf(string, ...any) {}
