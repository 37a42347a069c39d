package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"time"

	"github.com/waxwing-dm/waxwing/mls"
	"github.com/waxwing-dm/waxwing/mls/interop/harness"
)

// Entering a group, and what a member does in an epoch.

func (s *server) Name(context.Context, *harness.NameRequest) (*harness.NameResponse, error) {
	return &harness.NameResponse{Name: "Waxwing"}, nil
}

func (s *server) SupportedCiphersuites(context.Context, *harness.SupportedCiphersuitesRequest) (*harness.SupportedCiphersuitesResponse, error) {
	reply := new(harness.SupportedCiphersuitesResponse)
	for _, cs := range suites {
		reply.Ciphersuites = append(reply.Ciphersuites, uint32(cs))
	}
	return reply, nil
}

func (s *server) CreateGroup(_ context.Context, r *harness.CreateGroupRequest) (*harness.CreateGroupResponse, error) {
	leaf, err := newLeaf(suite(r.CipherSuite), r.Identity)
	if err != nil {
		return nil, err
	}
	group, err := mls.NewGroup(rand.Reader, mls.GroupParams{
		Suite: leaf.Suite, GroupID: r.GroupId, Signer: leaf.Signer, Credential: leaf.Credential,
		Capabilities: leaf.Capabilities, Lifetime: leaf.Lifetime,
	})
	if err != nil {
		return nil, err
	}
	return &harness.CreateGroupResponse{StateId: s.enter(group, framing(r.EncryptHandshake), psks{})}, nil
}

func (s *server) CreateKeyPackage(_ context.Context, r *harness.CreateKeyPackageRequest) (*harness.CreateKeyPackageResponse, error) {
	j, err := newJoiner(suite(r.CipherSuite), r.Identity)
	if err != nil {
		return nil, err
	}
	id := s.number()
	s.joiners[id] = j
	return &harness.CreateKeyPackageResponse{TransactionId: id, KeyPackage: j.message, SignaturePriv: j.leaf.Signer.Private()}, nil
}

func (s *server) JoinGroup(_ context.Context, r *harness.JoinGroupRequest) (*harness.JoinGroupResponse, error) {
	j, err := find(s.joiners, "transaction", r.TransactionId)
	if err != nil {
		return nil, err
	}
	group, err := j.join(r.Welcome, r.RatchetTree, nil)
	if err != nil {
		return nil, err
	}
	delete(s.joiners, r.TransactionId)
	id := s.enter(group, framing(r.EncryptHandshake), j.psks)
	return &harness.JoinGroupResponse{StateId: id, EpochAuthenticator: group.EpochAuthenticator()}, nil
}

func (s *server) GroupInfo(_ context.Context, r *harness.GroupInfoRequest) (*harness.GroupInfoResponse, error) {
	m, err := s.member(r.StateId)
	if err != nil {
		return nil, err
	}
	info, err := m.group.GroupInfo(!r.ExternalTree)
	if err != nil {
		return nil, err
	}
	reply := &harness.GroupInfoResponse{GroupInfo: info}
	if r.ExternalTree {
		reply.RatchetTree = m.group.RatchetTree()
	}
	return reply, nil
}

func (s *server) StateAuth(_ context.Context, r *harness.StateAuthRequest) (*harness.StateAuthResponse, error) {
	m, err := s.member(r.StateId)
	if err != nil {
		return nil, err
	}
	return &harness.StateAuthResponse{StateAuthSecret: m.group.EpochAuthenticator()}, nil
}

func (s *server) Export(_ context.Context, r *harness.ExportRequest) (*harness.ExportResponse, error) {
	m, err := s.member(r.StateId)
	if err != nil {
		return nil, err
	}
	secret, err := m.group.Export(r.Label, r.Context, int(r.KeyLength))
	if err != nil {
		return nil, err
	}
	return &harness.ExportResponse{ExportedSecret: secret}, nil
}

func (s *server) Protect(_ context.Context, r *harness.ProtectRequest) (*harness.ProtectResponse, error) {
	m, err := s.member(r.StateId)
	if err != nil {
		return nil, err
	}
	message, err := m.group.Encrypt(rand.Reader, r.Plaintext, r.AuthenticatedData, nil)
	if err != nil {
		return nil, err
	}
	return &harness.ProtectResponse{Ciphertext: message}, nil
}

func (s *server) Unprotect(_ context.Context, r *harness.UnprotectRequest) (*harness.UnprotectResponse, error) {
	m, err := s.member(r.StateId)
	if err != nil {
		return nil, err
	}
	processed, err := m.process(r.Ciphertext, mls.ContentApplication)
	if err != nil {
		return nil, err
	}
	message := processed.(*mls.ApplicationMessage)
	return &harness.UnprotectResponse{AuthenticatedData: message.AuthenticatedData, Plaintext: message.Data}, nil
}

// process a message of one type. Another one leaves no trace.
func (m *member) process(raw []byte, expected mls.ContentType) (mls.Processed, error) {
	message, err := mls.ParseMessage(raw)
	if err != nil {
		return nil, err
	}
	if is := message.ContentType(); is != expected {
		return nil, fmt.Errorf("content of type %d where %d is expected", is, expected)
	}
	return m.group.Process(message, time.Now())
}

func (s *server) StorePSK(_ context.Context, r *harness.StorePSKRequest) (*harness.StorePSKResponse, error) {
	if m, ok := s.members[r.StateOrTransactionId]; ok {
		m.psks[string(r.PskId)] = r.PskSecret
	} else if j, ok := s.joiners[r.StateOrTransactionId]; ok {
		j.psks[string(r.PskId)] = r.PskSecret
	} else {
		return nil, fmt.Errorf("state or transaction %d: %w", r.StateOrTransactionId, errUnknown)
	}
	return new(harness.StorePSKResponse), nil
}

func (s *server) Free(_ context.Context, r *harness.FreeRequest) (*harness.FreeResponse, error) {
	if _, err := s.member(r.StateId); err != nil {
		return nil, err
	}
	delete(s.members, r.StateId)
	return new(harness.FreeResponse), nil
}
