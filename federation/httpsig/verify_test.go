package httpsig_test

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/federation/httpsig"
)

const body = `{"type":"Create"}`

func post(t testing.TB) *message {
	return signed(t, http.MethodPost, "/waxwing/inbox", []byte(body), keyOf(t, 2048))
}

func TestSignedRequestVerifies(t *testing.T) {
	for name, c := range map[string]struct {
		method, target string
		body           []byte
	}{
		"POST":             {http.MethodPost, "/waxwing/inbox", []byte(body)},
		"empty POST":       {http.MethodPost, "/waxwing/inbox", []byte{}},
		"GET":              {http.MethodGet, "/users/bob", nil},
		"query":            {http.MethodGet, "/waxwing/directory?actor=https%3A%2F%2Fb&from=0", nil},
		"empty query":      {http.MethodGet, "/users/bob?", nil},
		"escaped path":     {http.MethodGet, "/users/b%C3%B6b/a%2Fb%20c", nil},
		"GET with a body":  {http.MethodGet, "/users/bob", []byte("x")},
		"root":             {http.MethodGet, "/", nil},
		"escaped new line": {http.MethodGet, "/x%0Ahost:%20c.example", nil},
	} {
		t.Run(name, func(t *testing.T) {
			m := signed(t, c.method, c.target, c.body, keyOf(t, 2048))
			got, err := m.verify(m.give)
			require.NoError(t, err)
			require.Equal(t, owner, got)
		})
	}
}

func TestSigningTwiceLeavesOneSignature(t *testing.T) {
	req, err := http.NewRequest(http.MethodGet, "https://b.example/users/bob", nil)
	require.NoError(t, err)
	for range 2 {
		require.NoError(t, httpsig.Sign(req, nil, keyID, keyOf(t, 2048), at))
	}
	require.Len(t, req.Header.Values("Signature"), 1)
	require.Equal(t, "https://b.example/users/bob", req.URL.String())
}

// What others may do and we do not.
func TestOtherSpellingsVerify(t *testing.T) {
	for name, change := range map[string]func(*message){
		"rsa-sha256":             func(m *message) { m.param("algorithm", "rsa-sha256") },
		"no algorithm":           func(m *message) { m.param("algorithm", "") },
		"space after commas":     func(m *message) { m.header(`",`, `", `) },
		"space around equals":    func(m *message) { m.header(`keyId=`, ` keyId = `) },
		"unknown parameter":      func(m *message) { m.param("x-opaque", "y, z=1") },
		"bare created":           func(m *message) { m.header(`keyId=`, `created=1402170695,keyId=`) },
		"comma in the key id":    func(m *message) { m.param("keyId", owner+"?a,b#main-key") },
		"upper-case host":        func(m *message) { m.req.Host = "B.example"; m.sign(crypto.SHA256, all, m.lines()...) },
		"list of digests":        func(m *message) { m.digest("SHA-512=eA==, " + digestOf(body)) },
		"lower-case digest name": func(m *message) { m.digest("sha-256=" + digestOf(body)[8:]) },
		"more covered": func(m *message) {
			m.sign(crypto.SHA256, all+" content-type", append(m.lines(), "content-type: application/activity+json")...)
		},
		"other order": func(m *message) {
			l := m.lines()
			m.sign(crypto.SHA256, "digest date host (request-target)", l[3], l[2], l[1], l[0])
		},
		"almost too old":   func(m *message) { m.now = at.Add(httpsig.Window) },
		"almost too early": func(m *message) { m.now = at.Add(-httpsig.Window) },
	} {
		t.Run(name, func(t *testing.T) {
			m := post(t)
			change(m)
			got, err := m.verify(m.give)
			require.NoError(t, err, m.req.Header.Get("Signature"))
			require.Equal(t, owner, got)
		})
	}
}

const all = "(request-target) host date digest"

func (m *message) header(old, replacement string) {
	m.req.Header.Set("Signature", strings.ReplaceAll(m.req.Header.Get("Signature"), old, replacement))
}

// digest changes the header and signs again.
func (m *message) digest(value string) {
	m.req.Header.Set("Digest", value)
	m.sign(crypto.SHA256, all, m.lines()...)
}

