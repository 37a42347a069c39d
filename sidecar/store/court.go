package store

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/waxwing-dm/waxwing/federation/hub"
	"github.com/waxwing-dm/waxwing/internal/receipt"
	"github.com/waxwing-dm/waxwing/internal/sqlite"
)

// Dispute keeps an instance's dispute and counts.
func (h Hub) Dispute(ctx context.Context, groupID []byte, seq uint64, instance string, dispute []byte) (all [][]byte, instances int, err error) {
	err = h.db.Update(ctx, func(tx *sql.Tx) error {
		if _, err := tx.Exec("INSERT INTO hub_dispute (group_id, seq, instance, body) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING", groupID, seq, instance, dispute); err != nil {
			return err
		}
		if _, err := tx.Exec("INSERT INTO hub_writer (group_id, instance, seq) VALUES (?, ?, 0) ON CONFLICT DO NOTHING", groupID, instance); err != nil {
			return err
		}
		rows, err := tx.Query("SELECT body FROM hub_dispute WHERE group_id = ? AND seq = ? ORDER BY instance LIMIT ?", groupID, seq, receipt.MaxDisputes)
		if err := sqlite.Each(rows, err, func(rows *sql.Rows) error {
			var body []byte
			err := rows.Scan(&body)
			all = append(all, body)
			return err
		}); err != nil {
			return err
		}
		return tx.QueryRow("SELECT count(*) FROM hub_writer WHERE group_id = ?", groupID).Scan(&instances)
	})
	if err != nil {
		return nil, 0, fmt.Errorf("store: a dispute in group %x: %w", groupID, err)
	}
	return all, instances, nil
}

// Writers of a group, newest first.
func (h Hub) Writers(ctx context.Context, groupID []byte, limit int) (writers []string, err error) {
	err = h.db.View(ctx, func(tx *sql.Tx) error {
		rows, err := tx.Query("SELECT instance FROM hub_writer WHERE group_id = ? AND seq > 0 ORDER BY seq DESC LIMIT ?", groupID, limit)
		return sqlite.Each(rows, err, func(rows *sql.Rows) error {
			var instance string
			err := rows.Scan(&instance)
			writers = append(writers, instance)
			return err
		})
	})
	if err != nil {
		return nil, fmt.Errorf("store: reading the writers of group %x: %w", groupID, err)
	}
	return writers, nil
}

// Elsewhere says where a group went.
func (h Hub) Elsewhere(ctx context.Context, groupID []byte) (e hub.Elsewhere, err error) {
	err = h.db.View(ctx, func(tx *sql.Tx) error {
		return tx.QueryRow("SELECT hub, receipt, message FROM hub_elsewhere WHERE group_id = ?", groupID).Scan(&e.Hub, &e.Receipt, &e.Commit)
	})
	if err != nil {
		return hub.Elsewhere{}, fmt.Errorf("store: reading where group %x is: %w", groupID, err)
	}
	return e, nil
}

// GroupInfos of the newest commits, newest first.
func (h Hub) GroupInfos(ctx context.Context, groupID []byte) (infos []hub.GroupInfo, err error) {
	err = h.db.View(ctx, func(tx *sql.Tx) error {
		rows, err := tx.Query("SELECT term, seq, epoch, sealed FROM hub_group_info WHERE group_id = ? ORDER BY seq DESC", groupID)
		return sqlite.Each(rows, err, func(rows *sql.Rows) error {
			var g hub.GroupInfo
			err := rows.Scan(&g.Term, &g.Seq, &g.Epoch, &g.Sealed)
			infos = append(infos, g)
			return err
		})
	})
	if err != nil {
		return nil, fmt.Errorf("store: reading the group info of group %x: %w", groupID, err)
	}
	return infos, nil
}

// A Telling is a term that the hub before it has not heard of.
type Telling struct {
	GroupID      []byte
	Conversation string // URL at the old hub
	Since        int64
	Event        hub.Event
}

// Tell puts down that the old hub has to be told.
func (h Hub) Tell(ctx context.Context, t Telling) error {
	err := h.db.Update(ctx, func(tx *sql.Tx) error {
		_, err := tx.Exec(`INSERT INTO hub_tell (group_id, conversation, since, receipt, message) VALUES (?, ?, ?, ?, ?)
			ON CONFLICT (group_id, conversation) DO UPDATE SET since = excluded.since, receipt = excluded.receipt, message = excluded.message`,
			t.GroupID, t.Conversation, t.Since, t.Event.Receipt, t.Event.Commit)
		return err
	})
	if err != nil {
		return fmt.Errorf("store: a hub to tell of group %x: %w", t.GroupID, err)
	}
	return nil
}

// Tellings are those that nobody has heard yet, after one in their order, at most limit.
func (h Hub) Tellings(ctx context.Context, after Telling, limit int) (all []Telling, err error) {
	err = h.db.View(ctx, func(tx *sql.Tx) error {
		rows, err := tx.Query("SELECT group_id, conversation, since, receipt, message FROM hub_tell WHERE (group_id, conversation) > (?, ?) ORDER BY group_id, conversation LIMIT ?",
			append([]byte{}, after.GroupID...), after.Conversation, limit)
		return sqlite.Each(rows, err, func(rows *sql.Rows) error {
			var t Telling
			err := rows.Scan(&t.GroupID, &t.Conversation, &t.Since, &t.Event.Receipt, &t.Event.Commit)
			all = append(all, t)
			return err
		})
	})
	if err != nil {
		return nil, fmt.Errorf("store: reading which hubs to tell: %w", err)
	}
	return all, nil
}

// Told ends a telling.
func (h Hub) Told(ctx context.Context, t Telling) error {
	err := h.db.Update(ctx, func(tx *sql.Tx) error {
		_, err := tx.Exec("DELETE FROM hub_tell WHERE group_id = ? AND conversation = ?", t.GroupID, t.Conversation)
		return err
	})
	if err != nil {
		return fmt.Errorf("store: a hub was told of group %x: %w", t.GroupID, err)
	}
	return nil
}
