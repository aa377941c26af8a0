package web_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/bundles/sdk"
	"github.com/sspemu/sspemu/bundles/sdk/sdktest"
)

// TestSlowReader: the client lets the bundle send a few octets at a time; what
// arrives is the same.
func TestSlowReader(t *testing.T) {
	const in = "GET /large?n=2000 HTTP/1.1\r\nHost: a\r\n\r\nGET /flush HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
	_, p := open(t, all)
	p.Send([]byte(in))
	want := dateless(t, p.Bytes())
	for _, credit := range []int{1, 2, 3, 7, 100, 4096, 20000} {
		t.Run(strconv.Itoa(credit), func(t *testing.T) {
			p, err := card(t, all).Open(sdk.GateTCP, 1, 0)
			require.NoError(t, err)
			p.Send([]byte(in))
			require.Empty(t, p.Out, "without credit")
			got, left := []byte(nil), 0
			for !p.Closed {
				require.NoError(t, p.Grant(credit))
				left += credit
				for _, m := range p.Out {
					left -= len(m) + 1
				}
				require.True(t, left < 2 || p.Closed, "all credit is used")
				got = append(got, p.Bytes()...)
			}
			require.Equal(t, want, dateless(t, got))
		})
	}
}

// TestMessages: a small response is one message, no message is longer than 16 KiB.
func TestMessages(t *testing.T) {
	_, p := open(t, all)
	p.Send([]byte("GET / HTTP/1.1\r\nHost: a\r\n\r\n"))
	require.Len(t, p.Out, 1)
	p.Bytes()
	p.Send([]byte("GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"))
	require.Len(t, p.Out, 1, "two responses that were asked for at once")
	p.Bytes()
	p.Send([]byte("GET /large?n=10000 HTTP/1.1\r\nHost: a\r\n\r\n"))
	require.Greater(t, len(p.Out), 6)
	for _, m := range p.Out {
		require.LessOrEqual(t, len(m), 16<<10)
	}
	p.Bytes()
	_, p = open(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, 100000)) })
	p.Send([]byte("GET / HTTP/1.1\r\nHost: a\r\n\r\n"))
	require.Len(t, p.Out, 7)
}

