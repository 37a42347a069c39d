package sidecar

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/waxwing-dm/waxwing/federation"
	"github.com/waxwing-dm/waxwing/federation/hub"
	"github.com/waxwing-dm/waxwing/internal/clientapi"
	"github.com/waxwing-dm/waxwing/internal/problem"
	"github.com/waxwing-dm/waxwing/internal/receipt"
	"github.com/waxwing-dm/waxwing/sidecar/store"
)

// This file is what this instance's hub and mirror are asked, by its own devices and by other instances.

// readHubCall reads a call of another instance about a conversation here, and says which instance that is.
func (s *Sidecar) readHubCall(w http.ResponseWriter, r *http.Request, into any) (groupID []byte, from string, err error) {
	caller, err := s.readPeer(w, r, maxActivity, into)
	if err != nil {
		return nil, "", err
	}
	if from, err = federation.Origin(caller); err != nil {
		return nil, "", err
	}
	groupID, err = s.groupOf(r)
	return groupID, from, err
}

// submitAtHub is POST <conversation>.
func (s *Sidecar) submitAtHub(w http.ResponseWriter, r *http.Request) error {
	var in clientapi.Submission
	groupID, from, err := s.readHubCall(w, r, &in)
	if err != nil {
		return err
	}
	submission, err := submissionOf(in, from)
	if err != nil {
		return err
	}
	var granted []byte
	if err := s.keep(from, len(in.Commit)+len(in.GroupInfo), func() error {
		granted, err = s.hub.Submit(r.Context(), groupID, submission)
		return err
	}); err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, clientapi.Committed{Receipt: granted})
}

// submissionOf checks the lengths of everything that has one.
func submissionOf(in clientapi.Submission, from string) (hub.Submission, error) {
	if len(in.Ticket) != 32 || len(in.Signature) != 64 {
		return hub.Submission{}, invalid("ticket has 32 bytes, signature 64")
	}
	s := hub.Submission{
		Term: in.Term, Epoch: in.Epoch, Commit: in.Commit, Ticket: [32]byte(in.Ticket), Signature: in.Signature, GroupInfo: in.GroupInfo, From: from,
	}
	if in.Seq != nil || in.Head != nil {
		if in.Seq == nil || len(in.Head) != 32 {
			return hub.Submission{}, invalid("seq and head come together, and head has 32 bytes")
		}
		s.Place = &hub.Place{Seq: *in.Seq, Head: [32]byte(in.Head)}
	}
	if in.Lease != nil {
		if len(in.Lease.Key) != 32 || len(in.Lease.Signature) != 64 {
			return hub.Submission{}, invalid("a lease's key has 32 bytes, its signature 64")
		}
		s.Lease = &hub.Lease{Key: [32]byte(in.Lease.Key), Signature: in.Lease.Signature}
	}
	if in.Move != nil {
		if len(in.Move.Key) != 32 || len(in.Move.Signature) != 64 {
			return hub.Submission{}, invalid("a move's key has 32 bytes, its signature 64")
		}
		s.Move = &hub.Move{NextHub: receipt.NextHub{Hub: in.Move.Hub, Key: [32]byte(in.Move.Key)}, Signature: in.Move.Signature}
	}
	if in.Despite != nil {
		if len(in.Despite) != 32 {
			return hub.Submission{}, invalid("despite has 32 bytes")
		}
		s.Despite = [32]byte(in.Despite)
	}
	return s, nil
}

// eventsAtHub is GET <conversation>?after=.
func (s *Sidecar) eventsAtHub(w http.ResponseWriter, r *http.Request) error {
	if wantsActivities(r) {
		return s.conversation(w, r)
	}
	groupID, _, err := s.readHubCall(w, r, nil)
	if err != nil {
		return err
	}
	after, err := number(r.URL.Query(), "after", 0)
	if err != nil {
		return err
	}
	return s.answerEvents(w, r, groupID, after)
}

