// Package primary is the Primary Platform: it keeps the Secondary Platform
// Bundles, runs the active one and answers for it in the SCL network.
//
//	cmd: serve, control API                          SCL network
//	   │ Install, Enable, Activate, ...                 │ host SPB: identity, loopback, UICC APDU gate
//	   v                                                v
//	┌──────────────────────────── Platform ─────────────────────────────┐
//	│ records, states, personas      APDU service: chaining, GET RESPONSE │
//	│ events                         faults: reset of the bundle          │
//	└──────┬──────────────────────────────┬──────────────────────┬───────┘
//	       v                              v                      v
//	  primary/loader                 primary/vm             primary/nvm
//	  packages (.spb)                the bundle runs        partitions, records, packages
//
// # States
//
// A bundle is stored (disabled) or enabled, as the firmware management of
// GlobalPlatform VPP has it, and at most one enabled bundle is active.
//
//	                 Install                Enable                Activate
//	  (not there) ─────────────> disabled ───────────> enabled ─────────────> active
//	       ^                      │    ^                │   ^                   │  │
//	       └─────── Delete ───────┤    └──── Disable ───┤   └── Activate other ─┘  │
//	                              └───── Delete ────────┘       Disable, to disabled
//
//	             disabled            enabled             active
//	Install      updated             updated             refused, unless it is the same package
//	Enable       becomes enabled     nothing to do       nothing to do
//	Disable      nothing to do       becomes disabled    deactivated, becomes disabled
//	Activate     refused             becomes active      nothing to do
//	Delete       deleted with NVM    deleted with NVM    refused
//	Route        refused             by policy: refused, passes
//	                                 or activated
//
// What is refused is a *Refusal: it says why and what to do; Response gives the
// code of the VPP firmware management service for it. An embedded SSP of type 1
// has one operating system: there every one of these but Route is refused.
//
// # Exactly one
//
// Platform.active is the one field that says which bundle is active. setActive
// is the one function that changes it, with the network locked. The host in the
// network comes and goes inside the same lock, so that the network has never two
// of them either. An activation that fails leaves the old bundle active: the new
// one is started, personalised and initialised before anything is taken from the
// old one.
//
// # Faults
//
//	the bundle traps, spins, ends itself, lies about an answer   SW 6F00, rollback, new instance, event
//	the bundle answers with an error of the ABI                  SW 6F00, rollback
//	what it wrote cannot be stored (disk full)                   SW 6581, rollback, new instance, event
//	a command is longer than its IPC                             SW 6700
//	a new instance does not start                                SW 6F00 until a reset starts it
//
// # Order of locks
//
// From the outside in; who has one may take those behind it only.
//
//	Platform.ops       one management operation at a time
//	scl.Network        all that runs in the active bundle; the network itself
//	Platform.mu        the records and the field active; held for a moment
//	events.mu, clocks, nvm.Store
//
// Functions that take ops must not be called inside the network (a gate, a
// receiver): there, hand them to a goroutine. Watchers are called without any
// lock.
//
// # Determinism
//
// With a seed and a VirtualClock all that a bundle can observe depends on the
// state and the commands alone: every bundle has a random stream of its own,
// derived from seed and firmware identifier, and time stands still but for
// Advance and a bundle's own sleeping.
//
// Sources: ETSI TS 103 666-2 clauses 7.4 and 8.1, which defer to GlobalPlatform
// VPP Concepts and Interfaces (internal/vpp); ETSI TS 103 666-1 for the classes
// of SSP. Texts at second hand: docs say what is provisional.
package primary
