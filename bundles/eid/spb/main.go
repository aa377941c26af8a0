// Command spb is the eID bundle as a WebAssembly module; `sspemu bundle pack` builds it.
package main

import (
	"github.com/sspemu/sspemu/bundles/eid"
	"github.com/sspemu/sspemu/bundles/sdk"
)

func init() { sdk.Run(eid.New()) }

func main() {}
