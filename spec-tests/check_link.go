package spectests

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/sspemu/sspemu/scl"
	"github.com/sspemu/sspemu/scl/capability"
	"github.com/sspemu/sspemu/scl/gate"
	"github.com/sspemu/sspemu/scl/terminal"
	"github.com/sspemu/sspemu/transport"
)

// patience is how long a check waits for what comes by itself. Chosen.
const patience = 5 * time.Second

// far is what a check of a terminal host works on: a domain of its own, behind a
// link of its own to the target, registered. The domain is locked.
type far struct {
	*Dialogue
	p    *scl.Profile
	link transport.Link
	gone func() error // ends the link at the target
	d    *scl.Domain
	got  inbox // what arrives at pipes that were bound with it
	hot  int   // EVT_HOT_PLUG
}

// Frame takes what comes from the link (transport.Receiver).
func (x *far) Frame(k transport.Kind, p []byte) {
	if k == transport.Packet {
		x.d.Packet(p)
	}
}

// profile is that of the target, as far as it is known.
func (d *Dialogue) profile() *scl.Profile {
	if d.target.Network != nil {
		return d.target.Network.Profile()
	}
	return scl.DefaultProfile()
}

// dial opens one more link for a terminal host that is not registered yet.
func (d *Dialogue) dial(name string) (*far, error) {
	l, gone, err := d.target.Dial(d.ctx)
	if err != nil {
		return nil, err
	}
	carrier, ok := l.(transport.PacketCarrier)
	if !ok {
		return nil, fmt.Errorf("link %s carries no SCL packets", l)
	}
	x := &far{Dialogue: d, p: d.profile(), link: l, gone: gone}
	x.d = scl.NewDomain(x.p, "conformance "+name, uuid(name), carrier.PacketMTU(), func(p []byte) { _ = l.Send(transport.Packet, p) })
	x.d.OnHotPlug(func() { x.hot++ })
	return x, l.Open(d.ctx, x)
}

// atLink makes a check of f on a host that is not registered.
func atLink(doc string, f func(*far) error) check {
	return check{doc: doc, needs: []string{AbilityLink}, run: func(d *Dialogue, _ []string) error {
		x, err := d.dial("far")
		if err != nil {
			return err
		}
		defer x.leave()
		x.d.Lock()
		defer x.d.Unlock()
		return f(x)
	}}
}

// registered makes a check of f on a host that is registered.
func registered(doc string, f func(*far) error) check {
	return atLink(doc, func(x *far) error {
		if err := x.d.Register(); err != nil {
			return err
		}
		return f(x)
	})
}

// leave ends the domain; it is not locked.
func (x *far) leave() {
	x.d.Lock()
	if x.d.Host().State() == scl.HostRegistered {
		_ = x.d.Deregister()
	}
	x.d.Unlock()
	_ = x.link.Close()
	_ = x.gone()
}

// beside runs f with another terminal host, behind another link, while the domain of
// x is not locked. f has that of the other locked.
func (x *far) beside(name string, f func(*far) error) error {
	x.d.Unlock()
	defer x.d.Lock()
	o, err := x.dial(name)
	if err != nil {
		return err
	}
	defer o.leave()
	o.d.Lock()
	defer o.d.Unlock()
	return f(o)
}

// until waits until done.
func (x *far) until(what string, done func() bool) error {
	for limit := time.Now().Add(patience); !done(); {
		if !x.d.Wait(limit) {
			return fmt.Errorf("%s did not come", what)
		}
	}
	return nil
}

// bind opens a pipe to a gate of the first host that has it.
func (x *far) bind(id scl.GateID) (*scl.Pipe, error) {
	hosts, err := x.hosts()
	if err != nil {
		return nil, err
	}
	for host, gates := range hosts {
		if slices.Contains(gates, id) {
			return x.d.Host().Bind(host, id, &x.got)
		}
	}
	return nil, fmt.Errorf("no host has gate %02X: %w", uint16(id), terminal.ErrNoService)
}

// roster is HOST_LIST.
func (x *far) roster() (ids []scl.HostID, err error) {
	b, err := x.d.Host().Admin().Get(x.p.Registry.HostList)
	for ; len(b) >= x.p.Width.Host; b = b[x.p.Width.Host:] {
		ids = append(ids, x.p.HostIDOf(b))
	}
	return ids, err
}

// hosts are the other hosts with an identity gate, and their gates.
func (x *far) hosts() (map[scl.HostID][]scl.GateID, error) {
	ids, err := x.roster()
	if err != nil {
		return nil, err
	}
	hosts := map[scl.HostID][]scl.GateID{}
	for _, id := range ids {
		if id == x.d.Host().ID() {
			continue
		}
		p, err := x.d.Host().Bind(id, x.p.Gate.Identity, nil)
		if err != nil {
			continue // it has none
		}
		b, err := p.Get(x.p.Registry.GatesList)
		if err != nil {
			return nil, err
		}
		for b = bytes.Clone(b); len(b) >= x.p.Width.Gate; b = b[x.p.Width.Gate:] {
			hosts[id] = append(hosts[id], x.p.GateIDOf(b))
		}
		if err := p.Delete(); err != nil {
			return nil, err
		}
	}
	return hosts, nil
}

// call sends a command on a pipe.
func (x *far) call(p *scl.Pipe, command byte, data ...byte) ([]byte, error) {
	code, b, err := p.Call(command, data)
	if err == nil {
		err = x.p.Err(code)
	}
	return bytes.Clone(b), err
}

// raw sends a message past the domain, as a host does that keeps to no rules.
func (x *far) raw(pipe scl.PipeID, last bool, m scl.Message) error {
	b, err := x.p.AppendMessage(nil, m)
	if err != nil {
		return err
	}
	packet := x.p.AppendPacket(nil, scl.Packet{Pipe: pipe, Last: last, Fragment: b})
	x.note("> %X, past the rules", packet[:min(len(packet), 16)])
	x.d.Unlock() // the answer comes from within Send
	defer x.d.Lock()
	return x.link.Send(transport.Packet, packet)
}

// recError is REC_ERROR of the link gate.
func (x *far) recError() (int, error) {
	v, err := x.d.Host().Link().Get(x.p.Registry.RecError)
	if err == nil && len(v) != 2 {
		err = fmt.Errorf("REC_ERROR has %d octets", len(v))
	}
	if err != nil {
		return 0, err
	}
	return int(binary.BigEndian.Uint16(v)), nil
}

