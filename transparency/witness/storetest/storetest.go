// Package storetest says by tests what a witness.Store must do, for every implementation of it, and has one in memory.
package storetest

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/waxwing-dm/waxwing/transparency/witness"
)

// Memory is a Store that forgets everything at the end of the process.
type Memory struct {
	mu     sync.Mutex
	states map[[32]byte]witness.State
}

func (m *Memory) State(_ context.Context, originHash [32]byte) (witness.State, bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s, ok := m.states[originHash]
	return s, ok, nil
}

func (m *Memory) Swap(_ context.Context, old, next witness.State) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.states == nil {
		m.states = map[[32]byte]witness.State{}
	}
	id := witness.OriginHash(next.Origin)
	if s := m.states[id]; s.Size != old.Size || s.Time != old.Time {
		return false, nil
	}
	m.states[id] = next
	return true, nil
}

// Run tests a store, empty at the start.
func Run(t *testing.T, open func(t *testing.T) witness.Store) {
	ctx := context.Background()
	state := func(origin string, size, seconds int64) witness.State {
		return witness.State{Origin: origin, Size: size, Root: tlog.Hash{byte(size), 1}, Time: seconds, Audited: size%2 == 1, Note: []byte{byte(size), 0, 0xff}}
	}
	read := func(t *testing.T, s witness.Store, origin string) (witness.State, bool) {
		got, ok, err := s.State(ctx, witness.OriginHash(origin))
		require.NoError(t, err)
		return got, ok
	}
	t.Run("a state follows the one that was compared with", func(t *testing.T) {
		s := open(t)
		_, ok := read(t, s, "a.example")
		require.False(t, ok)
		for _, c := range []struct {
			name      string
			old, next witness.State
			swapped   bool
		}{
			{"an old state where there is none", state("a.example", 0, 9), state("a.example", 5, 10), false},
			{"the first", witness.State{}, state("a.example", 0, 10), true},
			{"the first again", witness.State{}, state("a.example", 5, 10), false},
			{"the first of another log", witness.State{}, state("b.example", 7, 1<<62), true},
			{"larger", state("a.example", 0, 10), state("a.example", 5, 10), true},
			{"from a size that is gone", state("a.example", 0, 10), state("a.example", 6, 11), false},
			{"from a time that is not the present one", state("a.example", 5, 9), state("a.example", 6, 11), false},
			{"the same", state("a.example", 5, 10), state("a.example", 5, 10), true},
			{"later", state("a.example", 5, 10), state("a.example", 5, 12), true},
			{"far larger", state("a.example", 5, 12), state("a.example", 1<<62, 13), true},
		} {
			before, _ := read(t, s, c.next.Origin)
			swapped, err := s.Swap(ctx, c.old, c.next)
			require.NoError(t, err, c.name)
			require.Equal(t, c.swapped, swapped, c.name)
			after, _ := read(t, s, c.next.Origin)
			if swapped {
				require.Equal(t, c.next, after, c.name)
			} else {
				require.Equal(t, before, after, c.name)
			}
		}
		b, ok := read(t, s, "b.example")
		require.True(t, ok)
		require.Equal(t, state("b.example", 7, 1<<62), b, "each log has its own")
	})
	t.Run("of many at once, one", func(t *testing.T) {
		s := open(t)
		var old witness.State
		for round := range int64(10) {
			var won atomic.Int64
			var all sync.WaitGroup
			for i := range int64(8) {
				all.Go(func() {
					ok, err := s.Swap(ctx, old, state("a.example", round*10+i+1, round+1))
					if err != nil {
						t.Error(err)
					}
					if ok {
						won.Add(1)
					}
				})
			}
			all.Wait()
			require.Equal(t, int64(1), won.Load())
			old, _ = read(t, s, "a.example")
		}
	})
}
