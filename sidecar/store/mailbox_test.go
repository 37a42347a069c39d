package store_test

import (
	"crypto/sha256"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/federation"
	"github.com/waxwing-dm/waxwing/sidecar/store"
)

// TestMailboxFromABackup: a device that has read further than the mailbox counts misses nothing that comes.
func TestMailboxFromABackup(t *testing.T) {
	s, _ := fresh(t)
	arrive := func(activity string) {
		hash := sha256.Sum256([]byte(activity))
		_, err := s.Mailboxes.Accept(ctx, store.Arrival{Activity: activity, BodyHash: hash[:], At: now.UnixMilli(), Drops: []store.Drop{
			{Actor: alice, Item: store.Item{Activity: activity, Sender: bob, Conversation: "c", Message: []byte(activity)}},
		}})
		require.NoError(t, err)
	}
	read := func(after uint64) (got []string) {
		items, err := s.Mailboxes.Read(ctx, alice, "one", after, 10, 1<<20)
		require.NoError(t, err)
		for _, i := range items {
			require.Greater(t, i.Cursor, after)
			got = append(got, i.Activity)
			after = i.Cursor
		}
		return got
	}
	arrive("before")
	arrive("since")
	require.NoError(t, s.Mailboxes.Delete(ctx, alice, "one", 40), "what the device has read is not what is there")
	require.Equal(t, []string{"before", "since"}, read(40))
	require.Equal(t, []string{"since"}, read(41))
	arrive("later")
	require.Equal(t, []string{"later"}, read(42))
	require.NoError(t, s.Mailboxes.Delete(ctx, alice, "one", 42))
	require.Equal(t, []string{"later"}, read(0))
	require.Empty(t, read(1<<60))
	require.Equal(t, []string{"later"}, read(0), "no number moves it out of reach")
}

func TestMailbox(t *testing.T) {
	s, dir := fresh(t)
	hash := sha256.Sum256([]byte("body"))
	arrive := func(activity string) bool {
		d := store.Drop{Actor: alice, Item: store.Item{Activity: activity, Sender: bob, Conversation: "c", Message: []byte(activity), Receipt: []byte{1}, Received: 5}}
		duplicate, err := s.Mailboxes.Accept(ctx, store.Arrival{Activity: activity, BodyHash: hash[:], Drops: []store.Drop{d}, At: now.UnixMilli()})
		require.NoError(t, err)
		return duplicate
	}
	read := func(actor, device string, after uint64) (cursors []uint64) {
		items, err := s.Mailboxes.Read(ctx, actor, device, after, 10, 1<<20)
		require.NoError(t, err)
		for _, i := range items {
			cursors = append(cursors, i.Cursor)
			require.Equal(t, []any{i.Activity, bob, "c", []byte{1}, int64(5)}, []any{string(i.Message), i.Sender, i.Conversation, i.Receipt, i.Received})
		}
		return cursors
	}
	for i := range 3 {
		require.False(t, arrive(fmt.Sprint(i)))
	}
	require.True(t, arrive("1"), "a repetition")
	require.Equal(t, []uint64{1, 2, 3}, read(alice, "one", 0))
	require.Equal(t, []uint64{3}, read(alice, "two", 2))
	require.Empty(t, read(bob, "three", 0))

	require.NoError(t, s.Mailboxes.Delete(ctx, alice, "one", 3))
	s = reopen(t, s, dir)
	require.Empty(t, read(alice, "one", 0))
	require.Equal(t, []uint64{1, 2, 3}, read(alice, "two", 0), "the other device's")
	require.True(t, arrive("2"))
	arrive("after")
	require.Equal(t, []uint64{4}, read(alice, "one", 0), "a deleted cursor does not come back")

	other := sha256.Sum256([]byte("other body"))
	_, err := s.Mailboxes.Accept(ctx, store.Arrival{Activity: "2", BodyHash: other[:], Drops: []store.Drop{{Actor: bob}}})
	require.ErrorIs(t, err, store.ErrConflict)
	require.Empty(t, read(bob, "three", 0))

	items, err := s.Mailboxes.Read(ctx, alice, "two", 0, 10, 2)
	require.NoError(t, err)
	require.Len(t, items, 1, "two bytes are one item of one byte and its receipt")
	items, err = s.Mailboxes.Read(ctx, alice, "two", 0, 10, 1)
	require.NoError(t, err)
	require.Len(t, items, 1, "one item always fits")
}

