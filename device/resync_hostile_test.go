package device_test

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/device"
	"github.com/waxwing-dm/waxwing/internal/receipt"
	"github.com/waxwing-dm/waxwing/mls"
)

// sealFor seals a group info for a leaf of a group as spec/conversation.md has it.
func (w *world) sealFor(g *mls.Group, leaf uint32, ticket, authenticator, info []byte) []byte {
	context := binary.BigEndian.AppendUint64(g.GroupID(), g.Epoch())
	key := make([]byte, 32)
	_, _ = w.random.Read(key)
	kem, ct, err := g.SafeEncrypt(w.random, leaf, 0xF7A1, "waxwing group info", context, key)
	require.NoError(w.t, err)
	out := append(append([]byte{1, 0, 1}, kem...), ct...)
	plain := append(slices.Concat(ticket, authenticator[:8]), binary.BigEndian.AppendUint32(nil, uint32(len(info)))...)
	block, err := aes.NewCipher(key)
	require.NoError(w.t, err)
	aead, err := cipher.NewGCM(block)
	require.NoError(w.t, err)
	return aead.Seal(out, make([]byte, 12), append(plain, info...), context)
}

// later has a person's program try again.
func (w *world) later() {
	w.now = w.now.Add(time.Hour)
	w.wake()
}

// TestSealedGroupsThatAreRefused: what a hub makes of what it was given lets nobody in, and what is right does, afterwards.
func TestSealedGroupsThatAreRefused(t *testing.T) {
	sealed := func(r *register, f func([]byte) []byte) {
		for i := range r.infos {
			r.infos[i].Sealed = f(slices.Clone(r.infos[i].Sealed))
		}
	}
	for name, lie := range map[string]func(r, other *register){
		"nothing":        func(r, _ *register) { r.infos = nil },
		"empty":          func(r, _ *register) { sealed(r, func([]byte) []byte { return nil }) },
		"a changed byte": func(r, _ *register) { sealed(r, func(b []byte) []byte { return flip(b, len(b)-1) }) },
		"a changed key": func(r, _ *register) {
			sealed(r, func(b []byte) []byte { return append(b[:3], append(make([]byte, 320), b[323:]...)...) })
		},
		"a version":       func(r, _ *register) { sealed(r, func(b []byte) []byte { return flip(b, 0) }) },
		"cut off":         func(r, _ *register) { sealed(r, func(b []byte) []byte { return b[:len(b)-16] }) },
		"a MiB":           func(r, _ *register) { sealed(r, func([]byte) []byte { return make([]byte, 1<<20) }) },
		"another group's": func(r, o *register) { r.infos[0].Sealed = o.infos[0].Sealed; r.infos = r.infos[:1] },
		"an older epoch's": func(r, _ *register) {
			r.infos[0].Sealed = r.infos[1].Sealed
			r.infos = r.infos[:1]
		},
		"another seq":   func(r, _ *register) { r.infos = r.infos[:1]; r.infos[0].Seq-- },
		"a seq to come": func(r, _ *register) { r.infos = r.infos[:1]; r.infos[0].Seq++ },
		"another epoch": func(r, _ *register) { r.infos = r.infos[:1]; r.infos[0].Epoch++ },
		"another term":  func(r, _ *register) { r.infos = r.infos[:1]; r.infos[0].Term++ },
		"a thousand": func(r, _ *register) {
			r.infos = slices.Repeat([]device.SealedGroup{{Term: 1, Seq: 1, Epoch: 1, Sealed: []byte{1}}}, 1000)
		},
	} {
		t.Run(name, func(t *testing.T) {
			w, id := talk(t, bob, carol)
			a, b, c := w.people[alice], w.people[bob], w.people[carol]
			second, err := a.StartConversation([]string{bob})
			require.NoError(t, err)
			w.quiet()
			r, other := w.register(a.conversation(id).URL), w.register(a.conversation(second).URL)
			b.deafen(id)
			require.NoError(t, a.SetAdmin(id, carol, true))
			a.work()
			right := slices.Clone(r.infos)
			lie(r, other)
			w.quiet()
			require.Equal(t, device.StatePaused, b.conversation(id).State)
			require.Equal(t, []string{device.CodeCommitInvalid}, b.codes(device.EventConversationPaused))
			w.later()
			w.later()
			require.Equal(t, device.StatePaused, b.conversation(id).State)
			require.Len(t, b.codes(device.EventConversationPaused), 1, "the person is told once")
			require.EqualValues(t, 2, a.conversation(id).Epoch)

			r.infos = right
			w.later()
			requireAgreement(t, id, a, b, c)
			require.Len(t, b.back(), 1)
		})
	}
}

