package device

import (
	"cmp"
	"container/list"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/waxwing-dm/waxwing/internal/receipt"
)

// With thousands of jobs waiting, to read them all for each answer of the network would cost more than the answers. So what is asked of all jobs
// is kept in memory: it is built from the rows once, changed with each row, and built anew after a transaction that failed. What is in a job is read
// when it is done.

// A Task is a job that may be done now, without what is in it.
type Task struct {
	ID   string
	Kind string // one of the Task constants
	Hub  string // origin of the hub that has to answer; empty if none has to
}

// The kinds of task that who does them has to know.
const (
	TaskSend      = "send"
	TaskLookup    = "lookup"
	TaskEvents    = "events"
	TaskProof     = "proof"
	TaskGroupInfo = "group-info"
)

// lanes is the index. The lock of the device is its, too.
type lanes struct {
	built   bool
	changed bool   // by the transaction that runs
	turns   uint64 // given out to jobs
	fronts  uint64 // given out to jobs as they became first
	jobs    map[string]*laneJob
	lane    map[string][]*laneJob // in their order
	of      map[string][]*laneJob // by conversation, in their order
	first   *list.List            // of *laneJob: those that are first in their lanes, in the order in which they became so
}

type laneJob struct {
	Task
	lane, conversation string
	written            bool // it carries a message that a person wrote
	turn, front        uint64
	place              *list.Element // in first; nil if another is before it
}

func (l *lanes) forget() {
	l.built, l.changed = false, false
	l.jobs, l.lane, l.of, l.first = map[string]*laneJob{}, map[string][]*laneJob{}, map[string][]*laneJob{}, list.New()
}

// index returns the lanes as the store has them.
func (t *txn) index() (*lanes, error) {
	l := t.lanes
	if l.built {
		return l, nil
	}
	l.forget()
	if err := t.Each(bucketJob, func(id string, value []byte) error {
		var row jobRow
		if err := json.Unmarshal(value, &row); err != nil {
			return fmt.Errorf("device: decoding job %s: %w", id, err)
		}
		j, err := decodeJob(id, row)
		if err == nil {
			l.put(j, row)
		}
		return err
	}); err != nil {
		return nil, err
	}
	l.built = true
	return l, nil
}

// put adds a job, or changes what is known of it. It keeps its place.
func (l *lanes) put(j Job, row jobRow) {
	task := Task{ID: j.ID(), Kind: row.Kind, Hub: hubAsked(j)}
	if known := l.jobs[j.ID()]; known != nil {
		known.Task = task
		return
	}
	l.turns++
	send, sends := j.(*SendJob)
	x := &laneJob{Task: task, lane: row.Lane, conversation: conversationOfJob(j), written: sends && send.Seq != 0, turn: l.turns}
	l.jobs[x.ID] = x
	l.of[x.conversation] = append(l.of[x.conversation], x)
	l.lane[x.lane] = append(l.lane[x.lane], x)
	if len(l.lane[x.lane]) == 1 {
		l.toFront(x)
	}
}

func (l *lanes) toFront(x *laneJob) {
	l.fronts++
	x.front, x.place = l.fronts, l.first.PushBack(x)
}

func (l *lanes) remove(id string) {
	x := l.jobs[id]
	if x == nil {
		return
	}
	delete(l.jobs, id)
	takeOut(l.of, x.conversation, x)
	takeOut(l.lane, x.lane, x)
	if x.place == nil {
		return
	}
	l.first.Remove(x.place)
	if next := l.lane[x.lane]; len(next) > 0 {
		l.toFront(next[0])
	}
}

// takeOut takes a job out of a list. It is mostly the first.
func takeOut(lists map[string][]*laneJob, name string, x *laneJob) {
	list := lists[name]
	switch i := slices.Index(list, x); {
	case i == 0:
		list[0], list = nil, list[1:]
	case i > 0:
		list = slices.Delete(list, i, i+1)
	}
	if lists[name] = list; len(list) == 0 {
		delete(lists, name)
	}
}

// Tasks lists what may be done now and was not told before: after is the number that came with the answer before, 0 at the start. There is at most
// one of a lane, so for each conversation one question to a hub and one message at a time, and one upload. A task may be told twice, and may be done
// or given up by the time it is told.
func (d *Device) Tasks(after uint64) (tasks []Task, next uint64, err error) {
	err = d.look(func(l *lanes) {
		next = max(after, l.fronts)
		for e := l.first.Back(); e != nil && e.Value.(*laneJob).front > after; e = e.Prev() {
			tasks = append(tasks, e.Value.(*laneJob).Task)
		}
	})
	slices.Reverse(tasks)
	return tasks, next, err
}

