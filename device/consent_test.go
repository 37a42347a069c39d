package device_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/device"
	"github.com/waxwing-dm/waxwing/internal/receipt"
	"github.com/waxwing-dm/waxwing/mls"
)

// asked is a world in which alice has opened a conversation with bob, who asks strangers to wait, and has written in it.
func asked(t *testing.T) (w *world, id string) {
	t.Helper()
	w = newWorld(t, 1)
	a, b := w.enrol(alice), w.enrol(bob)
	b.asks(device.FromRequests)
	id, err := a.StartConversation([]string{bob})
	require.NoError(t, err)
	a.say(id, "hello bob")
	w.quiet()
	return w, id
}

func (p *person) requests() []device.Request {
	list, err := p.Requests()
	require.NoError(p.w.t, err)
	return list
}

// requireSilent: the device has nothing to do and to say outside.
func (p *person) requireSilent() {
	jobs, err := p.Jobs()
	require.NoError(p.w.t, err)
	require.Empty(p.w.t, jobs)
}

func (p *person) count(kind device.EventType) int { return len(p.codes(kind)) }

// TestRequestWaits: nothing leaves and nothing is shown before bob has accepted, and all of it is there afterwards, also over restarts.
func TestRequestWaits(t *testing.T) {
	w, id := asked(t)
	a, b := w.people[alice], w.people[bob]
	check := func() {
		t.Helper()
		b.requireSilent()
		_, err := b.Conversation(id)
		require.ErrorIs(t, err, device.ErrNoSuchConversation)
		require.Equal(t, []device.Request{{ID: id, Actor: alice, Time: b.requests()[0].Time, Waiting: 1}}, b.requests())
		require.Equal(t, []int{1, 0, 0, 0}, []int{b.count(device.EventRequestReceived), b.count(device.EventMessageReceived),
			b.count(device.EventConversationCreated), b.count(device.EventMessageWaiting)})
		_, known, err := b.Contact(alice)
		require.NoError(t, err)
		require.False(t, known, "nobody was looked up")
	}
	check()
	require.NoError(t, b.Sync())
	require.NoError(t, b.TopUp(50))
	_, _, err := b.Wake()
	require.NoError(t, err)
	check()
	b.restart()
	check()
	p, err := b.LookAt(id)
	require.NoError(t, err)
	require.Equal(t, []string{alice, bob}, p.Members)
	require.Len(t, p.Messages, 1)
	require.Equal(t, []any{"hello bob", alice}, []any{p.Messages[0].Text, p.Messages[0].Sender})
	check()

	w.now = w.now.Add(20 * 24 * time.Hour)
	b.restart()
	require.NoError(t, b.AcceptRequest(id))
	require.ErrorIs(t, b.AcceptRequest(id), device.ErrNoSuchRequest)
	b.restart()
	w.quiet()
	require.Equal(t, []string{"hello bob"}, b.texts(id))
	require.Empty(t, b.requests())
	b.say(id, "hello alice")
	w.quiet()
	require.Equal(t, []string{"hello bob", "hello alice"}, a.texts(id))
	requireAgreement(t, id, a, b)
	second, err := a.StartConversation([]string{bob})
	require.NoError(t, err)
	w.quiet()
	requireAgreement(t, second, a, b)
}

// TestAcceptedLate: what changed meanwhile is followed from the hub.
func TestAcceptedLate(t *testing.T) {
	w, id := asked(t)
	a, b := w.people[alice], w.people[bob]
	w.enrol(carol)
	require.NoError(t, a.AddMembers(id, []string{carol}))
	w.quiet()
	a.say(id, "carol is here, too")
	w.quiet()
	require.Equal(t, 2, b.requests()[0].Waiting)
	p, err := b.LookAt(id)
	require.NoError(t, err)
	require.Len(t, p.Messages, 1, "what is of a later epoch shows once it is accepted")
	require.NoError(t, b.AcceptRequest(id))
	w.quiet()
	require.Equal(t, []string{"hello bob", "carol is here, too"}, b.texts(id))
	requireAgreement(t, id, a, b, w.people[carol])
}

