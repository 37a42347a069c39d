package hub_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/federation/hub"
	"github.com/waxwing-dm/waxwing/internal/receipt"
)

// claimAt is a claim of a hub on the receipt of a seq, by a member of the epoch after it.
func (b *bench) claimAt(seq, term uint64, next receipt.NextHub) receipt.SignedClaim {
	b.t.Helper()
	raw := b.granted(seq)
	r, err := receipt.Parse(raw)
	require.NoError(b.t, err)
	c := receipt.SignedClaim{Claim: receipt.Claim{
		GroupID: group, Term: term, Seq: seq, Head: receipt.Head(raw), Epoch: r.Epoch + 1, Ticket: r.Ticket, Next: next,
	}}
	c.SignMember(ticket(r.Epoch + 1))
	return c
}

func (b *bench) itself() receipt.NextHub {
	return receipt.NextHub{Hub: here, Key: [32]byte(b.Key())}
}

func termEvent(c receipt.SignedClaim, key ed25519.PrivateKey) hub.Event {
	r := c.Receipt(uint64(start.UnixMilli()))
	r.Sign(key)
	return hub.Event{Receipt: r.Marshal(), Commit: c.Marshal()}
}

// TestT6NobodyTakesAHubBack: who was removed knows tickets of old epochs, and who is a member the newest. Neither lets them put the hub that has the
// conversation back to an earlier place, or into another term at its own.
func TestT6NobodyTakesAHubBack(t *testing.T) {
	b := newBench(t)
	b.grant(8)
	before := b.state()
	for _, seq := range []uint64{1, 3, 7, 8} {
		c := b.claimAt(seq, 2, b.itself())
		_, err := b.OpenTerm(ctx, group, c.Marshal(), b.all()[:seq])
		var stale *hub.StaleError
		require.ErrorAs(t, err, &stale, seq)
		require.Equal(t, []any{before.Term, before.Seq}, []any{stale.Term, stale.Seq})
		require.Equal(t, before, b.state(), seq)
	}
	b.submit(submission(8, "as ever"))
	requireChain(t, b)
}

// TestT6NorByWayOfAnother: nor do they by a hub of their own, whose term this one cannot judge.
func TestT6NorByWayOfAnother(t *testing.T) {
	evil := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{66}, 32))
	for _, told := range []bool{false, true} {
		for _, seq := range []uint64{3, 8} {
			b := newBench(t)
			b.grant(8)
			first := b.claimAt(seq, 2, receipt.NextHub{Hub: "https://evil.test", Key: public(evil)})
			event := termEvent(first, evil)
			if told {
				require.NoError(t, b.MovedTo(ctx, group, event))
			}
			before := b.state()
			second := receipt.SignedClaim{Claim: receipt.Claim{
				GroupID: group, Term: 3, Seq: seq + 1, Head: receipt.Head(event.Receipt), Epoch: first.Epoch, Ticket: first.Ticket, Next: b.itself(),
			}}
			second.SignMember(ticket(first.Epoch))
			_, err := b.OpenTerm(ctx, group, second.Marshal(), append(b.all()[:seq], event))
			var stale *hub.StaleError
			require.ErrorAs(t, err, &stale, "told: %v, at %d", told, seq)
			require.Equal(t, before, b.state())
		}
	}
}

// TestT6AHubThatWasLeft takes a conversation again: one that it has moved itself and nobody has disputed that, and one that went on elsewhere a
// day after it has granted anything.
func TestT6AHubThatWasLeft(t *testing.T) {
	next := receipt.NextHub{Hub: there, Key: public(nextKey)}
	back := func(b *bench, event hub.Event, c receipt.SignedClaim) receipt.SignedClaim {
		again := receipt.SignedClaim{Claim: receipt.Claim{
			GroupID: group, Term: c.Term + 1, Seq: c.Seq + 1, Head: receipt.Head(event.Receipt), Epoch: c.Epoch, Ticket: c.Ticket, Next: b.itself(),
		}}
		again.SignMember(ticket(c.Epoch))
		return again
	}
	t.Run("by its own move", func(t *testing.T) {
		b := newBench(t)
		b.grant(3)
		s := submission(3, "moves")
		s.Move = &hub.Move{NextHub: next, Signature: receipt.SignMove(ticket(3), group, 1, 3, s.Commit, next)}
		b.submit(s)
		c := b.claimAt(4, 2, next)
		event := termEvent(c, nextKey)
		again := back(b, event, c)
		_, err := b.OpenTerm(ctx, group, again.Marshal(), append(b.all(), event))
		var stale *hub.StaleError
		require.ErrorAs(t, err, &stale, "who is no admin moves it, too, until that is disputed")
		b.clock = 10 * time.Minute
		_, err = b.OpenTerm(ctx, group, again.Marshal(), append(b.all(), event))
		require.NoError(t, err)
		require.Equal(t, []any{uint64(3), uint64(6)}, []any{b.state().Term, b.state().Seq})
	})
	t.Run("if the next one never came", func(t *testing.T) {
		b := newBench(t)
		b.grant(3)
		s := submission(3, "moves")
		s.Move = &hub.Move{NextHub: next, Signature: receipt.SignMove(ticket(3), group, 1, 3, s.Commit, next)}
		b.submit(s)
		c := b.claimAt(4, 2, b.itself())
		b.clock = 23 * time.Hour
		_, err := b.OpenTerm(ctx, group, c.Marshal(), b.all())
		var stale *hub.StaleError
		require.ErrorAs(t, err, &stale)
		b.clock = 24 * time.Hour
		_, err = b.OpenTerm(ctx, group, c.Marshal(), b.all())
		require.NoError(t, err)
	})
	t.Run("by a claim", func(t *testing.T) {
		b := newBench(t)
		b.grant(3)
		c := b.claimAt(3, 2, next)
		event := termEvent(c, nextKey)
		require.NoError(t, b.MovedTo(ctx, group, event))
		again := back(b, event, c)
		b.clock = 25 * time.Hour
		_, err := b.OpenTerm(ctx, group, again.Marshal(), append(b.all(), event))
		require.NoError(t, err)
	})
}

// TestClaimsElsewhereAreToldSeldom: everybody has to judge a claim before they are served despite it. Who makes one after the other does not keep
// them from it, and one of an old place does not take the place of a newer.
func TestClaimsElsewhereAreToldSeldom(t *testing.T) {
	b := newBench(t)
	b.grant(8)
	next := receipt.NextHub{Hub: there, Key: public(nextKey)}
	claimed := func(seq, term uint64) (receipt.SignedClaim, error) {
		c := b.claimAt(seq, term, next)
		return c, b.MovedTo(ctx, group, termEvent(c, nextKey))
	}
	first, err := claimed(5, 2)
	require.NoError(t, err)
	_, err = claimed(3, 1<<40)
	require.NoError(t, err)
	require.Equal(t, sha256.Sum256(first.Marshal()), b.state().Moved, "from a place before it, whatever its term")
	second, err := claimed(6, 3)
	require.NoError(t, err)
	require.Equal(t, sha256.Sum256(second.Marshal()), b.state().Moved)
	for term := uint64(4); term < 50; term++ {
		_, err = claimed(6, term)
		require.ErrorIs(t, err, hub.ErrTooMany)
	}
	s := submission(8, "despite it")
	s.Despite = sha256.Sum256(second.Marshal())
	b.submit(s)
	b.clock = time.Minute
	third, err := claimed(6, 4)
	require.NoError(t, err)
	require.Equal(t, sha256.Sum256(third.Marshal()), b.state().Moved)
}
