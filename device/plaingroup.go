package device

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"

	"github.com/waxwing-dm/waxwing/keydir"
	"github.com/waxwing-dm/waxwing/mls"
)

// workPlain brings a step of a plain conversation forward. Our own commits count when they are made, as everybody's do.
func (t *txn) workPlain(c *conversation, s *step) (done bool, err error) {
	switch s.Kind {
	case stepLeave:
		return true, t.leavePlain(c)
	case stepShow, stepRole, stepHubs, stepRenew, stepPart:
		return true, nil // there is nothing of that here
	}
	if c.Plain.Forked != "" {
		return false, nil
	}
	switch s.Kind {
	case stepSend:
		return t.workSend(c, s)
	case stepRemove:
		return t.removePlain(c, s, func(leaf) bool { return true })
	case stepPrune:
		return t.removePlain(c, s, func(l leaf) bool {
			known, err := t.contact(l.actor)
			return err == nil && len(known.unlisted([]string{keydir.DeviceID(l.key)})) > 0
		})
	}
	return t.workPlainAdd(c, s)
}

func (t *txn) removePlain(c *conversation, s *step, which func(leaf) bool) (done bool, err error) {
	var proposals []mls.Proposal
	for _, m := range c.group.Members() {
		if l := leafOf(m); slices.Contains(s.Actors, l.actor) && m.Leaf != c.group.OwnLeaf() && which(l) {
			proposals = append(proposals, mls.RemoveProposal(m.Leaf))
		}
	}
	if len(proposals) == 0 {
		return true, nil
	}
	return true, t.commitPlain(c, s, proposals, nil)
}

// workPlainAdd looks up, claims and adds. Who has a directory is added as everywhere.
func (t *txn) workPlainAdd(c *conversation, s *step) (done bool, err error) {
	s.Actors = slices.DeleteFunc(s.Actors, c.has)
	if changed, err := t.changed(s.Actors); err != nil || len(changed) > 0 {
		return false, err
	}
	plain, missing, err := t.plainOf(c, s)
	switch {
	case err != nil:
		return false, err
	case len(missing) > 0:
		return false, t.lookUp(c.id, missing)
	case len(s.Actors) == 0:
		return true, nil
	case !s.Claimed:
		return false, t.claim(c.id, s.Actors, plain)
	}
	proposals, added, missing, err := t.checkPlainPackages(c, s, plain)
	switch {
	case err != nil:
		return false, err
	case len(missing) > 0:
		return false, t.lookUp(c.id, missing)
	case len(proposals) == 0:
		return true, nil
	case len(c.group.Members())+len(added) > maxPlainDevices:
		return true, t.intentFailed(c, s.Actors, CodeTooLarge, fmt.Sprintf("a plain conversation has at most %d devices", maxPlainDevices))
	}
	if changed, err := t.meet(added); err != nil {
		return false, err
	} else if changed { // by the time they are accepted there may be others
		s.Claimed, s.Packages = false, nil
		return false, nil
	}
	return true, t.commitPlain(c, s, proposals, added)
}

// plainOf sorts the actors of a step: who is plain, who has to be looked up, and who has no keys and is taken out.
func (t *txn) plainOf(c *conversation, s *step) (plain, missing []string, err error) {
	var others []string
	for _, actor := range s.Actors {
		is, known, err := t.plainness(actor, s.Since)
		switch {
		case err != nil:
			return nil, nil, err
		case is && !known:
			missing = append(missing, actor)
		case is:
			plain = append(plain, actor)
		default:
			others = append(others, actor)
		}
	}
	rest := step{Actors: others, Since: s.Since}
	more, err := t.withoutKeys(c, &rest)
	if err != nil {
		return nil, nil, err
	}
	s.Actors = slices.DeleteFunc(s.Actors, func(actor string) bool {
		return slices.Contains(others, actor) && !slices.Contains(rest.Actors, actor)
	})
	return plain, append(missing, more...), nil
}

// checkPlainPackages turns claimed packages into proposals.
func (t *txn) checkPlainPackages(c *conversation, s *step, plain []string) (proposals []mls.Proposal, added []leaf, missing []string, err error) {
	keys := map[string]bool{}
	for _, l := range leavesOf(c.group.Members()) {
		keys[string(l.key)] = true
	}
	listed := step{Since: s.Since, Packages: s.Packages}
	for _, actor := range s.Actors {
		if !slices.Contains(plain, actor) {
			listed.Actors = append(listed.Actors, actor)
			continue
		}
		usable := 0
		refused := errors.New("no key package is to be had for " + actor)
		for _, p := range s.Packages[actor] {
			kp, l, bad := t.checkPlainPackage(actor, p.KeyPackage)
			switch {
			case bad != nil:
				refused = bad
			case !keys[string(l.key)] && usable < maxPlainActor:
				keys[string(l.key)] = true
				usable++
				proposals, added = append(proposals, mls.AddProposal(kp)), append(added, l)
			}
		}
		if usable == 0 {
			if err := t.intentFailed(c, []string{actor}, packageCode(refused), refused.Error()); err != nil {
				return nil, nil, nil, err
			}
		}
	}
	more, leaves, missing, err := t.checkPackages(c, &listed)
	return append(proposals, more...), append(added, leaves...), missing, err
}

