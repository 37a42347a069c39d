package mls

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"slices"

	"golang.org/x/crypto/cryptobyte"
)

// Section 7.4 to 7.6: how a committer gives every member the new path secrets.

// updatePathNode
//
//	struct {
//	    HPKEPublicKey encryption_key;
//	    HPKECiphertext encrypted_path_secret<V>;
//	} UpdatePathNode;
type updatePathNode struct {
	encryptionKey []byte
	secrets       []hpkeCiphertext
}

// updatePath
//
//	struct {
//	    LeafNode leaf_node;
//	    UpdatePathNode nodes<V>;
//	} UpdatePath;
type updatePath struct {
	leaf  LeafNode
	nodes []updatePathNode
}

func (p *updatePath) read(s *cryptobyte.String) bool {
	left := maxMembers // no member finds itself in it twice
	return p.leaf.read(s) && readList(s, maxDepth, func(s *cryptobyte.String) bool {
		var n updatePathNode
		ok := readOpaque(s, &n.encryptionKey) && readList(s, left, func(s *cryptobyte.String) bool {
			var c hpkeCiphertext
			ok := c.read(s)
			n.secrets = append(n.secrets, c)
			return ok
		})
		left -= len(n.secrets)
		p.nodes = append(p.nodes, n)
		return ok
	})
}

func (p *updatePath) add(b *cryptobyte.Builder) {
	p.leaf.add(b)
	addVector(b, func(b *cryptobyte.Builder) {
		for _, n := range p.nodes {
			addOpaque(b, n.encryptionKey)
			addVector(b, func(b *cryptobyte.Builder) {
				for _, c := range n.secrets {
					c.add(b)
				}
			})
		}
	})
}

// privateKeys are the HPKE keys of a member: its leaf's and those of the ancestors it knows.
type privateKeys map[nodeIndex][]byte

// keep drops keys whose node is gone or blank.
func (k privateKeys) keep(t *ratchetTree) {
	maps.DeleteFunc(k, func(x nodeIndex, _ []byte) bool { return int(x) >= len(t.nodes) || t.nodes[x].blank() })
}

// A newPath is an update path made and not yet encrypted.
type newPath struct {
	steps   []step
	secrets [][]byte // of each step
	commit  []byte   // commit_secret
	private privateKeys
	path    updatePath
}

// makePath gives the leaf and its filtered path new keys in t, and the leaf a new signature. leaf is the node to put
// there; its encryption key, source and parent hash are filled in.
func (t *ratchetTree) makePath(rand io.Reader, own leafIndex, leaf LeafNode, signer *SignatureKey, groupID []byte) (*newPath, error) {
	s := t.suite
	secret, err := s.randomSecret(rand)
	if err != nil {
		return nil, err
	}
	leafPub, leafPriv, err := s.generateKeyPair(rand)
	if err != nil {
		return nil, err
	}
	p := &newPath{steps: t.filteredPath(own), private: privateKeys{own.node(): leafPriv}}
	t.blankPath(own)
	for _, st := range p.steps {
		pub, priv := s.deriveKeyPair(s.deriveSecret(secret, "node"))
		p.secrets = append(p.secrets, secret)
		p.private[st.node] = priv
		p.path.nodes = append(p.path.nodes, updatePathNode{encryptionKey: pub})
		secret = s.deriveSecret(secret, "path")
	}
	p.commit = secret
	leaf.EncryptionKey, leaf.source, leaf.Lifetime = leafPub, leafFromCommit, Lifetime{}
	leaf.ParentHash = t.setPath(p.steps, p.path.nodes)
	leaf.sign(signer, groupID, own)
	t.set(own.node(), node{leaf: &leaf})
	p.path.leaf = leaf
	return p, nil
}

// setPath puts the new parent nodes in place, from the root down as each carries the hash of the one above, and returns
// the parent hash the leaf must carry.
func (t *ratchetTree) setPath(steps []step, nodes []updatePathNode) (parentHash []byte) {
	for i := len(steps) - 1; i >= 0; i-- {
		p := &parentNode{encryptionKey: nodes[i].encryptionKey, parentHash: parentHash}
		t.set(steps[i].node, node{parent: p})
		parentHash = t.parentHash(p, steps[i].copath)
	}
	return parentHash
}

// encrypt fills in the ciphertexts: each path secret goes to the resolution of its copath child, without who has just
// been added (they find theirs in the Welcome).
func (p *newPath) encrypt(rand io.Reader, t *ratchetTree, context []byte, added []leafIndex) error {
	for i, st := range p.steps {
		for _, x := range t.recipients(st.copath, added) {
			c, err := t.suite.sealWithLabel(rand, t.nodes[x].encryptionKey(), "UpdatePathNode", context, p.secrets[i])
			if err != nil {
				return err
			}
			p.path.nodes[i].secrets = append(p.path.nodes[i].secrets, c)
		}
	}
	return nil
}

