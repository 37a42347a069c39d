package httpsig_test

import (
	"context"
	"crypto"
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
