package device

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/waxwing-dm/waxwing/internal/receipt"
)

// A hub that is away stops the changes of members and nothing else. When it was away for a day, the admins' programs hand over to a fallback hub
// of the room, by a claim (receipt.md); everybody else asks the fallbacks whether that has happened.

// presentHub is who has the term.
func (c *conversationRow) presentHub() receipt.NextHub {
	hub := receipt.NextHub{Hub: c.Hub, Key: [32]byte(c.HubKey)}
	if hub.Hub == "" {
		hub.Hub = hubOf(c.URL)
	}
	return hub
}

func (c *conversationRow) setHub(h receipt.NextHub) {
	c.HubKey, c.Hub = bytes.Clone(h.Key[:]), h.Hub
	if h.Hub == hubOf(c.URL) {
		c.Hub = ""
	}
}

func (c *conversationRow) hubAnswered() {
	if c.Moved {
		return // the old hub is there, and has nothing more to say
	}
	c.AwaySince, c.PassAt, c.TakeOverAt, c.Tried = time.Time{}, time.Time{}, time.Time{}, 0
	c.Vote.Heard, c.MembersVote.Heard = nil, nil
}

// HubAway reports that a job could not be done because the conversation's hub cannot be asked. The job stays.
func (d *Device) HubAway(job string) error {
	return d.update(func(t *txn) error {
		j, _, err := t.job(job)
		if err != nil || j == nil {
			return err
		}
		var id, hub string
		switch j := j.(type) {
		case *EventsJob:
			id, hub = j.ConversationID, j.Hub
		case *CommitJob:
			id, hub = j.ConversationID, j.Hub
		case *LeaseJob:
			id, hub = j.ConversationID, j.Hub
		case *GroupInfoJob:
			id, hub = j.ConversationID, j.Hub
		case *TermJob:
			return t.newHubAway(j.ConversationID)
		default:
			return nil
		}
		c, err := t.rowOf(id) // its state may be damaged
		if err != nil || hub != c.Hub || !c.AwaySince.IsZero() {
			return err
		}
		c.AwaySince, c.PassAt, c.TakeOverAt = t.now, t.now.Add(hubPatience), t.now.Add(hubGivenUp)
		c.dueToSign()
		return t.putRowOf(c)
	})
}

// HubBack reports that a hub that was away may be there again: where that is not known yet, it is asked what was missed.
func (d *Device) HubBack(hub string) error {
	return d.update(func(t *txn) error {
		return t.askHubs(func(row conversationRow) bool { return !row.AwaySince.IsZero() && row.presentHub().Hub == hub })
	})
}

// newHubAway notes that the hub that the conversation was moved to does not open its term.
func (t *txn) newHubAway(id string) error {
	c, err := t.mustOpen(id)
	if err != nil || !c.Moved || !c.AwaySince.IsZero() {
		return err
	}
	c.AwaySince = t.now
	return t.save(c)
}

// takeOver asks the next fallback: an admin whose word is enough to open a term, everybody else whether there is one.
func (t *txn) takeOver(c *conversation) error {
	if c.Moved && !c.deadSinceMove(t.now) {
		return t.openMoved(c)
	}
	if c.AwaySince.IsZero() { // a move that was disputed
		c.TakeOverAt = time.Time{}
		return nil
	}
	c.TakeOverAt = t.now.Add(takeOverAgain)
	rm, err := c.room()
	if err != nil {
		return err
	}
	next, err := t.honest(c.nextHubs(rm))
	if err != nil || len(next) == 0 {
		return err
	}
	if err := t.signHeard(c, rm); err != nil {
		return err
	}
	if again := c.AwaySince.Add(hubGivenUp); t.now.Before(again) { // it was for another's claim alone
		c.TakeOverAt = again
		return nil
	}
	if err := t.dropJobsOf(c.id, TaskEvents, kindTerm); err != nil { // of the hub that does not answer
		return err
	}
	claim, enough, err := t.agree(c, rm, next)
	if err != nil {
		return err
	}
	if enough {
		err = t.addJob(&TermJob{ConversationID: c.id, Conversation: c.URL, Claim: claim.Marshal()})
	} else {
		err = t.askMirror(c)
	}
	c.Tried++
	return err
}

// nextHubs are the hubs that the term may go to: the fallbacks, and the one that the room still names as the present one if no admin has been there
// to change that.
func (c *conversation) nextHubs(rm room) []receipt.NextHub {
	hubs := rm.hubs()
	return slices.DeleteFunc(append(hubs[1:], hubs[0]), func(h receipt.NextHub) bool { return h == c.presentHub() })
}

// TermOpened reports the receipt by which a hub has opened the term of a claim.
func (d *Device) TermOpened(job string, raw []byte) error {
	return d.update(func(t *txn) error {
		j, ok, err := takeJob[*TermJob](t, job)
		if err != nil || !ok {
			return err
		}
		return t.termOf(j, raw, HubEvent{Receipt: raw, Commit: j.Claim})
	})
}

