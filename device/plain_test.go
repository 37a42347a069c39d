package device_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/device"
	"github.com/waxwing-dm/waxwing/mls"
)

// group is the name that a plain peer has for the newest of its groups with somebody.
func (p *plainPeer) group() string {
	require.Len(p.w.t, p.groups, 1)
	for id := range p.groups {
		return id
	}
	return ""
}

// plainTalk is alice in a plain conversation with erin, which she began.
func plainTalk(t *testing.T) (w *world, a *person, e *plainPeer, id string) {
	w = newWorld(t, 7)
	a, e = w.enrol(alice), w.plainPeer(erin)
	require.NoError(t, a.lookUp(erin))
	m, err := a.SendToPlain([]string{erin}, "hello", nil, "")
	require.NoError(t, err)
	w.quiet()
	return w, a, e, m.Conversation
}

func TestPlainConversation(t *testing.T) {
	w, a, e, id := plainTalk(t)
	c := a.conversation(id)
	require.True(t, c.Plain)
	require.Equal(t, device.StateActive, c.State)
	require.Equal(t, []string{alice, erin}, []string{c.Members[0].Actor, c.Members[1].Actor})
	require.Equal(t, []string{"hello"}, e.texts)
	e.say(e.group(), "hello &amp; welcome")
	a.say(id, "two\nlines")
	w.quiet()
	require.Equal(t, []string{"hello", "two<br>lines"}, e.texts)
	require.Equal(t, []string{"hello", "two\nlines", "hello & welcome"}, a.texts(id), "acknowledgements are not shown")
	list, err := a.Messages(id, 0, 10)
	require.NoError(t, err)
	for _, m := range list {
		require.True(t, m.Plain)
	}
	require.Equal(t, []string{"plain"}, a.codes(device.EventContactPlain), "the person is told once that nobody vouches")
	require.Empty(t, a.codes(device.EventContactReset))
	require.Empty(t, e.later)
	require.Empty(t, a.codes(device.EventMessageRefused))
	_, err = a.Send(id, "", []device.File{{Name: "x", Data: []byte("x")}}, "")
	require.ErrorIs(t, err, device.ErrPlainFile)
	require.ErrorContains(t, a.SetAdmin(id, erin, true), "P3")
	a.restart()
	again, err := a.SendTo([]string{erin}, "after a restart", nil, "")
	require.NoError(t, err, "there is one with just her, begun knowingly")
	require.Equal(t, id, again.Conversation)
	w.quiet()
	require.Equal(t, "after a restart", e.texts[2])
}

func TestPlainOnlyWhenAsked(t *testing.T) {
	w := newWorld(t, 8)
	a, b := w.enrol(alice), w.enrol(bob)
	w.plainPeer(erin)
	require.NoError(t, a.lookUp(erin))
	require.NoError(t, a.lookUp(bob))
	var only *device.PlainOnlyError
	_, err := a.SendTo([]string{erin}, "hello", nil, "")
	require.ErrorAs(t, err, &only)
	require.Equal(t, []string{erin}, only.Actors)
	_, err = a.StartConversation([]string{bob, erin})
	require.ErrorAs(t, err, &only)

	// Where nobody needs it there is no plain conversation, whatever is said.
	m, err := a.SendToPlain([]string{bob}, "hello", nil, "")
	require.NoError(t, err)
	w.quiet()
	require.False(t, a.conversation(m.Conversation).Plain)
	require.Equal(t, []string{"hello"}, b.texts(m.Conversation))
	// And one that is not plain does not become it.
	require.ErrorAs(t, a.AddMembers(m.Conversation, []string{erin}), &only)

	// Who was not looked up in time is found out on the way, and left out.
	w.plainPeer(frank)
	require.NoError(t, a.AddMembers(m.Conversation, []string{frank}))
	w.quiet()
	require.Equal(t, []string{device.CodeRecipientNotReady}, a.codes(device.EventMemberFailed))
	require.Len(t, a.conversation(m.Conversation).Members, 2)
}

