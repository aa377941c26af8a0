// Package vm runs one Secondary Platform Bundle: a WebAssembly module behind the
// bundle ABI of docs/abi.md.
//
//	package primary ── Message, Signal, Init ──> Instance ──> exports of the bundle
//	                                                │
//	   Env: NVM, clock, random, log, events  <── imports "vpp" and WASI (no files,
//	                                            no network, no arguments)
//
//	Engine   one for the process: the cache of compiled code
//	Module   one compiled bundle, shared by its instances
//	Instance one bundle that runs, with a memory of its own
//
// A bundle can do no harm but to itself. Its memory is capped, a call that runs
// longer than its budget is ended (see instrument), pointers and lengths are
// checked, and what goes wrong is a *Fault, after which the Instance is dead and
// its owner makes a new one.
//
// Names and meaning follow GlobalPlatform VPP where it has a counterpart; the
// numbers are in internal/vpp.
package vm
