package sidecar_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/sidecar"
)

// queue has callers wait one after the other, and tells who gets a turn.
type queue struct {
	t    *testing.T
	take func(context.Context, string) error
	got  chan string
}

func (q queue) wait(ctx context.Context, who string) {
	waiting := make(chan struct{})
	go func() {
		close(waiting)
		if q.take(ctx, who) == nil {
			q.got <- who
		} else {
			q.got <- "gone"
		}
	}()
	<-waiting
	time.Sleep(20 * time.Millisecond) // until it stands in line
}

func (q queue) next() string {
	select {
	case who := <-q.got:
		return who
	case <-time.After(20 * time.Second):
		q.t.Fatal("nobody gets a turn")
		return ""
	}
}

// TestTurnsAreFair: who comes once does not wait behind all of who comes often.
func TestTurnsAreFair(t *testing.T) {
	take, giveBack := sidecar.Turns(1)
	q := queue{t, take, make(chan string, 10)}
	require.NoError(t, take(ctx, "flood"))
	for range 4 {
		q.wait(ctx, "flood")
	}
	q.wait(ctx, "one")
	leaving, leave := context.WithCancel(ctx)
	q.wait(leaving, "other")
	q.wait(ctx, "other")
	leave()
	require.Equal(t, "gone", q.next())
	for _, want := range []string{"flood", "one", "other", "flood", "flood", "flood"} {
		require.Empty(t, q.got)
		giveBack()
		require.Equal(t, want, q.next())
	}
	giveBack()
	require.NoError(t, take(ctx, "anybody"), "and then nobody waits")
}

// TestTurnsComeBack: whatever becomes of a call, its turn is there for others.
func TestTurnsComeBack(t *testing.T) {
	w := newWorld(t)
	a, p := w.box("a.test"), w.peer("c.test")
	a.restart(func(s *sidecar.Sidecar) { s.FewTurns(2) })
	alice := a.person("alice")
	for _, d := range p.unproven(alice.actor, p.mallory()) {
		p.send(d)
	}
	for _, spoil := range []func(*delivery){
		func(*delivery) {},
		func(d *delivery) { d.object()["content"] = "AAAA" },
		func(d *delivery) { d.signer = "" },
		func(d *delivery) { d.keyID = "http://gone.test/users/x#main-key" },
		func(d *delivery) { d.keyID = p.instance + "/users/nobody#main-key" },
		func(d *delivery) { d.activity["actor"] = p.instance + "/users/other" },
		func(d *delivery) { d.path, d.signer = "/waxwing/conversations/00/lease", p.instance+"/waxwing/actor" },
	} {
		d := p.delivery(alice.actor)
		spoil(d)
		p.send(d)
	}
	for _, path := range []string{"/users/alice/key-packages", "/users/nobody/key-packages", "/waxwing/conversations/00"} {
		p.signedGet("http://a.test"+path, p.mallory())
	}
	require.Equal(t, 2, a.FreeTurns())
}

// TestSlowServersKeepNobodyWaiting: while others are asked for keys, and do not answer, everybody else has their turn.
func TestSlowServersKeepNobodyWaiting(t *testing.T) {
	w := newWorld(t)
	a, p := w.box("a.test"), w.peer("c.test")
	asked, ended := make(chan bool, 100), make(chan struct{})
	slow := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		asked <- true
		<-ended
	}))
	defer slow.Close()
	defer close(ended)
	w.hosts["slow.test"] = strings.TrimPrefix(slow.URL, "http://")
	a.restart(func(s *sidecar.Sidecar) { s.FewTurns(2) })
	alice := a.person("alice")
	for i := range 5 {
		d := p.delivery(alice.actor)
		d.keyID = fmt.Sprintf("http://slow.test/users/x%d#main-key", i)
		conn, err := net.Dial("tcp", w.hosts["a.test"])
		require.NoError(t, err)
		defer conn.Close()
		_, err = conn.Write(p.wire(d))
		require.NoError(t, err)
		<-asked
	}
	require.Equal(t, 2, a.FreeTurns())
	status, _ := p.send(p.delivery(alice.actor))
	require.Equal(t, 202, status)
}
