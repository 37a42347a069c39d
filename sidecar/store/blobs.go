package store

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/waxwing-dm/waxwing/internal/sqlite"
)

// What all blobs together may have that one account brought, in bytes, and what the smallest counts: without that, empty files would
// be free and without number. The size of one is the caller's to bound.
const (
	maxBlobsOfActor = 4 << 30
	minBlob         = 64 << 10
)

// Blobs are encrypted files named by the SHA-256 of their bytes. The bytes are files on disk, the database says whose they are.
// Partition key: actor.
type Blobs struct {
	db  *sqlite.DB
	dir string
}

// ErrHash is for bytes that do not have the hash they are named by.
var ErrHash = errors.New("the bytes have another SHA-256")

// IsHash says whether a text is a SHA-256 in lower-case hex, as blobs are named.
func IsHash(text string) bool {
	raw, err := hex.DecodeString(text)
	return err == nil && len(raw) == sha256.Size && hex.EncodeToString(raw) == text
}

// path of a blob; false for what is not the name of one.
func (b Blobs) path(hash string) (string, bool) {
	if !IsHash(hash) {
		return "", false
	}
	return filepath.Join(b.dir, hash[:2], hash), true
}

// Temp makes a file for bytes that are passing through. The caller removes it, or after a crash Sweep does.
func (b Blobs) Temp() (*os.File, error) { return os.CreateTemp(b.dir, ".new-") }

// Put reads a blob to its end and keeps it; it is durable before Put returns. Bringing it again is the same. ErrHash, ErrTooMany
// if the account's space is used up, ErrNotFound for a name that is no hash, and the reader's own errors.
func (b Blobs) Put(ctx context.Context, actor, hash string, r io.Reader, now time.Time) error {
	fail := func(err error) error { return fmt.Errorf("store: keeping blob %.64q: %w", hash, err) }
	path, ok := b.path(hash)
	if !ok {
		return fail(ErrNotFound)
	}
	tmp, size, err := b.receive(r, hash)
	if err != nil {
		return fail(err)
	}
	defer os.Remove(tmp) // nothing is there any more if all went well
	// The row before the file: a row without a file is mended by the next Put, a file without a row would count for nobody.
	if err := b.account(ctx, actor, hash, size, now); err != nil {
		return fail(err)
	}
	if err := place(tmp, path); err != nil {
		return fail(err)
	}
	if err := b.stillWanted(ctx, hash, path); err != nil {
		return fail(err)
	}
	return nil
}

// stillWanted removes a file again whose account was erased while it came in.
func (b Blobs) stillWanted(ctx context.Context, hash, path string) error {
	var there bool
	look := func(tx *sql.Tx) error {
		return tx.QueryRow("SELECT count(*) > 0 FROM blob WHERE hash = ?", hash).Scan(&there)
	}
	if err := b.db.View(ctx, look); err != nil || there {
		return err
	}
	return b.db.Alone(ctx, func(tx *sql.Tx) error { // so that nobody brings it meanwhile
		if err := look(tx); err != nil || there {
			return err
		}
		return orElse(os.Remove(path), ErrNotFound)
	})
}

const removedAtOnce = 50 // files in one transaction: others write between two of them

// RemoveGone removes the files that nobody accounts for any more. One that somebody has brought anew meanwhile stays.
func (b Blobs) RemoveGone(ctx context.Context) error {
	for more := true; more; {
		if err := b.db.Alone(ctx, func(tx *sql.Tx) (err error) {
			more, err = b.removeSome(tx)
			return err
		}); err != nil {
			return fmt.Errorf("store: removing the files of an erased account: %w", err)
		}
	}
	return nil
}

func (b Blobs) removeSome(tx *sql.Tx) (more bool, err error) {
	var gone []string
	rows, err := tx.Query("SELECT hash FROM blob_gone WHERE hash > '' LIMIT ?", removedAtOnce)
	if err := sqlite.Each(rows, err, func(rows *sql.Rows) error {
		var hash string
		err := rows.Scan(&hash)
		gone = append(gone, hash)
		return err
	}); err != nil {
		return false, err
	}
	for _, hash := range gone {
		var there bool
		if err := tx.QueryRow("SELECT count(*) > 0 FROM blob WHERE hash = ?", hash).Scan(&there); err != nil {
			return false, err
		}
		path, ok := b.path(hash)
		if ok && !there {
			if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return false, err
			}
		}
		if _, err := tx.Exec("DELETE FROM blob_gone WHERE hash = ?", hash); err != nil {
			return false, err
		}
	}
	return len(gone) == removedAtOnce, nil
}

// receive writes a blob under a temporary name, durably, and compares its hash.
func (b Blobs) receive(r io.Reader, hash string) (name string, size int64, err error) {
	tmp, err := b.Temp()
	if err != nil {
		return "", 0, err
	}
	sum := sha256.New()
	size, err = io.Copy(io.MultiWriter(tmp, sum), r)
	if err == nil && hex.EncodeToString(sum.Sum(nil)) != hash {
		err = ErrHash
	}
	if err == nil {
		err = tmp.Sync()
	}
	if err = errors.Join(err, tmp.Close()); err != nil {
		return "", 0, errors.Join(err, os.Remove(tmp.Name()))
	}
	return tmp.Name(), size, nil
}

// sweep removes what crashes have left of uploads; a day is longer than any upload takes.
func (b Blobs) sweep(now time.Time) error {
	left, err := filepath.Glob(filepath.Join(b.dir, ".new-*"))
	if err != nil {
		return fmt.Errorf("store: looking for unfinished blobs: %w", err)
	}
	for _, path := range left {
		info, err := os.Stat(path)
		if err != nil || now.Sub(info.ModTime()) < 24*time.Hour {
			continue
		}
		if err := os.Remove(path); err != nil {
			return fmt.Errorf("store: removing an unfinished blob: %w", err)
		}
	}
	return nil
}

// account counts a blob that was not there before against its actor's space.
func (b Blobs) account(ctx context.Context, actor, hash string, size int64, now time.Time) error {
	size = max(size, minBlob)
	return b.db.Update(ctx, func(tx *sql.Tx) error {
		fresh, err := tx.Exec("INSERT INTO blob (hash, actor, size, at) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING", hash, actor, size, now.UnixMilli())
		if err != nil {
			return err
		}
		if n, err := fresh.RowsAffected(); err != nil {
			return err
		} else if n == 0 {
			_, err := tx.Exec("INSERT INTO blob_also (hash, actor) SELECT hash, ?2 FROM blob WHERE hash = ?1 AND actor <> ?2 ON CONFLICT DO NOTHING", hash, actor)
			return err
		}
		done, err := tx.Exec("UPDATE account SET blobs = blobs + ?1 WHERE actor = ?2 AND blobs + ?1 <= ?3", size, actor, maxBlobsOfActor)
		return changed(done, err, ErrTooMany)
	})
}

// place makes the file appear whole or not at all, and durably.
func place(tmp, path string) error {
	dir := filepath.Dir(path)
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := os.Rename(tmp, path); err != nil {
		return err
	}
	return errors.Join(syncDir(dir), syncDir(filepath.Dir(dir)))
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Open a blob for reading. ErrNotFound.
func (b Blobs) Open(hash string) (io.ReadSeekCloser, error) {
	path, ok := b.path(hash)
	if !ok {
		return nil, fmt.Errorf("store: opening blob %.64q: %w", hash, ErrNotFound)
	}
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("store: opening blob %s: %w", hash, ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("store: opening blob %s: %w", hash, err)
	}
	return f, nil
}
