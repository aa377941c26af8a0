package telecom

import (
	"bytes"
	"encoding/hex"
	"maps"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/bundles/sdk"
	"github.com/sspemu/sspemu/bundles/sdk/sdktest"
	"github.com/sspemu/sspemu/internal/apdu"
)

// commands reads the commands of a dialogue.
func commandsOf(t testing.TB, file string) (list [][]byte) {
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	for _, line := range strings.Split(string(text), "\n") {
		if c, ok := strings.CutPrefix(line, "> "); ok {
			b, err := hex.DecodeString(strings.ReplaceAll(strings.TrimSuffix(c, "~"), " ", ""))
			require.NoError(t, err)
			list = append(list, b)
		}
	}
	return list
}

// TestPowerCut cuts the power during each command of a dialogue that changes the
// card, and compares what is left with what was before: a command is there wholly
// or not at all, except for counted tries.
func TestPowerCut(t *testing.T) {
	setup := []string{"00A4040C07A0000000871002", "002000010831323334FFFFFFFF", "002000810835363738FFFFFFFF", "0020000A083838383838383838"}
	for name, command := range map[string]string{
		"update binary":  "00D68E000A00010203040506070809",
		"update record":  "00DC01D4080102030405060708",
		"cyclic":         "00DC00E303000001",
		"increase":       "80329C000105",
		"change":         "002400011031323334FFFFFFFF393837363534FFFF",
		"disable":        "002600010831323334FFFFFFFF",
		"unblock":        "002C000110313233343536373834333231FFFFFFFF",
		"deactivate":     "00040000026FAD",
		"authenticate":   "00880081221023553CBE9637A89D218AE64DAE47BF351055F328B43577B9B94A9FFAC354DFAFB3",
		"verify, wrong":  "002000010831313131FFFFFFFF",
		"unblock, wrong": "002C0001103131313131313131" + "34333231FFFFFFFF",
	} {
		t.Run(name, func(t *testing.T) {
			card := newCard(t, "persona.yaml")
			for _, s := range setup {
				require.Equal(t, "9000", card.Transmit(s))
			}
			before := card.NVM()
			b, err := hex.DecodeString(command)
			require.NoError(t, err)
			card.CutPowerDuring(b)
			after := card.NVM()
			for k := range before {
				if !strings.HasPrefix(k, keyTry) {
					require.Equal(t, before[k], after[k], k)
				}
			}
			for _, s := range setup {
				require.Equal(t, "9000", card.Transmit(s))
			}
			sw := card.Transmit(command)
			require.False(t, equal(before, card.NVM()), "the whole command changes something: %s", sw)
		})
	}
}

func equal(a, b map[string][]byte) bool {
	return maps.EqualFunc(a, b, bytes.Equal)
}

// TestTryIsCountedBeforeTheComparison cuts the power during right and wrong PINs:
// each of them costs a try.
func TestTryIsCountedBeforeTheComparison(t *testing.T) {
	card := newCard(t, "persona.yaml")
	for i, pin := range []string{"31323334FFFFFFFF", "31313131FFFFFFFF", "31323334FFFFFFFF"} {
		b, err := hex.DecodeString("0020000108" + pin)
		require.NoError(t, err)
		card.CutPowerDuring(b)
		require.Equal(t, []string{"63C2", "63C1", "63C0"}[i], card.Transmit("00200001"))
	}
	require.Equal(t, "6983", card.Transmit("002000010831323334FFFFFFFF"))
}

// TestEvents: what the outside is told.
func TestEvents(t *testing.T) {
	card := newCard(t, "persona.yaml")
	for range 3 {
		card.Transmit("002000010831313131FFFFFFFF")
	}
	card.Transmit("80C2000004D3020201")
	require.Equal(t, []sdktest.Event{
		{Name: "pin.blocked", Data: []byte{refPIN1}},
		{Name: "toolkit.envelope", Data: []byte{0xD3, 2, 2, 1}},
	}, card.Events)
}

