package sidecar_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/internal/clientapi"
	"github.com/waxwing-dm/waxwing/internal/receipt"
	"github.com/waxwing-dm/waxwing/mls"
)

func TestConversationOpensOnce(t *testing.T) {
	w := newWorld(t)
	a := w.box("a.test").start()
	alice := a.person("alice")
	id, ticket := []byte("a group of its own"), make([]byte, 32)
	first, err := alice.OpenConversation(ctx, id, ticket)
	require.NoError(t, err)
	w.advance(time.Second)
	again, err := alice.OpenConversation(ctx, id, ticket)
	require.NoError(t, err)
	require.Equal(t, first, again)
	_, err = alice.OpenConversation(ctx, id, append(make([]byte, 31), 1))
	requireProblem(t, err, 409, "id_conflict")
	for _, c := range [][2][]byte{{nil, ticket}, {make([]byte, 65), ticket}, {id, nil}, {id, make([]byte, 33)}} {
		_, err = alice.OpenConversation(ctx, c[0], c[1])
		requireProblem(t, err, 400, "request_invalid")
	}
	require.Equal(t, 1, a.rows()["hub_group"])
}

// chain follows the receipts as a member would.
func chain(t *testing.T, r *room, d *device, events []clientapi.Event) receipt.Chain {
	t.Helper()
	hub := d.box.hubKey()
	opened, err := d.OpenConversation(ctx, r.groupID, r.ticket(0))
	require.NoError(t, err)
	c, _, err := receipt.Start(opened.Receipt, r.groupID, hub)
	require.NoError(t, err)
	for _, e := range events {
		var got receipt.Receipt
		c, got, err = c.Next(e.Receipt)
		require.NoError(t, err)
		require.Equal(t, sha256.Sum256(e.Commit), got.MessageHash)
	}
	return c
}

func TestCommit(t *testing.T) {
	for name, remoteHub := range map[string]bool{"at the own hub": false, "at another instance's hub": true} {
		t.Run(name, func(t *testing.T) {
			_, a, b := two(t)
			alice, bob := a.person("alice"), b.person("bob")
			code, err := a.NewCode("alice")
			require.NoError(t, err)
			laptop := a.login("alice", code)
			host, committer, other := alice, alice, bob
			if remoteHub {
				host, other = bob, bob
			}
			r := host.open()

			c := r.commit(0, "first", []string{other.actor}, other.actor)
			granted, err := committer.Commit(ctx, c)
			require.NoError(t, err)
			rec, err := receipt.Parse(granted)
			require.NoError(t, err)
			require.Equal(t, []any{uint64(1), uint64(0), sha256.Sum256(c.Commit)}, []any{rec.Seq, rec.Epoch, rec.MessageHash})

			items := other.await(2)
			require.Equal(t, []string{string(c.Commit), string(c.Welcome)}, []string{string(items[0].Message), string(items[1].Message)})
			for _, i := range items {
				require.Equal(t, []any{clientapi.Bytes(granted), r.url, committer.actor}, []any{i.Receipt, i.Conversation, i.Actor})
				require.True(t, strings.HasPrefix(i.Activity, "http://a.test/waxwing/activities/"), i.Activity)
			}
			require.NotEqual(t, items[0].Activity, items[1].Activity)
			require.Equal(t, string(c.Commit), string(laptop.await(1)[0].Message), "the person's other device")
			require.Zero(t, alice.waiting(), "the sending device")

			// The answer got lost: asked again, the same, and nothing is sent twice.
			again, err := committer.Commit(ctx, c)
			require.NoError(t, err)
			require.Equal(t, granted, again)
			spoilt := c
			spoilt.To = nil
			_, err = committer.Commit(ctx, spoilt)
			requireProblem(t, err, 409, "id_conflict")

			// The loser of the race gets what it missed.
			late := r.commit(0, "late", []string{other.actor})
			_, err = committer.Commit(ctx, late)
			conflict, ok := isConflict(err)
			require.True(t, ok, "%v", err)
			require.Equal(t, []any{"epoch_stale", 409, uint64(1), uint64(1)}, []any{conflict.Code, conflict.Status, conflict.Epoch, conflict.Seq})
			require.Equal(t, []clientapi.Event{{Receipt: granted, Commit: c.Commit}}, conflict.Events)

			_, err = committer.Commit(ctx, r.commit(7, "early", []string{other.actor}))
			requireProblem(t, err, 409, "epoch_unknown")
			forged := r.commit(1, "forged", []string{other.actor})
			forged.Signature[0] ^= 1
			_, err = committer.Commit(ctx, forged)
			requireProblem(t, err, 403, "not_member")
			elsewhere := &room{t: t, groupID: []byte("unopened"), url: receipt.ConversationURL(host.box.instance, []byte("unopened"))}
			elsewhere.ticket(0)
			_, err = committer.Commit(ctx, elsewhere.commit(0, "x", nil))
			requireProblem(t, err, 404, "no_such_conversation")

			second, err := committer.Commit(ctx, r.commit(1, "second", []string{other.actor}))
			require.NoError(t, err)
			other.await(3)
			events, err := committer.Events(ctx, r.url, 0)
			require.NoError(t, err)
			require.Equal(t, receipt.Head(second), chain(t, r, host, events).Head)
			events, err = committer.Events(ctx, r.url, 2)
			require.NoError(t, err)
			require.Empty(t, events)
			_, err = committer.Events(ctx, elsewhere.url, 0)
			requireProblem(t, err, 404, "no_such_conversation")
			require.Equal(t, 2, host.box.rows()["hub_event"])
			require.Equal(t, 3, other.waiting(), "something was sent for a commit without a receipt")
		})
	}
}

