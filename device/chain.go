package device

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/waxwing-dm/waxwing/internal/receipt"
	"github.com/waxwing-dm/waxwing/mls"
)

// judgeCommit takes the next step of the chain, if the commit is that.
func (t *txn) judgeCommit(c *conversation, m *mls.Message, item Incoming, since uint64) (verdict, error) {
	r, err := parseReceipt(item.Receipt)
	if err != nil || !bytes.Equal(r.GroupID, c.group.GroupID()) {
		return refuse(CodeRejectedForged, "R1: a commit without a receipt of the conversation"), nil
	}
	switch {
	case r.Term < c.term():
		_, err := t.contradicted(c, item.Receipt)
		return verdict{status: ignored}, err // R6
	case r.Term > c.term() && c.mayFollow(r):
		return verdict{status: waiting, fetch: true}, nil // for the claim
	case r.Term > c.term() || !r.Verify(c.HubKey):
		return refuse(CodeRejectedForged, "R1: a commit without a receipt of the conversation's hub"), nil
	case r.Seq <= c.Seq:
		return t.compare(c, r, item.Receipt)
	case c.Resync != nil: // it is followed by its receipt, and the way back leads past it; who made it has left something for us at the hub
		return verdict{status: waiting, fetch: true}, nil
	case c.State != StateActive: // paused: it holds its place; left: a Welcome may be under way
		return verdict{status: waiting}, nil
	case r.Seq > c.Seq+1:
		return verdict{status: waiting, fetch: true}, nil
	}
	return t.judgeTurn(c, m, r, item, since)
}

// judgeTurn is for the receipt whose number is next: does it follow on the last (R2), has it this commit (R3), and is that of our epoch (R5)?
func (t *txn) judgeTurn(c *conversation, m *mls.Message, r receipt.Receipt, item Incoming, since uint64) (verdict, error) {
	if err := c.checkChain(item.Receipt); err != nil {
		return pause(CodeForkDetected, err), t.askBehind(c)
	}
	if r.MessageHash != sha256.Sum256(item.Message) {
		v := refuse(CodeRejectedForged, "R3: the receipt is for another commit")
		v.fetch = true
		return v, nil
	}
	if r.Epoch != c.group.Epoch() { // R5: somebody else's branch
		if err := t.step(c, r, item.Receipt); err != nil {
			return verdict{}, err
		}
		return verdict{status: stepped}, t.doubtReturn(c, r)
	}
	if pending := c.group.Pending(); pending != nil && bytes.Equal(pending.Message(), item.Message) {
		if err := c.checkOurs(r, item.Receipt); err != nil {
			return pause(CodeForkDetected, err), nil
		}
		return verdict{status: stepped}, t.confirm(c, r, item.Receipt)
	}
	return t.judgeNext(c, m, r, item.Receipt, since)
}

// compare holds a receipt against the one that we followed at its place. Two that differ are proof that the hub lied.
func (t *txn) compare(c *conversation, r receipt.Receipt, raw []byte) (verdict, error) {
	lied, err := t.contradicted(c, raw)
	if err != nil || !lied {
		return verdict{status: ignored}, err
	}
	return refuse(CodeForkDetected, "R2: the hub signed two different receipts number %d", r.Seq), nil
}

// A nextCommit is somebody's commit whose turn it is in the chain. What it does is worked out on a copy of the group: one that waits for a
// lookup is processed again, with the same keys.
type nextCommit struct {
	receipt receipt.Receipt
	raw     []byte     // the receipt's bytes
	group   *mls.Group // the copy
	staged  *mls.StagedCommit
	broken  bool   // its path cannot be followed by this device; the others see nothing wrong with it
	change  change // in the terms of the rules
	came    newcomers
	fence   fence
}

