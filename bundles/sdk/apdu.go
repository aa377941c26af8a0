package sdk

import "github.com/sspemu/sspemu/internal/apdu"

// Command is a parsed command APDU (ISO/IEC 7816-3 12.1).
type Command = apdu.Command

// SW is a status word (ISO/IEC 7816-4 5.6).
type SW = apdu.SW

// Channel is the logical channel that a class byte names, 0 to 19 (ISO/IEC
// 7816-4 5.4.1, ETSI TS 102 221 10.1.1).
func Channel(cla byte) int { return apdu.Channel(cla) }

// Class is the class byte cla as it would be on the basic channel: 80 for 81, 83,
// C0 and CF, 00 for 02 and 45. Secure messaging stays visible as bit 4.
func Class(cla byte) byte {
	if cla&0x40 == 0 {
		return cla &^ 0x03
	}
	return cla&0x90 | cla&0x20>>2
}

// Status words of ISO/IEC 7816-4 tables 5 and 6 and ETSI TS 102 221 10.2.1.
const (
	OK                     = apdu.OK
	ProactivePending       = apdu.ProactivePending // 91xx, TS 102 221 10.2.1.1: xx bytes wait for FETCH
	MoreData               = apdu.MoreData         // 61xx, ISO/IEC 7816-4 table 5: xx bytes wait for GET RESPONSE
	WarningNoInfo          = apdu.WarningNoInfo
	EndOfFile              = apdu.EndOfFile // also "unsuccessful search"
	FileDeactivated        = apdu.FileDeactivated
	FileTerminated         = apdu.FileTerminated
	Counter                = apdu.Counter // 63Cx: x tries left
	ExecutionError         = apdu.ExecutionError
	MemoryProblem          = apdu.MemoryProblem
	WrongLength            = apdu.WrongLength
	NoSuchFunctionInCLA    = apdu.NoSuchFunctionInCLA
	ChannelNotSupported    = apdu.ChannelNotSupported
	SecureMessagingNotSup  = apdu.SecureMessagingNotSup
	LastCommandExpected    = apdu.LastCommandExpected
	ChainingNotSupported   = apdu.ChainingNotSupported
	CommandIncompatible    = apdu.CommandIncompatible
	SecurityNotSatisfied   = apdu.SecurityNotSatisfied
	AuthBlocked            = apdu.AuthBlocked
	ReferencedDataInvalid  = apdu.ReferencedDataInvalid
	ConditionsNotSatisfied = apdu.ConditionsNotSatisfied
	NoCurrentEF            = apdu.NoCurrentEF
	WrongData              = apdu.WrongData
	FunctionNotSupported   = apdu.FunctionNotSupported
	FileNotFound           = apdu.FileNotFound
	RecordNotFound         = apdu.RecordNotFound
	NotEnoughMemory        = apdu.NotEnoughMemory
	WrongP1P2              = apdu.WrongP1P2
	LcInconsistentP1P2     = apdu.LcInconsistentP1P2
	ReferencedDataNotFound = apdu.ReferencedDataNotFound
	WrongP1P2NoInfo        = apdu.WrongP1P2NoInfo
	WrongLe                = apdu.WrongLe // 6Cxx: xx bytes are there
	InsNotSupported        = apdu.InsNotSupported
	ClaNotSupported        = apdu.ClaNotSupported
	NoPreciseDiagnosis     = apdu.NoPreciseDiagnosis
	IncreaseMaxReached     = apdu.IncreaseMaxReached // TS 102 221 10.2.1.7
	AuthIncorrectMAC       = apdu.AuthIncorrectMAC   // TS 102 221 10.2.1.7
	SecuritySessionExpired = apdu.SecuritySessionExpired
)
