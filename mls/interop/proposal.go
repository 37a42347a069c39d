package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"

	"github.com/waxwing-dm/waxwing/mls"
	"github.com/waxwing-dm/waxwing/mls/interop/harness"
)

// What the runner calls a proposal. Only add, remove and so on by value, and by an external signer, come in this form; the others are put
// into it.
const (
	typeAdd           = "add"
	typeRemove        = "remove"
	typeExternalPSK   = "externalPSK"
	typeResumptionPSK = "resumptionPSK"
	typeExtensions    = "groupContextExtensions"
	typeReInit        = "reinit"
)

// A view is what one has to know of a group to propose something, from inside or outside.
type view struct {
	suite   mls.CipherSuite
	groupID []byte
	members []mls.Member
}

func (m *member) view() view { return view{m.group.Suite(), m.group.GroupID(), m.group.Members()} }

func (v view) proposal(d *harness.ProposalDescription) (mls.Proposal, error) {
	switch kind := string(d.GetProposalType()); kind {
	case typeAdd:
		kp, err := keyPackages([][]byte{d.KeyPackage})
		if err != nil {
			return mls.Proposal{}, err
		}
		return mls.AddProposal(kp[0]), nil
	case typeRemove:
		leaf, err := v.leafOf(d.RemovedId)
		return mls.RemoveProposal(leaf), err
	case typeExternalPSK:
		return mls.PSKProposal(rand.Reader, v.suite, mls.PSK{ID: bytes.Clone(d.PskId)})
	case typeResumptionPSK:
		return mls.PSKProposal(rand.Reader, v.suite, mls.PSK{Usage: mls.ResumptionApplication, GroupID: v.groupID, Epoch: d.EpochId})
	case typeExtensions:
		list, err := extensions(d.Extensions)
		return mls.GroupContextExtensionsProposal(list), err
	case typeReInit:
		list, err := extensions(d.Extensions)
		return mls.ReInitProposal(d.GroupId, suite(d.CipherSuite), list), err
	default:
		return mls.Proposal{}, fmt.Errorf("proposal type %q is not one of the runner's", kind)
	}
}

func (v view) leafOf(identity []byte) (uint32, error) {
	for _, m := range v.members {
		if bytes.Equal(m.Node.Credential.Identity, identity) {
			return m.Leaf, nil
		}
	}
	return 0, fmt.Errorf("%q is not a member", identity)
}

// propose for a member.
func (s *server) propose(state uint32, d *harness.ProposalDescription) (*harness.ProposalResponse, error) {
	m, err := s.member(state)
	if err != nil {
		return nil, err
	}
	p, err := m.view().proposal(d)
	if err != nil {
		return nil, err
	}
	return m.propose(p)
}

func (m *member) propose(p mls.Proposal) (*harness.ProposalResponse, error) {
	message, err := m.group.Propose(rand.Reader, p, m.framing, nil)
	if err != nil {
		return nil, err
	}
	m.heard[string(message)] = true
	return &harness.ProposalResponse{Proposal: message}, nil
}

func (s *server) AddProposal(_ context.Context, r *harness.AddProposalRequest) (*harness.ProposalResponse, error) {
	return s.propose(r.StateId, &harness.ProposalDescription{ProposalType: []byte(typeAdd), KeyPackage: r.KeyPackage})
}

func (s *server) UpdateProposal(_ context.Context, r *harness.UpdateProposalRequest) (*harness.ProposalResponse, error) {
	m, err := s.member(r.StateId)
	if err != nil {
		return nil, err
	}
	message, err := m.group.ProposeUpdate(rand.Reader, m.framing, nil)
	if err != nil {
		return nil, err
	}
	m.heard[string(message)] = true
	return &harness.ProposalResponse{Proposal: message}, nil
}

func (s *server) RemoveProposal(_ context.Context, r *harness.RemoveProposalRequest) (*harness.ProposalResponse, error) {
	return s.propose(r.StateId, &harness.ProposalDescription{ProposalType: []byte(typeRemove), RemovedId: r.RemovedId})
}

func (s *server) ExternalPSKProposal(_ context.Context, r *harness.ExternalPSKProposalRequest) (*harness.ProposalResponse, error) {
	return s.propose(r.StateId, &harness.ProposalDescription{ProposalType: []byte(typeExternalPSK), PskId: r.PskId})
}

func (s *server) ResumptionPSKProposal(_ context.Context, r *harness.ResumptionPSKProposalRequest) (*harness.ProposalResponse, error) {
	return s.propose(r.StateId, &harness.ProposalDescription{ProposalType: []byte(typeResumptionPSK), EpochId: r.EpochId})
}

func (s *server) GroupContextExtensionsProposal(_ context.Context, r *harness.GroupContextExtensionsProposalRequest) (*harness.ProposalResponse, error) {
	return s.propose(r.StateId, &harness.ProposalDescription{ProposalType: []byte(typeExtensions), Extensions: r.Extensions})
}

func (s *server) ReInitProposal(_ context.Context, r *harness.ReInitProposalRequest) (*harness.ProposalResponse, error) {
	return s.propose(r.StateId, &harness.ProposalDescription{
		ProposalType: []byte(typeReInit), CipherSuite: r.CipherSuite, GroupId: r.GroupId, Extensions: r.Extensions,
	})
}
