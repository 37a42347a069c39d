package sidecar

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net"
	"net/http"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"github.com/waxwing-dm/waxwing/federation"
	"github.com/waxwing-dm/waxwing/federation/hub"
	"github.com/waxwing-dm/waxwing/internal/problem"
	"github.com/waxwing-dm/waxwing/internal/sqlite"
	"github.com/waxwing-dm/waxwing/internal/strictjson"
	"github.com/waxwing-dm/waxwing/sidecar/store"
	"github.com/waxwing-dm/waxwing/transparency"
	"github.com/waxwing-dm/waxwing/transparency/sequencer"
)

// A handler answers, or returns an error before it has written anything.
type handler func(w http.ResponseWriter, r *http.Request) error

// handle is the frame around every route: errors become problems, and the log gets a line without anybody's name in it.
func (s *Sidecar) handle(mux *http.ServeMux, pattern string, h handler) {
	mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		s.calls.Add(1)
		defer s.calls.Add(-1)
		start, code := time.Now(), ""
		rec := &recorder{ResponseWriter: w, status: http.StatusOK}
		if err := s.guarded(pattern, h, rec, r); err != nil {
			p := s.problemFor(err)
			code = p.Code
			problem.Write(rec, p)
		}
		s.answered(r.Context(), pattern, rec.status, code, time.Since(start))
	})
}

func (s *Sidecar) answered(ctx context.Context, route string, status int, code string, took time.Duration) {
	s.observer.Answered(route, status, code, took)
	log, silent := s.refusals.count(refusal{route, code}, s.now())
	if s.logSilent(ctx, silent); !log {
		return
	}
	attrs := []slog.Attr{slog.String("route", route), slog.Int("status", status), slog.Duration("took", took)}
	if code != "" {
		attrs = append(attrs, slog.String("code", code))
	}
	s.logger.LogAttrs(ctx, slog.LevelInfo, "request", attrs...)
}

// guarded makes an error of a panic, which net/http would write to the log with the caller's address. What has begun to be answered is
// cut off, so that nobody takes it for whole.
func (s *Sidecar) guarded(route string, h handler, w *recorder, r *http.Request) (err error) {
	defer func() {
		v := recover()
		if v == nil {
			return
		}
		if v == http.ErrAbortHandler {
			panic(v)
		}
		text := fmt.Sprintf("%T", v)
		if e, ok := v.(runtime.Error); ok { // which never has content in it
			text = e.Error()
		}
		s.logger.Error("A BUG: a call has panicked", "route", route, "panic", text, "stack", string(debug.Stack()))
		if w.wrote {
			panic(http.ErrAbortHandler)
		}
		err = problem.New(http.StatusInternalServerError, "internal", "something went wrong here; the operator's log says what")
	}()
	return h(w, r)
}

// recorder remembers the status for the log.
type recorder struct {
	http.ResponseWriter
	status int
	wrote  bool
}

func (r *recorder) WriteHeader(status int) {
	r.status, r.wrote = status, true
	r.ResponseWriter.WriteHeader(status)
}

// Unwrap lets http.ResponseController reach the connection.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// problems turns the errors that mean something to the caller into the answers of the specification.
var problems = []struct {
	is       error
	status   int
	code     string
	detail   string
	operator bool // who has to do something about it, and so must find it in the log
}{
	{sequencer.ErrErased, http.StatusGone, "erased", "what was here of this actor has been erased", false},
	{sequencer.ErrNotNext, http.StatusConflict, "version_conflict", "the statement is not the next one of its label", false},
	{sequencer.ErrNotYet, http.StatusServiceUnavailable, "not_witnessed", "the log has not been witnessed yet; try again", false},
	{ErrRestored, http.StatusServiceUnavailable, "log_stopped", "the log of this instance is stopped; its operator has to act", true},
	{sequencer.ErrHeld, http.StatusServiceUnavailable, "log_unchecked", "the log is not written yet; try again", false},
	{sequencer.ErrBeyondHead, http.StatusBadRequest, "beyond_head", "the log is not that long", false},
	{sequencer.ErrKeyNotCurrent, http.StatusForbidden, "key_not_current", "the entry is not signed by the account key that was promised", false},
	{sequencer.ErrNotFound, http.StatusNotFound, "not_found", "the log has no such tile", false},
	{hub.ErrNoConversation, http.StatusNotFound, "no_such_conversation", "the conversation is not open here", false},
	{hub.ErrMalformed, http.StatusUnprocessableEntity, "mls_malformed", "this is not a commit of that group and epoch", false},
	{hub.ErrEpochUnknown, http.StatusConflict, "epoch_unknown", "the group has not come to that epoch", false},
	{hub.ErrNotMember, http.StatusForbidden, "not_member", "the commit is not signed with the ticket of the current epoch", false},
	{hub.ErrTooMany, http.StatusTooManyRequests, "rate_limited", "too much of this in one conversation; try again", false},
	{hub.ErrBranches, http.StatusConflict, "too_many_branches", "too many disputes are open in this conversation", false},
	{hub.ErrClaim, http.StatusUnprocessableEntity, "claim_invalid", "this is not a claim that this hub can take", false},
	{hub.ErrBehind, http.StatusConflict, "chain_behind", "the receipt that the claim builds on is not known here", false},
	{hub.ErrExists, http.StatusConflict, "id_conflict", "the conversation was opened with another ticket", false},
	{store.ErrConflict, http.StatusConflict, "id_conflict", "this id was used with another body", false},
	{store.ErrHash, http.StatusUnprocessableEntity, "digest_mismatch", "the bytes are not those of the name", false},
	{store.ErrTooMany, http.StatusInsufficientStorage, "storage_full", "there is no room for more of this", false},
	{store.ErrNoRoom, http.StatusInsufficientStorage, "mailbox_full", "nobody it is for has room in their mailbox", false},
	{store.ErrNoConsent, http.StatusForbidden, federation.CodeConsent, "they have to accept the sender first", false},
	{store.ErrQueueFull, http.StatusInsufficientStorage, "queue_full", "too much waits already to be sent to those it is for", false},
	{store.ErrNotFound, http.StatusNotFound, "not_found", "there is nothing by that name", false},
	{sqlite.ErrFull, http.StatusInsufficientStorage, "storage_full", "the disk is full; nothing was written", true},
	{syscall.ENOSPC, http.StatusInsufficientStorage, "storage_full", "the disk is full; nothing was written", true},
	{sqlite.ErrBusy, http.StatusServiceUnavailable, "store_busy", "the database is busy; try again", true},
	{sqlite.ErrDamaged, http.StatusInternalServerError, "store_damaged", "the database is damaged; the operator has to restore it", true},
	{context.Canceled, http.StatusServiceUnavailable, "busy", "the call was broken off; try again", false},
	{context.DeadlineExceeded, http.StatusServiceUnavailable, "busy", "the call took too long; try again", false},
}

