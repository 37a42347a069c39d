package hub

import (
	"context"
	"fmt"
)

// Every dispute leaves a branch behind that may be the group's and may be nobody's. A register has four at hand. The others are set aside, and found
// again by who goes on from them: were they forgotten, a false dispute could end the group; were there no more disputes, four invalid commits could.

// maxAside is how many of one epoch are set aside. It bounds what one submission costs.
const maxAside = 256

// A found branch is one that a signature is for.
type found struct {
	Branch
	aside bool // it is none of those at hand
	ok    bool
}

// branch finds the one of an epoch that a ticket signature is for.
func (h *Hub) branch(ctx context.Context, groupID []byte, state State, epoch uint64, verify func(ticket [32]byte) bool) (f found, err error) {
	if f.Branch, f.ok = state.find(epoch, verify); f.ok {
		return f, nil
	}
	all, err := h.store.Aside(ctx, groupID, epoch, maxAside)
	if err != nil {
		return f, fmt.Errorf("hub: reading the branches of %x: %w", groupID, err)
	}
	for _, b := range all {
		if verify(b.Ticket) {
			return found{b, true, true}, nil
		}
	}
	return f, nil
}

// mayPutAside is the bound of P4.
func (h *Hub) mayPutAside(ctx context.Context, groupID []byte, branches []Branch) error {
	for _, b := range branches {
		all, err := h.store.Aside(ctx, groupID, b.Epoch, maxAside)
		if err != nil {
			return fmt.Errorf("reading the branches: %w", err)
		}
		if len(all) >= maxAside {
			return ErrBranches
		}
	}
	return nil
}
