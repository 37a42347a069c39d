package store

import (
	"context"
	"database/sql"
	"encoding/binary"
	"fmt"

	"github.com/waxwing-dm/waxwing/federation/hub"
	"github.com/waxwing-dm/waxwing/internal/receipt"
	"github.com/waxwing-dm/waxwing/internal/sqlite"
)

// Hub is a hub.Store. Partition key: group id.
type Hub struct{ db *sqlite.DB }

// OpenGroup writes a register unless there is one, and returns the open receipt that is there now.
func (h Hub) OpenGroup(ctx context.Context, groupID []byte, s hub.State, receipt []byte) (opened []byte, err error) {
	err = h.db.Update(ctx, func(tx *sql.Tx) error {
		if err := insertRegister(tx, groupID, s, receipt); err != nil {
			return err
		}
		return tx.QueryRow("SELECT opened FROM hub_group WHERE group_id = ?", groupID).Scan(&opened)
	})
	if err != nil {
		return nil, fmt.Errorf("store: opening group %x: %w", groupID, err)
	}
	return opened, nil
}

func insertRegister(tx *sql.Tx, groupID []byte, s hub.State, opened []byte) error {
	_, err := tx.Exec(`INSERT INTO hub_group (group_id, opened, term, seq, epoch, base, head, ticket, others, moved) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT DO NOTHING`, append([]any{groupID, opened}, columns(s)...)...)
	return err
}

// columns of a state, in the order of the statements here.
func columns(s hub.State) []any {
	moved := []byte{}
	if s.Moved != ([32]byte{}) {
		moved = s.Moved[:]
	}
	return []any{s.Term, s.Seq, s.Epoch, s.Base, s.Head[:], s.Ticket[:], others(s), moved}
}

// others are epochs and tickets, one after the other, up to the last one that is any.
func others(s hub.State) []byte {
	b, end := []byte{}, 0
	for _, o := range s.Others {
		b = append(binary.BigEndian.AppendUint64(b, o.Epoch), o.Ticket[:]...)
		if o != (hub.Branch{}) {
			end = len(b)
		}
	}
	return b[:end]
}

// Group reads a register.
func (h Hub) Group(ctx context.Context, groupID []byte) (s hub.State, found bool, err error) {
	var head, ticket, others, moved []byte
	err = h.db.View(ctx, func(tx *sql.Tx) (err error) {
		found, err = sqlite.One(tx.QueryRow("SELECT term, seq, epoch, base, head, ticket, others, moved FROM hub_group WHERE group_id = ?", groupID),
			&s.Term, &s.Seq, &s.Epoch, &s.Base, &head, &ticket, &others, &moved)
		return err
	})
	if err != nil {
		return hub.State{}, false, fmt.Errorf("store: reading group %x: %w", groupID, err)
	}
	copy(s.Head[:], head)
	copy(s.Ticket[:], ticket)
	copy(s.Moved[:], moved)
	for i := 0; len(others) >= 40 && i < len(s.Others); i, others = i+1, others[40:] {
		s.Others[i] = hub.Branch{Epoch: binary.BigEndian.Uint64(others), Ticket: [32]byte(others[8:40])}
	}
	return s, found, nil
}

// Swap is the compare-and-swap: the comparison is the UPDATE's condition.
func (h Hub) Swap(ctx context.Context, groupID []byte, old hub.State, c hub.Change) error {
	err := h.db.Update(ctx, func(tx *sql.Tx) error {
		if err := swap(tx, groupID, old, c.Next); err != nil {
			return err
		}
		for i, s := range c.Steps {
			if err := insertStep(tx, groupID, s, i == 0); err != nil {
				return err
			}
		}
		if err := setAside(tx, groupID, old, c); err != nil {
			return err
		}
		return insertRest(tx, groupID, c)
	})
	if err != nil {
		return fmt.Errorf("store: group %x to seq %d: %w", groupID, c.Next.Seq, err)
	}
	return nil
}

func swap(tx *sql.Tx, groupID []byte, old, next hub.State) error {
	if old == (hub.State{}) {
		var n int
		if err := tx.QueryRow("SELECT count(*) FROM hub_group WHERE group_id = ?", groupID).Scan(&n); err != nil || n > 0 {
			return orMoved(err)
		}
		return insertRegister(tx, groupID, next, []byte{})
	}
	done, err := tx.Exec(`UPDATE hub_group SET term = ?, seq = ?, epoch = ?, base = ?, head = ?, ticket = ?, others = ?, moved = ?
		WHERE group_id = ? AND term = ? AND seq = ? AND epoch = ? AND base = ? AND head = ? AND ticket = ? AND others = ? AND moved = ?`,
		append(append(columns(next), groupID), columns(old)...)...)
	if err != nil {
		return err
	}
	if n, err := done.RowsAffected(); err != nil || n == 0 {
		return orMoved(err)
	}
	return nil
}

func orMoved(err error) error {
	if err == nil {
		return hub.ErrMoved
	}
	return err
}

