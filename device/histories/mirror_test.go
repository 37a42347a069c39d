package histories_test

import (
	"context"
	"slices"
	"sync"

	"github.com/waxwing-dm/waxwing/federation/hub"
	"github.com/waxwing-dm/waxwing/internal/receipt"
)

// A mirrorStore is a hub.MirrorStore in memory.
type mirrorStore struct {
	mu     sync.Mutex
	keys   map[string][][32]byte // by group and term
	events map[string][]hub.Event
}

func newMirrorStore() *mirrorStore {
	return &mirrorStore{keys: map[string][][32]byte{}, events: map[string][]hub.Event{}}
}

func termKey(groupID []byte, term uint64) string { return string(groupID) + string(rune(term)) }

func (m *mirrorStore) Keys(_ context.Context, groupID []byte, term uint64) ([][32]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.keys[termKey(groupID, term)]), nil
}

func (m *mirrorStore) Keep(_ context.Context, groupID []byte, term, seq uint64, e hub.Event, key *[32]byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if key != nil {
		m.keys[termKey(groupID, term)] = append(m.keys[termKey(groupID, term)], *key)
	}
	at, same := 0, 0
	for i, old := range m.events[string(groupID)] {
		r, err := receipt.Parse(old.Receipt)
		if err != nil || string(old.Receipt) == string(e.Receipt) {
			return err
		}
		if r.Seq < seq || r.Seq == seq && r.Term <= term {
			at = i + 1
		}
		if r.Seq == seq && r.Term == term {
			same++
		}
	}
	if same < 2 {
		m.events[string(groupID)] = slices.Insert(slices.Clone(m.events[string(groupID)]), at, e)
	}
	return nil
}

func (m *mirrorStore) Kept(_ context.Context, groupID []byte, after, upto uint64, _, _ int) (events []hub.Event, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, e := range m.events[string(groupID)] {
		if seq := seqOf(e); seq > after && seq <= upto {
			events = append(events, e)
		}
	}
	return events, nil
}

func (m *mirrorStore) Newest(_ context.Context, groupID []byte) (term, seq uint64, ok bool, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, e := range m.events[string(groupID)] {
		r, err := receipt.Parse(e.Receipt)
		if err != nil {
			return 0, 0, false, err
		}
		term, seq, ok = max(term, r.Term), max(seq, r.Seq), true
	}
	return term, seq, ok, nil
}