// TestLyingCommitters: a member who is no admin shows nobody a room that is not there, with a true ticket and a good signature (G3).
func TestLyingCommitters(t *testing.T) {
	room := func(g *mls.Group, change func([]byte) []byte) mls.Proposal {
		e := g.Extensions()
		return mls.GroupContextExtensionsProposal([]mls.Extension{{Type: e[0].Type, Data: change(slices.Clone(e[0].Data))}})
	}
	for name, c := range map[string]struct {
		who    string
		passes bool
		lie    func(w *world, g *mls.Group) []mls.Proposal
	}{
		"somebody new": {carol, false, func(w *world, _ *mls.Group) []mls.Proposal {
			return []mls.Proposal{mls.AddProposal(w.enrol(dave).keyPackage(nil))}
		}},
		"somebody new, by an admin": {alice, true, func(w *world, _ *mls.Group) []mls.Proposal {
			return []mls.Proposal{mls.AddProposal(w.enrol(dave).keyPackage(nil))}
		}},
		"somebody who is not in the log, by an admin": {alice, false, func(w *world, _ *mls.Group) []mls.Proposal {
			return []mls.Proposal{mls.AddProposal(w.unlisted(dave).keyPackage(nil))}
		}},
		"another room": {carol, false, func(_ *world, g *mls.Group) []mls.Proposal {
			return []mls.Proposal{room(g, func(b []byte) []byte { return flip(b, len(b)-30) })}
		}},
		"another conversation, by an admin": {alice, false, func(_ *world, g *mls.Group) []mls.Proposal {
			return []mls.Proposal{room(g, func(b []byte) []byte { return flip(b, 20) })}
		}},
		"no room, by an admin": {alice, false, func(_ *world, g *mls.Group) []mls.Proposal {
			return []mls.Proposal{room(g, func([]byte) []byte { return []byte{9} })}
		}},
		"bob is out": {carol, false, func(w *world, g *mls.Group) []mls.Proposal {
			return []mls.Proposal{mls.RemoveProposal(*w.people[bob].leafAt(g))}
		}},
		"the truth": {carol, true, func(*world, *mls.Group) []mls.Proposal { return nil }},
	} {
		t.Run(name, func(t *testing.T) {
			w, id := talk(t, bob, carol)
			b, liar := w.people[bob], w.people[c.who]
			b.deafen(id)
			r := w.register(b.conversation(id).URL)
			g := liar.group(id)
			true_ := g.Clone()
			pending, err := true_.Commit(w.random, mls.CommitParams{AuthenticatedData: liar.fence(id, g, nil), Now: w.now})
			require.NoError(t, err)
			commit := liar.ordered(id, g, pending)
			ticket, err := pending.Export(receipt.TicketLabel, nil, 32)
			require.NoError(t, err)
			lie, err := g.Commit(w.random, mls.CommitParams{Proposals: c.lie(w, g), Now: w.now})
			require.NoError(t, err)
			shown := lie.Next()
			info, err := shown.GroupInfo(true)
			require.NoError(t, err)
			leaf := *b.leafAt(g)
			sealed := w.sealFor(pending.Next(), leaf, ticket, pending.Next().EpochAuthenticator(), info)
			r.infos = []device.SealedGroup{{Term: 1, Seq: uint64(len(r.events)) - 1, Epoch: g.Epoch() + 1, Sealed: sealed}}
			before := len(r.events)
			b.arrives(commit)
			if c.passes {
				require.Greater(t, len(r.events), before, "it came back")
				return
			}
			require.Len(t, r.events, before, "it did not")
			require.Equal(t, device.StatePaused, b.conversation(id).State)
		})
	}
}

