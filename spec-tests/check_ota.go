package spectests

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"

	"github.com/sspemu/sspemu/bundles/iot/ota"
	"github.com/sspemu/sspemu/bundles/iot/profile"
	"github.com/sspemu/sspemu/internal/apdu"
	"github.com/sspemu/sspemu/internal/scp80"
	"github.com/sspemu/sspemu/internal/tlv"
)

// otaChecks are the server of a security domain: it makes packets with the keys of the
// persona and looks at proofs of receipt. The steps between them are plain APDUs:
//
//	                             ota_server 494F41
//	                             ota_packet AA00: {envelope} is data for ENVELOPE
//	80C20000 {envelope:lv} 00    ota_proof 00, ota_result AB03800100
//
// The counter of a server goes on from case to case, from that of the persona, or of a card
// that was there before.
var otaChecks = map[string]check{
	"ota_server": {doc: "the server of the domain with this TAR is at work", args: 1, needs: []string{"domain_tar"}, run: otaServer},
	"ota_spi":    {doc: "packets ask for SPI (two bytes); KID is CRC-32 where that is a redundancy check", args: 1, run: otaSPI},
	"ota_wrong":  {doc: "the next packet has something wrong: replay, low, skip, key, ciphering-key, bit, tar, key-number, algorithm, header-length, short", args: 1, run: otaWrong},
	"ota_packet": {doc: "{envelope} is the data of an ENVELOPE with a packet for SCRIPT, - for none", args: 1, sets: []string{"envelope"}, run: otaPacket},
	"ota_parts":  {doc: "{part_1}, {part_2}, {part_3} are that in three short messages with references of BYTES (1 or 2)", args: 2, sets: []string{"part_1", "part_2", "part_3"}, run: otaParts},
	"ota_long":   {doc: "SCRIPT is one STORE DATA of COUNT zeros into FILE, in as many ENVELOPE commands as it needs; the last answer is the data", args: 2, run: otaLong},
	"ota_proof":  {doc: "the data is a proof of receipt for the last packet, secured as it asks, with STATUS", args: 1, run: func(d *Dialogue, a []string) error { return otaProof(d, a, false) }},
	"ota_plain":  {doc: "the data is a report of an error in clear, without data, with STATUS", args: 1, run: func(d *Dialogue, a []string) error { return otaProof(d, a, true) }},
	"ota_submit": {doc: "the data is SEND SHORT MESSAGE with a proof of receipt in an SMS-SUBMIT; that is the data now", run: otaSubmit},
	"ota_result": {doc: "the result of the script is VALUE, ? for any digit, * for any rest", args: 1, run: otaResult},
	"ota_list":   {doc: "the object list of the domain, as far as P2 01 goes on, has COUNT objects", args: 1, run: otaList},
	"ota_key":    {doc: "the last answer in the result has a public key of the key type TYPE; NAME stands for it", args: 2, run: otaKey},
}

// otaState is the server of a case.
type otaState struct {
	s      *ota.Server
	spi    scp80.SPI
	wrong  string
	header scp80.Header // of the last packet
	count  uint64
	keys   scp80.Keys
	result []byte
	form   scp80.Form
}

func otaServer(d *Dialogue, a []string) error {
	p := d.target.Device
	if p == nil {
		return errors.New("the persona of the card is not known")
	}
	for i := range p.Domains {
		x := &p.Domains[i]
		if upper(x.TAR[:]) != a[0] {
			continue
		}
		if d.target.servers == nil {
			d.target.servers = map[string]*ota.Server{}
		}
		s := d.target.servers[a[0]]
		if s == nil {
			s = ota.New(p, x, nil)
			d.target.servers[a[0]] = s
			if !d.target.Fresh {
				if err := d.otaCounter(s); err != nil {
					return err
				}
			}
		}
		d.ota = &otaState{s: s, spi: scp80.SPI{0x16, 0x19}}
		if d.ota.spi[0] = x.Minimum; !d.ota.spi.Ciphered() {
			d.ota.spi[1] = 0x09
		}
		return nil
	}
	return fmt.Errorf("the persona has no domain with TAR %s", a[0])
}

// otaCounter finds the counter of a card that may have been administered before. That
// shows in no dialogue, and what it does not find the cases will.
func (d *Dialogue) otaCounter(s *ota.Server) error {
	lines := d.lines
	send := ota.Envelopes(func(ctx context.Context, capdu []byte) ([]byte, error) {
		err := d.transmit(capdu)
		return d.buf, err
	}, nil)
	find := *s
	find.Send = send
	if err := find.FindCounter(d.ctx); err == nil {
		s.Counter = find.Counter
	}
	d.lines = lines
	return d.ctx.Err()
}

