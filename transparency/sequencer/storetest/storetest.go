// Package storetest says by tests what a sequencer.Store must do, for every implementation of it, and has one in memory.
package storetest

import (
	"context"
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
	records []sequencer.Record
	hashes  []tlog.Hash
}

func (m *Memory) Head(context.Context) (int64, []byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.records) == 0 {
		return 0, nil, nil
	}
	return int64(len(m.records)), m.records[len(m.records)-1].Checkpoint, nil
}

func (m *Memory) Append(_ context.Context, r sequencer.Record) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if r.Index != int64(len(m.records)) {
		return fmt.Errorf("storetest: appending entry %d to a log of %d", r.Index, len(m.records))
	}
	m.records = append(m.records, r)
	m.hashes = append(m.hashes, r.Hashes...)
	return nil
}

func (m *Memory) Newest(_ context.Context, label [32]byte) (sequencer.Record, bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, r := range slices.Backward(m.records) {
		if r.Label == label {
			return r, true, nil
		}
	}
	return sequencer.Record{}, false, nil
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
	if from+count > int64(len(m.records)) {
		return nil, fmt.Errorf("storetest: no entries up to %d", from+count)
	}
	var out [][]byte
	for _, r := range m.records[from : from+count] {
		out = append(out, r.Entry)
	}
	return out, nil
}

// Run tests a store, empty at the start.
func Run(t *testing.T, open func(t *testing.T) sequencer.Store) {
	ctx := context.Background()
	record := func(i int64, label byte) sequencer.Record {
		return sequencer.Record{Index: i, Entry: []byte{1, byte(i)}, Label: [32]byte{label}, Opening: [32]byte{byte(i)}, List: []byte{9, byte(i)},
			Checkpoint: []byte{7, byte(i)}}
	}
	t.Run("a record is there whole or not at all", func(t *testing.T) {
		s := open(t)
		size, _, err := s.Head(ctx)
		require.NoError(t, err)
		require.Zero(t, size)
		var all []tlog.Hash
		for i := range int64(20) {
			r := record(i, byte(i%3))
			r.Hashes, err = tlog.StoredHashes(i, r.Entry, tlog.HashReaderFunc(func(x []int64) ([]tlog.Hash, error) { return s.Hashes(ctx, x) }))
			require.NoError(t, err)
			all = append(all, r.Hashes...)
			require.Error(t, s.Append(ctx, sequencer.Record{Index: i + 1}), "a gap")
			require.NoError(t, s.Append(ctx, r))
			require.Error(t, s.Append(ctx, r), "the same place twice")
			size, checkpoint, err := s.Head(ctx)
			require.NoError(t, err)
			require.Equal(t, i+1, size)
			require.Equal(t, r.Checkpoint, checkpoint)
			got, ok, err := s.Newest(ctx, r.Label)
			require.NoError(t, err)
			require.True(t, ok)
			require.Equal(t, []any{r.Index, r.Entry, r.Opening, r.List}, []any{got.Index, got.Entry, got.Opening, got.List})
		}
		for i, h := range all {
			got, err := s.Hashes(ctx, []int64{int64(i), 0})
			require.NoError(t, err)
			require.Equal(t, []tlog.Hash{h, all[0]}, got)
		}
		entries, err := s.Entries(ctx, 5, 3)
		require.NoError(t, err)
		require.Equal(t, [][]byte{{1, 5}, {1, 6}, {1, 7}}, entries)
		_, err = s.Hashes(ctx, []int64{int64(len(all))})
		require.Error(t, err)
		_, ok, err := s.Newest(ctx, [32]byte{200})
		require.NoError(t, err)
		require.False(t, ok)
	})
}
