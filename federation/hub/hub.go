// Package hub is the blind sequencer of conversations (spec/receipt.md): a register per group that grants one commit per
// epoch, by compare-and-swap, with signed and chained receipts. It sees group ids, ciphertext and ticket keys; no tree, no
// names, no message keys. It does no HTTP; the sidecar puts routes in front and gives it a [Store].
//
// It cannot know whether a commit is valid or who is an admin. So what one member says never takes anything from the others: a dispute
// adds a branch (dispute.go, aside.go), a claim that the conversation went elsewhere can be gone past (term.go), a lease ends (lease.go).
// Whose commits are disputed gives way to the others for a while (turn.go).
// Because a backup forgets what was signed, a hub asks before it grants anything after a start (restored.go).
//
// A [Mirror] keeps the chains of other hubs.
package hub

import (
	"bytes"
	"cmp"
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

// A StaleError is the loser's answer (S4): what it missed, from its place or its epoch on.
type StaleError struct {
	Term, Epoch, Seq uint64
	Events           []Event
}

func (e *StaleError) Error() string {
	return fmt.Sprintf("hub: the epoch is over, the group is at epoch %d", e.Epoch)
}

// A MismatchError says that the caller follows another chain (S7): what stands here from its place on.
type MismatchError struct {
	Term, Seq uint64
	Events    []Event
}

func (e *MismatchError) Error() string { return "hub: the caller follows another chain" }

// A LeasedError says how long somebody else has the lease (S8).
type LeasedError struct{ Wait time.Duration }

func (e *LeasedError) Error() string { return "hub: somebody else has the lease" }

// A MovedError says where the conversation is (S9).
type MovedError struct{ Elsewhere }

func (e *MovedError) Error() string { return "hub: the conversation has another hub" }

// Bounds of one answer, and so of a commit: one that fits no answer would leave the group's other members behind.
const (
	maxEvents     = 100
	maxEventBytes = 700 << 10 // as raw bytes; base64 makes a third more
	maxCommit     = 700 << 10 // with its group info
	batch         = 8         // events read from the store at once
)

// Headers reads what an MLSMessage shows in the clear.
type Headers func(message []byte) (groupID []byte, epoch uint64, commit bool, err error)

// Hub is safe for concurrent use; the store decides races.
type Hub struct {
	store   Store
	key     ed25519.PrivateKey
	headers Headers
	now     func() time.Time
	ask     Ask
	leases  leases
	turns   turns
	checked checks
	told    tellings
}

// New makes a hub with its receipt key. Without ask nobody is asked what a backup may have forgotten.
func New(store Store, key ed25519.PrivateKey, headers Headers, now func() time.Time, ask Ask) *Hub {
	return &Hub{store: store, key: key, headers: headers, now: now, ask: ask}
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
	if bytes.Equal(opened, b) {
		h.checked.done(groupID) // there is nothing to have forgotten
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

	Place     *Place // where the submitter stands in the chain; nil if it does not say
	Lease     *Lease
	GroupInfo []byte
	Move      *Move
	Despite   [32]byte // hash of a claim that the submitter found wrong
	From      string   // origin of the instance that brings it
	Who       string   // brings it, if that is known better than by the instance; in memory only
	Others    []string // instances that may have the chain, too, where who brings it says so
}

// mirrors are the instances to ask for what a backup has forgotten.
func (s Submission) mirrors() []string {
	return append([]string{s.From}, s.Others[:min(len(s.Others), askWriters)]...)
}

// who brings it, as well as it is known.
func (s Submission) who() string { return cmp.Or(s.Who, s.From) }

// Place is a receipt in a chain.
type Place struct {
	Seq  uint64
	Head [32]byte
}

// Move is where a commit moves the conversation to.
type Move struct {
	receipt.NextHub
	Signature []byte // by the current ticket key
}

// Submit grants the epoch to a commit or says why not: S1 to S9. Errors: ErrNoConversation, ErrMalformed, *StaleError,
// ErrEpochUnknown, ErrNotMember, *MismatchError, *LeasedError, *MovedError.
func (h *Hub) Submit(ctx context.Context, groupID []byte, s Submission) ([]byte, error) {
	if n := len(s.Commit) + len(s.GroupInfo); n > maxCommit {
		return nil, fmt.Errorf("hub: commit for %x: of %d bytes: %w", groupID, n, ErrMalformed)
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
	state, err := h.current(ctx, groupID, s.mirrors()...)
	if err != nil {
		return nil, err
	}
	if granted, err := h.again(ctx, groupID, s); err != nil || granted != nil {
		return granted, err
	}
	if err := h.here(ctx, groupID, state, s.Despite); err != nil {
		return nil, err
	}
	if state, err = h.place(ctx, groupID, state, s); err != nil {
		return nil, err
	}
	from, err := h.branch(ctx, groupID, state, s.Epoch, func(ticket [32]byte) bool {
		return receipt.VerifySubmit(ticket, groupID, s.Term, s.Epoch, s.Commit, s.Ticket, s.Signature)
	})
	switch {
	case err != nil:
		return nil, err
	case s.Term > state.Term || s.Term == state.Term && !from.ok && s.Epoch > state.newest():
		return nil, fmt.Errorf("hub: commit for %x: %w", groupID, ErrEpochUnknown)
	case s.Term < state.Term || !from.ok && s.Epoch < state.newest(): // whoever lost an epoch of which others have left a branch open is no stranger
		return nil, h.stale(ctx, groupID, s, state)
	case !from.ok:
		return nil, fmt.Errorf("hub: commit for %x: %w", groupID, ErrNotMember)
	}
	if wait := h.turns.wait(groupID, from.Ticket, s.who(), h.now()); wait > 0 {
		return nil, &LeasedError{wait}
	}
	if !s.Lease.holds(s.Signature) {
		s.Lease = nil
	}
	if wait := h.leases.blocked(groupID, s.Lease, h.now()); wait > 0 {
		return nil, &LeasedError{wait}
	}
	return h.grant(ctx, groupID, state, from, s)
}

// again is S3.
func (h *Hub) again(ctx context.Context, groupID []byte, s Submission) ([]byte, error) {
	granted, err := h.store.Find(ctx, groupID, sha256.Sum256(s.Commit))
	if err != nil {
		return nil, fmt.Errorf("hub: looking for a commit in %x: %w", groupID, err)
	}
	if r, err := receipt.Parse(granted); err != nil || r.Term != s.Term {
		return nil, nil
	}
	return granted, nil
}

// here is S9.
func (h *Hub) here(ctx context.Context, groupID []byte, state State, despite [32]byte) error {
	if state.Moved == ([32]byte{}) {
		return nil
	}
	e, err := h.store.Elsewhere(ctx, groupID)
	if err != nil {
		return fmt.Errorf("hub: reading where %x is: %w", groupID, err)
	}
	if r, err := receipt.Parse(e.Receipt); err == nil && r.Kind == receipt.KindTerm && despite == state.Moved {
		return nil
	}
	return &MovedError{e}
}

// place is S7: the submitter's place is one in this chain.
func (h *Hub) place(ctx context.Context, groupID []byte, state State, s Submission) (State, error) {
	if s.Place == nil || s.Term < state.Term {
		return state, nil
	}
	if s.Place.Seq > state.Seq || s.Term > state.Term {
		after, err := h.catchUp(ctx, groupID, state, s.mirrors())
		if err != nil {
			return state, err
		}
		if state = after; s.Place.Seq > state.Seq && s.Term <= state.Term {
			return state, h.mismatch(ctx, groupID, state, s.Place.Seq)
		}
	}
	if s.Place.Seq > state.Seq {
		return state, nil // of a term that is not known here
	}
	g, ok, err := h.store.Granted(ctx, groupID, s.Place.Seq)
	if err != nil {
		return state, fmt.Errorf("hub: reading receipt %d of %x: %w", s.Place.Seq, groupID, err)
	}
	if ok && receipt.Head(g.Receipt) != s.Place.Head {
		return state, h.mismatch(ctx, groupID, state, s.Place.Seq)
	}
	return state, nil
}

func (h *Hub) mismatch(ctx context.Context, groupID []byte, state State, seq uint64) error {
	events, err := h.after(ctx, groupID, state, max(seq, 1)-1)
	if err != nil {
		return err
	}
	return &MismatchError{state.Term, state.Seq, events}
}

// grant is S6.
func (h *Hub) grant(ctx context.Context, groupID []byte, state State, from found, s Submission) ([]byte, error) {
	by := from.Ticket
	r := receipt.Receipt{
		Kind: receipt.KindCommit, GroupID: groupID, Term: state.Term, Seq: state.Seq + 1, Epoch: s.Epoch,
		MessageHash: sha256.Sum256(s.Commit), Previous: state.Head, Ticket: s.Ticket, Time: uint64(h.now().UnixMilli()),
	}
	if s.Move != nil {
		if !receipt.VerifyMove(by, groupID, s.Term, s.Epoch, s.Commit, s.Move.NextHub, s.Move.Signature) {
			return nil, fmt.Errorf("hub: move of %x: %w", groupID, ErrNotMember)
		}
		r.Kind = receipt.KindMove
	}
	r.Sign(h.key)
	e := Event{r.Marshal(), s.Commit}
	next, aside, _ := state.follow(r, e.Receipt, e.Commit, from.Branch)
	c := Change{Next: next, Steps: []Step{{e, by, s.GroupInfo}}, Writer: s.From, Aside: aside}
	if from.aside {
		c.Back = from.Branch
	}
	if s.Move != nil {
		c.Elsewhere = &Elsewhere{e, s.Move.Hub}
	} else {
		c.Next.Moved = state.Moved // despite it
	}
	if err := h.store.Swap(ctx, groupID, state, c); err != nil {
		return nil, fmt.Errorf("hub: commit for %x: %w", groupID, err)
	}
	h.leases.granted(groupID, s.Lease, h.now())
	h.turns.granted(groupID, r.Seq, by, s.who(), h.now())
	return e.Receipt, nil
}

// stale finds what the caller missed.
func (h *Hub) stale(ctx context.Context, groupID []byte, s Submission, state State) error {
	after := s.Epoch // the commit of epoch n has at least seq n+1
	if s.Place != nil {
		after = s.Place.Seq
	}
	if s.Term < state.Term {
		after = min(after, max(state.Base, 1)-1)
	}
	events, err := h.after(ctx, groupID, state, after)
	if err != nil {
		return err
	}
	return &StaleError{state.Term, state.newest(), state.Seq, events}
}

// Events returns what came after a seq, ascending, as much as fits one answer, and where the register is.
func (h *Hub) Events(ctx context.Context, groupID []byte, after uint64) ([]Event, State, error) {
	state, ok, err := h.store.Group(ctx, groupID)
	if err != nil {
		return nil, State{}, fmt.Errorf("hub: reading %x: %w", groupID, err)
	}
	if !ok {
		return nil, State{}, fmt.Errorf("hub: events of %x: %w", groupID, ErrNoConversation)
	}
	events, err := h.after(ctx, groupID, state, after)
	return events, state, err
}

func (h *Hub) after(ctx context.Context, groupID []byte, state State, after uint64) ([]Event, error) {
	if after >= state.Seq {
		return nil, nil
	}
	events, err := page(after, func(after uint64, limit int) ([]Event, error) { return h.store.Events(ctx, groupID, after, limit) })
	if err != nil {
		return nil, fmt.Errorf("hub: reading the events of %x: %w", groupID, err)
	}
	return events, nil
}

// page reads as many events as fit one answer.
func page(after uint64, read func(after uint64, limit int) ([]Event, error)) (events []Event, err error) {
	for size := 0; len(events) < maxEvents; {
		limit := min(batch, maxEvents-len(events))
		more, err := read(after, limit)
		if err != nil {
			return nil, err
		}
		for _, e := range more {
			if size += len(e.Receipt) + len(e.Commit); size > maxEventBytes && len(events) > 0 {
				return events, nil
			}
			r, err := receipt.Parse(e.Receipt)
			if err != nil {
				return nil, err
			}
			events, after = append(events, e), r.Seq
		}
		if len(more) < limit {
			break
		}
	}
	return events, nil
}

// Elsewhere is what says that the conversation has another hub, if something does.
func (h *Hub) Elsewhere(ctx context.Context, groupID []byte, s State) (*Elsewhere, error) {
	var moved *MovedError
	if err := h.here(ctx, groupID, s, [32]byte{}); errors.As(err, &moved) {
		return &moved.Elsewhere, nil
	} else if err != nil {
		return nil, err
	}
	return nil, nil
}

// GroupInfos are what came with the newest commits, sealed, newest first.
func (h *Hub) GroupInfos(ctx context.Context, groupID []byte) ([]GroupInfo, error) {
	if _, ok, err := h.store.Group(ctx, groupID); err != nil || !ok {
		return nil, errors.Join(fmt.Errorf("hub: group info of %x: %w", groupID, ErrNoConversation), err)
	}
	infos, err := h.store.GroupInfos(ctx, groupID)
	if err != nil {
		return nil, fmt.Errorf("hub: group info of %x: %w", groupID, err)
	}
	return infos, nil
}
