package hub_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"math"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/federation/hub"
	"github.com/waxwing-dm/waxwing/federation/hub/storetest"
	"github.com/waxwing-dm/waxwing/internal/receipt"
)

func TestMemoryStore(t *testing.T) {
	storetest.Run(t, func(*testing.T) hub.Store { return new(storetest.Memory) })
}

func TestOpen(t *testing.T) {
	b := newBench(t)
	opened, err := b.Open(ctx, group, public(ticket(0)))
	require.NoError(t, err)
	r, err := receipt.Parse(opened)
	require.NoError(t, err)
	require.True(t, r.Verify(b.Key()))
	want := receipt.Receipt{
		Kind: receipt.KindOpen, GroupID: group, Term: 1, Ticket: public(ticket(0)), Time: uint64(start.UnixMilli()), Signature: r.Signature,
	}
	require.Equal(t, want, r)
	require.Equal(t, hub.State{Term: 1, Head: receipt.Head(opened), Ticket: public(ticket(0))}, b.state())
	_, err = b.Open(ctx, group, public(ticket(1)))
	require.ErrorIs(t, err, hub.ErrExists)
	b.grant(3)
	b.restart()
	again, err := b.Open(ctx, group, public(ticket(0)))
	require.NoError(t, err)
	require.Equal(t, opened, again, "asked again, also after commits")
	require.Equal(t, uint64(3), b.state().Epoch)
}

func TestOpenTakesNoGroupThatNoReceiptCanName(t *testing.T) {
	b := newBench(t)
	for _, n := range []int{0, 65, 255, 256, 1000} {
		_, err := b.Open(ctx, make([]byte, n), public(ticket(0)))
		require.Error(t, err, n)
		_, ok, err := b.store.Group(ctx, make([]byte, n))
		require.NoError(t, err)
		require.False(t, ok, "a register for %d bytes", n)
	}
	_, err := b.Open(ctx, make([]byte, 64), public(ticket(0)))
	require.NoError(t, err)
}

func TestOpenRace(t *testing.T) {
	b := &bench{t: t, store: &watched{Store: new(storetest.Memory)}}
	b.restart()
	var wg sync.WaitGroup
	opened := make(chan []byte, 8)
	for w := range uint64(8) {
		wg.Go(func() {
			if r, err := b.Open(ctx, group, public(ticket(w))); err == nil {
				opened <- r
			} else if !errors.Is(err, hub.ErrExists) {
				t.Errorf("writer %d: %v", w, err)
			}
		})
	}
	wg.Wait()
	require.Len(t, opened, 1)
	require.Equal(t, b.state().Head, receipt.Head(<-opened))
}

func TestS1NoSuchConversation(t *testing.T) {
	b := newBench(t)
	for _, id := range [][]byte{[]byte("grou"), []byte("other"), {}, make([]byte, 65), make([]byte, 255)} {
		_, err := b.Submit(ctx, id, hub.Submission{Term: 1, Commit: message('c', id, 0, "x"), Signature: make([]byte, 64)})
		require.ErrorIs(t, err, hub.ErrNoConversation)
		_, _, err = b.Events(ctx, id, 0)
		require.ErrorIs(t, err, hub.ErrNoConversation)
	}
	require.Zero(t, b.store.swaps)
}

func TestS2Malformed(t *testing.T) {
	b := newBench(t)
	const limit = 700 << 10
	head := len(commit(0, ""))
	for name, c := range map[string][]byte{
		"nothing": nil, "no message": {1}, "an application message": message('a', group, 0, "x"), "another group's": message('c', []byte("other"), 0, "x"),
		"a group with more in its name": message('c', []byte("groups"), 0, "x"), "of the next epoch": commit(1, "x"), "of an epoch far away": commit(math.MaxUint64, "x"),
		"more than fits one answer": commit(0, string(make([]byte, limit-head+1))),
	} {
		s := submission(0, "x")
		s.Commit = c
		_, err := b.Submit(ctx, group, sign(s))
		require.ErrorIs(t, err, hub.ErrMalformed, name)
	}
	require.Zero(t, b.store.swaps)
	b.submit(submission(0, string(make([]byte, limit-head))))
	require.Len(t, b.all(), 1, "the largest commit reaches the others")
}

func TestS3TheSameCommitAgain(t *testing.T) {
	b := newBench(t)
	var receipts [][]byte
	for epoch := range uint64(4) {
		receipts = append(receipts, b.submit(submission(epoch, "commit")))
		b.restart()
		for past, r := range receipts {
			again := submission(uint64(past), "commit")
			require.Equal(t, r, b.submit(again), "epoch %d asked in %d", past, epoch+1)
			again.Signature = nil
			require.Equal(t, r, b.submit(again), "the receipt is no secret")
		}
	}
	require.Equal(t, 4, b.store.swaps)
}

func TestS4Epochs(t *testing.T) {
	b := newBench(t)
	b.grant(5)
	events := b.all()
	for epoch := range uint64(5) {
		_, err := b.Submit(ctx, group, submission(epoch, "late"))
		var stale *hub.StaleError
		require.ErrorAs(t, err, &stale)
		require.Equal(t, hub.StaleError{Term: 1, Epoch: 5, Seq: 5, Events: events[epoch:]}, *stale)
	}
	for _, epoch := range []uint64{6, 7, math.MaxUint64} {
		_, err := b.Submit(ctx, group, submission(epoch, "early"))
		require.ErrorIs(t, err, hub.ErrEpochUnknown)
	}
	for _, term := range []uint64{2, math.MaxUint64} {
		for _, epoch := range []uint64{0, 5, 9} {
			s := submission(epoch, "another term")
			s.Term = term
			_, err := b.Submit(ctx, group, sign(s))
			require.ErrorIs(t, err, hub.ErrEpochUnknown)
		}
	}
	for _, epoch := range []uint64{0, 5, 9, math.MaxUint64} {
		s := submission(epoch, "commit")
		s.Term = 0
		_, err := b.Submit(ctx, group, sign(s))
		var stale *hub.StaleError
		require.ErrorAs(t, err, &stale, "a term that is over, epoch %d", epoch)
		require.Equal(t, uint64(5), stale.Epoch)
	}
	require.Equal(t, 5, b.store.swaps)
}

