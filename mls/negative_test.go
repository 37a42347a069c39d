package mls

import (
	"bytes"
	"crypto/rand"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/cryptobyte"
)

func TestKeyPackageRules(t *testing.T) {
	p := newParty(t, "alice")
	signed := func(change func(*KeyPackage)) *KeyPackage {
		kp := *p.keyPackage().KeyPackage()
		change(&kp)
		kp.Leaf.sign(p.signer, nil, 0)
		kp.signature = p.signer.signWithLabel("KeyPackageTBS", marshalUnsigned(&kp))
		return &kp
	}
	require.NoError(t, signed(func(*KeyPackage) {}).Verify(testNow))
	for rule, kp := range map[string]*KeyPackage{
		"version":         signed(func(kp *KeyPackage) { kp.version = 2 }),
		"another source":  signed(func(kp *KeyPackage) { kp.Leaf.Source = LeafFromUpdate }),
		"init key of":     signed(func(kp *KeyPackage) { kp.InitKey = kp.InitKey[:31] }),
		"init key is":     signed(func(kp *KeyPackage) { kp.InitKey = kp.Leaf.EncryptionKey }),
		"not valid now":   signed(func(kp *KeyPackage) { kp.Leaf.Lifetime = Lifetime{0, 1} }), // 1970
		"encryption key":  signed(func(kp *KeyPackage) { kp.Leaf.EncryptionKey = []byte("short") }),
		"mls10":           signed(func(kp *KeyPackage) { kp.Leaf.Capabilities.Versions = []uint16{7} }),
		"cipher suite":    signed(func(kp *KeyPackage) { kp.Leaf.Capabilities.CipherSuites = []CipherSuite{3} }),
		"credential type": signed(func(kp *KeyPackage) { kp.Leaf.Capabilities.Credentials = []CredentialType{CredentialX509} }),
		"last-resort": signed(func(kp *KeyPackage) {
			kp.Extensions = []Extension{{ExtensionLastResort, nil}}
		}),
		"leaf has extension": signed(func(kp *KeyPackage) {
			kp.Leaf.Extensions = []Extension{{0x7777, nil}}
		}),
	} {
		requireRule(t, kp.Verify(testNow), rule)
	}
	greased := signed(func(kp *KeyPackage) { kp.Extensions = []Extension{{0x0a0a, []byte("ignored")}} })
	require.NoError(t, greased.Verify(testNow), "what is not known is ignored, whether the leaf names it or not")
	unknown := signed(func(kp *KeyPackage) { kp.Suite = 0x7777 })
	require.ErrorIs(t, unknown.Verify(testNow), ErrUnsupported)
	require.Nil(t, unknown.Ref())

	kp := p.keyPackage().KeyPackage()
	requireRule(t, kp.Verify(testNow.Add(31*24*time.Hour)), "not valid now")
	requireRule(t, kp.Verify(testNow.Add(-24*time.Hour)), "not valid now")
	raw := kp.Marshal()
	for i := range raw {
		forged := bytes.Clone(raw)
		forged[i] ^= 1
		if k, err := ParseKeyPackage(forged); err == nil {
			require.Error(t, k.Verify(testNow), "byte %d of %d", i, len(raw))
		}
		_, err := ParseKeyPackage(raw[:i])
		require.Error(t, err)
	}
	_, err := ParseKeyPackage(append(raw, 0))
	require.Error(t, err, "trailing byte")
}

func marshalUnsigned(kp *KeyPackage) []byte { return build(kp.addUnsigned) }

