package sidecar

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/waxwing-dm/waxwing/federation"
	"github.com/waxwing-dm/waxwing/internal/clientapi"
	"github.com/waxwing-dm/waxwing/internal/problem"
	"github.com/waxwing-dm/waxwing/sidecar/witnessing"
)

const (
	headerTime = 5 * time.Second
	readTime   = time.Minute
	bodyTime   = 15 * time.Second // of calls that anybody can make
	writeTime  = (clientapi.MaxWait + 60) * time.Second
	idleTime   = 2 * time.Minute
	maxHeaders = 32 << 10 // with the request line; the server under us answers twice as much in its own words
	drainTime  = 10 * time.Second
	sweepEvery = time.Hour
)

const maxSmall = 64 << 10 // bytes of a body without messages in it

// Handler has all routes. It answers calls; delivery to other servers runs within Serve, and so does what makes a log with witnesses
// grow.
func (s *Sidecar) Handler() http.Handler {
	if s.collector == nil {
		if err := s.log.Release(s.abrupt); err != nil {
			s.logger.Error("the log cannot be written", "error", err)
		}
	}
	mux := http.NewServeMux()
	s.publicRoutes(mux)
	s.clientRoutes(mux)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Content-Type-Options", "nosniff")
		if headerSize(r) > maxHeaders {
			s.noRoute(w, problem.New(http.StatusRequestHeaderFieldsTooLarge, "headers_too_large", "headers have at most %d bytes here", maxHeaders))
		} else if at := r.URL.EscapedPath(); at != path.Clean(at) && at != witnessing.Path+"/" { // the mux would redirect, and in its own words
			s.noRoute(w, problem.New(http.StatusNotFound, "not_found", "there is nothing at this path"))
		} else if _, pattern := mux.Handler(r); pattern == "" {
			s.noRoute(w, otherMethods(w, r, mux))
		} else {
			mux.ServeHTTP(w, r)
		}
	})
}

// headerSize is about what a request's head has in bytes.
func headerSize(r *http.Request) int {
	size := len(r.Method) + len(r.RequestURI) + len(r.Host)
	for name, values := range r.Header {
		for _, v := range values {
			size += len(name) + len(v) + len(": \r\n")
		}
	}
	return size
}

// otherMethods says in our form what the mux would answer as text.
func otherMethods(w http.ResponseWriter, r *http.Request, mux *http.ServeMux) *problem.Problem {
	for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodDelete} {
		other := r.Clone(r.Context())
		other.Method = method
		if _, pattern := mux.Handler(other); pattern != "" {
			w.Header().Add("Allow", method)
		}
	}
	if w.Header().Get("Allow") != "" {
		return problem.New(http.StatusMethodNotAllowed, "method_not_allowed", "this path does not know that method")
	}
	return problem.New(http.StatusNotFound, "not_found", "there is nothing at this path")
}

func (s *Sidecar) noRoute(w http.ResponseWriter, p *problem.Problem) {
	problem.Write(w, p)
	s.answered(context.Background(), "none", p.Status, p.Code, 0)
}

