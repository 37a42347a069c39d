package device_test

import (
	"crypto/sha256"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/device"
	"github.com/waxwing-dm/waxwing/mls"
)

// branches are the states that are kept beside the present one.
func (p *person) branches() (n int) {
	for name, b := range p.store.buckets {
		if strings.HasPrefix(name, "branch:") && len(b.values) > 0 {
			n++
		}
	}
	return n
}

func (p *person) wakeAfter(d time.Duration) {
	p.w.now = p.w.now.Add(d)
	_, _, err := p.Wake()
	require.NoError(p.w.t, err)
	p.w.quiet()
}

// other is the group that a plain peer shares with just these, besides an old one.
func (p *plainPeer) other(old string, actors ...string) string {
	for id := range p.groups {
		if id != old && sameSet(p.members(id), actors) {
			return id
		}
	}
	require.Fail(p.w.t, "there is no such group")
	return ""
}

// agree are plain peers and people of ours in one state: what each says the others read.
func agreeIn(t *testing.T, w *world, id string, people []*person, group string, peers ...*plainPeer) {
	t.Helper()
	for _, p := range people {
		p.say(id, "from "+p.actor)
	}
	for _, e := range peers {
		require.Contains(t, e.groups, group)
		require.Equal(t, people[0].conversation(id).EpochAuthenticator, e.groups[group].EpochAuthenticator())
		e.say(group, "from "+e.actor)
	}
	w.quiet()
	for _, p := range people {
		for _, e := range peers {
			require.Contains(t, p.texts(id), "from "+e.actor)
			require.Contains(t, e.texts, "from "+p.actor)
		}
	}
}

func TestPlainKeysChange(t *testing.T) {
	w, a, e, id := plainTalk(t)
	// A second conversation, whose key package has a new key: they all have.
	f := w.plainPeer(frank)
	require.NoError(t, a.lookUp(frank))
	m, err := a.SendToPlain([]string{erin, frank}, "both", nil, "")
	require.NoError(t, err)
	w.quiet()
	require.Equal(t, []string{""}, a.codes(device.EventContactReset))
	require.Len(t, a.conversation(m.Conversation).Members, 1, "nobody is added before the person has accepted")
	require.Empty(t, f.texts)
	var reset *device.KeysResetError
	_, err = a.Send(id, "x", nil, "")
	require.ErrorAs(t, err, &reset, "and in the old conversation nothing is sent either")
	require.ErrorAs(t, a.AcceptKeys(erin, 0), &reset, "not what the person has seen")
	accept(t, a, erin)
	w.quiet()
	require.Equal(t, []string{"hello", "both"}, e.texts)
	require.Equal(t, []string{"both"}, f.texts)
	require.Empty(t, a.codes(device.EventMemberFailed))

	// Somebody invites as erin, with another key: what they say is shown with a warning, and nothing is said to them.
	impostor := &plainPeer{w: w, actor: erin, groups: map[string]*mls.Group{}}
	impostor.cycle()
	fake := impostor.create(alice)
	impostor.say(fake, "it is me, erin")
	w.quiet()
	require.Len(t, a.codes(device.EventContactReset), 2)
	list, err := a.Conversations()
	require.NoError(t, err)
	last := list[len(list)-1]
	messages, err := a.Messages(last.ID, 0, 10)
	require.NoError(t, err)
	require.True(t, messages[0].KeysReset)
	_, err = a.Send(last.ID, "hi", nil, "")
	require.ErrorAs(t, err, &reset)
}

