package spectests

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"

	"github.com/sspemu/sspemu/internal/apdu"
	"github.com/sspemu/sspemu/scl"
	"github.com/sspemu/sspemu/scl/gate"
)

// bench is what a check of the SCL works on: the network of the target with two
// more hosts, of which b has an identity and a loopback gate. Everything runs
// inside the network.
type bench struct {
	*Dialogue
	n    *scl.Network
	p    *scl.Profile
	a, b *scl.Host
	got  inbox // what arrives at pipes of a that were bound with it
}

// inbox keeps what arrives at a pipe.
type inbox struct {
	msgs   []scl.Message
	closed int
}

func (i *inbox) Message(_ *scl.Pipe, m scl.Message) {
	m.Data = bytes.Clone(m.Data)
	i.msgs = append(i.msgs, m)
}

func (i *inbox) Closed(*scl.Pipe) { i.closed++ }

// uuid is the identifier of a host of these checks.
func uuid(name string) [16]byte {
	h := sha256.Sum256([]byte("sspemu conformance " + name))
	return [16]byte(h[:16])
}

var benchInfo = gate.Info{VendorName: "sspemu conformance"}

// onBench makes a check of f.
func onBench(f func(*bench) error) func(*Dialogue, []string) error {
	return func(d *Dialogue, _ []string) (err error) {
		d.target.Network.Exclusive(func() {
			x := &bench{Dialogue: d, n: d.target.Network, p: d.target.Network.Profile()}
			if x.a, err = x.host("a"); err != nil {
				return
			}
			defer x.leave(x.a)
			if x.b, err = x.host("b"); err != nil {
				return
			}
			defer x.leave(x.b)
			if err = gate.Standard(x.b, benchInfo); err == nil {
				err = f(x)
			}
		})
		return err
	}
}

func (x *bench) host(name string) (*scl.Host, error) {
	return x.n.Register("conformance "+name, uuid(name), 0)
}

func (x *bench) leave(h *scl.Host) { _ = x.n.Deregister(h) }

// want fails unless err is the error.
func want(err, target error) error {
	if errors.Is(err, target) {
		return nil
	}
	if err == nil {
		return fmt.Errorf("it succeeded, expected: %w", target)
	}
	return fmt.Errorf("%w, expected: %w", err, target)
}

func equal[T comparable](what string, got, wanted T) error {
	if got != wanted {
		return fmt.Errorf("%s is %v, expected %v", what, got, wanted)
	}
	return nil
}

// call sends an administration command from a.
func (x *bench) call(command byte, data ...byte) (err error) {
	code, _, err := x.a.Admin().Call(command, data)
	if err == nil {
		err = x.p.Err(code)
	}
	return err
}

// loop binds a to the loopback gate of b.
func (x *bench) loop() (*scl.Pipe, error) { return x.a.Bind(x.b.ID(), x.p.Gate.Loopback, &x.got) }

// echo sends n bytes through the loopback gate of b.
func (x *bench) echo(sizes ...int) error {
	pipe, err := x.loop()
	if err != nil {
		return err
	}
	for _, n := range sizes {
		data := make([]byte, n)
		for i := range data {
			data[i] = byte(i) ^ byte(i>>8)
		}
		x.got = inbox{}
		m := scl.Message{Type: scl.Event, Instruction: x.p.Event.PostData, Data: data}
		if err := pipe.Send(m); err != nil {
			return fmt.Errorf("%d bytes: %w", n, err)
		}
		if len(x.got.msgs) != 1 || x.got.msgs[0].Type != scl.Event || x.got.msgs[0].Instruction != m.Instruction || !bytes.Equal(x.got.msgs[0].Data, data) {
			return fmt.Errorf("%d bytes did not come back as they went", n)
		}
	}
	return nil
}

// roster is HOST_LIST as a reads it.
func (x *bench) roster() ([]byte, error) { return x.a.Admin().Get(x.p.Registry.HostList) }

// spb is the host that publishes the UICC APDU gate: the active SPB.
func (x *bench) spb() (*scl.Host, error) {
	if h := x.n.Find(x.p.Gate.UICCAPDU); h != nil {
		return h, nil
	}
	return nil, errors.New("no host publishes the UICC APDU gate")
}

// events are the instructions of the events that arrived.
func (i *inbox) events() (l []byte) {
	for _, m := range i.msgs {
		if m.Type == scl.Event {
			l = append(l, m.Instruction)
		}
	}
	return l
}

