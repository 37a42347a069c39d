package mls

import (
	"crypto/rand"
	"testing"

	"github.com/stretchr/testify/require"
)

// watch lets an observer see a message that members process.
func watch(t *testing.T, o *Observer, raw []byte) *ObservedCommit {
	t.Helper()
	c, err := o.Process(parsed(t, raw), testNow)
	require.NoError(t, err)
	if c != nil {
		require.NoError(t, o.Apply(c))
	}
	return c
}

func TestObserver(t *testing.T) {
	all := newGroup(t, WirePublicMessage, "alice", "bob", "carol")
	alice, bob, carol := all[0], all[1], all[2]
	info, err := alice.g.GroupInfo(true)
	require.NoError(t, err)
	o, err := Observe(parsed(t, info), nil)
	require.NoError(t, err)
	same := func(p *party) {
		t.Helper()
		require.Equal(t, p.g.Epoch(), o.Epoch())
		require.Equal(t, p.g.context, o.g.context, "transcript, tree and extensions")
		require.Equal(t, p.g.interim, o.g.interim)
		require.Equal(t, p.g.Members(), o.Members())
	}
	same(alice)

	p := alice.commit(CommitParams{Framing: WirePublicMessage})
	alice.confirm()
	bob.apply(p.Message())
	carol.apply(p.Message())
	c := watch(t, o, p.Message())
	require.Equal(t, []Member{{0, alice.g.tree.leaf(0)}}, c.Updated)
	same(alice)

	proposed, err := bob.g.Propose(rand.Reader, RemoveProposal(leafOf(carol)), WirePublicMessage, nil)
	require.NoError(t, err)
	alice.receiveProposal(proposed)
	require.Nil(t, watch(t, o, proposed))
	dave := newParty(t, "dave")
	kp := dave.keyPackage()
	p = alice.commit(CommitParams{Framing: WirePublicMessage, Proposals: []Proposal{AddProposal(kp.KeyPackage())}})
	alice.confirm()
	c = watch(t, o, p.Message())
	require.Equal(t, leafOf(carol), c.Removed[0].Leaf)
	require.Equal(t, dave.signer.Public(), c.Added[0].Node.SignatureKey)
	require.Equal(t, []ProposalType{ProposalRemove, ProposalAdd}, c.Types)
	same(alice)

	eve := newParty(t, "eve")
	j := eve.enter(alice)
	alice.apply(j.Message())
	c = watch(t, o, j.Message())
	require.True(t, c.External)
	require.Equal(t, eve.signer.Public(), c.Committer.Node.SignatureKey)
	same(alice)
	require.Equal(t, alice.g.context.treeHash, o.TreeHash())
}

func TestObserverRefuses(t *testing.T) {
	all := newGroup(t, WirePublicMessage, "alice", "bob")
	alice := all[0]
	info, err := alice.g.GroupInfo(false)
	require.NoError(t, err)
	_, err = Observe(parsed(t, info), nil)
	requireRule(t, err, "without a ratchet tree")
	o, err := Observe(parsed(t, info), alice.g.RatchetTree())
	require.NoError(t, err)
	before := o.g

	p := alice.commit(CommitParams{Framing: WirePublicMessage})
	m := parsed(t, p.Message())
	m.public.signature[0] ^= 1
	_, err = o.Process(m, testNow)
	requireRule(t, err, "message signature")
	m = parsed(t, p.Message())
	m.public.content.commit.path.nodes[0].encryptionKey[0] ^= 1
	m.public.sign(alice.signer, marshal(&alice.g.context))
	_, err = o.Process(m, testNow)
	require.Error(t, err)
	alice.g.DropPending()
	private := alice.commit(CommitParams{Framing: WirePrivateMessage})
	_, err = o.Process(parsed(t, private.Message()), testNow)
	require.ErrorIs(t, err, ErrWrongGroup, "what is encrypted cannot be followed")
	alice.confirm()
	late := alice.commit(CommitParams{Framing: WirePublicMessage})
	var epoch *WrongEpochError
	_, err = o.Process(parsed(t, late.Message()), testNow)
	require.ErrorAs(t, err, &epoch)
	require.Same(t, before, o.g)

	c, err := o.Process(parsed(t, p.Message()), testNow)
	require.NoError(t, err)
	require.NoError(t, o.Apply(c))
	require.ErrorIs(t, o.Apply(c), ErrStale)
}
