// Package mrtd is the inspection system for travel documents: it gets access to the
// chip, reads it, and verifies all that can be verified.
//
//	Config (passwords, anchors) ──> Inspect ──APDU──> chip
//	                                   │
//	                                   └─> inspect.Report: checks with clause, data, portrait
//
// Sources: ICAO Doc 9303-10 (files), -11 (protocols; the procedure is 4.2), -12 (PKI); BSI
// TR-03110-1, -3 (extended access).
package mrtd

import (
	"context"
	"errors"

	"github.com/sspemu/sspemu/bundles/eid/inspect"
)

// Config is what the inspection system knows.
type Config struct{}

// Inspect reads and verifies the document; the error is what kept it from going on.
func Inspect(ctx context.Context, card inspect.Card, c Config, r *inspect.Report) error {
	r.Kind = "Travel document"
	return errors.New("not there yet")
}
