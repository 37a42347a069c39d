package device_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/device"
	"github.com/waxwing-dm/waxwing/internal/receipt"
)

func (w *world) hubKey(origin string) []byte { return publicBytes(w.instances[origin].hubKey.Public()) }

// TestMoveHub: an admin's commit moves the conversation; who made it opens the next term, and everybody goes on there.
func TestMoveHub(t *testing.T) {
	w, id := talk(t, bob, carol)
	a, b, c := w.people[alice], w.people[bob], w.people[carol]
	require.NoError(t, a.MoveHub(id, "https://b.example", w.hubKey("https://b.example")))
	w.quiet()
	r := w.registerAt(a.conversation(id).URL, "https://b.example")
	require.EqualValues(t, 2, r.term)
	for _, p := range []*person{a, b, c} {
		require.Equal(t, "https://b.example", p.conversation(id).Hub, p.actor)
		require.Contains(t, p.codes(device.EventConversationUpdated), device.CodeHubMoved)
	}
	w.down["https://a.example"] = true
	require.NoError(t, a.SetAdmin(id, carol, true))
	b.say(id, "on we go")
	w.quiet()
	requireAgreement(t, id, a, b, c)
	require.Equal(t, []string{"on we go"}, c.texts(id))

	// And back again, though whoever asks for it is gone before the next term is open.
	w.down["https://a.example"] = false
	require.NoError(t, c.MoveHub(id, "https://a.example", w.hubKey("https://a.example")))
	for !c.conversationMoved(id) {
		for _, j := range w.jobsOf(c) {
			if _, term := j.(*device.TermJob); !term {
				require.NoError(t, c.do(j))
			}
		}
	}
	w.absent(c)
	w.quiet()
	w.now = w.now.Add(time.Minute)
	w.wake()
	require.Equal(t, "https://a.example", b.conversation(id).Hub)
	require.NoError(t, a.SetAdmin(id, bob, true))
	w.quiet()
	delete(w.away, carol)
	require.NoError(t, c.Sync())
	w.quiet()
	requireAgreement(t, id, a, b, c)
}

// conversationMoved tells whether the conversation is between two hubs here.
func (p *person) conversationMoved(id string) bool {
	for _, j := range p.w.jobsOf(p) {
		if _, term := j.(*device.TermJob); term {
			return true
		}
	}
	return false
}

func TestMoveHubRefused(t *testing.T) {
	w, id := talk(t, bob, carol)
	a, b := w.people[alice], w.people[bob]
	key := w.hubKey("https://b.example")
	var check *device.CheckError
	require.ErrorAs(t, b.MoveHub(id, "https://b.example", key), &check, "no admin")
	require.ErrorAs(t, a.MoveHub(id, "https://d.example", key), &check, "nobody is there")
	require.ErrorAs(t, a.MoveHub(id, "https://b.example/", key), &check)
	require.ErrorAs(t, a.MoveHub(id, "https://b.example", key[1:]), &check)
	require.NoError(t, a.MoveHub(id, "https://a.example", w.hubKey("https://a.example")), "it is there")
	w.quiet()
	require.EqualValues(t, 1, a.conversation(id).Epoch)
}

// TestReceiptOfAnotherKind is R7: a hub does not call a commit a move that is none, nor the other way round.
func TestReceiptOfAnotherKind(t *testing.T) {
	for name, move := range map[string]bool{"a move that is called a commit": true, "a commit that is called a move": false} {
		w, id := talk(t, bob, carol)
		a, b := w.people[alice], w.people[bob]
		if move {
			require.NoError(t, a.MoveHub(id, "https://b.example", w.hubKey("https://b.example")))
		} else {
			require.NoError(t, a.SetAdmin(id, bob, true))
		}
		j := a.commitJob()
		r := w.granted(j)
		if !move {
			r.Kind = receipt.KindMove
		}
		r.Sign(w.instance(alice).hubKey)
		require.ErrorIs(t, a.Committed(j.ID(), r.Marshal()), device.ErrReceipt, name)
		b.receive(device.Incoming{Actor: alice, Conversation: j.Conversation, Message: j.Commit, Receipt: r.Marshal()})
		require.EqualValues(t, 1, b.conversation(id).Epoch, name)
		require.Contains(t, b.codes(device.EventConversationPaused), device.CodeForkDetected, name)
	}
}
