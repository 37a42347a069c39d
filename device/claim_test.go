package device_test

import (
	"encoding/hex"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/device"
	"github.com/waxwing-dm/waxwing/internal/receipt"
)

// council is a conversation of alice, whose instance is the hub, and others on instances of their own, of whom the first so many are admins with
// her. The fallbacks are named.
func council(t *testing.T, admins, members int) (w *world, id string, others []*person) {
	var actors []string
	for i := range members {
		actors = append(actors, fmt.Sprintf("https://%c.example/users/%c", 'b'+i, 'b'+i))
	}
	w, id = talk(t, actors...)
	a := w.people[alice]
	for _, actor := range actors[:admins] {
		require.NoError(t, a.SetAdmin(id, actor, true))
	}
	w.quiet()
	require.NoError(t, a.NameHubs(id))
	w.quiet()
	for _, actor := range actors {
		others = append(others, w.people[actor])
	}
	return w, id, others
}

// absent switches somebody's device off.
func (w *world) absent(p *person) { w.away[p.actor] = true }

// letGo delivers what was held.
func (w *world) letGo() {
	held := w.held
	w.cut, w.held = false, nil
	for _, deliver := range held {
		deliver()
	}
}

// hours lets time go by until it is done, with what agents do in it.
func (w *world) hours(n int, step time.Duration, done func() bool) {
	for until := w.now.Add(time.Duration(n) * time.Hour); w.now.Before(until) && !done(); {
		w.now = w.now.Add(step)
		for _, actor := range w.actors() {
			require.NoError(w.t, w.people[actor].Sync())
		}
		w.wake()
	}
}

func never() bool { return false }

// falls lets a hub die, which everybody finds out.
func (w *world) falls(hub string) {
	w.down[hub] = true
	w.hours(1, time.Hour, never)
}

// handedOver tells whether all of them have the next term.
func handedOver(people ...*person) func() bool {
	return func() bool {
		return !slices.ContainsFunc(people, func(p *person) bool {
			return !slices.Contains(p.codes(device.EventConversationUpdated), device.CodeHubMoved)
		})
	}
}

// TestAdminsAgree: more than half of the admins have to sign a claim. One is away, one thinks that the hub is there, and it works all the same.
func TestAdminsAgree(t *testing.T) {
	for name, c := range map[string]struct {
		admins, away, refusing int
		works                  bool
	}{
		"three, one is at the dead instance":      {admins: 2, works: true},
		"three, another is away, too":             {admins: 2, away: 1},
		"five, one more is away":                  {admins: 4, away: 1, works: true},
		"five, one refuses":                       {admins: 4, refusing: 1, works: true},
		"five, one is away and another refuses":   {admins: 4, away: 1, refusing: 1},
		"two: neither has more than half":         {admins: 1},
		"four, all but the one at the dead place": {admins: 3, works: true},
	} {
		t.Run(name, func(t *testing.T) {
			w, id, others := council(t, c.admins, 5)
			w.absent(w.people[alice])
			for i := range c.away {
				w.absent(others[i])
			}
			for _, p := range others[c.away : c.away+c.refusing] {
				w.sees[p.actor] = true
			}
			here := others[c.away+c.refusing:]
			w.falls("https://a.example")
			began := w.now
			w.hours(23, time.Hour, never)
			require.False(t, handedOver(here[0])())
			w.hours(2, 20*time.Second, handedOver(here...))
			require.Equal(t, c.works, handedOver(here...)())
			if !c.works {
				return
			}
			t.Log(w.now.Sub(began.Add(24 * time.Hour)))
			require.Less(t, w.now.Sub(began), 24*time.Hour+5*time.Minute)
			admin := here[0]
			require.NoError(t, admin.RemoveMembers(id, []string{others[4].actor}))
			w.quiet()
			requireAgreement(t, id, others[c.away+c.refusing:4]...)
		})
	}
}

