package device

import (
	"bytes"
	"crypto/ed25519"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/waxwing-dm/waxwing/internal/receipt"
)

// Where one's word is not enough (H3), the programs agree on a claim inside the conversation: who makes one tells all, whoever finds the hub away
// signs it, and who has enough signatures opens the term. Nobody signs two claims of one term, and terms are dealt out so that no two
// people make claims of the same one; of several the highest wins.

const typeClaim = "waxwing:HubClaim"

// A vote is a device's part in agreeing on the next hub.
type vote struct {
	Term  uint64    `json:"term,omitempty"`  // the highest of which a claim was signed here
	Claim []byte    `json:"claim,omitempty"` // that claim, with the signatures that came
	At    time.Time `json:"at,omitzero"`     // when it was signed
	Heard []byte    `json:"heard,omitempty"` // another's claim that may be signed once the hub was away for long enough
}

// claimFor is a claim of this place, without signatures, in the next of our terms. ok is false if it is not for us to make one.
func (t *txn) claimFor(c *conversation, rm room, g ground, self string, next receipt.NextHub) (claim receipt.SignedClaim, ok bool, err error) {
	voters := c.voters(rm, g)
	turn := slices.Index(voters, self)
	if turn < 0 {
		return claim, false, nil
	}
	ticket, err := ticketOf(c.group)
	if err != nil {
		return claim, false, err
	}
	last := max(c.term(), c.vote(g).Term)
	if c.Moved {
		last = max(last, afterMoveTerm(c.term()))
	}
	term := g.termAfter(last, turn, len(voters))
	if term <= last {
		return claim, false, nil // there are no more
	}
	claim.Claim = receipt.Claim{
		GroupID: c.group.GroupID(), Term: term, Seq: c.Seq, Head: c.Head, Epoch: c.group.Epoch(), Ticket: [32]byte(ticket), Next: next, Time: millis(t.now),
	}
	return claim, true, nil
}

// sign adds our signature to a claim and remembers it as the one that has our word in its term.
func (t *txn) sign(c *conversation, self string, claim *receipt.SignedClaim) error {
	keys, err := t.keys()
	if err != nil {
		return err
	}
	claim.Signatures = withSignature(claim.Signatures, claim.Sign(self, ed25519.NewKeyFromSeed(keys.Signature)))
	return t.keepVote(c, claim)
}

func (t *txn) keepVote(c *conversation, claim *receipt.SignedClaim) error {
	key, err := ticketKey(c.group)
	if err != nil {
		return err
	}
	claim.SignMember(key)
	v := c.vote(groundOf(*claim))
	if claim.Term > v.Term {
		*v = vote{Term: claim.Term, At: t.now}
	}
	v.Claim = claim.Marshal()
	return nil
}

// withSignature adds one, each actor's first, in order, as long as there is room.
func withSignature(all []receipt.ClaimSignature, s receipt.ClaimSignature) []receipt.ClaimSignature {
	i, there := slices.BinarySearchFunc(all, s.Actor, func(x receipt.ClaimSignature, actor string) int { return strings.Compare(x.Actor, actor) })
	if there {
		return all
	}
	if more := slices.Insert(slices.Clone(all), i, s); receipt.SignaturesFit(more) {
		return more
	}
	return all
}

// voted is the claim that has our word, if it still is about where we stand.
func (c *conversation) voted(rm room, g ground) (claim receipt.SignedClaim, ok bool) {
	claim, err := receipt.ParseClaim(c.vote(g).Claim)
	return claim, err == nil && c.standsAt(claim) && claim.Term > c.term() && slices.Contains(rm.hubs(), claim.Next)
}

// standsAt tells whether a claim goes on from our place.
func (c *conversation) standsAt(claim receipt.SignedClaim) bool {
	return claim.Seq == c.Seq && claim.Head == c.Head && claim.Epoch == c.group.Epoch()
}

// agree brings the agreement forward: it returns the claim to open a term with, if there is one that is signed by enough.
func (t *txn) agree(c *conversation, rm room, hubs []receipt.NextHub) (claim receipt.SignedClaim, enough bool, err error) {
	for _, g := range grounds {
		if claim, enough, err = t.agreeOn(c, rm, g, hubs); err != nil || enough {
			return claim, enough, err
		}
	}
	return claim, false, nil
}

