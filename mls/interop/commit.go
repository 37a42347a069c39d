package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/waxwing-dm/waxwing/mls"
	"github.com/waxwing-dm/waxwing/mls/interop/harness"
)

// From one epoch to the next.

func (s *server) Commit(_ context.Context, r *harness.CommitRequest) (*harness.CommitResponse, error) {
	m, err := s.member(r.StateId)
	if err != nil {
		return nil, err
	}
	params := mls.CommitParams{
		SkipStored: len(r.ByReference) == 0, TreeOutside: r.ExternalTree, ForcePath: r.ForcePath, Framing: m.framing, Now: time.Now(),
	}
	if params.Proposals, err = m.byValue(r.ByValue); err != nil {
		return nil, err
	}
	if err := m.hear(r.ByReference); err != nil {
		return nil, err
	}
	if err := m.hasOnly(r.ByReference); err != nil {
		return nil, err
	}
	pending, err := m.group.Commit(rand.Reader, params)
	if err != nil {
		return nil, err
	}
	reply := &harness.CommitResponse{Commit: pending.Message(), Welcome: pending.Welcome()}
	if r.ExternalTree {
		reply.RatchetTree = pending.RatchetTree()
	}
	return reply, nil
}

func (m *member) byValue(list []*harness.ProposalDescription) ([]mls.Proposal, error) {
	var all []mls.Proposal
	for _, d := range list {
		p, err := m.view().proposal(d)
		if err != nil {
			return nil, err
		}
		all = append(all, p)
	}
	return all, nil
}

// hear takes proposals that others made.
func (m *member) hear(messages [][]byte) error {
	for i, raw := range messages {
		if m.heard[string(raw)] {
			continue
		}
		if _, err := m.process(raw, mls.ContentProposal); err != nil {
			return fmt.Errorf("proposal %d of %d: %w", i+1, len(messages), err)
		}
		m.heard[string(raw)] = true
	}
	return nil
}

// hasOnly is to say that a commit of all proposals is one of these.
func (m *member) hasOnly(messages [][]byte) error {
	named := map[string]bool{}
	for _, raw := range messages {
		named[string(raw)] = true
	}
	if len(named) > 0 && len(named) < len(m.heard) {
		return fmt.Errorf("a commit of %d of the %d proposals of the epoch: all of them are committed, or none", len(named), len(m.heard))
	}
	return nil
}

func (s *server) HandlePendingCommit(_ context.Context, r *harness.HandlePendingCommitRequest) (*harness.HandleCommitResponse, error) {
	m, err := s.member(r.StateId)
	if err != nil {
		return nil, err
	}
	if err := m.confirm(); err != nil {
		return nil, err
	}
	return &harness.HandleCommitResponse{StateId: r.StateId, EpochAuthenticator: m.group.EpochAuthenticator()}, nil
}

func (m *member) confirm() error {
	if err := m.group.ConfirmPending(); err != nil {
		return err
	}
	clear(m.heard)
	return nil
}

func (s *server) HandleCommit(_ context.Context, r *harness.HandleCommitRequest) (*harness.HandleCommitResponse, error) {
	m, err := s.member(r.StateId)
	if err != nil {
		return nil, err
	}
	if err := m.handle(r); err != nil {
		return nil, err
	}
	return &harness.HandleCommitResponse{StateId: r.StateId, EpochAuthenticator: m.group.EpochAuthenticator()}, nil
}

// handle applies a commit. One of our own may come back to us.
func (m *member) handle(r *harness.HandleCommitRequest) error {
	if err := m.hear(r.Proposal); err != nil {
		return err
	}
	processed, err := m.process(r.Commit, mls.ContentCommit)
	if errors.Is(err, mls.ErrOwnMessage) {
		return m.confirm()
	}
	if err != nil {
		return err
	}
	if err := m.group.Apply(processed.(*mls.StagedCommit)); err != nil {
		return err
	}
	clear(m.heard)
	return nil
}
