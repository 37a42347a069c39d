package localapi

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/waxwing-dm/waxwing/agent"
	"github.com/waxwing-dm/waxwing/device"
	"github.com/waxwing-dm/waxwing/internal/problem"
	"github.com/waxwing-dm/waxwing/internal/safehttp"
	"github.com/waxwing-dm/waxwing/internal/sqlite"
	"github.com/waxwing-dm/waxwing/internal/strictjson"
)

// strict reads JSON strictly.
var strict = huma.Format{
	Marshal:   func(w io.Writer, v any) error { return json.NewEncoder(w).Encode(v) },
	Unmarshal: strictjson.Unmarshal,
}

// failure is a problem in the form in which huma takes errors.
type failure struct{ *problem.Problem }

func (f failure) GetStatus() int { return f.Status }

func (f failure) ContentType(string) string { return problem.ContentType }

func (f failure) GetHeaders() http.Header {
	if f.RetryAfter == 0 {
		return nil
	}
	return http.Header{"Retry-After": {strconv.Itoa(f.RetryAfter)}}
}

// Schema describes a problem (RFC 9457) in the API's description, in one place.
func (failure) Schema(r huma.Registry) *huma.Schema {
	text := func(doc string) *huma.Schema { return &huma.Schema{Type: huma.TypeString, Description: doc} }
	r.Map()["Problem"] = &huma.Schema{
		Type: huma.TypeObject, Required: []string{"status", "code", "detail", "retry"},
		Properties: map[string]*huma.Schema{
			"type": text("about:blank"), "title": text("Of the status"), "code": text("Stable, for programs"),
			"detail": text("One sentence for people"), "help": text("What to do next"),
			"status": {Type: huma.TypeInteger}, "retry": {Type: huma.TypeBoolean, Description: "The same request may succeed later"},
		},
	}
	return &huma.Schema{Ref: "#/components/schemas/Problem"}
}

// The library asks these variables: how its own errors look, those about the shape of a request, and whether a list may be null.
func init() {
	huma.DefaultArrayNullable = false
	huma.NewError = func(status int, msg string, errs ...error) huma.StatusError {
		code, ok := map[int]string{
			http.StatusRequestEntityTooLarge: "too_large", http.StatusUnsupportedMediaType: "unsupported_media_type",
			http.StatusRequestTimeout: "timeout", http.StatusNotAcceptable: "not_acceptable", http.StatusInternalServerError: "internal",
		}[status]
		if !ok {
			code = "request_invalid"
		}
		p := problem.New(status, code, "%s", msg)
		var details []string
		for _, err := range errs {
			var d huma.ErrorDetailer
			if errors.As(err, &d) {
				// Where and why, without the value: it may be what somebody wrote.
				details = append(details, d.ErrorDetail().Location+": "+d.ErrorDetail().Message)
			}
		}
		if details != nil {
			p.With("errors", details)
		}
		return failure{p}
	}
}

