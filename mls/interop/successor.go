package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"time"

	"github.com/waxwing-dm/waxwing/mls"
	"github.com/waxwing-dm/waxwing/mls/interop/harness"
)

// Groups that come from another one.

// A successor waits for the group in favour of which its own was closed.
type successor struct {
	from *member
	*joiner
}

func (s *server) ReInitCommit(ctx context.Context, r *harness.CommitRequest) (*harness.CommitResponse, error) {
	return s.Commit(ctx, r)
}

func (s *server) HandlePendingReInitCommit(_ context.Context, r *harness.HandlePendingCommitRequest) (*harness.HandleReInitCommitResponse, error) {
	m, err := s.member(r.StateId)
	if err != nil {
		return nil, err
	}
	if err := m.confirm(); err != nil {
		return nil, err
	}
	return s.await(m)
}

func (s *server) HandleReInitCommit(_ context.Context, r *harness.HandleCommitRequest) (*harness.HandleReInitCommitResponse, error) {
	m, err := s.member(r.StateId)
	if err != nil {
		return nil, err
	}
	if err := m.handle(r); err != nil {
		return nil, err
	}
	return s.await(m)
}

// await makes the key package by which a member comes into the new group.
func (s *server) await(m *member) (*harness.HandleReInitCommitResponse, error) {
	_, cs, _, ok := m.group.Closed()
	if !ok {
		return nil, fmt.Errorf("the commit has not closed the group")
	}
	j, err := newJoiner(cs, m.identity())
	if err != nil {
		return nil, err
	}
	j.psks = m.psks
	id := s.number()
	s.closed[id] = &successor{m, j}
	return &harness.HandleReInitCommitResponse{ReinitId: id, KeyPackage: j.message, EpochAuthenticator: m.group.EpochAuthenticator()}, nil
}

func (m *member) identity() []byte {
	own, _ := m.group.Member(m.group.OwnLeaf())
	return own.Node.Credential.Identity
}

func (s *server) ReInitWelcome(_ context.Context, r *harness.ReInitWelcomeRequest) (*harness.CreateSubgroupResponse, error) {
	waiting, err := find(s.closed, "re-initialization", r.ReinitId)
	if err != nil {
		return nil, err
	}
	params, err := successorOf(waiting.leaf, r.KeyPackage)
	if err != nil {
		return nil, err
	}
	params.ForcePath, params.TreeOutside = r.ForcePath, r.ExternalTree
	group, err := waiting.from.group.Reinitialize(rand.Reader, params)
	if err != nil {
		return nil, err
	}
	reply, err := s.found(group, waiting.from, r.ExternalTree)
	if err == nil {
		delete(s.closed, r.ReinitId)
	}
	return reply, err
}

func (s *server) HandleReInitWelcome(_ context.Context, r *harness.HandleReInitWelcomeRequest) (*harness.JoinGroupResponse, error) {
	waiting, err := find(s.closed, "re-initialization", r.ReinitId)
	if err != nil {
		return nil, err
	}
	group, err := waiting.join(r.Welcome, r.RatchetTree, waiting.from.group)
	if err != nil {
		return nil, err
	}
	delete(s.closed, r.ReinitId)
	id := s.enter(group, waiting.from.framing, waiting.psks)
	return &harness.JoinGroupResponse{StateId: id, EpochAuthenticator: group.EpochAuthenticator()}, nil
}

func (s *server) CreateBranch(_ context.Context, r *harness.CreateBranchRequest) (*harness.CreateSubgroupResponse, error) {
	m, err := s.member(r.StateId)
	if err != nil {
		return nil, err
	}
	list, err := extensions(r.Extensions)
	if err != nil {
		return nil, err
	}
	leaf, err := newLeaf(m.group.Suite(), m.identity())
	if err != nil {
		return nil, err
	}
	params, err := successorOf(leaf, r.KeyPackages)
	if err != nil {
		return nil, err
	}
	params.ForcePath, params.TreeOutside = r.ForcePath, r.ExternalTree
	group, err := m.group.Branch(rand.Reader, r.GroupId, list, params)
	if err != nil {
		return nil, err
	}
	return s.found(group, m, r.ExternalTree)
}

func (s *server) HandleBranch(_ context.Context, r *harness.HandleBranchRequest) (*harness.HandleBranchResponse, error) {
	m, err := s.member(r.StateId)
	if err != nil {
		return nil, err
	}
	j, err := find(s.joiners, "transaction", r.TransactionId)
	if err != nil {
		return nil, err
	}
	group, err := j.join(r.Welcome, r.RatchetTree, m.group)
	if err != nil {
		return nil, err
	}
	delete(s.joiners, r.TransactionId)
	id := s.enter(group, m.framing, j.psks)
	return &harness.HandleBranchResponse{StateId: id, EpochAuthenticator: group.EpochAuthenticator()}, nil
}

func successorOf(leaf mls.KeyPackageParams, others [][]byte) (mls.SuccessorParams, error) {
	members, err := keyPackages(others)
	return mls.SuccessorParams{
		Signer: leaf.Signer, Credential: leaf.Credential, Capabilities: leaf.Capabilities, Lifetime: leaf.Lifetime,
		Members: members, Now: time.Now(),
	}, err
}

// found keeps a group that a member has made from another one, and gives the way into it.
func (s *server) found(group *mls.Group, from *member, treeOutside bool) (*harness.CreateSubgroupResponse, error) {
	welcome := group.Pending().Welcome()
	if err := group.ConfirmPending(); err != nil {
		return nil, err
	}
	reply := &harness.CreateSubgroupResponse{Welcome: welcome, EpochAuthenticator: group.EpochAuthenticator()}
	if treeOutside {
		reply.RatchetTree = group.RatchetTree()
	}
	reply.StateId = s.enter(group, from.framing, from.psks)
	return reply, nil
}
