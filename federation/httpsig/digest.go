package httpsig

import (
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"strings"

	sf "github.com/dunglas/httpsfv"
)

// digest is the value of a Digest header (RFC 3230).
func digest(body []byte) string {
	sum := sha256.Sum256(body)
	return "SHA-256=" + base64.StdEncoding.EncodeToString(sum[:])
}

// digestMatches also accepts a list of digests if the SHA-256 one in it is right.
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

// contentDigest is the value of a Content-Digest header (RFC 9530).
func contentDigest(body []byte) string {
	sum := sha256.Sum256(body)
	return "sha-256=:" + base64.StdEncoding.EncodeToString(sum[:]) + ":"
}

// contentDigestMatches wants at least one digest of an algorithm that is still trusted, and every such one right.
func contentDigestMatches(header string, body []byte) bool {
	d, ok := dictionary([]string{header})
	if !ok {
		return false
	}
	known := 0
	for _, name := range d.Names() {
		var want []byte
		switch name {
		case "sha-256":
			sum := sha256.Sum256(body)
			want = sum[:]
		case "sha-512":
			sum := sha512.Sum512(body)
			want = sum[:]
		default:
			continue
		}
		member, _ := d.Get(name)
		item, _ := member.(sf.Item)
		got, _ := item.Value.([]byte)
		if subtle.ConstantTimeCompare(got, want) != 1 {
			return false
		}
		known++
	}
	return known > 0
}
