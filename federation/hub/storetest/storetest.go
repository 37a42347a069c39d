// Package storetest says by tests what a hub.Store must do, for every implementation of it, and has one in memory.
package storetest

import (
	"context"
	"crypto/sha256"
	"errors"
	"maps"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/federation/hub"
	"github.com/waxwing-dm/waxwing/internal/receipt"
)

// Memory is a Store that forgets everything at the end of the process.
type Memory struct {
	mu     sync.Mutex
	groups map[string]*group
}

type group struct {
	state     hub.State
	open      []byte
	steps     []step // ascending by seq
	writers   []string
	disputes  map[uint64]map[string][]byte
	elsewhere hub.Elsewhere
	aside     []hub.Branch // the newest first
}

type step struct {
	hub.Step
	receipt  receipt.Receipt
	reopened uint64
}

// Clone is another store with the same in it: what a backup has.
func (m *Memory) Clone() *Memory {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := &Memory{groups: map[string]*group{}}
	for id, g := range m.groups {
		same := *g
		same.aside = slices.Clone(g.aside)
		same.steps, same.writers, same.disputes = slices.Clone(g.steps), slices.Clone(g.writers), map[uint64]map[string][]byte{}
		for seq, of := range g.disputes {
			same.disputes[seq] = maps.Clone(of)
		}
		c.groups[id] = &same
	}
	return c
}

func (m *Memory) OpenGroup(_ context.Context, id []byte, s hub.State, opened []byte) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if g, ok := m.groups[string(id)]; ok {
		return g.open, nil
	}
	m.put(id, &group{state: s, open: opened})
	return opened, nil
}

func (m *Memory) put(id []byte, g *group) {
	if m.groups == nil {
		m.groups = map[string]*group{}
	}
	g.disputes = map[uint64]map[string][]byte{}
	m.groups[string(id)] = g
}

func (m *Memory) Group(_ context.Context, id []byte) (hub.State, bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	g, ok := m.groups[string(id)]
	if !ok {
		return hub.State{}, false, nil
	}
	return g.state, true, nil
}

func (m *Memory) Swap(_ context.Context, id []byte, old hub.State, c hub.Change) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	g, ok := m.groups[string(id)]
	switch {
	case ok && g.state != old || !ok && old != hub.State{}:
		return hub.ErrMoved
	case !ok:
		g = new(group)
		m.put(id, g)
	}
	if g.state.Term != c.Next.Term {
		g.aside = nil
	}
	g.aside = append(slices.Clone(c.Aside), slices.DeleteFunc(g.aside, func(b hub.Branch) bool { return b == c.Back })...)
	g.state = c.Next
	for i, s := range c.Steps {
		r, err := receipt.Parse(s.Receipt)
		if err != nil {
			return err
		}
		if i == 0 {
			g.steps = slices.DeleteFunc(g.steps, func(s step) bool { return s.receipt.Seq >= r.Seq })
		}
		g.steps = append(g.steps, step{Step: s, receipt: r})
	}
	if c.Writer != "" {
		g.writers = append([]string{c.Writer}, slices.DeleteFunc(g.writers, func(w string) bool { return w == c.Writer })...)
	}
	for i := range g.steps {
		if c.Disputed > 0 && g.steps[i].receipt.Seq == c.Disputed {
			g.steps[i].reopened = c.Next.Seq
		}
	}
	if c.Elsewhere != nil {
		g.elsewhere = *c.Elsewhere
	}
	return nil
}

func (m *Memory) Aside(_ context.Context, id []byte, epoch uint64, limit int) (branches []hub.Branch, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if g, ok := m.groups[string(id)]; ok {
		for _, b := range g.aside {
			if b.Epoch == epoch && len(branches) < limit {
				branches = append(branches, b)
			}
		}
	}
	return branches, nil
}

func (m *Memory) Events(_ context.Context, id []byte, after uint64, limit int) (events []hub.Event, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if g, ok := m.groups[string(id)]; ok {
		for _, s := range g.steps {
			if s.receipt.Seq > after && len(events) < limit {
				events = append(events, s.Event)
			}
		}
	}
	return events, nil
}

