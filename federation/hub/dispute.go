package hub

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"github.com/waxwing-dm/waxwing/internal/receipt"
)

const (
	disputable = 7 * 24 * time.Hour // after the receipt
	quorum     = 2                  // instances, where more than two have written
)

// What disputes are refused for. A *StaleError says which receipts there are instead of the one they name.
var (
	ErrBranches = errors.New("too many branches are open already") // P4
	errDispute  = errors.New("not one of this conversation")
)

// Dispute takes a member's word that a commit is invalid (P1 to P6). seq is that of the reopen; 0 while more disputes are awaited.
func (h *Hub) Dispute(ctx context.Context, groupID []byte, from string, raw []byte) (seq uint64, err error) {
	d, err := receipt.ParseDispute(raw)
	if err != nil || !bytes.Equal(d.GroupID, groupID) {
		return 0, fmt.Errorf("hub: dispute in %x: %w: %w", groupID, ErrMalformed, errors.Join(err, errDispute))
	}
	for {
		seq, err = h.tryDispute(ctx, groupID, from, d, raw)
		if !errors.Is(err, ErrMoved) {
			return seq, err
		}
	}
}

func (h *Hub) tryDispute(ctx context.Context, groupID []byte, from string, d receipt.Dispute, raw []byte) (uint64, error) {
	state, err := h.current(ctx, groupID)
	if err != nil {
		return 0, err
	}
	g, ok, err := h.store.Granted(ctx, groupID, d.Seq)
	if err != nil {
		return 0, fmt.Errorf("hub: reading receipt %d of %x: %w", d.Seq, groupID, err)
	}
	r, err := receipt.Parse(g.Receipt)
	if !ok || err != nil || d.Term != state.Term || !h.disputable(r, d, g) {
		return 0, h.stale(ctx, groupID, Submission{Term: d.Term, Place: &Place{Seq: max(d.Seq, 1) - 1}}, state)
	}
	if !d.Verify(g.By) {
		return 0, fmt.Errorf("hub: dispute in %x: %w", groupID, ErrNotMember)
	}
	if g.Reopened > 0 {
		return g.Reopened, nil
	}
	all, instances, err := h.store.Dispute(ctx, groupID, d.Seq, from, raw)
	if err != nil {
		return 0, fmt.Errorf("hub: dispute in %x: %w", groupID, err)
	}
	if instances > quorum && len(all) < quorum {
		return 0, nil
	}
	return h.reopen(ctx, groupID, state, r.Epoch, d.Seq, g.By, all)
}

// disputable is P1.
func (h *Hub) disputable(r receipt.Receipt, d receipt.Dispute, g Granted) bool {
	age := h.now().Sub(time.UnixMilli(int64(r.Time)))
	return (r.Kind == receipt.KindCommit || r.Kind == receipt.KindMove) && r.Term == d.Term && receipt.Head(g.Receipt) == d.ReceiptHash &&
		g.By != [32]byte{} && age <= disputable
}

// reopen is P4: the epoch's ticket is that by which the disputed commit came.
func (h *Hub) reopen(ctx context.Context, groupID []byte, state State, epoch, seq uint64, ticket [32]byte, disputes [][]byte) (uint64, error) {
	body := receipt.MarshalReopening(disputes[:min(len(disputes), receipt.MaxDisputes)])
	r := receipt.Receipt{
		Kind: receipt.KindReopen, GroupID: groupID, Term: state.Term, Seq: state.Seq + 1, Epoch: epoch, MessageHash: sha256.Sum256(body),
		Previous: state.Head, Ticket: ticket, Time: uint64(h.now().UnixMilli()),
	}
	r.Sign(h.key)
	e := Event{r.Marshal(), body}
	here := state
	elsewhere, err := h.claimed(ctx, groupID, state)
	if err != nil {
		return 0, err
	}
	if elsewhere {
		here.Moved = [32]byte{}
	}
	next, aside, _ := here.follow(r, e.Receipt, body, Branch{})
	if err := h.mayPutAside(ctx, groupID, aside); err != nil {
		return 0, fmt.Errorf("hub: dispute in %x: %w", groupID, err)
	}
	if elsewhere {
		next.Moved = state.Moved // a dispute takes back a move of this hub's, and not what another has opened
	}
	if err := h.store.Swap(ctx, groupID, state, Change{Next: next, Steps: []Step{{Event: e}}, Disputed: seq, Aside: aside}); err != nil {
		return 0, fmt.Errorf("hub: dispute in %x: %w", groupID, err)
	}
	h.turns.reopened(groupID, seq, h.now())
	return r.Seq, nil
}

// claimed tells whether it is a term of another hub that the conversation has moved by.
func (h *Hub) claimed(ctx context.Context, groupID []byte, state State) (bool, error) {
	if state.Moved == ([32]byte{}) {
		return false, nil
	}
	e, err := h.store.Elsewhere(ctx, groupID)
	if err != nil {
		return false, fmt.Errorf("hub: reading where %x is: %w", groupID, err)
	}
	r, err := receipt.Parse(e.Receipt)
	return err == nil && r.Kind == receipt.KindTerm, nil
}
