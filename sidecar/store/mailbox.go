package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"

	"github.com/waxwing-dm/waxwing/federation"
	"github.com/waxwing-dm/waxwing/internal/sqlite"
)

// What may wait for one device. Beyond that it gets nothing more until it has emptied its mailbox: somebody who does not read must
// not keep what is for others as well from them. Who writes to such devices only is told that there is no room.
const (
	maxMailbox      = 20_000    // items
	maxMailboxBytes = 512 << 20 // of what is in them
)

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

	// Undelivered, if it is there, is all there is: no message, but what became of one. JSON of clientapi.Undelivered.
	Undelivered []byte
}

// size is what an item takes in an answer, counted before base64: its names may grow sixfold in JSON.
func (i Item) size() int {
	return len(i.Message) + len(i.Receipt) + len(i.Undelivered) + 5*(len(i.Activity)+len(i.Sender)+len(i.Conversation))
}

// Drop is an item for all devices of an actor of this instance but one.
type Drop struct {
	Actor  string
	Except string // device; the sending one's own
	Item   Item

	Welcome bool // it asks its reader into a conversation
}

// put writes the item for each device that is logged in and has room. refused says that all of them are full.
func put(tx *sql.Tx, d Drop) (refused bool, err error) {
	rows, err := tx.Query("SELECT device, cursor, waiting FROM device WHERE actor = ? AND device <> ? AND token_hash <> x''", d.Actor, d.Except)
	var boxes []mailbox
	if err := sqlite.Each(rows, err, func(rows *sql.Rows) error {
		b := mailbox{actor: d.Actor}
		err := rows.Scan(&b.device, &b.cursor, &b.waiting)
		boxes = append(boxes, b)
		return err
	}); err != nil {
		return false, err
	}
	refused = len(boxes) > 0
	for _, b := range boxes {
		full, err := b.full(tx, d.Item)
		if err != nil {
			return false, err
		}
		if full {
			continue
		}
		if err := b.add(tx, d.Item); err != nil {
			return false, err
		}
		refused = false
	}
	return refused, nil
}

// A mailbox as its device's row has it.
type mailbox struct {
	actor, device   string
	cursor, waiting uint64
}

// full: items are deleted from the oldest on, so what waits is what lies between the oldest and the cursor.
func (b mailbox) full(tx *sql.Tx, i Item) (bool, error) {
	var oldest sql.Null[uint64]
	err := tx.QueryRow("SELECT min(cursor) FROM mailbox WHERE actor = ? AND device = ?", b.actor, b.device).Scan(&oldest)
	return oldest.Valid && (b.cursor+1-oldest.V >= maxMailbox || b.waiting+uint64(i.size()) > maxMailboxBytes), err
}

// add counts the cursor in the device's row, so that a deleted one never comes back.
func (b mailbox) add(tx *sql.Tx, i Item) error {
	if _, err := tx.Exec("UPDATE device SET cursor = cursor + 1, waiting = waiting + ? WHERE actor = ? AND device = ?", i.size(), b.actor, b.device); err != nil {
		return err
	}
	_, err := tx.Exec(`INSERT INTO mailbox (actor, device, cursor, size, activity, sender, conversation, received, receipt, undelivered, message)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`, b.actor, b.device, b.cursor+1, i.size(), i.Activity, i.Sender, i.Conversation, i.Received, i.Receipt,
		sql.NullString{String: string(i.Undelivered), Valid: len(i.Undelivered) > 0}, nonNil(i.Message))
	return err
}

// tell writes an item for one device, full or not: it is about what the device has sent, and nobody else can cause it.
func tell(tx *sql.Tx, actor, device string, i Item) error {
	b := mailbox{actor: actor, device: device}
	here, err := sqlite.One(tx.QueryRow("SELECT cursor, waiting FROM device WHERE actor = ? AND device = ? AND token_hash <> x''", actor, device), &b.cursor, &b.waiting)
	if err != nil || !here {
		return err
	}
	return b.add(tx, i)
}

