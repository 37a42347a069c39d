// Package admin is what an operator and their machines see of a running sidecar, on an address of its own: whether the process lives, whether it
// is ready for calls and if not why, how it is doing, and numbers for Prometheus. It is up before the data folder is open, which may take a
// while, and until the last call has been answered.
//
//	GET /livez     200 while the process answers
//	GET /readyz    200, or 503 with the reasons: a [sidecar.Trouble] each
//	GET /status    a [Report]
//	GET /metrics   Prometheus
//
// Nothing here names a person, a conversation or a server; `waxwingd status` says it in words. Nothing can be changed here either. There is
// no login: the address is for loopback or a private network.
package admin

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/waxwing-dm/waxwing/sidecar"
)

// Sidecar is who is looked at.
type Sidecar interface {
	Status(ctx context.Context) sidecar.Status
}

// A status is looked up again after the longer of these.
const (
	keepAtLeast = 2 * time.Second
	keepTimes   = 20 // as long as it took
)

const (
	headerTime = 5 * time.Second
	totalTime  = 30 * time.Second
	idleTime   = 2 * time.Minute
)

// Admin is safe for concurrent use. It is the [sidecar.Observer] of the sidecar that it shows.
type Admin struct {
	metrics  *metrics
	version  string
	started  time.Time
	watched  atomic.Value // of type watched
	draining atomic.Bool

	mu    sync.Mutex // held while a status is made: whoever comes meanwhile waits for the same one
	last  sidecar.Status
	until time.Time
}

type watched struct{ Sidecar }

// Report is the body of /status.
type Report struct {
	Version string         `json:"version"`
	Started time.Time      `json:"started"`
	Ready   bool           `json:"ready"`
	Status  sidecar.Status `json:"sidecar"`
}

// New makes one that says of itself that the sidecar is starting.
func New(version string) *Admin {
	a := &Admin{version: version, started: time.Now()}
	a.metrics = newMetrics(version, a)
	return a
}

// Watch shows an open sidecar from now on.
func (a *Admin) Watch(s Sidecar) { a.watched.Store(watched{s}) }

// Drain says from now on that no more calls should come.
func (a *Admin) Drain() { a.draining.Store(true) }

// Report tells how the sidecar is doing, as of some seconds ago.
func (a *Admin) Report(ctx context.Context) Report {
	w, open := a.watched.Load().(watched)
	r := Report{Version: a.version, Started: a.started}
	if !open {
		r.Status.NotReady = []sidecar.Trouble{{Code: "starting", Detail: "the data folder is being opened"}}
		return r
	}
	r.Status = a.status(ctx, w)
	if a.draining.Load() && !has(r.Status.NotReady, "draining") {
		r.Status.NotReady = append([]sidecar.Trouble{{Code: "draining", Detail: "it is stopping"}}, r.Status.NotReady...)
	}
	r.Ready = len(r.Status.NotReady) == 0
	return r
}

func has(all []sidecar.Trouble, code string) bool {
	for _, t := range all {
		if t.Code == code {
			return true
		}
	}
	return false
}

func (a *Admin) status(ctx context.Context, s Sidecar) sidecar.Status {
	a.mu.Lock()
	defer a.mu.Unlock()
	start := time.Now()
	if start.Before(a.until) {
		return a.last
	}
	a.last = s.Status(context.WithoutCancel(ctx)) // for those who wait, too
	took := time.Since(start)
	a.until = time.Now().Add(max(keepAtLeast, keepTimes*took))
	return a.last
}

// Handler has the four routes.
func (a *Admin) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, map[string]bool{"alive": true}) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		report, status := a.Report(r.Context()), http.StatusOK
		if !report.Ready {
			status = http.StatusServiceUnavailable
		}
		answer(w, status, map[string]any{"ready": report.Ready, "reasons": report.Status.NotReady})
	})
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, r *http.Request) { answer(w, http.StatusOK, a.Report(r.Context())) })
	mux.Handle("GET /metrics", a.metrics.handler())
	return mux
}

func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the caller has gone away
}

// Serve answers on the listener until the context ends.
func (a *Admin) Serve(ctx context.Context, l net.Listener) error {
	server := &http.Server{Handler: a.Handler(), ReadHeaderTimeout: headerTime, ReadTimeout: totalTime, WriteTimeout: totalTime, IdleTimeout: idleTime}
	defer context.AfterFunc(ctx, func() { _ = server.Close() })()
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
