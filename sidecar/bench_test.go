package sidecar_test

import (
	"bufio"
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"database/sql"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/federation"
	"github.com/waxwing-dm/waxwing/federation/httpsig"
	"github.com/waxwing-dm/waxwing/internal/sqlite"
	"github.com/waxwing-dm/waxwing/mls"
)

// Beside a figure of a benchmark stands how many times that is of another one, measured here and now: of a part that it cannot do
// without, or of how others do it. Callers run on the same machine, and in the same process.
type reference struct {
	name  string
	value float64
}

// rate reports something of which more is better.
func rate(b *testing.B, got float64, unit string, others ...reference) {
	b.ReportMetric(got, unit)
	for _, o := range others {
		b.ReportMetric(got/o.value, "x-"+o.name)
	}
}

// computed is what this process has computed, however many others share the machine.
func computed() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// perSecond is how often that many at once can do something.
func perSecond(atOnce int, f func()) float64 {
	const lasts = 400 * time.Millisecond
	var done atomic.Int64
	var all sync.WaitGroup
	began := time.Now()
	for range atOnce {
		all.Go(func() {
			for time.Since(began) < lasts {
				f()
				done.Add(1)
			}
		})
	}
	all.Wait()
	return float64(done.Load()) / time.Since(began).Seconds()
}

// fullTransactions is how many durable transactions of one message there are in a second, one after the other.
func fullTransactions(b *testing.B) float64 {
	db, err := sqlite.Open(filepath.Join(b.TempDir(), "floor.db"), []string{"CREATE TABLE t (id INTEGER PRIMARY KEY, body BLOB) STRICT"})
	require.NoError(b, err)
	defer db.Close()
	body := make([]byte, 1000)
	return perSecond(1, func() {
		require.NoError(b, db.Update(ctx, func(tx *sql.Tx) error {
			_, err := tx.Exec("INSERT INTO t (body) VALUES (?)", body)
			return err
		}))
	})
}

// bareHandler reads bodies and answers.
func bareHandler(b *testing.B) (address string) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(http.StatusAccepted)
	}))
	b.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://")
}

// status reads an answer without making much of it.
func status(r *bufio.Reader) (code int, err error) {
	length, first := 0, true
	for {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return 0, err
		}
		text := bytes.TrimSpace(line)
		name, value, _ := bytes.Cut(text, []byte(":"))
		switch {
		case first:
			if code, first = 0, false; len(text) >= 12 {
				code, _ = strconv.Atoi(string(text[9:12]))
			}
		case len(text) == 0:
			_, err := r.Discard(length)
			return code, err
		case bytes.EqualFold(name, []byte("Content-Length")):
			length, _ = strconv.Atoi(string(bytes.TrimSpace(value)))
		}
	}
}

const callers = 16 // connections, each with one request at a time

// post sends requests over some connections; each gets the next when it has its answer.
func post(b *testing.B, address string, requests [][]byte) {
	var next atomic.Int64
	var all sync.WaitGroup
	for range callers {
		all.Go(func() {
			conn, err := net.Dial("tcp", address)
			if err != nil {
				b.Error(err)
				return
			}
			defer conn.Close()
			answers := bufio.NewReader(conn)
			for {
				i := int(next.Add(1)) - 1
				if i >= len(requests) {
					return
				}
				if _, err := conn.Write(requests[i]); err != nil {
					b.Error(err)
					return
				}
				if code, err := status(answers); code != http.StatusAccepted || err != nil {
					b.Errorf("request %d: %d %v", i, code, err)
					return
				}
			}
		})
	}
	all.Wait()
}

// neighbours are people who have all written in one conversation, and so are strangers to nobody there.
func (bx *box) neighbours(n int) (people []*device, r *room) {
	for i := range n {
		people = append(people, bx.person(fmt.Sprintf("person%d", i)))
	}
	r = people[0].open()
	for i, p := range people {
		require.NoError(bx.w.t, p.Send(ctx, r.message("hello", people[(i+1)%n].actor)))
	}
	return people, r
}

// A crew is instances that send much: each has a service actor with both kinds of key, in whose name its users' activities are signed.
type crew struct {
	peers []*peer
	ed    []ed25519.PrivateKey
}

