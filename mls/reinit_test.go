package mls

import (
	"crypto/rand"
	"testing"

	"github.com/stretchr/testify/require"
)

// successorOf describes p in a new group with others.
func (p *party) successorOf(others ...*KeyPackageSecret) SuccessorParams {
	k := p.params()
	params := SuccessorParams{Signer: p.signer, Credential: k.Credential, Capabilities: k.Capabilities, Lifetime: k.Lifetime, Now: testNow}
	for _, kp := range others {
		params.Members = append(params.Members, kp.KeyPackage())
	}
	return params
}

// in is the same person with a key for another suite.
func (p *party) in(cs CipherSuite) *party { return newPartyOf(p.t, cs, p.name) }

func TestReInit(t *testing.T) {
	all := newGroup(t, WirePrivateMessage, "alice", "bob")
	alice, bob := all[0], all[1]
	extensions := []Extension{{testExtension, []byte("new")}}
	p := alice.commit(CommitParams{Proposals: []Proposal{ReInitProposal([]byte("next"), P256AES128GCMSHA256P256, extensions)}})
	alice.confirm()
	bob.apply(p.Message())
	require.Equal(t, alice.g.EpochAuthenticator(), bob.g.EpochAuthenticator())
	for _, x := range all {
		id, cs, ext, ok := x.g.Closed()
		require.True(t, ok)
		require.Equal(t, "next", string(id))
		require.Equal(t, P256AES128GCMSHA256P256, cs)
		require.Equal(t, extensions, ext)
		_, err := x.g.Encrypt(rand.Reader, []byte("x"), nil, nil)
		require.ErrorIs(t, err, ErrReInit)
		_, err = x.g.Commit(rand.Reader, CommitParams{})
		require.ErrorIs(t, err, ErrReInit)
		_, err = x.g.Propose(rand.Reader, RemoveProposal(0), WirePublicMessage, nil)
		require.ErrorIs(t, err, ErrReInit)
	}
	newAlice, newBob := alice.in(P256AES128GCMSHA256P256), bob.in(P256AES128GCMSHA256P256)
	kp := newAlice.keyPackage()
	g, err := bob.g.Reinitialize(rand.Reader, newBob.successorOf(kp)) // who does it need not be who asked for it
	require.NoError(t, err)
	newBob.g = g
	newBob.reload()
	welcome := newBob.g.Pending().Welcome()
	newBob.confirm()
	join := func(from *Group) error {
		j, err := JoinWelcome(parsed(t, welcome), JoinParams{KeyPackage: kp, Signer: newAlice.signer, From: from})
		if err == nil {
			newAlice.g = j.Group()
		}
		return err
	}
	t.Run("M22 the group that was closed is not named", func(t *testing.T) { requireCheck(t, join(nil)) })
	require.ErrorIs(t, join(newGroup(t, WirePrivateMessage, "alice")[0].g), ErrUnknownPSK, "another group has not its secret")
	require.NoError(t, join(alice.g))
	agree(t, newAlice, newBob)
}

func TestReInitRules(t *testing.T) {
	all := newGroup(t, WirePrivateMessage, "alice", "bob")
	alice, bob := all[0], all[1]
	re := ReInitProposal([]byte("next"), alice.suite, nil)
	older := ReInitProposal([]byte("next"), alice.suite, nil)
	older.reInit.version = 0
	for name, list := range map[string][]Proposal{
		"M63 re-initialization beside a remove":     {re, RemoveProposal(leafOf(bob))},
		"M63 re-initialization after a remove":      {RemoveProposal(leafOf(bob)), re},
		"M63 two re-initializations":                {re, re},
		"M63 re-initialization beside an add":       {re, AddProposal(newParty(t, "eve").keyPackage().KeyPackage())},
		"M64 re-initialization to an older version": {older},
	} {
		t.Run(name, func(t *testing.T) {
			refusedCommit(t, alice, bob, list...)
			refusedReferences(t, alice, alice, bob, list...)
			refusedToMake(t, alice, list...)
		})
	}
	_, err := alice.g.Reinitialize(rand.Reader, alice.successorOf())
	require.ErrorIs(t, err, ErrStale)

	p := alice.commit(CommitParams{Proposals: []Proposal{re}})
	alice.confirm()
	bob.apply(p.Message())
	kp := bob.keyPackage()
	for name, change := range map[string]func(*reInit){
		"M82 re-initialization with another group id":   func(r *reInit) { r.groupID = []byte("other") },
		"M82 re-initialization with another suite":      func(r *reInit) { r.suite = 3 },
		"M82 re-initialization with another extensions": func(r *reInit) { r.extensions = []Extension{{testExtension, nil}} },
	} {
		t.Run(name, func(t *testing.T) {
			liar, err := UnmarshalGroup(alice.g.Marshal())
			require.NoError(t, err)
			change(liar.reInit)
			maker, package_ := alice, kp
			if liar.reInit.suite != alice.suite {
				maker = alice.in(liar.reInit.suite)
				b := bob.in(liar.reInit.suite)
				package_ = b.keyPackage()
				g, err := liar.Reinitialize(rand.Reader, maker.successorOf(package_))
				require.NoError(t, err)
				_, err = JoinWelcome(parsed(t, g.Pending().Welcome()), JoinParams{KeyPackage: package_, Signer: b.signer, From: bob.g})
				requireCheck(t, err)
				return
			}
			g, err := liar.Reinitialize(rand.Reader, maker.successorOf(package_))
			require.NoError(t, err)
			_, err = JoinWelcome(parsed(t, g.Pending().Welcome()), JoinParams{KeyPackage: package_, Signer: bob.signer, From: bob.g})
			requireCheck(t, err)
		})
	}
}

