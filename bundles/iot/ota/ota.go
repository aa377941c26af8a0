// Package ota is the server that administers a security domain of the IoT applet over the
// air: it makes command packets, sends them, and checks the proof of receipt.
//
//	Server ── Run(commands) ──> script ──> command packet ── Sender ──> card
//	       <─── Result <─── checked <───── response packet <──┘
//
// Senders are Envelopes, which plays the network and the terminal with SMS-PP downloads,
// and HTTP. With Visits the card comes to the server instead, by HTTPS. The server keeps the counter of its domain; each packet has the next one.
//
// Sources: TS 102 225, TS 102 226, TS 31.115 (package scp80); commands as package iotsafe
// has them.
package ota

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/sspemu/sspemu/bundles/iot/host"
	"github.com/sspemu/sspemu/bundles/iot/iotsafe"
	"github.com/sspemu/sspemu/bundles/iot/profile"
	"github.com/sspemu/sspemu/internal/apdu"
	"github.com/sspemu/sspemu/internal/scp80"
	"github.com/sspemu/sspemu/internal/tlv"
)

// Sender brings a command packet to the card and gives its response packet; none when the
// card is silent.
type Sender func(ctx context.Context, packet []byte) ([]byte, error)

// Server administers one domain.
type Server struct {
	Domain  *profile.Domain
	Keys    scp80.Keys
	Header  scp80.Header
	Counter uint64 // of the last packet
	Form    scp80.Form
	Send    Sender
	Visit   func(ctx context.Context, script []byte) (scp80.Result, error) // runs scripts in place of packets (https.go); may be nil
	Tell    func(format string, args ...any)                               // each step in words; nil: nobody listens
}

// New is a server for a domain of a persona. Packets are secured as the domain wants at
// least, their proofs of receipt likewise, and always wanted.
func New(p *profile.Profile, d *profile.Domain, send Sender) *Server {
	h := scp80.Header{SPI: scp80.SPI{d.Minimum, 0x01}, KIc: d.KIc.Byte(), KID: d.KID.Byte(), TAR: d.TAR}
	h.SPI[1] |= byte(h.SPI.Check()) << 2
	if h.SPI.Ciphered() {
		h.SPI[1] |= 0x10
	}
	return &Server{Domain: d, Keys: p.DomainKeys(d), Header: h, Counter: d.Counter, Form: scp80.Definite, Send: send}
}

func (s *Server) tell(format string, args ...any) {
	if s.Tell != nil {
		s.Tell(format, args...)
	}
}

// Errors of Run.
var (
	ErrSilent = errors.New("ota: no proof of receipt came")
	ErrProof  = errors.New("ota: the proof of receipt is for another packet")
)

// StatusError is a packet that the card refused.
type StatusError struct {
	Status scp80.Status
	Plain  bool // the report was not secured: anybody may have sent it
}

func (e *StatusError) Error() string {
	s := fmt.Sprintf("ota: the card refused the packet: status %02X, %v", byte(e.Status), e.Status)
	if e.Plain {
		s += " (in clear)"
	}
	return s
}

// Is lets errors.Is find a status.
func (e *StatusError) Is(target error) bool {
	x, ok := target.(*StatusError)
	return ok && x.Status == e.Status
}

// Words says what a status word in a result means.
func Words(sw apdu.SW) string {
	if sw == scp80.SWTruncated {
		return "the answer was cut off, and the script ends"
	}
	return iotsafe.Words(sw)
}

// Failed tells whether a status word ends a script.
func Failed(sw apdu.SW) bool {
	hi := sw >> 8
	return sw != apdu.OK && hi != 0x61 && hi != 0x62 && hi != 0x63 && hi != 0x91 || sw == scp80.SWTruncated
}

// CommandError is a command of a script that failed.
type CommandError struct {
	Number int // of the command, from 1
	SW     apdu.SW
}

func (e *CommandError) Error() string {
	return fmt.Sprintf("ota: command %d of the script: status %04X, %s", e.Number, uint16(e.SW), Words(e.SW))
}

