package agent_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/agent"
	"github.com/waxwing-dm/waxwing/agent/store"
	"github.com/waxwing-dm/waxwing/device"
	"github.com/waxwing-dm/waxwing/internal/problem"
	"github.com/waxwing-dm/waxwing/sidecar"
)

var ctx = context.Background()

// A world has one sidecar at a.test and agents that reach it through a front that tests can bend.
type world struct {
	t      *testing.T
	host   string
	hosts  map[string]string
	server *sidecar.Sidecar
	now    func() time.Time // of the agents; nil: the machine's clock

	mu   sync.Mutex
	bend func(w http.ResponseWriter, r *http.Request) (done bool)
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, host: "a.test", hosts: map[string]string{}}
	var err error
	w.server, err = sidecar.Open(sidecar.Config{Instance: "http://a.test", DataDir: t.TempDir(), Hosts: w.hosts})
	require.NoError(t, err)
	next := w.server.Handler()
	front := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.mu.Lock()
		bend := w.bend
		w.mu.Unlock()
		if bend == nil || !bend(rw, r) {
			next.ServeHTTP(rw, r)
		}
	}))
	w.hosts["a.test"] = front.Listener.Addr().String()
	t.Cleanup(func() {
		front.CloseClientConnections()
		require.NoError(t, w.server.Close())
		front.Close()
	})
	return w
}

func (w *world) bent(f func(rw http.ResponseWriter, r *http.Request) bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.bend = f
}

// A person is one home, through several lives of its agent.
type person struct {
	*agent.Agent
	w      *world
	home   string
	handle string
	code   string
	log    *bytes.Buffer
	end    context.CancelFunc
	done   chan error
}

func (w *world) person(name string) *person {
	code, err := w.server.AddAccount(name)
	require.NoError(w.t, err)
	p := &person{w: w, home: filepath.Join(w.t.TempDir(), name), handle: "@" + name + "@" + w.host, code: code, log: new(bytes.Buffer)}
	p.start()
	return p
}

func (p *person) start() {
	var err error
	p.Agent, err = agent.Open(agent.Config{Home: p.home, Passphrase: []byte("pass"), Hosts: p.w.hosts, Now: p.w.now, Log: slog.New(slog.NewTextHandler(p.log, nil))})
	require.NoError(p.w.t, err)
	p.run()
}

func (p *person) run() {
	var life context.Context
	life, p.end = context.WithCancel(ctx)
	p.done = make(chan error, 1)
	go func(a *agent.Agent) { p.done <- a.Run(life) }(p.Agent)
	p.w.t.Cleanup(p.stop)
}

func (p *person) stop() {
	if p.Agent == nil {
		return
	}
	p.end()
	require.NoError(p.w.t, <-p.done)
	require.NoError(p.w.t, p.Close())
	p.Agent = nil
}

func (p *person) login() *person {
	_, err := p.Login(ctx, p.handle, p.code)
	require.NoError(p.w.t, err)
	require.NoError(p.w.t, p.SetConsent(ctx, device.FromEverybody))
	return p
}

func (p *person) actor() string {
	name, host, _ := strings.Cut(p.handle[1:], "@")
	return "http://" + host + "/users/" + name
}

func (p *person) texts(id string) (out []string) {
	list, err := p.Messages(id, 0, 100)
	if err != nil {
		return nil
	}
	for _, m := range list {
		out = append(out, m.Text)
	}
	return out
}

func (p *person) await(what string, f func() bool) {
	p.w.t.Helper()
	require.Eventually(p.w.t, f, 30*time.Second, 10*time.Millisecond, what)
}

// TestLoginSurvivesEveryBrokenAnswer breaks the connection after each call of a login in turn, so that the sidecar has done what
// the agent does not know of. The next try must come through, and leave one device.
func TestLoginSurvivesEveryBrokenAnswer(t *testing.T) {
	every := 1
	if testing.Short() {
		every = 5
	}
	for broken := 1; ; broken += every {
		w := newWorld(t)
		alice := w.person("alice")
		calls := 0
		next := w.server.Handler()
		w.bent(func(_ http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path == "/waxwing/v1/mailbox" || r.URL.Path == "/waxwing/v1/key-packages" {
				return false
			}
			w.mu.Lock()
			calls++
			now := calls
			w.mu.Unlock()
			if now == broken {
				next.ServeHTTP(httptest.NewRecorder(), r)
				panic(http.ErrAbortHandler)
			}
			return false
		})
		_, _ = alice.Login(ctx, alice.handle, alice.code)
		w.bent(nil)
		w.mu.Lock()
		reached := calls >= broken
		w.mu.Unlock()
		alice.stop()
		alice.start()
		alice.login()
		bob := w.person("bob").login()
		m, err := bob.SendTo(ctx, []string{alice.actor()}, "are you there", nil, "")
		require.NoError(t, err)
		alice.await("the message comes", func() bool { return len(alice.texts(m.Conversation)) == 1 })
		c, err := bob.Contact(ctx, alice.actor())
		require.NoError(t, err)
		require.Len(t, c.Devices, 1)
		if !reached {
			require.Greater(t, broken, 4, "the login has more calls than that")
			return
		}
	}
}

