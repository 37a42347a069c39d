package keydir_test

import (
	"crypto/ed25519"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/keydir"
	"github.com/waxwing-dm/waxwing/transparency"
)

// recordAt is what somebody remembers who was shown these statements, one after the other.
func recordAt(t *testing.T, actor string, shown ...said) keydir.Record {
	t.Helper()
	var r *keydir.Record
	for _, s := range shown {
		state, err := keydir.Open(actor, s.statement, s.opening, s.content)
		require.NoError(t, err)
		next := keydir.Record{Actor: actor, Statement: s.statement, List: state.List, MovedTo: state.MovedTo}
		next.First = keydir.FirstOf(r, state.Since)
		parsed, err := keydir.ParseRecord(next.Marshal())
		require.NoError(t, err)
		require.Equal(t, next, parsed)
		r = &parsed
	}
	return *r
}

// there is what bob's account key n says.
func there(kind transparency.Kind, previous *said, former string, key ed25519.PrivateKey) said {
	c := keydir.Change{Kind: kind, Label: label(bob), List: listOf(bob, 1), Next: public(account(30))}
	c.List.Former = former
	var before *statement
	if previous != nil {
		before, c.Opening = &previous.statement, openingOf(previous.Seq+1)
	}
	s, content := c.Sign(before, key, now)
	return said{s, c.Opening, content}
}

func TestMovedTakesBothSides(t *testing.T) {
	one := says(first, nil, 1, 2, 1)
	gone := says(move, &one, 2, 3)
	from := recordAt(t, alice, one, gone)
	begun := there(first, nil, alice, account(3))
	later := there(update, &begun, alice, account(30))
	forgot := there(update, &begun, "", account(30))
	anew := there(reset, &begun, alice, account(3))

	require.True(t, keydir.Moved(from, recordAt(t, bob, begun)))
	require.True(t, keydir.Moved(from, recordAt(t, bob, begun, later)), "who saw the beginning knows it still")
	for name, to := range map[string]keydir.Record{
		"the other side names nobody":           recordAt(t, bob, there(first, nil, "", account(3))),
		"the other side names somebody else":    recordAt(t, bob, there(first, nil, bob, account(3))),
		"another key than the one promised":     recordAt(t, bob, there(first, nil, alice, account(4))),
		"the key that signed the move":          recordAt(t, bob, there(first, nil, alice, account(2))),
		"the beginning was never shown":         recordAt(t, bob, later),
		"the list does not name it any more":    recordAt(t, bob, begun, forgot),
		"it was reset since, by the stolen key": recordAt(t, bob, begun, anew),
	} {
		require.False(t, keydir.Moved(from, to), name)
	}
	require.False(t, keydir.Moved(recordAt(t, alice, one), recordAt(t, bob, begun)), "the account has not moved")
	elsewhere := from
	elsewhere.MovedTo = "https://c.example/users/alice"
	require.False(t, keydir.Moved(elsewhere, recordAt(t, bob, begun)), "it has moved to somebody else")
}
