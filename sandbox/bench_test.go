package sandbox_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/agent/client"
	"github.com/waxwing-dm/waxwing/sandbox"
)

// computed is what this process has computed, however many others share the machine.
func computed() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkTalk is what a person waits for: from the call of alice's local API to the event at that of bob, who is at another instance. It is
// encrypted and decrypted, and durable on four disks; everything runs in this process, with every byte on the servers' connections written
// down. One message is underway at a time, or alice sends as fast as her agent takes them. An instance takes a thousand messages of one
// person at once, and then twenty in a second: -benchtime 400x stays below.
func BenchmarkTalk(b *testing.B) {
	for name, atOnce := range map[string]bool{"one-at-a-time": false, "at-once": true} {
		b.Run(name, func(b *testing.B) {
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			s, err := sandbox.Start(ctx, b.TempDir())
			require.NoError(b, err)
			defer s.Close()
			alice, bob := s.Person("alice"), s.Person("bob")
			began, took, arrived := make([]time.Time, b.N), make([]time.Duration, b.N), make(chan int, b.N+1)
			var following sync.WaitGroup
			following.Go(func() {
				_ = bob.Follow(ctx, 0, func(e client.Event) error {
					var i int
					if e.Type != "message.received" || e.Message == nil {
						return nil
					}
					if _, err := fmt.Sscanf(e.Message.Text, "number %d ", &i); err == nil && i >= 0 {
						took[i] = time.Since(began[i])
					}
					arrived <- i
					return nil
				})
			})
			sent, err := alice.Send(ctx, uuid.NewString(), client.Outgoing{To: []string{bob.Handle}, Text: "number -1 "})
			require.NoError(b, err)
			<-arrived
			before := computed()
			b.ResetTimer()
			for i := range b.N {
				began[i] = time.Now()
				_, err := alice.Send(ctx, uuid.NewString(), client.Outgoing{
					Conversation: sent.Conversation, Text: fmt.Sprintf("number %d %s", i, strings.Repeat("x", 100)),
				})
				require.NoError(b, err)
				if !atOnce {
					<-arrived
				}
			}
			for range b.N {
				if atOnce {
					<-arrived
				}
			}
			b.StopTimer()
			slices.Sort(took)
			b.ReportMetric(float64((computed()-before).Microseconds())/float64(b.N), "µs-cpu")
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
			b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "ms-p50")
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "ms-p99")
			cancel()
			following.Wait()
		})
	}
}
