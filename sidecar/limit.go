package sidecar

import (
	"net/http"
	"sync"
	"time"

	"github.com/waxwing-dm/waxwing/internal/problem"
)

// Claims of one caller for one actor: key packages are used up by them, so nobody may take them all at once.
const (
	claimBurst  = 200
	claimEvery  = 5 * time.Second // gives one back
	maxLimiters = 10_000
)

// limiter is a set of token buckets. It is in memory: a restart forgives.
type limiter struct {
	mu      sync.Mutex
	buckets map[string]*bucket
}

type bucket struct {
	left int
	at   time.Time
}

func newLimiter() *limiter { return &limiter{buckets: map[string]*bucket{}} }

// take uses up one, or answers 429.
func (l *limiter) take(key string, now time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	b, ok := l.buckets[key]
	if !ok {
		l.makeRoom(now)
		b = &bucket{claimBurst, now}
		l.buckets[key] = b
	}
	if back := int(now.Sub(b.at) / claimEvery); back > 0 {
		b.left, b.at = min(claimBurst, b.left+back), b.at.Add(time.Duration(back)*claimEvery)
	}
	if b.left == 0 {
		p := problem.New(http.StatusTooManyRequests, "rate_limited", "too many claims; try again later")
		p.RetryAfter = int(claimEvery / time.Second)
		return p
	}
	b.left--
	return nil
}

// makeRoom forgets the buckets that are full again, and if strangers have filled the table with others, all of them.
func (l *limiter) makeRoom(now time.Time) {
	if len(l.buckets) < maxLimiters {
		return
	}
	for key, b := range l.buckets {
		if now.Sub(b.at) >= claimEvery*time.Duration(claimBurst-b.left) {
			delete(l.buckets, key)
		}
	}
	if len(l.buckets) >= maxLimiters {
		clear(l.buckets)
	}
}
