package main

import (
	"bytes"
	"testing"

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
