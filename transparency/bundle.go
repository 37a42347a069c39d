package transparency

import (
	"encoding/binary"
	"fmt"
	"strings"

	"golang.org/x/mod/sumdb/tlog"
)

const (
	// TileHeight is that of C2SP tlog-tiles; a full entry bundle has 1 << TileHeight entries.
	TileHeight = 8

	bundledEntry = 2 + EntrySize
)

// TilePath is where C2SP tlog-tiles has a tile of TileHeight, or with level -1 an entry bundle, below the log's prefix. The
// module's own paths put the height in front and call entries "data".
func TilePath(t tlog.Tile) string {
	rest := strings.TrimPrefix(t.Path(), fmt.Sprintf("tile/%d/", TileHeight))
	if entries, ok := strings.CutPrefix(rest, "data/"); ok {
		rest = "entries/" + entries
	}
	return "tile/" + rest
}

// BundleSize is the number of bytes that a bundle of n entries has.
func BundleSize(n int) int64 { return int64(n) * bundledEntry }

// ParseBundle splits a bundle of n entries. What is in the entries is not looked at.
func ParseBundle(data []byte, n int) ([][]byte, error) {
	if n < 0 || int64(len(data)) != BundleSize(n) {
		return nil, fmt.Errorf("transparency: reading a bundle of %d bytes: %d entries have %d", len(data), n, BundleSize(n))
	}
	entries := make([][]byte, n)
	for i := range entries {
		if size := binary.BigEndian.Uint16(data); size != EntrySize {
			return nil, fmt.Errorf("transparency: reading a bundle: its entry %d has %d bytes, not %d", i, size, EntrySize)
		}
		entries[i], data = data[2:bundledEntry:bundledEntry], data[bundledEntry:]
	}
	return entries, nil
}