// TestFullMemory: a write that finds no room is answered with 6581 and changes
// nothing.
func TestFullMemory(t *testing.T) {
	card := newCard(t, "persona.yaml")
	require.Equal(t, "9000", card.Transmit("002000010831323334FFFFFFFF"))
	broken := &refusing{}
	c := New()
	bundle := sdk.NewBundle(c, broken)
	broken.values = card.NVM()
	require.Zero(t, bundle.Init(sdk.ReasonStart))
	send := func(s string) string {
		b, err := hex.DecodeString(s)
		require.NoError(t, err)
		out, err := bundle.Message(sdk.GateAPDU, 0, 0, b)
		require.NoError(t, err)
		return strings.ToUpper(hex.EncodeToString(out))
	}
	require.Equal(t, "9000", send("002000010831323334FFFFFFFF"))
	require.Equal(t, "9000", send("0020000A083838383838383838"))
	require.Equal(t, "9000", send("00A4040C07A0000000871002"))
	require.Equal(t, "9000", send("002000810835363738FFFFFFFF"))
	broken.refuse = true
	for _, s := range []string{"00D68B000100", "00DC000303000001", "80329C000105", "002400011031323334FFFFFFFF393837363534FFFF",
		"002600010831323334FFFFFFFF", "002C000110313233343536373834333231FFFFFFFF", "00040000026FAD"} {
		if strings.HasPrefix(s, "00DC") {
			require.Equal(t, "9000", send("00A4000C026F39"))
		}
		require.Equal(t, "6581", send(s), s)
	}
	// Room for the try that is counted, not for more: the try is gone.
	broken.spare = 1
	require.Equal(t, "6581", send("002000010831323334FFFFFFFF"))
	require.Equal(t, "63C2", send("00200001"))
	broken.refuse = false
	require.Equal(t, "9000", send("002000010831323334FFFFFFFF"))
	require.Equal(t, "63C3", send("00200001"))
	require.Equal(t, "0000009000", send("00B201E400"))
	require.Equal(t, "FFFFFFFF00F1100000FF019000", send("00B08B0000"))
	require.Equal(t, "9000", send("002000010831323334FFFFFFFF"))
}

// refusing is a platform whose memory can be full.
type refusing struct {
	sdktest.Cryptography
	values map[string][]byte
	refuse bool
	spare  int // writes that still find room
}

func (r *refusing) Time() int64      { return 0 }
func (r *refusing) Commit() int32    { return 0 }
func (r *refusing) Rollback() int32  { return 0 }
func (r *refusing) WaitSignal(int64) {}
func (r *refusing) NVMGet(key string, off int, buf []byte) int32 {
	v, ok := r.values[key]
	if !ok {
		return -int32(sdk.ErrUnknownID)
	}
	copy(buf, v[min(off, len(v)):])
	return int32(len(v))
}
func (r *refusing) NVMPut(string, []byte) int32 { return -int32(sdk.ErrNoSpace) }
func (r *refusing) NVMWrite(key string, off int, val []byte) int32 {
	if r.refuse {
		if r.spare--; r.spare < 0 {
			return -int32(sdk.ErrNoSpace)
		}
	}
	copy(r.values[key][off:], val)
	return 0
}
func (r *refusing) NVMDelete(string) int32                  { return 0 }
func (r *refusing) NVMNext(string, []byte) int32            { return 0 }
func (r *refusing) Random([]byte)                           {}
func (r *refusing) Log(int32, string)                       {}
func (r *refusing) Event(string, []byte)                    {}
func (r *refusing) Class() int32                            { return 0 }
func (r *refusing) Send(uint32, uint32, byte, []byte) int32 { return 0 }

// TestCorruptState: a card whose NVM is not what it wrote does not start.
func TestCorruptState(t *testing.T) {
	good := newCard(t, "persona.yaml").NVM()
	for name, change := range map[string]func(m map[string][]byte){
		"no tree":       func(m map[string][]byte) { delete(m, keyTree) },
		"other version": func(m map[string][]byte) { m[keyTree][0] = 9 },
		"short tree":    func(m map[string][]byte) { m[keyTree] = m[keyTree][:40] },
		"long tree":     func(m map[string][]byte) { m[keyTree] = append(m[keyTree], 0) },
		"no body":       func(m map[string][]byte) { delete(m, indexed(keyBody, 3)) },
		"short record":  func(m map[string][]byte) { m[indexed(keyBody, 1)] = []byte{1} },
		"no tries":      func(m map[string][]byte) { delete(m, indexed(keyTry, 0)) },
		"short PIN":     func(m map[string][]byte) { m[indexed(keyPIN, 0)] = []byte{1} },
		"life":          func(m map[string][]byte) { m[keyLife] = m[keyLife][:3] },
		"no AKA":        func(m map[string][]byte) { delete(m, akaKey) },
	} {
		t.Run(name, func(t *testing.T) {
			host := &refusing{values: map[string][]byte{}}
			for k, v := range good {
				host.values[k] = append([]byte{}, v...)
			}
			change(host.values)
			require.Negative(t, sdk.NewBundle(New(), host).Init(sdk.ReasonStart))
		})
	}
}

