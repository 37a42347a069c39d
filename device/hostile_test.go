package device_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/device"
	"github.com/waxwing-dm/waxwing/mls"
)

// TestTimesThatCannotBeWritten: what RFC 3339 lets a member say and JSON does not let us store must not hold up the mailbox for ever.
func TestTimesThatCannotBeWritten(t *testing.T) {
	w, id := talk(t, bob)
	a, b := w.people[alice], w.people[bob]
	for i, published := range []string{
		"2026-01-01T00:00:00+24:00", "9999-12-31T23:59:59-23:59", "0000-01-01T00:00:00+23:59", "9999-12-31T23:59:59Z", "2026-01-01T00:00:00.5+05:30",
	} {
		a.arrives(b.speak(id, func(m map[string]any) { m["published"] = published }, nil))
		require.Equal(t, i+1, len(a.texts(id))+len(a.codes(device.EventMessageRefused)), published)
	}
	require.Len(t, a.texts(id), 3, "times that are times are no reason to refuse")
}

// early is a message of an epoch that has not begun, n of them all different. Nothing but the header says so.
func early(b *person, id string, n int) (items []device.Incoming) {
	item := b.speak(id, nil, nil)
	item.Message[len(b.group(id).GroupID())+5+7]++ // the epoch's last byte, in the clear
	for i := range n {
		next := item
		next.Message = flip(flip(item.Message, len(item.Message)-1-i%200), len(item.Message)-201-i/200)
		items = append(items, next)
	}
	return items
}

// TestOutsidersKeepNobodyOut: whoever knows a group's id, with any number of names, leaves room for what members send early.
func TestOutsidersKeepNobodyOut(t *testing.T) {
	w, id := talk(t, bob)
	a, b := w.people[alice], w.people[bob]
	for i, item := range early(b, id, 400) {
		item.Actor = fmt.Sprintf("https://evil%d.example/users/x%d", i%7, i)
		a.receive(item)
	}
	require.LessOrEqual(t, len(a.store.buckets["parked:"+id].keys), 32)
	refused := len(a.codes(device.EventMessageRefused))
	for _, item := range early(b, id, 20) {
		a.receive(item)
	}
	require.Len(t, a.codes(device.EventMessageRefused), refused)
}

// TestMemberKeepsNobodyOut: a member who fills the room makes room for another one, at their own cost.
func TestMemberKeepsNobodyOut(t *testing.T) {
	w, id := talk(t, bob, carol)
	a := w.people[alice]
	for _, item := range early(w.people[bob], id, 300) {
		a.receive(item)
	}
	require.Len(t, a.store.buckets["parked:"+id].keys, 256)
	told := a.codes(device.EventMessageRefused)
	require.Len(t, told, 300-256)
	for _, item := range early(w.people[carol], id, 3) {
		a.receive(item)
	}
	require.Len(t, a.store.buckets["parked:"+id].keys, 256)
	require.Equal(t, 3, parkedOf(a, id, carol))
	require.Len(t, a.codes(device.EventMessageRefused), len(told)+3, "who made room is told, whatever it was")
}

// parkedOf counts the items of an actor that wait.
func parkedOf(p *person, id, actor string) (n int) {
	for _, v := range p.store.buckets["parked:"+id].values {
		n += strings.Count(string(v), `"Actor":"`+actor+`"`)
	}
	return n
}

// TestBigItemsAreFewer: items that wait are read again and again, so their bytes are bounded and not only their number.
func TestBigItemsAreFewer(t *testing.T) {
	w, id := talk(t, bob)
	a, b := w.people[alice], w.people[bob]
	g := b.group(id)
	big, err := g.Encrypt(w.random, make([]byte, 900<<10), nil, nil)
	require.NoError(t, err)
	big[len(g.GroupID())+5+7]++
	for i := range 20 {
		a.receive(device.Incoming{Actor: bob, Conversation: a.conversation(id).URL, Message: flip(big, len(big)-1-i)})
	}
	total := 0
	for _, v := range a.store.buckets["parked:"+id].values {
		total += len(v)
	}
	require.LessOrEqual(t, total, 25<<20)
	require.NotZero(t, total)
	for _, item := range early(b, id, 1) {
		item.Activity, item.Actor = strings.Repeat("x", 1<<20), carol
		a.receive(item)
	}
	require.Equal(t, 1, parkedOf(a, id, carol))
	for _, v := range a.store.buckets["parked:"+id].values {
		require.False(t, strings.Contains(string(v), strings.Repeat("x", 64)), "what nobody looks at is not kept")
	}
}

