package mls

import (
	"fmt"
	"maps"
)

// A ratchet gives the keys of one sender and kind, generation by generation (section 9.1). Keys of generations that were
// passed over wait in skipped, the newest maxSkipped of them.
type ratchet struct {
	secret  []byte
	next    uint32
	skipped map[uint32]messageKey
}

type messageKey struct{ key, nonce []byte }

func (r *ratchet) step(s *suite) messageKey {
	k := messageKey{s.deriveTreeSecret(r.secret, "key", r.next, s.nk), s.deriveTreeSecret(r.secret, "nonce", r.next, s.nn)}
	r.skip(s)
	return k
}

func (r *ratchet) skip(s *suite) {
	r.secret = s.deriveTreeSecret(r.secret, "secret", r.next, s.nh)
	r.next++
}

// at returns the key of a generation, and the ratchet as it will be once that key has been used.
func (r *ratchet) at(s *suite, generation uint32) (messageKey, *ratchet, error) {
	after := r.clone()
	if generation < r.next {
		k, ok := r.skipped[generation]
		if !ok {
			return messageKey{}, nil, fmt.Errorf("mls: message of generation %d: %w", generation, ErrReplay)
		}
		delete(after.skipped, generation)
		return k, after, nil
	}
	if generation-r.next > maxForward {
		return messageKey{}, nil, fmt.Errorf("mls: message of generation %d, next is %d: %w", generation, r.next, ErrTooFarAhead)
	}
	oldest := generation - min(generation, maxSkipped) // of those kept; what is older costs one derivation and no memory
	maps.DeleteFunc(after.skipped, func(g uint32, _ messageKey) bool { return g < oldest })
	for after.next < generation {
		if g := after.next; g < oldest {
			after.skip(s)
		} else {
			after.skipped[g] = after.step(s)
		}
	}
	return after.step(s), after, nil
}

func (r *ratchet) clone() *ratchet {
	c := &ratchet{r.secret, r.next, map[uint32]messageKey{}}
	maps.Copy(c.skipped, r.skipped)
	return c
}

type ratchetKind uint8

const (
	handshakeRatchet   ratchetKind = 0
	applicationRatchet ratchetKind = 1
)

// secretTree holds the not yet used part of section 9's tree: secrets of whole subtrees nobody below has written in, and
// the two ratchets of everybody who has. Copies share their nodes.
type secretTree struct {
	suite  *suite
	leaves uint32
	root   *secretNode
}

// A secretNode has its secret, or, once something was derived from that, what it gave: two nodes below, or at a leaf the
// ratchets. Nodes and ratchets are replaced and not changed, so that two states of a tree differ where their pointers do.
type secretNode struct {
	secret      []byte
	left, right *secretNode
	ratchets    [2]*ratchet
}

func newSecretTree(s *suite, leaves uint32, encryptionSecret []byte) *secretTree {
	return &secretTree{s, leaves, &secretNode{secret: encryptionSecret}}
}

func (t *secretTree) clone() *secretTree {
	c := *t
	return &c
}

// unfolded is the node once its secret has been used (section 9).
func (n *secretNode) unfolded(s *suite, leaf bool) *secretNode {
	u := *n
	if n.secret == nil {
		return &u
	}
	u.secret = nil
	if leaf {
		u.ratchets[handshakeRatchet] = &ratchet{secret: s.expandWithLabel(n.secret, "handshake", nil, s.nh)}
		u.ratchets[applicationRatchet] = &ratchet{secret: s.expandWithLabel(n.secret, "application", nil, s.nh)}
		return &u
	}
	u.left = &secretNode{secret: s.expandWithLabel(n.secret, "tree", []byte("left"), s.nh)}
	u.right = &secretNode{secret: s.expandWithLabel(n.secret, "tree", []byte("right"), s.nh)}
	return &u
}

// An unfolding is what the tree becomes when the ratchets of one sender are taken out of it.
type unfolding struct {
	root *secretNode
	leaf *secretNode // in no other tree yet
}

// peek computes the ratchets of a sender, from the lowest subtree that still has its secret. The tree stays as it is: who the
// sender says to be has not been proven by then.
func (t *secretTree) peek(l leafIndex) (*unfolding, error) {
	if uint32(l) >= t.leaves {
		return nil, invalid("sender %d is not in the tree (9)", l)
	}
	u := &unfolding{root: t.root}
	place := &u.root
	for x := root(t.leaves); ; {
		n := (*place).unfolded(t.suite, x.isLeaf())
		*place = n
		switch {
		case x.isLeaf():
			u.leaf = n
			return u, nil
		case x.left().covers(l):
			place, x = &n.left, x.left()
		default:
			place, x = &n.right, x.right()
		}
	}
}

// use makes it so, with one ratchet moved on. The secrets that an unfolding came from are gone from then on.
func (t *secretTree) use(u *unfolding, kind ratchetKind, after *ratchet) {
	u.leaf.ratchets[kind] = after
	t.root = u.root
}
