package sidecar

import (
	"context"
	"errors"
	"net/http"
	"slices"

	"github.com/waxwing-dm/waxwing/federation"
	"github.com/waxwing-dm/waxwing/federation/hub"
	"github.com/waxwing-dm/waxwing/internal/clientapi"
	"github.com/waxwing-dm/waxwing/internal/problem"
	"github.com/waxwing-dm/waxwing/internal/receipt"
	"github.com/waxwing-dm/waxwing/sidecar/store"
)

const maxActivity = 1 << 20 // bytes; of hub calls too

// receive is POST of an inbox, shared or a user's.
func (s *Sidecar) receive(w http.ResponseWriter, r *http.Request) error {
	if err := s.inbox.Admit(r.Header); err != nil {
		return err
	}
	body, err := readBody(w, r, maxActivity)
	if err != nil {
		return err
	}
	if err := s.compute(r.Context()); err != nil {
		return err
	}
	outcome, err := s.inbox.Receive(r, body)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusAccepted, map[string]string{"outcome": string(outcome)})
}

// arrivals is the federation.InboxStore: it stores and wakes.
type arrivals struct{ s *Sidecar }

// Residents looks each actor up once, and none that cannot live here.
func (a arrivals) Residents(ctx context.Context, actors []string) ([]string, error) {
	var candidates []string
	for _, actor := range actors {
		if a.s.isLocal(actor) {
			candidates = append(candidates, actor)
		}
	}
	slices.Sort(candidates)
	candidates = slices.Compact(candidates)
	if len(candidates) > clientapi.MaxActors {
		return nil, invalid("at most %d recipients", clientapi.MaxActors)
	}
	return a.s.store.Accounts.Residents(ctx, candidates)
}

func (a arrivals) Accept(ctx context.Context, in federation.Inbound) (duplicate bool, err error) {
	known, err := a.knownTo(ctx, in)
	if err != nil {
		return false, err
	}
	now := a.s.now().UnixMilli()
	arrival := store.Arrival{Activity: in.ID, BodyHash: in.BodyHash[:], At: now}
	for _, actor := range in.To {
		arrival.Drops = append(arrival.Drops, store.Drop{Actor: actor, Welcome: in.Kind == federation.KindWelcome, Item: store.Item{
			Activity: in.ID, Sender: in.Actor, Conversation: in.Conversation, Message: in.Message, Receipt: in.Receipt, Received: now,
		}})
	}
	duplicate, err = a.s.store.Mailboxes.Accept(ctx, arrival)
	if errors.Is(err, store.ErrConflict) {
		return false, federation.ErrIDConflict
	}
	if err != nil {
		return false, err
	}
	if origin, err := federation.Origin(in.Actor); err == nil {
		a.s.deliverer.Heard(ctx, origin)
	}
	if duplicate {
		return true, nil
	}
	a.s.notify.wake(in.To...)
	if !known { // nobody is asked anything on a stranger's behalf
		return false, nil
	}
	a.s.mirrorArrival(ctx, in)
	return false, a.sendWhatWaited(ctx, in)
}

// knownTo says whether some recipient lets the sender in unasked. Strangers to those who let everybody in are held to what may wait, and so is who
// only names a conversation of theirs.
func (a arrivals) knownTo(ctx context.Context, in federation.Inbound) (known bool, err error) {
	var strangers, members []string
	for _, actor := range in.To {
		s, err := a.s.store.Consents.Standing(ctx, actor, in.Actor, in.Conversation)
		if err != nil {
			return false, err
		}
		if known = known || s.Open() && !s.Blocked; s.Open() && !s.Known {
			strangers = append(strangers, actor)
		} else if s.Known && (!s.Met || s.Blocked) && actor != in.Actor {
			members = append(members, actor)
		}
	}
	if err := a.s.limit.members.take(in.Actor, members, len(in.Message)); err != nil {
		return false, err
	}
	return known, a.s.limit.strangers.take(in.Actor, strangers, len(in.Message))
}

// sendWhatWaited tries again what the recipients have sent to the sender and what had to wait: who writes has accepted, if that was it.
func (a arrivals) sendWhatWaited(ctx context.Context, in federation.Inbound) error {
	for _, actor := range in.To {
		some, err := a.s.store.Outbox.Hurry(ctx, originOf(in.Actor), actor, a.s.now())
		if err != nil {
			return err
		}
		if some {
			a.s.deliverer.Wake()
		}
	}
	return nil
}

// outbox wakes the devices that get a note.
type outbox struct {
	store.Outbox
	notify *notifier
}

func (o outbox) Dead(ctx context.Context, d federation.Delivery, missed []federation.Missed) error {
	defer o.notify.wake(d.Sender)
	return o.Outbox.Dead(ctx, d, missed)
}

func (o outbox) Expire(ctx context.Context, d federation.Delivery, missed []federation.Missed) error {
	defer o.notify.wake(d.Sender)
	return o.Outbox.Expire(ctx, d, missed)
}

// answerPeerClaim is POST <claim>, of another instance.
func (s *Sidecar) answerPeerClaim(w http.ResponseWriter, r *http.Request) error {
	var in clientapi.Claim
	caller, err := s.readPeer(w, r, maxSmall, &in)
	if err != nil {
		return err
	}
	if in.For != "" && originOf(in.For) != caller {
		return problem.New(http.StatusForbidden, "origin_mismatch", "the claim is for somebody of another instance")
	}
	return s.answerClaim(w, r, in.Actor, caller, in.For)
}

// readPeer reads a call of another instance, verifies that it is one, and only then looks into its body.
func (s *Sidecar) readPeer(w http.ResponseWriter, r *http.Request, limit int64, into any) (caller string, err error) {
	var body []byte
	if r.Method == http.MethodPost {
		if body, err = readBody(w, r, limit); err != nil {
			return "", err
		}
	}
	if err = s.compute(r.Context()); err != nil {
		return "", err
	}
	if caller, err = s.remote.Caller(r, body, s.instance); err != nil {
		return "", err
	}
	if err := s.spend(r.Context(), caller); err != nil {
		return "", err
	}
	s.heard(r.Context(), caller, federation.Sightings(r.Header))
	s.deliverer.Heard(r.Context(), caller)
	if into == nil {
		return caller, nil
	}
	return caller, parseJSON(body, into)
}

// groupOf reads the group id in a conversation's path; another spelling of it is no conversation.
func (s *Sidecar) groupOf(r *http.Request) ([]byte, error) {
	_, groupID, err := receipt.ParseConversationURL(s.instance + federation.PathConversations + r.PathValue("group"))
	if err != nil {
		return nil, hub.ErrNoConversation
	}
	return groupID, nil
}