// counts fails unless f makes REC_ERROR greater.
func (x *far) counts(f func() error) error {
	before, err := x.recError()
	if err != nil {
		return err
	}
	if err := f(); err != nil {
		return err
	}
	after, err := x.recError()
	if err == nil && after <= before {
		err = fmt.Errorf("REC_ERROR was %d and is %d", before, after)
	}
	return err
}

var linkChecks = map[string]check{
	"link_register":      registered("ADM_REGISTER_HOST gives an identifier, and HOST_LIST has it", linkRegister),
	"link_unregistered":  atLink("a host that is not registered has no pipes to create, delete or clear", linkUnregistered),
	"link_uuid":          registered("a second host with the same UUID is refused, and the first stays", linkUUID),
	"link_malformed":     atLink("ADM_REGISTER_HOST that is too short is refused", linkMalformed),
	"link_deregister":    registered("after ADM_DEREGISTER_HOST the pipes are gone and the host can register again", linkDeregister),
	"link_lost":          registered("a host whose link goes leaves HOST_LIST", linkLost),
	"link_hot_plug":      registered("EVT_HOT_PLUG tells that a host came, and that it left", linkHotPlug),
	"link_discovery":     registered("from HOST_LIST and the identity gates a terminal finds the UICC APDU gate", linkDiscovery),
	"link_host_uuid":     registered("HOST_UUID tells the hosts apart", linkHostUUID),
	"link_terminal":      onTerminal("a terminal host is itself found, with its identity gate", linkTerminal),
	"link_bind_from_ssp": registered("a host of the SSP binds to a gate of the terminal", bindFromSSP),
	"link_unbind_ssp":    registered("when the host of the SSP unbinds, the terminal is told", unbindSSP),
	"link_unbind":        registered("when the terminal unbinds, the host of the SSP is told", unbindTerminal),
	"link_fragments":     registered("messages of up to message.max_length come back whole over a link", linkFragments),
	"link_chain_broken":  registered("a chain that is left unfinished costs its pipe only", linkChain),
	"link_mtu":           registered("MTU of the link gate is what packets keep to", linkMTU),
	"link_no_pipe":       registered("a packet on a pipe that is not there is counted in REC_ERROR", linkNoPipe),
	"link_empty":         registered("an empty packet is counted in REC_ERROR", linkEmpty),
	"link_rec_error":     registered("REC_ERROR can be set back", linkRecError),
	"link_others_pipe":   registered("a packet on a pipe of other hosts does not arrive", linkOthersPipe),

	"credit_none":    sclCheck("without credit nothing can be sent", creditNone),
	"credit_cost":    sclCheck("an event of k octets costs k+1", creditCost),
	"credit_stop":    sclCheck("a sender that has used its credit up waits for more", creditStop),
	"credit_end":     sclCheck("the end of a connection costs nothing", creditEnd),
	"credit_overrun": registered("who sends without credit loses the pipe, and it is counted", creditOverrun),

	"access_whitelist":       sclCheck("WHITELIST says who may create pipes to a host", accessWhitelist),
	"access_whitelist_empty": sclCheck("with an empty WHITELIST nobody may", accessWhitelistEmpty),
	"access_rights":          registered("without the right to a gate a pipe to it is refused", accessRights),

	"capability_known":     registered("30 07 80 02 0F 00 82 01 3C is answered with an SSPCapability in DER", capabilityKnown),
	"capability_first":     registered("the terminal's capabilities come first", capabilityFirst),
	"capability_malformed": registered("capabilities that are not DER are refused", capabilityMalformed),
	"capability_additions": registered("components that are not known are accepted", capabilityAdditions),

	"timer_once":     registered("a timer elapses once, not before its time", timerOnce),
	"timer_periodic": registered("a periodic timer elapses again and again until it is killed", timerPeriodic),
	"timer_kill":     registered("a timer that is not there cannot be killed", timerKill),
	"timer_bad":      registered("wrong parameters of REQUEST_TIMER are refused", timerBad),
	"timer_many":     registered("one timer too many is refused", timerMany),
	"timer_date":     registered("READ_DATE_TIME gives date and time", timerDate),

	"accessor_list":      registered("LIST_ACCESSORS names an anonymous one", accessorList),
	"accessor_anonymous": registered("a host is anonymous until it authenticates", accessorAnonymous),
	"accessor_unknown":   registered("an accessor that is not there is refused", accessorUnknown),
	"accessor_pin":       registeredWith("the right PIN gives rights, and LOGOUT takes them", []string{"accessor_pin"}, accessorPINRight),
	"accessor_wrong":     registeredWith("a wrong PIN costs a try, and the right one gives it back", []string{"accessor_pin"}, accessorPINWrong),
	"accessor_token":     registeredWith("the answer to a challenge gives rights, once", []string{"accessor_token"}, accessorTokenRight),
	"accessor_session":   registeredWith("rights end with the pipe session", []string{"accessor_pin"}, accessorSession),

	"files_list":    filesCheck("FS_LIST gives the nodes of a directory", filesList),
	"files_read":    filesCheck("FS_READ gives a file in pieces", filesRead),
	"files_write":   filesCheck("FS_WRITE changes a part of a file, which does not grow", filesWrite),
	"files_errors":  filesCheck("no such node, no right, a directory for a file: each has its response", filesErrors),
	"files_paths":   filesCheck("paths that are not absolute, or not in their shortest form, are refused", filesPaths),
	"files_unknown": filesCheck("a command that the gate does not know is refused", filesUnknown),
	"files_spb":     registeredWith("the nodes that the active SPB exposes can be listed, and what is readable read", []string{"accessor_pin"}, filesSPB),

	"tcp_session":   registered("a session at the TCP gate begins with credit from the bundle", tcpSession),
	"tcp_stream":    onTerminal("octets go both ways, however they are cut", tcpStream),
	"tcp_close":     onTerminal("a connection that one end closes is closed at the other", tcpClose),
	"tcp_parallel":  onTerminal("sessions of several hosts do not mix", tcpParallel),
	"tcp_command":   registered("the TCP gate takes no commands", func(x *far) error { return x.noCommand(x.p.Gate.TCP) }),
	"udp_session":   registered("a session at the UDP gate begins with credit from the gate", udpSession),
	"udp_peers":     onTerminal("answers go to the peer that asked", udpPeers),
	"udp_short":     registered("a datagram that is shorter than a peer is dropped", udpShort),
	"udp_command":   registered("the UDP gate takes no commands", func(x *far) error { return x.noCommand(x.p.Gate.UDP) }),
	"apdu_reset":    onTerminal("closing the channel takes power away: the next one begins with a cold reset", apduReset),
	"apdu_wait":     onTerminal("commands of two terminals do not mix", apduTwo),
	"apdu_transfer": onTerminal("EVT_END_OF_APDU_TRANSFER is no error", apduTransfer),
}