func TestProposalListRules(t *testing.T) {
	all := newGroup(t, FramePublic, "alice", "bob", "carol", "dave")
	alice, bob := all[0], all[1]
	eve := newParty(t, "eve")
	other := func(p *party, change func(*KeyPackageParams)) Proposal {
		return AddProposal(p.keyPackageWith(change).KeyPackage())
	}
	same := func(*KeyPackageParams) {}
	twin := eve.keyPackage().KeyPackage()
	for _, c := range []struct {
		rule string
		list []Proposal
	}{
		{"removes its own sender", []Proposal{RemoveProposal(leafOf(alice))}},
		{"twice in one commit", []Proposal{RemoveProposal(2), RemoveProposal(2)}},
		{"not a member", []Proposal{RemoveProposal(7)}},
		{"not a member", []Proposal{RemoveProposal(1 << 31)}},
		{"not a member", []Proposal{RemoveProposal(1<<32 - 1)}},
		{"update of its own sender", []Proposal{{Type: ProposalUpdate, update: alice.g.tree.leaf(0)}}},
		{"two changes of the group's extensions", []Proposal{GroupContextExtensionsProposal(nil), GroupContextExtensionsProposal(nil)}},
		{"a signature key stands in the tree twice", []Proposal{other(bob, same)}},
		{"a signature key stands in the tree twice", []Proposal{other(eve, same), other(eve, same)}},
		{"an encryption key stands in the tree twice", []Proposal{AddProposal(twin), AddProposal(twin)}},
		{"another suite", []Proposal{other(eve, func(k *KeyPackageParams) { k.Suite = 3 })}},
		{"without the path", []Proposal{RemoveProposal(2)}},
		{"without the path", []Proposal{GroupContextExtensionsProposal(nil)}},
		{"without the path", nil},
		{"without the path", []Proposal{other(eve, same), RemoveProposal(2)}},
		{"required extension", []Proposal{GroupContextExtensionsProposal([]Extension{{ExtensionRequiredCapabilities, []byte{2, 0x77, 0x77, 0, 0}}})}},
		{"required proposal", []Proposal{GroupContextExtensionsProposal([]Extension{{ExtensionRequiredCapabilities, []byte{0, 2, 0x77, 0x77, 0}}})}},
		{"required credential", []Proposal{GroupContextExtensionsProposal([]Extension{{ExtensionRequiredCapabilities, []byte{0, 0, 2, 0, 2}}})}},
		{"does not support group extension", []Proposal{GroupContextExtensionsProposal([]Extension{{0x7777, nil}})}},
		{"does not support group extension", []Proposal{
			other(eve, func(k *KeyPackageParams) { k.Capabilities = Capabilities{} }), GroupContextExtensionsProposal([]Extension{{testExtension, nil}}),
		}},
		{"credential type", []Proposal{other(eve, func(k *KeyPackageParams) {
			k.Credential = Credential{Type: CredentialX509, Certificates: [][]byte{{1}}}
			k.Capabilities.Credentials = []CredentialType{CredentialBasic, CredentialX509}
		})}},
	} {
		t.Run(c.rule, func(t *testing.T) {
			_, err := bob.process(forgeCommit(alice, &commit{proposals: byValue(c.list...)}))
			requireRule(t, err, c.rule)
			if c.rule == "without the path" {
				return // Commit adds one
			}
			before := alice.g.Marshal()
			_, err = alice.g.Commit(rand.Reader, CommitParams{Proposals: c.list, Now: testNow})
			requireRule(t, err, c.rule)
			alice.requireSame(before)
		})
	}
	_, err := bob.process(forgeCommit(alice, &commit{proposals: []proposalOrRef{{ref: make([]byte, 32)}}}))
	requireRule(t, err, "have not seen")
	agree(t, all...)
}

