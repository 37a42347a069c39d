// Package localapi is the door of an agent for programs on the same machine: HTTP on a Unix socket, or on loopback TCP with a
// token. The description is generated from the code and served as OpenAPI 3.1 at /v1/openapi.json; package client speaks it.
//
// A web page in a browser on the same machine can send requests to loopback too. So on TCP the Host must be the listener's, an
// Origin other than the agent's own is refused, nothing is answered without the token, and the token has no place in a URL.
package localapi

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/waxwing-dm/waxwing/agent"
)

const (
	headerTime = 5 * time.Second
	readTime   = 2 * time.Minute
	maxHeaders = 16 << 10

	maxSocketPath = 103 // bytes; the least of what operating systems allow
)

// SocketPath is where an agent listens in its home.
func SocketPath(home string) string { return filepath.Join(home, "agent.sock") }

// ListenUnix listens on a socket that only its owner can open. A socket that an agent left behind is replaced: the caller has
// the home's store open, and a store is open once.
func ListenUnix(path string) (net.Listener, error) {
	if info, err := os.Lstat(path); err == nil && info.Mode().Type() == fs.ModeSocket {
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("localapi: replacing an old socket: %w", err)
		}
	}
	if len(path) > maxSocketPath {
		return nil, fmt.Errorf("localapi: %s is too long a name for a socket: choose a home with a shorter path", path)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("localapi: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("localapi: closing the socket to others: %w", err), l.Close())
	}
	return l, nil
}

// ListenLoopback listens on an address of this machine that no other machine reaches.
func ListenLoopback(address string) (net.Listener, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("localapi: %w", err)
	}
	if at, ok := l.Addr().(*net.TCPAddr); !ok || !at.IP.IsLoopback() {
		return nil, errors.Join(fmt.Errorf("localapi: %s can be reached from other machines; use 127.0.0.1", address), l.Close())
	}
	return l, nil
}

// Serve answers calls on a listener until the context ends. token is what TCP callers must show; a Unix socket needs none.
func Serve(ctx context.Context, a *agent.Agent, l net.Listener, token string) error {
	var h http.Handler = handler(ctx, a)
	if l.Addr().Network() == "unix" {
		h = noPages(h)
	} else {
		h = loopback(h, l.Addr().String(), token)
	}
	server := &http.Server{
		Handler: h, ReadHeaderTimeout: headerTime, ReadTimeout: readTime, MaxHeaderBytes: maxHeaders,
		BaseContext: func(net.Listener) context.Context { return ctx }, // streams end with it
	}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(l) }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), headerTime)
	defer cancel()
	if err := server.Shutdown(drain); err != nil {
		return server.Close()
	}
	return nil
}

// handler has all operations.
func handler(ctx context.Context, a *agent.Agent) http.Handler {
	mux := http.NewServeMux()
	config := huma.DefaultConfig("Waxwing local API", "1")
	config.OpenAPIPath, config.DocsPath, config.SchemasPath, config.CreateHooks = "/v1/openapi", "", "", nil
	config.Formats = map[string]huma.Format{"application/json": strict, "json": strict}
	api := humago.New(mux, config)
	s := &service{agent: a, ending: ctx}
	s.status(api)
	s.people(api)
	s.conversations(api)
	s.requests(api)
	s.messages(api)
	s.files(api)
	s.logs(api)
	s.events(api)
	s.distrusted(api)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
		w.Header().Set("Cross-Origin-Resource-Policy", "same-origin")
		if _, pattern := mux.Handler(r); pattern == "" {
			notThere(w, r, mux)
			return
		}
		defer a.Called(r.URL.Path == "/v1/events")()
		mux.ServeHTTP(w, r)
	})
}

// service has the operations.
type service struct {
	agent  *agent.Agent
	ending context.Context // ends with the server
}

// NewToken makes a token for the TCP door: 32 random bytes in base64url.
func NewToken() (string, error) {
	b := make([]byte, 32)
	if _, err := rand.Read(b); err != nil {
		return "", fmt.Errorf("localapi: making a token: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(b), nil
}
