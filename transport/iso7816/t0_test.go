package iso7816

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func unhex(tb testing.TB, s string) []byte {
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	require.NoError(tb, err)
	return b
}

// TestT0Terminal: what the terminal sends (>) and the card (<).
func TestT0Terminal(t *testing.T) {
	for name, c := range map[string]struct {
		command, wire, answer string
		err                   error
	}{
		"case 1":                         {"00440000", "> 0044000000 < 9000", "9000", nil},
		"case 1, status of two kinds":    {"00440000", "> 0044000000 < 6982", "6982", nil},
		"case 2S":                        {"00B0000003", "> 00B0000003 < B0 010203 9000", "0102039000", nil},
		"case 2S, Le = 00":               {"00B0000000", "> 00B0000000 < B0 " + strings.Repeat("B0", 256) + " 9000", strings.Repeat("B0", 256) + "9000", nil},
		"case 2S, byte by byte":          {"00B0000003", "> 00B0000003 < 4F 60 4F 60 4F 90 9000", "6060909000", nil},
		"case 2S, wrong Le":              {"00B0000003", "> 00B0000003 < 6C02", "6C02", nil},
		"case 2S, less than Le":          {"00B0000003", "> 00B0000003 < 4F 01 6282", "016282", nil},
		"case 3S":                        {"00D6000002AABB", "> 00D6000002 < D6 > AABB < 9000", "9000", nil},
		"case 3S, byte by byte":          {"00D6000002AABB", "> 00D6000002 < 29 > AA < 29 > BB < 9000", "9000", nil},
		"case 3S, a byte, then the rest": {"00D6000003AABBCC", "> 00D6000003 < 29 > AA < D6 > BBCC < 9000", "9000", nil},
		"case 3S, refused":               {"00D6000002AABB", "> 00D6000002 < 6A80", "6A80", nil},
		"case 4S, Le is not sent":        {"00A40000023F0000", "> 00A4000002 < A4 > 3F00 < 6110", "6110", nil},
		"NULL here and there":            {"00D6000002AABB", "> 00D6000002 < 6060 D6 > AABB < 60 90 00", "9000", nil},
		"SW2 of 60 is not a NULL":        {"00440000", "> 0044000000 < 9060", "9060", nil},
		"NULL without end":               {"00440000", "> 0044000000 < " + strings.Repeat("60", 501), "", ErrT0Null},
		"no procedure byte":              {"00B0000003", "> 00B0000003 < 12", "", ErrT0Procedure},
		"ACK without data":               {"00440000", "> 0044000000 < 44", "", ErrT0Procedure},
		"ACK after all data":             {"00D6000001AA", "> 00D6000001 < D6 > AA < D6", "", ErrT0Procedure},
		"too short":                      {"004400", "", "", ErrT0Command},
		"extended":                       {"00B00000000100", "", "", ErrT0Command},
		"Lc is wrong":                    {"00D6000003AABB00FF00", "", "", ErrT0Command},
		"INS 6X":                         {"00600000", "", "", ErrT0Command},
		"INS 9X":                         {"009F0000", "", "", ErrT0Command},
	} {
		t.Run(name, func(t *testing.T) {
			var m t0Terminal
			wire := ""
			say := func(dir string, p []byte) {
				if len(p) > 0 {
					wire += dir + hex.EncodeToString(p)
				}
			}
			send, err := m.start(unhex(t, c.command))
			say(">", send)
			done := false
			for _, part := range strings.Split(c.wire, "<")[min(1, strings.Count(c.wire, "<")):] {
				part, _, _ = strings.Cut(part, ">")
				card := unhex(t, part)
				wire += "<"
				for _, b := range card {
					require.False(t, done || err != nil)
					wire += hex.EncodeToString([]byte{b})
					send, done, err = m.take(b)
					say(">", send)
				}
			}
			if c.err != nil {
				require.ErrorIs(t, err, c.err)
				return
			}
			require.NoError(t, err)
			require.True(t, done)
			require.Equal(t, strings.ToLower(strings.ReplaceAll(c.wire, " ", "")), wire)
			require.Equal(t, unhex(t, c.answer), m.answer)
		})
	}
}

