package hub

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/waxwing-dm/waxwing/internal/receipt"
)

// A term that is opened takes the place of what stands here from its claim on. Whoever was removed knows tickets of old epochs, and can bring a hub
// of their own; so a hub that has the conversation does not give its place to a claim that it cannot judge.

const (
	// abandoned is how long nothing was granted by a hub that was told of another's term, before that counts as the truth (T6). It is how long a
	// hub is away before its members hand over.
	abandoned = 24 * time.Hour
	// undisputed is how long its members have to say that a move is none.
	undisputed = 10 * time.Minute
)

// replaceable is the register in whose place a claim's may come, the zero State if there is none; a *StaleError (T3, T6) if it may not.
func (h *Hub) replaceable(ctx context.Context, groupID []byte, c receipt.Claim) (State, error) {
	old, err := h.current(ctx, groupID)
	if errors.Is(err, ErrNoConversation) {
		return State{}, nil
	}
	if err != nil {
		return State{}, err
	}
	free := c.Term > old.Term
	if free {
		if free, err = h.gone(ctx, groupID, old, c); err != nil {
			return State{}, err
		}
	}
	if !free {
		return State{}, h.stale(ctx, groupID, Submission{Term: c.Term, Place: &Place{Seq: c.Seq}}, old)
	}
	return old, nil
}

// gone is T6: the conversation is not here any more, as far as that can be told from here.
func (h *Hub) gone(ctx context.Context, groupID []byte, old State, c receipt.Claim) (bool, error) {
	if old.Base > 0 && old.Seq == old.Base {
		return true, nil // a claim opened it, and nobody has followed yet: of several the highest counts
	}
	if old.Moved == ([32]byte{}) {
		return false, nil
	}
	e, err := h.store.Elsewhere(ctx, groupID)
	if err != nil {
		return false, fmt.Errorf("hub: reading where %x is: %w", groupID, err)
	}
	r, err := receipt.Parse(e.Receipt)
	if err != nil {
		return false, fmt.Errorf("hub: reading where %x is: %w", groupID, err)
	}
	since, err := h.sinceGrant(ctx, groupID, old)
	switch {
	case err != nil:
		return false, err
	case r.Kind == receipt.KindMove && c.Seq > old.Seq:
		return since >= undisputed, nil
	case r.Kind == receipt.KindMove:
		return since >= abandoned && c.Seq == old.Seq && c.Head == old.Head, nil
	}
	other, err := receipt.ParseClaim(e.Commit)
	current := slices.ContainsFunc(old.branches(), func(b Branch) bool { return b.Ticket == other.Ticket })
	return err == nil && since >= abandoned && c.Seq > old.Seq && other.Seq == old.Seq && other.Head == old.Head && current, nil
}

// sinceGrant is how long nothing was granted here.
func (h *Hub) sinceGrant(ctx context.Context, groupID []byte, s State) (time.Duration, error) {
	newest, ok, err := h.store.Granted(ctx, groupID, s.Seq)
	if err != nil || !ok {
		return 0, err
	}
	r, err := receipt.Parse(newest.Receipt)
	if err != nil {
		return 0, fmt.Errorf("hub: reading receipt %d of %x: %w", s.Seq, groupID, err)
	}
	return h.now().Sub(time.UnixMilli(int64(r.Time))), nil
}
