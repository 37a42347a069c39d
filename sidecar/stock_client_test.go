package sidecar_test

import (
	"crypto/ed25519"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	formats "github.com/transparency-dev/formats/log"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/waxwing-dm/waxwing/federation"
	"github.com/waxwing-dm/waxwing/sidecar/store"
	"github.com/waxwing-dm/waxwing/transparency/sequencer"
	"github.com/waxwing-dm/waxwing/transparency/vrf"
)

// stockClient knows of a log its address and C2SP tlog-tiles; what it reads, package tlog verifies.
type stockClient struct{ a *box }

func (stockClient) Height() int                     { return 8 }
func (stockClient) SaveTiles([]tlog.Tile, [][]byte) {}

func (c stockClient) ReadTiles(tiles []tlog.Tile) (data [][]byte, err error) {
	for _, t := range tiles {
		res, body := c.a.get("/waxwing/log/" + strings.Replace(t.Path(), "tile/8/", "tile/", 1))
		if res.StatusCode != 200 {
			return nil, fmt.Errorf("%s: %s", t.Path(), res.Status)
		}
		data = append(data, body)
	}
	return data, nil
}

// entries reads the bundles of a log of that size.
func (c stockClient) entries(size int64) (all [][]byte) {
	for n := int64(0); n<<8 < size; n++ {
		path := fmt.Sprintf("/waxwing/log/tile/entries/%03d", n)
		if left := size - n<<8; left < 256 {
			path += fmt.Sprintf(".p/%d", left)
		}
		_, body := c.a.get(path)
		for len(body) > 2 {
			end := 2 + int(binary.BigEndian.Uint16(body))
			all, body = append(all, body[2:end]), body[end:]
		}
	}
	return all
}

// TestStockClientReadsTheLog over HTTP, with none of our code on its side: the checkpoint is opened by transparency-dev/formats, the
// tiles are held against it by golang.org/x/mod, and every entry proves itself in the tree, as the tree does that of a log that was
// smaller.
func TestStockClientReadsTheLog(t *testing.T) {
	w := newWorld(t)
	a := w.box("a.test").start()
	a.person("alice")
	verifier, err := note.NewVerifier(a.pin().Key)
	require.NoError(t, err)
	checkpoint := func() *formats.Checkpoint {
		_, signed := a.get("/waxwing/log/checkpoint")
		c, _, n, err := formats.ParseCheckpoint(signed, verifier.Name(), verifier)
		require.NoError(t, err)
		require.Empty(t, n.UnverifiedSigs)
		return c
	}
	older := checkpoint()
	require.Equal(t, uint64(2), older.Size)
	a.stop()
	padTo(t, a, 600)
	a.start()
	a.person("bob")
	c := checkpoint()
	size := int64(c.Size)
	require.Equal(t, int64(601), size)
	client, root := stockClient{a}, tlog.Hash(c.Hash)
	hashes := tlog.TileHashReader(tlog.Tree{N: size, Hash: root}, client)
	entries := client.entries(size)
	require.Len(t, entries, int(size))
	for i, e := range entries {
		proof, err := tlog.ProveRecord(size, int64(i), hashes)
		require.NoError(t, err)
		require.NoError(t, tlog.CheckRecord(proof, size, root, int64(i), tlog.RecordHash(e)), "entry %d", i)
	}
	proof, err := tlog.ProveTree(size, int64(older.Size), hashes)
	require.NoError(t, err)
	require.NoError(t, tlog.CheckTree(proof, size, root, int64(older.Size), tlog.Hash(older.Hash)))
}

// padTo grows the log of a sidecar that is stopped.
func padTo(t *testing.T, a *box, size int64) {
	st, err := store.Open(a.dir)
	require.NoError(t, err)
	defer st.Close()
	seed := func(name string) []byte {
		b, err := st.Setting(ctx, name, func() ([]byte, error) { return nil, errors.New("there is none") })
		require.NoError(t, err)
		return b
	}
	labels, err := vrf.NewPrivateKey(seed("vrf key"))
	require.NoError(t, err)
	log, err := sequencer.New(ctx, sequencer.Config{
		Store: st.Log, Host: federation.Host(a.instance), Key: ed25519.NewKeyFromSeed(seed("log key")), VRF: labels, Now: time.Now, Alone: true,
	})
	require.NoError(t, err)
	now, _ := log.Served()
	var wg sync.WaitGroup
	for range size - now {
		wg.Go(func() {
			if err := log.Pad(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}