// answers are what the errors below mean to a program, and what to do next.
var answers = []struct {
	is     error
	status int
	code   string
	detail string
	help   string
}{
	{device.ErrNotEnrolled, http.StatusConflict, "not_logged_in", "this device belongs to no account yet", "log in first: waxwing login @you@your.instance"},
	{device.ErrOtherAccount, http.StatusConflict, "other_account", "this device already belongs to another account", "use another home for another account: waxwing --home DIR"},
	{device.ErrNoSuchConversation, http.StatusNotFound, "no_such_conversation", "there is no conversation by that id", "list them: waxwing conversations"},
	{device.ErrNoSuchRequest, http.StatusNotFound, "no_such_request", "nobody waits by that id", "list them: waxwing requests"},
	{device.ErrBlocked, http.StatusConflict, "blocked", "you have blocked them; nothing was sent", "let them write again first: waxwing requests unblock"},
	{device.ErrNoSuchMessage, http.StatusNotFound, "no_such_message", "there is no such message or file", "read the conversation: waxwing read"},
	{device.ErrLeft, http.StatusConflict, "removed", "this device is no longer in the conversation", "start a new one, or ask to be added again"},
	{device.ErrLeaving, http.StatusConflict, "leaving", "you asked to leave this conversation: nothing is sent there any more", "start a new one, or ask to be added again once you are out"},
	{device.ErrLastAdmin, http.StatusConflict, "last_admin", "the conversation would be left without an admin, and it needs one", "make somebody else one first: waxwing admin CONVERSATION @somebody@their.instance"},
	{device.ErrPaused, http.StatusConflict, "paused", "who is a member is on hold: a step of the conversation's order cannot be followed", "see the conversation's reason; try again with its resume"},
	{device.ErrStateLost, http.StatusConflict, "state_lost", "what this device had stored of the conversation is damaged, and is being fetched anew", "try again in a moment"},
	{device.ErrIdempotencyConflict, http.StatusConflict, "idempotency_conflict", "this Idempotency-Key was used for another message", "use a new key for a new message"},
	{device.ErrTooLarge, http.StatusRequestEntityTooLarge, "too_large", "that is larger than the limit", "text has at most 64 KiB, a file 25 MiB"},
	{device.ErrContent, http.StatusUnprocessableEntity, "content_invalid", "that cannot be sent as a message", "send UTF-8 text that is not empty"},
	{device.ErrNotMember, http.StatusNotFound, "no_such_member", "they are not in this conversation", "see who is: waxwing members CONVERSATION"},
	{device.ErrActor, http.StatusUnprocessableEntity, "member_invalid", "somebody named cannot be a member here", "name each person once, and not yourself"},
	{device.ErrFile, http.StatusBadGateway, "file_mismatch", "what came is not the file that the message promised", "ask the sender to send it again"},
	{device.ErrPlainFile, http.StatusUnprocessableEntity, "plain_file", "a plain conversation carries text only", "send them the text, or a link"},
	{device.ErrLogKeyChanged, http.StatusConflict, "log_key_changed", "the instance shows another log key than the one this device remembers", "do not go on: ask the instance's admin what happened"},
	{device.ErrLogSplit, http.StatusConflict, "log_split", "the log of their instance has shown two different histories: no new keys from there are believed any more", "see the proof: waxwing log evidence; ask the instance's admin what happened"},
	{device.ErrLogUnproven, http.StatusConflict, "log_unproven", "the log of their instance has yet to prove that it shows everybody the same history: no new keys from there are believed until it does", "it is asked again by itself; try later"},
	{device.ErrNoHub, http.StatusConflict, "not_logged_in", "the login was not finished", "log in again: waxwing login"},
	{agent.ErrHandle, http.StatusUnprocessableEntity, "handle_invalid", "that is not a handle", "write it like @alice@a.example"},
	{agent.ErrNobody, http.StatusNotFound, "no_such_recipient", "their instance knows nobody by that name", "check the spelling"},
	{agent.ErrNotCapable, http.StatusUnprocessableEntity, "peer_not_capable", "that instance does not offer encrypted messages", "nothing was sent; they need an instance with Waxwing"},
	{agent.ErrUnproven, http.StatusBadGateway, "not_proven", "the directory's answer does not prove what it says, so its keys are not used", "try later; if it stays, tell the instance's admin"},
	{agent.ErrLog, http.StatusBadGateway, "log_incomplete", "your instance did not give out all of its log", "try again in a while; if it stays, ask its admin"},
	{agent.ErrAway, http.StatusServiceUnavailable, "instance_unreachable", "your instance cannot be reached now", "try again in a while; what is queued goes out by itself"},
	{agent.ErrUnreachable, http.StatusServiceUnavailable, "peer_unreachable", "that instance cannot be reached now", "try again in a while"},
	{agent.ErrHasDevice, http.StatusConflict, "account_has_device", "the account already has another device", "if you have lost that device, waxwing login --reset replaces it by this one; this version knows one device per account"},
	{agent.ErrRevoked, http.StatusConflict, "device_revoked", "this device was taken off the account's list for good: somebody may have its key", "log in with a fresh home: waxwing --home DIR login @you@your.instance --reset"},
	{device.ErrDeviceRemoved, http.StatusConflict, "device_removed", "this device is not in the account's list any more: what it has can be read, and nothing sent or received", "to write again, log in on a fresh home: waxwing --home DIR login @you@your.instance --reset"},
	{safehttp.ErrRefused, http.StatusUnprocessableEntity, "address_refused", "that host is not one on the public internet", "check the spelling"},
	{sqlite.ErrDamaged, http.StatusInternalServerError, "store_damaged", "the store is damaged", "stop the agent, keep a copy of its home, and restore a backup"},
	{sqlite.ErrFull, http.StatusInsufficientStorage, "storage_full", "the disk is full; nothing was written", "make room and try again"},
	{sqlite.ErrBusy, http.StatusServiceUnavailable, "store_busy", "the store is busy", "try again"},
	{context.Canceled, http.StatusServiceUnavailable, "busy", "the call was broken off", "try again"},
	{context.DeadlineExceeded, http.StatusServiceUnavailable, "busy", "the call took too long", "try again"},
}

