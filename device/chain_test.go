package device_test

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/device"
	"github.com/waxwing-dm/waxwing/internal/receipt"
	"github.com/waxwing-dm/waxwing/mls"
)

// commitJob is the commit that a person has waiting.
func (p *person) commitJob() *device.CommitJob {
	jobs, err := p.Jobs()
	require.NoError(p.w.t, err)
	for _, j := range jobs {
		if c, ok := j.(*device.CommitJob); ok {
			return c
		}
		if _, ok := j.(*device.SendJob); !ok {
			require.NoError(p.w.t, p.do(j))
			return p.commitJob()
		}
	}
	require.Fail(p.w.t, "no commit is waiting")
	return nil
}

// granted is the receipt that the hub would give for a job, before it is signed.
func (w *world) granted(j *device.CommitJob) receipt.Receipt {
	r := w.register(j.Conversation)
	groupID, err := hex.DecodeString(j.ConversationID)
	require.NoError(w.t, err)
	return receipt.Receipt{
		Kind: receipt.KindCommit, GroupID: groupID, Term: 1, Seq: uint64(len(r.events)), Epoch: j.Epoch, MessageHash: sha256.Sum256(j.Commit),
		Previous: receipt.Head(r.events[len(r.events)-1].Receipt), Ticket: [32]byte(j.Ticket), Time: 1,
	}
}

func TestForgedReceiptForOurCommit(t *testing.T) {
	w, id := talk(t, bob)
	a := w.people[alice]
	w.enrol(carol)
	require.NoError(t, a.AddMembers(id, []string{carol}))
	j := a.commitJob()
	hub := w.instance(alice).hubKey
	for name, c := range map[string]struct {
		change func(*receipt.Receipt)
		key    ed25519.PrivateKey
	}{
		"R1 another key":    {func(*receipt.Receipt) {}, w.instance(bob).hubKey},
		"R2 another group":  {func(r *receipt.Receipt) { r.GroupID = make([]byte, 32) }, hub},
		"R2 another term":   {func(r *receipt.Receipt) { r.Term = 2 }, hub},
		"R2 a seq too far":  {func(r *receipt.Receipt) { r.Seq++; r.GroupID = make([]byte, 32) }, hub},
		"R2 an old seq":     {func(r *receipt.Receipt) { r.Seq-- }, hub},
		"R2 another past":   {func(r *receipt.Receipt) { r.Previous[0] ^= 1 }, hub},
		"R2 an open one":    {func(r *receipt.Receipt) { r.Kind = receipt.KindOpen }, hub},
		"R3 another epoch":  {func(r *receipt.Receipt) { r.Epoch++ }, hub},
		"R3 another commit": {func(r *receipt.Receipt) { r.MessageHash[0] ^= 1 }, hub},
		"R4 another ticket": {func(r *receipt.Receipt) { r.Ticket[0] ^= 1 }, hub},
	} {
		r := w.granted(j)
		c.change(&r)
		r.Sign(c.key)
		before := a.conversation(id)
		require.ErrorIs(t, a.Committed(j.ID(), r.Marshal()), device.ErrReceipt, name)
		require.Equal(t, before, a.conversation(id), name)
		require.Equal(t, j, a.commitJob(), "%s: the job stays as it was", name)
	}
	require.Error(t, a.Committed(j.ID(), nil))
	w.quiet()
	requireAgreement(t, id, a, w.people[bob], w.people[carol])
}

// TestReceiptAhead: between our place and the receipt for our commit there is one that we have not seen, of a false dispute.
func TestReceiptAhead(t *testing.T) {
	w, id := talk(t, bob, carol)
	a, b := w.people[alice], w.people[bob]
	old := b.group(id)
	require.NoError(t, a.SetAdmin(id, bob, true))
	w.quiet()
	require.NoError(t, a.RemoveMembers(id, []string{carol}))
	j := a.commitJob()

	r := w.register(j.Conversation)
	secret, err := old.Export(receipt.TicketLabel, nil, 32)
	require.NoError(t, err)
	d := receipt.Dispute{GroupID: old.GroupID(), Term: 1, Seq: 2, ReceiptHash: receipt.Head(r.events[2].Receipt), Reason: receipt.ReasonInvalid}
	d.Sign(receipt.TicketKey(secret))
	require.NoError(t, b.dispute(&device.DisputeJob{ConversationID: id, Conversation: j.Conversation, Dispute: d.Marshal()}))

	w.down["https://a.example"] = true // after it has granted the commit
	raw := r.grant(w.instance(alice).hubKey, old.GroupID(), j)
	require.NoError(t, a.Committed(j.ID(), raw))
	a.restart()
	w.quiet()
	require.EqualValues(t, 2, a.conversation(id).Epoch, "it waits for what comes before")
	require.Equal(t, 1, a.conversation(id).Waiting)
	w.down["https://a.example"] = false
	w.quiet()
	require.EqualValues(t, 3, a.conversation(id).Epoch)
	require.NoError(t, b.Sync())
	w.quiet()
	requireAgreement(t, id, a, b)
}

