package transparency_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
	"pgregory.net/rapid"

	"github.com/waxwing-dm/waxwing/transparency"
)

// A fork is one key and two histories that have the first entries in common.
type fork struct {
	*plainLog
	other *plainLog
}

func newFork(t testing.TB, common, a, b int) fork {
	l := newPlainLog(t, origin).grow(common)
	other := &plainLog{signer: l.signer, key: l.key, entries: l.entries[:common:common]}
	for len(other.entries) < b {
		other.entries = append(other.entries, []byte(fmt.Sprint("other ", len(other.entries))))
	}
	return fork{l.grow(a), other}
}

// proof of what a log's tree of a size had at a smaller one.
func (l *plainLog) continues(size, old int64) (tlog.Hash, []tlog.Hash) {
	if old == 0 {
		return tlog.Hash{}, nil
	}
	m := merkle{leaves: l.leaves(size), known: map[[2]int]tlog.Hash{}}
	return m.root(0, int(old)), m.consistency(int(old), 0, int(size), true)
}

// evidence against the log, from what both sides were shown.
func (f fork) evidence(t testing.TB, a, b int64) (transparency.Evidence, error) {
	x, y := f.checkpoint(t, a), f.other.checkpoint(t, b)
	var root tlog.Hash
	var proof []tlog.Hash
	switch {
	case a < b:
		root, proof = f.other.continues(b, a)
	case b < a:
		root, proof = f.continues(a, b)
	}
	return transparency.FindEvidence(f.key, x, y, root, proof)
}

// TestEvidence takes every two sizes of two histories. Evidence is to be had just if the smaller tree is beyond where they part.
func TestEvidence(t *testing.T) {
	const common, most = 5, 21
	f := newFork(t, common, most, most)
	for a := int64(0); a <= most; a++ {
		for b := int64(0); b <= most; b++ {
			e, err := f.evidence(t, a, b)
			if min(a, b) <= common {
				require.Error(t, err, "%d and %d", a, b)
				continue
			}
			require.NoError(t, err, "%d and %d", a, b)
			text := e.Marshal()
			got, err := transparency.ParseEvidence(text)
			require.NoError(t, err)
			require.Equal(t, e, got)
			smaller, other, err := got.Verify(f.key)
			require.NoError(t, err)
			require.Equal(t, []int64{min(a, b), max(a, b)}, []int64{smaller.Size, other.Size})
			again, err := transparency.FindEvidence(f.key, e.Other, e.Smaller, e.Root, e.Proof)
			require.NoError(t, err)
			require.Equal(t, text, again.Marshal(), "the order in which it was found does not matter")
		}
	}
}

// TestNoEvidenceAgainstAnHonestLog: whatever is put together from what an honest log ever signed proves nothing.
func TestNoEvidenceAgainstAnHonestLog(t *testing.T) {
	l := newPlainLog(t, origin).grow(40)
	rapid.Check(t, func(rt *rapid.T) {
		draw := func(name string) int64 { return rapid.Int64Range(0, 40).Draw(rt, name) }
		a, b := draw("a"), draw("b")
		var root tlog.Hash
		var proof []tlog.Hash
		if small, large := min(draw("c"), draw("d")), max(a, b, 1); small > 0 && small < large {
			root, proof = l.continues(large, small)
		}
		if rapid.Bool().Draw(rt, "bend") {
			root[rapid.IntRange(0, 31).Draw(rt, "byte")] ^= 1
		}
		if len(proof) > 0 && rapid.Bool().Draw(rt, "cut") {
			proof = proof[1:]
		}
		_, err := transparency.FindEvidence(l.key, l.checkpoint(t, a), l.checkpoint(t, b), root, proof)
		require.Error(rt, err)
	})
}

