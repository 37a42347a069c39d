package histories_test

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/device"
)

// mainline are the honest devices that are in a conversation where most are.
func (m *machine) mainline(id string) []*agent {
	apart := m.apart(id)
	return slices.DeleteFunc(m.active(id), func(a *agent) bool { return slices.Contains(apart, a) })
}

// active are the honest devices that are in a conversation and have not lost the thread.
func (m *machine) active(id string) (in []*agent) {
	for _, a := range m.agents {
		if r, ok := a.row(id); ok && a.honest && !a.revoked && r.State == device.StateActive {
			in = append(in, a)
		}
	}
	return in
}

// checkAgreement holds that all honest devices of a conversation are at one place, or knows why one of them is not.
func (m *machine) checkAgreement(id string) {
	if m.lied {
		m.excuse("the hub has signed two orders")
		m.checkTold(id)
		return
	}
	in, apart := m.mainline(id), m.apart(id)
	for _, a := range m.agents {
		c, err := a.Conversation(id)
		if err != nil || !a.honest || a.revoked || c.State == device.StateLeft {
			continue
		}
		if slices.Contains(apart, a) {
			m.excuse("the others' claim does not hold by what it alone has followed")
			continue
		}
		if !slices.Contains(in, a) {
			why := m.outside(a, id, in)
			require.NotEmpty(m.t, why, "it has not come back: %s: %s %s: %v", a, c.State, c.Reason, m.details(a, id))
			m.excuse(why)
			continue
		}
		m.checkAtRest(a, c)
		m.checkSame(in[0], a, id)
	}
}

// outside is why a device need not be where the others are. It was told that it is not.
func (m *machine) outside(a *agent, id string, in []*agent) string {
	r, _ := a.row(id)
	switch {
	case len(m.details(a, id)) == 0:
		return ""
	case len(in) == 0:
		return "nobody is there who could show it the way"
	case !m.has(in[0], id, a):
		return "it was removed while it had lost the thread"
	case m.erased(in[0], id) && !m.vouched(in[0], id, in):
		return "the hub has forgotten the conversation, and no admin is left who could claim another (H3)"
	case strings.Contains(r.Reason, "check G3") && !m.vouched(a, id, in):
		return "nobody is left whom it knows as an admin (G3)"
	}
	return ""
}

// erased tells whether the hub that a device follows has no such conversation, since it was restored.
func (m *machine) erased(a *agent, id string) bool {
	r, _ := a.row(id)
	groupID, err := hex.DecodeString(id)
	require.NoError(m.t, err)
	_, ok, err := m.hubOf(a, r).registers.Group(ctx, groupID)
	require.NoError(m.t, err)
	return m.forgot && !ok
}

// vouched tells whether somebody can show a device the room who is an admin and was one when it lost the thread.
func (m *machine) vouched(a *agent, id string, in []*agent) bool {
	admins := func(a *agent) (actors []string) {
		c, err := a.Conversation(id)
		require.NoError(m.t, err)
		for _, x := range c.Members {
			if x.Admin {
				actors = append(actors, x.Actor)
			}
		}
		return actors
	}
	known, now := admins(a), admins(in[0])
	return slices.ContainsFunc(in, func(b *agent) bool { return slices.Contains(known, b.actor) && slices.Contains(now, b.actor) })
}

// checkAtRest holds that nothing is left to do.
func (m *machine) checkAtRest(a *agent, c device.Conversation) {
	require.Contains(m.t, []device.ConversationState{device.StateActive, device.StateLeaving}, c.State, "%s: %s", a, c.Reason)
	switch {
	case c.Waiting == 0:
	case c.State == device.StateLeaving && m.paused(c.ID):
		m.excuse("who could let it go is paused")
	default:
		require.Fail(m.t, "there are still steps to do", "%s: %s", a, c.Reason)
	}
}

func (m *machine) checkSame(first, a *agent, id string) {
	x, _ := first.row(id)
	y, _ := a.row(id)
	require.Equal(m.t, [3]uint64{x.Term, x.Seq, x.Places[0].Epoch}, [3]uint64{y.Term, y.Seq, y.Places[0].Epoch}, "%s and %s: term, seq, epoch", first, a)
	require.Equal(m.t, x.Authenticator, y.Authenticator, "%s and %s", first, a)
	one, err := first.Conversation(id)
	require.NoError(m.t, err)
	other, err := a.Conversation(id)
	require.NoError(m.t, err)
	require.Equal(m.t, memberNames(one), memberNames(other), "%s and %s", first, a)
}

func (m *machine) excuse(why string) { m.excuses[why]++ }

// checkTold is what is left of agreement where a hub has signed two orders: who followed which is chance, and who finds that others are elsewhere
// is told.
func (m *machine) checkTold(id string) {
	ways := map[string][]*agent{}
	for _, a := range m.agents {
		if r, ok := a.row(id); ok && a.honest && !a.revoked && r.State != device.StateLeft {
			ways[string(r.Authenticator)] = append(ways[string(r.Authenticator)], a)
		}
	}
	if len(ways) < 2 {
		return
	}
	m.branched = true
	most := 0
	for _, on := range ways {
		most = max(most, len(on))
	}
	for _, on := range ways {
		for _, a := range on {
			r, _ := a.row(id)
			require.True(m.t, m.toldOfFork(a, id) || len(on) == most || r.State == device.StatePaused, "%s was not told that others are elsewhere", a)
		}
	}
}

func (m *machine) toldOfFork(a *agent, id string) bool {
	return slices.ContainsFunc(m.told(a, id), func(code string) bool {
		return slices.Contains([]string{device.CodeForkDetected, device.CodeOtherBranch, device.CodeCannotDecrypt}, code)
	})
}

// paused tells whether somebody waits who has not been able to come back.
func (m *machine) paused(id string) bool {
	return slices.ContainsFunc(m.agents, func(a *agent) bool {
		r, ok := a.row(id)
		return ok && r.State == device.StatePaused
	})
}

// checkUnlisted holds that a device which was added and is in no list does not stay.
func (m *machine) checkUnlisted() {
	for _, id := range m.ids {
		for _, a := range m.mainline(id) {
			c, err := a.Conversation(id)
			require.NoError(m.t, err)
			admin := slices.ContainsFunc(c.Members, func(x device.Member) bool { return x.Actor == a.actor && x.Admin })
			require.False(m.t, admin && m.never && m.hidden != nil && m.has(a, id, m.hidden), "%s has left an unlisted device in", a)
		}
	}
}

func memberNames(c device.Conversation) (names []string) {
	for _, x := range c.Members {
		names = append(names, fmt.Sprint(x.Actor, x.Admin, x.Devices))
	}
	return names
}

// told are the codes of what a device was told of a conversation.
func (m *machine) told(a *agent, id string) (codes []string) {
	events, err := a.Events(0, 100_000)
	require.NoError(m.t, err)
	for _, e := range events {
		if e.Conversation == id {
			codes = append(codes, e.Code)
		}
	}
	return codes
}

// has tells whether a device is in the group that another one is in.
func (m *machine) has(in *agent, id string, a *agent) bool {
	r, _ := in.row(id)
	return m.members[string(r.Authenticator[:8])][a.id]
}

func (m *machine) details(a *agent, id string) (all []string) {
	events, err := a.Events(0, 100_000)
	require.NoError(m.t, err)
	for _, e := range events {
		if e.Conversation == id && e.Type == device.EventConversationPaused {
			all = append(all, e.Detail)
		}
	}
	return all
}
