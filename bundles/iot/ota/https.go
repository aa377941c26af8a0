package ota

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	crand "crypto/rand"

	"github.com/sspemu/sspemu/bundles/iot/host"
	"github.com/sspemu/sspemu/bundles/iot/profile"
	"github.com/sspemu/sspemu/internal/apdu"
	"github.com/sspemu/sspemu/internal/cat"
	"github.com/sspemu/sspemu/internal/scp80"
	"github.com/sspemu/sspemu/internal/tlspsk"
	"github.com/sspemu/sspemu/internal/tlv"
)

// Headers and media types of administration over HTTP (GlobalPlatform Amendment B 3.4, as
// other public servers have them, unverified).
const (
	adminProtocol = "globalplatform-remote-admin/1.0"
	mediaScript   = "application/vnd.globalplatform.card-content-mgt;version=1.0"
	mediaResult   = "application/vnd.globalplatform.card-content-mgt-response;version=1.0"
)

// Trigger is the data of a packet that has a domain visit its server: at address, or where
// the card knows it to be when address is nil (Amendment B 4.7).
func Trigger(address *net.TCPAddr) ([]byte, error) {
	if address == nil {
		return tlv.Append(nil, 0x81), nil
	}
	ip := address.IP.To4()
	if ip == nil {
		return nil, fmt.Errorf("ota: %s is no IPv4 address", address.IP)
	}
	c := cat.Object(nil, cat.TagTransport, cat.TCPClient, byte(address.Port>>8), byte(address.Port))
	c = cat.Object(c, cat.TagOtherAddress, append([]byte{cat.IPv4}, ip...)...)
	return tlv.Append(nil, 0x81, tlv.Append(nil, 0x83, tlv.Append(nil, 0x84, c...)...)...), nil
}

// Trigger sends a trigger and checks the proof of receipt.
func (s *Server) Trigger(ctx context.Context, address *net.TCPAddr) error {
	data, err := Trigger(address)
	if err != nil {
		return err
	}
	packet, err := s.Packet(data)
	if err != nil {
		return err
	}
	s.tell("trigger for %s (TAR %X): counter %d, %d bytes", s.Domain.Name, s.Header.TAR, s.Counter, len(packet))
	answer, err := s.Send(ctx, packet)
	if err != nil {
		return err
	}
	_, err = s.Check(answer)
	return err
}

// Terminal is what stands between a card and the server that it visits: it brings the
// trigger to the card, and carries the octets of the visit.
type Terminal struct {
	bearer  *host.Bearer
	deliver func(ctx context.Context, packet []byte) ([]byte, apdu.SW, error)
	sw      apdu.SW // of the trigger: what the card wants then
}

// NewTerminal is the terminal of a card.
func NewTerminal(t Transmit, tell func(format string, args ...any)) *Terminal {
	return &Terminal{bearer: &host.Bearer{Transmit: t, Tell: tell}, deliver: short(t, tell)}
}

// Send is a Sender for triggers.
func (t *Terminal) Send(ctx context.Context, packet []byte) ([]byte, error) {
	data, sw, err := t.deliver(ctx, packet)
	if err != nil {
		return nil, err
	}
	t.sw = sw
	return response(data)
}

// Visits has s run its scripts in visits of the card to v, which listens at address: s
// sends triggers, with t.Send as its Sender.
func (t *Terminal) Visits(s *Server, v *Visits, address *net.TCPAddr) {
	s.Visit = func(ctx context.Context, script []byte) (r scp80.Result, err error) {
		v.AddScript(s.Domain.Name, script)
		if err := s.Trigger(ctx, address); err != nil {
			return r, err
		}
		if err := t.bearer.Run(ctx, t.sw); err != nil {
			return r, err
		}
		all := v.Results(s.Domain.Name)
		if len(all) != 1 {
			return r, errors.New("ota: the card did not come, or left without a result")
		}
		return all[0].Result, all[0].Err
	}
}

