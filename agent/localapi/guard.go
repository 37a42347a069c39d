package localapi

import (
	"crypto/sha256"
	"crypto/subtle"
	"mime"
	"net"
	"net/http"
	"strings"

	"github.com/waxwing-dm/waxwing/internal/problem"
)

// loopback guards the TCP door.
func loopback(next http.Handler, address, token string) http.Handler {
	_, port, _ := net.SplitHostPort(address)
	hosts := map[string]bool{address: true, "localhost:" + port: true}
	want := sha256.Sum256([]byte(token))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !hosts[r.Host] {
			problem.Write(w, problem.New(http.StatusMisdirectedRequest, "host_refused", "this is not a host that the agent answers for").
				With("help", "use "+address))
			return
		}
		if p := checkPage(r, "http://"+r.Host); p != nil {
			problem.Write(w, p)
			return
		}
		if p := checkToken(r, want); p != nil {
			problem.Write(w, p)
			return
		}
		if p := checkType(r); p != nil {
			problem.Write(w, p)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// noPages guards the Unix socket, which no page can reach unless something in between lets it.
func noPages(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p := checkPage(r, "")
		if p == nil {
			p = checkType(r)
		}
		if p != nil {
			problem.Write(w, p)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// checkPage refuses what a page of another origin sends.
func checkPage(r *http.Request, own string) *problem.Problem {
	refused := problem.New(http.StatusForbidden, "origin_refused", "pages of other origins may not call the agent")
	for _, origin := range r.Header.Values("Origin") {
		if own == "" || origin != own {
			return refused
		}
	}
	switch r.Header.Get("Sec-Fetch-Site") {
	case "", "none", "same-origin":
		return nil
	}
	return refused
}

func checkToken(r *http.Request, want [32]byte) *problem.Problem {
	q := r.URL.Query()
	for _, name := range []string{"token", "access_token", "api_token", "api_key"} {
		if q.Has(name) {
			return problem.New(http.StatusBadRequest, "token_in_url", "the token was in the URL, where logs and histories keep it").
				With("help", "send it as Authorization: Bearer, and make a new one: delete the file api-token and start the agent again")
		}
	}
	given, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	have := sha256.Sum256([]byte(given))
	if !ok || len(r.Header.Values("Authorization")) != 1 || subtle.ConstantTimeCompare(have[:], want[:]) != 1 {
		return problem.New(http.StatusUnauthorized, "token_required", "this call needs the agent's token").
			With("help", "the file api-token in the agent's home has it; send it as Authorization: Bearer")
	}
	return nil
}

// checkType refuses the content types that a form on any page can send without asking first.
func checkType(r *http.Request) *problem.Problem {
	if r.Method == http.MethodGet || r.Method == http.MethodHead || r.ContentLength == 0 && r.Header.Get("Content-Type") == "" {
		return nil
	}
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err == nil && (kind == "application/json" || kind == "application/octet-stream") {
		return nil
	}
	return problem.New(http.StatusUnsupportedMediaType, "unsupported_media_type", "send application/json, or a file as application/octet-stream")
}
