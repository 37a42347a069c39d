package localapi

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/agent/client"
	"github.com/waxwing-dm/waxwing/device"
)

// TestBelievedSaysWhatIsMissing: the sentence that people read says no more than what there is.
func TestBelievedSaysWhatIsMissing(t *testing.T) {
	now := time.Date(2026, 11, 21, 12, 0, 0, 0, time.Local)
	w1 := device.Witness{Name: "w1", Domain: "w.example", Time: now.Add(-12 * time.Minute), Counts: true}
	w2 := device.Witness{Name: "w2", Domain: "x.example", Time: now.Add(-12 * time.Minute), Counts: true}
	audit := device.Witness{Name: "w3", Domain: "y.example", Time: now.Add(-12 * time.Minute), Counts: true, Auditor: true}
	own := device.Witness{Name: "mine", Domain: "a.example", Time: now.Add(-12 * time.Minute)}
	const (
		keys  = "@bob@b.example: 2 devices, unchanged since 3 November 2026. The log of b.example (12 entries) proved 2 minutes ago that this list is the newest. "
		met   = " The key of that log came from b.example itself on 2 November 2026, over TLS. First met on 2 November 2026; no reset since."
		alone = ": b.example could be showing you another log than it shows others."
	)
	for name, c := range map[string]struct {
		change func(*device.Contact)
		want   string
	}{
		"all there is": {func(*device.Contact) {}, keys + "As of 12 minutes ago it was seen by w1 (w.example) and w2 (x.example) and audited by w3 (y.example)." + met},
		"only an auditor": {func(c *device.Contact) { c.Belief.Witnesses = []device.Witness{audit} },
			keys + "As of 12 minutes ago it was audited by w3 (y.example)." + met},
		"no auditor": {func(c *device.Contact) { c.Belief.Witnesses = []device.Witness{w1, own} },
			keys + "As of 12 minutes ago it was seen by w1 (w.example). No auditor vouches that everything in that log was signed as promised. " +
				"Not counted, being of that instance or yours: mine (a.example)." + met},
		"no policy":      {func(c *device.Contact) { c.Belief.Asked, c.Belief.AsOf = false, time.Time{} }, keys + "No witness is asked for" + alone + met},
		"a policy since": {func(c *device.Contact) { c.Belief.AsOf = time.Time{} }, keys + "The witnesses you ask for were not asked then" + alone + met},
		"a reset": {func(c *device.Contact) { c.Resets, c.Changed, c.Belief.Witnesses = 2, true, []device.Witness{audit} },
			keys + "As of 12 minutes ago it was audited by w3 (y.example). The key of that log came from b.example itself on 2 November 2026, over TLS. " +
				"Their keys were replaced 2 times without the old ones vouching for it, last seen on 2 November 2026. " +
				"You have not accepted that: nothing is sent to them."},
		"all that an older store has": {func(c *device.Contact) {
			c.Devices, c.Belief = c.Devices[:1], &device.Belief{Checked: now.Add(-50 * time.Hour), Stale: true}
		},
			"@bob@b.example: 1 device. It was proven 2 days ago. No witness is asked for" + alone + " That is long ago; a newer proof is asked for. No reset was seen."},
		"denied since": {func(c *device.Contact) { *c.Belief = device.Belief{Asked: true} },
			"@bob@b.example: 2 devices. The newest lookup proved nothing about them; this is what an earlier one did. " +
				"The witnesses you ask for were not asked then" + alone + " No reset was seen."},
	} {
		contact := device.Contact{Actor: "https://b.example/users/bob", State: device.ContactReady, Devices: []string{"1", "2"}, Belief: &device.Belief{
			Log: "b.example/waxwing/log/x", Size: 12, Asked: true, AsOf: now.Add(-12 * time.Minute), Witnesses: []device.Witness{w1, w2, audit}, Auditor: true,
			Checked: now.Add(-2 * time.Minute), First: now.AddDate(0, 0, -19), Pinned: now.AddDate(0, 0, -19), Unchanged: now.AddDate(0, 0, -18),
		}}
		c.change(&contact)
		require.Equal(t, c.want, believedOf(contact, "", now).Sentence, name)
		require.Equal(t, c.want+" There is no newer proof: nobody saw it.", believedOf(contact, "nobody saw it", now).Sentence, name)
	}
	require.Nil(t, believedOf(device.Contact{Actor: "https://b.example/users/bob"}, "", now))
}

func TestBelievedForPrograms(t *testing.T) {
	at := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	got := believedOf(device.Contact{Actor: "http://b.test/users/bob", Resets: 1, Belief: &device.Belief{
		Log: "b.test/waxwing/log/x", Size: 1, Asked: true, AsOf: at, Witnesses: []device.Witness{{Name: "w", Domain: "d", Time: at, Counts: true}, {Name: "o", Domain: "e"}},
		Auditor: true, Checked: at, First: at, Stale: true,
	}}, "nobody saw it", at)
	require.NotContains(t, got.Sentence, "TLS")
	got.Sentence = ""
	require.Equal(t, &client.Believed{
		Log: "b.test/waxwing/log/x", Size: 1, AsOf: &at, Witnesses: []client.Witness{{Name: "w", Domain: "d", Time: &at, Counts: true}, {Name: "o", Domain: "e"}},
		Auditor: true, Checked: &at, FirstSeen: &at, Resets: 1, Stale: true, Problem: "nobody saw it",
	}, got)
}

func TestWhoIsNotWrittenTo(t *testing.T) {
	f, ok := refuse(&device.KeysResetError{Actors: []string{"https://b.example/users/bob"}}).(failure)
	require.True(t, ok)
	require.Equal(t, "keys_reset", f.Code)
	require.Equal(t, 409, f.Status)
	require.Equal(t, []string{"@bob@b.example"}, f.Extra["who"])
	require.Contains(t, f.Extra["help"], "waxwing contact accept @bob@b.example")
	f, ok = refuse(&device.NotWitnessedError{Actor: "https://b.example/users/bob", Reason: "nobody saw it"}).(failure)
	require.True(t, ok)
	require.Equal(t, "not_witnessed", f.Code)
	require.Equal(t, "nobody saw it", f.Detail)
	require.True(t, f.Retry)
}
