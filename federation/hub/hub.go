// Package hub is the blind sequencer of conversations (spec/receipt.md): a register per group that grants one commit per
// epoch, by compare-and-swap, with signed and chained receipts. It sees group ids, ciphertext and ticket keys; no tree, no
// names, no message keys. It does no HTTP; the sidecar puts routes in front and gives it a [Store].
package hub

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"github.com/waxwing-dm/waxwing/internal/receipt"
)

var (
	ErrNoConversation = errors.New("no such conversation")                         // S1
	ErrMalformed      = errors.New("not a commit of this group and epoch")         // S2
	ErrEpochUnknown   = errors.New("of an epoch that has not come yet")            // S4
	ErrNotMember      = errors.New("not signed by a member of the current epoch")  // S5
	ErrMoved          = errors.New("the register has moved on")                    // from a Store: the compare failed
	ErrExists         = errors.New("the conversation is open with another ticket") // Open
)

// A StaleError is the loser's answer (S4): what it missed, from its epoch on.
type StaleError struct {
	Epoch, Seq uint64
	Events     []Event
}

func (e *StaleError) Error() string {
	return fmt.Sprintf("hub: the epoch is over, the group is at epoch %d", e.Epoch)
}

// Event is one granted commit with its receipt.
type Event struct{ Receipt, Commit []byte }

// State of a register.
type State struct {
	Term, Seq, Epoch uint64
	Head             [32]byte
	Ticket           [32]byte // of the current epoch
}

// Store keeps the registers; group id is the partition key. Each method is one durable transaction.
type Store interface {
	// OpenGroup writes state and open receipt unless the group exists, and returns the open receipt that is there now.
	OpenGroup(ctx context.Context, groupID []byte, s State, receipt []byte) (opened []byte, err error)
	Group(ctx context.Context, groupID []byte) (s State, ok bool, err error)
	// Swap replaces the state old by next and appends the event, or returns ErrMoved if the state is not old any more.
	Swap(ctx context.Context, groupID []byte, old, next State, e Event) error
	// Events with seq > after, ascending, at most limit.
	Events(ctx context.Context, groupID []byte, after uint64, limit int) ([]Event, error)
}

// Bounds of one answer, and so of a commit: one that fits no answer would leave the group's other members behind.
const (
	maxEvents     = 100
	maxEventBytes = 700 << 10 // as raw bytes; base64 makes a third more
	maxCommit     = 700 << 10
	batch         = 8 // events read from the store at once
)

// Headers reads what an MLSMessage shows in the clear.
type Headers func(message []byte) (groupID []byte, epoch uint64, commit bool, err error)

// Hub is safe for concurrent use; the store decides races.
type Hub struct {
	store   Store
	key     ed25519.PrivateKey
	headers Headers
	now     func() time.Time
}

// New makes a hub with its receipt key.
func New(store Store, key ed25519.PrivateKey, headers Headers, now func() time.Time) *Hub {
	return &Hub{store, key, headers, now}
}

// Key is the public half of the receipt key.
func (h *Hub) Key() ed25519.PublicKey { return h.key.Public().(ed25519.PublicKey) }

// Open starts a conversation at epoch 0 and returns its first receipt. The same call again gets the same receipt.
func (h *Hub) Open(ctx context.Context, groupID []byte, ticket [32]byte) ([]byte, error) {
	if len(groupID) == 0 || len(groupID) > receipt.MaxGroupID {
		return nil, fmt.Errorf("hub: opening a conversation: a group id of %d bytes: it has 1 to %d", len(groupID), receipt.MaxGroupID)
	}
	r := receipt.Receipt{Kind: receipt.KindOpen, GroupID: groupID, Term: 1, Ticket: ticket, Time: uint64(h.now().UnixMilli())}
	r.Sign(h.key)
	b := r.Marshal()
	opened, err := h.store.OpenGroup(ctx, groupID, State{Term: 1, Head: receipt.Head(b), Ticket: ticket}, b)
	if err != nil {
		return nil, fmt.Errorf("hub: opening %x: %w", groupID, err)
	}
	existing, err := receipt.Parse(opened)
	if err != nil || existing.Ticket != ticket {
		return nil, fmt.Errorf("hub: opening %x: %w", groupID, ErrExists)
	}
	return opened, nil
}

// Submission is a commit that asks for its receipt.
type Submission struct {
	Term, Epoch uint64
	Commit      []byte
	Ticket      [32]byte // of the next epoch
	Signature   []byte   // by the current ticket key
}