// upload sends a body of n octets of noise in messages that fit the credit, and
// gives its hash.
func upload(t *testing.T, p *sdktest.Pipe, n int, each func()) []byte {
	t.Helper()
	noise, sum := rand.NewChaCha8([32]byte{1}), sha256.New()
	p.Send(fmt.Appendf(nil, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n", n))
	b := make([]byte, 64<<10)
	for n > 0 {
		k := min(n, p.Credit-1)
		require.Positive(t, k, "the client has credit")
		_, _ = noise.Read(b[:k])
		sum.Write(b[:k])
		p.Send(b[:k])
		n -= k
		each()
	}
	return sum.Sum(nil)
}

const large = 10 << 20

func TestLargeBodyToTheBundle(t *testing.T) {
	_, p := open(t, func(w http.ResponseWriter, r *http.Request) {
		sum := sha256.New()
		n, err := io.Copy(sum, r.Body)
		_, _ = fmt.Fprintf(w, "%d %v %x", n, err, sum.Sum(nil))
	})
	sum := upload(t, p, large, func() { require.LessOrEqual(t, p.Credit, 32<<10) })
	require.Contains(t, string(p.Bytes()), fmt.Sprintf("\r\n\r\n%d <nil> %x", large, sum))
}

func TestLargeBodyFromTheBundle(t *testing.T) {
	made, got, sum := 0, -1, sha256.New()
	p, err := card(t, func(w http.ResponseWriter, _ *http.Request) {
		noise, b := rand.NewChaCha8([32]byte{1}), make([]byte, 1000)
		for made < large {
			k := min(len(b), large-made)
			_, _ = noise.Read(b[:k])
			sum.Write(b[:k])
			made += k
			_, err := w.Write(b[:k])
			require.NoError(t, err)
		}
	}).Open(sdk.GateTCP, 1, 0)
	require.NoError(t, err)
	p.Send([]byte("GET / HTTP/1.1\r\nHost: a\r\n\r\n"))
	var sent bytes.Buffer // the client's, not the bundle's
	for sent.Len() != got {
		got = sent.Len()
		require.NoError(t, p.Grant(20000))
		sent.Write(p.Bytes())
		require.Less(t, made-sent.Len(), 32<<10, "octets that the bundle holds")
	}
	res, err := http.ReadResponse(bufio.NewReader(&sent), nil)
	require.NoError(t, err)
	arrived := sha256.New()
	n, err := io.Copy(arrived, res.Body)
	require.NoError(t, err)
	require.EqualValues(t, large, n)
	require.Equal(t, sum.Sum(nil), arrived.Sum(nil))
}

// TestEcho: a body that goes through the handler both ways, with a client that
// reads as slowly as it writes.
func TestEcho(t *testing.T) {
	_, p := open(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", r.Header.Get("Content-Length"))
		n, err := io.Copy(w, r.Body)
		require.NoError(t, err)
		require.EqualValues(t, large, n)
	})
	echoed, head := sha256.New(), true
	sum := upload(t, p, large, func() {
		b := p.Bytes()
		if head {
			_, b, _ = bytes.Cut(b, []byte("\r\n\r\n"))
			head = false
		}
		echoed.Write(b)
	})
	require.Equal(t, sum, echoed.Sum(nil))
	require.False(t, p.Closed)
}

// TestClientGone: a handler that waits is told, and the connection is over.
func TestClientGone(t *testing.T) {
	post := "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc"
	for name, tc := range map[string]struct {
		credit int
		in     string
		handle func(w http.ResponseWriter, r *http.Request) error
		want   string
	}{
		"reading": {plenty, post, func(_ http.ResponseWriter, r *http.Request) error {
			_, err := io.ReadAll(r.Body)
			return err
		}, "unexpected EOF"},
		"writing": {1000, post, func(w http.ResponseWriter, _ *http.Request) error {
			_, err := w.Write(make([]byte, 100000))
			return err
		}, "web: the client has gone"},
		"writing a little": {0, post, func(w http.ResponseWriter, _ *http.Request) error {
			w.(http.Flusher).Flush()
			_, err := w.Write(make([]byte, 10000))
			return err
		}, "web: the client has gone"},
	} {
		for _, reason := range []byte{0, 1, 2} {
			t.Run(fmt.Sprintf("%s, reason %d", name, reason), func(t *testing.T) {
				var ctx context.Context
				got := "it did not return"
				c := card(t, func(w http.ResponseWriter, r *http.Request) {
					ctx = r.Context()
					got = tc.handle(w, r).Error()
				})
				p, err := c.Open(sdk.GateTCP, 1, tc.credit)
				require.NoError(t, err)
				p.Send([]byte(tc.in))
				require.NoError(t, ctx.Err())
				p.Bytes()
				require.NoError(t, p.Close(reason))
				require.Equal(t, tc.want, got)
				require.ErrorIs(t, ctx.Err(), context.Canceled)
				require.Empty(t, p.Out)
				require.Empty(t, c.Logs)
			})
		}
	}
}

func TestContextEndsWithTheHandler(t *testing.T) {
	var ctx context.Context
	_, p := open(t, func(_ http.ResponseWriter, r *http.Request) { ctx = r.Context() })
	p.Send([]byte("GET / HTTP/1.1\r\nHost: a\r\n\r\n"))
	require.ErrorIs(t, ctx.Err(), context.Canceled)
}

// TestManyConnections: handlers of several connections wait at the same time; one
// more than 64 takes the place of an idle one, or is refused.
func TestManyConnections(t *testing.T) {
	c := card(t, all)
	var pipes []*sdktest.Pipe
	for i := range uint32(64) {
		p, err := c.Open(sdk.GateTCP, i, plenty)
		require.NoError(t, err)
		pipes = append(pipes, p)
		if i != 3 && i != 5 {
			p.Send([]byte("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n" + string(rune('A'+i%26))))
		}
	}
	pipes[3].Send([]byte("GET / HTTP/1.1\r\nHost: a\r\n\r\n")) // 5 is idle longer
	for i, evicted := range []int{5, 3} {
		p, err := c.Open(sdk.GateTCP, uint32(100+i), plenty)
		require.NoError(t, err)
		require.Equal(t, "normal", ended(pipes[evicted]))
		p.Send([]byte("GET / HTTP/1.1\r\nHo"))
	}
	_, err := c.Open(sdk.GateTCP, 200, plenty)
	require.ErrorIs(t, err, sdk.ErrNoSpace)
	require.ErrorIs(t, pipes[0].Message(sdk.Opened, nil), sdk.ErrIllegalParameter, "a second time")
	for i, p := range pipes {
		if p.Closed {
			continue
		}
		p.Send([]byte("!"))
		require.True(t, strings.HasSuffix(string(p.Bytes()), string(rune('A'+i%26))+"!"), i)
	}
	_, err = c.Open(sdk.GateTCP, 200, plenty)
	require.NoError(t, err)
}

// TestReuse: what one connection leaves behind is not seen by the next one.
func TestReuse(t *testing.T) {
	c := card(t, all)
	for range 3 {
		for i, in := range []string{"GET / HT", "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc", "GET /flush HTTP/1.1\r\nHost: a\r\n\r\nGET / ", "x\r\n"} {
			p, err := c.Open(sdk.GateTCP, uint32(i), 50)
			require.NoError(t, err)
			p.Send([]byte(in))
			if !p.Closed {
				require.NoError(t, p.Close(0))
			}
		}
		p, err := c.Open(sdk.GateTCP, 9, plenty)
		require.NoError(t, err)
		p.Send([]byte(exchanges[0].in))
		require.Equal(t, exchanges[0].out, dateless(t, p.Bytes()))
		require.NoError(t, p.Close(0))
	}
}

// feed sends in as the credit allows, until the bundle ends the connection.
func feed(p *sdktest.Pipe, in string) {
	for len(in) > 0 && !p.Closed && p.Credit > 1 {
		n := min(len(in), p.Credit-1)
		p.Send([]byte(in[:n]))
		in = in[n:]
	}
}

func TestLargeHeads(t *testing.T) {
	field := "X: " + strings.Repeat("x", 1000) + "\r\n"
	get := "GET / HTTP/1.1\r\nHost: a\r\n"
	for name, tc := range map[string]struct{ in, status string }{
		"60 KiB":              {get + strings.Repeat(field, 60) + "\r\n", "200"},
		"one field of 60 KiB": {get + "X: " + strings.Repeat("x", 60<<10) + "\r\n\r\n", "200"},
		"65 KiB":              {get + strings.Repeat(field, 66), "431"},
		"a field without end": {get + strings.Repeat("x", 70000), "431"},
		"a path of 60 KiB":    {"GET /large?n=1&" + strings.Repeat("x", 60<<10) + " HTTP/1.1\r\nHost: a\r\n\r\n", "200"},
		"a line without end":  {strings.Repeat("x", 70000), "414"},
	} {
		t.Run(name, func(t *testing.T) {
			_, p := open(t, all)
			feed(p, tc.in)
			require.True(t, strings.HasPrefix(string(p.Bytes()), "HTTP/1.1 "+tc.status))
			require.Equal(t, tc.status != "200", p.Closed)
		})
	}
}

// TestManyLargeHeads: the heads of all requests together have a bound, and it is
// free again when they are answered.
func TestManyLargeHeads(t *testing.T) {
	head := "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nX: " + strings.Repeat("x", 60<<10) + "\r\n\r\n"
	c := card(t, all)
	for range 3 {
		var pipes []*sdktest.Pipe
		for i := range uint32(18) {
			p, err := c.Open(sdk.GateTCP, i, plenty)
			require.NoError(t, err)
			feed(p, head)
			if i < 17 {
				require.Empty(t, p.Out)
				pipes = append(pipes, p)
			} else {
				require.True(t, strings.HasPrefix(string(p.Bytes()), "HTTP/1.1 503"))
			}
		}
		for i, p := range pipes {
			if i%2 == 0 {
				p.Send([]byte("!"))
				require.True(t, strings.HasPrefix(string(p.Bytes()), "HTTP/1.1 200"))
			}
			require.NoError(t, p.Close(0))
		}
	}
}

// TestMoreThanGranted: a client that does not keep to its credit is cut off.
func TestMoreThanGranted(t *testing.T) {
	_, p := open(t, all)
	require.Equal(t, 32<<10, p.Credit)
	require.NoError(t, p.Message(sdk.Data, make([]byte, 32<<10)))
	require.Equal(t, "reset", ended(p))
	require.NoError(t, p.Message(sdk.Data, []byte("GET")), "what crosses the end is dropped")
}

func TestWrongMessages(t *testing.T) {
	c, p := open(t, all)
	require.NoError(t, p.Message(sdk.Credit, []byte{1}))
	require.NoError(t, p.Message(99, nil))
	require.Len(t, c.Logs, 2)
	require.Empty(t, p.Out)
	require.False(t, p.Closed)
}

func TestPanicIsLogged(t *testing.T) {
	c, p := open(t, all)
	p.Send([]byte("GET /panic HTTP/1.1\r\nHost: a\r\n\r\n"))
	require.Equal(t, []string{"web: GET /panic: at the disco"}, c.Logs)
	require.NotContains(t, string(p.Bytes()), "disco", "the client is not told")
}

// TestNVM: what a handler wrote is stored with its response, what one wrote that
// panics is not.
func TestNVM(t *testing.T) {
	var stored map[string][]byte
	var c *sdktest.Card
	c, p := open(t, func(w http.ResponseWriter, r *http.Request) {
		stored = c.NVM()
		require.NoError(t, sdk.NVM.Put(r.URL.Path, []byte{1}))
		if r.URL.Path == "/b" {
			panic("b")
		}
	})
	p.Send([]byte("GET /a HTTP/1.1\r\nHost: a\r\n\r\nGET /b HTTP/1.1\r\nHost: a\r\n\r\n"))
	require.Equal(t, map[string][]byte{"/a": {1}}, stored, "between the requests of a message")
	require.Equal(t, map[string][]byte{"/a": {1}}, c.NVM())
	require.Equal(t, 1, strings.Count(string(p.Bytes()), "HTTP/1.1 200"))
}

// TestPipelineWithoutReading: requests wait in the window while the client does
// not read the answers.
func TestPipelineWithoutReading(t *testing.T) {
	const get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
	p, err := card(t, all).Open(sdk.GateTCP, 1, 0)
	require.NoError(t, err)
	sent := 0
	for p.Credit > len(get) {
		p.Send([]byte(get))
		sent++
	}
	require.Empty(t, p.Out)
	got := 0
	for n := -1; n != 0; got += n {
		require.NoError(t, p.Grant(1000))
		n = strings.Count(string(p.Bytes()), "hello a")
	}
	require.InDelta(t, sent, got, float64(sent)/10) // some are cut by the end of a message
	require.Greater(t, p.Credit, 16<<10)
}

// FuzzStream feeds any octets in any pieces: nothing but whole responses and an orderly
// end comes of it, and the bundle holds no more than the window.
func FuzzStream(f *testing.F) {
	for _, tc := range exchanges {
		f.Add([]byte(tc.in), uint16(len(tc.in)), uint16(1000))
		f.Add([]byte(tc.in), uint16(5), uint16(3))
	}
	f.Add([]byte("HEAD / HTTP/1.1\r\nHost: a\r\n\r\nHost\x00\n"), uint16(5), uint16(76))
	s := handler(all) // one for all: its connections are used again
	f.Fuzz(func(t *testing.T, in []byte, piece, credit uint16) {
		c := sdktest.New(t, func() sdk.App { return &s })
		c.PowerOn()
		p, err := c.Open(sdk.GateTCP, 1, int(credit))
		require.NoError(t, err)
		granted, got := int(credit), []byte(nil)
		head := bytes.Contains(in, []byte(http.MethodHead)) // its response says a length and has no body
		for len(in) > 0 && !p.Closed && p.Credit > 1 {
			n := min(len(in), int(piece)+1, p.Credit-1)
			p.Send(in[:n])
			in = in[n:]
			got = append(got, p.Bytes()...)
			require.LessOrEqual(t, p.Credit, 32<<10)
		}
		for n := -1; n != len(got) && !p.Closed && granted < 1<<20; {
			n = len(got)
			require.NoError(t, p.Grant(1<<16))
			granted += 1 << 16
			got = append(got, p.Bytes()...)
		}
		if !p.Closed {
			require.NoError(t, p.Close(0))
		}
		r := bufio.NewReader(bytes.NewReader(got))
		for {
			if _, err := r.Peek(1); err == io.EOF {
				break
			}
			res, err := http.ReadResponse(r, nil)
			if head && err != nil {
				break
			}
			require.NoError(t, err, "%q", got)
			_, err = io.Copy(io.Discard, res.Body)
			if err != nil {
				break // a response that was cut off
			}
		}
	})
}