var sclChecks = map[string]check{
	"scl_host_list":         sclCheck("HOST_LIST names the network controller host and every host", hostList),
	"scl_host_list_leaves":  sclCheck("a host that leaves is not in HOST_LIST", hostListLeaves),
	"scl_host_id":           sclCheck("HOST_ID is the identifier of the host that asks", hostID),
	"scl_host_dynamic":      sclCheck("hosts get different identifiers of the dynamic range", hostDynamic),
	"scl_host_taken":        sclCheck("an identifier that is in use is refused", hostTaken),
	"scl_host_uuid":         sclCheck("a UUID that is in use is refused", hostUUID),
	"scl_session":           sclCheck("SESSION_IDENTITY is kept for each host", session),
	"scl_session_length":    sclCheck("SESSION_IDENTITY of another length is refused", sessionLength),
	"scl_max_pipe":          sclCheck("MAX_PIPE can be read", maxPipe),
	"scl_read_only":         sclCheck("a parameter that is read only cannot be written", readOnly),
	"scl_parameter_unknown": sclCheck("a parameter that does not exist is refused", parameterUnknown),
	"scl_link_error":        sclCheck("REC_ERROR of the link gate has two octets", linkError),
	"scl_identity":          sclCheck("every host with an identity gate tells version, model and vendor", identity),
	"scl_gates_list":        sclCheck("GATES_LIST is what the host publishes", gatesList),
	"scl_loopback":          sclCheck("data comes back from the loopback gate", func(x *bench) error { return x.echo(1, 16, 250) }),
	"scl_loopback_empty":    sclCheck("an event without data comes back", func(x *bench) error { return x.echo(0) }),
	"scl_fragments":         sclCheck("a message of many packets comes back whole", func(x *bench) error { return x.echo(5*x.p.Packet.MTU, 65535) }),
	"scl_fragment_edge": sclCheck("messages around the length of one packet come back whole", func(x *bench) error {
		m := x.p.Packet.MTU
		return x.echo(m-3, m-2, m-1, m, m+1, 2*m-3, 2*m-2, 2*m-1)
	}),
	"scl_message_longest":  sclCheck("a message longer than the longest is refused before it is sent", messageLongest),
	"scl_gate_unknown":     sclCheck("a pipe to a gate that the host has not is refused", gateUnknown),
	"scl_host_unknown":     sclCheck("a pipe to a host that is not there is refused", hostUnknown),
	"scl_pipe_self":        sclCheck("a pipe to a gate of the own host is refused", pipeSelf),
	"scl_pipe_ids":         sclCheck("pipes get different identifiers of the dynamic range", pipeIDs),
	"scl_pipe_closed":      sclCheck("a pipe that is not open takes no messages", pipeClosed),
	"scl_pipe_reopen":      sclCheck("a pipe that was closed opens again", pipeReopen),
	"scl_pipe_delete":      sclCheck("a pipe that is deleted is gone at both ends", pipeDelete),
	"scl_pipe_others":      sclCheck("a host cannot delete a pipe of others", pipeOthers),
	"scl_pipe_clear":       sclCheck("ADM_CLEAR_ALL_PIPE deletes the pipes of the host and no others", pipeClear),
	"scl_pipe_host_leaves": sclCheck("when a host leaves, its pipes close at the other ends", pipeHostLeaves),
	"scl_command_unknown":  sclCheck("a command that a gate does not know is refused", commandUnknown),
	"scl_admin_unknown":    sclCheck("a command that the administration gate does not know is refused", adminUnknown),
	"scl_admin_malformed":  sclCheck("ADM_CREATE_PIPE of a wrong length is refused", adminMalformed),
	"scl_apdu_atr":         sclCheck("opening a pipe to the UICC APDU gate gives EVT_ATR", apduATR),
	"scl_apdu_exchange":    sclCheck("EVT_C_APDU gives one EVT_R_APDU", apduExchange),
	"scl_apdu_abort":       sclCheck("EVT_ABORT resets the application and gives EVT_ATR", apduAbort),
	"scl_apdu_registry":    sclCheck("MAX_C_APDU_SIZE and MAX_WAIT_TIME can be read", apduRegistry),
}

func sclCheck(doc string, f func(*bench) error) check {
	return check{doc: doc, needs: []string{AbilityNetwork}, run: onBench(f)}
}

