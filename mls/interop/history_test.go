package main

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"
)

const most = 8 // members of a random history

// history plays random commits. What it plays follows from the test's name, so that a failure comes back. Late messages are of the
// epoch before: an implementation that plays several members in one process may mistake whose keys they need.
func (s *script) history(commits int, late bool) {
	s.t.Helper()
	seed := fnv.New64a()
	seed.Write([]byte(s.t.Name()))
	h := &history{script: s, rng: rand.New(rand.NewPCG(seed.Sum64(), 0))}
	s.create("actor0", "actor1", "actor2", "actor3")
	h.came = 4
	for range commits {
		l := s.send(h.anybody(), "of this epoch")
		if !late {
			s.read(l)
		}
		if h.rng.IntN(5) == 0 {
			h.enter()
		} else {
			h.commit()
		}
		if late {
			s.read(l)
		}
	}
}

type history struct {
	*script
	rng  *rand.Rand
	came int
}

func (h *history) anybody() string { return h.members[h.rng.IntN(len(h.members))] }

func (h *history) newcomer() string {
	h.came++
	return fmt.Sprint("actor", h.came-1)
}

func (h *history) enter() {
	by := h.anybody()
	e := entry{outside: h.rng.IntN(2) == 0, resync: len(h.members) > 1 && h.rng.IntN(2) == 0}
	joiner := h.newcomer()
	for e.resync && (joiner == by || h.actors[joiner] == nil) {
		joiner = h.anybody()
	}
	h.script.enter(by, joiner, e)
}

// commit draws who goes, updates and comes; of those some by reference, proposed by anybody who stays.
func (h *history) commit() {
	order := h.rng.Perm(len(h.members))
	shuffled := make([]string, len(order))
	for i, x := range order {
		shuffled[i] = h.members[x]
	}
	committer, rest := shuffled[0], shuffled[1:]
	gone := h.rng.IntN(len(rest)/2 + 1)
	leaves, staying := rest[:gone], rest[gone:]
	c := change{leaves: leaves, path: h.rng.IntN(2) == 0, outside: h.rng.IntN(2) == 0}
	for _, name := range staying[:h.rng.IntN(len(staying)/2+1)] {
		c.refs = append(c.refs, h.update(name))
	}
	for range h.rng.IntN(max(1, min(4, most-len(h.members)+1))) {
		c.joins = append(c.joins, h.newcomer())
	}
	for _, d := range append(h.adding(c.joins...), removing(leaves...)...) {
		if h.rng.IntN(2) == 0 {
			c.values = append(c.values, d)
			continue
		}
		c.refs = append(c.refs, h.propose(append(staying, committer)[h.rng.IntN(len(staying)+1)], d))
	}
	h.script.commit(committer, c)
}
