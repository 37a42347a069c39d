package device_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/device"
)

// changes makes so many epochs.
func (p *person) changes(id string, n int) {
	for i := range n {
		require.NoError(p.w.t, p.SetAdmin(id, carol, i%2 == 0))
		p.work()
	}
}

// TestLateTextIsSentAnew: what came too late to be read is asked for, and its author's program encrypts it anew. Who has it does not see it twice.
func TestLateTextIsSentAnew(t *testing.T) {
	w, id := talk(t, bob, carol)
	a, b, c := w.people[alice], w.people[bob], w.people[carol]
	b.say(id, "held up")
	b.work()
	c.read() // one has it
	late := a.mail[len(a.mail)-1]
	a.mail = a.mail[:len(a.mail)-1]
	a.changes(id, 4)
	w.quiet()
	a.receive(late)
	a.receive(late)
	w.quiet()
	require.Equal(t, []string{"held up"}, a.texts(id))
	require.Equal(t, []string{"held up"}, c.texts(id))
	require.Equal(t, []string{"held up"}, b.texts(id))
	require.Equal(t, device.MessageSent, mustMessages(t, b, id)[0].State)
	a.ReadToEnd()
	w.now = w.now.Add(time.Hour)
	w.wake()
	require.Empty(t, a.codes(device.EventMessageRefused), "it came before anybody had to be told")
	require.Empty(t, c.codes(device.EventMessageRefused))
}

// TestOneAsksSoOften: who asks for more than anybody can have missed gets no more.
func TestOneAsksSoOften(t *testing.T) {
	w, id := talk(t, bob, carol)
	a, b := w.people[alice], w.people[bob]
	held := func(text string) (late device.Incoming) {
		b.say(id, text)
		b.work()
		late = a.mail[len(a.mail)-1]
		a.mail = a.mail[:len(a.mail)-1]
		a.changes(id, 4)
		w.quiet()
		return late
	}
	a.receive(held("one"))
	w.quiet()
	require.Equal(t, []string{"one"}, a.texts(id))

	key := "sends again " + id + " " + alice
	var n map[string]any
	require.NoError(t, json.Unmarshal(b.store.buckets["gossip"].values[key], &n))
	require.EqualValues(t, 1, n["times"])
	n["times"] = 1000
	row, err := json.Marshal(n)
	require.NoError(t, err)
	b.store.buckets["gossip"].values[key] = row
	a.receive(held("two"))
	w.quiet()
	require.Equal(t, []string{"one"}, a.texts(id))

	w.now = w.now.Add(25 * time.Hour)
	a.receive(held("three"))
	w.quiet()
	require.Equal(t, []string{"one", "three"}, a.texts(id), "the next day")
}

// TestLateTextIsNotForNewcomers: whoever has joined since would read what was not for them, so its author is told and decides.
func TestLateTextIsNotForNewcomers(t *testing.T) {
	w, id := talk(t, bob, carol)
	a, b := w.people[alice], w.people[bob]
	w.enrol(dave)
	b.say(id, "not for dave")
	b.work()
	late := a.mail[len(a.mail)-1]
	a.mail = nil
	require.NoError(t, a.AddMembers(id, []string{dave}))
	a.changes(id, 4)
	w.quiet()
	a.receive(late)
	w.quiet()
	w.now = w.now.Add(10 * time.Second)
	w.wake()
	require.Empty(t, a.texts(id))
	require.Empty(t, w.people[dave].texts(id))
	require.Equal(t, device.MessageFailed, mustMessages(t, b, id)[0].State)
	require.Contains(t, b.codes(device.EventMessageState), device.CodeTooLate)

	require.NoError(t, a.RemoveMembers(id, []string{dave}))
	w.quiet()
	again := b.say(id, "not for dave")
	w.quiet()
	require.Equal(t, []string{"not for dave"}, a.texts(id))
	require.Equal(t, device.MessageSent, mustMessages(t, b, id)[again.Seq-1].State)
}

