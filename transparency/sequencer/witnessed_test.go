package sequencer_test

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/waxwing-dm/waxwing/transparency"
	"github.com/waxwing-dm/waxwing/transparency/sequencer"
)

func TestNothingIsServedThatIsNotWitnessed(t *testing.T) {
	b := witnessed(t)
	notYet := func() {
		_, err := b.Answer(ctx, alice, 0)
		require.ErrorIs(t, err, sequencer.ErrNotYet)
		_, err = b.Checkpoint()
		require.ErrorIs(t, err, sequencer.ErrNotYet)
		_, err = b.Tile(ctx, "tile/0/000.p/1")
		require.ErrorIs(t, err, sequencer.ErrNotFound)
	}
	notYet()
	one := b.appended(b.first(alice))
	notYet()
	b.restart()
	notYet()
	size, checkpoint := b.Unwitnessed()
	require.Equal(t, int64(2), size)
	_, err := b.Tile(ctx, "tile/entries/000.p/2")
	require.NoError(t, err, "an auditor must read what it is to cosign")
	_, err = b.Answer(ctx, alice, 0)
	require.ErrorIs(t, err, sequencer.ErrNotYet)
	require.NoError(t, b.Witnessed(ctx, cosigned(checkpoint)))
	require.Equal(t, cosigned(checkpoint), must(b.Checkpoint()))
	r := b.reader()
	r.sees(one)

	two := b.appended(b.says(update, alice, &one, 1, 7))
	r.sees(one)
	_, err = b.Tile(ctx, "tile/entries/000.p/3")
	require.ErrorIs(t, err, sequencer.ErrNotFound)
	_, err = b.Answer(ctx, alice, 3)
	require.ErrorIs(t, err, sequencer.ErrBeyondHead)
	b.restart()
	r.sees(one)
	b.cosign()
	r.sees(two)
}

// TestWitnessedComesLate: while a checkpoint is out to be cosigned the log goes on, and what comes back is served as it was then.
func TestWitnessedComesLate(t *testing.T) {
	b := witnessed(t)
	r := b.reader()
	s := b.appended(b.first(alice))
	for i := range byte(20) {
		size, checkpoint := b.Unwitnessed()
		next := s
		for k := range byte(3) {
			next = b.appended(b.says(update, alice, &next, 1, i, 50+k))
			b.appended(b.first(string(rune('a'+i)) + string(rune('a'+k))))
		}
		require.NoError(t, b.Witnessed(ctx, cosigned(checkpoint)))
		require.Equal(t, size, b.head().Size)
		record, err := r.look(alice)
		require.NoError(t, err)
		require.Equal(t, s.Statement, record.Statement, "of when it was signed, not of now")
		r.seesNothing(string(rune('a'+i)) + "a")
		if i%4 == 3 {
			b.restart()
			require.Equal(t, size, b.head().Size)
			r.sees(s)
		}
		s = next
	}
	b.cosign()
	r.sees(s)
	b.replayed()
}

func TestWitnessedRefuses(t *testing.T) {
	b := witnessed(t)
	_, first := b.Unwitnessed()
	b.appended(b.first(alice))
	_, second := b.Unwitnessed()
	require.Error(t, b.Witnessed(ctx, cosigned(first)), "not the one that was given last")
	require.NoError(t, b.Witnessed(ctx, cosigned(second)))
	for name, c := range map[string][]byte{
		"nothing": nil, "an older one": cosigned(first), "not signed": []byte("x\n"), "spoilt": append([]byte("x"), second...),
		"of another log": must(newBench(t).Checkpoint()),
	} {
		require.Error(t, b.Witnessed(ctx, c), name)
		require.Equal(t, cosigned(second), must(b.Checkpoint()), name)
	}
	fresher := append(cosigned(second), cosignature("witness.example/w2")...)
	_, again := b.Unwitnessed()
	require.Equal(t, second, again, "what is witnessed is offered again")
	require.NoError(t, b.Witnessed(ctx, fresher))
	require.Equal(t, fresher, must(b.Checkpoint()))
	b.restart()
	require.Equal(t, fresher, must(b.Checkpoint()))
	require.Error(t, b.Witnessed(ctx, fresher), "this process has offered nothing")
	require.Equal(t, fresher, must(b.Checkpoint()))
}

// TestProveFrom is what a witness asks for that knows an older size.
func TestProveFrom(t *testing.T) {
	b := witnessed(t)
	b.fill(40)
	entries, err := b.store.Entries(ctx, 0, 40)
	require.NoError(t, err)
	var leaves []tlog.Hash
	for _, e := range entries {
		leaves = append(leaves, transparency.LeafHash(e))
	}
	for size := int64(1); size <= 40; size++ {
		for from := range size {
			proof, err := b.ProveFrom(ctx, from, size)
			require.NoError(t, err)
			if from == 0 {
				require.Empty(t, proof)
				continue
			}
			require.NoError(t, tlog.CheckTree(proof, size, treeHash(leaves[:size]), from, treeHash(leaves[:from])))
		}
	}
	for _, c := range [][2]int64{{0, 40}, {40, 40}, {41, 40}, {-1, 40}} {
		proof, err := b.ProveFrom(ctx, c[0], c[1])
		require.NoError(t, err)
		require.Empty(t, proof)
	}
}

func TestCosignaturesDoNotDisturb(t *testing.T) {
	b := witnessed(t)
	one := b.appended(b.first(alice))
	_, checkpoint := b.Unwitnessed()
	for _, name := range []string{"one.example/w", "two.example/w", "three.example/w"} {
		checkpoint = append(bytes.Clone(checkpoint), cosignature(name)...)
	}
	require.NoError(t, b.Witnessed(ctx, checkpoint))
	b.reader().sees(one)
}