func (m *Memory) Find(_ context.Context, id []byte, hash [32]byte) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if g, ok := m.groups[string(id)]; ok {
		for _, s := range g.steps {
			if s.receipt.MessageHash == hash {
				return s.Receipt, nil
			}
		}
	}
	return nil, nil
}

func (m *Memory) Granted(_ context.Context, id []byte, seq uint64) (hub.Granted, bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	g, ok := m.groups[string(id)]
	if ok && seq == 0 {
		return hub.Granted{Receipt: g.open}, g.open != nil, nil
	}
	if ok {
		for _, s := range g.steps {
			if s.receipt.Seq == seq {
				return hub.Granted{Receipt: s.Receipt, By: s.By, Reopened: s.reopened}, true, nil
			}
		}
	}
	return hub.Granted{}, false, nil
}

func (m *Memory) Dispute(_ context.Context, id []byte, seq uint64, instance string, dispute []byte) (all [][]byte, instances int, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	g := m.groups[string(id)]
	if g.disputes[seq] == nil {
		g.disputes[seq] = map[string][]byte{}
	}
	if _, ok := g.disputes[seq][instance]; !ok {
		g.disputes[seq][instance] = dispute
	}
	known := map[string]bool{}
	for _, w := range g.writers {
		known[w] = true
	}
	for _, of := range g.disputes {
		for w := range of {
			known[w] = true
		}
	}
	for _, w := range slices.Sorted(maps.Keys(g.disputes[seq])) {
		all = append(all, g.disputes[seq][w])
	}
	return all, len(known), nil
}

func (m *Memory) Writers(_ context.Context, id []byte, limit int) ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	g, ok := m.groups[string(id)]
	if !ok {
		return nil, nil
	}
	return slices.Clone(g.writers[:min(limit, len(g.writers))]), nil
}

func (m *Memory) Elsewhere(_ context.Context, id []byte) (hub.Elsewhere, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.groups[string(id)].elsewhere, nil
}

func (m *Memory) GroupInfos(_ context.Context, id []byte) (infos []hub.GroupInfo, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	g, ok := m.groups[string(id)]
	if !ok {
		return nil, nil
	}
	for _, s := range slices.Backward(g.steps) {
		if len(s.GroupInfo) > 0 && len(infos) < hub.MaxGroupInfos {
			infos = append(infos, hub.GroupInfo{Term: s.receipt.Term, Seq: s.receipt.Seq, Epoch: s.receipt.Epoch + 1, Sealed: s.GroupInfo})
		}
	}
	return infos, nil
}

// sample is a receipt that nobody signed.
func sample(kind receipt.Kind, term, seq, epoch uint64, body []byte, tag byte) hub.Event {
	r := receipt.Receipt{
		Kind: kind, GroupID: []byte("group"), Term: term, Seq: seq, Epoch: epoch, MessageHash: sha256.Sum256(body), Ticket: [32]byte{tag},
	}
	return hub.Event{Receipt: r.Marshal(), Commit: body}
}

// Run tests a store, empty at the start.
func Run(t *testing.T, open func(t *testing.T) hub.Store) {
	t.Run("a group opens once", func(t *testing.T) { opensOnce(t, open(t)) })
	t.Run("of many writers one swaps", func(t *testing.T) { oneSwaps(t, open(t)) })
	t.Run("every part of the state counts", func(t *testing.T) { wholeState(t, open(t)) })
	t.Run("what is known of a receipt", func(t *testing.T) { known(t, open(t)) })
	t.Run("disputes are counted by instance", func(t *testing.T) { disputes(t, open(t)) })
	t.Run("a term takes the place of what came after its claim", func(t *testing.T) { terms(t, open(t)) })
	t.Run("a register without a beginning", func(t *testing.T) { adopted(t, open(t)) })
	t.Run("branches are set aside and taken back", func(t *testing.T) { asides(t, open(t)) })
	t.Run("the newest group infos stay", func(t *testing.T) { groupInfos(t, open(t)) })
}

