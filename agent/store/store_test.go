package store_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/agent/store"
	"github.com/waxwing-dm/waxwing/device"
	"github.com/waxwing-dm/waxwing/internal/sqlite"
)

var passphrase = []byte("correct horse")

func create(t *testing.T) (s *store.Store, path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "store.db")
	s, err := store.Create(path, passphrase)
	require.NoError(t, err)
	t.Cleanup(func() { s.Close() })
	return s, path
}

func open(t *testing.T, path string) *store.Store {
	t.Helper()
	s, err := store.Open(path, passphrase)
	require.NoError(t, err)
	t.Cleanup(func() { s.Close() })
	return s
}

func TestConcurrentUse(t *testing.T) {
	s, _ := create(t)
	var wg sync.WaitGroup
	errs := make(chan error, 80)
	for range 4 {
		wg.Go(func() {
			for range 10 {
				errs <- s.Update(func(tx device.Tx) error {
					_, err := tx.Append("l", []byte("entry"))
					return err
				})
				errs <- s.View(func(tx device.Tx) error {
					return tx.Scan("l", 0, 100, func(uint64, []byte) error { return nil })
				})
			}
		})
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		require.NoError(t, err)
	}
	view(t, s, func(tx device.Tx) { require.Len(t, entries(t, tx, "l", 0, 100), 40) })
}

func TestCreateAndOpen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	there, err := store.Exists(path)
	require.NoError(t, err)
	require.False(t, there)
	_, err = store.Open(path, passphrase)
	require.ErrorIs(t, err, fs.ErrNotExist)
	_, err = store.Create(path, nil)
	require.ErrorContains(t, err, "empty")
	entries, err := os.ReadDir(filepath.Dir(path))
	require.NoError(t, err)
	require.Empty(t, entries, "refusing left something")

	s, err := store.Create(path, passphrase)
	require.NoError(t, err)
	require.NoError(t, s.Close())
	there, err = store.Exists(path)
	require.NoError(t, err)
	require.True(t, there)
	before, err := os.ReadFile(path)
	require.NoError(t, err)
	_, err = store.Create(path, []byte("another"))
	require.ErrorIs(t, err, store.ErrExists)
	after, err := os.ReadFile(path)
	require.NoError(t, err)
	require.True(t, bytes.Equal(before, after))
	for _, wrong := range []string{"", "correct hors", "correct horse ", "Correct horse"} {
		_, err = store.Open(path, []byte(wrong))
		require.ErrorIs(t, err, store.ErrPassphrase, "%q", wrong)
		require.NotContains(t, err.Error(), "orse", "the error tells what was typed")
	}
	open(t, path) // and the wrong ones have left no lock
}

func TestTwoStoresOfOnePassphraseDiffer(t *testing.T) {
	var files [][]byte
	for range 2 {
		s, path := create(t)
		update(t, s, func(tx device.Tx) { put(t, tx, "b", "k", "v") })
		require.NoError(t, s.Close())
		var bucket, key []byte
		query(t, path, "SELECT bucket, key FROM item", &bucket, &key)
		files = append(files, bucket, key)
	}
	require.NotEqual(t, files[0], files[2], "bucket names can be compared")
	require.NotEqual(t, files[1], files[3], "keys can be compared")
}

func TestOneOpener(t *testing.T) {
	s, path := create(t)
	for name, try := range map[string]func(string, []byte) (*store.Store, error){"open": store.Open, "create": store.Create} {
		_, err := try(path, passphrase)
		require.ErrorIs(t, err, store.ErrBusy, name)
		require.ErrorContains(t, err, fmt.Sprintf("process %d", os.Getpid()), name)
	}
	update(t, s, func(tx device.Tx) { put(t, tx, "b", "k", "v") })
	require.NoError(t, s.Close())
	view(t, open(t, path), func(tx device.Tx) { require.Equal(t, "v", get(t, tx, "b", "k")) })
}

