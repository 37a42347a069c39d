package transparency_test

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/waxwing-dm/waxwing/transparency"
)

const (
	sizes  = 32 // of trees
	spoilt = 9  // up to here every near miss of every proof, too
)

// refused holds that a check fails and that nothing of the answer is kept.
func refused(t testing.TB, check string, known transparency.Log, a transparency.Answer, about ...any) {
	t.Helper()
	next, e, err := known.Check(a)
	requireCheck(t, check, err, about...)
	require.Equal(t, known, next, about...)
	require.Zero(t, e, about...)
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

func TestA3InclusionOfEveryEntryInEveryTree(t *testing.T) {
	l := newLog(t, origin).grow(sizes)
	for size := int64(1); size <= sizes; size++ {
		for index := range size {
			a := l.answer(t, index, size, 0)
			next, e, err := l.pinned().Check(a)
			require.NoError(t, err, "entry %d of %d", index, size)
			require.Equal(t, size, next.Size)
			require.Equal(t, a.Entry, e.Marshal())
			if size > spoilt {
				continue
			}
			for name, proof := range nearMisses(a.Inclusion) {
				b := a
				b.Inclusion = proof
				refused(t, "A3", l.pinned(), b, name, index, size)
			}
			b := a
			b.Index = (index + 1) % size
			if size > 1 {
				refused(t, "A3", l.pinned(), b, "another index", index, size)
			}
		}
	}
}

func TestA2ConsistencyOfEveryTreeWithEveryLarger(t *testing.T) {
	l := newLog(t, origin).grow(sizes)
	for size := int64(1); size <= sizes; size++ {
		for from := range size + 1 {
			known := l.pinned()
			if from > 0 {
				known = l.at(from)
			}
			a := l.answer(t, size-1, size, from)
			next, _, err := known.Check(a)
			require.NoError(t, err, "from %d to %d", from, size)
			require.Equal(t, transparency.Log{Origin: origin, Key: l.key, Size: size, Root: l.at(size).Root, Note: a.Checkpoint}, next)
			if from == 0 || from == size || size > spoilt {
				continue
			}
			for name, proof := range nearMisses(a.Consistency) {
				b := a
				b.Consistency = proof
				refused(t, "A2", known, b, name, from, size)
			}
			forked := known
			forked.Root[31] ^= 1
			refused(t, "A2", forked, a, "another past", from, size)
		}
	}
}

func TestA1ofAnAnswer(t *testing.T) {
	l, twin := newLog(t, origin).grow(4), newLog(t, origin).grow(4)
	a := l.answer(t, 2, 4, 0)
	refused(t, "A1", twin.pinned(), a, "the pinned key is another")
	a.Checkpoint = nil
	refused(t, "A1", l.pinned(), a, "no checkpoint")
}

func TestLogKeyIsOfItsOrigin(t *testing.T) {
	l := newLog(t, origin).grow(1)
	for name, pinned := range map[string]transparency.Log{
		"nothing pinned":        {},
		"key cannot be read":    {Origin: origin, Key: l.key[:len(l.key)-4]},
		"key of another origin": {Origin: "b.example/waxwing/log", Key: l.key},
	} {
		_, err := pinned.Verifier()
		require.Error(t, err, name)
		next, e, err := pinned.Check(l.answer(t, 0, 1, 0))
		require.Error(t, err, name)
		require.Equal(t, pinned, next, name)
		require.Zero(t, e, name)
	}
}

func TestA2TheLogOnlyGrows(t *testing.T) {
	l := newLog(t, origin).grow(8)
	refused(t, "A2", l.at(5), l.answer(t, 2, 4, 0), "it shrank")
	other := l.at(4)
	other.Root[0] ^= 1
	refused(t, "A2", other, l.answer(t, 2, 4, 0), "two roots of one size")
	refused(t, "A2", l.at(3), l.answer(t, 6, 8, 5), "a proof from elsewhere")
	refused(t, "A2", l.at(3), l.answer(t, 6, 8, 0), "no proof")

	// A log that forgot its third entry and has another in its place, with the same key.
	fork := &signedLog{signer: l.signer, key: l.key}
	fork.grow(2).add(entry(transparency.KindUpdate, 99, 0).Marshal()).grow(8)
	for from := int64(3); from <= 8; from++ {
		refused(t, "A2", l.at(from), fork.answer(t, 1, 8, from), "a fork", from)
	}
	_, _, err := l.at(2).Check(fork.answer(t, 1, 8, 2))
	require.NoError(t, err, "who saw only what is before the fork cannot tell")
}

// An empty log has no entry to prove; what is remembered at size 0 is nothing that could be contradicted.
func TestA3NothingIsInAnEmptyLog(t *testing.T) {
	l := newLog(t, origin)
	a := newLog(t, origin).grow(1).answer(t, 0, 1, 0)
	a.Checkpoint, a.Inclusion = l.checkpoint(t, 0), nil
	refused(t, "A3", l.pinned(), a)
}

func TestA3IndexBounds(t *testing.T) {
	l := newLog(t, origin).grow(4)
	for _, index := range []int64{-1, 4, 5, 1<<63 - 1, -1 << 63} {
		a := l.answer(t, 3, 4, 0)
		a.Index = index
		refused(t, "A3", l.pinned(), a, index)
	}
	a := l.answer(t, 3, 4, 0)
	a.Entry = l.entries[2]
	refused(t, "A3", l.pinned(), a, "the neighbour's entry")
}

// TestA4AndL5 are answers that the log proves correctly about an entry that is none.
func TestA4AndL5(t *testing.T) {
	const first, update, reset = transparency.KindFirst, transparency.KindUpdate, transparency.KindReset
	good := entry(update, 5, 2).Marshal()
	badSignature := bytes.Clone(good)
	badSignature[transparency.EntrySize-1] ^= 1
	for name, c := range map[string]struct {
		check string
		raw   []byte
	}{
		"A4 no entry":                         {"A4", nil},
		"A4 cut":                              {"A4", good[:100]},
		"A4 of another version":               {"A4", append([]byte{2}, good[1:]...)},
		"A4 two entries":                      {"A4", append(bytes.Clone(good), good...)},
		"L5 signature":                        {"L5", badSignature},
		"L1 a first entry late":               {"L1", entry(first, 5, 0).Marshal()},
		"L1 a first entry that resets":        {"L1", entry(first, 0, 1).Marshal()},
		"L2 an update as first":               {"L2", entry(update, 0, 0).Marshal()},
		"L2 an update that resets":            {"L2", entry(update, 5, 5).Marshal()},
		"L2 an update before its reset":       {"L2", entry(update, 5, 6).Marshal()},
		"L3 a reset that counts itself as no": {"L3", entry(reset, 5, 2).Marshal()},
		"L3 a reset of later":                 {"L3", entry(reset, 5, 6).Marshal()},
		"L3 a reset as first":                 {"L3", entry(reset, 0, 0).Marshal()},
	} {
		l := newLog(t, origin).grow(3).add(c.raw).grow(6)
		refused(t, c.check, l.pinned(), l.answer(t, 3, 6, 0), name)
	}

	l := newLog(t, origin).grow(3)
	a := l.answer(t, 1, 3, 2)
	a.Devices = append(bytes.Clone(devices), 0)
	refused(t, "L5", l.at(2), a, "another list")
	a = l.answer(t, 1, 3, 2)
	a.Opening[5] ^= 1
	refused(t, "L5", l.at(2), a, "another opening")
}

// TestEveryByteOfAnAnswersEntry: a carrier can change no byte of an entry; the inclusion proof is for those bytes.
func TestEveryByteOfAnAnswersEntry(t *testing.T) {
	l := newLog(t, origin).grow(5)
	for i := range transparency.EntrySize {
		a := l.answer(t, 3, 5, 0)
		a.Entry = bytes.Clone(a.Entry)
		a.Entry[i] ^= 0x80
		refused(t, "A3", l.pinned(), a, i)
	}
}

func TestLogIsStored(t *testing.T) {
	l := newLog(t, origin).grow(3)
	next, _, err := l.pinned().Check(l.answer(t, 1, 3, 0))
	require.NoError(t, err)
	for _, want := range []transparency.Log{next, l.pinned(), {}} {
		got, err := transparency.ParseLog(want.Marshal())
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	for _, bad := range []string{``, `[]`, `{"size":"x"}`, `{"root":"x"}`, `{"size":1}{}`} {
		got, err := transparency.ParseLog([]byte(bad))
		require.Error(t, err, bad)
		require.Zero(t, got, bad)
	}
}
