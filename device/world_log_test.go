package device_test

import (
	"context"
	"errors"
	"strings"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/waxwing-dm/waxwing/device"
	"github.com/waxwing-dm/waxwing/transparency"
)

// fork makes a log go on in two ways from here: what it shows to the viewers, and what it shows to everybody else. All keys are the
// same, so every witness that colludes would sign both.
func (w *world) fork(actor string, viewers ...string) (theirs *instance) {
	in := w.instance(actor)
	theirs = &instance{config: in.config, hubKey: in.hubKey, hubs: in.hubs, store: in.store.Clone()}
	theirs.open(w.t)
	for _, v := range viewers {
		in.forks[v] = theirs
	}
	return theirs
}

// as is the instance as somebody gets to see it.
func (in *instance) as(p *person) *instance {
	if f := in.forks[p.actor]; f != nil {
		return f
	}
	return in
}

// grow appends padding, each entry at a time of its own, so that no two logs grow alike.
func (w *world) grow(in *instance, n int) {
	for range n {
		w.now = w.now.Add(1e6)
		require.NoError(w.t, in.log.Pad(context.Background()))
	}
}

// prove is what an agent does for a ProofJob.
func (p *person) prove(j *device.ProofJob) error {
	in := p.w.instances[j.Instance].as(p)
	if in.mute {
		return p.Failed(j.ID(), "not_proven", "")
	}
	head, err := p.LogHead(j.Instance)
	require.NoError(p.w.t, err)
	if head.N < j.Size {
		signed, err := in.log.Checkpoint()
		require.NoError(p.w.t, err)
		c, err := transparency.UnverifiedCheckpoint(signed)
		require.NoError(p.w.t, err)
		proof, err := in.log.ProveFrom(context.Background(), head.N, c.Size)
		require.NoError(p.w.t, err)
		if err := p.AdvanceLog(j.Instance, signed, proof); errors.Is(err, errDisk) {
			return err
		} else if err != nil {
			return p.Failed(j.ID(), "not_proven", "")
		}
		head, err = p.LogHead(j.Instance)
		require.NoError(p.w.t, err)
	}
	if head.N <= j.Size {
		return p.Compared(j.ID(), head.Hash, nil)
	}
	hashes := tlog.TileHashReader(head, logTiles{in})
	root, err := tlog.TreeHash(j.Size, hashes)
	require.NoError(p.w.t, err)
	proof, err := tlog.ProveTree(head.N, j.Size, hashes)
	require.NoError(p.w.t, err)
	return p.Compared(j.ID(), root, proof)
}

type logTiles struct{ *instance }

func (logTiles) Height() int                     { return 8 }
func (logTiles) SaveTiles([]tlog.Tile, [][]byte) {}
func (l logTiles) ReadTiles(tiles []tlog.Tile) (data [][]byte, err error) {
	for _, t := range tiles {
		b, err := l.log.Tile(context.Background(), strings.Replace(t.Path(), "tile/8/", "tile/", 1))
		if err != nil {
			return nil, err
		}
		data = append(data, b)
	}
	return data, nil
}

// sees lets somebody look an actor up.
func (p *person) sees(actors ...string) {
	for _, actor := range actors {
		require.NoError(p.w.t, p.lookUp(actor))
	}
}

// logEvents are the types of somebody's events about logs, in order.
func (p *person) logEvents() (kinds []device.EventType) {
	events, err := p.Events(0, 100000)
	require.NoError(p.w.t, err)
	for _, e := range events {
		if e.Log != "" {
			require.NotEmpty(p.w.t, e.Detail)
			kinds = append(kinds, e.Type)
		}
	}
	return kinds
}

// How somebody may believe a log.
const (
	believed = "believed"
	unproven = "unproven"
	split    = "split"
)

// stateOf is how far somebody believes the log of an actor's instance.
func (p *person) stateOf(actor string) string {
	origin, _ := originOf(actor)
	list, err := p.Distrusted()
	require.NoError(p.w.t, err)
	for _, l := range list {
		if l.Instance == origin && l.Split {
			return split
		} else if l.Instance == origin {
			return unproven
		}
	}
	return believed
}

// growBy has others publish in the log of an actor's instance, so that there is something to read.
func (w *world) growBy(actor string, n int) { w.grow(w.instance(actor), n) }
