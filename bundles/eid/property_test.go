package eid_test

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/bundles/eid"
	"github.com/sspemu/sspemu/bundles/eid/sm"
	"github.com/sspemu/sspemu/bundles/sdk"
	"github.com/sspemu/sspemu/bundles/sdk/sdktest"
	"github.com/sspemu/sspemu/internal/tlv"
)

// changed is the default card with some lines of its persona replaced.
func changed(t testing.TB, lines ...string) *sdktest.Card {
	yaml, err := os.ReadFile("persona.yaml")
	require.NoError(t, err)
	for i := 0; i < len(lines); i += 2 {
		require.Contains(t, string(yaml), lines[i])
		yaml = bytes.Replace(yaml, []byte(lines[i]), []byte(lines[i+1]), 1)
	}
	schema, err := os.ReadFile("persona.schema.json")
	require.NoError(t, err)
	c := sdktest.New(t, func() sdk.App { return eid.New() })
	require.NoError(t, c.PersonaliseYAML(yaml, schema))
	return c
}

const globalPIN = "  global_pin: {value: \"24681357\", tries: 4}\n  puk: {"

// pinModel is what SP 800-73-4 says of a card: who has proved what, and what is left.
type pinModel struct {
	selected, verified, global, just, admin bool

	left, most [3]int    // of pin, puk, global PIN
	value      [3]string // hexadecimal, 8 octets
	object     string    // content of 5FC10D
	history    []string
}

const (
	thePIN = iota
	thePUK
	theGlobal
)

// forget is another application, or a reset of the card.
func (m *pinModel) forget(reset bool) {
	m.selected, m.verified, m.just, m.admin = false, false, false, false
	if reset {
		m.global = false
	}
}

// try is a comparison with a PIN: the status word that it gives, and what becomes of it.
func (m *pinModel) try(which int, value string) string {
	if m.left[which] == 0 {
		return "6983"
	}
	if value != m.value[which] {
		m.left[which]--
		return fmt.Sprintf("63C%X", m.left[which])
	}
	m.left[which] = m.most[which]
	return "9000"
}

func (m *pinModel) prove(which int, good bool) {
	if which == theGlobal {
		m.global = good
	} else {
		m.verified = good
	}
	m.just = good
}

// step chooses a command, and says what it has to answer. compares tells which PIN it is
// about: a try is gone even when the power goes off.
func (m *pinModel) step(r *rand.Rand) (cmd, sw string, compares int) {
	values := []string{m.value[0], m.value[1], m.value[2], "313233343536FFFF", "3635343332FFFFFF", "3030303030303030"}
	value := values[r.IntN(len(values))]
	fresh := []string{"313233343536FFFF", "363534333231FFFF", "3132333435363738", "31323334FFFFFFFF"}[r.IntN(4)]
	valid := func(v string) bool { return v != "3635343332FFFFFF" && v != "31323334FFFFFFFF" }
	refs := [3]string{"80", "81", "00"}
	which := r.IntN(3)
	compares = -1
	use := func(slot string, may bool) (string, string, int) {
		if !may {
			return command("008711"+slot, template(0x81, make([]byte, 32))), "6982", -1
		}
		return command("008711"+slot, template(0x81, make([]byte, 32))), "9000", -1
	}
	pin := m.verified || m.global
	switch op := r.IntN(14); op {
	case 0:
		m.forget(false)
		m.selected = true
		return selectPIV, "9000", -1
	case 1:
		m.forget(false)
		return selectMRTD, "9000", -1
	case 2, 3: // VERIFY
		if which == thePUK {
			return "00200081" + "08" + value, "6A88", -1
		}
		if !valid(value) {
			return "002000" + refs[which] + "08" + value, "6A80", -1
		}
		sw = m.try(which, value)
		m.prove(which, sw == "9000")
		return "002000" + refs[which] + "08" + value, sw, which
	case 4: // VERIFY without data
		if which == thePUK {
			return "00200081", "6A88", -1
		}
		switch {
		case which == thePIN && m.verified || which == theGlobal && m.global:
			return "002000" + refs[which], "9000", -1
		case m.left[which] == 0:
			return "002000" + refs[which], "6983", -1
		}
		return "002000" + refs[which], fmt.Sprintf("63C%X", m.left[which]), -1
	case 5:
		if which == thePUK {
			return "0020FF81", "6A88", -1
		}
		m.prove(which, false)
		return "0020FF" + refs[which], "9000", -1
	case 6: // CHANGE REFERENCE DATA
		cmd = "002400" + refs[which] + "10" + value + fresh
		if which != thePUK && !valid(fresh) {
			return cmd, "6A80", -1
		}
		if sw = m.try(which, value); sw == "9000" {
			m.value[which] = fresh
		}
		if which != thePUK {
			m.prove(which, sw == "9000")
		}
		return cmd, sw, which
	case 7: // RESET RETRY COUNTER
		cmd = "002C0080" + "10" + value + fresh
		if !valid(fresh) {
			return cmd, "6A80", -1
		}
		if sw = m.try(thePUK, value); sw == "9000" {
			m.value[thePIN], m.left[thePIN] = fresh, m.most[thePIN]
		}
		return cmd, sw, thePUK
	case 8: // printed information
		if pin {
			return "00CB3FFF055C035FC10900", "9000", -1
		}
		return "00CB3FFF055C035FC10900", "6982", -1
	case 9: // PUT DATA
		object := fmt.Sprintf("%08X", r.Uint32())
		cmd = "00DB3FFF0B5C035FC10D5304" + object
		if !m.admin {
			return cmd, "6982", -1
		}
		m.object = object
		return cmd, "9000", -1
	case 10:
		if m.object == "" {
			return "00CB3FFF055C035FC10D00", "6A82", -1
		}
		return "00CB3FFF055C035FC10D00", m.object + "9000", -1
	case 11:
		return use("9A", pin)
	case 12:
		cmd, sw, compares = use("9C", m.just)
		m.just = false
		return cmd, sw, compares
	}
	return use("9E", true)
}

