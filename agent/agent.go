// Package agent is the process on a person's device. It lends package device a disk, a clock and a network: it carries out the
// device's jobs at the sidecar, brings it what is in the mailbox, and fetches what the directory has to say. It decides nothing
// about keys or members; package device does.
//
//	a, err := agent.Open(agent.Config{Home: dir, Passphrase: passphrase})
//	…
//	defer a.Close()
//	go a.Run(ctx)
//	account, err := a.Login(ctx, "@alice@a.example", code)
//
// The calls that talk to nobody return when what was asked for is durable; Run then does it. [Agent.Changed] tells when there may
// be something new to read. Package localapi puts all of this behind HTTP for programs.
package agent

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	mathrand "math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/waxwing-dm/waxwing/agent/store"
	"github.com/waxwing-dm/waxwing/device"
	"github.com/waxwing-dm/waxwing/internal/clientapi"
	"github.com/waxwing-dm/waxwing/internal/safehttp"
)

// Config of an agent.
type Config struct {
	Home       string // folder; made if it is not there
	Passphrase []byte
	// Witnesses is a policy file (C2SP tlog-policy) that says whose cosignatures the log of an instance needs before its keys are believed.
	// The own instance's never count. nil: the file witnesses in the home, if it is there; without one nobody is asked.
	Witnesses []byte
	// Hosts maps hosts to the addresses to connect to instead. Those are spoken to in plain http; for the sandbox and tests.
	Hosts map[string]string
	Log   *slog.Logger     // nil: nothing is logged
	Now   func() time.Time // nil: time.Now
}

// Agent is one open home. It is safe for concurrent use.
type Agent struct {
	device *device.Device
	store  *store.Store
	http   *safehttp.Client
	hosts  map[string]string
	log    *slog.Logger
	now    func() time.Time

	mu      sync.Mutex
	changed chan struct{}       // closed at the next change
	refused bool                // the sidecar does not take our token any more
	current bool                // the mailbox was read to its end, and can be read
	claims  map[string]claiming // by conversation
	watcher watcher
	loginMu sync.Mutex
	silent  time.Time // since when the own instance has not answered; zero: it has
	called  time.Time // when a program called last
	streams int       // programs that follow the events

	shop   *workshop
	knocks chan struct{} // the mailbox is to be tried again soon

	patience time.Duration // for the directory to show what was published
}

// Open opens the store in a home, or makes one. Errors: those of package store, of which each says what to do.
func Open(c Config) (*Agent, error) {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if err := os.MkdirAll(c.Home, 0o700); err != nil {
		return nil, fmt.Errorf("agent: making the home: %w", err)
	}
	st, err := openStore(StorePath(c.Home), c.Passphrase)
	if err != nil {
		return nil, err
	}
	d := device.New(st, rand.Reader, c.Now)
	if err := askWitnesses(d, c); err != nil {
		return nil, errors.Join(err, st.Close())
	}
	return &Agent{
		device: d, store: st, hosts: c.Hosts, log: c.Log, now: c.Now,
		http:    safehttp.New(safehttp.Config{Hosts: c.Hosts, UserAgent: "waxwing"}),
		changed: make(chan struct{}), claims: map[string]claiming{}, watcher: watcher{wake: make(chan struct{}, 1)}, patience: visiblePatience,
		shop: newWorkshop(), knocks: make(chan struct{}, 1),
	}, nil
}

// askWitnesses gives the device its policy.
func askWitnesses(d *device.Device, c Config) error {
	policy, err := c.Witnesses, error(nil)
	if policy == nil {
		if policy, err = readPolicy(WitnessesPath(c.Home)); err != nil || policy == nil {
			return err
		}
	}
	if err := d.AskWitnesses(policy); err != nil {
		return fmt.Errorf("agent: reading whose witness is asked for: %w", err)
	}
	return nil
}

// readPolicy reads a policy file; nil if there is none. Of one that is too long it reads enough to be refused.
func readPolicy(path string) ([]byte, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("agent: reading whose witness is asked for: %w", err)
	}
	defer f.Close()
	policy, err := io.ReadAll(io.LimitReader(f, maxPolicy+1))
	if err != nil {
		return nil, fmt.Errorf("agent: reading whose witness is asked for: %w", err)
	}
	return policy, nil
}

// AsksWitnesses tells whether a policy asks for witnesses. Without, an instance can show this device another log than it shows others.
func (a *Agent) AsksWitnesses() bool { return a.device.AsksWitnesses() }

// WitnessesPath is where a home keeps the policy that says whose witness is asked for.
func WitnessesPath(home string) string { return filepath.Join(home, "witnesses") }

// StorePath is where a home keeps its store.
func StorePath(home string) string { return filepath.Join(home, "store.db") }

func openStore(path string, passphrase []byte) (*store.Store, error) {
	exists, err := store.Exists(path)
	if err != nil {
		return nil, err
	}
	if exists {
		return store.Open(path, passphrase)
	}
	return store.Create(path, passphrase)
}

