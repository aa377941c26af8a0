package tunnel_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/internal/pcscdtest"
	"github.com/sspemu/sspemu/transport"
	"github.com/sspemu/sspemu/transport/iso7816"
	"github.com/sspemu/sspemu/transport/linktest"
	"github.com/sspemu/sspemu/transport/tunnel"
)

// apdus hides that the link below carries packets, and says how T=0 or T=1 it is.
type apdus struct {
	transport.Link
	whole bool
	see   func(k transport.Kind, p []byte) // what is sent
}

func (a apdus) WholeAnswers() bool { return a.whole }

func (a apdus) Send(k transport.Kind, p []byte) error {
	if k == transport.Packet {
		return transport.ErrDirection
	}
	if a.see != nil {
		a.see(k, p)
	}
	return a.Link.Send(k, p)
}

func pair(cfg tunnel.Config, whole bool) (controller, target transport.Link) {
	c, t := transport.Mem()
	return tunnel.Controller(apdus{Link: c}, cfg), tunnel.Target(apdus{Link: t, whole: whole}, cfg)
}

func TestLink(t *testing.T) {
	extended := tunnel.Default()
	extended.Command, extended.Response = 4000, 4000
	tiny := tunnel.Default()
	tiny.Command, tiny.Response, tiny.MTU = 7, 9, 300
	for name, cfg := range map[string]tunnel.Config{"short": tunnel.Default(), "extended": extended, "tiny": tiny} {
		for _, whole := range []bool{true, false} {
			if !whole && cfg.Response > 256 {
				continue
			}
			t.Run(fmt.Sprint(name, " whole ", whole), func(t *testing.T) {
				linktest.Run(t, func(*testing.T) (controller, target transport.Link) { return pair(cfg, whole) })
			})
		}
	}
}

func TestVPCD(t *testing.T) {
	linktest.Run(t, func(t *testing.T) (controller, target transport.Link) {
		url := "vpcd://" + pcscdtest.FreeAddr(t)
		reader, err := transport.Open(url, transport.Controller, iso7816.Schemes)
		require.NoError(t, err)
		card, err := transport.Open(url+"?protocol=t0", transport.Target, iso7816.Schemes)
		require.NoError(t, err)
		return tunnel.Controller(reader, tunnel.Default()), tunnel.Target(card, tunnel.Default())
	})
}

// ssp is what is behind a Target: it keeps packets, and answers commands with 6D00.
type ssp struct {
	link    transport.Link
	packets []string
}

func (s *ssp) Frame(k transport.Kind, p []byte) {
	switch k {
	case transport.Packet:
		s.packets = append(s.packets, strings.ToUpper(hex.EncodeToString(p)))
	case transport.Block:
		_ = s.link.Send(transport.Block, []byte{0x6D, 0x00})
	}
}

