package witnessing_test

import (
	"net/http"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/transparency"
)

// BenchmarkAddCheckpoint is one more entry with both cosignatures: two durable writes of the state, one of the entry, one request to
// the log, all on loopback.
func BenchmarkAddCheckpoint(b *testing.B) {
	w, a, l := benchWorld(b)
	a.pad(1)
	require.Equal(b, "wa", l.cosign(a, 0))
	for b.Loop() {
		w.advance(1)
		from := a.size()
		a.pad(int(from) + 1)
		got := l.post(a.body(from))
		if got.status != http.StatusOK {
			b.Fatal(got.status)
		}
	}
	b.StopTimer()
	require.Equal(b, "wa", l.cosign(a, a.size()))
}

// BenchmarkLabels says what a label costs: time to audit it for the first time and after a restart, and memory.
func BenchmarkLabels(b *testing.B) {
	const labels = 20_000
	w, a, l := benchWorld(b)
	for n := range labels {
		s := transparency.Statement{Kind: first, Time: 1, Label: [32]byte{byte(n), byte(n >> 8), byte(n >> 16)}, AuthNext: [32]byte{1}}
		s.Sign(account(1), nil)
		a.add(s)
	}
	// For the audit alone: the hashes that the log computes while it grows are not the auditor's.
	for b.Loop() {
		start := time.Now()
		l.post(a.body(0))
		l.eventually(func() bool { return l.cosign(a, labels) == "wa" })
		b.ReportMetric(float64(time.Since(start).Nanoseconds())/labels, "ns/label")
		l.end()
		before := heap()
		start = time.Now()
		l = w.start()
		l.eventually(func() bool { return l.cosign(a, labels) == "wa" })
		b.ReportMetric(float64(time.Since(start).Nanoseconds())/labels, "restart-ns/label")
		b.ReportMetric(float64(heap()-before)/labels, "B/label")
	}
}

func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func benchWorld(b *testing.B) (*world, *instance, *life) {
	w := newWorld(b)
	a := w.instance("a.example")
	l := w.start()
	l.watch(a)
	return w, a, l
}
