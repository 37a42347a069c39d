package mls

import (
	"bytes"
	"crypto/rand"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestPathRules(t *testing.T) {
	all := newGroup(t, WirePublicMessage, names(5)...)
	alice, bob := all[0], all[1]
	for _, c := range []struct {
		name   string
		change func(*newPath, *ratchetTree)
	}{
		{"M57 path with the leaf of an update", func(p *newPath, tree *ratchetTree) {
			p.path.leaf.source, p.path.leaf.ParentHash = leafFromUpdate, nil
			p.path.leaf.sign(alice.signer, alice.g.context.groupID, alice.g.own)
		}},
		{"M36 path leaf with a wrong bit in its signature", func(p *newPath, tree *ratchetTree) { p.path.leaf.signature[0] ^= 1 }},
		{"M36 path leaf signed for another group", func(p *newPath, tree *ratchetTree) { p.path.leaf.sign(alice.signer, []byte("other"), alice.g.own) }},
		{"M36 path leaf signed for another place", func(p *newPath, tree *ratchetTree) { p.path.leaf.sign(alice.signer, alice.g.context.groupID, 1) }},
		{"M95 path that keeps the leaf key", func(p *newPath, tree *ratchetTree) {
			p.path.leaf.EncryptionKey = alice.g.tree.leaf(alice.g.own).EncryptionKey
			alice.resign(p, tree)
		}},
		{"M99 parent hash of zeros", func(p *newPath, tree *ratchetTree) {
			p.path.leaf.ParentHash = make([]byte, 32)
			p.path.leaf.sign(alice.signer, alice.g.context.groupID, alice.g.own)
		}},
		{"M99 parent hash that is empty", func(p *newPath, tree *ratchetTree) {
			p.path.leaf.ParentHash = nil
			p.path.leaf.sign(alice.signer, alice.g.context.groupID, alice.g.own)
		}},
		{"M99 keys of two path nodes exchanged", func(p *newPath, tree *ratchetTree) {
			p.path.nodes[0].encryptionKey, p.path.nodes[1].encryptionKey = p.path.nodes[1].encryptionKey, p.path.nodes[0].encryptionKey
		}},
		{"M98 path that is too short", func(p *newPath, tree *ratchetTree) { p.path.nodes = p.path.nodes[1:] }},
		{"M98 path that is too long", func(p *newPath, tree *ratchetTree) {
			p.path.nodes = append(p.path.nodes, updatePathNode{encryptionKey: bytes.Repeat([]byte{7}, 32)})
		}},
		{"M1 path node with a short key", func(p *newPath, tree *ratchetTree) {
			p.path.nodes[0].encryptionKey = p.path.nodes[0].encryptionKey[1:]
			alice.resign(p, tree)
		}},
		{"M96 path node without secrets", func(p *newPath, tree *ratchetTree) { p.path.nodes[0].secrets = nil }},
		{"M96 path node with a secret too many", func(p *newPath, tree *ratchetTree) {
			p.path.nodes[0].secrets = append(p.path.nodes[0].secrets, p.path.nodes[0].secrets[0])
		}},
		{"M102 path secrets of another key", func(p *newPath, tree *ratchetTree) {
			pub, _, err := alice.g.suite.generateKeyPair(rand.Reader)
			require.NoError(t, err)
			p.path.nodes[len(p.path.nodes)-1].encryptionKey = pub
			alice.resign(p, tree)
			for i := range p.path.nodes {
				p.path.nodes[i].secrets = nil
			}
			at := tree.clone()
			at.setPath(p.steps, p.path.nodes)
			at.set(alice.g.own.node(), node{leaf: &p.path.leaf})
			next := alice.g.nextContext(&change{tree: at}, alice.g.context.confirmed)
			require.NoError(t, p.encrypt(rand.Reader, at, marshal(&next), nil))
		}},
		{"M95 path node takes the key of a leaf", func(p *newPath, tree *ratchetTree) { // a node takes the key of somebody's leaf
			p.path.nodes[1].encryptionKey = tree.leaf(3).EncryptionKey
			alice.resign(p, tree)
		}},
		{"M95 path node that keeps its key", func(p *newPath, tree *ratchetTree) { // no fresh key for a node that had one
			p.path.nodes[0].encryptionKey = alice.g.tree.nodes[p.steps[0].node].encryptionKey()
			alice.resign(p, tree)
		}},
		{"M95 one key for two path nodes", func(p *newPath, tree *ratchetTree) { // one key for two nodes
			p.path.nodes[0].encryptionKey = p.path.nodes[1].encryptionKey
			alice.resign(p, tree)
		}},
		{"M95 path leaf takes the key of a node", func(p *newPath, tree *ratchetTree) { // the leaf takes a parent's key
			p.path.leaf.EncryptionKey = alice.g.tree.nodes[p.steps[0].node].encryptionKey()
			alice.resign(p, tree)
		}},
		{"M57 path with the leaf of a key package", func(p *newPath, tree *ratchetTree) {
			p.path.leaf.source, p.path.leaf.ParentHash = leafFromKeyPackage, nil
			p.path.leaf.sign(alice.signer, alice.g.context.groupID, alice.g.own)
		}},
		{"M2 path node with a key of low order", func(p *newPath, tree *ratchetTree) {
			p.path.nodes[0].encryptionKey = make([]byte, 32)
			alice.resign(p, tree)
		}},
		{"M2 path leaf with a key of low order", func(p *newPath, tree *ratchetTree) {
			p.path.leaf.EncryptionKey = make([]byte, 32)
			alice.resign(p, tree)
		}},
		{"M37 path leaf that gives up mls10", func(p *newPath, tree *ratchetTree) {
			p.path.leaf.Capabilities.Versions = nil
			alice.resign(p, tree)
		}},
		{"M40 path leaf with an extension that it does not support", func(p *newPath, tree *ratchetTree) {
			p.path.leaf.Extensions = []Extension{{0x7777, nil}}
			alice.resign(p, tree)
		}},
		{"M92 path leaf takes the signature key of another", func(p *newPath, tree *ratchetTree) {
			p.path.leaf.SignatureKey = bob.signer.Public()
			p.path.leaf.ParentHash = tree.clone().setPath(p.steps, p.path.nodes)
			p.path.leaf.sign(bob.signer, alice.g.context.groupID, alice.g.own)
		}},
		{"M94 path leaf with a credential that others do not support", func(p *newPath, tree *ratchetTree) {
			p.path.leaf.Credential = Credential{Type: CredentialX509, Certificates: [][]byte{{1}}}
			p.path.leaf.Capabilities.Credentials = []CredentialType{CredentialBasic, CredentialX509}
			alice.resign(p, tree)
		}},
		{"M98 path without nodes", func(p *newPath, tree *ratchetTree) { p.path.nodes = nil }},
		{"M99 leaf signed over the tree before", func(p *newPath, tree *ratchetTree) {
			p.path.leaf.ParentHash = alice.g.tree.leaf(alice.g.own).ParentHash
			p.path.leaf.sign(alice.signer, alice.g.context.groupID, alice.g.own)
		}},
		{"M54 confirmation tag of zeros", func(*newPath, *ratchetTree) {}}, // the control: nothing else is wrong
	} {
		t.Run(c.name, func(t *testing.T) {
			raw := forgePath(t, alice, nil, c.change)
			_, err := bob.process(raw)
			requireCheck(t, err)
			if _, err = bob.observer().Process(parsed(t, raw), testNow); err != nil {
				requireCheck(t, err)
				return
			}
			require.Regexp(t, "^M(54|96|102) ", c.name, "can be seen from outside, and was not")
		})
	}
	_, err := bob.process(forgePath(t, alice, nil, func(p *newPath, _ *ratchetTree) { p.path.nodes[0].secrets[0].ciphertext[0] ^= 1 }))
	require.ErrorIs(t, err, ErrDecrypt)
	agree(t, all...)
}

func TestMessageRules(t *testing.T) {
	all := newGroup(t, WirePublicMessage, "alice", "bob", "carol")
	alice, bob := all[0], all[1]
	// Somebody who is no member any more, or never was, cannot make a membership tag.
	outsider := newParty(t, "eve")
	outsider.create()
	outsider.g.context = alice.g.context
	someCommit := func(a *authenticatedContent) { a.content.commit = &commit{} }
	from := func(s sender) func(*authenticatedContent) {
		return func(a *authenticatedContent) { a.content.sender, a.content.commit = s, &commit{} }
	}
	tagged := func(change func(tag []byte) []byte) []byte {
		m := parsed(t, forgeMessage(alice, ContentCommit, someCommit))
		m.public.membershipTag = change(m.public.membershipTag)
		return m.Marshal()
	}
	for _, c := range []struct {
		name string
		m    []byte
	}{
		{"M45 application data in public", forgeMessage(alice, ContentApplication, func(a *authenticatedContent) { a.content.application = []byte("x") })},
		{"M49 sender of a blank place", forgeMessage(alice, ContentCommit, from(sender{senderMember, 3}))},
		{"M49 sender beyond the tree", forgeMessage(alice, ContentCommit, from(sender{senderMember, 8}))},
		{"M49 sender of leaf 2 to the 31", forgeMessage(alice, ContentCommit, from(sender{senderMember, 1 << 31}))},
		{"M49 sender of the highest leaf there is", forgeMessage(alice, ContentCommit, from(sender{senderMember, 1<<32 - 1}))},
		{"M50 commit in the name of another", forgeMessage(alice, ContentCommit, from(sender{senderMember, 2}))},
		{"M4 commit of a newcomer without a path", forgeMessage(alice, ContentCommit, from(sender{kind: senderNewMemberCommit}))},
		{"M5 commit as a newcomer's proposal", forgeMessage(alice, ContentCommit, from(sender{kind: senderNewMemberProposal}))},
		{"M6 commit of an external sender", forgeMessage(alice, ContentCommit, from(sender{kind: senderExternal}))},
		{"M76 membership tag of who is no member", forgeMessage(outsider, ContentCommit, someCommit)},
		{"M76 membership tag with a wrong bit", tagged(flipped)},
		{"M76 membership tag cut to half", tagged(func(tag []byte) []byte { return tag[:16] })},
		{"M76 membership tag of one byte", tagged(func(tag []byte) []byte { return tag[:1] })},
		{"M76 membership tag that is empty", tagged(func([]byte) []byte { return nil })},
		{"M76 membership tag that is too long", tagged(func(tag []byte) []byte { return append(tag, 0) })},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := bob.process(c.m)
			requireCheck(t, err)
		})
	}
	for _, c := range []struct {
		name  string
		plain func(*authenticatedContent) []byte
	}{
		{"M46 content that is noise", func(*authenticatedContent) []byte { return bytes.Repeat([]byte{0xff}, 40) }},
		{"M46 content that is longer than the message", func(*authenticatedContent) []byte { return append([]byte{0x40, 100}, make([]byte, 60)...) }},
		{"M46 content cut before its signature", func(a *authenticatedContent) []byte {
			a.content.application = make([]byte, 40)
			return build(a.content.addBody)
		}},
		{"M47 padding that is not zero", func(a *authenticatedContent) []byte {
			a.sign(alice.signer, marshal(&alice.g.context))
			return append(rawPlaintext(a), 0, 0, 1)
		}},
		{"M47 padding whose first byte is not zero", func(a *authenticatedContent) []byte {
			a.sign(alice.signer, marshal(&alice.g.context))
			return append(rawPlaintext(a), 1, 0, 0)
		}},
		{"M50 message signed in the name of another", func(a *authenticatedContent) []byte {
			a.content.sender.index = 2
			a.sign(alice.signer, marshal(&alice.g.context))
			return rawPlaintext(a)
		}},
		{"M50 message signed for a PublicMessage", func(a *authenticatedContent) []byte {
			a.wireFormat = WirePublicMessage
			a.sign(alice.signer, marshal(&alice.g.context))
			return rawPlaintext(a)
		}},
		{"M50 message signed in another epoch", func(a *authenticatedContent) []byte {
			other := alice.g.context
			other.epoch--
			a.sign(alice.signer, marshal(&other))
			return rawPlaintext(a)
		}},
		{"M50 message that is not signed", func(a *authenticatedContent) []byte {
			a.signature = make([]byte, 64)
			return rawPlaintext(a)
		}},
		{"M50 message with an empty signature", func(a *authenticatedContent) []byte {
			a.content.application = make([]byte, 40)
			return rawPlaintext(a)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := bob.process(sealRaw(t, alice, ContentApplication, c.plain))
			requireCheck(t, err)
		})
	}
	t.Run("M50 late message of the epoch before that is not signed", func(t *testing.T) {
		m := sealRaw(t, alice, ContentApplication, func(a *authenticatedContent) []byte {
			a.signature = make([]byte, 64)
			return rawPlaintext(a)
		})
		later := bob.aside()
		p := all[2].aside().commit(CommitParams{})
		later.apply(p.Message())
		_, err := later.process(m)
		requireCheck(t, err)
	})
	t.Run("M48 GroupInfo in place of a message", func(t *testing.T) {
		info, err := alice.g.GroupInfo(true)
		require.NoError(t, err)
		_, err = bob.process(info)
		requireCheck(t, err)
	})
	t.Run("M51 application data where a handshake is looked for", func(t *testing.T) {
		// A second line, called directly: Process has sorted them out before.
		a := alice.g.content(ContentApplication, nil)
		_, err := bob.g.processHandshake(a, testNow)
		requireCheck(t, err)
	})
	t.Run("M83 sender data of a leaf beyond the tree", func(t *testing.T) {
		for _, leaf := range []leafIndex{4, 1 << 31, 1<<32 - 1} {
			_, err := bob.process(forgePrivate(t, alice, ContentApplication, senderData{leaf: leaf}))
			requireCheck(t, err)
		}
	})
	_, err := bob.process(forgeMessage(alice, ContentCommit, func(a *authenticatedContent) { a.content.groupID, a.content.commit = []byte("other"), &commit{} }))
	require.ErrorIs(t, err, ErrWrongGroup)
	_, err = bob.process(append([]byte{0, 1, 0, 5}, alice.keyPackage().KeyPackage().Marshal()...))
	require.ErrorIs(t, err, ErrWrongGroup)
	for _, epoch := range []uint64{0, bob.g.Epoch() + 1, 1<<64 - 1} {
		_, err = bob.process(forgeMessage(alice, ContentCommit, func(a *authenticatedContent) { a.content.epoch, a.content.commit = epoch, &commit{} }))
		require.Equal(t, &WrongEpochError{epoch, bob.g.Epoch()}, err)
	}
}
