// Command spb is the example bundle as a WebAssembly module; `sspemu bundle pack`
// builds it.
package main

import (
	"github.com/sspemu/sspemu/bundles/sdk"
	"github.com/sspemu/sspemu/bundles/sdk/example"
)

func init() { sdk.Run(example.New()) }

func main() {}
