package device

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"slices"

	"github.com/waxwing-dm/waxwing/internal/receipt"
	"github.com/waxwing-dm/waxwing/mls"
)

// judgeWelcome joins a group if everything about it holds. A group that we are in is never replaced by a Welcome.
func (t *txn) judgeWelcome(c *conversation, id string, m *mls.Message, item Incoming, since uint64) (*conversation, verdict, error) {
	r, err := parseReceipt(item.Receipt)
	if err != nil || r.Kind != receipt.KindCommit || hex.EncodeToString(r.GroupID) != id {
		return c, refuse(CodeRejectedForged, "a welcome without the receipt of its commit"), nil
	}
	astray := c != nil && c.Resync != nil && (t.inChain(c, r, item.Receipt) || t.beyond(c, r))
	if c != nil && !astray && (c.State != StateLeft || r.Seq <= c.Seq) {
		v, err := t.secondWelcome(c, r, item)
		return c, v, err
	}
	ref, secret, err := t.packageFor(m)
	if err != nil {
		return c, verdict{}, err
	}
	if secret == nil {
		return c, refuse(CodeCannotDecrypt, "the welcome is for none of our key packages"), nil
	}
	signer, err := t.signer()
	if err != nil {
		return c, verdict{}, err
	}
	join, err := mls.JoinWelcome(m, mls.JoinParams{KeyPackage: secret, Signer: signer})
	if err != nil {
		return c, refuse(CodeRejectedForged, "the welcome: %v", err), nil
	}
	w := joining{conversation: c, join: join, receipt: r, item: item}
	v, err := t.judgeJoin(&w, id, since)
	if err != nil || v.status != stepped {
		return c, v, err
	}
	if err := t.usedPackage(ref, secret); err != nil {
		return c, v, err
	}
	return w.conversation, v, nil
}

// inChain tells whether a receipt is one of those that we have followed. Then a device that has lost the thread may be added anew.
func (t *txn) inChain(c *conversation, r receipt.Receipt, raw []byte) bool {
	ours, ok, err := t.Get(bucketReceipt, receiptKey(c.id, r.Seq))
	return err == nil && ok && r.Seq <= c.Seq && bytes.Equal(ours, raw)
}

// beyond tells whether a receipt is of a later term of a hub that we know. Who was removed cannot judge the claims of those who stayed, and is
// added again in what came of them.
func (t *txn) beyond(c *conversation, r receipt.Receipt) bool {
	if r.Term <= c.term() || r.Seq <= c.Seq {
		return false
	}
	rm, _, err := t.knownAt(c, c.Seq)
	return err == nil && slices.ContainsFunc(rm.hubs(), func(h receipt.NextHub) bool { return r.Verify(h.Key[:]) })
}

// secondWelcome is one for a group we are in. If the chain goes on behind our place, it may say that we left and came back; that has to be
// followed first.
func (t *txn) secondWelcome(c *conversation, r receipt.Receipt, item Incoming) (verdict, error) {
	if r.Seq > c.Seq && r.Verify(c.HubKey) {
		return verdict{status: waiting, fetch: true}, nil
	}
	ours, ok, err := t.Get(bucketReceipt, receiptKey(c.id, r.Seq))
	if err != nil {
		return verdict{}, err
	}
	if ok && bytes.Equal(ours, item.Receipt) {
		return verdict{status: ignored}, nil
	}
	return refuse(CodeNotAllowed, "a welcome to a conversation we are in"), nil
}

// joining is a Welcome that MLS finds valid.
type joining struct {
	by           receipt.NextHub // whose the receipt is
	conversation *conversation   // nil, or one that we left
	join         *mls.StagedJoin
	receipt      receipt.Receipt
	item         Incoming
}

// judgeJoin checks room, receipt, adder and every leaf, and takes the group.
func (t *txn) judgeJoin(w *joining, id string, since uint64) (verdict, error) {
	account, err := t.account()
	if err != nil {
		return verdict{}, err
	}
	g := w.join.Group()
	rm, err := roomOf(g.Extensions())
	if err != nil {
		return refuse(CodeNotAllowed, "%v", err), nil
	}
	if err := w.check(g, rm, id); err != nil {
		return refuse(CodeRejectedForged, "%v", err), nil
	}
	members := leavesOf(w.join.Members())
	if err := w.checkAdder(rm, account, members); err != nil {
		return refuse(CodeNotAllowed, "%v", err), nil
	}
	if again := w.conversation != nil && w.conversation.Resync != nil; again {
		if known, err := t.knownAdmin(w.conversation, w.receipt.Seq, w.item.Actor); err != nil || !known {
			return refuse(CodeNotAllowed, "G3: added again by %.200q, who was no admin", w.item.Actor), err
		}
	} else if s, err := t.welcomed(w.item.Actor, account); err != nil || s != accepted {
		return verdict{status: s}, err
	}
	missing, unlogged, err := t.bindLeaves(without(members, account), since)
	switch {
	case err != nil:
		return verdict{}, err
	case len(missing) > 0:
		return verdict{status: waiting, lookups: missing}, nil
	case unlogged != nil:
		return refuse(CodeNotInLog, "%v", unlogged), nil
	}
	return verdict{status: stepped}, t.joined(w, g, rm, id)
}

