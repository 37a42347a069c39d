package device

import (
	"bytes"
	"fmt"
	"slices"
	"time"

	"github.com/waxwing-dm/waxwing/mls"
)

// Two members of a plain group may commit in one epoch, and each program that knows no hub goes on with what it made itself or saw first. So the state
// before a commit is kept for a while, for the case that the other one counts, and the state after one that does not, to read what is written
// there. Nothing is ever encrypted in either.

// branch is another state of a plain group than the present one.
type branch struct {
	Number uint64    `json:"number"` // of the bucket that has it
	At     time.Time `json:"at"`     // when it was left
	Group  []byte    `json:"group"`  // id
	Epoch  uint64    `json:"epoch"`
	Lost   bool      `json:"lost,omitempty"` // after a commit that does not count; else before one that does

	// Of the state before a commit: that commit's hash and maker, who has not shown yet to have followed it, and what we wanted if it was ours.
	Commit [32]byte `json:"commit,omitzero"`
	By     string   `json:"by,omitempty"`
	Behind []string `json:"behind,omitempty"`
	Step   *step    `json:"step,omitempty"`
}

func branchBucket(id string, number uint64) string { return fmt.Sprintf("branch:%s:%d", id, number) }

// keepBranch stores a state.
func (t *txn) keepBranch(c *conversation, b branch, g *mls.Group) error {
	c.Plain.Made++
	b.Number, b.At, b.Group, b.Epoch = c.Plain.Made, t.now, g.GroupID(), g.Epoch()
	if err := t.saveBranch(c.id, b, g, nil); err != nil {
		return err
	}
	c.Plain.Branches = append([]branch{b}, c.Plain.Branches...)
	return t.forgetBranches(c)
}

// saveBranch writes what has changed since a state that is stored.
func (t *txn) saveBranch(id string, b branch, g, since *mls.Group) error {
	for _, r := range g.Changes(since) {
		if err := t.putOrDelete(branchBucket(id, b.Number), r.Key, r.Value); err != nil {
			return fmt.Errorf("device: writing a branch of %s: %w", id, err)
		}
	}
	return nil
}

func (t *txn) loadBranch(id string, b branch) (*mls.Group, error) {
	var records []mls.Record
	if err := t.Each(branchBucket(id, b.Number), func(key string, value []byte) error {
		records = append(records, mls.Record{Key: key, Value: value})
		return nil
	}); err != nil {
		return nil, fmt.Errorf("device: reading a branch of %s: %w", id, err)
	}
	g, err := mls.LoadGroup(records)
	if err != nil {
		return nil, fmt.Errorf("device: reading a branch of %s: %w", id, err)
	}
	return g, nil
}

// dropBranches deletes those that match, and the keys in them.
func (t *txn) dropBranches(c *conversation, match func(branch) bool) error {
	var rest []branch
	for _, b := range c.Plain.Branches {
		if !match(b) {
			rest = append(rest, b)
			continue
		}
		var keys []string
		bucket := branchBucket(c.id, b.Number)
		if err := t.Each(bucket, func(key string, _ []byte) error { keys = append(keys, key); return nil }); err != nil {
			return fmt.Errorf("device: reading a branch of %s: %w", c.id, err)
		}
		for _, key := range keys {
			if err := t.Delete(bucket, key); err != nil {
				return fmt.Errorf("device: forgetting a branch of %s: %w", c.id, err)
			}
		}
	}
	c.Plain.Branches = rest
	return nil
}

// dropLatterBranches drops the states before commits from an epoch on.
func (t *txn) dropLatterBranches(c *conversation, epoch uint64) error {
	return t.dropBranches(c, func(b branch) bool { return !b.Lost && b.Epoch >= epoch })
}

// forgetBranches lets go what is old (P8): keys that are kept are keys that can be stolen.
func (t *txn) forgetBranches(c *conversation) error {
	n := 0
	return t.dropBranches(c, func(b branch) bool {
		n++
		here := bytes.Equal(b.Group, c.group.GroupID())
		return n > maxBranches || t.now.Sub(b.At) > branchKept || !b.Lost && here && b.Epoch+pastEpochs < c.group.Epoch()
	})
}

