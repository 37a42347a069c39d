package store_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/sidecar/store"
)

// A visitor knocks at alice's, who asks strangers to wait.
type visitor struct {
	t *testing.T
	s *store.Store
	n int
}

func careful(t *testing.T) *visitor {
	s, _ := fresh(t)
	require.NoError(t, s.Consents.Ask(ctx, alice, store.FromRequests))
	return &visitor{t: t, s: s}
}

func (v *visitor) send(d store.Drop) error {
	v.n++
	d.Actor = alice
	_, err := v.s.Mailboxes.Accept(ctx, store.Arrival{Activity: fmt.Sprint(v.n), BodyHash: []byte("h"), At: now.UnixMilli(), Drops: []store.Drop{d}})
	return err
}

func (v *visitor) welcome(who, conversation string) error {
	return v.send(store.Drop{Welcome: true, Item: store.Item{Sender: who, Conversation: conversation, Message: []byte("welcome"), Receipt: []byte("r")}})
}

func (v *visitor) message(who, conversation string, size int) error {
	return v.send(store.Drop{Item: store.Item{Sender: who, Conversation: conversation, Message: []byte(strings.Repeat("x", size))}})
}

func (v *visitor) waits() int {
	v.t.Helper()
	items, err := v.s.Mailboxes.Read(ctx, alice, "one", 0, 10000, 1<<30)
	require.NoError(v.t, err)
	return len(items)
}

func (v *visitor) requests() (senders []string) {
	v.t.Helper()
	_, list, err := v.s.Consents.Requests(ctx, alice)
	require.NoError(v.t, err)
	for _, r := range list {
		senders = append(senders, r.Sender)
	}
	return senders
}

const (
	room  = "http://b.test/c"
	carol = "http://c.test/users/carol"
)

// TestStrangersWait: who is not accepted leaves one Welcome and 8 KiB, however fast that is read.
func TestStrangersWait(t *testing.T) {
	v := careful(t)
	require.ErrorIs(t, v.message(bobAtB, room, 10), store.ErrNoConsent, "nothing was asked yet")
	require.NoError(t, v.welcome(bobAtB, room))
	require.ErrorIs(t, v.welcome(bobAtB, room), store.ErrNoConsent, "a second Welcome")
	require.ErrorIs(t, v.welcome(bobAtB, "http://b.test/c2"), store.ErrNoConsent, "and into another conversation")
	require.NoError(t, v.message(bobAtB, room, 4<<10))
	require.NoError(t, v.message(carol, room, 4<<10), "who is in it, too, shares its room")
	require.ErrorIs(t, v.message(carol, room, 1), store.ErrNoConsent)
	require.ErrorIs(t, v.message(carol, "http://b.test/c3", 1), store.ErrNoConsent)
	require.NoError(t, v.s.Mailboxes.Delete(ctx, alice, "one", 3))
	require.ErrorIs(t, v.message(bobAtB, room, 1), store.ErrNoConsent, "what is read makes no room")
	require.Equal(t, []string{bobAtB}, v.requests())

	require.NoError(t, v.s.Consents.Accept(ctx, alice, bobAtB, room))
	require.NoError(t, v.message(bobAtB, room, 100<<10))
	require.NoError(t, v.message(carol, room, 100<<10))
	require.NoError(t, v.welcome(bobAtB, "http://b.test/c2"))
	require.NoError(t, v.message(carol, "http://b.test/c2", 9<<10), "bob has introduced her")
	require.Empty(t, v.requests())
	require.NoError(t, v.welcome(carol, "http://c.test/c"))
	require.Equal(t, []string{carol}, v.requests(), "she is a stranger elsewhere")
}

