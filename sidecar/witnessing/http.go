package witnessing

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/waxwing-dm/waxwing/internal/problem"
	"github.com/waxwing-dm/waxwing/internal/sqlite"
	"github.com/waxwing-dm/waxwing/transparency"
	"github.com/waxwing-dm/waxwing/transparency/witness"
)

// Path of the witness on its host, below which the routes of spec/witness.md are.
const Path = "/waxwing/witness"

// Routes are the patterns, as http.ServeMux has them, of all that ServeHTTP answers.
var Routes = []string{"POST " + Path + "/add-checkpoint", "GET " + Path + "/{origin}/checkpoint", "GET " + Path, "GET " + Path + "/{$}"}

const auditWait = time.Second // of a request for the audit of what it brought

// ServeHTTP answers the routes; others must not be sent here.
func (w *Witnessing) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	path := strings.TrimSuffix(strings.TrimPrefix(r.URL.Path, Path), "/")
	hash, isCheckpoint := strings.CutSuffix(strings.TrimPrefix(path, "/"), "/checkpoint")
	switch {
	case path == "/add-checkpoint" && r.Method == http.MethodPost:
		w.serveAdd(rw, r)
	case isCheckpoint && (r.Method == http.MethodGet || r.Method == http.MethodHead):
		answer, err := w.witness.Checkpoint(r.Context(), hash)
		w.reply(rw, answer, err)
	case path == "" && (r.Method == http.MethodGet || r.Method == http.MethodHead):
		w.serveDocument(rw, r)
	default:
		problem.Write(rw, problem.New(http.StatusNotFound, "not_found", "there is nothing at this path"))
	}
}

func (w *Witnessing) serveAdd(rw http.ResponseWriter, r *http.Request) {
	if r.ContentLength > witness.MaxRequest {
		problem.Write(rw, errTooLong)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(rw, r.Body, witness.MaxRequest))
	var tooLong *http.MaxBytesError
	var ours *problem.Problem
	switch {
	case errors.As(err, &tooLong):
		problem.Write(rw, errTooLong)
	case errors.As(err, &ours): // whoever wraps bodies to bound them speaks for himself
		problem.Write(rw, ours)
	case err != nil:
		problem.Write(rw, problem.New(http.StatusBadRequest, "body_incomplete", "the body ended too early"))
	default:
		answer, err := w.addCheckpoint(r.Context(), body)
		w.reply(rw, answer, err)
	}
}

var errTooLong = problem.New(http.StatusRequestEntityTooLarge, "too_large", "a body has at most %d bytes here", witness.MaxRequest)

// reply writes what the witness answers. Its own text goes to the log and not to the caller.
func (w *Witnessing) reply(rw http.ResponseWriter, answer witness.Response, err error) {
	var p *problem.Problem
	switch {
	case err == nil:
		rw.Header().Set("Content-Type", answer.ContentType)
		rw.Header().Set("Cache-Control", "no-store")
		rw.WriteHeader(answer.Status)
		_, _ = rw.Write(answer.Body) // the caller has gone away
		return
	case errors.As(err, &p):
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded), errors.Is(err, sqlite.ErrBusy):
		p = problem.New(http.StatusServiceUnavailable, "busy", "try again")
	case errors.Is(err, witness.ErrClock):
		p = problem.New(http.StatusInternalServerError, "clock", "the clock here is wrong; the operator has to set it")
	case errors.Is(err, sqlite.ErrFull):
		p = problem.New(http.StatusInsufficientStorage, "storage_full", "the disk is full; nothing was written")
	default:
		p = problem.New(http.StatusInternalServerError, "internal", "something went wrong here; the operator's log says what")
	}
	if p.Status >= 500 {
		w.log.Error("a checkpoint was not cosigned", "error", err)
	}
	problem.Write(rw, p)
}

