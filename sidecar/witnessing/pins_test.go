package witnessing_test

import (
	"bytes"
	"database/sql"
	"encoding/json"
	"maps"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/sidecar/witnessing"
)

// exec changes the file behind the back of the program.
func (w *world) exec(query string, args ...any) {
	w.t.Helper()
	db := must(sql.Open("sqlite3", filepath.Join(w.dir, "witness.sqlite")))
	_, err := db.Exec(query, args...)
	require.NoError(w.t, err)
	require.NoError(w.t, db.Close())
}

// TestW21AnotherKey: what an instance says of itself later and otherwise is kept apart and shouted, and the first key stays.
func TestW21AnotherKey(t *testing.T) {
	for name, vrfSeed := range map[string]byte{"another key of the same log": 0, "another log": 99} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			a := w.instance("a.example")
			l := w.start()
			l.watch(a)
			a.pad(3)
			require.Equal(t, "wa", l.cosign(a, 0))
			pinned := a.key

			other := &instance{t: t, forger: &forger{}}
			other.vrf, other.signer, other.key = newKeys("a.example", 99)
			if vrfSeed == 0 {
				other.vrf = a.vrf
				other.signer, other.key = anotherKey(a.signer.Name())
			}
			a.change(func() { a.named = discovery(a.url, a.host, other.vrf, other.key) })
			w.advance(7 * 60 * 60)
			l.eventually(func() bool { l.Watch(a.url); return len(l.document().Changed) == 1 })
			w.advance(7 * 60 * 60)
			asked := len(a.paths())
			l.eventually(func() bool { l.Watch(a.url); return len(a.paths()) > asked })
			changed := l.document().Changed
			require.Equal(t, []witnessing.Changed{{Instance: a.url, Pinned: pinned, Named: other.key, Since: noon + 7*60*60}}, changed)
			require.Equal(t, 1, strings.Count(w.logs(), "AN INSTANCE NAMES ANOTHER LOG"), "once, not at every look")
			l.end()
			l = w.start()
			require.Equal(t, changed, l.document().Changed)
			require.Equal(t, 1, l.document().Logs)

			other.pad(3)
			require.Contains(t, []int{403, 404}, l.post(other.body(0)).status, "what it names now is not served")
			a.pad(5)
			require.Equal(t, "wa", l.cosign(a, 3), "what it named first is")

			// The operator says that it is in order.
			require.Error(t, l.Accept(ctx, a.url, pinned))
			require.Error(t, l.Accept(ctx, "http://b.example", other.key))
			require.NoError(t, l.Accept(ctx, a.url, other.key))
			require.Error(t, l.Accept(ctx, a.url, other.key), "once")
			l.end()
			l = w.start()
			require.Empty(t, l.document().Changed)
			w.advance(60)
			if vrfSeed != 0 {
				require.Equal(t, 2, l.document().Logs)
				a.change(func() { a.tiles = other.forger })
				require.Equal(t, "wa", l.signed(other, other.checkpoint(), l.post(other.body(0))))
				return
			}
			require.Equal(t, 1, l.document().Logs)
			require.Equal(t, 409, l.post(other.body(0)).status, "another key makes no other past")
			require.Equal(t, 403, l.post(a.body(5)).status)
			other.pad(7)
			a.change(func() { a.tiles = other.forger })
			require.Equal(t, "wa", l.signed(other, other.checkpoint(), l.post(other.body(5))))
		})
	}
}

