package device

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// What the sidecar has taken it may yet fail to deliver: another instance refuses it, or is away for too long. It says so by a mailbox item of
// its own, and so is no less believed than when it says that it has sent something.

const bucketMissed = "missed" // by conversation and number: whom a message of ours did not reach

// outgoing is kept with the hash of a message of ours that a person wrote.
type outgoing struct {
	Conversation string   `json:"conversation"`
	Seq          uint64   `json:"seq"`
	To           int      `json:"to"` // actors
	Epoch        uint64   `json:"epoch,omitempty"`
	Astray       bool     `json:"astray,omitempty"`  // sent by a device that had lost the thread
	Change       bool     `json:"change,omitempty"`  // of a plain group: nobody else tells who missed it
	Unread       []byte   `json:"unread,omitempty"`  // of a message that asks for another: its hash
	Instead      [][]byte `json:"instead,omitempty"` // hashes of the messages that it took the place of
}

// undelivered takes down whom something of ours did not reach, and tells the person. A message that reached nobody has failed.
func (t *txn) undelivered(item Incoming) error {
	u := item.Undelivered
	of, known, err := t.outgoing(u.Message)
	if err != nil {
		return err
	}
	if known && of.Seq == 0 && !of.Change {
		return nil // what no person wrote, no person misses
	}
	conversation := of.Conversation
	if !known {
		if conversation, err = conversationOf(item.Conversation); err != nil {
			return nil // nothing of ours
		}
	}
	var all []Missed
	written := known && of.Seq != 0
	if written {
		if _, err := t.row(bucketMissed, stateKey(of.Conversation, of.Seq), &all); err != nil {
			return err
		}
	}
	for _, m := range u.To[:min(len(u.To), maxMembers)] {
		m = Missed{cut(m.Actor, maxURL), cut(m.Code, maxName), cut(m.Detail, maxURL)}
		if slices.ContainsFunc(all, func(x Missed) bool { return x.Actor == m.Actor }) || len(all) >= maxMembers {
			continue
		}
		all = append(all, m)
		if written {
			if err := t.putRow(bucketMissed, stateKey(of.Conversation, of.Seq), all); err != nil {
				return err
			}
		}
		if err := t.tellMissed(conversation, of.Seq, m); err != nil {
			return err
		}
	}
	if written && len(all) >= of.To {
		last := all[len(all)-1]
		return t.messageFailed(of.Conversation, of.Seq, last.Code, last.Detail)
	}
	return nil
}

// Undelivered lists at most limit messages of ours, the newest that somebody missed first, that were written after a time and did not reach everybody.
func (d *Device) Undelivered(after time.Time, limit int) (list []Message, err error) {
	err = d.view(func(t *txn) error {
		list = nil
		var keys []string
		if err := t.Each(bucketMissed, func(key string, _ []byte) error {
			keys = append(keys, key)
			return nil
		}); err != nil {
			return err
		}
		for _, key := range slices.Backward(keys) {
			id, number, _ := strings.Cut(key, "/")
			seq, err := strconv.ParseUint(number, 10, 64)
			if err != nil {
				return fmt.Errorf("device: reading what was not delivered: %w", err)
			}
			m, err := t.message(id, seq)
			if err != nil {
				return err
			}
			if m.Time.After(after) && len(list) < limit {
				list = append(list, m.Message)
			}
		}
		return nil
	})
	return list, err
}

func (t *txn) tellMissed(conversation string, seq uint64, m Missed) error {
	e := Event{Type: EventDeliveryFailed, Conversation: conversation, Actor: m.Actor, Code: m.Code, Detail: m.Detail}
	if seq != 0 {
		row, err := t.message(conversation, seq)
		if err != nil {
			return err
		}
		e.Message = &row.Message
	}
	return t.emit(e)
}

// outgoing finds a message of ours by its hash.
func (t *txn) outgoing(hash []byte) (of outgoing, known bool, err error) {
	value, ok, err := t.Get(bucketSeen, hex.EncodeToString(hash))
	if err != nil || !ok || len(value) < 2 {
		return of, false, err
	}
	if err := json.Unmarshal(value, &of); err != nil {
		return of, false, fmt.Errorf("device: decoding what was sent: %w", err)
	}
	return of, true, nil
}

func cut(s string, most int) string { return s[:min(len(s), most)] }