func TestCommitRefusedBeforeTheHub(t *testing.T) {
	w := newWorld(t)
	a := w.box("a.test").start()
	alice := a.person("alice")
	r := alice.open()
	before := a.rows()
	app := ciphertext(r.groupID, 0, mls.ContentApplication, "x")
	for name, c := range map[string]struct {
		spoil  func(*clientapi.Commit)
		status int
		code   string
	}{
		"id":                {func(c *clientapi.Commit) { c.ID = "1" }, 400, "request_invalid"},
		"id with braces":    {func(c *clientapi.Commit) { c.ID = "{" + c.ID + "}" }, 400, "request_invalid"},
		"conversation":      {func(c *clientapi.Commit) { c.Conversation = "http://a.test/x" }, 400, "request_invalid"},
		"conversation case": {func(c *clientapi.Commit) { c.Conversation = strings.ToUpper(c.Conversation) }, 400, "request_invalid"},
		"hub with a path":   {func(c *clientapi.Commit) { c.Conversation = strings.Replace(c.Conversation, "a.test", "a.test/x", 1) }, 400, "request_invalid"},
		"recipient":         {func(c *clientapi.Commit) { c.To = []string{"alice"} }, 400, "request_invalid"},
		"welcome recipient": {func(c *clientapi.Commit) { c.WelcomeTo = []string{"javascript:x"} }, 400, "request_invalid"},
		"many recipients":   {func(c *clientapi.Commit) { c.To = make([]string, 1001) }, 400, "request_invalid"},
		"ticket":            {func(c *clientapi.Commit) { c.Ticket = c.Ticket[:31] }, 400, "request_invalid"},
		"signature":         {func(c *clientapi.Commit) { c.Signature = nil }, 400, "request_invalid"},
		"no commit":         {func(c *clientapi.Commit) { c.Commit = nil }, 422, "mls_malformed"},
		"trailing":          {func(c *clientapi.Commit) { c.Commit = append(c.Commit, 0) }, 422, "mls_malformed"},
		"an application":    {func(c *clientapi.Commit) { c.Commit = app }, 422, "mls_malformed"},
		"a welcome":         {func(c *clientapi.Commit) { c.Commit = welcome("x") }, 422, "mls_malformed"},
		"other group":       {func(c *clientapi.Commit) { c.Commit = ciphertext([]byte("g"), 0, mls.ContentCommit, "x") }, 422, "mls_malformed"},
		"other epoch":       {func(c *clientapi.Commit) { c.Epoch = 1 }, 422, "mls_malformed"},
		"welcome is none":   {func(c *clientapi.Commit) { c.Welcome = app }, 422, "mls_malformed"},
		"commit too large":  {func(c *clientapi.Commit) { c.Commit = make([]byte, clientapi.MaxMessage+1) }, 413, "too_large"},
		"welcome too large": {func(c *clientapi.Commit) { c.Welcome = make([]byte, clientapi.MaxMessage+1) }, 413, "too_large"},
		"hub at an inner IP": {func(c *clientapi.Commit) {
			c.Conversation = strings.Replace(c.Conversation, "http://a.test", "https://127.0.0.1", 1)
		}, 502, "peer_unreachable"},
	} {
		t.Run(name, func(t *testing.T) {
			commit := r.commit(0, "x", []string{alice.actor})
			c.spoil(&commit)
			_, err := alice.Commit(ctx, commit)
			requireProblem(t, err, c.status, c.code)
		})
	}
	require.Equal(t, before, a.rows())
}

