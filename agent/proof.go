package agent

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/waxwing-dm/waxwing/device"
	"github.com/waxwing-dm/waxwing/internal/clientapi"
	"github.com/waxwing-dm/waxwing/internal/problem"
	"github.com/waxwing-dm/waxwing/transparency"
)

// prove asks a log what it had at a size.
func (a *Agent) prove(ctx context.Context, sidecar *clientapi.Client, j *device.ProofJob) error {
	head, err := a.device.LogHead(j.Instance)
	if err != nil {
		return err
	}
	l := logReader{ctx, sidecar, j.Instance}
	if head.N < j.Size {
		if head, err = a.advance(l, head); err != nil {
			return err
		}
	}
	if head.N < j.Size {
		return a.device.Compared(j.ID(), tlog.Hash{}, nil)
	}
	root, proof, err := l.continues(head, j.Size)
	if err != nil {
		return err
	}
	if err := a.device.Compared(j.ID(), root, proof); err != nil {
		return errors.Join(ErrUnproven, err)
	}
	return nil
}

// advance brings the newest checkpoint of a log to the device, and returns the tree that it knows then.
func (a *Agent) advance(l logReader, head tlog.Tree) (tlog.Tree, error) {
	signed, err := l.sidecar.Log(l.ctx, l.instance, "checkpoint")
	if err != nil {
		return head, away(err)
	}
	c, err := transparency.UnverifiedCheckpoint(signed)
	if err != nil {
		return head, errors.Join(ErrUnproven, err)
	}
	var consistency []tlog.Hash
	if c.Size > head.N {
		if _, consistency, err = l.continues(tlog.Tree{N: c.Size, Hash: c.Root}, head.N); err != nil {
			return head, err
		}
	}
	if err := a.device.AdvanceLog(l.instance, signed, consistency); err != nil {
		return head, errors.Join(ErrUnproven, err)
	}
	return a.device.LogHead(l.instance)
}

// A logReader reads the tiles of a log through the own sidecar.
type logReader struct {
	ctx      context.Context
	sidecar  *clientapi.Client
	instance string
}

// continues says what a tree had at a smaller size, and proves it.
func (l logReader) continues(tree tlog.Tree, size int64) (root tlog.Hash, proof []tlog.Hash, err error) {
	if size <= 0 || size >= tree.N {
		return tree.Hash, nil, nil
	}
	hashes := tlog.TileHashReader(tree, l)
	if root, err = tlog.TreeHash(size, hashes); err == nil {
		proof, err = tlog.ProveTree(tree.N, size, hashes)
	}
	var p *problem.Problem
	if err != nil && !errors.As(err, &p) && !errors.Is(err, ErrAway) {
		err = errors.Join(ErrUnproven, err) // the tiles are not those of the tree
	}
	return root, proof, err
}

// ofLog says whose fault it is that there is no proof. A log that refuses to give one, or cannot be reached for a quarter of an hour,
// has not proven what it should; that the own sidecar is away says nothing about it.
func ofLog(err error, before int) error {
	var p *problem.Problem
	if !errors.As(err, &p) || foreign(p) || p.Status == http.StatusUnauthorized || p.Retry && before+1 < receiptTries {
		return err
	}
	return fmt.Errorf("%w: %v", ErrUnproven, err) // without the problem in it, which would end the job at the first try
}

const tileHeight = 8 // of C2SP tlog-tiles

// Height is a method of tlog.TileReader, as are the other two.
func (l logReader) Height() int { return tileHeight }

// SaveTiles keeps nothing: a tile is asked for once.
func (l logReader) SaveTiles([]tlog.Tile, [][]byte) {}

// ReadTiles fetches hash tiles.
func (l logReader) ReadTiles(tiles []tlog.Tile) (data [][]byte, err error) {
	for _, t := range tiles {
		path := strings.Replace(t.Path(), fmt.Sprintf("tile/%d/", tileHeight), "tile/", 1) // C2SP has one height, and does not name it
		tile, err := l.sidecar.Log(l.ctx, l.instance, path)
		if err != nil {
			return nil, away(err)
		}
		data = append(data, tile)
	}
	return data, nil
}

// Distrusted lists the logs that this device does not believe, with the proof that is kept.
func (a *Agent) Distrusted() ([]device.DistrustedLog, error) { return a.device.Distrusted() }

// LyingHubs lists the hubs that have signed two orders of one conversation, with the proof.
func (a *Agent) LyingHubs() ([]device.LyingHub, error) { return a.device.LyingHubs() }

// HostOf is the host of an instance.
func HostOf(instance string) string {
	_, host, _ := strings.Cut(instance, "://")
	return host
}
