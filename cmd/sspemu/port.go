package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/sspemu/sspemu/cmd/sspemu/console"
	"github.com/sspemu/sspemu/internal/apdu"
	"github.com/sspemu/sspemu/scl/terminal"
	"github.com/sspemu/sspemu/transport"
)

// card is what APDUs are exchanged with: a *terminal.Client on a link that carries
// them, or a gateCard.
type card interface {
	PowerOn(ctx context.Context) (atr []byte, err error)
	Reset(ctx context.Context) (atr []byte, err error)
	Transmit(ctx context.Context, capdu, dst []byte) (rapdu []byte, err error)
	Close() error
}

// gateCard is the UICC APDU gate of the active SPB, for links that carry SCL packets
// and nothing else.
type gateCard struct {
	*terminal.Channel // nil: no power
	t                 *terminal.Terminal
}

func (c *gateCard) PowerOn(ctx context.Context) (atr []byte, err error) {
	if c.Channel != nil {
		_ = c.Channel.Close()
		c.Channel = nil
	}
	if c.Channel, err = c.t.APDU(ctx); err != nil {
		c.Channel = nil
		return nil, err
	}
	return c.ATR(), nil
}

func (c *gateCard) Close() error { return c.t.Close() }

// packetsOnly tells whether a link that is not open carries packets and no APDUs.
func packetsOnly(l transport.Link) bool {
	return errors.Is(l.Send(transport.Block, make([]byte, 5)), transport.ErrDirection)
}

// port is a terminal that people type into: the controller end of a link.
type port struct {
	client   card
	link     transport.Link
	inserted chan struct{} // has a token when a card came

	mu      sync.Mutex // one conversation at a time
	powered bool
}

func openPort(ctx context.Context, l transport.Link) (*port, error) {
	p := &port{link: l, inserted: make(chan struct{}, 1)}
	if packetsOnly(l) {
		t, err := terminal.Open(ctx, l, nil)
		if err != nil {
			return nil, err
		}
		p.client = &gateCard{t: t}
		return p, nil
	}
	client := terminal.NewClient(l)
	p.client = client
	client.Notify(func(k transport.Kind) {
		if k == transport.Inserted {
			select {
			case p.inserted <- struct{}{}:
			default:
			}
		}
	})
	if err := client.Open(ctx); err != nil {
		return nil, fmt.Errorf("link %s: %w", l, err)
	}
	return p, nil
}

func (p *port) Close() error { return p.client.Close() }

// waitForCard powers the card on, and waits for one to come as long as ctx lasts.
func (p *port) waitForCard(ctx context.Context) error {
	for {
		_, err := p.client.PowerOn(ctx)
		if !errors.Is(err, terminal.ErrNoCard) {
			p.powered = err == nil
			return err
		}
		select {
		case <-p.inserted:
		case <-ctx.Done():
			return fmt.Errorf("link %s: no card has come", p.link)
		}
	}
}

// converse sends the commands one after the other. A card that is not powered gets
// power first, and so does one that was changed since.
func (p *port) converse(ctx context.Context, q console.APDURequest) (a console.APDUResponse, err error) {
	a = console.APDUResponse{Schema: console.SchemaVersion, Exchanges: []console.Exchange{}}
	commands, err := parseCommands(q.APDUs)
	if err == nil && len(commands) == 0 && q.Reset == "" {
		err = usage(errors.New("no command given (for example 00A40004023F00)"))
	}
	if err != nil {
		return a, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	atr, err := p.reset(ctx, q.Reset)
	if err != nil {
		return a, err
	}
	a.ATR = upperHex(atr)
	for i, c := range commands {
		fetch := !q.Raw && (i+1 == len(commands) || !isGetResponse(commands[i+1]))
		err := p.send(ctx, c, fetch, &a.Exchanges)
		if errors.Is(err, terminal.ErrRemoved) && i == 0 { // another bundle since last time
			if _, err = p.client.PowerOn(ctx); err == nil {
				err = p.send(ctx, c, fetch, &a.Exchanges)
			}
		}
		if err != nil {
			p.powered = false
			return a, err
		}
	}
	return a, nil
}

func (p *port) reset(ctx context.Context, how string) (atr []byte, err error) {
	switch {
	case how == "warm" && p.powered:
		atr, err = p.client.Reset(ctx)
	case how == "warm", how == "cold", how == "" && !p.powered:
		atr, err = p.client.PowerOn(ctx)
	case how == "":
	default:
		return nil, usage(fmt.Errorf("reset %q: there are cold and warm", how))
	}
	if err != nil {
		return nil, err
	}
	p.powered = true
	if how == "" {
		atr = nil // nobody asked for it
	}
	return atr, nil
}

// send exchanges one command; with fetch also those that complete it (ISO/IEC
// 7816-4 5.3.4: 61XX and 6CXX).
func (p *port) send(ctx context.Context, c []byte, fetch bool, to *[]console.Exchange) error {
	for range maxFetch {
		r, err := p.client.Transmit(ctx, c, nil)
		if err != nil {
			return err
		}
		x := console.Exchange{Command: upperHex(c), Response: upperHex(r)}
		if len(c) >= 2 {
			x.Name = apdu.INSName(c[0], c[1])
		}
		_, sw, ok := apdu.Status(r)
		if ok {
			x.SW, x.Words = fmt.Sprintf("%04X", uint16(sw)), sw.Words()
		}
		*to = append(*to, x)
		switch {
		case !fetch || !ok || len(c) < 4:
			return nil
		case sw>>8 == 0x61:
			c = []byte{c[0] &^ chaining, getResponse, 0, 0, byte(sw)}
		case sw>>8 == 0x6C && len(c) == 5 && c[4] != byte(sw):
			c = []byte{c[0], c[1], c[2], c[3], byte(sw)}
		default:
			return nil
		}
	}
	return nil
}

const (
	getResponse = 0xC0
	chaining    = 0x10
	maxFetch    = 1 + 65536/256 // the longest answer, fetched in pieces
)

func isGetResponse(c []byte) bool { return len(c) > 1 && c[1] == getResponse }

// parseCommands reads hexadecimal commands; spaces and colons do not matter.
func parseCommands(list []string) (out [][]byte, err error) {
	for _, s := range list {
		b, err := hex.DecodeString(strings.NewReplacer(" ", "", ":", "").Replace(s))
		if err != nil {
			return nil, usage(fmt.Errorf("command %q: not hexadecimal, two digits a byte", s))
		}
		if len(b) > transport.MaxFrame {
			return nil, usage(fmt.Errorf("command of %d bytes: links carry up to %d", len(b), transport.MaxFrame))
		}
		out = append(out, b)
	}
	return out, nil
}

func upperHex(b []byte) string { return strings.ToUpper(hex.EncodeToString(b)) }