func (s *Sidecar) answerEvents(w http.ResponseWriter, r *http.Request, groupID []byte, after uint64) error {
	answer, err := s.chain(r.Context(), groupID, after)
	if errors.Is(err, hub.ErrNoConversation) {
		answer, err = s.mirrored(r.Context(), groupID, after)
	}
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, answer)
}

// chain is the register's answer. What came before a term that was opened here is the mirror's, and so is what comes after where the register
// ends: who knows that much asks for another hub's term.
func (s *Sidecar) chain(ctx context.Context, groupID []byte, after uint64) (answer clientapi.Events, err error) {
	events, state, err := s.hub.Events(ctx, groupID, after)
	if err != nil {
		return answer, err
	}
	if after > state.Seq {
		if newer, err := s.mirrored(ctx, groupID, after); err == nil && len(newer.Events) > 0 {
			return newer, nil
		}
	}
	if len(events) > 0 {
		if r, err := receipt.Parse(events[0].Receipt); err == nil && r.Seq > after+1 {
			if older, err := s.mirrored(ctx, groupID, after); err == nil && len(older.Events) > 0 {
				return older, nil
			}
		}
	}
	answer = clientapi.Events{Term: state.Term, Seq: state.Seq, Events: eventsOf(events)}
	moved, err := s.hub.Elsewhere(ctx, groupID, state)
	if moved != nil {
		answer.Moved = movedOf(*moved)
	}
	return answer, err
}

func movedOf(e hub.Elsewhere) *clientapi.Moved {
	return &clientapi.Moved{Hub: e.Hub, Event: clientapi.Event{Receipt: e.Receipt, Commit: e.Commit}}
}

func (s *Sidecar) mirrored(ctx context.Context, groupID []byte, after uint64) (clientapi.Events, error) {
	events, term, seq, err := s.mirror.Events(ctx, groupID, after)
	return clientapi.Events{Term: term, Seq: seq, Events: eventsOf(events), Mirror: true}, err
}

// leaseAtHub is POST <conversation>/lease.
func (s *Sidecar) leaseAtHub(w http.ResponseWriter, r *http.Request) error {
	var in clientapi.LeaseCall
	groupID, _, err := s.readHubCall(w, r, &in)
	if err != nil {
		return err
	}
	return s.answerLease(w, r, groupID, in)
}

func (s *Sidecar) answerLease(w http.ResponseWriter, r *http.Request, groupID []byte, in clientapi.LeaseCall) error {
	if len(in.Key) != 32 || len(in.Signature) != 64 {
		return invalid("key has 32 bytes, signature 64")
	}
	wait, runs, err := s.hub.Lease(r.Context(), groupID, hub.LeaseRequest{Term: in.Term, Epoch: in.Epoch, Key: [32]byte(in.Key), Signature: in.Signature})
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, clientapi.Leased{Wait: wait.Milliseconds(), Runs: runs.Milliseconds()})
}

// disputeAtHub is POST <conversation>/dispute.
func (s *Sidecar) disputeAtHub(w http.ResponseWriter, r *http.Request) error {
	var in clientapi.Dispute
	groupID, from, err := s.readHubCall(w, r, &in)
	if err != nil {
		return err
	}
	return s.answerDispute(w, r, groupID, from, in.Dispute)
}

func (s *Sidecar) answerDispute(w http.ResponseWriter, r *http.Request, groupID []byte, from string, dispute []byte) error {
	seq, err := s.hub.Dispute(r.Context(), groupID, from, dispute)
	var stale *hub.StaleError
	if errors.As(err, &stale) {
		return missed(problem.New(http.StatusConflict, "not_disputable", "this is not a receipt that can be disputed now"), stale.Term, stale.Epoch, stale.Seq, stale.Events)
	}
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, clientapi.Disputed{Reopened: seq > 0, Seq: seq})
}