// refuse turns an error into an answer. What is not known gets no words of its own: they might say too much.
func refuse(err error) error {
	var p *problem.Problem
	var unready *device.NotReadyError
	var reset *device.KeysResetError
	var plain *device.PlainOnlyError
	var unwitnessed *device.NotWitnessedError
	var check *device.CheckError
	var unseen *agent.NotVisibleError
	switch {
	case errors.As(err, &unseen):
		return failure{problem.New(http.StatusServiceUnavailable, "not_visible", "your device is in your instance's log and cannot be seen by others yet: %s", unseen.Waiting).
			With("help", "nothing is lost: run waxwing login again in a while")}
	case errors.As(err, &unready):
		return failure{problem.New(http.StatusConflict, "recipient_not_ready", "somebody has no device to encrypt to; nothing was sent").
			With("who", handlesOf(unready.Actors)).With("help", "they have to log in with Waxwing once")}
	case errors.As(err, &plain):
		return failure{problem.New(http.StatusConflict, "plain_only",
			"the instance of %s has no directory, so nobody vouches for their keys: they can be written to in a plain conversation only; nothing was sent", strings.Join(handlesOf(plain.Actors), ", ")).
			With("who", handlesOf(plain.Actors)).With("help", "to do so knowingly, send it to them with --plain (plain: true)")}
	case errors.As(err, &reset):
		who := handlesOf(reset.Actors)
		return failure{problem.New(http.StatusConflict, "keys_reset",
			"somebody's keys were replaced by others that the old ones do not vouch for: they lost their devices, or it is somebody else; nothing was sent").
			With("who", who).With("help", "ask them by another way whether it was they, and only then: waxwing contact accept "+who[0])}
	case errors.As(err, &unwitnessed):
		return failure{problem.New(http.StatusServiceUnavailable, "not_witnessed", "%s", unwitnessed.Reason).With("help", "it is tried again; if it stays, tell the instance's admin, or change whose witness you ask for")}
	case errors.As(err, &check):
		help := "an admin of the conversation can do it"
		if strings.HasPrefix(check.Check, "P") {
			help = "in a plain conversation everybody adds and removes people"
		}
		return failure{problem.New(http.StatusForbidden, "not_allowed", "%s", check.Reason).With("check", check.Check).With("help", help)}
	}
	for _, x := range answers {
		if errors.Is(err, x.is) {
			return failure{problem.New(x.status, x.code, "%s", x.detail).With("help", x.help)}
		}
	}
	if errors.As(err, &p) {
		return failure{ofSidecar(p)}
	}
	return failure{problem.New(http.StatusInternalServerError, "internal", "something went wrong in the agent").With("help", "try again; if it stays, stop the agent and start it again")}
}

func handlesOf(actors []string) []string {
	handles := make([]string, 0, len(actors))
	for _, a := range actors {
		handles = append(handles, agent.HandleOf(a))
	}
	return handles
}

// ofSidecar passes on what the sidecar answered. Its 401 is not about the caller's token, except for a login's.
func ofSidecar(p *problem.Problem) *problem.Problem {
	out := problem.New(p.Status, p.Code, "%s", p.Detail)
	out.Retry, out.RetryAfter = p.Retry, p.RetryAfter
	switch {
	case p.Code == "login_refused":
		return out.With("help", "check the handle and the login code; the instance's admin can make a new code")
	case p.Status == http.StatusUnauthorized:
		out = problem.New(http.StatusConflict, "login_required", "the instance does not know this device any more")
		return out.With("help", "log in again: waxwing login")
	}
	return out.With("help", "the instance said so; its admin may know more")
}

// notThere answers in our form what the mux would answer as text.
func notThere(w http.ResponseWriter, r *http.Request, mux *http.ServeMux) {
	for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodDelete} {
		other := r.Clone(r.Context())
		other.Method = method
		if _, pattern := mux.Handler(other); pattern != "" {
			w.Header().Add("Allow", method)
		}
	}
	p := problem.New(http.StatusNotFound, "not_found", "there is nothing at this path")
	if w.Header().Get("Allow") != "" {
		p = problem.New(http.StatusMethodNotAllowed, "method_not_allowed", "this path does not know that method")
	}
	problem.Write(w, p.With("help", "the API is described at /v1/openapi.json"))
}
