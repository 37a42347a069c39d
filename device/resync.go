package device

import (
	"crypto/sha256"
	"errors"
	"slices"
	"time"

	"github.com/waxwing-dm/waxwing/internal/receipt"
	"github.com/waxwing-dm/waxwing/mls"
)

// A device loses the thread of a conversation if a commit's path is broken for it alone, if its state is damaged, or if the others went on from
// an earlier place under another hub. It follows the receipts without their commits, takes from the hub what a committer has left there
// for it (sealed.go), and comes back in its own place by a commit from outside (comeback.go).

// resync is how far that has come.
type resync struct {
	Code    string    `json:"code"`
	Detail  string    `json:"detail"`
	Since   time.Time `json:"since"`
	Tries   int       `json:"tries,omitempty"`
	Told    bool      `json:"told,omitempty"`    // that it takes longer
	Lookups uint64    `json:"lookups,omitempty"` // made when it began to judge who is there
	Common  *uint64   `json:"common,omitempty"`  // the last epoch that the others have had, too, if they went on elsewhere
	Shown   uint64    `json:"shown,omitempty"`   // seq of the newest group that the hub showed before we had followed it so far
	Asked   int       `json:"asked,omitempty"`   // others for what the hub does not have of the chain
	Misled  bool      `json:"misled,omitempty"`  // by who has shown us the way back
	Known   *known    `json:"known,omitempty"`   // the room, by the newest group that was believed
}

// missed are epochs of which nothing can be read.
type missed struct {
	From uint64 `json:"from"`
	To   uint64 `json:"to"`
}

func (c *conversationRow) missed(epoch uint64) bool {
	return c.Missed != nil && epoch >= c.Missed.From && epoch <= c.Missed.To
}

// ErrStateLost says that what this device had stored of a conversation is damaged, and being replaced.
var ErrStateLost = errors.New("device: the keys of this conversation are damaged and are fetched anew")

const (
	resyncAgain   = 10 * time.Second
	resyncLongest = time.Hour
)

// Resync has a device that seems to have lost the thread come back into a conversation anew. It is only done by itself where it is sure.
func (d *Device) Resync(id string) error {
	return d.update(func(t *txn) error {
		c, err := t.rowOf(id)
		switch {
		case err != nil:
			return err
		case c.State == StateLeft:
			return ErrLeft
		case c.State == StateOpening:
			return ErrNoSuchConversation
		case c.Resync != nil:
			return t.resyncNow(c)
		}
		if whole, err := t.open(id); err == nil {
			if err := t.loseThread(whole, CodeResync, "asked for"); err != nil {
				return err
			}
			return t.save(whole)
		} else if !errors.Is(err, ErrStateLost) {
			return err
		}
		return t.stateLost(c)
	})
}

// rowOf reads a conversation without its MLS state, which may be damaged.
func (t *txn) rowOf(id string) (*conversation, error) {
	c := &conversation{id: id}
	ok, err := t.row(bucketConversation, id, &c.conversationRow)
	if err == nil && !ok {
		err = ErrNoSuchConversation
	}
	if err == nil {
		c.Members, err = t.members(id, c.conversationRow)
	}
	return c, err
}

// astray is rowOf for a conversation whose thread is lost, and nil for others.
func (t *txn) astray(id string) (*conversation, error) {
	c, err := t.rowOf(id)
	if err != nil || c.Resync == nil {
		return nil, err
	}
	return c, nil
}

// putRowOf writes what rowOf has read.
func (t *txn) putRowOf(c *conversation) error {
	return t.putRow(bucketConversation, c.id, c.conversationRow)
}

// stateLost begins to replace a damaged state.
func (t *txn) stateLost(c *conversation) error {
	if c.State == StateLeft || c.State == StateOpening || c.Resync != nil {
		return nil
	}
	if err := t.loseThread(c, CodeStateLost, "what this device had stored is damaged"); err != nil {
		return err
	}
	return t.putRowOf(c)
}

// loseThread puts everything of the conversation on hold and asks the hub where it is. The caller saves c.
func (t *txn) loseThread(c *conversation, code, detail string) error {
	if c.Resync != nil {
		return nil
	}
	if c.group != nil {
		c.group.DropPending()
	}
	if err := t.dropJobsOf(c.id, kindCommit, kindLease, kindDispute, TaskEvents, kindTerm); err != nil {
		return err
	}
	if err := t.changeFirst(c.id, func(s *step) { s.InFlight, s.HasLease, s.LeaseKey = false, false, nil }); err != nil {
		return err
	}
	c.Disputed, c.AskAt, c.CloseAt, c.PassAt = 0, time.Time{}, time.Time{}, t.now.Add(hubPatience)
	c.State, c.Reason = StatePaused, code+": "+detail
	c.Resync = &resync{Code: code, Detail: detail, Since: t.now}
	return t.fetch(c)
}

