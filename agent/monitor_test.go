package agent_test

import (
	"bytes"
	"crypto/ed25519"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/agent"
	"github.com/waxwing-dm/waxwing/device"
	"github.com/waxwing-dm/waxwing/internal/clientapi"
	"github.com/waxwing-dm/waxwing/internal/problem"
	"github.com/waxwing-dm/waxwing/internal/safehttp"
	"github.com/waxwing-dm/waxwing/keydir"
	"github.com/waxwing-dm/waxwing/transparency"
)

// monitored runs the monitor now and waits until it has ended.
func (p *person) monitored(fromStart bool) (device.Monitor, error) {
	p.w.t.Helper()
	number, err := p.StartScan(fromStart)
	require.NoError(p.w.t, err)
	var ended agent.Scan // the next one may have begun when this is looked at
	p.await("the scan ends", func() bool { ended = p.Scanning(); return ended.Number >= number && !ended.Running })
	m, ok, err := p.Monitor()
	require.NoError(p.w.t, err)
	require.True(p.w.t, ok)
	return m, ended.Err
}

func (p *person) alarms() (codes []string) {
	events, err := p.Events(0, 1000)
	require.NoError(p.w.t, err)
	for _, e := range events {
		if e.Type == device.EventAccountAlarm {
			codes = append(codes, e.Code)
		}
	}
	return codes
}

// served changes what the log's public routes answer below tile/; f gets the path and what is there, and nil is 404.
func (w *world) served(f func(path string, body []byte) []byte) {
	next := w.server.Handler()
	w.bent(func(rw http.ResponseWriter, r *http.Request) bool {
		path, ok := strings.CutPrefix(r.URL.Path, "/waxwing/log/")
		if !ok {
			return false
		}
		rec := httptest.NewRecorder()
		next.ServeHTTP(rec, r)
		body := f(path, bytes.Clone(rec.Body.Bytes()))
		if body == nil {
			rw.WriteHeader(http.StatusNotFound)
			return true
		}
		_, _ = rw.Write(body)
		return true
	})
}

// An intruder is a device that the instance has let into somebody's account.
type intruder struct {
	w       *world
	actor   string
	account ed25519.PrivateKey
	key     ed25519.PrivateKey
	api     *clientapi.Client
}

// intrude does what an instance's admin can do with the program as it is: make a new login code for somebody's account, log in with it, and
// reset the list to the device that has just come.
func (w *world) intrude(victim *person) *intruder {
	name := strings.Split(victim.handle, "@")[1]
	code, err := w.server.NewCode(name)
	require.NoError(w.t, err)
	in := &intruder{w: w, actor: victim.actor()}
	_, in.key, _ = ed25519.GenerateKey(nil)
	_, in.account, _ = ed25519.GenerateKey(nil)
	at := uint64(time.Now().UnixMilli())
	line := safehttp.New(safehttp.Config{Hosts: w.hosts})
	w.t.Cleanup(line.CloseIdle)
	logged, err := clientapi.New("http://a.test/waxwing/v1", "", line).Login(ctx, clientapi.Login{
		Account: name, Code: code, SignatureKey: clientapi.Bytes(in.key.Public().(ed25519.PublicKey)), Time: at,
		Signature: ed25519.Sign(in.key, clientapi.LoginMessage("a.test", name, at)),
	})
	require.NoError(w.t, err)
	in.api = clientapi.New("http://a.test/waxwing/v1", logged.Token, line)
	return in.publish(transparency.KindReset)
}

func (in *intruder) id() string { return keydir.DeviceID(in.key.Public().(ed25519.PublicKey)) }

func (in *intruder) publish(kind transparency.Kind) *intruder {
	answer, err := transparency.ParseAnswer(lookupAnswer(in.w.t, in.w, in.actor))
	require.NoError(in.w.t, err)
	previous, err := transparency.ParseStatement(answer.Found.Statement)
	require.NoError(in.w.t, err)
	change := keydir.Change{Kind: kind, Label: previous.Label, List: keydir.DeviceList{Actor: in.actor}}
	change.Next = [32]byte(in.account.Public().(ed25519.PublicKey))
	change.List.Devices = []keydir.Device{{SignatureKey: [32]byte(in.key.Public().(ed25519.PublicKey))}}
	statement, content := change.Sign(&previous, in.account, uint64(time.Now().UnixMilli()))
	_, err = in.api.Publish(ctx, clientapi.Publication{Statement: statement.Marshal(), Opening: make([]byte, 32), Content: content})
	require.NoError(in.w.t, err)
	return in
}

// TestIntruderOnTheOwnList: somebody else's device on alice's list is told by the next lookup, though the instance has thrown hers out
// and refuses her token.
func TestIntruderOnTheOwnList(t *testing.T) {
	w := newWorld(t)
	alice := w.person("alice").login()
	m, err := alice.monitored(true)
	require.NoError(t, err)
	require.Empty(t, m.Alarms)
	evil := w.intrude(alice)
	m, err = alice.monitored(false)
	require.NoError(t, err)
	require.Len(t, m.Alarms, 1)
	require.Equal(t, device.CodeListReset, m.Alarms[0].Code)
	require.Equal(t, []string{evil.id()}, m.Alarms[0].Devices)
	require.EqualValues(t, 2, m.Alarms[0].Index)
	require.Equal(t, []string{device.CodeListReset}, alice.alarms())
	require.NoError(t, alice.AlarmsSeen())
	alice.stop()
	alice.start()
	m, err = alice.monitored(true)
	require.NoError(t, err)
	require.True(t, m.Alarms[0].Seen, "it is remembered, and not news")
	require.Len(t, alice.alarms(), 1)
	alice.stop()
	require.NotContains(t, alice.log.String(), "alice")
}

