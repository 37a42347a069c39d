package mls

import (
	"crypto/rand"
	"testing"

	"github.com/stretchr/testify/require"
)

// leavers is a group whose members all know self-removes.
func leavers(t *testing.T, names ...string) []*party {
	var all []*party
	for i, name := range names {
		p := newParty(t, name)
		p.leaves = true
		all = append(all, p)
		if i == 0 {
			p.create()
			continue
		}
		kp := p.keyPackage()
		c := all[0].commit(CommitParams{Proposals: []Proposal{AddProposal(kp.KeyPackage())}})
		all[0].confirm()
		for _, q := range all[1:i] {
			q.apply(c.Message())
		}
		p.join(kp, c.Welcome())
	}
	return all
}

func (p *party) leave() []byte {
	m, err := p.g.Propose(rand.Reader, SelfRemoveProposal(), FramePublic, nil)
	require.NoError(p.t, err)
	p.reload()
	return m
}

func TestSelfRemove(t *testing.T) {
	all := leavers(t, "alice", "bob", "carol")
	alice, bob, carol := all[0], all[1], all[2]
	m := bob.leave()
	alice.receiveProposal(m)
	carol.receiveProposal(m)
	// A removal of the same member by somebody else gives way.
	other, err := carol.g.Propose(rand.Reader, RemoveProposal(leafOf(bob)), FramePublic, nil)
	require.NoError(t, err)
	alice.receiveProposal(other)
	p := alice.commit(CommitParams{})
	alice.confirm()
	s := carol.apply(p.Message())
	require.Equal(t, []ProposalType{ProposalSelfRemove}, s.ProposalTypes())
	require.Equal(t, leafOf(bob), s.Removed()[0].Leaf)
	require.True(t, bob.stage(p.Message()).RemovesUs())
	agree(t, alice, carol)
}

func TestSelfRemoveWithANewcomer(t *testing.T) {
	all := leavers(t, "alice", "bob", "carol")
	alice, bob, carol := all[0], all[1], all[2]
	m := bob.leave()
	alice.receiveProposal(m)
	carol.receiveProposal(m)
	dave := newParty(t, "dave")
	dave.leaves = true
	j := dave.enter(alice, func(p *ExternalJoinParams) { p.SelfRemoves = []*Message{parsed(t, m)} })
	s := alice.apply(j.Message())
	require.Equal(t, []ProposalType{ProposalExternalInit, ProposalSelfRemove}, s.ProposalTypes())
	carol.apply(j.Message())
	dave.take(j)
	require.True(t, bob.stage(j.Message()).RemovesUs())
	agree(t, alice, carol, dave)
}

func TestSelfRemoveRules(t *testing.T) {
	all := leavers(t, "alice", "bob", "carol")
	alice, bob, carol := all[0], all[1], all[2]
	_, err := bob.g.Propose(rand.Reader, SelfRemoveProposal(), FramePrivate, nil)
	requireRule(t, err, "not a member's PublicMessage")
	a := bob.g.content(ContentProposal, nil)
	a.content.proposal, a.wireFormat = &Proposal{Type: ProposalSelfRemove}, WirePrivateMessage
	a.sign(bob.signer, marshal(&bob.g.context))
	hidden, err := bob.g.frame(rand.Reader, a, nil)
	require.NoError(t, err)
	_, err = alice.process(hidden)
	requireRule(t, err, "not a member's PublicMessage")
	_, err = alice.process(forgeCommit(bob, &commit{proposals: byValue(SelfRemoveProposal())}))
	requireRule(t, err, "by value")

	m := bob.leave()
	_, err = bob.g.Propose(rand.Reader, SelfRemoveProposal(), FramePublic, nil)
	requireRule(t, err, "second self-remove")
	p := bob.commit(CommitParams{Framing: FramePublic})
	require.Empty(t, parsed(t, p.Message()).public.content.commit.proposals, "not for us to commit")
	bob.g.DropPending()
	alice.receiveProposal(m)
	ref := alice.g.proposals[0].ref
	_, err = alice.process(forgeCommit(bob, &commit{proposals: []proposalOrRef{{ref: ref}}}))
	requireRule(t, err, "by who sent it")
	_, err = alice.process(forgeCommit(carol, &commit{proposals: append(byValue(RemoveProposal(leafOf(bob))), proposalOrRef{ref: ref})}))
	requireRule(t, err, "twice")

	eve := newParty(t, "eve")
	eve.leaves = true
	outsider, err := ProposeExternally(alice.suite, eve.signer, 0, alice.g.GroupID(), alice.g.Epoch(), SelfRemoveProposal())
	require.NoError(t, err)
	_, err = alice.process(outsider)
	require.Error(t, err)

	info, err := alice.g.GroupInfo(true)
	require.NoError(t, err)
	join := func(m *Message) error {
		k := eve.params()
		_, err := JoinExternal(rand.Reader, parsed(t, info), ExternalJoinParams{
			Signer: eve.signer, Credential: k.Credential, Capabilities: k.Capabilities, SelfRemoves: []*Message{m},
		})
		return err
	}
	forged := parsed(t, m)
	forged.public.signature[0] ^= 1
	requireRule(t, join(forged), "message signature")
	forged = parsed(t, m)
	forged.public.content.epoch++
	var epoch *WrongEpochError
	require.ErrorAs(t, join(forged), &epoch)
	forged = parsed(t, m)
	forged.public.content.groupID = []byte("other")
	require.ErrorIs(t, join(forged), ErrWrongGroup)
	remove, err := carol.g.Propose(rand.Reader, RemoveProposal(0), FramePublic, nil)
	require.NoError(t, err)
	requireRule(t, join(parsed(t, remove)), "not a member's PublicMessage")
	leaf := leafOf(bob)
	k := eve.params()
	_, err = JoinExternal(rand.Reader, parsed(t, info), ExternalJoinParams{
		Signer: eve.signer, Credential: k.Credential, Capabilities: k.Capabilities, SelfRemoves: []*Message{parsed(t, m)}, Replace: &leaf,
	})
	requireRule(t, err, "removed twice in an external commit")
}

func TestSelfRemoveNeedsEverybody(t *testing.T) {
	all := newGroup(t, FramePublic, "alice", "bob") // who do not know it
	alice, bob := all[0], all[1]
	_, err := bob.g.Propose(rand.Reader, SelfRemoveProposal(), FramePublic, nil)
	requireRule(t, err, "does not support proposal type 10")
	m := forgeMessage(bob, ContentProposal, func(a *authenticatedContent) { a.content.proposal = &Proposal{Type: ProposalSelfRemove} })
	alice.receiveProposal(m)
	p := alice.commit(CommitParams{})
	alice.confirm()
	require.Empty(t, bob.apply(p.Message()).ProposalTypes(), "what not all know is left out")
}