// TestCommitBehindADispute: our commit was granted after another's had been disputed, and its receipt never reached us. What we give up is not what
// the others follow.
func TestCommitBehindADispute(t *testing.T) {
	w, id := talk(t, bob, carol)
	a, b, c := w.people[alice], w.people[bob], w.people[carol]
	require.NoError(t, a.SetAdmin(id, carol, true))
	j := a.commitJob()
	bad, _ := b.forge(id, mls.CommitParams{Proposals: []mls.Proposal{mls.RemoveProposal(2)}})
	c.arrives(bad)
	r := w.register(j.Conversation)
	require.Len(t, r.events, 4, "the hub has opened the epoch again")
	raw := r.grant(w.instance(alice).hubKey, a.group(id).GroupID(), j)
	w.deliver([]string{carol}, device.Incoming{Actor: alice, Conversation: j.Conversation, Message: j.Commit, Receipt: raw})
	require.NoError(t, a.Sync())
	for _, job := range a.doable() {
		if events, ok := job.(*device.EventsJob); ok {
			require.NoError(t, a.do(events))
		}
	}
	require.EqualValues(t, 2, a.conversation(id).Epoch)
	w.quiet()
	requireAgreement(t, id, a, c)
}

// TestOwnCommitGivenUp: a commit of ours that was granted after we had given it up is good for all others. We are not the ones to dispute it.
func TestOwnCommitGivenUp(t *testing.T) {
	w, id := talk(t, bob, carol)
	a, b := w.people[alice], w.people[bob]
	require.NoError(t, a.SetAdmin(id, carol, true))
	j := a.commitJob()
	require.NoError(t, a.Failed(j.ID(), "receipt_invalid", ""))
	raw := w.register(j.Conversation).grant(w.instance(alice).hubKey, a.group(id).GroupID(), j)
	item := device.Incoming{Actor: alice, Conversation: j.Conversation, Message: j.Commit, Receipt: raw}
	b.arrives(item)
	require.EqualValues(t, 2, b.conversation(id).Epoch)
	a.arrives(item)
	w.quiet()
	for _, e := range w.register(j.Conversation).events {
		r, err := receipt.Parse(e.Receipt)
		require.NoError(t, err)
		require.NotEqual(t, receipt.KindReopen, r.Kind, "nothing was disputed")
	}
	require.NotEmpty(t, a.codes(device.EventConversationUpdated), "it has come back by itself")
	requireAgreement(t, id, a, b)
}

func TestForgedOpenReceipt(t *testing.T) {
	w := newWorld(t, 2)
	a := w.enrol(alice)
	w.enrol(bob)
	id, err := a.StartConversation([]string{bob})
	require.NoError(t, err)
	jobs, err := a.Jobs()
	require.NoError(t, err)
	j := jobs[0].(*device.OpenJob)
	hub := w.instance(alice).hubKey
	url := receipt.ConversationURL("https://a.example", j.GroupID)
	good := receipt.Receipt{Kind: receipt.KindOpen, GroupID: j.GroupID, Term: 1, Ticket: [32]byte(j.Ticket)}
	for name, change := range map[string]func(*receipt.Receipt){
		"kind": func(r *receipt.Receipt) { r.Kind = receipt.KindCommit }, "group": func(r *receipt.Receipt) { r.GroupID = []byte{1} },
		"term": func(r *receipt.Receipt) { r.Term = 2 }, "seq": func(r *receipt.Receipt) { r.Seq = 1 }, "ticket": func(r *receipt.Receipt) { r.Ticket[0] ^= 1 },
	} {
		r := good
		change(&r)
		r.Sign(hub)
		require.ErrorIs(t, a.Opened(j.ID(), url, r.Marshal()), device.ErrReceipt, name)
	}
	good.Sign(w.instance(bob).hubKey)
	require.Error(t, a.Opened(j.ID(), url, good.Marshal()))
	good.Sign(hub)
	require.Error(t, a.Opened(j.ID(), receipt.ConversationURL("https://b.example", j.GroupID), good.Marshal()))
	require.Equal(t, device.StateOpening, a.conversation(id).State)
	require.NoError(t, a.Opened(j.ID(), url, good.Marshal()))
	require.Equal(t, device.StateActive, a.conversation(id).State)
	require.NoError(t, a.Opened(j.ID(), url, good.Marshal()), "a result that was reported before is ignored")
}

