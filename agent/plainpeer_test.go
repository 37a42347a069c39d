package agent_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/federation"
	"github.com/waxwing-dm/waxwing/federation/httpsig"
	"github.com/waxwing-dm/waxwing/mls"
	"github.com/waxwing-dm/waxwing/sidecar/sidecartest"
)

// A plainServer is an instance with one person and no directory, and her program, of the kind that runs today: real documents and signed requests.
// It has one key package at a time, raw, each with a key of its own; commits count when they are made or seen; a removal travels as a GroupInfo.
type plainServer struct {
	w     *world
	key   *rsa.PrivateKey
	actor string
	with  *safeLog

	mu     sync.Mutex
	signer *mls.SignatureKey
	secret *mls.KeyPackageSecret
	groups map[string]*mls.Group
	later  [][]byte
	texts  []string
	types  []string // of the objects that came
	gone   bool     // there is a discovery document now, or something that is none
}

// safeLog collects what went wrong in handlers.
type safeLog struct {
	mu   sync.Mutex
	errs []string
}

func (l *safeLog) add(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.errs = append(l.errs, err.Error())
}

const erinActor = "http://e.test/@erin"

func (w *world) plainServer() *plainServer {
	p := &plainServer{w: w, actor: erinActor, with: new(safeLog), groups: map[string]*mls.Group{}}
	var err error
	p.key, err = sidecartest.Key()
	require.NoError(w.t, err)
	p.cycle()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/webfinger", p.document(func() any {
		return map[string]any{"subject": "acct:erin@e.test", "links": []any{map[string]any{"rel": "self", "type": federation.ContentType, "href": p.actor}}}
	}))
	mux.HandleFunc("GET /@erin", p.document(p.person))
	mux.HandleFunc("GET /@erin/pub/keyPackages", p.document(func() any {
		return map[string]any{"id": p.actor + "/pub/keyPackages", "type": "Collection", "totalItems": 1, "items": []string{p.actor + "/pub/keyPackages/1"}}
	}))
	mux.HandleFunc("GET /@erin/pub/keyPackages/1", p.document(p.keyPackage))
	mux.HandleFunc("POST /@erin/inbox", p.inbox)
	mux.HandleFunc("GET /.well-known/waxwing", func(rw http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		defer p.mu.Unlock()
		if !p.gone {
			http.NotFound(rw, r)
			return
		}
		rw.WriteHeader(http.StatusBadGateway)
	})
	s := httptest.NewServer(mux)
	w.t.Cleanup(s.Close)
	w.hosts["e.test"] = strings.TrimPrefix(s.URL, "http://")
	return p
}

func (p *plainServer) document(f func() any) http.HandlerFunc {
	return func(rw http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		defer p.mu.Unlock()
		rw.Header().Set("Content-Type", federation.ContentType)
		_ = json.NewEncoder(rw).Encode(f())
	}
}

func (p *plainServer) person() any {
	der, err := x509.MarshalPKIXPublicKey(&p.key.PublicKey)
	if err != nil {
		p.with.add(err)
	}
	return map[string]any{
		"@context": []string{"https://www.w3.org/ns/activitystreams", "https://w3id.org/security/v1", "https://purl.archive.org/socialweb/mls"},
		"id":       p.actor, "type": "Person", "preferredUsername": "erin", "inbox": p.actor + "/inbox", "outbox": p.actor + "/pub/outbox",
		"keyPackages": p.actor + "/pub/keyPackages", "messages": p.actor + "/pub/messages",
		"publicKey": map[string]any{"id": p.actor + "#main-key", "owner": p.actor,
			"publicKeyPem": string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))},
	}
}

func (p *plainServer) keyPackage() any {
	return map[string]any{
		"id": p.actor + "/pub/keyPackages/1", "type": []string{"Object", "KeyPackage"}, "attributedTo": p.actor, "mediaType": "message/mls", "encoding": "base64",
		"content": base64.StdEncoding.EncodeToString(p.secret.KeyPackage().Marshal()), "generator": "http://e.test/client", "ciphersuite": p.secret.KeyPackage().Suite.String(),
	}
}

