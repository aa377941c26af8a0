package eid_test

import (
	"bytes"
	"context"
	"crypto/sha1"
	"crypto/subtle"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/bundles/eid/inspect"
	"github.com/sspemu/sspemu/bundles/eid/inspect/mrtd"
	"github.com/sspemu/sspemu/bundles/eid/issue"
	"github.com/sspemu/sspemu/bundles/eid/pace"
	"github.com/sspemu/sspemu/bundles/eid/sm"
	"github.com/sspemu/sspemu/bundles/sdk"
	"github.com/sspemu/sspemu/bundles/sdk/sdktest"
	"github.com/sspemu/sspemu/internal/apdu"
)

// native is a card without a platform, for the inspection side.
type native struct{ c *sdktest.Card }

func (n native) Transmit(_ context.Context, capdu, dst []byte) ([]byte, error) {
	return append(dst[:0], n.c.Send(capdu)...), nil
}

func persona(t testing.TB) *sdk.Doc {
	yaml, err := os.ReadFile("persona.yaml")
	require.NoError(t, err)
	schema, err := os.ReadFile("persona.schema.json")
	require.NoError(t, err)
	doc, err := issue.FromYAML(yaml, "persona.yaml", schema)
	require.NoError(t, err)
	return doc
}

// anchors are what an inspection system has to know, as sspemu persona eid writes it.
func anchors(t testing.TB) (*mrtd.Anchors, *mrtd.Terminal) {
	a, err := issue.Trust(persona(t))
	require.NoError(t, err)
	dir := t.TempDir()
	for name, b := range map[string][]byte{"csca": a.CSCA.Raw, "crl": a.CRL.Raw, "cvca": a.CVCA.Raw, "dv": a.DV.Raw, "is": a.IS.Raw, "key": a.Key.PKCS8()} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), b, 0o600))
	}
	trust, terminal, err := mrtd.Load(dir)
	require.NoError(t, err)
	return trust, terminal
}

func today() time.Time { return time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC) }

// TestInspection: in every way of access an inspection system reads everything, and finds
// nothing wrong.
func TestInspection(t *testing.T) {
	trust, terminal := anchors(t)
	for _, v := range []struct{ way, password string }{
		{"none", "mrz"}, {"gm P-256", "mrz"}, {"gm brainpoolP384r1", "can"}, {"gm 3des", "mrz"}, {"im", "can"}, {"cam", "mrz"},
	} {
		t.Run(v.way, func(t *testing.T) {
			config := mrtd.Config{PACE: v.way, Anchors: trust, Terminal: terminal}
			require.NoError(t, config.Passwords.FromFields("L898902C3", "740812", "360104"))
			if v.password == "can" {
				config.Passwords = mrtd.Passwords{CAN: "123456"}
			}
			r := &inspect.Report{Date: today()}
			require.NoError(t, mrtd.Inspect(context.Background(), native{newCard(t)}, config, r))
			var b bytes.Buffer
			require.NoError(t, r.Text(&b))
			for _, c := range r.Checks {
				require.Contains(t, []inspect.Result{inspect.Pass, inspect.NotDone}, c.Result, b.String())
				if c.Result == inspect.NotDone {
					require.Contains(t, []string{"DG4"}, c.Name, b.String())
				}
			}
		})
	}
}

const selectMRTD = "00A4040C07A0000002471001"

// TestMasterFile: what can be done without any access, and what cannot.
func TestMasterFile(t *testing.T) {
	c := newCard(t)
	for _, v := range []struct{ command, sw string }{
		{"00A4000C", "9000"}, {"00A4000C023F00", "9000"},
		{"00B0000000", "6986"},
		{"00A4020C02011C", "9000"}, {"00B0000004", "9000"}, {"00B0009C00", "6B00"},
		{"00B09C0004", "9000"}, // EF.CardAccess by SFI
		{"00B09C6008", "6282"}, // the last octets, and less than asked for
		{"00B09D0004", "6982"}, // EF.CardSecurity: after PACE
		{"00A4020C02011D", "6982"},
		{"00A4020C022F00", "9000"}, {"00A40204022F0100", "9000"},
		{"00A4020C020199", "6A82"}, {"00A4020C0101", "6700"}, {"00A4080C02011C", "6A86"}, {"00A4021002011C", "6A86"},
		{"00B0FF0004", "6A86"}, {"00B0830004", "6A82"},
		{"0084000008", "6982"}, // BAC is in the application
		{"0088000008000000000000000000", "6982"},
		{"0022C1A40F800A04007F00070402020402830101", "6A80"},
		{"0022C1A412800A04007F00070202040202830101840109", "6A88"}, // parameters that there are not
		{"0022C1A40F800A04007F0007020204020283010A", "6A88"},       // nor this password
		{"0022C1A40F800A04007F00070202040209830101", "6A80"},
		{"10860000027C0000", "6985"},
		{"00D6000001FF", "6D00"}, {"80B0000004", "6E00"}, {"0CB0000004", "6882"},
	} {
		r := c.Transmit(v.command)
		require.Equal(t, v.sw, r[len(r)-4:], "%s: %s", v.command, r)
	}
	send(t, c, "00A4020C022F01", "9000")
	b := send(t, c, "00B1000004540200000A", "9000")
	require.Equal(t, byte(0x53), b[0])
	require.Len(t, b, 10)
	send(t, c, "00B10000045402FFFF0A", "6B00")
	send(t, c, "00B10000020100", "6A80")
}

