package sequencer_test

import (
	"encoding/binary"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/waxwing-dm/waxwing/transparency"
	"github.com/waxwing-dm/waxwing/transparency/sequencer"
)

// client reads a log by the paths of C2SP tlog-tiles and by nothing else.
type client struct {
	b    *bench
	read map[string]bool
}

func (c client) Height() int { return 8 }

func (c client) SaveTiles([]tlog.Tile, [][]byte) {}

func (c client) ReadTiles(tiles []tlog.Tile) (data [][]byte, err error) {
	for _, t := range tiles {
		path := strings.Replace(t.Path(), "tile/8/", "tile/", 1)
		d, err := c.b.Tile(ctx, path)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		c.read[path] = true
		data = append(data, d)
	}
	return data, nil
}

// bundle reads the entries of one bundle.
func (c client) bundle(path string) (entries [][]byte) {
	d, err := c.b.Tile(ctx, path)
	require.NoError(c.b.t, err, path)
	for len(d) > 0 {
		n := int(binary.BigEndian.Uint16(d))
		require.LessOrEqual(c.b.t, 2+n, len(d))
		entries, d = append(entries, d[2:2+n]), d[2+n:]
	}
	return entries
}

// TestTilesGiveTheRoot reads logs of sizes around the tile's, checks each entry against the tiles and the tiles against the root.
func TestTilesGiveTheRoot(t *testing.T) {
	b := newBench(t)
	for _, c := range []struct {
		size    int64
		bundles []string
		tiles   []string
	}{
		{1, []string{"000.p/1"}, []string{"0/000.p/1"}},
		{2, []string{"000.p/2"}, []string{"0/000.p/2"}},
		{7, []string{"000.p/7"}, []string{"0/000.p/7"}},
		{255, []string{"000.p/255"}, []string{"0/000.p/255"}},
		{256, []string{"000"}, []string{"1/000.p/1", "0/000"}},
		{257, []string{"000", "001.p/1"}, []string{"1/000.p/1", "0/000", "0/001.p/1"}},
		{600, []string{"000", "001", "002.p/88"}, []string{"1/000.p/2", "0/000", "0/001", "0/002.p/88"}},
	} {
		b.fill(c.size)
		head := b.head()
		require.Equal(t, c.size, head.Size)
		reader := client{b, map[string]bool{}}
		hashes := tlog.TileHashReader(tlog.Tree{N: head.Size, Hash: head.Root}, reader)
		computed, err := tlog.TreeHash(head.Size, hashes)
		require.NoError(t, err)
		require.Equal(t, head.Root, computed)
		var entries [][]byte
		for _, path := range c.bundles {
			entries = append(entries, reader.bundle("tile/entries/"+path)...)
		}
		require.Len(t, entries, int(c.size))
		for i, e := range entries {
			h, err := hashes.ReadHashes([]int64{tlog.StoredHashIndex(0, int64(i))})
			require.NoError(t, err)
			require.Equal(t, transparency.LeafHash(e), h[0])
		}
		for _, path := range c.tiles {
			require.True(t, reader.read["tile/"+path], "size %d: tile %s is not asked for", c.size, path)
		}
	}
}

// Partial tiles of every checkpoint that was ever signed stay readable, and begin the full one.
func TestPartialTilesStay(t *testing.T) {
	b := newBench(t)
	b.fill(300)
	full, err := b.Tile(ctx, "tile/0/000")
	require.NoError(t, err)
	require.Len(t, full, 256*32)
	bundle, err := b.Tile(ctx, "tile/entries/000")
	require.NoError(t, err)
	for w := 1; w < 256; w++ {
		part, err := b.Tile(ctx, fmt.Sprintf("tile/0/000.p/%d", w))
		require.NoError(t, err)
		require.Equal(t, full[:w*32], part)
		entries, err := b.Tile(ctx, fmt.Sprintf("tile/entries/000.p/%d", w))
		require.NoError(t, err)
		require.Equal(t, bundle[:w*(2+transparency.EntrySize)], entries)
	}
}

func TestTilePathsThatAreNone(t *testing.T) {
	b := newBench(t)
	b.fill(300)
	for _, path := range []string{
		"", "tile", "tile/", "/tile/0/000", "checkpoint", "tile/0", "tile/0/", "tile/0/0", "tile/0/00", "tile/0/0000", "tile/0/x000", "tile/0/x000/000",
		"tile/0/000/", "tile/0/000.p", "tile/0/000.p/", "tile/0/000.p/0", "tile/0/000.p/01", "tile/0/000.p/256", "tile/0/000.p/-1", "tile/0/000.p/+1",
		"tile/00/000", "tile/+0/000", "tile/-1/000", "tile/8/0/000", "tile/64/000", "tile/9/000.p/1", "tile/7/000.p/1", "tile/63/000.p/1",
		"tile/entries", "tile/entries/", "tile/entries/0", "tile/entries/001", "tile/entries/001.p/45", "tile/entries/0/000", "tile/entries/-1",
		"tile/data/000", "tile/8/data/000", "tile/entries/data/000", "tile/data/entries/000",
		"tile/0/001", "tile/0/001.p/45", "tile/0/002.p/1", "tile/1/000", "tile/1/000.p/2", "tile/1/001.p/1", "tile/2/000.p/1",
		"tile/0/x999/x999/x999/x999/x999/x999/999", "tile/entries/x999/x999/x999/x999/x999/x999/999", "tile/0/x009/x223/x372/x036/x854/x775/807.p/1",
		"tile/0/" + strings.Repeat("x000/", 30) + "000", "tile/0/../0/000", "tile//0/000", "tile/0//000", "tile/0/000?x", "tile/0/\x00", "tile/0/०००",
	} {
		_, err := b.Tile(ctx, path)
		require.ErrorIs(t, err, sequencer.ErrNotFound, "%q", path)
	}
	for _, path := range []string{"tile/0/000", "tile/0/001.p/44", "tile/1/000.p/1", "tile/entries/000", "tile/entries/001.p/44"} {
		_, err := b.Tile(ctx, path)
		require.NoError(t, err, path)
	}
}

func FuzzTile(f *testing.F) {
	b := newBench(f)
	b.fill(260)
	for _, seed := range []string{"0/000", "1/000.p/1", "entries/001.p/4", "0/x001/000", "data/000", "63/x999/x999/x999/999"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, path string) {
		d, err := b.Tile(ctx, "tile/"+path)
		if err != nil {
			require.ErrorIs(t, err, sequencer.ErrNotFound)
			return
		}
		unit := 32
		if strings.HasPrefix(path, "entries/") {
			unit = 2 + transparency.EntrySize
		}
		require.Zero(t, len(d)%unit)
		require.NotEmpty(t, d)
	})
}
