package store_test

import (
	"crypto/rand"
	"fmt"
	"strings"
	"testing"
	"time"

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

// BenchmarkWaiting is what an agent pays for looking what may be done now, while so many messages of 2 kB wait: all in one conversation, or each in
// one of its own. whole reads all that may be done, tasks what has come up since it looked before.
func BenchmarkWaiting(b *testing.B) {
	for _, n := range []int{10, 1_000, 10_000} {
		for name, lanes := range map[string]int{"one-conversation": 1, "conversations": n} {
			s, err := store.Create(b.TempDir()+"/store.db", passphrase)
			require.NoError(b, err)
			body := fmt.Sprintf(`{"Message":%q}`, strings.Repeat("A", 2048))
			require.NoError(b, s.Update(func(tx device.Tx) error {
				for i := range n {
					row := fmt.Sprintf(`{"kind":"send","lane":"messages %d","body":%s}`, i%lanes, body)
					if err := tx.Put("job", fmt.Sprint(i), []byte(row)); err != nil {
						return err
					}
				}
				return nil
			}))
			d := device.New(s, rand.Reader, time.Now)
			b.Run(fmt.Sprintf("whole/%s=%d", name, n), func(b *testing.B) {
				for b.Loop() {
					jobs, err := d.Jobs()
					require.NoError(b, err)
					require.Len(b, jobs, lanes)
				}
			})
			b.Run(fmt.Sprintf("tasks/%s=%d", name, n), func(b *testing.B) {
				first, next, err := d.Tasks(0)
				require.NoError(b, err)
				require.Len(b, first, lanes)
				for b.Loop() {
					tasks, _, err := d.Tasks(next)
					require.NoError(b, err)
					require.Empty(b, tasks)
				}
			})
			require.NoError(b, s.Close())
		}
	}
}
