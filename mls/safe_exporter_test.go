package mls

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// The tree as the draft describes it, from the root down by the bits of the component.
func exported(s *suite, root []byte, c ComponentID) []byte {
	secret := root
	for bit := 15; bit >= 0; bit-- {
		side := "left"
		if c>>bit&1 == 1 {
			side = "right"
		}
		secret = s.expandWithLabel(secret, "tree", []byte(side), s.nh)
	}
	return secret
}

func TestExporterTree(t *testing.T) {
	s := suites[X25519AES128GCMSHA256Ed25519]
	root := bytes.Repeat([]byte{7}, s.nh)
	tree := newExporterTree(s, root)
	take := func(c ComponentID) (secret []byte) {
		secret, tree = tree.take(c)
		return secret
	}
	taken := map[ComponentID]bool{}
	for _, c := range []ComponentID{0, 1, 0xFFFF, 0x8000, 0x7FFF, 2, 0xAAAA} {
		require.Equal(t, exported(s, root, c), take(c), "%d", c)
		require.Nil(t, take(c))
		taken[c] = true
	}
	r := rand.New(rand.NewPCG(1, 2))
	for range 500 {
		c := ComponentID(r.Uint32())
		if got := take(c); taken[c] {
			require.Nil(t, got)
		} else {
			require.Equal(t, exported(s, root, c), got)
		}
		taken[c] = true
		// What is left is not above anything that was taken: no secret comes back.
		for x, secret := range tree.nodes {
			require.Less(t, int(x), int(nodeWidth(exporterLeaves)))
			require.Equal(t, x == leafIndex(c).node(), x.covers(leafIndex(c)))
			require.True(t, !x.covers(leafIndex(c)) || len(secret) == 0)
		}
	}
}

// All members get the same secret, each once, and other ones for other components and epochs.
func TestSafeExport(t *testing.T) {
	all := newGroup(t, WirePrivateMessage, "alice", "bob", "carol")
	secrets := map[string]bool{}
	for range 2 {
		for _, c := range []ComponentID{1, 0x8001, 0xFFFF} {
			want, err := all[0].g.SafeExport(c)
			require.NoError(t, err)
			require.Len(t, want, 32)
			require.False(t, secrets[string(want)])
			secrets[string(want)] = true
			for _, p := range all[1:] {
				got, err := p.g.SafeExport(c)
				require.NoError(t, err)
				require.Equal(t, want, got)
				_, err = p.g.SafeExport(c)
				require.ErrorIs(t, err, ErrReplay)
			}
		}
		spread(all[1], CommitParams{}, all[0], all[2])
	}
}

// What was taken is gone from the state, and what was not is still there after a restart.
func TestSafeExportSurvivesARestart(t *testing.T) {
	all := newGroup(t, WirePrivateMessage, "alice", "bob")
	alice, bob := all[0], all[1]
	first, err := alice.g.SafeExport(1)
	require.NoError(t, err)
	alice.reload()
	require.False(t, bytes.Contains(alice.g.Marshal(), first))
	_, err = alice.g.SafeExport(1)
	require.ErrorIs(t, err, ErrReplay)
	for _, c := range []ComponentID{0, 2, 0x8000} {
		got, err := alice.g.SafeExport(c)
		require.NoError(t, err)
		alice.reload()
		want, err := bob.g.SafeExport(c)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	// So do those of an epoch that is pending.
	p := alice.commit(CommitParams{})
	bob.apply(p.Message())
	alice.confirm()
	alice.reload()
	got, err := alice.g.SafeExport(1)
	require.NoError(t, err)
	want, err := bob.g.SafeExport(1)
	require.NoError(t, err)
	require.Equal(t, want, got)
	// A commit that comes to nothing brings no secret back.
	require.NoError(t, alice.appCommit(CommitParams{}))
	alice.reload()
	_, err = alice.g.SafeExport(1)
	require.ErrorIs(t, err, ErrReplay)
}

// Newcomers of both kinds have the tree of the epoch that they enter.
func TestSafeExportOfNewcomers(t *testing.T) {
	all := newGroup(t, WirePrivateMessage, "alice", "bob")
	stranger := newParty(t, "stranger")
	j := stranger.enter(all[0])
	for _, p := range all {
		p.apply(j.Message())
	}
	stranger.take(j)
	want, err := all[0].g.SafeExport(9)
	require.NoError(t, err)
	got, err := stranger.g.SafeExport(9)
	require.NoError(t, err)
	require.Equal(t, want, got)
	founder := newParty(t, "founder")
	founder.create()
	_, err = founder.g.SafeExport(9)
	require.NoError(t, err)
}
