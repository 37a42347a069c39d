package sidecar_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/federation"
	"github.com/waxwing-dm/waxwing/mls"
	"github.com/waxwing-dm/waxwing/sidecar"
)

func sha(b []byte) []byte {
	hash := sha256.Sum256(b)
	return hash[:]
}

// What another instance refuses is told to the device that sent it, by a note that is there with the end of the delivery.
func TestUndeliveredIsTold(t *testing.T) {
	_, a, b := two(t)
	alice, bob := a.person("alice"), b.person("bob")
	r := alice.open()
	m := r.message("x", "http://b.test/users/nobody", bob.actor)
	require.NoError(t, alice.Send(ctx, m))
	require.Equal(t, []string{"x"}, texts(bob.await(1)))
	note := alice.await(1)[0]
	require.Empty(t, note.Message)
	hash := sha(m.Message)
	require.Equal(t, hash, []byte(note.Undelivered.Message))
	require.Equal(t, []any{alice.actor, r.url}, []any{note.Actor, note.Conversation})
	require.Equal(t, "http://b.test/users/nobody", note.Undelivered.To[0].Actor)
	require.Equal(t, "no_such_recipient", note.Undelivered.To[0].Code)
	require.Contains(t, note.Undelivered.To[0].Detail, "b.test")
	require.Len(t, note.Undelivered.To, 1)
	a.crash()
	a.start()
	require.Equal(t, note, alice.await(1)[0], "after a crash, and once")
	require.NoError(t, alice.Acknowledge(ctx, note.Cursor))
	require.Zero(t, alice.waiting())
}

// A host that stays away: nothing is lost for seven days, and after fourteen the sender is told.
func TestHostThatStaysAway(t *testing.T) {
	w, a, b := two(t)
	alice, bob := a.person("alice"), b.person("bob")
	r := alice.open()
	b.stop()
	require.NoError(t, alice.Send(ctx, r.message("one", bob.actor)))
	w.advance(7 * 24 * time.Hour)
	require.NoError(t, alice.Send(ctx, r.message("two", bob.actor)))
	b.start()
	a.stop()
	w.advance(time.Hour)
	a.start()
	require.Equal(t, []string{"one", "two"}, texts(bob.await(2)))
	b.stop()
	late := r.message("three", bob.actor)
	require.NoError(t, alice.Send(ctx, late))
	require.Eventually(t, func() bool { w.advance(20 * time.Hour); return alice.waiting() > 0 }, 30*time.Second, 100*time.Millisecond)
	note := alice.await(1)[0]
	require.Equal(t, sha(late.Message), []byte(note.Undelivered.Message))
	require.Equal(t, "host_unreachable", note.Undelivered.To[0].Code)
}

// A stranger may leave so much with somebody who has never written to them, and others of that somebody's server get theirs all the same.
func TestStrangersLeaveSoMuch(t *testing.T) {
	w := newWorld(t)
	a, p := w.box("a.test"), w.peer("c.test")
	a.start()
	alice, bob := a.person("alice"), a.person("bob")
	from := func(to *device, size int) (int, string) {
		d := p.delivery(to.actor)
		d.object()["content"] = base64.StdEncoding.EncodeToString(ciphertext([]byte("group"), 0, mls.ContentApplication, strings.Repeat("x", size)))
		return p.send(d)
	}
	fill := func(to *device) (n int) {
		for ; n < 20; n++ {
			if status, code := from(to, 10<<10); status != 202 {
				require.Equal(t, []any{429, "stranger_limited"}, []any{status, code})
				return n
			}
		}
		return n
	}
	require.Equal(t, 6, fill(alice))
	require.Equal(t, 6, fill(bob), "each has their own")
	items := alice.await(6)
	require.NoError(t, alice.Acknowledge(ctx, items[5].Cursor))
	require.Equal(t, 6, fill(alice), "what is read makes room")
	require.NoError(t, alice.Send(ctx, alice.open().message("hello", p.mallory())))
	require.Equal(t, 20, fill(alice), "who is written to is no stranger")
	status, _ := from(bob, 10<<10)
	require.Equal(t, 429, status)
}

func TestActorsAndInstancesHaveBudgets(t *testing.T) {
	w := newWorld(t)
	a, p := w.box("a.test"), w.peer("c.test")
	a.start()
	alice := a.person("alice")
	status, outcome := p.send(p.delivery(alice.actor))
	require.Equal(t, []any{202, "accepted"}, []any{status, outcome})
	before := a.rows()
	a.Exhaust(p.mallory())
	status, code := p.send(p.delivery(alice.actor))
	require.Equal(t, []any{429, "rate_limited"}, []any{status, code})
	require.Equal(t, before, a.rows())
	other := p.delivery(alice.actor)
	other.signer, other.activity["actor"], other.object()["attributedTo"] = p.instance+"/users/other", p.instance+"/users/other", p.instance+"/users/other"
	status, _ = p.send(other)
	require.Equal(t, 202, status, "others of the same instance have their own")
	a.Exhaust(p.instance)
	other.activity["id"] = p.instance + "/waxwing/activities/" + uuid.NewString()
	status, code = p.send(other)
	require.Equal(t, []any{429, "rate_limited"}, []any{status, code}, "and one that they share")
	w.advance(3 * time.Minute)
	status, _ = p.send(p.delivery(alice.actor))
	require.Equal(t, 202, status, "it comes back")
}