func TestMessages(t *testing.T) {
	w, a, b := two(t)
	alice, bob, bella, carol := a.person("alice"), b.person("bob"), b.person("bella"), a.person("carol")
	code, err := a.NewCode("alice")
	require.NoError(t, err)
	laptop := a.login("alice", code)
	r := alice.open()

	m := r.message("hello", bob.actor, carol.actor, bella.actor, bob.actor, alice.actor)
	require.NoError(t, alice.Send(ctx, m))
	require.NoError(t, alice.Send(ctx, m), "once more")
	for _, d := range []*device{bob, bella, carol, laptop} {
		item := d.await(1)[0]
		require.Equal(t, []any{m.Message, alice.actor, r.url, clientapi.Bytes(nil)}, []any{item.Message, item.Actor, item.Conversation, item.Receipt})
	}
	require.Equal(t, bob.await(1)[0].Activity, bella.await(1)[0].Activity, "one delivery for the server")
	require.Equal(t, 1, b.rows()["received"])
	require.Zero(t, alice.waiting())

	other := m
	other.Message = ciphertext(r.groupID, 0, mls.ContentApplication, "goodbye")
	requireProblem(t, alice.Send(ctx, other), 409, "id_conflict")
	require.NoError(t, carol.Send(ctx, clientapi.Message{ID: m.ID, Conversation: r.url, Message: m.Message, To: []string{bob.actor}}), "another person's id")
	require.Len(t, bob.await(2), 2)
	require.NotContains(t, w.logs(), bob.actor, "the log names people")
	require.NotContains(t, w.logs(), "hello")
}

