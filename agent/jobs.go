package agent

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/waxwing-dm/waxwing/device"
	"github.com/waxwing-dm/waxwing/internal/clientapi"
	"github.com/waxwing-dm/waxwing/internal/problem"
)

const (
	atOnce       = 8 // jobs
	proofTries   = 3 // of a lookup whose answers prove nothing
	recheckEvery = time.Minute
)

// A workshop is what is known of the jobs under way. It is in memory only: after a restart everything is tried at once.
type workshop struct {
	mu     sync.Mutex
	flying map[string]bool
	failed map[string]failure
}

type failure struct {
	times int
	until time.Time
}

// carryOutJobs works off what the device wants from the network.
func (a *Agent) carryOutJobs(ctx context.Context) {
	w := &workshop{flying: map[string]bool{}, failed: map[string]failure{}}
	var working sync.WaitGroup
	defer working.Wait()
	for ctx.Err() == nil {
		changed := a.Changed()
		jobs, err := a.device.Jobs()
		if err != nil {
			a.report(ctx, "reading the jobs", err)
		}
		due, next := w.due(jobs, time.Now())
		for _, j := range due {
			working.Go(func() {
				w.landed(j.ID(), a.try(ctx, j, w.times(j.ID())))
				a.touch()
			})
		}
		select {
		case <-changed:
		case <-time.After(next):
		case <-ctx.Done():
		}
	}
}

// due picks the jobs to start now and says after what time to look again.
func (w *workshop) due(jobs []device.Job, now time.Time) (due []device.Job, next time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	next = recheckEvery
	known := map[string]failure{}
	for _, j := range jobs {
		f, failed := w.failed[j.ID()]
		if failed {
			known[j.ID()] = f
		}
		switch wait := f.until.Sub(now); {
		case w.flying[j.ID()]:
		case failed && wait > 0:
			next = min(next, wait)
		case len(w.flying) < atOnce:
			w.flying[j.ID()] = true
			due = append(due, j)
		}
	}
	for id := range w.flying {
		if f, ok := w.failed[id]; ok {
			known[id] = f
		}
	}
	w.failed = known // what is done is forgotten
	return due, next
}

func (w *workshop) times(id string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.failed[id].times
}

// landed takes a job off; wait is how long to leave it alone, 0 if it is done.
func (w *workshop) landed(id string, wait time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.flying, id)
	if wait == 0 {
		delete(w.failed, id)
		return
	}
	w.failed[id] = failure{w.failed[id].times + 1, time.Now().Add(wait)}
}

// try carries a job out once. It returns how long to wait before the next try, or 0 if the job is over.
func (a *Agent) try(ctx context.Context, j device.Job, before int) (wait time.Duration) {
	err := a.do(ctx, j)
	if err == nil || ctx.Err() != nil {
		return 0
	}
	a.noteRefusal(err)
	if code, detail, final := verdict(err, before); final {
		if err = a.device.Failed(j.ID(), code, detail); err == nil {
			return 0
		}
	}
	a.report(ctx, "carrying out a job", err)
	wait = backOff(before)
	var p *problem.Problem
	if errors.As(err, &p) {
		wait = max(wait, min(time.Duration(p.RetryAfter)*time.Second, longestWait))
	}
	return wait
}

// verdict says whether another try is of no use. A token that is refused is: a login helps, and then the job is good again.
func verdict(err error, before int) (code, detail string, final bool) {
	var p *problem.Problem
	switch {
	case errors.As(err, &p):
		return p.Code, p.Detail, !p.Retry && p.Status != http.StatusUnauthorized
	case errors.Is(err, ErrUnproven):
		return "not_proven", err.Error(), before+1 >= proofTries
	}
	return "", "", false
}

