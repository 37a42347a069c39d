package sidecar_test

import (
	"bytes"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/federation"
	"github.com/waxwing-dm/waxwing/federation/httpsig"
	"github.com/waxwing-dm/waxwing/internal/clientapi"
	"github.com/waxwing-dm/waxwing/internal/receipt"
	"github.com/waxwing-dm/waxwing/mls"
	"github.com/waxwing-dm/waxwing/sidecar/sidecartest"
)

// A peer is an instance that does what it likes: real keys and documents, and any request it can think of.
type peer struct {
	w        *world
	instance string
	keys     map[string]*rsa.PrivateKey // by actor
	docs     map[string][]byte          // by path
}

func (w *world) peer(host string) *peer {
	p := &peer{w: w, instance: "http://" + host, keys: map[string]*rsa.PrivateKey{}, docs: map[string][]byte{}}
	s := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		doc, ok := p.docs[r.URL.Path]
		if !ok {
			http.NotFound(rw, r)
			return
		}
		rw.Header().Set("Content-Type", federation.ContentType)
		_, _ = rw.Write(doc)
	}))
	w.t.Cleanup(s.Close)
	w.hosts[host] = strings.TrimPrefix(s.URL, "http://")
	discovery, err := json.Marshal(federation.NewDiscovery(p.instance, "no key", make([]byte, 32), make([]byte, 32)))
	require.NoError(w.t, err)
	p.docs[federation.PathDiscovery] = discovery
	p.actor(federation.PathActor)
	p.actor("/users/mallory")
	p.actor("/users/other")
	return p
}

func (p *peer) actor(path string) {
	key, err := sidecartest.Key()
	require.NoError(p.w.t, err)
	id := p.instance + path
	doc, err := federation.LocalActor{ID: id, Name: "x", Inbox: id + "/inbox", Shared: p.instance + "/inbox", Key: &key.PublicKey}.Document()
	require.NoError(p.w.t, err)
	p.docs[path], p.keys[id] = doc, key
}

func (p *peer) mallory() string { return p.instance + "/users/mallory" }

// A delivery is a request before and after it is signed; tests spoil either.
type delivery struct {
	path        string
	method      string
	host        string // that is signed and sent
	to          string // host that is connected to, instead of a.test
	contentType string
	activity    map[string]any
	raw         []byte // instead of the activity
	signer      string
	keyID       string // instead of the signer's
	at          time.Time
	after       func(*http.Request) // once it is signed
}

func (p *peer) delivery(to ...string) *delivery {
	id := uuid.NewString()
	message := ciphertext([]byte("group"), 0, mls.ContentApplication, "from outside")
	return &delivery{
		path: "/waxwing/inbox", method: http.MethodPost, host: "a.test", contentType: federation.ContentType, signer: p.mallory(), at: p.w.now(),
		activity: map[string]any{
			"@context": "https://www.w3.org/ns/activitystreams", "id": p.instance + "/waxwing/activities/" + id, "type": "Create",
			"actor": p.mallory(), "to": to,
			"object": map[string]any{
				"id": p.instance + "/waxwing/objects/" + id, "type": []string{"Object", "PrivateMessage"}, "attributedTo": p.mallory(), "to": to,
				"mediaType": "message/mls", "encoding": "base64", "content": base64.StdEncoding.EncodeToString(message),
				"conversation": "http://c.test/waxwing/conversations/67",
			},
		},
	}
}

func (d *delivery) object() map[string]any { return d.activity["object"].(map[string]any) }

// send signs and sends; it returns status and code (or outcome).
func (p *peer) send(d *delivery) (int, string) {
	p.w.t.Helper()
	status, body := p.request(d)
	var answer struct{ Code, Outcome string }
	require.NoError(p.w.t, json.Unmarshal(body, &answer))
	return status, answer.Code + answer.Outcome
}

// request is send for who reads the answer.
func (p *peer) request(d *delivery) (int, []byte) {
	t := p.w.t
	t.Helper()
	body := d.raw
	if body == nil {
		var err error
		body, err = json.Marshal(d.activity)
		require.NoError(t, err)
	}
	req, err := http.NewRequest(d.method, "http://"+d.host+d.path, bytes.NewReader(body))
	require.NoError(t, err)
	if d.contentType != "" {
		req.Header.Set("Content-Type", d.contentType)
	}
	if d.signer != "" {
		keyID := federation.KeyID(d.signer)
		if d.keyID != "" {
			keyID = d.keyID
		}
		signed := body
		if d.method == http.MethodGet {
			signed = nil
		}
		require.NoError(t, httpsig.Sign(req, signed, keyID, p.keys[d.signer], d.at))
	}
	if d.after != nil {
		d.after(req)
	}
	to := "a.test" // whatever the request says
	if d.to != "" {
		to = d.to
	}
	req.Host, req.URL.Host = req.URL.Host, p.w.hosts[to]
	if h := req.Header.Get("Host"); h != "" {
		req.Host = h
	}
	req.Header.Del("Host")
	res, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	if res.StatusCode/100 != 2 {
		require.Equal(t, "application/problem+json", res.Header.Get("Content-Type"))
	}
	return res.StatusCode, answer
}

