package sidecar

import (
	"net/http"

	"github.com/waxwing-dm/waxwing/federation"
	"github.com/waxwing-dm/waxwing/internal/clientapi"
	"github.com/waxwing-dm/waxwing/sidecar/store"
)

// This file is what people say about who may write to them (spec/client-api.md, Consent). The door that asks for it is the store's: it has
// to be one transaction with what comes in.

// consents is GET /consents.
func (s *Sidecar) consents(w http.ResponseWriter, r *http.Request, d store.Device) error {
	policy, waiting, err := s.store.Consents.Requests(r.Context(), d.Actor)
	if err != nil {
		return err
	}
	answer := clientapi.Consents{Policy: clientapi.Policy{Policy: policy}, Waiting: make([]clientapi.Request, 0, len(waiting))}
	for _, x := range waiting {
		answer.Waiting = append(answer.Waiting, clientapi.Request{Actor: x.Sender, Conversation: x.Conversation, Since: uint64(x.Since)})
	}
	return writeJSON(w, http.StatusOK, answer)
}

// askStrangers is PUT /consents/policy.
func (s *Sidecar) askStrangers(w http.ResponseWriter, r *http.Request, d store.Device) error {
	var p clientapi.Policy
	if _, err := readJSON(w, r, maxSmall, &p); err != nil {
		return err
	}
	switch p.Policy {
	case store.FromEverybody, store.FromRequests, store.FromNobody:
	default:
		return invalid("policy is everybody, requests or nobody")
	}
	if err := s.limit.decisions.take(d.Actor, 1, s.now()); err != nil {
		return err
	}
	if err := s.store.Consents.Ask(r.Context(), d.Actor, p.Policy); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// consent is POST /consents.
func (s *Sidecar) consent(w http.ResponseWriter, r *http.Request, d store.Device) error {
	var in clientapi.Decision
	if _, err := readJSON(w, r, maxSmall, &in); err != nil {
		return err
	}
	everybody := in.Actor == "" && in.Decision == clientapi.Accept && in.Conversation != ""
	if _, err := federation.Origin(in.Actor); !everybody && (err != nil || in.Actor == d.Actor) {
		return invalid("actor is not the URL of somebody else")
	}
	if _, err := federation.Origin(in.Conversation); in.Conversation != "" && err != nil {
		return invalid("conversation is not the URL of one")
	}
	if err := s.limit.decisions.take(d.Actor, 1, s.now()); err != nil {
		return err
	}
	if err := s.decide(r, d, in); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (s *Sidecar) decide(r *http.Request, d store.Device, in clientapi.Decision) error {
	switch in.Decision {
	case clientapi.Accept:
		return s.store.Consents.Accept(r.Context(), d.Actor, in.Actor, in.Conversation)
	case clientapi.Delete:
		return s.store.Consents.Dismiss(r.Context(), d.Actor, in.Actor)
	case clientapi.Block:
		return s.store.Consents.Block(r.Context(), d.Actor, in.Actor)
	case clientapi.Unblock:
		return s.store.Consents.Unblock(r.Context(), d.Actor, in.Actor)
	}
	return invalid("decision is accept, delete, block or unblock")
}
