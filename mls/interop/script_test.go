package main

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"

	"github.com/waxwing-dm/waxwing/mls/interop/harness"
)

// A script plays one scenario: it carries the messages between the members, and looks whether they come to the same state.
type script struct {
	t        *testing.T
	suite    uint32
	suites   []uint32
	encrypt  bool
	casting  func(i int) peer // who plays the i-th actor
	actors   map[string]*actor
	members  []string // in the order in which they came
	groupID  []byte
	entries  int // how often somebody has come in
	branches int
}

type actor struct {
	peer
	name                       string
	state, transaction, signer uint32
	entered                    int // which of the entries was the last one of this name
}

// call is one step; it must succeed.
func call[Q, R any](s *script, f func(context.Context, *Q, ...grpc.CallOption) (*R, error), q *Q) *R {
	s.t.Helper()
	r, err := f(s.t.Context(), q)
	require.NoError(s.t, err)
	return r
}

func (s *script) actor(name string) *actor {
	a, ok := s.actors[name]
	if !ok {
		a = &actor{peer: s.casting(len(s.actors)), name: name}
		s.actors[name] = a
	}
	return a
}

// others are the members but some.
func (s *script) others(but ...string) []*actor {
	out := map[string]bool{}
	for _, name := range but {
		out[name] = true
	}
	var all []*actor
	for _, name := range s.members {
		if !out[name] {
			all = append(all, s.actor(name))
		}
	}
	return all
}

func (s *script) join(a *actor, state uint32) {
	s.entries++
	a.state, a.entered = state, s.entries
	s.members = append(s.members, a.name)
}

func (s *script) leave(names ...string) {
	staying := s.others(names...)
	s.members = nil
	for _, a := range staying {
		s.members = append(s.members, a.name)
	}
}

// create makes a group; the others are added in one commit.
func (s *script) create(creator string, others ...string) {
	s.t.Helper()
	s.groupID = fmt.Appendf(nil, "group of %s", s.t.Name())
	a := s.actor(creator)
	r := call(s, a.CreateGroup, &harness.CreateGroupRequest{
		GroupId: s.groupID, CipherSuite: s.suite, EncryptHandshake: s.encrypt, Identity: []byte(creator),
	})
	s.join(a, r.StateId)
	if len(others) > 0 {
		s.commit(creator, change{values: s.adding(others...), joins: others})
	}
}

func (s *script) keyPackage(name string) []byte {
	s.t.Helper()
	a := s.actor(name)
	r := call(s, a.CreateKeyPackage, &harness.CreateKeyPackageRequest{CipherSuite: s.suite, Identity: []byte(name)})
	a.transaction = r.TransactionId
	return r.KeyPackage
}

// share a pre-shared key among some who are in the group, or about to join it.
func (s *script) share(id string, names ...string) {
	s.t.Helper()
	for _, name := range names {
		a := s.actor(name)
		at := a.state
		if at == 0 {
			at = a.transaction
		}
		call(s, a.StorePSK, &harness.StorePSKRequest{StateOrTransactionId: at, PskId: []byte(id), PskSecret: []byte("secret of " + id)})
	}
}

// A change is what a commit is to do.
type change struct {
	refs          [][]byte
	values        []*harness.ProposalDescription
	joins, leaves []string
	path, outside bool // force a path; hand the tree over beside the Welcome
}

func (s *script) commit(by string, c change) {
	s.t.Helper()
	committer := s.actor(by)
	r := call(s, committer.Commit, &harness.CommitRequest{
		StateId: committer.state, ByReference: c.refs, ByValue: c.values, ForcePath: c.path, ExternalTree: c.outside,
	})
	require.Equal(s.t, c.outside, len(r.RatchetTree) > 0)
	confirmed := call(s, committer.HandlePendingCommit, &harness.HandlePendingCommitRequest{StateId: committer.state})
	committer.state = confirmed.StateId
	s.leave(c.leaves...)
	s.follow(r.Commit, c.refs, confirmed.EpochAuthenticator, by)
	for _, name := range c.joins {
		a := s.actor(name)
		joined := call(s, a.JoinGroup, &harness.JoinGroupRequest{
			TransactionId: a.transaction, Welcome: r.Welcome, EncryptHandshake: s.encrypt, Identity: []byte(name), RatchetTree: r.RatchetTree,
		})
		require.Equal(s.t, confirmed.EpochAuthenticator, joined.EpochAuthenticator, "%s joins in another state", name)
		s.join(a, joined.StateId)
	}
}

// follow lets everybody but the committer handle a commit.
func (s *script) follow(commit []byte, refs [][]byte, authenticator []byte, but ...string) {
	s.t.Helper()
	for _, a := range s.others(but...) {
		r := call(s, a.HandleCommit, &harness.HandleCommitRequest{StateId: a.state, Proposal: refs, Commit: commit})
		require.Equal(s.t, authenticator, r.EpochAuthenticator, "%s has come to another state", a.name)
		a.state = r.StateId
	}
}

// An entry is how somebody joins from outside.
type entry struct {
	resync, outside bool
	psks            []string
}

