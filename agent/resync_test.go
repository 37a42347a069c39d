package agent_test

import (
	"bytes"
	"net/http"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/agent"
	"github.com/waxwing-dm/waxwing/agent/store"
	"github.com/waxwing-dm/waxwing/device"
	"github.com/waxwing-dm/waxwing/internal/problem"
)

// damage takes a record of a conversation's MLS state out of a person's store.
func (p *person) damage(id string) {
	p.stop()
	s, err := store.Open(agent.StorePath(p.home), []byte("pass"))
	require.NoError(p.w.t, err)
	var node string
	require.NoError(p.w.t, s.Update(func(tx device.Tx) error {
		if err := tx.Each("group:"+id, func(key string, _ []byte) error {
			if strings.HasPrefix(key, "node/") {
				node = key
			}
			return nil
		}); err != nil {
			return err
		}
		return tx.Delete("group:"+id, node)
	}))
	require.NotEmpty(p.w.t, node)
	require.NoError(p.w.t, s.Close())
	p.start()
}

// TestResyncOverTwoSidecars: a device whose store is damaged comes back by itself, and one whose person asks for it.
func TestResyncOverTwoSidecars(t *testing.T) {
	hosts := map[string]string{}
	home := func(instance, name string) *person {
		s, address := serve(t, "http://"+instance, t.TempDir(), hosts)
		hosts[instance] = address
		code, err := s.AddAccount(name)
		require.NoError(t, err)
		p := &person{w: &world{t: t, hosts: hosts}, home: filepath.Join(t.TempDir(), name), handle: "@" + name + "@" + instance, code: code, log: new(bytes.Buffer)}
		p.start()
		return p.login()
	}
	alice, bob, carol := home("a.test", "alice"), home("b.test", "bob"), home("c.test", "carol")
	m, err := alice.SendTo(ctx, []string{"http://b.test/users/bob", "http://c.test/users/carol"}, "before", nil, "")
	require.NoError(t, err)
	id := m.Conversation
	for _, p := range []*person{bob, carol} {
		p.await("it comes", func() bool { return len(p.texts(id)) == 1 })
	}
	resynced := func(p *person) func() bool {
		return func() bool {
			for _, code := range p.told(device.EventConversationUpdated) {
				if code == device.CodeResynced {
					return true
				}
			}
			return false
		}
	}
	bob.damage(id)
	_, err = alice.Send(id, "while bob hears nothing", nil, "")
	require.NoError(t, err)
	bob.await("bob is back", resynced(bob))
	require.NoError(t, carol.Resync(id))
	carol.await("carol is back", resynced(carol))

	all := []*person{alice, bob, carol}
	same := func() bool {
		var states []string
		for _, p := range all {
			c, err := p.Conversation(id)
			if err != nil || c.State != device.StateActive || len(c.Members) != 3 {
				return false
			}
			states = append(states, string(c.EpochAuthenticator))
		}
		return states[0] == states[1] && states[1] == states[2]
	}
	alice.await("all are in one epoch", same)
	for _, p := range all {
		_, err := p.Send(id, "from "+p.handle, nil, "")
		require.NoError(t, err)
	}
	for _, p := range all {
		p.await(p.handle+" reads everybody", func() bool {
			seen := strings.Join(p.texts(id), "\n")
			return strings.Contains(seen, "from @alice") && strings.Contains(seen, "from @bob") && strings.Contains(seen, "from @carol")
		})
	}
	require.NotContains(t, bob.told(device.EventMessageRefused), device.CodeForkDetected)
}

// TestHubSaysItHasMoved: a 410 is judged by the device; one that shows nothing that holds does not end what was asked for.
func TestHubSaysItHasMoved(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.person("alice").login(), w.person("bob").login()
	var refused atomic.Int32
	w.bent(func(rw http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != "/waxwing/v1/commits" || refused.Add(1) > 2 {
			return false
		}
		event := map[string]string{"receipt": "AAAA", "commit": "AAAA"}
		problem.Write(rw, problem.New(http.StatusGone, "hub_moved", "elsewhere").With("hub", "http://b.test").With("event", event))
		return true
	})
	m, err := alice.SendTo(ctx, []string{bob.actor()}, "hello", nil, "")
	require.NoError(t, err)
	bob.await("it comes", func() bool { return len(bob.texts(m.Conversation)) == 1 })
	require.GreaterOrEqual(t, refused.Load(), int32(3))
	require.Empty(t, alice.told(device.EventMemberFailed))
}
