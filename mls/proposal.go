package mls

import "golang.org/x/crypto/cryptobyte"

// ProposalType is a number of RFC 9420 section 17.4.
type ProposalType uint16

const (
	ProposalAdd                    ProposalType = 1
	ProposalUpdate                 ProposalType = 2
	ProposalRemove                 ProposalType = 3
	ProposalPreSharedKey           ProposalType = 4
	ProposalReInit                 ProposalType = 5
	proposalExternalInit           ProposalType = 6
	ProposalGroupContextExtensions ProposalType = 7
	ProposalAppDataUpdate          ProposalType = 8 // draft-ietf-mls-extensions, as are the next
	ProposalAppEphemeral           ProposalType = 9
	ProposalSelfRemove             ProposalType = 10
)

// Proposal is one change to a group (section 12.1); the field of its type is set.
type Proposal struct {
	Type       ProposalType
	addition   *KeyPackage
	update     *LeafNode
	remove     leafIndex
	psk        *preSharedKeyID
	reInit     *reInit
	kemOutput  []byte
	extensions []Extension
	component  ComponentID // of the application, as is data
	data       []byte      // nil if an AppDataUpdate removes
}

// AddProposal adds the owner of a key package.
func AddProposal(kp *KeyPackage) Proposal { return Proposal{Type: ProposalAdd, addition: kp} }

// RemoveProposal removes the member at a leaf.
func RemoveProposal(leaf uint32) Proposal {
	return Proposal{Type: ProposalRemove, remove: leafIndex(leaf)}
}

// GroupContextExtensionsProposal replaces the group's extensions.
func GroupContextExtensionsProposal(extensions []Extension) Proposal {
	return Proposal{Type: ProposalGroupContextExtensions, extensions: cloneExtensions(extensions)}
}

func (p *Proposal) read(s *cryptobyte.String) bool {
	if !s.ReadUint16((*uint16)(&p.Type)) {
		return false
	}
	switch p.Type {
	case ProposalAdd:
		p.addition = new(KeyPackage)
		return p.addition.read(s)
	case ProposalUpdate:
		p.update = new(LeafNode)
		return p.update.read(s)
	case ProposalRemove:
		return s.ReadUint32((*uint32)(&p.remove))
	case ProposalPreSharedKey:
		p.psk = new(preSharedKeyID)
		return p.psk.read(s)
	case ProposalReInit:
		p.reInit = new(reInit)
		return p.reInit.read(s)
	case proposalExternalInit:
		return readOpaque(s, &p.kemOutput)
	case ProposalGroupContextExtensions:
		return readExtensions(s, &p.extensions)
	case ProposalAppDataUpdate:
		return p.readAppUpdate(s)
	case ProposalAppEphemeral:
		return s.ReadUint16((*uint16)(&p.component)) && readOpaque(s, &p.data)
	case ProposalSelfRemove:
		return true
	}
	return p.Type.custom() && readOpaque(s, &p.data)
}

func (p *Proposal) add(b *cryptobyte.Builder) {
	b.AddUint16(uint16(p.Type))
	switch p.Type {
	case ProposalAdd:
		p.addition.add(b)
	case ProposalUpdate:
		p.update.add(b)
	case ProposalRemove:
		b.AddUint32(uint32(p.remove))
	case ProposalPreSharedKey:
		p.psk.add(b)
	case ProposalReInit:
		p.reInit.add(b)
	case proposalExternalInit:
		addOpaque(b, p.kemOutput)
	case ProposalGroupContextExtensions:
		addExtensions(b, p.extensions)
	case ProposalAppDataUpdate:
		p.addAppUpdate(b)
	case ProposalAppEphemeral:
		b.AddUint16(uint16(p.component))
		addOpaque(b, p.data)
	default:
		if p.Type.custom() {
			addOpaque(b, p.data)
		}
	}
}

// reInit of section 12.1.5.
type reInit struct {
	groupID    []byte
	version    uint16
	suite      CipherSuite
	extensions []Extension
}

func (r *reInit) read(s *cryptobyte.String) bool {
	return readOpaque(s, &r.groupID) && s.ReadUint16(&r.version) && s.ReadUint16((*uint16)(&r.suite)) && readExtensions(s, &r.extensions)
}

func (r *reInit) add(b *cryptobyte.Builder) {
	addOpaque(b, r.groupID)
	b.AddUint16(r.version)
	b.AddUint16(uint16(r.suite))
	addExtensions(b, r.extensions)
}

// proposalOrRef: a commit carries a proposal or names one that was sent before (section 12.4).
type proposalOrRef struct {
	proposal *Proposal
	ref      []byte
}

func (p *proposalOrRef) read(s *cryptobyte.String) bool {
	var kind uint8
	if !s.ReadUint8(&kind) {
		return false
	}
	switch kind {
	case 1:
		p.proposal = new(Proposal)
		return p.proposal.read(s)
	case 2:
		return readOpaque(s, &p.ref)
	}
	return false
}

func (p *proposalOrRef) add(b *cryptobyte.Builder) {
	if p.proposal != nil {
		b.AddUint8(1)
		p.proposal.add(b)
		return
	}
	b.AddUint8(2)
	addOpaque(b, p.ref)
}

// commit
//
//	struct {
//	    ProposalOrRef proposals<V>;
//	    optional<UpdatePath> path;
//	} Commit;
type commit struct {
	proposals []proposalOrRef
	path      *updatePath
}

func (c *commit) read(s *cryptobyte.String) bool {
	ok := readList(s, maxProposals, func(s *cryptobyte.String) bool {
		var p proposalOrRef
		ok := p.read(s)
		c.proposals = append(c.proposals, p)
		return ok
	})
	var present bool
	if !ok || !readOptional(s, &present) {
		return false
	}
	if present {
		c.path = new(updatePath)
		return c.path.read(s)
	}
	return true
}

func (c *commit) add(b *cryptobyte.Builder) {
	addVector(b, func(b *cryptobyte.Builder) {
		for i := range c.proposals {
			c.proposals[i].add(b)
		}
	})
	addOptional(b, c.path != nil)
	if c.path != nil {
		c.path.add(b)
	}
}