func (m *message) date(value string) {
	m.req.Header.Set("Date", value)
	m.sign(crypto.SHA256, all, m.lines()...)
}

func TestSpoiltRequests(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(*message)
		code  string
	}{
		// H1
		"no signature":       {func(m *message) { m.req.Header.Del("Signature") }, "signature_missing"},
		"empty signature":    {func(m *message) { m.req.Header.Set("Signature", "") }, "signature_malformed"},
		"two signatures":     {func(m *message) { m.req.Header.Add("Signature", m.req.Header.Get("Signature")) }, "signature_malformed"},
		"a word":             {func(m *message) { m.req.Header.Set("Signature", "Signature") }, "signature_malformed"},
		"RFC 9421":           {func(m *message) { m.req.Header.Set("Signature", "sig1=:NUp2wwn7X5Zk:") }, "signature_malformed"},
		"no key id":          {func(m *message) { m.param("keyId", "") }, "signature_malformed"},
		"empty key id":       {func(m *message) { m.header(keyID, "") }, "signature_malformed"},
		"long key id":        {func(m *message) { m.param("keyId", strings.Repeat("x", 2049)) }, "signature_malformed"},
		"long header":        {func(m *message) { m.param("x", strings.Repeat("x", 8<<10)) }, "signature_malformed"},
		"no headers":         {func(m *message) { m.param("headers", "") }, "signature_malformed"},
		"no value":           {func(m *message) { m.param("signature", "") }, "signature_malformed"},
		"key id twice":       {func(m *message) { m.header("algorithm=", `keyId="https://c.example/x",algorithm=`) }, "signature_malformed"},
		"headers twice":      {func(m *message) { m.header("algorithm=", `headers="date",algorithm=`) }, "signature_malformed"},
		"comma at the end":   {func(m *message) { m.header("headers=", `x="y",,headers=`) }, "signature_malformed"},
		"comma at the start": {func(m *message) { m.header("keyId=", ",keyId=") }, "signature_malformed"},
		"no comma":           {func(m *message) { m.header(`",`, `" `) }, "signature_malformed"},
		"open quote": {func(m *message) {
			m.req.Header.Set("Signature", strings.TrimSuffix(m.req.Header.Get("Signature"), `"`))
		}, "signature_malformed"},
		"escaped quote":           {func(m *message) { m.param("keyId", `https://a.example/\"x`) }, "signature_malformed"},
		"backslash":               {func(m *message) { m.param("keyId", `https://a.example/\x`) }, "signature_malformed"},
		"bare word":               {func(m *message) { m.header(`algorithm="hs2019"`, `algorithm=hs2019`) }, "signature_malformed"},
		"quoted name":             {func(m *message) { m.header(`algorithm=`, `"algorithm"=`) }, "signature_malformed"},
		"space in a name":         {func(m *message) { m.header(`algorithm=`, `x algorithm=`) }, "signature_malformed"},
		"rsa-sha512":              {func(m *message) { m.param("algorithm", "rsa-sha512") }, "signature_malformed"},
		"hmac-sha256":             {func(m *message) { m.param("algorithm", "hmac-sha256") }, "signature_malformed"},
		"ed25519":                 {func(m *message) { m.param("algorithm", "ed25519") }, "signature_malformed"},
		"capitals in algorithm":   {func(m *message) { m.param("algorithm", "RSA-SHA256") }, "signature_malformed"},
		"signature not base64":    {func(m *message) { m.param("signature", "!!!!") }, "signature_malformed"},
		"signature base64url":     {func(m *message) { m.param("signature", "-_-_") }, "signature_malformed"},
		"signature hides headers": {func(m *message) { m.sign(crypto.SHA256, all, m.lines()[2]); m.hide("signature") }, "signature_malformed"},

		// H2
		"target not covered":     {func(m *message) { m.param("headers", "host date digest") }, "signature_malformed"},
		"host not covered":       {func(m *message) { m.param("headers", "(request-target) date digest") }, "signature_malformed"},
		"date not covered":       {func(m *message) { m.param("headers", "(request-target) host digest") }, "signature_malformed"},
		"digest not covered":     {func(m *message) { m.sign(crypto.SHA256, "(request-target) host date", m.lines()[:3]...) }, "digest_required"},
		"only the date covered":  {func(m *message) { m.sign(crypto.SHA256, "date", m.lines()[2]) }, "signature_malformed"},
		"headers hides headers":  {func(m *message) { m.sign(crypto.SHA256, "x", m.lines()[2]); m.param("headers", all+" x,headers=date") }, "signature_malformed"},
		"capitals in headers":    {func(m *message) { m.param("headers", "(request-target) Host Date Digest") }, "signature_malformed"},
		"two spaces":             {func(m *message) { m.param("headers", "(request-target)  host date digest") }, "signature_malformed"},
		"commas for spaces":      {func(m *message) { m.param("headers", "(request-target),host,date,digest") }, "signature_malformed"},
		"covered twice":          {func(m *message) { m.param("headers", all+" date") }, "signature_malformed"},
		"covers what is absent":  {func(m *message) { m.param("headers", all+" x-missing") }, "signature_malformed"},
		"created for date":       {func(m *message) { m.param("headers", "(request-target) host (created) digest") }, "signature_malformed"},
		"created and date":       {func(m *message) { m.param("headers", all+" (created)") }, "signature_malformed"},
		"no digest":              {func(m *message) { m.req.Header.Del("Digest") }, "digest_required"},
		"two digests":            {func(m *message) { m.req.Header.Add("Digest", digestOf(body)) }, "digest_required"},
		"body and digest of GET": {func(m *message) { m.req.Method = http.MethodGet; m.req.Header.Del("Digest") }, "digest_required"},

		// H3
		"other host":       {func(m *message) { m.req.Host = "c.example" }, "signature_malformed"},
		"other port":       {func(m *message) { m.req.Host = here + ":8443" }, "signature_malformed"},
		"no host":          {func(m *message) { m.req.Host = "" }, "signature_malformed"},
		"signed elsewhere": {func(m *message) { m.req.Host = "c.example"; m.sign(crypto.SHA256, all, m.lines()...) }, "signature_malformed"},

		// H4
		"other body":          {func(m *message) { m.body = []byte(`{"type":"Delete"}`) }, "digest_mismatch"},
		"body cut short":      {func(m *message) { m.body = m.body[:5] }, "digest_mismatch"},
		"body gone":           {func(m *message) { m.body = nil }, "digest_mismatch"},
		"digest of SHA-512":   {func(m *message) { m.digest("SHA-512=" + digestOf(body)[8:]) }, "digest_mismatch"},
		"digest without name": {func(m *message) { m.digest(digestOf(body)[8:]) }, "digest_mismatch"},
		"digest in hex":       {func(m *message) { m.digest("SHA-256=" + strings.Repeat("ab", 32)) }, "digest_mismatch"},
		"first digest counts": {func(m *message) { m.digest(digestOf("x") + "," + digestOf(body)) }, "digest_mismatch"},

		// H5
		"no date":       {func(m *message) { m.req.Header.Del("Date") }, "signature_malformed"},
		"two dates":     {func(m *message) { m.req.Header.Add("Date", m.req.Header.Get("Date")) }, "signature_malformed"},
		"date in words": {func(m *message) { m.date("yesterday") }, "signature_malformed"},
		"RFC 3339 date": {func(m *message) { m.date(at.Format(time.RFC3339)) }, "signature_malformed"},
		"too old":       {func(m *message) { m.now = at.Add(httpsig.Window + time.Second) }, "signature_expired"},
		"too early":     {func(m *message) { m.now = at.Add(-httpsig.Window - time.Second) }, "signature_expired"},
		"a year old":    {func(m *message) { m.date(at.AddDate(-1, 0, 0).Format(http.TimeFormat)) }, "signature_expired"},

		// H7
		"other path":         {func(m *message) { m.req.URL.Path = "/users/bob/inbox" }, "signature_invalid"},
		"query added":        {func(m *message) { m.req.URL.RawQuery = "x=1" }, "signature_invalid"},
		"slash unescaped":    {func(m *message) { m.req.URL.Path, m.req.URL.RawPath = "/waxwing/inbox", "/waxwing%2Finbox" }, "signature_invalid"},
		"other method":       {func(m *message) { m.req.Method = http.MethodPut }, "signature_invalid"},
		"date moved":         {func(m *message) { m.req.Header.Set("Date", at.Add(time.Second).Format(http.TimeFormat)) }, "signature_invalid"},
		"body and digest":    {func(m *message) { m.body = []byte("x"); m.req.Header.Set("Digest", digestOf("x")) }, "signature_invalid"},
		"order of headers":   {func(m *message) { m.param("headers", "(request-target) date host digest") }, "signature_invalid"},
		"fewer lines":        {func(m *message) { m.sign(crypto.SHA256, all, m.lines()[:3]...) }, "signature_invalid"},
		"signed by SHA-512":  {func(m *message) { m.sign(crypto.SHA512, all, m.lines()...) }, "signature_invalid"},
		"another's key":      {func(m *message) { m.key = &keyOf(m.t, 2056).PublicKey }, "signature_invalid"},
		"key by value":       {func(m *message) { m.key = keyOf(m.t, 2048).PublicKey }, "signature_invalid"},
		"no key":             {func(m *message) { m.key = nil }, "signature_invalid"},
		"Ed25519 key":        {func(m *message) { m.key = make(ed25519.PublicKey, 32) }, "signature_invalid"},
		"key of 1024 bits":   {func(m *message) { *m = *signed(m.t, http.MethodPost, "/waxwing/inbox", m.body, keyOf(m.t, 1024)) }, "signature_invalid"},
		"short signature":    {func(m *message) { m.param("signature", "AAAA") }, "signature_invalid"},
		"signature of zeros": {func(m *message) { m.param("signature", strings.Repeat("A", 342)+"==") }, "signature_invalid"},
	} {
		t.Run(name, func(t *testing.T) {
			m := post(t)
			c.spoil(m)
			got, err := m.verify(m.give)
			require.Equal(t, c.code, codeOf(t, err), err)
			require.Empty(t, got)
		})
	}
}

