package sdk

import "github.com/sspemu/sspemu/internal/apdu"

// Applet is one application of a bundle that [Applets] selects by its AID.
type Applet interface {
	// Select tells that c selected the applet on channel ch; what it adds to r
	// is the answer (FCI). A status word other than 9000, 61xx, 62xx, 63xx
	// leaves the selection as it was.
	Select(ch int, c *apdu.Command, r *Response) apdu.SW
	// APDU answers a command for the selected applet on channel ch.
	APDU(ch int, c *apdu.Command, r *Response) apdu.SW
}

// Applets shares the APDUs of a bundle among its applets.
type Applets struct{ list []entry }

type entry struct {
	aid    []byte
	applet Applet
}

// Register adds an applet under an AID of 5 to 16 bytes (ISO/IEC 7816-4 8.2.1.2).
func (a *Applets) Register(aid []byte, p Applet) { a.list = append(a.list, entry{aid, p}) }

// APDU serves one command.
func (a *Applets) APDU(c *apdu.Command, r *Response) apdu.SW { return apdu.FileNotFound }

// Reset closes all channels and drops the selection.
func (a *Applets) Reset() {}
