package mls

import (
	"fmt"
	"io"
	"maps"
	"slices"
)

// Group is one member's state of a group. Its methods compute the next state aside and assign it at the end, so that
// one that fails leaves the group as it was. A Group is not safe for concurrent use.
//
// Encrypt, Commit, Propose and a successful Process use up keys: persist Changes before anything leaves the device.
type Group struct {
	suite    *suite
	context  groupContext
	tree     *ratchetTree
	interim  []byte // interim transcript hash
	secrets  *epochSecrets
	messages *secretTree
	exports  *exporterTree
	own      leafIndex
	signer   *SignatureKey
	private  privateKeys

	proposals []storedProposal // by reference, of this epoch
	updates   []ownUpdate      // keys of our own Update proposals
	past      []pastEpoch      // newest first

	resumptions []resumption    // newest first
	psks        PSKs            // not stored
	appData     AppDataUpdates  // not stored
	resumes     ResumptionUsage // of a group that is being made out of another one; not stored

	pending *PendingCommit
	removed bool
	reInit  *reInit // if the last commit closed the group in favour of another
}

// A storedProposal was received or sent and may be named by a commit.
type storedProposal struct {
	ref      []byte
	sender   leafIndex
	proposal Proposal
}

type ownUpdate struct{ public, private []byte }

// A pastEpoch can still read application messages that come late.
type pastEpoch struct {
	*endedEpoch
	messages *secretTree
}

// An endedEpoch is what does not change any more of an epoch that is over.
type endedEpoch struct {
	context    groupContext
	senderData []byte
	leaves     map[leafIndex]*LeafNode // those that the next epoch has replaced, as they were; nil for one that was blank
}

// GroupParams describes the creator of a new group.
type GroupParams struct {
	Suite          CipherSuite
	GroupID        []byte
	Signer         *SignatureKey
	Credential     Credential
	Capabilities   Capabilities
	Lifetime       Lifetime
	LeafExtensions []Extension
	Extensions     []Extension // of the GroupContext
}

// NewGroup creates a group of one member at epoch 0 (section 11).
func NewGroup(rand io.Reader, p GroupParams) (*Group, error) {
	s, err := p.Suite.suite()
	if err != nil {
		return nil, err
	}
	if err := s.checkSigner(p.Signer); err != nil {
		return nil, err
	}
	pub, priv, err := s.generateKeyPair(rand)
	if err != nil {
		return nil, err
	}
	epochSecret, err := s.randomSecret(rand)
	if err != nil {
		return nil, err
	}
	grease, err := newGrease(rand)
	if err != nil {
		return nil, err
	}
	leaf := &LeafNode{
		EncryptionKey: pub, SignatureKey: p.Signer.Public(), Credential: p.Credential,
		Capabilities: grease.capabilities(p.Capabilities.withDefaults(p.Suite)), source: leafFromKeyPackage, Lifetime: p.Lifetime,
		Extensions: grease.leafExtensions(p.LeafExtensions),
	}
	if err := leaf.checkAdvertises(); err != nil {
		return nil, err
	}
	if err := checkGroupData(p.Extensions); err != nil {
		return nil, err
	}
	leaf.sign(p.Signer, nil, 0)
	if err := leaf.check(s, nil, 0); err != nil {
		return nil, err
	}
	if err := leaf.checkSupports(p.Extensions); err != nil {
		return nil, err
	}
	own := new(LeafNode) // of memory that is not the caller's
	if err := readable(leaf, own, "a leaf"); err != nil {
		return nil, err
	}
	tree := newTree(s, own)
	g := &Group{
		suite:   s,
		context: groupContext{suite: p.Suite, groupID: slices.Clone(p.GroupID), treeHash: tree.treeHash(), extensions: cloneExtensions(p.Extensions)},
		tree:    tree, signer: p.Signer, private: privateKeys{0: priv},
	}
	if err := readable(&g.context, new(groupContext), "a group"); err != nil {
		return nil, err
	}
	g.startEpoch(s.fromEpochSecret(epochSecret))
	g.interim = s.interimTranscript(nil, s.mac(g.secrets.confirmation, nil))
	return g, nil
}

func (g *Group) startEpoch(secrets *epochSecrets, encryptionSecret []byte) {
	g.secrets = secrets
	g.exports, secrets.application = newExporterTree(g.suite, secrets.application), nil
	g.messages = newSecretTree(g.suite, g.tree.leaves(), encryptionSecret)
}

