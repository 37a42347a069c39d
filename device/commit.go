package device

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"

	"github.com/waxwing-dm/waxwing/internal/receipt"
	"github.com/waxwing-dm/waxwing/mls"
)

// workRemove brings an intent to remove actors forward.
func (t *txn) workRemove(c *conversation, s *step) (done bool, err error) {
	var (
		proposals []mls.Proposal
		removed   []leaf
	)
	for _, m := range c.group.Members() {
		if l := leafOf(m); slices.Contains(s.Actors, l.actor) {
			proposals, removed = append(proposals, mls.RemoveProposal(m.Leaf)), append(removed, l)
		}
	}
	if len(proposals) == 0 {
		return true, nil
	}
	return t.propose(c, s, proposals, change{removed: removed})
}

// propose makes a commit of ours, keeps it pending and writes down the job that submits it. The rules that the others will apply are applied
// first; what they refuse ends the intent.
func (t *txn) propose(c *conversation, s *step, proposals []mls.Proposal, ch change) (done bool, err error) {
	if s.Lost >= lostBeforeLease && !s.HasLease {
		return false, t.askLease(c, s)
	}
	account, err := t.account()
	if err != nil {
		return false, err
	}
	if ch.before, err = c.room(); err != nil {
		return false, err
	}
	if ch.after.conversation == "" {
		ch.after = ch.before
	}
	ch.hub = c.presentHub()
	ch.members = leavesOf(c.group.Members())
	ch.committer = leaf{actor: account.Actor, key: account.SignatureKey}
	if refused := allowed(ch); refused != nil {
		return true, t.intentFailed(c, s.Actors, CodeNotAllowed, refused.Error())
	}
	f := fence{place: c.Places[0]}
	if s.Kind == stepPart {
		f.leaving = c.leavingMessages()
	}
	if f.seen, err = t.sightings(c, account.Actor); err != nil {
		return false, err
	}
	pending, err := c.group.Commit(t.rand, mls.CommitParams{
		Proposals: proposals, SkipStored: s.Kind != stepPart, AuthenticatedData: f.marshal(), Padding: bucketOf, Now: t.now,
	})
	var invalid *mls.InvalidError
	if errors.As(err, &invalid) {
		return true, t.intentFailed(c, s.Actors, CodeCommitInvalid, err.Error())
	}
	if err != nil {
		return false, fmt.Errorf("device: committing in %s: %w", c.id, err)
	}
	s.InFlight = true
	return false, t.submit(c, account, s, pending, ch)
}

// submit writes down the job for a pending commit.
func (t *txn) submit(c *conversation, account Account, s *step, pending *mls.PendingCommit, ch change) error {
	key, err := ticketKey(c.group)
	if err != nil {
		return err
	}
	next, err := ticketOf(pending)
	if err != nil {
		return err
	}
	j := &CommitJob{
		ConversationID: c.id, Conversation: c.URL, Term: c.term(), Epoch: c.group.Epoch(), Hub: c.Hub, Seq: c.Seq, Head: c.Head[:], Commit: pending.Message(), Ticket: next, Despite: c.Despite,
		To: c.others(account.Actor), Welcome: pending.Welcome(), WelcomeTo: actorsOf(ch.added),
	}
	if j.GroupInfo, err = sealFor(t.rand, pending.Next(), len(j.Commit)); err != nil {
		return err
	}
	if err := t.keepLifeline(c); err != nil {
		return err
	}
	hash := sha256.Sum256(j.Commit)
	if err := t.Put(bucketSeen, hex.EncodeToString(hash[:]), []byte{1}); err != nil {
		return fmt.Errorf("device: writing a commit's hash: %w", err)
	}
	j.Signature = receipt.SignSubmit(key, c.group.GroupID(), j.Term, j.Epoch, j.Commit, [32]byte(next))
	if move, ok := ch.moves(); ok {
		j.MoveHub, j.MoveKey = move.Hub, move.Key[:]
		j.MoveSignature = receipt.SignMove(key, c.group.GroupID(), j.Term, j.Epoch, j.Commit, move)
	}
	if len(s.LeaseKey) > 0 {
		lease := ed25519.NewKeyFromSeed(s.LeaseKey)
		j.LeaseKey, j.LeaseSignature = lease.Public().(ed25519.PublicKey), receipt.SignLeased(lease, j.Signature)
	}
	return t.addJob(j)
}

func actorsOf(leaves []leaf) []string {
	var actors []string
	for _, l := range leaves {
		actors = append(actors, l.actor)
	}
	slices.Sort(actors)
	return slices.Compact(actors)
}

