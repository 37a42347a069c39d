package mls

import (
	"fmt"
	"maps"
	"slices"
)

// exporterTree gives each component one secret of an epoch (draft-ietf-mls-extensions, Exported Secrets): a secret tree of 2^16
// leaves, one for each ComponentID, of which only the part that has not been used up is kept; a leaf that was taken is there
// and empty. It does not change; taking a secret gives another one.
type exporterTree struct {
	suite *suite
	nodes map[nodeIndex][]byte
}

const exporterLeaves = 1 << 16

func newExporterTree(s *suite, secret []byte) *exporterTree {
	return &exporterTree{s, map[nodeIndex][]byte{root(exporterLeaves): secret}}
}

// take gives the secret of a leaf and the tree without anything that it comes from; nil if it has been taken.
func (t *exporterTree) take(c ComponentID) ([]byte, *exporterTree) {
	x := leafIndex(c).node()
	above := append([]nodeIndex{x}, x.directPath(root(exporterLeaves))...)
	at := slices.IndexFunc(above, func(x nodeIndex) bool { return t.nodes[x] != nil })
	if len(t.nodes[above[at]]) == 0 {
		return nil, t
	}
	rest := maps.Clone(t.nodes)
	secret := rest[above[at]]
	delete(rest, above[at])
	for i := at; i > 0; i-- {
		left := t.suite.expandWithLabel(secret, "tree", []byte("left"), t.suite.nh)
		right := t.suite.expandWithLabel(secret, "tree", []byte("right"), t.suite.nh)
		if above[i-1] == above[i].left() {
			secret, rest[above[i].right()] = left, right
		} else {
			secret, rest[above[i].left()] = right, left
		}
	}
	rest[x] = []byte{}
	return secret, &exporterTree{t.suite, rest}
}

func (t *exporterTree) recordsTo(r records, other *exporterTree) {
	if t == nil || t == other {
		return
	}
	for x, secret := range t.nodes {
		r[exportKey(x)] = secret
	}
}

// exporterTree reads what is left of the tree: of each node its secret, or its two halves. A part that is not there is damage.
func (r *stored) exporterTree(s *suite) (*exporterTree, bool) {
	t := &exporterTree{s, map[nodeIndex][]byte{}}
	var walk func(x nodeIndex) bool
	walk = func(x nodeIndex) bool {
		if secret, ok := r.take(exportKey(x)); ok {
			t.nodes[x] = append([]byte{}, secret...)
			return len(secret) == s.nh || x.isLeaf() && len(secret) == 0
		}
		return !x.isLeaf() && walk(x.left()) && walk(x.right())
	}
	return t, walk(root(exporterLeaves))
}

// SafeExport gives a component the secret that the epoch has for it, the same to all members, once: unlike what Export gives it
// cannot be had again, from the state either once that was persisted, and is lost to who asks for it a second time (ErrReplay).
func (g *Group) SafeExport(component ComponentID) ([]byte, error) {
	secret, rest := g.exports.take(component)
	if secret == nil {
		return nil, fmt.Errorf("mls: exporting the secret of component %d: %w", component, ErrReplay)
	}
	g.exports = rest
	return secret, nil
}
