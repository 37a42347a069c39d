package httpsig_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/federation/httpsig"
)

// fixtures is a folder of requests that other software has sent, one a file.
func fixtures(t *testing.T) string {
	t.Helper()
	dir := os.Getenv("WAXWING_FIXTURES")
	if dir == "" {
		dir = filepath.Join("..", "..", "..", "shared", "fixtures")
	}
	dir = filepath.Join(dir, "http")
	if _, err := os.Stat(dir); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("the captured requests are missing: no %s", dir)
		}
		t.Skipf("SKIPPED, NOT PASSED: no %s; set WAXWING_FIXTURES to a folder with http/", dir)
	}
	return dir
}

// capture reads one request as the server did that it was sent to.
func capture(t *testing.T, file string) *message {
	t.Helper()
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	head, body, ok := bytes.Cut(data, []byte("\r\n\r\n"))
	require.True(t, ok, file)
	head = bytes.Replace(head, []byte("HTTP/2.0"), []byte("HTTP/1.1"), 1)
	req, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(slices.Concat(head, []byte("\r\n\r\n")))))
	require.NoError(t, err, file)
	require.LessOrEqual(t, req.ContentLength, int64(len(body)), file)
	m := &message{t: t, req: req, body: body[:req.ContentLength]}
	if req.Header.Get("Date") != "" {
		m.now, err = http.ParseTime(req.Header.Get("Date"))
		require.NoError(t, err)
	}
	return m
}

// keyFile reads the key of a captured document.
func keyFile(t *testing.T, file string) (id, owner string, key *rsa.PublicKey) {
	t.Helper()
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	var doc struct {
		PublicKey struct{ ID, Owner, PublicKeyPem string }
	}
	require.NoError(t, json.Unmarshal(data, &doc))
	block, _ := pem.Decode([]byte(doc.PublicKey.PublicKeyPem))
	require.NotNil(t, block)
	parsed, err := x509.ParsePKIXPublicKey(block.Bytes)
	require.NoError(t, err)
	return doc.PublicKey.ID, doc.PublicKey.Owner, parsed.(*rsa.PublicKey)
}

func (m *message) verifyAt(host string, keys httpsig.Keys) (string, error) {
	m.req.RequestURI = m.req.URL.RequestURI() // tests change the URL
	return httpsig.Verify(context.Background(), httpsig.Request{Request: m.req, Body: m.body, Origin: "https://" + host, Now: m.now}, keys)
}

func TestCapturedGoToSocialRequestsVerify(t *testing.T) {
	dir := fixtures(t)
	id, owner, key := keyFile(t, filepath.Join(dir, "gts-main-key.json"))
	_, _, again := keyFile(t, filepath.Join(dir, "gts-actor.json"))
	require.True(t, key.Equal(again))
	files, err := filepath.Glob(filepath.Join(dir, "gotosocial-*.http"))
	require.NoError(t, err)
	keys := func(_ context.Context, asked string, _ bool) (httpsig.Key, error) {
		if asked != id {
			return httpsig.Key{}, errors.New("another key")
		}
		return httpsig.Key{Owner: owner, Public: key}, nil
	}
	verified, changes := 0, 0
	for _, file := range files {
		m := capture(t, file)
		if !strings.Contains(m.req.Header.Get("Signature"), id) {
			continue // signed by somebody whose key was not kept
		}
		got, err := m.verifyAt(m.req.Host, keys)
		require.NoError(t, err, file)
		require.Equal(t, owner, got)
		verified++
		changes += everyChangeFails(t, m, keys, file)
	}
	t.Logf("%d of %d captured requests are signed by the key that was kept; %d changes were refused", verified, len(files), changes)
	require.Greater(t, verified, 1)
	require.Greater(t, changes, 1000)
}

// everyChangeFails flips a bit in each byte of what is signed: target, host, date, digest, body, and the signature's value.
func everyChangeFails(t *testing.T, m *message, keys httpsig.Keys, file string) (n int) {
	host := m.req.Host
	refused := func(what string, i int) {
		t.Helper()
		n++
		_, err := m.verifyAt(host, keys)
		require.Error(t, err, "%s: byte %d of %s", file, i, what)
	}
	for i := range m.body {
		m.body[i] ^= 1
		refused("the body", i)
		m.body[i] ^= 1
	}
	for _, name := range []string{"Date", "Digest"} {
		value := m.req.Header.Get(name)
		for i := range value {
			m.req.Header.Set(name, flipped(value, i))
			refused(name, i)
			m.req.Header.Set(name, value)
		}
	}
	target := m.req.RequestURI
	for i := 1; i < len(target); i++ {
		m.req.URL = &url.URL{Opaque: flipped(target, i)}
		refused("the target", i)
		m.req.URL = &url.URL{Opaque: target}
	}
	for i := range host {
		m.req.Host = flipped(host, i)
		refused("Host", i)
	}
	m.req.Host = host
	header := m.req.Header.Get("Signature")
	start := strings.Index(header, `signature="`) + len(`signature="`)
	for i := start; i < len(header)-1; i++ {
		if header[i] != '=' {
			m.req.Header.Set("Signature", flipped(header, i))
			refused("the signature", i)
		}
	}
	m.req.Header.Set("Signature", header)
	_, err := m.verifyAt(host, keys)
	require.NoError(t, err, "put back")
	return n
}

func flipped(s string, i int) string {
	b := []byte(s)
	b[i] ^= 1
	return string(b)
}

// The keys of these were not kept: what can be told without them is that they come as far as the key.
func TestCapturedFedifyRequestsCanBeRead(t *testing.T) {
	dir := fixtures(t)
	for name, code := range map[string]string{
		"Fedify-GET-b-test-users-bob.http":            "signature_invalid",
		"node-GET-a-test-users-alice.http":            "signature_invalid",
		"node-POST-b-test-users-bob-inbox.http":       "signature_invalid",
		"Fedify-GET-b-test-users-bob-rfc9421.http":    "signature_invalid",
		"curl-GET-a-test-users-alice-main-key.http":   "signature_missing",
		"gotosocial-GET-a-test-users-alice.http":      "signature_invalid",
		"gotosocial-POST-b-test-users-bob-inbox.http": "signature_expired",
	} {
		m := capture(t, filepath.Join(dir, name))
		if code == "signature_expired" {
			m.now = m.now.Add(time.Hour)
		}
		_, err := m.verifyAt(m.req.Host, func(context.Context, string, bool) (httpsig.Key, error) {
			return httpsig.Key{Owner: owner, Public: &keyOf(t, 2048).PublicKey}, nil
		})
		require.Equal(t, code, codeOf(t, err), name)
	}
}
