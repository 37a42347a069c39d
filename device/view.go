package device

import (
	"bytes"
	"cmp"
	"crypto/ed25519"
	"fmt"
	"slices"

	"github.com/waxwing-dm/waxwing/internal/receipt"
	"github.com/waxwing-dm/waxwing/mls"
)

// What a device that has lost the thread believes of what committers have left for it at the hub: G1 to G3 of spec/conversation.md.

// A view is a group as a committer showed it, opened and checked as far as that goes without asking anybody.
type view struct {
	SealedGroup
	inside
	info    *mls.Message
	room    room
	members []leaf
	signer  leaf
	own     *uint32 // our old leaf
	receipt receipt.Receipt
	place   place
}

// choose goes from the oldest to the newest, so that what an admin has changed meanwhile is known before a member's word is taken.
func (t *txn) choose(c *conversation, account Account, list []SealedGroup) (best *view, why string, err error) {
	life, err := t.lifeline(c.id)
	if err != nil {
		return nil, "", err
	}
	known, err := parseRoom(life.Room)
	if err != nil {
		return nil, "", err
	}
	actors := map[string]bool{}
	for _, m := range c.Members {
		actors[m.Actor] = true
	}
	list = slices.Clone(list[:min(len(list), maxSealedGroups)])
	slices.SortFunc(list, func(a, b SealedGroup) int { return cmp.Compare(a.Seq, b.Seq) })
	why = "nobody has left anything there for this device"
	for _, s := range list {
		v, bad, err := t.look(c, account, life, s)
		if err != nil {
			return nil, "", err
		}
		if bad == nil {
			bad = v.credible(known, actors)
		}
		if bad != nil {
			why = bad.Error()
			continue
		}
		best, known, actors = v, v.room, map[string]bool{}
		for _, l := range v.members {
			actors[l.actor] = true
		}
	}
	return best, why, nil
}

// look opens what is sealed and holds it against the receipt of its commit, and the group in it against itself.
func (t *txn) look(c *conversation, account Account, life lifeline, s SealedGroup) (v *view, bad, err error) {
	raw, ok, err := t.Get(bucketReceipt, receiptKey(c.id, s.Seq))
	if err != nil {
		return nil, nil, err
	}
	v = &view{SealedGroup: s}
	if !ok || s.Seq > c.Seq {
		return nil, failed("G1", "the group of receipt %d, which the hub has not shown", s.Seq), nil
	}
	if v.receipt, err = receipt.Parse(raw); err != nil {
		return nil, nil, err
	}
	r := v.receipt
	if r.Kind != receipt.KindCommit && r.Kind != receipt.KindMove || r.Term != s.Term || r.Epoch+1 != s.Epoch {
		return nil, failed("G1", "the group of epoch %d is not what receipt %d opened", s.Epoch, s.Seq), nil
	}
	if v.inside, bad = openSealed(s.Sealed, c.groupID(), s.Epoch, life.all()); bad != nil {
		return nil, bad, nil
	}
	if ticket := receipt.TicketKey(v.ticket).Public().(ed25519.PublicKey); !bytes.Equal(ticket, r.Ticket[:]) {
		return nil, failed("R4", "the sealed group has another ticket than receipt %d", s.Seq), nil
	}
	v.place = place{Epoch: s.Epoch, Term: r.Term, Seq: r.Seq, Authenticator: v.authenticator}
	head := receipt.Head(raw)
	copy(v.place.Head[:], head[:])
	return v, v.read(c, account), nil
}

// read checks the group itself: signatures, tree and room.
func (v *view) read(c *conversation, account Account) error {
	var err error
	if v.info, err = mls.ParseMessage(v.groupInfo); err != nil {
		return fmt.Errorf("device: reading a group info: %w", err)
	}
	o, err := mls.Observe(v.info, nil)
	if err != nil {
		return fmt.Errorf("device: reading a group info: %w", err)
	}
	if o.Suite() != suite || !bytes.Equal(o.GroupID(), c.groupID()) || o.Epoch() != v.Epoch {
		return failed("G2", "the group info is of another group or epoch")
	}
	if v.room, err = roomOf(o.Extensions()); err != nil {
		return failed("G2", "%v", err)
	}
	members := o.Members()
	v.members, v.signer = leavesOf(members), leafOf(o.Signer())
	if len(members) > maxMembers || !slices.ContainsFunc(v.members, func(l leaf) bool { return v.room.admin(l.actor) }) {
		return failed("G2", "a group of %d devices, or without an admin", len(members))
	}
	for _, m := range members {
		if l := leafOf(m); l.actor == account.Actor && bytes.Equal(l.key, account.SignatureKey) {
			v.own = &m.Leaf
		}
	}
	if v.own == nil {
		return failed("G2", "a group without this device")
	}
	return nil
}

// credible is G3: who has not been an admin, as far as we know, cannot show us people whom we do not know, other admins or other hubs.
func (v *view) credible(known room, actors map[string]bool) error {
	if v.room.version != known.version || v.room.conversation != known.conversation || v.room.created != known.created {
		return failed("G3", "another room")
	}
	if !actors[v.signer.actor] {
		return failed("G3", "shown by %.200q, who was no member", v.signer.actor)
	}
	if known.admin(v.signer.actor) {
		return nil
	}
	if !bytes.Equal(v.room.marshal(), known.marshal()) {
		return failed("G3", "%.200q is no admin and shows another room", v.signer.actor)
	}
	for _, l := range v.members {
		if !actors[l.actor] {
			return failed("G3", "%.200q is no admin and shows %.200q as a member", v.signer.actor, l.actor)
		}
	}
	return nil
}
