package sidecar_test

import (
	"bufio"
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/federation"
	"github.com/waxwing-dm/waxwing/federation/httpsig"
)

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
