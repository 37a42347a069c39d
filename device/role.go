package device

import (
	"fmt"
	"slices"
	"strings"

	"github.com/waxwing-dm/waxwing/mls"
)

// SetAdmin queues the making or unmaking of an admin. Who is no member is an ErrNotMember; the last admin stays one (ErrLastAdmin).
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
		if err := t.mayBecome(c, actor, admin); err != nil {
			return err
		}
		return t.intend(c, step{Kind: stepRole, Actors: []string{actor}, Admin: admin})
	})
}

// mayBecome says at once what can be known at once: that nobody of that name is there or about to be, or that no admin would remain.
func (t *txn) mayBecome(c *conversation, actor string, admin bool) error {
	known, err := t.outline(c.id, c.conversationRow)
	if err != nil {
		return err
	}
	if !slices.Contains(known.Expected, actor) {
		return fmt.Errorf("device: making %s an admin: %w", actor, ErrNotMember)
	}
	r, err := c.room()
	if err == nil && !admin && c.onlyAdmin(r, actor) {
		err = ErrLastAdmin
	}
	return err
}

// onlyAdmin tells whether this is the admin that a conversation has to keep.
func (c *conversation) onlyAdmin(r room, actor string) bool {
	return r.admin(actor) && !slices.ContainsFunc(c.others(actor), r.admin)
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
	case !s.Admin && c.onlyAdmin(before, actor): // the other one has gone meanwhile
		return true, t.intentFailed(c, s.Actors, CodeLastAdmin, "no admin would remain: make somebody else an admin first")
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
