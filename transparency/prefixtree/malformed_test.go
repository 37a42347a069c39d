package prefixtree_test

import (
	"maps"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/waxwing-dm/waxwing/transparency/prefixtree"
)

// A made tree is whatever its maker likes: leaves where they do not belong, depths in any order, prefixes of something else,
// empty trees within. It is hashed as the spec says, and proofs are written from it byte by byte.
type made struct {
	leaf     *prefixtree.Leaf
	children []*made // none or two
	prefix   string  // its length is the depth
}

func (x *made) hash() array {
	switch {
	case x.leaf != nil:
		return naiveLeaf(x.leaf.Label, x.leaf.Value)
	case x.children != nil:
		return naiveNode(x.prefix, x.children[0].hash(), x.children[1].hash())
	}
	return hashOf("waxwing map void v1\x00")
}

// A place in a made tree, with the way to it: the nodes above it from the root down, and the side taken at each.
type place struct {
	above []*made
	sides []int
	end   *made
}

func (x *made) places() []place {
	var out []place
	var walk func(p place)
	walk = func(p place) {
		out = append(out, p)
		for side, child := range p.end.children {
			walk(place{append(slices.Clone(p.above), p.end), append(slices.Clone(p.sides), side), child})
		}
	}
	walk(place{end: x})
	return out
}

func (p place) path() (bitmap, siblings []byte) {
	bitmap = make([]byte, 32)
	used := 0
	for i, x := range p.above {
		d := len(x.prefix)
		bitmap[d/8] |= 0x80 >> (d % 8)
		used = max(used, d/8+1)
		h := x.children[1-p.sides[i]].hash()
		siblings = append(siblings, h[:]...)
	}
	return bitmap[:used], siblings
}

// proofs are all that can be said of a place, in bytes.
func (p place) proofs() [][]byte {
	bitmap, siblings := p.path()
	proof := func(kind byte, rest ...byte) []byte {
		return slices.Concat([]byte{1, kind, byte(len(bitmap))}, bitmap, siblings, rest)
	}
	x := p.end
	switch {
	case x.leaf != nil:
		return [][]byte{proof(1), proof(2, slices.Concat(x.leaf.Label[:], x.leaf.Value[:])...)}
	case x.children != nil:
		bits := packed(x.prefix)
		l, r := x.children[0].hash(), x.children[1].hash()
		return [][]byte{proof(3, slices.Concat([]byte{byte(len(x.prefix))}, bits[:(len(x.prefix)+7)/8], l[:], r[:])...)}
	}
	return [][]byte{proof(0)}
}

// copyWith is the tree around the place with something else in it.
func (p place) copyWith(end *made) *made {
	for i := len(p.above) - 1; i >= 0; i-- {
		x := *p.above[i]
		x.children = slices.Clone(x.children)
		x.children[p.sides[i]] = end
		end = &x
	}
	return end
}

// of is the same place on the way of a label. It may be the other one of two equal children: a proof cannot tell them apart.
func (p place) of(label array) place {
	sides := make([]int, len(p.above))
	for i, x := range p.above {
		sides[i] = int(bitsOf(label)[len(x.prefix)] - '0')
	}
	return place{p.above, sides, p.end}
}

// A shown answer is one that some proof from the tree verifies for.
type shown struct {
	value   array
	present bool
}

// answers tries every proof of every place for every label and value.
func (x *made) answers(labels, values []array, each func(label array, s shown, p place, proof prefixtree.Proof)) {
	root := x.hash()
	for _, at := range x.places() {
		for _, b := range at.proofs() {
			proof, err := prefixtree.ParseProof(b)
			if err != nil {
				continue
			}
			for _, label := range labels {
				if proof.VerifyAbsence(root, label) == nil {
					each(label, shown{}, at, proof)
				}
				for _, v := range values {
					if proof.Verify(root, label, v) == nil {
						each(label, shown{v, true}, at, proof)
					}
				}
			}
		}
	}
}

// table is every label's answer; a second one is what the package promises cannot be.
func (x *made) table(t require.TestingT, labels, values []array) map[array]shown {
	out := map[array]shown{}
	x.answers(labels, values, func(label array, s shown, _ place, _ prefixtree.Proof) {
		before, twice := out[label]
		require.False(t, twice && before != s, "two answers for one label and root")
		out[label] = s
	})
	return out
}

// A small world, in which the trees below cannot but meet the same labels again and again.
var (
	live        = []int{0, 1, 8, 255}
	smallValues = []array{value(0), value(1), value(2)}
	smallLabels = func() (all []array) {
		for set := range 1 << len(live) {
			var l array
			for i, at := range live {
				if set>>i&1 == 1 {
					l = flip(l, at)
				}
			}
			all = append(all, l)
		}
		return all
	}()
)

