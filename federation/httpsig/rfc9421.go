package httpsig

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	sf "github.com/dunglas/httpsfv"

	"github.com/waxwing-dm/waxwing/internal/problem"
)

// The names of RFC 9421, section 6.2.2.
const (
	algRSA     = "rsa-v1_5-sha256"
	algEd25519 = "ed25519"
)

const maxComponents = 32

// SignRFC9421 adds Date, Content-Digest (if there is a body), Signature-Input and Signature to a request. The key is an
// *rsa.PrivateKey or an ed25519.PrivateKey.
func SignRFC9421(req *http.Request, body []byte, keyID string, key crypto.Signer, now time.Time) error {
	unsign(req, now)
	in := input{components: []string{"@method", "@target-uri"}, params: sf.NewParams()}
	if body != nil {
		req.Header.Set("Content-Digest", contentDigest(body))
		in.components = append(in.components, "content-digest")
	}
	in.params.Add("created", now.Unix())
	in.params.Add("keyid", keyID)
	if err := in.sign(req, key); err != nil {
		return fmt.Errorf("httpsig: signing a request to %s: %w", req.URL.Host, err)
	}
	return nil
}

func (in input) sign(req *http.Request, key crypto.Signer) error {
	hash := crypto.Hash(0)
	switch key.(type) {
	case *rsa.PrivateKey:
		in.params.Add("alg", algRSA)
		hash = crypto.SHA256
	case ed25519.PrivateKey:
		in.params.Add("alg", algEd25519)
	default:
		return fmt.Errorf("not with a key of type %T", key)
	}
	base, err := in.base(Request{Request: req, Origin: req.URL.Scheme + "://" + req.URL.Host})
	if err != nil {
		return err
	}
	if hash != 0 {
		sum := sha256.Sum256(base)
		base = sum[:]
	}
	value, err := key.Sign(rand.Reader, base, hash)
	if err != nil {
		return err
	}
	return in.write(req.Header, value)
}

// input is a member of Signature-Input (section 4.1).
type input struct {
	components []string
	params     *sf.Params
}

func (in input) list() sf.InnerList {
	list := sf.InnerList{Params: in.params}
	for _, name := range in.components {
		list.Items = append(list.Items, sf.NewItem(name))
	}
	return list
}

func (in input) write(h http.Header, value []byte) error {
	params, err := sf.Marshal(sf.List{in.list()})
	if err != nil {
		return err
	}
	signature, err := sf.Marshal(sf.NewItem(value))
	if err != nil {
		return err
	}
	h.Set("Signature-Input", "sig1="+params)
	h.Set("Signature", "sig1="+signature)
	return nil
}

// base is the signature base (section 2.5). It fails on a component that the request does not have.
func (in input) base(r Request) ([]byte, error) {
	var b strings.Builder
	for _, name := range in.components {
		value, ok := r.component(name)
		if !ok || strings.ContainsAny(value, "\r\n") {
			return nil, malformed("the signature covers %q, which the request does not have", name)
		}
		fmt.Fprintf(&b, "%q: %s\n", name, value)
	}
	params, err := sf.Marshal(sf.List{in.list()})
	if err != nil {
		return nil, malformed("the parameters of the signature cannot be written")
	}
	b.WriteString(`"@signature-params": ` + params)
	return []byte(b.String()), nil
}

// component gives the value of a part of the request (sections 2.1 and 2.2). Where scheme and host are in it, they are ours.
func (r Request) component(name string) (string, bool) {
	scheme, host, _ := strings.Cut(r.Origin, "://")
	path, query, _ := strings.Cut(target(r.Request), "?")
	switch name {
	case "@method":
		return r.Method, true
	case "@target-uri":
		return r.Origin + target(r.Request), true
	case "@authority":
		return withoutPort(scheme, host), true
	case "@scheme":
		return scheme, true
	case "@request-target":
		return target(r.Request), true
	case "@path":
		return path, true
	case "@query":
		return "?" + query, true
	case "host": // which the server takes out of the headers
		return r.Request.Host, true
	}
	values := r.Header.Values(name)
	if len(values) == 0 || name != strings.ToLower(name) {
		return "", false
	}
	trimmed := make([]string, len(values))
	for i, v := range values {
		trimmed[i] = strings.Trim(v, " \t")
	}
	return strings.Join(trimmed, ", "), true
}

// withoutPort normalizes an authority (section 2.2.3).
func withoutPort(scheme, host string) string {
	switch scheme {
	case "https":
		return strings.TrimSuffix(host, ":443")
	case "http":
		return strings.TrimSuffix(host, ":80")
	}
	return host
}

// readRFC9421 is H1 to H5.
func readRFC9421(r Request) (checked, error) {
	in, value, err := parseRFC9421(r.Header)
	if err != nil {
		return checked{}, err
	}
	p, err := in.check(r)
	if err != nil {
		return checked{}, err
	}
	base, err := in.base(r)
	if err != nil {
		return checked{}, err
	}
	if err := r.forUs(); err != nil {
		return checked{}, err
	}
	if r.hasBody() && !contentDigestMatches(r.Header.Get("Content-Digest"), r.Body) {
		return checked{}, problem.New(http.StatusUnauthorized, "digest_mismatch", "Content-Digest is not that of the body, or of no hash that counts")
	}
	if err := r.inTime(time.Unix(p.created, 0), "created"); err != nil {
		return checked{}, err
	}
	if p.expires != 0 && r.Now.Unix() >= p.expires {
		return checked{}, problem.New(http.StatusUnauthorized, "signature_expired", "the signature has expired by our clock, which shows %s",
			r.Now.UTC().Format(http.TimeFormat))
	}
	return checked{p.keyID, func(public crypto.PublicKey) bool { return verifyRFC9421(public, p.alg, base, value) }}, nil
}