var (
	ctx   = context.Background()
	id    = []byte("group")
	first = hub.State{Term: 1, Head: [32]byte{1}, Ticket: [32]byte{2}}
)

func opensOnce(t *testing.T, s hub.Store) {
	_, ok, err := s.Group(ctx, id)
	require.NoError(t, err)
	require.False(t, ok)
	got, err := s.OpenGroup(ctx, id, first, []byte("one"))
	require.NoError(t, err)
	require.Equal(t, []byte("one"), got)
	got, err = s.OpenGroup(ctx, id, hub.State{Term: 9}, []byte("two"))
	require.NoError(t, err)
	require.Equal(t, []byte("one"), got)
	state, ok, err := s.Group(ctx, id)
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, first, state)
	g, ok, err := s.Granted(ctx, id, 0)
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, hub.Granted{Receipt: []byte("one")}, g)
}

func oneSwaps(t *testing.T, s hub.Store) {
	opened(t, s)
	state := first
	for round := range uint64(10) {
		var wg sync.WaitGroup
		won := make(chan hub.State, 8)
		for w := range byte(8) {
			wg.Go(func() {
				next := hub.State{Term: 1, Seq: round + 1, Epoch: round + 1, Head: [32]byte{w}, Ticket: [32]byte{byte(round)}}
				e := sample(receipt.KindCommit, 1, round+1, round, []byte{byte(round), w}, w)
				if err := s.Swap(ctx, id, state, hub.Change{Next: next, Steps: []hub.Step{{Event: e}}}); err == nil {
					won <- next
				} else if !errors.Is(err, hub.ErrMoved) {
					t.Errorf("writer %d of round %d: %v", w, round, err)
				}
			})
		}
		wg.Wait()
		require.Len(t, won, 1)
		state = <-won
		got, _, err := s.Group(ctx, id)
		require.NoError(t, err)
		require.Equal(t, state, got)
	}
	events, err := s.Events(ctx, id, 3, 4)
	require.NoError(t, err)
	require.Len(t, events, 4)
	require.Equal(t, byte(3), events[0].Commit[0])
	events, err = s.Events(ctx, id, 10, 4)
	require.NoError(t, err)
	require.Empty(t, events)
}

func opened(t *testing.T, s hub.Store) {
	_, err := s.OpenGroup(ctx, id, first, []byte("open"))
	require.NoError(t, err)
}

func wholeState(t *testing.T, s hub.Store) {
	opened(t, s)
	full := hub.State{
		Term: 3, Seq: 9, Epoch: 7, Base: 5, Head: [32]byte{1}, Ticket: [32]byte{2}, Moved: [32]byte{3},
		Others: [3]hub.Branch{{Epoch: 6, Ticket: [32]byte{4}}, {Epoch: 1 << 40, Ticket: [32]byte{5}}, {}},
	}
	require.NoError(t, s.Swap(ctx, id, first, hub.Change{Next: full}))
	got, _, err := s.Group(ctx, id)
	require.NoError(t, err)
	require.Equal(t, full, got)
	for name, change := range map[string]func(*hub.State){
		"term": func(s *hub.State) { s.Term++ }, "seq": func(s *hub.State) { s.Seq++ }, "epoch": func(s *hub.State) { s.Epoch++ },
		"base": func(s *hub.State) { s.Base++ }, "head": func(s *hub.State) { s.Head[31]++ }, "ticket": func(s *hub.State) { s.Ticket[31]++ },
		"moved": func(s *hub.State) { s.Moved = [32]byte{} }, "a branch's epoch": func(s *hub.State) { s.Others[1].Epoch++ },
		"a branch's ticket": func(s *hub.State) { s.Others[0].Ticket[1]++ }, "a branch": func(s *hub.State) { s.Others[1] = hub.Branch{} },
	} {
		old := full
		change(&old)
		require.ErrorIs(t, s.Swap(ctx, id, old, hub.Change{Next: first}), hub.ErrMoved, name)
	}
	require.ErrorIs(t, s.Swap(ctx, id, hub.State{}, hub.Change{Next: first}), hub.ErrMoved, "there is one already")
	require.ErrorIs(t, s.Swap(ctx, []byte("other"), first, hub.Change{Next: full}), hub.ErrMoved)
}