// addCheckpoint is W1 to W9, W23 and W26: the auditor is given a moment to come up to what the witness has cosigned.
func (w *Witnessing) addCheckpoint(ctx context.Context, body []byte) (witness.Response, error) {
	_, checkpoint, _ := bytes.Cut(body, []byte("\n\n"))
	c, known := w.signedByLog(ctx, checkpoint)
	if known && !w.limit.take(c.Origin, w.now()) {
		p := problem.New(http.StatusTooManyRequests, "rate_limited", "too many checkpoints of this log; try again later")
		p.RetryAfter = int(limitEvery/time.Second) + 1
		return witness.Response{}, p
	}
	a, before := w.auditOf(c.Origin), w.isAudited(c)
	answer, err := w.witness.AddCheckpoint(ctx, body)
	if err == nil && answer.Status == http.StatusUnprocessableEntity && a != nil {
		w.contradicted(ctx, a.log, checkpoint)
	}
	if err != nil || answer.Status != http.StatusOK || a == nil || before {
		return answer, err
	}
	a.poke()
	waiting, cancel := context.WithTimeout(ctx, auditWait)
	defer cancel()
	if a.wait(waiting, c.Size); !w.isAudited(c) {
		return answer, nil
	}
	// What is cosigned of one size may be cosigned again, and now the auditor can (W9).
	again, err := w.witness.AddCheckpoint(ctx, fmt.Appendf(nil, "old %d\n\n%s", c.Size, checkpoint))
	if err != nil || again.Status != http.StatusOK { // the log has gone on
		return answer, nil
	}
	return again, nil
}

// signedByLog says of what pinned log a checkpoint is. It refuses nothing: why a request is refused is the witness's to say.
func (w *Witnessing) signedByLog(ctx context.Context, checkpoint []byte) (transparency.Checkpoint, bool) {
	claimed, err := transparency.UnverifiedCheckpoint(checkpoint)
	if err != nil {
		return transparency.Checkpoint{}, false
	}
	keys, err := w.logKeys(ctx, claimed.Origin)
	if err != nil || len(keys) == 0 {
		return transparency.Checkpoint{}, false
	}
	c, err := transparency.OpenCheckpoint(checkpoint, keys[0])
	return c, err == nil
}

func (w *Witnessing) isAudited(c transparency.Checkpoint) bool {
	size, root := w.audited(c.Origin)
	return size == c.Size && root == c.Root
}

// Requests about one log that its key has signed for: anybody can send them again.
const (
	limitBurst = 60
	limitEvery = time.Second // gives one back
)

// limiter is a set of token buckets, one for each pinned log.
type limiter struct {
	mu      sync.Mutex
	buckets map[string]bucket
}

type bucket struct {
	used int
	at   time.Time
}

func (l *limiter) take(origin string, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	b, ok := l.buckets[origin]
	if !ok {
		b.at = now
	}
	if back := now.Sub(b.at) / limitEvery; back > 0 {
		b.used, b.at = max(b.used-int(min(back, limitBurst)), 0), b.at.Add(back*limitEvery)
	}
	if b.used >= limitBurst {
		return false
	}
	b.used++
	l.buckets[origin] = b
	return true
}

// Document is what GET on Path answers: all that another admin needs to rely on this witness, and what it has against anybody. The
// logs with nothing against them are not named, for whose users its own users talk to is nobody's business.
type Document struct {
	Host    string    `json:"host"`
	URL     string    `json:"url"`
	Witness []string  `json:"witness"` // vkeys
	Auditor []string  `json:"auditor"`
	Policy  []string  `json:"policy"` // lines of a policy file
	Logs    int       `json:"logs"`
	Stopped []Stopped `json:"stopped"`
	Changed []Changed `json:"changed"`
	Split   []Split   `json:"split"`
}

// Changed is an instance that names another log than the one that is pinned.
type Changed struct {
	Instance string `json:"instance"`
	Pinned   string `json:"pinned"` // note verifier keys
	Named    string `json:"named"`
	Since    int64  `json:"since"` // seconds
}

// Document gives what is to be said of this witness.
func (w *Witnessing) Document(ctx context.Context) (d Document, err error) {
	d = Document{Host: w.host, URL: w.url, Policy: w.Policy(), Logs: len(w.allAudits()), Stopped: []Stopped{}, Changed: []Changed{}, Split: []Split{}}
	d.Witness, d.Auditor = w.Keys()
	stops, err := w.store.stops(ctx)
	if err != nil {
		return d, err
	}
	changed, err := w.store.otherwise(ctx)
	if err != nil {
		return d, err
	}
	split, err := w.store.splits(ctx)
	d.Stopped, d.Changed, d.Split = append(d.Stopped, stops...), append(d.Changed, changed...), append(d.Split, split...)
	return d, err
}

func (w *Witnessing) serveDocument(rw http.ResponseWriter, r *http.Request) {
	d, err := w.Document(r.Context())
	if err != nil {
		w.reply(rw, witness.Response{}, err)
		return
	}
	body, err := json.Marshal(d)
	w.reply(rw, witness.Response{Status: http.StatusOK, ContentType: "application/json", Body: append(body, '\n')}, err)
}
