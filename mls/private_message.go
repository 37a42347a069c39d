package mls

import (
	"fmt"
	"io"

	"golang.org/x/crypto/cryptobyte"
)

// privateMessage hides content and sender from everybody but members (section 6.3).
//
//	struct {
//	    opaque group_id<V>;
//	    uint64 epoch;
//	    ContentType content_type;
//	    opaque authenticated_data<V>;
//	    opaque encrypted_sender_data<V>;
//	    opaque ciphertext<V>;
//	} PrivateMessage;
type privateMessage struct {
	groupID             []byte
	epoch               uint64
	contentType         ContentType
	authenticatedData   []byte
	encryptedSenderData []byte
	ciphertext          []byte
}

func (m *privateMessage) read(s *cryptobyte.String) bool {
	return readOpaque(s, &m.groupID) && s.ReadUint64(&m.epoch) && s.ReadUint8((*uint8)(&m.contentType)) &&
		m.contentType >= ContentApplication && m.contentType <= ContentCommit &&
		readOpaque(s, &m.authenticatedData) && readOpaque(s, &m.encryptedSenderData) && readOpaque(s, &m.ciphertext)
}

func (m *privateMessage) addHeader(b *cryptobyte.Builder) {
	addOpaque(b, m.groupID)
	b.AddUint64(m.epoch)
	b.AddUint8(uint8(m.contentType))
}

// addAAD is PrivateContentAAD.
func (m *privateMessage) addAAD(b *cryptobyte.Builder) {
	m.addHeader(b)
	addOpaque(b, m.authenticatedData)
}

func (m *privateMessage) add(b *cryptobyte.Builder) {
	m.addAAD(b)
	addOpaque(b, m.encryptedSenderData)
	addOpaque(b, m.ciphertext)
}

func (t ContentType) ratchet() ratchetKind {
	if t == ContentApplication {
		return applicationRatchet
	}
	return handshakeRatchet
}

// senderData says which key the content is under (section 6.3.2).
//
//	struct {
//	    uint32 leaf_index;
//	    uint32 generation;
//	    opaque reuse_guard[4];
//	} SenderData;
type senderData struct {
	leaf       leafIndex
	generation uint32
	guard      [4]byte
}

func (d *senderData) read(s *cryptobyte.String) bool {
	return s.ReadUint32((*uint32)(&d.leaf)) && s.ReadUint32(&d.generation) && s.CopyBytes(d.guard[:])
}

func (d *senderData) add(b *cryptobyte.Builder) {
	b.AddUint32(uint32(d.leaf))
	b.AddUint32(d.generation)
	b.AddBytes(d.guard[:])
}

// senderDataKey is derived from a sample of the ciphertext.
func (s *suite) senderDataKey(secret, ciphertext []byte) messageKey {
	sample := ciphertext[:min(len(ciphertext), s.nh)]
	return messageKey{s.expandWithLabel(secret, "key", sample, s.nk), s.expandWithLabel(secret, "nonce", sample, s.nn)}
}

func (s *suite) sealMessage(k messageKey, aad, plaintext []byte) ([]byte, error) {
	aead, err := s.aead(k.key)
	if err != nil {
		return nil, fmt.Errorf("mls: encrypting a message: %w", err)
	}
	return aead.Seal(nil, k.nonce, plaintext, aad), nil
}

func (s *suite) openMessage(k messageKey, aad, ciphertext []byte) ([]byte, error) {
	aead, err := s.aead(k.key)
	if err != nil {
		return nil, fmt.Errorf("mls: decrypting a message: %w", err)
	}
	pt, err := aead.Open(nil, k.nonce, ciphertext, aad)
	if err != nil {
		return nil, fmt.Errorf("mls: decrypting a message: %w", ErrDecrypt)
	}
	return pt, nil
}

func (k messageKey) guarded(guard [4]byte) messageKey {
	nonce := append([]byte{}, k.nonce...)
	for i, g := range guard {
		nonce[i] ^= g
	}
	return messageKey{k.key, nonce}
}

