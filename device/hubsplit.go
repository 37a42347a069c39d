package device

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/waxwing-dm/waxwing/internal/receipt"
)

// A hub that signs two receipts for one place has told two stories (E2). They are found where somebody else's word of the chain meets ours: in what
// comes with commits, in hubs' and mirrors' answers, in fences and in claims. The last two name a head without its receipt, so we show ours, and
// whoever has another shows theirs.

const (
	typeReceipt     = "waxwing:HubReceipt"
	typeHubEvidence = "waxwing:HubEvidence"

	bucketHubEvidence = "hub-evidence" // by the hub's key
)

// termBucket has, by term, the hubs that a conversation had before.
func termBucket(id string) string { return "terms:" + id }

// hubEvidenceRow is kept once a hub: the first lie is enough.
type hubEvidenceRow struct {
	Hub          string    `json:"hub"` // origin
	Conversation string    `json:"conversation"`
	Text         []byte    `json:"text"` // receipt.Evidence
	Found        time.Time `json:"found"`
}

// LyingHub is a hub that has signed two orders of one conversation.
type LyingHub struct {
	Hub          string // origin
	Conversation string // URL
	Found        time.Time
	Evidence     []byte // receipt.ParseEvidence reads it
}

// LyingHubs lists the hubs that were caught, the first first.
func (d *Device) LyingHubs() (list []LyingHub, err error) {
	err = d.view(func(t *txn) error {
		list = nil
		return t.Each(bucketHubEvidence, func(key string, value []byte) error {
			var row hubEvidenceRow
			if err := json.Unmarshal(value, &row); err != nil {
				return fmt.Errorf("device: decoding the evidence against the hub %s: %w", key, err)
			}
			list = append(list, LyingHub{row.Hub, row.Conversation, row.Found, row.Text})
			return nil
		})
	})
	return list, err
}

func hubEvidenceKey(key [32]byte) string { return fmt.Sprintf("%x", key) }

// liar tells whether a hub was caught. It is not chosen for anything any more; a term that the others give it is followed all the same,
// or we would be alone.
func (t *txn) liar(h receipt.NextHub) (bool, error) {
	_, lied, err := t.Get(bucketHubEvidence, hubEvidenceKey(h.Key))
	return lied, err
}

// honest leaves out the hubs that were caught.
func (t *txn) honest(hubs []receipt.NextHub) (left []receipt.NextHub, err error) {
	for _, h := range hubs {
		lied, err := t.liar(h)
		if err != nil {
			return nil, err
		}
		if !lied {
			left = append(left, h)
		}
	}
	return left, nil
}

// honestOrigins is honest for hubs whose keys are not known yet.
func (t *txn) honestOrigins(origins []string) ([]string, error) {
	err := t.Each(bucketHubEvidence, func(key string, value []byte) error {
		var row hubEvidenceRow
		if err := json.Unmarshal(value, &row); err != nil {
			return fmt.Errorf("device: decoding the evidence against the hub %s: %w", key, err)
		}
		origins = slices.DeleteFunc(origins, func(o string) bool { return o == row.Hub })
		return nil
	})
	return origins, err
}

// hubOfTerm is who signs a term's receipts, as far as we have followed the terms.
func (t *txn) hubOfTerm(c *conversation, term uint64) (h receipt.NextHub, ok bool, err error) {
	if term == c.term() {
		return c.presentHub(), true, nil
	}
	ok, err = t.row(termBucket(c.id), fmt.Sprint(term), &h)
	return h, ok, err
}

// contradicted holds a receipt against the one that we followed at its place, and keeps the proof if the two are one.
func (t *txn) contradicted(c *conversation, raw []byte) (bool, error) {
	r, err := receipt.Parse(raw)
	if err != nil || r.Seq > c.Seq || !bytes.Equal(r.GroupID, c.group.GroupID()) {
		return false, nil
	}
	ours, ok, err := t.Get(bucketReceipt, receiptKey(c.id, r.Seq))
	if err != nil || !ok || bytes.Equal(ours, raw) { // none: from before we joined
		return false, err
	}
	h, ok, err := t.hubOfTerm(c, r.Term)
	if err != nil || !ok {
		return false, err
	}
	e, err := receipt.FindEvidence(c.URL, h.Key, ours, raw)
	if err != nil {
		return false, nil
	}
	return true, t.hubLied(c, h, e, true)
}

