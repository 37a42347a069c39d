package hub

import (
	"sync"
	"time"
)

// Times and bounds of turns.
const (
	firstTurn   = 30 * time.Second
	longestTurn = time.Hour
	turnKept    = 24 * time.Hour
	maxTurns    = 16 // commits of a group that are remembered
	maxGroups   = 10_000
	evictAmong  = 8
)

// turns remember who has brought which commit, so that in an epoch that was opened again because of one, the others go first (P6). Whoever
// commits what others cannot follow could else take the epoch each time. They are in memory: a hub that starts again has none.
type turns struct {
	mu     sync.Mutex
	groups map[string]*turn
}

type turn struct {
	touched time.Time
	commits []brought // the newest last
}

type brought struct {
	seq      uint64
	ticket   [32]byte // of the epoch that it was made in
	who      string
	reopened time.Time // zero: nobody has disputed it with success
}

// granted remembers a commit.
func (t *turns) granted(groupID []byte, seq uint64, ticket [32]byte, who string, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	g := t.groups[string(groupID)]
	if g == nil {
		t.makeRoom(now)
		g = new(turn)
		t.groups[string(groupID)] = g
	}
	g.touched = now
	g.commits = append(g.commits[max(0, len(g.commits)+1-maxTurns):], brought{seq: seq, ticket: ticket, who: who})
}

func (t *turns) makeRoom(now time.Time) {
	if t.groups == nil {
		t.groups = map[string]*turn{}
	}
	if len(t.groups) < maxGroups {
		return
	}
	n, oldest, when := 0, "", now
	for id, g := range t.groups { // in no order
		if n++; oldest == "" || g.touched.Before(when) {
			oldest, when = id, g.touched
		}
		if n == evictAmong {
			break
		}
	}
	delete(t.groups, oldest)
}

// reopened blames who has brought the commit of a seq.
func (t *turns) reopened(groupID []byte, seq uint64, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if g := t.groups[string(groupID)]; g != nil {
		for i := range g.commits {
			if g.commits[i].seq == seq {
				g.commits[i].reopened = now
			}
		}
	}
}

// wait is how long the others go first in an epoch: ever longer with each commit of it that was disputed.
func (t *turns) wait(groupID []byte, ticket [32]byte, who string, now time.Time) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	g := t.groups[string(groupID)]
	if g == nil || who == "" {
		return 0
	}
	var last time.Time
	turn := firstTurn / 4
	for _, b := range g.commits {
		if b.ticket == ticket && b.who == who && !b.reopened.IsZero() {
			last, turn = b.reopened, min(4*turn, longestTurn)
		}
	}
	if last.IsZero() {
		return 0
	}
	return max(0, last.Add(turn).Sub(now))
}