// TestT0Card: what comes (>), what the card sends (<), the commands it delivers (!) and
// the answers to them.
func TestT0Card(t *testing.T) {
	for name, c := range map[string]string{
		"case 1":                            "> 0044000000 ! 0044000000 9000 < 9000",
		"case 2S":                           "> 00B0000003 ! 00B0000003 0102039000 < B00102039000",
		"case 2S, no data":                  "> 00B0000003 ! 00B0000003 6A82 < 6A82",
		"case 2S, Le is too large":          "> 00B0000005 ! 00B0000005 0102039000 < 6C03 > 00B0000003 < B00102039000",
		"case 2S, Le is too small":          "> 00B0000001 ! 00B0000001 0102039000 < B0016102 > 00C0000002 < C002039000",
		"after 6CXX something else":         "> 00B0000005 ! 00B0000005 0102039000 < 6C03 > 00B0000103 ! 00B0000103 6A82 < 6A82 > 00C0000003 ! 00C0000003 6D00 < 6D00",
		"case 3S":                           "> 00D6000002 < D6 > AABB ! 00D6000002AABB 9000 < 9000",
		"case 4S, 61XX of the application":  "> 00A4000002 < A4 > 3F00 ! 00A40000023F00 6102 < 6102 > 00C0000002 ! 00C0000002 01029000 < C001029000",
		"case 4S, a whole answer":           "> 00A4000002 < A4 > 3F00 ! 00A40000023F00 01029000 < 6102 > 00C0000002 < C001029000",
		"GET RESPONSE in two parts":         "> 00A4000002 < A4 > 3F00 ! 00A40000023F00 01029000 < 6102 > 00C0000001 < C0016101 > 00C0000001 < C0029000",
		"GET RESPONSE of too much":          "> 00A4000002 < A4 > 3F00 ! 00A40000023F00 01029000 < 6102 > 00C0000000 < 6C02 > 00C0000002 < C001029000",
		"6CXX of the application":           "> 8075000005 ! 8075000005 6C01 < 6C01 > 8075000001 ! 8075000001 AA9000 < 75AA9000",
		"INS 6X":                            "> 0060000000 < 6D00",
		"INS 9X":                            "> 00900000FF < 6D00",
		"F2 is STATUS":                      "> 80F2000002 ! 80F2000002 01029000 < F201029000",
		"F2 is GET STATUS":                  "> 80F2400002 < F2 > 4F00 ! 80F24000024F00 9000 < 9000",
		"another instruction that answers":  "> 80DD000002 ! 80DD000002 01029000 < DD01029000",
		"the same, whose data are not kept": "> 0044000000 ! 0044000000 9000 < 9000 > 00C0000000 ! 00C0000000 6F00 < 6F00",
	} {
		t.Run(name, func(t *testing.T) {
			m := t0Card{outgoing: []byte{0xDD}}
			var wire []string
			in := strings.Fields(c)
			for i := 0; i < len(in); i++ {
				if in[i] != ">" {
					continue
				}
				i++
				wire = append(wire, ">", in[i])
				for _, b := range unhex(t, in[i]) {
					send, command := m.take(b)
					if send != nil {
						wire = append(wire, "<", fmt.Sprintf("%X", send))
					}
					if command != nil {
						wire = append(wire, "!", fmt.Sprintf("%X", command))
						require.Equal(t, []byte{t0Null}, m.null())
						require.Greater(t, len(in), i+3)
						wire = append(wire, in[i+3])
						wire = append(wire, "<", fmt.Sprintf("%X", m.answer(unhex(t, in[i+3]))))
						require.Nil(t, m.null())
					}
				}
			}
			require.Equal(t, c, strings.Join(wire, " "))
		})
	}
}

