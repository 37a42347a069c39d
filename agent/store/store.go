// Package store keeps a device's rows on disk, sealed: a [device.Store] over SQLite in which an outsider reads neither values nor
// keys nor the names of buckets, only how many rows of what size there are.
//
// A passphrase goes through Argon2id (RFC 9106) and opens a random master key; from that, HKDF makes one key to name rows and one
// to seal them. A row stands under HMACs of its bucket and key and is sealed with XChaCha20-Poly1305 for just that place, so a row
// that was moved, swapped or changed is refused. What an outsider with the disk in hand can still do is to put back an older
// copy of everything.
//
// One process has a store open at a time.
package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"github.com/waxwing-dm/waxwing/device"
	"github.com/waxwing-dm/waxwing/internal/sqlite"
)

// What a caller branches on, besides the sentinels of package sqlite. The texts name the one thing to do.
var (
	ErrPassphrase = errors.New("the passphrase does not open the store: try again")                            // passphrase_wrong
	ErrInUse      = errors.New("another agent has the store open: use that one, or stop it first")             // store_in_use
	ErrTampered   = errors.New("a row is not what was written: keep a copy of the file, and restore a backup") // store_tampered
	errEmpty      = errors.New("the passphrase is empty: choose one")                                          // of a new store
	errReadOnly   = errors.New("writing inside a view")
)

const schema = `
CREATE TABLE vault (
	id     INTEGER PRIMARY KEY CHECK (id = 1),
	header BLOB NOT NULL
) STRICT;
CREATE TABLE item (
	ord    INTEGER PRIMARY KEY AUTOINCREMENT,
	bucket BLOB NOT NULL,
	key    BLOB NOT NULL,
	value  BLOB NOT NULL,
	UNIQUE (bucket, key)
) STRICT;
CREATE INDEX item_order ON item (bucket, ord);
CREATE TABLE entry (
	log   BLOB NOT NULL,
	seq   INTEGER NOT NULL,
	value BLOB NOT NULL,
	PRIMARY KEY (log, seq)
) STRICT, WITHOUT ROWID;
`

// Store is safe for concurrent use.
type Store struct {
	db   *sqlite.DB
	keys keys
	lock *os.File
}

// Exists tells whether there is a store at path: then its passphrase is needed, else a new one.
func Exists(path string) (bool, error) {
	_, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// Open opens the store at path, or makes it with this passphrase. Errors: ErrPassphrase, ErrInUse, and those of package sqlite.
func Open(path string, passphrase []byte) (*Store, error) {
	lock, err := lockFile(path + ".lock")
	if err != nil {
		return nil, fmt.Errorf("store: opening %s: %w", path, err)
	}
	s := &Store{lock: lock}
	if s.db, err = sqlite.Open(path, []string{schema}); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	if s.keys, err = s.unlock(passphrase); err != nil {
		return nil, errors.Join(fmt.Errorf("store: opening %s: %w", path, err), s.Close())
	}
	return s, nil
}

// lockFile takes the lock that goes with this process, however it ends.
func lockFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		err = ErrInUse
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// unlock opens the master key, or makes one for a store that has none yet.
func (s *Store) unlock(passphrase []byte) (k keys, err error) {
	var header []byte
	err = s.db.Update(context.Background(), func(tx *sql.Tx) error {
		err := tx.QueryRow("SELECT header FROM vault").Scan(&header)
		if !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		if len(passphrase) == 0 {
			return errEmpty
		}
		if header, err = newHeader(passphrase); err != nil {
			return err
		}
		_, err = tx.Exec("INSERT INTO vault (id, header) VALUES (1, ?)", header)
		return err
	})
	if err != nil {
		return keys{}, err
	}
	return openHeader(header, passphrase)
}

// Close ends the use of the store. Transactions that run are waited for.
func (s *Store) Close() error {
	return errors.Join(s.db.Close(), s.lock.Close())
}

// Update runs f in one transaction, durable when it returns nil ([device.Store]).
func (s *Store) Update(f func(device.Tx) error) error {
	return s.db.Update(context.Background(), func(tx *sql.Tx) error { return f(&txn{sql: tx, keys: &s.keys}) })
}

// View runs f on one consistent state.
func (s *Store) View(f func(device.Tx) error) error {
	return s.db.View(context.Background(), func(tx *sql.Tx) error { return f(&txn{sql: tx, keys: &s.keys, readOnly: true}) })
}
