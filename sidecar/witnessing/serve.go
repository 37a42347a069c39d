package witnessing

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/waxwing-dm/waxwing/internal/problem"
)

const (
	headerTime = 5 * time.Second
	readTime   = 20 * time.Second
	writeTime  = 30 * time.Second
	idleTime   = 2 * time.Minute
	maxHeaders = 16 << 10
	drainTime  = 10 * time.Second
	maxAtOnce  = 256 // requests, of at most 68 KiB
)

// Handler has the routes for a host that serves nothing else. Beyond 256 requests at once it answers 503.
func (w *Witnessing) Handler() http.Handler {
	mux := http.NewServeMux()
	for _, route := range Routes {
		mux.Handle(route, w)
	}
	room := make(chan struct{}, maxAtOnce)
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("X-Content-Type-Options", "nosniff")
		select {
		case room <- struct{}{}:
			defer func() { <-room }()
			mux.ServeHTTP(rw, r)
		default:
			p := problem.New(http.StatusServiceUnavailable, "busy", "too much is coming in; try again")
			p.RetryAfter = 10
			problem.Write(rw, p)
		}
	})
}

// Serve runs and answers calls on the listener until ctx ends; then it takes no more calls, lets those that run come to their end,
// and returns nil.
func (w *Witnessing) Serve(ctx context.Context, l net.Listener) error {
	server := &http.Server{
		Handler: w.Handler(), ReadHeaderTimeout: headerTime, ReadTimeout: readTime, WriteTimeout: writeTime, IdleTimeout: idleTime,
		MaxHeaderBytes: maxHeaders, ErrorLog: slog.NewLogLogger(w.log.Handler(), slog.LevelWarn),
	}
	work, stop := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		w.Run(work)
	}()
	defer func() {
		stop()
		<-ended
	}()
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(l) }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTime)
	defer cancel()
	if err := server.Shutdown(drain); err != nil {
		return server.Close() // who has not finished by now is cut off
	}
	return nil
}