func TestPlainPeerInvites(t *testing.T) {
	w := newWorld(t, 9)
	a, e := w.enrol(alice), w.plainPeer(erin)
	id := e.create(alice)
	e.say(id, "hi")
	slices.Reverse(a.mail) // the message comes before the welcome
	w.quiet()
	list, err := a.Conversations()
	require.NoError(t, err)
	require.Len(t, list, 1)
	require.True(t, list[0].Plain)
	require.Equal(t, []string{"hi"}, a.texts(list[0].ID))
	a.say(list[0].ID, "hello")
	w.quiet()
	require.Equal(t, []string{"hello"}, e.texts)

	// She adds somebody else, and he us; and then she goes.
	f := w.plainPeer(frank)
	e.add(id, frank)
	w.quiet()
	f.say(id, "I am here")
	a.say(list[0].ID, "hello both")
	w.quiet()
	require.Equal(t, []string{"hi", "hello", "hello both", "I am here"}, a.texts(list[0].ID))
	require.Equal(t, []string{"hello both"}, f.texts)
	require.Equal(t, []string{"hello", "I am here", "hello both"}, e.texts)
	wish, err := e.groups[id].Propose(w.random, mls.RemoveProposal(e.groups[id].OwnLeaf()), mls.WirePrivateMessage, nil)
	require.NoError(t, err)
	w.deliver(e.members(id), device.Incoming{Actor: erin, Message: wish})
	w.quiet()
	require.Len(t, a.conversation(list[0].ID).Members, 3, "others may be about to do it")
	w.now = w.now.Add(2 * time.Minute)
	_, _, err = a.Wake()
	require.NoError(t, err)
	w.quiet()
	require.Len(t, a.conversation(list[0].ID).Members, 2)
	require.Equal(t, []string{alice}, f.members(id))
	next, did, err := a.Wake()
	require.NoError(t, err)
	require.False(t, did, "and it comes to rest: %v", next)

	// We leave in the same way.
	require.NoError(t, a.Leave(list[0].ID, ""))
	w.quiet()
	require.Equal(t, device.StateLeft, a.conversation(list[0].ID).State)
	_, err = a.Send(list[0].ID, "x", nil, "")
	require.ErrorIs(t, err, device.ErrLeft)
}

// Two of ours and one plain: who has a directory is held to it, and who comes in is told what it is.
func TestPlainAndListed(t *testing.T) {
	w := newWorld(t, 10)
	a, b, e := w.enrol(alice), w.enrol(bob), w.plainPeer(erin)
	require.NoError(t, a.lookUp(erin))
	require.NoError(t, a.lookUp(bob))
	id, err := a.StartPlain([]string{bob, erin})
	require.NoError(t, err)
	w.quiet()
	require.Len(t, a.conversation(id).Members, 3)
	c := b.conversation(id)
	require.True(t, c.Plain)
	b.say(id, "from b")
	a.say(id, "from a")
	w.quiet()
	require.ElementsMatch(t, []string{"from b", "from a"}, e.texts)
	require.ElementsMatch(t, []string{"from b", "from a"}, b.texts(id))
	require.ElementsMatch(t, []string{"from b", "from a"}, a.texts(id))
	require.NoError(t, b.RemoveMembers(id, []string{erin}))
	w.quiet()
	require.Empty(t, e.groups)
	require.True(t, a.conversation(id).Plain, "it stays what it is")

	// erin's program adds a device that claims to be carol's, whose instance has a directory.
	id2, err := a.StartPlain([]string{erin})
	require.NoError(t, err)
	w.quiet()
	accept(t, a, erin)
	w.quiet()
	w.enrol(carol)
	require.NoError(t, a.lookUp(carol))
	mallory := w.plainPeer("https://m.example/@mallory")
	mallory.actor = carol
	mallory.cycle()
	e.commit(e.group(), nil, mls.CommitParams{Proposals: []mls.Proposal{mls.AddProposal(mallory.secret.KeyPackage())}})
	w.quiet()
	require.Contains(t, a.codes(device.EventMessageRefused), device.CodeNotInLog)
	require.Len(t, a.conversation(id2).Members, 2)
	require.Equal(t, device.StatePaused, a.conversation(id2).State)
}