func TestUpdateRules(t *testing.T) {
	all := newGroup(t, FramePublic, "alice", "bob", "carol")
	alice, bob, carol := all[0], all[1], all[2]
	update := func(change func(*LeafNode)) []byte {
		leaf := *bob.g.tree.leaf(bob.g.own)
		pub, _, err := bob.g.suite.generateKeyPair(rand.Reader)
		require.NoError(t, err)
		leaf.EncryptionKey, leaf.Source, leaf.ParentHash = pub, LeafFromUpdate, nil
		leaf.sign(bob.signer, bob.g.context.groupID, bob.g.own)
		change(&leaf)
		return forgeMessage(bob, ContentProposal, func(a *authenticatedContent) { a.content.proposal = &Proposal{Type: ProposalUpdate, update: &leaf} })
	}
	resign := func(l *LeafNode) { l.sign(bob.signer, bob.g.context.groupID, bob.g.own) }
	for rule, m := range map[string][]byte{
		"another source": update(func(l *LeafNode) { l.Source = LeafFromCommit; l.ParentHash = make([]byte, 32); resign(l) }),
		"keeps the encryption key": update(func(l *LeafNode) {
			l.EncryptionKey = bob.g.tree.leaf(bob.g.own).EncryptionKey
			resign(l)
		}),
		"leaf signature": update(func(l *LeafNode) { l.sign(bob.signer, []byte("other group"), bob.g.own) }),
		"an encryption key stands in the tree twice": update(func(l *LeafNode) { l.EncryptionKey = alice.g.tree.leaf(0).EncryptionKey; resign(l) }),
		"a signature key stands in the tree twice": update(func(l *LeafNode) {
			l.SignatureKey = alice.signer.Public()
			l.sign(alice.signer, bob.g.context.groupID, bob.g.own)
		}),
	} {
		t.Run(rule, func(t *testing.T) {
			c, a := *carol, *alice
			c.g, a.g = reloaded(t, carol.g), reloaded(t, alice.g)
			// Whether it is refused at once or kept for the commit that names it: that commit does not pass.
			if _, err := c.g.Process(parsed(t, m), testNow); err != nil {
				requireRule(t, err, rule)
				return
			}
			ref := parsed(t, m).public.ref(a.g.suite)
			_, err := c.process(forgeCommit(&a, &commit{proposals: []proposalOrRef{{ref: ref}}}))
			requireRule(t, err, rule)
		})
	}
}

func reloaded(t *testing.T, g *Group) *Group {
	again, err := UnmarshalGroup(g.Marshal())
	require.NoError(t, err)
	return again
}

func TestPathRules(t *testing.T) {
	all := newGroup(t, FramePublic, names(5)...)
	alice, bob := all[0], all[1]
	for _, c := range []struct {
		rule   string
		change func(*newPath, *ratchetTree)
	}{
		{"another source", func(p *newPath, tree *ratchetTree) {
			p.path.leaf.Source, p.path.leaf.ParentHash = LeafFromUpdate, nil
			p.path.leaf.sign(alice.signer, alice.g.context.groupID, alice.g.own)
		}},
		{"leaf signature", func(p *newPath, tree *ratchetTree) { p.path.leaf.signature[0] ^= 1 }},
		{"leaf signature", func(p *newPath, tree *ratchetTree) { p.path.leaf.sign(alice.signer, []byte("other"), alice.g.own) }},
		{"leaf signature", func(p *newPath, tree *ratchetTree) { p.path.leaf.sign(alice.signer, alice.g.context.groupID, 1) }},
		{"already in the tree", func(p *newPath, tree *ratchetTree) {
			p.path.leaf.EncryptionKey = alice.g.tree.leaf(alice.g.own).EncryptionKey
			alice.resign(p, tree)
		}},
		{"parent hash", func(p *newPath, tree *ratchetTree) {
			p.path.leaf.ParentHash = make([]byte, 32)
			p.path.leaf.sign(alice.signer, alice.g.context.groupID, alice.g.own)
		}},
		{"parent hash", func(p *newPath, tree *ratchetTree) {
			p.path.leaf.ParentHash = nil
			p.path.leaf.sign(alice.signer, alice.g.context.groupID, alice.g.own)
		}},
		{"parent hash", func(p *newPath, tree *ratchetTree) {
			p.path.nodes[0].encryptionKey, p.path.nodes[1].encryptionKey = p.path.nodes[1].encryptionKey, p.path.nodes[0].encryptionKey
		}},
		{"the filtered path has", func(p *newPath, tree *ratchetTree) { p.path.nodes = p.path.nodes[1:] }},
		{"the filtered path has", func(p *newPath, tree *ratchetTree) {
			p.path.nodes = append(p.path.nodes, updatePathNode{encryptionKey: bytes.Repeat([]byte{7}, 32)})
		}},
		{"update path's encryption key of 31 bytes", func(p *newPath, tree *ratchetTree) {
			p.path.nodes[0].encryptionKey = p.path.nodes[0].encryptionKey[1:]
			alice.resign(p, tree)
		}},
		{"path secrets for", func(p *newPath, tree *ratchetTree) { p.path.nodes[0].secrets = nil }},
		{"path secrets for", func(p *newPath, tree *ratchetTree) {
			p.path.nodes[0].secrets = append(p.path.nodes[0].secrets, p.path.nodes[0].secrets[0])
		}},
		{"does not give the public key", func(p *newPath, tree *ratchetTree) {
			pub, _, err := alice.g.suite.generateKeyPair(rand.Reader)
			require.NoError(t, err)
			p.path.nodes[len(p.path.nodes)-1].encryptionKey = pub
			alice.resign(p, tree)
			for i := range p.path.nodes {
				p.path.nodes[i].secrets = nil
			}
			at := tree.clone()
			at.setPath(p.steps, p.path.nodes)
			at.set(alice.g.own.node(), node{leaf: &p.path.leaf})
			next := alice.g.nextContext(&change{tree: at}, alice.g.context.confirmed)
			require.NoError(t, p.encrypt(rand.Reader, at, marshal(&next), nil))
		}},
		{"already in the tree", func(p *newPath, tree *ratchetTree) { // a node takes the key of somebody's leaf
			p.path.nodes[1].encryptionKey = tree.leaf(3).EncryptionKey
			alice.resign(p, tree)
		}},
		{"already in the tree", func(p *newPath, tree *ratchetTree) { // no fresh key for a node that had one
			p.path.nodes[0].encryptionKey = alice.g.tree.nodes[p.steps[0].node].encryptionKey()
			alice.resign(p, tree)
		}},
		{"already in the tree", func(p *newPath, tree *ratchetTree) { // one key for two nodes
			p.path.nodes[0].encryptionKey = p.path.nodes[1].encryptionKey
			alice.resign(p, tree)
		}},
		{"already in the tree", func(p *newPath, tree *ratchetTree) { // the leaf takes a parent's key
			p.path.leaf.EncryptionKey = alice.g.tree.nodes[p.steps[0].node].encryptionKey()
			alice.resign(p, tree)
		}},
		{"confirmation tag", func(*newPath, *ratchetTree) {}}, // the control: nothing else is wrong
	} {
		t.Run(c.rule, func(t *testing.T) {
			_, err := bob.process(forgePath(t, alice, nil, c.change))
			requireRule(t, err, c.rule)
		})
	}
	_, err := bob.process(forgePath(t, alice, nil, func(p *newPath, _ *ratchetTree) { p.path.nodes[0].secrets[0].ciphertext[0] ^= 1 }))
	require.ErrorIs(t, err, ErrDecrypt)
	agree(t, all...)
}

