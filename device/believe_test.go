package device_test

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"

	"github.com/waxwing-dm/waxwing/device"
	"github.com/waxwing-dm/waxwing/mls"
	"github.com/waxwing-dm/waxwing/transparency"
)

// cosigners of three domains, and a policy that wants two of them.
func cosigners(t *testing.T, names ...string) (all []*transparency.Cosigner, policy []byte) {
	t.Helper()
	members := ""
	for i, name := range names {
		c, err := transparency.NewEd25519Cosigner(name, ed25519.NewKeyFromSeed(append(make([]byte, 31), byte(i+1))))
		require.NoError(t, err)
		all = append(all, c)
		policy = fmt.Appendf(policy, "witness w%d %s\n", i, c.Key())
		members += fmt.Sprintf(" w%d", i)
	}
	return all, fmt.Appendf(policy, "group g 2%s\nquorum g\n", members)
}

// witnessed is the directory's answer about an actor with cosignatures.
func (p *person) witnessed(t *testing.T, actor string, by ...note.Signer) []byte {
	t.Helper()
	in := p.w.instance(actor)
	_, size, err := p.LogOf(actor)
	require.NoError(t, err)
	answer, err := in.log.Answer(context.Background(), actor, size)
	require.NoError(t, err)
	key, err := note.NewVerifier(in.logKey)
	require.NoError(t, err)
	n, err := note.Open(answer.Checkpoint, note.VerifierList(key))
	require.NoError(t, err)
	answer.Checkpoint, err = note.Sign(n, by...)
	require.NoError(t, err)
	return answer.Marshal()
}

// learns takes an answer that is good enough.
func (p *person) learns(t *testing.T, actor string, by ...note.Signer) {
	t.Helper()
	_, err := p.Learn(actor, p.witnessed(t, actor, by...))
	require.NoError(t, err)
}

func TestWhyAContactIsBelieved(t *testing.T) {
	w := newWorld(t, 21)
	a := w.enrol(alice)
	w.enrol(bob)
	in := w.instance(bob)
	origin, _ := originOf(bob)
	require.NoError(t, in.pin(a, origin))
	pinned := w.now
	c, policy := cosigners(t, "w.example/waxwing/witness", "x.example/waxwing/auditor", "a.example/waxwing/witness")
	require.False(t, a.AsksWitnesses())
	require.Error(t, a.AskWitnesses([]byte("quorum nobody\n")))
	require.False(t, a.AsksWitnesses())
	require.NoError(t, a.AskWitnesses(policy))
	require.True(t, a.AsksWitnesses())
	w.now = w.now.Add(time.Hour)
	at := w.now.Unix()

	var unseen *device.NotWitnessedError
	for name, by := range map[string][]note.Signer{
		"nobody": nil, "one": {c[0].At(at)}, "one, and the own instance's": {c[0].At(at), c[2].At(at)}, "too long ago": {c[0].At(at), c[1].At(at - 25*3600)},
	} {
		_, err := a.Learn(bob, a.witnessed(t, bob, by...))
		require.ErrorAs(t, err, &unseen, name)
		require.Equal(t, bob, unseen.Actor)
		require.Contains(t, unseen.Reason, "the witnesses do not vouch for the log of b.example now: ", name)
		_, asked, err := a.Contact(bob)
		require.NoError(t, err)
		require.False(t, asked, "nothing of it is remembered: %s", name)
	}
	a.learns(t, bob, c[0].At(at), c[1].At(at-60), c[2].At(at))
	got, _, err := a.Contact(bob)
	require.NoError(t, err)
	asOf := time.Unix(at-60, 0).UTC()
	require.Equal(t, &device.Belief{
		Log: in.log.Origin(), Size: 2, Asked: true, AsOf: asOf, Auditor: true, Checked: w.now, First: w.now, Pinned: pinned, Unchanged: pinned,
		Witnesses: []device.Witness{
			{Name: "w0", Domain: "w.example", Time: time.Unix(at, 0).UTC(), Counts: true},
			{Name: "w1", Domain: "x.example", Time: asOf, Counts: true, Auditor: true},
			{Name: "w2", Domain: "a.example", Time: time.Unix(at, 0).UTC()},
		},
	}, got.Belief)
	w.now = w.now.Add(6 * time.Hour)
	got, _, err = a.Contact(bob)
	require.NoError(t, err)
	require.True(t, got.Belief.Stale, "six hours and a minute, as far as the witnesses say")
}

