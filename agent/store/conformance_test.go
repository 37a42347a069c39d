package store_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/device"
)

// conformance is what a device expects of any Store. fresh returns an empty one.
func conformance(t *testing.T, fresh func(*testing.T) device.Store) {
	for name, test := range map[string]func(*testing.T, device.Store){
		"rows":         conformRows,
		"order":        conformOrder,
		"logs":         conformLogs,
		"apart":        conformApart,
		"all or none":  conformAtomic,
		"views":        conformView,
		"walking":      conformWalking,
		"walking ends": conformWalkingEnds,
	} {
		t.Run(name, func(t *testing.T) { test(t, fresh(t)) })
	}
}

func update(t *testing.T, s device.Store, f func(device.Tx)) {
	t.Helper()
	require.NoError(t, s.Update(func(tx device.Tx) error { f(tx); return nil }))
}

func view(t *testing.T, s device.Store, f func(device.Tx)) {
	t.Helper()
	require.NoError(t, s.View(func(tx device.Tx) error { f(tx); return nil }))
}

func put(t *testing.T, tx device.Tx, bucket string, keysAndValues ...string) {
	t.Helper()
	for i := 0; i < len(keysAndValues); i += 2 {
		require.NoError(t, tx.Put(bucket, keysAndValues[i], []byte(keysAndValues[i+1])))
	}
}

func get(t *testing.T, tx device.Tx, bucket, key string) string {
	t.Helper()
	v, ok, err := tx.Get(bucket, key)
	require.NoError(t, err)
	if !ok {
		return "(none)"
	}
	return string(v)
}

func all(t *testing.T, tx device.Tx, bucket string) (rows []string) {
	t.Helper()
	require.NoError(t, tx.Each(bucket, func(key string, value []byte) error {
		rows = append(rows, key+"="+string(value))
		return nil
	}))
	return rows
}

func entries(t *testing.T, tx device.Tx, log string, after uint64, limit int) (rows []string) {
	t.Helper()
	require.NoError(t, tx.Scan(log, after, limit, func(seq uint64, value []byte) error {
		rows = append(rows, fmt.Sprintf("%d=%s", seq, value))
		return nil
	}))
	return rows
}

func conformRows(t *testing.T, s device.Store) {
	update(t, s, func(tx device.Tx) {
		require.Equal(t, "(none)", get(t, tx, "b", "k"))
		require.NoError(t, tx.Delete("b", "k"), "deleting what is not there")
		put(t, tx, "b", "k", "1", "", "of the empty key", "nothing", "")
		require.Equal(t, "1", get(t, tx, "b", "k"), "a transaction sees what it wrote")
		put(t, tx, "b", "k", "2")
		require.NoError(t, tx.Put("b", "nil", nil))
	})
	view(t, s, func(tx device.Tx) {
		require.Equal(t, "2", get(t, tx, "b", "k"))
		require.Equal(t, "of the empty key", get(t, tx, "b", ""))
		require.Equal(t, "", get(t, tx, "b", "nothing"))
		require.Equal(t, "", get(t, tx, "b", "nil"))
	})
	update(t, s, func(tx device.Tx) {
		require.NoError(t, tx.Delete("b", "k"))
		require.Equal(t, "(none)", get(t, tx, "b", "k"))
	})
	view(t, s, func(tx device.Tx) { require.Equal(t, "(none)", get(t, tx, "b", "k")) })
}

func conformOrder(t *testing.T, s device.Store) {
	update(t, s, func(tx device.Tx) { put(t, tx, "b", "z", "1", "a", "2", "m", "3") })
	update(t, s, func(tx device.Tx) { put(t, tx, "other", "x", "0"); put(t, tx, "b", "z", "4", "last", "5") })
	view(t, s, func(tx device.Tx) {
		require.Equal(t, []string{"z=4", "a=2", "m=3", "last=5"}, all(t, tx, "b"), "a second put keeps the turn")
	})
	update(t, s, func(tx device.Tx) {
		require.NoError(t, tx.Delete("b", "z"))
		put(t, tx, "b", "z", "6")
		require.Equal(t, []string{"a=2", "m=3", "last=5", "z=6"}, all(t, tx, "b"), "a key that was deleted is a new one")
		require.NoError(t, tx.Delete("b", "z"))
	})
	update(t, s, func(tx device.Tx) { put(t, tx, "b", "new", "7") })
	view(t, s, func(tx device.Tx) {
		require.Equal(t, []string{"a=2", "m=3", "last=5", "new=7"}, all(t, tx, "b"))
		require.Empty(t, all(t, tx, "unheard of"))
	})
}

func conformLogs(t *testing.T, s device.Store) {
	update(t, s, func(tx device.Tx) {
		for i := range 5 {
			seq, err := tx.Append("l", fmt.Appendf(nil, "v%d", i+1))
			require.NoError(t, err)
			require.Equal(t, uint64(i+1), seq)
		}
	})
	update(t, s, func(tx device.Tx) {
		seq, err := tx.Append("l", nil)
		require.NoError(t, err)
		require.Equal(t, uint64(6), seq)
		seq, err = tx.Append("m", []byte("first"))
		require.NoError(t, err)
		require.Equal(t, uint64(1), seq, "each log counts for itself")
	})
	view(t, s, func(tx device.Tx) {
		require.Equal(t, []string{"1=v1", "2=v2", "3=v3", "4=v4", "5=v5", "6="}, entries(t, tx, "l", 0, 100))
		require.Equal(t, []string{"3=v3", "4=v4"}, entries(t, tx, "l", 2, 2))
		require.Equal(t, []string{"1=first"}, entries(t, tx, "m", 0, 1))
		for _, after := range []uint64{6, 7, 1<<63 - 1, 1 << 63, 1<<64 - 1} {
			require.Empty(t, entries(t, tx, "l", after, 10), "after %d", after)
		}
		require.Empty(t, entries(t, tx, "l", 0, 0))
		require.Empty(t, entries(t, tx, "l", 0, -1))
		require.Empty(t, entries(t, tx, "unheard of", 0, 10))
	})
}

