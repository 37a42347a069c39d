// Package prefixtree is a map from 32-byte labels to 32-byte values whose root hash stands for all of it: a path-compressed
// binary Merkle trie with proofs of presence and of absence (spec/prefix-tree.md). It does no input or output.
//
// The tree has one leaf per label and a node wherever labels part. A [Tree] is a value that never changes: [Tree.Put] gives
// another one that shares all but a path, so the tree of the last witnessed size and that of the head stand side by side for
// little. Any number of goroutines may read and put. The root depends on what is in the map and not on the order in which it
// came. Labels are expected to be hashes or VRF outputs; others work, at the price of a path as deep as they have prefixes in
// common. Nothing is ever removed.
//
// # What a root binds
//
// Who publishes a root may have hashed anything at all: leaves on the wrong side, depths that go down, prefixes that are not
// those of what lies beneath. Still a root gives each label at most one answer. The argument needs only that nobody finds two
// inputs with one hash.
//
// The hash of a leaf covers its label and value; that of a node covers its depth, its prefix (the first depth bits of the
// labels beneath it) and both children; that of the empty tree is a constant. Each kind begins with a text of its own. So a
// hash can be opened as one of the three and in one way only. What is verified is a walk: from the root, at each node of
// depth d whose prefix the label begins with, to the child that bit d of the label names. (The prefixes on the way are not in
// the proof. The verifier takes them from the label, so a node with another one leads to another root.) Two proofs for one
// label and root therefore open the same nodes and turn the same way at each, until one of them ends. It ends as present at a
// leaf with this label; as absent at the empty tree, at a leaf with another label, or at a node with another prefix. Each of
// these excludes the others, and that the walk goes on. So both proofs end at the same place with the same answer, and if
// that is present, with the same value.
//
// [Proof.VerifyInsert] needs more: that putting a label changes no other label's answer, whatever the tree is. Let the walk
// end as absent at X, a leaf or node that parts from the label at bit c; the new root has a node of depth c in that place,
// above X and the new leaf. Another label that is answered inside X begins with X's prefix (for this a node's hash covers the
// prefix and not the depth alone), so its bit c is X's, and it finds X as before. One that ended at X as absent now ends at
// the new node, at the new leaf or at X, as absent too. All others leave the walk earlier, at nodes in which nothing but the
// hash of a child has changed. That c lies below the last node of the path is check T7. Hence who begins with the empty tree,
// or any other they know, and follows a log with VerifyInsert and [Proof.VerifyReplace] knows the root to be that of exactly
// these entries, and never had the map.
//
// What a root does not say is that it is the newest: that is the log's to prove.
package prefixtree

import (
	"bytes"
	"fmt"
	"sort"
)

// Tree is a map and its hashes. The zero value is empty.
type Tree struct {
	root ref
	size int
}

// Leaf is one label and its value.
type Leaf struct {
	Label, Value [32]byte
	// Note is the caller's, to find by the label what else there is of it. It is not of the map: no hash covers it, no proof shows it.
	Note int64
}

// A ref is a subtree and its hash. Hashes are kept in the parent, so that a walk touches no siblings.
type ref struct {
	node *node // nil: the subtree is the leaf
	leaf *Leaf // nil: there is no subtree. Under a node, any leaf of it, for the prefix
	hash [32]byte
}

// A node stands where the labels beneath it part for the first time: they share depth bits, and bit depth names the child.
type node struct {
	children [2]ref
	depth    uint8
}

// Build makes the tree of leaves in strictly ascending order of their labels.
func Build(leaves []Leaf) (Tree, error) { return Tree{}.PutAll(leaves) }

// PutAll is Put for each of the leaves, which stand in strictly ascending order of their labels. What lies above several of
// them is hashed once.
func (t Tree) PutAll(leaves []Leaf) (Tree, error) {
	for i := 1; i < len(leaves); i++ {
		if bytes.Compare(leaves[i-1].Label[:], leaves[i].Label[:]) >= 0 {
			return t, fmt.Errorf("prefixtree: putting %d leaves: label %d does not come after the one before it", len(leaves), i)
		}
	}
	if len(leaves) == 0 {
		return t, nil
	}
	root, added := t.root.putAll(leaves)
	return Tree{root, t.size + added}, nil
}

// Put gives the tree in which label has this value. t stays as it is.
func (t Tree) Put(label, value [32]byte) Tree { return t.PutLeaf(Leaf{Label: label, Value: value}) }

