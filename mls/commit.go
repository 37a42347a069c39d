package mls

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"
)

// CommitParams says what a commit of ours is to do.
type CommitParams struct {
	Proposals         []Proposal  // by value
	SkipStored        bool        // leave out the proposals by reference of this epoch
	TreeOutside       bool        // leave the tree out of the Welcome: RatchetTree of the next epoch reaches who is added in another way
	GroupInfo         []Extension // for who is added only: they go into the Welcome
	ForcePath         bool        // new keys for our path even if the proposals do not ask for it
	AuthenticatedData []byte
	Framing           WireFormat // as Propose has it
	Padding           func(n int) int
	Now               time.Time // for the lifetimes of added key packages
}

// A PendingCommit is a commit of ours that has not been ordered yet. The group stays in its epoch until ConfirmPending.
type PendingCommit struct {
	message     []byte
	welcome     []byte
	application []storedProposal
	next        *Group
}

// Message is the commit, an MLSMessage.
func (p *PendingCommit) Message() []byte { return slices.Clone(p.message) }

// Welcome for who is added, an MLSMessage; nil if nobody is. It must not leave before the commit is confirmed.
func (p *PendingCommit) Welcome() []byte { return slices.Clone(p.welcome) }

// ApplicationProposals are the custom ones and those about app data that went into the commit, in its order; their senders are as after it.
func (p *PendingCommit) ApplicationProposals() []ReceivedProposal {
	return applicationProposals(p.application, p.next.tree)
}

// Epoch that the commit opens.
func (p *PendingCommit) Epoch() uint64 { return p.next.context.epoch }

// Export is MLS-Exporter of the epoch that the commit opens.
func (p *PendingCommit) Export(label string, context []byte, length int) ([]byte, error) {
	return p.next.Export(label, context, length)
}

// RatchetTree is the public tree as it will be.
func (p *PendingCommit) RatchetTree() []byte { return p.next.RatchetTree() }

// Members as they will be.
func (p *PendingCommit) Members() []Member { return p.next.Members() }

// Next is the group as it will be, to tell members of it. Whoever encrypts with it has used up keys that the real one will use again.
func (p *PendingCommit) Next() *Group { return p.next.Clone() }

// Pending returns our pending commit, or nil.
func (g *Group) Pending() *PendingCommit { return g.pending }

// ConfirmPending moves the group to the state of our pending commit: it has been ordered.
func (g *Group) ConfirmPending() error {
	if g.pending == nil {
		return fmt.Errorf("mls: confirming: no commit of ours is pending: %w", ErrStale)
	}
	g.moveTo(g.pending.next)
	return nil
}

// DropPending forgets our pending commit: another one was ordered in its place.
func (g *Group) DropPending() { g.pending = nil }

// Commit makes a commit (section 12.4.1) of the given proposals and those by reference, and keeps it pending.
func (g *Group) Commit(rand io.Reader, p CommitParams) (*PendingCommit, error) {
	if err := g.mayCommit(); err != nil {
		return nil, err
	}
	if err := checkSet(p.Proposals); err != nil {
		return nil, err
	}
	framing, err := handshakeFraming(p.Framing)
	if err != nil {
		return nil, err
	}
	authenticatedData, err := frameAAD(g.context.extensions, p.AuthenticatedData)
	if err != nil {
		return nil, err
	}
	list, content := g.proposalsOf(p)
	c, err := g.applyProposals(list, g.own, p.Now)
	if err != nil {
		return nil, err
	}
	for i := range p.Proposals {
		if err := readable(&p.Proposals[i], new(Proposal), "a proposal"); err != nil {
			return nil, err
		}
	}
	var path *newPath
	commitSecret := make([]byte, g.suite.nh)
	if c.needsPath || p.ForcePath {
		if path, err = g.renewPath(rand, c); err != nil {
			return nil, err
		}
		commitSecret, content.path = path.commit, &path.path
	}
	a := g.content(ContentCommit, authenticatedData)
	a.content.commit, a.wireFormat = content, framing
	a.sign(g.signer, marshal(&g.context))
	next, member, joiner, err := g.next(c, a, commitSecret)
	if err != nil {
		return nil, err
	}
	a.confirmationTag = g.suite.mac(next.secrets.confirmation, next.context.confirmed)
	next.interim = g.suite.interimTranscript(next.context.confirmed, a.confirmationTag)

	pending := &PendingCommit{next: next, application: keepApplication(list)}
	if len(c.added) > 0 {
		if pending.welcome, err = next.welcomeFor(rand, c, path, member, joiner, a.confirmationTag, p); err != nil {
			return nil, err
		}
	}
	if pending.message, err = g.frame(rand, a, p.Padding); err != nil {
		return nil, err
	}
	g.pending = pending
	return pending, nil
}

