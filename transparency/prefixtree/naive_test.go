package prefixtree_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/waxwing-dm/waxwing/transparency/prefixtree"
)

// The second implementation: bits as text, the whole tree hashed from the sorted map each time, nothing shared with the
// package.

type (
	array = [32]byte
	model map[array]array
)

func hashOf(parts ...string) array { return sha256.Sum256([]byte(strings.Join(parts, ""))) }

func str(a array) string { return string(a[:]) }

// bitsOf a label, as 256 characters 0 and 1.
func bitsOf(label array) string {
	var b strings.Builder
	for i := range 256 {
		b.WriteByte('0' + label[i/8]>>(7-i%8)&1)
	}
	return b.String()
}

// packed is a string of bits as 32 bytes, zero behind its end.
func packed(bits string) (label array) {
	for i, c := range bits {
		label[i/8] |= byte(c-'0') << (7 - i%8)
	}
	return label
}

// shared is what two strings of bits begin with.
func shared(a, b string) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}

func naiveLeaf(label, value array) array {
	return hashOf("waxwing map leaf v1\x00", str(label), str(value))
}

func naiveNode(prefix string, left, right array) array {
	return hashOf("waxwing map node v1\x00", string([]byte{byte(len(prefix))}), str(packed(prefix)), str(left), str(right))
}

func (m model) root() array {
	var all []string
	for label := range m {
		all = append(all, bitsOf(label))
	}
	slices.Sort(all)
	return m.rootOf(all)
}

func (m model) rootOf(sorted []string) array {
	switch len(sorted) {
	case 0:
		return hashOf("waxwing map void v1\x00")
	case 1:
		label := packed(sorted[0])
		return naiveLeaf(label, m[label])
	}
	n := shared(sorted[0], sorted[len(sorted)-1])
	half := slices.IndexFunc(sorted, func(s string) bool { return s[n] == '1' })
	return naiveNode(sorted[0][:n], m.rootOf(sorted[:half]), m.rootOf(sorted[half:]))
}

func (m model) sorted() []prefixtree.Leaf {
	var out []prefixtree.Leaf
	for _, label := range slices.SortedFunc(maps.Keys(m), func(a, b array) int { return bytes.Compare(a[:], b[:]) }) {
		out = append(out, prefixtree.Leaf{Label: label, Value: m[label]})
	}
	return out
}

// name is a label as they are in a log.
func name(i int) array {
	return sha256.Sum256(binary.BigEndian.AppendUint64([]byte("label"), uint64(i)))
}

func value(i int) array {
	return sha256.Sum256(binary.BigEndian.AppendUint64([]byte("value"), uint64(i)))
}

// of is a map of the first n names.
func of(n int) model {
	m := model{}
	for i := range n {
		m[name(i)] = value(i)
	}
	return m
}

func build(t require.TestingT, m model) prefixtree.Tree {
	tree, err := prefixtree.Build(m.sorted())
	require.NoError(t, err)
	return tree
}

// flip gives the label with some bits turned.
func flip(label array, bits ...int) array {
	for _, i := range bits {
		label[i/8] ^= 0x80 >> (i % 8)
	}
	return label
}

// labels that lie everywhere, or close together: some have long prefixes in common and part in the last bit.
func labels() *rapid.Generator[array] {
	return rapid.Custom(func(t *rapid.T) array {
		if rapid.Bool().Draw(t, "far") {
			return name(rapid.IntRange(0, 1000).Draw(t, "name"))
		}
		turned := rapid.SampledFrom([]int{0, 1, 7, 8, 9, 63, 64, 127, 128, 200, 254, 255})
		return flip(array{}, rapid.SliceOfN(turned, 0, 6).Draw(t, "bits")...)
	})
}

// throughBytes marshals a proof and reads it again, as a reader gets it.
func throughBytes(t require.TestingT, p prefixtree.Proof) prefixtree.Proof {
	b := p.Marshal()
	got, err := prefixtree.ParseProof(b)
	require.NoError(t, err)
	require.True(t, bytes.Equal(b, got.Marshal()), "%x", b)
	return got
}

// requireTrue holds that the tree is this map, as far as this label goes, and that it can prove what it says of it and cannot
// prove anything else.
func requireTrue(t require.TestingT, tree prefixtree.Tree, m model, root, label array) {
	v, ok := m[label]
	got, found := tree.Get(label)
	require.Equal(t, ok, found)
	require.Equal(t, v, got)
	p := throughBytes(t, tree.Prove(label))
	if ok {
		require.NoError(t, p.Verify(root, label, v))
		requireCheck(t, "T8", p.Verify(root, label, flip(v, 255)))
		requireCheck(t, "T8", p.Verify(flip(root, 0), label, v))
		requireCheck(t, "T5", p.VerifyAbsence(root, label))
		return
	}
	require.NoError(t, p.VerifyAbsence(root, label))
	requireCheck(t, "T8", p.VerifyAbsence(flip(root, 0), label))
	requireCheck(t, "T5", p.Verify(root, label, v))
}

func requireCheck(t require.TestingT, check string, err error, about ...any) {
	if h, ok := t.(testing.TB); ok {
		h.Helper()
	}
	require.Error(t, err, about...)
	require.True(t, strings.HasPrefix(err.Error(), "prefixtree: check "+check+": "), "not %s: %v %v", check, err, about)
}
