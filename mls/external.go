package mls

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"slices"
	"time"

	"golang.org/x/crypto/cryptobyte"
)

// What comes from outside a group: commits of newcomers (section 12.4.3.2), proposals of newcomers and of external senders
// (section 12.1.8).

// outside stands for the leaf of a sender that has none.
const outside leafIndex = math.MaxUint32

// processOutside takes a PublicMessage of somebody who is not a member.
func (g *Group) processOutside(a *authenticatedContent, now time.Time) (Processed, error) {
	if err := g.verifyOutside(a); err != nil {
		return nil, err
	}
	if err := a.content.checkAAD(g.context.extensions); err != nil {
		return nil, err
	}
	return g.processHandshakeOf(a, outside, now)
}

func (g *Group) verifyOutside(a *authenticatedContent) error {
	key, err := g.outsideKey(a)
	if err != nil {
		return err
	}
	var context []byte
	if a.content.sender.kind == senderNewMemberCommit {
		context = marshal(&g.context)
	}
	if !a.verify(g.suite, key, context) {
		return invalid("signature of a message from outside (6.1)")
	}
	return nil
}

// outsideKey is the key that the signature must verify with, for what its sender may send.
func (g *Group) outsideKey(a *authenticatedContent) ([]byte, error) {
	c := &a.content
	switch c.sender.kind {
	case senderNewMemberCommit:
		if c.contentType != ContentCommit || c.commit.path == nil {
			return nil, invalid("a newcomer's commit without a path (12.4.3.2)")
		}
		return c.commit.path.leaf.SignatureKey, nil
	case senderNewMemberProposal:
		if c.contentType != ContentProposal || c.proposal.Type != ProposalAdd {
			return nil, invalid("a newcomer proposes something else than its own addition (12.1.8)")
		}
		return c.proposal.addition.Leaf.SignatureKey, nil
	}
	senders, err := externalSenders(g.context.extensions)
	if err != nil {
		return nil, err
	}
	if uint64(c.sender.index) >= uint64(len(senders)) || c.contentType != ContentProposal {
		return nil, invalid("external sender %d (12.1.8.1)", c.sender.index)
	}
	switch c.proposal.Type {
	case ProposalAdd, ProposalRemove, ProposalPreSharedKey, ProposalReInit, ProposalGroupContextExtensions,
		ProposalAppDataUpdate, ProposalAppEphemeral:
		return senders[c.sender.index].SignatureKey, nil
	}
	return nil, invalid("an external sender proposes type %d (12.1.8)", c.proposal.Type)
}

// ExternalSender may send proposals without being a member (section 12.1.8.1).
type ExternalSender struct {
	SignatureKey []byte
	Credential   Credential
}

// ExternalSendersExtension allows them, in a GroupContext.
func ExternalSendersExtension(senders ...ExternalSender) Extension {
	return Extension{ExtensionExternalSenders, build(func(b *cryptobyte.Builder) {
		addVector(b, func(b *cryptobyte.Builder) {
			for i := range senders {
				addOpaque(b, senders[i].SignatureKey)
				senders[i].Credential.add(b)
			}
		})
	})}
}

// ExternalSenders are those that an ExternalSendersExtension allows, in the order in which their proposals count them.
func (e Extension) ExternalSenders() ([]ExternalSender, error) {
	return externalSenders([]Extension{e})
}

// externalSenders are those that a GroupContext with these extensions allows.
func externalSenders(extensions []Extension) (senders []ExternalSender, err error) {
	data, ok := findExtension(extensions, ExtensionExternalSenders)
	if !ok {
		return nil, nil
	}
	s := cryptobyte.String(data)
	ok = readList(&s, maxSenders, func(s *cryptobyte.String) bool {
		var e ExternalSender
		ok := readOpaque(s, &e.SignatureKey) && e.Credential.read(s)
		senders = append(senders, e)
		return ok
	})
	if !ok || !s.Empty() {
		return nil, invalid("external senders extension (12.1.8.1)")
	}
	return senders, nil
}