// onService is what a check of a terminal with its services works on.
type onService struct {
	*Dialogue
	t   *terminal.Terminal
	end func() error
}

// open opens one more terminal host.
func (d *Dialogue) open() (x onService, err error) {
	l, gone, err := d.target.Dial(d.ctx)
	if err != nil {
		return x, err
	}
	t, err := terminal.Open(d.ctx, l, d.profile())
	if err != nil {
		return x, errors.Join(err, gone())
	}
	return onService{d, t, func() error { return errors.Join(t.Close(), gone()) }}, nil
}

// onTerminal makes a check of f on a terminal of its own.
func onTerminal(doc string, f func(onService) error) check {
	return check{doc: doc, needs: []string{AbilityLink}, run: func(d *Dialogue, _ []string) (err error) {
		x, err := d.open()
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, x.end()) }()
		return f(x)
	}}
}

// within is a context that ends when patience does.
func (d *Dialogue) within() (context.Context, context.CancelFunc) {
	return context.WithTimeout(d.ctx, patience)
}

func linkRegister(x *far) error {
	list, err := x.roster()
	if err != nil {
		return err
	}
	id := x.d.Host().ID()
	x.note("HOST_LIST is %v, this host %02X", list, uint16(id))
	if id == x.p.Host.NetworkController || !slices.Contains(list, id) {
		return fmt.Errorf("host %02X is not in HOST_LIST %v", uint16(id), list)
	}
	return nil
}

func linkUnregistered(x *far) error {
	admin := x.d.Host().Admin()
	for _, c := range []byte{x.p.Command.AdmCreatePipe, x.p.Command.AdmDeletePipe, x.p.Command.AdmClearAllPipe, x.p.Command.AdmDeregisterHost} {
		_, err := x.call(admin, c, 1, 2, 3)
		if err := want(err, scl.ErrInhibited); err != nil {
			return fmt.Errorf("command %02X: %w", c, err)
		}
	}
	return nil
}

func linkUUID(x *far) error {
	err := x.beside("far", func(o *far) error { // the same name, the same UUID
		if o.d.Register() == nil {
			return errors.New("it was registered")
		}
		return nil
	})
	if err != nil {
		return err
	}
	return linkRegister(x)
}

func linkMalformed(x *far) error {
	_, err := x.call(x.d.Host().Admin(), x.p.Command.AdmRegisterHost, 1, 2, 3)
	if err := want(err, scl.ErrCmdParUnknown); err != nil {
		return err
	}
	return x.d.Register()
}

func linkDeregister(x *far) error {
	p, err := x.bind(x.p.Gate.Loopback)
	if err != nil {
		return err
	}
	if err := x.d.Deregister(); err != nil {
		return err
	}
	if err := equal("state of the pipe", p.State(), scl.Deleted); err != nil {
		return err
	}
	if _, err := x.bind(x.p.Gate.Loopback); err == nil {
		return errors.New("a host that is not registered has bound")
	}
	if err := x.d.Register(); err != nil {
		return err
	}
	_, err = x.bind(x.p.Gate.Loopback)
	return err
}

func linkLost(x *far) error {
	var id scl.HostID
	err := x.beside("far too", func(o *far) error {
		err := o.d.Register()
		id = o.d.Host().ID()
		if err != nil {
			return err
		}
		o.d.Lost()
		o.d.Unlock() // Close of a link may come back
		defer o.d.Lock()
		return errors.Join(o.link.Close(), o.gone())
	})
	if err != nil {
		return err
	}
	list, err := x.roster()
	if err == nil && slices.Contains(list, id) {
		err = fmt.Errorf("HOST_LIST is %v, host %02X has no link", list, uint16(id))
	}
	return err
}

func linkHotPlug(x *far) error {
	before := x.hot
	if err := x.beside("far too", func(o *far) error { return o.d.Register() }); err != nil {
		return err
	}
	return x.until("EVT_HOT_PLUG, twice", func() bool { return x.hot >= before+2 })
}

func linkDiscovery(x *far) error {
	hosts, err := x.hosts()
	if err != nil {
		return err
	}
	x.note("hosts and gates: %v", hosts)
	if !slices.Contains(hosts[x.p.Host.UICC], x.p.Gate.UICCAPDU) {
		return fmt.Errorf("host %02X has not gate %02X", uint16(x.p.Host.UICC), uint16(x.p.Gate.UICCAPDU))
	}
	return nil
}

func linkHostUUID(x *far) error {
	hosts, err := x.hosts()
	if err != nil {
		return err
	}
	seen := map[string]scl.HostID{}
	for id := range hosts {
		p, err := x.d.Host().Bind(id, x.p.Gate.Identity, nil)
		if err != nil {
			return err
		}
		v, err := p.Get(x.p.Registry.HostUUID)
		if err != nil {
			return err
		}
		if o, ok := seen[upper(v)]; ok || len(v) != 16 {
			return fmt.Errorf("HOST_UUID of %02X is %X, that of %02X the same", uint16(id), v, uint16(o))
		}
		seen[upper(v)] = id
		if err := p.Delete(); err != nil {
			return err
		}
	}
	return nil
}

func linkTerminal(x onService) error {
	o, err := x.open()
	if err != nil {
		return err
	}
	defer o.end()
	list, err := x.t.Hosts(x.ctx)
	if err != nil {
		return err
	}
	p := x.profile()
	for _, h := range list {
		if h.ID != p.Host.NetworkController && h.ID != p.Host.UICC && slices.Contains(h.Gates, p.Gate.Identity) {
			return nil
		}
	}
	return fmt.Errorf("no other terminal host is among %v", list)
}

