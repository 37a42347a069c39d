package device

import (
	"slices"
	"strings"

	"github.com/waxwing-dm/waxwing/mls"
)

// SetAdmin queues the making or unmaking of an admin. The last admin among the members stays one.
func (d *Device) SetAdmin(id, actor string, admin bool) error {
	return d.update(func(t *txn) error {
		account, err := t.speaker()
		if err != nil {
			return err
		}
		c, err := t.mayIntend(id, account, "C5")
		if err != nil {
			return err
		}
		if c.Plain != nil {
			return failed("P3", "a plain conversation has no admins")
		}
		return t.intend(c, step{Kind: stepRole, Actors: []string{actor}, Admin: admin})
	})
}

// workRole brings an intent about a role forward.
func (t *txn) workRole(c *conversation, s *step) (done bool, err error) {
	before, err := c.room()
	if err != nil {
		return false, err
	}
	actor := s.Actors[0]
	switch {
	case before.admin(actor) == s.Admin:
		return true, nil
	case !c.has(actor):
		return true, t.intentFailed(c, s.Actors, CodeNotAllowed, actor+" is not a member")
	}
	return t.proposeRoom(c, s, before.withAdmin(actor, s.Admin))
}

// proposeRoom commits another room.
func (t *txn) proposeRoom(c *conversation, s *step, after room) (done bool, err error) {
	extensions := slices.Clone(c.group.Extensions())
	for i, e := range extensions {
		if e.Type == roomExtension {
			extensions[i].Data = after.marshal()
		}
	}
	return t.propose(c, s, []mls.Proposal{mls.GroupContextExtensionsProposal(extensions)}, change{after: after})
}

// withAdmin returns the room with one grant given or taken.
func (r room) withAdmin(actor string, admin bool) room {
	r.grants = slices.DeleteFunc(slices.Clone(r.grants), func(g grant) bool { return g.actor == actor })
	if admin {
		r.grants = append(r.grants, grant{actor, roleAdmin})
	}
	slices.SortFunc(r.grants, func(a, b grant) int { return strings.Compare(a.actor, b.actor) })
	return r
}
