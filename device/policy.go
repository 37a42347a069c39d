package device

import (
	"bytes"
	"slices"

	"github.com/waxwing-dm/waxwing/internal/receipt"
)

// A leaf is one device in a group: who says it is, and its key.
type leaf struct {
	actor string
	key   []byte
}

// A change is what a commit does, in the terms of the rules.
type change struct {
	committer leaf
	before    room
	after     room
	members   []leaf // before the commit
	added     []leaf
	removed   []leaf
	leaving   []leaf          // who asked for it, as the commit itself proves
	updated   [][2]leaf       // before, after
	hub       receipt.NextHub // that has the term
	other     bool            // something the rules have no word for: a foreign extension, an unknown proposal
}

// allowed is C2 to C9 of spec/conversation.md. All members decide alike, from what all of them share; C1, which depends on what a
// member knows of the directory, is bindLeaf.
func allowed(c change) error {
	admin := c.before.admin(c.committer.actor)
	for _, check := range []func(change, bool) error{allowedAdds, allowedRemoves, allowedUpdates, allowedRoom, allowedRest} {
		if err := check(c, admin); err != nil {
			return err
		}
	}
	return nil
}

func allowedAdds(c change, admin bool) error {
	here := map[string]bool{}
	for _, m := range c.members {
		here[m.actor] = true
	}
	for _, l := range c.added {
		switch {
		case admin:
		case !here[l.actor]:
			return failed("C2", "%s is no admin and added %s", c.committer.actor, l.actor)
		case l.actor != c.committer.actor:
			return failed("C2", "%s is no admin and added a device of %s", c.committer.actor, l.actor)
		}
	}
	return nil
}

func allowedRemoves(c change, admin bool) error {
	for _, l := range c.removed {
		if !admin && l.actor != c.committer.actor && !c.leaves(l) {
			return failed("C3", "%s is no admin and removed a device of %s", c.committer.actor, l.actor)
		}
	}
	return nil
}

func allowedUpdates(c change, _ bool) error {
	for _, u := range c.updated {
		if u[0].actor != u[1].actor {
			return failed("C4", "a leaf of %s became one of %s", u[0].actor, u[1].actor)
		}
		if !bytes.Equal(u[0].key, u[1].key) {
			return failed("C4", "a leaf of %s changed its signature key", u[0].actor)
		}
	}
	return nil
}

func allowedRoom(c change, admin bool) error {
	if !admin && !bytes.Equal(c.before.marshal(), c.after.marshal()) {
		return failed("C5", "%s is no admin and changed the room", c.committer.actor)
	}
	_, moves := c.moves()
	if c.before.version != c.after.version || c.before.conversation != c.after.conversation || c.before.created != c.after.created ||
		moves && c.after.version < formatVersion {
		return failed("C5", "%s changed what of a room never changes", c.committer.actor)
	}
	for _, l := range c.remaining() {
		if c.after.admin(l.actor) {
			return nil
		}
	}
	return failed("C5", "no admin would remain")
}

func allowedRest(c change, _ bool) error {
	if c.other {
		return failed("C6", "%s proposed what this room does not know", c.committer.actor)
	}
	return nil
}

func (c change) leaves(l leaf) bool {
	return slices.ContainsFunc(c.leaving, func(x leaf) bool { return x.actor == l.actor && bytes.Equal(x.key, l.key) })
}

// remaining are the leaves after the commit.
func (c change) remaining() []leaf {
	gone := map[string]bool{}
	for _, l := range c.removed {
		gone[string(l.key)] = true
	}
	var rest []leaf
	for _, l := range c.members {
		if !gone[string(l.key)] {
			rest = append(rest, l)
		}
	}
	return append(rest, c.added...) // a key may leave and come back in one commit
}