func TestLoginRefused(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.person("alice"), w.person("bob")
	var p *problem.Problem
	_, err := alice.Login(ctx, alice.handle, "wrong")
	require.ErrorAs(t, err, &p)
	require.Equal(t, "login_refused", p.Code)
	_, _, _, err = alice.Account()
	require.NoError(t, err)
	alice.login()
	_, err = alice.Login(ctx, bob.handle, bob.code)
	require.ErrorIs(t, err, device.ErrOtherAccount)
	// A second home for the same account: this version knows one device.
	second := &person{w: w, home: filepath.Join(t.TempDir(), "second"), handle: alice.handle, code: alice.code, log: new(bytes.Buffer)}
	second.start()
	_, err = second.Login(ctx, second.handle, second.code)
	require.ErrorIs(t, err, agent.ErrHasDevice)
}

// TestAgentIsKilledAnywhere stops and starts both agents while they talk.
func TestAgentsComeAndGo(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.person("alice").login(), w.person("bob").login()
	m, err := alice.SendTo(ctx, []string{bob.actor()}, "0", nil, "0")
	require.NoError(t, err)
	want := []string{"0"}
	for i := 1; i <= 6; i++ {
		text := fmt.Sprint(i)
		want = append(want, text)
		_, err := alice.Send(m.Conversation, text, nil, text)
		require.NoError(t, err)
		if i%2 == 0 {
			alice.stop()
			alice.start()
			_, err := alice.Send(m.Conversation, text, nil, text) // whoever asked does not know whether it was written down
			require.NoError(t, err)
		} else {
			bob.stop()
			bob.start()
		}
	}
	bob.await("everything comes", func() bool { return len(bob.texts(m.Conversation)) >= len(want) })
	require.Equal(t, want, bob.texts(m.Conversation))
}

func TestTokenRefused(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.person("alice").login(), w.person("bob").login()
	m, err := alice.SendTo(ctx, []string{bob.actor()}, "one", nil, "")
	require.NoError(t, err)
	bob.await("it comes", func() bool { return len(bob.texts(m.Conversation)) == 1 })
	w.bent(func(rw http.ResponseWriter, r *http.Request) bool {
		if strings.HasPrefix(r.URL.Path, "/waxwing/v1/") && r.URL.Path != "/waxwing/v1/devices" {
			problem.Write(rw, problem.New(401, "token_required", "no"))
			return true
		}
		return false
	})
	_, err = alice.Send(m.Conversation, "two", nil, "")
	require.NoError(t, err)
	alice.await("it is noticed", func() bool { _, _, needsLogin, _ := alice.Account(); return needsLogin })
	w.bent(nil)
	alice.login()
	_, _, needsLogin, err := alice.Account()
	require.NoError(t, err)
	require.False(t, needsLogin)
	bob.await("nothing was given up", func() bool { return len(bob.texts(m.Conversation)) == 2 })
}

// TestLogThatForgets shows alice a log that is smaller than the one she knows, and one of another key.
func TestLogThatForgets(t *testing.T) {
	w := newWorld(t)
	alice := w.person("alice").login()
	w.person("bob").login()
	old := lookupAnswer(t, w, "http://a.test/users/bob")
	w.person("carol").login()
	_, err := alice.Contact(ctx, "http://a.test/users/bob")
	require.NoError(t, err)
	w.bent(func(rw http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/waxwing/v1/directory" && r.Method == http.MethodGet {
			rw.Header().Set("Content-Type", "application/json")
			_, _ = rw.Write(old)
			return true
		}
		return false
	})
	_, err = alice.Contact(ctx, "http://a.test/users/bob")
	require.ErrorIs(t, err, agent.ErrUnproven)
	require.ErrorContains(t, err, "A2")
	w.bent(nil)
	c, err := alice.Contact(ctx, "http://a.test/users/bob")
	require.NoError(t, err, "nothing of it was believed")
	require.Equal(t, device.ContactReady, c.State)
}

