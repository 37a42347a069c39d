package device_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/device"
	"github.com/waxwing-dm/waxwing/transparency"
	"github.com/waxwing-dm/waxwing/transparency/sequencer"
)

// replaces is a new device of an actor, on a new home, in place of the one that is lost.
func (w *world) replaces(actor string) *person {
	lost := w.people[actor]
	p := w.unlisted(actor)
	require.NoError(w.t, p.lookUp(actor))
	_, err := p.DeviceList()
	require.ErrorIs(w.t, err, device.ErrOtherDevices)
	reset, err := p.ResetList()
	require.NoError(w.t, err)
	again, err := p.ResetList()
	require.NoError(w.t, err)
	require.Equal(w.t, reset, again)
	require.NoError(w.t, w.publish(actor, reset))
	require.NoError(w.t, p.lookUp(actor))
	w.packages[actor] = nil
	require.NoError(w.t, p.TopUp(0))
	p.work()
	lost.mail = nil
	return p
}

// answer is what the log has of an actor.
func (w *world) answer(actor string, from int64) []byte {
	a, err := w.instance(actor).log.Answer(context.Background(), actor, from)
	require.NoError(w.t, err)
	return a.Marshal()
}

func (p *person) revocation() device.Publication {
	require.NoError(p.w.t, p.lookUp(p.actor))
	r, err := p.Revocation(p.w.answer(p.actor, 0))
	require.NoError(p.w.t, err)
	return r
}

func TestResetTellsTheOldDevice(t *testing.T) {
	w, id := talk(t, bob)
	old := w.people[bob]
	fresh := w.replaces(bob)
	require.Empty(t, fresh.codes(device.EventDeviceRemoved))
	account, _, err := fresh.Account()
	require.NoError(t, err)
	require.Empty(t, account.Removed)

	require.NoError(t, old.lookUp(bob))
	require.NoError(t, old.lookUp(bob))
	require.Equal(t, []string{"list_reset"}, old.codes(device.EventDeviceRemoved), "once")
	account, _, err = old.Account()
	require.NoError(t, err)
	require.Equal(t, "list_reset", account.Removed)
	require.False(t, account.RevokedItself())
	_, err = old.Send(id, "hello", nil, "")
	require.ErrorIs(t, err, device.ErrDeviceRemoved)
	_, err = old.StartConversation([]string{alice})
	require.ErrorIs(t, err, device.ErrDeviceRemoved)
	_, err = old.Messages(id, 0, 10)
	require.NoError(t, err, "what it has can be read")
	_, err = old.Revocation(w.answer(bob, 0))
	require.ErrorIs(t, err, device.ErrDeviceRemoved)
}

func TestRevocationIsTheSameWhenAskedAgain(t *testing.T) {
	w := newWorld(t, 41)
	p := w.enrol(alice)
	first := p.revocation()
	p.restart()
	require.Equal(t, first, p.revocation())
	w.now = w.now.Add(time.Hour) // the log would refuse it for its time (L7)
	later := p.revocation()
	require.NotEqual(t, first, later)
	require.Error(t, w.publish(alice, first))
	require.NoError(t, w.publish(alice, later))
	_, err := p.Revocation(w.answer(alice, 0))
	require.ErrorContains(t, err, "learned last")
	require.NoError(t, p.lookUp(alice))
	require.Equal(t, []string{"device_revoked"}, p.codes(device.EventDeviceRemoved))
	account, _, err := p.Account()
	require.NoError(t, err)
	require.True(t, account.RevokedItself())
}

// TestBackAfterAnErase: an account that was erased and made anew begins with a reset, without being asked for one.
func TestBackAfterAnErase(t *testing.T) {
	w := newWorld(t, 42)
	old := w.enrol(alice)
	log := w.instance(alice).log
	require.NoError(t, log.Erase(context.Background(), alice))
	require.NoError(t, old.AccountErased())
	require.NoError(t, old.AccountErased())
	require.Equal(t, []string{"list_erased"}, old.codes(device.EventDeviceRemoved))
	for _, p := range []*person{w.unlisted(alice), old} { // a new home first, and then the old one in its place
		_, size, err := p.LogOf(alice)
		require.NoError(t, err)
		answer, err := log.AnswerOwner(context.Background(), alice, size)
		require.NoError(t, err)
		_, err = p.Learn(alice, answer.Marshal())
		require.NoError(t, err)
		list, err := p.DeviceList()
		require.NoError(t, err)
		s, err := transparency.ParseStatement(list.Statement)
		require.NoError(t, err)
		require.Equal(t, transparency.KindReset, s.Kind)
		require.NoError(t, w.publish(alice, list))
		require.NoError(t, p.lookUp(alice))
		account, _, err := p.Account()
		require.NoError(t, err)
		require.Empty(t, account.Removed)
		require.NoError(t, log.Erase(context.Background(), alice))
	}
	_, err := log.Answer(context.Background(), alice, 0)
	require.ErrorIs(t, err, sequencer.ErrErased)
}

