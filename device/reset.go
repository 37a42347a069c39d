package device

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// A reset replaces somebody's keys by others that the old ones do not vouch for: a new phone after a loss, or somebody else. From then on
// they are a new contact, and nothing is encrypted to them before the person has said so.

const bucketChanged = "contact changed" // by actor: a reset that was not accepted yet

// KeysResetError names recipients whose keys were reset, and not accepted since.
type KeysResetError struct {
	Actors []string
}

func (e *KeysResetError) Error() string {
	return "device: the keys were reset, and not accepted since, of " + strings.Join(e.Actors, ", ")
}

// wasReset makes an actor a new contact.
func (t *txn) wasReset(actor string, c *contact) error {
	c.Resets++
	c.First = t.now
	account, err := t.account()
	if err != nil && !errors.Is(err, ErrNotEnrolled) {
		return err
	}
	if account.Actor != actor { // nobody asks for leave to write to oneself
		if err := t.Put(bucketChanged, actor, []byte{1}); err != nil {
			return fmt.Errorf("device: marking a contact: %w", err)
		}
	}
	return t.emit(Event{Type: EventContactReset, Actor: actor})
}

// changed lists the actors among these whose reset is not accepted.
func (t *txn) changed(actors []string) (changed []string, err error) {
	err = t.Each(bucketChanged, func(actor string, _ []byte) error {
		if slices.Contains(actors, actor) {
			changed = append(changed, actor)
		}
		return nil
	})
	slices.Sort(changed)
	return changed, err
}

// requireAccepted refuses to go on with actors whose reset is not accepted.
func (t *txn) requireAccepted(actors []string) error {
	changed, err := t.changed(actors)
	if err == nil && len(changed) > 0 {
		err = &KeysResetError{changed}
	}
	return err
}

// AcceptKeys says that the person takes an actor's keys for theirs, as of so many resets: if there was one more meanwhile, it is a
// KeysResetError. What waited for that goes on.
func (d *Device) AcceptKeys(actor string, resets int) error {
	return d.update(func(t *txn) error {
		changed, err := t.changed([]string{actor})
		if err != nil || len(changed) == 0 {
			return err
		}
		c, err := t.contact(actor)
		if err != nil {
			return err
		}
		if c.Resets != resets {
			return &KeysResetError{changed}
		}
		if err := t.Delete(bucketChanged, actor); err != nil {
			return fmt.Errorf("device: accepting the keys of %s: %w", actor, err)
		}
		ids, err := t.active()
		if err != nil {
			return err
		}
		for _, id := range ids {
			if err := t.settle(id); err != nil {
				return err
			}
		}
		return nil
	})
}

// active lists the conversations that can go on.
func (t *txn) active() (ids []string, err error) {
	err = t.Each(bucketConversation, func(id string, value []byte) error {
		var row conversationRow
		if err := json.Unmarshal(value, &row); err != nil {
			return fmt.Errorf("device: decoding conversation %s: %w", id, err)
		}
		if row.goesOn() {
			ids = append(ids, id)
		}
		return nil
	})
	return ids, err
}