// TestWritingIsConsent: to whom alone one writes, and whom one asks into a conversation.
func TestWritingIsConsent(t *testing.T) {
	v := careful(t)
	require.NoError(t, v.welcome(bobAtB, room))
	x := sending("1", 1, "http://b.test")
	x.Acquaints, x.Talks = []string{bobAtB}, "http://a.test/c"
	_, err := v.s.Sent.Record(ctx, x)
	require.NoError(t, err)
	require.Empty(t, v.requests())
	require.NoError(t, v.message(bobAtB, room, 9<<10))
	require.NoError(t, v.message(carol, "http://a.test/c", 9<<10), "she is in a conversation that alice talks in")
	is, err := v.s.Consents.Standing(ctx, alice, carol, "http://b.test/other")
	require.NoError(t, err)
	require.Equal(t, store.Standing{Consent: store.FromRequests}, is)
	is, err = v.s.Consents.Standing(ctx, alice, carol, bobAtB)
	require.NoError(t, err)
	require.False(t, is.Known, "a conversation that is called like somebody known")
	x = sending("2", 1, "http://b.test")
	_, err = v.s.Sent.Record(ctx, x)
	require.NoError(t, err)
	is, err = v.s.Consents.Standing(ctx, alice, carol, "")
	require.NoError(t, err)
	require.False(t, is.Known, "a conversation without a name")
}

// TestNobodyIsToldThatTheyAreBlocked: each answer is what it was before, or what a stranger gets whom nobody answers.
func TestNobodyIsToldThatTheyAreBlocked(t *testing.T) {
	v := careful(t)
	answers := func(who, conversation string) (all []string) {
		for _, f := range []func() error{
			func() error { return v.welcome(who, conversation) },
			func() error { return v.message(who, conversation, 6<<10) },
			func() error { return v.message(who, conversation, 6<<10) },
			func() error { return v.welcome(who, conversation) },
			func() error { return v.message(who, conversation, 2<<10) },
		} {
			switch err := f(); err {
			case nil:
				all = append(all, "taken")
			default:
				require.ErrorIs(t, err, store.ErrNoConsent)
				all = append(all, "consent")
			}
		}
		return all
	}
	stranger := answers(bobAtB, room)
	require.Equal(t, []string{"taken", "taken", "consent", "consent", "taken"}, stranger)
	require.Equal(t, 3, v.waits())
	require.NoError(t, v.s.Consents.Block(ctx, alice, carol))
	require.Equal(t, stranger, answers(carol, "http://c.test/c"))
	require.Equal(t, 3, v.waits())
	require.Equal(t, []string{bobAtB}, v.requests())

	require.NoError(t, v.s.Consents.Dismiss(ctx, alice, bobAtB))
	require.NoError(t, v.message(bobAtB, room, 0))
	require.ErrorIs(t, v.message(bobAtB, room, 1), store.ErrNoConsent)
	require.Equal(t, 3, v.waits(), "what follows a request that was deleted is not kept")

	dave := "http://d.test/users/dave"
	require.NoError(t, v.s.Consents.Accept(ctx, alice, dave, "http://d.test/c"))
	known := answers(dave, "http://d.test/c")
	require.Equal(t, 8, v.waits())
	require.NoError(t, v.s.Consents.Block(ctx, alice, dave))
	require.Equal(t, known, answers(dave, "http://d.test/c"))
	require.Equal(t, 8, v.waits())
	require.NoError(t, v.send(store.Drop{Item: store.Item{Sender: dave, Conversation: "http://d.test/c", Message: []byte("commit"), Receipt: []byte("r")}}))
	require.Equal(t, 9, v.waits(), "the chain of a conversation is followed")
	require.NoError(t, v.s.Consents.Unblock(ctx, alice, dave))
	require.NoError(t, v.message(dave, "http://d.test/c", 1))
	require.Equal(t, 10, v.waits())
	require.NoError(t, v.s.Consents.Unblock(ctx, alice, carol))
	require.NoError(t, v.welcome(carol, "http://c.test/c"), "a stranger asks anew")
	require.Equal(t, []string{carol}, v.requests())
}

