package device_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/device"
	"github.com/waxwing-dm/waxwing/internal/receipt"
)

const week = 7 * 24 * time.Hour

// orphans is a conversation whose only admin is at the dead instance that is its hub, just before the members may do something about it.
func orphans(t *testing.T, members int) (w *world, id string, others []*person, limit time.Time) {
	w, id, others = council(t, 0, members)
	w.absent(w.people[alice])
	w.down["https://a.example"] = true
	for _, p := range others {
		require.NoError(t, p.Sync())
	}
	w.quiet()
	limit = w.now.Add(week)
	w.hours(7*24, 2*time.Hour, func() bool { return limit.Sub(w.now) <= 2*time.Hour })
	w.now = limit.Add(-5 * time.Minute)
	w.wake()
	return w, id, others, limit
}

// TestOnlyAdminIsGone: the instance of who began the conversation is gone, and they with it. After a week it goes on without them.
func TestOnlyAdminIsGone(t *testing.T) {
	for _, members := range []int{2, 4} {
		t.Run(fmt.Sprint(members+1, " people"), func(t *testing.T) {
			w, id, others, limit := orphans(t, members)
			a, b, last := w.people[alice], others[0], others[members-1]
			require.False(t, handedOver(b)())
			w.hours(1, 20*time.Second, handedOver(others...))
			require.True(t, handedOver(others...)())
			t.Log(w.now.Sub(limit))
			require.Less(t, w.now.Sub(limit), 2*time.Minute)
			require.Equal(t, "https://b.example", last.conversation(id).Hub)

			// Who opened the term has renewed their keys, and the others do when it is due.
			epoch := b.conversation(id).Epoch
			w.hours(26, time.Hour, never)
			require.Greater(t, last.conversation(id).Epoch, epoch)
			b.say(id, "without alice")
			w.quiet()
			requireAgreement(t, id, others...)
			require.Contains(t, last.texts(id), "without alice")

			// Nobody has become an admin by it.
			require.Error(t, b.SetAdmin(id, b.actor, true))
			require.Error(t, b.RemoveMembers(id, []string{alice}))
			if members > 2 {
				require.NoError(t, last.Leave(id, ""))
				w.quiet()
				w.hours(1, time.Minute, func() bool { return last.conversation(id).State == device.StateLeft })
				require.Equal(t, device.StateLeft, last.conversation(id).State)
				others = others[:members-1]
				requireAgreement(t, id, others...)
			}

			// The admin comes back, follows, and is one as before.
			w.returns(a, id)
			everybody := append(slices.Clone(others), a)
			a.say(id, "what have I missed")
			w.quiet()
			requireAgreement(t, id, everybody...)
			require.Contains(t, b.texts(id), "what have I missed")
			require.NoError(t, a.SetAdmin(id, b.actor, true))
			require.NoError(t, a.NameHubs(id))
			w.quiet()
			requireAgreement(t, id, everybody...)
			require.True(t, slices.ContainsFunc(b.conversation(id).Members, func(m device.Member) bool { return m.Actor == b.actor && m.Admin }))
		})
	}
}

// returns has somebody come back whose instance has lost what came for them meanwhile; it has been told where the conversation went.
func (w *world) returns(p *person, id string) {
	url := p.conversation(id).URL
	origin, _ := originOf(p.actor)
	for _, e := range w.registerAt(url, "https://b.example").events {
		if r, err := receipt.Parse(e.Receipt); err == nil && r.Kind == receipt.KindTerm {
			w.register(url).moved = &e
		}
	}
	p.mail = nil
	delete(w.away, p.actor)
	delete(w.down, origin)
	require.NoError(w.t, p.Sync())
	w.quiet()
	w.hours(1, 20*time.Second, handedOver(p))
}

