package device

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/waxwing-dm/waxwing/keydir"
	"github.com/waxwing-dm/waxwing/mls"
)

// A device that leaves its actor's list stays in the groups that it is in until a commit takes it out (C7 of spec/conversation.md). Until
// then it can read: nothing but a new epoch shuts it out.

// unlisted are those of an actor's devices in a conversation that the actor's newest proven list does not have.
func (c contact) unlisted(devices []string) (gone []string) {
	if c.record == nil {
		return nil
	}
	for _, id := range devices {
		if !slices.ContainsFunc(c.record.List.Devices, func(d keydir.Device) bool { return d.ID() == id }) {
			gone = append(gone, id)
		}
	}
	return gone
}

// pruneAll looks for devices of an actor that are not in the list that was just proven. Where this device may, it takes them out; where
// not, the person is told once.
func (t *txn) pruneAll(actor string, changed bool) error {
	account, err := t.account()
	if err != nil || account.Actor == actor || account.Removed != "" {
		return nil // before a login there is nothing
	}
	c, err := t.contact(actor)
	if err != nil {
		return err
	}
	affected, err := t.withUnlisted(actor, c)
	if err != nil {
		return err
	}
	for _, id := range affected {
		if err := t.prune(id, account, actor, changed); err != nil {
			return err
		}
	}
	return nil
}

// withUnlisted lists the conversations that have unlisted devices of an actor.
func (t *txn) withUnlisted(actor string, c contact) (ids []string, err error) {
	rows := map[string]conversationRow{}
	if err := t.Each(bucketConversation, func(id string, value []byte) error {
		var row conversationRow
		if err := json.Unmarshal(value, &row); err != nil {
			return fmt.Errorf("device: decoding conversation %s: %w", id, err)
		}
		if row.State == StateActive {
			ids, rows[id] = append(ids, id), row
		}
		return nil
	}); err != nil {
		return nil, err
	}
	var affected []string
	for _, id := range ids {
		members, err := t.members(id, rows[id])
		if err != nil {
			return nil, err
		}
		for _, m := range members {
			if m.Actor == actor && len(c.unlisted(m.Devices)) > 0 {
				affected = append(affected, id)
			}
		}
	}
	return affected, nil
}

func (t *txn) prune(id string, account Account, actor string, changed bool) error {
	conversation, err := t.mustOpen(id)
	if errors.Is(err, ErrStateLost) {
		return nil // it is being replaced, and then looked at again
	}
	if err != nil {
		return err
	}
	if conversation.Plain != nil {
		return t.prunePlain(conversation, account, actor)
	}
	r, err := conversation.room()
	if err != nil {
		return err
	}
	if !r.admin(account.Actor) && changed {
		if err := t.emit(Event{Type: EventMemberUnlisted, Conversation: id, Actor: actor, Code: CodeNotInLog,
			Detail: "a device of theirs is not in their list any more, and reads until an admin of the conversation has removed it"}); err != nil {
			return err
		}
	}
	if err := t.putOut(conversation, actor); err != nil || !conversation.queued {
		return err
	}
	return t.finish(conversation)
}

// comeBack is the step by which somebody who was reset is to be in the conversation again, with the new keys, once the person has accepted
// those. What is queued waits behind it: it was written for them, too.
func (t *txn) comeBack(actor string) ([]step, error) {
	c, err := t.contact(actor)
	if err != nil || c.record == nil || len(c.record.List.Devices) == 0 {
		return nil, err
	}
	changed, err := t.changed([]string{actor})
	if err != nil || len(changed) == 0 {
		return nil, err
	}
	return []step{{Kind: stepAdd, Actors: []string{actor}, Since: c.Lookup}}, nil
}

// queueFirst puts a step, and what follows from it, before all that wait, but for the one whose commit is under way: what waits is not to
// be encrypted for who has to go. Nothing happens if it is queued already.
func (t *txn) queueFirst(id string, s step, then ...step) (queued bool, err error) {
	keys, steps, err := t.queueOf(id)
	if err != nil {
		return false, err
	}
	if slices.ContainsFunc(steps, func(x step) bool { return x.Kind == s.Kind && slices.Equal(x.Actors, s.Actors) }) {
		return false, nil
	}
	at := 0
	if len(steps) > 0 && steps[0].InFlight {
		at = 1
	}
	for _, key := range keys {
		if err := t.Delete(stepBucket(id), key); err != nil {
			return false, fmt.Errorf("device: removing a step of %s: %w", id, err)
		}
	}
	for _, x := range slices.Insert(steps, at, append([]step{s}, then...)...) {
		if err := t.queue(id, x); err != nil {
			return false, err
		}
	}
	return true, nil
}

// workPrune brings the removing of unlisted devices forward. By the time its turn comes there may be others, or none.
func (t *txn) workPrune(c *conversation, s *step) (done bool, err error) {
	var (
		proposals []mls.Proposal
		removed   []leaf
	)
	for _, actor := range s.Actors {
		gone, err := t.hasToGo(c, actor)
		if err != nil {
			return false, err
		}
		for _, m := range gone {
			proposals, removed = append(proposals, mls.RemoveProposal(m.Leaf)), append(removed, leafOf(m))
		}
	}
	if len(proposals) == 0 {
		return true, nil
	}
	return t.propose(c, s, proposals, change{removed: removed})
}
