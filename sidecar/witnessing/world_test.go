package witnessing_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/waxwing-dm/waxwing/sidecar/witnessing"
	"github.com/waxwing-dm/waxwing/transparency"
	"github.com/waxwing-dm/waxwing/transparency/prefixtree"
	"github.com/waxwing-dm/waxwing/transparency/vrf"
)

var ctx = context.Background()

const noon = int64(1_700_000_000)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func seed(n byte) []byte                { return bytes.Repeat([]byte{n}, 32) }
func account(n byte) ed25519.PrivateKey { return ed25519.NewKeyFromSeed(seed(n)) }

func public(key ed25519.PrivateKey) [32]byte { return [32]byte(key.Public().(ed25519.PublicKey)) }

// A forger is a log that writes down whatever it is told, and signs it.
type forger struct {
	signer note.Signer
	key    string
	raw    [][]byte
	stored []tlog.Hash
	tree   prefixtree.Tree
}

func (f *forger) ReadHashes(indexes []int64) (out []tlog.Hash, err error) {
	for _, i := range indexes {
		out = append(out, f.stored[i])
	}
	return out, nil
}

func (f *forger) append(raw []byte) {
	f.stored = append(f.stored, must(tlog.StoredHashes(int64(len(f.raw)), raw, f))...)
	f.raw = append(f.raw, raw)
}

// add appends a statement with the root of the map that it makes.
func (f *forger) add(s transparency.Statement) {
	if s.Kind != transparency.KindPad {
		f.tree = f.tree.Put(s.Label, s.MapValue())
	}
	f.append(transparency.Entry{Statement: s, MapRoot: f.tree.Root()}.Marshal())
}

func (f *forger) pad(size int) {
	for len(f.raw) < size {
		f.add(transparency.Statement{Kind: transparency.KindPad, Time: uint64(len(f.raw))})
	}
}

// said is what label n's account key says; each promises itself.
func said(kind transparency.Kind, n byte, seq uint32, key byte) transparency.Statement {
	s := transparency.Statement{Kind: kind, Time: 1, Label: [32]byte{n}, Seq: seq, AuthNext: transparency.AccountKeyHash(public(account(key))), Commitment: [32]byte{n}}
	s.Sign(account(key), nil)
	return s
}

func (f *forger) size() int64 { return int64(len(f.raw)) }

func (f *forger) checkpoint() []byte {
	c := transparency.Checkpoint{Origin: f.signer.Name(), Size: f.size(), Root: must(tlog.TreeHash(f.size(), f))}
	return must(transparency.SignCheckpoint(c, f.signer))
}

// body of a request to go on from a size.
func (f *forger) body(from int64) []byte {
	b := fmt.Appendf(nil, "old %d\n", from)
	if from > 0 && from < f.size() {
		for _, h := range must(tlog.ProveTree(f.size(), from, f)) {
			b = fmt.Appendf(b, "%s\n", h)
		}
	}
	return append(append(b, '\n'), f.checkpoint()...)
}

func (f *forger) Tile(_ context.Context, path string) ([]byte, error) {
	rest := strings.Replace(strings.TrimPrefix(path, "tile/"), "entries/", "data/", 1)
	t, err := tlog.ParseTilePath("tile/8/" + rest)
	if err != nil {
		return nil, err
	}
	if (t.N*256+int64(t.W))<<(8*max(t.L, 0)) > f.size() {
		return nil, errors.New("beyond the head")
	}
	if t.L >= 0 {
		return tlog.ReadTileData(t, f)
	}
	var b []byte
	for _, e := range f.raw[t.N*256:][:t.W] {
		b = append(binary.BigEndian.AppendUint16(b, uint16(len(e))), e...)
	}
	return b, nil
}

type tiled interface {
	Tile(ctx context.Context, path string) ([]byte, error)
}

// An instance serves a discovery document and the tiles of a log.
type instance struct {
	*forger
	t    testing.TB
	url  string
	host string
	vrf  *vrf.PrivateKey

	mu    sync.Mutex
	named map[string]any // the document
	tiles tiled
	asked []string
	lie   func(path string, honest []byte) ([]byte, int)
	hold  chan struct{} // if there, nothing is answered before it is closed
}

func (i *instance) change(f func()) {
	i.mu.Lock()
	defer i.mu.Unlock()
	f()
}

func (i *instance) paths() []string {
	i.mu.Lock()
	defer i.mu.Unlock()
	return append([]string{}, i.asked...)
}

func newKeys(host string, n byte) (labels *vrf.PrivateKey, signer note.Signer, key string) {
	labels = must(vrf.NewPrivateKey(seed(n)))
	pub := labels.Public().Bytes()
	private, key, err := note.GenerateKey(bytes.NewReader(seed(n)), transparency.Origin(host, pub[:]))
	if err != nil {
		panic(err)
	}
	return labels, must(note.NewSigner(private)), key
}

func discovery(url, host string, labels *vrf.PrivateKey, key string) map[string]any {
	pub := labels.Public().Bytes()
	return map[string]any{"version": 1, "instance": url, "hub": map[string]any{"key": seed(1)}, "log": map[string]any{
		"origin": transparency.Origin(host, pub[:]), "key": key, "vrf": pub[:], "url": url + "/waxwing/log/",
	}}
}

