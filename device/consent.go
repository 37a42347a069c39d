package device

import (
	"encoding/json"
	"fmt"
	"time"
)

// A stranger is who this person has neither written to nor accepted. What a stranger's Welcome leads to is a request: it is kept as it came, and
// until the person has accepted, nothing is asked for and nothing is sent on its account (spec/conversation.md, Requests).

const (
	bucketConsent = "consent" // by actor
	bucketRequest = "request" // by id of the conversation

	maxRequests       = 100
	maxRequestsOf     = 20        // of one instance
	maxRequestWelcome = 128 << 10 // bytes
	requestFor        = 30 * 24 * time.Hour
)

// Consent is what a person asks of strangers who write to them.
type Consent string

// The values of Consent.
const (
	FromEverybody Consent = "everybody" // nothing: who adds them to a conversation has them in it
	FromRequests  Consent = "requests"  // that they wait until they are accepted
	FromNobody    Consent = "nobody"    // that they do not write
)

// consentRow is what the person has decided about somebody.
type consentRow struct {
	Accepted bool      `json:"accepted,omitempty"`
	Blocked  bool      `json:"blocked,omitempty"`
	At       time.Time `json:"at"`
}

// Consent tells what this device's person asks of strangers.
func (d *Device) Consent() (c Consent, err error) {
	err = d.view(func(t *txn) error {
		c, err = t.consent()
		return err
	})
	return c, err
}

func (t *txn) consent() (c Consent, err error) {
	c = FromRequests
	_, err = t.row(bucketDevice, keyConsent, &c)
	return c, err
}

// SetConsent sets what is asked of strangers from now on. Requests that wait go on waiting, and what there is goes on: those who let everybody
// in have not accepted anybody, so the sidecar is told which conversations are to stay open.
func (d *Device) SetConsent(c Consent) error {
	if c != FromEverybody && c != FromRequests && c != FromNobody {
		return fmt.Errorf("device: asking %.20q of strangers: %w", c, ErrContent)
	}
	return d.update(func(t *txn) error {
		before, err := t.consent()
		if err != nil {
			return err
		}
		if before == FromEverybody && c != FromEverybody {
			if err := t.keepOpen(); err != nil {
				return err
			}
		}
		if err := t.putRow(bucketDevice, keyConsent, c); err != nil {
			return err
		}
		if err := t.dropJobs(func(j Job) bool { x, ok := j.(*ConsentJob); return ok && x.Policy != "" }); err != nil {
			return err
		}
		return t.addJob(&ConsentJob{Policy: c})
	})
}

// keepOpen accepts what is said in the conversations that we are in.
func (t *txn) keepOpen() error {
	ids, err := t.active()
	if err != nil {
		return err
	}
	for _, id := range ids {
		var row conversationRow
		if _, err := t.row(bucketConversation, id, &row); err != nil {
			return err
		}
		if err := t.addJob(&ConsentJob{Conversation: row.URL, Decision: decideAccept}); err != nil {
			return err
		}
	}
	return nil
}

// decided reads what was decided about somebody.
func (t *txn) decided(actor string) (row consentRow, err error) {
	_, err = t.row(bucketConsent, actor, &row)
	return row, err
}

// welcomed says what becomes of what somebody sends who asks us into a conversation.
func (t *txn) welcomed(actor string, account Account) (status, error) {
	row, err := t.decided(actor)
	if err != nil {
		return refused, err
	}
	policy, err := t.consent()
	switch {
	case err != nil:
		return refused, err
	case row.Blocked:
		return ignored, nil
	case row.Accepted || actor == account.Actor || policy == FromEverybody:
		return accepted, nil
	case policy == FromNobody:
		return ignored, nil
	}
	return asking, nil
}

func (t *txn) isBlocked(actor string) (bool, error) {
	row, err := t.decided(actor)
	return row.Blocked, err
}

// acceptAll takes down that the person writes to these: that is consent.
func (t *txn) acceptAll(actors []string) error {
	for _, actor := range actors {
		row, err := t.decided(actor)
		switch {
		case err != nil:
			return err
		case row.Blocked:
			return fmt.Errorf("device: writing to %s: %w", actor, ErrBlocked)
		case row.Accepted:
			continue
		}
		if err := t.putRow(bucketConsent, actor, consentRow{Accepted: true, At: t.now}); err != nil {
			return err
		}
	}
	return nil
}

// requireUnblocked is an error if all of somebody's readers are blocked.
func (t *txn) requireUnblocked(actors []string) error {
	for _, actor := range actors {
		if blocked, err := t.isBlocked(actor); err != nil || !blocked {
			return err
		}
	}
	if len(actors) == 0 {
		return nil
	}
	return fmt.Errorf("device: writing to %s: %w", actors[0], ErrBlocked)
}

// Block shows nothing more of what somebody writes, and lets them ask for nothing. They are not told.
func (d *Device) Block(actor string) error {
	if _, err := instanceOf(actor); err != nil {
		return err
	}
	return d.update(func(t *txn) error {
		account, err := t.account()
		if err != nil {
			return err
		}
		if actor == account.Actor {
			return fmt.Errorf("device: blocking oneself: %w", ErrActor)
		}
		row, err := t.decided(actor)
		if err != nil || row.Blocked {
			return err
		}
		all, err := t.requestsOf(actor)
		if err != nil {
			return err
		}
		for _, r := range all {
			if err := t.forgetRequest(r.id); err != nil {
				return err
			}
		}
		row.Blocked, row.At = true, t.now
		return t.decide(actor, row, decideBlock)
	})
}

// Unblock undoes Block. Who was accepted before is so again.
func (d *Device) Unblock(actor string) error {
	return d.update(func(t *txn) error {
		row, err := t.decided(actor)
		if err != nil || !row.Blocked {
			return err
		}
		row.Blocked, row.At = false, t.now
		return t.decide(actor, row, decideUnblock)
	})
}

func (t *txn) decide(actor string, row consentRow, decision string) error {
	if err := t.putRow(bucketConsent, actor, row); err != nil {
		return err
	}
	return t.addJob(&ConsentJob{Actor: actor, Decision: decision})
}

// Blocked lists the actors that are blocked, in the order in which they were first decided about.
func (d *Device) Blocked() (actors []string, err error) {
	err = d.view(func(t *txn) error {
		actors = nil
		return t.Each(bucketConsent, func(actor string, value []byte) error {
			var row consentRow
			if err := json.Unmarshal(value, &row); err != nil {
				return fmt.Errorf("device: decoding what was decided about %s: %w", actor, err)
			}
			if row.Blocked {
				actors = append(actors, actor)
			}
			return nil
		})
	})
	return actors, err
}

// Decided reports that the sidecar has taken a decision.
func (d *Device) Decided(job string) error {
	return d.update(func(t *txn) error {
		_, _, err := takeJob[*ConsentJob](t, job)
		return err
	})
}
