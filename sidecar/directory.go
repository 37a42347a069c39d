package sidecar

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/waxwing-dm/waxwing/federation"
	"github.com/waxwing-dm/waxwing/internal/clientapi"
	"github.com/waxwing-dm/waxwing/internal/problem"
	"github.com/waxwing-dm/waxwing/keydir"
	"github.com/waxwing-dm/waxwing/sidecar/store"
	"github.com/waxwing-dm/waxwing/transparency"
	"github.com/waxwing-dm/waxwing/transparency/sequencer"
)

// witnessWait is how long a publication waits to be witnessed before it is answered all the same.
const witnessWait = 10 * time.Second

// publish is POST /directory (D1 to D3).
func (s *Sidecar) publish(w http.ResponseWriter, r *http.Request, d store.Device) error {
	var p clientapi.Publication
	if _, err := readJSON(w, r, maxSmall, &p); err != nil {
		return err
	}
	statement, state, err := openPublication(d.Actor, p)
	if err != nil {
		return err
	}
	if err := s.maySpeakFor(r.Context(), d, statement, state.List); err != nil {
		return err
	}
	return s.append(w, r, d, sequencer.Submission{Actor: d.Actor, Statement: p.Statement, Opening: [32]byte(p.Opening), Content: p.Content}, state.List)
}

func (s *Sidecar) append(w http.ResponseWriter, r *http.Request, d store.Device, sub sequencer.Submission, list keydir.DeviceList) error {
	index, err := s.speak(r.Context(), d, sub, list)
	return s.published(w, r, index, err)
}

// published answers who has handed in a statement: after it was witnessed, or after some time with what it waits for.
func (s *Sidecar) published(w http.ResponseWriter, r *http.Request, index int64, err error) error {
	if errors.Is(err, sequencer.ErrHeld) && s.collector != nil {
		return problem.New(http.StatusServiceUnavailable, "log_unchecked", "%s", s.collector.why())
	}
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), s.patience)
	defer cancel()
	out := clientapi.Published{Index: index, Witnessed: s.log.Wait(ctx, index) == nil}
	if !out.Witnessed && s.collector != nil {
		out.Waiting = s.collector.why()
	}
	return writeJSON(w, http.StatusOK, out)
}

// speak appends in the name of an account, unless it was taken away since the token was looked at.
func (s *Sidecar) speak(ctx context.Context, d store.Device, sub sequencer.Submission, list keydir.DeviceList) (index int64, err error) {
	s.speaking.RLock()
	defer s.speaking.RUnlock()
	if has, err := s.store.Accounts.HasDevice(ctx, d.Actor, d.ID); err != nil {
		return 0, err
	} else if !has {
		return 0, errToken
	}
	if index, err = s.log.Append(ctx, sub); err != nil {
		return 0, err
	}
	return index, s.listed(ctx, sub.Actor, list)
}

// listed logs out who is not in an actor's new list (D5), and tells them. A crash before it is mended by asking again for what was published.
func (s *Sidecar) listed(ctx context.Context, actor string, list keydir.DeviceList) error {
	err := s.store.Accounts.Listed(ctx, actor, deviceIDs(list))
	s.notify.wake(actor)
	return err
}

// maySpeakFor keeps a token alone from adding a device. An update is signed by the account key; a first entry and a reset are
// signed by a key that nobody knows yet, so they may name only the device that has just proven the login code and its own
// signature key. A device that is in the list already has no use for a reset; whoever has only its token is refused.
func (s *Sidecar) maySpeakFor(ctx context.Context, d store.Device, statement transparency.Statement, list keydir.DeviceList) error {
	if statement.Kind != transparency.KindFirst && statement.Kind != transparency.KindReset {
		return nil
	}
	if len(list.Devices) != 1 || !list.Has(d.SignatureKey) {
		return notAllowed("a first entry or a reset names the device that publishes it and no other")
	}
	if statement.Kind == transparency.KindReset {
		now, err := s.newestList(ctx, d.Actor)
		if err == nil && now.Has(d.SignatureKey) && now.Seq != list.Seq { // the same seq: the reset that brought it in, once more
			return notAllowed("a device that is in the list does not reset it")
		}
	}
	return nil
}

func notAllowed(detail string) error {
	return problem.New(http.StatusForbidden, "not_allowed", "%s", detail)
}

// lookup is GET /directory of the client API: relayed if the actor lives elsewhere. Of its own actor a device is told of an erase, too: what
// it publishes next has to follow it.
func (s *Sidecar) lookup(w http.ResponseWriter, r *http.Request, d store.Device) error {
	actor := r.URL.Query().Get("actor")
	from, err := number(r.URL.Query(), "from", 0)
	switch {
	case err != nil:
		return err
	case actor == d.Actor:
		answer, err := s.log.AnswerOwner(r.Context(), actor, int64(from))
		if err != nil {
			return err
		}
		write(w, http.StatusOK, transparency.AnswerType, "no-store", answer.Marshal())
		return nil
	case s.isLocal(actor):
		return s.directory(w, r)
	}
	answer, err := s.remote.Directory(r.Context(), actor, int64(from))
	if err != nil {
		return fromPeer(err, "erased", "beyond_head", "not_witnessed", "request_invalid")
	}
	if instance, err := federation.Origin(actor); err == nil {
		s.witness.Watch(instance) // who is talked to by users of ours can count on our witness
	}
	if _, err := transparency.ParseAnswer(answer); err != nil {
		return problem.New(http.StatusBadGateway, "peer_failed", "the other instance answered with something that is not a lookup answer")
	}
	write(w, http.StatusOK, transparency.AnswerType, "no-store", answer)
	return nil
}

// directory is the public GET of the own log's answers. It proves of any actor of this instance what keys they have, or that they
// have none; of others it knows nothing.
func (s *Sidecar) directory(w http.ResponseWriter, r *http.Request) error {
	from, err := number(r.URL.Query(), "from", 0)
	if err != nil {
		return err
	}
	actor := r.URL.Query().Get("actor")
	if !s.isLocal(actor) || len(actor) > keydir.MaxActor {
		return problem.New(http.StatusNotFound, "no_such_label", "the actor is not of this instance")
	}
	answer, err := s.log.Answer(r.Context(), actor, int64(from))
	if err != nil {
		return err
	}
	write(w, http.StatusOK, transparency.AnswerType, "no-store", answer.Marshal())
	return nil
}

// newestList of an actor of this instance, as far as it is witnessed; empty if there is none.
func (s *Sidecar) newestList(ctx context.Context, actor string) (keydir.DeviceList, error) {
	state, ok, err := s.log.State(ctx, actor)
	if errors.Is(err, sequencer.ErrErased) || err == nil && !ok {
		return keydir.DeviceList{Actor: actor}, nil
	}
	return state.List, err
}

// checkpoint and tile serve the log to anybody (C2SP tlog-tiles).
func (s *Sidecar) checkpoint(w http.ResponseWriter, r *http.Request) error {
	note, err := s.log.Checkpoint()
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
