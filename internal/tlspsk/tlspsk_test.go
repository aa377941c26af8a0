package tlspsk

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var (
	key  = []byte("sixteen octets..")
	all  = []uint16{AES128GCM, AES128CBC, Null}
	name = []byte("card 1")
)

func random(b []byte) { _, _ = rand.Read(b) }

func client(suites ...uint16) *Conn {
	return Client(Config{Random: random, Suites: suites, Identity: name, Key: key})
}

func server(suites ...uint16) *Conn {
	return Server(Config{Random: random, Suites: suites, Lookup: func(id []byte) []byte {
		if bytes.Equal(id, name) {
			return key
		}
		return nil
	}})
}

// pump carries octets between two ends until both are silent, n of them at a time.
func pump(a, b *Conn, n int) (errA, errB error) {
	for range 100 {
		x, y := a.Output(), b.Output()
		if len(x)+len(y) == 0 {
			break
		}
		for ; len(x) > 0 && errB == nil; x = x[min(n, len(x)):] {
			errB = b.Feed(x[:min(n, len(x))])
		}
		for ; len(y) > 0 && errA == nil; y = y[min(n, len(y)):] {
			errA = a.Feed(y[:min(n, len(y))])
		}
	}
	return errA, errB
}

// TestPRF is the published vector of the TLS 1.2 function with SHA-256.
func TestPRF(t *testing.T) {
	secret, seed := unhex(t, "9bbe436ba940f017b17652849a71db35"), unhex(t, "a0ba9f936cda311827a6f796ffd5198c")
	require.Equal(t, "e3f229ba727be17b8d122620557cd453c2aab21d07c3d495329b52d4e61edb5a6b301791e90d35c9c9a46b4e14baf9af0fa022f7077def17abfd3797c0564bab4fbc91666e9def9b97fce34f796789baa48082d122ee42c5a72e5a5110fff70187347b66", hex.EncodeToString(prf(100, secret, "test label", seed)))
}

func unhex(t testing.TB, s string) []byte {
	b, err := hex.DecodeString(s)
	require.NoError(t, err)
	return b
}

// TestBothEnds: every suite, octets in pieces of every size, both ways, and the end.
func TestBothEnds(t *testing.T) {
	for _, s := range all {
		for _, n := range []int{1, 7, 100, 1 << 20} {
			c, d := client(s), server(s)
			a, b := pump(c, d, n)
			require.NoError(t, errors.Join(a, b))
			require.True(t, c.Established() && d.Established())
			require.Equal(t, s, c.Suite())
			require.Equal(t, name, d.Identity())
			long := bytes.Repeat([]byte("0123456789"), 5000)
			require.NoError(t, c.Write(long))
			require.NoError(t, d.Write([]byte("answer")))
			a, b = pump(c, d, n)
			require.NoError(t, errors.Join(a, b))
			require.Equal(t, long, d.Read())
			require.Equal(t, "answer", string(c.Read()))
			d.Close()
			a, b = pump(c, d, n)
			require.NoError(t, errors.Join(a))
			_ = b
			ended, err := c.Over()
			require.True(t, ended)
			require.NoError(t, err)
			require.ErrorIs(t, c.Write([]byte("more")), ErrState)
			require.ErrorIs(t, c.Feed([]byte("more")), ErrClosed)
		}
	}
}

// TestFragment: with 512 octets asked for, no record is longer.
func TestFragment(t *testing.T) {
	c, d := Client(Config{Random: random, Suites: []uint16{Null}, Identity: name, Key: key, Fragment: 512}), server(Null)
	a, b := pump(c, d, 1<<20)
	require.NoError(t, errors.Join(a, b))
	for x, y := range map[*Conn]*Conn{c: d, d: c} {
		require.NoError(t, x.Write(make([]byte, 1300)))
		out := x.Output()
		require.Len(t, out, 1300+3*(5+macSize))
		require.NoError(t, y.Feed(out))
	}
	d.fragment = maxPlain // an end that does not keep to it
	require.NoError(t, d.Write(make([]byte, 513)))
	require.EqualError(t, c.Feed(d.Output()), "tlspsk: record_overflow")
}

