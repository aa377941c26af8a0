package spectests

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/sspemu/sspemu/internal/apdu"
	"github.com/sspemu/sspemu/scl/terminal"
	"github.com/sspemu/sspemu/transport"
	"github.com/sspemu/sspemu/transport/bus/buslink"
	"github.com/sspemu/sspemu/transport/i2c"
	"github.com/sspemu/sspemu/transport/iso7816"
	"github.com/sspemu/sspemu/transport/spi"
)

// cellChecks are about one protocol over one link, both ends of which are ours.
var cellChecks = map[string]check{
	"cell": {doc: "PROTOCOL (APDU, HTTP, CoAP) over a link of SCHEME (simspi, simi2c with bit errors of 1 in 100,000; serial, a pseudo-terminal) that speaks LAYER (t1prime, shdlc; t0, t1) gives what it gives over mem:", args: 3, needs: []string{AbilityAttach}, run: checkCell},
}

// cellRounds is how often a cell asks the same.
const cellRounds = 50

// asker opens a terminal on a link: get asks the bundle, end ends the terminal.
type asker func(d *Dialogue, l transport.Link) (get func() ([]byte, error), end func() error, err error)

// checkCell asks over the link what it has asked over mem:, and compares.
func checkCell(d *Dialogue, args []string) error {
	ask, ok := map[string]asker{"APDU": cellAPDU, "HTTP": cellHTTP, "CoAP": cellCoAP}[args[0]]
	if !ok {
		return fmt.Errorf("%q is no protocol (APDU, HTTP, CoAP)", args[0])
	}
	controller, target := transport.Mem()
	want, err := cellOnce(d, ask, controller, target)
	if err != nil {
		return fmt.Errorf("in memory: %w", err)
	}
	dir, err := os.MkdirTemp("", "sspemu-cell")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	near := fmt.Sprintf("%s:cell?protocol=%s&ber=1e-5&seed=7", args[1], args[2])
	far := near
	if args[1] == "serial" {
		tty := filepath.Join(dir, "tty")
		near, far = "serial:"+tty+"?protocol="+args[2], "serial:pty:"+tty+"?protocol="+args[2]
	}
	c := buslink.Config{SHDLC: terminal.SHDLCConfig(d.profile())}
	tables := []transport.Schemes{iso7816.Schemes, spi.With(c), i2c.With(c)}
	if controller, err = transport.Open(near, transport.Controller, tables...); err != nil {
		return err
	}
	if target, err = transport.Open(far, transport.Target, tables...); err != nil {
		return err
	}
	gone, err := d.target.Attach(d.ctx, terminal.AsTarget(target, d.profile()))
	if err != nil {
		return err
	}
	defer func() { _ = gone() }()
	get, end, err := ask(d, controller)
	if err != nil {
		return err
	}
	defer func() { _ = end() }()
	octets, start := 0, time.Now()
	for i := range cellRounds {
		got, err := get()
		if err != nil {
			return fmt.Errorf("exchange %d: %w", i+1, err)
		}
		if !bytes.Equal(want, got) {
			return fmt.Errorf("exchange %d: %d octets over the link, not the %d of memory", i+1, len(got), len(want))
		}
		octets += len(got)
	}
	took := time.Since(start).Seconds()
	d.figure = fmt.Sprintf("%.0f exchanges/s, %.0f kB/s of answers", cellRounds/took, float64(octets)/1e3/took)
	return nil
}

func cellOnce(d *Dialogue, ask asker, controller, target transport.Link) ([]byte, error) {
	gone, err := d.target.Attach(d.ctx, target)
	if err != nil {
		return nil, err
	}
	defer func() { _ = gone() }()
	get, end, err := ask(d, controller)
	if err != nil {
		return nil, err
	}
	defer func() { _ = end() }()
	return get()
}

// cellAPDU selects the MF: by commands of the link where it carries those, else through
// the UICC APDU gate.
func cellAPDU(d *Dialogue, l transport.Link) (get func() ([]byte, error), end func() error, err error) {
	if _, packets := l.(transport.PacketCarrier); !packets {
		return cellReader(d, l)
	}
	t, end, err := cellTerminal(d, l)
	if err != nil {
		return nil, nil, err
	}
	c, err := t.APDU(d.ctx)
	if err != nil {
		return nil, nil, errors.Join(err, end())
	}
	return func() ([]byte, error) { return c.Transmit(d.ctx, selectMF, nil) }, end, nil
}

func cellReader(d *Dialogue, l transport.Link) (get func() ([]byte, error), end func() error, err error) {
	ctx, cancel := context.WithTimeout(d.ctx, patience)
	defer cancel()
	c := terminal.NewClient(l)
	inserted := make(chan struct{}, 1)
	c.Notify(func(k transport.Kind) {
		if k == transport.Inserted {
			select {
			case inserted <- struct{}{}:
			default:
			}
		}
	})
	if err := c.Open(d.ctx); err != nil {
		return nil, nil, err
	}
	select {
	case <-inserted:
		_, err = c.PowerOn(ctx)
	case <-ctx.Done():
		err = fmt.Errorf("link %s: no card has come within %v", l, patience)
	}
	if err != nil {
		return nil, nil, errors.Join(err, c.Close())
	}
	return func() ([]byte, error) {
		r, err := c.Transmit(d.ctx, selectMF, nil)
		if err == nil && len(r) == 2 && r[0] == byte(apdu.MoreData>>8) { // T=0
			r, err = c.Transmit(d.ctx, []byte{0x00, 0xC0, 0x00, 0x00, r[1]}, nil)
		}
		return r, err
	}, c.Close, nil
}

// selectMF wants the FCP in the answer.
var selectMF = unhex("00A40004023F0000")

func cellTerminal(d *Dialogue, l transport.Link) (*terminal.Terminal, func() error, error) {
	t, err := terminal.Open(d.ctx, terminal.AsController(l, d.profile(), patience), d.profile())
	if err != nil {
		return nil, nil, err
	}
	return t, t.Close, nil
}

// cellHTTP gets the page of the bundle.
func cellHTTP(d *Dialogue, l transport.Link) (get func() ([]byte, error), end func() error, err error) {
	t, end, err := cellTerminal(d, l)
	if err != nil {
		return nil, nil, err
	}
	h := t.HTTP()
	return func() ([]byte, error) {
		req, err := http.NewRequestWithContext(d.ctx, http.MethodGet, "http://ssp/", nil)
		if err != nil {
			return nil, err
		}
		resp, err := h.RoundTrip(req)
		if err != nil {
			return nil, err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return nil, errors.New(resp.Status)
		}
		return io.ReadAll(resp.Body)
	}, end, nil
}

// cellCoAP gets the list of resources.
func cellCoAP(d *Dialogue, l transport.Link) (get func() ([]byte, error), end func() error, err error) {
	t, leave, err := cellTerminal(d, l)
	if err != nil {
		return nil, nil, err
	}
	c, err := t.CoAP(d.ctx)
	if err != nil {
		return nil, nil, errors.Join(err, leave())
	}
	return func() ([]byte, error) {
		ctx, cancel := context.WithTimeout(d.ctx, patience)
		defer cancel()
		resp, err := c.Get(ctx, "/.well-known/core")
		if err != nil {
			return nil, err
		}
		return resp.ReadBody()
	}, func() error { return errors.Join(c.Close(), leave()) }, nil
}
