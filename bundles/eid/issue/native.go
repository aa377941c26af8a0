//go:build !wasip1

package issue

import "github.com/sspemu/sspemu/internal/rsakey"

// Native is this machine, for whoever needs a document outside of a card.
var Native = Power{rsakey.Generate, rsakey.ModExp}
