package mls

import (
	"crypto/rand"
	"maps"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// enter makes p join the group of host from outside.
func (p *party) enter(host *party, change ...func(*ExternalJoinParams)) *ExternalJoin {
	info, err := host.g.GroupInfo(true)
	require.NoError(p.t, err)
	k := p.params()
	params := ExternalJoinParams{Signer: p.signer, Credential: k.Credential, Capabilities: k.Capabilities, PSKs: p.psks}
	for _, f := range change {
		f(&params)
	}
	j, err := JoinExternal(rand.Reader, parsed(p.t, info), params)
	require.NoError(p.t, err)
	return j
}

func (p *party) take(j *ExternalJoin) {
	p.g = j.Group()
	p.reload()
}

func TestExternalJoin(t *testing.T) {
	for _, cs := range slices.Sorted(maps.Keys(suites)) {
		t.Run(cs.String(), func(t *testing.T) {
			alice, bob, carol := newPartyOf(t, cs, "alice"), newPartyOf(t, cs, "bob"), newPartyOf(t, cs, "carol")
			alice.create()
			j := bob.enter(alice)
			staged := alice.apply(j.Message())
			bob.take(j)
			require.True(t, staged.External())
			require.Equal(t, bob.signer.Public(), staged.Committer().Node.SignatureKey)
			require.Equal(t, []Member{staged.Committer()}, staged.Added())
			require.Empty(t, staged.Updated())
			require.Equal(t, []ProposalType{ProposalExternalInit}, staged.ProposalTypes())
			agree(t, alice, bob)
			j = carol.enter(bob, func(p *ExternalJoinParams) { p.AuthenticatedData = []byte("hello") })
			require.Equal(t, []byte("hello"), alice.apply(j.Message()).AuthenticatedData())
			bob.apply(j.Message())
			carol.take(j)
			agree(t, alice, bob, carol)
			p := carol.commit(CommitParams{Proposals: []Proposal{RemoveProposal(leafOf(alice))}})
			carol.confirm()
			bob.apply(p.Message())
			agree(t, bob, carol)
		})
	}
}

func TestResync(t *testing.T) {
	all := newGroup(t, FramePrivate, "alice", "bob", "carol")
	alice, bob, carol := all[0], all[1], all[2]
	old := leafOf(bob)
	again := &party{t: t, name: "bob", suite: bob.suite, signer: bob.signer}
	j := again.enter(alice, func(p *ExternalJoinParams) { p.Replace = &old })
	staged := alice.apply(j.Message())
	require.Equal(t, old, staged.Removed()[0].Leaf)
	carol.apply(j.Message())
	again.take(j)
	agree(t, alice, carol, again)
	lost := bob.stage(j.Message())
	require.True(t, lost.RemovesUs())
	require.True(t, lost.External())
	require.Len(t, alice.g.Members(), 3)
}

func TestExternalJoinWithPSK(t *testing.T) {
	all := newGroup(t, FramePrivate, "alice", "bob")
	alice, bob := all[0], all[1]
	carol := newParty(t, "carol")
	for _, p := range []*party{alice, bob, carol} {
		p.psks = shared("door", "knock")
	}
	alice.reload()
	info, err := alice.g.GroupInfo(true)
	require.NoError(t, err)
	psk, err := PSKProposal(rand.Reader, parsed(t, info).Suite(), PSK{ID: []byte("door")}) // from outside
	require.NoError(t, err)
	_, err = PSKProposal(rand.Reader, 99, PSK{ID: []byte("door")})
	require.ErrorIs(t, err, ErrUnsupported)
	j := carol.enter(alice, func(p *ExternalJoinParams) { p.Proposals = []Proposal{psk} })
	_, err = bob.process(j.Message())
	require.ErrorIs(t, err, ErrUnknownPSK)
	bob.reload()
	bob.apply(j.Message())
	alice.apply(j.Message())
	carol.take(j)
	agree(t, alice, bob, carol)
}

func TestExternalJoinRules(t *testing.T) {
	all := newGroup(t, FramePrivate, "alice", "bob", "carol")
	alice, bob := all[0], all[1]
	eve := newParty(t, "eve")
	// forge changes what eve sends, and signs again.
	forge := func(change func(a *authenticatedContent)) []byte {
		j := eve.enter(alice)
		m := parsed(t, j.Message())
		change(&m.public.authenticatedContent)
		m.public.sign(eve.signer, marshal(&alice.g.context))
		return m.Marshal()
	}
	init := func(a *authenticatedContent) *Proposal { return a.content.commit.proposals[0].proposal }
	remove := RemoveProposal(leafOf(bob))
	gce := GroupContextExtensionsProposal(nil)
	add := AddProposal(newParty(t, "mallory").keyPackage().KeyPackage())
	for name, c := range map[string]struct {
		change func(a *authenticatedContent)
		rule   string
	}{
		"no path":          {func(a *authenticatedContent) { a.content.commit.path = nil }, "without a path"},
		"no external init": {func(a *authenticatedContent) { a.content.commit.proposals = nil }, "0 external inits"},
		"two external inits": {func(a *authenticatedContent) {
			a.content.commit.proposals = append(a.content.commit.proposals, a.content.commit.proposals[0])
		}, "2 external inits"},
		"two removes": {func(a *authenticatedContent) {
			a.content.commit.proposals = append(a.content.commit.proposals, byValue(remove, RemoveProposal(leafOf(alice)))...)
		}, "2 removes"},
		"an add": {func(a *authenticatedContent) {
			a.content.commit.proposals = append(a.content.commit.proposals, byValue(add)...)
		}, "type 1 in an external commit"},
		"extensions": {func(a *authenticatedContent) {
			a.content.commit.proposals = append(a.content.commit.proposals, byValue(gce)...)
		}, "type 7 in an external commit"},
		"remove of nobody": {func(a *authenticatedContent) {
			a.content.commit.proposals = append(a.content.commit.proposals, byValue(RemoveProposal(77))...)
		}, "not a member"},
		"another kem output": {func(a *authenticatedContent) {
			init(a).kemOutput = append([]byte{init(a).kemOutput[0] ^ 1}, init(a).kemOutput[1:]...)
		}, ""},
		"short kem output": {func(a *authenticatedContent) { init(a).kemOutput = init(a).kemOutput[1:] }, ""},
		"leaf of a key package": {func(a *authenticatedContent) {
			a.content.commit.path.leaf.Source = LeafFromKeyPackage
		}, "another source"},
		"leaf that nobody signed": {func(a *authenticatedContent) { a.content.commit.path.leaf.signature[0] ^= 1 }, "leaf signature"},
		"path of another length": {func(a *authenticatedContent) {
			a.content.commit.path.nodes = a.content.commit.path.nodes[1:]
		}, "nodes, the filtered path has"},
		"confirmation tag": {func(a *authenticatedContent) { a.confirmationTag[0] ^= 1 }, "confirmation tag"},
		"application data": {func(a *authenticatedContent) {
			a.content.contentType, a.content.application = ContentApplication, []byte("x")
		}, "without a path"},
		"a proposal": {func(a *authenticatedContent) {
			a.content.contentType, a.content.proposal = ContentProposal, &remove
		}, "without a path"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := bob.process(forge(c.change))
			require.Error(t, err)
			if c.rule != "" {
				requireRule(t, err, c.rule)
			}
		})
	}
	t.Run("signature", func(t *testing.T) {
		m := parsed(t, eve.enter(alice).Message())
		m.public.signature[0] ^= 1
		_, err := bob.process(m.Marshal())
		requireRule(t, err, "signature of a message from outside")
	})
	t.Run("proposal by reference", func(t *testing.T) {
		m, err := alice.g.Propose(rand.Reader, remove, FramePublic, nil)
		require.NoError(t, err)
		bob.receiveProposal(m)
		_, err = bob.process(forge(func(a *authenticatedContent) {
			a.content.commit.proposals = append(a.content.commit.proposals, proposalOrRef{ref: bob.g.proposals[0].ref})
		}))
		requireRule(t, err, "by reference")
	})
	t.Run("member's key", func(t *testing.T) {
		twin := &party{t: t, name: "bob", suite: bob.suite, signer: bob.signer}
		info, err := alice.g.GroupInfo(true)
		require.NoError(t, err)
		_, err = JoinExternal(rand.Reader, parsed(t, info), ExternalJoinParams{
			Signer: twin.signer, Credential: twin.params().Credential, Capabilities: twin.params().Capabilities,
		})
		require.Error(t, err, "a signature key stands once in a tree")
	})
	t.Run("external init of a member", func(t *testing.T) {
		_, err := bob.process(forgeCommit(alice, &commit{proposals: byValue(Proposal{Type: ProposalExternalInit, kemOutput: make([]byte, 32)})}))
		requireRule(t, err, "external init in the commit of a member")
	})
}