// resyncNow asks again at once: the hub, unless it is away.
func (t *txn) resyncNow(c *conversation) error {
	c.AskAt = time.Time{}
	if c.AwaySince.IsZero() {
		if err := t.dropJobsOf(c.id, TaskEvents); err != nil {
			return err
		}
	}
	if err := t.fetch(c); err != nil {
		return err
	}
	return t.putRowOf(c)
}

// resyncLater tries again after a while, and tells the person once why.
func (t *txn) resyncLater(c *conversation, why string) error {
	r := *c.Resync
	r.Tries++
	r.Lookups = 0
	c.Resync, c.AskAt = &r, t.now.Add(min(resyncAgain<<min(r.Tries, 10), resyncLongest))
	if why == "" {
		return t.putRowOf(c)
	}
	detail := r.Detail + ", and cannot come back yet: " + why
	c.Reason = r.Code + ": " + detail
	if !r.Told {
		r.Told = true
		if err := t.emit(Event{Type: EventConversationPaused, Conversation: c.id, Code: r.Code, Detail: detail}); err != nil {
			return err
		}
	}
	return t.putRowOf(c)
}

// resyncEvents takes what a hub has of the chain, or, if it is not the present one, what it has kept of it.
func (t *txn) resyncEvents(c *conversation, events []HubEvent, present bool) error {
	before := c.Seq
	for _, e := range events[:min(len(events), maxEvents)] {
		if back, err := t.followBlind(c, e); err != nil || back {
			return err
		}
	}
	if c.Seq > before {
		if err := t.fetch(c); err != nil {
			return err
		}
	} else if back, err := t.invited(c); err != nil || back {
		return err
	} else if present && c.gap(events) {
		return t.askForGap(c)
	} else if err := t.askGroupInfo(c); err != nil {
		return err
	}
	return t.putRowOf(c)
}

// followBlind takes a step of the chain by its receipt alone: R1 to R3. back says that it was our own return.
func (t *txn) followBlind(c *conversation, e HubEvent) (back bool, err error) {
	r, err := parseReceipt(e.Receipt)
	switch {
	case err != nil:
		return false, nil
	case r.Kind == receipt.KindTerm && r.Term > c.term():
		_, err := t.otherTerm(c, e)
		return false, err
	case r.Term != c.term() || r.Seq != c.Seq+1 || r.Kind == receipt.KindOpen:
		return false, nil
	}
	if err := c.checkChain(e.Receipt); err != nil {
		return false, nil // another order than ours: without a group it cannot be judged, and is asked for again
	}
	if r.MessageHash != sha256.Sum256(e.Commit) {
		return false, nil
	}
	if ours, err := t.comeback(c.id); err != nil {
		return false, err
	} else if ours != nil && ours.Hash == r.MessageHash {
		return true, t.rejoin(c, ours, r, e.Receipt)
	}
	return false, t.step(c, r, e.Receipt)
}

// otherTerm goes on under a hub whose claim goes on from a place that we have been at; what we followed beyond it is void. Whether the claim
// holds is judged by the members and the room as we last knew them.
func (t *txn) otherTerm(c *conversation, e HubEvent) (ok bool, err error) {
	chain, claim, err := receipt.CheckTerm(e.Receipt, e.Commit, c.groupID())
	if err != nil || chain.Term <= c.term() || claim.Seq > c.Seq {
		return false, nil
	}
	if ok, err = t.mayBeTerm(c, claim); err != nil || !ok {
		return false, err
	}
	r, err := receipt.Parse(e.Receipt)
	if err != nil {
		return false, err
	}
	planned := c.Moved
	if r := c.Resync; r != nil && claim.Seq < c.Seq && (r.Common == nil || claim.Epoch < *r.Common) {
		r.Common = &claim.Epoch
	}
	if r := c.Resync; r != nil {
		if r.Shown = 0; r.Known != nil && r.Known.Seq > claim.Seq {
			r.Known = nil
		}
	}
	if err := t.step(c, r, e.Receipt); err != nil {
		return false, err
	}
	c.Term, c.Despite = chain.Term, nil
	c.setHub(claim.Next)
	c.hubAnswered()
	return true, t.emit(c.hubMoved(claim, planned))
}

// ticketReach is how many receipts up to its own may have a claim's ticket (T2).
const ticketReach = 4

