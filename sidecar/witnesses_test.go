package sidecar_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"

	"github.com/waxwing-dm/waxwing/transparency"
	"github.com/waxwing-dm/waxwing/transparency/witness"
	"github.com/waxwing-dm/waxwing/transparency/witness/storetest"
)

// A mood is how a witness answers.
type mood int

const (
	well mood = iota
	down
	hanging
	garbage
	unknowing // 404
	disputing // 422
	ahead     // 409 with a size beyond everything, and nothing to show
	forgetful // answers that never arrive
	mute      // does not say what it has
)

// An eyewitness is a witness server that remembers every note that was posted to it.
type eyewitness struct {
	name string
	*witness.Witness
	key  *transparency.Cosigner
	mu   sync.Mutex
	mood mood
	seen [][]byte
	logs map[string]note.Verifier
	hold chan struct{}
	show []byte // instead of what it has
	busy atomic.Int64
}

// witnesses puts n of them at w0.test, w1.test and so on, and gives a policy that wants k.
func (w *world) witnesses(n, k int) ([]*eyewitness, *transparency.Policy) {
	var all []*eyewitness
	lines, names := "", ""
	for i := range n {
		host := fmt.Sprintf("w%d.test", i)
		key, err := transparency.NewEd25519Cosigner(host+"/waxwing/witness", ed25519.NewKeyFromSeed(bytes.Repeat([]byte{byte(i + 1)}, 32)))
		require.NoError(w.t, err)
		e := &eyewitness{name: host, key: key, logs: map[string]note.Verifier{}, hold: make(chan struct{})}
		e.Witness, err = witness.New(witness.Config{Keys: []*transparency.Cosigner{key}, LogKeys: nil, Store: new(storetest.Memory), Now: w.now})
		require.NoError(w.t, err)
		e.LogKeys = e.keys
		s := httptest.NewServer(e)
		w.t.Cleanup(s.Close)
		w.t.Cleanup(s.CloseClientConnections)
		w.t.Cleanup(func() { close(e.hold) })
		w.hosts[host] = s.Listener.Addr().String()
		all = append(all, e)
		lines += fmt.Sprintf("witness w%d %s http://%s/waxwing/witness\n", i, key.Key(), host)
		names += fmt.Sprintf(" w%d", i)
	}
	p, err := transparency.ParsePolicy(fmt.Appendf(nil, "%sgroup g %d%s\nquorum g\n", lines, k, names))
	require.NoError(w.t, err)
	return all, p
}

// keys trusts the first key by which it meets a log; the lines of others are none of this test's matter.
func (e *eyewitness) keys(_ context.Context, origin string) ([]note.Verifier, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if v := e.logs[origin]; v != nil {
		return []note.Verifier{v}, nil
	}
	return nil, nil
}

func (e *eyewitness) be(m mood) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.mood = m
}

func (e *eyewitness) knows(v note.Verifier) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.logs[v.Name()] = v
}

// shows makes it tell what it has seen elsewhere.
func (e *eyewitness) shows(signed []byte) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.show = signed
}

func (e *eyewitness) shown() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.show != nil
}

// settled waits until what a process that is no more has sent has arrived.
func settled(all []*eyewitness) {
	for still := 0; still < 3; still++ {
		time.Sleep(time.Millisecond)
		for _, e := range all {
			if e.busy.Load() > 0 {
				still = 0
			}
		}
	}
}

func (e *eyewitness) notes() [][]byte {
	e.mu.Lock()
	defer e.mu.Unlock()
	return append([][]byte{}, e.seen...)
}

