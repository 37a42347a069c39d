package prefixtree_test

import (
	"encoding/hex"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/transparency/prefixtree"
)

// samples are proofs of every kind, with what they prove.
type sample struct {
	kind        byte
	root, label array
	value       array
	bytes       []byte
}

func samples() []sample {
	byKind := map[byte]int{}
	var out []sample
	for _, n := range []int{0, 1, 2, 3, 17, 100} {
		m := of(n)
		tree, _ := prefixtree.Build(m.sorted())
		for i := range n + 40 {
			b := tree.Prove(name(i)).Marshal()
			if byKind[b[1]]++; byKind[b[1]] <= 12 || i == n-1 {
				out = append(out, sample{b[1], tree.Root(), name(i), m[name(i)], b})
			}
		}
	}
	return out
}

// holds says whether the bytes are a proof of the sample's statement, or why not.
func (s sample) holds(b []byte) error {
	p, err := prefixtree.ParseProof(b)
	if err != nil {
		return err
	}
	if s.kind == 1 {
		return p.Verify(s.root, s.label, s.value)
	}
	return p.VerifyAbsence(s.root, s.label)
}

func TestT8EveryBitOfAProofCounts(t *testing.T) {
	kinds := map[byte]bool{}
	for _, s := range samples() {
		kinds[s.kind] = true
		require.NoError(t, s.holds(s.bytes))
		for i := range 8 * len(s.bytes) {
			b := slices.Clone(s.bytes)
			b[i/8] ^= 0x80 >> (i % 8)
			require.Error(t, s.holds(b), "kind %d, bit %d of %x", s.kind, i, s.bytes)
			if p, err := prefixtree.ParseProof(b); err == nil {
				require.Equal(t, b, p.Marshal(), "two encodings of one proof")
			}
		}
	}
	require.Len(t, kinds, 4)
}

func TestT1CutAndExtended(t *testing.T) {
	for _, s := range samples() {
		for n := range s.bytes {
			requireCheck(t, "T1", s.holds(s.bytes[:n]), n)
		}
		for _, more := range [][]byte{{0}, {1}, make([]byte, 32), make([]byte, 64), s.bytes} {
			requireCheck(t, "T1", s.holds(slices.Concat(s.bytes, more)), len(more))
		}
	}
}

func TestMalformedBytes(t *testing.T) {
	hash := make([]byte, 32)
	join := func(parts ...[]byte) []byte { return slices.Concat(parts...) }
	long := func(n int) []byte { return append(make([]byte, n-1), 1) }
	for what, c := range map[string]struct {
		check string
		bytes []byte
	}{
		"nothing":                       {"T1", nil},
		"version 0":                     {"T1", []byte{0, 0, 0}},
		"version 2":                     {"T1", []byte{2, 0, 0}},
		"an unknown kind":               {"T1", []byte{1, 4, 0}},
		"no path":                       {"T1", []byte{1, 1}},
		"a path of 255 bytes, not here": {"T1", []byte{1, 1, 255}},
		"256 hashes, not here":          {"T1", join([]byte{1, 1, 32}, slices.Repeat([]byte{255}, 32), hash)},
		"a hash too few":                {"T1", join([]byte{1, 1, 1, 0xc0}, hash)},
		"a hash too many":               {"T1", join([]byte{1, 1, 1, 0x80}, hash, hash)},
		"half a leaf":                   {"T1", join([]byte{1, 2, 0}, hash)},
		"a leaf where one is there":     {"T1", join([]byte{1, 1, 0}, hash, hash)},
		"half a node":                   {"T1", join([]byte{1, 3, 0, 8, 0}, hash)},
		"a node without its prefix":     {"T1", join([]byte{1, 3, 0, 8}, hash, hash)},
		"a path of 33 bytes":            {"T2", join([]byte{1, 1, 33}, long(33), hash)},
		"a path that ends with nothing": {"T2", join([]byte{1, 1, 2, 0x80, 0}, hash)},
		"nothing but zero":              {"T2", []byte{1, 1, 1, 0}},
		"an empty tree with a path":     {"T3", join([]byte{1, 0, 1, 0x80}, hash)},
		"bits behind a prefix of 1":     {"T4", join([]byte{1, 3, 0, 1, 0xc0}, hash, hash)},
		"bits behind a prefix of 9":     {"T4", join([]byte{1, 3, 0, 9, 0, 0x81}, hash, hash)},
	} {
		p, err := prefixtree.ParseProof(c.bytes)
		requireCheck(t, c.check, err, what)
		require.Zero(t, p, what)
	}
	whole := join([]byte{1, 2, 32}, slices.Repeat([]byte{255}, 32), slices.Repeat(hash, 256+2))
	require.Len(t, whole, 8291)
	_, err := prefixtree.ParseProof(whole)
	require.NoError(t, err, "the longest there is")
}

