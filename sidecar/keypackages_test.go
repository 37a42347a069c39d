package sidecar_test

import (
	"crypto/rand"
	"encoding/json"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/internal/clientapi"
	"github.com/waxwing-dm/waxwing/mls"
)

func (d *device) upload(n int) {
	in := clientapi.KeyPackages{LastResort: d.keyPackage(true)}
	for range n {
		in.OneTime = append(in.OneTime, d.keyPackage(false))
	}
	got, err := d.PutKeyPackages(ctx, in)
	require.NoError(d.box.w.t, err)
	require.Equal(d.box.w.t, n, got)
}

func TestClaimIsOnceEverywhere(t *testing.T) {
	_, a, b := two(t)
	alice, bob := a.person("alice"), b.person("bob")
	local := b.person("bella")
	bob.upload(20)

	var mu sync.Mutex
	seen := map[string]int{}
	claim := func(as *device) {
		packages, err := as.Claim(ctx, bob.actor)
		require.NoError(t, err)
		require.Len(t, packages, 1)
		require.Equal(t, bob.id, packages[0].Device)
		kp, err := mls.ParseKeyPackage(packages[0].KeyPackage)
		require.NoError(t, err)
		require.Equal(t, packages[0].LastResort, kp.LastResort())
		mu.Lock()
		defer mu.Unlock()
		if !packages[0].LastResort {
			seen[string(packages[0].KeyPackage)]++
		}
	}
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for range 2 {
				claim([]*device{alice, local}[i%2])
			}
		})
	}
	wg.Wait()
	require.Equal(t, 16, len(seen))
	b.crash()
	b.start()
	for range 6 {
		claim(alice)
	}
	require.Equal(t, 20, len(seen))
	for _, times := range seen {
		require.Equal(t, 1, times)
	}
	account, err := bob.Account(ctx)
	require.NoError(t, err)
	require.Equal(t, []any{0, true}, []any{account.OneTime, account.LastResort})

	_, err = alice.Claim(ctx, "http://b.test/users/nobody")
	requireProblem(t, err, 404, "no_such_recipient")
	packages, err := bob.Claim(ctx, alice.actor)
	require.NoError(t, err)
	require.Empty(t, packages, "alice has uploaded none")
}

func TestClaimsAreLimited(t *testing.T) {
	w := newWorld(t)
	a := w.box("a.test").start()
	alice, bob := a.person("alice"), a.person("bob")
	bob.upload(0)
	for range 50 {
		_, err := alice.Claim(ctx, bob.actor)
		require.NoError(t, err)
	}
	_, err := alice.Claim(ctx, bob.actor)
	p := requireProblem(t, err, 429, "rate_limited")
	require.Equal(t, []any{true, 5}, []any{p.Retry, p.RetryAfter})
	_, err = bob.Claim(ctx, bob.actor)
	require.NoError(t, err, "somebody else's claims")
	w.advance(5 * time.Second)
	_, err = alice.Claim(ctx, bob.actor)
	require.NoError(t, err)
}

