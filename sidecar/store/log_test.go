package store_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/waxwing-dm/waxwing/sidecar/store"
	"github.com/waxwing-dm/waxwing/transparency/sequencer"
)

// batchAt is one entry of a label; that the hashes are those of a tree is for others to hold.
func batchAt(index int64, label byte, opening, content []byte) sequencer.Batch {
	return sequencer.Batch{
		Size: index, Entries: [][]byte{{byte(index)}}, Hashes: make([]tlog.Hash, tlog.StoredHashIndex(0, index+1)-tlog.StoredHashIndex(0, index)),
		Rows: []sequencer.Row{{Label: [32]byte{label}, Index: index, Opening: [32]byte(opening), Content: content, Value: [32]byte{byte(index)}}}, Checkpoint: []byte("note"),
	}
}

// TestForgottenIsNotOnTheDisk looks for what was erased in the files themselves: in the database at once, and in the write-ahead log, which
// keeps old pages until it is written over, at the latest when the store is closed.
func TestForgottenIsNotOnTheDisk(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	secret, kept := bytes.Repeat([]byte("opening."), 4), bytes.Repeat([]byte("another."), 4)
	list := bytes.Repeat([]byte("a device list longer than a page. "), 300)
	require.NoError(t, s.Log.Append(ctx, batchAt(0, 1, secret, list)))
	require.NoError(t, s.Log.Append(ctx, batchAt(1, 2, kept, []byte("stays"))))
	s = reopen(t, s, dir)
	require.True(t, onDisk(t, dir, secret, ""), "the control")
	require.NoError(t, s.Log.Append(ctx, batchAt(2, 1, make([]byte, 32), nil)))
	require.NoError(t, s.Log.Forget(ctx, 2))
	require.True(t, onDisk(t, dir, secret, ""), "a tree of 2 entries shows it still")
	require.NoError(t, s.Log.Forget(ctx, 3))
	_, ok, err := s.Log.Newest(ctx, [32]byte{1}, 2)
	require.NoError(t, err)
	require.False(t, ok)
	s = reopen(t, s, dir)
	for _, name := range []string{"", "-wal"} {
		require.False(t, onDisk(t, dir, secret, name), "opening in database%s", name)
		require.False(t, onDisk(t, dir, list[:64], name), "content in database%s", name)
	}
	require.True(t, onDisk(t, dir, kept, ""), "somebody else's")
	r, ok, err := s.Log.Newest(ctx, [32]byte{1}, 3)
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, sequencer.Row{Label: [32]byte{1}, Index: 2, Value: [32]byte{2}}, r)
}

func onDisk(t *testing.T, dir string, b []byte, suffix string) bool {
	data, err := os.ReadFile(filepath.Join(dir, "waxwingd.db"+suffix))
	if os.IsNotExist(err) {
		return false
	}
	require.NoError(t, err)
	return bytes.Contains(data, b)
}

// TestLogIsOneTransaction: a batch that fails at its end leaves nothing of its beginning, and the log goes on.
func TestLogIsOneTransaction(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	require.NoError(t, s.Log.Append(ctx, batchAt(0, 1, make([]byte, 32), []byte("x"))))
	for name, spoil := range map[string]func(b *sequencer.Batch){
		"a row that is there already":  func(b *sequencer.Batch) { b.Rows = append(b.Rows, b.Rows[0]) },
		"no checkpoint":                func(b *sequencer.Batch) { b.Checkpoint = nil },
		"an entry that is nothing":     func(b *sequencer.Batch) { b.Entries = append(b.Entries, nil) },
		"hashes that are there":        func(b *sequencer.Batch) { b.Hashes = append(b.Hashes, b.Hashes...); b.Size-- },
		"a place beyond the end":       func(b *sequencer.Batch) { b.Size++ },
		"the beginning of another log": func(b *sequencer.Batch) { b.Size = 0 },
	} {
		b := batchAt(1, 2, make([]byte, 32), []byte("y"))
		spoil(&b)
		require.Error(t, s.Log.Append(ctx, b), name)
		h, err := s.Log.Head(ctx)
		require.NoError(t, err)
		require.Equal(t, int64(1), h.Size, name)
		_, err = s.Log.Entries(ctx, 0, 2)
		require.Error(t, err, name)
		_, err = s.Log.Hashes(ctx, []int64{1})
		require.Error(t, err, name)
		_, ok, err := s.Log.Newest(ctx, [32]byte{2}, 99)
		require.NoError(t, err)
		require.False(t, ok, name)
	}
	s = reopen(t, s, dir)
	require.NoError(t, s.Log.Append(ctx, batchAt(1, 2, make([]byte, 32), []byte("y"))))
}

var _ sequencer.Store = store.Log{}
