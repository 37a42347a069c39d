package sequencer

import (
	"context"
	"fmt"
	"slices"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/waxwing-dm/waxwing/transparency"
)

// Checkpoint returns the newest checkpoint that is served.
func (s *Sequencer) Checkpoint() ([]byte, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.served.size == 0 {
		return nil, ErrNotYet
	}
	return s.served.note, nil
}

// Served returns the size of the tree that lookups are answered from, and a channel that is closed when it, or what waits to be
// witnessed, has changed.
func (s *Sequencer) Served() (size int64, changed <-chan struct{}) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.served.size, s.changed
}

// Wait returns once lookups are answered from a tree that has the entry of that index.
func (s *Sequencer) Wait(ctx context.Context, index int64) error {
	for {
		size, changed := s.Served()
		if size > index {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Unwitnessed returns the newest signed checkpoint, to be taken to the witnesses. One that is served already may be taken there
// again, for newer cosignatures.
func (s *Sequencer) Unwitnessed() (size int64, checkpoint []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.offered = s.head
	return s.head.size, s.head.note
}

// ProveFrom gives the consistency proof that a witness wants who knows an older size.
func (s *Sequencer) ProveFrom(ctx context.Context, from, size int64) ([]tlog.Hash, error) {
	if from <= 0 || from >= size {
		return nil, nil
	}
	proof, err := tlog.ProveTree(size, from, s.reader(ctx))
	if err != nil {
		return nil, fmt.Errorf("sequencer: proving that %d entries continue %d: %w", size, from, err)
	}
	return proof, nil
}

// Witnessed takes back the checkpoint that Unwitnessed gave last, cosigned; from then on lookups are answered from it. That the
// cosignatures are good and enough is the caller's to know.
func (s *Sequencer) Witnessed(ctx context.Context, checkpoint []byte) error {
	c, err := transparency.OpenCheckpoint(checkpoint, s.verifier)
	if err != nil {
		return err
	}
	s.mu.RLock()
	offered, served := s.offered, s.served.size
	s.mu.RUnlock()
	if c.Size != offered.size || c.Root != offered.edge.Root() || c.Size < served {
		return fmt.Errorf("sequencer: a cosigned checkpoint of %d entries is not the one that was to be cosigned", c.Size)
	}
	if err := s.store.Witness(ctx, c.Size, checkpoint); err != nil {
		return fmt.Errorf("sequencer: keeping the cosigned checkpoint of %d entries: %w", c.Size, err)
	}
	return s.serve(ctx, offered, checkpoint)
}

// serve answers lookups from h from now on. What it does not show is forgotten with the next batch, but what was erased at once.
func (s *Sequencer) serve(ctx context.Context, h head, checkpoint []byte) error {
	s.mu.Lock()
	if h.size >= s.served.size {
		s.served = h.serving(checkpoint)
	}
	size := s.served.size
	gone := s.head.shownNoMore(size)
	s.mu.Unlock()
	s.signal()
	if !slices.ContainsFunc(gone, func(g superseded) bool { return g.soon }) {
		return nil
	}
	if err := s.store.Forget(ctx, indexes(gone)); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.head.superseded = s.head.superseded[len(s.head.shownNoMore(size)):]
	return nil
}

func (s *Sequencer) signal() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.changed)
	s.changed = make(chan struct{})
}
