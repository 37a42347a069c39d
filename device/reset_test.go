package device_test

import (
	"crypto/ed25519"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/device"
	"github.com/waxwing-dm/waxwing/keydir"
	"github.com/waxwing-dm/waxwing/mls"
	"github.com/waxwing-dm/waxwing/transparency"
)

// reset replaces bob's keys by those of a new device under an account key that nobody promised, and lets p find out.
func (w *world) reset(t *testing.T, p *person) {
	t.Helper()
	known, err := keydir.ParseRecord(mustContact(t, p, bob))
	require.NoError(t, err)
	other := newWorld(t, 99).unlisted(bob)
	account := ed25519.NewKeyFromSeed(make([]byte, 32))
	reset := keydir.Change{
		Kind: transparency.KindReset, Label: known.Statement.Label, Opening: [32]byte{1},
		List: keydir.DeviceList{Actor: bob, Devices: []keydir.Device{{SignatureKey: [32]byte(other.key), Added: 1}}},
	}
	statement, content := reset.Sign(&known.Statement, account, uint64(w.now.UnixMilli()))
	require.NoError(t, w.publish(bob, device.Publication{Statement: statement.Marshal(), Opening: reset.Opening[:], Content: content}))
	require.NoError(t, p.lookUp(bob))
}

func TestResetIsTold(t *testing.T) {
	w, id := talk(t, bob)
	a := w.people[alice]
	w.now = w.now.Add(25 * time.Hour)
	w.reset(t, a)
	require.Len(t, a.codes(device.EventContactReset), 1)
	c, _, err := a.Contact(bob)
	require.NoError(t, err)
	require.Equal(t, 1, c.Resets)
	require.True(t, c.Changed)
	require.Equal(t, w.now, c.Belief.First, "what was known before vouches for nothing")

	// His old device is not in the list any more. What it commits stops nobody.
	commit, _ := w.people[bob].forge(id, mls.CommitParams{ForcePath: true})
	a.arrives(commit)
	require.Empty(t, a.codes(device.EventConversationPaused))
	require.Equal(t, []string{alice}, a.members(id))
}

// TestNothingIsSentAfterAReset: not to the old keys, and not to the new ones, before the person has said so. Then what waited is for the
// new device, in the conversation that it was written in.
func TestNothingIsSentAfterAReset(t *testing.T) {
	w, id := talk(t, bob)
	a, old := w.people[alice], w.people[bob]
	w.enrol(carol)
	other, err := a.StartConversation([]string{carol})
	require.NoError(t, err)
	w.quiet()
	require.NoError(t, a.AddMembers(id, []string{carol}))
	a.say(id, "written before")
	fresh := w.replaces(bob)
	require.NoError(t, a.lookUp(bob))
	w.quiet()
	require.Equal(t, device.MessageQueued, mustMessages(t, a, id)[0].State)
	require.Len(t, a.conversation(id).Members, 1, "the old device is out, and carol's turn has not come")
	require.Contains(t, a.conversation(id).Reason, "keys_reset: nothing is sent before you accept the new keys of "+bob)

	var reset *device.KeysResetError
	_, err = a.Send(id, "written after", nil, "")
	require.ErrorAs(t, err, &reset)
	require.Equal(t, []string{bob}, reset.Actors)
	_, err = a.SendTo([]string{bob}, "written after", nil, "")
	require.ErrorAs(t, err, &reset)
	_, err = a.StartConversation([]string{bob, carol})
	require.ErrorAs(t, err, &reset)
	require.ErrorAs(t, a.AddMembers(other, []string{bob}), &reset)
	a.say(other, "carol's keys are what they were")
	require.NoError(t, a.RemoveMembers(other, []string{carol}), "to remove somebody asks for nothing")

	require.NoError(t, a.AcceptKeys(carol, 0), "nothing to accept")
	require.Equal(t, device.MessageQueued, mustMessages(t, a, id)[0].State)
	a.restart()
	require.ErrorAs(t, a.AcceptKeys(bob, 0), &reset, "another reset than the person has seen")
	require.NoError(t, a.AcceptKeys(bob, 1))
	require.NoError(t, a.AcceptKeys(bob, 1))
	c, _, err := a.Contact(bob)
	require.NoError(t, err)
	require.False(t, c.Changed)
	require.Equal(t, 1, c.Resets)
	w.quiet()
	require.Equal(t, device.MessageSent, mustMessages(t, a, id)[0].State)
	require.Equal(t, []string{"written before"}, fresh.texts(id))
	require.Equal(t, []string{"written before"}, w.people[carol].texts(id))
	require.Empty(t, old.texts(id))
}

// TestMessagesAfterAResetAreMarked: in a conversation where this person is no admin, who was reset reads and writes until an admin has
// done something about it.
func TestMessagesAfterAResetAreMarked(t *testing.T) {
	w, id := talk(t, bob, carol)
	c, b := w.people[carol], w.people[bob]
	w.reset(t, c)
	b.say(id, "it is me")
	b.work()
	c.read()
	got := mustMessages(t, c, id)
	require.Equal(t, "it is me", got[len(got)-1].Text)
	require.True(t, got[len(got)-1].KeysReset)
	require.NoError(t, c.AcceptKeys(bob, 1))
	b.say(id, "me again")
	b.work()
	c.read()
	got = mustMessages(t, c, id)
	require.Equal(t, "me again", got[len(got)-1].Text)
	require.False(t, got[len(got)-1].KeysReset)
}

// TestResetWaitsForAnAdding: somebody who is about to be added is held back, too.
func TestResetWaitsForAnAdding(t *testing.T) {
	w, id := talk(t, carol)
	a := w.people[alice]
	w.enrol(bob)
	require.NoError(t, a.lookUp(bob))
	require.NoError(t, a.AddMembers(id, []string{bob}))
	w.reset(t, a)
	w.quiet()
	require.Len(t, a.conversation(id).Members, 2)
	require.Empty(t, a.codes(device.EventMemberFailed))
	require.NoError(t, a.AcceptKeys(bob, 1))
	w.quiet()
	require.Equal(t, []string{device.CodeNotInLog}, a.codes(device.EventMemberFailed), "the packages there are of the old device")
}
