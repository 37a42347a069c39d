package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/waxwing-dm/waxwing/mls"
	"github.com/waxwing-dm/waxwing/mls/interop/harness"
)

// What comes from outside a group.

func (s *server) ExternalJoin(_ context.Context, r *harness.ExternalJoinRequest) (*harness.ExternalJoinResponse, error) {
	info, err := mls.ParseMessage(r.GroupInfo)
	if err != nil {
		return nil, err
	}
	leaf, err := newLeaf(info.Suite(), r.Identity)
	if err != nil {
		return nil, err
	}
	known := psks{}
	params := mls.ExternalJoinParams{
		Signer: leaf.Signer, Credential: leaf.Credential, Capabilities: leaf.Capabilities, RatchetTree: r.RatchetTree, PSKs: known.find,
	}
	for _, k := range r.Psks {
		known[string(k.PskId)] = k.PskSecret
		p, err := mls.PSKProposal(rand.Reader, leaf.Suite, mls.PSK{ID: bytes.Clone(k.PskId)})
		if err != nil {
			return nil, err
		}
		params.Proposals = append(params.Proposals, p)
	}
	if r.RemovePrior {
		if params.Replace, err = priorLeaf(info, r); err != nil {
			return nil, err
		}
	}
	join, err := mls.JoinExternal(rand.Reader, info, params)
	if err != nil {
		return nil, err
	}
	id := s.enter(join.Group(), framing(r.EncryptHandshake), known)
	return &harness.ExternalJoinResponse{StateId: id, Commit: join.Message(), EpochAuthenticator: join.Group().EpochAuthenticator()}, nil
}

func priorLeaf(info *mls.Message, r *harness.ExternalJoinRequest) (*uint32, error) {
	seen, err := mls.Observe(info, r.RatchetTree)
	if err != nil {
		return nil, err
	}
	leaf, err := view{members: seen.Members()}.leafOf(r.Identity)
	return &leaf, err
}

func (s *server) NewMemberAddProposal(_ context.Context, r *harness.NewMemberAddProposalRequest) (*harness.NewMemberAddProposalResponse, error) {
	info, err := mls.ParseMessage(r.GroupInfo)
	if err != nil {
		return nil, err
	}
	j, err := newJoiner(info.Suite(), r.Identity)
	if err != nil {
		return nil, err
	}
	proposal, err := mls.ProposeSelf(j.secret.KeyPackage(), j.leaf.Signer, info.GroupID(), info.Epoch())
	if err != nil {
		return nil, err
	}
	id := s.number()
	s.joiners[id] = j
	return &harness.NewMemberAddProposalResponse{TransactionId: id, Proposal: proposal, SignaturePriv: j.leaf.Signer.Private()}, nil
}

// An externalSigner may be one of several in a group.
type externalSigner struct {
	suite mls.CipherSuite
	key   *mls.SignatureKey
}

func (s *server) CreateExternalSigner(_ context.Context, r *harness.CreateExternalSignerRequest) (*harness.CreateExternalSignerResponse, error) {
	leaf, err := newLeaf(suite(r.CipherSuite), r.Identity)
	if err != nil {
		return nil, err
	}
	id := s.number()
	s.signers[id] = &externalSigner{leaf.Suite, leaf.Signer}
	sender := mls.ExternalSender{SignatureKey: leaf.Signer.Public(), Credential: leaf.Credential}
	return &harness.CreateExternalSignerResponse{SignerId: id, ExternalSender: onlyItem(mls.ExternalSendersExtension(sender).Data)}, nil
}

func (s *server) AddExternalSigner(_ context.Context, r *harness.AddExternalSignerRequest) (*harness.ProposalResponse, error) {
	m, err := s.member(r.StateId)
	if err != nil {
		return nil, err
	}
	list := m.group.Extensions()
	senders, err := sendersOf(list)
	if err != nil {
		return nil, err
	}
	added, err := mls.Extension{Type: mls.ExtensionExternalSenders, Data: vectorOf(r.ExternalSender)}.ExternalSenders()
	if err != nil || len(added) != 1 {
		return nil, errors.Join(fmt.Errorf("external sender of %d bytes is not one", len(r.ExternalSender)), err)
	}
	list = slices.DeleteFunc(list, func(e mls.Extension) bool { return e.Type == mls.ExtensionExternalSenders })
	return m.propose(mls.GroupContextExtensionsProposal(append(list, mls.ExternalSendersExtension(append(senders, added...)...))))
}

// ExternalSignerProposal looks for the signer's place itself: the runner leaves signer_index at 0.
func (s *server) ExternalSignerProposal(_ context.Context, r *harness.ExternalSignerProposalRequest) (*harness.ProposalResponse, error) {
	signer, err := find(s.signers, "signer", r.SignerId)
	if err != nil {
		return nil, err
	}
	info, err := mls.ParseMessage(r.GroupInfo)
	if err != nil {
		return nil, err
	}
	seen, err := mls.Observe(info, r.RatchetTree)
	if err != nil {
		return nil, err
	}
	senders, err := sendersOf(seen.Extensions())
	if err != nil {
		return nil, err
	}
	place := slices.IndexFunc(senders, func(e mls.ExternalSender) bool { return bytes.Equal(e.SignatureKey, signer.key.Public()) })
	if place < 0 {
		return nil, fmt.Errorf("the group does not let signer %d propose", r.SignerId)
	}
	p, err := view{info.Suite(), seen.GroupID(), seen.Members()}.proposal(r.Description)
	if err != nil {
		return nil, err
	}
	message, err := mls.ProposeExternally(signer.suite, signer.key, uint32(place), seen.GroupID(), seen.Epoch(), p)
	if err != nil {
		return nil, err
	}
	return &harness.ProposalResponse{Proposal: message}, nil
}

// The runner hands external senders around without the vector that they stand in. Its length has one, two or four bytes, which the first
// two bits tell (section 2.1.2).

func onlyItem(vector []byte) []byte { return vector[1<<(vector[0]>>6):] }

func vectorOf(item []byte) []byte {
	var length []byte
	switch n := len(item); {
	case n < 1<<6:
		length = []byte{byte(n)}
	case n < 1<<14:
		length = binary.BigEndian.AppendUint16(nil, uint16(n)|1<<14)
	default:
		length = binary.BigEndian.AppendUint32(nil, uint32(n)|1<<31)
	}
	return append(length, item...)
}

func sendersOf(list []mls.Extension) ([]mls.ExternalSender, error) {
	i := slices.IndexFunc(list, func(e mls.Extension) bool { return e.Type == mls.ExtensionExternalSenders })
	if i < 0 {
		return nil, nil
	}
	return list[i].ExternalSenders()
}