// TestLateTextWaitsForWhoIsGoneAgain: on its way through what it has missed a device meets members who are gone by the end of it. Its text waits for
// that, and holds nothing up.
func TestLateTextWaitsForWhoIsGoneAgain(t *testing.T) {
	w, id := talk(t, bob, carol)
	a, b, c := w.people[alice], w.people[bob], w.people[carol]
	w.enrol(dave)
	require.NoError(t, b.lookUp(dave))
	b.say(id, "b was offline")
	require.NoError(t, a.AddMembers(id, []string{dave}))
	a.changes(id, 4)
	b.read()
	require.Equal(t, device.MessageQueued, mustMessages(t, b, id)[0].State)
	b.say(id, "for dave, too")
	w.quiet()
	require.Equal(t, []string{"for dave, too"}, w.people[dave].texts(id))
	require.NoError(t, a.RemoveMembers(id, []string{dave}))
	w.quiet()
	require.Equal(t, []string{"for dave, too", "b was offline"}, a.texts(id))
	require.Equal(t, []string{"for dave, too", "b was offline"}, c.texts(id))
	require.Equal(t, []string{"for dave, too"}, w.people[dave].texts(id))
	require.Equal(t, device.MessageSent, mustMessages(t, b, id)[0].State)
}

// TestQuestionForLateTextIsAskedAgain: who asks for a late text may be too late, too.
func TestQuestionForLateTextIsAskedAgain(t *testing.T) {
	w, id := talk(t, bob, carol)
	a, b, c := w.people[alice], w.people[bob], w.people[carol]
	b.say(id, "held up")
	b.work()
	c.read()
	late := a.mail[len(a.mail)-1]
	a.mail = a.mail[:len(a.mail)-1]
	a.changes(id, 4)
	w.quiet()
	a.receive(late)
	a.work()
	question := b.mail[len(b.mail)-1]
	b.mail = b.mail[:len(b.mail)-1]
	a.changes(id, 4)
	w.quiet()
	require.Empty(t, a.texts(id))
	b.receive(question)
	w.quiet()
	require.Equal(t, []string{"held up"}, a.texts(id))
	require.Equal(t, []string{"held up"}, c.texts(id))
}

// TestNewcomerAsksInVain: who gets a message from before they came asks for it like anybody. Those whom it was for have it, and its author hears nothing.
func TestNewcomerAsksInVain(t *testing.T) {
	w, id := talk(t, bob, carol)
	a, b, c := w.people[alice], w.people[bob], w.people[carol]
	d := w.enrol(dave)
	a.say(id, "before dave")
	a.work()
	early := b.mail[len(b.mail)-1]
	w.quiet()
	require.NoError(t, a.AddMembers(id, []string{dave}))
	w.quiet()
	a.changes(id, 4)
	w.quiet()
	d.receive(early)
	w.quiet()
	w.now = w.now.Add(10 * time.Second)
	w.wake()
	require.Equal(t, []string{"before dave"}, b.texts(id))
	require.Equal(t, []string{"before dave"}, c.texts(id))
	require.Empty(t, d.texts(id))
	require.Equal(t, device.MessageSent, mustMessages(t, a, id)[0].State)
}

// TestReadBeforeTheKeysAreGone: five changes wait for a lookup, and with them a text of the epoch after the first, which came after them.
func TestReadBeforeTheKeysAreGone(t *testing.T) {
	w, id := talk(t, bob, carol)
	a, b, c := w.people[alice], w.people[bob], w.people[carol]
	w.enrol(dave)
	require.NoError(t, a.AddMembers(id, []string{dave}))
	a.work()
	c.read()
	c.work()
	require.Equal(t, a.conversation(id).Epoch, c.conversation(id).Epoch)
	for i := range 4 {
		require.NoError(t, a.SetAdmin(id, carol, i%2 == 0))
		a.work()
	}
	c.say(id, "what have I missed")
	c.work()
	b.read()
	b.work()
	require.Equal(t, a.conversation(id).Epoch, b.conversation(id).Epoch)
	require.Equal(t, []string{"what have I missed"}, b.texts(id))
}
