package prefixtree_test

import (
	"bytes"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/waxwing-dm/waxwing/transparency/prefixtree"
)

// TestTreeIsTheMap puts and asks in any order, and compares with the second implementation and with all the trees there were.
func TestTreeIsTheMap(t *testing.T) {
	type past struct {
		tree prefixtree.Tree
		m    model
		root array
	}
	rapid.Check(t, func(t *rapid.T) {
		m, tree := model{}, prefixtree.Tree{}
		var before []past
		draw := func() array { return labels().Draw(t, "label") }
		t.Repeat(map[string]func(*rapid.T){
			"put": func(t *rapid.T) {
				before = append(before, past{tree, maps.Clone(m), tree.Root()})
				label, v := draw(), value(rapid.IntRange(0, 3).Draw(t, "value"))
				tree, m[label] = tree.Put(label, v), v
			},
			"put all": func(t *rapid.T) {
				before = append(before, past{tree, maps.Clone(m), tree.Root()})
				more := model{}
				for range rapid.IntRange(0, 12).Draw(t, "leaves") {
					more[draw()] = value(rapid.IntRange(0, 3).Draw(t, "value"))
				}
				given := more.sorted()
				next, err := tree.PutAll(given)
				require.NoError(t, err)
				clear(given) // it is the caller's
				maps.Copy(m, more)
				tree = next
			},
			"prove": func(t *rapid.T) { requireTrue(t, tree, m, tree.Root(), draw()) },
			"the past": func(t *rapid.T) {
				if len(before) == 0 {
					t.Skip("no past")
				}
				p := rapid.SampledFrom(before).Draw(t, "past")
				require.Equal(t, p.root, p.tree.Root())
				require.Equal(t, len(p.m), p.tree.Len())
				requireTrue(t, p.tree, p.m, p.root, draw())
				for label := range m { // also those that came later
					requireTrue(t, p.tree, p.m, p.root, label)
				}
			},
			"": func(t *rapid.T) {
				require.Equal(t, m.root(), tree.Root())
				require.Equal(t, len(m), tree.Len())
			},
		})
	})
}

func TestBuildIsPutInAnyOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := model{}
		for i, label := range rapid.SliceOfN(labels(), 0, 60).Draw(t, "labels") {
			m[label] = value(i)
		}
		built, sorted := build(t, m), m.sorted()
		require.Equal(t, m.root(), built.Root())
		require.Equal(t, len(m), built.Len())
		var one, some prefixtree.Tree
		for _, l := range rapid.Permutation(sorted).Draw(t, "order") {
			one = one.Put(l.Label, value(-1)).Put(l.Label, l.Value)
		}
		require.Equal(t, built.Root(), one.Root())
		require.Equal(t, built.Len(), one.Len())
		parts := []model{{}, {}, {}}
		for _, l := range sorted {
			parts[rapid.IntRange(0, 2).Draw(t, "part")][l.Label] = l.Value
		}
		for _, part := range parts {
			var err error
			some, err = some.PutAll(part.sorted())
			require.NoError(t, err)
		}
		require.Equal(t, built.Root(), some.Root())
		require.Equal(t, built.Len(), some.Len())
	})
}

func TestBuildRefusesWhatIsNotAscending(t *testing.T) {
	good := of(20).sorted()
	tree := prefixtree.Tree{}.Put(name(50), value(50))
	for what, leaves := range map[string][]prefixtree.Leaf{
		"swapped":                  slices.Concat(good[:7], []prefixtree.Leaf{good[8], good[7]}, good[9:]),
		"the first one last":       slices.Concat(good[1:], good[:1]),
		"descending":               {good[1], good[0]},
		"twice":                    {good[0], good[1], good[1]},
		"twice, with other values": {good[0], {Label: good[0].Label, Value: value(-1)}},
	} {
		_, err := prefixtree.Build(leaves)
		require.ErrorContains(t, err, "does not come after", what)
		next, err := tree.PutAll(leaves)
		require.Error(t, err, what)
		require.Equal(t, tree, next, what)
	}
}

// TestEverySize proves all that is there and much that is not, in trees of every size, and then again from trees that have
// since grown.
func TestEverySize(t *testing.T) {
	const sizes, absent = 300, 24
	trees := []prefixtree.Tree{{}}
	for n := range sizes {
		trees = append(trees, trees[n].Put(name(n), value(n)))
	}
	m, random := model{}, rand.New(rand.NewPCG(1, 2))
	for n, tree := range trees {
		root := m.root()
		require.Equal(t, root, tree.Root())
		require.Equal(t, n, tree.Len())
		for i := range n + absent {
			requireTrue(t, tree, m, root, name(i))
		}
		for range absent {
			near := flip(name(random.IntN(n+1)), random.IntN(256))
			requireTrue(t, tree, m, root, near)
		}
		m[name(n)] = value(n)
	}
}

// TestDeepestTree has a node at every depth there is.
func TestDeepestTree(t *testing.T) {
	m := model{array{}: value(0)}
	for i := range 256 {
		m[flip(array{}, i)] = value(i)
	}
	tree := build(t, m)
	require.Equal(t, m.root(), tree.Root())
	for label := range m {
		requireTrue(t, tree, m, tree.Root(), label)
		requireTrue(t, tree, m, tree.Root(), flip(label, 3, 77))
	}
	require.Len(t, tree.Prove(array{}).Marshal(), 3+32+256*32)
}

func TestSortedMeansByBytes(t *testing.T) {
	sorted := of(100).sorted()
	for i := 1; i < len(sorted); i++ {
		require.Negative(t, bytes.Compare(sorted[i-1].Label[:], sorted[i].Label[:]))
		require.Less(t, bitsOf(sorted[i-1].Label), bitsOf(sorted[i].Label), "the order of labels is the order of leaves")
	}
}
