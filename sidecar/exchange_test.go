package sidecar_test

import (
	"bufio"
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/federation"
)

// An exchange is a request that is signed here, with code of its own, and written to the socket as it is: what a client library
// would mend stays broken. Tests change it before it is signed, and through after when it is.
type exchange struct {
	p              *peer
	method, target string
	host           string // the Host header
	origin         string // in @target-uri
	body           []byte
	chunked        bool
	headers        [][2]string // in their order, without Host and the length
	at             time.Time

	keyID      string
	key        crypto.Signer
	hash       crypto.Hash // of an RSA signature
	covered    []string    // nil: what is usual
	created    int64
	params     string            // RFC 9421: instead of the usual ones
	labels     map[string]string // cavage: parameters instead of the usual ones; "" leaves one out
	digestOf   []byte            // instead of the body
	noDigest   bool
	components map[string]string // values that are signed instead of what stands there
	after      func(*exchange)
}

func (p *peer) exchange(to string) *exchange {
	d := p.delivery(to)
	body, err := json.Marshal(d.activity)
	require.NoError(p.w.t, err)
	now := p.w.now()
	return &exchange{
		p: p, method: "POST", target: d.path, host: "a.test", origin: "http://a.test", body: body, at: now, created: now.Unix(),
		headers: [][2]string{{"Content-Type", federation.ContentType}}, labels: map[string]string{},
		keyID: federation.KeyID(p.mallory()), key: p.keys[p.mallory()], hash: crypto.SHA256, components: map[string]string{},
	}
}

// by lets another actor sign.
func (x *exchange) by(actor string) { x.keyID, x.key = federation.KeyID(actor), x.p.keys[actor] }

// asActor changes whose activity it is.
func (x *exchange) asActor(actor string) {
	x.body = bytes.ReplaceAll(x.body, []byte(x.p.mallory()), []byte(actor))
}

func (x *exchange) get(name string) string {
	var values []string
	for _, h := range x.headers {
		if strings.EqualFold(h[0], name) {
			values = append(values, h[1])
		}
	}
	return strings.Join(values, ", ")
}

func (x *exchange) del(name string) {
	x.headers = slices.DeleteFunc(x.headers, func(h [2]string) bool { return strings.EqualFold(h[0], name) })
}

func (x *exchange) add(name, value string) { x.headers = append(x.headers, [2]string{name, value}) }

func (x *exchange) set(name, value string) {
	x.del(name)
	x.add(name, value)
}

// edit replaces text in a header once it is there.
func (x *exchange) edit(name, old, text string) {
	value := x.get(name)
	require.Contains(x.p.w.t, value, old)
	x.set(name, strings.Replace(value, old, text, 1))
}

func (x *exchange) sum() string {
	of := x.body
	if x.digestOf != nil {
		of = x.digestOf
	}
	sum := sha256.Sum256(of)
	return base64.StdEncoding.EncodeToString(sum[:])
}

func (x *exchange) sign(base string) string {
	signed := []byte(base)
	hash := x.hash
	if _, ok := x.key.(ed25519.PrivateKey); ok {
		hash = 0
	}
	if hash != 0 {
		h := hash.New()
		h.Write(signed)
		signed = h.Sum(nil)
	}
	signature, err := x.key.Sign(rand.Reader, signed, hash)
	require.NoError(x.p.w.t, err)
	return base64.StdEncoding.EncodeToString(signature)
}

func (x *exchange) value(name string) string {
	if v, ok := x.components[name]; ok {
		return v
	}
	path, query, _ := strings.Cut(x.target, "?")
	switch name {
	case "(request-target)":
		return strings.ToLower(x.method) + " " + x.target
	case "host", "@authority":
		return x.host
	case "@method":
		return x.method
	case "@target-uri":
		return x.origin + x.target
	case "@scheme":
		return "http"
	case "@request-target":
		return x.target
	case "@path":
		return path
	case "@query":
		return "?" + query
	case "content-length":
		return fmt.Sprint(len(x.body))
	}
	return x.get(name)
}

func (x *exchange) cavage() {
	x.add("Date", x.at.UTC().Format(http.TimeFormat))
	if x.covered == nil {
		x.covered = []string{"(request-target)", "host", "date", "digest"}
		if x.method == "GET" {
			x.covered = x.covered[:3]
		}
	}
	if !x.noDigest && x.method != "GET" {
		x.add("Digest", "SHA-256="+x.sum())
	}
	var lines []string
	for _, name := range x.covered {
		lines = append(lines, name+": "+x.value(name))
	}
	params := map[string]string{
		"keyId": x.keyID, "algorithm": "rsa-sha256", "headers": strings.Join(x.covered, " "), "signature": x.sign(strings.Join(lines, "\n")),
	}
	var all []string
	for _, name := range []string{"keyId", "algorithm", "headers", "signature"} {
		value, changed := x.labels[name]
		if !changed {
			value = params[name]
		}
		if value != "" {
			all = append(all, name+`="`+value+`"`)
		}
	}
	x.add("Signature", strings.Join(all, ","))
}

func (x *exchange) rfc9421() {
	if x.covered == nil {
		x.covered = []string{"@method", "@target-uri", "content-digest"}
		if x.method == "GET" {
			x.covered = x.covered[:2]
		}
	}
	if !x.noDigest && x.method != "GET" {
		x.add("Content-Digest", "sha-256=:"+x.sum()+":")
	}
	if x.params == "" {
		x.params = fmt.Sprintf(`;created=%d;keyid="%s"`, x.created, x.keyID)
	}
	base, names := "", ""
	for _, name := range x.covered {
		base += fmt.Sprintf("\"%s\": %s\n", name, x.value(name))
		names += fmt.Sprintf(` "%s"`, name)
	}
	input := "(" + strings.TrimPrefix(names, " ") + ")" + x.params
	x.add("Signature-Input", "sig1="+input)
	x.add("Signature", "sig1=:"+x.sign(base+`"@signature-params": `+input)+":")
}

// send writes the request and gives status and code (or outcome).
func (x *exchange) send() (int, string) {
	t := x.p.w.t
	t.Helper()
	if x.after != nil {
		x.after(x)
	}
	conn, err := net.Dial("tcp", x.p.w.hosts["a.test"])
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.SetDeadline(time.Now().Add(20*time.Second)))
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n", x.method, x.target, x.host)
	for _, h := range x.headers {
		fmt.Fprintf(&b, "%s: %s\r\n", h[0], h[1])
	}
	switch {
	case x.chunked:
		half := len(x.body) / 2
		fmt.Fprintf(&b, "Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n%x\r\n%s\r\n0\r\n\r\n", half, x.body[:half], len(x.body)-half, x.body[half:])
	case x.method == "GET":
		b.WriteString("\r\n")
	default:
		fmt.Fprintf(&b, "Content-Length: %d\r\n\r\n%s", len(x.body), x.body)
	}
	_, err = conn.Write(b.Bytes())
	require.NoError(t, err)
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(t, err)
	defer res.Body.Close()
	var answer struct{ Code, Outcome string }
	if strings.Contains(res.Header.Get("Content-Type"), "json") {
		require.NoError(t, json.NewDecoder(res.Body).Decode(&answer))
	}
	return res.StatusCode, answer.Code + answer.Outcome
}
