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
	Acquaints  []string // actors whom the sender knows by this
	Talks      string   // conversation in which everybody is known by this; "" if it has no name
	Granted    bool     // a commit that has its receipt: it is done whoever can take it
	At         int64    // milliseconds
}

// spread writes the items and deliveries. ErrNoRoom, ErrNoConsent or ErrQueueFull if that reaches nobody.
func (r Sending) spread(tx *sql.Tx) error {
	reached, refused := r.Granted, false
	var unasked []Drop
	for _, d := range r.Drops {
		what, err := handOver(tx, d, r.At)
		if err != nil {
			return err
		}
		if what == noConsent {
			unasked = append(unasked, d)
		}
		if d.Actor != r.Actor { // one's own other devices are not who it is for
			reached, refused = reached || what == handedOver, refused || what == noRoom
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
		if err := r.tellUnasked(tx, unasked); err != nil {
			return err
		}
		return r.acquaint(tx)
	case missed > 0:
		return ErrQueueFull
	case len(unasked) > 0 && !refused:
		return ErrNoConsent
	case refused:
		return ErrNoRoom
	}
	return nil
}

// tellUnasked tells the sender of people here who miss what others get, since they have not accepted the sender.
func (r Sending) tellUnasked(tx *sql.Tx, drops []Drop) error {
	for _, d := range drops {
		hash := sha256.Sum256(d.Item.Message)
		missed := []federation.Missed{{Actor: d.Actor, Code: federation.CodeConsent, Detail: "they have to accept you first"}}
		if err := tell(tx, r.Actor, r.Device, note(r.Actor, d.Item.Conversation, hash[:], missed, r.At)); err != nil {
			return err
		}
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
	return acquaintAll(tx, r.Actor, r.Talks)
}

func acquaint(tx *sql.Tx, actor, who string) error {
	if _, err := tx.Exec("DELETE FROM request WHERE actor = ? AND sender = ?", actor, who); err != nil {
		return err
	}
	return know(tx, actor, acquaintance(actor, who))
}

// acquaintAll is acquaint for everybody in a conversation.
func acquaintAll(tx *sql.Tx, actor, conversation string) error {
	if conversation == "" {
		return nil
	}
	if _, err := tx.Exec("DELETE FROM request WHERE actor = ? AND conversation = ?", actor, conversation); err != nil {
		return err
	}
	return know(tx, actor, conversationKnown(actor, conversation))
}

func know(tx *sql.Tx, actor string, who []byte) error {
	_, err := tx.Exec("INSERT INTO acquaintance (actor, who) VALUES (?, ?) ON CONFLICT DO NOTHING", actor, who)
	return err
}

// acquaintance names somebody for one actor's eyes only: the table says of nobody whom they write to.
func acquaintance(actor, who string) []byte {
	hash := sha256.Sum256([]byte(actor + " " + who))
	return hash[:16]
}

// conversationKnown is that of a conversation. It is never an actor's: a sender names the conversation as they like.
func conversationKnown(actor, conversation string) []byte {
	return acquaintance(actor, "in "+conversation)
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
// nothing happens and the first answer is returned. ErrConflict; ErrNoRoom, ErrNoConsent and ErrQueueFull, unless it is Granted.
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
