package gate

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"io"
	"slices"

	"github.com/sspemu/sspemu/internal/trace"
	"github.com/sspemu/sspemu/scl"
)

// AccessorKind says how a host shows that it is an accessor.
type AccessorKind byte

// The kinds of accessor.
const (
	Anonymous AccessorKind = iota // it does not: every host, from the start
	PIN                           // it knows the secret and says it; tries are counted
	Token                         // it knows the secret and answers a challenge with it
)

func (k AccessorKind) String() string {
	if names := [...]string{"anonymous", "PIN", "token"}; int(k) < len(names) {
		return names[k]
	}
	return fmt.Sprintf("kind %d", byte(k))
}

// Secret is a PIN or the key of a token. It does not print.
type Secret []byte

func (Secret) String() string   { return "(secret)" }
func (Secret) GoString() string { return "(secret)" }

// MarshalText makes it unreadable in JSON and YAML, too.
func (Secret) MarshalText() ([]byte, error) { return []byte("(secret)"), nil }

// Accessor is somebody who may open gates.
type Accessor struct {
	ID     byte
	Name   string // for people, UTF-8
	Kind   AccessorKind
	Secret Secret       // of a PIN or token
	Tries  int          // wrong PINs in a row that block it, 1 to MaxTries
	Every  bool         // it may open every gate
	Gates  []scl.GateID // else these
}

// Bounds of accessors, chosen.
const (
	MaxAccessors = 32
	MaxTries     = 15
	maxSecret    = 64
	minKey       = 16 // octets of the key of a token
	maxLabel     = 64 // octets of a name
)

// ChallengeLength is the length of a challenge and of the answer to it, which is
// HMAC-SHA-256 with the key of the token over the challenge (RFC 2104).
const ChallengeLength = sha256.Size

// Answer is the answer of a token to a challenge.
func Answer(key Secret, challenge []byte) []byte {
	h := hmac.New(sha256.New, key)
	h.Write(challenge)
	return h.Sum(nil)
}

// Counters keep how often a PIN may still be tried, where a power cut does not
// reach it.
type Counters interface {
	// Load gives what was stored for an accessor last; ok is false when nothing was.
	Load(accessor byte) (tries int, ok bool)
	// Store has it stored when it returns, or fails.
	Store(accessor byte, tries int) error
}

// Volatile are counters that are gone with the process.
type Volatile map[byte]int

// Load gives the counter.
func (v Volatile) Load(accessor byte) (int, bool) { n, ok := v[accessor]; return n, ok }

// Store keeps it.
func (v Volatile) Store(accessor byte, tries int) error { v[accessor] = tries; return nil }

// Accessors is the gate of the accessor authentication service. Every host is
// anonymous until it authenticates, on its own pipe to this gate; what it may as
// somebody else ends with that pipe session. Whom the access rule of the network
// (scl.Network.SetAccess) lets through is what May says.
//
//	host                                    gate
//	LIST_ACCESSORS ────────────────────────────>│
//	<──────────────────────── ANY_OK accessors ─│ identifier, kind, tries left, name
//	GET_CHALLENGE ─────────────────────────────>│
//	<──────────────────────── ANY_OK challenge ─│ good for the next AUTHENTICATE only
//	AUTHENTICATE accessor, credential ─────────>│ a PIN: tries left - 1 is stored,
//	<── ANY_OK, or ANY_E_AUTHENTICATION tries ──│ then they are compared
//	GET_RIGHTS ────────────────────────────────>│
//	<── ANY_OK accessor, every gate, gates ─────│
//	LOGOUT ────────────────────────────────────>│ anonymous again
//
//	accessors    one after the other: identifier (1), kind (1: 0 anonymous, 1 PIN,
//	             2 token), tries left (1; FF: not counted), length of name (1), name
//	credential   none for anonymous; the PIN; the Answer of the token
//	tries        1 octet, only of a PIN; 0: blocked
//	every gate   1 octet: 1 every gate, 0 those that follow
//
// Wrong parameters, also an accessor that is not there: ANY_E_CMD_PAR_UNKNOWN. A
// counter that cannot be stored, no randomness: ANY_E_NOK. After an AUTHENTICATE that
// is refused the session is anonymous. Pipes that are there stay when rights go:
// rights are asked for when a pipe is made.
//
// No secret is in an answer or in a trace event of this gate; a PIN is in the packets
// that bring it, as in VERIFY PIN.
//
// TS 103 666-1 clause 10 has an accessor authentication service; everything here is
// chosen.
type Accessors struct {
	n        *scl.Network
	list     []Accessor // by ID
	counters Counters
	random   io.Reader
	sessions map[*scl.Pipe]*accessorSession
}

