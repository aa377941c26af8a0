// Command spb is the IoT bundle as a WebAssembly module; `sspemu bundle pack` builds it.
package main

import (
	"github.com/sspemu/sspemu/bundles/iot"
	"github.com/sspemu/sspemu/bundles/sdk"
)

func init() { sdk.Run(iot.New()) }

func main() {}
