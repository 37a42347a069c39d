package store

import (
	"context"
	"database/sql"
	"fmt"
	"iter"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/waxwing-dm/waxwing/internal/sqlite"
	"github.com/waxwing-dm/waxwing/transparency/sequencer"
)

// Log is a sequencer.Store.
type Log struct{ db *sqlite.DB }

// Head of the log and of what was witnessed of it.
func (l Log) Head(ctx context.Context) (h sequencer.Heads, err error) {
	err = l.db.View(ctx, func(tx *sql.Tx) error {
		_, err := one(tx.QueryRow("SELECT size, checkpoint, witnessed_size, witnessed FROM log_head WHERE one = 1"),
			&h.Size, &h.Checkpoint, &h.WitnessedSize, &h.Witnessed)
		return err
	})
	if err != nil {
		return sequencer.Heads{}, fmt.Errorf("store: reading the log's head: %w", err)
	}
	return h, nil
}

// Append writes a batch. The size is compared inside the statement that moves the head.
func (l Log) Append(ctx context.Context, b sequencer.Batch) error {
	err := l.db.Update(ctx, func(tx *sql.Tx) error {
		if err := moveHead(tx, b); err != nil {
			return err
		}
		if err := insertAll(tx, "INSERT INTO log_entry (idx, entry) VALUES (?, ?)", len(b.Entries), func(i int) []any {
			return []any{b.Size + int64(i), b.Entries[i]}
		}); err != nil {
			return err
		}
		first := tlog.StoredHashIndex(0, b.Size)
		if err := insertAll(tx, "INSERT INTO log_hash (idx, hash) VALUES (?, ?)", len(b.Hashes), func(i int) []any {
			return []any{first + int64(i), b.Hashes[i][:]}
		}); err != nil {
			return err
		}
		if err := insertRows(tx, b.Rows); err != nil {
			return err
		}
		if b.Served {
			return witness(tx, b.Size+int64(len(b.Entries)), b.Checkpoint)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("store: appending %d log entries at %d: %w", len(b.Entries), b.Size, err)
	}
	return nil
}

func moveHead(tx *sql.Tx, b sequencer.Batch) error {
	size := b.Size + int64(len(b.Entries))
	statement := "UPDATE log_head SET size = ?1, checkpoint = ?2 WHERE one = 1 AND size = ?3"
	if b.Size == 0 {
		statement = "INSERT INTO log_head (one, size, checkpoint) SELECT 1, ?1, ?2 WHERE ?3 = 0 AND NOT EXISTS (SELECT 1 FROM log_head WHERE one = 1)"
	}
	done, err := tx.Exec(statement, size, b.Checkpoint, b.Size)
	if err != nil {
		return err
	}
	if n, err := done.RowsAffected(); err != nil || n != 1 {
		return fmt.Errorf("%w (%v)", errLogForward, err)
	}
	return nil
}

// insertRows writes what labels have from now on, and notes what they had before, to be forgotten once nobody is shown it.
func insertRows(tx *sql.Tx, rows []sequencer.Row) error {
	for _, step := range []struct {
		statement string
		args      func(r sequencer.Row) []any
	}{
		{"INSERT INTO log_label (label, idx, value) VALUES (?, ?, ?)", func(r sequencer.Row) []any { return []any{r.Label[:], r.Index, r.Value[:]} }},
		{"INSERT INTO log_content (idx, opening, content) VALUES (?, ?, ?)", func(r sequencer.Row) []any {
			return []any{r.Index, r.Opening[:], append([]byte{}, r.Content...)}
		}},
		{"INSERT INTO log_stale (superseded, idx, label) SELECT ?1, idx, label FROM log_label WHERE label = ?2 AND idx < ?1 ORDER BY idx DESC LIMIT 1",
			func(r sequencer.Row) []any { return []any{r.Index, r.Label[:]} }},
	} {
		if err := insertAll(tx, step.statement, len(rows), func(i int) []any { return step.args(rows[i]) }); err != nil {
			return err
		}
	}
	return nil
}

func insertAll(tx *sql.Tx, statement string, n int, args func(int) []any) error {
	prepared, err := tx.Prepare(statement)
	if err != nil {
		return err
	}
	defer prepared.Close()
	for i := range n {
		if _, err := prepared.Exec(args(i)...); err != nil {
			return err
		}
	}
	return nil
}

// Witness keeps a cosigned checkpoint.
func (l Log) Witness(ctx context.Context, size int64, checkpoint []byte) error {
	err := l.db.Update(ctx, func(tx *sql.Tx) error { return witness(tx, size, checkpoint) })
	if err != nil {
		return fmt.Errorf("store: keeping the cosigned checkpoint of %d entries: %w", size, err)
	}
	return nil
}

func witness(tx *sql.Tx, size int64, checkpoint []byte) error {
	done, err := tx.Exec("UPDATE log_head SET witnessed_size = ?1, witnessed = ?2 WHERE one = 1 AND size >= ?1 AND witnessed_size <= ?1", size, checkpoint)
	if err != nil {
		return err
	}
	if n, err := done.RowsAffected(); err != nil || n != 1 {
		return fmt.Errorf("%w (%v)", errLogForward, err)
	}
	return nil
}

// Forget deletes what only trees smaller than size show.
func (l Log) Forget(ctx context.Context, size int64) error {
	err := l.db.Update(ctx, func(tx *sql.Tx) error {
		for _, statement := range []string{
			"DELETE FROM log_content WHERE idx IN (SELECT idx FROM log_stale WHERE superseded < ?)",
			"DELETE FROM log_label WHERE (label, idx) IN (SELECT label, idx FROM log_stale WHERE superseded < ?)",
			"DELETE FROM log_stale WHERE superseded < ?",
		} {
			if _, err := tx.Exec(statement, size); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("store: forgetting what the log of %d entries does not show: %w", size, err)
	}
	return nil
}

// Newest row of a label in the tree of that size.
func (l Log) Newest(ctx context.Context, label [32]byte, size int64) (r sequencer.Row, found bool, err error) {
	var value, opening []byte
	err = l.db.View(ctx, func(tx *sql.Tx) (err error) {
		found, err = one(tx.QueryRow(`SELECT l.idx, l.value, c.opening, c.content FROM log_label AS l JOIN log_content AS c ON c.idx = l.idx
			WHERE l.label = ? AND l.idx < ? ORDER BY l.idx DESC LIMIT 1`, label[:], size), &r.Index, &value, &opening, &r.Content)
		return err
	})
	if err != nil {
		return sequencer.Row{}, false, fmt.Errorf("store: reading the newest row of a label: %w", err)
	}
	r.Label = label
	copy(r.Value[:], value)
	copy(r.Opening[:], opening)
	return r, found, nil
}

// Values of all labels in the tree of that size.
func (l Log) Values(ctx context.Context, size int64) iter.Seq2[sequencer.Row, error] {
	return func(yield func(sequencer.Row, error) bool) {
		stopped := false
		err := l.db.View(ctx, func(tx *sql.Tx) error {
			var last sequencer.Row
			rows, err := tx.Query("SELECT label, idx, value FROM log_label WHERE idx < ? ORDER BY label, idx", size)
			some := false
			if err := each(rows, err, func(rows *sql.Rows) error {
				var next sequencer.Row
				var label, value sql.RawBytes
				if err := rows.Scan(&label, &next.Index, &value); err != nil || stopped {
					return err
				}
				copy(next.Label[:], label)
				copy(next.Value[:], value)
				if some && next.Label != last.Label {
					stopped = !yield(last, nil)
				}
				last, some = next, true
				return nil
			}); err != nil {
				return err
			}
			if some && !stopped {
				stopped = !yield(last, nil)
			}
			return nil
		})
		if err != nil && !stopped {
			yield(sequencer.Row{}, fmt.Errorf("store: reading the values of the log's map: %w", err))
		}
	}
}

// Hashes of the tree, by their tlog.StoredHashIndex.
func (l Log) Hashes(ctx context.Context, indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	err := l.db.View(ctx, func(tx *sql.Tx) error {
		for i, index := range indexes {
			var h []byte
			if err := tx.QueryRow("SELECT hash FROM log_hash WHERE idx = ?", index).Scan(&h); err != nil {
				return fmt.Errorf("hash %d: %w", index, err)
			}
			copy(out[i][:], h)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("store: reading the log's tree: %w", err)
	}
	return out, nil
}

// Entries from an index on; fewer than count is an error.
func (l Log) Entries(ctx context.Context, from, count int64) (entries [][]byte, err error) {
	err = l.db.View(ctx, func(tx *sql.Tx) error {
		rows, err := tx.Query("SELECT entry FROM log_entry WHERE idx >= ? AND idx < ? ORDER BY idx", from, from+count)
		return each(rows, err, func(rows *sql.Rows) error {
			var e []byte
			if err := rows.Scan(&e); err != nil {
				return err
			}
			entries = append(entries, e)
			return nil
		})
	})
	if err != nil {
		return nil, fmt.Errorf("store: reading log entries from %d: %w", from, err)
	}
	if int64(len(entries)) != count {
		return nil, fmt.Errorf("store: reading log entries from %d: %d of %d are there", from, len(entries), count)
	}
	return entries, nil
}