// Close closes the store. Run must have returned.
func (a *Agent) Close() error {
	a.http.CloseIdle()
	return a.store.Close()
}

// Changed returns a channel that is closed at the next change of anything here. Ask first and read then, or a change is missed.
func (a *Agent) Changed() <-chan struct{} {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.changed
}

// touch tells those who wait that something may have changed.
func (a *Agent) touch() {
	a.mu.Lock()
	defer a.mu.Unlock()
	close(a.changed)
	a.changed = make(chan struct{})
}

func (a *Agent) setRefused(refused bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.refused = refused
}

func (a *Agent) isCurrent() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.current
}

// Away tells since when the own instance has not answered; zero if it does. current is whether the mailbox was read to its end: before that
// nothing is sent.
func (a *Agent) Away() (since time.Time, current bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.silent, a.current
}

func (a *Agent) setAway(away bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case !away:
		a.silent = time.Time{}
	case a.silent.IsZero():
		a.silent = a.now()
	}
}

func (a *Agent) setCurrent(current bool) {
	a.mu.Lock()
	was := a.current
	a.current = current
	a.mu.Unlock()
	if current != was {
		a.touch()
	}
}

// sidecar returns the calls of the own sidecar, in the name of the account that is logged in. Error: device.ErrNotEnrolled.
func (a *Agent) sidecar() (*clientapi.Client, error) {
	account, ok, err := a.device.Account()
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, device.ErrNotEnrolled
	}
	return clientapi.New(account.Instance+apiPath, account.Token, a.http), nil
}

const (
	apiPath     = "/waxwing/v1" // of every sidecar (spec/client-api.md)
	upkeepEvery = 10 * time.Minute
	maxPolicy   = 512 << 10 // bytes
	firstWait   = 500 * time.Millisecond
	longestWait = 5 * time.Minute
	reachWait   = 10 * time.Second
)

// Run keeps the device in touch with its sidecar until the context ends. Before a login it waits for one.
func (a *Agent) Run(ctx context.Context) error {
	for {
		changed := a.Changed()
		_, ok, err := a.device.Account()
		if err != nil {
			return err
		}
		if ok {
			break
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil
		}
	}
	var working sync.WaitGroup
	working.Go(func() { a.readMailbox(ctx) })
	working.Go(func() { a.upkeep(ctx) })
	working.Go(func() { a.carryOutJobs(ctx) })
	working.Go(func() { a.keepTime(ctx) })
	working.Go(func() { a.watch(ctx) })
	working.Wait()
	return nil
}

// upkeep asks now and then for what may have been missed and for how many key packages are left.
func (a *Agent) upkeep(ctx context.Context) {
	for failures := 0; ctx.Err() == nil; {
		wait := upkeepEvery
		if err := a.lookAfter(ctx); err != nil {
			if wait = backOff(failures); errors.Is(err, ErrAway) {
				wait = reachAgain(failures)
			}
			failures++
			a.report(ctx, "looking after keys and conversations", err)
		} else {
			failures = 0
		}
		sleep(ctx, wait)
	}
}

func (a *Agent) lookAfter(ctx context.Context) error {
	sidecar, err := a.sidecar()
	if err != nil {
		return err
	}
	account, err := sidecar.Account(ctx)
	if err != nil {
		return away(err)
	}
	a.setRefused(false)
	if a.shop.heard("") {
		a.welcomeBack(ctx, []string{""})
	}
	if err := errors.Join(a.device.TopUp(account.OneTime), a.device.Sync(), a.nameHubs()); err != nil {
		return err
	}
	a.touch()
	return nil
}

// keepTime lets the device do what is due with time alone.
func (a *Agent) keepTime(ctx context.Context) {
	for ctx.Err() == nil {
		changed, wait := a.Changed(), upkeepEvery
		next, did, err := a.device.Wake()
		switch {
		case err != nil:
			a.report(ctx, "doing what is due", err)
		case did:
			a.touch()
		case !next.IsZero():
			wait = min(wait, max(next.Sub(a.now()), time.Second))
		}
		select {
		case <-changed:
		case <-time.After(wait):
		case <-ctx.Done():
		}
		sleep(ctx, firstWait) // changes come in crowds
	}
}

// report logs an error that will be tried again, without what it may say about people.
func (a *Agent) report(ctx context.Context, doing string, err error) {
	if ctx.Err() == nil {
		a.log.Warn("will try again", "doing", doing, "error", describe(err))
	}
}

// backOff doubles from half a second to five minutes, with up to a quarter of chance.
func backOff(failures int) time.Duration {
	wait := longestWait
	if failures < 10 {
		wait = min(firstWait<<failures, longestWait)
	}
	return wait - mathrand.N(wait/4+1)
}

// reachAgain is how long to leave alone who could not be reached: when the line is whole again, nobody should have to wait for us.
func reachAgain(failures int) time.Duration { return unwatched.leaveAlone("", failures) }

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
