package httpsig_test

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"encoding/base64"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/federation/httpsig"
)

// FuzzSignatureHeader looks for a header that makes Verify panic, or that lets a signature over less than it demands through:
// the one in the seeds is over the date alone.
func FuzzSignatureHeader(f *testing.F) {
	whole, part := post(f), post(f)
	part.sign(crypto.SHA256, "date", part.lines()[2])
	header := part.req.Header.Get("Signature")
	for _, seed := range []string{
		whole.req.Header.Get("Signature"), header, "", "Signature", `keyId="`, `a=1,b="2",`, `sig1=:AAAA:`,
		strings.Replace(header, `"date"`, `"`+all+` ,headers=date"`, 1),
		strings.Replace(header, `"date"`, `"`+all+`"`, 1) + `,headers=date`,
		strings.Replace(header, `"date"`, `"`+all+` "date"`, 1),
	} {
		f.Add(seed)
	}
	valid := func(s string) bool {
		_, value, _ := strings.Cut(whole.req.Header.Get("Signature"), `signature="`)
		return strings.Contains(s, strings.TrimSuffix(value, `"`))
	}
	f.Fuzz(func(t *testing.T, s string) {
		m := post(t)
		m.req.Header = http.Header{"Signature": {s}, "Date": m.req.Header["Date"], "Digest": m.req.Header["Digest"]}
		got, err := m.verify(func(_ context.Context, id string, _ bool) (httpsig.Key, error) {
			require.NotEmpty(t, id)
			require.LessOrEqual(t, len(id), 2048)
			return httpsig.Key{Owner: owner, Public: m.key}, nil
		})
		if err == nil {
			require.Equal(t, owner, got)
			require.True(t, valid(s), "verified without the signature over everything")
			return
		}
		require.NotEmpty(t, codeOf(t, err))
	})
}

// FuzzRFC9421 looks for headers that make Verify panic, or that let a signature through which is not over method, target and digest:
// the seeds have some over less.
func FuzzRFC9421(f *testing.F) {
	whole := sent(f, http.MethodPost, "/waxwing/inbox", []byte(body), edKey)
	input, signature := whole.req.Header.Get("Signature-Input"), whole.req.Header.Get("Signature")
	less := strings.Replace(input, ` "content-digest"`, "", 1)
	base := `"@method": POST` + "\n" + `"@target-uri": https://b.example/waxwing/inbox` + "\n" + `"@signature-params": ` + strings.TrimPrefix(less, "sig1=")
	over := "sig1=:" + base64.StdEncoding.EncodeToString(ed25519.Sign(edKey, []byte(base))) + ":"
	for _, seed := range [][2]string{
		{input, signature}, {less, over}, {input, over}, {less + ", " + input, over}, {input + "," + less, over + "," + signature}, {"sig1=()", "sig1=::"},
		{input + ";created=1", signature}, {strings.Replace(input, `"@method"`, `"@method";req`, 1), signature}, {`a=("\"" "\\");keyid="\""`, "a=:AA==:"}, {"", ""}, {"(", "="},
	} {
		f.Add(seed[0], seed[1], whole.req.Header.Get("Content-Digest"))
	}
	f.Fuzz(func(t *testing.T, input, signature, digest string) {
		m := sent(t, http.MethodPost, "/waxwing/inbox", []byte(body), edKey)
		m.req.Header = http.Header{"Signature-Input": {input}, "Signature": {signature}, "Content-Digest": {digest}}
		_, err := m.verify(func(_ context.Context, id string, _ bool) (httpsig.Key, error) {
			require.NotEmpty(t, id)
			require.LessOrEqual(t, len(id), 2048)
			return httpsig.Key{Owner: owner, Public: m.key}, nil
		})
		if err != nil {
			require.NotEmpty(t, codeOf(t, err))
			return
		}
		require.NotContains(t, signature, strings.TrimPrefix(over, "sig1="), "verified without the digest")
		for _, must := range []string{`"@method"`, `"@target-uri"`, `"content-digest"`} {
			require.Contains(t, input, must)
		}
	})
}