func newCrew(w *world, n int) *crew {
	c := &crew{}
	for i := range n {
		p, key := w.peer(fmt.Sprintf("peer%d.test", i)), newKey(w.t)
		id := p.instance + federation.PathActor
		doc, err := federation.LocalActor{ID: id, Name: "x", Inbox: id + "/inbox", Shared: p.instance + "/inbox", Key: &p.keys[id].PublicKey,
			Ed25519: key.Public().(ed25519.PublicKey)}.Document()
		require.NoError(w.t, err)
		p.docs[federation.PathActor] = doc
		c.peers, c.ed = append(c.peers, p), append(c.ed, key)
	}
	return c
}

// delivery number i, as bytes, of one of many users.
func (c *crew) delivery(i int, to *device, r *room, rfc9421 bool) []byte {
	p := c.peers[i%len(c.peers)]
	d := p.delivery(to.actor)
	d.object()["conversation"] = r.url
	body, err := json.Marshal(d.activity)
	require.NoError(p.w.t, err)
	body = bytes.ReplaceAll(body, []byte(p.mallory()), fmt.Appendf(nil, "%s/users/u%d", p.instance, i/len(c.peers)%64))
	req, err := http.NewRequest(http.MethodPost, "http://a.test"+d.path, bytes.NewReader(body))
	require.NoError(p.w.t, err)
	req.Header.Set("Content-Type", d.contentType)
	service := p.instance + federation.PathActor
	if rfc9421 {
		err = httpsig.SignRFC9421(req, body, federation.Ed25519KeyID(service), c.ed[i%len(c.peers)], d.at)
	} else {
		err = httpsig.Sign(req, body, federation.KeyID(service), p.keys[service], d.at)
	}
	require.NoError(p.w.t, err)
	var raw bytes.Buffer
	require.NoError(p.w.t, req.Write(&raw))
	return raw.Bytes()
}

func (c *crew) deliveries(first, n int, people []*device, r *room, rfc9421 bool) [][]byte {
	all := make([][]byte, n)
	var working sync.WaitGroup
	for k := range runtime.NumCPU() {
		working.Go(func() {
			for i := k; i < n; i += runtime.NumCPU() {
				all[i] = c.delivery(first+i, people[(first+i)%len(people)], r, rfc9421)
			}
		})
	}
	working.Wait()
	return all
}

// BenchmarkInbox is an inbox over HTTP: signature, checks, a durable transaction, 202. Beside it stand the verification of such signatures alone
// on all cores, a handler that does nothing but read the same requests, and one durable transaction after the other.
func BenchmarkInbox(b *testing.B) {
	for name, rfc9421 := range map[string]bool{"ed25519-rfc9421": true, "rsa2048-cavage": false} {
		b.Run(name, func(b *testing.B) {
			w := newWorld(b)
			w.quiet = true
			a, c := w.box("a.test"), newCrew(w, 4)
			a.start()
			people, r := a.neighbours(8)
			warm := c.deliveries(0, len(c.peers), people, r, rfc9421)
			post(b, w.hosts["a.test"], warm) // the keys are fetched
			requests := c.deliveries(len(warm), b.N, people, r, rfc9421)
			verify := perSecond(runtime.NumCPU(), verification(b, rfc9421))
			bare, full := bareHandler(b), fullTransactions(b)
			began := time.Now()
			post(b, bare, requests)
			handler := float64(b.N) / time.Since(began).Seconds()
			before := computed()
			b.ResetTimer()
			post(b, w.hosts["a.test"], requests)
			b.StopTimer()
			b.ReportMetric(float64((computed()-before).Microseconds())/float64(b.N), "µs-cpu")
			require.Equal(b, b.N+len(warm), a.rows()["received"])
			rate(b, float64(b.N)/b.Elapsed().Seconds(), "POSTs/s", reference{"verify", verify}, reference{"handler", handler}, reference{"FULL", full})
			b.ReportMetric(float64(len(requests[0])), "bytes")
		})
	}
}

