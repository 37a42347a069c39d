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
	r.secret = s.deriveTreeSecret(r.secret, "secret", r.next, s.nh)
	r.next++
	return k
}

// at returns the key of a generation, and the ratchet as it will be once that key has been used.
func (r *ratchet) at(s *suite, generation uint32) (messageKey, *ratchet, error) {
	after := &ratchet{r.secret, r.next, maps.Clone(r.skipped)}
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
	for after.next < generation {
		if after.skipped == nil {
			after.skipped = map[uint32]messageKey{}
		}
		g := after.next
		after.skipped[g] = after.step(s)
	}
	if generation >= maxSkipped {
		maps.DeleteFunc(after.skipped, func(g uint32, _ messageKey) bool { return g < generation-maxSkipped })
	}
	return after.step(s), after, nil
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

// of returns the ratchet of a sender, deriving it from the lowest subtree that still has its secret.
func (t *secretTree) of(l leafIndex, kind ratchetKind) (*ratchet, error) {
	if uint32(l) >= t.leaves {
		return nil, invalid("sender %d is not in the tree (9)", l)
	}
	if r, ok := t.ratchets[l]; ok {
		return &r[kind], nil
	}
	x := l.node()
	above := append([]nodeIndex{x}, x.directPath(root(t.leaves))...)
	at := 0
	for at < len(above) && t.subtrees[above[at]] == nil {
		at++
	}
	if at == len(above) {
		return nil, fmt.Errorf("mls: keys of sender %d: %w", l, ErrReplay)
	}
	secret := t.subtrees[above[at]]
	delete(t.subtrees, above[at])
	for i := at; i > 0; i-- {
		left := t.suite.expandWithLabel(secret, "tree", []byte("left"), t.suite.nh)
		right := t.suite.expandWithLabel(secret, "tree", []byte("right"), t.suite.nh)
		t.subtrees[above[i].left()], t.subtrees[above[i].right()] = left, right
		secret = t.subtrees[above[i-1]]
		delete(t.subtrees, above[i-1])
	}
	r := &[2]ratchet{
		{secret: t.suite.expandWithLabel(secret, "handshake", nil, t.suite.nh)},
		{secret: t.suite.expandWithLabel(secret, "application", nil, t.suite.nh)},
	}
	t.ratchets[l] = r
	return &r[kind], nil
}