func (t *txn) agreeOn(c *conversation, rm room, g ground, hubs []receipt.NextHub) (claim receipt.SignedClaim, enough bool, err error) {
	account, err := t.account()
	if err != nil || c.idle(rm, g) {
		return claim, false, err
	}
	claim, ok := c.voted(rm, g)
	enough = ok && checkSigners(rm, c.Members, claim) == nil
	voters := c.voters(rm, g)
	turn := time.Duration(max(0, slices.Index(voters, account.Actor))) * claimTurn
	wait := claimAgain
	if enough { // its hub may be away, too
		wait = claimPatience
	}
	switch {
	case ok && t.now.Sub(c.vote(g).At) < wait+turn:
		return claim, enough, nil
	case !ok && t.now.Before(c.AwaySince.Add(g.givenUp()+turn)) && len(voters) > 2:
		return claim, false, nil // whose turn is before ours may have asked already
	}
	next := 0
	if enough { // the one after that which does not answer
		next = (slices.Index(hubs, claim.Next) + 1) % len(hubs)
	}
	claim, ok, err = t.claimFor(c, rm, g, account.Actor, hubs[next])
	if err != nil || !ok {
		return claim, false, err
	}
	if err := t.sign(c, account.Actor, &claim); err != nil {
		return claim, false, err
	}
	if checkSigners(rm, c.Members, claim) == nil {
		return claim, true, nil
	}
	return claim, false, t.tell(c, account, shown{Type: typeClaim, Claim: c.vote(g).Claim})
}

// signHeard signs the claims of others, once the hub has been away from here for long enough, too.
func (t *txn) signHeard(c *conversation, rm room) error {
	for _, g := range grounds {
		if c.AwaySince.IsZero() || c.vote(g).Heard == nil || t.now.Sub(c.AwaySince) < g.signAfter() {
			continue
		}
		if err := t.signOn(c, rm, g); err != nil {
			return err
		}
	}
	return nil
}

func (t *txn) signOn(c *conversation, rm room, g ground) error {
	account, err := t.account()
	if err != nil {
		return err
	}
	v := c.vote(g)
	claim, err := receipt.ParseClaim(v.Heard)
	lied, errLied := t.liar(claim.Next)
	if errLied != nil {
		return errLied
	}
	switch {
	case err != nil || lied || claim.Term <= max(c.term(), v.Term) || !slices.Contains(rm.hubs(), claim.Next) || !slices.Contains(c.voters(rm, g), account.Actor):
		v.Heard = nil
		return nil
	case !c.standsAt(claim): // H4: what we know more of, our instance's mirror shows them; what they do, theirs
		if claim.Seq < c.Seq {
			v.Heard = nil
		}
		return nil
	case c.opening(rm, t.now):
		return nil
	}
	v.Heard = nil
	if err := t.sign(c, account.Actor, &claim); err != nil {
		return err
	}
	if err := t.tell(c, account, shown{Type: typeClaim, Claim: v.Claim}); err != nil {
		return err
	}
	return t.openIfEnough(c, rm, claim)
}

func (t *txn) openIfEnough(c *conversation, rm room, claim receipt.SignedClaim) error {
	pending, err := t.hasJobOf(c.id, kindTerm)
	if err != nil || pending || checkSigners(rm, c.Members, claim) != nil {
		return err
	}
	return t.addJob(&TermJob{ConversationID: c.id, Conversation: c.URL, Claim: claim.Marshal()})
}

// claimShown takes a claim that a member shows, or, with its receipt, the term that it has opened.
func (t *txn) claimShown(c *conversation, s *shown) (verdict, error) {
	claim, err := receipt.ParseClaim(s.Claim)
	if err != nil || !bytes.Equal(claim.GroupID, c.group.GroupID()) {
		return refuse(CodeRejectedForged, "that is no claim of this conversation"), nil
	}
	c.queued = true
	if len(s.Receipt) > 0 {
		return verdict{status: accepted}, t.termShown(c, claim, HubEvent{Receipt: s.Receipt, Commit: s.Claim})
	}
	rm, err := c.room()
	if err != nil || claim.Term <= c.term() {
		return verdict{status: accepted}, err
	}
	if err := c.checkSignatures(rm, claim); err != nil {
		return refuse(CodeRejectedForged, "%v", err), nil
	}
	if !slices.Contains(rm.hubs(), claim.Next) {
		return verdict{status: accepted}, nil
	}
	if err := t.placeClaimed(c, s.AttributedTo, claim); err != nil {
		return verdict{}, err
	}
	if ours, ok := c.voted(rm, groundOf(claim)); ok && sameClaim(ours, claim) {
		for _, x := range claim.Signatures {
			ours.Signatures = withSignature(ours.Signatures, x)
		}
		if err := t.keepVote(c, &ours); err != nil {
			return verdict{}, err
		}
		return verdict{status: accepted}, t.openIfEnough(c, rm, ours)
	}
	return verdict{status: accepted}, t.hear(c, rm, claim, s.Claim)
}

func sameClaim(a, b receipt.SignedClaim) bool {
	a.Signatures, b.Signatures, a.Member, b.Member = nil, nil, [64]byte{}, [64]byte{}
	return bytes.Equal(a.Marshal(), b.Marshal())
}