func TestG3toG5Evidence(t *testing.T) {
	f := newFork(t, 5, 12, 20)
	equal, err := f.evidence(t, 9, 9)
	require.NoError(t, err)
	differ, err := f.evidence(t, 9, 20)
	require.NoError(t, err)
	power, err := f.evidence(t, 8, 20)
	require.NoError(t, err)
	stranger := newPlainLog(t, origin).grow(9)
	cosigned := func(n []byte) []byte { // by somebody else, as well
		v, err := note.NewVerifier(f.key)
		require.NoError(t, err)
		open, err := note.Open(n, note.VerifierList(v))
		require.NoError(t, err)
		n, err = note.Sign(open, ed(t, "w.example", 1).At(noon))
		require.NoError(t, err)
		return n
	}
	for name, c := range map[string]struct {
		check  string
		of     transparency.Evidence
		change func(e *transparency.Evidence)
	}{
		"another log's note": {"G3", equal, func(e *transparency.Evidence) { e.Other = stranger.checkpoint(t, 9) }},
		"another log's key":  {"G3", equal, func(e *transparency.Evidence) { e.Key = stranger.key }},
		"an altered root": {"G3", differ, func(e *transparency.Evidence) {
			e.Smaller = bytes.Replace(e.Smaller, []byte("\n9\n"), []byte("\n7\n"), 1)
		}},
		"the same twice":              {"G4", equal, func(e *transparency.Evidence) { e.Other = e.Smaller }},
		"the same, cosigned":          {"G4", equal, func(e *transparency.Evidence) { e.Other = cosigned(e.Smaller) }},
		"in the wrong order":          {"G4", equal, func(e *transparency.Evidence) { e.Smaller, e.Other = e.Other, e.Smaller }},
		"the larger first":            {"G4", differ, func(e *transparency.Evidence) { e.Smaller, e.Other = e.Other, e.Smaller }},
		"a proof for nothing":         {"G4", equal, func(e *transparency.Evidence) { e.Proof = differ.Proof }},
		"a root for nothing":          {"G4", equal, func(e *transparency.Evidence) { e.Root = differ.Root }},
		"it only shrank":              {"G5", differ, func(e *transparency.Evidence) { e.Root, e.Proof = tlog.Hash{}, nil }},
		"it only grew":                {"G5", differ, func(e *transparency.Evidence) { e.Smaller = f.other.checkpoint(t, 9) }},
		"from nothing":                {"G5", differ, func(e *transparency.Evidence) { e.Smaller = f.checkpoint(t, 0) }},
		"another root":                {"G5", differ, func(e *transparency.Evidence) { e.Root[0]++ }},
		"another hash":                {"G5", differ, func(e *transparency.Evidence) { e.Proof = append([]tlog.Hash{{1}}, e.Proof[1:]...) }},
		"a hash less":                 {"G5", differ, func(e *transparency.Evidence) { e.Proof = e.Proof[1:] }},
		"a hash more":                 {"G5", differ, func(e *transparency.Evidence) { e.Proof = append(e.Proof[:len(e.Proof):len(e.Proof)], tlog.Hash{}) }},
		"another root of a full tree": {"G5", power, func(e *transparency.Evidence) { e.Root[0]++ }},
		"another size":                {"G5", differ, func(e *transparency.Evidence) { e.Smaller = f.checkpoint(t, 8) }},
	} {
		e := c.of
		_, _, err := e.Verify(f.key)
		require.NoError(t, err)
		c.change(&e)
		_, _, err = e.Verify(f.key)
		requireCheck(t, c.check, err, name)
	}
	equal.Smaller, equal.Other = cosigned(equal.Smaller), cosigned(equal.Other)
	_, _, err = equal.Verify(f.key)
	require.NoError(t, err, "a witness that colluded stands in it for all to see")
}