func TestInboxTakesWhatIsRight(t *testing.T) {
	w := newWorld(t)
	a, p := w.box("a.test"), w.peer("c.test")
	a.start()
	alice := a.person("alice")
	d := p.delivery(alice.actor)
	status, outcome := p.send(d)
	require.Equal(t, []any{202, "accepted"}, []any{status, outcome})
	item := alice.await(1)[0]
	require.Equal(t, []any{p.mallory(), d.activity["id"], "http://c.test/waxwing/conversations/67"}, []any{item.Actor, item.Activity, item.Conversation})

	status, outcome = p.send(d)
	require.Equal(t, []any{202, "duplicate"}, []any{status, outcome})
	d.at = d.at.Add(time.Second)
	status, outcome = p.send(d)
	require.Equal(t, []any{202, "duplicate"}, []any{status, outcome}, "signed anew")
	d.object()["conversation"] = "http://c.test/waxwing/conversations/68"
	status, code := p.send(d)
	require.Equal(t, []any{409, "id_conflict"}, []any{status, code})
	a.crash()
	a.start()
	d.object()["conversation"] = "http://c.test/waxwing/conversations/67"
	status, outcome = p.send(d)
	require.Equal(t, []any{202, "duplicate"}, []any{status, outcome}, "after a crash")
	require.Equal(t, 1, alice.waiting())

	own := p.delivery(alice.actor)
	own.path = "/users/alice/inbox"
	own.contentType = `application/ld+json; profile="https://www.w3.org/ns/activitystreams"`
	status, outcome = p.send(own)
	require.Equal(t, []any{202, "accepted"}, []any{status, outcome})
	note := p.delivery(alice.actor)
	note.activity["object"] = map[string]any{"type": "Note", "id": p.instance + "/n", "content": "plain"}
	status, outcome = p.send(note)
	require.Equal(t, []any{202, "ignored"}, []any{status, outcome})
	require.Equal(t, 2, alice.waiting())
}

