package witness

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/waxwing-dm/waxwing/transparency"
)

// ErrAhead says that a witness knows a larger tree than the one it was asked about. If that stays so, the log was restored from a
// backup and must not go on under its name.
var ErrAhead = errors.New("the witness has seen a larger tree of this log")

// MaxResponse is the most bytes that the answer of a witness may have. A Transport reads no more than one above it.
const MaxResponse = transparency.MaxNote

// Transport posts. It ends when ctx does, follows no redirect to another host, and gives the answer's body up to MaxResponse.
type Transport interface {
	Post(ctx context.Context, url string, body []byte) (status int, contentType string, answer []byte, err error)
}

// Endpoint is one witness as a log sees it.
type Endpoint struct {
	URL  string // submission prefix
	Keys []*transparency.CosignerKey
	Size int64 // of the newest tree it is known to have cosigned; a wrong one costs one more round trip
}

// Endpoints are the witnesses of a policy that have a URL. Keys of one URL, like a witness's and its auditor's, are asked together.
func Endpoints(p *transparency.Policy) []Endpoint {
	var all []Endpoint
	for _, w := range p.Witnesses {
		if w.URL == "" {
			continue
		}
		i := slices.IndexFunc(all, func(e Endpoint) bool { return e.URL == w.URL })
		if i < 0 {
			i = len(all)
			all = append(all, Endpoint{URL: w.URL})
		}
		all[i].Keys = append(all[i].Keys, w.Key)
	}
	return all
}

// Round asks witnesses for cosignatures of one checkpoint. Prove and Transport are called by many goroutines at once.
type Round struct {
	Checkpoint []byte // signed by the log, and durable: what was once sent cannot be taken back
	Log        note.Verifier
	Policy     *transparency.Policy
	Except     []string // domains that do not count, see transparency.Policy.Evaluate
	Endpoints  []Endpoint
	Prove      func(ctx context.Context, from, to int64) ([]tlog.Hash, error) // consistency; 0 < from < to
	Transport  Transport
	Timeout    time.Duration // for the whole round, above 0
}

// Outcome is what became of one endpoint.
type Outcome struct {
	URL    string
	Done   bool  // false: not heard of yet
	Status int   // of the last answer; 0 if there was none
	Size   int64 // of the newest tree it has, as far as is known now
	Signed []string
	Err    error // why there is no cosignature; ErrAhead among others
}

// Result of a round up to some moment.
type Result struct {
	Note     []byte // the checkpoint with the log's signatures and the cosignatures, each verified
	Verdict  transparency.Verdict
	Outcomes []Outcome // in the order of the endpoints
}

// Collect asks all endpoints at once and returns as soon as the policy is satisfied, or nobody is left to answer, or ctx or the
// timeout ends. The others go on meanwhile; rest waits for them under the same limits and gives the whole result. Whoever does not
// want it need not call it. It is not for use by several goroutines.
func (r Round) Collect(ctx context.Context) (result Result, rest func() Result, err error) {
	c, n, err := transparency.OpenCosigned(r.Checkpoint, []note.Verifier{r.Log}, nil)
	if err != nil {
		return Result{}, nil, fmt.Errorf("witness: asking for cosignatures: %w", err)
	}
	g := &gathering{round: r, checkpoint: c, text: n.Text, own: n.Sigs, outcomes: make([]Outcome, len(r.Endpoints)),
		sigs: make([][]note.Signature, len(r.Endpoints)), heard: make(chan heard, len(r.Endpoints)), left: len(r.Endpoints)}
	for i, e := range r.Endpoints {
		g.outcomes[i] = Outcome{URL: e.URL, Size: e.Size}
	}
	if err := g.weigh(); err != nil {
		return Result{}, nil, fmt.Errorf("witness: asking for cosignatures: %w", err)
	}
	g.start(ctx)
	for !g.verdict.Met && g.next() {
	}
	return g.result(), g.rest, nil
}

// gathering is a round under way. The goroutines that ask read round, checkpoint, text and own, and write to heard; all the rest
// belongs to who calls Collect, and then rest.
type gathering struct {
	round      Round
	checkpoint transparency.Checkpoint
	text       string
	own        []note.Signature
	heard      chan heard // has room for all: nobody waits to be listened to
	ctx        context.Context
	left       int
	outcomes   []Outcome
	sigs       [][]note.Signature
	signed     []byte
	verdict    transparency.Verdict
}

type heard struct {
	at      int
	sigs    []note.Signature
	outcome Outcome
}

func (g *gathering) start(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, g.round.Timeout)
	g.ctx = ctx
	var asking sync.WaitGroup
	for i, e := range g.round.Endpoints {
		asking.Go(func() {
			sigs, o := g.ask(ctx, e)
			g.heard <- heard{i, sigs, o}
		})
	}
	go func() {
		asking.Wait()
		cancel()
	}()
}

// next waits for one more endpoint and reports whether there was one.
func (g *gathering) next() bool {
	if g.left == 0 {
		return false
	}
	var h heard
	select {
	case h = <-g.heard:
	case <-g.ctx.Done():
		select {
		case h = <-g.heard: // the last one to answer ends ctx, after it has spoken
		default:
			g.left = 0
			return false
		}
	}
	g.left--
	g.sigs[h.at] = h.sigs
	if err := g.weigh(); err != nil { // there is no room for it, or the policy has another key of that name and ID
		g.sigs[h.at], h.outcome.Signed, h.outcome.Err = nil, nil, err
	}
	g.outcomes[h.at] = h.outcome
	return true
}