func (g *Group) mayCommit() error {
	switch {
	case g.suite == nil:
		return argument("an empty group")
	case g.removed:
		return fmt.Errorf("mls: committing: %w", ErrRemoved)
	case g.pending != nil:
		return fmt.Errorf("mls: committing: %w", ErrPendingCommit)
	case g.reInit != nil:
		return fmt.Errorf("mls: committing: %w", ErrReInit)
	}
	return nil
}

// renewPath makes new keys for our path in the tree of a change, and encrypts them to those who are in it and were before.
func (g *Group) renewPath(rand io.Reader, c *change) (*newPath, error) {
	path, err := c.tree.makePath(rand, g.own, *g.tree.leaf(g.own), g.signer, g.context.groupID)
	if err != nil {
		return nil, err
	}
	provisional := g.nextContext(c, g.context.confirmed)
	if err := path.encrypt(rand, c.tree, marshal(&provisional), c.added); err != nil {
		return nil, err
	}
	maps.Copy(c.private, path.private)
	c.private.keep(c.tree)
	return path, nil
}

// proposalsOf gives the list that a commit of ours applies, and its encoding: references first.
func (g *Group) proposalsOf(p CommitParams) ([]storedProposal, *commit) {
	var values []storedProposal
	for i := range p.Proposals {
		values = append(values, storedProposal{sender: g.own, proposal: p.Proposals[i]})
	}
	list := g.usable(p, values)
	content := new(commit)
	for _, sp := range list {
		content.proposals = append(content.proposals, proposalOrRef{ref: sp.ref})
	}
	for i := range p.Proposals {
		content.proposals = append(content.proposals, proposalOrRef{proposal: &p.Proposals[i]})
	}
	return append(list, values...), content
}

// usable are the proposals by reference that can be committed together with those by value. One that cannot must not keep
// us from committing the rest; of several for one leaf removals are preferred, then what came last, and everything goes before a
// re-initialization (section 12.2).
func (g *Group) usable(p CommitParams, values []storedProposal) []storedProposal {
	if p.SkipStored {
		return nil
	}
	// The path of this commit does what an update of our own would.
	stored := slices.DeleteFunc(slices.Clone(g.proposals), func(sp storedProposal) bool {
		return sp.sender == g.own && sp.proposal.Type == ProposalUpdate
	})
	fits := func(list []storedProposal) bool {
		c, err := g.applyProposals(slices.Concat(list, values), g.own, p.Now)
		if err == nil {
			_, err = g.suite.pskSecret(c.psks, g.findPSK)
		}
		return err == nil
	}
	if len(stored) == 0 || fits(stored) {
		return stored
	}
	slices.Reverse(stored)
	slices.SortStableFunc(stored, func(a, b storedProposal) int {
		return cmp.Compare(preference(a.proposal.Type), preference(b.proposal.Type))
	})
	var chosen []storedProposal
	for _, sp := range stored {
		if with := append(slices.Clip(chosen), sp); fits(with) {
			chosen = with
		}
	}
	return chosen
}

