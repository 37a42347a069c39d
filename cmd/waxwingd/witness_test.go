package main

import (
	"context"
	"encoding/json"
	"net/http"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/sidecar/witnessing"
	"github.com/waxwing-dm/waxwing/transparency"
)

// TestWitness runs one as an admin does, and has another admin take the keys over, by either way.
func TestWitness(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var out output
	data := filepath.Join(t.TempDir(), "data")
	require.ErrorContains(t, run(ctx, &out, "witness", "--data", data), "--host")
	done := make(chan error, 1)
	go func() {
		done <- run(ctx, &out, "witness", "--host", "w.example", "--data", data, "--listen", "127.0.0.1:0")
	}()
	listen := regexp.MustCompile(`listen=(\S+)`)
	require.Eventually(t, func() bool { return listen.MatchString(out.String()) }, 10*time.Second, 5*time.Millisecond)
	base := "http://" + listen.FindStringSubmatch(out.String())[1]
	var document witnessing.Document
	require.Eventually(t, func() bool {
		res, err := http.Get(base + "/waxwing/witness")
		if err != nil {
			return false
		}
		defer res.Body.Close()
		return json.NewDecoder(res.Body).Decode(&document) == nil
	}, 10*time.Second, 5*time.Millisecond)
	for _, path := range []string{"/.well-known/waxwing", "/waxwing/v1/account", "/waxwing/log/checkpoint", "/waxwing/inbox"} {
		res, err := http.Get(base + path)
		require.NoError(t, err)
		require.NoError(t, res.Body.Close())
		require.Equal(t, http.StatusNotFound, res.StatusCode, path)
	}

	var printed output
	require.NoError(t, run(context.Background(), &printed, "witness", "key", "--data", data), "while it is serving")
	lines := strings.Split(printed.String(), "\n\n")
	require.Equal(t, document.Policy, strings.Split(lines[0], "\n"))
	require.Equal(t, "witness w.example "+document.Witness[0]+" https://w.example/waxwing/witness", document.Policy[0])
	// The example stands as printed, with two more witnesses before it.
	policy := strings.NewReplacer("\n#   ", "\n", "# To", "#").Replace(printed.String())
	var others strings.Builder
	for _, host := range []string{"x.example", "y.example"} {
		var one output
		require.NoError(t, run(context.Background(), &one, "witness", "key", "--host", host, "--data", filepath.Join(t.TempDir(), host)))
		keys, _, _ := strings.Cut(one.String(), "\n\n")
		others.WriteString(keys + "\n")
	}
	_, err := transparency.ParsePolicy([]byte(others.String() + policy))
	require.NoError(t, err, others.String()+policy)

	cancel()
	require.NoError(t, <-done)
	require.ErrorContains(t, run(context.Background(), &out, "witness", "accept", "https://a.example", "key", "--data", data), "has not named")
	require.ErrorContains(t, run(context.Background(), &out, "witness", "--host", "v.example", "--data", data), "another folder")
}