// fromSSP has a host of the SSP bind to a loopback gate of the terminal, send one
// event, and then runs f.
func fromSSP(x *far, f func(a *scl.Host, p *scl.Pipe) error) error {
	w := new(watched)
	if err := x.d.Host().Publish(x.p.Gate.Loopback, w); err != nil {
		return err
	}
	id := x.d.Host().ID()
	x.d.Unlock()
	defer x.d.Lock()
	n := x.target.Network
	var a *scl.Host
	var p *scl.Pipe
	opened := make(chan error, 1)
	var err error
	n.Exclusive(func() {
		if a, err = n.Register("conformance a", uuid("a"), 0); err != nil {
			return
		}
		if p, err = a.Create(id, x.p.Gate.Loopback); err == nil {
			err = p.OpenThen(new(inbox), func(err error) { opened <- err })
		}
	})
	defer n.Exclusive(func() {
		if a != nil {
			_ = n.Deregister(a)
		}
	})
	if err != nil {
		return err
	}
	select {
	case err = <-opened:
	case <-time.After(patience):
		err = errors.New("the terminal did not answer ANY_OPEN_PIPE")
	}
	if err != nil {
		return err
	}
	n.Exclusive(func() {
		err = p.Send(scl.Message{Type: scl.Event, Instruction: x.p.Event.PostData, Data: []byte("hello")})
	})
	if err != nil {
		return err
	}
	x.d.Lock()
	err = x.until("the event", func() bool { return len(w.msgs) == 1 })
	x.d.Unlock()
	if err != nil {
		return err
	}
	if err := f(a, p); err != nil {
		return err
	}
	x.d.Lock()
	defer x.d.Unlock()
	return x.until("the end of the pipe", func() bool { return w.closed == 1 })
}

func bindFromSSP(x *far) error {
	return fromSSP(x, func(a *scl.Host, _ *scl.Pipe) (err error) {
		x.target.Network.Exclusive(func() { err = x.target.Network.Deregister(a) })
		return err
	})
}

func unbindSSP(x *far) error {
	return fromSSP(x, func(_ *scl.Host, p *scl.Pipe) (err error) {
		x.target.Network.Exclusive(func() { err = p.Delete() })
		return err
	})
}

func unbindTerminal(x *far) error {
	return x.withHost(func(b *scl.Host) error {
		w := new(watched)
		var err error
		x.target.Network.Exclusive(func() { err = b.Publish(x.p.Gate.DynamicFirst, w) })
		if err != nil {
			return err
		}
		x.d.Lock()
		p, err := x.d.Host().Bind(b.ID(), x.p.Gate.DynamicFirst, &x.got)
		if err == nil {
			err = p.Delete()
		}
		x.d.Unlock()
		if err != nil {
			return err
		}
		x.target.Network.Exclusive(func() { err = equal("number of times the gate was told", w.closed, 1) })
		return err
	})
}

// withHost runs f with a host in the network of the target, while the domain of x is
// not locked.
func (x *far) withHost(f func(b *scl.Host) error) (err error) {
	x.d.Unlock()
	defer x.d.Lock()
	n := x.target.Network
	var b *scl.Host
	n.Exclusive(func() {
		if b, err = n.Register("conformance b", uuid("b"), 0); err == nil {
			err = gate.Standard(b, benchInfo)
		}
	})
	if err != nil {
		return err
	}
	defer n.Exclusive(func() { _ = n.Deregister(b) })
	return f(b)
}

func linkFragments(x *far) error {
	p, err := x.bind(x.p.Gate.Loopback)
	if err != nil {
		return err
	}
	m := x.p.Packet.MTU
	for _, n := range []int{0, 1, m - 3, m - 2, m - 1, m, 5 * m, x.p.Message.MaxLength} {
		data := make([]byte, n)
		for i := range data {
			data[i] = byte(i) ^ byte(i>>8)
		}
		x.got = inbox{}
		if err := p.Send(scl.Message{Type: scl.Event, Instruction: x.p.Event.PostData, Data: data}); err != nil {
			return fmt.Errorf("%d octets: %w", n, err)
		}
		if err := x.until(fmt.Sprintf("a message of %d octets", n), func() bool { return len(x.got.msgs) == 1 }); err != nil {
			return err
		}
		if !bytes.Equal(x.got.msgs[0].Data, data) {
			return fmt.Errorf("%d octets did not come back as they went", n)
		}
	}
	return nil
}

func (x *far) post(p *scl.Pipe) error {
	x.got = inbox{}
	if err := p.Send(scl.Message{Type: scl.Event, Instruction: x.p.Event.PostData, Data: []byte{1}}); err != nil {
		return err
	}
	return x.until("the event", func() bool { return len(x.got.msgs) == 1 })
}

func linkChain(x *far) error {
	broken, err := x.bind(x.p.Gate.Loopback)
	if err != nil {
		return err
	}
	other, err := x.bind(x.p.Gate.Loopback)
	if err != nil {
		return err
	}
	if err := x.raw(broken.ID(), false, scl.Message{Type: scl.Event, Instruction: x.p.Event.PostData, Data: []byte{1, 2, 3}}); err != nil {
		return err
	}
	return x.post(other)
}

func linkMTU(x *far) error {
	v, err := x.d.Host().Link().Get(x.p.Registry.MTU)
	if err != nil {
		return err
	}
	if len(v) != 2 || int(binary.BigEndian.Uint16(v)) < 16 || int(binary.BigEndian.Uint16(v)) > x.p.Packet.MTU {
		return fmt.Errorf("MTU is %X", v)
	}
	return nil
}

func linkNoPipe(x *far) error {
	return x.counts(func() error {
		return x.raw(x.p.Pipe.DynamicLast, true, scl.Message{Type: scl.Event, Instruction: x.p.Event.PostData})
	})
}

func linkEmpty(x *far) error {
	return x.counts(func() error {
		x.d.Unlock()
		defer x.d.Lock()
		return x.link.Send(transport.Packet, []byte{0x81})
	})
}

func linkRecError(x *far) error {
	if err := linkNoPipe(x); err != nil {
		return err
	}
	if err := x.d.Host().Link().Set(x.p.Registry.RecError, []byte{0, 0}); err != nil {
		return err
	}
	n, err := x.recError()
	if err == nil {
		err = equal("REC_ERROR", n, 0)
	}
	return err
}

func linkOthersPipe(x *far) error {
	return x.beside("far too", func(o *far) error {
		if err := o.d.Register(); err != nil {
			return err
		}
		p, err := o.bind(x.p.Gate.Loopback)
		if err != nil {
			return err
		}
		o.d.Unlock()
		x.d.Lock()
		err = x.counts(func() error {
			return x.raw(p.ID(), true, scl.Message{Type: scl.Event, Instruction: x.p.Event.PostData, Data: []byte{7}})
		})
		x.d.Unlock()
		o.d.Lock()
		if err != nil {
			return err
		}
		return equal("number of events that the other host got", len(o.got.msgs), 0)
	})
}

