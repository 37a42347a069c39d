package sidecar_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/internal/clientapi"
)

// TestLogsAreRelayed: a device reads its own instance's log and any other's through its own sidecar, and nothing else.
func TestLogsAreRelayed(t *testing.T) {
	w, a, b := two(t)
	alice := a.person("alice")
	b.person("bob")
	for _, box := range []*box{a, b} {
		for _, path := range []string{"checkpoint", "tile/0/000.p/1", "tile/entries/000.p/2"} {
			got, err := alice.Log(ctx, box.instance, path)
			require.NoError(t, err, path)
			_, want := box.get("/waxwing/log/" + path)
			require.Equal(t, want, got, "%s of %s", path, box.instance)
		}
		_, err := alice.Log(ctx, box.instance, "tile/0/000.p/200")
		requireProblem(t, err, 404, "not_found")
	}
	for _, path := range []string{
		"", "/", "checkpoint/", "../directory?actor=x", "tile/../checkpoint", "tile/data/000", "tile/0/000?x", "tile/8/0/000", "checkpoint?x",
		"tile/0/000.p/0", "tile/entries/../../../actor", "entries/000", "tile/0/x000/x000/x000/x000/x000/x000/x000/x000/x000/x000/x000/x000/x000/x000/x000/x000/x000/x000/x000/000",
	} {
		_, err := alice.Log(ctx, b.instance, path)
		requireProblem(t, err, 400, "request_invalid")
	}
	for _, instance := range []string{"", "b.test", "http://b.test/", "http://B.test", "http://x@b.test", "file:///etc", "http://b.test/waxwing/log"} {
		_, err := alice.Log(ctx, instance, "checkpoint")
		requireProblem(t, err, 400, "request_invalid")
	}
	res, _ := a.request(http.MethodGet, "/waxwing/v1/log?instance=http://b.test&path=checkpoint", nil, nil)
	require.Equal(t, http.StatusUnauthorized, res.StatusCode, "for devices only")

	huge := w.peer("huge.test")
	huge.docs["/waxwing/log/checkpoint"] = make([]byte, clientapi.MaxLogFile+1)
	_, err := alice.Log(ctx, huge.instance, "checkpoint")
	requireProblem(t, err, 502, "peer_unreachable")
	huge.docs["/waxwing/log/checkpoint"] = make([]byte, clientapi.MaxLogFile)
	got, err := alice.Log(ctx, huge.instance, "checkpoint")
	require.NoError(t, err)
	require.Len(t, got, clientapi.MaxLogFile)
	_, err = alice.Log(ctx, "http://gone.test", "checkpoint")
	requireProblem(t, err, 502, "peer_unreachable")
}
