package device_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/device"
	"github.com/waxwing-dm/waxwing/mls"
)

func TestTalk(t *testing.T) {
	w, id := talk(t, bob)
	a, b := w.people[alice], w.people[bob]
	a.say(id, "hello <bob> & \"all\"\nline two")
	w.quiet()
	b.say(id, "hi")
	w.quiet()
	want := []string{"hello <bob> & \"all\"\nline two", "hi"}
	require.Equal(t, want, a.texts(id))
	require.Equal(t, want, b.texts(id))
	list, err := a.Messages(id, 0, 10)
	require.NoError(t, err)
	require.Equal(t, device.MessageSent, list[0].State)
	require.Equal(t, device.MessageReceived, list[1].State)
	require.Equal(t, a.conversation(id).EpochAuthenticator, b.conversation(id).EpochAuthenticator)
	require.Empty(t, b.codes(device.EventMessageRefused))
}

// TestCarolAndBob is the promise in one sentence: carol is added and reads only what came after; bob is removed and cannot read what follows.
func TestCarolAndBob(t *testing.T) {
	w, id := talk(t, bob)
	a, b, c := w.people[alice], w.people[bob], w.enrol(carol)
	a.say(id, "before carol")
	require.NoError(t, a.AddMembers(id, []string{carol}))
	a.say(id, "welcome carol") // queued behind the adding, therefore for carol too
	w.quiet()
	require.Equal(t, []string{"before carol", "welcome carol"}, b.texts(id))
	require.Equal(t, []string{"welcome carol"}, c.texts(id))

	require.NoError(t, a.RemoveMembers(id, []string{bob}))
	a.say(id, "without bob")
	w.quiet()
	c.say(id, "he is gone")
	w.quiet()
	require.Equal(t, []string{"welcome carol", "without bob", "he is gone"}, c.texts(id))
	require.Equal(t, []string{"before carol", "welcome carol"}, b.texts(id), "bob reads nothing that follows")
	require.Equal(t, device.StateLeft, b.conversation(id).State)
	_, err := b.Send(id, "let me in", nil, "")
	require.ErrorIs(t, err, device.ErrLeft)
	require.ErrorIs(t, b.AddMembers(id, []string{carol}), device.ErrLeft)
	requireAgreement(t, id, a, c)
	members := a.conversation(id).Members
	require.Len(t, members, 2)
	require.Equal(t, alice, members[0].Actor)
	require.True(t, members[0].Admin)
	require.Equal(t, carol, members[1].Actor)
	require.False(t, members[1].Admin)

	// Whatever bob gets hold of later, he cannot read it.
	a.say(id, "secret")
	a.work()
	b.receive(c.mail[0])
	require.Equal(t, []string{"before carol", "welcome carol"}, b.texts(id))

	// He comes back, and reads from then on.
	w.quiet()
	require.NoError(t, a.AddMembers(id, []string{bob}))
	a.say(id, "bob again")
	w.quiet()
	require.Equal(t, []string{"before carol", "welcome carol", "bob again"}, b.texts(id))
	requireAgreement(t, id, a, b, c)
}

func requireAgreement(t require.TestingT, id string, people ...*person) {
	first := people[0].conversation(id)
	for _, p := range people[1:] {
		c := p.conversation(id)
		require.Equal(t, first.Epoch, c.Epoch, "%s is in another epoch than %s", p.actor, people[0].actor)
		require.Equal(t, first.EpochAuthenticator, c.EpochAuthenticator)
		require.Equal(t, first.Members, c.Members)
	}
}

