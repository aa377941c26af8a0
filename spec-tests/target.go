package spectests

import (
	"context"
	"errors"
	"time"

	"github.com/sspemu/sspemu/bundles/iot/ota"
	iot "github.com/sspemu/sspemu/bundles/iot/profile"
	"github.com/sspemu/sspemu/bundles/payment/profile"
	"github.com/sspemu/sspemu/internal/apdu"
	"github.com/sspemu/sspemu/scl"
	"github.com/sspemu/sspemu/scl/terminal"
	"github.com/sspemu/sspemu/transport"
)

// Terminal is what cases are played over: the terminal end of any link.
type Terminal interface {
	// Reset resets the card, by power off and on when cold is set, and gives the
	// Answer-to-Reset.
	Reset(ctx context.Context, cold bool) (atr []byte, err error)
	// Transmit sends a C-APDU and puts the R-APDU into dst[:0], grown where
	// needed.
	Transmit(ctx context.Context, capdu, dst []byte) (rapdu []byte, err error)
}

// Target is what is tested. Only Terminal has to be there; cases that need more
// are reported as not covered.
type Target struct {
	Name     string // for the report
	Terminal Terminal

	// Fresh says that the card is as its persona has it: nothing was done with it before.
	Fresh bool

	// AtOnce says that the terminal gets the whole answer to a command without Le, as on
	// T=1: cases about 61xx and GET RESPONSE are not covered (AnswersAtOnce).
	AtOnce bool

	// Vars are the placeholders of the cases, in hexadecimal. Of the telecom bundle:
	// iccid, imsi, aid_usim, pin1, puk1, pin2, puk2, adm1, k, opc, amf; of the payment
	// bundle, for each application by its name: debit_aid, debit_pan; of the IoT bundle: aid,
	// other_aid, domain_tar. Persona.Tell
	// reads them off a persona. accessor_pin and accessor_token are the secrets of an
	// accessor of each kind that may open the file system gate.
	Vars map[string]string

	// Profile is the persona of a payment card, for cases that need its keys; nil: it
	// is not known.
	Profile *profile.Profile

	// Device is the persona of an IoT SAFE applet, for cases that need the keys of its
	// security domains; nil: it is not known.
	Device  *iot.Profile
	servers map[string]*ota.Server // of its domains, by TAR

	// Document is the travel document of a persona of the eID bundle, with its passwords
	// and trust anchors; nil: it is not known.
	Document *Document

	// Network is the SCL network of the target, for cases about hosts, gates and
	// pipes.
	Network *scl.Network

	// Dial makes one more link to the target, which carries SCL packets, for cases
	// about terminal hosts and what they reach. It gives the controller end, not open
	// yet; close ends the link at the target.
	Dial func(ctx context.Context) (l transport.Link, close func() error, err error)

	// Attach joins the target end of a link to the target, for cases about links;
	// close takes it away.
	Attach func(ctx context.Context, l transport.Link) (close func() error, err error)

	// Platform is the lifecycle of bundles, for the rule that exactly one is
	// active.
	Platform Platform

	// Personalise makes a fresh card with a changed persona. The Target it gives
	// is used for one case and then closed.
	Personalise func(ctx context.Context, changes []Change) (t *Target, close func() error, err error)
}

// State of a bundle, as design.md section 4 has it.
type State string

// States of a bundle.
const (
	Disabled State = "disabled"
	Enabled  State = "enabled"
	Active   State = "active"
)

// Platform is what the cases about the lifecycle ask of the platform. id is the
// name of a bundle.
type Platform interface {
	Bundles() map[string]State
	Enable(ctx context.Context, id string) error
	Disable(ctx context.Context, id string) error
	Activate(ctx context.Context, id string) error
	Delete(ctx context.Context, id string) error
	// Install puts a spare bundle on the platform, disabled, and gives its name.
	Install(ctx context.Context) (id string, err error)
}

// lacks gives the first of the needs that the target has not, "" if none.
func (t *Target) lacks(needs []string) string {
	for _, n := range needs {
		switch n {
		case AbilityNetwork:
			if t.Network == nil {
				return "needs the SCL network of the target"
			}
		case AbilityLink:
			if t.Dial == nil {
				return "needs a link that carries SCL packets"
			}
		case AbilityAttach:
			if t.Attach == nil {
				return "needs a target in this process, to which links can be joined"
			}
		case AbilityPlatform:
			if t.Platform == nil {
				return "needs the platform of the target"
			}
		case AbilityPersonalise:
			if t.Personalise == nil {
				return "needs a card that can be personalised"
			}
		case AbilityWaiting:
			if t.AtOnce {
				return "needs answers that wait behind 61xx, as on T=0: here they come at once"
			}
		case AbilityDocument:
			if t.Document == nil {
				return "needs the persona of the travel document, for its passwords and keys"
			}
		case AbilityProfile:
			if t.Profile == nil {
				return "needs the persona of the card, for its keys"
			}
		default:
			if _, ok := t.Vars[n]; !ok {
				return "nobody told {" + n + "} of the target"
			}
		}
	}
	return ""
}

// AnswersAtOnce tells whether a card, or its reader, gives the answer to a command without
// Le at once. Readers hide the protocol: SELECT of the MF tells.
func AnswersAtOnce(ctx context.Context, t Terminal) (bool, error) {
	if _, err := t.Reset(ctx, true); err != nil {
		return false, err
	}
	c := apdu.Command{INS: 0xA4, P2: 4, Data: []byte{0x3F, 0}}
	r, err := t.Transmit(ctx, c.Append(nil), nil)
	if err != nil {
		return false, err
	}
	data, sw, ok := apdu.Status(r)
	return ok && sw == apdu.OK && len(data) > 0, nil
}

// FromClient makes a Terminal of a client that is open.
func FromClient(c *terminal.Client) Terminal { return client{c} }

type client struct{ *terminal.Client }

// back is how long a card that has gone may take to come back: a case before may
// have made the reader lose it.
const back = 5 * time.Second

func (c client) Reset(ctx context.Context, cold bool) ([]byte, error) {
	if !cold {
		return c.Client.Reset(ctx)
	}
	again := time.NewTicker(100 * time.Millisecond)
	defer again.Stop()
	for end := time.Now().Add(back); ; {
		atr, err := c.PowerOn(ctx)
		if !errors.Is(err, terminal.ErrNoCard) && !errors.Is(err, terminal.ErrRemoved) || time.Now().After(end) {
			return atr, err
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}