// commitPlain makes a commit, applies it and sends it to everybody. The state before it is kept until the others show that they have followed: one of
// them may have made another commit meanwhile.
func (t *txn) commitPlain(c *conversation, s *step, proposals []mls.Proposal, added []leaf) error {
	account, err := t.account()
	if err != nil {
		return err
	}
	before, others := c.group.Clone(), c.others(account.Actor)
	params := mls.CommitParams{Proposals: proposals, SkipStored: true, Padding: bucketOf, Now: t.now}
	if len(c.Plain.Continues) > 0 { // whose program knows it goes on there under the same conversation
		params.GroupInfo = []mls.Extension{{Type: continuesExtension, Data: c.Plain.Continues}}
	}
	pending, err := c.group.Commit(t.rand, params)
	var invalid *mls.InvalidError
	if errors.As(err, &invalid) {
		return t.intentFailed(c, s.Actors, CodeCommitInvalid, err.Error())
	}
	if err != nil {
		return fmt.Errorf("device: committing in %s: %w", c.id, err)
	}
	commit, welcome := pending.Message(), pending.Welcome()
	if err := c.group.ConfirmPending(); err != nil {
		return fmt.Errorf("device: merging our commit in %s: %w", c.id, err)
	}
	if len(others) > 0 {
		kept := *s
		kept.Claimed, kept.Packages = false, nil
		b := branch{Commit: sha256.Sum256(commit), By: account.Actor, Behind: c.devicesBut(before), Step: &kept}
		if err := t.keepBranch(c, b, before); err != nil {
			return err
		}
		if err := t.sendChange(c, commit, others); err != nil {
			return err
		}
	}
	if err := t.plainMoved(c, account.Actor); err != nil {
		return err
	}
	if welcome == nil {
		return nil
	}
	return t.sendChange(c, welcome, actorsOf(added))
}

// devicesBut are those that are in both states but our own.
func (c *conversation) devicesBut(before *mls.Group) (devices []string) {
	for _, m := range c.group.Members() {
		was, ok := before.Member(m.Leaf)
		if l := leafOf(m); ok && m.Leaf != c.group.OwnLeaf() && bytes.Equal(l.key, leafOf(was).key) {
			devices = append(devices, keydir.DeviceID(l.key))
		}
	}
	return devices
}

// sendChange sends a commit, a Welcome or a proposal as the draft has it, in the order of what is said.
func (t *txn) sendChange(c *conversation, message []byte, to []string) error {
	hash := sha256.Sum256(message)
	if err := t.putRow(bucketSeen, hex.EncodeToString(hash[:]), outgoing{Conversation: c.id, To: len(to), Change: true}); err != nil {
		return err
	}
	return t.addJob(&SendJob{ConversationID: c.id, Conversation: contextOf(c.Plain.GroupID), Message: message, To: to, Epoch: c.group.Epoch(), Plain: true})
}

// leavePlain asks the others to take us out, as programs of the draft do, and is gone at once.
func (t *txn) leavePlain(c *conversation) error {
	account, err := t.account()
	if err != nil {
		return err
	}
	if others := c.others(account.Actor); len(others) > 0 && c.Plain.Forked == "" {
		wish, err := c.group.Propose(t.rand, mls.RemoveProposal(c.group.OwnLeaf()), mls.WirePrivateMessage, nil)
		if err != nil {
			return fmt.Errorf("device: leaving %s: %w", c.id, err)
		}
		if err := t.sendChange(c, wish, others); err != nil {
			return err
		}
	}
	return t.endPlain(c, account.Actor, CodeLeft)
}

// endPlain ends our part in it.
func (t *txn) endPlain(c *conversation, by, code string) error {
	account, err := t.account()
	if err != nil {
		return err
	}
	c.State, c.Reason, c.Plain.Forked = StateLeft, code, ""
	if err := t.dropBranches(c, func(branch) bool { return true }); err != nil {
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

// prunePlain is C7 for who has a directory in a plain conversation.
func (t *txn) prunePlain(c *conversation, account Account, actor string) error {
	before, err := t.rank(c, account)
	if err != nil || before > 0 {
		return err
	}
	queued, err := t.queueFirst(c.id, step{Kind: stepPrune, Actors: []string{actor}})
	if err != nil || !queued {
		return err
	}
	return t.finish(c)
}

// encryptPlain encrypts without a fence: there is no chain to have a place in.
func (t *txn) encryptPlain(c *conversation, content func(salt []byte, activity string) ([]byte, error)) ([]byte, error) {
	activity, err := t.uuidIRI()
	if err != nil {
		return nil, err
	}
	data, err := content(nil, activity)
	if err != nil {
		return nil, err
	}
	message, err := c.group.Encrypt(t.rand, data, nil, bucketOf)
	if err != nil {
		return nil, fmt.Errorf("device: encrypting a message in %s: %w", c.id, err)
	}
	return message, nil
}
