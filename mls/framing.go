package mls

import "golang.org/x/crypto/cryptobyte"

// WireFormat says what an MLSMessage holds (section 6).
type WireFormat uint16

const (
	WirePublicMessage  WireFormat = 1
	WirePrivateMessage WireFormat = 2
	WireWelcome        WireFormat = 3
	WireGroupInfo      WireFormat = 4
	WireKeyPackage     WireFormat = 5
)

// ContentType says what a Public- or PrivateMessage carries.
type ContentType uint8

const (
	ContentApplication ContentType = 1
	ContentProposal    ContentType = 2
	ContentCommit      ContentType = 3
)

type senderType uint8

const (
	senderMember            senderType = 1
	senderExternal          senderType = 2
	senderNewMemberProposal senderType = 3
	senderNewMemberCommit   senderType = 4
)

// sender of section 6.
type sender struct {
	kind  senderType
	index uint32 // leaf of a member, or place in the list of external senders
}

func (s *sender) read(in *cryptobyte.String) bool {
	if !in.ReadUint8((*uint8)(&s.kind)) {
		return false
	}
	switch s.kind {
	case senderMember, senderExternal:
		return in.ReadUint32(&s.index)
	case senderNewMemberProposal, senderNewMemberCommit:
		return true
	}
	return false
}

func (s *sender) add(b *cryptobyte.Builder) {
	b.AddUint8(uint8(s.kind))
	if s.kind == senderMember || s.kind == senderExternal {
		b.AddUint32(s.index)
	}
}

// framedContent
//
//	struct {
//	    opaque group_id<V>;
//	    uint64 epoch;
//	    Sender sender;
//	    opaque authenticated_data<V>;
//	    ContentType content_type;
//	    select (FramedContent.content_type) {
//	        case application: opaque application_data<V>;
//	        case proposal:    Proposal proposal;
//	        case commit:      Commit commit;
//	    };
//	} FramedContent;
type framedContent struct {
	groupID           []byte
	epoch             uint64
	sender            sender
	authenticatedData []byte
	contentType       ContentType
	application       []byte
	proposal          *Proposal
	commit            *commit
}

func (c *framedContent) read(s *cryptobyte.String) bool {
	return readOpaque(s, &c.groupID) && s.ReadUint64(&c.epoch) && c.sender.read(s) && readOpaque(s, &c.authenticatedData) &&
		s.ReadUint8((*uint8)(&c.contentType)) && c.readBody(s)
}

func (c *framedContent) readBody(s *cryptobyte.String) bool {
	switch c.contentType {
	case ContentApplication:
		return readOpaque(s, &c.application)
	case ContentProposal:
		c.proposal = new(Proposal)
		return c.proposal.read(s)
	case ContentCommit:
		c.commit = new(commit)
		return c.commit.read(s)
	}
	return false
}

func (c *framedContent) add(b *cryptobyte.Builder) {
	addOpaque(b, c.groupID)
	b.AddUint64(c.epoch)
	c.sender.add(b)
	addOpaque(b, c.authenticatedData)
	b.AddUint8(uint8(c.contentType))
	c.addBody(b)
}

func (c *framedContent) addBody(b *cryptobyte.Builder) {
	switch c.contentType {
	case ContentApplication:
		addOpaque(b, c.application)
	case ContentProposal:
		c.proposal.add(b)
	case ContentCommit:
		c.commit.add(b)
	}
}

// authenticatedContent is content with what proves it: the signature, and for a commit the tag over the new transcript.
type authenticatedContent struct {
	wireFormat      WireFormat
	content         framedContent
	signature       []byte
	confirmationTag []byte // of a commit
}

func (a *authenticatedContent) readAuth(s *cryptobyte.String) bool {
	return readOpaque(s, &a.signature) && (a.content.contentType != ContentCommit || readOpaque(s, &a.confirmationTag))
}

func (a *authenticatedContent) addAuth(b *cryptobyte.Builder) {
	addOpaque(b, a.signature)
	if a.content.contentType == ContentCommit {
		addOpaque(b, a.confirmationTag)
	}
}

func (a *authenticatedContent) add(b *cryptobyte.Builder) {
	b.AddUint16(uint16(a.wireFormat))
	a.content.add(b)
	a.addAuth(b)
}

func (a *authenticatedContent) read(s *cryptobyte.String) bool {
	return s.ReadUint16((*uint16)(&a.wireFormat)) && a.content.read(s) && a.readAuth(s)
}

// tbs is FramedContentTBS (section 6.1); context is the encoded GroupContext.
func (a *authenticatedContent) tbs(context []byte) []byte {
	return build(func(b *cryptobyte.Builder) {
		b.AddUint16(version10)
		b.AddUint16(uint16(a.wireFormat))
		a.content.add(b)
		if k := a.content.sender.kind; k == senderMember || k == senderNewMemberCommit {
			b.AddBytes(context)
		}
	})
}