// NewAccessors makes the gate for a host of n. No accessors: an anonymous one that
// may open every gate. Else one of them is anonymous, to say what a host may that
// did not authenticate. Counters nil: Volatile; random nil: that of the system.
func NewAccessors(n *scl.Network, list []Accessor, counters Counters, random io.Reader) (*Accessors, error) {
	if len(list) == 0 {
		list = []Accessor{{Name: "anonymous", Every: true}}
	}
	if counters == nil {
		counters = Volatile{}
	}
	if random == nil {
		random = rand.Reader
	}
	g := &Accessors{n: n, counters: counters, random: random, sessions: map[*scl.Pipe]*accessorSession{}}
	anonymous := 0
	for i, a := range list {
		if err := a.check(); err != nil {
			return nil, fmt.Errorf("accessor %d (%s): %w", a.ID, a.Name, err)
		}
		if a.Kind == Anonymous {
			anonymous++
		}
		if slices.ContainsFunc(list[:i], func(b Accessor) bool { return b.ID == a.ID }) {
			return nil, fmt.Errorf("accessor %d (%s): there are two with this identifier", a.ID, a.Name)
		}
		a.Secret, a.Gates = slices.Clone(a.Secret), slices.Clone(a.Gates)
		g.list = append(g.list, a)
	}
	switch {
	case anonymous != 1:
		return nil, fmt.Errorf("accessors: %d of them are anonymous, one has to be", anonymous)
	case len(list) > MaxAccessors:
		return nil, fmt.Errorf("accessors: there are %d, at most %d can be", len(list), MaxAccessors)
	}
	slices.SortFunc(g.list, func(a, b Accessor) int { return int(a.ID) - int(b.ID) })
	return g, nil
}

func (a *Accessor) check() error {
	k := len(a.Secret)
	switch {
	case len(a.Name) > maxLabel:
		return fmt.Errorf("its name has %d octets, at most %d can be", len(a.Name), maxLabel)
	case a.Kind > Token:
		return fmt.Errorf("there is no %s", a.Kind)
	case a.Kind == Anonymous && k > 0:
		return fmt.Errorf("it is anonymous and has a secret")
	case a.Kind == PIN && (k == 0 || k > maxSecret):
		return fmt.Errorf("its PIN has %d octets, 1 to %d can be", k, maxSecret)
	case a.Kind == PIN && (a.Tries < 1 || a.Tries > MaxTries):
		return fmt.Errorf("%d tries, 1 to %d can be", a.Tries, MaxTries)
	case a.Kind == Token && (k < minKey || k > maxSecret):
		return fmt.Errorf("its key has %d octets, %d to %d can be", k, minKey, maxSecret)
	case a.Kind != PIN && a.Tries != 0:
		return fmt.Errorf("tries are counted of a PIN only")
	}
	return nil
}

func (a *Accessor) may(gate scl.GateID) bool { return a.Every || slices.Contains(a.Gates, gate) }

// May tells whether a host may open pipes to a gate: what an anonymous one may, and
// what it may as those it authenticated as. Everyone may open this gate.
func (g *Accessors) May(h *scl.Host, gate scl.GateID) bool {
	if gate == g.n.Profile().Gate.Accessor || g.anonymous().may(gate) {
		return true
	}
	for p, s := range g.sessions {
		if p.Remote() == h && s.who.may(gate) {
			return true
		}
	}
	return false
}

func (g *Accessors) anonymous() *Accessor {
	return &g.list[slices.IndexFunc(g.list, func(a Accessor) bool { return a.Kind == Anonymous })]
}

func (g *Accessors) accessor(id byte) *Accessor {
	if i := slices.IndexFunc(g.list, func(a Accessor) bool { return a.ID == id }); i >= 0 {
		return &g.list[i]
	}
	return nil
}

// left is how often a PIN may still be tried.
func (g *Accessors) left(a *Accessor) int {
	if n, ok := g.counters.Load(a.ID); ok {
		return min(max(n, 0), a.Tries)
	}
	return a.Tries
}

// Opened takes every pipe.
func (g *Accessors) Opened(p *scl.Pipe) (scl.PipeReceiver, error) {
	s := &accessorSession{Accessors: g, who: g.anonymous()}
	g.sessions[p] = s
	return s, nil
}

// accessorSession is one pipe session.
type accessorSession struct {
	*Accessors
	who       *Accessor
	challenge []byte // nil: none was asked for
}