// FuzzAPDU sends two commands after the application is selected and PIN1 is
// verified: there is always a status word and the card goes on.
func FuzzAPDU(f *testing.F) {
	for _, file := range []string{"select", "binary", "record", "search", "increase", "pin", "channel", "class", "terminal", "activate", "authenticate"} {
		for i, c := range commandsOf(f, "testdata/dialogues/"+file+".txt") {
			if i%7 == 0 {
				f.Add(c, []byte("\x00\xB2\x01\x04\x00"))
			}
		}
	}
	host := &refusing{values: newCard(f, "persona.yaml").NVM()}
	f.Fuzz(func(t *testing.T, first, second []byte) {
		values := map[string][]byte{}
		for k, v := range host.values {
			values[k] = append([]byte{}, v...)
		}
		bundle := sdk.NewBundle(New(), &refusing{values: values})
		require.Zero(t, bundle.Init(sdk.ReasonStart))
		for _, c := range [][]byte{
			{0, 0xA4, 4, 0x0C, 7, 0xA0, 0, 0, 0, 0x87, 0x10, 2},
			{0, 0x20, 0, 1, 8, '1', '2', '3', '4', 0xFF, 0xFF, 0xFF, 0xFF}, first, second, {0x80, 0xF2, 0, 0},
		} {
			if len(c) > apdu.MaxCommand {
				return
			}
			out, err := bundle.Message(sdk.GateAPDU, 0, 0, c)
			require.NoError(t, err)
			require.GreaterOrEqual(t, len(out), 2)
			require.Contains(t, []byte{0x61, 0x62, 0x63, 0x65, 0x67, 0x68, 0x69, 0x6A, 0x6B, 0x6C, 0x6D, 0x6E, 0x90, 0x91, 0x98}, out[len(out)-2])
		}
		if _, err := apdu.Parse(first); err != nil {
			return
		}
		require.Zero(t, sdk.NewBundle(New(), &refusing{values: values}).Init(sdk.ReasonStart), "what was written can be read again")
	})
}

// reading is a card with an EF of ten bytes selected, ready for READ BINARY.
func reading(t testing.TB) (*sdk.Bundle, []byte) {
	bundle := sdk.NewBundle(New(), &refusing{values: newCard(t, "persona.yaml").NVM()})
	require.Zero(t, bundle.Init(sdk.ReasonStart))
	_, err := bundle.Message(sdk.GateAPDU, 0, 0, []byte{0, 0xA4, 0, 0x0C, 2, 0x2F, 0xE2})
	require.NoError(t, err)
	read := []byte{0, 0xB0, 0, 0, 10}
	out, err := bundle.Message(sdk.GateAPDU, 0, 0, read)
	require.NoError(t, err)
	require.Equal(t, "980001010000000000f19000", hex.EncodeToString(out))
	return bundle, read
}

// TestCommandsDoNotAllocate: neither do reading nor selecting nor verifying.
func TestCommandsDoNotAllocate(t *testing.T) {
	bundle, _ := reading(t)
	for _, c := range []string{"00B000000A", "00A40004022FE2", "00A4040407A0000000871002", "80F2000000", "00B08700", "002000010831323334FFFFFFFF", "00B2010C00",
		"00A2010C02456D00", "00D68B000100", "80329C0001010000"} {
		b, err := hex.DecodeString(c)
		require.NoError(t, err)
		require.Zero(t, testing.AllocsPerRun(100, func() {
			if _, err := bundle.Message(sdk.GateAPDU, 0, 0, b); err != nil {
				t.Fatal(err)
			}
		}), c)
	}
}

func BenchmarkReadBinary(b *testing.B) {
	bundle, read := reading(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := bundle.Message(sdk.GateAPDU, 0, 0, read); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSelectFile(b *testing.B) {
	bundle, _ := reading(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := bundle.Message(sdk.GateAPDU, 0, 0, []byte{0, 0xA4, 8, 0x04, 4, 0x7F, 0x10, 0x6F, 0x3A}); err != nil {
			b.Fatal(err)
		}
	}
}
