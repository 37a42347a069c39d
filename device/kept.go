package device

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/waxwing-dm/waxwing/mls"
)

// What grows with the members of a conversation is stored in many rows, of which a message writes one and a commit a few; to read
// them all each time would undo that. So they are kept in memory as they stand in the store, and each transaction works on copies.
// Which state they are is a number in the conversation's row, which is read in every transaction: what was written by a
// transaction that failed, or by somebody else, is never taken for what is there.

// maxKept conversations are kept, of maxMembers devices at the most.
const maxKept = 64

func groupBucket(id string) string   { return "group:" + id }   // the records of the MLS state
func membersBucket(id string) string { return "members:" + id } // by actor

// A kept conversation is not changed any more.
type kept struct {
	saves   uint64 // as in the conversation's row
	group   *mls.Group
	members []Member
}

// current is the state of a conversation that its row speaks of, out of memory or out of the store.
func (t *txn) current(id string, row conversationRow) (*kept, error) {
	if k := t.inMemory(id, row); k != nil {
		return k, nil
	}
	var records []mls.Record
	if err := t.Each(groupBucket(id), func(key string, value []byte) error {
		records = append(records, mls.Record{Key: key, Value: value})
		return nil
	}); err != nil {
		return nil, fmt.Errorf("device: reading the group of %s: %w", id, err)
	}
	group, err := mls.LoadGroup(records)
	if err != nil {
		return nil, fmt.Errorf("device: reading the group of %s: %w", id, err)
	}
	members, err := t.readMembers(id)
	if err != nil {
		return nil, err
	}
	t.kept[id] = &kept{row.Saves, group, members}
	return t.kept[id], nil
}

// inMemory finds it in memory, where this transaction's own come first.
func (t *txn) inMemory(id string, row conversationRow) *kept {
	for _, list := range []map[string]*kept{t.kept, t.before} {
		if k := list[id]; k != nil && k.saves == row.Saves {
			return k
		}
	}
	return nil
}

// members of a conversation, for somebody else to have.
func (t *txn) members(id string, row conversationRow) ([]Member, error) {
	k := t.inMemory(id, row)
	if k == nil {
		return t.readMembers(id)
	}
	members := slices.Clone(k.members)
	for i := range members {
		members[i].Devices = slices.Clone(members[i].Devices)
	}
	return members, nil
}

func (t *txn) readMembers(id string) (members []Member, err error) {
	err = t.Each(membersBucket(id), func(_ string, value []byte) error {
		var m Member
		if err := json.Unmarshal(value, &m); err != nil {
			return fmt.Errorf("device: decoding a member of %s: %w", id, err)
		}
		members = append(members, m)
		return nil
	})
	slices.SortFunc(members, func(a, b Member) int { return strings.Compare(a.Actor, b.Actor) })
	return members, err
}

// save writes what has changed of a conversation.
func (t *txn) save(c *conversation) error {
	was := new(kept)
	var row conversationRow
	there, err := t.row(bucketConversation, c.id, &row)
	if err == nil && there {
		was, err = t.current(c.id, row)
	}
	if errors.Is(err, mls.ErrDamaged) { // and replaced by now
		was = new(kept)
		was.members, err = t.readMembers(c.id)
	}
	if err != nil {
		return err
	}
	for _, r := range c.group.Changes(was.group) {
		if err := t.putOrDelete(groupBucket(c.id), r.Key, r.Value); err != nil {
			return fmt.Errorf("device: writing the group of %s: %w", c.id, err)
		}
	}
	if err := t.saveMembers(c, was.members); err != nil {
		return err
	}
	c.Saves = row.Saves + 1
	t.kept[c.id] = &kept{c.Saves, c.group.Clone(), c.Members}
	return t.putRow(bucketConversation, c.id, c.conversationRow)
}

// putOrDelete deletes what has no value.
func (t *txn) putOrDelete(bucket, key string, value []byte) error {
	if value == nil {
		return t.Delete(bucket, key)
	}
	return t.Put(bucket, key, value)
}

func (t *txn) saveMembers(c *conversation, was []Member) error {
	if len(was) == len(c.Members) && (len(was) == 0 || &was[0] == &c.Members[0]) {
		return nil
	}
	gone := map[string]Member{}
	for _, m := range was {
		gone[m.Actor] = m
	}
	for _, m := range c.Members {
		old, ok := gone[m.Actor]
		delete(gone, m.Actor)
		if ok && old.Admin == m.Admin && slices.Equal(old.Devices, m.Devices) {
			continue
		}
		if err := t.putRow(membersBucket(c.id), m.Actor, m); err != nil {
			return err
		}
	}
	for _, actor := range slices.Sorted(maps.Keys(gone)) {
		if err := t.Delete(membersBucket(c.id), actor); err != nil {
			return fmt.Errorf("device: removing a member of %s: %w", c.id, err)
		}
	}
	return nil
}

// keep takes over what a transaction left; if it failed, what it had touched is read anew.
func (d *Device) keep(t *txn, err error) {
	for id, k := range t.kept {
		delete(d.kept, id)
		if err != nil {
			continue
		}
		for other := range d.kept {
			if len(d.kept) < maxKept {
				break
			}
			delete(d.kept, other)
		}
		d.kept[id] = k
	}
}
