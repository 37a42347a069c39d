package sidecar_test

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/mls"
)

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
