package sidecar

import (
	"math"
	"net/http"
	"time"

	"github.com/waxwing-dm/waxwing/internal/problem"
)

// What others make us keep for good: conversations at this hub, the commits in them, and what other hubs have signed. A hub cannot tell what a
// commit is worth, and anybody is a member of a group of their own; so all of one instance, or of one account here, has a budget of bytes, paid
// when something was written.
const (
	keptBurst, keptRate     = 256 << 20, 4 << 10 // of an instance or account at this hub: some 350 MB a day
	mirrorBurst, mirrorRate = 1 << 30, 16 << 10  // of what one hub has signed
	termBurst, termRate     = 100, 5             // claims: each is held against all there is of the old chain
	keptOverhead            = 1 << 10            // of a row with its receipt
)

type keeping struct{ hub, mirror, terms *limiter }

func newKeeping() keeping {
	return keeping{newLimiter(keptBurst, keptRate), newLimiter(mirrorBurst, mirrorRate), newLimiter(termBurst, termRate)}
}

// solvent answers 429 while nothing is left.
func (l *limiter) solvent(key string, now time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	b, ok := l.buckets[key]
	if !ok || l.now(b, now) > 0 {
		return nil
	}
	p := problem.New(http.StatusTooManyRequests, "rate_limited", "so much was written here already; try again later")
	p.RetryAfter = int(math.Ceil((1 - l.now(b, now)) / l.rate))
	return p
}

// pay takes n, also more than there is.
func (l *limiter) pay(key string, n float64, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.bucket(key, now).left -= n
}

// keep does what writes n bytes into the hub for somebody, if they have a budget left.
func (s *Sidecar) keep(who string, n int, write func() error) error {
	if err := s.kept.hub.solvent(who, s.now()); err != nil {
		return err
	}
	err := write()
	if err == nil {
		s.kept.hub.pay(who, float64(n+keptOverhead), s.now())
	}
	return err
}

// mayMirror is asked for each event that is not here yet.
func (s *Sidecar) mayMirror(instance string, size int) bool {
	if s.kept.mirror.solvent(instance, s.now()) != nil {
		return false
	}
	s.kept.mirror.pay(instance, float64(size+keptOverhead), s.now())
	return true
}
