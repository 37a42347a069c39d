package main

import (
	"bufio"
	"context"
	"crypto/sha256"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/federation"
	"github.com/waxwing-dm/waxwing/sidecar/store"
)

const (
	idleMailboxes = 10_000
	openStreams   = 1000
	idleMemory    = 256 << 20 // what this project wants of itself, with both
)

// populate makes accounts of one device each, with a message that waits. An account's key is never used here, and so is none.
func populate(b *testing.B, dir string) {
	st, err := store.Open(dir)
	require.NoError(b, err)
	defer st.Close()
	ctx := context.Background()
	var all sync.WaitGroup
	for k := range 64 {
		all.Go(func() {
			for i := k; i < idleMailboxes; i += 64 {
				actor, hash := drained+federation.PathUsers+resident(i), sha256.Sum256([]byte(tokenOf(i)))
				err := st.Accounts.Add(ctx, store.Account{Actor: actor, RSAKey: []byte("none"), CodeHash: []byte("none")})
				if err == nil {
					err = st.Accounts.AddDevice(ctx, store.Device{Actor: actor, ID: "device", SignatureKey: make([]byte, 32)}, hash[:])
				}
				if err == nil {
					_, err = st.Mailboxes.Accept(ctx, store.Arrival{Activity: fmt.Sprint("https://b.example/", i), BodyHash: hash[:], Drops: []store.Drop{
						{Actor: actor, Item: store.Item{Sender: "https://b.example/users/x", Message: make([]byte, 1000)}},
					}})
				}
				if err != nil {
					b.Error(err)
				}
			}
		})
	}
	all.Wait()
}

func resident(i int) string { return fmt.Sprintf("resident%d", i) }
func tokenOf(i int) string  { return resident(i) + ".secret" }

// stream opens an event stream and reads its first line; what comes later is thrown away.
func (p *process) stream(i int, heard *sync.WaitGroup) error {
	conn, err := net.Dial("tcp", p.address)
	if err != nil {
		return err
	}
	p.t.Cleanup(func() { conn.Close() })
	if _, err := fmt.Fprintf(conn, "GET %s%s/messages/events HTTP/1.1\r\nHost: a.example\r\nAuthorization: Bearer %s\r\n\r\n", federation.PathUsers, resident(i), tokenOf(i)); err != nil {
		return err
	}
	answer := bufio.NewReaderSize(conn, 512)
	for {
		line, err := answer.ReadString('\n')
		switch {
		case err != nil:
			return err
		case strings.HasPrefix(line, "HTTP/1.1 ") && !strings.HasPrefix(line, "HTTP/1.1 200"):
			return fmt.Errorf("stream %d: %s", i, line)
		case strings.HasPrefix(line, ": hello"):
			heard.Add(1)
			go func() { // until a heartbeat has come
				defer heard.Done()
				for err, line := error(nil), ""; err == nil && line != ":\n"; {
					line, err = answer.ReadString('\n')
				}
			}()
			return nil
		}
	}
}

// BenchmarkIdle is what a process has resident with many mailboxes that nobody reads and many event streams on which nothing comes, after
// one heartbeat on each, beside the same process alone. It is measured once, whatever -benchtime says.
func BenchmarkIdle(b *testing.B) {
	allowed := syscall.Rlimit{}
	require.NoError(b, syscall.Getrlimit(syscall.RLIMIT_NOFILE, &allowed))
	allowed.Cur = allowed.Max
	require.NoError(b, syscall.Setrlimit(syscall.RLIMIT_NOFILE, &allowed))
	require.Greater(b, allowed.Cur, uint64(2*openStreams))

	dir := filepath.Join(b.TempDir(), "data")
	alone := startProcess(b, filepath.Join(b.TempDir(), "alone"))
	populate(b, dir)
	full := startProcess(b, dir)
	time.Sleep(2 * time.Second) // it has started, and swept
	before, mailboxes := alone.memory("VmRSS"), full.memory("VmRSS")
	var heard sync.WaitGroup
	for i := range openStreams {
		require.NoError(b, full.stream(i, &heard))
	}
	heard.Wait()
	streams := full.memory("VmRSS")
	fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", full.Process.Pid))
	require.NoError(b, err)
	require.Greater(b, len(fds), openStreams)
	mib := func(bytes int64) float64 { return float64(bytes) / (1 << 20) }
	b.ReportMetric(mib(before), "MiB-alone")
	b.ReportMetric(mib(mailboxes), "MiB-with-mailboxes")
	b.ReportMetric(mib(streams), "MiB-with-both")
	b.ReportMetric(float64(streams-mailboxes)/openStreams/1024, "KiB/stream")
	b.ReportMetric(float64(streams)/float64(before), "x-alone")
	b.ReportMetric(idleMemory/float64(streams), "x-limit")
	b.ReportMetric(0, "ns/op")
}
