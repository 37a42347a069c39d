// Package store is the sidecar's memory: one SQLite database and a folder of encrypted files.
//
// It is split by partition, each a small type of its own: [Log], [Hub], [Mirror], [Accounts], [Consents], [KeyPackages], [Mailboxes], [Sent],
// [Outbox], [Schemes], [Blobs], [Erasures]. A method takes one partition key (a group, an actor, a host; the log is one) and is one transaction
// that is durable when it returns. Work that crosses partitions goes through outbox rows written in the first one's transaction; only
// mailbox rows of actors of this same instance are written along, since a local outbox would be the same disk. So a driver for a
// database that is spread over machines can take the place of this one.
//
// The store decides nothing: who may do what was checked before. It keeps what was acknowledged, once. Its errors may be logged:
// they name nobody.
package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/waxwing-dm/waxwing/internal/sqlite"
)

// What a caller branches on.
var (
	ErrExists     = errors.New("there is one already")
	ErrConflict   = errors.New("the same id was used with other content")
	ErrErasing    = errors.New("this account is being erased")
	ErrTooMany    = errors.New("there are too many already")
	ErrNoRoom     = errors.New("nobody it is for has room in their mailbox")
	ErrNoConsent  = errors.New("nobody it is for has accepted its sender")
	ErrQueueFull  = errors.New("too much waits already to be sent there")
	ErrNotFound   = errors.New("there is none")
	errLogForward = errors.New("the log does not end where the entry begins")
)

// Store has one field for each partition.
type Store struct {
	Log         Log
	Hub         Hub
	Mirror      Mirror
	Accounts    Accounts
	Consents    Consents
	KeyPackages KeyPackages
	Mailboxes   Mailboxes
	Sent        Sent
	Outbox      Outbox
	Schemes     Schemes
	Blobs       Blobs
	Erasures    Erasures

	db  *sqlite.DB
	dir string
}

// Open opens or creates the store in a folder of its own. Errors are those of [sqlite.Open].
func Open(dir string) (*Store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("store: making the data folder: %w", err)
	}
	blobs := filepath.Join(dir, "blobs")
	if err := os.MkdirAll(blobs, 0o700); err != nil {
		return nil, fmt.Errorf("store: making the folder of blobs: %w", err)
	}
	db, err := sqlite.Open(filepath.Join(dir, "waxwingd.db"), schema)
	if err != nil {
		return nil, fmt.Errorf("store: opening: %w", err)
	}
	return &Store{
		Log: Log{db}, Hub: Hub{db}, Mirror: Mirror{db}, Accounts: Accounts{db}, Consents: Consents{db}, KeyPackages: KeyPackages{db}, Mailboxes: Mailboxes{db},
		Sent: Sent{db}, Outbox: Outbox{db, &leases{ids: map[int64]bool{}}}, Schemes: Schemes{db}, Blobs: Blobs{db, blobs}, Erasures: Erasures{db},
		db: db, dir: dir,
	}, nil
}

// Close waits for transactions that run.
func (s *Store) Close() error { return s.db.Close() }

// Setting returns what stands under a name, writing fresh there first if nothing does. So of two processes that start on an
// empty store both see one value.
func (s *Store) Setting(ctx context.Context, name string, fresh func() ([]byte, error)) (value []byte, err error) {
	err = s.db.Update(ctx, func(tx *sql.Tx) error {
		err := tx.QueryRow("SELECT value FROM setting WHERE name = ?", name).Scan(&value)
		if !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		if value, err = fresh(); err != nil {
			return err
		}
		_, err = tx.Exec("INSERT INTO setting (name, value) VALUES (?, ?)", name, value)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("store: reading setting %s: %w", name, err)
	}
	return value, nil
}

// How long the rows are kept that make a second try of the same thing harmless. Deliveries are given up after fourteen days.
const (
	keepReplay = 30 * 24 * time.Hour
	keepDead   = 30 * 24 * time.Hour
	keepScheme = 90 * 24 * time.Hour
	keepGiven  = 10 * time.Minute

	keepRequest = 30 * 24 * time.Hour
)

// Sweep removes rows that have served their time.
func (s *Store) Sweep(ctx context.Context, now time.Time) error {
	old := now.Add(-keepReplay).UnixMilli()
	for _, step := range []struct {
		query string
		arg   int64
	}{
		{"DELETE FROM received WHERE at < ?", old},
		{"DELETE FROM sent WHERE at < ?", old},
		{"DELETE FROM outbox WHERE dead IS NOT NULL AND created < ?", now.Add(-keepDead).UnixMilli()},
		{"DELETE FROM host_scheme WHERE learnt < ?", now.Add(-keepScheme).UnixMilli()},
		{"DELETE FROM request WHERE since < ?", now.Add(-keepRequest).UnixMilli()},
		{"DELETE FROM key_package WHERE not_after < ?", now.Unix()},
		{"DELETE FROM key_package_given WHERE at < ?", now.Add(-keepGiven).UnixMilli()},
		{"DELETE FROM key_package_seen WHERE not_after < ?", now.Add(-keepReplay).Unix()}, // an upload that late is refused as expired
	} {
		err := s.db.Update(ctx, func(tx *sql.Tx) error {
			_, err := tx.Exec(step.query, step.arg)
			return err
		})
		if err != nil {
			return fmt.Errorf("store: sweeping: %w", err)
		}
	}
	if err := s.Blobs.RemoveGone(ctx); err != nil {
		return err
	}
	return s.Blobs.sweep(now)
}
