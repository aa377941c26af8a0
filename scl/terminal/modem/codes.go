package modem

import "fmt"

// CME is an error of the mobile termination: +CME ERROR: <err>.
type CME int

// The errors that this modem has, of 3GPP TS 27.007 clause 9.2.1. That clause was read up
// to number 14 (V6.3.0, Release 18); the others are unverified: they are as in the tables
// of ModemManager and of modem makers, which agree.
const (
	NotAllowed          CME = 3
	NotSupported        CME = 4
	SIMNotInserted      CME = 10
	SIMPINRequired      CME = 11
	SIMPUKRequired      CME = 12
	SIMFailure          CME = 13
	SIMWrong            CME = 15
	IncorrectPassword   CME = 16
	MemoryFull          CME = 20
	InvalidIndex        CME = 21
	NotFound            CME = 22
	IncorrectParameters CME = 50
)

var cmeWords = map[CME]string{
	NotAllowed: "operation not allowed", NotSupported: "operation not supported",
	SIMNotInserted: "SIM not inserted", SIMPINRequired: "SIM PIN required", SIMPUKRequired: "SIM PUK required",
	SIMFailure: "SIM failure", SIMWrong: "SIM wrong", IncorrectPassword: "incorrect password",
	MemoryFull: "memory full", InvalidIndex: "invalid index", NotFound: "not found",
	IncorrectParameters: "Incorrect parameters",
}

// Error is the verbose form (+CMEE=2).
func (e CME) Error() string {
	if s, ok := cmeWords[e]; ok {
		return s
	}
	return fmt.Sprintf("+CME ERROR: %d", int(e))
}

// Result codes of ITU-T V.250 clause 5.7.1, with V1 and V0. Unverified: as manuals of
// modems give them.
var (
	resultOK    = [2]string{"0", "OK"}
	resultError = [2]string{"4", "ERROR"}
)

// syntaxError becomes ERROR: "ERROR is returned normally when error is related to syntax,
// invalid parameters, or TA functionality" (TS 27.007 clause 9.1).
type syntaxError struct{}

func (syntaxError) Error() string { return "ERROR" }
