package gate_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/internal/trace"
	"github.com/sspemu/sspemu/scl"
	"github.com/sspemu/sspemu/scl/gate"
)

// Accessors of the tests: anybody may open loopback, who knows the PIN TCP, who has
// the token UDP, who has the other one everything.
const (
	everybody, holder, device, owner = 0, 1, 2, 9

	pin    = "1234"
	wrong  = "4321"
	maxPIN = 3
)

var key, ownerKey = gate.Secret(bytes.Repeat([]byte{0x5A}, 32)), gate.Secret(bytes.Repeat([]byte{0xA5}, 16))

// counters write down what is stored, and can fail.
type counters struct {
	gate.Volatile
	stored []int
	fail   error
}

func (c *counters) Store(id byte, n int) error {
	if c.fail != nil {
		return c.fail
	}
	c.stored = append(c.stored, n)
	return c.Volatile.Store(id, n)
}

// accessorBench is a network, locked, whose controller has the accessor gate, and
// a host with a pipe to it.
type accessorBench struct {
	t        *testing.T
	n        *scl.Network
	p        *scl.Profile
	gate     *gate.Accessors
	host     *scl.Host
	pipe     *scl.Pipe
	counters *counters
	random   *strings.Reader
}

func newAccessorBench(t *testing.T, tr *trace.Tracer) *accessorBench {
	b := &accessorBench{t: t, n: scl.NewNetwork(profile, tr), counters: &counters{Volatile: gate.Volatile{}}}
	b.p = b.n.Profile()
	b.random = strings.NewReader(strings.Repeat("a", gate.ChallengeLength) + strings.Repeat("b", gate.ChallengeLength) + strings.Repeat("c", gate.ChallengeLength))
	b.n.Lock()
	t.Cleanup(b.n.Unlock)
	b.install()
	var err error
	b.host, err = b.n.Register("terminal", [16]byte{1}, 0)
	require.NoError(t, err)
	b.pipe = b.bind(b.host)
	return b
}

func (b *accessorBench) install() {
	var err error
	b.gate, err = gate.NewAccessors(b.n, []gate.Accessor{
		{ID: owner, Name: "owner", Kind: gate.Token, Secret: ownerKey, Every: true},
		{ID: everybody, Name: "anybody", Gates: []scl.GateID{b.p.Gate.Loopback}},
		{ID: holder, Name: "holder", Kind: gate.PIN, Secret: gate.Secret(pin), Tries: maxPIN, Gates: []scl.GateID{b.p.Gate.TCP, b.p.Gate.Loopback}},
		{ID: device, Name: "device", Kind: gate.Token, Secret: key, Gates: []scl.GateID{b.p.Gate.UDP}},
	}, b.counters, b.random)
	require.NoError(b.t, err)
	require.NoError(b.t, b.n.Controller().Publish(b.p.Gate.Accessor, b.gate))
}

func (b *accessorBench) bind(h *scl.Host) *scl.Pipe {
	p, err := h.Bind(b.n.Controller().ID(), b.p.Gate.Accessor, nil)
	require.NoError(b.t, err)
	return p
}

func (b *accessorBench) call(command byte, data ...byte) ([]byte, error) {
	code, r, err := b.pipe.Call(command, data)
	require.NoError(b.t, err)
	return bytes.Clone(r), b.p.Err(code)
}

func (b *accessorBench) authenticate(id byte, credential []byte) ([]byte, error) {
	return b.call(b.p.Command.AccessorAuthenticate, append([]byte{id}, credential...)...)
}

func (b *accessorBench) challenge() []byte {
	c, err := b.call(b.p.Command.AccessorChallenge)
	require.NoError(b.t, err)
	require.Len(b.t, c, gate.ChallengeLength)
	return c
}

// rights are GET_RIGHTS, compared with what May says.
func (b *accessorBench) rights() []byte {
	r, err := b.call(b.p.Command.AccessorRights)
	require.NoError(b.t, err)
	for _, id := range []scl.GateID{b.p.Gate.Loopback, b.p.Gate.TCP, b.p.Gate.UDP, b.p.Gate.Accessor, b.p.Gate.FileSystem} {
		require.Equal(b.t, r[1] == 1 || bytes.Contains(r[2:], []byte{byte(id)}), b.gate.May(b.host, id), "gate %02X", id)
	}
	return r
}

// Rights as GET_RIGHTS has them: loopback 04, TCP 31, UDP 32, accessor 35.
var (
	asAnybody = []byte{everybody, 0, 0x04, 0x35}
	asHolder  = []byte{holder, 0, 0x04, 0x31, 0x35}
	asDevice  = []byte{device, 0, 0x04, 0x32, 0x35}
	asOwner   = []byte{owner, 1}
)