// TestMisledReturnIsDoneAgain: an admin shows bob a group that is not there. The others do not follow him into it, and he finds out.
func TestMisledReturnIsDoneAgain(t *testing.T) {
	w, id := talk(t, bob, carol)
	a, b, c := w.people[alice], w.people[bob], w.people[carol]
	w.enrol(dave)
	require.NoError(t, a.SetAdmin(id, carol, true))
	w.quiet()
	r := w.register(b.conversation(id).URL)
	g := c.group(id)
	honest := g.Clone()
	pending, err := honest.Commit(w.random, mls.CommitParams{AuthenticatedData: c.fence(id, g, nil), Now: w.now})
	require.NoError(t, err)
	commit := c.ordered(id, g, pending)
	ticket, err := pending.Export(receipt.TicketLabel, nil, 32)
	require.NoError(t, err)
	lie, err := g.Commit(w.random, mls.CommitParams{Proposals: []mls.Proposal{mls.AddProposal(w.people[dave].keyPackage(nil))}, Now: w.now})
	require.NoError(t, err)
	info, err := lie.Next().GroupInfo(true)
	require.NoError(t, err)
	sealed := w.sealFor(pending.Next(), *b.leafAt(g), ticket, pending.Next().EpochAuthenticator(), info)
	r.infos = []device.SealedGroup{{Term: 1, Seq: uint64(len(r.events)) - 1, Epoch: g.Epoch() + 1, Sealed: sealed}}
	delete(w.people, carol)
	a.arrives(commit)
	b.arrives(commit)
	require.NoError(t, b.Resync(id))
	b.work()
	require.Len(t, b.conversation(id).Members, 4, "bob was misled")
	b.say(id, "is anybody here?")
	w.quiet()
	require.Len(t, a.conversation(id).Members, 3)
	require.NoError(t, a.RemoveMembers(id, []string{carol}))
	w.quiet()
	require.NoError(t, b.Sync())
	w.quiet()
	w.later()
	requireAgreement(t, id, a, b)
	require.Len(t, b.conversation(id).Members, 2)
	require.Len(t, b.back(), 2)
	a.say(id, "here")
	w.quiet()
	require.Equal(t, 1, count(b.texts(id), "here"))
	require.Equal(t, 1, count(a.texts(id), "is anybody here?"))
}

// TestAddedAgainWhileAstray: who has lost the keys of their leaf, too, comes back by an admin's Welcome, and by nobody else's.
func TestAddedAgainWhileAstray(t *testing.T) {
	for name, lose := range map[string]func(b *person, id string){
		"a broken path":   (*person).deafen,
		"a damaged state": (*person).damage,
	} {
		t.Run(name, func(t *testing.T) {
			w, id := talk(t, bob, carol)
			a, b, c := w.people[alice], w.people[bob], w.people[carol]
			b.store.buckets["lifeline"].values[id] = []byte(`{"keys":[],"room":` + string(jsonOf(t, roomOf(a.group(id)))) + `}`)
			lose(b, id)
			require.NoError(t, a.SetAdmin(id, carol, true))
			w.quiet()
			require.Equal(t, device.StatePaused, b.conversation(id).State)
			require.NoError(t, a.RemoveMembers(id, []string{bob}))
			require.NoError(t, a.AddMembers(id, []string{bob}))
			a.say(id, "welcome back")
			w.quiet()
			w.later()
			require.Equal(t, device.StateActive, b.conversation(id).State)
			requireAgreement(t, id, a, b, c)
			require.Equal(t, 1, count(b.texts(id), "welcome back"))
			b.say(id, "thanks")
			w.quiet()
			require.Equal(t, 1, count(c.texts(id), "thanks"))
		})
	}
}

// TestAddedAgainByNoAdmin: while it has lost the thread a device follows no Welcome of somebody who was no admin when it last knew.
func TestAddedAgainByNoAdmin(t *testing.T) {
	w, id := talk(t, bob, carol)
	a, b, c := w.people[alice], w.people[bob], w.people[carol]
	url := a.conversation(id).URL
	b.deafen(id)
	require.NoError(t, a.SetAdmin(id, carol, true))
	a.work()
	w.register(url).infos = nil
	w.quiet()
	packages := w.claim(&device.ClaimJob{Actors: []string{bob}})[bob]
	kp, err := mls.ParseKeyPackage(packages[0].KeyPackage)
	require.NoError(t, err)
	_, welcome := c.forge(id, mls.CommitParams{Proposals: []mls.Proposal{mls.RemoveProposal(*b.leafAt(c.group(id))), mls.AddProposal(kp)}})
	b.arrives(welcome)
	w.later()
	require.Equal(t, device.StatePaused, b.conversation(id).State)
	require.Contains(t, b.codes(device.EventMessageRefused), device.CodeNotAllowed)
}

func roomOf(g *mls.Group) []byte { return g.Extensions()[0].Data }

func jsonOf(t *testing.T, v any) []byte {
	b, err := json.Marshal(v)
	require.NoError(t, err)
	return b
}

// overtake has the first hub die, and the others open a term from what they have. Nobody has to change anything for those to come back who had more.
func (w *world) overtake() {
	w.down["https://a.example"] = true
	for _, actor := range w.actors() {
		require.NoError(w.t, w.people[actor].Sync())
	}
	w.quiet()
	w.now = w.now.Add(24*time.Hour + time.Minute)
	w.wake()
	for range 30 {
		w.now = w.now.Add(time.Minute)
		w.wake()
	}
	for range 4 {
		w.later()
	}
}

