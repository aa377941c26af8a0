package proxy

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/dtls/v3"
)

// Of DTLS; all chosen.
const (
	maxSessions   = 1024             // at a time, with those that are being set up
	handshakeTime = 10 * time.Second // to set one up
	maxRecord     = 1 << 14          // octets of a datagram in a record (RFC 6347 4.1)
)

// DTLS says who may come in by DTLS 1.2 (RFC 7252 9, RFC 7925). PSK or Certificates
// is needed; with both the client chooses.
type DTLS struct {
	PSK          map[string][]byte // keys by identity
	Certificates []tls.Certificate // of the server
	ClientCAs    *x509.CertPool    // who signs certificates of clients; nil: clients need none
	Idle         time.Duration     // after which a session without datagrams ends; 0: 10 minutes
	Log          *slog.Logger      // of sessions that were refused; may be nil
}

// suites are those of RFC 7252 9.1.3 first, then what other clients prefer.
var suites = []dtls.CipherSuiteID{
	dtls.TLS_PSK_WITH_AES_128_CCM_8, dtls.TLS_PSK_WITH_AES_128_CCM, dtls.TLS_PSK_WITH_AES_128_GCM_SHA256, dtls.TLS_PSK_WITH_AES_128_CBC_SHA256,
	dtls.TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8, dtls.TLS_ECDHE_ECDSA_WITH_AES_128_CCM,
	dtls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, dtls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
	dtls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, dtls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
}

// LoadDTLS reads the files of a DTLS: keys (see ReadPSK), and in PEM the
// certificate of the server with its key and the certificates that sign those of
// clients. "" for a file that there is not.
func LoadDTLS(psk, cert, key, clientCA string) (c DTLS, err error) {
	if psk != "" {
		f, err := os.Open(psk)
		if err != nil {
			return c, fmt.Errorf("pre-shared keys: %w", err)
		}
		defer f.Close()
		if c.PSK, err = ReadPSK(f); err != nil {
			return c, fmt.Errorf("pre-shared keys: %s: %w", psk, err)
		}
	}
	if (cert == "") != (key == "") {
		return c, errors.New("DTLS: a certificate and its key are needed together")
	}
	if cert != "" {
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			return c, fmt.Errorf("DTLS: certificate %s with key %s: %w", cert, key, err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	if clientCA != "" {
		pem, err := os.ReadFile(clientCA)
		if err != nil {
			return c, fmt.Errorf("DTLS: certificates of clients: %w", err)
		}
		if c.ClientCAs = x509.NewCertPool(); !c.ClientCAs.AppendCertsFromPEM(pem) {
			return c, fmt.Errorf("DTLS: %s has no certificate in PEM (-----BEGIN CERTIFICATE-----)", clientCA)
		}
	}
	return c, c.check()
}

// ReadPSK reads pre-shared keys: lines IDENTITY:KEY with the key in hexadecimal, as
// psktool of GnuTLS writes them. Empty lines and those that begin with # are
// comments.
func ReadPSK(r io.Reader) (map[string][]byte, error) {
	keys := map[string][]byte{}
	s := bufio.NewScanner(r)
	for n := 1; s.Scan(); n++ {
		line := strings.TrimSpace(s.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		i := strings.LastIndexByte(line, ':')
		if i < 0 {
			return nil, fmt.Errorf("line %d: want IDENTITY:KEY with the key in hexadecimal", n)
		}
		key, err := hex.DecodeString(line[i+1:])
		if err != nil {
			return nil, fmt.Errorf("line %d: key: %w", n, err)
		}
		if _, ok := keys[line[:i]]; ok {
			return nil, fmt.Errorf("line %d: identity %q has a key already", n, line[:i])
		}
		keys[line[:i]] = key
	}
	return keys, s.Err()
}

func (c DTLS) check() error {
	for id, key := range c.PSK {
		if id == "" || len(key) == 0 {
			return fmt.Errorf("DTLS: identity %q: neither identity nor key may be empty", id)
		}
	}
	switch {
	case len(c.PSK) == 0 && len(c.Certificates) == 0:
		return errors.New("DTLS: no client could come in: give pre-shared keys or a certificate with its key")
	case c.ClientCAs != nil && len(c.Certificates) == 0:
		return errors.New("DTLS: certificates of clients need one of the server as well")
	}
	return nil
}

// DTLSListener is a socket for clients that come in by DTLS.
type DTLSListener struct {
	net.Listener
	conf DTLS
}

// ListenDTLS opens a socket at addr. What is wrong with conf is an error.
func ListenDTLS(addr *net.UDPAddr, conf DTLS) (*DTLSListener, error) {
	if err := conf.check(); err != nil {
		return nil, err
	}
	options := []dtls.ServerOption{dtls.WithCipherSuites(suites...)}
	if len(conf.PSK) > 0 {
		options = append(options, dtls.WithPSK(func(identity []byte) ([]byte, error) {
			if key, ok := conf.PSK[string(identity)]; ok {
				return key, nil
			}
			return nil, fmt.Errorf("unknown identity %q", identity)
		}))
	}
	if len(conf.Certificates) > 0 {
		options = append(options, dtls.WithCertificates(conf.Certificates...))
	}
	if conf.ClientCAs != nil { // RequireAndVerifyClientCert would ask it of those with a key, too
		options = append(options, dtls.WithClientCAs(conf.ClientCAs), dtls.WithClientAuth(dtls.VerifyClientCertIfGiven),
			dtls.WithVerifyConnection(func(s *dtls.State) error {
				if s.IdentityHint == nil && len(s.PeerCertificates) == 0 {
					return errors.New("the client has no certificate")
				}
				return nil
			}))
	}
	ln, err := dtls.ListenWithOptions("udp", addr, options...)
	if err != nil {
		return nil, fmt.Errorf("DTLS: listen at %s: %w", addr, err)
	}
	if conf.Idle == 0 {
		conf.Idle = 10 * time.Minute
	}
	if conf.Log == nil {
		conf.Log = slog.New(slog.DiscardHandler)
	}
	return &DTLSListener{ln, conf}, nil
}

// ServeDTLS serves clients that come in on ln until ctx is done; it closes ln.
func (c *CoAP) ServeDTLS(ctx context.Context, ln *DTLSListener) error {
	s := &sessions{idle: ln.conf.Idle, log: ln.conf.Log, byPeer: map[netip.AddrPort]*session{}}
	s.relay = newRelay(c.t, s.write)
	inner, end := context.WithCancel(ctx)
	defer end()
	return s.relay.serve(ctx, ln.Close, func() error {
		defer s.all.Wait()
		defer end()
		slots := make(chan struct{}, maxSessions)
		for {
			conn, err := ln.Accept()
			if err != nil {
				return err
			}
			select {
			case slots <- struct{}{}:
				s.all.Go(func() {
					s.serve(inner, conn.(*dtls.Conn))
					<-slots
				})
			default:
				s.log.Warn("DTLS: too many sessions", "client", conn.RemoteAddr().String())
				_ = conn.Close()
			}
		}
	})
}

// sessions are the clients that came in by DTLS.
type sessions struct {
	relay *relay
	idle  time.Duration
	log   *slog.Logger
	all   sync.WaitGroup

	mu     sync.Mutex
	byPeer map[netip.AddrPort]*session
	last   uint64
}

type session struct {
	conn *dtls.Conn
	used atomic.Int64 // when a datagram passed, in Unix nanoseconds
}

// add gives a session the address under which the bundle knows it: one that no
// session before had, so that what the bundle keeps of a client (who observes, who
// sends a body) never meets the next at the same address.
func (s *sessions) add(conn *dtls.Conn) (*session, netip.AddrPort) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last++
	a := [16]byte{0xFD, 's', 's', 'p', 'e', 'm', 'u'} // a unique local address, RFC 4193
	binary.BigEndian.PutUint64(a[8:], s.last)
	peer := netip.AddrPortFrom(netip.AddrFrom16(a), 5684)
	c := &session{conn: conn}
	s.byPeer[peer] = c
	return c, peer
}

func (s *sessions) remove(peer netip.AddrPort) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.byPeer, peer)
}

