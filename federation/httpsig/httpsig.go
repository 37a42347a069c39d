// Package httpsig signs and verifies requests by draft-cavage-http-signatures as the Fediverse uses it, strictly (H1 to H7 of
// spec/wire.md). It wraps go-fed/httpsig, which does the string building and the cryptography and nothing else: that library
// compares no digest, wants no particular headers and looks at no date, so all of that is done here, before it is asked.
package httpsig

import (
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	fed "github.com/go-fed/httpsig"

	"github.com/waxwing-dm/waxwing/internal/problem"
)

// Window is how far a request's Date may be from our clock.
const Window = 5 * time.Minute

const maxHeader = 8 << 10 // bytes of a Signature header

// Sign adds Date, Host, Digest (if there is a body) and Signature to a request.
func Sign(req *http.Request, body []byte, keyID string, key *rsa.PrivateKey, now time.Time) error {
	req.Header.Set("Date", now.UTC().Format(http.TimeFormat))
	req.Header.Set("Host", req.URL.Host)
	covered := []string{fed.RequestTarget, "host", "date"}
	if body != nil {
		req.Header.Set("Digest", digest(body))
		covered = append(covered, "digest")
	}
	signer, _, err := fed.NewSigner([]fed.Algorithm{fed.RSA_SHA256}, fed.DigestSha256, covered, fed.Signature, 0)
	if err != nil {
		return fmt.Errorf("httpsig: preparing a signature: %w", err)
	}
	req.Header.Del("Signature") // the library would add a second one
	if err := signer.SignRequest(key, keyID, asSent(req), nil); err != nil {
		return fmt.Errorf("httpsig: signing a request to %s: %w", req.URL.Host, err)
	}
	return nil
}

// asSent is the request with its target as it stands on the wire. The library takes the decoded path, in which an escaped
// slash is a slash and an escaped line break makes a new line of what is signed.
func asSent(req *http.Request) *http.Request {
	sent := *req
	sent.URL = &url.URL{Path: req.URL.RequestURI()}
	return &sent
}

func digest(body []byte) string {
	sum := sha256.Sum256(body)
	return "SHA-256=" + base64.StdEncoding.EncodeToString(sum[:])
}

// Key is a verification key and whose it is.
type Key struct {
	Owner  string // actor URL
	Public crypto.PublicKey
}

// Keys finds a key. With fresh it asks its owner's server even if it has one. Its errors are returned as they are.
type Keys func(ctx context.Context, keyID string, fresh bool) (Key, error)

// Request is what was received: the request, the bytes of its body, and the host we are.
type Request struct {
	*http.Request
	Body []byte
	Host string
	Now  time.Time
}

// Verify checks H1 to H7 and returns the owner of the key. Errors are *problem.Problem.
func Verify(ctx context.Context, r Request, keys Keys) (owner string, err error) {
	keyID, err := precheck(r)
	if err != nil {
		return "", err
	}
	for _, fresh := range []bool{false, true} {
		key, err := keys(ctx, keyID, fresh)
		if err != nil {
			return "", err
		}
		if verify(r, key.Public) {
			return key.Owner, nil
		}
	}
	return "", problem.New(http.StatusUnauthorized, "signature_invalid", "the signature does not verify with the key %s", keyID)
}

// precheck is H1 to H5: all that can be said without the key. It returns the key id.
func precheck(r Request) (keyID string, err error) {
	p, err := parse(r.Header.Values("Signature"))
	if err != nil {
		return "", err
	}
	malformed := func(format string, args ...any) error {
		return problem.New(http.StatusUnauthorized, "signature_malformed", format, args...)
	}
	covered := strings.Split(p["headers"], " ")
	if !canBeCovered(r, covered) {
		return "", malformed("what the signature covers must be headers of the request, in lower case, each once")
	}
	for _, must := range []string{fed.RequestTarget, "host", "date"} {
		if !slices.Contains(covered, must) {
			return "", malformed("the signature does not cover %s", must)
		}
	}
	hasBody := r.Method == http.MethodPost || r.Method == http.MethodPut || len(r.Body) > 0
	if hasBody && (!slices.Contains(covered, "digest") || len(r.Header.Values("Digest")) != 1) {
		return "", problem.New(http.StatusUnauthorized, "digest_required", "a request with a body has one Digest header and the signature covers it")
	}
	if !strings.EqualFold(r.Request.Host, r.Host) {
		return "", malformed("the request is for another host")
	}
	if hasBody && !digestMatches(r.Header.Get("Digest"), r.Body) {
		return "", problem.New(http.StatusUnauthorized, "digest_mismatch", "Digest is not the SHA-256 of the body")
	}
	if len(r.Header.Values("Date")) != 1 {
		return "", malformed("there must be one Date header")
	}
	date, err := http.ParseTime(r.Header.Get("Date"))
	if err != nil {
		return "", malformed("Date cannot be read")
	}
	if d := r.Now.Sub(date); d > Window || d < -Window {
		return "", problem.New(http.StatusUnauthorized, "signature_expired", "Date is more than %v from our clock, which shows %s",
			Window, r.Now.UTC().Format(http.TimeFormat))
	}
	return p["keyId"], nil
}

