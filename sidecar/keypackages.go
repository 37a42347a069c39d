package sidecar

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/waxwing-dm/waxwing/federation"
	"github.com/waxwing-dm/waxwing/internal/clientapi"
	"github.com/waxwing-dm/waxwing/keydir"
	"github.com/waxwing-dm/waxwing/sidecar/store"
)

// putKeyPackages is PUT /key-packages: all of them count, or none is kept.
func (s *Sidecar) putKeyPackages(w http.ResponseWriter, r *http.Request, d store.Device) error {
	var in clientapi.KeyPackages
	if _, err := readJSON(w, r, clientapi.MaxBody, &in); err != nil {
		return err
	}
	if len(in.OneTime) > clientapi.MaxPackages {
		return invalid("at most %d one-time packages in one upload", clientapi.MaxPackages)
	}
	list, err := s.newestList(r.Context(), d.Actor)
	if err != nil {
		return err
	}
	oneTime := make([]store.KeyPackage, 0, len(in.OneTime))
	for _, raw := range in.OneTime {
		p, err := s.keyPackage(raw, d, list)
		if err != nil {
			return err
		}
		oneTime = append(oneTime, *p)
	}
	var lastResort *store.KeyPackage
	if len(in.LastResort) > 0 {
		if lastResort, err = s.keyPackage(in.LastResort, d, list); err != nil {
			return err
		}
	}
	count, err := s.store.KeyPackages.Put(r.Context(), d.Actor, d.ID, oneTime, lastResort, s.now())
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, clientapi.KeyPackagesKept{OneTime: count})
}

func (s *Sidecar) keyPackage(raw []byte, d store.Device, list keydir.DeviceList) (*store.KeyPackage, error) {
	notAfter, err := checkKeyPackage(raw, d.SignatureKey, list, s.now())
	if err != nil {
		return nil, err
	}
	return &store.KeyPackage{Body: raw, NotAfter: notAfter}, nil
}

// claims is POST /claims of the client API.
func (s *Sidecar) claims(w http.ResponseWriter, r *http.Request, d store.Device) error {
	var in clientapi.Claim
	if _, err := readJSON(w, r, maxSmall, &in); err != nil {
		return err
	}
	if s.isLocal(in.Actor) {
		return s.answerClaim(w, r, in.Actor, d.Actor, d.Actor)
	}
	claimed, err := s.remote.Claim(r.Context(), in.Actor, d.Actor)
	if err != nil {
		return fromPeer(err, federation.CodeConsent, "no_such_recipient", "erased", "rate_limited", "request_invalid")
	}
	return writeJSON(w, http.StatusOK, claimed)
}

// answerClaim hands out one package of each of an actor's devices that are in its newest list. user is who wants to write to the actor; a
// stranger uses up no package.
func (s *Sidecar) answerClaim(w http.ResponseWriter, r *http.Request, actor, caller, user string) error {
	if err := s.resident(r.Context(), actor); err != nil {
		return err
	}
	take, err := s.packagesFor(r.Context(), actor, user)
	if err != nil {
		return err
	}
	if err := s.limit.claims.take(caller+" "+actor, 1, s.now()); err != nil {
		return err
	}
	list, err := s.newestList(r.Context(), actor)
	if err != nil {
		return err
	}
	claimed, err := take(r.Context(), actor, deviceIDs(list), s.now())
	if err != nil {
		return err
	}
	answer := clientapi.Claimed{Packages: make([]clientapi.ClaimedPackage, 0, len(claimed))}
	for _, c := range claimed {
		answer.Packages = append(answer.Packages, clientapi.ClaimedPackage{Device: c.Device, KeyPackage: c.Body, LastResort: c.LastResort})
	}
	return writeJSON(w, http.StatusOK, answer)
}

// packagesFor says which packages somebody gets: of the one-time ones who is known, of those of last resort who may ask. Who is blocked
// sees what anybody would see when there are no others left.
func (s *Sidecar) packagesFor(ctx context.Context, actor, user string) (func(ctx context.Context, actor string, devices []string, now time.Time) ([]store.Claimed, error), error) {
	is, err := s.store.Consents.Standing(ctx, actor, user, "")
	switch {
	case err != nil:
		return nil, err
	case is.Open() && !is.Blocked:
		return s.store.KeyPackages.Claim, nil
	case is.Known || is.Consent != store.FromNobody:
		return s.store.KeyPackages.LastResort, nil
	}
	return nil, store.ErrNoConsent
}

func deviceIDs(list keydir.DeviceList) []string {
	ids := make([]string, 0, len(list.Devices))
	for _, d := range list.Devices {
		ids = append(ids, d.ID())
	}
	return ids
}

// resident is an error unless the actor has an account here.
func (s *Sidecar) resident(ctx context.Context, actor string) error {
	_, err := s.store.Accounts.Get(ctx, actor)
	if errors.Is(err, store.ErrNotFound) {
		return s.absent(ctx, actor)
	}
	return err
}
