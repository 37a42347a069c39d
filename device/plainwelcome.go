package device

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/waxwing-dm/waxwing/mls"
)

// continuesExtension of the GroupInfo in a Welcome has the id of the group in whose place a plain one was begun. Programs that do not know it pass
// over it.
const continuesExtension mls.ExtensionType = 0xF7A2

// plainJoin opens a Welcome that came without a hub's receipt, if it is for a key package of ours. refused says why not.
func (t *txn) plainJoin(m *mls.Message) (join *mls.StagedJoin, ref string, secret *mls.KeyPackageSecret, refused *verdict, err error) {
	no := func(code, format string, args ...any) (*mls.StagedJoin, string, *mls.KeyPackageSecret, *verdict, error) {
		v := refuse(code, format, args...)
		return nil, "", nil, &v, nil
	}
	ref, secret, err = t.packageFor(m)
	if err != nil {
		return nil, "", nil, nil, err
	}
	if secret == nil {
		return no(CodeCannotDecrypt, "the welcome is for none of our key packages")
	}
	signer, err := t.signer()
	if err != nil {
		return nil, "", nil, nil, err
	}
	join, err = mls.JoinWelcome(m, mls.JoinParams{KeyPackage: secret, Signer: signer})
	if err != nil {
		return no(CodeRejectedForged, "the welcome: %v", err)
	}
	g := join.Group()
	for _, e := range g.Extensions() {
		switch e.Type {
		case mls.ExtensionRequiredCapabilities:
		case roomExtension: // whoever took the receipt away, this is no plain conversation
			return no(CodeRejectedForged, "a welcome without the receipt of its commit")
		default:
			return no(CodeNotAllowed, "P3: a group with extension %d", e.Type)
		}
	}
	switch {
	case g.Suite() != suite:
		return no(CodeNotAllowed, "a group of suite %s", g.Suite())
	case !isPlainGroupID(g.GroupID()):
		return no(CodeNotAllowed, "P1: a group without a hub whose id has %d bytes", len(g.GroupID()))
	case len(join.Members()) > maxPlainDevices:
		return no(CodeTooLarge, "P2: a plain conversation of %d devices", len(join.Members()))
	}
	return join, ref, secret, nil, nil
}

// judgePlainWelcome joins a plain group. c is what there is by its name.
func (t *txn) judgePlainWelcome(c *conversation, id string, m *mls.Message, item Incoming, since uint64) (*conversation, verdict, error) {
	join, ref, secret, refused, err := t.plainJoin(m)
	switch {
	case err != nil:
		return c, verdict{}, err
	case refused != nil:
		return c, *refused, nil
	case c != nil && c.State != StateLeft:
		return c, refuse(CodeNotAllowed, "a welcome to a conversation we are in"), nil
	}
	adder := leafOf(join.Adder()).actor
	if adder != item.Actor {
		return c, refuse(CodeRejectedForged, "the welcome is by %.200q and was sent by %.200q", adder, item.Actor), nil
	}
	account, err := t.account()
	if err != nil {
		return c, verdict{}, err
	}
	if s, err := t.welcomed(adder, account); err != nil || s != accepted {
		return c, verdict{status: s}, err
	}
	members := without(leavesOf(join.Members()), account)
	missing, unlogged, err := t.bindPlainLeaves(members, since)
	switch {
	case err != nil:
		return c, verdict{}, err
	case len(missing) > 0:
		return c, verdict{status: waiting, lookups: missing}, nil
	case unlogged != nil:
		return c, refuse(CodeNotInLog, "%v", unlogged), nil
	}
	plain, err := t.plainAmong(actorsOf(members))
	if err != nil {
		return c, verdict{}, err
	}
	if len(plain) == 0 { // it would be a way around the hub and its order
		return c, refuse(CodeNotAllowed, "P2: a plain conversation of people who all have directories"), nil
	}
	if err := t.usedPackage(ref, secret); err != nil {
		return c, verdict{}, err
	}
	again, old, ignore, err := t.continued(join, adder)
	switch {
	case err != nil:
		return c, verdict{}, err
	case ignore:
		return c, verdict{status: ignored}, nil
	case again != nil:
		return again, verdict{status: stepped}, t.joinedAnew(again, id, old, join.Group(), adder, members)
	}
	c, err = t.joinedPlain(id, join.Group(), adder, members)
	return c, verdict{status: stepped}, err
}