// TestSoManyStrangersWait: of one instance, and of all.
func TestSoManyStrangersWait(t *testing.T) {
	v := careful(t)
	taken := map[int]int{}
	for host := range 7 {
		for i := range 30 {
			if v.welcome(fmt.Sprintf("http://%d.test/users/%d", host, i), "") == nil {
				taken[host]++
			}
		}
	}
	require.Equal(t, map[int]int{0: 20, 1: 20, 2: 20, 3: 20, 4: 20}, taken)
	require.NoError(t, v.s.Consents.Dismiss(ctx, alice, "http://0.test/users/3"))
	require.NoError(t, v.welcome("http://6.test/users/3", ""))
	require.NoError(t, v.s.Sweep(ctx, now.Add(31*24*time.Hour)))
	require.Empty(t, v.requests())
	require.NoError(t, v.welcome("http://0.test/users/3", ""), "after a month one may ask again")
	require.ErrorIs(t, v.send(store.Drop{Welcome: true, Item: store.Item{Sender: carol, Message: make([]byte, 129<<10)}}), store.ErrNoConsent)
	require.NoError(t, v.s.Consents.Ask(ctx, alice, store.FromNobody))
	require.ErrorIs(t, v.welcome(carol, ""), store.ErrNoConsent)
}

// TestOthersOfAServerAreReached: one recipient's refusal is not another's.
func TestOthersOfAServerAreReached(t *testing.T) {
	v := careful(t)
	item := store.Item{Sender: carol, Conversation: room, Message: []byte("m")}
	_, err := v.s.Mailboxes.Accept(ctx, store.Arrival{Activity: "x", BodyHash: []byte("h"), Drops: []store.Drop{{Actor: alice, Item: item}, {Actor: bob, Item: item}}})
	require.NoError(t, err)
	require.Zero(t, v.waits())
	items, err := v.s.Mailboxes.Read(ctx, bob, "three", 0, 10, 1<<20)
	require.NoError(t, err)
	require.Len(t, items, 1)
}

// TestNeighboursAskToo: people of one instance ask each other like all others.
func TestNeighboursAskToo(t *testing.T) {
	v := careful(t)
	x := store.Sending{Actor: bob, Device: "three", ID: "1", BodyHash: []byte("h"), Answer: []byte("{}"), At: now.UnixMilli(), Drops: []store.Drop{
		{Actor: alice, Item: store.Item{Sender: bob, Conversation: room, Message: []byte("m")}},
	}}
	_, err := v.s.Sent.Record(ctx, x)
	require.ErrorIs(t, err, store.ErrNoConsent)
	x.Drops[0].Welcome, x.Granted, x.ID = true, true, "2"
	_, err = v.s.Sent.Record(ctx, x)
	require.NoError(t, err)
	require.Equal(t, 1, v.waits())
	x.ID = "3"
	_, err = v.s.Sent.Record(ctx, x)
	require.NoError(t, err, "the hub has ordered it")
	require.Equal(t, 1, v.waits())
	items, err := v.s.Mailboxes.Read(ctx, bob, "three", 0, 10, 1<<20)
	require.NoError(t, err)
	require.Contains(t, string(items[0].Undelivered), "consent_required")
}

// TestWhatWasSetAsideIsHurried: as soon as its recipient has written.
func TestWhatWasSetAsideIsHurried(t *testing.T) {
	s, _ := fresh(t)
	_, err := s.Sent.Record(ctx, sending("1", 1, "http://b.test"))
	require.NoError(t, err)
	due, err := s.Outbox.Lease(ctx, now, 1)
	require.NoError(t, err)
	require.False(t, due[0].Aside)
	require.NoError(t, s.Outbox.Aside(ctx, due[0].ID, now.Add(time.Hour)))
	some, err := s.Outbox.Hurry(ctx, "http://c.test", alice, now)
	require.NoError(t, err)
	require.False(t, some)
	due, err = s.Outbox.Lease(ctx, now, 1)
	require.NoError(t, err)
	require.Empty(t, due)
	some, err = s.Outbox.Hurry(ctx, "http://b.test", alice, now)
	require.NoError(t, err)
	require.True(t, some)
	due, err = s.Outbox.Lease(ctx, now, 1)
	require.NoError(t, err)
	require.Len(t, due, 1)
	require.True(t, due[0].Aside)
}
