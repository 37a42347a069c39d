package mls

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"time"
)

// A change is what a list of proposals does to a group, computed beside it (sections 12.2 and 12.3).
type change struct {
	tree       *ratchetTree
	extensions []Extension
	private    privateKeys
	added      []leafIndex
	packages   []*KeyPackage // of added
	updated    []leafIndex
	removed    []Member
	psks       []preSharedKeyID
	reInit     *reInit
	kemOutput  []byte // of an external commit
	init       []byte // instead of the group's init secret: of an external commit
	needsPath  bool
}

func (c *change) removes(l leafIndex) bool {
	return slices.ContainsFunc(c.removed, func(m Member) bool { return m.Leaf == uint32(l) })
}

// applyProposals checks the list and applies it: extensions, updates, removes, adds. now is for lifetimes of added packages.
func (g *Group) applyProposals(list []storedProposal, committer leafIndex, now time.Time) (*change, error) {
	check := g.checkList
	if committer == outside {
		check = g.checkExternalList
	}
	if err := check(list, committer); err != nil {
		return nil, err
	}
	c := &change{tree: g.tree.clone(), extensions: g.context.extensions, private: g.clonePrivate(), needsPath: len(list) == 0}
	for _, p := range list {
		switch p.proposal.Type {
		case ProposalGroupContextExtensions:
			c.extensions, c.needsPath = p.proposal.extensions, true
		case ProposalPreSharedKey:
			c.psks = append(c.psks, *p.proposal.psk)
		case ProposalReInit:
			c.reInit = p.proposal.reInit
		case proposalExternalInit:
			c.kemOutput, c.needsPath = p.proposal.kemOutput, true
		default:
			c.needsPath = c.needsPath || p.proposal.Type.custom()
		}
	}
	for _, p := range list {
		if p.proposal.Type == ProposalUpdate {
			if err := g.applyUpdate(c, p); err != nil {
				return nil, err
			}
		}
	}
	c.applyRemoves(g.tree, list)
	if err := c.checkTypes(list); err != nil {
		return nil, err
	}
	c.private.keep(c.tree)
	v := g.suite.signatures()
	for _, p := range list {
		if p.proposal.Type == ProposalAdd {
			at := now
			if committer != g.own {
				at = addedAt(p.proposal.addition, now)
			}
			if err := g.applyAdd(c, p.proposal.addition, at, v); err != nil {
				return nil, err
			}
		}
	}
	if err := v.check(); err != nil {
		return nil, err
	}
	if err := g.applyAppData(c, list); err != nil {
		return nil, err
	}
	return c, c.checkSupport(g.tree, g.context.extensions)
}

// applyRemoves takes out who leaves, then who is removed.
func (c *change) applyRemoves(before *ratchetTree, list []storedProposal) {
	for _, kind := range []ProposalType{ProposalSelfRemove, ProposalRemove} {
		for _, p := range list {
			if p.proposal.Type != kind {
				continue
			}
			at := p.proposal.remove
			if kind == ProposalSelfRemove {
				at = p.sender
			}
			c.removed = append(c.removed, Member{uint32(at), before.leaf(at)})
			c.tree.remove(at)
			c.needsPath = true
		}
	}
}

// checkList holds what section 12.2 asks of the list as a whole.
func (g *Group) checkList(list []storedProposal, committer leafIndex) error {
	touched, psks := map[leafIndex]bool{}, map[string]bool{}
	extensions := false
	for _, p := range list {
		switch p.proposal.Type {
		case ProposalAdd:
			continue
		case ProposalUpdate, ProposalRemove, ProposalSelfRemove:
		case ProposalGroupContextExtensions:
			if extensions {
				return invalid("two changes of the group's extensions in one commit (12.2)")
			}
			if err := checkDistinct(p.proposal.extensions); err != nil {
				return err
			}
			extensions = true
			continue
		case ProposalPreSharedKey:
			if err := g.suite.checkPSK(p.proposal.psk, psks, g.resumes); err != nil {
				return err
			}
			if len(psks) > maxPSKs {
				return invalid("more than %d pre-shared keys in one commit", maxPSKs)
			}
			continue
		case ProposalReInit:
			if len(list) > 1 {
				return invalid("a re-initialization beside another proposal (12.2)")
			}
			if p.proposal.reInit.version < version10 {
				return invalid("a re-initialization to an older version (12.1.5)")
			}
			continue
		case proposalExternalInit:
			return invalid("external init in the commit of a member (12.2)")
		default:
			if p.proposal.Type.forApplication() {
				continue
			}
			return fmt.Errorf("mls: proposal type %d in a commit: %w", p.proposal.Type, ErrUnsupported)
		}
		at, err := g.changedLeaf(p, committer)
		if err != nil {
			return err
		}
		if touched[at] {
			return invalid("leaf %d is updated or removed twice in one commit (12.2)", at)
		}
		touched[at] = true
	}
	return nil
}

