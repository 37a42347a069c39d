package store

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/waxwing-dm/waxwing/internal/sqlite"
)

// maxMailbox is how many items may wait for one device. Beyond that nothing is taken for its actor, so that whoever sends keeps
// what it has: an item that was accepted is never dropped.
const maxMailbox = 20_000

// Mailboxes hold what came for devices until they have taken it. Partition key: actor.
type Mailboxes struct{ db *sqlite.DB }

// Item waits in a mailbox.
type Item struct {
	Cursor       uint64 // set by the store
	Activity     string
	Sender       string // actor
	Conversation string
	Message      []byte
	Receipt      []byte // nil if none
	Received     int64  // milliseconds
}

// Drop is an item for all devices of an actor of this instance but one.
type Drop struct {
	Actor  string
	Except string // device; the sending one's own
	Item   Item
}

// put writes the item for each device. The cursor is counted in the device's row, so that a deleted one never comes back.
func put(tx *sql.Tx, d Drop) error {
	rows, err := tx.Query("UPDATE device SET cursor = cursor + 1 WHERE actor = ? AND device <> ? RETURNING device, cursor", d.Actor, d.Except)
	cursors := map[string]uint64{}
	if err := each(rows, err, func(rows *sql.Rows) error {
		var device string
		var cursor uint64
		err := rows.Scan(&device, &cursor)
		cursors[device] = cursor
		return err
	}); err != nil {
		return err
	}
	for device, cursor := range cursors {
		// Items are deleted from the oldest on, so what waits is what lies between the oldest and this one.
		var oldest sql.Null[uint64]
		if err := tx.QueryRow("SELECT min(cursor) FROM mailbox WHERE actor = ? AND device = ?", d.Actor, device).Scan(&oldest); err != nil {
			return err
		}
		if oldest.Valid && cursor-oldest.V >= maxMailbox {
			return fmt.Errorf("mailbox of %s: %w", d.Actor, ErrTooMany)
		}
		if _, err := tx.Exec(`INSERT INTO mailbox (actor, device, cursor, activity, sender, conversation, message, receipt, received)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`, d.Actor, device, cursor, d.Item.Activity, d.Item.Sender, d.Item.Conversation,
			d.Item.Message, d.Item.Receipt, d.Item.Received); err != nil {
			return err
		}
	}
	return nil
}

// Read lists a device's items after a cursor, ascending: at most limit, and no more after maxBytes of content.
func (m Mailboxes) Read(ctx context.Context, actor, device string, after uint64, limit, maxBytes int) (items []Item, err error) {
	err = m.db.View(ctx, func(tx *sql.Tx) error {
		rows, err := tx.Query(`SELECT cursor, activity, sender, conversation, message, receipt, received FROM mailbox
			WHERE actor = ? AND device = ? AND cursor > ? ORDER BY cursor LIMIT ?`, actor, device, int64(after), limit)
		size := 0
		return each(rows, err, func(rows *sql.Rows) error {
			var i Item
			if size > maxBytes {
				return nil
			}
			if err := rows.Scan(&i.Cursor, &i.Activity, &i.Sender, &i.Conversation, &i.Message, &i.Receipt, &i.Received); err != nil {
				return err
			}
			if size += len(i.Message) + len(i.Receipt); size <= maxBytes || len(items) == 0 {
				items = append(items, i)
			}
			return nil
		})
	})
	if err != nil {
		return nil, fmt.Errorf("store: reading a mailbox of %s: %w", actor, err)
	}
	return items, nil
}

// Delete removes a device's items up to a cursor, and that one.
func (m Mailboxes) Delete(ctx context.Context, actor, device string, upto uint64) error {
	err := m.db.Update(ctx, func(tx *sql.Tx) error {
		_, err := tx.Exec("DELETE FROM mailbox WHERE actor = ? AND device = ? AND cursor <= ?", actor, device, int64(upto))
		return err
	})
	if err != nil {
		return fmt.Errorf("store: emptying a mailbox of %s: %w", actor, err)
	}
	return nil
}
