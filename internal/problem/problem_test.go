package problem_test

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/internal/problem"
)

func TestWhatIsWrittenCanBeRead(t *testing.T) {
	for name, p := range map[string]*problem.Problem{
		"plain":       problem.New(404, "not_found", "there is nothing %s", "here"),
		"retry":       problem.New(503, "busy", "later"),
		"with a wait": {Status: 429, Code: "rate_limited", Detail: "slow down", Retry: true, RetryAfter: 17},
		"changed":     {Status: 409, Code: "epoch_stale", Detail: "lost", Retry: true},
		"with more":   problem.New(400, "json_invalid", "no").With("offset", 12.0).With("list", []any{"a", nil, true}),
	} {
		t.Run(name, func(t *testing.T) {
			w := httptest.NewRecorder()
			problem.Write(w, p)
			res := w.Result()
			require.Equal(t, p.Status, res.StatusCode)
			require.Equal(t, "application/problem+json", res.Header.Get("Content-Type"))
			require.Equal(t, "no-store", res.Header.Get("Cache-Control"))
			got := problem.Read(res.StatusCode, res.Header, res.Body)
			if p.Extra == nil {
				p.Extra = map[string]any{}
			}
			require.Equal(t, p, got)
			var err error = got
			require.Contains(t, err.Error(), p.Code)
		})
	}
}

func TestExtraMembersDoNotReplaceOurs(t *testing.T) {
	p := problem.New(403, "refused", "no").With("code", "granted").With("status", 200).With("retry", true)
	data, err := json.Marshal(p)
	require.NoError(t, err)
	require.JSONEq(t, `{"type":"about:blank","title":"Forbidden","status":403,"code":"refused","detail":"no","retry":false}`, string(data))
}

func TestWriteOfWhatCannotBeWritten(t *testing.T) {
	w := httptest.NewRecorder()
	problem.Write(w, problem.New(400, "x", "y").With("f", func() {}))
	require.Equal(t, http.StatusInternalServerError, w.Code)
}

func TestRetryFlag(t *testing.T) {
	retried := map[int]bool{408: true, 425: true, 429: true}
	for status := 300; status < 600; status++ {
		want := retried[status] || status >= 500
		require.Equal(t, want, problem.Retryable(status), status)
		require.Equal(t, want, problem.New(status, "x", "y").Retry, status)
		require.Equal(t, want, problem.Read(status, nil, strings.NewReader("no problem document")).Retry, status)
	}
}

func TestReadOfForeignBodies(t *testing.T) {
	long := strings.Repeat("x", 1000)
	for name, c := range map[string]struct {
		body, code, detail string
	}{
		"nothing":            {"", "http_403", ""},
		"HTML":               {"<html>no</html>", "http_403", ""},
		"null":               {"null", "http_403", ""},
		"array":              {"[]", "http_403", ""},
		"string":             {`"code"`, "http_403", ""},
		"empty object":       {"{}", "http_403", ""},
		"other types":        {`{"code":5,"detail":["x"],"retry":"yes"}`, "http_403", ""},
		"code twice":         {`{"code":"refused","Code":"granted"}`, "http_403", ""},
		"trailing":           {`{"code":"refused"} x`, "http_403", ""},
		"deep":               {`{"code":"refused","x":` + strings.Repeat("[", 70) + strings.Repeat("]", 70) + `}`, "http_403", ""},
		"bad UTF-8":          {"{\"code\":\"refused\",\"detail\":\"\xff\"}", "http_403", ""},
		"cut short":          {`{"code":"refused"`, "http_403", ""},
		"too large":          {`{"code":"refused","x":"` + strings.Repeat("x", 2<<20) + `"}`, "http_403", ""},
		"no code":            {`{"detail":"no"}`, "http_403", "no"},
		"empty code":         {`{"code":"","detail":"no"}`, "http_403", "no"},
		"long code":          {`{"code":"` + long + `","detail":"no"}`, "http_403", "no"},
		"code of characters": {`{"code":"a\nb","detail":"no"}`, "http_403", "no"},
		"code in capitals":   {`{"code":"Refused","detail":"no"}`, "http_403", "no"},
		"long detail":        {`{"code":"refused","detail":"` + long + `"}`, "refused", long[:500]},
		"terminal sequences": {`{"code":"refused","detail":"a\u001b[2Jb\r\nc\u202ed\u0000"}`, "refused", "a[2Jbcd"},
		"other letters":      {`{"code":"refused","detail":"né 日本 😀"}`, "refused", "né 日本 😀"},
		"format verbs":       {`{"code":"refused","detail":"100%s"}`, "refused", "100%s"},
	} {
		t.Run(name, func(t *testing.T) {
			p := problem.Read(403, http.Header{}, strings.NewReader(c.body))
			if c.detail == "" {
				c.detail = "the other side answered Forbidden"
			}
			require.Equal(t, []any{403, c.code, c.detail, false}, []any{p.Status, p.Code, p.Detail, p.Retry})
		})
	}
}

