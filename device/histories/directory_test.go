package histories_test

import (
	"errors"
	"strings"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/waxwing-dm/waxwing/device"
	"github.com/waxwing-dm/waxwing/transparency"
)

func (a *agent) lookUp(j *device.LookupJob) error {
	var errs []error
	for _, actor := range j.Actors {
		errs = append(errs, a.look(actor))
	}
	if err := errors.Join(errs...); err != nil && (j.For != "" || errors.Is(err, errDisk)) {
		return err
	}
	return a.LookedUp(j.ID())
}

// look learns what the log of somebody's instance has of them.
func (a *agent) look(actor string) error {
	at, err := a.home.peer(originOf(actor))
	if err != nil {
		return err
	}
	if at.plain {
		return a.NoDirectory(actor)
	}
	pinned, size, err := a.LogOf(actor)
	if err != nil {
		return err
	}
	if !pinned {
		if err := a.PinLog(at.origin, at.log.Origin(), at.logKey, at.log.VRFKey()); err != nil {
			return err
		}
	}
	answer, err := at.log.Answer(ctx, actor, size)
	if err != nil {
		return a.Unknown(actor)
	}
	_, err = a.Learn(actor, answer.Marshal())
	if errors.Is(err, device.ErrLogUnproven) {
		return a.Unknown(actor)
	}
	return err
}

// prove asks a log what it had at a size.
func (a *agent) prove(j *device.ProofJob) error {
	at, err := a.home.peer(j.Instance)
	if err != nil {
		return err
	}
	head, err := a.LogHead(j.Instance)
	if err != nil {
		return err
	}
	if head.N < j.Size {
		signed, err := at.log.Checkpoint()
		require.NoError(a.w.t, err)
		c, err := transparency.UnverifiedCheckpoint(signed)
		require.NoError(a.w.t, err)
		proof, err := at.log.ProveFrom(ctx, head.N, c.Size)
		require.NoError(a.w.t, err)
		if err := a.AdvanceLog(j.Instance, signed, proof); err != nil {
			return err
		}
		if head, err = a.LogHead(j.Instance); err != nil {
			return err
		}
	}
	if head.N <= j.Size {
		return a.Compared(j.ID(), head.Hash, nil)
	}
	hashes := tlog.TileHashReader(head, logTiles{at})
	root, err := tlog.TreeHash(j.Size, hashes)
	require.NoError(a.w.t, err)
	proof, err := tlog.ProveTree(head.N, j.Size, hashes)
	require.NoError(a.w.t, err)
	return a.Compared(j.ID(), root, proof)
}

type logTiles struct{ *node }

func (logTiles) Height() int                     { return 8 }
func (logTiles) SaveTiles([]tlog.Tile, [][]byte) {}
func (l logTiles) ReadTiles(tiles []tlog.Tile) (data [][]byte, err error) {
	for _, t := range tiles {
		b, err := l.log.Tile(ctx, strings.Replace(t.Path(), "tile/8/", "tile/", 1))
		if err != nil {
			return nil, err
		}
		data = append(data, b)
	}
	return data, nil
}
