package sequencer_test

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/transparency"
	"github.com/waxwing-dm/waxwing/transparency/sequencer"
	"github.com/waxwing-dm/waxwing/transparency/sequencer/storetest"
)

func (b *bench) held(change func(*sequencer.Config)) *sequencer.Sequencer {
	b.t.Helper()
	c := b.config()
	if c.Held = true; change != nil {
		change(&c)
	}
	s, err := sequencer.New(ctx, c)
	require.NoError(b.t, err)
	return s
}

// TestHeldWritesNothing: before its release a log is read and not written, by whatever way.
func TestHeldWritesNothing(t *testing.T) {
	b := witnessed(t)
	one := b.appended(b.first(alice))
	b.cosign()
	b.appended(b.first(bob))
	before, err := b.store.Head(ctx)
	require.NoError(t, err)
	for _, alone := range []bool{false, true} {
		b.alone = alone
		b.Sequencer = b.held(nil)
		b.reader().sees(one)
		b.reader().seesNothing(bob)
		_, err = b.append(b.says(update, alice, &one, 1, 3))
		require.ErrorIs(t, err, sequencer.ErrHeld)
		require.ErrorIs(t, b.Pad(ctx), sequencer.ErrHeld)
		require.ErrorIs(t, b.Erase(ctx, alice), sequencer.ErrHeld)
		after, err := b.store.Head(ctx)
		require.NoError(t, err)
		require.Equal(t, before, after)
	}
	require.NoError(t, b.Release(ctx))
	require.NoError(t, b.Release(ctx))
	b.appended(b.says(update, alice, &one, 1, 3))
	require.Equal(t, int64(4), b.head().Size, "alone it serves all that there is")

	empty := &bench{t: t, store: &recorder{Memory: new(storetest.Memory), given: map[string]int64{}, durable: map[int64]string{}}, now: start}
	s := empty.held(nil)
	require.Zero(t, s.Size())
	require.NoError(t, s.Release(ctx))
	require.Equal(t, int64(1), s.Size(), "the padding that a log begins with")
}

// TestReleaseReadsWhatCameBetween: two processes have the log open, and one of them has written before the other is let go.
func TestReleaseReadsWhatCameBetween(t *testing.T) {
	b := newBench(t)
	second := b.held(nil)
	one := b.appended(b.first(alice))
	require.Equal(t, int64(1), second.Size())
	require.NoError(t, second.Release(ctx))
	b.Sequencer = second
	b.reader().sees(one)
	b.appended(b.says(update, alice, &one, 1, 3))
	b.replayed()
}

// TestBeforeIsToldFirst: the owner hears of a checkpoint before anybody is served it; if they cannot keep it, nobody ever is.
func TestBeforeIsToldFirst(t *testing.T) {
	b := newBench(t)
	var told []int64
	var fail error
	before := func(c *sequencer.Config) {
		c.Before = func(signed []byte) error {
			p, err := transparency.OpenCheckpoint(signed, b.verifier())
			require.NoError(t, err)
			served, _ := b.Served()
			require.LessOrEqual(t, served, p.Size)
			told = append(told, p.Size)
			return fail
		}
	}
	b.Sequencer = b.held(before)
	require.Empty(t, told)
	require.NoError(t, b.Release(ctx))
	one := b.appended(b.first(alice))
	require.Equal(t, []int64{1, 2}, told)
	fail = errDisk
	_, err := b.append(b.first(bob))
	require.ErrorIs(t, err, errDisk)
	require.Equal(t, int64(2), b.head().Size)
	fail = nil
	require.ErrorIs(t, b.Pad(ctx), errDisk, "until it is opened again")
	b.Sequencer = b.held(before)
	require.NoError(t, b.Release(ctx))
	b.reader().sees(one)
	b.reader().sees(b.first(bob))
	require.Equal(t, []int64{1, 2, 3, 3}, told)
}

func TestStop(t *testing.T) {
	b := newBench(t)
	errGone := errors.New("gone")
	s := b.held(nil)
	s.Stop(errGone)
	require.NoError(t, s.Release(ctx), "is no way around it")
	require.ErrorIs(t, s.Pad(ctx), errGone)
	require.Equal(t, int64(1), s.Size())
}

func TestRootAt(t *testing.T) {
	b := newBench(t)
	b.fill(40)
	entries, err := b.store.Entries(ctx, 0, 40)
	require.NoError(t, err)
	r := &replay{newest: map[[32]byte]transparency.Statement{}}
	for _, e := range entries {
		r.add(t, e, false)
	}
	for size := int64(1); size <= 40; size++ {
		root, err := b.RootAt(ctx, size)
		require.NoError(t, err)
		require.Equal(t, treeHash(r.leaves[:size]), root)
	}
	_, err = b.RootAt(ctx, 41)
	require.Error(t, err)
}