// verification of one signature of that kind, and nothing else.
func verification(b *testing.B, rfc9421 bool) func() {
	base := make([]byte, 300)
	if rfc9421 {
		key := newKey(b)
		public, signature := key.Public().(ed25519.PublicKey), ed25519.Sign(key, base)
		return func() {
			if !ed25519.Verify(public, base, signature) {
				b.Error("it does not verify")
			}
		}
	}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(b, err)
	sum := sha256.Sum256(base)
	signature, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, sum[:])
	require.NoError(b, err)
	return func() {
		if rsa.VerifyPKCS1v15(&key.PublicKey, crypto.SHA256, sum[:], signature) != nil {
			b.Error("it does not verify")
		}
	}
}

// A talk is somebody at a.test who writes to somebody at b.test.
type talk struct {
	from, to *device
	room     *room
}

func talks(n int, a, b *box) (all []talk) {
	for i := range n {
		p := talk{from: a.person(fmt.Sprintf("from%d", i)), to: b.person(fmt.Sprintf("to%d", i))}
		for who, whom := range map[*device]*device{p.from: p.to, p.to: p.from} { // as people do, and so their sidecars know how the other takes signatures
			_, err := who.Lookup(ctx, whom.actor, 0)
			require.NoError(a.w.t, err)
		}
		p.room = p.from.open()
		require.NoError(a.w.t, p.to.Send(ctx, p.room.message("hello", p.from.actor)))
		require.NoError(a.w.t, p.from.Send(ctx, p.room.message("hello", p.to.actor)))
		p.to.await(1)
		require.NoError(a.w.t, p.to.Acknowledge(ctx, 1))
		all = append(all, p)
	}
	return all
}

// text of a message number i, as long as what people write, encrypted and padded.
func text(i int) string { return fmt.Sprintf("%08d%s", i, strings.Repeat("x", 512)) }

func (p talk) send(b *testing.B, i int) {
	m := p.room.message("", p.to.actor)
	m.Message = ciphertext(p.room.groupID, 0, mls.ContentApplication, text(i))
	if err := p.from.Send(ctx, m); err != nil {
		b.Error(err)
	}
}

// read takes messages out of the mailbox, as an agent does, until n have come.
func (p talk) read(b *testing.B, n int, came func(i int)) {
	var cursor uint64 = 1
	for got := 0; got < n; {
		m, err := p.to.Mailbox(ctx, cursor, 100, 20*time.Second)
		if err != nil || len(m.Items) == 0 {
			b.Errorf("%s waits for %d more: %v", p.to.name, n-got, err)
			return
		}
		for _, item := range m.Items {
			_, after, _ := bytes.Cut(item.Message, []byte("sender"))
			i, err := strconv.Atoi(string(after[2:10]))
			if err != nil {
				b.Error(err)
				return
			}
			came(i)
		}
		got, cursor = got+len(m.Items), m.Next
		if err := p.to.Acknowledge(ctx, cursor); err != nil {
			b.Error(err)
			return
		}
	}
}

// BenchmarkMessages takes messages from a device at one instance to a device at another: POST /messages, the outbox, the other's inbox,
// the mailbox, an answer to who waits there, and its acknowledgement, every step durable before the next. What a device computes is not in it
// (sandbox: BenchmarkTalk). One is underway at a time, or sixteen people send as fast as they are answered. The floors are durable transactions,
// and POSTs of the same size to a handler that does nothing.
func BenchmarkMessages(b *testing.B) {
	for name, atOnce := range map[string]bool{"one-at-a-time": false, "16-senders": true} {
		b.Run(name, func(b *testing.B) {
			w := newWorld(b)
			w.quiet = true
			a, c := w.box("a.test"), w.box("b.test")
			a.start()
			c.start()
			all := talks(16, a, c)
			full, bare := fullTransactions(b), barePosts(b)
			began, took := make([]time.Time, b.N), make([]time.Duration, b.N)
			arrived := make(chan int, b.N)
			var working sync.WaitGroup
			before := computed()
			b.ResetTimer()
			for k, t := range all {
				working.Go(func() {
					t.read(b, (b.N+len(all)-1-k)/len(all), func(i int) {
						took[i] = time.Since(began[i])
						arrived <- i
					})
				})
				if atOnce {
					working.Go(func() {
						for i := k; i < b.N; i += len(all) {
							began[i] = time.Now()
							t.send(b, i)
						}
					})
				}
			}
			for i := 0; i < b.N; i++ {
				if !atOnce {
					began[i] = time.Now()
					all[i%len(all)].send(b, i)
				}
				<-arrived
				if i%4096 == 4095 {
					w.advance(time.Minute) // or the receiver's budgets are used up
				}
			}
			working.Wait()
			b.StopTimer()
			b.ReportMetric(float64((computed()-before).Microseconds())/float64(b.N), "µs-cpu")
			slices.Sort(took)
			rate(b, float64(b.N)/b.Elapsed().Seconds(), "messages/s", reference{"FULL", full}, reference{"POST", bare})
			b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "ms-p50")
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "ms-p99")
		})
	}
}