// canBeCovered lets only names of headers through, which the library reads as we do. It splits parameters at commas inside quotes
// too, so that a name with a comma would let a sender show one list to us and another to it.
func canBeCovered(r Request, names []string) bool {
	for i, name := range names {
		if slices.Contains(names[:i], name) || name != strings.ToLower(name) {
			return false
		}
		if name == fed.RequestTarget || name == "host" || name == "digest" { // these have checks of their own
			continue
		}
		if len(r.Header.Values(name)) == 0 {
			return false
		}
	}
	return true
}

// digestMatches also accepts a list of digests if the SHA-256 one in it is right (RFC 3230).
func digestMatches(header string, body []byte) bool {
	want := digest(body)
	for d := range strings.SplitSeq(header, ",") {
		name, value, ok := strings.Cut(strings.TrimSpace(d), "=")
		if ok && strings.EqualFold(name, "SHA-256") {
			return subtle.ConstantTimeCompare([]byte("SHA-256="+value), []byte(want)) == 1
		}
	}
	return false
}

// verify hands the library a request with the parameters spelt the one way it can read.
func verify(r Request, public crypto.PublicKey) bool {
	key, ok := public.(*rsa.PublicKey)
	if !ok || key.N.BitLen() < 2048 || key.N.BitLen() > 8192 {
		return false
	}
	p, err := parse(r.Header.Values("Signature"))
	if err != nil {
		return false
	}
	clean := asSent(r.Request.Clone(context.Background()))
	clean.Header.Set("Host", r.Request.Host)
	clean.Header.Set("Signature", fmt.Sprintf("keyId=%q,algorithm=%q,headers=%q,signature=%q", "key", "hs2019", p["headers"], p["signature"]))
	v, err := fed.NewVerifier(clean)
	if err != nil {
		return false
	}
	return v.Verify(key, fed.RSA_SHA256) == nil
}

// parse reads the parameters of a Signature header (H1): name="value" pairs with commas between them, white space allowed.
func parse(headers []string) (map[string]string, error) {
	if len(headers) == 0 {
		return nil, problem.New(http.StatusUnauthorized, "signature_missing", "the request has no Signature header")
	}
	malformed := problem.New(http.StatusUnauthorized, "signature_malformed", "the Signature header cannot be read")
	if len(headers) > 1 || len(headers[0]) > maxHeader {
		return nil, malformed
	}
	p := map[string]string{}
	rest := headers[0]
	for {
		name, after, ok := strings.Cut(rest, "=")
		name = strings.TrimSpace(name)
		if !ok || name == "" || strings.ContainsAny(name, " \t,\"\\") || p[name] != "" {
			return nil, malformed
		}
		value, next, ok := paramValue(strings.TrimSpace(after))
		if !ok {
			return nil, malformed
		}
		p[name] = value
		if next == "" {
			break
		}
		if !strings.HasPrefix(next, ",") {
			return nil, malformed
		}
		rest = next[1:]
	}
	if p["headers"] == "" || p["keyId"] == "" || len(p["keyId"]) > 2048 || !isBase64(p["signature"]) {
		return nil, malformed
	}
	switch p["algorithm"] {
	case "", "hs2019", "rsa-sha256":
		return p, nil
	}
	return nil, malformed
}

// isBase64 refuses what a decoder may skip or what would end the parameter for the library.
func isBase64(s string) bool {
	b, err := base64.StdEncoding.Strict().DecodeString(s)
	return err == nil && len(b) > 0 && !strings.ContainsAny(s, "\r\n")
}

// paramValue reads a quoted string without escapes, or, for the numbers that some send, a bare token.
func paramValue(s string) (value, rest string, ok bool) {
	if strings.HasPrefix(s, `"`) {
		value, rest, ok = strings.Cut(s[1:], `"`)
		return value, strings.TrimSpace(rest), ok && value != "" && !strings.Contains(value, `\`)
	}
	end := strings.IndexByte(s, ',')
	if end < 0 {
		end = len(s)
	}
	value = strings.TrimSpace(s[:end])
	for _, c := range value {
		if c < '0' || c > '9' {
			return "", "", false
		}
	}
	return value, s[end:], value != ""
}