// PutLeaf is Put with a note.
func (t Tree) PutLeaf(l Leaf) Tree {
	root, added := t.root.putOne(l)
	return Tree{root, t.size + added}
}

// Get returns the value of a label.
func (t Tree) Get(label [32]byte) (value [32]byte, ok bool) {
	l, ok := t.Find(label)
	return l.Value, ok
}

// Find returns a label's leaf.
func (t Tree) Find(label [32]byte) (l Leaf, ok bool) {
	if l := t.root.nearest(label); l != nil && l.Label == label {
		return *l, true
	}
	return l, false
}

// Len is the number of labels.
func (t Tree) Len() int { return t.size }

// Root is the hash that stands for the whole map.
func (t Tree) Root() [32]byte {
	if t.root.leaf == nil {
		return hashEmpty
	}
	return t.root.hash
}

// depth of a leaf is the whole length of its label.
func (r ref) depth() int {
	if r.node == nil {
		return labelBits
	}
	return int(r.node.depth)
}

// nearest follows the bits of a label to a leaf, without a look at what the nodes skip. No leaf of the tree shares a longer
// prefix with the label. It is nil if the tree is empty.
func (r ref) nearest(label [32]byte) *Leaf {
	for r.node != nil {
		r = r.node.children[bit(&label, int(r.node.depth))]
	}
	return r.leaf
}

// putAll returns the subtree with at least one leaf put in, and how many labels are new.
func (r ref) putAll(leaves []Leaf) (ref, int) {
	if len(leaves) == 1 {
		return r.putOne(leaves[0])
	}
	first := leaves[0].Label
	depth := commonPrefix(first, leaves[len(leaves)-1].Label)
	var n node
	if r.leaf != nil {
		depth = min(depth, commonPrefix(first, r.leaf.Label))
		if depth < r.depth() {
			n.children[bit(&r.leaf.Label, depth)] = r
		} else {
			n, depth = *r.node, r.depth()
		}
	}
	n.depth = uint8(depth) // two leaves differ, so they part before bit 256
	ones := sort.Search(len(leaves), func(i int) bool { return bit(&leaves[i].Label, depth) == 1 })
	added := 0
	for side, part := range [2][]Leaf{leaves[:ones], leaves[ones:]} {
		if len(part) > 0 {
			child, more := n.children[side].putAll(part)
			n.children[side], added = child, added+more
		}
	}
	return n.ref(n.children[0].leaf), added
}

func (r ref) putOne(l Leaf) (ref, int) {
	if r.leaf == nil {
		return l.ref(), 1
	}
	at := commonPrefix(l.Label, r.nearest(l.Label).Label)
	if at == labelBits {
		return r.put(&l, at), 0
	}
	return r.put(&l, at), 1
}

// put is given where l parts from the subtree. It makes l the leaf that the new nodes know for their prefix: the old one may
// just have been replaced, and is held by nothing else.
func (r ref) put(l *Leaf, at int) ref {
	var n node
	switch side := bit(&l.Label, min(at, r.depth())); {
	case at < r.depth():
		n.depth = uint8(at)
		n.children[side], n.children[1-side] = l.ref(), r
	case r.node == nil:
		return l.ref()
	default:
		n = *r.node
		n.children[side] = n.children[side].put(l, at)
	}
	return n.ref(l)
}

func (l *Leaf) ref() ref { return ref{nil, l, l.hash()} }

func (n *node) ref(l *Leaf) ref {
	return ref{n, l, hashNode(int(n.depth), &l.Label, &n.children[0].hash, &n.children[1].hash)}
}

// branch is the node as a proof shows it.
func (r ref) branch() branch {
	n := r.node
	return branch{n.depth, prefix(&r.leaf.Label, int(n.depth)), n.children[0].hash, n.children[1].hash}
}

// Prove returns the proof of what the tree says about a label: its presence or its absence.
func (t Tree) Prove(label [32]byte) Proof {
	nearest := t.root.nearest(label)
	if nearest == nil {
		return Proof{}
	}
	at := commonPrefix(label, nearest.Label)
	var p Proof
	r := t.root
	for r.depth() < at {
		side := bit(&label, r.depth())
		p.path = append(p.path, step{r.node.depth, r.node.children[1-side].hash})
		r = r.node.children[side]
	}
	switch {
	case at == labelBits:
		p.kind = kindPresent
	case r.node == nil:
		p.kind, p.other = kindLeaf, *r.leaf
	default:
		p.kind, p.other = kindNode, r.branch()
	}
	return p
}