func TestMessageRefused(t *testing.T) {
	w := newWorld(t)
	a := w.box("a.test").start()
	alice, bob := a.person("alice"), a.person("bob")
	r := alice.open()
	before := a.rows()
	for name, c := range map[string]struct {
		spoil  func(*clientapi.Message)
		status int
		code   string
	}{
		"id":           {func(m *clientapi.Message) { m.ID = "" }, 400, "request_invalid"},
		"conversation": {func(m *clientapi.Message) { m.Conversation = "" }, 400, "request_invalid"},
		"recipient":    {func(m *clientapi.Message) { m.To = []string{"file:///etc/passwd"} }, 400, "request_invalid"},
		"no message":   {func(m *clientapi.Message) { m.Message = nil }, 422, "mls_malformed"},
		"plain text":   {func(m *clientapi.Message) { m.Message = []byte("hello") }, 422, "mls_malformed"},
		"trailing":     {func(m *clientapi.Message) { m.Message = append(m.Message, 1) }, 422, "mls_malformed"},
		"other group":  {func(m *clientapi.Message) { m.Message = ciphertext([]byte("g"), 0, mls.ContentApplication, "x") }, 422, "mls_malformed"},
		"a commit":     {func(m *clientapi.Message) { m.Message = ciphertext(r.groupID, 0, mls.ContentCommit, "x") }, 422, "mls_malformed"},
		"a welcome":    {func(m *clientapi.Message) { m.Message = welcome("x") }, 422, "mls_malformed"},
		"a package":    {func(m *clientapi.Message) { m.Message = append([]byte{0, 1, 0, 5}, alice.keyPackage(false)...) }, 422, "mls_malformed"},
		"too large":    {func(m *clientapi.Message) { m.Message = make([]byte, clientapi.MaxMessage+1) }, 413, "too_large"},
	} {
		t.Run(name, func(t *testing.T) {
			m := r.message("x", bob.actor)
			c.spoil(&m)
			requireProblem(t, alice.Send(ctx, m), c.status, c.code)
		})
	}
	require.Equal(t, before, a.rows())
	require.NoError(t, alice.Send(ctx, clientapi.Message{
		ID: uuid.NewString(), Conversation: r.url, To: []string{bob.actor},
		Message: ciphertext(r.groupID, 0, mls.ContentApplication, strings.Repeat("x", clientapi.MaxMessage-100)),
	}), "the largest")
}

func TestLargestMessageCrosses(t *testing.T) {
	_, a, b := two(t)
	alice, bob := a.person("alice"), b.person("bob")
	require.NoError(t, bob.Send(ctx, bob.open().message("no stranger", alice.actor)))
	r := alice.open()
	text := strings.Repeat("x", clientapi.MaxMessage-100)
	c := r.commit(0, text, []string{bob.actor}, bob.actor)
	_, err := alice.Commit(ctx, c)
	require.NoError(t, err)
	require.Equal(t, c.Commit, bob.await(2)[0].Message)
	remote := bob.open()
	_, err = alice.Commit(ctx, remote.commit(0, text, nil))
	require.NoError(t, err)
	events, err := alice.Events(ctx, remote.url, 0)
	require.NoError(t, err)
	require.Len(t, events, 1)
}

func TestMailbox(t *testing.T) {
	w := newWorld(t)
	a := w.box("a.test").start()
	alice, bob := a.person("alice"), a.person("bob")
	r := alice.open()
	m, err := bob.Mailbox(ctx, 0, 10, 0)
	require.NoError(t, err)
	require.Equal(t, clientapi.Mailbox{Items: []clientapi.Item{}}, m)

	held := make(chan []clientapi.Item)
	go func() {
		m, err := bob.Mailbox(ctx, 0, 10, 30*time.Second)
		if err != nil {
			t.Error(err)
		}
		held <- m.Items
	}()
	for i := range 5 {
		require.NoError(t, alice.Send(ctx, r.message(fmt.Sprint(i), bob.actor)))
	}
	require.Equal(t, []string{"0"}, texts(<-held)[:1], "the call that waited")

	m, err = bob.Mailbox(ctx, 0, 2, 0)
	require.NoError(t, err)
	require.Equal(t, []string{"0", "1"}, texts(m.Items))
	m, err = bob.Mailbox(ctx, m.Next, 100, 0)
	require.NoError(t, err)
	require.Equal(t, []string{"2", "3", "4"}, texts(m.Items))
	require.Equal(t, uint64(5), m.Next)
	m, err = bob.Mailbox(ctx, m.Next, 100, 0)
	require.NoError(t, err)
	require.Equal(t, uint64(5), m.Next, "nothing new leaves the cursor where it was")

	require.NoError(t, bob.Acknowledge(ctx, 3))
	require.Equal(t, []string{"3", "4"}, texts(bob.await(2)))
	require.NoError(t, alice.Acknowledge(ctx, 99), "her own, empty")
	require.Equal(t, 2, bob.waiting())

	for _, query := range []string{"after=-1", "after=x", "after=18446744073709551615", "limit=x", "wait=1e3"} {
		res, body := a.asDevice(bob, "GET", "/mailbox?"+query, nil, "")
		require.Equal(t, 400, res.StatusCode, query)
		require.Contains(t, string(body), "request_invalid")
	}
	for _, query := range []string{"", "upto=", "upto=-1"} {
		res, _ := a.asDevice(bob, "DELETE", "/mailbox?"+query, nil, "")
		if query == "upto=" {
			require.Equal(t, 204, res.StatusCode, "upto 0 deletes nothing")
			continue
		}
		require.Equal(t, 400, res.StatusCode, query)
	}
	require.Equal(t, 2, bob.waiting())
}

