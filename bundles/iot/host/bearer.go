package host

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/sspemu/sspemu/internal/apdu"
	"github.com/sspemu/sspemu/internal/cat"
	"github.com/sspemu/sspemu/internal/tlv"
)

// Bearer is the part of a device that carries octets between a card and a server: the
// terminal's half of the bearer independent protocol (ETSI TS 102 223 6.6.27 to 6.6.30).
//
//	card ── 91xx, FETCH ──> Bearer ── TCP ──> server
//	card <── TERMINAL RESPONSE, ENVELOPE with an event ──┘
//
// One channel at a time, TCP to an IPv4 address. What else a card asks for is refused as
// beyond the capabilities of the terminal.
type Bearer struct {
	// Transmit sends one command APDU to the card, raw: 61xx and 91xx are Bearer's.
	Transmit func(ctx context.Context, capdu []byte) ([]byte, error)
	// Dial connects to a server; nil: the network.
	Dial func(ctx context.Context, address string) (net.Conn, error)
	// Tell hears of each step; may be nil.
	Tell func(format string, args ...any)
	// Idle is how long a server may say nothing before the link counts as dropped; 0: 30 s.
	Idle time.Duration

	conn net.Conn
	in   chan []byte // what the server sends, closed at its end
	held []byte      // for RECEIVE DATA
	gone bool        // the server has ended the connection
}

// bearerIdle is how long a server may say nothing (chosen).
const bearerIdle = 30 * time.Second

func (b *Bearer) tell(format string, args ...any) {
	if b.Tell != nil {
		b.Tell(format, args...)
	}
}

// Send sends a command, fetches a long answer, and gives data and status word.
func (b *Bearer) Send(ctx context.Context, c apdu.Command) ([]byte, apdu.SW, error) {
	r, err := b.Transmit(ctx, c.Append(nil))
	if err != nil {
		return nil, 0, err
	}
	data, sw, ok := apdu.Status(r)
	data = append([]byte(nil), data...)
	for ok && sw&0xFF00 == apdu.MoreData {
		n := int(sw & 0xFF)
		if n == 0 {
			n = apdu.MaxShortNe
		}
		if r, err = b.Transmit(ctx, (&apdu.Command{CLA: c.CLA, INS: 0xC0, Ne: n}).Append(nil)); err != nil {
			return nil, 0, fmt.Errorf("GET RESPONSE: %w", err)
		}
		var more []byte
		if more, sw, ok = apdu.Status(r); !ok || len(more) == 0 && sw != apdu.OK {
			return nil, 0, fmt.Errorf("GET RESPONSE: %X", r)
		}
		data = append(data, more...)
	}
	if !ok {
		return nil, 0, fmt.Errorf("the card's answer has no status word: %X", r)
	}
	return data, sw, nil
}

// terminalProfile is what TERMINAL PROFILE says that a Bearer has (ETSI TS 102 223 5.2, recalled,
// unverified): profile and SMS-PP download, the list of events, OPEN, CLOSE, SEND and
// RECEIVE DATA, one channel, TCP.
var terminalProfile = []byte{0x03, 0, 0, 0, 0x01, 0, 0, 0, 0, 0, 0, 0x0F, 0x20, 0, 0, 0, 0x01}

// Profile begins with a card: it tells what the terminal has. The status word, for Run, says
// whether the card wants something.
func (b *Bearer) Profile(ctx context.Context) (apdu.SW, error) {
	_, sw, err := b.Send(ctx, apdu.Command{CLA: 0x80, INS: 0x10, Data: terminalProfile})
	if err == nil && sw != apdu.OK && sw&0xFF00 != apdu.ProactivePending {
		err = fmt.Errorf("TERMINAL PROFILE: status %04X, %s", uint16(sw), sw.Words())
	}
	return sw, err
}

// Run does what the card asks for after an answer with status word sw, until it asks for
// nothing more and no channel is open.
func (b *Bearer) Run(ctx context.Context, sw apdu.SW) (err error) {
	defer b.hangUp()
	for {
		switch {
		case sw&0xFF00 == apdu.ProactivePending:
			sw, err = b.serve(ctx, int(sw&0xFF))
		case sw != apdu.OK:
			return fmt.Errorf("bearer: status %04X, %s", uint16(sw), sw.Words())
		case b.conn == nil:
			return nil
		default:
			sw, err = b.event(ctx)
		}
		if err != nil {
			return fmt.Errorf("bearer: %w", err)
		}
	}
}

// serve fetches a command and answers it.
func (b *Bearer) serve(ctx context.Context, n int) (apdu.SW, error) {
	if n == 0 {
		n = apdu.MaxShortNe
	}
	data, sw, err := b.Send(ctx, apdu.Command{CLA: 0x80, INS: 0x12, Ne: n})
	if err != nil {
		return 0, err
	}
	typ, qualifier, to, objects, ok := cat.Parse(data)
	if sw != apdu.OK || !ok {
		return 0, fmt.Errorf("FETCH: %04X %X is no proactive command", uint16(sw), data)
	}
	result, more := b.do(ctx, typ, to, objects)
	r := apdu.Command{CLA: 0x80, INS: 0x14, Data: cat.Response(typ, qualifier, result, more)}
	_, sw, err = b.Send(ctx, r)
	return sw, err
}