// Is lets errors.Is find a status word.
func (e *CommandError) Is(target error) bool {
	x, ok := target.(*CommandError)
	return ok && x.SW == e.SW
}

// Packet is the command packet for a script, with the next counter.
func (s *Server) Packet(script []byte) ([]byte, error) {
	s.Counter++
	c := scp80.Command{Header: s.Header, Counter: s.Counter, Data: script}
	return c.Append(nil, s.Keys)
}

// Run sends a script of commands and gives what came of it. The error is about the packet
// or about the command that failed; the result is there in that case as well.
func (s *Server) Run(ctx context.Context, commands ...[]byte) (scp80.Result, error) {
	return s.Script(ctx, scp80.Script(s.Form, commands...))
}

// Script is Run with a script that is there already.
func (s *Server) Script(ctx context.Context, script []byte) (res scp80.Result, err error) {
	form := scp80.FormOf(script)
	if s.Visit != nil {
		s.tell("script %s", profile.Hex(script))
		res, err = s.Visit(ctx, script)
	} else {
		res, err = s.byPacket(ctx, script, form)
	}
	if err != nil {
		return res, err
	}
	return res, s.explain(res, form)
}

// byPacket sends a script in a secured packet.
func (s *Server) byPacket(ctx context.Context, script []byte, form scp80.Form) (res scp80.Result, err error) {
	packet, err := s.Packet(script)
	if err != nil {
		return res, err
	}
	s.tell("script %s", profile.Hex(script))
	s.tell("packet for %s (TAR %X): SPI %X, KIc %02X, KID %02X, counter %d, %d bytes", s.Domain.Name, s.Header.TAR, s.Header.SPI, s.Header.KIc, s.Header.KID, s.Counter, len(packet))
	answer, err := s.Send(ctx, packet)
	if err != nil {
		return res, err
	}
	r, err := s.Check(answer)
	if err != nil {
		return res, err
	}
	return scp80.ParseResult(r.Data, form)
}

// explain tells what came of each command; the error is about the first that failed.
func (s *Server) explain(res scp80.Result, form scp80.Form) (err error) {
	for i, x := range res.Responses {
		_, sw, _ := apdu.Status(x)
		n := i + 1
		if form == scp80.Compact {
			n = res.Executed
		}
		s.tell("command %d: %04X, %s", n, uint16(sw), Words(sw))
		if Failed(sw) && err == nil {
			err = &CommandError{n, sw}
		}
	}
	if res.Bad != scp80.WellFormed && err == nil {
		err = fmt.Errorf("ota: the card cannot read the script behind command %d", res.Executed)
	}
	return err
}

// Check reads the proof of receipt for the last packet.
func (s *Server) Check(answer []byte) (r scp80.Response, err error) {
	if len(answer) == 0 {
		if s.Header.SPI.PoR() == scp80.PoRAlways {
			return r, ErrSilent
		}
		s.tell("no proof of receipt, as was asked for")
		return scp80.Response{Data: scp80.ResultOfNothing(s.Form)}, nil
	}
	r, plain, err := scp80.OpenResponse(answer, s.Header, s.Keys)
	switch {
	case err != nil:
		return r, err
	case r.TAR != s.Header.TAR:
		return r, ErrProof
	case r.Status != scp80.OK:
		s.tell("proof of receipt: status %02X, %v", byte(r.Status), r.Status)
		return r, &StatusError{r.Status, plain}
	case r.Counter != s.Counter && s.Header.SPI.Counter() != scp80.NoCounter:
		return r, ErrProof
	}
	s.tell("proof of receipt: status 00, %v; counter %d", r.Status, r.Counter)
	return r, nil
}

// Ref names a container.
type Ref struct {
	Kind  profile.Kind
	ID    []byte
	Label string // when there is no ID
}

func (r Ref) append(b []byte) []byte {
	if r.Label != "" {
		return tlv.Append(b, tlv.Tag(r.Kind.LabelTag()), []byte(r.Label)...)
	}
	return tlv.Append(b, tlv.Tag(r.Kind.IDTag()), r.ID...)
}

