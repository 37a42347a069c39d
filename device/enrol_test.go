package device_test

import (
	"crypto/ed25519"
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"

	"github.com/waxwing-dm/waxwing/device"
	"github.com/waxwing-dm/waxwing/keydir"
	"github.com/waxwing-dm/waxwing/mls"
	"github.com/waxwing-dm/waxwing/transparency"
)

func TestEnrolment(t *testing.T) {
	w := newWorld(t, 3)
	p := &person{w: w, actor: alice, store: newMemory()}
	p.restart()
	_, err := p.SignLogin([]byte("waxwing login v1\x00a.example\x00alice\x00"))
	require.ErrorIs(t, err, device.ErrNotEnrolled)
	require.ErrorIs(t, p.Bind(alice, "@alice@a.example", "https://a.example", "t"), device.ErrNotEnrolled)
	key, err := p.Prepare()
	require.NoError(t, err)
	p.restart()
	again, err := p.Prepare()
	require.NoError(t, err)
	require.Equal(t, key, again)

	login := []byte("waxwing login v1\x00a.example\x00alice\x00\x00\x00\x00\x00\x00\x00\x00\x01")
	signature, err := p.SignLogin(login)
	require.NoError(t, err)
	require.True(t, ed25519.Verify(key, login, signature))
	for _, other := range []string{"", "waxwing login v1", "waxwing entry v1\x00…", "FramedContentTBS"} {
		_, err := p.SignLogin([]byte(other))
		require.Error(t, err, "the key signs logins and nothing else by this door")
	}

	_, ok, err := p.Account()
	require.NoError(t, err)
	require.False(t, ok)
	_, err = p.StartConversation([]string{bob})
	require.ErrorIs(t, err, device.ErrNotEnrolled)
	require.ErrorIs(t, p.Bind(alice, "@alice@a.example", "https://b.example", "t"), device.ErrActor)
	require.NoError(t, p.Bind(alice, "@alice@a.example", "https://a.example", "t"))
	require.NoError(t, p.Bind(alice, "@alice@a.example", "https://a.example", "t2"))
	require.ErrorIs(t, p.Bind(dave, "@dave@a.example", "https://a.example", "t"), device.ErrOtherAccount)
	account, ok, err := p.Account()
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, device.Account{
		Actor: alice, Handle: "@alice@a.example", Instance: "https://a.example", Token: "t2", DeviceID: keydir.DeviceID(key), SignatureKey: key,
	}, account)
	_, err = p.StartConversation([]string{bob})
	require.ErrorIs(t, err, device.ErrNoHub)
}

func TestDeviceListIsTheSameWhenAskedAgain(t *testing.T) {
	w := newWorld(t, 4)
	p := w.unlisted(alice)
	_, err := p.DeviceList()
	require.ErrorContains(t, err, "looked up")
	require.NoError(t, p.lookUp(alice))
	first, err := p.DeviceList()
	require.NoError(t, err)
	p.restart()
	w.now = w.now.Add(time.Minute)
	second, err := p.DeviceList()
	require.NoError(t, err)
	require.Equal(t, first, second)
	statement, err := transparency.ParseStatement(first.Statement)
	require.NoError(t, err)
	require.NoError(t, statement.Follows(nil))
	state, err := keydir.Open(alice, statement, [32]byte(first.Opening), first.Content)
	require.NoError(t, err)
	require.True(t, state.List.Has(p.key))

	w.now = w.now.Add(time.Hour) // the log would refuse the statement for its time (L7)
	later, err := p.DeviceList()
	require.NoError(t, err)
	require.NotEqual(t, first, later)
	require.NoError(t, w.publish(alice, later))
	require.NoError(t, p.lookUp(alice))
	w.now = w.now.Add(time.Hour)
	published, err := p.DeviceList()
	require.NoError(t, err)
	require.Equal(t, later, published, "what is in the log is not made anew")
}

func TestPinLog(t *testing.T) {
	w := newWorld(t, 5)
	p := w.enrol(alice)
	in := w.instance(bob)
	origin, key, labels := in.log.Origin(), in.logKey, in.log.VRFKey()
	pinned, _, err := p.LogOf(bob)
	require.NoError(t, err)
	require.False(t, pinned)
	_, err = p.Learn(bob, []byte("{}"))
	require.ErrorIs(t, err, device.ErrLogNotPinned)
	other := w.instance(alice)
	require.Error(t, p.PinLog("https://b.example", other.log.Origin(), key, labels))
	require.Error(t, p.PinLog("https://b.example", origin, key, other.log.VRFKey()), "the origin names another VRF key")
	require.NoError(t, p.PinLog("https://b.example", origin, key, labels))
	require.NoError(t, p.PinLog("https://b.example", origin, key, labels))
	_, forged, err := note.GenerateKey(nil, origin)
	require.NoError(t, err)
	require.ErrorIs(t, p.PinLog("https://b.example", origin, forged, labels), device.ErrLogKeyChanged)
	another := transparency.Origin("b.example", other.log.VRFKey())
	_, forged, err = note.GenerateKey(nil, another)
	require.NoError(t, err)
	require.ErrorIs(t, p.PinLog("https://b.example", another, forged, other.log.VRFKey()), device.ErrLogKeyChanged)
	for _, bad := range []string{"", "bob", "ftp://b.example/bob", "https://u:p@b.example/bob", "https://B.example/bob", "https://b.example"} {
		_, _, err := p.LogOf(bad)
		require.ErrorIs(t, err, device.ErrActor, bad)
	}
}

