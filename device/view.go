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
	room, err := parseRoom(life.Room)
	if err != nil {
		return nil, "", err
	}
	now := known{Room: room.marshal(), Members: c.Members}
	list = slices.Clone(list[:min(len(list), maxSealedGroups)])
	slices.SortFunc(list, func(a, b SealedGroup) int { return cmp.Compare(a.Seq, b.Seq) })
	why = "nobody has left anything there for this device"
	for _, s := range list {
		v, bad, err := t.look(c, account, life, s)
		if err != nil {
			return nil, "", err
		}
		if k := c.Resync.Known; k != nil && now.Seq < k.Seq && k.Seq < s.Seq {
			now = *k
		}
		if bad == nil {
			bad = v.credible(now, c.Resync.Common != nil)
		}
		if bad == nil && c.Resync.Misled && bytes.Equal(v.signer.key, account.SignatureKey) {
			bad = fmt.Errorf("device: looking for the others: this device made that itself, where it was alone")
		}
		if bad != nil {
			why = bad.Error()
			continue
		}
		over, err := t.goneOn(c, v)
		switch {
		case err != nil:
			return nil, "", err
		case over:
			why = "the conversation has gone on since, and nobody has left anything there yet for devices that come back"
		default:
			best = v
		}
		now = known{s.Seq, v.room.marshal(), membersIn(v.members, v.room)}
	}
	if k := c.Resync.Known; now.Seq > 0 && (k == nil || now.Seq > k.Seq) {
		r := *c.Resync
		r.Known = &now
		c.Resync = &r
	}
	return best, why, nil
}

// goneOn tells whether the hub has granted the epoch to somebody since. A commit of ours would come too late there, or, while it is in
// dispute who has that epoch, make one that nobody else goes on from.
func (t *txn) goneOn(c *conversation, v *view) (over bool, err error) {
	for seq := v.Seq + 1; seq <= c.Seq; seq++ {
		raw, ok, err := t.Get(bucketReceipt, receiptKey(c.id, seq))
		if err != nil {
			return false, err
		}
		if r, err := receipt.Parse(raw); ok && err == nil && r.Epoch == v.Epoch {
			over = r.Kind == receipt.KindCommit || r.Kind == receipt.KindMove
		}
	}
	return over, nil
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

// known is a room and the people in it, as the device has seen them itself or was shown them since.
type known struct {
	Seq     uint64   `json:"seq"` // of the commit that they were shown with; 0 if it was there
	Room    []byte   `json:"room"`
	Members []Member `json:"members"`
}

func (k known) has(actor string) bool {
	return slices.ContainsFunc(k.Members, func(m Member) bool { return m.Actor == actor })
}

// knownAt is the room, and who is in it, as the device knows them at a place of the chain, be it from what it was shown since it lost the thread.
func (t *txn) knownAt(c *conversation, seq uint64) (room, []Member, error) {
	if c.Resync != nil && c.Resync.Known != nil && c.Resync.Known.Seq <= seq {
		rm, err := parseRoom(c.Resync.Known.Room)
		return rm, c.Resync.Known.Members, err
	}
	life, err := t.lifeline(c.id)
	if err != nil {
		return room{}, nil, err
	}
	rm, err := parseRoom(life.Room)
	return rm, c.Members, err
}

// credible is G3: who has not been an admin, as far as we know, cannot show us people whom we do not know, other admins or other hubs. After
// a claim that has made void what we had followed, there may be fewer of them.
func (v *view) credible(k known, overtaken bool) error {
	was, err := parseRoom(k.Room)
	if err != nil {
		return err
	}
	if v.room.version != was.version || v.room.conversation != was.conversation || v.room.created != was.created {
		return failed("G3", "another room")
	}
	if !k.has(v.signer.actor) {
		return failed("G3", "shown by %.200q, who was no member", v.signer.actor)
	}
	if was.admin(v.signer.actor) {
		return nil
	}
	if !bytes.Equal(v.room.marshal(), k.Room) && !(overtaken && v.room.within(was)) {
		return failed("G3", "%.200q is no admin and shows another room", v.signer.actor)
	}
	for _, l := range v.members {
		if !k.has(l.actor) {
			return failed("G3", "%.200q is no admin and shows %.200q as a member", v.signer.actor, l.actor)
		}
	}
	return nil
}
