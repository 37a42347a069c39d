package prefixtree_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/transparency/prefixtree"
)

// FuzzProof reads any bytes as a proof about a fixed tree: whatever verifies is true, and is what Prove says.
func FuzzProof(f *testing.F) {
	m := of(50)
	for i, l := range smallLabels[:12] {
		m[l] = value(i)
	}
	tree := build(f, m)
	root := tree.Root()
	asked := append(append([]array{}, smallLabels...), name(0), name(1), name(50), name(51))
	for i, label := range asked {
		f.Add(byte(i), tree.Prove(label).Marshal())
	}
	for _, b := range [][]byte{nil, {1, 0, 0}, {1, 1, 0}, {1, 1, 33}, {1, 3, 0, 255}, {1, 2, 1, 0x80}} {
		f.Add(byte(0), b)
	}
	f.Fuzz(func(t *testing.T, which byte, b []byte) {
		p, err := prefixtree.ParseProof(b)
		if err != nil {
			require.Zero(t, p)
			return
		}
		require.Equal(t, b, p.Marshal())
		label := asked[int(which)%len(asked)]
		v, ok := m[label]
		there, absent := p.Verify(root, label, v) == nil, p.VerifyAbsence(root, label) == nil
		if there || absent {
			require.Equal(t, ok, there)
			require.Equal(t, !ok, absent)
			require.Equal(t, tree.Prove(label), p)
		}
		after, err := p.VerifyInsert(root, label, value(-1))
		require.Equal(t, absent, err == nil)
		if absent {
			require.Equal(t, tree.Put(label, value(-1)).Root(), after)
		}
		after, err = p.VerifyReplace(root, label, v, value(-1))
		require.Equal(t, there, err == nil)
		if there {
			require.Equal(t, tree.Put(label, value(-1)).Root(), after)
		}
	})
}

// FuzzTree reads three bytes as one put: two bits of the label that are turned, and the value. The root is followed without the
// map, too.
func FuzzTree(f *testing.F) {
	f.Add([]byte("aaabbbcccaad"))
	f.Add([]byte{0, 0, 0, 0, 1, 0, 0, 2, 0, 0, 255, 0, 0, 1, 1})
	f.Add([]byte{1, 2, 3, 255, 254, 3, 8, 7, 1, 1, 2, 4})
	f.Fuzz(func(t *testing.T, b []byte) {
		m, tree := model{}, prefixtree.Tree{}
		root := tree.Root()
		for ; len(b) >= 3 && len(m) < 64; b = b[3:] {
			label, v := flip(array{}, int(b[0]), int(b[1])), value(int(b[2]))
			p := throughBytes(t, tree.Prove(label))
			old, there := m[label]
			var after array
			var err error
			if there {
				after, err = p.VerifyReplace(root, label, old, v)
			} else {
				after, err = p.VerifyInsert(root, label, v)
			}
			require.NoError(t, err)
			before := tree
			tree, m[label] = tree.Put(label, v), v
			require.Equal(t, after, tree.Root())
			require.Equal(t, root, before.Root())
			require.Equal(t, p, before.Prove(label))
			root = after
		}
		require.Equal(t, m.root(), root)
		require.Equal(t, build(t, m).Root(), root)
		require.Equal(t, len(m), tree.Len())
		for label := range m {
			requireTrue(t, tree, m, root, label)
			requireTrue(t, tree, m, root, flip(label, 17))
		}
	})
}
