// Package storetest says by tests what a sequencer.Store must do, for every implementation of it, and has one in memory.
package storetest

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/waxwing-dm/waxwing/transparency/sequencer"
)

// Memory is a Store that forgets everything at the end of the process.
type Memory struct {
	mu      sync.Mutex
	heads   sequencer.Heads
	entries [][]byte
	hashes  []tlog.Hash
	rows    []sequencer.Row // in the order of their entries
}

// Clone is another store with the same in it: what somebody has who would go on in two ways.
func (m *Memory) Clone() *Memory {
	m.mu.Lock()
	defer m.mu.Unlock()
	return &Memory{heads: m.heads, entries: slices.Clone(m.entries), hashes: slices.Clone(m.hashes), rows: slices.Clone(m.rows)}
}

func (m *Memory) Head(context.Context) (sequencer.Heads, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.heads, nil
}

func (m *Memory) Append(_ context.Context, b sequencer.Batch) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if b.Size != m.heads.Size {
		return fmt.Errorf("storetest: appending at %d to a log of %d", b.Size, m.heads.Size)
	}
	m.forget(b.Forget)
	m.entries, m.hashes, m.rows = append(m.entries, b.Entries...), append(m.hashes, b.Hashes...), append(m.rows, b.Rows...)
	m.heads.Size, m.heads.Checkpoint = int64(len(m.entries)), b.Checkpoint
	if b.Served {
		m.heads.WitnessedSize, m.heads.Witnessed = m.heads.Size, b.Checkpoint
	}
	return nil
}

func (m *Memory) Witness(_ context.Context, size int64, checkpoint []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if size > m.heads.Size || size < m.heads.WitnessedSize {
		return fmt.Errorf("storetest: witnessing %d of %d entries", size, m.heads.Size)
	}
	m.heads.WitnessedSize, m.heads.Witnessed = size, checkpoint
	return nil
}

func (m *Memory) Forget(_ context.Context, indexes []int64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.forget(indexes)
	return nil
}

func (m *Memory) forget(indexes []int64) {
	m.rows = slices.DeleteFunc(slices.Clone(m.rows), func(r sequencer.Row) bool { return slices.Contains(indexes, r.Index) })
}

func (m *Memory) Row(_ context.Context, index int64) (entry []byte, r sequencer.Row, ok bool, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	i, ok := slices.BinarySearchFunc(m.rows, index, func(r sequencer.Row, index int64) int { return cmp.Compare(r.Index, index) })
	if !ok {
		return nil, sequencer.Row{}, false, nil
	}
	return m.entries[index], m.rows[i], true, nil
}

func (m *Memory) Rows(_ context.Context, f func(index int64, entry []byte) error) error {
	m.mu.Lock()
	rows, entries := m.rows, m.entries
	m.mu.Unlock()
	for _, r := range rows {
		if err := f(r.Index, entries[r.Index]); err != nil {
			return err
		}
	}
	return nil
}

func (m *Memory) Hashes(_ context.Context, indexes []int64) ([]tlog.Hash, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := make([]tlog.Hash, 0, len(indexes))
	for _, i := range indexes {
		if i >= int64(len(m.hashes)) {
			return nil, fmt.Errorf("storetest: no hash %d", i)
		}
		out = append(out, m.hashes[i])
	}
	return out, nil
}

func (m *Memory) Entries(_ context.Context, from, count int64) ([][]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if from+count > int64(len(m.entries)) {
		return nil, fmt.Errorf("storetest: no entries up to %d", from+count)
	}
	return slices.Clone(m.entries[from : from+count]), nil
}

// Holds says whether a row with these bytes is still there.
func (m *Memory) Holds(b []byte) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.ContainsFunc(m.rows, func(r sequencer.Row) bool { return bytes.Contains(r.Content, b) || bytes.Contains(r.Opening[:], b) })
}

// Run tests a store, empty at the start.
func Run(t *testing.T, open func(t *testing.T) sequencer.Store) {
	t.Run("a batch is there whole or not at all", func(t *testing.T) { batches(t, open(t)) })
	t.Run("rows", func(t *testing.T) { rows(t, open(t)) })
	t.Run("two heads", func(t *testing.T) { heads(t, open(t)) })
}

var ctx = context.Background()

// batch of n entries at i; those that has says so of have a row.
func batch(t *testing.T, s sequencer.Store, i int64, n int, has func(index int64) bool) sequencer.Batch {
	b := sequencer.Batch{Size: i, Checkpoint: []byte{7, byte(i) + byte(n)}}
	for k := range int64(n) {
		entry := []byte{1, byte(i + k)}
		b.Entries = append(b.Entries, entry)
		stored := tlog.HashReaderFunc(func(indexes []int64) (out []tlog.Hash, err error) {
			for _, x := range indexes {
				if first := tlog.StoredHashIndex(0, i); x >= first {
					out = append(out, b.Hashes[x-first])
					continue
				}
				h, err := s.Hashes(ctx, []int64{x})
				require.NoError(t, err)
				out = append(out, h...)
			}
			return out, nil
		})
		h, err := tlog.StoredHashes(i+k, entry, stored)
		require.NoError(t, err)
		b.Hashes = append(b.Hashes, h...)
		if has(i + k) {
			b.Rows = append(b.Rows, row(i+k))
		}
	}
	return b
}

