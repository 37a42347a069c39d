package mls

import (
	"crypto/rand"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestRejoin: who could not follow a commit comes back from outside, and reads what comes late from the time before.
func TestRejoin(t *testing.T) {
	all := newGroup(t, WirePrivateMessage, "alice", "bob", "carol")
	alice, bob, carol := all[0], all[1], all[2]
	bob.reload()
	late := carol.encrypt("late")
	gone := alice.commit(CommitParams{}).Message()
	alice.confirm()
	carol.apply(gone)
	lost := carol.encrypt("lost")

	info, err := alice.g.GroupInfo(true)
	require.NoError(t, err)
	seen, err := Observe(parsed(t, info), nil)
	require.NoError(t, err)
	require.Equal(t, leafOf(alice), seen.Signer().Leaf)
	require.Equal(t, alice.g.Suite(), seen.Suite())
	old := leafOf(bob)
	j := bob.enter(alice, func(p *ExternalJoinParams) { p.Replace = &old })
	alice.apply(j.Message())
	carol.apply(j.Message())

	bob.g, err = LoadGroup(bob.g.Changes(nil)) // as after a restart
	require.NoError(t, err)
	next, err := LoadGroup(j.Group().Changes(nil))
	require.NoError(t, err)
	require.ErrorIs(t, bob.g.Rejoin(nil), ErrArgument)
	require.ErrorIs(t, bob.g.Clone().Rejoin(bob.g), ErrStale)
	other := newParty(t, "alice")
	other.create()
	other.g.context.groupID = []byte("another")
	require.ErrorIs(t, bob.g.Rejoin(other.g), ErrWrongGroup)
	before := bob.g.Clone()
	require.NoError(t, bob.g.Rejoin(next))
	require.NotEmpty(t, bob.g.Changes(before))
	bob.g, err = LoadGroup(bob.g.Changes(nil))
	require.NoError(t, err)
	agree(t, alice, bob, carol)
	got := bob.read(late, "late")
	require.Equal(t, leafOf(carol), got.Sender.Leaf)
	var wrong *WrongEpochError
	_, err = bob.process(lost)
	require.ErrorAs(t, err, &wrong)
	require.Len(t, bob.g.past, 1)
	spread(alice, CommitParams{}, bob, carol)
	require.Len(t, bob.g.past, 1, "of the two epochs that are kept we were not in one")
	agree(t, alice, bob, carol)
}

// TestBrokenPathShowsItsCommit: who cannot follow a path still sees what everybody sees.
func TestBrokenPathShowsItsCommit(t *testing.T) {
	all := newGroup(t, WirePrivateMessage, "alice", "bob", "carol")
	alice, bob := all[0], all[1]
	raw := forgePath(t, alice, []Proposal{RemoveProposal(leafOf(all[2]))}, func(p *newPath, _ *ratchetTree) { p.path.nodes[0].secrets[0].ciphertext[0] ^= 1 })
	p, err := bob.g.Process(parsed(t, raw), testNow)
	require.ErrorIs(t, err, ErrBrokenPath)
	c := p.(*StagedCommit)
	require.False(t, c.RemovesUs())
	require.Equal(t, leafOf(alice), c.Committer().Leaf)
	require.Len(t, c.Removed(), 1)
	require.Equal(t, []ProposalType{ProposalRemove}, c.ProposalTypes())
	require.Equal(t, bob.g.Extensions(), c.Extensions())
	_, err = c.Export("x", nil, 32)
	require.Error(t, err)
	require.ErrorIs(t, bob.g.Apply(c), ErrStale)
}

// TestLeafKeyOutlivesTheGroup reads what was encrypted to a leaf with nothing but its key.
func TestLeafKeyOutlivesTheGroup(t *testing.T) {
	all := newGroup(t, WirePrivateMessage, "alice", "bob")
	alice, bob := all[0], all[1]
	p := alice.commit(CommitParams{})
	enc, ct, err := p.Next().SafeEncrypt(rand.Reader, leafOf(bob), 7, "label", []byte("context"), []byte("secret"))
	require.NoError(t, err)
	key := bob.g.LeafKey()
	plain, err := bob.g.Suite().SafeDecrypt(key, 7, "label", []byte("context"), enc, ct)
	require.NoError(t, err)
	require.Equal(t, "secret", string(plain))
	for _, bad := range []func() ([]byte, error){
		func() ([]byte, error) {
			return bob.g.Suite().SafeDecrypt(key, 8, "label", []byte("context"), enc, ct)
		},
		func() ([]byte, error) {
			return bob.g.Suite().SafeDecrypt(key, 7, "label", []byte("other"), enc, ct)
		},
		func() ([]byte, error) {
			return bob.g.Suite().SafeDecrypt(alice.g.LeafKey(), 7, "label", []byte("context"), enc, ct)
		},
		func() ([]byte, error) {
			return bob.g.Suite().SafeDecrypt(nil, 7, "label", []byte("context"), enc, ct)
		},
		func() ([]byte, error) {
			return CipherSuite(99).SafeDecrypt(key, 7, "label", []byte("context"), enc, ct)
		},
	} {
		_, err := bad()
		require.Error(t, err)
	}
}