func known(t *testing.T, s hub.Store) {
	opened(t, s)
	e := sample(receipt.KindCommit, 1, 1, 0, []byte("body"), 1)
	next := hub.State{Term: 1, Seq: 1, Epoch: 1}
	elsewhere := hub.Elsewhere{Event: e, Hub: "https://b.example"}
	require.NoError(t, s.Swap(ctx, id, first, hub.Change{
		Next: next, Steps: []hub.Step{{Event: e, By: [32]byte{7}}}, Writer: "https://a.example", Elsewhere: &elsewhere,
	}))
	got, err := s.Find(ctx, id, sha256.Sum256([]byte("body")))
	require.NoError(t, err)
	require.Equal(t, e.Receipt, got)
	for _, g := range [][]byte{id, []byte("other")} {
		got, err = s.Find(ctx, g, sha256.Sum256([]byte("else")))
		require.NoError(t, err)
		require.Nil(t, got)
	}
	g, ok, err := s.Granted(ctx, id, 1)
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, hub.Granted{Receipt: e.Receipt, By: [32]byte{7}}, g)
	_, ok, err = s.Granted(ctx, id, 1<<63)
	require.NoError(t, err)
	require.False(t, ok)
	where, err := s.Elsewhere(ctx, id)
	require.NoError(t, err)
	require.Equal(t, elsewhere, where)
	last := next
	last.Seq++
	require.NoError(t, s.Swap(ctx, id, next, hub.Change{Next: last, Writer: "https://b.example", Disputed: 1}))
	g, _, err = s.Granted(ctx, id, 1)
	require.NoError(t, err)
	require.Equal(t, uint64(2), g.Reopened)
	writers, err := s.Writers(ctx, id, 2)
	require.NoError(t, err)
	require.Equal(t, []string{"https://b.example", "https://a.example"}, writers)
	writers, err = s.Writers(ctx, id, 1)
	require.NoError(t, err)
	require.Len(t, writers, 1)
}

func disputes(t *testing.T, s hub.Store) {
	opened(t, s)
	require.NoError(t, s.Swap(ctx, id, first, hub.Change{Next: hub.State{Term: 1, Seq: 1}, Writer: "a"}))
	for i, c := range []struct {
		seq              uint64
		instance         string
		count, instances int
	}{{1, "a", 1, 1}, {1, "a", 1, 1}, {1, "b", 2, 2}, {2, "c", 1, 3}, {2, "a", 2, 3}, {1, "c", 3, 3}} {
		all, instances, err := s.Dispute(ctx, id, c.seq, c.instance, []byte{byte(i)})
		require.NoError(t, err)
		require.Equal(t, []int{c.count, c.instances}, []int{len(all), instances}, "step %d", i)
	}
}

func terms(t *testing.T, s hub.Store) {
	opened(t, s)
	state := first
	for seq := uint64(1); seq <= 5; seq++ {
		next := hub.State{Term: 1, Seq: seq, Epoch: seq}
		require.NoError(t, s.Swap(ctx, id, state, hub.Change{Next: next, Steps: []hub.Step{{Event: sample(receipt.KindCommit, 1, seq, seq-1, []byte{byte(seq)}, 0)}}}))
		state = next
	}
	term := sample(receipt.KindTerm, 2, 4, 3, []byte("claim"), 0)
	require.NoError(t, s.Swap(ctx, id, state, hub.Change{Next: hub.State{Term: 2, Seq: 4, Epoch: 3, Base: 4}, Steps: []hub.Step{{Event: term}}}))
	events, err := s.Events(ctx, id, 2, 10)
	require.NoError(t, err)
	require.Equal(t, []hub.Event{sample(receipt.KindCommit, 1, 3, 2, []byte{3}, 0), term}, events)
	got, err := s.Find(ctx, id, sha256.Sum256([]byte{5}))
	require.NoError(t, err)
	require.Nil(t, got, "what is void is not found")
}

