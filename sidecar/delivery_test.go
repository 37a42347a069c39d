package sidecar_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/internal/clientapi"
	"github.com/waxwing-dm/waxwing/sidecar"
)

func TestWhatWaitsForAHostOutlivesBothEnds(t *testing.T) {
	w, a, b := two(t)
	alice, bob := a.person("alice"), b.person("bob")
	r := alice.open()
	b.stop()
	for i := range 3 {
		require.NoError(t, alice.Send(ctx, r.message(fmt.Sprint(i), bob.actor)))
	}
	a.crash()
	a.start()
	require.NoError(t, alice.Send(ctx, r.message("3", bob.actor)))
	a.stop()
	b.start()
	require.Zero(t, bob.waiting())
	w.advance(time.Minute) // past every back-off so far
	a.start()
	require.Equal(t, []string{"0", "1", "2", "3"}, texts(bob.await(4)), "in the order they were sent")
	require.Eventually(t, func() bool { return a.rows()["outbox"] == 0 }, 10*time.Second, 10*time.Millisecond)
}

func TestAnswerLostOnTheWay(t *testing.T) {
	w := newWorld(t)
	a, b := w.box("a.test"), w.box("b.test")
	var lost atomic.Int32
	a.wrap = func(next http.RoundTripper) http.RoundTripper {
		return roundTrip(func(req *http.Request) (*http.Response, error) {
			res, err := next.RoundTrip(req)
			if err == nil && req.Method == http.MethodPost && req.URL.Path == "/waxwing/inbox" && lost.Add(1) <= 2 {
				res.Body.Close()
				return nil, io.ErrUnexpectedEOF // it arrived, and nobody here knows
			}
			return res, err
		})
	}
	a.start()
	b.start()
	alice, bob := a.person("alice"), b.person("bob")
	r := alice.open()
	require.NoError(t, alice.Send(ctx, r.message("one", bob.actor)))
	require.NoError(t, alice.Send(ctx, r.message("two", bob.actor)))
	require.Equal(t, []string{"one", "two"}, texts(bob.await(2)))
	require.GreaterOrEqual(t, lost.Load(), int32(3))
	require.Equal(t, 2, b.rows()["received"])
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestRefusedDeliveryDoesNotBlockTheHost(t *testing.T) {
	_, a, b := two(t)
	alice, bob := a.person("alice"), b.person("bob")
	r := alice.open()
	require.NoError(t, alice.Send(ctx, r.message("to nobody", "http://b.test/users/nobody")))
	require.NoError(t, alice.Send(ctx, r.message("to bob", bob.actor)))
	require.Equal(t, []string{"to bob"}, texts(bob.await(1)))
	require.Equal(t, 1, b.rows()["received"])
}

func TestCrashKeepsWhatWasAnswered(t *testing.T) {
	w := newWorld(t)
	a := w.box("a.test").start()
	alice, bob := a.person("alice"), a.person("bob")
	alice.upload(2)
	r := alice.open()
	var last []byte
	for i := range 4 {
		m := r.message(fmt.Sprint(i), bob.actor)
		require.NoError(t, alice.Send(ctx, m))
		c := r.commit(uint64(i), fmt.Sprint("commit ", i), []string{bob.actor})
		granted, err := alice.Commit(ctx, c)
		require.NoError(t, err)
		before := a.rows()
		a.crash()
		a.start()
		require.Equal(t, before, a.rows())
		require.NoError(t, alice.Send(ctx, m), "the same again")
		again, err := alice.Commit(ctx, c)
		require.NoError(t, err)
		require.Equal(t, granted, again)
		require.Equal(t, before, a.rows())
		last = granted
	}
	require.NotEmpty(t, last)
	events, err := bob.Events(ctx, r.url, 0)
	require.NoError(t, err)
	require.Equal(t, uint64(4), chain(t, r, alice, events).Seq)
	require.Equal(t, []string{"0", "commit 0", "1", "commit 1", "2", "commit 2", "3", "commit 3"}, texts(bob.await(8)))
	_, err = alice.Lookup(ctx, bob.actor, 0)
	require.NoError(t, err)
}

func TestKillCutsConnections(t *testing.T) {
	w := newWorld(t)
	a := w.box("a.test").start()
	alice := a.person("alice")
	failed := make(chan error, 1)
	go func() {
		_, err := alice.Mailbox(ctx, 0, 10, 30*time.Second)
		failed <- err
	}()
	time.Sleep(50 * time.Millisecond) // it may come too late to be held; then it finds nobody
	a.crash()
	<-failed
	_, err := alice.Account(ctx)
	require.Error(t, err)
}

func TestCloseLetsHeldAnswersGo(t *testing.T) {
	w := newWorld(t)
	a := w.box("a.test").start()
	alice := a.person("alice")
	started := time.Now()
	answered := make(chan error, 1)
	go func() {
		_, err := alice.Mailbox(ctx, 0, 10, 30*time.Second)
		answered <- err
	}()
	time.Sleep(100 * time.Millisecond)
	a.stop()
	require.NoError(t, <-answered)
	require.Less(t, time.Since(started), 20*time.Second)
}

func TestServeEndsWithItsContext(t *testing.T) {
	s, err := sidecar.Open(sidecar.Config{Instance: "http://a.test", DataDir: t.TempDir()})
	require.NoError(t, err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	serving, cancel := context.WithCancel(ctx)
	done := make(chan error)
	go func() { done <- s.Serve(serving, l) }()
	cancel()
	require.NoError(t, <-done)
	require.NoError(t, s.Close())
}

func TestInstanceStays(t *testing.T) {
	dir := t.TempDir()
	for _, bad := range []string{"", "a.test", "https://a.test/", "https://a.test/x", "HTTPS://A.test", "ftp://a.test", "https://user@a.test"} {
		_, err := sidecar.Open(sidecar.Config{Instance: bad, DataDir: dir})
		require.ErrorContains(t, err, "--instance", bad)
	}
	open := func(instance string) (*sidecar.Sidecar, error) {
		return sidecar.Open(sidecar.Config{Instance: instance, DataDir: dir})
	}
	s, err := open("https://a.test")
	require.NoError(t, err)
	require.NoError(t, s.Close())
	_, err = open("https://b.test")
	require.ErrorContains(t, err, "https://a.test")
	s, err = open("")
	require.NoError(t, err)
	require.Equal(t, "https://a.test", s.Instance())
	require.NoError(t, s.Close())
}

func TestRelayedItemsNameTheirSender(t *testing.T) {
	_, a, b := two(t)
	alice, bob := a.person("alice"), b.person("bob")
	r := alice.open()
	c := r.commit(0, "x", []string{bob.actor})
	_, err := alice.Commit(ctx, c)
	require.NoError(t, err)
	item := bob.await(1)[0]
	require.Equal(t, alice.actor, item.Actor)
	require.Equal(t, clientapi.Bytes(c.Commit), item.Message)
	require.InDelta(t, float64(time.Now().UnixMilli()), float64(item.Received), 60_000)
}