// door is alice in a conversation with bob, and a commit of his that she has not seen: it adds carol, whom she knows. It makes epoch 3.
func door(t *testing.T) (w *world, a *person, id string, commit device.Incoming) {
	w, id = talk(t, bob)
	a = w.people[alice]
	require.NoError(t, a.SetAdmin(id, bob, true))
	w.quiet()
	c := w.enrol(carol)
	require.NoError(t, a.lookUp(carol))
	commit, _ = w.people[bob].forge(id, mls.CommitParams{Proposals: []mls.Proposal{mls.AddProposal(c.keyPackage(nil))}})
	return w, a, id, commit
}

func (p *person) lookups(t *testing.T) (list []*device.LookupJob) {
	t.Helper()
	jobs, err := p.Jobs()
	require.NoError(t, err)
	for _, j := range jobs {
		if l, ok := j.(*device.LookupJob); ok {
			list = append(list, l)
		}
	}
	return list
}

func TestProofOfThisMorningIsRenewedInTheBackground(t *testing.T) {
	w, a, id, commit := door(t)
	w.now = w.now.Add(6 * time.Hour)
	require.NoError(t, a.Sync())
	require.Empty(t, a.lookups(t))
	w.now = w.now.Add(time.Second)
	a.receive(commit)
	require.EqualValues(t, 3, a.conversation(id).Epoch, "nothing waits for it")
	require.Len(t, a.lookups(t), 1)
	require.Equal(t, []string{carol}, a.lookups(t)[0].Actors)
	require.Empty(t, a.lookups(t)[0].For)
	require.NoError(t, a.Sync())
	require.Len(t, a.lookups(t), 1)
	a.work()
	c, _, err := a.Contact(carol)
	require.NoError(t, err)
	require.Equal(t, w.now, c.Checked)
	require.NoError(t, a.Sync())
	require.Equal(t, []string{alice, bob}, a.lookups(t)[0].Actors, "whoever is a member, oneself too")
	a.work()
	require.NoError(t, a.Sync())
	require.Empty(t, a.lookups(t))
}

// TestAProofIsAsOldAsItsWitnesses: what counts at a door is as of when the witnesses vouch for it, and not when it was fetched.
func TestAProofIsAsOldAsItsWitnesses(t *testing.T) {
	w, a, id, commit := door(t)
	c, policy := cosigners(t, "w.example/w", "x.example/w")
	require.NoError(t, a.AskWitnesses(policy))
	w.now = w.now.Add(30 * time.Hour)
	at := w.now.Add(-23 * time.Hour).Unix()
	a.learns(t, carol, c[0].At(at), c[1].At(at))
	w.now = w.now.Add(2 * time.Hour)
	a.receive(commit)
	require.EqualValues(t, 2, a.conversation(id).Epoch)
	jobs := a.lookups(t)
	require.Len(t, jobs, 1)
	require.Equal(t, id, jobs[0].For)
	at = w.now.Unix()
	a.learns(t, carol, c[0].At(at), c[1].At(at))
	require.NoError(t, a.LookedUp(jobs[0].ID()))
	require.EqualValues(t, 3, a.conversation(id).Epoch)
}

// TestWhatNobodyWitnessedIsNotEnoughForAPolicy: keys that were proven before witnesses were asked for are proven again.
func TestWhatNobodyWitnessedIsNotEnoughForAPolicy(t *testing.T) {
	_, a, id, commit := door(t)
	_, policy := cosigners(t, "w.example/w", "x.example/w")
	require.NoError(t, a.AskWitnesses(policy))
	a.receive(commit)
	require.EqualValues(t, 2, a.conversation(id).Epoch)
	require.Len(t, a.lookups(t), 1)
}

