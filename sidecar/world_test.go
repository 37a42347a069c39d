package sidecar_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/federation"
	"github.com/waxwing-dm/waxwing/internal/clientapi"
	"github.com/waxwing-dm/waxwing/internal/problem"
	"github.com/waxwing-dm/waxwing/internal/receipt"
	"github.com/waxwing-dm/waxwing/internal/safehttp"
	"github.com/waxwing-dm/waxwing/keydir"
	"github.com/waxwing-dm/waxwing/mls"
	"github.com/waxwing-dm/waxwing/sidecar"
	"github.com/waxwing-dm/waxwing/transparency"
)

var ctx = context.Background()

// A world has sidecars that reach each other by real HTTP on loopback, and one clock.
type world struct {
	t     testing.TB
	hosts map[string]string

	mu      sync.Mutex
	clients []*safehttp.Client
	offset  time.Duration
	stands  time.Time // where the clock was stopped, if it was
	logged  bytes.Buffer
	quiet   bool // what is logged is not kept
}

func newWorld(t testing.TB) *world { return &world{t: t, hosts: map[string]string{}} }

func (w *world) now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.stands.IsZero() {
		return w.stands.Add(w.offset)
	}
	return time.Now().Add(w.offset)
}

// stopClock makes time pass by advance alone: a busy machine does not run into limits of seconds.
func (w *world) stopClock() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stands = time.Now()
}

func (w *world) advance(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.offset += d
}

// Write collects what all sidecars log.
func (w *world) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.quiet {
		return len(b), nil
	}
	return w.logged.Write(b)
}

func (w *world) logs() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.logged.String()
}

func (w *world) http() *safehttp.Client {
	c := safehttp.New(safehttp.Config{Hosts: w.hosts})
	w.mu.Lock()
	defer w.mu.Unlock()
	w.clients = append(w.clients, c)
	return c
}

// hangUp closes connections to whoever is not there any more; a call on one would fail before the client notices.
func (w *world) hangUp() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.clients {
		c.CloseIdle()
	}
}

// A box is one sidecar with its folder and its address, through several lives.
type box struct {
	*sidecar.Sidecar
	w        *world
	host     string
	instance string
	dir      string
	listener net.Listener
	served   chan error
	wrap     func(http.RoundTripper) http.RoundTripper
	policy   *transparency.Policy
	observer sidecar.Observer

	connections int    // that it takes at once; 0: as many as usual
	behind      string // the header by which a proxy says who calls
}

func (w *world) box(host string) *box {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(w.t, err)
	w.hosts[host] = l.Addr().String()
	return &box{w: w, host: host, instance: "http://" + host, dir: filepath.Join(w.t.TempDir(), host), listener: l}
}

// start opens and serves. All boxes of a world are made before the first is started.
func (b *box) start() *box { return b.restart(nil) }

