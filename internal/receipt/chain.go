package receipt

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
)

// Head of a chain whose newest receipt has these bytes.
func Head(receipt []byte) [32]byte { return sha256.Sum256(receipt) }

// BodyHash of the body that goes with a receipt.
func BodyHash(body []byte) [32]byte { return sha256.Sum256(body) }

// What a chain's follower branches on.
var (
	ErrForged = errors.New("not signed by the hub") // R1
	ErrChain  = errors.New("does not continue the chain")
)

// Chain is a place in a hub's chain, as a follower remembers it.
type Chain struct {
	GroupID []byte
	HubKey  [32]byte
	Term    uint64
	Seq     uint64
	Head    [32]byte
	Moved   bool // the newest receipt is a move: the term is over
}

func after(groupID []byte, hub [32]byte, b []byte, r Receipt) Chain {
	return Chain{groupID, hub, r.Term, r.Seq, Head(b), r.Kind == KindMove}
}

// Start begins a chain at any receipt of the hub: at the open one for the creator, at the one that added it for a newcomer.
func Start(b []byte, groupID []byte, hub [32]byte) (Chain, Receipt, error) {
	r, err := Parse(b)
	if err != nil {
		return Chain{}, r, err
	}
	if !r.Verify(hub[:]) {
		return Chain{}, r, fmt.Errorf("receipt: of seq %d: %w", r.Seq, ErrForged)
	}
	if !bytes.Equal(r.GroupID, groupID) {
		return Chain{}, r, fmt.Errorf("receipt: of another group: %w", ErrChain)
	}
	return after(bytes.Clone(groupID), hub, b, r), r, nil
}

// Next is R1 and R2 within a term: the chain after a receipt.
func (c Chain) Next(b []byte) (Chain, Receipt, error) {
	r, err := Parse(b)
	if err != nil {
		return c, r, err
	}
	switch {
	case !r.Verify(c.HubKey[:]):
		return c, r, fmt.Errorf("receipt: of seq %d: %w", r.Seq, ErrForged)
	case !bytes.Equal(r.GroupID, c.GroupID) || r.Kind == KindOpen || r.Kind == KindTerm || r.Term != c.Term || r.Seq != c.Seq+1 || r.Previous != c.Head ||
		c.Moved && r.Kind != KindReopen:
		return c, r, fmt.Errorf("receipt: of seq %d after %d: %w", r.Seq, c.Seq, ErrChain)
	}
	return after(c.GroupID, c.HubKey, b, r), r, nil
}

// Contradicts says whether two receipts are proof that the hub lied: both signed, one place, different bytes.
func Contradicts(a, b []byte, hub ed25519.PublicKey) bool {
	x, errX := Parse(a)
	y, errY := Parse(b)
	return errX == nil && errY == nil && x.Verify(hub) && y.Verify(hub) &&
		bytes.Equal(x.GroupID, y.GroupID) && x.Term == y.Term && x.Seq == y.Seq && !bytes.Equal(a, b)
}
