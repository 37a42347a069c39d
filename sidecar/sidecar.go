// Package sidecar is the daemon beside an instance: the routes of spec/wire.md and spec/client-api.md over the domains (package
// federation, its hub, the log's sequencer) and over their memory (package store). Handlers decode, ask a domain, encode; what
// is right or wrong is decided below them, and one function turns errors into answers.
//
// It holds no private key of a device. Of package mls it uses the headers of messages and key packages, which are public; file
// mls.go is all of that.
//
// A [Sidecar] is opened on a data folder, serves listeners, and is closed, or, to see what a crash leaves, killed:
//
//	s, err := sidecar.Open(sidecar.Config{Instance: "https://a.example", DataDir: "/var/lib/waxwingd", Log: slog.Default()})
//	…
//	defer s.Close()
//	return s.Serve(ctx, listener)
//
// The instance's log is taken to its witnesses (collect.go, round.go) and, before that, asked of them: a folder that came from a backup
// must not sign a second history under its name (restored.go, marker.go). Without witnesses it is the sidecar's own word.
//
// This version is stand-alone: it hosts its actors itself.
package sidecar

import (
	"context"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/waxwing-dm/waxwing/federation"
	"github.com/waxwing-dm/waxwing/federation/hub"
	"github.com/waxwing-dm/waxwing/internal/safehttp"
	"github.com/waxwing-dm/waxwing/sidecar/internal/rsakey"
	"github.com/waxwing-dm/waxwing/sidecar/store"
	"github.com/waxwing-dm/waxwing/sidecar/witnessing"
	"github.com/waxwing-dm/waxwing/transparency"
	"github.com/waxwing-dm/waxwing/transparency/sequencer"
)

// Config of a sidecar.
type Config struct {
	// Instance is the origin of the instance, as in https://a.example. It may be left empty for a data folder that has been
	// used before, and it cannot be changed: every name in the log has it inside.
	Instance string
	DataDir  string
	// Hosts maps hosts to the addresses to connect to instead. For those, plain http is allowed; for the sandbox and tests.
	Hosts map[string]string
	// WrapTransport, if set, is put around the HTTP transport of outgoing requests; tests watch with it.
	WrapTransport func(http.RoundTripper) http.RoundTripper
	// Witnesses are asked to cosign the log, and lookups are answered from what enough of them have seen (spec/witness.md). nil: nobody
	// is asked, and what the log says is served at once.
	Witnesses *transparency.Policy
	// WitnessFor are instances whose logs are witnessed from the start. Those whose users the own users look up are added by
	// themselves.
	WitnessFor []string
	// MaxConnections and MaxConnectionsPerAddress are how many there may be at once; 0: the constants of these names. The second is for
	// public addresses only.
	MaxConnections, MaxConnectionsPerAddress int
	// ClientAddressHeader is a header by which the proxy in front says whom a call comes from; the last address in it counts, and only from
	// addresses that are not public. Without it, who calls through a proxy has no address.
	ClientAddressHeader string

	Observer Observer         // nil: nobody counts
	Log      *slog.Logger     // nil: nothing is logged
	Now      func() time.Time // nil: time.Now
}

// Sidecar is one open data folder with everything that works on it. It is safe for concurrent use.
type Sidecar struct {
	instance  string
	log       *sequencer.Sequencer
	collector *collector // nil: the log is alone
	hub       *hub.Hub
	mirror    *hub.Mirror
	inbox     *federation.Inbox
	remote    *federation.Remote
	deliverer *federation.Deliverer
	discovery federation.Discovery
	keys      keys
	witness   *witnessing.Witnessing
	store     *store.Store
	http      *safehttp.Client
	notify    *notifier
	limit     budgets
	kept      keeping
	behind    string // the header by which a proxy says who calls; "" if none does
	turns     *turns
	signers   signers
	sighted   atomic.Pointer[sighted]
	connected *connections
	refusals  refusals
	calls     atomic.Int64 // that are being answered
	streams   streams
	strangers atomic.Int64 // bytes of bodies that nobody has signed for yet
	logger    *slog.Logger
	observer  Observer
	now       func() time.Time
	bodyTime  time.Duration
	patience  time.Duration // how long a publication waits to be witnessed before it is answered all the same
	// speaking is held, shared, by whoever appends in the name of an account that is there, and alone by who takes an account away.
	speaking sync.RWMutex

	stopping chan struct{} // closed when the first of Close and Kill is called; held answers are let go
	stopMu   sync.Mutex    // nobody begins to serve while it is closed
	serving  sync.WaitGroup
	abrupt   context.Context // ends at Kill
	kill     context.CancelFunc
}

