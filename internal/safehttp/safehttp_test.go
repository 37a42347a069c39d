package safehttp_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/internal/safehttp"
)

// at serves a handler as the host b.test.
func at(t *testing.T, h http.HandlerFunc) *safehttp.Client {
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	c := safehttp.New(safehttp.Config{Hosts: map[string]string{"b.test": s.Listener.Addr().String()}, UserAgent: "test/1"})
	t.Cleanup(c.CloseIdle)
	return c
}

func get(t *testing.T, c *safehttp.Client, u string, limit int64) (*safehttp.Response, error) {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, u, nil)
	require.NoError(t, err)
	return c.Do(req, limit)
}

func TestAnswerOfANamedHost(t *testing.T) {
	c := at(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Seen", strings.Join([]string{r.Host, r.RequestURI, r.UserAgent(), r.Header.Get("Accept-Encoding")}, "|"))
		w.WriteHeader(http.StatusTeapot)
		fmt.Fprint(w, "hello")
	})
	res, err := get(t, c, "http://b.test/a%2Fb?x=1", 5)
	require.NoError(t, err)
	require.Equal(t, []any{418, "hello", "b.test|/a%2Fb?x=1|test/1|"}, []any{res.Status, string(res.Body), res.Header.Get("X-Seen")})
}

func TestHostsHoldForTheNamedOnly(t *testing.T) {
	var asked atomic.Int32
	c := at(t, func(http.ResponseWriter, *http.Request) { asked.Add(1) })
	for _, u := range []string{
		"http://c.test/", "http://x.b.test/", "http://b.test.c.example/", "http://b.test:8080/", "http://xb.test/", "http://u@b.test/",
		"http://u:p@b.test/", "ftp://b.test/", "http://127.0.0.1/", "http://b.test.:80/",
	} {
		_, err := get(t, c, u, 10)
		require.ErrorIs(t, err, safehttp.ErrRefused, u)
	}
	require.Zero(t, asked.Load())
	_, err := get(t, c, "http://b.test/", 10)
	require.NoError(t, err)
	require.Equal(t, int32(1), asked.Load())
}

func TestHostWithAPort(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Host) }))
	defer s.Close()
	addr := s.Listener.Addr().String()
	c := safehttp.New(safehttp.Config{Hosts: map[string]string{addr: addr}})
	defer c.CloseIdle()
	res, err := get(t, c, "http://"+addr+"/", 100)
	require.NoError(t, err)
	require.Equal(t, addr, string(res.Body))
	_, err = get(t, c, "http://127.0.0.1/", 100)
	require.ErrorIs(t, err, safehttp.ErrRefused)
}

func TestRedirectsAreAnswers(t *testing.T) {
	var asked atomic.Int32
	for _, location := range []string{"/again", "http://b.test/again", "http://127.0.0.1/", "https://a.example/", "::%", "http://[::1", ""} {
		for _, status := range []int{301, 302, 303, 307, 308} {
			asked.Store(0)
			c := at(t, func(w http.ResponseWriter, _ *http.Request) {
				asked.Add(1)
				w.Header().Set("Location", location)
				w.WriteHeader(status)
			})
			res, err := get(t, c, "http://b.test/", 10)
			require.NoError(t, err, location)
			require.Equal(t, status, res.Status)
			require.Equal(t, int32(1), asked.Load())
		}
	}
}

func TestSizeLimit(t *testing.T) {
	size := 0
	body := func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/length":
			w.Header().Set("Content-Length", fmt.Sprint(size))
		case "/lie":
			w.Header().Set("Content-Length", "1000000000000")
		default:
			w.(http.Flusher).Flush() // chunked
		}
		_, _ = w.Write(make([]byte, size))
	}
	for _, path := range []string{"/length", "/chunked"} {
		c := at(t, body)
		size = 1000
		res, err := get(t, c, "http://b.test"+path, 1000)
		require.NoError(t, err)
		require.Len(t, res.Body, 1000)
		for _, size = range []int{1001, 1 << 20} {
			_, err = get(t, c, "http://b.test"+path, 1000)
			require.ErrorIs(t, err, safehttp.ErrTooLarge, path)
		}
		size = 1
		_, err = get(t, c, "http://b.test"+path, 0)
		require.ErrorIs(t, err, safehttp.ErrTooLarge)
		size = 0
		_, err = get(t, c, "http://b.test"+path, 0)
		require.NoError(t, err)
	}
	c := at(t, body)
	size = 10
	_, err := get(t, c, "http://b.test/lie", 1000)
	require.ErrorIs(t, err, safehttp.ErrTooLarge, "before any of it is read")
}

