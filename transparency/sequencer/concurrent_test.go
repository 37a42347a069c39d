package sequencer_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/transparency/sequencer"
)

// TestHundredsAtOnce: everybody's first and second list, all at the same time; every index is given once, and the log is in order.
func TestHundredsAtOnce(t *testing.T) {
	const people = 300
	b := newBench(t)
	var wg sync.WaitGroup
	var mu sync.Mutex
	indexes := map[int64]string{}
	for i := range people {
		actor := fmt.Sprintf("https://a.example/users/%d", i)
		wg.Go(func() {
			one := b.first(actor)
			two := b.says(update, actor, &one, 1, 3)
			for _, s := range []said{one, two} {
				index, err := b.append(s)
				mu.Lock()
				if other, taken := indexes[index]; err != nil || taken {
					t.Errorf("%s: index %d, also of %q: %v", actor, index, other, err)
				}
				indexes[index] = actor
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	require.Len(t, indexes, 2*people)
	require.Equal(t, int64(2*people+1), b.head().Size)
	replayed := b.replayed()
	require.Len(t, replayed.newest, people)
	require.Less(t, b.store.calls, 2*people, "nothing was written together")
	b.restart()
	r := b.reader()
	for i := range people {
		record, err := r.look(fmt.Sprintf("https://a.example/users/%d", i))
		require.NoError(t, err)
		require.Equal(t, uint32(1), record.Statement.Seq)
	}
}

// TestOneOfManyWins: many who want the same place of one label, some of them with the very same statement.
func TestOneOfManyWins(t *testing.T) {
	b := newBench(t)
	one := b.appended(b.first(alice))
	winners := map[int64]int{}
	for round := range 6 {
		var candidates []said
		for n := range byte(8) {
			candidates = append(candidates, b.says(update, alice, &one, 1, n+1))
		}
		var wg sync.WaitGroup
		var mu sync.Mutex
		var won []said
		for i := range 64 {
			s := candidates[i%len(candidates)]
			wg.Go(func() {
				index, err := b.append(s)
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					won = append(won, s)
					winners[index]++
				} else if !errors.Is(err, sequencer.ErrNotNext) {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		require.Len(t, won, 8, "the eight who sent the one that was taken")
		for _, s := range won {
			require.Equal(t, won[0], s)
		}
		one = won[0]
		require.Equal(t, int64(round+3), b.size())
		require.Equal(t, 8, winners[int64(round+2)])
	}
	b.replayed()
}

// TestReadersDuringForget: lookups while lists change, are witnessed and old ones forgotten; every answer holds, and none goes back.
func TestReadersDuringForget(t *testing.T) {
	for _, alone := range []bool{true, false} {
		b := newBenchOf(t, alone)
		last := map[string]said{}
		for _, actor := range []string{alice, bob} {
			last[actor] = b.appended(b.first(actor))
		}
		if !alone {
			b.cosign()
		}
		done := make(chan struct{})
		var wg sync.WaitGroup
		var looked atomic.Int64
		for range 4 {
			r := b.reader()
			wg.Go(func() {
				for {
					for _, actor := range []string{alice, bob, "nobody"} {
						if _, err := r.look(actor); err != nil && !errors.Is(err, sequencer.ErrBeyondHead) {
							t.Error(err)
							return
						}
						looked.Add(1)
					}
					select {
					case <-done:
						return
					default:
					}
				}
			})
		}
		for i := range 60 {
			for actor, s := range last {
				last[actor] = b.appended(b.says(update, actor, &s, 1, byte(i)))
			}
			if !alone && i%3 == 0 {
				b.cosign()
			}
		}
		close(done)
		wg.Wait()
		require.NotZero(t, looked.Load())
		b.replayed()
	}
}

// TestWaitMissesNothing: who waits for an entry is woken once it is served, however the appending, cosigning and waiting fall together.
func TestWaitMissesNothing(t *testing.T) {
	b := witnessed(t)
	stop, cancel := context.WithCancel(ctx)
	var cosigner, waiters sync.WaitGroup
	cosigner.Go(func() {
		for {
			served, changed := b.Served()
			size, checkpoint := b.Unwitnessed()
			if served == size {
				select {
				case <-changed:
				case <-stop.Done():
					return
				}
				continue
			}
			if err := b.Witnessed(ctx, cosigned(checkpoint)); err != nil {
				t.Error(err)
				return
			}
		}
	})
	for i := range 200 {
		waiters.Go(func() {
			s := b.first(fmt.Sprint("https://a.example/users/", i))
			index, err := b.append(s)
			if err != nil {
				t.Error(err)
				return
			}
			if err := b.Wait(stop, index); err != nil {
				t.Errorf("entry %d: %v", index, err)
			}
			if size, _ := b.Served(); size <= index {
				t.Errorf("woken at %d for entry %d", size, index)
			}
		})
	}
	waiters.Wait()
	gone, leave := context.WithCancel(ctx)
	leave()
	require.ErrorIs(t, b.Wait(gone, 1<<40), context.Canceled)
	cancel()
	cosigner.Wait()
	b.replayed()
}

// TestWhoLeavesEarly: a request that nobody waits for any more is written all the same, or not at all; the log is in order.
func TestWhoLeavesEarly(t *testing.T) {
	b := newBench(t)
	gone, leave := context.WithCancel(ctx)
	leave()
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			_, err := b.Append(gone, b.first(fmt.Sprint(i)).submission())
			if err != nil && !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	b.appended(b.first(alice))
	b.replayed()
}
