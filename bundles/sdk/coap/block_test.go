package coap_test

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/udp/coder"

	"github.com/sspemu/sspemu/bundles/sdk"
	"github.com/sspemu/sspemu/bundles/sdk/coap"
)

// fetch gets a resource block by block.
func (s *stage) fetch(t *testing.T, path string, size int) (body []byte, etags map[string]bool) {
	etags = map[string]bool{}
	for num := 0; ; num++ {
		s.tell(1, fmt.Sprintf("NON %d GET path=%s block2=%d/0/%d", num&0xFFFF, path, num, size))
		require.Len(t, s.pipe.Out, 1)
		m := message.Message{Options: make(message.Options, 0, 8)}
		_, err := coder.DefaultCoder.Decode(s.pipe.Out[0][sdk.PeerLength:], &m)
		require.NoError(t, err)
		s.pipe.Out = nil
		require.Equal(t, coap.Content, m.Code)
		if tag, err := m.Options.GetBytes(message.ETag); err == nil {
			etags[string(tag)] = true
		}
		body = append(body, m.Payload...)
		v, err := m.Options.GetUint32(message.Block2)
		require.NoError(t, err)
		if v&8 == 0 {
			return body, etags
		}
	}
}

func TestFetch(t *testing.T) {
	long := numbered(70_001)
	calls := 0
	s := coap.New()
	s.Handle("changing", coap.Resource{Get: func(_ *coap.Request, w *coap.Response) {
		calls++
		w.Text(strconv.Itoa(calls) + long)
	}})
	s.Handle("empty", coap.Resource{Get: func(*coap.Request, *coap.Response) {}})
	s.Handle("huge", coap.Resource{Get: func(_ *coap.Request, w *coap.Response) {
		calls++
		w.Text(strings.Repeat(strconv.Itoa(min(calls, 2)), coap.MaxBody+1)) // is not kept
	}})
	const tenMiB = 10 << 20
	pattern := bytes.Repeat([]byte("0123456789abcdef"), tenMiB/16)
	s.Handle("firmware", coap.Resource{Get: func(_ *coap.Request, w *coap.Response) {
		w.ETag = []byte("v1")
		w.Stream(coap.OctetStream, bytes.NewReader(pattern), tenMiB)
	}})
	st := newStage(t, s, 1<<30)
	for _, size := range []int{16, 32, 64, 128, 256, 512, 1024} {
		calls = 0
		body, etags := st.fetch(t, "changing", size)
		require.Equal(t, "1"+long, string(body), "what changes under way is sent as it was")
		require.Len(t, etags, 1)
		require.Equal(t, 1, calls)
		require.NoError(t, st.pipe.Close(0)) // message IDs may be used again
		st.pipe, _ = st.Open(sdk.GateUDP, 1, 1<<30)
	}
	body, etags := st.fetch(t, "empty", 64)
	require.Empty(t, body)
	require.Empty(t, etags)
	st.Advance(1e12)
	calls = 0
	body, etags = st.fetch(t, "huge", 1024)
	require.Len(t, body, coap.MaxBody+1)
	require.Len(t, etags, 2, "a change is noticed")
	st.Advance(1e12)
	body, etags = st.fetch(t, "firmware", 1024)
	require.True(t, bytes.Equal(pattern, body))
	require.Len(t, etags, 1)
}

// TestManyUploads: bodies are bounded in length, number and together; the others
// wait for a while and then take the place of those that came to nothing.
func TestManyUploads(t *testing.T) {
	s := coap.New()
	var got []byte
	s.Handle("store", coap.Resource{Put: func(r *coap.Request, _ *coap.Response) { got = bytes.Clone(r.Payload) }})
	s.Handle("long", coap.Resource{Get: func(_ *coap.Request, w *coap.Response) { w.Text(numbered(2000)) }})
	st := newStage(t, s, 1<<30)

	// One that is as long as can be, one that is longer.
	block := numbered(1024)
	for _, more := range []int{0, 1} {
		for num := 0; num < coap.MaxBody/1024; num++ {
			m := 1
			if num == coap.MaxBody/1024-1 {
				m = more
			}
			st.tell(1, fmt.Sprintf("NON %d PUT path=store block1=%d/%d/1024 '%s'", num+more<<10, num, m, block))
		}
		answers := st.heard()
		require.Equal(t, fmt.Sprintf("NON 2.31 block1=%d/1/1024", 0), answers[0])
	}
	require.True(t, bytes.Equal(bytes.Repeat([]byte(block), coap.MaxBody/1024), got))
	st.play(fmt.Sprintf("> CON 5000 PUT path=store block1=%d/0/1024 'x'\n< ACK 0x1388 4.13 block1=%d/0/1024 size1=%d 'the resource takes at most %[3]d octets'",
		coap.MaxBody/1024, coap.MaxBody/1024, coap.MaxBody))

	// As many as there may be; a download gives way.
	st.play("> 200: CON 1 GET path=long\n< 200: ACK 0x0001 2.05 etag ct=0 block2=0/1/1024 size2=2000 (1024)")
	first := func(peer, id int) []string {
		st.tell(peer, fmt.Sprintf("NON %d PUT path=store block1=0/1/16 '0123456789abcdef'", id))
		return st.heard()
	}
	for n := 1; n <= 64; n++ {
		require.Len(t, first(n, 6000), 1)
	}
	st.play(`
		> CON 6001 PUT path=store block1=1/0/16 '!'
		< ACK 0x1771 2.04 block1=1/0/16`)
	require.Equal(t, "0123456789abcdef!", string(got))
	require.Equal(t, []string{"65: NON 2.31 block1=0/1/16"}, first(65, 6000))
	require.Equal(t, []string{"66: NON 5.03 maxage=1 block1=0/0/16 'too many transfers'"}, first(66, 6000))
	st.Advance(60_000_000_000)
	require.Equal(t, []string{"66: NON 2.31 block1=0/1/16"}, first(66, 6001))

	// As many octets as there may be.
	st.Advance(60_000_000_000)
	for peer := 100; peer < 105; peer++ {
		for num := range coap.MaxBody / 1024 {
			st.tell(peer, fmt.Sprintf("NON %d PUT path=store block1=%d/1/1024 '%s'", num, num, block))
		}
	}
	answers := st.heard()
	require.Equal(t, "103: NON 2.31 block1=255/1/1024", answers[4*256-1])
	require.Contains(t, strings.Join(answers, "\n"), "104: NON 5.03 maxage=1 block1=0/0/1024 'too many transfers'")
}
