package witnessing

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/waxwing-dm/waxwing/transparency"
)

// A log's entries and tiles as C2SP tlog-tiles serves them. Entries of these logs have one size, so a bundle has one, too.
const (
	tileHeight  = 8
	tileWidth   = 1 << tileHeight
	bundleEntry = 2 + transparency.EntrySize
)

// tiles reads one log over HTTP. It is a tlog.TileReader.
type tiles struct {
	ctx context.Context
	url string
	get func(ctx context.Context, url string, limit int64) ([]byte, error)
}

// entries from one index up to another, which is that of no entry in a later bundle than the tree ends in.
func (t tiles) entries(from, to int64) (all [][]byte, err error) {
	for n := from / tileWidth; n*tileWidth < to; n++ {
		width := min(to-n*tileWidth, tileWidth)
		data, err := t.read(tlog.Tile{H: tileHeight, L: -1, N: n, W: int(width)}, bundleEntry)
		if err != nil {
			return nil, err
		}
		bundle, err := parseBundle(data, int(width))
		if err != nil {
			return nil, fmt.Errorf("witnessing: entry bundle %d: %w", n, err)
		}
		all = append(all, bundle[max(from-n*tileWidth, 0):]...)
	}
	return all, nil
}

// parseBundle reads the first count entries of an entry bundle, which has them each with its length in two bytes before it.
func parseBundle(data []byte, count int) (entries [][]byte, err error) {
	if len(data) < count*bundleEntry || len(data)%bundleEntry != 0 || len(data) > tileWidth*bundleEntry {
		return nil, fmt.Errorf("%d bytes are not %d entries", len(data), count)
	}
	for range count {
		if n := binary.BigEndian.Uint16(data); n != transparency.EntrySize {
			return nil, fmt.Errorf("an entry of %d bytes", n)
		}
		entries, data = append(entries, data[2:bundleEntry:bundleEntry]), data[bundleEntry:]
	}
	return entries, nil
}

// read fetches a tile or bundle, whose parts have unit bytes each. A log may have thrown away a partial one when the full one was
// there; then that is asked for, and more may come back than is wanted.
func (t tiles) read(tile tlog.Tile, unit int64) ([]byte, error) {
	data, err := t.get(t.ctx, t.url+tilePath(tile), int64(tile.W)*unit)
	var answered *statusError
	if errors.As(err, &answered) && answered.status == http.StatusNotFound && tile.W < tileWidth {
		tile.W = tileWidth
		data, err = t.get(t.ctx, t.url+tilePath(tile), tileWidth*unit)
	}
	return data, err
}

// tilePath is the C2SP path: the module's own puts the height in front and calls entries data.
func tilePath(t tlog.Tile) string {
	path := strings.TrimPrefix(t.Path(), fmt.Sprintf("tile/%d/", tileHeight))
	if rest, ok := strings.CutPrefix(path, "data/"); ok {
		path = "entries/" + rest
	}
	return "tile/" + path
}

func (t tiles) Height() int { return tileHeight }

func (t tiles) SaveTiles([]tlog.Tile, [][]byte) {}

func (t tiles) ReadTiles(wanted []tlog.Tile) (all [][]byte, err error) {
	for _, tile := range wanted {
		data, err := t.read(tile, tlog.HashSize)
		if err != nil {
			return nil, err
		}
		if len(data) < tile.W*tlog.HashSize {
			return nil, fmt.Errorf("witnessing: %s has %d bytes", tilePath(tile), len(data))
		}
		all = append(all, data[:tile.W*tlog.HashSize])
	}
	return all, nil
}

// rootAt is the root that the tree had when it was of size entries, proven to be that by the tiles.
func (t tiles) rootAt(tree transparency.Checkpoint, size int64) (tlog.Hash, error) {
	if size == tree.Size {
		return tree.Root, nil
	}
	root, err := tlog.TreeHash(size, tlog.TileHashReader(tlog.Tree{N: tree.Size, Hash: tree.Root}, t))
	if err != nil {
		return tlog.Hash{}, fmt.Errorf("witnessing: computing the root of %d entries out of %d: %w", size, tree.Size, err)
	}
	return root, nil
}