// checkExternalList is the half of section 12.2 about external commits.
func (g *Group) checkExternalList(list []storedProposal, _ leafIndex) error {
	inits, removes, psks, gone := 0, 0, map[string]bool{}, map[leafIndex]bool{}
	for _, p := range list {
		at := p.proposal.remove
		switch p.proposal.Type {
		case ProposalSelfRemove:
			if p.ref == nil {
				return invalid("a self-remove by value (SelfRemove)")
			}
			at = p.sender
		case proposalExternalInit:
			inits++
		case ProposalRemove:
			removes++
			if g.tree.leaf(p.proposal.remove) == nil {
				return invalid("leaf %d of a remove is not a member (12.1.3)", p.proposal.remove)
			}
		case ProposalPreSharedKey:
			if err := g.suite.checkPSK(p.proposal.psk, psks, 0); err != nil {
				return err
			}
		case ProposalAppDataUpdate, ProposalAppEphemeral:
		default:
			return invalid("proposal type %d in an external commit (12.2)", p.proposal.Type)
		}
		if p.ref != nil && p.proposal.Type != ProposalSelfRemove {
			return invalid("proposal by reference in an external commit (12.4.3.2)")
		}
		if p.proposal.Type == ProposalRemove || p.proposal.Type == ProposalSelfRemove {
			if gone[at] {
				return invalid("leaf %d is removed twice in an external commit (SelfRemove)", at)
			}
			gone[at] = true
		}
	}
	if inits != 1 || removes > 1 || len(psks) > maxPSKs {
		return invalid("external commit with %d external inits and %d removes (12.2)", inits, removes)
	}
	return nil
}

// admit takes the newcomer of an external commit into the changed tree. What the path says of the new leaf is checked when it is
// merged.
func (c *change) admit(path *updatePath) (leafIndex, error) {
	placeholder := path.leaf
	placeholder.EncryptionKey = nil // the path brings it, and must not find it there
	return c.tree.add(&placeholder)
}

// GroupInfo tells somebody outside the state of this epoch (section 12.4.3), so that they can join by an external commit. It is for
// those only who may: whoever has it can.
// Extensions of the caller's stand in it beside the tree.
func (g *Group) GroupInfo(withTree bool, more ...Extension) ([]byte, error) {
	if g.suite == nil {
		return nil, argument("an empty group")
	}
	if g.removed {
		return nil, fmt.Errorf("mls: making a group info: %w", ErrRemoved)
	}
	public, _ := g.suite.deriveKeyPair(g.secrets.external)
	extensions := append(slices.Clone(more), Extension{extensionExternalPub, build(func(b *cryptobyte.Builder) { addOpaque(b, public) })})
	if withTree {
		extensions = append(extensions, Extension{extensionRatchetTree, g.tree.marshal()})
	}
	if err := checkMadeInfo(extensions); err != nil {
		return nil, err
	}
	info := g.info(g.suite.mac(g.secrets.confirmation, g.context.confirmed), extensions...)
	return marshalMessage(&Message{wireFormat: WireGroupInfo, groupInfo: info})
}

// RatchetTree is the public tree, for newcomers whose Welcome or GroupInfo does not carry it.
func (g *Group) RatchetTree() []byte { return g.tree.marshal() }

// ExternalJoinParams is what somebody brings who joins by an external commit.
type ExternalJoinParams struct {
	Signer            *SignatureKey
	Credential        Credential
	Capabilities      Capabilities
	LeafExtensions    []Extension
	RatchetTree       []byte  // if the GroupInfo does not carry it
	Replace           *uint32 // leaf of an old appearance of ours, to be removed
	PSKs              PSKs
	AppData           AppDataUpdates // if there are updates of app data among the proposals
	Proposals         []Proposal     // pre-shared keys, updates of app data and ephemeral ones only
	SelfRemoves       []*Message     // pending in the epoch of the GroupInfo; they have to be taken along
	AuthenticatedData []byte
}

// ExternalJoin is a commit by which we enter a group. Whether its members are who they say is for the caller to decide before it
// is sent; the group is ours to use once the commit has been ordered.
type ExternalJoin struct {
	message []byte
	group   *Group
}

// Message is the commit, an MLSMessage.
func (j *ExternalJoin) Message() []byte { return append([]byte{}, j.message...) }