func TestOnlyAdminsChangeMembers(t *testing.T) {
	w, id := talk(t, bob, carol)
	var check *device.CheckError
	require.ErrorAs(t, w.people[bob].AddMembers(id, []string{dave}), &check)
	require.Equal(t, "C2", check.Check)
	require.ErrorAs(t, w.people[bob].RemoveMembers(id, []string{carol}), &check)
	require.Equal(t, "C3", check.Check)
	require.ErrorIs(t, w.people[alice].RemoveMembers(id, []string{alice}), device.ErrActor)
	require.ErrorIs(t, w.people[alice].AddMembers(id, []string{alice}), device.ErrActor)
	require.ErrorIs(t, w.people[alice].AddMembers(id, []string{dave, dave}), device.ErrActor)
	require.ErrorIs(t, w.people[alice].AddMembers("00", []string{dave}), device.ErrNoSuchConversation)
}

func TestRecipientWithoutKeys(t *testing.T) {
	w, id := talk(t, bob)
	a := w.people[alice]
	w.unlisted(dave) // has an account and no list
	require.NoError(t, a.AddMembers(id, []string{dave}))
	a.say(id, "still here")
	w.quiet()
	require.Equal(t, []string{device.CodeRecipientNotReady}, a.codes(device.EventMemberFailed))
	require.Equal(t, []string{"still here"}, w.people[bob].texts(id))
	var unready *device.NotReadyError
	require.ErrorAs(t, a.AddMembers(id, []string{dave}), &unready)
	require.Equal(t, []string{dave}, unready.Actors)
	_, err := a.StartConversation([]string{bob, dave})
	require.ErrorAs(t, err, &unready)
}

func TestFile(t *testing.T) {
	w, id := talk(t, bob)
	a, b := w.people[alice], w.people[bob]
	data := make([]byte, 70000)
	_, _ = w.random.Read(data)
	_, err := a.Send(id, "look", []device.File{{Name: "a.png", MediaType: "image/png", Data: data}, {Name: "empty"}}, "")
	require.NoError(t, err)
	a.say(id, "after the file")
	require.Equal(t, device.MessageQueued, mustMessages(t, a, id)[1].State, "a message waits for the files of the one before")
	w.quiet()
	got := mustMessages(t, b, id)
	require.Equal(t, []string{"look", "after the file"}, b.texts(id))
	require.Len(t, got[0].Attachments, 2)
	at := got[0].Attachments[0]
	require.Equal(t, "a.png", at.Name)
	require.EqualValues(t, len(data), at.Size)
	blob := w.blobs[at.URL]
	require.Zero(t, len(blob)%(64<<10))
	file, err := b.OpenFile(id, got[0].Seq, 0, blob)
	require.NoError(t, err)
	require.Equal(t, data, file)
	file, err = b.OpenFile(id, got[0].Seq, 1, w.blobs[got[0].Attachments[1].URL])
	require.NoError(t, err)
	require.Empty(t, file)
	mine, err := a.OpenFile(id, 1, 0, blob)
	require.NoError(t, err)
	require.Equal(t, data, mine)

	for name, bad := range map[string][]byte{"flipped": flip(blob, 100), "cut": blob[:len(blob)-1], "other": w.blobs[got[0].Attachments[1].URL]} {
		_, err := b.OpenFile(id, got[0].Seq, 0, bad)
		require.ErrorIs(t, err, device.ErrFile, name)
	}
	_, err = b.OpenFile(id, got[0].Seq, 2, blob)
	require.ErrorIs(t, err, device.ErrNoSuchMessage)
}

func flip(b []byte, i int) []byte {
	c := append([]byte{}, b...)
	c[i] ^= 1
	return c
}

func mustMessages(t require.TestingT, p *person, id string) []device.Message {
	list, err := p.Messages(id, 0, 1000)
	require.NoError(t, err)
	return list
}

func TestIdempotentSend(t *testing.T) {
	w, id := talk(t, bob)
	a := w.people[alice]
	m, err := a.Send(id, "once", nil, "key-1")
	require.NoError(t, err)
	w.quiet()
	again, err := a.Send(id, "once", nil, "key-1")
	require.NoError(t, err)
	require.Equal(t, m.Seq, again.Seq)
	require.Equal(t, m.ID, again.ID)
	require.Equal(t, device.MessageSent, again.State)
	_, err = a.Send(id, "another", nil, "key-1")
	require.ErrorIs(t, err, device.ErrIdempotencyConflict)
	w.quiet()
	require.Equal(t, []string{"once"}, w.people[bob].texts(id))
}