// Visits is the server that domains visit: administration over HTTP, by TLS with the keys
// of a persona. It gives each visit the scripts that wait for the domain, one a request.
//
//	card ── TLS-PSK ──> Visits ── POST ──> 200 with a script ── POST with its result ──> 204
type Visits struct {
	Profile *profile.Profile
	Suites  []uint16                         // nil: those of tlspsk
	Tell    func(format string, args ...any) // may be nil
	Left    func(domain string)              // hears of the end of each visit that asked for something; may be nil

	mu      sync.Mutex
	waiting map[string][][]byte // scripts by domain
	results map[string][]Visit
}

// Visit is what came of a script.
type Visit struct {
	Result scp80.Result
	Err    error // the card could not run it, or its result cannot be read
}

// Add has a script of commands wait for a domain.
func (v *Visits) Add(domain string, commands ...[]byte) {
	v.AddScript(domain, scp80.Script(scp80.Definite, commands...))
}

// AddScript has a script that is there already wait for a domain.
func (v *Visits) AddScript(domain string, script []byte) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.waiting == nil {
		v.waiting = map[string][][]byte{}
	}
	v.waiting[domain] = append(v.waiting[domain], script)
}

// Waiting is how many scripts wait for a domain.
func (v *Visits) Waiting(domain string) int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return len(v.waiting[domain])
}

// Results takes what came of the scripts of a domain.
func (v *Visits) Results(domain string) []Visit {
	v.mu.Lock()
	defer v.mu.Unlock()
	r := v.results[domain]
	delete(v.results, domain)
	return r
}

func (v *Visits) tell(format string, args ...any) {
	if v.Tell != nil {
		v.Tell(format, args...)
	}
}

// domainOf is the domain with an identity.
func (v *Visits) domainOf(identity []byte) *profile.Domain {
	for i := range v.Profile.Domains {
		if d := &v.Profile.Domains[i]; d.HTTPS != nil && d.HTTPS.Identity == string(identity) {
			return d
		}
	}
	return nil
}

type pskKey struct{}

// Serve answers visits until l is closed.
func (v *Visits) Serve(l net.Listener) error {
	config := tlspsk.Config{Random: func(b []byte) { _, _ = crand.Read(b) }, Suites: v.Suites, Lookup: func(identity []byte) []byte {
		d := v.domainOf(identity)
		if d == nil {
			return nil
		}
		_, key := v.Profile.AdministrationKey(d)
		return key
	}}
	s := &http.Server{
		Handler: v, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 30 * time.Second, MaxHeaderBytes: 8 << 10,
		ConnContext: func(ctx context.Context, c net.Conn) context.Context { return context.WithValue(ctx, pskKey{}, c) },
		ConnState: func(c net.Conn, state http.ConnState) {
			p, _ := c.(*pskConn)
			if p == nil || state != http.StateClosed {
				return
			}
			p.mu.Lock()
			_, why := p.tls.Over()
			p.mu.Unlock()
			if why != nil {
				v.tell("%s: %v", p.RemoteAddr(), why)
			}
			if v.Left != nil && p.visitor != "" {
				v.Left(p.visitor)
			}
		},
	}
	err := s.Serve(pskListener{l, config})
	if errors.Is(err, net.ErrClosed) {
		err = nil
	}
	return err
}

