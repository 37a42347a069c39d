package sidecar_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"

	"github.com/waxwing-dm/waxwing/federation"
	"github.com/waxwing-dm/waxwing/sidecar/witnessing"
	"github.com/waxwing-dm/waxwing/transparency"
)

// cosign brings a log's newest checkpoint to the witness of a box, from size 0.
func (b *box) cosign(checkpoint []byte) (*http.Response, []byte) {
	return b.request(http.MethodPost, "/waxwing/witness/add-checkpoint", bytes.NewReader(append([]byte("old 0\n\n"), checkpoint...)), nil)
}

// TestASidecarIsAWitness for the instances that its users look people up at, from then on.
func TestASidecarIsAWitness(t *testing.T) {
	_, a, b := two(t)
	alice, bob := a.person("alice"), b.person("bob")
	_, checkpoint := a.get("/waxwing/log/checkpoint")
	res, _ := b.cosign(checkpoint)
	require.Equal(t, http.StatusNotFound, res.StatusCode, "nobody here knows a.test")
	_, err := bob.Lookup(ctx, alice.actor, 0)
	require.NoError(t, err)

	var lines []byte
	require.Eventually(t, func() bool {
		res, lines = b.cosign(checkpoint)
		return res.StatusCode == http.StatusOK
	}, 20*time.Second, 10*time.Millisecond)
	var said witnessing.Document
	_, document := b.get("/waxwing/witness/")
	require.NoError(t, json.Unmarshal(document, &said))
	require.NotContains(t, string(document), "a.test", "whose users its users talk to is not said")
	policy, err := transparency.ParsePolicy(fmt.Appendf(nil, "%s\ngroup both all b.test b.test/auditor\nquorum both\n", strings.Join(said.Policy, "\n")))
	require.NoError(t, err)
	key, err := note.NewVerifier(a.pin().Key)
	require.NoError(t, err)
	verdict, err := policy.Evaluate(append(checkpoint, lines...), key, a.host)
	require.NoError(t, err)
	require.True(t, verdict.Met)

	_, body := b.get(federation.PathDiscovery)
	d, err := federation.ParseDiscovery(body, b.instance)
	require.NoError(t, err)
	require.Equal(t, []string{said.URL, said.Witness[0], said.Auditor[0]}, []string{d.Witness.URL, d.Witness.Key, d.Witness.Auditor})
	require.Equal(t, policy.Witnesses[0].URL, b.instance+"/waxwing/witness")

	// The own log is for others.
	_, err = bob.Lookup(ctx, bob.actor, 0)
	require.NoError(t, err)
	_, checkpoint = b.get("/waxwing/log/checkpoint")
	res, _ = b.cosign(checkpoint)
	require.Equal(t, http.StatusNotFound, res.StatusCode)
}

// TestAWitnessOutlivesItsSidecar: what was cosigned is not taken back by a crash.
func TestAWitnessOutlivesItsSidecar(t *testing.T) {
	_, a, b := two(t)
	alice, bob := a.person("alice"), b.person("bob")
	_, checkpoint := a.get("/waxwing/log/checkpoint")
	_, err := bob.Lookup(ctx, alice.actor, 0)
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		res, _ := b.cosign(checkpoint)
		return res.StatusCode == http.StatusOK
	}, 20*time.Second, 10*time.Millisecond)
	b.crash()
	b.start()
	res, size := b.cosign(checkpoint)
	require.Equal(t, http.StatusConflict, res.StatusCode)
	require.Equal(t, "text/x.tlog.size", res.Header.Get("Content-Type"))
	require.Equal(t, strings.Split(string(checkpoint), "\n")[1]+"\n", string(size))
}
