package mls

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"time"
)

// Sections 11.2 and 11.3: groups that come from another one.

// ReInitProposal closes the group in favour of one with these parameters.
func ReInitProposal(groupID []byte, cs CipherSuite, extensions []Extension) Proposal {
	return Proposal{Type: ProposalReInit, reInit: &reInit{slices.Clone(groupID), version10, cs, cloneExtensions(extensions)}}
}

// Closed says in favour of what the group was closed; ok is false while it is open.
func (g *Group) Closed() (groupID []byte, cs CipherSuite, extensions []Extension, ok bool) {
	if g.reInit == nil {
		return nil, 0, nil, false
	}
	return slices.Clone(g.reInit.groupID), g.reInit.suite, cloneExtensions(g.reInit.extensions), true
}

// SuccessorParams describes our leaf in a group that comes from another one, and who else is to be in it.
type SuccessorParams struct {
	Signer         *SignatureKey
	Credential     Credential
	Capabilities   Capabilities
	Lifetime       Lifetime
	LeafExtensions []Extension
	Members        []*KeyPackage // of the others
	TreeOutside    bool          // as in CommitParams, for the first commit
	ForcePath      bool
	Now            time.Time
}

// Reinitialize makes the group that this one was closed in favour of. Its first commit is pending: its Welcome is for the members,
// who have to be those of this group.
func (g *Group) Reinitialize(rand io.Reader, p SuccessorParams) (*Group, error) {
	if g.reInit == nil {
		return nil, fmt.Errorf("mls: re-initializing: the group is open: %w", ErrStale)
	}
	r := g.reInit
	return g.successor(rand, ResumptionReInit, GroupParams{Suite: r.suite, GroupID: r.groupID, Extensions: r.extensions}, p)
}

// Branch makes a group of some members of this one, in the same suite. Its first commit is pending.
func (g *Group) Branch(rand io.Reader, groupID []byte, extensions []Extension, p SuccessorParams) (*Group, error) {
	switch {
	case g.suite == nil:
		return nil, argument("an empty group")
	case g.removed:
		return nil, fmt.Errorf("mls: branching: %w", ErrRemoved)
	}
	members := g.credentials()
	for _, kp := range p.Members {
		if kp == nil {
			return nil, argument("no key package in the place of a member")
		}
		if !members[string(marshal(&kp.Leaf.Credential))] {
			return nil, invalid("branch with somebody who is not a member (11.3)")
		}
	}
	return g.successor(rand, ResumptionBranch, GroupParams{Suite: g.suite.id, GroupID: groupID, Extensions: extensions}, p)
}

func (g *Group) successor(rand io.Reader, usage ResumptionUsage, params GroupParams, p SuccessorParams) (*Group, error) {
	params.Signer, params.Credential, params.Capabilities = p.Signer, p.Credential, p.Capabilities
	params.Lifetime, params.LeafExtensions = p.Lifetime, p.LeafExtensions
	next, err := NewGroup(rand, params)
	if err != nil {
		return nil, err
	}
	psk, err := next.PSKProposal(rand, PSK{Usage: usage, GroupID: g.context.groupID, Epoch: g.context.epoch})
	if err != nil {
		return nil, err
	}
	list := []Proposal{psk}
	for _, kp := range p.Members {
		list = append(list, AddProposal(kp))
	}
	next.resumes = usage
	next.psks = func(k PSK) ([]byte, bool) {
		return g.secrets.resumption, k.Usage == usage && bytes.Equal(k.GroupID, g.context.groupID) && k.Epoch == g.context.epoch
	}
	if _, err := next.Commit(rand, CommitParams{Proposals: list, TreeOutside: p.TreeOutside, ForcePath: p.ForcePath, Now: p.Now}); err != nil {
		return nil, err
	}
	next.resumes, next.psks = 0, nil
	return next, nil
}

// checkSuccessor holds what a joiner has to check of a group that comes from this one.
func (g *Group) checkSuccessor(k *preSharedKeyID, next *groupContext, tree *ratchetTree) error {
	switch {
	case !bytes.Equal(k.GroupID, g.context.groupID) || k.Epoch != g.context.epoch:
		return invalid("welcome to a group that comes from another one than was named (11.2, 11.3)")
	case next.epoch != 1:
		return invalid("welcome to epoch %d of a group that comes from another one (11.2, 11.3)", next.epoch)
	case k.Usage == ResumptionReInit:
		return g.checkReInit(next)
	case next.suite != g.suite.id:
		return invalid("branch of another suite (11.3)")
	}
	members := g.credentials()
	return tree.eachLeaf(func(_ leafIndex, l *LeafNode) error {
		if !members[string(marshal(&l.Credential))] {
			return invalid("branch with somebody who is not a member (11.3)")
		}
		return nil
	})
}

func (g *Group) checkReInit(next *groupContext) error {
	r := g.reInit
	if r == nil {
		return invalid("re-initialization of a group that is open (11.2)")
	}
	if !bytes.Equal(next.groupID, r.groupID) || next.suite != r.suite || !sameExtensions(next.extensions, r.extensions) {
		return invalid("re-initialization with other parameters than were agreed (11.2)")
	}
	return nil
}

func (g *Group) credentials() map[string]bool {
	set := map[string]bool{}
	for _, m := range g.Members() {
		set[string(marshal(&m.Node.Credential))] = true
	}
	return set
}
