package federation_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/federation"
	"github.com/waxwing-dm/waxwing/federation/httpsig"
	"github.com/waxwing-dm/waxwing/internal/problem"
)

// mail is what a host has been sent, as "path body".
type mail struct {
	mu  sync.Mutex
	got []string
}

func (m *mail) all() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]string(nil), m.got...)
}

// collect answers each POST with the status that next gives; 0 hangs up.
func collect(h *host, next func(path, body string) int) *mail {
	m := &mail{}
	h.answer(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		status := http.StatusNotFound
		if r.Method == http.MethodPost {
			m.mu.Lock()
			m.got = append(m.got, r.URL.Path+" "+string(body))
			m.mu.Unlock()
			status = next(r.URL.Path, string(body))
		}
		failing(status)(w, r)
	})
	return m
}

func always(status int) func(string, string) int { return func(string, string) int { return status } }

func TestDeliveriesKeepTheirOrder(t *testing.T) {
	b := newHost(t, "b.test")
	bob := b.actor("/users/bob", keys()[1], nil)
	failed := false
	m := collect(b, func(_, body string) int {
		if body == "2" && !failed {
			failed = true
			return 503
		}
		return 202
	})
	o := open(t, b)
	for id := range int64(4) {
		o.send(id+1, bob)
	}
	require.Equal(t, event{id: 1, what: "done"}, o.next())
	e := o.next()
	require.Equal(t, []any{int64(2), "retry"}, []any{e.id, e.what})
	o.forward(e.at)
	for id := int64(2); id <= 4; id++ {
		require.Equal(t, event{id: id, what: "done"}, o.next())
	}
	require.Equal(t, []string{"/inbox 1", "/inbox 2", "/inbox 2", "/inbox 3", "/inbox 4"}, m.all())
}

func TestBackOffGrowsAndEnds(t *testing.T) {
	b := newHost(t, "b.test")
	bob := b.actor("/users/bob", keys()[1], nil)
	collect(b, always(500))
	o := open(t, b)
	o.send(1, bob)
	start := o.now()
	for attempt := range 600 {
		e := o.next()
		if o.now().Sub(start) > 14*24*time.Hour {
			require.Equal(t, "expired", e.what)
			require.Equal(t, []federation.Missed{{Actor: bob, Code: "host_unreachable", Detail: "b.test could not be reached for 14 days"}}, e.missed)
			require.Greater(t, attempt, 300)
			return
		}
		require.Equal(t, "retry", e.what)
		most := min(time.Second<<min(attempt, 10), 10*time.Second)
		if attempt >= 60 {
			most = min(10*time.Second<<min(attempt-60, 10), time.Hour)
		}
		wait := e.at.Sub(o.now())
		require.LessOrEqual(t, wait, most, attempt)
		require.GreaterOrEqual(t, wait, most*3/4-1, attempt)
		o.forward(e.at)
	}
	t.Fatal("it never gives up")
}

// A host that could not be reached is tried when it speaks to us, but not each time; one that has said when to come again is not.
func TestWhoSpeaksIsTried(t *testing.T) {
	b := newHost(t, "b.test")
	bob := b.actor("/users/bob", keys()[1], nil)
	status := atomic.Int32{}
	collect(b, func(string, string) int { return int(status.Load()) })
	o := open(t, b)
	host := "http://b.test"
	o.host(host, 1000)
	o.send(1, bob)
	e := o.next()
	require.Equal(t, "retry", e.what)
	require.Greater(t, e.at.Sub(o.now()), 40*time.Minute)
	o.d.Heard(ctx, "http://c.test")
	o.d.Heard(ctx, host)
	require.Equal(t, "retry", o.next().what, "it cannot be reached yet")
	o.d.Heard(ctx, host)
	o.d.Wake()
	require.Never(t, func() bool { return len(o.events) > 0 }, 100*time.Millisecond, 10*time.Millisecond, "it was tried just now")
	status.Store(503)
	o.forward(o.now().Add(time.Minute))
	o.d.Heard(ctx, host)
	require.Equal(t, "retry", o.next().what)
	o.forward(o.now().Add(time.Minute))
	o.d.Heard(ctx, host)
	require.Never(t, func() bool { return len(o.events) > 0 }, 100*time.Millisecond, 10*time.Millisecond, "it has answered")
}