// Where there was a directory there is one: that it cannot be found any more opens no other way.
func TestVanishedDirectoryIsNoPlainInstance(t *testing.T) {
	w := newWorld(t, 13)
	a, b := w.enrol(alice), w.enrol(bob)
	require.NoError(t, a.lookUp(bob))
	other := "https://b.example/users/other"
	for _, actor := range []string{bob, other} {
		require.NoError(t, a.NoDirectory(actor))
		c, _, err := a.Contact(actor)
		require.NoError(t, err)
		require.NotEqual(t, device.ContactPlain, c.State)
	}
	var unready *device.NotReadyError
	_, err := a.SendToPlain([]string{other}, "x", nil, "")
	require.ErrorAs(t, err, &unready)
	m, err := a.SendToPlain([]string{bob}, "as ever", nil, "")
	require.NoError(t, err)
	require.False(t, a.conversation(m.Conversation).Plain)
	w.quiet()
	require.Equal(t, []string{"as ever"}, b.texts(m.Conversation))

	// And one that comes up ends being plain.
	w.plainPeer(erin)
	require.NoError(t, a.lookUp(erin))
	delete(w.plain, erin)
	w.enrol(erin)
	require.NoError(t, a.lookUp(erin))
	m, err = a.SendTo([]string{erin}, "with a directory", nil, "")
	require.NoError(t, err)
	require.False(t, a.conversation(m.Conversation).Plain)
	require.NoError(t, a.NoDirectory(erin))
	c, _, err := a.Contact(erin)
	require.NoError(t, err)
	require.Equal(t, device.ContactReady, c.State)
}

func TestPlainReplayAndOutsiders(t *testing.T) {
	w, a, e, id := plainTalk(t)
	e.say(e.group(), "once")
	item := a.mail[0]
	a.read()
	a.receive(item)
	require.Equal(t, []string{"hello", "once"}, a.texts(id))
	require.Empty(t, a.codes(device.EventMessageRefused))

	// Another actor's server hands in what erin wrote: it is not shown, and it is not theirs.
	e.say(e.group(), "twice")
	item = a.mail[0]
	a.mail = nil
	item.Actor = "https://e.example/@eve"
	a.receive(item)
	require.Equal(t, []string{device.CodeRejectedForged}, a.codes(device.EventMessageRefused))
	require.Equal(t, []string{"hello", "once"}, a.texts(id))

	// Who writes as somebody else is refused, too.
	e.send(e.group(), map[string]any{"type": "Create", "actor": erin, "object": map[string]any{"type": "Note", "attributedTo": frank, "content": "x"}}, alice)
	e.send(e.group(), map[string]any{"type": "Create", "actor": frank, "object": map[string]any{"type": "Note", "content": "x"}}, alice)
	w.quiet()
	require.Len(t, a.codes(device.EventMessageRefused), 3)
	require.Equal(t, []string{"hello", "once"}, a.texts(id))
	// A bare note, and what we do not know, are taken.
	e.send(e.group(), map[string]any{"type": "Note", "content": "<p>bare</p>"}, alice)
	e.send(e.group(), map[string]any{"type": "Like", "actor": erin, "object": "uri:uuid:x"}, alice)
	w.quiet()
	require.Equal(t, []string{"hello", "once", "bare", ""}, a.texts(id))
}

func TestPlainWelcomeTooBig(t *testing.T) {
	w := newWorld(t, 14)
	a, e := w.enrol(alice), w.plainPeer(erin)
	e.create()
	var proposals []mls.Proposal
	for range 64 {
		e2 := &plainPeer{w: w, actor: erin}
		e2.cycle()
		proposals = append(proposals, mls.AddProposal(e2.secret.KeyPackage()))
	}
	e.commit(e.group(), []string{alice}, mls.CommitParams{Proposals: append(proposals, mls.AddProposal(w.shown(alice)))})
	w.quiet()
	require.Equal(t, []string{device.CodeTooLarge}, a.codes(device.EventMessageRefused))
}