// conformApart has names that a careless joining would take for one.
func conformApart(t *testing.T, s device.Store) {
	names := [][2]string{{"a", "bc"}, {"ab", "c"}, {"abc", ""}, {"", "abc"}, {"a\x00b", "c"}, {"a", "b\x00c"}, {"\xff", "é"}, {"é", "\xff"}}
	update(t, s, func(tx device.Tx) {
		for i, n := range names {
			put(t, tx, n[0], n[1], fmt.Sprint(i))
			_, err := tx.Append(n[0]+n[1], []byte(fmt.Sprint(i)))
			require.NoError(t, err)
		}
	})
	view(t, s, func(tx device.Tx) {
		for i, n := range names {
			require.Equal(t, fmt.Sprint(i), get(t, tx, n[0], n[1]), "%q", n)
		}
		require.Equal(t, []string{"bc=0", "b\x00c=5"}, all(t, tx, "a"))
		require.Equal(t, []string{"1=0", "2=1", "3=2", "4=3"}, entries(t, tx, "abc", 0, 10))
	})
}

func conformAtomic(t *testing.T, s device.Store) {
	update(t, s, func(tx device.Tx) {
		put(t, tx, "b", "kept", "1", "changed", "old", "deleted", "3")
		_, err := tx.Append("l", []byte("one"))
		require.NoError(t, err)
	})
	failed := errors.New("failed")
	require.Equal(t, failed, s.Update(func(tx device.Tx) error {
		put(t, tx, "b", "changed", "new", "added", "4")
		require.NoError(t, tx.Delete("b", "deleted"))
		_, err := tx.Append("l", []byte("two"))
		require.NoError(t, err)
		return failed
	}))
	view(t, s, func(tx device.Tx) {
		require.Equal(t, []string{"kept=1", "changed=old", "deleted=3"}, all(t, tx, "b"))
		require.Equal(t, []string{"1=one"}, entries(t, tx, "l", 0, 10))
	})
}

func conformView(t *testing.T, s device.Store) {
	update(t, s, func(tx device.Tx) { put(t, tx, "b", "k", "v") })
	failed := errors.New("failed")
	require.Equal(t, failed, s.View(func(device.Tx) error { return failed }))
	view(t, s, func(tx device.Tx) {
		refuseWrites(t, tx)
		require.Equal(t, []string{"k=v"}, all(t, tx, "b"))
		refuseWrites(t, tx) // after a walk too
	})
	view(t, s, func(tx device.Tx) { require.Equal(t, []string{"k=v"}, all(t, tx, "b")) })
}

func refuseWrites(t *testing.T, tx device.Tx) {
	t.Helper()
	require.Error(t, tx.Put("b", "k", []byte("w")))
	require.Error(t, tx.Delete("b", "k"))
	_, err := tx.Append("l", []byte("w"))
	require.Error(t, err)
}

// conformWalking reads everything from within everything.
func conformWalking(t *testing.T, s device.Store) {
	update(t, s, func(tx device.Tx) {
		put(t, tx, "b", "1", "one", "2", "two")
		for range 2 {
			_, err := tx.Append("l", []byte("entry"))
			require.NoError(t, err)
		}
	})
	walk := func(tx device.Tx) error {
		visits := 0
		visit := func() error {
			visits++
			require.Equal(t, "two", get(t, tx, "b", "2"))
			require.Len(t, all(t, tx, "b"), 2)
			require.Len(t, entries(t, tx, "l", 0, 10), 2)
			refuseWrites(t, tx)
			return nil
		}
		require.NoError(t, tx.Each("b", func(string, []byte) error { return visit() }))
		require.NoError(t, tx.Scan("l", 0, 10, func(uint64, []byte) error { return visit() }))
		require.Equal(t, 4, visits)
		return nil
	}
	require.NoError(t, s.View(walk))
	require.NoError(t, s.Update(func(tx device.Tx) error {
		require.NoError(t, walk(tx))
		put(t, tx, "b", "3", "three") // the walk is over
		return nil
	}))
	view(t, s, func(tx device.Tx) { require.Equal(t, []string{"1=one", "2=two", "3=three"}, all(t, tx, "b")) })
}

func conformWalkingEnds(t *testing.T, s device.Store) {
	failed := errors.New("failed")
	update(t, s, func(tx device.Tx) {
		put(t, tx, "b", "1", "one", "2", "two")
		for range 2 {
			_, err := tx.Append("l", []byte("entry"))
			require.NoError(t, err)
		}
		visits := 0
		visit := func() error { visits++; return failed }
		require.Equal(t, failed, tx.Each("b", func(string, []byte) error { return visit() }))
		require.Equal(t, failed, tx.Scan("l", 0, 10, func(uint64, []byte) error { return visit() }))
		require.Equal(t, 2, visits, "a walk goes on after an error")
		put(t, tx, "b", "3", "three")
	})
	view(t, s, func(tx device.Tx) { require.Len(t, all(t, tx, "b"), 3) })
}