// HasJob tells whether a job is neither done nor given up.
func (d *Device) HasJob(id string) (has bool, err error) {
	err = d.look(func(l *lanes) { has = l.jobs[id] != nil })
	return has, err
}

// look reads the lanes; the store is opened only where they are not known.
func (d *Device) look(f func(*lanes)) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.lanes.built {
		f(&d.lanes)
		return nil
	}
	return d.run(d.store.View, noRandom{}, func(t *txn) error {
		l, err := t.index()
		if err == nil {
			f(l)
		}
		return err
	})
}

// Job returns a job, or ErrNoSuchJob if it is done or given up.
func (d *Device) Job(id string) (j Job, err error) {
	err = d.view(func(t *txn) error {
		if j, _, err = t.job(id); err == nil && j == nil {
			err = ErrNoSuchJob
		}
		return err
	})
	return j, err
}

// Jobs lists what may be done now with all that is in it, oldest first, at most one job of a lane.
func (d *Device) Jobs() (jobs []Job, err error) {
	err = d.view(func(t *txn) error {
		jobs = nil
		l, err := t.index()
		if err != nil {
			return err
		}
		var first []*laneJob
		for e := l.first.Front(); e != nil; e = e.Next() {
			first = append(first, e.Value.(*laneJob))
		}
		slices.SortFunc(first, func(a, b *laneJob) int { return cmp.Compare(a.turn, b.turn) })
		for _, x := range first {
			j, _, err := t.job(x.ID)
			if err == nil && j == nil {
				err = errors.New("device: a job that is listed is not there")
			}
			if err != nil {
				return err
			}
			jobs = append(jobs, j)
		}
		return nil
	})
	return jobs, err
}

// idsOf lists the jobs of a conversation that are of these kinds, oldest first.
func (t *txn) idsOf(conversation string, kinds ...string) (ids []string, err error) {
	l, err := t.index()
	if err != nil {
		return nil, err
	}
	for _, x := range l.of[conversation] {
		if slices.Contains(kinds, x.Kind) {
			ids = append(ids, x.ID)
		}
	}
	return ids, nil
}

// hasJobOf tells whether a conversation has a job of one of these kinds.
func (t *txn) hasJobOf(conversation string, kinds ...string) (bool, error) {
	l, err := t.index()
	return err == nil && l.has(conversation, kinds...), err
}

func (l *lanes) has(conversation string, kinds ...string) bool {
	return slices.ContainsFunc(l.of[conversation], func(x *laneJob) bool { return slices.Contains(kinds, x.Kind) })
}

// written counts the messages of a conversation that the sidecar does not have yet.
func (l *lanes) written(conversation string) (n int) {
	for _, x := range l.of[conversation] {
		if x.written {
			n++
		}
	}
	return n
}

// dropJobsOf removes a conversation's jobs of these kinds.
func (t *txn) dropJobsOf(conversation string, kinds ...string) error {
	ids, err := t.idsOf(conversation, kinds...)
	if err != nil {
		return err
	}
	for _, id := range ids {
		if err := t.dropJob(id); err != nil {
			return err
		}
	}
	return nil
}

// dropJob removes one.
func (t *txn) dropJob(id string) error {
	if err := t.Delete(bucketJob, id); err != nil {
		return fmt.Errorf("device: removing a job: %w", err)
	}
	t.lanes.changed = true
	if t.lanes.built {
		t.lanes.remove(id)
	}
	return nil
}

// hubAsked is the origin of the hub that a job asks; empty if it asks none.
func hubAsked(j Job) string {
	var hub, conversation string
	switch j := j.(type) {
	case *EventsJob:
		hub, conversation = j.Hub, j.Conversation
	case *CommitJob:
		hub, conversation = j.Hub, j.Conversation
	case *LeaseJob:
		hub, conversation = j.Hub, j.Conversation
	case *DisputeJob:
		hub, conversation = j.Hub, j.Conversation
	case *GroupInfoJob:
		hub, conversation = j.Hub, j.Conversation
	case *TermJob:
		if claim, err := receipt.ParseClaim(j.Claim); err == nil {
			hub = claim.Next.Hub
		}
	}
	if hub == "" && conversation != "" {
		hub = hubOf(conversation)
	}
	return hub
}