// TestRace: alice and bob, both admins, change members in one epoch. The loser's intent is built again.
func TestRace(t *testing.T) {
	w, id := talk(t, bob)
	a, b := w.people[alice], w.people[bob]
	w.enrol(carol)
	w.enrol(dave)
	require.NoError(t, a.SetAdmin(id, bob, true))
	w.quiet()
	require.NoError(t, a.AddMembers(id, []string{carol}))
	require.NoError(t, b.AddMembers(id, []string{dave}))
	b.say(id, "for dave too")
	first, second := a.commitJob(), b.commitJob()
	require.Equal(t, first.Epoch, second.Epoch)
	require.NoError(t, a.do(first))
	b.restart()
	require.NoError(t, b.do(second))
	require.NotEqual(t, second.Commit, b.commitJob().Commit, "the lost commit is not sent again")
	w.quiet()
	requireAgreement(t, id, a, b, w.people[carol], w.people[dave])
	require.Len(t, a.conversation(id).Members, 4)
	require.Equal(t, []string{"for dave too"}, w.people[dave].texts(id))

	// Both want the same: the loser finds it done.
	require.NoError(t, a.RemoveMembers(id, []string{dave}))
	require.NoError(t, b.RemoveMembers(id, []string{dave}))
	first, second = a.commitJob(), b.commitJob()
	require.NoError(t, b.do(second))
	require.NoError(t, a.do(first))
	w.quiet()
	requireAgreement(t, id, a, b, w.people[carol])
	require.Len(t, a.conversation(id).Members, 3)
	require.Empty(t, a.codes(device.EventMemberFailed))

	// The loser is the one who is thrown out.
	require.NoError(t, a.RemoveMembers(id, []string{bob}))
	require.NoError(t, b.RemoveMembers(id, []string{carol}))
	b.say(id, "never sent")
	first, second = a.commitJob(), b.commitJob()
	require.NoError(t, a.do(first))
	require.NoError(t, b.do(second))
	w.quiet()
	require.Equal(t, device.StateLeft, b.conversation(id).State)
	require.Equal(t, []string{device.CodeRemoved}, b.codes(device.EventMemberFailed))
	list := mustMessages(t, b, id)
	require.Equal(t, device.MessageFailed, list[len(list)-1].State)
	requireAgreement(t, id, a, w.people[carol])
}

// TestConflictWithoutEvents: a hub that says no and shows nothing costs us the race, not the conversation.
func TestConflictWithoutEvents(t *testing.T) {
	w, id := talk(t, bob)
	a := w.people[alice]
	w.enrol(carol)
	require.NoError(t, a.AddMembers(id, []string{carol}))
	for range 9 {
		require.NoError(t, a.CommitConflict(a.commitJob().ID(), nil))
	}
	w.quiet()
	require.Equal(t, []string{device.CodeCommitConflict}, a.codes(device.EventMemberFailed))
	require.NoError(t, a.AddMembers(id, []string{carol}))
	w.quiet()
	requireAgreement(t, id, a, w.people[bob], w.people[carol])
}

func TestLostCommitIsFetched(t *testing.T) {
	w, id := talk(t, bob)
	a, b := w.people[alice], w.people[bob]
	w.enrol(carol)
	require.NoError(t, a.AddMembers(id, []string{carol}))
	a.say(id, "news")
	a.work()
	require.Len(t, b.mail, 2)
	b.mail = b.mail[1:] // the commit is lost
	b.read()
	require.Equal(t, []string{device.CodeWaitingKey}, b.codes(device.EventMessageWaiting))
	b.restart()
	b.work()
	require.Equal(t, []string{"news"}, b.texts(id))
	requireAgreement(t, id, a, b)
	require.NoError(t, b.Sync())
	w.quiet()
	requireAgreement(t, id, a, b, w.people[carol])
}