// credited binds a to a gate of b under flow control.
func (x *bench) credited() (w *watched, mine *scl.Pipe, err error) {
	w = new(watched)
	if err := x.b.Publish(x.p.Gate.TCP, w); err != nil {
		return nil, nil, err
	}
	mine, err = x.a.Bind(x.b.ID(), x.p.Gate.TCP, &x.got)
	return w, mine, err
}

func (x *bench) data(p *scl.Pipe, n int) error {
	return p.Send(scl.Message{Type: scl.Event, Instruction: x.p.Event.TCPData, Data: make([]byte, n)})
}

func creditNone(x *bench) error {
	w, p, err := x.credited()
	if err != nil {
		return err
	}
	if err := want(x.data(p, 1), scl.ErrNoCredit); err != nil {
		return err
	}
	return equal("number of events that arrived", len(w.msgs), 0)
}

func creditCost(x *bench) error {
	w, p, err := x.credited()
	if err != nil {
		return err
	}
	if err := w.pipe.Grant(100); err != nil {
		return err
	}
	for _, step := range []struct{ send, left int }{{9, 90}, {0, 89}, {88, 0}} {
		if err := x.data(p, step.send); err != nil {
			return err
		}
		if err := equal("credit that is left", p.Credit(), step.left); err != nil {
			return err
		}
	}
	return nil
}

func creditStop(x *bench) error {
	w, p, err := x.credited()
	if err != nil {
		return err
	}
	if err := w.pipe.Grant(10); err != nil {
		return err
	}
	if err := want(x.data(p, 10), scl.ErrNoCredit); err != nil {
		return err
	}
	if err := w.pipe.Grant(1); err != nil {
		return err
	}
	if err := x.data(p, 10); err != nil {
		return err
	}
	return want(x.data(p, 0), scl.ErrNoCredit)
}

func creditEnd(x *bench) error {
	w, p, err := x.credited()
	if err != nil {
		return err
	}
	if err := p.Send(scl.Message{Type: scl.Event, Instruction: x.p.Event.TCPClosed, Data: []byte{0}}); err != nil {
		return err
	}
	return equal("number of events that arrived", len(w.msgs), 1)
}

func creditOverrun(x *far) error {
	return x.withHost(func(b *scl.Host) (err error) {
		w := new(watched)
		x.target.Network.Exclusive(func() { err = b.Publish(x.p.Gate.TCP, w) })
		if err != nil {
			return err
		}
		x.d.Lock()
		defer x.d.Unlock()
		p, err := x.d.Host().Bind(b.ID(), x.p.Gate.TCP, &x.got)
		if err != nil {
			return err
		}
		err = x.counts(func() error {
			return x.raw(p.ID(), true, scl.Message{Type: scl.Event, Instruction: x.p.Event.TCPData, Data: []byte{1}})
		})
		if err != nil {
			return err
		}
		return x.until("the end of the pipe", func() bool { return x.got.closed == 1 })
	})
}

func (x *bench) whitelist(hosts ...scl.HostID) error {
	var v []byte
	for _, h := range hosts {
		v = x.p.AppendHostID(v, h)
	}
	return x.b.Admin().Set(x.p.Registry.Whitelist, v)
}

func accessWhitelist(x *bench) error {
	c, err := x.host("c")
	if err != nil {
		return err
	}
	defer x.leave(c)
	if err := x.whitelist(x.a.ID()); err != nil {
		return err
	}
	if _, err := x.loop(); err != nil {
		return err
	}
	_, err = c.Bind(x.b.ID(), x.p.Gate.Loopback, nil)
	return want(err, scl.ErrPipeAccessDenied)
}

func accessWhitelistEmpty(x *bench) error {
	if err := x.whitelist(); err != nil {
		return err
	}
	_, err := x.loop()
	return want(err, scl.ErrPipeAccessDenied)
}

func accessRights(x *far) error {
	return x.withFiles(func(b *scl.Host) error {
		x.d.Lock()
		defer x.d.Unlock()
		_, err := x.d.Host().Bind(b.ID(), x.p.Gate.FileSystem, nil)
		return want(err, scl.ErrPipeAccessDenied)
	})
}

// exchange is a session with the identity gate of the network controller host.
func (x *far) exchange() (*scl.Pipe, error) {
	return x.d.Host().Bind(x.p.Host.NetworkController, x.p.Gate.Identity, nil)
}

// tell writes capabilities in hexadecimal.
func (x *far) tell(p *scl.Pipe, der string) error {
	b, err := hex.DecodeString(der)
	if err != nil {
		return err
	}
	x.note("> %s", der)
	return p.Set(x.p.Registry.CapabilityExchange, b)
}

func capabilityKnown(x *far) error {
	p, err := x.exchange()
	if err != nil {
		return err
	}
	if err := x.tell(p, "30078002"+"0F0082013C"); err != nil {
		return err
	}
	v, err := p.Get(x.p.Registry.CapabilityExchange)
	if err != nil {
		return err
	}
	x.note("< %X", v)
	c, err := capability.ParseSSP(v)
	if err != nil {
		return err
	}
	x.note("%s", c)
	again, err := c.Encode()
	if err != nil {
		return err
	}
	if err := equal("its DER, written again", upper(again), upper(v)); err != nil {
		return err
	}
	if c.UICC == nil {
		return errors.New("aSspUicc is absent, and there is a UICC APDU gate")
	}
	return nil
}

func capabilityFirst(x *far) error {
	p, err := x.exchange()
	if err != nil {
		return err
	}
	_, err = p.Get(x.p.Registry.CapabilityExchange)
	return want(err, scl.ErrRegAccessDenied)
}

func capabilityMalformed(x *far) error {
	p, err := x.exchange()
	if err != nil {
		return err
	}
	for _, der := range []string{"", "30", "3004", "30800000", "3181048002" + "0F00", "300480020F", "30058002000F00", "3084FFFFFFFF", "300780020F0082020001", "30078002" + "0F0082013C00"} {
		if err := want(x.tell(p, der), scl.ErrCmdParUnknown); err != nil {
			return fmt.Errorf("%q: %w", der, err)
		}
	}
	return x.tell(p, "300480020F00")
}

func capabilityAdditions(x *far) error {
	p, err := x.exchange()
	if err != nil {
		return err
	}
	return x.tell(p, "300780020F0085012A")
}

