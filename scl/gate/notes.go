package gate

import (
	"fmt"

	"github.com/sspemu/sspemu/internal/apdu"
)

// commandNote says what a C-APDU is; it is only made when somebody listens.
func commandNote(b []byte) string {
	c, err := apdu.Parse(b)
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf("case %d, channel %d, Nc %d, Ne %d", c.Case(), apdu.Channel(c.CLA), len(c.Data), c.Ne)
}

// responseNote says what an R-APDU is.
func responseNote(b []byte) string {
	data, sw, ok := apdu.Status(b)
	if !ok {
		return "shorter than a status word"
	}
	return fmt.Sprintf("%d bytes, SW %04X", len(data), uint16(sw))
}