// Open opens a data folder, or makes it with fresh keys. Nothing runs yet, and the log is not written before Handler or Serve is
// called. Errors are for an operator to read: [ErrRestored], and those of the store, [sqlite.ErrDamaged] and its sisters.
func Open(c Config) (*Sidecar, error) {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	c.Log = slog.New(discreet{c.Log.Handler()})
	if c.Observer == nil {
		c.Observer = nobody{}
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	st, err := store.Open(c.DataDir)
	if err != nil {
		return nil, err
	}
	s, err := assemble(c, st)
	if err != nil {
		return nil, errors.Join(err, st.Close())
	}
	return s, nil
}

func assemble(c Config, st *store.Store) (*Sidecar, error) {
	ctx := context.Background()
	instance, err := loadInstance(ctx, st, c.Instance)
	if err != nil {
		return nil, err
	}
	k, err := loadKeys(ctx, st)
	if err != nil {
		return nil, err
	}
	client := safehttp.New(safehttp.Config{Hosts: c.Hosts, UserAgent: "waxwingd (+" + instance + ")", Wrap: c.WrapTransport})
	log, collector, err := openLog(ctx, c, st, sequencer.Config{Store: st.Log, Host: federation.Host(instance), Key: k.log, VRF: k.vrf, Now: c.Now}, client)
	if err != nil {
		return nil, err
	}
	logKey, err := log.VerifierKey()
	if err != nil {
		return nil, err
	}
	s := &Sidecar{
		instance: instance, keys: k, store: st, logger: c.Log, observer: c.Observer, now: c.Now,
		log: log, collector: collector, patience: witnessWait, bodyTime: bodyTime,
		discovery: federation.NewDiscovery(instance, logKey, log.VRFKey(), k.hub.Public().(ed25519.PublicKey)),
		http:      client, behind: http.CanonicalHeaderKey(c.ClientAddressHeader),
		notify: newNotifier(), limit: newBudgets(), turns: newTurns(), kept: newKeeping(), connected: newConnections(c.MaxConnections, c.MaxConnectionsPerAddress), stopping: make(chan struct{}),
	}
	s.hub, s.mirror = hub.New(st.Hub, k.hub, headers, c.Now, s.askPeer), hub.NewMirror(st.Mirror, s.keyOfHub)
	s.mirror.Room = s.mayMirror
	if err := s.openWitness(c); err != nil {
		return nil, err
	}
	s.abrupt, s.kill = context.WithCancel(ctx)
	s.remote = federation.NewRemote(s.http, federation.Signer{Actor: s.discovery.Actor, Key: k.service, Ed25519: k.serviceEd25519}, st.Schemes, c.Now)
	s.remote.Seen, s.remote.Signed, s.remote.Aside = s.seen, s.signedBy, s.aside
	s.inbox = &federation.Inbox{Origin: instance, Store: arrivals{s}, Keys: s.remote.Key, Services: s.remote, Classify: classify, Now: c.Now, Heard: s.heard,
		Signed: s.spend, Budget: func(actor string) error { return s.limit.actors.take(actor, 1, s.now()) }}
	s.deliverer = federation.NewDeliverer(observed{outbox{st.Outbox, s.notify}, c.Observer}, s.remote, s.signerOf, c.Now, c.Log)
	return s, nil
}

// openLog opens the log of a data folder, held. The marker is read first: another process may be writing both.
func openLog(ctx context.Context, c Config, st *store.Store, sc sequencer.Config, client *safehttp.Client) (*sequencer.Sequencer, *collector, error) {
	m := newMarker(c.DataDir)
	marked, err := m.read()
	if err != nil {
		return nil, nil, err
	}
	sc.Alone, sc.Before, sc.Held = c.Witnesses == nil, m.write, true
	log, err := sequencer.New(ctx, sc)
	if err != nil {
		return nil, nil, err
	}
	if err := checkMarker(ctx, log, marked); err != nil || c.Witnesses == nil {
		return log, nil, err
	}
	collector, err := newCollector(log, c.Witnesses, asking{client}, m, c.Log)
	return log, collector, err
}

// openWitness makes what this instance is to the logs of others.
func (s *Sidecar) openWitness(c Config) (err error) {
	s.witness, err = witnessing.Open(witnessing.Config{
		DataDir: c.DataDir, Host: federation.Host(s.instance), URL: s.instance + witnessing.Path, For: c.WitnessFor, Hosts: c.Hosts,
		WrapTransport: c.WrapTransport, Log: c.Log, Now: c.Now,
	})
	if err != nil {
		return err
	}
	witness, auditor := s.witness.Keys()
	s.discovery.Witness.URL, s.discovery.Witness.Key, s.discovery.Witness.Auditor = s.instance+witnessing.Path, witness[0], auditor[0]
	return nil
}

// loadInstance keeps the instance a data folder was made for.
func loadInstance(ctx context.Context, st *store.Store, given string) (string, error) {
	kept, err := st.Setting(ctx, "instance", func() ([]byte, error) {
		if o, err := federation.Origin(given); err != nil || o != given {
			return nil, fmt.Errorf("sidecar: instance %q is not an origin like https://a.example; say --instance", given)
		}
		return []byte(given), nil
	})
	if err != nil {
		return "", err
	}
	if given != "" && given != string(kept) {
		return "", fmt.Errorf("sidecar: this data folder is of %s and cannot become %s's: the log names the first; use another folder", kept, given)
	}
	return string(kept), nil
}

// Instance is the origin this sidecar stands beside.
func (s *Sidecar) Instance() string { return s.instance }

func (s *Sidecar) actorOf(name string) string { return s.instance + federation.PathUsers + name }

// isNamed says whether an actor is one that an account here could have.
func (s *Sidecar) isNamed(actor string) bool {
	name, ok := strings.CutPrefix(actor, s.actorOf(""))
	return ok && federation.ValidName(name)
}

func (s *Sidecar) isLocal(actor string) bool { return strings.HasPrefix(actor, s.instance+"/") }

// Handle of a local name, like @alice@a.example.
func (s *Sidecar) Handle(name string) string { return "@" + name + "@" + federation.Host(s.instance) }

func (s *Sidecar) handleOf(actor string) string {
	return s.Handle(strings.TrimPrefix(actor, s.actorOf("")))
}

// signerOf finds the key by which deliveries of an actor are signed.
func (s *Sidecar) signerOf(ctx context.Context, actor string) (federation.Signer, error) {
	account, err := s.store.Accounts.Get(ctx, actor)
	if err != nil {
		return federation.Signer{}, err
	}
	key, err := s.signers.parse(account.RSAKey)
	return federation.Signer{Actor: actor, Key: key}, err
}

// signers keeps some keys in the form that signs: to parse one takes as long as all else that a delivery computes.
type signers struct {
	mu   sync.Mutex
	keys map[[32]byte]*rsa.PrivateKey // by the hash of what was parsed
}

const maxSigners = 1000

func (k *signers) parse(der []byte) (*rsa.PrivateKey, error) {
	hash := sha256.Sum256(der)
	k.mu.Lock()
	defer k.mu.Unlock()
	if key, ok := k.keys[hash]; ok {
		return key, nil
	}
	key, err := rsakey.Parse(der)
	if err != nil {
		return nil, err
	}
	if k.keys == nil || len(k.keys) >= maxSigners {
		k.keys = map[[32]byte]*rsa.PrivateKey{}
	}
	k.keys[hash] = key
	return key, nil
}

// forget drops them all; those that are needed are parsed anew.
func (k *signers) forget() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.keys = nil
}
