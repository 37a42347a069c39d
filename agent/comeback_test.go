package agent_test

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/device"
)

// TestAllGoesWhenTheHubIsBack: what waits for a hub goes as soon as one thing has gone, and conversations in which nothing waits learn it, too.
func TestAllGoesWhenTheHubIsBack(t *testing.T) {
	_, all := islands(t, 2)
	a, b := all[0], all[1]
	alice, bob, carol := a.person("alice").login(), b.person("bob").login(), b.person("carol").login()
	var ids []string
	for range 6 {
		id, err := bob.StartConversation(ctx, []string{alice.actor(), carol.actor()})
		require.NoError(t, err)
		require.NoError(t, bob.SetAdmin(id, alice.actor(), true))
		ids = append(ids, id)
	}
	isAdmin := func(p *person, id, actor string) bool {
		c, err := p.Conversation(id)
		return err == nil && slices.ContainsFunc(c.Members, func(m device.Member) bool { return m.Actor == actor && m.Admin })
	}
	every := func(f func(id string) bool) func() bool {
		return func() bool { return !slices.ContainsFunc(ids, func(id string) bool { return !f(id) }) }
	}
	alice.await("she is an admin", every(func(id string) bool { return isAdmin(alice, id, alice.actor()) }))
	hubless := func(id string) bool { c, err := alice.Conversation(id); return err == nil && c.Hubless != nil }

	b.sink()
	_ = alice.LookAfter(ctx)
	for _, id := range ids[:4] {
		require.NoError(t, alice.SetAdmin(id, carol.actor(), true))
	}
	alice.await("all know that it is away", every(hubless))
	since, _ := alice.Away()
	require.True(t, since.IsZero(), "her own instance is there")
	since, current := bob.Away()
	bob.await("his is not", func() bool { since, current = bob.Away(); return !since.IsZero() && !current })

	b.rise()
	defer alice.Called(false)()
	bob.await("what has waited is done", func() bool {
		return !slices.ContainsFunc(ids[:4], func(id string) bool { return !isAdmin(bob, id, carol.actor()) })
	})
	alice.await("all know that it is back", every(func(id string) bool { return !hubless(id) }))
	bob.await("he is back, too", func() bool { since, current = bob.Away(); return since.IsZero() && current })
}
