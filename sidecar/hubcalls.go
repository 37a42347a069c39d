package sidecar

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/waxwing-dm/waxwing/federation"
	"github.com/waxwing-dm/waxwing/federation/hub"
	"github.com/waxwing-dm/waxwing/internal/clientapi"
	"github.com/waxwing-dm/waxwing/internal/problem"
	"github.com/waxwing-dm/waxwing/internal/receipt"
	"github.com/waxwing-dm/waxwing/sidecar/store"
)

// This file is a device's way to hubs: to this instance's own, or by a signed call to another's.

// fromHub are the refusals of hubs that concern a device.
var fromHub = []string{
	"epoch_stale", "epoch_unknown", "not_member", "no_such_conversation", "mls_malformed", "hub_moved", "rate_limited", "leased", "chain_mismatch",
	"not_disputable", "too_many_branches", "claim_invalid", "chain_behind",
}

// hubOf is the present hub of a conversation: the one that is named, or else the first.
func hubOf(named, first string) (string, error) {
	if named == "" {
		return first, nil
	}
	if o, err := federation.Origin(named); err != nil || o != named {
		return "", invalid("hub is not an origin")
	}
	return named, nil
}

// atHub is where a conversation's hub is, and which group that is about.
func atHub(conversation, named string) (instance string, groupID []byte, err error) {
	first, groupID, err := receipt.ParseConversationURL(conversation)
	if err != nil {
		return "", nil, invalid("conversation is not the URL of one")
	}
	if o, err := federation.Origin(first); err != nil || o != first {
		return "", nil, invalid("conversation is not the URL of one")
	}
	instance, err = hubOf(named, first)
	return instance, groupID, err
}

// submit asks the hub of the conversation, for an account here.
func (s *Sidecar) submit(ctx context.Context, instance string, groupID []byte, c clientapi.Commit, actor string) ([]byte, error) {
	in := clientapi.Submission{Term: c.Term, Epoch: c.Epoch, Commit: c.Commit, Ticket: c.Ticket, Signature: c.Signature, HubPart: c.HubPart}
	submission, err := submissionOf(in, s.instance)
	if err != nil {
		return nil, err
	}
	if instance == s.instance {
		submission.Others, submission.Who = s.otherInstances(c.To), actor
		return s.hub.Submit(ctx, groupID, submission)
	}
	var granted clientapi.Committed
	if err := s.remote.Hub(ctx, http.MethodPost, receipt.ConversationURL(instance, groupID), in, &granted); err != nil {
		return nil, fromPeer(err, fromHub...)
	}
	if r, err := receipt.Parse(granted.Receipt); err != nil || r.MessageHash != receipt.BodyHash(c.Commit) {
		return nil, problem.New(http.StatusBadGateway, "peer_failed", "the hub answered with something that is not this commit's receipt")
	}
	s.mirrorOf(ctx, instance, groupID, hub.Event{Receipt: granted.Receipt, Commit: c.Commit})
	return granted.Receipt, nil
}

// otherInstances are those of actors, each once.
func (s *Sidecar) otherInstances(actors []string) (all []string) {
	for _, actor := range actors {
		if instance, err := federation.Origin(actor); err == nil && instance != s.instance && !slices.Contains(all, instance) {
			all = append(all, instance)
		}
	}
	return all
}

// events is GET /events, from the hub wherever it is, or else from the mirror.
func (s *Sidecar) events(w http.ResponseWriter, r *http.Request, _ store.Device) error {
	q := r.URL.Query()
	instance, groupID, err := atHub(q.Get("conversation"), q.Get("hub"))
	if err != nil {
		return err
	}
	after, err := number(q, "after", 0)
	if err != nil {
		return err
	}
	if instance == s.instance {
		return s.answerEvents(w, r, groupID, after)
	}
	answer, err := s.eventsFrom(r.Context(), instance, groupID, after)
	if err != nil {
		mirrored, none := s.mirrored(r.Context(), groupID, after)
		if none != nil || !maybeGone(err) {
			return fromPeer(err, fromHub...)
		}
		answer = mirrored
	} else {
		s.mirrorOf(r.Context(), instance, groupID, toEvents(answer.Events)...)
	}
	return writeJSON(w, http.StatusOK, answer)
}

// maybeGone says whether a hub may just be gone, rather than have refused.
func maybeGone(err error) bool {
	var p *problem.Problem
	return !errors.As(err, &p) || p.Status >= 500 || p.Status == http.StatusTooManyRequests || p.Status == http.StatusNotFound
}

func (s *Sidecar) eventsFrom(ctx context.Context, instance string, groupID []byte, after uint64) (answer clientapi.Events, err error) {
	u := fmt.Sprintf("%s?after=%d", receipt.ConversationURL(instance, groupID), after)
	err = s.remote.Hub(ctx, http.MethodGet, u, nil, &answer)
	return answer, err
}

// askPeer is a hub.Ask.
func (s *Sidecar) askPeer(ctx context.Context, instance string, groupID []byte, after uint64) ([]hub.Event, error) {
	if instance == s.instance {
		return nil, nil
	}
	answer, err := s.eventsFrom(ctx, instance, groupID, after)
	events := toEvents(answer.Events)
	if answer.Moved != nil {
		events = append(events, hub.Event{Receipt: answer.Moved.Event.Receipt, Commit: answer.Moved.Event.Commit})
	}
	return events, err
}

func toEvents(events []clientapi.Event) (all []hub.Event) {
	for _, e := range events {
		all = append(all, hub.Event{Receipt: e.Receipt, Commit: e.Commit})
	}
	return all
}