// Group after the commit.
func (j *ExternalJoin) Group() *Group { return j.group }

// JoinExternal makes the commit by which we enter the group of a GroupInfo (section 12.4.3.2).
func JoinExternal(rand io.Reader, m *Message, p ExternalJoinParams) (*ExternalJoin, error) {
	guest, kem, err := newGuest(rand, m, p)
	if err != nil {
		return nil, err
	}
	if err := checkSet(p.Proposals); err != nil {
		return nil, err
	}
	if p.AuthenticatedData, err = frameAAD(guest.context.extensions, p.AuthenticatedData); err != nil {
		return nil, err
	}
	list := []storedProposal{{sender: outside, proposal: Proposal{Type: proposalExternalInit, kemOutput: kem.output}}}
	if p.Replace != nil {
		list = append(list, storedProposal{sender: outside, proposal: RemoveProposal(*p.Replace)})
	}
	for _, x := range p.Proposals {
		list = append(list, storedProposal{sender: outside, proposal: x})
	}
	leaving, err := guest.selfRemoves(p.SelfRemoves)
	if err != nil {
		return nil, err
	}
	list = append(list, leaving...)
	c, err := guest.applyProposals(list, outside, time.Time{})
	if err != nil {
		return nil, err
	}
	c.init = kem.secret
	grease, err := newGrease(rand)
	if err != nil {
		return nil, err
	}
	leaf := LeafNode{
		SignatureKey: p.Signer.Public(), Credential: p.Credential, Capabilities: grease.capabilities(p.Capabilities.withDefaults(guest.suite.id)),
		Extensions: grease.leafExtensions(p.LeafExtensions),
	}
	if err := leaf.checkAdvertises(); err != nil {
		return nil, err
	}
	if guest.own, err = c.tree.add(&leaf); err != nil {
		return nil, err
	}
	return guest.enter(rand, c, list, leaf, p)
}

// Rejoin makes the group that we have entered anew from outside our state. Late messages of the epochs that we had before can be read
// as ever, and a pending commit of ours is dropped.
func (g *Group) Rejoin(next *Group) error {
	switch {
	case next == nil || next.suite == nil:
		return argument("no group")
	case g.suite != next.suite || !bytes.Equal(g.context.groupID, next.context.groupID):
		return fmt.Errorf("mls: rejoining: %w", ErrWrongGroup)
	case next.context.epoch <= g.context.epoch:
		return fmt.Errorf("mls: rejoining: %w", ErrStale)
	}
	g.moveTo(next)
	return nil
}

// newGuest is a group seen from outside: everything but its secrets.
func newGuest(rand io.Reader, m *Message, p ExternalJoinParams) (*Group, exportedInit, error) {
	var none exportedInit
	g, err := publicGroup(m, p.RatchetTree)
	if err != nil {
		return nil, none, err
	}
	s := g.suite
	if err := s.checkSigner(p.Signer); err != nil {
		return nil, none, err
	}
	data, ok := findExtension(m.groupInfo.extensions, extensionExternalPub)
	in := cryptobyte.String(data)
	var public []byte
	if !ok || !readOpaque(&in, &public) || !in.Empty() {
		return nil, none, invalid("group info without an external key (12.4.3.2)")
	}
	if err := s.checkPublicKey("external key", public); err != nil {
		return nil, none, err
	}
	kem, err := s.sendInit(rand, public)
	if err != nil {
		return nil, none, err
	}
	g.signer, g.psks, g.appData = p.Signer, p.PSKs, p.AppData
	return g, kem, nil
}

// publicGroup is a group as a GroupInfo shows it.
func publicGroup(m *Message, ratchetTree []byte) (*Group, error) {
	if m == nil {
		return nil, argument("no GroupInfo")
	}
	if m.wireFormat != WireGroupInfo {
		return nil, invalid("wire format %d is not a GroupInfo", m.wireFormat)
	}
	info := m.groupInfo
	s, err := info.context.suite.suite()
	if err != nil {
		return nil, err
	}
	tree, err := info.tree(s, ratchetTree)
	if err != nil {
		return nil, err
	}
	return &Group{
		suite: s, context: info.context, tree: tree, private: privateKeys{}, secrets: new(epochSecrets),
		interim: s.interimTranscript(info.context.confirmed, info.confirmationTag), own: outside,
	}, nil
}

