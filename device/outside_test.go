package device_test

import (
	"crypto/ed25519"
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/device"
	"github.com/waxwing-dm/waxwing/internal/receipt"
	"github.com/waxwing-dm/waxwing/mls"
)

// signer is a person's signature key.
func (p *person) signer() *mls.SignatureKey {
	var keys struct{ Signature []byte }
	require.NoError(p.w.t, json.Unmarshal(p.store.buckets["device"].values["keys"], &keys))
	s, err := mls.NewSignatureKey(mls.X25519AES128GCMSHA256Ed25519, keys.Signature)
	require.NoError(p.w.t, err)
	return s
}

func (p *person) ed25519() ed25519.PrivateKey { return ed25519.NewKeyFromSeed(p.signer().Private()) }

// leafAt is the place of a person's device in a group.
func (p *person) leafAt(g *mls.Group) *uint32 {
	for _, m := range g.Members() {
		if string(m.Node.SignatureKey) == string(p.key) {
			return &m.Leaf
		}
	}
	require.Fail(p.w.t, "no such member")
	return nil
}

// An outsider makes a commit from outside with a group info that somebody gave them.
type outsider struct {
	from *person // whose group info it is
	id   string
	g    *mls.Group // of from
	mls.ExternalJoinParams
	ticket ed25519.PublicKey // of the next epoch; nil is the right one
}

func (from *person) outsider(id string, who *person) outsider {
	g := from.group(id)
	return outsider{from, id, g, mls.ExternalJoinParams{
		Signer: who.signer(), Credential: mls.BasicCredential([]byte(who.actor)),
		Capabilities:      mls.Capabilities{Extensions: []mls.ExtensionType{0xF7A1}, Proposals: []mls.ProposalType{mls.ProposalSelfRemove}},
		AuthenticatedData: from.fence(id, g, nil),
	}, nil}
}

// ordered makes the commit and has the hub order it, which cannot tell it from others.
func (o outsider) ordered() (device.Incoming, error) {
	w := o.from.w
	raw, err := o.g.GroupInfo(true)
	require.NoError(w.t, err)
	m, err := mls.ParseMessage(raw)
	require.NoError(w.t, err)
	join, err := mls.JoinExternal(w.random, m, o.ExternalJoinParams)
	if err != nil {
		return device.Incoming{}, err
	}
	if o.ticket == nil {
		secret, err := join.Group().Export(receipt.TicketLabel, nil, 32)
		require.NoError(w.t, err)
		o.ticket = publicBytes(receipt.TicketKey(secret).Public())
	}
	c := o.from.conversation(o.id)
	rec := w.register(c.URL).grant(w.instance(c.URL).hubKey, o.g.GroupID(), &device.CommitJob{Term: 1, Epoch: o.g.Epoch(), Commit: join.Message(), Ticket: o.ticket})
	return device.Incoming{Actor: o.from.actor, Conversation: c.URL, Message: join.Message(), Receipt: rec}, nil
}

