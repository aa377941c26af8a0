package vm

import (
	"errors"
	"fmt"
	"strings"

	"github.com/tetratelabs/wazero/sys"
)

// FaultKind says how a bundle failed.
type FaultKind uint8

// The ways in which a bundle fails.
const (
	Trap         FaultKind = iota // it did what WebAssembly forbids, or gave up
	TimeOut                       // a call ran longer than its budget
	Exit                          // it ended itself
	BadPointer                    // it handed over a pointer outside of its memory
	BadAnswer                     // it lied about an answer: too long, or no error of the ABI
	BadInterface                  // its areas or its ABI version are wrong
	NotStored                     // what it wrote could not be stored at the end of a call
	Refused                       // on_init or on_personalise said no
)

var faultNames = [...]string{"trap", "time-out", "exit", "bad pointer", "bad answer", "bad interface", "not stored", "refused"}

// String is the kind in words.
func (k FaultKind) String() string { return faultNames[k] }

// Fault ends an Instance: every further call gives the same Fault.
type Fault struct {
	Kind   FaultKind
	Call   string // the export that was called
	Detail string // one line
}

func (f *Fault) Error() string { return fmt.Sprintf("bundle %s in %s: %s", f.Kind, f.Call, f.Detail) }

// newFault tells what err of a call means.
func newFault(call string, err error) *Fault {
	var f *Fault
	if errors.As(err, &f) { // from a host function
		return &Fault{f.Kind, call, f.Detail}
	}
	var exit *sys.ExitError
	if errors.As(err, &exit) {
		return &Fault{Exit, call, fmt.Sprintf("it ended itself with code %d", exit.ExitCode())}
	}
	detail, _, _ := strings.Cut(err.Error(), "\n")
	return &Fault{Trap, call, strings.TrimPrefix(detail, "wasm error: ")}
}
