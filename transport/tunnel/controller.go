package tunnel

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/sspemu/sspemu/internal/apdu"
	"github.com/sspemu/sspemu/transport"
)

// Controller makes the terminal's end of a link that carries APDUs a
// transport.PacketCarrier. A session begins with the first Packet, and with power if
// the card has none; packets that are sent before there is a card wait for it. Its
// Receiver gets a Packet of no bytes when the session is lost or there cannot be one:
// transport.Trouble of the link tells why.
func Controller(l transport.Link, cfg Config) transport.Link {
	return &controller{link: l, cfg: cfg}
}

// owner is who waits for the answer to the command under way.
type owner uint8

const (
	nobody owner = iota
	user         // of the link: a Block that passes
	own          // the tunnel
)

// step is what the command of the tunnel does.
type step uint8

const (
	powering step = iota
	beginning
	sending
	fetching
	responding // GET RESPONSE, for links that do answer 61XX
	recalling  // GetATR, after another program's reset of the card
)

// maxRecalls bounds how often another program may reset the card before a command of
// ours gets through.
const maxRecalls = 20

const (
	// maxBlocksWaiting bounds the commands of the user that wait for their turn.
	maxBlocksWaiting = 4096
	// maxBarren bounds how often in a row a card may say that there is more, and give
	// nothing.
	maxBarren = 16
	// maxFetches bounds how often a card is asked at once; it is asked again after a
	// pause. Whoever sends is kept by a link that answers at once.
	maxFetches = 4096
)

type controller struct {
	link  transport.Link
	cfg   Config
	inbox transport.Inbox // of the user

	mu       sync.Mutex // guards what follows; never held while the link or the Receiver runs
	opened   bool
	opening  uint64             // counts Opens
	end      context.CancelFunc // closes the link below
	away     bool               // there is no card
	powered  bool
	session  bool
	trouble  error
	cur      owner
	step     step
	began    time.Time // the command under way
	blocks   [][]byte  // commands of the user that wait
	out      []byte    // data objects that wait
	transfer []byte    // those that are on their way, as far as blocks have not gone
	in       []byte    // data objects as far as they have come
	more     bool      // the card has packets
	due      bool      // it is time to ask
	le       int       // Le of the next fetch or GET RESPONSE; 0: the most
	response bool      // GET RESPONSE comes next
	interval time.Duration
	poll     *time.Timer // asks, or looks whether an answer is late
	recalls  int         // in a row
	barren   int         // answers in a row that brought nothing
	fetches  int         // since the last pause
	packet   []byte      // belongs to Frame
}

// String implements transport.Link.
func (c *controller) String() string { return c.link.String() }

// PacketMTU implements transport.PacketCarrier.
func (c *controller) PacketMTU() int { return c.cfg.MTU }

// Limits implements transport.Limiter.
func (c *controller) Limits() (min, max int) { return transport.Limits(c.link) }

// Trouble implements transport.Troubled.
func (c *controller) Trouble() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.trouble == nil && c.opened && c.away {
		return errors.New("no card has come")
	}
	return c.trouble
}

// Open implements transport.Link.
func (c *controller) Open(ctx context.Context, r transport.Receiver) error {
	c.mu.Lock()
	if c.opened {
		c.mu.Unlock()
		return transport.ErrOpen
	}
	c.opened, c.away, c.powered, c.cur, c.blocks, c.trouble = true, true, false, nobody, nil, nil
	c.forget()
	c.opening++
	n := c.opening
	c.inbox.Receive(r)
	var below context.Context
	below, c.end = context.WithCancel(context.WithoutCancel(ctx))
	c.mu.Unlock()
	if err := c.link.Open(below, c); err != nil {
		c.close(n)
		return err
	}
	context.AfterFunc(ctx, func() { c.close(n) })
	return nil
}

// Close implements transport.Link. The card is told that the session ends.
func (c *controller) Close() error {
	c.mu.Lock()
	bye := c.opened && c.session && !c.away && c.cur == nobody
	if bye {
		c.cur, c.step, c.session = own, beginning, false
	}
	n := c.opening
	c.mu.Unlock()
	if bye {
		_ = c.link.Send(transport.Block, c.begin())
	}
	c.close(n)
	return c.link.Close()
}