// TestStrangersShareTheirRoom: one instance cannot push out what another one sent ahead of its Welcome.
func TestStrangersShareTheirRoom(t *testing.T) {
	w, id := talk(t, bob)
	a, b := w.people[alice], w.people[bob]
	stranger := b.speak(id, nil, nil)
	stranger.Conversation = ""
	other := func(i int, actor string) device.Incoming {
		s := stranger
		s.Message = append([]byte{}, stranger.Message...)
		s.Message[6], s.Message[7], s.Message[8], s.Actor = byte(i>>8), byte(i), 0xff, actor
		return s
	}
	a.receive(other(0, carol))
	for i := range 400 {
		a.receive(other(i+1, fmt.Sprintf("https://evil.example/users/x%d", i)))
	}
	waits := 0
	for name, bucket := range a.store.buckets {
		if strings.HasPrefix(name, "parked:") {
			for _, v := range bucket.values {
				waits += strings.Count(string(v), carol)
			}
		}
	}
	require.Equal(t, 1, waits)
	require.LessOrEqual(t, len(a.store.buckets["strangers"].keys), 256)
}

// TestHeldConversationStaysQuiet: asking again and again for a list that does not have a device brings neither rows nor events.
func TestHeldConversationStaysQuiet(t *testing.T) {
	w, id := talk(t, bob)
	a, b, d := w.people[alice], w.people[bob], w.unlisted(dave)
	a.forge(id, mls.CommitParams{Proposals: []mls.Proposal{mls.AddProposal(d.keyPackage(nil))}})
	require.NoError(t, b.Sync())
	b.work()
	b.say(id, "hello")
	b.work()
	require.Contains(t, b.conversation(id).Reason, device.CodeNotInLog)
	rows, events := len(b.store.buckets["parked:"+id].keys), len(b.store.logs["events"])
	for range 50 {
		w.now = w.now.Add(10 * time.Minute)
		require.NoError(t, b.Sync())
		b.work()
	}
	require.Len(t, b.store.buckets["parked:"+id].keys, rows)
	require.Len(t, b.store.logs["events"], events)
	require.Equal(t, 1, b.conversation(id).Waiting)
}

// TestLongWayBehind: more of the chain than strangers may park is followed at once, although its first step waits for a lookup.
func TestLongWayBehind(t *testing.T) {
	w, id := talk(t, bob)
	a, b := w.people[alice], w.people[bob]
	w.enrol(carol)
	require.NoError(t, a.AddMembers(id, []string{carol}))
	a.work()
	for i := range 120 {
		require.NoError(t, a.SetAdmin(id, bob, i%2 == 0))
		a.work()
	}
	b.mail = nil // its instance lost them
	require.NoError(t, b.Sync())
	b.work()
	require.Equal(t, a.conversation(id).Epoch, b.conversation(id).Epoch)
	require.Empty(t, b.codes(device.EventMessageRefused))
}

// TestHubThatForgot: a hub that answers that it knows nothing holds nobody's queue, and is not news each time it is asked.
func TestHubThatForgot(t *testing.T) {
	w, id := talk(t, bob)
	a := w.people[alice]
	w.enrol(carol)
	require.NoError(t, a.Sync()) // asks the hub, and meanwhile
	require.NoError(t, a.AddMembers(id, []string{carol}))
	a.say(id, "hello")
	events := len(a.codes(device.EventMessageWaiting))
	for range 3 {
		refuseNext[*device.EventsJob](a, "no_such_conversation")
		require.NoError(t, a.Sync())
	}
	require.Len(t, a.codes(device.EventMessageWaiting), events, "nothing waits for the hub's answer")
	refuseNext[*device.EventsJob](a, "no_such_conversation")
	refuseNext[*device.CommitJob](a, "no_such_conversation")
	for len(a.texts(id)) > 0 && mustMessages(t, a, id)[0].State != device.MessageSent {
		jobs, err := a.Jobs()
		require.NoError(t, err)
		require.NotEmpty(t, jobs, "the message waits for nothing any more, and is not sent")
		for _, j := range jobs {
			if _, ok := j.(*device.EventsJob); ok {
				require.NoError(t, a.Failed(j.ID(), "no_such_conversation", ""))
			} else {
				require.NoError(t, a.do(j))
			}
		}
	}
}

