package ota

import (
	"context"
	"errors"
	"fmt"

	"github.com/sspemu/sspemu/internal/scp80"
)

// ErrCounter is a card that takes no counter.
var ErrCounter = errors.New("ota: the card takes no counter")

// FindCounter looks for the counter of a card that others have administered, with packets
// that hold an empty script: away from the counter of s in steps that double until the card
// does not find it low, and, where the domain wants exactly the next one, halving the way
// back. Counter is that of the packet that the card accepted. The error is that of another
// refusal, or ErrCounter.
func (s *Server) FindCounter(ctx context.Context) error {
	ask, spi := s.Header.SPI, s.Header.SPI
	if ask.PoR() != scp80.PoRAlways { // without proof the search would be blind
		ask[1] = ask[1]&^3 | 1
	}
	try := func(n uint64) (st scp80.Status, err error) {
		s.Header.SPI, s.Counter = ask, n-1
		_, err = s.byPacket(ctx, scp80.Script(scp80.Definite), scp80.Definite)
		s.Header.SPI = spi
		var refused *StatusError
		if errors.As(err, &refused) && (refused.Status == scp80.CounterLow || refused.Status == scp80.CounterHigh) {
			return refused.Status, nil
		}
		return scp80.OK, err
	}
	low, high := s.Counter, uint64(scp80.MaxCounter)+1 // the counter to find is between them
	for step, n := uint64(1), low+1; low+1 < high; {
		st, err := try(n)
		switch {
		case err != nil:
			return err
		case st == scp80.OK:
			return nil
		case st == scp80.CounterLow:
			low, step = n, min(2*step, high)
			if n = low + step; n >= high {
				n = low + (high-low)/2
			}
		default:
			high = n
			n = low + (high-low)/2
		}
	}
	return fmt.Errorf("%w between %d and %d", ErrCounter, low, high)
}
