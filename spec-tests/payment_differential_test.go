package spectests_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"math/rand"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/bundles/payment"
	"github.com/sspemu/sspemu/bundles/sdk"
	"github.com/sspemu/sspemu/bundles/sdk/sdktest"
	"github.com/sspemu/sspemu/internal/vpp"
	"github.com/sspemu/sspemu/primary/loader"
	"github.com/sspemu/sspemu/primary/vm"
)

// pair is a bundle twice, as Go code and as WebAssembly, on the same content of NVM, with
// the same random bytes.
type pair struct {
	t      testing.TB
	app    func() sdk.App
	wasm   *guest
	native *sdk.Bundle
	host   *nativeHost
	new    map[string][]byte // what is stored in a new card
}

// compiled is a bundle with its persona.
type compiled struct {
	module  *vm.Module
	persona []byte
}

// compile makes a bundle from its source, once; its engine lives as long as the process.
func compile(dir string) func() (compiled, error) {
	return sync.OnceValues(func() (c compiled, err error) {
		spb, err := loader.Build(dir)
		if err != nil {
			return c, err
		}
		pkg, err := loader.Parse(spb)
		if err != nil {
			return c, err
		}
		if c.persona, err = pkg.Persona(nil, ""); err != nil {
			return c, err
		}
		e, err := vm.New(vm.Config{})
		if err != nil {
			return c, err
		}
		c.module, err = e.Compile(context.Background(), pkg.Name, pkg.Wasm, vm.Limits{})
		return c, err
	})
}

var compiledPayment = compile("../bundles/payment")

func newPair(t testing.TB, from func() (compiled, error), app func() sdk.App) *pair {
	c, err := from()
	require.NoError(t, err)
	p := &pair{t: t, app: app, wasm: newGuest(t, c.module, c.persona), host: &nativeHost{}}
	p.native = sdk.NewBundle(app(), p.host)
	require.NoError(t, p.native.Personalise(c.persona))
	require.NoError(t, p.host.nvm.Commit())
	require.Equal(t, p.wasm.nvm.stored, p.host.nvm.stored, "both are the same card")
	p.new = p.wasm.nvm.stored
	p.power()
	return p
}

func newPaymentPair(t testing.TB) *pair {
	return newPair(t, compiledPayment, func() sdk.App { return payment.New() })
}

// another puts the card back to what it was when new.
func (p *pair) another() {
	p.wasm.nvm.stored, p.host.nvm.stored = p.new, p.new
	p.power()
}

func (p *pair) power() {
	p.wasm.powerOn()
	p.host.nvm.Rollback()
	p.native = sdk.NewBundle(p.app(), p.host)
	require.Zero(p.t, p.native.Init(sdk.ReasonStart))
	require.NoError(p.t, p.host.nvm.Commit())
}

func (p *pair) reset() {
	p.wasm.signal(vpp.Reset)
	p.native.Signal(sdk.SignalReset)
	require.NoError(p.t, p.host.nvm.Commit())
}

// send sends a command to both, which have to agree; with cut the power goes before the
// platform stores.
func (p *pair) send(c []byte, cut bool) []byte {
	want, err := p.native.Message(sdk.GateAPDU, 0, 0x10, c)
	require.NoError(p.t, err)
	want = bytes.Clone(want)
	if cut {
		p.wasm.cutPowerDuring(c)
		p.power()
		return nil
	}
	require.NoError(p.t, p.host.nvm.Commit())
	require.Equal(p.t, hex.EncodeToString(want), hex.EncodeToString(p.wasm.send(c)), "%X", c)
	return want
}

// agree compares what is stored.
func (p *pair) agree() {
	require.Equal(p.t, p.host.nvm.stored, p.wasm.nvm.stored)
	require.Equal(p.t, p.host.events, len(p.wasm.events))
}

// nativeHost is the platform of Go code over the same kind of NVM as a guest has.
type nativeHost struct {
	sdktest.Cryptography
	nvm    memory
	events int
}

func code(err error) int32 {
	if e, ok := err.(vpp.Errno); ok {
		return -int32(e)
	}
	return 0
}

func (h *nativeHost) Commit() int32   { return code(h.nvm.Commit()) }
func (h *nativeHost) Rollback() int32 { h.nvm.Rollback(); return 0 }

func (h *nativeHost) NVMGet(key string, off int, buf []byte) int32 {
	v, ok := h.nvm.Get([]byte(key))
	if !ok {
		return -int32(sdk.ErrUnknownID)
	}
	copy(buf, v[min(off, len(v)):])
	return int32(len(v))
}

func (h *nativeHost) NVMPut(key string, v []byte) int32 { return code(h.nvm.Put([]byte(key), v)) }
func (h *nativeHost) NVMDelete(key string) int32        { return code(h.nvm.Delete([]byte(key))) }
func (h *nativeHost) NVMWrite(key string, off int, v []byte) int32 {
	return code(h.nvm.WriteAt([]byte(key), off, v))
}