// TermConflict reports that the hub has a term already, or knows more of the old chain.
func (d *Device) TermConflict(job string, events []HubEvent) error {
	return d.update(func(t *txn) error {
		j, ok, err := takeJob[*TermJob](t, job)
		if err != nil || !ok {
			return err
		}
		return t.termOf(j, nil, events...)
	})
}

func (t *txn) termOf(j *TermJob, opened []byte, events ...HubEvent) error {
	c, err := t.mustOpen(j.ConversationID)
	if err != nil {
		return err
	}
	if err := t.follow(c, events); err != nil {
		return err
	}
	if opened != nil {
		if err := t.announce(c, j, opened); err != nil {
			return err
		}
		if err := t.beginTerm(c, opened); err != nil {
			return err
		}
	}
	return t.finish(c)
}

// beginTerm makes the first commit of a term that we have opened: before one the new hub has no group info for who was overtaken, and so no way
// back.
func (t *txn) beginTerm(c *conversation, opened []byte) error {
	if c.State != StateActive || c.Head != receipt.Head(opened) {
		return nil
	}
	return t.renewKeys(c)
}

// newTerm is R6: it goes on with the hub of a claim that holds. One that does not is passed over; what is behind us of the old chain comes first.
func (t *txn) newTerm(c *conversation, e HubEvent) error {
	chain, claim, err := receipt.CheckTerm(e.Receipt, e.Commit, c.group.GroupID())
	if err != nil || c.State == StateLeft || chain.Term <= c.term() || claim.Seq > c.Seq {
		return nil
	}
	if claim.Seq < c.Seq {
		return t.overtaken(c, e, claim)
	}
	if err := t.checkClaim(c, claim); err != nil {
		return t.wrongClaim(c, e, err)
	}
	if err := t.dropOldTerm(c); err != nil {
		return err
	}
	return t.goOnUnder(c, e, claim)
}

// overtaken is for a claim by which the others have gone on from an earlier place than ours.
func (t *txn) overtaken(c *conversation, e HubEvent, claim receipt.SignedClaim) error {
	if asked, err := t.lookBack(c, claim); err != nil || asked {
		return err
	}
	ok, err := t.otherTerm(c, e)
	if err == nil && !ok {
		err = t.wrongClaim(c, e, errors.New("it goes on from an earlier place than ours, and not rightly"))
	}
	if err != nil || !ok {
		return err
	}
	if err := t.loseThread(c, CodeOtherBranch, "the others went on under another hub from an earlier point than this device"); err != nil {
		return err
	}
	c.Resync.Common = &claim.Epoch
	return nil
}

// dropOldTerm ends what was asked of the hub that we had.
func (t *txn) dropOldTerm(c *conversation) error {
	if c.group.Pending() != nil {
		if err := t.raceLost(c); err != nil {
			return err
		}
	}
	return t.dropJobsOf(c.id, TaskEvents, kindLease, kindDispute, kindTerm)
}

// goOnUnder takes the hub of a claim that holds.
func (t *txn) goOnUnder(c *conversation, e HubEvent, claim receipt.SignedClaim) error {
	r, err := receipt.Parse(e.Receipt)
	if err != nil {
		return err
	}
	rm, err := c.room()
	if err != nil {
		return err
	}
	before, planned := c.term(), c.isPlanned(rm, claim)
	if err := t.step(c, r, e.Receipt); err != nil {
		return err
	}
	c.Term, c.Disputed, c.AskAt, c.Despite = r.Term, 0, time.Time{}, nil
	if c.State == StateActive {
		c.Reason = ""
	}
	if err := t.putRow(termBucket(c.id), fmt.Sprint(before), c.presentHub()); err != nil {
		return err
	}
	c.setHub(claim.Next)
	c.hubAnswered()
	if err := t.fetch(c); err != nil {
		return err
	}
	return t.emit(c.hubMoved(claim, planned))
}

func (c *conversation) hubMoved(claim receipt.SignedClaim, planned bool) Event {
	return Event{Type: EventConversationUpdated, Conversation: c.id, Code: CodeHubMoved, Detail: movedBy(claim, planned)}
}

// wrongClaim tells the person once, and the hub with each commit from now on (S9).
func (t *txn) wrongClaim(c *conversation, e HubEvent, why error) error {
	hash := receipt.BodyHash(e.Commit)
	if bytes.Equal(c.Despite, hash[:]) {
		return nil
	}
	c.Despite = hash[:]
	return t.emit(Event{Type: EventMessageRefused, Conversation: c.id, Code: CodeForkDetected, Detail: "another hub was claimed: " + why.Error()})
}

