package sidecar

import (
	"context"

	"github.com/waxwing-dm/waxwing/transparency"
)

// seen is what goes with each request to another instance: how far this log is served, and what was cosigned here of theirs.
func (s *Sidecar) seen(ctx context.Context, instance string) (all []transparency.Sighting) {
	if note, err := s.log.Checkpoint(); err == nil {
		if c, err := transparency.OpenCheckpoint(note, s.log.Verifier()); err == nil {
			all = append(all, transparency.Sighting{Origin: transparency.OriginHash(c.Origin), Size: c.Size, Root: c.Root})
		}
	}
	if theirs, ok := s.witness.Seen(ctx, instance); ok {
		all = append(all, theirs)
	}
	return all
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
