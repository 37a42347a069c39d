package witnessing

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/waxwing-dm/waxwing/internal/strictjson"
	"github.com/waxwing-dm/waxwing/transparency"
)

const (
	maxLogs      = 1000
	maxDiscovery = 256 << 10 // bytes, of spec/wire.md
	maxInstance  = 512       // bytes of an instance's origin; a key name has room for no longer host
	maxMet       = 10_000
	discoverTime = 20 * time.Second
	maxMeeting   = 4 // discovery documents that are fetched at once
	lookAgain    = 6 * time.Hour
	tryAgain     = 5 * time.Second // after a failure; twice as long after each more, up to maxBackOff
)

// pinned is a log that is served here.
type pinned struct {
	transparency.Log // the keys; its size and root are in state
	id               int64
	instance         string
	url              string // of its tiles, with a slash at the end
}

func (p pinned) same(other pinned) bool {
	return p.Origin == other.Origin && p.Key == other.Key && bytes.Equal(p.VRF, other.VRF)
}

// Watch has the log of an instance witnessed and audited from now on. It returns at once and may be called as often as the instance
// is met: its discovery document is fetched in the background, from itself, at the first call and every six hours after that. What
// it says the first time is pinned. The own instance is left out.
func (w *Witnessing) Watch(instance string) {
	host, err := hostOf(instance)
	if err != nil || strings.EqualFold(host, w.host) {
		return
	}
	ctx, done, ok := w.begin()
	if !ok {
		return
	}
	if !w.meet(instance) {
		done()
		return
	}
	go func() {
		defer done()
		err := w.discover(ctx, instance)
		if err != nil {
			w.log.Warn("the log of an instance cannot be witnessed now", "instance", instance, "error", err)
		}
		w.met(instance, err)
	}()
}

// A meeting says when to look again what an instance says of itself.
type meeting struct {
	due    time.Time
	failed int // times since it last went well
}

// meet says whether an instance is to be asked for its document now; if so nobody else is told the same before met.
func (w *Witnessing) meet(instance string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	m := w.meetings[instance]
	if w.now().Before(m.due) || w.meeting >= maxMeeting {
		return false
	}
	if len(w.meetings) >= maxMet {
		clear(w.meetings)
	}
	w.meeting++
	w.meetings[instance] = meeting{w.now().Add(lookAgain), m.failed}
	return true
}

func (w *Witnessing) met(instance string, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.meeting--
	m := meeting{due: w.now().Add(lookAgain)}
	if err != nil && !errors.Is(err, errFull) {
		m.failed = w.meetings[instance].failed + 1
		m.due = w.now().Add(min(tryAgain<<min(m.failed-1, 20), maxBackOff))
	}
	w.meetings[instance] = m
}

// discover is W20 and W21.
func (w *Witnessing) discover(ctx context.Context, instance string) error {
	ctx, cancel := context.WithTimeout(ctx, discoverTime)
	defer cancel()
	document, err := w.get(ctx, instance+"/.well-known/waxwing", maxDiscovery)
	if err != nil {
		return err
	}
	said, err := parseDiscovery(document, instance)
	if err != nil {
		return err
	}
	kept, fresh, err := w.store.pin(ctx, said, w.now().Unix())
	if err != nil {
		return err
	}
	if !kept.same(said) {
		if fresh {
			w.log.Error("AN INSTANCE NAMES ANOTHER LOG THAN BEFORE: the first one stays pinned, the other is not witnessed",
				"instance", instance, "pinned", kept.Key, "named", said.Key)
		}
		return nil
	}
	if w.know(kept) {
		w.log.Info("witnessing a log", "instance", instance, "origin", kept.Origin)
		w.poke(kept.Origin)
	}
	return nil
}

// Accept makes a log that an instance named later, and that is in the document as changed, the one that is witnessed. It is the
// operator's word that this is in order. The log before it stays pinned, too: what was signed of it still counts. A process that
// serves from the folder heeds it from its next start on.
func (w *Witnessing) Accept(ctx context.Context, instance, key string) error {
	ok, err := w.store.accept(ctx, instance, key, w.now().Unix())
	if err == nil && !ok {
		err = fmt.Errorf("witnessing: %s has not named a log by that key; see what is listed as changed", instance)
	}
	return err
}