// termAtHub is POST <conversation>/term.
func (s *Sidecar) termAtHub(w http.ResponseWriter, r *http.Request) error {
	var in clientapi.NewTerm
	groupID, from, err := s.readHubCall(w, r, &in)
	if err != nil {
		return err
	}
	return s.answerTerm(w, r, groupID, from, in)
}

// answerTerm opens a term for an instance or an actor of this one.
func (s *Sidecar) answerTerm(w http.ResponseWriter, r *http.Request, groupID []byte, who string, in clientapi.NewTerm) error {
	if err := s.kept.terms.take(who, 1, s.now()); err != nil {
		return err
	}
	c, err := receipt.ParseClaim(in.Claim)
	if err != nil || c.Next.Hub != s.instance {
		return hub.ErrClaim
	}
	first, group, err := receipt.ParseConversationURL(in.Conversation)
	if err != nil || string(group) != string(groupID) {
		return invalid("conversation is not the URL of this one")
	}
	ctx := r.Context()
	s.mirrorOf(ctx, first, groupID, toEvents(in.After)...)
	old, err := s.oldHubs(ctx, groupID, first, c.Claim)
	if err != nil {
		return err
	}
	if err := s.newer(ctx, groupID, old, c.Claim); err != nil {
		return err
	}
	chain, err := s.mirror.Chain(ctx, groupID, c.Claim)
	if err != nil {
		return err
	}
	var opened []byte
	if err := s.keep(who, sizeOf(chain)+len(in.Claim), func() error {
		opened, err = s.hub.OpenTerm(ctx, groupID, in.Claim, chain)
		return err
	}); err != nil {
		return err
	}
	event := hub.Event{Receipt: opened, Commit: in.Claim}
	s.mirrorOf(ctx, s.instance, groupID, event)
	old[len(old)-1].next = event
	for _, h := range old[max(0, len(old)-maxTold):] {
		if h.hub == s.instance {
			continue
		}
		if err := s.store.Hub.Tell(ctx, store.Telling{
			GroupID: groupID, Conversation: receipt.ConversationURL(h.hub, groupID), Since: s.now().UnixMilli(), Event: h.next,
		}); err != nil {
			return err
		}
	}
	return writeJSON(w, http.StatusOK, clientapi.Committed{Receipt: opened})
}

func sizeOf(events []hub.Event) (n int) {
	for _, e := range events {
		n += len(e.Receipt) + len(e.Commit)
	}
	return n
}

// An oldHub had a term, until the one that next opens.
type oldHub struct {
	hub  string
	next hub.Event
}

// oldHubs are those that had the terms before a claim's, as far as the mirror knows. The last one's next is that claim's, and empty. Each can be
// told of the term after its own; what came after that it cannot judge.
func (s *Sidecar) oldHubs(ctx context.Context, groupID []byte, first string, c receipt.Claim) ([]oldHub, error) {
	all := []oldHub{{hub: first}}
	for after := uint64(0); after < c.Seq; {
		events, _, _, err := s.mirror.Events(ctx, groupID, after)
		if errors.Is(err, hub.ErrNoConversation) || err == nil && len(events) == 0 {
			break
		}
		if err != nil {
			return nil, err
		}
		for _, e := range events {
			r, err := receipt.Parse(e.Receipt)
			if err != nil {
				return nil, err
			}
			after = r.Seq
			if claim, err := receipt.ParseClaim(e.Commit); err == nil && r.Kind == receipt.KindTerm && r.Seq <= c.Seq {
				all[len(all)-1].next = e
				all = append(all, oldHub{hub: claim.Next.Hub})
			}
		}
	}
	return all, nil
}