func TestKeyPackagesRefused(t *testing.T) {
	w := newWorld(t)
	a := w.box("a.test").start()
	alice := a.person("alice")
	code, err := a.NewCode("alice")
	require.NoError(t, err)
	unlogged := a.login("alice", code)
	alice.upload(1)
	before := a.rows()
	now := uint64(w.now().Unix())
	flipped := alice.keyPackage(false)
	flipped[len(flipped)-1] ^= 1
	otherKey, err := mls.GenerateSignatureKey(mls.X25519AES128GCMSHA256Ed25519, rand.Reader)
	require.NoError(t, err)
	for name, c := range map[string]struct {
		as   *device
		raw  []byte
		code string
	}{
		"garbage":   {alice, []byte("garbage"), "mls_malformed"},
		"empty":     {alice, []byte{}, "mls_malformed"},
		"trailing":  {alice, append(alice.keyPackage(false), 0), "mls_malformed"},
		"framed":    {alice, append([]byte{0, 1, 0, 5}, alice.keyPackage(false)...), "mls_malformed"},
		"signature": {alice, flipped, "kp_invalid"},
		"suite":     {alice, alice.keyPackage(false, func(p *mls.KeyPackageParams) { p.Suite = mls.X25519ChaCha20Poly1305SHA256Ed25519 }), "suite_unsupported"},
		"identity":  {alice, alice.keyPackage(false, func(p *mls.KeyPackageParams) { p.Credential = mls.BasicCredential([]byte("http://a.test/users/bob")) }), "kp_identity"},
		"credential": {alice, alice.keyPackage(false, func(p *mls.KeyPackageParams) {
			p.Credential = mls.Credential{Type: mls.CredentialX509, Certificates: [][]byte{{1}}}
			p.Capabilities.Credentials = []mls.CredentialType{mls.CredentialX509}
		}), "kp_identity"},
		"too long":      {alice, alice.keyPackage(false, func(p *mls.KeyPackageParams) { p.Lifetime.NotAfter = now + 100*24*3600 }), "kp_lifetime"},
		"for ever":      {alice, alice.keyPackage(false, func(p *mls.KeyPackageParams) { p.Lifetime = mls.Lifetime{NotAfter: 1<<64 - 1} }), "kp_lifetime"},
		"expired":       {alice, alice.keyPackage(false, func(p *mls.KeyPackageParams) { p.Lifetime = mls.Lifetime{NotBefore: now - 100, NotAfter: now - 1} }), "kp_expired"},
		"not yet":       {alice, alice.keyPackage(false, func(p *mls.KeyPackageParams) { p.Lifetime = mls.Lifetime{NotBefore: now + 7200, NotAfter: now + 9000} }), "kp_expired"},
		"other key":     {alice, alice.keyPackage(false, func(p *mls.KeyPackageParams) { p.Signer = otherKey }), "kp_not_logged"},
		"not published": {unlogged, unlogged.keyPackage(false), "kp_not_logged"},
		"other device":  {unlogged, alice.keyPackage(false), "kp_not_logged"},
	} {
		t.Run(name, func(t *testing.T) {
			good := clientapi.Bytes(alice.keyPackage(false))
			_, err := c.as.PutKeyPackages(ctx, clientapi.KeyPackages{OneTime: []clientapi.Bytes{good, c.raw}})
			requireProblem(t, err, 422, c.code)
			if len(c.raw) > 0 {
				_, err = c.as.PutKeyPackages(ctx, clientapi.KeyPackages{OneTime: []clientapi.Bytes{}, LastResort: c.raw})
				requireProblem(t, err, 422, c.code)
			}
		})
	}
	_, err = alice.PutKeyPackages(ctx, clientapi.KeyPackages{OneTime: make([]clientapi.Bytes, 101)})
	requireProblem(t, err, 400, "request_invalid")
	require.Equal(t, before, a.rows(), "a refused upload left something")
}

func TestKeyPackagesCollectionShowsLastResortOnly(t *testing.T) {
	w := newWorld(t)
	a := w.box("a.test").start()
	alice := a.person("alice")
	alice.upload(3)
	res, body := a.get("/users/alice/key-packages")
	require.Equal(t, 200, res.StatusCode)
	var doc struct {
		TotalItems int `json:"totalItems"`
		Items      []struct {
			Type         []string
			Content      []byte
			MediaType    string
			Encoding     string
			Ciphersuite  string
			AttributedTo string
		}
	}
	require.NoError(t, json.Unmarshal(body, &doc))
	require.Equal(t, 1, doc.TotalItems)
	kp, err := mls.ParseKeyPackage(doc.Items[0].Content)
	require.NoError(t, err)
	require.True(t, kp.LastResort())
	require.Equal(t, []string{"Object", "KeyPackage"}, doc.Items[0].Type)
	require.Equal(t, []string{"message/mls", "base64", "MLS_128_DHKEMX25519_AES128GCM_SHA256_Ed25519", alice.actor},
		[]string{doc.Items[0].MediaType, doc.Items[0].Encoding, doc.Items[0].Ciphersuite, doc.Items[0].AttributedTo})
	require.Equal(t, 3, a.rows()["key_package"], "looking is not claiming")
}
