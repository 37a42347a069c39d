package device

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/waxwing-dm/waxwing/mls"
)

// Letting go who leaves. A SelfRemove travels as any message does and may come after the commit that names it; so the commit carries it (C8).
// Everybody may make that commit, since MLS proves whose wish it is. One of them does it with whatever they do next in the
// conversation, or else who comes first in an order that differs from proposal to proposal.

// leaving is a member's wish of the current epoch to be let go.
type leaving struct {
	Actor   string `json:"actor"`
	Key     []byte `json:"key"`
	Message []byte `json:"message"`
}

func (c *conversation) leavingMessages() (messages [][]byte) {
	for _, x := range c.Leaving {
		messages = append(messages, x.Message)
	}
	return messages
}

func (c *conversation) leavers() (leaves []leaf) {
	for _, x := range c.Leaving {
		leaves = append(leaves, leaf{x.Actor, x.Key})
	}
	return leaves
}

// judgeProposal takes a proposal by reference: a member's wish to leave and nothing else.
func (t *txn) judgeProposal(c *conversation, m *mls.Message) (verdict, error) {
	switch {
	case m.WireFormat() != mls.WirePublicMessage:
		return refuse(CodeNotAllowed, "C6: this room knows no proposals outside commits but the wish to leave"), nil
	case c.State == StateLeft || m.Epoch() < c.group.Epoch():
		return verdict{status: ignored}, nil // its sender proposes it again
	case m.Epoch() > c.group.Epoch():
		return verdict{status: waiting, fetch: true}, nil
	}
	next := c.group.Clone()
	wish, removes, err := readWish(next, m, t.now)
	switch {
	case errors.Is(err, mls.ErrOwnMessage):
		return verdict{status: ignored}, nil
	case err != nil:
		return refuse(CodeNotAllowed, "%v", err), nil
	case removes:
		return verdict{status: accepted}, t.removeOnRequest(c, wish.Actor)
	case !c.mayGo(wish):
		return verdict{status: ignored}, nil
	}
	c.group = next
	c.Leaving = append(c.Leaving, wish)
	if due := t.now.Add(c.turn(wish.Message)); c.PartAt.IsZero() || due.Before(c.PartAt) {
		c.PartAt = due
	}
	c.queued = true // what waits for nothing else takes it along
	return verdict{status: accepted}, nil
}

// readWish verifies a proposal in a copy of the group. removes says that its sender's program asks for a Remove instead.
func readWish(g *mls.Group, m *mls.Message, now time.Time) (wish leaving, removes bool, err error) {
	raw := m.Marshal()
	if m.WireFormat() != mls.WirePublicMessage || m.ContentType() != mls.ContentProposal || len(raw) > maxProposal {
		return wish, false, failed("C8", "that is no member's wish to leave")
	}
	p, err := g.Process(m, now)
	if err != nil {
		return wish, false, fmt.Errorf("device: reading a proposal: %w", err)
	}
	r, ok := p.(*mls.ReceivedProposal)
	if !ok || r.Sender.Node == nil {
		return wish, false, failed("C6", "a proposal from outside")
	}
	removes = r.Type == mls.ProposalRemove && r.Removes == r.Sender.Leaf
	if r.Type != mls.ProposalSelfRemove && !removes {
		return wish, false, failed("C6", "a proposal of type %d outside a commit", r.Type)
	}
	l := leafOf(r.Sender)
	return leaving{l.actor, l.key, raw}, removes, nil
}

// mayGo keeps the list within bounds, each member there once, and an admin in the room.
func (c *conversation) mayGo(wish leaving) bool {
	r, err := c.room()
	if err != nil || len(c.Leaving) >= maxLeaving || slices.ContainsFunc(c.Leaving, func(x leaving) bool { return bytes.Equal(x.Key, wish.Key) }) {
		return false
	}
	gone := append(c.leavers(), leaf{wish.Actor, wish.Key})
	rest := change{members: leavesOf(c.group.Members()), removed: gone}.remaining()
	return slices.ContainsFunc(rest, func(l leaf) bool { return r.admin(l.actor) })
}

// turn is how long to wait before letting somebody go by ourselves.
func (c *conversation) turn(wish []byte) time.Duration { return partAfter + c.spread(wish, partSpread) }

// spread is a part of a time that differs from member to member, so that one of them comes first.
func (c *conversation) spread(of []byte, over time.Duration) time.Duration {
	own, _ := c.group.Member(c.group.OwnLeaf())
	hash := sha256.Sum256(append(bytes.Clone(leafOf(own).key), of...))
	return time.Duration(binary.BigEndian.Uint64(hash[:]) % uint64(over))
}

// removeOnRequest is for members whose programs know no self-removes: an admin removes who asks for it.
func (t *txn) removeOnRequest(c *conversation, actor string) error {
	account, err := t.account()
	if err != nil {
		return err
	}
	r, err := c.room()
	if err != nil || !r.admin(account.Actor) || c.State != StateActive {
		return err
	}
	c.queued = true
	_, err = t.queueFirst(c.id, step{Kind: stepRemove, Actors: []string{actor}})
	return err
}

// partFirst lets go who leaves before anything else is done or encrypted.
func (t *txn) partFirst(c *conversation) error {
	if len(c.Leaving) == 0 || c.State != StateActive {
		return nil
	}
	_, s, ok, err := t.firstStep(c.id)
	idle := !ok || s.Kind == stepLeave
	if err != nil || s.Kind == stepPart || idle && t.now.Before(c.PartAt) {
		return err
	}
	c.PartAt = time.Time{}
	_, err = t.queueFirst(c.id, step{Kind: stepPart})
	return err
}

// workPart commits the wishes of this epoch.
func (t *txn) workPart(c *conversation, s *step) (done bool, err error) {
	if len(c.Leaving) == 0 {
		return true, nil
	}
	c.parted = c.leavers()
	done, err = t.propose(c, s, nil, change{removed: c.parted, leaving: c.parted})
	if done {
		c.Leaving = nil // else it would be tried for ever
	}
	return done, err
}

// takeAlong reads the wishes that a commit carries into a copy of the group.
func (t *txn) takeAlong(g *mls.Group, m *mls.Message) (leaves []leaf, err error) {
	f, err := parseFence(m.AuthenticatedData(), m.Epoch())
	if err != nil {
		return nil, nil // the commit is to be verified before its fence is judged
	}
	own, _ := g.Member(g.OwnLeaf())
	for _, raw := range f.leaving {
		carried, err := mls.ParseMessage(raw)
		if err != nil {
			return nil, failed("C8", "what the commit carries cannot be read: %v", err)
		}
		wish, removes, err := readWish(g, carried, t.now)
		switch {
		case errors.Is(err, mls.ErrOwnMessage):
			leaves = append(leaves, leafOf(own))
		case err != nil:
			return nil, failed("C8", "the commit carries something else than wishes to leave: %v", err)
		case removes:
			return nil, failed("C8", "the commit carries a Remove")
		default:
			leaves = append(leaves, leaf{wish.Actor, wish.Key})
		}
	}
	return leaves, nil
}

// steps reads a queue.
func (t *txn) steps(id string) ([]step, error) {
	_, steps, err := t.queueOf(id)
	return steps, err
}