// Member is a leaf of the tree with its place.
type Member struct {
	Leaf uint32
	Node *LeafNode
}

// GroupID as chosen at creation.
func (g *Group) GroupID() []byte { return slices.Clone(g.context.groupID) }

// Epoch counts the commits since creation.
func (g *Group) Epoch() uint64 { return g.context.epoch }

// Suite of the group.
func (g *Group) Suite() CipherSuite { return g.suite.id }

// OwnLeaf is our place in the tree.
func (g *Group) OwnLeaf() uint32 { return uint32(g.own) }

// Removed says whether a commit has taken us out; the state is then the last one we knew.
func (g *Group) Removed() bool { return g.removed }

// Members in the order of the tree.
func (g *Group) Members() []Member { return g.tree.members() }

func (t *ratchetTree) members() []Member {
	var ms []Member
	_ = t.eachLeaf(func(i leafIndex, l *LeafNode) error {
		ms = append(ms, Member{uint32(i), l})
		return nil
	})
	return ms
}

// Member at a leaf.
func (g *Group) Member(leaf uint32) (Member, bool) {
	l := g.tree.leaf(leafIndex(leaf))
	return Member{leaf, l}, l != nil
}

// Extensions of the GroupContext.
func (g *Group) Extensions() []Extension { return cloneExtensions(g.context.extensions) }

// EpochAuthenticator is equal for two members if and only if they are in the same state (section 8.7).
func (g *Group) EpochAuthenticator() []byte { return slices.Clone(g.secrets.authentication) }

// Export is MLS-Exporter (section 8.5) of the current epoch; length in bytes.
func (g *Group) Export(label string, context []byte, length int) ([]byte, error) {
	if g.suite == nil {
		return nil, argument("an empty group")
	}
	return g.suite.export(g.secrets, label, context, length)
}

// Encrypt makes an application PrivateMessage (section 6.3). padding, if not nil, gives for the length of the plaintext
// the length it is to have.
func (g *Group) Encrypt(rand io.Reader, data, authenticatedData []byte, padding func(n int) int) ([]byte, error) {
	if g.suite == nil {
		return nil, argument("an empty group")
	}
	if g.removed {
		return nil, fmt.Errorf("mls: encrypting: %w", ErrRemoved)
	}
	if g.reInit != nil {
		return nil, fmt.Errorf("mls: encrypting: %w", ErrReInit)
	}
	authenticatedData, err := frameAAD(g.context.extensions, authenticatedData)
	if err != nil {
		return nil, err
	}
	a := g.content(ContentApplication, authenticatedData)
	a.content.application = data
	a.wireFormat = WirePrivateMessage
	a.sign(g.signer, marshal(&g.context))
	m, err := g.suite.protectPrivate(rand, a, g.own, g.secrets.senderData, g.messages, padding)
	if err != nil {
		return nil, err
	}
	return marshal(&Message{wireFormat: WirePrivateMessage, private: m}), nil
}

func (g *Group) content(t ContentType, authenticatedData []byte) *authenticatedContent {
	return &authenticatedContent{content: framedContent{
		groupID: g.context.groupID, epoch: g.context.epoch, sender: sender{senderMember, uint32(g.own)},
		authenticatedData: authenticatedData, contentType: t,
	}}
}

// frame turns signed content into an MLSMessage.
func (g *Group) frame(rand io.Reader, a *authenticatedContent, padding func(int) int) ([]byte, error) {
	if a.wireFormat == WirePublicMessage {
		return marshalMessage(&Message{wireFormat: WirePublicMessage, public: g.suite.protectPublic(a, g.secrets.membership, marshal(&g.context))})
	}
	m, err := g.suite.protectPrivate(rand, a, g.own, g.secrets.senderData, g.messages, padding)
	if err != nil {
		return nil, err
	}
	return marshal(&Message{wireFormat: WirePrivateMessage, private: m}), nil
}

// handshakeFraming is the wire format that a caller asks for. That of nobody who asks is private.
func handshakeFraming(f WireFormat) (WireFormat, error) {
	switch f {
	case 0, WirePrivateMessage:
		return WirePrivateMessage, nil
	case WirePublicMessage:
		return f, nil
	}
	return 0, argument(fmt.Sprintf("a handshake in wire format %d", f))
}

