package iso7816

import "io"

// PTY makes a pseudo-terminal: our side, and the name of the other.
func PTY() (io.ReadWriteCloser, string, error) { return newPTY("") }

// CCIDFrames are the frames of a serial CCID reader in b.
func CCIDFrames(b []byte) (frames [][]byte) {
	var d ccidFrames
	for _, c := range b {
		if f, _ := d.take(c); f != nil {
			frames = append(frames, append([]byte(nil), f...))
		}
	}
	return frames
}

// CCIDConversation is what a reader answers to the messages in b, each of them with a
// byte for its length in front, while the card says what is in card, some of it at a
// time. It waits for a card that is silent.
func CCIDConversation(b, card []byte, told func(message, reply []byte)) {
	l := &ccidLine{arrived: make(chan struct{}, 1), p: &master{}, present: true}
	l.s = &scriptedCard{l, card}
	for len(b) > 0 {
		n := min(int(b[0]), len(b)-1)
		m := b[1 : 1+n]
		b = b[1+n:]
		if len(m) < ccidHeader {
			continue
		}
		told(m, l.message(m))
		l.mu.Lock()
		l.present = true
		l.mu.Unlock()
	}
}

// scriptedCard answers everything with a run of its bytes, the first of which says how
// many; when there are no more it has gone.
type scriptedCard struct {
	l    *ccidLine
	left []byte
}

func (c *scriptedCard) speak() {
	c.l.mu.Lock()
	defer c.l.mu.Unlock()
	if len(c.left) == 0 {
		c.l.present = false
		return
	}
	n := min(int(c.left[0])%64, len(c.left)-1)
	c.l.in = append(c.l.in, c.left[1:1+n]...)
	c.left = c.left[1+n:]
}

func (c *scriptedCard) chars([]byte, bool) { c.speak() }
func (c *scriptedCard) signalled(signal)   { c.speak() }
