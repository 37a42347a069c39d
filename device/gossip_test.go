package device_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/waxwing-dm/waxwing/device"
	"github.com/waxwing-dm/waxwing/transparency"
)

// sightings that can be decoded, of logs that nobody knows.
func sightings(n int) (b []byte) {
	for i := range n {
		b = append(b, transparency.Sighting{Origin: [4]byte{byte(i)}, Size: 1}.Marshal()...)
	}
	return b
}

// requireSplit: somebody does not believe the log any more, knows it in one sentence, and can show anybody why.
func requireSplit(t *testing.T, p *person, actor string) {
	t.Helper()
	require.Equal(t, split, p.stateOf(actor), p.actor)
	kinds := p.logEvents()
	require.Equal(t, device.EventLogSplit, kinds[len(kinds)-1], p.actor)
	list, err := p.Distrusted()
	require.NoError(t, err)
	require.Len(t, list, 1)
	e, err := transparency.ParseEvidence(list[0].Evidence)
	require.NoError(t, err)
	_, _, err = e.Verify(p.w.instance(actor).logKey)
	require.NoError(t, err)
}

// TestSplitViewIsFoundAtTheFirstMessage has bob's instance show two histories of its log, to alice and to bob, signed by the same keys.
// One message between the two, in either direction, is enough.
func TestSplitViewIsFoundAtTheFirstMessage(t *testing.T) {
	for name, c := range map[string]struct {
		toAlice, toBob int // entries after the fork
		seenByBob      int // of those
		sender         string
	}{
		"same size, alice writes":               {3, 3, 3, alice},
		"same size, bob writes":                 {3, 3, 3, bob},
		"alice was shown more, alice writes":    {7, 2, 2, alice},
		"alice was shown more, bob writes":      {7, 2, 2, bob},
		"bob was shown more, alice writes":      {1, 6, 6, alice},
		"bob was shown more, bob writes":        {1, 6, 6, bob},
		"bob has not looked lately, bob writes": {4, 9, 1, bob},
		"bob has not looked, alice writes":      {4, 9, 1, alice},
		"over a thousand entries":               {300, 900, 5, bob},
	} {
		t.Run(name, func(t *testing.T) {
			w, id := talk(t, bob, carol)
			a, b := w.people[alice], w.people[bob]
			honest := w.instance(bob)
			forked := w.fork(bob, alice)
			w.grow(forked, c.toAlice)
			w.grow(honest, c.seenByBob)
			a.sees(bob)
			b.sees(bob)
			w.grow(honest, c.toBob-c.seenByBob)
			require.Empty(t, a.logEvents())
			require.Empty(t, b.logEvents())

			w.people[c.sender].say(id, "the first")
			w.quiet()
			require.Equal(t, []string{"the first"}, a.texts(id), "what was shown of the log is no message")
			require.Equal(t, []string{"the first"}, b.texts(id))
			requireSplit(t, a, bob)
			requireSplit(t, b, bob)
			requireSplit(t, w.people[carol], bob)
			require.Equal(t, believed, a.stateOf(carol))

			// Nothing new is believed, and those who are there go on talking.
			_, err := a.Learn(bob, mustAnswer(t, forked, bob, 0))
			require.ErrorIs(t, err, device.ErrLogSplit)
			a.say(id, "still here?")
			b.say(id, "yes")
			w.quiet()
			require.ElementsMatch(t, []string{"the first", "still here?", "yes"}, b.texts(id))
			events := len(a.logEvents())
			w.now = w.now.Add(48 * time.Hour)
			b.say(id, "two days later")
			w.quiet()
			require.Len(t, a.logEvents(), events, "it is told once")
		})
	}
}

func mustAnswer(t *testing.T, in *instance, actor string, from int64) []byte {
	t.Helper()
	a, err := in.log.Answer(context.Background(), actor, from)
	require.NoError(t, err)
	return a.Marshal()
}

// TestAnHonestLogThatGrows raises nothing, whoever has seen how much of it.
func TestAnHonestLogThatGrows(t *testing.T) {
	w, id := talk(t, bob, carol)
	people := []*person{w.people[alice], w.people[bob], w.people[carol]}
	for i := range 30 {
		w.grow(w.instance(bob), i%4)
		w.grow(w.instance(carol), i%3*40)
		people[i%3].sees(bob, carol)
		people[(i+1)%3].say(id, fmt.Sprint(i))
		if i%2 == 0 {
			w.quiet()
		}
		w.now = w.now.Add(time.Hour)
	}
	w.quiet()
	for _, p := range people {
		require.Empty(t, p.logEvents())
		require.Len(t, p.texts(id), 30)
		require.Equal(t, believed, p.stateOf(bob))
	}
}