// checkSignatures is that of each signature: by a device of somebody whose word counts.
func (c *conversation) checkSignatures(rm room, claim receipt.SignedClaim) error {
	leaves, voters := leavesOf(c.group.Members()), c.voters(rm, groundOf(claim))
	for _, s := range claim.Signatures {
		if !slices.ContainsFunc(leaves, func(l leaf) bool { return l.actor == s.Actor && bytes.Equal(l.key, s.Key[:]) }) ||
			!slices.Contains(voters, s.Actor) || !claim.Verify(s) {
			return failed("H3", "a signature is not of a device of somebody whose word counts")
		}
	}
	if len(claim.Signatures) == 0 {
		return failed("H3", "nobody has signed the claim")
	}
	return nil
}

// hear keeps a claim to sign it, and finds out whether the hub is away.
func (t *txn) hear(c *conversation, rm room, claim receipt.SignedClaim, raw []byte) error {
	v := c.vote(groundOf(claim))
	heard, err := receipt.ParseClaim(v.Heard)
	switch {
	case claim.Term <= v.Term || claim.Term-c.term() > maxLeap:
		return nil
	case err == nil && c.standsAt(heard) != c.standsAt(claim): // one of a place where we have yet to come may be of a place that never comes
		if c.standsAt(heard) {
			return nil
		}
	case err == nil && heard.Term >= claim.Term:
		return nil
	}
	v.Heard = raw
	if c.AwaySince.IsZero() {
		return t.fetch(c) // its answer ends the matter
	}
	c.dueToSign()
	if claim.Seq > c.Seq {
		return t.askMirror(c)
	}
	return t.signHeard(c, rm)
}

// dueToSign has the claims that were heard signed in time.
func (c *conversation) dueToSign() {
	for _, g := range grounds {
		if due := c.AwaySince.Add(g.signAfter()); c.vote(g).Heard != nil && due.Before(c.TakeOverAt) {
			c.TakeOverAt = due
		}
	}
}

// termShown follows a term that a member says is open. Who is behind asks the new hub for what comes before.
func (t *txn) termShown(c *conversation, claim receipt.SignedClaim, e HubEvent) error {
	if _, err := t.followOther(c, e); err != nil || c.term() >= claim.Term {
		return err
	}
	rm, err := c.room()
	if err != nil || c.State == StateLeft || claim.Seq < c.Seq || !slices.Contains(rm.hubs(), claim.Next) {
		return err
	}
	return t.fetchAt(c, claim.Next.Hub)
}

// announce tells the others that a term is open: those whose hub has died would find out only by asking around.
func (t *txn) announce(c *conversation, j *TermJob, raw []byte) error {
	claim, err := receipt.ParseClaim(j.Claim)
	account, errAccount := t.account()
	if err != nil || errAccount != nil || c.term() != claim.Term || c.State != StateActive {
		return errAccount
	}
	return t.tell(c, account, shown{Type: typeClaim, Claim: j.Claim, Receipt: raw})
}

// fetchAt asks a hub for a chain that may have left ours before our place, be it the present one, which opens another term if others thought that
// it was dead.
func (t *txn) fetchAt(c *conversation, hub string) error {
	if hub == hubOf(c.URL) {
		hub = ""
	}
	ids, err := t.idsOf(c.id, TaskEvents)
	if err != nil {
		return err
	}
	for _, id := range ids {
		j, _, err := t.job(id)
		if e, ok := j.(*EventsJob); err == nil && ok && e.Hub != hub {
			err = t.dropJob(id)
		}
		if err != nil {
			return fmt.Errorf("device: asking another hub: %w", err)
		}
	}
	return t.fetchFrom(c, hub, c.Seq-min(c.Seq, askedBack))
}

// askMirror asks one member's instance after the other what it has of the chain: the next hub, or what the old one delivered to others alone.
func (t *txn) askMirror(c *conversation) error {
	account, err := t.account()
	if err != nil {
		return err
	}
	rm, err := c.room()
	if err != nil {
		return err
	}
	all := c.mirrors(rm.fallbacks, c.instances(account.Actor)[1:])
	if len(all) == 0 {
		return nil
	}
	return t.fetchAt(c, all[c.Tried%len(all)])
}

// mirrors are these hubs, and of these instances those that may be asked, without the present hub.
func (c *conversation) mirrors(hubs []receipt.NextHub, instances []string) (all []string) {
	for _, h := range hubs {
		all = append(all, h.Hub)
	}
	present := c.presentHub().Hub
	for _, instance := range instances {
		if instance != present && !slices.Contains(all, instance) && isHub(instance) && len(all) < maxMirrors {
			all = append(all, instance)
		}
	}
	return all
}