// FuzzT0: a terminal and a card carry every short command and answer; in what the fuzzer
// says in place of one of them there is nothing that makes the other one hang or panic.
func FuzzT0(f *testing.F) {
	f.Add([]byte{0, 0x44, 0, 0}, []byte{0x90, 0})
	f.Add([]byte{0, 0xB0, 0, 0, 3}, []byte{1, 2, 3, 0x90, 0})
	f.Add([]byte{0, 0xB0, 0, 0, 0}, []byte{1, 2, 3, 0x90, 0})
	f.Add([]byte{0, 0xD6, 0, 0, 2, 1, 2}, []byte{0x90, 0})
	f.Add([]byte{0, 0xA4, 0, 0, 2, 0x3F, 0, 0}, bytes.Repeat([]byte{0x60}, 258))
	f.Add([]byte{0, 0xC0, 0, 0, 0}, []byte{0x6C, 5})
	f.Fuzz(func(t *testing.T, command, answer []byte) {
		if len(command) > 600 || len(answer) > 1000 {
			return // takes long, and shows nothing more
		}
		var m t0Terminal
		if _, err := m.start(command); err == nil {
			for _, b := range answer {
				if _, done, err := m.take(b); done || err != nil {
					break
				}
			}
			require.LessOrEqual(t, len(m.answer), 258)
		}
		var c t0Card
		for _, b := range append(bytes.Clone(answer), command...) {
			if _, cmd := c.take(b); cmd != nil {
				c.answer(answer)
			}
			require.LessOrEqual(t, len(c.cmd), 261)
		}
		if len(answer) < 2 || badINS(answer[0]) && len(answer) > 2 {
			return
		}
		// Together: all of the answer comes.
		c.reset()
		send, err := m.start(command)
		if err != nil {
			return
		}
		var whole []byte
		for range 20 {
			var back []byte
			for len(send) > 0 {
				back = nil
				for _, b := range bytes.Clone(send) {
					out, cmd := c.take(b)
					back = append(back, out...)
					if cmd != nil {
						back = append(back, c.answer(answer)...)
					}
				}
				send = nil
				for _, b := range back {
					out, done, err := m.take(b)
					if err != nil {
						return // an answer that is no answer: SW1 is none
					}
					send = append(send, out...)
					if done {
						send = nil
					}
				}
			}
			if m.busy {
				return
			}
			n := len(m.answer)
			whole = append(whole, m.answer[:n-2]...)
			next := []byte{0, 0xC0, 0, 0, m.answer[n-1]}
			switch {
			case len(c.kept) == 0:
				require.Equal(t, answer, append(whole, m.answer[n-2:]...))
				return
			case m.answer[n-2] == 0x6C:
				next = append(bytes.Clone(m.header[:4]), m.answer[n-1])
			}
			send, err = m.start(next)
			require.NoError(t, err)
		}
	})
}

func TestPPS(t *testing.T) {
	for _, c := range []struct {
		hex  string
		want PPS
		err  error
	}{
		{"FF01FE", PPS{T: 1}, nil},
		{"FF00FF", PPS{}, nil},
		{"FF119678", PPS{T: 1, PPS1: b(0x96)}, nil},
		{"FF3096010158", PPS{}, ErrPPSShort},
		{"FF70110203EF", PPS{}, nil},
		{"FF01FF", PPS{}, ErrPPSCheck},
		{"FE01FF", PPS{}, ErrPPSStart},
		{"FF01", PPS{}, ErrPPSShort},
		{"", PPS{}, ErrPPSShort},
	} {
		raw := unhex(t, c.hex)
		if c.hex == "FF70110203EF" {
			c.want = PPS{PPS1: b(0x11), PPS2: b(2), PPS3: b(3)}
			raw[5] = xor(raw[:5])
		}
		got, err := ParsePPS(raw)
		require.ErrorIs(t, err, c.err, c.hex)
		if c.err == nil {
			require.Equal(t, c.want, got, c.hex)
			require.Equal(t, raw, got.Bytes())
		}
	}
	ask := PPS{T: 1, PPS1: b(0x96)}
	require.NoError(t, ask.Accepts(ask))
	require.NoError(t, ask.Accepts(PPS{T: 1}))
	require.ErrorIs(t, ask.Accepts(PPS{T: 0, PPS1: b(0x96)}), ErrPPSAnswer)
	require.ErrorIs(t, ask.Accepts(PPS{T: 1, PPS1: b(0x95)}), ErrPPSAnswer)
	require.ErrorIs(t, ask.Accepts(PPS{T: 1, PPS2: b(1)}), ErrPPSAnswer)
}