func (h *nativeHost) NVMNext(key string, buf []byte) int32 {
	k, _ := h.nvm.Next([]byte(key))
	return int32(copy(buf, k))
}

func (h *nativeHost) Random(b []byte)                         { _, _ = counting{}.Read(b) }
func (h *nativeHost) Event(string, []byte)                    { h.events++ }
func (h *nativeHost) Time() int64                             { return 0 }
func (h *nativeHost) WaitSignal(int64)                        {}
func (h *nativeHost) Log(int32, string)                       {}
func (h *nativeHost) Class() int32                            { return 0 }
func (h *nativeHost) Send(uint32, uint32, byte, []byte) int32 { return 0 }

// paymentCommands are what a terminal sends to the payment bundle, a transaction a line.
var paymentCommands = func() (flows [][][]byte) {
	const cdol1 = "000000001000" + "000000000000" + "0276" + "0000000000" + "0978" + "261123" + "00" + "11223344"
	for _, line := range []string{
		"00A404000E315041592E5359532E444446303100 00B2010C00 00B2020C00 00B2030C00 00B2040C00",
		"00A404000E325041592E5359532E444446303100 00A4040005F05353504500 00A4040205F05353504500 00A4040205F05353504500",
		"00A4040007F053535045010100 80A800000683040276097800 00B2010C00 00B2011400 00B2021400 00B2011C00 00B2021C00 00B2031C00 00B2012400 00B2022400",
		"00A4040007F053535045010100 80A800000683040276097800 80CA9F3600 80CA9F1700 0084000000 0020008008241234FFFFFFFFFF 0020008008241111FFFFFFFFFF 00880000041122334400",
		"00A4040007F053535045010100 80A800000683040276097800 80AE90002B" + cdol1 + "22" + "1F0000" + "0000000000000000000000" + "00 80AE40001500000000000000000000303000000000001122334400",
		"00A4040007F053535045010100 80A800000683040276097800 80AE900021" + cdol1 + "22" + "1F0000" + "00 80AE400015" + "00000000000000000000" + "3030" + "0000000000" + "11223344" + "00 84240000080011223344556677 841E0000080011223344556677",
		"00A4040007F053535045020100 80A8000002830000 00880000041122334400 80AE80001D" + cdol1 + "00 008200000A00112233445566773030 80AE00001F3030" + cdol1 + "00 00B2015C00",
		"00A4040007F053535046010100 80A8000002830000 80AE00001D" + cdol1 + "00",
		"00A404000E325041592E5359532E444446303100 00A4040007F053535045010100 80A800001283102600000000000000100002761122334400 80EA0000041122334400 802A8E80040000004200",
		"00A404000E325041592E5359532E444446303100 00A4040007F053535045020100 80A8000023832126000000" + cdol1 + "00",
	} {
		var flow [][]byte
		for _, s := range strings.Fields(line) {
			b, err := hex.DecodeString(s)
			if err != nil {
				panic(err)
			}
			flow = append(flow, b)
		}
		flows = append(flows, flow)
	}
	return flows
}()

// TestPaymentNativeAndWasmAgree plays transactions, whole and disturbed, on the payment
// bundle as Go code and as WebAssembly: answers and stored bytes are the same.
func TestPaymentNativeAndWasmAgree(t *testing.T) {
	p := newPaymentPair(t)
	good := 0
	for seed := range int64(3) {
		r := rand.New(rand.NewSource(seed))
		for range 60 {
			for _, c := range paymentCommands[r.Intn(len(paymentCommands))] {
				c = bytes.Clone(c)
				cut := false
				switch r.Intn(20) {
				case 0:
					c[r.Intn(len(c))] = byte(r.Intn(256))
				case 1:
					c = c[:1+r.Intn(len(c))]
				case 2:
					p.reset()
				case 3:
					cut = true
				}
				if bytes.HasSuffix(p.send(c, cut), []byte{0x90, 0x00}) {
					good++
				}
			}
		}
		p.agree()
		p.another()
	}
	require.Greater(t, good, 300, "most commands should work")
}

// fuzz sends commands to both, [length, command]..., at most so many.
func (p *pair) fuzz(f *testing.F, most int) {
	f.Fuzz(func(t *testing.T, in []byte) {
		p.t, p.wasm.t = t, t
		p.another()
		for n := 0; len(in) > 0 && n < most; n++ {
			size := min(int(in[0]), len(in)-1)
			if size > 0 {
				p.send(in[1:1+size], false)
			}
			in = in[1+size:]
		}
		p.agree()
	})
}

// FuzzPayment sends any commands in any order to both: [length, command]...
func FuzzPayment(f *testing.F) {
	p := newPaymentPair(f)
	for _, flow := range paymentCommands {
		var in []byte
		for _, c := range flow {
			in = append(append(in, byte(len(c))), c...)
		}
		f.Add(in)
	}
	p.fuzz(f, 50)
}
