package sidecar_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/federation"
	"github.com/waxwing-dm/waxwing/federation/httpsig"
	"github.com/waxwing-dm/waxwing/internal/clientapi"
	"github.com/waxwing-dm/waxwing/mls"
)

type packagesDoc struct {
	TotalItems int
	Items      []struct {
		ID        string
		Content   []byte
		Generator struct{ ID, Type, Name string }
	}
}

// signedGet asks a.test in the name of one of the peer's actors.
func (p *peer) signedGet(url, signer string) (int, []byte) {
	p.w.t.Helper()
	req, err := http.NewRequest(http.MethodGet, url, nil)
	require.NoError(p.w.t, err)
	require.NoError(p.w.t, httpsig.Sign(req, nil, federation.KeyID(signer), p.keys[signer], p.w.now()))
	req.Host, req.URL.Host = req.URL.Host, p.w.hosts["a.test"]
	req.Header.Del("Host")
	res, err := http.DefaultClient.Do(req)
	require.NoError(p.w.t, err)
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	require.NoError(p.w.t, err)
	return res.StatusCode, body
}

func TestSignedGetServesEachPackageOnce(t *testing.T) {
	w := newWorld(t)
	a, p, q := w.box("a.test"), w.peer("c.test"), w.peer("d.test")
	a.start()
	alice := a.person("alice")
	alice.upload(3)
	collection := alice.actor + "/key-packages"
	seen := map[string]bool{}
	var first packagesDoc
	for i, caller := range []*peer{p, q, p, p} {
		status, body := caller.signedGet(collection, caller.mallory())
		require.Equal(t, 200, status)
		var doc packagesDoc
		require.NoError(t, json.Unmarshal(body, &doc))
		require.Equal(t, 1, doc.TotalItems)
		kp, err := mls.ParseKeyPackage(doc.Items[0].Content)
		require.NoError(t, err)
		require.Equal(t, i == 3, kp.LastResort(), "there were three")
		require.False(t, seen[doc.Items[0].ID])
		seen[doc.Items[0].ID] = true
		require.Equal(t, "Application", doc.Items[0].Generator.Type)
		if i == 0 {
			first = doc
		}
	}
	require.Zero(t, a.rows()["key_package"])

	// The URL of a package is for whoever was given it.
	status, body := p.signedGet(first.Items[0].ID, p.instance+"/users/other")
	require.Equal(t, 200, status)
	require.Contains(t, string(body), `"KeyPackage"`)
	status, _ = q.signedGet(first.Items[0].ID, q.mallory())
	require.Equal(t, 404, status)
	res, _ := a.get(strings.TrimPrefix(first.Items[0].ID, a.instance))
	require.Equal(t, 404, res.StatusCode)
	_, err := alice.PutKeyPackages(ctx, clientapi.KeyPackages{OneTime: []clientapi.Bytes{first.Items[0].Content}})
	require.NoError(t, err)
	require.Zero(t, a.rows()["key_package"], "what was given is not offered again")

	// The last-resort one is everybody's.
	res, body = a.get("/users/alice/key-packages")
	require.Equal(t, 200, res.StatusCode)
	var open packagesDoc
	require.NoError(t, json.Unmarshal(body, &open))
	res, body = a.get(strings.TrimPrefix(open.Items[0].ID, a.instance))
	require.Equal(t, 200, res.StatusCode)
	require.Contains(t, string(body), `"ciphersuite":"MLS_128_DHKEMX25519_AES128GCM_SHA256_Ed25519"`)
	for _, path := range []string{"x", strings.Repeat("0", 64), strings.ToUpper(open.Items[0].ID[len(open.Items[0].ID)-64:])} {
		res, _ = a.get("/users/alice/key-packages/" + path)
		require.Equal(t, 404, res.StatusCode, path)
	}
	w.advance(11 * 60e9)
	status, _ = p.signedGet(first.Items[0].ID, p.mallory())
	require.Equal(t, 404, status, "for a while")
}

