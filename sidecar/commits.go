package sidecar

import (
	"crypto/sha256"
	"encoding/json"
	"net/http"

	"github.com/waxwing-dm/waxwing/federation"
	"github.com/waxwing-dm/waxwing/internal/clientapi"
	"github.com/waxwing-dm/waxwing/internal/receipt"
	"github.com/waxwing-dm/waxwing/sidecar/store"
)

// openConversation is POST /conversations: the hub is this sidecar.
func (s *Sidecar) openConversation(w http.ResponseWriter, r *http.Request, d store.Device) error {
	var o clientapi.Open
	if _, err := readJSON(w, r, maxSmall, &o); err != nil {
		return err
	}
	if len(o.GroupID) == 0 || len(o.GroupID) > 64 || len(o.Ticket) != 32 {
		return invalid("group_id has 1 to 64 bytes, ticket 32")
	}
	var first []byte
	if err := s.keep(d.Actor, 0, func() (err error) {
		first, err = s.hub.Open(r.Context(), o.GroupID, [32]byte(o.Ticket))
		return err
	}); err != nil {
		return err
	}
	return writeJSON(w, http.StatusCreated, clientapi.Opened{Conversation: receipt.ConversationURL(s.instance, o.GroupID), Receipt: first})
}

// commits is POST /commits: first the hub's receipt, then everything that follows from it. A crash between the two is mended
// when the device asks again: the hub answers the same commit with the same receipt (S3).
func (s *Sidecar) commits(w http.ResponseWriter, r *http.Request, d store.Device) error {
	var c clientapi.Commit
	body, err := readJSON(w, r, clientapi.MaxBody, &c)
	if err != nil {
		return err
	}
	instance, groupID, err := checkCommit(c)
	if err != nil {
		return err
	}
	target, err := hubOf(c.Hub, instance)
	if err != nil {
		return err
	}
	hash := sha256.Sum256(body)
	if answer, done, err := s.store.Sent.Answer(r.Context(), d.Actor, c.ID, hash[:]); err != nil || done {
		if err == nil {
			write(w, http.StatusOK, "application/json", "no-store", answer)
		}
		return err
	}
	kind, err := classify(c.Commit)
	if err != nil {
		return err
	}
	parcels := []parcel{{kind: kind, conversation: c.Conversation, message: c.Commit, to: withSelf(c.To, d)}}
	if len(c.Welcome) > 0 {
		parcels = append(parcels, parcel{kind: federation.KindWelcome, conversation: c.Conversation, message: c.Welcome, to: c.WelcomeTo})
	}
	if err := s.bounded(parcels...); err != nil {
		return err
	}
	var granted []byte
	if err := s.keep(d.Actor, len(c.Commit)+len(c.GroupInfo), func() (err error) {
		granted, err = s.submit(r.Context(), target, groupID, c, d.Actor)
		return err
	}); err != nil {
		return err
	}
	for i := range parcels {
		parcels[i].receipt = granted
	}
	answer, err := json.Marshal(clientapi.Committed{Receipt: granted})
	if err != nil {
		return err
	}
	return s.carryOut(w, r, d, c.ID, body, http.StatusOK, answer, parcels...)
}

func checkCommit(c clientapi.Commit) (instance string, groupID []byte, err error) {
	if instance, groupID, err = checkRequest(c.ID, c.Conversation, c.To, c.WelcomeTo); err != nil {
		return "", nil, err
	}
	if len(c.Commit) > clientapi.MaxMessage || len(c.Welcome) > clientapi.MaxMessage {
		return "", nil, tooLarge("a commit or welcome")
	}
	if len(c.Ticket) != 32 || len(c.Signature) != 64 {
		return "", nil, invalid("ticket has 32 bytes, signature 64")
	}
	group, epoch, commit, err := headers(c.Commit)
	if err != nil || !commit || string(group) != string(groupID) || epoch != c.Epoch {
		return "", nil, malformed("the commit is not one of that conversation and epoch")
	}
	if len(c.Welcome) > 0 {
		if kind, err := classify(c.Welcome); err != nil || kind != federation.KindWelcome {
			return "", nil, malformed("the welcome is none")
		}
	}
	return instance, groupID, nil
}
