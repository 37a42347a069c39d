package hub_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/federation/hub"
	"github.com/waxwing-dm/waxwing/federation/hub/storetest"
	"github.com/waxwing-dm/waxwing/internal/receipt"
)

var nextKey = ed25519.NewKeyFromSeed(bytes.Repeat([]byte{8}, 32))

// claim of the next hub on the newest receipt.
func (b *bench) claim(term, epoch uint64) receipt.SignedClaim {
	s := b.state()
	c := receipt.SignedClaim{Claim: receipt.Claim{
		GroupID: group, Term: term, Seq: s.Seq, Head: s.Head, Epoch: epoch, Ticket: public(ticket(epoch)),
		Next: receipt.NextHub{Hub: there, Key: public(nextKey)},
	}}
	c.SignMember(ticket(epoch))
	return c
}

func nextHub() *hub.Hub {
	return hub.New(new(storetest.Memory), nextKey, headers, func() time.Time { return start }, nil)
}

func TestUnplannedHandOver(t *testing.T) {
	b := newBench(t)
	b.grant(6)
	c := b.claim(2, 6)
	next := nextHub()
	opened, err := next.OpenTerm(ctx, group, c.Marshal(), b.all())
	require.NoError(t, err)
	again, err := next.OpenTerm(ctx, group, c.Marshal(), b.all())
	require.NoError(t, err)
	require.Equal(t, opened, again)
	chain, _, err := receipt.CheckTerm(opened, c.Marshal(), group)
	require.NoError(t, err)
	s := hub.Submission{Term: 2, Epoch: 6, Commit: commit(6, "goes on"), Ticket: public(ticket(7))}
	granted, err := next.Submit(ctx, group, sign(s))
	require.NoError(t, err)
	_, _, err = chain.Next(granted)
	require.NoError(t, err)

	// The old hub comes back, and grants something before it has heard of it.
	lost := submission(6, "void")
	b.submit(lost)
	event := hub.Event{Receipt: opened, Commit: c.Marshal()}
	require.NoError(t, b.MovedTo(ctx, group, event))
	_, err = b.Submit(ctx, group, submission(7, "x"))
	var moved *hub.MovedError
	require.ErrorAs(t, err, &moved)
	require.Equal(t, hub.Elsewhere{Event: event, Hub: there}, moved.Elsewhere)

	// Who comes from there with its receipts learns where they are void from.
	lost.Place = &hub.Place{Seq: 7, Head: receipt.Head(b.granted(7))}
	lost = sign(lost)
	lost.Commit = commit(6, "next try")
	_, err = next.Submit(ctx, group, sign(lost))
	var stale *hub.StaleError
	require.ErrorAs(t, err, &stale)
	require.Equal(t, uint64(2), stale.Term)
	require.Equal(t, event, stale.Events[0])
}

// TestS9Despite: who finds a claim wrong is served; a hub cannot judge it.
func TestS9Despite(t *testing.T) {
	b := newBench(t)
	b.grant(3)
	c := b.claim(2, 3)
	r := c.Receipt(1)
	r.Sign(nextKey)
	require.NoError(t, b.MovedTo(ctx, group, hub.Event{Receipt: r.Marshal(), Commit: c.Marshal()}))
	s := submission(3, "despite a liar")
	_, err := b.Submit(ctx, group, s)
	var moved *hub.MovedError
	require.ErrorAs(t, err, &moved)
	s.Despite = sha256.Sum256([]byte("another"))
	_, err = b.Submit(ctx, group, s)
	require.ErrorAs(t, err, &moved)
	s.Despite = sha256.Sum256(c.Marshal())
	b.submit(s)
	_, err = b.Submit(ctx, group, submission(4, "who has not judged it is still told"))
	require.ErrorAs(t, err, &moved)
}