func TestSameBytesAfterCrash(t *testing.T) {
	w, id := talk(t, bob)
	a := w.people[alice]
	w.enrol(carol)
	a.say(id, "one")
	require.NoError(t, a.AddMembers(id, []string{carol}))
	before, err := a.Jobs()
	require.NoError(t, err)
	a.restart()
	after, err := a.Jobs()
	require.NoError(t, err)
	require.Equal(t, before, after, "a job is repeated with the same bytes")
	w.quiet()
	require.Equal(t, []string{"one"}, w.people[bob].texts(id))
}

// TestStaleProofIsRenewed: a list proven more than a day ago is asked for again before a leaf is let in.
func TestStaleProofIsRenewed(t *testing.T) {
	w, a, id, commit := door(t)
	w.now = w.now.Add(25 * time.Hour)
	before := a.conversation(id).Epoch
	a.receive(commit)
	require.Equal(t, before, a.conversation(id).Epoch)
	jobs, err := a.Jobs()
	require.NoError(t, err)
	require.Len(t, jobs, 1)
	require.Equal(t, []string{carol}, jobs[0].(*device.LookupJob).Actors)
	a.restart()
	a.work()
	require.Equal(t, before+1, a.conversation(id).Epoch)
}

func TestListsAndPages(t *testing.T) {
	w, id := talk(t, bob)
	a := w.people[alice]
	other, err := a.StartConversation([]string{bob})
	require.NoError(t, err)
	require.Equal(t, device.StateOpening, a.conversation(other).State)
	a.say(id, "1")
	a.say(id, "2")
	a.say(other, "first")
	w.quiet()
	list, err := a.Conversations()
	require.NoError(t, err)
	require.Len(t, list, 2)
	require.Equal(t, []string{id, other}, []string{list[0].ID, list[1].ID})
	require.Equal(t, []string{"first"}, w.people[bob].texts(other))
	page, err := a.Messages(id, 1, 1)
	require.NoError(t, err)
	require.Len(t, page, 1)
	require.Equal(t, "2", page[0].Text)
	_, err = a.Messages("00", 0, 1)
	require.ErrorIs(t, err, device.ErrNoSuchConversation)

	all, err := a.Events(0, 1000)
	require.NoError(t, err)
	for i, e := range all {
		require.EqualValues(t, i+1, e.Seq)
		next, err := a.Events(uint64(i), 1)
		require.NoError(t, err)
		require.Equal(t, []device.Event{e}, next)
	}
}

// TestStaleSends: what was encrypted for an epoch that is long over is given up in words, if somebody has joined since.
func TestStaleSends(t *testing.T) {
	w, id := talk(t, bob, carol)
	a, b := w.people[alice], w.people[bob]
	b.say(id, "b was offline")
	w.enrol(dave)
	require.NoError(t, b.lookUp(dave))
	require.NoError(t, a.AddMembers(id, []string{dave}))
	for i := range 4 {
		require.NoError(t, a.SetAdmin(id, carol, i%2 == 0))
		a.work()
	}
	b.read()
	require.Equal(t, device.MessageQueued, mustMessages(t, b, id)[0].State, "who has joined may be gone again")
	w.now = w.now.Add(10 * time.Second)
	w.wake()
	require.Equal(t, device.MessageFailed, mustMessages(t, b, id)[0].State)
	require.Contains(t, b.codes(device.EventMessageState), device.CodeTooLate)
	w.quiet()
	require.Empty(t, a.texts(id))
}