// TestConsentIsToldToTheSidecar: in the order of deciding, and again after a restart.
func TestConsentIsToldToTheSidecar(t *testing.T) {
	w, id := asked(t)
	b := w.people[bob]
	require.NoError(t, b.AcceptRequest(id))
	require.NoError(t, b.Block(alice))
	require.NoError(t, b.Block(alice))
	require.NoError(t, b.Unblock(alice))
	require.NoError(t, b.SetConsent(device.FromNobody))
	require.NoError(t, b.SetConsent(device.FromEverybody))
	require.ErrorIs(t, b.SetConsent("friends"), device.ErrContent)
	require.ErrorIs(t, b.Block(bob), device.ErrActor)
	b.restart()
	var told []string
	for {
		jobs, err := b.Jobs()
		require.NoError(t, err)
		done := 0
		for _, j := range jobs {
			if c, ok := j.(*device.ConsentJob); ok {
				told = append(told, c.Decision+string(c.Policy))
				if c.Decision == "accept" {
					require.Equal(t, []string{alice, w.people[alice].conversation(id).URL}, []string{c.Actor, c.Conversation})
				}
				require.NoError(t, b.Decided(c.ID()))
				done++
			}
		}
		if done == 0 {
			break
		}
		require.Equal(t, 1, done, "one after the other")
	}
	require.Equal(t, []string{"accept", "block", "unblock", "everybody"}, told)
}

// TestConversationsStayOpen: who lets everybody in and stops that goes on hearing from those who are there.
func TestConversationsStayOpen(t *testing.T) {
	w, id := talk(t, bob, carol)
	b := w.people[bob]
	require.NoError(t, b.SetConsent(device.FromNobody))
	var jobs []*device.ConsentJob
	for range 2 {
		list, err := b.Jobs()
		require.NoError(t, err)
		require.Len(t, list, 1)
		jobs = append(jobs, list[0].(*device.ConsentJob))
		require.NoError(t, b.Decided(list[0].ID()))
	}
	require.Equal(t, []string{"", b.conversation(id).URL, "accept"}, []string{jobs[0].Actor, jobs[0].Conversation, jobs[0].Decision})
	require.Equal(t, device.FromNobody, jobs[1].Policy)
	b.requireSilent()
	w.people[carol].say(id, "still here")
	w.quiet()
	require.Equal(t, []string{"still here"}, b.texts(id))
}

// TestRequestDeleted: with what waits with it, and without a word.
func TestRequestDeleted(t *testing.T) {
	w, id := asked(t)
	a, b := w.people[alice], w.people[bob]
	require.NoError(t, b.DeleteRequest(id))
	require.ErrorIs(t, b.DeleteRequest(id), device.ErrNoSuchRequest)
	_, err := b.LookAt(id)
	require.ErrorIs(t, err, device.ErrNoSuchRequest)
	w.quiet()
	require.Empty(t, b.requests())
	require.Empty(t, b.store.buckets["parked:"+id].keys)
	require.Empty(t, b.store.buckets["strangers"].keys)
	require.Equal(t, []string{"hello bob"}, a.texts(id))
	require.Equal(t, device.StateActive, a.conversation(id).State)
}

