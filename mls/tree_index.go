package mls

import "maps"

// A keyIndex knows which keys stand in a tree and which credential types are in use, so that a commit costs what it changes and not
// a look at every member. Copies share what they have in common.
type keyIndex struct {
	encryption  keySet
	signature   keySet
	credentials map[CredentialType]int // leaves that use it
	leaves      int                    // bytes of all leaves
}

// A keySet counts keys. base is shared with other sets and never changed.
type keySet struct {
	base, delta map[string]int
	twice       int // keys that are there more than once
}

func (k *keySet) count(key string) int { return k.base[key] + k.delta[key] }

func (k *keySet) add(key []byte, n int) {
	s := string(key)
	before := k.count(s)
	if k.delta[s] += n; k.delta[s] == 0 {
		delete(k.delta, s)
	}
	switch after := before + n; {
	case before < 2 && after >= 2:
		k.twice++
	case before >= 2 && after < 2:
		k.twice--
	}
}

// clone copies the differences to what is shared; when they have grown to a good part of it, they become what is shared.
func (k *keySet) clone() keySet {
	if len(k.delta) <= 16 || len(k.delta) <= len(k.base)/8 {
		return keySet{k.base, maps.Clone(k.delta), k.twice}
	}
	base := maps.Clone(k.base)
	for key, n := range k.delta {
		if base[key] += n; base[key] == 0 {
			delete(base, key)
		}
	}
	k.base, k.delta = base, map[string]int{}
	return keySet{base, map[string]int{}, k.twice}
}

func newKeyIndex() *keyIndex {
	set := func() keySet { return keySet{map[string]int{}, map[string]int{}, 0} }
	return &keyIndex{set(), set(), map[CredentialType]int{}, 0}
}

func (k *keyIndex) clone() *keyIndex {
	return &keyIndex{k.encryption.clone(), k.signature.clone(), maps.Clone(k.credentials), k.leaves}
}

// put counts a node in (n = 1) or out (-1).
func (k *keyIndex) put(x node, n int) {
	if x.blank() {
		return
	}
	k.encryption.add(x.encryptionKey(), n)
	if x.leaf == nil {
		return
	}
	k.leaves += n * x.leaf.size
	k.signature.add(x.leaf.SignatureKey, n)
	if k.credentials[x.leaf.Credential.Type] += n; k.credentials[x.leaf.Credential.Type] == 0 {
		delete(k.credentials, x.leaf.Credential.Type)
	}
}

// index is built when it is first needed; from then on changes keep it.
func (t *ratchetTree) index() *keyIndex {
	if t.keys == nil {
		t.keys = newKeyIndex()
		for _, n := range t.nodes {
			t.keys.put(n, 1)
		}
		t.keys.encryption.base, t.keys.encryption.delta = t.keys.encryption.delta, map[string]int{}
		t.keys.signature.base, t.keys.signature.delta = t.keys.signature.delta, map[string]int{}
	}
	return t.keys
}

// checkUnique: no key twice (section 7.3), and a tree that can be sent.
func (t *ratchetTree) checkUnique() error {
	k := t.index()
	if k.encryption.twice > 0 {
		return invalid("an encryption key stands in the tree twice (7.3)")
	}
	if k.signature.twice > 0 {
		return invalid("a signature key stands in the tree twice (7.3)")
	}
	if k.leaves > maxLeaves {
		return invalid("members' leaves of more than %d bytes in all", maxLeaves)
	}
	return nil
}

// supports is what section 7.3 asks of a member in a group with those extensions, among members with those credential types.
func (t *ratchetTree) supports(i leafIndex, l *LeafNode, extensions []Extension) error {
	for c := range t.index().credentials {
		if !l.Capabilities.supportsCredential(c) {
			return invalid("leaf %d does not support credential type %d of a member (7.3)", i, c)
		}
	}
	return l.checkSupports(extensions)
}

// checkFresh: no key of a path stands in the tree yet, not even in the node it is for (12.4.2). A path that brings an old
// key back would heal nobody.
func (t *ratchetTree) checkFresh(path *updatePath) error {
	keys := [][]byte{path.leaf.EncryptionKey}
	for _, n := range path.nodes {
		keys = append(keys, n.encryptionKey)
	}
	seen := map[string]bool{}
	for _, key := range keys {
		if seen[string(key)] || t.index().encryption.count(string(key)) > 0 {
			return invalid("key of an update path is already in the tree (12.4.2)")
		}
		seen[string(key)] = true
	}
	return nil
}