func (s *Sidecar) publicRoutes(mux *http.ServeMux) {
	for pattern, h := range map[string]handler{
		"GET " + federation.PathDiscovery:                            s.discoveryDocument,
		"GET " + federation.PathWebFinger:                            s.webFinger,
		"GET " + federation.PathActor:                                s.serviceActor,
		"GET " + federation.PathActor + "/outbox":                    s.private,
		"GET " + federation.PathUsers + "{name}":                     s.actor,
		"GET " + federation.PathUsers + "{name}/inbox":               s.private,
		"GET " + federation.PathUsers + "{name}/key-packages":        s.fromServers(s.keyPackages),
		"GET " + federation.PathUsers + "{name}/key-packages/{hash}": s.fromServers(s.keyPackageDocument),
		"GET " + federation.PathUsers + "{name}/messages":            s.owned(s.readMessages),
		"GET " + federation.PathUsers + "{name}/messages/events":     s.owned(s.messageEvents),
		"GET " + federation.PathUsers + "{name}/outbox":              s.owned(s.readOutbox),
		"POST " + federation.PathUsers + "{name}/outbox":             s.owned(s.postOutbox),
		"POST " + federation.PathUsers + "{name}/inbox":              s.fromServers(s.receive),
		"POST " + federation.PathInbox:                               s.fromServers(s.receive),
		"POST " + federation.PathClaim:                               s.fromServers(s.answerPeerClaim),
		"GET " + federation.PathDirectory:                            s.directory,
		"GET " + federation.PathLog + "checkpoint":                   s.checkpoint,
		"GET " + federation.PathLog + "tile/{path...}":               s.tile,
		"POST " + federation.PathLog + "revocations":                 s.forStrangers(s.revoke),
		"GET " + federation.PathBlobs + "{hash}":                     s.publicBlob,
		"POST " + federation.PathConversations + "{group}":           s.fromServers(s.submitAtHub),
		"GET " + federation.PathConversations + "{group}":            s.fromServers(s.eventsAtHub),

		"POST " + federation.PathConversations + "{group}/lease":     s.fromServers(s.leaseAtHub),
		"POST " + federation.PathConversations + "{group}/dispute":   s.fromServers(s.disputeAtHub),
		"POST " + federation.PathConversations + "{group}/term":      s.fromServers(s.termAtHub),
		"POST " + federation.PathConversations + "{group}/moved":     s.fromServers(s.movedAtHub),
		"GET " + federation.PathConversations + "{group}/group-info": s.fromServers(s.groupInfoAtHub),
	} {
		s.handle(mux, pattern, h)
	}
	for _, pattern := range witnessing.Routes {
		s.handle(mux, pattern, s.forStrangers(s.cosign))
	}
}

func (s *Sidecar) cosign(w http.ResponseWriter, r *http.Request) error {
	s.witness.ServeHTTP(w, r)
	return nil
}

func (s *Sidecar) clientRoutes(mux *http.ServeMux) {
	s.handle(mux, "POST "+federation.PathAPI+"/devices", s.forStrangers(s.login))
	for pattern, h := range map[string]deviceHandler{
		"GET /account":         s.account,
		"POST /directory":      s.publish,
		"GET /directory":       s.lookup,
		"GET /log":             s.relayLog,
		"PUT /key-packages":    s.putKeyPackages,
		"POST /claims":         s.claims,
		"GET /consents":        s.consents,
		"POST /consents":       s.consent,
		"PUT /consents/policy": s.askStrangers,
		"POST /conversations":  s.openConversation,
		"POST /commits":        s.commits,
		"GET /events":          s.events,
		"POST /leases":         s.lease,
		"POST /disputes":       s.dispute,
		"POST /terms":          s.openTerm,
		"GET /group-info":      s.groupInfo,
		"GET /hub":             s.hubKey,
		"POST /messages":       s.messages,
		"POST /plain-claims":   s.plainClaims,
		"POST /plain-messages": s.plainMessages,
		"GET /mailbox":         s.mailbox,
		"DELETE /mailbox":      s.emptyMailbox,
		"PUT /blobs/{hash}":    s.putBlob,
		"GET /blobs":           s.blob,
	} {
		method, path, _ := strings.Cut(pattern, " ")
		s.handle(mux, method+" "+federation.PathAPI+path, s.asDevice(h))
	}
}