func preference(t ProposalType) int {
	switch t {
	case ProposalSelfRemove: // before a removal of the same member
		return -1
	case ProposalRemove:
		return 0
	case ProposalReInit: // can be sent again in another epoch
		return 2
	}
	return 1
}

// nextContext is the GroupContext after the change, with the given confirmed transcript hash.
func (g *Group) nextContext(c *change, confirmed []byte) groupContext {
	return groupContext{
		suite: g.context.suite, groupID: g.context.groupID, epoch: g.context.epoch + 1,
		treeHash: c.tree.treeHash(), confirmed: confirmed, extensions: c.extensions,
	}
}

// next computes the group after a commit whose change and commit secret are known (section 8).
func (g *Group) next(c *change, a *authenticatedContent, commitSecret []byte) (*Group, memberSecret, joinerSecret, error) {
	psk, err := g.suite.pskSecret(c.psks, g.findPSK)
	if err != nil {
		return nil, nil, nil, err
	}
	next := &Group{suite: g.suite, tree: c.tree, own: g.own, signer: g.signer, private: c.private}
	next.context = g.nextContext(c, g.suite.confirmedTranscript(g.interim, a))
	context := marshal(&next.context)
	init := g.secrets.init
	if c.init != nil {
		init = c.init
	}
	next.reInit = c.reInit
	joiner := g.suite.joiner(init, commitSecret, context)
	member := g.suite.member(joiner, psk)
	next.startEpoch(g.suite.epoch(member, context))
	return next, member, joiner, nil
}

// info is the signed GroupInfo of this epoch, whose confirmation tag is tag.
func (g *Group) info(tag []byte, extensions ...Extension) *groupInfo {
	info := &groupInfo{context: g.context, confirmationTag: tag, signer: g.own, extensions: extensions}
	info.signature = g.signer.signWithLabel("GroupInfoTBS", build(info.addUnsigned))
	return info
}

// welcomeFor makes the Welcome for who was added (section 12.4.3.1). With the tree in it, each receiver's secrets are bound to
// all of it, which takes time quadratic in the size of the group if many are added at once.
func (g *Group) welcomeFor(rand io.Reader, c *change, path *newPath, member memberSecret, joiner joinerSecret, tag []byte, p CommitParams) ([]byte, error) {
	grease, err := newGrease(rand)
	if err != nil {
		return nil, err
	}
	extensions := slices.Clone(p.GroupInfo)
	if !p.TreeOutside {
		extensions = append(extensions, Extension{extensionRatchetTree, g.tree.marshal()})
	}
	extensions = grease.extensions(extensions)
	if err := checkMadeInfo(extensions); err != nil {
		return nil, err
	}
	info := g.info(tag, extensions...)
	key, nonce := g.suite.welcomeKey(member)
	sealed, err := g.suite.sealMessage(messageKey{key, nonce}, nil, marshal(info))
	if err != nil {
		return nil, err
	}
	w := &welcome{suite: g.suite.id, encryptedGroupInfo: sealed}
	for i, at := range c.added {
		secrets := &groupSecrets{joiner: joiner, psks: c.psks}
		if path != nil {
			secrets.pathSecret = path.secretFor(at)
		}
		ct, err := g.suite.sealWithLabel(rand, c.packages[i].InitKey, "Welcome", sealed, marshal(secrets))
		if err != nil {
			return nil, err
		}
		w.secrets = append(w.secrets, encryptedGroupSecrets{c.packages[i].Ref(), ct})
	}
	return marshalMessage(&Message{wireFormat: WireWelcome, welcome: w})
}

// checkMadeInfo keeps us from making a GroupInfo that nobody could read.
func checkMadeInfo(extensions []Extension) error {
	if err := checkDistinct(extensions); err != nil {
		return err
	}
	if len(extensions) > maxExtensions {
		return fmt.Errorf("mls: making a group info with %d extensions: at most %d are read", len(extensions), maxExtensions)
	}
	return checkAppData(extensions)
}
