package sequencer

import (
	"context"
	"encoding/binary"
	"fmt"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// Tiles as C2SP tlog-tiles has them. The module's own paths put the tile height in front and call entries "data".
const tileHeight = 8

// Tile returns the resource at a path like tile/0/x001/234.p/17 or tile/entries/000, or ErrNotFound. There are those of the tree
// that is served, and of the one that Unwitnessed gave out last: an auditor reads before it signs.
func (s *Sequencer) Tile(ctx context.Context, path string) ([]byte, error) {
	rest, ok := strings.CutPrefix(path, "tile/")
	if !ok || len(path) > 100 || strings.HasPrefix(rest, "data/") { // the module's word, which is no path of ours
		return nil, ErrNotFound
	}
	if entries, ok := strings.CutPrefix(rest, "entries/"); ok {
		rest = "data/" + entries
	}
	t, err := tlog.ParseTilePath("tile/8/" + rest)
	if err != nil {
		return nil, ErrNotFound
	}
	size := s.readable()
	level := max(t.L, 0)
	available := size >> (uint(level) * tileHeight)
	if t.L > 7 || t.N >= 1<<40 || t.N<<tileHeight+int64(t.W) > available {
		return nil, ErrNotFound
	}
	if t.L < 0 {
		return s.bundle(ctx, t)
	}
	data, err := tlog.ReadTileData(t, reader{ctx, s.store})
	if err != nil {
		return nil, fmt.Errorf("sequencer: reading tile %s: %w", path, err)
	}
	return data, nil
}

func (s *Sequencer) readable() int64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return max(s.served.size, s.offered.size)
}

// bundle is an entry bundle: each entry with its length in two bytes before it.
func (s *Sequencer) bundle(ctx context.Context, t tlog.Tile) ([]byte, error) {
	entries, err := s.store.Entries(ctx, t.N<<tileHeight, int64(t.W))
	if err != nil {
		return nil, fmt.Errorf("sequencer: reading entries: %w", err)
	}
	var b []byte
	for _, e := range entries {
		b = binary.BigEndian.AppendUint16(b, uint16(len(e)))
		b = append(b, e...)
	}
	return b, nil
}

// VerifierKey is the text form of the log's public key, as discovery documents have it.
func (s *Sequencer) VerifierKey() (string, error) {
	return note.NewEd25519VerifierKey(s.Origin(), s.public)
}
