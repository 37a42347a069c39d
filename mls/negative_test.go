package mls

import (
	"crypto/rand"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestProposalListRules(t *testing.T) {
	all := newGroup(t, WirePublicMessage, "alice", "bob", "carol", "dave")
	alice, bob := all[0], all[1]
	eve := newParty(t, "eve")
	other := func(p *party, change func(*KeyPackageParams)) Proposal {
		return AddProposal(p.keyPackageWith(change).KeyPackage())
	}
	same := func(*KeyPackageParams) {}
	twin := eve.keyPackage().KeyPackage()
	required := func(data ...byte) Proposal {
		return GroupContextExtensionsProposal([]Extension{{ExtensionRequiredCapabilities, data}})
	}
	x509 := func(k *KeyPackageParams) {
		k.Credential = Credential{Type: CredentialX509, Certificates: [][]byte{{1}}}
		k.Capabilities.Credentials = []CredentialType{CredentialBasic, CredentialX509}
	}
	onlyX509 := func(k *KeyPackageParams) {
		x509(k)
		k.Capabilities.Credentials = []CredentialType{CredentialX509}
	}
	for _, c := range []struct {
		name string
		list []Proposal
	}{
		{"M58 update of the committer by value", []Proposal{{Type: ProposalUpdate, update: alice.g.tree.leaf(0)}}},
		{"M59 committer removes itself", []Proposal{RemoveProposal(leafOf(alice))}},
		{"M59 committer removes itself and another", []Proposal{RemoveProposal(2), RemoveProposal(leafOf(alice))}},
		{"M61 two changes of the extensions", []Proposal{GroupContextExtensionsProposal(nil), GroupContextExtensionsProposal([]Extension{{testExtension, nil}})}},
		{"M66 one member removed twice", []Proposal{RemoveProposal(2), RemoveProposal(2)}},
		{"M67 remove of a blank place beyond the last leaf", []Proposal{RemoveProposal(7)}},
		{"M67 remove of leaf 2 to the 31", []Proposal{RemoveProposal(1 << 31)}},
		{"M67 remove of the highest leaf there is", []Proposal{RemoveProposal(1<<32 - 1)}},
		{"M92 add of a signature key that is there", []Proposal{other(bob, same)}},
		{"M92 two adds of one signature key", []Proposal{other(eve, same), other(eve, same)}},
		{"M92 add of the committer's signature key", []Proposal{other(alice, same)}},
		{"M91 one key package added twice", []Proposal{AddProposal(twin), AddProposal(twin)}},
		{"M91 add of an encryption key that is there", []Proposal{AddProposal(eve.packageWith(func(kp *KeyPackage) {
			kp.Leaf.EncryptionKey = bob.g.tree.leaf(1).EncryptionKey
		}))}},
		{"M91 add of a parent's encryption key", []Proposal{AddProposal(eve.packageWith(func(kp *KeyPackage) {
			kp.Leaf.EncryptionKey = bob.g.tree.nodes[bob.g.tree.root()].encryptionKey()
		}))}},
		{"M72 add of a package of suite 3", []Proposal{AddProposal(newPartyOf(t, 3, "eve").keyPackage().KeyPackage())}},
		{"M42 extension required that nobody has", []Proposal{required(2, 0x77, 0x77, 0, 0)}},
		{"M43 proposal required that nobody knows", []Proposal{required(0, 2, 0x77, 0x77, 0)}},
		{"M44 credential required that nobody knows", []Proposal{required(0, 0, 2, 0, 2)}},
		{"M41 group extension that nobody supports", []Proposal{GroupContextExtensionsProposal([]Extension{{0x7777, nil}})}},
		{"M41 newcomer does not support the new extension", []Proposal{
			other(eve, func(k *KeyPackageParams) { k.Capabilities = Capabilities{} }), GroupContextExtensionsProposal([]Extension{{testExtension, nil}}),
		}},
		{"M94 newcomer with a credential that others do not support", []Proposal{other(eve, x509)}},
		{"M94 newcomer that does not support the others' credential", []Proposal{other(eve, onlyX509)}},
	} {
		t.Run(c.name, func(t *testing.T) {
			refusedCommit(t, alice, bob, c.list...)
			refusedToMake(t, alice, c.list...)
		})
	}
	for _, c := range []struct {
		name string
		list []Proposal
	}{
		{"M55 a remove without a path", []Proposal{RemoveProposal(2)}},
		{"M55 new extensions without a path", []Proposal{GroupContextExtensionsProposal(nil)}},
		{"M55 nothing at all without a path", nil},
		{"M55 an add and a remove without a path", []Proposal{other(eve, same), RemoveProposal(2)}},
		{"M55 two removes without a path", []Proposal{RemoveProposal(2), RemoveProposal(3)}},
	} {
		t.Run(c.name, func(t *testing.T) { refusedCommit(t, alice, bob, c.list...) })
	}
	carol := all[2]
	for _, c := range []struct {
		name string
		list []Proposal // carol proposes, alice commits
	}{
		{"M59 remove of the committer by another", []Proposal{RemoveProposal(leafOf(alice))}},
		{"M61 two members change the extensions", []Proposal{GroupContextExtensionsProposal(nil), GroupContextExtensionsProposal([]Extension{{testExtension, nil}})}},
		{"M66 two updates of one member", []Proposal{carol.newUpdate(), carol.newUpdate()}},
		{"M66 update and remove of one member", []Proposal{carol.newUpdate(), RemoveProposal(leafOf(carol))}},
		{"M67 remove of nobody by another", []Proposal{RemoveProposal(99)}},
		{"M72 add of another suite by another", []Proposal{AddProposal(newPartyOf(t, 2, "eve").keyPackage().KeyPackage())}},
		{"M55 an update without a path", []Proposal{carol.newUpdate()}},
	} {
		t.Run(c.name, func(t *testing.T) { refusedReferences(t, carol, alice, bob, c.list...) })
	}
	t.Run("M58 update of the committer by reference", func(t *testing.T) {
		refusedReferences(t, alice, alice, bob, alice.newUpdate())
	})
	for name, ref := range map[string][]byte{
		"M56 reference to nothing": make([]byte, 32), "M56 empty reference": nil, "M56 reference of another length": make([]byte, 1000),
	} {
		t.Run(name, func(t *testing.T) {
			named := &commit{proposals: []proposalOrRef{{ref: ref}}}
			_, err := bob.process(forgeCommit(alice, named))
			requireCheck(t, err)
			_, err = bob.observer().Process(parsed(t, forgeCommit(alice, named)), testNow)
			requireCheck(t, err)
		})
	}
	t.Run("M56 proposal of the epoch before", func(t *testing.T) {
		m, err := carol.g.Propose(rand.Reader, RemoveProposal(3), WirePublicMessage, nil)
		require.NoError(t, err)
		bob.receiveProposal(m)
		ref := parsed(t, m).public.ref(bob.g.suite)
		spread(alice, CommitParams{Framing: WirePublicMessage}, bob, carol, all[3])
		_, err = bob.process(forgeCommit(alice, &commit{proposals: []proposalOrRef{{ref: ref}}}))
		requireCheck(t, err)
	})
	t.Run("M68 extension twice", func(t *testing.T) {
		twice := GroupContextExtensionsProposal([]Extension{{testExtension, []byte("a")}, {testExtension, []byte("b")}})
		refusedToMake(t, alice, twice)
		_, err := ParseMessage(forgeCommit(alice, &commit{proposals: byValue(twice)}))
		require.ErrorIs(t, err, errSyntax, "what comes from others is not even read")
	})
	agree(t, all...)
}

// newUpdate is an Update of p's own leaf, with a key that nobody keeps.
func (p *party) newUpdate() Proposal {
	return p.updateWith(func(*LeafNode) {})
}

func (p *party) updateWith(change func(*LeafNode)) Proposal {
	leaf := *p.g.tree.leaf(p.g.own)
	pub, _, err := p.g.suite.generateKeyPair(rand.Reader)
	require.NoError(p.t, err)
	leaf.EncryptionKey, leaf.source, leaf.ParentHash, leaf.Lifetime = pub, leafFromUpdate, nil, Lifetime{}
	leaf.sign(p.signer, p.g.context.groupID, p.g.own)
	change(&leaf)
	return Proposal{Type: ProposalUpdate, update: &leaf}
}

func TestUpdateRules(t *testing.T) {
	all := newGroup(t, WirePublicMessage, "alice", "bob", "carol")
	alice, bob, carol := all[0], all[1], all[2]
	resign := func(l *LeafNode) { l.sign(bob.signer, bob.g.context.groupID, bob.g.own) }
	for _, c := range []struct {
		name   string
		change func(*LeafNode)
	}{
		{"M69 update with the leaf of a commit", func(l *LeafNode) { l.source = leafFromCommit; l.ParentHash = make([]byte, 32); resign(l) }},
		{"M69 update with the leaf of a key package", func(l *LeafNode) { l.source = leafFromKeyPackage; resign(l) }},
		{"M70 update that keeps the encryption key", func(l *LeafNode) {
			l.EncryptionKey = bob.g.tree.leaf(bob.g.own).EncryptionKey
			resign(l)
		}},
		{"M36 update signed for another group", func(l *LeafNode) { l.sign(bob.signer, []byte("other group"), bob.g.own) }},
		{"M36 update signed for another leaf", func(l *LeafNode) { l.sign(bob.signer, bob.g.context.groupID, alice.g.own) }},
		{"M36 update with a wrong bit in its signature", func(l *LeafNode) { l.signature = flipped(l.signature) }},
		{"M91 update to the encryption key of another", func(l *LeafNode) { l.EncryptionKey = alice.g.tree.leaf(0).EncryptionKey; resign(l) }},
		{"M92 update to the signature key of another", func(l *LeafNode) {
			l.SignatureKey = alice.signer.Public()
			l.sign(alice.signer, bob.g.context.groupID, bob.g.own)
		}},
		{"M1 update to a short key", func(l *LeafNode) { l.EncryptionKey = l.EncryptionKey[1:]; resign(l) }},
		{"M2 update to a key of low order", func(l *LeafNode) { l.EncryptionKey = make([]byte, 32); resign(l) }},
		{"M37 update that gives up mls10", func(l *LeafNode) { l.Capabilities.Versions = nil; resign(l) }},
		{"M38 update that gives up the suite", func(l *LeafNode) { l.Capabilities.CipherSuites = nil; resign(l) }},
		{"M39 update that gives up its credential", func(l *LeafNode) { l.Capabilities.Credentials = nil; resign(l) }},
		{"M40 update with an extension that it does not support", func(l *LeafNode) { l.Extensions = []Extension{{0x7777, nil}}; resign(l) }},
		{"M94 update to a credential that others do not support", func(l *LeafNode) {
			l.Credential = Credential{Type: CredentialX509, Certificates: [][]byte{{1}}}
			l.Capabilities.Credentials = []CredentialType{CredentialBasic, CredentialX509}
			resign(l)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			update := bob.updateWith(c.change)
			// Whether it is refused at once or kept for the commit that names it: that commit does not pass.
			refusedReferences(t, bob, alice, carol, update)
			t.Run("seen from outside", func(t *testing.T) {
				o := carol.observer()
				m := forgeMessage(bob, ContentProposal, func(a *authenticatedContent) { a.content.proposal = &update })
				if _, err := o.Process(parsed(t, m), testNow); err != nil {
					requireCheck(t, err)
					return
				}
				ref := parsed(t, m).public.ref(carol.g.suite)
				_, err := o.Process(parsed(t, forgeCommit(alice, &commit{proposals: []proposalOrRef{{ref: ref}}})), testNow)
				requireCheck(t, err)
			})
		})
	}
	t.Run("M71 update of ours whose key is lost", func(t *testing.T) {
		m, err := bob.g.ProposeUpdate(rand.Reader, WirePublicMessage, nil)
		require.NoError(t, err)
		alice.receiveProposal(m)
		p := alice.commit(CommitParams{})
		bob.g.updates = nil
		_, err = bob.process(p.Message())
		requireCheck(t, err)
	})
}

func reloaded(t *testing.T, g *Group) *Group {
	again, err := UnmarshalGroup(g.Marshal())
	require.NoError(t, err)
	return again
}