// TestPINProperties walks at random through a PIV card with both PINs, with resets and
// power cuts in between, and compares every answer with the model: no key and no object
// without what it needs, tries never come back by themselves and never fall below zero,
// what was not answered has changed nothing but a try.
func TestPINProperties(t *testing.T) {
	for seed := range uint64(6) {
		c := changed(t, "  puk: {", globalPIN, "    - {slot: 9e, algorithm: P-256}", "    - {slot: 9a, algorithm: P-256}\n    - {slot: 9c, algorithm: P-256}\n    - {slot: 9e, algorithm: P-256}")
		send(t, c, selectPIV, "9000")
		require.Equal(t, unhex(t, "7E124F0BA0000003080000100001005F2F026810"), send(t, c, "00CB3FFF035C017E00", "9000"))
		r := rand.New(rand.NewPCG(seed, 73))
		m := &pinModel{selected: true, left: [3]int{3, 3, 4}, most: [3]int{3, 3, 4}, value: [3]string{"313233343536FFFF", "3132333435363738", "3234363831333537"}}
		for range 4000 {
			switch n := r.IntN(60); {
			case n == 0:
				c.Reset()
				m.forget(true)
			case n == 1 && m.selected:
				administrate(t, c, factoryKey(t), "03")
				m.admin = true
			}
			if !m.selected {
				send(t, c, selectPIV, "9000")
				m.forget(false)
				m.selected = true
			}
			before := *m
			cmd, sw, compares := m.step(r)
			if r.IntN(25) == 0 { // the power goes off before the answer is out
				c.CutPowerDuring(unhex(t, cmd))
				left := m.left
				*m = before
				if compares >= 0 && before.left[compares] > 0 {
					left[compares] = before.left[compares] - 1
					m.left[compares] = left[compares]
				}
				m.forget(true)
				continue
			}
			m.history = append(m.history, cmd+" "+sw)
			answer := c.Transmit(cmd)
			require.Contains(t, answer, sw, "seed %d: %v", seed, m.history[max(0, len(m.history)-12):])
			require.Equal(t, sw[max(0, len(sw)-4):], answer[len(answer)-4:], "seed %d: %v", seed, m.history[max(0, len(m.history)-12):])
		}
	}
}

