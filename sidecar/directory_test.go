package sidecar_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/waxwing-dm/waxwing/federation"
	"github.com/waxwing-dm/waxwing/internal/clientapi"
	"github.com/waxwing-dm/waxwing/keydir"
	"github.com/waxwing-dm/waxwing/transparency"
)

// pin is how an agent meets an instance's log.
func (b *box) pin() transparency.Log {
	_, body := b.get(federation.PathDiscovery)
	d, err := federation.ParseDiscovery(body, b.instance)
	require.NoError(b.w.t, err)
	log, err := transparency.Pin(federation.Host(b.instance), d.Log.Origin, d.Log.Key, d.Log.VRF)
	require.NoError(b.w.t, err)
	return log
}

func (b *box) verify(log transparency.Log, known *keydir.Record, actor string, answer []byte) (transparency.Log, keydir.Record) {
	b.w.t.Helper()
	parsed, err := transparency.ParseAnswer(answer)
	require.NoError(b.w.t, err)
	log, record, _, err := keydir.Verify(log, known, actor, parsed, transparency.Terms{Now: b.w.now().Unix()})
	require.NoError(b.w.t, err)
	require.NotNil(b.w.t, record)
	return log, *record
}

// current is what a lookup proves of a device's actor now.
func (d *device) current(known *keydir.Record) keydir.Record {
	answer, err := d.Lookup(ctx, d.actor, 0)
	require.NoError(d.box.w.t, err)
	_, record := d.box.verify(d.box.pin(), known, d.actor, answer)
	return record
}

func TestDirectory(t *testing.T) {
	_, a, b := two(t)
	alice, bob := a.person("alice"), b.person("bob")
	a.person("carol")
	log := a.pin()

	// Bob's sidecar carries the answer; its proof is Alice's log's.
	answer, err := bob.Lookup(ctx, alice.actor, 0)
	require.NoError(t, err)
	log, record := b.verify(log, nil, alice.actor, answer)
	require.True(t, record.List.Has(alice.key[32:]))

	code, err := a.NewCode("alice")
	require.NoError(t, err)
	second := a.login("alice", code)
	second.account = alice.account
	_, err = second.Publish(ctx, alice.publication(transparency.KindUpdate, &record, alice, second))
	require.NoError(t, err)
	answer, err = second.Lookup(ctx, alice.actor, log.Size)
	require.NoError(t, err)
	log2, updated := a.verify(log, &record, alice.actor, answer)
	require.Len(t, updated.List.Devices, 2)
	require.Greater(t, log2.Size, log.Size)

	answer, err = bob.Lookup(ctx, alice.actor, log.Size)
	require.NoError(t, err)
	_, updated = b.verify(log, &record, alice.actor, answer)
	require.Equal(t, uint32(1), updated.Statement.Seq)

	_, err = bob.Lookup(ctx, alice.actor, 99)
	requireProblem(t, err, 400, "beyond_head")
	_, err = alice.Lookup(ctx, alice.actor, 99)
	requireProblem(t, err, 400, "beyond_head")
	answer, err = bob.Lookup(ctx, "http://a.test/users/nobody", log.Size)
	require.NoError(t, err)
	parsed, err := transparency.ParseAnswer(answer)
	require.NoError(t, err)
	_, nobody, _, err := keydir.Verify(log, nil, "http://a.test/users/nobody", parsed, transparency.Terms{})
	require.NoError(t, err)
	require.Nil(t, nobody, "proven to have no keys")
	_, _, _, err = keydir.Verify(log, nil, "http://a.test/users/somebody", parsed, transparency.Terms{})
	require.Error(t, err, "proven of nobody else")
	_, err = bob.Lookup(ctx, "not a URL", 0)
	requireProblem(t, err, 400, "request_invalid")
	_, err = bob.Lookup(ctx, "https://10.1.2.3/users/x", 0)
	requireProblem(t, err, 502, "peer_unreachable")
}

