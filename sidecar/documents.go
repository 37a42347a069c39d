package sidecar

import (
	"crypto/ed25519"
	"errors"
	"net/http"

	"github.com/waxwing-dm/waxwing/federation"
	"github.com/waxwing-dm/waxwing/internal/problem"
	"github.com/waxwing-dm/waxwing/sidecar/internal/rsakey"
	"github.com/waxwing-dm/waxwing/sidecar/store"
)

// What a stand-alone sidecar shows to everybody, unsigned.

func (s *Sidecar) discoveryDocument(w http.ResponseWriter, _ *http.Request) error {
	return writeJSON(w, http.StatusOK, s.discovery)
}

func (s *Sidecar) webFinger(w http.ResponseWriter, r *http.Request) error {
	name, host, err := federation.ParseAccount(r.URL.Query().Get("resource"))
	if err != nil {
		return invalid("resource is not an account like acct:alice@%s", federation.Host(s.instance))
	}
	if host != federation.Host(s.instance) {
		return errNobody
	}
	if err := s.resident(r.Context(), s.actorOf(name)); err != nil {
		return err
	}
	jrd, err := federation.WebFinger(name+"@"+host, s.actorOf(name))
	if err != nil {
		return err
	}
	w.Header().Set("Access-Control-Allow-Origin", "*") // RFC 7033 section 5
	write(w, http.StatusOK, "application/jrd+json", "max-age=300", jrd)
	return nil
}

var errNobody = problem.New(http.StatusNotFound, "no_such_recipient", "nobody by that name is here")

func (s *Sidecar) serviceActor(w http.ResponseWriter, _ *http.Request) error {
	doc, err := federation.LocalActor{
		ID: s.discovery.Actor, Name: federation.Host(s.instance), Service: true,
		Inbox: s.instance + federation.PathInbox, Shared: s.instance + federation.PathInbox, Key: &s.keys.service.PublicKey,
		Ed25519: s.keys.serviceEd25519.Public().(ed25519.PublicKey),
	}.Document()
	if err != nil {
		return err
	}
	write(w, http.StatusOK, federation.ContentType, "max-age=300", doc)
	return nil
}

func (s *Sidecar) actor(w http.ResponseWriter, r *http.Request) error {
	actor := s.actorOf(r.PathValue("name"))
	account, err := s.store.Accounts.Get(r.Context(), actor)
	if errors.Is(err, store.ErrNotFound) {
		return s.absent(r.Context(), actor)
	} else if err != nil {
		return err
	}
	key, err := rsakey.Parse(account.RSAKey)
	if err != nil {
		return err
	}
	doc, err := federation.LocalActor{
		ID: actor, Name: r.PathValue("name"), Inbox: actor + "/inbox", Shared: s.instance + federation.PathInbox, Key: &key.PublicKey,
	}.Document()
	if err != nil {
		return err
	}
	write(w, http.StatusOK, federation.ContentType, "max-age=300", doc)
	return nil
}

// private is a collection that nobody but its owner has any business with.
func (s *Sidecar) private(http.ResponseWriter, *http.Request) error {
	return notAllowed("this is for its owner only")
}
