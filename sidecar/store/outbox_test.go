package store_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/federation"
	"github.com/waxwing-dm/waxwing/sidecar/store"
)

func TestOutboxKeepsTheOrderOfAHost(t *testing.T) {
	s, dir := fresh(t)
	for i, host := range []string{"b.test", "b.test", "c.test"} {
		_, err := s.Sent.Record(ctx, store.Sending{
			Actor: alice, ID: fmt.Sprint(i), BodyHash: []byte("h"), Answer: []byte("a"), At: now.UnixMilli(),
			Deliveries: []federation.Delivery{{Host: host, Sender: alice, Body: fmt.Append(nil, i)}},
		})
		require.NoError(t, err)
	}
	lease := func(at time.Time, want ...string) (ids []int64) {
		t.Helper()
		due, err := s.Outbox.Lease(ctx, at, 10)
		require.NoError(t, err)
		var got []string
		for _, d := range due {
			got, ids = append(got, string(d.Body)), append(ids, d.ID)
			require.Equal(t, now, d.Created)
		}
		require.Equal(t, want, got)
		return ids
	}
	lease(now.Add(-time.Second))
	ids := lease(now, "0", "2")
	lease(now)
	require.NoError(t, s.Outbox.Retry(ctx, ids[0], now.Add(time.Minute)))
	lease(now) // "1" waits behind "0"
	require.NoError(t, s.Outbox.Done(ctx, ids[1]))

	s = reopen(t, s, dir)
	lease(now)
	lease(now.Add(time.Minute), "0")
	s = reopen(t, s, dir) // a crash while it was being tried
	due, err := s.Outbox.Lease(ctx, now.Add(time.Minute), 10)
	require.NoError(t, err)
	require.Equal(t, 1, due[0].Failures)
	require.NoError(t, s.Outbox.Dead(ctx, due[0], []federation.Missed{{Actor: "http://b.test/users/bob", Code: "refused", Detail: "no"}}))
	ids = lease(now, "1")
	require.NoError(t, s.Outbox.Done(ctx, ids[0]))
	lease(now.Add(time.Hour))
}

func TestOutboxSetsAside(t *testing.T) {
	s, dir := fresh(t)
	for i := range 3 {
		_, err := s.Sent.Record(ctx, store.Sending{
			Actor: alice, ID: fmt.Sprint(i), BodyHash: []byte("h"), Answer: []byte("a"), At: now.UnixMilli(),
			Deliveries: []federation.Delivery{{Host: "b.test", Sender: alice, Body: fmt.Append(nil, i)}},
		})
		require.NoError(t, err)
	}
	lease := func(at time.Time) (bodies string, ids []int64) {
		t.Helper()
		due, err := s.Outbox.Lease(ctx, at, 10)
		require.NoError(t, err)
		for _, d := range due {
			require.Equal(t, "b.test", d.Host)
			bodies, ids = bodies+string(d.Body), append(ids, d.ID)
		}
		return bodies, ids
	}
	end := func(err error) { t.Helper(); require.NoError(t, err) }
	_, ids := lease(now)
	end(s.Outbox.Aside(ctx, ids[0], now.Add(time.Minute)))
	s = reopen(t, s, dir)
	bodies, ids := lease(now)
	require.Equal(t, "1", bodies, "the others go on")
	end(s.Outbox.Done(ctx, ids[0]))
	bodies, ids = lease(now)
	require.Equal(t, "2", bodies)
	end(s.Outbox.Done(ctx, ids[0]))
	bodies, ids = lease(now.Add(time.Minute))
	require.Equal(t, "0", bodies)
	end(s.Outbox.Aside(ctx, ids[0], now.Add(2*time.Minute)))
	end(s.Outbox.Hasten(ctx, "b.test", now.Add(time.Minute)))
	bodies, _ = lease(now.Add(time.Minute))
	require.Empty(t, bodies)
	bodies, ids = lease(now.Add(2 * time.Minute))
	require.Equal(t, "0", bodies)
	end(s.Outbox.Done(ctx, ids[0]))
	bodies, _ = lease(now.Add(time.Hour))
	require.Empty(t, bodies)
}