// Claims and signed GETs take from the same shelf, all at once.
func TestNoPackageIsGivenTwice(t *testing.T) {
	w := newWorld(t)
	a, p := w.box("a.test"), w.peer("c.test")
	a.start()
	alice, bob := a.person("alice"), a.person("bob")
	alice.upload(20)
	var mu sync.Mutex
	seen := map[string]int{}
	count := func(content []byte) {
		kp, err := mls.ParseKeyPackage(content)
		require.NoError(t, err)
		mu.Lock()
		defer mu.Unlock()
		if !kp.LastResort() {
			seen[string(content)]++
		}
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 4 {
				_, body := p.signedGet(alice.actor+"/key-packages", p.mallory())
				var doc packagesDoc
				if json.Unmarshal(body, &doc) == nil && len(doc.Items) == 1 {
					count(doc.Items[0].Content)
				}
				if claimed, err := bob.Claim(ctx, alice.actor); err == nil {
					count(claimed[0].KeyPackage)
				}
			}
		})
	}
	wg.Wait()
	require.Len(t, seen, 20)
	for _, times := range seen {
		require.Equal(t, 1, times)
	}
}

func TestLookingUnsignedTakesNothing(t *testing.T) {
	w := newWorld(t)
	a, p := w.box("a.test"), w.peer("c.test")
	a.start()
	alice := a.person("alice")
	alice.upload(2)
	a.get("/users/alice/key-packages")
	res, _ := a.request(http.MethodHead, "/users/alice/key-packages", nil, http.Header{"Signature": {"x"}})
	require.Equal(t, 200, res.StatusCode)
	res, body := a.request(http.MethodGet, "/users/alice/key-packages", nil, http.Header{"Signature": {"x"}})
	requireAnswer(t, res, body, 401, "signature_malformed")
	p.keys[p.mallory()] = p.keys[p.instance+"/users/other"]
	status, _ := p.signedGet(alice.actor+"/key-packages", p.mallory())
	require.Equal(t, 401, status)
	require.Equal(t, 2, a.rows()["key_package"])
}

type pageDoc struct {
	Type, ID, First, Last, Next, Prev, PartOf, EventStream, SeekItem string
	TotalItems                                                       int
	OrderedItems                                                     []struct {
		ID, Actor string
		Type      any
		Object    struct{ Content []byte }
		Content   []byte
	}
}

func (d *device) page(url string) (doc pageDoc) {
	d.box.w.t.Helper()
	res, body := d.box.request(http.MethodGet, strings.TrimPrefix(url, d.box.instance), nil,
		http.Header{"Authorization": {"Bearer " + d.token}, "Accept": {federation.ContentType}})
	require.Equal(d.box.w.t, 200, res.StatusCode, string(body))
	require.Equal(d.box.w.t, federation.ContentType, res.Header.Get("Content-Type"))
	require.NoError(d.box.w.t, json.Unmarshal(body, &doc))
	return doc
}