// TestTarget is dialogues of a terminal with the target; "!" is a packet that the SSP
// sends, "=" a packet that it got ("=-": somebody new), "off" takes the power away.
func TestTarget(t *testing.T) {
	const begin = "> 0075C200 < 92C0 =- "
	for name, c := range map[string]struct {
		t0     bool
		script string
	}{
		"a session and both ways":          {false, begin + "> 0075C40003800182 < 92C0 =82 ! 0102 ! 03 > 0075C00000 < 80020102 800103 92C0 > 0075C00000 < 92C0"},
		"several packets in a command":     {false, begin + "> 0075C40006 800111 800122 < 92C0 =11 =22"},
		"a packet in several commands":     {false, begin + "> 0075C40203 800501 < 92C0 > 0075C40102 0203 < 92C0 > 0075C40002 0405 < 92C0 =0102030405"},
		"packets wait":                     {false, begin + "! 0102030405 > 0075C40003 800199 < 92C1 =99 > 0075C00004 < 80050102 92C1 > 0075C00002 < 0304 92C1 > 0075C00000 < 05 92C0"},
		"T=0 wants the right Le":           {true, begin + "! 0102 > 0075C00000 < 6C04 > 0075C00004 < 80020102 92C0 > 0075C00000 < 92C0"},
		"T=0 begins with a Le":             {true, "> 0075C20000 < 92C0 =-"},
		"a longer header, filling":         {false, begin + "> 0075C40007 00 80 81 01 55 0000 < 92C0 =55"},
		"extended":                         {false, begin + "> 0075C400000003800182 < 92C0 =82 ! 01 > 0075C000000010 < 800101 92C0"},
		"no session":                       {false, "> 0075C40003800182 < 6985 > 0075C00000 < 6985 ! 01"},
		"the session ends with power":      {false, begin + "off > 0075C40003800182 < 6985"},
		"a session begins anew":            {false, begin + "! 01 > 0075C4010180 < 92C1 " + begin + "> 0075C40003800177 < 92C0 =77"},
		"other sessions pass":              {false, "> 0075020000 < 6D00 > 0075440003800182 < 6D00 > 0175C200 < 6D00 > 00A40000 < 6D00 > 00 < 6D00"},
		"Lc and Le":                        {false, begin + "> 0075C4000380018200 < 6700 > 0075C400 < 6700 > 0075C40000 < 6700 > 0075C000 < 6700 > 0075C00001AA < 6700 > 0075C00001AA00 < 6700 > 0075C40005 8001 < 6700 > 0075C20001AA < 6700"},
		"P1 and P2":                        {false, begin + "> 0075CC0003800182 < 6A86 > 0075C10000 < 6A86 > 0075C00100 < 6A86 > 0075C60003800182 < 6A86 > 0075C201 < 6A86"},
		"P2 out of order drops the blocks": {false, begin + "> 0075C4020180 < 92C0 > 0075C4000101 < 6A86 > 0075C4000155 < 6A80 > 0075C40003800182 < 92C0 =82"},
		"not packets":                      {false, begin + "> 0075C40003810182 < 6A80 > 0075C400028000 < 6A80 > 0075C40003800282 < 6A80 > 0075C40006800182800282 < 6A80 > 0075C40003FFFFFF < 6A80"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := tunnel.Default()
			terminal, below := transport.Mem()
			l := tunnel.Target(apdus{Link: below, whole: !c.t0}, cfg)
			s := &ssp{link: l}
			require.NoError(t, l.Open(t.Context(), s))
			var answer []byte
			require.NoError(t, terminal.Open(t.Context(), receiver(func(k transport.Kind, p []byte) { answer = bytes.Clone(p) })))
			words := strings.Fields(c.script)
			octets := func(i int) (b []byte, next int) { // as long as there are hexadecimal words
				for next = i; next < len(words); next++ {
					part, err := hex.DecodeString(words[next])
					if err != nil {
						break
					}
					b = append(b, part...)
				}
				return b, next
			}
			for i := 0; i < len(words); {
				switch word := words[i]; {
				case word == "off":
					require.NoError(t, terminal.Send(transport.PowerOff, nil))
					i++
				case word[0] == '=':
					require.NotEmpty(t, s.packets)
					require.Equal(t, strings.TrimPrefix(word[1:], "-"), s.packets[0])
					s.packets = s.packets[1:]
					i++
				default:
					b, next := octets(i + 1)
					switch word {
					case ">":
						answer = nil
						require.NoError(t, terminal.Send(transport.Block, b))
					case "<":
						require.Equal(t, fmt.Sprintf("%X", b), fmt.Sprintf("%X", answer), "after %v", words[:i])
					case "!":
						_ = l.Send(transport.Packet, b)
					}
					i = next
				}
			}
			require.Empty(t, s.packets)
		})
	}
}

type receiver func(k transport.Kind, p []byte)

func (r receiver) Frame(k transport.Kind, p []byte) { r(k, p) }

// script is a card at the other end of a Controller: it answers commands as a table
// says, by step; what is not in it is not answered.
type script struct {
	link    transport.Link
	answers []string // "> command < answer", in order
	t       *testing.T
}