// judgeNext merges a commit if the rules allow it. What is wrong with it is so for everybody alike, and disputed.
func (t *txn) judgeNext(c *conversation, m *mls.Message, r receipt.Receipt, raw []byte, since uint64) (verdict, error) {
	n := &nextCommit{receipt: r, raw: raw, group: c.group.Clone()}
	why := t.checkMLS(c, n, m)
	if why == nil && !n.broken {
		why = c.checkReceipt(n)
	}
	switch {
	case why != nil && errors.Is(why.err, mls.ErrOwnMessage):
		return t.judgeOurs(c, m, n, *why)
	case why != nil && why.reason == receipt.ReasonInvalid && c.Alone == c.group.Epoch(): // it may be good where the others are
		if err := t.step(c, r, raw); err != nil {
			return verdict{}, err
		}
		return verdict{status: stepped}, t.doubtReturn(c, r)
	case why != nil:
		return t.dispute(c, r, raw, *why)
	case n.broken:
		return verdict{status: waiting}, t.loseThread(c, CodeCommitInvalid, "this device cannot follow a change that others can")
	}
	came, v, err := t.judgeEntering(n.change, since)
	if err != nil || v.status != accepted {
		return v, err
	}
	n.came = came
	return verdict{status: stepped}, t.merge(c, n)
}

// checkMLS is RFC 9420 for the commit and the wishes that it carries (C8), and then the rules of the room.
func (t *txn) checkMLS(c *conversation, n *nextCommit, m *mls.Message) *objection {
	leaving, err := t.takeAlong(n.group, m)
	if err != nil {
		return &objection{receipt.ReasonNotAllowed, CodeNotAllowed, err}
	}
	p, err := n.group.Process(m, t.now)
	n.broken = errors.Is(err, mls.ErrBrokenPath)
	if err != nil && !n.broken {
		return &objection{receipt.ReasonInvalid, CodeCommitInvalid, err}
	}
	staged, ok := p.(*mls.StagedCommit)
	if !ok {
		return &objection{receipt.ReasonInvalid, CodeCommitInvalid, errors.New("the message is not what its header says")}
	}
	n.staged = staged
	return c.checkRoom(n, leaving)
}

// checkRoom is C2 to C9, which all members decide alike.
func (c *conversation) checkRoom(n *nextCommit, leaving []leaf) *objection {
	var err error
	if n.change, err = c.changeOf(n.staged, leaving); err == nil {
		err = allowed(n.change)
	}
	if err != nil {
		return &objection{receipt.ReasonNotAllowed, CodeNotAllowed, err}
	}
	return nil
}

// checkReceipt is what the receipt says of the commit: F1, R4 and R7.
func (c *conversation) checkReceipt(n *nextCommit) *objection {
	var err error
	if n.fence, err = c.checkStaged(n.staged, n.receipt); err == nil && !n.staged.RemovesUs() {
		err = n.change.checkKind(n.receipt)
	}
	if err != nil {
		return &objection{receipt.ReasonMismatch, CodeForkDetected, err}
	}
	return nil
}

// merge goes on to the epoch of a commit that holds, with our own pending commit taken back.
func (t *txn) merge(c *conversation, n *nextCommit) error {
	if err := n.group.Apply(n.staged); err != nil {
		return fmt.Errorf("device: merging a commit in %s: %w", c.id, err)
	}
	if c.group.Pending() != nil {
		if err := t.raceLost(c); err != nil {
			return err
		}
	}
	by := n.change.committer.actor
	c.parted = n.change.leaving
	c.heard(by)
	if n.staged.RemovesUs() {
		return t.leave(c, n.group, n.receipt, n.raw, by)
	}
	if err := t.adopt(c, n.group, n.receipt, n.raw, by); err != nil {
		return err
	}
	if err := t.letIn(c, n.came, by); err != nil {
		return err
	}
	if err := t.putOut(c, by); err != nil {
		return err
	}
	if err := t.afterMove(c, n.raw, nil, false); err != nil {
		return err
	}
	return t.sighted(c, by, n.fence.seen)
}

