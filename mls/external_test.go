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
			require.Equal(t, []ProposalType{proposalExternalInit}, staged.ProposalTypes())
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
	all := newGroup(t, WirePrivateMessage, "alice", "bob", "carol")
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
	all := newGroup(t, WirePrivateMessage, "alice", "bob")
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
	all := newGroup(t, WirePrivateMessage, "alice", "bob", "carol")
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
	for name, change := range map[string]func(*authenticatedContent){
		"M4 no path":           func(a *authenticatedContent) { a.content.commit.path = nil },
		"M14 no external init": func(a *authenticatedContent) { a.content.commit.proposals = nil },
		"M14 two external inits": func(a *authenticatedContent) {
			a.content.commit.proposals = append(a.content.commit.proposals, a.content.commit.proposals[0])
		},
		"M14 two removes": func(a *authenticatedContent) {
			a.content.commit.proposals = append(a.content.commit.proposals, byValue(remove, RemoveProposal(leafOf(alice)))...)
		},
		"M11 an add": func(a *authenticatedContent) {
			a.content.commit.proposals = append(a.content.commit.proposals, byValue(add)...)
		},
		"M11 extensions": func(a *authenticatedContent) {
			a.content.commit.proposals = append(a.content.commit.proposals, byValue(gce)...)
		},
		"M10 remove of nobody": func(a *authenticatedContent) {
			a.content.commit.proposals = append(a.content.commit.proposals, byValue(RemoveProposal(77))...)
		},
		"M54 another KEM output": func(a *authenticatedContent) {
			init(a).kemOutput = append([]byte{init(a).kemOutput[0] ^ 1}, init(a).kemOutput[1:]...)
		},
		"M11 an update": func(a *authenticatedContent) {
			a.content.commit.proposals = append(a.content.commit.proposals, byValue(bob.newUpdate())...)
		},
		"M11 a re-initialization": func(a *authenticatedContent) {
			a.content.commit.proposals = append(a.content.commit.proposals, byValue(ReInitProposal([]byte("next"), 1, nil))...)
		},
		"M9 a self-remove by value": func(a *authenticatedContent) {
			a.content.commit.proposals = append(a.content.commit.proposals, byValue(SelfRemoveProposal())...)
		},
		"M73 pre-shared key with a short nonce": func(a *authenticatedContent) {
			id := &preSharedKeyID{external: true, nonce: make([]byte, 31)}
			a.content.commit.proposals = append(a.content.commit.proposals, byValue(Proposal{Type: ProposalPreSharedKey, psk: id})...)
		},
		"M75 pre-shared key twice": func(a *authenticatedContent) {
			psk := Proposal{Type: ProposalPreSharedKey, psk: &preSharedKeyID{external: true, nonce: make([]byte, 32)}}
			a.content.commit.proposals = append(a.content.commit.proposals, byValue(psk, psk)...)
		},
		"M14 too many pre-shared keys": func(a *authenticatedContent) {
			for i := range maxPSKs + 1 {
				id := &preSharedKeyID{PSK: PSK{ID: []byte{byte(i)}}, external: true, nonce: make([]byte, 32)}
				a.content.commit.proposals = append(a.content.commit.proposals, byValue(Proposal{Type: ProposalPreSharedKey, psk: id})...)
			}
		},
		"M99 parent hash of zeros": func(a *authenticatedContent) {
			leaf := &a.content.commit.path.leaf
			leaf.ParentHash = make([]byte, 32)
			leaf.sign(eve.signer, alice.g.context.groupID, 3)
		},
		"M36 leaf signed for another place": func(a *authenticatedContent) {
			a.content.commit.path.leaf.sign(eve.signer, alice.g.context.groupID, 2)
		},
		"M39 leaf that does not support its credential": func(a *authenticatedContent) {
			leaf := &a.content.commit.path.leaf
			leaf.Capabilities.Credentials = nil
			leaf.sign(eve.signer, alice.g.context.groupID, 3)
		},
		"M95 leaf with the key of a member": func(a *authenticatedContent) {
			leaf := &a.content.commit.path.leaf
			leaf.EncryptionKey = bob.g.tree.leaf(1).EncryptionKey
			leaf.sign(eve.signer, alice.g.context.groupID, 3)
		},
		"M102 path secrets for other keys": func(a *authenticatedContent) {
			nodes := a.content.commit.path.nodes
			nodes[0].encryptionKey, _, _ = suites[1].generateKeyPair(rand.Reader)
			tree := alice.g.tree.clone()
			leaf := &a.content.commit.path.leaf
			placeholder := *leaf
			placeholder.EncryptionKey = nil
			at, err := tree.add(&placeholder)
			require.NoError(t, err)
			steps := tree.filteredPath(at)
			tree.blankPath(at)
			leaf.ParentHash = tree.setPath(steps, nodes)
			leaf.sign(eve.signer, alice.g.context.groupID, at)
			tree.set(at.node(), node{leaf: leaf})
			next := alice.g.nextContext(&change{tree: tree}, alice.g.context.confirmed)
			secret := make([]byte, 32)
			for i, st := range steps {
				nodes[i].secrets = nil
				for _, x := range tree.recipients(st.copath, nil) {
					ct, err := tree.suite.sealWithLabel(rand.Reader, tree.nodes[x].encryptionKey(), "UpdatePathNode", marshal(&next), secret)
					require.NoError(t, err)
					nodes[i].secrets = append(nodes[i].secrets, ct)
				}
			}
		},
		"M57 leaf of a key package": func(a *authenticatedContent) {
			a.content.commit.path.leaf.source = leafFromKeyPackage
		},
		"M36 leaf that nobody signed": func(a *authenticatedContent) { a.content.commit.path.leaf.signature[0] ^= 1 },
		"M98 path of another length": func(a *authenticatedContent) {
			a.content.commit.path.nodes = a.content.commit.path.nodes[1:]
		},
		"M54 confirmation tag with a wrong bit": func(a *authenticatedContent) { a.confirmationTag[0] ^= 1 },
		"M4 application data of a newcomer": func(a *authenticatedContent) {
			a.content.contentType, a.content.application = ContentApplication, []byte("x")
		},
		"M4 proposal as a newcomer's commit": func(a *authenticatedContent) {
			a.content.contentType, a.content.proposal = ContentProposal, &remove
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := bob.process(forge(change))
			requireCheck(t, err)
		})
	}
	t.Run("short KEM output", func(t *testing.T) {
		_, err := bob.process(forge(func(a *authenticatedContent) { init(a).kemOutput = init(a).kemOutput[1:] }))
		require.ErrorIs(t, err, ErrDecrypt)
	})
	t.Run("M3 signature with a wrong bit", func(t *testing.T) {
		m := parsed(t, eve.enter(alice).Message())
		m.public.signature[0] ^= 1
		_, err := bob.process(m.Marshal())
		requireCheck(t, err)
	})
	t.Run("M12 proposal by reference", func(t *testing.T) {
		m, err := alice.g.Propose(rand.Reader, remove, WirePublicMessage, nil)
		require.NoError(t, err)
		bob.receiveProposal(m)
		_, err = bob.process(forge(func(a *authenticatedContent) {
			a.content.commit.proposals = append(a.content.commit.proposals, proposalOrRef{ref: bob.g.proposals[0].ref})
		}))
		requireCheck(t, err)
	})
	t.Run("M92 signature key of a member", func(t *testing.T) {
		twin := &party{t: t, name: "bob", suite: bob.suite, signer: bob.signer}
		info, err := alice.g.GroupInfo(true)
		require.NoError(t, err)
		_, err = JoinExternal(rand.Reader, parsed(t, info), ExternalJoinParams{
			Signer: twin.signer, Credential: twin.params().Credential, Capabilities: twin.params().Capabilities,
		})
		requireCheck(t, err)
	})
	t.Run("M65 external init of a member", func(t *testing.T) {
		refusedCommit(t, alice, bob, Proposal{Type: proposalExternalInit, kemOutput: make([]byte, 32)})
		refusedToMake(t, alice, Proposal{Type: proposalExternalInit, kemOutput: make([]byte, 32)})
	})
}