func TestStreamStopsAtTheLimit(t *testing.T) {
	c := at(t, func(w http.ResponseWriter, _ *http.Request) {
		for {
			if _, err := w.Write(make([]byte, 1<<10)); err != nil {
				return
			}
		}
	})
	req, err := http.NewRequest(http.MethodGet, "http://b.test/", nil)
	require.NoError(t, err)
	var into bytes.Buffer
	_, err = c.Stream(req, &into, 100_000)
	require.ErrorIs(t, err, safehttp.ErrTooLarge)
	require.LessOrEqual(t, into.Len(), 100_001)
}

func TestCompressionIsNotUndone(t *testing.T) {
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	_, err := z.Write(make([]byte, 1<<20))
	require.NoError(t, err)
	require.NoError(t, z.Close())
	c := at(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		_, _ = w.Write(packed.Bytes())
	})
	res, err := get(t, c, "http://b.test/", 10_000)
	require.NoError(t, err)
	require.Equal(t, packed.Bytes(), res.Body)
}

func TestLongHeadersAreRefused(t *testing.T) {
	c := at(t, func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X", strings.Repeat("x", 100<<10)) })
	_, err := get(t, c, "http://b.test/", 10)
	require.Error(t, err)
}

func TestErrorsDoNotTellTheURL(t *testing.T) {
	closed := httptest.NewServer(nil)
	gone := closed.Listener.Addr().String()
	closed.Close()
	hangUp := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }))
	defer hangUp.Close()
	short := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "50")
		_, _ = w.Write([]byte("x"))
	}))
	defer short.Close()
	echo := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", "http://[::1"+r.RequestURI)
		w.WriteHeader(302)
		_, _ = w.Write(make([]byte, 200))
	}))
	defer echo.Close()
	c := safehttp.New(safehttp.Config{Hosts: map[string]string{
		"gone.test": gone, "hang.test": hangUp.Listener.Addr().String(), "short.test": short.Listener.Addr().String(),
		"echo.test": echo.Listener.Addr().String(),
	}})
	defer c.CloseIdle()
	for _, host := range []string{
		"http://gone.test", "http://hang.test", "http://short.test", "http://echo.test", "https://echo.test", "http://c.test", "https://localhost",
		"https://10.0.0.1", "https://alice:secret@c.test", "https://c.test:1",
	} {
		_, err := get(t, c, host+"/users/secret?q=secret#secret", 100)
		require.Error(t, err, host)
		require.NotContains(t, err.Error(), "secret")
		parsed, _ := url.Parse(host)
		require.Contains(t, err.Error(), parsed.Hostname())
	}
}

func TestCancelledRequest(t *testing.T) {
	arrived, stop := make(chan struct{}), make(chan struct{})
	c := at(t, func(w http.ResponseWriter, _ *http.Request) {
		w.(http.Flusher).Flush()
		close(arrived)
		<-stop
	})
	defer close(stop)
	ctx, cancel := context.WithCancel(context.Background())
	go func() { <-arrived; cancel() }()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://b.test/", nil)
	require.NoError(t, err)
	_, err = c.Do(req, 10)
	require.ErrorIs(t, err, context.Canceled)
}

func TestAddressesAreCheckedWhenConnecting(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:443")
	if err != nil {
		t.Skip("SKIPPED: port 443 cannot be listened on here: the refusals are tested by their errors only")
	}
	defer l.Close()
	reached := make(chan struct{}, 1)
	go func() {
		if conn, err := l.Accept(); err == nil {
			conn.Close()
			reached <- struct{}{}
		}
	}()
	c := safehttp.New(safehttp.Config{})
	_, err = get(t, c, "https://localhost/", 10)
	require.ErrorIs(t, err, safehttp.ErrRefused)
	require.Empty(t, reached)
}