// followed notes that a device has shown to be past a commit. When all are, the state before it goes.
func (t *txn) followed(c *conversation, device string, epoch uint64) error {
	for i, b := range c.Plain.Branches {
		if !b.Lost && b.Epoch < epoch {
			c.Plain.Branches[i].Behind = slices.DeleteFunc(slices.Clone(b.Behind), func(d string) bool { return d == device })
		}
	}
	return t.dropBranches(c, func(b branch) bool { return !b.Lost && b.Epoch < epoch && len(b.Behind) == 0 })
}

// lost are the branches that are read only, of the group a message is for.
func (c *conversation) lost(groupID []byte) (list []branch) {
	for _, b := range c.Plain.Branches {
		if b.Lost && bytes.Equal(b.Group, groupID) {
			list = append(list, b)
		}
	}
	return list
}

// beats is P7: of two commits of one epoch, that of who has no directory counts, since their program has applied it and will not take it back;
// and among two of a kind the one whose hash is smaller. Which came first would not do: that is not the same for everybody.
func (t *txn) beats(hash [32]byte, by string, other [32]byte, otherBy string) (bool, error) {
	plain, err := t.isPlain(by)
	if err != nil {
		return false, err
	}
	otherPlain, err := t.isPlain(otherBy)
	if err != nil || plain != otherPlain {
		return plain, err
	}
	return bytes.Compare(hash[:], other[:]) < 0, nil
}

// turnTo makes the state after another commit the present one, in place of that which came after the commit of b.
func (t *txn) turnTo(c *conversation, b branch, next *mls.Group, hash [32]byte, by string) error {
	var again []step
	for _, x := range slices.Backward(c.Plain.Branches) { // oldest first
		if !x.Lost && x.Epoch >= b.Epoch && x.Step != nil {
			again = append(again, *x.Step)
		}
	}
	before, err := t.loadBranch(c.id, b)
	if err != nil {
		return err
	}
	if err := t.dropLatterBranches(c, b.Epoch); err != nil {
		return err
	}
	if err := t.keepBranch(c, branch{Lost: true}, c.group); err != nil {
		return err
	}
	c.group = next
	c.Plain.Going, c.PartAt = nil, time.Time{} // who asked for it asks again where they are
	if err := t.keepBranch(c, branch{Commit: hash, By: by, Behind: c.devicesBut(before)}, before); err != nil {
		return err
	}
	if err := t.notRead(c, b.Epoch, by); err != nil {
		return err
	}
	if err := t.plainMoved(c, by); err != nil {
		return err
	}
	return t.askAnew(c, again)
}

// askAnew queues what our commits that do not count were for. Whom one of them added is in a group that only they and we ever had; if their program is
// plain it takes no Welcome to another of that name.
func (t *txn) askAnew(c *conversation, steps []step) error {
	for _, s := range slices.Backward(steps) {
		if _, err := t.queueFirst(c.id, s); err != nil {
			return err
		}
		if s.Kind != stepAdd {
			continue
		}
		stranded, err := t.plainAmong(s.Actors)
		if err != nil {
			return err
		}
		for _, actor := range stranded {
			if err := t.fallApart(c, actor); err != nil {
				return err
			}
		}
	}
	return nil
}

// notRead tells the person which messages somebody cannot read: they were encrypted after a commit that does not count. They are not encrypted again
// without asking: they were written for the members of their time.
func (t *txn) notRead(c *conversation, after uint64, by string) error {
	var rest []sentAt
	for _, s := range c.Plain.Sent {
		if s.Epoch <= after {
			rest = append(rest, s)
			continue
		}
		missed := Missed{Actor: by, Code: CodeForkDetected, Detail: by + " changed the conversation at the same time, and cannot read this message: send it again if you want"}
		if err := t.putRow(bucketMissed, stateKey(c.id, s.Seq), []Missed{missed}); err != nil {
			return err
		}
		if err := t.tellMissed(c.id, s.Seq, missed); err != nil {
			return err
		}
	}
	c.Plain.Sent = rest
	return nil
}