// TestProofOfAnotherLabel tries every proof for every label: it holds if that is true and not otherwise.
func TestProofOfAnotherLabel(t *testing.T) {
	m := of(40)
	tree := build(t, m)
	root := tree.Root()
	for i := range 80 {
		p := throughBytes(t, tree.Prove(name(i)))
		for k := range 80 {
			v, ok := m[name(k)]
			if i != k {
				require.Error(t, p.Verify(root, name(k), v))
				require.Error(t, p.Verify(root, name(k), value(i)))
			}
			if ok {
				require.Error(t, p.VerifyAbsence(root, name(k)))
			}
		}
	}
}

// TestFollowWithoutTheMap is an auditor who has the entries and one proof for each, and knows nothing but the last root.
func TestFollowWithoutTheMap(t *testing.T) {
	var tree prefixtree.Tree
	m := model{}
	known := tree.Root()
	for i := range 400 {
		label, v := name(i*i%251), value(i)
		p := throughBytes(t, tree.Prove(label))
		old, there := m[label]
		var after array
		var err error
		if there {
			after, err = p.VerifyReplace(known, label, old, v)
			_, wrong := p.VerifyInsert(known, label, v)
			requireCheck(t, "T5", wrong)
			_, wrong = p.VerifyReplace(known, label, v, v)
			requireCheck(t, "T8", wrong)
		} else {
			after, err = p.VerifyInsert(known, label, v)
			_, wrong := p.VerifyReplace(known, label, old, v)
			requireCheck(t, "T5", wrong)
			zero, wrong := p.VerifyInsert(flip(known, 9), label, v)
			requireCheck(t, "T8", wrong)
			require.Zero(t, zero)
		}
		require.NoError(t, err)
		tree, m[label] = tree.Put(label, v), v
		require.Equal(t, tree.Root(), after)
		known = after
	}
	require.Equal(t, m.root(), known)
}

// TestMadeTrees are trees that no honest log has, and what somebody might wish to prove from them.
func TestMadeTrees(t *testing.T) {
	leaf := func(bits ...int) *made {
		return &made{leaf: &prefixtree.Leaf{Label: flip(array{}, bits...), Value: value(0)}}
	}
	node := func(prefix string, left, right *made) *made {
		return &made{prefix: prefix, children: []*made{left, right}}
	}
	zeros := func(n int) string { return strings.Repeat("0", n) }
	fork3 := node("0001000000", leaf(3), leaf(3, 10))
	fork4, fork8 := node(zeros(4), leaf(), leaf(4)), node(zeros(8), leaf(), leaf(8))
	for what, c := range map[string]struct {
		tree   *made
		sides  []int // the way to the place that is shown
		proof  int
		label  array
		refuse string
	}{
		// These are to hide a label that is there, or to show one where it cannot be.
		"a leaf with the label, as another one": {node("", leaf(5), leaf(0)), []int{0}, 1, flip(array{}, 5), "T6"},
		"a node on the label's own way":         {node("", node("0", leaf(), leaf(1)), leaf(0)), []int{0}, 0, array{}, "T6"},
		"a node of depth 0 as another one":      {node("", leaf(), leaf(0)), nil, 0, array{}, "T6"},
		"a leaf on the wrong side":              {node("", leaf(0), leaf(0, 1)), []int{0}, 1, array{}, "T7"},
		"a leaf that parts above its node":      {node(zeros(8), leaf(3), leaf(8)), []int{0}, 1, array{}, "T7"},
		"a node that parts above its node":      {node(zeros(8), fork3, leaf(8)), []int{0}, 0, array{}, "T7"},
		"a node on the wrong side":              {node("", node("1", leaf(0), leaf(0, 1)), leaf(0)), []int{0}, 0, array{}, "T7"},
		"present on the wrong side":             {node("", leaf(0), leaf(0, 1)), []int{0}, 0, flip(array{}, 0), "T8"},
		"present beneath another prefix":        {node("0001", leaf(), leaf(4)), []int{0}, 0, array{}, "T8"},
		"a neighbour from the other side":       {node("", leaf(1), leaf(0)), []int{1}, 1, flip(array{}, 1), "T7"},
		"a neighbour beneath another prefix":    {node("0001", leaf(3, 9), leaf(3, 4)), []int{0}, 1, flip(array{}, 2), "T7"},
		"depths that go down":                   {node(zeros(8), fork4, leaf(8)), []int{0, 0}, 0, array{}, "T8"},
		"one depth twice":                       {node(zeros(8), fork8, leaf(8)), []int{0, 0}, 0, array{}, "T1"},
		"an empty tree within":                  {node("", &made{}, leaf(0)), []int{0}, 0, array{}, "T3"},
	} {
		at := place{end: c.tree}
		for _, side := range c.sides {
			at = place{append(at.above, at.end), append(at.sides, side), at.end.children[side]}
		}
		b := at.proofs()[c.proof]
		requireCheck(t, c.refuse, sample{b[1], c.tree.hash(), c.label, value(0), b}.holds(b), what)
	}
}