// malformed trees are right at most points, or hardly a proof would verify.
func malformed(t *rapid.T, begin string, height int) *made {
	oneIn := func(n int) bool { return rapid.IntRange(1, n).Draw(t, "odd") == 1 }
	odd := func() bool { return oneIn(8) }
	within := slices.DeleteFunc(slices.Clone(smallLabels), func(l array) bool { return shared(bitsOf(l), begin) < len(begin) })
	if odd() || len(within) == 0 {
		within = smallLabels
	}
	some := rapid.SampledFrom(within).Draw(t, "label")
	if oneIn(60) {
		return &made{}
	}
	later := slices.DeleteFunc(slices.Clone(live), func(d int) bool { return d < len(begin) })
	if height == 0 || len(later) == 0 || rapid.IntRange(0, 3).Draw(t, "leaf") == 0 {
		return &made{leaf: &prefixtree.Leaf{Label: some, Value: rapid.SampledFrom(smallValues[:2]).Draw(t, "value")}}
	}
	depth := rapid.SampledFrom(later).Draw(t, "depth")
	if odd() {
		depth = rapid.SampledFrom([]int{0, 1, 2, 7, 8, 9, 254, 255}).Draw(t, "any depth")
	}
	prefix := bitsOf(some)[:depth]
	left, right := prefix+"0", prefix+"1"
	if odd() {
		left, right = right, left
	}
	x := &made{prefix: prefix, children: []*made{malformed(t, left, height-1), malformed(t, right, height-1)}}
	if odd() {
		x.prefix = bitsOf(rapid.SampledFrom(smallLabels).Draw(t, "another prefix"))[:depth]
	}
	return x
}

// TestOneAnswerWhateverTheTree: no label has two answers in any tree, and no put that verifies changes another label's.
func TestOneAnswerWhateverTheTree(t *testing.T) {
	present, absent, puts := 0, 0, 0
	rapid.Check(t, func(t *rapid.T) {
		tree := malformed(t, "", 4)
		root, before := tree.hash(), tree.table(t, smallLabels, smallValues)
		for _, s := range before {
			if s.present {
				present++
			} else {
				absent++
			}
		}
		put := smallValues[2] // is in no tree
		tree.answers(smallLabels, smallValues, func(label array, s shown, at place, proof prefixtree.Proof) {
			next := &made{leaf: &prefixtree.Leaf{Label: label, Value: put}}
			var after array
			var err error
			if s.present {
				after, err = proof.VerifyReplace(root, label, s.value, put)
			} else {
				after, err = proof.VerifyInsert(root, label, put)
				next = fork(label, next, at.end)
			}
			require.NoError(t, err)
			changed := at.of(label).copyWith(next)
			require.Equal(t, changed.hash(), after)
			expected := maps.Clone(before)
			expected[label] = shown{put, true}
			require.Equal(t, expected, changed.table(t, smallLabels, smallValues))
			puts++
		})
	})
	require.NotZero(t, present, "the trees are so odd that nothing can be proved")
	require.NotZero(t, absent)
	require.NotZero(t, puts)
}

// fork is what stands at x once the new leaf has been put there.
func fork(label array, leaf, x *made) *made {
	begin := x.prefix
	switch {
	case x.leaf != nil:
		begin = bitsOf(x.leaf.Label)
	case x.children == nil:
		return leaf
	}
	n := shared(bitsOf(label), begin)
	children := []*made{leaf, x}
	if begin[n] == '0' {
		children = []*made{x, leaf}
	}
	return &made{prefix: begin[:n], children: children}
}

// honest is the tree of a map.
func (m model) honest() *made {
	x := &made{}
	for i, l := range m.sorted() {
		leaf := &made{leaf: &l}
		if i == 0 {
			x = leaf
			continue
		}
		at := place{end: x}
		for at.end.children != nil && shared(bitsOf(l.Label), at.end.prefix) == len(at.end.prefix) {
			side := int(bitsOf(l.Label)[len(at.end.prefix)] - '0')
			at = place{append(at.above, at.end), append(at.sides, side), at.end.children[side]}
		}
		x = at.copyWith(fork(l.Label, leaf, at.end))
	}
	return x
}

// TestEveryProofOfAnHonestTree is the control of the test above: in a tree as it should be, the same search finds for every
// label exactly what the map says, and finds it with the bytes that Prove gives.
func TestEveryProofOfAnHonestTree(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := model{}
		for _, label := range rapid.SliceOf(rapid.SampledFrom(smallLabels)).Draw(t, "labels") {
			m[label] = rapid.SampledFrom(smallValues).Draw(t, "value")
		}
		x, tree := m.honest(), build(t, m)
		require.Equal(t, tree.Root(), x.hash())
		answers := x.table(t, smallLabels, smallValues)
		for _, label := range smallLabels {
			v, ok := m[label]
			require.Equal(t, shown{v, ok}, answers[label])
		}
		x.answers(smallLabels, smallValues, func(label array, _ shown, _ place, proof prefixtree.Proof) {
			require.Equal(t, tree.Prove(label).Marshal(), proof.Marshal(), "a true statement has one proof")
		})
	})
}
