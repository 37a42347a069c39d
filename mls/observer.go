package mls

import (
	"bytes"
	"fmt"
	"slices"
	"time"
)

// Observer follows a group from outside, by the handshakes that are not encrypted: who its members are, and what they changed. It
// checks all that can be checked without the group's secrets: signatures, proposals, trees and paths. What it cannot check are
// the tags that only members can make; so what it reports has been signed by who it says, and may still be refused by the members.
type Observer struct {
	g      *Group
	signer Member
}

// Observe starts from a GroupInfo; ratchetTree is the tree if the GroupInfo does not carry it.
func Observe(info *Message, ratchetTree []byte) (*Observer, error) {
	g, err := publicGroup(info, ratchetTree)
	if err != nil {
		return nil, err
	}
	at := info.groupInfo.signer
	return &Observer{g, Member{uint32(at), g.tree.leaf(at)}}, nil
}

// Signer of the GroupInfo that the observer started from.
func (o *Observer) Signer() Member { return o.signer }

// Suite of the group.
func (o *Observer) Suite() CipherSuite { return o.g.suite.id }

// GroupID as chosen at creation.
func (o *Observer) GroupID() []byte { return o.g.GroupID() }

// Epoch that the observer has come to.
func (o *Observer) Epoch() uint64 { return o.g.Epoch() }

// Members in the order of the tree.
func (o *Observer) Members() []Member { return o.g.Members() }

// Extensions of the GroupContext.
func (o *Observer) Extensions() []Extension { return o.g.Extensions() }

// An ObservedCommit is what a commit changes. The observer moves only when Apply is called with it: when it has been ordered.
type ObservedCommit struct {
	Committer      Member // as before the commit; a newcomer as after it
	Added, Removed []Member
	Updated        []Member
	Types          []ProposalType
	Application    []ReceivedProposal // custom proposals and those about app data
	External       bool               // the committer came from outside with it

	base *ratchetTree
	next *Group
}

// Process verifies a PublicMessage of the epoch. A proposal is kept, for a commit may name it, and gives nil.
func (o *Observer) Process(m *Message, now time.Time) (*ObservedCommit, error) {
	if m == nil {
		return nil, argument("no message")
	}
	if m.wireFormat != WirePublicMessage || !bytes.Equal(m.GroupID(), o.g.context.groupID) {
		return nil, fmt.Errorf("mls: observing: %w", ErrWrongGroup)
	}
	if m.Epoch() != o.g.context.epoch {
		return nil, &WrongEpochError{m.Epoch(), o.g.context.epoch}
	}
	a := &m.public.authenticatedContent
	from, err := o.verify(a)
	if err != nil {
		return nil, err
	}
	if err := a.content.checkAAD(o.g.context.extensions); err != nil {
		return nil, err
	}
	switch a.content.contentType {
	case ContentProposal:
		_, err := o.g.storeProposal(a, from)
		return nil, err
	case ContentCommit:
		return o.observe(a, from, now)
	}
	return nil, invalid("application data in a PublicMessage (6.2)")
}

func (o *Observer) verify(a *authenticatedContent) (leafIndex, error) {
	if a.content.sender.kind != senderMember {
		return outside, o.g.verifyOutside(a)
	}
	m, err := verifySender(a, o.g.suite, o.g.tree, marshal(&o.g.context))
	return leafIndex(m.Leaf), err
}

func (o *Observer) observe(a *authenticatedContent, from leafIndex, now time.Time) (*ObservedCommit, error) {
	s, c, _, err := o.g.stagePublic(a, from, now)
	if err != nil {
		return nil, err
	}
	next := &Group{suite: o.g.suite, tree: c.tree, own: outside, private: privateKeys{}, secrets: new(epochSecrets), reInit: c.reInit, appData: o.g.appData}
	next.context = o.g.nextContext(c, o.g.suite.confirmedTranscript(o.g.interim, a))
	next.interim = o.g.suite.interimTranscript(next.context.confirmed, a.confirmationTag)
	return &ObservedCommit{
		Committer: s.committer, Added: s.added, Removed: s.removed, Updated: s.updated, Types: s.types, Application: s.application, External: s.external,
		base: o.g.tree, next: next,
	}, nil
}

// Apply moves the observer to the epoch that a commit opens. It fails only if the commit was made in another one.
func (o *Observer) Apply(c *ObservedCommit) error {
	if c == nil {
		return argument("no commit")
	}
	if c.base != o.g.tree {
		return fmt.Errorf("mls: observing a commit: %w", ErrStale)
	}
	o.g = c.next
	return nil
}

// TreeHash of the epoch, equal for all who are in one state of the tree.
func (o *Observer) TreeHash() []byte { return slices.Clone(o.g.context.treeHash) }
