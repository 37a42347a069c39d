package sqlite

import (
	"context"
	"database/sql"
	"sync"
	"sync/atomic"
)

// maxShared is how many callers of Update share a transaction at the most: the first of them waits for the work of all.
const maxShared = 64

// turns lets callers of Update in one after the other, and whoever comes while another is at work into the same transaction: what costs is
// the turn of the disk at its end. Each works in its own goroutine, and behind a savepoint, so that what one undoes is not the others'.
type turns struct {
	mu      sync.Mutex   // held by whose turn it is
	waiting atomic.Int32 // who has come and waits for mu; nobody gives up
	open    *shared      // with work in it that has not been committed; nil if there is none
}

// shared is a transaction of several callers.
type shared struct {
	tx    *sql.Tx
	alone bool          // for one caller
	n     int           // callers that have worked in it
	lost  error         // why nothing of it can be kept
	gone  bool          // it was rolled back, with nobody in it
	done  chan struct{} // closed when it has ended
	err   error         // how; to be read after done
}

// update returns when the transaction in which f ran has ended, also if f failed: it may have seen what another one had written there, and
// must not tell of that before it is durable.
func (db *DB) update(ctx context.Context, alone bool, f func(*sql.Tx) error) error {
	s, err := db.takeTurn(ctx, alone, f)
	if s == nil {
		return err
	}
	if <-s.done; s.err != nil {
		return s.err
	}
	return err
}

func (db *DB) takeTurn(ctx context.Context, alone bool, f func(*sql.Tx) error) (*shared, error) {
	t := &db.turns
	t.waiting.Add(1)
	t.mu.Lock()
	t.waiting.Add(-1)
	defer t.pass()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if alone && t.open != nil {
		t.end()
	}
	if t.open == nil {
		tx, err := db.write.BeginTx(context.Background(), nil) // not ctx: its end must not be that of the others' work
		if err != nil {
			return nil, err
		}
		t.open = &shared{tx: tx, alone: alone, done: make(chan struct{})}
	}
	s := t.open
	return s, s.work(ctx, f)
}

// pass ends the transaction if nobody is there to add to it, and lets the next one in.
func (t *turns) pass() {
	defer t.mu.Unlock()
	if s := t.open; s != nil && (s.alone || s.gone || s.lost != nil || s.n >= maxShared || t.waiting.Load() == 0) {
		t.end()
	}
}

func (t *turns) end() {
	s := t.open
	t.open = nil
	switch {
	case s.gone:
	case s.lost != nil:
		_ = s.tx.Rollback() // SQLite may have done so already
		s.err = s.lost
	default:
		s.err = s.tx.Commit()
	}
	close(s.done)
}

// work runs f, and undoes what it did if it fails, panics, or came too late.
func (s *shared) work(ctx context.Context, f func(*sql.Tx) error) (err error) {
	first := s.n == 0
	s.n++
	if !first {
		if err := s.exec("SAVEPOINT own"); err != nil {
			return err
		}
	}
	kept := false
	defer func() {
		if !kept {
			s.undo(first)
		}
	}()
	if err := f(s.tx); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if !first {
		if err := s.exec("RELEASE own"); err != nil {
			return err
		}
	}
	kept = true
	return nil
}

// undo leaves the work of those before. After some failures, a full disk among them, SQLite has undone that as well: then the savepoint is
// not there any more, and everybody is told.
func (s *shared) undo(first bool) {
	if first {
		_ = s.tx.Rollback()
		s.gone = true
		return
	}
	if s.exec("ROLLBACK TO own") == nil {
		_ = s.exec("RELEASE own")
	}
}

func (s *shared) exec(statement string) error {
	_, err := s.tx.Exec(statement)
	if err != nil && s.lost == nil {
		s.lost = err
	}
	return err
}
