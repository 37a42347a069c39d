package device_test

import (
	"crypto/sha256"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/device"
)

// tooLate has alice get a text of bob's whose keys she has thrown away, while bob does not hear that she asks for it.
func tooLate(t *testing.T) (w *world, id string, a, b *person, question device.Incoming) {
	w, id = talk(t, bob, carol)
	a, b = w.people[alice], w.people[bob]
	b.say(id, "held up")
	b.work()
	late := a.mail[len(a.mail)-1]
	a.mail = a.mail[:len(a.mail)-1]
	a.changes(id, 4)
	w.quiet()
	a.receive(late)
	a.work()
	question = b.mail[len(b.mail)-1]
	b.mail = b.mail[:len(b.mail)-1]
	return w, id, a, b, question
}

func (p *person) refusals(id string) (list []device.Event) {
	events, err := p.Events(0, 100000)
	require.NoError(p.w.t, err)
	for _, e := range events {
		if e.Type == device.EventMessageRefused && e.Conversation == id {
			list = append(list, e)
		}
	}
	return list
}

func (p *person) wakes() (next time.Time, did bool) {
	next, did, err := p.Wake()
	require.NoError(p.w.t, err)
	return next, did
}

// TestNoticeIsHeld: the person is told only after the mailbox was read to its end and the text had time to come again.
func TestNoticeIsHeld(t *testing.T) {
	w, id, a, _, _ := tooLate(t)
	require.Empty(t, a.refusals(id))
	w.now = w.now.Add(time.Hour)
	next, did := a.wakes()
	require.False(t, did, "there may be more in the mailbox")
	require.True(t, next.After(w.now))
	require.Empty(t, a.refusals(id))

	a.ReadToEnd()
	next, did = a.wakes()
	require.True(t, did)
	require.True(t, next.IsZero() || next.After(w.now))
	told := a.refusals(id)
	require.Len(t, told, 1)
	require.Equal(t, device.CodeCannotDecrypt, told[0].Code)
	require.Equal(t, bob, told[0].Actor)
	require.False(t, told[0].Recovered)
	require.Equal(t, 1, a.conversation(id).Unreadable)
	_, did = a.wakes()
	require.False(t, did, "it is told once")

	w.now = w.now.Add(time.Second)
	a.restart()
	_, did = a.wakes()
	require.False(t, did)
	require.Len(t, a.refusals(id), 1)
}

// TestNoticeWaitsForItsTime: to have read the mailbox to its end is not enough, its author has to be asked.
func TestNoticeWaitsForItsTime(t *testing.T) {
	w, id, a, _, _ := tooLate(t)
	a.ReadToEnd()
	next, did := a.wakes()
	require.False(t, did)
	require.True(t, next.After(w.now) && !next.After(w.now.Add(time.Minute)))
	w.now = next
	_, did = a.wakes()
	require.True(t, did)
	require.Len(t, a.refusals(id), 1)
}

// TestNoticeWaitsForTheChain: as long as the hub has not said what else there is, nobody knows; a hub that is away is not waited for.
func TestNoticeWaitsForTheChain(t *testing.T) {
	w, id, a, _, _ := tooLate(t)
	a.ReadToEnd()
	require.NoError(t, a.Sync())
	w.now = w.now.Add(time.Hour)
	a.wakes()
	require.Empty(t, a.refusals(id))
	for _, j := range a.listed() {
		require.NoError(t, a.HubAway(j.ID()))
	}
	w.now = w.now.Add(time.Minute)
	a.wakes()
	require.Len(t, a.refusals(id), 1)
}

