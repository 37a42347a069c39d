package sidecar_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/internal/clientapi"
	"github.com/waxwing-dm/waxwing/sidecar"
)

// What one instance or account can have written into the hub of another is bounded, and what a hub can have mirrored. Others are served as ever.
func TestOneMakesTheHubKeepSoMuch(t *testing.T) {
	w, a, b := two(t)
	alice, bob := a.person("alice"), b.person("bob")
	r := alice.open()
	all := []string{alice.actor, bob.actor}
	_, err := bob.Commit(ctx, r.commit(0, "x", all))
	require.NoError(t, err)
	alice.await(1)

	a.Overdraw(b.instance)
	before := a.rows()
	_, err = bob.Commit(ctx, r.commit(1, "too much", all))
	p := requireProblem(t, err, 429, "rate_limited")
	require.True(t, p.Retry)
	require.Equal(t, before, a.rows())
	last, err := alice.Commit(ctx, r.commit(1, "the hub's own", all))
	require.NoError(t, err)

	claim := r.claim(a, 2, last)
	_, err = bob.OpenTerm(ctx, clientapi.NewTerm{Conversation: r.url, Claim: claim.Marshal()})
	requireProblem(t, err, 429, "rate_limited")

	a.Overdraw(alice.actor)
	_, err = alice.Commit(ctx, r.commit(2, "too much", all))
	requireProblem(t, err, 429, "rate_limited")
	_, err = alice.OpenConversation(ctx, []byte("another group"), make([]byte, 32))
	requireProblem(t, err, 429, "rate_limited")
	w.advance(25 * time.Hour)
	_, err = alice.Commit(ctx, r.commit(2, "the next day", all))
	require.NoError(t, err)
	_, err = bob.Commit(ctx, r.commit(3, "the next day", all))
	require.NoError(t, err)
}

func TestAHubHasSoMuchMirrored(t *testing.T) {
	_, a, b := two(t)
	alice, bob := a.person("alice"), b.person("bob")
	r := alice.open()
	_, err := alice.Commit(ctx, r.commit(0, "kept", []string{bob.actor}))
	require.NoError(t, err)
	bob.await(1)
	require.Eventually(t, func() bool { return b.rows()["mirror_event"] == 1 }, 20*time.Second, 20*time.Millisecond)
	b.Overdraw(a.instance)
	_, err = alice.Commit(ctx, r.commit(1, "delivered, and not kept", []string{bob.actor}))
	require.NoError(t, err)
	require.Len(t, bob.await(2), 2)
	events, err := bob.Events(ctx, r.url, 0)
	require.NoError(t, err)
	require.Len(t, events, 2)
	require.Equal(t, 1, b.rows()["mirror_event"])
}

// TestOldHubsAreLeftAlone: which hubs a conversation had is the word of who brings a claim.
func TestOldHubsAreLeftAlone(t *testing.T) {
	n := sidecar.Tellings()
	require.Greater(t, n, 20)
	require.Less(t, n, 100, "in thirty days")
}
