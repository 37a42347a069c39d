package mls

import "golang.org/x/crypto/cryptobyte"

// publicMessage is signed and, from a member, also carries a MAC that only members can make (section 6.2).
//
//	struct {
//	    FramedContent content;
//	    FramedContentAuthData auth;
//	    select (PublicMessage.content.sender.sender_type) {
//	        case member: MAC membership_tag;
//	        …
//	    };
//	} PublicMessage;
type publicMessage struct {
	authenticatedContent
	membershipTag []byte
}

func (m *publicMessage) read(s *cryptobyte.String) bool {
	m.wireFormat = WirePublicMessage
	return m.content.read(s) && m.readAuth(s) && (m.content.sender.kind != senderMember || readOpaque(s, &m.membershipTag))
}

func (m *publicMessage) add(b *cryptobyte.Builder) {
	m.content.add(b)
	m.addAuth(b)
	if m.content.sender.kind == senderMember {
		addOpaque(b, m.membershipTag)
	}
}

// tbm is AuthenticatedContentTBM.
func (a *authenticatedContent) tbm(context []byte) []byte {
	return append(a.tbs(context), build(a.addAuth)...)
}

func (s *suite) protectPublic(a *authenticatedContent, membershipKey, context []byte) *publicMessage {
	return &publicMessage{*a, s.mac(membershipKey, a.tbm(context))}
}

// checkMembership is the check that a PublicMessage of a member was made by one.
func (m *publicMessage) checkMembership(s *suite, membershipKey, context []byte) error {
	if m.content.contentType == ContentApplication {
		return invalid("application data in a PublicMessage (6.2)")
	}
	if !s.checkMAC(membershipKey, m.tbm(context), m.membershipTag) {
		return invalid("membership tag (6.2)")
	}
	return nil
}
