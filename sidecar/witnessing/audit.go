package witnessing

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/waxwing-dm/waxwing/transparency"
	"github.com/waxwing-dm/waxwing/transparency/witness"
)

const (
	stepBundles = 16               // that are read before they are judged together: 1 MiB
	stepTime    = 30 * time.Second // for a step, whoever is asked
	maxSteps    = 64               // of all audits at a time
	backOff     = 15 * time.Second // after a try that failed; twice as long after each more
	maxBackOff  = time.Hour
	loadEntries = 4096 // that are read from the store at once

	// An audit holds every label in memory and every entry on disk.
	maxEntries    = 1 << 20 // of one log
	maxAllEntries = 2 << 20
)

var (
	errNotTheLog = errors.New("the entries do not make the root that was cosigned")
	errTooLarge  = errors.New("the log is too large to be audited here")
	errStopped   = errors.New("the audit has ended for good")
)

// Stopped says where an audit ended for good. Whoever replays the log of that checkpoint comes to the same entry and the same end.
type Stopped struct {
	Origin     string `json:"origin"`
	Entry      int64  `json:"entry"`
	Reason     string `json:"reason"`
	Since      int64  `json:"since"` // seconds
	Bytes      []byte `json:"bytes"`
	Checkpoint string `json:"checkpoint"`
}

// audit is the audit of one log (W24 to W27). It follows what was cosigned; one goroutine at a time, run, works on it.
type audit struct {
	w   *Witnessing
	log pinned  // but for its url, which is guarded by mu
	id  [4]byte // of the log in sightings

	// Of run only. They are nil and empty until what is kept has been replayed.
	replay *transparency.Replay
	edge   transparency.CompactRange

	mu      sync.Mutex // guards what follows; not held while anything is read
	url     string
	size    int64 // that was audited, and is durable
	root    tlog.Hash
	stopped bool
	running bool
	again   bool // somebody poked since run last looked what is to be done
	trouble error
	failed  int
	retry   time.Time
	changed chan struct{} // closed when run has come further, or ends
}

func newAudit(w *Witnessing, p pinned) *audit {
	return &audit{w: w, log: p, id: transparency.OriginHash(p.Origin), url: p.url, changed: make(chan struct{})}
}

func (a *audit) moved(url string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.url = url
}

// poke has a log audited up to what was cosigned.
func (w *Witnessing) poke(origin string) {
	if a := w.auditOf(origin); a != nil {
		a.poke()
	}
}

