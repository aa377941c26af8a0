// Command spb is the payment bundle as a WebAssembly module; `sspemu bundle pack`
// builds it.
package main

import (
	"github.com/sspemu/sspemu/bundles/payment"
	"github.com/sspemu/sspemu/bundles/sdk"
)

func init() { sdk.Run(payment.New()) }

func main() {}