func TestAccessorDefault(t *testing.T) {
	n, a, spb := hosts(t, nil)
	g, err := gate.NewAccessors(n, nil, nil, nil)
	require.NoError(t, err)
	require.NoError(t, spb.Publish(n.Profile().Gate.Accessor, g))
	p, err := a.Bind(spb.ID(), n.Profile().Gate.Accessor, nil)
	require.NoError(t, err)
	require.True(t, g.May(a, n.Profile().Gate.TCP))
	_, r, err := p.Call(n.Profile().Command.AccessorList, nil)
	require.NoError(t, err)
	require.Equal(t, "\x00\x00\xFF\x09anonymous", string(r))
	_, r, err = p.Call(n.Profile().Command.AccessorRights, nil)
	require.NoError(t, err)
	require.Equal(t, []byte{0, 1}, r)
	_, r, err = p.Call(n.Profile().Command.AccessorChallenge, nil)
	require.NoError(t, err)
	require.NotEqual(t, make([]byte, gate.ChallengeLength), r, "of the system's randomness")
}

func TestAccessorList(t *testing.T) {
	b := newAccessorBench(t, nil)
	r, err := b.call(b.p.Command.AccessorList)
	require.NoError(t, err)
	require.Equal(t, "\x00\x00\xFF\x07anybody"+"\x01\x01\x03\x06holder"+"\x02\x02\xFF\x06device"+"\x09\x02\xFF\x05owner", string(r))
	_, _ = b.authenticate(holder, []byte(wrong))
	r, err = b.call(b.p.Command.AccessorList)
	require.NoError(t, err)
	require.Contains(t, string(r), "\x01\x01\x02\x06holder")
}

func TestAccessorPIN(t *testing.T) {
	b := newAccessorBench(t, nil)
	require.Equal(t, asAnybody, b.rights())
	_, err := b.authenticate(holder, []byte(pin))
	require.NoError(t, err)
	require.Equal(t, []int{2, 3}, b.counters.stored, "counted, compared, given back")
	require.Equal(t, asHolder, b.rights())

	r, err := b.authenticate(holder, []byte(wrong))
	require.ErrorIs(t, err, scl.ErrAuthentication)
	require.Equal(t, []byte{2}, r)
	require.Equal(t, asAnybody, b.rights(), "one that is refused takes the rights")
	_, err = b.authenticate(holder, []byte(pin))
	require.NoError(t, err, "the tries are back")
	for _, tt := range []struct {
		pin  string
		left byte
	}{{"", 2}, {pin + "5", 1}, {wrong, 0}, {pin, 0}, {wrong, 0}} {
		r, err = b.authenticate(holder, []byte(tt.pin))
		require.ErrorIs(t, err, scl.ErrAuthentication)
		require.Equal(t, []byte{tt.left}, r)
	}
	require.Equal(t, []int{2, 3, 2, 1, 3, 2, 1, 0}, b.counters.stored, "nothing is counted of a PIN that is blocked")
	require.Equal(t, asAnybody, b.rights())
}

// TestAccessorPINCounter: counters outlive the gate, and a PIN is not compared that
// cannot be counted.
func TestAccessorPINCounter(t *testing.T) {
	b := newAccessorBench(t, nil)
	_, err := b.authenticate(holder, []byte(wrong))
	require.ErrorIs(t, err, scl.ErrAuthentication)
	again, err := gate.NewAccessors(b.n, []gate.Accessor{{}, {ID: holder, Kind: gate.PIN, Secret: gate.Secret(pin), Tries: maxPIN}}, b.counters, nil)
	require.NoError(t, err)
	h, err := b.n.Register("SPB", [16]byte{2}, 0)
	require.NoError(t, err)
	require.NoError(t, h.Publish(b.p.Gate.Accessor, again))
	b.pipe, err = b.host.Bind(h.ID(), b.p.Gate.Accessor, nil)
	require.NoError(t, err)
	r, err := b.authenticate(holder, []byte(wrong))
	require.ErrorIs(t, err, scl.ErrAuthentication)
	require.Equal(t, []byte{1}, r)

	b.counters.fail = errors.New("the memory is worn out")
	for _, credential := range []string{pin, wrong} {
		r, err = b.authenticate(holder, []byte(credential))
		require.ErrorIs(t, err, scl.ErrNOK)
		require.Empty(t, r)
	}
	b.counters.fail = nil
	b.counters.Volatile[holder] = 1000
	r, err = b.authenticate(holder, []byte(wrong))
	require.ErrorIs(t, err, scl.ErrAuthentication)
	require.Equal(t, []byte{2}, r, "a counter that is out of range counts as full")
	b.counters.Volatile[holder] = -7
	r, err = b.authenticate(holder, []byte(pin))
	require.ErrorIs(t, err, scl.ErrAuthentication)
	require.Equal(t, []byte{0}, r, "or as blocked")
}

