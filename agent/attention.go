package agent

import (
	"context"
	"math/rand/v2"
	"time"
)

// attention is how much somebody waits for what the agent does.
type attention int

const (
	unwatched attention = iota
	watched             // a program follows the events
	awaited             // a program has called within attentive
)

const attentive = 30 * time.Second

// Called tells that a program on this machine waits for something now: hosts that were away are tried sooner. end, if it follows the events, is
// called when it has gone.
func (a *Agent) Called(follows bool) (end func()) {
	a.mu.Lock()
	now := time.Now()
	news := now.Sub(a.called) > attentive
	a.called = now
	if follows {
		a.streams++
	}
	a.mu.Unlock()
	if news {
		a.shop.hasten(now)
		a.knock()
		a.touch()
	}
	return func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		if follows {
			a.streams--
		}
	}
}

func (a *Agent) attention() attention {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case time.Since(a.called) <= attentive:
		return awaited
	case a.streams > 0:
		return watched
	}
	return unwatched
}

// knock has the mailbox tried again without waiting for its turn.
func (a *Agent) knock() {
	select {
	case a.knocks <- struct{}{}:
	default:
	}
}

// rest waits for its turn, or a knock. Between two tries is at least a moment in any case.
func (a *Agent) rest(ctx context.Context, wait time.Duration) {
	select {
	case <-a.knocks: // from before
	default:
	}
	sleep(ctx, min(wait, firstWait))
	if wait -= firstWait; wait <= 0 {
		return
	}
	select {
	case <-ctx.Done():
	case <-a.knocks:
		sleep(ctx, rand.N(firstWait))
	case <-time.After(wait):
	}
}
