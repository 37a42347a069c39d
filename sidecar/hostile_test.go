package sidecar_test

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/federation"
	"github.com/waxwing-dm/waxwing/internal/clientapi"
	"github.com/waxwing-dm/waxwing/mls"
	"github.com/waxwing-dm/waxwing/sidecar"
	"github.com/waxwing-dm/waxwing/sidecar/store"
	"github.com/waxwing-dm/waxwing/transparency"
)

// A stranger must not be able to make somebody's mailbox unreadable: an answer stays below what its reader takes.
func TestMailboxAnswerStaysReadable(t *testing.T) {
	w := newWorld(t)
	a, p := w.box("a.test"), w.peer("c.test")
	a.start()
	alice := a.person("alice")
	require.NoError(t, alice.Send(ctx, alice.open().message("no stranger", p.mallory())))
	huge := p.delivery(alice.actor)
	huge.object()["conversation"] = "http://c.test/" + strings.Repeat("x", 3000)
	status, code := p.send(huge)
	require.Equal(t, []any{400, "activity_invalid"}, []any{status, code})
	const n = 99
	for i := range n {
		d := p.delivery(alice.actor)
		long := fmt.Sprint("http://c.test/", i, strings.Repeat("<", 2000)) // each of these takes six bytes in JSON
		d.activity["id"], d.object()["id"], d.object()["conversation"] = long, long, long
		d.object()["content"] = ciphertext([]byte("group"), 0, mls.ContentApplication, strings.Repeat("x", 20_000))
		status, code := p.send(d)
		require.Equal(t, []any{202, "accepted"}, []any{status, code})
	}
	var got, after uint64
	for got < n {
		m, err := alice.Mailbox(ctx, after, 100, 0)
		require.NoError(t, err)
		require.NotEmpty(t, m.Items)
		got, after = got+uint64(len(m.Items)), m.Next
	}
}

// A token ends with its device's place in the list: whoever has a lost device must not write the next reset with it.
func TestDeviceThatLeftTheListIsLoggedOut(t *testing.T) {
	w := newWorld(t)
	a := w.box("a.test").start()
	lost := a.person("alice")
	lost.upload(1)
	answer, err := lost.Lookup(ctx, lost.actor, 0)
	require.NoError(t, err)
	_, record := a.verify(a.pin(), nil, lost.actor, answer)
	code, err := a.NewCode("alice")
	require.NoError(t, err)
	fresh := a.login("alice", code)
	reset := fresh.publication(transparency.KindReset, &record, fresh)
	lost.account = newKey(t)
	another := lost.publication(transparency.KindReset, &record, lost)
	for range 2 { // the answer of the first may have been lost
		_, err = fresh.Publish(ctx, reset)
		require.NoError(t, err)
	}
	require.True(t, fresh.current(&record).Reset)
	_, err = lost.Publish(ctx, another)
	requireProblem(t, err, 401, "token_required")
	_, err = lost.Mailbox(ctx, 0, 10, 0)
	requireProblem(t, err, 401, "token_required")
	_, err = fresh.Account(ctx)
	require.NoError(t, err)
}

func TestPathsAreTakenAsTheyAre(t *testing.T) {
	w := newWorld(t)
	a := w.box("a.test").start()
	a.person("alice")
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	for _, path := range []string{
		"//users/alice", "/users//alice", "/users/../users/alice", "/users/./alice", "/users/alice/", "/users/alice%2f", "/users/..%2fusers%2falice",
		"/users/%2e%2e/users/alice", "/users/alice%00", "/waxwing/log/tile/../checkpoint", "/waxwing/log/tile/0/000%2f", "/waxwing/log/tile/0/..%2f..%2fcheckpoint",
		"/waxwing/log/tile/%2e%2e/checkpoint", "/waxwing/log/tile/", "/waxwing/log/tile/data/000", "/waxwing/log/tile/8/0/000", "/waxwing/log/tile/00/000",
		"/waxwing/log/tile/0/000.p/0", "/waxwing/log/tile/0/000.p/3", "/waxwing/log/tile/0/000.p/01", "/waxwing/log/tile/0/000.p/-1", "/waxwing/log/tile/-1/000", "/waxwing/log/tile/0/x000/000",
	} {
		req, err := http.NewRequest("GET", "http://"+w.hosts["a.test"]+path, nil)
		require.NoError(t, err)
		res, err := client.Do(req)
		require.NoError(t, err)
		body, err := io.ReadAll(res.Body)
		require.NoError(t, err)
		res.Body.Close()
		require.Equal(t, 404, res.StatusCode, path)
		require.Equal(t, []string{"application/problem+json", "nosniff", "no-store"},
			[]string{res.Header.Get("Content-Type"), res.Header.Get("X-Content-Type-Options"), res.Header.Get("Cache-Control")}, path)
		require.Contains(t, string(body), `"code"`, path)
	}
	res, _ := a.request("POST", "/users/alice", nil, nil)
	require.Equal(t, []any{405, []string{"GET", "HEAD"}, "nosniff"}, []any{res.StatusCode, res.Header.Values("Allow"), res.Header.Get("X-Content-Type-Options")})
	res, body := a.request("HEAD", "/users/alice", nil, nil)
	require.Equal(t, []any{200, 0, "nosniff"}, []any{res.StatusCode, len(body), res.Header.Get("X-Content-Type-Options")})
}

// held is a body that stops in its middle.
type held struct {
	io.Reader
	reached chan<- struct{}
	stop    <-chan struct{}
}

func (h held) Read([]byte) (int, error) {
	h.reached <- struct{}{}
	<-h.stop
	return 0, io.EOF
}

