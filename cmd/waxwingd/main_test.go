package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"

	"github.com/waxwing-dm/waxwing/sidecar"
	"github.com/waxwing-dm/waxwing/transparency"
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

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		if text := os.Getenv(hostsOfProgram); text != "" {
			if err := json.Unmarshal([]byte(text), &hosts); err != nil {
				panic(err)
			}
		}
		main()
		return
	}
	os.Setenv("WAXWINGD_ADMIN_LISTEN", "127.0.0.1:0") // tests run beside each other
	os.Exit(m.Run())
}

// asProgram makes the test binary waxwingd itself.
const asProgram = "WAXWING_TEST_AS_PROGRAM"

// hostsOfProgram says, in JSON, where it finds other servers.
const hostsOfProgram = "WAXWING_TEST_HOSTS"

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

func TestErase(t *testing.T) {
	ctx, data := context.Background(), filepath.Join(t.TempDir(), "data")
	typed := func(answer string, args ...string) (string, error) {
		var out output
		cmd := newCommand()
		cmd.SetIn(strings.NewReader(answer))
		cmd.SetOut(&out)
		cmd.SetArgs(append(args, "--data", data))
		err := cmd.ExecuteContext(ctx)
		return out.String(), err
	}
	_, err := typed("", "account", "add", "alice", "--instance", "https://a.example")
	require.NoError(t, err)
	for _, answer := range []string{"", "alice\n", "@bob@a.example\n", "y\n"} {
		_, err = typed(answer, "erase", "alice")
		require.ErrorContains(t, err, "nothing was erased")
	}
	out, err := typed("@alice@a.example\n", "erase", "alice")
	require.NoError(t, err)
	require.Contains(t, out, "done: lookups are refused")
	_, err = typed("", "erase", "alice", "--yes")
	require.ErrorContains(t, err, "none of that name", "she never published anything")
	_, err = typed("", "account", "add", "alice")
	require.NoError(t, err, "anew")
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
	for _, args := range []string{"", "init", "serve", "status", "config", "config check", "witness", "witness key", "witness accept", "account", "account add", "account code", "erase", "version"} {
		var out output
		require.NoError(t, run(context.Background(), &out, append(strings.Fields(args), "--help")...))
		require.NotEmpty(t, out.String())
		if strings.Contains(args, " ") || slices.Contains([]string{"init", "serve", "status", "witness"}, args) {
			require.Contains(t, out.String(), "Examples:")
		}
	}
	var out output
	require.NoError(t, run(context.Background(), &out, "version"))
	require.Contains(t, out.String(), "waxwingd")
	require.Error(t, run(context.Background(), &out, "nonsense"))
}

func TestWitnessPolicy(t *testing.T) {
	ctx, data := context.Background(), t.TempDir()
	serve := func(policy string) error {
		path := filepath.Join(t.TempDir(), "policy")
		require.NoError(t, os.WriteFile(path, []byte(policy), 0o600))
		return run(ctx, new(output), "serve", "--standalone", "--instance", "https://a.example", "--data", data, "--listen", "127.0.0.1:0", "--witnesses", path)
	}
	for policy, want := range map[string]string{
		"":                             "the file ends without a quorum",
		"# mine\nwitness w nonsense\n": "line 2: ",
		"quorum none\n":                "asks for nobody's signature",
		strings.Repeat("#\n", transparency.MaxPolicy/2+1): "at most",
	} {
		require.ErrorContains(t, serve(policy), want)
	}
	err := run(ctx, new(output), "serve", "--standalone", "--instance", "https://a.example", "--data", data, "--witnesses", filepath.Join(data, "none"))
	require.ErrorIs(t, err, os.ErrNotExist)
	require.ErrorContains(t, err, "--witnesses")
}

// TestExitStatus: a service manager that starts a restored folder again and again would gain nothing.
func TestExitStatus(t *testing.T) {
	ctx, data := context.Background(), t.TempDir()
	require.NoError(t, run(ctx, new(output), "account", "add", "alice", "--instance", "https://a.example", "--data", data))
	signer, err := note.NewSigner(must(note.GenerateKey(rand.Reader, "b.example/waxwing/log/x")))
	require.NoError(t, err)
	seen, err := transparency.SignCheckpoint(transparency.Checkpoint{Origin: signer.Name(), Size: 5}, signer)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(data, "log-head"), seen, 0o600))
	err = run(ctx, new(output), "serve", "--standalone", "--data", data, "--listen", "127.0.0.1:0")
	require.ErrorIs(t, err, sidecar.ErrRestored)
	require.Equal(t, 78, exitStatus(err))
	require.Equal(t, 1, exitStatus(errors.New("else")))
}

func must(private, _ string, err error) string {
	if err != nil {
		panic(err)
	}
	return private
}

// TestNobodyWitnesses: an operator who has not named witnesses is told once what that means.
func TestNobodyWitnesses(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	var out output
	done := make(chan error, 1)
	go func() {
		done <- run(ctx, &out, "serve", "--standalone", "--instance", "https://a.example", "--data", t.TempDir(), "--listen", "127.0.0.1:0")
	}()
	require.Eventually(t, func() bool { return strings.Contains(out.String(), "nobody witnesses this instance's log") }, 10*time.Second, 5*time.Millisecond)
	cancel()
	require.NoError(t, <-done)
	require.Equal(t, 1, strings.Count(out.String(), "nobody witnesses"))
}