// close ends what the n-th Open began.
func (c *controller) close(n uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.opened && c.opening == n {
		c.opened = false
		c.end()
		c.forget()
		c.blocks = nil
		c.inbox.Receive(nil)
	}
}

// forget drops the session and all that belongs to it; c.mu is held.
func (c *controller) forget() {
	c.session, c.more, c.due, c.response, c.le, c.barren, c.fetches = false, false, false, false, 0, 0, 0
	c.out, c.transfer, c.in = nil, nil, nil
	c.interval = c.cfg.PollFirst
	if c.poll != nil {
		c.poll.Stop()
	}
}

// lose is forget with a reason; the user is told when there was something to lose.
// c.mu is held; it returns what is to be done without.
func (c *controller) lose(why error) (tell func()) {
	had := c.session || len(c.out) > 0 || c.cur == own
	c.forget()
	c.trouble = why
	if !had {
		return func() {}
	}
	return func() { c.inbox.Deliver(transport.Packet, nil) }
}

// Send implements transport.Link.
func (c *controller) Send(k transport.Kind, p []byte) error {
	switch k {
	case transport.Packet:
		return c.sendPacket(p)
	case transport.Block:
		return c.sendBlock(p)
	case transport.PowerOff:
		c.mu.Lock()
		c.powered = false
		tell := c.lose(errors.New("the card has no power"))
		if c.cur == own {
			c.cur = nobody
		}
		c.mu.Unlock()
		err := c.link.Send(k, p)
		tell()
		return err
	}
	return c.link.Send(k, p)
}

var errFull = fmt.Errorf("tunnel: the card does not take packets as fast as they come: %w", transport.ErrNoPeer)

func (c *controller) sendPacket(p []byte) error {
	c.mu.Lock()
	var err error
	switch {
	case !c.opened:
		err = transport.ErrClosed
	case len(p) == 0:
		err = transport.ErrTooShort
	case len(p) > c.cfg.MTU:
		err = transport.ErrTooLong
	case len(c.out)+len(p) > c.cfg.Queue:
		err = errFull
	default:
		if c.out = c.cfg.appendPacket(c.out, p); c.away && c.cur == nobody {
			c.arm(c.cfg.Timeout)
		}
	}
	c.mu.Unlock()
	if err == nil {
		c.pump()
	}
	return err
}

// sendBlock passes a command on, at once when none is under way.
func (c *controller) sendBlock(p []byte) error {
	lo, hi := c.Limits()
	if err := transport.Check(transport.Controller, transport.Block, len(p), lo, hi); err != nil {
		return err
	}
	c.mu.Lock()
	switch {
	case !c.opened:
		c.mu.Unlock()
		return transport.ErrClosed
	case c.away:
		c.mu.Unlock()
		return transport.ErrNoPeer
	case len(c.blocks) >= maxBlocksWaiting:
		c.mu.Unlock()
		return errFull
	case c.cur != nobody || len(c.blocks) > 0:
		c.blocks = append(c.blocks, slices.Clone(p))
		c.mu.Unlock()
		c.pump()
		return nil
	}
	c.cur = user
	c.mu.Unlock()
	err := c.link.Send(transport.Block, p)
	if err != nil {
		c.mu.Lock()
		if c.cur == user {
			c.cur = nobody
		}
		c.mu.Unlock()
		c.pump()
	}
	return err
}

// pump sends what there is to send, one command at a time. On a link that answers
// within Send it runs again from within.
func (c *controller) pump() {
	for {
		c.mu.Lock()
		if !c.opened || c.away || c.cur != nobody {
			c.mu.Unlock()
			return
		}
		k, p := transport.Block, []byte(nil)
		switch {
		case len(c.blocks) > 0:
			c.cur, p, c.blocks = user, c.blocks[0], c.blocks[1:]
		default:
			if k, p = c.next(); p == nil {
				c.wait()
				c.mu.Unlock()
				return
			}
			c.cur, c.began = own, time.Now()
			c.arm(c.cfg.Timeout)
		}
		who := c.cur
		c.mu.Unlock()
		if err := c.link.Send(k, p); err != nil {
			c.refused(who, err)
		}
	}
}