// TestTextComesAfterItsNotice: what the person was told is no longer so; the event keeps its place and says so, and there is another.
func TestTextComesAfterItsNotice(t *testing.T) {
	w, id, a, b, question := tooLate(t)
	a.ReadToEnd()
	w.now = w.now.Add(time.Hour)
	a.wakes()
	told := a.refusals(id)
	require.Len(t, told, 1)

	a.changes(id, 4) // what the author sends anew is too late again
	b.receive(question)
	b.work()
	again := a.mail[len(a.mail)-1]
	a.mail = a.mail[:len(a.mail)-1]
	w.quiet()
	a.changes(id, 4)
	w.quiet()
	a.receive(again)
	w.quiet()
	require.Equal(t, []string{"held up"}, a.texts(id))
	after := a.refusals(id)
	require.Len(t, after, 1, "of what it was sent anew with nobody was told")
	require.Equal(t, told[0].Seq, after[0].Seq)
	require.True(t, after[0].Recovered)
	require.Zero(t, a.conversation(id).Unreadable)
	events, err := a.Events(told[0].Seq, 1000)
	require.NoError(t, err)
	var recovered []device.Event
	for _, e := range events {
		if e.Type == device.EventMessageRecovered {
			recovered = append(recovered, e)
		}
	}
	require.Len(t, recovered, 1)
	require.Equal(t, told[0].Seq, recovered[0].Refused)
	require.Equal(t, "held up", recovered[0].Message.Text)
	a.ReadToEnd()
	w.now = w.now.Add(time.Hour)
	w.wake()
	require.Len(t, a.refusals(id), 1)
}

// TestNoticesAreFew: who sends much that cannot be read does not fill the device; what there is no room for is told.
func TestNoticesAreFew(t *testing.T) {
	w, id := talk(t, bob, carol)
	a, b := w.people[alice], w.people[bob]
	const many = 300
	for range many {
		b.say(id, "held up")
	}
	b.work()
	late := a.mail[len(a.mail)-many:]
	a.mail = a.mail[:len(a.mail)-many]
	a.changes(id, 4)
	w.quiet()
	for _, item := range late {
		a.receive(item)
	}
	require.Len(t, a.refusals(id), many-256)
	a.ReadToEnd()
	w.now = w.now.Add(time.Hour)
	a.wakes()
	require.Len(t, a.refusals(id), many)
	require.Equal(t, 256, a.conversation(id).Unreadable)
	w.now = w.now.Add(15 * 24 * time.Hour)
	a.receive(late[0])
	w.quiet()
	require.Len(t, a.texts(id), many, "all of them come")
	require.Zero(t, a.conversation(id).Unreadable)
}

// TestNobodySpeaksForAnother: what somebody says they have sent anew is believed of their own messages alone, whether it comes before or after them.
func TestNobodySpeaksForAnother(t *testing.T) {
	for name, first := range map[string]bool{"before": true, "after": false} {
		t.Run(name, func(t *testing.T) {
			w, id := talk(t, bob, carol)
			a, b, c := w.people[alice], w.people[bob], w.people[carol]
			b.say(id, "held up")
			b.work()
			late := a.mail[len(a.mail)-1]
			a.mail = a.mail[:len(a.mail)-1]
			a.changes(id, 4)
			w.quiet()
			hash := sha256.Sum256(late.Message)
			claims := func() device.Incoming {
				return c.speak(id, func(m map[string]any) { m["waxwing:insteadOf"] = [][]byte{hash[:]} }, nil)
			}
			if first {
				a.receive(claims())
			}
			a.receive(late)
			if !first {
				a.receive(claims())
			}
			require.Empty(t, a.codes(device.EventMessageRefused))
			require.Len(t, a.texts(id), 1)
			a.work()
			require.NotEmpty(t, b.mail, "its author is asked")
			b.mail = nil
			a.ReadToEnd()
			w.now = w.now.Add(time.Hour)
			a.wakes()
			require.Len(t, a.refusals(id), 1)
			require.False(t, a.refusals(id)[0].Recovered)
		})
	}
	w, id := talk(t, bob)
	a, b := w.people[alice], w.people[bob]
	for _, wrong := range []any{"x", []string{"x"}, []string{strings.Repeat("A", 44)}, slices.Repeat([][]byte{make([]byte, 32)}, 9), 1} {
		a.receive(b.speak(id, func(m map[string]any) { m["waxwing:insteadOf"] = wrong }, nil))
	}
	require.Equal(t, slices.Repeat([]string{device.CodeRejectedForged}, 5), a.codes(device.EventMessageRefused))
}
