package device

import (
	"errors"
	"fmt"
	"slices"

	"github.com/waxwing-dm/waxwing/mls"
)

// Nobody can commit their own leaving (RFC 9420 section 12.2). Who leaves proposes it, in each epoch anew until somebody else has done it; who
// lets them go is in part.go.

// Leave queues this person's leaving, after what they asked for before. Nothing is sent any more from now on. If nobody else would be an
// admin the leaving is refused with ErrLastAdmin, unless heir is named: that member is made one first.
func (d *Device) Leave(id, heir string) error {
	return d.update(func(t *txn) error {
		account, err := t.speaker()
		if err != nil {
			return err
		}
		c, err := t.mustOpen(id)
		if err != nil {
			return err
		}
		if c.State == StateLeft {
			return ErrLeft
		}
		if leaving, err := t.isLeaving(id); err != nil || leaving {
			return err
		}
		if err := t.appoint(c, account, heir); err != nil {
			return err
		}
		return t.intend(c, step{Kind: stepLeave})
	})
}

// appoint sees to it that an admin remains.
func (t *txn) appoint(c *conversation, account Account, heir string) error {
	if c.Plain != nil {
		return nil // there are no admins
	}
	r, err := c.room()
	switch {
	case err != nil:
		return err
	case heir == "" && c.lastAdmin(r, account.Actor):
		return ErrLastAdmin
	case heir == "" || r.admin(heir):
		return nil
	case heir == account.Actor:
		return fmt.Errorf("device: leaving: %s is to be an admin and to leave: %w", heir, ErrActor)
	case !c.has(heir):
		return fmt.Errorf("device: leaving: making %s an admin: %w", heir, ErrNotMember)
	case !r.admin(account.Actor):
		return failed("C5", "only an admin makes somebody an admin")
	}
	s := step{Kind: stepRole, Actors: []string{heir}, Admin: true}
	if s.Since, err = t.lookups(); err != nil {
		return err
	}
	return t.queue(c.id, s)
}

// lastAdmin tells whether others would remain without an admin.
func (c *conversation) lastAdmin(r room, self string) bool {
	others := c.others(self)
	return len(others) > 0 && !slices.ContainsFunc(others, r.admin)
}

// isLeaving tells whether a leaving is queued.
func (t *txn) isLeaving(id string) (found bool, err error) {
	steps, err := t.steps(id)
	return slices.ContainsFunc(steps, func(s step) bool { return s.Kind == stepLeave }), err
}

// workLeave proposes our leaving. It is over when somebody's commit has taken us out.
func (t *txn) workLeave(c *conversation, s *step) (done bool, err error) {
	account, err := t.account()
	if err != nil {
		return false, err
	}
	r, err := c.room()
	if err != nil {
		return false, err
	}
	siblings, removed := c.siblings(account)
	switch {
	case len(c.others(account.Actor)) == 0:
		return true, t.leaveAlone(c, account)
	case c.lastAdmin(r, account.Actor): // the other one left, or was not made one
		return true, t.intentFailed(c, []string{account.Actor}, CodeLastAdmin, "no admin would remain: make somebody else an admin first")
	case len(siblings) > 0:
		return t.proposeAndStay(c, s, siblings, removed)
	case s.Proposed == c.group.Epoch()+1:
		return false, nil
	}
	s.Proposed = c.group.Epoch() + 1
	return false, t.askToLeave(c, account, r)
}

// siblings are the other devices of the account: who leaves leaves with all of them.
func (c *conversation) siblings(account Account) (proposals []mls.Proposal, removed []leaf) {
	for _, m := range c.group.Members() {
		if l := leafOf(m); l.actor == account.Actor && m.Leaf != c.group.OwnLeaf() {
			proposals, removed = append(proposals, mls.RemoveProposal(m.Leaf)), append(removed, l)
		}
	}
	return proposals, removed
}

// proposeAndStay commits what comes before a leaving. Its step is not over with that commit, so a step of its own goes before it.
func (t *txn) proposeAndStay(c *conversation, s *step, proposals []mls.Proposal, removed []leaf) (done bool, err error) {
	done, err = t.propose(c, s, proposals, change{removed: removed})
	if err != nil || done {
		return done, err
	}
	return false, t.queue(c.id, step{Kind: stepLeave, Since: s.Since})
}

// askToLeave proposes it to everybody; or to the admins, who remove us, if a program among the members does not know self-removes.
func (t *txn) askToLeave(c *conversation, account Account, r room) error {
	to := c.others(account.Actor)
	message, err := c.group.Propose(t.rand, mls.SelfRemoveProposal(), mls.WirePublicMessage, fence{place: c.Places[0]}.marshal())
	var invalid *mls.InvalidError
	if errors.As(err, &invalid) {
		to = slices.DeleteFunc(to, func(actor string) bool { return !r.admin(actor) })
		next := c.group.Clone() // it does not keep what nobody may name
		message, err = next.Propose(t.rand, mls.RemoveProposal(c.group.OwnLeaf()), mls.WirePublicMessage, fence{place: c.Places[0]}.marshal())
	}
	if err != nil {
		return fmt.Errorf("device: leaving %s: %w", c.id, err)
	}
	return t.addJob(&SendJob{ConversationID: c.id, Conversation: c.URL, Message: message, To: to, Epoch: c.group.Epoch()})
}

// leaveAlone ends a conversation that has nobody else.
func (t *txn) leaveAlone(c *conversation, account Account) error {
	c.State, c.Reason = StateLeft, CodeLeft
	if err := t.dropAllButSends(c.id); err != nil {
		return err
	}
	return t.emit(Event{Type: EventConversationUpdated, Conversation: c.id, By: account.Actor, Code: CodeLeft})
}

// removedBy is who took a member out: the committer, or they themselves.
func (c *conversation) removedBy(actor, committer string) string {
	if slices.ContainsFunc(c.parted, func(l leaf) bool { return l.actor == actor }) {
		return actor
	}
	return committer
}
