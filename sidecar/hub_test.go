package sidecar_test

import (
	"bytes"
	"crypto/ed25519"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/internal/clientapi"
	"github.com/waxwing-dm/waxwing/internal/receipt"
)

// claim by which a box takes over on a receipt.
func (r *room) claim(b *box, term uint64, last []byte) receipt.SignedClaim {
	rec, err := receipt.Parse(last)
	require.NoError(r.t, err)
	c := receipt.SignedClaim{Claim: receipt.Claim{
		GroupID: r.groupID, Term: term, Seq: rec.Seq, Head: receipt.Head(last), Epoch: rec.Epoch + 1, Ticket: rec.Ticket,
		Next: receipt.NextHub{Hub: b.instance, Key: b.hubKey()},
	}}
	c.SignMember(r.tickets[rec.Epoch+1])
	return c
}

// inTerm is a commit of another term, to another hub.
func (r *room) inTerm(b *box, term, epoch uint64, text string, to []string) clientapi.Commit {
	c := r.commit(epoch, text, to)
	c.Hub, c.Term = b.instance, term
	c.Signature = receipt.SignSubmit(r.tickets[epoch], r.groupID, term, epoch, c.Commit, [32]byte(c.Ticket))
	return c
}

// TestHubDiesAndAnotherTakesOver: mirrors answer in its place, another instance opens the next term, and the old hub hears of it when it is back.
func TestHubDiesAndAnotherTakesOver(t *testing.T) {
	w := newWorld(t)
	a, b, c := w.box("a.test"), w.box("b.test"), w.box("c.test")
	a.start()
	b.start()
	c.start()
	alice, bob, carol := a.person("alice"), b.person("bob"), c.person("carol")
	r := alice.open()
	all := []string{bob.actor, carol.actor}
	var last []byte
	for epoch := range uint64(3) {
		var err error
		last, err = alice.Commit(ctx, r.commit(epoch, "x", all))
		require.NoError(t, err)
	}
	bob.await(3)
	carol.await(3)
	a.stop()

	mirrored, err := bob.Chain(ctx, r.url, "", 0)
	require.NoError(t, err)
	require.True(t, mirrored.Mirror)
	require.Equal(t, []any{uint64(1), uint64(3), 3}, []any{mirrored.Term, mirrored.Seq, len(mirrored.Events)})
	fromB, err := carol.Chain(ctx, r.url, b.instance, 1)
	require.NoError(t, err)
	require.Equal(t, mirrored.Events[1:], fromB.Events, "other instances' users are answered too")

	claim := r.claim(b, 2, last)
	opened, err := carol.OpenTerm(ctx, clientapi.NewTerm{Conversation: r.url, Claim: claim.Marshal(), After: mirrored.Events[2:]})
	require.NoError(t, err)
	chain, _, err := receipt.CheckTerm(opened, claim.Marshal(), r.groupID)
	require.NoError(t, err)
	granted, err := carol.Commit(ctx, r.inTerm(b, 2, 3, "goes on", []string{bob.actor}))
	require.NoError(t, err)
	_, _, err = chain.Next(granted)
	require.NoError(t, err)
	whole, err := carol.Chain(ctx, r.url, b.instance, 0)
	require.NoError(t, err)
	require.Equal(t, uint64(2), whole.Term)
	require.GreaterOrEqual(t, len(whole.Events), 4)

	a.start()
	b.stop()
	b.start() // tells when it starts, and every minute
	require.Eventually(t, func() bool {
		events, err := alice.Chain(ctx, r.url, "", 3)
		return err == nil && events.Moved != nil && events.Moved.Hub == b.instance
	}, 20*time.Second, 50*time.Millisecond)
	_, err = alice.Commit(ctx, r.commit(3, "late", all))
	var moved *clientapi.HubMoved
	require.ErrorAs(t, err, &moved)
	require.Equal(t, []any{410, "hub_moved", b.instance, clientapi.Bytes(opened)}, []any{moved.Status, moved.Code, moved.Moved.Hub, moved.Moved.Event.Receipt})

	_, err = alice.Chain(ctx, r.url, b.instance, 0)
	require.NoError(t, err)
	newer, err := carol.Chain(ctx, r.url, "", 4)
	require.NoError(t, err)
	require.True(t, newer.Mirror, "who knows more than the first hub had asks for what it keeps of the next one's")
	require.Equal(t, []clientapi.Bytes{granted}, []clientapi.Bytes{newer.Events[0].Receipt})
}

// TestOtherReceiptsThanTheHub: who stands on a receipt that the hub does not have at that place is shown what it has from there on.
func TestOtherReceiptsThanTheHub(t *testing.T) {
	_, a, b := two(t)
	alice, bob := a.person("alice"), b.person("bob")
	r := alice.open()
	var last []byte
	for epoch := range uint64(3) {
		var err error
		last, err = alice.Commit(ctx, r.commit(epoch, "x", nil))
		require.NoError(t, err)
	}
	for _, d := range []*device{alice, bob} {
		c := r.commit(3, "from another branch", nil)
		at, other := uint64(3), bytes.Repeat([]byte{7}, 32)
		c.Seq, c.Head = &at, other
		_, err := d.Commit(ctx, c)
		conflict, ok := isConflict(err)
		require.True(t, ok, "%v", err)
		require.Equal(t, []any{409, "chain_mismatch", uint64(1), uint64(3)}, []any{conflict.Status, conflict.Code, conflict.Term, conflict.Seq})
		require.Equal(t, clientapi.Bytes(last), conflict.Events[0].Receipt)
	}
	c := r.commit(3, "from this one", nil)
	at, head := uint64(3), receipt.Head(last)
	c.Seq, c.Head = &at, head[:]
	_, err := bob.Commit(ctx, c)
	require.NoError(t, err)
}

