package localapi

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/agent/client"
	"github.com/waxwing-dm/waxwing/device"
)

// TestTroublesSayWhatToDo: each says what has happened and what will by itself; what a person can do is said where there is something.
func TestTroublesSayWhatToDo(t *testing.T) {
	since := time.Date(2026, 11, 21, 14, 5, 0, 0, time.Local)
	type want struct{ code, sentence, next, help string }
	for name, c := range map[string]struct {
		in   device.Conversation
		want []want
	}{
		"well": {device.Conversation{State: device.StateActive}, nil},
		"left": {device.Conversation{State: device.StateLeft, Reason: "removed", Unreadable: 3}, nil},
		"leaving": {device.Conversation{State: device.StateLeaving},
			[]want{{"leaving", "asked to leave", "another member lets you go", ""}}},
		"hub away, with others to take over": {
			device.Conversation{State: device.StateActive, Hub: "https://b.example", Hubless: &device.Hubless{Since: since, GivenUp: since.Add(24 * time.Hour)}},
			[]want{{"hub_away", "b.example, which keeps the order of changes here, has not answered since 14:05 on Saturday, 21 November.",
				"If it is still away at 14:05 on Sunday, 22 November, the members' programs agree on another instance.", ""}}},
		"hub away for good": {
			device.Conversation{State: device.StateActive, Hub: "https://b.example", Hubless: &device.Hubless{Since: since}},
			[]want{{"hub_away", "has not answered", "No other instance can take its place.", "begin a new conversation"}}},
		"hub moving": {
			device.Conversation{State: device.StateActive, Hub: "https://c.example", Hubless: &device.Hubless{Moving: true}},
			[]want{{"hub_moving", "c.example has not begun", "asked again and again", ""}}},
		"paused": {
			device.Conversation{ID: "0123456789abcdef", State: device.StatePaused, Reason: "not_in_log: @x's device is not in the log."},
			[]want{{"not_in_log", "cannot be added or removed for now: @x's device is not in the log.", "Messages go on", "waxwing resync 01234567"}}},
		"lost the thread": {
			device.Conversation{State: device.StatePaused, Reason: device.CodeStateLost + ": what this device had stored is damaged"},
			[]want{{"state_lost", "lost the thread", "coming back by itself", ""}}},
		"come apart": {
			device.Conversation{State: device.StatePaused, Plain: true, Reason: "fork_detected: two ways"},
			[]want{{"fork_detected", "has come apart", "waits until it was begun anew", ""}}},
		"keys reset": {
			device.Conversation{State: device.StateActive, Reason: "keys_reset: nothing is sent before you accept the new keys of X"},
			[]want{{"keys_reset", "the new keys of X", "kept on this device", "contact accept"}}},
		"kept by the hub": {
			device.Conversation{State: device.StateActive, Hub: "https://b.example", Reason: "hub_away: what you write waits", Hubless: &device.Hubless{Since: since}},
			[]want{{"hub_away", "what you write waits", "as soon as", "another conversation"}, {"hub_away", "b.example", "", ""}}},
		"unreadable": {device.Conversation{State: device.StateActive, Unreadable: 1}, []want{{"cannot_decrypt", "A message that", "asked to send it again", "ask the others"}}},
		"several":    {device.Conversation{State: device.StateActive, Unreadable: 2}, []want{{"cannot_decrypt", "2 messages", "", ""}}},
	} {
		got := troublesOf(c.in, since.Add(2*time.Hour))
		require.Len(t, got, len(c.want), name)
		for i, w := range c.want {
			require.Equal(t, w.code, got[i].Code, name)
			require.Contains(t, got[i].Sentence, w.sentence, name)
			require.Contains(t, got[i].Next, w.next, name)
			require.Contains(t, got[i].Help, w.help, name)
			require.NotEmpty(t, got[i].Next, name)
		}
	}
	soon := troublesOf(device.Conversation{State: device.StateActive, Hubless: &device.Hubless{Since: since}}, since.Add(time.Minute))
	require.Empty(t, soon[0].Help, "nobody has to do anything yet")
	for state, help := range map[string]string{"removed": "--reset", "login_required": "waxwing login @a@a.example"} {
		list := accountTroubles(client.Account{Handle: "@a@a.example", Instance: "https://a.example", State: state}, since, 0)
		require.Len(t, list, 1)
		require.Contains(t, list[0].Help, help)
		require.NotEmpty(t, list[0].Next)
	}
	list := accountTroubles(client.Account{Instance: "https://a.example", State: "ready"}, since, 0)
	require.Equal(t, "instance_unreachable", list[0].Code)
	require.Contains(t, list[0].Sentence, "a.example")
	require.Empty(t, accountTroubles(client.Account{State: "ready"}, time.Time{}, 5))
}
