package main

import (
	"bytes"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/agent/client"
)

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
