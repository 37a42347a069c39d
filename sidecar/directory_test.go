package sidecar_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
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
	return transparency.Log{Origin: d.Log.Origin, Key: d.Log.Key}
}

func (b *box) verify(log transparency.Log, known *keydir.Record, actor string, answer json.RawMessage) (transparency.Log, keydir.Record) {
	b.w.t.Helper()
	parsed, err := transparency.ParseAnswer(answer)
	require.NoError(b.w.t, err)
	log, record, err := keydir.Verify(log, known, actor, parsed, uint64(b.w.now().UnixMilli()))
	require.NoError(b.w.t, err)
	return log, record
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
	_, err = second.Publish(ctx, alice.publication(transparency.KindUpdate, &record, 1, alice, second))
	require.NoError(t, err)
	answer, err = second.Lookup(ctx, alice.actor, log.Size)
	require.NoError(t, err)
	log2, updated := a.verify(log, &record, alice.actor, answer)
	require.Len(t, updated.List.Devices, 2)
	require.Greater(t, log2.Size, log.Size)

	answer, err = bob.Lookup(ctx, alice.actor, log.Size)
	require.NoError(t, err)
	_, updated = b.verify(log, &record, alice.actor, answer)
	require.Equal(t, uint32(1), updated.Seq)

	_, err = bob.Lookup(ctx, alice.actor, 99)
	requireProblem(t, err, 400, "beyond_head")
	_, err = alice.Lookup(ctx, alice.actor, 99)
	requireProblem(t, err, 400, "beyond_head")
	_, err = bob.Lookup(ctx, "http://a.test/users/nobody", 0)
	requireProblem(t, err, 404, "no_such_label")
	_, err = bob.Lookup(ctx, "http://b.test/users/nobody", 0)
	requireProblem(t, err, 404, "no_such_label")
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
	before := a.rows()
	update := func() clientapi.Publication {
		return alice.publication(transparency.KindUpdate, &record, 1, alice, second)
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
		{"another actor's", bob, update(), 403, "not_allowed"},
		{"by an account key that nobody promised", &thief, thief.publication(transparency.KindUpdate, &record, 1, alice, second), 403, "key_not_current"},
		{"the first entry once more", alice, alice.publication(transparency.KindFirst, nil, 0, alice), 409, "version_conflict"},
		{"a seq too far", alice, alice.publication(transparency.KindUpdate, &record, 2, alice, second), 409, "version_conflict"},
		{"a signature that is not", alice, spoilt(func(p *clientapi.Publication) { p.Entry[len(p.Entry)-1] ^= 1 }), 422, "entry_invalid"},
		{"a commitment to another list", alice, spoilt(func(p *clientapi.Publication) { p.Devices[len(p.Devices)-1] ^= 1 }), 422, "entry_invalid"},
		{"another opening", alice, spoilt(func(p *clientapi.Publication) { p.Opening[0] ^= 1 }), 422, "entry_invalid"},
		{"a short opening", alice, spoilt(func(p *clientapi.Publication) { p.Opening = p.Opening[:31] }), 422, "entry_invalid"},
		{"no entry", alice, spoilt(func(p *clientapi.Publication) { p.Entry = nil }), 422, "entry_invalid"},
		{"no list", alice, spoilt(func(p *clientapi.Publication) { p.Devices = nil }), 422, "entry_invalid"},
		{"a reset by a device that is listed", alice, alice.publication(transparency.KindReset, &record, 1, alice), 403, "not_allowed"},
		{"a reset that brings another device along", &thief, thief.publication(transparency.KindReset, &record, 1, alice, second), 403, "not_allowed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := c.as.Publish(ctx, c.p)
			p := requireProblem(t, err, c.status, c.code)
			if c.code == "version_conflict" {
				require.Contains(t, p.Extra, "answer")
			}
		})
	}
	w.advance(11 * time.Minute)
	old := update()
	w.advance(-11 * time.Minute)
	_, err = alice.Publish(ctx, old)
	require.Equal(t, "L4", requireProblem(t, err, 422, "entry_invalid").Extra["check"])
	require.Equal(t, before, a.rows())

	// A person who has lost every device logs in with the code, and everybody sees the reset.
	lost := thief
	answer, err = lost.Publish(ctx, lost.publication(transparency.KindReset, &record, 1, &lost))
	require.NoError(t, err)
	_, after := a.verify(a.pin(), &record, alice.actor, answer)
	require.True(t, after.Reset)
}

func TestPublishAgainIsTheSame(t *testing.T) {
	w := newWorld(t)
	a := w.box("a.test").start()
	code, err := a.AddAccount("alice")
	require.NoError(t, err)
	d := a.login("alice", code)
	p := d.publication(transparency.KindFirst, nil, 0, d)
	first, err := d.Publish(ctx, p)
	require.NoError(t, err)
	again, err := d.Publish(ctx, p)
	require.NoError(t, err)
	require.JSONEq(t, string(first), string(again))
	require.Equal(t, 1, a.rows()["log_entry"])
}

func TestTilesServeTheWholeLog(t *testing.T) {
	w := newWorld(t)
	a := w.box("a.test").start()
	log := a.pin()
	verifier, err := log.Verifier()
	require.NoError(t, err)
	checkpoint := func() transparency.Checkpoint {
		res, note := a.get("/waxwing/log/checkpoint")
		require.Equal(t, 200, res.StatusCode)
		c, err := transparency.OpenCheckpoint(note, verifier)
		require.NoError(t, err)
		return c
	}
	require.Zero(t, checkpoint().Size)
	a.person("alice")
	a.person("bob")
	c := checkpoint()
	require.Equal(t, int64(2), c.Size)
	res, bundle := a.get("/waxwing/log/tile/entries/000.p/2")
	require.Equal(t, 200, res.StatusCode)
	require.Contains(t, res.Header.Get("Cache-Control"), "immutable")
	require.Len(t, bundle, 2*(2+transparency.EntrySize))
	res, hashes := a.get("/waxwing/log/tile/0/000.p/2")
	require.Equal(t, 200, res.StatusCode)
	require.Equal(t, c.Root, tlog.NodeHash(tlog.Hash(hashes[:32]), tlog.Hash(hashes[32:])))
	for i := range 2 {
		at := i * (2 + transparency.EntrySize)
		require.Equal(t, transparency.LeafHash(bundle[at+2:at+2+transparency.EntrySize]), tlog.Hash(hashes[32*i:32*i+32]))
	}
	for _, path := range []string{"tile/0/000.p/3", "tile/0/000", "tile/entries/001", "tile/9/000", "tile/x"} {
		res, _ := a.get("/waxwing/log/" + path)
		require.Equal(t, 404, res.StatusCode, path)
	}
}