// timer asks for a timer.
func (x *far) timer(p *scl.Pipe, flags byte, ms uint32) ([]byte, error) {
	return x.call(p, x.p.Command.TimerRequest, binary.BigEndian.AppendUint32([]byte{flags}, ms)...)
}

func (x *far) elapsed() (n int) {
	for _, m := range x.got.msgs {
		if m.Type == scl.Event && m.Instruction == x.p.Event.TimerElapsed {
			n++
		}
	}
	return n
}

func timerOnce(x *far) error {
	p, err := x.bind(x.p.Gate.Timer)
	if err != nil {
		return err
	}
	start := time.Now()
	id, err := x.timer(p, 0, 30)
	if err != nil {
		return err
	}
	if err := x.until("EVT_TIMER_ELAPSED", func() bool { return x.elapsed() == 1 }); err != nil {
		return err
	}
	if d := time.Since(start); d < 30*time.Millisecond {
		return fmt.Errorf("it elapsed after %s instead of 30 ms", d)
	}
	if err := equal("the timer that elapsed", upper(x.got.msgs[0].Data), upper(id)); err != nil {
		return err
	}
	_, err = x.call(p, x.p.Command.TimerKill, id...)
	return want(err, scl.ErrCmdParUnknown)
}

func timerPeriodic(x *far) error {
	p, err := x.bind(x.p.Gate.Timer)
	if err != nil {
		return err
	}
	id, err := x.timer(p, 1, 10)
	if err != nil {
		return err
	}
	if err := x.until("EVT_TIMER_ELAPSED, three times", func() bool { return x.elapsed() >= 3 }); err != nil {
		return err
	}
	_, err = x.call(p, x.p.Command.TimerKill, id...)
	return err
}

func timerKill(x *far) error {
	p, err := x.bind(x.p.Gate.Timer)
	if err != nil {
		return err
	}
	_, err = x.call(p, x.p.Command.TimerKill, 7)
	return want(err, scl.ErrCmdParUnknown)
}

func timerBad(x *far) error {
	p, err := x.bind(x.p.Gate.Timer)
	if err != nil {
		return err
	}
	for _, b := range [][]byte{{}, {0}, {0, 0, 0, 0}, {0, 0, 0, 0, 0}, {2, 0, 0, 1, 0}, {1, 0, 0, 0, 1}, {0, 0, 0, 0, 1, 1}} {
		_, err := x.call(p, x.p.Command.TimerRequest, b...)
		if err := want(err, scl.ErrCmdParUnknown); err != nil {
			return fmt.Errorf("%X: %w", b, err)
		}
	}
	return nil
}

func timerMany(x *far) error {
	p, err := x.bind(x.p.Gate.Timer)
	if err != nil {
		return err
	}
	for n := 0; ; n++ {
		_, err := x.timer(p, 0, 1<<31)
		if err != nil && n > 0 {
			x.note("there can be %d timers", n)
			return want(err, scl.ErrInhibited)
		}
		if err != nil || n == 255 {
			return fmt.Errorf("timer %d: %w", n, err)
		}
	}
}

func timerDate(x *far) error {
	p, err := x.bind(x.p.Gate.Timer)
	if err != nil {
		return err
	}
	v, err := x.call(p, x.p.Command.TimerReadDateTime)
	if err == nil && (len(v) != 8 || v[0] != 0) {
		err = fmt.Errorf("it is %X", v)
	}
	return err
}

// accessor is what LIST_ACCESSORS says of one.
type accessor struct {
	id, left byte
	kind     gate.AccessorKind
}

func (x *far) accessors(p *scl.Pipe) (l []accessor, err error) {
	b, err := x.call(p, x.p.Command.AccessorList)
	if err != nil {
		return nil, err
	}
	for len(b) > 0 {
		if len(b) < 4 || len(b) < 4+int(b[3]) {
			return nil, errors.New("LIST_ACCESSORS is cut")
		}
		l = append(l, accessor{b[0], b[2], gate.AccessorKind(b[1])})
		b = b[4+int(b[3]):]
	}
	return l, nil
}

// one is the first accessor of a kind.
func (x *far) one(p *scl.Pipe, kind gate.AccessorKind) (accessor, error) {
	l, err := x.accessors(p)
	if err != nil {
		return accessor{}, err
	}
	i := slices.IndexFunc(l, func(a accessor) bool { return a.kind == kind })
	if i < 0 {
		return accessor{}, fmt.Errorf("there is no accessor of kind %s among %v", kind, l)
	}
	return l[i], nil
}

func (x *far) authenticate(p *scl.Pipe, id byte, credential []byte) ([]byte, error) {
	return x.call(p, x.p.Command.AccessorAuthenticate, append([]byte{id}, credential...)...)
}

// rights is the accessor that the session is, and whether it may open a gate.
func (x *far) rights(p *scl.Pipe, id scl.GateID) (who byte, may bool, err error) {
	b, err := x.call(p, x.p.Command.AccessorRights)
	if err != nil || len(b) < 2 {
		return 0, false, fmt.Errorf("GET_RIGHTS gives %X: %w", b, err)
	}
	who, may = b[0], b[1] == 1
	for b = b[2:]; len(b) >= x.p.Width.Gate; b = b[x.p.Width.Gate:] {
		may = may || x.p.GateIDOf(b) == id
	}
	return who, may, nil
}

// mayFiles fails unless the session may open the file system gate, or may not.
func (x *far) mayFiles(p *scl.Pipe, wanted bool) error {
	_, may, err := x.rights(p, x.p.Gate.FileSystem)
	if err != nil {
		return err
	}
	return equal("the right to the file system gate", may, wanted)
}

// secret is a variable of the target.
func (x *far) secret(name string) ([]byte, error) { return hex.DecodeString(x.vars[name]) }

// registeredWith is registered for checks that need variables of the target.
func registeredWith(doc string, needs []string, f func(*far) error) check {
	c := registered(doc, f)
	c.needs = append(c.needs, needs...)
	return c
}

func accessorList(x *far) error {
	p, err := x.bind(x.p.Gate.Accessor)
	if err == nil {
		_, err = x.one(p, gate.Anonymous)
	}
	return err
}

func accessorAnonymous(x *far) error {
	p, err := x.bind(x.p.Gate.Accessor)
	if err != nil {
		return err
	}
	a, err := x.one(p, gate.Anonymous)
	if err != nil {
		return err
	}
	who, _, err := x.rights(p, x.p.Gate.TCP)
	if err != nil {
		return err
	}
	return equal("the accessor", who, a.id)
}