// TestOnlySelfResyncPasses: a commit from outside is taken if a logged device replaces itself, and not otherwise (C9).
func TestOnlySelfResyncPasses(t *testing.T) {
	const notAllowed, invalid, mismatch = device.CodeNotAllowed, device.CodeCommitInvalid, device.CodeForkDetected
	for name, c := range map[string]struct {
		who, code, check string
		change           func(w *world, o *outsider)
	}{
		"a stranger comes in": {dave, notAllowed, "C9", func(*world, *outsider) {}},
		"a stranger in a member's place": {dave, notAllowed, "C9", func(w *world, o *outsider) {
			o.Replace = w.people[bob].leafAt(o.g)
		}},
		"a stranger with a member's name": {dave, notAllowed, "C9", func(w *world, o *outsider) {
			o.Replace, o.Credential = w.people[bob].leafAt(o.g), mls.BasicCredential([]byte(bob))
		}},
		"a member under another's name": {carol, notAllowed, "C9", func(w *world, o *outsider) {
			o.Replace, o.Credential = w.people[carol].leafAt(o.g), mls.BasicCredential([]byte(bob))
		}},
		"a member as somebody new": {carol, notAllowed, "C9", func(w *world, o *outsider) {
			o.Replace, o.Credential = w.people[carol].leafAt(o.g), mls.BasicCredential([]byte(dave))
		}},
		"an actor with a device that is not in the log": {carol, notAllowed, "C9", func(w *world, o *outsider) {
			var err error
			o.Signer, err = mls.GenerateSignatureKey(mls.X25519AES128GCMSHA256Ed25519, w.random)
			require.NoError(t, err)
			o.Replace = w.people[carol].leafAt(o.g)
		}},
		"one that takes a wish to leave along": {carol, notAllowed, "C", func(w *world, o *outsider) {
			g := w.people[alice].group(o.id)
			wish, err := g.Propose(w.random, mls.SelfRemoveProposal(), mls.WirePublicMessage, nil)
			require.NoError(t, err)
			m, err := mls.ParseMessage(wish)
			require.NoError(t, err)
			fence := w.people[alice].fence(o.id, o.g, nil)
			o.AuthenticatedData = append(append(fence, byte(len(wish)>>8), byte(len(wish))), wish...)
			o.Replace, o.SelfRemoves = w.people[carol].leafAt(o.g), []*mls.Message{m}
		}},
		"one with another proposal": {carol, invalid, "", func(w *world, o *outsider) {
			psk, err := mls.PSKProposal(w.random, mls.X25519AES128GCMSHA256Ed25519, mls.PSK{ID: []byte("x")})
			require.NoError(t, err)
			o.Replace, o.Proposals = w.people[carol].leafAt(o.g), []mls.Proposal{psk}
			o.PSKs = func(mls.PSK) ([]byte, bool) { return make([]byte, 32), true }
		}},
		"without a fence": {carol, mismatch, "", func(w *world, o *outsider) {
			o.Replace, o.AuthenticatedData = w.people[carol].leafAt(o.g), nil
		}},
		"with the fence of another place": {carol, mismatch, "F1", func(w *world, o *outsider) {
			o.AuthenticatedData[8]++
			o.Replace = w.people[carol].leafAt(o.g)
		}},
		"without the epoch's authenticator": {carol, mismatch, "F1", func(w *world, o *outsider) {
			clear(o.AuthenticatedData[25:33])
			o.Replace = w.people[carol].leafAt(o.g)
		}},
		"with the receipt of another epoch": {carol, mismatch, "R4", func(w *world, o *outsider) {
			o.ticket = make([]byte, 32)
			o.Replace = w.people[carol].leafAt(o.g)
		}},
		"a device that was removed": {carol, notAllowed, "C9", func(w *world, o *outsider) {
			require.NoError(t, w.people[alice].RemoveMembers(o.id, []string{carol}))
			w.quiet()
			*o = w.people[alice].outsider(o.id, w.people[carol]) // of an epoch that it is not in
		}},
		"a device that was removed, in the place of another": {carol, notAllowed, "C9", func(w *world, o *outsider) {
			require.NoError(t, w.people[alice].RemoveMembers(o.id, []string{carol}))
			w.quiet()
			*o = w.people[alice].outsider(o.id, w.people[carol])
			o.Replace = w.people[alice].leafAt(o.g)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			w, id := talk(t, bob, carol)
			w.enrol(dave)
			o := w.people[alice].outsider(id, w.people[c.who])
			c.change(w, &o)
			b := w.people[bob]
			before := b.conversation(id)
			item, err := o.ordered()
			require.NoError(t, err)
			require.NotNil(t, item.Receipt)
			b.arrives(item)
			requirePaused(t, b, id, c.code, c.check)
			after := b.conversation(id)
			require.Equal(t, before.EpochAuthenticator, after.EpochAuthenticator)
			require.Equal(t, before.Members, after.Members)
		})
	}
}

// TestControlsOfOutsiders: what is made in the same way and is right is taken; without a Remove MLS itself refuses it, and a stale one the hub.
func TestControlsOfOutsiders(t *testing.T) {
	w, id := talk(t, bob, carol)
	a, b, c := w.people[alice], w.people[bob], w.people[carol]
	alone := a.outsider(id, c)
	_, err := alone.ordered()
	require.Error(t, err, "two leaves of one key")
	alone.Replace = b.leafAt(alone.g)
	_, err = alone.ordered()
	require.Error(t, err, "two leaves of one key, in the place of another member")

	stale := a.outsider(id, c)
	stale.Replace = c.leafAt(stale.g)
	right := a.outsider(id, c)
	right.Replace = c.leafAt(right.g)
	item, err := right.ordered()
	require.NoError(t, err)
	second, err := stale.ordered()
	require.NoError(t, err)
	require.Nil(t, second.Receipt, "of two at once the hub grants one")
	for _, p := range []*person{a, b} {
		p.arrives(item)
		require.EqualValues(t, 2, p.conversation(id).Epoch)
		require.Len(t, p.conversation(id).Members, 3)
		require.Empty(t, p.codes(device.EventConversationPaused))
		require.NotContains(t, p.codes(device.EventMemberRemoved), "")
	}
	requireAgreement(t, id, a, b)
	c.arrives(item)
	require.Equal(t, device.StateLeft, c.conversation(id).State, "another one with its key has taken its place")
}