// Bodies that nobody has signed for are held in memory: so much of them and no more.
func TestStrangersBodiesAreBounded(t *testing.T) {
	s, err := sidecar.Open(sidecar.Config{Instance: "https://a.test", DataDir: t.TempDir()})
	require.NoError(t, err)
	defer s.Close()
	h := s.Handler()
	post := func(body io.Reader) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		r := httptest.NewRequest("POST", "https://a.test/waxwing/inbox", body)
		r.Header.Set("Content-Type", federation.ContentType)
		r.Header.Set("Signature", "x")
		h.ServeHTTP(w, r)
		return w
	}
	most := make([]byte, 1<<20-1)
	reached, stop := make(chan struct{}), make(chan struct{})
	var all sync.WaitGroup
	for range 64 {
		all.Go(func() { post(io.MultiReader(bytes.NewReader(most), held{reached: reached, stop: stop})) })
	}
	for range 64 {
		<-reached
	}
	refused := post(bytes.NewReader(most))
	require.Equal(t, []any{503, "10"}, []any{refused.Code, refused.Header().Get("Retry-After")})
	require.Contains(t, refused.Body.String(), `"busy"`)
	close(stop)
	all.Wait()
	require.Equal(t, 401, post(bytes.NewReader(most)).Code, "it is let in, and refused for what it is")
}

func TestLogNamesNobody(t *testing.T) {
	w, a, b := two(t)
	alice := a.person("alice")
	r := alice.open()
	require.NoError(t, alice.Send(ctx, r.message("x", "http://b.test/users/zacharias")))
	require.Eventually(t, func() bool { return strings.Contains(w.logs(), "delivery refused") }, 10*time.Second, 10*time.Millisecond)
	b.stop()

	var log bytes.Buffer
	s, err := sidecar.Open(sidecar.Config{Instance: "https://a.test", DataDir: t.TempDir(), Log: slog.New(slog.NewTextHandler(&log, nil))})
	require.NoError(t, err)
	require.NoError(t, s.Close())
	rec := httptest.NewRecorder()
	s.Handler().ServeHTTP(rec, httptest.NewRequest("GET", "https://a.test/users/zacharias", nil))
	require.Equal(t, 500, rec.Code)
	require.Contains(t, log.String(), "internal error")
	for _, name := range []string{"zacharias", "alice", r.url} {
		require.NotContains(t, w.logs()+log.String(), name)
	}
}

func TestOneRequestMakesSoManyCopiesOnly(t *testing.T) {
	w := newWorld(t)
	a := w.box("a.test").start()
	alice := a.person("alice")
	r := alice.open()
	before := a.rows()
	message := r.message(strings.Repeat("x", 600<<10))
	commit := r.commit(0, strings.Repeat("x", 600<<10), nil)
	for i := range 120 {
		message.To = append(message.To, fmt.Sprintf("http://%d.test/users/x", i))
	}
	commit.To = message.To
	requireProblem(t, alice.Send(ctx, message), 413, "too_large")
	_, err := alice.Commit(ctx, commit)
	requireProblem(t, err, 413, "too_large")
	require.Equal(t, before, a.rows(), "above all no commit that is granted and then not sent")

	message.To = nil
	for i := range 1000 {
		message.To = append(message.To, fmt.Sprintf("http://b.test/users/%d%s", i, strings.Repeat("y", 300)))
	}
	require.NoError(t, alice.Send(ctx, message))
	db, err := sql.Open("sqlite3", "file:"+filepath.Join(a.dir, "waxwingd.db")+"?_query_only=true")
	require.NoError(t, err)
	defer db.Close()
	var largest, recipients int
	require.NoError(t, db.QueryRow("SELECT max(length(body)), sum(json_array_length(recipients)) FROM outbox").Scan(&largest, &recipients))
	require.LessOrEqual(t, largest, 1<<20, "what a receiver takes")
	require.Equal(t, 1000, recipients)
}

func TestFolderIsServedOnceAtATime(t *testing.T) {
	w := newWorld(t)
	a := w.box("a.test").start()
	a.get("/waxwing/actor") // it serves by now
	second, err := sidecar.Open(sidecar.Config{DataDir: a.dir})
	require.NoError(t, err)
	defer second.Close()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.ErrorIs(t, second.Serve(context.Background(), l), store.ErrOccupied)
}

func TestFilesAreAskedForByTheirHash(t *testing.T) {
	_, a, b := two(t)
	alice := a.person("alice")
	b.person("bob")
	for _, u := range []string{
		b.instance + federation.PathBlobs + "../../users/bob", b.instance + federation.PathBlobs + "x", b.instance + federation.PathBlobs,
		b.instance + federation.PathBlobs + strings.Repeat("A", 64), b.instance + federation.PathBlobs + strings.Repeat("0", 64) + "?x=1",
		a.instance + federation.PathBlobs + "x",
	} {
		_, err := alice.Blob(ctx, u)
		requireProblem(t, err, 400, "request_invalid")
	}
	_, err := alice.Blob(ctx, b.instance+federation.PathBlobs+strings.Repeat("0", 64))
	requireProblem(t, err, 404, "not_found")
	left, err := filepath.Glob(filepath.Join(a.dir, "blobs", "*"))
	require.NoError(t, err)
	require.Empty(t, left)
	res, body := a.asDevice(&device{token: alice.token}, "PUT", "/blobs/"+strings.Repeat("0", 64), io.LimitReader(zeros{}, clientapi.MaxBlob+1), "application/octet-stream")
	requireAnswer(t, res, body, 413, "too_large")
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }
