package sidecar_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/sidecar"
)

// A tally is a sidecar.Observer.
type tally struct {
	mu   sync.Mutex
	seen map[string]int
}

func (t *tally) count(what string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.seen[what]++
}

func (t *tally) Answered(route string, status int, code string, _ time.Duration) {
	t.count(fmt.Sprint(route, " ", status, " ", code))
}
func (t *tally) Tried(end string) { t.count(end) }

func (t *tally) of(what string) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.seen[what]
}

func (t *tally) text() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return fmt.Sprint(t.seen)
}

func codes(s sidecar.Status) (all []string) {
	for _, t := range s.NotReady {
		all = append(all, t.Code)
	}
	return all
}

func TestStatus(t *testing.T) {
	w, a, b := two(t)
	alice, bob := a.person("alice"), b.person("bob")
	r := alice.open()
	b.stop()
	require.NoError(t, alice.Send(ctx, r.message("x", alice.actor, bob.actor)))
	w.advance(time.Minute)
	require.Eventually(t, func() bool { return a.Status(ctx).Deliveries.Oldest >= 60 }, 10*time.Second, 10*time.Millisecond)
	s := a.Status(ctx)
	require.Empty(t, s.NotReady)
	require.Equal(t, a.instance, s.Instance)
	require.EqualValues(t, 1, s.Deliveries.Waiting)
	require.Zero(t, s.Mailboxes, "her only device has sent it")
	require.Equal(t, s.Log.Entries, s.Log.Served)
	require.False(t, s.Log.Witnessed)
	require.Positive(t, s.Disk.Free)
	b.start()
	w.advance(time.Hour)
	bob.await(1)
	require.EqualValues(t, 1, b.Status(ctx).Mailboxes)
	require.Eventually(t, func() bool { return a.Status(ctx).Deliveries.Waiting == 0 }, 10*time.Second, 10*time.Millisecond)
	closed := a.Sidecar
	a.stop()
	require.Equal(t, []string{"draining", "store_failing"}, codes(closed.Status(ctx)))
}

func TestStoreTroubles(t *testing.T) {
	for _, c := range []struct {
		free int64
		err  error
		want []string
	}{
		{sidecar.LowDisk, nil, nil},
		{sidecar.LowDisk - 1, nil, []string{"disk_low"}},
		{0, errors.New("the disk is full"), []string{"store_failing", "disk_low"}},
		{1 << 40, errors.New("attempt to write a readonly database"), []string{"store_failing"}},
	} {
		require.Equal(t, c.want, codes(sidecar.Status{NotReady: sidecar.StoreTroubles(c.free, c.err)}))
	}
}

// TestStatusOfWitnesses: who is missing is named, and a log that is not checked takes no calls.
func TestStatusOfWitnesses(t *testing.T) {
	w := newWorld(t)
	a, all := witnessed(w, 3, 2)
	a.visible()
	require.Eventually(t, func() bool {
		n := 0
		for _, one := range a.Status(ctx).Log.Witnesses {
			if one.Cosigned && one.At > 0 {
				n++
			}
		}
		return n == 3
	}, 10*time.Second, 10*time.Millisecond)
	s := a.Status(ctx)
	require.Empty(t, s.NotReady)
	require.True(t, s.Log.Witnessed)
	require.Positive(t, s.Log.AsOf)
	a.stop()
	for _, e := range all {
		e.be(down)
	}
	a.start()
	require.Eventually(t, func() bool {
		s = a.Status(ctx)
		return len(s.NotReady) == 1 && strings.Contains(s.NotReady[0].Detail, "3 of 3 witnesses are missing")
	}, 20*time.Second, 10*time.Millisecond)
	require.Equal(t, []string{"log_unchecked"}, codes(s))
	for _, e := range all {
		e.be(well)
	}
	require.Eventually(t, func() bool { return len(a.Status(ctx).NotReady) == 0 }, 20*time.Second, 10*time.Millisecond)
}