func TestPlannedHandOver(t *testing.T) {
	b := newBench(t)
	b.grant(3)
	s := submission(3, "moves")
	n := receipt.NextHub{Hub: there, Key: public(nextKey)}
	s.Move = &hub.Move{NextHub: n, Signature: receipt.SignMove(ticket(2), group, 1, 3, s.Commit, n)}
	_, err := b.Submit(ctx, group, s)
	require.ErrorIs(t, err, hub.ErrNotMember)
	s.Move.Signature = receipt.SignMove(ticket(3), group, 1, 3, s.Commit, n)
	granted := b.submit(s)
	require.Equal(t, granted, b.submit(s), "S3 comes before S9")
	r, err := receipt.Parse(granted)
	require.NoError(t, err)
	require.Equal(t, receipt.KindMove, r.Kind)
	_, err = b.Submit(ctx, group, submission(4, "late"))
	var moved *hub.MovedError
	require.ErrorAs(t, err, &moved)
	require.Equal(t, there, moved.Hub)
	c := b.claim(2, 4)
	_, err = nextHub().OpenTerm(ctx, group, c.Marshal(), b.all())
	require.NoError(t, err)

	// A move that is not valid is disputed like any commit.
	_, err = b.Dispute(ctx, group, here, b.dispute(4, 3))
	require.NoError(t, err)
	b.submit(submission(3, "stays"))
	requireChain(t, b)
}

func TestOpenTermRefuses(t *testing.T) {
	b := newBench(t)
	b.grant(8)
	good := b.claim(2, 8)
	for name, c := range map[string]struct {
		change func(*receipt.SignedClaim)
		want   error
	}{
		"T1 of another hub":        {func(c *receipt.SignedClaim) { c.Next.Key = public(hubKey) }, hub.ErrClaim},
		"T1 of no term":            {func(c *receipt.SignedClaim) { c.Term = 1 << 63 }, hub.ErrClaim},
		"T1 of another group":      {func(c *receipt.SignedClaim) { c.GroupID = []byte("other") }, hub.ErrClaim},
		"T1 on another receipt":    {func(c *receipt.SignedClaim) { c.Head[0]++ }, hub.ErrBehind},
		"T1 on a receipt to come":  {func(c *receipt.SignedClaim) { c.Seq++ }, hub.ErrBehind},
		"T2 of another epoch":      {func(c *receipt.SignedClaim) { c.Epoch++ }, hub.ErrNotMember},
		"T2 with an old ticket":    {func(c *receipt.SignedClaim) { c.Epoch, c.Ticket = 2, public(ticket(2)) }, hub.ErrNotMember},
		"T2 not signed by members": {func(c *receipt.SignedClaim) { c.Ticket = public(ticket(8)) }, hub.ErrNotMember},
	} {
		changed := good
		c.change(&changed)
		if name == "T2 not signed by members" {
			changed.SignMember(ticket(3))
		} else {
			changed.SignMember(ticket(changed.Epoch))
		}
		_, err := nextHub().OpenTerm(ctx, group, changed.Marshal(), b.all())
		require.ErrorIs(t, err, c.want, name)
	}
	next := nextHub()
	_, err := next.OpenTerm(ctx, group, good.Marshal(), b.all())
	require.NoError(t, err)
	good.Time++
	good.SignMember(ticket(8))
	_, err = next.OpenTerm(ctx, group, good.Marshal(), b.all())
	var stale *hub.StaleError
	require.ErrorAs(t, err, &stale, "T3")
}

// TestB1WhoSubmitsNamesMirrors: of the instances that got what was granted to the hub's own users, none has written to it. The next submission
// says who they are.
func TestB1WhoSubmitsNamesMirrors(t *testing.T) {
	for _, s := range []hub.Submission{submission(0, "another"), submission(1, "next")} {
		b, backup := newBench(t), newBench(t)
		b.submit(submission(0, "x"))
		backup.peers = func(_ context.Context, instance string, id []byte, after uint64) ([]hub.Event, error) {
			if instance != there {
				return nil, nil
			}
			events, _, err := b.Events(ctx, id, after)
			return events, err
		}
		backup.restart()
		s.Others = []string{there}
		if s.Epoch == 1 {
			s.Place = &hub.Place{Seq: b.state().Seq, Head: b.state().Head}
		}
		_, err := backup.Submit(ctx, group, s)
		if s.Epoch == 0 {
			var stale *hub.StaleError
			require.ErrorAs(t, err, &stale, "epoch 0 is not granted twice")
			require.Equal(t, b.all(), backup.all())
			continue
		}
		require.NoError(t, err)
	}
}

