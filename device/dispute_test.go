package device_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/device"
	"github.com/waxwing-dm/waxwing/mls"
)

// TestInvalidCommitDoesNotStopTheGroup: the hub grants a commit that breaks the room's rules; the members tell it, and take the next one.
func TestInvalidCommitDoesNotStopTheGroup(t *testing.T) {
	w, id := talk(t, bob, carol)
	a, b, c := w.people[alice], w.people[bob], w.people[carol]
	w.enrol(dave)
	bad, _ := b.forge(id, mls.CommitParams{Proposals: []mls.Proposal{mls.AddProposal(w.people[dave].keyPackage(nil))}})
	w.deliver([]string{alice, carol}, bad)
	before := a.conversation(id)
	a.read()
	paused := a.conversation(id)
	require.Equal(t, device.StatePaused, paused.State)
	require.Contains(t, paused.Reason, "C2")
	a.say(id, "talk goes on")
	require.NoError(t, a.AddMembers(id, []string{dave}), "it waits")

	a.restart()
	w.quiet()
	require.NoError(t, c.Sync())
	w.quiet()
	for _, p := range []*person{a, c} {
		require.Equal(t, device.StateActive, p.conversation(id).State)
		require.Empty(t, p.conversation(id).Reason)
		require.Equal(t, before.Epoch+1, p.conversation(id).Epoch)
	}
	require.NoError(t, b.Sync())
	w.quiet()
	require.Equal(t, []string{"talk goes on"}, c.texts(id))
	requireAgreement(t, id, a, b, c, w.people[dave])
}

// TestReopenedIsAskedFor: the hub does not tell that it has opened an epoch again.
func TestReopenedIsAskedFor(t *testing.T) {
	w, id := talk(t, bob, carol)
	a, b, c := w.people[alice], w.people[bob], w.people[carol]
	bad, _ := b.forge(id, mls.CommitParams{Proposals: []mls.Proposal{mls.RemoveProposal(2)}})
	w.deliver([]string{alice, carol}, bad)
	c.read()
	jobs, err := c.Jobs()
	require.NoError(t, err)
	require.Len(t, jobs, 1)
	require.IsType(t, new(device.DisputeJob), jobs[0])
	require.NoError(t, c.Disputed(jobs[0].ID(), false), "another instance's is awaited")
	c.work()
	require.Equal(t, device.StatePaused, c.conversation(id).State)
	w.quiet()
	require.Equal(t, device.StatePaused, c.conversation(id).State)
	require.Equal(t, device.StateActive, a.conversation(id).State)

	next, did, err := c.Wake()
	require.NoError(t, err)
	require.False(t, did)
	require.Equal(t, w.now.Add(30*time.Second), next)
	w.now = next
	w.wake()
	require.Equal(t, device.StateActive, c.conversation(id).State)
	requireAgreement(t, id, a, b, c)
}

// TestLeaseAfterTwoLosses: who has lost twice is alone with the next epoch.
func TestLeaseAfterTwoLosses(t *testing.T) {
	w, id := talk(t, bob, carol)
	a, b := w.people[alice], w.people[bob]
	w.enrol(dave)
	require.NoError(t, a.SetAdmin(id, bob, true))
	w.quiet()
	require.NoError(t, b.AddMembers(id, []string{dave}))
	slow := b.commitJob()
	require.Empty(t, slow.LeaseKey)
	for i := range 2 {
		require.NoError(t, a.SetAdmin(id, carol, i == 0))
		a.work()
		require.NoError(t, b.do(slow), "it comes too late")
		if i == 0 {
			slow = b.commitJob()
			require.Empty(t, slow.LeaseKey)
		}
	}
	slow = b.commitJob() // having asked for the lease
	require.NotEmpty(t, slow.LeaseKey)
	require.NoError(t, a.SetAdmin(id, carol, true))
	quick := a.commitJob()
	require.NoError(t, a.do(quick))
	require.Len(t, a.conversation(id).Members, 3, "it is not granted now")
	require.NoError(t, b.do(slow))
	w.quiet()
	require.Len(t, a.conversation(id).Members, 4)
	requireAgreement(t, id, a, b, w.people[carol], w.people[dave])
}

// TestOpenedAgainIsEnded: nobody has anything to change in an epoch that was opened again. One of the members ends it, so that the insider cannot
// have it disputed on and on.
func TestOpenedAgainIsEnded(t *testing.T) {
	w, id := talk(t, bob, carol)
	a, b, c := w.people[alice], w.people[bob], w.people[carol]
	bad, _ := b.rogue(id).commits(mls.CommitParams{Proposals: []mls.Proposal{mls.RemoveProposal(2)}})
	w.deliver([]string{alice, carol}, bad)
	w.quiet()
	require.NoError(t, c.Sync())
	w.quiet()
	for _, p := range []*person{a, c} {
		require.Equal(t, device.StateActive, p.conversation(id).State)
		require.EqualValues(t, 1, p.conversation(id).Epoch)
		next, did, err := p.Wake()
		require.NoError(t, err)
		require.False(t, did)
		require.LessOrEqual(t, next.Sub(w.now), 22*time.Second)
	}
	for range 22 {
		w.now = w.now.Add(time.Second)
		w.wake()
	}
	for _, p := range []*person{a, c} {
		require.EqualValues(t, 2, p.conversation(id).Epoch, "once")
	}
	requireAgreement(t, id, a, c)
}

// TestDisputeOfAnothersBranch: a commit that this device finds invalid was made on a branch of the same number. The hub knows that, and nothing is
// waited for.
func TestDisputeOfAnothersBranch(t *testing.T) {
	w, id := talk(t, bob, carol)
	a, b := w.people[alice], w.people[bob]
	bad, _ := b.forge(id, mls.CommitParams{Proposals: []mls.Proposal{mls.RemoveProposal(0)}})
	w.deliver([]string{alice}, bad)
	a.read()
	require.Equal(t, device.StatePaused, a.conversation(id).State)
	refuseNext[*device.DisputeJob](a, "not_member")
	require.Equal(t, device.StateActive, a.conversation(id).State)
	require.Empty(t, a.conversation(id).Reason)
}
