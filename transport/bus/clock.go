package bus

import (
	"slices"
	"sync"
	"time"
)

// Real is the time of day, for a bus of real lines.
func Real() Clock { return &realClock{time.Now()} }

type realClock struct{ start time.Time }

func (c *realClock) Now() time.Duration    { return time.Since(c.start) }
func (c *realClock) Sleep(d time.Duration) { time.Sleep(d) }
func (c *realClock) AfterFunc(d time.Duration, f func()) (stop func() bool) {
	return time.AfterFunc(d, f).Stop
}
func (c *realClock) Hold()    {}
func (c *realClock) Release() {}

// Virtual is a Clock whose time passes only when somebody moves it on: by Sleep, by
// bits on a Wire or by waiting for its interrupt line. It is a queue of events: what
// AfterFunc gave it runs in order, in the goroutine that moves the time on, and while
// it runs the time stands still for everybody. The zero value is at time 0.
type Virtual struct {
	mu    sync.Mutex
	free  sync.Cond // told when the last hold goes and when somebody else's wait may be over
	now   time.Duration
	holds int
	queue []*timer // by time, then in the order they were given
}

type timer struct {
	at time.Duration
	f  func()
}

// lock also makes the zero value usable.
func (v *Virtual) lock() {
	v.mu.Lock()
	if v.free.L == nil {
		v.free.L = &v.mu
	}
}

// Now implements Clock.
func (v *Virtual) Now() time.Duration {
	v.lock()
	defer v.mu.Unlock()
	return v.now
}

// Sleep implements Clock.
func (v *Virtual) Sleep(d time.Duration) {
	v.lock()
	defer v.mu.Unlock()
	v.advance(v.now+d, nil, nil)
}

// AfterFunc implements Clock.
func (v *Virtual) AfterFunc(d time.Duration, f func()) (stop func() bool) {
	v.lock()
	defer v.mu.Unlock()
	t := &timer{v.now + max(d, 0), f}
	i := len(v.queue)
	for i > 0 && v.queue[i-1].at > t.at {
		i--
	}
	v.queue = slices.Insert(v.queue, i, t)
	return func() bool {
		v.lock()
		defer v.mu.Unlock()
		i := slices.Index(v.queue, t)
		if i < 0 {
			return false
		}
		v.queue = slices.Delete(v.queue, i, i+1)
		return true
	}
}

// Hold implements Clock.
func (v *Virtual) Hold() {
	v.lock()
	v.holds++
	v.mu.Unlock()
}

// Release implements Clock.
func (v *Virtual) Release() {
	v.lock()
	defer v.mu.Unlock()
	v.release()
}

func (v *Virtual) release() {
	if v.holds--; v.holds < 0 {
		panic("bus: Release without Hold")
	}
	if v.holds == 0 {
		v.free.Broadcast()
	}
}

// wake lets everybody who waits look again.
func (v *Virtual) wake() {
	v.lock()
	v.free.Broadcast()
	v.mu.Unlock()
}

// pass moves the time on by d, after the last hold, unless quit; it tells the time.
func (v *Virtual) pass(d time.Duration, quit func() bool) time.Duration {
	v.lock()
	defer v.mu.Unlock()
	v.advance(v.now+d, nil, quit)
	return v.now
}

// advance moves the time on to t, event after event, unless done says that it is
// enough; v.mu is held. Nothing moves while somebody holds the time, and quit ends
// that wait, too.
func (v *Virtual) advance(t time.Duration, done, quit func() bool) {
	for {
		for v.holds > 0 {
			if quit != nil && quit() {
				return
			}
			v.free.Wait()
		}
		if quit != nil && quit() {
			return
		}
		if done != nil && done() {
			return
		}
		if len(v.queue) == 0 || v.queue[0].at > t {
			v.now = max(v.now, t)
			return
		}
		e := v.queue[0]
		v.queue = slices.Delete(v.queue, 0, 1)
		v.now = max(v.now, e.at)
		v.holds++
		v.mu.Unlock()
		e.f()
		v.mu.Lock()
		v.release()
	}
}

// await waits, in reality, until done or quit; the time stands still.
func (v *Virtual) await(done, quit func() bool) {
	v.lock()
	defer v.mu.Unlock()
	for !quit() && (v.holds > 0 || !done()) {
		v.free.Wait()
	}
}
