package main

import (
	"context"
	"sync"

	"github.com/sspemu/sspemu/cmd/sspemu/console"
)

// maxEvents is how many events are remembered.
const maxEvents = 1024

// eventLog remembers what happened, for those who ask later or wait.
type eventLog struct {
	mu   sync.Mutex
	list []console.Event // by number
	seq  uint64          // of the last one
	more chan struct{}   // closed when there is another one
}

func newEventLog() *eventLog { return &eventLog{more: make(chan struct{})} }

func (l *eventLog) add(e console.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.seq++
	e.Seq = l.seq
	if len(l.list) == maxEvents {
		l.list = l.list[1:]
	}
	l.list = append(l.list, e)
	close(l.more)
	l.more = make(chan struct{})
}

func (l *eventLog) last() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.seq
}

// after gives the events after seq and a channel that is closed when there are more.
func (l *eventLog) after(seq uint64) (events []console.Event, more <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range l.list {
		if e.Seq > seq {
			events = append(events, e)
		}
	}
	return events, l.more
}

// follow calls f for the events after since, until f says stop or ctx ends.
func (l *eventLog) follow(ctx context.Context, since uint64, f func(console.Event) (stop bool)) error {
	for {
		events, more := l.after(since)
		for _, e := range events {
			since = e.Seq
			if f(e) {
				return nil
			}
		}
		select {
		case <-more:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
