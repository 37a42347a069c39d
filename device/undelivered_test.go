package device_test

import (
	"crypto/sha256"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/device"
)

// sending is the hash of what the newest job to send something sends.
func (p *person) sending() []byte {
	jobs, err := p.Jobs()
	require.NoError(p.w.t, err)
	for _, j := range jobs {
		if s, ok := j.(*device.SendJob); ok {
			hash := sha256.Sum256(s.Message)
			return hash[:]
		}
	}
	require.Fail(p.w.t, "nothing is being sent")
	return nil
}

func TestUndelivered(t *testing.T) {
	w, id := talk(t, bob, carol)
	a := w.people[alice]
	m := a.say(id, "one")
	hash := a.sending()
	w.quiet()
	state := func() device.Message {
		list, err := a.Messages(id, m.Seq-1, 1)
		require.NoError(t, err)
		return list[0]
	}
	require.Equal(t, device.MessageSent, state().State)
	missed := device.Missed{Actor: bob, Code: "host_unreachable", Detail: "b.test could not be reached for 14 days"}
	note := device.Incoming{Actor: alice, Conversation: a.conversation(id).URL, Undelivered: &device.Undelivered{Message: hash, To: []device.Missed{missed}}}
	for range 2 { // the same again says nothing new
		a.receive(note)
	}
	require.Equal(t, device.MessageSent, state().State, "Carol has it")
	require.Equal(t, []device.Missed{missed}, state().Undelivered)
	require.Equal(t, []string{"host_unreachable"}, a.codes(device.EventDeliveryFailed))

	note.Undelivered.To = []device.Missed{{Actor: carol, Code: "refused", Detail: "no"}}
	a.receive(note)
	require.Equal(t, device.MessageFailed, state().State)
	require.Len(t, state().Undelivered, 2)
	a.restart()
	require.Len(t, state().Undelivered, 2)
	events, err := a.Events(0, 1000)
	require.NoError(t, err)
	last := events[len(events)-1]
	require.Equal(t, []any{device.EventMessageState, "refused", "one"}, []any{last.Type, last.Code, last.Message.Text})
	require.Equal(t, []any{device.EventDeliveryFailed, carol, "one"}, []any{events[len(events)-2].Type, events[len(events)-2].Actor, events[len(events)-2].Message.Text})

	a.say(id, "two")
	note.Undelivered = &device.Undelivered{Message: a.sending(), To: []device.Missed{missed}}
	w.quiet()
	a.receive(note)
	list, err := a.Undelivered(w.now.Add(-time.Hour), 10)
	require.NoError(t, err)
	require.Len(t, list, 2)
	require.Equal(t, []string{"two", "one"}, []string{list[0].Text, list[1].Text}, "the newest first")
	require.Equal(t, []device.Missed{missed}, list[0].Undelivered)
	list, err = a.Undelivered(w.now.Add(-time.Hour), 1)
	require.NoError(t, err)
	require.Len(t, list, 1)
	list, err = a.Undelivered(w.now, 10)
	require.NoError(t, err)
	require.Empty(t, list)
}

// A note of something that no person wrote: a change of members, or nothing of ours at all.
func TestUndeliveredOfSomethingElse(t *testing.T) {
	w, id := talk(t, bob)
	a := w.people[alice]
	list, err := a.Messages(id, 0, 100)
	require.NoError(t, err)
	note := device.Incoming{Actor: alice, Conversation: a.conversation(id).URL, Undelivered: &device.Undelivered{
		Message: make([]byte, 32), To: []device.Missed{{Actor: bob, Code: "refused", Detail: strings.Repeat("no", 10_000)}},
	}}
	a.receive(note)
	events, err := a.Events(0, 1000)
	require.NoError(t, err)
	last := events[len(events)-1]
	require.Equal(t, []any{device.EventDeliveryFailed, id, bob, "refused"}, []any{last.Type, last.Conversation, last.Actor, last.Code})
	require.Nil(t, last.Message)
	require.LessOrEqual(t, len(last.Detail), 2048)

	for _, other := range []device.Undelivered{{}, {Message: []byte("x")}} {
		note.Conversation, note.Undelivered = "nowhere", &other
		a.receive(note)
	}
	note.Undelivered = &device.Undelivered{To: make([]device.Missed, 5000)}
	note.Conversation = a.conversation(id).URL
	a.receive(note)
	again, err := a.Messages(id, 0, 100)
	require.NoError(t, err)
	require.Equal(t, list, again)
	w.quiet()
	w.people[bob].say(id, "still there")
	w.quiet()
	require.Equal(t, []string{"still there"}, a.texts(id))
}
