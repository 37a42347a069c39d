package device_test

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/device"
	"github.com/waxwing-dm/waxwing/mls"
)

// wake lets everybody do what is due.
func (w *world) wake() {
	for _, actor := range w.actors() {
		_, _, err := w.people[actor].Wake()
		require.NoError(w.t, err)
	}
	w.quiet()
}

func TestLeave(t *testing.T) {
	w, id := talk(t, bob, carol)
	a, b, c := w.people[alice], w.people[bob], w.people[carol]
	b.say(id, "the last of mine")
	require.NoError(t, b.Leave(id, ""))
	require.NoError(t, b.Leave(id, ""), "asked again")
	require.Equal(t, device.StateLeaving, b.conversation(id).State)
	_, err := b.Send(id, "too late", nil, "")
	require.ErrorIs(t, err, device.ErrLeaving)
	w.quiet()
	require.Equal(t, device.StateLeaving, b.conversation(id).State, "nobody does it at once")

	next, did, err := a.Wake()
	require.NoError(t, err)
	require.False(t, did)
	require.WithinRange(t, next, w.now.Add(5*time.Second), w.now.Add(65*time.Second))
	w.now = w.now.Add(65 * time.Second)
	w.wake()
	left := b.conversation(id)
	require.Equal(t, device.StateLeft, left.State)
	require.Equal(t, device.CodeLeft, left.Reason)
	require.Len(t, a.conversation(id).Members, 2)
	requireAgreement(t, id, a, c)
	require.EqualValues(t, 2, a.conversation(id).Epoch, "one commit did it")
	events, err := c.Events(0, 1000)
	require.NoError(t, err)
	var by []string
	for _, e := range events {
		if e.Type == device.EventMemberRemoved {
			by = append(by, e.Actor+" by "+e.By)
		}
	}
	require.Equal(t, []string{bob + " by " + bob}, by)

	a.say(id, "bob is out")
	w.toAll = true
	w.quiet()
	require.Equal(t, []string{"the last of mine", "bob is out"}, c.texts(id))
	require.Equal(t, []string{"the last of mine"}, b.texts(id))
	_, err = b.Send(id, "too late", nil, "")
	require.ErrorIs(t, err, device.ErrLeft)
}

// TestNextMessageLetsGo: who writes next commits first, so that the message is not for who has asked to leave.
func TestNextMessageLetsGo(t *testing.T) {
	w, id := talk(t, bob, carol)
	require.NoError(t, w.people[bob].Leave(id, ""))
	w.quiet()
	w.people[carol].say(id, "without bob")
	w.toAll = true
	w.quiet()
	require.Equal(t, device.StateLeft, w.people[bob].conversation(id).State)
	require.Empty(t, w.people[bob].texts(id))
	require.Equal(t, []string{"without bob"}, w.people[alice].texts(id))
}

// TestLeavingSurvivesEpochs: a wish is of one epoch; it is told again until somebody has followed it, also if it comes after the commit.
func TestLeavingSurvivesEpochs(t *testing.T) {
	w, id := talk(t, bob, carol)
	w.enrol(dave)
	a, b, c := w.people[alice], w.people[bob], w.people[carol]
	require.NoError(t, a.AddMembers(id, []string{dave}))
	a.work() // the commit is ordered and waits in the others' mailboxes
	require.NoError(t, b.Leave(id, ""))
	b.work()
	w.quiet()
	require.Equal(t, device.StateLeaving, b.conversation(id).State)
	require.Len(t, a.conversation(id).Members, 4)

	// Carol has never seen the wish that alice's commit names.
	c.mail = nil
	w.now = w.now.Add(65 * time.Second)
	a.restart()
	_, did, err := a.Wake()
	require.NoError(t, err)
	require.True(t, did)
	a.work()
	w.quiet()
	require.NoError(t, c.Sync())
	w.quiet()
	require.Equal(t, device.StateLeft, b.conversation(id).State)
	requireAgreement(t, id, a, c, w.people[dave])
}

func TestLastAdminAppointsFirst(t *testing.T) {
	w, id := talk(t, bob, carol)
	a, b := w.people[alice], w.people[bob]
	require.ErrorIs(t, a.Leave(id, ""), device.ErrLastAdmin)
	require.ErrorIs(t, a.Leave(id, dave), device.ErrActor)
	require.NoError(t, a.Leave(id, bob))
	w.quiet()
	w.now = w.now.Add(65 * time.Second)
	w.wake()
	require.Equal(t, device.StateLeft, a.conversation(id).State)
	require.Len(t, b.conversation(id).Members, 2)
	require.NoError(t, b.RemoveMembers(id, []string{carol}), "bob is an admin")
	w.quiet()

	// Who is alone just goes.
	require.NoError(t, b.Leave(id, ""))
	require.Equal(t, device.StateLeft, b.conversation(id).State)
}

// TestEverybodyLeaves: of two admins who leave at once one has to stay, and is told.
func TestEverybodyLeaves(t *testing.T) {
	w, id := talk(t, bob, carol)
	a, b := w.people[alice], w.people[bob]
	require.NoError(t, a.SetAdmin(id, bob, true))
	w.quiet()
	require.NoError(t, a.Leave(id, ""))
	require.NoError(t, b.Leave(id, ""))
	a.work()
	b.work()
	w.quiet()
	for range 4 {
		w.now = w.now.Add(65 * time.Second)
		w.wake()
	}
	states := []device.ConversationState{a.conversation(id).State, b.conversation(id).State}
	require.ElementsMatch(t, []device.ConversationState{device.StateLeft, device.StateActive}, states)
	codes := append(a.codes(device.EventMemberFailed), b.codes(device.EventMemberFailed)...)
	require.Equal(t, []string{device.CodeLastAdmin}, codes)
}