// judgeOurs is for a commit in our name that is not pending. One that we made and gave up is good for everybody else; one that we did not make is
// good for nobody.
func (t *txn) judgeOurs(c *conversation, m *mls.Message, n *nextCommit, why objection) (verdict, error) {
	hash := sha256.Sum256(m.Marshal())
	if _, made, err := t.Get(bucketSeen, hex.EncodeToString(hash[:])); err != nil {
		return verdict{}, fmt.Errorf("device: looking for a commit of ours: %w", err)
	} else if made {
		return verdict{status: waiting}, t.loseThread(c, CodeCommitInvalid, "the hub has granted a change of this device that it had given up")
	}
	return t.dispute(c, n.receipt, n.raw, why)
}

// newcomers are the devices that a commit lets in and whose lists do not speak for them: that is known of the unlisted ones, and nobody was
// asked about the others.
type newcomers struct{ unlisted, unasked []leaf }

// judgeEntering is C1 for somebody's commit. It never keeps the commit from being followed, since it depends on what each of us knows: it tells
// what to look up before, and which of the new devices are not to be written to. An update lets in nobody, so nothing is asked for it.
func (t *txn) judgeEntering(ch change, since uint64) (n newcomers, v verdict, err error) {
	for _, l := range ch.added {
		b, err := t.bindLeaf(l, since)
		switch {
		case err != nil:
			return n, v, err
		case b == unbound:
			n.unlisted = append(n.unlisted, l)
		case b == unproven:
			n.unasked = append(n.unasked, l)
			if l.actor != ch.committer.actor { // who adds a device of their own speaks for it meanwhile
				v.lookups = append(v.lookups, l.actor)
			}
		}
	}
	slices.Sort(v.lookups)
	if v.lookups = slices.Compact(v.lookups); len(v.lookups) > 0 && len(v.lookups) <= maxMembers {
		v.status = waiting
		return n, v, nil
	}
	stale, err := t.stale([]string{ch.committer.actor})
	if err != nil {
		return n, v, err
	}
	return n, verdict{status: accepted}, t.renew(stale...)
}

// checkStaged is F1 for the commit and R4.
func (c *conversation) checkStaged(staged *mls.StagedCommit, r receipt.Receipt) (f fence, err error) {
	if f, err = parseFence(staged.AuthenticatedData(), c.group.Epoch()); err != nil {
		return f, err
	}
	if err := f.check(c.Places); err != nil {
		return f, err
	}
	if staged.RemovesUs() {
		return f, nil // the next epoch's secrets are not for us
	}
	ticket, err := ticketOf(staged)
	if err != nil {
		return f, err
	}
	if !bytes.Equal(ticket, r.Ticket[:]) {
		return f, failed("R4", "the receipt has another ticket than the epoch it opens")
	}
	return f, nil
}

// changeOf puts a commit into the terms of the rules.
func (c *conversation) changeOf(staged *mls.StagedCommit, leaving []leaf) (change, error) {
	before, err := c.room()
	if err != nil {
		return change{}, err
	}
	ch := change{
		committer: leafOf(staged.Committer()), before: before, after: before, members: leavesOf(c.group.Members()),
		added: leavesOf(staged.Added()), removed: leavesOf(staged.Removed()),
		leaving: leaving, hub: c.presentHub(),
	}
	for _, m := range staged.Updated() {
		old, ok := c.group.Member(m.Leaf)
		if !ok {
			return change{}, failed("C4", "leaf %d was updated and is not there", m.Leaf)
		}
		ch.updated = append(ch.updated, [2]leaf{leafOf(old), leafOf(m)})
	}
	if staged.External() {
		if err := ch.resyncs(staged); err != nil {
			return change{}, err
		}
	}
	selfRemoves := 0
	for _, kind := range staged.ProposalTypes() {
		switch kind {
		case mls.ProposalSelfRemove:
			selfRemoves++
		case mls.ProposalAdd, mls.ProposalUpdate, mls.ProposalRemove, mls.ProposalGroupContextExtensions:
		default:
			ch.other = !staged.External() // C9 has counted them
		}
	}
	if selfRemoves != len(leaving) {
		return change{}, failed("C8", "the commit carries %d wishes to leave and takes up %d", len(leaving), selfRemoves)
	}
	if staged.RemovesUs() {
		return ch, nil
	}
	if ch.after, err = roomOf(staged.Extensions()); err != nil {
		return change{}, failed("C5", "%v", err)
	}
	ch.other = ch.other || !sameButRoom(c.group.Extensions(), staged.Extensions())
	return ch, nil
}

