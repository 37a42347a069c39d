package mls

import "golang.org/x/crypto/cryptobyte"

// groupInfo tells a newcomer the state of a group (section 12.4.3).
//
//	struct {
//	    GroupContext group_context;
//	    Extension extensions<V>;
//	    MAC confirmation_tag;
//	    uint32 signer;
//	    opaque signature<V>;
//	} GroupInfo;
type groupInfo struct {
	context         groupContext
	extensions      []Extension
	confirmationTag []byte
	signer          leafIndex
	signature       []byte
}

func (g *groupInfo) read(s *cryptobyte.String) bool {
	return g.context.read(s) && readExtensions(s, &g.extensions) && readOpaque(s, &g.confirmationTag) &&
		s.ReadUint32((*uint32)(&g.signer)) && readOpaque(s, &g.signature)
}

func (g *groupInfo) addUnsigned(b *cryptobyte.Builder) {
	g.context.add(b)
	addExtensions(b, g.extensions)
	addOpaque(b, g.confirmationTag)
	b.AddUint32(uint32(g.signer))
}

func (g *groupInfo) add(b *cryptobyte.Builder) {
	g.addUnsigned(b)
	addOpaque(b, g.signature)
}

// groupSecrets are what a newcomer gets under its init key.
//
//	struct {
//	    opaque joiner_secret<V>;
//	    optional<PathSecret> path_secret;
//	    PreSharedKeyID psks<V>;
//	} GroupSecrets;
type groupSecrets struct {
	joiner     joinerSecret
	pathSecret []byte // nil: none
	psks       []preSharedKeyID
}

func (g *groupSecrets) read(s *cryptobyte.String) bool {
	var present bool
	if !readOpaque(s, (*[]byte)(&g.joiner)) || !readOptional(s, &present) || present && !readOpaque(s, &g.pathSecret) {
		return false
	}
	return readList(s, maxPSKs, func(s *cryptobyte.String) bool {
		var p preSharedKeyID
		ok := p.read(s)
		g.psks = append(g.psks, p)
		return ok
	})
}

func (g *groupSecrets) add(b *cryptobyte.Builder) {
	addOpaque(b, g.joiner)
	addOptional(b, g.pathSecret != nil)
	if g.pathSecret != nil {
		addOpaque(b, g.pathSecret)
	}
	addVector(b, func(b *cryptobyte.Builder) {
		for i := range g.psks {
			g.psks[i].add(b)
		}
	})
}

type encryptedGroupSecrets struct {
	newMember []byte // KeyPackageRef
	secrets   hpkeCiphertext
}

// welcome
//
//	struct {
//	    CipherSuite cipher_suite;
//	    EncryptedGroupSecrets secrets<V>;
//	    opaque encrypted_group_info<V>;
//	} Welcome;
type welcome struct {
	suite              CipherSuite
	secrets            []encryptedGroupSecrets
	encryptedGroupInfo []byte
}

func (w *welcome) read(s *cryptobyte.String) bool {
	return s.ReadUint16((*uint16)(&w.suite)) && readList(s, maxMembers, func(s *cryptobyte.String) bool {
		var e encryptedGroupSecrets
		ok := readOpaque(s, &e.newMember) && e.secrets.read(s)
		w.secrets = append(w.secrets, e)
		return ok
	}) && readOpaque(s, &w.encryptedGroupInfo)
}

func (w *welcome) add(b *cryptobyte.Builder) {
	b.AddUint16(uint16(w.suite))
	addVector(b, func(b *cryptobyte.Builder) {
		for i := range w.secrets {
			addOpaque(b, w.secrets[i].newMember)
			w.secrets[i].secrets.add(b)
		}
	})
	addOpaque(b, w.encryptedGroupInfo)
}