func hostList(x *bench) error {
	got, err := x.roster()
	if err != nil {
		return err
	}
	wanted := x.p.AppendHostID(nil, x.p.Host.NetworkController)
	for _, h := range x.n.Hosts() {
		wanted = x.p.AppendHostID(wanted, h.ID())
	}
	x.note("HOST_LIST is %X", got)
	return equal("HOST_LIST", upper(got), upper(wanted))
}

func hostListLeaves(x *bench) error {
	before, err := x.roster()
	if err != nil {
		return err
	}
	x.leave(x.b)
	after, err := x.roster()
	if err != nil {
		return err
	}
	id := x.p.AppendHostID(nil, x.b.ID())
	if !bytes.Contains(before, id) || bytes.Contains(after, id) {
		return fmt.Errorf("HOST_LIST was %X and is %X, host %X left", before, after, id)
	}
	return nil
}

func hostID(x *bench) error {
	for _, h := range []*scl.Host{x.a, x.b} {
		got, err := h.Admin().Get(x.p.Registry.HostID)
		if err != nil {
			return err
		}
		if err := equal("HOST_ID", upper(got), upper(x.p.AppendHostID(nil, h.ID()))); err != nil {
			return err
		}
	}
	return nil
}

func hostDynamic(x *bench) error {
	for _, h := range []*scl.Host{x.a, x.b} {
		if h.ID() < x.p.Host.DynamicFirst || h.ID() > x.p.Host.DynamicLast {
			return fmt.Errorf("%s is outside of %02X to %02X", h, uint16(x.p.Host.DynamicFirst), uint16(x.p.Host.DynamicLast))
		}
	}
	if x.a.ID() == x.b.ID() {
		return fmt.Errorf("%s and %s have the same", x.a, x.b)
	}
	return nil
}

func hostTaken(x *bench) error {
	h, err := x.n.Register("conformance c", uuid("c"), x.a.ID())
	if err == nil {
		x.leave(h)
	}
	return want(err, scl.ErrTaken)
}

func hostUUID(x *bench) error {
	h, err := x.n.Register("conformance c", uuid("a"), 0)
	if err == nil {
		x.leave(h)
	}
	return want(err, scl.ErrTaken)
}

func session(x *bench) error {
	v := []byte{1, 2, 3, 4, 5, 6, 7, 8}
	if err := x.a.Admin().Set(x.p.Registry.SessionIdentity, v); err != nil {
		return err
	}
	for _, h := range []*scl.Host{x.a, x.b} {
		got, err := h.Admin().Get(x.p.Registry.SessionIdentity)
		if err != nil {
			return err
		}
		if bytes.Equal(got, v) != (h == x.a) {
			return fmt.Errorf("SESSION_IDENTITY of %s is %X", h, got)
		}
	}
	return nil
}

func sessionLength(x *bench) error {
	return want(x.a.Admin().Set(x.p.Registry.SessionIdentity, []byte{1, 2, 3}), scl.ErrCmdParUnknown)
}

func maxPipe(x *bench) error {
	v, err := x.a.Admin().Get(x.p.Registry.MaxPipe)
	if err == nil && (len(v) != 1 || v[0] == 0) {
		err = fmt.Errorf("MAX_PIPE is %X", v)
	}
	return err
}

func readOnly(x *bench) error {
	return want(x.a.Admin().Set(x.p.Registry.HostList, []byte{0}), scl.ErrRegAccessDenied)
}

func parameterUnknown(x *bench) error {
	_, err := x.a.Admin().Get(0xEE)
	return want(err, scl.ErrRegParUnknown)
}

func linkError(x *bench) error {
	v, err := x.a.Link().Get(x.p.Registry.RecError)
	if err == nil {
		err = equal("length of REC_ERROR", len(v), 2)
	}
	return err
}

// identities calls f with a pipe to every identity gate of other hosts.
func (x *bench) identities(f func(h *scl.Host, p *scl.Pipe) error) error {
	met := 0
	for _, h := range append(x.n.Hosts(), x.n.Controller()) {
		if h == x.a || !slices.Contains(h.Gates(), x.p.Gate.Identity) {
			continue
		}
		pipe, err := x.a.Bind(h.ID(), x.p.Gate.Identity, nil)
		if err != nil {
			return err
		}
		met++
		if err := f(h, pipe); err != nil {
			return fmt.Errorf("%s: %w", h, err)
		}
	}
	if met < 2 {
		return errors.New("no host but the one of this check has an identity gate")
	}
	return nil
}

