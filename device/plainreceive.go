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

// judgePlain decides on an item of a plain conversation.
func (t *txn) judgePlain(c *conversation, m *mls.Message, item Incoming, since uint64) (verdict, error) {
	hash := sha256.Sum256(item.Message)
	seen := hex.EncodeToString(hash[:])
	if _, ok, err := t.Get(bucketSeen, seen); err != nil || ok || c.State == StateLeft {
		return verdict{status: ignored}, err
	}
	if err := t.forgetBranches(c); err != nil {
		return verdict{}, err
	}
	var v verdict
	var err error
	switch m.ContentType() {
	case mls.ContentApplication:
		v, err = t.judgePlainMessage(c, m, item)
	case mls.ContentCommit:
		v, err = t.judgePlainCommit(c, m, item, since)
	default:
		v, err = t.judgePlainProposal(c, m, item)
	}
	if err != nil {
		return v, err
	}
	switch v.status {
	case waiting:
		if at := t.now.Add(plainWait); len(v.lookups) == 0 && (c.Plain.LookAt.IsZero() || c.Plain.LookAt.Before(t.now)) {
			c.Plain.LookAt = at // nobody can be asked for what is missing: it comes by itself or not at all
		}
	case accepted, stepped:
		if err := t.Put(bucketSeen, seen, []byte{1}); err != nil {
			return v, fmt.Errorf("device: writing a message's hash: %w", err)
		}
	}
	return v, nil
}

// judgePlainMessage reads an application message, in the present state or on a branch.
func (t *txn) judgePlainMessage(c *conversation, m *mls.Message, item Incoming) (verdict, error) {
	here := bytes.Equal(m.GroupID(), c.group.GroupID())
	err := error(mls.ErrDecrypt)
	if here {
		var p mls.Processed
		if p, err = c.group.Process(m, t.now); err == nil {
			app, ok := p.(*mls.ApplicationMessage)
			if !ok {
				return refuse(CodeRejectedForged, "the message is not what its header says"), nil
			}
			return t.acceptPlain(c, app, item, onMain)
		}
	}
	for _, b := range c.lost(m.GroupID()) {
		g, err := t.loadBranch(c.id, b)
		if err != nil {
			return verdict{}, err
		}
		saved := g.Clone()
		p, err := g.Process(m, t.now)
		if err != nil {
			continue
		}
		if err := t.saveBranch(c.id, b, g, saved); err != nil {
			return verdict{}, err
		}
		app, ok := p.(*mls.ApplicationMessage)
		if !ok {
			return refuse(CodeRejectedForged, "the message is not what its header says"), nil
		}
		from := elsewhere
		if here && app.Epoch == b.Epoch {
			from = onLost
		}
		return t.acceptPlain(c, app, item, from)
	}
	if !here {
		return verdict{status: ignored}, nil // of a group that the conversation has left behind
	}
	v := c.missing(m, err)
	if v.status == refused {
		return v, t.lagging(c, item.Actor, m.Epoch())
	}
	return v, nil
}

// lagging is for who writes in an epoch that others left a while ago. They cannot read us, whatever the reason, and nothing will bring them along.
func (t *txn) lagging(c *conversation, actor string, epoch uint64) error {
	if epoch >= c.group.Epoch() || c.Plain.Moved.IsZero() || t.now.Sub(c.Plain.Moved) < plainWait {
		return nil
	}
	return t.strayed(c, actor)
}

// missing is what to say of something that no state can read. The commit before it may be under way.
func (c *conversation) missing(m *mls.Message, err error) verdict {
	var epoch *mls.WrongEpochError
	later := m.Epoch() > c.group.Epoch()
	if later || errors.Is(err, mls.ErrDecrypt) {
		return verdict{status: waiting, code: CodeWaitingKey, detail: "a change of members has to come first"}
	}
	if errors.As(err, &epoch) {
		return refuse(CodeCannotDecrypt, "it is of epoch %d, whose keys are gone", epoch.Message)
	}
	return unreadable(err)
}

// where a message was read.
type where int

const (
	onMain    where = iota // in the present state, or one before it
	onLost                 // after a commit that does not count
	elsewhere              // in a group that the conversation has left, or before such a commit
)

// acceptPlain checks what a member sent and writes it down.
func (t *txn) acceptPlain(c *conversation, app *mls.ApplicationMessage, item Incoming, from where) (verdict, error) {
	sender := leafOf(app.Sender)
	if sender.actor != item.Actor {
		return t.spent(item, refuse(CodeRejectedForged, "it was written by a device of %s and sent by another", sender.actor))
	}
	content, shown, err := parsePlainContent(app.Data, sender.actor)
	if err != nil {
		return t.spent(item, refuse(CodeRejectedForged, "the content is malformed")) // the error may quote it
	}
	if content.id == "" {
		if content.id, err = t.uuidIRI(); err != nil {
			return verdict{}, err
		}
	}
	switch from {
	case onLost:
		err = t.strayedIfPlain(c, sender.actor)
	case onMain:
		if err = t.followed(c, keydir.DeviceID(sender.key), app.Epoch); err == nil {
			err = t.lagging(c, sender.actor, app.Epoch)
		}
	}
	if err != nil {
		return verdict{}, err
	}
	if !shown {
		return verdict{status: accepted}, nil
	}
	return verdict{status: accepted}, t.write(c, sender, app.Epoch, content)
}

