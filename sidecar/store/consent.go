package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"

	"github.com/waxwing-dm/waxwing/internal/sqlite"
)

// Consents are what accounts have said about who may write to them. Partition key: actor.
type Consents struct{ db *sqlite.DB }

// What an account asks of strangers: that is who it has not written to, nor accepted.
const (
	FromEverybody = "everybody" // nothing
	FromRequests  = "requests"  // that they wait until they are accepted
	FromNobody    = "nobody"    // that they do not write
)

// What a stranger may leave with somebody before that one has accepted.
const (
	maxRequestWelcome  = 128 << 10 // bytes; a Welcome into a conversation of 256 devices
	maxRequestMessages = 8 << 10   // bytes of messages, of everybody in the conversation together
	maxRequests        = 100       // strangers
	maxRequestsOrigin  = 20        // of one instance

	maxBlocked = 10_000
)

// Standing is what somebody is to an account.
type Standing struct {
	Consent string // what the account asks of strangers
	Known   bool   // the account has written to them, or in the conversation, or has accepted
	Met     bool   // it has written to them or accepted them: that they name a conversation is not all
	Blocked bool
}

// Open says whether what they send comes in without having been asked for.
func (s Standing) Open() bool { return s.Known || s.Consent == FromEverybody }

// Standing of who to an actor of this instance, in a conversation if one is named.
func (c Consents) Standing(ctx context.Context, actor, who, conversation string) (s Standing, err error) {
	err = c.db.View(ctx, func(tx *sql.Tx) error {
		s, err = standing(tx, actor, who, conversation)
		return err
	})
	if err != nil {
		return Standing{}, fmt.Errorf("store: looking for consent: %w", err)
	}
	return s, nil
}

func standing(tx *sql.Tx, actor, who, conversation string) (s Standing, err error) {
	const ask = `SELECT consent, EXISTS (SELECT 1 FROM acquaintance WHERE actor = ?1 AND who IN (?2, ?3)),
		EXISTS (SELECT 1 FROM acquaintance WHERE actor = ?1 AND who = ?2), EXISTS (SELECT 1 FROM blocked WHERE actor = ?1 AND who = ?2)
		FROM account WHERE actor = ?1`
	_, err = sqlite.One(tx.QueryRow(ask, actor, acquaintance(actor, who), conversationKnown(actor, conversation)), &s.Consent, &s.Known, &s.Met, &s.Blocked)
	return s, err
}

// handed is what became of a drop.
type handed int

const (
	handedOver handed = iota // or counted and not kept: who is blocked is not to know it
	noRoom
	noConsent
)

// handOver asks for consent and puts the item into the mailboxes.
func handOver(tx *sql.Tx, d Drop, now int64) (handed, error) {
	if d.Actor == d.Item.Sender {
		return deliver(tx, d)
	}
	s, err := standing(tx, d.Actor, d.Item.Sender, d.Item.Conversation)
	if err != nil {
		return noConsent, err
	}
	silent := s.Blocked && (!s.Known || d.Welcome || d.Item.Receipt == nil) // a conversation's chain is followed whoever wrote it
	if !s.Open() {
		room, dismissed, err := d.request(tx, s, now)
		if err != nil || !room {
			return noConsent, err
		}
		silent = silent || dismissed
	}
	if silent {
		return handedOver, nil
	}
	what, err := deliver(tx, d)
	if err == nil && what == handedOver && d.Welcome && s.Known {
		err = acquaintAll(tx, d.Actor, d.Item.Conversation) // everybody in it is no stranger any more
	}
	return what, err
}

func deliver(tx *sql.Tx, d Drop) (handed, error) {
	full, err := put(tx, d)
	if full {
		return noRoom, err
	}
	return handedOver, err
}

// request counts what a stranger sends, if there is room for it: one Welcome, and some messages in its conversation.
func (d Drop) request(tx *sql.Tx, s Standing, now int64) (room, dismissed bool, err error) {
	if s.Consent == FromNobody {
		return false, false, nil
	}
	if d.Welcome {
		room, err = d.firstRequest(tx, s, now)
		return room, false, err
	}
	for _, x := range []struct{ query, by string }{
		{"UPDATE request SET bytes = bytes + ?1 WHERE actor = ?2 AND sender = ?3 AND bytes + ?1 <= ?4 RETURNING dismissed", d.Item.Sender},
		{"UPDATE request SET bytes = bytes + ?1 WHERE actor = ?2 AND conversation = ?3 AND conversation <> '' AND bytes + ?1 <= ?4 RETURNING dismissed", d.Item.Conversation},
	} {
		if room, err = sqlite.One(tx.QueryRow(x.query, len(d.Item.Message), d.Actor, x.by, maxRequestMessages), &dismissed); err != nil || room {
			return room, dismissed, err
		}
	}
	return false, false, nil
}