func TestMessageRules(t *testing.T) {
	all := newGroup(t, FramePublic, "alice", "bob", "carol")
	alice, bob := all[0], all[1]
	_, err := bob.process(forgeMessage(alice, ContentApplication, func(a *authenticatedContent) { a.content.application = []byte("x") }))
	requireRule(t, err, "application data in a PublicMessage")
	for _, leaf := range []uint32{3, 8, 1 << 31, 1<<32 - 1} {
		_, err = bob.process(forgeMessage(alice, ContentCommit, func(a *authenticatedContent) {
			a.content.sender.index, a.content.commit = leaf, &commit{}
		}))
		requireRule(t, err, "is not a member")
	}
	_, err = bob.process(forgeMessage(alice, ContentCommit, func(a *authenticatedContent) { a.content.sender.index, a.content.commit = 2, &commit{} }))
	requireRule(t, err, "message signature")
	for _, kind := range []senderType{senderExternal, senderNewMemberProposal, senderNewMemberCommit} {
		_, err = bob.process(forgeMessage(alice, ContentCommit, func(a *authenticatedContent) { a.content.sender.kind, a.content.commit = kind, &commit{} }))
		var refused *InvalidError
		require.ErrorAs(t, err, &refused)
	}
	_, err = bob.process(forgeMessage(alice, ContentCommit, func(a *authenticatedContent) { a.content.groupID, a.content.commit = []byte("other"), &commit{} }))
	require.ErrorIs(t, err, ErrWrongGroup)
	_, err = bob.process(append([]byte{0, 1, 0, 5}, alice.keyPackage().KeyPackage().Marshal()...))
	require.ErrorIs(t, err, ErrWrongGroup)
	for _, epoch := range []uint64{0, bob.g.Epoch() + 1, 1<<64 - 1} {
		_, err = bob.process(forgeMessage(alice, ContentCommit, func(a *authenticatedContent) { a.content.epoch, a.content.commit = epoch, &commit{} }))
		require.Equal(t, &WrongEpochError{epoch, bob.g.Epoch()}, err)
	}
	// Somebody who is no member any more, or never was, cannot make a membership tag.
	outsider := newParty(t, "eve")
	outsider.create()
	outsider.g.context = alice.g.context
	_, err = bob.process(forgeMessage(outsider, ContentCommit, func(a *authenticatedContent) { a.content.commit = &commit{} }))
	requireRule(t, err, "membership tag")
	// Content inside a PrivateMessage that is cut off.
	_, err = bob.process(sealRaw(t, alice, ContentApplication, func(a *authenticatedContent) []byte { return bytes.Repeat([]byte{0xff}, 40) }))
	requireRule(t, err, "content of a PrivateMessage")
	// A member that signs as somebody else inside its own message.
	_, err = bob.process(sealRaw(t, alice, ContentApplication, func(a *authenticatedContent) []byte {
		a.content.sender.index = 2
		a.sign(alice.signer, marshal(&alice.g.context))
		return rawPlaintext(a)
	}))
	requireRule(t, err, "message signature")
}

