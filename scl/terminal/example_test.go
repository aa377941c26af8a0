package terminal_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"path/filepath"

	"github.com/sspemu/sspemu/bundles"
	"github.com/sspemu/sspemu/primary"
	"github.com/sspemu/sspemu/primary/nvm"
	"github.com/sspemu/sspemu/primary/vm"
	"github.com/sspemu/sspemu/scl"
	"github.com/sspemu/sspemu/scl/capability"
	"github.com/sspemu/sspemu/scl/gate"
	"github.com/sspemu/sspemu/scl/terminal"
	"github.com/sspemu/sspemu/transport"
)

// emulator starts an SSP in this process, with the example bundle active, and gives
// the terminal's end of a link to it. With a real one, the link would be made by
// transport.Open.
func emulator(ctx context.Context) (transport.Link, func()) {
	cache, err := os.UserCacheDir()
	if err != nil {
		log.Fatal(err)
	}
	engine, err := vm.New(vm.Config{CacheDir: filepath.Join(cache, "sspemu")})
	if err != nil {
		log.Fatal(err)
	}
	n := scl.NewNetwork(scl.DefaultProfile(), nil)
	n.Exclusive(func() {
		err = gate.Standard(n.Controller(), gate.Info{VendorName: "sspemu", Exchange: func([]byte) ([]byte, error) {
			return capability.SSPCapability{Release: capability.Version{Major: 15}, VendorName: "sspemu"}.Encode()
		}})
	})
	if err != nil {
		log.Fatal(err)
	}
	p, err := primary.New(ctx, primary.Config{
		State: nvm.OpenMemory(nvm.Options{}), Engine: engine, Network: n, Active: "example",
		Builtins: []primary.Builtin{{Name: "example", Enabled: true, Open: func() ([]byte, error) { return bundles.Open("example") }}},
	})
	if err != nil {
		log.Fatal(err)
	}
	controller, target := transport.Mem()
	a, err := terminal.NewAdapter(n, target)
	if err == nil {
		err = a.Open(ctx)
	}
	if err != nil {
		log.Fatal(err)
	}
	return controller, func() {
		_ = a.Close()
		_ = p.Close()
		_ = engine.Close()
	}
}

// A terminal opens a link, exchanges capabilities, looks around, and then speaks
// APDUs, HTTP and CoAP with the active bundle.
func Example() {
	ctx := context.Background()
	link, end := emulator(ctx)
	defer end()
	t, err := terminal.Open(ctx, link, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer t.Close()

	mine, err := capability.TerminalCapability{Release: capability.Version{Major: 15}, VendorName: "ACME"}.Encode()
	if err != nil {
		log.Fatal(err)
	}
	der, err := t.Capabilities(ctx, mine)
	if err != nil {
		log.Fatal(err)
	}
	ssp, err := capability.ParseSSP(der)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("class:", ssp.Class)

	hosts, err := t.Hosts(ctx)
	if err != nil {
		log.Fatal(err)
	}
	for _, h := range hosts[:2] {
		fmt.Printf("host %02X of %s: gates %02X\n", h.ID, h.Vendor, h.Gates)
	}

	apdu, err := t.APDU(ctx)
	if err != nil {
		log.Fatal(err)
	}
	defer apdu.Close()
	r, err := apdu.Transmit(ctx, []byte{0x00, 0xA4, 0x04, 0x00, 0x00}, nil)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("SELECT: %X\n", r[len(r)-2:])

	client := http.Client{Transport: t.HTTP()}
	resp, err := client.Post("http://bundle/counter", "", nil)
	if err != nil {
		log.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("POST /counter: %s: %s", resp.Status, body)

	things, err := t.CoAP(ctx)
	if err != nil {
		log.Fatal(err)
	}
	defer things.Close()
	answer, err := things.Get(ctx, "/counter")
	if err != nil {
		log.Fatal(err)
	}
	text, err := answer.ReadBody()
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("GET coap:/counter: %v: %s\n", answer.Code(), text)

	// Output:
	// class: integrated
	// host 00 of sspemu: gates [04 05]
	// host 02 of sspemu: gates [04 05 30 31 32 33]
	// SELECT: 9000
	// POST /counter: 200 OK: 42
	// GET coap:/counter: Content: 42
}
