package histories_test

import (
	"bytes"
	"slices"
	"strings"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/device"
	"github.com/waxwing-dm/waxwing/internal/receipt"
)

// What a hub orders after the place that a claim goes on from, and shows to some alone, may change whose word counts, and for which hubs. They judge the claim by the
// room as they know it (conversation.md, resync), or who was removed could take the others back to before that. So they stay where they are, and
// are told that another hub was claimed.

// apart are the honest devices that have not followed the others for that reason.
func (m *machine) apart(id string) (all []*agent) {
	newest := uint64(0)
	for _, a := range m.active(id) {
		r, _ := a.row(id)
		newest = max(newest, r.Term)
	}
	for _, a := range m.active(id) {
		if r, _ := a.row(id); r.Term < newest && m.toldOfClaim(a, id) && !m.convinced(a, id, r) {
			all = append(all, a)
		}
	}
	return all
}

func (m *machine) toldOfClaim(a *agent, id string) bool {
	events, err := a.Events(0, 100_000)
	require.NoError(m.t, err)
	return slices.ContainsFunc(events, func(e device.Event) bool {
		return e.Conversation == id && e.Code == device.CodeForkDetected && strings.HasPrefix(e.Detail, "another hub was claimed")
	})
}

// convinced tells whether a term was opened that a device has to follow: by a claim that goes on from its own place, or that names a hub of the room
// and is signed by enough of those whose word counts, as it knows them.
func (m *machine) convinced(a *agent, id string, at row) bool {
	c, err := a.Conversation(id)
	require.NoError(m.t, err)
	g := a.group(id)
	return slices.ContainsFunc(m.claims(g.GroupID()), func(claim receipt.SignedClaim) bool {
		next := append([]byte(claim.Next.Hub), claim.Next.Key[:]...) // as the room has it
		return claim.Term > at.Term && (claim.Seq >= at.Seq || enough(c, claim) && bytes.Contains(g.Extensions()[0].Data, next))
	})
}

// claims are those of all terms that were opened.
func (m *machine) claims(groupID []byte) (all []receipt.SignedClaim) {
	for _, n := range m.nodes {
		kept, _, _, _ := n.mirror.Events(ctx, groupID, 0)
		for _, e := range kept {
			r, err := receipt.Parse(e.Receipt)
			require.NoError(m.t, err)
			if claim, err := receipt.ParseClaim(e.Commit); err == nil && r.Kind == receipt.KindTerm {
				all = append(all, claim)
			}
		}
	}
	return all
}

// enough is H3 by the members that a device knows.
func enough(c device.Conversation, claim receipt.SignedClaim) bool {
	voters, signed := 0, 0
	for _, x := range c.Members {
		counts := claim.Term%(1<<16) == 0 || x.Admin || len(c.Members) == 2
		has := slices.ContainsFunc(claim.Signatures, func(s receipt.ClaimSignature) bool { return s.Actor == x.Actor })
		if counts {
			voters++
		}
		if counts && has {
			signed++
		}
	}
	return 2*signed > voters || len(c.Members) == 2 && signed > 0
}