func TestOutboxHastens(t *testing.T) {
	s, _ := fresh(t)
	for _, host := range []string{"b.test", "c.test"} {
		_, err := s.Sent.Record(ctx, store.Sending{
			Actor: alice, ID: host, BodyHash: []byte("h"), Answer: []byte("a"), At: now.UnixMilli(),
			Deliveries: []federation.Delivery{{Host: host, Sender: alice, Body: []byte(host)}},
		})
		require.NoError(t, err)
	}
	due, err := s.Outbox.Lease(ctx, now, 10)
	require.NoError(t, err)
	require.Len(t, due, 2)
	for _, d := range due {
		require.NoError(t, s.Outbox.Retry(ctx, d.ID, now.Add(time.Hour)))
	}
	require.NoError(t, s.Outbox.Hasten(ctx, "b.test", now.Add(time.Minute)))
	due, err = s.Outbox.Lease(ctx, now.Add(time.Minute), 10)
	require.NoError(t, err)
	require.Len(t, due, 1)
	require.Equal(t, "b.test", due[0].Host)
	require.Equal(t, 1, due[0].Failures, "it has still failed")
}

// A clock that was years ahead must not leave a host waiting for years.
func TestOutboxOutlivesAWrongClock(t *testing.T) {
	s, _ := fresh(t)
	_, err := s.Sent.Record(ctx, store.Sending{Actor: alice, ID: "id", BodyHash: []byte("h"), Answer: []byte("a"), At: now.AddDate(10, 0, 0).UnixMilli(),
		Deliveries: []federation.Delivery{{Host: "b.test", Sender: alice, Body: []byte("x")}}})
	require.NoError(t, err)
	for range 2 {
		due, err := s.Outbox.Lease(ctx, now, 10)
		require.NoError(t, err)
		require.Len(t, due, 1)
		require.NoError(t, s.Outbox.Retry(ctx, due[0].ID, now.AddDate(10, 0, 0)))
	}
}

// What cannot be written down must not be sent again and again.
func TestDeliveryThatCannotBeEndedStaysLeased(t *testing.T) {
	s, _ := fresh(t)
	_, err := s.Sent.Record(ctx, store.Sending{Actor: alice, ID: "id", BodyHash: []byte("h"), Answer: []byte("a"), At: now.UnixMilli(),
		Deliveries: []federation.Delivery{{Host: "b.test", Sender: alice, Body: []byte("x")}}})
	require.NoError(t, err)
	due, err := s.Outbox.Lease(ctx, now, 10)
	require.NoError(t, err)
	gone, cancel := context.WithCancel(ctx)
	cancel()
	require.Error(t, s.Outbox.Done(gone, due[0].ID))
	again, err := s.Outbox.Lease(ctx, now, 10)
	require.NoError(t, err)
	require.Empty(t, again)
	require.NoError(t, s.Outbox.Done(ctx, due[0].ID))
}

// TestNext: what says that one has arrived hands out the one behind it, and to nobody else.
func TestNext(t *testing.T) {
	s, _ := fresh(t)
	send := func(i int, host string, at time.Time) {
		_, err := s.Sent.Record(ctx, store.Sending{Actor: alice, ID: fmt.Sprint(i), BodyHash: []byte("h"), Answer: []byte("a"), At: at.UnixMilli(),
			Deliveries: []federation.Delivery{{Host: host, Sender: alice, Recipients: []string{"r"}, Body: fmt.Append(nil, i)}}})
		require.NoError(t, err)
	}
	lease := func(at time.Time) (bodies string) {
		due, err := s.Outbox.Lease(ctx, at, 10)
		require.NoError(t, err)
		for _, d := range due {
			bodies += string(d.Body)
		}
		return bodies
	}
	send(0, "b.test", now)
	send(1, "b.test", now)
	send(2, "c.test", now)
	send(3, "b.test", now.Add(time.Hour))
	due, err := s.Outbox.Lease(ctx, now, 1)
	require.NoError(t, err)
	gone, cancel := context.WithCancel(ctx)
	cancel()
	_, err = s.Outbox.Next(gone, due[0].ID, now)
	require.Error(t, err)
	require.Equal(t, "2", lease(now), "what cannot be ended holds its lane")
	next, err := s.Outbox.Next(ctx, due[0].ID, now)
	require.NoError(t, err)
	require.Equal(t, []any{"b.test", "1", []string{"r"}, now, 0}, []any{next.Host, string(next.Body), next.Recipients, next.Created, next.Failures})
	require.Empty(t, lease(now), "it is handed out")
	last, err := s.Outbox.Next(ctx, next.ID, now)
	require.NoError(t, err)
	require.Nil(t, last, "it is not due")
	require.Equal(t, "3", lease(now.Add(time.Hour)))
}