// next is the next command of the tunnel, nil when there is nothing to do; c.mu is
// held. Nothing of it is used again, because the link may still look at it when the
// next one is made.
func (c *controller) next() (transport.Kind, []byte) {
	cmd := apdu.Command{CLA: c.cfg.CLA, INS: c.cfg.INS, P1: c.cfg.p1(0)}
	if !c.session {
		switch {
		case len(c.out) == 0:
			return 0, nil
		case !c.powered:
			c.step = powering
			return transport.PowerOn, []byte{}
		}
		c.step = beginning
		return transport.Block, c.begin()
	}
	if len(c.transfer) == 0 && !c.more && !c.response && len(c.out) > 0 {
		n := c.cfg.whole(c.out, maxBlocks*c.cfg.Command)
		if c.transfer, c.out = c.out[:n], c.out[n:]; len(c.out) == 0 {
			c.out = nil
		}
	}
	switch {
	case c.response && c.fetches >= maxFetches:
		return 0, nil
	case c.response:
		c.fetches++
		c.step = responding
		cmd.INS, cmd.P1, cmd.Ne = getResponse, 0, c.le
	case len(c.transfer) > 0:
		c.step = sending
		n := min(len(c.transfer), c.cfg.Command)
		cmd.P1 |= c.cfg.Data
		cmd.P2 = byte((len(c.transfer) - n + c.cfg.Command - 1) / c.cfg.Command)
		cmd.Data = c.transfer[:n]
	case c.more && c.fetches < maxFetches, c.due:
		c.step = fetching
		c.due = false
		c.fetches++
		if cmd.Ne = c.le; cmd.Ne == 0 {
			cmd.Ne = c.cfg.Response
		}
	default:
		return 0, nil
	}
	return transport.Block, cmd.Append(nil)
}

// begin is the command that begins a session, and ends the one before.
func (c *controller) begin() []byte {
	cmd := apdu.Command{CLA: c.cfg.CLA, INS: c.cfg.INS, P1: c.cfg.p1(c.cfg.Abort)}
	return cmd.Append(nil)
}

const getResponse = 0xC0 // ISO/IEC 7816-4 11.4.1

// wait sets the time to ask; c.mu is held.
func (c *controller) wait() {
	if c.session {
		c.arm(c.interval)
		c.interval = min(2*c.interval, c.cfg.PollMost)
	}
}

func (c *controller) arm(d time.Duration) {
	if c.poll == nil {
		c.poll = time.AfterFunc(d, c.tick)
		return
	}
	c.poll.Reset(d)
}

// tick is called when it is time to ask, or when an answer is late.
func (c *controller) tick() {
	c.mu.Lock()
	if !c.opened {
		c.mu.Unlock()
		return
	}
	if c.cur != own {
		c.fetches = 0
		tell := func() {}
		if c.due = c.session; c.away {
			tell = c.lose(fmt.Errorf("no card has come within %s", c.cfg.Timeout))
		}
		c.mu.Unlock()
		tell()
		c.pump()
		return
	}
	late := time.Since(c.began)
	if late < c.cfg.Timeout {
		c.arm(c.cfg.Timeout - late)
		c.mu.Unlock()
		return
	}
	reset := c.step != powering
	tell := c.lose(fmt.Errorf("the card did not answer within %s", c.cfg.Timeout))
	if reset { // as a terminal does; the ATR tells that no old answer comes any more
		c.step, c.began = powering, time.Now()
		c.arm(c.cfg.Timeout)
	} else {
		c.cur, c.powered = nobody, false
	}
	c.mu.Unlock()
	if reset {
		if err := c.link.Send(transport.PowerOn, nil); err != nil {
			c.refused(own, err)
		}
	}
	tell()
}