// serve serves one client to its end.
func (s *sessions) serve(ctx context.Context, conn *dtls.Conn) {
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	limit, cancel := context.WithTimeout(ctx, handshakeTime)
	err := conn.HandshakeContext(limit)
	cancel()
	if err != nil {
		if errors.Is(err, context.DeadlineExceeded) { // with a wrong key nothing can be read: both ends wait
			err = fmt.Errorf("nothing that can be read came for %s: the client left, or has another key", handshakeTime)
		}
		if ctx.Err() == nil {
			s.log.Warn("DTLS: session refused", "client", conn.RemoteAddr().String(), "why", err.Error())
		}
		return
	}
	c, peer := s.add(conn)
	defer s.remove(peer)
	c.used.Store(time.Now().UnixNano())
	b := make([]byte, maxRecord)
	for {
		end := time.Unix(0, c.used.Load()).Add(s.idle)
		if !time.Now().Before(end) {
			return
		}
		_ = conn.SetReadDeadline(end)
		n, err := conn.Read(b)
		var timeout net.Error
		switch {
		case err == nil:
			c.used.Store(time.Now().UnixNano())
			s.relay.toBundle(ctx, peer, b[:n])
		case errors.As(err, &timeout) && timeout.Timeout(): // maybe the bundle has sent something
		default:
			return
		}
	}
}

// write sends to a client; false: its session has ended.
func (s *sessions) write(peer netip.AddrPort, b []byte) bool {
	s.mu.Lock()
	c := s.byPeer[peer]
	s.mu.Unlock()
	if c == nil {
		return false
	}
	c.used.Store(time.Now().UnixNano())
	_, err := c.conn.Write(b)
	return err == nil
}
