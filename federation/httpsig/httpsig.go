// Package httpsig signs and verifies requests, strictly (H1 to H7 of spec/wire.md), in the two ways that the Fediverse has: by
// draft-cavage-http-signatures (cavage.go) and by RFC 9421 (rfc9421.go). A request has one signature, of one of the two.
//
// All that can be said without the key is said before anybody is asked for one: which parts are covered, whether the body is that
// of its digest, whether the request is for us and of now. Verify knows no actors; whom a key belongs to, [Keys] says.
package httpsig

import (
	"context"
	"crypto"
	"crypto/rsa"
	"net/http"
	"strings"
	"time"

	"github.com/waxwing-dm/waxwing/internal/problem"
)

// Window is how far a request's date may be from our clock.
const Window = 5 * time.Minute

const (
	maxHeader = 8 << 10 // bytes of a header that is parsed here
	maxKeyID  = 2048
	minRSA    = 2048 // bits
	maxRSA    = 8192
)

// Scheme is a way of signing.
type Scheme string

// The two ways.
const (
	Cavage  Scheme = "cavage"
	RFC9421 Scheme = "rfc9421"
)

// SchemeOf tells which of the two a request claims. One that has the headers of both is taken for RFC 9421, where it fails: the
// value of a cavage Signature is no structured field.
func SchemeOf(h http.Header) Scheme {
	if len(h.Values("Signature-Input")) > 0 {
		return RFC9421
	}
	return Cavage
}

// Key is a verification key and whose it is.
type Key struct {
	Owner  string           // actor URL
	Public crypto.PublicKey // *rsa.PublicKey, or for RFC 9421 ed25519.PublicKey
}

// Keys finds a key. With fresh it asks its owner's server even if it has one. Its errors are returned as they are.
type Keys func(ctx context.Context, keyID string, fresh bool) (Key, error)

// Request is what was received: the request, the bytes of its body, and the origin that we are, as in https://a.example. What a
// proxy says in X-Forwarded headers about scheme and host is not looked at: anybody can say it.
type Request struct {
	*http.Request
	Body   []byte
	Origin string
	Now    time.Time
}

// Verify checks H1 to H7 and returns the owner of the key. Errors are *problem.Problem.
func Verify(ctx context.Context, r Request, keys Keys) (owner string, err error) {
	s, err := read(r)
	if err != nil {
		return "", err
	}
	var before Key
	for _, fresh := range []bool{false, true} {
		key, err := keys(ctx, s.keyID, fresh)
		if err != nil {
			return "", err
		}
		if fresh && same(before.Public, key.Public) {
			break // nor would it verify a second time, and that is what costs most here
		}
		if s.verifies(key.Public) {
			return key.Owner, nil
		}
		before = key
	}
	return "", problem.New(http.StatusUnauthorized, "signature_invalid", "the signature does not verify with the key %s", s.keyID)
}

// Claimed is the key that a request says it is signed with, "" if it says none that could be read. Anybody can say anything there: it is for
// turning away who has lost their turn already, not for counting.
func Claimed(h http.Header) (keyID string) {
	if SchemeOf(h) == RFC9421 {
		if in, _, err := parseRFC9421(h); err == nil {
			p, _ := in.parameters()
			return p.keyID
		}
		return ""
	}
	p, _ := parseCavage(h.Values("Signature"))
	return p["keyId"]
}

func same(a, b crypto.PublicKey) bool {
	key, ok := a.(interface{ Equal(crypto.PublicKey) bool })
	return ok && key.Equal(b)
}

// checked is a signature that is right as far as can be said without its key (H1 to H5).
type checked struct {
	keyID    string
	verifies func(crypto.PublicKey) bool
}

func read(r Request) (checked, error) {
	if SchemeOf(r.Header) == RFC9421 {
		return readRFC9421(r)
	}
	return readCavage(r)
}

func malformed(format string, args ...any) error {
	return problem.New(http.StatusUnauthorized, "signature_malformed", format, args...)
}

// forUs is H3 and the form of the target: a URL in its place would say the host a second time.
func (r Request) forUs() error {
	_, host, _ := strings.Cut(r.Origin, "://")
	if !strings.EqualFold(r.Request.Host, host) {
		return malformed("the request is for another host")
	}
	if !strings.HasPrefix(target(r.Request), "/") {
		return malformed("the target of the request is not a path")
	}
	return nil
}

// hasBody says that a digest must be covered: also that of an empty body, so that nobody can give it one.
func (r Request) hasBody() bool {
	return r.Method == http.MethodPost || r.Method == http.MethodPut || len(r.Body) > 0
}

func (r Request) inTime(at time.Time, what string) error {
	if d := r.Now.Sub(at); d > Window || d < -Window {
		return problem.New(http.StatusUnauthorized, "signature_expired", "%s is more than %v from our clock, which shows %s", what, Window,
			r.Now.UTC().Format(http.TimeFormat))
	}
	return nil
}

// target as it stands on the wire, escapes and all; of a request that is being made, as it will.
func target(req *http.Request) string {
	if req.RequestURI != "" {
		return req.RequestURI
	}
	return req.URL.RequestURI()
}

func fits(key *rsa.PublicKey) bool {
	bits := key.N.BitLen()
	return bits >= minRSA && bits <= maxRSA
}