// resyncs is C9: who comes in from outside is a device that is in already and puts itself in its own place. It counts as an update.
func (c *change) resyncs(staged *mls.StagedCommit) error {
	if len(staged.ProposalTypes()) != 2 || len(c.removed) != 1 || len(c.added) != 1 {
		return failed("C9", "a commit from outside that does more than to replace a leaf")
	}
	old, now := c.removed[0], c.added[0]
	if old.actor != now.actor || !bytes.Equal(old.key, now.key) {
		return failed("C9", "a commit from outside by which %.200q takes the place of another device", now.actor)
	}
	c.updated, c.removed, c.added = [][2]leaf{{old, now}}, nil, nil
	return nil
}

// leave ends our membership: what was received stays, nothing more comes.
func (t *txn) leave(c *conversation, next *mls.Group, r receipt.Receipt, raw []byte, by string) error {
	account, err := t.account()
	if err != nil {
		return err
	}
	code := CodeRemoved
	if by = c.removedBy(account.Actor, by); by == account.Actor {
		code = CodeLeft
	}
	c.group, c.State, c.Reason = next, StateLeft, code
	c.Leaving, c.PartAt = nil, time.Time{}
	if err := t.step(c, r, raw); err != nil {
		return err
	}
	if err := t.dropAllButSends(c.id); err != nil {
		return err
	}
	if err := t.emit(Event{Type: EventMemberRemoved, Conversation: c.id, Actor: account.Actor, By: by}); err != nil {
		return err
	}
	return t.emit(Event{Type: EventConversationUpdated, Conversation: c.id, By: by, Code: code})
}

// dropAllButSends removes a conversation's jobs. What was encrypted before is still for those it was encrypted for.
func (t *txn) dropAllButSends(id string) error {
	var blobs []string
	if err := t.dropJobs(func(j Job) bool {
		if up, ok := j.(*UploadJob); ok && up.For == id {
			blobs = append(blobs, up.Hash)
		}
		_, sending := j.(*SendJob)
		return !sending && concerns(j, id)
	}); err != nil {
		return err
	}
	for _, hash := range blobs {
		if err := t.Delete(bucketBlob, hash); err != nil {
			return fmt.Errorf("device: removing a blob: %w", err)
		}
	}
	return nil
}

// concerns tells whether a job was made for a conversation.
func concerns(j Job, id string) bool { return conversationOfJob(j) == id }

// conversationOfJob is the id of the conversation that a job was made for; empty if it is for none.
func conversationOfJob(j Job) string {
	switch j := j.(type) {
	case *OpenJob:
		return fmt.Sprintf("%x", j.GroupID)
	case *LookupJob:
		return j.For
	case *ClaimJob:
		return j.Conversation
	case *CommitJob:
		return j.ConversationID
	case *SendJob:
		return j.ConversationID
	case *UploadJob:
		return j.For
	case *EventsJob:
		return j.ConversationID
	case *LeaseJob:
		return j.ConversationID
	case *DisputeJob:
		return j.ConversationID
	case *TermJob:
		return j.ConversationID
	case *HubKeysJob:
		return j.ConversationID
	case *GroupInfoJob:
		return j.ConversationID
	}
	return ""
}
