// Package sdk is what the author of a bundle imports: it turns a plain Go value
// into a Secondary Platform Bundle that runs as WebAssembly on the Primary
// Platform, and lets the same value run natively under go test.
//
//	            docs/abi.md                     App
//	PLATFORM ── imports, exports ──> sdk ──> Personalise, Init, APDU, Signal
//	   ^                              │
//	   └── NVM, time, random, log, ───┘  host_wasip1.go: the real platform
//	       event, signals                host_native.go: a Host given by sdktest
//
// A bundle is a package main for GOOS=wasip1 whose init calls [Run]:
//
//	func init() { sdk.Run(counter.New()) }
//	func main() {}
//
// The bundle can be torn down at any instant; what must survive lives in [NVM].
// What one command wrote is one transaction: it is stored before the answer
// leaves, or not at all. NVM.Commit stores earlier, for a PIN counter that has
// to be on the medium before the comparison.
//
// One bundle runs one call at a time. Nothing here may be used from another
// goroutine than the one that called into the App.
//
// Sources: GlobalPlatform VPP Concepts and Interfaces tables 7-8 (signals),
// 7-12 (errors), 7-14; docs/abi.md says where the WebAssembly ABI differs.
package sdk

import "github.com/sspemu/sspemu/internal/vpp"

// ABI is the version of the bundle ABI that this package speaks: major in the
// high byte, minor in the low one.
const ABI = 0x0103

// App is a bundle as its author sees it.
type App interface {
	// Personalise writes the content of the persona to NVM. It is called once,
	// at installation, on an empty NVM and before Init. A *PersonaError refuses
	// the persona and names the place; reading a Doc wrongly (a missing member,
	// another type) refuses it as well, without a word of the App.
	Personalise(doc *Doc) error

	// Init loads the state from NVM. It is called once for every instance,
	// before any APDU.
	Init(reason Reason) error

	// APDU answers one whole command: chaining, GET RESPONSE and Le are the
	// platform's work. Answer data goes to r. c.Data and r are valid during the
	// call only. The logical channel is Channel(c.CLA).
	APDU(c *Command, r *Response) SW

	// Signal tells what happened outside of a command. SignalTimeOut never
	// comes here: see Timer.
	Signal(s Signal)
}

// Reason says why an instance is started.
type Reason int32

// Reasons of on_init (docs/abi.md).
const (
	ReasonStart   Reason = 0 // the bundle becomes active
	ReasonRestart Reason = 1 // a fault ended the instance before; what was not committed is gone
)

// Signal is a bitmap of VPP table 7-8.
type Signal uint32

// Signals of VPP tables 7-8 and 7-14, and those that sspemu adds on free bits.
const (
	SignalTimeOut       = Signal(vpp.TimeOut)
	SignalError         = Signal(vpp.Error)
	SignalException     = Signal(vpp.Exception)
	SignalIPCUpdated    = Signal(vpp.IPCUpdated)
	SignalKillRequested = Signal(vpp.KillRequested) // the bundle is about to be deactivated
	SignalReset         = Signal(vpp.Reset)         // the terminal reset the card; drop volatile state
)

// Has tells whether all bits of t are set in s.
func (s Signal) Has(t Signal) bool { return s&t == t }

// Error is an error number of VPP table 7-12.
type Error = vpp.Errno

// Errors of VPP table 7-12 that the functions of this package give.
const (
	ErrIllegalParameter = vpp.EIllegalParameter
	ErrUnknownID        = vpp.EUnknownID
	ErrAccessDenied     = vpp.EAccessDenied
	ErrInternal         = vpp.EInternal
	ErrNoSpace          = vpp.ENoSpace // ours: the NVM quota is used up
)

// PersonaError refuses a persona: Pointer is the JSON pointer (RFC 6901) of the
// value that is wrong, Reason says in words what is wrong with it.
type PersonaError struct{ Pointer, Reason string }

func (e *PersonaError) Error() string { return e.Pointer + ": " + e.Reason }

// Run registers the App of this bundle. Call it once, from an init function.
func Run(a App) { cur.app = a }
