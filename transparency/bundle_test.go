package transparency_test

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/waxwing-dm/waxwing/transparency"
)

func TestTilePath(t *testing.T) {
	for want, tile := range map[string]tlog.Tile{
		"tile/0/000":                  {H: 8, L: 0, N: 0, W: 256},
		"tile/1/x001/234.p/17":        {H: 8, L: 1, N: 1234, W: 17},
		"tile/entries/000.p/1":        {H: 8, L: -1, N: 0, W: 1},
		"tile/entries/x001/x002/003":  {H: 8, L: -1, N: 1002003, W: 256},
		"tile/entries/x999/999.p/255": {H: 8, L: -1, N: 999999, W: 255},
	} {
		require.Equal(t, want, transparency.TilePath(tile))
	}
}

func bundle(entries ...[]byte) (b []byte) {
	for _, e := range entries {
		b = binary.BigEndian.AppendUint16(b, uint16(len(e)))
		b = append(b, e...)
	}
	return b
}

func TestParseBundle(t *testing.T) {
	one, two := bytes.Repeat([]byte{1}, transparency.EntrySize), bytes.Repeat([]byte{2}, transparency.EntrySize)
	good := bundle(one, two)
	entries, err := transparency.ParseBundle(good, 2)
	require.NoError(t, err)
	require.Equal(t, [][]byte{one, two}, entries)
	short, long := bundle(one[1:], append(bytes.Clone(two), 0)), bundle(append(bytes.Clone(one), 0), two[1:])
	for name, data := range map[string][]byte{
		"empty": nil, "cut": good[:len(good)-1], "trailing byte": append(bytes.Clone(good), 0), "one too few": bundle(one),
		"one too many": bundle(one, two, two), "short entry": short, "long entry": long,
	} {
		_, err := transparency.ParseBundle(data, 2)
		require.Error(t, err, name)
	}
	_, err = transparency.ParseBundle(nil, -1)
	require.Error(t, err)
}

func FuzzParseBundle(f *testing.F) {
	f.Add(bundle(make([]byte, transparency.EntrySize)), 1)
	f.Add([]byte{0, 242}, 1)
	f.Fuzz(func(t *testing.T, data []byte, n int) {
		if n > 256 {
			return
		}
		entries, err := transparency.ParseBundle(data, n)
		if err == nil {
			require.True(t, bytes.Equal(data, bundle(entries...)))
		}
	})
}

// A range that was stored and read again goes on as if it had not been.
func TestCompactRangeIsStored(t *testing.T) {
	var c transparency.CompactRange
	for i := range 300 {
		stored := c.Hashes()
		again, err := transparency.LoadCompactRange(c.Size(), tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
			require.Len(t, indexes, len(stored))
			return stored, nil
		}))
		require.NoError(t, err)
		require.Equal(t, c.Root(), again.Root())
		c, _ = again.With(tlog.RecordHash([]byte{byte(i)}))
	}
}
