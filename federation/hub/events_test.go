package hub_test

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/federation/hub"
	"github.com/waxwing-dm/waxwing/internal/receipt"
)

func TestEventsArePagesOf100(t *testing.T) {
	b := newBench(t)
	b.grant(230)
	for _, c := range []struct {
		after uint64
		n     int
	}{{0, 100}, {1, 100}, {100, 100}, {129, 100}, {130, 100}, {131, 99}, {229, 1}, {230, 0}, {231, 0}, {1 << 62, 0}, {1 << 63, 0}, {math.MaxUint64, 0}} {
		events, _, err := b.Events(ctx, group, c.after)
		require.NoError(t, err)
		require.Len(t, events, c.n, "after %d", c.after)
		for i, e := range events {
			r, err := receipt.Parse(e.Receipt)
			require.NoError(t, err)
			require.Equal(t, c.after+1+uint64(i), r.Seq)
			require.Equal(t, commit(r.Epoch, "commit"), e.Commit)
		}
	}
	require.Len(t, b.all(), 230)
}

// TestEventsFitOneAnswer: an answer has at most 700 KiB before base64, and at least one event, so that nobody stands still.
func TestEventsFitOneAnswer(t *testing.T) {
	const limit, epochs = 700 << 10, 40
	b := newBench(t)
	for epoch := range uint64(epochs) {
		size := 100 << 10
		if epoch%10 == 9 {
			size = limit - len(commit(0, ""))
		}
		b.submit(submission(epoch, string(make([]byte, size))))
	}
	for after := range uint64(epochs) {
		events, _, err := b.Events(ctx, group, after)
		require.NoError(t, err)
		require.NotEmpty(t, events)
		size := 0
		for _, e := range events {
			size += len(e.Receipt) + len(e.Commit)
		}
		require.True(t, size <= limit || len(events) == 1, "%d events of %d bytes", len(events), size)
		if next := after + uint64(len(events)); next < epochs && size <= limit {
			more, _, err := b.Events(ctx, group, next)
			require.NoError(t, err)
			require.Greater(t, size+len(more[0].Receipt)+len(more[0].Commit), limit, "one more would have fitted")
		}
	}
	require.Len(t, b.all(), epochs)
	require.LessOrEqual(t, b.store.largest, 8, "so many events of 700 KiB in memory for one call")
}

// TestStaleEventsFitOneAnswer: what the loser missed is a page too.
func TestStaleEventsFitOneAnswer(t *testing.T) {
	b := newBench(t)
	b.grant(150)
	_, err := b.Submit(ctx, group, submission(20, "late"))
	var stale *hub.StaleError
	require.ErrorAs(t, err, &stale)
	require.Equal(t, []any{uint64(150), uint64(150)}, []any{stale.Epoch, stale.Seq})
	require.Len(t, stale.Events, 100)
	r, err := receipt.Parse(stale.Events[0].Receipt)
	require.NoError(t, err)
	require.Equal(t, uint64(20), r.Epoch)
}

// FuzzSubmit: whatever comes, a register moves only for a commit of its epoch that a member signed.
func FuzzSubmit(f *testing.F) {
	good := submission(1, "commit")
	f.Add(good.Term, good.Epoch, good.Commit, good.Ticket[:], good.Signature, true)
	f.Add(uint64(0), uint64(math.MaxUint64), commit(math.MaxUint64, ""), make([]byte, 32), make([]byte, 64), false)
	f.Add(uint64(1), uint64(0), commit(0, "late"), []byte{}, []byte{}, true)
	f.Add(uint64(1), uint64(1), message('a', group, 1, "x"), []byte{1}, []byte{2}, true)
	f.Fuzz(func(t *testing.T, term, epoch uint64, c, next, signature []byte, signIt bool) {
		b := newBench(t)
		b.grant(1)
		before := b.state()
		s := hub.Submission{Term: term, Epoch: epoch, Commit: c, Signature: signature}
		copy(s.Ticket[:], next)
		if signIt {
			s = sign(s)
		}
		granted, err := b.Submit(ctx, group, s)
		if err != nil {
			require.Equal(t, before, b.state())
			require.Nil(t, granted)
			return
		}
		_, headersEpoch, isCommit, err := headers(c)
		require.NoError(t, err)
		require.True(t, isCommit && headersEpoch == epoch && term == 1)
		if epoch == 0 {
			require.Equal(t, commit(0, "commit"), c, "S3")
			require.Equal(t, before, b.state())
			return
		}
		require.True(t, receipt.VerifySubmit(before.Ticket, group, term, epoch, c, s.Ticket, s.Signature))
		require.Equal(t, hub.State{Term: 1, Seq: 2, Epoch: 2, Head: receipt.Head(granted), Ticket: s.Ticket}, b.state())
	})
}
