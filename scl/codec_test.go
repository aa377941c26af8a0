package scl

import (
	"bytes"
	"encoding/hex"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

func fromHex(tb testing.TB, s string) []byte {
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	require.NoError(tb, err)
	return b
}

var typeNames = map[string]MessageType{"command": Command, "event": Event, "response": Response}

// TestGoldenPackets checks the exported codec and a sending pipe end against
// testdata/packets.yaml, both ways.
func TestGoldenPackets(t *testing.T) {
	b, err := os.ReadFile("testdata/packets.yaml")
	require.NoError(t, err)
	var cases []struct {
		Name    string
		MTU     int
		Pipe    PipeID
		Message struct {
			Type        string
			Instruction byte
			Data        string
		}
		Packets []string
	}
	require.NoError(t, yaml.Unmarshal(b, &cases))
	require.NotEmpty(t, cases)
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			p := Edit(t, "packet.mtu", c.MTU)
			m := Message{typeNames[c.Message.Type], c.Message.Instruction, fromHex(t, c.Message.Data)}
			whole, err := p.AppendMessage(nil, m)
			require.NoError(t, err)

			var packets [][]byte
			for rest := whole; ; {
				k := min(len(rest), p.Packet.MTU-p.Packet.HeaderOctets)
				packets = append(packets, p.AppendPacket(nil, Packet{c.Pipe, k == len(rest), rest[:k]}))
				if rest = rest[k:]; len(rest) == 0 {
					break
				}
			}
			require.Len(t, packets, len(c.Packets))
			var r Reassembler
			for i, want := range c.Packets {
				require.Equal(t, fromHex(t, want), packets[i])
				k, err := p.DecodePacket(packets[i])
				require.NoError(t, err)
				require.Equal(t, c.Pipe, k.Pipe)
				require.Equal(t, i == len(c.Packets)-1, k.Last)
				msg, done, err := r.Add(p, k.Fragment, k.Last)
				require.NoError(t, err)
				require.Equal(t, k.Last, done)
				if done {
					got, err := p.DecodeMessage(msg)
					require.NoError(t, err)
					require.Equal(t, m, got)
				}
			}

			// The sending side of a pipe makes the same packets.
			require.Equal(t, packets, sniff(p, c.Pipe, m))
		})
	}
}

func TestBadPackets(t *testing.T) {
	p := DefaultProfile()
	for _, b := range [][]byte{nil, {0x82}} {
		_, err := p.DecodePacket(b)
		require.ErrorIs(t, err, ErrPacket)
	}
	p2 := Edit(t, "packet.header_octets", 2)
	_, err := p2.DecodePacket([]byte{0, 0x82})
	require.ErrorIs(t, err, ErrPacket)
}

func TestBadMessages(t *testing.T) {
	p := DefaultProfile()
	_, err := p.DecodeMessage(nil)
	require.ErrorIs(t, err, ErrMessage)
	_, err = p.DecodeMessage([]byte{0xC0, 1})
	require.ErrorIs(t, err, ErrMessageType)
	_, err = p.AppendMessage(nil, Message{Type: 3})
	require.ErrorIs(t, err, ErrMessageType)
	_, err = p.AppendMessage(nil, Message{Instruction: 0x40})
	require.ErrorContains(t, err, "instruction 0x40")
	_, err = p.AppendMessage(nil, Message{Data: make([]byte, p.Message.MaxLength+1)})
	require.ErrorIs(t, err, ErrMessageTooLong)
	require.Equal(t, "unknown type", MessageType(3).String())
}