// restart is start at another pace.
func (b *box) restart(pace func(*sidecar.Sidecar)) *box {
	t := b.w.t
	if b.listener == nil {
		var err error
		b.listener, err = net.Listen("tcp", b.w.hosts[b.host])
		require.NoError(t, err)
	}
	s, err := sidecar.Open(sidecar.Config{
		Instance: b.instance, DataDir: b.dir, Hosts: b.w.hosts, Now: b.w.now, WrapTransport: b.wrap, Witnesses: b.policy, Observer: b.observer, MaxConnections: b.connections, ClientAddressHeader: b.behind,
		Log: slog.New(slog.NewTextHandler(b.w, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	require.NoError(t, err)
	if s.Hurry(); pace != nil {
		pace(s)
	}
	b.Sidecar, b.served = s, make(chan error, 1)
	go func(l net.Listener) { b.served <- s.Serve(ctx, l) }(b.listener)
	t.Cleanup(b.stop)
	return b
}

func (b *box) stop() {
	if b.Sidecar == nil {
		return
	}
	closed, served := b.Close(), <-b.served
	b.w.hangUp()
	b.Sidecar, b.listener = nil, nil // also if one of these fails: a second stop would wait for ever
	require.NoError(b.w.t, closed)
	require.NoError(b.w.t, served)
}

func (b *box) crash() {
	b.Kill()
	<-b.served
	b.w.hangUp()
	b.Sidecar, b.listener = nil, nil
}

// rows counts what the sidecar has written down, table by table.
func (b *box) rows() map[string]int {
	db, err := sql.Open("sqlite3", "file:"+filepath.Join(b.dir, "waxwingd.db")+"?_query_only=true")
	require.NoError(b.w.t, err)
	defer db.Close()
	counts := map[string]int{}
	for _, table := range []string{"log_entry", "hub_group", "hub_event", "account", "device", "key_package", "key_package_seen", "last_resort",
		"mailbox", "sent", "received", "outbox", "blob", "hub_writer", "hub_dispute", "hub_elsewhere", "hub_group_info", "hub_tell", "mirror_hub",
		"mirror_event", "acquaintance", "request", "blocked", "key_package_given"} {
		var n int
		require.NoError(b.w.t, db.QueryRow("SELECT count(*) FROM "+table).Scan(&n))
		counts[table] = n
	}
	return counts
}

// A device plays an agent: real keys and signatures, made-up ciphertext.
type device struct {
	*clientapi.Client
	box       *box
	name      string
	actor, id string
	token     string
	key       ed25519.PrivateKey
	account   ed25519.PrivateKey // the person's; shared by devices in these tests
}

func newKey(t testing.TB) ed25519.PrivateKey {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	return key
}

func (b *box) loginBody(name, code string, key ed25519.PrivateKey) clientapi.Login {
	at := uint64(b.w.now().UnixMilli())
	return clientapi.Login{
		Account: name, Code: code, SignatureKey: clientapi.Bytes(key.Public().(ed25519.PublicKey)), Time: at,
		Signature: ed25519.Sign(key, clientapi.LoginMessage(b.host, name, at)),
	}
}

func (b *box) anonymous() *clientapi.Client {
	return clientapi.New(b.instance+"/waxwing/v1", "", b.w.http())
}

func (b *box) login(name, code string) *device {
	key := newKey(b.w.t)
	in, err := b.anonymous().Login(ctx, b.loginBody(name, code, key))
	require.NoError(b.w.t, err)
	return &device{
		Client: clientapi.New(b.instance+"/waxwing/v1", in.Token, b.w.http()), box: b, name: name, actor: in.Actor, id: in.Device,
		token: in.Token, key: key, account: newKey(b.w.t),
	}
}

// person makes an account with one device that is in the directory, and that lets everybody in.
func (b *box) person(name string) *device {
	d := b.careful(name)
	require.NoError(b.w.t, d.AskStrangers(ctx, clientapi.FromEverybody))
	return d
}

// careful is person for one that asks of strangers what everybody asks who says nothing else.
func (b *box) careful(name string) *device {
	code, err := b.AddAccount(name)
	require.NoError(b.w.t, err)
	d := b.login(name, code)
	_, err = d.Publish(ctx, d.publication(transparency.KindFirst, nil, d))
	require.NoError(b.w.t, err)
	return d
}

// label of the device's actor, as a lookup proves it.
func (d *device) label() [32]byte {
	raw, err := d.Lookup(ctx, d.actor, 0)
	require.NoError(d.box.w.t, err)
	answer, err := transparency.ParseAnswer(raw)
	require.NoError(d.box.w.t, err)
	_, found, err := d.box.pin().Check(d.actor, answer, transparency.Terms{})
	require.NoError(d.box.w.t, err)
	return found.Label
}

// publication signs a list with these devices, after what is known of the actor.
func (d *device) publication(kind transparency.Kind, known *keydir.Record, devices ...*device) clientapi.Publication {
	c := keydir.Change{
		Kind: kind, Label: d.label(), List: keydir.DeviceList{Actor: d.actor}, Next: [32]byte(d.account.Public().(ed25519.PublicKey)),
	}
	for _, x := range devices {
		c.List.Devices = append(c.List.Devices, keydir.Device{SignatureKey: [32]byte(x.key.Public().(ed25519.PublicKey)), Added: 1})
	}
	if len(devices) == 2 && bytes.Compare(c.List.Devices[0].SignatureKey[:], c.List.Devices[1].SignatureKey[:]) > 0 {
		c.List.Devices[0], c.List.Devices[1] = c.List.Devices[1], c.List.Devices[0]
	}
	_, _ = rand.Read(c.Opening[:])
	var previous *transparency.Statement
	if known != nil {
		previous = &known.Statement
	}
	statement, content := c.Sign(previous, d.account, uint64(d.box.w.now().UnixMilli()))
	return clientapi.Publication{Statement: statement.Marshal(), Opening: c.Opening[:], Content: content}
}

// keyPackage makes a real one; change spoils it.
func (d *device) keyPackage(lastResort bool, change ...func(*mls.KeyPackageParams)) []byte {
	signer, err := mls.NewSignatureKey(mls.X25519AES128GCMSHA256Ed25519, d.key.Seed())
	require.NoError(d.box.w.t, err)
	now := uint64(d.box.w.now().Unix())
	p := mls.KeyPackageParams{
		Suite: mls.X25519AES128GCMSHA256Ed25519, Signer: signer, Credential: mls.BasicCredential([]byte(d.actor)),
		Lifetime: mls.Lifetime{NotBefore: now - 60, NotAfter: now + 30*24*3600}, LastResort: lastResort,
	}
	for _, f := range change {
		f(&p)
	}
	secret, err := mls.NewKeyPackage(rand.Reader, p)
	require.NoError(d.box.w.t, err)
	return secret.KeyPackage().Marshal()
}

func opaque(b []byte) []byte {
	switch n := len(b); {
	case n < 1<<6:
		return append([]byte{byte(n)}, b...)
	case n < 1<<14:
		return append(binary.BigEndian.AppendUint16(nil, uint16(n)|1<<14), b...)
	default:
		return append(binary.BigEndian.AppendUint32(nil, uint32(n)|2<<30), b...)
	}
}

// ciphertext is a PrivateMessage as far as a server can see.
func ciphertext(groupID []byte, epoch uint64, content mls.ContentType, text string) []byte {
	m := append([]byte{0, 1, 0, byte(mls.WirePrivateMessage)}, opaque(groupID)...)
	m = append(binary.BigEndian.AppendUint64(m, epoch), byte(content))
	m = append(m, opaque([]byte("fence"))...)
	m = append(m, opaque([]byte("sender"))...)
	return append(m, opaque([]byte(text))...)
}

// welcome is a Welcome as far as a server can see.
func welcome(text string) []byte {
	secret := append(opaque([]byte("ref")), append(opaque([]byte("kem")), opaque([]byte("secret"))...)...)
	return append(append([]byte{0, 1, 0, byte(mls.WireWelcome), 0, 1}, opaque(secret)...), opaque([]byte(text))...)
}

// A room is a conversation: its tickets, and where it stands.
type room struct {
	t       testing.TB
	groupID []byte
	url     string
	tickets []ed25519.PrivateKey // by epoch
}

func (d *device) open() *room {
	r := &room{t: d.box.w.t, groupID: make([]byte, 32)}
	_, _ = rand.Read(r.groupID)
	o, err := d.OpenConversation(ctx, r.groupID, r.ticket(0))
	require.NoError(r.t, err)
	require.Equal(r.t, receipt.ConversationURL(d.box.instance, r.groupID), o.Conversation)
	r.url = o.Conversation
	return r
}

func (r *room) ticket(epoch uint64) []byte {
	for uint64(len(r.tickets)) <= epoch {
		r.tickets = append(r.tickets, newKey(r.t))
	}
	return r.tickets[epoch].Public().(ed25519.PublicKey)
}

func (r *room) commit(epoch uint64, text string, to []string, welcomeTo ...string) clientapi.Commit {
	c := clientapi.Commit{
		ID: uuid.NewString(), Conversation: r.url, Term: 1, Epoch: epoch, Commit: ciphertext(r.groupID, epoch, mls.ContentCommit, text),
		Ticket: r.ticket(epoch + 1), To: to, WelcomeTo: welcomeTo,
	}
	if len(welcomeTo) > 0 {
		c.Welcome = welcome(text)
	}
	c.Signature = receipt.SignSubmit(r.tickets[epoch], r.groupID, 1, epoch, c.Commit, [32]byte(c.Ticket))
	return c
}

func (r *room) message(text string, to ...string) clientapi.Message {
	return clientapi.Message{ID: uuid.NewString(), Conversation: r.url, Message: ciphertext(r.groupID, 0, mls.ContentApplication, text), To: to}
}

// await reads the mailbox until n items are there.
func (d *device) await(n int) []clientapi.Item {
	d.box.w.t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for time.Now().Before(deadline) {
		m, err := d.Mailbox(ctx, 0, 100, 2*time.Second)
		require.NoError(d.box.w.t, err)
		if len(m.Items) >= n {
			require.Len(d.box.w.t, m.Items, n)
			return m.Items
		}
		if len(m.Items) > 0 {
			time.Sleep(10 * time.Millisecond)
		}
	}
	d.box.w.t.Fatalf("%s has not got %d items", d.actor, n)
	return nil
}

func (d *device) waiting() int {
	m, err := d.Mailbox(ctx, 0, 100, 0)
	require.NoError(d.box.w.t, err)
	return len(m.Items)
}

func requireProblem(t testing.TB, err error, status int, code string) *problem.Problem {
	t.Helper()
	var p *problem.Problem
	require.ErrorAs(t, err, &p)
	require.Equal(t, fmt.Sprint(status, " ", code), fmt.Sprint(p.Status, " ", p.Code), p.Detail)
	require.NotEmpty(t, p.Detail)
	return p
}

// two is a world with a.test and b.test.
func two(t testing.TB) (w *world, a, b *box) {
	w = newWorld(t)
	a, b = w.box("a.test"), w.box("b.test")
	return w, a.start(), b.start()
}

func isConflict(err error) (*clientapi.Conflict, bool) {
	var c *clientapi.Conflict
	return c, errors.As(err, &c)
}

func texts(items []clientapi.Item) (out []string) {
	for _, i := range items {
		parts := strings.Split(string(i.Message), "sender")
		out = append(out, parts[len(parts)-1][1:])
	}
	return out
}

func (b *box) hubKey() [32]byte {
	_, body := b.get(federation.PathDiscovery)
	d, err := federation.ParseDiscovery(body, b.instance)
	require.NoError(b.w.t, err)
	return [32]byte(d.Hub.Key)
}

// get asks a box as anybody could, without a signature.
func (b *box) get(path string) (*http.Response, []byte) {
	b.w.t.Helper()
	return b.request(http.MethodGet, path, nil, nil)
}

// asDevice calls the client API without a client.
func (b *box) asDevice(d *device, method, path string, body io.Reader, contentType string) (*http.Response, []byte) {
	b.w.t.Helper()
	return b.request(method, "/waxwing/v1"+path, body, http.Header{"Authorization": {"Bearer " + d.token}, "Content-Type": {contentType}})
}

func (b *box) request(method, path string, body io.Reader, header http.Header) (*http.Response, []byte) {
	b.w.t.Helper()
	req, err := http.NewRequest(method, "http://"+b.w.hosts[b.host]+path, body)
	require.NoError(b.w.t, err)
	req.Host = b.host
	maps.Copy(req.Header, header)
	res, err := http.DefaultClient.Do(req)
	require.NoError(b.w.t, err)
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	require.NoError(b.w.t, err)
	return res, data
}
