package sequencer

import (
	"context"
	"fmt"
	"time"

	"github.com/waxwing-dm/waxwing/keydir"
	"github.com/waxwing-dm/waxwing/transparency"
	"github.com/waxwing-dm/waxwing/transparency/prefixtree"
)

// maxBatch is the most entries that share a transaction and a signature.
const maxBatch = 256

// Submission is what an account, or who holds a device's key, asks to have published.
type Submission struct {
	Actor     string
	Statement []byte
	Opening   [32]byte
	Content   []byte
}

type request struct {
	statement transparency.Statement
	after     *transparency.Statement // what a revocation was signed to come after
	value     [32]byte                // in the map
	row       Row
	index     int64
	err       error
	done      chan struct{}
}

// Append checks a statement (L1 to L7) and returns the index of its entry once that is durable; it is not witnessed then. The very
// statement that is the label's newest already has the index that it has. Errors: *transparency.CheckError, ErrNotNext,
// ErrKeyNotCurrent.
func (s *Sequencer) Append(ctx context.Context, sub Submission) (index int64, err error) {
	fail := func(err error) (int64, error) {
		return 0, fmt.Errorf("sequencer: appending an entry of %.200q: %w", sub.Actor, err)
	}
	statement, err := transparency.ParseStatement(sub.Statement)
	if err != nil {
		return fail(transparency.Failed("L6", "%v", err))
	}
	if statement.Kind == transparency.KindErase || statement.Kind == transparency.KindPad {
		return fail(transparency.Failed("L5", "an entry of kind %d is the log's to make", statement.Kind))
	}
	if statement.Label != s.Label(sub.Actor) {
		return fail(transparency.Failed("L6", "the label is not the actor's"))
	}
	state, err := keydir.Open(sub.Actor, statement, sub.Opening, sub.Content)
	if err != nil {
		return fail(err)
	}
	r := &request{statement: statement, value: statement.MapValue(), row: Row{Opening: sub.Opening, Content: sub.Content}}
	if n := len(state.Since); n > 1 {
		r.after = &state.Since[n-2]
	}
	if err := s.write(ctx, r); err != nil {
		return fail(err)
	}
	return r.index, nil
}

// Erase makes the log forget an actor: the opening and what it opened to are gone once the entry is witnessed, and lookups are
// refused. What stays is a label that only the VRF key connects with the actor.
func (s *Sequencer) Erase(ctx context.Context, actor string) error {
	label := s.Label(actor)
	s.mu.RLock()
	h := s.head
	s.mu.RUnlock()
	newest, _, err := s.newest(ctx, label, h, Batch{Size: h.size})
	if err == nil && (newest == nil || newest.Kind == transparency.KindErase) {
		err = ErrNotFound
	}
	if err != nil {
		return fmt.Errorf("sequencer: erasing %s: %w", actor, err)
	}
	erase := transparency.Statement{
		Kind: transparency.KindErase, Time: max(s.millis(), newest.Time), Label: label, Seq: newest.Seq + 1, LastReset: newest.Seq + 1,
	}
	if err := s.write(ctx, &request{statement: erase, value: erase.MapValue()}); err != nil {
		return fmt.Errorf("sequencer: erasing %s: %w", actor, err)
	}
	return nil
}

// Pad appends an entry that says nothing.
func (s *Sequencer) Pad(ctx context.Context) error {
	r := &request{statement: transparency.Statement{Kind: transparency.KindPad, Time: s.millis()}}
	if err := s.write(ctx, r); err != nil {
		return fmt.Errorf("sequencer: padding the log %s: %w", s.Origin(), err)
	}
	return nil
}

func (s *Sequencer) millis() uint64 { return uint64(s.now().UnixMilli()) }

