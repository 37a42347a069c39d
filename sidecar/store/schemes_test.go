package store_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/federation"
)

func TestSchemesAreRemembered(t *testing.T) {
	s, dir := fresh(t)
	check := func(host string, want federation.Scheme, at time.Time) {
		t.Helper()
		got, learnt, err := s.Schemes.Scheme(ctx, host)
		require.NoError(t, err)
		require.Equal(t, want, got)
		if want != "" {
			require.Equal(t, at, learnt)
		}
	}
	check("https://b.test", "", time.Time{})
	require.NoError(t, s.Schemes.SetScheme(ctx, "https://b.test", federation.SchemeRFC9421, now))
	require.NoError(t, s.Schemes.SetScheme(ctx, "https://c.test", federation.SchemeService, now))
	require.NoError(t, s.Schemes.SetScheme(ctx, "https://b.test", federation.SchemeCavage, now.Add(time.Hour)))
	s = reopen(t, s, dir)
	check("https://b.test", federation.SchemeCavage, now.Add(time.Hour))
	check("https://c.test", federation.SchemeService, now)
	check("https://d.test", "", time.Time{})
	require.NoError(t, s.Sweep(ctx, now.Add(90*24*time.Hour+time.Minute)))
	check("https://b.test", federation.SchemeCavage, now.Add(time.Hour))
	check("https://c.test", "", time.Time{})
}