// TestHelloOfCard: the first message of a card that opens a session with its administrator,
// recorded (internal/cat has the command that it came in). It has 00AE and 00B0 beside older
// suites, and asks for fragments of 512 octets.
func TestHelloOfCard(t *testing.T) {
	d := server(all...)
	require.NoError(t, d.Feed(unhex(t, "160303003C010000380303AA43FAC410B6DABF952A1699E6D3AD1376061AA5E493DE2E1AA01C58964384DF00000A00AE008C008B00B0002C010000050001000101")))
	require.Equal(t, AES128CBC, d.Suite())
	require.Equal(t, 512, d.fragment)
	out := d.Output()
	require.Equal(t, unhex(t, "16030300310200002D0303"), out[:11])
	require.Equal(t, unhex(t, "0000AE000005000100010116030300040E000000"), out[43:])
}

// TestServerHello: what a client does not take from a server, with the alert for it.
func TestServerHello(t *testing.T) {
	random := strings.Repeat("00", 32)
	for _, v := range []struct {
		name, body string
		want       Alert
	}{
		{"good", "0303" + random + "0000A800", 0},
		{"TLS 1.1", "0302" + random + "0000A800", ProtocolVersion},
		{"another suite", "0303" + random + "00003C00", IllegalParameter},
		{"suite that was not offered", "0303" + random + "0000B000", IllegalParameter},
		{"compression", "0303" + random + "0000A801", IllegalParameter},
		{"extension that was not asked for", "0303" + random + "0000A800000400000000", UnsupportedExtension},
		{"fragments that were not asked for", "0303" + random + "0000A80000050001000101", IllegalParameter},
		{"extension twice", "0303" + random + "0000A80000080017000000170000", DecodeError},
		{"octets behind", "0303" + random + "0000A800000000", DecodeError},
		{"a long session", "0303" + random + "21" + strings.Repeat("00", 33) + "00A800", DecodeError},
		{"cut off", "0303" + random + "0000A8", DecodeError},
		{"renegotiation", "0303" + random + "0000A8000006FF0100020101", HandshakeFailure},
	} {
		c := client(AES128GCM)
		c.Output()
		b := unhex(t, v.body)
		b = append([]byte{serverHello, 0, 0, byte(len(b))}, b...)
		err := c.Feed(append([]byte{handshake, 3, 3, 0, byte(len(b))}, b...))
		if v.want == 0 {
			require.NoError(t, err, v.name)
			continue
		}
		require.EqualError(t, err, "tlspsk: "+v.want.String(), v.name)
		require.Equal(t, []byte{alertRecord, 3, 3, 0, 2, 2, byte(v.want)}, c.Output(), v.name)
	}
}

// TestAlerts: a warning changes nothing, close_notify ends a session well, and whatever is
// fatal ends it with its name.
func TestAlerts(t *testing.T) {
	for _, v := range []struct {
		alert []byte
		over  bool
		why   string
	}{
		{[]byte{1, 90}, false, ""}, {[]byte{1, 0}, true, ""}, {[]byte{2, 0}, true, ""},
		{[]byte{2, 40}, true, "tlspsk: the peer ended the session: handshake_failure"}, {[]byte{2, 255}, true, "tlspsk: the peer ended the session: alert 255"},
		{[]byte{3, 20}, true, "tlspsk: the peer ended the session: bad_record_mac"}, {[]byte{2}, true, "tlspsk: decode_error"}, {[]byte{2, 20, 0}, true, "tlspsk: decode_error"},
	} {
		c, d := client(AES128CBC), server(AES128CBC)
		a, b := pump(c, d, 1<<20)
		require.NoError(t, errors.Join(a, b))
		d.record(alertRecord, v.alert)
		err := c.Feed(d.Output())
		over, why := c.Over()
		require.Equal(t, v.over, over, v.alert)
		require.Equal(t, err, why, v.alert)
		if v.why == "" {
			require.NoError(t, err, v.alert)
		} else {
			require.EqualError(t, err, v.why)
		}
	}
}

