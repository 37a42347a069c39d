package hub_test

import (
	"crypto/sha256"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/federation/hub"
	"github.com/waxwing-dm/waxwing/internal/receipt"
)

const (
	here  = "https://a.example"
	there = "https://b.example"
	far   = "https://c.example"
)

// granted is the receipt of a seq.
func (b *bench) granted(seq uint64) []byte {
	g, ok, err := b.store.Granted(ctx, group, seq)
	require.NoError(b.t, err)
	require.True(b.t, ok)
	return g.Receipt
}

func (b *bench) dispute(seq, epoch uint64) []byte {
	d := receipt.Dispute{GroupID: group, Term: 1, Seq: seq, ReceiptHash: receipt.Head(b.granted(seq)), Reason: receipt.ReasonInvalid}
	d.Sign(ticket(epoch))
	return d.Marshal()
}

func from(s hub.Submission, instance string) hub.Submission {
	s.From = instance
	return s
}

// branchTicket is that of an epoch which not everybody is in.
func branchTicket(n uint64) [32]byte { return public(ticket(5000 + n)) }

func TestP3DisputesOfTwoInstances(t *testing.T) {
	b := newBench(t)
	for epoch, instance := range []string{here, there, far} {
		b.submit(from(submission(uint64(epoch), "x"), instance))
	}
	bad := submission(3, "invalid")
	bad.Ticket = branchTicket(1)
	b.submit(from(sign(bad), far))

	d := b.dispute(4, 3)
	seq, err := b.Dispute(ctx, group, here, d)
	require.NoError(t, err)
	require.Zero(t, seq)
	seq, err = b.Dispute(ctx, group, here, d)
	require.NoError(t, err)
	require.Zero(t, seq, "one instance counts once")
	before := b.state()
	seq, err = b.Dispute(ctx, group, there, d)
	require.NoError(t, err)
	require.Equal(t, uint64(5), seq)
	again, err := b.Dispute(ctx, group, far, d)
	require.NoError(t, err)
	require.Equal(t, seq, again)

	r, err := receipt.Parse(b.granted(5))
	require.NoError(t, err)
	require.Equal(t, []any{receipt.KindReopen, uint64(3), public(ticket(3)), before.Head}, []any{r.Kind, r.Epoch, r.Ticket, r.Previous})
	events, _, err := b.Events(ctx, group, 4)
	require.NoError(t, err)
	disputes, err := receipt.ParseReopening(events[0].Commit)
	require.NoError(t, err)
	require.Len(t, disputes, 2)
	require.Equal(t, sha256.Sum256(events[0].Commit), r.MessageHash)

	b.submit(submission(3, "valid"))
	b.submit(submission(4, "and on"))
	requireChain(t, b)
}

// requireChain follows everything that the hub has signed.
func requireChain(t *testing.T, b *bench) {
	t.Helper()
	c := b.chain
	var err error
	for _, e := range b.all() {
		c, _, err = c.Next(e.Receipt)
		require.NoError(t, err)
	}
	require.Equal(t, b.state().Head, c.Head)
}

func TestP3OneOfTwoInstancesIsEnough(t *testing.T) {
	b := newBench(t)
	b.submit(from(submission(0, "x"), here))
	b.submit(from(submission(1, "x"), there))
	seq, err := b.Dispute(ctx, group, here, b.dispute(2, 1))
	require.NoError(t, err)
	require.Equal(t, uint64(3), seq)
}

// TestP4FalseDisputeChangesNothing: members who follow the first commit go on, whatever is granted on the other branch, and however far.
func TestP4FalseDisputeChangesNothing(t *testing.T) {
	b := newBench(t)
	b.grant(3)
	_, err := b.Dispute(ctx, group, far, b.dispute(3, 2))
	require.NoError(t, err)
	liar := submission(2, "of the liars")
	liar.Ticket = branchTicket(1)
	b.submit(sign(liar))
	for epoch := uint64(3); epoch < 6; epoch++ {
		b.submit(submission(epoch, "of the honest"))
		branch := hub.Submission{Term: 1, Epoch: epoch, Commit: commit(epoch, fmt.Sprint("liars", epoch)), Ticket: branchTicket(epoch)}
		key := ticket(5000 + epoch - 1)
		if epoch == 3 {
			key = ticket(5001)
		}
		branch.Signature = receipt.SignSubmit(key, group, 1, epoch, branch.Commit, branch.Ticket)
		b.submit(branch)
	}
	require.Equal(t, 2, b.branches())
	requireChain(t, b)
}

func (b *bench) branches() (n int) {
	n = 1
	for _, o := range b.state().Others {
		if o != (hub.Branch{}) {
			n++
		}
	}
	return n
}

