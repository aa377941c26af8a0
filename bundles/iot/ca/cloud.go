package ca

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"sync"
	"time"
)

// Cloud is what a provider runs for its devices, at loopback addresses: EST for enrolment
// and an endpoint, in place of a broker, with mutually authenticated TLS. The endpoint takes
// a certificate of the authority that holds and is not revoked, greets the device by the
// name in it, and answers every line.
type Cloud struct {
	*Authority
	URL      string // of EST
	Endpoint string // HOST:PORT

	est  *http.Server
	l    net.Listener
	done sync.WaitGroup
}

// idle is how long a device may say nothing (chosen).
const idle = 30 * time.Second

// Open starts the cloud of an authority.
func (a *Authority) Open() (*Cloud, error) {
	id, err := a.Server()
	if err != nil {
		return nil, err
	}
	est, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
		Certificates: []tls.Certificate{id}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: a.Pool(), Time: a.o.Now,
		VerifyConnection: func(s tls.ConnectionState) error {
			if no := a.Check(s.PeerCertificates[0]); no != nil {
				return no
			}
			return nil
		},
	})
	if err != nil {
		_ = est.Close()
		return nil, err
	}
	c := &Cloud{
		Authority: a, URL: "https://" + est.Addr().String(), Endpoint: l.Addr().String(), l: l,
		est: &http.Server{Handler: a, ReadHeaderTimeout: idle, ErrorLog: log.New(io.Discard, "", 0)},
	}
	c.done.Go(func() { _ = c.est.Serve(tls.NewListener(est, TLS(id))) })
	c.done.Go(c.accept)
	return c, nil
}

func (c *Cloud) accept() {
	for {
		s, err := c.l.Accept()
		if err != nil {
			return
		}
		c.done.Go(func() {
			_ = s.SetDeadline(time.Now().Add(idle))
			c.greet(s.(*tls.Conn))
			_ = s.Close()
		})
	}
}

func (c *Cloud) greet(s *tls.Conn) {
	if s.Handshake() != nil {
		_, _ = io.CopyN(io.Discard, s.NetConn(), 1<<16) // the device reads the alert before it hears that this end is gone
		return
	}
	name := s.ConnectionState().PeerCertificates[0].Subject.CommonName
	if _, err := fmt.Fprintf(s, "hello %s\n", name); err != nil {
		return
	}
	in := bufio.NewScanner(s)
	for in.Scan() {
		if _, err := fmt.Fprintf(s, "from %s: %s\n", name, in.Text()); err != nil {
			return
		}
	}
}

// Close ends the cloud.
func (c *Cloud) Close() error {
	_ = c.l.Close()
	err := c.est.Close()
	c.done.Wait()
	return err
}

// Connect opens a session of a device with the endpoint, says a line, if it is not empty,
// and gives what was agreed and the lines that came.
func (c *Cloud) Connect(conf *tls.Config, line string) (s tls.ConnectionState, lines []string, err error) {
	t, err := tls.DialWithDialer(&net.Dialer{Timeout: idle}, "tcp", c.Endpoint, conf)
	if err != nil {
		return s, nil, err
	}
	defer t.Close()
	_ = t.SetDeadline(time.Now().Add(idle))
	if line != "" {
		if _, err := fmt.Fprintln(t, line); err != nil {
			return s, nil, err
		}
	}
	if err := t.CloseWrite(); err != nil {
		return s, nil, err
	}
	in := bufio.NewScanner(t)
	for in.Scan() {
		lines = append(lines, in.Text())
	}
	return t.ConnectionState(), lines, in.Err()
}