// recipients of a path secret; added is ascending, as leaves fill from the left.
func (t *ratchetTree) recipients(copath nodeIndex, added []leafIndex) []nodeIndex {
	return slices.DeleteFunc(t.resolution(copath), func(x nodeIndex) bool {
		_, found := slices.BinarySearch(added, x.leaf())
		return x.isLeaf() && found
	})
}

// checkSecrets: as many path secrets as there are receivers (7.6), each of a form that can be opened. All members look at all of
// them, so that all agree on a commit that only some could read.
func (t *ratchetTree) checkSecrets(steps []step, p *updatePath, added []leafIndex) error {
	for i, st := range steps {
		to, secrets := len(t.recipients(st.copath, added)), p.nodes[i].secrets
		if len(secrets) != to {
			return invalid("%d path secrets for %d receivers (7.6)", len(secrets), to)
		}
		for _, c := range secrets {
			if len(c.ciphertext) != t.suite.nh+aeadTag {
				return invalid("encrypted path secret of %d bytes (7.6)", len(c.ciphertext))
			}
			if err := t.suite.checkKEMOutput("KEM output of a path secret", c.kemOutput); err != nil {
				return err
			}
		}
	}
	return nil
}

// secretFor is the path secret of the lowest node above both the committer and l.
func (p *newPath) secretFor(l leafIndex) []byte {
	for i, st := range p.steps {
		if st.node.covers(l) {
			return p.secrets[i]
		}
	}
	return nil
}

// mergePath puts somebody's update path into t and checks its shape and parent hash (section 7.9.2). It returns the
// filtered path.
func (t *ratchetTree) mergePath(from leafIndex, p *updatePath) ([]step, error) {
	steps := t.filteredPath(from)
	if len(steps) != len(p.nodes) {
		return nil, invalid("update path of %d nodes, the filtered path has %d (7.5)", len(p.nodes), len(steps))
	}
	for _, n := range p.nodes {
		if err := t.suite.checkPublicKey("update path's encryption key", n.encryptionKey); err != nil {
			return nil, err
		}
	}
	t.blankPath(from)
	parentHash := t.setPath(steps, p.nodes)
	if !bytes.Equal(parentHash, p.leaf.ParentHash) {
		return nil, invalid("parent hash of the update path's leaf (7.9.2)")
	}
	leaf := p.leaf
	t.set(from.node(), node{leaf: &leaf})
	return steps, nil
}

// openPath finds our ciphertext in a merged path, opens it and derives what is ours above: new private keys and the
// commit secret.
func (t *ratchetTree) openPath(steps []step, p *updatePath, own leafIndex, keys privateKeys, context []byte, added []leafIndex) (privateKeys, []byte, error) {
	if err := t.checkSecrets(steps, p, added); err != nil {
		return nil, nil, err
	}
	for i, st := range steps {
		if !st.node.covers(own) {
			continue
		}
		for j, x := range t.recipients(st.copath, added) {
			if priv, ok := keys[x]; ok && x.covers(own) {
				secret, err := t.suite.openWithLabel(priv, "UpdatePathNode", context, p.nodes[i].secrets[j])
				if err != nil {
					return nil, nil, fmt.Errorf("%w: %w", err, ErrBrokenPath)
				}
				keys, secret, err := t.derivePath(steps[i:], secret)
				if err != nil {
					return nil, nil, fmt.Errorf("%w: %w", err, ErrBrokenPath)
				}
				return keys, secret, nil
			}
		}
		return nil, nil, invalid("update path has nothing for us (7.5)")
	}
	return nil, nil, invalid("update path does not reach us (7.5)")
}

// derivePath derives the keys of the steps from the path secret of the first, checks them against the public ones in
// the tree, and returns the secret after the last.
func (t *ratchetTree) derivePath(steps []step, secret []byte) (privateKeys, []byte, error) {
	keys := privateKeys{}
	for _, st := range steps {
		pub, priv := t.suite.deriveKeyPair(t.suite.deriveSecret(secret, "node"))
		if !bytes.Equal(pub, t.nodes[st.node].encryptionKey()) {
			return nil, nil, invalid("path secret does not give the public key of node %d (7.5)", st.node)
		}
		keys[st.node] = priv
		secret = t.suite.deriveSecret(secret, "path")
	}
	return keys, secret, nil
}
