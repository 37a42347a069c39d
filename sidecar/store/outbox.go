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

// Outbox is a federation.Outbox. It holds what is on its way to other servers. Partition key: host. The deliveries to one host
// leave in the order they were written: only the oldest one is handed out, and while it waits for its next try, so do the others
// of that host, unless it is set aside.
type Outbox struct {
	db     *sqlite.DB
	leased *leases
}

// leases are the deliveries that are being tried. They are in memory only: after a crash everything is free again.
type leases struct {
	mu  sync.Mutex
	ids map[int64]bool
}

// wrongClock is longer than any wait between tries: who is due later than that was made to wait by a clock that went wrong.
const wrongClock = 24 * time.Hour

func enqueue(tx *sql.Tx, d federation.Delivery, now int64) error {
	recipients, err := json.Marshal(d.Recipients)
	if err != nil {
		return err
	}
	if _, err := tx.Exec("INSERT INTO outbox (lane, host, sender, recipients, created, body) VALUES (?1, ?1, ?2, ?3, ?4, ?5)",
		d.Host, d.Sender, string(recipients), now, d.Body); err != nil {
		return err
	}
	_, err = tx.Exec("INSERT INTO outbox_lane (lane, due) VALUES (?, ?) ON CONFLICT DO NOTHING", d.Host, now)
	return err
}

const dueHeads = `SELECT o.id, o.host, o.sender, o.recipients, o.attempts, o.created, o.body FROM (
		SELECT lane, due FROM outbox_lane WHERE due <= ?1 UNION ALL SELECT lane, due FROM outbox_lane WHERE due > ?2 ORDER BY due LIMIT ?3) l
	JOIN outbox o ON o.id = (SELECT id FROM outbox WHERE lane = l.lane AND dead IS NULL ORDER BY id LIMIT 1)`

// Lease hands out at most n deliveries that are due, one of a lane, none that is handed out already. Each is given back by
// Done, Retry, Aside or Dead.
func (o Outbox) Lease(ctx context.Context, now time.Time, n int) (due []federation.Delivery, err error) {
	if n <= 0 {
		return nil, nil
	}
	o.leased.mu.Lock()
	defer o.leased.mu.Unlock()
	err = o.db.View(ctx, func(tx *sql.Tx) error {
		rows, err := tx.Query(dueHeads, now.UnixMilli(), now.Add(wrongClock).UnixMilli(), n+len(o.leased.ids))
		return each(rows, err, func(rows *sql.Rows) error {
			var d federation.Delivery
			var recipients string
			var created int64
			if len(due) == n {
				return nil
			}
			if err := rows.Scan(&d.ID, &d.Host, &d.Sender, &recipients, &d.Attempts, &created, &d.Body); err != nil {
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
	return o.end(ctx, id, func(tx *sql.Tx, lane string) error {
		if _, err := tx.Exec("DELETE FROM outbox WHERE id = ?", id); err != nil {
			return err
		}
		return advance(tx, lane)
	})
}

// Retry lets a delivery, and with it its lane, wait until a time.
func (o Outbox) Retry(ctx context.Context, id int64, at time.Time) error {
	return o.end(ctx, id, func(tx *sql.Tx, lane string) error {
		if _, err := tx.Exec("UPDATE outbox SET attempts = attempts + 1 WHERE id = ?", id); err != nil {
			return err
		}
		_, err := tx.Exec("UPDATE outbox_lane SET due = ? WHERE lane = ?", at.UnixMilli(), lane)
		return err
	})
}

// Aside lets a delivery wait until a time in a lane of its own, so that the others of its host go on.
func (o Outbox) Aside(ctx context.Context, id int64, at time.Time) error {
	return o.end(ctx, id, func(tx *sql.Tx, lane string) error {
		var own string
		if err := tx.QueryRow("UPDATE outbox SET attempts = attempts + 1, lane = host || ' ' || id WHERE id = ? RETURNING lane", id).Scan(&own); err != nil {
			return err
		}
		if _, err := tx.Exec("INSERT INTO outbox_lane (lane, due) VALUES (?, ?) ON CONFLICT DO UPDATE SET due = excluded.due", own, at.UnixMilli()); err != nil {
			return err
		}
		if own == lane {
			return nil
		}
		return advance(tx, lane)
	})
}

// Dead gives a delivery up. It is kept for a while without its content, for the operator to see.
func (o Outbox) Dead(ctx context.Context, id int64, reason string) error {
	return o.end(ctx, id, func(tx *sql.Tx, lane string) error {
		if _, err := tx.Exec("UPDATE outbox SET dead = ?, body = x'' WHERE id = ?", reason, id); err != nil {
			return err
		}
		return advance(tx, lane)
	})
}

// advance makes a lane due whose head is gone, or removes it.
func advance(tx *sql.Tx, lane string) error {
	var created int64
	more, err := one(tx.QueryRow("SELECT created FROM outbox WHERE lane = ? AND dead IS NULL ORDER BY id LIMIT 1", lane), &created)
	switch {
	case err != nil:
		return err
	case more:
		_, err = tx.Exec("UPDATE outbox_lane SET due = ? WHERE lane = ?", created, lane)
	default:
		_, err = tx.Exec("DELETE FROM outbox_lane WHERE lane = ?", lane)
	}
	return err
}

// end does what a try has led to and gives the delivery back. What cannot be written down stays leased: it would be sent again
// and again. The caller ends it later.
func (o Outbox) end(ctx context.Context, id int64, f func(tx *sql.Tx, lane string) error) error {
	err := o.db.Update(ctx, func(tx *sql.Tx) error {
		var lane string
		if ok, err := one(tx.QueryRow("SELECT lane FROM outbox WHERE id = ? AND dead IS NULL", id), &lane); !ok {
			return err
		}
		return f(tx, lane)
	})
	if err != nil {
		return fmt.Errorf("store: ending delivery %d: %w", id, err)
	}
	o.leased.mu.Lock()
	delete(o.leased.ids, id)
	o.leased.mu.Unlock()
	return nil
}