func TestS5NotMember(t *testing.T) {
	b := newBench(t)
	b.grant(2)
	good := submission(2, "commit")
	for name, change := range map[string]func(*hub.Submission){
		"no signature": func(s *hub.Submission) { s.Signature = nil },
		"cut":          func(s *hub.Submission) { s.Signature = s.Signature[:63] },
		"by the ticket of the epoch before": func(s *hub.Submission) {
			s.Signature = receipt.SignSubmit(ticket(1), group, s.Term, s.Epoch, s.Commit, s.Ticket)
		},
		"by the ticket it brings": func(s *hub.Submission) {
			s.Signature = receipt.SignSubmit(ticket(3), group, s.Term, s.Epoch, s.Commit, s.Ticket)
		},
		"for another commit":      func(s *hub.Submission) { s.Commit = commit(2, "other") },
		"for another next ticket": func(s *hub.Submission) { s.Ticket[0] ^= 1 },
		"for another group": func(s *hub.Submission) {
			s.Signature = receipt.SignSubmit(ticket(2), []byte("other"), s.Term, s.Epoch, s.Commit, s.Ticket)
		},
		"for another epoch": func(s *hub.Submission) {
			s.Signature = receipt.SignSubmit(ticket(2), group, s.Term, 3, s.Commit, s.Ticket)
		},
	} {
		s := good
		s.Signature = bytes.Clone(good.Signature)
		change(&s)
		_, err := b.Submit(ctx, group, s)
		require.ErrorIs(t, err, hub.ErrNotMember, name)
	}
	require.Equal(t, 2, b.store.swaps)
	b.submit(good)
}

// TestS6TheReceiptIsDurable: a store that fails before or after the write leads to one receipt for whoever asks again.
func TestS6TheReceiptIsDurable(t *testing.T) {
	b := newBench(t)
	for epoch := range uint64(4) {
		s := submission(epoch, "commit")
		b.store.fail = true
		_, err := b.Submit(ctx, group, s)
		require.ErrorIs(t, err, errDisk)
		require.Equal(t, epoch, b.state().Epoch)
		b.store.fail, b.store.lost = false, true
		_, err = b.Submit(ctx, group, s)
		require.ErrorIs(t, err, errDisk)
		b.store.lost = false
		b.restart()
		granted := b.submit(s)
		require.Equal(t, receipt.Head(granted), b.state().Head)
		events := b.all()
		require.Equal(t, hub.Event{Receipt: granted, Commit: s.Commit}, events[len(events)-1])
	}
	require.Equal(t, 4, b.store.swaps)
}

// TestS6OneReceiptPerEpoch lets eight members race for twenty epochs.
func TestS6OneReceiptPerEpoch(t *testing.T) {
	b := newBench(t)
	const writers, epochs = 8, uint64(20)
	var wg sync.WaitGroup
	var mu sync.Mutex
	won := map[uint64][]string{}
	for w := range writers {
		wg.Go(func() {
			for epoch := range epochs {
				s := submission(epoch, fmt.Sprint("by ", w))
				r, err := b.Submit(ctx, group, s)
				var stale *hub.StaleError
				switch {
				case err == nil:
					mu.Lock()
					won[epoch] = append(won[epoch], string(r))
					mu.Unlock()
				case !errors.As(err, &stale):
					t.Errorf("epoch %d: %v", epoch, err)
				case len(stale.Events) == 0 || bytes.Equal(stale.Events[0].Commit, s.Commit):
					t.Errorf("epoch %d: the loser does not see who won", epoch)
				}
			}
		})
	}
	wg.Wait()
	events := b.all()
	require.Len(t, events, int(epochs))
	require.Equal(t, int(epochs), b.store.swaps)
	c := b.chain
	for i, e := range events {
		epoch := uint64(i)
		require.Equal(t, []string{string(e.Receipt)}, won[epoch], "receipts of epoch %d", epoch)
		var r receipt.Receipt
		var err error
		c, r, err = c.Next(e.Receipt)
		require.NoError(t, err)
		require.Equal(t, receipt.Receipt{
			Kind: receipt.KindCommit, GroupID: group, Term: 1, Seq: epoch + 1, Epoch: epoch, MessageHash: sha256.Sum256(e.Commit), Previous: r.Previous,
			Ticket: public(ticket(epoch + 1)), Time: uint64(start.UnixMilli()), Signature: r.Signature,
		}, r)
	}
	require.Equal(t, hub.State{Term: 1, Seq: epochs, Epoch: epochs, Head: c.Head, Ticket: public(ticket(epochs))}, b.state())
}

func TestGroupsDoNotMeet(t *testing.T) {
	b := newBench(t)
	_, err := b.Open(ctx, []byte("other"), public(ticket(0)))
	require.NoError(t, err)
	b.grant(3)
	events, _, err := b.Events(ctx, []byte("other"), 0)
	require.NoError(t, err)
	require.Empty(t, events)
	s := submission(0, "commit")
	_, err = b.Submit(ctx, []byte("other"), s)
	require.ErrorIs(t, err, hub.ErrMalformed, "a commit of one group for another")
}