func TestRetryAfterIsHeeded(t *testing.T) {
	for header, want := range map[string]time.Duration{
		"120": 2 * time.Minute, "3600": time.Hour, "86400": time.Hour, "9223372036854775807": time.Hour, "0": time.Second, "-1": time.Second, "soon": time.Second,
		"Sun, 01 Mar 2026 12:10:00 GMT": 10 * time.Minute,
	} {
		for _, status := range []int{429, 503} {
			b := newHost(t, "b.test")
			bob := b.actor("/users/bob", keys()[1], nil)
			b.answer(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Retry-After", header)
				w.Header().Set("Date", "Sun, 01 Mar 2026 12:00:00 GMT")
				w.WriteHeader(status)
			})
			o := open(t, b)
			o.send(1, bob)
			e := o.next()
			require.Equal(t, "retry", e.what)
			wait := e.at.Sub(o.now())
			if want == time.Second {
				require.InDelta(t, want, wait, float64(want)/4+1, header)
			} else {
				require.Equal(t, want, wait, header)
			}
			o.stop()
		}
	}
}

func TestWhatAnAnswerMeans(t *testing.T) {
	for status, want := range map[int]string{
		200: "done", 202: "done", 204: "done", 301: "dead", 400: "dead", 401: "dead", 403: "dead", 404: "dead", 409: "dead", 410: "dead", 413: "dead",
		415: "dead", 422: "dead", 451: "dead", 408: "retry", 425: "retry", 429: "retry", 500: "retry", 501: "retry", 502: "retry", 503: "retry", 504: "retry",
		0: "retry",
	} {
		b := newHost(t, "b.test")
		bob := b.actor("/users/bob", keys()[1], nil)
		collect(b, always(status))
		o := open(t, b)
		o.send(1, bob)
		e := o.next()
		require.Equal(t, want, e.what, status)
		if want == "dead" {
			require.Equal(t, bob, e.missed[0].Actor)
			require.Equal(t, fmt.Sprint("http_", status), e.missed[0].Code)
			require.Contains(t, e.missed[0].Detail, "b.test refused it: ")
		}
		o.stop()
	}
}

// TestAWrongClockEndsNoDelivery: an instance that is back after a week, and does not know the time yet, gets its messages later.
func TestAWrongClockEndsNoDelivery(t *testing.T) {
	b := newHost(t, "b.test")
	bob := b.actor("/users/bob", keys()[1], nil)
	b.answer(func(w http.ResponseWriter, _ *http.Request) {
		problem.Write(w, problem.New(http.StatusUnauthorized, "signature_expired", "created is more than five minutes from our clock"))
	})
	o := open(t, b)
	o.send(1, bob)
	require.Equal(t, "retry", o.next().what)
}

func TestRecipientsWhoCannotBeFound(t *testing.T) {
	for name, c := range map[string]struct {
		prepare func(h *host)
		want    string
	}{
		"gone":           {func(*host) {}, "dead"},
		"not an actor":   {func(h *host) { h.serve("/users/x", "", "{}") }, "dead"},
		"a file":         {func(h *host) { h.serve("/users/x", "text/html", "<html>") }, "dead"},
		"server is down": {func(h *host) { h.answer(failing(502)) }, "retry"},
		"hangs up":       {func(h *host) { h.answer(failing(0)) }, "retry"},
		"inbox elsewhere": {func(h *host) {
			h.actor("/users/x", keys()[1], func(m map[string]any) { m["inbox"] = "http://c.test/inbox" })
		}, "dead"},
	} {
		b := newHost(t, "b.test")
		c.prepare(b)
		o := open(t, b)
		o.send(1, b.url("/users/x"))
		require.Equal(t, c.want, o.next().what, name)
		o.stop()
	}
}

func TestOneSharedInboxOnePost(t *testing.T) {
	b := newHost(t, "b.test")
	own := func(m map[string]any) { delete(m, "endpoints") }
	bob, carol := b.actor("/users/bob", keys()[1], nil), b.actor("/users/carol", keys()[1], nil)
	dave, erin := b.actor("/users/dave", keys()[1], own), b.actor("/users/erin", keys()[1], own)
	m := collect(b, always(202))
	o := open(t, b)
	o.send(1, bob, carol, dave, erin)
	require.Equal(t, "done", o.next().what)
	require.Equal(t, []string{"/inbox 1", "/users/dave/inbox 1", "/users/erin/inbox 1"}, m.all())
}

