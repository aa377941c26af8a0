// Package scl is the SSP Common Layer: hosts that publish gates and talk over
// pipes, joined in a star by the router of the network controller host.
//
//	   terminal host            network controller host              SPB host
//	(scl/terminal.Adapter)                                       (primary platform)
//	┌───────────────────┐     ┌───────────────────────────┐     ┌───────────────────┐
//	│ application gate  │     │ administration   link     │     │ UICC APDU gate    │
//	│        │          │     │  registry, pipe table     │     │        │          │
//	├────────┴──────────┤     ├───────────────────────────┤     ├────────┴──────────┤
//	│ messages          │     │                           │     │ messages          │
//	│ fragments         │     │         router            │     │ fragments         │
//	└────────┬──────────┘     └──┬─────────────────────┬──┘     └────────┬──────────┘
//	         └──── packets ──────┘                     └──── packets ────┘
//
// Three levels, as in HCI: gates exchange commands, responses and events
// (message.go); messages are cut into fragments and joined again (reassembly.go);
// packets carry one fragment on one pipe and are routed (packet.go, router.go).
// Everything that crosses is really encoded, also inside one process.
//
// # Procedures
//
//	Network.Register, Deregister   host registration and deregistration; the other hosts get EVT_HOT_PLUG
//	Domain.Register, Deregister    the same for a host behind a link: ADM_REGISTER_HOST, ADM_DEREGISTER_HOST
//	Host.Publish                   a gate is offered
//	Host.Create                    ADM_CREATE_PIPE to the network controller, which sends ADM_NOTIFY_PIPE_CREATED
//	Pipe.Open, Close               ANY_OPEN_PIPE, ANY_CLOSE_PIPE at the gate
//	Pipe.Delete                    ADM_DELETE_PIPE, ADM_NOTIFY_PIPE_DELETED
//	Host.Admin().Call              ADM_CLEAR_ALL_PIPE, ADM_NOTIFY_ALL_PIPE_CLEARED
//	Pipe.Get, Set                  ANY_GET_PARAMETER, ANY_SET_PARAMETER on the registry of a gate
//
// # Host domains
//
// The SSP host domain is a Network: the network controller host, the hosts of this
// process and the router. A terminal host domain is a Domain, behind a link whose
// other end is a Port of the network; packets go over it as they are.
//
//	terminal host domain                     SSP host domain
//	┌──────────────────┐                 ┌─────────────────────────────┐
//	│ terminal host    │                 │ SPB host   other hosts      │
//	│   Domain         │                 │    │           │            │
//	│     └── packets ─┼── link ══ Port ─┼──> router ─────┘            │
//	└──────────────────┘                 │ network controller host     │
//	                                     └─────────────────────────────┘
//
// # States of a host (hostMachine)
//
//	              register                       in state      a packet from it
//	Unregistered ───────────> Registered         Unregistered  ADM_REGISTER_HOST only,
//	     │  ^                  │  │                            else ANY_E_INHIBITED
//	     │  └── deregister ────┘  │              Registered    is routed
//	     └───> Gone <─────────────┘              Gone          dropped
//	       lost: the link, or the host leaves
//
// # States of a pipe end (pipeMachine)
//
// A pipe exists between creation and deletion; a pipe session lasts while it is open.
//
//	          Create           Open                      in state   a command              an event
//	(none) ─────────> Closed ─────────> Open             Closed     ANY_E_PIPE_NOT_OPENED  dropped
//	                   │  ^               │                         but ANY_OPEN_PIPE
//	                   │  └──── Close ────┤              Open       to registry or gate    to the gate
//	                   v                  v              Deleted    no such pipe           no such pipe
//	                 Deleted <─── Delete, clear all,
//	                              a host deregisters
//
// The static pipes to the link and administration gates are open from
// registration to deregistration, behind a link from the moment there is one.
//
// # Flow control, length of packets, rights
//
// Pipes to the TCP and UDP gates are under flow control by credit (credit.go): a
// sender that has none gets ErrNoCredit, one that sends all the same loses the pipe.
// Packets are as long as both hosts of a pipe can take, which is the MTU of the link
// for a host behind one; messages are cut into as many as that needs. Who may create
// a pipe to what is decided by the white list of the host (WHITELIST) and by the
// access rule of the network (SetAccess).
//
// # Order, locks and buffers
//
// The network is synchronous and has one lock, taken at the outside (Network). A
// gate may answer from inside the call that brings it a message, and so on in
// turn: what a receiver was given stays valid until it returns, however the calls
// nest. Sending does not allocate once each end has its buffer, and a message of
// one fragment is not copied at the receiving end.
//
// Packets for a link wait until the lock is free and are sent in order (port.go).
//
// Packets that come from outside the process, over a link, are as untrusted as
// any: what they can occupy is bounded by message.max_length for each pipe end, and
// what waits for a link by 1 MiB.
//
// # Numbers
//
// All of them are in the profile (Profile, scl-profile-0.yaml), each with its
// source. The text of ETSI TS 103 666-1 is not at hand: its ancestor HCI, ETSI TS
// 102 622, stands in, and what hangs on a number is provisional.
package scl
