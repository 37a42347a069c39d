package sequencer_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/waxwing-dm/waxwing/transparency"
	"github.com/waxwing-dm/waxwing/transparency/sequencer"
)

// TestAStoreThatFailed: it may have written or not. Nothing more is signed until the log has been opened again, and what had been
// acknowledged before is there then.
func TestAStoreThatFailed(t *testing.T) {
	for name, after := range map[string]bool{"before it wrote": false, "after it wrote": true} {
		for _, alone := range []bool{true, false} {
			b := newBenchOf(t, alone)
			one := b.appended(b.first(alice))
			r := b.reader()
			for seq := range 5 {
				size, given := b.size(), len(b.store.given)
				two := b.says(update, alice, &one, 1, byte(seq+1))
				b.store.fail(!after, after)
				_, err := b.append(two)
				require.ErrorIs(t, err, errDisk, name)
				require.Len(t, b.store.given, given+1)
				b.store.fail(false, false)
				for range 3 { // the disk is well again, and that is not enough
					for _, s := range []said{two, one, b.first(bob), b.says(update, alice, &one, 1, 9)} {
						_, err := b.append(s)
						require.ErrorIs(t, err, errDisk, name)
					}
					require.ErrorIs(t, b.Pad(ctx), errDisk, name)
				}
				require.Len(t, b.store.given, given+1, "nothing more was signed")
				if alone {
					r.sees(one)
				}
				b.restart()
				if after {
					size++
				}
				require.Equal(t, size, b.size())
				b.appended(two)
				require.Equal(t, size+map[bool]int64{true: 0, false: 1}[after], b.size())
				if !alone {
					b.cosign()
				}
				r.sees(two)
				one = two
			}
			b.replayed()
		}
	}
}

// TestEverybodyInAFailedBatchIsTold, also who only sent again what another has in it.
func TestEverybodyInAFailedBatchIsTold(t *testing.T) {
	for range 20 {
		b := newBench(t)
		b.store.fail(true, false)
		var wg sync.WaitGroup
		same := b.first(alice)
		for i := range 64 {
			s := same
			if i%8 == 0 {
				s = b.first(fmt.Sprint(i))
			}
			wg.Go(func() {
				if _, err := b.append(s); !errors.Is(err, errDisk) {
					t.Errorf("acknowledged, or for another reason: %v", err)
				}
			})
		}
		wg.Wait()
		require.Equal(t, int64(1), b.size())
	}
}

// TestSameStatementInOneBatch is the same without the luck: the store waits until all of them stand in the queue.
func TestSameStatementInOneBatch(t *testing.T) {
	b := newBench(t)
	gate := make(chan struct{})
	c := b.config()
	c.Store = gated{b.store, gate}
	s, err := sequencer.New(ctx, c)
	require.NoError(t, err)
	one := b.first(alice)
	results := make(chan error, 19)
	padded := make(chan error)
	go func() { padded <- s.Pad(ctx) }()
	gate <- struct{}{} // the padding is on its way
	require.NoError(t, <-padded)
	go func() { padded <- s.Pad(ctx) }()
	for s.Queued() > 0 || !s.Writing() { // and more of it holds up what comes now
		runtime.Gosched()
	}
	for range 19 {
		go func() {
			_, err := s.Append(ctx, one.submission())
			results <- err
		}()
	}
	for s.Queued() < 19 {
		runtime.Gosched()
	}
	gate <- struct{}{}
	require.NoError(t, <-padded)
	b.store.fail(true, false)
	gate <- struct{}{} // the 19 in one batch
	for range 19 {
		require.ErrorIs(t, <-results, errDisk)
	}
}

type gated struct {
	sequencer.Store
	gate chan struct{}
}

func (g gated) Append(ctx context.Context, b sequencer.Batch) error {
	<-g.gate
	return g.Store.Append(ctx, b)
}

// TestRestartAtEveryPoint: another process after every step, with and without what was signed having been witnessed.
func TestRestartAtEveryPoint(t *testing.T) {
	for _, witness := range []int{0, 1, 3} { // every how many steps
		b := newBenchOf(t, witness == 0)
		r := b.reader()
		var last *said
		for i := range 24 {
			s := b.first(alice)
			if last != nil {
				s = b.says(update, alice, last, 1, byte(i))
			}
			b.appended(s)
			last = &s
			b.restart()
			if witness != 0 && i%witness == 0 {
				b.cosign()
				b.restart()
			}
			if witness == 0 || i%witness == 0 {
				r.sees(s)
			} else if _, err := r.look(alice); err != nil {
				require.NoError(t, err)
			}
			if i%5 == 0 {
				require.NoError(t, b.Pad(ctx))
				b.restart()
			}
		}
		b.replayed()
	}
}

// A spoilt store gives something else than what was written.
type spoilt struct {
	sequencer.Store
	heads   func(h *sequencer.Heads)
	row     func(index int64, entry []byte) bool
	hash    func(index int64, h *tlog.Hash)
	entries func(from int64, e [][]byte)
}

