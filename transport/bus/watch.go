package bus

import (
	"cmp"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Watcher sees a bus as a logic analyser does. Edge is called in the order of time;
// it must return soon and not use the bus.
type Watcher interface {
	Edge(at time.Duration, l Line, high bool)
}

// Watch makes o see every edge from now on, beginning with the levels of all lines;
// nil ends it.
func (w *Wire) Watch(o Watcher) {
	w.access.Lock()
	defer w.access.Unlock()
	w.draw.mu.Lock()
	defer w.draw.mu.Unlock()
	w.draw.to = o
	w.draw.on.Store(o != nil)
	if o == nil {
		return
	}
	now := w.clock.Now()
	w.draw.last = now
	for _, l := range w.Lines() {
		w.draw.level[l] = l != MOSI && l != IRQ
		switch l {
		case SCK:
			w.draw.level[l] = w.o.Mode&2 != 0
		case IRQ:
			w.draw.level[l] = w.irq.Load()
		}
		o.Edge(now, l, w.draw.level[l])
	}
}

// Lines are the lines that the bus has.
func (w *Wire) Lines() []Line {
	l := []Line{SCK, MOSI, MISO, CS}
	if w.o.Physical == I2C {
		l = []Line{SCL, SDA}
	}
	if !w.o.NoIRQ {
		l = append(l, IRQ)
	}
	if !w.o.NoReset {
		l = append(l, RST)
	}
	return l
}

// drawing collects the edges of one access, with those of other lines in between.
type drawing struct {
	on    atomic.Bool
	mu    sync.Mutex // guards what follows
	to    Watcher
	level [lines]bool
	last  time.Duration // of the last edge
	open  bool          // an access is drawn: its edges and others are put in order by flush
	edges []edge
}

type edge struct {
	at   time.Duration
	l    Line
	high bool
}

func (w *Wire) watched() bool { return w.draw.on.Load() }

// edge is an edge that happens now.
func (w *Wire) edge(l Line, high bool) {
	if !w.watched() {
		return
	}
	now := w.clock.Now()
	d := &w.draw
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.open {
		d.edges = append(d.edges, edge{now, l, high})
		return
	}
	d.emit(edge{now, l, high})
}

func (d *drawing) emit(e edge) {
	if d.to != nil && d.level[e.l] != e.high {
		d.level[e.l] = e.high
		d.last = max(d.last, e.at) // a line that moved while the time went on is late
		d.to.Edge(d.last, e.l, e.high)
	}
}

// flush hands on what an access has drawn.
func (w *Wire) flush() {
	if !w.watched() {
		return
	}
	d := &w.draw
	d.mu.Lock()
	defer d.mu.Unlock()
	slices.SortStableFunc(d.edges, func(a, b edge) int { return cmp.Compare(a.at, b.at) })
	for _, e := range d.edges {
		d.emit(e)
	}
	d.edges, d.open = d.edges[:0], false
}

// bitAt is when the half bit n of an access begins that began at start.
func (w *Wire) bitAt(start time.Duration, n int64) time.Duration {
	return start + time.Duration(n*1_000_000_000/(2*w.hz))
}

// drawSPI draws an access of n bytes: out goes to the target, in comes from it.
func (w *Wire) drawSPI(start, setup, hold, bits time.Duration, out, in []byte) {
	d := &w.draw
	d.mu.Lock()
	defer d.mu.Unlock()
	d.open = true
	idle := w.o.Mode&2 != 0 // CPOL
	i := w.faults.Load()
	put := func(at time.Duration, l Line, high bool) {
		if !i.stuck(l) {
			d.edges = append(d.edges, edge{at, l, high})
		}
	}
	late := w.o.Mode&1 != 0 // CPHA: the data change on the first edge and are taken on the second
	bit := func(p []byte, k int) bool {
		if p == nil {
			return true
		}
		return p[k/8]&(0x80>>(k%8)) != 0
	}
	put(start, CS, false)
	first := start + setup
	for k := range 8 * len(out) {
		data := w.bitAt(first, 2*int64(k))
		lead, trail := w.bitAt(first, 2*int64(k)+1), w.bitAt(first, 2*int64(k)+2)
		if late {
			lead, trail = data, lead
		} else if k == 0 {
			data = start
		}
		put(data, MOSI, bit(out, k))
		put(data, MISO, bit(in, k))
		put(lead, SCK, !idle)
		put(trail, SCK, idle)
	}
	put(first+bits+hold, MISO, true)
	put(first+bits+hold, CS, true)
}

// drawI2C draws START, an address and the bytes p. SDA changes in the middle of the
// low half of SCL.
func (w *Wire) drawI2C(start time.Duration, addr byte, acked bool, p []byte, lastAck bool, held time.Duration) {
	d := &w.draw
	d.mu.Lock()
	defer d.mu.Unlock()
	d.open = true
	put := func(at time.Duration, l Line, high bool) { d.edges = append(d.edges, edge{at, l, high}) }
	quarter := w.bitAt(0, 1) / 2
	// START, repeated or not: both lines go up, then SDA falls, then SCL.
	put(start, SDA, true)
	put(start+quarter, SCL, true)
	put(start+2*quarter, SDA, false)
	put(w.bitAt(start, 2), SCL, false)
	n := int64(1)
	one := func(high bool, stretch time.Duration) {
		put(w.bitAt(start, 2*n)+quarter, SDA, high)
		start += stretch
		put(w.bitAt(start, 2*n+1), SCL, true)
		put(w.bitAt(start, 2*n+2), SCL, false)
		n++
	}
	octet := func(b byte, ack bool, stretch time.Duration) {
		for k := range 8 {
			one(b&(0x80>>k) != 0, 0)
		}
		one(!ack, stretch)
	}
	octet(addr, acked, held)
	for k, b := range p {
		octet(b, k < len(p)-1 || lastAck, 0)
	}
}

// drawStop draws STOP.
func (w *Wire) drawStop(start time.Duration) {
	d := &w.draw
	d.mu.Lock()
	defer d.mu.Unlock()
	quarter := w.bitAt(0, 1) / 2
	d.edges = append(d.edges,
		edge{start + quarter, SDA, false},
		edge{start + 2*quarter, SCL, true},
		edge{start + 3*quarter, SDA, true})
}
