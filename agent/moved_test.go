package agent_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/device"
	"github.com/waxwing-dm/waxwing/internal/clientapi"
	"github.com/waxwing-dm/waxwing/internal/safehttp"
	"github.com/waxwing-dm/waxwing/keydir"
	"github.com/waxwing-dm/waxwing/transparency"
)

// A mover is a program that can say what an agent of this version does not: that an account goes on elsewhere.
type mover struct {
	*clientapi.Client
	w      *world
	actor  string
	key    ed25519.PrivateKey // of its device
	newest *transparency.Statement
}

func seeded(n byte) ed25519.PrivateKey { return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{n}, 32)) }

func (w *world) mover(name string, n byte) *mover {
	code, err := w.server.AddAccount(name)
	require.NoError(w.t, err)
	m := &mover{w: w, key: seeded(n)}
	h, at := safehttp.New(safehttp.Config{Hosts: w.hosts}), uint64(time.Now().UnixMilli())
	in, err := clientapi.New("http://a.test/waxwing/v1", "", h).Login(ctx, clientapi.Login{
		Account: name, Code: code, SignatureKey: clientapi.Bytes(m.key.Public().(ed25519.PublicKey)), Time: at,
		Signature: ed25519.Sign(m.key, clientapi.LoginMessage("a.test", name, at)),
	})
	require.NoError(w.t, err)
	m.actor, m.Client = in.Actor, clientapi.New("http://a.test/waxwing/v1", in.Token, h)
	return m
}

// pinned is the world's log.
func (w *world) pinned() transparency.Log {
	rec := httptest.NewRecorder()
	w.server.Handler().ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "http://a.test/.well-known/waxwing", nil))
	var d struct {
		Log struct {
			Origin, Key string
			VRF         []byte
		}
	}
	require.NoError(w.t, json.Unmarshal(rec.Body.Bytes(), &d))
	log, err := transparency.Pin("a.test", d.Log.Origin, d.Log.Key, d.Log.VRF)
	require.NoError(w.t, err)
	return log
}

// says publishes a change, signed by one account key and promising another.
func (m *mover) says(kind transparency.Kind, signed, next byte, to, former string) {
	t := m.w.t
	answer, err := transparency.ParseAnswer(lookupAnswer(t, m.w, m.actor))
	require.NoError(t, err)
	_, found, err := m.w.pinned().Check(m.actor, answer, transparency.Terms{})
	require.NoError(t, err)
	c := keydir.Change{
		Kind: kind, Label: found.Label, MovedTo: to, Next: [32]byte(seeded(next).Public().(ed25519.PublicKey)),
		List: keydir.DeviceList{Actor: m.actor, Former: former, Devices: []keydir.Device{{SignatureKey: [32]byte(m.key.Public().(ed25519.PublicKey))}}},
	}
	s, content := c.Sign(m.newest, seeded(signed), uint64(time.Now().UnixMilli()))
	_, err = m.Publish(ctx, clientapi.Publication{Statement: s.Marshal(), Opening: c.Opening[:], Content: content})
	require.NoError(t, err)
	m.newest = &s
}

// TestMovedContact: whoever looks somebody up who has moved is told where to, and whether the other side says so, too.
func TestMovedContact(t *testing.T) {
	w := newWorld(t)
	bob := w.person("bob").login()
	here, there, thief := w.mover("alice", 1), w.mover("alicia", 2), w.mover("mallory", 3)
	here.says(transparency.KindFirst, 10, 11, "", "")
	there.says(transparency.KindFirst, 12, 13, "", here.actor)
	thief.says(transparency.KindFirst, 20, 21, "", here.actor)
	c, err := bob.Contact(ctx, here.actor)
	require.NoError(t, err)
	require.Equal(t, []any{"", device.ContactReady}, []any{c.MovedTo, c.State})
	c, err = bob.Contact(ctx, there.actor)
	require.NoError(t, err)
	require.Empty(t, c.MovedTo, "one side alone says nothing")

	here.says(transparency.KindMove, 11, 12, there.actor, "")
	c, err = bob.Contact(ctx, here.actor)
	require.NoError(t, err)
	require.Equal(t, []any{there.actor, true, device.ContactNone}, []any{c.MovedTo, c.Moved, c.State})
	there.says(transparency.KindUpdate, 13, 14, "", here.actor)
	c, err = bob.Contact(ctx, here.actor)
	require.NoError(t, err)
	require.True(t, c.Moved, "bob has seen how it began")

	other := w.mover("dora", 4)
	other.says(transparency.KindFirst, 30, 31, "", "")
	other.says(transparency.KindMove, 31, 32, thief.actor, "")
	c, err = bob.Contact(ctx, other.actor)
	require.NoError(t, err)
	require.Equal(t, []any{thief.actor, false}, []any{c.MovedTo, c.Moved})
	lost := w.mover("erin", 5)
	lost.says(transparency.KindFirst, 40, 41, "", "")
	lost.says(transparency.KindMove, 41, 42, "http://gone.test/users/erin", "")
	c, err = bob.Contact(ctx, lost.actor)
	require.NoError(t, err, "the other side cannot be asked")
	require.Equal(t, []any{"http://gone.test/users/erin", false}, []any{c.MovedTo, c.Moved})
}