// TestNobodyIsNamed runs what two instances do with each other, well and not, and looks for who did what in the logs and the counters.
func TestNobodyIsNamed(t *testing.T) {
	w := newWorld(t)
	a, b := w.box("a.test"), w.box("b.test")
	seen := &tally{seen: map[string]int{}}
	a.observer, b.observer = seen, seen
	a.start()
	b.start()
	alice, bob := a.person("canary_alice"), b.person("canary_bob")
	r := alice.open()
	message := r.message("canary-text", alice.actor, bob.actor)
	require.NoError(t, alice.Send(ctx, message))
	bob.await(1)
	_, err := alice.Commit(ctx, r.commit(0, "canary-commit", []string{alice.actor, bob.actor}))
	require.NoError(t, err)
	bob.await(2)
	_, err = alice.Claim(ctx, bob.actor)
	t.Log(err) // there may be none; it was asked for
	_, err = alice.Lookup(ctx, bob.actor, 0)
	require.NoError(t, err)
	require.NoError(t, alice.Send(ctx, r.message("canary-lost", "http://b.test/users/canary_nobody", "http://nowhere.test/users/canary_else")))
	a.get("/.well-known/webfinger?resource=acct:canary_alice@a.test")
	a.get("/waxwing/directory?actor=" + bob.actor)
	a.request(http.MethodPost, "/waxwing/inbox", strings.NewReader(`{"id":"https://c.test/canary-id","type":"Create","actor":"https://c.test/canary-x"}`),
		http.Header{"Content-Type": {"application/activity+json"}, "Signature": {"canary-signature"}})
	a.request(http.MethodDelete, "/canary-path?canary-query", nil, nil)
	require.NoError(t, a.Erase(ctx, "canary_alice", func(sidecar.EraseStep) {}))
	require.Eventually(t, func() bool { return strings.Contains(w.logs(), "delivery refused") }, 20*time.Second, 10*time.Millisecond)

	require.Positive(t, seen.of("delivered"))
	require.Positive(t, seen.of("dead"))
	require.Positive(t, seen.of("POST /waxwing/v1/messages 202 "))
	require.Positive(t, seen.of("none 404 not_found")+seen.of("none 405 method_not_allowed"))
	for _, text := range []string{w.logs(), seen.text()} {
		for _, secret := range []string{"canary", alice.token, bob.token, alice.id, message.ID, r.url, strings.TrimPrefix(r.url, a.instance)} {
			require.NotContains(t, text, secret)
		}
	}
}

// TestDiscreetLog is for errors from far below.
func TestDiscreetLog(t *testing.T) {
	var out bytes.Buffer
	log := slog.New(sidecar.Discreet(slog.NewTextHandler(&out, nil)))
	err := fmt.Errorf("asking: %w", errors.New(`Get "https://b.example/users/zoe?x=1": no route to b.example`))
	log.With("with", "https://b.example/users/zoe").WithGroup("g").Error("for @zoe@b.example", "error", err, "n", 3,
		slog.Group("inside", "who", "acct:zoe@b.example", "instance", "https://b.example"))
	text := out.String()
	require.NotContains(t, text, "zoe")
	require.Contains(t, text, "no route to b.example", "where it happened stays")
	require.Contains(t, text, "g.inside.instance=https://b.example\n")
	require.Contains(t, text, "g.n=3")
}

// TestPanicIsAnAnswer, and its log line has no word of what was in the call.
func TestPanicIsAnAnswer(t *testing.T) {
	var out bytes.Buffer
	seen := &tally{seen: map[string]int{}}
	s, err := sidecar.Open(sidecar.Config{Instance: "https://a.test", DataDir: t.TempDir(), Log: slog.New(slog.NewTextHandler(&out, nil)), Observer: seen})
	require.NoError(t, err)
	defer s.Close()
	h := s.Framed("GET /{x}", func(_ http.ResponseWriter, r *http.Request) error { panic("zoe wrote " + r.URL.Path) })
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/zoe", nil))
	require.Equal(t, http.StatusInternalServerError, rec.Code)
	require.Contains(t, rec.Body.String(), `"internal"`)
	require.Equal(t, 1, seen.of("GET /{x} 500 internal"))
	require.Contains(t, out.String(), "A BUG")
	require.Contains(t, out.String(), "status_test.go", "where")
	require.NotContains(t, out.String(), "zoe")

	half := s.Framed("GET /{x}", func(w http.ResponseWriter, _ *http.Request) error {
		w.WriteHeader(http.StatusOK)
		panic(1)
	})
	require.PanicsWithError(t, http.ErrAbortHandler.Error(), func() { half.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/x", nil)) },
		"what has begun is not passed off as whole")
}
