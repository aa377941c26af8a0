package scl

import (
	_ "embed"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// HostID is the short identifier of a host in the network.
type HostID uint16

// GateID is the identifier of a gate within its host.
type GateID uint16

// PipeID is the identifier of a pipe in the network.
type PipeID uint16

// Confidence says how surely an entry of a profile is known of its source.
type Confidence string

// What a confidence may be.
const (
	Verified   Confidence = "verified"    // read in the source
	Inferred   Confidence = "inferred"    // follows from what was read
	FromMemory Confidence = "from-memory" // recalled, not read
	Chosen     Confidence = "chosen"      // our own choice
)

// Entry is one line of a profile as its file has it.
type Entry struct {
	Name       string     `yaml:"name" json:"name"` // "namespace.NAME"
	Value      int        `yaml:"value" json:"value"`
	Source     string     `yaml:"source" json:"source"`
	Confidence Confidence `yaml:"confidence" json:"confidence"`
	Note       string     `yaml:"note" json:"note"`
	Line       int        `yaml:"-" json:"line"` // in the file
}

// Profile is the one table of numbers of the SCL: widths, identifiers,
// instructions, registry indexes. It comes from a file (scl-profile-0.yaml is
// built in), so that someone who holds the standard can correct it without
// compiling. It is read only once loaded.
type Profile struct {
	Name        string // "scl-profile-0"
	Provisional bool   // no entry has been checked against TS 103 666-1

	Packet struct {
		HeaderOctets, ChainingBit, ChainingLast, PipeShift, PipeBits int
		MTU                                                          int // octets, header included
	}
	Message struct {
		TypeShift, TypeBits, InstructionShift, InstructionBits int
		MaxLength                                              int // octets of data
	}
	Type  struct{ Command, Event, Response int }
	Width struct{ Host, Gate, Pipe int } // octets in the data of a message
	Pipe  struct{ Link, Administration, DynamicFirst, DynamicLast PipeID }
	Host  struct{ NetworkController, Terminal, UICC, DynamicFirst, DynamicLast HostID }
	Gate  struct{ Administration, Loopback, Identity, Link, UICCAPDU, TCP, UDP, FileSystem, Timer, Accessor, DynamicFirst, DynamicLast GateID }

	Command struct {
		AnySetParameter, AnyGetParameter, AnyOpenPipe, AnyClosePipe                               byte
		AdmCreatePipe, AdmDeletePipe, AdmNotifyPipeCreated, AdmNotifyPipeDeleted, AdmClearAllPipe byte
		AdmNotifyAllPipeCleared, AdmRegisterHost, AdmDeregisterHost                               byte

		FileList, FileRead, FileWrite                                                         byte // file system gate
		TimerRequest, TimerKill, TimerReadDateTime                                            byte // timer gate
		AccessorList, AccessorChallenge, AccessorAuthenticate, AccessorLogout, AccessorRights byte // accessor gate
	}
	Response struct {
		AnyOK, AnyENotConnected, AnyECmdParUnknown, AnyENOK, AdmENoPipesAvailable, AnyERegParUnknown byte
		AnyEPipeNotOpened, AnyECmdNotSupported, AnyEInhibited, AnyETimeout, AnyERegAccessDenied      byte
		AnyEPipeAccessDenied, AnyEAuthentication                                                     byte
	}
	Event struct {
		PostData, HotPlug               byte
		Credit                          byte // of every gate
		TCPData, TCPClosed              byte
		UDPDatagram, UDPClosed          byte
		TimerElapsed                    byte
		CAPDU, Abort, EndOfAPDUTransfer byte // to the UICC APDU gate
		RAPDU, WTX, ATR                 byte // from the UICC APDU gate
	}
	Registry struct {
		SessionIdentity, MaxPipe, Whitelist, HostList, HostID            byte // administration gate
		VersionSW, HCIVersion, VersionHW, VendorName, ModelID, GatesList byte // identity gate
		HostUUID, CapabilityExchange                                     byte // identity gate, ours
		RecError, MTU                                                    byte // link gate
		MaxCAPDUSize, MaxWaitTime                                        byte // UICC APDU gate
	}
	Tunnel struct { // packets in TRANSACT DATA: transport/tunnel
		CLA, INS, Session, Data, Abort, Tag, Pending, Ongoing byte
		Command, Response, MTU                                int // octets
	}
	LLC struct { // SHDLC on SPI and I2C: transport/shdlc
		Window, SREJ, MaxLPDU, T2, T3, ResetTries, Retries int
	}
	MAC struct{ LengthOctets, Poll int } // below it

	entries []Entry
	codec   codec
}

//go:embed scl-profile-0.yaml
var profile0 []byte

// DefaultProfile is the built-in scl-profile-0.
func DefaultProfile() *Profile {
	p, err := ParseProfile("scl-profile-0.yaml", profile0)
	if err != nil {
		panic(err) // the file is part of the binary and loaded by every test
	}
	return p
}

// DefaultProfileFile is the file of scl-profile-0, as people change it.
func DefaultProfileFile() []byte { return slices.Clone(profile0) }

// LoadProfile reads a profile from a file. Errors read "file:line: reason".
func LoadProfile(path string) (*Profile, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("scl profile: %w", err)
	}
	return ParseProfile(path, b)
}

