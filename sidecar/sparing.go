package sidecar

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// Of refusals of one kind so many are logged in a while, one by one. A flood of bad calls costs a line each otherwise, which is more than it
// costs to refuse them, and a full disk at the end.
const (
	refusalLines = 10
	refusalWhile = 10 * time.Second
	refusalKinds = 200 // then nothing more is logged until the while is over: a code may be another server's invention
)

// refusals counts those that are not logged.
type refusals struct {
	mu    sync.Mutex
	since time.Time
	kinds map[refusal]int
}

type refusal struct{ route, code string }

// count says whether this one is to be logged, and of those before how many were not, once their while is over. A call that was not refused
// has no code.
func (r *refusals) count(kind refusal, now time.Time) (log bool, silent map[refusal]int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if d := now.Sub(r.since); d >= refusalWhile || d < 0 || r.kinds == nil {
		silent, r.kinds, r.since = r.kinds, map[refusal]int{}, now
	}
	if kind.code == "" {
		return true, silent
	}
	n, known := r.kinds[kind]
	if !known && len(r.kinds) >= refusalKinds {
		return false, silent
	}
	r.kinds[kind] = n + 1
	return n < refusalLines, silent
}

func (s *Sidecar) logSilent(ctx context.Context, silent map[refusal]int) {
	for kind, n := range silent {
		if n > refusalLines {
			s.logger.LogAttrs(ctx, slog.LevelInfo, "more requests of one kind", slog.String("route", kind.route), slog.String("code", kind.code),
				slog.Int("times", n-refusalLines))
		}
	}
}