func (s *script) enter(by, joiner string, e entry) {
	s.t.Helper()
	adder, a := s.actor(by), s.actor(joiner)
	info := call(s, adder.GroupInfo, &harness.GroupInfoRequest{StateId: adder.state, ExternalTree: e.outside})
	require.Equal(s.t, e.outside, len(info.RatchetTree) > 0)
	q := &harness.ExternalJoinRequest{
		GroupInfo: info.GroupInfo, RatchetTree: info.RatchetTree, EncryptHandshake: s.encrypt, Identity: []byte(joiner), RemovePrior: e.resync,
	}
	for _, id := range e.psks {
		q.Psks = append(q.Psks, &harness.PreSharedKey{PskId: []byte(id), PskSecret: []byte("secret of " + id)})
	}
	r := call(s, a.ExternalJoin, q)
	s.leave(joiner)
	s.follow(r.Commit, nil, r.EpochAuthenticator)
	s.join(a, r.StateId)
}

// agree looks at the state of all members, and lets everyone send to everyone.
func (s *script) agree() {
	s.t.Helper()
	var authenticator, exported []byte
	for _, a := range s.others() {
		auth := call(s, a.StateAuth, &harness.StateAuthRequest{StateId: a.state}).StateAuthSecret
		secret := call(s, a.Export, &harness.ExportRequest{StateId: a.state, Label: "scenario", Context: []byte("end"), KeyLength: 48}).ExportedSecret
		if authenticator == nil {
			authenticator, exported = auth, secret
		}
		require.Equal(s.t, authenticator, auth)
		require.Equal(s.t, exported, secret)
		require.Len(s.t, secret, 48)
	}
	for _, a := range s.others() {
		s.read(s.send(a.name, "from "+a.name))
	}
}

// A letter is an application message on its way.
type letter struct {
	from, text string
	message    []byte
	sent       int // after how many entries
}

func (s *script) send(from, text string) letter {
	s.t.Helper()
	a := s.actor(from)
	r := call(s, a.Protect, &harness.ProtectRequest{StateId: a.state, AuthenticatedData: []byte("beside " + text), Plaintext: []byte(text)})
	return letter{from, text, r.Ciphertext, s.entries}
}

// read a letter with all members to whom it was sent.
func (s *script) read(l letter) {
	s.t.Helper()
	for _, a := range s.others(l.from) {
		if a.entered > l.sent {
			continue
		}
		r := call(s, a.Unprotect, &harness.UnprotectRequest{StateId: a.state, Ciphertext: l.message})
		require.Equal(s.t, l.text, string(r.Plaintext))
		require.Equal(s.t, "beside "+l.text, string(r.AuthenticatedData))
	}
}

// free tells the peers that the scenario is over.
func (s *script) free() {
	for _, a := range s.actors {
		if a.state != 0 {
			call(s, a.Free, &harness.FreeRequest{StateId: a.state})
		}
	}
}

// Proposals by value.

func (s *script) adding(names ...string) []*harness.ProposalDescription {
	s.t.Helper()
	var list []*harness.ProposalDescription
	for _, name := range names {
		list = append(list, &harness.ProposalDescription{ProposalType: []byte(typeAdd), KeyPackage: s.keyPackage(name)})
	}
	return list
}

func removing(names ...string) (list []*harness.ProposalDescription) {
	for _, name := range names {
		list = append(list, &harness.ProposalDescription{ProposalType: []byte(typeRemove), RemovedId: []byte(name)})
	}
	return list
}

func bringing(psk string) *harness.ProposalDescription {
	return &harness.ProposalDescription{ProposalType: []byte(typeExternalPSK), PskId: []byte(psk)}
}

func resuming(epoch uint64) *harness.ProposalDescription {
	return &harness.ProposalDescription{ProposalType: []byte(typeResumptionPSK), EpochId: epoch}
}

func extending(list ...*harness.Extension) *harness.ProposalDescription {
	return &harness.ProposalDescription{ProposalType: []byte(typeExtensions), Extensions: list}
}

// propose sends what could also be committed by value.
func (s *script) propose(by string, d *harness.ProposalDescription) []byte {
	s.t.Helper()
	a := s.actor(by)
	switch string(d.ProposalType) {
	case typeAdd:
		return call(s, a.AddProposal, &harness.AddProposalRequest{StateId: a.state, KeyPackage: d.KeyPackage}).Proposal
	case typeRemove:
		return call(s, a.RemoveProposal, &harness.RemoveProposalRequest{StateId: a.state, RemovedId: d.RemovedId}).Proposal
	case typeExternalPSK:
		return call(s, a.ExternalPSKProposal, &harness.ExternalPSKProposalRequest{StateId: a.state, PskId: d.PskId}).Proposal
	case typeResumptionPSK:
		return call(s, a.ResumptionPSKProposal, &harness.ResumptionPSKProposalRequest{StateId: a.state, EpochId: d.EpochId}).Proposal
	case typeExtensions:
		return call(s, a.GroupContextExtensionsProposal, &harness.GroupContextExtensionsProposalRequest{StateId: a.state, Extensions: d.Extensions}).Proposal
	}
	s.t.Fatalf("proposal type %q", d.ProposalType)
	return nil
}

func (s *script) update(by string) []byte {
	s.t.Helper()
	a := s.actor(by)
	return call(s, a.UpdateProposal, &harness.UpdateProposalRequest{StateId: a.state}).Proposal
}