func eventsOf(events []hub.Event) []clientapi.Event {
	out := make([]clientapi.Event, 0, len(events))
	for _, e := range events {
		out = append(out, clientapi.Event{Receipt: e.Receipt, Commit: e.Commit})
	}
	return out
}

// lease is POST /leases.
func (s *Sidecar) lease(w http.ResponseWriter, r *http.Request, _ store.Device) error {
	var in clientapi.LeaseRequest
	if _, err := readJSON(w, r, maxSmall, &in); err != nil {
		return err
	}
	instance, groupID, err := atHub(in.Conversation, in.Hub)
	if err != nil {
		return err
	}
	if instance == s.instance {
		return s.answerLease(w, r, groupID, in.LeaseCall)
	}
	return s.relayHub(w, r, http.MethodPost, receipt.ConversationURL(instance, groupID)+"/lease", in.LeaseCall, new(clientapi.Leased))
}

// relayHub makes a call for a device and passes the answer on.
func (s *Sidecar) relayHub(w http.ResponseWriter, r *http.Request, method, u string, in, out any) error {
	if err := s.remote.Hub(r.Context(), method, u, in, out); err != nil {
		return fromPeer(err, fromHub...)
	}
	return writeJSON(w, http.StatusOK, out)
}

// dispute is POST /disputes.
func (s *Sidecar) dispute(w http.ResponseWriter, r *http.Request, _ store.Device) error {
	var in clientapi.Dispute
	if _, err := readJSON(w, r, maxSmall, &in); err != nil {
		return err
	}
	instance, groupID, err := atHub(in.Conversation, in.Hub)
	if err != nil {
		return err
	}
	if instance == s.instance {
		return s.answerDispute(w, r, groupID, s.instance, in.Dispute)
	}
	return s.relayHub(w, r, http.MethodPost, receipt.ConversationURL(instance, groupID)+"/dispute", clientapi.Dispute{Dispute: in.Dispute}, new(clientapi.Disputed))
}

// openTerm is POST /terms: the hub that the claim names is asked.
func (s *Sidecar) openTerm(w http.ResponseWriter, r *http.Request, d store.Device) error {
	var in clientapi.NewTerm
	if _, err := readJSON(w, r, maxActivity, &in); err != nil {
		return err
	}
	c, err := receipt.ParseClaim(in.Claim)
	if err != nil {
		return hub.ErrClaim
	}
	instance, groupID, err := atHub(in.Conversation, c.Next.Hub)
	if err != nil {
		return err
	}
	if len(in.After) == 0 { // the new hub may not have what the claim goes on from
		chain, err := s.mirror.Chain(r.Context(), groupID, c.Claim)
		if err != nil {
			return err
		}
		in.After = eventsOf(chain)
	}
	if instance == s.instance {
		return s.answerTerm(w, r, groupID, d.Actor, in)
	}
	return s.relayHub(w, r, http.MethodPost, receipt.ConversationURL(instance, groupID)+"/term", in, new(clientapi.Committed))
}

// groupInfo is GET /group-info.
func (s *Sidecar) groupInfo(w http.ResponseWriter, r *http.Request, _ store.Device) error {
	q := r.URL.Query()
	instance, groupID, err := atHub(q.Get("conversation"), q.Get("hub"))
	if err != nil {
		return err
	}
	if instance == s.instance {
		return s.answerGroupInfo(w, r, groupID)
	}
	return s.relayHub(w, r, http.MethodGet, receipt.ConversationURL(instance, groupID)+"/group-info", nil, new(clientapi.GroupInfos))
}

// hubKey is GET /hub.
func (s *Sidecar) hubKey(w http.ResponseWriter, r *http.Request, _ store.Device) error {
	instance := r.URL.Query().Get("instance")
	if o, err := federation.Origin(instance); err != nil || o != instance {
		return invalid("instance is not an origin")
	}
	key, err := s.keyOfHub(r.Context(), instance)
	if err != nil {
		return fromPeer(err)
	}
	return writeJSON(w, http.StatusOK, clientapi.Hub{Key: key[:]})
}

func (s *Sidecar) keyOfHub(ctx context.Context, instance string) ([32]byte, error) {
	if instance == s.instance {
		return [32]byte(s.hub.Key()), nil
	}
	d, err := s.remote.Discovery(ctx, instance)
	if err != nil {
		return [32]byte{}, err
	}
	return [32]byte(d.Hub.Key), nil
}

const mirrorTime = 5 * time.Second // for a hub's key, the first time

// mirrorOf keeps what a hub has signed. It is no reason to fail: what is missed now comes again when it is asked for.
func (s *Sidecar) mirrorOf(ctx context.Context, instance string, groupID []byte, events ...hub.Event) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), mirrorTime)
	defer cancel()
	if err := s.mirror.Keep(ctx, instance, groupID, events...); err != nil {
		s.logger.Warn("mirroring a conversation", "error", nameless(err))
	}
}

// mirrorArrival keeps a commit that came with its receipt.
func (s *Sidecar) mirrorArrival(ctx context.Context, in federation.Inbound) {
	instance, groupID, err := receipt.ParseConversationURL(in.Conversation)
	if err != nil || len(in.Receipt) == 0 {
		return
	}
	if r, err := receipt.Parse(in.Receipt); err == nil && r.MessageHash == receipt.BodyHash(in.Message) && !r.Verify(s.hub.Key()) {
		s.mirrorOf(ctx, instance, groupID, hub.Event{Receipt: in.Receipt, Commit: in.Message})
	}
}