// barePosts is how many requests of a message's size are answered in a second, one after the other.
func barePosts(b *testing.B) float64 {
	address := bareHandler(b)
	conn, err := net.Dial("tcp", address)
	require.NoError(b, err)
	defer conn.Close()
	request := fmt.Appendf(nil, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n%s", make([]byte, 1000))
	answers := bufio.NewReader(conn)
	return perSecond(1, func() {
		_, err := conn.Write(request)
		require.NoError(b, err)
		_, err = status(answers)
		require.NoError(b, err)
	})
}

// A meter counts what goes over the connections of a listener.
type meter struct {
	net.Listener
	in, out, posts atomic.Int64
}

func (m *meter) Accept() (net.Conn, error) {
	c, err := m.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return metered{c, m}, nil
}

type metered struct {
	net.Conn
	m *meter
}

func (c metered) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.m.in.Add(int64(n))
	c.m.posts.Add(int64(bytes.Count(p[:n], []byte("POST /waxwing/inbox "))))
	return n, err
}

func (c metered) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.m.out.Add(int64(n))
	return n, err
}

// BenchmarkFanOut sends messages to ten people at five instances and counts what goes over the sockets of those, beside the same with one POST
// for each recipient. All documents were fetched before.
func BenchmarkFanOut(b *testing.B) {
	w := newWorld(b)
	w.quiet = true
	a := w.box("a.test")
	var there []*box
	var meters []*meter
	for i := range 5 {
		bx := w.box(fmt.Sprintf("b%d.test", i))
		m := &meter{Listener: bx.listener}
		bx.listener = m
		there, meters = append(there, bx), append(meters, m)
	}
	a.start()
	alice := a.person("alice")
	r := alice.open()
	var to []string
	for _, bx := range there {
		bx.start()
		for _, name := range []string{"bob", "carol"} {
			p := bx.person(name)
			require.NoError(b, p.Send(ctx, r.message("hello", alice.actor)))
			to = append(to, p.actor)
		}
	}
	settle := func() {
		require.Eventually(b, func() bool { return a.rows()["outbox"] == 0 }, time.Minute, 5*time.Millisecond)
	}
	count := func() (posts, in, out float64) {
		for _, m := range meters {
			posts, in, out = posts+float64(m.posts.Swap(0)), in+float64(m.in.Swap(0)), out+float64(m.out.Swap(0))
		}
		return posts, in, out
	}
	send := func(i int, to ...string) {
		m := r.message("", to...)
		m.Message = ciphertext(r.groupID, 0, mls.ContentApplication, text(i))
		require.NoError(b, alice.Send(ctx, m))
		settle()
	}
	send(0, to...)
	count()
	b.ResetTimer()
	for i := range b.N {
		send(i, to...)
	}
	b.StopTimer()
	posts, in, out := count()
	for i := range b.N {
		for _, one := range to {
			send(i, one)
		}
	}
	each, eachIn, eachOut := count()
	n := float64(b.N)
	b.ReportMetric(posts/n, "POSTs/message")
	b.ReportMetric(in/n, "bytes/message")
	b.ReportMetric(out/n, "answer-bytes/message")
	b.ReportMetric(posts/each, "x-POSTs-of-one-each")
	b.ReportMetric((in+out)/(eachIn+eachOut), "x-bytes-of-one-each")
}