func (s *script) Frame(k transport.Kind, p []byte) {
	switch k {
	case transport.PowerOn:
		_ = s.link.Send(transport.ATR, []byte{0x3B, 0x00})
	case transport.Block:
		if len(s.answers) == 0 {
			if p[2] != 0xC0 && p[2] != 0xC2 || p[3] != 0 { // asking is always fine, and leaving
				s.t.Errorf("unexpected command %X", p)
			}
			_ = s.link.Send(transport.Block, []byte{0x92, 0xC0})
			return
		}
		want, answer, _ := strings.Cut(s.answers[0], "<")
		s.answers = s.answers[1:]
		if want != fmt.Sprintf("%X", p) {
			s.t.Errorf("got %X, want %s", p, want)
		}
		if b, err := hex.DecodeString(answer); err == nil && answer != "" {
			_ = s.link.Send(transport.Block, b)
		}
	}
}

// user is the terminal above a Controller.
type user struct {
	mu      sync.Mutex
	packets []string
	lost    int
}

func (u *user) Frame(k transport.Kind, p []byte) {
	u.mu.Lock()
	defer u.mu.Unlock()
	switch {
	case k == transport.Packet && len(p) == 0:
		u.lost++
	case k == transport.Packet:
		u.packets = append(u.packets, fmt.Sprintf("%X", p))
	}
}

func (u *user) losses() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.lost
}

func TestController(t *testing.T) {
	for name, c := range map[string]struct {
		card    []string
		packets []string // that come
		trouble string
		want    int // how often the session is lost
	}{
		"packets come when they wait": {
			card:    []string{"0075C200<92C0", "0075C4000380010A<92C1", "0075C00000<80010192C1", "0075C00000<800102800292C1", "0075C00000<030492C0"},
			packets: []string{"01", "02", "0304"},
		},
		"T=0: 6CXX": {
			card:    []string{"0075C200<92C0", "0075C4000380010A<92C1", "0075C00000<6C03", "0075C00003<80010192C0"},
			packets: []string{"01"},
		},
		"a link that answers 61XX": {
			card:    []string{"0075C200<92C0", "0075C4000380010A<6103", "00C0000003<80010192C0"},
			packets: []string{"01"},
		},
		"a toolkit command waits":      {card: []string{"0075C200<9110", "0075C4000380010A<9110"}},
		"a card without":               {card: []string{"0075C200<6D00"}, trouble: "the card carries no SCL packets: TRANSACT DATA was answered with 6D00 (instruction not supported or invalid)", want: 1},
		"the card forgets the session": {card: []string{"0075C200<92C0", "0075C4000380010A<6985"}, trouble: "the card does not know of the session any more", want: 1},
		"the card is confused":         {card: []string{"0075C200<92C0", "0075C4000380010A<6A80"}, trouble: "TRANSACT DATA was answered with 6A80 (", want: 1},
		"a rotten answer":              {card: []string{"0075C200<92C0", "0075C4000380010A<92C1", "0075C00000<31010A92C1"}, trouble: "tunnel: not a data object with a packet", want: 1},
		"more and more, and nothing":   {card: append([]string{"0075C200<92C0", "0075C4000380010A<92C1"}, slices.Repeat([]string{"0075C00000<92C1"}, 17)...), trouble: "the card says that there is more, and gives nothing", want: 1},
		"half a status word":           {card: []string{"0075C200<92"}, trouble: "an answer without a status word", want: 1},
		"another session's status":     {card: []string{"0075C200<9200"}, trouble: "the card carries no SCL packets: TRANSACT DATA was answered with 9200", want: 1},
		"no answer":                    {card: []string{"0075C200<92C0", "0075C4000380010A<"}, trouble: "the card did not answer within 20s", want: 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				below, card := transport.Mem()
				l := tunnel.Controller(apdus{Link: below}, tunnel.Default())
				s := &script{link: card, answers: c.card, t: t}
				u := &user{}
				require.NoError(t, l.Open(t.Context(), u))
				require.NoError(t, l.Send(transport.Packet, []byte{0x0A}), "it waits for a card")
				require.EqualError(t, transport.Trouble(l), "no card has come")
				require.NoError(t, card.Open(t.Context(), s))
				time.Sleep(21 * time.Second)
				synctest.Wait()
				u.mu.Lock()
				defer u.mu.Unlock()
				require.Equal(t, c.packets, u.packets)
				require.Equal(t, c.want, u.lost)
				require.Empty(t, s.answers)
				if c.trouble == "" {
					require.NoError(t, transport.Trouble(l))
				} else {
					require.ErrorContains(t, transport.Trouble(l), c.trouble)
				}
				require.NoError(t, l.Close())
			})
		})
	}
}

