package mls

import (
	"fmt"
	"slices"
)

// SelfRemove of draft-ietf-mls-extensions: a member who leaves. Nobody can commit their own leaving, for who commits knows the next
// epoch; so it is a proposal, which others have to take along, newcomers from outside included. All members have to name it in their
// capabilities, and it travels as a PublicMessage.

// SelfRemoveProposal is for the sender to be removed. It is sent with Propose in WirePublicMessage, and committed by somebody else.
func SelfRemoveProposal() Proposal { return Proposal{Type: ProposalSelfRemove} }

// maySelfRemove says whether we can ask to be removed, in that framing and now.
func (g *Group) maySelfRemove(framing WireFormat) error {
	if framing != WirePublicMessage {
		return invalid("a self-remove that is not a member's PublicMessage (SelfRemove)")
	}
	if slices.ContainsFunc(g.proposals, func(p storedProposal) bool { return p.sender == g.own && p.proposal.Type == ProposalSelfRemove }) {
		return invalid("a second self-remove in one epoch (SelfRemove)")
	}
	return nil
}

// selfRemoves verifies what a newcomer was given beside the GroupInfo, as far as somebody outside can.
func (g *Group) selfRemoves(messages []*Message) ([]storedProposal, error) {
	var list []storedProposal
	for _, m := range messages {
		if m == nil {
			return nil, argument("no message in the place of a self-remove")
		}
		if m.wireFormat != WirePublicMessage || string(m.GroupID()) != string(g.context.groupID) {
			return nil, fmt.Errorf("mls: taking along a self-remove: %w", ErrWrongGroup)
		}
		if m.Epoch() != g.context.epoch {
			return nil, &WrongEpochError{m.Epoch(), g.context.epoch}
		}
		a := &m.public.authenticatedContent
		if a.content.sender.kind != senderMember || a.content.contentType != ContentProposal || a.content.proposal.Type != ProposalSelfRemove {
			return nil, invalid("a self-remove that is not a member's PublicMessage (SelfRemove)")
		}
		from, err := verifySender(a, g.suite, g.tree, marshal(&g.context))
		if err != nil {
			return nil, err
		}
		list = append(list, storedProposal{a.ref(g.suite), leafIndex(from.Leaf), *a.content.proposal})
	}
	return list, nil
}