func (e *eyewitness) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	e.busy.Add(1)
	defer e.busy.Add(-1)
	e.mu.Lock()
	m, show := e.mood, e.show
	e.mu.Unlock()
	if m == down {
		panic(http.ErrAbortHandler)
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, witness.MaxRequest+1))
	if err != nil {
		return
	}
	if m == hanging {
		select {
		case <-r.Context().Done():
		case <-e.hold:
		}
		panic(http.ErrAbortHandler)
	}
	if r.Method == http.MethodPost && r.URL.Path == "/waxwing/witness/add-checkpoint" {
		e.post(w, r, m, body)
		return
	}
	hash, ok := strings.CutPrefix(r.URL.Path, "/waxwing/witness/")
	hash, ok2 := strings.CutSuffix(hash, "/checkpoint")
	if !ok || !ok2 || m == unknowing || m == ahead || m == mute {
		http.NotFound(w, r)
		return
	}
	if m == garbage {
		_, _ = w.Write([]byte("\x00\xff not a note"))
		return
	}
	answer(w, func() (witness.Response, error) {
		if show != nil {
			return witness.Response{Status: 200, Body: show}, nil
		}
		return e.Checkpoint(r.Context(), hash)
	})
}

func (e *eyewitness) post(w http.ResponseWriter, r *http.Request, m mood, body []byte) {
	if _, checkpoint, ok := bytes.Cut(body, []byte("\n\n")); ok {
		e.mu.Lock()
		e.seen = append(e.seen, checkpoint)
		e.mu.Unlock()
	}
	if e.shown() {
		m = ahead
	}
	switch m {
	case garbage:
		_, _ = w.Write([]byte("\u2014 w.test AAAA\n\x00"))
	case unknowing:
		http.NotFound(w, r)
	case disputing:
		w.WriteHeader(http.StatusUnprocessableEntity)
	case ahead:
		w.Header().Set("Content-Type", "text/x.tlog.size")
		w.WriteHeader(http.StatusConflict)
		_, _ = w.Write([]byte("4000000\n"))
	case forgetful:
		_, _ = e.AddCheckpoint(r.Context(), body)
		panic(http.ErrAbortHandler)
	default:
		answer(w, func() (witness.Response, error) { return e.AddCheckpoint(r.Context(), body) })
	}
}

func answer(w http.ResponseWriter, ask func() (witness.Response, error)) {
	res, err := ask()
	if err != nil {
		http.Error(w, "sorry", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", res.ContentType)
	w.WriteHeader(res.Status)
	_, _ = w.Write(res.Body)
}

// witnessed starts a box with n witnesses of whom its policy wants k.
func witnessed(w *world, n, k int) (*box, []*eyewitness) {
	a := w.box("a.test")
	all, p := w.witnesses(n, k)
	a.policy = p
	a.start()
	for _, e := range all {
		e.knows(a.Log().Verifier())
	}
	return a, all
}

// visible waits until lookups show the whole log.
func (b *box) visible() {
	b.w.t.Helper()
	require.Eventually(b.w.t, func() bool {
		size, _ := b.Log().Served()
		return size > 0 && size == b.Log().Size()
	}, 20*time.Second, 2*time.Millisecond, "not witnessed: %s", b.w.logs())
}

// complete waits until all witnesses have cosigned all there is.
func (b *box) complete() {
	b.w.t.Helper()
	b.visible()
	require.Eventually(b.w.t, func() bool { return len(b.verdict().Missing) == 0 }, 20*time.Second, 5*time.Millisecond, "%s", b.w.logs())
}

// verdict is what the policy makes of the checkpoint that is served.
func (b *box) verdict() transparency.Verdict {
	b.w.t.Helper()
	res, signed := b.get("/waxwing/log/checkpoint")
	require.Equal(b.w.t, 200, res.StatusCode)
	v, err := b.policy.Evaluate(signed, b.Log().Verifier(), b.Log().Origin())
	require.NoError(b.w.t, err)
	return v
}

// pad lets the log grow, as soon as it may.
func (b *box) pad() {
	b.w.t.Helper()
	require.Eventually(b.w.t, func() bool { return b.Log().Pad(context.Background()) == nil }, 10*time.Second, 2*time.Millisecond, "%s", b.w.logs())
}
