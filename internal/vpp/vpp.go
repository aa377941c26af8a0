// Package vpp holds the numbers and names that sspemu takes from the
// GlobalPlatform Virtual Primary Platform, the interface between a Primary
// Platform and a bundle to which ETSI TS 103 666-2 7.4 and 8.1 defer.
//
//	bundle <── docs/abi.md ──> primary/vm ── Errno, Signal, limits ──> this page
//	install, enable, ... <──── primary ──── Command, Response ───────> this page
//
// Source of all of them: VPP Concepts and Interfaces 1.0.x, tables 7-2 to 7-14,
// as an open prototype transcribes them (facts: KaisserbenDll/tock). Where the
// text was not at hand or the transcription is doubtful, the word unverified
// stands beside the constant. What sspemu adds is marked "ours".
package vpp

import "strconv"

// Errno is an error of table 7-12. The ABI returns it to a bundle as a negative
// number.
type Errno int32

// Errors of table 7-12.
const (
	ENone             Errno = 0
	EUnknownUUID      Errno = 1
	ESevere           Errno = 2
	EIllegalParameter Errno = 3
	EUnknownID        Errno = 4
	EUnknownHandle    Errno = 5
	EUnknownPriority  Errno = 6
	EAccessDenied     Errno = 7
	EInternal         Errno = 8
	EHandleNotAccess  Errno = 9
	ENotAProcess      Errno = 10
	EVendorBase       Errno = 32
	ENoSpace          Errno = EVendorBase     // ours: the NVM quota of the bundle is used up
	ENoCredit         Errno = EVendorBase + 1 // ours: the other end of the pipe has to read first
	EMax              Errno = 255
)

// Error is the name of the error in words.
func (e Errno) Error() string {
	switch e {
	case ENone:
		return "no error"
	case EUnknownUUID:
		return "unknown UUID"
	case ESevere:
		return "severe error"
	case EIllegalParameter:
		return "illegal parameter"
	case EUnknownID:
		return "unknown identifier"
	case EUnknownHandle:
		return "unknown handle"
	case EUnknownPriority:
		return "unknown priority"
	case EAccessDenied:
		return "access denied"
	case EInternal:
		return "internal error"
	case EHandleNotAccess:
		return "handle not accessed"
	case ENotAProcess:
		return "handle is not a process"
	case ENoSpace:
		return "no space left in the bundle's NVM"
	case ENoCredit:
		return "no credit: the other end of the pipe has to read first"
	}
	return "error " + strconv.Itoa(int(e))
}

// Signal is a bitmap of tables 7-8 and 7-14.
type Signal uint32

// Signals of table 7-8 and cross-domain signals of table 7-14. DOMAIN_BASE_n is
// 8 << n.
const (
	TimeOut       Signal = 0x1
	Error         Signal = 0x2
	Exception     Signal = 0x4
	IPCUpdated    Signal = 8 << 0
	KillRequested Signal = 8 << 1 // MGT to MAIN: end in MK_APP_STOP_GRACEFUL_TICKS
	AppRestart    Signal = 8 << 2
	KillItself    Signal = 8 << 3
	Reset         Signal = 8 << 4 // ours: the terminal reset the card; volatile state is to be dropped
)

// Limits of table 7-9.
const (
	StopGracefulTicks = 10    // MK_APP_STOP_GRACEFUL_TICKS
	IPCComLength      = 4096  // MK_IPC_COM_LENGTH: least length of an IPC between MAIN and COM
	IPCSizeLimit      = 32768 // MK_IPC_SIZE_LIMIT; ours is MaxIPC
	IPCLimit          = 64    // MK_IPC_LIMIT, per firmware
	MailboxLimit      = 64    // MK_MAILBOX_LIMIT, per firmware
	ProcessLimit      = 32    // MK_PROCESS_LIMIT, per firmware
	MinStacksSum      = 24000 // MK_MIN_STACKS_SUM_SUPPORTED, bytes; the source writes it in decimal: unverified
)

// MaxIPC is the longest IPC area of a bundle in bytes. Ours: MK_IPC_SIZE_LIMIT
// would not hold an extended APDU, which is one message here.
const MaxIPC = 128 * 1024

// TicksPerSecond of MK_TIME_t. Ours: VPP leaves the length of a tick to the
// platform (unverified).
const TicksPerSecond = 1000

// FirmwareType of table 7-6.
type FirmwareType uint8

// Firmware types of table 7-6.
const (
	App    FirmwareType = 0x01
	VPP    FirmwareType = 0x02
	SysApp FirmwareType = 0x04
	LLOS   FirmwareType = 0x08
)

// Command is a command of the firmware management service.
type Command uint8

// Commands behind install, enable, disable and delete (firmware management
// service, facts A7).
const (
	StoreFirmwareHeader    Command = 0x00
	RetrieveFirmwareHeader Command = 0x01
	AllocateFirmware       Command = 0x02
	DeleteFirmware         Command = 0x03
	EnableFirmware         Command = 0x04
	DisableFirmware        Command = 0x05
	IsFirmwareEnabled      Command = 0x06
)

var commandNames = [...]string{
	"Store_Firmware_Header", "Retrieve_Firmware_Header", "Allocate_Firmware", "Delete_Firmware",
	"Enable_Firmware", "Disable_Firmware", "Is_Firmware_Enabled",
}

// String is the name of the command.
func (c Command) String() string {
	if int(c) < len(commandNames) {
		return commandNames[c]
	}
	return "command " + strconv.Itoa(int(c))
}

// Response is a response code of the firmware management service.
type Response uint8

// Response codes of the firmware management service.
const (
	RNone             Response = 0x00
	RIllegalParameter Response = 0x01
	RInternal         Response = 0x02
	RUnknownUUID      Response = 0x03
	RCommandNOK       Response = 0x04
)

var responseNames = [...]string{"NONE", "ILLEGAL_PARAMETER", "INTERNAL", "UNKNOWN_UUID", "COMMAND_NOK"}

// String is the name of the response code.
func (r Response) String() string {
	if int(r) < len(responseNames) {
		return responseNames[r]
	}
	return "response " + strconv.Itoa(int(r))
}
