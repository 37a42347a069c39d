package device

import (
	"fmt"
	"slices"

	"github.com/waxwing-dm/waxwing/internal/receipt"
)

// A newcomer has the chain from the receipt of their Welcome on. If the others have gone on from a place before that, the claim cannot be judged
// before that place is known. It can be had from whoever has it: each receipt names the one before, so nobody can show another past.

const maxLooksBack = 16 // for claims of a conversation, in a gossipDay

// learnBefore takes in receipts from before our first.
func (t *txn) learnBefore(c *conversation, events []HubEvent) error {
	for _, e := range slices.Backward(events[:min(len(events), maxEvents)]) {
		r, err := receipt.Parse(e.Receipt)
		if err != nil || string(r.GroupID) != string(c.groupID()) || r.Seq >= c.Seq {
			continue
		}
		if _, known, err := t.Get(bucketReceipt, receiptKey(c.id, r.Seq)); err != nil || known {
			if err != nil {
				return err
			}
			continue
		}
		raw, ok, err := t.Get(bucketReceipt, receiptKey(c.id, r.Seq+1))
		if err != nil {
			return err
		}
		next, err := receipt.Parse(raw)
		if !ok || err != nil || next.Previous != receipt.Head(e.Receipt) {
			continue
		}
		if err := t.Put(bucketReceipt, receiptKey(c.id, r.Seq), e.Receipt); err != nil {
			return fmt.Errorf("device: writing receipt %d of %s: %w", r.Seq, c.id, err)
		}
	}
	return nil
}

// lookBack asks our hub for the place that a claim goes on from, if that was before we joined.
func (t *txn) lookBack(c *conversation, claim receipt.SignedClaim) (asked bool, err error) {
	_, known, err := t.Get(bucketReceipt, receiptKey(c.id, claim.Seq))
	if err != nil || known {
		return false, err
	}
	if ok, err := t.count("looks back "+c.id, maxLooksBack); err != nil || !ok {
		return false, err
	}
	return true, t.fetchFrom(c, c.Hub, claim.Seq-min(claim.Seq, ticketReach))
}