// TestB1RestoredHubAsksFirst: what it has signed before, it finds again at those who brought it.
func TestB1RestoredHubAsksFirst(t *testing.T) {
	b := newBench(t)
	b.submit(from(submission(0, "x"), there))
	backup := newBench(t)
	backup.submit(from(submission(0, "x"), there))
	require.Equal(t, b.state(), backup.state())
	for epoch := uint64(1); epoch < 5; epoch++ {
		b.submit(submission(epoch, "forgotten"))
	}
	var asked []string
	backup.peers = func(_ context.Context, instance string, id []byte, after uint64) ([]hub.Event, error) {
		asked = append(asked, instance)
		events, _, err := b.Events(ctx, id, after)
		return events, err
	}
	backup.restart()
	_, err := backup.Submit(ctx, group, submission(1, "another"))
	var stale *hub.StaleError
	require.ErrorAs(t, err, &stale)
	require.Equal(t, b.state(), backup.state())
	require.Equal(t, b.all(), backup.all())
	n := len(asked)
	backup.submit(submission(5, "on"))
	require.Len(t, asked, n, "once after a start")
}

// TestB2SubmitterKnowsMore: nobody answered at the start, but who submits says where it is.
func TestB2SubmitterKnowsMore(t *testing.T) {
	b, backup := newBench(t), newBench(t)
	b.grant(4)
	backup.grant(1)
	silent := true
	backup.peers = func(_ context.Context, instance string, id []byte, after uint64) ([]hub.Event, error) {
		if silent || instance != there {
			return nil, errors.New("nobody there")
		}
		events, _, err := b.Events(ctx, id, after)
		return events, err
	}
	backup.restart()
	s := from(submission(4, "x"), there)
	s.Place = &hub.Place{Seq: 4, Head: b.state().Head}
	_, err := backup.Submit(ctx, group, s)
	var mismatch *hub.MismatchError
	require.ErrorAs(t, err, &mismatch)
	require.Equal(t, uint64(1), backup.state().Seq, "nothing was granted")
	silent = false
	backup.submit(s)
	require.Equal(t, uint64(5), backup.state().Seq)
	requireChain(t, backup)
}

func TestS7AnotherChain(t *testing.T) {
	b := newBench(t)
	b.grant(3)
	s := submission(3, "x")
	for seq := uint64(1); seq <= 3; seq++ {
		s.Place = &hub.Place{Seq: seq, Head: [32]byte{1}}
		_, err := b.Submit(ctx, group, s)
		var mismatch *hub.MismatchError
		require.ErrorAs(t, err, &mismatch, seq)
		r, err := receipt.Parse(mismatch.Events[0].Receipt)
		require.NoError(t, err)
		require.Equal(t, seq, r.Seq, "the receipt that differs comes first")
	}
	s.Place = &hub.Place{Seq: 3, Head: b.state().Head}
	b.submit(s)
}

func TestGroupInfo(t *testing.T) {
	b := newBench(t)
	s := submission(0, "x")
	s.GroupInfo = make([]byte, 700<<10)
	_, err := b.Submit(ctx, group, s)
	require.ErrorIs(t, err, hub.ErrMalformed)
	s.GroupInfo = []byte("sealed")
	b.submit(s)
	infos, err := b.GroupInfos(ctx, group)
	require.NoError(t, err)
	require.Equal(t, []hub.GroupInfo{{Term: 1, Seq: 1, Epoch: 1, Sealed: []byte("sealed")}}, infos)
	_, err = b.GroupInfos(ctx, []byte("other"))
	require.ErrorIs(t, err, hub.ErrNoConversation)
}
