package mls

import (
	"bytes"
	"crypto/rand"
	"testing"

	"github.com/stretchr/testify/require"
)

// A committer whose new leaf has a credential type that somebody does not support: every leaf's credential must be supported by
// all members (7.3), also one that comes with a path.
func TestCredentialTypeOfAPath(t *testing.T) {
	all := newGroup(t, WirePublicMessage, "alice", "bob", "carol")
	alice, bob := all[0], all[1]
	x509 := func(l *LeafNode) {
		l.Credential = Credential{Type: CredentialX509, Certificates: [][]byte{{1}}}
		l.Capabilities.Credentials = []CredentialType{CredentialBasic, CredentialX509}
	}
	t.Run("M94 path with a credential that others do not support", func(t *testing.T) {
		_, err := bob.process(forgePath(t, alice, nil, func(p *newPath, tree *ratchetTree) {
			x509(&p.path.leaf)
			alice.resign(p, tree)
		}))
		requireCheck(t, err)
	})
	t.Run("M94 path of a newcomer with a credential that others do not support", func(t *testing.T) {
		eve := newParty(t, "eve")
		m := parsed(t, eve.enter(alice).Message())
		path := m.public.content.commit.path
		x509(&path.leaf)
		path.leaf.sign(eve.signer, alice.g.context.groupID, 3)
		m.public.sign(eve.signer, marshal(&alice.g.context))
		_, err := bob.process(m.Marshal())
		requireCheck(t, err)
	})
	agree(t, all...)
}

// Members below other nodes than ours get as many path secrets as they need, of the right form, or the commit is invalid for us,
// too (7.6): all have to agree on it.
func TestPathSecretsOfOthers(t *testing.T) {
	all := newGroup(t, WirePublicMessage, names(5)...)
	alice, bob := all[0], all[1]
	for _, c := range []struct {
		name  string
		spoil func(*updatePathNode)
	}{
		{"M96 no secret for those below a node", func(n *updatePathNode) { n.secrets = nil }},
		{"M96 a secret too many for those below a node", func(n *updatePathNode) { n.secrets = append(n.secrets, n.secrets[0]) }},
		{"M97 empty path secret", func(n *updatePathNode) { n.secrets[0].ciphertext = nil }},
		{"M97 path secret that is cut", func(n *updatePathNode) { n.secrets[0].ciphertext = n.secrets[0].ciphertext[1:] }},
		{"M1 empty KEM output", func(n *updatePathNode) { n.secrets[0].kemOutput = nil }},
		{"M2 KEM output of low order", func(n *updatePathNode) { n.secrets[0].kemOutput = make([]byte, 32) }},
		{"M1 KEM output that is long", func(n *updatePathNode) { n.secrets[0].kemOutput = make([]byte, 1000) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			for at := range 3 { // bob's is in the first
				_, err := bob.process(forgePath(t, alice, nil, func(p *newPath, _ *ratchetTree) {
					require.Len(t, p.path.nodes, 3)
					c.spoil(&p.path.nodes[at])
				}))
				requireCheck(t, err)
			}
		})
	}
	agree(t, all...)
}

// Anybody on the way can send a PublicMessage again. A proposal is kept once, and is still good for the commit that names it.
func TestReplayedProposal(t *testing.T) {
	all := newGroup(t, WirePublicMessage, "alice", "bob", "carol")
	m, err := all[1].g.Propose(rand.Reader, RemoveProposal(2), WirePublicMessage, nil)
	require.NoError(t, err)
	for range 3 {
		all[0].receiveProposal(m)
	}
	all[2].receiveProposal(m)
	require.Len(t, all[0].g.proposals, 1)
	spread(all[0], CommitParams{Framing: WirePublicMessage}, all[1], all[2])
	require.True(t, all[2].g.Removed())
}