// Submit grants the epoch to a commit or says why not: S1 to S6. Errors: ErrNoConversation, ErrMalformed, *StaleError,
// ErrEpochUnknown, ErrNotMember.
func (h *Hub) Submit(ctx context.Context, groupID []byte, s Submission) ([]byte, error) {
	if len(s.Commit) > maxCommit {
		return nil, fmt.Errorf("hub: commit for %x: of %d bytes: %w", groupID, len(s.Commit), ErrMalformed)
	}
	id, epoch, commit, err := h.headers(s.Commit)
	if err != nil || !commit || !bytes.Equal(id, groupID) || epoch != s.Epoch {
		return nil, fmt.Errorf("hub: commit for %x: %w", groupID, ErrMalformed)
	}
	for {
		b, err := h.try(ctx, groupID, s)
		if errors.Is(err, ErrMoved) {
			continue // somebody else's commit is in; the next look answers stale, or this very commit's receipt
		}
		return b, err
	}
}

func (h *Hub) try(ctx context.Context, groupID []byte, s Submission) ([]byte, error) {
	state, ok, err := h.store.Group(ctx, groupID)
	switch {
	case err != nil:
		return nil, fmt.Errorf("hub: reading %x: %w", groupID, err)
	case !ok:
		return nil, fmt.Errorf("hub: commit for %x: %w", groupID, ErrNoConversation)
	case s.Term > state.Term || s.Term == state.Term && s.Epoch > state.Epoch:
		return nil, fmt.Errorf("hub: commit for %x: %w", groupID, ErrEpochUnknown)
	case s.Term < state.Term || s.Epoch < state.Epoch:
		return h.stale(ctx, groupID, s, state)
	case !receipt.VerifySubmit(state.Ticket, groupID, s.Term, s.Epoch, s.Commit, s.Ticket, s.Signature):
		return nil, fmt.Errorf("hub: commit for %x: %w", groupID, ErrNotMember)
	}
	r := receipt.Receipt{
		Kind: receipt.KindCommit, GroupID: groupID, Term: state.Term, Seq: state.Seq + 1, Epoch: state.Epoch,
		MessageHash: sha256.Sum256(s.Commit), Previous: state.Head, Ticket: s.Ticket, Time: uint64(h.now().UnixMilli()),
	}
	r.Sign(h.key)
	b := r.Marshal()
	next := State{state.Term, state.Seq + 1, state.Epoch + 1, receipt.Head(b), s.Ticket}
	if err := h.store.Swap(ctx, groupID, state, next, Event{b, s.Commit}); err != nil {
		return nil, fmt.Errorf("hub: commit for %x: %w", groupID, err)
	}
	return b, nil
}

// stale finds what the caller missed. If its very commit is what won (S3), it gets that receipt.
func (h *Hub) stale(ctx context.Context, groupID []byte, s Submission, state State) ([]byte, error) {
	// In a term that has had every epoch once, the commit of epoch n has seq n+1.
	events, err := h.Events(ctx, groupID, s.Epoch)
	if err != nil {
		return nil, err
	}
	if len(events) > 0 && s.Term == state.Term && bytes.Equal(events[0].Commit, s.Commit) {
		return events[0].Receipt, nil
	}
	return nil, &StaleError{state.Epoch, state.Seq, events}
}

// Events returns what came after a seq, ascending, as much as fits one answer.
func (h *Hub) Events(ctx context.Context, groupID []byte, after uint64) ([]Event, error) {
	state, ok, err := h.store.Group(ctx, groupID)
	if err != nil {
		return nil, fmt.Errorf("hub: reading %x: %w", groupID, err)
	}
	if !ok {
		return nil, fmt.Errorf("hub: events of %x: %w", groupID, ErrNoConversation)
	}
	var events []Event
	for size := 0; after < state.Seq && len(events) < maxEvents; {
		more, err := h.store.Events(ctx, groupID, after, min(batch, maxEvents-len(events)))
		if err != nil {
			return nil, fmt.Errorf("hub: reading the events of %x: %w", groupID, err)
		}
		for _, e := range more {
			if size += len(e.Receipt) + len(e.Commit); size > maxEventBytes && len(events) > 0 {
				return events, nil
			}
			events = append(events, e)
		}
		if len(more) == 0 {
			break
		}
		after += uint64(len(more)) // in a chain every seq is there
	}
	return events, nil
}