// TestP4BranchesAreSetAside: however many invalid commits there were, the epoch is opened again, and whoever goes on from an older branch is
// found, also by a hub that was started again.
func TestP4BranchesAreSetAside(t *testing.T) {
	b := newBench(t)
	b.grant(1)
	for i := range uint64(20) {
		_, err := b.Dispute(ctx, group, here, b.dispute(b.state().Seq, 0))
		require.NoError(t, err)
		s := submission(0, fmt.Sprint("another", i))
		s.Ticket = branchTicket(i)
		b.submit(sign(s))
	}
	require.Equal(t, 4, b.branches())
	b.restart()
	_, _, err := b.ask(1, 0)
	require.NoError(t, err, "of the first branch")
	b.clock += time.Minute
	b.submit(submission(1, "the first branch still goes on"))
	b.submit(submission(2, "and on"))
	seventh := hub.Submission{Term: 1, Epoch: 1, Commit: commit(1, "of the seventh"), Ticket: branchTicket(100)}
	seventh.Signature = receipt.SignSubmit(ticket(5007), group, 1, 1, seventh.Commit, seventh.Ticket)
	b.submit(seventh)
	again := seventh
	again.Commit = commit(1, "of the seventh again")
	again.Signature = receipt.SignSubmit(ticket(5007), group, 1, 1, again.Commit, again.Ticket)
	_, err = b.Submit(ctx, group, again)
	var stale *hub.StaleError
	require.ErrorAs(t, err, &stale, "it is one commit for each branch")
	_, err = b.Dispute(ctx, group, here, b.dispute(3, 0))
	require.NoError(t, err)
	requireChain(t, b)
}

// TestP4BranchesHaveABound, so that a submission costs what it may.
func TestP4BranchesHaveABound(t *testing.T) {
	b := newBench(t)
	b.grant(1)
	n := 0
	for i := uint64(0); ; i++ {
		if _, err := b.Dispute(ctx, group, here, b.dispute(b.state().Seq, 0)); err != nil {
			require.ErrorIs(t, err, hub.ErrBranches)
			break
		}
		n++
		s := submission(0, fmt.Sprint("another", i))
		s.Ticket = branchTicket(i)
		b.submit(sign(s))
	}
	require.Equal(t, 3+256, n)
	b.submit(submission(1, "the first branch still goes on"))
}

// TestP6OthersGoFirst: whose commits are disputed cannot take an epoch each time it is opened again.
func TestP6OthersGoFirst(t *testing.T) {
	b := newBench(t)
	n := uint64(0)
	bad := func(instance string) (hub.Submission, error) {
		n++
		s := from(submission(0, fmt.Sprint("invalid", n)), instance)
		s.Ticket = branchTicket(n)
		_, err := b.Submit(ctx, group, sign(s))
		return s, err
	}
	reopen := func() {
		_, err := b.Dispute(ctx, group, here, b.dispute(b.state().Seq, 0))
		require.NoError(t, err)
	}
	for _, wait := range []time.Duration{30 * time.Second, 2 * time.Minute, 8 * time.Minute, 32 * time.Minute, time.Hour, time.Hour} {
		_, err := bad(far)
		require.NoError(t, err)
		reopen()
		var leased *hub.LeasedError
		_, err = bad(far)
		require.ErrorAs(t, err, &leased)
		require.Equal(t, wait, leased.Wait)
		b.clock += wait - time.Second
		_, err = bad(far)
		require.ErrorAs(t, err, &leased)
		b.clock += time.Second
	}
	s := submission(0, "invalid, of an account of this instance")
	s.From, s.Who, s.Ticket = here, "its actor", branchTicket(n+1)
	b.submit(sign(s))
	reopen()
	_, err := b.Submit(ctx, group, sign(s))
	require.NoError(t, err, "the same again is answered as before")
	b.submit(from(submission(0, "valid"), here))
	b.submit(from(submission(1, "in the next epoch nobody waits"), far))
	requireChain(t, b)
}

func TestDisputesRefused(t *testing.T) {
	b := newBench(t)
	b.grant(2)
	var stale *hub.StaleError
	removed := receipt.Dispute{GroupID: group, Term: 1, Seq: 2, ReceiptHash: receipt.Head(b.granted(2)), Reason: receipt.ReasonInvalid}
	removed.Sign(ticket(0))
	_, err := b.Dispute(ctx, group, here, removed.Marshal())
	require.ErrorIs(t, err, hub.ErrNotMember, "P2")
	for name, change := range map[string]func(*receipt.Dispute){
		"another receipt": func(d *receipt.Dispute) { d.ReceiptHash[0]++ }, "a later seq": func(d *receipt.Dispute) { d.Seq = 9 },
		"the open receipt": func(d *receipt.Dispute) { d.Seq = 0 }, "another term": func(d *receipt.Dispute) { d.Term = 2 },
	} {
		d := removed
		change(&d)
		d.Sign(ticket(1))
		_, err := b.Dispute(ctx, group, here, d.Marshal())
		require.ErrorAs(t, err, &stale, "P1: %s", name)
	}
	_, err = b.Dispute(ctx, []byte("other"), here, b.dispute(2, 1))
	require.ErrorIs(t, err, hub.ErrMalformed)
	b.clock = 8 * 24 * time.Hour
	_, err = b.Dispute(ctx, group, here, b.dispute(2, 1))
	require.ErrorAs(t, err, &stale, "P1: a week has gone")
	require.Equal(t, uint64(2), b.state().Seq)
}
