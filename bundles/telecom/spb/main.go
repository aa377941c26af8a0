// Command spb is the telecom bundle as a WebAssembly module; `sspemu bundle pack`
// builds it.
package main

import (
	"github.com/sspemu/sspemu/bundles/sdk"
	"github.com/sspemu/sspemu/bundles/telecom"
)

func init() { sdk.Run(telecom.New()) }

func main() {}