// TestBlocked: they ask for nothing, are not shown, and are not written to.
func TestBlocked(t *testing.T) {
	w, id := talk(t, bob, carol)
	a, b, c := w.people[alice], w.people[bob], w.people[carol]
	b.asks(device.FromRequests)
	require.NoError(t, b.Block(carol))
	own, err := c.StartConversation([]string{bob})
	require.NoError(t, err)
	c.say(id, "to all")
	a.say(id, "to all as well")
	w.quiet()
	require.Equal(t, []string{"to all as well"}, b.texts(id))
	require.Empty(t, b.requests())
	_, err = b.Conversation(own)
	require.ErrorIs(t, err, device.ErrNoSuchConversation)
	require.ElementsMatch(t, []string{"to all", "to all as well"}, a.texts(id))
	_, err = b.StartConversation([]string{carol})
	require.ErrorIs(t, err, device.ErrBlocked)
	_, err = b.SendTo([]string{carol}, "no", nil, "")
	require.ErrorIs(t, err, device.ErrBlocked)
	b.say(id, "with the others one goes on talking")
	w.quiet()
	requireAgreement(t, id, a, b, c)
	list, err := b.Blocked()
	require.NoError(t, err)
	require.Equal(t, []string{carol}, list)

	require.NoError(t, b.Unblock(carol))
	c.say(id, "again")
	w.quiet()
	require.Contains(t, b.texts(id), "again")
	_, err = c.StartConversation([]string{bob})
	require.NoError(t, err)
	w.quiet()
	require.Equal(t, carol, b.requests()[0].Actor, "who is unblocked is not accepted by that")
	require.NoError(t, b.Block(carol))
	require.Empty(t, b.requests())
}

// TestWritingFirstIsConsent: who was written to is not asked to wait.
func TestWritingFirstIsConsent(t *testing.T) {
	w := newWorld(t, 1)
	a, b, c := w.enrol(alice), w.enrol(bob), w.enrol(carol)
	for _, p := range []*person{a, b, c} {
		p.asks(device.FromRequests)
	}
	_, err := a.SendTo([]string{bob}, "hello", nil, "")
	require.NoError(t, err)
	w.quiet()
	require.Len(t, b.requests(), 1)
	require.NoError(t, b.AcceptRequest(b.requests()[0].ID))
	w.quiet()
	group, err := b.StartConversation([]string{alice, carol})
	require.NoError(t, err)
	w.quiet()
	requireAgreement(t, group, a, b)
	require.Len(t, c.requests(), 1, "bob is a stranger to carol")
	require.NoError(t, c.AcceptRequest(group))
	w.quiet()
	requireAgreement(t, group, a, b, c)
	_, err = c.StartConversation([]string{alice})
	require.NoError(t, err)
	w.quiet()
	require.Equal(t, carol, a.requests()[0].Actor, "to be in one conversation is no consent to another")
}

// TestRequestsAreBounded: those of one instance, in number and in time.
func TestRequestsAreBounded(t *testing.T) {
	w := newWorld(t, 1)
	b := w.enrol(bob)
	b.asks(device.FromRequests)
	ask := func(actor string) {
		_, err := w.enrol(actor).StartConversation([]string{bob})
		require.NoError(t, err)
		w.people[actor].work()
		b.read()
		delete(w.people, actor)
	}
	for i := range 23 {
		ask(fmt.Sprintf("https://m.example/users/m%d", i))
	}
	require.Len(t, b.requests(), 20)
	ask(alice)
	require.Len(t, b.requests(), 21)
	require.Len(t, w.packages[bob].oneTime, 26)
	w.now = w.now.Add(31 * 24 * time.Hour)
	require.NoError(t, b.TopUp(50))
	require.Empty(t, b.requests())
}

