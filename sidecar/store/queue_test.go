package store_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/federation"
	"github.com/waxwing-dm/waxwing/sidecar/store"
)

const bobAtB = "http://b.test/users/bob"

// sending is one message of so many bytes to each of the hosts.
func sending(id string, size int, hosts ...string) store.Sending {
	s := store.Sending{Actor: alice, Device: "one", ID: id, BodyHash: []byte("h"), Answer: []byte("a"), At: now.UnixMilli()}
	for _, host := range hosts {
		s.Deliveries = append(s.Deliveries, federation.Delivery{
			Host: host, Sender: alice, Recipients: []string{host + "/users/x"}, Body: make([]byte, size), Conversation: "http://a.test/c", MessageHash: []byte(id),
		})
	}
	return s
}

func notes(t *testing.T, s *store.Store) (texts []string) {
	t.Helper()
	items, err := s.Mailboxes.Read(ctx, alice, "one", 0, 100, 1<<20)
	require.NoError(t, err)
	for _, i := range items {
		require.Empty(t, i.Message)
		require.Equal(t, []string{alice, "http://a.test/c"}, []string{i.Sender, i.Conversation})
		texts = append(texts, string(i.Undelivered))
	}
	return texts
}

func TestOutboxHoldsSoMuch(t *testing.T) {
	s, dir := fresh(t)
	const mib = 1 << 20
	for i := range 8 {
		_, err := s.Sent.Record(ctx, sending(fmt.Sprint(i), 8*mib, "http://b.test"))
		require.NoError(t, err)
	}
	s = reopen(t, s, dir)
	_, err := s.Sent.Record(ctx, sending("over", 1, "http://b.test"))
	require.ErrorIs(t, err, store.ErrQueueFull)
	require.Empty(t, notes(t, s), "it was refused, and so nothing of it is there")
	_, err = s.Sent.Record(ctx, sending("some", 1, "http://b.test", "http://c.test"))
	require.NoError(t, err, "a host that is away must not keep it from the others")
	require.Len(t, notes(t, s), 1)
	require.JSONEq(t, `{"message":"c29tZQ==","to":[{"actor":"http://b.test/users/x","code":"queue_full","detail":"too much waits already to be sent to b.test"}]}`, notes(t, s)[0])
	granted := sending("commit", 8*mib, "http://b.test")
	granted.Granted = true
	_, err = s.Sent.Record(ctx, granted)
	require.NoError(t, err, "nobody can take it back")

	// What ends makes room, however it does.
	for i := range 3 {
		due, err := s.Outbox.Lease(ctx, now.Add(time.Hour), 10)
		require.NoError(t, err)
		for _, d := range due {
			if d.Host != "http://b.test" {
				require.NoError(t, s.Outbox.Retry(ctx, d.ID, now.AddDate(0, 0, 1)))
				continue
			}
			switch i {
			case 0:
				require.NoError(t, s.Outbox.Done(ctx, d.ID))
			case 1:
				require.NoError(t, s.Outbox.Dead(ctx, d, []federation.Missed{{Actor: bobAtB, Code: "refused", Detail: "no"}}))
			case 2:
				require.NoError(t, s.Outbox.Expire(ctx, d, []federation.Missed{{Actor: bobAtB, Code: "host_unreachable", Detail: "away"}}))
			}
		}
	}
	_, err = s.Sent.Record(ctx, sending("again", 8*mib, "http://b.test"))
	require.NoError(t, err)
	got := notes(t, s)
	require.Len(t, got, 3)
	require.Contains(t, got[1], `"refused"`)
	require.Contains(t, got[2], `"host_unreachable"`)

	for i := range 20 { // alice's own bound, over all hosts
		_, err = s.Sent.Record(ctx, sending(fmt.Sprint("more ", i), 8*mib, fmt.Sprint("http://", i, ".test")))
		if err != nil {
			break
		}
	}
	require.ErrorIs(t, err, store.ErrQueueFull)
}

// A host that fails is left alone whichever of its deliveries is the next; one that refuses is not.
func TestFailuresAreOfTheLane(t *testing.T) {
	s, dir := fresh(t)
	for i := range 4 {
		_, err := s.Sent.Record(ctx, sending(fmt.Sprint(i), 1, "http://b.test"))
		require.NoError(t, err)
	}
	next := func() federation.Delivery {
		t.Helper()
		due, err := s.Outbox.Lease(ctx, now, 10)
		require.NoError(t, err)
		require.Len(t, due, 1)
		return due[0]
	}
	for i := range 3 {
		d := next()
		require.Equal(t, i, d.Failures)
		require.NoError(t, s.Outbox.Retry(ctx, d.ID, now))
	}
	s = reopen(t, s, dir)
	d := next()
	require.Equal(t, 3, d.Failures, "after a crash")
	require.NoError(t, s.Outbox.Expire(ctx, d, nil))
	d = next()
	require.Equal(t, 3, d.Failures, "they stand")
	require.NoError(t, s.Outbox.Dead(ctx, d, nil))
	d = next()
	require.Zero(t, d.Failures, "it has answered")
	require.NoError(t, s.Outbox.Retry(ctx, d.ID, now))
	require.NoError(t, s.Outbox.Done(ctx, next().ID))
	require.Zero(t, next().Failures)
}
