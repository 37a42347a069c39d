package device

import (
	"bytes"
	"fmt"

	"github.com/waxwing-dm/waxwing/internal/receipt"
)

// HubMoved reports that a hub refused a job because the conversation has gone on elsewhere (S9), with the receipt that it believes. If that
// holds it is followed, and what was asked for is asked for there. A claim that is wrong is told back to the hub, which cannot judge it, with
// the next try.
func (d *Device) HubMoved(job string, e HubEvent) error {
	return d.update(func(t *txn) error {
		j, row, err := t.job(job)
		if err != nil || j == nil {
			return err
		}
		id := hubJobOf(j)
		if id == "" {
			return fmt.Errorf("device: job %s asks no hub", job)
		}
		if c, err := t.astray(id); err != nil || c != nil {
			if err != nil {
				return err
			}
			return t.movedAstray(c, j, row, e)
		}
		c, err := t.mustOpen(id)
		if err != nil {
			return err
		}
		term := c.term()
		if err := t.follow(c, []HubEvent{e}); err != nil {
			return err
		}
		if c.term() == term && c.Resync == nil {
			if err := t.stays(c, j, row, e); err != nil {
				return err
			}
		}
		return t.finish(c)
	})
}

// hubJobOf is the conversation of a job that asks a hub; "" for others.
func hubJobOf(j Job) string {
	switch j := j.(type) {
	case *CommitJob:
		return j.ConversationID
	case *LeaseJob:
		return j.ConversationID
	case *DisputeJob:
		return j.ConversationID
	case *EventsJob:
		return j.ConversationID
	case *GroupInfoJob:
		return j.ConversationID
	case *TermJob:
		return j.ConversationID
	}
	return ""
}

// stays goes on at a hub that takes itself for moved: what it shows was not followed. Either it is wrong, or something before it is missing.
func (t *txn) stays(c *conversation, j Job, row jobRow, e HubEvent) error {
	commit, ok := j.(*CommitJob)
	if hash := receipt.BodyHash(e.Commit); ok && bytes.Equal(c.Despite, hash[:]) && !bytes.Equal(commit.Despite, hash[:]) {
		commit.Despite = c.Despite
		return t.putJob(commit, row)
	}
	if err := t.dropJob(j.ID()); err != nil {
		return err
	}
	switch j.(type) {
	case *CommitJob:
		if err := t.raceLost(c); err != nil {
			return err
		}
	case *LeaseJob: // a lease cannot be had despite a claim; the commit can
		if err := t.changeFirst(c.id, func(s *step) { s.HasLease, s.LeaseKey = true, nil }); err != nil {
			return err
		}
	case *EventsJob, *TermJob:
		return nil // it is asked again, or another one is
	}
	if len(c.Despite) > 0 {
		return nil
	}
	return t.fetch(c)
}

// movedAstray is HubMoved for a device on its way back.
func (t *txn) movedAstray(c *conversation, j Job, row jobRow, e HubEvent) error {
	term := c.term()
	if _, err := t.followBlind(c, e); err != nil {
		return err
	}
	hash := receipt.BodyHash(e.Commit)
	if commit, ok := j.(*CommitJob); ok && c.term() == term && !bytes.Equal(commit.Despite, hash[:]) && !t.ahead(c, e) {
		c.Despite, commit.Despite = hash[:], hash[:]
		if err := t.putJob(commit, row); err != nil {
			return err
		}
		return t.putRowOf(c)
	}
	if err := t.dropJob(j.ID()); err != nil {
		return err
	}
	if err := t.dropComeback(c.id); err != nil {
		return err
	}
	return t.resyncLater(c, "")
}

// ahead tells whether a claim goes on from a receipt that we do not have yet, so that it cannot be judged.
func (t *txn) ahead(c *conversation, e HubEvent) bool {
	_, claim, err := receipt.CheckTerm(e.Receipt, e.Commit, c.groupID())
	return err == nil && claim.Seq > c.Seq
}
