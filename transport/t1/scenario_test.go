package t1_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/transport"
	"github.com/sspemu/sspemu/transport/t1"
)

// A scenario is a conversation of our two ends over a wire that damages (x) or
// loses (-) the blocks that say so. Lines:
//
//	> BLOCK   the interface device sends it
//	< BLOCK   the card sends it
//	<         the card is silent: the block waiting time runs out
//	= WTX     the card that has a command asks for more time, before it answers
//	= IFS n   it says what it takes, before it answers
//	! EVENT   what the interface device comes to, instead of an answer
//
// Commands and answers are one after the other of cmds and answers.
type scenario struct {
	name    string
	cfg     t1.Config // of both; Peer is 2 unless it says otherwise
	cardMax int       // MaxAPDU of the card, if not that of cfg
	patient bool      // the interface device tries more often than the card
	cmds    string    // separated by blanks
	answers string
	script  string
}

// Numbers are those of the scenarios of ISO/IEC 7816-3 Annex A, as public tests
// name them.
var scenarios = []scenario{
	{name: "1 exchange of I-blocks", cmds: "ab cd", answers: "AB CD", script: `
		> I(0,0)
		< I(0,0)
		> I(1,0)
		< I(1,0)`},
	{name: "2 waiting time extension", cmds: "ab", answers: "AB", script: `
		> I(0,0)
		= WTX
		< S(WTX request)
		> S(WTX response)
		< I(0,0)`},
	{name: "3 the card changes IFSC", cmds: "ab cdef", answers: "AB CD", script: `
		> I(0,0)
		= IFS 4
		< S(IFS request)
		> S(IFS response)
		< I(0,0)
		> I(1,0)
		< I(1,0)`},
	{name: "5 chain to the card", cmds: "abcdef", answers: "AB", script: `
		> I(0,1)
		< R(1)
		> I(1,1)
		< R(0)
		> I(0,0)
		< I(0,0)`},
	{name: "6 chain from the card", cmds: "ab cd", answers: "ABCD CD", script: `
		> I(0,0)
		< I(0,1)
		> R(1)
		< I(1,0)
		> I(1,0)
		< I(0,0)`},
	{name: "8 the first command is damaged", cmds: "ab", answers: "AB", script: `
		> I(0,0) x
		< R(0) EDC error
		> I(0,0)
		< I(0,0)`},
	{name: "8 the first command is lost", cmds: "ab", answers: "AB", script: `
		> I(0,0) -
		<
		> R(0) other error
		< R(0) other error
		> I(0,0)
		< I(0,0)`},
	{name: "9 the answer is damaged", cmds: "ab cd", answers: "AB CD", script: `
		> I(0,0)
		< I(0,0) x
		> R(0) EDC error
		< I(0,0)
		> I(1,0)
		< I(1,0)`},
	{name: "9 the answer is lost", cmds: "ab", answers: "AB", script: `
		> I(0,0)
		< I(0,0) -
		> R(0) other error
		< I(0,0)`},
	{name: "10 command and R damaged", cmds: "ab", answers: "AB", script: `
		> I(0,0) x
		< R(0) EDC error x
		> R(0) EDC error
		< R(0) EDC error
		> I(0,0)
		< I(0,0)`},
	{name: "11 answer and R damaged", cmds: "ab", answers: "AB", script: `
		> I(0,0)
		< I(0,0) x
		> R(0) EDC error x
		< R(1) EDC error
		> R(0) EDC error
		< I(0,0)`},
	{name: "12 answer, R and R damaged", cmds: "ab", answers: "AB", script: `
		> I(0,0)
		< I(0,0) x
		> R(0) EDC error x
		< R(1) EDC error x
		> R(0) EDC error
		< I(0,0)`},
	{name: "13 answer and three R damaged", cfg: t1.Config{Retries: 3}, cmds: "ab", answers: "AB", script: `
		> I(0,0)
		< I(0,0) x
		> R(0) EDC error x
		< R(1) EDC error x
		> R(0) EDC error x
		< R(1) EDC error
		> R(0) EDC error
		< I(0,0)`},
	{name: "14 S(WTX request) is damaged", cmds: "ab", answers: "AB", script: `
		> I(0,0)
		= WTX
		< S(WTX request) x
		> R(0) EDC error
		< S(WTX request)
		> S(WTX response)
		< I(0,0)`},
	{name: "15 S(WTX request) and R are damaged", cmds: "ab", answers: "AB", script: `
		> I(0,0)
		= WTX
		< S(WTX request) x
		> R(0) EDC error x
		< S(WTX request)
		> S(WTX response)
		< I(0,0)`},
	{name: "18 S(IFS response) is damaged", cmds: "ab", answers: "AB", script: `
		> I(0,0)
		= IFS 4
		< S(IFS request)
		> S(IFS response) x
		< S(IFS request)
		> S(IFS response)
		< I(0,0)`},
	{name: "19 the answer after S(IFS response) is damaged", cmds: "ab", answers: "AB", script: `
		> I(0,0)
		= IFS 4
		< S(IFS request)
		> S(IFS response)
		< I(0,0) x
		> R(0) EDC error
		< I(0,0)`},
	{name: "20 and R too", cmds: "ab", answers: "AB", script: `
		> I(0,0)
		= WTX
		< S(WTX request)
		> S(WTX response)
		< I(0,0) x
		> R(0) EDC error x
		< R(1) EDC error
		> R(0) EDC error
		< I(0,0)`},
	{name: "21 R in a chain is damaged", cmds: "abcdef", answers: "AB", script: `
		> I(0,1)
		< R(1) x
		> R(0) EDC error
		< R(1)
		> I(1,1)
		< R(0)
		> I(0,0)
		< I(0,0)`},
	{name: "22 two R in a chain are damaged", cmds: "abcdef", answers: "AB", script: `
		> I(0,1)
		< R(1) x
		> R(0) EDC error x
		< R(1)
		> I(1,1)
		< R(0)
		> I(0,0)
		< I(0,0)`},
	{name: "23 R to the card's chain is damaged", cmds: "ab", answers: "ABCD", script: `
		> I(0,0)
		< I(0,1)
		> R(1) x
		< R(1) EDC error
		> R(1)
		< I(1,0)`},
	{name: "24 and its R too", cmds: "ab", answers: "ABCD", script: `
		> I(0,0)
		< I(0,1)
		> R(1) x
		< R(1) EDC error x
		> R(1)
		< I(1,0)`},
	{name: "a block of a chain is damaged", cmds: "abcd", answers: "AB", script: `
		> I(0,1)
		< R(1)
		> I(1,0) x
		< R(1)
		> I(1,0)
		< I(0,0)`},
	{name: "27 the card aborts the chain", cmds: "abcdef gh", answers: "GH", cardMax: 3, script: `
		> I(0,1)
		< R(1)
		> I(1,1)
		< S(ABORT request)
		> S(ABORT response)
		< R(0)
		! failed
		> I(0,0)
		< I(0,0)`},
	{name: "27 its S(ABORT request) and R are damaged", cmds: "abcdef gh", answers: "GH", cardMax: 3, script: `
		> I(0,1)
		< R(1)
		> I(1,1)
		< S(ABORT request) x
		> R(0) EDC error
		< S(ABORT request)
		> S(ABORT response) x
		< S(ABORT request)
		> S(ABORT response)
		< R(0) x
		> R(0) EDC error
		< R(0)
		! failed
		> I(0,0)
		< I(0,0)`},
	{name: "the interface device aborts the card's chain", cfg: t1.Config{MaxAPDU: 3}, cardMax: 10, cmds: "ab cd", answers: "ABCDEF CD", script: `
		> I(0,0)
		< I(0,1)
		> R(1)
		< I(1,1)
		> S(ABORT request)
		< S(ABORT response)
		! failed
		> I(1,0)
		< I(0,0)`},
	{name: "29 resynchronisation after three bad answers", cmds: "ab cd", answers: "AB AB CD", script: `
		> I(0,0)
		< I(0,0) x
		> R(0) EDC error
		< I(0,0) -
		> R(0) EDC error
		< I(0,0)
		> I(1,0)
		< I(1,0) x
		> R(1) EDC error
		< I(1,0) x
		> R(1) EDC error
		< I(1,0) x
		> S(RESYNCH request)
		< S(RESYNCH response)
		> S(IFS request)
		< S(IFS response)
		> I(0,0)
		< I(0,0)`},
	{name: "30 S(RESYNCH response) is damaged", cmds: "ab cd", answers: "AB CD CD", script: `
		> I(0,0)
		< I(0,0)
		> I(1,0)
		< I(1,0) x
		> R(1) EDC error
		< I(1,0) x
		> R(1) EDC error
		< I(1,0) x
		> S(RESYNCH request)
		< S(RESYNCH response) x
		> S(RESYNCH request)
		< S(RESYNCH response)
		> S(IFS request)
		< S(IFS response)
		> I(0,0)
		< I(0,0)`},
	{name: "31, 32 S(RESYNCH request) and the answer are damaged", cmds: "abcd", answers: "AB AB", script: `
		> I(0,1)
		< R(1)
		> I(1,0)
		< I(0,0) x
		> R(0) EDC error
		< I(0,0) x
		> R(0) EDC error
		< I(0,0) x
		> S(RESYNCH request) x
		< R(0) EDC error
		> S(RESYNCH request) x
		< R(0) EDC error x
		> S(RESYNCH request)
		< S(RESYNCH response)
		> S(IFS request)
		< S(IFS response)
		> I(0,1)
		< R(1)
		> I(1,0)
		< I(0,0)`},
	{name: "33 three S(RESYNCH request) in vain: reset (rule 6.4)", cmds: "ab cd", answers: "AB CD", script: `
		> I(0,0)
		< I(0,0)
		> I(1,0)
		< I(1,0) x
		> R(1) EDC error -
		<
		> R(1) EDC error -
		<
		> S(RESYNCH request) -
		<
		> S(RESYNCH request) -
		<
		> S(RESYNCH request) -
		<
		! reset`},
	{name: "34 nobody answers the first block: reset (rule 7.4.1)", cmds: "ab", script: `
		> I(0,0) -
		<
		> R(0) other error -
		<
		> R(0) other error -
		<
		! reset`},
	{name: "35 the card only listens after three bad blocks (rule 7.4.3)", cmds: "ab", answers: "AB", patient: true, script: `
		> I(0,0) x
		< R(0) EDC error x
		> R(0) EDC error x
		< R(0) EDC error x
		> R(0) EDC error x
		<
		> R(0) EDC error
		< R(0) EDC error
		> I(0,0)
		< I(0,0)`},
	{name: "a card that has a command and hears R asks for time", cmds: "ab", answers: "AB", script: `
		> I(0,0)
		= wait
		<
		> R(0) other error
		< S(WTX request)
		> S(WTX response)
		< I(0,0)`},
	{name: "T=1': Infineon's driver gives up where ISO resynchronises", cfg: t1.Infineon.Config(), cmds: "ab", answers: "AB", script: `
		> I(0,0) x
		< R(0) EDC error
		> I(0,0)
		< I(0,0) x
		> R(0) EDC error
		< I(0,0) x
		> R(0) EDC error
		< I(0,0) x
		! reset`},
	{name: "T=1': and resynchronises once when the target refuses", cfg: t1.Infineon.Config(), cmds: "ab", answers: "AB", script: `
		> I(0,0) x
		< R(0) EDC error
		> I(0,0) x
		< R(0) EDC error
		> I(0,0) x
		< R(0) EDC error
		> S(RESYNCH request)
		< S(RESYNCH response)
		> I(0,0)
		< I(0,0)`},
}