// busy is a card that another program resets: every third command is refused.
type busy struct {
	transport.Link
	n, again int
}

func (b *busy) Send(k transport.Kind, p []byte) error {
	switch k {
	case transport.Packet:
		return transport.ErrDirection
	case transport.GetATR:
		b.again++
	case transport.Block:
		if b.n++; b.n > 3 && b.n%3 == 0 {
			return fmt.Errorf("reader: %w", transport.ErrReset)
		}
	}
	return b.Link.Send(k, p)
}

// TestResetByAnother: a session outlives the resets of other programs.
func TestResetByAnother(t *testing.T) {
	c, d := transport.Mem()
	cfg := tunnel.Default()
	b := &busy{Link: c}
	l := tunnel.Controller(b, cfg)
	target := tunnel.Target(apdus{Link: d}, cfg)
	u := &user{}
	require.NoError(t, l.Open(t.Context(), u))
	require.NoError(t, target.Open(t.Context(), receiver(func(k transport.Kind, p []byte) {
		switch {
		case k == transport.PowerOn || k == transport.GetATR:
			_ = target.Send(transport.ATR, []byte{0x3B, 0x00})
		case k == transport.Packet && len(p) > 0:
			_ = target.Send(transport.Packet, p)
		}
	})))
	var want []string
	for i := range 50 {
		require.NoError(t, l.Send(transport.Packet, []byte{byte(i)}))
		want = append(want, fmt.Sprintf("%02X", i))
	}
	require.Eventually(t, func() bool {
		u.mu.Lock()
		defer u.mu.Unlock()
		return len(u.packets) == len(want)
	}, 10*time.Second, time.Millisecond)
	require.Equal(t, want, u.packets)
	require.Zero(t, u.lost)
	require.NoError(t, l.Close())
	require.NoError(t, target.Close())
	require.Positive(t, b.again)
}

// TestPoll: what the card has to say by itself is there after at most PollMost.
func TestPoll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int32
		c, d := transport.Mem()
		cfg := tunnel.Default()
		l := tunnel.Controller(apdus{Link: c, see: func(k transport.Kind, p []byte) { asked.Add(1) }}, cfg)
		target := tunnel.Target(apdus{Link: d}, cfg)
		u := &user{}
		require.NoError(t, l.Open(t.Context(), u))
		require.NoError(t, target.Open(t.Context(), receiver(func(k transport.Kind, _ []byte) {
			if k == transport.PowerOn {
				_ = target.Send(transport.ATR, []byte{0x3B, 0x00})
			}
		})))
		require.Zero(t, asked.Load(), "a card that nobody wants packets of is not asked")
		require.NoError(t, l.Send(transport.Packet, []byte{1}))
		time.Sleep(time.Minute)
		synctest.Wait()
		require.Less(t, asked.Load(), int32(60*6), "commands in a minute of silence")
		require.NoError(t, target.Send(transport.Packet, []byte{2}))
		time.Sleep(cfg.PollMost)
		synctest.Wait()
		u.mu.Lock()
		require.Equal(t, []string{"02"}, u.packets)
		u.mu.Unlock()
		// The card leaves; the terminal is told once.
		require.NoError(t, target.Send(transport.Removed, nil))
		require.Equal(t, 1, u.losses())
		require.EqualError(t, transport.Trouble(l), "the card was removed")
		require.NoError(t, target.Send(transport.Inserted, nil))
		require.NoError(t, l.Send(transport.Packet, []byte{3}))
		require.NoError(t, transport.Trouble(l))
		// A terminal that does not fetch loses its session, not single packets.
		big := make([]byte, cfg.MTU)
		var err error
		for err == nil {
			err = target.Send(transport.Packet, big)
		}
		require.ErrorIs(t, err, transport.ErrNoPeer)
		time.Sleep(cfg.PollMost)
		synctest.Wait()
		require.Equal(t, 2, u.losses())
		require.NoError(t, l.Close())
		require.ErrorIs(t, l.Send(transport.Packet, []byte{1}), transport.ErrClosed)
		require.NoError(t, target.Close())
		require.ErrorIs(t, target.Send(transport.Packet, []byte{1}), transport.ErrClosed)
	})
}