// lie makes a sighting of bob's log that nobody was shown.
func lie(w *world, size int64) []byte {
	return transparency.Sighting{Origin: transparency.OriginHash(w.instance(bob).log.Origin()), Size: size, Root: tlog.Hash{7}}.Marshal()
}

// with puts sightings into a fence.
func with(seen ...[]byte) func([]byte) []byte {
	return func(f []byte) []byte {
		f[len(f)-1] = byte(len(seen))
		for _, s := range seen {
			f = append(f, s...)
		}
		return f
	}
}

// TestALiarAlone says in every way that bob's log forked. The log is asked, answers, and stays believed; what it costs is bounded.
func TestALiarAlone(t *testing.T) {
	w, id := talk(t, bob, carol)
	a, liar := w.people[alice], w.people[carol]
	w.grow(w.instance(bob), 20)
	a.sees(bob)
	head, err := a.LogHead("https://b.example")
	require.NoError(t, err)
	asked := 0
	for i := range 40 {
		for _, size := range []int64{1, head.N / 2, head.N - 1, head.N, head.N + 1, 1 << 62} {
			s := lie(w, size)
			s[20] = byte(i)
			a.receive(liar.speak(id, nil, with(s)))
			jobs, err := a.Jobs()
			require.NoError(t, err)
			for _, j := range jobs {
				if _, ok := j.(*device.ProofJob); ok {
					asked++
				}
				require.NoError(t, a.do(j))
			}
			a.work()
		}
	}
	require.LessOrEqual(t, asked, 64, "in one day")
	require.Equal(t, []device.EventType{device.EventLogDiffers}, a.logEvents(), "it is told once a day who says so")
	require.Equal(t, believed, a.stateOf(bob))
	a.sees(bob)
	sent := 0
	for _, item := range append(w.people[bob].mail, liar.mail...) {
		if item.Actor == alice {
			sent++
		}
	}
	require.Equal(t, 2, sent, "one message, to the two others")
	w.quiet()
	require.Empty(t, w.people[bob].logEvents())
}

// TestALiarIsInNobodysWay: on the day that the log forks, a member has cried wolf before.
func TestALiarIsInNobodysWay(t *testing.T) {
	w, id := talk(t, bob, carol)
	a, b, liar := w.people[alice], w.people[bob], w.people[carol]
	for range 3 {
		head, err := a.LogHead("https://b.example")
		require.NoError(t, err)
		for _, size := range []int64{head.N, head.N + 1} {
			item := liar.speak(id, nil, with(lie(w, size)))
			a.receive(item)
			b.receive(item)
			w.quiet()
		}
	}
	forked := w.fork(bob, alice)
	w.grow(forked, 2)
	w.grow(w.instance(bob), 4)
	a.sees(bob)
	b.sees(bob)
	require.Equal(t, believed, a.stateOf(bob))
	b.say(id, "wolf")
	w.quiet()
	requireSplit(t, a, bob)
	requireSplit(t, b, bob)
}

// TestALiarCannotSign: what a member shows counts only with the log's signature under it.
func TestALiarCannotSign(t *testing.T) {
	w, id := talk(t, bob, carol)
	a, liar := w.people[alice], w.people[carol]
	other := newWorld(t, 99)
	other.now = w.now
	other.enrol(bob)
	other.grow(other.instance(bob), 5)
	note, err := other.instance(bob).log.Checkpoint()
	require.NoError(t, err)
	true1, err := w.instance(bob).log.Checkpoint()
	require.NoError(t, err)
	forged := strings.Replace(string(note), other.instance(bob).log.Origin(), w.instance(bob).log.Origin(), 1)
	evidence := transparency.Evidence{Key: w.instance(bob).logKey, Smaller: true1, Other: []byte(forged)}.Marshal()
	show := func(change map[string]any) func(map[string]any) {
		return func(m map[string]any) {
			m["object"] = map[string]any{"type": "waxwing:Checkpoint", "id": "uri:uuid:3", "attributedTo": carol}
			for k, v := range change {
				m["object"].(map[string]any)[k] = v
			}
		}
	}
	for name, change := range map[string]map[string]any{
		"no note":              {},
		"not a note":           {"note": "hello"},
		"another log's key":    {"note": forged},
		"somebody else's word": {"note": string(true1), "attributedTo": alice},
		"too long":             {"note": string(true1) + strings.Repeat("x", 20<<10)},
		"evidence of nothing":  {"type": "waxwing:LogEvidence", "evidence": "waxwing/log-evidence@v1\n"},
		"forged evidence":      {"type": "waxwing:LogEvidence", "evidence": string(evidence)},
		"both":                 {"note": string(true1), "evidence": string(evidence)},
	} {
		n := len(a.codes(device.EventMessageRefused))
		a.arrives(liar.speak(id, show(change), nil))
		codes := a.codes(device.EventMessageRefused)
		require.Len(t, codes, n+1, name)
		require.Equal(t, device.CodeRejectedForged, codes[n], name)
	}
	require.Empty(t, a.logEvents())
	require.Equal(t, believed, a.stateOf(bob))
	n := len(a.codes(device.EventMessageRefused))
	a.arrives(liar.speak(id, show(map[string]any{"note": string(note)}), nil))
	a.arrives(liar.speak(id, show(map[string]any{"note": string(true1)}), nil))
	require.Len(t, a.codes(device.EventMessageRefused), n, "the control: of a log that nobody here knows, and of the one that all know")
	require.Empty(t, a.texts(id))
}

