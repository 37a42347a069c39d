package hub

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/waxwing-dm/waxwing/internal/receipt"
)

// Times and bounds of leases.
const (
	leaseTime   = 10 * time.Second
	openTurn    = 5 * time.Second
	leaseAsk    = 5 * time.Second // who has not asked again for so long is not waiting any more
	maxWaiting  = 16
	maxQueues   = 10_000
	leasePeriod = leaseTime + openTurn
)

// ErrTooMany says that too many wait for a lease already (Q1), or that another claim was told just before.
var ErrTooMany = errors.New("too many at once")

// Lease is what a submission has of one: its key, and a signature by it.
type Lease struct {
	Key       [32]byte
	Signature []byte
}

func (l *Lease) holds(submit []byte) bool {
	return l != nil && receipt.VerifyLeased(l.Key, submit, l.Signature)
}

// LeaseRequest asks to be alone with the next epoch.
type LeaseRequest struct {
	Term, Epoch uint64
	Key         [32]byte // fresh, so that it tells nothing of its owner
	Signature   []byte   // by the current ticket key
}

// Lease says how long until the lease begins, 0 if it has, and how long it runs from then on.
func (h *Hub) Lease(ctx context.Context, groupID []byte, l LeaseRequest) (wait, runs time.Duration, err error) {
	state, err := h.current(ctx, groupID)
	if err != nil {
		return 0, 0, err
	}
	from, err := h.branch(ctx, groupID, state, l.Epoch, func(ticket [32]byte) bool {
		return receipt.VerifyLease(ticket, groupID, l.Term, l.Epoch, l.Key, l.Signature)
	})
	switch {
	case err != nil:
		return 0, 0, err
	case l.Term > state.Term || l.Term == state.Term && !from.ok && l.Epoch > state.newest():
		return 0, 0, fmt.Errorf("hub: lease for %x: %w", groupID, ErrEpochUnknown)
	case l.Term < state.Term || !from.ok && l.Epoch < state.newest():
		return 0, 0, h.stale(ctx, groupID, Submission{Term: l.Term, Epoch: l.Epoch}, state)
	case !from.ok:
		return 0, 0, fmt.Errorf("hub: lease for %x: %w", groupID, ErrNotMember)
	}
	if wait, runs, err = h.leases.ask(groupID, l.Key, h.now()); err != nil {
		return 0, 0, fmt.Errorf("hub: lease for %x: %w", groupID, err)
	}
	return wait, runs, nil
}

// leases are in memory: a hub that starts again has none (Q4).
type leases struct {
	mu     sync.Mutex
	queues map[string]*queue
}

// A queue is what waits for one group.
type queue struct {
	holder  *[32]byte // nil: no lease runs
	ends    time.Time // the lease that runs
	open    time.Time // until then nobody gets one (Q3)
	waiting []waiter
}

type waiter struct {
	key   [32]byte
	asked time.Time
}

// at brings a group's queue up to the time. It is nil if there is nothing in it.
func (l *leases) at(groupID []byte, now time.Time) *queue {
	q := l.queues[string(groupID)]
	if q == nil {
		return nil
	}
	if q.holder != nil && !now.Before(q.ends) {
		q.holder, q.open = nil, q.ends.Add(openTurn)
	}
	kept := q.waiting[:0]
	for _, w := range q.waiting {
		if now.Sub(w.asked) < leaseAsk {
			kept = append(kept, w)
		}
	}
	q.waiting = kept
	if q.holder == nil && len(kept) == 0 && !now.Before(q.open) {
		delete(l.queues, string(groupID))
		return nil
	}
	return q
}

func (l *leases) ask(groupID []byte, key [32]byte, now time.Time) (wait, runs time.Duration, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	q := l.at(groupID, now)
	if q == nil {
		if q, err = l.add(groupID, now); err != nil {
			return 0, 0, err
		}
	}
	if q.holder != nil && *q.holder == key {
		return 0, q.ends.Sub(now), nil
	}
	place, err := q.wait(key, now)
	if err != nil {
		return 0, 0, err
	}
	if place == 0 && q.holder == nil && !now.Before(q.open) {
		q.holder, q.ends, q.waiting = &key, now.Add(leaseTime), q.waiting[1:]
		return 0, leaseTime, nil
	}
	wait = time.Duration(place) * leasePeriod
	if q.holder != nil {
		wait += q.ends.Sub(now) + openTurn
	} else {
		wait += max(q.open.Sub(now), 0)
	}
	return wait, leaseTime, nil
}

func (l *leases) add(groupID []byte, now time.Time) (*queue, error) {
	if len(l.queues) >= maxQueues {
		for id := range l.queues {
			l.at([]byte(id), now)
		}
		if len(l.queues) >= maxQueues {
			return nil, ErrTooMany
		}
	}
	if l.queues == nil {
		l.queues = map[string]*queue{}
	}
	q := new(queue)
	l.queues[string(groupID)] = q
	return q, nil
}

// wait puts the key into the line, or finds it there.
func (q *queue) wait(key [32]byte, now time.Time) (place int, err error) {
	for i := range q.waiting {
		if q.waiting[i].key == key {
			q.waiting[i].asked = now
			return i, nil
		}
	}
	if len(q.waiting) >= maxWaiting {
		return 0, ErrTooMany
	}
	q.waiting = append(q.waiting, waiter{key, now})
	return len(q.waiting) - 1, nil
}

// blocked says how long somebody else has the lease (Q2).
func (l *leases) blocked(groupID []byte, mine *Lease, now time.Time) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	q := l.at(groupID, now)
	if q == nil || q.holder == nil || mine != nil && *q.holder == mine.Key {
		return 0
	}
	return q.ends.Sub(now)
}

// granted ends a lease with its commit, or an open turn.
func (l *leases) granted(groupID []byte, mine *Lease, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	q := l.at(groupID, now)
	switch {
	case q == nil:
	case q.holder == nil:
		q.open = now
	case mine != nil && *q.holder == mine.Key:
		q.holder, q.open = nil, now.Add(openTurn)
	}
}
