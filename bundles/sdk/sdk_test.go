package sdk_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/bundles/sdk"
	"github.com/sspemu/sspemu/bundles/sdk/sdktest"
	"github.com/sspemu/sspemu/internal/apdu"
)

// probe is an App made of functions; those that are nil do nothing.
type probe struct {
	personalise func(*sdk.Doc) error
	init        func(sdk.Reason) error
	apdu        func(*apdu.Command, *sdk.Response) apdu.SW
	signal      func(sdk.Signal)
}

func (p *probe) Personalise(d *sdk.Doc) error {
	if p.personalise == nil {
		return nil
	}
	return p.personalise(d)
}

func (p *probe) Init(r sdk.Reason) error {
	if p.init == nil {
		return nil
	}
	return p.init(r)
}

func (p *probe) APDU(c *apdu.Command, r *sdk.Response) apdu.SW { return p.apdu(c, r) }

func (p *probe) Signal(s sdk.Signal) {
	if p.signal != nil {
		p.signal(s)
	}
}

func card(t testing.TB, p *probe) *sdktest.Card {
	c := sdktest.New(t, func() sdk.App { return p })
	c.PowerOn()
	return c
}

func TestResponse(t *testing.T) {
	for name, tc := range map[string]struct {
		fill func(r *sdk.Response)
		want string
	}{
		"bytes":        {func(r *sdk.Response) { r.Append([]byte{1, 2}); r.Byte(3); r.Uint16(0x0405) }, "0102030405"},
		"extend":       {func(r *sdk.Response) { copy(r.Extend(2), "AB"); r.Byte(0) }, "414200"},
		"reset":        {func(r *sdk.Response) { r.Byte(1); r.Reset(); r.Byte(2) }, "02"},
		"set in place": {func(r *sdk.Response) { r.Byte(1); r.Set(append(r.Bytes(), 2, 3)) }, "010203"},
		"set a copy":   {func(r *sdk.Response) { r.Byte(1); r.Set([]byte{7, 8}) }, "0708"},
		"set nothing":  {func(r *sdk.Response) { r.Byte(1); r.Set(nil) }, ""},
		"tags":         {func(r *sdk.Response) { r.TLV(0x84, []byte{1}); r.TLV(0x9F26, nil); r.TLV(0x7F8101, nil) }, "840101" + "9F2600" + "7F810100"},
		"nested": {func(r *sdk.Response) {
			a := r.Begin(0x6F)
			b := r.Begin(0xA5)
			r.TLV(0x50, make([]byte, 0x7C))
			r.End(b)
			r.Byte(0xEE)
			r.End(a)
		}, "6F8181" + "A57E" + "507C" + strings.Repeat("00", 0x7C) + "EE"},
		"length 127": {func(r *sdk.Response) { r.TLV(0x80, make([]byte, 127)) }, "807F" + strings.Repeat("00", 127)},
		"length 128": {func(r *sdk.Response) { r.TLV(0x80, make([]byte, 128)) }, "808180" + strings.Repeat("00", 128)},
		"length 255": {func(r *sdk.Response) { r.TLV(0x80, make([]byte, 255)) }, "8081FF" + strings.Repeat("00", 255)},
		"length 256": {func(r *sdk.Response) { r.TLV(0x80, bytes.Repeat([]byte{9}, 256)) }, "80820100" + strings.Repeat("09", 256)},
		"full":       {func(r *sdk.Response) { r.Extend(65536); r.Append(nil) }, strings.Repeat("00", 65536)},
	} {
		t.Run(name, func(t *testing.T) {
			c := card(t, &probe{apdu: func(_ *apdu.Command, r *sdk.Response) apdu.SW { tc.fill(r); return apdu.OK }})
			require.Equal(t, tc.want+"9000", c.Transmit("00000000"))
		})
	}
}

func TestResponseTooLong(t *testing.T) {
	for name, fill := range map[string]func(r *sdk.Response){
		"append": func(r *sdk.Response) { r.Append(make([]byte, 65537)) },
		"byte":   func(r *sdk.Response) { r.Extend(65536); r.Byte(1) },
		"extend": func(r *sdk.Response) { r.Byte(1); r.Extend(65536) },
		"less":   func(r *sdk.Response) { r.Extend(-1) },
		"set":    func(r *sdk.Response) { r.Set(append(r.Extend(65536), 1)) },
		"TLV":    func(r *sdk.Response) { r.TLV(0x80, make([]byte, 65533)) },
		"TLV 2":  func(r *sdk.Response) { r.TLV(0x80, make([]byte, 65536)) },
	} {
		t.Run(name, func(t *testing.T) {
			c := card(t, &probe{apdu: func(_ *apdu.Command, r *sdk.Response) apdu.SW { fill(r); return apdu.OK }})
			require.Equal(t, "6F00", c.Transmit("00000000"))
			require.Equal(t, []string{"answer longer than 65536 bytes"}, c.Logs)
		})
	}
}