// A member who lets somebody go who never asked for it.
func TestForgedLeaving(t *testing.T) {
	w, id := talk(t, bob, carol)
	a, b, c := w.people[alice], w.people[bob], w.people[carol]
	g := b.group(id)
	var aliceLeaf uint32
	for _, m := range g.Members() {
		if string(m.Node.SignatureKey) == string(a.key) {
			aliceLeaf = m.Leaf
		}
	}
	commit, _ := b.forge(id, mls.CommitParams{Proposals: []mls.Proposal{mls.RemoveProposal(aliceLeaf)}})
	c.arrives(commit)
	requirePaused(t, c, id, device.CodeNotAllowed, "C3")
}

// TestCommitCarriesItsWishes: C8. A SelfRemove that a commit names and does not carry could not be had by all.
func TestCommitCarriesItsWishes(t *testing.T) {
	w, id := talk(t, bob, carol)
	a, b, c := w.people[alice], w.people[bob], w.people[carol]
	require.NoError(t, b.Leave(id, ""))
	w.quiet()
	g := a.group(id)
	pending, err := g.Commit(w.random, mls.CommitParams{AuthenticatedData: a.fence(id, g, nil), Now: w.now})
	require.NoError(t, err)
	commit := a.ordered(id, g, pending)
	c.arrives(commit)
	requirePaused(t, c, id, device.CodeNotAllowed, "C8")
}

// TestProposalsOutsideCommits: nothing but the own wish to leave is taken.
func TestProposalsOutsideCommits(t *testing.T) {
	w, id := talk(t, bob, carol)
	b, c := w.people[bob], w.people[carol]
	g := b.group(id)
	for name, propose := range map[string]func() ([]byte, error){
		"remove of another": func() ([]byte, error) {
			return g.Clone().Propose(w.random, mls.RemoveProposal((g.OwnLeaf()+1)%3), mls.WirePublicMessage, nil)
		},
		"update":  func() ([]byte, error) { return g.Clone().ProposeUpdate(w.random, mls.WirePublicMessage, nil) },
		"private": func() ([]byte, error) { return g.Clone().ProposeUpdate(w.random, mls.WirePrivateMessage, nil) },
		"room": func() ([]byte, error) {
			return g.Clone().Propose(w.random, mls.GroupContextExtensionsProposal(g.Extensions()), mls.WirePublicMessage, nil)
		},
	} {
		raw, err := propose()
		require.NoError(t, err, name)
		before := len(c.codes(device.EventMessageRefused))
		c.arrives(device.Incoming{Actor: bob, Conversation: c.conversation(id).URL, Message: raw})
		codes := c.codes(device.EventMessageRefused)
		require.Len(t, codes, before+1, name)
		require.Equal(t, device.CodeNotAllowed, codes[before], name)
	}
	w.quiet()
	require.Len(t, c.conversation(id).Members, 3)
}

// TestRequestToLeave: where a program knows no self-removes, an admin removes who asks.
func TestRequestToLeave(t *testing.T) {
	w, id := talk(t, bob, carol)
	a, b := w.people[alice], w.people[bob]
	g := b.group(id)
	raw, err := g.Propose(w.random, mls.RemoveProposal(g.OwnLeaf()), mls.WirePublicMessage, b.fence(id, g, nil))
	require.NoError(t, err)
	item := device.Incoming{Actor: bob, Conversation: b.conversation(id).URL, Message: raw}
	w.people[carol].arrives(item)
	require.Len(t, w.people[carol].conversation(id).Members, 3, "carol is no admin")
	a.arrives(item)
	w.quiet()
	require.Equal(t, device.StateLeft, b.conversation(id).State)
	require.Len(t, a.conversation(id).Members, 2)
	_, err = b.Send(id, "x", nil, "")
	require.True(t, errors.Is(err, device.ErrLeft))
}

// TestWhoMayBecomeAdmin: what cannot be is said at once, and what stops being possible on the way is said then.
func TestWhoMayBecomeAdmin(t *testing.T) {
	w, id := talk(t, bob, carol)
	a, b := w.people[alice], w.people[bob]
	w.enrol(dave)
	require.ErrorIs(t, a.SetAdmin(id, dave, true), device.ErrNotMember)
	require.ErrorIs(t, a.SetAdmin(id, alice, false), device.ErrLastAdmin)
	require.Error(t, b.SetAdmin(id, bob, true))
	require.NoError(t, a.SetAdmin(id, carol, false), "she is none")
	require.NoError(t, a.AddMembers(id, []string{dave}))
	require.NoError(t, a.SetAdmin(id, dave, true), "he is about to be there")
	w.quiet()
	require.True(t, b.conversation(id).Members[1].Admin)

	// Each wants to be the only one no more: one of them has to stay.
	require.NoError(t, a.SetAdmin(id, alice, false))
	require.NoError(t, w.people[dave].SetAdmin(id, dave, false))
	w.quiet()
	codes := append(a.codes(device.EventMemberFailed), w.people[dave].codes(device.EventMemberFailed)...)
	require.Contains(t, [][]string{{device.CodeLastAdmin}, {device.CodeNotAllowed}}, codes)
	requireAgreement(t, id, a, b, w.people[carol], w.people[dave])
}