func TestGroupInfoRules(t *testing.T) {
	all := newGroup(t, FramePrivate, "alice", "bob")
	alice := all[0]
	eve := newParty(t, "eve")
	k := eve.params()
	params := ExternalJoinParams{Signer: eve.signer, Credential: k.Credential, Capabilities: k.Capabilities}
	bare, err := alice.g.GroupInfo(false)
	require.NoError(t, err)
	_, err = JoinExternal(rand.Reader, parsed(t, bare), params)
	requireRule(t, err, "without a ratchet tree")
	params.RatchetTree = alice.g.RatchetTree()
	j, err := JoinExternal(rand.Reader, parsed(t, bare), params)
	require.NoError(t, err)
	alice.apply(j.Message())
	_, err = JoinExternal(rand.Reader, parsed(t, j.Message()), params)
	requireRule(t, err, "not a GroupInfo")

	m := parsed(t, bare)
	m.groupInfo.extensions = nil
	m.groupInfo.signature = alice.signer.signWithLabel("GroupInfoTBS", build(m.groupInfo.addUnsigned))
	_, err = JoinExternal(rand.Reader, m, params)
	requireRule(t, err, "without an external key")
	m.groupInfo.context.epoch++
	_, err = JoinExternal(rand.Reader, m, params)
	requireRule(t, err, "signature of a group info")
}

