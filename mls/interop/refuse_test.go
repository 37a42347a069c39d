package main

import (
	"context"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/waxwing-dm/waxwing/mls"
	"github.com/waxwing-dm/waxwing/mls/interop/harness"
)

// What goes wrong at our own end; another implementation may say it in other words.

func ours(t *testing.T) *script {
	t.Helper()
	p := connect(t)[0]
	return &script{t: t, suite: 1, suites: p.suites, encrypt: true, casting: func(int) peer { return p }, actors: map[string]*actor{}}
}

// refused is a step that must fail, in some words.
func refused[Q, R any](s *script, c codes.Code, why string, f func(context.Context, *Q, ...grpc.CallOption) (*R, error), q *Q) {
	s.t.Helper()
	_, err := f(s.t.Context(), q)
	require.Equal(s.t, c, status.Code(err), "%v", err)
	require.ErrorContains(s.t, err, why)
}

func TestName(t *testing.T) {
	p := connect(t)[0]
	require.Equal(t, "Waxwing", p.name)
	require.Equal(t, []uint32{1, 2, 3, 4, 5, 6, 7}, p.suites)
}

func TestUnknownNumbers(t *testing.T) {
	s := ours(t)
	s.create("alice")
	a := s.actor("alice")
	const none = 1 << 30
	refused(s, codes.NotFound, "state", a.StateAuth, &harness.StateAuthRequest{StateId: none})
	refused(s, codes.NotFound, "transaction", a.JoinGroup, &harness.JoinGroupRequest{TransactionId: none})
	refused(s, codes.NotFound, "re-init", a.ReInitWelcome, &harness.ReInitWelcomeRequest{ReinitId: none})
	refused(s, codes.NotFound, "signer", a.ExternalSignerProposal, &harness.ExternalSignerProposalRequest{SignerId: none})
	refused(s, codes.NotFound, "state or transaction", a.StorePSK, &harness.StorePSKRequest{})
	refused(s, codes.Unimplemented, "suite", a.CreateGroup, &harness.CreateGroupRequest{CipherSuite: 99})
	refused(s, codes.Unimplemented, "suite", a.CreateKeyPackage, &harness.CreateKeyPackageRequest{CipherSuite: 1<<16 + 1})
	call(s, a.Free, &harness.FreeRequest{StateId: a.state})
	refused(s, codes.NotFound, "state", a.Free, &harness.FreeRequest{StateId: a.state})
}

// TestWhatIsRefusedChangesNothing plays on after each mistake.
func TestWhatIsRefusedChangesNothing(t *testing.T) {
	s := ours(t)
	s.create("alice", "bob")
	b := s.actor("bob")
	l := s.send("alice", "once")
	s.read(l)
	add := s.adding("carol")[0]
	proposal := s.propose("alice", add)

	unprotect := func(raw []byte) *harness.UnprotectRequest {
		return &harness.UnprotectRequest{StateId: b.state, Ciphertext: raw}
	}
	refused(s, codes.FailedPrecondition, "its key has been used", b.Unprotect, unprotect(l.message))
	refused(s, codes.FailedPrecondition, "reading", b.Unprotect, unprotect([]byte("garbage")))
	refused(s, codes.FailedPrecondition, "content of type 2", b.Unprotect, unprotect(proposal))
	refused(s, codes.FailedPrecondition, "cannot be decrypted", b.Unprotect, unprotect(flipped(s.send("alice", "forged").message)))

	commit := func(refs ...[]byte) *harness.CommitRequest {
		return &harness.CommitRequest{StateId: b.state, ByReference: refs}
	}
	refused(s, codes.FailedPrecondition, "content of type 1", b.Commit, commit(l.message))
	s.share("key", "alice", "bob")
	other := s.propose("bob", bringing("key"))
	refused(s, codes.FailedPrecondition, "all of them are committed, or none", b.Commit, commit(proposal))
	unnamed := &harness.CommitRequest{StateId: b.state, ByValue: []*harness.ProposalDescription{{ProposalType: []byte("other")}}}
	refused(s, codes.FailedPrecondition, "not one of the runner's", b.Commit, unnamed)
	wide := &harness.Extension{ExtensionType: 1 << 16}
	refused(s, codes.FailedPrecondition, "more than two bytes", b.GroupContextExtensionsProposal,
		&harness.GroupContextExtensionsProposalRequest{StateId: b.state, Extensions: []*harness.Extension{wide}})
	refused(s, codes.FailedPrecondition, "not a member", b.RemoveProposal, &harness.RemoveProposalRequest{StateId: b.state, RemovedId: []byte("dave")})
	refused(s, codes.FailedPrecondition, "not a key package", b.AddProposal, &harness.AddProposalRequest{StateId: b.state, KeyPackage: l.message})
	refused(s, codes.FailedPrecondition, "is not one", b.AddExternalSigner, &harness.AddExternalSignerRequest{StateId: b.state})
	refused(s, codes.FailedPrecondition, "no commit of ours", b.HandlePendingCommit, &harness.HandlePendingCommitRequest{StateId: b.state})
	c := s.actor("carol")
	refused(s, codes.FailedPrecondition, "reading", c.JoinGroup, &harness.JoinGroupRequest{TransactionId: c.transaction, Welcome: []byte("garbage")})

	s.share("key", "carol")
	s.commit("bob", change{refs: [][]byte{proposal, other}, joins: []string{"carol"}})
	s.agree()
}

