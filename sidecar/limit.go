package sidecar

import (
	"io"
	"math"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/waxwing-dm/waxwing/federation"
	"github.com/waxwing-dm/waxwing/internal/problem"
	"github.com/waxwing-dm/waxwing/sidecar/store"
)

// What others may make of us. A budget is a burst and what comes back in a second.
const (
	claimBurst, claimRate       = store.MaxOneTime / 2, 0.2 // claims of one caller for one actor: key packages are used up by them
	decisionBurst, decisionRate = 200, 1                    // consents of one account
	actorBurst, actorRate       = 1000, 20                  // activities of one actor
	instanceBurst, instanceRate = 10_000, 200               // and of all of an instance, with what is refused of its calls
	addressBurst, addressRate   = 1000, 20                  // calls of an address that are refused before it is known who has signed them

	// Bytes that wait for one who lets everybody in, and has never written to their sender, nor in that conversation: of one sender, and of all
	// of an instance.
	maxOfStranger  = 64 << 10
	maxOfStrangers = 1 << 20
	// The same of who only names a conversation that they are in, as every member does and whoever once was one; and of who is blocked.
	maxOfMember  = 8 << 20
	maxOfMembers = 64 << 20

	maxBuckets = 10_000
)

// budgets are what is left of each.
type budgets struct {
	claims, decisions, actors, instances, addresses *limiter
	strangers, members                              *pending
}

func newBudgets() budgets {
	return budgets{
		newLimiter(claimBurst, claimRate), newLimiter(decisionBurst, decisionRate), newLimiter(actorBurst, actorRate), newLimiter(instanceBurst, instanceRate),
		newLimiter(addressBurst, addressRate), newPending(maxOfStranger, maxOfStrangers), newPending(maxOfMember, maxOfMembers),
	}
}

// limiter is a set of token buckets. It is in memory: a restart forgives.
type limiter struct {
	burst, rate float64 // rate is for a second

	mu      sync.Mutex
	buckets map[string]*bucket
}

type bucket struct {
	left float64 // below zero if the last one took more than there is
	at   time.Time
}

func newLimiter(burst, rate float64) *limiter {
	return &limiter{burst: burst, rate: rate, buckets: map[string]*bucket{}}
}

// take uses up n, or answers 429. More than there can be is let through when all of it is there, and paid for later.
func (l *limiter) take(key string, n float64, now time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.bucket(key, now)
	if missing := min(n, l.burst) - b.left; missing > 0 {
		return l.tooMuch(missing)
	}
	b.left -= n
	return nil
}

// bucket is that of a key as it is by now.
func (l *limiter) bucket(key string, now time.Time) *bucket {
	b, ok := l.buckets[key]
	if !ok {
		l.makeRoom(now)
		b = &bucket{l.burst, now}
		l.buckets[key] = b
	}
	b.left, b.at = l.now(b, now), now
	return b
}

// look answers as take would for one, and takes nothing.
func (l *limiter) look(key string, now time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if b, ok := l.buckets[key]; ok {
		if missing := 1 - l.now(b, now); missing > 0 {
			return l.tooMuch(missing)
		}
	}
	return nil
}

func (l *limiter) tooMuch(missing float64) error {
	p := problem.New(http.StatusTooManyRequests, "rate_limited", "too much of this kind; try again later")
	p.RetryAfter = int(math.Ceil(missing / l.rate))
	return p
}

// now is what a bucket has by now.
func (l *limiter) now(b *bucket, now time.Time) float64 {
	return min(l.burst, b.left+l.rate*max(0, now.Sub(b.at).Seconds()))
}

// makeRoom forgets the buckets that are full again, and if strangers have filled the table with others, all of them.
func (l *limiter) makeRoom(now time.Time) {
	if len(l.buckets) < maxBuckets {
		return
	}
	for key, b := range l.buckets {
		if l.now(b, now) >= l.burst {
			delete(l.buckets, key)
		}
	}
	if len(l.buckets) >= maxBuckets {
		clear(l.buckets)
	}
}

// pending is how many bytes have come from strangers for somebody since a device of theirs has last emptied its mailbox. It is in memory.
type pending struct {
	ofOne, ofInstance int

	mu    sync.Mutex
	bytes map[string]map[string]int // by recipient, by sender and by instance
	size  int                       // of all the maps
}

func newPending(ofOne, ofInstance int) *pending {
	return &pending{ofOne: ofOne, ofInstance: ofInstance, bytes: map[string]map[string]int{}}
}

// take adds what comes from a sender to what waits for each of the recipients, or for none. One item is let in whatever its size.
func (p *pending) take(sender string, recipients []string, size int) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.size >= maxBuckets {
		clear(p.bytes)
		p.size = 0
	}
	origin := originOf(sender)
	for _, r := range recipients {
		waits := p.bytes[r]
		if waits[sender] > 0 && waits[sender]+size > p.ofOne || waits[origin] > 0 && waits[origin]+size > p.ofInstance {
			refused := problem.New(http.StatusTooManyRequests, "stranger_limited", "so much waits for somebody who does not know the sender; they have to read it first")
			refused.RetryAfter = 60
			return refused
		}
	}
	for _, r := range recipients {
		if p.bytes[r] == nil {
			p.bytes[r] = map[string]int{}
		}
		before := len(p.bytes[r])
		p.bytes[r][sender] += size
		p.bytes[r][origin] += size
		p.size += len(p.bytes[r]) - before
	}
	return nil
}

// emptied is for a recipient who has read.
func (p *pending) emptied(recipient string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.size -= len(p.bytes[recipient])
	delete(p.bytes, recipient)
}

func originOf(actor string) string {
	origin, err := federation.Origin(actor)
	if err != nil {
		return actor
	}
	return origin
}

// maxStrangers bounds what the bodies have together, in bytes, of calls that nobody has signed for yet: they are held in memory
// while they come in and while their signers' keys are fetched.
const maxStrangers = 64 << 20

// forStrangers is around the calls that anybody can make with a body. Beyond the bound they are answered 503, and after some seconds 408.
func (s *Sidecar) forStrangers(h handler) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		body := &countedBody{ReadCloser: r.Body, all: &s.strangers, conn: http.NewResponseController(w)}
		defer body.release()
		_ = body.conn.SetReadDeadline(time.Now().Add(s.bodyTime)) // not every writer has one: then the server's own holds
		r.Body = body
		return h(w, r)
	}
}

// A countedBody adds what is read of it to what all of them have.
type countedBody struct {
	io.ReadCloser
	all  *atomic.Int64
	conn *http.ResponseController
	held int64
}

func (b *countedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err == io.EOF { // the deadline must not end the call itself
		_ = b.conn.SetReadDeadline(time.Now().Add(readTime))
	}
	b.held += int64(n)
	if b.all.Add(int64(n)) > maxStrangers {
		p := problem.New(http.StatusServiceUnavailable, "busy", "too much is coming in; try again")
		p.RetryAfter = 10
		return 0, p
	}
	return n, err
}

func (b *countedBody) release() { b.all.Add(-b.held) }
