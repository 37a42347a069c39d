package sidecar

import (
	"context"
	"runtime"
	"sync"
)

// turnsEach processor: whoever has one may still wait for a processor behind calls that need no turn, and others must be able to compute then.
const turnsEach = 2

// turns lets so many calls at a time compute what costs before it is known who has signed them. Without it a call would wait at each of its
// steps behind every connection of a flood; with it, it waits once, and behind those only who say that they are of the same instance.
type turns struct {
	mu      sync.Mutex
	free    int
	waiting map[string][]*turn // by who they say they are
	order   []string           // of those, whose turn is next; each once
}

type turn struct {
	comes chan struct{}
	gone  bool // nobody waits for it any more
}

func newTurns() *turns {
	return &turns{free: turnsEach * runtime.GOMAXPROCS(0), waiting: map[string][]*turn{}}
}

// take waits for a turn. Without an error it must be given back.
func (t *turns) take(ctx context.Context, who string) error {
	mine := t.enqueue(who)
	if mine == nil {
		return nil
	}
	select {
	case <-mine.comes:
		return nil
	case <-ctx.Done():
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	select {
	case <-mine.comes: // meanwhile
		t.pass()
	default:
		mine.gone = true
	}
	return ctx.Err()
}

// enqueue gives nil to who need not wait.
func (t *turns) enqueue(who string) *turn {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.free > 0 {
		t.free--
		return nil
	}
	mine := &turn{comes: make(chan struct{})}
	if len(t.waiting[who]) == 0 {
		t.order = append(t.order, who)
	}
	t.waiting[who] = append(t.waiting[who], mine)
	return mine
}

func (t *turns) giveBack() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.pass()
}

// pass gives a turn to the first of who is next, who is then last.
func (t *turns) pass() {
	for len(t.order) > 0 {
		who := t.order[0]
		t.order = t.order[1:]
		waiting := t.waiting[who]
		for len(waiting) > 0 && waiting[0].gone {
			waiting = waiting[1:]
		}
		if len(waiting) <= 1 {
			delete(t.waiting, who)
		} else {
			t.waiting[who], t.order = waiting[1:], append(t.order, who)
		}
		if len(waiting) > 0 {
			close(waiting[0].comes)
			return
		}
	}
	t.free++
}

// compute waits until it is this call's turn. It is given back when the signature has been verified, while another server is asked for
// something, and at the end.
func (s *Sidecar) compute(ctx context.Context) error {
	v, ok := ctx.Value(visitKey{}).(*visit)
	if !ok || v.computes {
		return nil
	}
	who := v.claims
	if !s.remote.Met(who) { // anybody can think of names; whoever does waits behind others who do
		who = ""
	}
	err := s.turns.take(ctx, v.from+" "+who)
	v.computes = err == nil
	return err
}

func (s *Sidecar) computed(v *visit) {
	if v.computes {
		v.computes = false
		s.turns.giveBack()
	}
}

// aside is for the time that another server takes to answer.
func (s *Sidecar) aside(ctx context.Context) (back func()) {
	v, ok := ctx.Value(visitKey{}).(*visit)
	if !ok || !v.computes {
		return func() {}
	}
	s.computed(v)
	return func() { _ = s.compute(ctx) } // if not, the call has ended, and goes no further
}
