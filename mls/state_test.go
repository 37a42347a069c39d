package mls

import (
	"crypto/rand"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestPendingCommitSurvivesARestart(t *testing.T) {
	all := newGroup(t, WirePrivateMessage, "alice", "bob")
	alice, bob := all[0], all[1]
	carol := newParty(t, "carol")
	kp := carol.keyPackage()
	p, err := alice.g.Commit(rand.Reader, CommitParams{Proposals: []Proposal{AddProposal(kp.KeyPackage())}, ForcePath: true, Now: testNow})
	require.NoError(t, err)
	message, welcome := p.Message(), p.Welcome()
	secret, err := p.Export("label", nil, 16)
	require.NoError(t, err)
	before := alice.g.Epoch()
	alice.reload()
	require.Equal(t, message, alice.g.Pending().Message())
	require.Equal(t, welcome, alice.g.Pending().Welcome())
	require.Len(t, alice.g.Pending().Members(), 3)
	require.Equal(t, before, alice.g.Epoch(), "a commit that is not confirmed moves nothing")
	_, err = alice.g.Commit(rand.Reader, CommitParams{Now: testNow})
	require.ErrorIs(t, err, ErrPendingCommit)

	// While it waits the group goes on in the old epoch.
	bob.read(alice.encrypt("still here"), "still here")
	alice.read(bob.encrypt("me too"), "me too")

	bob.apply(message)
	alice.confirm()
	require.Nil(t, alice.g.Pending())
	require.ErrorIs(t, alice.g.ConfirmPending(), ErrStale)
	carol.join(kp, welcome)
	again, err := alice.g.Export("label", nil, 16)
	require.NoError(t, err)
	require.Equal(t, secret, again, "the exporter of the next epoch could be had in advance")
	agree(t, alice, bob, carol)
}

func TestDropPending(t *testing.T) {
	bothFramings(t, func(t *testing.T, f WireFormat) {
		all := newGroup(t, f, "alice", "bob")
		first := all[0].commit(CommitParams{Framing: f})
		dropped := first.Message()
		all[0].g.DropPending()
		all[0].reload()
		require.Nil(t, all[0].g.Pending())
		spread(all[0], CommitParams{Framing: f}, all[1])
		agree(t, all...)
		_, err := all[1].process(dropped)
		var epoch *WrongEpochError
		require.ErrorAs(t, err, &epoch)
	})
}

// Two members commit at once; the one that was ordered second drops its own and follows.
func TestLostRace(t *testing.T) {
	bothFramings(t, func(t *testing.T, f WireFormat) {
		all := newGroup(t, f, "alice", "bob", "carol")
		alice, bob, carol := all[0], all[1], all[2]
		won := alice.commit(CommitParams{Framing: f})
		lost := bob.commit(CommitParams{Framing: f, Proposals: []Proposal{RemoveProposal(2)}})
		lostMessage := lost.Message()
		bob.apply(won.Message())
		require.Nil(t, bob.g.Pending(), "applying somebody's commit drops ours")
		carol.apply(won.Message())
		alice.confirm()
		agree(t, all...)
		_, err := carol.process(lostMessage)
		var epoch *WrongEpochError
		require.ErrorAs(t, err, &epoch)
		// The intent is rebuilt in the new epoch.
		staged := spread(bob, CommitParams{Framing: f, Proposals: []Proposal{RemoveProposal(2)}}, alice, carol)
		require.True(t, staged[1].RemovesUs())
		agree(t, alice, bob)
	})
}

// A commit that removes us while one of ours is pending.
func TestRemovedWithAPendingCommit(t *testing.T) {
	all := newGroup(t, WirePrivateMessage, "alice", "bob")
	won := all[0].commit(CommitParams{Proposals: []Proposal{RemoveProposal(1)}})
	all[1].commit(CommitParams{})
	all[1].apply(won.Message())
	require.True(t, all[1].g.Removed())
	require.Nil(t, all[1].g.Pending())
	require.ErrorIs(t, all[1].g.ConfirmPending(), ErrStale)
}

func TestStagedCommitIsForOneState(t *testing.T) {
	all := newGroup(t, WirePublicMessage, "alice", "bob", "carol")
	one := all[0].commit(CommitParams{Framing: WirePublicMessage})
	two := all[1].commit(CommitParams{Framing: WirePublicMessage})
	a, b := all[2].stage(one.Message()), all[2].stage(two.Message())
	before := all[2].g.Epoch()
	require.Equal(t, before, all[2].g.Epoch(), "staging moves nothing")
	exported, err := a.Export("x", nil, 16)
	require.NoError(t, err)
	require.NoError(t, all[2].g.Apply(a))
	require.ErrorIs(t, all[2].g.Apply(b), ErrStale)
	require.ErrorIs(t, all[2].g.Apply(a), ErrStale, "nor twice")
	again, err := all[2].g.Export("x", nil, 16)
	require.NoError(t, err)
	require.Equal(t, exported, again)
}

// What arrives between the staging of a commit and its application is not lost and its keys do not come back.
func TestMessagesBetweenStageAndApply(t *testing.T) {
	all := newGroup(t, WirePrivateMessage, "alice", "bob", "carol")
	first, second := all[1].encrypt("first"), all[1].encrypt("second")
	p := all[0].commit(CommitParams{})
	staged := all[2].stage(p.Message())
	got, err := all[2].process(first)
	require.NoError(t, err)
	require.Equal(t, "first", string(got.(*ApplicationMessage).Data))
	require.NoError(t, all[2].g.Apply(staged))
	all[2].reload()
	_, err = all[2].process(first)
	require.ErrorIs(t, err, ErrReplay)
	all[2].read(second, "second")
}

// A state that was stored between the two cannot process the commit again: its key is gone. A copy from before can.
func TestStateBetweenProcessAndApply(t *testing.T) {
	all := newGroup(t, WirePrivateMessage, "alice", "bob")
	p := all[0].commit(CommitParams{})
	before := reloaded(t, all[1].g)
	all[1].stage(p.Message())
	all[1].reload()
	_, err := all[1].process(p.Message())
	require.ErrorIs(t, err, ErrReplay)
	got, err := before.Process(parsed(t, p.Message()), testNow)
	require.NoError(t, err)
	require.NoError(t, before.Apply(got.(*StagedCommit)))
}

func TestOwnMessagesComeBack(t *testing.T) {
	bothFramings(t, func(t *testing.T, f WireFormat) {
		all := newGroup(t, f, "alice", "bob")
		alice := all[0]
		_, err := alice.process(alice.encrypt("x"))
		require.ErrorIs(t, err, ErrOwnMessage)
		p := alice.commit(CommitParams{Framing: f})
		_, err = alice.process(p.Message())
		require.ErrorIs(t, err, ErrOwnMessage)
		require.NotNil(t, alice.g.Pending())
	})
}
