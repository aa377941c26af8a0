package t1_test

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/transport"
	"github.com/sspemu/sspemu/transport/t1"
)

// FuzzEngine does with an engine what the bytes say: whatever that is, it does not
// panic, keeps to MaxAPDU, and a resynchronisation (of a target) or a reset (of a
// controller) makes it useful again.
//
// Each byte is one step: 0 to 5 a block of the table below, 6 the next n bytes as they are,
// 7 Timeout, 8 Send, 9 Extend, 10 Request, 11 damage.
func FuzzEngine(f *testing.F) {
	f.Add(false, false, []byte{8, 0, 7, 7, 7, 7, 8, 1})
	f.Add(true, true, []byte{0, 9, 5, 8, 2, 11, 11, 11, 6, 3, 1, 2, 3})
	f.Add(true, false, []byte{1, 1, 1, 0, 8, 3, 4, 5})
	f.Add(false, true, []byte{10, 0xC4, 7, 10, 0xC1, 4, 4, 4})
	f.Add(true, false, bytes.Repeat([]byte{1, 0x20, 1, 0x60}, 40))
	f.Fuzz(func(t *testing.T, target, isPrime bool, steps []byte) {
		const most = 100
		cfg := t1.Config{Prime: isPrime, MaxAPDU: most}
		if target {
			cfg.Role = transport.Target
		}
		e := t1.New(cfg)
		format := e.Format()
		nad := cfg.NAD
		if isPrime {
			nad = 0x12
			if target {
				nad = 0x21
			}
		}
		check := func(a t1.Action) {
			if a.Event == t1.Delivered {
				require.LessOrEqual(t, len(a.INF), most)
			}
			if a.Block != nil {
				_, err := format.Parse(a.Block)
				require.NoError(t, err)
			}
			require.Equal(t, a.Event == t1.Failed || a.Event == t1.Reset, a.Err != nil)
			if !target && a.Block != nil {
				require.Positive(t, a.Wait)
			}
		}
		take := func(n int) []byte {
			n = min(n, len(steps))
			b := steps[:n]
			steps = steps[n:]
			return b
		}
		for len(steps) > 0 {
			switch op := take(1)[0] % 12; op {
			default: // a good block with any PCB and a short INF
				pcb := t1.PCB(0)
				if b := take(1); len(b) > 0 {
					pcb = t1.PCB(b[0])
				}
				check(e.Receive(format.Append(nil, nad, pcb, take(int(op)*10)), nil))
			case 6:
				n := 0
				if b := take(1); len(b) > 0 {
					n = int(b[0])
				}
				check(e.Receive(take(n), nil))
			case 7:
				check(e.Timeout())
			case 8:
				a, _ := e.Send(make([]byte, most))
				check(a)
			case 9:
				check(e.Extend(1))
			case 10:
				if b := take(1); len(b) > 0 {
					a, _ := e.Request(t1.PCB(b[0]), nil)
					check(a)
				}
			case 11:
				check(e.Receive(nil, t1.ErrEDC))
			}
		}
		other := t1.New(t1.Config{Prime: isPrime, Role: transport.Target, MaxAPDU: most})
		command := []byte("a command that is longer than the shortest field")
		if !target {
			e.Reset()
			got, _ := exchange(t, e, other, command, echo)
			require.Equal(t, command, got)
			return
		}
		ifd := t1.New(t1.Config{Prime: isPrime, MaxAPDU: most})
		a, err := ifd.Request(t1.Resynch, nil)
		require.NoError(t, err)
		a = ifd.Receive(e.Receive(a.Block, nil).Block, nil)
		require.Equal(t, t1.Answered, a.Event)
		got, _ := exchange(t, ifd, e, command, echo)
		require.Equal(t, command, got)
	})
}

// FuzzPair has each block of a conversation damaged, lost or left alone as the bytes
// say (and alone when they are over). What is delivered is right, whatever they say, and
// a command that is given more than once was given again after a resynchronisation.
func FuzzPair(f *testing.F) {
	f.Add(byte(0), []byte{0, 1, 0, 2})
	f.Add(byte(1), []byte{1, 1, 1, 0, 0, 2, 2, 2, 1, 1, 1, 1})
	f.Add(byte(2), bytes.Repeat([]byte{0, 1}, 200))
	f.Add(byte(3), bytes.Repeat([]byte{1, 0, 0}, 100))
	f.Fuzz(func(t *testing.T, which byte, fates []byte) {
		cfg := []t1.Config{
			{Format: crc, Peer: 30, Own: 40}, {Format: crc, Peer: 254},
			{Prime: true, Peer: 400, Own: 300, Retries: 3}, t1.NXP.Config(),
		}[which%4]
		ifd, card := pair(cfg)
		resynchs := 0
		travel := func(b []byte) (arrives []byte, lost bool) {
			fate := byte(0)
			if len(fates) > 0 {
				fate, fates = fates[0], fates[1:]
			}
			if t1.PCB(b[1]) == t1.Resynch {
				resynchs++
			}
			switch fate % 4 {
			case 1:
				b[int(fate/4)%len(b)] ^= 1 + fate/8
			case 2:
				return nil, true
			}
			return b, false
		}
		for round := range 20 {
			command := bytes.Repeat([]byte{byte(round), 1, 2, 3, 4, 5, 6}, 1+30*(round%5))
			given := 0
			resynchs = 0
			a, err := ifd.Send(command)
			require.NoError(t, err)
			for steps := 0; a.Event == t1.None; steps++ {
				require.Less(t, steps, 10_000, "it hangs")
				require.NotEmpty(t, a.Block)
				var r t1.Action
				if b, lost := travel(a.Block); !lost {
					r = card.Receive(b, nil)
				}
				if r.Event == t1.Delivered {
					require.Equal(t, command, r.INF)
					given++
					r, err = card.Send(append(append([]byte{}, r.INF...), 0x90, 0))
					require.NoError(t, err)
				}
				if r.Block == nil {
					a = ifd.Timeout()
				} else if b, lost := travel(r.Block); lost {
					a = ifd.Timeout()
				} else {
					a = ifd.Receive(b, nil)
				}
			}
			require.LessOrEqual(t, given, 1+resynchs)
			switch a.Event {
			case t1.Delivered:
				require.Equal(t, append(command, 0x90, 0), a.INF)
			case t1.Reset:
				ifd.Reset()
				card.Reset()
			}
		}
	})
}