// TestOneThingAtATime: the jobs of one conversation come one after the other, those of different conversations together.
func TestOneThingAtATime(t *testing.T) {
	w, id := talk(t, bob)
	a := w.people[alice]
	other, err := a.StartConversation([]string{bob})
	require.NoError(t, err)
	w.quiet()
	for _, text := range []string{"1", "2", "3"} {
		a.say(id, text)
		a.say(other, text)
	}
	jobs, err := a.Jobs()
	require.NoError(t, err)
	require.Len(t, jobs, 2)
	require.NoError(t, a.Sent(jobs[0].ID()))
	require.Equal(t, device.MessageSent, mustMessages(t, a, id)[0].State)
	require.Equal(t, device.MessageSending, mustMessages(t, a, other)[0].State)
}

// TestInvalidCommitTakesOursBack: a commit of ours that lost against one that must not be followed is made again once the hub has opened
// the epoch again.
func TestInvalidCommitTakesOursBack(t *testing.T) {
	w, id := talk(t, bob)
	a, b := w.people[alice], w.people[bob]
	w.enrol(carol)
	bad, _ := b.forge(id, mls.CommitParams{Proposals: []mls.Proposal{mls.AddProposal(w.enrol(dave).keyPackage(nil))}})
	require.NoError(t, a.AddMembers(id, []string{carol}))
	require.NotNil(t, a.commitJob())
	a.say(id, "after carol")
	a.receive(bad)
	requirePaused(t, a, id, device.CodeNotAllowed, "C2")
	require.Equal(t, device.StatePaused, a.conversation(id).State)
	w.quiet()
	require.Equal(t, device.StateActive, a.conversation(id).State)
	require.Len(t, a.conversation(id).Members, 3)
	require.Equal(t, []string{"after carol"}, w.people[carol].texts(id))
	require.Empty(t, a.codes(device.EventMemberFailed))
	requireAgreement(t, id, a, b, w.people[carol])
}

// TestUnknownIsNoProof: that a directory denies somebody whose list it proved before does not unmake the proof, and is no fresh one either.
func TestUnknownIsNoProof(t *testing.T) {
	_, a, id, commit := door(t)
	require.NoError(t, a.Unknown(carol))
	c, ok, err := a.Contact(carol)
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, device.ContactReady, c.State)
	a.receive(commit)
	jobs, err := a.Jobs()
	require.NoError(t, err)
	require.Len(t, jobs, 1, "it takes a lookup to let the leaf in")
	a.work()
	require.EqualValues(t, 3, a.conversation(id).Epoch)
	require.NoError(t, a.Unknown(dave))
	c, ok, err = a.Contact(dave)
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, device.ContactNone, c.State)
}

func TestCommitsArePadded(t *testing.T) {
	w, id := talk(t, bob, carol)
	a := w.people[alice]
	var sizes []int
	for _, actor := range []string{bob, carol} {
		require.NoError(t, a.SetAdmin(id, actor, true))
		sizes = append(sizes, len(a.commitJob().Commit))
		w.quiet()
	}
	require.Equal(t, sizes[0], sizes[1], "how many admins there are does not show")
}

// TestClaimForAStepThatIsGone: packages that were claimed for carol are not taken for dave's when somebody else added carol meanwhile.
func TestClaimForAStepThatIsGone(t *testing.T) {
	w, id := talk(t, bob)
	a, b := w.people[alice], w.people[bob]
	c, d := w.enrol(carol), w.enrol(dave)
	require.NoError(t, a.SetAdmin(id, bob, true))
	w.quiet()
	require.NoError(t, a.AddMembers(id, []string{carol}))
	require.NoError(t, a.AddMembers(id, []string{dave}))
	jobs, err := a.Jobs()
	require.NoError(t, err)
	require.NoError(t, a.do(jobs[0]))
	jobs, err = a.Jobs()
	require.NoError(t, err)
	claim := jobs[0].(*device.ClaimJob)
	require.Equal(t, []string{carol}, claim.Actors)
	require.NoError(t, b.AddMembers(id, []string{carol}))
	b.work()
	a.read()
	require.NoError(t, a.do(claim))
	w.quiet()
	requireAgreement(t, id, a, b, c, d)
	require.Empty(t, a.codes(device.EventMemberFailed))
}