// protectPrivate encrypts signed content of ours and moves our ratchet.
func (s *suite) protectPrivate(rand io.Reader, a *authenticatedContent, own leafIndex, secret []byte, tree *secretTree, padding func(int) int) (*privateMessage, error) {
	c := &a.content
	m := &privateMessage{groupID: c.groupID, epoch: c.epoch, contentType: c.contentType, authenticatedData: c.authenticatedData}
	data := senderData{leaf: own}
	if err := fillRandom(rand, data.guard[:]); err != nil {
		return nil, err
	}
	plain := build(func(b *cryptobyte.Builder) {
		c.addBody(b)
		a.addAuth(b)
	})
	if padding != nil {
		if n := padding(len(plain)); n > len(plain) {
			plain = append(plain, make([]byte, min(n, maxMessage)-min(len(plain), maxMessage))...)
		}
	}
	// Looked at before the ratchet moves. What stands around the content takes less than 256 bytes.
	if n := len(plain) + len(c.authenticatedData) + len(c.groupID) + 256; n > maxMessage {
		return nil, errTooLarge(n)
	}
	u, err := tree.peek(own)
	if err != nil {
		return nil, err
	}
	r := u.leaf.ratchets[c.contentType.ratchet()]
	data.generation = r.next
	after := r.clone()
	key := after.step(s)
	if m.ciphertext, err = s.sealMessage(key.guarded(data.guard), build(m.addAAD), plain); err != nil {
		return nil, err
	}
	if m.encryptedSenderData, err = s.sealMessage(s.senderDataKey(secret, m.ciphertext), build(m.addHeader), marshal(&data)); err != nil {
		return nil, err
	}
	tree.use(u, c.contentType.ratchet(), after)
	return m, nil
}

// An openedMessage was decrypted with the right key; its signature is still to be checked. use makes the key unusable.
type openedMessage struct {
	authenticatedContent
	generation uint32
	use        func()
}

// decryptPrivate opens a message without touching the secret tree: a forgery must not cost the key of the real message.
func (s *suite) decryptPrivate(m *privateMessage, own leafIndex, secret []byte, tree *secretTree) (*openedMessage, error) {
	if len(m.ciphertext) < s.nh {
		return nil, fmt.Errorf("mls: decrypting a message of %d bytes: %w", len(m.ciphertext), ErrDecrypt)
	}
	raw, err := s.openMessage(s.senderDataKey(secret, m.ciphertext), build(m.addHeader), m.encryptedSenderData)
	if err != nil {
		return nil, err
	}
	var data senderData
	if err := unmarshal(raw, &data, "sender data"); err != nil {
		return nil, err
	}
	if data.leaf == own {
		return nil, ErrOwnMessage
	}
	u, err := tree.peek(data.leaf)
	if err != nil {
		return nil, err
	}
	kind := m.contentType.ratchet()
	key, after, err := u.leaf.ratchets[kind].at(s, data.generation)
	if err != nil {
		return nil, err
	}
	plain, err := s.openMessage(key.guarded(data.guard), build(m.addAAD), m.ciphertext)
	if err != nil {
		return nil, err
	}
	o := &openedMessage{generation: data.generation, use: func() { tree.use(u, kind, after) }}
	o.wireFormat = WirePrivateMessage
	o.content = framedContent{groupID: m.groupID, epoch: m.epoch, sender: sender{senderMember, uint32(data.leaf)},
		authenticatedData: m.authenticatedData, contentType: m.contentType}
	in := cryptobyte.String(plain)
	if !o.content.readBody(&in) || !o.readAuth(&in) {
		return nil, invalid("content of a PrivateMessage (6.3.1)")
	}
	for _, b := range in {
		if b != 0 {
			return nil, invalid("padding that is not zero (6.3.1)")
		}
	}
	return o, nil
}
