package main

import (
	"bytes"
	"context"
	"net/http"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// output may be written while it is read.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

func run(ctx context.Context, out *output, args ...string) error {
	cmd := newCommand()
	cmd.SetOut(out)
	cmd.SetErr(out)
	cmd.SetArgs(args)
	return cmd.ExecuteContext(ctx)
}

var code = regexp.MustCompile(`login code: ([a-z2-7]{5}(-[a-z2-7]{5}){3})\n`)

func TestAccounts(t *testing.T) {
	ctx, data := context.Background(), filepath.Join(t.TempDir(), "data")
	var out output
	require.ErrorContains(t, run(ctx, &out, "account", "add", "alice", "--data", data), "--instance")
	require.NoError(t, run(ctx, &out, "account", "add", "alice", "--data", data, "--instance", "https://a.example"))
	first := code.FindStringSubmatch(out.String())
	require.NotNil(t, first, out.String())
	require.Contains(t, out.String(), "@alice@a.example")
	require.ErrorContains(t, run(ctx, &out, "account", "add", "alice", "--data", data), "account code alice")
	require.ErrorContains(t, run(ctx, &out, "account", "add", "../x", "--data", data), "name")
	require.ErrorContains(t, run(ctx, &out, "account", "code", "bob", "--data", data), "none of that name")
	out = output{}
	require.NoError(t, run(ctx, &out, "account", "code", "alice", "--data", data))
	second := code.FindStringSubmatch(out.String())
	require.NotNil(t, second, out.String())
	require.NotEqual(t, first[1], second[1])
	require.ErrorContains(t, run(ctx, &out, "account", "add", "bob", "--data", data, "--instance", "https://b.example"), "another folder")
}

func TestServe(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var out output
	data := t.TempDir()
	require.ErrorContains(t, run(ctx, &out, "serve", "--instance", "https://a.example", "--data", data), "--standalone")
	done := make(chan error, 1)
	go func() {
		done <- run(ctx, &out, "serve", "--standalone", "--instance", "https://a.example", "--data", data, "--listen", "127.0.0.1:0")
	}()
	listen := regexp.MustCompile(`listen=(\S+)`)
	require.Eventually(t, func() bool { return listen.MatchString(out.String()) }, 10*time.Second, 5*time.Millisecond)
	addr := listen.FindStringSubmatch(out.String())[1]
	res, err := http.Get("http://" + addr + "/.well-known/waxwing")
	require.NoError(t, err)
	require.NoError(t, res.Body.Close())
	require.Equal(t, 200, res.StatusCode)
	var other output
	require.NoError(t, run(context.Background(), &other, "account", "add", "alice", "--data", data), "while it is serving")
	cancel()
	require.NoError(t, <-done)
}

func TestHelp(t *testing.T) {
	for _, args := range []string{"", "serve", "account", "account add", "account code", "version"} {
		var out output
		require.NoError(t, run(context.Background(), &out, append(strings.Fields(args), "--help")...))
		require.NotEmpty(t, out.String())
		if strings.Contains(args, " ") || args == "serve" {
			require.Contains(t, out.String(), "Examples:")
		}
	}
	var out output
	require.NoError(t, run(context.Background(), &out, "version"))
	require.Contains(t, out.String(), "waxwingd")
	require.Error(t, run(context.Background(), &out, "nonsense"))
}
