package store_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/federation"
	"github.com/waxwing-dm/waxwing/sidecar/store"
)

// TestCount follows three deliveries through all that can become of one.
func TestCount(t *testing.T) {
	s, _ := fresh(t)
	counted := func() store.Counts {
		c, err := s.Count(ctx, now)
		require.NoError(t, err)
		return c
	}
	require.Equal(t, store.Counts{}, counted())
	send := store.Sending{Actor: alice, ID: "one", BodyHash: []byte("hash"), Answer: []byte("{}"), At: now.Add(-time.Hour).UnixMilli()}
	for _, host := range []string{"b.test", "c.test", "d.test"} {
		send.Deliveries = append(send.Deliveries, federation.Delivery{Host: host, Sender: alice, Recipients: []string{"https://" + host + "/x"}, Body: []byte("body")})
	}
	_, err := s.Sent.Record(ctx, send)
	require.NoError(t, err)
	require.Equal(t, store.Counts{Waiting: 3, Oldest: time.UnixMilli(send.At)}, counted())
	due, err := s.Outbox.Lease(ctx, now, 10)
	require.NoError(t, err)
	require.Len(t, due, 3)
	require.EqualValues(t, 3, counted().Flying)
	require.NoError(t, s.Outbox.Dead(ctx, due[0], nil))
	require.NoError(t, s.Outbox.Retry(ctx, due[1].ID, now.Add(time.Minute)))
	require.NoError(t, s.Outbox.Done(ctx, due[2].ID))
	require.Equal(t, store.Counts{Waiting: 1, HeldLanes: 1, Dead: 1, Oldest: time.UnixMilli(send.At)}, counted())
}

func TestSpaceAndWritable(t *testing.T) {
	s, _ := fresh(t)
	require.NoError(t, s.Writable(ctx, now))
	require.NoError(t, s.Writable(ctx, now.Add(time.Second)), "again")
	space, err := s.Space()
	require.NoError(t, err)
	require.Positive(t, space.Database)
	require.Positive(t, space.Journal, "something was just written")
	require.Positive(t, space.Free)
	require.NoError(t, s.Close())
	require.Error(t, s.Writable(ctx, now))
}
