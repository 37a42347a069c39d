// Package witnessing is the witness and auditor that a sidecar is for the logs of other instances, and that `waxwingd witness` is
// and nothing else. It gives packages transparency/witness and transparency the disk, the network and the routes that they do
// without; spec/witness.md has the wire format and the numbered checks.
//
// Which logs: those of the instances given to [Witnessing.Watch]. Each instance is asked for its discovery document directly, and
// what it says the first time is pinned. It cannot change it later, here: another key or origin is written down, shouted into
// the log and shown in the document, and not witnessed.
//
// A checkpoint that continues the one before is made durable, then cosigned by the witness's key. Then the log's new
// entries are fetched, held to the root that was cosigned, and replayed; with that done the auditor's key signs as well. The request waits a
// second for it, so that it usually brings both. An entry that the rules forbid ends the audit of its log for good.
//
// An audit keeps the newest statement of every label in memory, which costs about 500 bytes, and every entry on disk, about 270. It
// follows logs of up to a million entries, and two million of all logs together; beyond that only the witness signs.
//
// The file witness.sqlite in the data folder is all of its memory. Do not restore an older copy of it: a witness that forgets may sign
// two stories. Rather remove it; then the witness has new keys, and whoever relies on it has to take them over.
package witnessing

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/waxwing-dm/waxwing/internal/safehttp"
	"github.com/waxwing-dm/waxwing/internal/sqlite"
	"github.com/waxwing-dm/waxwing/transparency/witness"
)

// Config of a Witnessing.
type Config struct {
	DataDir string
	// Host is the domain in whose name it signs, with its port if it has one. It may be left empty for a data folder that has been
	// used before, and it cannot be changed: the keys have it for a name.
	Host string
	// URL is the submission prefix that others are told; https://<Host>/waxwing/witness if it is empty.
	URL string
	// For are instances whose logs to witness from the start; it keeps trying until it has met them.
	For []string
	// PostQuantum adds an ML-DSA-44 cosignature to each Ed25519 one.
	PostQuantum bool
	// Hosts maps hosts to the addresses to connect to instead, as in [safehttp.Config].
	Hosts map[string]string
	// WrapTransport, if set, is put around the HTTP transport of outgoing requests; tests watch with it.
	WrapTransport func(http.RoundTripper) http.RoundTripper
	Log           *slog.Logger     // nil: nothing is logged
	Now           func() time.Time // nil: time.Now
}

// Witnessing is one open witness.sqlite. It is safe for concurrent use.
type Witnessing struct {
	host, url string
	keys      keys
	witness   *witness.Witness
	store     store
	http      *safehttp.Client
	limit     limiter
	log       *slog.Logger
	now       func() time.Time
	want      []string
	steps     chan struct{} // has one for every step that an audit takes just now
	entries   atomic.Int64  // that are audited, of all logs

	mu       sync.Mutex // guards what follows
	logs     map[string]*audit
	meetings map[string]meeting // by instance
	meeting  int                // discovery documents that are being fetched
	work     context.Context    // nil while nothing may go on in the background
	working  sync.WaitGroup
}

// Open opens the witness in a data folder, or makes it with fresh keys. Nothing is asked of anybody before Run. Errors of the store
// are [sqlite.ErrDamaged] and its sisters.
func Open(c Config) (*Witnessing, error) {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if err := os.MkdirAll(c.DataDir, 0o700); err != nil {
		return nil, fmt.Errorf("witnessing: making the data folder: %w", err)
	}
	db, err := sqlite.Open(filepath.Join(c.DataDir, "witness.sqlite"), schema)
	if err != nil {
		return nil, fmt.Errorf("witnessing: opening: %w", err)
	}
	w, err := assemble(context.Background(), c, store{db})
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return w, nil
}