func TestInboxRefuses(t *testing.T) {
	w := newWorld(t)
	a, p := w.box("a.test"), w.peer("c.test")
	other := w.peer("d.test")
	a.start()
	alice := a.person("alice")
	p.docs["/users/liar"] = p.docs["/users/other"] // somebody else's document
	p.keys[p.instance+"/users/liar"] = p.keys[p.instance+"/users/other"]
	p.keys[other.instance+"/waxwing/actor"] = other.keys[other.instance+"/waxwing/actor"]
	before := a.rows()
	deep := []byte(strings.Repeat(`{"a":`, 70) + "1" + strings.Repeat("}", 70))
	for name, c := range map[string]struct {
		spoil  func(*delivery)
		status int
		code   string
	}{
		"no content type":    {func(d *delivery) { d.contentType = "" }, 415, "unsupported_media_type"},
		"plain JSON":         {func(d *delivery) { d.contentType = "application/json" }, 415, "unsupported_media_type"},
		"LD without profile": {func(d *delivery) { d.contentType = "application/ld+json" }, 415, "unsupported_media_type"},
		"compressed":         {func(d *delivery) { d.after = func(r *http.Request) { r.Header.Set("Content-Encoding", "gzip") } }, 415, "encoding_not_supported"},
		"too large":          {func(d *delivery) { d.object()["content"] = strings.Repeat("A", 1<<20) }, 413, "too_large"},
		"not JSON":           {func(d *delivery) { d.raw = []byte("hello") }, 400, "json_invalid"},
		"trailing":           {func(d *delivery) { d.raw = []byte(`{"id":"x"} {}`) }, 400, "json_invalid"},
		"duplicate key":      {func(d *delivery) { d.raw = []byte(`{"actor":"x","Actor":"y"}`) }, 400, "json_invalid"},
		"deep":               {func(d *delivery) { d.raw = deep }, 400, "json_invalid"},
		"bad UTF-8":          {func(d *delivery) { d.raw = []byte("{\"id\":\"\xff\"}") }, 400, "json_invalid"},
		"unsigned":           {func(d *delivery) { d.signer = "" }, 401, "signature_missing"},
		"two signatures": {func(d *delivery) {
			d.after = func(r *http.Request) { r.Header.Add("Signature", r.Header.Get("Signature")) }
		}, 401, "signature_malformed"},
		"garbage signature":   {func(d *delivery) { d.after = func(r *http.Request) { r.Header.Set("Signature", "x") } }, 401, "signature_malformed"},
		"tampered body":       {func(d *delivery) { d.after = replaceBody }, 401, "digest_mismatch"},
		"no digest":           {func(d *delivery) { d.after = func(r *http.Request) { r.Header.Del("Digest") } }, 401, "digest_required"},
		"tampered and redone": {func(d *delivery) { d.after = replaceBodyAndDigest }, 401, "signature_invalid"},
		"old":                 {func(d *delivery) { d.at = d.at.Add(-6 * time.Minute) }, 401, "signature_expired"},
		"future":              {func(d *delivery) { d.at = d.at.Add(6 * time.Minute) }, 401, "signature_expired"},
		"date changed": {func(d *delivery) {
			d.after = func(r *http.Request) { r.Header.Set("Date", w.now().Add(time.Minute).UTC().Format(http.TimeFormat)) }
		}, 401, "signature_invalid"},
		"other host":           {func(d *delivery) { d.host = "d.test" }, 401, "signature_malformed"},
		"other path":           {func(d *delivery) { d.after = func(r *http.Request) { r.URL.Path = "/users/alice/inbox" } }, 401, "signature_invalid"},
		"key of another":       {func(d *delivery) { d.signer = p.instance + "/users/other" }, 403, "actor_key_mismatch"},
		"another's service":    {func(d *delivery) { d.signer = other.instance + "/waxwing/actor" }, 403, "actor_key_mismatch"},
		"borrowed key id":      {func(d *delivery) { d.signer, d.keyID = p.instance+"/users/other", federation.KeyID(p.mallory()) }, 401, "signature_invalid"},
		"key id of no one":     {func(d *delivery) { d.keyID = p.instance + "/users/nobody#main-key" }, 403, "actor_key_mismatch"},
		"another fragment":     {func(d *delivery) { d.keyID = p.mallory() + "#second-key" }, 403, "actor_key_mismatch"},
		"a copied document":    {func(d *delivery) { d.signer = p.instance + "/users/liar" }, 403, "actor_key_mismatch"},
		"key at an inner IP":   {func(d *delivery) { d.keyID = "https://127.0.0.1/users/x#main-key" }, 503, "key_unavailable"},
		"another's actor":      {func(d *delivery) { d.activity["actor"] = "http://d.test/users/mallory" }, 403, "actor_key_mismatch"},
		"our own user's name":  {func(d *delivery) { d.activity["actor"] = alice.actor }, 403, "actor_key_mismatch"},
		"activity id of d":     {func(d *delivery) { d.activity["id"] = "http://d.test/waxwing/activities/1" }, 403, "origin_mismatch"},
		"object id of d":       {func(d *delivery) { d.object()["id"] = "http://d.test/waxwing/objects/1" }, 403, "origin_mismatch"},
		"attributed to other":  {func(d *delivery) { d.object()["attributedTo"] = p.instance + "/users/other" }, 403, "origin_mismatch"},
		"attributed to no one": {func(d *delivery) { delete(d.object(), "attributedTo") }, 403, "origin_mismatch"},
		"content not base64":   {func(d *delivery) { d.object()["content"] = "!!!" }, 422, "mls_malformed"},
		"content not MLS":      {func(d *delivery) { d.object()["content"] = "aGVsbG8=" }, 422, "mls_malformed"},
		"content trailing": {func(d *delivery) {
			d.object()["content"] = base64.StdEncoding.EncodeToString(append(ciphertext([]byte("g"), 0, mls.ContentApplication, "x"), 0))
		}, 422, "mls_malformed"},
		"a key package": {func(d *delivery) {
			d.object()["content"] = base64.StdEncoding.EncodeToString(append([]byte{0, 1, 0, 5}, alice.keyPackage(false)...))
		}, 422, "mls_malformed"},
		"to nobody here": {func(d *delivery) {
			d.activity["to"], d.object()["to"] = "http://a.test/users/nobody", "http://c.test/users/x"
		}, 404, "no_such_recipient"},
		"to no one": {func(d *delivery) { delete(d.activity, "to"); delete(d.object(), "to") }, 404, "no_such_recipient"},
	} {
		t.Run(name, func(t *testing.T) {
			d := p.delivery(alice.actor)
			c.spoil(d)
			status, code := p.send(d)
			require.Equal(t, []any{c.status, c.code}, []any{status, code})
		})
	}
	require.Equal(t, before, a.rows(), "a refused activity left something")
	require.Zero(t, alice.waiting())
	status, outcome := other.send(other.delivery(alice.actor))
	require.Equal(t, []any{202, "accepted"}, []any{status, outcome}, "the others are served as ever")
}

