package device

import (
	"encoding/hex"
	"fmt"

	"github.com/waxwing-dm/waxwing/internal/receipt"
)

// Failed reports that a job was refused in a way that another try will not change. The person is told, and what waited for the job goes on
// without it or ends.
func (d *Device) Failed(job, code, detail string) error {
	return d.update(func(t *txn) error {
		j, ok, err := takeJob[Job](t, job)
		if err != nil || !ok {
			return err
		}
		switch j := j.(type) {
		case *OpenJob:
			return t.openFailed(hex.EncodeToString(j.GroupID), code, detail)
		case *LookupJob:
			return t.lookupFailed(j)
		case *ClaimJob:
			return t.stepFailed(j.Conversation, code, detail)
		case *CommitJob:
			return t.commitFailed(j, code, detail)
		case *SendJob:
			return t.sendFailed(j, code, detail)
		case *UploadJob:
			return t.uploadFailed(j, code, detail)
		case *KeyPackagesJob:
			return t.packagesRefused(j, code, detail)
		case *EventsJob:
			return t.eventsFailed(j.ConversationID, detail)
		case *LeaseJob:
			return t.goWithoutLease(j)
		case *DisputeJob:
			return t.disputeFailed(j, code)
		case *GroupInfoJob:
			return t.resyncFailed(j.ConversationID, detail)
		case *TermJob, *HubKeysJob, *ConsentJob:
			return nil // it is asked again, or another one is; what the person has decided holds here all the same
		case *ProofJob:
			return t.doubt(j.Instance, j.Claim)
		}
		return fmt.Errorf("device: job %s is of no kind", job)
	})
}

const codeNotMember = "not_member" // the hub's word that a signature is by none of the tickets

// disputeFailed asks what the hub has instead. If the commit was not made in our epoch (P2) it is of a branch on which somebody else is: nobody here was
// to follow it (R5), and nothing is opened again.
func (t *txn) disputeFailed(j *DisputeJob, code string) error {
	c, err := t.mustOpen(j.ConversationID)
	if err != nil {
		return err
	}
	if d, err := receipt.ParseDispute(j.Dispute); err == nil && code == codeNotMember && c.Disputed == d.Seq {
		if err := t.goOn(c); err != nil {
			return err
		}
	}
	if err := t.fetch(c); err != nil {
		return err
	}
	return t.finish(c)
}

// openFailed ends a conversation that the hub does not want.
func (t *txn) openFailed(id, code, detail string) error {
	c, err := t.mustOpen(id)
	if err != nil {
		return err
	}
	c.State, c.Reason = StateLeft, code
	if err := t.emit(Event{Type: EventConversationUpdated, Conversation: id, Code: code, Detail: detail}); err != nil {
		return err
	}
	return t.finish(c)
}

// lookupFailed counts as a lookup that proved nothing: what waits for it is refused.
func (t *txn) lookupFailed(j *LookupJob) error {
	for _, actor := range j.Actors {
		if err := t.unproven(actor); err != nil {
			return err
		}
	}
	if j.For == "" {
		return nil
	}
	return t.settle(j.For)
}

// stepFailed ends the intent at the head of a queue.
func (t *txn) stepFailed(id, code, detail string) error {
	c, err := t.mustOpen(id)
	if err != nil {
		return err
	}
	s, err := t.popFirst(id)
	if err != nil {
		return err
	}
	if err := t.intentFailed(c, s.Actors, code, detail); err != nil {
		return err
	}
	return t.finish(c)
}

// resyncFailed tries to come back later.
func (t *txn) resyncFailed(id, detail string) error {
	c, err := t.astray(id)
	if err != nil || c == nil {
		return err
	}
	if err := t.dropComeback(id); err != nil {
		return err
	}
	return t.resyncLater(c, detail)
}

func (t *txn) commitFailed(j *CommitJob, code, detail string) error {
	if c, err := t.astray(j.ConversationID); err != nil || c != nil {
		return orElse(err, t.resyncFailed(j.ConversationID, detail))
	}
	c, err := t.mustOpen(j.ConversationID)
	if err != nil {
		return err
	}
	c.group.DropPending()
	s, err := t.popFirst(c.id)
	if err != nil {
		return err
	}
	if s.Kind == stepPart {
		c.Leaving = nil // else it would be tried at once, and for ever
	}
	if err := t.intentFailed(c, s.Actors, code, detail); err != nil {
		return err
	}
	if err := t.fetch(c); err != nil {
		return err
	}
	return t.finish(c)
}

// eventsFailed goes on without the hub's answer. The person is told if something waits for it.
func (t *txn) eventsFailed(id, detail string) error {
	if c, err := t.astray(id); err != nil || c != nil {
		return orElse(err, t.resyncFailed(id, detail))
	}
	c, err := t.mustOpen(id)
	if err != nil {
		return err
	}
	items, err := t.parked(id)
	if err != nil {
		return err
	}
	if len(items) > 0 {
		if err := t.emit(Event{Type: EventMessageWaiting, Conversation: id, Code: CodeWaitingKey, Detail: detail}); err != nil {
			return err
		}
	}
	return t.finish(c)
}