func TestOneWhoIsGoneDoesNotKeepItFromTheOthers(t *testing.T) {
	b := newHost(t, "b.test")
	own := func(m map[string]any) { delete(m, "endpoints") }
	bob, dave := b.actor("/users/bob", keys()[1], nil), b.actor("/users/dave", keys()[1], own)
	m := collect(b, func(path, _ string) int {
		if path == "/users/dave/inbox" {
			return 403
		}
		return 202
	})
	o := open(t, b)
	o.send(1, b.url("/users/gone"), dave, bob)
	e := o.next()
	require.Equal(t, event{id: 1, what: "dead", missed: []federation.Missed{
		{Actor: b.url("/users/gone"), Code: "no_such_recipient", Detail: "b.test has nobody of that name (404)"},
		{Actor: dave, Code: "http_403", Detail: "b.test refused it: the other side answered Forbidden"},
	}}, e, "the sender is told of those and of no other")
	require.Equal(t, []string{"/users/dave/inbox 1", "/inbox 1"}, m.all())
}

func TestAnInboxThatFailsDoesNotKeepItFromTheOthers(t *testing.T) {
	b := newHost(t, "b.test")
	own := func(m map[string]any) { delete(m, "endpoints") }
	dave, erin := b.actor("/users/dave", keys()[1], own), b.actor("/users/erin", keys()[1], own)
	m := collect(b, func(path, _ string) int {
		if path == "/users/dave/inbox" {
			return 500
		}
		return 202
	})
	o := open(t, b)
	o.send(1, b.url("/users/gone"), dave, erin)
	require.Equal(t, "retry", o.next().what)
	require.Equal(t, []string{"/users/dave/inbox 1", "/users/erin/inbox 1"}, m.all())
}

// Those who share an inbox share what it answers.
func TestASharedInboxThatRefusesMissesAll(t *testing.T) {
	b := newHost(t, "b.test")
	bob, carol := b.actor("/users/bob", keys()[1], nil), b.actor("/users/carol", keys()[1], nil)
	m := collect(b, always(403))
	o := open(t, b)
	o.send(1, bob, carol)
	e := o.next()
	require.Equal(t, []any{"dead", bob, carol}, []any{e.what, e.missed[0].Actor, e.missed[1].Actor})
	require.Equal(t, []string{"/inbox 1"}, m.all())
}

// The breaker: a host that fails is left alone for longer and longer, whichever delivery is the next, and one of them finds out that it is back.
func TestFailuresAreTheHosts(t *testing.T) {
	b := newHost(t, "b.test")
	bob := b.actor("/users/bob", keys()[1], nil)
	down := true
	m := collect(b, func(string, string) int {
		if down {
			return 503
		}
		return 202
	})
	o := open(t, b)
	for id := range int64(4) {
		o.send(id+1, bob)
	}
	for range 20 {
		e := o.next()
		require.Equal(t, []any{int64(1), "retry"}, []any{e.id, e.what}, "one at a time")
		o.forward(e.at)
	}
	require.Len(t, m.all(), 20)
	// What has waited too long is given up without asking; what has not is the next probe, and no sooner.
	tried := len(m.all())
	o.advance(15 * 24 * time.Hour)
	o.put(federation.Delivery{ID: 5, Host: "http://b.test", Sender: alice, Recipients: []string{bob}, Body: []byte("5"), Created: o.now()})
	o.host("http://b.test", 80)
	o.d.Wake()
	for id := int64(1); id <= 4; id++ {
		e := o.next()
		require.Equal(t, []any{id, "expired", "host_unreachable"}, []any{e.id, e.what, e.missed[0].Code})
	}
	e := o.next()
	require.Equal(t, []any{int64(5), "retry"}, []any{e.id, e.what})
	require.Greater(t, e.at.Sub(o.now()), 44*time.Minute, "the host's failures stand")
	require.LessOrEqual(t, len(m.all()), tried+2)
	down = false
	o.forward(e.at)
	require.Equal(t, event{id: 5, what: "done"}, o.next())
	o.send(6, bob)
	require.Equal(t, event{id: 6, what: "done"}, o.next(), "and nobody waits any more")
}