func TestProposalsFromOutside(t *testing.T) {
	service := newParty(t, "service")
	alice, bob, dave := newParty(t, "alice"), newParty(t, "bob"), newParty(t, "dave")
	alice.create(ExternalSendersExtension(ExternalSender{newParty(t, "x").signer.Public(), BasicCredential([]byte("x"))},
		ExternalSender{service.signer.Public(), BasicCredential([]byte("service"))}))
	kp := bob.keyPackage()
	p := alice.commit(CommitParams{Proposals: []Proposal{AddProposal(kp.KeyPackage())}})
	alice.confirm()
	bob.join(kp, p.Welcome())

	outsider := func(signer *SignatureKey, index uint32, x Proposal) []byte {
		m, err := ProposeExternally(alice.suite, signer, index, alice.g.GroupID(), alice.g.Epoch(), x)
		require.NoError(t, err)
		return m
	}
	remove := outsider(service.signer, 1, RemoveProposal(leafOf(bob)))
	davesPackage := dave.keyPackage()
	self, err := ProposeSelf(davesPackage.KeyPackage(), dave.signer, alice.g.GroupID(), alice.g.Epoch())
	require.NoError(t, err)
	for _, m := range [][]byte{remove, self} {
		for _, to := range []*party{alice, bob} {
			got, err := to.process(m)
			require.NoError(t, err)
			require.Nil(t, got.(*ReceivedProposal).Sender.Node)
			to.reload()
		}
	}
	p = alice.commit(CommitParams{})
	alice.confirm()
	require.True(t, bob.stage(p.Message()).RemovesUs())
	dave.join(davesPackage, p.Welcome())
	agree(t, alice, dave)

	mallory := newParty(t, "mallory")
	update := *alice.g.tree.leaf(alice.g.own)
	for name, c := range map[string]struct {
		m    []byte
		rule string
	}{
		"another key":         {outsider(mallory.signer, 1, RemoveProposal(leafOf(dave))), "signature of a message from outside"},
		"another place":       {outsider(service.signer, 0, RemoveProposal(leafOf(dave))), "signature of a message from outside"},
		"no such sender":      {outsider(service.signer, 2, RemoveProposal(leafOf(dave))), "external sender 2"},
		"update from outside": {outsider(service.signer, 1, Proposal{Type: ProposalUpdate, update: &update}), "proposes type 2"},
		"external init":       {outsider(service.signer, 1, Proposal{Type: ProposalExternalInit, kemOutput: []byte{1}}), "proposes type 6"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := alice.process(c.m)
			requireRule(t, err, c.rule)
		})
	}
	foreign, err := proposeOutside(alice.suite, mallory.signer, sender{kind: senderNewMemberProposal}, alice.g.GroupID(), alice.g.Epoch(), RemoveProposal(leafOf(dave)))
	require.NoError(t, err)
	_, err = alice.process(foreign)
	requireRule(t, err, "something else than its own addition")
	stolen, err := proposeOutside(alice.suite, mallory.signer, sender{kind: senderNewMemberProposal}, alice.g.GroupID(), alice.g.Epoch(), AddProposal(bob.keyPackage().KeyPackage()))
	require.NoError(t, err)
	_, err = alice.process(stolen)
	requireRule(t, err, "signature of a message from outside")
	old, err := ProposeSelf(bob.keyPackage().KeyPackage(), bob.signer, alice.g.GroupID(), alice.g.Epoch()-1)
	require.NoError(t, err)
	var epoch *WrongEpochError
	_, err = alice.process(old)
	require.ErrorAs(t, err, &epoch)
}