// ServeHTTP takes the result of a script and gives the next one.
func (v *Visits) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c, _ := r.Context().Value(pskKey{}).(*pskConn)
	if c == nil {
		http.Error(w, "only for cards", http.StatusForbidden)
		return
	}
	d := v.domainOf(c.tls.Identity())
	switch {
	case d == nil:
		http.Error(w, "no such domain", http.StatusForbidden)
		return
	case r.Method != http.MethodPost || r.Header.Get("X-Admin-Protocol") != adminProtocol:
		http.Error(w, "POST with X-Admin-Protocol: "+adminProtocol, http.StatusBadRequest)
		return
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, 1<<16))
	if err != nil {
		return // the card has gone
	}
	c.visitor = d.Name
	v.mu.Lock()
	defer v.mu.Unlock()
	if status := r.Header.Get("X-Admin-Script-Status"); status != "" {
		var x Visit
		switch {
		case status != "ok":
			x.Err = fmt.Errorf("ota: the card did not run the script: %s", status)
		case r.Header.Get("Content-Type") != mediaResult:
			x.Err = fmt.Errorf("ota: the result is %s, not %s", r.Header.Get("Content-Type"), mediaResult)
		default:
			x.Result, x.Err = scp80.ParseResult(body, resultForm(body))
		}
		if v.results == nil {
			v.results = map[string][]Visit{}
		}
		v.results[d.Name] = append(v.results[d.Name], x)
		v.tell("POST %s: script status %s, %d octets", r.URL.Path, status, len(body))
	} else {
		v.tell("POST %s by %s: %s, %s", r.URL.Path, r.Header.Get("X-Admin-From"), c.tls.Identity(), tlspsk.SuiteName(c.tls.Suite()))
	}
	if len(v.waiting[d.Name]) == 0 {
		v.tell("204: nothing more for %s", d.Name)
		w.Header().Set("X-Admin-Protocol", adminProtocol)
		w.WriteHeader(http.StatusNoContent)
		return
	}
	script := v.waiting[d.Name][0]
	v.waiting[d.Name] = v.waiting[d.Name][1:]
	h := w.Header()
	h.Set("X-Admin-Protocol", adminProtocol)
	h.Set("X-Admin-Next-URI", r.URL.Path)
	h.Set("Content-Type", mediaScript)
	v.tell("200: a script of %d octets", len(script))
	_, _ = w.Write(script)
}

// resultForm is the form of a result: visits have expanded ones.
func resultForm(b []byte) scp80.Form {
	if len(b) > 0 && b[0] == 0xAF {
		return scp80.Indefinite
	}
	return scp80.Definite
}

// pskListener puts TLS on what comes.
type pskListener struct {
	net.Listener
	config tlspsk.Config
}

func (l pskListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &pskConn{Conn: c, tls: tlspsk.Server(l.config)}, nil
}

// pskConn is a connection with TLS on it. Reads and writes are those of one goroutine each.
type pskConn struct {
	net.Conn
	mu   sync.Mutex
	tls  *tlspsk.Conn
	said []byte // read, not taken yet

	visitor string // the domain, once it has asked for something
}

// flush sends what TLS has to say.
func (c *pskConn) flush() error {
	out := c.tls.Output()
	if len(out) == 0 {
		return nil
	}
	_, err := c.Conn.Write(out)
	return err
}

// Read implements net.Conn.
func (c *pskConn) Read(b []byte) (int, error) {
	buf := make([]byte, 4096)
	for len(c.said) == 0 {
		n, err := c.Conn.Read(buf)
		c.mu.Lock()
		if n > 0 {
			feed := c.tls.Feed(buf[:n])
			c.said = append(c.said, c.tls.Read()...)
			if e := c.flush(); err == nil {
				err = e
			}
			if feed != nil {
				err = feed
			}
		}
		if over, _ := c.tls.Over(); over && err == nil {
			err = io.EOF
		}
		c.mu.Unlock()
		if err != nil && len(c.said) == 0 {
			return 0, err
		}
	}
	n := copy(b, c.said)
	c.said = c.said[n:]
	return n, nil
}

// Write implements net.Conn.
func (c *pskConn) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.tls.Write(b); err != nil {
		return 0, err
	}
	if err := c.flush(); err != nil {
		return 0, err
	}
	return len(b), nil
}

// Close implements net.Conn.
func (c *pskConn) Close() error {
	c.mu.Lock()
	c.tls.Close()
	_ = c.flush()
	c.mu.Unlock()
	return c.Conn.Close()
}