// enter makes the commit and the group after it.
func (g *Group) enter(rand io.Reader, c *change, list []storedProposal, leaf LeafNode, p ExternalJoinParams) (*ExternalJoin, error) {
	path, err := c.tree.makePath(rand, g.own, leaf, g.signer, g.context.groupID)
	if err != nil {
		return nil, err
	}
	if err := path.path.leaf.check(g.suite, g.context.groupID, g.own); err != nil {
		return nil, err
	}
	if err := readable(&path.path.leaf, new(LeafNode), "a leaf"); err != nil {
		return nil, err
	}
	c.added = []leafIndex{g.own}
	err = c.checkSupport(g.tree, g.context.extensions)
	c.added = nil // the others learn of it from the path, not from an Add
	if err != nil {
		return nil, err
	}
	provisional := g.nextContext(c, g.context.confirmed)
	if err := path.encrypt(rand, c.tree, marshal(&provisional), nil); err != nil {
		return nil, err
	}
	c.private = path.private
	content := &commit{path: &path.path}
	for i := range list {
		if list[i].ref != nil {
			content.proposals = append(content.proposals, proposalOrRef{ref: list[i].ref})
			continue
		}
		content.proposals = append(content.proposals, proposalOrRef{proposal: &list[i].proposal})
	}
	a := &authenticatedContent{wireFormat: WirePublicMessage, content: framedContent{
		groupID: g.context.groupID, epoch: g.context.epoch, sender: sender{kind: senderNewMemberCommit},
		authenticatedData: p.AuthenticatedData, contentType: ContentCommit, commit: content,
	}}
	a.sign(g.signer, marshal(&g.context))
	next, _, _, err := g.next(c, a, path.commit)
	if err != nil {
		return nil, err
	}
	a.confirmationTag = g.suite.mac(next.secrets.confirmation, next.context.confirmed)
	next.interim = g.suite.interimTranscript(next.context.confirmed, a.confirmationTag)
	next.psks, next.appData = g.psks, g.appData
	raw, err := marshalMessage(&Message{wireFormat: WirePublicMessage, public: &publicMessage{authenticatedContent: *a}})
	if err != nil {
		return nil, err
	}
	return &ExternalJoin{raw, next}, nil
}

// ProposeExternally makes the proposal of an external sender; index is its place in the extension. groupID and epoch are those of
// the group.
func ProposeExternally(cs CipherSuite, signer *SignatureKey, index uint32, groupID []byte, epoch uint64, p Proposal) ([]byte, error) {
	return proposeOutside(cs, signer, sender{senderExternal, index}, groupID, epoch, p)
}

// ProposeSelf makes a newcomer's proposal to be added.
func ProposeSelf(kp *KeyPackage, signer *SignatureKey, groupID []byte, epoch uint64) ([]byte, error) {
	if kp == nil {
		return nil, argument("no key package")
	}
	return proposeOutside(kp.Suite, signer, sender{kind: senderNewMemberProposal}, groupID, epoch, AddProposal(kp))
}

func proposeOutside(cs CipherSuite, signer *SignatureKey, from sender, groupID []byte, epoch uint64, p Proposal) ([]byte, error) {
	s, err := cs.suite()
	if err != nil {
		return nil, err
	}
	if err := s.checkSigner(signer); err != nil {
		return nil, err
	}
	if err := p.checkSet(); err != nil {
		return nil, err
	}
	a := &authenticatedContent{wireFormat: WirePublicMessage, content: framedContent{
		groupID: groupID, epoch: epoch, sender: from, contentType: ContentProposal, proposal: &p,
	}}
	if err := readable(&p, new(Proposal), "a proposal"); err != nil {
		return nil, err
	}
	a.sign(signer, nil)
	return marshalMessage(&Message{wireFormat: WirePublicMessage, public: &publicMessage{authenticatedContent: *a}})
}
