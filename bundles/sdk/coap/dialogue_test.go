package coap_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/bundles/sdk"
	"github.com/sspemu/sspemu/bundles/sdk/coap"
)

// broken is a stream that cannot be read.
type broken struct{}

func (broken) ReadAt([]byte, int64) (int, error) { return 0, errors.New("unreadable") }

// numbered is n octets that say where they are: 16 in a line.
func numbered(n int) string {
	var b strings.Builder
	for b.Len() < n {
		b.WriteString(strings.Repeat(string(rune('a'+b.Len()/16%26)), 16))
	}
	return b.String()[:n]
}

// house is a server with a resource for everything.
func house() *coap.Server {
	s := coap.New()
	value, calls := "22.3 C", 0
	get := func(_ *coap.Request, w *coap.Response) {
		_, _ = w.Write([]byte(value[:1]))
		_, _ = w.WriteString(value[1:])
	}
	s.Handle("/temperature", coap.Resource{
		Get: get,
		Put: func(r *coap.Request, _ *coap.Response) {
			value = string(r.Payload)
			s.Notify("temperature")
		},
		Delete:     func(*coap.Request, *coap.Response) { s.Remove("/temperature") },
		Observable: true,
	})
	s.Handle("count", coap.Resource{
		Get: func(r *coap.Request, w *coap.Response) {
			calls++
			w.Text(string(rune('0' + calls)))
		},
		Post: func(r *coap.Request, w *coap.Response) {
			calls++
			w.Text(string(rune('0' + calls)))
		},
	})
	s.Handle("echo/", coap.Resource{
		Post: func(r *coap.Request, w *coap.Response) {
			all := strings.Join(r.Queries(), "&")
			v, ok := r.Query("q")
			if ok {
				all += " q:" + v
			}
			w.Code, w.Location, w.MaxAge = coap.Created, []string{"echo", "1"}, 5
			w.Text(r.Path + " " + all + " " + string(r.Payload))
		},
		RT: "echo any", Title: `says "it" again`, IF: "core.p",
	})
	s.Handle("forms", coap.Resource{
		Formats: []coap.Format{coap.JSON, coap.CBOR, coap.OctetStream},
		Takes:   []coap.Format{coap.CBOR},
		Get: func(r *coap.Request, w *coap.Response) {
			switch r.Accept {
			case coap.CBOR:
				w.Send(coap.CBOR, []byte("0"))
			default:
				w.Send(coap.JSON, []byte("{}"))
			}
		},
		Put: func(*coap.Request, *coap.Response) {},
	})
	s.Handle("tagged", coap.Resource{
		Get: func(_ *coap.Request, w *coap.Response) {
			w.ETag, w.MaxAge = []byte{0xAA, 0xBB}, 0
			w.Text("one")
		},
		Put: func(*coap.Request, *coap.Response) {},
	})
	s.Handle("wrong/code", coap.Resource{Get: func(_ *coap.Request, w *coap.Response) { w.Code = coap.GET }})
	s.Handle("wrong/tag", coap.Resource{Get: func(_ *coap.Request, w *coap.Response) { w.ETag = make([]byte, 9) }})
	s.Handle("wrong/location", coap.Resource{Get: func(_ *coap.Request, w *coap.Response) {
		w.Location = []string{strings.Repeat("x", 3000)}
	}})
	s.Handle("wrong/stream", coap.Resource{Get: func(_ *coap.Request, w *coap.Response) { w.Stream(coap.OctetStream, broken{}, 5) }})
	s.Handle("busy", coap.Resource{Get: func(_ *coap.Request, w *coap.Response) {
		w.Fail(coap.ServiceUnavailable, "later")
		w.MaxAge = 7
	}})
	s.Handle("", coap.Resource{Get: func(_ *coap.Request, w *coap.Response) { w.Text("root") }, Hidden: true})
	s.Handle("with space", coap.Resource{Get: get, Hidden: true})
	s.Handle("slow", coap.Resource{
		Get: func(_ *coap.Request, w *coap.Response) {
			l := w.Later()
			sdk.NewTimer(func() {
				l.Text("done")
				l.Answer()
				l.Answer() // once is enough
			}).Start(1000)
		},
		Observable: true,
	})
	long := numbered(4200)
	s.Handle("long", coap.Resource{
		Get:        func(_ *coap.Request, w *coap.Response) { w.Text(long) },
		Post:       func(_ *coap.Request, w *coap.Response) { w.Text(long[:1100]) },
		Observable: true,
	})
	s.Handle("store", coap.Resource{
		Put:     func(r *coap.Request, w *coap.Response) { w.Text(digest(r.Payload)) },
		MaxBody: 3000,
	})
	s.Handle("stream", coap.Resource{Get: func(_ *coap.Request, w *coap.Response) {
		w.ETag = []byte{1}
		w.Stream(coap.OctetStream, strings.NewReader(long), int64(len(long)))
	}})
	return s
}