// Entries are the lines of the profile, in the order of the file.
func (p *Profile) Entries() []Entry { return append([]Entry(nil), p.entries...) }

// slot ties the name of an entry to the field of the Profile that takes it.
type slot struct {
	name     string
	set      func(int)
	min, max int
}

func to[T ~int | ~byte | ~uint16](f *T) func(int) { return func(v int) { *f = T(v) } }

// uniqueNamespaces lists the namespaces whose values must differ; the gates,
// hosts and pipes of a dynamic range are marked by its ends and checked apart.
var uniqueNamespaces = map[string]bool{
	"type": true, "pipe": true, "host": true, "gate": true, "command": true, "response": true,
	"event.loopback": true, "event.administration": true, "event.uicc_apdu": true, "event.uicc_apdu_application": true,
	"event.tcp": true, "event.udp": true, "event.timer": true, "event.any": true,
	"command.file_system": true, "command.timer": true, "command.accessor": true,
	"registry.administration": true, "registry.identity": true, "registry.link": true, "registry.uicc_apdu": true,
}

func (p *Profile) slots() []slot {
	s := []slot{
		{"packet.header_octets", to(&p.Packet.HeaderOctets), 1, 2},
		{"packet.chaining_bit", to(&p.Packet.ChainingBit), 0, 15},
		{"packet.chaining_last", to(&p.Packet.ChainingLast), 0, 1},
		{"packet.pipe_shift", to(&p.Packet.PipeShift), 0, 15},
		{"packet.pipe_bits", to(&p.Packet.PipeBits), 2, 15},
		{"packet.mtu", to(&p.Packet.MTU), 8, 65536},
		{"message.type_shift", to(&p.Message.TypeShift), 0, 7},
		{"message.type_bits", to(&p.Message.TypeBits), 2, 7},
		{"message.instruction_shift", to(&p.Message.InstructionShift), 0, 7},
		{"message.instruction_bits", to(&p.Message.InstructionBits), 1, 7},
		{"message.max_length", to(&p.Message.MaxLength), 256, 1 << 24},
		{"width.host", to(&p.Width.Host), 1, 2},
		{"width.gate", to(&p.Width.Gate), 1, 2},
		{"width.pipe", to(&p.Width.Pipe), 1, 2},
	}
	t := &p.Tunnel
	s = append(s, []slot{
		{"tunnel.CLA", to(&t.CLA), 0, 255}, {"tunnel.INS", to(&t.INS), 0, 255}, {"tunnel.session", to(&t.Session), 0, 3},
		{"tunnel.p1_data", to(&t.Data), 1, 7}, {"tunnel.p1_abort", to(&t.Abort), 1, 7}, {"tunnel.tag", to(&t.Tag), 1, 0xFE},
		{"tunnel.sw2_pending", to(&t.Pending), 0, 63}, {"tunnel.sw2_ongoing", to(&t.Ongoing), 0, 63},
		{"tunnel.command_octets", to(&t.Command), 1, 65535}, {"tunnel.response_octets", to(&t.Response), 1, 65536},
		{"tunnel.mtu", to(&t.MTU), 8, 65000},
	}...)
	l := &p.LLC
	s = append(s, []slot{
		{"llc.window", to(&l.Window), 2, 4}, {"llc.srej", to(&l.SREJ), 0, 1}, {"llc.max_lpdu", to(&l.MaxLPDU), 9, 0x7FFF},
		{"llc.t2_ms", to(&l.T2), 10, 60_000}, {"llc.t3_ms", to(&l.T3), 5, 60_000},
		{"llc.reset_tries", to(&l.ResetTries), 1, 100}, {"llc.retries", to(&l.Retries), 1, 1000},
		{"mac.length_octets", to(&p.MAC.LengthOctets), 1, 2}, {"mac.poll_us", to(&p.MAC.Poll), 1, 1_000_000},
	}...)
	for _, x := range []struct {
		name string
		f    *int
	}{
		{"command", &p.Type.Command}, {"event", &p.Type.Event}, {"response", &p.Type.Response},
	} {
		s = append(s, slot{"type." + x.name, to(x.f), 0, 1<<7 - 1})
	}
	for _, x := range []struct {
		name string
		f    *PipeID
	}{
		{"link", &p.Pipe.Link}, {"administration", &p.Pipe.Administration},
		{"dynamic_first", &p.Pipe.DynamicFirst}, {"dynamic_last", &p.Pipe.DynamicLast},
	} {
		s = append(s, slot{"pipe." + x.name, to(x.f), 0, 1<<15 - 1})
	}
	for _, x := range []struct {
		name string
		f    *HostID
	}{
		{"network_controller", &p.Host.NetworkController}, {"terminal", &p.Host.Terminal}, {"uicc", &p.Host.UICC},
		{"dynamic_first", &p.Host.DynamicFirst}, {"dynamic_last", &p.Host.DynamicLast},
	} {
		s = append(s, slot{"host." + x.name, to(x.f), 0, 1<<16 - 1})
	}
	for _, x := range []struct {
		name string
		f    *GateID
	}{
		{"administration", &p.Gate.Administration}, {"loopback", &p.Gate.Loopback}, {"identity", &p.Gate.Identity},
		{"link", &p.Gate.Link}, {"uicc_apdu", &p.Gate.UICCAPDU},
		{"tcp", &p.Gate.TCP}, {"udp", &p.Gate.UDP}, {"file_system", &p.Gate.FileSystem},
		{"timer", &p.Gate.Timer}, {"accessor", &p.Gate.Accessor},
		{"dynamic_first", &p.Gate.DynamicFirst}, {"dynamic_last", &p.Gate.DynamicLast},
	} {
		s = append(s, slot{"gate." + x.name, to(x.f), 0, 1<<16 - 1})
	}
	for _, x := range []struct {
		name string
		f    *byte
	}{
		{"command.ANY_SET_PARAMETER", &p.Command.AnySetParameter},
		{"command.ANY_GET_PARAMETER", &p.Command.AnyGetParameter},
		{"command.ANY_OPEN_PIPE", &p.Command.AnyOpenPipe},
		{"command.ANY_CLOSE_PIPE", &p.Command.AnyClosePipe},
		{"command.ADM_CREATE_PIPE", &p.Command.AdmCreatePipe},
		{"command.ADM_DELETE_PIPE", &p.Command.AdmDeletePipe},
		{"command.ADM_NOTIFY_PIPE_CREATED", &p.Command.AdmNotifyPipeCreated},
		{"command.ADM_NOTIFY_PIPE_DELETED", &p.Command.AdmNotifyPipeDeleted},
		{"command.ADM_CLEAR_ALL_PIPE", &p.Command.AdmClearAllPipe},
		{"command.ADM_NOTIFY_ALL_PIPE_CLEARED", &p.Command.AdmNotifyAllPipeCleared},
		{"command.ADM_REGISTER_HOST", &p.Command.AdmRegisterHost},
		{"command.ADM_DEREGISTER_HOST", &p.Command.AdmDeregisterHost},
		{"command.file_system.FS_LIST", &p.Command.FileList},
		{"command.file_system.FS_READ", &p.Command.FileRead},
		{"command.file_system.FS_WRITE", &p.Command.FileWrite},
		{"command.timer.REQUEST_TIMER", &p.Command.TimerRequest},
		{"command.timer.KILL_TIMER", &p.Command.TimerKill},
		{"command.timer.READ_DATE_TIME", &p.Command.TimerReadDateTime},
		{"command.accessor.LIST_ACCESSORS", &p.Command.AccessorList},
		{"command.accessor.GET_CHALLENGE", &p.Command.AccessorChallenge},
		{"command.accessor.AUTHENTICATE", &p.Command.AccessorAuthenticate},
		{"command.accessor.LOGOUT", &p.Command.AccessorLogout},
		{"command.accessor.GET_RIGHTS", &p.Command.AccessorRights},
		{"response.ANY_OK", &p.Response.AnyOK},
		{"response.ANY_E_NOT_CONNECTED", &p.Response.AnyENotConnected},
		{"response.ANY_E_CMD_PAR_UNKNOWN", &p.Response.AnyECmdParUnknown},
		{"response.ANY_E_NOK", &p.Response.AnyENOK},
		{"response.ADM_E_NO_PIPES_AVAILABLE", &p.Response.AdmENoPipesAvailable},
		{"response.ANY_E_REG_PAR_UNKNOWN", &p.Response.AnyERegParUnknown},
		{"response.ANY_E_PIPE_NOT_OPENED", &p.Response.AnyEPipeNotOpened},
		{"response.ANY_E_CMD_NOT_SUPPORTED", &p.Response.AnyECmdNotSupported},
		{"response.ANY_E_INHIBITED", &p.Response.AnyEInhibited},
		{"response.ANY_E_TIMEOUT", &p.Response.AnyETimeout},
		{"response.ANY_E_REG_ACCESS_DENIED", &p.Response.AnyERegAccessDenied},
		{"response.ANY_E_PIPE_ACCESS_DENIED", &p.Response.AnyEPipeAccessDenied},
		{"response.ANY_E_AUTHENTICATION", &p.Response.AnyEAuthentication},
		{"event.any.EVT_CREDIT", &p.Event.Credit},
		{"event.tcp.EVT_DATA", &p.Event.TCPData},
		{"event.tcp.EVT_CLOSED", &p.Event.TCPClosed},
		{"event.udp.EVT_DATAGRAM", &p.Event.UDPDatagram},
		{"event.udp.EVT_CLOSED", &p.Event.UDPClosed},
		{"event.timer.EVT_TIMER_ELAPSED", &p.Event.TimerElapsed},
		{"event.loopback.EVT_POST_DATA", &p.Event.PostData},
		{"event.administration.EVT_HOT_PLUG", &p.Event.HotPlug},
		{"event.uicc_apdu.EVT_C_APDU", &p.Event.CAPDU},
		{"event.uicc_apdu.EVT_ABORT", &p.Event.Abort},
		{"event.uicc_apdu.EVT_END_OF_APDU_TRANSFER", &p.Event.EndOfAPDUTransfer},
		{"event.uicc_apdu_application.EVT_R_APDU", &p.Event.RAPDU},
		{"event.uicc_apdu_application.EVT_WTX", &p.Event.WTX},
		{"event.uicc_apdu_application.EVT_ATR", &p.Event.ATR},
		{"registry.administration.SESSION_IDENTITY", &p.Registry.SessionIdentity},
		{"registry.administration.MAX_PIPE", &p.Registry.MaxPipe},
		{"registry.administration.WHITELIST", &p.Registry.Whitelist},
		{"registry.administration.HOST_LIST", &p.Registry.HostList},
		{"registry.administration.HOST_ID", &p.Registry.HostID},
		{"registry.identity.VERSION_SW", &p.Registry.VersionSW},
		{"registry.identity.HCI_VERSION", &p.Registry.HCIVersion},
		{"registry.identity.VERSION_HW", &p.Registry.VersionHW},
		{"registry.identity.VENDOR_NAME", &p.Registry.VendorName},
		{"registry.identity.MODEL_ID", &p.Registry.ModelID},
		{"registry.identity.GATES_LIST", &p.Registry.GatesList},
		{"registry.identity.HOST_UUID", &p.Registry.HostUUID},
		{"registry.identity.CAPABILITY_EXCHANGE", &p.Registry.CapabilityExchange},
		{"registry.link.MTU", &p.Registry.MTU},
		{"registry.link.REC_ERROR", &p.Registry.RecError},
		{"registry.uicc_apdu.MAX_C_APDU_SIZE", &p.Registry.MaxCAPDUSize},
		{"registry.uicc_apdu.MAX_WAIT_TIME", &p.Registry.MaxWaitTime},
	} {
		s = append(s, slot{x.name, to(x.f), 0, 1<<8 - 1})
	}
	return s
}