func TestGroupInfoRules(t *testing.T) {
	all := newGroup(t, WirePrivateMessage, "alice", "bob")
	alice := all[0]
	eve := newParty(t, "eve")
	k := eve.params()
	params := ExternalJoinParams{Signer: eve.signer, Credential: k.Credential, Capabilities: k.Capabilities}
	bare, err := alice.g.GroupInfo(false)
	require.NoError(t, err)
	withTree := params
	withTree.RatchetTree = alice.g.RatchetTree()
	j, err := JoinExternal(rand.Reader, parsed(t, bare), withTree)
	require.NoError(t, err)
	message := j.Message()
	for _, c := range []struct {
		name   string
		params ExternalJoinParams
		change func(*groupInfo)
	}{
		{"M24 group info without a tree", params, func(*groupInfo) {}},
		{"M15 group info without an external key", withTree, func(i *groupInfo) { i.extensions = nil }},
		{"M15 external key with a byte too many", withTree, func(i *groupInfo) { i.extensions[0].Data = append(i.extensions[0].Data, 0) }},
		{"M1 external key that is short", withTree, func(i *groupInfo) { i.extensions[0].Data = append([]byte{31}, make([]byte, 31)...) }},
		{"M2 external key of low order", withTree, func(i *groupInfo) { i.extensions[0].Data = append([]byte{32}, make([]byte, 32)...) }},
		{"M25 tree hash with a wrong bit", withTree, func(i *groupInfo) { i.context.treeHash = flipped(i.context.treeHash) }},
		{"M26 group info in the name of another", withTree, func(i *groupInfo) { i.signer = 1 }},
		{"M36 group info for another group", withTree, func(i *groupInfo) { i.context.groupID = []byte("other") }},
		{"M41 group extension that nobody supports", withTree, func(i *groupInfo) { i.context.extensions = []Extension{{0x7777, nil}} }},
		{"M87 group info with an empty tree", params, func(i *groupInfo) { i.extensions = append(i.extensions, Extension{extensionRatchetTree, []byte{}}) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := parsed(t, bare)
			c.change(m.groupInfo)
			m.groupInfo.signature = alice.signer.signWithLabel("GroupInfoTBS", build(m.groupInfo.addUnsigned))
			_, err := JoinExternal(rand.Reader, m, c.params)
			requireCheck(t, err)
			if _, err = Observe(m, c.params.RatchetTree); err != nil { // who only watches needs no external key
				requireCheck(t, err)
			}
		})
	}
	for _, c := range []struct {
		name   string
		change func(*ExternalJoinParams)
	}{
		{"M10 newcomer replaces nobody", func(p *ExternalJoinParams) { p.Replace = new(uint32); *p.Replace = 2 }},
		{"M10 newcomer replaces a leaf beyond the tree", func(p *ExternalJoinParams) { p.Replace = new(uint32); *p.Replace = 1 << 31 }},
		{"M11 newcomer proposes an add", func(p *ExternalJoinParams) {
			p.Proposals = []Proposal{AddProposal(newParty(t, "x").keyPackage().KeyPackage())}
		}},
		{"M14 newcomer proposes a second remove", func(p *ExternalJoinParams) { p.Replace = new(uint32); p.Proposals = []Proposal{RemoveProposal(1)} }},
		{"M40 newcomer has an extension that it does not support", func(p *ExternalJoinParams) { p.LeafExtensions = []Extension{{0x7777, nil}} }},
		{"M92 newcomer has the signature key of a member", func(p *ExternalJoinParams) { p.Signer = alice.signer }},
		{"M94 newcomer has a credential that others do not support", func(p *ExternalJoinParams) {
			p.Credential = Credential{Type: CredentialX509, Certificates: [][]byte{{1}}}
			p.Capabilities.Credentials = []CredentialType{CredentialBasic, CredentialX509}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := withTree
			c.change(&p)
			_, err := JoinExternal(rand.Reader, parsed(t, bare), p)
			requireCheck(t, err)
		})
	}
	t.Run("M26 group info that was changed after it was signed", func(t *testing.T) {
		m := parsed(t, bare)
		m.groupInfo.context.epoch++
		_, err := JoinExternal(rand.Reader, m, withTree)
		requireCheck(t, err)
		_, err = Observe(m, withTree.RatchetTree)
		requireCheck(t, err)
	})
	t.Run("M16 commit in place of a group info", func(t *testing.T) {
		_, err := JoinExternal(rand.Reader, parsed(t, message), params)
		requireCheck(t, err)
		_, err = Observe(parsed(t, message), nil)
		requireCheck(t, err)
	})
	t.Run("M16 key package in place of a group info", func(t *testing.T) {
		_, err := Observe(parsed(t, append([]byte{0, 1, 0, 5}, eve.keyPackage().KeyPackage().Marshal()...)), nil)
		requireCheck(t, err)
	})
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
	newcomer := func(signer *SignatureKey, p Proposal) []byte {
		m, err := proposeOutside(alice.suite, signer, sender{kind: senderNewMemberProposal}, alice.g.GroupID(), alice.g.Epoch(), p)
		require.NoError(t, err)
		return m
	}
	spoilt := parsed(t, newcomer(bob.signer, AddProposal(bob.keyPackage().KeyPackage())))
	spoilt.public.signature = flipped(spoilt.public.signature)
	for _, c := range []struct {
		name string
		m    []byte
	}{
		{"M3 proposal with another key than the external sender's", outsider(mallory.signer, 1, RemoveProposal(leafOf(dave)))},
		{"M3 proposal in the place of another external sender", outsider(service.signer, 0, RemoveProposal(leafOf(dave)))},
		{"M3 proposal of somebody else's addition", newcomer(mallory.signer, AddProposal(bob.keyPackage().KeyPackage()))},
		{"M3 proposal with a wrong bit in its signature", spoilt.Marshal()},
		{"M6 external sender that is not listed", outsider(service.signer, 2, RemoveProposal(leafOf(dave)))},
		{"M6 external sender at the highest place there is", outsider(service.signer, 1<<32-1, RemoveProposal(leafOf(dave)))},
		{"M7 update by an external sender", outsider(service.signer, 1, Proposal{Type: ProposalUpdate, update: &update})},
		{"M7 external init by an external sender", outsider(service.signer, 1, Proposal{Type: proposalExternalInit, kemOutput: []byte{1}})},
		{"M7 self-remove by an external sender", outsider(service.signer, 1, SelfRemoveProposal())},
		{"M5 remove by a newcomer", newcomer(mallory.signer, RemoveProposal(leafOf(dave)))},
		{"M5 update by a newcomer", newcomer(mallory.signer, Proposal{Type: ProposalUpdate, update: &update})},
		{"M5 new extensions by a newcomer", newcomer(mallory.signer, GroupContextExtensionsProposal(nil))},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := alice.process(c.m)
			requireCheck(t, err)
			_, err = alice.observer().Process(parsed(t, c.m), testNow)
			requireCheck(t, err)
		})
	}
	t.Run("M34 newcomer whose key package nobody signed", func(t *testing.T) {
		kp := *bob.keyPackage().KeyPackage()
		kp.signature = flipped(kp.signature)
		m := newcomer(bob.signer, AddProposal(&kp))
		to := alice.aside()
		if _, err := to.process(m); err != nil { // at once, or when it is committed
			requireCheck(t, err)
			return
		}
		_, err := to.process(forgeCommit(dave, &commit{proposals: []proposalOrRef{{ref: parsed(t, m).public.ref(alice.g.suite)}}}))
		requireCheck(t, err)
	})
	old, err := ProposeSelf(bob.keyPackage().KeyPackage(), bob.signer, alice.g.GroupID(), alice.g.Epoch()-1)
	require.NoError(t, err)
	var epoch *WrongEpochError
	_, err = alice.process(old)
	require.ErrorAs(t, err, &epoch)
}
