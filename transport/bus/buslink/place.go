package buslink

import (
	"slices"

	"github.com/sspemu/sspemu/transport"
	"github.com/sspemu/sspemu/transport/bus"
)

// Place is the SSP's end at a place on a real bus whose URL may have params.
func (c Config) Place(u transport.URL, params []string, s bus.Socket) (transport.Link, error) {
	name, own, err := protocol(u)
	if err != nil {
		return nil, err
	}
	if err := u.Only(slices.Concat(params, own)...); err != nil {
		return nil, err
	}
	return c.target(u, name, s)
}
