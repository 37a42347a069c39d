package store

import (
	"context"
	"database/sql"
	"fmt"
	"iter"
	"math/bits"

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
	err := l.db.Write(ctx, func(tx sqlite.Writer) error {
		if err := moveHead(tx, b); err != nil {
			return err
		}
		return insertEntries(tx, b)
	})
	if err != nil {
		return fmt.Errorf("store: appending %d log entries at %d: %w", len(b.Entries), b.Size, err)
	}
	return nil
}

func insertEntries(tx sqlite.Writer, b sequencer.Batch) error {
	rows, hashes := b.Rows, b.Hashes
	for i, entry := range b.Entries {
		index := b.Size + int64(i)
		n := completeWith(index)
		if len(hashes) < n {
			return fmt.Errorf("entry %d has %d of %d hashes", index, len(hashes), n)
		}
		var row *sequencer.Row
		if len(rows) > 0 && rows[0].Index == index {
			row, rows = &rows[0], rows[1:]
		}
		if err := insertEntry(tx, index, entry, hashes[:n], row); err != nil {
			return err
		}
		hashes = hashes[n:]
	}
	if len(rows)+len(hashes) > 0 {
		return fmt.Errorf("%d rows and %d hashes belong to no entry", len(rows), len(hashes))
	}
	return nil
}

// completeWith is how many hashes of the tree a leaf completes, its own among them.
func completeWith(index int64) int { return 1 + bits.TrailingZeros64(^uint64(index)) }

func moveHead(tx sqlite.Writer, b sequencer.Batch) error {
	statement := "UPDATE log_head SET size = ?1, checkpoint = ?2 WHERE one = 1 AND size = ?3"
	switch {
	case b.Size == 0:
		statement = "INSERT INTO log_head (one, size, checkpoint) SELECT 1, ?1, ?2 WHERE ?3 = 0 AND NOT EXISTS (SELECT 1 FROM log_head WHERE one = 1)"
	case b.Served:
		statement = "UPDATE log_head SET size = ?1, checkpoint = ?2, witnessed_size = ?1, witnessed = ?2 WHERE one = 1 AND size = ?3"
	}
	size := b.Size + int64(len(b.Entries))
	if err := forward(tx.Exec(statement, size, b.Checkpoint, b.Size)); err != nil || b.Size > 0 || !b.Served {
		return err
	}
	return witness(tx, size, b.Checkpoint)
}

func forward(done sql.Result, err error) error {
	if err != nil {
		return err
	}
	if n, err := done.RowsAffected(); err != nil || n != 1 {
		return fmt.Errorf("%w (%v)", errLogForward, err)
	}
	return nil
}

// insertEntry writes an entry with what its label has from now on, if it has one, and notes where that was before, to be forgotten
// once nobody is shown it.
func insertEntry(tx sqlite.Writer, index int64, entry []byte, hashes []tlog.Hash, r *sequencer.Row) error {
	joined := make([]byte, 0, len(hashes)*tlog.HashSize)
	for _, h := range hashes {
		joined = append(joined, h[:]...)
	}
	if r == nil {
		_, err := tx.Exec("INSERT INTO log_entry (idx, entry, hashes) VALUES (?, ?, ?)", index, entry, joined)
		return err
	}
	_, err := tx.Exec(`INSERT INTO log_entry (idx, entry, hashes, label, value, previous, opening, content)
		VALUES (?1, ?2, ?3, ?4, ?5, (SELECT max(idx) FROM log_entry WHERE label = ?4), ?6, ?7)`,
		index, entry, joined, r.Label[:], r.Value[:], r.Opening[:], r.Content)
	return err
}

// Witness keeps a cosigned checkpoint.
func (l Log) Witness(ctx context.Context, size int64, checkpoint []byte) error {
	err := l.db.Write(ctx, func(tx sqlite.Writer) error { return witness(tx, size, checkpoint) })
	if err != nil {
		return fmt.Errorf("store: keeping the cosigned checkpoint of %d entries: %w", size, err)
	}
	return nil
}

func witness(tx sqlite.Writer, size int64, checkpoint []byte) error {
	return forward(tx.Exec("UPDATE log_head SET witnessed_size = ?1, witnessed = ?2 WHERE one = 1 AND size >= ?1 AND witnessed_size <= ?1", size, checkpoint))
}

// Forget deletes what only trees smaller than size show.
func (l Log) Forget(ctx context.Context, size int64) error {
	err := l.db.Write(ctx, func(tx sqlite.Writer) error {
		for _, statement := range []string{
			`UPDATE log_entry SET label = NULL, value = NULL, opening = NULL, content = NULL
				WHERE idx IN (SELECT previous FROM log_entry WHERE previous IS NOT NULL AND idx < ?)`,
			"UPDATE log_entry SET previous = NULL WHERE previous IS NOT NULL AND idx < ?",
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
		found, err = one(tx.QueryRow("SELECT idx, value, opening, content FROM log_entry WHERE label = ? AND idx < ? ORDER BY idx DESC LIMIT 1",
			label[:], size), &r.Index, &value, &opening, &r.Content)
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
			rows, err := tx.Query("SELECT label, idx, value FROM log_entry WHERE label IS NOT NULL AND idx < ? ORDER BY label, idx", size)
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

// Hashes of the tree, by their tlog.StoredHashIndex. Each is in the row of the entry that completes it.
func (l Log) Hashes(ctx context.Context, indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	err := l.db.View(ctx, func(tx *sql.Tx) error {
		for i, index := range indexes {
			level, n := tlog.SplitStoredHashIndex(index)
			var h []byte
			if err := tx.QueryRow("SELECT substr(hashes, ?, ?) FROM log_entry WHERE idx = ?",
				1+level*tlog.HashSize, tlog.HashSize, (n+1)<<level-1).Scan(&h); err != nil {
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