// refused deals with a command that the link did not take. A reset by another program
// does not end a session; the command is made anew.
func (c *controller) refused(who owner, err error) {
	c.mu.Lock()
	tell := func() {}
	if who == own && c.cur == own && c.session && errors.Is(err, transport.ErrReset) && c.recalls < maxRecalls {
		c.recalls++
		c.step = recalling
		c.mu.Unlock()
		if err := c.link.Send(transport.GetATR, nil); err != nil {
			c.refused(own, err)
		}
		return
	}
	if c.cur == who {
		c.cur = nobody
	}
	if who == own {
		c.powered = false
		tell = c.lose(err)
	}
	c.mu.Unlock()
	tell()
}

// Frame takes what comes over the link (transport.Receiver).
func (c *controller) Frame(k transport.Kind, p []byte) {
	tell := func() {}
	c.mu.Lock()
	who := c.cur
	switch k {
	case transport.Block:
		c.cur = nobody
		if who == own {
			tell = c.answered(p)
			c.mu.Unlock()
			c.handOver()
			tell()
			c.pump()
			return
		}
	case transport.ATR:
		c.powered = true
		c.cur = nobody
		if who == own && (c.step == powering || c.step == recalling) {
			c.mu.Unlock()
			c.pump()
			return
		}
		if who == own {
			tell = c.lose(errors.New("the card was reset"))
		}
	case transport.Inserted:
		c.away, c.powered = false, false
	case transport.Removed:
		tell = c.lose(errors.New("the card was removed"))
		c.away, c.powered, c.cur, c.blocks = true, false, nobody, nil
	}
	c.mu.Unlock()
	c.inbox.Deliver(k, p)
	tell()
	c.pump()
}

// handOver gives the user the packets that are whole.
func (c *controller) handOver() {
	for {
		c.mu.Lock()
		packet, rest, err := c.cfg.nextPacket(c.in)
		if err != nil {
			tell := c.lose(err)
			c.mu.Unlock()
			tell()
			return
		}
		c.packet = append(c.packet[:0], packet...)
		if c.in = rest; len(rest) == 0 {
			c.in = nil
		}
		c.mu.Unlock()
		if len(packet) == 0 {
			return
		}
		c.inbox.Deliver(transport.Packet, c.packet)
	}
}

// answered takes the answer to a command of the tunnel; c.mu is held.
func (c *controller) answered(p []byte) (tell func()) {
	data, sw, ok := apdu.Status(p)
	if !ok {
		return c.lose(errors.New("an answer without a status word"))
	}
	was := c.step
	c.response, c.le, c.recalls = false, 0, 0
	if was == fetching || was == responding {
		c.in = append(c.in, data...)
	}
	switch {
	case sw>>8 == transferring && byte(sw)>>sessionShift == c.cfg.Session:
		c.more = byte(sw)&lower == c.cfg.Pending
	case sw == apdu.OK, sw&0xFF00 == apdu.ProactivePending:
		c.more = false
	case sw&0xFF00 == apdu.MoreData && was != beginning:
		c.response, c.le = true, short(sw)
	case sw&0xFF00 == apdu.WrongLe && (was == fetching || was == responding):
		c.more, c.response, c.le = was == fetching, was == responding, short(sw)
	case was == beginning:
		return c.lose(fmt.Errorf("the card carries no SCL packets: TRANSACT DATA was answered with %04X (%s)", uint16(sw), sw.Words()))
	case sw == apdu.ConditionsNotSatisfied:
		return c.lose(errors.New("the card does not know of the session any more"))
	default:
		return c.lose(fmt.Errorf("TRANSACT DATA was answered with %04X (%s)", uint16(sw), sw.Words()))
	}
	switch was {
	case beginning:
		c.session, c.trouble = true, nil
	case sending:
		n := min(len(c.transfer), c.cfg.Command)
		c.transfer = c.transfer[n:]
	}
	if c.more || was == sending || len(data) > 0 {
		c.interval = c.cfg.PollFirst
	}
	switch c.barren++; {
	case was == sending, len(data) > 0, !c.more && !c.response:
		c.barren = 0
	case c.barren > maxBarren:
		return c.lose(errors.New("the card says that there is more, and gives nothing"))
	}
	return func() {}
}

// short is the number of octets that 61XX or 6CXX tells.
func short(sw apdu.SW) int {
	if n := int(sw & 0xFF); n > 0 {
		return n
	}
	return apdu.MaxShortNe
}