func (g *gathering) rest() Result {
	for g.next() {
	}
	for i := range g.outcomes {
		if o := &g.outcomes[i]; !o.Done {
			o.Err = errors.New("no answer in time")
		}
	}
	return g.result()
}

func (g *gathering) result() Result {
	return Result{g.signed, g.verdict, slices.Clone(g.outcomes)}
}

// weigh makes the note with all signatures so far, in the order of the endpoints, and asks the policy, as a reader would.
func (g *gathering) weigh() error {
	n := &note.Note{Text: g.text, Sigs: slices.Clone(g.own)}
	for _, sigs := range g.sigs {
		n.Sigs = append(n.Sigs, sigs...)
	}
	signed, err := note.Sign(n)
	if err != nil {
		return err
	}
	verdict, err := g.round.Policy.Evaluate(signed, g.round.Log, g.round.Except...)
	if err == nil {
		g.signed, g.verdict = signed, verdict
	}
	return err
}

// ask one endpoint, and once more if its newest tree is another one than was thought (W11).
func (g *gathering) ask(ctx context.Context, e Endpoint) ([]note.Signature, Outcome) {
	o := Outcome{URL: e.URL, Done: true, Size: e.Size}
	from := e.Size
	if from < 0 || from > g.checkpoint.Size {
		from = 0 // it will say what it has
	}
	for range 2 {
		status, contentType, answer, err := g.post(ctx, e.URL, from)
		o.Status = status
		switch {
		case err != nil:
			o.Err = err
			return nil, o
		case status == statusOK:
			sigs, err := g.read(answer, e.Keys)
			if o.Err = err; err == nil {
				o.Size, o.Signed = g.checkpoint.Size, names(sigs)
			}
			return sigs, o
		case status != statusConflict:
			o.Err = refusal(status)
			return nil, o
		}
		if from, o.Err = toldSize(contentType, answer); o.Err != nil {
			return nil, o
		}
		if o.Size = from; from > g.checkpoint.Size {
			o.Err = fmt.Errorf("%w: %d entries, not %d", ErrAhead, from, g.checkpoint.Size)
			return nil, o
		}
	}
	o.Err = errors.New("it names another old size every time")
	return nil, o
}

func (g *gathering) post(ctx context.Context, url string, from int64) (status int, contentType string, answer []byte, err error) {
	own, err := note.Sign(&note.Note{Text: g.text, Sigs: g.own})
	if err != nil {
		return 0, "", nil, err
	}
	r := request{old: from, checkpoint: own}
	if from > 0 && from < g.checkpoint.Size {
		if r.proof, err = g.round.Prove(ctx, from, g.checkpoint.Size); err != nil {
			return 0, "", nil, fmt.Errorf("proving consistency from %d to %d entries: %w", from, g.checkpoint.Size, err)
		}
	}
	return g.round.Transport.Post(ctx, strings.TrimSuffix(url, "/")+"/add-checkpoint", r.marshal())
}

// read is W10: lines that are signatures by the endpoint's keys of this very checkpoint, with a time.
func (g *gathering) read(answer []byte, keys []*transparency.CosignerKey) ([]note.Signature, error) {
	if len(answer) > MaxResponse {
		return nil, fmt.Errorf("an answer of more than %d bytes", MaxResponse)
	}
	var known []note.Verifier
	for _, k := range keys {
		known = append(known, k)
	}
	n, err := note.Open(append([]byte(g.text+"\n"), answer...), note.VerifierList(known...))
	if err != nil {
		return nil, fmt.Errorf("its cosignature: %w", err)
	}
	if n.Text != g.text {
		return nil, errors.New("it cosigned something else")
	}
	for _, k := range keys {
		if t, ok := k.Time(n); ok && t == 0 {
			return nil, errors.New("a cosignature without a time")
		}
	}
	return n.Sigs, nil
}

func names(sigs []note.Signature) (out []string) {
	for _, s := range sigs {
		out = append(out, s.Name)
	}
	return out
}

func toldSize(contentType string, answer []byte) (int64, error) {
	text, ok := strings.CutSuffix(string(answer), "\n")
	size, err := strconv.ParseInt(text, 10, 64)
	if !ok || contentType != typeSize || err != nil || size < 0 || strconv.FormatInt(size, 10) != text {
		return 0, errors.New("it refuses the old size and does not say which one it has")
	}
	return size, nil
}

// refusal in words of ours: what stands in the answer is a stranger's.
func refusal(status int) error {
	reasons := map[int]string{
		statusBadRequest: "it cannot read the request", statusForbidden: "it knows this log by another key",
		statusNotFound: "it does not know this log", statusUnprocessable: "it holds that this tree does not continue the one it cosigned",
	}
	if reason, ok := reasons[status]; ok {
		return fmt.Errorf("%s (%d)", reason, status)
	}
	return fmt.Errorf("it answered %d", status)
}
