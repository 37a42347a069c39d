// Package witness is C2SP tlog-witness without HTTP and SQL. Its serving half, [Witness], looks at checkpoints of other people's
// logs, remembers the newest of each and cosigns it; the sidecar gives it a [Store] and puts routes in front. Its asking half,
// [Round], gets the cosignatures of one's own checkpoint from several witnesses at once.
//
// A witness promises one thing: no two of its cosignatures are of trees of which one does not continue the other. So the new size
// is durable before the signature is made, by one compare-and-swap: of two requests that were both checked against the same state
// one gets a signature, and the other hears 409. After a crash between the two steps the log hears 409 and asks again.
//
// An auditor is the same thing with keys of its own, whose cosignature says more: that every map root and authorization up to the
// size was recomputed. The recomputing is not done here; [Config].Audited says how far it has come. spec/witness.md has the wire
// format and the numbered checks.
package witness

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/waxwing-dm/waxwing/transparency"
)

// ErrClock says that the clock is behind what was signed before. Nothing is signed until it is right again: a cosignature with a
// time that is not the present one would be untrue.
var ErrClock = errors.New("the clock is behind the newest cosignature: set it right")

// State is what a witness remembers of one log.
type State struct {
	Origin  string
	Size    int64
	Root    tlog.Hash
	Time    int64  // of the newest cosignature, in seconds; never 0
	Audited bool   // whether the auditor's keys signed as well
	Note    []byte // the checkpoint with the log's signatures only; the cosignatures can be made again
}

// Store keeps one State for each log, by the SHA-256 of its origin. It may be called at any time from anywhere.
type Store interface {
	State(ctx context.Context, originHash [32]byte) (s State, ok bool, err error)
	// Swap makes next the state of next.Origin, durably before it returns true, if the present one still has old's Size and Time;
	// a Time of 0 stands for there being none. Otherwise, or on an error, nothing of it is there.
	Swap(ctx context.Context, old, next State) (bool, error)
}

// Config of a Witness.
type Config struct {
	Keys    []*transparency.Cosigner // at least one
	Auditor []*transparency.Cosigner // may be none
	// Audited says how far a log was recomputed, from outside; the auditor's keys sign a checkpoint of exactly that size and root.
	Audited func(origin string) (size int64, root tlog.Hash)
	// LogKeys gives the keys pinned for an origin; none, if the log is not known here. Their name is the origin.
	LogKeys func(ctx context.Context, origin string) ([]note.Verifier, error)
	Store   Store
	Now     func() time.Time
}

// Witness is safe for concurrent use.
type Witness struct{ Config }

// New makes a witness. No key may be there twice, for a signature could not tell which statement it makes.
func New(c Config) (*Witness, error) {
	if len(c.Keys) == 0 {
		return nil, errors.New("witness: no key to cosign with")
	}
	if len(c.Auditor) > 0 && c.Audited == nil {
		return nil, errors.New("witness: an auditor's key and nothing that audits")
	}
	all := append(append([]*transparency.Cosigner{}, c.Keys...), c.Auditor...)
	for i, a := range all {
		for _, b := range all[:i] {
			if a.Key().SamePublicKey(b.Key()) {
				return nil, fmt.Errorf("witness: the keys %s and %s are the same", b.Key().Name(), a.Key().Name())
			}
		}
	}
	return &Witness{c}, nil
}

// Response is what to answer over HTTP.
type Response struct {
	Status      int
	ContentType string
	Body        []byte
}

const (
	typeText = "text/plain; charset=utf-8"
	typeSize = "text/x.tlog.size"

	statusOK            = 200
	statusBadRequest    = 400
	statusForbidden     = 403
	statusNotFound      = 404
	statusConflict      = 409
	statusUnprocessable = 422
)

func refuse(status int, format string, args ...any) Response {
	return Response{status, typeText, fmt.Appendf(nil, format+"\n", args...)}
}