func verifyRFC9421(public crypto.PublicKey, alg string, base, value []byte) bool {
	switch key := public.(type) {
	case *rsa.PublicKey:
		sum := sha256.Sum256(base)
		return fits(key) && (alg == "" || alg == algRSA) && rsa.VerifyPKCS1v15(key, crypto.SHA256, sum[:], value) == nil
	case ed25519.PublicKey:
		return len(key) == ed25519.PublicKeySize && (alg == "" || alg == algEd25519) && ed25519.Verify(key, base, value)
	}
	return false
}

// parseRFC9421 reads the two headers (H1): one signature, and the input of the same label.
func parseRFC9421(h http.Header) (in input, value []byte, err error) {
	unreadable := malformed("Signature-Input and Signature must have one signature, of one label")
	inputs, ok := dictionary(h.Values("Signature-Input"))
	if !ok || len(inputs.Names()) != 1 {
		return input{}, nil, unreadable
	}
	signatures, ok := dictionary(h.Values("Signature"))
	if !ok || !slices.Equal(signatures.Names(), inputs.Names()) {
		return input{}, nil, unreadable
	}
	member, _ := signatures.Get(inputs.Names()[0])
	item, _ := member.(sf.Item)
	if value, ok = item.Value.([]byte); !ok || len(value) == 0 || len(item.Params.Names()) > 0 {
		return input{}, nil, unreadable
	}
	member, _ = inputs.Get(inputs.Names()[0])
	list, ok := member.(sf.InnerList)
	if !ok || len(list.Items) > maxComponents {
		return input{}, nil, unreadable
	}
	in, ok = inputOf(list)
	if !ok {
		return input{}, nil, malformed("what the signature covers must be whole parts of the request, named by strings")
	}
	return in, value, nil
}

// inputOf refuses the parameters of components (sf, key, bs, tr, req, name): none is of use here.
func inputOf(list sf.InnerList) (input, bool) {
	in := input{params: list.Params}
	for _, item := range list.Items {
		name, ok := item.Value.(string)
		if !ok || len(item.Params.Names()) > 0 {
			return input{}, false
		}
		in.components = append(in.components, name)
	}
	return in, true
}

// parameters of a signature (section 2.3).
type parameters struct {
	created, expires int64
	keyID, alg       string
}

// check is H2, and of H1 the parameters.
func (in input) check(r Request) (parameters, error) {
	p, err := in.parameters()
	if err != nil {
		return parameters{}, err
	}
	for i, name := range in.components {
		if slices.Contains(in.components[:i], name) {
			return parameters{}, malformed("the signature covers %q twice", name)
		}
	}
	covers := func(names ...string) bool {
		return !slices.ContainsFunc(names, func(name string) bool { return !slices.Contains(in.components, name) })
	}
	inParts := covers("@authority", "@path") && (covers("@query") || !strings.Contains(target(r.Request), "?"))
	if !covers("@method") || !covers("@target-uri") && !inParts {
		return parameters{}, malformed("the signature must cover @method and @target-uri, or in its place @authority, @path and @query")
	}
	if r.hasBody() && (!covers("content-digest") || len(r.Header.Values("Content-Digest")) != 1) {
		return parameters{}, problem.New(http.StatusUnauthorized, "digest_required", "a request with a body has one Content-Digest header and the signature covers it")
	}
	return p, nil
}

func (in input) parameters() (p parameters, err error) {
	for _, name := range in.params.Names() {
		value, _ := in.params.Get(name)
		number, isNumber := value.(int64)
		text, isText := value.(string)
		switch {
		case name == "created" && isNumber && number > 0:
			p.created = number
		case name == "expires" && isNumber && number > 0:
			p.expires = number
		case name == "keyid" && isText && len(text) <= maxKeyID:
			p.keyID = text
		case name == "alg" && (text == algRSA || text == algEd25519):
			p.alg = text
		case (name == "nonce" || name == "tag") && isText:
		default:
			return parameters{}, malformed("the parameter %s of the signature is unknown or has a value that cannot be used", name)
		}
	}
	if p.created == 0 || p.keyID == "" {
		return parameters{}, malformed("the signature needs the parameters created and keyid")
	}
	return p, nil
}

// dictionary reads a structured field (RFC 9651) that is spelt as it would be written anew, white space aside. So nothing stands
// in it twice: of two the parser keeps the last, and another's parser may keep the first.
func dictionary(values []string) (*sf.Dictionary, bool) {
	if len(values) != 1 || len(values[0]) > maxHeader {
		return nil, false
	}
	d, err := sf.UnmarshalDictionary(values)
	if err != nil {
		return nil, false
	}
	written, err := sf.Marshal(d)
	return d, err == nil && squeeze(values[0]) == squeeze(written)
}

// squeeze takes out the white space that is not inside a string.
func squeeze(s string) string {
	var b strings.Builder
	quoted, escaped := false, false
	for _, c := range []byte(s) {
		if !quoted && (c == ' ' || c == '\t') {
			continue
		}
		if c == '"' && !escaped {
			quoted = !quoted
		}
		escaped = quoted && c == '\\' && !escaped
		b.WriteByte(c)
	}
	return b.String()
}