// TestW20WhatIsNotPinned: a document that is not the instance's own word for a log of its own.
func TestW20WhatIsNotPinned(t *testing.T) {
	w := newWorld(t)
	a, b := w.instance("a.example"), w.instance("b.example")
	own := w.instance("w.example")
	good := a.named
	l := w.start()
	for name, change := range map[string]func(d, log map[string]any){
		"the document of another instance": func(d, _ map[string]any) { maps.Copy(d, b.named) },
		"another version":                  func(d, _ map[string]any) { d["version"] = 2 },
		"an origin of another host":        func(_, log map[string]any) { log["origin"] = b.signer.Name() },
		"the key of another log":           func(_, log map[string]any) { log["key"] = b.key },
		"another VRF key":                  func(_, log map[string]any) { log["vrf"] = seed(3) },
		"no VRF key":                       func(_, log map[string]any) { log["vrf"] = nil },
		"tiles elsewhere":                  func(_, log map[string]any) { log["url"] = b.url + "/waxwing/log/" },
		"tiles at a host that begins alike": func(_, log map[string]any) {
			log["url"] = a.url + ".evil/waxwing/log/"
		},
		"tiles behind a question":  func(_, log map[string]any) { log["url"] = a.url + "/?/" },
		"tiles without a slash":    func(_, log map[string]any) { log["url"] = a.url + "/waxwing/log" },
		"a document without a log": func(d, _ map[string]any) { delete(d, "log") },
		"a large one":              func(d, _ map[string]any) { d["more"] = strings.Repeat("x", 300<<10) },
	} {
		d, log := maps.Clone(good), maps.Clone(good["log"].(map[string]any))
		d["log"] = log
		change(d, log)
		_, _, err := witnessing.ParseDiscovery(must(json.Marshal(d)), a.url)
		require.Error(t, err, name)
		var asked int
		a.change(func() { a.named = d; asked = len(a.asked) })
		w.advance(7 * 60 * 60)
		l.eventually(func() bool { l.Watch(a.url); return len(a.paths()) > asked })
		require.Zero(t, l.document().Logs, name)
	}
	for _, instance := range []string{"", "a.example", "ftp://a.example", "http://A.example", "http://a.example/", "http://x@a.example", "http://a.example/?q", own.url, "https://w.example", "http://10.0.0.1"} {
		l.Watch(instance)
	}
	require.Empty(t, own.paths(), "the own log is for others to witness")
	a.change(func() { a.named = good })
	w.advance(7 * 60 * 60)
	l.watch(a)
	require.Equal(t, 1, l.document().Logs)
}

// TestWatchAsksSeldom: it is called whenever an instance is met.
func TestWatchAsksSeldom(t *testing.T) {
	w := newWorld(t)
	a := w.instance("a.example")
	l := w.start()
	l.watch(a)
	for range 100 {
		l.Watch(a.url)
	}
	w.advance(5 * 60 * 60)
	l.Watch(a.url)
	require.Len(t, a.paths(), 1)
}

// TestTheInstancesItIsFor are met without anybody calling, also if they are away at first.
func TestTheInstancesItIsFor(t *testing.T) {
	w := newWorld(t)
	a, b := w.instance("a.example"), w.instance("b.example")
	named := b.named
	b.named = nil
	l := w.start(func(c *witnessing.Config) { c.For = []string{a.url, b.url} })
	l.eventually(func() bool { return l.document().Logs == 1 && len(b.paths()) > 0 })
	b.change(func() { b.named = named })
	w.advance(120)
	l.eventually(func() bool { return l.document().Logs == 2 })
}

// TestNoMoreThanAThousand: the next is refused, and those that are there go on.
func TestNoMoreThanAThousand(t *testing.T) {
	w := newWorld(t)
	a, b := w.instance("a.example"), w.instance("b.example")
	l := w.start()
	l.watch(a)
	l.end()
	w.exec("WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?) "+
		"INSERT INTO log (origin, instance, key, vrf, url, pinned) SELECT i, i, '', x'', '', 0 FROM n", witnessing.MaxLogs-1)
	l = w.start()
	l.eventually(func() bool { l.Watch(b.url); return strings.Contains(w.logs(), "no more logs are taken in") })
	require.Equal(t, witnessing.MaxLogs, l.document().Logs)
	a.pad(3)
	b.pad(3)
	require.Equal(t, "wa", l.cosign(a, 0))
	require.Equal(t, 404, l.post(b.body(0)).status)
}