// write queues a request and waits until it is durable or refused. Whoever finds nobody writing writes the first batch, which has its
// own request in it; somebody who is alone meets no other goroutine so. What has queued up meanwhile is not left to them.
func (s *Sequencer) write(ctx context.Context, r *request) error {
	r.done = make(chan struct{})
	s.queueMu.Lock()
	s.queue = append(s.queue, r)
	mine := !s.writing
	s.writing = true
	s.queueMu.Unlock()
	if mine {
		ctx := context.WithoutCancel(ctx)
		if s.drain(ctx) {
			go func() {
				for s.drain(ctx) {
				}
			}()
		}
		return r.err
	}
	select {
	case <-r.done:
		return r.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// drain writes one batch, and says whether there is another.
func (s *Sequencer) drain(ctx context.Context) (more bool) {
	s.queueMu.Lock()
	n := min(len(s.queue), maxBatch)
	batch := s.queue[:n]
	s.queue = s.queue[n:]
	s.queueMu.Unlock()
	s.writeBatch(ctx, batch)
	for _, r := range batch {
		close(r.done)
	}
	s.queueMu.Lock()
	defer s.queueMu.Unlock()
	if len(s.queue) > 0 {
		return true
	}
	s.queue, s.writing = nil, false
	return false
}

// writeBatch computes the log and the map as they will be, makes that durable, and then lets everybody see it.
func (s *Sequencer) writeBatch(ctx context.Context, requests []*request) {
	s.mu.RLock()
	next, broken, gone := s.head, s.broken, s.head.shownNoMore(s.served.size)
	s.mu.RUnlock()
	b := Batch{Size: next.size, Served: s.alone, Forget: indexes(gone)}
	next.superseded = next.superseded[len(gone):]
	var taken []*request
	for _, r := range requests {
		if r.err = broken; r.err != nil {
			continue
		}
		again, err := s.judge(ctx, r, next, b)
		if r.err = err; err != nil || again && r.index < b.Size {
			continue
		}
		taken = append(taken, r)
		if !again { // else it is in this batch, and durable only with it
			s.extend(&next, &b, r)
		}
	}
	if len(taken) == 0 {
		return
	}
	if err := s.commit(ctx, &next, b); err != nil {
		for _, r := range taken {
			r.err = err
		}
	}
}

// extend adds one entry.
func (s *Sequencer) extend(next *head, b *Batch, r *request) {
	if r.statement.Kind != transparency.KindPad {
		if before, ok := next.tree.Find(r.statement.Label); ok {
			next.superseded = append(next.superseded, superseded{before.Note, next.size, r.statement.Kind == transparency.KindErase})
		}
		next.tree = next.tree.PutLeaf(prefixtree.Leaf{Label: r.statement.Label, Value: r.value, Note: next.size})
		r.row.Index = next.size
		b.Rows = append(b.Rows, r.row)
	}
	entry := transparency.Entry{Statement: r.statement, MapRoot: next.tree.Root()}.Marshal()
	edge, hashes := next.edge.With(transparency.LeafHash(entry))
	r.index = next.size
	next.size, next.before, next.edge, next.newest = next.size+1, next.edge, edge, entry
	b.Entries, b.Hashes = append(b.Entries, entry), append(b.Hashes, hashes...)
}

// commit signs, persists and publishes, in that order. A store that failed may have written all the same, and another checkpoint of
// that size must never be signed: so nothing more is written until the log is opened again.
func (s *Sequencer) commit(ctx context.Context, next *head, b Batch) (err error) {
	next.note, err = transparency.SignCheckpoint(transparency.Checkpoint{Origin: s.Origin(), Size: next.size, Root: next.edge.Root()}, s.signer)
	if err != nil {
		return err
	}
	b.Checkpoint = next.note
	if err := s.store.Append(ctx, b); err != nil {
		s.Stop(fmt.Errorf("the log cannot be written until it was opened again: %w", err))
		return err
	}
	s.mu.Lock()
	s.head = *next
	s.mu.Unlock()
	if s.alone {
		if err := s.show(next.note); err != nil {
			s.Stop(fmt.Errorf("the log cannot be written until it was opened again: %w", err))
			return err
		}
		return s.serve(ctx, *next, next.note)
	}
	s.signal()
	return nil
}

// judge holds L1 to L7 against the label's newest statement. again is true if it is that one.
func (s *Sequencer) judge(ctx context.Context, r *request, next head, b Batch) (again bool, err error) {
	if r.statement.Kind == transparency.KindPad {
		return false, nil
	}
	newest, index, err := s.newest(ctx, r.statement.Label, next, b)
	if err != nil {
		return false, err
	}
	r.index = index
	if newest != nil && *newest == r.statement {
		return true, nil
	}
	if r.after != nil && (newest == nil || *newest != *r.after) {
		return false, ErrNotNext
	}
	return false, s.follows(r.statement, newest)
}

func (s *Sequencer) follows(next transparency.Statement, newest *transparency.Statement) error {
	if d := s.now().Sub(time.UnixMilli(int64(next.Time))); d > maxSkew || d < -maxSkew {
		return transparency.Failed("L7", "time is %v from the log's clock", d.Round(time.Second))
	}
	if newest == nil {
		return next.Follows(nil)
	}
	if next.Kind == transparency.KindFirst || next.Seq != newest.Seq+1 {
		return ErrNotNext
	}
	signed := next.Kind == transparency.KindUpdate || next.Kind == transparency.KindMove
	if signed && transparency.AccountKeyHash(next.AuthKey) != newest.AuthNext {
		return ErrKeyNotCurrent
	}
	return next.Follows(newest)
}

// newest returns the newest statement of a label and its index, nil if there is none, in the log as it will be with a batch.
func (s *Sequencer) newest(ctx context.Context, label [32]byte, h head, b Batch) (*transparency.Statement, int64, error) {
	l, ok := h.tree.Find(label)
	if !ok {
		return nil, 0, nil
	}
	raw, err := s.entryIn(ctx, l.Note, b)
	if err != nil {
		return nil, 0, err
	}
	e, err := transparency.ParseEntry(raw)
	return &e.Statement, l.Note, err
}

func (s *Sequencer) entryIn(ctx context.Context, index int64, b Batch) ([]byte, error) {
	if index >= b.Size {
		return b.Entries[index-b.Size], nil
	}
	return s.entry(ctx, index)
}
