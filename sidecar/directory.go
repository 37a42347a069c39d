package sidecar

import (
	"context"
	"errors"
	"net/http"

	"github.com/waxwing-dm/waxwing/internal/clientapi"
	"github.com/waxwing-dm/waxwing/internal/problem"
	"github.com/waxwing-dm/waxwing/keydir"
	"github.com/waxwing-dm/waxwing/sidecar/store"
	"github.com/waxwing-dm/waxwing/transparency"
	"github.com/waxwing-dm/waxwing/transparency/sequencer"
)

// publish is POST /directory (D1 to D3).
func (s *Sidecar) publish(w http.ResponseWriter, r *http.Request, d store.Device) error {
	var p clientapi.Publication
	if _, err := readJSON(w, r, maxSmall, &p); err != nil {
		return err
	}
	if len(p.Opening) != 32 {
		return transparency.Failed("L5", "an opening has 32 bytes")
	}
	list, err := keydir.ParseDeviceList(p.Devices)
	if err != nil {
		return transparency.Failed("L5", "the device list cannot be read")
	}
	if list.Actor != d.Actor {
		return notAllowed("the device list is of another actor than the token")
	}
	if err := s.maySpeakFor(r.Context(), d, p.Entry, list); err != nil {
		return err
	}
	answer, err := s.log.Append(r.Context(), p.Entry, [32]byte(p.Opening), p.Devices)
	if err != nil {
		return err
	}
	if err := s.store.Accounts.Listed(r.Context(), d.Actor, deviceIDs(list)); err != nil { // a crash before it is mended by asking again
		return err
	}
	return writeJSON(w, http.StatusOK, answer)
}

// maySpeakFor keeps a token alone from adding a device. An update is signed by the account key; a first entry and a reset are
// signed by a key that nobody knows yet, so they may name only the device that has just proven the login code and its own
// signature key. A device that is in the list already has no use for a reset; whoever has only its token is refused.
func (s *Sidecar) maySpeakFor(ctx context.Context, d store.Device, entry []byte, list keydir.DeviceList) error {
	e, err := transparency.ParseEntry(entry)
	if err != nil {
		return transparency.Failed("L5", "the entry cannot be read")
	}
	if e.Kind == transparency.KindUpdate {
		return nil
	}
	if len(list.Devices) != 1 || !list.Has(d.SignatureKey) {
		return notAllowed("a first entry or a reset names the device that publishes it and no other")
	}
	if e.Kind == transparency.KindReset {
		now, err := s.log.List(ctx, d.Actor)
		if err == nil && now.Has(d.SignatureKey) && now.Seq != list.Seq { // the same seq: the reset that brought it in, once more
			return notAllowed("a device that is in the list does not reset it")
		}
	}
	return nil
}

func notAllowed(detail string) error {
	return problem.New(http.StatusForbidden, "not_allowed", "%s", detail)
}

// lookup is GET /directory of the client API: relayed if the actor lives elsewhere.
func (s *Sidecar) lookup(w http.ResponseWriter, r *http.Request, _ store.Device) error {
	actor := r.URL.Query().Get("actor")
	if s.isLocal(actor) {
		return s.directory(w, r)
	}
	from, err := number(r.URL.Query(), "from", 0)
	if err != nil {
		return err
	}
	answer, err := s.remote.Directory(r.Context(), actor, int64(from))
	if err != nil {
		return fromPeer(err, "no_such_label", "beyond_head", "request_invalid")
	}
	if _, err := transparency.ParseAnswer(answer); err != nil {
		return problem.New(http.StatusBadGateway, "peer_failed", "the other instance answered with something that is not a lookup answer")
	}
	write(w, http.StatusOK, "application/json", "no-store", answer)
	return nil
}

// directory is the public GET of the own log's answers.
func (s *Sidecar) directory(w http.ResponseWriter, r *http.Request) error {
	from, err := number(r.URL.Query(), "from", 0)
	if err != nil {
		return err
	}
	answer, err := s.log.Answer(r.Context(), r.URL.Query().Get("actor"), int64(from))
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, answer)
}

// newestList of an actor of this instance; empty if there is none yet.
func (s *Sidecar) newestList(ctx context.Context, actor string) (keydir.DeviceList, error) {
	list, err := s.log.List(ctx, actor)
	if errors.Is(err, sequencer.ErrUnknown) {
		return keydir.DeviceList{Actor: actor}, nil
	}
	return list, err
}

// checkpoint and tile serve the log to anybody (C2SP tlog-tiles).
func (s *Sidecar) checkpoint(w http.ResponseWriter, r *http.Request) error {
	note, err := s.log.Checkpoint(r.Context())
	if err != nil {
		return err
	}
	write(w, http.StatusOK, "text/plain; charset=utf-8", "no-cache", note)
	return nil
}

func (s *Sidecar) tile(w http.ResponseWriter, r *http.Request) error {
	data, err := s.log.Tile(r.Context(), "tile/"+r.PathValue("path"))
	if err != nil {
		return err
	}
	write(w, http.StatusOK, "application/octet-stream", "public, max-age=31536000, immutable", data)
	return nil
}