func (d *Dialogue) otaNow() (*otaState, error) {
	if d.ota == nil {
		return nil, errors.New("no ota_server before")
	}
	return d.ota, nil
}

func otaSPI(d *Dialogue, a []string) error {
	o, err := d.otaNow()
	if err != nil {
		return err
	}
	b, err := hex.DecodeString(a[0])
	if err != nil || len(b) != 2 {
		return fmt.Errorf("%q is not SPI", a[0])
	}
	copy(o.spi[:], b)
	return nil
}

func otaWrong(d *Dialogue, a []string) error {
	o, err := d.otaNow()
	if err == nil {
		o.wrong = a[0]
	}
	return err
}

// packet makes a command packet for a script.
func (o *otaState) packet(script []byte) ([]byte, error) {
	h, k := o.s.Header, o.s.Keys
	h.SPI = o.spi
	if h.SPI.Check() == scp80.RC {
		h.KID = h.KID&0xF0 | byte(scp80.CRC32)
	}
	count := o.s.Counter + 1
	switch o.wrong {
	case "": // those with something wrong are not accepted: the counter stays
		o.s.Counter = count
	case "replay":
		count--
	case "low":
		count = 0
	case "skip":
		count++
	case "key":
		k.KID = append([]byte{^k.KID[0]}, k.KID[1:]...)
	case "ciphering-key":
		k.KIc = append([]byte{^k.KIc[0]}, k.KIc[1:]...)
	case "tar":
		h.TAR = scp80.TAR{0xFE, 0xFE, 0xFE}
	case "key-number":
		h.KIc ^= 0xC0
	case "algorithm":
		if h.KID = h.KID&0xF0 | byte(scp80.AES); o.s.Header.KID == h.KID {
			h.KID = h.KID&0xF0 | byte(scp80.TripleDES2)
		}
	}
	c := scp80.Command{Header: h, Counter: count, Data: script}
	b, err := c.Append(nil, k)
	if err != nil {
		return nil, err
	}
	switch o.wrong {
	case "bit":
		b[len(b)-1] ^= 1
	case "header-length":
		b[2]--
	case "short":
		b = b[:len(b)-1]
	}
	o.header, o.count, o.keys, o.form, o.wrong = h, count, o.s.Keys, scp80.FormOf(script), ""
	return b, nil
}

// otaSecured is a command packet for a script in hexadecimal, - for none.
func (d *Dialogue) otaSecured(script string) ([]byte, error) {
	o, err := d.otaNow()
	if err != nil {
		return nil, err
	}
	if script == "-" {
		script = ""
	}
	b, err := hex.DecodeString(script)
	if err != nil {
		return nil, err
	}
	return o.packet(b)
}

// download is the data of ENVELOPE with user data.
func download(userData []byte) []byte {
	m := scp80.Deliver{From: []byte{4, 0x81, 0x21, 0x43}, PID: scp80.PIDDownload, DCS: scp80.DCSDownload, UserData: userData}
	e := scp80.Envelope{TPDU: m.Append(nil)}
	return e.Append(nil)
}

func otaPacket(d *Dialogue, a []string) error {
	packet, err := d.otaSecured(a[0])
	if err != nil {
		return err
	}
	parts, err := scp80.Split(packet, 1)
	if err != nil || len(parts) != 1 {
		return errors.Join(err, fmt.Errorf("the packet needs %d short messages", len(parts)))
	}
	d.vars["envelope"] = upper(download(parts[0]))
	return nil
}

func otaParts(d *Dialogue, a []string) error {
	packet, err := d.otaSecured(a[0])
	if err != nil {
		return err
	}
	third := (len(packet) + 2) / 3
	for i := 1; i <= 3; i++ {
		head := []byte{0, 3, 9, 3, byte(i)}
		if a[1] == "2" {
			head = []byte{8, 4, 1, 9, 3, byte(i)}
		}
		if i == 1 {
			head = append(head, 0x70, 0)
		}
		n := min(third, len(packet))
		ud := append(append([]byte{byte(len(head))}, head...), packet[:n]...)
		packet = packet[n:]
		d.vars["part_"+strconv.Itoa(i)] = upper(download(ud))
	}
	return nil
}

