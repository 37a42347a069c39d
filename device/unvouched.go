package device

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/waxwing-dm/waxwing/keydir"
	"github.com/waxwing-dm/waxwing/mls"
)

// Which commit counts is decided by what all members share, and never by a directory: that each of them asks at another time, and an
// instance may answer each of them otherwise. So a commit that lets in a device which is not in its actor's list is followed like any other, by
// everybody alike. What the list decides is what is done from there on: nothing that the device writes is shown, nothing is encrypted while it is
// there, and the first admin's client that knows removes it (C1, C7 of spec/conversation.md).

// An unvouched device is one that somebody's commit has let in, and for which its actor's list did not speak.
type unvouched struct {
	Actor  string `json:"actor"`
	Device string `json:"device"`
	By     string `json:"by"` // whose commit it was
}

// itself tells that it was brought by another device of the same actor. That one could read and say everything in its place, so what the
// others write does not wait.
func (u unvouched) itself() bool { return u.By == u.Actor }

// vouched tells whether an actor's newest proven list has a device.
func (t *txn) vouched(u unvouched) (bool, error) {
	known, err := t.contact(u.Actor)
	return err == nil && known.record != nil && len(known.unlisted([]string{u.Device})) == 0, err
}

// present are those that are still in the conversation.
func (c *conversationRow) present(members []Member) (here []unvouched) {
	for _, u := range c.Unvouched {
		if slices.ContainsFunc(members, func(m Member) bool { return m.Actor == u.Actor && slices.Contains(m.Devices, u.Device) }) {
			here = append(here, u)
		}
	}
	return here
}

// letIn remembers the devices that a commit has brought without a list that has them. What is to be done is queued.
func (t *txn) letIn(c *conversation, came newcomers, by string) error {
	for _, l := range append(slices.Clone(came.unlisted), came.unasked...) {
		u := unvouched{l.actor, keydir.DeviceID(l.key), by}
		c.Unvouched = append(c.Unvouched, u)
		detail := "a device was added for them that is not in their list; what you write waits until an admin of the conversation has removed it"
		if u.itself() {
			detail = "they added a device that is not in their list; it reads until an admin of the conversation has removed it"
		}
		if slices.ContainsFunc(came.unasked, func(x leaf) bool { return string(x.key) == string(l.key) }) {
			if err := t.lookAt(l.actor); err != nil {
				return err
			}
		} else if err := t.emit(Event{Type: EventMemberUnlisted, Conversation: c.id, Actor: u.Actor, By: by, Code: CodeNotInLog, Detail: detail}); err != nil {
			return err
		}
	}
	for _, l := range came.unlisted {
		if err := t.putOut(c, l.actor); err != nil {
			return err
		}
	}
	return nil
}

// lookAt looks somebody up in the background.
func (t *txn) lookAt(actor string) error {
	asked, err := t.hasJob(func(j Job) bool {
		l, ok := j.(*LookupJob)
		return ok && l.For == "" && slices.Contains(l.Actors, actor)
	})
	if err != nil || asked {
		return err
	}
	return t.addJob(&LookupJob{Actors: []string{actor}})
}

// putOut queues the removing of an actor's unlisted devices, if that is for us to do; else the admins are asked to look. The caller goes on with
// the queue.
func (t *txn) putOut(c *conversation, actor string) error {
	account, err := t.account()
	if err != nil || account.Removed != "" {
		return err
	}
	if gone, err := t.hasToGo(c, actor); err != nil || len(gone) == 0 {
		return err
	}
	r, err := c.room()
	if err != nil {
		return err
	}
	if !r.admin(account.Actor) && actor != account.Actor {
		return t.askToLook(c, actor)
	}
	back, err := t.comeBack(actor)
	if err != nil {
		return err
	}
	queued, err := t.queueFirst(c.id, step{Kind: stepPrune, Actors: []string{actor}}, back...)
	c.queued = c.queued || queued
	return err
}

// hasToGo are the leaves of an actor that are in no list: in that which was proven, or, where none ever was, all that came without one.
func (t *txn) hasToGo(c *conversation, actor string) (gone []mls.Member, err error) {
	known, err := t.contact(actor)
	if err != nil {
		return nil, err
	}
	unlisted := known.unlistedIn(&c.conversationRow, actor, c.Members)
	for _, m := range c.group.Members() {
		l := leafOf(m)
		if l.actor == actor && slices.Contains(unlisted, keydir.DeviceID(l.key)) && m.Leaf != c.group.OwnLeaf() {
			gone = append(gone, m)
		}
	}
	return gone, nil
}

