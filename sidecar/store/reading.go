package store

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/waxwing-dm/waxwing/internal/sqlite"
)

// Span of what waits for a device.
type Span struct {
	Count          int
	Oldest, Newest uint64 // cursors; 0 if nothing waits
}

// Span says what waits for a device.
func (m Mailboxes) Span(ctx context.Context, actor, device string) (s Span, err error) {
	err = m.db.View(ctx, func(tx *sql.Tx) error {
		return tx.QueryRow("SELECT count(*), coalesce(min(cursor), 0), coalesce(max(cursor), 0) FROM mailbox WHERE actor = ? AND device = ?",
			actor, device).Scan(&s.Count, &s.Oldest, &s.Newest)
	})
	if err != nil {
		return Span{}, fmt.Errorf("store: measuring a mailbox: %w", err)
	}
	return s, nil
}

// ReadBack lists a device's items from a cursor on, descending, within the same bounds as Read.
func (m Mailboxes) ReadBack(ctx context.Context, actor, device string, upto uint64, limit, maxBytes int) (items []Item, err error) {
	err = m.db.View(ctx, func(tx *sql.Tx) error {
		rows, err := tx.Query(`SELECT cursor, activity, sender, conversation, message, receipt, received FROM mailbox
			WHERE actor = ? AND device = ? AND cursor <= ? ORDER BY cursor DESC LIMIT ?`, actor, device, int64(upto), limit)
		size := 0
		return sqlite.Each(rows, err, func(rows *sql.Rows) error {
			var i Item
			if size > maxBytes {
				return nil
			}
			if err := rows.Scan(&i.Cursor, &i.Activity, &i.Sender, &i.Conversation, &i.Message, &i.Receipt, &i.Received); err != nil {
				return err
			}
			if size += i.size(); size <= maxBytes || len(items) == 0 {
				items = append(items, i)
			}
			return nil
		})
	})
	if err != nil {
		return nil, fmt.Errorf("store: reading a mailbox: %w", err)
	}
	return items, nil
}

// Find the cursor of an activity; false if it does not wait (any more).
func (m Mailboxes) Find(ctx context.Context, actor, device, activity string) (cursor uint64, found bool, err error) {
	err = m.db.View(ctx, func(tx *sql.Tx) (err error) {
		found, err = sqlite.One(tx.QueryRow("SELECT cursor FROM mailbox WHERE actor = ? AND device = ? AND activity = ? ORDER BY cursor LIMIT 1",
			actor, device, activity), &cursor)
		return err
	})
	if err != nil {
		return 0, false, fmt.Errorf("store: looking for an item: %w", err)
	}
	return cursor, found, nil
}

// Underway is an activity that has not arrived yet.
type Underway struct {
	ID   int64
	Body []byte
}

// Of lists what is on its way from an actor and is older than a row (0: from the newest on), newest first: at most limit, and no more
// after maxBytes.
func (o Outbox) Of(ctx context.Context, sender string, before int64, limit, maxBytes int) (all []Underway, err error) {
	err = o.db.View(ctx, func(tx *sql.Tx) error {
		rows, err := tx.Query("SELECT id, body FROM outbox WHERE sender = ?1 AND dead IS NULL AND (?2 = 0 OR id < ?2) ORDER BY id DESC LIMIT ?3",
			sender, before, limit)
		size := 0
		return sqlite.Each(rows, err, func(rows *sql.Rows) error {
			var u Underway
			if size > maxBytes {
				return nil
			}
			if err := rows.Scan(&u.ID, &u.Body); err != nil {
				return err
			}
			if size += len(u.Body); size <= maxBytes || len(all) == 0 {
				all = append(all, u)
			}
			return nil
		})
	})
	if err != nil {
		return nil, fmt.Errorf("store: reading what is on its way: %w", err)
	}
	return all, nil
}
