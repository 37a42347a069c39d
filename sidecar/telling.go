package sidecar

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/waxwing-dm/waxwing/internal/clientapi"
	"github.com/waxwing-dm/waxwing/internal/problem"
	"github.com/waxwing-dm/waxwing/sidecar/store"
)

// Telling old hubs of terms that were opened here. Which hubs those are is the word of who brought the claim, so one that does not listen is tried
// ever more seldom.
const (
	tellEvery  = time.Minute
	tellFor    = 30 * 24 * time.Hour
	tellPart   = 8 // of the time that it was tried in vain passes until the next try
	tellBatch  = 100
	maxTold    = 16 // hubs of one claim
	maxWaiting = 100_000
)

// tellings are when each was last tried, by group and conversation. A sidecar that starts again tries them all.
type tellings map[string]time.Time

func (l tellings) due(t store.Telling, now time.Time) bool {
	key := string(t.GroupID) + t.Conversation
	last, tried := l[key]
	if tried && now.Sub(last) < last.Sub(time.UnixMilli(t.Since))/tellPart {
		return false
	}
	if len(l) >= maxWaiting {
		clear(l)
	}
	l[key] = now
	return true
}

func (s *Sidecar) tellHubs(ctx context.Context) {
	for tried := (tellings{}); ; {
		if err := s.tellAll(ctx, tried); err != nil && ctx.Err() == nil {
			s.logger.Error("telling old hubs of new terms", "error", nameless(err))
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(tellEvery):
		}
	}
}

// tellAll tries each that is due once. What a hub refuses, it refuses again.
func (s *Sidecar) tellAll(ctx context.Context, tried tellings) error {
	for after := (store.Telling{}); ; {
		all, err := s.store.Hub.Tellings(ctx, after, tellBatch)
		if err != nil || len(all) == 0 {
			return err
		}
		var telling sync.WaitGroup
		for _, t := range all {
			after = t
			if tried.due(t, s.now()) {
				telling.Go(func() { s.tell(ctx, t) })
			}
		}
		telling.Wait()
	}
}

func (s *Sidecar) tell(ctx context.Context, t store.Telling) {
	in := map[string]clientapi.Event{"event": {Receipt: t.Event.Receipt, Commit: t.Event.Commit}}
	err := s.remote.Hub(ctx, http.MethodPost, t.Conversation+"/moved", in, nil)
	var p *problem.Problem
	if err != nil && (!errors.As(err, &p) || p.Retry) && s.now().Sub(time.UnixMilli(t.Since)) < tellFor {
		return
	}
	if err := s.store.Hub.Told(ctx, t); err != nil {
		s.logger.Error("telling old hubs of new terms", "error", nameless(err))
	}
}
