package device_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/device"
)

// TestHubIsAwayForAWeek: talk goes on, the hand-over comes within two minutes of the limit, and the old hub's return loses no text.
func TestHubIsAwayForAWeek(t *testing.T) {
	w, id := talk(t, bob, carol)
	a, b, c := w.people[alice], w.people[bob], w.people[carol]
	w.enrol(dave)
	require.NoError(t, a.NameHubs(id))
	w.quiet()
	require.EqualValues(t, 2, b.conversation(id).Epoch, "the fallbacks were named")
	require.NoError(t, a.NameHubs(id))
	w.quiet()
	require.EqualValues(t, 2, b.conversation(id).Epoch, "and are not named again")

	began := w.now
	w.down["https://a.example"] = true
	var want []string
	var moved time.Time
	for hour := range 7 * 24 {
		if hour == 3 {
			require.NoError(t, a.AddMembers(id, []string{dave}))
		}
		for range 30 {
			w.now = w.now.Add(2 * time.Minute)
			for _, p := range []*person{a, b, c} {
				if w.now.Sub(began) < 25*time.Hour {
					require.NoError(t, p.Sync())
				}
			}
			w.wake()
			if moved.IsZero() && len(a.conversation(id).Members) == 4 {
				moved = w.now
			}
			if !moved.IsZero() && w.now.Sub(began) > 25*time.Hour {
				break
			}
		}
		if hour%12 == 0 && hour != 3 {
			text := fmt.Sprintf("hour %d", hour)
			b.say(id, text)
			w.quiet()
			want = append(want, text)
		}
	}
	require.WithinRange(t, moved, began.Add(24*time.Hour), began.Add(24*time.Hour+4*time.Minute))
	require.Contains(t, a.codes(device.EventConversationUpdated), device.CodeHubMoved)

	w.down["https://a.example"] = false
	for _, p := range []*person{a, b, c} {
		require.NoError(t, p.Sync())
	}
	w.quiet()
	b.say(id, "the old one is back")
	w.quiet()
	want = append(want, "the old one is back")
	require.Equal(t, want, c.texts(id))
	require.Equal(t, want, b.texts(id))
	requireAgreement(t, id, a, b, c, w.people[dave])

	// The room names the new hub, and newcomers follow it.
	require.NoError(t, a.NameHubs(id))
	w.quiet()
	require.NoError(t, a.RemoveMembers(id, []string{dave}))
	require.NoError(t, a.AddMembers(id, []string{dave}))
	w.quiet()
	requireAgreement(t, id, a, b, c, w.people[dave])
}