// TestTorn: when the power goes off during a command that writes, the card is as it was.
func TestTorn(t *testing.T) {
	put := command("00DB3FFF", append(unhex(t, "5C035FC105"), tlv.Append(nil, 0x53, make([]byte, 2000)...)...))
	for _, cmd := range []string{
		put, "0047009A05AC0380011100", "0047009D05AC0380011400",
		command("00FE1182", tlv.Append(nil, 0x06, bytes.Repeat([]byte{1}, 32)...)),
		"00FFFFFF13" + "089B10" + "00112233445566778899AABBCCDDEEFF", "00FA0505",
	} {
		c := ready(t)
		before := maps.Clone(c.NVM())
		c.CutPowerDuring(unhex(t, cmd))
		require.Equal(t, before, c.NVM(), cmd)
		send(t, c, selectPIV, "9000")
		administrate(t, c, factoryKey(t), "03")
		send(t, c, verify, "9000")
		send(t, c, cmd, "9000")
		require.NotEqual(t, before, c.NVM(), cmd)
	}
	// RESET of vendors, when PIN and PUK are blocked.
	c := ready(t)
	send(t, c, put, "9000")
	for _, cmd := range []string{"0020008008303030303030FFFF", "002C0080103030303030303030313233343536FFFF"} {
		for _, sw := range []string{"63C2", "63C1", "63C0", "6983"} {
			send(t, c, cmd, sw)
		}
	}
	before := c.NVM()
	c.CutPowerDuring(unhex(t, "00FB0000"))
	require.Equal(t, before, c.NVM())
	send(t, c, selectPIV, "9000")
	send(t, c, "00CB3FFF0000055C035FC1050000", "9000")
	send(t, c, "00FB0000", "9000")
	send(t, c, "00CB3FFF055C035FC10500", "6A82")
	send(t, c, verify, "9000")
}

// TestSessionProperties walks at random through the access of a travel document, and
// compares with what may be read at each point: nothing without a session, fingers only
// after terminal authentication, and nothing any more after the first error, whatever the
// session was worth before.
func TestSessionProperties(t *testing.T) {
	c := newCard(t)
	var s *sm.Session // nil: there is none
	fingers := false
	r := rand.New(rand.NewPCG(9303, 11))
	var history []string
	over := func() { s, fingers = nil, false }
	plain := func(cmd, sw string) {
		history = append(history, cmd+" "+sw)
		answer := c.Transmit(cmd)
		require.Equal(t, sw, answer[len(answer)-4:], "%v", history[max(0, len(history)-12):])
		if sw != "9000" {
			require.Len(t, answer, 4)
		}
		over()
	}
	protect := func(cmd string) []byte {
		if s == nil { // whatever a terminal has that has no session
			return unhex(t, "0C"+cmd[2:8]+"0A8E080011223344556677")
		}
		p, err := s.Protect(unhex(t, cmd))
		require.NoError(t, err)
		return p
	}
	for range 1500 {
		had := s != nil
		switch op := r.IntN(12); op {
		case 0:
			c.Reset()
			over()
			plain(selectMRTD, "9000")
		case 1:
			plain(selectMRTD, "9000")
		case 2:
			plain("00B0810004", "6982")
		case 3, 4:
			s, fingers = bac(t, c), false
			history = append(history, "BAC")
		case 5:
			e := extend(t, c)
			if fingers = r.IntN(2) == 0; fingers {
				e.show(e.certificate(e.root, "UTDV00009", 0x83, "260101", "351231"), "9000")
				e.show(e.certificate(e.below("UTDV00009"), "UTIS00009", 0x03, "260102", "351231"), "9000")
				e.prove("UTIS00009", "9000")
			}
			s = e.s
			history = append(history, fmt.Sprintf("chip authentication, terminal %v", fingers))
		case 6, 7, 8: // in the session, one of two files
			cmd, sw := "00B0810004", "9000"
			if r.IntN(2) == 0 {
				if cmd = "00B0830004"; !fingers {
					sw = "6982"
				}
			}
			if !had {
				plain(fmt.Sprintf("%X", protect(cmd)), "6882")
				continue
			}
			answer := exchange(t, c, s, cmd)
			require.Equal(t, sw, answer[len(answer)-4:], "%v", history[max(0, len(history)-12):])
			require.Equal(t, sw == "9000", len(answer) == 12)
		case 9, 10: // one octet is another
			if p := protect("00B0810004"); had {
				p[5+r.IntN(len(p)-6)] ^= 1 << r.IntN(8)
				history = append(history, fmt.Sprintf("%X", p))
				answer := c.Send(p)
				require.Contains(t, []string{"6987", "6988", "6700"}, fmt.Sprintf("%X", answer), "%v", history[max(0, len(history)-12):])
				over()
			}
		case 11: // once more
			if p := protect("00B0810004"); had {
				require.Greater(t, len(c.Send(p)), 2)
				plain(fmt.Sprintf("%X", p), "6988")
			}
		}
	}
}