func TestLearnBelievesNothingUnproven(t *testing.T) {
	w := newWorld(t, 6)
	a, _ := w.enrol(alice), w.enrol(bob)
	require.NoError(t, w.instance(bob).pin(a, "https://b.example"))
	answer, err := w.instance(bob).log.Answer(t.Context(), bob, 0)
	require.NoError(t, err)
	raw := answer.Marshal()
	for i := 0; i < len(raw); i += 7 {
		bad := append([]byte{}, raw...)
		bad[i] ^= 1
		_, err := a.Learn(bob, bad)
		require.Error(t, err, "byte %d", i)
	}
	_, err = a.Learn("https://b.example/users/mallory", raw)
	require.Error(t, err)
	_, ok, err := a.Contact(bob)
	require.NoError(t, err)
	require.False(t, ok)
	record, err := a.Learn(bob, raw)
	require.NoError(t, err)
	require.True(t, record.List.Has(w.people[bob].key))
	c, ok, err := a.Contact(bob)
	require.NoError(t, err)
	require.True(t, ok)
	require.NotNil(t, c.Belief)
	c.Belief = nil
	require.Equal(t, device.Contact{Actor: bob, State: device.ContactReady, Devices: []string{idOf(w.people[bob])}, Checked: w.now}, c)
}

func mustContact(t *testing.T, p *person, actor string) []byte {
	t.Helper()
	var row struct{ Record []byte }
	require.NoError(t, json.Unmarshal(p.store.buckets["contact"].values[actor], &row))
	return row.Record
}

func TestKeyPackageSupply(t *testing.T) {
	w := newWorld(t, 7)
	p := w.enrol(alice)
	s := w.packages[alice]
	require.Len(t, s.oneTime, 50)
	require.NotNil(t, s.lastResort)
	for _, raw := range append(s.oneTime, s.lastResort) {
		kp := parse(t, raw)
		require.NoError(t, kp.Verify(w.now))
		require.Equal(t, string(raw) == string(s.lastResort), kp.LastResort())
	}
	require.NoError(t, p.TopUp(15))
	jobs, err := p.Jobs()
	require.NoError(t, err)
	require.Empty(t, jobs)
	require.NoError(t, p.TopUp(14))
	require.NoError(t, p.TopUp(14))
	jobs, err = p.Jobs()
	require.NoError(t, err)
	require.Len(t, jobs, 1)
	require.Len(t, jobs[0].(*device.KeyPackagesJob).OneTime, 36)
	require.Nil(t, jobs[0].(*device.KeyPackagesJob).LastResort)
	p.work()
	require.Len(t, p.store.buckets["key package"].keys, 50+36+1)

	w.now = w.now.Add(20 * 24 * time.Hour)
	require.NoError(t, p.TopUp(50))
	jobs, err = p.Jobs()
	require.NoError(t, err)
	require.NotNil(t, jobs[0].(*device.KeyPackagesJob).LastResort, "it is renewed before it expires")
	p.work()
	w.now = w.now.Add(30 * 24 * time.Hour)
	require.NoError(t, p.TopUp(50))
	require.Len(t, p.store.buckets["key package"].keys, 1+1, "private parts of packages that are long expired are gone")
}

func TestUsedPackagesAreForgotten(t *testing.T) {
	w, _ := talk(t, bob)
	b := w.people[bob]
	require.Len(t, b.store.buckets["key package"].keys, 50, "the private part went with the Welcome")
	w.packages[bob].oneTime = nil
	id, err := w.people[alice].StartConversation([]string{bob})
	require.NoError(t, err)
	w.quiet()
	requireAgreement(t, id, w.people[alice], b)
	require.Len(t, b.store.buckets["key package"].keys, 50, "that of the last resort stays")
	last := w.packages[bob].lastResort
	require.NoError(t, b.TopUp(50))
	b.work()
	require.NotEqual(t, last, w.packages[bob].lastResort, "and is replaced after it was used")
}

// TestAnswerThatGrewOld: an answer that came in time and is taken up a day later is asked for again; the leaf is not refused for it.
func TestAnswerThatGrewOld(t *testing.T) {
	w, id := talk(t, bob)
	a := w.people[alice]
	w.now = w.now.Add(25 * time.Hour)
	commit, _ := w.people[bob].forge(id, mls.CommitParams{ForcePath: true})
	a.receive(commit)
	jobs, err := a.Jobs()
	require.NoError(t, err)
	require.NoError(t, a.lookUp(bob))
	w.now = w.now.Add(25 * time.Hour)
	require.NoError(t, a.LookedUp(jobs[0].ID()))
	require.Equal(t, device.StateActive, a.conversation(id).State)
	a.work()
	require.EqualValues(t, 2, a.conversation(id).Epoch)
}