// Closed ends what the host may by this session.
func (s *accessorSession) Closed(p *scl.Pipe) { delete(s.sessions, p) }

// Message takes the commands of the gate.
func (s *accessorSession) Message(p *scl.Pipe, m scl.Message) {
	if m.Type != scl.Command {
		return
	}
	pr := s.n.Profile()
	var data []byte
	err := scl.ErrCmdNotSupported
	switch m.Instruction {
	case pr.Command.AccessorList:
		data, err = without(m.Data, s.all)
	case pr.Command.AccessorChallenge:
		data, err = without(m.Data, s.newChallenge)
	case pr.Command.AccessorAuthenticate:
		data, err = s.authenticate(m.Data)
		s.note(p, err)
	case pr.Command.AccessorRights:
		data, err = without(m.Data, s.rights)
	case pr.Command.AccessorLogout:
		data, err = without(m.Data, s.logout)
	}
	_ = p.Respond(pr.Code(err), data)
}

// without carries out a command that has no parameters.
func without(in []byte, f func() ([]byte, error)) ([]byte, error) {
	if len(in) > 0 {
		return nil, scl.ErrCmdParUnknown
	}
	return f()
}

// all are the accessors.
func (s *accessorSession) all() (b []byte, err error) {
	for i := range s.list {
		a := &s.list[i]
		left := byte(0xFF)
		if a.Kind == PIN {
			left = byte(s.left(a))
		}
		b = append(append(b, a.ID, byte(a.Kind), left, byte(len(a.Name))), a.Name...)
	}
	return b, nil
}

func (s *accessorSession) newChallenge() ([]byte, error) {
	s.challenge = nil
	b := make([]byte, ChallengeLength)
	if _, err := io.ReadFull(s.random, b); err != nil {
		return nil, err
	}
	s.challenge = b
	return b, nil
}

func (s *accessorSession) logout() ([]byte, error) {
	s.who, s.challenge = s.anonymous(), nil
	return nil, nil
}

// rights are those of the session: of its accessor and of an anonymous one.
func (s *accessorSession) rights() ([]byte, error) {
	b := []byte{s.who.ID, 0}
	a := s.anonymous()
	if s.who.Every || a.Every {
		b[1] = 1
		return b, nil
	}
	gates := append(append([]scl.GateID{s.n.Profile().Gate.Accessor}, a.Gates...), s.who.Gates...)
	slices.Sort(gates)
	for _, id := range slices.Compact(gates) {
		b = s.n.Profile().AppendGateID(b, id)
	}
	return b, nil
}

func (s *accessorSession) authenticate(b []byte) (tries []byte, err error) {
	challenge := s.challenge
	_, _ = s.logout()
	if len(b) == 0 {
		return nil, scl.ErrCmdParUnknown
	}
	a, credential := s.accessor(b[0]), b[1:]
	switch {
	case a == nil, a.Kind == Anonymous && len(credential) > 0:
		return nil, scl.ErrCmdParUnknown
	case a.Kind == Token && (challenge == nil || !hmac.Equal(credential, Answer(a.Secret, challenge))):
		return nil, scl.ErrAuthentication
	case a.Kind == PIN:
		if tries, err = s.verify(a, credential); err != nil {
			return tries, err
		}
	}
	s.who = a
	return nil, nil
}

// verify is a try at a PIN. It counts before the comparison, so that cutting the
// power cannot give it back.
func (s *accessorSession) verify(a *Accessor, pin []byte) (tries []byte, err error) {
	left := s.left(a)
	if left == 0 {
		return []byte{0}, scl.ErrAuthentication
	}
	if err := s.counters.Store(a.ID, left-1); err != nil {
		return nil, err
	}
	want, got := sha256.Sum256(a.Secret), sha256.Sum256(pin) // of one length, whatever the PINs have
	if subtle.ConstantTimeCompare(want[:], got[:]) == 0 {
		return []byte{byte(left - 1)}, scl.ErrAuthentication
	}
	return nil, s.counters.Store(a.ID, a.Tries)
}

// note tells the trace who a host is now; never how it showed that.
func (s *accessorSession) note(p *scl.Pipe, err error) {
	tr := s.n.Tracer()
	if !tr.On() {
		return
	}
	note := "accessor " + s.who.Name
	if err != nil {
		note = "refused: " + err.Error()
	}
	tr.Emit(trace.Event{Layer: trace.Gate, Dir: trace.In, Name: "AUTHENTICATE", Where: p.Remote().String(), Note: note})
}