// Propose sends a proposal that a later commit may name (section 12.1), as a PrivateMessage, or as a PublicMessage if framing says
// so. We keep it as the others will.
func (g *Group) Propose(rand io.Reader, p Proposal, framing WireFormat, authenticatedData []byte) ([]byte, error) {
	if g.suite == nil {
		return nil, argument("an empty group")
	}
	if g.removed {
		return nil, fmt.Errorf("mls: proposing: %w", ErrRemoved)
	}
	if g.reInit != nil {
		return nil, fmt.Errorf("mls: proposing: %w", ErrReInit)
	}
	framing, err := handshakeFraming(framing)
	if err != nil {
		return nil, err
	}
	if p.Type == ProposalSelfRemove {
		if err := g.maySelfRemove(framing); err != nil {
			return nil, err
		}
	}
	if err := g.roomFor(g.own); err != nil {
		return nil, err
	}
	if err := p.checkSet(); err != nil {
		return nil, err
	}
	if err := readable(&p, new(Proposal), "a proposal"); err != nil {
		return nil, err
	}
	if !p.Type.standard() {
		if err := g.tree.checkTypes([]ProposalType{p.Type}); err != nil {
			return nil, err
		}
	}
	if authenticatedData, err = frameAAD(g.context.extensions, authenticatedData); err != nil {
		return nil, err
	}
	a := g.content(ContentProposal, authenticatedData)
	a.content.proposal = &p
	a.wireFormat = framing
	a.sign(g.signer, marshal(&g.context))
	m, err := g.frame(rand, a, nil)
	if err != nil {
		return nil, err
	}
	g.proposals = append(g.proposals, storedProposal{a.ref(g.suite), g.own, p})
	return m, nil
}

// ProposeUpdate proposes a new encryption key for our own leaf; somebody else has to commit it.
func (g *Group) ProposeUpdate(rand io.Reader, framing WireFormat, authenticatedData []byte) ([]byte, error) {
	if g.suite == nil {
		return nil, argument("an empty group")
	}
	pub, priv, err := g.suite.generateKeyPair(rand)
	if err != nil {
		return nil, err
	}
	leaf := *g.tree.leaf(g.own)
	leaf.EncryptionKey, leaf.source, leaf.ParentHash, leaf.Lifetime = pub, leafFromUpdate, nil, Lifetime{}
	leaf.sign(g.signer, g.context.groupID, g.own)
	m, err := g.Propose(rand, Proposal{Type: ProposalUpdate, update: &leaf}, framing, authenticatedData)
	if err != nil {
		return nil, err
	}
	g.updates = append(g.updates, ownUpdate{pub, priv})
	return m, nil
}

// moveTo makes next the state; what the epoch that ends needs for late messages is kept for maxPastEpochs.
func (g *Group) moveTo(next *Group) {
	ended := &endedEpoch{g.context, g.secrets.senderData, map[leafIndex]*LeafNode{}}
	for _, x := range g.tree.changes(next.tree) {
		if x.isLeaf() {
			ended.leaves[x.leaf()] = g.tree.at(x).leaf
		}
	}
	past := slices.DeleteFunc(append([]pastEpoch{{ended, g.messages}}, g.past...), func(p pastEpoch) bool {
		return p.context.epoch+maxPastEpochs < next.context.epoch
	})
	resumptions := append([]resumption{{g.context.epoch, g.secrets.resumption}}, g.resumptions...)
	moved := *next
	moved.messages = next.messages.clone()
	moved.past = past
	moved.resumptions, moved.psks = resumptions[:min(len(resumptions), maxResumptions)], g.psks
	moved.appData = g.appData
	*g = moved
}

// pastLeaf is a leaf as it was in the past epoch number i: the oldest of the versions that later epochs replaced.
func (g *Group) pastLeaf(i int, l leafIndex) *LeafNode {
	for ; i >= 0; i-- {
		if leaf, replaced := g.past[i].leaves[l]; replaced {
			return leaf
		}
	}
	return g.tree.leaf(l)
}

// Clone is a copy that goes its own way: for a step that may have to be taken back, and as the state that Changes compares with.
// It takes no time to speak of, since both share what does not change. They are for one goroutine at a time together.
func (g *Group) Clone() *Group {
	c := *g
	c.messages = g.messages.clone()
	c.past = slices.Clone(g.past)
	for i := range c.past {
		c.past[i].messages = c.past[i].messages.clone()
	}
	c.proposals, c.updates = slices.Clip(g.proposals), slices.Clip(g.updates) // what is appended to one is not seen by the other
	return &c
}

func (g *Group) clonePrivate() privateKeys { return maps.Clone(g.private) }