func adopted(t *testing.T, s hub.Store) {
	next := hub.State{Term: 2, Seq: 8, Base: 8}
	steps := []hub.Step{{Event: sample(receipt.KindCommit, 1, 7, 6, []byte("old"), 0)}, {Event: sample(receipt.KindTerm, 2, 8, 7, []byte("claim"), 0)}}
	require.NoError(t, s.Swap(ctx, id, hub.State{}, hub.Change{Next: next, Steps: steps}))
	require.ErrorIs(t, s.Swap(ctx, id, hub.State{}, hub.Change{Next: next, Steps: steps}), hub.ErrMoved)
	_, ok, err := s.Granted(ctx, id, 0)
	require.NoError(t, err)
	require.False(t, ok)
	events, err := s.Events(ctx, id, 0, 10)
	require.NoError(t, err)
	require.Equal(t, []hub.Event{steps[0].Event, steps[1].Event}, events)
}

func asides(t *testing.T, s hub.Store) {
	opened(t, s)
	branch := func(epoch uint64, tag byte) hub.Branch { return hub.Branch{Epoch: epoch, Ticket: [32]byte{tag}} }
	state := first
	swap := func(c hub.Change) {
		c.Next.Seq, c.Next.Head = state.Seq+1, [32]byte{byte(state.Seq + 1)}
		c.Steps = []hub.Step{{Event: sample(receipt.KindCommit, c.Next.Term, c.Next.Seq, 1, []byte{byte(c.Next.Seq)}, 1)}}
		require.NoError(t, s.Swap(ctx, id, state, c))
		state = c.Next
	}
	aside := func(epoch uint64, limit int) []hub.Branch {
		got, err := s.Aside(ctx, id, epoch, limit)
		require.NoError(t, err)
		return got
	}
	require.Empty(t, aside(4, 9))
	swap(hub.Change{Next: state, Aside: []hub.Branch{branch(4, 1)}})
	swap(hub.Change{Next: state, Aside: []hub.Branch{branch(4, 2)}})
	swap(hub.Change{Next: state, Aside: []hub.Branch{branch(5, 3)}})
	require.Equal(t, []hub.Branch{branch(4, 2), branch(4, 1)}, aside(4, 9))
	require.Equal(t, []hub.Branch{branch(4, 2)}, aside(4, 1))
	require.Equal(t, []hub.Branch{branch(5, 3)}, aside(5, 9))
	swap(hub.Change{Next: state, Back: branch(4, 2)})
	require.Equal(t, []hub.Branch{branch(4, 1)}, aside(4, 9))
	require.ErrorIs(t, s.Swap(ctx, id, first, hub.Change{Next: state, Aside: []hub.Branch{branch(4, 7)}}), hub.ErrMoved)
	require.Equal(t, []hub.Branch{branch(4, 1)}, aside(4, 9))
	next := state
	next.Term, next.Base = 2, state.Seq+1
	swap(hub.Change{Next: next})
	require.Empty(t, aside(4, 9))
	require.Empty(t, aside(5, 9))
}

func groupInfos(t *testing.T, s hub.Store) {
	opened(t, s)
	state := first
	for seq := uint64(1); seq <= 7; seq++ {
		next := hub.State{Term: 1, Seq: seq, Epoch: seq}
		step := hub.Step{Event: sample(receipt.KindCommit, 1, seq, seq-1, []byte{byte(seq)}, 0)}
		if seq != 6 {
			step.GroupInfo = []byte{byte(seq)}
		}
		require.NoError(t, s.Swap(ctx, id, state, hub.Change{Next: next, Steps: []hub.Step{step}}))
		state = next
	}
	infos, err := s.GroupInfos(ctx, id)
	require.NoError(t, err)
	require.Len(t, infos, hub.MaxGroupInfos)
	for i, seq := range []uint64{7, 5, 4, 3} {
		require.Equal(t, hub.GroupInfo{Term: 1, Seq: seq, Epoch: seq, Sealed: []byte{byte(seq)}}, infos[i])
	}
}
