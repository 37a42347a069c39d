package sidecar

import "sync"

// notifier wakes those who wait for something of an actor. A wake-up may come without need; it never fails to come.
type notifier struct {
	mu      sync.Mutex
	waiting map[string]chan struct{} // closed by the next wake
}

func newNotifier() *notifier { return &notifier{waiting: map[string]chan struct{}{}} }

// wait returns a channel that is closed at the next wake of this actor. Ask first and look then, or a wake is missed.
func (n *notifier) wait(actor string) <-chan struct{} {
	n.mu.Lock()
	defer n.mu.Unlock()
	c, ok := n.waiting[actor]
	if !ok {
		c = make(chan struct{})
		n.waiting[actor] = c
	}
	return c
}

func (n *notifier) wake(actors ...string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, a := range actors {
		if c, ok := n.waiting[a]; ok {
			close(c)
			delete(n.waiting, a)
		}
	}
}