// TestWelcomeScripts are ways into somebody's device that lead to a request or to nothing. What is there already stays as it is.
func TestWelcomeScripts(t *testing.T) {
	type script struct {
		w       *world
		b       *person
		live    string          // a conversation that bob is in
		id      string          // another one of alice's, with a Welcome for bob
		welcome device.Incoming // of that
	}
	// again takes bob out and adds these.
	again := func(s script, packages ...*mls.KeyPackage) device.Incoming {
		var proposals []mls.Proposal
		for _, m := range s.w.people[alice].group(s.id).Members() {
			if string(m.Node.Credential.Identity) == bob {
				proposals = append(proposals, mls.RemoveProposal(m.Leaf))
			}
		}
		for _, kp := range packages {
			proposals = append(proposals, mls.AddProposal(kp))
		}
		_, welcome := s.w.people[alice].forge(s.id, mls.CommitParams{Proposals: proposals})
		return welcome
	}
	deliver := func(items ...device.Incoming) func(script) {
		return func(s script) {
			for _, item := range items {
				s.b.receive(item)
			}
		}
	}
	changed := func(f func(s script, i *device.Incoming)) func(script) {
		return func(s script) {
			item := s.welcome
			f(s, &item)
			deliver(item)(s)
		}
	}
	resigned := func(f func(*receipt.Receipt)) func(script) {
		return changed(func(s script, i *device.Incoming) {
			r, err := receipt.Parse(i.Receipt)
			require.NoError(t, err)
			f(&r)
			r.Sign(s.w.instance(alice).hubKey)
			i.Receipt = r.Marshal()
		})
	}
	for name, x := range map[string]struct {
		do       func(script)
		requests int
		code     string // of the event, if it is refused
	}{
		"unknown sender":  {func(s script) { deliver(s.welcome)(s) }, 1, ""},
		"sent twice":      {func(s script) { deliver(s.welcome, s.welcome)(s) }, 1, ""},
		"sent by another": {changed(func(_ script, i *device.Incoming) { i.Actor = dave }), 0, device.CodeNotAllowed},
		"second Welcome, of a later epoch": {func(s script) {
			deliver(s.welcome)(s)
			s.b.receive(again(s, parse(t, s.w.packages[bob].oneTime[1])))
		}, 1, ""},
		"messages first": {func(s script) {
			s.w.people[alice].say(s.id, "early")
			s.w.people[alice].work()
			s.b.read()
			deliver(s.welcome)(s)
			require.Equal(t, 1, s.b.requests()[0].Waiting)
		}, 1, ""},
		"no MLS": {changed(func(_ script, i *device.Incoming) { i.Message = []byte("come in") }), 0, device.CodeRejectedForged},
		"messages alone": {func(s script) {
			s.w.people[alice].say(s.id, "early")
			s.w.people[alice].work()
			s.b.read()
		}, 0, ""},
		"to a live group": {changed(func(s script, i *device.Incoming) {
			r, err := receipt.Parse(i.Receipt)
			require.NoError(t, err)
			i.Conversation = s.b.conversation(s.live).URL
			r.GroupID, r.Seq = s.b.group(s.live).GroupID(), 1
			r.Sign(s.w.instance(alice).hubKey)
			i.Receipt = r.Marshal()
		}), 0, device.CodeNotAllowed},
		"key package of nobody":       {func(s script) { s.b.receive(again(s, s.b.keyPackage(nil))) }, 0, device.CodeCannotDecrypt},
		"blocked":                     {func(s script) { require.NoError(t, s.b.Block(alice)); s.b.work(); deliver(s.welcome)(s) }, 0, ""},
		"nobody may write":            {func(s script) { s.b.asks(device.FromNobody); deliver(s.welcome)(s) }, 0, ""},
		"no receipt":                  {changed(func(_ script, i *device.Incoming) { i.Receipt = nil }), 0, device.CodeRejectedForged},
		"receipt of another hub":      {changed(func(s script, i *device.Incoming) { i.Receipt = flip(i.Receipt, len(i.Receipt)-1) }), 0, device.CodeRejectedForged},
		"receipt of an old epoch":     {resigned(func(r *receipt.Receipt) { r.Epoch-- }), 0, device.CodeRejectedForged},
		"receipt with another ticket": {resigned(func(r *receipt.Receipt) { r.Ticket[0] ^= 1 }), 0, device.CodeRejectedForged},
		"receipt of another group":    {resigned(func(r *receipt.Receipt) { r.GroupID[0] ^= 1 }), 0, device.CodeRejectedForged},
		"open receipt":                {changed(func(s script, i *device.Incoming) { i.Receipt = s.w.register(i.Conversation).events[0].Receipt }), 0, device.CodeRejectedForged},
		"no conversation":             {changed(func(_ script, i *device.Incoming) { i.Conversation = "" }), 0, device.CodeRejectedForged},
		"conversation of another hub": {changed(func(_ script, i *device.Incoming) { i.Conversation = "https://b" + i.Conversation[len("https://a"):] }), 0, device.CodeRejectedForged},
		"broken ciphertext":           {changed(func(_ script, i *device.Incoming) { i.Message = flip(i.Message, len(i.Message)-1) }), 0, device.CodeRejectedForged},
		"truncated":                   {changed(func(_ script, i *device.Incoming) { i.Message = i.Message[:len(i.Message)-1] }), 0, device.CodeRejectedForged},
		"trailing bytes":              {changed(func(_ script, i *device.Incoming) { i.Message = append(append([]byte{}, i.Message...), 0) }), 0, device.CodeRejectedForged},
		"a tree of 10 MiB": {changed(func(_ script, i *device.Incoming) {
			i.Message = append(append([]byte{}, i.Message...), make([]byte, 10<<20)...)
		}), 0, device.CodeRejectedForged},
		"a leaf that is in no list": {func(s script) {
			s.b.receive(again(s, parse(t, s.w.packages[bob].oneTime[1]), s.w.unlisted(dave).keyPackage(nil)))
		}, 1, ""},
	} {
		t.Run(name, func(t *testing.T) {
			w, live := talk(t, bob)
			b := w.people[bob]
			s := script{w: w, b: b, live: live}
			b.asks(device.FromRequests)
			var err error
			a := w.people[alice]
			s.id, err = a.StartConversation([]string{bob})
			require.NoError(t, err)
			a.work()
			require.Len(t, b.mail, 1)
			s.welcome, b.mail = b.mail[0], nil
			before, lookups := b.conversation(live), len(b.store.buckets["contact"].keys)
			x.do(s)
			b.requireSilent()
			require.Len(t, b.requests(), x.requests)
			_, err = b.Conversation(s.id)
			require.ErrorIs(t, err, device.ErrNoSuchConversation)
			require.Equal(t, before, b.conversation(live))
			require.Len(t, b.store.buckets["contact"].keys, lookups)
			if name == "a leaf that is in no list" {
				require.NoError(t, b.AcceptRequest(s.id))
				b.work()
				requireNotIn(t, b, s.id, device.CodeNotInLog, name)
				return
			}
			codes := b.codes(device.EventMessageRefused)
			if x.code == "" {
				require.Empty(t, codes)
			} else {
				require.Equal(t, []string{x.code}, codes)
			}
		})
	}
}

// TestPlainRequestWaits: somebody without a directory asks like any stranger, and nobody is asked about them before they are accepted.
func TestPlainRequestWaits(t *testing.T) {
	w := newWorld(t, 1)
	a, e := w.enrol(alice), w.plainPeer(erin)
	a.asks(device.FromRequests)
	group := e.create(alice)
	e.say(group, "hello alice")
	w.quiet()
	a.requireSilent()
	list := a.requests()
	require.Len(t, list, 1)
	require.Equal(t, []any{erin, 1}, []any{list[0].Actor, list[0].Waiting})
	require.Zero(t, a.count(device.EventContactPlain)+a.count(device.EventConversationCreated)+a.count(device.EventMessageReceived))
	p, err := a.LookAt(list[0].ID)
	require.NoError(t, err)
	require.Len(t, p.Messages, 1)
	require.Equal(t, "hello alice", p.Messages[0].Text)
	a.restart()
	require.NoError(t, a.AcceptRequest(list[0].ID))
	w.quiet()
	require.Equal(t, []string{"hello alice"}, a.texts(list[0].ID))
	require.True(t, a.conversation(list[0].ID).Plain)
	a.say(list[0].ID, "hello erin")
	w.quiet()
	require.Contains(t, e.texts, "hello erin")
}
