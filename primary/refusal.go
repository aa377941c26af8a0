package primary

import (
	"errors"

	"github.com/sspemu/sspemu/internal/vpp"
)

// Why an operation is refused, one for each decision a caller can take.
var (
	ErrUnknown  = errors.New("there is no such bundle")
	ErrDisabled = errors.New("it is disabled")
	ErrActive   = errors.New("it is active")
	ErrInactive = errors.New("it is not the active bundle")
	ErrName     = errors.New("another bundle has its name")
	ErrClass    = errors.New("an SSP of class embedded1 has one operating system and no bundles to manage")
	ErrPackage  = errors.New("the package cannot be used")
	ErrPersona  = errors.New("the persona is refused")
	ErrClosed   = errors.New("the platform is closed")
)

// Refusal is an operation that the state of a bundle does not allow. It matches
// its reason with errors.Is.
type Refusal struct {
	Op     string // "activate"
	Bundle string // as the caller named it
	Reason error  // one of the errors above
	Do     string // what to do; "" when nothing helps
}

func (r *Refusal) Error() string {
	s := r.Op + " " + r.Bundle + ": " + r.Reason.Error()
	if r.Do != "" {
		s += " (" + r.Do + ")"
	}
	return s
}

func (r *Refusal) Unwrap() error { return r.Reason }

// Response is the response code of the VPP firmware management service for an
// error of this package.
func Response(err error) vpp.Response {
	switch {
	case err == nil:
		return vpp.RNone
	case errors.Is(err, ErrUnknown):
		return vpp.RUnknownUUID
	case errors.Is(err, ErrPackage), errors.Is(err, ErrPersona):
		return vpp.RIllegalParameter
	}
	var r *Refusal
	if errors.As(err, &r) {
		return vpp.RCommandNOK
	}
	return vpp.RInternal
}
