package sequencer

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/waxwing-dm/waxwing/transparency"
	"github.com/waxwing-dm/waxwing/transparency/prefixtree"
)

// load builds what there was at both ends, and compares it with what was signed: a store that was damaged must not be appended to.
func (s *Sequencer) load(ctx context.Context) error {
	at, err := s.store.Head(ctx)
	if err != nil || at.Size == 0 {
		return err
	}
	if at.WitnessedSize > at.Size {
		return fmt.Errorf("%d entries were witnessed and %d are there", at.WitnessedSize, at.Size)
	}
	served, h := head{size: at.WitnessedSize, note: at.Witnessed}, head{size: at.Size, note: at.Checkpoint}
	if err := s.loadTrees(ctx, &served, &h); err != nil {
		return err
	}
	if err := s.loadEnd(ctx, &h); err != nil {
		return err
	}
	s.mu.Lock()
	s.head = h
	s.mu.Unlock()
	if served.size == 0 {
		return nil
	}
	if err := s.loadEnd(ctx, &served); err != nil {
		return err
	}
	return s.serve(ctx, served, served.note)
}

// loadTrees reads what has a row: of a label that is its newest entry, and those of before that were not forgotten yet.
func (s *Sequencer) loadTrees(ctx context.Context, served, h *head) error {
	var old, fresh []prefixtree.Leaf
	err := s.store.Rows(ctx, func(index int64, entry []byte) error {
		e, err := transparency.ParseEntry(entry)
		if err != nil {
			return fmt.Errorf("entry %d: %w", index, err)
		}
		l := prefixtree.Leaf{Label: e.Label, Value: e.MapValue(), Note: index}
		switch {
		case index < served.size:
			old = append(old, l)
		case index < h.size:
			fresh = append(fresh, l)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := served.put(old); err != nil {
		return err
	}
	h.tree, h.superseded = served.tree, served.superseded
	return h.put(fresh)
}

// put takes the leaves of entries into the map, of each label the newest.
func (h *head) put(leaves []prefixtree.Leaf) error {
	slices.SortFunc(leaves, func(a, b prefixtree.Leaf) int {
		return cmp.Or(bytes.Compare(a.Label[:], b.Label[:]), cmp.Compare(a.Note, b.Note))
	})
	newest := leaves[:0]
	for _, l := range leaves {
		before, ok := h.tree.Find(l.Label)
		if n := len(newest); n > 0 && newest[n-1].Label == l.Label {
			before, ok, newest = newest[n-1], true, newest[:n-1]
		}
		if ok {
			h.superseded = append(h.superseded, superseded{before.Note, l.Note, true})
		}
		newest = append(newest, l)
	}
	slices.SortFunc(h.superseded, func(a, b superseded) int { return cmp.Compare(a.by, b.by) })
	tree, err := h.tree.PutAll(newest)
	h.tree = tree
	return err
}

// loadEnd reads the rest of a head.
func (s *Sequencer) loadEnd(ctx context.Context, h *head) (err error) {
	if h.before, err = transparency.LoadCompactRange(h.size-1, s.reader(ctx)); err != nil {
		return err
	}
	if h.edge, err = transparency.LoadCompactRange(h.size, s.reader(ctx)); err != nil {
		return err
	}
	if h.newest, err = s.entry(ctx, h.size-1); err != nil {
		return err
	}
	return s.matches(*h)
}

func (s *Sequencer) matches(h head) error {
	c, err := transparency.OpenCheckpoint(h.note, s.verifier)
	if err != nil {
		return err
	}
	again, _ := h.before.With(transparency.LeafHash(h.newest))
	if c.Size != h.size || c.Root != h.edge.Root() || c.Root != again.Root() {
		return fmt.Errorf("the tree of %d entries is not the one whose checkpoint was signed", h.size)
	}
	if e, err := transparency.ParseEntry(h.newest); err != nil || e.MapRoot != h.tree.Root() {
		return errors.Join(fmt.Errorf("the map is not the one that entry %d has the root of", h.size-1), err)
	}
	return nil
}

func (s *Sequencer) entry(ctx context.Context, index int64) ([]byte, error) {
	entries, err := s.store.Entries(ctx, index, 1)
	if err != nil {
		return nil, err
	}
	return entries[0], nil
}

// serving gathers what all lookups in one tree share.
func (h head) serving(checkpoint []byte) served {
	return served{size: h.size, tree: h.tree, note: checkpoint, newest: h.newest, inclusion: h.before.Path()}
}

type reader struct {
	ctx   context.Context
	store Store
}

func (r reader) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	return r.store.Hashes(r.ctx, indexes)
}

func (s *Sequencer) reader(ctx context.Context) tlog.HashReader { return reader{ctx, s.store} }
