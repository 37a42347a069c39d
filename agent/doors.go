package agent

import (
	"math/rand/v2"
	"slices"
	"time"
)

// A host that does not answer is tried by one job at a time, and the others that need it wait behind a door. When anybody has heard from the host
// the door opens for all of them; atOnce keeps them from being a crowd, and chance keeps agents from coming all in the same moment.

// A door is what is known of a host that did not answer.
type door struct {
	failures int
	shut     time.Time // the newest failure
	until    time.Time // the next try
	asked    time.Time // before which the host does not want one
	waiting  []*errand
	probe    *errand // that tries now
	began    time.Time
	hinted   time.Time
}

const (
	probeTime = 10 * time.Second // after which another one may try beside the first
	hintEvery = 5 * time.Second
)

// patience is the longest to leave a host alone. Who waits for a message shall not wait for us; who has a page open for days shall not wear
// another's server out.
func (x attention) patience(host string, failures int) time.Duration {
	own := host == ""
	switch {
	case x == awaited && own:
		return 2 * time.Second
	case x == awaited || x == watched && own:
		return 5 * time.Second
	case own || failures < reachTries:
		return reachWait
	case x == watched:
		return 30 * time.Second
	}
	return longestWait
}

// leaveAlone is how long to leave a host alone, with up to a quarter of chance.
func (x attention) leaveAlone(host string, failures int) time.Duration {
	longest := x.patience(host, failures)
	return min(backOff(failures), longest-rand.N(longest/4+1))
}

// probes starts a try at each door whose time has come.
func (w *workshop) probes(current bool, now time.Time) (due []*errand) {
	for host, d := range w.doors {
		if d.until.After(now) || d.probe != nil && now.Sub(d.began) < probeTime || host != "" && w.doors[""] != nil {
			continue
		}
		i := slices.IndexFunc(d.waiting, func(e *errand) bool { return w.mayStart(e.class(), current) })
		if i < 0 {
			continue
		}
		e := d.waiting[i]
		d.waiting = slices.Delete(d.waiting, i, i+1)
		d.probe, d.began = e, now
		due = append(due, w.start(e))
	}
	return due
}

// shut notes that a host did not answer. Of many that fail together one counts.
func (w *workshop) shut(host string, e *errand, o outcome, x attention, now time.Time) {
	d := w.doors[host]
	if d == nil {
		d = new(door)
		w.doors[host] = d
	}
	if d.failures == 0 || d.probe == e {
		wait := x.leaveAlone(host, d.failures)
		d.failures++
		d.shut, d.asked, d.probe = now, now.Add(o.asked), nil
		d.until = now.Add(max(wait, o.asked))
	}
	if o.wait > 0 {
		d.waiting = append(d.waiting, e)
	}
}

// open lets through all who wait for a host, and tells whether it was away.
func (w *workshop) open(host string) bool {
	d := w.doors[host]
	if d == nil {
		return false
	}
	delete(w.doors, host)
	w.queue(d.waiting...)
	return true
}

// heard is open for who has heard from a host without an errand.
func (w *workshop) heard(host string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.open(host)
}

// hint makes the next try at a host soon, because there is a sign of life. It tells whether the host was away.
func (w *workshop) hint(host string, now time.Time) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	d := w.doors[host]
	if d == nil || now.Sub(d.hinted) < hintEvery {
		return false
	}
	d.hinted = now
	d.soon(now)
	return true
}

// hasten makes the next try at every host soon, because somebody waits.
func (w *workshop) hasten(now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, d := range w.doors {
		if now.Sub(d.shut) > firstWait {
			d.soon(now)
		}
	}
}

func (d *door) soon(now time.Time) {
	at := now.Add(rand.N(firstWait))
	if at.Before(d.asked) {
		at = d.asked
	}
	if at.Before(d.until) {
		d.until = at
	}
}

// tidy takes out of a host's queue what the device does not want any more.
func (w *workshop) tidy(host string, has func(string) (bool, error)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	d := w.doors[host]
	if d == nil {
		return
	}
	d.waiting = slices.DeleteFunc(d.waiting, func(e *errand) bool {
		left, err := has(e.ID)
		if err == nil && !left {
			delete(w.known, e.ID)
		}
		return err == nil && !left
	})
}
