package device

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// Wake does what has become due with time alone. It returns when to call it again, the zero time if nothing is due later, and whether it
// has done anything.
func (d *Device) Wake() (next time.Time, did bool, err error) {
	if err := d.view(func(t *txn) error {
		due, err := t.due()
		next, did = due.next, len(due.now)+len(due.unreadable) > 0
		return err
	}); err != nil || !did {
		return next, false, err
	}
	err = d.update(func(t *txn) error {
		due, err := t.due()
		if err != nil {
			return err
		}
		for _, id := range due.now {
			if err := t.wake(id); err != nil {
				return err
			}
		}
		for _, id := range due.unreadable {
			if err := t.tellUnreadable(id); err != nil {
				return err
			}
		}
		return nil
	})
	return next, err == nil, err
}

// An agenda is what is due in which conversations.
type agenda struct {
	now        []string
	unreadable []string // of which the person may be told now what could not be read
	next       time.Time
	at         time.Time
}

// wake does what is due in one conversation.
func (t *txn) wake(id string) error {
	if c, err := t.astray(id); err != nil || c != nil {
		if err != nil {
			return err
		}
		return t.wakeAstray(c)
	}
	c, err := t.mustOpen(id)
	if errors.Is(err, ErrStateLost) {
		if c, err = t.rowOf(id); err == nil {
			err = t.stateLost(c)
		}
		return err
	}
	if err != nil {
		return err
	}
	if !c.AskAt.IsZero() && !c.AskAt.After(t.now) {
		c.AskAt = time.Time{}
		if c.Disputed != 0 {
			c.AskAt = t.now.Add(disputeAskAgain)
		}
		if err := t.fetch(c); err != nil {
			return err
		}
	}
	if !c.PassAt.After(t.now) {
		c.PassAt = time.Time{} // finish does it
	}
	if c.Plain != nil && !c.Plain.LookAt.After(t.now) {
		c.Plain.LookAt = time.Time{}
	}
	if !c.TakeOverAt.IsZero() && !c.TakeOverAt.After(t.now) {
		if err := t.takeOver(c); err != nil {
			return err
		}
	}
	if !c.CloseAt.IsZero() && !c.CloseAt.After(t.now) {
		if err := t.closeEpoch(c); err != nil {
			return err
		}
	}
	if at := c.renewAt(); !at.IsZero() && !at.After(t.now) {
		if err := t.renewKeys(c); err != nil {
			return err
		}
	}
	return t.finish(c)
}

func (a *agenda) add(id string, when time.Time) {
	switch {
	case when.IsZero():
	case !when.After(a.at):
		a.now = append(a.now, id)
	default:
		a.later(when)
	}
}

func (a *agenda) later(when time.Time) {
	if a.next.IsZero() || when.Before(a.next) {
		a.next = when
	}
}

func (t *txn) due() (agenda, error) {
	a := agenda{at: t.now}
	err := t.Each(bucketConversation, func(id string, value []byte) error {
		var row conversationRow
		if err := json.Unmarshal(value, &row); err != nil {
			return fmt.Errorf("device: decoding conversation %s: %w", id, err)
		}
		switch at := row.NoticeAt; {
		case at.IsZero():
		case at.After(t.now):
			a.later(at)
		case t.atEnd.IsZero():
			a.later(t.now.Add(noticeAgain))
		default:
			a.unreadable = append(a.unreadable, id)
		}
		if row.Resync != nil {
			a.add(id, row.PassAt)
			a.add(id, row.AskAt)
			a.add(id, row.TakeOverAt)
		} else if row.Plain != nil && row.goesOn() {
			a.add(id, row.PartAt)
			a.add(id, row.Plain.LookAt)
		} else if row.State == StateActive {
			a.add(id, row.PartAt)
			a.add(id, row.AskAt)
			a.add(id, row.PassAt)
			a.add(id, row.TakeOverAt)
			a.add(id, row.CloseAt)
			a.add(id, row.renewAt())
		}
		return nil
	})
	return a, err
}