func FuzzPPS(f *testing.F) {
	for _, s := range []string{"FF01FE", "FF119678", "FF00FF", "FF7011020300", ""} {
		f.Add(unhex(f, s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		p, err := ParsePPS(raw)
		if err != nil {
			return
		}
		again, err := ParsePPS(p.Bytes())
		require.NoError(t, err)
		require.Equal(t, p, again)
		require.NoError(t, p.Accepts(again))
	})
}

// FuzzInband: whatever comes on a line with escapes, what is a character stays one.
func FuzzInband(f *testing.F) {
	f.Add([]byte{1, 2, 0xFF, 0xFF, 0xFF, 0x01, 3})
	f.Add([]byte{0xFF, 0x77, 0xFF})
	f.Fuzz(func(t *testing.T, raw []byte) {
		var d inband
		var got gathered
		d.take(appendChars(nil, raw), &got)
		require.True(t, bytes.Equal(raw, got.p))
		require.Empty(t, got.s)
		d.take(raw, &got)
		new(marked).take(raw, &got)
		for _, s := range got.s {
			require.Less(t, s, signals)
		}
	})
}

type gathered struct {
	p []byte
	s []signal
}

func (g *gathered) chars(p []byte, _ bool) { g.p = append(g.p, p...) }
func (g *gathered) signalled(s signal)     { g.s = append(g.s, s) }

func TestParameters(t *testing.T) {
	plain := Parameters{Protocols: []byte{0}, FD: 0x11, F: 372, D: 1, WI: 10, IFSC: 32, BWI: 4, CWI: 13}
	with := func(f func(*Parameters)) Parameters {
		p := plain
		f(&p)
		return p
	}
	for _, c := range []struct {
		atr  string
		want Parameters
		err  string
	}{
		{"3B00", plain, ""},
		{"3B8080 0101", with(func(p *Parameters) { p.Protocols = []byte{0, 1} }), ""},
		{"3B1096", with(func(p *Parameters) { p.FD, p.F, p.D = 0x96, 512, 32 }), ""},
		{"3B40FF", with(func(p *Parameters) { p.N = 255 }), ""},
		{"3B804014", with(func(p *Parameters) { p.WI = 20 }), ""},
		{"3B 80 81 71 FE 45 01", with(func(p *Parameters) { p.Protocols = []byte{1}; p.IFSC, p.BWI, p.CWI, p.CRC = 254, 4, 5, true }), ""},
		{"3B 90 18 11 81", with(func(p *Parameters) { p.Protocols, p.Specific, p.FD, p.F, p.D = []byte{1}, true, 0x18, 372, 12 }), ""},
		{"3B10F1", Parameters{}, "atr: TA1 = F1 is a reserved value (8.3)"},
		{"3B804000", Parameters{}, "atr: TC2 = 00 is a reserved value of WI (10.2)"},
		{"3B 80 81 11 FF", Parameters{}, "atr: IFSC = FF is a reserved value (11.4.2)"},
		{"3B 80 81 21 A5", Parameters{}, "atr: BWI = 10 is a reserved value (11.4.3)"},
	} {
		raw := unhex(t, c.atr)
		a, err := ParseATR(raw)
		if err != nil { // TCK is left out of the table
			a, err = ParseATR(append(raw, xor(raw[1:])))
		}
		require.NoError(t, err, c.atr)
		got, err := a.Parameters()
		if c.err != "" {
			require.EqualError(t, err, c.err)
			continue
		}
		require.NoError(t, err)
		require.Equal(t, c.want, got, c.atr)
	}
	// Waiting times at 9600 baud (10.2, 11.4.3): WWT 9600 etu; CWT 11 + 2^CWI etu; BWT
	// 11 etu and 2^BWI * 960 initial ones.
	etu := time.Second / 9600
	require.Equal(t, times{etu: etu, wwt: 9600 * etu, cwt: 8203 * etu, bwt: 15371 * etu}, plain.times(0x11, 9600))
	fast := plain.times(0x96, 9600)
	require.Equal(t, etu*512/(372*32), fast.etu)
	require.Equal(t, fast.etu*9600*32, fast.wwt)
	require.Equal(t, 11*fast.etu+15360*etu, fast.bwt)
}