// newer is T4: whoever may know more of the old chain is asked for it.
func (s *Sidecar) newer(ctx context.Context, groupID []byte, old []oldHub, c receipt.Claim) error {
	asking, cancel := context.WithTimeout(ctx, mirrorTime)
	defer cancel()
	if last := old[len(old)-1].hub; last != s.instance {
		if answer, err := s.eventsFrom(asking, last, groupID, c.Seq); err == nil {
			s.mirrorOf(asking, last, groupID, toEvents(answer.Events)...)
		}
	}
	events, _, _, err := s.mirror.Events(ctx, groupID, c.Seq)
	if err != nil && !errors.Is(err, hub.ErrNoConversation) {
		return err
	}
	if own, _, err := s.hub.Events(ctx, groupID, c.Seq); err == nil && len(own) > 0 { // the old hub may be this one
		events = own
	}
	for _, e := range events {
		if r, err := receipt.Parse(e.Receipt); err == nil && r.Seq == c.Seq+1 && r.Previous == c.Head && r.Term < c.Term && r.Kind != receipt.KindTerm {
			return missed(problem.New(http.StatusConflict, "chain_behind", "the old hub's chain goes on after the claim's receipt"), r.Term, 0, r.Seq, events)
		}
	}
	return nil
}

// movedAtHub is POST <conversation>/moved.
func (s *Sidecar) movedAtHub(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		Event clientapi.Event `json:"event"`
	}
	groupID, _, err := s.readHubCall(w, r, &in)
	if err != nil {
		return err
	}
	if err := s.hub.MovedTo(r.Context(), groupID, hub.Event{Receipt: in.Event.Receipt, Commit: in.Event.Commit}); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// groupInfoAtHub is GET <conversation>/group-info.
func (s *Sidecar) groupInfoAtHub(w http.ResponseWriter, r *http.Request) error {
	groupID, _, err := s.readHubCall(w, r, nil)
	if err != nil {
		return err
	}
	return s.answerGroupInfo(w, r, groupID)
}

func (s *Sidecar) answerGroupInfo(w http.ResponseWriter, r *http.Request, groupID []byte) error {
	infos, err := s.hub.GroupInfos(r.Context(), groupID)
	if err != nil {
		return err
	}
	answer := clientapi.GroupInfos{Groups: []clientapi.GroupInfo{}}
	size := 0
	for _, g := range infos {
		if size += len(g.Sealed); size > clientapi.MaxMessage && len(answer.Groups) > 0 {
			break
		}
		answer.Groups = append(answer.Groups, clientapi.GroupInfo{Term: g.Term, Seq: g.Seq, Epoch: g.Epoch, GroupInfo: g.Sealed})
	}
	return writeJSON(w, http.StatusOK, answer)
}

// missed adds to a refusal where the hub is and what the caller has not seen.
func missed(p *problem.Problem, term, epoch, seq uint64, events []hub.Event) *problem.Problem {
	return p.With("term", term).With("epoch", epoch).With("seq", seq).With("events", eventsOf(events))
}

// hubProblem turns what a hub says no with into an answer.
func hubProblem(err error) (*problem.Problem, bool) {
	var stale *hub.StaleError
	var mismatch *hub.MismatchError
	var leased *hub.LeasedError
	var moved *hub.MovedError
	switch {
	case errors.As(err, &stale):
		p := problem.New(http.StatusConflict, "epoch_stale", "another commit was first; the group is at epoch %d", stale.Epoch)
		return missed(p, stale.Term, stale.Epoch, stale.Seq, stale.Events), true
	case errors.As(err, &mismatch):
		p := problem.New(http.StatusConflict, "chain_mismatch", "the hub has other receipts than the sender of this")
		return missed(p, mismatch.Term, 0, mismatch.Seq, mismatch.Events), true
	case errors.As(err, &leased):
		p := problem.New(http.StatusConflict, "leased", "another member is alone with this epoch; try again").With("wait", leased.Wait.Milliseconds())
		p.Retry, p.RetryAfter = true, int(leased.Wait/time.Second)+1
		return p, true
	case errors.As(err, &moved):
		m := movedOf(moved.Elsewhere)
		return problem.New(http.StatusGone, "hub_moved", "the conversation has another hub").With("hub", m.Hub).With("event", m.Event), true
	}
	return nil, false
}