// TestNoHandOverWithoutMostMembers: half of them is not enough, and who reaches the hub does not sign.
func TestNoHandOverWithoutMostMembers(t *testing.T) {
	for name, c := range map[string]struct {
		members, away, refusing int
		works                   bool
	}{
		"two of four":                {members: 3, away: 1},
		"three of five":              {members: 4, away: 1, works: true},
		"three, of whom one sees it": {members: 4, away: 1, refusing: 1},
	} {
		t.Run(name, func(t *testing.T) {
			w, _, others, _ := orphans(t, c.members)
			for _, p := range others[:c.away] {
				w.absent(p)
			}
			for _, p := range others[c.away : c.away+c.refusing] {
				w.sees[p.actor] = true
				require.NoError(t, p.Sync())
				p.work()
			}
			here := others[c.away+c.refusing:]
			w.hours(2, 20*time.Second, handedOver(here...))
			require.Equal(t, c.works, handedOver(here...)())
		})
	}
}

// TestAdminAndMembersAtOnce: an admin whom nobody hears has one fallback open a term, and the members, who know nothing of that, another one. Terms
// of the two never meet, and the higher one is everybody's.
func TestAdminAndMembersAtOnce(t *testing.T) {
	w, id, others, _ := orphans(t, 4)
	a, b := w.people[alice], others[0]
	for _, p := range others {
		w.absent(p)
	}
	a.mail = nil
	delete(w.away, alice)
	w.down["https://b.example"] = true
	w.hours(26, 20*time.Minute, handedOver(a))
	require.Equal(t, "https://c.example", a.conversation(id).Hub)
	a.say(id, "only I know")
	w.quiet()
	w.absent(a)
	late := map[*person][]device.Incoming{}
	for _, p := range others {
		late[p], p.mail = p.mail, nil
		delete(w.away, p.actor)
	}
	w.down["https://c.example"] = true
	delete(w.down, "https://b.example")
	w.hours(1, 20*time.Second, handedOver(others...))
	require.Equal(t, "https://b.example", b.conversation(id).Hub)

	w.down["https://c.example"] = false
	delete(w.away, alice)
	for p, items := range late {
		p.mail = append(p.mail, items...)
	}
	w.quiet()
	w.hours(3, 10*time.Minute, never)
	everybody := append(slices.Clone(others), a)
	requireAgreement(t, id, everybody...)
	require.Equal(t, "https://b.example", a.conversation(id).Hub)
	require.NoError(t, a.RemoveMembers(id, []string{others[3].actor}))
	w.quiet()
	requireAgreement(t, id, append(slices.Clone(others[:3]), a)...)
	require.Contains(t, b.texts(id), "only I know")
	b.say(id, "we are here")
	w.quiet()
	require.Contains(t, a.texts(id), "we are here")
}