func TestReassemblyBounded(t *testing.T) {
	p := Edit(t, "message.max_length", 1000)
	var r Reassembler
	fragment := bytes.Repeat([]byte{7}, 100)
	tooLong := 0
	for range 1000 { // a chain that never ends
		_, done, err := r.Add(p, fragment, false)
		require.False(t, done)
		if err != nil {
			require.ErrorIs(t, err, ErrMessageTooLong)
			tooLong++
		}
		require.LessOrEqual(t, len(r.buf), 1001)
	}
	require.Equal(t, 1, tooLong, "told once")
	_, done, err := r.Add(p, fragment, true)
	require.NoError(t, err)
	require.False(t, done, "the last fragment belongs to the dropped chain")
	msg, done, err := r.Add(p, fragment, true)
	require.NoError(t, err)
	require.True(t, done)
	require.Equal(t, fragment, msg)
}

func TestReassemblyEmptyFragment(t *testing.T) {
	p := DefaultProfile()
	var r Reassembler
	_, _, err := r.Add(p, []byte{1}, false)
	require.NoError(t, err)
	_, _, err = r.Add(p, nil, false)
	require.ErrorIs(t, err, ErrFragment)
	_, done, err := r.Add(p, []byte{2}, true)
	require.NoError(t, err)
	require.False(t, done)
	_, _, err = r.Add(p, nil, true) // empty and last: nothing is left to drop
	require.ErrorIs(t, err, ErrFragment)
	msg, done, err := r.Add(p, []byte{3}, true)
	require.NoError(t, err)
	require.True(t, done)
	require.Equal(t, []byte{3}, msg)
}

func TestReassemblyReset(t *testing.T) {
	p := DefaultProfile()
	var r Reassembler
	_, _, err := r.Add(p, []byte{1}, false)
	require.NoError(t, err)
	r.Reset()
	msg, done, err := r.Add(p, []byte{2}, true)
	require.NoError(t, err)
	require.True(t, done)
	require.Equal(t, []byte{2}, msg)
}

func FuzzPacket(f *testing.F) {
	p := DefaultProfile()
	wide := Edit(f, "packet.header_octets", 2, "packet.chaining_bit", 15, "packet.pipe_bits", 15, "packet.chaining_last", 0)
	f.Add([]byte{0x82, 0x50, 0x00, 0xA4})
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, p := range []*Profile{p, wide} {
			k, err := p.DecodePacket(b)
			if err != nil {
				require.ErrorIs(t, err, ErrPacket)
				continue
			}
			require.Equal(t, b, p.AppendPacket(nil, k), "every bit of these headers has a meaning")
		}
	})
}

func FuzzMessage(f *testing.F) {
	p := DefaultProfile()
	f.Add([]byte{0x50, 0x00, 0xA4})
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := p.DecodeMessage(b)
		if err != nil {
			return
		}
		got, err := p.AppendMessage(nil, m)
		require.NoError(t, err)
		require.Equal(t, b, got)
	})
}

// FuzzReassembly: data cut at any places comes out whole, also right after a
// chain that was given up; and no stream of fragments holds more than is allowed.
func FuzzReassembly(f *testing.F) {
	p := Edit(f, "message.max_length", 300)
	f.Add([]byte("a message of some length"), []byte{3, 1, 200, 4}, []byte{0, 5, 1, 0, 1})
	f.Fuzz(func(t *testing.T, data, cuts, stream []byte) {
		var r Reassembler
		for _, s := range stream { // anything: lengths 0 to 127, last or not
			msg, done, err := r.Add(p, make([]byte, s>>1), s&1 == 1)
			require.LessOrEqual(t, len(r.buf), 301)
			if done {
				require.NoError(t, err)
				require.LessOrEqual(t, len(msg), 301)
			}
		}
		_, _, _ = r.Add(p, []byte{1}, true) // ends whatever was under way
		data = data[:min(len(data), 301)]
		if len(data) == 0 {
			return
		}
		rest := data
		for _, c := range cuts {
			if k := int(c); k > 0 && k < len(rest) {
				_, done, err := r.Add(p, rest[:k], false)
				require.NoError(t, err)
				require.False(t, done)
				rest = rest[k:]
			}
		}
		msg, done, err := r.Add(p, rest, true)
		require.NoError(t, err)
		require.True(t, done)
		require.Equal(t, data, msg)
	})
}