func TestG2EvidenceHasOneSpelling(t *testing.T) {
	e, err := newFork(t, 3, 7, 11).evidence(t, 7, 11)
	require.NoError(t, err)
	text := string(e.Marshal())
	lines := strings.SplitN(text, "\n", 5)
	require.Equal(t, "waxwing/log-evidence@v1", lines[0])
	require.Equal(t, "key "+e.Key, lines[1])
	require.Equal(t, fmt.Sprintf("notes %d %d", len(e.Smaller), len(e.Other)), lines[2])
	require.Equal(t, "root "+base64.StdEncoding.EncodeToString(e.Root[:]), lines[3])
	require.True(t, strings.HasSuffix(text, "\n\n"+string(e.Smaller)+string(e.Other)))
	many := e
	many.Proof = make([]tlog.Hash, 65)
	for name, bad := range map[string]string{
		"empty":               "",
		"another version":     strings.Replace(text, "@v1", "@v2", 1),
		"CRLF":                strings.ReplaceAll(text, "\n", "\r\n"),
		"no key":              strings.Replace(text, "key ", "", 1),
		"key ID":              strings.Replace(text, "key "+origin+"+", "key "+origin+"+0", 1),
		"notes with a plus":   strings.Replace(text, "notes ", "notes +", 1),
		"notes with a zero":   strings.Replace(text, "notes ", "notes 0", 1),
		"notes too long":      strings.Replace(text, fmt.Sprint("notes ", len(e.Smaller)), "notes 70000", 1),
		"notes negative":      strings.Replace(text, "notes ", "notes -", 1),
		"one number":          strings.Replace(text, fmt.Sprint(" ", len(e.Other), "\n"), "\n", 1),
		"another second one":  strings.Replace(text, fmt.Sprint(" ", len(e.Other), "\n"), " 1\n", 1),
		"a proof and no root": strings.Replace(text, lines[3]+"\n", "", 1),
		"root of 31 bytes":    strings.Replace(text, lines[3], "root "+base64.StdEncoding.EncodeToString(e.Root[1:]), 1),
		"a space":             strings.Replace(text, "root ", "root  ", 1),
		"65 hashes":           string(many.Marshal()),
		"too long":            text + strings.Repeat("x", transparency.MaxEvidence),
	} {
		got, err := transparency.ParseEvidence([]byte(bad))
		require.Error(t, err, name)
		require.Zero(t, got, name)
	}
	for i := range text {
		if got, err := transparency.ParseEvidence([]byte(text[:i])); err == nil {
			_, _, err = got.Verify(e.Key)
			require.Error(t, err, "cut at %d", i)
		}
		bent := []byte(text)
		bent[i] ^= 1
		if got, err := transparency.ParseEvidence(bent); err == nil {
			require.Equal(t, bent, got.Marshal())
		}
	}
}

func TestG1Sighting(t *testing.T) {
	s := transparency.Sighting{Origin: transparency.OriginHash(origin), Size: 0x0102030405, Root: tlog.Hash{31: 9}}
	b := s.Marshal()
	require.Equal(t, append(append(s.Origin[:], 0, 0, 0, 1, 2, 3, 4, 5), s.Root[:]...), b)
	require.Len(t, b, transparency.SightingSize)
	got, err := transparency.ParseSighting(b)
	require.NoError(t, err)
	require.Equal(t, s, got)
	for _, size := range []int64{0, -1, 1<<62 + 1} {
		s.Size = size
		got, err := transparency.ParseSighting(s.Marshal())
		requireCheck(t, "G1", err, size)
		require.Zero(t, got)
	}
	for n := range b {
		_, err := transparency.ParseSighting(b[:n])
		require.Error(t, err)
	}
	_, err = transparency.ParseSighting(append(b, 0))
	require.Error(t, err)
	require.NotEqual(t, transparency.OriginHash(origin), transparency.OriginHash("b.example/waxwing/log"))
}

func TestLogOpen(t *testing.T) {
	l := newLog(t).grow(3)
	c, err := l.pinned().Open(l.checkpoint(t, 2))
	require.NoError(t, err)
	require.Equal(t, int64(2), c.Size)
	_, err = l.pinned().Open(newLog(t).grow(3).checkpoint(t, 2))
	requireCheck(t, "A1", err)
}

func FuzzParseSighting(f *testing.F) {
	f.Add(transparency.Sighting{Size: 1}.Marshal())
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := transparency.ParseSighting(b)
		if err != nil {
			require.Zero(t, s)
			return
		}
		require.Equal(t, b, s.Marshal())
		require.Positive(t, s.Size)
	})
}

func FuzzParseEvidence(f *testing.F) {
	fork := newFork(f, 3, 8, 11)
	for _, sizes := range [][2]int64{{7, 7}, {7, 11}, {8, 4}} {
		e, err := fork.evidence(f, sizes[0], sizes[1])
		require.NoError(f, err)
		f.Add(e.Marshal())
	}
	f.Add([]byte("waxwing/log-evidence@v1\nkey x\nnotes 0 0\n\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		e, err := transparency.ParseEvidence(text)
		if err != nil {
			require.Zero(t, e)
			return
		}
		require.Equal(t, text, e.Marshal())
		if smaller, other, err := e.Verify(e.Key); err == nil {
			require.Positive(t, smaller.Size)
			require.NotEqual(t, smaller, other)
		}
	})
}
