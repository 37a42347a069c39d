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

// What may wait to be sent, in bytes of activities: to one host, and from one sender. A commit that is granted, and its welcome, may take
// as much again: nobody can take them back.
const (
	maxToHost     = 64 << 20
	maxFromSender = 128 << 20
)

// enqueue writes a delivery, if there is room for it.
func enqueue(tx *sql.Tx, d federation.Delivery, now int64, granted bool) (full bool, err error) {
	for _, x := range []struct {
		who  string
		most int64
	}{{d.Host, maxToHost}, {d.Sender, maxFromSender}} {
		var waits int64
		if _, err := sqlite.One(tx.QueryRow("SELECT bytes FROM outbox_load WHERE who = ?", x.who), &waits); err != nil {
			return false, err
		}
		if granted {
			x.most *= 2
		}
		if waits+int64(len(d.Body)) > x.most {
			return true, nil
		}
	}
	recipients, err := json.Marshal(d.Recipients)
	if err != nil {
		return false, err
	}
	if _, err := tx.Exec(`INSERT INTO outbox (lane, host, sender, recipients, created, device, conversation, message_hash, body)
		VALUES (?1, ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)`,
		d.Host, d.Sender, string(recipients), now, d.Device, d.Conversation, nonNil(d.MessageHash), d.Body); err != nil {
		return false, err
	}
	if _, err := tx.Exec("INSERT INTO outbox_lane (lane, due) VALUES (?, ?) ON CONFLICT DO NOTHING", d.Host, now); err != nil {
		return false, err
	}
	return false, weigh(tx, d.Host, d.Sender, len(d.Body))
}

