package store

import (
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"fmt"

	"github.com/waxwing-dm/waxwing/federation"
	"github.com/waxwing-dm/waxwing/internal/sqlite"
)

// Sent remembers what the devices of this instance have handed in, by their ids. Partition key: actor.
type Sent struct{ db *sqlite.DB }

// Sending is a request of a device with everything that follows from it.
type Sending struct {
	Actor      string
	Device     string // is told what does not arrive
	ID         string
	BodyHash   []byte
	Answer     []byte
	Drops      []Drop
	Deliveries []federation.Delivery
	Acquaints  []string // actors and conversations that the sender knows by this
	Granted    bool     // a commit that has its receipt: it is done whoever can take it
	At         int64    // milliseconds
}

// spread writes the items and deliveries. ErrNoRoom or ErrQueueFull if that reaches nobody.
func (r Sending) spread(tx *sql.Tx) error {
	reached, refused := r.Granted, false
	for _, d := range r.Drops {
		full, err := put(tx, d)
		if err != nil {
			return err
		}
		if d.Actor != r.Actor { // one's own other devices are not who it is for
			reached, refused = reached || !full, refused || full
		}
	}
	missed := 0
	for _, d := range r.Deliveries {
		d.Device = r.Device
		full, err := enqueue(tx, d, r.At, r.Granted)
		if err != nil {
			return err
		}
		if !full {
			reached = true
			continue
		}
		missed++
		if err := tell(tx, r.Actor, r.Device, note(r.Actor, d.Conversation, d.MessageHash, unqueued(d), r.At)); err != nil {
			return err
		}
	}
	switch {
	case reached:
		return r.acquaint(tx)
	case missed > 0:
		return ErrQueueFull
	case refused:
		return ErrNoRoom
	}
	return nil
}

func unqueued(d federation.Delivery) []federation.Missed {
	missed := make([]federation.Missed, 0, len(d.Recipients))
	for _, actor := range d.Recipients {
		missed = append(missed, federation.Missed{Actor: actor, Code: "queue_full", Detail: "too much waits already to be sent to " + federation.Host(d.Host)})
	}
	return missed
}

// acquaint remembers whom the sender has written to, and in which conversation: they are no strangers from now on.
func (r Sending) acquaint(tx *sql.Tx) error {
	for _, who := range r.Acquaints {
		if err := acquaint(tx, r.Actor, who); err != nil {
			return err
		}
	}
	return nil
}

func acquaint(tx *sql.Tx, actor, who string) error {
	_, err := tx.Exec("INSERT INTO acquaintance (actor, who) VALUES (?, ?) ON CONFLICT DO NOTHING", actor, acquaintance(actor, who))
	return err
}

// acquaintance names somebody for one actor's eyes only: the table says of nobody whom they write to.
func acquaintance(actor, who string) []byte {
	hash := sha256.Sum256([]byte(actor + " " + who))
	return hash[:16]
}

// Answer of a request that was done before; found is false if it was not. ErrConflict if its body was another.
func (s Sent) Answer(ctx context.Context, actor, id string, bodyHash []byte) (answer []byte, found bool, err error) {
	err = s.db.View(ctx, func(tx *sql.Tx) error {
		answer, found, err = sentBefore(tx, actor, id, bodyHash)
		return err
	})
	if err != nil {
		return nil, false, fmt.Errorf("store: looking for request %s: %w", id, err)
	}
	return answer, found, nil
}

func sentBefore(tx *sql.Tx, actor, id string, bodyHash []byte) (answer []byte, found bool, err error) {
	var hash []byte
	found, err = sqlite.One(tx.QueryRow("SELECT body_hash, answer FROM sent WHERE actor = ? AND id = ?", actor, id), &hash, &answer)
	if err == nil && found && !bytes.Equal(hash, bodyHash) {
		return nil, false, ErrConflict
	}
	return answer, found, err
}

// Record does the request: its answer, its mailbox items and its deliveries become durable together. If it was done before,
// nothing happens and the first answer is returned. ErrConflict; ErrNoRoom and ErrQueueFull, unless it is Granted.
func (s Sent) Record(ctx context.Context, r Sending) (answer []byte, err error) {
	err = s.db.Update(ctx, func(tx *sql.Tx) error {
		var found bool
		if answer, found, err = sentBefore(tx, r.Actor, r.ID, r.BodyHash); err != nil || found {
			return err
		}
		answer = r.Answer
		if _, err := tx.Exec("INSERT INTO sent (actor, id, body_hash, answer, at) VALUES (?, ?, ?, ?, ?)",
			r.Actor, r.ID, r.BodyHash, r.Answer, r.At); err != nil {
			return err
		}
		return r.spread(tx)
	})
	if err != nil {
		return nil, fmt.Errorf("store: doing request %s: %w", r.ID, err)
	}
	return answer, nil
}
