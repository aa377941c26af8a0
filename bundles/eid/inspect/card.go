package inspect

import (
	"context"
	"errors"
	"fmt"

	"github.com/sspemu/sspemu/internal/apdu"
)

// Card is the card at the other end of a link. What it answers is taken as it comes: 61XX
// and 6CXX are the caller's, see Exchange.
type Card interface {
	// Transmit sends a C-APDU and gives the R-APDU in dst[:0], grown where needed.
	Transmit(ctx context.Context, capdu, dst []byte) (rapdu []byte, err error)
}

// ErrEndless: a card goes on saying that there is more.
var ErrEndless = errors.New("the card says 61XX for ever: an answer has 65536 octets at most (ISO/IEC 7816-4 5.3.4)")

// longestAnswer is how many octets a response may have, fetched in pieces.
const longestAnswer = 1 << 16

// Exchange sends a command and fetches what the card says is waiting; a command whose Le
// was wrong is sent once more with the right one (ISO/IEC 7816-4 5.3.4). The answer is
// bounded, whatever the card says.
func Exchange(ctx context.Context, c Card, capdu []byte) (data []byte, sw apdu.SW, err error) {
	if len(capdu) < 4 {
		return nil, 0, fmt.Errorf("a command of %d octets", len(capdu))
	}
	send, again, empty := capdu, false, 0
	for {
		r, err := c.Transmit(ctx, send, nil)
		if err != nil {
			return nil, 0, err
		}
		part, sw, ok := apdu.Status(r)
		if !ok {
			return nil, 0, fmt.Errorf("the card answers %d octets, which is no status word", len(r))
		}
		if data = append(data, part...); len(data) > longestAnswer {
			return nil, 0, ErrEndless
		}
		if len(part) > 0 {
			empty = 0
		}
		switch {
		case sw>>8 == 0x61:
			if empty++; empty > 3 {
				return nil, 0, ErrEndless
			}
			send = []byte{capdu[0] &^ 0x1C, 0xC0, 0, 0, byte(sw)} // GET RESPONSE, never protected itself
		case sw>>8 == 0x6C && !again && len(send) == 5:
			again = true
			send = append(append([]byte(nil), send[:4]...), byte(sw))
		default:
			return data, sw, nil
		}
	}
}