// changedLeaf is the leaf that an update or removal is about. It is a member's and not the committer's.
func (g *Group) changedLeaf(p storedProposal, committer leafIndex) (leafIndex, error) {
	at := p.sender
	switch p.proposal.Type {
	case ProposalUpdate:
		if at == committer {
			return 0, invalid("a commit with an update of its own sender (12.2)")
		}
	case ProposalRemove:
		if at = p.proposal.remove; at == committer {
			return 0, invalid("a commit that removes its own sender (12.2)")
		}
	case ProposalSelfRemove:
		if p.ref == nil {
			return 0, invalid("a self-remove by value (SelfRemove)")
		}
		if at == committer {
			return 0, invalid("a commit of a self-remove by who sent it (SelfRemove)")
		}
	}
	if g.tree.leaf(at) == nil {
		return 0, invalid("leaf %d of an update or remove is not a member (12.1)", at)
	}
	return at, nil
}

func checkDistinct(list []Extension) error {
	seen := map[ExtensionType]bool{}
	for _, e := range list {
		if seen[e.Type] {
			return invalid("extension %d stands twice in a list (13.4)", e.Type)
		}
		seen[e.Type] = true
	}
	return nil
}

func (g *Group) applyUpdate(c *change, p storedProposal) error {
	leaf := p.proposal.update
	if leaf.source != leafFromUpdate {
		return invalid("update with a leaf of another source (12.1.2)")
	}
	if err := leaf.check(g.suite, g.context.groupID, p.sender); err != nil {
		return err
	}
	if bytes.Equal(leaf.EncryptionKey, g.tree.leaf(p.sender).EncryptionKey) {
		return invalid("update that keeps the encryption key (12.1.2)")
	}
	c.tree.update(p.sender, leaf)
	c.updated = append(c.updated, p.sender)
	c.needsPath = true
	if p.sender != g.own {
		return nil
	}
	for _, u := range g.updates {
		if bytes.Equal(u.public, leaf.EncryptionKey) {
			c.private[g.own.node()] = u.private
			return nil
		}
	}
	return invalid("update of ours whose key we do not have")
}

// addedAt is the time at which a package in somebody else's commit is judged. Who was away reads the commit late: a
// package that has expired since must not keep it from following the others (7.3 leaves this check to the receiver).
func addedAt(kp *KeyPackage, now time.Time) time.Time {
	if end := kp.Leaf.Lifetime.NotAfter; now.Unix() > 0 && uint64(now.Unix()) > end {
		return time.Unix(int64(end), 0)
	}
	return now
}

func (g *Group) applyAdd(c *change, kp *KeyPackage, now time.Time, v *signatures) error {
	if kp.Suite != g.suite.id {
		return invalid("added key package is of another suite (12.1.1)")
	}
	if err := kp.check(g.suite, now, v); err != nil {
		return err
	}
	leaf := kp.Leaf
	at, err := c.tree.add(&leaf)
	if err != nil {
		return err
	}
	c.added = append(c.added, at)
	c.packages = append(c.packages, kp)
	return nil
}

// checkSupport: no key twice, and everybody supports the extensions, what they require, and the credential types in use. Who was
// there before is looked at again only if one of those has changed.
func (c *change) checkSupport(before *ratchetTree, extensions []Extension) error {
	if err := c.tree.checkUnique(); err != nil {
		return err
	}
	check := func(i leafIndex, l *LeafNode) error { return c.tree.supports(i, l, c.extensions) }
	if !sameDemands(extensions, c.extensions) || !sameTypes(before.index().credentials, c.tree.index().credentials) {
		return c.tree.eachLeaf(check)
	}
	for _, at := range slices.Concat(c.added, c.updated) {
		if err := check(at, c.tree.leaf(at)); err != nil {
			return err
		}
	}
	return nil
}

func sameTypes(a, b map[CredentialType]int) bool {
	return maps.EqualFunc(a, b, func(int, int) bool { return true })
}

func sameExtensions(a, b []Extension) bool {
	return slices.EqualFunc(a, b, func(x, y Extension) bool { return x.Type == y.Type && bytes.Equal(x.Data, y.Data) })
}