// accept says that the person takes somebody's keys.
func accept(t *testing.T, p *person, actor string) {
	c, _, err := p.Contact(actor)
	require.NoError(t, err)
	require.NoError(t, p.AcceptKeys(actor, c.Resets))
}

func TestPlainWelcomesThatAreRefused(t *testing.T) {
	w := newWorld(t, 11)
	a, e := w.enrol(alice), w.plainPeer(erin)
	w.enrol(bob)
	require.NoError(t, a.lookUp(bob))
	got := func() string {
		before := len(a.codes(device.EventMessageRefused))
		w.quiet()
		codes := a.codes(device.EventMessageRefused)
		require.Len(t, codes, before+1)
		list, err := a.Conversations()
		require.NoError(t, err)
		require.Empty(t, list)
		return codes[before]
	}

	// Somebody of an instance with a directory: no hub is no choice.
	liar := &plainPeer{w: w, actor: bob, groups: map[string]*mls.Group{}}
	liar.cycle()
	liar.create(alice)
	require.Equal(t, device.CodeNotInLog, got())

	// Erin's server passes on what another wrote.
	e.create(alice)
	a.mail[0].Actor = "https://e.example/@eve"
	require.Equal(t, device.CodeRejectedForged, got())

	// A group with more to it than a plain one has.
	id := "uri:uuid:x"
	g, err := mls.NewGroup(w.random, mls.GroupParams{
		Suite: mls.X25519AES128GCMSHA256Ed25519, GroupID: []byte(id), Signer: e.signer, Credential: mls.BasicCredential([]byte(erin)),
		Lifetime:   mls.Lifetime{NotBefore: uint64(w.now.Unix()) - 60, NotAfter: uint64(w.now.Unix()) + 86400},
		Extensions: []mls.Extension{mls.ExternalSendersExtension(mls.ExternalSender{SignatureKey: e.secret.KeyPackage().Leaf.SignatureKey, Credential: mls.BasicCredential([]byte("x"))})},
	})
	require.NoError(t, err)
	e.groups = map[string]*mls.Group{id: g}
	e.add(id, alice)
	require.Equal(t, device.CodeNotAllowed, got())

	// An id of the length that those with a hub have.
	id = strings.Repeat("x", 32)
	g, err = mls.NewGroup(w.random, mls.GroupParams{
		Suite: mls.X25519AES128GCMSHA256Ed25519, GroupID: []byte(id), Signer: e.signer, Credential: mls.BasicCredential([]byte(erin)),
		Lifetime: mls.Lifetime{NotBefore: uint64(w.now.Unix()) - 60, NotAfter: uint64(w.now.Unix()) + 86400},
	})
	require.NoError(t, err)
	e.groups = map[string]*mls.Group{id: g}
	e.add(id, alice)
	require.Equal(t, device.CodeNotAllowed, got())
}

// The receipt of a conversation with a hub is taken off its welcome: it does not become a plain one.
func TestWelcomeWithoutItsReceiptIsNotPlain(t *testing.T) {
	w := newWorld(t, 12)
	a, b := w.enrol(alice), w.enrol(bob)
	_, err := a.StartConversation([]string{bob})
	require.NoError(t, err)
	a.work()
	require.Len(t, b.mail, 1)
	b.mail[0].Receipt, b.mail[0].Conversation = nil, ""
	w.quiet()
	require.Contains(t, b.codes(device.EventMessageRefused), device.CodeRejectedForged)
	list, err := b.Conversations()
	require.NoError(t, err)
	require.Empty(t, list)
}
