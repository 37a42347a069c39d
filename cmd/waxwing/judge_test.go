package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"

	"github.com/waxwing-dm/waxwing/agent/client"
	"github.com/waxwing-dm/waxwing/keydir"
	"github.com/waxwing-dm/waxwing/transparency"
	"github.com/waxwing-dm/waxwing/transparency/sequencer"
	"github.com/waxwing-dm/waxwing/transparency/sequencer/storetest"
	"github.com/waxwing-dm/waxwing/transparency/vrf"
)

const bob = "https://b.example/users/bob"

// proven is an answer about bob as an agent would hand it out.
func proven(t *testing.T) client.Proof {
	ctx := context.Background()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	labels, err := vrf.GenerateKey(rand.Reader)
	require.NoError(t, err)
	log, err := sequencer.New(ctx, sequencer.Config{Store: new(storetest.Memory), Host: "b.example", Key: key, VRF: labels, Now: time.Now, Alone: true})
	require.NoError(t, err)
	first := keydir.Change{Kind: transparency.KindFirst, Label: log.Label(bob), List: keydir.DeviceList{Actor: bob, Devices: []keydir.Device{{Added: 1}}}}
	statement, content := first.Sign(nil, key, uint64(time.Now().UnixMilli()))
	_, err = log.Append(ctx, sequencer.Submission{Actor: bob, Statement: statement.Marshal(), Content: content})
	require.NoError(t, err)
	answer, err := log.Answer(ctx, bob, 0)
	require.NoError(t, err)
	text, err := log.VerifierKey()
	require.NoError(t, err)
	return client.Proof{
		Handle: "@bob@b.example", Actor: bob, Time: time.Now(), Origin: log.Origin(), Key: text, VRF: log.VRFKey(), Answer: answer.Marshal(),
	}
}

// TestJudgeNamesWhatFails turns bytes of an answer: whatever breaks, either nothing can be read or one check fails, it is the last
// that is shown, and nothing is called proven.
func TestJudgeNamesWhatFails(t *testing.T) {
	good := proven(t)
	whole, err := judge{proof: good}.run()
	require.NoError(t, err)
	require.True(t, whole.Proven)
	require.Len(t, whole.Steps, 8)
	parsed, err := transparency.ParseAnswer(good.Answer)
	require.NoError(t, err)
	seen := map[string]bool{}
	free := 3 + bytes.LastIndexByte(parsed.Checkpoint, '=') - 1 // of its last character two bits mean nothing
	for i := 0; i < len(good.Answer); i += 3 {
		if i == free {
			continue
		}
		p := good
		p.Answer = bytes.Clone(good.Answer)
		p.Answer[i] ^= 1
		out, err := judge{proof: p}.run()
		if err != nil {
			continue
		}
		require.False(t, out.Proven, "byte %d", i)
		for _, s := range out.Steps[:len(out.Steps)-1] {
			require.True(t, s.OK)
		}
		last := out.Steps[len(out.Steps)-1]
		require.False(t, last.OK)
		require.NotEmpty(t, last.Text)
		seen[last.Check] = true
		var text bytes.Buffer
		require.NoError(t, out.print(&text))
		require.Contains(t, text.String(), "FAIL "+last.Check)
		require.NotContains(t, text.String(), "proven;")
	}
	for _, check := range []string{"A1", "A3", "A5", "A6", "A7"} {
		require.True(t, seen[check], check)
	}
}

// TestJudgeIsGivenTheKey: of two logs by one name the file's own may not vouch for itself.
func TestJudgeIsGivenTheKey(t *testing.T) {
	good, other := proven(t), proven(t)
	_, err := judge{proof: good, saved: true, key: other.Key}.run()
	require.Error(t, err, "the origin names another VRF key")
	public, _, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	key, err := note.NewEd25519VerifierKey(good.Origin, public)
	require.NoError(t, err)
	out, err := judge{proof: good, saved: true, key: key}.run()
	require.NoError(t, err)
	require.Equal(t, "A1", out.Steps[len(out.Steps)-1].Check)
	require.Len(t, out.Notes, 2, "witnesses and age")
	out, err = judge{proof: good, saved: true}.run()
	require.NoError(t, err)
	require.Len(t, out.Notes, 3)
	moved := good
	moved.Actor = "https://c.example/users/bob"
	_, err = judge{proof: moved}.run()
	require.Error(t, err, "another host's log")
}
