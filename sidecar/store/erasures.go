package store

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/waxwing-dm/waxwing/internal/sqlite"
)

// Erasures are the accounts that are to be erased. Whoever wants one erased asks; who serves does it, step by step, each of which can be
// done again. Partition key: actor.
type Erasures struct{ db *sqlite.DB }

// The steps of an erasure, by what is done.
const (
	ErasureAsked  = 0
	ErasureGone   = 1 // everything of the account but its place in the log
	ErasureLogged = 2 // the log says so; it waits to be witnessed
)

// Erasure that is not done yet.
type Erasure struct {
	Actor string
	Step  int
}

// Ask for an account to be erased.
func (e Erasures) Ask(ctx context.Context, actor string) error {
	return e.change(ctx, "asking for", "INSERT INTO erasure (actor) VALUES (?) ON CONFLICT DO NOTHING", actor)
}

// Logged says that the log has the account's end.
func (e Erasures) Logged(ctx context.Context, actor string) error {
	return e.change(ctx, "going on with", "UPDATE erasure SET step = 2 WHERE actor = ?", actor)
}

// Done removes the last that was left: the name.
func (e Erasures) Done(ctx context.Context, actor string) error {
	return e.change(ctx, "ending", "DELETE FROM erasure WHERE actor = ?", actor)
}

func (e Erasures) change(ctx context.Context, doing, statement, actor string) error {
	err := e.db.Update(ctx, func(tx *sql.Tx) error {
		_, err := tx.Exec(statement, actor)
		return err
	})
	if err != nil {
		return fmt.Errorf("store: %s an erasure: %w", doing, err)
	}
	return nil
}

// Pending lists some that are not done.
func (e Erasures) Pending(ctx context.Context) (pending []Erasure, err error) {
	err = e.db.View(ctx, func(tx *sql.Tx) error {
		rows, err := tx.Query("SELECT actor, step FROM erasure WHERE actor > '' LIMIT 100")
		return sqlite.Each(rows, err, func(rows *sql.Rows) error {
			var x Erasure
			err := rows.Scan(&x.Actor, &x.Step)
			pending = append(pending, x)
			return err
		})
	})
	if err != nil {
		return nil, fmt.Errorf("store: looking for erasures: %w", err)
	}
	return pending, nil
}

// Step of an actor's erasure; false if there is none.
func (e Erasures) Step(ctx context.Context, actor string) (step int, pending bool, err error) {
	err = e.db.View(ctx, func(tx *sql.Tx) (err error) {
		pending, err = sqlite.One(tx.QueryRow("SELECT step FROM erasure WHERE actor = ?", actor), &step)
		return err
	})
	if err != nil {
		return 0, false, fmt.Errorf("store: looking for an erasure: %w", err)
	}
	return step, pending, nil
}

// Forget removes everything that is kept of an account: its keys and code, devices and tokens, key packages, mailboxes, what it has sent
// and what is on its way from it. A blob that another account has brought, too, becomes that one's; the files of the others are left to
// Blobs.RemoveGone.
func (e Erasures) Forget(ctx context.Context, actor string) error {
	err := e.db.Update(ctx, func(tx *sql.Tx) error {
		for _, statement := range forget {
			if _, err := tx.Exec(statement, actor); err != nil {
				return err
			}
		}
		return recall(tx, actor)
	})
	if err != nil {
		return fmt.Errorf("store: forgetting an account: %w", err)
	}
	return nil
}

var forget = []string{
	"DELETE FROM mailbox WHERE actor = ?",
	"DELETE FROM key_package WHERE actor = ?",
	"DELETE FROM key_package_seen WHERE actor = ?",
	"DELETE FROM key_package_given WHERE actor = ?",
	"DELETE FROM last_resort WHERE actor = ?",
	"DELETE FROM device WHERE actor = ?",
	"DELETE FROM sent WHERE actor = ?",
	"DELETE FROM acquaintance WHERE actor = ?",
	"DELETE FROM request WHERE actor = ?",
	"DELETE FROM blocked WHERE actor = ?",
	"DELETE FROM blob_also WHERE actor = ?",
	"UPDATE blob SET actor = (SELECT min(actor) FROM blob_also WHERE hash = blob.hash) WHERE actor = ? AND EXISTS (SELECT 1 FROM blob_also WHERE hash = blob.hash)",
	"INSERT INTO blob_gone (hash) SELECT hash FROM blob WHERE actor = ? ON CONFLICT DO NOTHING",
	"DELETE FROM blob WHERE actor = ?",
	"DELETE FROM account WHERE actor = ?",
	"UPDATE erasure SET step = 1 WHERE actor = ? AND step = 0",
}

// recall takes back what is on its way, and lets the lanes that it stood in go on.
func recall(tx *sql.Tx, actor string) error {
	lanes := map[string]bool{}
	var gone []waiting
	rows, err := tx.Query("DELETE FROM outbox WHERE sender = ? RETURNING lane, host, length(body)", actor)
	if err := sqlite.Each(rows, err, func(rows *sql.Rows) error {
		x := waiting{sender: actor}
		err := rows.Scan(&x.lane, &x.host, &x.size)
		gone, lanes[x.lane] = append(gone, x), true
		return err
	}); err != nil {
		return err
	}
	for _, x := range gone {
		if err := weigh(tx, x.host, x.sender, -x.size); err != nil {
			return err
		}
	}
	for lane := range lanes {
		if err := advance(tx, lane, false); err != nil {
			return err
		}
	}
	return nil
}
