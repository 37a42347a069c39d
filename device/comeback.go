package device

import (
	"bytes"
	"cmp"
	"crypto/ed25519"
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

// A view is a group as a committer showed it, opened and checked as far as that goes without asking anybody.
type view struct {
	SealedGroup
	inside
	info    *mls.Message
	room    room
	members []leaf
	signer  leaf
	own     *uint32 // our old leaf
	receipt receipt.Receipt
	place   place
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

// choose goes from the oldest to the newest, so that what an admin has changed meanwhile is known before a member's word is taken.
func (t *txn) choose(c *conversation, account Account, list []SealedGroup) (best *view, why string, err error) {
	life, err := t.lifeline(c.id)
	if err != nil {
		return nil, "", err
	}
	known, err := parseRoom(life.Room)
	if err != nil {
		return nil, "", err
	}
	actors := map[string]bool{}
	for _, m := range c.Members {
		actors[m.Actor] = true
	}
	list = slices.Clone(list[:min(len(list), maxSealedGroups)])
	slices.SortFunc(list, func(a, b SealedGroup) int { return cmp.Compare(a.Seq, b.Seq) })
	why = "nobody has left anything there for this device"
	for _, s := range list {
		v, bad, err := t.look(c, account, life, s)
		if err != nil {
			return nil, "", err
		}
		if bad == nil {
			bad = v.credible(known, actors)
		}
		if bad != nil {
			why = bad.Error()
			continue
		}
		best, known, actors = v, v.room, map[string]bool{}
		for _, l := range v.members {
			actors[l.actor] = true
		}
	}
	return best, why, nil
}

// look opens what is sealed and holds it against the receipt of its commit, and the group in it against itself.
func (t *txn) look(c *conversation, account Account, life lifeline, s SealedGroup) (v *view, bad, err error) {
	raw, ok, err := t.Get(bucketReceipt, receiptKey(c.id, s.Seq))
	if err != nil {
		return nil, nil, err
	}
	v = &view{SealedGroup: s}
	if !ok || s.Seq > c.Seq {
		return nil, failed("G1", "the group of receipt %d, which the hub has not shown", s.Seq), nil
	}
	if v.receipt, err = receipt.Parse(raw); err != nil {
		return nil, nil, err
	}
	r := v.receipt
	if r.Kind != receipt.KindCommit && r.Kind != receipt.KindMove || r.Term != s.Term || r.Epoch+1 != s.Epoch {
		return nil, failed("G1", "the group of epoch %d is not what receipt %d opened", s.Epoch, s.Seq), nil
	}
	if v.inside, bad = openSealed(s.Sealed, c.groupID(), s.Epoch, life.all()); bad != nil {
		return nil, bad, nil
	}
	if ticket := receipt.TicketKey(v.ticket).Public().(ed25519.PublicKey); !bytes.Equal(ticket, r.Ticket[:]) {
		return nil, failed("R4", "the sealed group has another ticket than receipt %d", s.Seq), nil
	}
	v.place = place{Epoch: s.Epoch, Term: r.Term, Seq: r.Seq, Authenticator: v.authenticator}
	head := receipt.Head(raw)
	copy(v.place.Head[:], head[:])
	return v, v.read(c, account), nil
}

// read checks the group itself: signatures, tree and room.
func (v *view) read(c *conversation, account Account) error {
	var err error
	if v.info, err = mls.ParseMessage(v.groupInfo); err != nil {
		return fmt.Errorf("device: reading a group info: %w", err)
	}
	o, err := mls.Observe(v.info, nil)
	if err != nil {
		return fmt.Errorf("device: reading a group info: %w", err)
	}
	if o.Suite() != suite || !bytes.Equal(o.GroupID(), c.groupID()) || o.Epoch() != v.Epoch {
		return failed("G2", "the group info is of another group or epoch")
	}
	if v.room, err = roomOf(o.Extensions()); err != nil {
		return failed("G2", "%v", err)
	}
	members := o.Members()
	v.members, v.signer = leavesOf(members), leafOf(o.Signer())
	if len(members) > maxMembers || !slices.ContainsFunc(v.members, func(l leaf) bool { return v.room.admin(l.actor) }) {
		return failed("G2", "a group of %d devices, or without an admin", len(members))
	}
	for _, m := range members {
		if l := leafOf(m); l.actor == account.Actor && bytes.Equal(l.key, account.SignatureKey) {
			v.own = &m.Leaf
		}
	}
	if v.own == nil {
		return failed("G2", "a group without this device")
	}
	return nil
}

// credible is G3: who has not been an admin, as far as we know, cannot show us people whom we do not know, other admins or other hubs.
func (v *view) credible(known room, actors map[string]bool) error {
	if v.room.version != known.version || v.room.conversation != known.conversation || v.room.created != known.created {
		return failed("G3", "another room")
	}
	if !actors[v.signer.actor] {
		return failed("G3", "shown by %.200q, who was no member", v.signer.actor)
	}
	if known.admin(v.signer.actor) {
		return nil
	}
	if !bytes.Equal(v.room.marshal(), known.marshal()) {
		return failed("G3", "%.200q is no admin and shows another room", v.signer.actor)
	}
	for _, l := range v.members {
		if !actors[l.actor] {
			return failed("G3", "%.200q is no admin and shows %.200q as a member", v.signer.actor, l.actor)
		}
	}
	return nil
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
	c.Renewed, c.Sent = t.now, 0
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
	if err := t.resyncEvents(c, events); err != nil || c.Seq > seq || c.Resync == nil {
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