// Both commit at once. Her program goes on with its own commit, so ours is taken back, what it was for is done again, and the person is told
// what she could not read.
func TestPlainFork(t *testing.T) {
	w, a, e, id := plainTalk(t)
	f := w.plainPeer(frank)
	gina := "https://g.example/@gina"
	g := w.plainPeer(gina)
	require.NoError(t, a.lookUp(frank))
	require.NoError(t, a.AddMembers(id, []string{frank}))
	group := e.group()
	e.add(group, gina) // at the same time
	hers := a.mail
	a.mail = nil
	a.work()
	a.say(id, "she cannot read this")
	require.Len(t, a.conversation(id).Members, 3)
	require.Equal(t, 1, a.branches())
	a.work()
	a.mail = hers
	w.quiet()
	actors := func() (list []string) {
		for _, m := range a.conversation(id).Members {
			list = append(list, m.Actor)
		}
		return list
	}
	require.Equal(t, []string{alice, erin, gina}, actors(), "hers counts")
	require.Contains(t, a.codes(device.EventDeliveryFailed), device.CodeForkDetected)
	require.NotContains(t, e.texts, "she cannot read this")
	require.Contains(t, a.texts(id), "she cannot read this")
	e.say(group, "read all the same")
	w.quiet()
	require.Contains(t, a.texts(id), "read all the same")

	// Frank is in a group that only he and we have. His program takes no Welcome to it again, so there is a new one for everybody.
	require.Equal(t, device.StatePaused, a.conversation(id).State)
	require.Contains(t, a.conversation(id).Reason, "fork_detected")
	f.say(group, "from where nobody else is")
	a.say(id, "waits")
	w.quiet()
	require.Contains(t, a.texts(id), "from where nobody else is")
	require.NotContains(t, e.texts, "waits")
	a.wakeAfter(6 * time.Minute)
	require.Contains(t, a.codes(device.EventConversationUpdated), device.CodeBegunAnew)
	for _, actor := range []string{erin, gina, frank} {
		accept(t, a, actor)
		w.quiet()
	}
	require.Equal(t, []string{alice, erin, frank, gina}, actors())
	for _, p := range []*plainPeer{e, f, g} {
		require.Contains(t, p.texts, "waits")
	}
	agreeIn(t, w, id, people(a), e.other(group, alice, frank, gina), e, f, g)
	require.True(t, a.conversation(id).Plain)
	require.Equal(t, device.StateActive, a.conversation(id).State)
	require.Zero(t, a.conversation(id).Waiting)
	a.wakeAfter(25 * time.Hour)
	e.say(e.other(group, alice, frank, gina), "another day")
	w.quiet()
	require.Zero(t, a.branches(), "old states do not stay")
}

// Two plain programs commit at once: neither goes back, so one of them is lost to the group.
func TestPlainPeersFork(t *testing.T) {
	w, a, e, id := plainTalk(t)
	f := w.plainPeer(frank)
	require.NoError(t, a.lookUp(frank))
	require.NoError(t, a.AddMembers(id, []string{frank}))
	w.quiet()
	group := e.group()
	agreeIn(t, w, id, people(a), group, e, f)
	require.Zero(t, a.branches(), "both have shown that they followed")
	e.commit(group, nil, mls.CommitParams{ForcePath: true})
	f.commit(group, nil, mls.CommitParams{ForcePath: true})
	e.mail, f.mail = nil, nil // they would try for a while, and give up
	w.quiet()
	require.Equal(t, device.StatePaused, a.conversation(id).State)
	e.say(group, "one way")
	f.say(group, "another")
	w.quiet()
	require.Subset(t, a.texts(id), []string{"one way", "another"}, "both are read")
	e.commit(group, nil, mls.CommitParams{ForcePath: true})
	f.commit(group, nil, mls.CommitParams{ForcePath: true})
	e.mail, f.mail = nil, nil
	e.say(group, "one way still")
	f.say(group, "another still")
	w.quiet()
	require.Subset(t, a.texts(id), []string{"one way still", "another still"})
	require.NoError(t, a.Resume(id), "the person does not want to wait")
	w.quiet()
	for _, actor := range []string{erin, frank} {
		accept(t, a, actor)
		w.quiet()
	}
	agreeIn(t, w, id, people(a), e.other(group, alice, frank), e, f)
}

// Two of ours commit at once, and both choose the same.
func TestPlainForkOfOurs(t *testing.T) {
	for seed := range uint64(4) {
		w := newWorld(t, 20+seed)
		a, b, e := w.enrol(alice), w.enrol(bob), w.plainPeer(erin)
		w.enrol(carol)
		w.enrol(dave)
		e.silent = true
		for _, actor := range []string{bob, erin, carol, dave} {
			require.NoError(t, a.lookUp(actor))
			require.NoError(t, b.lookUp(actor))
		}
		id, err := a.StartPlain([]string{bob, erin})
		require.NoError(t, err)
		w.quiet()
		require.NoError(t, a.AddMembers(id, []string{carol}))
		require.NoError(t, b.AddMembers(id, []string{dave}))
		a.work()
		b.work()
		w.quiet()
		require.Equal(t, a.conversation(id).EpochAuthenticator, b.conversation(id).EpochAuthenticator)
		require.Len(t, a.conversation(id).Members, 5, "and who lost asks again")
		a.say(id, "from a")
		b.say(id, "from b")
		w.quiet()
		require.Contains(t, a.texts(id), "from b")
		require.Contains(t, b.texts(id), "from a")
	}
}