// AddCheckpoint answers a POST of that body to add-checkpoint (W1 to W9). An error is one of our own: ErrClock, or the store's.
func (w *Witness) AddCheckpoint(ctx context.Context, body []byte) (Response, error) {
	r, err := parseRequest(body)
	if err != nil {
		return refuse(statusBadRequest, "%v", err), nil
	}
	claimed, err := transparency.UnverifiedCheckpoint(r.checkpoint)
	if err != nil {
		return refuse(statusBadRequest, "%v", err), nil
	}
	keys, err := w.LogKeys(ctx, claimed.Origin)
	if err != nil {
		return Response{}, fmt.Errorf("witness: looking up the keys of the log %s: %w", claimed.Origin, err)
	}
	if len(keys) == 0 {
		return refuse(statusNotFound, "this log is not known here"), nil
	}
	c, n, err := transparency.OpenCosigned(r.checkpoint, keys, nil)
	if err != nil {
		return refuse(statusForbidden, "%v", err), nil
	}
	if r.old > c.Size {
		return refuse(statusBadRequest, "the old size %d is beyond the new one, %d", r.old, c.Size), nil
	}
	answer, err := w.advance(ctx, r, c, n)
	if err != nil {
		return Response{}, fmt.Errorf("witness: cosigning size %d of %s: %w", c.Size, c.Origin, err)
	}
	return answer, nil
}

// Each failed attempt means that another request about the same log has succeeded.
const maxAttempts = 20

func (w *Witness) advance(ctx context.Context, r request, c transparency.Checkpoint, n *note.Note) (Response, error) {
	// What others signed has no place in what is kept: anybody can add lines to a note.
	own, err := note.Sign(&note.Note{Text: n.Text, Sigs: n.Sigs})
	if err != nil {
		return Response{}, err
	}
	for range maxAttempts {
		old, _, err := w.Store.State(ctx, OriginHash(c.Origin))
		if err != nil {
			return Response{}, err
		}
		if r.old != old.Size {
			return Response{statusConflict, typeSize, fmt.Appendf(nil, "%d\n", old.Size)}, nil
		}
		if err := r.consistent(old, c); err != nil {
			return refuse(statusUnprocessable, "%v", err), nil
		}
		next := State{Origin: c.Origin, Size: c.Size, Root: c.Root, Note: own}
		if next.Time, err = w.time(old); err != nil {
			return Response{}, err
		}
		next.Audited = w.audited(c)
		swapped, err := w.Store.Swap(ctx, old, next)
		if err != nil {
			return Response{}, err
		}
		if swapped {
			lines, err := w.cosign(next)
			return Response{statusOK, typeText, lines}, err
		}
	}
	return Response{}, errors.New("too many requests at once")
}

// maxStepBack is how far a clock that is kept right may go back: a leap second, or a correction.
const maxStepBack = 60

// time to sign with: never before the one signed with last, and never one that is more than a step back ahead.
func (w *Witness) time(old State) (int64, error) {
	now := w.Now().Unix()
	if now < 1 || now < old.Time-maxStepBack {
		return 0, ErrClock
	}
	return max(now, old.Time), nil
}

func (w *Witness) audited(c transparency.Checkpoint) bool {
	if len(w.Auditor) == 0 {
		return false
	}
	size, root := w.Audited(c.Origin)
	return size == c.Size && root == c.Root
}

// cosign makes the signature lines of a state that is durable. The same state always gives the same lines.
func (w *Witness) cosign(s State) ([]byte, error) {
	var signers []note.Signer
	for _, k := range w.Keys {
		signers = append(signers, k.At(s.Time))
	}
	if s.Audited {
		for _, k := range w.Auditor {
			signers = append(signers, k.At(s.Time))
		}
	}
	text, _, _ := strings.Cut(string(s.Note), "\n\n")
	signed, err := note.Sign(&note.Note{Text: text + "\n"}, signers...)
	if err != nil {
		return nil, err
	}
	return signed[len(text)+2:], nil
}

// Checkpoint answers a GET of <origin hash>/checkpoint: what this witness cosigned last of a log, for monitors.
func (w *Witness) Checkpoint(ctx context.Context, originHash string) (Response, error) {
	var id [32]byte
	if n, err := hex.Decode(id[:], []byte(originHash)); len(originHash) != 2*len(id) || err != nil || n != len(id) || hex.EncodeToString(id[:]) != originHash {
		return refuse(statusNotFound, "that is not the hash of an origin"), nil
	}
	s, ok, err := w.Store.State(ctx, id)
	if err != nil {
		return Response{}, fmt.Errorf("witness: reading the newest checkpoint of log %s: %w", originHash, err)
	}
	if !ok {
		return refuse(statusNotFound, "no checkpoint of this log was cosigned here"), nil
	}
	lines, err := w.cosign(s)
	if err != nil {
		return Response{}, fmt.Errorf("witness: cosigning size %d of %s again: %w", s.Size, s.Origin, err)
	}
	return Response{statusOK, typeText, append(append([]byte{}, s.Note...), lines...)}, nil
}

// OriginHash is under what a log's state is kept, and in lower-case hex the name of the log in URLs.
func OriginHash(origin string) [32]byte { return sha256.Sum256([]byte(origin)) }
