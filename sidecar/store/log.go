package store

import (
	"context"
	"database/sql"
	"fmt"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/waxwing-dm/waxwing/internal/sqlite"
	"github.com/waxwing-dm/waxwing/transparency/sequencer"
)

// Log is a sequencer.Store.
type Log struct{ db *sqlite.DB }

// Head of the log; of an empty one, size 0 and no checkpoint.
func (l Log) Head(ctx context.Context) (size int64, checkpoint []byte, err error) {
	err = l.db.View(ctx, func(tx *sql.Tx) error {
		ok, err := one(tx.QueryRow("SELECT idx + 1, checkpoint FROM log_entry ORDER BY idx DESC LIMIT 1"), &size, &checkpoint)
		if !ok {
			size, checkpoint = 0, nil
		}
		return err
	})
	if err != nil {
		return 0, nil, fmt.Errorf("store: reading the log's head: %w", err)
	}
	return size, checkpoint, nil
}

// Append writes the entry, its tree hashes and the checkpoint over it together. The size is compared inside the statement.
func (l Log) Append(ctx context.Context, r sequencer.Record) error {
	err := l.db.Update(ctx, func(tx *sql.Tx) error {
		done, err := tx.Exec(`INSERT INTO log_entry (idx, entry, label, opening, list, checkpoint) SELECT ?1, ?2, ?3, ?4, ?5, ?6
			WHERE ?1 = (SELECT coalesce(max(idx) + 1, 0) FROM log_entry)`,
			r.Index, r.Entry, r.Label[:], r.Opening[:], r.List, r.Checkpoint)
		if err != nil {
			return err
		}
		if n, err := done.RowsAffected(); err != nil || n != 1 {
			return fmt.Errorf("%w (%v)", errLogForward, err)
		}
		first := tlog.StoredHashIndex(0, r.Index)
		for i, h := range r.Hashes {
			if _, err := tx.Exec("INSERT INTO log_hash (idx, hash) VALUES (?, ?)", first+int64(i), h[:]); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("store: appending log entry %d: %w", r.Index, err)
	}
	return nil
}

// Newest record of a label, without hashes and checkpoint.
func (l Log) Newest(ctx context.Context, label [32]byte) (r sequencer.Record, found bool, err error) {
	var opening []byte
	err = l.db.View(ctx, func(tx *sql.Tx) (err error) {
		found, err = one(tx.QueryRow("SELECT idx, entry, opening, list FROM log_entry WHERE label = ? ORDER BY idx DESC LIMIT 1", label[:]),
			&r.Index, &r.Entry, &opening, &r.List)
		return err
	})
	if err != nil {
		return sequencer.Record{}, false, fmt.Errorf("store: reading the newest log entry of a label: %w", err)
	}
	r.Label = label
	copy(r.Opening[:], opening)
	return r, found, nil
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