func TestMalformedCommand(t *testing.T) {
	c := card(t, &probe{apdu: func(*apdu.Command, *sdk.Response) apdu.SW { t.Fatal("reached the App"); return 0 }})
	require.Equal(t, "6700", c.Transmit("00A400"))
	require.Equal(t, "6700", c.Transmit("00A40004023F"))
}

func TestEntryPointsRefuse(t *testing.T) {
	c := sdktest.New(t, func() sdk.App { return &probe{} })
	b := c.Bundle()
	_, err := b.Message(99, 0, 0x10, []byte{0, 0, 0, 0})
	require.Equal(t, sdk.ErrUnknownID, err)
	_, err = b.Message(sdk.GateAPDU, 0, 0x10, make([]byte, 65545))
	require.Equal(t, sdk.ErrIllegalParameter, err)
	require.Equal(t, sdk.ErrIllegalParameter, b.Personalise(make([]byte, 65545)))
	require.EqualError(t, b.Personalise([]byte{0xFF}), ": persona: CBOR: not in core deterministic encoding, or of a type that personas do not have")
}

func TestErrorsOfTheApp(t *testing.T) {
	p := &probe{
		init:        func(sdk.Reason) error { return errors.New("broken") },
		personalise: func(*sdk.Doc) error { return sdk.NVM.Put("", nil) },
	}
	c := sdktest.New(t, func() sdk.App { return p })
	require.Equal(t, -int32(sdk.ErrInternal), c.Bundle().Init(sdk.ReasonStart))
	require.Equal(t, []string{"broken"}, c.Logs)
	require.Equal(t, sdk.ErrIllegalParameter, c.Personalise([]byte{0xA0}))

	p.personalise = func(d *sdk.Doc) error { d.Get("x").Text(); return errors.New("because x was empty") }
	require.Equal(t, &sdk.PersonaError{Pointer: "/x", Reason: "lacks; a text is needed"}, c.Personalise([]byte{0xA0}))
}

func TestNVM(t *testing.T) {
	p := &probe{}
	c := card(t, p)
	do := func(f func()) { // in a command of its own
		p.apdu = func(*apdu.Command, *sdk.Response) apdu.SW { f(); return apdu.OK }
		c.Transmit("00000000")
	}
	do(func() {
		require.NoError(t, sdk.NVM.Put("b", []byte("hello")))
		require.NoError(t, sdk.NVM.Put("a", nil))
		v, ok := sdk.NVM.Get("b")
		require.True(t, ok)
		require.Equal(t, "hello", string(v))
		require.NoError(t, sdk.NVM.Write("b", 1, []byte("EL")))
		require.Equal(t, sdk.ErrIllegalParameter, sdk.NVM.Write("b", 4, []byte("xx")))
		require.Equal(t, sdk.ErrUnknownID, sdk.NVM.Write("none", 0, nil))
		require.Equal(t, sdk.ErrUnknownID, sdk.NVM.Delete("none"))
		require.Equal(t, sdk.ErrIllegalParameter, sdk.NVM.Put(strings.Repeat("k", 256), nil))
	})
	do(func() {
		buf := make([]byte, 3)
		n, err := sdk.NVM.Read("b", 3, buf)
		require.NoError(t, err)
		require.Equal(t, "lo", string(buf[:n]))
		n, err = sdk.NVM.Read("b", 9, buf)
		require.NoError(t, err)
		require.Zero(t, n)
		_, err = sdk.NVM.Read("none", 0, buf)
		require.Equal(t, sdk.ErrUnknownID, err)
		size, ok := sdk.NVM.Size("b")
		require.True(t, ok)
		require.Equal(t, 5, size)
		_, ok = sdk.NVM.Size("none")
		require.False(t, ok)
		_, ok = sdk.NVM.Get("none")
		require.False(t, ok)
		var keys []string
		for k, ok := sdk.NVM.Next(""); ok; k, ok = sdk.NVM.Next(k) {
			keys = append(keys, k)
		}
		require.Equal(t, []string{"a", "b"}, keys)

		require.NoError(t, sdk.NVM.Delete("a"))
		require.NoError(t, sdk.NVM.Commit())
		require.NoError(t, sdk.NVM.Delete("b"))
		sdk.NVM.Rollback()
	})
	require.Equal(t, map[string][]byte{"b": []byte("hELlo")}, c.NVM())
	c.Quota(10)
	do(func() {
		require.Equal(t, sdk.ErrNoSpace, sdk.NVM.Put("c", []byte("1234")))
		require.NoError(t, sdk.NVM.Put("c", []byte("123")))
		require.NoError(t, sdk.NVM.Put("b", []byte("12345")))
	})
	do(func() { require.NoError(t, sdk.NVM.Delete("b")) })
	require.Equal(t, map[string][]byte{"c": []byte("123")}, c.NVM())
}