func accessorUnknown(x *far) error {
	p, err := x.bind(x.p.Gate.Accessor)
	if err != nil {
		return err
	}
	_, err = x.authenticate(p, 0xEE, []byte("1234"))
	return want(err, scl.ErrCmdParUnknown)
}

// operator authenticates with the PIN.
func (x *far) operator() (p *scl.Pipe, err error) {
	if p, err = x.bind(x.p.Gate.Accessor); err != nil {
		return nil, err
	}
	a, err := x.one(p, gate.PIN)
	if err != nil {
		return nil, err
	}
	pin, err := x.secret("accessor_pin")
	if err == nil {
		_, err = x.authenticate(p, a.id, pin)
	}
	return p, err
}

func accessorPINRight(x *far) error {
	p, err := x.operator()
	if err != nil {
		return err
	}
	if err := x.mayFiles(p, true); err != nil {
		return err
	}
	if _, err := x.call(p, x.p.Command.AccessorLogout); err != nil {
		return err
	}
	return x.mayFiles(p, false)
}

func accessorPINWrong(x *far) error {
	p, err := x.operator()
	if err != nil {
		return err
	}
	before, err := x.one(p, gate.PIN)
	if err != nil {
		return err
	}
	left, err := x.authenticate(p, before.id, []byte("not the PIN"))
	if err := want(err, scl.ErrAuthentication); err != nil {
		return err
	}
	if err := equal("tries that are left", upper(left), upper([]byte{before.left - 1})); err != nil {
		return err
	}
	if err := x.mayFiles(p, false); err != nil {
		return fmt.Errorf("after a wrong PIN: %w", err)
	}
	if p, err = x.operator(); err != nil {
		return err
	}
	after, err := x.one(p, gate.PIN)
	if err != nil {
		return err
	}
	return equal("tries after the right PIN", after.left, before.left)
}

func accessorTokenRight(x *far) error {
	p, err := x.bind(x.p.Gate.Accessor)
	if err != nil {
		return err
	}
	a, err := x.one(p, gate.Token)
	if err != nil {
		return err
	}
	key, err := x.secret("accessor_token")
	if err != nil {
		return err
	}
	challenge, err := x.call(p, x.p.Command.AccessorChallenge)
	if err != nil {
		return err
	}
	answer := gate.Answer(key, challenge)
	if _, err := x.authenticate(p, a.id, answer); err != nil {
		return err
	}
	if err := x.mayFiles(p, true); err != nil {
		return err
	}
	_, err = x.authenticate(p, a.id, answer)
	if err := want(err, scl.ErrAuthentication); err != nil {
		return fmt.Errorf("the same answer again: %w", err)
	}
	return x.mayFiles(p, false)
}

func accessorSession(x *far) error {
	p, err := x.operator()
	if err != nil {
		return err
	}
	if err := p.Delete(); err != nil {
		return err
	}
	if p, err = x.bind(x.p.Gate.Accessor); err != nil {
		return err
	}
	return x.mayFiles(p, false)
}

// shelf is the nodes of a file system gate for these checks.
type shelf map[string][]byte

const secretNode = "/secret"

func (s shelf) List(path string) ([]byte, error) {
	if path != "/" {
		return nil, s.no(path)
	}
	b := gate.AppendNode(nil, gate.Node{Name: "dir", Dir: true, Readable: true})
	return gate.AppendNode(b, gate.Node{Name: "file", Readable: true, Writable: true, Size: uint32(len(s["/file"]))}), nil
}

func (s shelf) no(path string) error {
	switch {
	case path == "/" || path == "/dir" || s[path] != nil:
		return gate.ErrNodeRange
	case path == secretNode:
		return gate.ErrNodeAccess
	}
	return gate.ErrNode
}

func (s shelf) Read(path string, off, n int) ([]byte, error) {
	f := s[path]
	switch {
	case f == nil:
		return nil, s.no(path)
	case off > len(f):
		return nil, gate.ErrNodeRange
	}
	return f[off:min(len(f), off+n)], nil
}

func (s shelf) Write(path string, off int, data []byte) error {
	f := s[path]
	switch {
	case f == nil:
		return s.no(path)
	case off+len(data) > len(f):
		return gate.ErrNodeRange
	}
	copy(f[off:], data)
	return nil
}

// withFiles runs f with a host of the network that has a file system gate. The
// domain of x is not locked.
func (x *far) withFiles(f func(b *scl.Host) error) error {
	return x.withHost(func(b *scl.Host) (err error) {
		file := make([]byte, 3*gate.MaxPiece/2)
		for i := range file {
			file[i] = byte(i) ^ byte(i>>8)
		}
		x.target.Network.Exclusive(func() {
			err = b.Publish(x.p.Gate.FileSystem, gate.NewFiles(x.target.Network, shelf{"/file": file}))
		})
		if err != nil {
			return err
		}
		return f(b)
	})
}

// filesCheck makes a check of f on a pipe to a file system gate, by who has the
// right.
func filesCheck(doc string, f func(*far, gate.FileClient) error) check {
	c := registeredWith(doc, []string{AbilityNetwork, "accessor_pin"}, func(x *far) error {
		if _, err := x.operator(); err != nil {
			return err
		}
		return x.withFiles(func(b *scl.Host) error {
			x.d.Lock()
			defer x.d.Unlock()
			p, err := x.d.Host().Bind(b.ID(), x.p.Gate.FileSystem, nil)
			if err != nil {
				return err
			}
			return f(x, gate.FileClient{Pipe: p})
		})
	})
	return c
}

// maxTree bounds what filesSPB reads.
const maxTree = 10000

func filesSPB(x *far) error {
	if _, err := x.operator(); err != nil {
		return err
	}
	p, err := x.bind(x.p.Gate.FileSystem)
	if err != nil {
		return err
	}
	c := gate.FileClient{Pipe: p}
	read := 0
	for dirs, met := []string{""}, 0; len(dirs) > 0; dirs = dirs[1:] {
		nodes, err := c.List(cmp.Or(dirs[0], "/"))
		if err != nil {
			return err
		}
		for _, n := range nodes {
			path := dirs[0] + "/" + n.Name
			if met++; met > maxTree {
				return fmt.Errorf("there are more than %d nodes", maxTree)
			}
			switch {
			case n.Dir:
				dirs = append(dirs, path)
			case n.Readable:
				b, err := c.Read(path, 1<<20)
				if err != nil {
					return err
				}
				if err := equal("the length of "+path, len(b), int(n.Size)); err != nil {
					return err
				}
				read++
			default:
				_, err := c.Read(path, 1<<20)
				if err := want(err, gate.ErrNodeAccess); err != nil {
					return fmt.Errorf("%s, which cannot be read: %w", path, err)
				}
			}
		}
	}
	x.note("%d files were read", read)
	return nil
}