func TestAccessorToken(t *testing.T) {
	b := newAccessorBench(t, nil)
	_, err := b.authenticate(device, gate.Answer(key, nil))
	require.ErrorIs(t, err, scl.ErrAuthentication, "no challenge was asked for")

	first := b.challenge()
	_, err = b.authenticate(device, gate.Answer(key, first))
	require.NoError(t, err)
	require.Equal(t, asDevice, b.rights())
	_, err = b.authenticate(device, gate.Answer(key, first))
	require.ErrorIs(t, err, scl.ErrAuthentication, "one challenge, one use")
	require.Equal(t, asAnybody, b.rights())

	second := b.challenge()
	require.NotEqual(t, first, second)
	r, err := b.authenticate(device, gate.Answer(ownerKey, second))
	require.ErrorIs(t, err, scl.ErrAuthentication, "another key")
	require.Empty(t, r)
	_, err = b.authenticate(device, gate.Answer(key, second))
	require.ErrorIs(t, err, scl.ErrAuthentication, "also when the answer was wrong")

	_, err = b.authenticate(owner, gate.Answer(ownerKey, b.challenge()))
	require.NoError(t, err)
	require.Equal(t, asOwner, b.rights())

	r, err = b.call(b.p.Command.AccessorChallenge)
	require.ErrorIs(t, err, scl.ErrNOK, "there is no randomness left")
	require.Empty(t, r)
	_, err = b.authenticate(device, gate.Answer(key, make([]byte, gate.ChallengeLength)))
	require.ErrorIs(t, err, scl.ErrAuthentication)
}

// TestAccessorAnswer: HMAC-SHA-256, RFC 4231 test case 2.
func TestAccessorAnswer(t *testing.T) {
	require.Equal(t, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
		fmt.Sprintf("%x", gate.Answer(gate.Secret("Jefe"), []byte("what do ya want for nothing?"))))
}

// TestAccessorRightsEnd: with the session, and with it alone.
func TestAccessorRightsEnd(t *testing.T) {
	for name, end := range map[string]func(b *accessorBench) error{
		"logout":    func(b *accessorBench) error { _, err := b.call(b.p.Command.AccessorLogout); return err },
		"anonymous": func(b *accessorBench) error { _, err := b.authenticate(everybody, nil); return err },
		"close":     func(b *accessorBench) error { return b.pipe.Close() },
		"reopened":  func(b *accessorBench) error { return errors.Join(b.pipe.Close(), b.pipe.Open(nil)) },
		"delete":    func(b *accessorBench) error { return b.pipe.Delete() },
		"leave":     func(b *accessorBench) error { return b.n.Deregister(b.host) },
	} {
		t.Run(name, func(t *testing.T) {
			b := newAccessorBench(t, nil)
			_, err := b.authenticate(holder, []byte(pin))
			require.NoError(t, err)
			require.True(t, b.gate.May(b.host, b.p.Gate.TCP))
			require.NoError(t, end(b))
			require.False(t, b.gate.May(b.host, b.p.Gate.TCP))
			require.True(t, b.gate.May(b.host, b.p.Gate.Loopback))
		})
	}
}

// TestAccessorSessions: rights are of the host that authenticated, and add up over
// its sessions.
func TestAccessorSessions(t *testing.T) {
	b := newAccessorBench(t, nil)
	other, err := b.n.Register("another", [16]byte{2}, 0)
	require.NoError(t, err)
	b.bind(other)
	_, err = b.authenticate(holder, []byte(pin))
	require.NoError(t, err)
	require.False(t, b.gate.May(other, b.p.Gate.TCP))

	first := b.pipe
	b.pipe = b.bind(b.host)
	_, err = b.authenticate(device, gate.Answer(key, b.challenge()))
	require.NoError(t, err)
	for id, want := range map[scl.GateID]bool{b.p.Gate.TCP: true, b.p.Gate.UDP: true, b.p.Gate.Loopback: true, b.p.Gate.FileSystem: false} {
		require.Equal(t, want, b.gate.May(b.host, id), "gate %02X", id)
	}
	require.NoError(t, first.Close())
	require.False(t, b.gate.May(b.host, b.p.Gate.TCP))
	require.True(t, b.gate.May(b.host, b.p.Gate.UDP))
}

