package agent

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/waxwing-dm/waxwing/device"
	"github.com/waxwing-dm/waxwing/internal/problem"
	"github.com/waxwing-dm/waxwing/internal/safehttp"
)

const (
	scanEvery  = time.Hour
	scanAtOnce = 1 << 18 // entries that one scan in the background reads, 63 MB; the next goes on

	// Of every sidecar (spec/wire.md).
	logPath       = "/waxwing/log/"
	directoryPath = "/waxwing/directory"
	servicePath   = "/waxwing/actor"

	maxAnswer = 64 << 10 // bytes of a lookup answer
)

// Scan is a run of the owner's monitor (spec/monitoring.md).
type Scan struct {
	Number      uint64 // of the newest that has begun
	Running     bool
	FromStart   bool
	Done, Total int64 // entries
	Err         error // of the newest, once it has ended
}

// watcher is the state of the monitor's runs. Agent.mu guards it.
type watcher struct {
	scan      Scan
	asked     bool // for a run by the person: it has no limit
	fromStart bool
	wake      chan struct{} // has room for one
}

// Scanning returns the newest run of the monitor.
func (a *Agent) Scanning() Scan {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.watcher.scan
}

// StartScan has Run look up the own account now and read what the log has grown by, or with fromStart replay all of it. It
// returns the number of the run.
func (a *Agent) StartScan(fromStart bool) (number uint64, err error) {
	if _, err := a.sidecar(); err != nil {
		return 0, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.watcher.asked, a.watcher.fromStart = true, a.watcher.fromStart || fromStart
	select {
	case a.watcher.wake <- struct{}{}:
	default:
	}
	return a.watcher.scan.Number + 1, nil
}

// Monitor returns what watching the own account has come to; ok is false before it began.
func (a *Agent) Monitor() (m device.Monitor, ok bool, err error) { return a.device.Monitor() }

// AlarmsSeen takes down that the person has seen the alarms.
func (a *Agent) AlarmsSeen() error {
	defer a.touch()
	return a.device.AlarmsSeen()
}

// PinnedLogs lists the logs that this device knows.
func (a *Agent) PinnedLogs() ([]device.PinnedLog, error) { return a.device.PinnedLogs() }

// watch runs the monitor at once, every hour, and when it is asked to.
func (a *Agent) watch(ctx context.Context) {
	for failures := 0; ctx.Err() == nil; {
		err := a.runScan(ctx)
		wait := scanEvery - rand.N(scanEvery/4)
		var wrong *device.LogError
		if failures++; err == nil {
			failures = 0
		} else {
			a.report(ctx, "watching the own account", err)
		}
		if err != nil && !errors.As(err, &wrong) { // one that lies is not asked for all of it every few minutes
			wait = backOff(failures)
		}
		select {
		case <-a.watcher.wake:
		case <-time.After(wait):
		case <-ctx.Done():
		}
	}
}

func (a *Agent) runScan(ctx context.Context) error {
	a.mu.Lock()
	w := &a.watcher
	limit := int64(scanAtOnce)
	if w.asked {
		limit = 1 << 62
	}
	fromStart := w.fromStart
	w.scan = Scan{Number: w.scan.Number + 1, Running: true, FromStart: fromStart}
	w.asked, w.fromStart = false, false
	a.mu.Unlock()
	a.touch()
	err := a.scan(ctx, fromStart, limit)
	a.mu.Lock()
	w.scan.Running, w.scan.Err = false, err
	a.mu.Unlock()
	a.touch()
	return err
}

// scan looks the own account up, which proves a checkpoint, and reads what leads to it.
func (a *Agent) scan(ctx context.Context, fromStart bool, limit int64) error {
	account, ok, err := a.device.Account()
	if err != nil || !ok {
		return errors.Join(err, device.ErrNotEnrolled)
	}
	if err := a.lookUpHome(ctx, account.Instance, account.Actor); err != nil {
		return a.watchFailed(ctx, err)
	}
	if err := a.erased(ctx, account); err != nil {
		return a.watchFailed(ctx, err)
	}
	if err := a.readLog(ctx, a.device, limit); err != nil || !fromStart {
		return err
	}
	replay, err := a.device.NewReplay()
	if err != nil {
		return err
	}
	return a.readLog(ctx, replay, limit)
}

// erased sees to it that the log is read on if the instance has stopped to answer for this account: the proof that it did, if it did,
// is an entry, and what it answers about its service actor proves the checkpoint that has it.
func (a *Agent) erased(ctx context.Context, account device.Account) error {
	c, _, err := a.device.Contact(account.Actor)
	if err != nil || !c.Checked.IsZero() {
		return err
	}
	if err := a.device.Erased(); err != nil {
		return err
	}
	return a.lookUpHome(ctx, account.Instance, account.Instance+servicePath)
}

// lookUpHome looks somebody of the own instance up at the public route, without the device's token: whoever resets an account takes its
// devices' tokens away with it, and who asks there is anybody.
func (a *Agent) lookUpHome(ctx context.Context, instance, actor string) error {
	_, from, err := a.device.LogOf(actor)
	if err != nil {
		return err
	}
	q := url.Values{"actor": {actor}, "from": {strconv.FormatInt(from, 10)}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, instance+directoryPath+"?"+q.Encode(), nil)
	if err != nil {
		return fmt.Errorf("agent: making a request: %w", err)
	}
	res, err := a.http.Do(req, maxAnswer)
	switch {
	case errors.Is(err, safehttp.ErrTooLarge):
		return fmt.Errorf("agent: looking up the own account: %w", errors.Join(ErrLog, err))
	case err != nil:
		return fmt.Errorf("agent: looking up the own account: %w", errors.Join(ErrAway, err))
	case res.Status == http.StatusGone:
		return a.device.Unknown(actor)
	case res.Status/100 == 5:
		return fmt.Errorf("agent: looking up the own account: it answered %d: %w", res.Status, ErrAway)
	case res.Status != http.StatusOK:
		return fmt.Errorf("agent: looking up the own account: it answered %d: %w", res.Status, ErrLog)
	}
	return a.learn(actor, res.Body)
}

// watchFailed takes down why the account could not be watched. An instance that is away, and not only for this, proves nothing.
func (a *Agent) watchFailed(ctx context.Context, err error) error {
	if ctx.Err() != nil || errors.Is(err, ErrAway) && !a.isCurrent() {
		return err
	}
	return errors.Join(err, a.device.WatchFailed(err))
}

// reading is what wants to read the log: the device, or a replay.
type reading interface {
	LogFetch() (f device.Fetch, ok bool, err error)
	LogFetched(f device.Fetch, data [][]byte) error
}

func (a *Agent) readLog(ctx context.Context, r reading, limit int64) error {
	for begun := int64(-1); ; {
		f, ok, err := r.LogFetch()
		if err != nil || !ok {
			return err
		}
		if begun < 0 {
			begun = f.Done
		}
		if f.Done-begun >= limit {
			return nil
		}
		a.progress(f.Done, f.Total)
		data, err := a.fetchLog(ctx, f)
		if err != nil {
			return a.watchFailed(ctx, err)
		}
		if err := r.LogFetched(f, data); err != nil {
			return err
		}
	}
}

func (a *Agent) progress(done, total int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.watcher.scan.Done, a.watcher.scan.Total = done, total
}

// fetchLog reads public resources of the own instance's log.
func (a *Agent) fetchLog(ctx context.Context, f device.Fetch) (data [][]byte, err error) {
	for _, want := range f.Want {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, f.Instance+logPath+want.Path, nil)
		if err != nil {
			return nil, fmt.Errorf("agent: making a request: %w", err)
		}
		res, err := a.http.Do(req, want.Size)
		if errors.Is(err, safehttp.ErrTooLarge) {
			return nil, fmt.Errorf("agent: reading the log of %s: %w", req.URL.Host, errors.Join(ErrLog, err))
		}
		if err != nil {
			return nil, fmt.Errorf("agent: reading the log of %s: %w", req.URL.Host, errors.Join(ErrAway, err))
		}
		if res.Status != http.StatusOK {
			return nil, fmt.Errorf("agent: reading the log of %s: it answered %d: %w", req.URL.Host, res.Status, ErrLog)
		}
		data = append(data, res.Body)
	}
	return data, nil
}

// Proof asks the directory about an actor without believing the answer, for somebody else to check: known and record are what
// the device would hold it against.
func (a *Agent) Proof(ctx context.Context, actor string) (known device.PinnedLog, record, answer []byte, err error) {
	sidecar, err := a.sidecar()
	if err != nil {
		return known, nil, nil, err
	}
	known, record, err = a.device.Known(actor)
	if errors.Is(err, device.ErrLogNotPinned) {
		if err = a.pin(ctx, actor); err == nil {
			known, record, err = a.device.Known(actor)
		}
	}
	if err != nil {
		return known, nil, nil, err
	}
	answer, err = sidecar.Lookup(ctx, actor, known.Log.Size)
	var refused *problem.Problem
	if errors.As(err, &refused) && refused.Code == "no_such_recipient" {
		err = ErrNobody
	}
	return known, record, answer, away(err)
}