func TestBranch(t *testing.T) {
	all := newGroup(t, WirePrivateMessage, "alice", "bob", "carol")
	alice, bob, carol := all[0], all[1], all[2]
	kp := carol.keyPackage()
	g, err := alice.g.Branch(rand.Reader, []byte("aside"), nil, alice.successorOf(kp))
	require.NoError(t, err)
	aside, guest := &party{t: t, name: "alice", suite: alice.suite, signer: alice.signer, g: g}, &party{t: t, name: "carol", suite: carol.suite, signer: carol.signer}
	welcome := aside.g.Pending().Welcome()
	aside.confirm()
	j, err := JoinWelcome(parsed(t, welcome), JoinParams{KeyPackage: kp, Signer: carol.signer, From: carol.g})
	require.NoError(t, err)
	guest.g = j.Group()
	agree(t, aside, guest)
	agree(t, alice, bob, carol)

	t.Run("M22 the group that it branches off is not named", func(t *testing.T) {
		_, err := JoinWelcome(parsed(t, welcome), JoinParams{KeyPackage: kp, Signer: carol.signer})
		requireCheck(t, err)
	})
	p := bob.commit(CommitParams{})
	bob.confirm()
	carol.apply(p.Message())
	t.Run("M78 the epoch that it branches off is over", func(t *testing.T) {
		old := reloadedOf(carol)
		old.psks = func(PSK) ([]byte, bool) { return alice.g.secrets.resumption, true }
		_, err := JoinWelcome(parsed(t, welcome), JoinParams{KeyPackage: kp, Signer: carol.signer, From: old})
		requireCheck(t, err)
	})
	t.Run("M78 another group is named", func(t *testing.T) {
		other := newParty(t, "carol")
		other.create()
		other.g.context.groupID = []byte("another")
		other.g.psks = func(PSK) ([]byte, bool) { return alice.g.secrets.resumption, true }
		_, err := JoinWelcome(parsed(t, welcome), JoinParams{KeyPackage: kp, Signer: carol.signer, From: other.g})
		requireCheck(t, err)
	})
	t.Run("M77 branch with a stranger", func(t *testing.T) {
		mallory := newParty(t, "mallory")
		_, err := alice.g.Branch(rand.Reader, []byte("aside"), nil, alice.successorOf(mallory.keyPackage()))
		requireCheck(t, err)
	})
}

func TestBranchTreeOutside(t *testing.T) {
	all := newGroup(t, WirePrivateMessage, "alice", "bob")
	alice, bob := all[0], all[1]
	kp := bob.keyPackage()
	params := alice.successorOf(kp)
	params.TreeOutside, params.ForcePath = true, true
	g, err := alice.g.Branch(rand.Reader, []byte("aside"), nil, params)
	require.NoError(t, err)
	before, _ := g.Member(0)
	welcome, tree := parsed(t, g.Pending().Welcome()), g.Pending().RatchetTree()
	require.NoError(t, g.ConfirmPending())
	after, _ := g.Member(0)
	require.NotEqual(t, before.Node.EncryptionKey, after.Node.EncryptionKey, "a path was made")

	_, err = JoinWelcome(welcome, JoinParams{KeyPackage: kp, Signer: bob.signer, From: bob.g})
	require.Error(t, err, "the tree is not in the Welcome")
	j, err := JoinWelcome(welcome, JoinParams{KeyPackage: kp, Signer: bob.signer, From: bob.g, RatchetTree: tree})
	require.NoError(t, err)
	require.Equal(t, g.EpochAuthenticator(), j.Group().EpochAuthenticator())
}
