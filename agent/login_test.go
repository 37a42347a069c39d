package agent_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/agent"
	"github.com/waxwing-dm/waxwing/device"
)

// An unwitnessed directory takes what is published and shows nobody, as one does whose log's witnesses are away.
type unwitnessed struct {
	lookups, published atomic.Int64
	witnessed          atomic.Bool
}

func (w *world) unwitnessed(actor string) *unwitnessed {
	u := new(unwitnessed)
	before := lookupAnswer(w.t, w, actor)
	next := w.server.Handler()
	w.bent(func(rw http.ResponseWriter, r *http.Request) bool {
		if u.witnessed.Load() || r.URL.Path != "/waxwing/v1/directory" {
			return false
		}
		if r.Method == http.MethodGet {
			u.lookups.Add(1)
			rw.Header().Set("Content-Type", "application/vnd.waxwing.lookup")
			_, _ = rw.Write(before)
			return true
		}
		rec := httptest.NewRecorder()
		next.ServeHTTP(rec, r)
		if rec.Code != 200 {
			w.t.Errorf("%d %s", rec.Code, rec.Body)
		}
		u.published.Add(1)
		rw.Header().Set("Content-Type", "application/json")
		fmt.Fprint(rw, `{"index":1,"witnessed":false,"waiting":"2 of 3 witnesses are missing: w0.test: it cannot be reached"}`)
		return true
	})
	return u
}

// TestLoginWaitsForTheWitnesses: an entry that is in the log and not to be seen is no other device's. It takes time, or another login
// later, and there is one device in the end.
func TestLoginWaitsForTheWitnesses(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.person("alice"), w.person("bob")
	for _, p := range []*person{alice, bob} {
		p.Patience(time.Second)
	}
	u := w.unwitnessed(alice.actor())
	_, err := alice.Login(ctx, alice.handle, alice.code)
	var unseen *agent.NotVisibleError
	require.ErrorAs(t, err, &unseen)
	require.NotErrorIs(t, err, agent.ErrHasDevice)
	require.Contains(t, err.Error(), "2 of 3 witnesses are missing: w0.test: it cannot be reached")
	require.Greater(t, u.lookups.Load(), int64(2), "it was asked for more than once")
	_, err = alice.Login(ctx, alice.handle, alice.code)
	require.ErrorAs(t, err, &unseen, "and can be asked for again")
	u.witnessed.Store(true)
	alice.login()
	c, err := alice.Contact(ctx, alice.actor())
	require.NoError(t, err)
	require.Len(t, c.Devices, 1)

	u = w.unwitnessed(bob.actor())
	bob.Patience(20 * time.Second)
	go func() {
		for u.published.Load() < 2 {
			time.Sleep(5 * time.Millisecond)
		}
		u.witnessed.Store(true)
	}()
	bob.login()
	c, err = alice.Contact(ctx, bob.actor())
	require.NoError(t, err)
	require.Equal(t, device.ContactReady, c.State)
}

// TestLoginWhileTheLogIsHeld: nothing can be appended before the witnesses have spoken, or be shown before the first has.
func TestLoginWhileTheLogIsHeld(t *testing.T) {
	for _, code := range []string{"log_unchecked", "not_witnessed"} {
		w := newWorld(t)
		alice := w.person("alice")
		alice.Patience(time.Second)
		held := atomic.Bool{}
		held.Store(true)
		w.bent(func(rw http.ResponseWriter, r *http.Request) bool {
			method := map[string]string{"log_unchecked": http.MethodPost, "not_witnessed": http.MethodGet}[code]
			if !held.Load() || !strings.HasSuffix(r.URL.Path, "/directory") || r.Method != method {
				return false
			}
			rw.Header().Set("Content-Type", "application/problem+json")
			rw.WriteHeader(http.StatusServiceUnavailable)
			fmt.Fprintf(rw, `{"status":503,"code":%q,"detail":"w1.test: no answer in time"}`, code)
			return true
		})
		_, err := alice.Login(ctx, alice.handle, alice.code)
		var unseen *agent.NotVisibleError
		require.True(t, errors.As(err, &unseen), "%s: %v", code, err)
		require.Contains(t, unseen.Waiting, "w1.test: no answer in time")
		held.Store(false)
		alice.login()
	}
}