func (s *Server) command(ins, p1, p2 byte, data []byte) []byte {
	c := apdu.Command{CLA: 0x80, INS: ins, P1: p1, P2: p2, Data: data}
	if s.Form != scp80.Compact {
		c.Ne = apdu.MaxShortNe
	}
	return c.Append(nil)
}

// asking is a command whose answer is wanted: in the compact form GET RESPONSE fetches it.
func (s *Server) asking(ins, p1, p2 byte, data []byte) []byte {
	b := s.command(ins, p1, p2, data)
	if s.Form == scp80.Compact {
		b = append(b, 0x00, 0xC0, 0x00, 0x00, 0x00)
	}
	return b
}

// Generate makes the commands for a new pair.
func (s *Server) Generate(ref Ref) [][]byte {
	return [][]byte{s.asking(iotsafe.GenerateKeyPair, 0, 0, ref.append(nil))}
}

// Delete makes the command that empties a container.
func (s *Server) Delete(ref Ref) [][]byte {
	return [][]byte{s.command(iotsafe.Delete, 0, 0, ref.append(nil))}
}

// Put makes the commands for new content: the bytes of a file or of a secret key, of a
// public key what tag 34 holds.
func (s *Server) Put(ref Ref, content []byte) [][]byte {
	tag := tlv.Tag(iotsafe.TagContent)
	if ref.Kind == profile.Public {
		tag = iotsafe.TagPublicKey
	}
	data := tlv.Append(ref.append(nil), tag, content...)
	var l [][]byte
	for n := 0; ; n++ {
		part := data[:min(len(data), apdu.MaxShortNc)]
		data = data[len(part):]
		p1 := byte(iotsafe.MoreBlocks)
		if len(data) == 0 {
			p1 = iotsafe.LastBlock
		}
		c := apdu.Command{CLA: 0x80, INS: iotsafe.StoreData, P1: p1, P2: byte(n), Data: part}
		if l = append(l, c.Append(nil)); len(data) == 0 {
			return l
		}
	}
}

// List asks for the objects of the domain: their information objects.
func (s *Server) List(ctx context.Context) ([]byte, error) {
	var all []byte
	for p2 := byte(iotsafe.DataFirst); ; p2 = iotsafe.DataNext {
		c := apdu.Command{CLA: 0x80, INS: iotsafe.GetData, P1: iotsafe.DataObjectList, P2: p2, Ne: apdu.MaxShortNe}
		res, err := s.Run(ctx, c.Append(nil))
		if err != nil {
			return nil, err
		}
		if len(res.Responses) != 1 {
			return nil, scp80.ErrResult
		}
		data, sw, _ := apdu.Status(res.Responses[0])
		if all = append(all, data...); sw != iotsafe.SWMoreData || len(data) == 0 {
			return all, nil
		}
	}
}

// Answer is the data of the last command of a result.
func Answer(res scp80.Result) []byte {
	if n := len(res.Responses); n > 0 {
		data, _, _ := apdu.Status(res.Responses[n-1])
		return data
	}
	return nil
}

// Transmit sends one command APDU.
type Transmit func(ctx context.Context, capdu []byte) (rapdu []byte, err error)