func (s spoilt) Head(ctx context.Context) (sequencer.Heads, error) {
	h, err := s.Store.Head(ctx)
	h.Checkpoint, h.Witnessed = bytes.Clone(h.Checkpoint), bytes.Clone(h.Witnessed)
	if s.heads != nil {
		s.heads(&h)
	}
	return h, err
}

func (s spoilt) Rows(ctx context.Context, f func(int64, []byte) error) error {
	return s.Store.Rows(ctx, func(index int64, entry []byte) error {
		if entry = bytes.Clone(entry); s.row != nil && !s.row(index, entry) {
			return nil
		}
		return f(index, entry)
	})
}

func (s spoilt) Hashes(ctx context.Context, indexes []int64) ([]tlog.Hash, error) {
	out, err := s.Store.Hashes(ctx, indexes)
	for i := range out {
		if s.hash != nil {
			s.hash(indexes[i], &out[i])
		}
	}
	return out, err
}

func (s spoilt) Entries(ctx context.Context, from, count int64) ([][]byte, error) {
	out, err := s.Store.Entries(ctx, from, count)
	for i := range out {
		out[i] = bytes.Clone(out[i])
	}
	if s.entries != nil {
		s.entries(from, out)
	}
	return out, err
}

// TestADamagedStoreIsRefused: what is loaded must be what was signed, or nothing is appended and nothing served.
func TestADamagedStoreIsRefused(t *testing.T) {
	b := witnessed(t)
	one := b.appended(b.first(alice))
	b.appended(b.first(bob))
	b.cosign()
	old, err := b.store.Head(ctx)
	require.NoError(t, err)
	b.appended(b.says(update, alice, &one, 1, 3))
	b.fill(7)
	open := func(s spoilt) error {
		s.Store = b.store
		c := b.config()
		c.Store = s
		_, err := sequencer.New(ctx, c)
		return err
	}
	require.NoError(t, open(spoilt{}))
	label := b.Label(alice)
	another := newBench(t)
	another.fill(7)
	foreign := must(another.Checkpoint())
	for name, s := range map[string]spoilt{
		"a hash of the tree":              {hash: func(i int64, h *tlog.Hash) { h[0] ^= 1 }},
		"the newest entry":                {entries: func(_ int64, e [][]byte) { e[0][45] ^= 1 }},
		"the root in the newest entry":    {entries: func(_ int64, e [][]byte) { e[0][transparency.EntrySize-1] ^= 1 }},
		"the newest entry is none":        {entries: func(_ int64, e [][]byte) { e[0] = e[0][1:] }},
		"a statement of the map":          {row: func(i int64, e []byte) bool { e[100] ^= byte(i) & 1; return true }},
		"a label of the map":              {row: func(i int64, e []byte) bool { e[10] ^= byte(i) & 1; return true }},
		"one label for all":               {row: func(i int64, e []byte) bool { copy(e[10:42], label[:]); return true }},
		"a row is missing":                {row: func(i int64, _ []byte) bool { return i != 2 }},
		"a row that is no entry":          {row: func(i int64, e []byte) bool { e[0] = 9; return true }},
		"the checkpoint":                  {heads: func(h *sequencer.Heads) { h.Checkpoint[len(h.Checkpoint)-20] ^= 1 }},
		"a checkpoint of before":          {heads: func(h *sequencer.Heads) { h.Checkpoint = old.Checkpoint }},
		"another log's checkpoint":        {heads: func(h *sequencer.Heads) { h.Checkpoint = foreign }},
		"no checkpoint":                   {heads: func(h *sequencer.Heads) { h.Checkpoint = nil }},
		"a smaller size":                  {heads: func(h *sequencer.Heads) { h.Size-- }},
		"a larger size":                   {heads: func(h *sequencer.Heads) { h.Size++ }},
		"witnessed more than there is":    {heads: func(h *sequencer.Heads) { h.WitnessedSize = 8 }},
		"the witnessed checkpoint":        {heads: func(h *sequencer.Heads) { h.Witnessed = h.Witnessed[:20] }},
		"another size was witnessed":      {heads: func(h *sequencer.Heads) { h.WitnessedSize = 4 }},
		"the head is not what was signed": {heads: func(h *sequencer.Heads) { h.Witnessed, h.WitnessedSize = old.Witnessed, h.Size }},
	} {
		require.Error(t, open(s), name)
	}
	b.replayed()
}

// TestGoingOnAlone: a log that had witnesses goes on alone, and serves what it has.
func TestGoingOnAlone(t *testing.T) {
	b := witnessed(t)
	one := b.appended(b.first(alice))
	_, err := b.Answer(ctx, alice, 0)
	require.ErrorIs(t, err, sequencer.ErrNotYet)
	b.alone = true
	b.restart()
	b.reader().sees(one)
	b.restart()
	b.reader().sees(one)
	two := b.appended(b.says(update, alice, &one, 1, 7))
	b.reader().sees(two)
	b.alone = false
	b.restart()
	b.appended(b.says(update, alice, &two, 1, 8))
	b.reader().sees(two)
}