func TestWelcomeRules(t *testing.T) {
	all := newGroup(t, FramePrivate, names(5)...)
	alice, eve := all[0], newParty(t, "eve")
	kp := eve.keyPackage()
	alice.commit(CommitParams{Proposals: []Proposal{AddProposal(kp.KeyPackage())}, ForcePath: true})
	tree := func(change func(*ratchetTree)) func(*groupInfo) {
		return func(i *groupInfo) {
			changed := alice.g.pending.next.tree.clone()
			change(changed)
			clear(changed.hashes)
			i.extensions = []Extension{{ExtensionRatchetTree, changed.marshal()}}
			i.context.treeHash = changed.treeHash()
		}
	}
	parentWith := func(x nodeIndex, change func(*parentNode)) func(*groupInfo) {
		return tree(func(r *ratchetTree) {
			p := *r.nodes[x].parent
			change(&p)
			r.nodes[x].parent = &p
		})
	}
	rootNode := alice.g.pending.next.tree.root()
	for _, c := range []struct {
		rule   string
		change func(*groupInfo)
	}{
		{"confirmation tag", func(i *groupInfo) { i.confirmationTag[0] ^= 1 }},
		{"confirmation tag", func(i *groupInfo) { i.confirmationTag = i.confirmationTag[:16] }},
		{"confirmation tag", func(i *groupInfo) { i.context.epoch++ }},
		{"confirmation tag", func(i *groupInfo) { i.context.confirmed = nil }},
		{"another suite", func(i *groupInfo) { i.context.suite = 3 }},
		{"tree hash", func(i *groupInfo) { i.context.treeHash[0] ^= 1 }},
		{"signature of a group info", func(i *groupInfo) { i.signer = 1 }},
		{"signature of a group info", func(i *groupInfo) { i.signer = 7 }}, // blank
		{"signature of a group info", func(i *groupInfo) { i.signer = 1 << 30 }},
		{"leaf signature", func(i *groupInfo) { i.context.groupID = []byte("other") }},
		{"does not support group extension", func(i *groupInfo) { i.context.extensions = []Extension{{0x7777, nil}} }},
		{"malformed", func(i *groupInfo) { i.extensions = []Extension{{ExtensionRatchetTree, nil}} }},
		{"malformed", func(i *groupInfo) { i.extensions[0].Data = append(i.extensions[0].Data, 0) }},
		{"our leaf is not in the tree", tree(func(r *ratchetTree) { r.remove(5) })},
		{"parent hash of node", parentWith(rootNode, func(p *parentNode) { p.encryptionKey = bytes.Repeat([]byte{7}, 32) })},
		{"parent hash of node", parentWith(1, func(p *parentNode) { p.parentHash = nil })},
		{"parent hash of node", tree(func(r *ratchetTree) { r.nodes[9].parent = &parentNode{encryptionKey: bytes.Repeat([]byte{7}, 32)} })},
		{"parent hash of node", tree(func(r *ratchetTree) { r.nodes[13].parent = &parentNode{encryptionKey: bytes.Repeat([]byte{7}, 32)} })},
		{"is not below node", parentWith(1, func(p *parentNode) { p.unmerged = []leafIndex{5} })},
		{"is not below node", parentWith(rootNode, func(p *parentNode) { p.unmerged = []leafIndex{7} })}, // blank
		{"is not below node", parentWith(rootNode, func(p *parentNode) { p.unmerged = []leafIndex{1 << 30} })},
		{"unmerged at node", parentWith(rootNode, func(p *parentNode) { p.unmerged = []leafIndex{1} })},
		{"encryption key of node", parentWith(1, func(p *parentNode) { p.encryptionKey = p.encryptionKey[1:] })},
		{"leaf signature", tree(func(r *ratchetTree) {
			l := *r.nodes[0].leaf // the committer's: the parent hashes of its own path do not cover it
			l.Credential = BasicCredential([]byte("https://a.example/users/mallory"))
			r.nodes[0].leaf = &l
		})},
	} {
		t.Run(c.rule, func(t *testing.T) {
			_, err := JoinWelcome(parsed(t, reWelcome(t, alice, kp, c.change)), JoinParams{KeyPackage: kp, Signer: eve.signer})
			requireRule(t, err, c.rule)
		})
	}
	join := func(change func(*groupInfo, *groupSecrets)) error {
		_, err := JoinWelcome(parsed(t, reWelcomeWith(t, alice, kp, change)), JoinParams{KeyPackage: kp, Signer: eve.signer})
		return err
	}
	requireRule(t, join(func(i *groupInfo, _ *groupSecrets) { i.signature[0] ^= 1 }), "signature of a group info")
	requireRule(t, join(func(_ *groupInfo, s *groupSecrets) { s.pathSecret[0] ^= 1 }), "does not give the public key")
	requireRule(t, join(func(_ *groupInfo, s *groupSecrets) { s.psks = []preSharedKeyID{{external: true}} }), "nonce")
	require.ErrorIs(t, join(func(_ *groupInfo, s *groupSecrets) {
		s.psks = []preSharedKeyID{{external: true, nonce: make([]byte, 32)}}
	}), ErrUnknownPSK)
	require.NoError(t, join(func(*groupInfo, *groupSecrets) {}), "the control")
	_, err := JoinWelcome(parsed(t, alice.g.pending.welcome), JoinParams{KeyPackage: kp, Signer: alice.signer})
	requireRule(t, err, "signature key is not that")
	_, err = JoinWelcome(parsed(t, alice.encrypt("x")), JoinParams{KeyPackage: kp, Signer: eve.signer})
	requireRule(t, err, "not a Welcome")
}