// Envelopes sends packets as short messages, each in an ENVELOPE, and takes the response
// from the answer, or from the proactive command that it announces.
func Envelopes(t Transmit, tell func(format string, args ...any)) Sender {
	deliver := short(t, tell)
	return func(ctx context.Context, packet []byte) ([]byte, error) {
		data, sw, err := deliver(ctx, packet)
		if err != nil {
			return nil, err
		}
		submitted := scp80.Assembler{Responses: true}
		for range scp80.MaxSegments {
			if sw&0xFF00 != apdu.ProactivePending {
				break
			}
			n := int(sw & 0xFF)
			if n == 0 {
				n = apdu.MaxShortNe
			}
			b, _, err := command(ctx, t, "FETCH", apdu.Command{CLA: 0x80, INS: 0x12, Ne: n})
			if err != nil {
				return nil, err
			}
			tpdu, err := tlv.Path(b, 0xD0, 0x8B)
			if err != nil {
				return nil, fmt.Errorf("FETCH: no short message: %w", err)
			}
			if data, err = scp80.ParseSubmit(tpdu); err != nil {
				return nil, err
			}
			s, err := scp80.ParseUserData(data)
			if err != nil {
				return nil, err
			}
			packet, err := submitted.Add(nil, s)
			if err != nil {
				return nil, err
			}
			done := apdu.Command{CLA: 0x80, INS: 0x14, Data: []byte{0x81, 3, 1, 0x13, 0, 0x82, 2, 0x82, 0x81, 0x83, 1, 0}}
			if _, sw, err = command(ctx, t, "TERMINAL RESPONSE", done); err != nil {
				return nil, err
			}
			if tell != nil {
				tell("SMS-SUBMIT with the proof of receipt, or part of it: %d bytes", len(data))
			}
			if packet != nil {
				return packet, nil
			}
		}
		return response(data)
	}
}

// response is the response packet in the answer to an ENVELOPE; none when it is empty.
func response(data []byte) ([]byte, error) {
	if len(data) == 0 {
		return nil, nil
	}
	s, err := scp80.ParseUserData(data)
	if err != nil || !s.Response {
		return nil, fmt.Errorf("ota: the answer is no response packet: %X", data)
	}
	return s.Data, nil
}

// command sends a command of the terminal, which has to succeed.
func command(ctx context.Context, t Transmit, name string, c apdu.Command) ([]byte, apdu.SW, error) {
	data, sw, err := (&host.Bearer{Transmit: t}).Send(ctx, c)
	if err == nil && sw != apdu.OK && sw&0xFF00 != apdu.ProactivePending {
		err = fmt.Errorf("status %04X, %s", uint16(sw), sw.Words())
	}
	if err != nil {
		return nil, 0, fmt.Errorf("%s: %w", name, err)
	}
	return data, sw, nil
}

// short delivers packets as short messages; data and sw answer the last one.
func short(t Transmit, tell func(format string, args ...any)) func(ctx context.Context, packet []byte) (data []byte, sw apdu.SW, err error) {
	from := []byte{0x04, 0x81, 0x21, 0x43} // made up
	reference := byte(0)
	return func(ctx context.Context, packet []byte) (data []byte, sw apdu.SW, err error) {
		reference++
		parts, err := scp80.Split(packet, reference)
		if err != nil {
			return nil, 0, err
		}
		for i, p := range parts {
			m := scp80.Deliver{From: from, PID: scp80.PIDDownload, DCS: scp80.DCSDownload, UserData: p}
			e := scp80.Envelope{TPDU: m.Append(nil)}
			if data, sw, err = command(ctx, t, "ENVELOPE", apdu.Command{CLA: 0x80, INS: 0xC2, Data: e.Append(nil), Ne: apdu.MaxShortNe}); err != nil {
				return nil, 0, err
			}
			if tell != nil {
				tell("short message %d of %d: %04X", i+1, len(parts), uint16(sw))
			}
		}
		return data, sw, nil
	}
}

// HTTP sends packets to the resource /ota of the bundle.
func HTTP(client *http.Client, url string, tell func(format string, args ...any)) Sender {
	return func(ctx context.Context, packet []byte) ([]byte, error) {
		q, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(packet))
		if err != nil {
			return nil, err
		}
		q.Header.Set("Content-Type", "application/octet-stream")
		r, err := client.Do(q)
		if err != nil {
			return nil, err
		}
		defer r.Body.Close()
		b, err := io.ReadAll(io.LimitReader(r.Body, 1<<16))
		if err != nil {
			return nil, err
		}
		if tell != nil {
			tell("POST %s: %s", url, r.Status)
		}
		switch r.StatusCode {
		case http.StatusOK:
			return b, nil
		case http.StatusNoContent:
			return nil, nil
		}
		return nil, fmt.Errorf("POST %s: %s: %s", url, r.Status, bytes.TrimSpace(b))
	}
}
