package scl

// Parameter is one entry in the registry of a gate.
type Parameter struct {
	Get func() []byte            // nil, or nil as its result: cannot be read
	Set func(value []byte) error // nil: cannot be written; the error becomes the response (Profile.Code)
}

// Value is a parameter that only can be read and never changes.
func Value(v []byte) Parameter { return Parameter{Get: func() []byte { return v }} }

// Registry is the table of parameters of a gate, by index. The network answers
// ANY_GET_PARAMETER and ANY_SET_PARAMETER from it. A Registry is a Gate itself,
// one that has parameters and nothing else.
//
// Basis: registries of ETSI TS 102 622.
type Registry map[byte]Parameter

// Opened makes a Registry a Gate.
func (r Registry) Opened(*Pipe) (PipeReceiver, error) { return nil, nil }

// Registry makes a Registry a WithRegistry.
func (r Registry) Registry() Registry { return r }

// get and set carry out the parameters of the two commands.
func (r Registry) get(par []byte) ([]byte, error) {
	if len(par) != 1 {
		return nil, ErrCmdParUnknown
	}
	e, ok := r[par[0]]
	switch {
	case !ok:
		return nil, ErrRegParUnknown
	case e.Get == nil:
		return nil, ErrRegAccessDenied
	}
	v := e.Get()
	if v == nil {
		return nil, ErrRegAccessDenied
	}
	return v, nil
}

func (r Registry) set(par []byte) error {
	if len(par) < 1 {
		return ErrCmdParUnknown
	}
	e, ok := r[par[0]]
	switch {
	case !ok:
		return ErrRegParUnknown
	case e.Set == nil:
		return ErrRegAccessDenied
	}
	return e.Set(par[1:])
}
