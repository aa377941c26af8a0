package console

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// What a Client can meet, one for each decision its user can take.
var (
	// ErrNotRunning: nobody listens at the address.
	ErrNotRunning = errors.New("no emulator is running there")
	// ErrForeign: somebody else does.
	ErrForeign = errors.New("the answer is not that of an sspemu")
	// ErrEnded: the emulator ended while its events were awaited.
	ErrEnded = errors.New("the emulator ended")
)

var _ Emulator = (*Client)(nil)

// Client talks to the API of a running emulator.
type Client struct {
	Address string // HOST:PORT
	Token   string
}

// do sends a request; in is JSON unless it is bytes; out may be nil.
func (c *Client) do(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	kind := "application/json"
	switch in := in.(type) {
	case nil:
	case []byte:
		body, kind = bytes.NewReader(in), "application/wasm"
	default:
		b, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(b)
	}
	resp, err := c.send(ctx, method, path, kind, body)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if out == nil {
		return nil
	}
	if err := json.NewDecoder(resp.Body).Decode(out); err != nil {
		return fmt.Errorf("control API at %s: %w: %w", c.Address, ErrForeign, err)
	}
	return nil
}

func (c *Client) send(ctx context.Context, method, path, kind string, body io.Reader) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://"+c.Address+prefix+path, body)
	if err != nil {
		return nil, fmt.Errorf("control API at %q: %w", c.Address, err)
	}
	req.Header.Set("Content-Type", kind)
	if c.Token != "" {
		req.Header.Set("Authorization", "Bearer "+c.Token)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		var op *net.OpError
		if errors.As(err, &op) && op.Op == "dial" && ctx.Err() == nil {
			return nil, fmt.Errorf("control API at %s: %w", c.Address, ErrNotRunning)
		}
		return nil, fmt.Errorf("control API at %s: %w", c.Address, err)
	}
	if resp.StatusCode < 300 {
		return resp, nil
	}
	defer resp.Body.Close()
	p := problem(resp.StatusCode, "%s", resp.Status)
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxJSON)).Decode(p); err != nil {
		return nil, fmt.Errorf("control API at %s: %w: %s", c.Address, ErrForeign, resp.Status)
	}
	return nil, p
}

// Status asks how the emulator is.
func (c *Client) Status(ctx context.Context) (s Status, err error) {
	if err = c.do(ctx, http.MethodGet, "/status", nil, &s); err == nil && s.Schema == 0 {
		err = fmt.Errorf("control API at %s: %w", c.Address, ErrForeign)
	}
	return s, err
}

// Bundles lists the bundles.
func (c *Client) Bundles(ctx context.Context) ([]Bundle, error) {
	var b Bundles
	err := c.do(ctx, http.MethodGet, "/bundles", nil, &b)
	return b.Bundles, err
}

// Install hands over a package.
func (c *Client) Install(ctx context.Context, name string, spb []byte) (b Bundle, err error) {
	return b, c.do(ctx, http.MethodPost, "/bundles?name="+url.QueryEscape(name), spb, &b)
}

// Lifecycle carries out enable, disable, activate or delete.
func (c *Client) Lifecycle(ctx context.Context, verb, id string) error {
	path := "/bundles/" + url.PathEscape(id)
	if verb == "delete" {
		return c.do(ctx, http.MethodDelete, path, nil, nil)
	}
	return c.do(ctx, http.MethodPost, path+"/"+verb, nil, nil)
}

// APDU sends C-APDUs.
func (c *Client) APDU(ctx context.Context, q APDURequest) (a APDUResponse, err error) {
	return a, c.do(ctx, http.MethodPost, "/apdu", q, &a)
}

// Profile asks for the SCL profile in use.
func (c *Client) Profile(ctx context.Context) (p Profile, err error) {
	return p, c.do(ctx, http.MethodGet, "/profile", nil, &p)
}

// Events calls f for what happened after seq and for what happens, until f says
// stop, ctx is done or the emulator ends.
func (c *Client) Events(ctx context.Context, seq uint64, f func(Event) (stop bool)) error {
	resp, err := c.send(ctx, http.MethodGet, "/events?since="+strconv.FormatUint(seq, 10), "", nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		data, ok := strings.CutPrefix(lines.Text(), "data: ")
		if !ok {
			continue
		}
		var e Event
		if err := json.Unmarshal([]byte(data), &e); err != nil {
			return fmt.Errorf("event of %s: %w", c.Address, err)
		}
		if f(e) {
			return nil
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return fmt.Errorf("events of %s: %w", c.Address, ErrEnded)
}