// TestRefused: what ends a session, with the alert that each end names.
func TestRefused(t *testing.T) {
	ends := func(t *testing.T, c, d *Conn, want string) {
		t.Helper()
		a, b := pump(c, d, 1<<20)
		require.Equal(t, want, fmt.Sprint(a, " | ", b))
	}
	t.Run("wrong key", func(t *testing.T) {
		ends(t, Client(Config{Random: random, Identity: name, Key: []byte("sixteen octets.!")}), server(all...), "tlspsk: the peer ended the session: bad_record_mac | tlspsk: bad_record_mac")
	})
	t.Run("unknown identity", func(t *testing.T) {
		ends(t, Client(Config{Random: random, Identity: []byte("card 2"), Key: key}), server(all...), "tlspsk: the peer ended the session: unknown_psk_identity | tlspsk: unknown_psk_identity")
	})
	t.Run("no suite", func(t *testing.T) {
		ends(t, client(Null), server(AES128CBC), "tlspsk: the peer ended the session: handshake_failure | tlspsk: handshake_failure")
	})
	t.Run("no key", func(t *testing.T) {
		ends(t, Client(Config{Random: random, Identity: name}), server(all...), "tlspsk: internal_error | tlspsk: the peer ended the session: internal_error")
	})
	for _, v := range []struct {
		in   string
		want Alert
	}{
		{"1603010000", UnexpectedMessage}, {"17030300020102", UnexpectedMessage}, {"140303000101", UnexpectedMessage}, {"150303000102", DecodeError},
		{"1602000001", ProtocolVersion}, {"160303ffff", RecordOverflow}, {"1603030004ffffffff", IllegalParameter}, {"160303000401000000", DecodeError},
		{"16030300060100000203ff", 0}, {"1803030001ff", UnexpectedMessage}, {"16030300060100000203ff16", 0}, {"1603030006010000020301", ProtocolVersion},
	} {
		d := server(all...)
		err := d.Feed(unhex(t, v.in))
		var e *Error
		if v.want == 0 {
			v.want = DecodeError // a hello of two octets
		}
		require.ErrorAs(t, err, &e, v.in)
		require.Equal(t, v.want, e.Alert, v.in)
		require.NotEmpty(t, d.Output())
		require.ErrorIs(t, d.Feed([]byte{1}), err)
	}
}

// TestTouched: a session ends when any octet of a record is another, when one comes twice
// or is left out.
func TestTouched(t *testing.T) {
	for _, s := range all {
		session := func() (c, d *Conn, record []byte) {
			c, d = client(s), server(s)
			a, b := pump(c, d, 1<<20)
			require.NoError(t, errors.Join(a, b))
			require.NoError(t, c.Write([]byte("a secret of the administrator")))
			return c, d, c.Output()
		}
		_, _, r := session()
		for i := 5; i < len(r); i++ {
			_, d, r := session()
			r[i] ^= 1
			require.EqualError(t, d.Feed(r), "tlspsk: bad_record_mac", "%s %d", SuiteName(s), i)
			require.Empty(t, d.Read())
		}
		_, d, r := session()
		require.NoError(t, d.Feed(r))
		require.Error(t, d.Feed(r), "played again")
		c, d, _ := session()
		require.NoError(t, c.Write([]byte("the next one")))
		require.Error(t, d.Feed(c.Output()), "one left out")
	}
}

