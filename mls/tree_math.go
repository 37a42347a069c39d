package mls

import "math/bits"

// Appendix C: a tree as an array. Leaves and nodes are different types, so that one cannot index the other.
type (
	leafIndex uint32
	nodeIndex uint32
)

func (l leafIndex) node() nodeIndex { return nodeIndex(2 * l) }

func (x nodeIndex) isLeaf() bool { return x&1 == 0 }

func (x nodeIndex) leaf() leafIndex { return leafIndex(x / 2) }

// level is 0 for a leaf and one more for each step up.
func (x nodeIndex) level() uint {
	return uint(bits.TrailingZeros32(^uint32(x)))
}

func nodeWidth(leaves uint32) uint32 {
	if leaves == 0 {
		return 0
	}
	return 2*leaves - 1
}

// root of a tree of that many leaves, a power of two.
func root(leaves uint32) nodeIndex { return nodeIndex(leaves - 1) }

func (x nodeIndex) left() nodeIndex { return x ^ (1 << (x.level() - 1)) }

func (x nodeIndex) right() nodeIndex { return x ^ (3 << (x.level() - 1)) }

func (x nodeIndex) parent() nodeIndex {
	k := x.level()
	return (x | 1<<k) &^ (1 << (k + 1))
}

func (x nodeIndex) sibling() nodeIndex {
	p := x.parent()
	if x < p {
		return p.right()
	}
	return p.left()
}

// covers says whether the leaf is in the subtree of x.
func (x nodeIndex) covers(l leafIndex) bool {
	k := x.level()
	n := l.node()
	return n>>(k+1) == x>>(k+1)
}

// directPath of x in a tree with that root: its ancestors, lowest first. The root's is empty.
func (x nodeIndex) directPath(r nodeIndex) []nodeIndex {
	var path []nodeIndex
	for x != r {
		x = x.parent()
		path = append(path, x)
	}
	return path
}
