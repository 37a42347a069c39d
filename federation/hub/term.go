package hub

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"math"
	"sync"
	"time"

	"github.com/waxwing-dm/waxwing/internal/receipt"
)

// ticketDepth is how far back from a claim's receipt the one may be that has its ticket (T2).
const ticketDepth = 4

// What claims are refused for; *StaleError if the term is not new.
var (
	ErrClaim  = errors.New("not a claim for this hub")             // T1
	ErrBehind = errors.New("the receipt of the claim is not here") // T1
)

// OpenTerm opens the term of a claim (T1 to T3, T6) and returns its receipt. chain are the newest events of the old chain up to the claim's
// receipt, as a mirror keeps them; older ones than the last [ticketDepth] are not needed.
func (h *Hub) OpenTerm(ctx context.Context, groupID, claim []byte, chain []Event) ([]byte, error) {
	c, err := receipt.ParseClaim(claim)
	if err != nil || string(c.GroupID) != string(groupID) || string(c.Next.Key[:]) != string(h.Key()) || c.Term > math.MaxInt64 { // no store holds it
		return nil, fmt.Errorf("hub: claim of %x: %w", groupID, ErrClaim)
	}
	if opened, err := h.store.Find(ctx, groupID, sha256.Sum256(claim)); err != nil || opened != nil {
		return opened, err
	}
	if !endsIn(chain, c.Claim) {
		return nil, fmt.Errorf("hub: claim of %x: %w", groupID, ErrBehind)
	}
	if !hasTicket(chain, c.Claim) || !c.VerifyMember() {
		return nil, fmt.Errorf("hub: claim of %x: %w", groupID, ErrNotMember)
	}
	old, err := h.replaceable(ctx, groupID, c.Claim)
	if err != nil {
		return nil, err
	}
	r := c.Receipt(uint64(h.now().UnixMilli()))
	r.Sign(h.key)
	e := Event{r.Marshal(), claim}
	return e.Receipt, h.adopt(ctx, groupID, old, c, e, chain[max(0, len(chain)-ticketDepth):])
}

// adopt makes the register that a claim's receipt leaves behind.
func (h *Hub) adopt(ctx context.Context, groupID []byte, old State, c receipt.SignedClaim, e Event, chain []Event) error {
	change := Change{Next: State{Term: c.Term, Seq: c.Seq + 1, Epoch: c.Epoch, Base: c.Seq + 1, Head: receipt.Head(e.Receipt), Ticket: c.Ticket}}
	for _, known := range chain {
		if r, err := receipt.Parse(known.Receipt); err == nil && r.Seq > 0 {
			change.Steps = append(change.Steps, Step{Event: known})
		}
	}
	change.Steps = append(change.Steps, Step{Event: e})
	if err := h.store.Swap(ctx, groupID, old, change); err != nil {
		return fmt.Errorf("hub: opening term %d of %x: %w", c.Term, groupID, err)
	}
	h.checked.done(groupID)
	return nil
}

// endsIn says whether the claim builds on the last of these events.
func endsIn(chain []Event, c receipt.Claim) bool {
	if len(chain) == 0 {
		return false
	}
	last, err := receipt.Parse(chain[len(chain)-1].Receipt)
	return err == nil && last.Seq == c.Seq && last.Term < c.Term && string(last.GroupID) == string(c.GroupID) && receipt.Head(chain[len(chain)-1].Receipt) == c.Head
}

// hasTicket is the half of T2 that is about the chain.
func hasTicket(chain []Event, c receipt.Claim) bool {
	for _, e := range chain[max(0, len(chain)-ticketDepth):] {
		r, err := receipt.Parse(e.Receipt)
		if err != nil {
			return false
		}
		epoch := r.Epoch
		if r.Kind == receipt.KindCommit || r.Kind == receipt.KindMove {
			epoch++
		}
		if r.Ticket == c.Ticket && epoch == c.Epoch {
			return true
		}
	}
	return false
}