// Committed reports the receipt for a commit of ours. If others are missing before it, the commit waits for them. One that does not hold (R1
// to R4) is an ErrReceipt and leaves the commit pending: the hub may have given a better one to others.
func (d *Device) Committed(job string, raw []byte) error {
	return d.update(func(t *txn) error {
		j, ok, err := takeJob[*CommitJob](t, job)
		if err != nil || !ok {
			return err
		}
		if c, err := t.astray(j.ConversationID); err != nil || c != nil {
			if err != nil {
				return err
			}
			return t.returned(c, raw)
		}
		c, err := t.mustOpen(j.ConversationID)
		if err != nil {
			return err
		}
		r, err := parseReceipt(raw)
		if err == nil && c.ahead(r) {
			return t.granted(c, Incoming{Conversation: c.URL, Message: j.Commit, Receipt: raw})
		}
		if err == nil {
			err = c.checkOurs(r, raw)
		}
		if err != nil {
			return errors.Join(ErrReceipt, err)
		}
		c.hubAnswered()
		if err := t.confirm(c, r, raw); err != nil {
			return err
		}
		return t.finish(c)
	})
}

// ahead tells whether a receipt is of our pending commit and one that we have not come to yet: all but its place is R1 to R4.
func (c *conversation) ahead(r receipt.Receipt) bool {
	if r.Seq <= c.Seq+1 {
		return false
	}
	before := *c
	before.Seq, before.Head, before.Moved = r.Seq-1, r.Previous, false
	return before.checkOurs(r, r.Marshal()) == nil
}

// granted lets a commit of ours wait for what comes before it in the chain.
func (t *txn) granted(c *conversation, item Incoming) error {
	m, err := mls.ParseMessage(item.Message)
	if err != nil {
		return fmt.Errorf("device: reading our commit in %s: %w", c.id, err)
	}
	since, err := t.lookups()
	if err != nil {
		return err
	}
	if v, err := t.park(c, c.id, m, item, since, verdict{status: waiting}); err != nil || v.status != waiting {
		return orElse(err, ErrReceipt) // there is no room for it: later
	}
	if err := t.fetch(c); err != nil {
		return err
	}
	return t.finish(c)
}

// checkOurs is R1 to R4 for our pending commit.
func (c *conversation) checkOurs(r receipt.Receipt, raw []byte) error {
	pending := c.group.Pending()
	if pending == nil {
		return fmt.Errorf("device: a receipt for %s, where no commit is pending", c.id)
	}
	if err := c.checkChain(raw); err != nil {
		return err
	}
	if r.Epoch != c.group.Epoch() || r.MessageHash != sha256.Sum256(pending.Message()) {
		return failed("R3", "the receipt is for another commit")
	}
	ticket, err := ticketOf(pending)
	if err != nil {
		return err
	}
	if string(ticket) != string(r.Ticket[:]) {
		return failed("R4", "the receipt has another ticket than the epoch it opens")
	}
	return c.checkOurKind(r)
}

// confirm merges our pending commit on its receipt, which was checked.
func (t *txn) confirm(c *conversation, r receipt.Receipt, raw []byte) error {
	account, err := t.account()
	if err != nil {
		return err
	}
	message := c.group.Pending().Message()
	if err := c.group.ConfirmPending(); err != nil {
		return fmt.Errorf("device: merging our commit in %s: %w", c.id, err)
	}
	s, err := t.popFirst(c.id)
	if err != nil {
		return err
	}
	if s.Kind == stepPart {
		c.parted = c.leavers()
	}
	if err := t.dropCommitJob(c.id); err != nil {
		return err
	}
	if err := t.adopt(c, c.group, r, raw, account.Actor); err != nil {
		return err
	}
	return t.afterMove(c, raw, message, true)
}

// checkChain is R1 and R2.
func (c *conversation) checkChain(raw []byte) error {
	if _, _, err := c.chain().Next(raw); err != nil {
		return fmt.Errorf("device: following the chain of %s: %w", c.id, err)
	}
	return nil
}

func (t *txn) dropCommitJob(id string) error { return t.dropJobsOf(id, kindCommit) }

// raceLost takes our commit back: another one has the epoch. The intent stays and is built anew.
func (t *txn) raceLost(c *conversation) error {
	c.group.DropPending()
	if err := t.dropCommitJob(c.id); err != nil {
		return err
	}
	return t.changeFirst(c.id, func(s *step) {
		if s.InFlight {
			s.InFlight = false
			s.Lost++
			s.HasLease, s.LeaseKey = false, nil
		}
	})
}

// CommitConflict reports that the hub gave the epoch to somebody else, with what we missed. Our commit is dropped, theirs are applied, and the
// intent is checked and built again.
func (d *Device) CommitConflict(job string, events []HubEvent) error {
	return d.update(func(t *txn) error {
		j, ok, err := takeJob[*CommitJob](t, job)
		if err != nil || !ok {
			return err
		}
		if c, err := t.astray(j.ConversationID); err != nil || c != nil {
			if err != nil {
				return err
			}
			return t.comebackLost(c, events)
		}
		c, err := t.mustOpen(j.ConversationID)
		if err != nil {
			return err
		}
		seq := c.Seq
		if err := t.follow(c, events); err != nil {
			return err
		}
		if c.group.Pending() != nil {
			if err := t.raceLost(c); err != nil {
				return err
			}
		}
		if c.Seq == seq && c.State != StateLeft {
			if err := t.fetch(c); err != nil {
				return err
			}
		}
		return t.finish(c)
	})
}