// TestRefusedKeyPackages: a sidecar that takes no key packages is asked again, and costs nothing each time.
func TestRefusedKeyPackages(t *testing.T) {
	w := newWorld(t, 9)
	p := w.enrol(alice)
	rows := len(p.store.buckets["key package"].keys)
	w.now = w.now.Add(16 * 24 * time.Hour)
	for range 5 {
		require.NoError(t, p.TopUp(0))
		refuseNext[*device.KeyPackagesJob](p, "kp_lifetime")
		require.Len(t, p.store.buckets["key package"].keys, rows)
	}
	require.Equal(t, []string{"kp_lifetime"}, p.codes(device.EventKeyPackagesRefused), "told once")
	last := w.packages[alice].lastResort
	require.NoError(t, p.TopUp(0))
	p.work()
	require.NotEqual(t, last, w.packages[alice].lastResort, "what was refused is not taken for delivered")
	require.NoError(t, p.TopUp(0))
	refuseNext[*device.KeyPackagesJob](p, "kp_lifetime")
	require.Len(t, p.codes(device.EventKeyPackagesRefused), 2)
}

// TestActorsInPlainLetters: an actor's URL ends up on screens, and two spellings of one would be two people.
func TestActorsInPlainLetters(t *testing.T) {
	w := newWorld(t, 10)
	p := w.enrol(alice)
	for _, actor := range []string{
		"https://b.example/users/bob ", "https://b.example/users/b\u202eob", "https://b.example/users/b\u00f6b", "https://b.example/users/\x9bbob",
		"https://b.example/users/bob@a.example: hello",
	} {
		_, err := p.StartConversation([]string{actor})
		require.ErrorIs(t, err, device.ErrActor, "%q", actor)
	}
}

// TestSyncIsOnePass: with many conversations a look after them costs one walk through the jobs, not one for each.
func TestSyncIsOnePass(t *testing.T) {
	w := newWorld(t, 11)
	a := w.enrol(alice)
	w.enrol(bob)
	for range 20 {
		_, err := a.StartConversation([]string{bob})
		require.NoError(t, err)
	}
	w.quiet()
	a.store.reads = 0
	require.NoError(t, a.Sync())
	jobs, err := a.Jobs()
	require.NoError(t, err)
	require.Len(t, jobs, 20)
	require.Less(t, a.store.reads, 150)
	require.NoError(t, a.Sync())
	again, err := a.Jobs()
	require.NoError(t, err)
	require.Equal(t, jobs, again)
}

// TestNewLoginReadsFromTheBeginning: a sidecar that was set up anew counts its mailbox from one.
func TestNewLoginReadsFromTheBeginning(t *testing.T) {
	w, id := talk(t, bob)
	a, b := w.people[alice], w.people[bob]
	first, second := b.speak(id, nil, nil), b.speak(id, nil, nil)
	first.Cursor = 500
	require.NoError(t, a.Receive(first))
	require.NoError(t, a.Bind(alice, "@"+alice, "https://a.example", "another token"))
	for i, item := range []device.Incoming{first, second} {
		item.Cursor = uint64(i + 1)
		require.NoError(t, a.Receive(item))
	}
	require.Len(t, a.texts(id), 2)
	require.NoError(t, a.Bind(alice, "@"+alice, "https://a.example", "another token"))
	cursor, err := a.Cursor()
	require.NoError(t, err)
	require.EqualValues(t, 2, cursor)
}