// members are the actors of a conversation as somebody sees it.
func (p *person) members(id string) (actors []string) {
	c, err := p.Conversation(id)
	require.NoError(p.w.t, err)
	for _, m := range c.Members {
		actors = append(actors, m.Actor)
	}
	return actors
}

// TestUnlistedDeviceIsRemoved: an admin who learns that bob has revoked his device takes it out before anything that waits is encrypted.
func TestUnlistedDeviceIsRemoved(t *testing.T) {
	w, id := talk(t, bob, carol)
	a, b := w.people[alice], w.people[bob]
	require.NoError(t, w.publish(bob, b.revocation()))
	_, err := a.Send(id, "before anybody knew", nil, "")
	require.NoError(t, err)
	w.quiet()
	require.Contains(t, w.sent["before anybody knew"], bob)

	require.NoError(t, a.lookUp(bob))
	_, err = a.Send(id, "without him", nil, "")
	require.NoError(t, err)
	a.restart()
	w.quiet()
	require.Equal(t, []string{carol}, w.sent["without him"])
	for _, p := range []*person{a, w.people[carol]} {
		require.Equal(t, []string{alice, carol}, p.members(id))
	}
	c, err := b.Conversation(id)
	require.NoError(t, err)
	require.Equal(t, device.StateLeft, c.State)
	require.NoError(t, a.lookUp(bob))
	jobs, err := a.Jobs()
	require.NoError(t, err)
	require.Empty(t, jobs, "there is nothing left to do")
}

// TestUnlistedDeviceBeforeWhatWaits: a message that waits for its turn is not encrypted for a device that was taken off meanwhile.
func TestUnlistedDeviceBeforeWhatWaits(t *testing.T) {
	w, id := talk(t, bob, carol)
	a := w.people[alice]
	require.NoError(t, w.publish(bob, w.people[bob].revocation()))
	w.enrol(dave)
	require.NoError(t, a.AddMembers(id, []string{dave})) // its commit, or its lookup, is under way
	_, err := a.Send(id, "for three", nil, "")
	require.NoError(t, err)
	require.NoError(t, a.lookUp(bob))
	w.quiet()
	require.ElementsMatch(t, []string{carol, dave}, w.sent["for three"])
	require.ElementsMatch(t, []string{alice, carol, dave}, a.members(id))
}

// TestUnlistedDeviceIsShown: who is no admin cannot remove it, and says so once.
func TestUnlistedDeviceIsShown(t *testing.T) {
	w, id := talk(t, bob, carol)
	c := w.people[carol]
	require.NoError(t, w.publish(bob, w.people[bob].revocation()))
	require.NoError(t, c.lookUp(bob))
	require.NoError(t, c.lookUp(bob))
	require.Equal(t, []string{device.CodeNotInLog}, c.codes(device.EventMemberUnlisted))
	seen, err := c.Conversation(id)
	require.NoError(t, err)
	for _, m := range seen.Members {
		if m.Actor == bob {
			require.Equal(t, m.Devices, m.Unlisted)
		} else {
			require.Empty(t, m.Unlisted)
		}
	}
	require.Contains(t, c.members(id), bob)
	w.quiet()
	require.NotContains(t, c.members(id), bob, "the admin's program was told to look")
}

// TestTwoAdminsRemoveOneDevice: whoever is second finds nothing left to do.
func TestTwoAdminsRemoveOneDevice(t *testing.T) {
	w, id := talk(t, bob, carol)
	require.NoError(t, w.people[alice].SetAdmin(id, carol, true))
	w.quiet()
	require.NoError(t, w.publish(bob, w.people[bob].revocation()))
	require.NoError(t, w.people[alice].lookUp(bob))
	require.NoError(t, w.people[carol].lookUp(bob))
	w.quiet()
	for _, actor := range []string{alice, carol} {
		require.Equal(t, []string{alice, carol}, w.people[actor].members(id))
		require.Empty(t, w.people[actor].codes(device.EventMemberFailed))
	}
}