// digest says how long b is and how it begins and ends.
func digest(b []byte) string {
	if len(b) < 2 {
		return string(b)
	}
	return strings.Join([]string{string(b[:1]), string(b[len(b)-1:])}, "..")
}

func TestDialogues(t *testing.T) {
	block := numbered(64)
	for _, tc := range []struct{ name, play string }{
		{"RFC 7252 figures 16, 17: piggybacked", `
			> CON 0x7d34 GET path=temperature
			< ACK 0x7d34 2.05 '22.3 C'
			> CON 0x7d35 GET token=20 path=temperature
			< ACK 0x7d35 2.05 token=20 '22.3 C'`},
		{"RFC 7252 figure 19: the acknowledgement was lost", `
			> CON 0x7d37 GET token=42 path=temperature
			< ACK 0x7d37 2.05 token=42 '22.3 C'
			> CON 0x7d37 GET token=42 path=temperature
			< ACK 0x7d37 2.05 token=42 '22.3 C'`},
		{"RFC 7252 figure 22: non-confirmable", `
			> NON 0x7d40 GET token=75 path=temperature
			< NON 2.05 token=75 '22.3 C'`},
		{"RFC 7252 figures 20, 23: separate response, acknowledged", `
			> CON 0x7d38 GET token=53 path=slow
			< ACK 0x7d38 EMPTY
			> CON 0x7d38 GET token=53 path=slow
			< ACK 0x7d38 EMPTY
			| 1s
			< CON 2.05 token=53 ct=0 'done'`},
		{"separate response, never acknowledged", `
			> CON 0x7d38 GET token=53 path=slow
			< ACK 0x7d38 EMPTY
			| 1s
			< CON 2.05 token=53 ct=0 'done'
			| 3s
			< CON 2.05 token=53 ct=0 'done'
			| 6s
			< CON 2.05 token=53 ct=0 'done'
			| 12s
			< CON 2.05 token=53 ct=0 'done'
			| 24s
			< CON 2.05 token=53 ct=0 'done'
			| 500s`},
		{"separate response to a non-confirmable request", `
			> NON 0x7d38 GET token=53 path=slow
			| 1s
			< NON 2.05 token=53 ct=0 'done'
			| 100s`},
		{"duplicates are not carried out again", `
			> CON 0x0001 POST path=count
			< ACK 0x0001 2.04 ct=0 '1'
			> CON 0x0001 POST path=count
			< ACK 0x0001 2.04 ct=0 '1'
			> 2: CON 0x0001 POST path=count
			< 2: ACK 0x0001 2.04 ct=0 '2'
			> NON 0x0002 POST path=count
			< NON 2.04 ct=0 '3'
			> NON 0x0002 POST path=count
			> CON 0x0003 GET path=count
			< ACK 0x0003 2.05 ct=0 '4'
			> CON 0x0003 GET path=count
			< ACK 0x0003 2.05 ct=0 '4'
			| 247s
			> CON 0x0001 POST path=count
			< ACK 0x0001 2.04 ct=0 '5'`},
		{"ping and other Empty messages", `
			> CON 0x0009 EMPTY
			< RST 0x0009 EMPTY
			> NON 0x000a EMPTY
			> ACK 0x000b EMPTY
			> RST 0x000c EMPTY`},
		{"methods", `
			> CON 1 GET path=wrong path=nothing
			< ACK 0x0001 4.04 'no such resource'
			> CON 2 DELETE path=count
			< ACK 0x0002 4.05 'the resource has no such method'
			> CON 3 FETCH path=count
			< ACK 0x0003 4.05 'the resource has no such method'
			> CON 4 PUT path=temperature '5 C'
			< ACK 0x0004 2.04
			> CON 5 GET path=temperature
			< ACK 0x0005 2.05 '5 C'
			> CON 6 DELETE path=temperature
			< ACK 0x0006 2.02
			> CON 7 GET path=temperature
			< ACK 0x0007 4.04 'no such resource'`},
		{"paths and queries", `
			> CON 1 GET
			< ACK 0x0001 2.05 ct=0 'root'
			> CON 2 GET path=
			< ACK 0x0002 2.05 ct=0 'root'
			> CON 3 POST host=card port=5683 path=echo path=a path=b query=x query=q=1=2 'hello'
			< ACK 0x0003 2.01 location=echo location=1 ct=0 maxage=5 'echo/a/b x&q=1=2 q:1=2 hello'
			> CON 4 POST path=echo path= 
			< ACK 0x0004 2.01 location=echo location=1 ct=0 maxage=5 'echo/  '
			> CON 5 POST path=echo
			< ACK 0x0005 4.04 'no such resource'
			> CON 6 POST path=echo/a
			< ACK 0x0006 4.04 'no such resource'
			> CON 7 GET path=with%20space
			< ACK 0x0007 4.04 'no such resource'`},
		{"Accept and Content-Format", `
			> CON 1 GET path=forms
			< ACK 0x0001 2.05 ct=50 '{}'
			> CON 2 GET path=forms accept=60
			< ACK 0x0002 2.05 ct=60 '0'
			> CON 3 GET path=forms accept=41
			< ACK 0x0003 4.06 'the resource has no such format'
			> CON 4 PUT path=forms ct=60 '1'
			< ACK 0x0004 2.04
			> CON 5 PUT path=forms ct=0 '1'
			< ACK 0x0005 4.15 'the resource takes no such format'
			> CON 6 PUT path=forms '1'
			< ACK 0x0006 2.04
			> CON 7 GET path=.well-known path=core accept=50
			< ACK 0x0007 4.06 'the resource has no such format'
			> CON 8 GET path=temperature accept=50
			< ACK 0x0008 2.05 '22.3 C'`},
		{"options: unknown, misplaced, too long", `
			> CON 1 GET path=temperature 19=0A
			< ACK 0x0001 4.02 'critical option 19'
			> NON 2 GET path=temperature 19=0A
			< RST 0x0002 EMPTY
			> CON 3 GET path=temperature 18=0A 2050=
			< ACK 0x0003 2.05 '22.3 C'
			> CON 4 GET path=temperature accept=1 17=0203
			< ACK 0x0004 4.02 'critical option 17'
			> CON 5 GET path=temperature 17=010203
			< ACK 0x0005 4.02 'critical option 17'
			> CON 6 GET path=temperature 23=01020304
			< ACK 0x0006 4.02 'critical option 23'
			> CON 7 GET observe=0 6=00010203 path=forms
			< ACK 0x0007 2.05 ct=50 '{}'
			> CON 8 PUT path=forms ct=60 12=00 '1'
			< ACK 0x0008 2.04
			> CON 9 GET 5=01 path=forms
			< ACK 0x0009 4.02 'critical option 5'
			> CON 10 GET path=temperature proxy=coap://elsewhere
			< ACK 0x000a 5.05 'this is no proxy'
			> CON 11 GET path=temperature 39=636f6170
			< ACK 0x000b 5.05 'this is no proxy'
			> CON 12 GET path=temperature 23=07
			< ACK 0x000c 4.00 'block size 7 is reserved'
			> CON 13 GET ` + strings.Repeat("path=x ", 65) + `
			< ACK 0x000d 4.02 'more than 64 options'`},
		{"what is malformed is rejected, what is no CoAP ignored", `
			# token length 9 to 15, token cut short
			> 0x49010001 010203040506070809
			< RST 0x0001 EMPTY
			> 0x4f010002 0102030405060708090a0b0c0d0e0f
			< RST 0x0002 EMPTY
			> 0x44010003 010203
			< RST 0x0003 EMPTY
			> 0x59010004 010203040506070809
			# reserved delta and length, option cut short
			> 0x40010005 f0
			< RST 0x0005 EMPTY
			> 0x40010006 0f
			< RST 0x0006 EMPTY
			> 0x40010007 b5 6162
			< RST 0x0007 EMPTY
			> 0x40010008 bd
			< RST 0x0008 EMPTY
			> 0x40010009 be00
			< RST 0x0009 EMPTY
			> 0x4001000a d0
			< RST 0x000a EMPTY
			# number beyond 65535
			> 0x4001000b e0fff2e0ffff
			< RST 0x000b EMPTY
			# a payload marker without a payload, an option that ends like one
			> 0x4001000c b3616263ff
			< RST 0x000c EMPTY
			> 0x4001000d ff
			< RST 0x000d EMPTY
			> 0x5001000e ff
			> 0x4001000f b2 61ff
			< ACK 0x000f 4.04 'no such resource'
			> 0x40010010 d0ff
			< ACK 0x0010 2.05 ct=0 'root'
			# Empty with more, reserved class, response
			> 0x41000011 01
			< RST 0x0011 EMPTY
			> 0x40000012 ff00
			< RST 0x0012 EMPTY
			> 0x40200013
			< RST 0x0013 EMPTY
			> 0x40450014
			< RST 0x0014 EMPTY
			> 0x50450015
			> 0x60450016
			> 0x6f000017
			> 0x70000018 00
			# versions 0, 2, 3; too short
			> 0x00010019
			> 0x8001001a
			> 0xc001001b
			> 0x400100
			> 0x`},
		{"entity-tags and conditions", `
			> CON 1 GET path=tagged
			< ACK 0x0001 2.05 etag=aabb ct=0 maxage=0 'one'
			> CON 2 GET etag=01 etag=aabb path=tagged
			< ACK 0x0002 2.03 etag=aabb maxage=0
			> CON 3 GET etag=01 path=tagged
			< ACK 0x0003 2.05 etag=aabb ct=0 maxage=0 'one'
			> CON 4 PUT ifmatch=aabb path=tagged 'x'
			< ACK 0x0004 2.04
			> CON 5 PUT ifmatch=aa path=tagged 'x'
			< ACK 0x0005 4.12 'If-Match or If-None-Match does not hold'
			> CON 6 PUT ifmatch= path=tagged 'x'
			< ACK 0x0006 2.04
			> CON 7 PUT ifmatch=aa ifmatch=aabb path=tagged 'x'
			< ACK 0x0007 2.04
			> CON 8 PUT ifnonematch= path=tagged 'x'
			< ACK 0x0008 4.12 'If-Match or If-None-Match does not hold'
			> CON 9 GET ifmatch=01 path=busy
			< ACK 0x0009 4.12 'If-Match or If-None-Match does not hold'
			> CON 10 POST ifnonematch= path=echo path=x 'x'
			< ACK 0x000a 4.12 'If-Match or If-None-Match does not hold'`},
		{"errors of handlers", `
			> CON 1 GET path=wrong path=code
			< ACK 0x0001 5.00
			> CON 2 GET path=wrong path=tag
			< ACK 0x0002 5.00
			> CON 3 GET path=wrong path=location
			< ACK 0x0003 5.00
			> CON 4 GET path=wrong path=stream
			< ACK 0x0004 5.00
			> CON 5 GET path=busy
			< ACK 0x0005 5.03 maxage=7 'later'`},
		{"RFC 7959 2.2, 2.4: a long representation", `
			> CON 1 GET path=long
			< ACK 0x0001 2.05 etag ct=0 block2=0/1/1024 size2=4200 (1024)
			> CON 2 GET path=long block2=1/0/1024
			< ACK 0x0002 2.05 etag ct=0 block2=1/1/1024 (1024)
			> CON 3 GET path=long block2=4/0/1024
			< ACK 0x0003 2.05 etag ct=0 block2=4/0/1024 'wwwwwwwwwwwwwwwwxxxxxxxxxxxxxxxxyyyyyyyyyyyyyyyyzzzzzzzzzzzzzzzzaaaaaaaaaaaaaaaabbbbbbbbbbbbbbbbcccccccc'
			> CON 4 GET path=long block2=5/0/1024
			< ACK 0x0004 4.00 'there is no such block'
			> CON 5 GET path=long block2=0/0/16
			< ACK 0x0005 2.05 etag ct=0 block2=0/1/16 size2=4200 'aaaaaaaaaaaaaaaa'
			> CON 6 GET path=long block2=2/0/32
			< ACK 0x0006 2.05 etag ct=0 block2=2/1/32 'eeeeeeeeeeeeeeeeffffffffffffffff'
			> CON 7 GET path=temperature block2=0/0/64
			< ACK 0x0007 2.05 block2=0/0/64 '22.3 C'
			> CON 8 GET path=temperature size2=0
			< ACK 0x0008 2.05 size2=6 '22.3 C'`},
		{"a stream", `
			> CON 1 GET path=stream block2=262/0/16
			< ACK 0x0001 2.05 etag=01 ct=42 block2=262/0/16 'cccccccc'
			> CON 2 GET path=stream
			< ACK 0x0002 2.05 etag=01 ct=42 block2=0/1/1024 size2=4200 (1024)
			> CON 3 GET etag=01 path=stream
			< ACK 0x0003 2.03 etag=01`},
		{"RFC 7959 figure 7: a long body, and what is wrong with some", `
			> CON 1 PUT path=store block1=0/1/64 '` + block + `'
			< ACK 0x0001 2.31 block1=0/1/64
			> CON 2 PUT path=store block1=1/1/64 '` + block + `'
			< ACK 0x0002 2.31 block1=1/1/64
			> CON 2 PUT path=store block1=1/1/64 '` + block + `'
			< ACK 0x0002 2.31 block1=1/1/64
			> CON 3 PUT path=store block1=2/0/64 'end!'
			< ACK 0x0003 2.04 ct=0 block1=2/0/64 'a..!'
			# all in one block
			> CON 4 PUT path=store block1=0/0/64 'x'
			< ACK 0x0004 2.04 ct=0 block1=0/0/64 'x'
			# blocks missing
			> CON 5 PUT path=store block1=3/0/64 'x'
			< ACK 0x0005 4.08 block1=3/0/64 'the blocks before are missing'
			> CON 6 PUT path=store block1=0/1/64 '` + block + `'
			< ACK 0x0006 2.31 block1=0/1/64
			> CON 7 PUT path=store block1=2/0/64 'x'
			< ACK 0x0007 4.08 block1=2/0/64 'the blocks before are missing'
			> 2: CON 7 PUT path=store block1=1/0/64 'x'
			< 2: ACK 0x0007 4.08 block1=1/0/64 'the blocks before are missing'
			# the block before again, with another message ID
			> CON 8 PUT path=store block1=0/1/64 '` + block + `'
			< ACK 0x0008 2.31 block1=0/1/64
			> CON 9 PUT path=store block1=1/0/64 '>'
			< ACK 0x0009 2.04 ct=0 block1=1/0/64 'a..>'
			# not as long as it says
			> CON 10 PUT path=store block1=0/1/64 'short'
			< ACK 0x000a 4.00 block1=0/0/64 'the block is not as long as Block1 says'
			> CON 11 PUT path=store block1=0/0/16 '` + block + `'
			< ACK 0x000b 4.00 block1=0/0/16 'the block is not as long as Block1 says'`},
		{"bodies that are too long", `
			> CON 1 PUT path=store block1=0/1/1024 size1=3001 '` + numbered(1024) + `'
			< ACK 0x0001 4.13 block1=0/0/1024 size1=3000 'the resource takes at most 3000 octets'
			> CON 2 PUT path=store block1=0/1/1024 '` + numbered(1024) + `'
			< ACK 0x0002 2.31 block1=0/1/1024
			> CON 3 PUT path=store block1=1/1/1024 '` + numbered(1024) + `'
			< ACK 0x0003 2.31 block1=1/1/1024
			> CON 4 PUT path=store block1=2/1/1024 '` + numbered(1024) + `'
			< ACK 0x0004 4.13 block1=2/0/1024 size1=3000 'the resource takes at most 3000 octets'
			> CON 5 PUT path=store block1=2/0/1024 'x'
			< ACK 0x0005 4.08 block1=2/0/1024 'the blocks before are missing'
			> CON 6 PUT path=store '` + numbered(3001) + `'
			< ACK 0x0006 4.13 size1=3000 'the resource takes at most 3000 octets'
			> CON 7 PUT path=store block1=1048575/0/1024 'x'
			< ACK 0x0007 4.13 block1=1048575/0/1024 size1=3000 'the resource takes at most 3000 octets'`},
		{"a body that takes too long, and one that begins anew", `
			> CON 1 PUT path=store block1=0/1/16 '0123456789abcdef'
			< ACK 0x0001 2.31 block1=0/1/16
			| 247s
			> CON 2 PUT path=store block1=1/0/16 '!'
			< ACK 0x0002 4.08 block1=1/0/16 'the blocks before are missing'
			> CON 3 PUT path=store block1=0/1/16 'aaaaaaaaaaaaaaaa'
			< ACK 0x0003 2.31 block1=0/1/16
			> CON 4 PUT path=store block1=0/1/16 'bbbbbbbbbbbbbbbb'
			< ACK 0x0004 2.31 block1=0/1/16
			> CON 5 PUT path=store block1=1/0/16 '!'
			< ACK 0x0005 2.04 ct=0 block1=1/0/16 'b..!'`},
		{"two bodies at a time, told apart by Request-Tag", `
			> CON 1 PUT path=store block1=0/1/16 tag=01 '` + block[:16] + `'
			< ACK 0x0001 2.31 block1=0/1/16
			> CON 2 PUT path=store block1=0/1/16 tag=02 '` + block[16:32] + `'
			< ACK 0x0002 2.31 block1=0/1/16
			> CON 3 PUT path=store block1=1/0/16 tag=01 '!'
			< ACK 0x0003 2.04 ct=0 block1=1/0/16 'a..!'
			> CON 4 PUT path=store block1=1/0/16 tag=02 '!'
			< ACK 0x0004 2.04 ct=0 block1=1/0/16 'b..!'`},
		{"RFC 7959 figures 11, 12: blocks both ways", `
			> CON 1 POST path=long block1=0/1/64 '` + block + `'
			< ACK 0x0001 2.31 block1=0/1/64
			> CON 2 POST path=long block1=1/0/64 'end'
			< ACK 0x0002 2.04 etag ct=0 block2=0/1/1024 block1=1/0/64 size2=1100 (1024)
			> CON 3 POST path=long block2=1/0/1024
			< ACK 0x0003 2.04 etag ct=0 block2=1/0/1024 'mmmmmmmmmmmmmmmmnnnnnnnnnnnnnnnnooooooooooooooooppppppppppppppppqqqqqqqqqqqq'
			> CON 4 POST path=long block2=1/0/1024
			< ACK 0x0004 4.08 'the representation is not kept any more'`},
		{"RFC 7641 figure 1: register, notification, deregister", `
			> CON 0x1633 GET token=4a observe=0 path=temperature
			< ACK 0x1633 2.05 token=4a observe '22.3 C'
			> 2: CON 1 PUT path=temperature '23 C'
			< NON 2.05 token=4a observe '23 C'
			< 2: ACK 0x0001 2.04
			> CON 0x1634 GET token=4a observe=1 path=temperature
			< ACK 0x1634 2.05 token=4a '23 C'
			> 2: CON 2 PUT path=temperature '24 C'
			< 2: ACK 0x0002 2.04`},
		{"the same token again renews, another one is a second relation", `
			> CON 1 GET token=01 observe=0 path=temperature
			< ACK 0x0001 2.05 token=01 observe '22.3 C'
			> CON 2 GET token=01 observe=0 path=temperature
			< ACK 0x0002 2.05 token=01 observe '22.3 C'
			> CON 3 GET token=02 observe=0 path=temperature
			< ACK 0x0003 2.05 token=02 observe '22.3 C'
			> 2: NON 1 PUT path=temperature '23 C'
			< NON 2.05 token=01 observe '23 C'
			< NON 2.05 token=02 observe '23 C'
			< 2: NON 2.04`},
		{"an observed resource goes", `
			> CON 1 GET token=01 observe=0 path=temperature
			< ACK 0x0001 2.05 token=01 observe '22.3 C'
			> 2: CON 1 DELETE path=temperature
			< NON 4.04 token=01 'the resource was removed'
			< 2: ACK 0x0001 2.02`},
		{"what cannot be observed is answered as if not asked", `
			> CON 1 GET token=01 observe=0 path=count
			< ACK 0x0001 2.05 token=01 ct=0 '1'
			> CON 2 GET token=01 observe=0 path=long block2=1/0/1024
			< ACK 0x0002 2.05 token=01 etag ct=0 block2=1/1/1024 (1024)
			> CON 3 GET token=01 observe=2 path=temperature
			< ACK 0x0003 2.05 token=01 '22.3 C'
			> CON 4 PUT token=01 observe=0 path=temperature '1'
			< ACK 0x0004 2.04 token=01`},
		{"an observation that begins with a separate response", `
			> CON 1 GET token=01 observe=0 path=slow
			< ACK 0x0001 EMPTY
			| 1s
			< CON 2.05 token=01 observe ct=0 'done'`},
		{"RFC 6690: what is there", `
			> CON 1 GET path=.well-known path=core query=rt=any
			< ACK 0x0001 2.05 ct=40 '</echo/>;rt="echo any";if="core.p";title="says \"it\" again"'
			> CON 2 GET path=.well-known path=core query=href=/t*
			< ACK 0x0002 2.05 ct=40 '</temperature>;obs,</tagged>'
			> CON 3 GET path=.well-known path=core query=ct=60
			< ACK 0x0003 2.05 ct=40 '</forms>;ct="50 60 42"'
			> CON 4 GET path=.well-known path=core query=if=core.* query=rt=e*
			< ACK 0x0004 2.05 ct=40 '</echo/>;rt="echo any";if="core.p";title="says \"it\" again"'
			> CON 5 GET path=.well-known path=core query=if=nothing
			< ACK 0x0005 2.05 ct=40
			> CON 6 GET path=.well-known path=core query=obs
			< ACK 0x0006 2.05 ct=40 (233)
			> CON 7 GET path=.well-known path=core query=href=/count
			< ACK 0x0007 2.05 ct=40 '</count>'
			> CON 8 GET path=.well-known path=core query=title=says*
			< ACK 0x0008 2.05 ct=40 '</echo/>;rt="echo any";if="core.p";title="says \"it\" again"'`},
	} {
		t.Run(tc.name, func(t *testing.T) { newStage(t, house(), 1<<20).play(tc.play) })
	}
}

func TestHandle(t *testing.T) {
	s := coap.New()
	require.Panics(t, func() { s.Handle("a/"+strings.Repeat("x", 256), coap.Resource{}) })
	text := func(v string) coap.Resource {
		return coap.Resource{Get: func(_ *coap.Request, w *coap.Response) { w.Text(v) }, Formats: []coap.Format{coap.Text}}
	}
	s.Handle("a", text("1"))
	s.Handle("Grüße", text("2"))
	s.Handle("a", text("3"))
	st := newStage(t, s, 1<<20)
	st.play(`
		> CON 1 GET path=a
		< ACK 0x0001 2.05 ct=0 '3'
		> CON 2 GET path=Grüße
		< ACK 0x0002 2.05 ct=0 '2'
		> CON 3 GET path=.well-known path=core
		< ACK 0x0003 2.05 ct=40 '</a>;ct=0,</Gr%C3%BC%C3%9Fe>;ct=0'`)
	hidden := text("4")
	hidden.Hidden = true
	s.Handle("a", hidden)
	st.play(`
		> CON 4 GET path=.well-known path=core
		< ACK 0x0004 2.05 ct=40 '</Gr%C3%BC%C3%9Fe>;ct=0'`)
}