func TestMessagesCollection(t *testing.T) {
	w := newWorld(t)
	a := w.box("a.test").start()
	alice, bob := a.person("alice"), a.person("bob")
	empty := alice.page(alice.actor + "/messages")
	require.Equal(t, []any{"OrderedCollection", 0, ""}, []any{empty.Type, empty.TotalItems, empty.First})
	r := bob.open()
	const n = 230
	for i := range n {
		require.NoError(t, bob.Send(ctx, r.message(fmt.Sprint(i), alice.actor)))
	}
	all := alice.page(alice.actor + "/messages")
	require.Equal(t, n, all.TotalItems)

	var down []string // newest first, from page to page
	for url := all.First; url != ""; {
		page := alice.page(url)
		require.Equal(t, url, page.ID)
		for _, i := range page.OrderedItems {
			down = append(down, i.ID)
			require.Equal(t, []any{"Create", bob.actor}, []any{i.Type, i.Actor})
		}
		url = page.Next
	}
	require.Len(t, down, n)
	var up []string // and back again
	for url := all.Last; url != ""; {
		page := alice.page(url)
		for i := len(page.OrderedItems) - 1; i >= 0; i-- {
			up = append(up, page.OrderedItems[i].ID)
		}
		url = page.Prev
	}
	require.Len(t, up, n)
	for i := range up {
		require.Equal(t, down[n-1-i], up[i])
	}

	// Seek Item, and forward from an activity.
	res, _ := a.seek(alice, all.SeekItem, up[17])
	require.Equal(t, 307, res.StatusCode)
	require.Equal(t, up[17], alice.page(res.Header.Get("Location")).OrderedItems[0].ID)
	res, _ = a.seek(alice, all.SeekItem, "http://a.test/waxwing/activities/none")
	require.Equal(t, 404, res.StatusCode)
	var after []string
	for url := alice.actor + "/messages?after=" + up[17]; ; {
		page := alice.page(url)
		for _, i := range page.OrderedItems {
			after = append(after, i.ID)
		}
		if url = page.Next; url == "" {
			break
		}
	}
	require.Equal(t, up[18:], after)

	m, err := alice.Mailbox(ctx, 0, 100, 0)
	require.NoError(t, err)
	require.NoError(t, alice.Acknowledge(ctx, m.Next))
	require.Equal(t, up[100], alice.page(alice.actor + "/messages?after=" + up[17]).OrderedItems[0].ID, "what was taken is passed over")

	for path, token := range map[string]string{"/users/alice/messages": "", "/users/alice/messages/events": "", "/users/alice/outbox": ""} {
		res, body := a.get(path)
		requireAnswer(t, res, body, 403, "not_allowed")
		res, body = a.request("GET", path, nil, http.Header{"Authorization": {"Bearer " + bob.token + token}})
		requireAnswer(t, res, body, 403, "not_allowed")
		res, body = a.request("GET", path, nil, http.Header{"Authorization": {"Bearer alice.x"}})
		requireAnswer(t, res, body, 401, "token_required")
	}
}

func (b *box) seek(d *device, endpoint, item string) (*http.Response, error) {
	req, err := http.NewRequest(http.MethodGet, strings.Replace(endpoint, b.host, b.w.hosts[b.host], 1)+"?item="+item, nil)
	require.NoError(b.w.t, err)
	req.Host = b.host
	req.Header.Set("Authorization", "Bearer "+d.token)
	res, err := http.DefaultTransport.RoundTrip(req)
	require.NoError(b.w.t, err)
	return res, res.Body.Close()
}

func TestEventStream(t *testing.T) {
	w := newWorld(t)
	a := w.box("a.test").start()
	alice, bob := a.person("alice"), a.person("bob")
	r := bob.open()
	require.NoError(t, bob.Send(ctx, r.message("before", alice.actor)))
	listen := func(last string) (*http.Response, *bufio.Reader) {
		req, err := http.NewRequest(http.MethodGet, "http://"+w.hosts["a.test"]+"/users/alice/messages/events", nil)
		require.NoError(t, err)
		req.Host = "a.test"
		req.Header.Set("Authorization", "Bearer "+alice.token)
		if last != "" {
			req.Header.Set("Last-Event-ID", last)
		}
		res, err := http.DefaultTransport.RoundTrip(req)
		require.NoError(t, err)
		t.Cleanup(func() { res.Body.Close() })
		return res, bufio.NewReader(res.Body)
	}
	next := func(in *bufio.Reader) (id string, object string) {
		for {
			line, err := in.ReadString('\n')
			require.NoError(t, err)
			if text, ok := strings.CutPrefix(line, "id: "); ok {
				id = strings.TrimSpace(text)
			}
			if text, ok := strings.CutPrefix(line, "data: "); ok {
				var event struct {
					Type, Target string
					Object       struct{ Object struct{ Content []byte } }
				}
				require.NoError(t, json.Unmarshal([]byte(text), &event))
				require.Equal(t, []string{"Add", alice.actor + "/messages"}, []string{event.Type, event.Target})
				return id, string(event.Object.Object.Content)
			}
		}
	}
	res, stream := listen("")
	require.Equal(t, "text/event-stream", res.Header.Get("Content-Type"))
	hello, err := stream.ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, ": hello\n", hello)
	require.NoError(t, bob.Send(ctx, r.message("live", alice.actor)))
	id, object := next(stream)
	require.Equal(t, "2", id)
	require.Contains(t, object, "live", "what was there before is not told")
	_, again := listen("1")
	_, object = next(again)
	require.Contains(t, object, "live")
	_, again = listen("0")
	_, object = next(again)
	require.Contains(t, object, "before")
	listen("")
	res, _ = listen("")
	require.Equal(t, 429, res.StatusCode)
	a.stop()
	_, err = io.ReadAll(stream)
	require.NoError(t, err, "the stream ends as it should when the sidecar stops")
}

