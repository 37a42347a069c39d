package hub_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/federation/hub"
	"github.com/waxwing-dm/waxwing/internal/receipt"
)

// ask for a lease in an epoch, with a key of one's own.
func (b *bench) ask(epoch, who uint64) (wait, runs time.Duration, err error) {
	key := public(ticket(1000 + who))
	return b.Lease(ctx, group, hub.LeaseRequest{Term: 1, Epoch: epoch, Key: key, Signature: receipt.SignLease(ticket(epoch), group, 1, epoch, key)})
}

func leased(s hub.Submission, who uint64) hub.Submission {
	key := ticket(1000 + who)
	s.Lease = &hub.Lease{Key: public(key), Signature: receipt.SignLeased(key, s.Signature)}
	return s
}

func (b *bench) requireLeased(s hub.Submission, wait time.Duration) {
	b.t.Helper()
	_, err := b.Submit(ctx, group, s)
	var l *hub.LeasedError
	require.ErrorAs(b.t, err, &l)
	require.Equal(b.t, wait, l.Wait)
}

func TestQ2OnlyTheHolderCommits(t *testing.T) {
	b := newBench(t)
	wait, runs, err := b.ask(0, 1)
	require.NoError(t, err)
	require.Equal(t, []time.Duration{0, 10 * time.Second}, []time.Duration{wait, runs})
	b.clock += 4 * time.Second
	b.requireLeased(submission(0, "x"), 6*time.Second)
	b.requireLeased(leased(submission(0, "x"), 2), 6*time.Second)
	forged := leased(submission(0, "x"), 1)
	forged.Lease.Signature = leased(submission(0, "y"), 1).Lease.Signature
	b.requireLeased(forged, 6*time.Second)
	_, runs, err = b.ask(0, 1)
	require.NoError(t, err)
	require.Equal(t, 6*time.Second, runs, "asked again it runs no longer")
	b.submit(leased(submission(0, "x"), 1))
	b.submit(submission(1, "y"))
}

func TestQ2LeaseEnds(t *testing.T) {
	b := newBench(t)
	_, _, err := b.ask(0, 1)
	require.NoError(t, err)
	b.clock += 10*time.Second - 1
	b.requireLeased(submission(0, "x"), 1)
	b.clock++
	b.submit(submission(0, "x"))
}

// TestQ3NobodyHasTheHubForGood: a member that asks for one lease after the other leaves others their turn.
func TestQ3NobodyHasTheHubForGood(t *testing.T) {
	b := newBench(t)
	epoch, who, open := uint64(0), uint64(1), 0
	for range 200 {
		if wait, _, err := b.ask(epoch, who); err == nil && wait == 0 {
			who++ // the lease runs; ask for the next one already
		}
		if _, err := b.Submit(ctx, group, submission(epoch, "others")); err == nil {
			epoch, open = epoch+1, open+1
		}
		b.clock += 500 * time.Millisecond
	}
	require.GreaterOrEqual(t, open, 7, "in 100 s")
}

func TestQ1FirstComeFirstServed(t *testing.T) {
	b := newBench(t)
	for who := uint64(1); who <= 17; who++ {
		_, _, err := b.ask(0, who)
		require.NoError(t, err, who)
	}
	_, _, err := b.ask(0, 18)
	require.ErrorIs(t, err, hub.ErrTooMany)
	wait, _, err := b.ask(0, 3)
	require.NoError(t, err)
	require.Equal(t, 30*time.Second, wait, "behind the holder's, an open turn, and the second's")
	b.submit(leased(submission(0, "x"), 1))
	wait, _, err = b.ask(1, 2)
	require.NoError(t, err)
	require.Equal(t, 5*time.Second, wait)
	b.submit(submission(1, "in the open turn"))
	wait, _, err = b.ask(2, 3)
	require.NoError(t, err)
	require.NotZero(t, wait, "it is the second's turn")
	wait, _, err = b.ask(2, 2)
	require.NoError(t, err)
	require.Zero(t, wait)
	b.clock += 20 * time.Second
	wait, _, err = b.ask(2, 99)
	require.NoError(t, err)
	require.Zero(t, wait, "the others have gone")
}

func TestQ5LeaseIsForMembers(t *testing.T) {
	b := newBench(t)
	b.grant(2)
	key := public(ticket(1001))
	for name, c := range map[string]struct {
		l    hub.LeaseRequest
		want error
	}{
		"by the ticket before": {hub.LeaseRequest{Term: 1, Epoch: 2, Key: key, Signature: receipt.SignLease(ticket(1), group, 1, 2, key)}, hub.ErrNotMember},
		"for another key":      {hub.LeaseRequest{Term: 1, Epoch: 2, Key: public(ticket(7)), Signature: receipt.SignLease(ticket(2), group, 1, 2, key)}, hub.ErrNotMember},
		"too early":            {hub.LeaseRequest{Term: 1, Epoch: 3, Key: key, Signature: receipt.SignLease(ticket(3), group, 1, 3, key)}, hub.ErrEpochUnknown},
	} {
		_, _, err := b.Lease(ctx, group, c.l)
		require.ErrorIs(t, err, c.want, name)
	}
	_, _, err := b.ask(1, 1)
	var stale *hub.StaleError
	require.ErrorAs(t, err, &stale)
	b.submit(submission(2, "nobody has a lease"))
}
