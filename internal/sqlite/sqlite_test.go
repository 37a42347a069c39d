package sqlite_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/internal/sqlite"
)

var schema = []string{
	`CREATE TABLE parent (id INTEGER PRIMARY KEY, body BLOB NOT NULL) STRICT`,
	`CREATE TABLE child (parent INTEGER NOT NULL REFERENCES parent) STRICT`,
}

func open(t *testing.T, path string) *sqlite.DB {
	t.Helper()
	db, err := sqlite.Open(path, schema)
	require.NoError(t, err)
	t.Cleanup(func() { db.Close() })
	return db
}

func insert(db *sqlite.DB, body []byte) error {
	return db.Update(context.Background(), func(tx *sql.Tx) error {
		_, err := tx.Exec("INSERT INTO parent (body) VALUES (?)", body)
		return err
	})
}

func count(t *testing.T, db *sqlite.DB) (n int) {
	t.Helper()
	require.NoError(t, db.View(context.Background(), func(tx *sql.Tx) error {
		return tx.QueryRow("SELECT count(*) FROM parent").Scan(&n)
	}))
	return n
}

func TestSettings(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a ?&%41#b.db") // a name that a careless data source name would take apart
	db := open(t, path)
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	pragmas := func(tx *sql.Tx) (out []string) {
		for _, name := range []string{"journal_mode", "synchronous", "foreign_keys", "busy_timeout", "secure_delete", "user_version"} {
			var v string
			require.NoError(t, tx.QueryRow("PRAGMA "+name).Scan(&v))
			out = append(out, v)
		}
		return out
	}
	want := []string{"wal", "2", "1", "5000", "1", "2"}
	require.NoError(t, db.Update(context.Background(), func(tx *sql.Tx) error {
		require.Equal(t, want, pragmas(tx))
		return nil
	}))
	require.NoError(t, db.View(context.Background(), func(tx *sql.Tx) error {
		require.Equal(t, want, pragmas(tx))
		_, err := tx.Exec("INSERT INTO parent (body) VALUES (x'00')")
		require.Error(t, err, "a view writes")
		return nil
	}))
	require.Error(t, db.Update(context.Background(), func(tx *sql.Tx) error {
		_, err := tx.Exec("INSERT INTO child (parent) VALUES (7)")
		return err
	}), "a child without a parent")
	entries, err := os.ReadDir(filepath.Dir(path))
	require.NoError(t, err)
	for _, e := range entries {
		require.False(t, e.IsDir(), "the place where the database was built is still there: %s", e.Name())
	}
}

func TestUpdateIsWholeOrNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "w.db")
	db := open(t, path)
	require.NoError(t, insert(db, []byte("kept")))
	failed := errors.New("failed")
	require.ErrorIs(t, db.Update(context.Background(), func(tx *sql.Tx) error {
		_, err := tx.Exec("INSERT INTO parent (body) VALUES (x'00')")
		require.NoError(t, err)
		return failed
	}), failed)
	require.Panics(t, func() {
		_ = db.Update(context.Background(), func(tx *sql.Tx) error {
			_, err := tx.Exec("INSERT INTO parent (body) VALUES (x'00')")
			require.NoError(t, err)
			panic("broken")
		})
	})
	require.Equal(t, 1, count(t, db))
	require.NoError(t, insert(db, []byte("the writer is free again")))
	require.NoError(t, db.Close())
	require.Equal(t, 2, count(t, open(t, path)))
}

func TestWriteIsWholeOrNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "w.db")
	db := open(t, path)
	write := func(f func(w sqlite.Writer) error) error {
		return db.Write(context.Background(), func(w sqlite.Writer) error {
			_, err := w.Exec("INSERT INTO parent (id, body) VALUES (?, x'00')", count(t, db)+1)
			require.NoError(t, err)
			return f(w)
		})
	}
	fine, failed := func(sqlite.Writer) error { return nil }, errors.New("failed")
	require.NoError(t, write(fine))
	require.ErrorIs(t, write(func(sqlite.Writer) error { return failed }), failed)
	require.Panics(t, func() { _ = write(func(sqlite.Writer) error { panic("broken") }) })
	require.Error(t, write(func(w sqlite.Writer) error {
		_, err := w.Exec("INSERT INTO child (parent) VALUES (7)")
		return err
	}), "a child without a parent")
	require.Error(t, write(func(w sqlite.Writer) error { // found out by COMMIT
		_, err := w.Exec("PRAGMA defer_foreign_keys = on")
		require.NoError(t, err)
		_, err = w.Exec("INSERT INTO child (parent) VALUES (7)")
		require.NoError(t, err)
		return nil
	}), "a child without a parent")
	require.Error(t, write(func(w sqlite.Writer) error { // there is no transaction left to roll back
		_, err := w.Exec("ROLLBACK")
		require.NoError(t, err)
		return failed
	}))
	ended, end := context.WithCancel(context.Background())
	require.NoError(t, db.Write(ended, func(w sqlite.Writer) error {
		end()
		_, err := w.Exec("INSERT INTO parent (body) VALUES (x'00')")
		return err
	}), "begun is done")
	require.Error(t, db.Write(ended, fine))
	require.Equal(t, 2, count(t, db))
	require.NoError(t, insert(db, []byte("the writer is free again")))
	require.NoError(t, db.Close())
	require.Equal(t, 3, count(t, open(t, path)))
}

