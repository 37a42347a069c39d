package sequencer

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// ErrHeld says that nothing is appended before Release was called.
var ErrHeld = errors.New("the log is held until it is known to be the newest there is of it")

// Release lets a log that was opened with Config.Held be written. What another process has appended in between is read first; a log
// without witnesses then serves all that it has, and an empty one gets its first entry.
func (s *Sequencer) Release(ctx context.Context) error {
	s.mu.RLock()
	held, size := errors.Is(s.broken, ErrHeld), s.head.size
	s.mu.RUnlock()
	if !held {
		return nil
	}
	if err := s.release(ctx, size); err != nil {
		return fmt.Errorf("sequencer: opening the log %s to be written: %w", s.Origin(), err)
	}
	return nil
}

func (s *Sequencer) release(ctx context.Context, size int64) error {
	if at, err := s.store.Head(ctx); err != nil {
		return err
	} else if at.Size != size {
		if err := s.load(ctx); err != nil {
			return err
		}
	}
	if err := s.adopt(ctx); err != nil {
		return err
	}
	s.mu.Lock()
	if errors.Is(s.broken, ErrHeld) { // and not stopped meanwhile
		s.broken = nil
	}
	empty := s.head.size == 0
	s.mu.Unlock()
	if empty {
		return s.Pad(ctx)
	}
	return nil
}

// adopt serves what a log without witnesses has signed: before this it may have had some, or have crashed before it was served.
func (s *Sequencer) adopt(ctx context.Context) error {
	s.mu.RLock()
	h := s.head
	s.mu.RUnlock()
	if !s.alone || h.size == 0 {
		return nil
	}
	if err := s.show(h.note); err != nil {
		return err
	}
	at, err := s.store.Head(ctx)
	if err != nil || at.WitnessedSize == h.size {
		return err
	}
	if err := s.store.Witness(ctx, h.size, h.note); err != nil {
		return err
	}
	return s.serve(ctx, h, h.note)
}

// show tells the owner of the log of a checkpoint that is about to leave the house.
func (s *Sequencer) show(checkpoint []byte) error {
	if s.before == nil {
		return nil
	}
	return s.before(checkpoint)
}

// Stop refuses to append from now on, and for as long as this process lives, with that error.
func (s *Sequencer) Stop(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.broken = err
}

// Size of the log, witnessed or not.
func (s *Sequencer) Size() int64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.head.size
}

// RootAt is the root that the tree had at a size, which is not above Size.
func (s *Sequencer) RootAt(ctx context.Context, size int64) (tlog.Hash, error) {
	if size == 0 {
		return sha256.Sum256(nil), nil
	}
	root, err := tlog.TreeHash(size, s.reader(ctx))
	if err != nil {
		return tlog.Hash{}, fmt.Errorf("sequencer: computing the root of %d entries: %w", size, err)
	}
	return root, nil
}

// Verifier of the log's own signatures.
func (s *Sequencer) Verifier() note.Verifier { return s.verifier }

// Refusal is the error that appending meets now: ErrHeld, that of Stop, or nil.
func (s *Sequencer) Refusal() error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.broken
}
