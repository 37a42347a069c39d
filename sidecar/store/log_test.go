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

// batchAt is one entry; that the hashes are those of a tree is for others to hold.
func batchAt(index int64, opening, content []byte) sequencer.Batch {
	return sequencer.Batch{
		Size: index, Entries: [][]byte{{byte(index)}}, Hashes: make([]tlog.Hash, tlog.StoredHashIndex(0, index+1)-tlog.StoredHashIndex(0, index)),
		Rows: []sequencer.Row{{Index: index, Opening: [32]byte(opening), Content: content}}, Checkpoint: []byte("note"),
	}
}

// TestForgottenIsNotOnTheDisk looks for what was erased in the files themselves: in the database at once, and in the write-ahead log, which
// keeps old pages until it is written over, at the latest when the store is closed.
func TestForgottenIsNotOnTheDisk(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	secret, kept := bytes.Repeat([]byte("opening."), 4), bytes.Repeat([]byte("another."), 4)
	list := bytes.Repeat([]byte("a device list longer than a page. "), 300)
	for i, list := range [][]byte{list, list, []byte("stays")} {
		require.NoError(t, s.Log.Append(ctx, batchAt(int64(i), map[bool][]byte{true: secret, false: kept}[i < 2], list)))
	}
	s = reopen(t, s, dir)
	require.True(t, onDisk(t, dir, secret, ""), "the control")
	b := batchAt(3, make([]byte, 32), nil)
	b.Forget = []int64{0}
	require.NoError(t, s.Log.Append(ctx, b))
	require.True(t, onDisk(t, dir, secret, ""), "one of two")
	require.NoError(t, s.Log.Forget(ctx, []int64{1}))
	for i := range int64(2) {
		_, _, ok, err := s.Log.Row(ctx, i)
		require.NoError(t, err)
		require.False(t, ok)
	}
	reopen(t, s, dir)
	for _, name := range []string{"", "-wal"} {
		require.False(t, onDisk(t, dir, secret, name), "opening in database%s", name)
		require.False(t, onDisk(t, dir, list[:64], name), "content in database%s", name)
	}
	require.True(t, onDisk(t, dir, kept, ""), "somebody else's")
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
	require.NoError(t, s.Log.Append(ctx, batchAt(0, make([]byte, 32), []byte("x"))))
	for name, spoil := range map[string]func(b *sequencer.Batch){
		"a row that is there already":  func(b *sequencer.Batch) { b.Rows = append(b.Rows, b.Rows[0]) },
		"no checkpoint":                func(b *sequencer.Batch) { b.Checkpoint = nil },
		"an entry that is nothing":     func(b *sequencer.Batch) { b.Entries = append(b.Entries, nil) },
		"hashes that are there":        func(b *sequencer.Batch) { b.Hashes = append(b.Hashes, b.Hashes...); b.Size-- },
		"a place beyond the end":       func(b *sequencer.Batch) { b.Size++ },
		"the beginning of another log": func(b *sequencer.Batch) { b.Size = 0 },
	} {
		b := batchAt(1, make([]byte, 32), []byte("y"))
		spoil(&b)
		require.Error(t, s.Log.Append(ctx, b), name)
		h, err := s.Log.Head(ctx)
		require.NoError(t, err)
		require.Equal(t, int64(1), h.Size, name)
		_, err = s.Log.Entries(ctx, 0, 2)
		require.Error(t, err, name)
		_, err = s.Log.Hashes(ctx, []int64{1})
		require.Error(t, err, name)
		_, _, ok, err := s.Log.Row(ctx, 1)
		require.NoError(t, err)
		require.False(t, ok, name)
	}
	s = reopen(t, s, dir)
	require.NoError(t, s.Log.Append(ctx, batchAt(1, make([]byte, 32), []byte("y"))))
}

var _ sequencer.Store = store.Log{}
