package device_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/device"
)

// deafen makes every path broken for a person alone: the key that their program has for the leaf in its MLS state is another one.
func (p *person) deafen(id string) {
	g := p.group(id)
	key := g.LeafKey()
	row := p.store.buckets["group:"+id].values["group"]
	i := indexOf(row, key)
	require.GreaterOrEqual(p.w.t, i, 0)
	row[i+3] ^= 1
	p.restart()
}

func indexOf(b, part []byte) int {
	for i := range len(b) - len(part) + 1 {
		if string(b[i:i+len(part)]) == string(part) {
			return i
		}
	}
	return -1
}

// damage takes a record of a person's MLS state away.
func (p *person) damage(id string) {
	b := p.store.buckets["group:"+id]
	for _, key := range b.keys {
		if len(key) > 5 && key[:5] == "node/" {
			require.NoError(p.w.t, p.store.Update(func(tx device.Tx) error { return tx.Delete("group:"+id, key) }))
			break
		}
	}
	p.restart()
}

// back are the events by which a person learns that this device lost the thread and came back.
func (p *person) back() (details []string) {
	events, err := p.Events(0, 100000)
	require.NoError(p.w.t, err)
	for _, e := range events {
		if e.Code == device.CodeResynced {
			details = append(details, e.Detail)
		}
	}
	return details
}

// TestBrokenPathForOne: who alone cannot follow a commit is back by itself and reads the next message.
func TestBrokenPathForOne(t *testing.T) {
	w, id := talk(t, bob, carol)
	a, b, c := w.people[alice], w.people[bob], w.people[carol]
	c.say(id, "before")
	w.quiet()
	b.deafen(id)
	require.NoError(t, a.SetAdmin(id, carol, true))
	c.say(id, "meanwhile")
	w.quiet()
	require.Equal(t, device.StateActive, b.conversation(id).State)
	requireAgreement(t, id, a, b, c)
	a.say(id, "after")
	b.say(id, "I am back")
	w.quiet()
	require.Contains(t, b.texts(id), "after")
	require.Contains(t, c.texts(id), "I am back")
	require.Len(t, b.back(), 1)
	require.Contains(t, b.back()[0], "may be missing")
	require.Empty(t, b.codes(device.EventMessageRefused), "what is missing was said once")
	require.Empty(t, b.codes(device.EventConversationPaused), "nobody had to do anything")
}

// TestDamagedState: a state that cannot be read any more is replaced.
func TestDamagedState(t *testing.T) {
	w, id := talk(t, bob, carol)
	a, b, c := w.people[alice], w.people[bob], w.people[carol]
	c.say(id, "before")
	w.quiet()
	b.damage(id)
	_, err := b.Send(id, "hm", nil, "")
	require.ErrorIs(t, err, device.ErrStateLost)
	a.say(id, "meanwhile")
	w.quiet()
	require.Equal(t, device.StateActive, b.conversation(id).State)
	a.say(id, "after")
	b.say(id, "back")
	w.quiet()
	requireAgreement(t, id, a, b, c)
	require.ElementsMatch(t, []string{"before", "after", "back"}, b.texts(id))
	require.Len(t, b.back(), 1)
	require.NoError(t, a.RemoveMembers(id, []string{carol}))
	w.quiet()
	requireAgreement(t, id, a, b)
}

// TestResyncRacesAreRunAgain: two come back at once, and somebody else commits at the same time.
func TestResyncRacesAreRunAgain(t *testing.T) {
	w, id := talk(t, bob, carol)
	a, b, c := w.people[alice], w.people[bob], w.people[carol]
	b.deafen(id)
	c.deafen(id)
	require.NoError(t, a.SetAdmin(id, bob, true))
	a.work()
	for range 40 { // one job of each at a time
		for _, p := range []*person{b, c, a} {
			p.read()
			if jobs := p.doable(); len(jobs) > 0 {
				require.NoError(t, p.do(jobs[0]))
			}
		}
	}
	w.quiet()
	requireAgreement(t, id, a, b, c)
	require.Len(t, b.back(), 1)
	require.Len(t, c.back(), 1)
	c.say(id, "all here")
	w.quiet()
	require.Contains(t, b.texts(id), "all here")
}

// TestResyncSurvivesRestarts: at each step of the way the program is killed and started again.
func TestResyncSurvivesRestarts(t *testing.T) {
	w, id := talk(t, bob)
	a, b := w.people[alice], w.people[bob]
	b.deafen(id)
	require.NoError(t, a.SetAdmin(id, bob, true))
	a.work()
	for range 20 {
		b.read()
		b.restart()
		if jobs := b.doable(); len(jobs) > 0 {
			before := b.Device
			if _, commit := jobs[0].(*device.CommitJob); commit {
				b.Device = device.New(newMemory(), w.random, w.clock) // the answer is lost
				_ = b.do(jobs[0])
				b.Device = before
			}
			require.NoError(t, b.do(jobs[0]))
		}
	}
	w.quiet()
	requireAgreement(t, id, a, b)
	require.Len(t, b.back(), 1)
}

// TestResyncByHand: the person can ask for it where the program is not sure.
func TestResyncByHand(t *testing.T) {
	w, id := talk(t, bob)
	a, b := w.people[alice], w.people[bob]
	late := a.speak(id, nil, nil)
	require.NoError(t, b.Resync(id))
	require.Equal(t, device.StatePaused, b.conversation(id).State)
	b.say(id, "waits a moment")
	w.quiet()
	requireAgreement(t, id, a, b)
	require.Equal(t, []string{"waits a moment"}, a.texts(id))
	b.arrives(late)
	require.Len(t, b.texts(id), 2, "what comes late from before is read")
	w.now = w.now.Add(time.Hour)
	require.ErrorIs(t, b.Resync("00"), device.ErrNoSuchConversation)
}