// firstRequest takes down that somebody asks. A request of who is blocked takes up nobody's room.
func (d Drop) firstRequest(tx *sql.Tx, s Standing, now int64) (room bool, err error) {
	var all, ofOrigin int
	origin := originOf(d.Item.Sender)
	if err := tx.QueryRow("SELECT count(*), coalesce(sum(origin = ?), 0) FROM request WHERE actor = ? AND dismissed = 0", origin, d.Actor).Scan(&all, &ofOrigin); err != nil {
		return false, err
	}
	if len(d.Item.Message) > maxRequestWelcome || all >= maxRequests || ofOrigin >= maxRequestsOrigin {
		return false, nil
	}
	done, err := tx.Exec("INSERT INTO request (actor, sender, origin, conversation, since, dismissed) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
		d.Actor, d.Item.Sender, origin, d.Item.Conversation, now, s.Blocked)
	if err != nil {
		return false, err
	}
	n, err := done.RowsAffected()
	return n > 0, err
}

func originOf(actor string) string {
	u, err := url.Parse(actor)
	if err != nil {
		return actor
	}
	return u.Scheme + "://" + u.Host
}

// Request is somebody who waits to be accepted.
type Request struct {
	Sender       string // actor
	Conversation string // URL, as they named it
	Since        int64  // milliseconds
}

// Requests are what an account asks of strangers, and those who wait.
func (c Consents) Requests(ctx context.Context, actor string) (consent string, waiting []Request, err error) {
	err = c.db.View(ctx, func(tx *sql.Tx) error {
		if ok, err := sqlite.One(tx.QueryRow("SELECT consent FROM account WHERE actor = ?", actor), &consent); err != nil || !ok {
			return orElse(err, ErrNotFound)
		}
		rows, err := tx.Query("SELECT sender, conversation, since FROM request WHERE actor = ? AND dismissed = 0", actor)
		return sqlite.Each(rows, err, func(rows *sql.Rows) error {
			var r Request
			err := rows.Scan(&r.Sender, &r.Conversation, &r.Since)
			waiting = append(waiting, r)
			return err
		})
	})
	if err != nil {
		return "", nil, fmt.Errorf("store: listing who waits: %w", err)
	}
	return consent, waiting, nil
}

// Ask sets what an account asks of strangers. ErrNotFound.
func (c Consents) Ask(ctx context.Context, actor, consent string) error {
	return c.change(ctx, func(tx *sql.Tx) error {
		done, err := tx.Exec("UPDATE account SET consent = ? WHERE actor = ?", consent, actor)
		return changed(done, err, ErrNotFound)
	})
}

// Accept makes somebody, and everybody in the conversation that they opened, no stranger any more. Either may be empty.
func (c Consents) Accept(ctx context.Context, actor, who, conversation string) error {
	return c.change(ctx, func(tx *sql.Tx) error {
		if who != "" {
			if err := acquaint(tx, actor, who); err != nil {
				return err
			}
		}
		return acquaintAll(tx, actor, conversation)
	})
}

// Dismiss keeps nothing more of what somebody sends until their request is forgotten.
func (c Consents) Dismiss(ctx context.Context, actor, who string) error {
	return c.change(ctx, func(tx *sql.Tx) error { return dismiss(tx, actor, who) })
}

func dismiss(tx *sql.Tx, actor, who string) error {
	_, err := tx.Exec("UPDATE request SET dismissed = 1 WHERE actor = ? AND sender = ?", actor, who)
	return err
}

// Block keeps nothing more of what somebody sends, and lets them be answered as before. ErrTooMany.
func (c Consents) Block(ctx context.Context, actor, who string) error {
	return c.change(ctx, func(tx *sql.Tx) error {
		var n int
		if err := tx.QueryRow("SELECT count(*) FROM blocked WHERE actor = ?", actor).Scan(&n); err != nil {
			return err
		}
		if n >= maxBlocked {
			return ErrTooMany
		}
		if _, err := tx.Exec("INSERT INTO blocked (actor, who) VALUES (?, ?) ON CONFLICT DO NOTHING", actor, acquaintance(actor, who)); err != nil {
			return err
		}
		return dismiss(tx, actor, who)
	})
}

// Unblock undoes Block. A stranger may ask anew.
func (c Consents) Unblock(ctx context.Context, actor, who string) error {
	return c.change(ctx, func(tx *sql.Tx) error {
		if _, err := tx.Exec("DELETE FROM request WHERE actor = ? AND sender = ? AND dismissed = 1", actor, who); err != nil {
			return err
		}
		_, err := tx.Exec("DELETE FROM blocked WHERE actor = ? AND who = ?", actor, acquaintance(actor, who))
		return err
	})
}

func (c Consents) change(ctx context.Context, f func(*sql.Tx) error) error {
	err := c.db.Update(ctx, f)
	if err != nil && !errors.Is(err, ErrTooMany) {
		return fmt.Errorf("store: writing down a consent: %w", err)
	}
	return err
}