// TestTableB is what an inbox answers to what is wrong with a request, in the order of spec/wire.md: status, code, and whether and when to
// try again. What is wrong with signatures is in TestSignatureMatrix.
func TestTableB(t *testing.T) {
	w := newWorld(t)
	a, p := w.box("a.test"), w.peer("c.test")
	a.start()
	alice, carol := a.person("alice"), a.careful("carol")
	header := func(name, value string) func(*delivery) {
		return func(d *delivery) { d.after = func(r *http.Request) { r.Header.Set(name, value) } }
	}
	raw := func(body string) func(*delivery) { return func(d *delivery) { d.raw = []byte(body) } }
	repeated := p.delivery(alice.actor)
	status, _ := p.send(repeated)
	require.Equal(t, 202, status)
	before := a.rows()
	for _, c := range []struct {
		name   string
		spoil  func(*delivery)
		status int
		code   string
	}{
		{"headers too large", header("X-Long", strings.Repeat("x", 40<<10)), 431, "headers_too_large"},
		{"wrong content type", func(d *delivery) { d.contentType = "text/plain" }, 415, "unsupported_media_type"},
		{"compressed", header("Content-Encoding", "gzip"), 415, "encoding_not_supported"},
		{"unsigned", func(d *delivery) { d.signer = "" }, 401, "signature_missing"},
		{"unsigned, whatever else is wrong", func(d *delivery) { d.signer, d.raw = "", []byte("{") }, 401, "signature_missing"},
		{"over 1 MiB", raw(strings.Repeat(" ", 1<<20+1)), 413, "too_large"},
		{"bad UTF-8", raw("{\"id\":\"\xff\"}"), 400, "json_invalid"},
		{"duplicate key", raw(`{"id":"x","id":"y"}`), 400, "json_invalid"},
		{"depth 65", raw(strings.Repeat("[", 65) + strings.Repeat("]", 65)), 400, "json_invalid"},
		{"trailing data", raw(`{} x`), 400, "json_invalid"},
		{"number overflow", raw(`{"id":"http://c.test/x","type":"Create","actor":1e999}`), 400, "activity_invalid"},
		{"no activity", raw(`{"type":"Create"}`), 400, "activity_invalid"},
		{"signature malformed", header("Signature", "x"), 401, "signature_malformed"},
		{"digest absent", func(d *delivery) { d.after = func(r *http.Request) { r.Header.Del("Digest") } }, 401, "digest_required"},
		{"digest different", func(d *delivery) { d.after = replaceBody }, 401, "digest_mismatch"},
		{"date outside of the window", func(d *delivery) { d.at = d.at.Add(-time.Hour) }, 401, "signature_expired"},
		{"key not resolvable now", func(d *delivery) { d.keyID = "http://gone.test/users/x#main-key" }, 503, "key_unavailable"},
		{"key of another", func(d *delivery) { d.signer = p.instance + "/users/other" }, 403, "actor_key_mismatch"},
		{"key of another host", func(d *delivery) { d.activity["actor"] = "http://d.test/users/x" }, 403, "actor_key_mismatch"},
		{"object of another host", func(d *delivery) { d.object()["id"] = "http://d.test/x" }, 403, "origin_mismatch"},
		{"MLS not decodable", func(d *delivery) { d.object()["content"] = "AAAA" }, 422, "mls_malformed"},
		{"MLS with trailing bytes", func(d *delivery) {
			d.object()["content"] = base64.StdEncoding.EncodeToString(append(ciphertext([]byte("g"), 0, mls.ContentApplication, "x"), 0))
		}, 422, "mls_malformed"},
		{"recipient unknown", func(d *delivery) { d.activity["to"], d.object()["to"] = "http://a.test/users/nobody", nil }, 404, "no_such_recipient"},
		{"sender not accepted", func(d *delivery) { d.activity["to"], d.object()["to"] = carol.actor, nil }, 403, "consent_required"},
		{"unknown type", func(d *delivery) { d.activity["object"] = map[string]any{"type": "Note", "id": p.instance + "/n"} }, 202, "ignored"},
		{"the same again", func(d *delivery) { *d = *repeated }, 202, "duplicate"},
		{"same id, other content", func(d *delivery) { d.activity["id"] = repeated.activity["id"] }, 409, "id_conflict"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := p.delivery(alice.actor)
			c.spoil(d)
			status, code := p.send(d)
			require.Equal(t, []any{c.status, c.code}, []any{status, code})
		})
	}
	require.Equal(t, before, a.rows(), "nothing of it was stored")
	a.Exhaust(p.mallory())
	status, code := p.send(p.delivery(alice.actor))
	require.Equal(t, []any{429, "rate_limited"}, []any{status, code}, "quota used")
}

// A body that comes too slowly is answered, and one that is cut off leaves nothing.
func TestSlowBodyIsAnswered(t *testing.T) {
	w := newWorld(t)
	a := w.box("a.test")
	a.restart(func(s *sidecar.Sidecar) { s.Impatient(200 * time.Millisecond) })
	conn, err := net.Dial("tcp", w.hosts["a.test"])
	require.NoError(t, err)
	defer conn.Close()
	_, err = fmt.Fprintf(conn, "POST /waxwing/inbox HTTP/1.1\r\nHost: a.test\r\nContent-Type: %s\r\nSignature: x\r\nContent-Length: 100\r\n\r\n{", federation.ContentType)
	require.NoError(t, err)
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(20*time.Second)))
	var answer bytes.Buffer
	_, _ = answer.ReadFrom(conn)
	require.True(t, strings.HasPrefix(answer.String(), "HTTP/1.1 408 "), answer.String())
	require.Contains(t, answer.String(), `"timeout"`)
	_, body, _ := strings.Cut(answer.String(), "\r\n\r\n")
	require.True(t, json.Valid([]byte(body)))
}