// know adds a log to those that are served, and says whether it was not there.
func (w *Witnessing) know(p pinned) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	a, ok := w.logs[p.Origin]
	if !ok {
		w.logs[p.Origin] = newAudit(w, p)
	} else {
		a.moved(p.url)
	}
	return !ok
}

func (w *Witnessing) auditOf(origin string) *audit {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.logs[origin]
}

func (w *Witnessing) allAudits() (all []*audit) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, a := range w.logs {
		all = append(all, a)
	}
	return all
}

// logKeys is that of witness.Config.
func (w *Witnessing) logKeys(_ context.Context, origin string) ([]note.Verifier, error) {
	a := w.auditOf(origin)
	if a == nil {
		return nil, nil
	}
	v, err := note.NewVerifier(a.log.Key)
	if err != nil {
		return nil, fmt.Errorf("witnessing: key of log %s: %w", origin, err)
	}
	return []note.Verifier{v}, nil
}

// parseDiscovery takes out of an instance's discovery document (spec/wire.md) what concerns its log.
func parseDiscovery(document []byte, instance string) (pinned, error) {
	var d struct {
		Version  int    `json:"version"`
		Instance string `json:"instance"`
		Log      struct {
			Origin string `json:"origin"`
			Key    string `json:"key"`
			VRF    []byte `json:"vrf"`
			URL    string `json:"url"`
		} `json:"log"`
	}
	fail := func(err error) (pinned, error) {
		return pinned{}, fmt.Errorf("witnessing: reading the discovery document of %s: %w", instance, err)
	}
	host, err := hostOf(instance)
	if err != nil {
		return fail(err)
	}
	if len(document) > maxDiscovery {
		return fail(fmt.Errorf("%d bytes", len(document)))
	}
	if err := strictjson.Unmarshal(document, &d); err != nil {
		return fail(err)
	}
	if d.Version != 1 || d.Instance != instance {
		return fail(errors.New("not one of version 1 for that instance"))
	}
	if path, ok := strings.CutPrefix(d.Log.URL, instance+"/"); !ok || !strings.HasSuffix(d.Log.URL, "/") || len(d.Log.URL) > 2048 || strings.ContainsAny(path, "?#") {
		return fail(fmt.Errorf("%.100q cannot be the URL of its log", d.Log.URL))
	}
	log, err := transparency.Pin(host, d.Log.Origin, d.Log.Key, d.Log.VRF)
	if err != nil {
		return fail(err)
	}
	return pinned{Log: log, instance: instance, url: d.Log.URL}, nil
}

// hostOf an instance, which is an origin like https://a.example in its one spelling.
func hostOf(instance string) (string, error) {
	u, err := url.Parse(instance)
	if err != nil || len(instance) > maxInstance || u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "" ||
		u.Scheme+"://"+strings.ToLower(u.Host) != instance {
		return "", fmt.Errorf("witnessing: %.100q is not an instance like https://a.example", instance)
	}
	return u.Host, nil
}

// get fetches a document of at most limit bytes.
func (w *Witnessing) get(ctx context.Context, u string, limit int64) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u, nil)
	if err != nil {
		return nil, fmt.Errorf("witnessing: asking for %s: %w", u, err)
	}
	res, err := w.http.Do(req, limit)
	if err != nil {
		return nil, fmt.Errorf("witnessing: asking for %s: %w", u, err)
	}
	if res.Status != http.StatusOK {
		return nil, &statusError{u, res.Status}
	}
	return res.Body, nil
}

// A statusError says that the other side answered, and not with what it was asked for.
type statusError struct {
	url    string
	status int
}

func (e *statusError) Error() string {
	return fmt.Sprintf("witnessing: asking for %s: the answer is %d", e.url, e.status)
}