func otaLong(d *Dialogue, a []string) error {
	o, err := d.otaNow()
	if err != nil {
		return err
	}
	n, err := strconv.Atoi(a[0])
	if err != nil {
		return err
	}
	id, err := hex.DecodeString(a[1])
	if err != nil {
		return err
	}
	packet, err := o.packet(scp80.Script(scp80.Definite, o.s.Put(ota.Ref{Kind: profile.File, ID: id}, make([]byte, n))...))
	if err != nil {
		return err
	}
	parts, err := scp80.Split(packet, 2)
	if err != nil {
		return err
	}
	for _, p := range parts {
		c := apdu.Command{CLA: 0x80, INS: 0xC2, Data: download(p), Ne: 256}
		if err := d.transmit(c.Append(nil)); err != nil {
			return err
		}
		if d.sw != apdu.OK {
			return fmt.Errorf("status %04X", uint16(d.sw))
		}
	}
	return nil
}

func otaProof(d *Dialogue, a []string, plain bool) error {
	o, err := d.otaNow()
	if err != nil {
		return err
	}
	want, err := strconv.ParseUint(a[0], 16, 8)
	if err != nil {
		return err
	}
	s, err := scp80.ParseUserData(d.data)
	if err != nil || !s.Response || s.Total != 1 {
		return errors.Join(err, errors.New("the data is not 02 71 00 and a response packet"))
	}
	r, clear, err := scp80.OpenResponse(s.Data, o.header, o.keys)
	secured := o.header.SPI.PoRCheck() != scp80.NoCheck || o.header.SPI.PoRCiphered()
	switch {
	case err != nil:
		return err
	case r.TAR != o.header.TAR:
		return fmt.Errorf("it is from TAR %X", r.TAR)
	case uint64(r.Status) != want:
		return fmt.Errorf("status %02X, %v", byte(r.Status), r.Status)
	case clear != plain && secured:
		return fmt.Errorf("in clear: %v", clear)
	case plain && len(r.Data) > 0:
		return errors.New("it has data")
	case !plain && r.Counter != o.count:
		return fmt.Errorf("its counter is %d, that of the packet %d", r.Counter, o.count)
	}
	o.result = append([]byte(nil), r.Data...)
	return nil
}

func otaSubmit(d *Dialogue, _ []string) error {
	if b, err := find(d.data, "D0/81"); err != nil || len(b) != 3 || b[1] != 0x13 {
		return errors.Join(err, errors.New("it is not SEND SHORT MESSAGE"))
	}
	tpdu, err := find(d.data, "D0/8B")
	if err != nil {
		return err
	}
	ud, err := scp80.ParseSubmit(tpdu)
	if err == nil {
		d.data = append([]byte(nil), ud...)
	}
	return err
}

func otaResult(d *Dialogue, a []string) error {
	o, err := d.otaNow()
	if err != nil {
		return err
	}
	p, err := parsePattern(a[0])
	if err != nil {
		return err
	}
	if err := p.match(o.result, d.vars); err != nil {
		return fmt.Errorf("it is %s: %w", upper(o.result), err)
	}
	return nil
}

func otaKey(d *Dialogue, a []string) error {
	o, err := d.otaNow()
	if err != nil {
		return err
	}
	res, err := scp80.ParseResult(o.result, o.form)
	if err != nil {
		return err
	}
	data := ota.Answer(res)
	if v, err := tlv.Find(data, 0x34); err == nil {
		data = tlv.Append(nil, 0x34, v...)
	}
	return d.iotNow().learn(a[0], a[1], data)
}

func otaList(d *Dialogue, a []string) error {
	o, err := d.otaNow()
	if err != nil {
		return err
	}
	n := 0
	for p2 := byte(0); ; p2 = 1 {
		packet, err := o.packet(scp80.Script(scp80.Definite, []byte{0x80, 0xCB, 0x01, p2, 0x00}))
		if err != nil {
			return err
		}
		parts, err := scp80.Split(packet, 1)
		if err != nil {
			return err
		}
		c := apdu.Command{CLA: 0x80, INS: 0xC2, Data: download(parts[0]), Ne: 256}
		if err := d.transmit(c.Append(nil)); err != nil {
			return err
		}
		if err := otaProof(d, []string{"00"}, false); err != nil {
			return err
		}
		res, err := scp80.ParseResult(o.result, scp80.Definite)
		if err != nil || len(res.Responses) != 1 {
			return errors.Join(err, errors.New("there is not one response"))
		}
		data, sw, _ := apdu.Status(res.Responses[0])
		r := tlv.Read(data)
		for r.Next() {
			n++
		}
		switch {
		case r.Err() != nil:
			return r.Err()
		case sw == apdu.OK && strconv.Itoa(n) != a[0]:
			return fmt.Errorf("there are %d objects", n)
		case sw == apdu.OK:
			return nil
		case sw != 0x6300 || len(data) == 0:
			return fmt.Errorf("status %04X", uint16(sw))
		}
	}
}
