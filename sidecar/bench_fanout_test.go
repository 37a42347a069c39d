package sidecar_test

import (
	"bytes"
	"fmt"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/mls"
)

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
