package httpsig

import (
	"crypto"
	"crypto/rsa"
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

// draft-cavage-http-signatures-12, around go-fed/httpsig. That library does the string building and the cryptography and nothing
// else: it compares no digest, wants no particular headers and looks at no date, so all of that is done here, before it is asked.

// Sign adds Date, Host, Digest (if there is a body) and Signature to a request.
func Sign(req *http.Request, body []byte, keyID string, key *rsa.PrivateKey, now time.Time) error {
	unsign(req, now)
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
	if err := signer.SignRequest(key, keyID, asSent(req), nil); err != nil {
		return fmt.Errorf("httpsig: signing a request to %s: %w", req.URL.Host, err)
	}
	return nil
}

// unsign takes out what an earlier signature has left, of either kind, and sets the date.
func unsign(req *http.Request, now time.Time) {
	for _, name := range []string{"Signature", "Signature-Input", "Digest", "Content-Digest"} {
		req.Header.Del(name)
	}
	req.Header.Set("Date", now.UTC().Format(http.TimeFormat))
}

// asSent is the request with its target as it stands on the wire. The library takes the decoded path, in which an escaped
// slash is a slash and an escaped line break makes a new line of what is signed.
func asSent(req *http.Request) *http.Request {
	sent := *req
	sent.URL = &url.URL{Path: target(req)}
	return &sent
}

// readCavage is H1 to H5.
func readCavage(r Request) (checked, error) {
	p, err := parseCavage(r.Header.Values("Signature"))
	if err != nil {
		return checked{}, err
	}
	if err := r.coversEnough(strings.Split(p["headers"], " ")); err != nil {
		return checked{}, err
	}
	if err := r.forUs(); err != nil {
		return checked{}, err
	}
	if r.hasBody() && !digestMatches(r.Header.Get("Digest"), r.Body) {
		return checked{}, problem.New(http.StatusUnauthorized, "digest_mismatch", "Digest is not the SHA-256 of the body")
	}
	if len(r.Header.Values("Date")) != 1 {
		return checked{}, malformed("there must be one Date header")
	}
	date, err := http.ParseTime(r.Header.Get("Date"))
	if err != nil {
		return checked{}, malformed("Date cannot be read")
	}
	if err := r.inTime(date, "Date"); err != nil {
		return checked{}, err
	}
	return checked{p["keyId"], func(public crypto.PublicKey) bool { return verifyCavage(r, p, public) }}, nil
}

// coversEnough is H2.
func (r Request) coversEnough(covered []string) error {
	if !r.canBeCovered(covered) {
		return malformed("what the signature covers must be headers of the request, in lower case, each once")
	}
	for _, must := range []string{fed.RequestTarget, "host", "date"} {
		if !slices.Contains(covered, must) {
			return malformed("the signature does not cover %s", must)
		}
	}
	if r.hasBody() && (!slices.Contains(covered, "digest") || len(r.Header.Values("Digest")) != 1) {
		return problem.New(http.StatusUnauthorized, "digest_required", "a request with a body has one Digest header and the signature covers it")
	}
	return nil
}

// canBeCovered lets only names of headers through, which the library reads as we do. It splits parameters at commas inside quotes
// too, so that a name with a comma would let a sender show one list to us and another to it.
func (r Request) canBeCovered(names []string) bool {
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

// verifyCavage hands the library a request with the parameters spelt the one way it can read.
func verifyCavage(r Request, p map[string]string, public crypto.PublicKey) bool {
	key, ok := public.(*rsa.PublicKey)
	if !ok || !fits(key) {
		return false
	}
	clean := asSent(&http.Request{Method: r.Method, RequestURI: r.RequestURI, URL: r.URL, Header: http.Header{}})
	for name := range strings.SplitSeq(p["headers"], " ") {
		if values := r.Header.Values(name); values != nil {
			clean.Header[http.CanonicalHeaderKey(name)] = values
		}
	}
	clean.Header.Set("Host", r.Request.Host)
	clean.Header.Set("Signature", `keyId="key",algorithm="hs2019",headers="`+p["headers"]+`",signature="`+p["signature"]+`"`)
	v, err := fed.NewVerifier(clean)
	if err != nil {
		return false
	}
	return v.Verify(key, fed.RSA_SHA256) == nil
}

// parseCavage reads the parameters of a Signature header (H1): name="value" pairs with commas between them, white space allowed.
func parseCavage(headers []string) (map[string]string, error) {
	if len(headers) == 0 {
		return nil, problem.New(http.StatusUnauthorized, "signature_missing", "the request has no Signature header")
	}
	unreadable := malformed("the Signature header cannot be read")
	if len(headers) > 1 || len(headers[0]) > maxHeader {
		return nil, unreadable
	}
	p := map[string]string{}
	rest := headers[0]
	for {
		name, after, ok := strings.Cut(rest, "=")
		name = strings.TrimSpace(name)
		if !ok || name == "" || strings.ContainsAny(name, " \t,\"\\") || p[name] != "" {
			return nil, unreadable
		}
		value, next, ok := paramValue(strings.TrimSpace(after))
		if !ok {
			return nil, unreadable
		}
		p[name] = value
		if next == "" {
			break
		}
		if !strings.HasPrefix(next, ",") {
			return nil, unreadable
		}
		rest = next[1:]
	}
	if p["headers"] == "" || p["keyId"] == "" || len(p["keyId"]) > maxKeyID || !isBase64(p["signature"]) {
		return nil, unreadable
	}
	switch p["algorithm"] {
	case "", "hs2019", "rsa-sha256":
		return p, nil
	}
	return nil, unreadable
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
