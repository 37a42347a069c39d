package sequencer_test

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// rows are the entries that the store has something beside.
func (b *bench) rows() (all []int64) {
	b.t.Helper()
	require.NoError(b.t, b.store.Rows(ctx, func(index int64, _ []byte) error {
		all = append(all, index)
		return nil
	}))
	return all
}

// TestForgotten: what was replaced goes with the first batch after nobody is shown it any more, what was erased without waiting for
// one, and a restart leaves neither.
func TestForgotten(t *testing.T) {
	b := witnessed(t) // entry 0 is padding
	one := b.appended(b.first(alice))
	b.cosign()
	two := b.appended(b.says(update, alice, &one, 1, 3))
	b.appended(b.first(bob))
	require.Equal(t, []int64{1, 2, 3}, b.rows(), "a lookup shows the first still")
	b.cosign()
	require.NoError(t, b.Pad(ctx))
	require.Equal(t, []int64{2, 3}, b.rows())
	b.reader().sees(two)

	require.NoError(t, b.Erase(ctx, alice)) // entry 5
	require.NoError(t, b.Erase(ctx, bob))
	require.Equal(t, []int64{2, 3, 5, 6}, b.rows(), "nobody has witnessed that")
	b.cosign()
	require.Equal(t, []int64{5, 6}, b.rows())

	carol := b.appended(b.first("carol"))
	for range 3 { // replaced before anybody saw it
		carol = b.appended(b.says(update, "carol", &carol, 1, 4))
	}
	require.Equal(t, []int64{5, 6, 7, 8, 9, 10}, b.rows())
	b.cosign()
	b.restart()
	require.Equal(t, []int64{5, 6, 10}, b.rows())
	b.reader().sees(carol)
}

// TestForgottenAlone: a log that nobody witnesses spends no transaction on it but for who was erased.
func TestForgottenAlone(t *testing.T) {
	b := newBench(t)
	one := b.appended(b.first(alice))
	two := b.appended(b.says(update, alice, &one, 1, 3))
	require.Equal(t, []int64{1, 2}, b.rows())
	b.store.fail(true, false)
	require.ErrorIs(t, b.Pad(ctx), errDisk)
	require.Equal(t, []int64{1, 2}, b.rows(), "with the batch or not at all")
	b.store.fail(false, false)
	b.restart()
	require.Equal(t, []int64{2}, b.rows())
	b.appended(b.says(update, alice, &two, 1, 4))
	require.NoError(t, b.Pad(ctx))
	require.Equal(t, []int64{3}, b.rows())
	require.NoError(t, b.Erase(ctx, alice))
	require.Equal(t, []int64{5}, b.rows())
}
