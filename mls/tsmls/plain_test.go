package tsmls_test

import (
	"crypto/rand"
	"encoding/json"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/agent/store"
	"github.com/waxwing-dm/waxwing/device"
	"github.com/waxwing-dm/waxwing/mls"
)

const (
	alice = "https://a.example/users/alice"
	erin  = "https://e.example/@erin"
)

// A plainDevice is one of our devices that talks to a peer of the draft: what it sends goes straight to that, and back.
type plainDevice struct {
	*device.Device
	t      *testing.T
	cursor uint64
	shown  []byte // its last-resort key package
}

func newPlainDevice(t *testing.T) *plainDevice {
	s, err := store.Create(filepath.Join(t.TempDir(), "store.db"), []byte("pass"))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	d := &plainDevice{Device: device.New(s, rand.Reader, time.Now), t: t}
	_, err = d.Prepare()
	require.NoError(t, err)
	require.NoError(t, d.Bind(alice, "@alice@a.example", "https://a.example", "token"))
	require.NoError(t, d.TopUp(0))
	d.work(nil)
	return d
}

// work does the jobs; those that go to the peer it gives to it.
func (d *plainDevice) work(p *peer) {
	for {
		jobs, err := d.Jobs()
		require.NoError(d.t, err)
		if len(jobs) == 0 {
			return
		}
		switch j := jobs[0].(type) {
		case *device.KeyPackagesJob:
			d.shown = j.LastResort
			require.NoError(d.t, d.KeyPackagesStored(j.ID()))
		case *device.LookupJob:
			require.NoError(d.t, d.NoDirectory(erin))
			require.NoError(d.t, d.LookedUp(j.ID()))
		case *device.ClaimJob:
			require.Equal(d.t, []string{erin}, j.Plain)
			raw := p.keyPackage[4:] // programs of the draft show it without its frame
			require.NoError(d.t, d.Claimed(j.ID(), map[string][]device.ClaimedPackage{erin: {{KeyPackage: raw}}}))
		case *device.ConsentJob:
			require.NoError(d.t, d.Decided(j.ID()))
		case *device.SendJob:
			require.True(d.t, j.Plain)
			d.give(p, j.Message)
			require.NoError(d.t, d.Sent(j.ID()))
		default:
			require.Failf(d.t, "an unexpected job", "%T", j)
		}
	}
}

func (d *plainDevice) give(p *peer, message []byte) {
	m, err := mls.ParseMessage(message)
	require.NoError(d.t, err)
	if m.WireFormat() == mls.WireWelcome {
		p.call("join", map[string]any{"welcome": message})
		return
	}
	got := p.call("process", map[string]any{"message": message}).Data
	if m.ContentType() != mls.ContentApplication {
		return
	}
	var a struct {
		Type, Actor string
		Object      struct{ Type, AttributedTo, Content string }
	}
	require.NoError(d.t, json.Unmarshal(got, &a))
	require.Equal(d.t, []string{"Create", alice, "Note", alice, "<p>hello</p>"}, []string{a.Type, a.Actor, a.Object.Type, a.Object.AttributedTo, a.Object.Content})
}

func (d *plainDevice) take(message []byte) {
	d.cursor++
	require.NoError(d.t, d.Receive(device.Incoming{Cursor: d.cursor, Actor: erin, Message: message}))
}

func (d *plainDevice) hears(p *peer, id, text string) {
	data, err := json.Marshal(map[string]any{"type": "Create", "actor": erin, "object": map[string]any{"id": "uri:uuid:1", "type": "Note", "attributedTo": erin, "content": "<p>" + text + "</p>"}})
	require.NoError(d.t, err)
	d.take(p.call("send", map[string]any{"data": data}).Message)
	list, err := d.Messages(id, 0, 100)
	require.NoError(d.t, err)
	require.Equal(d.t, text, list[len(list)-1].Text)
	require.True(d.t, list[len(list)-1].Plain)
}

// TestPlainConversation: our device and ts-mls in a plain conversation, as who invites and as who is invited, and past commits of both.
func TestPlainConversation(t *testing.T) {
	peers(t)
	t.Run("we invite", func(t *testing.T) {
		d, p := newPlainDevice(t), newPeer(t, mls.X25519AES128GCMSHA256Ed25519, erin)
		require.NoError(t, d.NoDirectory(erin))
		m, err := d.SendToPlain([]string{erin}, "hello", nil, "")
		require.NoError(t, err)
		d.work(p)
		d.hears(p, m.Conversation, "hello yourself")
		d.take(p.call("update", nil).Commit)
		_, err = d.Send(m.Conversation, "hello", nil, "")
		require.NoError(t, err)
		d.work(p)
		d.hears(p, m.Conversation, "after a commit of mine")
	})
	t.Run("they invite", func(t *testing.T) {
		d, p := newPlainDevice(t), newPeer(t, mls.X25519AES128GCMSHA256Ed25519, erin)
		p.call("create", map[string]any{"group": []byte("uri:uuid:11111111-2222-4333-8444-555555555555")})
		framed := append([]byte{0, 1, 0, byte(mls.WireKeyPackage)}, d.shown...)
		d.take(p.call("add", map[string]any{"keyPackages": [][]byte{framed}}).Welcome)
		asking, err := d.Requests()
		require.NoError(t, err)
		require.Len(t, asking, 1, "whoever is not known waits")
		require.NoError(t, d.AcceptRequest(asking[0].ID))
		d.work(p)
		list, err := d.Conversations()
		require.NoError(t, err)
		require.Len(t, list, 1)
		require.True(t, list[0].Plain)
		d.hears(p, list[0].ID, "welcome")
		_, err = d.Send(list[0].ID, "hello", nil, "")
		require.NoError(t, err)
		d.work(p)
		require.NoError(t, d.Leave(list[0].ID, ""))
		jobs, err := d.Jobs()
		require.NoError(t, err)
		require.Equal(t, []string{erin}, jobs[0].(*device.SendJob).To)
		d.give(p, jobs[0].(*device.SendJob).Message)
		require.NotEmpty(t, p.call("update", nil).Commit, "they commit what we proposed")
	})
}
