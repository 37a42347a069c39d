package device_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/device"
)

// listed is what may be done now, and that it is what the rows say: the first job of each lane.
func (p *person) listed() []device.Job {
	jobs, err := p.Jobs()
	require.NoError(p.w.t, err)
	var want []string
	busy := map[string]bool{}
	if rows := p.store.buckets["job"]; rows != nil {
		for _, id := range rows.keys {
			var row struct{ Lane string }
			require.NoError(p.w.t, json.Unmarshal(rows.values[id], &row))
			if !busy[row.Lane] {
				busy[row.Lane], want = true, append(want, id)
			}
		}
	}
	require.Equal(p.w.t, want, idsOf(jobs))
	return jobs
}

func idsOf(jobs []device.Job) (ids []string) {
	for _, j := range jobs {
		ids = append(ids, j.ID())
	}
	return ids
}

func tasksOf(tasks []device.Task) (ids []string) {
	for _, x := range tasks {
		ids = append(ids, x.ID)
	}
	return ids
}

// TestTasksAreToldOnce: what waits behind another of its lane is told when its turn comes, and nothing is told again.
func TestTasksAreToldOnce(t *testing.T) {
	w, id := talk(t, bob)
	a := w.people[alice]
	tasks, next, err := a.Tasks(0)
	require.NoError(t, err)
	require.Empty(t, tasks)
	for i := range 3 {
		a.say(id, fmt.Sprint(i))
	}
	seen := map[string]bool{}
	for range 3 {
		tasks, next, err = a.Tasks(next)
		require.NoError(t, err)
		require.Len(t, tasks, 1)
		require.Equal(t, device.TaskSend, tasks[0].Kind)
		require.Empty(t, tasks[0].Hub)
		require.False(t, seen[tasks[0].ID])
		seen[tasks[0].ID] = true
		again, _, err := a.Tasks(next)
		require.NoError(t, err)
		require.Empty(t, again)
		j, err := a.Job(tasks[0].ID)
		require.NoError(t, err)
		require.NoError(t, a.do(j))
		_, err = a.Job(tasks[0].ID)
		require.ErrorIs(t, err, device.ErrNoSuchJob)
	}
	require.NoError(t, a.SetAdmin(id, bob, true))
	tasks, _, err = a.Tasks(next)
	require.NoError(t, err)
	require.Len(t, tasks, 1)
	origin, _ := originOf(alice)
	require.Equal(t, origin, tasks[0].Hub)
}

// TestTasksAfterARestart: a new process is told everything, and so is one whose transaction has failed; nothing is lost by that.
func TestTasksAfterARestart(t *testing.T) {
	w, id := talk(t, bob)
	a := w.people[alice]
	a.say(id, "one")
	require.NoError(t, a.SetAdmin(id, bob, true))
	before, next, err := a.Tasks(0)
	require.NoError(t, err)
	require.Len(t, before, 2)
	for _, lost := range []bool{false, true} { // the disk fails before the rows are written, or after
		a.store.fail = func() (bool, bool) { return !lost, lost }
		require.Error(t, a.Sync())
		a.store.fail = nil
		again, _, err := a.Tasks(next)
		require.NoError(t, err)
		require.Subset(t, tasksOf(again), tasksOf(before))
		require.Equal(t, slices.Sorted(slices.Values(tasksOf(again))), slices.Sorted(slices.Values(idsOf(a.listed()))))
	}
	a.restart()
	again, _, err := a.Tasks(0)
	require.NoError(t, err)
	require.Equal(t, slices.Sorted(slices.Values(tasksOf(again))), slices.Sorted(slices.Values(idsOf(a.listed()))))
	w.quiet()
	require.Equal(t, []string{"one"}, w.people[bob].texts(id))
}

// TestJobsAreNotReadEachTime: what is asked of all jobs costs no reading, however many wait.
func TestJobsAreNotReadEachTime(t *testing.T) {
	w, id := talk(t, bob)
	a := w.people[alice]
	for i := range 200 {
		a.say(id, fmt.Sprint(i))
	}
	_, next, err := a.Tasks(0)
	require.NoError(t, err)
	before := a.store.reads
	_, _, err = a.Tasks(next)
	require.NoError(t, err)
	require.Equal(t, before, a.store.reads)
	jobs, err := a.Jobs()
	require.NoError(t, err)
	require.Len(t, jobs, 1)
	require.LessOrEqual(t, a.store.reads-before, 1)
	before = a.store.reads
	require.NoError(t, a.do(jobs[0]))
	a.say(id, "one more")
	require.Less(t, a.store.reads-before, 100)
}