// TestMembersClaimsThatAreRefused: what can be wrong about the signatures of a claim. The last one is right, and followed.
func TestMembersClaimsThatAreRefused(t *testing.T) {
	const term = 1 << 16
	people := []string{bob, carol, "https://d.example/users/dave", "https://e.example/users/erin"}
	for _, c := range []struct {
		name    string
		people  int // beside alice
		term    uint64
		signers []string
		change  func(w *world, c *receipt.SignedClaim)
		works   bool
	}{
		{name: "half", people: 3, term: term, signers: []string{bob, carol}},
		{name: "one of somebody who was removed", people: 4, term: term, signers: []string{bob, carol, people[3]}},
		{name: "one of somebody from outside", people: 3, term: term, signers: []string{bob, carol, "https://x.example/users/x"}},
		{name: "a term of the admins", people: 3, term: term + 1, signers: []string{bob, carol, people[2]}},
		{name: "the admin alone in a term of the members", people: 3, term: term, signers: []string{alice}},
		{name: "two devices of one", people: 3, term: term, signers: []string{bob, carol}, change: func(w *world, c *receipt.SignedClaim) {
			c.Signatures = append(c.Signatures, c.Sign(carol, w.people[people[2]].ed25519()))
		}},
		{name: "another's key", people: 3, term: term, signers: []string{bob, carol}, change: func(w *world, c *receipt.SignedClaim) {
			c.Signatures = append(c.Signatures, c.Sign(people[2], w.people[carol].ed25519()))
		}},
		{name: "of another claim", people: 3, term: term, signers: []string{bob, carol, people[2]}, change: func(_ *world, c *receipt.SignedClaim) {
			c.Time++
		}},
		{name: "more than half", people: 3, term: term, signers: []string{bob, carol, people[2]}, works: true},
		{name: "the admin alone in a term of theirs", people: 3, term: term - 1, signers: []string{alice}, works: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, id := talk(t, people[:c.people]...)
			a, b := w.people[alice], w.people[bob]
			w.enrol("https://x.example/users/x")
			require.NoError(t, a.NameHubs(id))
			if c.people > 3 {
				require.NoError(t, a.RemoveMembers(id, people[3:]))
			}
			w.quiet()
			claim := b.claimBy(id)
			claim.Term, claim.Signatures = c.term, nil
			for _, actor := range c.signers {
				claim.Signatures = append(claim.Signatures, claim.Sign(actor, w.people[actor].ed25519()))
			}
			if c.change != nil {
				c.change(w, &claim)
			}
			claim.SignMember(b.ticketKey(id))
			w.register(b.conversation(id).URL).moved = w.termEvent(claim)
			require.NoError(t, b.Sync())
			b.work()
			require.Equal(t, c.works, handedOver(b)())
		})
	}
}

// TestEarlyMembersClaims: an insider shows claims of the members at once. Nobody signs them before the week is over, one of a term beyond all measure
// not even then, and the admins agree meanwhile.
func TestEarlyMembersClaims(t *testing.T) {
	for _, admins := range []int{0, 2} {
		t.Run(fmt.Sprint(admins+1, " admins"), func(t *testing.T) {
			w, id, others := council(t, admins, 4)
			insider, here := others[3], others[:3]
			w.absent(w.people[alice])
			w.falls("https://a.example")
			began := w.now
			for _, term := range []uint64{1 << 16, 1 << 60} {
				insider.showClaim(id, here, func(c *receipt.SignedClaim) { c.Term = term })
			}
			insider.showClaim(id, here, func(c *receipt.SignedClaim) { c.Term, c.Seq = 1<<40, c.Seq+1 }) // of a place that never comes
			w.quiet()
			w.hours(23, time.Hour, never)
			w.hours(2, time.Minute, handedOver(others...))
			require.Equal(t, admins > 0, handedOver(others...)())
			if admins > 0 {
				return
			}
			w.hours(7*24, time.Hour, func() bool { return w.now.Sub(began) >= week-time.Hour })
			require.False(t, handedOver(here[0])())
			w.hours(3, time.Minute, handedOver(others...))
			require.True(t, handedOver(others...)())
			require.EqualValues(t, 1<<16, w.registerAt(insider.conversation(id).URL, "https://b.example").term, "the first that could be signed")
			requireAgreement(t, id, others...)
		})
	}
}

// showClaim shows others a claim that nobody but its maker has signed.
func (p *person) showClaim(id string, others []*person, change func(*receipt.SignedClaim)) {
	claim := p.claimBy(id)
	change(&claim)
	claim.Signatures = []receipt.ClaimSignature{claim.Sign(p.actor, p.ed25519())}
	claim.SignMember(p.ticketKey(id))
	for _, other := range others {
		other.receive(p.speak(id, func(a map[string]any) {
			a["object"] = map[string]any{"type": "waxwing:HubClaim", "id": "x", "attributedTo": p.actor, "claim": claim.Marshal()}
		}, nil))
	}
}