func identity(x *bench) error {
	r := x.p.Registry
	return x.identities(func(_ *scl.Host, p *scl.Pipe) error {
		for _, f := range []struct {
			index    byte
			min, max int
		}{{r.VersionSW, 3, 3}, {r.HCIVersion, 1, 1}, {r.VersionHW, 3, 3}, {r.VendorName, 1, 20}, {r.ModelID, 1, 1}, {r.GatesList, 1, 255}} {
			v, err := p.Get(f.index)
			if err != nil {
				return err
			}
			if len(v) < f.min || len(v) > f.max {
				return fmt.Errorf("parameter %02X has %d octets, expected %d to %d", f.index, len(v), f.min, f.max)
			}
		}
		return nil
	})
}

func gatesList(x *bench) error {
	return x.identities(func(h *scl.Host, p *scl.Pipe) error {
		v, err := p.Get(x.p.Registry.GatesList)
		if err != nil {
			return err
		}
		var wanted []byte
		for _, g := range h.Gates() {
			wanted = x.p.AppendGateID(wanted, g)
		}
		return equal("GATES_LIST", upper(v), upper(wanted))
	})
}

func messageLongest(x *bench) error {
	pipe, err := x.loop()
	if err != nil {
		return err
	}
	m := scl.Message{Type: scl.Event, Instruction: x.p.Event.PostData, Data: make([]byte, x.p.Message.MaxLength+1)}
	return want(pipe.Send(m), scl.ErrMessageTooLong)
}

// freeHost is an identifier that no host has.
func (x *bench) freeHost() scl.HostID {
	id := x.p.Host.DynamicLast
	for x.n.Host(id) != nil {
		id--
	}
	return id
}

func gateUnknown(x *bench) error {
	free := x.p.Gate.DynamicFirst
	for slices.Contains(x.b.Gates(), free) {
		free++
	}
	_, err := x.a.Create(x.b.ID(), free)
	return want(err, scl.ErrNOK)
}

func hostUnknown(x *bench) error {
	_, err := x.a.Create(x.freeHost(), x.p.Gate.Identity)
	return want(err, scl.ErrNotConnected)
}

func pipeSelf(x *bench) error {
	_, err := x.b.Create(x.b.ID(), x.p.Gate.Loopback)
	return want(err, scl.ErrPipeAccessDenied)
}

func pipeIDs(x *bench) error {
	seen := map[scl.PipeID]bool{}
	for range 5 {
		p, err := x.loop()
		if err != nil {
			return err
		}
		if p.ID() < x.p.Pipe.DynamicFirst || p.ID() > x.p.Pipe.DynamicLast || seen[p.ID()] {
			return fmt.Errorf("%s is outside of the range or taken", p)
		}
		seen[p.ID()] = true
	}
	return nil
}

func (x *bench) post(p *scl.Pipe) error {
	return p.Send(scl.Message{Type: scl.Event, Instruction: x.p.Event.PostData, Data: []byte{1}})
}

func pipeClosed(x *bench) error {
	p, err := x.a.Create(x.b.ID(), x.p.Gate.Loopback)
	if err != nil {
		return err
	}
	return want(x.post(p), scl.ErrPipeNotOpened)
}

func pipeReopen(x *bench) error {
	p, err := x.loop()
	if err != nil {
		return err
	}
	if err := p.Close(); err != nil {
		return err
	}
	if err := want(x.post(p), scl.ErrPipeNotOpened); err != nil {
		return err
	}
	if err := p.Open(&x.got); err != nil {
		return err
	}
	if err := x.post(p); err != nil {
		return err
	}
	return equal("number of messages", len(x.got.msgs), 1)
}

// watched publishes a gate at b that keeps what arrives.
type watched struct {
	inbox
	pipe *scl.Pipe
}

func (w *watched) Opened(p *scl.Pipe) (scl.PipeReceiver, error) {
	w.pipe = p
	return &w.inbox, nil
}

// watch binds a to a gate of b that keeps what arrives there.
func (x *bench) watch() (*watched, *scl.Pipe, error) {
	w := new(watched)
	if err := x.b.Publish(x.p.Gate.DynamicFirst, w); err != nil {
		return nil, nil, err
	}
	p, err := x.a.Bind(x.b.ID(), x.p.Gate.DynamicFirst, &x.got)
	return w, p, err
}

func pipeDelete(x *bench) error {
	w, p, err := x.watch()
	if err != nil {
		return err
	}
	if err := p.Delete(); err != nil {
		return err
	}
	if err := want(x.post(p), scl.ErrPipeDeleted); err != nil {
		return err
	}
	return equal("number of times the gate was told", w.closed, 1)
}