func TestConversationCollection(t *testing.T) {
	w := newWorld(t)
	a, p := w.box("a.test"), w.peer("c.test")
	a.start()
	alice := a.person("alice")
	r := alice.open()
	for epoch := range uint64(3) {
		_, err := alice.Commit(ctx, r.commit(epoch, fmt.Sprint(epoch), nil))
		require.NoError(t, err)
	}
	doc := alice.page(r.url)
	require.Equal(t, []string{"OrderedCollection", r.url}, []string{doc.Type, doc.ID})
	page := alice.page(doc.First)
	require.Len(t, page.OrderedItems, 3)
	for i, item := range page.OrderedItems {
		require.Equal(t, fmt.Sprintf("%s#1-%d", r.url, i+1), item.ID)
		require.Equal(t, ciphertext(r.groupID, uint64(i), mls.ContentCommit, fmt.Sprint(i)), []byte(item.Content))
	}
	require.Len(t, alice.page(r.url+"?after=2").OrderedItems, 1)
	require.Empty(t, alice.page(page.Next).OrderedItems)
	res, body := a.request("GET", strings.TrimPrefix(r.url, a.instance), nil, http.Header{"Accept": {federation.ContentType}})
	requireAnswer(t, res, body, 401, "signature_missing")
	status, code := p.send(&delivery{path: strings.TrimPrefix(r.url, a.instance), method: "GET", host: "a.test", signer: p.mallory(), at: w.now(),
		after: func(r *http.Request) { r.Header.Set("Accept", federation.ContentType) }})
	require.Equal(t, []any{403, "actor_key_mismatch"}, []any{status, code})
}

func TestOutboxTakesActivitiesOfTheDraft(t *testing.T) {
	w := newWorld(t)
	a, b := w.box("a.test"), w.box("b.test")
	a.start()
	bob := b.start().person("bob")
	b.stop()
	alice := a.person("alice")
	message := ciphertext([]byte("uri:uuid:group"), 0, mls.ContentCommit, "hello")
	body, err := json.Marshal(map[string]any{
		"@context": "https://www.w3.org/ns/activitystreams", "type": "Create", "id": "uri:uuid:" + uuid.NewString(), "actor": alice.actor,
		"to":     []string{"http://b.test/users/bob"},
		"object": map[string]any{"type": "GroupInfo", "mediaType": "message/mls", "encoding": "base64", "content": message, "context": "uri:uuid:group"},
	})
	require.NoError(t, err)
	post := func(as *device, path, kind string, body []byte) (*http.Response, []byte) {
		return a.request(http.MethodPost, path, strings.NewReader(string(body)), http.Header{"Authorization": {"Bearer " + as.token}, "Content-Type": {kind}})
	}
	res, answer := post(alice, "/users/alice/outbox", federation.ContentType, body)
	require.Equal(t, 201, res.StatusCode, string(answer))
	location := res.Header.Get("Location")
	require.True(t, strings.HasPrefix(location, "http://a.test/waxwing/activities/"))
	res, _ = post(alice, "/users/alice/outbox", federation.ContentType, body)
	require.Equal(t, []any{201, location}, []any{res.StatusCode, res.Header.Get("Location")}, "again: the same, once")
	page := alice.page(alice.page(alice.actor + "/outbox").First)
	require.Len(t, page.OrderedItems, 1)
	require.Equal(t, location, page.OrderedItems[0].ID)
	for name, c := range map[string]struct {
		path, kind, body string
		status           int
		code             string
	}{
		"another's":  {"/users/bob/outbox", federation.ContentType, string(body), 403, "not_allowed"},
		"plain JSON": {"/users/alice/outbox", "application/json", string(body), 415, "unsupported_media_type"},
		"not JSON":   {"/users/alice/outbox", federation.ContentType, "x", 400, "json_invalid"},
		"a note":     {"/users/alice/outbox", federation.ContentType, `{"type":"Note","to":["http://b.test/users/bob"],"content":"x"}`, 400, "activity_invalid"},
		"not MLS": {"/users/alice/outbox", federation.ContentType,
			`{"mediaType":"message/mls","to":["http://b.test/users/bob"],"content":"AAAA"}`, 422, "mls_malformed"},
	} {
		res, answer := post(alice, c.path, c.kind, []byte(c.body))
		t.Log(name)
		requireAnswer(t, res, answer, c.status, c.code)
	}
	b.start()
	item := bob.await(1)[0]
	require.Equal(t, []any{location, alice.actor, message}, []any{item.Activity, item.Actor, []byte(item.Message)})
	require.Empty(t, item.Conversation, "a bare group id is no collection")
	require.Eventually(t, func() bool { return len(alice.page(alice.actor+"/outbox?before=0").OrderedItems) == 0 }, 20e9, 10e6)

	m := clientapi.Message{ID: uuid.NewString(), Message: message, To: []string{bob.actor}}
	require.NoError(t, alice.SendPlain(ctx, m))
	require.NoError(t, alice.SendPlain(ctx, m))
	bob.await(2)
}