// Serve answers calls on the listener and delivers to other servers until the context ends or Close or Kill is called. Then it
// takes no more calls, lets those that run come to their end, and returns nil, or [ErrRestored] if the log's witnesses know more of
// it than this folder does. A data folder is served once at a time: two that
// deliver from one outbox would do it twice and out of order, and neither would wake who waits at the other.
func (s *Sidecar) Serve(ctx context.Context, l net.Listener) error {
	if !s.begin() {
		return l.Close()
	}
	defer s.serving.Done()
	release, err := s.store.Occupy()
	if err != nil {
		return errors.Join(err, l.Close())
	}
	defer release()
	if err := s.logIsCurrent(s.abrupt); err != nil {
		if s.isStopping() { // and the store may be closed already
			err = nil
		}
		return errors.Join(err, l.Close())
	}
	var working sync.WaitGroup
	defer working.Wait()
	server := &http.Server{
		Handler: s.Handler(), ReadHeaderTimeout: headerTime, ReadTimeout: readTime, WriteTimeout: writeTime, IdleTimeout: idleTime,
		MaxHeaderBytes: 2 * maxHeaders, ConnState: s.connected.watch, ErrorLog: slog.NewLogLogger(s.logger.Handler(), slog.LevelWarn),
	}
	work, stopWork := context.WithCancel(s.abrupt)
	defer stopWork()
	working.Go(func() { s.eraseAsked(work) })
	delivered := make(chan struct{})
	working.Go(func() {
		defer close(delivered)
		s.deliverer.Run(work)
	})
	working.Go(func() { s.sweep(work) })
	working.Go(func() { s.tellHubs(work) })
	restored := make(chan error, 1)
	if s.collector != nil {
		working.Go(func() {
			if err := s.collector.run(work); err != nil {
				restored <- err
			}
		})
	} else {
		s.logger.Warn("nobody witnesses this instance's log: whoever runs it could show different people different keys, and they would not notice")
	}
	working.Go(func() { s.witness.Run(work) })

	failed := make(chan error, 1)
	go func() { failed <- server.Serve(l) }()
	var fatal error
	select {
	case err := <-failed:
		return err
	case fatal = <-restored:
	case <-ctx.Done():
	case <-s.stopping:
	}
	s.stop()
	return errors.Join(fatal, s.drain(server, delivered))
}

// drain takes nothing new and lets what runs come to its end. What has not by then is cut off, as everything is at Kill: deliveries are
// sent again another time.
func (s *Sidecar) drain(server *http.Server, delivered <-chan struct{}) error {
	s.deliverer.Drain()
	ctx, cancel := context.WithTimeout(s.abrupt, drainTime)
	defer cancel()
	var err error
	if server.Shutdown(ctx) != nil {
		err = server.Close()
	}
	select {
	case <-delivered:
	case <-ctx.Done():
	}
	_, silent := s.refusals.count(refusal{}, s.now().Add(refusalWhile))
	s.logSilent(ctx, silent)
	return err
}

// logIsCurrent is asked by who has just become the only one to serve: before, another process may have, and a log that has grown since it
// was opened must not be appended to.
func (s *Sidecar) logIsCurrent(ctx context.Context) error {
	size, _ := s.log.Unwitnessed()
	heads, err := s.store.Log.Head(ctx)
	if err == nil && heads.Size != size {
		err = errors.New("sidecar: another process has written to the log since this one opened it: start again")
	}
	return err
}

func (s *Sidecar) sweep(ctx context.Context) {
	for {
		if err := s.store.Sweep(ctx, s.now()); err != nil && ctx.Err() == nil {
			s.logger.Error("sweeping the store", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(sweepEvery):
		}
	}
}

// begin counts one who serves, whom Close and Kill wait for, unless they were called already.
func (s *Sidecar) begin() bool {
	s.stopMu.Lock()
	defer s.stopMu.Unlock()
	if s.isStopping() {
		return false
	}
	s.serving.Add(1)
	return true
}

func (s *Sidecar) stop() {
	s.stopMu.Lock()
	defer s.stopMu.Unlock()
	if !s.isStopping() {
		close(s.stopping)
	}
}

// Close ends what runs, gently, and closes the store.
func (s *Sidecar) Close() error {
	s.stop()
	s.http.CloseIdle() // another sidecar that closes now waits for these
	s.serving.Wait()
	s.kill()
	return errors.Join(s.witness.Close(), s.store.Close())
}

// Kill drops every connection and closes the store under whatever still runs, as a crash would. What was answered before is
// there when the folder is opened again.
func (s *Sidecar) Kill() {
	s.kill()
	s.stop()
	s.witness.Close() // a crash has nobody to tell
	s.store.Close()
	s.serving.Wait()
	s.http.CloseIdle()
}