func (p *plainServer) cycle() {
	var err error
	p.signer, err = mls.GenerateSignatureKey(mls.X25519AES128GCMSHA256Ed25519, rand.Reader)
	if err == nil {
		p.secret, err = mls.NewKeyPackage(rand.Reader, mls.KeyPackageParams{
			Suite: mls.X25519AES128GCMSHA256Ed25519, Signer: p.signer, Credential: mls.BasicCredential([]byte(p.actor)), Lifetime: yearlong(),
		})
	}
	if err != nil {
		p.with.add(err)
	}
}

func yearlong() mls.Lifetime {
	now := uint64(time.Now().Unix())
	return mls.Lifetime{NotBefore: now - 60, NotAfter: now + 360*86400}
}

// inbox verifies as servers do, and takes what is MLS.
func (p *plainServer) inbox(rw http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		p.with.add(err)
		return
	}
	owner, err := httpsig.Verify(r.Context(), httpsig.Request{Request: r, Body: body, Origin: "http://e.test", Now: time.Now()}, p.keyOf)
	if err != nil {
		p.with.add(fmt.Errorf("signature: %w", err))
		rw.WriteHeader(http.StatusUnauthorized)
		return
	}
	var a struct {
		Type, Actor, ID string
		Object          struct {
			Type                                       any
			MediaType, Encoding, AttributedTo, Content string
		}
	}
	if err := json.Unmarshal(body, &a); err != nil || a.Actor != owner || a.Object.AttributedTo != owner || a.Type != "Create" || a.Object.MediaType != "message/mls" || a.Object.Encoding != "base64" {
		p.with.add(fmt.Errorf("activity %s: %v", body, err))
		rw.WriteHeader(http.StatusBadRequest)
		return
	}
	message, err := base64.StdEncoding.DecodeString(a.Object.Content)
	if err != nil {
		p.with.add(err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.types = append(p.types, fmt.Sprint(a.Object.Type))
	p.take(message)
	rw.WriteHeader(http.StatusAccepted)
}

// keyOf asks the sender's server.
func (p *plainServer) keyOf(_ context.Context, keyID string, _ bool) (httpsig.Key, error) {
	id, _, _ := strings.Cut(keyID, "#")
	res, err := http.Get(strings.Replace(id, "http://a.test", "http://"+p.w.hosts["a.test"], 1))
	if err != nil {
		return httpsig.Key{}, err
	}
	defer res.Body.Close()
	var doc struct {
		PublicKey struct{ Owner, PublicKeyPem string }
	}
	if err := json.NewDecoder(res.Body).Decode(&doc); err != nil {
		return httpsig.Key{}, err
	}
	block, _ := pem.Decode([]byte(doc.PublicKey.PublicKeyPem))
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	return httpsig.Key{Owner: doc.PublicKey.Owner, Public: key}, err
}

// take processes a message, and what waits for one.
func (p *plainServer) take(raw []byte) {
	waiting := append([][]byte{raw}, p.later...)
	p.later = nil
	for again := true; again; {
		again = false
		var rest [][]byte
		for _, x := range waiting {
			if p.process(x) {
				again = true
			} else {
				rest = append(rest, x)
			}
		}
		waiting = rest
	}
	p.later = waiting
}

func (p *plainServer) process(raw []byte) (done bool) {
	m, err := mls.ParseMessage(raw)
	if err != nil {
		p.with.add(err)
		return true
	}
	if m.WireFormat() == mls.WireWelcome {
		if join, err := mls.JoinWelcome(m, mls.JoinParams{KeyPackage: p.secret, Signer: p.signer}); err == nil && p.groups[string(join.Group().GroupID())] == nil {
			p.groups[string(join.Group().GroupID())] = join.Group()
			p.cycle()
		}
		return true
	}
	g := p.groups[string(m.GroupID())]
	if g == nil {
		return false
	}
	processed, err := g.Process(m, time.Now())
	switch x := processed.(type) {
	case *mls.StagedCommit:
		err = g.Apply(x)
	case *mls.ApplicationMessage:
		var a struct{ Object struct{ Content string } }
		err = json.Unmarshal(x.Data, &a)
		p.texts = append(p.texts, a.Object.Content)
	}
	return err == nil
}

func (p *plainServer) read() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.texts...)
}