// TestAccessorChallengeIsPrivate: an answer is good on the pipe of its challenge.
func TestAccessorChallengeIsPrivate(t *testing.T) {
	b := newAccessorBench(t, nil)
	c := b.challenge()
	b.pipe = b.bind(b.host)
	_, err := b.authenticate(device, gate.Answer(key, c))
	require.ErrorIs(t, err, scl.ErrAuthentication)
}

// TestAccessorRule: as the access rule of a network.
func TestAccessorRule(t *testing.T) {
	b := newAccessorBench(t, nil)
	b.n.SetAccess(func(from, _ *scl.Host, id scl.GateID) error {
		if !b.gate.May(from, id) {
			return scl.ErrPipeAccessDenied
		}
		return nil
	})
	spb, err := b.n.Register("SPB", [16]byte{3}, b.p.Host.UICC)
	require.NoError(t, err)
	require.NoError(t, spb.Publish(b.p.Gate.TCP, gate.Loopback{}))
	_, err = b.host.Bind(spb.ID(), b.p.Gate.TCP, nil)
	require.ErrorIs(t, err, scl.ErrPipeAccessDenied)
	_, err = b.authenticate(holder, []byte(pin))
	require.NoError(t, err)
	p, err := b.host.Bind(spb.ID(), b.p.Gate.TCP, nil)
	require.NoError(t, err)
	require.NoError(t, b.pipe.Close())
	require.Equal(t, scl.Open, p.State(), "what is open stays")
	_, err = b.host.Bind(spb.ID(), b.p.Gate.TCP, nil)
	require.ErrorIs(t, err, scl.ErrPipeAccessDenied)
	require.NoError(t, b.pipe.Delete())
	b.pipe = b.bind(b.host) // this gate is for everyone
}

func TestAccessorBadInput(t *testing.T) {
	b := newAccessorBench(t, nil)
	c := b.p.Command
	for _, tt := range []struct {
		name    string
		command byte
		data    []byte
		want    error
	}{
		{"list with parameters", c.AccessorList, []byte{0}, scl.ErrCmdParUnknown},
		{"challenge with parameters", c.AccessorChallenge, []byte{0}, scl.ErrCmdParUnknown},
		{"rights with parameters", c.AccessorRights, []byte{0}, scl.ErrCmdParUnknown},
		{"logout with parameters", c.AccessorLogout, []byte{0}, scl.ErrCmdParUnknown},
		{"authenticate as nobody", c.AccessorAuthenticate, nil, scl.ErrCmdParUnknown},
		{"authenticate as one who is not there", c.AccessorAuthenticate, []byte("\x071234"), scl.ErrCmdParUnknown},
		{"anonymous with a credential", c.AccessorAuthenticate, []byte{everybody, 1}, scl.ErrCmdParUnknown},
		{"token without an answer", c.AccessorAuthenticate, []byte{device}, scl.ErrAuthentication},
		{"unknown command", 0x3D, nil, scl.ErrCmdNotSupported},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b.challenge()
			b.random.Reset(strings.Repeat("a", 2*gate.ChallengeLength))
			r, err := b.call(tt.command, tt.data...)
			require.ErrorIs(t, err, tt.want)
			require.Empty(t, r)
			require.Equal(t, asAnybody, b.rights())
		})
	}
	require.NoError(t, b.pipe.Send(scl.Message{Type: scl.Event, Instruction: c.AccessorAuthenticate, Data: []byte("\x011234")}))
	require.NoError(t, b.pipe.Send(scl.Message{Type: scl.Response}))
	require.Equal(t, asAnybody, b.rights(), "neither event nor response does anything")
}

