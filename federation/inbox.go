package federation

import (
	"context"
	"crypto/sha256"
	"errors"
	"mime"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/waxwing-dm/waxwing/federation/httpsig"
	"github.com/waxwing-dm/waxwing/internal/problem"
	"github.com/waxwing-dm/waxwing/internal/strictjson"
	"github.com/waxwing-dm/waxwing/transparency"
)

// Inbound is an envelope that passed every check; To are the recipients that live here.
type Inbound struct {
	Envelope
	BodyHash [32]byte
}

// InboxStore keeps what came in. Accept is one durable transaction: the items of all recipients and the row by which the same
// activity is known again. It reports a repetition with the same body; with another one it returns ErrIDConflict.
type InboxStore interface {
	Residents(ctx context.Context, actors []string) ([]string, error)
	Accept(ctx context.Context, in Inbound) (duplicate bool, err error)
}

// ErrIDConflict is for an activity id that was used with another body.
var ErrIDConflict = errors.New("the activity id was used with another body")

// Inbox is the door in (I1 to I12, H1 to H8 of spec/wire.md).
type Inbox struct {
	Origin   string // ours
	Store    InboxStore
	Keys     httpsig.Keys
	Services Services
	Classify func(message []byte) (Kind, error)
	// Signed is asked once a signature holds, whatever else may be wrong with the request, and Budget for each activity of who may speak.
	Signed func(ctx context.Context, owner string) error
	Budget func(actor string) error
	Now    func() time.Time
	// Heard, if set, gets the sightings of logs that came with what an instance's user has sent.
	Heard func(ctx context.Context, instance string, seen []transparency.Sighting)
}

// Services knows the service actors of instances, and is told what their hosts can do.
type Services interface {
	Service(ctx context.Context, instance string) (actor string, err error)
	Learn(ctx context.Context, host string, h http.Header)
}

// Outcome of an activity that was not refused.
type Outcome string

const (
	Accepted  Outcome = "accepted"
	Duplicate Outcome = "duplicate"
	Ignored   Outcome = "ignored" // signed well, and not for us
)

// Receive takes an activity or refuses it with a *problem.Problem. The body has been read within its limit. The cheap checks
// come first; another server is asked for a key only when all that can be known without it is right.
func (i *Inbox) Receive(r *http.Request, body []byte) (Outcome, error) {
	if err := i.Admit(r.Header); err != nil {
		return "", err
	}
	var in *incoming
	// What is signed badly is not read: JSON costs more than all that is checked before a key is looked for.
	keys := func(ctx context.Context, keyID string, fresh bool) (httpsig.Key, error) {
		if in == nil {
			read, err := parseActivity(body)
			if err != nil {
				return httpsig.Key{}, shapeError(err)
			}
			in = &read
		}
		return i.Keys(ctx, keyID, fresh)
	}
	owner, err := httpsig.Verify(r.Context(), httpsig.Request{Request: r, Body: body, Origin: i.Origin, Now: i.Now()}, keys)
	if err != nil {
		return "", err
	}
	if err := i.Signed(r.Context(), owner); err != nil {
		return "", err
	}
	if err := i.maySpeak(r.Context(), owner, in.actor); err != nil {
		return "", err
	}
	if err := i.Budget(in.actor); err != nil {
		return "", err
	}
	if !in.ours {
		return Ignored, nil
	}
	e, err := i.open(r.Context(), *in)
	if err != nil {
		return "", err
	}
	duplicate, err := i.Store.Accept(r.Context(), Inbound{e, sha256.Sum256(body)})
	switch {
	case errors.Is(err, ErrIDConflict):
		return "", problem.New(http.StatusConflict, "id_conflict", "this activity id was used with another body")
	case err != nil:
		return "", err
	case duplicate:
		return Duplicate, nil
	}
	if origin, err := Origin(in.actor); err == nil {
		i.Services.Learn(r.Context(), origin, r.Header)
		if seen := Sightings(r.Header); i.Heard != nil && len(seen) > 0 {
			i.Heard(r.Context(), origin, seen)
		}
	}
	return Accepted, nil
}

// Admit is what can be said before a body is read: I1, and that there is a signature at all (H1).
func (i *Inbox) Admit(h http.Header) error {
	if err := checkContentType(h); err != nil {
		return err
	}
	if len(h["Signature"]) == 0 && len(h["Signature-Input"]) == 0 {
		return problem.New(http.StatusUnauthorized, "signature_missing", "the request has no signature")
	}
	return nil
}