// MovedTo tells the old hub of a term that another one has opened. It cannot judge the claim; a member can, and say despite. What is not
// news is no error.
func (h *Hub) MovedTo(ctx context.Context, groupID []byte, e Event) error {
	_, c, err := receipt.CheckTerm(e.Receipt, e.Commit, groupID)
	if err != nil || !c.VerifyMember() {
		return fmt.Errorf("hub: term of %x elsewhere: %w", groupID, errors.Join(ErrClaim, err))
	}
	for {
		state, ok, err := h.store.Group(ctx, groupID)
		if err != nil || !ok {
			return errors.Join(fmt.Errorf("hub: term of %x elsewhere: %w", groupID, ErrNoConversation), err)
		}
		if err = h.tryMovedTo(ctx, groupID, state, c, e); !errors.Is(err, ErrMoved) {
			return err
		}
	}
}

func (h *Hub) tryMovedTo(ctx context.Context, groupID []byte, state State, c receipt.SignedClaim, e Event) error {
	if c.Term <= state.Term {
		return nil
	}
	chain, err := h.upTo(ctx, groupID, c.Seq)
	if err != nil {
		return err
	}
	switch {
	case !endsIn(chain, c.Claim):
		return fmt.Errorf("hub: term of %x elsewhere: %w", groupID, ErrBehind)
	case !hasTicket(chain, c.Claim):
		return fmt.Errorf("hub: term of %x elsewhere: %w", groupID, ErrNotMember)
	case string(c.Next.Key[:]) == string(h.Key()): // this hub opened it, and forgot
		return h.adopt(ctx, groupID, state, c, e, nil)
	}
	if news, err := h.isNews(ctx, groupID, state, c.Claim); err != nil || !news {
		return err
	}
	next := state
	next.Moved = sha256.Sum256(e.Commit)
	if err := h.store.Swap(ctx, groupID, state, Change{Next: next, Elsewhere: &Elsewhere{e, c.Next.Hub}}); err != nil {
		return fmt.Errorf("hub: term of %x elsewhere: %w", groupID, err)
	}
	return nil
}

// isNews tells whether a claim takes the place of the one that is told here now: it goes on from a later place, or from the same in a higher term.
// Everybody has to judge the new one before they are served again, and whoever has a ticket can make claims, so there is one in a while.
func (h *Hub) isNews(ctx context.Context, groupID []byte, state State, c receipt.Claim) (bool, error) {
	if elsewhere, err := h.claimed(ctx, groupID, state); err != nil || !elsewhere {
		return err == nil, err
	}
	e, err := h.store.Elsewhere(ctx, groupID)
	if err != nil {
		return false, fmt.Errorf("hub: reading where %x is: %w", groupID, err)
	}
	known, err := receipt.ParseClaim(e.Commit)
	if err != nil {
		return false, fmt.Errorf("hub: reading where %x is: %w", groupID, err)
	}
	if known.Seq > c.Seq || known.Seq == c.Seq && known.Term >= c.Term {
		return false, nil
	}
	if !h.told.again(groupID, h.now()) {
		return false, fmt.Errorf("hub: term of %x elsewhere: %w", groupID, ErrTooMany)
	}
	return true, nil
}

const (
	toldAgain = time.Minute // between two claims that a hub tells of, in one conversation
	maxTold   = 10_000
)

// tellings are when each group's was last replaced. They are in memory: a hub that starts again tells anew.
type tellings struct {
	mu sync.Mutex
	at map[string]time.Time
}

func (l *tellings) again(groupID []byte, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if last, ok := l.at[string(groupID)]; ok && now.Sub(last) < toldAgain {
		return false
	}
	maps.DeleteFunc(l.at, func(_ string, last time.Time) bool { return len(l.at) >= maxTold && now.Sub(last) >= toldAgain })
	if len(l.at) >= maxTold {
		return false
	}
	if l.at == nil {
		l.at = map[string]time.Time{}
	}
	l.at[string(groupID)] = now
	return true
}

// upTo reads the newest events of the chain up to a seq, the open receipt among them.
func (h *Hub) upTo(ctx context.Context, groupID []byte, seq uint64) (chain []Event, err error) {
	for at := seq - min(seq, ticketDepth-1); at <= seq; at++ {
		g, ok, err := h.store.Granted(ctx, groupID, at)
		if err != nil {
			return nil, fmt.Errorf("hub: reading receipt %d of %x: %w", at, groupID, err)
		}
		if ok {
			chain = append(chain, Event{Receipt: g.Receipt})
		}
	}
	return chain, nil
}