// TestKindsDoNotMix shows the bytes of one kind of hash as another's. A leaf's label and value are as long as a node's children:
// who shows the root node as a leaf of its children's hashes must fail, and so must who shows a leaf as a node above its label
// and value.
func TestKindsDoNotMix(t *testing.T) {
	m := of(2)
	tree := build(t, m)
	s := m.sorted()
	n := shared(bitsOf(s[0].Label), bitsOf(s[1].Label))
	left, right := naiveLeaf(s[0].Label, s[0].Value), naiveLeaf(s[1].Label, s[1].Value)
	require.Equal(t, tree.Root(), naiveNode(bitsOf(s[0].Label)[:n], left, right))
	asLeaf := sample{2, tree.Root(), s[0].Label, array{}, nil}
	requireCheck(t, "T8", asLeaf.holds(slices.Concat([]byte{1, 2, 0}, left[:], right[:])))

	one := prefixtree.Tree{}.Put(s[0].Label, s[0].Value)
	asNode := sample{3, one.Root(), flip(s[0].Label, 0), array{}, nil}
	requireCheck(t, "T8", asNode.holds(slices.Concat([]byte{1, 3, 0, 1, s[0].Label[0] & 0x80}, s[0].Label[:], s[0].Value[:])))
	requireCheck(t, "T8", asNode.holds([]byte{1, 0, 0}), "a tree of one as an empty one")
}

const page = "../../spec/prefix-tree.md"

// TestExamplesOfTheSpec holds that the examples on the page are of this code.
func TestExamplesOfTheSpec(t *testing.T) {
	b, err := os.ReadFile(page)
	require.NoError(t, err)
	flat := regexp.MustCompile(`\s+`).ReplaceAllString(string(b), "")
	on := func(what string, b []byte) {
		t.Helper()
		require.Contains(t, flat, hex.EncodeToString(b), what)
	}
	fill := func(x byte) array { return array(slices.Repeat([]byte{x}, 32)) }
	var tree prefixtree.Tree
	root := tree.Root()
	on("the root of the empty tree", root[:])
	for _, x := range []byte{0x00, 0x0f, 0xf0} {
		tree = tree.Put(fill(x), fill(0x11))
		root := tree.Root()
		on("a root", root[:])
	}
	on("presence", tree.Prove(fill(0x0f)).Marshal())
	on("absence beside a leaf", tree.Prove(fill(0x0e)).Marshal())
	on("absence beside a node", tree.Prove(fill(0x40)).Marshal())
}

// TestChecksAreWrittenDown keeps the page and the code together: every refusal has its row, and a test that is there.
func TestChecksAreWrittenDown(t *testing.T) {
	read := func(names ...string) (all string) {
		for _, name := range names {
			b, err := os.ReadFile(name)
			require.NoError(t, err)
			all += string(b)
		}
		return all
	}
	first := func(text, pattern string) (found []string) {
		for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(text, -1) {
			found = append(found, m[1])
		}
		slices.Sort(found)
		return slices.Compact(found)
	}
	text := read(page)
	require.Equal(t, first(read("proof.go", "encoding.go"), `failed\("(T\d+)"`), first(text, `(?m)^\| (T\d+) \|`))
	tests := read("proof_test.go", "malformed_test.go", "tree_test.go", "fuzz_test.go")
	for _, name := range first(text, "`((?:Test|Fuzz)\\w+)`") {
		require.Contains(t, tests, "func "+name+"(", "named on the page")
	}
}