// A person who lets their mailbox run full must not stop what is for others of their server.
func TestFullMailboxDoesNotHoldUpItsHost(t *testing.T) {
	b := newHost(t, "b.test")
	bob := b.actor("/users/bob", keys()[1], nil)
	o := open(t, b)
	for _, p := range []*problem.Problem{problem.New(507, "mailbox_full", "no room"), problem.New(429, "stranger_limited", "too much")} {
		b.answer(func(w http.ResponseWriter, r *http.Request) { problem.Write(w, p) })
		o.send(1, bob)
		e := o.next()
		require.Equal(t, []any{int64(1), "aside"}, []any{e.id, e.what})
		require.True(t, e.at.After(o.now()))
		b.answer(failing(202))
		o.forward(e.at)
		require.Equal(t, event{id: 1, what: "done"}, o.next())
	}
	o.send(1, bob)
	b.answer(failing(500))
	e := o.next()
	b.answer(func(w http.ResponseWriter, r *http.Request) {
		problem.Write(w, problem.New(http.StatusInsufficientStorage, "storage_full", "the disk is"))
	})
	o.forward(e.at)
	require.Equal(t, "retry", o.next().what, "a full disk is everybody's")
}

func TestWhatCannotBeWrittenDownIsNotSentAgain(t *testing.T) {
	b := newHost(t, "b.test")
	bob := b.actor("/users/bob", keys()[1], nil)
	m := collect(b, always(202))
	o := open(t, b)
	o.full = 1
	o.send(1, bob)
	require.Equal(t, event{id: 1, what: "done"}, o.next())
	require.Equal(t, []string{"/inbox 1"}, m.all())
}

func TestAFailingHostDelaysNoOther(t *testing.T) {
	slow, broken, b := newHost(t, "slow.test"), newHost(t, "broken.test"), newHost(t, "b.test")
	stop := make(chan struct{})
	collect(slow, func(string, string) int { <-stop; return 202 })
	collect(broken, always(503))
	collect(b, always(202))
	o := open(t, slow, broken, b)
	o.send(1, slow.actor("/users/x", keys()[1], nil))
	o.send(2, broken.actor("/users/x", keys()[1], nil))
	e := o.next()
	require.Equal(t, []any{int64(2), "retry"}, []any{e.id, e.what})
	bob := b.actor("/users/bob", keys()[1], nil)
	for id := int64(3); id <= 9; id++ {
		o.send(id, bob)
	}
	for id := int64(3); id <= 9; id++ {
		require.Equal(t, event{id: id, what: "done"}, o.next())
	}
	close(stop)
	require.Equal(t, event{id: 1, what: "done"}, o.next())
}

func TestWhatIsCutOffIsGivenBack(t *testing.T) {
	b := newHost(t, "b.test")
	bob := b.actor("/users/bob", keys()[1], nil)
	arrived, stop := make(chan struct{}), make(chan struct{})
	collect(b, func(string, string) int { close(arrived); <-stop; return 202 })
	defer close(stop)
	o := open(t, b)
	o.send(1, bob)
	o.send(2, bob)
	<-arrived
	require.False(t, o.free())
	o.stop()
	require.Equal(t, event{id: 1, what: "retry", at: o.now()}, o.next(), "at once, by whoever runs next")
	require.True(t, o.free())
	require.Empty(t, o.events, "and the other was not tried")
}

func TestDrainEndsWhatIsBegunAndBeginsNothing(t *testing.T) {
	b, c := newHost(t, "b.test"), newHost(t, "c.test")
	bob, carol := b.actor("/users/bob", keys()[1], nil), c.actor("/users/carol", keys()[1], nil)
	arrived, stop := make(chan struct{}), make(chan struct{})
	collect(b, func(string, string) int { close(arrived); <-stop; return 202 })
	m := collect(c, always(202))
	o := open(t, b, c)
	o.send(1, bob)
	o.send(2, bob)
	<-arrived
	o.d.Drain()
	o.d.Drain()
	o.send(3, carol)
	close(stop)
	require.Equal(t, event{id: 1, what: "done"}, o.next())
	<-o.ended
	require.True(t, o.free())
	require.Empty(t, o.events)
	require.Empty(t, m.all())
}

func TestDeliveryIsSignedByItsSender(t *testing.T) {
	b := newHost(t, "b.test")
	bob := b.actor("/users/bob", keys()[1], nil)
	owners := make(chan string, 1)
	var o *office
	b.answer(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		owner, err := httpsig.Verify(ctx, httpsig.Request{Request: r, Body: body, Origin: "http://b.test", Now: o.now()},
			func(_ context.Context, id string, _ bool) (httpsig.Key, error) {
				return httpsig.Key{Owner: id, Public: &keys()[0].PublicKey}, nil
			})
		owners <- fmt.Sprint(owner, err, r.Header.Get("Content-Type"))
		w.WriteHeader(202)
	})
	o = open(t, b)
	o.send(1, bob)
	require.Equal(t, "done", o.next().what)
	require.Equal(t, alice+"#main-key<nil>application/activity+json", <-owners)
}