// unlistedIn are the unlisted devices of an actor in a conversation.
func (c contact) unlistedIn(row *conversationRow, actor string, members []Member) (gone []string) {
	for _, m := range members {
		if m.Actor == actor {
			gone = c.unlisted(m.Devices)
		}
	}
	if c.record == nil && c.Lookup > 0 {
		for _, u := range row.present(members) {
			if u.Actor == actor {
				gone = append(gone, u.Device)
			}
		}
	}
	return gone
}

// heldFor lists the actors with a device in the conversation that nothing may be encrypted for.
func (t *txn) heldFor(c *conversationRow, members []Member) (actors []string, err error) {
	for _, u := range c.present(members) {
		vouched, err := t.vouched(u)
		if err != nil {
			return nil, err
		}
		if !vouched && !u.itself() {
			actors = append(actors, u.Actor)
		}
	}
	slices.Sort(actors)
	return slices.Compact(actors), nil
}

// held is heldFor as a sentence for the person; "" if nothing is held.
func (t *txn) held(c *conversationRow, members []Member) (reason string, err error) {
	actors, err := t.heldFor(c, members)
	if err != nil || len(actors) == 0 {
		return "", err
	}
	return fmt.Sprintf("%s: what you write waits: a device was added for %s that is not in their list, and an admin has to remove it",
		CodeNotInLog, strings.Join(actors, ", ")), nil
}

// release goes on where something waited for an actor's list.
func (t *txn) release(actor string) error {
	ids, err := t.awaiting(func(u unvouched) bool { return u.Actor == actor })
	for _, id := range ids {
		if err := t.settle(id); err != nil {
			return err
		}
	}
	return err
}

// awaiting lists the conversations that have such an unvouched device.
func (t *txn) awaiting(is func(unvouched) bool) (ids []string, err error) {
	err = t.Each(bucketConversation, func(id string, value []byte) error {
		var row conversationRow
		if err := json.Unmarshal(value, &row); err != nil {
			return fmt.Errorf("device: decoding conversation %s: %w", id, err)
		}
		if row.State == StateActive && slices.ContainsFunc(row.Unvouched, is) {
			ids = append(ids, id)
		}
		return nil
	})
	return ids, err
}

// judgeUnvouched is for what such a device writes. It is shown once the list has the device.
func (t *txn) judgeUnvouched(c *conversation, sender leaf, since uint64) (verdict, error) {
	i := slices.IndexFunc(c.Unvouched, func(u unvouched) bool { return u.Actor == sender.actor && u.Device == keydir.DeviceID(sender.key) })
	if i < 0 {
		return verdict{status: accepted}, nil
	}
	b, err := t.bindLeaf(sender, since)
	switch {
	case err != nil:
		return verdict{}, err
	case b == unproven:
		return verdict{status: waiting, lookups: []string{sender.actor}}, nil
	case b == unbound:
		return refuse(CodeNotInLog, "C1: device %s is not in the device list of %s", keydir.DeviceID(sender.key), sender.actor), nil
	}
	c.Unvouched = slices.Delete(slices.Clone(c.Unvouched), i, i+1)
	return verdict{status: accepted}, nil
}

const (
	typeLook = "waxwing:Look" // asks the admins' clients to look an actor up

	maxLooks = 16 // that are asked for, or heeded, for one actor of a conversation in a gossipDay
)

// askToLook tells the admins that somebody's list is not what they may think it is.
func (t *txn) askToLook(c *conversation, actor string) error {
	if ok, err := t.count("asks to look "+c.id+" "+actor, maxLooks); err != nil || !ok {
		return err
	}
	return t.queueShow(c, step{Tell: &shown{Type: typeLook, Asks: actor}})
}

// lookShown looks up whom a member says to. It is their word only: what the log then shows decides.
func (t *txn) lookShown(c *conversation, from string, s *shown) (verdict, error) {
	account, err := t.account()
	if err != nil {
		return verdict{}, err
	}
	r, err := c.room()
	if err != nil {
		return verdict{}, err
	}
	if !c.has(s.Asks) || !r.admin(account.Actor) && s.Asks != account.Actor {
		return verdict{status: accepted}, nil
	}
	if ok, err := t.count("looks "+c.id+" "+from+" "+s.Asks, maxLooks); err != nil || !ok {
		return verdict{status: accepted}, err
	}
	return verdict{status: accepted}, t.lookAt(s.Asks)
}