func (i *instance) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	i.mu.Lock()
	i.asked = append(i.asked, r.URL.Path)
	hold, lie, tiles, named := i.hold, i.lie, i.tiles, i.named
	i.mu.Unlock()
	if r.URL.Path == "/.well-known/waxwing" {
		_ = json.NewEncoder(w).Encode(named)
		return
	}
	if hold != nil {
		select {
		case <-hold:
		case <-r.Context().Done():
			return
		}
	}
	data, err := tiles.Tile(ctx, strings.TrimPrefix(r.URL.Path, "/waxwing/log/"))
	status := 200
	if err != nil {
		status = 404
	}
	if lie != nil && err == nil {
		data, status = lie(r.URL.Path, data)
	}
	w.WriteHeader(status)
	_, _ = w.Write(data)
}

// A world has instances, one witness w.example, and a clock.
type world struct {
	t     testing.TB
	hosts map[string]string
	dir   string

	mu     sync.Mutex
	now    int64
	logged bytes.Buffer
}

func newWorld(t testing.TB) *world {
	return &world{t: t, hosts: map[string]string{}, dir: filepath.Join(t.TempDir(), "data"), now: noon}
}

func (w *world) clock() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return time.Unix(w.now, 0)
}

func (w *world) advance(seconds int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now += seconds
}

func (w *world) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.logged.Write(b)
}

func (w *world) logs() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.logged.String()
}

func (w *world) instance(host string) *instance {
	i := &instance{t: w.t, host: host, url: "http://" + host, forger: &forger{}}
	i.vrf, i.signer, i.key = newKeys(host, byte(len(w.hosts)+10))
	i.named, i.tiles = discovery(i.url, host, i.vrf, i.key), i.forger
	s := httptest.NewServer(i)
	w.t.Cleanup(s.Close)
	w.hosts[host] = s.Listener.Addr().String()
	return i
}

// A life of a witness, from opening to the end.
type life struct {
	*witnessing.Witnessing
	w      *world
	server *httptest.Server
	end    func()
}

func (w *world) config() witnessing.Config {
	return witnessing.Config{DataDir: w.dir, Host: "w.example", Hosts: w.hosts, Now: w.clock, Log: slog.New(slog.NewTextHandler(w, nil))}
}

func (w *world) start(config ...func(*witnessing.Config)) *life {
	c := w.config()
	for _, f := range config {
		f(&c)
	}
	l := &life{Witnessing: must(witnessing.Open(c)), w: w}
	l.server = httptest.NewServer(l.Handler())
	running, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		l.Run(running)
	}()
	var once sync.Once
	l.end = func() {
		once.Do(func() {
			cancel()
			<-ended
			l.server.Close()
			require.NoError(w.t, l.Close())
		})
	}
	w.t.Cleanup(l.end)
	return l
}

// watch returns when the log of the instance is pinned.
func (l *life) watch(i *instance) {
	l.w.t.Helper()
	before := l.document().Logs
	l.eventually(func() bool {
		l.Watch(i.url)
		return l.document().Logs > before
	})
}

func (l *life) eventually(f func() bool) {
	l.w.t.Helper()
	require.Eventually(l.w.t, f, 20*time.Second, 2*time.Millisecond)
}

func (l *life) document() witnessing.Document {
	res := must(http.Get(l.server.URL + "/waxwing/witness/"))
	defer res.Body.Close()
	require.Equal(l.w.t, "application/json", res.Header.Get("Content-Type"))
	var d witnessing.Document
	require.NoError(l.w.t, json.NewDecoder(res.Body).Decode(&d))
	return d
}

type answer struct {
	status int
	header http.Header
	body   []byte
}

func (l *life) post(body []byte) answer {
	return read(http.Post(l.server.URL+"/waxwing/witness/add-checkpoint", "text/plain", bytes.NewReader(body)))
}

func read(res *http.Response, err error) answer {
	if err != nil {
		return answer{status: -1, body: []byte(err.Error())}
	}
	defer res.Body.Close()
	return answer{res.StatusCode, res.Header, must(io.ReadAll(res.Body))}
}

func (l *life) newest(i *instance) answer {
	h := sha256.Sum256([]byte(i.signer.Name()))
	return read(http.Get(fmt.Sprintf("%s/waxwing/witness/%x/checkpoint", l.server.URL, h)))
}

// signed says whose verified lines an answer has: "w", "a", or both.
func (l *life) signed(i *instance, checkpoint []byte, a answer) (who string) {
	l.w.t.Helper()
	require.Equal(l.w.t, 200, a.status, "%s", a.body)
	require.Equal(l.w.t, "text/plain; charset=utf-8", a.header.Get("Content-Type"))
	witness, auditor := l.Keys()
	keys := map[string]*transparency.CosignerKey{"w": must(transparency.ParseCosignerKey(witness[0])), "a": must(transparency.ParseCosignerKey(auditor[0]))}
	_, n, err := transparency.OpenCosigned(append(bytes.Clone(checkpoint), a.body...), []note.Verifier{must(note.NewVerifier(i.key))},
		[]*transparency.CosignerKey{keys["w"], keys["a"]})
	require.NoError(l.w.t, err)
	for _, one := range []string{"w", "a"} {
		if at, ok := keys[one].Time(n); ok {
			require.Equal(l.w.t, l.w.clock().Unix(), at)
			who += one
		}
	}
	return who
}

// cosign sends the newest checkpoint of a log and says who signed it.
func (l *life) cosign(i *instance, from int64) string {
	l.w.t.Helper()
	return l.signed(i, i.checkpoint(), l.post(i.body(from)))
}

// anotherKey of a log.
func anotherKey(origin string) (note.Signer, string) {
	private, public, err := note.GenerateKey(bytes.NewReader(seed(123)), origin)
	if err != nil {
		panic(err)
	}
	return must(note.NewSigner(private)), public
}
