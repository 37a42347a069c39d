// Package sqlite opens the embedded database of both programs the one way that keeps what was acknowledged: WAL with
// synchronous=FULL, so that a commit that returned survives a power cut; foreign keys on; deleted content overwritten.
//
// A [DB] has one writing connection and a few reading ones. SQLite lets one writer in at a time anyway; queueing for it in Go
// instead of in SQLite means that nobody meets "database is locked" within the process, and that a transaction that reads before
// it writes (BEGIN IMMEDIATE) is never refused half-way. Those who queue share transactions, so that a turn of the disk serves many. Other processes may use the same file: they wait up to five seconds.
//
// The schema is a list of steps. Step n takes a file from version n to n+1, in one transaction with the version number
// (PRAGMA user_version). Steps that were released are never changed; new ones are added at the end.
//
// A file that is there was whole once: a new database is built beside its place and linked in when it has its schema. So an
// empty or cut file is damage and not a fresh start.
package sqlite

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"syscall"

	sqlite3 "github.com/mattn/go-sqlite3"
)

// What a caller branches on. The texts name the one thing to do.
var (
	ErrDamaged = errors.New("the database is damaged: stop, keep a copy of the file, and restore a backup")      // store_damaged
	ErrNewer   = errors.New("the database was written by a newer version of this program: install that version") // store_newer
	ErrBusy    = errors.New("the database is busy with another process: try again")                              // store_busy
	ErrFull    = errors.New("the disk is full: nothing was written; make room and try again")                    // storage_full
)

const (
	readers     = 4
	pageSize    = 4096   // SQLite's default
	busyTimeout = "5000" // milliseconds to wait for another process
	stmtCache   = "128"  // statements that a connection keeps compiled
)

// DB is safe for concurrent use.
type DB struct {
	write, read *sql.DB
	path        string
	turns       turns // of those who write
}

// Open opens the database at path, or creates it with mode 0600, and brings it to the newest version of schema.
// Errors: ErrDamaged, ErrNewer, ErrBusy, ErrFull.
func Open(path string, schema []string) (*DB, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("sqlite: opening %s: %w", path, err)
	}
	db, err := open(abs, schema)
	if err != nil {
		return nil, fmt.Errorf("sqlite: opening %s: %w", path, classify(err))
	}
	return db, nil
}

