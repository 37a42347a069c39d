package mls

import (
	"fmt"
	"maps"
	"slices"
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
// the two ratchets of everybody who has. A subtree's secret is gone as soon as something was derived from it.
type secretTree struct {
	suite    *suite
	leaves   uint32
	subtrees map[nodeIndex][]byte
	ratchets map[leafIndex]*[2]ratchet
}

func newSecretTree(s *suite, leaves uint32, encryptionSecret []byte) *secretTree {
	return &secretTree{s, leaves, map[nodeIndex][]byte{root(leaves): encryptionSecret}, map[leafIndex]*[2]ratchet{}}
}

// of returns the ratchet of a sender and makes it part of the tree: for messages of our own. What others send goes through peek.
func (t *secretTree) of(l leafIndex, kind ratchetKind) (*ratchet, error) {
	u, err := t.peek(l)
	if err != nil {
		return nil, err
	}
	t.take(u)
	return &u.ratchets[kind], nil
}

// An unfolding is what the tree becomes when the ratchets of one sender are taken out of it.
type unfolding struct {
	leaf     leafIndex
	ratchets *[2]ratchet
	used     nodeIndex            // the subtree that they come from, whose secret goes
	rest     map[nodeIndex][]byte // its parts without the sender; nil if the ratchets have been in the tree before
}

// peek computes the ratchets of a sender, from the lowest subtree that still has its secret. The tree stays as it is: who the
// sender says to be has not been proven by then.
func (t *secretTree) peek(l leafIndex) (*unfolding, error) {
	if uint32(l) >= t.leaves {
		return nil, invalid("sender %d is not in the tree (9)", l)
	}
	if r, ok := t.ratchets[l]; ok {
		return &unfolding{leaf: l, ratchets: r}, nil
	}
	x := l.node()
	above := append([]nodeIndex{x}, x.directPath(root(t.leaves))...)
	at := slices.IndexFunc(above, func(x nodeIndex) bool { return t.subtrees[x] != nil })
	if at < 0 {
		return nil, fmt.Errorf("mls: keys of sender %d: %w", l, ErrReplay)
	}
	u := &unfolding{leaf: l, used: above[at], rest: map[nodeIndex][]byte{}}
	secret := t.subtrees[u.used]
	for i := at; i > 0; i-- {
		u.rest[above[i].left()] = t.suite.expandWithLabel(secret, "tree", []byte("left"), t.suite.nh)
		u.rest[above[i].right()] = t.suite.expandWithLabel(secret, "tree", []byte("right"), t.suite.nh)
		secret = u.rest[above[i-1]]
		delete(u.rest, above[i-1])
	}
	u.ratchets = &[2]ratchet{
		{secret: t.suite.expandWithLabel(secret, "handshake", nil, t.suite.nh)},
		{secret: t.suite.expandWithLabel(secret, "application", nil, t.suite.nh)},
	}
	return u, nil
}

// take makes it so. The secret that an unfolding came from is gone from then on.
func (t *secretTree) take(u *unfolding) {
	if u.rest == nil {
		return
	}
	delete(t.subtrees, u.used)
	maps.Copy(t.subtrees, u.rest)
	t.ratchets[u.leaf] = u.ratchets
}