func setBody(r *http.Request, body []byte) {
	fresh, _ := http.NewRequest(r.Method, r.URL.String(), bytes.NewReader(body))
	r.Body, r.ContentLength, r.GetBody = fresh.Body, fresh.ContentLength, fresh.GetBody
}

func changed(r *http.Request) []byte {
	var b bytes.Buffer
	_, _ = b.ReadFrom(r.Body)
	return bytes.Replace(b.Bytes(), []byte(`"Create"`), []byte(`"create"`), 1)
}

func replaceBody(r *http.Request) { setBody(r, changed(r)) }

func replaceBodyAndDigest(r *http.Request) {
	body := changed(r)
	other, _ := http.NewRequest(http.MethodPost, "http://a.test/", nil)
	key, _ := sidecartest.Key()
	_ = httpsig.Sign(other, body, "x", key, time.Now())
	setBody(r, body)
	r.Header.Set("Digest", other.Header.Get("Digest"))
}

func TestCallsBetweenInstancesRefused(t *testing.T) {
	w := newWorld(t)
	a, p := w.box("a.test"), w.peer("c.test")
	a.start()
	alice := a.person("alice")
	alice.upload(3)
	r := alice.open()
	path := strings.TrimPrefix(r.url, "http://a.test")
	commit := r.commit(0, "x", nil)
	submission, err := json.Marshal(clientapi.Submission{Term: 1, Commit: commit.Commit, Ticket: commit.Ticket, Signature: commit.Signature})
	require.NoError(t, err)
	claim, err := json.Marshal(clientapi.Claim{Actor: alice.actor})
	require.NoError(t, err)
	before := a.rows()
	service := p.instance + "/waxwing/actor"
	call := func(method, path string, body []byte, signer string) *delivery {
		return &delivery{path: path, method: method, host: "a.test", contentType: "application/json", raw: body, signer: signer, at: w.now()}
	}
	for name, c := range map[string]struct {
		d      *delivery
		status int
		code   string
	}{
		"claim unsigned":           {call("POST", "/waxwing/claim", claim, ""), 401, "signature_missing"},
		"claim by a user":          {call("POST", "/waxwing/claim", claim, p.mallory()), 403, "actor_key_mismatch"},
		"claim of nobody":          {call("POST", "/waxwing/claim", []byte(`{"actor":"http://a.test/users/nobody"}`), service), 404, "no_such_recipient"},
		"claim of a stranger":      {call("POST", "/waxwing/claim", []byte(`{"actor":"http://c.test/users/mallory"}`), service), 404, "no_such_recipient"},
		"claim not JSON":           {call("POST", "/waxwing/claim", []byte(`{`), service), 400, "json_invalid"},
		"commit unsigned":          {call("POST", path, submission, ""), 401, "signature_missing"},
		"commit by a user":         {call("POST", path, submission, p.mallory()), 403, "actor_key_mismatch"},
		"commit of nothing":        {call("POST", path, []byte(`{}`), service), 400, "request_invalid"},
		"commit for another group": {call("POST", "/waxwing/conversations/00", submission, service), 422, "mls_malformed"},
		"group id in capitals":     {call("POST", "/waxwing/conversations/"+strings.ToUpper(path[len(path)-64:]), submission, service), 404, "no_such_conversation"},
		"group id not hex":         {call("POST", "/waxwing/conversations/xyz", submission, service), 404, "no_such_conversation"},
		"events unsigned":          {call("GET", path, nil, ""), 401, "signature_missing"},
		"events by a user":         {call("GET", path, nil, p.mallory()), 403, "actor_key_mismatch"},
		"events from x":            {call("GET", path+"?after=x", nil, service), 400, "request_invalid"},
	} {
		t.Run(name, func(t *testing.T) {
			status, code := p.send(c.d)
			require.Equal(t, []any{c.status, c.code}, []any{status, code})
		})
	}
	require.Equal(t, before, a.rows())
	status, _ := p.send(call("POST", "/waxwing/claim", claim, service))
	require.Equal(t, 200, status)
	status, _ = p.send(call("POST", path, submission, service))
	require.Equal(t, 200, status)
	status, code := p.send(call("POST", path, submission, service))
	require.Equal(t, 200, status, code)
	events, err := alice.Events(ctx, receipt.ConversationURL(a.instance, r.groupID), 0)
	require.NoError(t, err)
	require.Len(t, events, 1)
}