func (a *authenticatedContent) sign(key *SignatureKey, context []byte) {
	a.signature = key.signWithLabel("FramedContentTBS", a.tbs(context))
}

func (a *authenticatedContent) verify(s *suite, public, context []byte) bool {
	return s.verifyWithLabel(public, "FramedContentTBS", a.tbs(context), a.signature)
}

// ref is the ProposalRef of section 5.2.
func (a *authenticatedContent) ref(s *suite) []byte {
	return s.refHash("MLS 1.0 Proposal Reference", marshal(a))
}

// Message is an MLSMessage as it came: read, and not verified in any way.
//
//	struct {
//	    ProtocolVersion version = mls10;
//	    WireFormat wire_format;
//	    select (MLSMessage.wire_format) {…};
//	} MLSMessage;
type Message struct {
	wireFormat WireFormat
	public     *publicMessage
	private    *privateMessage
	welcome    *welcome
	groupInfo  *groupInfo
	keyPackage *KeyPackage
}

// ParseMessage reads an MLSMessage of at most 16 MiB to its end.
func ParseMessage(data []byte) (*Message, error) {
	m := new(Message)
	if err := unmarshalUpTo(maxMessage, data, m, "a message"); err != nil {
		return nil, err
	}
	return m, nil
}

func (m *Message) body() structure {
	switch m.wireFormat {
	case WirePublicMessage:
		return m.public
	case WirePrivateMessage:
		return m.private
	case WireWelcome:
		return m.welcome
	case WireGroupInfo:
		return m.groupInfo
	default:
		return m.keyPackage
	}
}

func (m *Message) read(s *cryptobyte.String) bool {
	var version uint16
	if !s.ReadUint16(&version) || version != version10 || !s.ReadUint16((*uint16)(&m.wireFormat)) {
		return false
	}
	switch m.wireFormat {
	case WirePublicMessage:
		m.public = new(publicMessage)
	case WirePrivateMessage:
		m.private = new(privateMessage)
	case WireWelcome:
		m.welcome = new(welcome)
	case WireGroupInfo:
		m.groupInfo = new(groupInfo)
	case WireKeyPackage:
		m.keyPackage = new(KeyPackage)
	default:
		return false
	}
	return m.body().read(s)
}

func (m *Message) add(b *cryptobyte.Builder) {
	b.AddUint16(version10)
	b.AddUint16(uint16(m.wireFormat))
	m.body().add(b)
}

// Marshal returns the bytes of the message; nil if it was not made by ParseMessage.
func (m *Message) Marshal() []byte {
	if m.wireFormat == 0 {
		return nil
	}
	return marshal(m)
}

// WireFormat says which kind of message it is.
func (m *Message) WireFormat() WireFormat { return m.wireFormat }

// GroupID that a Public- or PrivateMessage or GroupInfo names; nil otherwise.
func (m *Message) GroupID() []byte {
	switch m.wireFormat {
	case WirePublicMessage:
		return m.public.content.groupID
	case WirePrivateMessage:
		return m.private.groupID
	case WireGroupInfo:
		return m.groupInfo.context.groupID
	}
	return nil
}

// Epoch that a Public- or PrivateMessage or GroupInfo names; 0 otherwise.
func (m *Message) Epoch() uint64 {
	switch m.wireFormat {
	case WirePublicMessage:
		return m.public.content.epoch
	case WirePrivateMessage:
		return m.private.epoch
	case WireGroupInfo:
		return m.groupInfo.context.epoch
	}
	return 0
}

// Suite that a Welcome, GroupInfo or KeyPackage is for; 0 otherwise. It may be one that is not known here.
func (m *Message) Suite() CipherSuite {
	switch m.wireFormat {
	case WireWelcome:
		return m.welcome.suite
	case WireGroupInfo:
		return m.groupInfo.context.suite
	case WireKeyPackage:
		return m.keyPackage.Suite
	}
	return 0
}

// ContentType of a Public- or PrivateMessage; 0 otherwise.
func (m *Message) ContentType() ContentType {
	switch m.wireFormat {
	case WirePublicMessage:
		return m.public.content.contentType
	case WirePrivateMessage:
		return m.private.contentType
	}
	return 0
}

// AuthenticatedData that stands beside the content in the clear. Nothing vouches for it until the message was processed.
func (m *Message) AuthenticatedData() []byte {
	switch m.wireFormat {
	case WirePublicMessage:
		return m.public.content.authenticatedData
	case WirePrivateMessage:
		return m.private.authenticatedData
	}
	return nil
}

// WelcomeRefs are the key packages a Welcome is for; nil if it is none.
func (m *Message) WelcomeRefs() [][]byte {
	if m.wireFormat != WireWelcome {
		return nil
	}
	var refs [][]byte
	for _, s := range m.welcome.secrets {
		refs = append(refs, s.newMember)
	}
	return refs
}

// KeyPackage that the message carries; nil if it is none.
func (m *Message) KeyPackage() *KeyPackage { return m.keyPackage }