// insertStep writes an event. The first one takes the place of what stood there and beyond.
func insertStep(tx *sql.Tx, groupID []byte, s hub.Step, first bool) error {
	r, err := receipt.Parse(s.Receipt)
	if err != nil {
		return err
	}
	if first {
		for _, query := range []string{
			"DELETE FROM hub_event WHERE group_id = ? AND seq >= ?",
			"DELETE FROM hub_group_info WHERE group_id = ? AND seq >= ?",
			"DELETE FROM hub_dispute WHERE group_id = ? AND seq >= ?",
		} {
			if _, err := tx.Exec(query, groupID, r.Seq); err != nil {
				return err
			}
		}
	}
	by := []byte{}
	if s.By != ([32]byte{}) {
		by = s.By[:]
	}
	body := s.Commit
	if body == nil {
		body = []byte{}
	}
	if _, err := tx.Exec("INSERT INTO hub_event (group_id, seq, receipt, message, submitted) VALUES (?, ?, ?, ?, ?)", groupID, r.Seq, s.Receipt, body, by); err != nil {
		return err
	}
	if len(s.GroupInfo) == 0 {
		return nil
	}
	if _, err := tx.Exec("INSERT INTO hub_group_info (group_id, seq, term, epoch, sealed) VALUES (?, ?, ?, ?, ?)", groupID, r.Seq, r.Term, r.Epoch+1, s.GroupInfo); err != nil {
		return err
	}
	_, err = tx.Exec(`DELETE FROM hub_group_info WHERE group_id = ? AND seq <= (SELECT seq FROM hub_group_info WHERE group_id = ? ORDER BY seq DESC LIMIT 1 OFFSET ?)`,
		groupID, groupID, hub.MaxGroupInfos)
	return err
}

func insertRest(tx *sql.Tx, groupID []byte, c hub.Change) error {
	if c.Writer != "" {
		if _, err := tx.Exec(`INSERT INTO hub_writer (group_id, instance, seq) VALUES (?, ?, ?)
			ON CONFLICT (group_id, instance) DO UPDATE SET seq = excluded.seq`, groupID, c.Writer, c.Next.Seq); err != nil {
			return err
		}
	}
	if c.Disputed > 0 {
		if _, err := tx.Exec("UPDATE hub_event SET reopened = ? WHERE group_id = ? AND seq = ?", c.Next.Seq, groupID, c.Disputed); err != nil {
			return err
		}
	}
	if c.Elsewhere == nil {
		return nil
	}
	_, err := tx.Exec(`INSERT INTO hub_elsewhere (group_id, hub, receipt, message) VALUES (?, ?, ?, ?)
		ON CONFLICT (group_id) DO UPDATE SET hub = excluded.hub, receipt = excluded.receipt, message = excluded.message`,
		groupID, c.Elsewhere.Hub, c.Elsewhere.Receipt, c.Elsewhere.Commit)
	return err
}

func setAside(tx *sql.Tx, groupID []byte, old hub.State, c hub.Change) error {
	if old.Term != c.Next.Term {
		if _, err := tx.Exec("DELETE FROM hub_aside WHERE group_id = ?", groupID); err != nil {
			return err
		}
	}
	if c.Back != (hub.Branch{}) {
		if _, err := tx.Exec("DELETE FROM hub_aside WHERE group_id = ? AND epoch = ? AND ticket = ?", groupID, c.Back.Epoch, c.Back.Ticket[:]); err != nil {
			return err
		}
	}
	for _, b := range c.Aside {
		if _, err := tx.Exec("INSERT OR REPLACE INTO hub_aside (group_id, epoch, ticket, seq) VALUES (?, ?, ?, ?)", groupID, b.Epoch, b.Ticket[:], c.Next.Seq); err != nil {
			return err
		}
	}
	return nil
}

// Aside are the branches of an epoch that were set aside, the newest first.
func (h Hub) Aside(ctx context.Context, groupID []byte, epoch uint64, limit int) (branches []hub.Branch, err error) {
	if int64(epoch) < 0 {
		return nil, nil
	}
	err = h.db.View(ctx, func(tx *sql.Tx) error {
		rows, err := tx.Query("SELECT ticket FROM hub_aside WHERE group_id = ? AND epoch = ? ORDER BY seq DESC LIMIT ?", groupID, epoch, limit)
		return sqlite.Each(rows, err, func(rows *sql.Rows) error {
			var ticket []byte
			if err := rows.Scan(&ticket); err != nil {
				return err
			}
			b := hub.Branch{Epoch: epoch}
			copy(b.Ticket[:], ticket)
			branches = append(branches, b)
			return nil
		})
	})
	if err != nil {
		return nil, fmt.Errorf("store: reading the branches of group %x: %w", groupID, err)
	}
	return branches, nil
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

// Find an event by the hash of its body.
func (h Hub) Find(ctx context.Context, groupID []byte, messageHash [32]byte) (found []byte, err error) {
	err = h.db.View(ctx, func(tx *sql.Tx) error {
		_, err := sqlite.One(tx.QueryRow("SELECT receipt FROM hub_event WHERE group_id = ? AND substr(receipt, -168, 32) = ?", groupID, messageHash[:]), &found)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("store: looking for a receipt of group %x: %w", groupID, err)
	}
	return found, nil
}

// Granted returns what is known of a receipt.
func (h Hub) Granted(ctx context.Context, groupID []byte, seq uint64) (g hub.Granted, found bool, err error) {
	if int64(seq) < 0 {
		return g, false, nil
	}
	var by []byte
	err = h.db.View(ctx, func(tx *sql.Tx) (err error) {
		if seq == 0 {
			found, err = sqlite.One(tx.QueryRow("SELECT opened FROM hub_group WHERE group_id = ? AND opened <> x''", groupID), &g.Receipt)
			return err
		}
		found, err = sqlite.One(tx.QueryRow("SELECT receipt, submitted, reopened FROM hub_event WHERE group_id = ? AND seq = ?", groupID, seq), &g.Receipt, &by, &g.Reopened)
		return err
	})
	if err != nil {
		return hub.Granted{}, false, fmt.Errorf("store: reading receipt %d of group %x: %w", seq, groupID, err)
	}
	copy(g.By[:], by)
	return g, found, nil
}
