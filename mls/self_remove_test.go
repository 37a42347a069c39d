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
	m, err := p.g.Propose(rand.Reader, SelfRemoveProposal(), WirePublicMessage, nil)
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
	other, err := carol.g.Propose(rand.Reader, RemoveProposal(leafOf(bob)), WirePublicMessage, nil)
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
	require.Equal(t, []ProposalType{proposalExternalInit, ProposalSelfRemove}, s.ProposalTypes())
	carol.apply(j.Message())
	dave.take(j)
	require.True(t, bob.stage(j.Message()).RemovesUs())
	agree(t, alice, carol, dave)
}

func TestSelfRemoveRules(t *testing.T) {
	all := leavers(t, "alice", "bob", "carol")
	alice, bob, carol := all[0], all[1], all[2]
	expect := func(name string, try func() error) {
		t.Helper()
		t.Run(name, func(t *testing.T) { requireCheck(t, try()) })
	}
	handed := func(to *party, raw []byte) error {
		_, err := to.process(raw)
		return err
	}
	expect("M52 self-remove of our own in private", func() error {
		_, err := bob.g.Propose(rand.Reader, SelfRemoveProposal(), WirePrivateMessage, nil)
		return err
	})
	hidden := bob.private(ContentProposal, func(a *authenticatedContent) { a.content.proposal = &Proposal{Type: ProposalSelfRemove} })
	expect("M52 self-remove in private", func() error { return handed(alice, hidden) })
	t.Run("M9 self-remove by value", func(t *testing.T) { refusedCommit(t, bob, alice, SelfRemoveProposal()) })
	t.Run("M9 self-remove by value of our own", func(t *testing.T) { refusedToMake(t, alice, SelfRemoveProposal()) })

	m := bob.leave()
	expect("M84 second self-remove", func() error {
		_, err := bob.g.Propose(rand.Reader, SelfRemoveProposal(), WirePublicMessage, nil)
		return err
	})
	p := bob.commit(CommitParams{Framing: WirePublicMessage})
	require.Empty(t, parsed(t, p.Message()).public.content.commit.proposals, "not for us to commit")
	bob.g.DropPending()
	alice.receiveProposal(m)
	ref := proposalOrRef{ref: alice.g.proposals[0].ref}
	expect("M60 self-remove committed by who sent it", func() error {
		return handed(alice, forgeCommit(bob, &commit{proposals: []proposalOrRef{ref}}))
	})
	expect("M66 self-remove beside a remove of the same member", func() error {
		return handed(alice, forgeCommit(carol, &commit{proposals: append(byValue(RemoveProposal(leafOf(bob))), ref)}))
	})
	expect("M66 self-remove named twice", func() error {
		return handed(alice, forgeCommit(carol, &commit{proposals: []proposalOrRef{ref, ref}}))
	})
	expect("M55 self-remove without a path", func() error {
		return handed(alice, forgeCommit(carol, &commit{proposals: []proposalOrRef{ref}}))
	})

	eve := newParty(t, "eve")
	eve.leaves = true
	expect("M6 self-remove of an external sender", func() error {
		outsider, err := ProposeExternally(alice.suite, eve.signer, 0, alice.g.GroupID(), alice.g.Epoch(), SelfRemoveProposal())
		require.NoError(t, err)
		return handed(alice, outsider)
	})
	expect("M5 self-remove of a newcomer", func() error {
		outsider, err := proposeOutside(alice.suite, eve.signer, sender{kind: senderNewMemberProposal}, alice.g.GroupID(), alice.g.Epoch(), SelfRemoveProposal())
		require.NoError(t, err)
		return handed(alice, outsider)
	})

	info, err := alice.g.GroupInfo(true)
	require.NoError(t, err)
	join := func(m *Message, change ...func(*ExternalJoinParams)) error {
		k := eve.params()
		p := ExternalJoinParams{Signer: eve.signer, Credential: k.Credential, Capabilities: k.Capabilities, SelfRemoves: []*Message{m}}
		for _, f := range change {
			f(&p)
		}
		_, err := JoinExternal(rand.Reader, parsed(t, info), p)
		return err
	}
	expect("M50 self-remove beside a group info with a wrong bit in its signature", func() error {
		forged := parsed(t, m)
		forged.public.signature = flipped(forged.public.signature)
		return join(forged)
	})
	expect("M49 self-remove beside a group info of who is no member", func() error {
		forged := parsed(t, m)
		forged.public.content.sender.index = 17
		return join(forged)
	})
	expect("M52 remove in place of a self-remove", func() error {
		remove, err := carol.g.Propose(rand.Reader, RemoveProposal(0), WirePublicMessage, nil)
		require.NoError(t, err)
		return join(parsed(t, remove))
	})
	expect("M13 newcomer replaces who leaves", func() error {
		leaf := leafOf(bob)
		return join(parsed(t, m), func(p *ExternalJoinParams) { p.Replace = &leaf })
	})
	expect("M13 newcomer takes one self-remove twice", func() error {
		return join(parsed(t, m), func(p *ExternalJoinParams) { p.SelfRemoves = append(p.SelfRemoves, p.SelfRemoves[0]) })
	})
	forged := parsed(t, m)
	forged.public.content.epoch++
	var epoch *WrongEpochError
	require.ErrorAs(t, join(forged), &epoch)
	forged = parsed(t, m)
	forged.public.content.groupID = []byte("other")
	require.ErrorIs(t, join(forged), ErrWrongGroup)
}

func TestSelfRemoveNeedsEverybody(t *testing.T) {
	all := newGroup(t, WirePublicMessage, "alice", "bob", "carol") // who do not know it
	alice, bob := all[0], all[1]
	t.Run("M85 self-remove that others do not know", func(t *testing.T) {
		_, err := bob.g.Propose(rand.Reader, SelfRemoveProposal(), WirePublicMessage, nil)
		requireCheck(t, err)
	})
	m := forgeMessage(bob, ContentProposal, func(a *authenticatedContent) { a.content.proposal = &Proposal{Type: ProposalSelfRemove} })
	alice.receiveProposal(m)
	t.Run("M85 commit of a self-remove that others do not know", func(t *testing.T) {
		carol := all[2]
		refusedReferences(t, bob, carol, alice, SelfRemoveProposal())
	})
	p := alice.commit(CommitParams{})
	alice.confirm()
	require.Empty(t, bob.apply(p.Message()).ProposalTypes(), "what not all know is left out")
}