// note is the item that says whom a message has not reached.
func note(actor, conversation string, messageHash []byte, missed []federation.Missed, at int64) Item {
	text, err := json.Marshal(struct {
		Message []byte              `json:"message"`
		To      []federation.Missed `json:"to"`
	}{messageHash, missed})
	if err != nil {
		panic(err) // strings only
	}
	return Item{Sender: actor, Conversation: conversation, Undelivered: text, Received: at}
}

// maxCursor is more than any mailbox counts, and JSON can carry it.
const maxCursor = 1 << 52

// isBehind tells that a device has read further than its mailbox has counted: the folder came from a backup.
func isBehind(tx *sql.Tx, actor, device string, known uint64) (bool, error) {
	var cursor uint64
	here, err := sqlite.One(tx.QueryRow("SELECT cursor FROM device WHERE actor = ? AND device = ?", actor, device), &cursor)
	return here && cursor < known && known <= maxCursor, err
}

// catchUp counts on from what the device knows. What waits is moved behind that: some of it may have come since the backup.
func (m Mailboxes) catchUp(ctx context.Context, actor, device string, known uint64) error {
	return m.db.Update(ctx, func(tx *sql.Tx) error {
		behind, err := isBehind(tx, actor, device, known)
		if err != nil || !behind {
			return err
		}
		if _, err := tx.Exec("UPDATE mailbox SET cursor = cursor + ? WHERE actor = ? AND device = ?", int64(known), actor, device); err != nil {
			return err
		}
		_, err = tx.Exec("UPDATE device SET cursor = cursor + ? WHERE actor = ? AND device = ?", int64(known), actor, device)
		return err
	})
}

// Read lists a device's items after a cursor, ascending: at most limit, and no more after maxBytes of what they take.
func (m Mailboxes) Read(ctx context.Context, actor, device string, after uint64, limit, maxBytes int) (items []Item, err error) {
	items, behind, err := m.read(ctx, actor, device, after, limit, maxBytes)
	if err == nil && behind {
		if err = m.catchUp(ctx, actor, device, after); err == nil {
			items, _, err = m.read(ctx, actor, device, after, limit, maxBytes)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("store: reading a mailbox: %w", err)
	}
	return items, nil
}

func (m Mailboxes) read(ctx context.Context, actor, device string, after uint64, limit, maxBytes int) (items []Item, behind bool, err error) {
	err = m.db.View(ctx, func(tx *sql.Tx) error {
		if behind, err = isBehind(tx, actor, device, after); err != nil || behind {
			return err
		}
		rows, err := tx.Query(`SELECT cursor, activity, sender, conversation, message, receipt, received, undelivered FROM mailbox
			WHERE actor = ? AND device = ? AND cursor > ? ORDER BY cursor LIMIT ?`, actor, device, int64(after), limit)
		size := 0
		return sqlite.Each(rows, err, func(rows *sql.Rows) error {
			var i Item
			if size > maxBytes {
				return nil
			}
			if err := rows.Scan(&i.Cursor, &i.Activity, &i.Sender, &i.Conversation, &i.Message, &i.Receipt, &i.Received, &i.Undelivered); err != nil {
				return err
			}
			if size += i.size(); size <= maxBytes || len(items) == 0 {
				items = append(items, i)
			}
			return nil
		})
	})
	return items, behind, err
}

// Delete removes a device's items up to a cursor, and that one. Nothing is removed that the device cannot have read.
func (m Mailboxes) Delete(ctx context.Context, actor, device string, upto uint64) error {
	err := m.db.Update(ctx, func(tx *sql.Tx) error {
		if behind, err := isBehind(tx, actor, device, upto); err != nil || behind {
			return err
		}
		var freed int64
		if err := tx.QueryRow("SELECT coalesce(sum(size), 0) FROM mailbox WHERE actor = ? AND device = ? AND cursor <= ?",
			actor, device, int64(upto)).Scan(&freed); err != nil {
			return err
		}
		if _, err := tx.Exec("DELETE FROM mailbox WHERE actor = ? AND device = ? AND cursor <= ?", actor, device, int64(upto)); err != nil {
			return err
		}
		_, err := tx.Exec("UPDATE device SET waiting = waiting - ? WHERE actor = ? AND device = ?", freed, actor, device)
		return err
	})
	if err != nil {
		return fmt.Errorf("store: emptying a mailbox: %w", err)
	}
	return nil
}