// TestALogThatDoesNotProve is in doubt: nothing new is believed until it does.
func TestALogThatDoesNotProve(t *testing.T) {
	w, id := talk(t, bob, carol)
	a, b := w.people[alice], w.people[bob]
	in := w.instance(bob)
	w.grow(in, 2)
	b.sees(bob)
	w.grow(in, 3)
	a.sees(bob)
	in.mute = true
	b.say(id, "I have seen less of it")
	w.quiet()
	require.Equal(t, unproven, a.stateOf(bob))
	require.Equal(t, []device.EventType{device.EventLogUnproven}, a.logEvents())
	w.grow(in, 1)
	from, err := a.LogHead("https://b.example")
	require.NoError(t, err)
	_, err = a.Learn(bob, mustAnswer(t, in, bob, from.N))
	require.ErrorIs(t, err, device.ErrLogUnproven)
	w.quiet()
	require.NoError(t, a.Sync())
	w.quiet()
	require.Equal(t, []device.EventType{device.EventLogUnproven}, a.logEvents(), "it is told once")
	b.say(id, "we go on")
	w.quiet()
	require.Equal(t, []string{"I have seen less of it", "we go on"}, a.texts(id))
	in.mute = false
	require.NoError(t, a.Sync())
	w.quiet()
	require.Equal(t, believed, a.stateOf(bob))
	require.Equal(t, []device.EventType{device.EventLogUnproven, device.EventLogProven}, a.logEvents())
	a.sees(bob)
}

// TestALogThatSignedMoreThanItShows: the larger tree was signed, and is not to be had here.
func TestALogThatSignedMoreThanItShows(t *testing.T) {
	w, id := talk(t, bob, carol)
	a, liar := w.people[alice], w.people[carol]
	forked := w.fork(bob, dave)
	w.grow(forked, 3)
	note, err := forked.log.Checkpoint()
	require.NoError(t, err)
	a.arrives(liar.speak(id, func(m map[string]any) {
		m["object"] = map[string]any{"type": "waxwing:Checkpoint", "id": "uri:uuid:3", "attributedTo": carol, "note": string(note)}
	}, nil))
	require.Equal(t, unproven, a.stateOf(bob), "a checkpoint that was never shown here is no evidence, but a reason to wait")
	w.grow(w.instance(bob), 9)
	require.NoError(t, a.Sync())
	w.quiet()
	requireSplit(t, a, bob)
}

// TestALogThatContradictsItself shows both of its histories to one and the same device.
func TestALogThatContradictsItself(t *testing.T) {
	for name, sizes := range map[string][2]int{"same size": {2, 2}, "smaller": {5, 3}, "larger": {3, 5}} {
		t.Run(name, func(t *testing.T) {
			w, _ := talk(t, bob)
			a := w.people[alice]
			forked := w.fork(bob)
			w.grow(w.instance(bob), sizes[0])
			a.sees(bob)
			w.grow(forked, sizes[1])
			_, err := a.Learn(bob, mustAnswer(t, forked, bob, 0))
			require.ErrorContains(t, err, "A2")
			w.quiet()
			if name == "larger" { // what it shows now is smaller
				require.Equal(t, unproven, a.stateOf(bob))
				w.grow(w.instance(bob), 7)
				require.NoError(t, a.Sync())
				w.quiet()
			}
			requireSplit(t, a, bob)
		})
	}
}

// TestAnOldAnswerIsNoFork: whoever stands between can repeat what the log once said. That it shrank proves nothing.
func TestAnOldAnswerIsNoFork(t *testing.T) {
	w, _ := talk(t, bob)
	a := w.people[alice]
	w.grow(w.instance(bob), 3)
	old := mustAnswer(t, w.instance(bob), bob, 0)
	w.grow(w.instance(bob), 3)
	a.sees(bob)
	_, err := a.Learn(bob, old)
	require.ErrorContains(t, err, "A2")
	w.quiet()
	require.Empty(t, a.logEvents())
	require.Equal(t, believed, a.stateOf(bob))
}

