package agent_test

import (
	"bytes"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/device"
	"github.com/waxwing-dm/waxwing/sidecar"
	"github.com/waxwing-dm/waxwing/transparency"
)

// serve runs a sidecar that delivers, and returns its address.
func serve(t *testing.T, instance, dir string, hosts map[string]string) (*sidecar.Sidecar, string) {
	s, err := sidecar.Open(sidecar.Config{Instance: instance, DataDir: dir, Hosts: hosts})
	require.NoError(t, err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, l) }()
	t.Cleanup(func() {
		s.Kill()
		<-done
	})
	return s, l.Addr().String()
}

// TestSplitView has an instance with two histories of its log, the one for its own people and the other for everybody else: two
// real sidecars with the same keys, and a proxy that picks. The first message between the two sides shows it to both.
func TestSplitView(t *testing.T) {
	var aliceWorld, bobWorld, carolWorld = map[string]string{}, map[string]string{}, map[string]string{}
	home := func(s *sidecar.Sidecar, name, host string, hosts map[string]string) *person {
		code, err := s.AddAccount(name)
		require.NoError(t, err)
		p := &person{w: &world{t: t, hosts: hosts}, home: filepath.Join(t.TempDir(), name), handle: "@" + name + "@" + host, code: code, log: new(bytes.Buffer)}
		p.start()
		return p.login()
	}
	a, address := serve(t, "http://a.test", t.TempDir(), aliceWorld)
	for _, hosts := range []map[string]string{aliceWorld, bobWorld, carolWorld} {
		hosts["a.test"] = address
	}
	dir, other := t.TempDir(), t.TempDir()
	before, address := serve(t, "http://b.test", dir, bobWorld)
	bobWorld["b.test"] = address
	bob := home(before, "bob", "b.test", bobWorld)
	bob.stop()
	require.NoError(t, before.Close())
	require.NoError(t, os.CopyFS(other, os.DirFS(dir)))
	b, toBob := serve(t, "http://b.test", dir, bobWorld)
	twin, toAlice := serve(t, "http://b.test", other, bobWorld)
	bobWorld["b.test"], carolWorld["b.test"] = toBob, toAlice
	front := httptest.NewServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		to := toBob
		if path := r.In.URL.Path; strings.HasPrefix(path, "/waxwing/log/") || path == "/waxwing/directory" {
			to = toAlice
		}
		r.SetURL(&url.URL{Scheme: "http", Host: to})
		r.Out.Host = r.In.Host
	}})
	t.Cleanup(front.Close)
	aliceWorld["b.test"] = front.Listener.Addr().String()

	home(twin, "carol", "b.test", carolWorld)
	home(b, "dave", "b.test", bobWorld)
	home(b, "eve", "b.test", bobWorld)
	bob.start()
	const bobActor = "http://b.test/users/bob"
	_, err := bob.Contact(ctx, bobActor)
	require.NoError(t, err)
	alice := home(a, "alice", "a.test", aliceWorld)
	m, err := alice.SendTo(ctx, []string{bobActor}, "the first", nil, "")
	require.NoError(t, err)
	bob.await("the message comes", func() bool { return len(bob.texts(m.Conversation)) == 1 })
	for _, p := range []*person{alice, bob} {
		p.await(p.handle+" finds out", func() bool { return p.logState("b.test") == "split" })
		list, err := p.Distrusted()
		require.NoError(t, err)
		require.Len(t, list, 1)
		e, err := transparency.ParseEvidence(list[0].Evidence)
		require.NoError(t, err)
		smaller, larger, err := e.Verify(e.Key)
		require.NoError(t, err)
		require.Equal(t, []int64{3, 4}, []int64{smaller.Size, larger.Size})
		require.Equal(t, "believed", p.logState("a.test"))
	}
	_, err = alice.Contact(ctx, "http://b.test/users/carol")
	require.ErrorIs(t, err, device.ErrLogSplit)
	_, err = bob.Send(m.Conversation, "what now?", nil, "")
	require.NoError(t, err)
	alice.await("talk goes on", func() bool { return len(alice.texts(m.Conversation)) == 2 })
}

func (p *person) logState(host string) string {
	list, err := p.Distrusted()
	require.NoError(p.w.t, err)
	for _, l := range list {
		if l.Instance == "http://"+host && l.Split {
			return "split"
		} else if l.Instance == "http://"+host {
			return "unproven"
		}
	}
	return "believed"
}

// TestTilesThatAreWithheld: a log that gives no proof is in doubt after some tries, and no longer once it gives it.
func TestTilesThatAreWithheld(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.person("alice").login(), w.person("bob").login()
	m, err := alice.SendTo(ctx, []string{bob.actor()}, "one", nil, "")
	require.NoError(t, err)
	bob.await("it comes", func() bool { return len(bob.texts(m.Conversation)) == 1 })
	_, err = bob.Contact(ctx, bob.actor())
	require.NoError(t, err)
	w.person("carol").login()
	_, err = alice.Contact(ctx, bob.actor())
	require.NoError(t, err)
	w.person("dave").login()
	asked := make(chan bool, 100)
	w.bent(func(rw http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != "/waxwing/v1/log" {
			return false
		}
		asked <- true
		if r.URL.Query().Get("path") == "checkpoint" {
			return false
		}
		_, _ = rw.Write(make([]byte, 32*8)) // of no tree
		return true
	})
	_, err = bob.Contact(ctx, bob.actor())
	require.NoError(t, err)
	_, err = bob.Send(m.Conversation, "two", nil, "")
	require.NoError(t, err)
	alice.await("it is in doubt", func() bool { return alice.logState("a.test") == "unproven" })
	require.GreaterOrEqual(t, len(asked), 2*3, "a checkpoint and a tile, three times")
	_, err = alice.Contact(ctx, bob.actor())
	require.ErrorIs(t, err, device.ErrLogUnproven)
	w.bent(nil)
	alice.await("it has proven it", func() bool { return alice.logState("a.test") == "believed" })
	_, err = alice.Contact(ctx, bob.actor())
	require.NoError(t, err)
	require.Equal(t, []string{"one", "two"}, alice.texts(m.Conversation))
}
