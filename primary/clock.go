package primary

import (
	"slices"
	"sync"
	"time"

	"github.com/sspemu/sspemu/primary/vm"
)

// Clock is the time of a platform.
type Clock interface {
	vm.Clock
	// AfterFunc calls f once, d from now, not in the goroutine of the caller; stop
	// ends that, if it is not too late.
	AfterFunc(d time.Duration, f func()) (stop func())
}

// RealClock is the time of the machine, counted from now on.
func RealClock() Clock { return &realClock{time.Now()} }

type realClock struct{ start time.Time }

func (c *realClock) Now() time.Duration { return time.Since(c.start) }
func (c *realClock) Wall() time.Time    { return time.Now() }

// Sleep is for a bundle in the middle of a call, which lasts no longer than that.
func (c *realClock) Sleep(d time.Duration) { time.Sleep(min(d, vm.DefaultCall)) }

func (c *realClock) AfterFunc(d time.Duration, f func()) func() {
	t := time.AfterFunc(d, f)
	return func() { t.Stop() }
}

// Epoch is the wall time at which a VirtualClock starts.
var Epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// VirtualClock stands still until somebody advances it, or a bundle sleeps.
type VirtualClock struct {
	mu     sync.Mutex
	now    time.Duration
	timers []*virtualTimer // by time
}

type virtualTimer struct {
	at time.Duration
	f  func()
}

// NewVirtualClock makes a clock that shows Epoch.
func NewVirtualClock() *VirtualClock { return &VirtualClock{} }

// Now is the time since the start.
func (c *VirtualClock) Now() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// Wall is Epoch and what has passed since.
func (c *VirtualClock) Wall() time.Time { return Epoch.Add(c.Now()) }

// Sleep moves the time of a bundle in the middle of a call. What is due by then
// is called by the next Advance; the platform itself looks at its timers before
// every command.
func (c *VirtualClock) Sleep(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now += min(max(d, 0), 24*time.Hour)
}

// AfterFunc has f called by the Advance that reaches its time.
func (c *VirtualClock) AfterFunc(d time.Duration, f func()) (stop func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := &virtualTimer{c.now + d, f}
	i, _ := slices.BinarySearchFunc(c.timers, t.at+1, func(t *virtualTimer, at time.Duration) int { return int(t.at - at) })
	c.timers = slices.Insert(c.timers, i, t)
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.timers = slices.DeleteFunc(c.timers, func(x *virtualTimer) bool { return x == t })
	}
}

// Advance moves the time on and calls what becomes due, in order, each at its
// time. It must not be called inside the network.
func (c *VirtualClock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	end := c.now + d
	for len(c.timers) > 0 && c.timers[0].at <= end {
		t := c.timers[0]
		c.timers = c.timers[1:]
		c.now = max(c.now, t.at)
		c.mu.Unlock()
		t.f()
		c.mu.Lock()
	}
	c.now = max(c.now, end)
}