// bac opens a session by BAC, with the terminal's part written down once more here.
func bac(t testing.TB, c *sdktest.Card) *sm.Session {
	send(t, c, selectMRTD, "9000")
	h := sha1.Sum([]byte("L898902C3674081223601040"))
	kenc, kmac := sm.KDF(sm.TDES, h[:16], 1, nil), sm.KDF(sm.TDES, h[:16], 2, nil)
	rnd := send(t, c, "0084000008", "9000")
	own := []byte("terminal and its secret.")
	e, err := pace.CBC(sm.TDES, kenc, nil, slices.Concat(own[:8], rnd, own[8:]), false)
	require.NoError(t, err)
	answer := send(t, c, fmt.Sprintf("0082000028%X%X28", e, sm.MAC(sm.TDES, kmac, e)), "9000")
	require.Equal(t, sm.MAC(sm.TDES, kmac, answer[:32]), answer[32:])
	plain, err := pace.CBC(sm.TDES, kenc, nil, answer[:32], true)
	require.NoError(t, err)
	require.Equal(t, slices.Concat(rnd, own[:8]), plain[:16])
	seed := make([]byte, 16)
	subtle.XORBytes(seed, own[8:], plain[16:])
	return sm.New(sm.TDES, sm.KDF(sm.TDES, seed, 1, nil), sm.KDF(sm.TDES, seed, 2, nil), slices.Concat(rnd[4:], own[4:8]))
}

// exchange sends a plain command through a session.
func exchange(t testing.TB, c *sdktest.Card, s *sm.Session, command string) string {
	t.Helper()
	p, err := s.Protect(unhex(t, command))
	require.NoError(t, err)
	r, err := s.Unprotect(c.Send(p))
	require.NoError(t, err, command)
	return strings.ToUpper(fmt.Sprintf("%x", r))
}

// TestSession: in a session files can be read; it is over with a command in plain, with
// one that is wrong, and with one that is played again.
func TestSession(t *testing.T) {
	c := newCard(t)
	send(t, c, selectMRTD, "9000")
	send(t, c, "00B09E0004", "6982")
	send(t, c, "00A4020C02011E", "6982")
	send(t, c, "0082000028"+strings.Repeat("00", 40)+"28", "6985") // no challenge
	send(t, c, "0084000008", "9000")
	send(t, c, "0082000028"+strings.Repeat("00", 40)+"28", "6300")
	send(t, c, "0084000008", "9000")
	send(t, c, "0082000008000000000000000008", "6700")

	s := bac(t, c)
	require.Equal(t, "601C5F0104303130389000", exchange(t, c, s, "00B09E0009"))
	require.Equal(t, "6982", exchange(t, c, s, "00B0830001")) // DG3: extended access
	require.Equal(t, "6982", exchange(t, c, s, "0084000008")) // no chip authentication yet
	require.Equal(t, "6A88", exchange(t, c, s, "002241A606910100840109"))
	require.Equal(t, "6982", exchange(t, c, s, "002281B60583035554 31"))
	p, err := s.Protect(unhex(t, "00B09E0004"))
	require.NoError(t, err)
	require.Len(t, c.Send(p), 11+4+10+2)
	require.Equal(t, []byte{0x69, 0x88}, c.Send(p), "played again")
	send(t, c, "00B09E0004", "6982")

	s = bac(t, c)
	send(t, c, "00B09E0004", "6982") // in plain
	p, err = s.Protect(unhex(t, "00B09E0004"))
	require.NoError(t, err)
	require.Equal(t, []byte{0x68, 0x82}, c.Send(p), "the session is over")

	bac(t, c)
	require.Equal(t, []byte{0x69, 0x87}, c.Send(unhex(t, "0CB09E0003970104")))
	bac(t, c)
	c.Reset()
	send(t, c, selectMRTD, "9000")
	send(t, c, "00B09E0004", "6982")
}

