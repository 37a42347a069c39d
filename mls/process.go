package mls

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Processed is what a message turned out to be: *ApplicationMessage, *ReceivedProposal or *StagedCommit.
type Processed interface{ processed() }

// ApplicationMessage is decrypted and its sender verified, as of the message's epoch.
type ApplicationMessage struct {
	Sender            Member
	Epoch             uint64
	Generation        uint32
	AuthenticatedData []byte
	Data              []byte
}

// ReceivedProposal is verified and stored; a later commit may name it. Who sends from outside has no Node in Sender.
type ReceivedProposal struct {
	Sender    Member
	Type      ProposalType
	Component ComponentID // of an AppDataUpdate or AppEphemeral
	Data      []byte      // of those or a custom one; nil if an AppDataUpdate removes
	Removes   uint32      // leaf that a Remove is about
}

// StagedCommit is somebody's valid commit. The group moves only when Apply is called with it.
type StagedCommit struct {
	base              *epochSecrets // of the group it was made for
	committer         Member
	added             []Member
	removed           []Member
	updated           []Member
	authenticatedData []byte
	types             []ProposalType
	application       []ReceivedProposal
	external          bool
	broken            bool        // its path is, for us
	extensions        []Extension // after it, if it is broken
	next              *Group      // nil if it removes us or is broken
}

func (*ApplicationMessage) processed() {}
func (*ReceivedProposal) processed()   {}
func (*StagedCommit) processed()       {}

// Committer as before the commit.
func (c *StagedCommit) Committer() Member { return c.committer }

// Added members, as they will be.
func (c *StagedCommit) Added() []Member { return c.added }

// Removed members, as they were.
func (c *StagedCommit) Removed() []Member { return c.removed }

// Updated members have a new leaf, by an Update or as the committer; as they will be.
func (c *StagedCommit) Updated() []Member { return c.updated }

// AuthenticatedData that the committer put beside the commit.
func (c *StagedCommit) AuthenticatedData() []byte { return c.authenticatedData }

// ProposalTypes in the order of the commit.
func (c *StagedCommit) ProposalTypes() []ProposalType { return c.types }

// ApplicationProposals are the custom ones and those about app data, in the order of the commit, each with who sent it, as before the commit.
func (c *StagedCommit) ApplicationProposals() []ReceivedProposal { return c.application }

// External says whether the committer came from outside with it: Committer is then the newcomer, and among Added.
func (c *StagedCommit) External() bool { return c.external }

// RemovesUs says whether we are out once it is applied.
func (c *StagedCommit) RemovesUs() bool { return c.next == nil && !c.broken }

// Extensions of the GroupContext after the commit; nil if it removes us.
func (c *StagedCommit) Extensions() []Extension {
	if c.next == nil {
		return cloneExtensions(c.extensions)
	}
	return c.next.Extensions()
}

// Members after the commit; nil if it removes us.
func (c *StagedCommit) Members() []Member {
	if c.next == nil {
		return nil
	}
	return c.next.Members()
}

// Export is MLS-Exporter of the epoch that the commit opens.
func (c *StagedCommit) Export(label string, context []byte, length int) ([]byte, error) {
	if c.next == nil {
		return nil, fmt.Errorf("mls: exporting: %w", ErrRemoved)
	}
	return c.next.Export(label, context, length)
}

// Apply moves the group to the state of the commit and drops a pending one of ours. It fails only if the group is not
// any more in the epoch the commit was made for, or we are not in the group.
func (g *Group) Apply(c *StagedCommit) error {
	switch {
	case c == nil:
		return argument("no commit")
	case g.suite == nil:
		return argument("an empty group")
	case g.removed:
		return fmt.Errorf("mls: applying a commit: %w", ErrRemoved)
	case c.base != g.secrets:
		return fmt.Errorf("mls: applying a commit: %w", ErrStale)
	}
	if c.next == nil {
		g.removed, g.pending = true, nil
		return nil
	}
	g.moveTo(c.next)
	return nil
}

// Process verifies a Public- or PrivateMessage. Its key is used up if and only if it verifies. now is for the lifetimes of key
// packages that a commit adds. With ErrBrokenPath comes what everybody sees of the commit, a *StagedCommit that cannot be applied.
func (g *Group) Process(m *Message, now time.Time) (Processed, error) {
	if m == nil || g.suite == nil {
		return nil, argument("no message or an empty group")
	}
	if g.removed {
		return nil, fmt.Errorf("mls: processing a message: %w", ErrRemoved)
	}
	if id := m.GroupID(); id == nil || !bytes.Equal(id, g.context.groupID) {
		return nil, fmt.Errorf("mls: processing a message: %w", ErrWrongGroup)
	}
	switch m.wireFormat {
	case WirePublicMessage:
		return g.processPublic(m.public, now)
	case WirePrivateMessage:
		return g.processPrivate(m.private, now)
	}
	return nil, invalid("wire format %d is not a group message (6)", m.wireFormat)
}

