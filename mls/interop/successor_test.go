package main

import (
	"fmt"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/mls/interop/harness"
)

// A restart is how a group is closed and made anew.
type restart struct {
	proposer, committer, founder string
	proposal                     []byte // of an external signer, in place of the proposer's
	suite                        uint32 // of the new group; 0 is the same
	otherID, path, outside       bool
	extensions                   []*harness.Extension
}

func (s *script) restart(r restart) {
	s.t.Helper()
	if r.suite == 0 {
		r.suite = s.suite
	}
	if r.otherID {
		s.groupID = append(s.groupID, "+"...)
	}
	if r.proposal == nil {
		a := s.actor(r.proposer)
		r.proposal = call(s, a.ReInitProposal, &harness.ReInitProposalRequest{
			StateId: a.state, CipherSuite: r.suite, GroupId: s.groupID, Extensions: r.extensions,
		}).Proposal
	}
	waiting := s.closeGroup(r)
	s.suite = r.suite
	founder := s.actor(r.founder)
	q := &harness.ReInitWelcomeRequest{ReinitId: waiting[r.founder].ReinitId, ForcePath: r.path, ExternalTree: r.outside}
	for _, a := range s.others(r.founder) {
		q.KeyPackage = append(q.KeyPackage, waiting[a.name].KeyPackage)
	}
	founded := call(s, founder.ReInitWelcome, q)
	founder.state = founded.StateId
	require.Equal(s.t, r.outside, len(founded.RatchetTree) > 0)
	for _, a := range s.others(r.founder) {
		joined := call(s, a.HandleReInitWelcome, &harness.HandleReInitWelcomeRequest{
			ReinitId: waiting[a.name].ReinitId, Welcome: founded.Welcome, RatchetTree: founded.RatchetTree,
		})
		require.Equal(s.t, founded.EpochAuthenticator, joined.EpochAuthenticator, "%s joins in another state", a.name)
		a.state = joined.StateId
	}
}

// closeGroup commits the proposal; everybody has a key package for the new group then.
func (s *script) closeGroup(r restart) map[string]*harness.HandleReInitCommitResponse {
	s.t.Helper()
	committer := s.actor(r.committer)
	refs := [][]byte{r.proposal}
	c := call(s, committer.ReInitCommit, &harness.CommitRequest{StateId: committer.state, ByReference: refs})
	own := call(s, committer.HandlePendingReInitCommit, &harness.HandlePendingCommitRequest{StateId: committer.state})
	waiting := map[string]*harness.HandleReInitCommitResponse{r.committer: own}
	for _, a := range s.others(r.committer) {
		q := &harness.HandleCommitRequest{StateId: a.state, Proposal: refs, Commit: c.Commit}
		waiting[a.name] = call(s, a.HandleReInitCommit, q)
		require.Equal(s.t, own.EpochAuthenticator, waiting[a.name].EpochAuthenticator, "%s has come to another state", a.name)
	}
	return waiting
}

// branch leaves the script in the new group.
func (s *script) branch(by string, names []string, path, outside bool, list ...*harness.Extension) {
	s.t.Helper()
	founder := s.actor(by)
	s.branches++
	q := &harness.CreateBranchRequest{
		StateId: founder.state, GroupId: fmt.Appendf(nil, "%s, branch %d", s.groupID, s.branches), Extensions: list,
		ForcePath: path, ExternalTree: outside,
	}
	for _, name := range names {
		q.KeyPackages = append(q.KeyPackages, s.keyPackage(name))
	}
	r := call(s, founder.CreateBranch, q)
	require.Equal(s.t, outside, len(r.RatchetTree) > 0)
	founder.state = r.StateId
	for _, name := range names {
		a := s.actor(name)
		joined := call(s, a.HandleBranch, &harness.HandleBranchRequest{
			StateId: a.state, TransactionId: a.transaction, Welcome: r.Welcome, RatchetTree: r.RatchetTree,
		})
		require.Equal(s.t, r.EpochAuthenticator, joined.EpochAuthenticator, "%s joins in another state", name)
		a.state = joined.StateId
	}
	s.members = append([]string{by}, names...)
}

// signer makes an external signer, and a commit that lets it propose.
func (s *script) signer(name, by string) {
	s.t.Helper()
	a, m := s.actor(name), s.actor(by)
	made := call(s, a.CreateExternalSigner, &harness.CreateExternalSignerRequest{CipherSuite: s.suite, Identity: []byte(name)})
	a.signer = made.SignerId
	p := call(s, m.AddExternalSigner, &harness.AddExternalSignerRequest{StateId: m.state, ExternalSender: made.ExternalSender})
	s.commit(by, change{refs: [][]byte{p.Proposal}})
}

// suggest is a proposal of an external signer.
func (s *script) suggest(signer string, d *harness.ProposalDescription) []byte {
	s.t.Helper()
	a, m := s.actor(signer), s.actor(s.members[0])
	info := call(s, m.GroupInfo, &harness.GroupInfoRequest{StateId: m.state, ExternalTree: true})
	return call(s, a.ExternalSignerProposal, &harness.ExternalSignerProposalRequest{
		SignerId: a.signer, GroupInfo: info.GroupInfo, RatchetTree: info.RatchetTree, Description: d,
	}).Proposal
}

// apply is a newcomer's proposal to be added.
func (s *script) apply(name, to string) []byte {
	s.t.Helper()
	a, m := s.actor(name), s.actor(to)
	info := call(s, m.GroupInfo, &harness.GroupInfoRequest{StateId: m.state})
	r := call(s, a.NewMemberAddProposal, &harness.NewMemberAddProposalRequest{GroupInfo: info.GroupInfo, Identity: []byte(name)})
	a.transaction = r.TransactionId
	return r.Proposal
}
