package device

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/waxwing-dm/waxwing/mls"
)

// A message that waited too long, at an instance that was away, say, is of an epoch whose keys its readers have thrown away. They say so, and
// who wrote it encrypts it anew. It was written for the members of its time: if somebody has joined since, it is given up, and its author decides.

const maxUnread = 1000 // messages of one actor in a conversation that are asked for again in a gossipDay, and that are sent again for one who asks

// joinedBucket has, by actor, the epoch in which this device saw them come; no row: before it looked.
func joinedBucket(id string) string { return "joined:" + id }

// readBucket has what was read of others: what comes anew comes to all, and some have it.
func readBucket(id string) string { return "read:" + id }

// askUnread is for a message that cannot be read: if its keys are gone, its author is told, and the person only if it does not come again.
func (t *txn) askUnread(c *conversation, author string, why error, hash [sha256.Size]byte) (verdict, error) {
	v := unreadable(why)
	var epoch *mls.WrongEpochError
	if !errors.As(why, &epoch) || !c.has(author) {
		return v, nil
	}
	var came bool
	if _, err := t.row(insteadBucket(c.id), hex.EncodeToString(hash[:])+" "+author, &came); err != nil || came {
		return verdict{status: ignored}, err
	}
	if ok, err := t.count("unread "+c.id+" "+author, maxUnread); err != nil || !ok {
		return v, err
	}
	seen := hex.EncodeToString(hash[:])
	if err := t.Put(bucketSeen, seen, []byte{1}); err != nil { // it is asked for once
		return v, fmt.Errorf("device: writing a message's hash: %w", err)
	}
	if err := t.queueShow(c, step{Tell: &shown{Type: typeUnread, Unread: hash[:]}}); err != nil {
		return v, err
	}
	return t.hold(c, author, v, hash[:])
}

// sendUnread encrypts a message of ours anew that somebody could not read. Before its keys are gone everywhere nobody can have a reason to ask.
func (t *txn) sendUnread(c *conversation, asks string, hash []byte) error {
	of, known, err := t.outgoing(hash)
	if err != nil || !known || of.Conversation != c.id || of.Epoch+pastEpochs >= c.group.Epoch() {
		return err
	}
	var joined uint64
	if _, err := t.row(joinedBucket(c.id), asks, &joined); err != nil || joined > of.Epoch {
		return err // it was on its way to them from before they came: nobody misses it
	}
	if ok, err := t.count("sends again "+c.id+" "+asks, maxUnread); err != nil || !ok {
		return err // all that was ever said could be had sent anew, time after time
	}
	if err := t.Put(bucketSeen, hex.EncodeToString(hash), []byte{1}); err != nil { // several may ask
		return fmt.Errorf("device: writing a message's hash: %w", err)
	}
	return t.sendAnew(c, of, hash)
}

// sendAnew queues what a person wrote, or what asked for that: a question can be too late like its answer.
func (t *txn) sendAnew(c *conversation, of outgoing, hash []byte) error {
	switch {
	case of.Seq != 0:
		c.queued = true
		return t.sendAgain(c, of.Seq, of.Epoch, inPlaceOf(of.Instead, hash))
	case of.Unread != nil:
		return t.queueShow(c, step{Tell: &shown{Type: typeUnread, Unread: of.Unread}})
	}
	return nil
}

// again is what is known of a message that is to be encrypted anew.
type again struct {
	Epoch uint64    `json:"epoch"` // it was written in
	Until time.Time `json:"until"` // until then at least it waits for who has joined since to be gone again
	// Instead has the hashes of the messages that it takes the place of.
	Instead [][]byte `json:"instead,omitempty"`
}

// sendAgain queues a message of ours that was encrypted in an epoch whose keys are gone.
func (t *txn) sendAgain(c *conversation, seq, epoch uint64, instead [][]byte) error {
	if err := t.setState(c.id, seq, MessageQueued, "", ""); err != nil {
		return err
	}
	return t.queue(c.id, step{Kind: stepSend, Message: seq, Again: &again{epoch, t.now.Add(settleTime), instead}})
}

// mayGoAgain tells whether a message that is encrypted anew may go now, or never. Whoever has joined since may be gone again by the end of the chain:
// a device that comes back after days does not decide on its way there. What was written later need not wait for that (pass.go).
func (t *txn) mayGoAgain(c *conversation, a again) (now, never bool, err error) {
	joined, err := t.joinedSince(c, a.Epoch)
	if err != nil || !joined {
		return err == nil, false, err
	}
	if !t.now.Before(a.Until) || c.Plain != nil {
		behind, err := t.catchingUp(c)
		return false, err == nil && !behind, err
	}
	if c.PassAt.IsZero() || c.PassAt.After(a.Until) {
		c.PassAt = a.Until
	}
	return false, false, nil
}

func (t *txn) joinedSince(c *conversation, epoch uint64) (bool, error) {
	for _, m := range c.Members {
		var joined uint64
		if _, err := t.row(joinedBucket(c.id), m.Actor, &joined); err != nil || joined > epoch {
			return err == nil, err
		}
	}
	return false, nil
}

// wasRead tells whether a message was read before, as it was encrypted in an earlier epoch.
func (t *txn) wasRead(c *conversation, sender leaf, epoch uint64, content content) (bool, error) {
	if content.kind != KindText {
		return false, nil
	}
	h := sha256.New()
	for _, part := range []string{sender.actor, content.id, content.published.UTC().Format(time.RFC3339Nano), content.text} {
		_, _ = fmt.Fprintf(h, "%d:%s", len(part), part) // a hash takes everything
	}
	key := hex.EncodeToString(h.Sum(nil))
	var before uint64
	again, err := t.row(readBucket(c.id), key, &before)
	if err != nil || again {
		return again && before != epoch, err
	}
	return false, t.putRow(readBucket(c.id), key, epoch)
}