func (g *Group) processPublic(m *publicMessage, now time.Time) (Processed, error) {
	if m.content.epoch != g.context.epoch {
		return nil, &WrongEpochError{m.content.epoch, g.context.epoch}
	}
	if m.content.sender.kind != senderMember {
		return g.processOutside(&m.authenticatedContent, now)
	}
	context := marshal(&g.context)
	if err := m.checkMembership(g.suite, g.secrets.membership, context); err != nil {
		return nil, err
	}
	if leafIndex(m.content.sender.index) == g.own {
		return nil, ErrOwnMessage
	}
	if _, err := verifySender(&m.authenticatedContent, g.suite, g.tree, context); err != nil {
		return nil, err
	}
	if err := m.content.checkAAD(g.context.extensions); err != nil {
		return nil, err
	}
	return g.processHandshake(&m.authenticatedContent, now)
}

func verifySender(a *authenticatedContent, s *suite, t *ratchetTree, context []byte) (Member, error) {
	return verifySenderAs(t.leaf(leafIndex(a.content.sender.index)), a, s, context)
}

func verifySenderAs(leaf *LeafNode, a *authenticatedContent, s *suite, context []byte) (Member, error) {
	if leaf == nil {
		return Member{}, invalid("sender %d is not a member (6.1)", a.content.sender.index)
	}
	if !a.verify(s, leaf.SignatureKey, context) {
		return Member{}, invalid("message signature (6.1)")
	}
	return Member{a.content.sender.index, leaf}, nil
}

func (g *Group) processPrivate(m *privateMessage, now time.Time) (Processed, error) {
	if m.epoch != g.context.epoch {
		return g.processPast(m)
	}
	o, err := g.suite.decryptPrivate(m, g.own, g.secrets.senderData, g.messages)
	if err != nil {
		return nil, err
	}
	from, err := verifySender(&o.authenticatedContent, g.suite, g.tree, marshal(&g.context))
	if err != nil {
		return nil, err
	}
	if err := o.content.checkAAD(g.context.extensions); err != nil {
		return nil, err
	}
	if m.contentType == ContentApplication {
		o.use()
		return o.application(from), nil
	}
	p, err := g.processHandshake(&o.authenticatedContent, now)
	if err != nil {
		return p, err
	}
	o.use()
	return p, nil
}

func (o *openedMessage) application(from Member) *ApplicationMessage {
	c := &o.content
	return &ApplicationMessage{from, c.epoch, o.generation, c.authenticatedData, c.application}
}

// processPast reads a late application message with the keys and members of its own epoch.
func (g *Group) processPast(m *privateMessage) (Processed, error) {
	i := slices.IndexFunc(g.past, func(p pastEpoch) bool { return p.context.epoch == m.epoch })
	if i < 0 || m.contentType != ContentApplication {
		return nil, &WrongEpochError{m.epoch, g.context.epoch}
	}
	p := g.past[i]
	o, err := g.suite.decryptPrivate(m, g.own, p.senderData, p.messages)
	if err != nil {
		return nil, err
	}
	from, err := verifySenderAs(g.pastLeaf(i, leafIndex(o.content.sender.index)), &o.authenticatedContent, g.suite, marshal(&p.context))
	if err != nil {
		return nil, err
	}
	if err := o.content.checkAAD(p.context.extensions); err != nil {
		return nil, err
	}
	o.use()
	return o.application(from), nil
}

func (g *Group) processHandshake(a *authenticatedContent, now time.Time) (Processed, error) {
	return g.processHandshakeOf(a, leafIndex(a.content.sender.index), now)
}

func (g *Group) processHandshakeOf(a *authenticatedContent, from leafIndex, now time.Time) (Processed, error) {
	if g.reInit != nil {
		return nil, fmt.Errorf("mls: processing a handshake: %w", ErrReInit)
	}
	switch a.content.contentType {
	case ContentProposal:
		return g.storeProposal(a, from)
	case ContentCommit:
		return g.stage(a, from, now)
	}
	return nil, invalid("content type %d in a handshake (6)", a.content.contentType)
}

func (g *Group) storeProposal(a *authenticatedContent, from leafIndex) (Processed, error) {
	p := *a.content.proposal
	if p.Type == ProposalSelfRemove && (a.wireFormat != WirePublicMessage || from == outside) {
		return nil, invalid("a self-remove that is not a member's PublicMessage (SelfRemove)")
	}
	stored := storedProposal{a.ref(g.suite), from, p}
	received := stored.received(g.tree)
	if slices.ContainsFunc(g.proposals, func(s storedProposal) bool { return bytes.Equal(s.ref, stored.ref) }) {
		return &received, nil // anybody on the way can send a PublicMessage again
	}
	if err := g.roomFor(from); err != nil {
		return nil, err
	}
	g.proposals = append(g.proposals, stored)
	return &received, nil
}

// roomFor keeps one sender from filling the place that all have. Who is outside counts as one.
func (g *Group) roomFor(from leafIndex) error {
	own := 0
	for i := range g.proposals {
		if g.proposals[i].sender == from {
			own++
		}
	}
	if own >= maxRefsOfOne || len(g.proposals) >= maxPendingRefs {
		return invalid("more than %d proposals of one sender or %d of all in one epoch", maxRefsOfOne, maxPendingRefs)
	}
	return nil
}

