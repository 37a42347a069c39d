package transparency_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/waxwing-dm/waxwing/transparency"
)

const largest = 1024 // of the trees whose proofs are all made

func sizesUpTo() int {
	if testing.Short() {
		return 200
	}
	return largest
}

// pads makes a log of entries that differ and cost no signature.
func pads(t testing.TB, size int) *signedLog {
	l := newLog(t)
	for i := range size {
		l.add(transparency.Statement{Kind: transparency.KindPad, Time: uint64(i)})
	}
	return l
}

// TestA3NewestEntryOfEveryTree: the newest entry of each tree proves itself, and the one before it does not pass for it.
func TestA3NewestEntryOfEveryTree(t *testing.T) {
	limit := sizesUpTo()
	l := pads(t, limit)
	for size := 1; size <= limit; size++ {
		a := l.answer(t, alice, size, 0)
		next, f, err := l.pinned().Check(alice, a, transparency.Terms{})
		require.NoError(t, err, size)
		require.Nil(t, f.Statement)
		require.Equal(t, int64(size), next.Size)
		if size == 1 {
			continue
		}
		older := a
		older.Newest, older.Inclusion = l.raw[size-2], l.inclusion(size-2, 0, size)
		refused(t, "A3", l.pinned(), older, "of", size)
		require.NoError(t, tlog.CheckRecord(older.Inclusion, int64(size), l.root(0, size), int64(size)-2, l.leaves[size-2]), "and yet it is in the log")
	}
}

// TestInclusionAndConsistencyOfEveryTree: what the verifying module accepts is what RFC 6962 defines.
func TestInclusionAndConsistencyOfEveryTree(t *testing.T) {
	limit := sizesUpTo()
	l := pads(t, limit)
	for size := 1; size <= limit; size++ {
		root := l.root(0, size)
		for i := range size {
			if err := tlog.CheckRecord(l.inclusion(i, 0, size), int64(size), root, int64(i), l.leaves[i]); err != nil {
				t.Fatalf("entry %d of %d: %v", i, size, err)
			}
			if err := tlog.CheckTree(l.consistency(i+1, 0, size, true), int64(size), root, int64(i)+1, l.root(0, i+1)); err != nil {
				t.Fatalf("from %d to %d: %v", i+1, size, err)
			}
		}
	}
}

// nearMisses of a proof.
func nearMisses(proof []tlog.Hash) map[string][]tlog.Hash {
	out := map[string][]tlog.Hash{"one hash more": append(slices.Clone(proof), tlog.Hash{1})}
	for i := range proof {
		p := slices.Clone(proof)
		p[i][0] ^= 1
		out[fmt.Sprintf("hash %d flipped", i)] = p
	}
	if n := len(proof); n > 0 {
		out["cut at the end"] = proof[:n-1]
		out["cut at the start"] = proof[1:]
	}
	if n := len(proof); n > 1 && proof[0] != proof[n-1] {
		p := slices.Clone(proof)
		p[0], p[n-1] = p[n-1], p[0]
		out["swapped"] = p
	}
	return out
}

func TestA3NearMisses(t *testing.T) {
	l := newLog(t).grow(12)
	for size := 1; size <= 12; size++ {
		a := l.answer(t, alice, size, 0)
		for name, proof := range nearMisses(a.Inclusion) {
			b := a
			b.Inclusion = proof
			refused(t, "A3", l.pinned(), b, name, size)
		}
		b := a
		b.Newest = l.raw[size%12]
		refused(t, "A3", l.pinned(), b, "another entry", size)
		for i := range size - 1 {
			b := a
			b.Newest, b.Inclusion = l.raw[i], l.inclusion(i, 0, size)
			b.Map, b.Found = l.answer(t, alice, i+1, 0).Map, l.answer(t, alice, i+1, 0).Found
			refused(t, "A3", l.pinned(), b, "an old entry with its own map", i, size)
		}
	}
}

func TestA2ConsistencyOfEveryTreeWithEveryLarger(t *testing.T) {
	const sizes, spoilt = 40, 9
	l := pads(t, sizes)
	for size := 1; size <= sizes; size++ {
		for from := range size + 1 {
			note, proof := l.checkpoint(t, size), l.answer(t, alice, size, from).Consistency
			next, _, err := l.at(from).Advance(note, proof, transparency.Terms{})
			require.NoError(t, err, "from %d to %d", from, size)
			want := l.at(size)
			want.Note = note
			require.Equal(t, want, next)
			if from == 0 || from == size || size > spoilt {
				continue
			}
			for name, near := range nearMisses(proof) {
				known := l.at(from)
				next, _, err := known.Advance(note, near, transparency.Terms{})
				requireCheck(t, "A2", err, name, from, size)
				require.Equal(t, known, next)
			}
			forked := l.at(from)
			forked.Root[31] ^= 1
			_, _, err = forked.Advance(note, proof, transparency.Terms{})
			requireCheck(t, "A2", err, "another past", from, size)
		}
	}
}