// TestOpenSSL: OpenSSL is the other end, in both roles, with every suite.
func TestOpenSSL(t *testing.T) {
	openssl, err := exec.LookPath("openssl")
	require.NoError(t, err, "apt-get install openssl")
	for s, cipher := range map[uint16]string{AES128GCM: "PSK-AES128-GCM-SHA256", AES128CBC: "PSK-AES128-CBC-SHA256", Null: "PSK-NULL-SHA256"} {
		args := []string{"-tls1_2", "-cipher", cipher + ":@SECLEVEL=0", "-psk", hex.EncodeToString(key), "-psk_identity", string(name)}
		t.Run("server "+cipher, func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			require.NoError(t, err)
			addr := l.Addr().String()
			require.NoError(t, l.Close())
			cmd := exec.Command(openssl, append([]string{"s_server", "-accept", addr, "-nocert", "-rev", "-quiet", "-psk_hint", "any"}, args...)...)
			require.NoError(t, cmd.Start())
			t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
			var peer net.Conn
			require.Eventually(t, func() bool { peer, err = net.Dial("tcp", addr); return err == nil }, 10*time.Second, 20*time.Millisecond)
			defer peer.Close()
			c := client(s)
			require.NoError(t, relay(peer, c, c.Established))
			require.NoError(t, c.Write([]byte("hello\n")))
			said := ""
			require.NoError(t, relay(peer, c, func() bool { said += string(c.Read()); return strings.Contains(said, "\n") }))
			require.Equal(t, "olleh\n", said)
		})
		t.Run("client "+cipher, func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			require.NoError(t, err)
			defer l.Close()
			cmd := exec.Command(openssl, append([]string{"s_client", "-connect", l.Addr().String(), "-quiet"}, args...)...)
			in, err := cmd.StdinPipe()
			require.NoError(t, err)
			var out bytes.Buffer
			cmd.Stdout = &out
			require.NoError(t, cmd.Start())
			peer, err := l.Accept()
			require.NoError(t, err)
			d := server(s)
			require.NoError(t, relay(peer, d, d.Established))
			_, err = io.WriteString(in, "POST /\n")
			require.NoError(t, err)
			said := ""
			require.NoError(t, relay(peer, d, func() bool { said += string(d.Read()); return strings.Contains(said, "\n") }))
			require.Equal(t, "POST /\n", said)
			require.NoError(t, d.Write([]byte("204\n")))
			d.Close()
			_, err = peer.Write(d.Output())
			require.NoError(t, err)
			require.NoError(t, peer.Close())
			_ = in.Close()
			_ = cmd.Wait()
			require.Equal(t, "204\n", out.String())
		})
	}
	t.Run("server with fragments of 512", func(t *testing.T) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		addr := l.Addr().String()
		require.NoError(t, l.Close())
		cmd := exec.Command(openssl, "s_server", "-accept", addr, "-nocert", "-rev", "-quiet", "-tls1_2", "-cipher", "PSK-AES128-CBC-SHA256", "-psk", hex.EncodeToString(key), "-psk_identity", string(name))
		require.NoError(t, cmd.Start())
		t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
		var peer net.Conn
		require.Eventually(t, func() bool { peer, err = net.Dial("tcp", addr); return err == nil }, 10*time.Second, 20*time.Millisecond)
		defer peer.Close()
		c := Client(Config{Random: random, Suites: []uint16{AES128CBC}, Identity: name, Key: key, Fragment: 512})
		require.NoError(t, relay(peer, c, c.Established))
		require.Equal(t, 512, c.fragment, "OpenSSL agreed")
		require.NoError(t, c.Write([]byte(strings.Repeat("a", 1200)+"b\n")))
		said := ""
		require.NoError(t, relay(peer, c, func() bool { said += string(c.Read()); return strings.Contains(said, "\n") }))
		require.Equal(t, "b"+strings.Repeat("a", 1200)+"\n", said)
	})
	t.Run("wrong key", func(t *testing.T) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		defer l.Close()
		cmd := exec.Command(openssl, "s_client", "-connect", l.Addr().String(), "-tls1_2", "-cipher", "PSK-AES128-GCM-SHA256", "-psk", "00", "-psk_identity", string(name))
		require.NoError(t, cmd.Start())
		t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
		peer, err := l.Accept()
		require.NoError(t, err)
		require.EqualError(t, relay(peer, server(all...), func() bool { return false }), "tlspsk: bad_record_mac")
	})
}

// relay carries octets between a network and an end until done.
func relay(peer net.Conn, c *Conn, done func() bool) error {
	_ = peer.SetDeadline(time.Now().Add(10 * time.Second))
	buf := make([]byte, 4096)
	for {
		if _, err := peer.Write(c.Output()); err != nil {
			return err
		}
		if done() {
			return nil
		}
		n, err := peer.Read(buf)
		if err != nil {
			return err
		}
		if err := c.Feed(buf[:n]); err != nil {
			_, _ = peer.Write(c.Output())
			return err
		}
	}
}

// FuzzFeed gives anything to an end at any point of a session: it never panics, and says
// nothing of what is not authentic.
func FuzzFeed(f *testing.F) {
	fixed := func(b []byte) {
		for i := range b {
			b[i] = byte(i)
		}
	}
	ends := func() [2]*Conn {
		return [2]*Conn{
			Client(Config{Random: fixed, Identity: name, Key: key}),
			Server(Config{Random: fixed, Lookup: func([]byte) []byte { return key }}),
		}
	}
	x := ends()
	for i := 0; ; i++ {
		b := x[i%2].Output()
		if len(b) == 0 {
			break
		}
		f.Add(b, byte(i))
		_ = x[1-i%2].Feed(b)
	}
	f.Fuzz(func(t *testing.T, in []byte, steps byte) {
		x := ends()
		for i := range int(steps % 6) {
			_ = x[1-i%2].Feed(x[i%2].Output())
		}
		for _, c := range x {
			before := c.Established()
			_ = c.Feed(in)
			if !before && len(c.Read()) > 0 {
				t.Fatal("data before the end of the handshake")
			}
			c.Output()
		}
	})
}