// spent remembers an item that was refused after its key was used up.
func (t *txn) spent(item Incoming, v verdict) (verdict, error) {
	hash := sha256.Sum256(item.Message)
	if err := t.Put(bucketSeen, hex.EncodeToString(hash[:]), []byte{1}); err != nil {
		return v, fmt.Errorf("device: writing a message's hash: %w", err)
	}
	return v, nil
}

// judgePlainCommit applies a commit of the present epoch, and lets one of an epoch before it compete with that which was applied.
func (t *txn) judgePlainCommit(c *conversation, m *mls.Message, item Incoming, since uint64) (verdict, error) {
	if !bytes.Equal(m.GroupID(), c.group.GroupID()) {
		return verdict{status: ignored}, nil
	}
	if m.Epoch() < c.group.Epoch() {
		return t.contest(c, m, item, since)
	}
	before := c.group.Clone()
	next, staged, v, err := t.stagePlain(c, c.group, m, item, since)
	if err == nil && v.status == waiting && len(v.lookups) == 0 {
		return t.followLost(c, m, item, v)
	}
	if err != nil || v.status != accepted {
		return v, err
	}
	by := leafOf(staged.Committer()).actor
	if staged.RemovesUs() {
		c.group = next
		return verdict{status: stepped}, t.endPlain(c, by, CodeRemoved)
	}
	c.group = next
	hash := sha256.Sum256(item.Message)
	if err := t.keepBranch(c, branch{Commit: hash, By: by, Behind: c.devicesBut(before)}, before); err != nil {
		return verdict{}, err
	}
	if err := t.followed(c, keydir.DeviceID(leafOf(staged.Committer()).key), c.group.Epoch()); err != nil {
		return verdict{}, err
	}
	return verdict{status: stepped}, t.plainMoved(c, by)
}

// followLost goes along with who goes on where nobody else is, to read what they write. otherwise is for what is not of there.
func (t *txn) followLost(c *conversation, m *mls.Message, item Incoming, otherwise verdict) (verdict, error) {
	for _, b := range c.lost(m.GroupID()) {
		g, err := t.loadBranch(c.id, b)
		if err != nil {
			return verdict{}, err
		}
		saved := g.Clone()
		p, err := g.Process(m, t.now)
		staged, ok := p.(*mls.StagedCommit)
		if err != nil || !ok || leafOf(staged.Committer()).actor != item.Actor || staged.RemovesUs() {
			continue
		}
		if err := g.Apply(staged); err != nil {
			return verdict{}, fmt.Errorf("device: merging a commit in %s: %w", c.id, err)
		}
		if err := t.saveBranch(c.id, b, g, saved); err != nil {
			return verdict{}, err
		}
		i := slices.IndexFunc(c.Plain.Branches, func(x branch) bool { return x.Number == b.Number })
		c.Plain.Branches[i].Epoch = g.Epoch()
		c.queued = true // messages may wait for it
		return verdict{status: accepted}, t.strayedIfPlain(c, item.Actor)
	}
	return otherwise, nil
}

// stagePlain verifies a commit in a copy of a state, holds it to the rules of plain conversations (P3 to P6) and applies it there. What is accepted is
// for the caller to take over.
func (t *txn) stagePlain(c *conversation, g *mls.Group, m *mls.Message, item Incoming, since uint64) (next *mls.Group, staged *mls.StagedCommit, v verdict, err error) {
	next = g.Clone()
	p, err := next.Process(m, t.now)
	switch {
	case errors.Is(err, mls.ErrOwnMessage):
		return nil, nil, verdict{status: ignored}, nil
	case err != nil && (m.Epoch() > g.Epoch() || errors.Is(err, mls.ErrDecrypt)):
		return nil, nil, c.missing(m, err), nil
	case err != nil:
		return nil, nil, refuse(CodeCommitInvalid, "%v", err), t.strayed(c, item.Actor)
	}
	staged, ok := p.(*mls.StagedCommit)
	if !ok {
		return nil, nil, refuse(CodeRejectedForged, "the message is not what its header says"), nil
	}
	if by := leafOf(staged.Committer()).actor; by != item.Actor {
		return nil, nil, refuse(CodeRejectedForged, "the commit is by a device of %s and was sent by another", by), nil
	}
	if refused := allowedPlain(g, staged); refused != nil { // its maker has applied it all the same
		return nil, nil, refuse(CodeNotAllowed, "%v", refused), t.strayed(c, item.Actor)
	}
	entering := leavesOf(staged.Added())
	missing, refused, err := t.bindPlainLeaves(entering, since)
	switch {
	case err != nil:
		return nil, nil, v, err
	case len(missing) > 0:
		return nil, nil, verdict{status: waiting, lookups: missing}, nil
	case refused != nil:
		return nil, nil, refuse(CodeNotInLog, "%v", refused), t.strayed(c, item.Actor)
	}
	if err := next.Apply(staged); err != nil {
		return nil, nil, v, fmt.Errorf("device: merging a commit in %s: %w", c.id, err)
	}
	if _, err := t.meet(entering); err != nil {
		return nil, nil, v, err
	}
	return next, staged, verdict{status: accepted}, nil
}

