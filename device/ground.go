package device

import (
	"slices"
	"time"

	"github.com/waxwing-dm/waxwing/internal/receipt"
)

// Whose word counts for a claim (H3): the admins', a day after the hub went away, or, if that does not come about because the only admin was at the
// instance that is gone, say, everybody's, after a week. The two are agreed on side by side and never meet: a term tells which of them
// its claims are of.

type ground int

const (
	byAdmins ground = iota
	byMembers
)

// grounds in the order in which they are looked at.
var grounds = []ground{byAdmins, byMembers}

// memberTerms divides the terms that the members claim, and no other. It is more than there can be voters, so that each has terms of their own.
const memberTerms = 1 << 16

// maxLeap is how far above the present term one may be that is signed. Else an insider could have the terms come to their end.
const maxLeap = 1 << 48

func groundOf(claim receipt.SignedClaim) ground {
	if claim.Term%memberTerms == 0 {
		return byMembers
	}
	return byAdmins
}

// givenUp is after which time a claim is made.
func (g ground) givenUp() time.Duration {
	if g == byMembers {
		return hubGivenUpByAll
	}
	return hubGivenUp
}

// signAfter is after which time another's claim is signed.
func (g ground) signAfter() time.Duration {
	if g == byMembers {
		return hubGivenUpByAll
	}
	return signAfter
}

// counts tells whether somebody's word does. Of two people that of either does in any term.
func (g ground) counts(rm room, members []Member, actor string) bool {
	return g == byMembers || rm.admin(actor) || len(members) == 2
}

// termAfter is the next term above one in which the turn-th of so many voters makes claims.
func (g ground) termAfter(term uint64, turn, voters int) uint64 {
	if g == byMembers {
		round := term/memberTerms + 1
		for round%uint64(voters) != uint64(turn) {
			round++
		}
		return round * memberTerms
	}
	for term++; term%uint64(voters) != uint64(turn) || term%memberTerms == 0; {
		term++
	}
	return term
}

// voters are whose word counts, in an order that all agree on.
func (c *conversation) voters(rm room, g ground) (actors []string) {
	for _, m := range c.Members {
		if g.counts(rm, c.Members, m.Actor) {
			actors = append(actors, m.Actor)
		}
	}
	return actors
}

// vote is this device's part in agreeing on a ground.
func (c *conversation) vote(g ground) *vote {
	if g == byMembers {
		return &c.MembersVote
	}
	return &c.Vote
}

// idle tells that a ground adds nothing: all are admins, or two.
func (c *conversation) idle(rm room, g ground) bool {
	return g == byMembers && len(c.voters(rm, byAdmins)) == len(c.Members)
}

// opening tells whether the term of a claim that has our word is just being opened.
func (c *conversation) opening(rm room, now time.Time) bool {
	return slices.ContainsFunc(grounds, func(g ground) bool {
		ours, ok := c.voted(rm, g)
		return ok && checkSigners(rm, c.Members, ours) == nil && now.Sub(c.vote(g).At) < claimPatience
	})
}