func assemble(ctx context.Context, c Config, st store) (*Witnessing, error) {
	host, err := loadHost(ctx, st, c.Host)
	if err != nil {
		return nil, err
	}
	w := &Witnessing{
		host: host, url: c.URL, store: st, log: c.Log, now: c.Now, want: c.For, limit: limiter{buckets: map[string]bucket{}},
		http:  safehttp.New(safehttp.Config{Hosts: c.Hosts, UserAgent: "waxwingd-witness (+https://" + host + ")", Wrap: c.WrapTransport}),
		steps: make(chan struct{}, maxSteps), logs: map[string]*audit{}, meetings: map[string]meeting{},
	}
	if w.url == "" {
		w.url = "https://" + host + Path
	}
	if w.keys, err = loadKeys(ctx, st, host, c.PostQuantum); err != nil {
		return nil, err
	}
	w.witness, err = witness.New(witness.Config{
		Keys: w.keys.witness, Auditor: w.keys.auditor, Audited: w.audited, LogKeys: w.logKeys, Store: st, Now: c.Now,
	})
	if err != nil {
		return nil, err
	}
	return w, w.loadLogs(ctx)
}

// loadHost keeps the host a data folder was made for.
func loadHost(ctx context.Context, st store, given string) (string, error) {
	if given != "" {
		_, err := hostOf("https://" + given)
		_, noName := newEd25519(given+witnessName, make([]byte, seedSize)) // only whether a key can have the name
		if err != nil || noName != nil {
			return "", fmt.Errorf("witnessing: %.100q is not a host like w.example", given)
		}
	}
	kept, err := st.host(ctx, given)
	if err != nil {
		return "", err
	}
	if kept == "" {
		return "", errors.New("witnessing: whose witness is this? say --host w.example")
	}
	if given != "" && given != kept {
		return "", fmt.Errorf("witnessing: the keys in this data folder are of %s and cannot become %s's: use another folder", kept, given)
	}
	return kept, nil
}

func (w *Witnessing) loadLogs(ctx context.Context) error {
	logs, err := w.store.logs(ctx)
	if err != nil {
		return err
	}
	stops, err := w.store.stops(ctx)
	if err != nil {
		return err
	}
	for _, p := range logs {
		w.logs[p.Origin] = newAudit(w, p)
	}
	for _, s := range stops {
		w.logs[s.Origin].stopped = true
	}
	return nil
}

// lookEvery is how often is looked whether an instance is still to be met or a failed audit to be tried again.
const lookEvery = time.Second

// Run does what goes on in the background until ctx ends: it meets the instances that it is for, and audits. Without it the witness
// signs and the auditor does not.
func (w *Witnessing) Run(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	w.mu.Lock()
	w.work = ctx
	w.mu.Unlock()
	defer func() {
		cancel()
		w.mu.Lock()
		w.work = nil
		w.mu.Unlock()
		w.working.Wait()
		w.http.CloseIdle()
	}()
	for _, a := range w.allAudits() {
		a.poke()
	}
	for {
		for _, instance := range w.want {
			w.Watch(instance)
		}
		for _, a := range w.allAudits() {
			if a.due(w.now()) {
				a.poke()
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(lookEvery):
		}
	}
}

// begin allows work in the background until done is called; not if Run does not run.
func (w *Witnessing) begin() (ctx context.Context, done func(), ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.work == nil || w.work.Err() != nil {
		return nil, nil, false
	}
	w.working.Add(1)
	return w.work, w.working.Done, true
}

// Close closes the file, after Run has returned.
func (w *Witnessing) Close() error {
	w.http.CloseIdle()
	return w.store.db.Close()
}

// Keys are the vkeys of the witness and of the auditor; the Ed25519 one is the first.
func (w *Witnessing) Keys() (witness, auditor []string) {
	return vkeys(w.keys.witness), vkeys(w.keys.auditor)
}

// Policy are the lines of a policy file (spec/witness.md) that name this witness and its auditor.
func (w *Witnessing) Policy() []string { return w.keys.policy(w.host, w.url) }

// Host in whose name it signs.
func (w *Witnessing) Host() string { return w.host }
