package sqlite_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/internal/sqlite"
)

// A crowd is callers of Update who all wait for the first, and so share its transaction.
type crowd struct {
	t    *testing.T
	db   *sqlite.DB
	errs []error
	all  sync.WaitGroup
}

// gather lets them in, the first at last, in any order of the others.
func gather(t *testing.T, db *sqlite.DB, first func(*sql.Tx) error, others ...func(*sql.Tx) error) []error {
	c := &crowd{t: t, db: db, errs: make([]error, len(others)+1)}
	inside, let := make(chan struct{}), make(chan struct{})
	c.join(0, func(tx *sql.Tx) error {
		close(inside)
		<-let
		return first(tx)
	})
	<-inside
	for i, f := range others {
		c.join(i+1, f)
	}
	require.Eventually(t, func() bool { return db.Waiting() == len(others) }, 10*time.Second, time.Millisecond)
	close(let)
	c.all.Wait()
	return c.errs
}

func (c *crowd) join(i int, f func(*sql.Tx) error) {
	c.all.Go(func() {
		defer func() {
			if v := recover(); v != nil {
				c.errs[i] = fmt.Errorf("panic: %v", v)
			}
		}()
		c.errs[i] = c.db.Update(context.Background(), f)
	})
}

func write(body string) func(*sql.Tx) error {
	return func(tx *sql.Tx) error {
		_, err := tx.Exec("INSERT INTO parent (body) VALUES (?)", []byte(body))
		return err
	}
}

func bodies(t *testing.T, db *sqlite.DB) (all []string) {
	require.NoError(t, db.View(context.Background(), func(tx *sql.Tx) error {
		rows, err := tx.Query("SELECT body FROM parent ORDER BY body")
		return sqlite.Each(rows, err, func(rows *sql.Rows) error {
			var body string
			err := rows.Scan(&body)
			all = append(all, body)
			return err
		})
	}))
	return all
}

// shares fails unless something is in the transaction that nobody else sees yet.
func shares(t *testing.T, db *sqlite.DB, tx *sql.Tx) error {
	var n int
	if err := tx.QueryRow("SELECT count(*) FROM parent").Scan(&n); err != nil {
		return err
	}
	if durable := len(bodies(t, db)); n <= durable {
		return fmt.Errorf("%d rows, and %d are durable", n, durable)
	}
	return nil
}

// TestOneOfManyFails: who fails, panics or gives up takes nothing along that is another's.
func TestOneOfManyFails(t *testing.T) {
	db := open(t, filepath.Join(t.TempDir(), "w.db"))
	failed := errors.New("failed")
	givingUp, giveUp := context.WithCancel(context.Background())
	second := func(tx *sql.Tx) error { return errors.Join(shares(t, db, tx), write("b")(tx)) }
	fails := func(tx *sql.Tx) error { return errors.Join(write("lost")(tx), failed) }
	panics := func(tx *sql.Tx) error { _ = write("lost")(tx); panic("broken") }
	errs := gather(t, db, write("a"), second, fails, panics, second)
	require.NoError(t, errs[0])
	require.NoError(t, errs[1])
	require.ErrorIs(t, errs[2], failed)
	require.ErrorContains(t, errs[3], "panic: broken")
	require.NoError(t, errs[4])
	require.Equal(t, []string{"a", "b", "b"}, bodies(t, db))

	require.ErrorIs(t, db.Update(givingUp, func(tx *sql.Tx) error { giveUp(); return write("lost")(tx) }), context.Canceled)
	require.ErrorIs(t, db.Update(givingUp, func(tx *sql.Tx) error { panic("it is called") }), context.Canceled)
	errs = gather(t, db, fails, write("c"), panics)
	require.ErrorIs(t, errs[0], failed)
	require.NoError(t, errs[1])
	require.Equal(t, []string{"a", "b", "b", "c"}, bodies(t, db))
}

// TestAllFail: nobody is told that something is there which went with the work of another one.
func TestAllFail(t *testing.T) {
	db := open(t, filepath.Join(t.TempDir(), "w.db"))
	require.NoError(t, db.Update(context.Background(), write("kept")))
	failed := errors.New("failed")
	for name, last := range map[string]func(*sql.Tx) error{
		"at the end": func(tx *sql.Tx) error {
			_, err := tx.Exec("PRAGMA defer_foreign_keys = ON; INSERT INTO child (parent) VALUES (70)")
			return err
		},
		"by SQLite": func(tx *sql.Tx) error {
			_, err := tx.Exec("INSERT OR ROLLBACK INTO parent (id, body) VALUES (1, x'')")
			return err
		},
	} {
		errs := gather(t, db, write("a row"), write("a row"), last, func(tx *sql.Tx) error { return failed })
		require.Error(t, errs[0], name)
		require.Error(t, errs[2], name)
		require.Error(t, errs[3], name)
		want := []string{"kept"}
		if errs[1] == nil { // it came after the others' transaction was lost, and so into the next
			want = []string{"a row", "kept"}
		}
		require.Equal(t, want, bodies(t, db), name)
		require.NoError(t, db.Update(context.Background(), func(tx *sql.Tx) error {
			_, err := tx.Exec("DELETE FROM parent WHERE id > 1")
			return err
		}))
	}
	require.NoError(t, db.Update(context.Background(), write("later")))
	require.Equal(t, []string{"kept", "later"}, bodies(t, db))
}

// TestAlone: what has effects outside sees nothing that may still be undone, and nobody undoes it with their own.
func TestAlone(t *testing.T) {
	db := open(t, filepath.Join(t.TempDir(), "w.db"))
	inside, let, done := make(chan struct{}), make(chan struct{}), make(chan error, 3)
	go func() {
		done <- db.Update(context.Background(), func(tx *sql.Tx) error {
			close(inside)
			<-let
			return write("a")(tx)
		})
	}()
	<-inside
	alone := func(tx *sql.Tx) error {
		if shares(t, db, tx) == nil {
			return errors.New("somebody's work is in here")
		}
		return write("b")(tx)
	}
	for range 2 {
		go func() { done <- db.Alone(context.Background(), alone) }()
	}
	require.Eventually(t, func() bool { return db.Waiting() == 2 }, 10*time.Second, time.Millisecond)
	close(let)
	for range 3 {
		require.NoError(t, <-done)
	}
	require.Equal(t, []string{"a", "b", "b"}, bodies(t, db))
}

// BenchmarkUpdate is durable transactions of one row, by how many write at once.
func BenchmarkUpdate(b *testing.B) {
	for _, writers := range []int{1, 16, 64} {
		b.Run(fmt.Sprint(writers), func(b *testing.B) {
			db, err := sqlite.Open(filepath.Join(b.TempDir(), "w.db"), schema)
			require.NoError(b, err)
			defer db.Close()
			var all sync.WaitGroup
			for i := range writers {
				all.Go(func() {
					for n := i; n < b.N; n += writers {
						if err := db.Update(context.Background(), write("a row")); err != nil {
							b.Error(err)
						}
					}
				})
			}
			all.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "updates/s")
		})
	}
}
