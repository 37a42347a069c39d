// Package storetest says by tests what a hub.Store must do, for every implementation of it, and has one in memory.
package storetest

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/federation/hub"
)

// Memory is a Store that forgets everything at the end of the process.
type Memory struct {
	mu     sync.Mutex
	groups map[string]*group
}

type group struct {
	state  hub.State
	open   []byte
	events []hub.Event // of seq 1, 2, …
}

func (m *Memory) OpenGroup(_ context.Context, id []byte, s hub.State, receipt []byte) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if g, ok := m.groups[string(id)]; ok {
		return g.open, nil
	}
	if m.groups == nil {
		m.groups = map[string]*group{}
	}
	m.groups[string(id)] = &group{state: s, open: receipt}
	return receipt, nil
}

func (m *Memory) Group(_ context.Context, id []byte) (hub.State, bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	g, ok := m.groups[string(id)]
	if !ok {
		return hub.State{}, false, nil
	}
	return g.state, true, nil
}

func (m *Memory) Swap(_ context.Context, id []byte, old, next hub.State, e hub.Event) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	g, ok := m.groups[string(id)]
	if !ok || g.state != old {
		return hub.ErrMoved
	}
	g.state, g.events = next, append(g.events, e)
	return nil
}

func (m *Memory) Events(_ context.Context, id []byte, after uint64, limit int) ([]hub.Event, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	g, ok := m.groups[string(id)]
	if !ok || after >= uint64(len(g.events)) {
		return nil, nil
	}
	events := g.events[after:]
	return append([]hub.Event{}, events[:min(limit, len(events))]...), nil
}

// Run tests a store, empty at the start.
func Run(t *testing.T, open func(t *testing.T) hub.Store) {
	ctx := context.Background()
	id := []byte("group")
	first := hub.State{Term: 1, Head: [32]byte{1}, Ticket: [32]byte{2}}
	t.Run("a group opens once", func(t *testing.T) {
		s := open(t)
		_, ok, err := s.Group(ctx, id)
		require.NoError(t, err)
		require.False(t, ok)
		got, err := s.OpenGroup(ctx, id, first, []byte("one"))
		require.NoError(t, err)
		require.Equal(t, []byte("one"), got)
		got, err = s.OpenGroup(ctx, id, hub.State{Term: 9}, []byte("two"))
		require.NoError(t, err)
		require.Equal(t, []byte("one"), got)
		state, ok, err := s.Group(ctx, id)
		require.NoError(t, err)
		require.True(t, ok)
		require.Equal(t, first, state)
	})
	t.Run("of many writers one swaps", func(t *testing.T) {
		s := open(t)
		_, err := s.OpenGroup(ctx, id, first, []byte("open"))
		require.NoError(t, err)
		state := first
		for round := range uint64(10) {
			var wg sync.WaitGroup
			won := make(chan hub.State, 8)
			for w := range byte(8) {
				wg.Go(func() {
					next := hub.State{Term: 1, Seq: round + 1, Epoch: round + 1, Head: [32]byte{w}, Ticket: [32]byte{byte(round)}}
					if err := s.Swap(ctx, id, state, next, hub.Event{Receipt: []byte{byte(round), w}, Commit: []byte{w}}); err == nil {
						won <- next
					} else if !errors.Is(err, hub.ErrMoved) {
						t.Errorf("writer %d of round %d: %v", w, round, err)
					}
				})
			}
			wg.Wait()
			require.Len(t, won, 1)
			state = <-won
			got, _, err := s.Group(ctx, id)
			require.NoError(t, err)
			require.Equal(t, state, got)
		}
		events, err := s.Events(ctx, id, 3, 4)
		require.NoError(t, err)
		require.Len(t, events, 4)
		require.Equal(t, byte(3), events[0].Receipt[0])
		events, err = s.Events(ctx, id, 10, 4)
		require.NoError(t, err)
		require.Empty(t, events)
	})
}