func TestManyWritersAndReaders(t *testing.T) {
	path := filepath.Join(t.TempDir(), "w.db")
	db, other := open(t, path), open(t, path) // the second stands for another process
	var wg sync.WaitGroup
	errs := make(chan error, 80)
	for i := range 8 {
		wg.Go(func() {
			for range 10 {
				if i%2 == 0 {
					errs <- insert(db, []byte{1})
				} else {
					errs <- insert(other, []byte{2})
				}
				errs <- db.View(context.Background(), func(tx *sql.Tx) error {
					var n int
					return tx.QueryRow("SELECT count(*) FROM parent").Scan(&n)
				})
			}
		})
	}
	go func() { wg.Wait(); close(errs) }()
	for err := range errs {
		require.NoError(t, err)
	}
	require.Equal(t, 80, count(t, db))
}

func TestFullDisk(t *testing.T) {
	db := open(t, filepath.Join(t.TempDir(), "w.db"))
	require.NoError(t, insert(db, []byte("before")))
	limit := func(pages string) {
		require.NoError(t, db.Update(context.Background(), func(tx *sql.Tx) error {
			_, err := tx.Exec("PRAGMA max_page_count = " + pages)
			return err
		}))
	}
	limit("10")
	require.ErrorIs(t, insert(db, make([]byte, 1<<20)), sqlite.ErrFull)
	require.Equal(t, 1, count(t, db))
	limit("100000")
	require.NoError(t, insert(db, make([]byte, 1<<20)))
}

func TestNewer(t *testing.T) {
	path := filepath.Join(t.TempDir(), "w.db")
	db := open(t, path)
	require.NoError(t, insert(db, []byte("from the future")))
	require.NoError(t, db.Close())
	before, err := os.ReadFile(path)
	require.NoError(t, err)
	_, err = sqlite.Open(path, schema[:1])
	require.ErrorIs(t, err, sqlite.ErrNewer)
	after, err := os.ReadFile(path)
	require.NoError(t, err)
	require.True(t, bytes.Equal(before, after), "a refused database was changed")
}

func TestOlderIsMigrated(t *testing.T) {
	path := filepath.Join(t.TempDir(), "w.db")
	db, err := sqlite.Open(path, schema[:1])
	require.NoError(t, err)
	require.NoError(t, insert(db, []byte("old")))
	require.NoError(t, db.Close())
	_, err = sqlite.Open(path, []string{schema[0], "CREATE TABLE half (a INTEGER) STRICT; CREATE TABLE half (a INTEGER) STRICT"})
	require.Error(t, err, "a step that fails")
	db = open(t, path)
	require.Equal(t, 1, count(t, db))
	require.NoError(t, db.View(context.Background(), func(tx *sql.Tx) error {
		var n int
		require.NoError(t, tx.QueryRow("SELECT count(*) FROM sqlite_schema WHERE name = 'half'").Scan(&n))
		require.Zero(t, n, "a failed step left something")
		return nil
	}))
}

func TestDamaged(t *testing.T) {
	whole := func(t *testing.T) (path string, size int64) {
		path = filepath.Join(t.TempDir(), "w.db")
		db := open(t, path)
		for range 50 {
			require.NoError(t, insert(db, bytes.Repeat([]byte("x"), 3000)))
		}
		require.NoError(t, db.Close())
		info, err := os.Stat(path)
		require.NoError(t, err)
		return path, info.Size()
	}
	for name, damage := range map[string]func(path string, size int64) error{
		"empty": func(path string, size int64) error { return os.Truncate(path, 0) },
		"gone": func(path string, _ int64) error {
			return errors.Join(os.WriteFile(path+"-wal", []byte("what is left"), 0o600), os.Remove(path))
		},
		"in the head": func(path string, size int64) error { return os.Truncate(path, 50) },
		"one page":    func(path string, size int64) error { return os.Truncate(path, 4096) },
		"half":        func(path string, size int64) error { return os.Truncate(path, size/2) },
		"mid-page":    func(path string, size int64) error { return os.Truncate(path, size-100) },
		"not SQLite":  func(path string, size int64) error { return os.WriteFile(path, []byte("hello, this is a text"), 0o600) },
		"overwritten": func(path string, size int64) error {
			f, err := os.OpenFile(path, os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			_, err = f.WriteAt(bytes.Repeat([]byte{0xff}, 8192), 4096)
			return errors.Join(err, f.Close())
		},
	} {
		t.Run(name, func(t *testing.T) {
			path, size := whole(t)
			require.NoError(t, damage(path, size))
			_, err := sqlite.Open(path, schema)
			require.ErrorIs(t, err, sqlite.ErrDamaged)
		})
	}
}