// TestStrippedOrAlteredSightings: what a server does to the fence, MLS shows.
func TestStrippedOrAlteredSightings(t *testing.T) {
	w, id := talk(t, bob)
	a, b := w.people[alice], w.people[bob]
	a.say(id, "hello")
	a.work()
	require.Len(t, b.mail, 1)
	item := b.mail[0]
	b.mail = nil
	at := strings.Index(string(item.Message), string(sightingOf(t, a, bob)))
	require.Positive(t, at, "it is in the clear, and under MLS's seal")
	altered := item
	altered.Message = flip(item.Message, at+43)
	b.arrives(altered)
	stripped := item
	stripped.Message = append(append([]byte{}, item.Message[:at]...), item.Message[at+44:]...)
	b.arrives(stripped)
	require.Equal(t, []string{device.CodeRejectedForged, device.CodeRejectedForged}, b.codes(device.EventMessageRefused))
	b.arrives(item)
	require.Equal(t, []string{"hello"}, b.texts(id))
	require.Empty(t, b.logEvents())
}

func sightingOf(t *testing.T, p *person, actor string) []byte {
	t.Helper()
	origin, _ := originOf(actor)
	head, err := p.LogHead(origin)
	require.NoError(t, err)
	return transparency.Sighting{Origin: transparency.OriginHash(p.w.instance(actor).log.Origin()), Size: head.N, Root: head.Hash}.Marshal()
}

// TestSightingsOfManyInstances: with more than eight logs the own is in every message, and the others take turns.
func TestSightingsOfManyInstances(t *testing.T) {
	var others []string
	for i := range 12 {
		others = append(others, fmt.Sprintf("https://i%d.example/users/x", i))
	}
	w, id := talk(t, others...)
	a := w.people[alice]
	found := map[string]int{}
	for i := range 4 {
		a.say(id, fmt.Sprint(i))
		a.work()
		mail := w.people[others[0]].mail
		message := string(mail[len(mail)-1].Message)
		for _, actor := range append(others, alice) {
			if strings.Contains(message, string(sightingOf(t, a, actor))) {
				found[actor]++
			}
		}
	}
	require.Equal(t, 4, found[alice])
	require.Len(t, found, 13)
	total := 0
	for _, n := range found {
		total += n
	}
	require.Equal(t, 4*8, total)
	w.quiet()
	require.Empty(t, w.people[others[0]].logEvents())
}

// TestCommitCarriesSightings: a change of members is as good as a message.
func TestCommitCarriesSightings(t *testing.T) {
	w, id := talk(t, bob, carol)
	a, b := w.people[alice], w.people[bob]
	forked := w.fork(bob, alice)
	w.grow(forked, 2)
	w.grow(w.instance(bob), 2)
	a.sees(bob)
	b.sees(bob)
	require.NoError(t, a.RemoveMembers(id, []string{carol}))
	w.quiet()
	requireSplit(t, a, bob)
	requireSplit(t, b, bob)
	require.Len(t, a.conversation(id).Members, 2)
}

// TestNobodyNewIsBelieved: somebody of the split instance who is not yet known cannot be written to, nor let in.
func TestNobodyNewIsBelieved(t *testing.T) {
	w, id := talk(t, bob, carol)
	a, b := w.people[alice], w.people[bob]
	eve := w.enrol("https://b.example/users/eve")
	forked := w.fork(bob, alice)
	w.grow(forked, 1)
	w.grow(w.instance(bob), 1)
	a.sees(bob)
	b.sees(bob)
	b.say(id, "hello")
	w.quiet()
	requireSplit(t, a, bob)
	a.sees(eve.actor)
	c, _, err := a.Contact(eve.actor)
	require.NoError(t, err)
	require.Empty(t, c.Devices)
	var unready *device.NotReadyError
	_, err = a.StartConversation([]string{eve.actor})
	require.ErrorAs(t, err, &unready)
}

// TestGossipSurvivesARestart at each step of the exchange.
func TestGossipSurvivesARestart(t *testing.T) {
	w, id := talk(t, bob)
	a, b := w.people[alice], w.people[bob]
	forked := w.fork(bob, alice)
	w.grow(forked, 6)
	w.grow(w.instance(bob), 2)
	a.sees(bob)
	b.sees(bob)
	b.say(id, "hello")
	for range 20 {
		for _, p := range []*person{a, b} {
			p.restart()
			if jobs, err := p.Jobs(); err == nil && len(jobs) > 0 {
				require.NoError(t, p.do(jobs[0]))
			}
			p.restart()
			if len(p.mail) > 0 {
				item := p.mail[0]
				p.mail = p.mail[1:]
				p.receive(item)
			}
		}
	}
	requireSplit(t, a, bob)
	requireSplit(t, b, bob)
}
