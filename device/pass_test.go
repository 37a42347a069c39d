package device_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/device"
)

// hubDown stops a hub, and has a person notice it.
func (w *world) hubDown(hub string) {
	w.down[hub] = true
	w.quiet()
}

// TestMessagesPassACommitThatTheHubKeeps: the hub is dead, and what is written goes to those who are members.
func TestMessagesPassACommitThatTheHubKeeps(t *testing.T) {
	w, id := talk(t, bob)
	a, b := w.people[alice], w.people[bob]
	w.enrol(carol)
	w.hubDown("https://a.example")
	require.NoError(t, a.AddMembers(id, []string{carol}))
	a.say(id, "for carol, too")
	a.say(id, "and this")
	w.quiet()
	require.Empty(t, b.texts(id), "the hub may be back at once")

	next, _, err := a.Wake()
	require.NoError(t, err)
	require.Equal(t, w.now.Add(2*time.Minute), next)
	w.now = next
	w.wake()
	require.Equal(t, []string{"for carol, too", "and this"}, b.texts(id))
	require.Equal(t, []string{device.CodeHubAway}, a.codes(device.EventContactWaiting), "the person was told once")
	a.restart()
	a.say(id, "at once now")
	w.quiet()
	require.Equal(t, []string{"for carol, too", "and this", "at once now"}, b.texts(id))
	require.Len(t, a.conversation(id).Members, 2)
	require.Equal(t, 1, a.conversation(id).Waiting)
	_, did, err := a.Wake()
	require.NoError(t, err)
	require.False(t, did, "it is not woken in vain")

	w.down["https://a.example"] = false
	w.quiet()
	a.say(id, "with carol")
	w.quiet()
	require.Equal(t, []string{"with carol"}, w.people[carol].texts(id))
	require.Len(t, b.texts(id), 4)
	requireAgreement(t, id, a, b, w.people[carol])
}

// TestMessagesWaitForTheNewMember: a hub that is away for a moment changes nothing.
func TestMessagesWaitForTheNewMember(t *testing.T) {
	w, id := talk(t, bob)
	a := w.people[alice]
	w.enrol(carol)
	w.hubDown("https://a.example")
	require.NoError(t, a.AddMembers(id, []string{carol}))
	a.say(id, "for carol, too")
	w.quiet()
	w.now = w.now.Add(time.Minute)
	w.wake()
	w.down["https://a.example"] = false
	w.quiet()
	require.Equal(t, []string{"for carol, too"}, w.people[carol].texts(id))
	require.Empty(t, a.codes(device.EventContactWaiting))
}

// TestNoMessagePassesARemoval: who is to be removed does not read what was written after that was asked for.
func TestNoMessagePassesARemoval(t *testing.T) {
	w, id := talk(t, bob, carol)
	a := w.people[alice]
	w.hubDown("https://a.example")
	a.say(id, "before")
	require.NoError(t, a.RemoveMembers(id, []string{carol}))
	a.say(id, "without carol")
	w.quiet()
	w.now = w.now.Add(time.Hour)
	w.wake()
	require.Equal(t, []string{"before"}, w.people[bob].texts(id))
	require.Contains(t, a.conversation(id).Reason, device.CodeHubAway, "and the person is told why")
	w.down["https://a.example"] = false
	w.quiet()
	require.Equal(t, []string{"before", "without carol"}, w.people[bob].texts(id))
	require.Equal(t, []string{"before"}, w.people[carol].texts(id))
	require.Empty(t, a.conversation(id).Reason)
}

// TestMessagesDoNotWaitForHousekeeping: a renewal of keys that the hub keeps holds nothing up.
func TestMessagesDoNotWaitForHousekeeping(t *testing.T) {
	w, id := talk(t, bob)
	a := w.people[alice]
	w.down["https://a.example"] = true
	w.now = w.now.Add(8 * 24 * time.Hour)
	_, did, err := a.Wake()
	require.NoError(t, err)
	require.True(t, did)
	require.Equal(t, 1, a.conversation(id).Waiting)
	a.say(id, "hello")
	w.quiet()
	require.Equal(t, []string{"hello"}, w.people[bob].texts(id))
	w.down["https://a.example"] = false
	w.quiet()
	require.Zero(t, a.conversation(id).Waiting)
	requireAgreement(t, id, a, w.people[bob])
}
