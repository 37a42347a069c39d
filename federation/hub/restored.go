package hub

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/waxwing-dm/waxwing/internal/receipt"
)

const (
	askWriters = 4
	askTime    = 5 * time.Second
	askRounds  = 10 // answers of one instance, each up to a hundred events
	maxChecked = 100_000
)

// Ask reads what another instance has of a conversation after a seq. What it says is checked.
type Ask func(ctx context.Context, instance string, groupID []byte, after uint64) ([]Event, error)

// current reads a register. The first time after a start, it asks who wrote to it what a backup may have forgotten, and the mirrors that are
// named (B1).
func (h *Hub) current(ctx context.Context, groupID []byte, mirrors ...string) (State, error) {
	state, ok, err := h.store.Group(ctx, groupID)
	if err == nil && ok && h.ask != nil {
		if mine, done := h.checked.begin(groupID); mine {
			h.askAll(ctx, groupID, state, mirrors)
			h.checked.done(groupID)
			state, ok, err = h.store.Group(ctx, groupID)
		} else if done != nil {
			select {
			case <-done:
				state, ok, err = h.store.Group(ctx, groupID)
			case <-ctx.Done():
				err = ctx.Err()
			}
		}
	}
	if err != nil {
		return State{}, fmt.Errorf("hub: reading %x: %w", groupID, err)
	}
	if !ok {
		return State{}, fmt.Errorf("hub: looking for %x: %w", groupID, ErrNoConversation)
	}
	return state, nil
}

// askAll asks those who wrote, at the same time. Nobody's silence keeps the hub from working: then it is on the submitters, who say where
// they are (B2).
func (h *Hub) askAll(ctx context.Context, groupID []byte, state State, mirrors []string) {
	writers, err := h.store.Writers(ctx, groupID, askWriters)
	if err != nil {
		return
	}
	writers = append(writers, mirrors...)
	slices.Sort(writers)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), askTime)
	defer cancel()
	var asking sync.WaitGroup
	for _, instance := range slices.Compact(writers) {
		asking.Go(func() { h.takeFrom(ctx, groupID, state.Seq, instance) })
	}
	asking.Wait()
}

// catchUp is B2.
func (h *Hub) catchUp(ctx context.Context, groupID []byte, state State, mirrors []string) (State, error) {
	if h.ask == nil {
		return state, nil
	}
	asking, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	for _, instance := range mirrors {
		h.takeFrom(asking, groupID, state.Seq, instance)
	}
	after, _, err := h.store.Group(ctx, groupID)
	if err == nil && after.Moved != state.Moved {
		err = h.here(ctx, groupID, after, [32]byte{})
	}
	return after, err
}

func (h *Hub) takeFrom(ctx context.Context, groupID []byte, after uint64, instance string) {
	if instance == "" {
		return
	}
	for range askRounds {
		events, err := h.ask(ctx, instance, groupID, after)
		if err != nil || len(events) == 0 {
			return
		}
		for _, e := range events {
			if h.take(ctx, groupID, e) != nil {
				continue
			}
			if r, err := receipt.Parse(e.Receipt); err == nil {
				after = max(after, r.Seq)
			}
		}
		if state, ok, err := h.store.Group(ctx, groupID); err != nil || !ok || state.Seq != after {
			return
		}
	}
}

// take a receipt that this hub signed, if it continues the chain, or one that says where the conversation went.
func (h *Hub) take(ctx context.Context, groupID []byte, e Event) error {
	r, err := receipt.Parse(e.Receipt)
	if err != nil {
		return err
	}
	if r.Kind == receipt.KindTerm {
		return h.MovedTo(ctx, groupID, e)
	}
	state, ok, err := h.store.Group(ctx, groupID)
	if err != nil || !ok {
		return err
	}
	chain := receipt.Chain{GroupID: groupID, HubKey: [32]byte(h.Key()), Term: state.Term, Seq: state.Seq, Head: state.Head}
	if _, _, err := chain.Next(e.Receipt); err != nil {
		return err
	}
	if sha256.Sum256(e.Commit) != r.MessageHash {
		return fmt.Errorf("hub: taking over receipt %d of %x: %w", r.Seq, groupID, ErrMalformed)
	}
	var from found
	if r.Kind != receipt.KindReopen {
		if from, err = h.branch(ctx, groupID, state, r.Epoch, func([32]byte) bool { return true }); err != nil || !from.ok {
			return fmt.Errorf("hub: taking over receipt %d of %x: %w", r.Seq, groupID, errors.Join(ErrEpochUnknown, err))
		}
	}
	next, aside, ok := state.follow(r, e.Receipt, e.Commit, from.Branch)
	if !ok {
		return fmt.Errorf("hub: taking over receipt %d of %x: %w", r.Seq, groupID, ErrMalformed)
	}
	c := Change{Next: next, Steps: []Step{{Event: e, By: from.Ticket}}, Aside: aside}
	if from.aside {
		c.Back = from.Branch
	}
	if r.Kind == receipt.KindMove {
		c.Elsewhere = &Elsewhere{Event: e} // where to, its members know
	}
	return h.store.Swap(ctx, groupID, state, c)
}

// checks are the groups that were asked about since the start.
type checks struct {
	mu     sync.Mutex
	groups map[string]chan struct{} // closed when it is done
}

// begin says whether the caller is the one to ask, or whom to wait for; neither if it is done.
func (c *checks) begin(groupID []byte) (mine bool, done <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if done, ok := c.groups[string(groupID)]; ok {
		select {
		case <-done:
			return false, nil
		default:
			return false, done
		}
	}
	if c.groups == nil || len(c.groups) >= maxChecked {
		c.groups = map[string]chan struct{}{} // who still asks, asks; it does no harm to ask twice
	}
	c.groups[string(groupID)] = make(chan struct{})
	return true, nil
}

// done ends the asking, or makes it unnecessary.
func (c *checks) done(groupID []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	ch, ok := c.groups[string(groupID)]
	if !ok {
		if c.groups == nil {
			c.groups = map[string]chan struct{}{}
		}
		ch = make(chan struct{})
		c.groups[string(groupID)] = ch
	}
	select {
	case <-ch:
	default:
		close(ch)
	}
}
