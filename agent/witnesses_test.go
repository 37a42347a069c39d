package agent_test

import (
	"crypto/ed25519"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"

	"github.com/waxwing-dm/waxwing/agent"
	"github.com/waxwing-dm/waxwing/device"
	"github.com/waxwing-dm/waxwing/transparency"
)

// cosigning puts a cosignature under the checkpoint of every lookup that the sidecar answers, once it is switched on.
func (w *world) cosigning(c *transparency.Cosigner) *atomic.Bool {
	on := new(atomic.Bool)
	w.bent(func(rw http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != "/waxwing/v1/directory" || r.Method != http.MethodGet || !on.Load() {
			return false
		}
		rec := httptest.NewRecorder()
		w.server.Handler().ServeHTTP(rec, r)
		a, err := transparency.ParseAnswer(rec.Body.Bytes())
		if err != nil {
			return false
		}
		text, sigs, _ := strings.Cut(string(a.Checkpoint), "\n\n")
		signed, err := note.Sign(&note.Note{Text: text + "\n"}, c.At(time.Now().Unix()))
		if err != nil {
			return false
		}
		_, line, _ := strings.Cut(string(signed), "\n\n")
		a.Checkpoint = []byte(text + "\n\n" + sigs + line)
		_, _ = rw.Write(a.Marshal())
		return true
	})
	return on
}

func TestWitnessesAreAskedFor(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.person("alice").login(), w.person("bob").login()
	require.False(t, alice.AsksWitnesses())
	_, err := alice.Contact(ctx, bob.actor())
	require.NoError(t, err)
	carol := w.person("carol").login()
	alice.stop()
	c, err := transparency.NewEd25519Cosigner("w.example/witness", ed25519.NewKeyFromSeed(make([]byte, 32)))
	require.NoError(t, err)
	path := agent.WitnessesPath(alice.home)
	require.NoError(t, os.WriteFile(path, []byte("quorum w\n"), 0o600))
	_, err = agent.Open(agent.Config{Home: alice.home, Passphrase: []byte("pass")})
	require.ErrorContains(t, err, "line 1")
	require.NoError(t, os.WriteFile(path, fmt.Appendf(nil, "witness w %s\nquorum w\n", c.Key()), 0o600))
	alice.start()
	require.True(t, alice.AsksWitnesses())
	on := w.cosigning(c)

	var unseen *device.NotWitnessedError
	known, err := alice.Contact(ctx, bob.actor())
	require.ErrorAs(t, err, &unseen)
	require.NotErrorIs(t, err, agent.ErrUnproven)
	require.Len(t, known.Devices, 1, "what is known of him")
	unknown, err := alice.Contact(ctx, carol.actor())
	require.ErrorAs(t, err, &unseen)
	require.Nil(t, unknown.Belief)

	m, err := alice.SendTo(ctx, []string{carol.actor()}, "hello", nil, "key")
	require.NoError(t, err)
	waiting := func() (e device.Event) {
		list, err := alice.Events(0, 1000)
		require.NoError(t, err)
		for _, x := range list {
			if x.Type == device.EventContactWaiting {
				e = x
			}
		}
		return e
	}
	alice.await("the person is told", func() bool { return waiting().Code == device.CodeNotWitnessed })
	require.Equal(t, carol.actor(), waiting().Actor)
	require.Equal(t, m.Conversation, waiting().Conversation)
	require.Contains(t, waiting().Detail, "the witnesses do not vouch for the log of a.test now")
	require.Empty(t, carol.texts(m.Conversation))
	on.Store(true)
	carol.await("carol reads it", func() bool { return len(carol.texts(m.Conversation)) == 1 })
	got, err := alice.Contact(ctx, carol.actor())
	require.NoError(t, err)
	require.False(t, got.Belief.AsOf.IsZero())
	require.Equal(t, "w.example", got.Belief.Witnesses[0].Domain)
}

// TestNamedPolicyBeatsTheHomes, and one that cannot be read stops the agent: to go on without witnesses would be the weaker thing.
func TestNamedPolicyBeatsTheHomes(t *testing.T) {
	home := t.TempDir()
	require.NoError(t, os.WriteFile(agent.WitnessesPath(home), nil, 0o600))
	config := agent.Config{Home: home, Passphrase: []byte("pass")}
	_, err := agent.Open(config)
	require.ErrorContains(t, err, "quorum", "an empty policy")
	config.Witnesses = []byte("quorum none\n")
	a, err := agent.Open(config)
	require.NoError(t, err)
	require.False(t, a.AsksWitnesses(), "a policy that wants none")
	require.NoError(t, a.Close())
	config.Witnesses = nil
	require.NoError(t, os.WriteFile(agent.WitnessesPath(home), make([]byte, 1<<20), 0o600))
	_, err = agent.Open(config)
	require.ErrorContains(t, err, "at most")
	require.NoError(t, os.Remove(agent.WitnessesPath(home)))
	require.NoError(t, os.Mkdir(agent.WitnessesPath(home), 0o700))
	_, err = agent.Open(config)
	require.Error(t, err, "a folder")
}
