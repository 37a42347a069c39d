package main

import (
	"bytes"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/agent/client"
)

// TestResetIsSeen: whoever looks somebody up, or reads what comes in their name, sees a reset that is not accepted.
func TestResetIsSeen(t *testing.T) {
	var out bytes.Buffer
	x := client.Contact{Handle: "@bob\x1b@b.test", State: "ready", Devices: []string{"d1"}, Resets: 2, Believed: &client.Believed{Sentence: "Because\x1b."}}
	require.NoError(t, printContact(&out, x))
	require.Equal(t, "@bob\\u{1b}@b.test can be written to\n  device d1\nBecause\\u{1b}.\n", out.String())
	out.Reset()
	x.Changed = true
	require.NoError(t, printContact(&out, x))
	require.NotContains(t, out.String(), "can be written to")
	require.Contains(t, out.String(), "waxwing contact accept @bob\\u{1b}@b.test --resets 2\n")
	out.Reset()
	require.NoError(t, printContact(&out, client.Contact{Handle: "@bob@b.test", State: "none"}))
	require.Equal(t, "@bob@b.test has no device to encrypt to yet\n", out.String())

	out.Reset()
	r := &reader{cli: &cli{}, out: &out}
	require.NoError(t, r.show(client.Message{Sender: "@bob@b.test", Text: "it is me", State: "received", KeysReset: true}))
	require.Contains(t, out.String(), "@bob@b.test (new keys, not accepted: waxwing contact @bob@b.test): it is me\n")
}

// TestPlainIsSeen: what is plain says so wherever it is shown.
func TestPlainIsSeen(t *testing.T) {
	var out bytes.Buffer
	require.NoError(t, printContact(&out, client.Contact{Handle: "@erin@e.test", State: "plain", Note: "nobody vouches\x1b"}))
	require.Contains(t, out.String(), "waxwing send --plain\nnobody vouches\\u{1b}\n")
	require.NotContains(t, out.String(), "no device")
	out.Reset()
	require.NoError(t, printConversation(&out, client.Conversation{ID: "p1234567", State: "active", Plain: true, Members: []client.Member{{Handle: "@erin@e.test"}}}))
	require.Equal(t, "p1234567  @erin@e.test  [plain: nobody vouches for all keys]\n", out.String())
	out.Reset()
	r := &reader{cli: &cli{}, out: &out, warnings: &out, id: "p1"}
	require.NoError(t, r.show(client.Message{Sender: "@erin@e.test", Text: "hi", State: "received", Plain: true}))
	require.Contains(t, out.String(), "@erin@e.test: hi  [plain]\n")
	out.Reset()
	require.NoError(t, r.plainNews(client.Event{Type: "contact.reset", Handle: "@erin@e.test", Time: time.Now()}))
	require.NoError(t, r.plainNews(client.Event{Type: "conversation.updated", Code: "begun_anew", Conversation: "p1", Detail: "begun anew", Time: time.Now()}))
	require.NoError(t, r.plainNews(client.Event{Type: "conversation.updated", Code: "begun_anew", Conversation: "p2", Detail: "not here", Time: time.Now()}))
	require.Equal(t, "! @erin@e.test has new keys that the old ones do not vouch for: waxwing contact @erin@e.test\n! begun anew\n", out.String())
	require.True(t, isWith(client.Conversation{Members: []client.Member{{Handle: "http://e.test/@erin"}}}, []string{"http://e.test/@erin"}))
}