func TestReInitCommitThatDoesNotClose(t *testing.T) {
	s := ours(t)
	s.create("alice", "bob")
	a, b := s.actor("alice"), s.actor("bob")
	r := call(s, a.Commit, &harness.CommitRequest{StateId: a.state})
	refused(s, codes.FailedPrecondition, "has not closed", a.HandlePendingReInitCommit, &harness.HandlePendingCommitRequest{StateId: a.state})
	refused(s, codes.FailedPrecondition, "has not closed", b.HandleReInitCommit, &harness.HandleCommitRequest{StateId: b.state, Commit: r.Commit})
}

func flipped(raw []byte) []byte {
	raw = slices.Clone(raw)
	raw[len(raw)-1] ^= 1
	return raw
}

func TestSignerOfAnotherGroup(t *testing.T) {
	s := ours(t)
	s.create("alice", "bob")
	s.signer("warden", "alice")
	warden := s.actor("warden")
	s.create("carol")
	info := call(s, s.actor("carol").GroupInfo, &harness.GroupInfoRequest{StateId: s.actor("carol").state})
	refused(s, codes.FailedPrecondition, "does not let", warden.ExternalSignerProposal, &harness.ExternalSignerProposalRequest{
		SignerId: warden.signer, GroupInfo: info.GroupInfo, Description: removing("carol")[0],
	})
}

// TestOwnCommitComesBack is for runners that send a commit to everybody.
func TestOwnCommitComesBack(t *testing.T) {
	s := ours(t)
	s.create("alice", "bob")
	a := s.actor("alice")
	r := call(s, a.Commit, &harness.CommitRequest{StateId: a.state})
	handled := call(s, a.HandleCommit, &harness.HandleCommitRequest{StateId: a.state, Commit: r.Commit})
	s.follow(r.Commit, nil, handled.EpochAuthenticator, "alice")
	s.agree()
}

// TestSenderVector holds the lengths of section 2.1.2, which nothing here but external senders needs.
func TestSenderVector(t *testing.T) {
	for _, n := range []int{0, 1, 63, 64, 16383, 16384} {
		item := make([]byte, n)
		require.Equal(t, item, onlyItem(vectorOf(item)))
	}
	sender := mls.ExternalSender{SignatureKey: make([]byte, 133), Credential: mls.BasicCredential([]byte("warden"))}
	vector := mls.ExternalSendersExtension(sender).Data
	require.Equal(t, vector, vectorOf(onlyItem(vector)))
}

// TestImports: of this house it knows package mls, and whoever uses that needs nothing of it.
func TestImports(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", ".").Output()
	require.NoError(t, err)
	const house = "github.com/waxwing-dm/waxwing/"
	var known []string
	for line := range strings.Lines(string(out)) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), house); ok {
			known = append(known, name)
		}
	}
	require.ElementsMatch(t, []string{"mls", "mls/interop", "mls/interop/harness"}, known)
}