// TestRefusals over HTTP: statuses and types of tlog-witness where it has a word for them.
func TestRefusals(t *testing.T) {
	w := newWorld(t)
	a, b := w.instance("a.example"), w.instance("b.example")
	l := w.start()
	l.watch(a)
	a.pad(3)
	b.pad(3)
	require.Equal(t, 404, l.newest(a).status)
	require.Equal(t, "wa", l.cosign(a, 0))
	signer, _ := anotherKey(a.signer.Name())
	stranger := &forger{signer: signer}
	stranger.pad(5)
	for name, c := range map[string]struct {
		body   []byte
		status int
		kind   string
	}{
		"W1 nonsense":                     {[]byte("hello"), 400, "text/plain; charset=utf-8"},
		"W1 nothing":                      {nil, 400, "text/plain; charset=utf-8"},
		"W2 a log nobody watches":         {b.body(0), 404, "text/plain; charset=utf-8"},
		"W3 the log by another key":       {stranger.body(3), 403, "text/plain; charset=utf-8"},
		"W4 back":                         {bytes.Replace(a.body(0), []byte("old 0"), []byte("old 9"), 1), 400, "text/plain; charset=utf-8"},
		"W5 from another size":            {a.body(0), 409, "text/x.tlog.size"},
		"W6 another root":                 {forkOf(a, 1).body(3), 422, "text/plain; charset=utf-8"},
		"more than is read":               {make([]byte, 68<<10+1), 413, "application/problem+json"},
		"as much as is read, and no more": {append(a.body(3), make([]byte, 68<<10-len(a.body(3)))...), 400, "text/plain; charset=utf-8"},
	} {
		got := l.post(c.body)
		require.Equal(t, c.status, got.status, "%s: %s", name, got.body)
		require.Equal(t, c.kind, got.header.Get("Content-Type"), name)
		require.Equal(t, "no-store", got.header.Get("Cache-Control"), name)
	}
	require.Equal(t, "3\n", string(l.post(a.body(0)).body))
	require.Equal(t, "wa", l.cosign(a, 3))
	newest := l.newest(a)
	require.True(t, bytes.HasPrefix(newest.body, a.checkpoint()))
	for path, status := range map[string]int{
		"/waxwing/witness": 200, "/waxwing/witness/": 200, "/waxwing/witness/add-checkpoint": 405, "/waxwing/witness/abc/checkpoint": 404,
		"/waxwing/witness/x": 404, "/": 404, "/waxwing/witness/%2e%2e/checkpoint": 404,
	} {
		require.Equal(t, status, read(http.Get(l.server.URL+path)).status, path)
	}
	w.advance(-3600)
	require.Equal(t, 500, l.post(a.body(3)).status, "W8")
}

// TestTooManyRequests about one log. Who cannot sign for it uses nothing up, and another log has its own measure.
func TestTooManyRequests(t *testing.T) {
	w := newWorld(t)
	a, b := w.instance("a.example"), w.instance("b.example")
	l := w.start()
	l.watch(a)
	l.watch(b)
	a.pad(3)
	b.pad(3)
	forged := bytes.Replace(a.body(0), []byte("\n3\n"), []byte("\n4\n"), 1)
	for range 100 {
		require.Equal(t, 403, l.post(forged).status)
	}
	require.Equal(t, "wa", l.cosign(a, 0))
	for range 59 {
		require.Equal(t, 200, l.post(a.body(3)).status)
	}
	refused := l.post(a.body(3))
	require.Equal(t, 429, refused.status)
	require.Equal(t, "2", refused.header.Get("Retry-After"))
	require.Equal(t, "wa", l.cosign(b, 0))
	w.advance(2)
	require.Equal(t, "wa", l.cosign(a, 3))
}
