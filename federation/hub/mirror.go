package hub

import (
	"context"
	"crypto/sha256"
	"fmt"
	"slices"

	"github.com/waxwing-dm/waxwing/internal/receipt"
)

// MirrorStore keeps receipts and bodies of other hubs; group id is the partition key. Each method is one durable transaction.
type MirrorStore interface {
	// Keys are those by which receipts of a term are taken, at most [MaxKeys].
	Keys(ctx context.Context, groupID []byte, term uint64) ([][32]byte, error)
	// Keep writes an event, at most two of one term and seq, and, if there is one, a key of its term. The oldest go that are beyond
	// [MirrorSize].
	Keep(ctx context.Context, groupID []byte, term, seq uint64, e Event, key *[32]byte) error
	// Kept are events with seq > after and no larger than upto, ascending by seq and term, as many as have maxEvents and maxBytes; of
	// one seq all or none, and of the first seq all.
	Kept(ctx context.Context, groupID []byte, after, upto uint64, maxEvents, maxBytes int) ([]Event, error)
	// Newest is the greatest seq, and the greatest term.
	Newest(ctx context.Context, groupID []byte) (term, seq uint64, ok bool, err error)
}

// Bounds of a mirror.
const (
	MaxKeys    = 4        // of one term
	MirrorSize = 64 << 20 // bytes of one conversation
)

// A Mirror keeps what other hubs have signed, for when they are gone. It does not follow the chains: that is for members, who get
// everything that a hub of the conversation may have signed.
type Mirror struct {
	store MirrorStore
	key   func(ctx context.Context, instance string) ([32]byte, error)
	// Room, if set, is asked before anything is kept that is not here yet: an instance can sign as much as it likes.
	Room func(instance string, size int) bool
}

// NewMirror makes a mirror. key says which key an instance's hub has, by its own word.
func NewMirror(store MirrorStore, key func(ctx context.Context, instance string) ([32]byte, error)) *Mirror {
	return &Mirror{store: store, key: key}
}

// Keep what is signed by the hub of its term, and leave the rest. instance is whom the events are said to be of: its key is taken for
// a term of which none is known.
func (m *Mirror) Keep(ctx context.Context, instance string, groupID []byte, events ...Event) error {
	for _, e := range events {
		r, err := receipt.Parse(e.Receipt)
		if err != nil || string(r.GroupID) != string(groupID) || r.Kind != receipt.KindOpen && sha256.Sum256(e.Commit) != r.MessageHash {
			continue
		}
		keys, err := m.store.Keys(ctx, groupID, r.Term)
		if err != nil {
			return fmt.Errorf("hub: mirroring %x: %w", groupID, err)
		}
		var fresh *[32]byte
		if !slices.ContainsFunc(keys, func(k [32]byte) bool { return r.Verify(k[:]) }) {
			if fresh, err = m.freshKey(ctx, instance, r, e, len(keys)); err != nil {
				return err
			}
			if fresh == nil {
				continue
			}
		}
		if room, err := m.room(ctx, instance, r, e); err != nil || !room {
			return err
		}
		if err := m.store.Keep(ctx, groupID, r.Term, r.Seq, e, fresh); err != nil {
			return fmt.Errorf("hub: mirroring %x: %w", groupID, err)
		}
	}
	return nil
}

// room tells whether there is room for an event, or it is here already.
func (m *Mirror) room(ctx context.Context, instance string, r receipt.Receipt, e Event) (bool, error) {
	if m.Room == nil {
		return true, nil
	}
	same, err := m.store.Kept(ctx, r.GroupID, max(r.Seq, 1)-1, r.Seq, maxEvents, MirrorSize)
	if err != nil {
		return false, fmt.Errorf("hub: reading the mirror of %x: %w", r.GroupID, err)
	}
	here := slices.ContainsFunc(same, func(k Event) bool { return string(k.Receipt) == string(e.Receipt) })
	return here || m.Room(instance, len(e.Receipt)+len(e.Commit)), nil
}

// freshKey finds a key by which the receipt counts though none of its term does: that of a claim which a member has signed on the chain that is
// here, or that of the instance. nil: the receipt is not kept.
func (m *Mirror) freshKey(ctx context.Context, instance string, r receipt.Receipt, e Event, known int) (*[32]byte, error) {
	if known >= MaxKeys {
		return nil, nil
	}
	if r.Kind == receipt.KindTerm {
		_, c, err := receipt.CheckTerm(e.Receipt, e.Commit, r.GroupID)
		if err != nil {
			return nil, nil
		}
		chain, err := m.Chain(ctx, r.GroupID, c.Claim)
		if err != nil {
			return nil, err
		}
		if endsIn(chain, c.Claim) && hasTicket(chain, c.Claim) && c.VerifyMember() {
			return &c.Next.Key, nil
		}
	}
	if known > 0 {
		return nil, nil
	}
	key, err := m.key(ctx, instance)
	if err != nil || !r.Verify(key[:]) {
		return nil, nil // whoever cannot be asked is asked with the next event
	}
	return &key, nil
}

// Chain are the newest events that are here of the chain that a claim builds on, up to its receipt.
func (m *Mirror) Chain(ctx context.Context, groupID []byte, c receipt.Claim) ([]Event, error) {
	all, err := m.store.Kept(ctx, groupID, c.Seq-min(c.Seq, ticketDepth+1), c.Seq, maxEvents, MirrorSize)
	if err != nil {
		return nil, fmt.Errorf("hub: reading the mirror of %x: %w", groupID, err)
	}
	var chain []Event
	head := c.Head
	for _, e := range slices.Backward(all) {
		if receipt.Head(e.Receipt) != head {
			continue
		}
		r, err := receipt.Parse(e.Receipt)
		if err != nil {
			break
		}
		chain, head = append(chain, e), r.Previous
	}
	slices.Reverse(chain)
	return chain, nil
}

// Events after a seq, ascending, as much as fits one answer, and the newest term and seq.
func (m *Mirror) Events(ctx context.Context, groupID []byte, after uint64) (events []Event, term, seq uint64, err error) {
	term, seq, ok, err := m.store.Newest(ctx, groupID)
	if err == nil && !ok {
		err = ErrNoConversation
	}
	if err == nil && after < seq {
		events, err = m.store.Kept(ctx, groupID, after, seq, maxEvents, maxEventBytes)
	}
	if err != nil {
		return nil, 0, 0, fmt.Errorf("hub: reading the mirror of %x: %w", groupID, err)
	}
	return events, term, seq, nil
}
