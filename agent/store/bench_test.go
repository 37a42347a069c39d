package store_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/agent/store"
	"github.com/waxwing-dm/waxwing/device"
)

// BenchmarkUpdate is one durable transaction that replaces so many rows of that size: a message (1 of 50 bytes) and the first one of a
// sender (13), a commit (40 of 100 bytes) in a group of a thousand, and the whole of that group.
func BenchmarkUpdate(b *testing.B) {
	for _, c := range []struct{ rows, size int }{{1, 50}, {13, 50}, {40, 100}, {1, 300_000}} {
		b.Run(fmt.Sprintf("rows=%d/bytes=%d", c.rows, c.size), func(b *testing.B) {
			s, err := store.Create(b.TempDir()+"/store.db", passphrase)
			require.NoError(b, err)
			defer s.Close()
			value := make([]byte, c.size)
			for b.Loop() {
				require.NoError(b, s.Update(func(tx device.Tx) error {
					for i := range c.rows {
						if err := tx.Put("group", fmt.Sprint(i), value); err != nil {
							return err
						}
					}
					return nil
				}))
			}
		})
	}
}

// BenchmarkEach reads the rows of a group of a thousand.
func BenchmarkEach(b *testing.B) {
	s, err := store.Create(b.TempDir()+"/store.db", passphrase)
	require.NoError(b, err)
	defer s.Close()
	require.NoError(b, s.Update(func(tx device.Tx) error {
		for i := range 2000 {
			if err := tx.Put("group", fmt.Sprint(i), make([]byte, 150)); err != nil {
				return err
			}
		}
		return nil
	}))
	for b.Loop() {
		n := 0
		require.NoError(b, s.View(func(tx device.Tx) error {
			return tx.Each("group", func(string, []byte) error { n++; return nil })
		}))
		require.Equal(b, 2000, n)
	}
}