// TestNewMembersWaitForWitnesses, and are let in as soon as the log is witnessed again. The person is told once why.
func TestNewMembersWaitForWitnesses(t *testing.T) {
	w, id := talk(t, bob)
	a := w.people[alice]
	w.enrol(carol)
	origin, _ := originOf(carol)
	require.NoError(t, w.instance(carol).pin(a, origin))
	c, policy := cosigners(t, "w.example/w", "x.example/w")
	require.NoError(t, a.AskWitnesses(policy))
	require.NoError(t, a.AddMembers(id, []string{carol}))
	job := a.lookups(t)[0]
	for range 3 {
		_, err := a.Learn(carol, a.witnessed(t, carol))
		var unseen *device.NotWitnessedError
		require.ErrorAs(t, err, &unseen)
		require.NoError(t, a.NotWitnessed(job.ID(), unseen))
	}
	require.Len(t, a.lookups(t), 1, "it is tried again")
	require.Equal(t, []string{device.CodeNotWitnessed}, a.codes(device.EventContactWaiting))
	require.Empty(t, a.codes(device.EventMemberFailed))
	require.Equal(t, 1, a.conversation(id).Waiting)
	require.Contains(t, a.conversation(id).Reason, "not_witnessed: the witnesses do not vouch for the log of c.example now: ")

	at := w.now.Unix()
	a.learns(t, carol, c[0].At(at), c[1].At(at))
	require.NoError(t, a.LookedUp(job.ID()))
	require.NoError(t, a.NotWitnessed(job.ID(), &device.NotWitnessedError{Actor: carol}), "a job that is over")
	w.quiet()
	require.Empty(t, a.conversation(id).Reason)
	requireAgreement(t, id, a, w.people[bob], w.people[carol])
}

// TestTalkGoesOnWithoutWitnesses: a log that hides from the witnesses does not hold up the commits of those who are members.
func TestTalkGoesOnWithoutWitnesses(t *testing.T) {
	w, id := talk(t, bob)
	a := w.people[alice]
	commit, _ := w.people[bob].forge(id, mls.CommitParams{ForcePath: true})
	_, policy := cosigners(t, "w.example/w", "x.example/w")
	require.NoError(t, a.AskWitnesses(policy))
	w.now = w.now.Add(25 * time.Hour)
	a.receive(commit)
	require.EqualValues(t, 2, a.conversation(id).Epoch, "an update lets in nobody")
	require.Len(t, a.lookups(t), 1, "and the log is asked")
	require.NoError(t, a.NotWitnessed(a.lookups(t)[0].ID(), &device.NotWitnessedError{Actor: bob, Reason: "nobody vouches for it"}))
	require.Len(t, a.lookups(t), 1, "on and on")
}

// TestAnothersAddWaitsForWitnesses: the log of somebody new is not believed unwitnessed because a member adds them, and not refused either.
func TestAnothersAddWaitsForWitnesses(t *testing.T) {
	w, id := talk(t, bob)
	a := w.people[alice]
	require.NoError(t, a.SetAdmin(id, bob, true))
	w.quiet()
	origin, _ := originOf(dave)
	require.NoError(t, w.instance(dave).pin(a, origin))
	c, policy := cosigners(t, "w.example/w", "x.example/w")
	require.NoError(t, a.AskWitnesses(policy))
	add, _ := w.people[bob].forge(id, mls.CommitParams{Proposals: []mls.Proposal{mls.AddProposal(w.enrol(dave).keyPackage(nil))}})
	before := a.conversation(id).Epoch
	a.receive(add)
	for _, actor := range []string{bob, dave} {
		require.NoError(t, a.NotWitnessed(a.lookups(t)[0].ID(), &device.NotWitnessedError{Actor: actor, Reason: "nobody vouches for it"}))
		require.Equal(t, before, a.conversation(id).Epoch)
		require.Equal(t, device.StateActive, a.conversation(id).State)
	}
	at := w.now.Unix()
	a.learns(t, dave, c[0].At(at), c[1].At(at))
	a.learns(t, bob, c[0].At(at), c[1].At(at))
	require.NoError(t, a.LookedUp(a.lookups(t)[0].ID()))
	require.Equal(t, before+1, a.conversation(id).Epoch)
}