// TestPlainPeer is a server of the draft: an actor, a collection of a framed and a raw package, an inbox, and nothing of ours.
func TestPlainPeer(t *testing.T) {
	w := newWorld(t)
	a, b, p := w.box("a.test"), w.box("b.test"), w.peer("c.test")
	a.start()
	b.start()
	alice, bob := a.person("alice"), b.person("bob")
	raw := bob.keyPackage(false)
	item := func(content []byte) map[string]any {
		return map[string]any{"type": "KeyPackage", "attributedTo": p.mallory(), "mediaType": "message/mls", "encoding": "base64", "content": content}
	}
	set := func() {
		var actor map[string]any
		require.NoError(t, json.Unmarshal(p.docs["/users/mallory"], &actor))
		actor["keyPackages"] = []any{item(raw), item(append([]byte{0, 1, 0, 5}, raw...)), item([]byte("garbage"))}
		doc, err := json.Marshal(actor)
		require.NoError(t, err)
		p.docs["/users/mallory"] = doc
	}
	set()
	_, err := alice.PlainClaim(ctx, p.mallory())
	requireProblem(t, err, 409, "has_directory")
	_, err = alice.PlainClaim(ctx, bob.actor)
	requireProblem(t, err, 409, "has_directory")
	_, err = alice.PlainClaim(ctx, "x")
	requireProblem(t, err, 400, "request_invalid")

	delete(p.docs, federation.PathDiscovery)
	w.advance(11 * 60e9)
	packages, err := alice.PlainClaim(ctx, p.mallory())
	require.NoError(t, err)
	require.Len(t, packages, 2)
	for _, found := range packages {
		require.Equal(t, raw, []byte(found.KeyPackage), "raw and framed are the same")
	}
	_, err = alice.PlainClaim(ctx, p.instance+"/users/nobody")
	requireProblem(t, err, 502, "peer_failed")

	// What it sends, in the spelling of Emissary's client: a removal under the type GroupInfo, without ids of its own.
	d := p.delivery(alice.actor)
	commit := ciphertext([]byte("uri:uuid:group"), 3, mls.ContentCommit, "removal")
	d.activity["object"] = map[string]any{"type": "GroupInfo", "attributedTo": p.mallory(), "to": []string{alice.actor}, "content": commit,
		"context": "uri:uuid:group", "mediaType": "message/mls", "encoding": "base64"}
	status, outcome := p.send(d)
	require.Equal(t, []any{202, "accepted"}, []any{status, outcome})
	require.Equal(t, commit, []byte(alice.await(1)[0].Message))
}