// TestApplications: another application under secure messaging, and the end of it.
func TestApplications(t *testing.T) {
	c := newCard(t)
	s := bac(t, c)
	require.Regexp(t, "9000$", exchange(t, c, s, selectPIV))
	send(t, c, "00CB3FFF035C017E00", "9000") // PIV in plain, and no session of the travel document any more
	send(t, c, selectMRTD, "9000")
	send(t, c, "00B09E0004", "6982")
}

// TestChain: parts of a command, and what comes between.
func TestChain(t *testing.T) {
	c := ready(t)
	send(t, c, "10DB3FFF055C035FC105", "9000")
	send(t, c, "00DB3FFF035301AA", "9000")
	require.Equal(t, unhex(t, "5301AA"), send(t, c, "00CB3FFF055C035FC10500", "9000"))
	send(t, c, "10DB3FFF055C035FC105", "9000")
	send(t, c, "00CB3FFF055C035FC10500", "6883")
	send(t, c, "00CB3FFF055C035FC10500", "9000")
	part := "10DB3FFF0000" + "FF" + strings.Repeat("00", 255)
	part = part[:8] + "FF" + strings.Repeat("00", 255)
	var sw string
	for range 300 {
		r := c.Transmit(part)
		if sw = r[len(r)-4:]; sw != "9000" {
			break
		}
	}
	require.Equal(t, "6700", sw)
}

// TestNothingOfTheHolder: neither face nor log nor an answer in plain has what only the
// holder can show, or a key.
func TestNothingOfTheHolder(t *testing.T) {
	chip, err := issue.New(persona(t))
	require.NoError(t, err)
	secrets := []string{chip.Passwords.MRZ, chip.Passwords.CAN + "\x00", string(chip.AA.Private)}
	for _, k := range chip.CA {
		secrets = append(secrets, string(k.Private))
	}
	c := newCard(t)
	clean := func(b []byte) {
		for _, s := range secrets {
			require.NotContains(t, string(b), s)
		}
	}
	for _, df := range []string{"00A4000C", selectMRTD} {
		send(t, c, df, "9000")
		for ins := range 256 {
			for _, tail := range []string{"000000", "9C0000", "000008000000000000000000"} {
				clean(c.Send(unhex(t, fmt.Sprintf("00%02X%s", ins, tail))))
			}
		}
	}
	s := bac(t, c)
	for ins := range 256 {
		if ins == 0xA4 {
			continue
		}
		p, err := s.Protect([]byte{0, byte(ins), 0, 0, 0})
		require.NoError(t, err)
		r, err := s.Unprotect(c.Send(p))
		require.NoError(t, err)
		clean(r)
	}
	for _, l := range c.Logs {
		clean([]byte(l))
	}
	for _, accept := range []string{"text/html", "application/json"} {
		p, err := c.Open(sdk.GateTCP, 1, 1<<16)
		require.NoError(t, err)
		p.Send([]byte("GET / HTTP/1.1\r\nHost: card\r\nAccept: " + accept + "\r\nConnection: close\r\n\r\n"))
		page := string(p.Bytes())
		require.Contains(t, page, "id-PACE-ECDH-GM-AES-CBC-CMAC-128")
		for _, s := range append(secrets, "123456", "L898902C3", "ERIKSSON", "Eriksson", "740812", "Zenith") {
			require.NotContains(t, page, s)
		}
		_ = p.Close(0)
	}
}

// FuzzSession: whatever comes inside a session, the chip answers in it.
func FuzzSession(f *testing.F) {
	for _, s := range []string{"00B0000000", "00B1000004540200000A", "00A4020C02011E", "0022C1A40F800A04007F00070202040202830101", "10860000027C0000", "002241A40C800A04007F00070202030202", "0088000008000000000000000000", "002A00BE047F4E0053", "10DB3FFF055C035FC105"} {
		f.Add(unhex(f, s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, err := apdu.Parse(b); err != nil || b[0]&0xEF != 0 {
			return
		}
		c := newCard(t)
		s := bac(t, c)
		p, err := s.Protect(b)
		if err != nil {
			return
		}
		_, err = s.Unprotect(c.Send(p))
		require.NoError(t, err)
	})
}
