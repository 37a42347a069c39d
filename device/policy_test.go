package device

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/internal/receipt"
)

// TestAllowed goes through every combination of who commits, whose leaf is concerned and whether its actor is here, for every kind of
// change. The expected answers are written out from spec/conversation.md, one line each.
func TestAllowed(t *testing.T) {
	here := []leaf{{"admin", []byte("a1")}, {"ann", []byte("b1")}, {"ann", []byte("b2")}, {"ben", []byte("c1")}}
	r := room{conversation: "https://a.example/waxwing/conversations/00", created: 1, grants: []grant{{"admin", roleAdmin}}}
	type want map[string]string // by what is done to whom: the check that refuses, or ""
	for committer, table := range map[string]want{
		"admin": {
			"add admin": "", "add ann": "", "add ben": "", "add new": "",
			"remove admin": "C5", "remove ann": "", "remove ben": "",
			"grant ann": "", "ungrant admin": "C5",
		},
		"ann": {
			"add admin": "C2", "add ann": "", "add ben": "C2", "add new": "C2",
			"remove admin": "C3", "remove ann": "", "remove ben": "C3",
			"grant ann": "C5", "ungrant admin": "C5",
		},
		"ben": {
			"add admin": "C2", "add ann": "C2", "add ben": "", "add new": "C2",
			"remove admin": "C3", "remove ann": "C3", "remove ben": "",
			"grant ann": "C5", "ungrant admin": "C5",
		},
	} {
		for what, check := range table {
			c := change{committer: leaf{actor: committer}, before: r, after: r, members: here}
			var verb, whom string
			_, err := fmt.Sscan(what, &verb, &whom)
			require.NoError(t, err)
			switch verb {
			case "add":
				c.added = []leaf{{whom, []byte("new key")}}
			case "remove":
				for _, l := range here {
					if l.actor == whom {
						c.removed = append(c.removed, l)
					}
				}
			case "grant":
				c.after = r.withAdmin(whom, true)
			case "ungrant":
				c.after = r.withAdmin(whom, false)
			}
			requireCheck(t, check, allowed(c), "%s does: %s", committer, what)
		}
	}
}

func requireCheck(t *testing.T, check string, err error, name ...any) {
	t.Helper()
	if check == "" {
		require.NoError(t, err, name...)
		return
	}
	var e *CheckError
	require.ErrorAs(t, err, &e, name...)
	require.Equal(t, check, e.Check, name...)
}

func TestAllowedUpdatesAndRoom(t *testing.T) {
	here := []leaf{{"admin", []byte("a1")}, {"ann", []byte("b1")}}
	r := room{conversation: "c", created: 1, grants: []grant{{"admin", roleAdmin}}}
	with := func(f func(*change)) change {
		c := change{committer: here[0], before: r, after: r, members: here}
		f(&c)
		return c
	}
	for name, c := range map[string]struct {
		change change
		check  string
	}{
		"nothing":             {with(func(*change) {}), ""},
		"own keys renewed":    {with(func(c *change) { c.updated = [][2]leaf{{here[0], here[0]}} }), ""},
		"another actor":       {with(func(c *change) { c.updated = [][2]leaf{{here[1], leaf{"ben", here[1].key}}} }), "C4"},
		"another key":         {with(func(c *change) { c.updated = [][2]leaf{{here[1], leaf{"ann", []byte("x")}}} }), "C4"},
		"no basic credential": {with(func(c *change) { c.updated = [][2]leaf{{here[1], leaf{"", here[1].key}}} }), "C4"},
		"another hub":         {with(func(c *change) { c.after.hubKey[0] = 1 }), "C5"},
		"another URL":         {with(func(c *change) { c.after.conversation = "d" }), "C5"},
		"another birthday":    {with(func(c *change) { c.after.created++ }), "C5"},
		"an absent admin":     {with(func(c *change) { c.after.grants = []grant{{"zoe", roleAdmin}} }), "C5"},
		"admin handed over":   {with(func(c *change) { c.after.grants = []grant{{"ann", roleAdmin}} }), ""},
		"last admin goes, another comes": {with(func(c *change) {
			c.removed, c.after = here[:1], r.withAdmin("ann", true)
		}), ""},
		"admin's device replaced": {with(func(c *change) {
			c.removed, c.added = here[:1], []leaf{{"admin", []byte("a2")}}
		}), ""},
		"the same key comes back": {with(func(c *change) { c.removed, c.added = here[:1], here[:1] }), ""},
		"unknown proposals":       {with(func(c *change) { c.other = true }), "C6"},
	} {
		requireCheck(t, c.check, allowed(c.change), name)
	}
}