// TestDeadFallback: the first fallback is as dead as the hub, so that the second one gets the term.
func TestDeadFallback(t *testing.T) {
	for _, admins := range []int{2, 3} {
		w, id, others := council(t, admins, 3)
		w.absent(w.people[alice])
		w.down["https://b.example"] = true
		w.falls("https://a.example")
		began := w.now
		w.hours(23, time.Hour, never)
		w.hours(2, 20*time.Second, handedOver(others...))
		require.Equal(t, "https://c.example", others[0].conversation(id).Hub)
		require.Less(t, w.now.Sub(began), 24*time.Hour+5*time.Minute)
	}
}

// TestRivalClaims: every admin makes a claim of their own, unheard by the others. One of them comes to be, for all.
func TestRivalClaims(t *testing.T) {
	w, id, others := council(t, 4, 4)
	b, c := others[0], others[1]
	w.absent(w.people[alice])
	w.falls("https://a.example")
	w.hours(23, time.Hour, never)
	w.cut = true
	for range 20 {
		w.now = w.now.Add(5 * time.Minute)
		w.wake()
	}
	w.letGo()
	for _, p := range []*person{b, c} {
		require.False(t, handedOver(p)())
	}
	w.hours(2, 20*time.Second, handedOver(others...))
	require.True(t, handedOver(others...)())
	b.say(id, "on we go")
	require.NoError(t, c.SetAdmin(id, others[3].actor, false))
	w.quiet()
	requireAgreement(t, id, others...)
	require.Contains(t, c.texts(id), "on we go")
}

// TestWhoKnowsMoreDoesNotSign: what the dead hub delivered to one alone is had from that one's instance before a claim is signed (H4).
func TestWhoKnowsMoreDoesNotSign(t *testing.T) {
	w, id, others := council(t, 2, 3)
	b, c, d := others[0], others[1], others[2]
	a := w.people[alice]
	require.NoError(t, a.SetAdmin(id, d.actor, true))
	a.work()
	b.mail, d.mail = nil, nil // it reached c alone
	c.read()
	c.work()
	w.absent(a)
	w.falls("https://a.example")
	w.hours(23, time.Hour, never)
	w.mirrors["https://c.example"] = true
	w.hours(2, 20*time.Second, handedOver(b, c, d))
	require.True(t, handedOver(b, c, d)())
	requireAgreement(t, id, b, c, d)
	require.Len(t, slices.DeleteFunc(b.conversation(id).Members, func(m device.Member) bool { return !m.Admin }), 4)
}

// TestForgedClaims: what a member can show as a claim that no admin has signed costs them the message and nothing else.
func TestForgedClaims(t *testing.T) {
	w, id, others := council(t, 2, 3)
	b, d := others[0], others[2]
	groupID, err := hex.DecodeString(id)
	require.NoError(t, err)
	claim := receipt.SignedClaim{Claim: receipt.Claim{GroupID: groupID, Term: 9, Seq: 1, Next: receipt.NextHub{Hub: "https://b.example"}}}
	for name, object := range map[string]map[string]any{
		"no bytes of a claim":   {"claim": []byte("x")},
		"nobody has signed":     {"claim": claim.Marshal()},
		"no claim":              {},
		"a claim and more":      {"claim": claim.Marshal(), "note": "n"},
		"a receipt of nothing":  {"claim": claim.Marshal(), "receipt": []byte("x")},
		"of another group":      {"claim": receipt.SignedClaim{Claim: receipt.Claim{GroupID: []byte{1}, Term: 9, Next: claim.Next}}.Marshal()},
		"longer than any claim": {"claim": make([]byte, 50<<10)},
	} {
		before := len(b.codes(device.EventMessageRefused))
		object["type"], object["id"], object["attributedTo"] = "waxwing:HubClaim", "x", d.actor
		b.receive(d.speak(id, func(a map[string]any) { a["object"] = object }, nil))
		w.quiet()
		if name != "a receipt of nothing" {
			require.Len(t, b.codes(device.EventMessageRefused), before+1, name)
		}
	}
	require.Equal(t, device.StateActive, b.conversation(id).State)
}