// stage checks a commit (section 12.4.2) and computes the group after it.
func (g *Group) stage(a *authenticatedContent, from leafIndex, now time.Time) (*StagedCommit, error) {
	staged, c, steps, err := g.stagePublic(a, from, now)
	if err != nil || c.removes(g.own) {
		return staged, err
	}
	if staged.external {
		_, private := g.suite.deriveKeyPair(g.secrets.external)
		if c.init, err = g.suite.receiveInit(private, c.kemOutput); err != nil {
			return nil, err
		}
	}
	commitSecret := make([]byte, g.suite.nh)
	if path := a.content.commit.path; path != nil {
		provisional := g.nextContext(c, g.context.confirmed)
		keys, secret, err := c.tree.openPath(steps, path, g.own, c.private, marshal(&provisional), c.added)
		if errors.Is(err, ErrBrokenPath) {
			staged.base, staged.broken, staged.extensions = nil, true, c.extensions
			return staged, err
		}
		if err != nil {
			return nil, err
		}
		for x, key := range keys {
			c.private[x] = key
		}
		c.private.keep(c.tree)
		commitSecret = secret
	}
	next, _, _, err := g.next(c, a, commitSecret)
	if err != nil {
		return nil, err
	}
	if !g.suite.checkMAC(next.secrets.confirmation, next.context.confirmed, a.confirmationTag) {
		return nil, invalid("confirmation tag (12.4.2)")
	}
	next.interim = g.suite.interimTranscript(next.context.confirmed, a.confirmationTag)
	staged.next = next
	return staged, nil
}

// stagePublic is what anybody can check of a commit who knows the public state: the proposals, the tree after them, and the path.
func (g *Group) stagePublic(a *authenticatedContent, from leafIndex, now time.Time) (*StagedCommit, *change, []step, error) {
	list, err := g.resolve(a.content.commit, from)
	if err != nil {
		return nil, nil, nil, err
	}
	c, err := g.applyProposals(list, from, now)
	if err != nil {
		return nil, nil, nil, err
	}
	path := a.content.commit.path
	if path == nil && c.needsPath {
		return nil, nil, nil, invalid("commit without the path that its proposals need (12.4)")
	}
	staged := &StagedCommit{
		base: g.secrets, committer: Member{uint32(from), g.tree.leaf(from)}, removed: c.removed,
		authenticatedData: a.content.authenticatedData, external: from == outside, application: applicationProposals(list, g.tree),
	}
	if staged.external {
		if from, err = c.admit(path); err != nil {
			return nil, nil, nil, err
		}
	}
	for _, p := range list {
		staged.types = append(staged.types, p.proposal.Type)
	}
	var steps []step
	if path != nil {
		if steps, err = g.mergeCommitPath(c, path, from); err != nil {
			return nil, nil, nil, err
		}
	}
	if staged.external {
		staged.committer = Member{uint32(from), c.tree.leaf(from)}
		staged.added = append(staged.added, staged.committer)
		c.updated = nil
	}
	for _, l := range c.added {
		staged.added = append(staged.added, Member{uint32(l), c.tree.leaf(l)})
	}
	for _, l := range c.updated {
		staged.updated = append(staged.updated, Member{uint32(l), c.tree.leaf(l)})
	}
	return staged, c, steps, nil
}

// resolve finds the proposals that a commit names.
func (g *Group) resolve(c *commit, from leafIndex) ([]storedProposal, error) {
	var list []storedProposal
	for _, p := range c.proposals {
		if p.proposal != nil {
			list = append(list, storedProposal{sender: from, proposal: *p.proposal})
			continue
		}
		i := slices.IndexFunc(g.proposals, func(s storedProposal) bool { return bytes.Equal(s.ref, p.ref) })
		if i < 0 {
			return nil, invalid("commit names a proposal that we have not seen (12.4.2)")
		}
		list = append(list, g.proposals[i])
	}
	return list, nil
}

// mergeCommitPath checks the new leaf of a committer and puts its path into the changed tree.
func (g *Group) mergeCommitPath(c *change, path *updatePath, from leafIndex) ([]step, error) {
	leaf := &path.leaf
	if leaf.source != leafFromCommit {
		return nil, invalid("update path with a leaf of another source (12.4.2)")
	}
	if err := leaf.check(g.suite, g.context.groupID, from); err != nil {
		return nil, err
	}
	if err := c.tree.supports(from, leaf, c.extensions); err != nil {
		return nil, err
	}
	if err := c.tree.checkFresh(path); err != nil {
		return nil, err
	}
	steps, err := c.tree.mergePath(from, path)
	if err != nil {
		return nil, err
	}
	c.updated = append(c.updated, from)
	c.private.keep(c.tree)
	return steps, c.checkSupport(g.tree, g.context.extensions) // the new leaf may bring a credential type that others do not support
}
