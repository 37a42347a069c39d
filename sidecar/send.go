package sidecar

import (
	"cmp"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/waxwing-dm/waxwing/federation"
	"github.com/waxwing-dm/waxwing/internal/clientapi"
	"github.com/waxwing-dm/waxwing/internal/problem"
	"github.com/waxwing-dm/waxwing/internal/receipt"
	"github.com/waxwing-dm/waxwing/sidecar/store"
)

// messages is POST /messages: what is in is written down with everything that follows from it, then answered.
func (s *Sidecar) messages(w http.ResponseWriter, r *http.Request, d store.Device) error {
	var m clientapi.Message
	body, err := readJSON(w, r, clientapi.MaxBody, &m)
	if err != nil {
		return err
	}
	_, groupID, err := checkRequest(m.ID, m.Conversation, m.To)
	if err != nil {
		return err
	}
	if len(m.Message) > clientapi.MaxMessage {
		return tooLarge("a message")
	}
	kind, err := classify(m.Message)
	if err != nil {
		return malformed("this is not an MLS message")
	}
	group, _, commit, err := headers(m.Message)
	if err != nil || commit || string(group) != string(groupID) {
		return malformed("the message is not one of that conversation")
	}
	answer, err := json.Marshal(clientapi.Accepted{ID: m.ID})
	if err != nil {
		return err
	}
	p := parcel{kind: kind, conversation: m.Conversation, message: m.Message, to: withSelf(m.To, d)}
	if err := s.bounded(p); err != nil {
		return err
	}
	return s.carryOut(w, r, d, m.ID, body, http.StatusAccepted, answer, p)
}

// checkRequest holds what messages and commits have in common.
func checkRequest(id, conversation string, lists ...[]string) (hub string, groupID []byte, err error) {
	if _, err := uuid.Parse(id); err != nil || len(id) != 36 {
		return "", nil, invalid("id is not a UUID")
	}
	hub, groupID, err = receipt.ParseConversationURL(conversation)
	if err != nil {
		return "", nil, invalid("conversation is not the URL of one")
	}
	if o, err := federation.Origin(hub); err != nil || o != hub {
		return "", nil, invalid("conversation is not the URL of one")
	}
	for _, actors := range lists {
		if len(actors) > clientapi.MaxActors {
			return "", nil, invalid("at most %d recipients", clientapi.MaxActors)
		}
		for _, actor := range actors {
			if _, err := federation.Origin(actor); err != nil {
				return "", nil, invalid("a recipient is not the URL of an actor")
			}
		}
	}
	return hub, groupID, nil
}

func tooLarge(what string) error {
	return problem.New(http.StatusRequestEntityTooLarge, "too_large", "%s has at most %d bytes", what, clientapi.MaxMessage)
}

func malformed(detail string) error {
	return problem.New(http.StatusUnprocessableEntity, "mls_malformed", "%s", detail)
}

// A parcel is one MLS message for some actors.
type parcel struct {
	kind         federation.Kind
	conversation string
	message      []byte
	receipt      []byte
	to           []string
	plain        bool   // in the draft's own spelling
	activity     string // its id, if it was given already
}

// withSelf adds the sender, for its other devices.
func withSelf(to []string, d store.Device) []string {
	if slices.Contains(to, d.Actor) {
		return to
	}
	return append(slices.Clip(to), d.Actor)
}

// What one request may make of itself: a copy for each server, and for each person here.
const maxCopies = 64 << 20 // bytes

// bounded is asked before anything is done for a request.
func (s *Sidecar) bounded(parcels ...parcel) error {
	size := 0
	for _, p := range parcels {
		copies := map[string]bool{}
		for _, actor := range p.to {
			if origin, err := federation.Origin(actor); err == nil && origin != s.instance {
				actor = origin
			}
			copies[actor] = true
		}
		size += len(copies) * len(p.message)
	}
	if size > maxCopies {
		return problem.New(http.StatusRequestEntityTooLarge, "too_large", "all copies of a message for all its recipients have at most %d bytes", maxCopies)
	}
	return nil
}

// carryOut records a device's request with all its mailbox items and deliveries, in one transaction, and answers. If it was
// done before, the first answer is given and nothing else happens.
func (s *Sidecar) carryOut(w http.ResponseWriter, r *http.Request, d store.Device, id string, body []byte, status int, answer []byte, parcels ...parcel) error {
	answer, err := s.record(r, d, id, body, answer, parcels...)
	if err != nil {
		return err
	}
	write(w, status, "application/json", "no-store", answer)
	return nil
}