// problemFor is the one place where errors become answers. What it does not know is an internal error: the log gets its text,
// the caller does not.
func (s *Sidecar) problemFor(err error) *problem.Problem {
	var p *problem.Problem
	var check *transparency.CheckError
	switch {
	case errors.As(err, &p):
		return p
	case errors.As(err, &check):
		return problem.New(http.StatusUnprocessableEntity, "entry_invalid", "the entry fails check %s: %s", check.Check, check.Reason).With("check", check.Check)
	}
	if p, ok := hubProblem(err); ok {
		return p
	}
	for _, known := range problems {
		if errors.Is(err, known.is) {
			if known.operator {
				s.logger.Error("the store fails", "error", nameless(err))
			}
			p = problem.New(known.status, known.code, "%s", known.detail)
			// Who has sent it is told: what waits may wait for days.
			p.Retry = p.Retry && known.is != store.ErrQueueFull
			return p
		}
	}
	s.logger.Error("internal error", "error", nameless(err))
	return problem.New(http.StatusInternalServerError, "internal", "something went wrong here; the operator's log says what")
}

// readBody reads a body to its end and no further than limit.
func readBody(w http.ResponseWriter, r *http.Request, limit int64) ([]byte, error) {
	if err := noEncoding(r); err != nil {
		return nil, err
	}
	if r.ContentLength > limit {
		return nil, bodyError(&http.MaxBytesError{Limit: limit}, limit)
	}
	body := bytes.NewBuffer(make([]byte, 0, min(max(r.ContentLength, 0), maxTaken)+bytes.MinRead))
	_, err := body.ReadFrom(http.MaxBytesReader(w, r.Body, limit))
	return body.Bytes(), bodyError(err, limit)
}

// maxTaken bounds the memory that is taken because of what is only said of a body's length, in bytes.
const maxTaken = 8 << 10

func noEncoding(r *http.Request) error {
	if e := r.Header.Get("Content-Encoding"); e != "" && !strings.EqualFold(e, "identity") {
		return problem.New(http.StatusUnsupportedMediaType, "encoding_not_supported", "send the body without content encoding")
	}
	return nil
}

func bodyError(err error, limit int64) error {
	var tooLarge *http.MaxBytesError
	var timeout net.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &tooLarge):
		return problem.New(http.StatusRequestEntityTooLarge, "too_large", "a body has at most %d bytes here", limit)
	case errors.As(err, &timeout) && timeout.Timeout():
		return problem.New(http.StatusRequestTimeout, "timeout", "the body came too slowly")
	case errors.Is(err, io.ErrUnexpectedEOF):
		return problem.New(http.StatusBadRequest, "body_incomplete", "the body ended too early")
	}
	return err
}

// readJSON reads a strict JSON body; it returns the bytes too, since what they hash to may count.
func readJSON(w http.ResponseWriter, r *http.Request, limit int64, into any) ([]byte, error) {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != "application/json" {
		return nil, problem.New(http.StatusUnsupportedMediaType, "unsupported_media_type", "send application/json")
	}
	body, err := readBody(w, r, limit)
	if err != nil {
		return nil, err
	}
	return body, parseJSON(body, into)
}

func parseJSON(body []byte, into any) error {
	var syntax *strictjson.SyntaxError
	err := strictjson.Unmarshal(body, into)
	if errors.As(err, &syntax) {
		return problem.New(http.StatusBadRequest, "json_invalid", "%s", syntax.Error()).With("offset", syntax.Offset)
	}
	return err
}

func writeJSON(w http.ResponseWriter, status int, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	write(w, status, "application/json", "no-store", body)
	return nil
}

func write(w http.ResponseWriter, status int, contentType, cache string, body []byte) {
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Cache-Control", cache)
	w.WriteHeader(status)
	_, _ = w.Write(body) // the caller has gone away
}

// invalid is the answer to a request that does not have the shape its page describes.
func invalid(format string, args ...any) error {
	return problem.New(http.StatusBadRequest, "request_invalid", format, args...)
}
