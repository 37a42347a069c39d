package mls

import (
	"crypto/rand"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestVectorsTreeOperations(t *testing.T) {
	type tc struct {
		Suite      CipherSuite `json:"cipher_suite"`
		Before     hexBytes    `json:"tree_before"`
		Proposal   hexBytes
		Sender     leafIndex `json:"proposal_sender"`
		HashBefore hexBytes  `json:"tree_hash_before"`
		After      hexBytes  `json:"tree_after"`
		HashAfter  hexBytes  `json:"tree_hash_after"`
	}
	eachVector(t, "tree-operations.json", func(c *tc) CipherSuite { return c.Suite }, func(t *testing.T, c *tc) {
		s, _ := c.Suite.suite()
		tree, err := parseTree(s, c.Before)
		require.NoError(t, err)
		require.EqualValues(t, c.HashBefore, tree.treeHash())
		var p Proposal
		require.NoError(t, unmarshal(c.Proposal, &p, "proposal"))
		after := tree.clone()
		switch p.Type {
		case ProposalAdd:
			_, err = after.add(&p.addition.Leaf)
			require.NoError(t, err)
		case ProposalUpdate:
			after.update(c.Sender, p.update)
		case ProposalRemove:
			after.remove(p.remove)
		}
		require.EqualValues(t, c.After, after.marshal())
		require.EqualValues(t, c.HashAfter, after.treeHash(), "cached hashes follow a change")
		fresh, err := parseTree(s, c.After)
		require.NoError(t, err)
		require.Equal(t, fresh.treeHash(), after.treeHash())
		require.EqualValues(t, c.HashBefore, tree.treeHash(), "a clone leaves its original alone")
	})
}

func TestVectorsTreeValidation(t *testing.T) {
	type tc struct {
		Suite       CipherSuite `json:"cipher_suite"`
		Tree        hexBytes
		GroupID     hexBytes `json:"group_id"`
		Resolutions [][]nodeIndex
		Hashes      []hexBytes `json:"tree_hashes"`
	}
	eachVector(t, "tree-validation.json", func(c *tc) CipherSuite { return c.Suite }, func(t *testing.T, c *tc) {
		s, _ := c.Suite.suite()
		tree, err := parseTree(s, c.Tree)
		require.NoError(t, err)
		for i := range c.Resolutions {
			require.ElementsMatch(t, c.Resolutions[i], tree.resolution(nodeIndex(i)))
			require.EqualValues(t, c.Hashes[i], tree.hash(nodeIndex(i)))
		}
		require.NoError(t, tree.check(c.GroupID, nil))
		for i, n := range tree.nodes {
			if n.parent == nil {
				continue
			}
			broken := tree.clone()
			p := *n.parent
			p.encryptionKey = append([]byte{p.encryptionKey[0] ^ 1}, p.encryptionKey[1:]...)
			broken.set(nodeIndex(i), node{parent: &p})
			require.Error(t, broken.checkParentHashes(), "node %d has a key that nobody below put there", i)
		}
	})
}

func TestVectorsTreeKEM(t *testing.T) {
	type tc struct {
		Suite     CipherSuite `json:"cipher_suite"`
		GroupID   hexBytes    `json:"group_id"`
		Epoch     uint64
		Confirmed hexBytes `json:"confirmed_transcript_hash"`
		Tree      hexBytes `json:"ratchet_tree"`
		Leaves    []struct {
			Index      leafIndex
			Encryption hexBytes `json:"encryption_priv"`
			Signature  hexBytes `json:"signature_priv"`
			Secrets    []struct {
				Node   nodeIndex
				Secret hexBytes `json:"path_secret"`
			} `json:"path_secrets"`
		} `json:"leaves_private"`
		Paths []struct {
			Sender  leafIndex
			Path    hexBytes   `json:"update_path"`
			Secrets []hexBytes `json:"path_secrets"`
			Commit  hexBytes   `json:"commit_secret"`
			After   hexBytes   `json:"tree_hash_after"`
		} `json:"update_paths"`
	}
	eachVector(t, "treekem.json", func(c *tc) CipherSuite { return c.Suite }, func(t *testing.T, c *tc) {
		s, _ := c.Suite.suite()
		tree, err := parseTree(s, c.Tree)
		require.NoError(t, err)
		private, signers := map[leafIndex]privateKeys{}, map[leafIndex]*SignatureKey{}
		for _, l := range c.Leaves {
			keys := privateKeys{l.Index.node(): l.Encryption}
			for _, p := range l.Secrets {
				pub, priv := s.deriveKeyPair(s.deriveSecret(p.Secret, "node"))
				require.False(t, tree.nodes[p.Node].blank())
				require.EqualValues(t, tree.nodes[p.Node].encryptionKey(), pub)
				keys[p.Node] = priv
			}
			private[l.Index] = keys
			signers[l.Index], err = NewSignatureKey(c.Suite, l.Signature)
			require.NoError(t, err)
		}
		context := func(after *ratchetTree) []byte {
			return marshal(&groupContext{suite: c.Suite, groupID: c.GroupID, epoch: c.Epoch, treeHash: after.treeHash(), confirmed: c.Confirmed})
		}
		// process lets everybody else open a path; opened are the private keys that each gets out of it.
		process := func(after *ratchetTree, steps []step, path *updatePath, sender leafIndex) (opened map[leafIndex]privateKeys, secrets [][]byte) {
			opened = map[leafIndex]privateKeys{}
			for l, keys := range private {
				if l == sender {
					continue
				}
				above, commit, err := after.openPath(steps, path, l, keys, context(after), nil)
				require.NoError(t, err)
				opened[l] = above
				secrets = append(secrets, commit)
			}
			return opened, secrets
		}
		for _, p := range c.Paths {
			var path updatePath
			require.NoError(t, unmarshal(p.Path, &path, "path"))
			// The leaves of these vectors do not name suite 7, not even in its own cases; everything else about them has to hold.
			if c.Suite != P384AES256GCMSHA384P384 {
				require.NoError(t, path.leaf.check(s, c.GroupID, p.Sender))
			} else {
				require.True(t, s.verifyWithLabel(path.leaf.SignatureKey, "LeafNodeTBS", path.leaf.tbs(c.GroupID, p.Sender), path.leaf.signature))
			}
			after := tree.clone()
			steps, err := after.mergePath(p.Sender, &path)
			require.NoError(t, err)
			require.EqualValues(t, p.After, after.treeHash())
			require.NoError(t, after.checkParentHashes())
			opened, secrets := process(after, steps, &path, p.Sender)
			for _, commit := range secrets {
				require.EqualValues(t, p.Commit, commit)
			}
			for l, keys := range opened {
				above := slices.IndexFunc(steps, func(st step) bool { return st.node.covers(l) })
				_, private := s.deriveKeyPair(s.deriveSecret(p.Secrets[l], "node"))
				require.Equal(t, private, keys[steps[above].node], "path secret of leaf %d", l)
			}

			own := tree.clone()
			made, err := own.makePath(rand.Reader, p.Sender, *tree.leaf(p.Sender), signers[p.Sender], c.GroupID)
			require.NoError(t, err)
			require.NoError(t, made.encrypt(rand.Reader, own, context(own), nil))
			again := tree.clone()
			steps, err = again.mergePath(p.Sender, &made.path)
			require.NoError(t, err)
			require.Equal(t, own.treeHash(), again.treeHash())
			_, secrets = process(again, steps, &made.path, p.Sender)
			for _, commit := range secrets {
				require.EqualValues(t, made.commit, commit)
			}
		}
	})
}

func TestVectorsMessageProtection(t *testing.T) {
	type tc struct {
		Suite         CipherSuite `json:"cipher_suite"`
		GroupID       hexBytes    `json:"group_id"`
		Epoch         uint64
		TreeHash      hexBytes `json:"tree_hash"`
		Confirmed     hexBytes `json:"confirmed_transcript_hash"`
		SignaturePriv hexBytes `json:"signature_priv"`
		SignaturePub  hexBytes `json:"signature_pub"`
		Encryption    hexBytes `json:"encryption_secret"`
		SenderData    hexBytes `json:"sender_data_secret"`
		Membership    hexBytes `json:"membership_key"`

		Proposal        hexBytes
		ProposalPub     hexBytes `json:"proposal_pub"`
		ProposalPriv    hexBytes `json:"proposal_priv"`
		Commit          hexBytes
		CommitPub       hexBytes `json:"commit_pub"`
		CommitPriv      hexBytes `json:"commit_priv"`
		Application     hexBytes
		ApplicationPriv hexBytes `json:"application_priv"`
	}
	eachVector(t, "message-protection.json", func(c *tc) CipherSuite { return c.Suite }, func(t *testing.T, c *tc) {
		s, _ := c.Suite.suite()
		context := marshal(&groupContext{suite: c.Suite, groupID: c.GroupID, epoch: c.Epoch, treeHash: c.TreeHash, confirmed: c.Confirmed})
		key, err := NewSignatureKey(c.Suite, c.SignaturePriv)
		require.NoError(t, err)
		body := func(f *framedContent) []byte {
			switch f.contentType {
			case ContentProposal:
				return marshal(f.proposal)
			case ContentCommit:
				return marshal(f.commit)
			}
			return f.application
		}
		checkPublic := func(data, raw []byte) {
			m, err := ParseMessage(data)
			require.NoError(t, err)
			require.NoError(t, m.public.checkMembership(s, c.Membership, context))
			require.True(t, m.public.verify(s, c.SignaturePub, context))
			require.EqualValues(t, raw, body(&m.public.content))
			m.public.membershipTag[0] ^= 1
			require.Error(t, m.public.checkMembership(s, c.Membership, context))
		}
		checkPrivate := func(data, raw []byte) {
			m, err := ParseMessage(data)
			require.NoError(t, err)
			o, err := s.decryptPrivate(m.private, 0, c.SenderData, newSecretTree(s, 2, c.Encryption))
			require.NoError(t, err)
			require.True(t, o.verify(s, c.SignaturePub, context))
			require.EqualValues(t, raw, body(&o.content))
		}
		for _, kind := range []struct {
			t               ContentType
			raw, pub, priv_ []byte
		}{{ContentProposal, c.Proposal, c.ProposalPub, c.ProposalPriv}, {ContentCommit, c.Commit, c.CommitPub, c.CommitPriv}, {ContentApplication, c.Application, nil, c.ApplicationPriv}} {
			a := &authenticatedContent{content: framedContent{groupID: c.GroupID, epoch: c.Epoch, sender: sender{senderMember, 1}, contentType: kind.t}}
			switch kind.t {
			case ContentProposal:
				a.content.proposal = new(Proposal)
				require.NoError(t, unmarshal(kind.raw, a.content.proposal, "proposal"))
			case ContentCommit:
				a.content.commit = new(commit)
				require.NoError(t, unmarshal(kind.raw, a.content.commit, "commit"))
				a.confirmationTag = make([]byte, s.nh)
			default:
				a.content.application = kind.raw
			}
			a.wireFormat = WirePublicMessage
			a.sign(key, context)
			m := &Message{wireFormat: WirePublicMessage, public: s.protectPublic(a, c.Membership, context)}
			if kind.t == ContentApplication {
				require.Error(t, m.public.checkMembership(s, c.Membership, context), "application data is never public")
			} else {
				checkPublic(kind.pub, kind.raw)
				checkPublic(m.Marshal(), kind.raw)
			}
			checkPrivate(kind.priv_, kind.raw)
			a.wireFormat = WirePrivateMessage
			a.sign(key, context)
			p, err := s.protectPrivate(rand.Reader, a, 1, c.SenderData, newSecretTree(s, 2, c.Encryption), nil)
			require.NoError(t, err)
			checkPrivate(marshal(&Message{wireFormat: WirePrivateMessage, private: p}), kind.raw)
		}
	})
}

// TestVectorsPassive lets a member follow what others do, and lets it restart after every message.
func TestVectorsPassive(t *testing.T) {
	type tc struct {
		Suite CipherSuite `json:"cipher_suite"`
		PSKs  []struct {
			ID  hexBytes `json:"psk_id"`
			PSK hexBytes
		} `json:"external_psks"`
		KeyPackage     hexBytes `json:"key_package"`
		SignaturePriv  hexBytes `json:"signature_priv"`
		EncryptionPriv hexBytes `json:"encryption_priv"`
		InitPriv       hexBytes `json:"init_priv"`
		Welcome        hexBytes
		Tree           hexBytes `json:"ratchet_tree"`
		Authenticator  hexBytes `json:"initial_epoch_authenticator"`
		Epochs         []struct {
			Proposals     []hexBytes
			Commit        hexBytes
			Authenticator hexBytes `json:"epoch_authenticator"`
		}
	}
	for _, file := range []string{"passive-client-welcome.json", "passive-client-handling-commit.json", "passive-client-random.json"} {
		eachVector(t, file, func(c *tc) CipherSuite { return c.Suite }, func(t *testing.T, c *tc) {
			kp, err := ParseMessage(c.KeyPackage)
			require.NoError(t, err)
			signer, err := NewSignatureKey(c.Suite, c.SignaturePriv)
			require.NoError(t, err)
			w, err := ParseMessage(c.Welcome)
			require.NoError(t, err)
			psks := func(k PSK) ([]byte, bool) {
				for _, p := range c.PSKs {
					if k.ID != nil && string(p.ID) == string(k.ID) {
						return p.PSK, true
					}
				}
				return nil, false
			}
			j, err := JoinWelcome(w, JoinParams{KeyPackage: &KeyPackageSecret{kp.KeyPackage(), c.InitPriv, c.EncryptionPriv}, Signer: signer, RatchetTree: c.Tree, PSKs: psks})
			require.NoError(t, err)
			g := j.Group()
			require.EqualValues(t, c.Authenticator, g.EpochAuthenticator())
			for _, e := range c.Epochs {
				for _, p := range append(e.Proposals, e.Commit) {
					g, err = UnmarshalGroup(g.Marshal())
					require.NoError(t, err)
					g.UsePSKs(psks)
					m, err := ParseMessage(p)
					require.NoError(t, err)
					got, err := g.Process(m, time.Unix(int64(kp.KeyPackage().Leaf.Lifetime.NotBefore)+10, 0))
					require.NoError(t, err)
					if staged, ok := got.(*StagedCommit); ok {
						require.NoError(t, g.Apply(staged))
					}
				}
				require.EqualValues(t, e.Authenticator, g.EpochAuthenticator())
			}
		})
	}
}
