package store

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"fmt"

	"github.com/waxwing-dm/waxwing/federation/hub"
	"github.com/waxwing-dm/waxwing/internal/sqlite"
)

// Mirror is a hub.MirrorStore. Partition key: group id.
type Mirror struct{ db *sqlite.DB }

// Keys of a term.
func (m Mirror) Keys(ctx context.Context, groupID []byte, term uint64) (keys [][32]byte, err error) {
	if int64(term) < 0 {
		return nil, nil
	}
	err = m.db.View(ctx, func(tx *sql.Tx) error {
		rows, err := tx.Query("SELECT key FROM mirror_hub WHERE group_id = ? AND term = ? LIMIT ?", groupID, term, hub.MaxKeys)
		return sqlite.Each(rows, err, func(rows *sql.Rows) error {
			var key []byte
			err := rows.Scan(&key)
			if len(key) == 32 {
				keys = append(keys, [32]byte(key))
			}
			return err
		})
	})
	if err != nil {
		return nil, fmt.Errorf("store: reading the hubs of group %x: %w", groupID, err)
	}
	return keys, nil
}

// Keep an event.
func (m Mirror) Keep(ctx context.Context, groupID []byte, term, seq uint64, e hub.Event, key *[32]byte) error {
	if int64(term) < 0 || int64(seq) < 0 {
		return nil // no column holds it, and no hub gets there
	}
	err := m.db.Update(ctx, func(tx *sql.Tx) error {
		if key != nil {
			if _, err := tx.Exec("INSERT INTO mirror_hub (group_id, term, key) VALUES (?, ?, ?) ON CONFLICT DO NOTHING", groupID, term, key[:]); err != nil {
				return err
			}
		}
		var n int
		if err := tx.QueryRow("SELECT count(*) FROM mirror_event WHERE group_id = ? AND seq = ? AND term = ?", groupID, seq, term).Scan(&n); err != nil || n >= 2 {
			return err
		}
		hash := sha256.Sum256(e.Receipt)
		body := e.Commit
		if body == nil {
			body = []byte{}
		}
		done, err := tx.Exec(`INSERT INTO mirror_event (group_id, seq, term, hash, size, receipt, message) VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`,
			groupID, seq, term, hash[:], len(e.Receipt)+len(body), e.Receipt, body)
		if err != nil {
			return err
		}
		if n, err := done.RowsAffected(); err != nil || n == 0 {
			return err
		}
		return trimMirror(tx, groupID)
	})
	if err != nil {
		return fmt.Errorf("store: mirroring group %x: %w", groupID, err)
	}
	return nil
}

// trimMirror drops the oldest events while there are too many.
func trimMirror(tx *sql.Tx, groupID []byte) error {
	var size int
	if err := tx.QueryRow("SELECT coalesce(sum(size), 0) FROM mirror_event WHERE group_id = ?", groupID).Scan(&size); err != nil {
		return err
	}
	for size > hub.MirrorSize {
		var seq, oldest int
		if err := tx.QueryRow("SELECT seq, size FROM mirror_event WHERE group_id = ? ORDER BY seq LIMIT 1", groupID).Scan(&seq, &oldest); err != nil {
			return err
		}
		if _, err := tx.Exec("DELETE FROM mirror_event WHERE group_id = ? AND seq = ?", groupID, seq); err != nil {
			return err
		}
		size -= oldest
	}
	return nil
}

// Kept reads events.
func (m Mirror) Kept(ctx context.Context, groupID []byte, after, upto uint64, maxEvents, maxBytes int) (events []hub.Event, err error) {
	if int64(after) < 0 {
		return nil, nil
	}
	err = m.db.View(ctx, func(tx *sql.Tx) error {
		last, err := lastKept(tx, groupID, after, min(upto, 1<<63-1), maxEvents, maxBytes)
		if err != nil {
			return err
		}
		rows, err := tx.Query("SELECT receipt, message FROM mirror_event WHERE group_id = ? AND seq > ? AND seq <= ? ORDER BY seq, term", groupID, after, last)
		return sqlite.Each(rows, err, func(rows *sql.Rows) error {
			var e hub.Event
			err := rows.Scan(&e.Receipt, &e.Commit)
			events = append(events, e)
			return err
		})
	})
	if err != nil {
		return nil, fmt.Errorf("store: reading the mirror of group %x: %w", groupID, err)
	}
	return events, nil
}

// lastKept is the greatest seq whose events all fit one answer.
func lastKept(tx *sql.Tx, groupID []byte, after, upto uint64, maxEvents, maxBytes int) (last uint64, err error) {
	last = after
	var n, size int
	var at, first uint64
	full := false
	rows, err := tx.Query("SELECT seq, size FROM mirror_event WHERE group_id = ? AND seq > ? AND seq <= ? ORDER BY seq LIMIT ?", groupID, after, upto, maxEvents+1)
	err = sqlite.Each(rows, err, func(rows *sql.Rows) error {
		var seq uint64
		var bytes int
		if err := rows.Scan(&seq, &bytes); err != nil {
			return err
		}
		if first == 0 {
			first = seq
		}
		if seq != at && !full {
			last, at = at, seq
		}
		n, size = n+1, size+bytes
		full = full || (n > maxEvents || size > maxBytes) && seq != first
		return nil
	})
	if !full {
		last = at
	}
	return max(last, first), err
}

// Newest term and seq.
func (m Mirror) Newest(ctx context.Context, groupID []byte) (term, seq uint64, ok bool, err error) {
	err = m.db.View(ctx, func(tx *sql.Tx) (err error) {
		if ok, err = sqlite.One(tx.QueryRow("SELECT seq FROM mirror_event WHERE group_id = ? ORDER BY seq DESC LIMIT 1", groupID), &seq); err != nil || !ok {
			return err
		}
		return tx.QueryRow("SELECT coalesce(max(term), 1) FROM mirror_hub WHERE group_id = ?", groupID).Scan(&term)
	})
	if err != nil {
		return 0, 0, false, fmt.Errorf("store: reading the mirror of group %x: %w", groupID, err)
	}
	return term, seq, ok, nil
}
