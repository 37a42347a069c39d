package device

import (
	"fmt"
	"slices"
	"time"
)

// Messages need no hub, and the changes that a person asked for before them do. A message waits for those changes, since who was just added
// expects to read it; but not for longer than hubPatience if it is the hub that keeps them. It waits as long as it takes for whoever has to go:
// a message that comes late is better than one in the wrong hands.

// holds tells whether a step keeps the messages behind it waiting. patient says that the hub may still do it soon.
func (s step) holds(patient bool) bool {
	switch s.Kind {
	case stepRole, stepHubs, stepRenew, stepShow:
		return false // none of them changes who reads
	case stepSend:
		return s.Again == nil
	case stepAdd, stepPart:
		return patient
	}
	return true
}

// patient tells whether the hub has been away, or undecided, for so short a time that it is worth waiting for.
func (c *conversation) patient(now time.Time) bool {
	away := !c.AwaySince.IsZero() && now.Sub(c.AwaySince) >= hubPatience
	undecided := c.Disputed != 0 && now.Sub(c.DisputedSince) >= hubPatience
	return !away && !undecided
}

// pass sends the messages that no step before them holds.
func (t *txn) pass(c *conversation) error {
	if len(c.Members) < 2 {
		return nil
	}
	keys, steps, err := t.queueOf(c.id)
	if err != nil {
		return err
	}
	if held, err := t.heldFor(&c.conversationRow, c.Members); err != nil || len(held) > 0 {
		return err
	}
	patient := c.patient(t.now)
	for i, s := range steps {
		if i == 0 || s.Kind != stepSend {
			if s.holds(patient) {
				return nil
			}
			continue
		}
		if err := t.tellPassed(c, keys[:i], steps[:i]); err != nil {
			return err
		}
		done, err := t.workSend(c, &s)
		switch {
		case err == nil && !done && !s.holds(patient):
			continue
		case err != nil || !done:
			return err
		}
		if err := t.Delete(stepBucket(c.id), keys[i]); err != nil {
			return fmt.Errorf("device: removing a step of %s: %w", c.id, err)
		}
	}
	return nil
}

// letPass puts a message that waits for others to be gone again behind all that need not wait for it.
func (t *txn) letPass(id string, s step) (passed bool, err error) {
	_, steps, err := t.queueOf(id)
	if err != nil || !slices.ContainsFunc(steps, func(s step) bool { return s.Again == nil }) {
		return false, err
	}
	return true, t.queue(id, s)
}

// tellPassed tells the person, once for each, who does not read what they write now.
func (t *txn) tellPassed(c *conversation, keys []string, steps []step) error {
	for i := range steps {
		s := &steps[i]
		if s.Kind != stepAdd || s.Passed {
			continue
		}
		s.Passed = true
		if err := t.putRow(stepBucket(c.id), keys[i], s); err != nil {
			return err
		}
		for _, actor := range s.Actors {
			if err := t.emit(Event{
				Type: EventContactWaiting, Conversation: c.id, Actor: actor, Code: CodeHubAway,
				Detail: "they cannot be added before " + hostOf(c.presentHub().Hub) + " answers; what is written until then goes to those who are members",
			}); err != nil {
				return err
			}
		}
	}
	return nil
}

// keptByHub says in one sentence that messages wait for a removal that the hub keeps; "" if none do.
func (t *txn) keptByHub(id string, row conversationRow) (string, error) {
	c := conversation{conversationRow: row}
	steps, err := t.steps(id)
	if err != nil || c.patient(t.now) {
		return "", err
	}
	kept := false
	for _, s := range steps {
		if kept && s.Kind == stepSend {
			return CodeHubAway + ": what you write waits until who is to be removed is out, and " + hostOf(c.presentHub().Hub) + " does not answer", nil
		}
		kept = kept || s.Kind == stepRemove || s.Kind == stepPrune
	}
	return "", nil
}