func TestCommitsThatAreNotNext(t *testing.T) {
	w, id := talk(t, bob, carol)
	a, b := w.people[alice], w.people[bob]
	var commits []device.Incoming
	for range 3 {
		require.NoError(t, a.SetAdmin(id, bob, len(commits)%2 == 0))
		a.work()
		commits = append(commits, b.mail[0])
		b.mail = nil
	}
	for _, i := range []int{2, 2, 1} {
		b.receive(commits[i])
	}
	require.EqualValues(t, 1, b.conversation(id).Epoch, "a commit that is not next waits")
	b.receive(commits[0])
	require.EqualValues(t, 4, b.conversation(id).Epoch)
	for _, i := range []int{0, 1, 2} {
		b.receive(commits[i]) // stale
	}
	b.work()
	requireAgreement(t, id, a, b)
	require.Empty(t, b.codes(device.EventMessageRefused))

	// The carrier exchanges the receipt, or the commit.
	mixed := commits[0]
	mixed.Receipt = flip(mixed.Receipt, len(mixed.Receipt)-1)
	b.arrives(mixed)
	mixed.Receipt = nil
	b.arrives(mixed)
	require.Equal(t, []string{device.CodeRejectedForged, device.CodeRejectedForged}, b.codes(device.EventMessageRefused))
	require.NoError(t, a.SetAdmin(id, carol, true))
	a.work()
	next := b.mail[0]
	b.mail = nil
	next.Message = commits[2].Message
	b.arrives(next) // the right receipt with another commit: the right one is fetched
	require.Len(t, b.codes(device.EventMessageRefused), 3)
	requireAgreement(t, id, a, b)
}

func TestHubThatEquivocates(t *testing.T) {
	w, id := talk(t, bob, carol)
	a, b, c := w.people[alice], w.people[bob], w.people[carol]
	hub := w.instance(alice).hubKey
	before := *w.register(a.conversation(id).URL)
	one, _ := a.forge(id, mls.CommitParams{ForcePath: true})
	*w.register(a.conversation(id).URL) = before
	two, _ := a.forge(id, mls.CommitParams{ForcePath: true})
	b.arrives(one)
	c.arrives(two)
	b.arrives(two)
	require.Equal(t, []string{device.CodeForkDetected}, b.codes(device.EventMessageRefused))
	requireCaught(t, w, id, b)

	// The sides of the fork cannot read each other, and say so.
	b.arrives(c.speak(id, nil, nil))
	require.Equal(t, []string{device.CodeForkDetected, device.CodeRejectedForged}, b.codes(device.EventMessageRefused))
	require.Empty(t, b.texts(id))

	// A chain that does not continue ours is not followed.
	r, err := receipt.Parse(one.Receipt)
	require.NoError(t, err)
	r.Seq, r.Epoch, r.Previous = r.Seq+1, r.Epoch+1, receipt.Head(two.Receipt)
	r.Sign(hub)
	b.arrives(device.Incoming{Actor: alice, Conversation: one.Conversation, Message: one.Message, Receipt: r.Marshal()})
	requirePaused(t, b, id, device.CodeForkDetected, "")
}

func TestCommitThatMLSRefuses(t *testing.T) {
	w, id := talk(t, bob, carol)
	b := w.people[bob]
	g := w.people[alice].group(id)
	pending, err := g.Commit(w.random, mls.CommitParams{ForcePath: true, AuthenticatedData: w.people[alice].fence(id, g, nil), Now: w.now})
	require.NoError(t, err)
	bad := flip(pending.Message(), len(pending.Message())-1)
	c := b.conversation(id)
	raw := w.register(c.URL).grant(w.instance(alice).hubKey, g.GroupID(), &device.CommitJob{Epoch: g.Epoch(), Commit: bad, Ticket: make([]byte, 32)})
	b.arrives(device.Incoming{Actor: alice, Conversation: c.URL, Message: bad, Receipt: raw})
	requirePaused(t, b, id, device.CodeCommitInvalid, "")
	w.people[carol].say(id, "talk goes on")
	w.quiet()
	require.Equal(t, []string{"talk goes on"}, b.texts(id))
}

func TestCommitWithWrongTicket(t *testing.T) {
	w, id := talk(t, bob, carol)
	commit, _ := w.people[alice].forge(id, mls.CommitParams{ForcePath: true})
	r, err := receipt.Parse(commit.Receipt)
	require.NoError(t, err)
	r.Ticket[0] ^= 1
	r.Sign(w.instance(alice).hubKey)
	commit.Receipt = r.Marshal()
	w.people[bob].receive(commit)
	requirePaused(t, w.people[bob], id, device.CodeForkDetected, "R4")
}
