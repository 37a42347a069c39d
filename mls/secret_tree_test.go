package mls

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"hash"
	"testing"

	"github.com/stretchr/testify/require"
)

// forgePrivate is what a member can make that lies about the sender: right sender data, and a ciphertext under no key.
func forgePrivate(t require.TestingT, p *party, kind ContentType, data senderData) []byte {
	g := p.g
	m := &privateMessage{groupID: g.context.groupID, epoch: g.context.epoch, contentType: kind, ciphertext: make([]byte, 100)}
	_, err := rand.Read(m.ciphertext)
	require.NoError(t, err)
	m.encryptedSenderData, err = g.suite.sealMessage(g.suite.senderDataKey(g.secrets.senderData, m.ciphertext), build(m.addHeader), marshal(&data))
	require.NoError(t, err)
	return marshal(&Message{wireFormat: WirePrivateMessage, private: m})
}

// of returns a sender's ratchet to be moved by hand.
func (t *secretTree) of(l leafIndex, kind ratchetKind) (*ratchet, error) {
	u, err := t.peek(l)
	if err != nil {
		return nil, err
	}
	r := u.leaf.ratchets[kind].clone()
	t.use(u, kind, r)
	return r, nil
}

// ratchet of a sender who has been heard.
func (t *secretTree) ratchet(tb testing.TB, l leafIndex, kind ratchetKind) *ratchet {
	n, x := t.root, root(t.leaves)
	for !x.isLeaf() {
		require.Empty(tb, n.secret)
		if x.left().covers(l) {
			n, x = n.left, x.left()
		} else {
			n, x = n.right, x.right()
		}
	}
	require.NotNil(tb, n.ratchets[kind])
	return n.ratchets[kind]
}

// unused are the places of the secrets from which nothing has been derived yet.
func (n *secretNode) unused(x nodeIndex) (places []nodeIndex) {
	switch {
	case n.secret != nil:
		return []nodeIndex{x}
	case x.isLeaf():
		return nil
	}
	return append(n.left.unused(x.left()), n.right.unused(x.right())...)
}

// Whoever the forged message names, and whatever was received before: the state stays byte for byte what it was.
func TestForgeryLeavesTheSecretTree(t *testing.T) {
	all := newGroup(t, WirePrivateMessage, names(6)...)
	reader, heard, forger := all[0], all[1], all[5]
	spread(all[2], CommitParams{}, without(all, all[2])...) // a secret tree that nobody has taken anything from
	for _, prepare := range []func(){
		func() {},
		func() { reader.read(heard.encrypt("x"), "x") },
		func() { reader.encrypt("x") },
		func() { heard.encrypt("lost"); reader.read(heard.encrypt("y"), "y") }, // and one key waits
	} {
		prepare()
		before := reader.g.Marshal()
		for _, kind := range []ContentType{ContentApplication, ContentProposal, ContentCommit} {
			for leaf := range leafIndex(10) { // 6 and 7 are blank, 8 and 9 outside the tree
				for _, generation := range []uint32{0, 1, 2, 300, maxForward, maxForward + 10, 1<<32 - 1} {
					_, err := reader.g.Process(parsed(t, forgePrivate(t, forger, kind, senderData{leaf: leaf, generation: generation})), testNow)
					require.Error(t, err)
				}
			}
		}
		require.True(t, bytes.Equal(before, reader.g.Marshal()))
	}
	agree(t, all...)
}

// A message that opens and whose content is not valid leaves no trace either.
func TestBadContentLeavesTheSecretTree(t *testing.T) {
	all := newGroup(t, WirePrivateMessage, "alice", "bob")
	spread(all[1], CommitParams{}, all[0])
	before := all[1].g.Marshal()
	for _, plain := range []func(*authenticatedContent) []byte{
		func(*authenticatedContent) []byte { return bytes.Repeat([]byte{0xff}, 40) },
		func(a *authenticatedContent) []byte { // not signed
			a.signature = make([]byte, 64)
			return rawPlaintext(a)
		},
	} {
		_, err := all[1].g.Process(parsed(t, sealRaw(t, all[0], ContentApplication, plain)), testNow)
		require.Error(t, err)
		require.True(t, bytes.Equal(before, all[1].g.Marshal()))
	}
}

// countingHash is SHA-256 under a number that nothing else here uses.
const countingHash = crypto.BLAKE2s_256

var hashesMade int

func init() {
	crypto.RegisterHash(countingHash, func() hash.Hash {
		hashesMade++
		return sha256.New()
	})
}

// A thousand messages that name generations near and far: each costs at most the steps of one ratchet to its limit, those beyond
// it next to nothing, and none a byte of memory.
func TestForgedGenerationsCostBoundedWork(t *testing.T) {
	all := newGroup(t, WirePrivateMessage, "alice", "bob", "carol")
	reader, forger := all[0], all[2]
	counted := *reader.g.suite
	counted.hash = countingHash
	reader.g.suite, reader.g.messages.suite = &counted, &counted
	before := reader.g.Marshal()
	cost := func(generation uint32) int {
		raw := forgePrivate(t, forger, ContentApplication, senderData{leaf: 1, generation: generation})
		m := parsed(t, raw)
		hashesMade = 0
		_, err := reader.g.Process(m, testNow)
		require.Error(t, err)
		return hashesMade
	}
	one := cost(1) - cost(0) // the next generation's step: secret, key and nonce
	require.Positive(t, one)
	base := cost(0)
	for i := range uint32(1000) {
		generation := i * 4
		switch made := cost(generation); {
		case generation > maxForward:
			require.LessOrEqual(t, made, base, "generation %d is not worth a step", generation)
		default:
			require.LessOrEqual(t, made, base+one*maxSkipped+(one/3+1)*maxForward, "generation %d", generation)
		}
	}
	require.True(t, bytes.Equal(before, reader.g.Marshal()))
	require.Empty(t, reader.g.messages.ratchet(t, 1, applicationRatchet).skipped)
}

// Of what a jump passes over the newest keys are kept, and they are those that going step by step would have given.
func TestSkippedKeysAreTheNewest(t *testing.T) {
	s := suites[X25519AES128GCMSHA256Ed25519]
	r := &ratchet{secret: make([]byte, s.nh)}
	slow := r.clone()
	keys := map[uint32]messageKey{}
	for slow.next <= 900 {
		g := slow.next
		keys[g] = slow.step(s)
	}
	for _, generation := range []uint32{0, 3, maxSkipped, maxSkipped + 1, 900} {
		key, after, err := r.at(s, generation)
		require.NoError(t, err)
		require.Equal(t, keys[generation], key)
		require.Equal(t, generation+1, after.next)
		require.LessOrEqual(t, len(after.skipped), maxSkipped)
		for g := generation - min(generation, maxSkipped); g < generation; g++ {
			if g >= r.next {
				require.Equal(t, keys[g], after.skipped[g], "generation %d", g)
			}
		}
		r = after
	}
}
