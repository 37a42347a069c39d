package store

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/waxwing-dm/waxwing/federation/hub"
	"github.com/waxwing-dm/waxwing/internal/sqlite"
)

// Hub is a hub.Store. Partition key: group id.
type Hub struct{ db *sqlite.DB }

// OpenGroup writes a register unless there is one, and returns the open receipt that is there now.
func (h Hub) OpenGroup(ctx context.Context, groupID []byte, s hub.State, receipt []byte) (opened []byte, err error) {
	err = h.db.Update(ctx, func(tx *sql.Tx) error {
		if _, err := tx.Exec(`INSERT INTO hub_group (group_id, opened, term, seq, epoch, head, ticket) VALUES (?, ?, ?, ?, ?, ?, ?)
			ON CONFLICT DO NOTHING`, groupID, receipt, s.Term, s.Seq, s.Epoch, s.Head[:], s.Ticket[:]); err != nil {
			return err
		}
		return tx.QueryRow("SELECT opened FROM hub_group WHERE group_id = ?", groupID).Scan(&opened)
	})
	if err != nil {
		return nil, fmt.Errorf("store: opening group %x: %w", groupID, err)
	}
	return opened, nil
}

// Group reads a register.
func (h Hub) Group(ctx context.Context, groupID []byte) (s hub.State, found bool, err error) {
	var head, ticket []byte
	err = h.db.View(ctx, func(tx *sql.Tx) (err error) {
		found, err = sqlite.One(tx.QueryRow("SELECT term, seq, epoch, head, ticket FROM hub_group WHERE group_id = ?", groupID),
			&s.Term, &s.Seq, &s.Epoch, &head, &ticket)
		return err
	})
	if err != nil {
		return hub.State{}, false, fmt.Errorf("store: reading group %x: %w", groupID, err)
	}
	copy(s.Head[:], head)
	copy(s.Ticket[:], ticket)
	return s, found, nil
}

// Swap is the compare-and-swap: the comparison is the UPDATE's condition.
func (h Hub) Swap(ctx context.Context, groupID []byte, old, next hub.State, e hub.Event) error {
	err := h.db.Update(ctx, func(tx *sql.Tx) error {
		done, err := tx.Exec(`UPDATE hub_group SET term = ?, seq = ?, epoch = ?, head = ?, ticket = ?
			WHERE group_id = ? AND term = ? AND seq = ? AND epoch = ? AND head = ? AND ticket = ?`,
			next.Term, next.Seq, next.Epoch, next.Head[:], next.Ticket[:],
			groupID, old.Term, old.Seq, old.Epoch, old.Head[:], old.Ticket[:])
		if err != nil {
			return err
		}
		if n, err := done.RowsAffected(); err != nil {
			return err
		} else if n == 0 {
			return hub.ErrMoved
		}
		_, err = tx.Exec("INSERT INTO hub_event (group_id, seq, receipt, message) VALUES (?, ?, ?, ?)", groupID, next.Seq, e.Receipt, e.Commit)
		return err
	})
	if err != nil {
		return fmt.Errorf("store: group %x to seq %d: %w", groupID, next.Seq, err)
	}
	return nil
}

// Events after a seq, ascending.
func (h Hub) Events(ctx context.Context, groupID []byte, after uint64, limit int) (events []hub.Event, err error) {
	if int64(after) < 0 {
		return nil, nil // beyond what a column holds, so beyond every seq
	}
	err = h.db.View(ctx, func(tx *sql.Tx) error {
		rows, err := tx.Query("SELECT receipt, message FROM hub_event WHERE group_id = ? AND seq > ? ORDER BY seq LIMIT ?", groupID, after, limit)
		return sqlite.Each(rows, err, func(rows *sql.Rows) error {
			var e hub.Event
			if err := rows.Scan(&e.Receipt, &e.Commit); err != nil {
				return err
			}
			events = append(events, e)
			return nil
		})
	})
	if err != nil {
		return nil, fmt.Errorf("store: reading the events of group %x: %w", groupID, err)
	}
	return events, nil
}