func TestReadTakesStatusFromTheAnswerOnly(t *testing.T) {
	p := problem.Read(500, nil, strings.NewReader(`{"status":200,"code":"x","retry":false,"more":1}`))
	require.Equal(t, 500, p.Status)
	require.False(t, p.Retry)
	require.Equal(t, map[string]any{"more": 1.0}, p.Extra)
}

type broken struct{ io.Reader }

func (b broken) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if err == io.EOF {
		err = errors.New("connection reset")
	}
	return n, err
}

func TestReadOfABrokenConnection(t *testing.T) {
	p := problem.Read(409, nil, broken{strings.NewReader(`{"code":"epoch_stale"}`)})
	require.Equal(t, "http_409", p.Code)
}

func TestRetryAfter(t *testing.T) {
	const week = 7 * 24 * 60 * 60
	for value, want := range map[string]int{
		"": 0, "30": 30, "0": 0, "-5": 0, "x": 0, "1.5": 0, " 30": 0, "604801": week, "9223372036854775807": week, "99999999999999999999": 0,
		"Sun, 01 Mar 2026 12:02:00 GMT": 120,
		"Sun, 01 Mar 2026 11:00:00 GMT": 0,
		"Sun, 01 Mar 2099 12:00:00 GMT": week,
		"Sun, 01 Mar 2026 12:02:00":     0,
	} {
		header := http.Header{"Date": {"Sun, 01 Mar 2026 12:00:00 GMT"}, "Retry-After": {value}}
		require.Equal(t, want, problem.Read(503, header, strings.NewReader("")).RetryAfter, value)
	}
	noClock := http.Header{"Retry-After": {"Sun, 01 Mar 2026 12:02:00 GMT"}}
	require.Zero(t, problem.Read(503, noClock, strings.NewReader("")).RetryAfter)
}

func FuzzRead(f *testing.F) {
	for _, seed := range []string{`{"code":"x","detail":"y","retry":true,"more":{"a":[1]}}`, `null`, `{"status":1}`, `{"code":"\u001b"}`, "", `[`} {
		f.Add(400, "5", []byte(seed))
	}
	f.Fuzz(func(t *testing.T, status int, after string, body []byte) {
		p := problem.Read(status, http.Header{"Retry-After": {after}}, strings.NewReader(string(body)))
		require.Equal(t, status, p.Status)
		require.NotEmpty(t, p.Code)
		require.LessOrEqual(t, len(p.Code), 64)
		require.LessOrEqual(t, utf8.RuneCountInString(p.Detail), 500)
		require.False(t, strings.ContainsFunc(p.Detail, func(r rune) bool { return !unicode.IsPrint(r) }))
		require.GreaterOrEqual(t, p.RetryAfter, 0)
		data, err := json.Marshal(p)
		require.NoError(t, err)
		again := problem.Read(status, http.Header{"Retry-After": {after}}, strings.NewReader(string(data)))
		if strings.HasPrefix(p.Code, "http_") || p.Detail == "" {
			return
		}
		require.Equal(t, []any{p.Code, p.Detail, p.Retry}, []any{again.Code, again.Detail, again.Retry})
	})
}

// TestWrittenAlike: the short way of writing one and the long one come to the same bytes.
func TestWrittenAlike(t *testing.T) {
	for _, detail := range []string{"", "one sentence; with (marks), 100 of them!", `"x"`, `\`, "<&>", "\x00\n", "é", "\u2028", "\xff", "\x7f"} {
		for _, status := range []int{http.StatusTeapot, http.StatusTooManyRequests, 599} {
			p := problem.New(status, "some_code", "%s", detail)
			got, err := json.Marshal(p)
			require.NoError(t, err)
			want, err := json.Marshal(map[string]any{
				"type": "about:blank", "title": http.StatusText(status), "status": status, "code": "some_code", "detail": detail, "retry": p.Retry,
			})
			require.NoError(t, err)
			require.Equal(t, string(want), string(got))
		}
	}
}
