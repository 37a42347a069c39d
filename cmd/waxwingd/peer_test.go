package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/federation"
	"github.com/waxwing-dm/waxwing/federation/httpsig"
	"github.com/waxwing-dm/waxwing/internal/clientapi"
	"github.com/waxwing-dm/waxwing/internal/receipt"
)

// A peer is another instance: real keys and documents, and any request it can think of.
type peer struct {
	t        testing.TB
	instance string
	keys     map[string]*rsa.PrivateKey // by actor
	docs     map[string][]byte          // by path
	address  string
	from     string // what a proxy would say that it calls from; "": none says it
}

func newPeer(t testing.TB, host string) *peer {
	p := &peer{t: t, instance: "http://" + host, keys: map[string]*rsa.PrivateKey{}, docs: map[string][]byte{}}
	discovery, err := json.Marshal(federation.NewDiscovery(p.instance, "no key", make([]byte, 32), make([]byte, 32)))
	require.NoError(t, err)
	p.docs[federation.PathDiscovery] = discovery
	for _, path := range []string{federation.PathActor, "/users/one", "/users/two"} {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		require.NoError(t, err)
		id := p.instance + path
		doc, err := federation.LocalActor{ID: id, Name: "x", Inbox: id + "/inbox", Shared: p.instance + "/inbox", Key: &key.PublicKey}.Document()
		require.NoError(t, err)
		p.docs[path], p.keys[id] = doc, key
	}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if doc, ok := p.docs[r.URL.Path]; ok {
			w.Header().Set("Content-Type", federation.ContentType)
			_, _ = w.Write(doc)
		} else if r.Method == http.MethodPost {
			w.WriteHeader(http.StatusAccepted)
		} else {
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(s.Close)
	p.address = strings.TrimPrefix(s.URL, "http://")
	return p
}

func (p *peer) one() string { return p.instance + "/users/one" }

// A delivery is a request before and after it is signed; tests spoil either.
type delivery struct {
	activity map[string]any
	raw      []byte // instead of the activity
	signer   string // "": nobody
	keyID    string // instead of the signer's
	at       time.Time
	after    func(*http.Request) // once it is signed
}

func (p *peer) delivery(conversation string, to ...string) *delivery {
	id := uuid.NewString()
	message := append([]byte{0, 1, 0, 2, 5}, "groupxxxxxxxx\x01\x05fence\x06sender\x04text"...) // a PrivateMessage as far as a server can see
	return &delivery{signer: p.one(), at: time.Now(), activity: map[string]any{
		"@context": "https://www.w3.org/ns/activitystreams", "id": p.instance + "/activities/" + id, "type": "Create", "actor": p.one(), "to": to,
		"object": map[string]any{
			"id": p.instance + "/objects/" + id, "type": []string{"Object", "PrivateMessage"}, "attributedTo": p.one(), "to": to,
			"mediaType": "message/mls", "encoding": "base64", "content": base64.StdEncoding.EncodeToString(message), "conversation": conversation,
		},
	}}
}

// wire is the delivery as bytes.
func (p *peer) wire(d *delivery) []byte {
	body := d.raw
	if body == nil {
		var err error
		body, err = json.Marshal(d.activity)
		require.NoError(p.t, err)
	}
	req, err := http.NewRequest(http.MethodPost, drained+federation.PathInbox, bytes.NewReader(body))
	require.NoError(p.t, err)
	req.Header.Set("Content-Type", federation.ContentType)
	if p.from != "" {
		req.Header.Set(saysWhoCalls, p.from)
	}
	if d.signer != "" {
		keyID := d.keyID
		if keyID == "" {
			keyID = federation.KeyID(d.signer)
		}
		require.NoError(p.t, httpsig.Sign(req, body, keyID, p.keys[d.signer], d.at))
	}
	if d.after != nil {
		d.after(req)
	}
	var b bytes.Buffer
	require.NoError(p.t, req.Write(&b))
	return b.Bytes()
}

func spoilt(d *delivery, spoil func(*delivery)) *delivery {
	spoil(d)
	return d
}

// saysWhoCalls is what the proxy in front of the process would use.
const saysWhoCalls = "X-Forwarded-For"

// A besieged process has alice in it, who knows one peer and no other.
type besieged struct {
	*process
	alice        string // actor
	token        string
	conversation string
}

// besiege starts a process that can reach some peers.
func besiege(t testing.TB, known *peer, peers ...*peer) *besieged {
	reach := map[string]string{}
	for _, p := range append(peers, known) {
		reach[strings.TrimPrefix(p.instance, "http://")] = p.address
	}
	text, err := json.Marshal(reach)
	require.NoError(t, err)
	data := filepath.Join(t.TempDir(), "data")
	b := &besieged{process: startProcess(t, data, hostsOfProgram+"="+string(text), "WAXWINGD_CLIENT_ADDRESS_HEADER="+saysWhoCalls), alice: drained + federation.PathUsers + "alice"}
	b.token = b.login(data)
	group := bytes.Repeat([]byte{7}, 32)
	_, err = b.client(b.token).OpenConversation(context.Background(), group, ticket(t))
	require.NoError(t, err)
	b.conversation = receipt.ConversationURL(drained, group)
	message := append(append([]byte{0, 1, 0, 2, 32}, group...), "\x00\x00\x00\x00\x00\x00\x00\x00\x01\x05fence\x06sender\x04text"...)
	require.NoError(t, b.client(b.token).Send(context.Background(), clientapi.Message{
		ID: uuid.NewString(), Conversation: b.conversation, Message: message, To: []string{known.one()},
	}))
	return b
}

// memory of the process in bytes, as the kernel counts it: VmRSS is what is resident now, VmHWM the most there ever was.
func (p *process) memory(what string) (bytes int64) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.Process.Pid))
	require.NoError(p.t, err)
	for line := range strings.Lines(string(status)) {
		if _, err := fmt.Sscanf(line, what+": %d kB", &bytes); err == nil {
			return bytes << 10
		}
	}
	p.t.Fatalf("no %s", what)
	return 0
}

// computed is how long the process has computed, in hundredths of a second as the kernel counts.
func (p *process) computed() time.Duration {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.Process.Pid))
	require.NoError(p.t, err)
	_, after, _ := strings.Cut(string(stat), ") ")
	var user, system int64
	_, err = fmt.Sscan(strings.Join(strings.Fields(after)[11:13], " "), &user, &system)
	require.NoError(p.t, err)
	return time.Duration(user+system) * 10 * time.Millisecond
}