// checkClaim is H2 to H4.
func (t *txn) checkClaim(c *conversation, claim receipt.SignedClaim) error {
	rm, err := c.room()
	if err != nil {
		return err
	}
	if !slices.Contains(rm.hubs(), claim.Next) {
		return failed("H2", "%.255q is no hub of the room", claim.Next.Hub)
	}
	at, ok, err := t.Get(bucketReceipt, receiptKey(c.id, claim.Seq))
	if err != nil {
		return err
	}
	ticket, err := ticketOf(c.group)
	if err != nil {
		return err
	}
	if !ok || receipt.Head(at) != claim.Head || claim.Epoch != c.group.Epoch() || !bytes.Equal(ticket, claim.Ticket[:]) || !claim.VerifyMember() {
		return failed("H4", "the claim goes on from another place than ours")
	}
	if c.isPlanned(rm, claim) {
		return nil
	}
	return checkSigners(rm, c.Members, claim)
}

// checkSigners is H3. Who signs an actor's claim is a device of theirs in the group.
func checkSigners(rm room, members []Member, claim receipt.SignedClaim) error {
	voters, signed, g := 0, 0, groundOf(claim)
	for _, m := range members {
		if g.counts(rm, members, m.Actor) {
			voters++
		}
	}
	for _, s := range claim.Signatures {
		if !hasDevice(members, s.Actor, s.Key[:]) || !claim.Verify(s) {
			return failed("H3", "a signature is not of a member's device")
		}
		if g.counts(rm, members, s.Actor) {
			signed++
		}
	}
	if 2*signed <= voters && (len(members) != 2 || signed == 0) {
		return failed("H3", "%d of %d whose word counts have signed", signed, voters)
	}
	return nil
}

// NameHubs has an admin's program see to it that the room names its present hub and others for when that is away: the instances of its members.
func (d *Device) NameHubs(id string) error {
	return d.update(func(t *txn) error {
		account, err := t.speaker()
		if err != nil {
			return err
		}
		c, err := t.mustOpen(id)
		if err != nil || c.Plain != nil {
			return err
		}
		rm, err := c.room()
		if err != nil || c.State != StateActive || rm.version < formatVersion || !rm.admin(account.Actor) {
			return err
		}
		wanted, err := t.honestOrigins(c.wantedHubs())
		if err != nil {
			return err
		}
		var named []string
		for _, h := range rm.fallbacks {
			named = append(named, h.Hub)
		}
		if slices.Equal(wanted, named) && (receipt.NextHub{Hub: rm.hub, Key: rm.hubKey}) == c.presentHub() {
			return nil
		}
		pending, err := t.hasJobOf(id, kindHubKeys)
		if err != nil || pending {
			return err
		}
		return t.addJob(&HubKeysJob{ConversationID: id, Instances: wanted})
	})
}

// wantedHubs are the members' instances but the present hub, in an order that all agree on.
func (c *conversation) wantedHubs() (wanted []string) {
	present := c.presentHub().Hub
	for _, m := range c.Members {
		instance, err := instanceOf(m.Actor)
		if err == nil && instance != present && isHub(instance) && !slices.Contains(wanted, instance) && len(wanted) < maxFallbacks {
			wanted = append(wanted, instance)
		}
	}
	return wanted
}

// HubKeys reports the keys of instances, by origin, as their discovery documents have them. Those that are missing are left out.
func (d *Device) HubKeys(job string, keys map[string][]byte) error {
	return d.update(func(t *txn) error {
		j, ok, err := takeJob[*HubKeysJob](t, job)
		if err != nil || !ok {
			return err
		}
		c, err := t.mustOpen(j.ConversationID)
		if err != nil {
			return err
		}
		s := step{Kind: stepHubs}
		for _, instance := range j.Instances {
			if key := keys[instance]; len(key) == ed25519.PublicKeySize {
				s.Hubs = append(s.Hubs, receipt.NextHub{Hub: instance, Key: [32]byte(key)})
			}
		}
		if s.Hubs, err = t.honest(s.Hubs); err != nil {
			return err
		}
		return t.intend(c, s)
	})
}

// workHubs commits the room's hubs.
func (t *txn) workHubs(c *conversation, s *step) (done bool, err error) {
	after, err := c.room()
	if err != nil {
		return false, err
	}
	present, before := c.presentHub(), after
	after.hub, after.hubKey = present.Hub, present.Key
	after.fallbacks = slices.DeleteFunc(slices.Clone(s.Hubs), func(h receipt.NextHub) bool { return h.Hub == present.Hub })
	if bytes.Equal(before.marshal(), after.marshal()) {
		return true, nil
	}
	if done, err = t.proposeRoom(c, s, after); err != nil {
		return false, fmt.Errorf("device: naming the hubs of %s: %w", c.id, err)
	}
	return done, nil
}