func TestTimers(t *testing.T) {
	var fired []string
	at := func(name string) func() {
		return func() { fired = append(fired, name+"@"+time.Duration(sdk.Now()*1e6).String()) }
	}
	p := &probe{}
	var a, b, again *sdk.Timer
	p.init = func(sdk.Reason) error {
		a, b = sdk.NewTimer(at("a")), sdk.NewTimer(at("b"))
		again = sdk.NewTimer(func() { at("again")(); again.Start(10) })
		a.Start(30)
		b.Start(20)
		again.Start(15)
		return nil
	}
	p.signal = func(sdk.Signal) { t.Fatal("SignalTimeOut reached the App") }
	c := card(t, p)
	c.Advance(26 * time.Millisecond)
	require.Equal(t, []string{"again@15ms", "b@20ms", "again@25ms"}, fired)
	require.True(t, a.Running())
	require.False(t, b.Running())
	p.apdu = func(*apdu.Command, *sdk.Response) apdu.SW {
		again.Stop()
		again.Stop()
		a.Start(100)
		return apdu.OK
	}
	c.Transmit("00000000")
	c.Advance(time.Second)
	require.Equal(t, []string{"again@15ms", "b@20ms", "again@25ms", "a@126ms"}, fired)
}

func TestSignal(t *testing.T) {
	var got sdk.Signal
	c := card(t, &probe{signal: func(s sdk.Signal) { got |= s }})
	c.Reset()
	c.Signal(sdk.SignalKillRequested | sdk.SignalTimeOut)
	require.Equal(t, sdk.SignalReset|sdk.SignalKillRequested, got)
	require.True(t, got.Has(sdk.SignalReset))
	require.False(t, got.Has(sdk.SignalError))
}

func TestClass(t *testing.T) {
	for cla, want := range map[byte]byte{0x00: 0x00, 0x02: 0x00, 0x0C: 0x0C, 0x13: 0x10, 0x45: 0x00, 0x5F: 0x10,
		0x60: 0x08, 0x80: 0x80, 0x83: 0x80, 0xA0: 0xA0, 0xC0: 0x80, 0xCF: 0x80, 0xE1: 0x88} {
		require.Equal(t, want, sdk.Class(cla), "%02X", cla)
	}
}

// TestNoAllocation: a command costs the guest's garbage collector nothing.
func TestNoAllocation(t *testing.T) {
	var gone []string
	c := sdktest.New(t, func() sdk.App { return newShared(&gone) })
	c.PowerOn()
	b := c.Bundle()
	for _, cmd := range []string{"00A4040006A00000000141", "80CA000000", "0070000001", "00708001"} {
		in, err := hex.DecodeString(cmd)
		require.NoError(t, err)
		require.Zero(t, testing.AllocsPerRun(100, func() { _, _ = b.Message(sdk.GateAPDU, 0, 0x10, in) }), cmd)
	}
}

// TestGuestStaysSmall: what a guest links decides how long its cold start takes. HTTP
// and CoAP are packages of their own.
func TestGuestStaysSmall(t *testing.T) {
	cmd := exec.Command("go", "list", "-deps", ".")
	cmd.Env = append(cmd.Environ(), "GOOS=wasip1", "GOARCH=wasm")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	for _, pkg := range strings.Fields(string(out)) {
		require.NotContains(t, []string{"fmt", "reflect", "os", "time", "encoding/json", "regexp", "sort"}, pkg)
	}
}