// hide appends a second list of headers to the value of a parameter.
func (m *message) hide(name string) {
	_, value, _ := strings.Cut(m.req.Header.Get("Signature"), name+`="`)
	value, _, _ = strings.Cut(value, `"`)
	m.param(name, value+",headers=date")
}

func TestKeyIsAskedForAnewOnce(t *testing.T) {
	old, current := keyOf(t, 2056), keyOf(t, 2048)
	m := post(t)
	var asked []bool
	source := func(cached, fresh crypto.PublicKey) httpsig.Keys {
		asked = nil
		return func(_ context.Context, id string, anew bool) (httpsig.Key, error) {
			require.Equal(t, keyID, id)
			asked = append(asked, anew)
			if anew {
				return httpsig.Key{Owner: owner, Public: fresh}, nil
			}
			return httpsig.Key{Owner: "https://a.example/users/formerly", Public: cached}, nil
		}
	}
	got, err := m.verify(source(&old.PublicKey, &current.PublicKey))
	require.NoError(t, err)
	require.Equal(t, owner, got, "of the key that verified")
	require.Equal(t, []bool{false, true}, asked)

	_, err = m.verify(source(&old.PublicKey, &old.PublicKey))
	require.Equal(t, "signature_invalid", codeOf(t, err))
	require.Equal(t, []bool{false, true}, asked)

	_, err = m.verify(source(&current.PublicKey, nil))
	require.NoError(t, err)
	require.Equal(t, []bool{false}, asked)
}

func TestErrorsOfTheKeySourceComeBackAsTheyAre(t *testing.T) {
	gone := errors.New("gone")
	for _, failing := range []bool{false, true} {
		m := post(t)
		m.key = &keyOf(t, 2056).PublicKey
		_, err := m.verify(func(ctx context.Context, id string, fresh bool) (httpsig.Key, error) {
			if fresh == failing {
				return httpsig.Key{}, gone
			}
			return m.give(ctx, id, fresh)
		})
		require.ErrorIs(t, err, gone)
	}
}

func TestNoKeyIsFetchedForWhatIsWrongAnyway(t *testing.T) {
	m := post(t)
	m.body = []byte("x")
	_, err := m.verify(func(context.Context, string, bool) (httpsig.Key, error) {
		t.Fatal("a key was fetched")
		return httpsig.Key{}, nil
	})
	require.Equal(t, "digest_mismatch", codeOf(t, err))
}
