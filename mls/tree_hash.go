package mls

import (
	"bytes"
	"fmt"
	"slices"

	"golang.org/x/crypto/cryptobyte"
)

// hash is the tree hash of the subtree at x (section 7.8).
func (t *ratchetTree) hash(x nodeIndex) []byte {
	if t.hashes[x] == nil {
		if x.isLeaf() {
			t.hashes[x] = t.hashLeaf(x, t.nodes[x].leaf)
		} else {
			t.hashes[x] = t.hashParent(t.nodes[x].parent, t.hash(x.left()), t.hash(x.right()))
		}
	}
	return t.hashes[x]
}

func (t *ratchetTree) treeHash() []byte { return t.hash(t.root()) }

func (t *ratchetTree) hashLeaf(x nodeIndex, l *LeafNode) []byte {
	return t.suite.digest(build(func(b *cryptobyte.Builder) {
		b.AddUint8(1)
		b.AddUint32(uint32(x.leaf()))
		addOptional(b, l != nil)
		if l != nil {
			l.add(b)
		}
	}))
}

func (t *ratchetTree) hashParent(p *parentNode, left, right []byte) []byte {
	return t.suite.digest(build(func(b *cryptobyte.Builder) {
		b.AddUint8(2)
		addOptional(b, p != nil)
		if p != nil {
			p.add(b)
		}
		addOpaque(b, left)
		addOpaque(b, right)
	}))
}

// originalHash is the hash the subtree had before those leaves were added (section 7.9): with them blank, and not listed
// as unmerged. Subtrees without any of them keep their cached hash.
func (t *ratchetTree) originalHash(x nodeIndex, without []leafIndex) []byte {
	var here []leafIndex
	for _, l := range without {
		if x.covers(l) {
			here = append(here, l)
		}
	}
	if len(here) == 0 {
		return t.hash(x)
	}
	if x.isLeaf() {
		return t.hashLeaf(x, nil)
	}
	p := t.nodes[x].parent
	if p != nil {
		p = &parentNode{p.encryptionKey, p.parentHash, slices.DeleteFunc(slices.Clone(p.unmerged), func(l leafIndex) bool {
			_, found := slices.BinarySearch(here, l)
			return found
		})}
	}
	return t.hashParent(p, t.originalHash(x.left(), here), t.originalHash(x.right(), here))
}

// parentHash is the value that the next node below p on a path carries (section 7.9); sibling is p's other child.
func (t *ratchetTree) parentHash(p *parentNode, sibling nodeIndex) []byte {
	return t.suite.digest(build(func(b *cryptobyte.Builder) {
		addOpaque(b, p.encryptionKey)
		addOpaque(b, p.parentHash)
		addOpaque(b, t.originalHash(sibling, p.unmerged))
	}))
}

// checkParentHashes is section 7.9.2: every parent node was put there by a member below it.
//
// Of a child's resolution all nodes but one must be leaves that the parent lists as unmerged; that one is the only node
// that can carry the parent's hash. So each parent costs one look at either side.
func (t *ratchetTree) checkParentHashes() error {
	for i := 1; i < len(t.nodes); i += 2 {
		x := nodeIndex(i)
		if p := t.nodes[x].parent; p != nil && !t.parentHashFrom(p, x.left(), x.right()) && !t.parentHashFrom(p, x.right(), x.left()) {
			return invalid("parent hash of node %d (7.9.2)", x)
		}
	}
	return nil
}

func (t *ratchetTree) parentHashFrom(p *parentNode, child, sibling nodeIndex) bool {
	origin, found := nodeIndex(0), false
	merged := 0
	for _, x := range t.resolution(child) {
		if x.isLeaf() {
			if _, unmerged := slices.BinarySearch(p.unmerged, x.leaf()); unmerged {
				merged++
				continue
			}
		}
		if found {
			return false
		}
		origin, found = x, true
	}
	if !found {
		return false
	}
	for _, l := range p.unmerged {
		if child.covers(l) {
			merged--
		}
	}
	if merged != 0 {
		return false
	}
	carried := []byte(nil)
	if n := t.nodes[origin]; n.leaf != nil {
		carried = n.leaf.ParentHash
	} else {
		carried = n.parent.parentHash
	}
	return len(carried) > 0 && bytes.Equal(carried, t.parentHash(p, sibling))
}

// check is what a joiner checks of a tree it did not watch grow (section 12.4.3.1).
func (t *ratchetTree) check(groupID []byte, extensions []Extension) error {
	if err := t.checkUnmerged(); err != nil {
		return err
	}
	if err := t.checkParentHashes(); err != nil {
		return err
	}
	v := t.suite.signatures()
	err := t.eachLeaf(func(i leafIndex, l *LeafNode) error {
		if err := l.checkWith(v, t.suite, groupID, i); err != nil {
			return err
		}
		return t.supports(i, l, extensions)
	})
	if err != nil {
		return err
	}
	if err := v.check(); err != nil {
		return err
	}
	return t.checkUnique()
}

func (t *ratchetTree) checkUnmerged() error {
	for i := 1; i < len(t.nodes); i += 2 {
		x, p := nodeIndex(i), t.nodes[i].parent
		if p == nil {
			continue
		}
		if err := t.suite.checkPublicKey(fmt.Sprintf("encryption key of node %d", x), p.encryptionKey); err != nil {
			return err
		}
		for _, l := range p.unmerged {
			if !x.covers(l) || t.leaf(l) == nil {
				return invalid("unmerged leaf %d is not below node %d (7.1)", l, x)
			}
			// Between the leaf and this node every node that has content must list it, too.
			for _, between := range l.node().directPath(x) {
				q := t.nodes[between].parent
				if q == nil {
					continue
				}
				if _, listed := slices.BinarySearch(q.unmerged, l); !listed && between != x {
					return invalid("leaf %d is unmerged at node %d and not at node %d below (12.4.3.1)", l, x, between)
				}
			}
		}
	}
	return nil
}
