package sdk

// Timer calls a function of the bundle once, after a time. The platform has one
// alarm for a bundle (mk_wait_signal and TIME_OUT, VPP 7-8); the timers of this
// package share it. Timers are volatile: start them in Init when they must
// survive a restart.
type Timer struct {
	f  func()
	at int64 // tick at which it is due
	on bool
}

// NewTimer makes a timer that is not running. f is called from the platform's
// signal, never during a command; what it writes to NVM is one transaction.
func NewTimer(f func()) *Timer { return &Timer{f: f} }

// Start arms the timer for ticks milliseconds from now, anew if it is running.
func (t *Timer) Start(ticks int64) {
	t.at = Now() + max(ticks, 1)
	if !t.on {
		t.on = true
		cur.timers = append(cur.timers, t)
	}
	cur.arm()
}

// Stop disarms the timer.
func (t *Timer) Stop() {
	if t.on {
		t.on = false
		cur.drop(t)
		cur.arm()
	}
}

// Running tells whether the timer is armed.
func (t *Timer) Running() bool { return t.on }

func (m *machine) drop(t *Timer) {
	for i, u := range m.timers {
		if u == t {
			m.timers = append(m.timers[:i], m.timers[i+1:]...)
			return
		}
	}
}

// next is the timer that is due first, nil when none runs.
func (m *machine) next() *Timer {
	var first *Timer
	for _, t := range m.timers {
		if first == nil || t.at < first.at {
			first = t
		}
	}
	return first
}

// arm asks the platform for TIME_OUT when the first timer is due, or for none.
func (m *machine) arm() {
	if t := m.next(); t != nil {
		hostWait(max(t.at-Now(), 1))
	} else {
		hostWait(0)
	}
}

// runTimers calls what is due, earliest first, and arms the alarm again. A timer
// that starts itself anew waits for the next TIME_OUT.
func (m *machine) runTimers() {
	now := Now()
	for t := m.next(); t != nil && t.at <= now; t = m.next() {
		t.on = false
		m.drop(t)
		t.f()
	}
	m.arm()
}