func row(index int64) sequencer.Row {
	return sequencer.Row{Index: index, Opening: [32]byte{3, byte(index)}, Content: []byte{9, byte(index)}}
}

func odd(index int64) bool { return index%2 == 1 }

func batches(t *testing.T, s sequencer.Store) {
	h, err := s.Head(ctx)
	require.NoError(t, err)
	require.Zero(t, h.Size)
	require.Zero(t, h.WitnessedSize)
	var all []tlog.Hash
	size := int64(0)
	for _, n := range []int{1, 1, 3, 7, 8, 12} {
		b := batch(t, s, size, n, odd)
		all = append(all, b.Hashes...)
		gap := b
		gap.Size++
		require.Error(t, s.Append(ctx, gap), "a gap")
		require.NoError(t, s.Append(ctx, b))
		require.Error(t, s.Append(ctx, b), "the same place twice")
		size += int64(n)
		h, err := s.Head(ctx)
		require.NoError(t, err)
		require.Equal(t, size, h.Size)
		require.Equal(t, b.Checkpoint, h.Checkpoint)
	}
	for i, h := range all {
		got, err := s.Hashes(ctx, []int64{int64(i), 0})
		require.NoError(t, err)
		require.Equal(t, []tlog.Hash{h, all[0]}, got)
	}
	entries, err := s.Entries(ctx, 5, 3)
	require.NoError(t, err)
	require.Equal(t, [][]byte{{1, 5}, {1, 6}, {1, 7}}, entries)
	_, err = s.Entries(ctx, size-1, 2)
	require.Error(t, err)
	_, err = s.Hashes(ctx, []int64{int64(len(all))})
	require.Error(t, err)
}

func rows(t *testing.T, s sequencer.Store) {
	holds := func(want ...int64) {
		t.Helper()
		var all []int64
		require.NoError(t, s.Rows(ctx, func(index int64, entry []byte) error {
			require.Equal(t, []byte{1, byte(index)}, entry)
			all = append(all, index)
			return nil
		}))
		require.Equal(t, want, all)
		for i := range int64(12) {
			entry, r, ok, err := s.Row(ctx, i)
			require.NoError(t, err)
			require.Equal(t, slices.Contains(want, i), ok, "row %d", i)
			if ok {
				require.Equal(t, []byte{1, byte(i)}, entry)
				require.Equal(t, row(i), r)
			}
		}
	}
	holds()
	require.NoError(t, s.Append(ctx, batch(t, s, 0, 6, odd)))
	holds(1, 3, 5)
	b := batch(t, s, 6, 3, odd)
	b.Rows[0] = sequencer.Row{Index: 7} // of an erase
	b.Forget = []int64{3}
	gap := b
	gap.Size++
	require.Error(t, s.Append(ctx, gap))
	holds(1, 3, 5)
	require.NoError(t, s.Append(ctx, b))
	_, r, ok, err := s.Row(ctx, 7)
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, [32]byte{}, r.Opening)
	require.Empty(t, r.Content)
	require.NoError(t, s.Forget(ctx, []int64{1, 7, 3, 4})) // of which two are not there
	require.NoError(t, s.Forget(ctx, nil))
	holds(5)
	entries, err := s.Entries(ctx, 0, 9)
	require.NoError(t, err)
	require.Equal(t, []byte{1, 3}, entries[3], "only the row goes")
	stop := errors.New("stop")
	require.ErrorIs(t, s.Rows(ctx, func(int64, []byte) error { return stop }), stop)
}

func heads(t *testing.T, s sequencer.Store) {
	require.Error(t, s.Witness(ctx, 1, []byte("nothing yet")))
	require.NoError(t, s.Append(ctx, batch(t, s, 0, 3, odd)))
	h, err := s.Head(ctx)
	require.NoError(t, err)
	require.Equal(t, []int64{3, 0}, []int64{h.Size, h.WitnessedSize})
	require.Error(t, s.Witness(ctx, 4, []byte("too far")))
	require.NoError(t, s.Witness(ctx, 2, []byte("two")))
	require.NoError(t, s.Witness(ctx, 3, []byte("three")))
	require.NoError(t, s.Witness(ctx, 3, []byte("three again")))
	require.Error(t, s.Witness(ctx, 2, []byte("back")))
	h, err = s.Head(ctx)
	require.NoError(t, err)
	require.Equal(t, sequencer.Heads{Size: 3, Checkpoint: []byte{7, 3}, WitnessedSize: 3, Witnessed: []byte("three again")}, h)
	b := batch(t, s, 3, 2, odd)
	b.Served = true
	require.NoError(t, s.Append(ctx, b))
	h, err = s.Head(ctx)
	require.NoError(t, err)
	require.Equal(t, sequencer.Heads{Size: 5, Checkpoint: []byte{7, 5}, WitnessedSize: 5, Witnessed: []byte{7, 5}}, h)
}