// continued finds the conversation that a member begins anew with a group, and the group in whose place. Of all who do so at once that counts whose
// group has the smallest id.
func (t *txn) continued(join *mls.StagedJoin, adder string) (c *conversation, old []byte, ignore bool, err error) {
	for _, e := range join.GroupInfoExtensions() {
		if e.Type == continuesExtension {
			old = e.Data
		}
	}
	if old == nil {
		return nil, nil, false, nil
	}
	id, err := t.plainID(plainName(old))
	if err != nil {
		return nil, nil, false, err
	}
	c, err = t.open(id)
	if err != nil || c == nil || c.Plain == nil || c.State == StateLeft {
		return nil, nil, false, err
	}
	if _, s, _, err := t.firstStep(id); err != nil || !c.has(adder) && !(s.Kind == stepAdd && slices.Contains(s.Actors, adder)) { // who is not in ours yet
		return nil, nil, false, err
	}
	switch {
	case bytes.Equal(c.Plain.GroupID, old):
		return c, old, false, nil
	case bytes.Equal(c.Plain.Continues, old):
		return c, old, bytes.Compare(c.Plain.GroupID, join.Group().GroupID()) < 0, nil
	}
	return nil, nil, false, nil
}

// joinedAnew goes on with a conversation in the group that another member has begun it anew with, in place of the old one: others may
// have begun others in its place. name is the group's.
func (t *txn) joinedAnew(c *conversation, name string, old []byte, g *mls.Group, by string, members []leaf) error {
	if err := t.leaveGroup(c); err != nil {
		return err
	}
	c.Plain.Continues = old
	c.group, c.URL = g, contextOf(g.GroupID())
	c.Plain.GroupID, c.Plain.Begun, c.Plain.From = g.GroupID(), t.now, g.Epoch()
	if _, err := t.meet(members); err != nil {
		return err
	}
	items, err := t.parked(name)
	if err != nil {
		return err
	}
	for _, p := range items {
		if err := t.unpark(name, p.key); err != nil {
			return err
		}
		if err := t.putRow(parkedBucket(c.id), p.key, p); err != nil {
			return err
		}
	}
	if err := t.begunAnew(c, by); err != nil {
		return err
	}
	return t.plainMoved(c, by)
}

func (t *txn) joinedPlain(id string, g *mls.Group, by string, members []leaf) (*conversation, error) {
	c := &conversation{id: id, group: g, conversationRow: conversationRow{
		State: StateActive, Created: t.now, URL: contextOf(g.GroupID()), Plain: &plainRow{GroupID: g.GroupID(), Begun: t.now, From: g.Epoch()},
	}}
	if err := t.emit(Event{Type: EventConversationCreated, Conversation: id, By: by, Code: CodePlain, Detail: plainWarning}); err != nil {
		return nil, err
	}
	if _, err := t.meet(members); err != nil {
		return nil, err
	}
	if err := t.plainMoved(c, by); err != nil {
		return nil, err
	}
	items, err := t.parked(id)
	if err != nil {
		return nil, err
	}
	for _, p := range items {
		if err := t.Delete(bucketStrangers, p.key); err != nil {
			return nil, fmt.Errorf("device: taking up a parked item: %w", err)
		}
	}
	return c, nil
}

// nameOf finds the conversation of an item without a hub.
func (t *txn) nameOf(m *mls.Message) (id string, refused *verdict, err error) {
	groupID := m.GroupID()
	if m.WireFormat() == mls.WireWelcome {
		join, _, _, refused, err := t.plainJoin(m)
		if err != nil || refused != nil {
			return "", refused, err
		}
		groupID = join.Group().GroupID()
	}
	id, err = t.plainID(plainName(groupID))
	return id, nil, err
}