// TestOvertakenWhileAstray: who had lost the thread when the others went on from an earlier place sends again, too, what only it could read.
func TestOvertakenWhileAstray(t *testing.T) {
	w, id := talk(t, bob, carol)
	a, b, c := w.people[alice], w.people[bob], w.people[carol]
	require.NoError(t, a.NameHubs(id))
	w.quiet()
	require.NoError(t, b.Resync(id))
	b.work()
	a.mail, c.mail = nil, nil // nobody else has it
	b.say(id, "nobody can read this yet")
	b.work()
	b.damage(id)
	w.overtake()
	w.quiet()
	requireAgreement(t, id, a, b, c)
	for _, p := range []*person{a, b, c} {
		require.Equal(t, []string{"nobody can read this yet"}, p.texts(id), p.actor)
	}
}

// TestOtherBranchComesBack: bob and the old hub have gone on where the others have not followed; they go on under another hub, and he comes back.
func TestOtherBranchComesBack(t *testing.T) {
	w, id := talk(t, bob, carol)
	a, b, c := w.people[alice], w.people[bob], w.people[carol]
	require.NoError(t, a.NameHubs(id))
	w.quiet()
	for range 2 {
		require.NoError(t, b.Resync(id))
		b.work()
		a.mail, c.mail = nil, nil // nobody else has it
	}
	require.EqualValues(t, 4, b.conversation(id).Epoch)
	require.EqualValues(t, 2, a.conversation(id).Epoch)
	b.say(id, "nobody can read this yet")
	b.work()

	w.overtake()
	require.Contains(t, b.codes(device.EventConversationUpdated), device.CodeHubMoved)
	require.Len(t, b.back(), 3)
	require.Contains(t, b.back()[2], "another hub")
	b.say(id, "I am back")
	a.say(id, "welcome")
	w.quiet()
	requireAgreement(t, id, a, b, c)
	require.Contains(t, c.texts(id), "I am back")
	require.Contains(t, b.texts(id), "welcome")
	for _, p := range []*person{a, c} {
		require.Equal(t, 1, count(p.texts(id), "nobody can read this yet"), "it was sent again")
	}
	require.Equal(t, 1, count(b.texts(id), "nobody can read this yet"))
	require.NotContains(t, a.codes(device.EventMessageRefused), device.CodeForkDetected)
}

func count(texts []string, text string) (n int) {
	for _, x := range texts {
		if x == text {
			n++
		}
	}
	return n
}

// TestSentAgainIsShownOnce: who had read a message that comes again is not shown it twice.
func TestSentAgainIsShownOnce(t *testing.T) {
	w, id := talk(t, bob, carol)
	a, b, c := w.people[alice], w.people[bob], w.people[carol]
	for i := range 5 {
		c.say(id, string(rune('0'+i)))
	}
	require.NoError(t, b.Resync(id))
	w.now = w.now.Add(3 * time.Minute) // the hub does not answer it
	_, _, err := b.Wake()
	require.NoError(t, err)
	b.say(id, "sent astray")
	jobs, err := b.Jobs()
	require.NoError(t, err)
	for _, j := range jobs {
		if _, send := j.(*device.SendJob); send {
			require.NoError(t, b.do(j))
		}
	}
	a.read()
	require.Equal(t, 1, count(a.texts(id), "sent astray"), "they are in the same epoch still")
	c.mail = nil
	w.quiet()
	require.Len(t, b.back(), 1)
	requireAgreement(t, id, a, b, c)
	for _, p := range []*person{a, b, c} {
		require.Equal(t, 1, count(p.texts(id), "sent astray"), p.actor)
	}
}

// TestAstrayTextIsNotForNewcomers: bob has gone further with the old hub than the others under the new one, who have let dave in meanwhile. Epochs of the
// two ways do not compare: what bob wrote on his was not for dave.
func TestAstrayTextIsNotForNewcomers(t *testing.T) {
	w, id := talk(t, bob, carol)
	a, b, c := w.people[alice], w.people[bob], w.people[carol]
	d := w.enrol(dave)
	require.NoError(t, a.NameHubs(id))
	w.quiet()
	for range 3 {
		require.NoError(t, b.Resync(id))
		b.work()
		a.mail, c.mail = nil, nil // nobody else has it
	}
	b.say(id, "not for dave")
	b.work()
	a.mail, c.mail = nil, nil
	was := b.conversation(id).Epoch

	w.away = map[string]bool{bob: true}
	w.overtake()
	require.NoError(t, a.AddMembers(id, []string{dave}))
	w.quiet()
	require.Less(t, a.conversation(id).Epoch, was)
	w.away = nil
	w.overtake() // he finds out, too
	for range 30 {
		w.later()
	}
	requireAgreement(t, id, a, b, c, d)
	require.Empty(t, d.texts(id))
	require.Contains(t, b.codes(device.EventMessageState), device.CodeTooLate)
}