// say writes to those of a group who are on a.test.
func (p *plainServer) say(text string, to ...string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for id, g := range p.groups {
		data, err := json.Marshal(map[string]any{"type": "Create", "actor": p.actor, "context": id, "object": map[string]any{
			"id": "uri:uuid:" + uuid.NewString(), "type": "Note", "attributedTo": p.actor, "content": "<p>" + text + "</p>"}})
		require.NoError(p.w.t, err)
		raw, err := g.Encrypt(rand.Reader, data, nil, nil)
		require.NoError(p.w.t, err)
		p.post("PrivateMessage", id, raw, to...)
	}
}

// remove commits at once, and sends it under the name of another thing.
func (p *plainServer) remove(actor string, to ...string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for id, g := range p.groups {
		for _, m := range g.Members() {
			if string(m.Node.Credential.Identity) == actor {
				p.commit(id, g, []mls.Proposal{mls.RemoveProposal(m.Leaf)}, to, nil)
			}
		}
	}
}

// invite makes a group with what the collections of a.test show.
func (p *plainServer) invite(actors ...string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	id := "uri:uuid:" + uuid.NewString()
	g, err := mls.NewGroup(rand.Reader, mls.GroupParams{
		Suite: mls.X25519AES128GCMSHA256Ed25519, GroupID: []byte(id), Signer: p.signer, Credential: mls.BasicCredential([]byte(p.actor)), Lifetime: yearlong(),
	})
	require.NoError(p.w.t, err)
	var proposals []mls.Proposal
	for _, actor := range actors {
		req, err := http.NewRequest(http.MethodGet, actor+"/key-packages", nil)
		require.NoError(p.w.t, err)
		body := p.exchange(req, nil, http.StatusOK)
		var doc struct{ Items []struct{ Content []byte } }
		require.NoError(p.w.t, json.Unmarshal(body, &doc))
		kp, err := mls.ParseKeyPackage(doc.Items[0].Content)
		require.NoError(p.w.t, err)
		proposals = append(proposals, mls.AddProposal(kp))
	}
	p.groups[id] = g
	p.commit(id, g, proposals, nil, actors)
	p.cycle()
}

func (p *plainServer) commit(id string, g *mls.Group, proposals []mls.Proposal, to, added []string) {
	pending, err := g.Commit(rand.Reader, mls.CommitParams{Proposals: proposals, SkipStored: true, Now: time.Now()})
	require.NoError(p.w.t, err)
	require.NoError(p.w.t, g.ConfirmPending())
	if len(added) > 0 {
		p.post("Welcome", id, pending.Welcome(), added...)
	}
	if len(to) > 0 {
		p.post("GroupInfo", id, pending.Message(), to...)
	}
}

// post delivers to a.test.
func (p *plainServer) post(kind, group string, message []byte, to ...string) {
	body, err := json.Marshal(map[string]any{
		"@context": []string{"https://www.w3.org/ns/activitystreams", "https://purl.archive.org/socialweb/mls"},
		"id":       p.actor + "/pub/outbox/" + uuid.NewString(), "type": "Create", "actor": p.actor, "to": to, "context": group,
		"object": map[string]any{
			"type": kind, "attributedTo": p.actor, "to": to, "content": base64.StdEncoding.EncodeToString(message), "context": group,
			"mediaType": "message/mls", "encoding": "base64",
		},
	})
	require.NoError(p.w.t, err)
	req, err := http.NewRequest(http.MethodPost, "http://a.test/waxwing/inbox", bytes.NewReader(body))
	require.NoError(p.w.t, err)
	req.Header.Set("Content-Type", federation.ContentType)
	p.exchange(req, body, http.StatusAccepted)
}

// exchange signs a request to a.test and sends it.
func (p *plainServer) exchange(req *http.Request, body []byte, want int) []byte {
	require.NoError(p.w.t, httpsig.Sign(req, body, p.actor+"#main-key", p.key, time.Now()))
	req.Host, req.URL.Host = "a.test", p.w.hosts["a.test"]
	req.Header.Del("Host")
	res, err := http.DefaultClient.Do(req)
	require.NoError(p.w.t, err)
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	require.NoError(p.w.t, err)
	require.Equal(p.w.t, want, res.StatusCode, string(answer))
	return answer
}
