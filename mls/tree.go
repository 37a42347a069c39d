package mls

import (
	"bytes"
	"slices"

	"golang.org/x/crypto/cryptobyte"
)

// parentNode of section 7.1. Nodes are never changed in place: a tree replaces them, so that trees may share them.
type parentNode struct {
	encryptionKey []byte
	parentHash    []byte
	unmerged      []leafIndex // ascending
}

func (p *parentNode) read(s *cryptobyte.String) bool {
	return readOpaque(s, &p.encryptionKey) && readOpaque(s, &p.parentHash) && readList(s, maxMembers, func(s *cryptobyte.String) bool {
		var l uint32
		if !s.ReadUint32(&l) || len(p.unmerged) > 0 && leafIndex(l) <= p.unmerged[len(p.unmerged)-1] {
			return false
		}
		p.unmerged = append(p.unmerged, leafIndex(l))
		return true
	})
}

func (p *parentNode) add(b *cryptobyte.Builder) {
	addOpaque(b, p.encryptionKey)
	addOpaque(b, p.parentHash)
	addVector(b, func(b *cryptobyte.Builder) {
		for _, l := range p.unmerged {
			b.AddUint32(uint32(l))
		}
	})
}

// node is a leaf, a parent, or, if both are nil, blank.
type node struct {
	leaf   *LeafNode
	parent *parentNode
}

func (n node) blank() bool { return n.leaf == nil && n.parent == nil }

func (n node) encryptionKey() []byte {
	if n.leaf != nil {
		return n.leaf.EncryptionKey
	}
	return n.parent.encryptionKey
}

// ratchetTree is the public tree (section 7). Its width is that of a full tree: 2^d leaves. Hashes are kept per node and
// dropped along the path of what changes, so that a change costs O(log N) hashes.
type ratchetTree struct {
	suite  *suite
	nodes  []node
	hashes [][]byte
	keys   *keyIndex // nil until it is needed
	blank  leafIndex // no leaf to the left of it is blank
}

func newTree(s *suite, first *LeafNode) *ratchetTree {
	return &ratchetTree{suite: s, nodes: []node{{leaf: first}}, hashes: make([][]byte, 1)}
}

// clone shares the nodes; changes to one tree do not show in the other.
func (t *ratchetTree) clone() *ratchetTree {
	return &ratchetTree{t.suite, slices.Clone(t.nodes), slices.Clone(t.hashes), t.index().clone(), t.blank}
}

// resized is a copy with that many leaves.
func (t *ratchetTree) resized(leaves uint32) *ratchetTree {
	r := &ratchetTree{suite: t.suite, nodes: make([]node, nodeWidth(leaves)), hashes: make([][]byte, nodeWidth(leaves))}
	copy(r.nodes, t.nodes)
	copy(r.hashes, t.hashes)
	return r
}

// at is the node in a place that may be outside the tree, where all is blank. So it is in no tree.
func (t *ratchetTree) at(x nodeIndex) node {
	if t == nil || int(x) >= len(t.nodes) {
		return node{}
	}
	return t.nodes[x]
}

// changes are the places, ascending, where other is not what t is. Trees share their nodes, so it takes a look at each and no more.
func (t *ratchetTree) changes(other *ratchetTree) []nodeIndex {
	if t == other {
		return nil
	}
	width := 0
	for _, tree := range []*ratchetTree{t, other} {
		if tree != nil {
			width = max(width, len(tree.nodes))
		}
	}
	var places []nodeIndex
	for x := range nodeIndex(width) {
		if a, b := t.at(x), other.at(x); a != b && !bytes.Equal(build(a.add), build(b.add)) {
			places = append(places, x)
		}
	}
	return places
}

func (t *ratchetTree) leaves() uint32 { return uint32(len(t.nodes)+1) / 2 }

func (t *ratchetTree) root() nodeIndex { return root(t.leaves()) }

func (t *ratchetTree) leaf(l leafIndex) *LeafNode {
	if uint32(l) >= t.leaves() {
		return nil
	}
	return t.nodes[l.node()].leaf
}

func (t *ratchetTree) set(x nodeIndex, n node) {
	t.replace(x, n)
	t.hashes[x] = nil
	for _, p := range x.directPath(t.root()) {
		t.hashes[p] = nil
	}
}

func (t *ratchetTree) replace(x nodeIndex, n node) {
	if t.keys != nil {
		t.keys.put(t.nodes[x], -1)
		t.keys.put(n, 1)
	}
	t.nodes[x] = n
}

func (t *ratchetTree) blankPath(l leafIndex) {
	for _, p := range l.node().directPath(t.root()) {
		t.replace(p, node{})
		t.hashes[p] = nil
	}
}

// add puts a leaf into the leftmost blank, or doubles the tree (section 7.7).
func (t *ratchetTree) add(l *LeafNode) (leafIndex, error) {
	at := t.blank
	for uint32(at) < t.leaves() && !t.nodes[at.node()].blank() {
		at++
	}
	if uint32(at) == t.leaves() {
		if t.leaves() >= maxMembers {
			return 0, invalid("more than %d members", maxMembers)
		}
		grown := len(t.nodes) + 1
		t.nodes = append(t.nodes, make([]node, grown)...)
		t.hashes = append(t.hashes, make([][]byte, grown)...)
	}
	t.set(at.node(), node{leaf: l})
	t.blank = at + 1
	for _, p := range at.node().directPath(t.root()) {
		if old := t.nodes[p].parent; old != nil {
			i, _ := slices.BinarySearch(old.unmerged, at)
			t.nodes[p] = node{parent: &parentNode{old.encryptionKey, old.parentHash, slices.Insert(slices.Clone(old.unmerged), i, at)}}
		}
	}
	return at, nil
}