func nonNil(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

// weigh adds to what waits to be sent, or takes off.
func weigh(tx *sql.Tx, host, sender string, bytes int) error {
	for _, who := range []string{host, sender} {
		if _, err := tx.Exec("INSERT INTO outbox_load (who, bytes) VALUES (?1, ?2) ON CONFLICT DO UPDATE SET bytes = bytes + ?2", who, bytes); err != nil {
			return err
		}
		if bytes < 0 {
			if _, err := tx.Exec("DELETE FROM outbox_load WHERE who = ? AND bytes <= 0", who); err != nil {
				return err
			}
		}
	}
	return nil
}

const dueHeads = `SELECT o.id, l.failures, o.lane <> o.host FROM (
		SELECT lane, due, failures FROM outbox_lane WHERE due <= ?1 UNION ALL
		SELECT lane, due, failures FROM outbox_lane WHERE due > ?2 ORDER BY due LIMIT ?3) l
	JOIN outbox o ON o.id = (SELECT id FROM outbox WHERE lane = l.lane AND dead IS NULL ORDER BY id LIMIT 1)`

// Lease hands out at most n deliveries that are due, one of a lane, none that is handed out already. Each is given back by
// Done, Next, Retry, Aside, Dead or Expire.
func (o Outbox) Lease(ctx context.Context, now time.Time, n int) (due []federation.Delivery, err error) {
	if n <= 0 {
		return nil, nil
	}
	o.leased.mu.Lock()
	defer o.leased.mu.Unlock()
	err = o.db.View(ctx, func(tx *sql.Tx) error {
		rows, err := tx.Query(dueHeads, now.UnixMilli(), now.Add(wrongClock).UnixMilli(), n+len(o.leased.ids))
		if err := sqlite.Each(rows, err, func(rows *sql.Rows) error {
			var d federation.Delivery
			err := rows.Scan(&d.ID, &d.Failures, &d.Aside)
			if !o.leased.ids[d.ID] && len(due) < n {
				due = append(due, d)
			}
			return err
		}); err != nil {
			return err
		}
		for i := range due {
			if err := read(tx, &due[i]); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("store: looking for deliveries: %w", err)
	}
	for _, d := range due {
		o.leased.ids[d.ID] = true
	}
	return due, nil
}

// read fills in all of a delivery but its failures, which are its lane's.
func read(tx *sql.Tx, d *federation.Delivery) error {
	var recipients string
	var created int64
	if err := tx.QueryRow("SELECT host, sender, recipients, created, body FROM outbox WHERE id = ?", d.ID).
		Scan(&d.Host, &d.Sender, &recipients, &created, &d.Body); err != nil {
		return err
	}
	d.Created = time.UnixMilli(created)
	return json.Unmarshal([]byte(recipients), &d.Recipients)
}

// Done removes a delivery that has arrived.
func (o Outbox) Done(ctx context.Context, id int64) error {
	return o.end(ctx, id, func(tx *sql.Tx, x waiting) error {
		if _, err := tx.Exec("DELETE FROM outbox WHERE id = ?", id); err != nil {
			return err
		}
		return x.leave(tx, true)
	})
}

// Next is Done, and hands out the delivery that is at the head of the lane then, if it is due; nil if not.
func (o Outbox) Next(ctx context.Context, id int64, now time.Time) (next *federation.Delivery, err error) {
	err = o.end(ctx, id, func(tx *sql.Tx, x waiting) error {
		if _, err := tx.Exec("DELETE FROM outbox WHERE id = ?", id); err != nil {
			return err
		}
		if err := x.leave(tx, true); err != nil {
			return err
		}
		var d federation.Delivery
		var due int64
		more, err := sqlite.One(tx.QueryRow(`SELECT l.due, (SELECT id FROM outbox WHERE lane = l.lane AND dead IS NULL ORDER BY id LIMIT 1)
			FROM outbox_lane l WHERE l.lane = ?`, x.lane), &due, &d.ID)
		if err != nil || !more || due > now.UnixMilli() && due <= now.Add(wrongClock).UnixMilli() {
			return err
		}
		if err := read(tx, &d); err != nil {
			return err
		}
		o.leased.mu.Lock()
		o.leased.ids[d.ID] = true // before anybody else can see that it is the head
		o.leased.mu.Unlock()
		next = &d
		return nil
	})
	if err != nil && next != nil {
		o.leased.mu.Lock()
		delete(o.leased.ids, next.ID)
		o.leased.mu.Unlock()
		return nil, err
	}
	return next, err
}

// Retry lets a delivery, and with it its lane, wait until a time.
func (o Outbox) Retry(ctx context.Context, id int64, at time.Time) error {
	return o.end(ctx, id, func(tx *sql.Tx, x waiting) error {
		_, err := tx.Exec("UPDATE outbox_lane SET due = ?, failures = failures + 1 WHERE lane = ?", at.UnixMilli(), x.lane)
		return err
	})
}

// Hasten makes what waits for a host due. What is set aside waits for somebody there, not for the host.
func (o Outbox) Hasten(ctx context.Context, host string, now time.Time) error {
	err := o.db.Update(ctx, func(tx *sql.Tx) error {
		_, err := tx.Exec("UPDATE outbox_lane SET due = ?2 WHERE lane = ?1 AND due > ?2", host, now.UnixMilli())
		return err
	})
	if err != nil {
		return fmt.Errorf("store: hastening deliveries: %w", err)
	}
	return nil
}

// Aside lets a delivery wait until a time in a lane of its own, so that the others of its host go on.
func (o Outbox) Aside(ctx context.Context, id int64, at time.Time) error {
	return o.end(ctx, id, func(tx *sql.Tx, x waiting) error {
		var own string
		if err := tx.QueryRow("UPDATE outbox SET lane = host || ' ' || id WHERE id = ? RETURNING lane", id).Scan(&own); err != nil {
			return err
		}
		if _, err := tx.Exec(`INSERT INTO outbox_lane (lane, due, failures) VALUES (?, ?, 1)
			ON CONFLICT DO UPDATE SET due = excluded.due, failures = failures + 1`, own, at.UnixMilli()); err != nil {
			return err
		}
		if own == x.lane {
			return nil
		}
		return advance(tx, x.lane, true)
	})
}

// Hurry makes those deliveries of a sender to a host due that were set aside: somebody there has written, and so may have accepted the sender.
func (o Outbox) Hurry(ctx context.Context, host, sender string, now time.Time) (some bool, err error) {
	const aside = "SELECT lane FROM outbox WHERE sender = ? AND host = ? AND lane <> host AND dead IS NULL"
	var lanes []string
	if err := o.db.View(ctx, func(tx *sql.Tx) error {
		rows, err := tx.Query(aside, sender, host)
		return sqlite.Each(rows, err, func(rows *sql.Rows) error {
			var lane string
			err := rows.Scan(&lane)
			lanes = append(lanes, lane)
			return err
		})
	}); err != nil || len(lanes) == 0 {
		return false, err
	}
	err = o.db.Update(ctx, func(tx *sql.Tx) error {
		for _, lane := range lanes {
			if _, err := tx.Exec("UPDATE outbox_lane SET due = ?1 WHERE lane = ?2 AND due > ?1", now.UnixMilli(), lane); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return false, fmt.Errorf("store: making deliveries due: %w", err)
	}
	return true, nil
}

// Dead gives a delivery up that its host has refused. It is kept for a while without its content, for the operator to see, and the device
// that sent it gets a note, in the same transaction.
func (o Outbox) Dead(ctx context.Context, d federation.Delivery, missed []federation.Missed) error {
	return o.bury(ctx, d.ID, missed, true)
}

// Expire is Dead for one whose host has not answered.
func (o Outbox) Expire(ctx context.Context, d federation.Delivery, missed []federation.Missed) error {
	return o.bury(ctx, d.ID, missed, false)
}

func (o Outbox) bury(ctx context.Context, id int64, missed []federation.Missed, answered bool) error {
	return o.end(ctx, id, func(tx *sql.Tx, x waiting) error {
		reason := ""
		if len(missed) > 0 {
			reason = missed[0].Code // the detail is for the person
		}
		if _, err := tx.Exec("UPDATE outbox SET dead = ?, recipients = '[]', body = x'' WHERE id = ?", reason, id); err != nil {
			return err
		}
		if err := tell(tx, x.sender, x.device, note(x.sender, x.conversation, x.message, missed, x.created)); err != nil {
			return err
		}
		return x.leave(tx, answered)
	})
}

// A waiting delivery, but for its content.
type waiting struct {
	lane, host, sender, device, conversation string
	message                                  []byte // its hash
	size                                     int
	created                                  int64
}

// leave is for one that waits no more.
func (x waiting) leave(tx *sql.Tx, answered bool) error {
	if err := weigh(tx, x.host, x.sender, -x.size); err != nil {
		return err
	}
	return advance(tx, x.lane, answered)
}

// advance makes a lane due whose head is gone, or removes it. A host that has answered has no failures.
func advance(tx *sql.Tx, lane string, answered bool) error {
	var created int64
	more, err := sqlite.One(tx.QueryRow("SELECT created FROM outbox WHERE lane = ? AND dead IS NULL ORDER BY id LIMIT 1", lane), &created)
	switch {
	case err != nil:
		return err
	case more:
		_, err = tx.Exec("UPDATE outbox_lane SET due = ?, failures = CASE WHEN ? THEN 0 ELSE failures END WHERE lane = ?", created, answered, lane)
	default:
		_, err = tx.Exec("DELETE FROM outbox_lane WHERE lane = ?", lane)
	}
	return err
}

// end does what a try has led to and gives the delivery back. What cannot be written down stays leased: it would be sent again
// and again. The caller ends it later.
func (o Outbox) end(ctx context.Context, id int64, f func(*sql.Tx, waiting) error) error {
	err := o.db.Update(ctx, func(tx *sql.Tx) error {
		var x waiting
		if ok, err := sqlite.One(tx.QueryRow("SELECT lane, host, sender, device, conversation, message_hash, length(body), created FROM outbox WHERE id = ? AND dead IS NULL", id),
			&x.lane, &x.host, &x.sender, &x.device, &x.conversation, &x.message, &x.size, &x.created); !ok {
			return err
		}
		return f(tx, x)
	})
	if err != nil {
		return fmt.Errorf("store: ending delivery %d: %w", id, err)
	}
	o.leased.mu.Lock()
	delete(o.leased.ids, id)
	o.leased.mu.Unlock()
	return nil
}
