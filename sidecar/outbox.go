package sidecar

import (
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"

	"github.com/google/uuid"

	"github.com/waxwing-dm/waxwing/federation"
	"github.com/waxwing-dm/waxwing/internal/clientapi"
	"github.com/waxwing-dm/waxwing/internal/problem"
	"github.com/waxwing-dm/waxwing/internal/strictjson"
	"github.com/waxwing-dm/waxwing/sidecar/store"
)

// owned is a collection that its owner reads with a device token, and nobody else at all.
func (s *Sidecar) owned(h deviceHandler) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		if r.Header.Get("Authorization") == "" {
			return s.private(w, r)
		}
		return s.asDevice(func(w http.ResponseWriter, r *http.Request, d store.Device) error {
			if d.Actor != s.actorOf(r.PathValue("name")) {
				return s.private(w, r)
			}
			return h(w, r, d)
		})(w, r)
	}
}

// readOutbox shows what is on its way. What has arrived is not kept.
func (s *Sidecar) readOutbox(w http.ResponseWriter, r *http.Request, d store.Device) error {
	id := d.Actor + "/outbox"
	if !r.URL.Query().Has("before") {
		return writeCollection(w, federation.Collection{ID: id, Total: -1, First: id + "?before=0"})
	}
	before, err := number(r.URL.Query(), "before", 0)
	if err != nil {
		return err
	}
	underway, err := s.store.Outbox.Of(r.Context(), d.Actor, int64(before), clientapi.MaxItems, maxMailboxBytes)
	if err != nil {
		return err
	}
	page := federation.Page{ID: fmt.Sprintf("%s?before=%d", id, before), Of: id}
	for _, u := range underway {
		page.Items = append(page.Items, federation.Raw(u.Body))
		page.Next = fmt.Sprintf("%s?before=%d", id, u.ID)
	}
	return writePage(w, page)
}

// A collection and its pages are for one reader.
func writeCollection(w http.ResponseWriter, c federation.Collection) error {
	doc, err := c.Document()
	return writeOwn(w, doc, err)
}

func writePage(w http.ResponseWriter, p federation.Page) error {
	doc, err := p.Document()
	return writeOwn(w, doc, err)
}

func writeOwn(w http.ResponseWriter, doc []byte, err error) error {
	if err == nil {
		write(w, http.StatusOK, federation.ContentType, "no-store", doc)
	}
	return err
}

// postOutbox takes an activity of the draft from a client of the owner's, and gives it its id (ActivityPub 6).
func (s *Sidecar) postOutbox(w http.ResponseWriter, r *http.Request, d store.Device) error {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != federation.ContentType && kind != "application/ld+json" {
		return problem.New(http.StatusUnsupportedMediaType, "unsupported_media_type", "send %s", federation.ContentType)
	}
	body, err := readBody(w, r, maxActivity)
	if err != nil {
		return err
	}
	out, err := federation.ParseOutgoing(body, d.Actor)
	var syntax *strictjson.SyntaxError
	switch {
	case errors.As(err, &syntax):
		return problem.New(http.StatusBadRequest, "json_invalid", "%s", syntax.Error()).With("offset", syntax.Offset)
	case err != nil:
		return problem.New(http.StatusBadRequest, "activity_invalid", "this takes a Create of yours with one message/mls object inline, addressed to actors")
	}
	if out.ID == "" {
		out.ID = uuid.NewString()
	}
	id, err := s.sendPlain(r, d, body, out)
	if err != nil {
		return err
	}
	w.Header().Set("Location", id)
	return writeJSON(w, http.StatusCreated, clientapi.Accepted{ID: id})
}

// plainMessages is POST /plain-messages of the client API.
func (s *Sidecar) plainMessages(w http.ResponseWriter, r *http.Request, d store.Device) error {
	var m clientapi.Message
	body, err := readJSON(w, r, clientapi.MaxBody, &m)
	if err != nil {
		return err
	}
	if _, err := uuid.Parse(m.ID); err != nil || len(m.ID) != 36 {
		return invalid("id is not a UUID")
	}
	if len(m.To) == 0 || len(m.Conversation) > 2048 {
		return invalid("to names nobody, or conversation is too long")
	}
	if _, err := s.sendPlain(r, d, body, federation.Outgoing{ID: m.ID, To: m.To, Conversation: m.Conversation, Message: m.Message}); err != nil {
		return err
	}
	return writeJSON(w, http.StatusAccepted, clientapi.Accepted{ID: m.ID})
}

// sendPlain sends a message as the draft has it: no hub is asked, and there is no receipt. It returns the activity's id, the first one if
// this was done before.
func (s *Sidecar) sendPlain(r *http.Request, d store.Device, body []byte, out federation.Outgoing) (string, error) {
	kind, err := classify(out.Message)
	if err != nil {
		return "", malformed("this is not an MLS message that travels between servers")
	}
	if len(out.Message) > clientapi.MaxMessage {
		return "", tooLarge("a message")
	}
	names := 0
	for _, actor := range out.To {
		if _, err := federation.Origin(actor); err != nil {
			return "", invalid("a recipient is not the URL of an actor")
		}
		names += len(actor) + len(`"",`)
	}
	if names > maxNames {
		return "", invalid("the recipients have at most %d bytes", maxNames)
	}
	p := parcel{
		kind: kind, conversation: out.Conversation, message: out.Message, to: withSelf(out.To, d), plain: true, activity: s.newActivityID(),
	}
	if err := s.bounded(p); err != nil {
		return "", err
	}
	answer, err := json.Marshal(clientapi.Accepted{ID: p.activity})
	if err != nil {
		return "", err
	}
	if answer, err = s.record(r, d, out.ID, body, answer, p); err != nil {
		return "", err
	}
	var first clientapi.Accepted
	err = json.Unmarshal(answer, &first)
	return first.ID, err
}