// update replaces a leaf and blanks its path (section 12.1.2).
func (t *ratchetTree) update(at leafIndex, l *LeafNode) {
	t.blankPath(at)
	t.set(at.node(), node{leaf: l})
}

// remove blanks a leaf and its path and drops right halves that have become empty (section 7.8).
func (t *ratchetTree) remove(at leafIndex) {
	t.blankPath(at)
	t.set(at.node(), node{})
	t.blank = min(t.blank, at)
	for t.leaves() > 1 {
		half := len(t.nodes) / 2
		if slices.ContainsFunc(t.nodes[half+1:], func(n node) bool { return !n.blank() }) {
			return
		}
		t.replace(nodeIndex(half), node{}) // the old root
		t.nodes = slices.Clone(t.nodes[:half])
		t.hashes = slices.Clone(t.hashes[:half])
	}
}

// resolution of section 4.1.1: the fewest non-blank nodes that cover all members below x.
func (t *ratchetTree) resolution(x nodeIndex) []nodeIndex {
	n := t.nodes[x]
	switch {
	case n.parent != nil:
		res := []nodeIndex{x}
		for _, l := range n.parent.unmerged {
			res = append(res, l.node())
		}
		return res
	case n.leaf != nil:
		return []nodeIndex{x}
	case x.isLeaf():
		return nil
	}
	return append(t.resolution(x.left()), t.resolution(x.right())...)
}

// empty says whether the resolution of x is, without building it.
func (t *ratchetTree) empty(x nodeIndex) bool {
	if !t.nodes[x].blank() {
		return false
	}
	return x.isLeaf() || t.empty(x.left()) && t.empty(x.right())
}

// A step of a filtered direct path (section 4.1.2): a node, and its child off the path, whose members it serves.
type step struct{ node, copath nodeIndex }

func (t *ratchetTree) filteredPath(l leafIndex) []step {
	var path []step
	x := l.node()
	for _, p := range x.directPath(t.root()) {
		if s := x.sibling(); !t.empty(s) {
			path = append(path, step{p, s})
		}
		x = p
	}
	return path
}

func (t *ratchetTree) eachLeaf(f func(leafIndex, *LeafNode) error) error {
	for i := range t.leaves() {
		if l := t.nodes[2*i].leaf; l != nil {
			if err := f(leafIndex(i), l); err != nil {
				return err
			}
		}
	}
	return nil
}

// The tree on the wire (section 12.4.3.3): optional<Node> ratchet_tree<V>, cut after the last node that is not blank.

func (t *ratchetTree) addTo(b *cryptobyte.Builder) {
	last := len(t.nodes)
	for last > 0 && t.nodes[last-1].blank() {
		last--
	}
	addVector(b, func(b *cryptobyte.Builder) {
		for _, n := range t.nodes[:last] {
			n.add(b)
		}
	})
}

// add writes an optional<Node>.
func (n node) add(b *cryptobyte.Builder) {
	addOptional(b, !n.blank())
	switch {
	case n.leaf != nil:
		b.AddUint8(1)
		n.leaf.add(b)
	case n.parent != nil:
		b.AddUint8(2)
		n.parent.add(b)
	}
}

func (t *ratchetTree) marshal() []byte { return build(t.addTo) }

func parseTree(s *suite, data []byte) (*ratchetTree, error) {
	var nodes []node
	in := cryptobyte.String(data)
	ok := readList(&in, maxNodes, func(s *cryptobyte.String) bool {
		n, ok := readNode(s, nodeIndex(len(nodes)))
		nodes = append(nodes, n)
		return ok
	})
	if !ok || !in.Empty() || len(nodes) == 0 || nodes[len(nodes)-1].blank() {
		return nil, invalid("ratchet tree is malformed (12.4.3.3)")
	}
	leaves := uint32(1)
	for nodeWidth(leaves) < uint32(len(nodes)) {
		leaves *= 2
	}
	width := nodeWidth(leaves)
	nodes = append(nodes, make([]node, int(width)-len(nodes))...)
	return &ratchetTree{suite: s, nodes: nodes, hashes: make([][]byte, width)}, nil
}

// readNode reads an optional<Node>; its kind must be that of its place.
func readNode(s *cryptobyte.String, at nodeIndex) (n node, ok bool) {
	var present bool
	if !readOptional(s, &present) {
		return n, false
	}
	if !present {
		return n, true
	}
	var kind uint8
	if !s.ReadUint8(&kind) {
		return n, false
	}
	switch {
	case kind == 1 && at.isLeaf():
		n.leaf = new(LeafNode)
		return n, n.leaf.read(s)
	case kind == 2 && !at.isLeaf():
		n.parent = new(parentNode)
		return n, n.parent.read(s)
	}
	return n, false
}
