package agent_test

import (
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/agent"
)

// TestOldProofsAreRenewed: whoever we talk to is looked up again after six hours without anybody asking; where that fails, it is over until
// the next round and holds nothing up.
func TestOldProofsAreRenewed(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.person("alice").login(), w.person("bob").login()
	m, err := alice.SendTo(ctx, []string{bob.actor()}, "hello", nil, "key")
	require.NoError(t, err)
	bob.await("bob reads it", func() bool { return len(bob.texts(m.Conversation)) == 1 })
	alice.stop()

	var asked, away atomic.Int32
	away.Store(1)
	w.bent(func(rw http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != "/waxwing/v1/directory" || r.URL.Query().Get("actor") != bob.actor() {
			return false
		}
		asked.Add(1)
		return away.Load() == 1 && page(rw, 503)
	})
	later := func() time.Time { return time.Now().Add(7 * time.Hour) }
	for range 2 {
		before := asked.Load()
		alice.Agent, err = agent.Open(agent.Config{Home: alice.home, Passphrase: []byte("pass"), Hosts: w.hosts, Now: later})
		require.NoError(t, err)
		alice.run()
		alice.await("bob is looked up", func() bool { return asked.Load() > before })
		_, err = alice.Send(m.Conversation, "nobody waits for that", nil, "")
		require.NoError(t, err)
		alice.await("the message is sent", func() bool {
			list, err := alice.Messages(m.Conversation, 0, 10)
			return err == nil && list[len(list)-1].State == "sent"
		})
		require.Equal(t, before+1, asked.Load(), "once a round")
		alice.stop()
		away.Store(0)
	}
}