func (s *Sidecar) record(r *http.Request, d store.Device, id string, body, answer []byte, parcels ...parcel) ([]byte, error) {
	hash := sha256.Sum256(body)
	now := s.now()
	sending := store.Sending{
		Actor: d.Actor, Device: d.ID, ID: id, BodyHash: hash[:], Answer: answer, At: now.UnixMilli(), Granted: parcels[0].receipt != nil,
		Acquaints: acquaintances(d, parcels), Talks: parcels[0].conversation,
	}
	for _, p := range parcels {
		if err := s.address(&sending, d, p, now); err != nil {
			return nil, err
		}
	}
	answer, err := s.store.Sent.Record(r.Context(), sending)
	if err != nil {
		return nil, err
	}
	for _, drop := range sending.Drops {
		s.notify.wake(drop.Actor)
	}
	if len(sending.Deliveries) > 0 {
		s.deliverer.Wake()
		s.notify.wake(d.Actor) // there may be a note
	}
	return answer, nil
}

// acquaintances are whom somebody knows who has sent these: whom they have asked into a conversation, and to whom alone they write. Of the
// others in a conversation they only know what is said there.
func acquaintances(d store.Device, parcels []parcel) (known []string) {
	for _, p := range parcels {
		others := slices.DeleteFunc(slices.Clone(p.to), func(who string) bool { return who == d.Actor })
		slices.Sort(others)
		if others = slices.Compact(others); p.kind == federation.KindWelcome || len(others) == 1 {
			known = append(known, others...)
		}
	}
	return known
}

// address turns a parcel into an item for each local actor and one activity for each remote server.
func (s *Sidecar) address(sending *store.Sending, d store.Device, p parcel, now time.Time) error {
	remote := map[string][]string{}
	var origins []string // in the order of the list, so that a request has the same effect each time
	to := slices.Clone(p.to)
	slices.Sort(to)
	for _, actor := range slices.Compact(to) {
		origin, err := federation.Origin(actor)
		if err != nil {
			return err
		}
		if origin == s.instance {
			sending.Drops = append(sending.Drops, s.drop(d, p, actor, now))
			continue
		}
		if remote[origin] == nil {
			origins = append(origins, origin)
		}
		remote[origin] = append(remote[origin], actor)
	}
	hash := sha256.Sum256(p.message)
	for _, origin := range origins {
		for _, some := range portions(remote[origin]) {
			envelope := federation.Envelope{
				ID: cmp.Or(p.activity, s.newActivityID()), Actor: d.Actor, To: some, Conversation: p.conversation,
				Kind: p.kind, Message: p.message, Receipt: p.receipt, Plain: p.plain,
			}
			activity, err := envelope.Activity(some, now)
			if err != nil {
				return fmt.Errorf("sidecar: addressing a message: %w", err)
			}
			sending.Deliveries = append(sending.Deliveries, federation.Delivery{
				Host: origin, Sender: d.Actor, Recipients: some, Body: activity, Conversation: p.conversation, MessageHash: hash[:],
			})
		}
	}
	return nil
}

// maxNames is what the recipients of one activity may have, in bytes. They stand in it twice, beside a message that may leave
// no more than 90 KiB of the 1 MiB that its receiver takes.
const maxNames = 32 << 10

func portions(actors []string) (all [][]string) {
	first, size := 0, 0
	for i, actor := range actors {
		if size += len(actor) + len(`"",`); size > maxNames && i > first {
			all, first, size = append(all, actors[first:i]), i, len(actor)
		}
	}
	return append(all, actors[first:])
}

func (s *Sidecar) drop(d store.Device, p parcel, actor string, now time.Time) store.Drop {
	drop := store.Drop{Actor: actor, Welcome: p.kind == federation.KindWelcome, Item: store.Item{
		Activity: s.newActivityID(), Sender: d.Actor, Conversation: p.conversation,
		Message: p.message, Receipt: p.receipt, Received: now.UnixMilli(),
	}}
	if actor == d.Actor {
		drop.Except = d.ID
	}
	return drop
}

func (s *Sidecar) newActivityID() string {
	return s.instance + federation.PathActivities + uuid.NewString()
}
