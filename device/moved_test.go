package device_test

import (
	"crypto/ed25519"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/device"
	"github.com/waxwing-dm/waxwing/internal/receipt"
)

// claimBy is a claim for b.example at the head of a conversation, signed by a person's device and by the ticket of the epoch.
func (p *person) claimBy(id string) receipt.SignedClaim {
	g := p.group(id)
	seq, head := p.placeOf(id, g)
	ticket := p.ticketKey(id)
	next := p.w.instances["https://b.example"]
	c := receipt.SignedClaim{Claim: receipt.Claim{
		GroupID: g.GroupID(), Term: 2, Seq: seq, Head: head, Epoch: g.Epoch(), Ticket: [32]byte(publicBytes(ticket.Public())),
		Next: receipt.NextHub{Hub: "https://b.example", Key: [32]byte(publicBytes(next.hubKey.Public()))}, Time: 1,
	}}
	c.Signatures = []receipt.ClaimSignature{c.Sign(p.actor, p.ed25519())}
	c.SignMember(ticket)
	return c
}

func (p *person) ticketKey(id string) ed25519.PrivateKey {
	secret, err := p.group(id).Export(receipt.TicketLabel, nil, 32)
	require.NoError(p.w.t, err)
	return receipt.TicketKey(secret)
}

func (w *world) termEvent(c receipt.SignedClaim) *device.HubEvent {
	rec := c.Receipt(2)
	rec.Sign(w.instances["https://b.example"].hubKey)
	return &device.HubEvent{Receipt: rec.Marshal(), Commit: c.Marshal()}
}

// TestHubBelievesAWrongClaim: bob, who is no admin, has claimed another hub, and the old one cannot judge that. Who is asked to go there says so.
func TestHubBelievesAWrongClaim(t *testing.T) {
	w, id := talk(t, bob, carol)
	a, b, c := w.people[alice], w.people[bob], w.people[carol]
	require.NoError(t, a.NameHubs(id))
	w.quiet()
	r := w.register(a.conversation(id).URL)
	r.moved = w.termEvent(b.claimBy(id))
	w.enrol(dave)
	require.NoError(t, a.AddMembers(id, []string{dave}))
	require.NoError(t, a.RemoveMembers(id, []string{dave}))
	w.quiet()
	require.EqualValues(t, 4, a.conversation(id).Epoch)
	requireAgreement(t, id, a, b, c)
	require.Equal(t, []string{device.CodeForkDetected}, a.codes(device.EventMessageRefused), "the person is told once")
	require.NoError(t, c.Resync(id))
	w.quiet()
	require.Len(t, c.back(), 1)
	requireAgreement(t, id, a, b, c)
	require.NoError(t, a.Sync())
	w.quiet()
	require.Len(t, a.codes(device.EventMessageRefused), 1)
}

// TestMovedHubIsFollowed: a commit, and a return, that come to the old hub are made at the new one.
func TestMovedHubIsFollowed(t *testing.T) {
	for name, what := range map[string]func(p *person, id string) error{
		"a commit": func(p *person, id string) error { return p.SetAdmin(id, carol, true) },
		"a return": func(p *person, id string) error { return p.Resync(id) },
	} {
		t.Run(name, func(t *testing.T) {
			w, id := talk(t, bob, carol)
			a, b, c := w.people[alice], w.people[bob], w.people[carol]
			require.NoError(t, a.NameHubs(id))
			w.quiet()
			r := w.register(a.conversation(id).URL)
			claim := a.claimBy(id)
			require.NoError(t, a.term(&device.TermJob{ConversationID: id, Conversation: a.conversation(id).URL, Claim: claim.Marshal()}))
			next := w.registerAt(a.conversation(id).URL, "https://b.example")
			next.infos = r.infos
			r.moved = w.termEvent(claim)
			r.moved.Receipt = next.events[len(next.events)-1].Receipt
			require.NoError(t, what(a, id))
			w.quiet()
			w.later()
			require.NoError(t, b.Sync())
			require.NoError(t, c.Sync())
			w.quiet()
			requireAgreement(t, id, a, b, c)
			require.EqualValues(t, 3, a.conversation(id).Epoch)
			require.Contains(t, a.codes(device.EventConversationUpdated), device.CodeHubMoved)
			require.Len(t, next.branches, 1)
			require.EqualValues(t, 3, next.branches[0].epoch, "it was granted there")
			w.now = w.now.Add(time.Second)
		})
	}
}

// TestHubMovedOfNothing: a hub that shows nonsense as its reason ends what was asked of it, after a while.
func TestHubMovedOfNothing(t *testing.T) {
	w, id := talk(t, bob)
	a := w.people[alice]
	require.NoError(t, a.SetAdmin(id, bob, true))
	for range 100 {
		jobs, err := a.Jobs()
		require.NoError(t, err)
		if len(jobs) == 0 {
			break
		}
		if _, events := jobs[0].(*device.EventsJob); events {
			require.NoError(t, a.EventsFetched(jobs[0].ID(), nil))
			continue
		}
		require.NoError(t, a.HubMoved(jobs[0].ID(), device.HubEvent{Receipt: []byte("no"), Commit: []byte("nothing")}))
	}
	require.Equal(t, []string{device.CodeCommitConflict}, a.codes(device.EventMemberFailed))
	require.NoError(t, a.HubMoved("gone", device.HubEvent{}))
}