func TestAccessorConfiguration(t *testing.T) {
	n := scl.NewNetwork(scl.DefaultProfile(), nil)
	anonymous := gate.Accessor{Name: "anybody"}
	long := gate.Secret(bytes.Repeat([]byte{1}, 65))
	many := []gate.Accessor{anonymous}
	for id := byte(1); id <= gate.MaxAccessors; id++ {
		many = append(many, gate.Accessor{ID: id, Kind: gate.PIN, Secret: gate.Secret(pin), Tries: 1})
	}
	for _, tt := range []struct {
		name string
		list []gate.Accessor
		want string
	}{
		{"nobody is anonymous", []gate.Accessor{{Kind: gate.Token, Secret: key}}, "accessors: 0 of them are anonymous, one has to be"},
		{"two are anonymous", []gate.Accessor{anonymous, {ID: 1}}, "accessors: 2 of them are anonymous, one has to be"},
		{"an identifier twice", []gate.Accessor{anonymous, {Name: "x", Kind: gate.Token, Secret: key}}, "accessor 0 (x): there are two with this identifier"},
		{"too many", many, "accessors: there are 33, at most 32 can be"},
		{"kind", []gate.Accessor{anonymous, {ID: 1, Kind: 3}}, "accessor 1 (): there is no kind 3"},
		{"name", []gate.Accessor{{Name: strings.Repeat("x", 65)}}, "accessor 0 (" + strings.Repeat("x", 65) + "): its name has 65 octets, at most 64 can be"},
		{"anonymous with a secret", []gate.Accessor{{Secret: key}}, "accessor 0 (): it is anonymous and has a secret"},
		{"anonymous with tries", []gate.Accessor{{Tries: 3}}, "accessor 0 (): tries are counted of a PIN only"},
		{"PIN without PIN", []gate.Accessor{anonymous, {ID: 1, Kind: gate.PIN, Tries: 3}}, "accessor 1 (): its PIN has 0 octets, 1 to 64 can be"},
		{"PIN too long", []gate.Accessor{anonymous, {ID: 1, Kind: gate.PIN, Secret: long, Tries: 3}}, "accessor 1 (): its PIN has 65 octets, 1 to 64 can be"},
		{"PIN without tries", []gate.Accessor{anonymous, {ID: 1, Kind: gate.PIN, Secret: key}}, "accessor 1 (): 0 tries, 1 to 15 can be"},
		{"PIN with too many", []gate.Accessor{anonymous, {ID: 1, Kind: gate.PIN, Secret: key, Tries: 16}}, "accessor 1 (): 16 tries, 1 to 15 can be"},
		{"token with a short key", []gate.Accessor{anonymous, {ID: 1, Kind: gate.Token, Secret: key[:15]}}, "accessor 1 (): its key has 15 octets, 16 to 64 can be"},
		{"token with a long key", []gate.Accessor{anonymous, {ID: 1, Kind: gate.Token, Secret: long}}, "accessor 1 (): its key has 65 octets, 16 to 64 can be"},
		{"token with tries", []gate.Accessor{anonymous, {ID: 1, Kind: gate.Token, Secret: key, Tries: 3}}, "accessor 1 (): tries are counted of a PIN only"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := gate.NewAccessors(n, tt.list, nil, nil)
			require.EqualError(t, err, tt.want)
		})
	}
}

// TestSecretsDoNotPrint: not by fmt, not by json, not in trace events of the gate.
func TestSecretsDoNotPrint(t *testing.T) {
	a := gate.Accessor{Secret: gate.Secret("geheim")}
	for _, format := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
		s := fmt.Sprintf(format, a)
		require.NotContains(t, s, "geheim")
		require.NotContains(t, s, "103, 101", "as numbers")
		require.NotContains(t, s, "67656865696d", "in hexadecimal")
	}
	j, err := json.Marshal(a)
	require.NoError(t, err)
	require.Contains(t, string(j), `"Secret":"(secret)"`)

	tr := trace.New(nil)
	s := &notes{}
	tr.Add(s)
	b := newAccessorBench(t, tr)
	_, _ = b.authenticate(holder, []byte(wrong))
	_, _ = b.authenticate(holder, []byte(pin))
	require.Equal(t, []string{"AUTHENTICATE: refused: " + scl.ErrAuthentication.Error(), "AUTHENTICATE: accessor holder"}, s.got)
}

// FuzzAccessors sends commands to the gate, each with its length in front: nobody
// who has no secret gets past the anonymous rights.
func FuzzAccessors(f *testing.F) {
	f.Add([]byte("\x01\x10\x01\x11\x05\x12\x01432\x01\x14\x01\x13"))
	f.Add([]byte("\x01\x11\x22\x12\x02aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\x02\x12\x00"))
	f.Add([]byte("\x01\x12\x02\x12\x09\x02\x14\x00\x00\x01\x3D"))
	f.Fuzz(func(t *testing.T, in []byte) {
		if bytes.Contains(in, []byte(pin)) {
			return
		}
		b := newAccessorBench(t, nil)
		for len(in) > 1 {
			k := min(int(in[0]), len(in)-1)
			m := in[1 : 1+k]
			in = in[1+k:]
			if k == 0 || m[0] > 0x3F || m[0] <= 0x04 { // what every gate has
				continue
			}
			_, _ = b.call(m[0], m[1:]...)
			require.Equal(t, asAnybody, b.rights())
		}
	})
}