// knownAdmin tells whether an actor was an admin when this device last knew the room.
func (t *txn) knownAdmin(c *conversation, seq uint64, actor string) (bool, error) {
	known, _, err := t.knownAt(c, seq)
	return err == nil && known.admin(actor), nil
}

// without leaves out our own leaf: whose it is we need not ask.
func without(members []leaf, account Account) []leaf {
	var others []leaf
	for _, l := range members {
		if l.actor != account.Actor || !bytes.Equal(l.key, account.SignatureKey) {
			others = append(others, l)
		}
	}
	return others
}

// check is what of the room and R1 to R4 can be checked by somebody new: the receipt is of the commit that opened this epoch.
func (w *joining) check(g *mls.Group, rm room, id string) error {
	named, err := conversationOf(rm.conversation)
	switch {
	case g.Suite() != suite:
		return fmt.Errorf("device: a group of suite %s", g.Suite())
	case err != nil:
		return err
	case hex.EncodeToString(g.GroupID()) != id || named != id || w.item.Conversation != rm.conversation:
		return fmt.Errorf("device: the welcome, its room and its group name different conversations")
	case !w.hub(rm):
		return failed("R1", "the receipt is not by the room's hub")
	case w.receipt.Epoch+1 != g.Epoch():
		return failed("R3", "the receipt is of epoch %d, the group is at %d", w.receipt.Epoch, g.Epoch())
	}
	ticket, err := ticketOf(g)
	if err != nil {
		return err
	}
	if !bytes.Equal(ticket, w.receipt.Ticket[:]) {
		return failed("R4", "the receipt has another ticket than the epoch")
	}
	if c := w.conversation; c != nil && c.URL != rm.conversation {
		return fmt.Errorf("device: the welcome leads to another room than the one we left")
	}
	return nil
}

// hub finds which of the room's hubs signed the receipt.
func (w *joining) hub(rm room) bool {
	for _, h := range rm.hubs() {
		if w.receipt.Verify(h.Key[:]) {
			w.by = h
			return true
		}
	}
	return false
}

// checkAdder is C2 and C5 as far as the tree shows them, and that who wrote the Welcome also sent it.
func (w *joining) checkAdder(rm room, account Account, members []leaf) error {
	adder := leafOf(w.join.Adder())
	if adder.actor != w.item.Actor {
		return fmt.Errorf("device: the welcome is by %.200q and was sent by %.200q", adder.actor, w.item.Actor)
	}
	if !rm.admin(adder.actor) && adder.actor != account.Actor {
		return failed("C2", "%s is no admin and added us", adder.actor)
	}
	if len(members) > maxMembers {
		return fmt.Errorf("device: a conversation of %d devices", len(members))
	}
	for _, l := range members {
		if rm.admin(l.actor) {
			return nil
		}
	}
	return failed("C5", "there is no admin among the members")
}

// joined makes the group our conversation.
func (t *txn) joined(w *joining, g *mls.Group, rm room, id string) error {
	c := &conversation{id: id, group: g}
	c.URL, c.State, c.Term = rm.conversation, StateActive, w.receipt.Term
	c.setHub(w.by)
	c.Created = t.now
	if w.conversation != nil && w.conversation.Resync != nil {
		c.Missed = &missed{To: g.Epoch() - 1}
		if err := t.startOver(id); err != nil {
			return err
		}
	}
	by := leafOf(w.join.Adder()).actor
	if err := t.emit(Event{Type: EventConversationCreated, Conversation: id, By: by}); err != nil {
		return err
	}
	if err := t.adopt(c, g, w.receipt, w.item.Receipt, by); err != nil {
		return err
	}
	w.conversation = c
	if err := t.fetch(c); err != nil { // others may have gone on since the Welcome was written
		return err
	}
	return t.welcomeParked(id)
}

// welcomeParked takes up what came for a conversation before it could be opened.
func (t *txn) welcomeParked(id string) error {
	items, err := t.parked(id)
	if err != nil {
		return err
	}
	for _, p := range items {
		if err := t.Delete(bucketStrangers, p.key); err != nil {
			return fmt.Errorf("device: taking up a parked item: %w", err)
		}
	}
	return nil
}