// mayBeTerm is H2 to H4 for who was elsewhere: the claim's ticket is that of one of the last receipts before it.
func (t *txn) mayBeTerm(c *conversation, claim receipt.SignedClaim) (bool, error) {
	rm, members, err := t.knownAt(c, claim.Seq)
	if err != nil || !slices.Contains(rm.hubs(), claim.Next) || !claim.VerifyMember() {
		return false, nil
	}
	if planned := c.Moved && claim.Seq == c.Seq; !planned && checkSigners(rm, members, claim) != nil {
		return false, nil
	}
	for back := range min(claim.Seq+1, ticketReach) {
		raw, ok, err := t.Get(bucketReceipt, receiptKey(c.id, claim.Seq-back))
		if err != nil || !ok || back == 0 && receipt.Head(raw) != claim.Head {
			return false, err
		}
		r, err := receipt.Parse(raw)
		if err != nil {
			return false, err
		}
		epoch := r.Epoch
		if r.Kind == receipt.KindCommit || r.Kind == receipt.KindMove {
			epoch++
		}
		if r.Ticket == claim.Ticket && epoch == claim.Epoch {
			return true, nil
		}
	}
	return false, nil
}

// invited looks for a Welcome that came meanwhile: an admin may have removed this device and added it again.
func (t *txn) invited(c *conversation) (back bool, err error) {
	items, err := t.parked(c.id)
	if err != nil {
		return false, err
	}
	for _, p := range items {
		m, err := mls.ParseMessage(p.Item.Message)
		if err != nil || m.WireFormat() != mls.WireWelcome {
			continue
		}
		joined, v, err := t.judgeWelcome(c, c.id, m, p.Item, p.Since)
		switch {
		case err != nil:
			return false, err
		case v.status == waiting:
			if len(v.lookups) > 0 {
				err = t.lookUp(c.id, v.lookups)
			}
		default:
			if err = t.unpark(c.id, p.key); err == nil {
				err = t.conclude(c, c.id, p.Item, v)
			}
		}
		if err != nil {
			return false, err
		}
		if v.status == stepped {
			return true, t.finish(joined)
		}
	}
	return false, nil
}

// askGroupInfo asks the hub for what committers have left there.
func (t *txn) askGroupInfo(c *conversation) error {
	pending, err := t.hasJobOf(c.id, TaskGroupInfo, kindCommit, TaskEvents, TaskLookup)
	if err != nil || pending {
		return err
	}
	return t.addJob(&GroupInfoJob{ConversationID: c.id, Conversation: c.URL, Hub: c.Hub})
}

// wakeAstray does what is due.
func (t *txn) wakeAstray(c *conversation) error {
	if !c.PassAt.After(t.now) {
		c.PassAt = time.Time{}
	}
	if !c.TakeOverAt.IsZero() && !c.TakeOverAt.After(t.now) {
		if err := t.askFallback(c); err != nil {
			return err
		}
	}
	if !c.AskAt.IsZero() && !c.AskAt.After(t.now) {
		return t.resyncNow(c)
	}
	return t.putRowOf(c)
}

// askFallback looks whether the conversation goes on at one, and now and then whether the hub is back. What waits for the hub would keep both waiting.
func (t *txn) askFallback(c *conversation) error {
	c.TakeOverAt = t.now.Add(takeOverAgain)
	life, err := t.lifeline(c.id)
	if err != nil {
		return err
	}
	rm, err := parseRoom(life.Room)
	if err != nil || len(rm.fallbacks) == 0 {
		return nil
	}
	if err := t.dropJobsOf(c.id, TaskEvents, TaskGroupInfo); err != nil {
		return err
	}
	if err := t.dropComeback(c.id); err != nil {
		return err
	}
	at := c.Tried % (len(rm.fallbacks) + 1)
	c.Tried++
	if at == len(rm.fallbacks) {
		return t.fetch(c)
	}
	return t.addJob(&EventsJob{ConversationID: c.id, Conversation: c.URL, Hub: rm.fallbacks[at].Hub, After: c.Seq - min(c.Seq, askedBack)})
}

// heard tells that an actor is where our return has led to. Where we are the only admin, anybody will do.
func (c *conversation) heard(actor string) {
	if c.Alone == 0 {
		return
	}
	rm, err := c.room()
	if err != nil {
		return
	}
	others := slices.ContainsFunc(c.group.Members(), func(m mls.Member) bool { return m.Leaf != c.group.OwnLeaf() && rm.admin(leafOf(m).actor) })
	if rm.admin(actor) || !others {
		c.Alone = 0
	}
}

// doubtReturn comes back once more if the hub grants epochs to others, from the one on that our return was made in, that are none of ours, which
// takes a dispute, and no admin was heard since: who showed us the group has lied, or had a good commit disputed, and the others are elsewhere.
func (t *txn) doubtReturn(c *conversation, r receipt.Receipt) error {
	if c.Alone == 0 || r.Epoch+1 < c.Alone {
		return nil
	}
	common := c.Alone - 1
	if err := t.loseThread(c, CodeOtherBranch, "the others did not follow this device when it came back"); err != nil {
		return err
	}
	c.Resync.Common, c.Resync.Misled, c.Alone = &common, true, 0
	return nil
}
