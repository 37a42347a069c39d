package agent

import (
	"container/heap"
	"sync"
	"time"

	"github.com/waxwing-dm/waxwing/device"
)

// A workshop is what is known of the jobs under way, and of the hosts that did not answer. It is in memory only: after a restart everything is
// tried at once. To look what is due costs as much as there is due, and not as much as there is waiting.
type workshop struct {
	mu      sync.Mutex
	seen    uint64 // of the device's tasks
	arrived uint64
	known   map[string]*errand // all that are not over
	ready   [classes][]*errand // to be started, in the order in which they came
	later   errands            // those that have failed by themselves
	flying  [classes]int
	doors   map[string]*door // of hosts that did not answer, by origin; "" is the own sidecar
}

// An errand is a job to be carried out.
type errand struct {
	device.Task
	times   int       // failures that were its own
	until   time.Time // to be left alone
	arrived uint64
	tried   bool
}

type class int

const (
	sends     class = iota // nothing is sent before the mailbox was read to its end: what is in it may say that nobody could read it any more
	questions              // strangers can cause them and draw them out, by naming instances that answer slowly. They never take all hands
	others
	classes
)

func (e *errand) class() class {
	switch e.Kind {
	case device.TaskSend:
		return sends
	case device.TaskLookup, device.TaskEvents, device.TaskProof, device.TaskGroupInfo:
		return questions
	}
	return others
}

func newWorkshop() *workshop {
	return &workshop{known: map[string]*errand{}, doors: map[string]*door{}}
}

func (w *workshop) told() uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.seen
}

// add takes tasks in that the device has told.
func (w *workshop) add(tasks []device.Task, told uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seen = max(w.seen, told)
	for _, t := range tasks {
		if w.known[t.ID] == nil {
			e := &errand{Task: t}
			w.known[t.ID] = e
			w.queue(e)
		}
	}
}

func (w *workshop) queue(list ...*errand) {
	for _, e := range list {
		w.arrived++
		e.arrived = w.arrived
		w.ready[e.class()] = append(w.ready[e.class()], e)
	}
}

// due picks the errands to start now and says after what time to look again. current tells that the mailbox was read to its end.
func (w *workshop) due(current bool, now time.Time) (due []*errand, next time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(w.later) > 0 && !w.later[0].until.After(now) {
		w.queue(heap.Pop(&w.later).(*errand))
	}
	due = append(due, w.probes(current, now)...)
	for e := w.take(current); e != nil; e = w.take(current) {
		due = append(due, w.start(e))
	}
	next = recheckEvery
	if len(w.later) > 0 {
		next = min(next, w.later[0].until.Sub(now))
	}
	for _, d := range w.doors {
		if len(d.waiting) > 0 {
			next = min(next, max(d.until.Sub(now), firstWait/5))
		}
	}
	return due, next
}

func (w *workshop) start(e *errand) *errand {
	w.flying[e.class()]++
	e.tried = true
	return e
}

func (w *workshop) hands() int {
	return atOnce - w.flying[sends] - w.flying[questions] - w.flying[others]
}

func (w *workshop) mayStart(c class, current bool) bool {
	return w.hands() > 0 && (c != sends || current) && (c != questions || w.flying[questions] < atOnce/2)
}

// take takes the errand that came first of those that may start. Those before whom a door is shut wait there.
func (w *workshop) take(current bool) *errand {
	for {
		best := classes
		for c := range classes {
			if len(w.ready[c]) > 0 && w.mayStart(c, current) && (best == classes || w.ready[c][0].arrived < w.ready[best][0].arrived) {
				best = c
			}
		}
		if best == classes {
			return nil
		}
		e := w.ready[best][0]
		w.ready[best][0], w.ready[best] = nil, w.ready[best][1:]
		d := w.doors[""]
		if d == nil && e.Hub != "" && e.tried { // what was not tried yet may be answered by a mirror
			d = w.doors[e.Hub]
		}
		if d == nil {
			return e
		}
		d.waiting = append(d.waiting, e)
	}
}

// landed takes an errand off. It returns the hosts that had been away and have answered.
func (w *workshop) landed(e *errand, o outcome, x attention, now time.Time) (back []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.flying[e.class()]--
	if o.answered && w.open("") {
		back = append(back, "")
	}
	if o.reached && w.open(e.Hub) {
		back = append(back, e.Hub)
	}
	again := o.wait > 0
	if !again {
		delete(w.known, e.ID)
	}
	if o.own {
		e.times++
	}
	switch {
	case o.silent:
		w.shut("", e, o, x, now)
	case o.away && e.Hub != "":
		w.shut(e.Hub, e, o, x, now)
	case again:
		e.until = now.Add(o.wait)
		heap.Push(&w.later, e)
	}
	return back
}

// errands are a heap by time.
type errands []*errand

func (h errands) Len() int           { return len(h) }
func (h errands) Less(i, j int) bool { return h[i].until.Before(h[j].until) }
func (h errands) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *errands) Push(x any)        { *h = append(*h, x.(*errand)) }
func (h *errands) Pop() any {
	old := *h
	e := old[len(old)-1]
	old[len(old)-1], *h = nil, old[:len(old)-1]
	return e
}
