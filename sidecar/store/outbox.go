package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/waxwing-dm/waxwing/federation"
	"github.com/waxwing-dm/waxwing/internal/sqlite"
)

// Outbox is a federation.Outbox. It holds what is on its way to other servers. Partition key: host. The deliveries to one host leave in the order they
// were written: only the oldest one is handed out, and while it waits for its next try, so do the others of that host.
type Outbox struct {
	db     *sqlite.DB
	leased *leases
}

// leases are the deliveries that are being tried. They are in memory only: after a crash everything is free again.
type leases struct {
	mu  sync.Mutex
	ids map[int64]bool
}

func enqueue(tx *sql.Tx, d federation.Delivery, now int64) error {
	recipients, err := json.Marshal(d.Recipients)
	if err != nil {
		return err
	}
	_, err = tx.Exec("INSERT INTO outbox (host, sender, recipients, body, created, due) VALUES (?, ?, ?, ?, ?, ?)",
		d.Host, d.Sender, string(recipients), d.Body, now, now)
	return err
}

// Lease hands out at most n deliveries that are due, one of a host, none that is handed out already. Each is given back by
// Done, Retry or Dead.
func (o Outbox) Lease(ctx context.Context, now time.Time, n int) (due []federation.Delivery, err error) {
	o.leased.mu.Lock()
	defer o.leased.mu.Unlock()
	err = o.db.View(ctx, func(tx *sql.Tx) error {
		rows, err := tx.Query(`SELECT id, host, sender, recipients, body, attempts, created FROM outbox
			WHERE id IN (SELECT min(id) FROM outbox WHERE dead IS NULL GROUP BY host) AND due <= ? ORDER BY due, id`, now.UnixMilli())
		return each(rows, err, func(rows *sql.Rows) error {
			var d federation.Delivery
			var recipients string
			var created int64
			if len(due) == n {
				return nil
			}
			if err := rows.Scan(&d.ID, &d.Host, &d.Sender, &recipients, &d.Body, &d.Attempts, &created); err != nil {
				return err
			}
			d.Created = time.UnixMilli(created)
			if err := json.Unmarshal([]byte(recipients), &d.Recipients); err != nil {
				return err
			}
			if !o.leased.ids[d.ID] {
				due = append(due, d)
			}
			return nil
		})
	})
	if err != nil {
		return nil, fmt.Errorf("store: looking for deliveries: %w", err)
	}
	for _, d := range due {
		o.leased.ids[d.ID] = true
	}
	return due, nil
}

// Done removes a delivery that has arrived.
func (o Outbox) Done(ctx context.Context, id int64) error {
	return o.end(ctx, id, "DELETE FROM outbox WHERE id = ?", id)
}

// Retry lets a delivery, and with it its host, wait until a time.
func (o Outbox) Retry(ctx context.Context, id int64, at time.Time) error {
	return o.end(ctx, id, "UPDATE outbox SET due = ?, attempts = attempts + 1 WHERE id = ?", at.UnixMilli(), id)
}

// Dead gives a delivery up. It is kept for a while without its content, for the operator to see.
func (o Outbox) Dead(ctx context.Context, id int64, reason string) error {
	return o.end(ctx, id, "UPDATE outbox SET dead = ?, body = x'' WHERE id = ?", reason, id)
}

func (o Outbox) end(ctx context.Context, id int64, query string, args ...any) error {
	err := o.db.Update(ctx, func(tx *sql.Tx) error {
		_, err := tx.Exec(query, args...)
		return err
	})
	o.leased.mu.Lock()
	delete(o.leased.ids, id)
	o.leased.mu.Unlock()
	if err != nil {
		return fmt.Errorf("store: ending delivery %d: %w", id, err)
	}
	return nil
}
