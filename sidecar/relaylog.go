package sidecar

import (
	"net/http"
	"strings"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/waxwing-dm/waxwing/federation"
	"github.com/waxwing-dm/waxwing/internal/clientapi"
	"github.com/waxwing-dm/waxwing/sidecar/store"
)

// relayLog is GET /log?instance=&path=: a device reads any instance's log through its own, so that the other does not learn where it
// is. It checks what it gets against what it knows; nothing needs to be believed here.
func (s *Sidecar) relayLog(w http.ResponseWriter, r *http.Request, _ store.Device) error {
	instance, path := r.URL.Query().Get("instance"), r.URL.Query().Get("path")
	if o, err := federation.Origin(instance); err != nil || o != instance {
		return invalid("instance is not the origin of one")
	}
	if !isLogPath(path) {
		return invalid("path is not that of a checkpoint or tile")
	}
	if instance != s.instance {
		data, err := s.remote.Log(r.Context(), instance, path, clientapi.MaxLogFile)
		if err != nil {
			return fromPeer(err, "not_found", "not_witnessed")
		}
		write(w, http.StatusOK, "application/octet-stream", "no-store", data)
		return nil
	}
	if path == "checkpoint" {
		return s.checkpoint(w, r)
	}
	r.SetPathValue("path", strings.TrimPrefix(path, "tile/"))
	return s.tile(w, r)
}

// isLogPath keeps the relay from reaching anything else of the instance.
func isLogPath(path string) bool {
	if path == "checkpoint" {
		return true
	}
	tile, ok := strings.CutPrefix(path, "tile/")
	if entries, yes := strings.CutPrefix(tile, "entries/"); yes {
		tile = "data/" + entries
	} else if strings.HasPrefix(tile, "data/") {
		return false
	}
	_, err := tlog.ParseTilePath("tile/8/" + tile)
	return ok && err == nil && len(path) <= 100
}