// ParseProfile reads a profile; file is its name for errors, which read
// "file:line: reason". It refuses unknown keys and entries, entries that are
// missing, double or out of range, two equal values in one namespace, and a
// layout that does not hold together.
func ParseProfile(file string, b []byte) (*Profile, error) {
	at := func(line int, format string, a ...any) error {
		return fmt.Errorf("scl profile: %s:%d: %s", file, line, fmt.Sprintf(format, a...))
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(b, &doc); err != nil {
		return nil, fmt.Errorf("scl profile: %s: %s", file, strings.TrimPrefix(err.Error(), "yaml: "))
	}
	if len(doc.Content) != 1 || doc.Content[0].Kind != yaml.MappingNode {
		return nil, at(1, "not a mapping with the keys profile, provisional, entries")
	}
	p := &Profile{}
	top, err := mapping(doc.Content[0], at, "profile", "provisional", "entries")
	if err != nil {
		return nil, err
	}
	if err := top["profile"].Decode(&p.Name); err != nil || p.Name == "" {
		return nil, at(top["profile"].Line, "profile: a name is wanted")
	}
	if err := top["provisional"].Decode(&p.Provisional); err != nil {
		return nil, at(top["provisional"].Line, "provisional: true or false is wanted")
	}
	list := top["entries"]
	if list.Kind != yaml.SequenceNode {
		return nil, at(list.Line, "entries: a list is wanted")
	}

	slots := map[string]slot{}
	order := p.slots()
	for _, s := range order {
		slots[s.name] = s
	}
	lines := map[string]int{}
	taken := map[string]Entry{} // "namespace value" to the entry that has it
	for _, n := range list.Content {
		m, err := mapping(n, at, "name", "value", "source", "confidence", "note")
		if err != nil {
			return nil, err
		}
		e := Entry{Line: n.Line}
		name := m["name"].Value
		if m["value"].Decode(&e.Value) != nil || m["value"].Tag != "!!int" {
			return nil, at(m["value"].Line, "%s: value %q is not a whole number", name, m["value"].Value)
		}
		if n.Decode(&e) != nil {
			return nil, at(n.Line, "%s: name, source, confidence and note are texts", name)
		}
		s, known := slots[e.Name]
		switch {
		case !known:
			return nil, at(e.Line, "unknown entry %q", e.Name)
		case lines[e.Name] != 0:
			return nil, at(e.Line, "%s is there twice, first in line %d", e.Name, lines[e.Name])
		case e.Value < s.min || e.Value > s.max:
			return nil, at(m["value"].Line, "%s: %d is outside %d to %d", e.Name, e.Value, s.min, s.max)
		case e.Source == "":
			return nil, at(e.Line, "%s: no source", e.Name)
		}
		switch e.Confidence {
		case Verified, Inferred, FromMemory, Chosen:
		default:
			return nil, at(m["confidence"].Line, "%s: confidence %q is none of verified, inferred, from-memory, chosen", e.Name, e.Confidence)
		}
		if ns := e.Name[:strings.LastIndexByte(e.Name, '.')]; uniqueNamespaces[ns] && !strings.HasPrefix(e.Name, ns+".dynamic_") {
			key := fmt.Sprint(ns, " ", e.Value)
			if o, double := taken[key]; double {
				return nil, at(e.Line, "%s has the value 0x%02X of %s in line %d", e.Name, e.Value, o.Name, o.Line)
			}
			taken[key] = e
		}
		s.set(e.Value)
		lines[e.Name] = e.Line
		p.entries = append(p.entries, e)
	}
	for _, s := range order {
		if lines[s.name] == 0 {
			return nil, at(list.Line, "entry %s is missing", s.name)
		}
	}
	if name, err := p.check(); err != nil {
		return nil, at(lines[name], "%s: %v", name, err)
	}
	p.codec = newCodec(p)
	return p, nil
}

// mapping takes a mapping node apart; exactly the wanted keys must be there.
func mapping(n *yaml.Node, at func(int, string, ...any) error, keys ...string) (map[string]*yaml.Node, error) {
	if n.Kind != yaml.MappingNode {
		return nil, at(n.Line, "a mapping with the keys %s is wanted", strings.Join(keys, ", "))
	}
	m := map[string]*yaml.Node{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k := n.Content[i]
		known := false
		for _, want := range keys {
			known = known || k.Value == want
		}
		switch {
		case !known:
			return nil, at(k.Line, "unknown key %q, known are %s", k.Value, strings.Join(keys, ", "))
		case m[k.Value] != nil:
			return nil, at(k.Line, "key %q is there twice", k.Value)
		}
		m[k.Value] = n.Content[i+1]
	}
	for _, want := range keys {
		if m[want] == nil {
			return nil, at(n.Line, "key %q is missing", want)
		}
	}
	return m, nil
}

// check looks at what several entries decide together; it names the entry to blame.
func (p *Profile) check() (name string, err error) {
	k, m := &p.Packet, &p.Message
	overlap := func(shift, bits, shift2, bits2 int) bool { return shift < shift2+bits2 && shift2 < shift+bits }
	if k.ChainingBit >= 8*k.HeaderOctets {
		return "packet.chaining_bit", errors.New("does not fit into packet.header_octets")
	}
	if k.PipeShift+k.PipeBits > 8*k.HeaderOctets {
		return "packet.pipe_bits", errors.New("does not fit into packet.header_octets")
	}
	if overlap(k.ChainingBit, 1, k.PipeShift, k.PipeBits) {
		return "packet.chaining_bit", errors.New("lies within the pipe identifier")
	}
	if m.TypeShift+m.TypeBits > 8 {
		return "message.type_bits", errors.New("does not fit into one octet")
	}
	if m.InstructionShift+m.InstructionBits > 8 {
		return "message.instruction_bits", errors.New("does not fit into one octet")
	}
	if overlap(m.TypeShift, m.TypeBits, m.InstructionShift, m.InstructionBits) {
		return "message.type_shift", errors.New("the type overlaps the instruction")
	}
	switch t := &p.Tunnel; {
	case t.Data&t.Abort != 0:
		return "tunnel.p1_abort", errors.New("shares a bit with tunnel.p1_data")
	case t.Pending == t.Ongoing:
		return "tunnel.sw2_ongoing", errors.New("is tunnel.sw2_pending")
	case t.Tag&0x1F == 0x1F:
		return "tunnel.tag", errors.New("is not a tag of one octet")
	case t.MTU+6 > 256*t.Command:
		return "tunnel.mtu", errors.New("does not fit into 256 blocks of tunnel.command_octets")
	}
	if p.MAC.LengthOctets == 1 && p.LLC.MaxLPDU > 0xFE {
		return "llc.max_lpdu", errors.New("does not fit into mac.length_octets")
	}
	for _, r := range []struct {
		prefix           string
		first, last, top int
	}{
		{"pipe.", int(p.Pipe.DynamicFirst), int(p.Pipe.DynamicLast), min(k.PipeBits, 8*p.Width.Pipe)},
		{"host.", int(p.Host.DynamicFirst), int(p.Host.DynamicLast), 8 * p.Width.Host},
		{"gate.", int(p.Gate.DynamicFirst), int(p.Gate.DynamicLast), 8 * p.Width.Gate},
	} {
		if r.first > r.last {
			return r.prefix + "dynamic_last", errors.New("lies before dynamic_first")
		}
		for _, e := range p.entries {
			if strings.HasPrefix(e.Name, r.prefix) && e.Value >= 1<<r.top {
				return e.Name, fmt.Errorf("0x%02X does not fit into %d bits", e.Value, r.top)
			}
			dynamic := r.prefix + "dynamic_"
			static := strings.HasPrefix(e.Name, r.prefix) && !strings.HasPrefix(e.Name, dynamic) && r.prefix != "gate."
			if static && e.Value >= r.first && e.Value <= r.last {
				return e.Name, fmt.Errorf("0x%02X lies within the dynamic range", e.Value)
			}
		}
	}
	for _, e := range p.entries {
		switch {
		case strings.HasPrefix(e.Name, "event.") && e.Name != "event.any.EVT_CREDIT" && byte(e.Value) == p.Event.Credit:
			return e.Name, fmt.Errorf("0x%02X is EVT_CREDIT, which every gate has", e.Value)
		case strings.Count(e.Name, ".") == 2 && strings.HasPrefix(e.Name, "command.") && p.any(byte(e.Value)):
			return e.Name, fmt.Errorf("0x%02X is among the commands of every gate", e.Value)
		}
		switch {
		case strings.HasPrefix(e.Name, "type.") && e.Value >= 1<<m.TypeBits:
			return e.Name, fmt.Errorf("%d does not fit into %d bits", e.Value, m.TypeBits)
		case strings.HasPrefix(e.Name, "command."), strings.HasPrefix(e.Name, "response."), strings.HasPrefix(e.Name, "event."):
			if e.Value >= 1<<m.InstructionBits {
				return e.Name, fmt.Errorf("0x%02X does not fit into %d bits", e.Value, m.InstructionBits)
			}
		}
	}
	return "", nil
}

// service tells whether a gate identifier is that of a service, so that no
// application gate gets it.
func (p *Profile) service(id GateID) bool {
	g := &p.Gate
	return id == g.UICCAPDU || id == g.TCP || id == g.UDP || id == g.FileSystem || id == g.Timer || id == g.Accessor
}

// any tells whether every gate has that command.
func (p *Profile) any(command byte) bool {
	c := &p.Command
	return command == c.AnySetParameter || command == c.AnyGetParameter || command == c.AnyOpenPipe || command == c.AnyClosePipe
}