// TestClaimBehindTheOldHub: a new hub does not open a term on less than what the old one still has.
func TestClaimBehindTheOldHub(t *testing.T) {
	_, a, b := two(t)
	alice, bob := a.person("alice"), b.person("bob")
	r := alice.open()
	old, err := alice.Commit(ctx, r.commit(0, "x", []string{bob.actor}))
	require.NoError(t, err)
	bob.await(1)
	newest, err := alice.Commit(ctx, r.commit(1, "not delivered", nil))
	require.NoError(t, err)
	behind := r.claim(b, 2, old)
	_, err = bob.OpenTerm(ctx, clientapi.NewTerm{Conversation: r.url, Claim: behind.Marshal()})
	conflict, ok := isConflict(err)
	require.True(t, ok, "%v", err)
	require.Equal(t, "chain_behind", conflict.Code)
	require.Equal(t, clientapi.Bytes(newest), conflict.Events[0].Receipt, "the old hub was asked, and has more")
	claim := r.claim(b, 2, newest)
	_, err = bob.OpenTerm(ctx, clientapi.NewTerm{Conversation: r.url, Claim: claim.Marshal()})
	require.NoError(t, err)
	forA := claim
	forA.Next.Key[0]++
	_, err = bob.OpenTerm(ctx, clientapi.NewTerm{Conversation: r.url, Claim: forA.Marshal()})
	requireProblem(t, err, 422, "claim_invalid")
}

func TestLeaseAndDisputeThroughSidecars(t *testing.T) {
	w, a, b := two(t)
	w.stopClock()
	alice, bob := a.person("alice"), b.person("bob")
	r := alice.open()
	_, err := bob.Commit(ctx, r.commit(0, "x", nil))
	require.NoError(t, err)
	for _, d := range []*device{bob, alice} {
		events, err := d.Events(ctx, r.url, 0)
		require.NoError(t, err)
		epoch := uint64(len(events))
		lease := newKey(t)
		key := [32]byte(lease.Public().(ed25519.PublicKey))
		call := clientapi.LeaseRequest{Conversation: r.url, LeaseCall: clientapi.LeaseCall{
			Term: 1, Epoch: epoch, Key: key[:], Signature: receipt.SignLease(r.tickets[epoch], r.groupID, 1, epoch, key),
		}}
		got, err := d.Lease(ctx, call)
		require.NoError(t, err)
		for got.Wait > 0 {
			d.box.w.advance(time.Duration(min(got.Wait, 4000)) * time.Millisecond)
			got, err = d.Lease(ctx, call)
			require.NoError(t, err)
		}
		c := r.commit(epoch, "leased", nil)
		_, err = alice.Commit(ctx, c)
		p := requireProblem(t, err, 409, "leased")
		require.True(t, p.Retry)
		c = r.commit(epoch, "leased", nil)
		c.Lease = &clientapi.Lease{Key: key[:], Signature: receipt.SignLeased(lease, c.Signature)}
		c.GroupInfo = []byte("sealed")
		granted, err := d.Commit(ctx, c)
		require.NoError(t, err)
		infos, err := bob.GroupInfos(ctx, r.url, "")
		require.NoError(t, err)
		require.Equal(t, []any{epoch + 1, clientapi.Bytes("sealed")}, []any{infos[0].Epoch, infos[0].GroupInfo})

		rec, err := receipt.Parse(granted)
		require.NoError(t, err)
		dispute := receipt.Dispute{GroupID: r.groupID, Term: 1, Seq: rec.Seq, ReceiptHash: receipt.Head(granted), Reason: receipt.ReasonInvalid}
		dispute.Sign(r.tickets[epoch])
		if d == bob {
			continue
		}
		answer, err := bob.Dispute(ctx, clientapi.Dispute{Conversation: r.url, Dispute: dispute.Marshal()})
		require.NoError(t, err)
		require.Equal(t, clientapi.Disputed{Reopened: true, Seq: rec.Seq + 1}, answer)
		_, err = bob.Commit(ctx, r.commit(epoch, "instead", nil))
		require.NoError(t, err)
	}
	key, err := bob.HubKey(ctx, a.instance)
	require.NoError(t, err)
	want := a.hubKey()
	require.Equal(t, want[:], key)
}

// TestHubIsNotTakenBack: who was removed knows the tickets of before, and reads the chain like everybody who knows the group's id. From an instance of
// their own they do not put the hub back to where they were members.
func TestHubIsNotTakenBack(t *testing.T) {
	w := newWorld(t)
	a, c := w.box("a.test").start(), w.box("c.test").start()
	alice, mallory := a.person("alice"), c.person("mallory")
	r := alice.open()
	for epoch := range uint64(6) {
		_, err := alice.Commit(ctx, r.commit(epoch, "the third removes mallory", nil))
		require.NoError(t, err)
	}
	before, err := mallory.Chain(ctx, r.url, "", 0)
	require.NoError(t, err)
	for event, want := range map[int][]any{1: {"chain_behind", uint64(1), uint64(3)}, 5: {"epoch_stale", uint64(1), uint64(6)}} {
		claim := r.claim(a, 2, before.Events[event].Receipt)
		_, err = mallory.OpenTerm(ctx, clientapi.NewTerm{Conversation: r.url, Claim: claim.Marshal(), After: before.Events[:event+1]})
		conflict, ok := isConflict(err)
		require.True(t, ok, "%v", err)
		require.Equal(t, want, []any{conflict.Code, conflict.Term, conflict.Seq})
	}
	after, err := alice.Chain(ctx, r.url, "", 0)
	require.NoError(t, err)
	require.Equal(t, before, after)
	_, err = alice.Commit(ctx, r.commit(6, "as ever", nil))
	require.NoError(t, err)
}
