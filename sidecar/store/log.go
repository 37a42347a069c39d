package store

import (
	"context"
	"database/sql"
	"fmt"
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
		_, err := sqlite.One(tx.QueryRow("SELECT size, checkpoint, witnessed_size, witnessed FROM log_head WHERE one = 1"),
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
		if err := insertEntries(tx, b); err != nil {
			return err
		}
		return forgetRows(tx, b.Forget)
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

func insertEntry(tx sqlite.Writer, index int64, entry []byte, hashes []tlog.Hash, r *sequencer.Row) error {
	joined := make([]byte, 0, len(hashes)*tlog.HashSize)
	for _, h := range hashes {
		joined = append(joined, h[:]...)
	}
	if r == nil {
		_, err := tx.Exec("INSERT INTO log_entry (idx, entry, hashes) VALUES (?, ?, ?)", index, entry, joined)
		return err
	}
	_, err := tx.Exec("INSERT INTO log_entry (idx, entry, hashes, opening, content) VALUES (?, ?, ?, ?, ?)", index, entry, joined, r.Opening[:], r.Content)
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

// Forget deletes what entries open to.
func (l Log) Forget(ctx context.Context, indexes []int64) error {
	err := l.db.Write(ctx, func(tx sqlite.Writer) error { return forgetRows(tx, indexes) })
	if err != nil {
		return fmt.Errorf("store: forgetting what %d entries open to: %w", len(indexes), err)
	}
	return nil
}

func forgetRows(tx sqlite.Writer, indexes []int64) error {
	for _, index := range indexes {
		if _, err := tx.Exec("UPDATE log_entry SET opening = NULL, content = NULL WHERE idx = ?", index); err != nil {
			return err
		}
	}
	return nil
}

// Row of an entry, with the entry.
func (l Log) Row(ctx context.Context, index int64) (entry []byte, r sequencer.Row, found bool, err error) {
	var opening []byte
	err = l.db.View(ctx, func(tx *sql.Tx) (err error) {
		found, err = sqlite.One(tx.QueryRow("SELECT entry, opening, content FROM log_entry WHERE idx = ? AND opening IS NOT NULL", index), &entry, &opening, &r.Content)
		return err
	})
	if err != nil || !found {
		if err != nil {
			err = fmt.Errorf("store: reading what entry %d opens to: %w", index, err)
		}
		return nil, sequencer.Row{}, false, err
	}
	r.Index = index
	copy(r.Opening[:], opening)
	return entry, r, true, nil
}

// Rows calls f for each entry that has a row.
func (l Log) Rows(ctx context.Context, f func(index int64, entry []byte) error) error {
	err := l.db.View(ctx, func(tx *sql.Tx) error {
		rows, err := tx.Query("SELECT idx, entry FROM log_entry WHERE opening IS NOT NULL ORDER BY idx")
		return sqlite.Each(rows, err, func(rows *sql.Rows) error {
			var index int64
			var entry sql.RawBytes
			if err := rows.Scan(&index, &entry); err != nil {
				return err
			}
			return f(index, entry)
		})
	})
	if err != nil {
		return fmt.Errorf("store: reading the entries that have a row: %w", err)
	}
	return nil
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
		return sqlite.Each(rows, err, func(rows *sql.Rows) error {
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
