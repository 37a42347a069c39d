package sidecar_test

import (
	"encoding/hex"
	"encoding/json"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/federation"
	"github.com/waxwing-dm/waxwing/internal/clientapi"
	"github.com/waxwing-dm/waxwing/sidecar"
	"github.com/waxwing-dm/waxwing/sidecar/witnessing"
	"github.com/waxwing-dm/waxwing/transparency"
	"github.com/waxwing-dm/waxwing/transparency/witness"
)

func (b *box) split() []witnessing.Split {
	var d witnessing.Document
	_, document := b.get("/waxwing/witness")
	require.NoError(b.w.t, json.Unmarshal(document, &d))
	return d.Split
}

func sightingOf(t testing.TB, note []byte) transparency.Sighting {
	c, err := transparency.UnverifiedCheckpoint(note)
	require.NoError(t, err)
	return transparency.Sighting{Origin: transparency.OriginHash(c.Origin), Size: c.Size, Root: c.Root}
}

// forks has the log of a box go on in two ways, to the same size, one of which the witness of another has cosigned.
func (a *box) forks(b *box, alice, bob *device) (shown, other []byte) {
	t := a.w.t
	a.stop()
	forked := filepath.Join(t.TempDir(), "forked")
	copyFolder(t, a.dir, forked)
	a.start()
	a.person("carol")
	_, shown = a.get("/waxwing/log/checkpoint")
	_, err := bob.Lookup(ctx, alice.actor, 0)
	require.NoError(t, err)
	require.Eventually(t, func() bool { res, _ := b.cosign(shown); return res.StatusCode == http.StatusOK }, 20*time.Second, 10*time.Millisecond)
	s, err := sidecar.Open(sidecar.Config{Instance: a.instance, DataDir: forked, Hosts: a.w.hosts, Now: a.w.now})
	require.NoError(t, err)
	require.NoError(t, s.Log().Release(ctx))
	require.NoError(t, s.Log().Pad(ctx))
	other, err = s.Log().Checkpoint()
	require.NoError(t, err)
	require.NoError(t, s.Close())
	require.Equal(t, sightingOf(t, shown).Size, sightingOf(t, other).Size)
	return shown, other
}

// TestG12SidecarsCompare what they have seen of logs, with whatever they ask each other: a log that showed another history to a third
// instance than to this one is found out, and the evidence of it is shown to everybody.
func TestG12SidecarsCompare(t *testing.T) {
	w := newWorld(t)
	a, b := w.box("a.test"), w.box("b.test")
	talks, shows := w.peer("c.test"), w.peer("d.test")
	a.start()
	b.start()
	alice, bob := a.person("alice"), b.person("bob")
	_, other := a.forks(b, alice, bob)

	// What honest instances tell each other is quiet.
	_, err := bob.Claim(ctx, alice.actor)
	require.NoError(t, err)
	_, err = alice.Claim(ctx, bob.actor)
	require.NoError(t, err)
	require.NotContains(t, w.logs(), "another history")
	require.Empty(t, b.split())

	hash := witness.OriginHash(a.pin().Origin)
	shows.docs[witnessing.Path+"/"+hex.EncodeToString(hash[:])+"/checkpoint"] = other
	tell := func(p *peer, seen ...transparency.Sighting) {
		body, err := json.Marshal(clientapi.Claim{Actor: bob.actor})
		require.NoError(t, err)
		d := &delivery{
			path: federation.PathClaim, method: http.MethodPost, host: "b.test", to: "b.test", contentType: "application/json", raw: body,
			signer: p.instance + federation.PathActor, at: w.now(),
			after: func(r *http.Request) { federation.SetSightings(r.Header, seen) },
		}
		status, code := p.send(d)
		require.Equal(t, http.StatusOK, status, code)
	}
	tell(talks, sightingOf(t, other))
	require.Contains(t, w.logs(), "an instance says that it has seen another history of a log")
	require.Empty(t, b.split(), "saying so proves nothing")
	for tries := 0; len(b.split()) == 0; tries++ {
		require.Less(t, tries, 200)
		w.advance(7 * time.Hour) // it is asked for once in six hours, from when the time before has ended
		tell(shows, sightingOf(t, other))
		time.Sleep(20 * time.Millisecond)
	}
	e, err := transparency.ParseEvidence([]byte(b.split()[0].Evidence))
	require.NoError(t, err)
	_, _, err = e.Verify(a.pin().Key)
	require.NoError(t, err)
	b.crash()
	b.start()
	require.Len(t, b.split(), 1)

	// The instance itself hears that its key has signed what it did not.
	own := sightingOf(t, other)
	own.Origin = transparency.OriginHash(b.pin().Origin)
	own.Size = 1
	tell(talks, own)
	require.Contains(t, w.logs(), "an instance has seen another history of this log")
}

// TestARefusedCheckpointIsEvidence: who asks a witness to cosign a second history has brought the proof along.
func TestARefusedCheckpointIsEvidence(t *testing.T) {
	_, a, b := two(t)
	alice, bob := a.person("alice"), b.person("bob")
	_, other := a.forks(b, alice, bob)
	res, _ := b.request(http.MethodPost, witnessing.Path+"/add-checkpoint", strings.NewReader("old 3\n\n"+string(other)), nil)
	require.Equal(t, http.StatusUnprocessableEntity, res.StatusCode)
	require.Len(t, b.split(), 1)
}
