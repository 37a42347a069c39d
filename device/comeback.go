package device

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/waxwing-dm/waxwing/internal/receipt"
	"github.com/waxwing-dm/waxwing/mls"
)

// How a device that has lost the thread judges what the hub has for it, and comes back.

// SealedGroup is what came with one commit, as the hub has it: seq is the commit's, epoch the one that it made.
type SealedGroup struct {
	Term, Seq, Epoch uint64
	Sealed           []byte
}

const bucketComeback = "comeback" // by conversation

func comebackBucket(id string) string { return "comeback:" + id } // records of the MLS state after it

// comeback is our commit from outside, while the hub has not said yes to it.
type comeback struct {
	Hash   [32]byte `json:"hash"`
	Epoch  uint64   `json:"epoch"` // that it was made in
	Ticket []byte   `json:"ticket"`
}

func (t *txn) comeback(id string) (*comeback, error) {
	var c comeback
	ok, err := t.row(bucketComeback, id, &c)
	if err != nil || !ok {
		return nil, err
	}
	return &c, nil
}

func (t *txn) dropComeback(id string) error {
	if err := t.empty(comebackBucket(id)); err != nil {
		return err
	}
	if err := t.dropCommitJob(id); err != nil {
		return err
	}
	return t.Delete(bucketComeback, id)
}

// GroupInfos reports what the hub had for a GroupInfoJob.
func (d *Device) GroupInfos(job string, list []SealedGroup) error {
	return d.update(func(t *txn) error {
		j, ok, err := takeJob[*GroupInfoJob](t, job)
		if err != nil || !ok {
			return err
		}
		c, err := t.astray(j.ConversationID)
		if err != nil || c == nil {
			return err
		}
		if j.Hub == c.Hub {
			c.hubAnswered()
		}
		return t.comeBackBy(c, list)
	})
}

// comeBackBy takes the newest of these groups that is to be believed.
func (t *txn) comeBackBy(c *conversation, list []SealedGroup) error {
	account, err := t.account()
	if err != nil {
		return err
	}
	if more, err := t.chainFirst(c, list); err != nil || more {
		return err
	}
	best, why, err := t.choose(c, account, list)
	switch {
	case err != nil:
		return err
	case best == nil:
		return t.resyncLater(c, why)
	}
	if c.Resync.Lookups == 0 {
		if c.Resync.Lookups, err = t.lookups(); err != nil {
			return err
		}
	}
	missing, unlogged, err := t.bindLeaves(without(best.members, account), c.Resync.Lookups)
	switch {
	case err != nil:
		return err
	case len(missing) > 0:
		if err := t.lookUp(c.id, missing); err != nil {
			return err
		}
		return t.putRowOf(c)
	case unlogged != nil:
		return t.resyncLater(c, unlogged.Error())
	}
	return t.enter(c, account, best)
}

// chainFirst asks for the chain once more where the hub shows groups that are further on: the epoch of an older one may be over. What the hub
// shows without having a receipt for it is asked for once.
func (t *txn) chainFirst(c *conversation, list []SealedGroup) (more bool, err error) {
	newest := c.Seq
	for _, s := range list {
		if s.Term == c.term() {
			newest = max(newest, s.Seq)
		}
	}
	if newest == c.Seq || newest <= c.Resync.Shown {
		return false, nil
	}
	r := *c.Resync
	r.Shown = newest
	c.Resync = &r
	if err := t.fetch(c); err != nil {
		return false, err
	}
	return true, t.putRowOf(c)
}

// enter makes the commit from outside: our old leaf goes, and nothing else.
func (t *txn) enter(c *conversation, account Account, v *view) error {
	signer, err := t.signer()
	if err != nil {
		return err
	}
	join, err := mls.JoinExternal(t.rand, v.info, mls.ExternalJoinParams{
		Signer: signer, Credential: mls.BasicCredential([]byte(account.Actor)), Capabilities: capabilities(), Replace: v.own,
		AuthenticatedData: fence{place: v.place}.marshal(),
	})
	var invalid *mls.InvalidError
	if errors.As(err, &invalid) {
		return t.resyncLater(c, err.Error())
	}
	if err != nil {
		return fmt.Errorf("device: coming back into %s: %w", c.id, err)
	}
	next := join.Group()
	j := &CommitJob{
		ConversationID: c.id, Conversation: c.URL, Hub: c.Hub, Term: c.term(), Epoch: v.Epoch, Seq: c.Seq, Head: c.Head[:], Commit: join.Message(), Despite: c.Despite,
		To: slices.DeleteFunc(actorsOf(v.members), func(actor string) bool { return actor == account.Actor }),
	}
	if j.Ticket, err = ticketOf(next); err != nil {
		return err
	}
	j.Signature = receipt.SignSubmit(receipt.TicketKey(v.ticket), c.groupID(), j.Term, j.Epoch, j.Commit, [32]byte(j.Ticket))
	if j.GroupInfo, err = sealFor(t.rand, next, len(j.Commit)); err != nil {
		return err
	}
	if err := t.putComeback(c.id, next, comeback{sha256.Sum256(j.Commit), v.Epoch, j.Ticket}); err != nil {
		return err
	}
	if err := t.putRowOf(c); err != nil {
		return err
	}
	return t.addJob(j)
}

