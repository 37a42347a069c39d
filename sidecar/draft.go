package sidecar

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strings"

	"github.com/waxwing-dm/waxwing/federation"
	"github.com/waxwing-dm/waxwing/federation/httpsig"
	"github.com/waxwing-dm/waxwing/internal/clientapi"
	"github.com/waxwing-dm/waxwing/mls"
	"github.com/waxwing-dm/waxwing/sidecar/store"
)

// This file shows key packages to peers of the plain draft, and looks at theirs.

// keyPackages is the draft's collection. Who signs the request and is known to the actor gets a one-time package of each device, and nobody
// gets the same again; everybody else, and who asks too often, sees the last-resort ones. HEAD takes nothing.
func (s *Sidecar) keyPackages(w http.ResponseWriter, r *http.Request) error {
	actor := s.actorOf(r.PathValue("name"))
	who, caller, err := s.reader(r)
	if err != nil {
		return err
	}
	packages, err := s.shown(r, actor, who)
	if err != nil {
		return err
	}
	published := make([]federation.PublishedPackage, 0, len(packages))
	for _, p := range packages {
		published = append(published, publishedPackage(actor, p.Body))
	}
	doc, err := federation.KeyPackages(actor, published)
	if err != nil {
		return err
	}
	writeActivity(w, caller, doc)
	return nil
}

func publishedPackage(actor string, body []byte) federation.PublishedPackage {
	hash := sha256.Sum256(body)
	return federation.PublishedPackage{
		ID: actor + "/key-packages/" + hex.EncodeToString(hash[:]), Content: body, Suite: mls.X25519AES128GCMSHA256Ed25519.String(),
	}
}

// shown are the packages that somebody sees in the collection; the empty name is everybody.
func (s *Sidecar) shown(r *http.Request, actor, who string) ([]store.Claimed, error) {
	if err := s.resident(r.Context(), actor); err != nil {
		return nil, err
	}
	list, err := s.newestList(r.Context(), actor)
	if err != nil {
		return nil, err
	}
	is, err := s.store.Consents.Standing(r.Context(), actor, who, "")
	if err != nil {
		return nil, err
	}
	caller := originOf(who)
	switch {
	case !is.Known && is.Consent == store.FromNobody:
		return nil, nil
	case who == "" || !is.Open() || is.Blocked || s.limit.claims.take(caller+" "+actor, 1, s.now()) != nil:
		return s.store.KeyPackages.LastResort(r.Context(), actor, deviceIDs(list), s.now())
	}
	return s.store.KeyPackages.Give(r.Context(), actor, deviceIDs(list), caller, s.now())
}

// keyPackageDocument is one package by its URL: a last-resort one, or one that this caller was given a short while ago.
func (s *Sidecar) keyPackageDocument(w http.ResponseWriter, r *http.Request) error {
	actor := s.actorOf(r.PathValue("name"))
	hash, err := hex.DecodeString(r.PathValue("hash"))
	if err != nil || len(hash) != sha256.Size || hex.EncodeToString(hash) != r.PathValue("hash") {
		return store.ErrNotFound
	}
	_, caller, err := s.reader(r)
	if err != nil {
		return err
	}
	open, err := s.shown(r, actor, "")
	if err != nil {
		return err
	}
	var body []byte
	for _, p := range open {
		if sum := sha256.Sum256(p.Body); string(sum[:]) == string(hash) {
			body = p.Body
		}
	}
	if body == nil {
		if body, err = s.store.KeyPackages.Given(r.Context(), actor, hash, caller, s.now()); err != nil {
			return err
		}
	}
	doc, err := publishedPackage(actor, body).Document(actor)
	if err != nil {
		return err
	}
	writeActivity(w, caller, doc)
	return nil
}

// reader is who has signed a GET, with their origin; empty if nobody has. A signature that is wrong is refused.
func (s *Sidecar) reader(r *http.Request) (who, origin string, err error) {
	if r.Method != http.MethodGet || r.Header.Get("Signature") == "" && r.Header.Get("Signature-Input") == "" {
		return "", "", nil
	}
	if err := s.compute(r.Context()); err != nil {
		return "", "", err
	}
	owner, err := httpsig.Verify(r.Context(), httpsig.Request{Request: r, Origin: s.instance, Now: s.now()}, s.remote.Key)
	if err != nil {
		return "", "", err
	}
	s.signedBy(r.Context(), owner)
	origin, err = federation.Origin(owner)
	return owner, origin, err
}

// writeActivity answers with a document that depends on who has signed the request.
func writeActivity(w http.ResponseWriter, caller string, doc []byte) {
	cache := "no-cache"
	if caller != "" {
		cache = "no-store"
	}
	w.Header().Add("Vary", "Accept, Signature, Signature-Input, Authorization")
	write(w, http.StatusOK, federation.ContentType, cache, doc)
}

// wantsActivities says whether a request asks for ActivityStreams, of what is also there in a form of our own.
func wantsActivities(r *http.Request) bool {
	for _, accepted := range strings.Split(r.Header.Get("Accept"), ",") {
		kind, _, _ := strings.Cut(strings.TrimSpace(accepted), ";")
		if kind == federation.ContentType || kind == "application/ld+json" {
			return true
		}
	}
	return false
}

// plainClaims is POST /plain-claims of the client API.
func (s *Sidecar) plainClaims(w http.ResponseWriter, r *http.Request, d store.Device) error {
	var in clientapi.Claim
	if _, err := readJSON(w, r, maxSmall, &in); err != nil {
		return err
	}
	if _, err := federation.Origin(in.Actor); err != nil {
		return invalid("actor is not the URL of one")
	}
	if err := s.limit.claims.take("plain "+d.Actor+" "+in.Actor, 1, s.now()); err != nil {
		return err
	}
	packages, err := s.remote.PlainPackages(r.Context(), in.Actor)
	if err != nil {
		return fromPeer(err, "has_directory", "no_key_packages")
	}
	answer := clientapi.PlainClaimed{Packages: []clientapi.PlainPackage{}}
	for _, p := range packages {
		raw, err := rawKeyPackage(p.Content)
		if err != nil {
			continue
		}
		answer.Packages = append(answer.Packages, clientapi.PlainPackage{ID: p.ID, Generator: p.Generator, KeyPackage: raw})
	}
	return writeJSON(w, http.StatusOK, answer)
}