// lookupAnswer is what the directory says now.
func lookupAnswer(t *testing.T, w *world, actor string) []byte {
	rec := httptest.NewRecorder()
	req := httptest.NewRequest(http.MethodGet, "http://a.test/waxwing/directory?actor="+actor+"&from=0", nil)
	w.server.Handler().ServeHTTP(rec, req)
	require.Equal(t, 200, rec.Code)
	return rec.Body.Bytes()
}

func TestHostileDiscovery(t *testing.T) {
	var document string
	s := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if document == "redirect" {
			http.Redirect(rw, r, "http://a.test/.well-known/waxwing", http.StatusFound)
			return
		}
		_, _ = rw.Write([]byte(document))
	}))
	defer s.Close()
	w := newWorld(t)
	w.hosts["evil.test"] = s.Listener.Addr().String()
	p := w.person("alice")
	doc := func(change func(map[string]any)) string {
		d := map[string]any{
			"version": 1, "instance": "http://evil.test", "api": "http://evil.test/waxwing/v1",
			"log": map[string]any{"origin": "evil.test/waxwing/log", "key": "k"}, "hub": map[string]any{"key": make([]byte, 32)},
		}
		change(d)
		out, err := json.Marshal(d)
		require.NoError(t, err)
		return string(out)
	}
	for name, c := range map[string]struct {
		document string
		want     error
	}{
		"empty":               {"", agent.ErrNotCapable},
		"not JSON":            {"<html>", agent.ErrNotCapable},
		"two instances":       {`{"instance":"http://evil.test","instance":"http://a.test"}`, agent.ErrNotCapable},
		"another instance":    {doc(func(d map[string]any) { d["instance"] = "http://a.test" }), agent.ErrNotCapable},
		"another version":     {doc(func(d map[string]any) { d["version"] = 2 }), agent.ErrNotCapable},
		"API somewhere else":  {doc(func(d map[string]any) { d["api"] = "http://a.test/waxwing/v1" }), agent.ErrNotCapable},
		"API with a password": {doc(func(d map[string]any) { d["api"] = "http://x@evil.test/waxwing/v1" }), agent.ErrNotCapable},
		"redirect":            {"redirect", agent.ErrUnreachable},
		"huge":                {strings.Repeat(" ", 1<<20), agent.ErrUnreachable},
	} {
		document = c.document
		_, err := p.Login(ctx, "@alice@evil.test", p.code)
		require.ErrorIs(t, err, c.want, name)
	}
	_, ok, _, err := p.Account()
	require.NoError(t, err)
	require.False(t, ok)
}

func TestLogSaysNothingOfPeople(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.person("alice").login(), w.person("bob").login()
	w.bent(func(rw http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPost || r.URL.Path == "/waxwing/v1/directory" {
			problem.Write(rw, problem.New(503, "busy", "not now"))
			return true
		}
		return false
	})
	_, err := alice.SendTo(ctx, []string{bob.actor()}, "the heron", nil, "")
	require.NoError(t, err)
	time.Sleep(300 * time.Millisecond) // long enough for some tries to fail; how many does not matter
	alice.stop()
	bob.stop()
	require.Contains(t, alice.log.String(), "busy")
	for _, word := range []string{"bob", "alice", "a.test", "heron", "/users/", "Bearer"} {
		require.NotContains(t, alice.log.String(), word)
	}
}

func TestOneAgentPerHome(t *testing.T) {
	w := newWorld(t)
	alice := w.person("alice")
	_, err := agent.Open(agent.Config{Home: alice.home, Passphrase: []byte("pass")})
	require.ErrorIs(t, err, store.ErrBusy)
	alice.stop()
	_, err = agent.Open(agent.Config{Home: alice.home, Passphrase: []byte("other")})
	require.ErrorIs(t, err, store.ErrPassphrase)
	info, err := os.Stat(alice.home)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o700), info.Mode().Perm())
}

func TestUnreachableHostIsNotNobody(t *testing.T) {
	w := newWorld(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	w.hosts["gone.test"] = l.Addr().String()
	require.NoError(t, l.Close())
	alice := w.person("alice").login()
	_, err = alice.Resolve(ctx, "@x@gone.test")
	require.ErrorIs(t, err, agent.ErrUnreachable)
	_, err = alice.Resolve(ctx, "@nobody@a.test")
	require.ErrorIs(t, err, agent.ErrNobody)
}