// hubLied keeps the proof, tells the person, and the others if they do not have it from them.
func (t *txn) hubLied(c *conversation, h receipt.NextHub, e receipt.Evidence, others bool) error {
	if lied, err := t.liar(h); err != nil || lied {
		return err
	}
	if err := t.makeRoomForEvidence(bucketHubEvidence); err != nil {
		return err
	}
	if err := t.putRow(bucketHubEvidence, hubEvidenceKey(h.Key), hubEvidenceRow{h.Hub, c.URL, e.Marshal(), t.now}); err != nil {
		return err
	}
	if err := t.emit(Event{Type: EventHubSplit, Conversation: c.id, Code: CodeForkDetected,
		Detail: hostOf(h.Hub) + ", which keeps the order of changes here, has signed two different orders: it is chosen for that no more, and the proof of it is kept"}); err != nil {
		return err
	}
	account, err := t.account()
	if err != nil || !others || c.State == StateLeft || len(c.Places) == 0 {
		return err
	}
	return t.tell(c, account, shown{Type: typeHubEvidence, Evidence: string(e.Marshal())})
}

// hubEvidenceShown takes the proof that a member shows.
func (t *txn) hubEvidenceShown(c *conversation, s *shown) (verdict, error) {
	e, err := receipt.ParseEvidence([]byte(s.Evidence))
	if err != nil || e.Conversation != c.URL {
		return refuse(CodeRejectedForged, "that is no evidence against a hub of this conversation"), nil
	}
	a, _, err := e.Verify(e.HubKey)
	if err != nil {
		return refuse(CodeRejectedForged, "%v", err), nil
	}
	h, ok, err := t.hubOfTerm(c, a.Term)
	if err != nil || !ok || h.Key != e.HubKey {
		return verdict{status: accepted}, err // of a hub that we know nothing of
	}
	return verdict{status: accepted}, t.hubLied(c, h, e, false)
}

// receiptShown takes a receipt that a member followed.
func (t *txn) receiptShown(c *conversation, s *shown) (verdict, error) {
	r, err := parseReceipt(s.Receipt)
	if err != nil || !bytes.Equal(r.GroupID, c.group.GroupID()) {
		return refuse(CodeRejectedForged, "that is no receipt of this conversation"), nil
	}
	lied, err := t.contradicted(c, s.Receipt)
	if err != nil || lied {
		return verdict{status: accepted}, err
	}
	account, err := t.account()
	if err != nil || s.Asks != account.Actor {
		return verdict{status: accepted}, err
	}
	return verdict{status: accepted}, t.showReceipt(c, r.Seq, "")
}

// showReceipt shows the receipt that we followed at a place, and asks somebody for theirs. For each place once in a gossipDay.
func (t *txn) showReceipt(c *conversation, seq uint64, asks string) error {
	raw, ok, err := t.Get(bucketReceipt, receiptKey(c.id, seq))
	if err != nil || !ok {
		return err
	}
	if ok, err := t.count(fmt.Sprintf("receipt %s %d %t", c.id, seq, asks != ""), 1); err != nil || !ok {
		return err
	}
	account, err := t.account()
	if err != nil {
		return err
	}
	return t.tell(c, account, shown{Type: typeReceipt, Receipt: raw, Asks: asks})
}

// otherHead is for a fence that has another head than ours at the same place.
func (t *txn) otherHead(c *conversation, f fence, from string) error {
	if slices.ContainsFunc(c.Places, func(p place) bool { return p.Term == f.Term && p.Seq == f.Seq && p.Head != f.Head }) {
		return t.showReceipt(c, f.Seq, from)
	}
	return nil
}

// placeClaimed is for a claim that goes on from another receipt than ours.
func (t *txn) placeClaimed(c *conversation, from string, claim receipt.SignedClaim) error {
	ours, ok, err := t.Get(bucketReceipt, receiptKey(c.id, claim.Seq))
	if err != nil || !ok || claim.Seq > c.Seq || receipt.Head(ours) == claim.Head {
		return err
	}
	return t.showReceipt(c, claim.Seq, from)
}

// askBehind asks again for our own place: the receipt that does not continue our chain continues another of the same hub.
func (t *txn) askBehind(c *conversation) error {
	if c.Seq == 0 {
		return nil
	}
	if err := t.dropJobsOf(c.id, TaskEvents); err != nil {
		return err
	}
	return t.addJob(&EventsJob{ConversationID: c.id, Conversation: c.URL, Hub: c.Hub, After: c.Seq - 1})
}