// do carries out one job and reports its result to the device.
func (a *Agent) do(ctx context.Context, j device.Job) error {
	sidecar, err := a.sidecar()
	if err != nil {
		return err
	}
	switch j := j.(type) {
	case *device.OpenJob:
		return a.open(ctx, sidecar, j)
	case *device.LookupJob:
		for _, actor := range j.Actors {
			if err := a.lookup(ctx, actor); err != nil {
				return err
			}
		}
		return a.device.LookedUp(j.ID())
	case *device.ClaimJob:
		return a.claim(ctx, sidecar, j)
	case *device.CommitJob:
		return a.commit(ctx, sidecar, j)
	case *device.SendJob:
		if err := sidecar.Send(ctx, clientapi.Message{ID: j.ID(), Conversation: j.Conversation, Message: j.Message, To: j.To}); err != nil {
			return err
		}
		return a.device.Sent(j.ID())
	case *device.UploadJob:
		return a.upload(ctx, sidecar, j)
	case *device.KeyPackagesJob:
		kp := clientapi.KeyPackages{LastResort: j.LastResort}
		for _, p := range j.OneTime {
			kp.OneTime = append(kp.OneTime, p)
		}
		if _, err := sidecar.PutKeyPackages(ctx, kp); err != nil {
			return err
		}
		return a.device.KeyPackagesStored(j.ID())
	case *device.EventsJob:
		events, err := sidecar.Events(ctx, j.Conversation, j.After)
		if err != nil {
			return err
		}
		return a.device.EventsFetched(j.ID(), hubEvents(events))
	}
	return errors.New("agent: a job of no kind")
}

func (a *Agent) open(ctx context.Context, sidecar *clientapi.Client, j *device.OpenJob) error {
	o, err := sidecar.OpenConversation(ctx, j.GroupID, j.Ticket)
	if err != nil {
		return err
	}
	return a.device.Opened(j.ID(), o.Conversation, o.Receipt)
}

// claim asks for each actor. Who is not there has no packages, which the device finds out for itself.
func (a *Agent) claim(ctx context.Context, sidecar *clientapi.Client, j *device.ClaimJob) error {
	packages := map[string][]device.ClaimedPackage{}
	for _, actor := range j.Actors {
		claimed, err := sidecar.Claim(ctx, actor)
		var p *problem.Problem
		if err != nil && (!errors.As(err, &p) || p.Retry || p.Status == http.StatusUnauthorized) {
			return err
		}
		for _, c := range claimed {
			packages[actor] = append(packages[actor], device.ClaimedPackage{Device: c.Device, KeyPackage: c.KeyPackage, LastResort: c.LastResort})
		}
	}
	return a.device.Claimed(j.ID(), packages)
}

func (a *Agent) commit(ctx context.Context, sidecar *clientapi.Client, j *device.CommitJob) error {
	receipt, err := sidecar.Commit(ctx, clientapi.Commit{
		ID: j.ID(), Conversation: j.Conversation, Term: j.Term, Epoch: j.Epoch, Commit: j.Commit, Ticket: j.Ticket, Signature: j.Signature,
		To: j.To, Welcome: j.Welcome, WelcomeTo: j.WelcomeTo,
	})
	var conflict *clientapi.Conflict
	if errors.As(err, &conflict) {
		return a.device.CommitConflict(j.ID(), hubEvents(conflict.Events))
	}
	if err != nil {
		return err
	}
	return a.device.Committed(j.ID(), receipt)
}

func (a *Agent) upload(ctx context.Context, sidecar *clientapi.Client, j *device.UploadJob) error {
	blob, err := a.device.Blob(j)
	if errors.Is(err, device.ErrNoSuchJob) {
		return nil
	}
	if err != nil {
		return err
	}
	u, err := sidecar.PutBlob(ctx, j.Hash, blob)
	if err != nil {
		return err
	}
	return a.device.Uploaded(j.ID(), u)
}

func hubEvents(events []clientapi.Event) []device.HubEvent {
	out := make([]device.HubEvent, 0, len(events))
	for _, e := range events {
		out = append(out, device.HubEvent{Receipt: e.Receipt, Commit: e.Commit})
	}
	return out
}
