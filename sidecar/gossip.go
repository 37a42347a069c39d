package sidecar

import (
	"bytes"
	"context"

	"github.com/waxwing-dm/waxwing/transparency"
)

// seen is what goes with each request to another instance: how far this log is served, and what was cosigned here of theirs.
func (s *Sidecar) seen(ctx context.Context, instance string) (all []transparency.Sighting) {
	if ours, ok := s.seenOfOwn(); ok {
		all = append(all, ours)
	}
	if theirs, ok := s.witness.Seen(ctx, instance); ok {
		all = append(all, theirs)
	}
	return all
}

// sighted is what a checkpoint of the own log says, kept: it goes with every request, and to open it is to verify a signature.
type sighted struct {
	note     []byte
	sighting transparency.Sighting
}

func (s *Sidecar) seenOfOwn() (transparency.Sighting, bool) {
	note, err := s.log.Checkpoint()
	if err != nil {
		return transparency.Sighting{}, false
	}
	if before := s.sighted.Load(); before != nil && bytes.Equal(before.note, note) {
		return before.sighting, true
	}
	c, err := transparency.OpenCheckpoint(note, s.log.Verifier())
	if err != nil {
		return transparency.Sighting{}, false
	}
	now := &sighted{note, transparency.Sighting{Origin: transparency.OriginHash(c.Origin), Size: c.Size, Root: c.Root}}
	s.sighted.Store(now)
	return now.sighting, true
}

// heard takes what a request of another instance brought, whose signature has held.
func (s *Sidecar) heard(ctx context.Context, instance string, seen []transparency.Sighting) {
	for _, said := range seen {
		if said.Origin == transparency.OriginHash(s.log.Origin()) {
			s.heardOfOwn(ctx, instance, said)
			continue
		}
		s.witness.Heard(ctx, instance, said)
	}
}

// heardOfOwn: a tree of the own log that is none means that its key is in other hands, or that this folder is not the newest.
func (s *Sidecar) heardOfOwn(ctx context.Context, instance string, said transparency.Sighting) {
	if said.Size > s.log.Size() {
		s.logger.Error("an instance says that this log is longer than it is: has somebody its key, or is this an older copy of its folder?",
			"instance", instance, "size", said.Size, "ours", s.log.Size())
		return
	}
	if root, err := s.log.RootAt(ctx, said.Size); err == nil && root != said.Root {
		s.logger.Error("an instance has seen another history of this log: has somebody its key?", "instance", instance, "size", said.Size)
	}
}
