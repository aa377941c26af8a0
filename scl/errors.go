package scl

import "errors"

// The responses of a gate as errors. The codes on the wire are the profile's;
// Profile.Err and Profile.Code go from one to the other.
var (
	ErrNotConnected     = errors.New("scl: ANY_E_NOT_CONNECTED: the destination host is not in the network")
	ErrCmdParUnknown    = errors.New("scl: ANY_E_CMD_PAR_UNKNOWN: the parameters of the command are wrong")
	ErrNOK              = errors.New("scl: ANY_E_NOK: the gate could not do it")
	ErrNoPipesAvailable = errors.New("scl: ADM_E_NO_PIPES_AVAILABLE: every dynamic pipe is in use")
	ErrRegParUnknown    = errors.New("scl: ANY_E_REG_PAR_UNKNOWN: the registry has no such parameter")
	ErrPipeNotOpened    = errors.New("scl: ANY_E_PIPE_NOT_OPENED: the pipe is not open")
	ErrCmdNotSupported  = errors.New("scl: ANY_E_CMD_NOT_SUPPORTED: the gate does not know the command")
	ErrInhibited        = errors.New("scl: ANY_E_INHIBITED: the gate does not take the command now")
	ErrTimeout          = errors.New("scl: ANY_E_TIMEOUT: the gate took too long")
	ErrRegAccessDenied  = errors.New("scl: ANY_E_REG_ACCESS_DENIED: the parameter cannot be read or written so")
	ErrPipeAccessDenied = errors.New("scl: ANY_E_PIPE_ACCESS_DENIED: the pipe is not this host's")
	ErrAuthentication   = errors.New("scl: ANY_E_AUTHENTICATION: the credential is wrong or the accessor is blocked")
	errUnknownResponse  = errors.New("scl: the response code is none of the profile")
)

// What goes wrong on this side, before a gate is asked.
var (
	// ErrNoPipe: no pipe with that identifier ends at this host.
	ErrNoPipe = errors.New("scl: no such pipe")
	// ErrPipeDeleted: the pipe was deleted, or one of its hosts left the network.
	ErrPipeDeleted = errors.New("scl: the pipe is deleted")
	// ErrPipeOpen: the pipe is open already.
	ErrPipeOpen = errors.New("scl: the pipe is open")
	// ErrNoCredit: the other end of the pipe has to read first, or sent what it had no
	// credit for.
	ErrNoCredit = errors.New("scl: no credit")
	// ErrNoResponse: the command was delivered and no response came before Call returned.
	ErrNoResponse = errors.New("scl: the gate gave no response")
	// ErrBusy: a command on this pipe still waits for its response.
	ErrBusy = errors.New("scl: a command is under way on this pipe")
	// ErrTaken: the identifier of a host or gate is in use, or the range is used up.
	ErrTaken = errors.New("scl: identifier is taken")
	// ErrNotRegistered: the host is not, or no longer, in the network.
	ErrNotRegistered = errors.New("scl: the host is not registered")
)

type responseCode struct {
	err  error
	code *byte
}

func (p *Profile) responses() []responseCode {
	r := &p.Response
	return []responseCode{
		{nil, &r.AnyOK}, {ErrNotConnected, &r.AnyENotConnected}, {ErrCmdParUnknown, &r.AnyECmdParUnknown},
		{ErrNOK, &r.AnyENOK}, {ErrNoPipesAvailable, &r.AdmENoPipesAvailable}, {ErrRegParUnknown, &r.AnyERegParUnknown},
		{ErrPipeNotOpened, &r.AnyEPipeNotOpened}, {ErrCmdNotSupported, &r.AnyECmdNotSupported},
		{ErrInhibited, &r.AnyEInhibited}, {ErrTimeout, &r.AnyETimeout}, {ErrRegAccessDenied, &r.AnyERegAccessDenied},
		{ErrPipeAccessDenied, &r.AnyEPipeAccessDenied}, {ErrAuthentication, &r.AnyEAuthentication},
	}
}

// Err is the error of a response code, nil for ANY_OK.
func (p *Profile) Err(code byte) error {
	for _, r := range p.responses() {
		if *r.code == code {
			return r.err
		}
	}
	return errUnknownResponse
}

// Code is the response code for an error: ANY_OK for nil, ANY_E_NOK for an error
// that has no code of its own.
func (p *Profile) Code(err error) byte {
	for _, r := range p.responses() {
		if errors.Is(err, r.err) {
			return *r.code
		}
	}
	return p.Response.AnyENOK
}