// putComeback keeps the group for when the hub has said yes. The key of its leaf is kept with the others.
func (t *txn) putComeback(id string, next *mls.Group, b comeback) error {
	for _, r := range next.Changes(nil) {
		if err := t.Put(comebackBucket(id), r.Key, r.Value); err != nil {
			return fmt.Errorf("device: writing a return: %w", err)
		}
	}
	life, err := t.lifeline(id)
	if err != nil {
		return err
	}
	life.Keys = append(life.Keys[:min(len(life.Keys), maxLeafKeys-1)], next.LeafKey())
	if err := t.putRow(bucketLifeline, id, life); err != nil {
		return err
	}
	return t.putRow(bucketComeback, id, b)
}

// returned takes the hub's receipt for our return.
func (t *txn) returned(c *conversation, raw []byte) error {
	b, err := t.comeback(c.id)
	if err != nil || b == nil {
		return err
	}
	r, err := parseReceipt(raw)
	if err == nil && r.MessageHash != b.Hash {
		err = failed("R3", "the receipt is for another commit")
	}
	if err == nil {
		err = c.checkChain(raw)
	}
	if err != nil {
		return errors.Join(ErrReceipt, err)
	}
	c.hubAnswered()
	return t.rejoin(c, b, r, raw)
}

// rejoin takes the group that our return has made, on its receipt, which is the next of the chain.
func (t *txn) rejoin(c *conversation, b *comeback, r receipt.Receipt, raw []byte) error {
	if r.Epoch != b.Epoch || !bytes.Equal(r.Ticket[:], b.Ticket) {
		return errors.Join(ErrReceipt, failed("R4", "the receipt has another ticket than the epoch it opens"))
	}
	account, err := t.account()
	if err != nil {
		return err
	}
	next, err := t.afterComeback(c.id)
	if err != nil {
		return err
	}
	if c.group, err = t.movedTo(c, next); err != nil {
		return err
	}
	if err := t.dropComeback(c.id); err != nil {
		return err
	}
	lost := *c.Resync
	c.Resync, c.State, c.Reason = nil, StateActive, ""
	c.AskAt, c.PassAt = time.Time{}, time.Time{}
	c.Renewed, c.Sent, c.Alone = t.now, 0, next.Epoch()
	if err := t.adopt(c, c.group, r, raw, account.Actor); err != nil {
		return err
	}
	if err := t.emit(Event{
		Type: EventConversationUpdated, Conversation: c.id, Code: CodeResynced,
		Detail: lost.Detail + "; it has come back, and what others wrote since " + lost.Since.UTC().Format("2006-01-02 15:04") + " may be missing here",
	}); err != nil {
		return err
	}
	if err := t.sendAstray(c, lost); err != nil {
		return err
	}
	if err := t.welcomeParked(c.id); err != nil {
		return err
	}
	if err := t.fetch(c); err != nil {
		return err
	}
	return t.finish(c)
}

func (t *txn) afterComeback(id string) (*mls.Group, error) {
	var records []mls.Record
	if err := t.Each(comebackBucket(id), func(key string, value []byte) error {
		records = append(records, mls.Record{Key: key, Value: value})
		return nil
	}); err != nil {
		return nil, err
	}
	g, err := mls.LoadGroup(records)
	if err != nil {
		return nil, fmt.Errorf("device: reading a return: %w", err)
	}
	return g, nil
}

// movedTo is the group after our return, with what the old state can still read, if that is whole. Else the damaged rows go.
func (t *txn) movedTo(c *conversation, next *mls.Group) (*mls.Group, error) {
	old, err := t.current(c.id, c.conversationRow)
	c.Missed = &missed{From: c.Places[0].Epoch + 1, To: next.Epoch() - 1}
	if common := c.Resync.Common; common != nil { // our epochs of those numbers were not theirs
		c.Missed.From = min(c.Missed.From, *common+1)
	}
	if err == nil {
		g := old.group.Clone()
		if err = g.Rejoin(next); errors.Is(err, mls.ErrStale) { // the epochs that we had are not those of the others
			c.Places, c.Missed.From = nil, 0
			return next, nil
		}
		return g, err
	}
	if !errors.Is(err, mls.ErrDamaged) {
		return nil, err
	}
	return next, t.empty(groupBucket(c.id))
}

// empty removes all rows of a bucket.
func (t *txn) empty(bucket string) error {
	var keys []string
	if err := t.Each(bucket, func(key string, _ []byte) error {
		keys = append(keys, key)
		return nil
	}); err != nil {
		return err
	}
	for _, key := range keys {
		if err := t.Delete(bucket, key); err != nil {
			return fmt.Errorf("device: removing rows: %w", err)
		}
	}
	return nil
}

// comebackLost is for a return that came too late: somebody else has the epoch.
func (t *txn) comebackLost(c *conversation, events []HubEvent) error {
	if err := t.dropComeback(c.id); err != nil {
		return err
	}
	r := *c.Resync
	r.Tries++
	c.Resync = &r
	if r.Tries > maxLostRaces {
		return t.resyncLater(c, "others changed the conversation each time it tried")
	}
	seq := c.Seq
	if err := t.resyncEvents(c, events, true); err != nil || c.Seq > seq || c.Resync == nil {
		return err
	}
	if err := t.fetch(c); err != nil {
		return err
	}
	return t.putRowOf(c)
}

// startOver drops what was under way and what is damaged of a conversation that a Welcome leads into anew.
func (t *txn) startOver(id string) error {
	if err := t.dropComeback(id); err != nil {
		return err
	}
	if err := t.dropAllButSends(id); err != nil {
		return err
	}
	c, err := t.rowOf(id)
	if err != nil {
		return err
	}
	if _, err = t.current(id, c.conversationRow); !errors.Is(err, mls.ErrDamaged) {
		return err
	}
	return t.empty(groupBucket(id))
}