// TestSplitVotes: an insider shows each of the others another claim of one term, so that none is ever signed by enough. A day later there is one of a
// higher term.
func TestSplitVotes(t *testing.T) {
	w, id, others, limit := orphans(t, 4)
	insider, here := others[3], others[:3]
	w.now = limit
	w.absent(insider)
	for i, p := range here {
		insider.showClaim(id, []*person{p}, func(c *receipt.SignedClaim) { c.Term, c.Time = 1<<40, uint64(i) })
	}
	w.hours(23, 10*time.Minute, handedOver(here...))
	require.False(t, handedOver(here...)())
	w.hours(2, 20*time.Second, handedOver(here...))
	require.True(t, handedOver(here...)())
	requireAgreement(t, id, here...)
}

// TestOvertakenAfterAWeek: the last thing that the hub granted before it died reached nobody but who had asked for it, and they are away. The others go on
// without it, and who comes back later finds the way with a key that they replaced before.
func TestOvertakenAfterAWeek(t *testing.T) {
	w, id, others := council(t, 0, 4)
	b, rest := others[0], others[1:]
	require.NoError(t, b.Resync(id))
	b.work()
	require.Greater(t, b.conversation(id).Epoch, rest[0].conversation(id).Epoch)
	for _, p := range append(slices.Clone(rest), w.people[alice]) {
		p.mail = nil
	}
	w.absent(w.people[alice])
	w.absent(b)
	w.down["https://a.example"] = true
	for _, p := range rest {
		require.NoError(t, p.Sync())
	}
	w.quiet()
	w.hours(7*24+1, 30*time.Minute, handedOver(rest...))
	require.True(t, handedOver(rest...)())
	delete(w.away, b.actor)
	require.NoError(t, b.Sync())
	w.hours(26, 20*time.Minute, handedOver(b))
	w.hours(1, time.Minute, never)
	requireAgreement(t, id, others...)
	b.say(id, "where were you")
	w.quiet()
	require.Contains(t, rest[0].texts(id), "where were you")
}

// TestAdminsLastWord: what the admin did last reached nobody, and is void. They come back all the same, if it has given somebody something; whom it took
// away they do not meet again, whether that one has signed the claim or not.
func TestAdminsLastWord(t *testing.T) {
	last := "https://e.example/users/e"
	for name, c := range map[string]struct {
		word  func(a *person, id string) error
		away  bool
		works bool
	}{
		"made an admin":              {func(a *person, id string) error { return a.SetAdmin(id, last, true) }, false, true},
		"removed who is away":        {func(a *person, id string) error { return a.RemoveMembers(id, []string{last}) }, true, false},
		"removed who signs with all": {func(a *person, id string) error { return a.RemoveMembers(id, []string{last}) }, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			w, id, others := council(t, 0, 4)
			a := w.people[alice]
			require.NoError(t, c.word(a, id))
			a.work()
			require.Greater(t, a.conversation(id).Epoch, others[0].conversation(id).Epoch)
			here := others
			if c.away {
				w.absent(others[3])
				here = others[:3]
			}
			for _, p := range others {
				p.mail = nil
				require.NoError(t, p.Sync())
			}
			w.absent(a)
			w.down["https://a.example"] = true
			w.quiet()
			w.hours(7*24+1, 30*time.Minute, handedOver(here...))
			require.True(t, handedOver(here...)())
			w.returns(a, id)
			if c.works {
				require.Empty(t, a.codes(device.EventConversationPaused), "at once")
				requireAgreement(t, id, append(slices.Clone(others), a)...)
				require.NoError(t, a.SetAdmin(id, last, true))
				w.quiet()
				requireAgreement(t, id, append(slices.Clone(others), a)...)
				return
			}
			w.hours(2, time.Minute, never)
			a.say(id, "not for everybody")
			w.quiet()
			require.NotContains(t, a.conversation(id).Expected, last)
			require.NotContains(t, w.sent["not for everybody"], last)
			require.NotEmpty(t, append(a.codes(device.EventMessageRefused), a.codes(device.EventConversationPaused)...), "the person is told")
		})
	}
}
