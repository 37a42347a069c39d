package sequencer

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/waxwing-dm/waxwing/keydir"
	"github.com/waxwing-dm/waxwing/transparency"
)

// maxLabels is how many actors' labels are kept at hand; one takes as long to compute as two signatures.
const maxLabels = 16384

type labelProof struct {
	label [32]byte
	proof [80]byte
}

// labelCache keeps the newest labels in two generations: when one is full, the one before it goes.
type labelCache struct {
	mu         sync.Mutex
	young, old map[string]labelProof
}

func (c *labelCache) get(actor string) (l labelProof, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if l, ok = c.young[actor]; ok {
		return l, true
	}
	l, ok = c.old[actor]
	return l, ok
}

func (c *labelCache) put(actor string, l labelProof) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.young == nil || len(c.young) >= maxLabels/2 {
		c.old, c.young = c.young, make(map[string]labelProof)
	}
	c.young[actor] = l
}

func (s *Sequencer) prove(actor string) labelProof {
	if l, ok := s.labels.get(actor); ok {
		return l
	}
	proof, output := s.vrf.Prove([]byte(actor))
	l := labelProof{[32]byte(output[:32]), proof}
	s.labels.put(actor, l)
	return l
}

// Label of an actor in this log.
func (s *Sequencer) Label(actor string) [32]byte { return s.prove(actor).label }

// Answer looks an actor up in the tree that is served; the answer's consistency proof is from a tree of size from. ErrErased,
// ErrBeyondHead, and ErrNotYet while nothing has been witnessed.
func (s *Sequencer) Answer(ctx context.Context, actor string, from int64) (a transparency.Answer, err error) {
	if a, err = s.answer(ctx, actor, from); err == nil && a.Found != nil && isErase(a.Found.Statement) {
		err = ErrErased
	}
	if err != nil {
		return transparency.Answer{}, fmt.Errorf("sequencer: looking up %.200q: %w", actor, err)
	}
	return a, nil
}

func isErase(statement []byte) bool { return transparency.Kind(statement[1]) == transparency.KindErase }

// AnswerOwner is Answer for who has the actor's account. It shows an erase as the label's newest statement, for what is published next has
// to follow it; to anybody else that would show whose label it is.
func (s *Sequencer) AnswerOwner(ctx context.Context, actor string, from int64) (a transparency.Answer, err error) {
	if a, err = s.answer(ctx, actor, from); err != nil {
		return transparency.Answer{}, fmt.Errorf("sequencer: looking up %.200q: %w", actor, err)
	}
	return a, nil
}

func (s *Sequencer) answer(ctx context.Context, actor string, from int64) (a transparency.Answer, err error) {
	l := s.prove(actor)
	for last := int64(0); ; {
		s.mu.RLock()
		at := s.served
		s.mu.RUnlock()
		switch {
		case at.size == 0:
			return a, ErrNotYet
		case from < 0 || from > at.size:
			return a, ErrBeyondHead
		}
		a = transparency.Answer{Checkpoint: at.note, Newest: at.newest, Inclusion: at.inclusion, VRF: l.proof, Map: at.tree.Prove(l.label).Marshal()}
		a.Found, err = s.found(ctx, l.label, at)
		if errors.Is(err, errNoRow) && at.size > last { // the row may have been forgotten since, for a newer one
			last = at.size
			continue
		}
		if err == nil && from > 0 && from < at.size {
			a.Consistency, err = tlog.ProveTree(at.size, from, s.reader(ctx))
		}
		return a, err
	}
}

// found reads what a label has in the tree that is served, nil if nothing.
func (s *Sequencer) found(ctx context.Context, label [32]byte, at served) (*transparency.Found, error) {
	l, ok := at.tree.Find(label)
	if !ok {
		return nil, nil
	}
	entry, r, ok, err := s.store.Row(ctx, l.Note)
	if err == nil && !ok {
		err = errNoRow
	}
	if err != nil {
		return nil, err
	}
	return &transparency.Found{Statement: entry[:transparency.StatementSize], Opening: r.Opening, Content: r.Content}, nil
}

// State returns what an actor's newest witnessed statement comes to; false if the actor has none.
func (s *Sequencer) State(ctx context.Context, actor string) (keydir.State, bool, error) {
	a, err := s.Answer(ctx, actor, 0)
	if err != nil || a.Found == nil {
		return keydir.State{}, false, err
	}
	statement, err := transparency.ParseStatement(a.Found.Statement)
	if err != nil {
		return keydir.State{}, false, err
	}
	state, err := keydir.Open(actor, statement, a.Found.Opening, a.Found.Content)
	return state, err == nil, err
}
