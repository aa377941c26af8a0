package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/sspemu/sspemu/bundles/iot/ca"
)

// mosquitto is a broker that takes devices with a certificate of an authority which is not
// revoked. A device may use the topics below its name.
type mosquitto struct {
	authority *ca.Authority
	dir       string
	address   string
	cmd       *exec.Cmd
}

// restart starts the broker, with the list of revoked certificates as it is now.
func (m *mosquitto) restart(ctx context.Context) error {
	if err := m.close(); err != nil {
		return err
	}
	id, err := m.authority.Server()
	if err != nil {
		return err
	}
	key, err := x509.MarshalPKCS8PrivateKey(id.PrivateKey)
	if err != nil {
		return err
	}
	crl, err := m.authority.CRL()
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	m.address = l.Addr().String()
	if err := l.Close(); err != nil {
		return err
	}
	_, port, err := net.SplitHostPort(m.address)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp(m.dir, "broker")
	if err != nil {
		return err
	}
	for name, block := range map[string]*pem.Block{
		"ca.pem":   {Type: "CERTIFICATE", Bytes: m.authority.Certificate().Raw},
		"cert.pem": {Type: "CERTIFICATE", Bytes: id.Certificate[0]},
		"key.pem":  {Type: "PRIVATE KEY", Bytes: key},
		"crl.pem":  {Type: "X509 CRL", Bytes: crl},
	} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			return err
		}
	}
	conf := fmt.Sprintf("listener %s 127.0.0.1\ncafile ca.pem\ncertfile cert.pem\nkeyfile key.pem\ncrlfile crl.pem\n"+
		"require_certificate true\nuse_identity_as_username true\nacl_file acl\nuser root\n", port)
	if err := errors.Join(os.WriteFile(filepath.Join(dir, "conf"), []byte(conf), 0o600),
		os.WriteFile(filepath.Join(dir, "acl"), []byte("pattern readwrite devices/%u/#\n"), 0o600)); err != nil {
		return err
	}
	program := "mosquitto"
	if _, err := exec.LookPath(program); err != nil {
		program = "/usr/sbin/mosquitto" // where Debian has it, which is not in everybody's PATH
	}
	m.cmd = exec.CommandContext(ctx, program, "-c", "conf")
	m.cmd.Dir = dir
	if err := m.cmd.Start(); err != nil {
		m.cmd = nil
		return fmt.Errorf("--mosquitto: %w (apt-get install mosquitto)", err)
	}
	for until := time.Now().Add(10 * time.Second); ; {
		c, err := net.Dial("tcp", m.address)
		if err == nil {
			return c.Close()
		}
		if time.Now().After(until) {
			return fmt.Errorf("--mosquitto: it does not listen at %s: %w", m.address, err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func (m *mosquitto) close() error {
	if m.cmd != nil {
		_ = m.cmd.Process.Kill()
		_ = m.cmd.Wait() // killed
		m.cmd = nil
	}
	return nil
}

// Packets of MQTT 3.1.1 (OASIS standard, clause 3), as far as talk needs them: type and
// flags.
const (
	mqttConnect    = 0x10
	mqttConnAck    = 0x20
	mqttPublish    = 0x30 // QoS 0
	mqttSubscribe  = 0x82
	mqttSubAck     = 0x90
	mqttDisconnect = 0xE0
)

// talk subscribes to a topic of the device, publishes a line there, and tells what came.
func (m *mosquitto) talk(conf *tls.Config, name, line string) (s tls.ConnectionState, lines []string, err error) {
	c, err := tls.DialWithDialer(&net.Dialer{Timeout: 10 * time.Second}, "tcp", m.address, conf)
	if err != nil {
		return s, nil, err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return s, nil, err
	}
	if line == "" { // a refusal comes by itself; a broker that takes the device waits
		_ = c.SetReadDeadline(time.Now().Add(time.Second))
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			return s, nil, err
		}
		return c.ConnectionState(), nil, nil
	}
	topic := "devices/" + name + "/temperature"
	text := func(s string) []byte { return append(binary.BigEndian.AppendUint16(nil, uint16(len(s))), s...) }
	ask := func(kind byte, body []byte, answer byte) ([]byte, error) {
		if _, err := c.Write(append(mqttHeader(kind, len(body)), body...)); err != nil || answer == 0 {
			return nil, err
		}
		got, b, err := mqttRead(c)
		if err == nil && got != answer {
			err = fmt.Errorf("MQTT: packet %02X came, not %02X", got, answer)
		}
		return b, err
	}
	// Protocol level 4, clean session, 30 s.
	b, err := ask(mqttConnect, append(append(text("MQTT"), 4, 2, 0, 30), text(name)...), mqttConnAck)
	if err == nil && (len(b) != 2 || b[1] != 0) {
		err = fmt.Errorf("MQTT: CONNACK %X", b)
	}
	if err == nil {
		b, err = ask(mqttSubscribe, append(append([]byte{0, 1}, text(topic)...), 0), mqttSubAck)
	}
	if err == nil && (len(b) != 3 || b[2] != 0) {
		err = fmt.Errorf("MQTT: SUBACK %X", b)
	}
	if err == nil {
		b, err = ask(mqttPublish, append(text(topic), line...), mqttPublish)
	}
	if err == nil && string(b) != string(text(topic))+line {
		err = fmt.Errorf("MQTT: another message came: %q", b)
	}
	if err == nil {
		_, err = ask(mqttDisconnect, nil, 0)
	}
	return c.ConnectionState(), []string{topic + ": " + line}, err
}

// mqttHeader is the fixed header, with the length in groups of seven bits.
func mqttHeader(kind byte, n int) []byte { return binary.AppendUvarint([]byte{kind}, uint64(n)) }

// maxMQTT is more than any packet here has.
const maxMQTT = 4096

func mqttRead(r io.Reader) (kind byte, body []byte, err error) {
	one := oneByte{r}
	if kind, err = one.ReadByte(); err != nil {
		return 0, nil, err
	}
	n, err := binary.ReadUvarint(one)
	if err == nil && n > maxMQTT {
		err = fmt.Errorf("MQTT: a packet of %d bytes", n)
	}
	if err != nil {
		return 0, nil, err
	}
	body = make([]byte, n)
	_, err = io.ReadFull(r, body)
	return kind, body, err
}

// oneByte reads byte by byte, so that nothing is lost.
type oneByte struct{ io.Reader }

func (r oneByte) ReadByte() (byte, error) {
	var b [1]byte
	_, err := io.ReadFull(r, b[:])
	return b[0], err
}