// Unmerged leaves that are out of order, nodes of the wrong kind, and trees that end with a blank are not trees.
func TestTreeSyntax(t *testing.T) {
	all := newGroup(t, FramePrivate, names(5)...)
	s, good := all[0].g.suite, all[0].g.tree
	_, err := parseTree(s, good.marshal())
	require.NoError(t, err)
	for name, change := range map[string]func(*ratchetTree){
		"unmerged descending": func(r *ratchetTree) {
			r.nodes[1].parent = &parentNode{r.nodes[1].parent.encryptionKey, nil, []leafIndex{1, 0}}
		},
		"unmerged twice": func(r *ratchetTree) {
			r.nodes[1].parent = &parentNode{r.nodes[1].parent.encryptionKey, nil, []leafIndex{1, 1}}
		},
		"a parent in a leaf's place": func(r *ratchetTree) { r.nodes[2] = r.nodes[1] },
		"a leaf in a parent's place": func(r *ratchetTree) { r.nodes[1] = r.nodes[2] },
		"nothing":                    func(r *ratchetTree) { clear(r.nodes) },
	} {
		r := good.clone()
		change(r)
		_, err := parseTree(s, r.marshal())
		requireRule(t, err, "malformed")
		require.NotEmpty(t, name)
	}
	blanks := append([]byte{0x40, 100}, make([]byte, 100)...)
	_, err = parseTree(s, blanks)
	requireRule(t, err, "malformed")
	huge := build(func(b *cryptobyte.Builder) { addOpaque(b, append(make([]byte, 2*maxMembers), 1)) })
	_, err = parseTree(s, huge)
	requireRule(t, err, "malformed")
}
