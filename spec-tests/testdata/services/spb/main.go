// Command spb is the bundle of package services as a WebAssembly module.
package main

import (
	"github.com/sspemu/sspemu/bundles/sdk"
	"github.com/sspemu/sspemu/spec-tests/testdata/services"
)

func init() { sdk.Run(services.New()) }

func main() {}