func TestMailboxIsBounded(t *testing.T) {
	s, _ := fresh(t)
	drops := make([]store.Drop, 20_000)
	for i := range drops {
		drops[i] = store.Drop{Actor: bob, Item: store.Item{Activity: "x", Message: []byte("m")}}
	}
	accept := func(activity string, drops []store.Drop) error {
		_, err := s.Mailboxes.Accept(ctx, store.Arrival{Activity: activity, BodyHash: []byte("h"), Drops: drops})
		return err
	}
	require.NoError(t, accept("many", drops))
	one := drops[:1]
	require.ErrorIs(t, accept("more", one), store.ErrNoRoom)
	alsoAlice := append([]store.Drop{{Actor: alice, Item: drops[0].Item}}, drops[0])
	require.NoError(t, accept("for both", alsoAlice), "who does not read does not keep it from the others")
	items, err := s.Mailboxes.Read(ctx, alice, "one", 0, 10, 100)
	require.NoError(t, err)
	require.Len(t, items, 1)

	send := func(id string, sending store.Sending) error {
		sending.Actor, sending.ID, sending.BodyHash, sending.Answer = alice, id, []byte("h"), []byte("a")
		_, err := s.Sent.Record(ctx, sending)
		return err
	}
	self := store.Drop{Actor: alice, Except: "one", Item: drops[0].Item}
	require.ErrorIs(t, send("1", store.Sending{Drops: []store.Drop{drops[0], self}}), store.ErrNoRoom)
	require.NoError(t, send("1", store.Sending{Drops: []store.Drop{drops[0], self}, Granted: true}), "a commit that has its receipt")
	require.NoError(t, send("2", store.Sending{Drops: one, Deliveries: []federation.Delivery{{Host: "b.test", Sender: alice, Body: []byte("x")}}}))

	require.NoError(t, s.Mailboxes.Delete(ctx, bob, "three", 1))
	require.NoError(t, accept("more", one), "the same activity when there is room")
	items, err = s.Mailboxes.Read(ctx, bob, "three", 20_000, 10, 100)
	require.NoError(t, err)
	require.Equal(t, uint64(20_001), items[0].Cursor, "a refused item used up no cursor")
}

func TestMailboxIsBoundedInBytes(t *testing.T) {
	s, _ := fresh(t)
	accept := func(activity string, size int) error {
		drop := store.Drop{Actor: bob, Item: store.Item{Activity: activity, Conversation: strings.Repeat("c", size/5), Message: []byte("m")}}
		_, err := s.Mailboxes.Accept(ctx, store.Arrival{Activity: activity, BodyHash: []byte("h"), Drops: []store.Drop{drop}})
		return err
	}
	for i := range 5 {
		require.NoError(t, accept(fmt.Sprint(i), 100<<20))
	}
	require.ErrorIs(t, accept("more", 100<<20), store.ErrNoRoom)
	require.NoError(t, s.Mailboxes.Delete(ctx, bob, "three", 1))
	require.NoError(t, accept("more", 100<<20))
}

// A device that a newer list leaves out has no token any more, and nothing is kept for it.
func TestDevicesThatLeaveTheList(t *testing.T) {
	s, dir := fresh(t)
	drop := store.Drop{Actor: alice, Item: store.Item{Activity: "x", Message: []byte("m")}}
	accept := func(activity string) {
		_, err := s.Mailboxes.Accept(ctx, store.Arrival{Activity: activity, BodyHash: []byte("h"), Drops: []store.Drop{drop}})
		require.NoError(t, err)
	}
	waiting := func(device string) int {
		items, err := s.Mailboxes.Read(ctx, alice, device, 0, 10, 1<<20)
		require.NoError(t, err)
		return len(items)
	}
	known := func(token string) bool {
		_, err := s.Accounts.Device(ctx, alice, []byte(token))
		return err == nil
	}
	pkg := store.KeyPackage{Body: []byte("package"), NotAfter: uint64(now.Unix()) + 10}
	_, err := s.KeyPackages.Put(ctx, alice, "one", []store.KeyPackage{pkg}, &pkg, now)
	require.NoError(t, err)
	accept("1")
	require.NoError(t, s.Accounts.Listed(ctx, alice, []string{"one"}))
	require.True(t, known("token of two"), "it has not been in a list yet")
	require.NoError(t, s.Accounts.Listed(ctx, alice, []string{"two"}))
	s = reopen(t, s, dir)
	require.Equal(t, []bool{false, true}, []bool{known("token of one"), known("token of two")})
	_, err = s.Accounts.Device(ctx, alice, nil)
	require.ErrorIs(t, err, store.ErrNotFound, "no token is nobody's")
	_, err = s.Accounts.Device(ctx, alice, []byte{})
	require.ErrorIs(t, err, store.ErrNotFound, "an empty token is nobody's")
	claimed, err := s.KeyPackages.Claim(ctx, alice, []string{"one"}, now)
	require.NoError(t, err)
	require.Empty(t, claimed)
	accept("2")
	require.Equal(t, []int{0, 2}, []int{waiting("one"), waiting("two")})

	require.NoError(t, s.Accounts.AddDevice(ctx, store.Device{Actor: alice, ID: "one", SignatureKey: []byte("key of one")}, []byte("again")))
	accept("3")
	items, err := s.Mailboxes.Read(ctx, alice, "one", 1, 10, 1<<20)
	require.NoError(t, err)
	require.Len(t, items, 1, "its cursor goes on")
}