// One sender cannot take the place for the proposals of all; nor can those who are no members, who need nobody's leave to send.
func TestProposalsOfOneSender(t *testing.T) {
	all := newGroup(t, WirePublicMessage, "alice", "bob", "carol")
	alice, bob, carol := all[0], all[1], all[2]
	propose := func(i int) []byte {
		return forgeMessage(bob, ContentProposal, func(a *authenticatedContent) {
			p := GroupContextExtensionsProposal([]Extension{{testExtension, []byte{byte(i)}}})
			a.content.proposal = &p
		})
	}
	fromOutside := func() []byte {
		p := newParty(t, "stranger")
		m, err := ProposeSelf(p.keyPackage().KeyPackage(), p.signer, alice.g.GroupID(), alice.g.Epoch())
		require.NoError(t, err)
		return m
	}
	for i := range maxRefsOfOne {
		alice.receiveProposal(propose(i))
		alice.receiveProposal(fromOutside())
	}
	t.Run("M53 one proposal of a member too many", func(t *testing.T) {
		_, err := alice.process(propose(maxRefsOfOne))
		requireCheck(t, err)
	})
	t.Run("M53 one proposal from outside too many", func(t *testing.T) {
		_, err := alice.process(fromOutside())
		requireCheck(t, err)
	})
	m, err := carol.g.Propose(rand.Reader, RemoveProposal(1), WirePublicMessage, nil)
	require.NoError(t, err)
	alice.receiveProposal(m) // there is room for who has not used it
	for i := range maxRefsOfOne {
		_, err = bob.g.Propose(rand.Reader, GroupContextExtensionsProposal([]Extension{{testExtension, []byte{byte(i)}}}), WirePublicMessage, nil)
		require.NoError(t, err)
	}
	t.Run("M53 one proposal of our own too many", func(t *testing.T) {
		_, err := bob.g.Propose(rand.Reader, RemoveProposal(0), WirePublicMessage, nil)
		requireCheck(t, err)
	})
}

// A proposal with a key that we do not have keeps the one who sent it from nothing but its own wish.
func TestUnknownPSKDoesNotStopACommit(t *testing.T) {
	all := newGroup(t, WirePublicMessage, "alice", "bob", "carol")
	psk, err := all[1].g.PSKProposal(rand.Reader, PSK{ID: []byte("nobody has it")})
	require.NoError(t, err)
	for _, p := range []Proposal{psk, RemoveProposal(2)} {
		m, err := all[1].g.Propose(rand.Reader, p, WirePublicMessage, nil)
		require.NoError(t, err)
		all[0].receiveProposal(m)
		all[2].receiveProposal(m)
	}
	staged := spread(all[0], CommitParams{Framing: WirePublicMessage}, all[1], all[2])
	require.Equal(t, []ProposalType{ProposalRemove}, staged[0].ProposalTypes())
	require.True(t, all[2].g.Removed())
	// By value it is our own mistake, and we are told.
	_, err = all[0].g.Commit(rand.Reader, CommitParams{Proposals: []Proposal{psk}, Now: testNow})
	require.ErrorIs(t, err, ErrUnknownPSK)
}

// Whatever came first: other proposals go before a re-initialization, which can be sent again (12.2).
func TestReInitComesLast(t *testing.T) {
	for _, reInitFirst := range []bool{true, false} {
		all := newGroup(t, WirePublicMessage, "alice", "bob")
		carol := newParty(t, "carol")
		kp := carol.keyPackage()
		list := []Proposal{ReInitProposal([]byte("next"), all[0].suite, nil), AddProposal(kp.KeyPackage())}
		if !reInitFirst {
			list[0], list[1] = list[1], list[0]
		}
		for _, p := range list {
			m, err := all[1].g.Propose(rand.Reader, p, WirePublicMessage, nil)
			require.NoError(t, err)
			all[0].receiveProposal(m)
		}
		staged := spread(all[0], CommitParams{Framing: WirePublicMessage}, all[1])
		require.Equal(t, []ProposalType{ProposalAdd}, staged[0].ProposalTypes())
	}
}

// When the tree is cut in half, the old root goes with its key: what stands nowhere is not counted.
func TestKeyOfACutRoot(t *testing.T) {
	all := newGroup(t, WirePrivateMessage, names(5)...)
	tree := all[0].g.tree.clone()
	ghost := &parentNode{encryptionKey: bytes.Repeat([]byte{7}, 32)}
	for _, l := range []leafIndex{2, 3} {
		tree.remove(l)
	}
	tree.set(3, node{parent: ghost}) // above two blank leaves, as only somebody's own tree could have it
	tree.remove(4)
	require.EqualValues(t, 2, tree.leaves())
	require.Zero(t, tree.index().encryption.count(string(ghost.encryptionKey)))
	fresh, err := parseTree(tree.suite, tree.marshal())
	require.NoError(t, err)
	require.Equal(t, fresh.index().leaves, tree.index().leaves)
}
