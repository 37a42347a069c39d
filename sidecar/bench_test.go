package sidecar_test

import (
	"bufio"
	"bytes"
	"database/sql"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/internal/sqlite"
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
