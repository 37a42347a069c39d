// Package store keeps a device's rows on disk, sealed: a [device.Store] over SQLite in which an outsider reads neither values nor
// keys nor the names of buckets, only how many rows of what size there are, and which of them share a bucket.
//
// A passphrase goes through Argon2id (RFC 9106) and opens a random master key; from that, HKDF makes one key to name rows and one
// to seal them. A row stands under HMACs of its bucket and key and is sealed with XChaCha20-Poly1305 for just that place, so a row
// that was moved, swapped or changed is refused, and so is a log with a gap. What an outsider with the disk in hand can still do
// is to take rows away where no number tells, and to put back older ones: one row as it stood in that place, or everything.
//
// One process has a store open at a time; the lock is the file beside it that ends in .lock, and goes with the process.
package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/waxwing-dm/waxwing/device"
	"github.com/waxwing-dm/waxwing/internal/sqlite"
)

// What a caller branches on, besides the sentinels of package sqlite. The texts name the one thing to do.
var (
	ErrPassphrase = errors.New("the passphrase does not open the store: try again")                                // passphrase_wrong
	ErrBusy       = errors.New("another agent has the store open: use that one, or stop it first")                 // store_in_use
	ErrExists     = errors.New("there is a store already: open it with its passphrase")                            // store_exists
	ErrTampered   = errors.New("the store is not what was written: keep a copy of the file, and restore a backup") // store_tampered
	ErrOlder      = errors.New("the store was written by an older version of this program, which kept its rows in another way: " +
		"enrol this device anew, in a new store") // store_older
	errNone     = fmt.Errorf("there is no store yet: create one (%w)", fs.ErrNotExist)
	errEmpty    = errors.New("the passphrase is empty: choose one")
	errReadOnly = errors.New("store: writing inside a view")
	errWalking  = errors.New("store: writing inside Each or Scan")
)

const schema = `
CREATE TABLE vault (
	id     INTEGER PRIMARY KEY CHECK (id = 1),
	header BLOB NOT NULL
) STRICT;
CREATE TABLE item (
	ord    INTEGER PRIMARY KEY, -- sealed in: a key's turn among those of its bucket
	bucket BLOB NOT NULL,
	key    BLOB NOT NULL UNIQUE, -- of bucket and key
	value  BLOB NOT NULL
) STRICT;
CREATE INDEX item_order ON item (bucket, ord);
CREATE TABLE entry (
	log   BLOB NOT NULL,
	seq   INTEGER NOT NULL,
	value BLOB NOT NULL,
	PRIMARY KEY (log, seq)
) STRICT;
`

// Store is safe for concurrent use.
type Store struct {
	db   *sqlite.DB
	keys keys
	lock *os.File
}

// Exists tells whether there is a store at path, or what is left of one: then its passphrase is needed, else a new one.
func Exists(path string) (bool, error) {
	for _, part := range []string{path, path + "-wal"} {
		if _, err := os.Stat(part); err == nil {
			return true, nil
		} else if !errors.Is(err, fs.ErrNotExist) {
			return false, fmt.Errorf("store: looking for one: %w", err)
		}
	}
	return false, nil
}

// Create makes a store at path, whole or not at all, and opens it. Errors: ErrExists, ErrBusy, sqlite.ErrFull.
func Create(path string, passphrase []byte) (*Store, error) {
	s, err := create(path, passphrase)
	if err != nil {
		return nil, fmt.Errorf("store: creating %s: %w", path, err)
	}
	return s, nil
}

func create(path string, passphrase []byte) (*Store, error) {
	if len(passphrase) == 0 {
		return nil, errEmpty
	}
	lock, err := acquire(path + ".lock")
	if err != nil {
		return nil, err
	}
	s := &Store{lock: lock}
	if s.db, s.keys, err = build(path, passphrase); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return s, nil
}

// build makes the header part of the schema: so there is never a store without one.
func build(path string, passphrase []byte) (*sqlite.DB, keys, error) {
	if there, err := Exists(path); err != nil {
		return nil, keys{}, err
	} else if there {
		return nil, keys{}, ErrExists
	}
	h, k, err := newHeader(passphrase)
	if err != nil {
		return nil, keys{}, err
	}
	db, err := sqlite.Open(path, []string{schema + fmt.Sprintf("INSERT INTO vault (id, header) VALUES (1, x'%x');", h.encode())})
	return db, k, err
}

// Open opens the store at path. Errors: fs.ErrNotExist, ErrPassphrase, ErrBusy, ErrTampered, ErrOlder, and those of package sqlite.
func Open(path string, passphrase []byte) (*Store, error) {
	s, err := open(path, passphrase)
	if err != nil {
		return nil, fmt.Errorf("store: opening %s: %w", path, err)
	}
	return s, nil
}

func open(path string, passphrase []byte) (*Store, error) {
	if err := checkThere(path); err != nil {
		return nil, err
	}
	lock, err := acquire(path + ".lock")
	if err != nil {
		return nil, err
	}
	s := &Store{lock: lock}
	if s.db, err = sqlite.Open(path, []string{schema}); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	if s.keys, err = s.unlock(passphrase); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// checkThere keeps SQLite from making a new file, and from taking a write-ahead log for its own.
func checkThere(path string) error {
	_, err := os.Stat(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if left, err := Exists(path); err != nil {
		return err
	} else if left {
		return fmt.Errorf("only its write-ahead log is there: %w", sqlite.ErrDamaged)
	}
	return errNone
}

func (s *Store) unlock(passphrase []byte) (keys, error) {
	var raw []byte
	err := s.db.View(context.Background(), func(tx *sql.Tx) error {
		err := tx.QueryRow("SELECT header FROM vault WHERE id = 1 AND length(header) = ?", headerSize).Scan(&raw)
		if errors.Is(err, sql.ErrNoRows) {
			return nil // and parseHeader refuses the empty one
		}
		return err
	})
	if err != nil {
		return keys{}, err
	}
	h, err := parseHeader(raw)
	if err != nil {
		return keys{}, err
	}
	return h.unlock(passphrase)
}

// Close ends the use of the store. Transactions that run are waited for.
func (s *Store) Close() error {
	return errors.Join(s.db.Close(), s.lock.Close())
}

// Update runs f in one transaction, durable when it returns nil ([device.Store]).
func (s *Store) Update(f func(device.Tx) error) error {
	return s.db.Update(context.Background(), func(tx *sql.Tx) error { return f(s.txn(tx)) })
}

// View runs f on one consistent state.
func (s *Store) View(f func(device.Tx) error) error {
	return s.db.View(context.Background(), func(tx *sql.Tx) error {
		t := s.txn(tx)
		t.forbid = errReadOnly
		return f(t)
	})
}

func (s *Store) txn(tx *sql.Tx) *txn {
	return &txn{sql: tx, keys: &s.keys, prepared: map[string]*sql.Stmt{}}
}