// do carries a command out.
func (b *Bearer) do(ctx context.Context, typ, to byte, objects []byte) (result, more []byte) {
	if typ != cat.SetUpEventList && typ != cat.OpenChannel && (b.conn == nil || to != cat.Channel1) {
		if typ == cat.CloseChannel || typ == cat.SendData || typ == cat.ReceiveData {
			return []byte{cat.ChannelError, cat.NoChannel}, nil
		}
		b.tell("the card asks for command %02X, which this terminal has not", typ)
		return []byte{cat.BeyondTerminal}, nil
	}
	switch typ {
	case cat.SetUpEventList:
		return []byte{cat.Done}, nil
	case cat.OpenChannel:
		return b.open(ctx, objects)
	case cat.SendData:
		d := cat.Find(objects, cat.TagChannelData)
		_ = b.conn.SetWriteDeadline(time.Now().Add(bearerIdle)) // a server that only talks
		if _, err := b.conn.Write(d); err != nil {
			b.tell("SEND DATA: %v", err)
			return []byte{cat.ChannelError, cat.ChannelClosed}, nil
		}
		b.tell("SEND DATA: %d octets", len(d))
		return []byte{cat.Done}, cat.Object(nil, cat.TagDataLength, 0xFF)
	case cat.ReceiveData:
		want := cat.Find(objects, cat.TagDataLength)
		if len(want) != 1 {
			return []byte{cat.NotUnderstood}, nil
		}
		b.collect()
		d := b.held[:min(len(b.held), int(want[0]))]
		b.held = b.held[len(d):]
		b.tell("RECEIVE DATA: %d octets", len(d))
		r := cat.Done
		if len(d) < int(want[0]) {
			r = cat.MissingInfo
		}
		more = cat.Object(nil, cat.TagChannelData, d...)
		return []byte{r}, cat.Object(more, cat.TagDataLength, byte(min(len(b.held), 0xFF)))
	case cat.CloseChannel:
		b.tell("CLOSE CHANNEL")
		b.hangUp()
		return []byte{cat.Done}, nil
	}
	return []byte{cat.BeyondTerminal}, nil
}

func (b *Bearer) open(ctx context.Context, objects []byte) (result, more []byte) {
	t, a := cat.Find(objects, cat.TagTransport), cat.Find(objects, cat.TagOtherAddress)
	switch {
	case len(t) != 3 || len(a) == 0:
		return []byte{cat.NotUnderstood}, nil
	case t[0] != cat.TCPClient || a[0] != cat.IPv4 || len(a) != 5 || b.conn != nil:
		return []byte{cat.BeyondTerminal}, nil
	}
	address := fmt.Sprintf("%s:%d", net.IP(a[1:]), int(t[1])<<8|int(t[2]))
	dial := b.Dial
	if dial == nil {
		dial = func(ctx context.Context, address string) (net.Conn, error) {
			return (&net.Dialer{Timeout: 10 * time.Second}).DialContext(ctx, "tcp", address)
		}
	}
	conn, err := dial(ctx, address)
	if err != nil {
		b.tell("OPEN CHANNEL: %v", err)
		return []byte{cat.ChannelError, cat.NotReachable}, cat.Object(nil, cat.TagChannel, 0, 0)
	}
	b.tell("OPEN CHANNEL: TCP to %s", address)
	b.conn, b.in, b.held, b.gone = conn, make(chan []byte, 16), nil, false
	go func(in chan<- []byte) {
		defer close(in)
		for {
			buf := make([]byte, 4096)
			n, err := conn.Read(buf)
			if n > 0 {
				in <- buf[:n]
			}
			if err != nil {
				return
			}
		}
	}(b.in)
	more = cat.Object(nil, cat.TagChannel, cat.Established|1, 0)
	for _, tag := range []tlv.Tag{cat.TagBearer, cat.TagBufferSize} {
		if v := cat.Find(objects, tag); v != nil {
			more = cat.Object(more, tag, v...)
		}
	}
	return []byte{cat.Done}, more
}

// collect takes what has come without waiting.
func (b *Bearer) collect() {
	for {
		select {
		case p, ok := <-b.in:
			if !ok {
				b.gone = true
				return
			}
			b.held = append(b.held, p...)
		default:
			return
		}
	}
}

// event waits for the server, and tells the card.
func (b *Bearer) event(ctx context.Context) (apdu.SW, error) {
	if len(b.held) == 0 && !b.gone {
		wait := b.Idle
		if wait == 0 {
			wait = bearerIdle
		}
		idle := time.NewTimer(wait)
		defer idle.Stop()
		select {
		case p, ok := <-b.in:
			if b.held = append(b.held, p...); !ok {
				b.gone = true
			}
		case <-idle.C:
			b.tell("nothing came for %v", wait)
			b.gone = true
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
	e := cat.Event(cat.ChannelStatus, cat.Object(nil, cat.TagChannel, 1, cat.LinkDropped))
	if len(b.held) > 0 {
		o := cat.Object(nil, cat.TagChannel, cat.Established|1, 0)
		e = cat.Event(cat.DataAvailable, cat.Object(o, cat.TagDataLength, byte(min(len(b.held), 0xFF))))
	} else if b.gone {
		b.tell("the server has ended the connection")
	}
	_, sw, err := b.Send(ctx, apdu.Command{CLA: 0x80, INS: 0xC2, Data: e, Ne: apdu.MaxShortNe})
	switch {
	case err != nil || sw != apdu.OK:
	case len(b.held) > 0:
		err = errors.New("the card does not take what the server sends")
	case b.gone:
		err = errors.New("the server has gone, and the card does not close the channel")
	}
	return sw, err
}

func (b *Bearer) hangUp() {
	if b.conn == nil {
		return
	}
	_ = b.conn.Close()
	for range b.in { // the reader ends
	}
	b.conn = nil
}