// TestTermsNeverMeet: nobody makes claims of a term that somebody else makes, and none of the admins' is one of the members'.
func TestTermsNeverMeet(t *testing.T) {
	for _, voters := range []int{1, 2, 3, 16, 255, 256} {
		by := map[uint64]string{}
		for _, g := range grounds {
			for turn := range voters {
				for _, above := range []uint64{1, 2, memberTerms - 1, memberTerms, memberTerms + 1, 3*memberTerms - 2, 1 << 60} {
					term := g.termAfter(above, turn, voters)
					require.Greater(t, term, above)
					require.Equal(t, g, groundOf(receipt.SignedClaim{Claim: receipt.Claim{Term: term}}))
					who := fmt.Sprint(g, turn)
					if other, taken := by[term]; taken {
						require.Equal(t, who, other)
					}
					by[term] = who
				}
			}
		}
	}
	require.EqualValues(t, 2, afterMoveTerm(1))
	require.EqualValues(t, memberTerms+1, afterMoveTerm(memberTerms-1))
}

// TestSignaturesThatFit: one of each actor, and none that would make the claim too long to be read.
func TestSignaturesThatFit(t *testing.T) {
	var all []receipt.ClaimSignature
	for i := range 20 {
		s := receipt.ClaimSignature{Actor: fmt.Sprintf("%02000d", i)}
		all = withSignature(withSignature(all, s), s)
	}
	require.Len(t, all, 15)
	_, err := receipt.ParseClaim(receipt.SignedClaim{
		Claim: receipt.Claim{GroupID: []byte{1}, Term: 2, Next: receipt.NextHub{Hub: "https://a.example"}}, Signatures: all,
	}.Marshal())
	require.NoError(t, err)
}

// TestRoomThatGivesNobodyMore is the room that who was overtaken may be shown by somebody who is no admin (G3).
func TestRoomThatGivesNobodyMore(t *testing.T) {
	hub := func(name string) receipt.NextHub { return receipt.NextHub{Hub: "https://" + name, Key: [32]byte{1}} }
	known := room{hub: "https://a", hubKey: [32]byte{1}, grants: []grant{{"ann", roleAdmin}, {"ben", roleAdmin}}, fallbacks: []receipt.NextHub{hub("b"), hub("c")}}
	for name, c := range map[string]struct {
		change func(*room)
		within bool
	}{
		"the same":              {func(*room) {}, true},
		"an admin less":         {func(r *room) { r.grants = r.grants[:1] }, true},
		"another admin":         {func(r *room) { r.grants = []grant{{"ann", roleAdmin}, {"eve", roleAdmin}} }, false},
		"no fallbacks":          {func(r *room) { r.fallbacks = nil }, true},
		"another fallback":      {func(r *room) { r.fallbacks = []receipt.NextHub{hub("d")} }, false},
		"a fallback's key":      {func(r *room) { r.fallbacks = []receipt.NextHub{{Hub: "https://b"}} }, false},
		"another hub":           {func(r *room) { r.hub = "https://d" }, false},
		"a fallback is the hub": {func(r *room) { r.hub = "https://b" }, true},
	} {
		r := known
		c.change(&r)
		require.Equal(t, c.within, r.within(known), name)
	}
}