// allowedPlain is P3 and P6: everybody may add and remove, and nothing else is done.
func allowedPlain(g *mls.Group, staged *mls.StagedCommit) error {
	for _, kind := range staged.ProposalTypes() {
		switch kind {
		case mls.ProposalAdd, mls.ProposalUpdate, mls.ProposalRemove:
		default:
			return failed("P3", "a proposal of type %d in a plain conversation", kind)
		}
	}
	for _, m := range staged.Updated() {
		old, ok := g.Member(m.Leaf)
		was, is := leafOf(old), leafOf(m)
		if !ok || was.actor != is.actor || !bytes.Equal(was.key, is.key) {
			return failed("P6", "a leaf of %s changed its name or key", was.actor)
		}
	}
	if n := len(staged.Members()); n > maxPlainDevices {
		return failed("P2", "a plain conversation of %d devices", n)
	}
	return nil
}

// contest is for a commit of an epoch that another commit has ended here (P7).
func (t *txn) contest(c *conversation, m *mls.Message, item Incoming, since uint64) (verdict, error) {
	i := slices.IndexFunc(c.Plain.Branches, func(b branch) bool {
		return !b.Lost && b.Epoch == m.Epoch() && bytes.Equal(b.Group, m.GroupID())
	})
	gone := refuse(CodeCannotDecrypt, "a change of members in epoch %d, whose keys are gone", m.Epoch())
	switch {
	case m.Epoch() < c.Plain.From:
		return verdict{status: ignored}, nil // from before we came
	case i < 0:
		v, err := t.followLost(c, m, item, gone)
		if err == nil && v.status == refused { // nobody can tell any more which counts
			err = t.strayed(c, item.Actor)
		}
		return v, err
	}
	b := c.Plain.Branches[i]
	g, err := t.loadBranch(c.id, b)
	if err != nil {
		return verdict{}, err
	}
	next, staged, v, err := t.stagePlain(c, g, m, item, since)
	if err == nil && v.status == waiting && len(v.lookups) == 0 { // it will not become readable
		return t.followLost(c, m, item, gone)
	}
	if err != nil || v.status != accepted {
		return v, err
	}
	by, hash := leafOf(staged.Committer()).actor, sha256.Sum256(item.Message)
	wins, err := t.beats(hash, by, b.Commit, b.By)
	switch {
	case err != nil:
		return verdict{}, err
	case wins && staged.RemovesUs():
		c.group = next
		return verdict{status: stepped}, t.endPlain(c, by, CodeRemoved)
	case wins:
		return verdict{status: stepped}, t.turnTo(c, b, next, hash, by)
	case staged.RemovesUs():
		return refuse(CodeForkDetected, "%s changed the conversation at the same time as %s, whose change counts", by, b.By), t.strayedIfPlain(c, by)
	}
	if err := t.keepBranch(c, branch{Lost: true}, next); err != nil {
		return verdict{}, err
	}
	v = refuse(CodeForkDetected, "%s changed the conversation at the same time as %s, whose change counts", by, b.By)
	if v, err = t.spent(item, v); err != nil {
		return v, err
	}
	return v, t.strayedIfPlain(c, by)
}

// strayedIfPlain is for who has made a commit that does not count. One of ours turns to the other by itself.
func (t *txn) strayedIfPlain(c *conversation, actor string) error {
	plain, err := t.isPlain(actor)
	if err != nil || !plain {
		return err
	}
	return t.strayed(c, actor)
}

// judgePlainProposal takes a member's wish to be let go: programs of the draft ask for a Remove of their own leaf. Who does it waits, for others may be
// about to.
func (t *txn) judgePlainProposal(c *conversation, m *mls.Message, item Incoming) (verdict, error) {
	if !bytes.Equal(m.GroupID(), c.group.GroupID()) || m.Epoch() < c.group.Epoch() {
		return verdict{status: ignored}, nil
	}
	next := c.group.Clone()
	p, err := next.Process(m, t.now)
	switch {
	case errors.Is(err, mls.ErrOwnMessage):
		return verdict{status: ignored}, nil
	case err != nil:
		return c.missing(m, err), nil
	}
	r, ok := p.(*mls.ReceivedProposal)
	if !ok || r.Sender.Node == nil {
		return refuse(CodeNotAllowed, "P3: a proposal from outside"), nil
	}
	sender := leafOf(r.Sender)
	if sender.actor != item.Actor {
		return refuse(CodeRejectedForged, "the proposal is by a device of %s and was sent by another", sender.actor), nil
	}
	c.group = next // a commit may name it
	if r.Type == mls.ProposalRemove && r.Removes == r.Sender.Leaf && !slices.Contains(c.Plain.Going, sender.actor) {
		c.Plain.Going, c.PartAt = append(c.Plain.Going, sender.actor), t.now.Add(c.turn(item.Message))
	}
	return verdict{status: accepted}, nil
}