// maySpeak is H8: the key is the actor's own, or that of the service actor of the actor's own instance.
func (i *Inbox) maySpeak(ctx context.Context, owner, actor string) error {
	if owner == actor {
		return nil
	}
	mismatch := problem.New(http.StatusForbidden, "actor_key_mismatch", "the key is neither the actor's nor that of the actor's instance")
	instance, err := Origin(actor)
	if err != nil || !on(instance, owner) {
		return mismatch
	}
	service, err := i.Services.Service(ctx, instance)
	if err == nil && service != owner {
		return mismatch
	}
	return err
}

func checkContentType(h http.Header) error {
	if !isActivityStreams(h) {
		return problem.New(http.StatusUnsupportedMediaType, "unsupported_media_type", "send %s", ContentType)
	}
	if e := h.Get("Content-Encoding"); e != "" && !strings.EqualFold(e, "identity") {
		return problem.New(http.StatusUnsupportedMediaType, "encoding_not_supported", "send the body without content encoding")
	}
	return nil
}

func shapeError(err error) error {
	var syntax *strictjson.SyntaxError
	if errors.As(err, &syntax) {
		return problem.New(http.StatusBadRequest, "json_invalid", "%s", syntax.Error()).With("offset", syntax.Offset)
	}
	return problem.New(http.StatusBadRequest, "activity_invalid", "an activity has an id, a type and an actor")
}

// isActivityStreams tells documents from what else an origin may serve, such as files its users have uploaded.
func isActivityStreams(h http.Header) bool {
	kind, params, err := mime.ParseMediaType(h.Get("Content-Type"))
	return err == nil && (kind == ContentType ||
		kind == "application/ld+json" && slices.Contains(strings.Fields(params["profile"]), "https://www.w3.org/ns/activitystreams"))
}

// open is I7 to I9.
func (i *Inbox) open(ctx context.Context, in incoming) (Envelope, error) {
	origin, err := Origin(in.actor)
	if err != nil || in.attributedTo != in.actor || !on(origin, in.id) || !on(origin, in.objectID) {
		return Envelope{}, problem.New(http.StatusForbidden, "origin_mismatch", "activity and object are not the actor's own")
	}
	if _, err := Origin(in.conversation); in.conversation != "" && err != nil {
		return Envelope{}, problem.New(http.StatusBadRequest, "activity_invalid", "conversation is not a URL that can be used")
	}
	kind, err := i.Classify(in.message)
	if err != nil {
		return Envelope{}, problem.New(http.StatusUnprocessableEntity, "mls_malformed", "the content is not one MLS message")
	}
	here, err := i.Store.Residents(ctx, in.to)
	if err != nil {
		return Envelope{}, err
	}
	if len(here) == 0 {
		return Envelope{}, problem.New(http.StatusNotFound, "no_such_recipient", "nobody of the recipients is here")
	}
	return Envelope{ID: in.id, Actor: in.actor, To: here, Conversation: in.conversation, Kind: kind, Message: in.message, Receipt: in.receipt}, nil
}

func on(origin, u string) bool {
	o, err := Origin(u)
	return err == nil && o == origin
}

// Caller verifies a call of an instance (H1 to H8): the key's owner is the service actor that its discovery document names.
// It returns the instance. ours is our origin.
func (r *Remote) Caller(req *http.Request, body []byte, ours string) (instance string, err error) {
	owner, err := httpsig.Verify(req.Context(), httpsig.Request{Request: req, Body: body, Origin: ours, Now: r.now()}, r.Key)
	if err != nil {
		return "", err
	}
	if r.Signed != nil {
		r.Signed(req.Context(), owner)
	}
	origin, err := Origin(owner)
	if err != nil {
		return "", noKey(true)
	}
	service, err := r.Service(req.Context(), origin)
	if err == nil && service != owner {
		err = noService()
	}
	if err != nil {
		return "", err
	}
	return origin, nil
}

// Service is the actor that an instance's discovery document names as its own. It asks for the document within the bounds of what
// is asked for strangers.
func (r *Remote) Service(ctx context.Context, instance string) (actor string, err error) {
	d, known := recall(r, r.docs, instance, keepFor)
	if !known {
		err = r.forStranger(ctx, instance, func(ctx context.Context) error {
			d, err = r.Discovery(ctx, instance)
			return err
		})
	}
	switch {
	case err == nil:
		return d.Actor, nil
	case isFinal(err):
		return "", noService()
	}
	p := problem.New(http.StatusServiceUnavailable, "key_unavailable", "the discovery document of the key's instance cannot be fetched now")
	p.RetryAfter = int(askAgain / time.Second)
	return "", p
}

func noService() error {
	return problem.New(http.StatusForbidden, "actor_key_mismatch", "the key is not that of the service actor of an instance")
}