func TestScenarios(t *testing.T) {
	for _, c := range scenarios {
		t.Run(c.name, func(t *testing.T) { play(t, c) })
	}
}

// play runs a scenario to its last line.
func play(t *testing.T, c scenario) {
	if c.cfg.Peer == 0 {
		c.cfg.Peer = 2
	}
	ifdCfg, cardCfg := c.cfg, c.cfg
	ifdCfg.Role, cardCfg.Role = transport.Controller, transport.Target
	if c.cardMax > 0 {
		cardCfg.MaxAPDU = c.cardMax
		if ifdCfg.MaxAPDU == 0 {
			ifdCfg.MaxAPDU = 100
		}
	}
	if c.cfg.Prime {
		cardCfg.Retries = 10 // the quirks are those of controllers
	}
	if c.patient {
		ifdCfg.Retries = 10
	}
	ifd, card := t1.New(ifdCfg), t1.New(cardCfg)
	cmds, answers := strings.Fields(c.cmds), strings.Fields(c.answers)
	lines := strings.Split(strings.TrimSpace(c.script), "\n")
	at := 0
	next := func() string {
		require.Less(t, at, len(lines), "the conversation goes on after the script")
		at++
		return strings.TrimSpace(lines[at-1])
	}
	peek := func() string {
		if at == len(lines) {
			return ""
		}
		return strings.TrimSpace(lines[at])
	}
	// travel checks a block against its line and says what arrives.
	travel := func(way string, b []byte) (arrives []byte, lost bool) {
		block, err := ifd.Format().Parse(b)
		require.NoError(t, err)
		want, fate := next(), ""
		for _, f := range []string{" x", " -"} {
			if s, ok := strings.CutSuffix(want, f); ok {
				want, fate = s, f
			}
		}
		require.Equal(t, want, way+" "+block.PCB.String(), "line %d", at)
		if fate == " x" {
			b = append([]byte{}, b...)
			b[len(b)-1] ^= 0x40
		}
		return b, fate == " -"
	}
	var a t1.Action
	var command string
	send := func() {
		var err error
		command, cmds = cmds[0], cmds[1:]
		a, err = ifd.Send([]byte(command))
		require.NoError(t, err)
	}
	send()
	for {
		switch a.Event {
		case t1.Failed, t1.Reset:
			require.Error(t, a.Err)
			require.Equal(t, "! "+a.Event.String(), next(), "%v", a.Err)
		case t1.Delivered:
			n := min(len(command), len(a.INF))
			require.Equal(t, strings.ToUpper(command)[:n], string(a.INF)[:n])
		}
		if a.Event != t1.None {
			if len(cmds) == 0 {
				require.Equal(t, len(lines), at, "the conversation ends at %q", peek())
				return
			}
			send()
			continue
		}
		require.NotEmpty(t, a.Block, "line %d", at)
		require.Positive(t, a.Wait)
		b, lost := travel(">", a.Block)
		var r t1.Action
		if !lost {
			r = card.Receive(b, nil)
		}
		if r.Event == t1.Delivered || card.Working() && r.Block == nil {
			switch do := strings.Fields(peek()); {
			case do[0] != "=":
				var err error
				r, err = card.Send([]byte(answers[0]))
				answers = answers[1:]
				require.NoError(t, err)
			case next() != "" && do[1] == "WTX":
				r = card.Extend(16)
			case do[1] == "IFS":
				var err error
				r, err = card.Request(t1.IFS, []byte{do[2][0] - '0'})
				require.NoError(t, err)
			}
		}
		if r.Block == nil {
			require.Equal(t, "<", next(), "line %d", at)
			a = ifd.Timeout()
			continue
		}
		if b, lost = travel("<", r.Block); lost {
			a = ifd.Timeout()
		} else {
			a = ifd.Receive(b, nil)
		}
	}
}