// Of two of ours the first begins the conversation anew, and the other goes on there with what waits.
func TestPlainIsBegunAnewForAll(t *testing.T) {
	w := newWorld(t, 31)
	a, b, e, f := w.enrol(alice), w.enrol(bob), w.plainPeer(erin), w.plainPeer(frank)
	for _, actor := range []string{bob, erin, frank} {
		require.NoError(t, a.lookUp(actor))
	}
	id, err := a.StartPlain([]string{bob, erin, frank})
	require.NoError(t, err)
	w.quiet()
	group := e.group()
	e.commit(group, nil, mls.CommitParams{ForcePath: true})
	f.commit(group, nil, mls.CommitParams{ForcePath: true})
	e.mail, f.mail = nil, nil
	w.quiet()
	require.Equal(t, device.StatePaused, b.conversation(id).State)
	b.say(id, "waits at b")
	a.say(id, "waits at a")
	w.quiet()
	require.NotContains(t, e.texts, "waits at b")
	w.now = w.now.Add(6 * time.Minute)
	_, _, err = b.Wake()
	require.NoError(t, err)
	w.quiet()
	require.Equal(t, device.StatePaused, b.conversation(id).State, "it is not for him to do")
	a.wakeAfter(0)
	for _, actor := range []string{erin, frank} {
		accept(t, a, actor)
		w.quiet()
	}
	list, err := b.Conversations()
	require.NoError(t, err)
	require.Len(t, list, 1, "it is the same conversation")
	require.Equal(t, a.conversation(id).EpochAuthenticator, b.conversation(id).EpochAuthenticator)
	for _, actor := range []string{erin, frank} { // their new keys are new to him, too
		accept(t, b, actor)
		w.quiet()
	}
	for _, p := range []*plainPeer{e, f} {
		require.Subset(t, p.texts, []string{"waits at b", "waits at a"})
	}
	agreeIn(t, w, id, people(a, b), e.other(group, alice, bob, frank), e, f)
}

// Of three who begin it anew at the same time all go on in one of their groups, in whatever order they come.
func TestPlainIsBegunAnewByThree(t *testing.T) {
	for seed := range uint64(6) {
		w := newWorld(t, 100+seed)
		a, b, c, e, f := w.enrol(alice), w.enrol(bob), w.enrol(carol), w.plainPeer(erin), w.plainPeer(frank)
		for _, actor := range []string{bob, carol, erin, frank} {
			require.NoError(t, a.lookUp(actor))
		}
		id, err := a.StartPlain([]string{bob, carol, erin, frank})
		require.NoError(t, err)
		w.quiet()
		group := e.group()
		e.commit(group, nil, mls.CommitParams{ForcePath: true})
		f.commit(group, nil, mls.CommitParams{ForcePath: true})
		w.quiet()
		for _, d := range people(a, b, c) {
			require.NoError(t, d.Resume(id)) // nothing for who goes on already
		}
		for _, actor := range []string{erin, frank, erin, frank} { // their programs have new keys for each of the groups
			for _, d := range people(a, b, c) {
				w.quiet()
				accept(t, d, actor)
			}
		}
		w.quiet()
		for _, d := range people(a, b, c) {
			list, err := d.Conversations()
			require.NoError(t, err)
			require.Len(t, list, 1, "it is the same conversation")
			require.Equal(t, a.conversation(id).EpochAuthenticator, list[0].EpochAuthenticator)
		}
	}
}