func (a *audit) poke() {
	ctx, done, ok := a.w.begin()
	if !ok {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.again = true
	if a.running || a.stopped {
		done()
		return
	}
	a.running = true
	go func() {
		defer done()
		a.run(ctx)
	}()
}

// wait returns when so many entries are audited, or nothing is being done about it, or ctx ends.
func (a *audit) wait(ctx context.Context, size int64) {
	for {
		a.mu.Lock()
		idle, changed := a.size >= size || !a.running, a.changed
		a.mu.Unlock()
		if idle {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// audited is that of witness.Config.
func (w *Witnessing) audited(origin string) (int64, tlog.Hash) {
	a := w.auditOf(origin)
	if a == nil {
		return -1, tlog.Hash{}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.stopped || a.size == 0 {
		return -1, tlog.Hash{}
	}
	return a.size, a.root
}

// run works until what was cosigned is audited or that fails.
func (a *audit) run(ctx context.Context) {
	for {
		a.mu.Lock()
		a.again = false
		a.mu.Unlock()
		more, err := a.advance(ctx)
		if ctx.Err() != nil {
			err = nil // nobody's fault
		}
		if a.report(err, more && ctx.Err() == nil) {
			return
		}
	}
}

// report tells who waits how far it has come, and says whether run is to end.
func (a *audit) report(err error, more bool) (end bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	close(a.changed)
	a.changed = make(chan struct{})
	switch {
	case err != nil:
		a.failed++
		a.retry = a.w.now().Add(min(backOff<<min(a.failed-1, 20), maxBackOff))
		if a.trouble == nil || a.trouble.Error() != err.Error() {
			a.w.log.Warn("auditing a log", "origin", a.log.Origin, "audited", a.size, "error", err)
		}
	case a.failed > 0:
		a.failed, a.retry = 0, time.Time{}
	}
	a.trouble = err
	a.running = err == nil && (more || a.again) && !a.stopped
	return !a.running
}

// due says whether an audit that failed is to be tried again.
func (a *audit) due(now time.Time) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.failed > 0 && !a.running && !a.stopped && !now.Before(a.retry)
}

// advance takes one step, and says whether there are more to take.
func (a *audit) advance(ctx context.Context) (more bool, err error) {
	select {
	case a.w.steps <- struct{}{}:
		defer func() { <-a.w.steps }()
	case <-ctx.Done():
		return false, ctx.Err()
	}
	ctx, cancel := context.WithTimeout(ctx, stepTime)
	defer cancel()
	if a.replay == nil {
		if err := a.load(ctx); err != nil {
			return false, err
		}
	}
	state, ok, err := a.w.store.State(ctx, witness.OriginHash(a.log.Origin))
	if err != nil || !ok || state.Size <= a.edge.Size() {
		return false, err
	}
	if err := a.step(ctx, state); err != nil {
		return false, err
	}
	return a.edge.Size() < state.Size, nil
}

// load replays what was audited before. If that is not what it was, our own memory is at fault and no log: it is read anew.
func (a *audit) load(ctx context.Context) error {
	replay, edge, err := a.replayKept(ctx)
	var wrong *transparency.EntryError
	if errors.As(err, &wrong) {
		a.w.log.Error("what was audited of a log does not replay; it is read anew", "origin", a.log.Origin, "error", err)
		replay, edge, err = new(transparency.Replay), transparency.CompactRange{}, a.w.store.forgetEntries(ctx, a.log.id)
	}
	if err != nil {
		return err
	}
	a.replay = replay
	a.publish(edge)
	return nil
}

func (a *audit) replayKept(ctx context.Context) (*transparency.Replay, transparency.CompactRange, error) {
	replay, edge := new(transparency.Replay), transparency.CompactRange{}
	for {
		entries, err := a.w.store.entries(ctx, a.log.id, edge.Size(), loadEntries)
		if err != nil {
			return nil, edge, err
		}
		for _, e := range entries {
			if err := replay.AddChecked(e); err != nil {
				return nil, edge, err
			}
			edge, _ = edge.With(transparency.LeafHash(e))
		}
		if len(entries) < loadEntries {
			return replay, edge, nil
		}
	}
}

func (a *audit) publish(edge transparency.CompactRange) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.w.entries.Add(edge.Size() - a.edge.Size())
	a.edge, a.size, a.root = edge, edge.Size(), edge.Root()
}

// step audits the next entries of the tree that was cosigned. That they are the log's is known before they are judged: who
// carries them could otherwise have a log condemned.
func (a *audit) step(ctx context.Context, state witness.State) error {
	from := a.edge.Size()
	to := min(state.Size, from-from%tileWidth+stepBundles*tileWidth)
	if state.Size > maxEntries || a.w.entries.Load()+state.Size-from > maxAllEntries {
		return errTooLarge
	}
	entries, edge, err := a.fetch(ctx, state, to)
	if err != nil {
		return err
	}
	for i, e := range entries {
		if err := a.replay.Add(e); err != nil {
			return errors.Join(a.w.store.audited(ctx, a.log.id, from, entries[:i]), a.stop(ctx, err, e, state.Note))
		}
	}
	if err := a.w.store.audited(ctx, a.log.id, from, entries); err != nil {
		a.replay = nil // it is ahead of what is kept
		a.publish(transparency.CompactRange{})
		return err
	}
	a.publish(edge)
	return nil
}

// fetch reads the entries from where the audit is up to an index, and holds them to the tree that was cosigned.
func (a *audit) fetch(ctx context.Context, state witness.State, to int64) ([][]byte, transparency.CompactRange, error) {
	a.mu.Lock()
	t := tiles{ctx, a.url, a.w.get}
	a.mu.Unlock()
	edge := a.edge
	root, err := t.rootAt(transparency.Checkpoint{Origin: state.Origin, Size: state.Size, Root: state.Root}, to)
	if err != nil {
		return nil, edge, err
	}
	entries, err := t.entries(edge.Size(), to)
	if err != nil {
		return nil, edge, err
	}
	for _, e := range entries {
		edge, _ = edge.With(transparency.LeafHash(e))
	}
	if edge.Size() != to || edge.Root() != root {
		return nil, edge, fmt.Errorf("witnessing: %d to %d: %w", a.edge.Size(), to, errNotTheLog)
	}
	return entries, edge, nil
}

// stop ends the audit for good (W25).
func (a *audit) stop(ctx context.Context, why error, entry, checkpoint []byte) error {
	var at *transparency.EntryError
	if !errors.As(why, &at) {
		return why
	}
	a.w.log.Error("A LOG IS NOT IN ORDER: the auditor's key does not sign it any more", "origin", a.log.Origin, "entry", at.Index, "error", at.Err)
	s := Stopped{Origin: a.log.Origin, Entry: at.Index, Reason: at.Err.Error(), Since: a.w.now().Unix()}
	if err := a.w.store.stop(ctx, a.log.id, s, entry, checkpoint); err != nil {
		a.replay = nil // it is judged again
		a.publish(transparency.CompactRange{})
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.stopped, a.replay = true, nil
	return errStopped
}
