package device

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"time"

	"github.com/waxwing-dm/waxwing/internal/receipt"
)

// The hub grants commits without being able to check them. One that is invalid for everybody alike is passed over: it keeps its place in the
// chain and changes nothing (R5). The hub is told, and opens the epoch again; until then talk goes on in it, and changes wait.

// An objection is why a commit is invalid for everybody alike.
type objection struct {
	reason receipt.Reason // for the hub
	code   string         // for the person
	err    error
}

// dispute passes over a commit and tells the hub. A commit of ours stays pending: the hub may have opened the epoch again for it already.
func (t *txn) dispute(c *conversation, r receipt.Receipt, raw []byte, why objection) (verdict, error) {
	key, err := ticketKey(c.group)
	if err != nil {
		return verdict{}, err
	}
	d := receipt.Dispute{GroupID: c.group.GroupID(), Term: r.Term, Seq: r.Seq, ReceiptHash: receipt.Head(raw), Reason: why.reason}
	d.Sign(key)
	if err := t.addJob(&DisputeJob{ConversationID: c.id, Conversation: c.URL, Hub: c.Hub, Dispute: d.Marshal()}); err != nil {
		return verdict{}, err
	}
	if err := t.step(c, r, raw); err != nil {
		return verdict{}, err
	}
	c.Disputed, c.DisputedSince, c.AskAt = r.Seq, t.now, t.now.Add(disputeAskAgain)
	c.Reason = why.code + ": " + why.err.Error()
	return verdict{status: stepped}, t.emit(Event{Type: EventConversationPaused, Conversation: c.id, Code: why.code, Detail: why.err.Error()})
}

// Disputed reports what the hub has said to a dispute: with reopened it has opened the epoch again, and that is to be had from it.
func (d *Device) Disputed(job string, reopened bool) error {
	return d.update(func(t *txn) error {
		j, ok, err := takeJob[*DisputeJob](t, job)
		if err != nil || !ok || !reopened {
			return err // the others' disputes are awaited, and the hub is asked again
		}
		return t.fetchFor(j.ConversationID)
	})
}

func (t *txn) fetchFor(id string) error {
	c, err := t.mustOpen(id)
	if err != nil {
		return err
	}
	if err := t.fetch(c); err != nil {
		return err
	}
	return t.finish(c)
}

// followOther takes an event that has no commit: a reopen or the beginning of a term.
func (t *txn) followOther(c *conversation, e HubEvent) (other bool, err error) {
	r, err := parseReceipt(e.Receipt)
	if err != nil {
		return false, nil // it is refused with the others
	}
	if r.Kind == receipt.KindReopen || r.Kind == receipt.KindTerm {
		if _, err := t.contradicted(c, e.Receipt); err != nil {
			return true, err
		}
	}
	switch r.Kind {
	case receipt.KindReopen:
		return true, t.reopened(c, r, e)
	case receipt.KindTerm:
		return true, t.newTerm(c, e)
	}
	return false, nil
}

// reopened takes the receipt by which the hub opens an epoch again. If it is not next, it comes again.
func (t *txn) reopened(c *conversation, r receipt.Receipt, e HubEvent) error {
	if c.State != StateActive || r.Seq != c.Seq+1 || r.Term != c.term() {
		return nil
	}
	if err := c.checkChain(e.Receipt); err != nil {
		return t.pause(c, CodeForkDetected, err.Error())
	}
	disputes, err := receipt.ParseReopening(e.Commit)
	if err != nil || r.MessageHash != sha256.Sum256(e.Commit) {
		return t.pause(c, CodeForkDetected, fmt.Sprintf("R3: the receipt %d is not of its disputes: %v", r.Seq, err))
	}
	if err := t.step(c, r, e.Receipt); err != nil {
		return err
	}
	if !slices.ContainsFunc(disputes, func(d receipt.Dispute) bool { return d.Seq == c.Disputed }) {
		return nil
	}
	c.CloseAt = t.now.Add(closeAfter + c.spread(c.Head[:], closeSpread))
	return t.goOn(c)
}

// closeEpoch ends an epoch that was opened again, with new keys for ourselves: as long as it is open, whoever had it disputed can do so again.
func (t *txn) closeEpoch(c *conversation) error {
	c.CloseAt = time.Time{}
	if c.group.Pending() != nil {
		return nil // it is about to end
	}
	return t.renewKeys(c)
}

// goOn ends a dispute.
func (t *txn) goOn(c *conversation) error {
	c.Disputed, c.AskAt, c.Reason = 0, time.Time{}, ""
	return t.emit(Event{Type: EventConversationUpdated, Conversation: c.id})
}

// mayFollow tells whether a receipt of a later term is by a hub that the room knows.
func (c *conversation) mayFollow(r receipt.Receipt) bool {
	rm, err := c.room()
	if err != nil {
		return false
	}
	for _, h := range rm.hubs() {
		if r.Verify(h.Key[:]) {
			c.elsewhere = h.Hub
			return true
		}
	}
	return false
}
