package device_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/device"
)

// submits counts the commits that a person's device wants ordered.
func (p *person) submits() (n int) {
	jobs, err := p.Jobs()
	require.NoError(p.w.t, err)
	for _, j := range jobs {
		if _, commit := j.(*device.CommitJob); commit {
			n++
		}
	}
	return n
}

// TestChainComesBeforeTheWayBack: groups that are further on than the chain was when it was asked for have it asked for again, once.
func TestChainComesBeforeTheWayBack(t *testing.T) {
	w, id := talk(t, bob, carol)
	a, b, c := w.people[alice], w.people[bob], w.people[carol]
	b.deafen(id)
	require.NoError(t, a.SetAdmin(id, carol, true))
	a.work()
	b.read()
	for b.jobOf(t, (*device.GroupInfoJob)(nil)) == nil {
		require.NoError(t, b.do(b.doable()[0]))
	}
	require.NoError(t, a.SetAdmin(id, carol, false))
	a.work()
	require.NoError(t, b.do(b.jobOf(t, (*device.GroupInfoJob)(nil))))
	require.Zero(t, b.submits(), "the epoch that it knows of is over")
	require.NotNil(t, b.jobOf(t, (*device.EventsJob)(nil)))
	w.quiet()
	requireAgreement(t, id, a, b, c)
	require.Len(t, b.back(), 1)
}

// jobOf is the first job of a kind, or nil.
func (p *person) jobOf(t *testing.T, kind device.Job) device.Job {
	jobs, err := p.Jobs()
	require.NoError(t, err)
	for _, j := range jobs {
		switch kind.(type) {
		case *device.GroupInfoJob:
			if _, ok := j.(*device.GroupInfoJob); ok {
				return j
			}
		case *device.EventsJob:
			if _, ok := j.(*device.EventsJob); ok {
				return j
			}
		}
	}
	return nil
}

// TestNoWayBackToWhereNobodyIs: a hub that has no group info of its newest commits, since it was restored or somebody left none, keeps nobody
// busy. Who waits is back with the next commit.
func TestNoWayBackToWhereNobodyIs(t *testing.T) {
	for name, lose := range map[string]func(b *person, id string){
		"a broken path":   (*person).deafen,
		"a damaged state": (*person).damage,
	} {
		t.Run(name, func(t *testing.T) {
			w, id := talk(t, bob, carol)
			a, b, c := w.people[alice], w.people[bob], w.people[carol]
			r := w.register(a.conversation(id).URL)
			require.NoError(t, a.SetAdmin(id, bob, true))
			w.quiet()
			before := r.infos
			lose(b, id)
			require.NoError(t, a.SetAdmin(id, carol, true))
			a.work()
			r.infos = before
			w.quiet()
			events := len(r.events)
			w.later()
			require.Zero(t, b.submits())
			require.Equal(t, device.StatePaused, b.conversation(id).State)
			require.Len(t, b.codes(device.EventConversationPaused), 1, "the person is told")
			require.Len(t, r.events, events)

			require.NoError(t, a.SetAdmin(id, carol, false))
			w.quiet() // and no time goes by
			require.Equal(t, device.StateActive, b.conversation(id).State)
			requireAgreement(t, id, a, b, c)
		})
	}
}

// TestWhatAnAdminHasShownIsRemembered: carol shows whom bob does not know, which he believes since he was shown them by alice meanwhile, in a group
// whose epoch was over.
func TestWhatAnAdminHasShownIsRemembered(t *testing.T) {
	w, id := talk(t, bob, carol)
	a, b, c := w.people[alice], w.people[bob], w.people[carol]
	w.enrol(dave)
	r := w.register(a.conversation(id).URL)
	b.deafen(id)
	require.NoError(t, a.AddMembers(id, []string{dave}))
	a.work()
	shown := r.infos
	c.read()
	require.NoError(t, c.Resync(id))
	c.work()
	newest := r.infos
	r.infos = shown
	b.read()
	b.work()
	require.Equal(t, device.StatePaused, b.conversation(id).State)

	r.infos = newest[:1]
	w.later()
	requireAgreement(t, id, a, b, c)
	require.Equal(t, device.StateActive, b.conversation(id).State)
}

// TestOtherBranchAfterDays: a hub and one member were cut off from the others for days, in which the member's keys changed often. The others go on
// from where they were, and what they leave there is sealed for the key that it had then.
func TestOtherBranchAfterDays(t *testing.T) {
	w, id := talk(t, bob, carol)
	a, b, c := w.people[alice], w.people[bob], w.people[carol]
	require.NoError(t, a.NameHubs(id))
	w.quiet()
	for range 7 {
		require.NoError(t, b.Resync(id))
		b.work()
		a.mail, c.mail = nil, nil // nobody else has it
		w.now = w.now.Add(15 * time.Hour)
	}
	require.EqualValues(t, 9, b.conversation(id).Epoch)
	require.EqualValues(t, 2, a.conversation(id).Epoch)
	w.overtake()
	requireAgreement(t, id, a, b, c)
	require.Contains(t, b.back()[7], "another hub")
}

// TestClaimOfWhoWasShownAsAdmin: a claim is judged by the room that was shown since the thread was lost, too. dave was removed, the hub died, and one of those who
// go on under another is an admin only since he was away. There he is added again.
func TestClaimOfWhoWasShownAsAdmin(t *testing.T) {
	w, id, others := council(t, 1, 3)
	a, b, c, d := w.people[alice], others[0], others[1], others[2]
	w.absent(d)
	d.deafen(id)
	require.NoError(t, a.SetAdmin(id, c.actor, true))
	require.NoError(t, a.RemoveMembers(id, []string{d.actor}))
	w.quiet()
	delete(w.away, d.actor)
	w.quiet()
	require.Equal(t, device.StatePaused, d.conversation(id).State)

	w.absent(a)
	w.falls("https://a.example")
	w.hours(26, 10*time.Minute, handedOver(b, c))
	require.NoError(t, b.AddMembers(id, []string{d.actor}))
	w.quiet()
	w.hours(2, 5*time.Minute, func() bool { return d.conversation(id).State == device.StateActive })
	require.Equal(t, device.StateActive, d.conversation(id).State)
	requireAgreement(t, id, b, c, d)
}

// TestAddedAgainUnderAnotherHub: carol was removed while she had lost the thread. The two who stayed need but one word for another hub, which she cannot know.
func TestAddedAgainUnderAnotherHub(t *testing.T) {
	w, id, others := council(t, 1, 2)
	a, b, c := w.people[alice], others[0], others[1]
	w.absent(c)
	c.damage(id)
	require.NoError(t, a.RemoveMembers(id, []string{c.actor}))
	w.quiet()
	delete(w.away, c.actor)
	w.quiet()
	require.Equal(t, device.StatePaused, c.conversation(id).State)

	w.absent(a)
	w.falls("https://a.example")
	w.hours(26, 10*time.Minute, handedOver(b))
	require.NoError(t, b.AddMembers(id, []string{c.actor}))
	w.quiet()
	w.hours(2, 5*time.Minute, func() bool { return c.conversation(id).State == device.StateActive })
	require.Equal(t, device.StateActive, c.conversation(id).State)
	requireAgreement(t, id, b, c)
}