func TestPublishRefused(t *testing.T) {
	w := newWorld(t)
	a := w.box("a.test").start()
	alice, bob := a.person("alice"), a.person("bob")
	code, err := a.NewCode("alice")
	require.NoError(t, err)
	second := a.login("alice", code)
	answer, err := alice.Lookup(ctx, alice.actor, 0)
	require.NoError(t, err)
	_, record := a.verify(a.pin(), nil, alice.actor, answer)
	ahead := record
	ahead.Statement.Seq++
	before := a.rows()
	update := func() clientapi.Publication {
		return alice.publication(transparency.KindUpdate, &record, alice, second)
	}
	spoilt := func(f func(*clientapi.Publication)) clientapi.Publication {
		p := update()
		f(&p)
		return p
	}
	thief := *second
	thief.account = newKey(t)
	for _, c := range []struct {
		name   string
		as     *device
		p      clientapi.Publication
		status int
		code   string
	}{
		{"another actor's", bob, update(), 422, "entry_invalid"},
		{"by an account key that nobody promised", &thief, thief.publication(transparency.KindUpdate, &record, alice, second), 403, "key_not_current"},
		{"the first entry once more", alice, alice.publication(transparency.KindFirst, nil, alice), 409, "version_conflict"},
		{"a seq too far", alice, alice.publication(transparency.KindUpdate, &ahead, alice, second), 409, "version_conflict"},
		{"a signature that is not", alice, spoilt(func(p *clientapi.Publication) { p.Statement[len(p.Statement)-1] ^= 1 }), 422, "entry_invalid"},
		{"a commitment to another list", alice, spoilt(func(p *clientapi.Publication) { p.Content[len(p.Content)-1] ^= 1 }), 422, "entry_invalid"},
		{"another opening", alice, spoilt(func(p *clientapi.Publication) { p.Opening[0] ^= 1 }), 422, "entry_invalid"},
		{"a short opening", alice, spoilt(func(p *clientapi.Publication) { p.Opening = p.Opening[:31] }), 422, "entry_invalid"},
		{"no statement", alice, spoilt(func(p *clientapi.Publication) { p.Statement = nil }), 422, "entry_invalid"},
		{"no list", alice, spoilt(func(p *clientapi.Publication) { p.Content = nil }), 422, "entry_invalid"},
		{"a reset by a device that is listed", alice, alice.publication(transparency.KindReset, &record, alice), 403, "not_allowed"},
		{"a reset that brings another device along", &thief, thief.publication(transparency.KindReset, &record, alice, second), 403, "not_allowed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := c.as.Publish(ctx, c.p)
			requireProblem(t, err, c.status, c.code)
		})
	}
	w.advance(11 * time.Minute)
	old := update()
	w.advance(-11 * time.Minute)
	_, err = alice.Publish(ctx, old)
	require.Equal(t, "L7", requireProblem(t, err, 422, "entry_invalid").Extra["check"])
	require.Equal(t, before, a.rows())

	// A person who has lost every device logs in with the code, and everybody sees the reset.
	lost := thief
	_, err = lost.Publish(ctx, lost.publication(transparency.KindReset, &record, &lost))
	require.NoError(t, err)
	require.True(t, second.current(&record).Reset)
}

func TestPublishAgainIsTheSame(t *testing.T) {
	w := newWorld(t)
	a := w.box("a.test").start()
	code, err := a.AddAccount("alice")
	require.NoError(t, err)
	d := a.login("alice", code)
	p := d.publication(transparency.KindFirst, nil, d)
	first, err := d.Publish(ctx, p)
	require.NoError(t, err)
	again, err := d.Publish(ctx, p)
	require.NoError(t, err)
	require.Equal(t, first, again)
	require.True(t, first.Witnessed)
	require.Equal(t, 2, a.rows()["log_entry"], "padding, and this")
}

func TestTilesServeTheWholeLog(t *testing.T) {
	w := newWorld(t)
	a := w.box("a.test").start()
	log := a.pin()
	verifier, err := note.NewVerifier(log.Key)
	require.NoError(t, err)
	checkpoint := func() transparency.Checkpoint {
		res, note := a.get("/waxwing/log/checkpoint")
		require.Equal(t, 200, res.StatusCode)
		c, err := transparency.OpenCheckpoint(note, verifier)
		require.NoError(t, err)
		return c
	}
	require.Equal(t, int64(1), checkpoint().Size)
	a.person("alice")
	a.person("bob")
	c := checkpoint()
	require.Equal(t, int64(3), c.Size)
	res, bundle := a.get("/waxwing/log/tile/entries/000.p/3")
	require.Equal(t, 200, res.StatusCode)
	require.Contains(t, res.Header.Get("Cache-Control"), "immutable")
	require.Len(t, bundle, 3*(2+transparency.EntrySize))
	res, hashes := a.get("/waxwing/log/tile/0/000.p/3")
	require.Equal(t, 200, res.StatusCode)
	require.Equal(t, c.Root, tlog.NodeHash(tlog.NodeHash(tlog.Hash(hashes[:32]), tlog.Hash(hashes[32:64])), tlog.Hash(hashes[64:])))
	for i := range 3 {
		at := i * (2 + transparency.EntrySize)
		require.Equal(t, transparency.LeafHash(bundle[at+2:at+2+transparency.EntrySize]), tlog.Hash(hashes[32*i:32*i+32]))
	}
	for _, path := range []string{"tile/0/000.p/4", "tile/0/000", "tile/entries/001", "tile/9/000", "tile/x"} {
		res, _ := a.get("/waxwing/log/" + path)
		require.Equal(t, 404, res.StatusCode, path)
	}
}
