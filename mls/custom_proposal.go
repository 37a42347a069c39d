package mls

import (
	"slices"

	"golang.org/x/crypto/cryptobyte"
)

// Custom proposals: an application's own, of the types that RFC 9420 section 17.4 reserves for private use. The RFC gives a proposal
// no length, so who does not know a type cannot read past it. By this package's rule the body of a private type is one opaque<V>:
// readable by everybody, and understood by who lists the type in its capabilities. A commit may carry it only if all who process
// the commit do (12.2), and needs a path, as every type does that has not been said not to (12.4).

const firstCustom ProposalType = 0xF000

// CustomProposal carries data of the application's own under a type of 0xF000 to 0xFFFF.
func CustomProposal(t ProposalType, data []byte) Proposal { return Proposal{Type: t, data: data} }

func (t ProposalType) custom() bool { return t >= firstCustom }

// standard types are those that everybody knows.
func (t ProposalType) standard() bool {
	return t >= ProposalAdd && t <= ProposalGroupContextExtensions
}

// forApplication says whether the content of a proposal is the application's.
func (t ProposalType) forApplication() bool {
	return t == ProposalAppDataUpdate || t == ProposalAppEphemeral || t.custom()
}

// checkTypes: whoever processes the commit has to know the types in it (12.2). Who it adds or removes does not.
func (c *change) checkTypes(list []storedProposal) error {
	var types []ProposalType
	for i := range list {
		if t := list[i].proposal.Type; !t.standard() && !slices.Contains(types, t) {
			types = append(types, t)
		}
	}
	return c.tree.checkTypes(types)
}

func (t *ratchetTree) checkTypes(types []ProposalType) error {
	if len(types) == 0 {
		return nil
	}
	return t.eachLeaf(func(at leafIndex, l *LeafNode) error {
		for _, x := range types {
			if !l.Capabilities.supportsProposal(x) {
				return invalid("leaf %d does not support proposal type %d (12.2)", at, x)
			}
		}
		return nil
	})
}

// received is what the application sees of a proposal, whose sender stands in t.
func (p *storedProposal) received(t *ratchetTree) ReceivedProposal {
	return ReceivedProposal{Member{uint32(p.sender), t.leaf(p.sender)}, p.proposal.Type, p.proposal.component, p.proposal.data, uint32(p.proposal.remove)}
}

// applicationProposals are those of a commit whose content is the application's.
func applicationProposals(list []storedProposal, t *ratchetTree) []ReceivedProposal {
	var out []ReceivedProposal
	for _, p := range keepApplication(list) {
		out = append(out, p.received(t))
	}
	return out
}

func keepApplication(list []storedProposal) (kept []storedProposal) {
	for _, p := range list {
		if p.proposal.Type.forApplication() {
			kept = append(kept, p)
		}
	}
	return kept
}

// addStored and readStored are for a pending commit; whether a proposal came by reference is not kept.
func addStored(b *cryptobyte.Builder, list []storedProposal) {
	addVector(b, func(b *cryptobyte.Builder) {
		for i := range list {
			b.AddUint32(uint32(list[i].sender))
			list[i].proposal.add(b)
		}
	})
}

func readStored(s *cryptobyte.String, list *[]storedProposal) bool {
	return readList(s, maxProposals, func(s *cryptobyte.String) bool {
		var p storedProposal
		ok := s.ReadUint32((*uint32)(&p.sender)) && p.proposal.read(s) && p.proposal.Type.forApplication()
		*list = append(*list, p)
		return ok
	})
}
