package main

import (
	"bytes"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/agent/client"
)

// TestStatusIsForPeople: everything that comes from others is in plain letters, and everything says what is next.
func TestStatusIsForPeople(t *testing.T) {
	at := time.Date(2026, 11, 21, 14, 5, 0, 0, time.Local)
	var b bytes.Buffer
	require.NoError(t, printStatus(&b, client.Status{
		Account: &client.Account{Handle: "@alice@a.test", State: "ready"}, Connected: true, Unsent: 2, Requests: 1,
		Troubles: []client.Trouble{{Code: "x", Sentence: "It \x1b[2Jhappened.", Next: "It ends.", Help: "Wait."}},
		Conversations: []client.Conversation{{
			ID: "0123456789", Unsent: 2, Members: []client.Member{{Handle: "@alice@a.test", Me: true, Admin: true}, {Handle: "@bob@b.test"}},
			Troubles: []client.Trouble{{Code: "y", Sentence: "S.", Next: "N."}},
		}},
		Undelivered: []client.Message{{Text: "see you", Time: at, Undelivered: []client.Missed{{Handle: "@bob@b.test", Code: "host_unreachable", Detail: "b.test could not be reached for 14 days"}}}},
	}))
	require.Equal(t, `@alice@a.test: connected
! It \u{1b}[2Jhappened. (x)
  It ends.
  Wait.
2 messages wait to be sent
01234567  you (admin), @bob@b.test  [2 messages to be sent]
  ! S. (y)
    N.
! “see you”, written on Saturday, 21 November at 14:05, was not delivered to @bob@b.test: b.test could not be reached for 14 days (host_unreachable)
  That is final: it is not tried again. Send it once more when they can be reached, or tell them by another way.
1 person waits to be accepted: waxwing requests
`, b.String())
}

// TestUndeliveredIsShown: with the message, and as it becomes known, in plain letters.
func TestUndeliveredIsShown(t *testing.T) {
	var out, warnings bytes.Buffer
	r := &reader{cli: &cli{}, out: &out, warnings: &warnings, id: "x"}
	m := client.Message{Seq: 1, Mine: true, Kind: "text", Text: "see you\x1b[2J at the very long table that is in the garden", State: "sent", Time: time.Now(), Undelivered: []client.Missed{
		{Handle: "@bob@b.test", Code: "host_unreachable", Detail: "b.test could not be reached for 14 days"},
	}}
	require.NoError(t, r.show(m))
	require.Contains(t, out.String(), "\n       ! not delivered to @bob@b.test: b.test could not be reached for 14 days (host_unreachable)\n")
	e := client.Event{Handle: "@bob@b.test", Code: "refused", Detail: "b.test refused it: \x1b[2Jno", Message: &m}
	require.NoError(t, r.missed(e))
	e.Message = nil
	require.NoError(t, r.missed(e))
	require.Equal(t, `! “see you\u{1b}[2J at the very long table …” was not delivered to @bob@b.test: b.test refused it: \u{1b}[2Jno (refused)`+"\n"+
		`! a change of members was not delivered to @bob@b.test: b.test refused it: \u{1b}[2Jno (refused)`+"\n", warnings.String())
}