// FuzzTarget: whatever a terminal sends, each command gets one answer of at least two
// octets, and a session can begin afterwards.
func FuzzTarget(f *testing.F) {
	for _, s := range []string{"0075C2000075C40003800182", "0075C4020380050100A4000000", "0075C0000075C00000", "0075C4000AFF8182838485868788890A"} {
		b, err := hex.DecodeString(s)
		require.NoError(f, err)
		f.Add(b, uint8(4), true)
	}
	f.Fuzz(func(t *testing.T, stream []byte, cut uint8, whole bool) {
		terminal, below := transport.Mem()
		cfg := tunnel.Default()
		cfg.Queue = 1000
		l := tunnel.Target(apdus{Link: below, whole: whole}, cfg)
		require.NoError(t, l.Open(context.Background(), &ssp{link: l}))
		answers := 0
		require.NoError(t, terminal.Open(context.Background(), receiver(func(k transport.Kind, p []byte) {
			if k == transport.Block {
				require.GreaterOrEqual(t, len(p), 2)
				answers++
			}
		})))
		sent := 0
		send := func(p []byte) {
			require.NoError(t, terminal.Send(transport.Block, p))
			sent++
		}
		for n := int(cut)%40 + 1; len(stream) > 0; stream = stream[min(n, len(stream)):] {
			send(stream[:min(n, len(stream))])
			_ = l.Send(transport.Packet, stream[:1])
		}
		send([]byte{0x00, 0x75, 0xC2, 0x00})
		require.Equal(t, sent, answers)
		require.NoError(t, l.Send(transport.Packet, []byte{1}))
		require.NoError(t, l.Close())
		require.True(t, errors.Is(l.Send(transport.Packet, []byte{1}), transport.ErrClosed))
	})
}

// FuzzController: whatever a card answers, the terminal ends or goes on, and gets no
// packet that is longer than the link carries.
func FuzzController(f *testing.F) {
	for _, s := range []string{"0292C00292C10592C1800101", "0292C06103", "0292C00292C105800161920092C1", "0292C00292C1026C03", "026D00"} {
		b, err := hex.DecodeString(s)
		require.NoError(f, err)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, answers []byte) {
		below, card := transport.Mem()
		cfg := tunnel.Default()
		cfg.MTU, cfg.PollFirst, cfg.PollMost = 64, time.Hour, time.Hour
		l := tunnel.Controller(apdus{Link: below}, cfg)
		last := []byte{0x92, 0xC0}
		require.NoError(t, card.Open(context.Background(), receiver(func(k transport.Kind, _ []byte) {
			switch k {
			case transport.PowerOn:
				_ = card.Send(transport.ATR, []byte{0x3B, 0x00})
			case transport.Block:
				if len(answers) > 0 { // its length, then the answer; the last one stays
					n := min(int(answers[0])%80, len(answers)-1)
					last, answers = answers[1:1+n], answers[1+n:]
				}
				_ = card.Send(transport.Block, last)
			}
		})))
		require.NoError(t, l.Open(context.Background(), receiver(func(k transport.Kind, p []byte) {
			if k == transport.Packet {
				require.LessOrEqual(t, len(p), cfg.MTU)
			}
		})))
		for range 3 {
			require.NoError(t, l.Send(transport.Packet, make([]byte, 60)))
			_ = l.Send(transport.Block, []byte{0x00, 0xA4, 0x00, 0x00})
		}
		require.NoError(t, l.Close())
	})
}
