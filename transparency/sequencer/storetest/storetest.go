// Package storetest says by tests what a sequencer.Store must do, for every implementation of it, and has one in memory.
package storetest

import (
	"bytes"
	"context"
	"fmt"
	"iter"
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
	rows    []sequencer.Row
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

func (m *Memory) Forget(_ context.Context, size int64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	newest := map[[32]byte]int64{}
	for _, r := range m.rows {
		if r.Index < size {
			newest[r.Label] = r.Index
		}
	}
	m.rows = slices.DeleteFunc(slices.Clone(m.rows), func(r sequencer.Row) bool { return r.Index < newest[r.Label] })
	return nil
}

func (m *Memory) Newest(_ context.Context, label [32]byte, size int64) (sequencer.Row, bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, r := range slices.Backward(m.rows) {
		if r.Label == label && r.Index < size {
			return r, true, nil
		}
	}
	return sequencer.Row{}, false, nil
}

func (m *Memory) Values(_ context.Context, size int64) iter.Seq2[sequencer.Row, error] {
	m.mu.Lock()
	defer m.mu.Unlock()
	newest := map[[32]byte]sequencer.Row{}
	for _, r := range m.rows {
		if r.Index < size {
			newest[r.Label] = r
		}
	}
	var rows []sequencer.Row
	for _, r := range newest {
		rows = append(rows, r)
	}
	slices.SortFunc(rows, func(a, b sequencer.Row) int { return bytes.Compare(a.Label[:], b.Label[:]) })
	return func(yield func(sequencer.Row, error) bool) {
		for _, r := range rows {
			if !yield(r, nil) {
				return
			}
		}
	}
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
	t.Run("rows of a label", func(t *testing.T) { rows(t, open(t)) })
	t.Run("two heads", func(t *testing.T) { heads(t, open(t)) })
}

var ctx = context.Background()

// batch of n entries at i, each of which writes to the label that pick gives, or to none if that is 0.
func batch(t *testing.T, s sequencer.Store, i int64, n int, pick func(index int64) byte) sequencer.Batch {
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
		if label := pick(i + k); label != 0 {
			b.Rows = append(b.Rows, row(i+k, label))
		}
	}
	return b
}

func row(index int64, label byte) sequencer.Row {
	return sequencer.Row{Label: [32]byte{label}, Index: index, Opening: [32]byte{3, byte(index)}, Content: []byte{9, byte(index)}, Value: [32]byte{5, byte(index)}}
}

func batches(t *testing.T, s sequencer.Store) {
	h, err := s.Head(ctx)
	require.NoError(t, err)
	require.Zero(t, h.Size)
	require.Zero(t, h.WitnessedSize)
	var all []tlog.Hash
	size := int64(0)
	for _, n := range []int{1, 1, 3, 7, 8, 12} {
		b := batch(t, s, size, n, func(i int64) byte { return byte(i) * byte(i%2) }) // every other is padding
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
	next := byte(1)
	for r, err := range s.Values(ctx, size) {
		require.NoError(t, err)
		require.Equal(t, row(int64(next), next).Label, r.Label)
		next += 2
	}
	require.Equal(t, byte(size+1), next)
}

func rows(t *testing.T, s sequencer.Store) {
	newest := func(label byte, size int64) any {
		r, ok, err := s.Newest(ctx, [32]byte{label}, size)
		require.NoError(t, err)
		if !ok {
			return nil
		}
		require.Equal(t, row(r.Index, label), r)
		return r.Index
	}
	values := func(size int64) (all []int64) {
		for r, err := range s.Values(ctx, size) {
			require.NoError(t, err)
			require.Equal(t, row(r.Index, r.Label[0]).Value, r.Value)
			all = append(all, r.Index)
		}
		return all
	}
	require.Empty(t, values(0))
	require.NoError(t, s.Append(ctx, batch(t, s, 0, 6, func(i int64) byte { return 20 - byte(i%3) }))) // labels 20 19 18 20 19 18
	require.NoError(t, s.Append(ctx, batch(t, s, 6, 1, func(int64) byte { return 19 })))
	require.Equal(t, []any{nil, int64(0), int64(3), int64(4), int64(6), nil}, []any{newest(20, 0), newest(20, 1), newest(20, 7), newest(19, 6), newest(19, 7), newest(1, 7)})
	require.Equal(t, []int64{2, 1, 0}, values(3))
	require.Equal(t, []int64{5, 4, 3}, values(6))
	require.Equal(t, []int64{5, 6, 3}, values(7))
	for range s.Values(ctx, 7) { // and stop
		break
	}
	require.NoError(t, s.Forget(ctx, 6)) // trees of 6 and more are shown
	require.Equal(t, []int64{5, 4, 3}, values(6))
	require.Equal(t, []any{nil, int64(4), int64(6)}, []any{newest(20, 3), newest(19, 6), newest(19, 7)})
	require.NoError(t, s.Forget(ctx, 7))
	require.Equal(t, []int64{5, 6, 3}, values(7))
	require.Equal(t, []any{nil, int64(6)}, []any{newest(19, 6), newest(19, 7)})
}

func heads(t *testing.T, s sequencer.Store) {
	require.Error(t, s.Witness(ctx, 1, []byte("nothing yet")))
	require.NoError(t, s.Append(ctx, batch(t, s, 0, 3, func(i int64) byte { return byte(i) })))
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
	b := batch(t, s, 3, 2, func(i int64) byte { return byte(i) })
	b.Served = true
	require.NoError(t, s.Append(ctx, b))
	h, err = s.Head(ctx)
	require.NoError(t, err)
	require.Equal(t, sequencer.Heads{Size: 5, Checkpoint: []byte{7, 5}, WitnessedSize: 5, Witnessed: []byte{7, 5}}, h)
}
