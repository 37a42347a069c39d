package device_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/device"
	"github.com/waxwing-dm/waxwing/internal/receipt"
)

// twice signs the receipt of the newest event again, with another time.
func (w *world) twice(conversation string) []byte {
	r := w.register(conversation)
	rec, err := receipt.Parse(r.events[len(r.events)-1].Receipt)
	require.NoError(w.t, err)
	rec.Time++
	rec.Sign(w.instance(alice).hubKey)
	return rec.Marshal()
}

// requireCaught wants each of them to have the proof, and their persons to have been told once.
func requireCaught(t *testing.T, w *world, id string, people ...*person) {
	t.Helper()
	for _, p := range people {
		list, err := p.LyingHubs()
		require.NoError(t, err)
		require.Len(t, list, 1, p.actor)
		require.Equal(t, []string{"https://a.example", p.conversation(id).URL}, []string{list[0].Hub, list[0].Conversation})
		e, err := receipt.ParseEvidence(list[0].Evidence)
		require.NoError(t, err)
		_, _, err = e.Verify([32]byte(publicBytes(w.instance(alice).hubKey.Public())))
		require.NoError(t, err)
		require.Equal(t, []string{device.CodeForkDetected}, p.codes(device.EventHubSplit), p.actor)
	}
}

// TestHubThatLies: wherever two receipts of one place meet, the proof is kept, everybody gets it, and the hub is chosen for nothing any more.
func TestHubThatLies(t *testing.T) {
	for name, meet := range map[string]func(t *testing.T, w *world, id string){
		"with a commit": func(t *testing.T, w *world, id string) {
			r := w.register(w.people[bob].conversation(id).URL)
			w.people[bob].receive(device.Incoming{Actor: alice, Conversation: w.people[bob].conversation(id).URL, Message: r.events[2].Commit,
				Receipt: w.twice(w.people[bob].conversation(id).URL)})
		},
		"in a mirror": func(t *testing.T, w *world, id string) {
			b := w.people[bob]
			url := b.conversation(id).URL
			r := w.register(url)
			require.NoError(t, b.Sync())
			for _, j := range w.jobsOf(b) {
				if e, ok := j.(*device.EventsJob); ok {
					require.NoError(t, b.EventsMirrored(e.ID(), []device.HubEvent{r.events[2], {Receipt: w.twice(url), Commit: r.events[2].Commit}}))
				}
			}
		},
		"in a message's fence": func(t *testing.T, w *world, id string) {},
		"in a claim": func(t *testing.T, w *world, id string) {
			b, c := w.people[bob], w.people[carol]
			w.falls("https://a.example")
			w.cut = true
			w.hours(24, time.Hour, never)
			w.letGo()
			b.read()
			c.read()
		},
	} {
		t.Run(name, func(t *testing.T) {
			w, id := talk(t, bob, carol)
			a, b, c := w.people[alice], w.people[bob], w.people[carol]
			require.NoError(t, a.SetAdmin(id, bob, true))
			a.work()
			split := name == "in a message's fence" || name == "in a claim"
			if split { // bob and carol get the commit with different receipts
				c.mail[len(c.mail)-1].Receipt = w.twice(b.conversation(id).URL)
			}
			w.quiet()
			meet(t, w, id)
			w.quiet()
			if split {
				c.say(id, "a message that stands elsewhere")
				w.quiet()
				requireCaught(t, w, id, b, c)
				return
			}
			requireCaught(t, w, id, a, b, c)
			require.NoError(t, b.NameHubs(id))
			w.quiet()
		})
	}
}

// TestLiarIsNoFallback: an instance whose hub was caught is told of once, and named as none of a room's.
func TestLiarIsNoFallback(t *testing.T) {
	w, id := talk(t, bob, carol)
	a, b := w.people[alice], w.people[bob]
	require.NoError(t, a.SetAdmin(id, bob, true))
	w.quiet()
	url := a.conversation(id).URL
	r := w.register(url)
	b.receive(device.Incoming{Actor: alice, Conversation: url, Message: r.events[2].Commit, Receipt: w.twice(url)})
	w.quiet()
	requireCaught(t, w, id, a, b, w.people[carol])
	b.receive(device.Incoming{Actor: alice, Conversation: url, Message: r.events[2].Commit, Receipt: w.twice(url)})
	w.quiet()
	requireCaught(t, w, id, a, b, w.people[carol])

	require.NoError(t, b.NameHubs(id))
	w.quiet()
	w.falls("https://a.example")
	w.hours(25, 10*time.Minute, handedOver(a, b))
	require.NoError(t, b.NameHubs(id))
	var wanted [][]string
	for _, j := range w.jobsOf(b) {
		if k, ok := j.(*device.HubKeysJob); ok {
			wanted = append(wanted, k.Instances)
		}
	}
	require.Equal(t, [][]string{{"https://c.example"}}, wanted, "the next hub is b.example")
}

// TestEvidenceThatProvesNothing: what a member shows as proof costs an honest hub nothing.
func TestEvidenceThatProvesNothing(t *testing.T) {
	w, id := talk(t, bob, carol)
	a, b := w.people[alice], w.people[bob]
	url := a.conversation(id).URL
	r := w.register(url)
	good, err := receipt.FindEvidence(url, [32]byte(publicBytes(w.instance(alice).hubKey.Public())), r.events[1].Receipt, w.twice(url))
	require.NoError(t, err)
	forged := good
	forged.Receipts[1] = append([]byte(nil), forged.Receipts[1]...)
	forged.Receipts[1][len(forged.Receipts[1])-1] ^= 1
	elsewhere := good
	elsewhere.Conversation = "https://a.example/waxwing/conversations/00"
	for name, text := range map[string]string{
		"no proof": "x", "a signature that is none": string(forged.Marshal()), "another conversation": string(elsewhere.Marshal()),
	} {
		before := len(a.codes(device.EventMessageRefused))
		a.receive(b.speak(id, func(m map[string]any) {
			m["object"] = map[string]any{"type": "waxwing:HubEvidence", "id": "x", "attributedTo": bob, "evidence": text}
		}, nil))
		require.Len(t, a.codes(device.EventMessageRefused), before+1, name)
	}
	list, err := a.LyingHubs()
	require.NoError(t, err)
	require.Empty(t, list)
	a.receive(b.speak(id, func(m map[string]any) {
		m["object"] = map[string]any{"type": "waxwing:HubEvidence", "id": "x", "attributedTo": bob, "evidence": string(good.Marshal())}
	}, nil))
	requireCaught(t, w, id, a)
}

func (w *world) jobsOf(p *person) []device.Job {
	jobs, err := p.Jobs()
	require.NoError(w.t, err)
	return jobs
}
