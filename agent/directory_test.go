package agent

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/device"
	"github.com/waxwing-dm/waxwing/internal/problem"
)

func TestParseHandle(t *testing.T) {
	for handle, want := range map[string]string{
		"@alice@a.example": "alice a.example", "alice@a.example": "alice a.example", "@alice@A.Example": "alice a.example",
		"@alice@a.example:8443": "alice a.example:8443", "@Ali.ce-_@a.example": "Ali.ce-_ a.example",
	} {
		name, host, err := parseHandle(handle)
		require.NoError(t, err, handle)
		require.Equal(t, want, name+" "+host)
	}
	for _, handle := range []string{
		"", "@", "@@", "alice", "@alice", "@alice@", "@@a.example", "@alice@a.example/x", "@alice@a.example?x", "@alice@a.example#x", "@alice@a@b",
		"@alice@a.example\r\nX: y", "@al ice@a.example", "@al/ice@a.example", "@alice@a.example:x", "@alice@%61.example", "@alice@a example",
		"@" + strings.Repeat("a", 400) + "@a.example", "@alice@[", "https://a.example/users/alice",
	} {
		_, _, err := parseHandle(handle)
		require.ErrorIs(t, err, ErrHandle, handle)
	}
}

func FuzzHandle(f *testing.F) {
	f.Add("@alice@a.example")
	f.Add("alice@[::1]:80")
	f.Fuzz(func(t *testing.T, handle string) {
		name, host, err := parseHandle(handle)
		if err != nil {
			return
		}
		again, sameHost, err := parseHandle("@" + name + "@" + host)
		require.NoError(t, err)
		require.Equal(t, name+"@"+host, again+"@"+sameHost)
	})
}

func TestHandleOf(t *testing.T) {
	for actor, want := range map[string]string{
		"https://a.example/users/alice": "@alice@a.example", "http://a.test:81/users/bob": "@bob@a.test:81",
		"https://a.example/u/alice": "https://a.example/u/alice", "https://a.example/users/a/b": "https://a.example/users/a/b",
		"https://a.example/users/": "https://a.example/users/", "%": "%",
		"https://evil.example/users/x%1b%5b2J":             "https://evil.example/users/x%1b%5b2J",
		"https://evil.example/users/alice@a.example:%20hi": "https://evil.example/users/alice@a.example:%20hi",
		"https://a.example/users/alice?x":                  "https://a.example/users/alice?x",
		"https://x@a.example/users/alice":                  "https://x@a.example/users/alice",
		"https://a.example/users/%61lice":                  "https://a.example/users/%61lice",
	} {
		require.Equal(t, want, HandleOf(actor))
	}
}

func TestSelfLink(t *testing.T) {
	link := func(rel, kind, href string) string {
		return `{"links":[{"rel":"` + rel + `","type":"` + kind + `","href":"` + href + `"}]}`
	}
	actor, err := selfLink([]byte(link("self", "application/activity+json", "https://a.example/users/alice")), "https://a.example")
	require.NoError(t, err)
	require.Equal(t, "https://a.example/users/alice", actor)
	for name, c := range map[string]struct {
		body string
		want error
	}{
		"another host":         {link("self", "application/activity+json", "https://b.example/users/alice"), ErrNobody},
		"host that begins so":  {link("self", "application/activity+json", "https://a.example.evil/users/alice"), ErrNobody},
		"user in the URL":      {link("self", "application/activity+json", "https://a.example@evil/users/alice"), ErrNobody},
		"plain http":           {link("self", "application/activity+json", "http://a.example/users/alice"), ErrNobody},
		"page":                 {link("self", "text/html", "https://a.example/users/alice"), ErrNobody},
		"another relation":     {link("profile", "application/activity+json", "https://a.example/users/alice"), ErrNobody},
		"no links":             {`{}`, ErrNobody},
		"no JSON":              {`<xml/>`, ErrUnreachable},
		"twice the same thing": {`{"links":[],"links":[]}`, ErrUnreachable},
	} {
		_, err := selfLink([]byte(c.body), "https://a.example")
		require.ErrorIs(t, err, c.want, name)
	}
}

func FuzzSelfLink(f *testing.F) {
	f.Add([]byte(`{"links":[{"rel":"self","type":"application/activity+json","href":"https://a.example/users/alice"}]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		actor, err := selfLink(body, "https://a.example")
		require.True(t, err != nil || strings.HasPrefix(actor, "https://a.example/"))
	})
}

func TestVerdict(t *testing.T) {
	final := func(err error, before int) bool { _, _, f := verdict(err, before); return f }
	require.False(t, final(errors.New("connection reset"), 100), "the line is never a reason to give up")
	require.False(t, final(problem.New(503, "busy", "x"), 100))
	require.False(t, final(problem.New(429, "rate_limited", "x"), 100))
	require.False(t, final(problem.New(401, "token_required", "x"), 100), "a login makes the job good again")
	require.True(t, final(problem.New(422, "mls_malformed", "x"), 0))
	require.True(t, final(problem.New(403, "not_member", "x"), 0))
	require.False(t, final(problem.Read(404, nil, strings.NewReader("<h1>nginx")), 100), "the sidecar is being replaced")
	require.True(t, final(problem.Read(413, nil, strings.NewReader("<h1>nginx")), 0))
	require.False(t, final(errors.Join(device.ErrReceipt, errors.New("R1")), 0), "others may have got a better one")
	require.True(t, final(errors.Join(device.ErrReceipt, errors.New("R1")), receiptTries-1))
	require.False(t, final(errors.Join(ErrUnproven, errors.New("A2")), 0))
	require.True(t, final(errors.Join(ErrUnproven, errors.New("A2")), proofTries-1))
}

func TestBackOff(t *testing.T) {
	last := time.Duration(0)
	for failures := range 10 {
		wait := backOff(failures)
		require.LessOrEqual(t, wait, firstWait<<failures)
		require.Greater(t, wait, last*2/3)
		last = wait
	}
	require.LessOrEqual(t, backOff(1000), longestWait)
	require.Greater(t, backOff(1000), longestWait/2)
}
