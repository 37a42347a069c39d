package sidecar

import (
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/waxwing-dm/waxwing/internal/problem"
	"github.com/waxwing-dm/waxwing/sidecar/store"
)

// Claims of one caller for one actor: key packages are used up by them, so nobody may take them all at once.
const (
	claimBurst  = store.MaxOneTime / 2
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
		p := problem.New(http.StatusTooManyRequests, "rate_limited", "too many calls of this kind; try again later")
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

// maxStrangers bounds what the bodies have together, in bytes, of calls that nobody has signed for yet: they are held in memory
// while they come in and while their signers' keys are fetched.
const maxStrangers = 64 << 20

// forStrangers is around the calls that anybody can make with a body. Beyond the bound they are answered 503.
func (s *Sidecar) forStrangers(h handler) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		body := &countedBody{ReadCloser: r.Body, all: &s.strangers}
		defer body.release()
		r.Body = body
		return h(w, r)
	}
}

// A countedBody adds what is read of it to what all of them have.
type countedBody struct {
	io.ReadCloser
	all  *atomic.Int64
	held int64
}

func (b *countedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.held += int64(n)
	if b.all.Add(int64(n)) > maxStrangers {
		p := problem.New(http.StatusServiceUnavailable, "busy", "too much is coming in; try again")
		p.RetryAfter = 10
		return 0, p
	}
	return n, err
}

func (b *countedBody) release() { b.all.Add(-b.held) }
