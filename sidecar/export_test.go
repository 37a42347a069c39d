package sidecar

import (
	"context"
	"log/slog"
	"math"
	"net"
	"net/http"
	"time"

	"github.com/waxwing-dm/waxwing/sidecar/sidecartest"
	"github.com/waxwing-dm/waxwing/sidecar/store"
	"github.com/waxwing-dm/waxwing/transparency/sequencer"
)

func init() { sidecartest.StockKeys() }

// Hurry makes a sidecar ask its witnesses more often than real ones would like.
func (s *Sidecar) Hurry() {
	s.patience = time.Second
	if s.collector != nil {
		s.collector.pace = pace{least: 5 * time.Millisecond, first: 10 * time.Millisecond, longest: 50 * time.Millisecond, refresh: time.Hour,
			hear: 300 * time.Millisecond, grace: 5 * time.Millisecond, round: 500 * time.Millisecond, held: 50 * time.Millisecond}
	}
}

// HearAll makes it write nothing after a start before all witnesses have spoken.
func (s *Sidecar) HearAll() { s.collector.pace.held, s.collector.pace.hear = time.Hour, 5*time.Second }

// Waiting is why the log waits; "" if it does not.
func (s *Sidecar) Waiting() string {
	s.collector.mu.Lock()
	defer s.collector.mu.Unlock()
	return s.collector.waiting
}

// Refresh makes it do so at this interval when there is nothing new.
func (s *Sidecar) Refresh(every time.Duration) { s.collector.pace.refresh = every }

// AtLeisure is the pace that operators get.
func (s *Sidecar) AtLeisure() {
	s.patience = witnessWait
	if s.collector != nil {
		s.collector.pace = usualPace
	}
}

// Log for tests that write to it without a device.
func (s *Sidecar) Log() *sequencer.Sequencer { return s.log }

// Discreet is what every sidecar logs through.
func Discreet(h slog.Handler) slog.Handler { return discreet{h} }

// Framed is a handler within the frame that is around every route.
func (s *Sidecar) Framed(pattern string, h func(http.ResponseWriter, *http.Request) error) http.Handler {
	mux := http.NewServeMux()
	s.handle(mux, pattern, h)
	return mux
}

// StoreTroubles are what a disk with so much room, and an error of the store, come to.
func StoreTroubles(free int64, err error) []Trouble {
	return storeTroubles(store.Space{Database: 4096, Free: free}, err)
}

// Impatient makes it wait for bodies no longer than this.
func (s *Sidecar) Impatient(d time.Duration) { s.bodyTime = d }

// Exhaust uses up the budget of an actor, of an instance, or of an address, for about a minute.
func (s *Sidecar) Exhaust(who string) {
	for l, minute := range map[*limiter]float64{s.limit.actors: 60 * actorRate, s.limit.instances: 60 * instanceRate, s.limit.addresses: 60 * addressRate} {
		l.mu.Lock()
		l.buckets[who] = &bucket{-minute, s.now()}
		l.mu.Unlock()
	}
}

// Spent is what has been taken out of the budgets of an actor, an instance, or an address.
func (s *Sidecar) Spent(who string) (n int) {
	for _, l := range []*limiter{s.limit.actors, s.limit.instances, s.limit.addresses} {
		l.mu.Lock()
		if b, ok := l.buckets[who]; ok {
			n += int(math.Round(l.burst - b.left))
		}
		l.mu.Unlock()
	}
	return n
}

// CallerOf is what calls are counted by whose sender is not known, if proxies use that header.
func CallerOf(header string, r *http.Request) string {
	return (&Sidecar{behind: http.CanonicalHeaderKey(header)}).callerOf(r)
}

// Watch is the hook of a server that lets in so many connections, and so many of one address.
func Watch(all, each int) func(net.Conn, http.ConnState) { return newConnections(all, each).watch }

// Overdraw uses up, for a day or so, what an instance or account may make the hub and the mirror keep.
func (s *Sidecar) Overdraw(who string) {
	s.kept.hub.pay(who, keptBurst+keptRate*24*60*60, s.now())
	s.kept.mirror.pay(who, mirrorBurst+mirrorRate*24*60*60, s.now())
}

// Tellings counts how often an old hub that never listens is told of a new term.
func Tellings() (n int) {
	start := time.Now()
	tried, t := tellings{}, store.Telling{GroupID: []byte("g"), Conversation: "c", Since: start.UnixMilli()}
	for at := time.Duration(0); at < tellFor; at += tellEvery {
		if tried.due(t, start.Add(at)) {
			n++
		}
	}
	return n
}

// Turns are so many.
func Turns(n int) (take func(ctx context.Context, who string) error, giveBack func()) {
	t := newTurns()
	t.free = n
	return t.take, t.giveBack
}

// FewTurns makes it have no more than these.
func (s *Sidecar) FewTurns(n int) { s.turns.free = n }

// FreeTurns are those that nobody has.
func (s *Sidecar) FreeTurns() int {
	s.turns.mu.Lock()
	defer s.turns.mu.Unlock()
	return s.turns.free
}
