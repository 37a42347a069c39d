package device

import (
	"crypto/ed25519"
	"fmt"
	"slices"
	"time"

	"github.com/waxwing-dm/waxwing/internal/receipt"
)

// A planned move (receipt.md, hand-over): an admin's commit names the next hub, the old one's receipt for it is a move and the end of its term,
// and any member has the new hub open the next, by a claim that nobody has to sign. Whoever made the commit does that at once, the others if
// they hear nothing of it.

// MoveHub queues the move of a conversation to another hub: the instance of a member, with the key of its receipts.
func (d *Device) MoveHub(id, instance string, key []byte) error {
	return d.update(func(t *txn) error {
		account, err := t.speaker()
		if err != nil {
			return err
		}
		c, err := t.mayIntend(id, account, "C5")
		if err != nil {
			return err
		}
		rm, err := c.room()
		if err != nil {
			return err
		}
		if rm.version < formatVersion {
			return failed("C5", "a room of version %d keeps its hub", rm.version)
		}
		if len(key) != ed25519.PublicKeySize || !slices.Contains(c.instances(account.Actor), instance) || !isHub(instance) {
			return failed("C5", "the next hub has to be the instance of a member")
		}
		next := receipt.NextHub{Hub: instance, Key: [32]byte(key)}
		if lied, err := t.liar(next); err != nil || lied {
			return orElse(err, failed("E3", "that hub has signed two different orders"))
		}
		return t.intend(c, step{Kind: stepMove, Hubs: []receipt.NextHub{next}})
	})
}

// workMove commits the next hub.
func (t *txn) workMove(c *conversation, s *step) (done bool, err error) {
	after, err := c.room()
	if err != nil {
		return false, err
	}
	next := s.Hubs[0]
	if next == c.presentHub() {
		return true, nil
	}
	after.hub, after.hubKey = next.Hub, next.Key
	after.fallbacks = slices.DeleteFunc(slices.Clone(after.fallbacks), func(h receipt.NextHub) bool { return h.Hub == next.Hub })
	if done, err = t.proposeRoom(c, s, after); err != nil {
		return false, fmt.Errorf("device: moving %s: %w", c.id, err)
	}
	return done, nil
}

// moves is the hub that a commit moves the conversation to, if it does: one that does not have the term already.
func (ch change) moves() (next receipt.NextHub, ok bool) {
	before := receipt.NextHub{Hub: ch.before.hub, Key: ch.before.hubKey}
	next = receipt.NextHub{Hub: ch.after.hub, Key: ch.after.hubKey}
	return next, next != before && next != ch.hub
}

// checkKind is R7.
func (ch change) checkKind(r receipt.Receipt) error {
	if _, moves := ch.moves(); moves != (r.Kind == receipt.KindMove) {
		return failed("R7", "the receipt is of kind %d, and the commit names the hub %.255q", r.Kind, ch.after.hub)
	}
	return nil
}

// checkOurKind is R7 for our pending commit.
func (c *conversation) checkOurKind(r receipt.Receipt) error {
	next := c.group.Clone()
	if err := next.ConfirmPending(); err != nil {
		return fmt.Errorf("device: looking at our commit in %s: %w", c.id, err)
	}
	ch, err := change{hub: c.presentHub()}, error(nil)
	if ch.before, err = c.room(); err == nil {
		ch.after, err = roomOf(next.Extensions())
	}
	if err != nil {
		return err
	}
	return ch.checkKind(r)
}

// afterMove has the next term opened, after a commit that moved the conversation.
func (t *txn) afterMove(c *conversation, raw, commit []byte, ours bool) error {
	if !c.Moved || c.State != StateActive {
		return nil
	}
	c.TakeOverAt = t.now.Add(openMovedAfter)
	if !ours {
		return nil
	}
	return t.openMoved(c, HubEvent{Receipt: raw, Commit: commit})
}

// openMoved asks the room's hub to open its term.
func (t *txn) openMoved(c *conversation, last ...HubEvent) error {
	c.TakeOverAt = t.now.Add(takeOverAgain)
	if err := t.dropJobsOf(c.id, kindTerm); err != nil {
		return err
	}
	rm, err := c.room()
	if err != nil {
		return err
	}
	ticket, err := ticketKey(c.group)
	if err != nil {
		return err
	}
	claim := receipt.SignedClaim{Claim: receipt.Claim{
		GroupID: c.group.GroupID(), Term: afterMoveTerm(c.term()), Seq: c.Seq, Head: c.Head, Epoch: c.group.Epoch(),
		Ticket: [32]byte(ticket.Public().(ed25519.PublicKey)), Next: rm.hubs()[0], Time: millis(t.now),
	}}
	claim.SignMember(ticket)
	return t.addJob(&TermJob{ConversationID: c.id, Conversation: c.URL, Claim: claim.Marshal(), After: last})
}

// afterMoveTerm is the term that a move leads to, of which there are no other claims.
func afterMoveTerm(term uint64) uint64 { return byAdmins.termAfter(term, 0, 1) }

// isPlanned tells whether a claim is for the hub that the newest receipt, a move, is about: nobody has to sign it.
func (c *conversation) isPlanned(rm room, claim receipt.SignedClaim) bool {
	return c.Moved && claim.Next == rm.hubs()[0]
}

// deadSinceMove tells whether the hub that the conversation was moved to has not opened its term for so long that another is chosen.
func (c *conversation) deadSinceMove(now time.Time) bool {
	return !c.AwaySince.IsZero() && !now.Before(c.AwaySince.Add(hubGivenUp))
}

// movedBy is the sentence about a new hub.
func movedBy(claim receipt.SignedClaim, planned bool) string {
	why := "the instance that kept it was away too long"
	switch {
	case planned:
		why = "an admin has moved it"
	case groundOf(claim) == byMembers:
		why += ", and most of the members have agreed on this one"
	}
	return "the order of changes is now kept by " + hostOf(claim.Next.Hub) + ": " + why
}