// What cannot be read and for which nothing comes means that its sender has gone another way; a stranger's garbage means nothing.
func TestPlainGarbage(t *testing.T) {
	w, a, e, id := plainTalk(t)
	group := e.group()
	other := e.groups[group].Clone()
	_, err := other.Commit(w.random, mls.CommitParams{ForcePath: true, Now: w.now})
	require.NoError(t, err)
	require.NoError(t, other.ConfirmPending())
	raw, err := other.Encrypt(w.random, []byte("{}"), nil, nil)
	require.NoError(t, err)
	w.deliver([]string{alice}, device.Incoming{Actor: "https://e.example/@eve", Message: raw})
	w.quiet()
	a.wakeAfter(11 * time.Minute)
	require.Equal(t, device.StateActive, a.conversation(id).State)
	require.Equal(t, []string{device.CodeCannotDecrypt}, a.codes(device.EventMessageRefused))
	raw, err = other.Encrypt(w.random, []byte("{}"), nil, nil)
	require.NoError(t, err)
	w.deliver([]string{alice}, device.Incoming{Actor: erin, Message: raw})
	w.quiet()
	require.Equal(t, device.StateActive, a.conversation(id).State)
	a.wakeAfter(11 * time.Minute)
	require.Contains(t, a.codes(device.EventConversationUpdated), device.CodeBegunAnew)
	require.Equal(t, []string{device.CodeForkDetected}, a.codes(device.EventConversationPaused))
	accept(t, a, erin)
	w.quiet()
	a.say(id, "again")
	w.quiet()
	require.Contains(t, e.texts, "again")
}

func people(p ...*person) []*person { return p }

func sameSet(a, b []string) bool {
	return slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
}

// What a change of members did not reach is told like what a message did not reach: nobody else notices.
func TestPlainChangeThatIsNotDelivered(t *testing.T) {
	w := newWorld(t, 15)
	a := w.enrol(alice)
	w.plainPeer(erin)
	require.NoError(t, a.lookUp(erin))
	id, err := a.StartPlain([]string{erin})
	require.NoError(t, err)
	var welcome *device.SendJob
	for welcome == nil {
		jobs, err := a.Jobs()
		require.NoError(t, err)
		if j, ok := jobs[0].(*device.SendJob); ok {
			welcome = j
			continue
		}
		require.NoError(t, a.do(jobs[0]))
	}
	require.NoError(t, a.Failed(welcome.ID(), "queue_full", "too much waits"))
	require.Equal(t, []string{"queue_full"}, a.codes(device.EventDeliveryFailed))
	hash := sha256.Sum256(welcome.Message)
	for range 2 {
		a.receive(device.Incoming{Actor: alice, Undelivered: &device.Undelivered{Message: hash[:], To: []device.Missed{{Actor: erin, Code: "host_unreachable", Detail: "for 14 days"}}}})
	}
	require.Equal(t, "host_unreachable", a.codes(device.EventDeliveryFailed)[1])
	require.Equal(t, device.StateActive, a.conversation(id).State)
}

// A crash at any moment leaves a plain conversation as it was or as it should be.
func TestPlainSurvivesCrashes(t *testing.T) {
	w := newWorld(t, 16)
	a, e := w.enrol(alice), w.plainPeer(erin)
	require.NoError(t, a.lookUp(erin))
	m, err := a.SendToPlain([]string{erin}, "one", nil, "")
	require.NoError(t, err)
	fails := 0
	a.store.fail = func() (before, after bool) {
		fails++
		return fails%3 == 1, fails%3 == 2
	}
	for range 60 {
		a.restart()
		jobs, err := a.Jobs()
		require.NoError(t, err)
		for _, j := range jobs {
			_ = a.do(j) // a result that was lost is reported again
		}
		for len(a.mail) > 0 {
			a.cursor++
			item := a.mail[0]
			item.Cursor = a.cursor
			_ = a.Receive(item)
			a.cursor, err = a.Cursor()
			require.NoError(t, err)
			if a.cursor == item.Cursor {
				a.mail = a.mail[1:]
			}
		}
		e.read()
	}
	a.store.fail = nil
	a.restart()
	w.quiet()
	e.say(e.group(), "two")
	w.quiet()
	require.Equal(t, []string{"one"}, e.texts)
	require.Equal(t, []string{"one", "two"}, a.texts(m.Conversation))
}