// TestSwappedWhileAway: alice's agent sleeps while her list is replaced twice. Only the second is there when it looks.
func TestSwappedWhileAway(t *testing.T) {
	w := newWorld(t)
	alice := w.person("alice").login()
	_, err := alice.monitored(false)
	require.NoError(t, err)
	alice.stop()
	w.intrude(alice)
	last := w.intrude(alice)
	w.person("carol").login()
	alice.start()
	alice.await("by itself, at the start", func() bool { return len(alice.alarms()) == 2 })
	m, err := alice.monitored(false)
	require.NoError(t, err)
	require.Len(t, m.Alarms, 2)
	require.Equal(t, []string{last.id()}, m.Alarms[0].Devices, "the lookup")
	require.EqualValues(t, 2, m.Alarms[1].Index, "the entries")
	require.Equal(t, m.Target, m.Read)
}

// TestErasedByTheInstance: it stops to answer for the account; the entry is found all the same.
func TestErasedByTheInstance(t *testing.T) {
	w := newWorld(t)
	alice := w.person("alice").login()
	_, err := alice.monitored(false)
	require.NoError(t, err)
	w.bent(func(rw http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/waxwing/directory" && strings.HasSuffix(r.URL.Query().Get("actor"), "alice") {
			problem.Write(rw, problem.New(http.StatusGone, "erased", "gone"))
			return true
		}
		return false
	})
	w.person("carol").login()
	m, err := alice.monitored(false)
	require.NoError(t, err)
	require.Equal(t, []string{device.CodeListErased}, alice.alarms(), "it says so")
	require.EqualValues(t, 3, m.Read, "and what it answers about others proves how far the log goes")
	_, err = alice.monitored(false)
	require.NoError(t, err)
	require.Len(t, alice.alarms(), 1)
}

// TestHostileTiles: whatever the instance serves in place of its log, the run ends with a sentence, nothing of it is believed, and the
// truth is found when it is served.
func TestHostileTiles(t *testing.T) {
	w := newWorld(t)
	alice := w.person("alice").login()
	before, err := alice.monitored(false)
	require.NoError(t, err)
	w.intrude(alice)
	w.person("carol").login()
	w.intrude(alice)
	const one = 244
	for _, c := range []struct {
		name string
		f    func([]byte) []byte
		want string
	}{
		{"not there", func([]byte) []byte { return nil }, "did not give out"},
		{"empty", func([]byte) []byte { return []byte{} }, "not as long"},
		{"an entry dropped", func(b []byte) []byte { return b[:len(b)-one] }, "not as long"},
		{"one byte more", func(b []byte) []byte { return append(b, 0) }, "did not give out"},
		{"huge", func([]byte) []byte { return make([]byte, 8<<20) }, "did not give out"},
		{"not what makes the root", func(b []byte) []byte { b[len(b)-1] ^= 1; return b }, "check N5"},
		{"an entry replaced", func(b []byte) []byte { copy(b[2*one:], b[3*one:4*one]); return b }, "check N5"},
	} {
		w.served(func(path string, b []byte) []byte {
			if !strings.HasPrefix(path, "tile/entries/") {
				return b
			}
			return c.f(b)
		})
		m, err := alice.monitored(false)
		require.Error(t, err, c.name)
		require.Contains(t, m.Trouble, c.want, c.name)
		require.Equal(t, before.Read, m.Read, c.name)
		require.Equal(t, device.CodeListReset, alice.alarms()[0])
	}
	require.Contains(t, alice.alarms(), device.CodeLogBroken)
	w.bent(nil)
	m, err := alice.monitored(true)
	require.NoError(t, err)
	require.Empty(t, m.Trouble)
	// The one that a lookup found, and the one that it may have come too late for: each once.
	require.ElementsMatch(t, []string{device.CodeListReset, device.CodeLogBroken, device.CodeListReset}, alice.alarms())
}

// TestRestartInAScan: the agent is stopped after each bundle of a log of some size; every bundle is fetched once.
func TestRestartInAScan(t *testing.T) {
	w := newWorld(t)
	alice := w.person("alice").login()
	_, err := alice.monitored(false)
	require.NoError(t, err)
	alice.stop()
	evil := w.intrude(alice)
	for range 600 {
		evil.publish(transparency.KindUpdate)
	}
	var fetched atomic.Int32
	w.served(func(path string, b []byte) []byte {
		if strings.HasPrefix(path, "tile/entries/") && fetched.Add(1)%2 == 0 {
			return nil // every second one does not come
		}
		return b
	})
	m := device.Monitor{}
	for restarts := 0; ; restarts++ {
		require.Less(t, restarts, 10)
		alice.start()
		m, err = alice.monitored(false)
		if err == nil {
			break
		}
		alice.stop()
	}
	require.Equal(t, m.Target, m.Read)
	require.LessOrEqual(t, int(fetched.Load()), 2*4, "three bundles, each once")
	require.Len(t, m.Alarms, 64)
	require.Equal(t, 601, len(m.Alarms)+m.More-1)
}

// TestAwayIsNoAlarm: without the instance nothing is said of it, and its changes while away are found afterwards.
func TestAwayIsNoAlarm(t *testing.T) {
	w := newWorld(t)
	alice := w.person("alice").login()
	w.bent(func(http.ResponseWriter, *http.Request) bool { panic(http.ErrAbortHandler) })
	alice.await("it is noticed", func() bool {
		_, err := alice.monitored(false)
		return err != nil
	})
	m, err := alice.monitored(true)
	require.ErrorIs(t, err, agent.ErrAway)
	require.Empty(t, m.Alarms)
	w.bent(nil)
	w.intrude(alice)
	m, err = alice.monitored(false)
	require.NoError(t, err)
	require.Len(t, m.Alarms, 1)
}