func TestBlobs(t *testing.T) {
	w, a, b := two(t)
	alice, bob := a.person("alice"), b.person("bob")
	data := bytes.Repeat([]byte("encrypted "), 100_000)
	sum := sha256.Sum256(data)
	hash := hex.EncodeToString(sum[:])
	before := a.rows()
	_, err := alice.PutBlob(ctx, hash, data[1:])
	requireProblem(t, err, 422, "digest_mismatch")
	_, err = alice.PutBlob(ctx, strings.ToUpper(hash), data)
	requireProblem(t, err, 404, "not_found")
	_, err = alice.PutBlob(ctx, hash, make([]byte, clientapi.MaxBlob+1))
	requireProblem(t, err, 413, "too_large")
	require.Equal(t, before, a.rows())

	u, err := alice.PutBlob(ctx, hash, data)
	require.NoError(t, err)
	require.Equal(t, "http://a.test/waxwing/blobs/"+hash, u)
	for _, d := range []*device{alice, bob} {
		got, err := d.Blob(ctx, u)
		require.NoError(t, err)
		require.True(t, bytes.Equal(data, got))
	}
	_, err = bob.Blob(ctx, "http://a.test/waxwing/blobs/"+strings.Repeat("0", 64))
	requireProblem(t, err, 404, "not_found")
	for _, u := range []string{"", "http://a.test/etc/passwd", "file:///waxwing/blobs/" + hash, "http://a.test/x/waxwing/blobs/" + hash, "/waxwing/blobs/" + hash} {
		_, err = bob.Blob(ctx, u)
		requireProblem(t, err, 400, "request_invalid")
	}
	_, err = bob.Blob(ctx, "https://127.0.0.1/waxwing/blobs/"+hash)
	requireProblem(t, err, 502, "peer_unreachable")

	res, body := a.get("/waxwing/blobs/" + hash)
	require.Equal(t, []any{200, true, "nosniff", "application/octet-stream"},
		[]any{res.StatusCode, bytes.Equal(body, data), res.Header.Get("X-Content-Type-Options"), res.Header.Get("Content-Type")})
	require.NotContains(t, w.logs(), hash, "the log has the name that opens a file")
}

func TestCommitsRace(t *testing.T) {
	_, a, b := two(t)
	alice, bob := a.person("alice"), b.person("bob")
	r := alice.open()
	for epoch := range uint64(5) {
		r.ticket(epoch + 1)
		var wg sync.WaitGroup
		won := make(chan []byte, 6)
		for i := range 6 {
			d := []*device{alice, bob}[i%2]
			c := r.commit(epoch, fmt.Sprint(d.name, i), nil)
			wg.Go(func() {
				granted, err := d.Commit(ctx, c)
				if err == nil {
					won <- granted
				} else if _, ok := isConflict(err); !ok {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		require.Len(t, won, 1)
	}
	events, err := bob.Events(ctx, r.url, 0)
	require.NoError(t, err)
	require.Equal(t, uint64(5), chain(t, r, alice, events).Seq)
}