func pipeOthers(x *bench) error {
	c, err := x.host("c")
	if err != nil {
		return err
	}
	defer x.leave(c)
	p, err := c.Bind(x.b.ID(), x.p.Gate.Loopback, nil)
	if err != nil {
		return err
	}
	// Identifiers of pipes are encoded like those of gates, in the width of the
	// profile; the default is one octet for both.
	if err := want(x.call(x.p.Command.AdmDeletePipe, byte(p.ID())), scl.ErrPipeAccessDenied); err != nil {
		return err
	}
	return equal("state of the pipe", p.State(), scl.Open)
}

func pipeClear(x *bench) error {
	w, mine, err := x.watch()
	if err != nil {
		return err
	}
	c, err := x.host("c")
	if err != nil {
		return err
	}
	defer x.leave(c)
	other, err := c.Bind(x.b.ID(), x.p.Gate.Loopback, nil)
	if err != nil {
		return err
	}
	if err := x.call(x.p.Command.AdmClearAllPipe); err != nil {
		return err
	}
	if err := equal("state of the pipe", mine.State(), scl.Deleted); err != nil {
		return err
	}
	if err := equal("state of another host's pipe", other.State(), scl.Open); err != nil {
		return err
	}
	return equal("number of times the gate was told", w.closed, 1)
}

func pipeHostLeaves(x *bench) error {
	_, p, err := x.watch()
	if err != nil {
		return err
	}
	x.leave(x.b)
	if err := want(x.post(p), scl.ErrPipeDeleted); err != nil {
		return err
	}
	return equal("number of times this end was told", x.got.closed, 1)
}

func commandUnknown(x *bench) error {
	p, err := x.loop()
	if err != nil {
		return err
	}
	code, _, err := p.Call(0x3F, nil)
	if err != nil {
		return err
	}
	return want(x.p.Err(code), scl.ErrCmdNotSupported)
}

func adminUnknown(x *bench) error { return want(x.call(0x3F), scl.ErrCmdNotSupported) }

func adminMalformed(x *bench) error {
	return want(x.call(x.p.Command.AdmCreatePipe, 1), scl.ErrCmdParUnknown)
}

// apdu binds a to the UICC APDU gate of the active SPB.
func (x *bench) apdu() (*scl.Pipe, error) {
	spb, err := x.spb()
	if err != nil {
		return nil, err
	}
	return x.a.Bind(spb.ID(), x.p.Gate.UICCAPDU, &x.got)
}

func apduATR(x *bench) error {
	if _, err := x.apdu(); err != nil {
		return err
	}
	return x.atrArrived()
}

func (x *bench) atrArrived() error {
	if err := equal("events", upper(x.got.events()), upper([]byte{x.p.Event.ATR})); err != nil {
		return err
	}
	x.Dialogue.atr = x.got.msgs[0].Data
	return checkATR(x.Dialogue, nil)
}

func apduExchange(x *bench) error {
	p, err := x.apdu()
	if err != nil {
		return err
	}
	x.got = inbox{}
	if err := p.Send(scl.Message{Type: scl.Event, Instruction: x.p.Event.CAPDU, Data: []byte{0x00, 0xA4, 0x00, 0x0C, 0x02, 0x3F, 0x00}}); err != nil {
		return err
	}
	if err := equal("events", upper(x.got.events()), upper([]byte{x.p.Event.RAPDU})); err != nil {
		return err
	}
	_, sw, ok := apdu.Status(x.got.msgs[0].Data)
	if !ok || sw != apdu.OK {
		return fmt.Errorf("SELECT of the MF answers %X", x.got.msgs[0].Data)
	}
	return nil
}

func apduAbort(x *bench) error {
	p, err := x.apdu()
	if err != nil {
		return err
	}
	x.got = inbox{}
	if err := p.Send(scl.Message{Type: scl.Event, Instruction: x.p.Event.Abort}); err != nil {
		return err
	}
	return x.atrArrived()
}

func apduRegistry(x *bench) error {
	p, err := x.apdu()
	if err != nil {
		return err
	}
	for _, i := range []byte{x.p.Registry.MaxCAPDUSize, x.p.Registry.MaxWaitTime} {
		v, err := p.Get(i)
		if err != nil {
			return err
		}
		if err := equal("length of the parameter", len(v), 2); err != nil {
			return err
		}
	}
	return nil
}