func open(path string, schema []string) (*DB, error) {
	if err := createUnlessThere(path, schema); err != nil {
		return nil, err
	}
	db, err := connect(path)
	if err != nil {
		return nil, err
	}
	if err := db.check(); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	if err := db.migrate(schema); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

// createUnlessThere makes a whole database or none: built under another name, then linked. Of two processes that try at
// once, the second finds the first one's file.
func createUnlessThere(path string, schema []string) error {
	if info, err := os.Stat(path); err == nil {
		return checkSize(path, info.Size())
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if remains(path) {
		return ErrDamaged
	}
	dir, err := os.MkdirTemp(filepath.Dir(path), ".new-database-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	fresh := filepath.Join(dir, "database")
	if f, err := os.OpenFile(fresh, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o600); err != nil {
		return err
	} else if err := f.Close(); err != nil {
		return err
	}
	db, err := connect(fresh)
	if err != nil {
		return err
	}
	if err := errors.Join(db.migrate(schema), db.Close()); err != nil {
		return err
	}
	if err := os.Link(fresh, path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// remains says that a database was here of which the write-ahead log is left; SQLite would write that over a new one. Looked at in
// this order, since another process may be making both.
func remains(path string) bool {
	if _, err := os.Stat(path + "-wal"); err != nil {
		return false
	}
	_, err := os.Stat(path)
	return errors.Is(err, fs.ErrNotExist)
}

// checkSize finds what SQLite forgives: an empty file is a new database to it, and it reads the missing end of a last page as
// zeros. Only a crash during a checkpoint may leave part of a page, and then the write-ahead log has the whole one.
func checkSize(path string, size int64) error {
	if wal, err := os.Stat(path + "-wal"); err == nil && wal.Size() > 0 {
		return nil
	}
	if size == 0 || size%pageSize != 0 {
		return ErrDamaged
	}
	return nil
}

func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

func connect(path string) (*DB, error) {
	write, err := sql.Open("sqlite3", dsn(path, "_txlock", "immediate"))
	if err != nil {
		return nil, err
	}
	write.SetMaxOpenConns(1)
	read, err := sql.Open("sqlite3", dsn(path, "_query_only", "true"))
	if err != nil {
		return nil, errors.Join(err, write.Close())
	}
	read.SetMaxOpenConns(readers)
	read.SetMaxIdleConns(readers)
	return &DB{write: write, read: read, path: path}, nil
}

func dsn(path, option, value string) string {
	q := url.Values{
		"_journal_mode": {"WAL"}, "_synchronous": {"FULL"}, "_foreign_keys": {"on"}, "_busy_timeout": {busyTimeout},
		"_secure_delete": {"on"}, "_stmt_cache_size": {stmtCache}, option: {value},
	}
	return (&url.URL{Scheme: "file", Path: path}).String() + "?" + q.Encode()
}

// check reads through the whole file. It finds pages that are missing or contradict each other.
func (db *DB) check() error {
	var verdict string
	if err := db.write.QueryRow("PRAGMA quick_check(1)").Scan(&verdict); err != nil {
		return err
	}
	if verdict != "ok" {
		return ErrDamaged
	}
	return nil
}

func (db *DB) migrate(schema []string) error {
	return db.update(context.Background(), true, func(tx *sql.Tx) error {
		var version int
		if err := tx.QueryRow("PRAGMA user_version").Scan(&version); err != nil {
			return err
		}
		if version > len(schema) {
			return ErrNewer
		}
		for i := version; i < len(schema); i++ {
			if _, err := tx.Exec(schema[i]); err != nil {
				return fmt.Errorf("schema step %d: %w", i+1, err)
			}
		}
		if version == len(schema) {
			return nil
		}
		_, err := tx.Exec(fmt.Sprintf("PRAGMA user_version = %d", len(schema)))
		return err
	})
}

// Update runs f in a writing transaction. What f did is durable when Update returns nil, and nothing of it is there otherwise. Callers that
// come at once share a transaction, one after the other; so f sees what is not durable yet, which is why it has no effects but those on
// the database and on what its caller reads afterwards. f runs once, and not at all if ctx has ended before.
func (db *DB) Update(ctx context.Context, f func(*sql.Tx) error) error {
	return classify(db.update(ctx, false, f))
}

// Alone is Update for an f that has effects outside of the database, such as on files: it sees only what is durable, and shares its
// transaction with nobody.
func (db *DB) Alone(ctx context.Context, f func(*sql.Tx) error) error {
	return classify(db.update(ctx, true, f))
}

// Writer executes statements inside a transaction of [DB.Write].
type Writer struct {
	ctx  context.Context
	conn *sql.Conn
}

// Exec as that of *sql.Tx.
func (w Writer) Exec(statement string, args ...any) (sql.Result, error) {
	return w.conn.ExecContext(w.ctx, statement, args...)
}

// Write is Update for who writes often and reads nothing. A transaction of package database/sql wakes a goroutine at its beginning
// and at its end, which takes longer than SQLite does for a few rows. It is not given up half-way when ctx ends.
func (db *DB) Write(ctx context.Context, f func(Writer) error) error {
	return classify(db.exec(ctx, f))
}

func (db *DB) exec(ctx context.Context, f func(Writer) error) (err error) {
	conn, err := db.write.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	w := Writer{context.WithoutCancel(ctx), conn}
	if _, err := w.Exec("BEGIN IMMEDIATE"); err != nil {
		return err
	}
	done := false
	defer func() {
		if !done {
			w.rollback()
		}
	}()
	if err := f(w); err != nil {
		return err
	}
	_, err = w.Exec("COMMIT")
	done = err == nil
	return err
}

// rollback ends the transaction, if need be with the connection: the next one must not find itself inside of it.
func (w Writer) rollback() {
	if _, err := w.Exec("ROLLBACK"); err != nil {
		_ = w.conn.Raw(func(any) error { return driver.ErrBadConn })
	}
}

// View runs f on one unchanging picture of the database. f cannot write.
func (db *DB) View(ctx context.Context, f func(*sql.Tx) error) error {
	tx, err := db.read.BeginTx(ctx, nil)
	if err != nil {
		return classify(err)
	}
	defer tx.Rollback()
	return classify(f(tx))
}

// Close ends all connections; transactions that run are waited for.
func (db *DB) Close() error {
	return errors.Join(db.read.Close(), db.write.Close())
}

// classify puts the sentinels in front of what the driver says.
func classify(err error) error {
	var e sqlite3.Error
	if !errors.As(err, &e) {
		return err
	}
	for sentinel, codes := range map[error][]sqlite3.ErrNo{
		ErrDamaged: {sqlite3.ErrCorrupt, sqlite3.ErrNotADB},
		ErrBusy:    {sqlite3.ErrBusy, sqlite3.ErrLocked},
		ErrFull:    {sqlite3.ErrFull},
	} {
		for _, code := range codes {
			if e.Code == code || sentinel == ErrFull && e.SystemErrno == syscall.ENOSPC {
				return fmt.Errorf("%w (%w)", sentinel, err)
			}
		}
	}
	return err
}