func filesList(_ *far, c gate.FileClient) error {
	nodes, err := c.List("/")
	if err != nil {
		return err
	}
	if len(nodes) != 2 || !nodes[0].Dir || nodes[1].Name != "file" || nodes[1].Dir || !nodes[1].Readable || !nodes[1].Writable {
		return fmt.Errorf("the nodes are %v", nodes)
	}
	return equal("the size of the file", nodes[1].Size, 3*gate.MaxPiece/2)
}

func filesRead(_ *far, c gate.FileClient) error {
	b, err := c.Read("/file", 1<<20)
	if err != nil {
		return err
	}
	for i := range b {
		if b[i] != byte(i)^byte(i>>8) {
			return fmt.Errorf("octet %d is %02X", i, b[i])
		}
	}
	return equal("the length of the file", len(b), 3*gate.MaxPiece/2)
}

func filesWrite(_ *far, c gate.FileClient) error {
	if err := c.Write("/file", 10, []byte("changed")); err != nil {
		return err
	}
	b, err := c.Read("/file", 1<<20)
	if err != nil {
		return err
	}
	if err := equal("the part that was written", string(b[9:18]), "\x09changed\x11"); err != nil {
		return err
	}
	return want(c.Write("/file", len(b)-1, []byte("longer")), gate.ErrNodeRange)
}

func filesErrors(x *far, c gate.FileClient) error {
	_, none := c.Read("/nothing", 10)
	_, secret := c.Read(secretNode, 10)
	_, dir := c.Read("/dir", 10)
	_, file := c.List("/file")
	for _, e := range []struct{ got, want error }{{none, gate.ErrNode}, {secret, gate.ErrNodeAccess}, {dir, gate.ErrNodeRange}, {file, gate.ErrNodeRange}} {
		if err := want(e.got, e.want); err != nil {
			return err
		}
	}
	_, err := x.call(c.Pipe, x.p.Command.FileRead, 0, 5)
	return want(err, scl.ErrCmdParUnknown)
}

func filesPaths(x *far, c gate.FileClient) error {
	for _, path := range []string{"", "file", "/file/", "//file", "/./file", "/dir/../file", "/\xFF", "/a\x00"} {
		_, err := x.call(c.Pipe, x.p.Command.FileList, []byte(path)...)
		if err := want(err, scl.ErrCmdParUnknown); err != nil {
			return fmt.Errorf("%q: %w", path, err)
		}
	}
	return nil
}

func filesUnknown(x *far, c gate.FileClient) error {
	_, err := x.call(c.Pipe, 0x3F)
	return want(err, scl.ErrCmdNotSupported)
}

func (x *far) noCommand(id scl.GateID) error {
	p, err := x.bind(id)
	if err != nil {
		return err
	}
	_, err = x.call(p, 0x3F)
	return want(err, scl.ErrCmdNotSupported)
}

func tcpSession(x *far) error {
	p, err := x.bind(x.p.Gate.TCP)
	if err != nil {
		return err
	}
	return x.until("EVT_CREDIT", func() bool { return p.Credit() > 0 })
}

func udpSession(x *far) error {
	p, err := x.bind(x.p.Gate.UDP)
	if err != nil {
		return err
	}
	return x.until("EVT_CREDIT", func() bool { return p.Credit() > 0 })
}

func udpShort(x *far) error {
	p, err := x.bind(x.p.Gate.UDP)
	if err != nil {
		return err
	}
	for n := range 18 {
		if err := p.Send(scl.Message{Type: scl.Event, Instruction: x.p.Event.UDPDatagram, Data: make([]byte, n)}); err != nil {
			return err
		}
	}
	if err := p.Grant(1000); err != nil {
		return err
	}
	ping := append(make([]byte, 18), 0x40, 0, 0, 1)
	if err := p.Send(scl.Message{Type: scl.Event, Instruction: x.p.Event.UDPDatagram, Data: ping}); err != nil {
		return err
	}
	if err := x.until("the answer to a CoAP ping", func() bool { return len(x.got.msgs) > 0 }); err != nil {
		return err
	}
	return equal("what came", upper(x.got.msgs[0].Data), upper(append(make([]byte, 18), 0x70, 0, 0, 1)))
}

func apduReset(x onService) error {
	ctx, cancel := x.within()
	defer cancel()
	for range 2 {
		c, err := x.t.APDU(ctx)
		if err != nil {
			return err
		}
		x.atr = c.ATR()
		if err := checkATR(x.Dialogue, nil); err != nil {
			return err
		}
		if r, err := c.Transmit(ctx, []byte{0x00, 0xA4, 0x00, 0x0C, 0x02, 0x3F, 0x00}, nil); err != nil || len(r) != 2 {
			return fmt.Errorf("SELECT of the MF answers %X: %w", r, err)
		}
		if err := c.Close(); err != nil {
			return err
		}
	}
	return nil
}

func apduTwo(x onService) error {
	ctx, cancel := x.within()
	defer cancel()
	o, err := x.open()
	if err != nil {
		return err
	}
	defer o.end()
	var channels []*terminal.Channel
	for _, t := range []*terminal.Terminal{x.t, o.t} {
		c, err := t.APDU(ctx)
		if err != nil {
			return err
		}
		defer c.Close()
		channels = append(channels, c)
	}
	for range 10 {
		for _, c := range channels {
			if r, err := c.Transmit(ctx, []byte{0x00, 0xA4, 0x00, 0x0C, 0x02, 0x3F, 0x00}, nil); err != nil || !bytes.Equal(r, []byte{0x90, 0x00}) {
				return fmt.Errorf("SELECT of the MF answers %X: %w", r, err)
			}
		}
	}
	return nil
}

func apduTransfer(x onService) error {
	ctx, cancel := x.within()
	defer cancel()
	c, err := x.t.APDU(ctx)
	if err != nil {
		return err
	}
	if err := c.Close(); err != nil { // sends it
		return err
	}
	if c, err = x.t.APDU(ctx); err != nil {
		return err
	}
	return c.Close()
}