func TestTruncated(t *testing.T) {
	s, path := create(t)
	update(t, s, func(tx device.Tx) {
		for i := range 20 {
			put(t, tx, "b", fmt.Sprint(i), strings.Repeat("x", 3000))
		}
	})
	require.NoError(t, s.Close())
	whole, err := os.ReadFile(path)
	require.NoError(t, err)
	lengths := []int{0, 1, 50, 99, 100, len(whole) / 2, len(whole) - 1}
	for n := 4096; n < len(whole); n += 4096 {
		lengths = append(lengths, n, n+1)
	}
	for _, n := range lengths {
		require.NoError(t, os.WriteFile(path, whole[:n], 0o600))
		_, err := store.Open(path, passphrase)
		require.ErrorIs(t, err, sqlite.ErrDamaged, "%d of %d bytes", n, len(whole))
		_, err = store.Create(path, passphrase)
		require.ErrorIs(t, err, store.ErrExists, "%d of %d bytes", n, len(whole))
		after, err := os.ReadFile(path)
		require.NoError(t, err)
		require.True(t, bytes.Equal(whole[:n], after), "%d of %d bytes: the damaged file was changed", n, len(whole))
	}
	require.NoError(t, os.WriteFile(path, whole, 0o600))
	view(t, open(t, path), func(tx device.Tx) { require.Len(t, all(t, tx, "b"), 20) })
}

// TestOnlyTheLogIsLeft: a new store beside the write-ahead log of a lost one would take it for its own.
func TestOnlyTheLogIsLeft(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	require.NoError(t, os.WriteFile(path+"-wal", []byte("of a store that was"), 0o600))
	there, err := store.Exists(path)
	require.NoError(t, err)
	require.True(t, there)
	_, err = store.Create(path, passphrase)
	require.ErrorIs(t, err, store.ErrExists)
	_, err = store.Open(path, passphrase)
	require.ErrorIs(t, err, sqlite.ErrDamaged)
}

var canaries = []string{"CANARY-bucket", "CANARY-key", "CANARY-value", "CANARY-log", "CANARY-entry"}

func plant(t *testing.T, s device.Store, size int) {
	update(t, s, func(tx device.Tx) {
		value := strings.Repeat("CANARY-value", size/12)
		put(t, tx, "CANARY-bucket", "CANARY-key", value)
		_, err := tx.Append("CANARY-log", []byte("CANARY-entry"))
		require.NoError(t, err)
	})
}

// findCanaries reads all files of a store for what was put into it, also as hashes that anybody can make.
func findCanaries(t *testing.T, path string) (read map[string]int) {
	t.Helper()
	read = map[string]int{}
	require.NoError(t, filepath.WalkDir(filepath.Dir(path), func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		b, err := os.ReadFile(name)
		require.NoError(t, err)
		read[filepath.Base(name)] = len(b)
		require.NotContains(t, string(b), "CANARY", name)
		require.NotContains(t, string(b), string(passphrase), name)
		for _, canary := range canaries {
			hash := sha256.Sum256([]byte(canary))
			require.False(t, bytes.Contains(b, hash[:]), "%s has a hash of %s", name, canary)
		}
		return nil
	}))
	return read
}

func TestNothingReadable(t *testing.T) {
	s, path := create(t)
	plant(t, s, 100)
	plant(t, s, 100_000) // overflow pages
	require.Positive(t, findCanaries(t, path)["store.db-wal"], "nothing was written yet")
	update(t, s, func(tx device.Tx) { require.NoError(t, tx.Delete("CANARY-bucket", "CANARY-key")) })
	plant(t, s, 10)
	findCanaries(t, path)
	require.NoError(t, s.Close())
	require.Greater(t, findCanaries(t, path)["store.db"], 4096)

	// The control: the search finds what is there.
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Contains(t, string(b), "CREATE TABLE item")
	for _, name := range []string{path, path + ".lock"} {
		info, err := os.Stat(name)
		require.NoError(t, err)
		require.Equal(t, fs.FileMode(0o600), info.Mode().Perm(), name)
	}
}

func TestNewer(t *testing.T) {
	path := tamperable(t)
	tamper(t, path, "PRAGMA user_version = 99")
	_, err := store.Open(path, passphrase)
	require.ErrorIs(t, err, sqlite.ErrNewer)
}
